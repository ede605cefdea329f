//! Many real processes hand the ends of many pipes to each other while some are killed; every route must converge or be closed at both ends.
//!
//! `cargo run --release -p ipcz-drivers --example kill_nine -- --processes 64 --pipes 10000 --seconds 60 --seed 1 [--kills 4]`: `--kills` a
//! round, of about a second. Ends with 0 if everything held.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
#[path = "../../tests/kill_nine/mod.rs"]
mod kill_nine;
#[cfg(target_os = "linux")]
#[path = "../../tests/processes/mod.rs"]
mod processes;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;
    use std::process::Command;
    use std::time::Duration;

    use kill_nine::coordinator::{Settings, run};

    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, number, seed] = &args[..]
        && flag == "--worker"
    {
        let control = std::io::stdin().as_fd().try_clone_to_owned().expect("a descriptor");
        let number = number.parse().expect("the number that the parent gave");
        // SAFETY: this is what spawn() told this process, and here it is taken up.
        #[allow(unsafe_code)]
        let socket = unsafe { ipcz_drivers::unix::inherited(number) }.expect("a socket of the parent");
        return match kill_nine::worker::work(UnixStream::from(control), socket, seed.parse().expect("a seed")) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let mut settings =
        Settings { processes: 64, pipes: 10_000, duration: Duration::from_secs(60), seed: 1, kills: 4, patience: Duration::from_secs(180) };
    for pair in args.chunks(2) {
        let value = pair.get(1).and_then(|value| value.parse::<u64>().ok());
        match (pair[0].as_str(), value) {
            ("--processes", Some(value @ 2..=1000)) => settings.processes = value as usize,
            ("--pipes", Some(value)) => settings.pipes = value as usize,
            ("--seconds", Some(value)) => settings.duration = Duration::from_secs(value),
            ("--seed", Some(value)) => settings.seed = value,
            ("--kills", Some(value)) => settings.kills = value as usize,
            (name, _) => {
                eprintln!("{name}: there are --processes, --pipes, --seconds, --seed and --kills, each with a number");
                return ExitCode::from(2);
            }
        }
    }
    let own = || Command::new(std::env::current_exe().expect("this program's file"));
    let result = run(own, settings, |command, number, seed| {
        command.args(["--worker".to_string(), number.to_string(), seed.to_string()]);
    });
    println!("{}", result.tally);
    result.left.iter().for_each(|line| println!("{line}"));
    result.wrong.iter().take(20).for_each(|line| println!("WRONG: {line}"));
    if result.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("kill_nine needs the Unix driver, which is for Linux");
    ExitCode::from(2)
}
