//! Offline reports of simulated runs: plain records in, one self-contained HTML page out.
//!
//! This crate knows no simulator and does not depend on `ipcz`. Whoever ran something fills a [`Report`] and calls [`html`].
//! The page loads nothing, runs no script, and is a pure function of the report; what is too large for a page is cut to a
//! sample, and the page says so.

mod dot;
pub mod format;
mod layout;
mod page;
mod record;
mod summary;

pub use dot::dot;
pub use page::{ReportError, html};
pub use record::{
    Checker, Count, Demand, Failure, GraphLink, GraphNode, GraphRouter, LinkKind, Report, Requirement, RouteGraph, RouterKind, RouterRef,
    Run, SeedResult, Setting, Sweep, TraceLine,
};
pub use summary::Verdict;
