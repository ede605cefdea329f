//! One end of a node link, from its handshake to its end (nodes.md 3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::delegate::MemoryRequest;
use super::early::Early;
use super::outbox::Outbox;
use super::pieces::{Piece, Pieces};
use super::referral::Referral;
use crate::ids::{BufferId, Features, FragmentDescriptor, LinkSide, NodeKey, NodeName, NodeType, RouterKey, SublinkId};
use crate::mapping::Mapping;
use crate::memory::LinkMemory;
use crate::routing::SeekBypass;

/// A transport, and what stands at its far end as far as is known.
#[derive(Clone, Debug)]
pub struct NodeLink {
    /// The node it belongs to.
    pub node: NodeKey,
    /// What is to happen to the transport.
    pub outbox: Outbox,
    /// How far the connection has come.
    pub phase: Phase,
    /// A message was refused: no further one is looked at (nodes.md D-16).
    pub poisoned: bool,
}

/// How far a connection has come.
#[derive(Clone, Debug)]
pub enum Phase {
    /// Waiting for the peer's greeting.
    Greeting(Greeting),
    /// Connected.
    Established(Box<Peer>),
    /// Over.
    Dead,
}

/// A connection attempt (nodes.md 5).
#[derive(Clone, Debug)]
pub struct Greeting {
    /// Routers of the portals that ConnectNode returned; held by this attempt.
    pub portals: Vec<RouterKey>,
    /// What this end offers or waits for.
    pub role: Role,
}

/// Which of the handshakes, and which side of it.
#[derive(Clone, Debug)]
pub enum Role {
    /// A broker that has named its client and made the link's memory.
    Broker {
        /// The client's name.
        client: NodeName,
        /// The primary buffer.
        memory: Mapping,
    },
    /// A broker that waits for another one.
    Fellow {
        /// The primary buffer, if its name is the greater one.
        memory: Mapping,
    },
    /// A normal node that waits for its broker.
    Client {
        /// Whether that will give it memory.
        delegate: bool,
    },
    /// A normal node that waits for the broker of the node that refers it.
    Referred {
        /// Whether that will give it memory.
        delegate: bool,
    },
    /// A broker that waits for a node referred to it.
    Referral(Box<Referral>),
}

/// The node at the far end, and what is shared with it.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What the far end calls this node.
    pub local_name: NodeName,
    /// Its name.
    pub remote_name: NodeName,
    /// What it is.
    pub remote_type: NodeType,
    /// Its protocol version; never acted upon.
    pub remote_version: u32,
    /// Its features.
    pub remote_features: Features,
    /// The broker by which it came, by name: itself if it is a broker this node connected to, none for a broker's own client.
    pub via: Option<NodeName>,
    /// This end.
    pub side: LinkSide,
    /// The shared memory.
    pub memory: LinkMemory,
    /// Where messages for a sublink go.
    pub sublinks: BTreeMap<SublinkId, RouterKey>,
    /// What came for sublinks that are not bound.
    pub early: Early,
    /// Parcels that have come in part.
    pub pieces: Pieces,
    /// What waits for a buffer that was not announced yet.
    pub waits: BTreeMap<BufferId, Vec<BufferWait>>,
    /// Block sizes being grown, with who waits for each.
    pub growing: BTreeMap<u32, Vec<MemoryWait>>,
    /// Memory asked of it, oldest first.
    pub memory_requests: VecDeque<MemoryRequest>,
    /// Nodes referred to it that it has yet to answer for, by number; their portals.
    pub referrals: BTreeMap<u64, Vec<RouterKey>>,
    /// Number of the next one.
    pub next_referral: u64,
    /// Nodes that it, a broker, has asked for once and that are no clients of this broker.
    pub asked_once: BTreeSet<NodeName>,
    /// Messages of its own that it has a broker relay and that wait for a link there, and their bytes.
    pub parked: (usize, usize),
    /// Other brokers to which this broker introduced it unasked, so that they can relay to it (nodes.md D-5).
    pub known_to: BTreeSet<NodeName>,
}

/// A route that waits for link memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryWait {
    /// Z, which has to make a link state.
    Bypass {
        /// What it seeks.
        seek: SeekBypass,
        /// How often it has asked.
        attempt: u32,
    },
    /// A proxy with a local peer, to be flushed again.
    Flush {
        /// The proxy.
        router: RouterKey,
        /// How often it has asked.
        attempt: u32,
    },
    /// Nobody; parcels just go inline meanwhile.
    Nobody,
}

impl MemoryWait {
    /// The router that waits.
    pub fn router(&self) -> Option<RouterKey> {
        match self {
            MemoryWait::Bypass { seek, .. } => Some(seek.router),
            MemoryWait::Flush { router, .. } => Some(*router),
            MemoryWait::Nobody => None,
        }
    }
}

/// Something that came with a fragment in an unknown buffer (memory.md 9).
#[derive(Clone, Debug)]
pub enum BufferWait {
    /// A parcel whose data lies there.
    Parcel {
        /// It came over this sublink.
        sublink: SublinkId,
        /// The parcel's number.
        number: u64,
        /// Complete but for its data.
        piece: Piece,
    },
    /// The state of a central link.
    State {
        /// The link; none if nobody here wanted it: then its reference on the state is given back.
        sublink: Option<SublinkId>,
        /// Where the state lies.
        fragment: FragmentDescriptor,
    },
}

impl NodeLink {
    /// The peer, if connected.
    pub fn peer(&self) -> Option<&Peer> {
        match &self.phase {
            Phase::Established(peer) => Some(peer),
            Phase::Greeting(_) | Phase::Dead => None,
        }
    }

    /// The peer, if connected.
    pub fn peer_mut(&mut self) -> Option<&mut Peer> {
        match &mut self.phase {
            Phase::Established(peer) => Some(peer),
            Phase::Greeting(_) | Phase::Dead => None,
        }
    }
}

impl Peer {
    /// Whether it may introduce nodes: a broker, or one that a broker said is one though the two are none to each other.
    pub fn may_introduce(&self) -> bool {
        self.remote_type == NodeType::Broker || self.remote_features.contains(Features::MET_AS_NODES)
    }

    /// Number of parcels and states waiting for buffers.
    pub fn buffer_waits(&self) -> usize {
        self.waits.values().map(Vec::len).sum()
    }
}
