//! All nodes and node links of a process: who is connected to whom, and how a link ends (nodes.md 2, 3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::introducing::{Indirect, Introducing};
use super::introduction::{Deadline, Pending};
use super::link::{BufferWait, Greeting, MemoryWait, NodeLink, Peer, Phase, Role};
use super::outbox::{Batch, Outbox, Outgoing};
use super::parking::Parking;
use super::pieces::Arrival;
use super::referral::Share;
use super::request::{Ask, Request};
use crate::application::ApplicationObject;
use crate::arena::Arena;
use crate::clock::Time;
use crate::ids::{
    DriverKey, Features, LinkKey, MAX_INITIAL_PORTALS, NodeKey, NodeName, NodeType, ObjectId, RequestKey, RouterKey, SublinkId,
};
use crate::limits::Limits;
use crate::mapping::Mapping;
use crate::memory::LinkMemory;
use crate::planted::Planted;
use crate::probe::{Probe, Probes};
use crate::routing::{Parcel, SeekBypass, Sublink};
use crate::wire::Message;

/// What a node is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeOptions {
    /// Its limits.
    pub limits: Limits,
    /// What it offers beyond the base protocol; used on a link if both ends do.
    pub features: Features,
    /// Leaves out what other nodes can see of our deviations from the original implementation (nodes.md 17: D-3's deadline, D-4, D-5,
    /// D-12, D-14), to compare with it. What then hangs or is lost is lost.
    pub compat_strict: bool,
    /// Of a broker: nobody of another network is introduced to its clients, nor they to anybody there, and it has no link to foreign
    /// clients itself. Routes between them, that would lead around the brokers, end.
    pub separate: bool,
}

/// A node of this process.
#[derive(Clone, Debug)]
pub struct Node {
    /// What it is to its network.
    pub kind: NodeType,
    /// Its driver.
    pub driver: DriverKey,
    /// Its name; a normal node has one while it has a broker.
    pub name: NodeName,
    /// What it can do beyond the base protocol.
    pub features: Features,
    /// Its limits.
    pub limits: Limits,
    /// Whether it leaves out the deviations that another node can see (nodes.md 17).
    pub compat_strict: bool,
    /// Whether its network is kept apart from others.
    pub separate: bool,
    /// Links by the name of the node they lead to.
    pub connections: BTreeMap<NodeName, LinkKey>,
    /// The link to its broker; normal nodes only.
    pub broker_link: Option<LinkKey>,
    /// Who gives it memory: its broker, if it has none of its own.
    pub delegate: Option<LinkKey>,
    /// The brokers among its connections; brokers only.
    pub other_brokers: BTreeSet<NodeName>,
    /// Nodes to be referred to its broker as soon as it has one.
    pub sharing: Vec<Share>,
    /// Nodes referred to it that are not taken up yet, in the order of coming; brokers only.
    pub awaited: BTreeMap<u64, LinkKey>,
    /// Relayed messages that wait for a link.
    pub parking: Parking,
    /// Introductions asked for.
    pub pending: BTreeMap<NodeName, Pending>,
    /// Introductions being made, by unordered pair of names; brokers only.
    pub introducing: BTreeMap<(NodeName, NodeName), Introducing>,
    /// Introductions that another broker was asked to make, by who wants one and to whom; brokers only.
    pub indirect: BTreeMap<(LinkKey, NodeName), Indirect>,
    /// Closed by its owner: no connection comes to be any more (nodes.md D-1).
    pub closed: bool,
    /// Links made so far.
    pub links_made: u64,
    /// Links not forgotten yet.
    pub links_open: u32,
}

/// What the rest of the core must learn.
#[derive(Debug)]
pub enum NodeEvent {
    /// A link works: its initial portals can be bound.
    Connected {
        /// The link.
        link: LinkKey,
        /// This end's routers.
        portals: Vec<RouterKey>,
        /// How many of them the far end has.
        remote: u32,
    },
    /// A link works, or will not.
    LinkAnswered {
        /// Who asked.
        seek: SeekBypass,
        /// Whether.
        found: bool,
    },
    /// These portals will not be connected.
    NeverConnected(Vec<RouterKey>),
    /// The node links of these routers are gone.
    Lost(LinkKey, Vec<(SublinkId, RouterKey)>),
    /// Memory came, or will not.
    MemoryAnswered {
        /// Who waited.
        wait: MemoryWait,
        /// Whether.
        granted: bool,
    },
    /// A buffer came that these waited for.
    Resume(LinkKey, Vec<BufferWait>),
    /// A parcel is thrown away.
    Discard(Parcel),
    /// A sublink was let go that this was for.
    PieceLeft {
        /// The sublink.
        at: Sublink,
        /// Of this parcel.
        number: u64,
        /// A piece or half.
        arrival: Arrival,
    },
}

