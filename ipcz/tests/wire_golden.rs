//! The golden vectors of wire.md 16: built by upstream, captured between upstream nodes, and malformed.

mod wire_common;

use ipcz::ids::{FragmentDescriptor, LinkSide, NodeName, NodeType};
use ipcz::wire::{Envelope, Field, Message, ObjectBytes, RouterDescriptor, Value};
use serde_json::{Value as Json, json};
use wire_common::{Vector, captured, list, malformed, vectors};

#[test]
fn the_file_is_whole() {
    let kinds = |kind: &str| vectors().iter().filter(|v| v.json["kind"] == kind).count();
    assert_eq!((kinds("valid"), captured().len(), kinds("valid-variant"), malformed().len()), (42, 60, 7, 53));
}

#[test]
fn every_message_occurs_and_has_its_name() {
    let mut seen: Vec<u8> = vectors().iter().map(|v| v.message_id()).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, Message::IDS);
    assert_eq!(seen.len(), 28);
    for vector in vectors() {
        assert_eq!(ipcz::wire::message_name(vector.message_id()), vector.json["message"].as_str());
    }
    let named = (0..=u8::MAX).filter(|&id| ipcz::wire::message_name(id).is_some()).count();
    assert_eq!(named, 28);
}

#[test]
fn vectors_decode_to_the_named_values() {
    for vector in vectors().iter().chain(&captured()) {
        let name = &vector.name;
        let handles = vector.json["num_driver_handles"].as_u64().unwrap() as usize;
        let envelope = Envelope::parse(&vector.bytes, handles).unwrap_or_else(|e| panic!("{name}: {e}"));
        let message = envelope.message().unwrap_or_else(|e| panic!("{name}: {e}")).expect(name);
        let blocks = envelope.version_blocks().unwrap().unwrap();

        assert_eq!((message.id(), message.name()), (vector.message_id(), vector.json["message"].as_str().unwrap()), "{name}");
        assert_eq!(format!("{:#x}", envelope.sequence_number()), vector.sequence_number_text(), "{name}");
        assert_eq!(fields(&message, blocks), without_padding(&vector.json["fields"]), "{name}");
        if let Some(size) = vector.json["params_size"].as_u64() {
            assert_eq!(u64::from(envelope.params_size()), size, "{name}");
        }
        let objects: Vec<Json> = envelope
            .objects()
            .map(|o| json!({"bytes": hex(o.data), "first_handle": o.handles.start, "num_handles": o.handles.len()}))
            .collect();
        assert_eq!(Json::Array(objects), vector.json["driver_objects"], "{name}");
        assert_eq!(envelope.object_count(), envelope.objects().len(), "{name}");
    }
}

#[test]
fn vectors_encode_to_the_same_bytes() {
    let mut out = vec![0xee; 4096];
    let mut count = 0;
    for vector in vectors().iter().filter(|v| v.json["kind"] == "valid").chain(&captured()) {
        let envelope = Envelope::parse(&vector.bytes, 64).unwrap();
        let message = envelope.message().unwrap().unwrap();
        let objects: Vec<ObjectBytes<'_>> =
            envelope.objects().map(|o| ObjectBytes { data: o.data, handles: o.handles.len() as u16 }).collect();
        message.encode(envelope.sequence_number(), &objects, &mut out).unwrap();
        assert_eq!(hex(&out), hex(&vector.bytes), "{}", vector.name);
        count += 1;
    }
    assert_eq!(count, 42 + 60);
}

#[test]
fn malformed_vectors_get_their_verdict() {
    for vector in malformed() {
        let verdict = match Envelope::parse(&vector.bytes, 0).and_then(|envelope| envelope.message()) {
            Ok(Some(_)) => "accept",
            Ok(None) => "ignore",
            Err(_) => "reject",
        };
        assert_eq!(vector.json["verdict"], verdict, "{}: {}", vector.name, vector.json["change"]);
    }
}

#[test]
fn what_dispatch_must_refuse_is_visible_to_it() {
    let mut seen = 0;
    for vector in malformed().iter().filter(|v| v.json["dispatch_verdict"] == "reject") {
        let envelope = Envelope::parse(&vector.bytes, 0).unwrap();
        match envelope.message().unwrap().unwrap() {
            Message::AcceptParcel(parcel) => assert_eq!(parcel.validate(envelope.object_count()).unwrap_err().code(), "F9"),
            Message::AcceptIntroduction(it) => assert_eq!((it.transport, it.memory, envelope.object_count()), (Some(0), None, 2)),
            other => panic!("{other}"),
        }
        seen += 1;
    }
    assert_eq!(seen, 2);
}

#[test]
fn upstreams_parcels_are_consistent() {
    let mut parcels = 0;
    for vector in vectors().iter().chain(&captured()) {
        let envelope = Envelope::parse(&vector.bytes, 64).unwrap();
        if let Some(Message::AcceptParcel(parcel)) = envelope.message().unwrap() {
            parcel.validate(envelope.object_count()).unwrap_or_else(|e| panic!("{}: {e}", vector.name));
            parcels += 1;
        }
    }
    assert!(parcels > 20, "{parcels}");
}

