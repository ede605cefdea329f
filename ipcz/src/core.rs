//! The core: one value that holds a (virtual) process, one method per input (design.md 3, 3b). Joins `node/` and
//! `routing/`: carries out what routers ask of node links, and tells routers what became of them.
//!
//! No I/O, no clock, no randomness, no locks, no threads. What is to happen comes out as [`Effects`].

mod api;
mod boxes;
mod gets;
mod message;
mod parcel;
mod puts;
mod relay;

use std::collections::BTreeMap;

use crate::arena::Arena;
use crate::clock::Time;
use crate::ids::{BoxKey, Handle, LinkKey, NodeKey, ParcelKey, RequestKey, RouterKey, SublinkId};
use crate::limits::Limits;
use crate::mapping::Mapping;
use crate::memory::{Adopted, LinkState};
use crate::node::link::{Greeting, Role};
use crate::node::{Answer, Ask, Batch, BufferWait, Doomed, MemoryWait, Network, NodeEvent, Phase};
use crate::planted::{Bug, Planted};
use crate::probe::Probe;
use crate::routing::{Neighbour, Origin, Parcel, RouterLink, RouterOp, Routing, SeekBypass, Sublink};
use crate::trap::TrapEvent;

pub use api::{Endpoint, Way};
pub use boxes::BoxContents;
pub use gets::{Given, Kept};
pub use message::{Incoming, Offered};
pub use puts::PutPlan;
pub use relay::RelayWay;

/// What an application holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Entry {
    /// A node.
    Node(NodeKey),
    /// A portal, by its router.
    Portal(RouterKey),
    /// A parcel that is kept.
    Parcel(ParcelKey),
    /// A box.
    Box(BoxKey),
}

/// All state of a process, as plain data.
#[derive(Clone, Default, Debug)]
pub struct Core {
    pub(crate) net: Network,
    pub(crate) routing: Routing,
    pub(crate) handles: Arena<Handle, Entry>,
    pub(crate) parcels: Arena<ParcelKey, Kept>,
    /// Subparcels that were looked at in their boxes: they are kept parcels until something is done with the box.
    lent: BTreeMap<BoxKey, Handle>,
    /// What is to be looked at when a time has come; the number tells equal times apart.
    timers: BTreeMap<(Time, u64), MemoryWait>,
    timers_made: u64,
    now: Time,
    /// What holds for portals without a link.
    limits: Limits,
}

/// What an input wants done, in this order, once the lock is released.
#[derive(Default, Debug)]
pub struct Effects {
    /// Ops of transports, with the token to carry them out.
    pub batches: Vec<Batch>,
    /// Questions for drivers.
    pub asks: Vec<(RequestKey, Ask)>,
    /// Driver objects and mappings to be released.
    pub doomed: Vec<Doomed>,
    /// Parcels whose data is to be freed; nothing is attached any more.
    pub discarded: Vec<Parcel>,
    /// Traps that fired.
    pub traps: Vec<TrapEvent>,
    /// What caused the input: also what its answers count as.
    pub origin: Origin,
    /// When the clock must wake the process at the latest.
    pub wake: Option<Time>,
}

impl Effects {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
            && self.asks.is_empty()
            && self.doomed.is_empty()
            && self.discarded.is_empty()
            && self.traps.is_empty()
            && self.wake.is_none()
    }
}

/// What a driver reports of a transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// Broken for good.
    Error,
    /// It delivers nothing more.
    Deactivated,
    /// It could not be activated.
    ActivateFailed,
    /// A message could not be sent.
    SendFailed,
    /// The drainer has closed it.
    Closed,
}

/// How long a route waits before it asks for link memory again, and how often it asks (routing.md 18, D6).
const RETRY: std::time::Duration = std::time::Duration::from_millis(10);
const ATTEMPTS: u32 = 6;

impl Core {
    /// Something happened to a transport. True if it is its bringer's again: the attempt to connect failed at once.
    pub fn link_event(&mut self, link: LinkKey, event: LinkEvent, now: Time, fx: &mut Effects) -> bool {
        self.begin(Origin::Notification, now);
        let mut given_back = false;
        match event {
            LinkEvent::Error => self.net.lose(link),
            LinkEvent::Deactivated => self.net.deactivated(link),
            LinkEvent::Closed => self.net.closed(),
            LinkEvent::ActivateFailed | LinkEvent::SendFailed => match self.net.links.get(link).map(|link| &link.phase) {
                Some(Phase::Greeting(Greeting { role: Role::Referral(referral), .. })) => {
                    let referrer = referral.referrer;
                    self.net.never_active(link);
                    self.drop_link(referrer, "ReferNonBroker: transport cannot be activated".into());
                }
                Some(Phase::Greeting(_)) => {
                    self.net.disown(link);
                    given_back = true;
                }
                Some(Phase::Established(_)) if event == LinkEvent::ActivateFailed => self.net.never_active(link),
                Some(Phase::Established(_)) => self.net.lose(link),
                Some(Phase::Dead) | None => {}
            },
        }
        self.finish(fx);
        given_back
    }

