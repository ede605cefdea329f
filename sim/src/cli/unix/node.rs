//! A process of a world: one node, which does as it is told, reads everything at once and reports.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ipcz::ids::{Features, Handle, NodeType};
use ipcz::inspect::{LinkKind, LinkView, View};
use ipcz::memory::status;
use ipcz::{Attachment, Connect, ConnectTo, Error, Node, NodeOptions, Parcel, Portal, Process, TrapRefused, Unboxed};
use ipcz_drivers::unix::socket_from_parent;
use ipcz_drivers::{MonotonicClock, UnixDriver};
use xxhash_rust::xxh3::xxh3_64;

use super::super::exit::Exit;
use super::super::out::Trouble;
use super::inbox::{Inbox, READY};
use super::words::{Key, Order, Report, To};
use crate::ghost::{EndId, write_payload};

/// The number of the portal to the command.
const COMMAND: u64 = u64::MAX;
const LONG: Duration = Duration::from_secs(3600);

/// Runs in a process that `run --driver unix` has started, until that lets go of it.
///
/// # Errors
/// The process was started by somebody else, or the system is out of something.
pub fn node() -> Result<Exit, Trouble> {
    let trouble = |what: &str, error: &dyn std::fmt::Display| Trouble(format!("{what}: {error}"));
    let socket = socket_from_parent().and_then(|socket| socket.ok_or_else(|| io::Error::other("`run --driver unix` starts it")));
    let socket = socket.map_err(|error| trouble("unix-node", &error))?;
    let mail = UnixDriver::new().map_err(|error| trouble("a driver", &error))?;
    let home = Node::normal(Arc::clone(&mail) as _).map_err(|error| trouble("a node", &error))?;
    let transport = mail.adopt(socket).map_err(|error| trouble("the socket", &error))?;
    let mut portals = home.connect(transport, 1, ConnectTo::Broker).map_err(|error| trouble("the command", &error))?;
    let command = portals.remove(0);
    let driver = UnixDriver::new().map_err(|error| trouble("a driver", &error))?;
    let inbox = Inbox::new();
    let process = Process::new(Arc::new(MonotonicClock::new()), Arc::new(inbox.wakes()));
    let mut actor = Actor { mail, command, driver, process, inbox, node: None, held: BTreeSet::new() };
    actor.inbox.watch(COMMAND, &actor.command);
    loop {
        let next = actor.inbox.next(LONG);
        if next == Some(COMMAND) {
            if !actor.listen() {
                return Ok(Exit::Held);
            }
        } else if let Some(key) = next {
            actor.read(key);
        }
    }
}

struct Actor {
    mail: Arc<UnixDriver>,
    command: Portal,
    driver: Arc<UnixDriver>,
    process: Arc<Process>,
    inbox: Inbox,
    node: Option<Handle>,
    /// The portals it has.
    held: BTreeSet<Key>,
}

fn handle(key: Key) -> Result<Handle, Error> {
    Handle::from_bits(key).ok_or(Error::InvalidArgument)
}

impl Actor {
    /// Carries out all orders that are there; false if there will never be one again.
    fn listen(&mut self) -> bool {
        loop {
            match self.command.get() {
                Ok(parcel) => self.obey(parcel),
                Err(Error::Unavailable) => {
                    self.inbox.watch(COMMAND, &self.command);
                    return true;
                }
                Err(_) => return false,
            }
        }
    }

    fn report(&self, report: &Report) {
        let text = serde_json::to_vec(report).unwrap_or_default();
        // If nobody listens any more, the next look at the command's portal says so.
        let _ = self.command.put(text);
    }

    fn obey(&mut self, parcel: Parcel) {
        let Parcel { data, attachments } = parcel;
        let Ok((number, order)) = serde_json::from_slice::<(u64, Order)>(&data) else { return };
        let mut made = Vec::new();
        let mut times = 0;
        let done = self.carry_out(&order, attachments, &mut made, &mut times);
        let refused = done.err().map(|error| error.to_string());
        let made = made.into_iter().map(Handle::to_bits).collect();
        self.report(&Report::Done { order: number, times, made, refused });
    }