#[test]
fn relayed_messages_claim_from_the_outer_list() {
    let mut inner_ids = Vec::new();
    for vector in vectors().iter().chain(&captured()) {
        let envelope = Envelope::parse(&vector.bytes, 64).unwrap();
        let (data, range) = match envelope.message().unwrap().unwrap() {
            Message::RelayMessage(it) => (it.data, it.driver_objects),
            Message::AcceptRelayedMessage(it) => (it.data, it.driver_objects),
            _ => continue,
        };
        assert_eq!((range.first, range.num as usize), (0, envelope.object_count()), "{}", vector.name);
        let inner = Envelope::parse_relayed(data, envelope.object_count()).unwrap();
        assert_eq!((inner.objects().len(), inner.sequence_number()), (0, 0));
        let message = inner.message().unwrap().unwrap();
        inner_ids.push(message.id());
        let mut again = Vec::new();
        message.encode(0, &[], &mut again).unwrap();
        assert_eq!(again, data, "{}", vector.name);
        // The same bytes as a message of its own claim objects that are not there.
        assert_eq!(Envelope::parse(data, 64).unwrap().message().unwrap_err().fault.code(), "F8");
    }
    inner_ids.sort();
    inner_ids.dedup();
    assert_eq!(inner_ids, [14, 21]);
}

/// All fields of the present blocks in the file's notation.
fn fields(message: &Message<'_>, blocks: usize) -> Json {
    let mut result = json!({});
    message.visit(|Field { version, name, value }| {
        if usize::from(version) < blocks {
            result[format!("v{version}")][name] = notation(value);
        }
    });
    result
}

fn notation(value: Value<'_>) -> Json {
    let optional = |empty: bool, it: Json| if empty { Json::Null } else { it };
    match value {
        Value::U32(n) => json!(n),
        Value::U64(n) => wide(n),
        Value::Name(name) => name_json(name),
        Value::Fragment(fragment) => fragment_json(fragment),
        Value::Side(side) => json!(if side == LinkSide::A { "A" } else { "B" }),
        Value::NodeType(kind) => json!(if kind == NodeType::Broker { "broker" } else { "normal" }),
        Value::Object(index) => json!(index),
        Value::Objects(range) => json!({"first": range.first, "num": range.num}),
        Value::Words(words) => optional(words.is_empty(), words.iter().map(|&w| wide(w)).collect()),
        Value::Bytes(bytes) => optional(bytes.is_empty(), json!({"bytes": hex(bytes)})),
        Value::HandleTypes(types) => optional(types.is_empty(), json!(types)),
        Value::Routers(routers) => optional(routers.is_empty(), routers.iter().map(router_json).collect()),
    }
}

fn router_json(router: &RouterDescriptor) -> Json {
    json!({
        "closed_peer_sequence_length": wide(router.closed_peer_sequence_length),
        "new_sublink": wide(router.new_sublink.0),
        "new_link_state_fragment": fragment_json(router.new_link_state_fragment),
        "new_decaying_sublink": wide(router.new_decaying_sublink.0),
        "next_outgoing_sequence_number": wide(router.next_outgoing_sequence_number),
        "next_incoming_sequence_number": wide(router.next_incoming_sequence_number),
        "decaying_incoming_sequence_length": wide(router.decaying_incoming_sequence_length),
        "peer_closed": router.peer_closed,
        "proxy_already_bypassed": router.proxy_already_bypassed,
        "proxy_peer_node_name": name_json(router.proxy_peer_node_name),
        "proxy_peer_sublink": wide(router.proxy_peer_sublink.0),
    })
}

fn fragment_json(fragment: FragmentDescriptor) -> Json {
    json!({"buffer_id": wide(fragment.buffer.0), "offset": fragment.offset, "size": fragment.size})
}

fn name_json(name: NodeName) -> Json {
    json!({"high": wide(name.high), "low": wide(name.low)})
}

fn wide(n: u64) -> Json {
    json!(format!("{n:#x}"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The file's fields but those that only fill space, which must be zero there.
fn without_padding(fields: &Json) -> Json {
    let mut result = fields.clone();
    for block in result.as_object_mut().unwrap().values_mut() {
        for name in ["padding", "reserved0"] {
            if let Some(value) = block.as_object_mut().unwrap().remove(name) {
                assert!(value == 0 || value == "0x0", "{value}");
            }
        }
    }
    result
}

#[test]
fn messages_print_on_one_line() {
    let text = |name: &str| {
        let all = list("vectors");
        let vector: &Vector = all.iter().find(|v| v.name == name).unwrap();
        Envelope::parse(&vector.bytes, 64).unwrap().message().unwrap().unwrap().to_string()
    };
    assert_eq!(
        text("accept_parcel_hello_one_portal"),
        "AcceptParcel sublink=0 sequence_number=2 subparcel_index=0 num_subparcels=1 parcel_fragment=null parcel_data=5:68656c6c6f \
         handle_types=[portal] new_routers=[{sublink=12 out=3 in=1}] driver_objects=#0+0"
    );
    assert_eq!(
        text("accept_introduction_byte_objects"),
        "AcceptIntroduction name=a0a1a2a3a4a5a6a7b0b1b2b3b4b5b6b7 link_side=A remote_node_type=broker remote_protocol_version=0 \
         transport=#0 memory=#1 remote_features=[0x1]"
    );
    for vector in vectors().iter().chain(&captured()) {
        let message = Envelope::parse(&vector.bytes, 64).unwrap().message().unwrap().unwrap().to_string();
        assert!(!message.contains('\n') && message.starts_with(vector.json["message"].as_str().unwrap()), "{message}");
    }
}
