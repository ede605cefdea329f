//! Two processes: this program starts itself once more, and the two talk.
//!
//! `cargo run -p ipcz-drivers --example ping_pong`

use std::process::Command;

use ipcz::Node;
use ipcz_drivers::UnixDriver;
use ipcz_drivers::unix::{from_parent, launch};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The child: whatever comes goes back, until the parent closes.
    if let Some((_node, portals)) = from_parent(1)? {
        while let Ok(ping) = portals[0].recv() {
            portals[0].put([&ping.data[..], b", pong"].concat())?;
        }
        return Ok(());
    }
    // The parent.
    let driver = UnixDriver::new()?;
    let node = Node::broker(driver.clone())?;
    let (mut child, portals) = launch(&node, &driver, Command::new(std::env::current_exe()?), 1)?;
    for i in 1..=3 {
        portals[0].put(format!("ping {i}"))?;
        println!("{}", String::from_utf8(portals[0].recv()?.data)?);
    }
    drop(portals);
    assert!(child.wait()?.success());
    Ok(())
}