/// Something to be released outside the lock.
#[derive(Debug)]
pub enum Doomed {
    /// A driver object.
    Object(DriverKey, ObjectId),
    /// A mapping.
    Mapping(Mapping),
    /// A lost link's memory.
    Memory(Box<LinkMemory>),
    /// An object of the application.
    Application(ApplicationObject),
}

/// Why a link was dropped; the newest [`Network::BLAMES`] are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blame {
    /// The link.
    pub link: LinkKey,
    /// The node at its far end, if it got that far.
    pub peer: NodeName,
    /// What its peer did.
    pub reason: String,
}

/// All nodes and node links of a process.
#[derive(Clone, Default, Debug)]
pub struct Network {
    pub(crate) nodes: Arena<NodeKey, Node>,
    pub(crate) links: Arena<LinkKey, NodeLink>,
    pub(crate) requests: Arena<RequestKey, Request>,
    pub(crate) blames: VecDeque<Blame>,
    pub(crate) links_lost: u64,
    /// By the node that they led to; counted for checkers alone.
    pub(crate) lost_to: BTreeMap<NodeName, u64>,
    pub(crate) refused: u64,
    pub(crate) answers: u64,
    pub(crate) probes: Probes,
    /// Driver objects owned, transports and memory alike.
    pub(crate) objects: usize,
    /// When introductions and referrals are given up.
    pub(crate) deadlines: BTreeMap<(Time, u64), Deadline>,
    pub(super) deadlines_made: u64,
    /// The time of the running input.
    pub(crate) now: Time,
    pub(super) touched: Vec<LinkKey>,
    pub(crate) planted: Planted,
    pub(crate) out: Out,
}

/// What leaves the network in the running input; empty between inputs.
#[derive(Default, Debug)]
pub struct Out {
    pub(crate) events: VecDeque<NodeEvent>,
    pub(crate) asks: Vec<(RequestKey, Ask)>,
    pub(crate) doomed: Vec<Doomed>,
}

impl Clone for Out {
    fn clone(&self) -> Out {
        assert!(self.events.is_empty() && self.asks.is_empty() && self.doomed.is_empty(), "a core is cloned between inputs");
        Out::default()
    }
}

impl Network {
    /// How many reasons of dropped links are kept.
    pub const BLAMES: usize = 16;

    /// The peer at the other end of a working link.
    pub fn peer(&self, link: LinkKey) -> Option<&Peer> {
        self.links.get(link)?.peer()
    }

    /// The peer at the other end of a working link.
    pub fn peer_mut(&mut self, link: LinkKey) -> Option<&mut Peer> {
        self.links.get_mut(link)?.peer_mut()
    }

    /// The node a link belongs to.
    pub fn node_of(&self, link: LinkKey) -> Option<&Node> {
        self.nodes.get(self.links.get(link)?.node)
    }

    /// The limits of the node a link belongs to.
    pub fn limits_of(&self, link: LinkKey) -> Limits {
        self.node_of(link).map(|node| node.limits).unwrap_or_default()
    }

    /// The router a sublink leads to.
    pub fn bound(&self, at: Sublink) -> Option<RouterKey> {
        self.peer(at.link)?.sublinks.get(&at.id).copied()
    }

    /// Whether a sublink can be bound.
    pub fn is_free(&self, at: Sublink) -> bool {
        self.peer(at.link).is_some_and(|peer| !peer.sublinks.contains_key(&at.id))
    }

    /// Leads a free sublink to a router.
    pub fn bind(&mut self, at: Sublink, router: RouterKey) {
        let peer = self.peer_mut(at.link).expect("a free sublink is on a working link");
        let before = peer.sublinks.insert(at.id, router);
        assert!(before.is_none(), "only a free sublink is bound");
    }

    /// Frees a sublink.
    pub fn unbind(&mut self, at: Sublink) {
        if let Some(peer) = self.peer_mut(at.link) {
            peer.sublinks.remove(&at.id);
        }
        self.note_past(at);
    }

