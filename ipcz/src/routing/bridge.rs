//! Merging two portals makes their routers a bridge: each is the other's inward peer, over a link that has no state (routing.md 13).
//! The pair is bypassed like a proxy: P1 and P2 are the outward peers of the bridge routers B1 and B2.

use super::edge::Edge;
use super::flush::{bypass_peer, can_lock};
use super::link::{RouterLink, State, Sublink};
use super::table::{Broken, RouterOp, Routing};
use crate::ids::{LinkSide, NodeName, RouterKey};
use crate::memory::LinkState;
use crate::planted::Bug;
use crate::probe::Probe;
use crate::wire::{BypassPeerWithLink, Message};

/// Why two portals cannot be merged; nothing has changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeRefused {
    /// They are one portal, or the two ends of one pipe.
    Related,
    /// A parcel is being got from one of them (api.md A6).
    Held,
    /// Something was put into one of them, or got out of it: numbers pass through a bridge unchanged, so both must start at 0.
    Used,
}

/// A bridge that could be bypassed: its routers, each with the place of its outward link; none if that is local.
struct Bridge {
    ends: [RouterKey; 2],
    outer: [Option<Sublink>; 2],
}

/// A router, and how many parcels still take the link it leaves in each direction.
type Leaving = (RouterKey, Option<u64>, Option<u64>);

impl Routing {
    /// Joins two routes in the middle: what arrives at `a` leaves from `b`, and the other way round. Both portals are consumed.
    pub fn merge(&mut self, a: RouterKey, b: RouterKey) -> Result<(), MergeRefused> {
        if a == b || self.local_peer(a) == Some(b) {
            return Err(MergeRefused::Related);
        }
        let used = |key| self.routers.get(key).is_none_or(|router| router.inbound.next() > 0 || router.outbound.length() > 0);
        if [a, b].iter().any(|key| self.routers.get(*key).is_some_and(|router| router.has_exclusive_get())) {
            return Err(MergeRefused::Held);
        }
        if used(a) || used(b) {
            return Err(MergeRefused::Used);
        }
        self.probes.hit(Probe::Merged);
        for (key, peer) in [(a, b), (b, a)] {
            self.remove_traps(key);
            self.drop_transactions(key);
            let router = self.routers.get_mut(key).expect("looked at above");
            assert!(router.is_terminal(), "a portal's router");
            self.probes.hit_if(router.inbound.has_next(), Probe::MergedWithParcels);
            self.probes.hit_if(router.peer_closed, Probe::MergedPeerClosed);
            self.probes.hit_if(router.out.is_empty() && !router.disconnected, Probe::MergedUnconnected);
            self.probes.hit_if(!router.out.is_stable(), Probe::MergedDecaying);
            router.inward = Some(Box::new(Edge { primary: Some(RouterLink::Bridge(peer)), decay: None }));
            router.portal = None;
            router.holders -= 1;
            self.proxies += 1;
        }
        self.mark_dirty(a, true);
        if !self.planted.has(Bug::MergeFlushesOne) {
            self.mark_dirty(b, true);
        }
        Ok(())
    }

    /// What crosses the bridge ends with `length`; the bridge is of no use in either direction any more (routing.md 13.2).
    pub(super) fn close_over_bridge(&mut self, peer: RouterKey, length: u64) {
        self.probes.hit(Probe::ClosureOverBridge);
        if let Some(inward) = self.routers.get_mut(peer).and_then(|router| router.inward.as_mut()) {
            inward.primary = None;
        }
        self.accept_closure(peer, Broken::Inward, length);
    }

    /// The bridge that `b1` belongs to, if every edge of it is there and stable and both ends may be bypassed.
    fn bridge(&self, b1: RouterKey) -> Option<Bridge> {
        let b2 = self.routers.get(b1)?.inward.as_ref()?.primary.as_ref()?.bridged()?;
        let outer = |key, peer| {
            let router = self.routers.get(key).filter(|router| router.is_quiet() && !router.disconnected)?;
            let back = router.inward.as_ref()?.primary.as_ref()?.bridged();
            (back == Some(peer)).then_some(router.out.primary.as_ref()?.at())
        };
        Some(Bridge { ends: [b1, b2], outer: [outer(b1, b2)?, outer(b2, b1)?] })
    }

