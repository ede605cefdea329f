//! What a world is told before it begins.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipcz::driver::Driver;

use super::order::Order;
use super::pages::Template;
use crate::fault::Strengths;
use crate::hostile::Lies;

/// How long a message is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkProfile {
    /// Nanoseconds that every message takes.
    pub latency_ns: u64,
    /// At most this many nanoseconds more, by choice; order within a transport stays.
    pub jitter_ns: u32,
    /// Whether driver objects may travel here; else they must be relayed by the broker (driver.md 4).
    pub carries_objects: bool,
}

impl Default for LinkProfile {
    fn default() -> LinkProfile {
        LinkProfile { latency_ns: 1_000, jitter_ns: 0, carries_objects: true }
    }
}

/// The nth message with a message id is silently lost: no driver may do this, so a checker must notice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DropRule {
    /// Message id (wire.md 2).
    pub message: u8,
    /// Which one, counted from 0 over the whole world.
    pub nth: u64,
}

/// What a process with threads of its own does to the order of its messages (routing.md 7): see `loose.rs`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Looseness {
    /// What upstream's threads can do.
    Threads,
    /// Also: a parcel overtakes the one that announces its sublink (hazards.md RC-03).
    Early,
}

/// Makes the driver that a process is given of the world's own: one around it, that counts, traces or fails calls. Asked for each process,
/// and again for each in a copy of the world.
#[derive(Clone)]
pub struct Wrap(pub Arc<Around>);

type Around = dyn Fn(u32, Arc<dyn Driver>) -> Arc<dyn Driver> + Send + Sync;

impl fmt::Debug for Wrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wrap")
    }
}

/// What a world is told before it begins.
#[derive(Clone, Debug)]
pub struct Config {
    /// How the next event is found.
    pub order: Order,
    /// Links between processes not named in `links`.
    pub link: LinkProfile,
    /// Links of particular pairs of processes, lower number first.
    pub links: BTreeMap<(u32, u32), LinkProfile>,
    /// Whether the order of events at one instant is a choice instead of first in first out.
    pub chosen_ties: bool,
    /// What an initialised primary buffer looks like: link memory that still does costs nothing.
    pub template: Option<Template>,
    /// How many of the last messages are kept for reports.
    pub recent: usize,
    /// Messages lost on purpose.
    pub drops: Vec<DropRule>,
    /// Faults that may strike once they are armed.
    pub faults: Strengths,
    /// By process: whether it is a broker, as far as faults care.
    pub brokers: Vec<bool>,
    /// Processes whose driver allocates no memory.
    pub memoryless: BTreeSet<u32>,
    /// Processes that hold messages back.
    pub loose: BTreeMap<u32, Looseness>,
    /// Processes that lie once they are let.
    pub hostile: Vec<u32>,
    /// How.
    pub lies: Lies,
    /// A driver around each process's.
    pub wrap: Option<Wrap>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            order: Order::Timed,
            link: LinkProfile::default(),
            links: BTreeMap::new(),
            chosen_ties: false,
            template: None,
            recent: 256,
            drops: Vec::new(),
            faults: Strengths::new(),
            brokers: Vec::new(),
            memoryless: BTreeSet::new(),
            loose: BTreeMap::new(),
            hostile: Vec::new(),
            lies: Lies::default(),
            wrap: None,
        }
    }
}

impl Config {
    /// The profile of links between two processes. To and from a broker objects can go in any case.
    pub fn profile(&self, a: u32, b: u32) -> LinkProfile {
        let profile = self.links.get(&(a.min(b), a.max(b))).copied().unwrap_or(self.link);
        let broker = |process: u32| self.brokers.get(process as usize) == Some(&true);
        LinkProfile { carries_objects: profile.carries_objects || broker(a) || broker(b), ..profile }
    }
}
