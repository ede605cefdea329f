//! Messages that go through the broker since their objects cannot go directly (nodes.md 8, wire.md 11.1).

use super::message::Incoming;
use super::{Core, Effects};
use crate::clock::Time;
use crate::ids::{DriverKey, LinkKey, NodeKey, NodeType, ObjectId};
use crate::mapping::Mapping;
use crate::node::parking::RELAY_ROOM;
use crate::node::{Outgoing, Parked};
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::{Origin, Payload, Violation};
use crate::wire::{AcceptRelayedMessage, Envelope, RelayMessage};

/// Most bytes of a message that may be relayed: more than either kind has in any version known.
const RELAYED_BYTES: usize = 4096;

/// AddBlockBuffer and AcceptParcelDriverObjects.
const RELAYABLE: [u8; 2] = [14, 21];

/// The way round through the broker.
#[derive(Clone, Copy, Debug)]
pub struct RelayWay {
    /// The link to the broker; pinned until [`Core::relay_done`].
    pub broker: LinkKey,
    /// Its transport.
    pub transport: ObjectId,
}

impl Core {
    /// The broker that objects can be sent through which cannot go over a link. None: the node has none, is one itself, or the link is the
    /// one to it.
    pub fn relay_way(&mut self, over: LinkKey) -> Option<RelayWay> {
        let node = self.net.node_of(over).filter(|node| node.kind == NodeType::Normal)?;
        let broker = node.broker_link.filter(|broker| *broker != over)?;
        let (_, transport): (DriverKey, ObjectId) = self.link_end(broker)?;
        self.net.pin(broker).then_some(RelayWay { broker, transport })
    }

    /// Nothing more goes that way.
    pub fn relay_done(&mut self, way: RelayWay, origin: Origin, now: Time, fx: &mut Effects) {
        self.begin(origin, now);
        self.net.unpin(way.broker);
        self.finish(fx);
    }

    /// Hands messages with their objects to the broker, for the node at the far end of `over`, in order.
    pub fn relay(&mut self, over: LinkKey, way: RelayWay, message: (Vec<u8>, Vec<ObjectId>), origin: Origin, now: Time, fx: &mut Effects) {
        self.begin(origin, now);
        let (data, objects) = message;
        self.net.objects += objects.len();
        match self.net.peer(over).map(|peer| peer.remote_name) {
            Some(to) => {
                self.routing.probes.hit(Probe::RelayAsked);
                let bytes = RELAY_ROOM + data.len() + 32 * objects.len();
                self.net.append(way.broker, Outgoing::Relay { to, data }, objects, bytes, false);
            }
            None => {
                if let Some((driver, _)) = self.link_end(way.broker) {
                    objects.into_iter().for_each(|object| self.net.doom(driver, object));
                }
            }
        }
        self.finish(fx);
    }

    /// RelayMessage: the broker passes a message on. Whose it is, is what the link says.
    pub(super) fn relay_message(
        &mut self,
        on: LinkKey,
        m: &RelayMessage<'_>,
        objects: &mut Vec<Option<ObjectId>>,
    ) -> Result<(), Violation> {
        let (Some(node), Some(peer)) = (self.net.node_of(on), self.net.peer(on)) else { return Ok(()) };
        if node.kind != NodeType::Broker {
            return Err(Violation("RelayMessage: this node is no broker"));
        }
        let (source, limits) = (peer.remote_name, node.limits);
        let target = node.connections.get(&m.destination).copied();
        if target == Some(on) || !is_relayable(m.data) || (target.is_none() && node.compat_strict) {
            self.routing.probes.hit(Probe::RelayRefused);
            return Ok(());
        }
        let waiting = target.and_then(|target| self.net.links.get(target)).map_or(0, |link| link.outbox.bytes + link.outbox.backlog);
        if waiting > limits.link_backlog_bytes {
            return Err(Violation("RelayMessage: more waits for its destination than Limits::link_backlog_bytes"));
        }
        let mut parked = Parked { data: m.data.to_vec(), objects: std::mem::take(objects), mapping: None };
        if self.routing.planted.has(Bug::RelayedTurned) {
            parked.objects.reverse();
        }
        match target {
            Some(target) => {
                let from = if self.routing.planted.has(Bug::RelaySourceWrong) { m.destination } else { source };
                self.net.pass_on(target, from, parked);
                Ok(())
            }
            None if self.net.park_for(on, m.destination, parked) => Ok(()),
            None => Err(Violation("RelayMessage: more waits for its destination than Limits::parked_relays")),
        }
    }

