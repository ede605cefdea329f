//! How a proxy is bypassed (routing.md 12). X is its outward peer across the central link, Y the proxy, Z its inward peer.
//! Y's own first step, locking the central link and telling Z, is the end of a flush.

use super::closure::plausible;
use super::link::{RouterLink, State, Sublink};
use super::table::{Broken, RouterOp, Routing, SeekBypass, Violation};
use crate::ids::{LinkSide, NodeName, RouterKey, SublinkId};
use crate::memory::LinkState;
use crate::planted::Bug;
use crate::probe::Probe;
use crate::wire::{AcceptBypassLink, BypassPeerWithLink, Message, ProxyWillStop, StopProxying, StopProxyingToLocalPeer};

/// A new central link offered to X by AcceptBypassLink, or to Z by BypassPeerWithLink.
#[derive(Debug)]
pub struct Offer {
    /// The link to replace, as the receiver knows it.
    pub old: Sublink,
    /// The new link.
    pub new: Sublink,
    /// Its state; this holds the reference that the message carried.
    pub state: State,
    /// Parcels that still come over the old link in total.
    pub inbound_length: u64,
}

/// What became of an offer that broke no rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offered {
    /// Adopted: the new sublink is this router's.
    Adopted,
    /// The router has no use for it any more.
    Ignored,
    /// The new sublink is in use: the route cannot go on.
    Taken,
    /// The count does not fit what arrived. Either may come from a third node's lie: only the route ends.
    Miscounted,
    /// The offerer had no authority (nodes.md D-14): it is to be told that the new sublink leads nowhere.
    Unauthorised,
}

impl Routing {
    /// Z: BypassPeer arrived over `via`, or came with the router itself (routing.md 12.3).
    pub fn bypass_peer(&mut self, z: RouterKey, via: Sublink, node: NodeName, sublink: SublinkId) -> Result<(), Violation> {
        let Some(router) = self.routers.get_mut(z) else { return Ok(()) };
        let Some(primary) = &router.out.primary else { return Ok(()) };
        if primary.at() != Some(via) {
            return Err(Violation("BypassPeer: not this router's outward link"));
        }
        if !router.out.is_stable() || router.seeking {
            return Err(Violation("BypassPeer: the outward edge is being bypassed already"));
        }
        router.seeking = true;
        self.probes.hit(Probe::BypassSought);
        self.ops.0.push_back(RouterOp::SeekBypass(SeekBypass { router: z, via, node, sublink }));
        Ok(())
    }

    /// Whether Z still wants the link it is waiting for.
    pub fn still_seeks(&self, seek: &SeekBypass) -> bool {
        self.routers.get(seek.router).is_some_and(|router| {
            !router.disconnected && router.out.is_stable() && router.out.primary.as_ref().is_some_and(|p| p.at() == Some(seek.via))
        })
    }

    /// Z: there is a link to X's node, a sublink on it that is bound to Z, and a state for it (routing.md 12.3).
    pub fn begin_bypass(&mut self, seek: &SeekBypass, new: Sublink, state: LinkState) {
        assert!(self.still_seeks(seek), "looked at in the same input");
        let fragment = state.share();
        let proxy = self.neighbours.get(&seek.via.link).map(|n| n.name).unwrap_or_default();
        let router = self.routers.get_mut(seek.router).expect("looked at in the same input");
        router.seeking = false;
        self.probes.hit(Probe::BypassOffered);
        self.probes.hit_if(router.inward.is_some(), Probe::BypassByProxy);
        let sent = router.outbound.next();
        let began = router.out.begin_decay(Some(sent), None);
        assert!(began, "the edge was stable");
        let message = AcceptBypassLink {
            current_peer_node: proxy,
            current_peer_sublink: seek.sublink,
            inbound_sequence_length_from_bypassed_link: sent,
            new_sublink: new.id,
            new_link_state_fragment: fragment,
        };
        self.send(new.link, Message::AcceptBypassLink(message));
        self.adopt_outward(seek.router, RouterLink::central(new, LinkSide::A, State::Ready(state)));
    }

    /// Gives a router its next outward link, announced already (routing.md 10.5).
    pub(super) fn adopt_outward(&mut self, key: RouterKey, mut link: RouterLink) {
        let router = self.routers.get_mut(key).expect("looked at in the same input");
        assert!(router.out.primary.is_none() && !router.disconnected, "a free, connected edge adopts");
        if link.is_central() && (router.is_quiet() || self.planted.has(Bug::StableWhileDecaying)) {
            link.mark_stable(&mut self.pairs);
        }
        router.out.primary = Some(link);
        self.mark_dirty(key, true);
    }

