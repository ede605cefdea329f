//! A link's shared memory: its layout, its block allocators, the buffers it grew, parcel data and link states in it, and
//! the ids drawn from it (memory.md). Format questions are answered here, once, for both ends.
//!
//! The peer may write any word at any time, so: access goes through [`Mapping`](crate::mapping::Mapping) alone; a word is loaded once into a
//! local, validated, then used; every retry loop is bounded, and giving up counts as "none" or "refused". Nothing here
//! asks the driver, sends a message or waits; growth and pending fragments are the caller's to arrange.

mod block;
mod block_allocator;
mod counters;
mod fault;
mod fragment;
mod layout;
mod link_memory;
mod link_state;
mod pool;
mod primary;
pub mod status;

pub use block::{Block, Opened};
pub use block_allocator::{BlockAllocator, MAX_TRIES};
pub use fault::{MemoryFault, NoBlock};
pub use fragment::{Fragment, MappedFragment};
pub use layout::{DATA_HEADER_BYTES, LINK_STATE_BYTES, MAX_BLOCK_BYTES, MIN_BLOCK_BYTES, PRIMARY_BYTES};
pub use link_memory::LinkMemory;
pub use link_state::{Adopted, LinkState};
pub use pool::Origin;
pub use primary::initialise_primary;
