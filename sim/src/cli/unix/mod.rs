//! `run --driver unix`: the steps of a scenario in real processes, one a node, over the Unix driver; what each end of a pipe saw is
//! compared with the simulated run of the same file.
//!
//! | file | holds |
//! | --- | --- |
//! | `words` | what the command and the processes say to each other, in parcels of a network of their own |
//! | `inbox` | waiting for many portals |
//! | `node` | a process: carries out orders, reads everything at once, reports |
//! | `ledger` | what must be true: what was put and not yet taken, and where each end is |
//! | `world` | the processes, and the steps in their order |
//! | `compare` | two histories of each end |

mod compare;
mod inbox;
mod ledger;
mod node;
mod words;
mod world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipcz_reports::format::plural;

pub use node::node;

use super::args::{RunArgs, Setting};
use super::exit::Exit;
use super::out::{Trouble, print, tell};
use super::play::{Finding, Gauge, Once, listen_to_panics, once};
use super::run::listen_to_ctrl_c;
use super::stopwatch::Stopwatch;
use super::{table, usage};
use crate::policy::PolicySpec;
use crate::run::{Outcome, RunOptions};
use crate::scenario::{Action, Scenario};
use ledger::History;
use world::{Failed, Rest};

/// Most processes of a world.
const MOST: usize = 200;

/// Options that only simulated runs have.
fn options_that_do_not_apply(args: &RunArgs) -> Vec<&'static str> {
    let given = [
        ("--seeds", args.seeds.is_some()),
        ("--policy", args.policy != PolicySpec::Timed),
        ("--depth", args.depth != 0),
        ("--plant", args.plant.is_some()),
        ("--json", args.json),
        ("--report", args.report.is_some()),
        ("--verify", args.verify),
    ];
    given.into_iter().filter_map(|(name, given)| given.then_some(name)).collect()
}

/// What of a scenario only a simulator can do: with any of it there is no such run.
fn beyond(scenario: &Scenario) -> Vec<String> {
    let mut beyond = Vec::new();
    let mut add = |there: bool, what: &str| beyond.extend(there.then(|| what.to_owned()));
    add(scenario.swarm.is_some(), "a random world ([swarm])");
    add(scenario.random.is_some(), "a random workload ([random])");
    add(!scenario.faults.is_empty(), "faults ([faults])");
    add(scenario.loss.is_some(), "a lost message ([loss])");
    add(!scenario.holds.is_empty(), "an order of messages ([hold])");
    add(scenario.loose().is_some(), "loose nodes");
    add(scenario.nodes.iter().any(|node| node.hostile), "hostile nodes");
    add(scenario.brokered, "links that carry no objects (brokered)");
    if scenario.nodes.len() > MOST {
        add(true, &format!("so many nodes ({}, of {MOST} processes at most: --set fewer)", scenario.nodes.len()));
    }
    for step in &scenario.steps {
        match step.action {
            Action::CutNode { .. } | Action::CutLink { .. } => add(true, &format!("a cut (\"{}\")", step.id)),
            Action::Send { abort: true, .. } => add(true, &format!("puts that are aborted (\"{}\")", step.id)),
            Action::Send { boxes: 1.., .. } => add(true, &format!("boxes (\"{}\")", step.id)),
            _ => {}
        }
    }
    beyond
}

/// What of a scenario makes no difference to what the ends of its pipes see, and is left out.
fn left_out(scenario: &Scenario) -> Vec<&'static str> {
    let steps = || scenario.steps.iter();
    let mut out = vec!["latency and jitter"];
    let timed = |action: &Action| matches!(action, Action::Send { every_ns: 1.., .. });
    if steps().any(|step| step.at_ns + step.think_ns > 0 || timed(&step.action)) {
        out.push("times of steps");
    }
    let held_open = |action: &Action| matches!(action, Action::Get { .. } | Action::Send { open_ns: 1.., .. });
    if steps().any(|step| held_open(&step.action)) {
        out.push("calls in two phases");
    }
    if scenario.memory != Default::default() || scenario.limits != Default::default() {
        out.push("limits and sizes of link memory");
    }
    if !scenario.require.probes.is_empty() {
        out.push("probes");
    }
    out
}

