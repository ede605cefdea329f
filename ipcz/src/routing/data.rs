//! What an application may touch of a parcel's data while a two-phase call is open or the parcel is kept (api.md 9, 10).
//!
//! The data may lie in memory that a hostile peer writes at any moment. So no reference into it ever exists: bytes are copied in and out,
//! and whoever needs an address (the C ABI) gets a pointer, to be read as what it is.

use std::fmt;

use super::parcel::{PARCEL_PADDING, Payload};
use crate::ids::LinkKey;
use crate::mapping::Mapping;
use crate::memory::Block;
use crate::wire::PARCEL_HEADROOM;

/// A parcel's data, to be read. Two reads of one byte may differ: check a copy, then use that copy.
///
/// Good until the get ends or the kept parcel is closed. Reading later is safe, and gives any bytes.
pub struct ParcelReader(Payload);

impl ParcelReader {
    pub(crate) fn new(data: Payload) -> ParcelReader {
        ParcelReader(data)
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Copies data from byte `from` on into `out` and answers how many bytes: fewer than `out` holds at the end of the data.
    pub fn read_at(&self, from: usize, out: &mut [u8]) -> usize {
        self.0.read_at(from, out)
    }

    /// A copy of all of it.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = vec![0; self.len()];
        self.read_at(0, &mut out);
        out
    }

    /// Where the data lies; null if there is none, or if the memory is not this machine's.
    pub fn as_ptr(&self) -> *const u8 {
        match &self.0 {
            Payload::None => std::ptr::null(),
            Payload::Heap(buf) => buf[PARCEL_HEADROOM..].as_ptr(),
            Payload::Shared(buf) => buf[PARCEL_HEADROOM..].as_ptr(),
            Payload::Block { block, .. } => block.as_ptr(),
        }
    }
}

impl fmt::Debug for ParcelReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParcelReader({} bytes)", self.len())
    }
}

/// Where an open put's data is written: a block of the memory of the link that it will take, or private memory.
///
/// Good until the put ends. Writing later is safe, and changes any bytes of the memory that is shared with the same peer. A clone is the same memory.
#[derive(Clone)]
pub struct ParcelWriter {
    room: Room,
    len: usize,
}

/// Where the bytes lie.
#[derive(Clone)]
enum Room {
    None,
    /// Zeroed, aligned to 8.
    Private(Mapping),
    Block(LinkKey, Block),
}

impl ParcelWriter {
    /// Private memory, zeroed.
    pub(crate) fn private(len: usize) -> ParcelWriter {
        ParcelWriter { room: if len == 0 { Room::None } else { Room::Private(Mapping::zeroed(len)) }, len }
    }

    /// A block of a link's memory, of which `len` bytes are used at most.
    pub(crate) fn block(link: LinkKey, block: Block, len: usize) -> ParcelWriter {
        ParcelWriter { len: len.min(block.capacity()), room: Room::Block(link, block) }
    }

    /// Room for data, in bytes.
    pub fn capacity(&self) -> usize {
        self.len
    }

    /// Copies `data` in from byte `from` on and answers how many bytes: fewer than `data` has where the room ends.
    pub fn write_at(&self, from: usize, data: &[u8]) -> usize {
        let bytes = data.len().min(self.len.saturating_sub(from));
        match &self.room {
            _ if bytes == 0 => {}
            Room::None => {}
            Room::Private(mapping) => mapping.write(from, &data[..bytes]),
            Room::Block(_, block) => block.write_at(from, &data[..bytes]),
        }
        bytes
    }

    /// Where the room lies, aligned to 8; null if there is none, or if the memory is not this machine's.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        match &self.room {
            Room::None => std::ptr::null_mut(),
            Room::Private(mapping) => mapping.as_mut_ptr(0),
            Room::Block(_, block) => block.as_ptr().cast_mut(),
        }
    }

    /// A copy of the first `bytes` if they are in private memory: what is in a block is sent from there.
    pub(crate) fn copied(&self, bytes: usize) -> Payload {
        match &self.room {
            Room::Private(mapping) if bytes > 0 => {
                let end = PARCEL_HEADROOM + bytes.min(self.len);
                let mut buf = Vec::with_capacity(end + PARCEL_PADDING);
                buf.resize(end, 0);
                mapping.read(0, &mut buf[PARCEL_HEADROOM..]);
                Payload::Heap(buf)
            }
            _ => Payload::None,
        }
    }

    /// The block with its first `bytes` sealed, to be sent; none if the data is in private memory.
    pub(crate) fn sealed(&self, bytes: usize) -> Option<Payload> {
        match &self.room {
            Room::Block(link, block) => {
                let mut block = block.clone();
                block.seal(bytes);
                Some(Payload::Block { link: *link, block })
            }
            Room::None | Room::Private(_) => None,
        }
    }

    /// What must be freed if nothing is sent.
    pub(crate) fn into_waste(self) -> Payload {
        match self.room {
            Room::Block(link, block) => Payload::Block { link, block },
            Room::None | Room::Private(_) => Payload::None,
        }
    }

    /// Lets `f` swap the mapping, for a clone of a whole world, which has private memory of its own.
    pub(crate) fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        match &mut self.room {
            Room::None => {}
            Room::Private(mapping) => {
                let mut bytes = vec![0; self.len];
                mapping.read(0, &mut bytes);
                *mapping = Mapping::zeroed(self.len);
                mapping.write(0, &bytes);
            }
            Room::Block(_, block) => block.remap(f),
        }
    }
}

impl fmt::Debug for ParcelWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParcelWriter({} bytes)", self.len)
    }
}
