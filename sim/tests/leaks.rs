//! Every planted leak of nondeterminism is noticed, and the first event that differs is named.
#![cfg(feature = "leaks")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use ipcz_sim::leaks::{Leak, Seen};

const CROWD: [&str; 5] = ["scenarios/crowd.toml", "--set", "N=8", "--set", "random.pipes=60"];

fn ipcz_sim(command: &str, args: &[&str]) -> Command {
    let mut process = Command::new(env!("CARGO_BIN_EXE_ipcz-sim"));
    process.arg(command).args(CROWD).args(args).current_dir(root()).stdin(Stdio::null());
    process
}

fn root() -> String {
    format!("{}/..", env!("CARGO_MANIFEST_DIR"))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn verify(args: &[&str]) -> (Option<i32>, String) {
    let output = ipcz_sim("run", &[&["--verify"], args].concat()).output().expect("the command starts");
    (output.status.code(), text(&output))
}

/// The script's comparison of two processes.
fn compare(args: &[&str]) -> (Option<i32>, String) {
    let mut script = Command::new(Path::new(&root()).join("scripts/determinism"));
    script.args(["--binary", env!("CARGO_BIN_EXE_ipcz-sim"), "--seeds", "0..3"]).args(CROWD).args(args);
    let output = script.current_dir(root()).stdin(Stdio::null()).output().expect("the script starts");
    (output.status.code(), text(&output))
}

#[test]
fn leaks_inside_a_process_are_noticed_and_the_first_event_is_named() {
    for leak in Leak::ALL.iter().filter(|leak| leak.seen() == Seen::Inside) {
        let (code, text) = verify(&["--seeds", "0..3", "--leak", leak.name()]);
        assert_eq!(code, Some(43), "{}: {text}", leak.name());
        let named =
            text.lines().find(|line| line.contains("first differing event: #")).unwrap_or_else(|| panic!("{}: {text}", leak.name()));
        println!("{}: {}", leak.name(), named.trim());
        let (_, runs) = named.split_once("run 1: ").expect("both runs");
        let (one, two) = runs.split_once("; run 2: ").expect("both runs");
        assert_ne!(Some(one), two.split("; fingerprints").next(), "{}", leak.name());
    }
}

#[test]
fn leaks_between_processes_are_noticed_and_the_first_event_is_named() {
    for leak in Leak::ALL.iter().filter(|leak| leak.seen() == Seen::Between) {
        let (code, text) = verify(&["--seeds", "0..2", "--leak", leak.name()]);
        assert_eq!(code, Some(0), "one process does not see {}: {text}", leak.name());
        let (code, text) = compare(&["--leak", leak.name()]);
        if code == Some(0) && text.contains(UNAVAILABLE) {
            continue;
        }
        assert_eq!(code, Some(43), "{}: {text}", leak.name());
        assert!(text.contains("first differing event: #"), "{}: {text}", leak.name());
        println!("{}: {text}", leak.name());
    }
}

/// What the script says where it can't make processes differ.
const UNAVAILABLE: &str = "not varied";

#[test]
fn leaks_that_nobody_arms_change_nothing() {
    assert_eq!(verify(&["--seeds", "0..3"]).0, Some(0));
    let (code, text) = compare(&[]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = verify(&["--leak", "nothing"]);
    assert!(code == Some(2) && text.contains("hash-order"), "{text}");
}
