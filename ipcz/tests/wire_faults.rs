//! Every way in which bytes alone fail to be a message (wire.md 13, F1 to F9 without F5), and where the error says it is.

mod wire_common;

use ipcz::wire::{ArrayFault, Envelope, Fault, Message, ObjectBytes, ObjectRange, ProvideMemory, RelayMessage, WireError};
use wire_common::{captured, everything, vectors};

/// The named vector with numbers written over it: (offset, little-endian bytes).
fn altered(name: &str, changes: &[(usize, &[u8])]) -> Vec<u8> {
    let mut bytes = vectors().into_iter().find(|v| v.name == name).expect(name).bytes;
    for (at, value) in changes {
        bytes[*at..at + value.len()].copy_from_slice(value);
    }
    bytes
}

fn read(bytes: &[u8], handles: usize) -> Result<Option<Message<'_>>, WireError> {
    Envelope::parse(bytes, handles)?.message()
}

fn error(bytes: &[u8], handles: usize) -> WireError {
    read(bytes, handles).expect_err("accepted")
}

#[track_caller]
fn expect(bytes: &[u8], handles: usize, code: &str, message: &str, field: &'static str, offset: usize, fault: Fault) {
    let message = Some(message).filter(|m| !m.is_empty());
    let got = error(bytes, handles);
    assert_eq!((got.message, got.field, got.offset, got.fault), (message, field, offset, fault));
    assert_eq!(got.fault.code(), code);
}

const PARCEL: &str = "accept_parcel_hello_one_portal";
const INTRODUCTION: &str = "accept_introduction_byte_objects";

#[test]
fn f1_too_short() {
    let bytes = altered("route_closed", &[]);
    for len in 0..24 {
        expect(&bytes[..len], 0, "F1", "", "header", len, Fault::TooShort);
    }
}

#[test]
fn f2_header_size() {
    for (size, version) in [(0, 0), (16, 0), (32, 0), (16, 1), (28, 1), (56, 1), (248, 255)] {
        let bytes = altered("route_closed", &[(0, &[size, version])]);
        expect(&bytes, 0, "F2", "RouteClosed", "size", 0, Fault::HeaderSize { size, version });
    }
    let unknown = altered("route_closed", &[(0, &[0, 0, 200])]);
    expect(&unknown, 0, "F2", "", "size", 0, Fault::HeaderSize { size: 0, version: 0 });
}

#[test]
fn f3_object_table() {
    for (off, at, cause) in [(48u32, 16, ArrayFault::Offset), (41, 16, ArrayFault::Offset), (1, 1, ArrayFault::NumBytes)] {
        let bytes = altered("route_closed", &[(16, &off.to_le_bytes())]);
        expect(&bytes, 0, "F3", "RouteClosed", "driver_object_data_array", at, Fault::ObjectTable(cause));
    }
    // ProvideMemory's table is at 40: 16 bytes, 1 element.
    let bytes = altered("provide_memory", &[(44, &[2])]);
    expect(&bytes, 9, "F3", "ProvideMemory", "driver_object_data_array", 44, Fault::ObjectTable(ArrayFault::NumElements));
}

#[test]
fn f3_and_f4_come_before_the_id_is_looked_at() {
    let table = altered("route_closed", &[(2, &[200]), (16, &[48])]);
    expect(&table, 0, "F3", "", "driver_object_data_array", 16, Fault::ObjectTable(ArrayFault::Offset));
    let range = altered("provide_memory", &[(2, &[200])]);
    let fault = Fault::HandleRange { first: 0, num: 1, received: 0 };
    expect(&range, 0, "F4", "", "first_driver_handle", 52, fault);
    assert_eq!(read(&range, 1), Ok(None), "an unknown id with sound objects is no failure");
}

#[test]
fn f4_object_bytes() {
    let bytes = altered("provide_memory", &[(48, &[72])]);
    expect(&bytes, 1, "F4", "ProvideMemory", "driver_data_array", 48, Fault::ObjectBytes(ArrayFault::Offset));
}

