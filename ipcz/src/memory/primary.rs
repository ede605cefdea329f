//! What lies where in a link's first buffer (memory.md 2).

use super::block_allocator::BlockAllocator;
use super::layout::{LINK_STATE_BYTES, PRIMARY_BYTES};
use crate::ids::MAX_INITIAL_PORTALS;
use crate::mapping::Mapping;
use std::sync::atomic::Ordering;

/// Offset of the shared counter of buffer ids, 64 bits.
pub(super) const NEXT_BUFFER: usize = 0;
/// Offset of the shared counter of sublinks, 64 bits.
pub(super) const NEXT_SUBLINK: usize = 8;
/// First value of the counter of buffer ids.
pub(super) const FIRST_BUFFER: u64 = 1;
/// First value of the counter of sublinks: the ones before belong to the initial portals.
pub(super) const FIRST_SUBLINK: u64 = MAX_INITIAL_PORTALS as u64;

const LINK_STATES: u32 = 256;
const RESERVED_BYTES: usize = 1024;

const POOLS: [BlockAllocator; 6] = [
    BlockAllocator::new(1024, 64, 1484),
    BlockAllocator::new(96_000, 256, 9),
    BlockAllocator::new(98_304, 512, 8),
    BlockAllocator::new(102_400, 1024, 4),
    BlockAllocator::new(106_496, 2048, 4),
    BlockAllocator::new(114_688, 4096, 4),
];

/// The allocators of a primary buffer, smallest blocks first.
pub(super) fn pools() -> &'static [BlockAllocator] {
    &POOLS
}

/// The allocator of blocks of exactly `class` bytes.
pub(super) fn pool(class: u32) -> Option<BlockAllocator> {
    POOLS.into_iter().find(|p| p.block_size() == class)
}

/// Offset of the link state of initial portal `portal`, which is below 12.
pub(super) fn link_state_at(portal: u32) -> u32 {
    assert!(portal < MAX_INITIAL_PORTALS, "initial portals are 0 to 11");
    LINK_STATES + portal * LINK_STATE_BYTES
}

/// Makes `m` a fresh primary buffer, whatever it held (memory.md 2.1). To be complete before anyone else sees it. A
/// mapping shorter than [`PRIMARY_BYTES`], which no end accepts, is left alone.
pub fn initialise_primary(m: &Mapping) {
    if m.len() < PRIMARY_BYTES {
        return;
    }
    m.write(0, &[0; RESERVED_BYTES]);
    m.store64(NEXT_BUFFER, FIRST_BUFFER, Ordering::Relaxed);
    m.store64(NEXT_SUBLINK, FIRST_SUBLINK, Ordering::Relaxed);
    for pool in POOLS {
        pool.initialise(m);
    }
}
