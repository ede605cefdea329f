//! Nodes and the links between them: handshakes, introductions, link memory's growth, outboxes (docs/spec/nodes.md).
//!
//! Nothing here knows how a route works: a router is a key that a sublink leads to. What routers must learn comes out
//! as a [`NodeEvent`]; what the driver must do, as an [`Ask`] or in an outbox. No I/O, no time, no randomness.

pub mod capacity;
pub mod early;
pub mod handshake;
pub mod introduction;
pub mod link;
pub mod network;
pub mod outbox;
pub mod pieces;

pub use link::{BufferWait, MemoryWait, NodeLink, Peer, Phase};
pub use network::{Answer, Ask, Doomed, Introduced, Network, Node, NodeEvent, Request};
pub use outbox::{Batch, Envelope, LinkOp, Outbox, Outgoing, ParcelData, Part, Slot};
pub use pieces::{Arrival, Gathered, Piece, Place};
