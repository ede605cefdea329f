//! A descriptor and a region of shared memory go to another process, each in a box.
//!
//! `cargo run -p ipcz-drivers --example shared_memory`

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

use ipcz::driver::Driver;
use ipcz::ids::ObjectId;
use ipcz::mapping::Mapping;
use ipcz::{Attachment, BoxContents, ConnectTo, Node, Parcel, Portal, Unboxed};
use ipcz_drivers::UnixDriver;
use ipcz_drivers::unix::{launch, socket_from_parent};

/// Takes both out of their boxes, and uses them.
fn child(driver: &UnixDriver, parent: &Portal) -> Result<(), Box<dyn Error>> {
    let Parcel { attachments, .. } = parent.recv()?;
    let objects: Vec<ObjectId> = attachments.into_iter().map(unboxed).collect::<Result<_, _>>()?;
    let [file, memory] = objects[..] else { return Err("not two boxes".into()) };
    let region = driver.map(memory)?;
    driver.close(memory);
    let mut pipe = File::from(driver.take_file(file).ok_or("not a descriptor")?);
    writeln!(pipe, "the child reads \"{}\" in {} bytes of memory", text(&region), region.len())?;
    region.write(0, b"from the child ");
    Ok(parent.put(b"done")?)
}

fn unboxed(attachment: Attachment) -> Result<ObjectId, Box<dyn Error>> {
    let Attachment::Box(boxed) = attachment else { return Err("not a box".into()) };
    let Unboxed::Driver(object) = boxed.unbox()? else { return Err("not a driver's object".into()) };
    Ok(object)
}

fn text(region: &Mapping) -> String {
    let mut bytes = [0; 15];
    region.read(0, &mut bytes);
    String::from_utf8_lossy(&bytes).trim_end().into()
}

fn main() -> Result<(), Box<dyn Error>> {
    let driver = UnixDriver::new()?;
    if let Some(socket) = socket_from_parent()? {
        let node = Node::normal(driver.clone())?;
        let portals = node.connect(driver.adopt(socket)?, 1, ConnectTo::Broker)?;
        return child(&driver, &portals[0]);
    }
    let node = Node::broker(driver.clone())?;
    let (mut process, portals) = launch(&node, &driver, Command::new(std::env::current_exe()?), 1)?;
    let (mut reader, writer) = std::io::pipe()?;
    let memory = driver.allocate(1 << 16)?;
    let region = driver.map(memory)?;
    region.write(0, b"from the parent");
    let boxed = |object| node.box_object(BoxContents::Driver(object)).map(Attachment::Box);
    portals[0].put_with(b"", vec![boxed(driver.file(writer.into()))?, boxed(memory)?])?;
    portals[0].recv()?;
    let mut said = String::new();
    reader.read_to_string(&mut said)?;
    println!("{said}the parent reads \"{}\" there", text(&region));
    drop(portals);
    assert!(process.wait()?.success());
    Ok(())
}
