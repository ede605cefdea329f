//! `mutants`: the simulator against every planted bug.

mod apart;
mod hunt;
mod portfolio;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use apart::{Limits, hunt_apart, tell_hunt};
use hunt::{Find, Hunt, Trial};
use ipcz::planted::{CATALOGUE, Depth, Fault};
use ipcz_reports::format::{clip, number, plural};
use portfolio::portfolio;
use serde_json::json;

use crate::cli::args::MutantsArgs;
use crate::cli::exit::Exit;
use crate::cli::out::{Trouble, print, tell};
use crate::cli::play::listen_to_panics;
use crate::cli::run::listen_to_ctrl_c;
use crate::cli::stopwatch::Stopwatch;
use crate::cli::usage;

/// Stack of a thread that may run a seed, as a main thread's.
const STACK: usize = 8 << 20;

/// A bug, what came of hunting it, and how long that took.
struct Told {
    fault: &'static Fault,
    hunt: Hunt,
    ns: u64,
    /// What came of hunting it at L0, if that was asked for.
    above: Option<Hunt>,
}

impl Told {
    /// Whether L0 had ten times the runs, and did not find it.
    fn is_missed_above(&self) -> bool {
        let missed = |above: &Hunt| above.find.is_none() && above.runs >= runs_above(self.hunt.runs);
        self.hunt.find.is_some() && self.above.as_ref().is_some_and(missed)
    }
}

/// In how many runs L0 is to find what L1 found in `runs`.
fn runs_above(runs: u64) -> u64 {
    runs.saturating_mul(10).max(100)
}

