//! `shrink`: the smallest run that fails as a replay file says.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ipcz_reports::format::{clip, number, plural};

use super::args::ShrinkArgs;
use super::exit::Exit;
use super::out::{Trouble, print, tell};
use super::play::{Finding, Gauge, Once, listen_to_panics, once};
use super::replay::{Failing, open};
use super::run::listen_to_ctrl_c;
use super::stopwatch::Stopwatch;
use crate::policy::PolicySpec;
use crate::replay::Replay;
use crate::run::RunOptions;
use crate::scenario::Scenario;
use crate::shrink::{Fewer, Ran, Shrunk, Sizes, Unshrunk, fewer, shrink as smaller};

/// Shrinks what the file says.
///
/// # Errors
/// Something outside the simulation failed.
pub fn shrink(args: &ShrinkArgs) -> Result<Exit, Trouble> {
    let Failing { replay, scenario, options } = match open(&args.file) {
        Ok(failing) => failing,
        Err(exit) => return Ok(exit),
    };
    listen_to_panics();
    let stop = Arc::new(AtomicBool::new(false));
    listen_to_ctrl_c(&stop)?;
    let watch = Stopwatch::start();
    let mut runner = |scenario: &Scenario, options: &RunOptions| attempt(scenario, options, &stop);
    let mut enough = |runs: u64| {
        let spent = match args.runs {
            Some(most) => runs >= most,
            None => watch.ns() >= args.budget.0,
        };
        spent || stop.load(Relaxed)
    };
    let shrunk = match smaller(&scenario, &options, &mut runner, &mut enough) {
        Ok(shrunk) => shrunk,
        Err(_) if stop.load(Relaxed) => {
            print("interrupted\n")?;
            return Ok(Exit::Interrupted);
        }
        Err(Unshrunk::Lost(runs)) => return decisions(args, &replay, &scenario, &options, &mut runner, &mut |more| enough(runs + more)),
        Err(why) => {
            tell(&format!("ipcz-sim: {}: {why}\n", args.file.display()));
            return Ok(Exit::Unmet);
        }
    };
    let (toml, test) = (args.file.with_extension("shrunk.toml"), args.file.with_extension("shrunk.rs"));
    let command = command(&shrunk, &toml, replay.run.planted.as_deref());
    for (path, text) in [(&toml, format!("# {command}\n{}", shrunk.toml)), (&test, shrunk.test.clone())] {
        fs::write(path, text).map_err(|error| Trouble(format!("can't write {}: {error}", path.display())))?;
    }
    print(&told(&shrunk, &command, &[toml, test], watch.ns()))?;
    Ok(if stop.load(Relaxed) { Exit::Interrupted } else { Exit::Violated })
}

/// What its workload written down does not show: the run stays as it was drawn, with as few decisions as it takes.
fn decisions(
    args: &ShrinkArgs,
    replay: &Replay,
    scenario: &Scenario,
    options: &RunOptions,
    runner: &mut dyn FnMut(&Scenario, &RunOptions) -> Ran,
    enough: &mut dyn FnMut(u64) -> bool,
) -> Result<Exit, Trouble> {
    let refuse = |why: String| {
        tell(&format!("ipcz-sim: {}: {why}\n", args.file.display()));
        Ok(Exit::Unmet)
    };
    let small = match fewer(scenario, options, runner, enough) {
        Ok(small) => small,
        Err(why) => return refuse(why.to_string()),
    };
    let Some(log) = &small.outcome.log else { return refuse("it kept no log".to_owned()) };
    let file = args.file.with_extension("shrunk.toml");
    let text = match Replay::new(&replay.scenario, &small.options, &small.outcome, log, &small.failure).text() {
        Ok(text) => text,
        Err(why) => return refuse(why),
    };
    fs::write(&file, text).map_err(|error| Trouble(format!("can't write {}: {error}", file.display())))?;
    let Fewer { signature, failure, before, events, runs, complete, .. } = &small;
    let end = if *complete { "" } else { "; more might go with a longer --budget" };
    print(&format!(
        "{} ({})\n  {}\n\nits workload written down does not fail; as it was drawn, with fewer decisions:\n  decisions    {before} -> {}\n  \
         events       {events} -> {}\n\n{}{end}\nwritten: {}\nagain:   cargo run --release -- replay {}\n",
        signature.property,
        signature.checker,
        clip(&failure.text, 200),
        log.deviations.len(),
        small.outcome.events,
        plural(*runs, "run"),
        file.display(),
        file.display(),
    ))?;
    Ok(Exit::Violated)
}

/// One run; a panic in it is a failure.
pub fn attempt(scenario: &Scenario, options: &RunOptions, stop: &Arc<AtomicBool>) -> Ran {
    let options = RunOptions { stop: Some(Arc::clone(stop)), ..options.clone() };
    let Once { finding, outcome, .. } = once(scenario, &options, &Gauge::default());
    let failure = if let Finding::Violated(failure) = finding { Some(*failure) } else { None };
    Ran { failure, outcome }
}

/// What runs the small scenario.
fn command(shrunk: &Shrunk, toml: &std::path::Path, planted: Option<&str>) -> String {
    let build = if planted.is_some() { " -p ipcz-sim --features planted" } else { "" };
    let mut command = format!("cargo run --release{build} -- run {} --seed {}", toml.display(), shrunk.way.seed);
    let by_default = shrunk.way.policy == PolicySpec::Timed || !shrunk.way.holds.is_empty();
    match &shrunk.way.fine {
        Some(fine) => {
            command += " --depth 1";
            if let Some(spec) = &fine.spec {
                command += &format!(" --policy {spec}");
            }
        }
        None if !by_default => command += &format!(" --policy {}", shrunk.way.policy),
        None => (),
    }
    if let Some(bug) = planted {
        command += &format!(" --plant {bug}");
    }
    command
}

fn told(shrunk: &Shrunk, command: &str, files: &[PathBuf], ns: u64) -> String {
    let line = |name: &str, size: fn(&Sizes) -> u64| {
        format!("  {name:<12} {:>9} {:>9}\n", number(size(&shrunk.before)), number(size(&shrunk.after)))
    };
    let Shrunk { signature, text, runs, complete, .. } = shrunk;
    let end = if *complete { "" } else { "; more might go with a longer --budget" };
    let mut out =
        format!("{} ({})\n  {}\n\n  {:<12} {:>9} {:>9}\n", signature.property, signature.checker, clip(text, 200), "", "before", "after");
    out += &line("nodes", |sizes| sizes.nodes as u64);
    out += &line("pipes", |sizes| sizes.pipes as u64);
    out += &line("operations", |sizes| sizes.operations as u64);
    out += &line("faults", |sizes| sizes.faults as u64);
    out += &line("deviations", |sizes| sizes.deviations as u64);
    out += &line("events", |sizes| sizes.events);
    let tenths = ns / 100_000_000;
    out += &format!("\n{} in {}.{} s{end}\n", plural(*runs, "run"), tenths / 10, tenths % 10);
    for file in files {
        out += &format!("written: {}\n", file.display());
    }
    out + &format!("again:   {command}\n")
}
