//! Messages and bytes that nobody thought of: every message survives the wire, and no bytes upset the reader.

mod wire_common;

use std::borrow::Cow;

use ipcz::ids::{BufferId, FragmentDescriptor, LinkSide, NodeName, NodeType, SublinkId};
use ipcz::wire::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use wire_common::everything;

/// A message made of arbitrary bytes, so that it shrinks as they do.
struct Source<'a> {
    bytes: &'a [u8],
    objects: u32,
    unclaimed: Vec<u32>,
}

impl<'a> Source<'a> {
    fn new(bytes: &'a [u8], objects: u32) -> Self {
        Source { bytes, objects, unclaimed: (0..objects).collect() }
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(len.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let taken = self.take(N);
        std::array::from_fn(|i| taken.get(i).copied().unwrap_or(0))
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.array::<1>()[0]) % limit
    }

    fn list<T: Any<'a>>(&mut self) -> Vec<T> {
        (0..self.below(6)).map(|_| T::any(self)).collect()
    }
}

trait Any<'a>: Sized {
    fn any(from: &mut Source<'a>) -> Self;
}

macro_rules! any {
    ($($ty:ty: $make:expr;)*) => {$(
        impl<'a> Any<'a> for $ty {
            fn any(from: &mut Source<'a>) -> Self {
                let make: fn(&mut Source<'a>) -> Self = $make;
                make(from)
            }
        }
    )*};
}

any! {
    bool: |s| s.below(2) == 1;
    u32: |s| u32::from_be_bytes(s.array());
    u64: |s| u64::from_be_bytes(s.array());
    SublinkId: |s| SublinkId(Any::any(s));
    BufferId: |s| if s.below(4) == 0 { BufferId::INVALID } else { BufferId(Any::any(s)) };
    NodeName: |s| NodeName { high: Any::any(s), low: Any::any(s) };
    FragmentDescriptor: |s| FragmentDescriptor { buffer: Any::any(s), offset: Any::any(s), size: Any::any(s) };
    LinkSide: |s| if s.below(2) == 0 { LinkSide::A } else { LinkSide::B };
    NodeType: |s| if s.below(2) == 0 { NodeType::Broker } else { NodeType::Normal };
    ObjectRange: |s| {
        let first = s.below(s.objects as usize + 1) as u32;
        ObjectRange { first, num: s.below((s.objects - first) as usize + 1) as u32 }
    };
    Option<u32>: |s| {
        let pick = s.below(s.unclaimed.len() + 1);
        (pick < s.unclaimed.len()).then(|| s.unclaimed.remove(pick))
    };
    Vec<u64>: Source::list;
    &'a [u8]: |s| { let len = s.below(64); s.take(len) };
    Cow<'a, [u32]>: |s| Cow::Owned(s.list());
    Cow<'a, [RouterDescriptor]>: |s| Cow::Owned(s.list());
    RouterDescriptor: |s| RouterDescriptor {
        closed_peer_sequence_length: Any::any(s),
        new_sublink: Any::any(s),
        new_link_state_fragment: Any::any(s),
        new_decaying_sublink: Any::any(s),
        next_outgoing_sequence_number: Any::any(s),
        next_incoming_sequence_number: Any::any(s),
        decaying_incoming_sequence_length: Any::any(s),
        peer_closed: Any::any(s),
        proxy_already_bypassed: Any::any(s),
        proxy_peer_node_name: Any::any(s),
        proxy_peer_sublink: Any::any(s),
    };
}

macro_rules! any_message {
    ($($name:ident { $($field:ident)* })*) => {
        fn any_message<'a>(id: u8, s: &mut Source<'a>) -> Message<'a> {
            match message_name(id).unwrap() {
                $(stringify!($name) => Message::$name($name { $($field: Any::any(s)),* }),)*
                other => panic!("{other} is missing here"),
            }
        }
    };
}

