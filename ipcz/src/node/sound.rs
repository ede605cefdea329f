//! What must hold of nodes and node links between any two inputs, as far as one process can see it (nodes.md 14, I2 to I6 and I24).

use std::collections::{BTreeMap, BTreeSet};

use super::introduction::{Deadline, Waiter};
use super::link::{Greeting, Phase, Role};
use super::network::{Network, Node};
use super::request::Request;
use crate::ids::{LinkKey, NodeKey, NodeName, NodeType};

impl Network {
    /// The first of the invariants that does not hold, in words.
    pub fn check(&self) -> Result<(), String> {
        let under_way = self.under_way();
        self.nodes.iter().try_for_each(|(key, node)| self.check_node(key, node))?;
        self.links.iter().filter(|(_, link)| link.peer().is_some()).try_for_each(|(key, _)| self.check_link(key, &under_way))?;
        for (at, deadline) in &self.deadlines {
            let owned = match deadline {
                Deadline::Pending { node, name } => self.nodes.get(*node).and_then(|n| n.pending.get(name)?.deadline),
                Deadline::Indirect { node, asker, name } => self.nodes.get(*node).and_then(|n| n.indirect.get(&(*asker, *name))?.deadline),
                Deadline::Relayed { node, source } => self.nodes.get(*node).and_then(|n| n.parking.from.get(source)?.deadline),
                Deadline::Referral { link } => self.referral(*link).and_then(|referral| referral.deadline),
            };
            demand(owned == Some(*at), || format!("the deadline {deadline:?} is nobody's"))?;
        }
        Ok(())
    }

    fn check_node(&self, key: NodeKey, node: &Node) -> Result<(), String> {
        for (name, link) in &node.connections {
            let peer = self.peer(*link);
            demand(peer.is_some_and(|peer| peer.remote_name == *name), || format!("I2: {key:?} lists {link:?} as the link to {name}"))?;
            demand(self.links.get(*link).is_some_and(|link| link.node == key), || format!("I2: {link:?} is not of {key:?}"))?;
        }
        let brokers: BTreeSet<NodeName> =
            node.connections.iter().filter(|(_, link)| self.is_broker(**link)).map(|(name, _)| *name).collect();
        match node.kind {
            NodeType::Broker => {
                demand(node.broker_link.is_none() && node.delegate.is_none(), || format!("I3: the broker {key:?} has a broker"))?;
                demand(brokers == node.other_brokers, || format!("I5: {key:?} knows {brokers:?} as {:?}", node.other_brokers))?;
            }
            NodeType::Normal => {
                demand(node.broker_link.is_some() == node.name.is_valid(), || format!("I3: {key:?} is called {}", node.name))?;
                demand(node.other_brokers.is_empty(), || format!("I5: {key:?} has other brokers"))?;
                demand(node.delegate.is_none_or(|link| Some(link) == node.broker_link), || format!("{key:?} has a stray delegate"))?;
                demand(node.sharing.is_empty() || node.broker_link.is_none(), || format!("{key:?} does not refer whom it should"))?;
            }
        }
        let named = node.broker_link.and_then(|link| Some((link, self.peer(link)?.remote_name)));
        demand(named.map(|(link, _)| link) == node.broker_link, || format!("I3: the broker link of {key:?} does not work"))?;
        demand(named.is_none_or(|(link, name)| node.connections.get(&name) == Some(&link)), || format!("I3: {key:?} lost its broker"))?;
        for (name, parked) in &node.parking.to {
            let sought = node.pending.get(name).is_some_and(|pending| pending.waiters.contains(&Waiter::Relays));
            demand(sought || parked.is_empty(), || format!("{key:?} keeps messages for {name}, and asks nobody for it"))?;
        }
        for name in node.parking.from.keys() {
            demand(!node.connections.contains_key(name), || format!("{key:?} keeps messages from {name}, which it is linked with"))?;
        }
        for (number, link) in &node.awaited {
            let known = self.referral(*link).is_some_and(|referral| referral.number == *number);
            demand(known, || format!("{key:?} waits for {link:?}, which is not referred to it"))?;
        }
        let orphans = node.awaited.values().filter(|link| self.is_orphan(**link)).count();
        demand(orphans <= node.limits.orphaned_referrals, || format!("I24: {orphans} referrals without a referrer at {key:?}"))?;
        for (name, pending) in &node.pending {
            demand(!pending.to_answer.is_empty(), || format!("I8: nobody will answer {key:?} about {name}"))?;
        }
        Ok(())
    }

    /// By link: introductions and referrals that its peer has asked for and that are not answered.
    fn under_way(&self) -> BTreeMap<LinkKey, (usize, usize)> {
        let mut under_way: BTreeMap<LinkKey, (usize, usize)> = BTreeMap::new();
        for (_, node) in self.nodes.iter() {
            let waiters = node.pending.values().flat_map(|pending| &pending.waiters).filter_map(|waiter| match waiter {
                Waiter::Request(from) | Waiter::Indirect { from, .. } => Some(*from),
                Waiter::Route(_) | Waiter::Relays => None,
            });
            let asked = node.introducing.values().map(|introducing| introducing.asked_by);
            for link in waiters.chain(asked).chain(node.indirect.keys().map(|(asker, _)| *asker)) {
                under_way.entry(link).or_default().0 += 1;
            }
        }
        let asked = self.requests.iter().filter_map(|(_, request)| match request {
            Request::Referral { referrer, .. } => Some(*referrer),
            _ => None,
        });
        let awaited = self.links.iter().filter_map(|(_, link)| match &link.phase {
            Phase::Greeting(Greeting { role: Role::Referral(referral), .. }) => Some(referral.referrer),
            _ => None,
        });
        for referrer in asked.chain(awaited) {
            under_way.entry(referrer).or_default().1 += 1;
        }
        under_way
    }

    fn is_broker(&self, link: LinkKey) -> bool {
        self.peer(link).is_some_and(|peer| peer.remote_type == NodeType::Broker)
    }

    fn check_link(&self, key: LinkKey, under_way: &BTreeMap<LinkKey, (usize, usize)>) -> Result<(), String> {
        let (Some(node), Some(peer)) = (self.node_of(key), self.peer(key)) else {
            return Err(format!("{key:?} is of no node"));
        };
        let broker = peer.remote_type == NodeType::Broker;
        let (asked, referred) = under_way.get(&key).copied().unwrap_or_default();
        match (node.kind, peer.via) {
            (NodeType::Broker, None) => demand(!broker, || format!("I5: {key:?} leads to a broker and came by none"))?,
            (NodeType::Broker, Some(via)) => {
                demand(broker == (via == peer.remote_name), || format!("I5: {key:?} came by {via}"))?;
            }
            (NodeType::Normal, via) => demand(via.is_some(), || format!("I5: {key:?} came by no broker"))?,
        }
        // Who takes a second broker has two names (D-12).
        let own = node.name == peer.local_name || node.compat_strict;
        demand(own, || format!("I4: over {key:?} {} is called {}", node.name, peer.local_name))?;
        let limit = if broker { node.limits.broker_introductions } else { node.limits.pending_introductions };
        demand(asked <= limit, || format!("I24: {asked} introductions are under way for {key:?}"))?;
        demand(referred <= node.limits.pending_referrals, || format!("I24: {referred} referrals are under way for {key:?}"))
    }
}

fn demand(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}
