//! Flush: the engine of every route. Every change of a router ends in one (routing.md 8).

use super::edge::Edge;
use super::link::{Pairs, RouterLink};
use super::parcel::Parcel;
use super::queue::ParcelQueue;
use super::table::{Broken, Hop, RouterOp, Routing};
use crate::ids::{NodeName, RouterKey, SublinkId};
use crate::memory::status;
use crate::memory::status::Refused;
use crate::planted::Bug;
use crate::probe::{Probe, Probes};
use crate::wire::{BypassPeer, FlushRouter, Message};

/// Pops every parcel whose proper link is there. One whose link is missing blocks all later ones.
fn collect(queue: &mut ParcelQueue, edge: &Edge, pairs: &Pairs, probes: &mut Probes, into: &mut Vec<(Hop, Parcel)>) {
    while queue.has_next() {
        let Some(link) = edge.link_for(queue.next()) else { return probes.hit(Probe::ParcelBlocked) };
        if let Some(decay) = &edge.decay {
            let over_new = decay.length_to.is_some_and(|to| queue.next() >= to);
            probes.hit(if over_new { Probe::ParcelOverNew } else { Probe::ParcelOverDecaying });
        }
        let hop = Hop::to(link, pairs);
        into.extend(queue.pop().map(|parcel| (hop, parcel)));
    }
}

impl Routing {
    /// Sends what can be sent, finishes what is finished, then looks for the next step of the route: closure or bypass.
    pub(super) fn flush(&mut self, key: RouterKey) {
        let Some(router) = self.routers.get_mut(key) else { return };
        let mut parcels = std::mem::take(&mut self.scratch.0);
        router.dirty = false;
        self.probes.flushed(key);
        let force = std::mem::take(&mut router.force);

        collect(&mut router.outbound, &router.out, &self.pairs, &mut self.probes, &mut parcels);
        let outward = parcels.len();
        let early = u64::from(self.planted.has(Bug::DecayOneEarly));
        let left_out = router.out.try_finish(router.outbound.next(), router.inbound.length() + early);
        let mut left_in = None;
        if let Some(inward) = &mut router.inward {
            collect(&mut router.inbound, inward, &self.pairs, &mut self.probes, &mut parcels);
            left_in = inward.try_finish(router.inbound.next(), router.outbound.length());
            self.totals.forwarded += parcels.len() as u64;
            self.probes.hit_if(outward > 0, Probe::ForwardedOutward);
            self.probes.hit_if(parcels.len() > outward, Probe::ForwardedInward);
        }

        self.probes.hit_if(left_out.is_some(), Probe::DecayFinishedOutward);
        self.probes.hit_if(left_in.is_some(), Probe::DecayFinishedInward);
        self.probes.hit_if(left_out.is_some() && left_in.is_some(), Probe::DecayFinishedTogether);

        let raise = router.peer_closed && !router.status_peer_closed && !router.inbound.expects_more();
        if raise {
            router.status_peer_closed = true;
            router.status_dead = router.inbound.fully_consumed();
        }

        let central = router.out.primary.as_ref().is_some_and(RouterLink::is_central);
        let became_stable = central && (left_out.is_some() || left_in.is_some()) && router.is_quiet() && router.out.primary.is_some();
        let looked_early = became_stable && self.planted.has(Bug::WakeLookedEarly);
        let awaited = looked_early && router.out.primary.as_ref().is_some_and(|link| link.is_awaited(&self.pairs));
        let forgets = self.planted.has(Bug::StableForgotten);
        let primary = router.out.primary.as_mut();
        let mut dead_out = None;
        let mut closing = None;
        let mut attempt = None;
        if let Some(link) = primary {
            if became_stable && !forgets {
                link.mark_stable(&mut self.pairs);
            }
            if central && router.outbound.fully_consumed() {
                attempt = Some(link.try_lock(&mut self.pairs));
            }
            if attempt == Some(Ok(())) {
                closing = router.outbound.final_length();
                dead_out = router.out.primary.take();
            } else if !router.inbound.expects_more() {
                dead_out = router.out.primary.take();
            }
        }
        let mut dead_in = None;
        if router.inbound.fully_consumed()
            && let Some(inward) = &mut router.inward
        {
            dead_in = inward.primary.take().zip(router.inbound.final_length());
        }

        if let Some(attempt) = attempt {
            self.note_lock(attempt, Probe::LockedForClosure);
        }
        if raise {
            self.evaluate_traps(key, false);
        }
        for (hop, parcel) in parcels.drain(..) {
            self.deliver(hop, parcel);
        }
        self.scratch.0 = parcels;
        for link in left_out.into_iter().chain(left_in) {
            self.deactivate(link);
        }
        let stop = dead_out.is_some() || !central || !(became_stable || force);
        if let Some(link) = dead_out {
            match closing {
                Some(length) => {
                    self.probes.hit(if link.at().is_some() { Probe::ClosureSent } else { Probe::ClosureLocal });
                    self.close_over(&link, length);
                }
                // Who closed it is gone already; one still here was spoken for by a lying proxy, and would wait for ever.
                None => {
                    if let Some(peer) = link.local_peer(&self.pairs) {
                        self.break_route(peer, Broken::Outward);
                    }
                }
            }
            self.deactivate(link);
        }
        if let Some((link, length)) = dead_in {
            self.probes.hit(Probe::ClosureInward);
            if !self.planted.has(Bug::ClosureStopsAtProxy) {
                self.close_over(&link, length);
            }
            self.deactivate(link);
        }
        if !stop && !self.try_self_bypass(key) && (!looked_early || awaited) {
            self.flush_other_side_if_waiting(key);
        }
        self.reap(key);
    }

