//! Routes: routers, their edges and queues, moving, bypass, closure (docs/spec/routing.md). The heart.
//!
//! Everything here is `&mut` code inside one input of the core. A router names a node link only by its key and never
//! reaches one: what must happen there comes out as a [`RouterOp`], which the core has `node/` carry out in the same
//! input. Routers do not call each other's flush: they mark each other dirty. No I/O, no time, no randomness.

pub mod boxes;
pub mod bridge;
pub mod bypass;
pub mod closure;
pub mod data;
pub mod edge;
pub mod flush;
pub mod link;
pub mod parcel;
pub mod queue;
pub mod router;
pub mod table;
pub mod transactions;
pub mod transfer;
pub mod traps;

pub use boxes::Boxed;
pub use bridge::MergeRefused;
pub use data::{ParcelReader, ParcelWriter};
pub use edge::{Decay, Edge};
pub use link::{Kind, LocalPair, RemoteLink, RouterLink, State, Sublink};
pub use parcel::{Object, Parcel, Payload};
pub use queue::{ParcelQueue, WINDOW};
pub use router::{PutRefused, Router, Trap};
pub use table::{Broken, Neighbour, Origin, RouterOp, Routing, SeekBypass, Totals, Violation};
pub use transactions::{BeginGetFlags, EndGet, GetRefused, GetRoom, Transactions};
pub use transfer::MovePlan;
