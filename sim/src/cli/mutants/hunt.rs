//! Does the simulator find a bug that is known to be there? It is hunted with a portfolio of trials: scenarios, each with seeds from 1
//! up. Whichever trial has cost least so far is next, so that what is cheap to find is found at once and no trial starves. A run only
//! counts as a find if the same run without the bug holds.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use ipcz::planted::{Depth, Fault};

use super::super::play::{Finding, Gauge, Once, Plan, caught, drive, once};
use super::portfolio::at_operations;
use crate::choice::Source;
use crate::fine::{Faults, Fine};
use crate::policy::{Length, PolicySpec};
use crate::run::{Run, measure, measure_fine};
use crate::scenario::Scenario;

/// What a run costs besides its events, in events; and how many operations of depth L1 cost as much as one.
const RUN: u64 = 200;
const OPERATIONS: u64 = 2;

/// A way to look for bugs.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The scenario with its settings, as `run` takes them.
    pub name: String,
    /// What is run.
    pub scenario: Scenario,
    /// Between which steps others may run.
    pub depth: Depth,
    /// What orders runs at L0.
    pub policy: PolicySpec,
    /// What goes wrong at L1.
    pub faults: Faults,
    /// How long a run is about, in what its policy counts; measured once.
    pub length: OnceLock<Length>,
}

impl Trial {
    fn length(&self) -> Length {
        *self.length.get_or_init(|| match self.depth {
            Depth::Message => measure(&self.scenario),
            Depth::Operation => measure_fine(&self.scenario, &Fine { faults: self.faults, ..Fine::default() }),
        })
    }

    /// What orders a run.
    pub fn policy(&self, seed: u64) -> PolicySpec {
        match self.depth {
            Depth::Message => self.policy.of_seed(seed),
            Depth::Operation => at_operations(seed),
        }
    }
}

/// Where a bug showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Find {
    /// Which of the trials.
    pub trial: usize,
    /// Its seed.
    pub seed: u64,
    /// Who noticed.
    pub checker: String,
    /// What did not hold.
    pub property: String,
    /// How it did not hold.
    pub text: String,
}

/// What came of hunting a bug.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Hunt {
    /// Where it showed first.
    pub find: Option<Find>,
    /// A run that failed with the bug and without it: the fault of the scenario, the checkers or the library.
    pub alarm: Option<Find>,
    /// Runs with the bug.
    pub runs: u64,
}

/// A trial in a world with a bug, or without.
struct Track<'a> {
    trial: &'a Trial,
    plan: Plan,
    /// At depth L1: the world from where it begins, of which each run takes a copy.
    base: Option<Run>,
}

