//! What ipcz costs on this machine, beside what the machine itself costs, in one run.
//!
//! `cargo run --release -p ipcz-drivers --bin ipcz-bench [-- --seconds N]`
//!
//! Three worlds: *local*, a pipe within one node; *in-process*, two nodes of one thread and a synchronous driver; *unix*, two processes,
//! sockets and shared memory. Round trips go from trap handler to trap handler.
//!
//! With `--pairs N` instead: so many pairs of portals open at once between two processes with 1,024 descriptors each, and what one takes.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "it measures wall time")]

#[cfg(target_os = "linux")]
#[path = "ipcz-bench/floors.rs"]
mod floors;
#[cfg(target_os = "linux")]
#[path = "ipcz-bench/pairs.rs"]
mod pairs;
#[cfg(target_os = "linux")]
#[path = "ipcz-bench/worlds.rs"]
mod worlds;

#[cfg(target_os = "linux")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    use worlds::{Row, World};

    let mut args = std::env::args().skip(1);
    let (first, second, third) = (args.next(), args.next(), args.next());
    if first.as_deref() == Some(pairs::KEEP) {
        return pairs::keep();
    }
    if worlds::is_child()? {
        return Ok(());
    }
    let seconds = match (first.as_deref(), second, third) {
        (None, ..) => 0.5,
        (Some("--pairs"), Some(value), None) => {
            let pairs = value.parse().ok().filter(|pairs| *pairs > 0 && *pairs <= 1_000_000);
            return pairs::measure(pairs.ok_or_else(|| format!("--pairs {value}: not a number from 1 to 1,000,000"))?);
        }
        (Some("--seconds"), Some(value), None) => {
            let seconds = value.parse().ok().filter(|s| *s > 0.0 && *s <= 60.0);
            seconds.ok_or_else(|| format!("--seconds {value}: not a number above 0 and up to 60"))?
        }
        (Some(other), ..) => return Err(format!("{other}: there are --seconds N and --pairs N").into()),
    };
    println!("{:<34}{:>14}{:>14}{:>14}", "", "local", "in-process", "unix");
    let mut worlds = [World::local()?, World::in_process()?, World::unix()?];
    for row in Row::ALL {
        let cells: Result<Vec<String>, _> = worlds.iter_mut().map(|world| world.measure(row, seconds)).collect();
        let cells = cells?;
        println!("{:<34}{:>14}{:>14}{:>14}", row.name(), cells[0], cells[1], cells[2]);
    }
    drop(worlds);
    println!("\nthe machine itself");
    for (name, value) in floors::all(seconds)? {
        println!("{name:<34}{value:>14}");
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("ipcz-bench measures the Unix driver, which is for Linux");
    std::process::exit(2);
}
