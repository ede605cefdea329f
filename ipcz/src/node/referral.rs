//! How a node without a broker is referred to that of another node, and gets a link to both (nodes.md 5.4).

use super::handshake::{Far, new_peer};
use super::introduction::Deadline;
use super::link::{Greeting, Phase, Role};
use super::network::{Network, NodeEvent};
use super::outbox::Outgoing;
use super::request::{Ask, Means, Request};
use crate::clock::Time;
use crate::ids::{DriverKey, Features, LinkKey, LinkSide, NodeKey, NodeName, NodeType, ObjectId, RouterKey};
use crate::mapping::Mapping;
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::Violation;
use crate::wire::{
    ConnectToReferredBroker, ConnectToReferredNonBroker, Message, NonBrokerReferralAccepted, NonBrokerReferralRejected, ReferNonBroker,
};

/// A node to be referred, while there is no broker to refer it to.
#[derive(Clone, Debug)]
pub struct Share {
    /// The transport to it.
    pub transport: ObjectId,
    /// Routers of the portals that ConnectNode returned; held.
    pub portals: Vec<RouterKey>,
}

/// A referral at the broker.
#[derive(Clone, Debug)]
pub struct Referral {
    /// The driver of what follows.
    pub driver: DriverKey,
    /// The referrer.
    pub referrer: LinkKey,
    /// Its name; it may be gone when the referred node comes.
    pub referrer_name: NodeName,
    /// Its protocol version.
    pub referrer_version: u32,
    /// Its features.
    pub referrer_features: Features,
    /// Its number of the referral.
    pub id: u64,
    /// Its portals.
    pub portals: u32,
    /// The name of the referred node.
    pub client: NodeName,
    /// The primary buffer of the link to the referred node.
    pub memory: (ObjectId, Mapping),
    /// The primary buffer of its link to the referrer, once for each.
    pub shared: [ObjectId; 2],
    /// What it said of itself, while the driver makes transports for the two.
    pub greeting: Option<ConnectToReferredBroker>,
    /// Where it stands in its broker's [`awaited`](super::Node::awaited).
    pub number: u64,
    /// When it is given up, unless it has greeted.
    pub deadline: Option<(Time, u64)>,
}

impl Network {
    /// Refers a node to this one's broker, now or as soon as there is one.
    pub fn share(&mut self, node: NodeKey, share: Share) {
        self.objects += 1;
        let Some(n) = self.nodes.get_mut(node) else { return };
        n.sharing.push(share);
        if n.broker_link.is_some() {
            self.share_all(node);
        } else {
            self.probes.hit(Probe::ReferralWaits);
        }
    }

    /// Refers every node that waits for a broker.
    pub(super) fn share_all(&mut self, node: NodeKey) {
        let Some(n) = self.nodes.get_mut(node) else { return };
        let Some(broker) = n.broker_link else { return };
        for Share { transport, portals } in std::mem::take(&mut n.sharing) {
            let num_initial_portals = portals.len() as u32;
            let peer = self.peer_mut(broker).expect("a node's broker link works");
            let referral_id = peer.next_referral;
            peer.next_referral += 1;
            peer.referrals.insert(referral_id, portals);
            self.probes.hit(Probe::ReferralAsked);
            let message = ReferNonBroker { referral_id, num_initial_portals, transport: Some(0) };
            self.append(broker, Outgoing::Message(Message::ReferNonBroker(message)), vec![transport], 64, false);
        }
    }

    /// The node is closed, or could not be connected to a broker: then who waits for one is told, unless there is another chance
    /// (nodes.md D-2).
    pub(super) fn fail_shares(&mut self, node: NodeKey, closed: bool) {
        let Some(n) = self.nodes.get(node).filter(|n| !n.sharing.is_empty()) else { return };
        let hopes = |phase: &Phase| matches!(phase, Phase::Greeting(Greeting { role: Role::Client { .. } | Role::Referred { .. }, .. }));
        let hope = n.broker_link.is_some() || self.links.iter().any(|(_, link)| link.node == node && hopes(&link.phase));
        if (hope && !closed) || self.planted.has(Bug::SharesForgotten) {
            return;
        }
        let driver = n.driver;
        let shares = self.nodes.get_mut(node).map(|n| std::mem::take(&mut n.sharing)).unwrap_or_default();
        for Share { transport, portals } in shares {
            self.probes.hit(Probe::ReferralGivenUp);
            self.doom(driver, transport);
            self.out.events.push_back(NodeEvent::NeverConnected(portals));
        }
    }

