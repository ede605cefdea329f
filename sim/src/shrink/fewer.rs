//! A failing run with fewer decisions: for failures that hang on what steps can't say, when portals are read or how a fault struck at a
//! workload that is drawn. The scenario stays; what its log no longer names is option 0.

use super::{Ran, Signature, Unshrunk, ddmin};
use crate::choice::{Deviation, Log, Source};
use crate::run::{Failure, Outcome, RunOptions};
use crate::scenario::Scenario;
use crate::swarm::expand;

/// A failing run that takes few decisions.
#[derive(Clone, Debug)]
pub struct Fewer {
    /// What stayed the same.
    pub signature: Signature,
    /// How it is run.
    pub options: RunOptions,
    /// What it came to; with its log.
    pub outcome: Outcome,
    /// How it failed.
    pub failure: Failure,
    /// Decisions that were not option 0 in the first run.
    pub before: usize,
    /// Its events.
    pub events: u64,
    /// Runs that it took.
    pub runs: u64,
    /// Whether it stopped because nothing more could be left out, rather than because that was `enough`.
    pub complete: bool,
}

/// Leaves out decisions of the failing run of `scenario` with `options`. Parameters are those of [`shrink`](super::shrink).
///
/// # Errors
/// It does not fail.
pub fn fewer(
    scenario: &Scenario,
    options: &RunOptions,
    runner: &mut dyn FnMut(&Scenario, &RunOptions) -> Ran,
    enough: &mut dyn FnMut(u64) -> bool,
) -> Result<Fewer, Unshrunk> {
    let mut runs = 0;
    let mut take = |options: &RunOptions| {
        runs += 1;
        let ran = runner(scenario, &RunOptions { log: true, ..options.clone() });
        let (failure, outcome) = (ran.failure?, ran.outcome?);
        let source = options.source.clone().unwrap_or_else(|| Source::seeded(options.seed, &scenario.name));
        let signature = Signature::of(&expand(scenario, &mut source.clone()), &failure);
        Some((signature, failure, outcome))
    };
    let (signature, failure, outcome) = take(options).ok_or(Unshrunk::Holds)?;
    let log = outcome.log.clone().unwrap_or_default();
    let (before, events) = (log.deviations.len(), outcome.events);
    let with = |deviations: &[Deviation]| {
        let log = Log { deviations: deviations.to_vec(), ..log.clone() };
        RunOptions { source: Some(Source::replay(&log)), ..options.clone() }
    };
    let mut best = (options.clone(), failure, outcome);
    let (mut complete, mut tried) = (true, 1);
    ddmin(log.deviations.clone(), &mut |left| {
        if enough(tried) {
            complete = false;
            return false;
        }
        tried += 1;
        let options = with(left);
        let found = take(&options).filter(|(now, ..)| *now == signature);
        found.map(|(_, failure, outcome)| best = (options, failure, outcome)).is_some()
    });
    let (options, failure, outcome) = best;
    Ok(Fewer { signature, options, outcome, failure, before, events, runs, complete })
}
