//! Processes that hand the ends of pipes to each other while some are killed: the short form of the example `kill_nine`. Alone in its
//! binary, since it counts what the process has.
#![cfg(target_os = "linux")]

mod kill_nine;
mod processes;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use ipcz_drivers::unix::inherited;
use kill_nine::coordinator::{Settings, run};

const SOCKET: &str = "IPCZ_TEST_SOCKET";
const SEED: &str = "IPCZ_TEST_SEED";

#[test]
#[ignore = "the worker that the other test starts"]
fn worker_process() {
    #[allow(clippy::disallowed_methods, reason = "the parent told us so")]
    let told = |name| std::env::var(name).expect("started by another test").parse::<u64>().unwrap();
    let control = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    // SAFETY: this is what spawn() told this process, and here it is taken up.
    #[allow(unsafe_code)]
    let socket = unsafe { inherited(told(SOCKET) as i32) }.unwrap();
    kill_nine::worker::work(control, socket, told(SEED)).unwrap();
}

#[test]
fn routes_converge_or_close_at_both_ends_while_processes_are_killed() {
    let worker = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "worker_process"]);
        command
    };
    let settings =
        Settings { processes: 8, pipes: 200, duration: Duration::from_secs(2), seed: 1, kills: 2, patience: Duration::from_secs(60) };
    let result = run(worker, settings, |command, number, seed| {
        command.env(SOCKET, number.to_string()).env(SEED, seed.to_string());
    });
    println!("{}\n{}", result.tally, result.left.join("\n"));
    assert!(result.wrong.is_empty(), "{}", result.wrong.join("\n"));
    let tally = result.tally;
    assert!(tally.kills >= 2 && tally.converged > 0 && tally.parcels > 1000 && tally.hand_overs > 100, "{tally:?}");
    assert!(tally.closed_at_one + tally.closed_at_both + tally.lost > 0, "{tally:?}");
}
