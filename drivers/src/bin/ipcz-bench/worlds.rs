//! Two ends of a pipe, and what is measured between them.

use std::error::Error;
use std::process::{Child, Command};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ipcz::trap::{TrapConditions, TrapFlags};
use ipcz::{Attachment, ConnectTo, Node, Parcel, Portal, TrapRefused};
use ipcz_drivers::unix::{from_parent, launch};
use ipcz_drivers::{InProcess, UnixDriver};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What is measured.
#[derive(Clone, Copy)]
pub enum Row {
    RoundTrip,
    OneWay(usize),
    Pairs,
    Transfers,
}

impl Row {
    pub const ALL: [Row; 6] = [Row::RoundTrip, Row::OneWay(64), Row::OneWay(64 << 10), Row::OneWay(1 << 20), Row::Pairs, Row::Transfers];

    pub fn name(self) -> &'static str {
        match self {
            Row::RoundTrip => "round trip, 64 B",
            Row::OneWay(64) => "one way, 64 B, parcels/s",
            Row::OneWay(65_536) => "one way, 64 KiB",
            Row::OneWay(_) => "one way, 1 MiB",
            Row::Pairs => "a pair of portals made and closed",
            Row::Transfers => "portals sent, got and closed, /s",
        }
    }
}

pub struct World {
    node: Node,
    /// The other node, and what links them.
    _other: Option<Node>,
    near: Arc<Portal>,
    child: Option<Child>,
}

/// What the far end does with what comes: parcels of one byte say what is to come.
const ECHO: u8 = 1;
const SINK: u8 = 2;

/// The far end: echoes, or takes parcels and says when `left` are taken.
#[derive(Default)]
struct Server {
    echo: bool,
    left: u64,
}

impl Server {
    /// Answers what has come, and waits for more.
    fn serve(portal: &Arc<Portal>, server: &Arc<Mutex<Server>>) {
        loop {
            while let Ok(parcel) = portal.get() {
                let answer = server.lock().unwrap().take(parcel);
                if let Some(answer) = answer
                    && portal.put(answer).is_err()
                {
                    return;
                }
            }
            // The trap keeps the portal, until it fires for the last time.
            let (again, state) = (Arc::clone(portal), Arc::clone(server));
            let trap = portal.trap(READABLE, move |_| Server::serve(&again, &state));
            match trap {
                Err(TrapRefused::Satisfied { status, .. }) if !status.dead => {}
                _ => return,
            }
        }
    }

    fn take(&mut self, parcel: Parcel) -> Option<Vec<u8>> {
        match (parcel.data.first(), parcel.data.len()) {
            (Some(&ECHO), 1) => {
                self.echo = true;
                Some(Vec::new())
            }
            (Some(&SINK), 9) => {
                self.echo = false;
                self.left = u64::from_le_bytes(std::array::from_fn(|i| parcel.data[i + 1]));
                Some(Vec::new())
            }
            _ if self.echo => Some(parcel.data),
            _ => {
                self.left = self.left.saturating_sub(1);
                (self.left == 0).then(Vec::new)
            }
        }
    }
}

const READABLE: TrapConditions = TrapConditions { flags: TrapFlags::ABOVE_MIN_PARCELS.or(TrapFlags::DEAD), min_parcels: 0, min_bytes: 0 };

/// Whether this is the child; then its work is done.
pub fn is_child() -> Result<bool, Box<dyn Error>> {
    let Some((node, mut portals)) = from_parent(1)? else { return Ok(false) };
    let portal = Arc::new(portals.remove(0));
    Server::serve(&portal, &Arc::default());
    // The driver's thread serves; this one waits for the end.
    let (over, ended) = channel::<()>();
    let dead = TrapConditions { flags: TrapFlags::DEAD, ..READABLE };
    if portal.trap(dead, move |_| drop(over)).is_ok() {
        let _ = ended.recv();
    }
    drop(node);
    Ok(true)
}

impl World {
    pub fn local() -> Outcome<World> {
        let node = Node::broker(InProcess::new())?;
        let (near, far) = node.open_portals()?;
        Ok(World { node, _other: None, near: Arc::new(near), child: None }.served_by(far))
    }

    pub fn in_process() -> Outcome<World> {
        let driver = InProcess::new();
        let (node, other) = (Node::broker(driver.clone())?, Node::normal(driver.clone())?);
        let [a, b] = driver.transport_pair();
        let near = node.connect(a, 1, ConnectTo::Normal)?.remove(0);
        let far = other.connect(b, 1, ConnectTo::Broker)?.remove(0);
        Ok(World { node, _other: Some(other), near: Arc::new(near), child: None }.served_by(far))
    }