    /// How many more sublinks a peer may have bound on a link.
    pub fn sublinks_left(&self, link: LinkKey) -> usize {
        let limit = self.limits_of(link).link_sublinks;
        self.peer(link).map_or(0, |peer| limit.saturating_sub(peer.sublinks.len()))
    }

    /// How many more sublinks we may bind on a link of our own accord. Each end stops at half of the limit, so that the other never has
    /// to drop the link for what both did at once; with what is only passed on at a quarter, so that no third node can fill the link.
    pub fn sublinks_to_give(&self, link: LinkKey, passed_on: bool) -> usize {
        let part = self.limits_of(link).link_sublinks / if passed_on { 4 } else { 2 };
        self.peer(link).map_or(0, |peer| part.saturating_sub(peer.sublinks.len()))
    }

    /// `count` consecutive free sublinks. None on a dead link, or if the peer spoils the counter.
    pub fn draw_sublinks(&mut self, link: LinkKey, count: u64) -> Option<Sublink> {
        let peer = self.peer_mut(link)?;
        let sublinks = &peer.sublinks;
        let id = peer.memory.draw_sublinks(count, |id| sublinks.contains_key(&id))?;
        Some(Sublink { link, id })
    }

    /// Appends a message, if the link takes any.
    pub fn send(&mut self, link: LinkKey, message: Message<'static>) {
        self.append(link, Outgoing::Message(message), Vec::new(), 64, false);
    }

    /// Appends a message with driver objects; those of a dead link are closed.
    pub fn append(&mut self, key: LinkKey, message: Outgoing, objects: Vec<ObjectId>, bytes: usize, greeting: bool) {
        match self.links.get_mut(key) {
            Some(link) if link.outbox.accepts() => {
                // The drainer's from here on: it sends them or closes them.
                self.objects -= objects.len();
                link.outbox.send(message, objects, bytes, greeting);
                self.touched.push(key);
            }
            gone => {
                let driver = gone.and_then(|link| self.nodes.get(link.node)).map(|node| node.driver);
                for object in objects {
                    self.doom(driver.expect("objects are sent over links of known nodes"), object);
                }
            }
        }
    }

    /// A driver object is given up.
    pub fn doom(&mut self, driver: DriverKey, object: ObjectId) {
        self.objects -= 1;
        self.out.doomed.push(Doomed::Object(driver, object));
    }

    /// Inserts a link and counts it among its node's.
    pub(super) fn insert_link(&mut self, node: NodeKey, transport: ObjectId, phase: Phase) -> LinkKey {
        if let Some(node) = self.nodes.get_mut(node) {
            node.links_made += 1;
            node.links_open += 1;
        }
        self.objects += 1;
        self.links.insert(NodeLink { node, outbox: Outbox::new(transport), phase, poisoned: false })
    }

    /// Enters an established link into its node's connections, instead of an older one to the same node (nodes.md 5.5).
    pub(super) fn add_connection(&mut self, key: LinkKey) {
        let Some(link) = self.links.get(key) else { return };
        let (node, Some(peer)) = (link.node, link.peer()) else { return };
        let (local, remote, kind) = (peer.local_name, peer.remote_name, peer.remote_type);
        if let Some(old) = self.nodes.get(node).and_then(|n| n.connections.get(&remote)).copied() {
            self.probes.hit(Probe::LinkReplaced);
            self.lose(old);
        }
        let Some(n) = self.nodes.get_mut(node) else { return };
        n.connections.insert(remote, key);
        match (n.kind, kind) {
            (NodeType::Broker, NodeType::Broker) => drop(n.other_brokers.insert(remote)),
            (NodeType::Normal, NodeType::Broker) => {
                n.broker_link = Some(key);
                n.name = local;
                self.share_all(node);
            }
            (_, NodeType::Normal) => {}
        }
    }

    /// Keeps a link's transport from being closed, for who uses it outside the lock. False if it is closed already.
    pub fn pin(&mut self, key: LinkKey) -> bool {
        let open = self.links.get_mut(key).map(|link| &mut link.outbox).filter(|outbox| !outbox.is_closed());
        open.map(Outbox::pin).is_some()
    }

    /// That use is over.
    pub fn unpin(&mut self, key: LinkKey) {
        if let Some(link) = self.links.get_mut(key) {
            link.outbox.unpin();
            self.touched.push(key);
        }
        self.forget_finished(key);
    }

