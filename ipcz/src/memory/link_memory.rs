//! One end's view of a link's memory.

use super::block::{Block, Opened};
use super::block_allocator::BlockAllocator;
use super::counters::Counters;
use super::fault::{MemoryFault, NoBlock};
use super::fragment::{Fragment, MappedFragment};
use super::layout::{
    self, FRAGMENT_ALIGN, LINK_STATE_BYTES, MAX_BLOCK_BYTES, MIN_BEST_EFFORT_BYTES, MIN_BLOCK_BYTES, PRIMARY_BYTES, class_for,
};
use super::link_state::{Adopted, LinkState};
use super::pool::{Buffer, Origin, Pool};
use super::primary;
use crate::ids::{BufferId, FragmentDescriptor, LinkSide, SublinkId};
use crate::limits::Limits;
use crate::mapping::Mapping;
use crate::planted::Planted;

/// One end's view of a link's memory: its buffers and where ids come from. Plain data; a clone works on the same memory.
#[derive(Clone, Debug)]
pub struct LinkMemory {
    primary: Mapping,
    grown: Pool,
    counters: Counters,
    /// Blocks taken for a test, to leave none.
    #[cfg(feature = "inspect")]
    hoard: Vec<MappedFragment>,
    planted: Planted,
}

impl LinkMemory {
    /// Memory of a link whose first buffer is `primary`, initialised by its creator ([`super::initialise_primary`]), seen
    /// from `side` of the node link. `mem_v2`: both ends have that feature. `PrimaryTooShort` below [`PRIMARY_BYTES`].
    pub fn new(primary: Mapping, side: LinkSide, mem_v2: bool) -> Result<LinkMemory, MemoryFault> {
        if primary.len() < PRIMARY_BYTES {
            return Err(MemoryFault::PrimaryTooShort);
        }
        Ok(LinkMemory {
            primary,
            grown: Pool::default(),
            counters: Counters::new(side, mem_v2),
            #[cfg(feature = "inspect")]
            hoard: Vec::new(),
            planted: Planted::NONE,
        })
    }

    /// Arms a planted bug, before anything is allocated.
    pub(crate) fn plant(&mut self, planted: Planted) {
        self.planted = planted;
    }

    /// Has sublinks drawn from `base` (bit 63 clear) upward, unless they are beyond it already (routing.md 2.3, D5).
    pub fn raise_sublink_base(&mut self, base: u64) {
        self.counters.raise_sublinks(&self.primary, base);
    }

    /// The first of `count` consecutive sublinks of which none is reserved or `in_use`. None if the peer spoilt the counter
    /// or the ids are used up (memory.md 4).
    pub fn draw_sublinks(&mut self, count: u64, in_use: impl Fn(SublinkId) -> bool) -> Option<SublinkId> {
        self.counters.draw_sublinks(&self.primary, count, in_use, self.planted)
    }

    /// A fresh id for a buffer of ours. None as for [`LinkMemory::draw_sublinks`].
    pub fn draw_buffer_id(&mut self) -> Option<BufferId> {
        let grown = &self.grown;
        self.counters.draw_buffer(&self.primary, |id| id == BufferId::PRIMARY || grown.get(id).is_some())
    }

    /// Takes a buffer of `block_size`-byte blocks in, contents as they are (memory.md 6.4). Refused: an invalid or known id;
    /// a block size that is not a power of two of at least 64; a length of fewer than 8 blocks, more than 32767, or more
    /// than 4 GiB.
    pub fn add_buffer(&mut self, id: BufferId, block_size: u32, mapping: Mapping, origin: Origin) -> Result<(), MemoryFault> {
        match id {
            BufferId::INVALID => return Err(MemoryFault::InvalidBuffer),
            BufferId::PRIMARY => return Err(MemoryFault::DuplicateBuffer),
            _ => {}
        }
        let blocks = BlockAllocator::over(mapping.len(), block_size)?.planted(self.planted);
        self.grown.add(Buffer { id, mapping, blocks, origin })
    }

    /// Whether descriptors may name this buffer.
    pub fn has_buffer(&self, id: BufferId) -> bool {
        id == BufferId::PRIMARY || self.grown.get(id).is_some()
    }

    /// Number of buffers, the primary one included.
    pub fn buffers(&self) -> usize {
        1 + self.grown.len()
    }

