//! Very many open pairs of portals between two processes: what one takes.

use std::error::Error;
use std::process::Command;
use std::time::{Duration, Instant};

use ipcz::{Node, Portal};
use ipcz_drivers::UnixDriver;
use ipcz_drivers::unix::{from_parent, launch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The argument that makes this program the other process.
pub const KEEP: &str = "--keep";

/// Descriptors that each of the two processes may have.
const DESCRIPTORS: u64 = 1024;

/// Bytes of this process that are in memory: its own, and shared ones.
#[derive(Clone, Copy)]
struct Resident {
    own: i64,
    shared: i64,
}

impl Resident {
    fn now() -> Outcome<Resident> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let bytes = |name: &str| -> Outcome<i64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name} in status"))?;
            Ok(line.trim().trim_end_matches(" kB").parse::<i64>()? * 1024)
        };
        Ok(Resident { own: bytes("RssAnon:")?, shared: bytes("RssShmem:")? })
    }

    fn since(self, before: Resident) -> Resident {
        Resident { own: self.own - before.own, shared: self.shared - before.shared }
    }
}

/// The other process: keeps what portals come, then takes what was put into them.
pub fn keep() -> Outcome<()> {
    let (_node, portals) = from_parent(1)?.ok_or("nobody's child")?;
    let parent = &portals[0];
    let pairs = std::str::from_utf8(&parent.recv()?.data)?.parse()?;
    let before = Resident::now()?;
    let mut kept = Vec::with_capacity(pairs);
    for _ in 0..pairs {
        kept.push(parent.recv()?.into_portal()?);
    }
    let grown = Resident::now()?.since(before);
    parent.put([grown.own.to_le_bytes(), grown.shared.to_le_bytes()].concat())?;
    for (i, portal) in kept.iter().enumerate() {
        if portal.recv()?.data != i.to_le_bytes() {
            return Err(format!("something else came through pair {i}").into());
        }
    }
    parent.put(format!("{}", std::fs::read_dir("/proc/self/fd")?.count()))?;
    // Until the parent closes.
    drop(parent.recv());
    Ok(())
}

/// Opens so many, and says what each takes.
pub fn measure(pairs: usize) -> Outcome<()> {
    setrlimit(Resource::Nofile, Rlimit { current: Some(DESCRIPTORS), maximum: getrlimit(Resource::Nofile).maximum })?;
    let driver = UnixDriver::new()?;
    let node = Node::broker(driver.clone())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(KEEP);
    let (mut child, mut portals) = launch(&node, &driver, command, 1)?;
    let other = portals.remove(0);
    other.put(pairs.to_string())?;

    let mut kept: Vec<Portal> = Vec::with_capacity(pairs);
    let before = Resident::now()?;
    let started = Instant::now();
    for _ in 0..pairs {
        let (near, far) = node.open_portals()?;
        kept.push(near);
        other.put_with([], vec![far.into()]).map_err(|refused| format!("sending portal {}: {:?}", kept.len(), refused))?;
    }
    let told = other.recv()?.data;
    let took = started.elapsed();
    let near = Resident::now()?.since(before);
    let word = |at: usize| told.get(at..at + 8).map(|bytes| i64::from_le_bytes(std::array::from_fn(|i| bytes[i])));
    let (Some(own), Some(shared)) = (word(0), word(8)) else { return Err("the other process said something else".into()) };

    let started = Instant::now();
    for (i, portal) in kept.iter().enumerate() {
        portal.put(i.to_le_bytes())?;
    }
    let descriptors = String::from_utf8(other.recv()?.data)?;
    let used = started.elapsed();
    let open = std::fs::read_dir("/proc/self/fd")?.count();
    let started = Instant::now();
    drop(kept);
    let closed = started.elapsed();

    let each = |time: Duration| format!("{:.2} us", time.as_secs_f64() * 1e6 / pairs as f64);
    let bytes = |bytes: i64| format!("{:.0} B", bytes as f64 / pairs as f64);
    println!(
        "{pairs} open pairs between two processes that may have {DESCRIPTORS} descriptors each and have {open} and {descriptors} open"
    );
    for (name, value) in [
        ("a pair opened, sent and got", each(took)),
        ("a parcel put and got, once through each", each(used)),
        ("a pair closed", each(closed)),
        ("memory of a pair here", bytes(near.own)),
        ("memory of a pair there", bytes(own)),
        ("shared memory of a pair", bytes(near.shared.max(shared))),
    ] {
        println!("{name:<42}{value:>12}");
    }
    drop(other);
    if !child.wait()?.success() {
        return Err("the other process failed".into());
    }
    Ok(())
}
