//! Nodes and the links between them: handshakes, referrals, introductions, link memory's growth, outboxes (docs/spec/nodes.md).
//!
//! Nothing here knows how a route works: a router is a key that a sublink leads to. What routers must learn comes out
//! as a [`NodeEvent`]; what the driver must do, as an [`Ask`] or in an outbox. No I/O, no time, no randomness.

pub mod capacity;
pub mod delegate;
pub mod early;
pub mod handshake;
pub mod introducing;
pub mod introduction;
pub mod link;
mod loss;
pub mod network;
pub mod outbox;
pub mod parking;
pub mod pieces;
pub mod referral;
pub mod request;
#[cfg(feature = "inspect")]
mod sound;

pub use link::{BufferWait, MemoryWait, NodeLink, Peer, Phase};
pub use network::{Doomed, Network, Node, NodeEvent, NodeOptions};
pub use outbox::{Batch, Envelope, LinkOp, Outbox, Outgoing, ParcelData, Part, Slot};
pub use parking::{Parked, Parking};
pub use pieces::{Arrival, Gathered, Piece, Place};
pub use request::{Answer, Ask, Introduced, Means, Request};
