//! `run`: scenarios one after the other, each with its seeds.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::args::{RunArgs, Seeds, Setting};
use super::exit::Exit;
use super::failures::{Failures, MOST};
use super::out::{Trouble, print, tell};
use super::play::{Finding, Plan, Second, listen_to_panics, order, orderable};
use super::pool::{Event, each_seed};
use super::progress::Meter;
use super::stopwatch::Stopwatch;
use super::totals::Totals;
use super::{again, json, report, table, usage};
use crate::leaks;
use crate::policy::PolicySpec;
use crate::replay::Text;
use crate::run::measure_for;
use crate::scenario::Scenario;

/// Most seeds of a sweep that get a line each; of more only those that did not hold.
const LISTED: u64 = 100;
/// Most failures told in full on standard error beside JSON.
const TOLD: u64 = 10;

/// Runs what `args` say.
///
/// # Errors
/// Something outside the simulation failed.
pub fn run(args: &RunArgs) -> Result<Exit, Trouble> {
    if args.report.is_some() && args.scenarios.len() > 1 {
        tell("ipcz-sim: --report FILE is a page about one scenario; expected one SCENARIO with it\n");
        return Ok(Exit::Usage);
    }
    if let Some(Err(why)) = args.plant.as_deref().map(usage::plantable) {
        tell(&format!("ipcz-sim: --plant: {why}\n"));
        return Ok(Exit::Usage);
    }
    if let Some(Err(why)) = args.leak.as_deref().map(leaks::arm) {
        tell(&format!("ipcz-sim: --leak: {why}\n"));
        return Ok(Exit::Usage);
    }
    let Some(scenarios) = load(args) else { return Ok(Exit::Usage) };
    if let Some(file) = &args.report {
        OpenOptions::new().append(true).create(true).open(file).map_err(|error| unwritable(file, &error))?;
    }
    listen_to_panics();
    let stop = Arc::new(AtomicBool::new(false));
    listen_to_ctrl_c(&stop)?;

    let seeds = args.seeds();
    let mut exit = Exit::Held;
    for (at, (file, text, scenario)) in scenarios.into_iter().enumerate() {
        let verify = args.verify.then(|| args.verify_with.map_or(Second::Same, Second::Other));
        let plant = args.plant.clone();
        let (policy, fine) = order(&args.policy, args.depth);
        // Measured once for all seeds: it is the same for each.
        let length = if seeds.count > 1 { measure_for(&scenario, &policy, fine.as_ref(), PolicySpec::needs_length) } else { None };
        let plan = Plan { scenario, plant, policy, length, fine, verify, stop: Arc::clone(&stop) };
        let (ended, done) = one(args, file, &text, &plan, at > 0)?;
        exit = exit.max(ended);
        if done < seeds.count {
            let left = Seeds { first: seeds.first + done, count: seeds.count - done };
            let mut text = format!("interrupted: {done} of {} seeds done; the rest:\n  {}\n", seeds.count, again::resume(args, file, left));
            for file in &args.scenarios[at + 1..] {
                text += &format!("  {}\n", again::resume(args, file, seeds));
            }
            if args.json {
                tell(&text)
            } else {
                print(&text)?
            }
            return Ok(exit.max(Exit::Interrupted));
        }
    }
    Ok(exit)
}

/// All scenarios, or none if one is wrong: then each error is told.
fn load(args: &RunArgs) -> Option<Vec<(&Path, Text, Scenario)>> {
    let sets = Setting::pairs(&args.sets);
    let mut scenarios = Vec::new();
    let mut wrong = false;
    for file in &args.scenarios {
        match Text::load(file, &sets) {
            Ok((text, scenario)) => {
                if let Err(bad) = orderable(&scenario, &args.policy, args.depth) {
                    wrong = true;
                    tell(&format!("ipcz-sim: {}: {bad}\n", file.display()));
                }
                scenarios.push((file.as_path(), text, scenario));
            }
            Err(error) => {
                wrong = true;
                tell(&usage::explain(&error));
            }
        }
    }
    (!wrong).then_some(scenarios)
}

pub(super) fn listen_to_ctrl_c(stop: &Arc<AtomicBool>) -> Result<(), Trouble> {
    let stop = Arc::clone(stop);
    // A second one does not wait for the run to notice.
    let heard = move || {
        if stop.swap(true, Relaxed) {
            std::process::exit(i32::from(Exit::Interrupted.code()));
        }
    };
    ctrlc::set_handler(heard).map_err(|error| Trouble(format!("can't listen to Ctrl-C: {error}")))
}

fn unwritable(file: &Path, error: &std::io::Error) -> Trouble {
    Trouble(format!("can't write the report {}: {error}", file.display()))
}

/// All seeds of one scenario: what it ends with and how many seeds were done.
fn one(args: &RunArgs, file: &Path, text: &Text, plan: &Plan, space: bool) -> Result<(Exit, u64), Trouble> {
    let seeds = args.seeds();
    let (single, listed) = (seeds.count == 1, seeds.count <= LISTED);
    let title = if single { format!("seed {seeds}") } else { format!("seeds {seeds}") };
    if !args.json {
        let space = if space { "\n" } else { "" };
        print(&format!("{space}{}", table::heading(&plan.scenario, &title)))?;
    }
    let watch = Stopwatch::start();
    let mut totals = Totals::default();
    let mut headed = false;
    let mut meter = Meter::new(&plan.scenario.name, seeds.count);
    let mut failures = Failures::new(&args.failures, MOST);
    let done = each_seed(plan, seeds, args.jobs.get(), &mut |event| {
        let mut played = match event {
            Event::Tick(done, gauge) => {
                meter.update(done, gauge);
                return Ok(());
            }
            Event::Played(played) => *played,
        };
        let replay = again::replay(args, file, played.seed);
        played.replay_file = failures.keep(plan, text, &played);
        let text = if args.json {
            let text = json::line(&plan.scenario, file, &played, &replay);
            text.map_err(|error| Trouble(format!("can't put seed {} into JSON: {error}", played.seed)))?
        } else if single {
            table::single(&played)
        } else if listed || (played.finding != Finding::Held && totals.failed < LISTED) {
            let head = if headed { String::new() } else { table::columns() };
            headed = true;
            head + &table::row(&played)
        } else {
            String::new()
        };
        meter.aside(|| {
            if args.json && totals.failed < TOLD {
                tell(&table::failure(&plan.scenario, &played, &replay));
            }
            print(&text)
        })?;
        totals.add(played);
        Ok(())
    })?;
    drop(meter);

    let replay = totals.shown.as_ref().map(|shown| again::replay(args, file, shown.seed)).unwrap_or_default();
    if !args.json {
        let sums = if single { String::new() } else { table::sweep(&totals, watch.ns()) };
        let failure = totals.shown.as_ref().map(|shown| table::failure(&plan.scenario, shown, &replay)).unwrap_or_default();
        print(&(sums + &failure))?;
    }
    let exit = if done == 0 { Exit::Interrupted } else { totals.exit() };
    if let Some(path) = &args.report {
        let page = ipcz_reports::html(&report::report(&plan.scenario, &seeds.to_string(), &totals, &replay));
        let page = page.map_err(|error| Trouble(format!("can't write the report {}: {error}", path.display())));
        let written = page.and_then(|page| fs::write(path, page).map_err(|error| unwritable(path, &error)));
        if let Err(trouble) = written {
            tell(&format!("ipcz-sim: {}\n", trouble.0));
            return Ok((exit.max(Exit::Trouble), done));
        }
    }
    Ok((exit, done))
}