    /// Starts the bypass of a bridge, if both its central links can be locked (routing.md 13.3).
    pub(super) fn try_bridge_bypass(&mut self, b1: RouterKey) -> bool {
        let Some(bridge) = self.bridge(b1) else { return false };
        let [b1, b2] = bridge.ends;
        if self.local_peer(b1) == Some(b2) {
            // A route merged with itself: a ring without ends, that nobody can read from or close.
            self.probes.hit(Probe::BridgeRing);
            self.break_route(b1, Broken::Outward);
            return true;
        }
        match bridge.outer {
            [Some(first), Some(second)] => self.bypass_bridge_remotely(&bridge, first, second),
            [None, None] => self.bypass_bridge_locally(&bridge),
            [Some(over), None] => self.seek_bridge_bypass(&bridge, b1, over),
            [None, Some(over)] => self.seek_bridge_bypass(&bridge, b2, over),
        }
    }

    /// Case 1: P2 is told to bypass the bridge towards P1, as it would a proxy.
    fn bypass_bridge_remotely(&mut self, bridge: &Bridge, first: Sublink, second: Sublink) -> bool {
        let neighbour = |at: Sublink| self.neighbours.get(&at.link).copied();
        let (Some(p1), Some(p2)) = (neighbour(first), neighbour(second)) else { return false };
        // As for a proxy between two nodes of one process: nobody could introduce their peers.
        if p1.node != p2.node {
            self.probes.hit(Probe::ProxyStays);
            return false;
        }
        if !self.lock_bridge(bridge, [p2.name, p1.name]) {
            return false;
        }
        self.probes.hit(Probe::BridgeBypassRemote);
        let unknown = bridge.ends.map(|key| (key, None, None));
        self.begin_decays(&unknown, &unknown);
        self.send(second.link, bypass_peer(second.id, p1.name, first.id));
        true
    }

    /// Case 3: P1 and P2 are of this process, and are joined at once.
    fn bypass_bridge_locally(&mut self, bridge: &Bridge) -> bool {
        let [b1, b2] = bridge.ends;
        let (Some(p1), Some(p2)) = (self.local_peer(b1), self.local_peer(b2)) else { return false };
        if !self.lock_bridge(bridge, [NodeName::INVALID; 2]) {
            return false;
        }
        self.probes.hit(Probe::BridgeBypassLocal);
        self.totals.bypasses += 1;
        let sent = |key: RouterKey| self.routers.get(key).map_or(0, |router| router.outbound.next());
        let (a, b) = (sent(p1), sent(p2));
        // What comes from P1 crosses B1 inward and B2 outward.
        let known = |(key, to, from)| (key, Some(to), Some(from));
        self.begin_decays(&[(p1, a, b), (p2, b, a), (b1, b, a), (b2, a, b)].map(known), &[(b1, a, b), (b2, b, a)].map(known));
        self.join([p1, p2], 0);
        for key in [b1, b2, p1, p2] {
            self.mark_dirty(key, false);
        }
        true
    }

    /// Case 2: the local outward peer can be linked to the remote one of `f` once there is memory on the node link between.
    fn seek_bridge_bypass(&mut self, bridge: &Bridge, f: RouterKey, over: Sublink) -> bool {
        if let Some(stuck) = bridge.ends.into_iter().find(|key| !self.is_lockable(*key)) {
            // Fails, and leaves the waiting bit where the peer will find it; unless that changed the word meanwhile.
            if self.lock_for_bypass(stuck, NodeName::INVALID) {
                self.unlock(stuck);
                self.mark_dirty(stuck, true);
            }
            return false;
        }
        self.ops.0.push_back(RouterOp::SeekBridgeBypass { router: f, over });
        true
    }

