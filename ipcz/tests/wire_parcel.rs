//! What a parcel can get wrong all by itself (wire.md 7.1, 9.5, 11.2).

use std::borrow::Cow;

use ipcz::ids::{BufferId, FragmentDescriptor, NodeName, SublinkId};
use ipcz::wire::{AcceptParcel, DescriptorFault, HandleType, ObjectRange, ParcelError, RouterDescriptor};

const STATE: FragmentDescriptor = FragmentDescriptor { buffer: BufferId::PRIMARY, offset: 1152, size: 64 };

/// A router moved as a plain proxy.
const PROXY: RouterDescriptor =
    RouterDescriptor { next_outgoing_sequence_number: 4, next_incoming_sequence_number: 2, ..RouterDescriptor::proxied(SublinkId(20)) };

/// A router moved out of a local pair.
const BYPASSED: RouterDescriptor = RouterDescriptor {
    new_link_state_fragment: STATE,
    new_decaying_sublink: SublinkId(21),
    decaying_incoming_sequence_length: 6,
    proxy_already_bypassed: true,
    ..PROXY
};

fn parcel<'a>(handle_types: &'a [u32], new_routers: &'a [RouterDescriptor]) -> AcceptParcel<'a> {
    AcceptParcel {
        sublink: SublinkId(1),
        sequence_number: 0,
        subparcel_index: 0,
        num_subparcels: 1,
        parcel_fragment: FragmentDescriptor::NULL,
        parcel_data: &[],
        handle_types: Cow::Borrowed(handle_types),
        new_routers: Cow::Borrowed(new_routers),
        driver_objects: ObjectRange::default(),
    }
}

#[test]
fn handle_types_are_four() {
    let types = [HandleType::Portal, HandleType::Box, HandleType::RelayedBox, HandleType::Subparcel];
    for (value, handle) in types.into_iter().enumerate() {
        assert_eq!((HandleType::try_from(value as u32), u32::from(handle)), (Ok(handle), value as u32));
    }
    for value in [4, 9, 256, u32::MAX] {
        assert_eq!(HandleType::try_from(value), Err(value));
        let error = parcel(&[2, value], &[]).validate(0).unwrap_err();
        assert_eq!((error, error.code()), (ParcelError::HandleType { index: 1, value }, "F9"));
    }
}

#[test]
fn subparcels_are_1_to_1024_and_the_index_is_among_them() {
    for (index, num) in [(0, 0), (1, 1), (5, 5), (0, 1025), (u32::MAX, u32::MAX)] {
        let error = AcceptParcel { subparcel_index: index, num_subparcels: num, ..parcel(&[], &[]) }.validate(0).unwrap_err();
        assert_eq!((error, error.code()), (ParcelError::Subparcel { index, num }, "F15"));
    }
    let last = AcceptParcel { subparcel_index: 1023, num_subparcels: 1024, ..parcel(&[], &[]) };
    assert_eq!(last.validate(0), Ok(()));
}

#[test]
fn portals_pair_with_descriptors() {
    assert_eq!(parcel(&[0, 1, 0], &[PROXY, RouterDescriptor { new_sublink: SublinkId(30), ..PROXY }]).validate(1), Ok(()));
    for (types, routers) in [(&[0u32][..], &[][..]), (&[], &[PROXY]), (&[0, 0], &[PROXY]), (&[0], &[PROXY, PROXY])] {
        let fault = ParcelError::Portals { portals: types.len(), descriptors: routers.len() };
        assert_eq!(parcel(types, routers).validate(0), Err(fault));
        assert_eq!(fault.code(), "F15");
    }
}

#[test]
fn boxes_pair_with_all_objects_of_the_message_whatever_the_range_says() {
    let split = AcceptParcel { driver_objects: ObjectRange { first: 0, num: 1 }, ..parcel(&[1, 1], &[]) };
    assert_eq!(split.validate(2), Ok(()));
    for objects in [0, 1, 3] {
        let fault = ParcelError::Boxes { boxes: 2, objects };
        assert_eq!(split.validate(objects), Err(fault));
        assert_eq!(fault.code(), "F15");
    }
    assert_eq!(parcel(&[2, 2], &[]).validate(0), Ok(()), "relayed boxes come elsewhere");
    assert_eq!(parcel(&[2, 2], &[]).validate(2), Err(ParcelError::Boxes { boxes: 0, objects: 2 }));
}

