//! `mutants`: the simulator against every planted bug.

mod hunt;
mod portfolio;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;

use hunt::{Find, Hunt, Trial, hunt};
use ipcz::planted::{CATALOGUE, Fault};
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

/// Stack of a thread that runs seeds, as a main thread's.
const STACK: usize = 8 << 20;

/// A bug, what came of hunting it, and how long that took.
struct Told {
    fault: &'static Fault,
    hunt: Hunt,
    ns: u64,
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

/// Hunts each, several at a time, and tells them in order.
fn each(
    faults: &[&'static Fault],
    trials: &[Trial],
    args: &MutantsArgs,
    stop: &Arc<AtomicBool>,
    tell: &mut dyn FnMut(Told) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let next = AtomicUsize::new(0);
    let budget = args.budget.0;
    let work = |results: mpsc::Sender<(usize, Told)>| {
        while !stop.load(Relaxed) {
            let at = next.fetch_add(1, Relaxed);
            let Some(fault) = faults.get(at) else { return };
            let watch = Stopwatch::start();
            let hunt = hunt(fault, trials, stop, &mut |_| watch.ns() >= budget);
            let told = Told { fault, hunt, ns: watch.ns() };
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
                if let Err(trouble) = tell(told) {
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
    format!("{} {} --seed {}, {}: {}", trial.depth.name(), trial.name, find.seed, trial.policy.of_seed(find.seed), find.property)
}

fn row(told: &Told, trials: &[Trial]) -> String {
    let Told { fault, hunt, ns } = told;
    let (by, place) = match (&hunt.find, &hunt.alarm) {
        (Some(find), _) => (find.checker, place(find, trials)),
        (None, Some(find)) => ("(alarm)", format!("fails without it too: {}", place(find, trials))),
        (None, None) => ("-", "NOT FOUND".to_owned()),
    };
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
    let Told { fault, hunt, ns } = told;
    let find = |find: &Option<Find>| {
        find.as_ref().map(|find| {
            let Trial { name, policy, depth, .. } = &trials[find.trial];
            let Find { seed, checker, property, text, .. } = find;
            let (depth, policy) = (depth.name(), policy.of_seed(*seed).to_string());
            json!({ "scenario": name, "policy": policy, "depth": depth, "seed": seed, "checker": checker, "property": property, "text": text })
        })
    };
    let value = json!({
        "bug": fault.name, "group": fault.group.name(), "depth": fault.depth.name(), "place": fault.place, "wrong": fault.wrong,
        "runs": hunt.runs, "wall_ns": ns, "find": find(&hunt.find), "alarm": find(&hunt.alarm),
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
