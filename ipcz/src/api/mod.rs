//! The process: the core behind its one lock, and the carrying out of effects once the lock is released (design.md 3).
//!
//! Calls that need a foreign answer look under the lock, ask outside it, and commit under the lock after validating
//! everything again. No foreign code ever runs inside the lock.

mod ask;
mod boxes;
mod calls;
mod carry;
mod gets;
mod incoming;
mod live;
mod node;
mod object_box;
mod portal;
mod process;
mod puts;
mod wait;

pub use crate::core::BoxContents;
pub use crate::node::NodeOptions;
pub use crate::routing::{BeginGetFlags, EndGet, GetRefused, ParcelReader, ParcelWriter};
pub use calls::{Connect, ConnectTo, TrapRefused};
pub use gets::{GetFlags, Getting, Got, Received};
pub use live::LiveObjects;
pub use node::Node;
pub use object_box::{ObjectBox, Unboxed};
pub use portal::{Attachment, Get, Parcel, Portal, Put, PutRefused};
pub use process::Process;
pub use puts::Putting;
pub use wait::Parcels;