    fn carry_out(&mut self, order: &Order, attachments: Vec<Attachment>, made: &mut Vec<Handle>, times: &mut u64) -> Result<(), Error> {
        match order {
            Order::Be { broker, mem_v2 } => {
                let kind = if *broker { NodeType::Broker } else { NodeType::Normal };
                let features = if *mem_v2 { Features::MEM_V2 } else { Features::default() };
                let options = NodeOptions { features, ..NodeOptions::default() };
                self.node = Some(self.process.create_node(kind, Arc::clone(&self.driver) as _, options)?);
            }
            Order::Connect { to, delegate } => {
                let Some(Attachment::Box(boxed)) = attachments.into_iter().next() else { return Err(Error::InvalidArgument) };
                let Unboxed::Driver(object) = boxed.unbox()? else { return Err(Error::InvalidArgument) };
                let socket = self.mail.take_file(object).ok_or(Error::InvalidArgument)?;
                let transport = self.driver.adopt(socket).map_err(|_| Error::Unknown)?;
                let to = match to {
                    To::Normal => ConnectTo::Normal,
                    To::Broker => ConnectTo::Broker,
                    To::Referred => ConnectTo::Referred,
                    To::Inherited => ConnectTo::Inherited,
                };
                let portals = self.process.connect_node(self.own()?, transport, 1, Connect { to, delegate: *delegate })?;
                self.gain(&portals, made);
            }
            Order::Open => {
                let (a, b) = self.process.open_portals(self.own()?)?;
                self.gain(&[a, b], made);
            }
            Order::Put { portal, from, number, count, bytes, carries } => {
                let mut data = Vec::new();
                for number in *number..number + count {
                    write_payload(EndId(*from), number, *bytes as usize, &mut data);
                    let carried = carries.map(handle).transpose()?;
                    self.process.put(handle(*portal)?, &data, carried.as_slice())?;
                    self.held.retain(|held| Some(*held) != *carries);
                    *times += 1;
                }
            }
            Order::Close { portal } => {
                self.held.remove(portal);
                self.process.close(handle(*portal)?)?;
            }
            Order::Merge { portals: [a, b] } => {
                self.process.merge(handle(*a)?, handle(*b)?)?;
                self.held.remove(a);
                self.held.remove(b);
            }
            Order::Query { portal } => {
                self.process.query(handle(*portal)?)?;
            }
            Order::Look { portals } => {
                let portals = portals.iter().map(|portal| handle(*portal)).collect::<Result<Vec<_>, _>>()?;
                let seen = self.process.inspect(|view| Report::Seen {
                    proxies: view.proxies() as u64,
                    bypasses: view.totals().bypasses,
                    direct: portals.iter().map(|portal| is_direct(view, *portal)).collect(),
                });
                self.report(&seen);
            }
            Order::CloseAll => {
                for portal in std::mem::take(&mut self.held) {
                    self.process.close(handle(portal)?)?;
                }
            }
            Order::End => {
                if let Some(node) = self.node.take() {
                    self.process.close(node)?;
                }
                self.driver.join();
                let library = self.process.live_objects()?;
                let library = if library == Default::default() { String::new() } else { format!("{library:?}") };
                self.report(&Report::Left { objects: self.driver.live_objects() as u64, library });
            }
        }
        Ok(())
    }

    fn own(&self) -> Result<Handle, Error> {
        self.node.ok_or(Error::FailedPrecondition)
    }

    /// Portals that are its own from now on.
    fn gain(&mut self, portals: &[Handle], made: &mut Vec<Handle>) {
        for portal in portals {
            self.held.insert(portal.to_bits());
            // Looked at, and watched, after the report.
            self.inbox.tell(portal.to_bits());
        }
        made.extend(portals);
    }

    /// Takes all there is at a portal, if it is still here, and watches it again.
    fn read(&mut self, key: Key) {
        let Ok(portal) = handle(key) else { return };
        while self.held.contains(&key) {
            match self.process.get(portal) {
                Ok(received) => {
                    let mut arrived = Vec::new();
                    self.gain(&received.handles, &mut arrived);
                    let (bytes, hash) = (received.data.len() as u64, xxh3_64(&received.data));
                    let arrived = arrived.into_iter().map(Handle::to_bits).collect();
                    self.report(&Report::Took { portal: key, bytes, hash, arrived });
                }
                Err(Error::NotFound) => return self.report(&Report::Dead { portal: key }),
                Err(_) => match self.process.trap(portal, READY, key) {
                    Ok(()) => return,
                    Err(TrapRefused::Satisfied { .. }) => {}
                    Err(TrapRefused::Error(_)) => return,
                },
            }
        }
    }
}

/// Whether a portal's only link leads to its peer, and nothing of its route is on the move.
fn is_direct(view: &View<'_>, portal: Handle) -> bool {
    let Some(router) = view.router_of(portal).and_then(|key| view.router(key)) else { return false };
    if router.out.decaying.is_some() || router.inward.is_some() {
        return false;
    }
    match router.out.primary {
        Some(LinkView::Remote { kind: LinkKind::Central, status: Some(word), .. }) => word == status::STABLE,
        Some(LinkView::Local { peer, .. }) => peer.is_some(),
        _ => false,
    }
}