    /// Broker: a client refers a node. Takes the transport.
    pub fn referred(&mut self, from: LinkKey, message: &ReferNonBroker, transport: &mut Option<ObjectId>) -> Result<(), Violation> {
        let (Some(link), Some(peer), Some(node)) = (self.links.get(from), self.peer(from), self.node_of(from)) else { return Ok(()) };
        if node.kind != NodeType::Broker || peer.remote_type != NodeType::Normal {
            return Err(Violation("ReferNonBroker: only a normal node refers, and only to a broker"));
        }
        let ReferNonBroker { referral_id: id, num_initial_portals: portals, .. } = *message;
        if transport.is_none() {
            return Err(Violation("ReferNonBroker: transport is missing"));
        }
        let (key, driver, limit) = (link.node, node.driver, node.limits.pending_referrals);
        if self.referrals_of(from) >= limit {
            self.probes.hit(Probe::ReferralOverLimit);
            self.reject_referral(from, id);
            return Ok(());
        }
        if let Some(transport) = transport.take() {
            let request = Request::Referral { driver, node: key, referrer: from, id, portals, transport };
            self.ask(request, Ask::Referral { driver });
        }
        Ok(())
    }

    /// Referrals of a client that are not answered yet.
    pub fn referrals_of(&self, from: LinkKey) -> usize {
        let asked = self.requests.iter().filter(|(_, r)| matches!(r, Request::Referral { referrer, .. } if *referrer == from)).count();
        let awaited = self.node_of(from).into_iter().flat_map(|node| node.awaited.values());
        asked + awaited.filter(|link| self.referral(**link).is_some_and(|referral| referral.referrer == from)).count()
    }

    /// The referral of a node that is not taken up yet.
    pub(super) fn referral(&self, link: LinkKey) -> Option<&Referral> {
        match &self.links.get(link)?.phase {
            Phase::Greeting(Greeting { role: Role::Referral(referral), .. }) => Some(referral),
            _ => None,
        }
    }

    fn referral_mut(&mut self, link: LinkKey) -> Option<&mut Referral> {
        match &mut self.links.get_mut(link)?.phase {
            Phase::Greeting(Greeting { role: Role::Referral(referral), .. }) => Some(referral),
            _ => None,
        }
    }

    /// Whether nobody answers any more for a node that has not greeted yet: its referrer is gone.
    pub(super) fn is_orphan(&self, link: LinkKey) -> bool {
        self.referral(link).is_some_and(|referral| referral.greeting.is_none() && self.peer(referral.referrer).is_none())
    }

    /// A link of the node is lost. It may have been a referrer's: of those that nobody answers for any more the oldest are given up
    /// beyond the limit (hazards.md RE-10).
    pub(super) fn forsaken(&mut self, node: NodeKey) -> Vec<LinkKey> {
        let Some(n) = self.nodes.get(node) else { return Vec::new() };
        let mut orphans: Vec<LinkKey> = n.awaited.values().filter(|link| self.is_orphan(**link)).copied().collect();
        orphans.truncate(orphans.len().saturating_sub(n.limits.orphaned_referrals));
        orphans.iter().for_each(|_| self.probes.hit(Probe::ReferralForsaken));
        orphans
    }

    fn reject_referral(&mut self, to: LinkKey, referral_id: u64) {
        self.probes.hit(Probe::ReferralRejected);
        if !self.planted.has(Bug::ReferralRejectionForgotten) {
            self.send(to, Message::NonBrokerReferralRejected(NonBrokerReferralRejected { referral_id }));
        }
    }