    /// Whether the bridge of `f`, whose outward peer is across `over`, could still be bypassed with a local peer at its other end.
    pub fn seeks_bridge_bypass(&self, f: RouterKey, over: Sublink) -> bool {
        self.bridge(f).is_some_and(|bridge| bridge.outer == [Some(over), None])
    }

    /// Case 2: there is a sublink to R and a state for it. Answers with Q, the local outward peer, to which the sublink belongs; or
    /// with the state, if the moment has passed.
    pub fn bypass_bridge(&mut self, f: RouterKey, over: Sublink, new: Sublink, state: LinkState) -> Result<RouterKey, LinkState> {
        let Some(bridge) = self.bridge(f).filter(|bridge| bridge.outer == [Some(over), None]) else { return Err(state) };
        let l = bridge.ends[1];
        let Some(q) = self.local_peer(l) else { return Err(state) };
        if !self.lock_bridge(&bridge, [NodeName::INVALID; 2]) {
            return Err(state);
        }
        self.probes.hit(Probe::BridgeBypassWithLink);
        let fragment = state.share();
        let sent = self.routers.get(q).map_or(0, |router| router.outbound.next());
        let (to, from) = (Some(sent), Some(sent));
        self.begin_decays(&[(q, to, None), (l, None, from), (f, to, None)], &[(l, to, None), (f, None, from)]);
        let message =
            BypassPeerWithLink { sublink: over.id, new_sublink: new.id, new_link_state_fragment: fragment, inbound_sequence_length: sent };
        self.send(over.link, Message::BypassPeerWithLink(message));
        self.adopt_outward(q, RouterLink::central(new, LinkSide::A, State::Ready(state)));
        self.mark_dirty(l, false);
        self.mark_dirty(f, false);
        Ok(q)
    }

    /// The other bridge router learns what remains, once `b1` was told (case 1): `inbound` comes from P1, `outbound` from P2.
    pub(super) fn stop_bridging(&mut self, b2: RouterKey, inbound: u64, outbound: u64) {
        let Some(router) = self.routers.get_mut(b2) else { return };
        router.out.learn(Some(inbound), Some(outbound));
        if let Some(inward) = &mut router.inward {
            inward.learn(Some(outbound), Some(inbound));
        }
        self.mark_dirty(b2, false);
    }

    /// R answered `f` (case 2): `length` parcels come from it over the bridge in total: in at F, across to L, out to Q.
    pub(super) fn stop_bridging_to_local(&mut self, f: RouterKey, l: RouterKey, length: u64) {
        let decaying = |routing: &Routing| routing.routers.get(l)?.out.decay.as_ref()?.link.local_peer(&routing.pairs);
        let Some(q) = decaying(self) else { return };
        self.probes.hit(Probe::StopBridgingLocal);
        for (key, to, from) in [(f, None, Some(length)), (l, Some(length), None), (q, None, Some(length))] {
            let Some(router) = self.routers.get_mut(key) else { continue };
            router.out.learn(to, from);
            // What a bridge router receives outside it sends across, and the other way round.
            if let Some(inward) = router.inward.as_mut().filter(|_| key != q) {
                inward.learn(from, to);
            }
            self.mark_dirty(key, false);
        }
    }

    /// Begins to leave outward links, then the bridge from either side: of each the router, and the lengths to and from, if known.
    fn begin_decays(&mut self, outward: &[Leaving], across: &[Leaving]) {
        for (key, to, from) in outward {
            let router = self.routers.get_mut(*key).expect("ends of links that were locked");
            let began = router.out.begin_decay(*to, *from);
            assert!(began, "the link was locked with both ends stable");
        }
        for (key, to, from) in across {
            let inward = self.routers.get_mut(*key).and_then(|router| router.inward.as_mut()).expect("a bridge router");
            let began = inward.begin_decay(*to, *from);
            assert!(began, "the bridge was stable");
        }
    }

