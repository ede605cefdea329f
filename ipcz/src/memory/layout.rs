//! Sizes and size classes: which block a request wants, and how long a region of such blocks is.

/// Length of a primary buffer in bytes (memory.md 2).
pub const PRIMARY_BYTES: usize = 131_072;
/// Smallest block in bytes.
pub const MIN_BLOCK_BYTES: u32 = 64;
/// Biggest block in bytes that is ever asked for.
pub const MAX_BLOCK_BYTES: u32 = 1 << 20;
/// Bytes before the data of a parcel: its size and a reserved word (memory.md 7.2).
pub const DATA_HEADER_BYTES: u32 = 8;
/// Bytes of a link state (memory.md 10).
pub const LINK_STATE_BYTES: u32 = 64;

/// Fragments whose words are accessed start at a multiple of this.
pub(super) const FRAGMENT_ALIGN: u32 = 8;
/// Partial allocations end here: smaller ones never use shared memory (memory.md 6.1).
pub(super) const MIN_BEST_EFFORT_BYTES: u32 = 4096;
/// Fewest blocks of a buffer made to grow a link.
pub(super) const MIN_GROWN_BLOCKS: u64 = 8;
/// Most blocks of an allocator: its indexes are 16-bit and signed.
pub(super) const MAX_BLOCKS: u64 = 32_767;

const REGION_STEP: usize = 65_536;

/// The size class that `bytes` want; none for 0 and for more than 1 MiB (memory.md 6.1).
pub(super) fn class_for(bytes: usize) -> Option<u32> {
    let fits = (1..=MAX_BLOCK_BYTES as usize).contains(&bytes);
    fits.then(|| (bytes as u32).next_power_of_two().max(MIN_BLOCK_BYTES))
}

/// Bytes of a new buffer of `class`-byte blocks: the smallest multiple of 64 KiB that holds 8 (memory.md 6.3).
pub(super) fn region_bytes(class: u32) -> usize {
    (class as usize).saturating_mul(MIN_GROWN_BLOCKS as usize).next_multiple_of(REGION_STEP)
}
