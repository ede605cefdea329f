//! How a link ends, how a node is closed, and what that means for whoever waited on them (nodes.md 2.3, 2.4, 3.4).

use super::link::{BufferWait, Greeting, NodeLink, Peer, Phase, Role};
use super::network::{Doomed, Network, NodeEvent};
use crate::ids::{LinkKey, NodeKey, NodeName};
use crate::planted::Bug;
use crate::probe::{Probe, Probes};

impl Network {
    /// The link is over: routers, waiters and the node learn it (nodes.md 3.4). Losing its broker resets a normal node.
    pub fn lose(&mut self, key: LinkKey) {
        let mut lost = vec![key];
        while let Some(key) = lost.pop() {
            let Some(link) = self.links.get_mut(key) else { continue };
            let phase = std::mem::replace(&mut link.phase, Phase::Dead);
            link.outbox.stop();
            self.touched.push(key);
            let node = link.node;
            match phase {
                Phase::Dead => {}
                Phase::Greeting(Greeting { portals, role }) => {
                    self.out.events.push_back(NodeEvent::NeverConnected(portals));
                    self.fail_greeting(node, role);
                }
                Phase::Established(peer) => {
                    self.links_lost += 1;
                    if Probes::ON {
                        *self.lost_to.entry(peer.remote_name).or_default() += 1;
                    }
                    self.probes.hit(Probe::LinkLost);
                    let remote = peer.remote_name;
                    self.fail_waits(key, *peer);
                    self.note_former(node, remote);
                    lost.extend(self.drop_connection(node, key, remote));
                    lost.extend(self.forsaken(node));
                }
            }
        }
    }

    /// A connection attempt is over before it succeeded.
    fn fail_greeting(&mut self, node: NodeKey, role: Role) {
        match role {
            Role::Broker { memory, .. } | Role::Fellow { memory } => self.out.doomed.push(Doomed::Mapping(memory)),
            Role::Client { .. } | Role::Referred { .. } => self.fail_shares(node, false),
            Role::Referral(referral) => self.referral_failed(node, *referral),
        }
    }

    /// Everything that waited on a link learns that it is over.
    fn fail_waits(&mut self, key: LinkKey, peer: Peer) {
        for portals in peer.referrals.into_values() {
            self.probes.hit(Probe::ReferralBrokerLost);
            self.out.events.push_back(NodeEvent::NeverConnected(portals));
        }
        for request in peer.memory_requests {
            self.probes.hit(Probe::DelegateLost);
            self.delegated(request, None);
        }
        let events = &mut self.out.events;
        events.push_back(NodeEvent::Lost(key, peer.sublinks.into_iter().collect()));
        for wait in peer.growing.into_values().flatten() {
            events.push_back(NodeEvent::MemoryAnswered { wait, granted: false });
        }
        for wait in peer.waits.into_values().flatten() {
            if let BufferWait::Parcel { piece, .. } = wait {
                events.push_back(NodeEvent::Discard(piece.into_parcel()));
            }
        }
        for parcel in peer.pieces.into_parcels() {
            self.probes.hit(Probe::PieceDropped);
            events.push_back(NodeEvent::Discard(parcel));
        }
        for parcel in peer.early.into_parcels() {
            self.probes.hit(Probe::EarlyParcelDropped);
            self.out.events.push_back(NodeEvent::Discard(parcel));
        }
        self.out.doomed.push(Doomed::Memory(Box::new(peer.memory)));
    }

    /// Takes a lost link out of its node; answers with the links that end with it.
    fn drop_connection(&mut self, node: NodeKey, key: LinkKey, remote: NodeName) -> Vec<LinkKey> {
        let Some(n) = self.nodes.get_mut(node) else { return Vec::new() };
        // A link that took this one's place stays.
        if n.connections.get(&remote) == Some(&key) {
            n.connections.remove(&remote);
            n.other_brokers.remove(&remote);
        }
        if n.delegate == Some(key) {
            n.delegate = None;
        }
        if n.broker_link != Some(key) {
            self.asked_no_more(node, key, remote);
            self.forget_relays(node, key);
            return Vec::new();
        }
        self.probes.hit(Probe::BrokerLost);
        n.broker_link = None;
        n.name = NodeName::INVALID;
        let others = std::mem::take(&mut n.connections).into_values().collect();
        if !self.planted.has(Bug::BrokerLossIgnored) {
            self.fail_introductions(node);
        }
        self.empty_parking(node);
        others
    }

    /// The node's owner closes it: every link ends, no attempt succeeds any more (nodes.md 2.4).
    pub fn close_node(&mut self, key: NodeKey) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        node.closed = true;
        let mine: Vec<LinkKey> = self.links.iter().filter(|(_, link)| link.node == key).map(|(link, _)| link).collect();
        for link in mine {
            self.lose(link);
        }
        if let Some(node) = self.nodes.get_mut(key) {
            node.name = NodeName::INVALID;
        }
        self.fail_introductions(key);
        self.fail_shares(key, true);
        self.empty_parking(key);
        self.forget_closed(key);
    }

    /// Forgets a link that is over and done with.
    pub(super) fn forget_finished(&mut self, key: LinkKey) {
        let finished = |link: &NodeLink| link.outbox.is_finished() && matches!(link.phase, Phase::Dead);
        if !self.links.get(key).is_some_and(finished) {
            return;
        }
        let Some(NodeLink { node, .. }) = self.links.remove(key) else { return };
        if let Some(node) = self.nodes.get_mut(node) {
            node.links_open -= 1;
        }
        self.forget_closed(node);
    }

    /// Forgets a node that is closed and has no link left.
    fn forget_closed(&mut self, key: NodeKey) {
        if self.nodes.get(key).is_some_and(|node| node.closed && node.links_open == 0) {
            self.nodes.remove(key);
        }
    }

    /// The driver will deliver nothing more for this link.
    pub fn deactivated(&mut self, key: LinkKey) {
        self.lose(key);
        if let Some(link) = self.links.get_mut(key) {
            link.outbox.stopped();
            self.touched.push(key);
        }
    }

    /// The transport could not be activated, and so needs no confirmation of its end.
    pub fn never_active(&mut self, key: LinkKey) {
        self.lose(key);
        if let Some(link) = self.links.get_mut(key) {
            link.outbox.stopped();
        }
    }

    /// An attempt failed at once: its transport goes back to the caller (api.md 7).
    pub fn disown(&mut self, key: LinkKey) {
        if let Some(link) = self.links.get_mut(key) {
            link.outbox.abandon();
            self.objects -= 1;
        }
        self.lose(key);
    }
}
