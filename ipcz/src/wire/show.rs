//! Messages as text and as lists of fields: one line each, in the manner of tcpdump.

use std::fmt;

use super::descriptor::RouterDescriptor;
use super::message::Message;
use super::objects::ObjectRange;
use super::parcel::HandleType;
use crate::ids::{FragmentDescriptor, LinkSide, NodeName, NodeType};

/// Bytes of a byte array that are printed.
const SHOWN_BYTES: usize = 16;

/// A field of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<'v> {
    /// The version block it belongs to.
    pub version: u8,
    /// Its name in wire.md 9.1.
    pub name: &'static str,
    /// Its value.
    pub value: Value<'v>,
}

/// The value of a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Value<'v> {
    /// A 32-bit number.
    U32(u32),
    /// A 64-bit number, sublink or buffer id.
    U64(u64),
    /// A node's name.
    Name(NodeName),
    /// A piece of link memory.
    Fragment(FragmentDescriptor),
    /// A side of a link.
    Side(LinkSide),
    /// A kind of node.
    NodeType(NodeType),
    /// Index of an object, if there is one.
    Object(Option<u32>),
    /// Objects in a row.
    Objects(ObjectRange),
    /// Feature words.
    Words(&'v [u64]),
    /// Bytes.
    Bytes(&'v [u8]),
    /// Types of attachments.
    HandleTypes(&'v [u32]),
    /// Router descriptors.
    Routers(&'v [RouterDescriptor]),
}

impl fmt::Display for Message<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        let mut result = Ok(());
        self.visit(|field| result = result.and_then(|()| write!(f, " {}={}", field.name, field.value)));
        result
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Value::U32(value) => write!(f, "{value}"),
            Value::U64(value) => wide(f, value),
            Value::Name(name) => write!(f, "{name}"),
            Value::Fragment(fragment) => fragment_text(f, fragment),
            Value::Side(side) => write!(f, "{side:?}"),
            Value::NodeType(NodeType::Broker) => f.write_str("broker"),
            Value::NodeType(NodeType::Normal) => f.write_str("normal"),
            Value::Object(Some(index)) => write!(f, "#{index}"),
            Value::Object(None) => f.write_str("none"),
            Value::Objects(ObjectRange { first, num }) => write!(f, "#{first}+{num}"),
            Value::Words(words) => list(f, words, |f, word| write!(f, "{word:#x}")),
            Value::Bytes(bytes) => {
                write!(f, "{}:", bytes.len())?;
                bytes.iter().take(SHOWN_BYTES).try_for_each(|byte| write!(f, "{byte:02x}"))?;
                f.write_str(if bytes.len() > SHOWN_BYTES { "…" } else { "" })
            }
            Value::HandleTypes(types) => list(f, types, |f, &raw| match HandleType::try_from(raw) {
                Ok(HandleType::Portal) => f.write_str("portal"),
                Ok(HandleType::Box) => f.write_str("box"),
                Ok(HandleType::RelayedBox) => f.write_str("relayed-box"),
                Ok(HandleType::Subparcel) => f.write_str("subparcel"),
                Err(unknown) => write!(f, "?{unknown}"),
            }),
            Value::Routers(routers) => list(f, routers, |f, router| write!(f, "{router}")),
        }
    }
}

impl fmt::Display for RouterDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{sublink={} out={} in={}", self.new_sublink.0, self.next_outgoing_sequence_number, self.next_incoming_sequence_number)?;
        if self.peer_closed {
            write!(f, " closed={}", self.closed_peer_sequence_length)?;
        }
        if self.proxy_already_bypassed {
            f.write_str(" state=")?;
            fragment_text(f, self.new_link_state_fragment)?;
            write!(f, " decaying={} until={}", self.new_decaying_sublink.0, self.decaying_incoming_sequence_length)?;
        }
        if self.proxy_peer_node_name.is_valid() {
            write!(f, " bypass={}/{}", self.proxy_peer_node_name, self.proxy_peer_sublink.0)?;
        }
        f.write_str("}")
    }
}

/// A number; ids that one side allocated (bit 63) and marks like all ones read better in hexadecimal.
fn wide(f: &mut fmt::Formatter<'_>, value: u64) -> fmt::Result {
    if value >> 63 == 0 { write!(f, "{value}") } else { write!(f, "{value:#x}") }
}

fn fragment_text(f: &mut fmt::Formatter<'_>, fragment: FragmentDescriptor) -> fmt::Result {
    if fragment.is_null() {
        return f.write_str("null");
    }
    wide(f, fragment.buffer.0)?;
    write!(f, "@{}+{}", fragment.offset, fragment.size)
}

fn list<T>(f: &mut fmt::Formatter<'_>, items: &[T], mut show: impl FnMut(&mut fmt::Formatter<'_>, &T) -> fmt::Result) -> fmt::Result {
    f.write_str("[")?;
    for (index, item) in items.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { " " })?;
        show(f, item)?;
    }
    f.write_str("]")
}
