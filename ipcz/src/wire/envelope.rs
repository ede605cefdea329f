//! What every message has: the header (wire.md 2) and the object table; the ladder of wire.md 12 up to the known ids.

use super::array::{put, u32_at};
use super::error::{Fault, TooLarge, Trouble, WireError};
use super::message::{Message, message_name};
use super::objects::{ObjectBytes, ObjectEntry, ObjectTable, append_objects};

/// Bytes of the header we write, and of the least one we read.
pub const HEADER_SIZE: usize = 24;

/// Where the header says the object table is.
const OBJECT_TABLE: usize = 16;

/// A received message whose header and object table are in order; the message itself is not looked at yet.
///
/// Every object must be taken out and, if nobody wants it, closed, whatever becomes of the message; so must handles that no object claims.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Envelope<'a> {
    bytes: &'a [u8],
    header_size: usize,
    id: u8,
    sequence_number: u64,
    table: ObjectTable<'a>,
    objects: usize,
}

impl<'a> Envelope<'a> {
    /// Checks a message that came with `handles` handles: ladder steps 2 and 3 (wire.md 12). `bytes` must be a private copy.
    pub fn parse(bytes: &'a [u8], handles: usize) -> Result<Self, WireError> {
        let mut envelope = Self::parse_relayed(bytes, 0)?;
        envelope.table = ObjectTable::parse(bytes, OBJECT_TABLE, handles)
            .map_err(|(field, trouble)| trouble.in_field(message_name(envelope.id), field))?;
        envelope.objects = envelope.table.len();
        Ok(envelope)
    }

    /// Checks a message that came inside a relay whose list of `objects` objects it may claim (wire.md 11.1): ladder step 2 only, the
    /// header's object table is not looked at. [`Envelope::objects`] is empty, since the outer message has them.
    pub fn parse_relayed(bytes: &'a [u8], objects: usize) -> Result<Self, WireError> {
        let Some(header) = bytes.first_chunk::<HEADER_SIZE>() else {
            return Err(Trouble { offset: bytes.len(), fault: Fault::TooShort }.in_field(None, "header"));
        };
        let [size, version, id, ..] = *header;
        let [.., s0, s1, s2, s3, s4, s5, s6, s7, _, _, _, _, _, _, _, _] = *header;
        let header_size = usize::from(size);
        let fits = if version == 0 { header_size == HEADER_SIZE } else { header_size >= HEADER_SIZE };
        if !fits || !header_size.is_multiple_of(8) || header_size > bytes.len() {
            return Err(Trouble { offset: 0, fault: Fault::HeaderSize { size, version } }.in_field(message_name(id), "size"));
        }
        let sequence_number = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        Ok(Envelope { bytes, header_size, id, sequence_number, table: ObjectTable::empty(bytes), objects })
    }

    /// The message's id, known or not.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// The number the sender gave the message on its link. For traces only: it need not arrive in order (wire.md 10).
    pub fn sequence_number(&self) -> u64 {
        self.sequence_number
    }

    /// Number of objects that fields may name.
    pub fn object_count(&self) -> usize {
        self.objects
    }

    /// The objects in order. Their handle ranges are in bounds and disjoint.
    pub fn objects(&self) -> impl ExactSizeIterator<Item = ObjectEntry<'a>> + use<'a> {
        self.table.entries()
    }

    /// The message: ladder step 4. None if its id is unknown: close the objects and ignore it (step 5).
    pub fn message(&self) -> Result<Option<Message<'a>>, WireError> {
        Message::decode(self.id, self.bytes, self.header_size, self.objects)
    }

    /// How many version blocks of the parameter struct the sender wrote, of those we know: 1 is V0 alone (wire.md 3). None if the id is unknown.
    pub fn version_blocks(&self) -> Result<Option<usize>, WireError> {
        Message::blocks(self.id, self.bytes, self.header_size)
    }

    /// Bytes that the parameter struct says it has, those of blocks we do not know included; 0 if there is none.
    pub fn params_size(&self) -> u32 {
        u32_at(self.bytes, self.header_size).unwrap_or(0)
    }
}

impl Message<'_> {
    /// Writes the canonical encoding (wire.md 6) to `out`, whose old content is discarded and whose room is reused.
    ///
    /// `objects` are the message's, already serialized; a message that goes into a relay has none here, whatever its fields claim. On
    /// failure the content of `out` is unspecified.
    pub fn encode(&self, sequence_number: u64, objects: &[ObjectBytes<'_>], out: &mut Vec<u8>) -> Result<(), TooLarge> {
        out.clear();
        out.resize(HEADER_SIZE + self.params_size(), 0);
        self.write_fixed(sequence_number, out)?;
        append_objects(out, OBJECT_TABLE, objects)
    }

    /// Header and parameters over the zeros at the start of `out`, arrays at its end.
    pub(super) fn write_fixed(&self, sequence_number: u64, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        out[0] = HEADER_SIZE as u8;
        out[2] = self.id();
        put(out, 8, &sequence_number.to_le_bytes());
        put(out, HEADER_SIZE, &(self.params_size() as u32).to_le_bytes());
        self.encode_params(out, HEADER_SIZE)
    }
}
