//! `sweep`: very many seeds of one scenario. What they came to is kept in a file (`state`), so that a sweep that was interrupted or killed
//! goes on, and comes to the same as one that was not.

mod state;
mod sums;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ipcz::probe::Probe;
use ipcz_reports::format::number;
use serde::Serialize;

use super::args::{Seeds, Setting, SweepArgs};
use super::exit::Exit;
use super::failures::Failures;
use super::out::{Trouble, print, tell};
use super::play::{Plan, Played, listen_to_panics, order, orderable};
use super::pool::{Event, each_seed};
use super::progress::Meter;
use super::run::listen_to_ctrl_c;
use super::stopwatch::Stopwatch;
use super::{again, table, usage};
use crate::policy::{Bound, PolicySpec};
use crate::replay::Text;
use crate::run::measure_for;
use crate::scenario::Scenario;
use state::{Header, Refused, State};
use sums::{Chain, Failed, Sums};

/// Most seeds of a line of the state, and most wall time that it stands for: so much is lost when a sweep is killed.
const BLOCK: u64 = 1024;
const KEEP_NS: u64 = 10_000_000_000;
/// Folder of states that nobody gave a name.
const STATES: &str = "target/sweeps";
/// Most failures that are told in full.
const TOLD: usize = 100;

/// Runs what `args` say, or the rest of it.
///
/// # Errors
/// Something outside the simulation failed.
pub fn sweep(args: &SweepArgs) -> Result<Exit, Trouble> {
    if let Some(Err(why)) = args.plant.as_deref().map(usage::plantable) {
        tell(&format!("ipcz-sim: --plant: {why}\n"));
        return Ok(Exit::Usage);
    }
    let Some((text, scenario)) = load(args) else { return Ok(Exit::Usage) };
    let header = Header::new(&scenario.name, &text, args);
    let path = match &args.state {
        Some(path) => path.clone(),
        None => header.path(Path::new(STATES)).map_err(|error| Trouble(format!("can't name a state: {error}")))?,
    };
    let state = match State::open(&path, &header, args.seeds.first, args.fresh) {
        Ok(state) => state,
        Err(Refused::Foreign(why)) => {
            tell(&format!("ipcz-sim: {why}\n"));
            return Ok(Exit::Usage);
        }
        Err(Refused::Trouble(why)) => return Err(Trouble(why)),
    };
    greet(&path, &state, args.seeds);
    listen_to_panics();
    let stop = Arc::new(AtomicBool::new(false));
    listen_to_ctrl_c(&stop)?;
    let left = args.seeds.count - state.sums.runs;
    let (policy, fine) = order(&args.policy, args.depth);
    // Measured once for all seeds: it is the same for each.
    let length = if left > 0 { measure_for(&scenario, &policy, fine.as_ref(), PolicySpec::needs_length) } else { None };
    let plan = Plan { scenario, plant: args.plant.clone(), policy, length, fine, verify: None, stop };
    let mut sweep = Sweep::new(args, &plan, &text, state);
    sweep.go()?;
    sweep.tell()
}

/// The scenario, or nothing if something is wrong with what was asked for: then that is told.
fn load(args: &SweepArgs) -> Option<(Text, Scenario)> {
    let (text, scenario) = Text::load(&args.scenario, &Setting::pairs(&args.sets)).map_err(|error| tell(&usage::explain(&error))).ok()?;
    orderable(&scenario, &args.policy, args.depth).map_err(|bad| tell(&format!("ipcz-sim: {}: {bad}\n", args.scenario.display()))).ok()?;
    Some((text, scenario))
}

fn greet(path: &Path, state: &State, seeds: Seeds) {
    let mut text = format!("ipcz-sim: state {}", path.display());
    if state.sums.runs > 0 {
        text += &format!(": {} of {} seeds are done", number(state.sums.runs), number(seeds.count));
    }
    if state.cut > 0 {
        text += &format!("; {} bytes at its end were no whole line of this sweep and are cut off", number(state.cut));
    }
    tell(&(text + "\n"));
}

struct Sweep<'a> {
    args: &'a SweepArgs,
    plan: &'a Plan,
    text: &'a Text,
    state: State,
    /// Seeds that are not in the state yet, and the hash up to the last of them.
    block: Sums,
    chain: Chain,
    /// Runs since the state was written to.
    kept: Stopwatch,
    failures: Failures<'a>,
}

