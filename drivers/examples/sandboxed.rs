//! A child that the system lets make no memory: its broker makes all that its links need, and data still goes through shared memory.
//!
//! `cargo run -p ipcz-drivers --example sandboxed`

use std::collections::BTreeMap;
use std::error::Error;
use std::process::Command;
use std::sync::Arc;

use ipcz::driver::Driver;
use ipcz::{Connect, ConnectTo, Node};
use ipcz_drivers::UnixDriver;
use ipcz_drivers::middleware::{Count, Entry, Watched};
use ipcz_drivers::unix::{launch, socket_from_parent};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

/// From now on memfd_create, by which the driver makes memory, fails in this thread and in all that it starts.
fn forbid_memory() -> Result<(), Box<dyn Error>> {
    let rules = BTreeMap::from([(libc::SYS_memfd_create, vec![])]);
    let (others, these) = (SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32));
    let filter = SeccompFilter::new(rules, others, these, std::env::consts::ARCH.try_into()?)?;
    Ok(apply_filter(&BpfProgram::try_from(filter)?)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let unix = UnixDriver::new()?;
    let count = Arc::new(Count::default());
    let driver = Watched::new(unix.clone(), count.clone());
    let data = vec![7; 100_000];
    if let Some(socket) = socket_from_parent()? {
        forbid_memory()?;
        println!("memory of its own: {}", unix.allocate(4096).expect_err("memfd_create is forbidden"));
        let node = Node::normal(driver)?;
        let portals = node.connect(unix.adopt(socket)?, 1, Connect { to: ConnectTo::Broker, delegate: true })?;
        // What finds no memory large enough goes by the socket, and asks for more.
        for _ in 0..1000 {
            let before = count.sent().1;
            portals[0].put(&data)?;
            portals[0].recv()?;
            if count.sent().1 - before < 1000 {
                println!("in the end less than 1000 bytes a parcel of {} go by the socket", data.len());
                return Ok(());
            }
        }
        return Err("the broker gives no memory".into());
    }
    let node = Node::broker(driver)?;
    let (mut child, portals) = launch(&node, &unix, Command::new(std::env::current_exe()?), 1)?;
    while let Ok(parcel) = portals[0].recv() {
        assert_eq!(parcel.data, data);
        portals[0].put(b"got it")?;
    }
    assert!(child.wait()?.success());
    let made = count.calls(Entry::Allocate);
    println!("the broker made the link's first memory and {} more when the child asked", made - 1);
    Ok(())
}
