//! ipcz: portal-based inter-process communication.
#![forbid(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod api;
pub mod arena;
pub mod clock;
pub mod driver;
pub mod ids;
#[cfg(feature = "inspect")]
pub mod inspect;
pub mod limits;
pub mod mapping;
pub mod memory;
pub mod trap;
pub mod wire;
