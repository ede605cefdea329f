//! Deterministic simulator for ipcz: a run is a pure function of scenario and choices (design.md 5).

pub mod app;
pub mod boxes;
pub mod check;
pub mod choice;
pub mod cli;
pub mod code;
pub mod events;
pub mod fault;
pub mod fine;
pub mod ghost;
pub mod hostile;
pub mod leaks;
pub mod policy;
pub mod replay;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod swarm;
pub mod trace;
pub mod world;