impl<'a> Sweep<'a> {
    fn new(args: &'a SweepArgs, plan: &'a Plan, text: &'a Text, state: State) -> Sweep<'a> {
        let failures = Failures::new(&args.failures, args.max_failures.get());
        Sweep { args, plan, text, block: Sums::default(), chain: state.chain, state, kept: Stopwatch::start(), failures }
    }

    /// Runs the seeds that are left, or as many as it may.
    fn go(&mut self) -> Result<(), Trouble> {
        let before = self.state.sums.runs;
        let seeds = self.args.seeds;
        let left = Seeds { first: seeds.first + before, count: seeds.count - before };
        if left.count == 0 || self.is_enough() {
            return Ok(());
        }
        let watch = Stopwatch::start();
        let mut meter = Meter::new(&self.plan.scenario.name, seeds.count).after(before);
        each_seed(self.plan, left, self.args.jobs.get(), &mut |event| {
            match event {
                // Those beyond the last failure that is wanted were only begun by chance.
                Event::Played(_) if self.is_enough() => (),
                Event::Played(played) => meter.aside(|| self.add(*played))?,
                Event::Tick(done, gauge) => meter.update(done, gauge),
            }
            if self.is_enough() || self.args.budget.is_some_and(|budget| watch.ns() >= budget.0) {
                self.plan.stop.store(true, Relaxed);
            }
            Ok(())
        })?;
        drop(meter);
        self.keep()
    }

    fn is_enough(&self) -> bool {
        (self.state.sums.failures.len() + self.block.failures.len()) as u64 >= self.args.max_failures.get()
    }

    fn add(&mut self, mut played: Played) -> Result<(), Trouble> {
        played.replay_file = self.failures.keep(self.plan, self.text, &played);
        self.chain = self.chain.and(&played);
        let known = self.block.failures.len();
        self.block.add(&played);
        for failed in &self.block.failures[known..] {
            tell(&format!("ipcz-sim: seed {}: {}: {}\n", failed.seed, failed.verdict, failed.property));
        }
        let full = (self.state.sums.runs + self.block.runs).is_multiple_of(BLOCK);
        if full || self.kept.ns() >= KEEP_NS { self.keep() } else { Ok(()) }
    }

    /// Puts what is new into the state.
    fn keep(&mut self) -> Result<(), Trouble> {
        self.kept = Stopwatch::start();
        if self.block.runs == 0 {
            return Ok(());
        }
        self.state.append(std::mem::take(&mut self.block), self.chain).map_err(Trouble)
    }

    /// What it came to so far; the exit.
    fn tell(&self) -> Result<Exit, Trouble> {
        let Sweep { args, plan, state, .. } = self;
        let sums = &state.sums;
        let interrupted = sums.runs < args.seeds.count && !self.is_enough();
        let exit = match (interrupted, sums.runs) {
            (true, 0) => Exit::Interrupted,
            (true, _) => sums.exit().max(Exit::Interrupted),
            (false, _) => sums.exit(),
        };
        let next = interrupted.then(|| again::sweep(args));
        if args.json {
            let line = Line {
                scenario: &plan.scenario.name,
                file: args.scenario.display().to_string(),
                seeds: args.seeds.to_string(),
                policy: args.policy.to_string(),
                depth: args.depth,
                exit: exit.code(),
                fingerprints: format!("{:032x}", state.chain.0),
                bounds: bounds(sums),
                never: sums.never(),
                sums,
                next: next.as_deref(),
            };
            let line = serde_json::to_string(&line).map_err(|error| Trouble(format!("can't put the sweep into JSON: {error}")))?;
            print(&(line + "\n"))?;
        } else {
            print(&self.summary())?;
        }
        if let Some(next) = next {
            let text = format!("interrupted: {} of {} seeds are done; the rest:\n  {next}\n", sums.runs, args.seeds.count);
            if args.json {
                tell(&text);
            } else {
                print(&text)?;
            }
        }
        Ok(exit)
    }

    /// For people; nothing in it depends on the machine, or on how often the sweep was interrupted.
    fn summary(&self) -> String {
        let Sweep { args, plan, state, .. } = self;
        let sums = &state.sums;
        let mut out = table::heading(&plan.scenario, &format!("seeds {}", args.seeds));
        let verdicts: Vec<String> = sums.verdicts.iter().map(|(name, count)| format!("{} {name}", number(*count))).collect();
        let early = if self.is_enough() && sums.runs < args.seeds.count {
            format!("; ended early, with --max-failures {}", args.max_failures)
        } else {
            String::new()
        };
        table::line(&mut out, "seeds", &format!("{} run: {}{early}", number(sums.runs), verdicts.join(", ")));
        for (name, count) in [("events", sums.events), ("deliveries", sums.deliveries), ("bypasses", sums.bypasses)] {
            table::line(&mut out, name, &number(count));
        }
        let never = sums.never();
        let reached = Probe::ALL.len() - never.len();
        table::line(&mut out, "probes", &format!("{reached} of {} reached", Probe::ALL.len()));
        if !never.is_empty() {
            table::line(&mut out, "never reached", &never.join(", "));
        }
        out += &table::campaigns(&sums.campaigns);
        table::line(&mut out, "fingerprints", &format!("{:032x} over all", state.chain.0));
        for Failed { seed, verdict, property, place, replay } in sums.failures.iter().take(TOLD) {
            out += &format!("\n{}: {property}\n", verdict.to_uppercase());
            table::line(&mut out, "seed", &seed.to_string());
            table::line(&mut out, "where", place);
            table::line(&mut out, "replay", &again::seed(args, *seed));
            if let Some(file) = replay {
                table::line(&mut out, "replay file", file);
            }
        }
        if sums.failures.len() > TOLD {
            out += &format!("\nand {} more\n", number((sums.failures.len() - TOLD) as u64));
        }
        out
    }
}

/// What a sweep came to, for scripts. Keys are never renamed and never missing.
#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    file: String,
    seeds: String,
    policy: String,
    depth: u8,
    exit: u8,
    fingerprints: String,
    bounds: Vec<Missed<'a>>,
    never: Vec<&'static str>,
    #[serde(flatten)]
    sums: &'a Sums,
    next: Option<&'a str>,
}

/// The bound on having missed a bug with a policy.
#[derive(Serialize)]
struct Missed<'a> {
    policy: &'a str,
    n: u64,
    k: u64,
    d: u32,
    runs: u64,
    miss: f64,
    /// Some run was longer than k: the bound is about the first k events.
    longer: bool,
}

fn bounds(sums: &Sums) -> Vec<Missed<'_>> {
    let bounds = sums.campaigns.iter().filter_map(|(policy, campaign)| Some((policy, campaign.bound()?)));
    let missed = bounds.map(|(policy, (bound, longer))| {
        let Bound { n, k, d, runs } = bound;
        Missed { policy, n, k, d, runs, miss: bound.miss(), longer }
    });
    missed.collect()
}