    /// X (or Z, when X is on Y's node): a link that replaces the outward one (routing.md 12.4, 12.5). `offerer` is the node it came
    /// from, `free` whether the new sublink can be bound. Only an adopted offer keeps its reference on the state; the caller binds the new sublink then.
    pub fn accept_bypass_link(&mut self, key: RouterKey, offer: Offer, offerer: NodeName, free: bool) -> Result<Offered, Violation> {
        let verdict = self.judge(key, &offer, offerer, free);
        if verdict != Ok(Offered::Adopted) {
            offer.state.release();
            return verdict;
        }
        let off_by_one = u64::from(self.planted(Bug::LengthOffByOne));
        let router = self.routers.get_mut(key).expect("judged");
        let sent = router.outbound.next();
        let began = router.out.begin_decay(Some(sent), Some(offer.inbound_length));
        assert!(began, "judged");
        router.out.primary = Some(RouterLink::central(offer.new, LinkSide::B, offer.state));
        self.totals.bypasses += 1;
        self.probes.hit_if(router.inward.is_some(), Probe::BypassAcceptedByProxy);
        if offer.new.link == offer.old.link {
            self.probes.hit(Probe::BypassAcceptedSame);
            let message = StopProxyingToLocalPeer { sublink: offer.old.id, outbound_sequence_length: sent };
            self.send(offer.old.link, Message::StopProxyingToLocalPeer(message));
        } else {
            self.probes.hit(Probe::BypassAccepted);
            let told = sent.saturating_sub(off_by_one);
            self.stop_proxying_over(offer.old, told, offer.inbound_length);
            if !self.planted(Bug::WillStopDropped) {
                let message = ProxyWillStop { sublink: offer.new.id, inbound_sequence_length: told };
                self.send(offer.new.link, Message::ProxyWillStop(message));
            }
        }
        self.mark_dirty(key, false);
        Ok(Offered::Adopted)
    }

    fn judge(&self, key: RouterKey, offer: &Offer, offerer: NodeName, free: bool) -> Result<Offered, Violation> {
        let Some(router) = self.routers.get(key) else { return Ok(Offered::Ignored) };
        let Some(primary) = router.out.primary.as_ref().filter(|_| !router.disconnected) else { return Ok(Offered::Ignored) };
        // Names alone give no right: (node, sublink) must be the link in use, and its far end must have let this node in.
        // Who offers a link to a third node's proxy has that node's word alone; of its own proxy it knows better.
        let third = offer.new.link != offer.old.link;
        if primary.at().is_none() && !third {
            return Err(Violation("bypass link: the outward link is local"));
        }
        if primary.at() != Some(offer.old) || (third && !primary.may_bypass(offerer) && !self.planted.has(Bug::SourceUnchecked)) {
            return Ok(Offered::Unauthorised);
        }
        if !router.out.is_stable() {
            return if third { Ok(Offered::Unauthorised) } else { Err(Violation("bypass link: the outward edge decays already")) };
        }
        if !plausible(offer.inbound_length, router.inbound.length()) {
            return Ok(Offered::Miscounted);
        }
        Ok(if free { Offered::Adopted } else { Offered::Taken })
    }

    /// Tells a proxy what remains for it to pass on.
    fn stop_proxying_over(&mut self, at: Sublink, inbound: u64, outbound: u64) {
        let (inbound, outbound) = if self.planted(Bug::LengthsSwapped) { (outbound, inbound) } else { (inbound, outbound) };
        if !self.planted(Bug::StopProxyingDropped) {
            let message = StopProxying { sublink: at.id, inbound_sequence_length: inbound, outbound_sequence_length: outbound };
            self.send(at.link, Message::StopProxying(message));
        }
    }

