//! All routers of a process, and what they ask of the rest of the core.

use std::collections::{BTreeMap, VecDeque};

use super::boxes::Boxed;
use super::link::{Kind, LocalPair, Pairs, RemoteLink, RouterLink, State, Sublink};
use super::parcel::{Object, Parcel, Payload};
use super::router::{PutRefused, Router};
use crate::arena::Arena;
use crate::ids::{BoxKey, Handle, LinkKey, LinkSide, NodeKey, NodeName, RouterKey, SublinkId, Transaction};
use crate::mapping::Mapping;
use crate::memory::LinkState;
use crate::memory::status::Refused;
use crate::planted::{Bug, Planted};
use crate::probe::{Probe, Probes};
use crate::trap::TrapEvent;
use crate::wire::{Message, RouteDisconnected};

/// A peer did what no honest node does; its link is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Violation(pub &'static str);

/// Whether the running input is an API call or something a driver reported.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Origin {
    /// The application called.
    ApiCall,
    /// The driver or the clock did.
    #[default]
    Notification,
}

/// What a router wants done by the floor that knows node links. Carried out in order, within the same input.
#[derive(Debug)]
pub enum RouterOp {
    /// Send a parcel; its portals are moved on the way.
    Parcel {
        /// Over this sublink.
        at: Sublink,
        /// The parcel.
        parcel: Parcel,
    },
    /// Send a message.
    Send {
        /// Over this node link.
        link: LinkKey,
        /// The message.
        message: Message<'static>,
    },
    /// Forget a sublink.
    Unbind(Sublink),
    /// Find a link to `node` and go on with [`Routing::begin_bypass`] or [`Routing::bypass_to_local`] (routing.md 12.3).
    SeekBypass(SeekBypass),
    /// Get a sublink and a link state on the node link of `over` and go on with [`Routing::bypass_bridge`] (routing.md 13.3).
    SeekBridgeBypass {
        /// The router of the bridge whose outward peer is remote.
        router: RouterKey,
        /// Its outward link.
        over: Sublink,
    },
    /// Get a sublink and a link state on `inward` and go on with [`Routing::bypass_local_peer`] (routing.md 12.5).
    SeekLocalBypass {
        /// The proxy.
        router: RouterKey,
        /// Its inward link.
        inward: Sublink,
    },
}

/// A router that was told to bypass its outward neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeekBypass {
    /// The router told.
    pub router: RouterKey,
    /// The link to the neighbour.
    pub via: Sublink,
    /// The node beyond the neighbour.
    pub node: NodeName,
    /// The sublink between the neighbour's node and that node.
    pub sublink: SublinkId,
}

/// What routing knows of a node link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The node of this process that the link belongs to.
    pub node: NodeKey,
    /// The remote node.
    pub name: NodeName,
}

/// Running totals.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Proxies bypassed, counted where the new link was accepted.
    pub bypasses: u64,
    /// Parcels that a proxy passed on.
    pub forwarded: u64,
    /// Routers made.
    pub routers: u64,
    /// Bypass requests refused for lack of authority.
    pub unauthorised: u64,
}

/// All routers of a process.
#[derive(Clone, Default, Debug)]
pub struct Routing {
    pub(crate) routers: Arena<RouterKey, Router>,
    pub(crate) boxes: Arena<BoxKey, Boxed>,
    /// What was in boxes that were given up: to be released outside the lock.
    pub(crate) unboxed: Vec<Boxed>,
    pub(crate) pairs: Pairs,
    pub(crate) neighbours: BTreeMap<LinkKey, Neighbour>,
    pub(crate) planted: Planted,
    pub(crate) probes: Probes,
    pub(crate) origin: Origin,
    pub(crate) totals: Totals,
    pub(crate) proxies: usize,
    /// Two-phase calls ever begun.
    pub(super) transactions_made: u64,
    /// Blocks that gets still read whose portal has moved on: each until its get is ended (api.md A6).
    pub(super) orphans: BTreeMap<Transaction, Payload>,
    /// Trap events of this input.
    pub(crate) fired: Vec<TrapEvent>,
    /// Parcels discarded in this input, their attachments closed already.
    pub(crate) discarded: Vec<Parcel>,
    pub(super) dirty: VecDeque<RouterKey>,
    pub(super) ops: Ops,
    pub(super) broken: VecDeque<(RouterKey, Broken)>,
    pub(super) doomed: Vec<Parcel>,
    pub(super) scratch: Scratch,
}

