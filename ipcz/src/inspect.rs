//! stub: signatures only. Read-only views of a process's core (feature `inspect`).
#![allow(missing_docs, unused_variables)]
use crate::ids::{Handle, LinkKey, LinkSide, NodeKey, NodeName, NodeType, PairKey, RouterKey, SublinkId};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind { Central, PeripheralInward, PeripheralOutward }

/// A router link as its router holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkView {
    /// To `peer` in the same process (none once it let go).
    Local { pair: PairKey, side: LinkSide, peer: Option<RouterKey>, status: u32 },
    /// Over a node link. `status` is the link-state word of a central link whose memory is known.
    Remote { link: LinkKey, sublink: SublinkId, kind: LinkKind, side: LinkSide, status: Option<u32> },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EdgeView { pub primary: Option<LinkView>, pub decaying: Option<LinkView>, pub length_to: Option<u64>, pub length_from: Option<u64> }

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueView { pub next: u64, pub length: u64, pub final_length: Option<u64>, pub available: usize, pub bytes: usize, pub beyond_gap: usize }

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterView {
    pub key: RouterKey,
    /// The portal an application holds, if it is one.
    pub portal: Option<Handle>,
    /// Whether a handle, a queued parcel or a connection attempt keeps it.
    pub held: bool,
    pub out: EdgeView,
    /// Present iff proxy.
    pub inward: Option<EdgeView>,
    pub inbound: QueueView,
    pub outbound: QueueView,
    pub peer_closed: bool,
    pub disconnected: bool,
    /// Routers of portals attached to parcels waiting in this router's queues.
    pub carried: Vec<RouterKey>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeLinkView {
    pub key: LinkKey, pub node: NodeKey, pub established: bool, pub dead: bool,
    pub local_name: NodeName, pub remote_name: NodeName, pub remote_type: Option<NodeType>, pub side: LinkSide,
    /// Bound sublinks and the routers they lead to.
    pub sublinks: Vec<(SublinkId, RouterKey)>,
    /// Blocks taken in this end's view of the link memory, summed over all buffers: found by walking the free lists.
    pub blocks_taken: u64,
    pub outbox: usize, pub buffers: usize, pub buffer_waits: usize,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeView { pub key: NodeKey, pub name: NodeName, pub kind: NodeType, pub broker_link: Option<LinkKey>, pub pending_introductions: Vec<NodeName> }

/// Running totals since the process began.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals { pub bypasses: u64, pub forwarded: u64, pub routers_made: u64, pub links_lost: u64, pub refused: u64 }

/// What can be seen of a core.
pub struct View<'a>(std::marker::PhantomData<&'a ()>);

impl View<'_> {
    pub fn routers(&self) -> Vec<RouterView> { todo!() }
    pub fn router(&self, key: RouterKey) -> Option<RouterView> { todo!() }
    pub fn router_of(&self, portal: Handle) -> Option<RouterKey> { todo!() }
    pub fn links(&self) -> Vec<NodeLinkView> { todo!() }
    pub fn link(&self, key: LinkKey) -> Option<NodeLinkView> { todo!() }
    /// The router bound to a sublink.
    pub fn bound(&self, link: LinkKey, sublink: SublinkId) -> Option<RouterKey> { todo!() }
    pub fn nodes(&self) -> Vec<NodeView> { todo!() }
    /// Number of routers that have an inward edge; O(1).
    pub fn proxies(&self) -> usize { todo!() }
    pub fn router_count(&self) -> usize { todo!() }
    pub fn handle_count(&self) -> usize { todo!() }
    /// Driver objects the core owns (transports and memory).
    pub fn objects_owned(&self) -> usize { todo!() }
    /// Questions to the driver, waits for links and waits for memory that are open.
    pub fn waits(&self) -> usize { todo!() }
    pub fn totals(&self) -> Totals { todo!() }
    /// Why links were dropped for a peer's fault, newest last: (link, reason).
    pub fn violations(&self) -> Vec<(LinkKey, String)> { todo!() }
}
