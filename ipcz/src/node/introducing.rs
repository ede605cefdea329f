//! How a broker introduces two nodes, of its own network or of two that are connected (nodes.md 7.2, 7.3, 7.5, 7.6).

use super::introduction::{Deadline, Waiter};
use super::network::Network;
use super::outbox::Outgoing;
use super::request::{Ask, Introduced, Request};
use crate::clock::Time;
use crate::ids::{DriverKey, Features, LinkKey, LinkSide, NodeKey, NodeName, NodeType};
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::Violation;
use crate::wire::{AcceptIntroduction, Message, RequestIndirectIntroduction};

/// An introduction that this broker makes.
#[derive(Clone, Copy, Debug)]
pub struct Introducing {
    /// The link of the node that asked first.
    pub asked_by: LinkKey,
}

/// An introduction that another broker was asked to make. It tells both nodes, and this broker nothing if all goes well.
#[derive(Clone, Copy, Debug)]
pub struct Indirect {
    /// The other broker.
    pub broker: NodeName,
    /// Until when it may take.
    pub deadline: Option<(Time, u64)>,
}

fn unordered(a: NodeName, b: NodeName) -> (NodeName, NodeName) {
    (a.min(b), a.max(b))
}

/// What a broker is to do about a request.
enum Serve {
    /// Nobody is to be introduced.
    Refuse,
    /// Other brokers may know.
    Seek,
    /// It introduces, since it has links to both.
    Introduce(LinkKey),
    /// The wanted node's broker introduces.
    Indirect { broker: NodeName, link: LinkKey },
}

impl Network {
    /// A node wants a link to `wanted`.
    pub fn requested(&mut self, from: LinkKey, wanted: NodeName) -> Result<(), Violation> {
        let Some(node) = self.node_of(from) else { return Ok(()) };
        if node.kind != NodeType::Broker {
            return Err(Violation("RequestIntroduction: this node is no broker"));
        }
        if self.peer(from).is_some_and(|peer| self.asked_by(from) >= self.introductions_allowed(peer.remote_type, from)) {
            self.probes.hit(Probe::IntroductionOverLimit);
            self.refuse_introduction(from, wanted);
        } else if self.leave_to_its_broker(from, wanted) {
            self.probes.hit(Probe::IntroductionLeft);
            self.refuse_introduction(from, wanted);
        } else {
            self.serve_request(from, wanted);
        }
        Ok(())
    }

    /// Whether another broker asks for the first time for a node that is no client of this one: it also asks that node's own broker, if it
    /// can, and nobody else should introduce the two.
    fn leave_to_its_broker(&mut self, from: LinkKey, wanted: NodeName) -> bool {
        let Some(node) = self.node_of(from).filter(|node| !node.compat_strict && !self.planted.has(Bug::AnyBrokerIntroduces)) else {
            return false;
        };
        let own = node.connections.get(&wanted).and_then(|link| self.peer(*link)).is_some_and(|peer| peer.via.is_none());
        let limit = node.limits.broker_introductions;
        let Some(peer) = self.peer_mut(from).filter(|peer| peer.remote_type == NodeType::Broker && !own) else { return false };
        if peer.asked_once.remove(&wanted) {
            return false;
        }
        if peer.asked_once.len() >= limit {
            peer.asked_once.pop_first();
        }
        peer.asked_once.insert(wanted)
    }

    fn introductions_allowed(&self, to: NodeType, from: LinkKey) -> usize {
        let limits = self.limits_of(from);
        match to {
            NodeType::Normal => limits.pending_introductions,
            NodeType::Broker => limits.broker_introductions,
        }
    }

    /// Introductions under way that a peer has asked for.
    fn asked_by(&self, from: LinkKey) -> usize {
        let Some(node) = self.node_of(from) else { return 0 };
        let running = node.introducing.values().filter(|i| i.asked_by == from).count();
        let waits =
            |waiter: &Waiter| *waiter == Waiter::Request(from) || matches!(waiter, Waiter::Indirect { from: by, .. } if *by == from);
        let sought = node.pending.values().flat_map(|pending| &pending.waiters).filter(|waiter| waits(waiter)).count();
        running + sought + node.indirect.range((from, NodeName::INVALID)..).take_while(|((asker, _), _)| *asker == from).count()
    }