#[test]
fn the_main_parcel_has_a_place_for_each_subparcel_and_a_subparcel_none() {
    let part = |subparcel_index, types| AcceptParcel { subparcel_index, num_subparcels: 3, ..parcel(types, &[]) };
    assert_eq!(part(0, &[3, 3]).validate(0), Ok(()));
    assert_eq!(part(2, &[]).validate(0), Ok(()));
    for (error, places, expected) in [
        (part(0, &[3]).validate(0), 1, 2),
        (part(0, &[3, 3, 3]).validate(0), 3, 2),
        (part(1, &[3]).validate(0), 1, 0),
        (parcel(&[3], &[]).validate(0), 1, 0),
    ] {
        assert_eq!(error, Err(ParcelError::Places { places, expected }));
        assert_eq!(error.unwrap_err().code(), "F16");
    }
}

#[test]
fn the_four_shapes_of_descriptors_are_sound() {
    let dead = RouterDescriptor { peer_closed: true, closed_peer_sequence_length: 2, ..PROXY };
    let immediate = RouterDescriptor { proxy_peer_node_name: NodeName { high: 1, low: 2 }, proxy_peer_sublink: SublinkId(1), ..PROXY };
    for descriptor in [PROXY, BYPASSED, dead, immediate] {
        assert_eq!(descriptor.validate(SublinkId(1)), Ok(()));
    }
    assert_eq!(parcel(&[0], &[RouterDescriptor { peer_closed: true, closed_peer_sequence_length: 9, ..BYPASSED }]).validate(0), Ok(()));
}

#[test]
fn a_descriptor_at_fault_is_named() {
    let other = RouterDescriptor { new_sublink: SublinkId(1), ..PROXY };
    let fault = ParcelError::Descriptor { index: 1, fault: DescriptorFault::Sublinks };
    assert_eq!(parcel(&[0, 0], &[PROXY, other]).validate(0), Err(fault));
    assert_eq!(fault.code(), "F15");
}

#[test]
fn a_closed_peer_sent_no_less_than_was_delivered() {
    let closed = |length| RouterDescriptor { peer_closed: true, closed_peer_sequence_length: length, ..PROXY }.validate(SublinkId(1));
    for length in [2, 3, 1_000_002, 1_000_003, u64::MAX] {
        assert_eq!(closed(length), Ok(()));
    }
    for length in [0, 1] {
        assert_eq!(closed(length), Err(DescriptorFault::ClosedLength));
    }
    let open = RouterDescriptor { closed_peer_sequence_length: u64::MAX, ..PROXY };
    assert_eq!(open.validate(SublinkId(1)), Ok(()), "means nothing while the peer is open");
}

#[test]
fn link_state_is_where_it_belongs_and_nowhere_else() {
    let with = |base: RouterDescriptor, state| RouterDescriptor { new_link_state_fragment: state, ..base }.validate(SublinkId(1));
    assert_eq!(with(PROXY, STATE), Err(DescriptorFault::LinkState));
    assert_eq!(with(BYPASSED, FragmentDescriptor { size: 4096, offset: 8, ..STATE }), Ok(()));
    for state in [
        FragmentDescriptor::NULL,
        FragmentDescriptor { buffer: BufferId::INVALID, ..STATE },
        FragmentDescriptor { size: 63, ..STATE },
        FragmentDescriptor { offset: 1156, ..STATE },
    ] {
        assert_eq!(with(BYPASSED, state), Err(DescriptorFault::LinkState));
    }
}

#[test]
fn sublinks_differ_pairwise() {
    let with = |base: RouterDescriptor, new, decaying| {
        RouterDescriptor { new_sublink: SublinkId(new), new_decaying_sublink: SublinkId(decaying), ..base }.validate(SublinkId(1))
    };
    for (new, decaying) in [(1, 21), (20, 1), (20, 20)] {
        assert_eq!(with(BYPASSED, new, decaying), Err(DescriptorFault::Sublinks));
    }
    assert_eq!(with(PROXY, 1, 0), Err(DescriptorFault::Sublinks));
    assert_eq!(with(PROXY, 20, 1), Ok(()), "a decaying sublink nobody uses");
    assert_eq!(with(PROXY, 20, 20), Ok(()));
}
