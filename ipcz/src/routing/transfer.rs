//! How a portal moves to another node: its router there becomes a proxy, or leaves a split local pair (routing.md 10).

use super::edge::{Decay, Edge};
use super::link::{Kind, RouterLink, State, Sublink};
use super::queue::ParcelQueue;
use super::router::Router;
use super::table::{Routing, SeekBypass};
use crate::ids::{FragmentDescriptor, LinkKey, LinkSide, NodeName, RouterKey, SublinkId};
use crate::memory::LinkState;
use crate::planted::Bug;
use crate::probe::Probe;
use crate::wire::RouterDescriptor;

/// How a router will be moved. It has been locked accordingly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MovePlan {
    /// Its local peer is linked straight to the new router; takes two sublinks and a link state (routing.md 10.2).
    Split {
        /// The local peer.
        peer: RouterKey,
    },
    /// It becomes a proxy; takes one sublink (routing.md 10.3).
    Proxy {
        /// Whether its outward link is locked for a bypass.
        locked: bool,
    },
}

/// The descriptor of an unremarkable router.
fn plain(new_sublink: SublinkId, router: &Router) -> RouterDescriptor {
    RouterDescriptor {
        closed_peer_sequence_length: router.inbound.final_length().filter(|_| router.peer_closed).unwrap_or(0),
        new_sublink,
        new_link_state_fragment: FragmentDescriptor::NULL,
        new_decaying_sublink: SublinkId(0),
        next_outgoing_sequence_number: router.outbound.length(),
        next_incoming_sequence_number: router.inbound.next(),
        decaying_incoming_sequence_length: 0,
        peer_closed: router.peer_closed && router.inbound.final_length().is_some(),
        proxy_already_bypassed: false,
        proxy_peer_node_name: NodeName::INVALID,
        proxy_peer_sublink: SublinkId(0),
    }
}

impl Routing {
    /// Decides how to move `y` over node link `over`, and locks its outward link for it if that can be (routing.md 10.1).
    pub fn plan_move(&mut self, y: RouterKey, over: LinkKey) -> MovePlan {
        self.remove_traps(y);
        self.abort_transactions(y);
        let peer = self.routers.get(y).and_then(|r| r.out.primary.as_ref()?.local_peer(&self.pairs));
        // What is queued goes over the links of before; a split needs the queues of both ends empty.
        for key in [Some(y), peer].into_iter().flatten() {
            if self.routers.get(key).is_some_and(|r| r.dirty) {
                self.flush(key);
            }
        }
        if let Some(router) = self.routers.get(y) {
            self.probes.hit_if(router.out.is_empty(), Probe::MoveLinkless);
            self.probes.hit_if(!router.out.is_stable(), Probe::MoveDecaying);
            self.probes.hit_if(router.seeking, Probe::MoveSeeking);
            self.probes.hit_if(router.inbound.has_next(), Probe::MoveUnread);
        }
        let source = self.neighbours.get(&over).map(|n| n.name).unwrap_or_default();
        let locked = self.can_be_bypassed(y, over) && self.lock_for_bypass(y, source);
        match self.routers.get(y).and_then(|r| r.out.primary.as_ref()?.local_peer(&self.pairs)) {
            Some(peer) if locked => MovePlan::Split { peer },
            _ => MovePlan::Proxy { locked },
        }
    }

    /// Whether a move over `over` could spare `y` its time as a proxy. Not if its outward link is of another node of this process.
    fn can_be_bypassed(&self, y: RouterKey, over: LinkKey) -> bool {
        let Some(router) = self.routers.get(y).filter(|router| router.is_quiet()) else { return false };
        match router.out.primary.as_ref().and_then(RouterLink::at) {
            None => true,
            Some(at) => self.neighbours.get(&at.link).map(|n| n.node) == self.neighbours.get(&over).map(|n| n.node),
        }
    }

    /// Splits a local pair: `peer` is linked to the new router over `new`, bound to it; `y` passes on what is left over
    /// the sublink after it, bound to `y`.
    pub fn split(&mut self, y: RouterKey, peer: RouterKey, new: Sublink, state: LinkState) -> RouterDescriptor {
        self.probes.hit(Probe::MoveSplit);
        let decaying = Sublink { link: new.link, id: SublinkId(new.id.0 + 1) };
        let fragment = state.share();
        let (moved, kept) = self.routers.pair_mut(y, peer).expect("planned in the same input");
        assert!(!moved.outbound.has_next() && !kept.outbound.has_next(), "flushed when planned");
        let links = [moved.out.primary.take(), kept.out.primary.take()];
        let sent = kept.outbound.next();
        let link = RouterLink::peripheral(decaying, LinkSide::A, Kind::Inward);
        let length_from = Some(moved.outbound.length());
        let decay = Some(Box::new(Decay { link, length_to: Some(sent), length_from }));
        moved.inward = Some(Box::new(Edge { primary: None, decay }));
        self.proxies += 1;
        let descriptor = RouterDescriptor {
            new_link_state_fragment: fragment,
            new_decaying_sublink: decaying.id,
            decaying_incoming_sequence_length: sent,
            proxy_already_bypassed: true,
            ..plain(new.id, moved)
        };
        for link in links.into_iter().flatten() {
            self.deactivate(link);
        }
        self.adopt_outward(peer, RouterLink::central(new, LinkSide::A, State::Ready(state)));
        self.hand_over(y);
        descriptor
    }

