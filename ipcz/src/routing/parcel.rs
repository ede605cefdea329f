//! A parcel on its way: its place in the route's sequence, its data and what is attached.

use std::sync::Arc;

use crate::ids::{BoxKey, LinkKey, RouterKey};
use crate::mapping::Mapping;
use crate::memory::Block;
use crate::wire::PARCEL_HEADROOM;

/// Room behind the data for what pads a message.
pub(super) const PARCEL_PADDING: usize = 8;

/// Where a parcel's data lies.
#[derive(Clone, Default, Debug)]
pub enum Payload {
    /// No data.
    #[default]
    None,
    /// Private memory: [`PARCEL_HEADROOM`] bytes of room, then the data, so that it becomes a message without a copy.
    Heap(Vec<u8>),
    /// The same, while an application may read it: it keeps a parcel or has begun to get one.
    Shared(Arc<Vec<u8>>),
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
        let mut buf = Vec::with_capacity(PARCEL_HEADROOM + data.len() + PARCEL_PADDING);
        buf.resize(PARCEL_HEADROOM, 0);
        buf.extend_from_slice(data);
        Payload::Heap(buf)
    }

    /// Bytes of data.
    pub fn len(&self) -> usize {
        match self {
            Payload::None => 0,
            Payload::Heap(buf) => buf.len() - PARCEL_HEADROOM,
            Payload::Shared(buf) => buf.len() - PARCEL_HEADROOM,
            Payload::Block { block, .. } => block.len(),
        }
    }

    /// Whether there is no data.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A second view of the data, which stays where it is.
    pub fn share(&mut self) -> Payload {
        if let Payload::Heap(buf) = self {
            *self = Payload::Shared(Arc::new(std::mem::take(buf)));
        }
        self.clone()
    }

    /// Copies data from byte `from` on into `out` and answers how many bytes.
    pub fn read_at(&self, from: usize, out: &mut [u8]) -> usize {
        let private = match self {
            Payload::None => &[],
            Payload::Heap(buf) => &buf[PARCEL_HEADROOM..],
            Payload::Shared(buf) => &buf[PARCEL_HEADROOM..],
            Payload::Block { block, .. } => return block.read_at(from, out),
        };
        let rest = private.get(from..).unwrap_or_default();
        let bytes = rest.len().min(out.len());
        out[..bytes].copy_from_slice(&rest[..bytes]);
        bytes
    }

    /// A private copy of the data, wherever it lies.
    pub fn to_private(&self) -> Payload {
        let mut buf = vec![0; PARCEL_HEADROOM + self.len()];
        self.read_at(0, &mut buf[PARCEL_HEADROOM..]);
        if buf.len() > PARCEL_HEADROOM { Payload::Heap(buf) } else { Payload::None }
    }

    /// Lets `f` swap the mapping, for a clone of a whole world.
    pub fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        if let Payload::Block { block, .. } = self {
            block.remap(f);
        }
    }
}

/// Something attached to a parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Object {
    /// A portal, by its router.
    Portal(RouterKey),
    /// A box.
    Box(BoxKey),
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
