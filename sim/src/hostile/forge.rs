//! Well-formed messages that are lies: who says them knows the protocol and what goes on over its links.

use std::borrow::Cow;

use ipcz::ids::{BufferId, FragmentDescriptor, LinkSide, NodeName, NodeType, SublinkId};
use ipcz::wire::*;

use super::dice::Dice;
use super::known::{Far, Known, Numbers};
use super::lies::Lie;

/// Messages of a flood: more than the limits of a hostile world allow (`scenarios/hostile.toml`).
pub(super) const FLOOD: usize = 48;
/// Portals in a parcel of a flood, and parcels.
pub(super) const PORTALS: [usize; 2] = [64, 18];
const DATA: &[u8] = b"not what you think";
/// A message to be relayed, of a kind that nobody may relay: the first initial portal's route is lost.
const INNER: [u8; 40] = {
    let mut bytes = [0; 40];
    (bytes[0], bytes[2], bytes[24]) = (24, 23, 16);
    bytes
};

/// Something that goes with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thing {
    /// Memory of so many bytes.
    Memory(usize),
    /// One end of a transport, whose other end the liar keeps.
    Transport,
}

/// A message, or what looks like one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Words {
    /// With an entry in its object table for each thing.
    Message(Message<'static>),
    /// As it is; the things are handles beside it.
    Bytes(Vec<u8>),
}

/// What is to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    /// The message.
    pub words: Words,
    /// What goes with it.
    pub things: Vec<Thing>,
}

impl Said {
    fn with(message: impl Into<Message<'static>>, things: &[Thing]) -> Said {
        Said { words: Words::Message(message.into()), things: things.to_vec() }
    }

    /// Bytes without anything.
    pub fn bytes(bytes: Vec<u8>) -> Said {
        Said { words: Words::Bytes(bytes), things: Vec::new() }
    }
}

fn say(message: impl Into<Message<'static>>) -> Vec<Said> {
    vec![Said::with(message, &[])]
}

/// A parcel without portals.
pub(super) fn parcel(sublink: SublinkId, number: u64) -> AcceptParcel<'static> {
    AcceptParcel {
        sublink,
        sequence_number: number,
        subparcel_index: 0,
        num_subparcels: 1,
        parcel_fragment: FragmentDescriptor::NULL,
        parcel_data: DATA,
        handle_types: Cow::Borrowed(&[]),
        new_routers: Cow::Borrowed(&[]),
        driver_objects: ObjectRange::default(),
    }
}

pub(super) fn carrying(sublink: SublinkId, number: u64, routers: Vec<RouterDescriptor>) -> AcceptParcel<'static> {
    AcceptParcel {
        handle_types: Cow::Owned(vec![HandleType::Portal.into(); routers.len()]),
        new_routers: Cow::Owned(routers),
        ..parcel(sublink, number)
    }
}

/// A place for a link state in the primary buffer, in use or not.
pub(super) fn state(far: &Far, dice: &mut Dice<'_>) -> FragmentDescriptor {
    let known: Vec<_> = far.states.iter().copied().collect();
    match dice.any(&known) {
        Some(state) if dice.below(3) == 0 => state,
        _ => FragmentDescriptor { buffer: BufferId::PRIMARY, offset: 1024 + 64 * (1 + dice.below(1483)) as u32, size: 64 },
    }
}

/// A sublink that is not in use.
pub(super) fn fresh(far: &Far, dice: &mut Dice<'_>) -> SublinkId {
    let highest = far.sublinks.iter().map(|(id, _)| id.0 & !(1 << 63)).max().unwrap_or(12);
    SublinkId(highest + 1_000 + dice.below(100_000) as u64)
}

pub(super) fn stranger(dice: &mut Dice<'_>) -> NodeName {
    NodeName { high: 0xbad0_0000 | dice.below(1 << 16) as u64, low: 0x11ed }
}