    /// Wakes the other end of the central link if it waits for the lock and could have it now.
    pub fn flush_other_side_if_waiting(&mut self, key: RouterKey) {
        let Some(link) = self.routers.get_mut(key).and_then(|router| router.out.primary.as_mut()) else { return };
        if link.take_waiting(&mut self.pairs) {
            self.flush_other_side(key);
        }
    }

    /// Wakes the other end of the central link.
    pub(super) fn flush_other_side(&mut self, key: RouterKey) {
        let Some(link) = self.routers.get(key).and_then(|router| router.out.primary.as_ref()) else { return };
        match link.at() {
            Some(at) => {
                self.probes.hit(Probe::WaiterFlushedRemotely);
                self.send(at.link, Message::FlushRouter(FlushRouter { sublink: at.id }));
            }
            None => {
                self.probes.hit(Probe::WaiterFlushedLocally);
                if let Some(peer) = link.local_peer(&self.pairs) {
                    self.mark_dirty(peer, true);
                }
            }
        }
    }

    /// Starts this router's own bypass, if it is a proxy or of a bridge, next to a central link that can be locked (routing.md 12.2, 13.3).
    fn try_self_bypass(&mut self, key: RouterKey) -> bool {
        let Some(router) = self.routers.get_mut(key) else { return false };
        let Some(inward) = router.inward.as_deref_mut().filter(|edge| edge.is_stable()) else { return false };
        if inward.primary.as_ref().is_some_and(|link| link.bridged().is_some()) {
            return self.try_bridge_bypass(key);
        }
        let Some(inner) = inward.primary.as_ref().and_then(RouterLink::at) else { return false };
        // Asked of our own edge, not of a word that the peer can write.
        if !router.out.is_stable() {
            return false;
        }
        let Some(outer) = &mut router.out.primary else { return false };
        let Some(toward) = self.neighbours.get(&inner.link).copied() else { return false };
        match outer.at() {
            None => {
                if !can_lock(outer, &self.pairs) {
                    // Fails, and leaves the waiting bit where the peer will find it.
                    let refused = outer.try_lock(&mut self.pairs);
                    self.probes.hit_if(refused == Err(Refused::Held), Probe::BypassBothEnds);
                    return self.note_lock(refused, Probe::LockedForBypass);
                }
                self.ops.0.push_back(RouterOp::SeekLocalBypass { router: key, inward: inner });
                true
            }
            Some(at) => {
                let Some(beyond) = self.neighbours.get(&at.link).copied() else { return false };
                // A router between two nodes of one process stays: nobody could introduce their peers.
                if beyond.node != toward.node {
                    self.probes.hit(Probe::ProxyStays);
                    return false;
                }
                if !(self.lock_for_bypass(key, toward.name) || self.planted.has(Bug::LockIgnored)) {
                    return false;
                }
                let Some(router) = self.routers.get_mut(key) else { return false };
                let inward = router.inward.as_mut().expect("looked at above");
                let began = router.out.begin_decay(None, None) && inward.begin_decay(None, None);
                assert!(began, "the lock is only had with both ends stable");
                self.probes.hit(Probe::BypassPeerTold);
                self.send(inner.link, bypass_peer(inner.id, beyond.name, at.id));
                true
            }
        }
    }

    /// Locks a router's central link for a bypass by `source`.
    pub(super) fn lock_for_bypass(&mut self, key: RouterKey, source: NodeName) -> bool {
        let forget = self.planted(Bug::WaitingForgotten);
        let Some(link) = self.routers.get_mut(key).and_then(|router| router.out.primary.as_mut()) else { return false };
        if forget && !can_lock(link, &self.pairs) {
            return false;
        }
        let attempt = link.try_lock_for_bypass(&mut self.pairs, source);
        self.probes.hit_if(attempt == Err(Refused::Held), Probe::BypassBothEnds);
        self.note_lock(attempt, Probe::LockedForBypass)
    }
}

pub(super) fn can_lock(link: &RouterLink, pairs: &Pairs) -> bool {
    link.status(pairs).is_some_and(|word| word & (status::LOCKED | status::STABLE) == status::STABLE)
}

pub(super) fn bypass_peer(over: SublinkId, node: NodeName, sublink: SublinkId) -> Message<'static> {
    Message::BypassPeer(BypassPeer { sublink: over, bypass_target_node: node, bypass_target_sublink: sublink })
}
