//! Portals as futures and streams: the same code under two executors, tokio and smol. A portal needs neither; a trap wakes who waits.
//!
//! `cargo run -p ipcz-drivers --example executors`

use std::error::Error;
use std::process::Command;

use ipcz::{Node, Parcel, Portal};
use ipcz_drivers::UnixDriver;
use ipcz_drivers::unix::{from_parent, launch};
use smol::future::zip;
use smol::stream::StreamExt;

/// One task waits for two portals: an answer, and the parcels of a new pipe until its other end is closed.
async fn talk(node: &Node, child: &Portal, executor: &str) -> Result<(), Box<dyn Error>> {
    let (kept, given) = node.open_portals()?;
    child.put_with(executor, vec![given.into()])?;
    let counted = kept.parcels().map(text).collect::<Vec<_>>();
    let (answer, counted) = zip(child.recv_async(), counted).await;
    println!("{}; it counts {}", text(answer?), counted.join(", "));
    Ok(())
}

fn text(parcel: Parcel) -> String {
    String::from_utf8_lossy(&parcel.data).into()
}

fn main() -> Result<(), Box<dyn Error>> {
    // The child may as well wait by blocking.
    if let Some((_node, portals)) = from_parent(1)? {
        while let Ok(mut parcel) = portals[0].recv() {
            let attachments = std::mem::take(&mut parcel.attachments);
            let portal = Parcel { attachments, ..Parcel::default() }.into_portal()?;
            portals[0].put(format!("the child greets {}", text(parcel)))?;
            (1..=3).try_for_each(|i: u32| portal.put(i.to_string()))?;
        }
        return Ok(());
    }
    let driver = UnixDriver::new()?;
    let node = Node::broker(driver.clone())?;
    let (mut child, portals) = launch(&node, &driver, Command::new(std::env::current_exe()?), 1)?;
    tokio::runtime::Builder::new_current_thread().build()?.block_on(talk(&node, &portals[0], "tokio"))?;
    smol::block_on(talk(&node, &portals[0], "smol"))?;
    drop(portals);
    assert!(child.wait()?.success());
    Ok(())
}
