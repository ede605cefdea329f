//! `run --driver unix`: the built command starts itself as every node of a scenario.
#![allow(clippy::disallowed_methods, reason = "real processes take real time")]

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::{SMALL, command, ends_with, file};

/// Merged, talked over, handed on and closed.
const MERGED: &str = r#"
[[step]]
on = "B"
open = ["x", "y"]
[[step]]
on = "B"
open = ["z", "w"]
[[step]]
id = "merged"
on = "B"
merge = ["y", "z"]
[[step]]
on = "B"
send = { count = 7, bytes = 100000 }
from = "w"
after = ["merged"]
[[step]]
on = "B"
hand = "x"
over = "ab"
to = "A"
after = ["merged"]
[[step]]
on = "B"
close = "w"
after = [{ received = 7, at = "x" }]
"#;

#[test]
fn real_processes_see_what_simulated_ones_do() {
    let merged = file("unix-merged.toml", &format!("{SMALL}{MERGED}"));
    let runs: [(&[&str], &str, &str); 3] = [
        (&["scenarios/abc.toml"], "6 of 6 ends", "102 parcels taken, 100 of steps; 0 ends"),
        (&["scenarios/both-ends-run.toml", "--set", "N=8"], "32 of 32 ends", "52 parcels taken, 45 of steps; 0 ends"),
        (&[&merged], "10 of 10 ends", "30 parcels taken, 27 of steps; 1 end told"),
    ];
    for (args, same, taken) in runs {
        let args = [&["run", "--driver", "unix"], args].concat();
        let (out, _) = ends_with(0, &args);
        assert!(out.contains(same) && out.contains(taken) && out.contains("proxies left 0"), "{out}");
    }
}

#[test]
fn what_only_the_simulator_has_is_refused_by_name() {
    let refused = |args: &[&str]| ends_with(2, &[&["run", "--driver", "unix"], args].concat()).1;
    assert!(refused(&["scenarios/crowd.toml"]).contains("a random workload ([random])"));
    assert!(refused(&["scenarios/swarm.toml"]).contains("a random world ([swarm])"));
    assert!(refused(&["scenarios/acquaintances.toml"]).contains("10001, of 200 processes at most"));
    assert!(refused(&["scenarios/abc.toml", "--seeds", "0..3", "--verify"]).contains("--seeds, --verify cannot be had in real processes"));
}

#[test]
fn a_process_that_dies_is_named() {
    let long = file("unix-long.toml", SMALL);
    let mut command = command(&["run", &long, "--driver", "unix", "--set", "parcels=300000"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let children = format!("/proc/{0}/task/{0}/children", child.id());
    let third = || fs::read_to_string(&children).ok()?.split_whitespace().nth(2).map(str::to_owned);
    let node = (0..3000).find_map(|_| {
        sleep(Duration::from_millis(10));
        third()
    });
    assert!(Command::new("kill").args(["-KILL", &node.expect("a process for each node")]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(42) && out.contains("the process of node C is gone"), "{out}");
}