any_message! {
    ConnectFromBrokerToNonBroker { broker_name receiver_name protocol_version num_initial_portals buffer features }
    ConnectFromNonBrokerToBroker { protocol_version num_initial_portals features }
    ReferNonBroker { referral_id num_initial_portals transport }
    ConnectToReferredBroker { protocol_version num_initial_portals features }
    ConnectToReferredNonBroker {
        name broker_name referrer_name broker_protocol_version referrer_protocol_version num_initial_portals broker_link_buffer
        referrer_link_transport referrer_link_buffer broker_features referrer_features
    }
    NonBrokerReferralAccepted { referral_id protocol_version num_initial_portals name transport buffer features }
    NonBrokerReferralRejected { referral_id }
    ConnectFromBrokerToBroker { name protocol_version num_initial_portals buffer features }
    RequestIntroduction { name }
    AcceptIntroduction { name link_side remote_node_type remote_protocol_version transport memory remote_features }
    RejectIntroduction { name }
    RequestIndirectIntroduction { source_node target_node }
    AddBlockBuffer { id block_size buffer }
    AcceptParcel {
        sublink sequence_number subparcel_index num_subparcels parcel_fragment parcel_data handle_types new_routers driver_objects
    }
    AcceptParcelDriverObjects { sublink sequence_number driver_objects }
    RouteClosed { sublink sequence_length }
    RouteDisconnected { sublink }
    BypassPeer { sublink bypass_target_node bypass_target_sublink }
    AcceptBypassLink {
        current_peer_node current_peer_sublink inbound_sequence_length_from_bypassed_link new_sublink new_link_state_fragment
    }
    StopProxying { sublink inbound_sequence_length outbound_sequence_length }
    ProxyWillStop { sublink inbound_sequence_length }
    BypassPeerWithLink { sublink new_sublink new_link_state_fragment inbound_sequence_length }
    StopProxyingToLocalPeer { sublink outbound_sequence_length }
    FlushRouter { sublink }
    RequestMemory { size }
    ProvideMemory { size buffer }
    RelayMessage { destination data driver_objects }
    AcceptRelayedMessage { source data driver_objects }
}

/// Bytes and handle count of each of a message's objects.
fn objects() -> impl Strategy<Value = Vec<(Vec<u8>, u16)>> {
    vec((vec(any::<u8>(), 0..20), 0u16..4), 0..6)
}

fn object_bytes(objects: &[(Vec<u8>, u16)]) -> Vec<ObjectBytes<'_>> {
    objects.iter().map(|(data, handles)| ObjectBytes { data, handles: *handles }).collect()
}

/// Reads a message and says what it means: id, sequence number, message, and the bytes and number of handles of its objects.
type Meaning<'a> = (u8, u64, Option<Message<'a>>, Vec<(&'a [u8], usize)>);

fn read(bytes: &[u8], handles: usize) -> Result<Meaning<'_>, WireError> {
    let envelope = Envelope::parse(bytes, handles)?;
    let objects: Vec<_> = envelope.objects().collect();
    let mut taken = vec![false; handles];
    for handle in objects.iter().flat_map(|o| o.handles.clone()) {
        assert!(!std::mem::replace(&mut taken[handle], true), "handle {handle} is given away twice");
    }
    let objects = objects.into_iter().map(|o| (o.data, o.handles.len())).collect();
    Ok((envelope.id(), envelope.sequence_number(), envelope.message()?, objects))
}

#[derive(Clone, Debug)]
enum Change {
    Byte(usize, u8),
    Word(usize, u32),
    Cut(usize),
    Extend(Vec<u8>),
    Copy { from: usize, to: usize, len: usize },
}

impl Change {
    fn any() -> impl Strategy<Value = Change> {
        let at = 0..400usize;
        let small = prop_oneof![0u32..400, Just(u32::MAX), any::<u32>()];
        prop_oneof![
            (at.clone(), any::<u8>()).prop_map(|(at, to)| Change::Byte(at, to)),
            (at.clone(), small).prop_map(|(at, to)| Change::Word(at / 4 * 4, to)),
            at.clone().prop_map(Change::Cut),
            vec(any::<u8>(), 0..40).prop_map(Change::Extend),
            (at.clone(), at, 0..40usize).prop_map(|(from, to, len)| Change::Copy { from, to, len }),
        ]
    }

