//! How routes end: orderly, or because a link was lost (routing.md 11).

use super::link::{RouterLink, Sublink};
use super::queue::WINDOW;
use super::router::Router;
use super::table::{Broken, Routing, release_state};
use crate::ids::{LinkKey, RouterKey};
use crate::planted::Bug;
use crate::probe::Probe;
use crate::wire::{Message, RouteClosed, RouteDisconnected};

impl Routing {
    /// The owner closes a portal: unread parcels are discarded, and the peer will learn how many were sent.
    pub fn close(&mut self, key: RouterKey) {
        self.remove_traps(key);
        self.drop_transactions(key);
        let Some(router) = self.routers.get_mut(key) else { return };
        assert!(router.is_terminal() && !router.closed, "a portal is closed once, and by its owner");
        router.closed = true;
        let peripheral = router.out.primary.as_ref().is_some_and(|link| !link.is_central());
        self.probes.hit_if(!router.out.is_stable(), Probe::ClosureThroughDecaying);
        self.probes.hit_if(peripheral, Probe::ClosureAtPeripheral);
        self.probes.hit_if(router.out.is_empty() && !router.disconnected, Probe::ClosureUnconnected);
        self.probes.hit_if(router.inbound.has_next(), Probe::ClosureUnread);
        router.portal = None;
        router.holders -= 1;
        let length = router.outbound.length();
        // Known already only if the route was lost.
        let known = router.outbound.set_final(length) || router.outbound.final_length().is_some();
        assert!(known, "the length of a queue is a final length it takes");
        self.doomed.extend(std::iter::from_fn(|| router.inbound.pop()));
        self.mark_dirty(key, false);
    }

    /// Tells the other end of a link that no parcel from `length` on will come.
    pub(super) fn close_over(&mut self, link: &RouterLink, length: u64) {
        match link.at() {
            Some(at) => {
                let closed = RouteClosed { sublink: at.id, sequence_length: length };
                self.send(at.link, Message::RouteClosed(closed));
            }
            None => {
                if let Some(peer) = link.bridged() {
                    self.close_over_bridge(peer, length);
                } else if let Some(peer) = link.local_peer(&self.pairs) {
                    self.accept_closure(peer, Broken::Outward, length);
                }
            }
        }
    }

    /// RouteClosed arrived over the sublink.
    pub fn route_closed(&mut self, key: RouterKey, at: Sublink, length: u64) {
        let Some(router) = self.routers.get(key) else { return };
        if let Some(half) = router.half_beyond(at) {
            self.probes.hit_if(!router.is_terminal(), Probe::ClosureAtProxy);
            self.probes.hit_if(router.closed, Probe::ClosureCrossed);
            self.probes.hit_if(half == Broken::Outward && router.inbound.length() < length, Probe::ClosureWaits);
            self.accept_closure(key, half, length);
        }
    }

    /// The half of the route beyond `half` ends with parcel `length` - 1. A length that cannot be breaks the route: who
    /// brings it may only pass it on, so it is no reason to lose the link.
    pub(super) fn accept_closure(&mut self, key: RouterKey, half: Broken, length: u64) {
        let Some(router) = self.routers.get_mut(key) else { return };
        let queue = match half {
            Broken::Outward => &mut router.inbound,
            Broken::Inward => &mut router.outbound,
        };
        if !queue.set_final(length) {
            // Not so if the sequence was cut off before, by a lost link.
            let impossible = queue.final_length().is_none_or(|known| known > length);
            self.probes.hit(if impossible { Probe::ClosureImpossible } else { Probe::ClosureBeyondCut });
            if impossible {
                self.break_route(key, half);
            }
            return;
        }
        if half == Broken::Outward && router.is_terminal() {
            router.peer_closed = true;
            self.evaluate_traps(key, false);
        }
        self.mark_dirty(key, false);
    }

    /// RouteDisconnected arrived over the sublink.
    pub fn route_disconnected(&mut self, key: RouterKey, at: Sublink) {
        if let Some(half) = self.routers.get(key).and_then(|router| router.half_beyond(at)) {
            self.probes.hit(Probe::DisconnectReceived);
            self.break_route(key, half);
        }
    }

    /// Ends the route at this router within this input: what lies beyond `half` is lost.
    pub fn break_route(&mut self, key: RouterKey, half: Broken) {
        self.broken.push_back((key, half));
    }