    /// Notes why a link is dropped for its peer's fault, and drops it.
    pub fn blame(&mut self, link: LinkKey, reason: String) {
        if self.blames.len() == Self::BLAMES {
            self.blames.pop_front();
        }
        let peer = self.peer(link).map(|peer| peer.remote_name).unwrap_or_default();
        self.blames.push_back(Blame { link, peer, reason });
        self.refused += 1;
        self.probes.hit(Probe::LinkBlamed);
        if let Some(link) = self.links.get_mut(link) {
            link.poisoned = true;
        }
    }

    /// The next thing the rest of the core must learn.
    pub fn next_event(&mut self) -> Option<NodeEvent> {
        self.out.events.pop_front()
    }

    /// Swaps every mapping for its counterpart in a cloned world.
    pub fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        self.nodes.iter_mut().flat_map(|(_, node)| node.parking.mappings_mut()).for_each(&mut *f);
        for (_, link) in self.links.iter_mut() {
            match &mut link.phase {
                Phase::Greeting(Greeting { role: Role::Broker { memory, .. } | Role::Fellow { memory }, .. }) => f(memory),
                Phase::Greeting(Greeting { role: Role::Referral(referral), .. }) => f(&mut referral.memory.1),
                Phase::Established(peer) => {
                    peer.memory.remap(f);
                    peer.early.payloads_mut().for_each(|payload| payload.remap(f));
                    peer.pieces.payloads_mut().for_each(|payload| payload.remap(f));
                    for wait in peer.waits.values_mut().flatten() {
                        if let BufferWait::Parcel { piece, .. } = wait {
                            piece.payload.remap(f);
                        }
                    }
                }
                Phase::Greeting(_) | Phase::Dead => {}
            }
            link.outbox.remap(f);
        }
    }

    /// Ops that nobody carries out yet, of every link touched since the last call.
    pub fn take_batches(&mut self, out: &mut Vec<Batch>) {
        for i in 0..self.touched.len() {
            out.extend(self.take_batch(self.touched[i]));
        }
        self.touched.clear();
    }

    fn take_batch(&mut self, key: LinkKey) -> Option<Batch> {
        let link = self.links.get_mut(key)?;
        let driver = self.nodes.get(link.node)?.driver;
        let ops = link.outbox.take(self.planted)?;
        Some(Batch { link: key, driver, transport: link.outbox.transport, ops })
    }

    /// A drainer comes back for more; or gives back the token, and a finished link is forgotten. `trust`: it knows that there is no more.
    pub fn next_batch(&mut self, batch: Batch, bytes: usize, trust: bool) -> Option<Batch> {
        let link = self.links.get_mut(batch.link)?;
        match link.outbox.next(batch.ops, bytes, trust) {
            Some(ops) => Some(Batch { ops, ..batch }),
            None => {
                self.forget_finished(batch.link);
                None
            }
        }
    }

    /// What the driver has yet to write on a link.
    pub fn set_backlog(&mut self, key: LinkKey, bytes: usize) {
        if let Some(link) = self.links.get_mut(key) {
            link.outbox.backlog = bytes;
        }
    }

    /// A driver panicked in the hands of a link's drainer: the link is over, the token free.
    pub fn drainer_panicked(&mut self, key: LinkKey) {
        if let Some(link) = self.links.get_mut(key) {
            link.outbox.free_token();
        }
        self.lose(key);
    }

    /// Whether a link of the node's driver has this transport already. One that it has closed may have been given to somebody else since,
    /// by a driver whose handles are addresses.
    pub fn has_transport(&self, node: NodeKey, transport: ObjectId) -> bool {
        let driver = |node: NodeKey| self.nodes.get(node).map(|node| node.driver);
        let shares = |n: &Node| Some(n.driver) == driver(node) && n.sharing.iter().any(|share| share.transport == transport);
        let has = |link: &NodeLink| link.outbox.transport == transport && !link.outbox.is_closed() && driver(link.node) == driver(node);
        self.links.iter().any(|(_, link)| has(link)) || self.nodes.iter().any(|(_, n)| shares(n))
    }

    /// The transport was closed by the drainer.
    pub fn closed(&mut self) {
        self.objects -= 1;
    }
}

/// How many initial portals both ends have.
pub fn shared_portals(local: usize, remote: u32) -> usize {
    local.min(remote.min(MAX_INITIAL_PORTALS) as usize)
}
