//! AcceptParcel beyond its layout: attachment types, the rules it can break by itself, and encoding around data that is already in place.

use std::borrow::Cow;

use super::array::{ARRAY_HEADER, adopt_bytes};
use super::descriptor::RouterDescriptor;
use super::envelope::HEADER_SIZE;
use super::error::TooLarge;
use super::layout::Body;
use super::message::{AcceptParcel, Message};
use crate::ids::SublinkId;

/// Most subparcels a parcel may have, itself included (wire.md 9.5).
pub const MAX_SUBPARCELS: u32 = 1024;

/// How far a number may run ahead of the parcels that have arrived in a row (wire.md 9.5, routing.md 4).
pub const SEQUENCE_GAP_LIMIT: u64 = 1_000_000;

/// Bytes of a router's link state, the least its fragment may have (memory.md 5).
const LINK_STATE_SIZE: u32 = 64;

/// What an attachment of a parcel is (wire.md 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum HandleType {
    /// A portal; takes the next router descriptor.
    Portal = 0,
    /// A boxed driver object; takes the next object of the message.
    Box = 1,
    /// A boxed driver object that comes in the parcel's other half.
    RelayedBox = 2,
    /// A boxed parcel or application object; takes the next subparcel.
    Subparcel = 3,
}

impl TryFrom<u32> for HandleType {
    type Error = u32;

    /// The type with this wire value, or the value back.
    fn try_from(value: u32) -> Result<Self, u32> {
        match value {
            0 => Ok(HandleType::Portal),
            1 => Ok(HandleType::Box),
            2 => Ok(HandleType::RelayedBox),
            3 => Ok(HandleType::Subparcel),
            other => Err(other),
        }
    }
}

impl From<HandleType> for u32 {
    fn from(handle: HandleType) -> u32 {
        handle as u32
    }
}

/// A parcel that contradicts itself; its link is to be dropped (wire.md 9.5, 13 F9 and F15).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ParcelError {
    /// The number of subparcels is 0 or above [`MAX_SUBPARCELS`], or the index is not below it.
    #[error("subparcel {index} of {num}")]
    Subparcel {
        /// Index as received.
        index: u32,
        /// Number as received.
        num: u32,
    },
    /// An attachment's type means nothing.
    #[error("attachment {index} has the unknown type {value}")]
    HandleType {
        /// Position of the attachment.
        index: usize,
        /// Type as received.
        value: u32,
    },
    /// Portals and router descriptors do not pair up.
    #[error("{portals} portals but {descriptors} router descriptors")]
    Portals {
        /// Attachments that are portals.
        portals: usize,
        /// Descriptors.
        descriptors: usize,
    },
    /// Boxes and driver objects do not pair up.
    #[error("{boxes} boxes but {objects} driver objects")]
    Boxes {
        /// Attachments that are boxes.
        boxes: usize,
        /// Objects of the message.
        objects: usize,
    },
    /// Subparcels in a subparcel, or not one for each that follows.
    #[error("{places} places for subparcels, {expected} expected")]
    Places {
        /// Attachments that are subparcels.
        places: usize,
        /// Subparcels there must be.
        expected: usize,
    },
    /// A descriptor says something impossible.
    #[error("router descriptor {index}: {fault}")]
    Descriptor {
        /// Position of the descriptor.
        index: usize,
        /// What is wrong.
        fault: DescriptorFault,
    },
}

impl ParcelError {
    /// The rule it breaks.
    pub fn rule(self) -> &'static str {
        match self {
            ParcelError::Subparcel { .. } => "AcceptParcel: no such subparcel",
            ParcelError::HandleType { .. } => "AcceptParcel: an attachment of unknown type",
            ParcelError::Portals { .. } => "AcceptParcel: portals and router descriptors do not pair up",
            ParcelError::Boxes { .. } => "AcceptParcel: boxes and driver objects do not pair up",
            ParcelError::Places { .. } => "AcceptParcel: not one place for each subparcel",
            ParcelError::Descriptor { fault: DescriptorFault::ClosedLength, .. } => {
                "RouterDescriptor: impossible closed_peer_sequence_length"
            }
            ParcelError::Descriptor { fault: DescriptorFault::LinkState, .. } => {
                "RouterDescriptor: a link state without a use, or none usable where one must be"
            }
            ParcelError::Descriptor { fault: DescriptorFault::Sublinks, .. } => "RouterDescriptor: a sublink is named twice",
        }
    }

    /// The row of wire.md 13: "F9", "F15" or "F16".
    pub fn code(self) -> &'static str {
        match self {
            ParcelError::HandleType { .. } => "F9",
            ParcelError::Places { .. } => "F16",
            _ => "F15",
        }
    }
}

