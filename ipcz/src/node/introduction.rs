//! How a node gets a link to another one that it only knows by name: it asks its broker, or as a broker all others (nodes.md 7.1, 7.4, 7.7).
//! How a broker serves such a request is in `introducing.rs`.

use std::collections::BTreeSet;

use super::handshake::{Far, new_peer};
use super::link::Phase;
use super::network::{Network, NodeEvent};
use crate::clock::Time;
use crate::ids::{LinkKey, NodeKey, NodeName, NodeType, ObjectId};
use crate::mapping::Mapping;
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::{SeekBypass, Violation};
use crate::wire::{AcceptIntroduction, Message, RejectIntroduction, RequestIntroduction};

/// An introduction that this node asked for.
#[derive(Clone, Default, Debug)]
pub struct Pending {
    /// The brokers that have yet to answer.
    pub to_answer: BTreeSet<NodeName>,
    /// Who waits for it, in the order of asking.
    pub waiters: Vec<Waiter>,
    /// When it is given up; brokers only.
    pub deadline: Option<(Time, u64)>,
    /// Brokers that do not know the node have been asked a second time: then they ask others in turn.
    pub again: bool,
}

/// Who waits for an introduction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiter {
    /// A route of this node.
    Route(SeekBypass),
    /// A node that asked this broker for the same.
    Request(LinkKey),
    /// A broker that asked this one to introduce `ours` to the wanted node, a client of its own (nodes.md 7.6).
    Indirect {
        /// The broker.
        from: LinkKey,
        /// Who is to be introduced.
        ours: NodeName,
    },
    /// Relayed messages that this broker has parked for the wanted node.
    Relays,
}

/// What a deadline ends (nodes.md D-3, hazards.md RE-10).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deadline {
    /// An introduction that this broker asked others for.
    Pending {
        /// The broker.
        node: NodeKey,
        /// Who is wanted.
        name: NodeName,
    },
    /// One that this broker asked another to make.
    Indirect {
        /// The broker.
        node: NodeKey,
        /// Who wants it.
        asker: LinkKey,
        /// Who is wanted.
        name: NodeName,
    },
    /// A node that was referred to this broker.
    Referral {
        /// The link to it.
        link: LinkKey,
    },
    /// Relayed messages that wait for a link to their source.
    Relayed {
        /// The node.
        node: NodeKey,
        /// The source.
        source: NodeName,
    },
}

impl Network {
    /// A working link of the node to the node called `name`.
    pub fn link_to(&self, node: NodeKey, name: NodeName) -> Option<LinkKey> {
        self.nodes.get(node)?.connections.get(&name).copied()
    }

    /// Asks for a link to the node called `name`; [`NodeEvent::LinkAnswered`] follows, at once if nobody can be asked.
    pub fn establish_link(&mut self, node: NodeKey, name: NodeName, seek: SeekBypass) {
        self.seek_link(node, name, Waiter::Route(seek));
    }

    /// Asks for a link on behalf of `waiter`, or joins those who have asked.
    pub(super) fn seek_link(&mut self, key: NodeKey, name: NodeName, waiter: Waiter) {
        let asker = match waiter {
            Waiter::Request(from) => self.peer(from).map(|peer| peer.remote_name),
            Waiter::Route(_) | Waiter::Indirect { .. } | Waiter::Relays => None,
        };
        let broker = self.nodes.get(key).and_then(|n| n.broker_link).and_then(|link| Some(self.peer(link)?.remote_name));
        let forget = self.planted.has(Bug::WaiterForgotten);
        let Some(n) = self.nodes.get_mut(key) else { return };
        if let Some(pending) = n.pending.get_mut(&name) {
            if !pending.waiters.contains(&waiter) && !forget {
                pending.waiters.push(waiter);
            }
            self.probes.hit(Probe::IntroductionShared);
            return self.refuse_circles(key, name);
        }
        // Who asks does not know: it is not asked back (nodes.md D-3).
        let to_answer: BTreeSet<NodeName> = match n.kind {
            NodeType::Normal => broker.into_iter().collect(),
            NodeType::Broker => n.other_brokers.iter().copied().filter(|name| Some(*name) != asker).collect(),
        };
        if to_answer.is_empty() || n.separate || !name.is_valid() || name == n.name {
            return self.answer_waiter(key, name, waiter, false);
        }
        let links: Vec<LinkKey> = to_answer.iter().filter_map(|broker| n.connections.get(broker).copied()).collect();
        let deadline = match n.kind {
            NodeType::Broker => self.set_deadline(key, Deadline::Pending { node: key, name }),
            NodeType::Normal => None,
        };
        if let Some(n) = self.nodes.get_mut(key) {
            n.pending.insert(name, Pending { to_answer, waiters: vec![waiter], deadline, again: false });
        }
        self.probes.hit(Probe::IntroductionAsked);
        for link in links {
            self.send(link, Message::RequestIntroduction(RequestIntroduction { name }));
        }
    }