    /// Serves a request that is within the limits; also again once other brokers have answered.
    pub(super) fn serve_request(&mut self, from: LinkKey, wanted: NodeName) {
        let (Some(key), Some(asker)) = (self.links.get(from).map(|link| link.node), self.peer(from).map(|peer| peer.remote_name)) else {
            return;
        };
        match self.how_to_serve(key, asker, wanted) {
            Serve::Refuse => {
                self.probes.hit(Probe::IntroductionRejected);
                if !self.planted.has(Bug::RejectionForgotten) {
                    self.refuse_introduction(from, wanted);
                }
            }
            Serve::Seek => self.seek_link(key, wanted, Waiter::Request(from)),
            Serve::Introduce(target) => {
                self.make_known(key, from, target);
                self.begin_introduction(key, from, [from, target]);
            }
            Serve::Indirect { broker, link } => {
                self.probes.hit(Probe::IndirectAsked);
                let deadline = self.set_deadline(key, Deadline::Indirect { node: key, asker: from, name: wanted });
                let node = self.nodes.get_mut(key).expect("looked at above");
                let before = node.indirect.insert((from, wanted), Indirect { broker, deadline });
                before.and_then(|before| before.deadline).and_then(|at| self.deadlines.remove(&at));
                let message = RequestIndirectIntroduction { source_node: asker, target_node: wanted };
                self.send(link, Message::RequestIndirectIntroduction(message));
            }
        }
    }

    /// nodes.md 7.2, the table.
    fn how_to_serve(&self, key: NodeKey, asker: NodeName, wanted: NodeName) -> Serve {
        let Some(node) = self.nodes.get(key) else { return Serve::Refuse };
        if wanted == asker || wanted == node.name || !wanted.is_valid() {
            return Serve::Refuse;
        }
        let Some(target) = node.connections.get(&wanted).copied() else {
            return if node.separate { Serve::Refuse } else { Serve::Seek };
        };
        let Some(peer) = self.peer(target) else { return Serve::Refuse };
        let by_broker = node.other_brokers.contains(&asker);
        if node.separate && (by_broker || peer.via.is_some()) {
            return Serve::Refuse;
        }
        let is_broker = node.other_brokers.contains(&wanted);
        match peer.via.and_then(|via| Some((via, node.connections.get(&via).copied()?))) {
            // As brokers they only meet through ConnectNode; as nodes between which a route leads they may.
            _ if by_broker && is_broker && node.compat_strict => Serve::Refuse,
            _ if by_broker || is_broker || peer.via.is_none() => Serve::Introduce(target),
            Some((broker, link)) => match self.peer(link) {
                Some(via) if via.side == LinkSide::A => Serve::Introduce(target),
                Some(_) => Serve::Indirect { broker, link },
                None => Serve::Refuse,
            },
            // Its network is out of reach: it will be gone soon.
            None => Serve::Refuse,
        }
    }

    /// A client that is linked to another network's node is made known to that network's broker, which may have to relay to it (nodes.md
    /// D-5).
    fn make_known(&mut self, key: NodeKey, client: LinkKey, target: LinkKey) {
        let via = self.peer(target).and_then(|peer| peer.via.filter(|via| *via != peer.remote_name));
        let Some(broker) = via.and_then(|via| self.link_to(key, via)) else { return };
        let (Some(node), Some(name)) = (self.nodes.get(key), self.peer(broker).map(|peer| peer.remote_name)) else { return };
        if node.compat_strict {
            return;
        }
        let Some(peer) = self.peer_mut(client).filter(|peer| peer.via.is_none()) else { return };
        if peer.known_to.insert(name) {
            self.probes.hit(Probe::IntroductionForRelays);
            self.begin_introduction(key, broker, [broker, client]);
        }
    }

    /// Has the driver make what two nodes are introduced with. One introduction of a pair runs at a time.
    fn begin_introduction(&mut self, key: NodeKey, asked_by: LinkKey, ends: [LinkKey; 2]) {
        let [Some(first), Some(second)] = ends.map(|end| self.peer(end).map(|peer| peer.remote_name)) else { return };
        let names = unordered(first, second);
        let Some(node) = self.nodes.get_mut(key) else { return };
        if node.introducing.contains_key(&names) {
            // Both will hear of the one in progress, whatever becomes of it.
            self.probes.hit(Probe::IntroductionJoined);
            return;
        }
        node.introducing.insert(names, Introducing { asked_by });
        let driver = node.driver;
        let toward = ends.map(|link| {
            let outbox = &mut self.links.get_mut(link).expect("connected").outbox;
            if !self.planted.has(Bug::ClosedWhilePinned) {
                outbox.pin();
            }
            outbox.transport
        });
        let request = Request::Introduction { driver, node: key, first: ends[0], second: ends[1], names };
        self.ask(request, Ask::Introduction { driver, toward });
    }

