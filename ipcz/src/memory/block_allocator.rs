//! How the blocks of one region are handed out and taken back by several processes without a lock (memory.md 5).

use super::fault::MemoryFault;
use super::layout::{MAX_BLOCKS, MIN_BLOCK_BYTES, MIN_GROWN_BLOCKS};
use crate::mapping::Mapping;
use crate::planted::{Bug, Planted};
use std::sync::atomic::Ordering;

/// How often a compare-exchange on a shared word is tried. Each failure means that somebody else succeeded, so an
/// honest peer never comes near; a hostile one gains nothing by going on (hazards SM-09).
pub const MAX_TRIES: u32 = 1000;

/// Where the blocks of one region lie. All changing state is in the shared memory itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockAllocator {
    start: u32,
    block_size: u32,
    blocks: i16,
    planted: Planted,
}

/// A block's header: `version` (block 0 only) in the low half, `next` in the high half.
#[derive(Clone, Copy)]
struct Header(u32);

impl Header {
    fn new(version: u16, next: i16) -> Header {
        Header(u32::from(version) | u32::from(next as u16) << 16)
    }

    fn version(self) -> u16 {
        self.0 as u16
    }

    /// Index of the block after this one's in the free list, this one being at `index`.
    fn successor(self, index: i16) -> i16 {
        let next = (self.0 >> 16) as u16 as i16;
        index.wrapping_add(1).wrapping_add(next)
    }

    /// The header of the block at `index` whose successor is `target`.
    fn toward(version: u16, index: i16, target: i16) -> Header {
        Header::new(version, target.wrapping_sub(index).wrapping_sub(1))
    }
}

impl BlockAllocator {
    /// `blocks` blocks (2 to 32767, the first for bookkeeping) of `block_size` bytes from `start`, both multiples of 8.
    pub const fn new(start: u32, block_size: u32, blocks: i16) -> BlockAllocator {
        assert!(start.is_multiple_of(8) && block_size.is_multiple_of(8) && block_size > 0 && blocks >= 2);
        BlockAllocator { start, block_size, blocks, planted: Planted::NONE }
    }

    /// One allocator over a whole buffer of `len` bytes (memory.md 6.4). `BlockSize` unless a power of two of at least
    /// 64; `BlockCount` unless 8 to 32767 blocks within the reach of 32-bit offsets.
    pub fn over(len: usize, block_size: u32) -> Result<BlockAllocator, MemoryFault> {
        if block_size < MIN_BLOCK_BYTES || !block_size.is_power_of_two() {
            return Err(MemoryFault::BlockSize);
        }
        let blocks = len as u64 / u64::from(block_size);
        if !(MIN_GROWN_BLOCKS..=MAX_BLOCKS).contains(&blocks) || blocks * u64::from(block_size) > 1 << 32 {
            return Err(MemoryFault::BlockCount);
        }
        Ok(BlockAllocator { start: 0, block_size, blocks: blocks as i16, planted: Planted::NONE })
    }

    /// The same, with a planted bug.
    pub(super) fn planted(self, planted: Planted) -> BlockAllocator {
        BlockAllocator { planted, ..self }
    }

    /// Bytes of a block.
    pub const fn block_size(self) -> u32 {
        self.block_size
    }

    /// Blocks that can be handed out.
    pub fn capacity(self) -> u64 {
        self.blocks as u64 - 1
    }

    /// Offset of block `index`, which is within `0..blocks`.
    fn offset(self, index: i16) -> usize {
        self.start as usize + index as usize * self.block_size as usize
    }

    /// Clears the region and puts every block on the free list (memory.md 5.2).
    pub fn initialise(self, m: &Mapping) {
        const ZEROS: [u8; 4096] = [0; 4096];
        let end = self.offset(self.blocks);
        for at in (self.offset(0)..end).step_by(ZEROS.len()) {
            m.write(at, &ZEROS[..ZEROS.len().min(end - at)]);
        }
        let last = self.blocks - 1;
        m.store32(self.offset(last), Header::toward(0, last, 0).0, Ordering::Release);
    }