    /// Y, or a router of a bridge: what remains to be passed on in each direction (routing.md 12.4, 13.3).
    pub fn stop_proxying(&mut self, y: RouterKey, via: Sublink, inbound: u64, outbound: u64) -> Result<(), Violation> {
        let Some(router) = self.routers.get_mut(y) else { return Ok(()) };
        let bridged = router.bridged();
        let (arrived, taken) = (router.inbound.length(), router.outbound.length());
        let inward = router.inward.as_mut().and_then(|edge| edge.decay.as_mut());
        let (Some(outer), Some(inner)) = (router.out.decay.as_mut(), inward) else {
            assert!(!self.planted.has(Bug::BypassAssumed), "a bypass is going on");
            if router.inward.is_none() {
                return Err(Violation("StopProxying: no bypass is going on"));
            }
            // A proxy's lock that was taken for Z and is not needed any more still names Z: it may have sent X here.
            self.hearsay(y);
            return Ok(());
        };
        if outer.link.at() != Some(via) {
            return Err(Violation("StopProxying: not over the outward link that is being left"));
        }
        let lengths = [inner.length_to, inner.length_from, outer.length_to, outer.length_from];
        if lengths.iter().any(Option::is_some) {
            assert!(!self.planted.has(Bug::LengthsToldOnce), "the lengths are not known yet");
            return Err(Violation("StopProxying: the lengths are known already"));
        }
        if !plausible(inbound, arrived) || !plausible(outbound, taken) {
            self.hearsay(y);
            return Ok(());
        }
        self.probes.hit(Probe::StopProxying);
        self.probes.hit_if(inbound > arrived || outbound > taken, Probe::StopProxyingParcelsLeft);
        (inner.length_to, inner.length_from) = (Some(inbound), Some(outbound));
        (outer.length_to, outer.length_from) = (Some(outbound), Some(inbound));
        self.mark_dirty(y, false);
        if let Some(other) = bridged {
            self.stop_bridging(other, inbound, outbound);
        }
        Ok(())
    }

    /// Z: how many parcels come through the proxy in total (routing.md 12.4). The direct ones may be here already.
    pub fn proxy_will_stop(&mut self, z: RouterKey, via: Sublink, inbound: u64) -> Result<(), Violation> {
        let Some(router) = self.routers.get_mut(z) else { return Ok(()) };
        let (arrived, known) = (router.inbound.length(), router.inbound.highest());
        let primary = router.out.primary.as_ref().and_then(RouterLink::at);
        let Some(outer) = router.out.decay.as_mut() else {
            self.probes.hit_if(router.disconnected, Probe::ProxyWillStopLate);
            return if router.disconnected { Ok(()) } else { Err(Violation("ProxyWillStop: no bypass is going on")) };
        };
        if outer.length_from.is_some() {
            return Err(Violation("ProxyWillStop: the length is known already"));
        }
        // X says it over the link that Z offered. A proxy must not believe it: StopProxying could not be believed any more then.
        if primary != Some(via) {
            return Err(Violation("ProxyWillStop: not over the link that was offered"));
        }
        if inbound > arrived && !plausible(inbound, arrived) {
            self.hearsay(z);
            return Ok(());
        }
        self.probes.hit(Probe::ProxyWillStop);
        self.probes.hit_if(inbound > arrived, Probe::ProxyWillStopWaits);
        // Numbers from this length on come over the link that brings it.
        self.probes.hit_if(known > inbound, Probe::ProxyWillStopBehind);
        outer.length_from = Some(inbound);
        self.mark_dirty(z, false);
        Ok(())
    }

    /// Y: its outward peer X is of this process, and there is a sublink to Z bound to X and a state for it (routing.md 12.5).
    /// Answers with X, to which the sublink belongs; or with the state, if the moment has passed.
    pub fn bypass_local_peer(&mut self, y: RouterKey, inner: Sublink, new: Sublink, state: LinkState) -> Result<RouterKey, LinkState> {
        let Some(toward) = self.neighbours.get(&inner.link).copied() else { return Err(state) };
        let Some(x) = self.local_bypass_peer(y, inner) else { return Err(state) };
        if !self.lock_for_bypass(y, toward.name) {
            return Err(state);
        }
        self.probes.hit(Probe::BypassWithLink);
        let fragment = state.share();
        let (proxy, peer) = self.routers.pair_mut(y, x).expect("both are here and differ");
        let sent = peer.outbound.next();
        let began = peer.out.begin_decay(Some(sent), None)
            && proxy.out.begin_decay(None, Some(sent))
            && proxy.inward.as_mut().is_some_and(|edge| edge.begin_decay(Some(sent), None));
        assert!(began, "the lock is only had with both ends stable");
        let message =
            BypassPeerWithLink { sublink: inner.id, new_sublink: new.id, new_link_state_fragment: fragment, inbound_sequence_length: sent };
        self.send(inner.link, Message::BypassPeerWithLink(message));
        self.adopt_outward(x, RouterLink::central(new, LinkSide::A, State::Ready(state)));
        self.mark_dirty(y, false);
        Ok(x)
    }

    /// X, if Y could still be bypassed towards `inner` with X on Y's own node.
    pub fn local_bypass_peer(&self, y: RouterKey, inner: Sublink) -> Option<RouterKey> {
        let proxy = self.routers.get(y).filter(|router| router.is_quiet() && !router.disconnected)?;
        let inward = proxy.inward.as_ref()?.primary.as_ref()?;
        let x = proxy.out.primary.as_ref()?.local_peer(&self.pairs)?;
        let peer = self.routers.get(x)?;
        (inward.at() == Some(inner) && !peer.disconnected && peer.out.primary.is_some()).then_some(x)
    }

