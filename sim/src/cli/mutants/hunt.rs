//! Does the simulator find a bug that is known to be there? It is hunted with a portfolio of trials: scenarios, each with seeds from 1
//! up. Whichever trial has cost least so far is next, so that what is cheap to find is found at once and no trial starves. A run only
//! counts as a find if the same run without the bug holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ipcz::planted::{Depth, Fault};

use super::super::play::{Finding, Gauge, Plan, Played};
use crate::policy::{Length, PolicySpec};
use crate::scenario::Scenario;

/// What a run costs besides its events, in events.
const RUN: u64 = 200;

/// A way to look for bugs.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The scenario with its settings, as `run` takes them.
    pub name: String,
    /// What is run.
    pub scenario: Scenario,
    /// How events are ordered, and how long a run is about.
    pub policy: PolicySpec,
    /// Measured once.
    pub length: Length,
    /// Between which steps others may run.
    pub depth: Depth,
}

/// Where a bug showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Find {
    /// Which of the trials.
    pub trial: usize,
    /// Its seed.
    pub seed: u64,
    /// Who noticed.
    pub checker: &'static str,
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

/// Runs trials until the bug shows, so many runs are `enough`, or `stop` is set.
pub fn hunt(fault: &Fault, trials: &[Trial], stop: &Arc<AtomicBool>, enough: &mut dyn FnMut(u64) -> bool) -> Hunt {
    let plan = |trial: &Trial, plant| Plan {
        scenario: trial.scenario.clone(),
        plant,
        verify: None,
        policy: trial.policy.clone(),
        length: Some(trial.length),
        fine: None,
        stop: Arc::clone(stop),
    };
    let plans: Vec<[Plan; 2]> = trials.iter().map(|trial| [plan(trial, Some(fault.name.to_owned())), plan(trial, None)]).collect();
    let gauges: Vec<Gauge> = trials.iter().map(|_| Gauge::default()).collect();
    let mut seeds = vec![0; trials.len()];
    let mut hunt = Hunt::default();
    while !stop.load(Relaxed) && !enough(hunt.runs) {
        let cost = |trial: &usize| gauges[*trial].events.load(Relaxed) + RUN * seeds[*trial];
        let Some(next) = (0..trials.len()).min_by_key(cost) else { break };
        seeds[next] += 1;
        hunt.runs += 1;
        let [with, without] = &plans[next];
        let Some(find) = shown(next, &with.play(seeds[next], &gauges[next])) else { continue };
        match shown(next, &without.play(seeds[next], &Gauge::default())) {
            Some(_) => hunt.alarm = Some(find),
            None => hunt.find = Some(find),
        }
        break;
    }
    hunt
}

/// A violated property. What a scenario requires is no property: at another size it may not come about.
fn shown(trial: usize, played: &Played) -> Option<Find> {
    match &played.finding {
        Finding::Violated(failure) => {
            let (property, text) = (failure.property.to_owned(), failure.text.clone());
            Some(Find { trial, seed: played.seed, checker: failure.checker, property, text })
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
            let hunt = hunt(fault(name), &trials, &never(), &mut |runs| runs >= 40);
            assert!(hunt.find.is_some() && hunt.alarm.is_none(), "{name}: {hunt:?}");
        }
    }

    #[test]
    fn a_run_that_fails_without_the_bug_is_no_find() {
        let canary = include_str!("../../../../scenarios/canary.toml");
        let scenario = Scenario::parse("canary.toml", canary, &[]).unwrap();
        let trial = Trial { name: "canary".to_owned(), scenario, policy: PolicySpec::Timed, length: Length(1), depth: Depth::Message };
        let hunt = hunt(fault("gap-filled-silently"), &[trial], &never(), &mut |runs| runs >= 3);
        assert!(hunt.find.is_none() && hunt.alarm.is_some(), "{hunt:?}");
    }

    #[test]
    fn a_hunt_ends_when_it_is_told_to() {
        let trials = portfolio().unwrap();
        // Needs preemption: no trial without it finds it.
        let shallow: Vec<Trial> = trials.into_iter().filter(|trial| trial.depth == Depth::Message).collect();
        let hunt = hunt(fault("pop-load-store"), &shallow[..1], &never(), &mut |runs| runs >= 5);
        assert_eq!((hunt.runs, hunt.find), (5, None));
    }
}