/// Which half of a route ended abruptly, seen from a router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Broken {
    /// The half beyond an outward link.
    Outward,
    /// The half beyond an inward link.
    Inward,
}

/// The operations of the running input; empty between inputs, hence in every clone.
#[derive(Default, Debug)]
pub struct Ops(pub(super) VecDeque<RouterOp>);

impl Clone for Ops {
    fn clone(&self) -> Ops {
        assert!(self.0.is_empty(), "a core is cloned between inputs");
        Ops::default()
    }
}

/// Storage that is empty between inputs.
#[derive(Default, Debug)]
pub struct Scratch(pub(super) Vec<(Hop, Parcel)>);

impl Clone for Scratch {
    fn clone(&self) -> Scratch {
        Scratch::default()
    }
}

/// Where a collected parcel goes.
#[derive(Clone, Copy, Debug)]
pub enum Hop {
    /// To a router of this process.
    Local(Option<RouterKey>),
    /// To the other router of a bridge.
    Bridge(RouterKey),
    /// Over a node link.
    Remote(Sublink),
}

impl Routing {
    /// A router that nothing refers to yet but one holder.
    pub fn insert(&mut self, router: Router) -> RouterKey {
        self.totals.routers += 1;
        self.routers.insert(Router { holders: 1, ..router })
    }

    /// Two entangled terminal routers.
    pub fn open_pair(&mut self) -> [RouterKey; 2] {
        let ends = [self.insert(Router::default()), self.insert(Router::default())];
        self.join(ends, crate::memory::status::STABLE);
        ends
    }

    /// Makes a local central link the primary link of both.
    pub(super) fn join(&mut self, ends: [RouterKey; 2], status: u32) {
        let pair = self.pairs.insert(LocalPair { ends: ends.map(Some), status });
        for (end, side) in ends.into_iter().zip([LinkSide::A, LinkSide::B]) {
            let router = self.routers.get_mut(end).expect("both ends exist");
            assert!(router.out.primary.is_none(), "an edge has one primary link");
            router.out.primary = Some(RouterLink::Local { pair, side });
        }
    }

    /// The router, unless it is gone.
    pub fn get(&self, key: RouterKey) -> Option<&Router> {
        self.routers.get(key)
    }

    /// The router, unless it is gone.
    pub fn get_mut(&mut self, key: RouterKey) -> Option<&mut Router> {
        self.routers.get_mut(key)
    }

    /// The next operation to carry out.
    pub fn next_op(&mut self) -> Option<RouterOp> {
        self.ops.0.pop_front()
    }

    /// Does one piece of internal work: closes a discarded parcel's portals, passes a disconnection on, flushes a
    /// dirty router. False if there is none.
    pub fn work(&mut self) -> bool {
        if let Some(parcel) = self.doomed.pop() {
            self.probes.hit_if(!parcel.objects.is_empty(), Probe::PortalsDropped);
            let kept = self.planted.has(Bug::UnreadPortalsKept);
            for object in parcel.objects.iter().filter(|_| !kept) {
                match object {
                    Object::Portal(portal) => self.close(*portal),
                    Object::Box(key) => {
                        self.probes.hit(Probe::BoxDropped);
                        self.drop_box(*key);
                    }
                }
            }
            self.discarded.push(parcel);
            return true;
        }
        if let Some((key, half)) = self.broken.pop_front() {
            self.disconnect(key, half);
            return true;
        }
        match self.dirty.pop_front() {
            Some(key) => {
                self.flush(key);
                true
            }
            None => false,
        }
    }

    /// Asks for a flush; `force`: also when nothing became stable (routing.md 8).
    pub fn mark_dirty(&mut self, key: RouterKey, force: bool) {
        if let Some(router) = self.routers.get_mut(key) {
            router.force |= force;
            if !router.dirty {
                router.dirty = true;
                self.dirty.push_back(key);
            }
        }
    }