    /// A broker that wants to know of us what nobody but itself may still tell us is told that we do not know: else both would wait for
    /// ever (nodes.md D-3).
    fn refuse_circles(&mut self, key: NodeKey, name: NodeName) {
        let Some(pending) = self.nodes.get(key).and_then(|n| n.pending.get(&name)) else { return };
        let only = match pending.to_answer.first() {
            Some(only) if pending.to_answer.len() == 1 => *only,
            _ => return,
        };
        let Some(link) = self.link_to(key, only) else { return };
        let Some(pending) = self.nodes.get_mut(key).and_then(|n| n.pending.get_mut(&name)) else { return };
        let before = pending.waiters.len();
        pending.waiters.retain(|waiter| *waiter != Waiter::Request(link));
        if pending.waiters.len() < before {
            self.probes.hit(Probe::IntroductionCircle);
            self.refuse_introduction(link, name);
        }
    }

    /// Tells a node that it will not be introduced.
    pub(super) fn refuse_introduction(&mut self, to: LinkKey, name: NodeName) {
        self.send(to, Message::RejectIntroduction(RejectIntroduction { name }));
    }

    /// A broker introduces another node. Legal unasked; the first link to a node is the one kept. Takes the transport
    /// if it does.
    pub fn introduced(
        &mut self,
        from: LinkKey,
        message: &AcceptIntroduction,
        transport: &mut Option<ObjectId>,
        mapping: Option<&Mapping>,
    ) -> Result<(), Violation> {
        let (Some(link), Some(broker)) = (self.links.get(from), self.peer(from)) else { return Ok(()) };
        let key = link.node;
        if !broker.may_introduce() && !self.planted.has(Bug::IntroducerUnchecked) {
            return Err(Violation("AcceptIntroduction: its sender is no broker"));
        }
        let (local, via) = (broker.local_name, broker.remote_name);
        let (Some(object), Some(mapping)) = (*transport, mapping) else {
            return Err(Violation("AcceptIntroduction: transport or memory is missing or unusable"));
        };
        if !message.name.is_valid() || message.name == local {
            return Err(Violation("AcceptIntroduction: name must be another node's"));
        }
        let Some(node) = self.nodes.get(key) else { return Ok(()) };
        let unwanted = node.closed
            || (node.kind == NodeType::Normal && node.broker_link.is_none())
            // As brokers they meet through ConnectNode alone (nodes.md 7.2).
            || (node.kind == NodeType::Broker && (node.separate || message.remote_node_type == NodeType::Broker))
            || !node.connections.values().any(|link| *link == from)
            || node.connections.contains_key(&message.name);
        if unwanted {
            self.probes.hit(Probe::IntroductionUnwanted);
            return Ok(());
        }
        let far = Far {
            name: message.name,
            kind: message.remote_node_type,
            version: message.remote_protocol_version,
            features: &message.remote_features,
            via: Some(via),
        };
        let peer = new_peer(node, local, far, message.link_side, mapping)?;
        self.probes.hit(Probe::IntroductionTaken);
        *transport = None;
        self.objects -= 1;
        let link = self.insert_link(key, object, Phase::Established(Box::new(peer)));
        self.links.get_mut(link).expect("just made").outbox.activate();
        self.touched.push(link);
        self.out.events.push_back(NodeEvent::Connected { link, portals: Vec::new(), remote: 0 });
        let node = self.nodes.get_mut(key).expect("looked at above");
        node.connections.insert(message.name, link);
        let first = node.pending.keys().next().copied().filter(|_| self.planted.has(Bug::AnswerMisapplied));
        self.answer_waiters(key, first.unwrap_or(message.name), true);
        Ok(())
    }

    /// A broker will not introduce `name`.
    pub fn rejected(&mut self, from: LinkKey, name: NodeName) -> Result<(), Violation> {
        let (Some(link), Some(peer)) = (self.links.get(from), self.peer(from)) else { return Ok(()) };
        if !peer.may_introduce() {
            return Err(Violation("RejectIntroduction: its sender is no broker"));
        }
        let (key, broker) = (link.node, peer.remote_name);
        self.probes.hit(Probe::IntroductionFailed);
        let Some(node) = self.nodes.get(key) else { return Ok(()) };
        match (node.kind, node.pending.contains_key(&name)) {
            // Who has one broker to ask has its answer, whichever broker gives it (nodes.md D-4).
            (NodeType::Normal, _) if !node.compat_strict => self.answer_waiters(key, name, false),
            (_, true) => self.answered_no(key, broker, name),
            (NodeType::Broker, false) => self.indirect_rejected(key, broker, name),
            (NodeType::Normal, false) => {}
        }
        Ok(())
    }

    /// A broker that was asked for `name` does not know it, or is gone. The last one's answer is the answer.
    fn answered_no(&mut self, node: NodeKey, broker: NodeName, name: NodeName) {
        let Some(pending) = self.nodes.get_mut(node).and_then(|n| n.pending.get_mut(&name)) else { return };
        if !pending.to_answer.remove(&broker) {
            return;
        }
        if !pending.to_answer.is_empty() && !self.planted.has(Bug::FirstNoTaken) {
            self.refuse_circles(node, name);
        } else if !self.ask_again(node, name) {
            self.answer_waiters(node, name, false);
        }
    }

