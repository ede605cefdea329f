//! `replay`: a failing run again, from its file.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::args::ReplayArgs;
use super::exit::Exit;
use super::out::{Trouble, print, tell};
use super::play::{Finding, Gauge, Once, Played, listen_to_panics, once};
use super::run::listen_to_ctrl_c;
use super::stopwatch::{Stopwatch, peak_memory};
use super::{table, usage};
use crate::code::Code;
use crate::replay::{Found, Replay};
use crate::run::RunOptions;
use crate::scenario::Scenario;

/// A failing run as its file says it.
pub struct Failing {
    pub replay: Replay,
    pub scenario: Scenario,
    pub options: RunOptions,
}

/// Reads a replay file. What is wrong with it is told; then the error is what the command ends with.
pub fn open(file: &Path) -> Result<Failing, Exit> {
    let refuse = |why: &str| {
        tell(&format!("ipcz-sim: {}: {why}\n", file.display()));
        Exit::Usage
    };
    let text = fs::read_to_string(file)
        .map_err(|error| refuse(&format!("can't read the file: {error}; expected a file that a failing `run` or `sweep` wrote")))?;
    let replay = Replay::parse(&text).map_err(|broken| refuse(&broken.to_string()))?;
    if let Some(Err(why)) = replay.run.planted.as_deref().map(usage::plantable) {
        return Err(refuse(&format!("run.planted: {why}")));
    }
    let scenario = replay.scenario.scenario().map_err(|error| {
        tell(&format!("ipcz-sim: {}: the scenario in it is wrong\n{}", file.display(), usage::explain(&error)));
        Exit::Usage
    })?;
    let options = replay.options(&scenario).map_err(|broken| refuse(&broken.to_string()))?;
    Ok(Failing { replay, scenario, options })
}

/// Runs what the file says and compares.
///
/// # Errors
/// Something outside the simulation failed.
pub fn replay(args: &ReplayArgs) -> Result<Exit, Trouble> {
    let Failing { replay, scenario, options } = match open(&args.file) {
        Ok(failing) => failing,
        Err(exit) => return Ok(exit),
    };
    listen_to_panics();
    let stop = Arc::new(AtomicBool::new(false));
    listen_to_ctrl_c(&stop)?;
    let options = RunOptions { stop: Some(stop), ..options };
    let watch = Stopwatch::start();
    let Once { finding, outcome, virtual_ns } = once(&scenario, &options, &Gauge::default());
    let wall_ns = watch.ns();
    let found = match (&finding, &outcome) {
        (Finding::Violated(failure), Some(outcome)) => Some(Found::of(outcome, failure)),
        _ => None,
    };
    let fingerprint = outcome.as_ref().map(|outcome| format!("{:032x}", outcome.fingerprint)).unwrap_or_default();
    let played =
        Played { seed: options.seed, finding, outcome, virtual_ns, wall_ns, memory: peak_memory(), replay_file: Some(args.file.clone()) };
    print(&table::heading(&scenario, &format!("replay of seed {}", played.seed)))?;
    if played.finding == Finding::Stopped {
        print("interrupted\n")?;
        return Ok(Exit::Interrupted);
    }
    print(
        &(table::single(&played) + &table::failure(&scenario, &played, &format!("cargo run --release -- replay {}", args.file.display()))),
    )?;
    if found.as_ref() == Some(&replay.found) {
        print("\nthe same run, the same failure\n")?;
        return Ok(Exit::Violated);
    }
    print(&differs(&replay, &fingerprint, found.as_ref(), &played.finding))?;
    Ok(Exit::Nondeterministic)
}

/// What is not as the file says, and why that may be.
fn differs(replay: &Replay, fingerprint: &str, found: Option<&Found>, finding: &Finding) -> String {
    let was = &replay.found;
    let mut out = String::from("\nNOT THE SAME RUN: a replay must come to what its file says\n");
    let mut line = |name: &str, was: &str, is: &str| {
        if was != is {
            out += &format!("  {name}\n    was {was}\n    is  {is}\n");
        }
    };
    line("fingerprint", &was.fingerprint, fingerprint);
    let told = |found: &Found| {
        let at = [&found.node, &found.portal].into_iter().flatten().map(|place| format!(", {place}")).collect::<String>();
        format!(
            "{} ({}), event {}, {} ns, {}{at}: {}",
            found.property, found.checker, found.event, found.virtual_ns, found.phase, found.text
        )
    };
    line("failure", &told(was), &found.map_or_else(|| finding.name().to_owned(), told));
    let this = Code::this();
    line("code", &replay.code.to_string(), &this.to_string());
    out += match (replay.code == *this, &replay.code.commit) {
        (true, _) => {
            "  The code is the same: the simulator is not deterministic. `ipcz-sim run --verify` names the first event that differs.\n"
        }
        (false, Some(_)) => {
            "  The code is another one. Build the commit that the file names, with its features, to see the run as it was; if the failure\n  \
             is gone in this one, sweep the scenario again: one seed that no longer fails shows nothing.\n"
        }
        (false, None) => {
            "  The code is another one. Build the one that the file was written with to see the run as it was; if the failure is gone in\n  \
             this one, sweep the scenario again: one seed that no longer fails shows nothing.\n"
        }
    };
    out
}