/// What to say over the link `end` in order to tell a lie; none if nothing it knows makes that possible.
pub fn forge(lie: Lie, known: &Known, end: u32, dice: &mut Dice<'_>) -> Option<Vec<Said>> {
    let far = known.ends.get(&end)?;
    let (sublink, numbers) = dice.any(&far.sublinks)?;
    match lie {
        Lie::ForgedClosure => {
            let sequence_length = dice.near(numbers.sent);
            Some(say(RouteClosed { sublink, sequence_length }))
        }
        Lie::ForgedLoss => Some(say(RouteDisconnected { sublink })),
        Lie::UnknownSublink => Some(unknown_sublink(fresh(far, dice), dice)),
        Lie::EarlyFlood => {
            let first = fresh(far, dice).0;
            Some((0..FLOOD as u64).map(|i| Said::with(parcel(SublinkId(first + i % 5), i), &[])).collect())
        }
        Lie::FarAhead => {
            let number = numbers.sent.wrapping_add(dice.pick([1_000_001, 1_000_000, u64::MAX >> 1, u64::MAX]));
            Some(say(parcel(sublink, number)))
        }
        Lie::NumberAgain => {
            let number = numbers.sent.checked_sub(1 + dice.below(2) as u64)?;
            Some(say(parcel(sublink, number)))
        }
        Lie::FlushStorm => Some((0..FLOOD).map(|_| Said::with(FlushRouter { sublink }, &[])).collect()),
        Lie::BypassStranger => Some(say(bypass_stranger(known, far, sublink, dice))),
        Lie::StolenBypass => {
            let others: Vec<_> = known.names.iter().copied().filter(|name| Some(*name) != known.own && Some(*name) != far.name).collect();
            let current_peer_node = dice.any(&others)?;
            Some(say(AcceptBypassLink {
                current_peer_node,
                current_peer_sublink: SublinkId(dice.pick([0, 12, 13, 14, 15, 16, 17, 18, 20, 24])),
                inbound_sequence_length_from_bypassed_link: dice.below(3) as u64,
                new_sublink: fresh(far, dice),
                new_link_state_fragment: state(far, dice),
            }))
        }
        Lie::BypassOwnLink => Some(say(bypass_own_link(known, far, (sublink, numbers), dice)?)),
        Lie::ForgedLengths => Some(say(forged_lengths(sublink, numbers, dice))),
        Lie::SaidAgain => dice.any(&far.said.iter().collect::<Vec<_>>()).map(|bytes| vec![Said::bytes(bytes.clone())]),
        Lie::Reflected => dice.any(&far.heard.iter().collect::<Vec<_>>()).map(|bytes| vec![Said::bytes(bytes.clone())]),
        Lie::Misaddressed => {
            let others: Vec<_> = known.ends.iter().filter(|(other, _)| **other != end).flat_map(|(_, other)| &other.said).collect();
            dice.any(&others).map(|bytes| vec![Said::bytes(bytes.clone())])
        }
        Lie::WrongRole => Some(wrong_role(known, dice)),
        Lie::ForgedIntroduction => {
            let others: Vec<_> = known.names.iter().copied().filter(|name| Some(*name) != known.own && Some(*name) != far.name).collect();
            dice.any(&others).map(|name| vec![introduction(name, dice)])
        }
        Lie::SecondGreeting => Some(second_greeting(known, dice)),
        Lie::SelfIntroduction => far.broker.then_some(known.own).flatten().map(|name| say(RequestIntroduction { name })),
        Lie::IntroductionStorm => {
            far.broker.then(|| (0..FLOOD).map(|_| Said::with(RequestIntroduction { name: stranger(dice) }, &[])).collect())
        }
        Lie::CuriousIntroduction => {
            let asked = known.names.iter().filter(|name| Some(**name) != known.own);
            far.broker
                .then(|| asked.map(|name| Said::with(RequestIntroduction { name: *name }, &[])).collect::<Vec<_>>())
                .filter(|said| !said.is_empty())
        }
        Lie::HalfSplit => Some(half_split(sublink, numbers, dice)),
        Lie::ReferralStorm => far.broker.then(|| {
            let refer = |i| ReferNonBroker { referral_id: i, num_initial_portals: 1, transport: Some(0) };
            (0..1 + dice.below(FLOOD) as u64).map(|i| Said::with(refer(i), &[Thing::Transport])).collect()
        }),
        Lie::MemoryRequest => {
            let size = dice.pick([0, 1, 65_536, 8 << 20, (8 << 20) + 1, u32::MAX]);
            Some((0..1 + dice.below(FLOOD)).map(|_| Said::with(RequestMemory { size }, &[])).collect())
        }
        Lie::UnaskedMemory => {
            let size = dice.pick([65_536, 0, u32::MAX]);
            Some(vec![Said::with(ProvideMemory { size, buffer: Some(0) }, &[Thing::Memory(65_536)])])
        }
        Lie::RelayAnything => relay(known, far, dice),
        _ => super::portals::forge(lie, known, (end, far), (sublink, numbers), dice)
            .or_else(|| super::damage::forge(lie, far, (sublink, numbers), dice)),
    }
}

