//! Plain names that every floor speaks: node names, sublinks, buffers, fragments, driver objects, arena keys.

use std::fmt;
use std::num::NonZeroU64;

/// Name of a node, 128 bits; zero means "no name". Ordered by `high`, then `low` (wire.md 7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeName {
    /// Most significant half; the first eight bytes on the wire.
    pub high: u64,
    /// Least significant half.
    pub low: u64,
}

impl NodeName {
    /// The absent name.
    pub const INVALID: NodeName = NodeName { high: 0, low: 0 };

    /// Whether this names a node at all.
    pub fn is_valid(self) -> bool {
        self != Self::INVALID
    }

    /// The name that sixteen random bytes spell (little-endian halves, high first).
    pub fn from_bytes(bytes: [u8; 16]) -> NodeName {
        let half = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        NodeName { high: half(0), low: half(8) }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Address of a route on one node link (wire.md 7). Ids 0 to 11 belong to the initial portals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SublinkId(pub u64);

/// Number of initial portals a connection may have, hence of reserved sublinks.
pub const MAX_INITIAL_PORTALS: u32 = 12;

/// Name of a memory buffer on one node link (memory.md 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct BufferId(pub u64);

impl BufferId {
    /// The buffer every link starts with.
    pub const PRIMARY: BufferId = BufferId(0);
    /// The id of no buffer; marks a null fragment.
    pub const INVALID: BufferId = BufferId(u64::MAX);
}

/// Where a piece of link memory lies: buffer, offset and size in bytes (memory.md 9).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FragmentDescriptor {
    /// Buffer on the link that carries the descriptor.
    pub buffer: BufferId,
    /// Bytes from the start of the buffer.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

impl FragmentDescriptor {
    /// The form of "no fragment".
    pub const NULL: FragmentDescriptor = FragmentDescriptor { buffer: BufferId::INVALID, offset: 0, size: 0 };

    /// Whether this is the null form.
    pub fn is_null(&self) -> bool {
        self.buffer == BufferId::INVALID
    }
}

/// Which end of a node link or of a router link; the two ends always differ. Wire values 0 and 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum LinkSide {
    /// The creator's end.
    A,
    /// The accepter's end.
    B,
}

impl LinkSide {
    /// The far end's side.
    pub fn opposite(self) -> LinkSide {
        match self {
            LinkSide::A => LinkSide::B,
            LinkSide::B => LinkSide::A,
        }
    }
}

/// What a node is to its network. Wire values 0 and 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum NodeType {
    /// Names nodes and introduces them.
    Broker,
    /// Everyone else.
    Normal,
}

/// A driver object as the driver names it: transport, memory, or anything else it can carry. Never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ObjectId(pub NonZeroU64);

impl ObjectId {
    /// The object with this number, which must not be zero.
    pub fn new(value: u64) -> Option<ObjectId> {
        NonZeroU64::new(value).map(ObjectId)
    }
}

/// Feature bits of a node or link, one 64-bit word (wire.md 8).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct Features(pub u64);

impl Features {
    /// Buffer and sublink ids come from private per-side counters (memory.md 4).
    pub const MEM_V2: Features = Features(1);
    /// Only in AcceptIntroduction, from one broker to another: the node introduced is a broker too, but the two are none to each other
    /// (design.md 7). Upstream ignores the bit, and refuses such an introduction anyway.
    pub const MET_AS_NODES: Features = Features(1 << 63);

    /// Whether every bit of `other` is set here.
    pub fn contains(self, other: Features) -> bool {
        self.0 & other.0 == other.0
    }

    /// What both sides have.
    pub fn and(self, other: Features) -> Features {
        Features(self.0 & other.0)
    }
}

/// A two-phase call that has begun and not ended. Never given twice in a process, never zero as a number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Transaction(pub NonZeroU64);

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name { index: u32, stamp: u32 }

        impl crate::arena::Key for $name {
            fn new(index: u32, stamp: u32) -> Self { Self { index, stamp } }
            fn index(self) -> u32 { self.index }
            fn stamp(self) -> u32 { self.stamp }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}.{})"), self.index, self.stamp)
            }
        }
    )*};
}

keys! {
    /// A node of this process.
    NodeKey
    /// One end of a node link, from its handshake on.
    LinkKey
    /// A router of this process.
    RouterKey
    /// A link between two routers of this process.
    PairKey
    /// Something an application holds. It belongs to the process that gave it: another process may have one that looks the same.
    Handle
    /// A parcel that an application keeps as an object.
    ParcelKey
    /// A box, in an application's hands or attached to a parcel.
    BoxKey
    /// A question put to the driver whose answer is awaited.
    RequestKey
    /// A driver given to this process.
    DriverKey
}

impl LinkKey {
    /// The key as one number: what a driver's listener is known by.
    pub fn to_bits(self) -> u64 {
        u64::from(self.stamp) << 32 | u64::from(self.index)
    }

    /// The key that [`LinkKey::to_bits`] made this of.
    pub fn from_bits(bits: u64) -> LinkKey {
        LinkKey { index: bits as u32, stamp: (bits >> 32) as u32 }
    }
}

impl Handle {
    /// The handle as one number, never zero.
    pub fn to_bits(self) -> u64 {
        (u64::from(self.stamp) << 32 | u64::from(self.index)) + 1
    }

    /// The handle that [`Handle::to_bits`] made this of.
    pub fn from_bits(bits: u64) -> Option<Handle> {
        let bits = bits.checked_sub(1)?;
        Some(Handle { index: bits as u32, stamp: (bits >> 32) as u32 })
    }
}
