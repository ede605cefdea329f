//! How a broker and a normal node become connected (nodes.md 5.1, 5.2). The other handshakes are not supported yet.

use super::link::{Greeting, Peer, Phase, Role};
use super::network::{Network, Node, NodeEvent};
use super::outbox::Outgoing;
use crate::ids::{Features, LinkKey, LinkSide, NodeKey, NodeName, NodeType, ObjectId, RouterKey};
use crate::mapping::Mapping;
use crate::memory::LinkMemory;
use crate::probe::Probe;
use crate::routing::Violation;
use crate::wire::{ConnectFromBrokerToNonBroker, ConnectFromNonBrokerToBroker, Message};

/// What a broker brings to a connection: a name for its client, and the link's initialised primary buffer.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Sixteen random bytes.
    pub client: NodeName,
    /// The memory object, for the client.
    pub memory: ObjectId,
    /// Its mapping, for this end.
    pub mapping: Mapping,
}

/// The first base of a link's sublink ids; each link of a node gets its own (routing.md 2.3).
fn sublink_base(links_made: u64) -> u64 {
    12 + (links_made.wrapping_shl(32) & !(1 << 63))
}

impl Network {
    /// A connection attempt over `transport`: activation, then the greeting, are in its outbox at once (nodes.md D-24).
    pub fn connect(&mut self, node: NodeKey, transport: ObjectId, portals: Vec<RouterKey>, offer: Option<Offer>) -> LinkKey {
        let Node { name, features, .. } = *self.nodes.get(node).expect("checked by the core");
        let num_initial_portals = portals.len() as u32;
        let features = vec![features.0];
        let (role, message, objects) = match offer {
            Some(Offer { client, memory, mapping }) => {
                self.objects += 1;
                let greeting = ConnectFromBrokerToNonBroker {
                    broker_name: name,
                    receiver_name: client,
                    protocol_version: 0,
                    num_initial_portals,
                    buffer: Some(0),
                    features,
                };
                let role = Role::Broker { client, memory: mapping };
                (role, Message::ConnectFromBrokerToNonBroker(greeting), vec![memory])
            }
            None => {
                let greeting = ConnectFromNonBrokerToBroker { protocol_version: 0, num_initial_portals, features };
                (Role::Client, Message::ConnectFromNonBrokerToBroker(greeting), Vec::new())
            }
        };
        let link = self.insert_link(node, transport, Phase::Greeting(Greeting { portals, role }));
        self.links.get_mut(link).expect("just made").outbox.activate();
        self.append(link, Outgoing::Message(message), objects, 136, true);
        link
    }

    /// The peer's greeting, the only message an attempt accepts. Its memory is mapped already.
    pub fn greeted(&mut self, key: LinkKey, message: &Message<'_>, mapping: Option<&Mapping>) -> Result<(), Violation> {
        let Some(link) = self.links.get(key) else { return Ok(()) };
        let Phase::Greeting(Greeting { role, portals }) = &link.phase else { return Ok(()) };
        let Some(node) = self.nodes.get(link.node) else { return Ok(()) };
        let portals = portals.clone();
        let (peer, remote) = match (role, message) {
            (Role::Broker { client, memory }, Message::ConnectFromNonBrokerToBroker(m)) => {
                let peer = new_peer(node, node.name, *client, NodeType::Normal, LinkSide::A, m.protocol_version, &m.features, memory)?;
                (peer, m.num_initial_portals)
            }
            (Role::Client, Message::ConnectFromBrokerToNonBroker(m)) => {
                let Some(mapping) = mapping else {
                    return Err(Violation("ConnectFromBrokerToNonBroker: buffer is missing or cannot be mapped"));
                };
                if !m.broker_name.is_valid() || !m.receiver_name.is_valid() || m.broker_name == m.receiver_name {
                    return Err(Violation("ConnectFromBrokerToNonBroker: broker_name and receiver_name must be two names"));
                }
                if node.broker_link.and_then(|l| self.peer(l)).is_some_and(|broker| broker.remote_name != m.broker_name) {
                    return Err(Violation("ConnectFromBrokerToNonBroker: this node has another broker already"));
                }
                let peer = new_peer(
                    node,
                    m.receiver_name,
                    m.broker_name,
                    NodeType::Broker,
                    LinkSide::B,
                    m.protocol_version,
                    &m.features,
                    mapping,
                )?;
                (peer, m.num_initial_portals)
            }
            _ => return Err(Violation("not the greeting that this connection waits for")),
        };
        self.links.get_mut(key).expect("looked at above").phase = Phase::Established(Box::new(peer));
        self.probes.hit(Probe::LinkEstablished);
        self.add_connection(key);
        self.out.events.push_back(NodeEvent::Connected { link: key, portals, remote });
        Ok(())
    }
}

/// The state of a new link. Its sublink ids start at a base of their own.
#[allow(clippy::too_many_arguments, reason = "each names one field of the greeting")]
pub(super) fn new_peer(
    node: &Node,
    local_name: NodeName,
    remote_name: NodeName,
    remote_type: NodeType,
    side: LinkSide,
    remote_version: u32,
    features: &[u64],
    primary: &Mapping,
) -> Result<Peer, Violation> {
    let remote_features = Features(features.first().copied().unwrap_or(0));
    let v2 = node.features.and(remote_features).contains(Features::MEM_V2);
    let mut memory = LinkMemory::new(primary.clone(), side, v2).map_err(|_| Violation("the primary buffer is too small"))?;
    memory.raise_sublink_base(sublink_base(node.links_made));
    Ok(Peer {
        local_name,
        remote_name,
        remote_type,
        remote_version,
        remote_features,
        side,
        memory,
        sublinks: Default::default(),
        early: Default::default(),
        pieces: Default::default(),
        waits: Default::default(),
        growing: Default::default(),
    })
}
