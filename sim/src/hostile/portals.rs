//! Lies about portals in parcels.

use std::borrow::Cow;

use ipcz::ids::{BufferId, FragmentDescriptor, SublinkId};
use ipcz::wire::{AcceptParcel, HandleType, RouterDescriptor};

use super::dice::Dice;
use super::forge::{PORTALS, Said, Words, carrying, fresh, parcel, state};
use super::known::{Far, Known, Numbers};
use super::lies::Lie;

/// The messages of a lie about portals; none if it is another one, or cannot be told.
pub fn forge(
    lie: Lie,
    known: &Known,
    (end, far): (u32, &Far),
    (sublink, numbers): (SublinkId, Numbers),
    dice: &mut Dice<'_>,
) -> Option<Vec<Said>> {
    let carry = |routers| carrying(sublink, numbers.sent, routers);
    let parcel = match lie {
        Lie::StrangePortal => carry((0..1 + dice.below(2)).map(|_| strange(far, dice)).collect()),
        Lie::PortalOnUsedSublink => {
            let others: Vec<_> = far.sublinks.iter().map(|(id, _)| *id).filter(|id| *id != sublink).collect();
            let plain = RouterDescriptor::proxied(dice.any(&others)?);
            let split = RouterDescriptor {
                proxy_already_bypassed: true,
                new_link_state_fragment: state(far, dice),
                new_decaying_sublink: fresh(far, dice),
                ..plain
            };
            carry(vec![RouterDescriptor::proxied(fresh(far, dice)), dice.pick([plain, split])])
        }
        Lie::PortalNamedTwice => {
            let one = RouterDescriptor::proxied(fresh(far, dice));
            carry(vec![one, one])
        }
        Lie::ImpossiblePortal => carry(vec![impossible(far, sublink, dice)]),
        Lie::ConfusedDeputy => {
            let others = known.ends.iter().filter(|(other, far)| **other != end && far.name.is_some());
            let targets: Vec<_> =
                others.flat_map(|(_, other)| other.sublinks.iter().filter_map(|(id, _)| Some((other.name?, *id)))).collect();
            let (proxy_peer_node_name, proxy_peer_sublink) = dice.any(&targets)?;
            carry(vec![RouterDescriptor { proxy_peer_node_name, proxy_peer_sublink, ..RouterDescriptor::proxied(fresh(far, dice)) }])
        }
        Lie::PortalFlood => {
            let first = fresh(far, dice).0;
            let [portals, parcels] = PORTALS.map(|n| n as u64);
            let routers = |p: u64| (0..portals).map(|i| RouterDescriptor::proxied(SublinkId(first + p * portals + i))).collect();
            return Some((0..parcels).map(|p| said(carrying(sublink, numbers.sent + p, routers(p)))).collect());
        }
        Lie::WrongCounts => {
            let portal = u32::from(HandleType::Portal);
            let types = dice.pick([&[0, 0][..], &[], &[1], &[2, 9], &[77]]);
            let types: Vec<u32> = types.iter().map(|value| value + portal).collect();
            AcceptParcel { handle_types: Cow::Owned(types), ..carry(vec![RouterDescriptor::proxied(fresh(far, dice))]) }
        }
        Lie::BadSubparcels => {
            let (subparcel_index, num_subparcels) = dice.pick([(0, 0), (1, 1), (5, 3), (0, 1025), (0, 3), (2, 3), (0, u32::MAX)]);
            AcceptParcel { subparcel_index, num_subparcels, ..parcel(sublink, numbers.sent) }
        }
        _ => return None,
    };
    Some(vec![said(parcel)])
}

fn said(parcel: AcceptParcel<'static>) -> Said {
    Said { words: Words::Message(parcel.into()), things: Vec::new() }
}

/// A portal whose descriptor holds nothing impossible by itself.
fn strange(far: &Far, dice: &mut Dice<'_>) -> RouterDescriptor {
    let plain = RouterDescriptor {
        next_outgoing_sequence_number: dice.pick([0, 0, 3, 1 << 40]),
        next_incoming_sequence_number: dice.pick([0, 0, 2, 1 << 40]),
        ..RouterDescriptor::proxied(fresh(far, dice))
    };
    match dice.below(3) {
        0 => plain,
        1 => RouterDescriptor {
            peer_closed: true,
            closed_peer_sequence_length: plain.next_incoming_sequence_number + dice.pick([0, 1, 1_000_000, 1_000_001]),
            ..plain
        },
        _ => RouterDescriptor {
            proxy_already_bypassed: true,
            new_link_state_fragment: state(far, dice),
            new_decaying_sublink: SublinkId(plain.new_sublink.0 + 1),
            decaying_incoming_sequence_length: plain.next_incoming_sequence_number + dice.pick([0, 1, 5]),
            ..plain
        },
    }
}

/// A portal whose descriptor contradicts itself.
fn impossible(far: &Far, sublink: SublinkId, dice: &mut Dice<'_>) -> RouterDescriptor {
    let plain = RouterDescriptor::proxied(fresh(far, dice));
    let bypassed = RouterDescriptor {
        proxy_already_bypassed: true,
        new_link_state_fragment: state(far, dice),
        new_decaying_sublink: SublinkId(plain.new_sublink.0 + 1),
        ..plain
    };
    match dice.below(7) {
        0 => RouterDescriptor { peer_closed: true, next_incoming_sequence_number: 5, closed_peer_sequence_length: 4, ..plain },
        1 => RouterDescriptor { peer_closed: true, closed_peer_sequence_length: (1 << 63) + 1, ..plain },
        2 => RouterDescriptor { new_link_state_fragment: FragmentDescriptor::NULL, ..bypassed },
        3 => RouterDescriptor {
            new_link_state_fragment: FragmentDescriptor { buffer: BufferId::PRIMARY, offset: 1028, size: 64 },
            ..bypassed
        },
        4 => RouterDescriptor { new_decaying_sublink: bypassed.new_sublink, ..bypassed },
        5 => RouterDescriptor { new_sublink: sublink, ..plain },
        _ => RouterDescriptor { next_outgoing_sequence_number: u64::MAX, next_incoming_sequence_number: u64::MAX, ..plain },
    }
}