    /// Broker: the driver made what a referred node needs, or did not. Now that node's greeting is waited for.
    #[allow(clippy::too_many_arguments, reason = "the fields of the request")]
    pub(super) fn referral_begun(
        &mut self,
        driver: DriverKey,
        node: NodeKey,
        referrer: LinkKey,
        id: u64,
        portals: u32,
        transport: ObjectId,
        means: Option<Means>,
    ) {
        self.objects += if means.is_some() { 3 } else { 0 };
        let open = self.nodes.get(node).is_some_and(|node| !node.closed);
        let about = self.peer(referrer).map(|peer| (peer.remote_name, peer.remote_version, peer.remote_features));
        match (means, about) {
            (Some(Means { name, memory, shared }), Some((referrer_name, referrer_version, referrer_features))) if open => {
                self.probes.hit(Probe::ReferralBegun);
                let referral = Referral {
                    driver,
                    referrer,
                    referrer_name,
                    referrer_version,
                    referrer_features,
                    id,
                    portals,
                    client: name,
                    memory,
                    shared,
                    greeting: None,
                    number: self.nodes.get(node).map_or(0, |node| node.links_made),
                    deadline: None,
                };
                let number = referral.number;
                self.objects -= 1;
                let role = Role::Referral(Box::new(referral));
                let link = self.insert_link(node, transport, Phase::Greeting(Greeting { portals: Vec::new(), role }));
                self.links.get_mut(link).expect("just made").outbox.activate();
                self.touched.push(link);
                self.nodes.get_mut(node).and_then(|node| node.awaited.insert(number, link));
                let deadline = self.set_deadline(node, Deadline::Referral { link });
                self.referral_mut(link).expect("just made").deadline = deadline;
            }
            (means, _) => {
                if let Some(Means { memory: (memory, mapping), shared: [one, other], .. }) = means {
                    [memory, one, other].into_iter().for_each(|object| self.doom(driver, object));
                    self.out.doomed.push(super::Doomed::Mapping(mapping));
                }
                self.doom(driver, transport);
                self.reject_referral(referrer, id);
            }
        }
    }

    /// Broker: the referred node greets. Its link works once there are transports for it and its referrer.
    pub(super) fn referred_node_greeted(&mut self, key: LinkKey, message: &ConnectToReferredBroker) -> Result<(), Violation> {
        let Some(link) = self.links.get_mut(key) else { return Ok(()) };
        let transport = link.outbox.transport;
        let Phase::Greeting(Greeting { role: Role::Referral(referral), .. }) = &mut link.phase else { return Ok(()) };
        if referral.greeting.is_some() {
            return Err(Violation("ConnectToReferredBroker: said twice"));
        }
        referral.greeting = Some(message.clone());
        let (driver, referrer, deadline) = (referral.driver, referral.referrer, referral.deadline.take());
        link.outbox.pin();
        deadline.and_then(|at| self.deadlines.remove(&at));
        let referrer = Some(referrer).filter(|referrer| self.peer(*referrer).is_some() && self.pin(*referrer));
        let toward = referrer.and_then(|referrer| Some([self.links.get(referrer)?.outbox.transport, transport]));
        self.ask(Request::Pair { driver, link: key, referrer }, Ask::Pair { driver, toward });
        Ok(())
    }

    /// Broker: the transports came, or will not. The referred node learns first, so that the referrer finds it ready.
    pub(super) fn paired(&mut self, driver: DriverKey, key: LinkKey, referrer: Option<LinkKey>, made: Option<[ObjectId; 2]>) {
        self.objects += if made.is_some() { 2 } else { 0 };
        // A lost link stays known as long as it is pinned.
        let waits = |phase: &Phase| matches!(phase, Phase::Greeting(Greeting { role: Role::Referral(_), .. }));
        let taken = match (made, self.links.get_mut(key)) {
            (Some(made), Some(link)) if waits(&link.phase) => Some((made, std::mem::replace(&mut link.phase, Phase::Dead))),
            (made, _) => {
                made.into_iter().flatten().for_each(|object| self.doom(driver, object));
                None
            }
        };
        match taken {
            Some((made, Phase::Greeting(Greeting { role: Role::Referral(referral), .. }))) => self.take_up(key, *referral, made),
            _ => self.lose(key),
        }
        self.unpin(key);
        if let Some(referrer) = referrer {
            self.unpin(referrer);
        }
    }