impl<'a> Track<'a> {
    fn new(trial: &'a Trial, plant: Option<&str>, stop: &Arc<AtomicBool>) -> Track<'a> {
        let fine = match trial.depth {
            Depth::Message => None,
            Depth::Operation => Some(Fine { faults: trial.faults, ..Fine::default() }),
        };
        let plan = Plan {
            scenario: trial.scenario.clone(),
            plant: plant.map(str::to_owned),
            verify: None,
            policy: trial.policy.clone(),
            length: Some(trial.length()),
            fine,
            stop: Arc::clone(stop),
        };
        Track { trial, plan, base: None }
    }

    fn play(&mut self, seed: u64) -> Once {
        if self.trial.depth == Depth::Message {
            return once(&self.plan.scenario, &self.plan.options(seed), &Gauge::default());
        }
        if self.base.is_none() {
            let reached = caught(|| {
                let mut base = Run::new(&self.plan.scenario, &self.plan.options(1));
                base.go_to_fine().then_some(base)
            });
            match reached {
                Ok(Some(base)) => self.base = Some(base),
                // It is over before depth L1 begins; what came of it is told as always.
                _ => return once(&self.plan.scenario, &self.plan.options(1), &Gauge::default()),
            }
        }
        let copied = caught(|| {
            let mut run = self.base.as_ref()?.fork();
            run.decide_by(seed, Source::seeded(seed, &self.plan.scenario.name));
            run.rule_by(self.trial.policy(seed));
            Some(run)
        });
        match copied {
            Ok(Some(run)) => drive(run, &Gauge::default()),
            _ => once(&self.plan.scenario, &self.plan.options(seed), &Gauge::default()),
        }
    }
}

/// Runs trials (of one depth, if one is given) until the bug shows or it is `enough`, which is told each trial and seed before it is run.
pub fn hunt(
    fault: &Fault,
    trials: &[Trial],
    depth: Option<Depth>,
    stop: &Arc<AtomicBool>,
    enough: &mut dyn FnMut(usize, u64) -> bool,
) -> Hunt {
    let mut tracks: Vec<_> = trials.iter().map(|_| None).collect();
    let (mut seeds, mut costs) = (vec![0; trials.len()], vec![0; trials.len()]);
    let eligible: Vec<usize> = (0..trials.len()).filter(|trial| depth.is_none_or(|depth| trials[*trial].depth == depth)).collect();
    let mut hunt = Hunt::default();
    while let Some(next) = eligible.iter().copied().min_by_key(|trial| costs[*trial]) {
        let seed = seeds[next] + 1;
        if stop.load(Relaxed) || enough(next, seed) {
            break;
        }
        seeds[next] = seed;
        hunt.runs += 1;
        let once = tracks[next].get_or_insert_with(|| Track::new(&trials[next], Some(fault.name), stop)).play(seed);
        costs[next] += RUN + once.outcome.as_ref().map_or(0, |outcome| outcome.events + outcome.fine.operations() / OPERATIONS);
        let Some(find) = shown(next, seed, &once) else { continue };
        if holds(&trials[next], seed, stop) {
            hunt.find = Some(find);
        } else {
            hunt.alarm = Some(find);
        }
        break;
    }
    hunt
}

/// Whether a run of a trial without any bug is as it should be.
pub fn holds(trial: &Trial, seed: u64, stop: &Arc<AtomicBool>) -> bool {
    shown(0, seed, &Track::new(trial, None, stop).play(seed)).is_none()
}

/// A violated property. What a scenario requires is no property: at another size it may not come about.
fn shown(trial: usize, seed: u64, once: &Once) -> Option<Find> {
    match &once.finding {
        Finding::Violated(failure) => {
            let (checker, property) = (failure.checker.to_owned(), failure.property.to_owned());
            Some(Find { trial, seed, checker, property, text: failure.text.clone() })
        }
        Finding::Held | Finding::Unmet | Finding::Differs(_) | Finding::Nothing | Finding::Stopped => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::portfolio::portfolio;
    use super::*;
    use ipcz::planted::CATALOGUE;

    fn never() -> Arc<AtomicBool> {
        Arc::new(AtomicBool::new(false))
    }

    fn fault(name: &str) -> &'static Fault {
        CATALOGUE.iter().find(|fault| fault.name == name).unwrap()
    }

    /// Hunts at one depth with at most so many runs.
    fn within(runs: u64, name: &str, trials: &[Trial], depth: Depth) -> Hunt {
        let mut begun = 0;
        hunt(fault(name), trials, Some(depth), &never(), &mut |_, _| {
            begun += 1;
            begun > runs
        })
    }

    #[test]
    fn bugs_of_many_kinds_are_found_in_few_runs() {
        let trials = portfolio().unwrap();
        for name in [
            "block-freed-early",
            "waiting-forgotten",
            "state-kept",
            "second-sublink-uncounted",
            "length-off-by-one",
            "decay-not-looked-at",
            "lock-ignored",
            "disconnection-kept",
            "waiter-forgotten",
            "object-kept",
        ] {
            let hunt = within(40, name, &trials, Depth::Message);
            assert!(hunt.find.is_some() && hunt.alarm.is_none(), "{name}: {hunt:?}");
        }
    }

    #[test]
    fn a_run_that_fails_without_the_bug_is_no_find() {
        let canary = include_str!("../../../../scenarios/canary.toml");
        let scenario = Scenario::parse("canary.toml", canary, &[]).unwrap();
        let (depth, policy, faults, length) = (Depth::Message, PolicySpec::Timed, Faults::default(), OnceLock::new());
        let trial = Trial { name: "canary".to_owned(), scenario, depth, policy, faults, length };
        let hunt = within(3, "gap-filled-silently", &[trial], Depth::Message);
        assert!(hunt.find.is_none() && hunt.alarm.is_some(), "{hunt:?}");
    }

    #[test]
    fn what_needs_preemption_is_found_at_depth_l1_and_not_above() {
        let trials = portfolio().unwrap();
        for name in ["pop-load-store", "push-load-store"] {
            let hunt = within(500, name, &trials, Depth::Operation);
            assert!(hunt.find.is_some() && hunt.alarm.is_none(), "{name}: {hunt:?}");
            assert_eq!(within(5, name, &trials, Depth::Message), Hunt { runs: 5, ..Hunt::default() }, "{name}");
        }
    }
}
