//! What can be wrong with memory or descriptors that a peer names, and why there is no block.

use thiserror::Error;

/// Why memory, a descriptor or its content is refused. Caused by the peer: the message that brought it is a validation
/// failure (memory.md 2, 6.4, 7.2, 9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MemoryFault {
    /// The first buffer is shorter than its fixed layout.
    #[error("the primary buffer is shorter than 131072 bytes")]
    PrimaryTooShort,
    /// The id that stands for "no buffer".
    #[error("invalid buffer id")]
    InvalidBuffer,
    /// The link already has a buffer of this id.
    #[error("buffer id already in use")]
    DuplicateBuffer,
    /// Not a power of two, or below 64.
    #[error("block size is not a power of two of at least 64")]
    BlockSize,
    /// Fewer than 8 blocks or more than 32767, or more bytes than a descriptor can address.
    #[error("a buffer of unusable length for its block size")]
    BlockCount,
    /// The descriptor names no fragment, or one that exceeds its buffer.
    #[error("null fragment, or beyond the end of its buffer")]
    Null,
    /// The fragment cannot hold what it is said to hold.
    #[error("fragment too small")]
    TooSmall,
    /// The fragment does not start at a multiple of 8.
    #[error("misaligned fragment")]
    Misaligned,
    /// Parcel data claims more bytes than its fragment has.
    #[error("parcel data exceeds its fragment")]
    DataSize,
}

/// Why an allocation found no block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum NoBlock {
    /// Nothing free now; memory of block size `class` would help (memory.md 6.3).
    #[error("no free block; class {class} should grow")]
    Grow {
        /// Power of two, 64 to 1 MiB.
        class: u32,
    },
    /// Zero bytes or more than 1 MiB: never in a block.
    #[error("no block has this size")]
    TooLarge,
}
