//! A, broker B and C as three real processes: B hands A and C the ends of a pipe, they talk and end up linked directly.
//!
//! `cargo run --release -p ipcz-drivers --example abc_processes [-- --two] [--long]`: `--two` has only B and one client,
//! `--long` talks long enough for figures. Ends with 0 if everything held.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "../../tests/processes/mod.rs"]
mod processes;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use std::process::Command;

    use processes::{Lengths, Program, client, three, two};

    let args: Vec<String> = std::env::args().skip(1).collect();
    let done = if let [flag, number] = &args[..]
        && flag == "--child"
    {
        let number = number.parse().expect("the number that the parent gave");
        // SAFETY: this is what spawn() told this process, and here it is taken up.
        #[allow(unsafe_code)]
        let socket = unsafe { ipcz_drivers::unix::inherited(number) }.expect("a socket of the parent");
        client(socket).map(|()| Vec::new())
    } else {
        if let Some(unknown) = args.iter().find(|arg| !["--two", "--long"].contains(&arg.as_str())) {
            eprintln!("unknown argument {unknown}: there are --two and --long");
            return ExitCode::from(2);
        }
        let long = args.iter().any(|arg| arg == "--long");
        let start = |broker: &Program| {
            let own = Command::new(std::env::current_exe().expect("this program's file"));
            broker.start(own, |command, number| {
                command.arg("--child").arg(number.to_string());
            })
        };
        if args.iter().any(|arg| arg == "--two") {
            two(start, &if long { Lengths::measured() } else { Lengths::default() })
        } else {
            three(start, if long { b"lead for long" } else { b"lead" })
        }
    };
    match done {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("the Unix driver is for Linux");
    ExitCode::from(2)
}
