//! A parcel on its way: its place in the route's sequence, its data and what is attached.

use crate::ids::{LinkKey, RouterKey};
use crate::memory::Block;
use crate::wire::PARCEL_HEADROOM;

/// Where a parcel's data lies.
#[derive(Clone, Default, Debug)]
pub enum Payload {
    /// No data.
    #[default]
    None,
    /// Private memory: [`PARCEL_HEADROOM`] bytes of room, then the data, so that it becomes a message without a copy.
    Heap(Vec<u8>),
    /// A block of a node link's memory, owned by whoever holds the parcel.
    Block {
        /// The link.
        link: LinkKey,
        /// The block.
        block: Block,
    },
}

impl Payload {
    /// A private copy of `data`.
    pub fn copy_of(data: &[u8]) -> Payload {
        if data.is_empty() {
            return Payload::None;
        }
        let mut buf = Vec::with_capacity(PARCEL_HEADROOM + data.len() + 8);
        buf.resize(PARCEL_HEADROOM, 0);
        buf.extend_from_slice(data);
        Payload::Heap(buf)
    }

    /// Bytes of data.
    pub fn len(&self) -> usize {
        match self {
            Payload::None => 0,
            Payload::Heap(buf) => buf.len() - PARCEL_HEADROOM,
            Payload::Block { block, .. } => block.len(),
        }
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Something attached to a parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// A portal, by its router.
    Portal(RouterKey),
}

/// A parcel. Whoever discards one hands it to [`super::Routing::discard`], which closes what is attached.
#[derive(Clone, Default, Debug)]
pub struct Parcel {
    /// Position in the route's sequence in this direction.
    pub number: u64,
    /// Its data.
    pub payload: Payload,
    /// Its attachments, in order.
    pub objects: Vec<Object>,
    /// The node link it came by, if any.
    pub via: Option<LinkKey>,
}