    /// Throws a parcel away: what is attached is closed within this input.
    pub fn discard(&mut self, parcel: Parcel) {
        self.doomed.push(parcel);
    }

    /// A holder lets go of a router without closing it.
    pub fn release(&mut self, key: RouterKey) {
        if let Some(router) = self.routers.get_mut(key) {
            router.holders -= 1;
            self.reap(key);
        }
    }

    /// Removes a router that nothing refers to.
    pub(super) fn reap(&mut self, key: RouterKey) {
        if !self.routers.get(key).is_some_and(Router::is_unreachable) {
            return;
        }
        let Some(router) = self.routers.remove(key) else { return };
        assert!(router.transactions.is_none(), "ended when its portal was closed or moved");
        self.proxies -= usize::from(router.inward.is_some());
        self.probes.hit_if(router.inward.is_some(), Probe::ProxyGone);
        self.doomed.extend(router.inbound.into_parcels().chain(router.outbound.into_parcels()));
    }

    pub(super) fn send(&mut self, link: LinkKey, message: Message<'static>) {
        self.ops.0.push_back(RouterOp::Send { link, message });
    }

    /// Lets go of this end of a link. Nothing is said to the other end (routing.md 3).
    pub(super) fn deactivate(&mut self, link: RouterLink) {
        match link {
            RouterLink::Local { pair, side } => {
                let Some(ends) = self.pairs.get_mut(pair).map(|p| &mut p.ends) else { return };
                ends[side as usize] = None;
                if *ends == [None, None] {
                    self.pairs.remove(pair);
                }
            }
            RouterLink::Bridge(_) => {}
            RouterLink::Remote(remote) => {
                self.ops.0.push_back(RouterOp::Unbind(remote.at));
                if !self.planted.has(Bug::StateKept) {
                    release_state(remote.kind);
                }
            }
        }
    }

    /// Sends a new parcel from a portal (routing.md 9.1).
    pub fn put(&mut self, key: RouterKey, mut parcel: Parcel, backlog: usize) -> Result<(), (PutRefused, Parcel)> {
        let Some(router) = self.routers.get_mut(key) else { return Err((PutRefused::PeerClosed, parcel)) };
        assert!(router.is_terminal(), "only a portal's router is put into");
        if router.status_peer_closed || router.inbound.final_length().is_some() {
            self.probes.hit_if(!router.status_peer_closed, Probe::PutAfterFinal);
            return Err((PutRefused::PeerClosed, parcel));
        }
        if router.outbound.available() >= backlog {
            return Err((PutRefused::Full, parcel));
        }
        parcel.number = router.outbound.length();
        let hop = router.out.primary.as_ref().map(|link| Hop::to(link, &self.pairs));
        match hop {
            Some(hop) if router.outbound.skip(parcel.number) => {
                // routing.md 19, Q3: what is put now was not counted for the link that decays.
                let due = router.out.decay.as_ref().map_or(Some(0), |decay| decay.length_to);
                assert!(due.is_some_and(|to| parcel.number >= to), "a portal's router knows how much its decaying link still carries");
                self.probes.hit(Probe::ParcelSkippedQueue);
                self.probes.hit_if(!router.out.is_stable(), Probe::ParcelOverNew);
                self.deliver(hop, parcel);
            }
            _ => {
                self.probes.hit_if(router.out.is_empty(), Probe::ParcelQueuedAtPortal);
                if let Err(parcel) = router.outbound.push(parcel) {
                    unreachable!("parcel {} was numbered by its queue", parcel.number);
                }
                self.mark_dirty(key, false);
            }
        }
        Ok(())
    }

    /// Takes the next parcel out of a portal (routing.md 16).
    pub fn take(&mut self, key: RouterKey) -> Option<Parcel> {
        let router = self.routers.get_mut(key)?;
        assert!(!router.has_exclusive_get(), "an exclusive get blocks all others");
        let parcel = router.inbound.pop()?;
        if router.status_peer_closed && router.inbound.fully_consumed() {
            router.status_dead = true;
        }
        self.evaluate_traps(key, false);
        Some(parcel)
    }

