//! Relayed messages that wait for a link: at a broker for one to whom they are for, at a node for one to whom they are from, since brokers
//! of two networks introduce and relay over links of their own (nodes.md 8.4, D-5, D-6).

use std::collections::{BTreeMap, VecDeque};

use super::introduction::{Deadline, Waiter};
use super::network::{Doomed, Network};
use super::outbox::Outgoing;
use crate::clock::Time;
use crate::ids::{LinkKey, NodeKey, NodeName, ObjectId};
use crate::mapping::Mapping;
use crate::probe::Probe;

/// Bytes that a relay adds to its message.
pub const RELAY_ROOM: usize = 96;

/// A message that waits.
#[derive(Clone, Debug)]
pub struct Parked {
    /// The message.
    pub data: Vec<u8>,
    /// What came with it.
    pub objects: Vec<Option<ObjectId>>,
    /// The memory among that, if it names any.
    pub mapping: Option<Mapping>,
}

impl Parked {
    fn bytes(&self) -> usize {
        RELAY_ROOM + self.data.len() + 32 * self.objects.len()
    }
}

/// Messages from one node that no link leads to yet, in the order of coming.
#[derive(Clone, Default, Debug)]
pub struct Unknown {
    /// The messages. None: there were more than may wait, and not one of them is kept.
    pub messages: Option<Vec<Parked>>,
    bytes: usize,
    /// When they are given up.
    pub deadline: Option<(Time, u64)>,
}

/// What waits at a node.
#[derive(Clone, Default, Debug)]
pub struct Parking {
    /// At a broker: by whom they are for, with the links of who wants to say them.
    pub to: BTreeMap<NodeName, Vec<(LinkKey, Parked)>>,
    /// By whom they are from.
    pub from: BTreeMap<NodeName, Unknown>,
    /// Nodes that a link was lost to, the latest last: what they had relayed over it may still come, and must not be taken for a message of
    /// the next link, where its buffer would be another one.
    former: VecDeque<NodeName>,
}

impl Parking {
    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        let unknown = |unknown: &Unknown| unknown.messages.as_ref().map_or(0, Vec::len);
        self.to.values().map(Vec::len).sum::<usize>() + self.from.values().map(unknown).sum::<usize>()
    }

    /// The memory that they name.
    pub fn mappings_mut(&mut self) -> impl Iterator<Item = &mut Mapping> {
        let from = self.from.values_mut().flat_map(|unknown| &mut unknown.messages).flatten();
        self.to.values_mut().flatten().map(|(_, parked)| parked).chain(from).filter_map(|parked| parked.mapping.as_mut())
    }
}

impl Network {
    /// Broker: a message for a node that no link leads to. The other brokers are asked for it. False: more would wait than this peer may
    /// have waiting.
    pub fn park_for(&mut self, from: LinkKey, to: NodeName, parked: Parked) -> bool {
        let Some((key, limits)) = self.links.get(from).map(|link| (link.node, self.limits_of(from))) else { return true };
        let Some(peer) = self.peer_mut(from) else { return true };
        let waiting = (peer.parked.0 + 1, peer.parked.1 + parked.bytes());
        if waiting.0 > limits.parked_relays || waiting.1 > limits.parked_relay_bytes {
            self.give_up(key, parked);
            return false;
        }
        peer.parked = waiting;
        self.probes.hit(Probe::RelayParked);
        if let Some(node) = self.nodes.get_mut(key) {
            node.parking.to.entry(to).or_default().push((from, parked));
        }
        self.seek_link(key, to, Waiter::Relays);
        true
    }

    /// Broker: there is a link to whom these are for, or there will be none.
    pub(super) fn release_relays(&mut self, key: NodeKey, to: NodeName, found: bool) {
        let Some(parked) = self.nodes.get_mut(key).and_then(|node| node.parking.to.remove(&to)) else { return };
        let target = self.link_to(key, to).filter(|_| found);
        for (from, parked) in parked {
            self.unpark(from, &parked);
            match (target, self.peer(from).map(|peer| peer.remote_name)) {
                (Some(target), Some(source)) => self.pass_on(target, source, parked),
                _ => {
                    self.probes.hit(Probe::RelayRefused);
                    self.give_up(key, parked);
                }
            }
        }
    }

    /// Broker: passes a message on. Whose it is, is what its link says.
    pub fn pass_on(&mut self, target: LinkKey, source: NodeName, parked: Parked) {
        self.probes.hit(Probe::RelayPassedOn);
        let bytes = parked.bytes();
        self.out.doomed.extend(parked.mapping.map(Doomed::Mapping));
        let objects = parked.objects.into_iter().flatten().collect();
        self.append(target, Outgoing::Relayed { from: source, data: parked.data }, objects, bytes, false);
    }