    /// A node link is gone, and with it the router's link at `at`.
    pub fn link_lost(&mut self, key: RouterKey, at: Sublink) {
        let Some(router) = self.routers.get_mut(key) else { return };
        let half = router.half_beyond(at);
        let decaying = router.decays_over(at);
        self.probes.hit(if decaying { Probe::LostDecaying } else { Probe::LostPrimary });
        if let Some(RouterLink::Remote(remote)) = router.take_link(at) {
            release_state(remote.kind);
        }
        if decaying && self.planted(Bug::DecayLossIgnored) {
            return;
        }
        self.break_route(key, half.unwrap_or(Broken::Outward));
    }

    /// A node link is gone altogether.
    pub fn forget_neighbour(&mut self, link: LinkKey) {
        self.neighbours.remove(&link);
    }

    /// The portal's route never came to be: its peer counts as closed without having sent anything (routing.md 11.4).
    pub fn never_connected(&mut self, key: RouterKey) {
        if let Some(router) = self.routers.get_mut(key) {
            self.doomed.extend(std::iter::from_fn(|| router.outbound.pop()));
        }
        self.accept_closure(key, Broken::Outward, 0);
    }

    /// Cuts both directions of the route here and tells whoever is still linked (routing.md 11.3).
    pub(super) fn disconnect(&mut self, key: RouterKey, half: Broken) {
        let Some(router) = self.routers.get_mut(key) else { return };
        router.disconnected = true;
        router.seeking = false;
        let cut = match half {
            Broken::Inward => router.outbound.force_terminate(),
            Broken::Outward => router.inbound.force_terminate(),
        };
        let mut links: Vec<RouterLink> = router.out.take_links().collect();
        links.extend(router.inward.iter_mut().flat_map(|edge| edge.take_links()));
        if router.is_terminal() {
            router.peer_closed = true;
            if !router.inbound.expects_more() {
                router.status_peer_closed = true;
                router.status_dead = router.inbound.fully_consumed();
            }
            self.doomed.extend(std::iter::from_fn(|| router.outbound.pop()));
            self.evaluate_traps(key, false);
        }
        self.probes.hit_if(!cut.is_empty(), Probe::DisconnectCut);
        self.doomed.extend(cut);
        for link in links {
            match link.at() {
                Some(_) if self.planted.has(Bug::DisconnectionKept) => {}
                Some(at) => {
                    let message = Message::RouteDisconnected(RouteDisconnected { sublink: at.id });
                    self.probes.hit(Probe::DisconnectSent);
                    self.send(at.link, message);
                }
                None => {
                    if let Some(peer) = link.bridged() {
                        self.probes.hit(Probe::DisconnectOverBridge);
                        self.break_route(peer, Broken::Inward);
                    } else if let Some(peer) = link.local_peer(&self.pairs) {
                        self.probes.hit(Probe::DisconnectLocal);
                        self.break_route(peer, Broken::Outward);
                    }
                }
            }
            self.deactivate(link);
        }
        self.mark_dirty(key, false);
    }
}

impl Router {
    /// Which half of the route lies beyond the link at `at`, if the router holds it.
    fn half_beyond(&self, at: Sublink) -> Option<Broken> {
        let holds = |edge: &super::Edge| {
            let decaying = edge.decay.as_ref().map(|decay| &decay.link);
            edge.primary.iter().chain(decaying).any(|link| link.at() == Some(at))
        };
        if holds(&self.out) {
            Some(Broken::Outward)
        } else if self.inward.as_deref().is_some_and(holds) {
            Some(Broken::Inward)
        } else {
            None
        }
    }

    /// Whether the link at `at` is one that decays.
    pub(super) fn decays_over(&self, at: Sublink) -> bool {
        let decays = |edge: &super::Edge| edge.decay.as_ref().is_some_and(|decay| decay.link.at() == Some(at));
        decays(&self.out) || self.inward.as_deref().is_some_and(decays)
    }

    /// Takes the link at `at` out of its slot.
    fn take_link(&mut self, at: Sublink) -> Option<RouterLink> {
        for edge in std::iter::once(&mut self.out).chain(self.inward.as_deref_mut()) {
            if edge.primary.as_ref().is_some_and(|link| link.at() == Some(at)) {
                return edge.primary.take();
            }
            if edge.decay.as_ref().is_some_and(|decay| decay.link.at() == Some(at)) {
                return edge.decay.take().map(|decay| decay.link);
            }
        }
        None
    }

    /// Whether a parcel that came over `at` travels outward.
    pub fn is_inward(&self, at: Sublink) -> bool {
        self.half_beyond(at) == Some(Broken::Inward)
    }
}

/// Whether `value` can be the length of a sequence of which `seen` parcels are known (hazards.md MV-16).
pub(super) fn plausible(value: u64, seen: u64) -> bool {
    value >= seen && value - seen <= WINDOW
}
