//! Every way a small run can go, depth first: the last decision that has another option takes it, all after it begin at 0 again.

use std::sync::Arc;

use super::keyed::Keyed;
use super::{Feeder, Site, Source};

/// How much of a run is enumerated. Decisions beyond the bounds take option 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Decisions of a run that may be other than option 0: the first so many that have more than one option.
    pub depth: usize,
    /// At most so many of them are.
    pub deviations: usize,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds { depth: usize::MAX, deviations: usize::MAX }
    }
}

/// Enumerates the ways of a run: run with [`Odometer::source`], then [`Odometer::next`] with what that source has become.
#[derive(Clone, Debug)]
pub struct Odometer {
    bounds: Bounds,
    prefix: Arc<[u32]>,
    complete: bool,
    runs: u64,
}

impl Odometer {
    /// At the run in which every decision is option 0.
    pub fn new(bounds: Bounds) -> Odometer {
        Odometer { bounds, prefix: [].into(), complete: true, runs: 0 }
    }

    /// Decides the run that is next.
    pub fn source(&self) -> Source {
        Source::new(Feeder::Path(Path { prefix: Arc::clone(&self.prefix), taken: Vec::new() }), Keyed::new(0, ""))
    }

    /// Goes on behind the run that `source` decided; false if that was the last one.
    pub fn next(&mut self, source: &Source) -> bool {
        let Feeder::Path(Path { taken, .. }) = &source.feeder else { return false };
        self.runs += 1;
        let within = &taken[..taken.len().min(self.bounds.depth)];
        self.complete &= within.len() == taken.len();
        let mut before: usize = within.iter().filter(|(chosen, _)| *chosen > 0).count();
        for (at, &(chosen, options)) in within.iter().enumerate().rev() {
            before -= usize::from(chosen > 0);
            if chosen + 1 < options {
                if before < self.bounds.deviations {
                    self.prefix = within[..at].iter().map(|(chosen, _)| *chosen).chain([chosen + 1]).collect();
                    return true;
                }
                self.complete = false;
            }
        }
        false
    }

    /// Whether no way was left out for the bounds, so far.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.runs
    }
}

/// The feeder of one run.
#[derive(Clone, Debug)]
pub(super) struct Path {
    prefix: Arc<[u32]>,
    /// What was chosen, out of how many; only decisions that have more than one option.
    taken: Vec<(u32, u32)>,
}

impl Path {
    pub fn choose(&mut self, site: Site, options: u32) -> u32 {
        if options <= 1 || matches!(site, Site::Policy(_)) {
            return 0;
        }
        let chosen = self.prefix.get(self.taken.len()).copied().unwrap_or(0).min(options - 1);
        self.taken.push((chosen, options));
        chosen
    }
}