#[test]
fn f4_handle_range() {
    for (first, num, received) in [(0u16, 1u16, 0), (1, 1, 1), (0, 2, 1), (65535, 0, 0), (65535, 65535, 131069)] {
        let bytes = altered("provide_memory", &[(52, &first.to_le_bytes()), (54, &num.to_le_bytes())]);
        let fault = Fault::HandleRange { first, num, received };
        expect(&bytes, received, "F4", "ProvideMemory", "first_driver_handle", 52, fault);
    }
    let last = altered("provide_memory", &[(52, &[255, 255]), (54, &[255, 255])]);
    let objects: Vec<_> = Envelope::parse(&last, 131070).unwrap().objects().map(|o| o.handles).collect();
    assert_eq!(objects, vec![65535..131070]);
}

#[test]
fn f4_handle_claimed_twice() {
    // A message of unknown id with three objects without bytes, whose handle ranges are given.
    let with = |ranges: [(u16, u16); 3]| {
        let mut bytes = vec![0; 24 + 8 + 24];
        (bytes[0], bytes[2], bytes[16], bytes[24], bytes[28]) = (24, 200, 24, 32, 3);
        for (i, (first, num)) in ranges.into_iter().enumerate() {
            bytes[36 + i * 8..38 + i * 8].copy_from_slice(&first.to_le_bytes());
            bytes[38 + i * 8..40 + i * 8].copy_from_slice(&num.to_le_bytes());
        }
        bytes
    };
    for (ranges, handle, offset) in [
        ([(0, 1), (0, 1), (1, 0)], 0, 44),
        ([(0, 2), (1, 1), (2, 1)], 1, 44),
        ([(4, 4), (0, 5), (8, 1)], 4, 44),
        ([(0, 9), (3, 0), (3, 2)], 3, 52),
        ([(5, 1), (3, 1), (0, 6)], 3, 52),
    ] {
        expect(&with(ranges), 9, "F4", "", "first_driver_handle", offset, Fault::HandleClaimedTwice { handle });
    }
    for ranges in [[(0, 1), (1, 1), (2, 7)], [(8, 1), (4, 4), (0, 4)], [(0, 9), (3, 0), (9, 0)], [(2, 0), (2, 0), (0, 9)]] {
        let bytes = with(ranges);
        let got: Vec<_> = Envelope::parse(&bytes, 9).unwrap().objects().map(|o| (o.handles.start as u16, o.handles.len() as u16)).collect();
        assert_eq!(got, ranges, "any order without overlap is sound, and no handles overlap nothing");
    }
}

#[test]
fn f6_no_params() {
    let bytes = altered("route_closed", &[]);
    for len in 24..32 {
        expect(&bytes[..len], 0, "F6", "RouteClosed", "params.size", 24, Fault::NoParams);
    }
}

#[test]
fn f6_params_size() {
    for size in [0u32, 8, 16, 23, 25, 32, 0xffff_fff8, u32::MAX] {
        let bytes = altered("route_closed", &[(24, &size.to_le_bytes())]);
        expect(&bytes, 0, "F6", "RouteClosed", "params.size", 24, Fault::ParamsSize { size, available: 24, least: 24 });
    }
}

#[test]
fn f6_counts_from_the_end_of_a_longer_header() {
    let bytes = altered("variant_newer_header", &[(32, &[32])]);
    let fault = Fault::ParamsSize { size: 32, available: 24, least: 24 };
    expect(&bytes, 0, "F6", "RouteClosed", "params.size", 32, fault);
}