    pub fn unix() -> Outcome<World> {
        let driver = UnixDriver::new()?;
        let node = Node::broker(driver.clone())?;
        let (child, mut portals) = launch(&node, &driver, Command::new(std::env::current_exe()?), 1)?;
        Ok(World { node, _other: None, near: Arc::new(portals.remove(0)), child: Some(child) })
    }

    /// Its other end is served here, too.
    fn served_by(self, far: Portal) -> World {
        Server::serve(&Arc::new(far), &Arc::default());
        self
    }

    fn ask(&self, what: &[u8]) -> Outcome<()> {
        self.near.put(what)?;
        self.near.recv()?;
        Ok(())
    }

    /// A figure as it is to be read.
    pub fn measure(&mut self, row: Row, seconds: f64) -> Outcome<String> {
        match row {
            Row::RoundTrip => {
                self.ask(&[ECHO])?;
                let each = self.repeat(seconds, 1000, |world, times| world.round_trips(times))?;
                Ok(format!("{:.2} us", each * 1e6))
            }
            Row::OneWay(bytes) => {
                let data = vec![1u8; bytes];
                let batch = (32 << 20) / (bytes as u64 + 1024);
                let each = self.repeat(seconds, batch, |world, times| world.one_way(&data, times))?;
                let gigabytes = bytes as f64 / each / 1e9;
                Ok(if bytes > 1024 { format!("{gigabytes:.2} GB/s") } else { thousands(1.0 / each) })
            }
            Row::Pairs => {
                let each = self.repeat(seconds, 1000, |world, times| {
                    for _ in 0..times {
                        world.node.open_portals()?;
                    }
                    Ok(())
                })?;
                Ok(format!("{:.0} ns", each * 1e9))
            }
            Row::Transfers => {
                let each = self.repeat(seconds, 1000, |world, times| {
                    world.ask(&sink(times))?;
                    for _ in 0..times {
                        let (_, given) = world.node.open_portals()?;
                        world.near.put_with([], vec![Attachment::from(given)])?;
                    }
                    world.near.recv()?;
                    Ok(())
                })?;
                Ok(thousands(1.0 / each))
            }
        }
    }

    /// Seconds that one of many takes.
    fn repeat(&self, seconds: f64, batch: u64, mut act: impl FnMut(&World, u64) -> Outcome<()>) -> Outcome<f64> {
        act(self, batch)?;
        let (start, mut done) = (Instant::now(), 0);
        loop {
            act(self, batch)?;
            done += batch;
            let took = start.elapsed().as_secs_f64();
            if took >= seconds {
                return Ok(took / done as f64);
            }
        }
    }

    /// Each answer is followed by the next question on the thread that brings it.
    fn round_trips(&self, times: u64) -> Outcome<()> {
        let (over, ended) = channel();
        self.near.put([2u8; 64])?;
        ping(&self.near, times, &over);
        ended.recv()?;
        Ok(())
    }

    fn one_way(&self, data: &[u8], times: u64) -> Outcome<()> {
        self.ask(&sink(times))?;
        for _ in 0..times {
            self.near.put(data)?;
        }
        self.near.recv()?;
        Ok(())
    }
}

fn sink(parcels: u64) -> Vec<u8> {
    [&[SINK][..], &parcels.to_le_bytes()].concat()
}

/// Takes answers and asks again until `left` were asked, then says so.
fn ping(portal: &Arc<Portal>, left: u64, over: &Sender<()>) {
    let mut left = left;
    loop {
        while let Ok(parcel) = portal.get() {
            left -= 1;
            if left == 0 {
                // Nobody waits only if measuring has failed.
                let _ = over.send(());
                return;
            }
            if portal.put(parcel.data).is_err() {
                return;
            }
        }
        let (again, over) = (Arc::downgrade(portal), over.clone());
        let trap = portal.trap(READABLE, move |_| {
            if let Some(portal) = again.upgrade() {
                ping(&portal, left, &over);
            }
        });
        match trap {
            Err(TrapRefused::Satisfied { status, .. }) if !status.dead => {}
            _ => return,
        }
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It ends once its portal is dead.
            let (unused, _) = self.node.open_portals().expect("an open node");
            self.near = Arc::new(unused);
            let _ = child.wait();
        }
    }
}