    fn unpark(&mut self, from: LinkKey, parked: &Parked) {
        if let Some(peer) = self.peer_mut(from) {
            peer.parked.0 -= 1;
            peer.parked.1 -= parked.bytes();
        }
    }

    /// Broker: who wanted to say them is gone.
    pub(super) fn forget_relays(&mut self, key: NodeKey, from: LinkKey) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        let all = node.parking.to.values_mut();
        let gone: Vec<Parked> = all.flat_map(|parked| parked.extract_if(.., |(by, _)| *by == from)).map(|(_, parked)| parked).collect();
        gone.into_iter().for_each(|parked| self.give_up(key, parked));
    }

    /// A message from a node that no link leads to. Its introduction may be on its way over another link: until then it waits.
    pub fn park_from(&mut self, key: NodeKey, source: NodeName, parked: Parked) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        if node.parking.former.contains(&source) {
            self.probes.hit(Probe::RelayIgnored);
            return self.give_up(key, parked);
        }
        let limits = node.limits;
        if !node.parking.from.contains_key(&source) {
            let deadline = if node.parking.from.len() < limits.parked_sources {
                self.set_deadline(key, Deadline::Relayed { node: key, source })
            } else {
                None
            };
            if deadline.is_none() {
                self.probes.hit(Probe::RelayIgnored);
                return self.give_up(key, parked);
            }
            let unknown = Unknown { messages: Some(Vec::new()), bytes: 0, deadline };
            self.nodes.get_mut(key).and_then(|node| node.parking.from.insert(source, unknown));
        }
        let Some(unknown) = self.nodes.get_mut(key).and_then(|node| node.parking.from.get_mut(&source)) else { return };
        unknown.bytes += parked.bytes();
        let over = |messages: &Vec<Parked>| messages.len() >= limits.parked_relays || unknown.bytes > limits.parked_relay_bytes;
        let spoilt = unknown.messages.take_if(|messages| over(messages));
        match &mut unknown.messages {
            Some(messages) => {
                messages.push(parked);
                self.probes.hit(Probe::RelayWaits);
            }
            None => spoilt.into_iter().flatten().chain([parked]).for_each(|parked| self.give_up(key, parked)),
        }
    }

    /// A link to `name` was lost. Only the latest [`Limits::parked_sources`](crate::limits::Limits::parked_sources) are remembered.
    pub(super) fn note_former(&mut self, key: NodeKey, name: NodeName) {
        let Some(node) = self.nodes.get_mut(key) else { return };
        let former = &mut node.parking.former;
        former.retain(|known| *known != name);
        former.push_back(name);
        former.drain(..former.len().saturating_sub(node.limits.parked_sources));
    }

    /// What waited for a link to `source`, which is there now.
    pub fn take_relayed(&mut self, key: NodeKey, source: NodeName) -> Option<Unknown> {
        let parking = &mut self.nodes.get_mut(key)?.parking;
        parking.former.retain(|known| *known != source);
        let unknown = parking.from.remove(&source)?;
        unknown.deadline.and_then(|at| self.deadlines.remove(&at));
        Some(unknown)
    }

    /// No link to `source` has come: it is a node that is gone, or that nobody introduces.
    pub(super) fn relayed_expired(&mut self, key: NodeKey, source: NodeName) {
        self.probes.hit(Probe::RelayExpired);
        self.forget_relayed(key, source);
    }

    fn forget_relayed(&mut self, key: NodeKey, source: NodeName) {
        let unknown = self.take_relayed(key, source);
        unknown.and_then(|unknown| unknown.messages).into_iter().flatten().for_each(|parked| self.give_up(key, parked));
    }

    /// Nothing can be relayed to or by this node any more.
    pub(super) fn empty_parking(&mut self, key: NodeKey) {
        let Some(node) = self.nodes.get(key) else { return };
        let (to, from): (Vec<_>, Vec<_>) = (node.parking.to.keys().copied().collect(), node.parking.from.keys().copied().collect());
        to.into_iter().for_each(|name| self.release_relays(key, name, false));
        from.into_iter().for_each(|name| self.forget_relayed(key, name));
    }

    /// What is left of a message that was parked.
    pub fn give_up(&mut self, key: NodeKey, parked: Parked) {
        self.out.doomed.extend(parked.mapping.map(Doomed::Mapping));
        let Some(driver) = self.nodes.get(key).map(|node| node.driver) else { return };
        parked.objects.into_iter().flatten().for_each(|object| self.doom(driver, object));
    }
}