    /// No broker has the node for a client. A second time they are asked to ask others in turn, which may introduce it too; false if that
    /// is of no use. Were it so at once, two brokers could introduce the same two nodes, each with a transport of its own.
    fn ask_again(&mut self, key: NodeKey, name: NodeName) -> bool {
        let waiting = |waiter: &Waiter| match waiter {
            Waiter::Request(from) => self.peer(*from).map(|peer| peer.remote_name),
            Waiter::Route(_) | Waiter::Indirect { .. } | Waiter::Relays => None,
        };
        let Some(n) = self.nodes.get(key).filter(|n| n.kind == NodeType::Broker && !n.compat_strict) else { return false };
        let Some(pending) = n.pending.get(&name).filter(|pending| !pending.again) else { return false };
        let askers: BTreeSet<NodeName> = pending.waiters.iter().filter_map(waiting).collect();
        let to_answer: BTreeSet<NodeName> = n.other_brokers.difference(&askers).copied().collect();
        let links: Vec<LinkKey> = to_answer.iter().filter_map(|broker| n.connections.get(broker).copied()).collect();
        if links.is_empty() {
            return false;
        }
        if let Some(pending) = self.nodes.get_mut(key).and_then(|n| n.pending.get_mut(&name)) {
            (pending.to_answer, pending.again) = (to_answer, true);
        }
        self.probes.hit(Probe::IntroductionAskedAgain);
        for link in links {
            self.send(link, Message::RequestIntroduction(RequestIntroduction { name }));
        }
        true
    }

    fn answer_waiters(&mut self, node: NodeKey, name: NodeName, found: bool) {
        let Some(pending) = self.nodes.get_mut(node).and_then(|n| n.pending.remove(&name)) else { return };
        pending.deadline.and_then(|at| self.deadlines.remove(&at));
        for waiter in pending.waiters {
            self.answer_waiter(node, name, waiter, found);
        }
    }

    fn answer_waiter(&mut self, node: NodeKey, name: NodeName, waiter: Waiter, found: bool) {
        match waiter {
            Waiter::Route(seek) => self.out.events.push_back(NodeEvent::LinkAnswered { seek, found }),
            Waiter::Request(from) if found => self.serve_request(from, name),
            Waiter::Request(from) => {
                self.probes.hit(Probe::IntroductionRejected);
                self.refuse_introduction(from, name);
            }
            Waiter::Indirect { from, ours } if found => self.serve_indirect(from, ours, name),
            Waiter::Indirect { from, ours } => self.refuse_indirect(node, from, ours, name),
            Waiter::Relays => self.release_relays(node, name, found),
        }
    }

    /// The node lost whom it could ask.
    pub(super) fn fail_introductions(&mut self, node: NodeKey) {
        let names: Vec<NodeName> = self.nodes.get(node).map(|n| n.pending.keys().copied().collect()).unwrap_or_default();
        self.probes.hit_if(!names.is_empty(), Probe::IntroductionBrokerLost);
        for name in names {
            self.answer_waiters(node, name, false);
        }
    }

    /// A link that is not the way to the node's own broker is lost: who is at its far end answers no more.
    pub(super) fn asked_no_more(&mut self, node: NodeKey, link: LinkKey, remote: NodeName) {
        let asked = |n: &super::Node| n.pending.iter().filter(|(_, p)| p.to_answer.contains(&remote)).map(|(name, _)| *name).collect();
        let names: Vec<NodeName> = self.nodes.get(node).filter(|n| n.kind == NodeType::Broker).map(asked).unwrap_or_default();
        for name in names {
            self.probes.hit(Probe::IntroductionBrokerLost);
            self.answered_no(node, remote, name);
        }
        self.indirect_lost(node, link, remote);
    }

    /// Sets a deadline, if the node has any.
    pub(super) fn set_deadline(&mut self, node: NodeKey, deadline: Deadline) -> Option<(Time, u64)> {
        let node = self.nodes.get(node).filter(|node| !node.compat_strict)?;
        let time = match deadline {
            Deadline::Pending { .. } | Deadline::Indirect { .. } | Deadline::Relayed { .. } => node.limits.introduction_deadline,
            Deadline::Referral { .. } => node.limits.referral_deadline,
        };
        let at = self.now + time;
        self.deadlines_made += 1;
        self.deadlines.insert((at, self.deadlines_made), deadline);
        Some((at, self.deadlines_made))
    }

    /// Gives up what should have been answered by now.
    pub fn expire(&mut self) {
        while let Some(entry) = self.deadlines.first_entry().filter(|entry| entry.key().0 <= self.now) {
            match entry.remove() {
                Deadline::Pending { node, name } => {
                    self.probes.hit(Probe::IntroductionExpired);
                    self.answer_waiters(node, name, false);
                }
                Deadline::Indirect { node, asker, name } => self.end_indirect(node, asker, name),
                Deadline::Relayed { node, source } => self.relayed_expired(node, source),
                Deadline::Referral { link } => {
                    self.probes.hit(Probe::ReferralExpired);
                    self.lose(link);
                }
            }
        }
    }
}
