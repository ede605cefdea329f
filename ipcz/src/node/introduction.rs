//! How two nodes of one network get a link of their own, through their broker (nodes.md 7.1 to 7.5).

use super::handshake::new_peer;
use super::link::Phase;
use super::network::{Answer, Ask, Introduced, Introducing, Network, NodeEvent, Request};
use super::outbox::Outgoing;
use crate::ids::{DriverKey, LinkKey, LinkSide, NodeKey, NodeName, NodeType, ObjectId};
use crate::mapping::Mapping;
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::{SeekBypass, Violation};
use crate::wire::{AcceptIntroduction, Message, RejectIntroduction, RequestIntroduction};

fn unordered(a: NodeName, b: NodeName) -> (NodeName, NodeName) {
    (a.min(b), a.max(b))
}

impl Network {
    /// A working link of the node to the node called `name`.
    pub fn link_to(&self, node: NodeKey, name: NodeName) -> Option<LinkKey> {
        self.nodes.get(node)?.connections.get(&name).copied()
    }

    /// Asks for a link to the node called `name`; [`NodeEvent::LinkAnswered`] follows, at once if nobody can be asked.
    pub fn establish_link(&mut self, node: NodeKey, name: NodeName, seek: SeekBypass) {
        let ask = self.nodes.get_mut(node).and_then(|n| Some((n.broker_link?, n)));
        match ask {
            Some((broker, n)) if name.is_valid() && name != n.name => {
                let running = n.pending.contains_key(&name);
                let waiters = &mut n.pending.entry(name).or_default().waiters;
                if !running || !self.planted.has(Bug::WaiterForgotten) {
                    waiters.push(seek);
                }
                self.probes.hit(if running { Probe::IntroductionShared } else { Probe::IntroductionAsked });
                if !running {
                    self.send(broker, Message::RequestIntroduction(RequestIntroduction { name }));
                }
            }
            _ => self.out.events.push_back(NodeEvent::LinkAnswered { seek, found: false }),
        }
    }

    /// Broker: a client wants a link to `wanted`.
    pub fn requested(&mut self, from: LinkKey, wanted: NodeName) -> Result<(), Violation> {
        let (Some(link), Some(peer)) = (self.links.get(from), self.peer(from)) else { return Ok(()) };
        let (key, asker) = (link.node, peer.remote_name);
        let Some(node) = self.nodes.get(key) else { return Ok(()) };
        if node.kind != NodeType::Broker {
            return Err(Violation("RequestIntroduction: this node is no broker"));
        }
        let names = unordered(asker, wanted);
        if node.introducing.contains_key(&names) {
            self.probes.hit(Probe::IntroductionJoined);
            // Both will hear of the one in progress, whatever becomes of it.
            return Ok(());
        }
        let running = node.introducing.values().filter(|i| i.asked_by == from).count();
        let target = node.connections.get(&wanted).copied().filter(|_| wanted != asker && running < node.limits.pending_introductions);
        let Some(target) = target else {
            let over = running >= node.limits.pending_introductions;
            self.probes.hit(if over { Probe::IntroductionOverLimit } else { Probe::IntroductionRejected });
            if self.planted.has(Bug::RejectionForgotten) {
                return Ok(());
            }
            self.send(from, Message::RejectIntroduction(RejectIntroduction { name: wanted }));
            return Ok(());
        };
        let driver = node.driver;
        let toward = [from, target].map(|link| {
            let outbox = &mut self.links.get_mut(link).expect("connected").outbox;
            if !self.planted.has(Bug::ClosedWhilePinned) {
                outbox.pin();
            }
            outbox.transport
        });
        let node = self.nodes.get_mut(key).expect("looked at above");
        node.introducing.insert(names, Introducing { asked_by: from });
        let request = self.requests.insert(Request::Introduction { driver, node: key, first: from, second: target, names });
        self.out.asks.push((request, Ask::Introduction { driver, toward }));
        Ok(())
    }

