//! Checkers: one property a file. Each compares what the ledger says must be true (`ghost/`) with what was seen: by an application, on
//! the wire, or inside the processes. They change nothing but their own counts, and call no library.

mod broken;
mod closure;
mod delivery;
mod graph;
mod honesty;
mod leaks;
mod requires;
mod routes;
mod secrecy;
mod shape;
mod snapshot;
mod status;
mod steps;
#[cfg(test)]
mod tests;
mod wire;

pub use broken::{Broken, Names};
pub use closure::Closure;
pub use delivery::Delivery;
pub use graph::{Graph, Ref, links};
pub use honesty::Honesty;
pub use leaks::Leaks;
pub use requires::{Reached, requirements};
pub use routes::{Routes, Scope};
pub use secrecy::{Blocks, Secrecy};
pub use shape::Shape;
pub use snapshot::{Sight, Snapshot};
pub use status::Status;
pub use steps::Steps;
pub use wire::{Seen, Watch};

use crate::ghost::EndId;
use crate::hostile::Hostility;
use crate::run::CheckCount;

/// What a checker found wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Name of the checker.
    pub checker: &'static str,
    /// The property that does not hold.
    pub property: &'static str,
    /// What was expected and what was found.
    pub text: String,
    /// The process it is about.
    pub process: Option<u32>,
    /// The portal it is about.
    pub end: Option<EndId>,
}

impl Violation {
    /// A violation about nothing in particular.
    pub fn new(checker: &'static str, property: &'static str, text: impl Into<String>) -> Box<Violation> {
        Box::new(Violation { checker, property, text: text.into(), process: None, end: None })
    }

    /// Says which process it is about.
    pub fn in_process(mut self: Box<Self>, process: u32) -> Box<Violation> {
        self.process = Some(process);
        self
    }

    /// Says which portal it is about.
    pub fn at(mut self: Box<Self>, end: EndId) -> Box<Violation> {
        self.end = Some(end);
        self
    }
}

/// What a check answers.
pub type Checked<T = ()> = Result<T, Box<Violation>>;

/// How often a checker compared something, and what it let pass.
#[derive(Clone, Default, Debug)]
pub struct Tally {
    checks: u64,
    exemptions: Vec<(&'static str, u64)>,
}

impl Tally {
    /// Something was compared.
    pub fn count(&mut self) {
        self.checks += 1;
    }

    /// So many things were compared.
    pub fn add(&mut self, checks: u64) {
        self.checks += checks;
    }

    /// Something that breaks the rule was let pass, for this reason.
    pub fn exempt(&mut self, reason: &'static str) {
        match self.exemptions.iter_mut().find(|(name, _)| *name == reason) {
            Some((_, count)) => *count += 1,
            None => self.exemptions.push((reason, 1)),
        }
    }

    /// How often this reason was given.
    pub fn exempted(&self, reason: &str) -> u64 {
        self.exemptions.iter().find(|(name, _)| *name == reason).map_or(0, |(_, count)| *count)
    }

    /// The counts, for people.
    pub fn report(&self, name: &'static str) -> CheckCount {
        CheckCount { name, checks: self.checks, exemptions: self.exemptions.clone() }
    }
}

/// All checkers of a run but the wire's, which sits in the engine.
#[derive(Clone, Default, Debug)]
pub struct Checks {
    /// Parcels.
    pub delivery: Delivery,
    /// Closure.
    pub closure: Closure,
    /// What portals say of themselves.
    pub status: Status,
    /// Routes lost to cuts.
    pub broken: Broken,
    /// Routes at rest.
    pub shape: Shape,
    /// Routers after a step.
    pub steps: Steps,
    /// Links and whole routes in the middle of everything.
    pub routes: Routes,
    /// What is left when all is closed.
    pub leaks: Leaks,
    /// Who knows what.
    pub secrecy: Secrecy,
    /// Blame among honest nodes.
    pub honesty: Honesty,
    /// What a liar sees and costs.
    pub hostility: Hostility,
}