    /// What a router was told cannot be, but who told it may only pass on what a third node said, which brought it a portal with wrong
    /// counts or lied about a bypass: only the route ends, not the link to an honest node (as in nodes.md D-14).
    fn hearsay(&mut self, key: RouterKey) {
        self.probes.hit(Probe::BypassHearsay);
        self.break_route(key, Broken::Outward);
    }

    /// Y: Z answered (routing.md 12.5); or F: R did (routing.md 13.3).
    pub fn stop_proxying_to_local_peer(&mut self, y: RouterKey, outbound: u64) -> Result<(), Violation> {
        let Some(router) = self.routers.get(y) else { return Ok(()) };
        let Some(outer) = &router.out.decay else {
            return if router.disconnected { Ok(()) } else { Err(Violation("StopProxyingToLocalPeer: no bypass is going on")) };
        };
        if let (Some(l), Some(_)) = (router.bridged(), outer.link.at()) {
            if outer.length_from.is_some() {
                return Err(Violation("StopProxyingToLocalPeer: the length is known already"));
            }
            if !plausible(outbound, router.inbound.length()) {
                self.hearsay(y);
                return Ok(());
            }
            self.stop_bridging_to_local(y, l, outbound);
            return Ok(());
        }
        if outer.link.at().is_some() {
            return Err(Violation("StopProxyingToLocalPeer: the outward peer is not local"));
        }
        if outer.length_to.is_some() {
            return Err(Violation("StopProxyingToLocalPeer: the length is known already"));
        }
        if !plausible(outbound, router.outbound.length()) {
            return Err(Violation("StopProxyingToLocalPeer: impossible sequence length"));
        }
        let Some(x) = outer.link.local_peer(&self.pairs) else { return Ok(()) };
        let Some((proxy, peer)) = self.routers.pair_mut(y, x) else { return Ok(()) };
        let inner = proxy.inward.as_mut().and_then(|edge| edge.decay.as_mut());
        let (Some(outer), Some(inner), Some(far)) = (proxy.out.decay.as_mut(), inner, peer.out.decay.as_mut()) else {
            return Ok(());
        };
        if far.link.local_peer(&self.pairs) != Some(y) {
            return Err(Violation("StopProxyingToLocalPeer: the outward peer decays towards another router"));
        }
        self.probes.hit(Probe::StopProxyingLocal);
        if !self.planted.has(Bug::LocalLengthForgotten) {
            far.length_from = Some(outbound);
        }
        outer.length_to = Some(outbound);
        inner.length_from = Some(outbound);
        self.mark_dirty(y, false);
        self.mark_dirty(x, false);
        Ok(())
    }

    /// Z: X is of this node too (routing.md 12.6).
    pub fn bypass_to_local(&mut self, seek: &SeekBypass, x: RouterKey) -> Result<(), Violation> {
        let z = seek.router;
        if !self.still_seeks(seek) {
            return Ok(());
        }
        if x == z {
            return Err(Violation("BypassPeer: a router is no peer of its own"));
        }
        let Some(peer) = self.routers.get(x) else { return Ok(()) };
        let Some(primary) = peer.out.primary.as_ref().filter(|_| !peer.disconnected) else { return Ok(()) };
        let old = Sublink { link: seek.via.link, id: seek.sublink };
        if primary.at() != Some(old) || !peer.out.is_stable() {
            return Err(Violation("BypassPeer: not the outward link of its local target"));
        }
        let (inner, peer) = self.routers.pair_mut(z, x).expect("both are here and differ");
        let (from_z, from_x) = (inner.outbound.next(), peer.outbound.next());
        if !plausible(from_z, peer.inbound.length()) || !plausible(from_x, inner.inbound.length()) {
            self.hearsay(z);
            self.hearsay(x);
            return Ok(());
        }
        inner.seeking = false;
        let began = inner.out.begin_decay(Some(from_z), Some(from_x)) && peer.out.begin_decay(Some(from_x), Some(from_z));
        assert!(began, "looked at in the same input");
        self.join([z, x], 0);
        self.totals.bypasses += 1;
        self.probes.hit(Probe::BypassToLocal);
        self.stop_proxying_over(old, from_x, from_z);
        self.mark_dirty(z, false);
        self.mark_dirty(x, false);
        Ok(())
    }

    /// Z: there will be no link to X's node.
    pub fn bypass_failed(&mut self, seek: &SeekBypass) {
        if self.still_seeks(seek) {
            self.probes.hit(Probe::BypassFailed);
            self.break_route(seek.router, Broken::Outward);
        }
    }
}
