//! A block that holds one parcel's data (memory.md 7.2).

use super::fault::MemoryFault;
use super::fragment::MappedFragment;
use super::layout::{DATA_HEADER_BYTES, FRAGMENT_ALIGN};
use crate::ids::FragmentDescriptor;
use crate::mapping::Mapping;
use crate::planted::Bug;
use std::sync::atomic::Ordering;

const RESERVED_AT: usize = 4;

/// An owned block of link memory with one parcel's data. Needs neither link nor lock. Whoever has it must [`Block::free`]
/// it or send its descriptor; dropping it leaks it.
#[derive(Clone, Debug)]
pub struct Block {
    fragment: MappedFragment,
    len: u32,
}

/// Outcome of opening the data of a parcel.
#[derive(Clone, Debug)]
pub enum Opened {
    /// The buffer is not known yet: wait for it.
    Pending,
    /// The data.
    Block(Block),
}

impl Block {
    /// A block just allocated; it holds no data yet.
    pub(super) fn fresh(fragment: MappedFragment) -> Block {
        Block { fragment, len: 0 }
    }

    /// A block that a peer filled. Its size is read here and never again.
    pub(super) fn open(fragment: MappedFragment) -> Result<Block, MemoryFault> {
        let FragmentDescriptor { offset, size, .. } = fragment.descriptor();
        if size <= DATA_HEADER_BYTES {
            return Err(MemoryFault::TooSmall);
        }
        if !offset.is_multiple_of(FRAGMENT_ALIGN) {
            return Err(MemoryFault::Misaligned);
        }
        let mut len = fragment.mapping().load32(fragment.offset(), Ordering::Acquire);
        if len > size - DATA_HEADER_BYTES && !fragment.planted().has(Bug::LengthBelieved) {
            return Err(MemoryFault::DataSize);
        }
        if fragment.planted().has(Bug::LengthReadTwice) {
            len = fragment.mapping().load32(fragment.offset(), Ordering::Acquire);
        }
        Ok(Block { fragment, len })
    }

    /// What a message says to hand the block over.
    pub fn descriptor(&self) -> FragmentDescriptor {
        self.fragment.descriptor()
    }

    /// Data bytes there is room for.
    pub fn capacity(&self) -> usize {
        (self.fragment.descriptor().size - DATA_HEADER_BYTES) as usize
    }

    /// Data bytes; fixed when opened or sealed, whatever the memory says since.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn data_at(&self) -> usize {
        self.fragment.offset() + DATA_HEADER_BYTES as usize
    }

    /// Where the data lies, at a multiple of 8; null if the memory is not this machine's. The peer may write there.
    pub fn as_ptr(&self) -> *const u8 {
        self.fragment.mapping().as_mut_ptr(self.data_at())
    }

    /// Writes and seals the whole of the data, at most [`Block::capacity`] bytes.
    pub fn fill(&mut self, data: &[u8]) {
        self.write_at(0, data);
        self.seal(data.len());
    }

    /// Writes part of the data, to be sealed later; `from + data.len()` is at most [`Block::capacity`].
    pub fn write_at(&self, from: usize, data: &[u8]) {
        assert!(from <= self.capacity() && data.len() <= self.capacity() - from, "data fits its block");
        self.fragment.mapping().write(self.data_at() + from, data);
    }

    /// Fixes the number of data bytes, at most [`Block::capacity`]. After this the block may be sent.
    pub fn seal(&mut self, len: usize) {
        assert!(len <= self.capacity(), "data fits its block");
        self.len = len as u32;
        let (mapping, at) = (self.fragment.mapping(), self.fragment.offset());
        mapping.store32(at + RESERVED_AT, 0, Ordering::Relaxed);
        mapping.store32(at, self.len, Ordering::Release);
    }

    /// Copies data from the start into `out` and answers how many bytes: the lesser of both lengths.
    pub fn read(&self, out: &mut [u8]) -> usize {
        self.read_at(0, out)
    }

    /// Copies data from byte `from` on into `out` and answers how many bytes. Two reads of one byte may differ: the peer
    /// may write.
    pub fn read_at(&self, from: usize, out: &mut [u8]) -> usize {
        let from = from.min(self.len());
        let bytes = out.len().min(self.len() - from);
        self.fragment.mapping().read(self.data_at() + from, &mut out[..bytes]);
        bytes
    }

    /// Appends a copy of the data.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.resize(start + self.len(), 0);
        self.read(&mut out[start..]);
    }

    /// Returns the block to its allocator. False, and it leaks, if it is not exactly a block of its buffer or that
    /// allocator is corrupt (memory.md 6.2).
    pub fn free(self) -> bool {
        self.fragment.free()
    }

    /// Lets `f` swap the mapping, for a clone of a whole world.
    pub fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        self.fragment.remap(f);
    }
}