    fn take_up(&mut self, key: LinkKey, referral: Referral, [near, far]: [ObjectId; 2]) {
        let Referral { driver, referrer, id, client, memory: (memory, mapping), shared: [one, other], greeting, number, .. } = referral;
        self.awaited_no_more(self.links.get(key).map(|link| link.node), number);
        let node = self.links.get(key).and_then(|link| self.nodes.get(link.node));
        let made = node.zip(greeting).map(|(node, greeting)| {
            let (version, features) = (greeting.protocol_version, &greeting.features);
            let far = Far { name: client, kind: NodeType::Normal, version, features, via: None };
            let peer = new_peer(node, node.name, far, LinkSide::A, &mapping);
            (node.name, node.features, peer, greeting)
        });
        let Some((broker_name, broker_features, Ok(peer), greeting)) = made else {
            [near, far, memory, one, other].into_iter().for_each(|object| self.doom(driver, object));
            if let Some(link) = self.links.get_mut(key) {
                link.outbox.stop();
                self.touched.push(key);
            }
            return self.reject_referral(referrer, id);
        };
        self.probes.hit(Probe::ReferralAccepted);
        self.establish(key, peer, false);
        self.out.events.push_back(NodeEvent::Connected { link: key, portals: Vec::new(), remote: 0 });
        let to_referred = ConnectToReferredNonBroker {
            name: client,
            broker_name,
            referrer_name: referral.referrer_name,
            broker_protocol_version: 0,
            referrer_protocol_version: referral.referrer_version,
            num_initial_portals: referral.portals,
            broker_link_buffer: Some(0),
            referrer_link_transport: Some(1),
            referrer_link_buffer: Some(2),
            broker_features: vec![broker_features.0],
            referrer_features: vec![referral.referrer_features.0],
        };
        let to_referrer = NonBrokerReferralAccepted {
            referral_id: id,
            protocol_version: greeting.protocol_version,
            num_initial_portals: greeting.num_initial_portals,
            name: client,
            transport: Some(0),
            buffer: Some(1),
            features: vec![greeting.features.first().copied().unwrap_or(0)],
        };
        let both = [
            (key, Message::ConnectToReferredNonBroker(to_referred), vec![memory, far, one], 240),
            (referrer, Message::NonBrokerReferralAccepted(to_referrer), vec![near, other], 176),
        ];
        for (link, message, objects, bytes) in both {
            if self.links.get(link).is_none() {
                objects.into_iter().for_each(|object| self.doom(driver, object));
                continue;
            }
            self.append(link, Outgoing::Message(message), objects, bytes, false);
        }
    }

    fn awaited_no_more(&mut self, node: Option<NodeKey>, number: u64) {
        node.and_then(|node| self.nodes.get_mut(node)).and_then(|node| node.awaited.remove(&number));
    }

    /// Broker: a referred node never came to be one.
    pub(super) fn referral_failed(&mut self, node: NodeKey, referral: Referral) {
        let Referral { driver, referrer, id, memory: (memory, mapping), shared: [one, other], number, deadline, .. } = referral;
        self.awaited_no_more(Some(node), number);
        deadline.and_then(|at| self.deadlines.remove(&at));
        [memory, one, other].into_iter().for_each(|object| self.doom(driver, object));
        self.out.doomed.push(super::Doomed::Mapping(mapping));
        self.reject_referral(referrer, id);
    }

    /// Referrer: the broker has taken up the node, and this is the link to it. Takes the transport.
    pub fn referral_accepted(
        &mut self,
        from: LinkKey,
        message: &NonBrokerReferralAccepted,
        transport: &mut Option<ObjectId>,
        mapping: Option<&Mapping>,
    ) -> Result<(), Violation> {
        let portals = self.end_referral(from, message.referral_id)?;
        let made = self.referred_link(from, message, transport, mapping);
        let Some(link) = made else {
            self.out.events.push_back(NodeEvent::NeverConnected(portals));
            return Ok(());
        };
        self.probes.hit(Probe::ReferralTaken);
        self.add_connection(link);
        self.out.events.push_back(NodeEvent::Connected { link, portals, remote: message.num_initial_portals });
        Ok(())
    }