fn unknown_sublink(sublink: SublinkId, dice: &mut Dice<'_>) -> Vec<Said> {
    let (a, b) = (dice.below(5) as u64, dice.below(5) as u64);
    match dice.below(7) {
        0 => say(FlushRouter { sublink }),
        1 => say(RouteClosed { sublink, sequence_length: a }),
        2 => say(RouteDisconnected { sublink }),
        3 => say(StopProxying { sublink, inbound_sequence_length: a, outbound_sequence_length: b }),
        4 => say(ProxyWillStop { sublink, inbound_sequence_length: a }),
        5 => say(StopProxyingToLocalPeer { sublink, outbound_sequence_length: a }),
        _ => say(BypassPeer { sublink, bypass_target_node: stranger(dice), bypass_target_sublink: SublinkId(b) }),
    }
}

fn bypass_stranger(known: &Known, far: &Far, sublink: SublinkId, dice: &mut Dice<'_>) -> BypassPeer {
    let somebody = stranger(dice);
    let bypass_target_node = match dice.below(4) {
        0 => NodeName::INVALID,
        1 => far.name.unwrap_or(somebody),
        2 => dice.any(&known.names).unwrap_or(somebody),
        _ => somebody,
    };
    BypassPeer { sublink, bypass_target_node, bypass_target_sublink: SublinkId(dice.pick([0, 12, 13, sublink.0, u64::MAX])) }
}