#[test]
fn f7_array() {
    let array = Fault::Array;
    expect(&altered(PARCEL, &[(72, &[232])]), 0, "F7", "AcceptParcel", "parcel_data", 72, array(ArrayFault::Offset));
    expect(&altered(PARCEL, &[(96, &[7])]), 0, "F7", "AcceptParcel", "parcel_data", 96, array(ArrayFault::NumBytes));
    expect(&altered(PARCEL, &[(116, &[3])]), 0, "F7", "AcceptParcel", "handle_types", 116, array(ArrayFault::NumElements));
    expect(&altered(PARCEL, &[(128, &[103])]), 0, "F7", "AcceptParcel", "new_routers", 132, array(ArrayFault::NumElements));
    let features = altered("connect_from_non_broker_to_broker", &[(40, &[57])]);
    expect(&features, 0, "F7", "ConnectFromNonBrokerToBroker", "features", 40, array(ArrayFault::Offset));
}

#[test]
fn f8_object_index() {
    let fault = Fault::ObjectIndex { index: 0, objects: 0 };
    expect(&altered("provide_memory_failed", &[(36, &[0; 4])]), 0, "F8", "ProvideMemory", "buffer", 36, fault);
    let fault = Fault::ObjectIndex { index: 1, objects: 1 };
    expect(&altered("provide_memory", &[(36, &[1])]), 1, "F8", "ProvideMemory", "buffer", 36, fault);
}

#[test]
fn f8_object_range() {
    for (first, num) in [(0, 1), (1, 0), (5, 0), (u32::MAX, u32::MAX)] {
        let bytes = altered(PARCEL, &[(88, &first.to_le_bytes()), (92, &num.to_le_bytes())]);
        let fault = Fault::ObjectRange { first, num, objects: 0 };
        expect(&bytes, 0, "F8", "AcceptParcel", "driver_objects", 88, fault);
    }
}

#[test]
fn f8_object_claimed_twice() {
    let bytes = altered(INTRODUCTION, &[(60, &[0])]);
    expect(&bytes, 9, "F8", "AcceptIntroduction", "memory", 60, Fault::ObjectClaimedTwice { index: 0 });
    // First and third of three fields; then an index that only the second and third share.
    for (third, index) in [(0u8, 0), (1, 1)] {
        let bytes = altered("connect_to_referred_non_broker", &[(24 + 76, &[third])]);
        let fault = Fault::ObjectClaimedTwice { index };
        expect(&bytes, 9, "F8", "ConnectToReferredNonBroker", "referrer_link_buffer", 100, fault);
    }
}

#[test]
fn f9_enum_value() {
    for value in [2u8, 255] {
        let fault = Fault::EnumValue { value: value.into() };
        expect(&altered(INTRODUCTION, &[(48, &[value])]), 9, "F9", "AcceptIntroduction", "link_side", 48, fault);
        expect(&altered(INTRODUCTION, &[(49, &[value])]), 9, "F9", "AcceptIntroduction", "remote_node_type", 49, fault);
    }
}

#[test]
fn errors_say_what_where_and_why() {
    let text = error(&altered(PARCEL, &[(96, &[7])]), 0).to_string();
    assert_eq!(text, "F7 in AcceptParcel.parcel_data at byte 96: bad array: its byte count does not fit");
}

#[test]
fn a_v1_block_that_is_cut_is_not_read() {
    let bytes = altered("connect_from_non_broker_to_broker", &[(24, &[16]), (40, &[255; 4])]);
    let envelope = Envelope::parse(&bytes, 0).unwrap();
    assert_eq!(envelope.version_blocks(), Ok(Some(1)));
    let Ok(Some(Message::ConnectFromNonBrokerToBroker(it))) = envelope.message() else { panic!("rejected") };
    assert!(it.features.is_empty());
}

#[test]
fn too_many_handles_have_no_encoding() {
    let message = Message::ProvideMemory(ProvideMemory { size: 1, buffer: None });
    let object = |handles| ObjectBytes { data: &[], handles };
    let mut out = Vec::new();
    assert!(message.encode(0, &[object(65535), object(0)], &mut out).is_ok());
    assert_eq!(Envelope::parse(&out, 65535).unwrap().objects().map(|o| o.handles).collect::<Vec<_>>(), [0..65535, 65535..65535]);
    assert!(message.encode(0, &[object(65535), object(1)], &mut out).is_err());
}

