//! Drivers and clocks for ipcz.
//!
//! [`in_process`] connects nodes of one address space, synchronously: everything happens on the caller's stack, and a
//! transmission re-enters the receiving process. [`clock`] tells a process the machine's time.

pub mod clock;
pub mod in_process;

pub use clock::MonotonicClock;
pub use in_process::InProcess;