/// Runs what `args` say.
///
/// # Errors
/// Something outside the simulation failed.
pub fn run(args: &RunArgs) -> Result<Exit, Trouble> {
    let wrong = options_that_do_not_apply(args);
    if !wrong.is_empty() {
        tell(&format!("ipcz-sim: --driver unix: {} cannot be had in real processes, whose order is the system's\n", wrong.join(", ")));
        return Ok(Exit::Usage);
    }
    listen_to_panics();
    let stop = Arc::new(AtomicBool::new(false));
    listen_to_ctrl_c(&stop)?;
    let mut exit = Exit::Held;
    for (at, file) in args.scenarios.iter().enumerate() {
        let space = if at > 0 { "\n" } else { "" };
        print(space)?;
        exit = exit.max(one(args, file, &stop)?);
    }
    Ok(exit)
}

fn one(args: &RunArgs, file: &Path, stop: &Arc<AtomicBool>) -> Result<Exit, Trouble> {
    let scenario = match Scenario::load(file, &Setting::pairs(&args.sets)) {
        Ok(scenario) => scenario,
        Err(error) => {
            tell(&usage::explain(&error));
            return Ok(Exit::Usage);
        }
    };
    let beyond = beyond(&scenario);
    if !beyond.is_empty() {
        let file = file.display();
        tell(&format!("ipcz-sim: {file}: --driver unix: only the simulator has {}; run it without --driver\n", beyond.join(", ")));
        return Ok(Exit::Usage);
    }
    print(&table::heading(&scenario, "each a process, over the Unix driver"))?;
    print(&format!("  left out: {}\n", left_out(&scenario).join(", ")))?;

    let watch = Stopwatch::start();
    let rest = match world::run(&scenario, stop) {
        Ok(rest) => rest,
        Err(Failed::Trouble(why)) => return Err(Trouble(why)),
        Err(Failed::Interrupted) => return Ok(Exit::Interrupted),
        Err(Failed::Violated(why)) => {
            print(&format!("violated in real processes: {why}\n"))?;
            return Ok(Exit::Violated);
        }
    };
    let wall = watch.ns();
    let options = RunOptions { seed: args.seed, acts: true, stop: Some(Arc::clone(stop)), ..RunOptions::default() };
    let Once { finding, outcome, .. } = once(&scenario, &options, &Gauge::default());
    let (Finding::Held | Finding::Unmet, Some(outcome)) = (&finding, &outcome) else {
        print(&format!("the simulated run did not hold: run it without --driver, with --seed {}\n", args.seed))?;
        return Ok(finding.exit());
    };
    conclude(&scenario, &rest, outcome, wall)
}

/// What the two runs came to.
fn conclude(scenario: &Scenario, rest: &Rest, outcome: &Outcome, wall: u64) -> Result<Exit, Trouble> {
    let simulated = compare::simulated(scenario, outcome);
    let compared = compare::compare(scenario, &rest.histories, &simulated);
    let taken = |histories: &[History]| histories.iter().map(|history| history.taken.len() as u64).sum();
    print(&format!(
        "  {} taken, {} of steps; {} told that their peer is closed; bypasses {}, proxies left {}; {}\n",
        plural(taken(&rest.histories), "parcel"),
        rest.delivered,
        plural(rest.histories.iter().filter(|history| history.dead).count() as u64, "end"),
        rest.bypasses,
        rest.proxies,
        ipcz_reports::format::measured(wall)
    ))?;
    let timely =
        if compared.timely == 0 { String::new() } else { format!(", {} longer or shorter as time would have it", compared.timely) };
    print(&format!(
        "  the same history as in the simulated run of seed {}: {} of {}{timely}\n",
        outcome.seed,
        compared.same,
        plural(simulated.len() as u64, "end")
    ))?;
    for difference in &compared.differences {
        print(&format!("  DIFFERENT: {difference}\n"))?;
    }
    for unmet in &rest.unmet {
        print(&format!("  UNMET: {unmet}\n"))?;
    }
    Ok(match (compared.differences.is_empty(), rest.unmet.is_empty()) {
        (false, _) => Exit::Violated,
        (true, false) => Exit::Unmet,
        (true, true) => Exit::Held,
    })
}