/// What is wrong with a router descriptor by itself (wire.md 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DescriptorFault {
    /// The closed peer sent less than was delivered.
    #[error("impossible length of a closed peer's sequence")]
    ClosedLength,
    /// A bypassed proxy without a usable place for the link state, or a place where none belongs.
    #[error("link state where none belongs, or none where one does")]
    LinkState,
    /// Two of the sublinks it and the parcel name are the same.
    #[error("one sublink for two links")]
    Sublinks,
}

impl AcceptParcel<'_> {
    /// The rules that need neither node nor link to judge (wire.md 7.1, 9.5, 11.2). `objects` is the number of objects the message carries,
    /// all of which are the parcel's, whatever `driver_objects` says (wire.md 5).
    pub fn validate(&self, objects: usize) -> Result<(), ParcelError> {
        let (index, num) = (self.subparcel_index, self.num_subparcels);
        if num == 0 || num > MAX_SUBPARCELS || index >= num {
            return Err(ParcelError::Subparcel { index, num });
        }
        let mut count = [0usize; 4];
        for (index, &value) in self.handle_types.iter().enumerate() {
            let handle = HandleType::try_from(value).map_err(|value| ParcelError::HandleType { index, value })?;
            count[handle as usize] += 1;
        }
        let [portals, boxes, _, places] = count;
        if portals != self.new_routers.len() {
            return Err(ParcelError::Portals { portals, descriptors: self.new_routers.len() });
        }
        if boxes != objects {
            return Err(ParcelError::Boxes { boxes, objects });
        }
        let expected = if index == 0 { num as usize - 1 } else { 0 };
        if places != expected {
            return Err(ParcelError::Places { places, expected });
        }
        for (index, descriptor) in self.new_routers.iter().enumerate() {
            descriptor.validate(self.sublink).map_err(|fault| ParcelError::Descriptor { index, fault })?;
        }
        Ok(())
    }
}

impl RouterDescriptor {
    /// The rules that need no link to judge, for a descriptor in a parcel for `sublink` (wire.md 7.1).
    pub fn validate(&self, sublink: SublinkId) -> Result<(), DescriptorFault> {
        if self.peer_closed && self.closed_peer_sequence_length < self.next_incoming_sequence_number {
            return Err(DescriptorFault::ClosedLength);
        }
        let state = self.new_link_state_fragment;
        let usable = !state.is_null() && state.size >= LINK_STATE_SIZE && state.offset.is_multiple_of(8);
        if if self.proxy_already_bypassed { !usable } else { !state.is_null() } {
            return Err(DescriptorFault::LinkState);
        }
        let decaying = self.proxy_already_bypassed.then_some(self.new_decaying_sublink);
        if self.new_sublink == sublink || decaying.is_some_and(|it| it == sublink || it == self.new_sublink) {
            return Err(DescriptorFault::Sublinks);
        }
        Ok(())
    }
}

/// Offset of the parcel's data in a message made in place.
pub const PARCEL_HEADROOM: usize = PARAMS_END + ARRAY_HEADER;

const PARAMS_END: usize = HEADER_SIZE + AcceptParcel::BLOCKS[0];

/// Where a parcel's parameters name its data.
const PARCEL_DATA: usize = HEADER_SIZE + 48;

/// Makes a whole message of `buf`, which is [`PARCEL_HEADROOM`] bytes of room (any content) and the parcel's data, without moving the data.
///
/// The result is what [`Message::encode`] gives for `parcel` with that data as its `parcel_data` (whose value here is ignored) and no
/// objects. On failure the room's content is unspecified, the data untouched.
pub fn encode_parcel_in_place(buf: &mut Vec<u8>, parcel: &AcceptParcel<'_>, sequence_number: u64) -> Result<(), TooLarge> {
    let message = Message::AcceptParcel(AcceptParcel {
        parcel_data: &[],
        handle_types: Cow::Borrowed(&parcel.handle_types),
        new_routers: Cow::Borrowed(&parcel.new_routers),
        ..*parcel
    });
    if buf.len() <= PARCEL_HEADROOM {
        return message.encode(sequence_number, &[], buf);
    }
    buf[..PARAMS_END].fill(0);
    adopt_bytes(buf, PARCEL_DATA, PARCEL_HEADROOM)?;
    message.write_fixed(sequence_number, buf)
}