fn bypass_own_link(known: &Known, far: &Far, (sublink, numbers): (SublinkId, Numbers), dice: &mut Dice<'_>) -> Option<Message<'static>> {
    let new_sublink = match dice.below(3) {
        0 => sublink,
        1 => dice.any(&far.sublinks)?.0,
        _ => fresh(far, dice),
    };
    let new_link_state_fragment = state(far, dice);
    let length = dice.near(numbers.sent);
    Some(if dice.below(2) == 0 {
        Message::from(BypassPeerWithLink { sublink, new_sublink, new_link_state_fragment, inbound_sequence_length: length })
    } else {
        Message::from(AcceptBypassLink {
            current_peer_node: known.own?,
            current_peer_sublink: sublink,
            inbound_sequence_length_from_bypassed_link: length,
            new_sublink,
            new_link_state_fragment,
        })
    })
}

fn forged_lengths(sublink: SublinkId, numbers: Numbers, dice: &mut Dice<'_>) -> Message<'static> {
    let (sent, heard) = (dice.near(numbers.sent), dice.near(numbers.heard));
    match dice.below(3) {
        0 => StopProxying { sublink, inbound_sequence_length: sent, outbound_sequence_length: heard }.into(),
        1 => ProxyWillStop { sublink, inbound_sequence_length: sent }.into(),
        _ => StopProxyingToLocalPeer { sublink, outbound_sequence_length: heard }.into(),
    }
}

/// A link to a node that does not know of it.
fn introduction(name: NodeName, dice: &mut Dice<'_>) -> Said {
    let message = AcceptIntroduction {
        name,
        link_side: dice.pick([LinkSide::A, LinkSide::B]),
        remote_node_type: dice.pick([NodeType::Normal, NodeType::Broker]),
        remote_protocol_version: 0,
        transport: Some(0),
        memory: Some(1),
        remote_features: Vec::new(),
    };
    Said::with(message, &[Thing::Transport, Thing::Memory(131_072)])
}

fn wrong_role(known: &Known, dice: &mut Dice<'_>) -> Vec<Said> {
    let name = dice.any(&known.names).unwrap_or_else(|| stranger(dice));
    match dice.below(5) {
        0 => vec![introduction(name, dice)],
        1 => say(RejectIntroduction { name }),
        2 => say(RequestIndirectIntroduction { source_node: name, target_node: name }),
        3 => say(NonBrokerReferralRejected { referral_id: dice.below(4) as u64 }),
        _ => say(AcceptRelayedMessage { source: name, data: &INNER, driver_objects: ObjectRange::default() }),
    }
}

fn second_greeting(known: &Known, dice: &mut Dice<'_>) -> Vec<Said> {
    let name = dice.any(&known.names).unwrap_or_else(|| stranger(dice));
    let (protocol_version, num_initial_portals) = (0, dice.pick([0, 1, 12, u32::MAX]));
    match dice.below(4) {
        0 => say(ConnectFromNonBrokerToBroker { protocol_version, num_initial_portals, features: Vec::new() }),
        1 => say(ConnectToReferredBroker { protocol_version, num_initial_portals, features: Vec::new() }),
        2 => vec![Said::with(
            ConnectFromBrokerToNonBroker {
                broker_name: name,
                receiver_name: stranger(dice),
                protocol_version,
                num_initial_portals,
                buffer: Some(0),
                features: Vec::new(),
            },
            &[Thing::Memory(131_072)],
        )],
        _ => vec![Said::with(
            ConnectFromBrokerToBroker { name, protocol_version, num_initial_portals, buffer: Some(0), features: Vec::new() },
            &[Thing::Memory(131_072)],
        )],
    }
}

/// Halves of parcels: objects and data, under one number or many; some find each other, and fit or not.
fn half_split(sublink: SublinkId, numbers: Numbers, dice: &mut Dice<'_>) -> Vec<Said> {
    let same = dice.below(2) == 0;
    let number = |i: u64| numbers.sent + if same { 0 } else { i / 2 };
    let relayed: Cow<'static, [u32]> = Cow::Owned(vec![HandleType::RelayedBox.into()]);
    let num = 1 + (dice.below(8) == 0) as u32;
    (0..1 + dice.below(FLOOD) as u64)
        .map(|i| match dice.below(2) {
            0 => Said::with(
                AcceptParcelDriverObjects { sublink, sequence_number: number(i), driver_objects: ObjectRange { first: 0, num } },
                &[Thing::Memory(4096); 2][..num as usize],
            ),
            _ => Said::with(AcceptParcel { handle_types: relayed.clone(), ..parcel(sublink, number(i)) }, &[]),
        })
        .collect()
}

fn relay(known: &Known, far: &Far, dice: &mut Dice<'_>) -> Option<Vec<Said>> {
    if !far.broker {
        return None;
    }
    let destination = match dice.below(4) {
        0 => known.own?,
        1 => stranger(dice),
        _ => dice.any(&known.names)?,
    };
    let data: &'static [u8] = match dice.below(3) {
        0 => &INNER,
        1 => b"no message at all, but long enough for a header",
        _ => &[],
    };
    let message = RelayMessage { destination, data, driver_objects: ObjectRange { first: 0, num: 1 } };
    Some((0..1 + dice.below(FLOOD)).map(|_| Said::with(message.clone(), &[Thing::Memory(4096)])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_to_be_relayed_is_one() {
        let mut bytes = Vec::new();
        Message::from(RouteDisconnected { sublink: SublinkId(0) }).encode(0, &[], &mut bytes).unwrap();
        assert_eq!(bytes, INNER);
    }
}
