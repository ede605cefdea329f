//! What a hostile node has learnt from what it says and hears: without it its lies would be noise.

use std::collections::{BTreeMap, VecDeque};

use ipcz::ids::{FragmentDescriptor, NodeName, SublinkId};
use ipcz::wire::{Envelope, Message};

/// Names, fragments and messages kept of each kind.
const NAMES: usize = 64;
const FRAGMENTS: usize = 16;
const MESSAGES: usize = 4;
/// Sublinks kept of each link.
const SUBLINKS: usize = 64;

/// What one hostile process knows.
#[derive(Clone, Default, Debug)]
pub struct Known {
    /// Nodes heard of, in the order of hearing.
    pub names: Vec<NodeName>,
    /// Its own.
    pub own: Option<NodeName>,
    /// By transport end.
    pub ends: BTreeMap<u32, Far>,
}

/// What it knows of one link.
#[derive(Clone, Default, Debug)]
pub struct Far {
    /// The node at the far end.
    pub name: Option<NodeName>,
    /// Whether that is its broker.
    pub broker: bool,
    /// Sublinks in use, in the order of hearing, and the numbers of the next parcels in both directions.
    pub sublinks: Vec<(SublinkId, Numbers)>,
    /// Where data of parcels lay.
    pub data: VecDeque<FragmentDescriptor>,
    /// Where link states lie.
    pub states: VecDeque<FragmentDescriptor>,
    /// What was said and heard last, but for messages with objects.
    pub said: VecDeque<Vec<u8>>,
    /// What was heard last.
    pub heard: VecDeque<Vec<u8>>,
}

/// Numbers of the next parcels on a sublink.
#[derive(Clone, Copy, Default, Debug)]
pub struct Numbers {
    /// That it sends.
    pub sent: u64,
    /// That it gets.
    pub heard: u64,
}

fn keep<T>(list: &mut VecDeque<T>, most: usize, new: T) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(new);
}

impl Far {
    fn sublink(&mut self, id: SublinkId) -> &mut Numbers {
        let at = self.sublinks.iter().position(|(known, _)| *known == id).unwrap_or_else(|| {
            if self.sublinks.len() == SUBLINKS {
                self.sublinks.remove(0);
            }
            self.sublinks.push((id, Numbers::default()));
            self.sublinks.len() - 1
        });
        &mut self.sublinks[at].1
    }

    fn forget(&mut self, id: SublinkId) {
        self.sublinks.retain(|(known, _)| *known != id);
    }
}

impl Known {
    fn name(&mut self, name: NodeName) {
        if name.is_valid() && !self.names.contains(&name) && self.names.len() < NAMES {
            self.names.push(name);
        }
    }

    /// A message was sent (`said`) or delivered at a transport end. `transports`: the ends among its objects.
    pub fn learn(&mut self, end: u32, bytes: &[u8], transports: &[u32], handles: usize, said: bool) {
        let Ok(Ok(Some(message))) = Envelope::parse(bytes, handles).map(|envelope| envelope.message()) else { return };
        match &message {
            Message::ConnectFromBrokerToNonBroker(m) if !said => {
                self.own = Some(m.receiver_name);
                self.name(m.receiver_name);
                self.name(m.broker_name);
                let far = self.ends.entry(end).or_default();
                (far.name, far.broker) = (Some(m.broker_name), true);
                far.sublink(SublinkId(0));
            }
            Message::AcceptIntroduction(m) if !said => {
                self.name(m.name);
                for transport in transports {
                    self.ends.entry(*transport).or_default().name = Some(m.name);
                }
            }
            Message::RequestIntroduction(m) => self.name(m.name),
            Message::BypassPeer(m) => self.name(m.bypass_target_node),
            Message::AcceptBypassLink(m) => self.name(m.current_peer_node),
            Message::AcceptParcel(m) => m.new_routers.iter().for_each(|router| self.name(router.proxy_peer_node_name)),
            _ => {}
        }
        let far = self.ends.entry(end).or_default();
        far.note(&message, said);
        if handles == 0 {
            keep(if said { &mut far.said } else { &mut far.heard }, MESSAGES, bytes.to_vec());
        }
    }
}

impl Far {
    fn note(&mut self, message: &Message<'_>, said: bool) {
        match message {
            Message::AcceptParcel(m) => {
                let numbers = self.sublink(m.sublink);
                let next = if said { &mut numbers.sent } else { &mut numbers.heard };
                *next = (*next).max(m.sequence_number.saturating_add(1));
                if !m.parcel_fragment.is_null() {
                    keep(&mut self.data, FRAGMENTS, m.parcel_fragment);
                }
                for router in m.new_routers.iter() {
                    let (out, inward) = (router.next_outgoing_sequence_number, router.next_incoming_sequence_number);
                    let (sent, heard) = if said { (inward, out) } else { (out, inward) };
                    *self.sublink(router.new_sublink) = Numbers { sent, heard };
                    if router.proxy_already_bypassed {
                        self.sublink(router.new_decaying_sublink);
                        keep(&mut self.states, FRAGMENTS, router.new_link_state_fragment);
                    }
                }
            }
            Message::RouteClosed(m) => {
                self.sublink(m.sublink);
            }
            Message::RouteDisconnected(m) => self.forget(m.sublink),
            Message::BypassPeer(m) => {
                self.sublink(m.sublink);
            }
            Message::AcceptBypassLink(m) => {
                self.sublink(m.new_sublink);
                keep(&mut self.states, FRAGMENTS, m.new_link_state_fragment);
            }
            Message::BypassPeerWithLink(m) => {
                self.sublink(m.sublink);
                self.sublink(m.new_sublink);
                keep(&mut self.states, FRAGMENTS, m.new_link_state_fragment);
            }
            _ => {}
        }
    }
}