#[test]
fn any_number_of_objects_is_read_in_linear_time() {
    // Handles backwards, so that the order of senders does not help, and all objects naming the same bytes. Quadratic work would take minutes.
    let (count, handles) = (500_000u32, 65_535u32);
    let data = [7; 1000];
    let relay = RelayMessage { destination: Default::default(), data: &data, driver_objects: ObjectRange { first: 0, num: count } };
    let objects = vec![ObjectBytes { data: &[], handles: 0 }; count as usize];
    let mut bytes = Vec::new();
    Message::from(relay).encode(0, &objects, &mut bytes).unwrap();
    let table = bytes.len() - 8 * count as usize;
    for (i, entry) in (0..count).zip(bytes[table..].chunks_exact_mut(8)) {
        entry[..4].copy_from_slice(&64u32.to_le_bytes());
        entry[4..6].copy_from_slice(&(handles.saturating_sub(1 + i) as u16).to_le_bytes());
        entry[6] = u8::from(i < handles);
    }
    let envelope = Envelope::parse(&bytes, handles as usize).unwrap();
    assert!(envelope.objects().all(|o| o.data == data));
    assert!(envelope.objects().flat_map(|o| o.handles).eq((0..handles as usize).rev()));
    assert!(envelope.message().is_ok());
}

#[test]
fn what_is_referenced_must_be_there_and_nothing_else() {
    let mut cuts = 0;
    for vector in vectors().iter().chain(&captured()) {
        let whole = read(&vector.bytes, 64).unwrap();
        let end = referenced_end(&vector.bytes);
        assert!(end <= vector.bytes.len());
        for len in 0..end {
            assert!(read(&vector.bytes[..len], 64).is_err(), "{} cut to {len} of {end}", vector.name);
            cuts += 1;
        }
        for len in end..vector.bytes.len() {
            assert_eq!(read(&vector.bytes[..len], 64).as_ref(), Ok(&whole), "{} cut to {len}, referenced to {end}", vector.name);
        }
    }
    assert!(cuts > 5000, "{cuts}");
}

/// End of the last byte that header, parameter struct, arrays and objects of a sound message refer to, told without the codec.
fn referenced_end(bytes: &[u8]) -> usize {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let start = usize::from(bytes[0]);
    let size = word(start);
    let array_fields: &[usize] = match bytes[2] {
        0 => &[56],
        1 | 3 => &[16],
        4 => &[80, 84],
        5 => &[48],
        7 | 11 => &[40],
        20 => &[48, 52, 56],
        66 | 67 => &[24],
        _ => &[],
    };
    let mut fields: Vec<usize> = array_fields.iter().filter(|at| **at < size).map(|at| start + at).collect();
    fields.push(16);
    if word(16) != 0 {
        fields.extend((0..word(word(16) + 4)).map(|i| word(16) + 8 + i * 8));
    }
    let ends = fields.into_iter().map(word).filter(|off| *off != 0).map(|off| off + word(off));
    ends.chain([start + size]).max().unwrap()
}

#[test]
fn no_single_changed_byte_makes_it_panic() {
    for vector in everything() {
        let mut bytes = vector.bytes.clone();
        for at in 0..bytes.len() {
            let old = bytes[at];
            for new in [0, 1, 7, 8, 0x7f, 0x80, 0xff, old.wrapping_add(1), old.wrapping_sub(1), old ^ 0x10] {
                bytes[at] = new;
                for handles in [0, 1, 64] {
                    if let Ok(envelope) = Envelope::parse(&bytes, handles) {
                        assert!(envelope.objects().all(|o| o.handles.end <= handles && o.data.len() <= bytes.len()));
                        let _ = envelope.message();
                    }
                }
            }
            bytes[at] = old;
        }
    }
}