    /// A driver answered a question; each is answered exactly once.
    pub fn answer(&mut self, to: RequestKey, answer: Answer, origin: Origin, now: Time, fx: &mut Effects) {
        self.begin(origin, now);
        let request = self.net.requests.remove(to).expect("a request is answered once");
        self.net.answers += 1;
        self.net.answered(request, answer);
        self.finish(fx);
    }

    /// Time has passed.
    pub fn timer(&mut self, now: Time, fx: &mut Effects) {
        self.begin(Origin::Notification, now);
        self.net.expire();
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            if entry.key().0 < now && self.routing.planted.has(Bug::DeadlineMissed) {
                entry.remove();
                continue;
            }
            match entry.remove() {
                MemoryWait::Bypass { seek, attempt } => self.seek_bypass(seek, attempt),
                MemoryWait::Flush { router, attempt } => self.retry_local_bypass(router, attempt),
                MemoryWait::Nobody => {}
            }
        }
        self.finish(fx);
    }

    /// A driver panicked in the hands of a drainer: the link is over. What follows from that happens with the next input.
    pub fn drainer_panicked(&mut self, link: LinkKey) {
        self.net.drainer_panicked(link);
    }

    /// A drainer has carried out its ops, `bytes` of messages; the driver has `backlog` bytes yet to write.
    /// `trust` is a planted bug's.
    pub fn next_batch(&mut self, batch: Batch, bytes: usize, backlog: usize, trust: bool) -> Option<Batch> {
        self.net.set_backlog(batch.link, backlog);
        self.net.next_batch(batch, bytes, trust)
    }

    /// Whether a link's drainer would find nothing more to do.
    pub fn is_drained(&self, link: LinkKey) -> bool {
        self.net.links.get(link).is_some_and(|link| link.outbox.is_empty())
    }

    /// Arms a planted bug.
    pub fn plant(&mut self, planted: Planted) {
        self.routing.planted = planted;
        self.net.planted = planted;
    }

    /// Waits that end at a set time.
    pub fn timers(&self) -> usize {
        self.timers.len()
    }

    /// What waits until a set time.
    pub fn waits(&self) -> impl Iterator<Item = &MemoryWait> {
        self.timers.values()
    }

    fn begin(&mut self, origin: Origin, now: Time) {
        self.routing.origin = origin;
        self.now = self.now.max(now);
        self.net.now = self.now;
    }

    /// Works until nothing is left to do within this input, then hands out its effects.
    fn finish(&mut self, fx: &mut Effects) {
        self.settle();
        self.release_boxes();
        fx.origin = self.routing.origin;
        self.net.take_batches(&mut fx.batches);
        fx.asks.append(&mut self.net.out.asks);
        fx.doomed.append(&mut self.net.out.doomed);
        fx.discarded.append(&mut self.routing.discarded);
        fx.traps.append(&mut self.routing.fired);
        let first = [self.timers.first_key_value().map(|(key, _)| key.0), self.net.deadlines.first_key_value().map(|(key, _)| key.0)];
        fx.wake = fx.wake.into_iter().chain(first.into_iter().flatten()).min();
    }

    fn settle(&mut self) {
        loop {
            if let Some(event) = self.net.next_event() {
                self.node_event(event);
            } else if let Some(op) = self.routing.next_op() {
                self.router_op(op);
            } else if !self.routing.work() {
                return;
            }
        }
    }

    /// What routers must learn of nodes and links.
    fn node_event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Connected { link, portals, remote } => self.connected(link, portals, remote),
            NodeEvent::NeverConnected(portals) => {
                for portal in portals {
                    self.routing.probes.hit(Probe::InitialLost);
                    self.routing.never_connected(portal);
                    self.routing.release(portal);
                }
            }
            NodeEvent::Lost(link, sublinks) => {
                for (id, router) in sublinks {
                    self.routing.link_lost(router, Sublink { link, id });
                }
                self.routing.forget_neighbour(link);
            }
            NodeEvent::LinkAnswered { seek, found: true } => self.seek_bypass(seek, 0),
            NodeEvent::LinkAnswered { seek, found: false } => self.routing.bypass_failed(&seek),
            NodeEvent::MemoryAnswered { wait, granted } => self.memory_answered(wait, granted),
            NodeEvent::Resume(link, waits) => self.resume(link, waits),
            NodeEvent::Discard(parcel) => self.routing.discard(parcel),
            NodeEvent::PieceLeft { at, number, arrival } => self.discard_piece(at, number, arrival),
        }
    }

    /// Binds the initial portals of a new link (nodes.md 6).
    fn connected(&mut self, link: LinkKey, portals: Vec<RouterKey>, remote: u32) {
        let planted = self.routing.planted;
        let Some((node, peer)) = self.net.links.get_mut(link).and_then(|l| Some((l.node, l.peer_mut()?))) else {
            return self.node_event(NodeEvent::NeverConnected(portals));
        };
        peer.memory.plant(planted);
        self.routing.neighbours.insert(link, Neighbour { node, name: peer.remote_name });
        let shared = crate::node::network::shared_portals(portals.len(), remote);
        for (i, portal) in portals.into_iter().enumerate() {
            if i < shared {
                let at = Sublink { link, id: SublinkId(i as u64) };
                let peer = self.net.peer(link).expect("looked at above");
                let (side, state) = (peer.side, peer.memory.initial_link_state(i as u32));
                if self.routing.connect(portal, RouterLink::central(at, side, crate::routing::State::Ready(state))) {
                    self.net.bind(at, portal);
                }
            } else {
                self.routing.probes.hit(Probe::InitialSurplus);
                self.routing.never_connected(portal);
            }
            self.routing.release(portal);
        }
        self.take_in_relayed(node, link);
    }

    /// What routers ask of node links.
    fn router_op(&mut self, op: RouterOp) {
        match op {
            RouterOp::Parcel { at, parcel } => self.send_parcel(at, parcel),
            RouterOp::Send { link, message } => self.net.send(link, message),
            RouterOp::Unbind(at) => self.net.unbind(at),
            RouterOp::SeekBypass(seek) => self.seek_bypass(seek, 0),
            RouterOp::SeekLocalBypass { router, inward } => self.seek_local_bypass(router, inward, 0),
            RouterOp::SeekBridgeBypass { router, over } => self.seek_bridge_bypass(router, over, 0),
        }
    }

    /// Z looks for its way to X (routing.md 12.3): X is here, or a link to its node, a sublink and a state on it are needed.
    fn seek_bypass(&mut self, seek: SeekBypass, attempt: u32) {
        if !self.routing.still_seeks(&seek) && !self.routing.planted.has(Bug::SeekStale) {
            self.routing.probes.hit(Probe::BypassGivenUp);
            return;
        }
        let Some((node, peer)) = self.net.links.get(seek.via.link).and_then(|l| Some((l.node, l.peer()?))) else { return };
        if seek.node == peer.local_name {
            let at = Sublink { link: seek.via.link, id: seek.sublink };
            match self.net.bound(at) {
                Some(x) => {
                    if let Err(violation) = self.routing.bypass_to_local(&seek, x) {
                        self.drop_link(seek.via.link, violation.to_string());
                    }
                }
                None => self.routing.bypass_failed(&seek),
            }
            return;
        }
        let Some(link) = self.net.link_to(node, seek.node) else {
            return self.net.establish_link(node, seek.node, seek);
        };
        match self.draw_central(link) {
            Drawn::Link(new, state) => {
                self.routing.probes.hit_if(attempt == 0, Probe::BypassLinkKnown);
                self.net.bind(new, seek.router);
                self.routing.begin_bypass(&seek, new, state);
            }
            Drawn::NoMemory => {
                self.routing.probes.hit(Probe::BypassNoMemory);
                self.net.request_capacity(link, 64, MemoryWait::Bypass { seek, attempt });
            }
            Drawn::Never => self.routing.bypass_failed(&seek),
        }
    }

    /// Y looks for what it needs to link its inward peer straight to its local outward one (routing.md 12.5).
    fn seek_local_bypass(&mut self, router: RouterKey, inward: Sublink, attempt: u32) {
        if self.routing.local_bypass_peer(router, inward).is_none() {
            return;
        }
        match self.draw_central(inward.link) {
            Drawn::Link(new, state) => match self.routing.bypass_local_peer(router, inward, new, state) {
                Ok(x) => self.net.bind(new, x),
                Err(state) => give_back(state),
            },
            Drawn::NoMemory => {
                self.routing.probes.hit(Probe::BypassNoMemory);
                // Nothing is locked meanwhile: the peer may have a use for it.
                self.routing.flush_other_side_if_waiting(router);
                self.net.request_capacity(inward.link, 64, MemoryWait::Flush { router, attempt });
            }
            Drawn::Never => self.routing.flush_other_side_if_waiting(router),
        }
    }

    /// A bridge looks for what it needs to link its local outward peer to its remote one (routing.md 13.3, case 2).
    fn seek_bridge_bypass(&mut self, router: RouterKey, over: Sublink, attempt: u32) {
        if !self.routing.seeks_bridge_bypass(router, over) {
            return;
        }
        match self.draw_central(over.link) {
            Drawn::Link(new, state) => match self.routing.bypass_bridge(router, over, new, state) {
                Ok(q) => self.net.bind(new, q),
                Err(state) => give_back(state),
            },
            Drawn::NoMemory => {
                self.routing.probes.hit(Probe::BypassNoMemory);
                self.routing.flush_other_side_if_waiting(router);
                self.net.request_capacity(over.link, 64, MemoryWait::Flush { router, attempt });
            }
            Drawn::Never => self.routing.flush_other_side_if_waiting(router),
        }
    }

    /// Looks again for the memory of a local bypass: other routes may have given theirs back.
    fn retry_local_bypass(&mut self, router: RouterKey, attempt: u32) {
        let Some(state) = self.routing.get(router) else { return };
        let edge = |edge: &crate::routing::Edge| edge.primary.as_ref().and_then(RouterLink::at);
        match (state.bridged(), edge(&state.out), state.inward.as_deref().and_then(edge)) {
            (Some(_), Some(over), _) => self.seek_bridge_bypass(router, over, attempt),
            (None, _, Some(inward)) => self.seek_local_bypass(router, inward, attempt),
            _ => {}
        }
    }

    /// A sublink and a fresh state for a central link over `link`.
    fn draw_central(&mut self, link: LinkKey) -> Drawn {
        let Some(peer) = self.net.peer(link) else { return Drawn::Never };
        let Some(state) = peer.memory.new_link_state() else { return Drawn::NoMemory };
        match self.net.draw_sublinks(link, 1) {
            Some(new) => Drawn::Link(new, state),
            None => {
                give_back(state);
                Drawn::Never
            }
        }
    }

    fn memory_answered(&mut self, wait: MemoryWait, granted: bool) {
        match wait {
            MemoryWait::Nobody => {}
            MemoryWait::Flush { router, .. } if granted => self.routing.mark_dirty(router, true),
            // It stays a proxy if there never is any.
            MemoryWait::Flush { router, attempt } if attempt + 1 < ATTEMPTS => {
                self.retry(attempt, MemoryWait::Flush { router, attempt: attempt + 1 });
            }
            MemoryWait::Flush { .. } => {}
            MemoryWait::Bypass { seek, attempt } if granted => self.seek_bypass(seek, attempt),
            // The link between X and Y is locked for this bypass: it cannot be left undone (routing.md 18, D6).
            MemoryWait::Bypass { .. } if self.routing.planted.has(Bug::MemoryNotRetried) => {}
            MemoryWait::Bypass { seek, attempt } if attempt + 1 < ATTEMPTS => {
                self.retry(attempt, MemoryWait::Bypass { seek, attempt: attempt + 1 });
            }
            MemoryWait::Bypass { seek, .. } => self.routing.bypass_failed(&seek),
        }
    }

    /// Looks again later, each time twice as much later.
    fn retry(&mut self, attempt: u32, wait: MemoryWait) {
        self.routing.probes.hit(Probe::MemoryRetried);
        let at = self.now + RETRY * 2u32.pow(attempt);
        self.timers_made += 1;
        self.timers.insert((at, self.timers_made), wait);
    }

    /// A buffer came that parcels or link states waited for (memory.md 9). One that does not lie in it ends the link.
    fn resume(&mut self, link: LinkKey, waits: Vec<BufferWait>) {
        for wait in waits {
            match wait {
                BufferWait::Parcel { sublink, number, piece } => self.resume_parcel(Sublink { link, id: sublink }, number, piece),
                BufferWait::State { sublink, fragment } => {
                    let adopted = self.net.peer(link).map(|peer| peer.memory.adopt_link_state(fragment));
                    let bound = sublink.map(|id| Sublink { link, id }).and_then(|at| Some((at, self.net.bound(at)?)));
                    match (adopted, bound) {
                        (Some(Ok(Adopted::State(state))), Some((at, router))) => self.routing.state_arrived(router, at, state),
                        (Some(Ok(Adopted::State(state))), None) => give_back(state),
                        (Some(_), _) => self.drop_link(link, "link state: not within its buffer".into()),
                        (None, _) => {}
                    }
                }
            }
        }
    }

    /// Drops a link for its peer's fault.
    fn drop_link(&mut self, link: LinkKey, reason: String) {
        self.net.blame(link, reason);
        self.net.lose(link);
    }

    /// Swaps every mapping for its counterpart in a cloned world.
    pub fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        self.net.remap(f);
        self.routing.remap(f);
        self.parcels.iter_mut().for_each(|(_, kept)| kept.parcel.payload.remap(f));
    }
}

/// Gives a reference on a link state back. Whether its block was freed is the memory's business.
fn give_back(state: LinkState) {
    state.release();
}

/// What [`Core::draw_central`] found.
enum Drawn {
    Link(Sublink, LinkState),
    NoMemory,
    Never,
}