    /// Passes a parcel on.
    pub(super) fn deliver(&mut self, hop: Hop, parcel: Parcel) {
        match hop {
            Hop::Local(Some(peer)) => self.accept_inbound(peer, parcel),
            Hop::Local(None) => self.discard(parcel),
            Hop::Bridge(peer) => {
                self.probes.hit(Probe::ParcelOverBridge);
                self.accept_outbound(peer, parcel);
            }
            Hop::Remote(at) => self.ops.0.push_back(RouterOp::Parcel { at, parcel }),
        }
    }

    /// Whether a parcel carries a router: itself, or inside parcels that wait at those it carries. Also if there are too many to tell.
    pub fn carries(&self, parcel: &Parcel, router: RouterKey) -> bool {
        const MANY: usize = 1000;
        let mut found = self.portals_in(&parcel.objects);
        let mut at = 0;
        while let Some(key) = found.get(at).copied() {
            if key == router || at == MANY {
                return true;
            }
            at += 1;
            if let Some(held) = self.routers.get(key) {
                let inside = held.inbound.iter().chain(held.outbound.iter());
                inside.for_each(|parcel| found.extend(self.portals_in(&parcel.objects)));
            }
        }
        false
    }

    /// A parcel from the opposite end (routing.md 9.2). Refused numbers are dropped: sequences are legitimately cut.
    pub fn accept_inbound(&mut self, key: RouterKey, parcel: Parcel) {
        let Some(router) = self.routers.get_mut(key) else { return self.discard(parcel) };
        let before = router.inbound.length();
        match router.inbound.push(parcel) {
            Err(parcel) => {
                self.probes.hit(Probe::ParcelRefused);
                self.discard(parcel);
            }
            Ok(()) => {
                let gap = router.inbound.length() > before + 1 && self.planted.has(Bug::GapFilledSilently);
                let grew = router.inbound.length() > before && !gap;
                let terminal = router.is_terminal();
                self.probes.hit_if(!grew, Probe::ParcelBehindGap);
                self.probes.hit_if(router.inbound.length() > before + 1, Probe::GapClosed);
                self.probes.hit_if(router.closed && terminal, Probe::ParcelAtClosedPortal);
                if router.closed && terminal {
                    self.doomed.extend(std::iter::from_fn(|| router.inbound.pop()));
                }
                if !terminal
                    || router.inbound.final_length().is_some()
                    || !(router.out.is_stable() || self.planted.has(Bug::DecayNotLookedAt))
                {
                    self.mark_dirty(key, false);
                }
                if grew && terminal {
                    self.evaluate_traps(key, true);
                }
            }
        }
    }

    /// A parcel from the own end; only proxies and bridge routers get any.
    pub fn accept_outbound(&mut self, key: RouterKey, parcel: Parcel) {
        let Some(router) = self.routers.get_mut(key) else { return self.discard(parcel) };
        let before = router.outbound.length();
        match router.outbound.push(parcel) {
            Err(parcel) => {
                self.probes.hit(Probe::ParcelRefused);
                self.discard(parcel);
            }
            Ok(()) => {
                self.probes.hit_if(router.outbound.length() == before, Probe::ParcelBehindGap);
                self.probes.hit_if(router.outbound.length() > before + 1, Probe::GapClosed);
                self.mark_dirty(key, false);
            }
        }
    }

    /// The memory of a link state is known now: applies what was remembered (routing.md 2.4).
    pub fn state_arrived(&mut self, key: RouterKey, at: Sublink, state: LinkState) {
        let slot = self.routers.get_mut(key).and_then(|router| {
            router.links_mut().find_map(|link| match link {
                RouterLink::Remote(remote) if remote.at == at => Some(remote),
                _ => None,
            })
        });
        match slot {
            Some(remote) => {
                if let Kind::Central(State::Pending { stable, .. }) = remote.kind {
                    self.probes.hit(Probe::StateArrived);
                    self.probes.hit_if(stable, Probe::StableRemembered);
                    if stable {
                        state.set_stable(remote.side);
                    }
                    remote.kind = Kind::Central(State::Ready(state));
                    self.mark_dirty(key, true);
                }
            }
            None => {
                state.release();
            }
        }
    }

