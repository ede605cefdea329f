//! ipcz: portal-based inter-process communication.
//!
//! Applications open pairs of entangled *portals*; what goes into one comes out of the other, portals included, and
//! wherever two portals end up, the library links them directly. Every pair of connected *nodes* shares memory, so that
//! data moves without system calls.
//!
//! # The house
//!
//! One deterministic core, many shells. The core (`core`, `node`, `routing`, `memory`, `wire`) is a state machine that
//! does no I/O, reads no clock and takes no lock; a [`Process`] pairs it with a [`driver::Driver`] and a
//! [`clock::Clock`]. Imports only point down:
//!
//! | floor | modules |
//! | --- | --- |
//! | 7 | `ffi` (feature `capi`): the C ABI |
//! | 6 | [`api`]: the process, its one lock, carrying out effects |
//! | 5 | [`core`](mod@crate::core): one value, one method an input |
//! | 4 | [`node`]: nodes and node links; [`routing`]: routers, bypass, closure |
//! | 3 | [`memory`]: a link's shared memory |
//! | 2 | [`wire`]: messages and bytes |
//! | 1 | [`application`], [`driver`], [`clock`], [`ids`], [`limits`], [`mapping`], [`probe`], [`trap`]: the plain types |
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

#[cfg(feature = "abi")]
#[path = "ffi/abi.rs"]
pub mod abi;
pub mod api;
pub mod application;
pub mod arena;
pub mod clock;
pub mod core;
pub mod driver;
pub mod error;
#[cfg(feature = "capi")]
pub mod ffi;
pub mod ids;
#[cfg(feature = "inspect")]
#[doc(hidden)]
pub mod inspect;
pub mod limits;
pub mod mapping;
pub mod memory;
pub mod node;
pub mod planted;
pub mod probe;
pub mod routing;
pub mod trap;
pub mod wire;

pub use api::{Attachment, BoxContents, ObjectBox, Unboxed};
pub use api::{Connect, ConnectTo, LiveObjects, Node, NodeOptions, Parcel, Portal, Process, PutRefused, TrapRefused};
pub use api::{EndGet, GetFlags, GetRefused, Received};
pub use application::{Application, ApplicationObject, Serialized};
pub use error::Error;
