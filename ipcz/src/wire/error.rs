//! Why bytes are not a message, or a message cannot become bytes.

use std::fmt;

/// A message that breaks a rule of the format; its link is to be dropped (wire.md 13).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireError {
    /// Name of the message, if its id could be read and is known.
    pub message: Option<&'static str>,
    /// The field at fault, by its name in wire.md.
    pub field: &'static str,
    /// Where the offending value stands (or would stand), in bytes from the start of the message.
    pub offset: usize,
    /// The rule it breaks.
    pub fault: Fault,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let WireError { message, field, offset, fault } = self;
        write!(f, "{} in {}.{field} at byte {offset}: {fault}", fault.code(), message.unwrap_or("unknown message"))
    }
}

impl std::error::Error for WireError {}

/// What is wrong with a message: the rows F1 to F9 of wire.md 13 that can be told from its bytes alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// F1: no room for a header.
    #[error("a message has at least 24 bytes")]
    TooShort,
    /// F2: the header's size does not fit its version or the message.
    #[error("header size {size} is not valid for version {version} and this message length")]
    HeaderSize {
        /// Size in bytes as received.
        size: u8,
        /// Version as received.
        version: u8,
    },
    /// F3: the object table is no valid array.
    #[error("bad object table: {0}")]
    ObjectTable(ArrayFault),
    /// F4: an object's bytes are no valid array.
    #[error("bad object bytes: {0}")]
    ObjectBytes(ArrayFault),
    /// F4: an object's handles are not among those received.
    #[error("handles {first} + {num} of an object lie beyond the {received} received")]
    HandleRange {
        /// Index of the first.
        first: u16,
        /// How many.
        num: u16,
        /// Handles that came with the message.
        received: usize,
    },
    /// F4: two objects name the same handle.
    #[error("handle {handle} belongs to two objects")]
    HandleClaimedTwice {
        /// Index of the handle.
        handle: usize,
    },
    /// F6: fewer than 8 bytes follow the header.
    #[error("no room for a parameter struct")]
    NoParams,
    /// F6: the struct's size exceeds the message, is no multiple of 8, or excludes the first version's fields.
    #[error("parameter struct of {size} bytes, where {available} are there and at least {least} needed")]
    ParamsSize {
        /// Size in bytes as received.
        size: u32,
        /// Bytes from the struct's start to the end of the message.
        available: usize,
        /// Bytes that the first version takes, struct header included.
        least: usize,
    },
    /// F7: a parameter array is invalid.
    #[error("bad array: {0}")]
    Array(ArrayFault),
    /// F8: an object field names no object of the message.
    #[error("object {index} of {objects}")]
    ObjectIndex {
        /// Index as received.
        index: u32,
        /// Objects of the message.
        objects: usize,
    },
    /// F8: an object array reaches beyond the objects of the message.
    #[error("objects {first} + {num} of {objects}")]
    ObjectRange {
        /// Index of the first.
        first: u32,
        /// How many.
        num: u32,
        /// Objects of the message.
        objects: usize,
    },
    /// F8: two fields name the same object.
    #[error("object {index} is named by two fields")]
    ObjectClaimedTwice {
        /// First index that both name.
        index: u32,
    },
    /// F9: an enum field has a value that means nothing.
    #[error("{value} is no value of this field")]
    EnumValue {
        /// Value as received.
        value: u32,
    },
}

impl Fault {
    /// The row of wire.md 13: "F1" to "F9".
    pub fn code(self) -> &'static str {
        match self {
            Fault::TooShort => "F1",
            Fault::HeaderSize { .. } => "F2",
            Fault::ObjectTable(_) => "F3",
            Fault::ObjectBytes(_) | Fault::HandleRange { .. } | Fault::HandleClaimedTwice { .. } => "F4",
            Fault::NoParams | Fault::ParamsSize { .. } => "F6",
            Fault::Array(_) => "F7",
            Fault::ObjectIndex { .. } | Fault::ObjectRange { .. } | Fault::ObjectClaimedTwice { .. } => "F8",
            Fault::EnumValue { .. } => "F9",
        }
    }
}

/// Which of an array's three numbers is wrong (wire.md 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ArrayFault {
    /// Its offset leaves no room for an array header.
    #[error("its offset lies outside the message")]
    Offset,
    /// Its byte count is below 8 or beyond the message.
    #[error("its byte count does not fit")]
    NumBytes,
    /// It claims more elements than its bytes hold.
    #[error("its element count does not fit its byte count")]
    NumElements,
}

/// A message whose lengths or counts do not fit the format's 32-bit offsets or 16-bit handle numbers (wire.md 6). Nothing was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a message holds less than 4 GiB and 65536 handles")]
pub struct TooLarge;

/// A fault and where it is; becomes a [`WireError`] once field and message are known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Trouble {
    pub offset: usize,
    pub fault: Fault,
}

impl Trouble {
    pub fn in_field(self, message: Option<&'static str>, field: &'static str) -> WireError {
        WireError { message, field, offset: self.offset, fault: self.fault }
    }
}