    /// Makes `y` a proxy for the new router over `new`, bound to `y`. If the outward link was locked and leads to another node
    /// the new router bypasses `y` at once.
    pub fn extend(&mut self, y: RouterKey, new: Sublink, locked: bool) -> RouterDescriptor {
        let link = RouterLink::peripheral(new, LinkSide::A, Kind::Inward);
        let forget = self.planted(Bug::UnlockForgotten);
        let carrier = self.neighbours.get(&new.link).copied();
        let router = self.routers.get_mut(y).expect("planned in the same input");
        let mut descriptor = plain(new.id, router);
        if self.planted.has(Bug::UnreadSkipped) {
            descriptor.next_incoming_sequence_number = router.inbound.length();
        }
        let beyond = router.out.primary.as_ref().and_then(RouterLink::at);
        let target = beyond.and_then(|at| Some((at, self.neighbours.get(&at.link).copied()?)));
        let rolled = target.filter(|(_, n)| locked && carrier.is_some_and(|c| c.node == n.node));
        let mut inward = Edge::default();
        let mut wake = false;
        if descriptor.peer_closed {
            self.probes.hit(Probe::MovePeerClosed);
            // The lock, if it was taken, stays: this end lets go of the link once everything is through.
            let length_from = Some(router.outbound.next());
            inward.decay = Some(Box::new(Decay { link, length_to: router.inbound.final_length(), length_from }));
        } else if let Some((at, n)) = rolled {
            self.probes.hit(Probe::MoveRolled);
            descriptor.proxy_peer_node_name = n.name;
            descriptor.proxy_peer_sublink = at.id;
            inward.decay = Some(Box::new(Decay { link, length_to: None, length_from: None }));
            let began = router.out.begin_decay(None, None);
            assert!(began, "the lock is only had with both ends stable");
        } else {
            self.probes.hit(Probe::MoveProxy);
            inward.primary = Some(link);
            if locked && let Some(outer) = router.out.primary.as_mut().filter(|_| !forget) {
                self.probes.hit(Probe::Unlocked);
                outer.unlock(&mut self.pairs);
                wake = true;
            }
            if router.out.is_stable()
                && let Some(outer) = &mut router.out.primary
            {
                outer.mark_stable(&mut self.pairs);
            }
        }
        router.inward = Some(Box::new(inward));
        self.proxies += 1;
        if wake {
            self.flush_other_side_if_waiting(y);
        }
        self.hand_over(y);
        descriptor
    }

    /// The portal is no longer this router's: it lives for its links alone.
    fn hand_over(&mut self, y: RouterKey) {
        let router = self.routers.get_mut(y).expect("planned in the same input");
        assert!(router.transactions.is_none(), "ended when planned: a proxy's parcels are nobody's to hold");
        assert!(router.traps.is_empty(), "removed when planned (routing.md 19, T2)");
        router.portal = None;
        router.holders -= 1;
        self.mark_dirty(y, true);
    }

    /// The new router at the destination (routing.md 10.6). The core has validated the descriptor, bound its sublinks if
    /// `bound`, and taken over the reference on `state`, which a split route has.
    pub fn arrive(&mut self, z: RouterKey, over: LinkKey, descriptor: &RouterDescriptor, state: Option<State>, bound: bool) {
        let at = |id| Sublink { link: over, id };
        let router = self.routers.get_mut(z).expect("inserted in the same input");
        router.outbound = ParcelQueue::starting_at(descriptor.next_outgoing_sequence_number);
        let next = descriptor.next_incoming_sequence_number;
        if !descriptor.peer_closed {
            router.inbound = ParcelQueue::starting_at(next);
        } else {
            self.probes.hit(Probe::ArrivedPeerClosed);
            router.inbound = ParcelQueue::between(next, descriptor.closed_peer_sequence_length);
            router.peer_closed = true;
            router.status_peer_closed = !router.inbound.expects_more();
            router.status_dead = router.inbound.fully_consumed();
        }
        match state {
            Some(state) => {
                self.probes.hit(Probe::ArrivedSplit);
                let link = RouterLink::peripheral(at(descriptor.new_decaying_sublink), LinkSide::B, Kind::Outward);
                let length_to = Some(descriptor.next_outgoing_sequence_number);
                let length_from = Some(match descriptor.decaying_incoming_sequence_length {
                    0 => descriptor.next_incoming_sequence_number,
                    length => length,
                });
                router.out.decay = Some(Box::new(Decay { link, length_to, length_from }));
                router.out.primary = Some(RouterLink::central(at(descriptor.new_sublink), LinkSide::B, state));
            }
            None if bound => {
                self.probes.hit(Probe::ArrivedPeripheral);
                router.out.primary = Some(RouterLink::peripheral(at(descriptor.new_sublink), LinkSide::B, Kind::Outward));
            }
            None => {
                self.probes.hit(Probe::ArrivedUnbound);
                self.break_route(z, super::table::Broken::Outward);
            }
        }
        if bound && descriptor.proxy_peer_node_name.is_valid() {
            let seek = SeekBypass {
                router: z,
                via: at(descriptor.new_sublink),
                node: descriptor.proxy_peer_node_name,
                sublink: descriptor.proxy_peer_sublink,
            };
            // Stable, and over its only link: nothing to object to.
            let accepted = self.bypass_peer(z, seek.via, seek.node, seek.sublink);
            assert!(accepted.is_ok() || descriptor.proxy_already_bypassed, "a fresh peripheral router can be bypassed");
        }
        self.mark_dirty(z, true);
    }
}