    /// Takes a block and answers its offset. None if there is no free one, the free list is corrupt, or others win every
    /// race (memory.md 5.3).
    ///
    /// The front is read with acquire: the header of the block it leads to must not be older than it.
    pub fn allocate(self, m: &Mapping) -> Option<u32> {
        let front_at = self.offset(0);
        let mut front = m.poll32(front_at, Ordering::Acquire);
        for _ in 0..MAX_TRIES {
            let index = Header(front).successor(0);
            if index <= 0 || index >= self.blocks {
                return None;
            }
            let after = Header(m.load32(self.offset(index), Ordering::Acquire)).successor(index);
            if after < 0 || after >= self.blocks {
                // Corrupt, unless another took the block and wrote into it meanwhile.
                let now = m.poll32(front_at, Ordering::Acquire);
                if now == front {
                    return None;
                }
                front = now;
                continue;
            }
            if self.planted.has(Bug::FrontReadTwice) {
                front = m.poll32(front_at, Ordering::Acquire);
            }
            let new = Header::toward(self.next_version(front), 0, after);
            match self.swing(m, front, new, Bug::PopLoadStore) {
                Ok(_) => return Some(self.offset(index) as u32),
                Err(now) => front = now,
            }
        }
        None
    }

    /// Takes back the block that starts at `offset` and is `size` bytes long. False, with nothing changed but perhaps
    /// its header, if that is not one of ours, the free list is corrupt, or others win every race (memory.md 5.4, 6.2).
    pub fn free(self, m: &Mapping, offset: u32, size: u32) -> bool {
        let Some(index) = self.index_of(offset, size) else { return false };
        let (at, front_at) = (self.offset(index), self.offset(0));
        let mut front = m.poll32(front_at, Ordering::Acquire);
        for _ in 0..MAX_TRIES {
            let first = Header(front).successor(0);
            if first < 0 || first >= self.blocks {
                return false;
            }
            let link = || m.store32(at, Header::toward(0, index, first).0, Ordering::Release);
            let late = self.planted.has(Bug::LinkedLate);
            if !late {
                link();
            }
            let new = Header::toward(self.next_version(front), 0, index);
            match self.swing(m, front, new, Bug::PushLoadStore) {
                Ok(_) => {
                    if late {
                        link();
                    }
                    return true;
                }
                Err(_) if self.planted.has(Bug::ExchangeTriedOnce) => return false,
                Err(now) => front = now,
            }
        }
        false
    }

    /// The version of the front that replaces `front`, so that no front ever comes back.
    fn next_version(self, front: u32) -> u16 {
        Header(front).version().wrapping_add(u16::from(!self.planted.has(Bug::VersionKept)))
    }

    /// Replaces the front of the free list, if it still is `old`.
    fn swing(self, m: &Mapping, old: u32, new: Header, split: Bug) -> Result<u32, u32> {
        let at = self.offset(0);
        if !self.planted.has(split) {
            return m.exchange32(at, old, new.0, Ordering::AcqRel);
        }
        let now = m.poll32(at, Ordering::Acquire);
        if now != old {
            return Err(now);
        }
        m.store32(at, new.0, Ordering::Release);
        Ok(old)
    }

    /// Index of the block that lies exactly there; none for block 0.
    fn index_of(self, offset: u32, size: u32) -> Option<i16> {
        let distance = offset.checked_sub(self.start)?;
        let exact = size == self.block_size && distance.is_multiple_of(self.block_size);
        let index = distance / self.block_size;
        (exact && index >= 1 && index < self.blocks as u32).then_some(index as i16)
    }

    /// Blocks not on the free list. Exact only while nobody allocates or frees. A list that leads in a circle, since a block was
    /// freed twice, has none that is free. `region` is where the blocks are copied to: to follow a list through virtual memory would
    /// take a call a word.
    pub fn taken(self, m: &Mapping, region: &mut Vec<u8>) -> u64 {
        let bytes = self.offset(self.blocks) - self.offset(0);
        region.resize(bytes.max(region.len()), 0);
        m.read(self.offset(0), &mut region[..bytes]);
        let header =
            |index: i16| region[index as usize * self.block_size as usize..].first_chunk().map_or(0, |word| u32::from_le_bytes(*word));
        let next = |index| Header(header(index)).successor(index);
        let (mut index, mut free) = (next(0), 0);
        while index > 0 && index < self.blocks {
            if free == self.capacity() {
                return self.capacity();
            }
            free += 1;
            index = next(index);
        }
        self.capacity() - free
    }
}
