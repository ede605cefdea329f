//! The examples say what they are there to show.
#![cfg(target_os = "linux")]

use std::process::Command;

/// What an example prints. Cargo builds them with the tests, unless a single test is asked for.
fn says(example: &str) -> String {
    let tests = std::env::current_exe().unwrap();
    let program = tests.ancestors().nth(2).unwrap().join("examples").join(example);
    assert!(program.exists(), "build it first: cargo build -p ipcz-drivers --example {example}");
    let output = Command::new(program).output().unwrap();
    let (said, complained) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr).into_owned());
    assert!(output.status.success() && complained.is_empty(), "{example}: {}\n{said}{complained}", output.status);
    said
}

#[test]
fn two_processes_play_ping_pong() {
    assert_eq!(says("ping_pong"), "ping 1, pong\nping 2, pong\nping 3, pong\n");
}

#[test]
fn three_processes_end_up_linked_directly() {
    let said = says("abc_processes");
    assert!(said.contains("A linked to a client") && said.contains("B has 2 routers, none a proxy"), "{said}");
}

#[test]
fn a_descriptor_and_memory_go_to_another_process() {
    let said = says("shared_memory");
    assert_eq!(said, "the child reads \"from the parent\" in 65536 bytes of memory\nthe parent reads \"from the child\" there\n");
}

#[test]
fn one_code_runs_under_two_executors() {
    assert_eq!(says("executors"), "the child greets tokio; it counts 1, 2, 3\nthe child greets smol; it counts 1, 2, 3\n");
}

#[test]
fn a_child_without_memory_is_given_some() {
    let said = says("sandboxed");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "memory of its own: the driver is out of a resource");
    assert_eq!(lines[1], "in the end less than 1000 bytes a parcel of 100000 go by the socket");
    let more = lines[2].strip_prefix("the broker made the link's first memory and ").and_then(|rest| rest.split(' ').next()).unwrap();
    assert!(more.parse::<u32>().unwrap() > 0, "{said}");
}