    /// Another holder keeps a router.
    pub fn hold(&mut self, key: RouterKey) {
        if let Some(router) = self.routers.get_mut(key) {
            router.holders += 1;
        }
    }

    /// Says which handle an application has on a router.
    pub fn set_portal(&mut self, key: RouterKey, portal: Option<Handle>) {
        if let Some(router) = self.routers.get_mut(key) {
            router.portal = portal;
        }
    }

    /// The router at the other end of a local link.
    pub fn local_peer(&self, key: RouterKey) -> Option<RouterKey> {
        self.routers.get(key)?.out.primary.as_ref()?.local_peer(&self.pairs)
    }

    /// Connects an initial portal; false if its route is lost already: then the far end is told (routing.md 11.4).
    pub fn connect(&mut self, key: RouterKey, link: RouterLink) -> bool {
        if self.routers.get(key).is_some_and(|router| !router.disconnected && router.out.primary.is_none()) {
            self.probes.hit(Probe::InitialAdopted);
            self.adopt_outward(key, link);
            return true;
        }
        if let Some(at) = link.at() {
            self.send(at.link, Message::RouteDisconnected(RouteDisconnected { sublink: at.id }));
        }
        self.deactivate(link);
        false
    }

    /// The link that a router's parcels take outward, if it leads to another node.
    pub fn outward_link(&self, key: RouterKey) -> Option<Sublink> {
        self.routers.get(key)?.out.primary.as_ref()?.at()
    }

    /// Notes a bypass request without authority.
    pub fn count_unauthorised(&mut self) {
        self.probes.hit(Probe::BypassUnauthorised);
        self.totals.unauthorised += 1;
    }

    /// Swaps every mapping for its counterpart in a cloned world.
    pub fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        for (_, router) in self.routers.iter_mut() {
            for link in router.links_mut() {
                if let RouterLink::Remote(RemoteLink { kind: Kind::Central(State::Ready(state)), .. }) = link {
                    state.remap(f);
                }
            }
            for parcel in router.inbound.iter_mut().chain(router.outbound.iter_mut()) {
                parcel.payload.remap(f);
            }
            if let Some(open) = &mut router.transactions {
                open.remap(f);
            }
        }
        self.orphans.values_mut().for_each(|payload| payload.remap(f));
        for (_, boxed) in self.boxes.iter_mut() {
            if let Boxed::Parcel(parcel) = boxed {
                parcel.payload.remap(f);
            }
        }
    }

    /// Notes what became of an attempt to lock a central link.
    pub(super) fn note_lock(&mut self, attempt: Result<(), Refused>, wanted: Probe) -> bool {
        self.probes.hit(match attempt {
            Ok(()) => wanted,
            Err(Refused::Held) => Probe::LockRefusedHeld,
            Err(Refused::Unstable) => Probe::LockRefusedUnstable,
            Err(Refused::Waits) => Probe::LockRefusedWaitingSet,
            Err(Refused::Pending) => Probe::LockRefusedPending,
            Err(Refused::Peripheral) => Probe::LockRefusedPeripheral,
        });
        attempt.is_ok()
    }

    /// Whether a planted bug is armed.
    pub(super) fn planted(&self, bug: Bug) -> bool {
        self.planted.has(bug)
    }
}

impl Hop {
    pub(super) fn to(link: &RouterLink, pairs: &Pairs) -> Hop {
        match link {
            RouterLink::Local { .. } => Hop::Local(link.local_peer(pairs)),
            RouterLink::Bridge(peer) => Hop::Bridge(*peer),
            RouterLink::Remote(remote) => Hop::Remote(remote.at),
        }
    }
}

/// Gives a dying link's reference on its state back, if it has one.
pub(super) fn release_state(kind: Kind) {
    if let Kind::Central(state) = kind {
        state.release();
    }
}
