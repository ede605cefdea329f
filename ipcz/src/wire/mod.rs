//! Messages to bytes and back (wire.md): no state, no driver, no allocation that a message's length does not bound.
//!
//! [`Envelope::parse`] checks what every message has (header, object table), [`Envelope::message`] what a known id adds; [`Message::encode`]
//! writes the one canonical form. A message's layout stands in `message.rs` and nowhere else. What a message *means* is decided above; only
//! the rules that a lone AcceptParcel can break by itself are here too ([`AcceptParcel::validate`]).

mod array;
mod descriptor;
mod envelope;
mod error;
mod field;
mod layout;
mod message;
mod objects;
mod parcel;
mod show;

pub use descriptor::RouterDescriptor;
pub use envelope::{Envelope, HEADER_SIZE};
pub use error::{ArrayFault, Fault, TooLarge, WireError};
pub use message::*;
pub use objects::{ObjectBytes, ObjectEntry, ObjectRange};
pub use parcel::{DescriptorFault, HandleType, MAX_SUBPARCELS, PARCEL_HEADROOM, ParcelError, SEQUENCE_GAP_LIMIT, encode_parcel_in_place};
pub use show::{Field, Value};
