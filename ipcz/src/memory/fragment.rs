//! From a descriptor to memory: the one place where a peer's buffer, offset and size become an address (memory.md 9, 6.2).

use super::block_allocator::BlockAllocator;
use crate::ids::FragmentDescriptor;
use crate::mapping::Mapping;
use crate::planted::Planted;

/// What a descriptor leads to.
#[derive(Clone, Debug)]
pub enum Fragment {
    /// Nothing: no buffer named, or beyond the end of it.
    Null,
    /// The buffer is not known yet.
    Pending,
    /// Memory.
    Mapped(MappedFragment),
}

/// A fragment within its buffer. Keeps the buffer mapped; needs no link.
#[derive(Clone, Debug)]
pub struct MappedFragment {
    mapping: Mapping,
    descriptor: FragmentDescriptor,
    /// Whose block it would have to be. None: never freed.
    pool: Option<BlockAllocator>,
    planted: Planted,
}

impl MappedFragment {
    /// The fragment that `descriptor` names in `mapping`; none if it exceeds it.
    pub(super) fn new(
        mapping: &Mapping,
        descriptor: FragmentDescriptor,
        pool: Option<BlockAllocator>,
        planted: Planted,
    ) -> Option<MappedFragment> {
        let end = u64::from(descriptor.offset) + u64::from(descriptor.size);
        (end <= mapping.len() as u64).then(|| MappedFragment { mapping: mapping.clone(), descriptor, pool, planted })
    }

    /// Its name on the link.
    pub fn descriptor(&self) -> FragmentDescriptor {
        self.descriptor
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    pub(super) fn planted(&self) -> Planted {
        self.planted
    }

    pub(super) fn offset(&self) -> usize {
        self.descriptor.offset as usize
    }

    /// Whether it is a block that somebody frees.
    #[cfg(feature = "inspect")]
    pub(super) fn is_freed(&self) -> bool {
        self.pool.is_some()
    }

    /// Returns the block to its allocator. Refused (false: it leaks) unless this is exactly one of its blocks.
    pub(super) fn free(self) -> bool {
        self.pool.is_some_and(|pool| pool.free(&self.mapping, self.descriptor.offset, self.descriptor.size))
    }

    /// Lets `f` swap the mapping, for a clone of a whole world.
    pub(super) fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        f(&mut self.mapping);
    }
}
