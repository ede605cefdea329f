//! The one sentence a report begins with.

use crate::format::{number, plural, time};
use crate::record::Report;

/// How a run ended; also the style of the sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every property was checked and held, every requirement was met.
    Held,
    /// Nothing was violated, but too little happened to call it a success.
    Weak,
    /// A property did not hold.
    Failed,
}

impl Verdict {
    /// The verdict's word.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Held => "held",
            Verdict::Weak => "weak",
            Verdict::Failed => "failed",
        }
    }
}

impl Report {
    /// Whether what ran held. A report without checks or with an unmet requirement has not shown anything.
    pub fn verdict(&self) -> Verdict {
        if self.failure.is_some() || self.failed_seeds() > 0 {
            Verdict::Failed
        } else if self.checks() == 0 || self.unmet() > 0 {
            Verdict::Weak
        } else {
            Verdict::Held
        }
    }

    /// What ran and whether it held; for a failure also property, place, virtual time, seed, step and replay command.
    pub fn sentence(&self) -> String {
        let seeds = match &self.sweep {
            Some(sweep) => format!("over {}", plural(sweep.seeds, "seed")),
            None => format!("with seed {}", self.run.seeds),
        };
        let what = format!("Scenario {} {seeds}", self.run.scenario);
        if let Some(f) = &self.failure {
            let count = match &self.sweep {
                Some(sweep) => format!(" for {} of them", number(sweep.failed)),
                None => String::new(),
            };
            return format!(
                "{what} failed{count}: {} did not hold at {}, at virtual time {} (seed {}, step {}); replay with: {}",
                f.property,
                f.place,
                time(f.virtual_ns),
                f.seed,
                number(f.step),
                f.replay
            );
        }
        let checks = || format!("{} by {}", plural(self.checks(), "check"), plural(self.checkers.len() as u64, "checker"));
        match self.verdict() {
            Verdict::Failed => format!("{what} failed for {}.", plural(self.failed_seeds(), "seed")),
            Verdict::Weak if self.checks() == 0 => format!("{what} ran, but nothing was checked."),
            Verdict::Weak => {
                format!("{what} violated nothing ({}), but missed {}.", checks(), plural(self.unmet(), "requirement"))
            }
            Verdict::Held => format!("{what} held: {}, no violation.", checks()),
        }
    }

    fn checks(&self) -> u64 {
        self.checkers.iter().fold(0, |sum, checker| sum.saturating_add(checker.checks))
    }

    fn unmet(&self) -> u64 {
        self.requirements.iter().filter(|r| !r.met()).count() as u64
    }

    fn failed_seeds(&self) -> u64 {
        let seen = self.results.iter().filter(|r| !r.held).count() as u64;
        self.sweep.as_ref().map_or(seen, |sweep| sweep.failed.max(seen))
    }
}