    /// AcceptRelayedMessage: handled as if it had come over the link to its source, as soon as there is one.
    pub(super) fn accept_relayed(
        &mut self,
        on: LinkKey,
        m: &AcceptRelayedMessage<'_>,
        objects: &mut Vec<Option<ObjectId>>,
        mapping: &mut Option<Mapping>,
    ) -> Result<(), Violation> {
        let (Some(link), Some(peer)) = (self.net.links.get(on), self.net.peer(on)) else { return Ok(()) };
        if peer.remote_type != NodeType::Broker {
            return Err(Violation("AcceptRelayedMessage: its sender is no broker"));
        }
        if m.data.len() < crate::wire::HEADER_SIZE {
            return Err(Violation("AcceptRelayedMessage: no message inside"));
        }
        let key = link.node;
        match self.net.link_to(key, m.source) {
            _ if !is_relayable(m.data) || !m.source.is_valid() || m.source == peer.local_name => {
                self.routing.probes.hit(Probe::RelayIgnored);
            }
            Some(source) => self.handle_relayed(source, m.data, objects, mapping),
            None => {
                let parked = Parked { data: m.data.to_vec(), objects: std::mem::take(objects), mapping: mapping.take() };
                self.net.park_from(key, m.source, parked);
            }
        }
        Ok(())
    }

    /// The source alone answers for what it has had relayed (nodes.md D-22).
    fn handle_relayed(&mut self, source: LinkKey, data: &[u8], objects: &mut Vec<Option<ObjectId>>, mapping: &mut Option<Mapping>) {
        if self.net.links.get(source).is_none_or(|link| link.poisoned || link.peer().is_none()) {
            self.routing.probes.hit(Probe::RelayIgnored);
            return;
        }
        let message = match Envelope::parse_relayed(data, objects.len()).and_then(|envelope| envelope.message()) {
            Ok(message) => message,
            Err(error) => return self.drop_link(source, format!("relayed: {error}")),
        };
        self.routing.probes.hit(Probe::RelayArrived);
        let mut inner =
            Incoming { message, objects: std::mem::take(objects), mapping: mapping.take(), second_mapping: None, payload: Payload::None };
        let handled = self.dispatch(source, &mut inner);
        *objects = inner.objects;
        *mapping = inner.mapping;
        if let Err(violation) = handled {
            self.drop_link(source, format!("relayed: {violation}"));
        }
    }

    /// A link works: what its far end has had relayed before is handled now.
    pub(super) fn take_in_relayed(&mut self, node: NodeKey, link: LinkKey) {
        let Some(source) = self.net.peer(link).map(|peer| peer.remote_name) else { return };
        let Some(unknown) = self.net.take_relayed(node, source) else { return };
        let Some(messages) = unknown.messages else {
            // Some are missing, and nobody would ever send them again: its routes must not wait for them.
            return self.net.lose(link);
        };
        for Parked { data, mut objects, mut mapping } in messages {
            self.routing.probes.hit(Probe::RelayReleased);
            self.handle_relayed(link, &data, &mut objects, &mut mapping);
            self.net.give_up(node, Parked { data, objects, mapping });
        }
    }
}

/// Whether a message is of a kind that may be relayed, at either end (hazards.md MV-20, TR-03).
fn is_relayable(data: &[u8]) -> bool {
    data.len() <= RELAYED_BYTES && data.get(2).is_some_and(|id| RELAYABLE.contains(id))
}