    /// None if something is missing or wrong: a failure, not the broker's fault.
    fn referred_link(
        &mut self,
        from: LinkKey,
        message: &NonBrokerReferralAccepted,
        transport: &mut Option<ObjectId>,
        mapping: Option<&Mapping>,
    ) -> Option<LinkKey> {
        let (key, broker) = (self.links.get(from)?.node, self.peer(from)?);
        let (local, via) = (broker.local_name, broker.remote_name);
        if !message.name.is_valid() || message.name == local || message.name == via {
            return None;
        }
        let (version, features) = (message.protocol_version, &message.features);
        let far = Far { name: message.name, kind: NodeType::Normal, version, features, via: Some(via) };
        let peer = new_peer(self.nodes.get(key)?, local, far, LinkSide::A, mapping?).ok()?;
        let object = transport.take()?;
        self.objects -= 1;
        let link = self.insert_link(key, object, Phase::Established(Box::new(peer)));
        self.links.get_mut(link)?.outbox.activate();
        self.touched.push(link);
        Some(link)
    }

    /// Referrer: the broker does not take up the node.
    pub fn referral_rejected(&mut self, from: LinkKey, id: u64) -> Result<(), Violation> {
        let portals = self.end_referral(from, id)?;
        self.probes.hit(Probe::ReferralRefused);
        self.out.events.push_back(NodeEvent::NeverConnected(portals));
        Ok(())
    }

    fn end_referral(&mut self, from: LinkKey, id: u64) -> Result<Vec<RouterKey>, Violation> {
        let Some(peer) = self.peer_mut(from) else { return Ok(Vec::new()) };
        if peer.remote_type != NodeType::Broker {
            return Err(Violation("a referral is answered by a broker alone"));
        }
        peer.referrals.remove(&id).ok_or(Violation("a referral is answered that was not asked for, or was answered before"))
    }

    /// The referred node: it is taken up. It has two links from now on, to the broker and to its referrer, whose portals its own meet.
    pub(super) fn taken_up(
        &mut self,
        key: LinkKey,
        message: &ConnectToReferredNonBroker,
        mappings: [Option<&Mapping>; 2],
        transport: &mut Option<ObjectId>,
    ) -> Result<(), Violation> {
        let Some(link) = self.links.get(key) else { return Ok(()) };
        let Phase::Greeting(Greeting { portals, role: Role::Referred { delegate } }) = &link.phase else { return Ok(()) };
        let (node, portals, delegate) = (link.node, portals.clone(), *delegate);
        let Some(n) = self.nodes.get(node) else { return Ok(()) };
        let (Some(object), [Some(memory), Some(shared)]) = (*transport, mappings) else {
            return Err(Violation("ConnectToReferredNonBroker: transport or memory is missing or unusable"));
        };
        let ConnectToReferredNonBroker { name, broker_name, referrer_name, .. } = *message;
        let valid = [name, broker_name, referrer_name].iter().all(|name| name.is_valid());
        if !valid || name == broker_name || name == referrer_name || broker_name == referrer_name {
            return Err(Violation("ConnectToReferredNonBroker: name, broker_name and referrer_name must be three names"));
        }
        self.check_broker(node, broker_name)?;
        #[allow(clippy::unnecessary_min_or_max, reason = "ours will not always be 0")]
        let version = |theirs: u32| theirs.min(super::handshake::PROTOCOL_VERSION);
        let broker = Far {
            name: broker_name,
            kind: NodeType::Broker,
            version: version(message.broker_protocol_version),
            features: &message.broker_features,
            via: Some(broker_name),
        };
        let referrer = Far {
            name: referrer_name,
            kind: NodeType::Normal,
            version: version(message.referrer_protocol_version),
            features: &message.referrer_features,
            via: Some(broker_name),
        };
        let broker = new_peer(n, name, broker, LinkSide::B, memory)?;
        let referrer = new_peer(n, name, referrer, LinkSide::B, shared)?;
        *transport = None;
        self.objects -= 1;
        self.probes.hit(Probe::ReferralJoined);
        self.establish(key, broker, delegate);
        self.out.events.push_back(NodeEvent::Connected { link: key, portals: Vec::new(), remote: 0 });
        let link = self.insert_link(node, object, Phase::Established(Box::new(referrer)));
        self.links.get_mut(link).expect("just made").outbox.activate();
        self.touched.push(link);
        self.add_connection(link);
        self.out.events.push_back(NodeEvent::Connected { link, portals, remote: message.num_initial_portals });
        Ok(())
    }
}