    /// Whether a router's outward link could be locked now.
    fn is_lockable(&self, key: RouterKey) -> bool {
        let link = self.routers.get(key).and_then(|router| router.out.primary.as_ref());
        link.is_some_and(|link| can_lock(link, &self.pairs))
    }

    /// Locks both central links of a bridge, each for its source, or neither. The one that can't be had is tried first: then there is
    /// mostly nothing to undo, and it knows that it is waited for.
    fn lock_bridge(&mut self, bridge: &Bridge, sources: [NodeName; 2]) -> bool {
        let order = if self.is_lockable(bridge.ends[1]) { [0, 1] } else { [1, 0] };
        if !self.lock_for_bypass(bridge.ends[order[0]], sources[order[0]]) {
            return false;
        }
        if self.lock_for_bypass(bridge.ends[order[1]], sources[order[1]]) {
            return true;
        }
        self.unlock(bridge.ends[order[0]]);
        false
    }

    /// Gives the lock of a router's central link back, and tells its peer, whose own attempt it may have spoilt without a trace (D11).
    fn unlock(&mut self, key: RouterKey) {
        self.probes.hit(Probe::BridgeUnlocked);
        let Some(link) = self.routers.get_mut(key).and_then(|router| router.out.primary.as_mut()) else { return };
        link.unlock(&mut self.pairs);
        self.flush_other_side(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::status;

    /// Two entangled routers whose link says `status`.
    fn pair(routing: &mut Routing, status: u32) -> [RouterKey; 2] {
        let ends = [routing.insert(Default::default()), routing.insert(Default::default())];
        routing.join(ends, status);
        ends
    }

    fn settle(routing: &mut Routing) {
        while routing.work() {}
    }

    /// Only by way of other nodes can the ends of a route be merged that are not yet each other's peer; an unstable link is as good.
    #[test]
    fn a_route_merged_with_itself_is_ended_once_it_has_shrunk() {
        let mut routing = Routing::default();
        let ([a, b], [c, d]) = (pair(&mut routing, 0), pair(&mut routing, 0));
        assert_eq!((routing.merge(b, c), routing.merge(a, d)), (Ok(()), Ok(())));
        settle(&mut routing);
        assert_eq!(routing.routers.len(), 4, "nothing can be locked");
        for key in [a, b, c, d] {
            let router = routing.routers.get_mut(key).unwrap();
            router.out.primary.as_mut().unwrap().mark_stable(&mut routing.pairs);
            routing.mark_dirty(key, true);
        }
        settle(&mut routing);
        assert_eq!((routing.routers.len(), routing.pairs.len(), routing.proxies), (0, 0, 0));
    }

    #[test]
    fn a_bridge_takes_both_locks_or_none() {
        for stuck in [0, 1] {
            let mut routing = Routing::default();
            let pairs = [0, 1].map(|side| pair(&mut routing, if side == stuck { status::stable(LinkSide::B) } else { status::STABLE }));
            routing.merge(pairs[0][1], pairs[1][1]).unwrap();
            settle(&mut routing);
            let word = |key: RouterKey| routing.routers.get(key).unwrap().out.primary.as_ref().unwrap().status(&routing.pairs);
            let waits = status::stable(LinkSide::B) | status::waiting(LinkSide::B);
            assert_eq!((word(pairs[stuck][0]), word(pairs[1 - stuck][0])), (Some(waits), Some(status::STABLE)), "side {stuck} is stuck");
            // Its end becomes stable, and wakes the bridge that waits.
            let end = pairs[stuck][0];
            routing.routers.get_mut(end).unwrap().out.primary.as_mut().unwrap().mark_stable(&mut routing.pairs);
            routing.mark_dirty(end, true);
            settle(&mut routing);
            assert_eq!((routing.local_peer(end), routing.routers.len()), (Some(pairs[1 - stuck][0]), 2));
        }
    }
}
