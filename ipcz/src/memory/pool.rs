//! The buffers of a link beside the primary one, and which of them to search for a block (memory.md 3, 6.1).

use super::block_allocator::BlockAllocator;
use super::fault::MemoryFault;
use crate::ids::BufferId;
use crate::mapping::Mapping;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which end made a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// This one.
    Ours,
    /// The peer.
    Theirs,
}

/// A buffer whose blocks are all of one size.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    pub(super) id: BufferId,
    pub(super) mapping: Mapping,
    pub(super) blocks: BlockAllocator,
    pub(super) origin: Origin,
}

/// The buffers a link grew. Holds no memory of its own until the first one.
#[derive(Clone, Default, Debug)]
pub(super) struct Pool {
    buffers: Vec<Buffer>,
    by_id: BTreeMap<BufferId, u32>,
    by_class: BTreeMap<u32, Class>,
    bytes: u64,
}

/// Buffers of one block size, oldest first.
#[derive(Clone, Default, Debug)]
struct Class {
    buffers: Vec<u32>,
    capacity: u64,
    last: Hint,
}

/// Where a block was found last. Any value is right: only a guess of where to look first.
#[derive(Default, Debug)]
struct Hint(AtomicU32);

impl Clone for Hint {
    fn clone(&self) -> Hint {
        Hint(AtomicU32::new(self.0.load(Ordering::Relaxed)))
    }
}

impl Pool {
    pub(super) fn add(&mut self, buffer: Buffer) -> Result<(), MemoryFault> {
        if self.by_id.contains_key(&buffer.id) {
            return Err(MemoryFault::DuplicateBuffer);
        }
        let index = self.buffers.len() as u32;
        self.by_id.insert(buffer.id, index);
        let class = self.by_class.entry(buffer.blocks.block_size()).or_default();
        class.buffers.push(index);
        class.capacity += buffer.blocks.capacity() * u64::from(buffer.blocks.block_size());
        self.bytes += buffer.mapping.len() as u64;
        self.buffers.push(buffer);
        Ok(())
    }

    pub(super) fn get(&self, id: BufferId) -> Option<&Buffer> {
        self.by_id.get(&id).map(|&index| &self.buffers[index as usize])
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Buffer> {
        self.buffers.iter()
    }

    pub(super) fn mappings(&mut self) -> impl Iterator<Item = &mut Mapping> {
        self.buffers.iter_mut().map(|b| &mut b.mapping)
    }

    pub(super) fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Bytes mapped.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes in blocks of exactly `class`.
    pub(super) fn capacity(&self, class: u32) -> u64 {
        self.by_class.get(&class).map_or(0, |c| c.capacity)
    }

    /// The smallest block size of at least `want`.
    pub(super) fn class_from(&self, want: u32) -> Option<u32> {
        self.by_class.range(want..).next().map(|(&class, _)| class)
    }

    /// Takes a block of exactly `class` from any buffer, beginning where one was found last.
    pub(super) fn allocate(&self, class: u32) -> Option<(&Buffer, u32)> {
        let class = self.by_class.get(&class)?;
        let count = class.buffers.len();
        let first = class.last.0.load(Ordering::Relaxed) as usize;
        (0..count).find_map(|step| {
            let turn = (first + step) % count;
            let buffer = &self.buffers[class.buffers[turn] as usize];
            let offset = buffer.blocks.allocate(&buffer.mapping)?;
            class.last.0.store(turn as u32, Ordering::Relaxed);
            Some((buffer, offset))
        })
    }
}