    /// Bytes of all buffers, the primary one included.
    pub fn buffer_bytes(&self) -> u64 {
        self.primary.len() as u64 + self.grown.bytes()
    }

    /// Bytes of buffers that this or the other end added; neither counts the primary one.
    pub fn bytes_from(&self, origin: Origin) -> u64 {
        self.grown.iter().filter(|b| b.origin == origin).map(|b| b.mapping.len() as u64).sum()
    }

    /// Number of buffers that this or the other end added; neither counts the primary one.
    pub fn buffers_from(&self, origin: Origin) -> usize {
        self.grown.iter().filter(|b| b.origin == origin).count()
    }

    /// Takes a block for `bytes`, the 8 bytes of header included, from the smallest size class that the link has and that
    /// is big enough, from no other (memory.md 6.1). `Grow` names the class to ask for, if [`LinkMemory::may_grow`].
    pub fn allocate(&self, bytes: usize) -> Result<Block, NoBlock> {
        let want = class_for(bytes).ok_or(NoBlock::TooLarge)?;
        self.take(want).map(Block::fresh).ok_or(NoBlock::Grow { class: want })
    }

    /// Takes the biggest block for at most `bytes`, header included, down to 4096 (memory.md 6.1, partial puts).
    pub fn allocate_best_effort(&self, bytes: usize) -> Option<Block> {
        let mut class = class_for(bytes.min(MAX_BLOCK_BYTES as usize))?;
        while class >= MIN_BEST_EFFORT_BYTES {
            if let Some(fragment) = self.take(class) {
                return Some(Block::fresh(fragment));
            }
            class /= 2;
        }
        None
    }

    /// A block of the smallest class there is from `want` up.
    fn take(&self, want: u32) -> Option<MappedFragment> {
        let in_primary = primary::pools().iter().map(|p| p.block_size()).find(|&c| c >= want);
        let class = [in_primary, self.grown.class_from(want)].into_iter().flatten().min()?;
        let (id, mapping, blocks, offset) = match self.primary_pool(class).and_then(|p| Some((p, p.allocate(&self.primary)?))) {
            Some((blocks, offset)) => (BufferId::PRIMARY, &self.primary, blocks, offset),
            None => {
                let (buffer, offset) = self.grown.allocate(class)?;
                (buffer.id, &buffer.mapping, buffer.blocks, offset)
            }
        };
        MappedFragment::new(mapping, FragmentDescriptor { buffer: id, offset, size: class }, Some(blocks), self.planted)
    }

    fn primary_pool(&self, class: u32) -> Option<BlockAllocator> {
        primary::pool(class).map(|pool| pool.planted(self.planted))
    }

    /// Bytes in all blocks of exactly `class` bytes, taken or not, from either end (memory.md 6.1).
    pub fn capacity(&self, class: u32) -> u64 {
        let in_primary = primary::pool(class).map_or(0, |p| p.capacity() * u64::from(class));
        in_primary + self.grown.capacity(class)
    }

    /// Whether parcel data may have another buffer of `class` (memory.md 6.1). Link states may as long as
    /// [`LinkMemory::has_room`].
    pub fn may_grow(&self, class: u32, limits: &Limits) -> bool {
        limits.grow_parcel_capacity
            && self.capacity(class) < limits.parcel_capacity_bytes
            && self.has_room(Self::region_bytes(class), limits)
    }

    /// Whether the link may have another buffer of `bytes`, of whichever end.
    pub fn has_room(&self, bytes: usize, limits: &Limits) -> bool {
        self.buffers() < limits.link_buffers && self.buffer_bytes().saturating_add(bytes as u64) <= limits.link_memory_bytes
    }

    /// Bytes of a new buffer of `class`-byte blocks: the smallest multiple of 64 KiB that holds 8 (memory.md 6.3).
    pub fn region_bytes(class: u32) -> usize {
        layout::region_bytes(class)
    }

    /// Makes one allocator of the whole of a buffer of ours, before its id is announced (memory.md 6.3). A mapping that
    /// [`LinkMemory::add_buffer`] would refuse is left alone.
    pub fn initialise_region(m: &Mapping, block_size: u32) {
        if let Ok(blocks) = BlockAllocator::over(m.len(), block_size) {
            blocks.initialise(m);
        }
    }

