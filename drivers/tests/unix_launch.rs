//! Processes that start each other by `launch` and `from_parent`.
#![cfg(target_os = "linux")]

use std::process::Command;
use std::sync::Arc;

use ipcz::{Error, Node};
use ipcz_drivers::UnixDriver;
use ipcz_drivers::unix::{VARIABLE, from_parent, launch};

/// This program again, to run one test of this file as a child does.
fn again(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]);
    command
}

/// Only in a child: sends back what comes; a portal is answered through itself.
#[test]
fn a_child_answers() {
    let Some((_node, portals)) = from_parent(2).unwrap() else { return };
    assert!(from_parent(2).is_err(), "once a process");
    while let Ok(parcel) = portals[0].recv() {
        match parcel.attachments.is_empty() {
            true => portals[0].put(parcel.data).unwrap(),
            false => parcel.into_portal().unwrap().put(b"through itself").unwrap(),
        }
    }
}

#[test]
fn a_parent_and_its_children_talk() {
    let driver = UnixDriver::new().unwrap();
    let node = Node::broker(Arc::clone(&driver) as _).unwrap();
    let mut children: Vec<_> = (0..3).map(|_| launch(&node, &driver, again("a_child_answers"), 2).unwrap()).collect();
    for (_, portals) in &children {
        for bytes in [0, 5, 100_000] {
            portals[0].put(vec![7; bytes]).unwrap();
            assert_eq!(portals[0].recv().unwrap().data, vec![7; bytes]);
        }
        let (kept, given) = node.open_portals().unwrap();
        portals[0].put_with(b"", vec![given.into()]).unwrap();
        assert_eq!(kept.recv().unwrap().data, b"through itself");
    }
    // Dies before it says anything more: its portals' peers are closed, the others go on.
    let (mut child, portals) = children.remove(0);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(portals[1].recv().map(|parcel| parcel.data), Err(Error::NotFound));
    for (mut child, portals) in children {
        drop(portals);
        assert!(child.wait().unwrap().success());
    }
}

#[test]
fn what_is_no_socket_is_refused_by_name() {
    for (value, says) in [("x", "not a descriptor"), ("1", "standard stream"), ("999", "not an open Unix stream socket")] {
        let output = again("a_child_answers").env(VARIABLE, value).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains(says) && text.contains(&format!("{VARIABLE}={value}")), "{value}: {text}");
    }
}