    fn apply(self, bytes: &mut Vec<u8>) {
        let len = bytes.len().max(1);
        let set = |bytes: &mut Vec<u8>, at: usize, new: &[u8]| {
            for (old, new) in bytes.iter_mut().skip(at % len).zip(new) {
                *old = *new;
            }
        };
        match self {
            Change::Byte(at, to) => set(bytes, at, &[to]),
            Change::Word(at, to) => set(bytes, at, &to.to_le_bytes()),
            Change::Cut(to) => bytes.truncate(to),
            Change::Extend(more) => bytes.extend(more),
            Change::Copy { from, to, len } => {
                let piece: Vec<u8> = bytes.iter().skip(from).take(len).copied().collect();
                set(bytes, to, &piece);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn messages_survive_the_wire(id in select(Message::IDS), bytes in vec(any::<u8>(), 0..400), objects in objects(), sequence: u64) {
        let message = any_message(id, &mut Source::new(&bytes, objects.len() as u32));
        prop_assert_eq!(message.id(), id);
        let mut out = vec![0xee; 64];
        message.encode(sequence, &object_bytes(&objects), &mut out).unwrap();
        prop_assert!(out.len().is_multiple_of(8));

        let handles: usize = objects.iter().map(|(_, n)| usize::from(*n)).sum();
        let expected: Vec<_> = objects.iter().map(|(data, n)| (&data[..], usize::from(*n))).collect();
        prop_assert_eq!(read(&out, handles), Ok((id, sequence, Some(message), expected)));
    }

    #[test]
    fn what_is_read_can_be_written(which: prop::sample::Index, changes in vec(Change::any(), 0..4), handles in 0..70usize) {
        let all = everything_once();
        let mut bytes = which.get(all).clone();
        changes.into_iter().for_each(|change| change.apply(&mut bytes));
        if let Ok((id, sequence, Some(message), objects)) = read(&bytes, handles) {
            let mut out = Vec::new();
            let sent: Vec<_> = objects.iter().map(|(data, n)| ObjectBytes { data, handles: *n as u16 }).collect();
            message.encode(sequence, &sent, &mut out).unwrap();
            prop_assert_eq!(read(&out, handles), Ok((id, sequence, Some(message), objects)));
        }
    }

    #[test]
    fn no_bytes_upset_the_reader(mut bytes in vec(any::<u8>(), 0..300), id in select(Message::IDS), handles in 0..70usize, sane: bool) {
        if let (true, Some(header)) = (sane, bytes.first_chunk_mut::<28>()) {
            *header = [0; 28];
            (header[0], header[2], header[24]) = (24, id, 88);
        }
        let _ = read(&bytes, handles);
        let _ = Envelope::parse_relayed(&bytes, handles).and_then(|e| e.message());
    }

    #[test]
    fn parcels_made_in_place_equal_encoded_ones(bytes in vec(any::<u8>(), 0..400), data in vec(any::<u8>(), 0..400), sequence: u64) {
        let Message::AcceptParcel(parcel) = any_message(20, &mut Source::new(&bytes, 3)) else { unreachable!() };
        let mut buf = vec![0xee; PARCEL_HEADROOM];
        buf.extend_from_slice(&data);
        encode_parcel_in_place(&mut buf, &parcel, sequence).unwrap();
        let mut out = Vec::new();
        Message::from(AcceptParcel { parcel_data: &data, ..parcel }).encode(sequence, &[], &mut out).unwrap();
        prop_assert_eq!(buf, out);
    }
}

/// The bytes of all vectors.
fn everything_once() -> &'static [Vec<u8>] {
    static ALL: std::sync::OnceLock<Vec<Vec<u8>>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| everything().into_iter().map(|v| v.bytes).collect())
}

#[test]
fn mutations_reach_messages_that_are_still_sound() {
    // The property above is worth something only if a fair share of changed messages is read at all.
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut sound = 0;
    for bytes in everything_once().iter().cycle().take(1000) {
        let mut bytes = bytes.clone();
        Change::any().new_tree(&mut runner).unwrap().current().apply(&mut bytes);
        sound += usize::from(matches!(read(&bytes, 64), Ok((_, _, Some(_), _))));
    }
    assert!((200..950).contains(&sound), "{sound}");
}