    /// What a descriptor of the peer leads to (memory.md 9).
    pub fn resolve(&self, d: FragmentDescriptor) -> Fragment {
        let (mapping, pool) = match d.buffer {
            BufferId::INVALID => return Fragment::Null,
            BufferId::PRIMARY => (&self.primary, self.primary_pool(d.size)),
            id => match self.grown.get(id) {
                Some(buffer) => (&buffer.mapping, Some(buffer.blocks)),
                None => return Fragment::Pending,
            },
        };
        MappedFragment::new(mapping, d, pool, self.planted).map_or(Fragment::Null, Fragment::Mapped)
    }

    /// Takes over the block that a received parcel's data is in (memory.md 7.2). `Null`, `TooSmall`, `Misaligned` or
    /// `DataSize` if it cannot be that; a null descriptor is for the caller to tell apart first.
    pub fn open_parcel(&self, d: FragmentDescriptor) -> Result<Opened, MemoryFault> {
        match self.resolve(d) {
            Fragment::Null => Err(MemoryFault::Null),
            Fragment::Pending => Ok(Opened::Pending),
            Fragment::Mapped(fragment) => Block::open(fragment).map(Opened::Block),
        }
    }

    /// A new link state with one reference, in a block of 64 bytes. None if there is no block: class 64 should grow.
    pub fn new_link_state(&self) -> Option<LinkState> {
        const { assert!(LINK_STATE_BYTES == MIN_BLOCK_BYTES) };
        self.take(LINK_STATE_BYTES).map(LinkState::initialise)
    }

    /// The link state of initial portal `portal`; never freed (memory.md 8.3). Panics unless 0 to 11.
    pub fn initial_link_state(&self, portal: u32) -> LinkState {
        let d = FragmentDescriptor { buffer: BufferId::PRIMARY, offset: primary::link_state_at(portal), size: LINK_STATE_BYTES };
        LinkState::over(
            MappedFragment::new(&self.primary, d, None, self.planted).expect("the primary buffer holds its initial link states"),
        )
    }

    /// Takes over the link state, and the reference to it, that a message carried (memory.md 8.2, 9). `Null`, `TooSmall` or
    /// `Misaligned` if it cannot be one.
    pub fn adopt_link_state(&self, d: FragmentDescriptor) -> Result<Adopted, MemoryFault> {
        if d.is_null() {
            return Err(MemoryFault::Null);
        }
        if d.size < LINK_STATE_BYTES {
            return Err(MemoryFault::TooSmall);
        }
        if !d.offset.is_multiple_of(FRAGMENT_ALIGN) {
            return Err(MemoryFault::Misaligned);
        }
        match self.resolve(d) {
            Fragment::Null => Err(MemoryFault::Null),
            Fragment::Pending => Ok(Adopted::Pending),
            Fragment::Mapped(fragment) => Ok(Adopted::State(LinkState::over(fragment))),
        }
    }

    /// Blocks that are on no free list: what is in use or has leaked. Exact only while nobody allocates or frees.
    pub fn blocks_taken(&self) -> u64 {
        let mut region = Vec::new();
        let in_primary: u64 = primary::pools().iter().map(|p| p.taken(&self.primary, &mut region)).sum();
        in_primary + self.grown.iter().map(|b| b.blocks.taken(&b.mapping, &mut region)).sum::<u64>()
    }

    /// Takes every free block, so that there is none for a while.
    #[cfg(feature = "inspect")]
    pub fn hoard(&mut self) {
        for class in primary::pools().iter().map(|pool| pool.block_size()) {
            for _ in 0..self.capacity(class) / u64::from(class) {
                let Some(fragment) = self.take(class) else { break };
                self.hoard.push(fragment);
            }
        }
    }

    /// Gives those blocks back.
    #[cfg(feature = "inspect")]
    pub fn release_hoard(&mut self) {
        for fragment in self.hoard.drain(..) {
            fragment.free();
        }
    }

    /// Lets `f` swap every mapping, for a clone of a whole world.
    pub fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        f(&mut self.primary);
        self.grown.mappings().for_each(&mut *f);
        #[cfg(feature = "inspect")]
        self.hoard.iter_mut().for_each(|fragment| fragment.remap(f));
    }
}