/// Hunts the bugs that `args` name, or all.
///
/// # Errors
/// Something outside the simulation failed.
pub fn mutants(args: &MutantsArgs) -> Result<Exit, Trouble> {
    let faults = match chosen(&args.names) {
        Ok(faults) => faults,
        Err(why) => {
            tell(&format!("ipcz-sim: {why}\n"));
            return Ok(Exit::Usage);
        }
    };
    let trials = match portfolio() {
        Ok(trials) => trials,
        Err(error) => {
            tell(&usage::explain(&error));
            return Ok(Exit::Usage);
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    listen_to_ctrl_c(&stop)?;
    listen_to_panics();
    if args.apart {
        for fault in faults {
            tell_hunt(fault, &trials, limits(args), &stop)?;
        }
        return Ok(Exit::Held);
    }
    if !args.json {
        print(&columns())?;
    }
    let mut told = Vec::new();
    each(&faults, &trials, args, &stop, &mut |hunted| {
        let line = if args.json { line(&hunted, &trials) } else { row(&hunted, &trials) };
        told.push(hunted);
        print(&line)
    })?;
    if stop.load(Relaxed) {
        tell(&format!("ipcz-sim: interrupted: {} of {} bugs hunted\n", told.len(), faults.len()));
        return Ok(Exit::Interrupted);
    }
    if !args.json {
        print(&summary(&told, &trials))?;
    }
    Ok(exit(&told))
}

fn exit(told: &[Told]) -> Exit {
    if told.iter().any(|told| told.hunt.alarm.is_some()) {
        Exit::Violated
    } else if told.iter().any(|told| told.hunt.find.is_none()) {
        Exit::Unmet
    } else {
        Exit::Held
    }
}

/// The bugs of these names, all of them if none is named.
fn chosen(names: &[String]) -> Result<Vec<&'static Fault>, String> {
    for name in names.iter().map(String::as_str).chain([CATALOGUE[0].name]) {
        usage::plantable(name)?;
    }
    let named = |fault: &&Fault| names.is_empty() || names.iter().any(|name| name == fault.name);
    Ok(CATALOGUE.iter().filter(named).collect())
}

/// How far a hunt goes.
fn limits(args: &MutantsArgs) -> Limits {
    let depth = args.depth.map(|depth| if depth == 0 { Depth::Message } else { Depth::Operation });
    Limits { budget: args.budget, runs: args.runs, depth }
}

/// Hunts one.
fn one(fault: &'static Fault, trials: &[Trial], args: &MutantsArgs, stop: &Arc<AtomicBool>) -> Result<Told, Trouble> {
    let compare = args.compare_depths && fault.depth == Depth::Operation;
    let (watch, limits) = (Stopwatch::start(), limits(args));
    let at = |depth, runs| Limits { depth: Some(depth), runs, ..limits };
    let hunt = hunt_apart(fault, trials, if compare { at(Depth::Operation, limits.runs) } else { limits }, stop)?;
    let ns = watch.ns();
    let above = match hunt.find {
        Some(_) if compare => Some(hunt_apart(fault, trials, at(Depth::Message, runs_above(hunt.runs)), stop)?),
        _ => None,
    };
    Ok(Told { fault, hunt, ns, above })
}

/// Hunts each, several at a time, and tells them in order.
fn each(
    faults: &[&'static Fault],
    trials: &[Trial],
    args: &MutantsArgs,
    stop: &Arc<AtomicBool>,
    tell: &mut dyn FnMut(Told) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let next = AtomicUsize::new(0);
    let work = |results: mpsc::Sender<(usize, Result<Told, Trouble>)>| {
        while !stop.load(Relaxed) {
            let at = next.fetch_add(1, Relaxed);
            let Some(fault) = faults.get(at) else { return };
            let told = one(fault, trials, args, stop);
            if stop.load(Relaxed) || results.send((at, told)).is_err() {
                return;
            }
        }
    };
    thread::scope(|scope| {
        let (send, results) = mpsc::channel();
        for _ in 0..args.jobs.get().min(faults.len()) {
            let (send, work) = (send.clone(), &work);
            let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || work(send));
            thread.map_err(|error| Trouble(format!("can't start a thread: {error}")))?;
        }
        drop(send);
        let (mut early, mut due) = (BTreeMap::new(), 0);
        for (at, told) in results {
            early.insert(at, told);
            while let Some(told) = early.remove(&due) {
                due += 1;
                if let Err(trouble) = told.and_then(&mut *tell) {
                    stop.store(true, Relaxed);
                    return Err(trouble);
                }
            }
        }
        Ok(())
    })
}

fn columns() -> String {
    format!("{:<26} {:<12} {:>2}  {:>8} {:>8}  {:<9} {}\n", "bug", "group", "", "runs", "seconds", "found by", "where")
}

fn seconds(ns: u64) -> String {
    format!("{}.{:02}", ns / 1_000_000_000, ns / 10_000_000 % 100)
}

fn place(find: &Find, trials: &[Trial]) -> String {
    let trial = &trials[find.trial];
    format!("{} {} --seed {}, {}: {}", trial.depth.name(), trial.name, find.seed, trial.policy(find.seed), find.property)
}

fn row(told: &Told, trials: &[Trial]) -> String {
    let Told { fault, hunt, ns, above } = told;
    let (by, mut place) = match (&hunt.find, &hunt.alarm) {
        (Some(find), _) => (find.checker.as_str(), place(find, trials)),
        (None, Some(find)) => ("(alarm)", format!("fails without it too: {}", place(find, trials))),
        (None, None) => ("-", "NOT FOUND".to_owned()),
    };
    match above {
        Some(above) if above.find.is_some() => place.insert_str(0, &format!("[L0: after {}] ", number(above.runs))),
        Some(above) => place.insert_str(0, &format!("[L0: not in {}] ", number(above.runs))),
        None => (),
    }
    format!(
        "{:<26} {:<12} {:>2}  {:>8} {:>8}  {by:<9} {}\n",
        fault.name,
        fault.group.name(),
        fault.depth.name(),
        number(hunt.runs),
        seconds(*ns),
        clip(&place, 160)
    )
}

fn line(told: &Told, trials: &[Trial]) -> String {
    let Told { fault, hunt, ns, above } = told;
    let find = |find: &Option<Find>| {
        find.as_ref().map(|find| {
            let Find { trial, seed, checker, property, text } = find;
            let trial = &trials[*trial];
            let (name, depth, policy) = (&trial.name, trial.depth.name(), trial.policy(*seed).to_string());
            json!({ "scenario": name, "policy": policy, "depth": depth, "seed": seed, "checker": checker, "property": property, "text": text })
        })
    };
    let value = json!({
        "bug": fault.name, "group": fault.group.name(), "depth": fault.depth.name(), "place": fault.place, "wrong": fault.wrong,
        "runs": hunt.runs, "wall_ns": ns, "find": find(&hunt.find), "alarm": find(&hunt.alarm),
        "above": above.as_ref().map(|above| json!({ "runs": above.runs, "find": find(&above.find) })),
    });
    format!("{value}\n")
}

fn summary(told: &[Told], trials: &[Trial]) -> String {
    let mut times: Vec<u64> = told.iter().filter(|told| told.hunt.find.is_some()).map(|told| told.ns).collect();
    times.sort_unstable();
    let mut out = format!("\n{} of {} found", times.len(), plural(told.len() as u64, "planted bug"));
    if let (Some(median), Some(slowest)) = (times.get(times.len() / 2), times.last()) {
        let _ = write!(out, "; median {} s, slowest {} s", seconds(*median), seconds(*slowest));
        if let Some(told) = told.iter().find(|told| told.ns == *slowest && told.hunt.find.is_some()) {
            let _ = write!(out, " ({})", told.fault.name);
        }
    }
    let _ = writeln!(out, "; {}", plural(trials.len() as u64, "trial"));
    let missed: Vec<&str> = told.iter().filter(|told| told.is_missed_above()).map(|told| told.fault.name).collect();
    if told.iter().any(|told| told.above.is_some()) {
        let _ = writeln!(out, "L0 does not find {} of them in ten times the runs: {}", missed.len(), missed.join(", "));
    }
    for told in told.iter().filter(|told| told.hunt.find.is_none()) {
        let _ = writeln!(
            out,
            "not found: {} ({}, ipcz/src/{}): {}",
            told.fault.name,
            told.fault.depth.name(),
            told.fault.place,
            told.fault.wrong
        );
    }
    out
}