    /// The driver made what the two need, or did not. Both are told in any case (nodes.md D-3).
    pub(super) fn introduce(
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
        let about = ends.map(|end| {
            let peer = self.peer(end)?;
            Some((peer.remote_name, peer.remote_type, peer.remote_version, peer.remote_features))
        });
        match (about, made) {
            ([Some(first), Some(second)], Ok(Introduced { transports, memory })) => {
                self.probes.hit(Probe::IntroductionMade);
                // Two brokers that are introduced are none to each other.
                let brokers = first.1 == NodeType::Broker && second.1 == NodeType::Broker;
                self.probes.hit_if(brokers, Probe::BrokersIntroduced);
                let met = Features::MET_AS_NODES;
                let sides = [(second, LinkSide::A), (first, LinkSide::B)];
                for (i, ((name, kind, version, features), link_side)) in sides.into_iter().enumerate() {
                    let message = AcceptIntroduction {
                        name,
                        link_side,
                        remote_node_type: if brokers { NodeType::Normal } else { kind },
                        remote_protocol_version: version,
                        transport: Some(0),
                        memory: Some(1),
                        // What a node says of itself gives it no right.
                        remote_features: vec![if brokers { features.0 | met.0 } else { features.0 & !met.0 }],
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
                        self.refuse_introduction(end, name);
                    }
                }
            }
        }
    }

    /// Another broker wants `theirs`, a client of its own, to be introduced to `ours` (nodes.md 7.6).
    pub fn indirectly_requested(&mut self, from: LinkKey, theirs: NodeName, ours: NodeName) -> Result<(), Violation> {
        let (Some(node), Some(peer)) = (self.node_of(from), self.peer(from)) else { return Ok(()) };
        if node.kind != NodeType::Broker || !peer.may_introduce() {
            return Err(Violation("RequestIndirectIntroduction: both ends of the link must be brokers"));
        }
        if peer.side != LinkSide::A {
            return Err(Violation("RequestIndirectIntroduction: it is for the other side to introduce"));
        }
        if node.separate {
            self.probes.hit(Probe::IntroductionRejected);
            self.refuse_introduction(from, ours);
        } else if self.asked_by(from) >= self.introductions_allowed(NodeType::Broker, from) {
            self.probes.hit(Probe::IntroductionOverLimit);
            self.refuse_introduction(from, ours);
        } else {
            self.serve_indirect(from, ours, theirs);
        }
        Ok(())
    }

    /// Serves it once there is a link to their node.
    pub(super) fn serve_indirect(&mut self, from: LinkKey, ours: NodeName, theirs: NodeName) {
        let Some(key) = self.links.get(from).map(|link| link.node) else { return };
        match (self.link_to(key, ours), self.link_to(key, theirs)) {
            (Some(our), Some(their)) if our != their => self.begin_introduction(key, from, [our, their]),
            (_, None) if theirs != ours => self.seek_link(key, theirs, Waiter::Indirect { from, ours }),
            _ => self.refuse_indirect(key, from, ours, theirs),
        }
    }

    /// It will not be: whoever can be reached is told, their node through its broker if need be (nodes.md 7.7).
    pub(super) fn refuse_indirect(&mut self, key: NodeKey, from: LinkKey, ours: NodeName, theirs: NodeName) {
        self.probes.hit(Probe::IndirectRefused);
        if let Some(our) = self.link_to(key, ours) {
            self.refuse_introduction(our, theirs);
        }
        let their = self.link_to(key, theirs);
        self.refuse_introduction(their.unwrap_or(from), ours);
    }

    /// Another broker does not introduce `name`, and does not know to whom.
    pub(super) fn indirect_rejected(&mut self, key: NodeKey, broker: NodeName, name: NodeName) {
        let Some(node) = self.nodes.get(key) else { return };
        let mut askers =
            node.indirect.iter().filter(|((_, wanted), i)| *wanted == name && i.broker == broker).map(|((asker, _), _)| *asker);
        // One of several may be meant: they are left to the deadline, since a refusal would cost the others their routes.
        if let (Some(asker), None) = (askers.next(), askers.next()) {
            self.end_indirect(key, asker, name);
        }
    }

    /// Either end of such introductions is lost.
    pub(super) fn indirect_lost(&mut self, key: NodeKey, link: LinkKey, remote: NodeName) {
        let Some(node) = self.nodes.get(key) else { return };
        let over = |(asker, _): &(LinkKey, NodeName), indirect: &Indirect| *asker == link || indirect.broker == remote;
        let ended: Vec<_> = node.indirect.iter().filter(|(of, indirect)| over(of, indirect)).map(|(of, _)| *of).collect();
        for (asker, name) in ended {
            self.end_indirect(key, asker, name);
        }
    }

    /// Tells whoever wanted it that it is not to be had. Who has it by now does not mind.
    pub(super) fn end_indirect(&mut self, key: NodeKey, asker: LinkKey, name: NodeName) {
        let Some(indirect) = self.nodes.get_mut(key).and_then(|node| node.indirect.remove(&(asker, name))) else { return };
        indirect.deadline.and_then(|at| self.deadlines.remove(&at));
        self.refuse_introduction(asker, name);
    }
}
