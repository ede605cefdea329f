//! Simulator.
pub mod scenario;
