//! A hunt in a process of its own, since a bug may have one step go on for ever or take all memory there is: such a process is ended,
//! and that is how the bug was found.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a process beside the simulation, with a thread that reads what it says"
)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ipcz::planted::{Depth, Fault};
use serde_json::{Value, json};

use super::hunt::{Find, Hunt, Trial, holds, hunt};
use crate::cli::args::Budget;
use crate::cli::out::{Trouble, print};
use crate::cli::stopwatch::Stopwatch;

/// The longest that one run may take, in ns, and how often somebody looks.
const LONGEST_RUN: u64 = 20_000_000_000;
const TICK: Duration = Duration::from_millis(100);
/// The memory that a hunt may take, in bytes.
const MEMORY: u64 = 2 << 30;

/// How far a hunt goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Its wall time.
    pub budget: Budget,
    /// Its runs.
    pub runs: u64,
    /// Only trials of this depth.
    pub depth: Option<Depth>,
}

/// Hunts a bug in a process of its own.
///
/// # Errors
/// There can be none, or it does not say what came of it.
pub fn hunt_apart(fault: &Fault, trials: &[Trial], limits: Limits, stop: &Arc<AtomicBool>) -> Result<Hunt, Trouble> {
    let seconds = format!("{}s", limits.budget.0.div_ceil(1_000_000_000));
    let runs = limits.runs.to_string();
    let mut args = vec!["mutants", fault.name, "--apart", "--budget", &seconds, "--runs", &runs];
    if let Some(depth) = limits.depth {
        args.extend(["--depth", if depth == Depth::Message { "0" } else { "1" }]);
    }
    let can_not = |error: std::io::Error| Trouble(format!("can't start a process to hunt {} in: {error}", fault.name));
    let program = std::env::current_exe().map_err(can_not)?;
    let mut child =
        Command::new(program).args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(can_not)?;
    let followed = follow(&mut child, stop);
    // Of a process that has ended of itself there is nothing to end.
    let _ = child.kill();
    let status = child.wait().map_err(can_not)?;
    let (said, last, mut hunt) = match followed? {
        Followed::Told(hunt) => return Ok(hunt),
        Followed::Stopped => return Ok(Hunt::default()),
        Followed::Stuck { runs, last } => {
            (format!("the run did not end within {} s", LONGEST_RUN / 1_000_000_000), last, Hunt { runs, ..Hunt::default() })
        }
        Followed::Died { runs, last } => (format!("its process died of it ({status})"), last, Hunt { runs, ..Hunt::default() }),
    };
    let Some((trial, seed)) = last.filter(|(trial, _)| *trial < trials.len()) else {
        return Err(Trouble(format!("the process that hunts {} said nothing and ended ({status})", fault.name)));
    };
    let property = "every step ends, and takes only so much memory".to_owned();
    let find = Some(Find { trial, seed, checker: "watchdog".to_owned(), property, text: said });
    if holds(&trials[trial], seed, stop) {
        hunt.find = find;
    } else {
        hunt.alarm = find;
    }
    Ok(hunt)
}

enum Followed {
    /// The hunt is over.
    Told(Hunt),
    /// This one was told to stop.
    Stopped,
    /// A run did not end.
    Stuck { runs: u64, last: Option<(usize, u64)> },
    /// The process ended in the middle of a run.
    Died { runs: u64, last: Option<(usize, u64)> },
}

/// Listens to what a hunt's process says.
fn follow(child: &mut Child, stop: &AtomicBool) -> Result<Followed, Trouble> {
    let Some(out) = child.stdout.take() else { return Err(Trouble("a process without output".to_owned())) };
    let (tell, lines) = mpsc::sync_channel(64);
    thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
    let (mut runs, mut last, mut since) = (0, None, Stopwatch::start());
    loop {
        match lines.recv_timeout(TICK) {
            Ok(line) => {
                since = Stopwatch::start();
                if let Some(hunt) = read(&line) {
                    return Ok(Followed::Told(hunt));
                }
                last = line.split_once(' ').and_then(|(trial, seed)| Some((trial.parse().ok()?, seed.parse().ok()?)));
                runs += 1;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(Followed::Died { runs, last }),
            Err(RecvTimeoutError::Timeout) if stop.load(Relaxed) => return Ok(Followed::Stopped),
            Err(RecvTimeoutError::Timeout) if since.ns() > LONGEST_RUN => return Ok(Followed::Stuck { runs, last }),
            Err(RecvTimeoutError::Timeout) => (),
        }
    }
}

/// What such a process does: it says which trial and seed is next each time, and at last what came of it.
///
/// # Errors
/// Nobody listens.
pub fn tell_hunt(fault: &Fault, trials: &[Trial], limits: Limits, stop: &Arc<AtomicBool>) -> Result<(), Trouble> {
    bound_memory();
    let (watch, mut runs, mut trouble) = (Stopwatch::start(), 0, Ok(()));
    let hunt = hunt(fault, trials, limits.depth, stop, &mut |trial, seed| {
        let enough = runs >= limits.runs || watch.ns() >= limits.budget.0;
        runs += 1;
        if !enough {
            trouble = print(&format!("{trial} {seed}\n"));
        }
        enough || trouble.is_err()
    });
    trouble?;
    let find = |find: &Option<Find>| {
        find.as_ref().map(|Find { trial, seed, checker, property, text }| json!([trial, seed, checker, property, text]))
    };
    print(&format!("{}\n", json!({ "runs": hunt.runs, "find": find(&hunt.find), "alarm": find(&hunt.alarm) })))
}

/// The last line of [`tell_hunt`].
fn read(line: &str) -> Option<Hunt> {
    let told: Value = serde_json::from_str(line).ok().filter(Value::is_object)?;
    let find = |value: &Value| {
        let text = |at: usize| value[at].as_str().map(str::to_owned);
        let trial = usize::try_from(value[0].as_u64()?).ok()?;
        Some(Find { trial, seed: value[1].as_u64()?, checker: text(2)?, property: text(3)?, text: text(4)? })
    };
    Some(Hunt { find: find(&told["find"]), alarm: find(&told["alarm"]), runs: told["runs"].as_u64()? })
}

/// Where the system can't bound memory the longest run is still bounded.
fn bound_memory() {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let _ = setrlimit(Resource::As, Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) });
    }
}
