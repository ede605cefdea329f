//! The process: the core behind its one lock, and the carrying out of effects once the lock is released (design.md 3).
//!
//! Calls that need a foreign answer look under the lock, ask outside it, and commit under the lock after validating
//! everything again. No foreign code ever runs inside the lock.

mod ask;
mod calls;
mod carry;
mod incoming;
mod process;

pub use calls::{ConnectTo, NodeOptions, Received, TrapRefused};
pub use process::Process;
