//! How two nodes become connected over a transport that both were given (nodes.md 5.1 to 5.3). Referrals, which begin in the same way,
//! are in `referral.rs`.

use super::link::{Greeting, Peer, Phase, Role};
use super::network::{Doomed, Network, Node, NodeEvent};
use super::outbox::Outgoing;
use crate::ids::{Features, LinkKey, LinkSide, NodeKey, NodeName, NodeType, ObjectId, RouterKey};
use crate::mapping::Mapping;
use crate::memory::LinkMemory;
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::Violation;
use crate::wire::{
    ConnectFromBrokerToBroker, ConnectFromBrokerToNonBroker, ConnectFromNonBrokerToBroker, ConnectToReferredBroker, Message,
};

/// The only version there is.
pub(super) const PROTOCOL_VERSION: u32 = 0;

/// What a broker brings to a connection: the link's initialised primary buffer, and a name if the far end is to be its client.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Sixteen random bytes; none for another broker.
    pub client: Option<NodeName>,
    /// The memory object, for the far end.
    pub memory: ObjectId,
    /// Its mapping, for this end.
    pub mapping: Mapping,
}

/// How a node without an offer connects: to its broker, or as one that is referred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joining {
    /// The far end is no broker, but refers this node to its own.
    pub referred: bool,
    /// The broker will give it memory.
    pub delegate: bool,
}

/// What is known of the node at the far end.
pub(super) struct Far<'a> {
    pub name: NodeName,
    pub kind: NodeType,
    pub version: u32,
    pub features: &'a [u64],
    pub via: Option<NodeName>,
}

/// The objects of a greeting, as far as they are of use: mapped memory, and a transport to be taken.
pub struct Enclosed<'a> {
    /// Of each memory object that the message names, in the order of its fields.
    pub mappings: [Option<&'a Mapping>; 2],
    /// The transport that it names.
    pub transport: &'a mut Option<ObjectId>,
}

/// The first base of a link's sublink ids; each link of a node gets its own (routing.md 2.3).
fn sublink_base(links_made: u64) -> u64 {
    12 + (links_made.wrapping_shl(32) & !(1 << 63))
}

impl Network {
    /// A connection attempt over `transport`: activation, then the greeting, are in its outbox at once (nodes.md D-24).
    pub fn connect(&mut self, node: NodeKey, transport: ObjectId, portals: Vec<RouterKey>, how: Result<Offer, Joining>) -> LinkKey {
        let Node { name, features, .. } = *self.nodes.get(node).expect("checked by the core");
        let num_initial_portals = portals.len() as u32;
        let (protocol_version, features) = (PROTOCOL_VERSION, vec![features.0]);
        let (role, message, objects) = match how {
            Ok(Offer { client: Some(client), memory, mapping }) => {
                let (broker_name, receiver_name, buffer) = (name, client, Some(0));
                let greeting =
                    ConnectFromBrokerToNonBroker { broker_name, receiver_name, protocol_version, num_initial_portals, buffer, features };
                (Role::Broker { client, memory: mapping }, Message::ConnectFromBrokerToNonBroker(greeting), vec![memory])
            }
            Ok(Offer { client: None, memory, mapping }) => {
                let greeting = ConnectFromBrokerToBroker { name, protocol_version, num_initial_portals, buffer: Some(0), features };
                (Role::Fellow { memory: mapping }, Message::ConnectFromBrokerToBroker(greeting), vec![memory])
            }
            Err(Joining { referred: false, delegate }) => {
                let greeting = ConnectFromNonBrokerToBroker { protocol_version, num_initial_portals, features };
                (Role::Client { delegate }, Message::ConnectFromNonBrokerToBroker(greeting), Vec::new())
            }
            Err(Joining { referred: true, delegate }) => {
                let greeting = ConnectToReferredBroker { protocol_version, num_initial_portals, features };
                (Role::Referred { delegate }, Message::ConnectToReferredBroker(greeting), Vec::new())
            }
        };
        self.objects += objects.len();
        let link = self.insert_link(node, transport, Phase::Greeting(Greeting { portals, role }));
        self.links.get_mut(link).expect("just made").outbox.activate();
        self.append(link, Outgoing::Message(message), objects, 136, true);
        link
    }