    /// Broker: the driver made what the two need, or did not. Both are told in any case (nodes.md D-3).
    fn introduce(
        &mut self,
        driver: DriverKey,
        node: NodeKey,
        ends: [LinkKey; 2],
        names: (NodeName, NodeName),
        made: Result<Introduced, ()>,
    ) {
        if let Some(node) = self.nodes.get_mut(node).filter(|_| !self.planted.has(Bug::IntroducingKept)) {
            node.introducing.remove(&names);
        }
        for end in ends {
            if self.planted.has(Bug::ClosedWhilePinned) {
                self.forget_finished(end);
            } else {
                self.unpin(end);
            }
        }
        if made.is_ok() {
            self.objects += 4;
        }
        let about = ends.map(|end| self.peer(end).map(|peer| (peer.remote_name, peer.remote_version, peer.remote_features)));
        match (about, made) {
            ([Some(first), Some(second)], Ok(Introduced { transports, memory })) => {
                self.probes.hit(Probe::IntroductionMade);
                let sides = [(second, LinkSide::A), (first, LinkSide::B)];
                for (i, ((name, version, features), link_side)) in sides.into_iter().enumerate() {
                    let message = AcceptIntroduction {
                        name,
                        link_side,
                        remote_node_type: NodeType::Normal,
                        remote_protocol_version: version,
                        transport: Some(0),
                        memory: Some(1),
                        remote_features: vec![features.0],
                    };
                    let objects = vec![transports[i], memory[i]];
                    self.append(ends[i], Outgoing::Message(Message::AcceptIntroduction(message)), objects, 144, false);
                }
            }
            (about, made) => {
                self.probes.hit_if(about.iter().any(Option::is_none), Probe::IntroductionEndLost);
                if let Ok(Introduced { transports, memory }) = made {
                    for object in transports.into_iter().chain(memory) {
                        self.doom(driver, object);
                    }
                }
                for (end, other) in ends.into_iter().zip([1, 0]) {
                    let name = self.peer(ends[other]).map(|peer| peer.remote_name);
                    let mine = self.peer(end).map(|peer| peer.remote_name);
                    let name = name.or_else(|| mine.map(|mine| if mine == names.0 { names.1 } else { names.0 }));
                    if let Some(name) = name.filter(|_| !self.planted.has(Bug::RefusalUntold)) {
                        self.send(end, Message::RejectIntroduction(RejectIntroduction { name }));
                    }
                }
            }
        }
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
        if broker.remote_type != NodeType::Broker && !self.planted.has(Bug::IntroducerUnchecked) {
            return Err(Violation("AcceptIntroduction: its sender is no broker"));
        }
        let local = broker.local_name;
        let (Some(object), Some(mapping)) = (*transport, mapping) else {
            return Err(Violation("AcceptIntroduction: transport or memory is missing or unusable"));
        };
        if !message.name.is_valid() || message.name == local {
            return Err(Violation("AcceptIntroduction: name must be another node's"));
        }
        let Some(node) = self.nodes.get(key) else { return Ok(()) };
        let unwanted = node.closed
            || (node.kind == NodeType::Normal && node.broker_link.is_none())
            || !node.connections.values().any(|link| *link == from)
            || node.connections.contains_key(&message.name);
        if unwanted {
            self.probes.hit(Probe::IntroductionUnwanted);
            return Ok(());
        }
        let peer = new_peer(
            node,
            local,
            message.name,
            message.remote_node_type,
            message.link_side,
            message.remote_protocol_version,
            &message.remote_features,
            mapping,
        )?;
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
        if peer.remote_type != NodeType::Broker {
            return Err(Violation("RejectIntroduction: its sender is no broker"));
        }
        let node = link.node;
        self.probes.hit(Probe::IntroductionFailed);
        self.answer_waiters(node, name, false);
        Ok(())
    }

    fn answer_waiters(&mut self, node: NodeKey, name: NodeName, found: bool) {
        let Some(pending) = self.nodes.get_mut(node).and_then(|n| n.pending.remove(&name)) else { return };
        self.out.events.extend(pending.waiters.into_iter().map(|seek| NodeEvent::LinkAnswered { seek, found }));
    }

    /// The node lost whom it could ask.
    pub(super) fn fail_introductions(&mut self, node: NodeKey) {
        let names: Vec<NodeName> = self.nodes.get(node).map(|n| n.pending.keys().copied().collect()).unwrap_or_default();
        self.probes.hit_if(!names.is_empty(), Probe::IntroductionBrokerLost);
        for name in names {
            self.answer_waiters(node, name, false);
        }
    }

    /// The driver's answer to a question of this network.
    pub fn answered(&mut self, request: Request, answer: Answer) {
        match (request, answer) {
            (Request::Introduction { driver, node, first, second, names }, Answer::Introduction(made)) => {
                self.introduce(driver, node, [first, second], names, made.map_err(|_| ()));
            }
            (Request::Growth { driver, link, block_size }, Answer::Memory(memory)) => {
                self.grown(driver, link, block_size, memory.ok());
            }
            (request, answer) => unreachable!("{request:?} was answered with {answer:?}"),
        }
    }
}