    /// The peer's greeting, the only message an attempt accepts. Its memory is mapped already.
    pub fn greeted(&mut self, key: LinkKey, message: &Message<'_>, enclosed: Enclosed<'_>) -> Result<(), Violation> {
        let Some(link) = self.links.get(key) else { return Ok(()) };
        let Phase::Greeting(Greeting { role, portals }) = &link.phase else { return Ok(()) };
        let (at, Some(node)) = (link.node, self.nodes.get(link.node)) else { return Ok(()) };
        let mapping = enclosed.mappings[0];
        let (peer, remote, delegate) = match (role, message) {
            (Role::Referral(_), Message::ConnectToReferredBroker(m)) => return self.referred_node_greeted(key, m),
            (Role::Referred { .. }, Message::ConnectToReferredNonBroker(m)) => {
                return self.taken_up(key, m, enclosed.mappings, enclosed.transport);
            }
            (Role::Broker { client, memory }, Message::ConnectFromNonBrokerToBroker(m)) => {
                let far = Far { name: *client, kind: NodeType::Normal, version: m.protocol_version, features: &m.features, via: None };
                (new_peer(node, node.name, far, LinkSide::A, memory)?, m.num_initial_portals, false)
            }
            (Role::Client { delegate }, Message::ConnectFromBrokerToNonBroker(m)) => {
                let Some(mapping) = mapping else {
                    return Err(Violation("ConnectFromBrokerToNonBroker: buffer is missing or cannot be mapped"));
                };
                let (broker, name) = (m.broker_name, m.receiver_name);
                if !broker.is_valid() || !name.is_valid() || broker == name {
                    return Err(Violation("ConnectFromBrokerToNonBroker: broker_name and receiver_name must be two names"));
                }
                self.check_broker(at, broker)?;
                let (version, features) = (m.protocol_version, &m.features);
                let far = Far { name: broker, kind: NodeType::Broker, version, features, via: Some(broker) };
                (new_peer(node, name, far, LinkSide::B, mapping)?, m.num_initial_portals, *delegate)
            }
            (Role::Fellow { memory }, Message::ConnectFromBrokerToBroker(m)) => {
                if !m.name.is_valid() || m.name == node.name {
                    return Err(Violation("ConnectFromBrokerToBroker: name must be another broker's"));
                }
                // The greater name's memory counts; the other is given up with the greeting that it came in.
                let (side, memory) = match (m.name < node.name, mapping) {
                    (true, _) => (LinkSide::A, memory),
                    (false, Some(_)) if self.planted.has(Bug::OwnMemoryKept) => (LinkSide::B, memory),
                    (false, Some(mapping)) => (LinkSide::B, mapping),
                    (false, None) => return Err(Violation("ConnectFromBrokerToBroker: buffer is missing or cannot be mapped")),
                };
                let (version, features) = (m.protocol_version, &m.features);
                let far = Far { name: m.name, kind: NodeType::Broker, version, features, via: Some(m.name) };
                self.probes.hit(Probe::BrokersMet);
                (new_peer(node, node.name, far, side, memory)?, m.num_initial_portals, false)
            }
            _ => return Err(Violation("not the greeting that this connection waits for")),
        };
        let portals = portals.clone();
        self.establish(key, peer, delegate);
        self.out.events.push_back(NodeEvent::Connected { link: key, portals, remote });
        Ok(())
    }

    /// A handshake is complete.
    pub(super) fn establish(&mut self, key: LinkKey, peer: Peer, delegate: bool) {
        let Some(link) = self.links.get_mut(key) else { return };
        let node = link.node;
        let before = std::mem::replace(&mut link.phase, Phase::Established(Box::new(peer)));
        if let Phase::Greeting(Greeting { role: Role::Broker { memory, .. } | Role::Fellow { memory }, .. }) = before {
            self.out.doomed.push(Doomed::Mapping(memory));
        }
        self.probes.hit(Probe::LinkEstablished);
        self.add_connection(key);
        // After an older link to the same broker was dropped, which ends its delegation (nodes.md D-8).
        if let Some(n) = self.nodes.get_mut(node).filter(|_| delegate) {
            n.delegate = Some(key);
        }
    }

    /// A normal node has one broker at a time (nodes.md D-12).
    pub(super) fn check_broker(&self, node: NodeKey, name: NodeName) -> Result<(), Violation> {
        let Some(node) = self.nodes.get(node).filter(|node| !node.compat_strict) else { return Ok(()) };
        match node.broker_link.and_then(|link| self.peer(link)) {
            Some(broker) if broker.remote_name != name => Err(Violation("this node has another broker already")),
            _ => Ok(()),
        }
    }
}

/// The state of a new link. Its sublink ids start at a base of their own.
pub(super) fn new_peer(node: &Node, local_name: NodeName, far: Far<'_>, side: LinkSide, primary: &Mapping) -> Result<Peer, Violation> {
    let mut remote_features = Features(far.features.first().copied().unwrap_or(0));
    // That two brokers met as nodes is a third broker's to say.
    if far.via.is_none() || node.kind != NodeType::Broker {
        remote_features = Features(remote_features.0 & !Features::MET_AS_NODES.0);
    }
    let v2 = node.features.and(remote_features).contains(Features::MEM_V2);
    let mut memory = LinkMemory::new(primary.clone(), side, v2).map_err(|_| Violation("the primary buffer is too small"))?;
    memory.raise_sublink_base(sublink_base(node.links_made));
    Ok(Peer {
        local_name,
        remote_name: far.name,
        remote_type: far.kind,
        remote_version: far.version,
        remote_features,
        via: far.via,
        side,
        memory,
        sublinks: Default::default(),
        early: Default::default(),
        pieces: Default::default(),
        waits: Default::default(),
        growing: Default::default(),
        memory_requests: Default::default(),
        referrals: Default::default(),
        next_referral: 0,
        asked_once: Default::default(),
        parked: Default::default(),
        known_to: Default::default(),
    })
}
