//! Many seeds on some threads, their results in the order of the seeds.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use super::args::Seeds;
use super::out::Trouble;
use super::play::{Finding, Gauge, Plan, Played};

/// How often `each` is given a chance to show progress.
const TICK: Duration = Duration::from_millis(100);
/// Stack of a thread that runs seeds, as a main thread's.
pub const STACK: usize = 8 << 20;

/// What [`each_seed`] tells while it runs.
pub enum Event<'a> {
    /// The next seed's result.
    Played(Box<Played>),
    /// Some time has passed: so many results are told, and this far the others are.
    Tick(u64, &'a Gauge),
}

/// Runs all seeds, `jobs` at a time, and tells the results in order. Answers how many were told: fewer than there are if the plan was
/// stopped.
///
/// # Errors
/// What `each` answers ends the sweep; or a thread could not be started.
pub fn each_seed(plan: &Plan, seeds: Seeds, jobs: usize, each: &mut dyn FnMut(Event<'_>) -> Result<(), Trouble>) -> Result<u64, Trouble> {
    let (gauge, next) = (Gauge::default(), AtomicU64::new(0));
    let (tell, results) = mpsc::sync_channel(2 * jobs.min(64));
    let work = |tell: mpsc::SyncSender<(u64, Box<Played>)>| {
        while !plan.stop.load(Relaxed) {
            let at = next.fetch_add(1, Relaxed);
            if at >= seeds.count {
                return;
            }
            let played = plan.play(seeds.first + at, &gauge);
            if played.finding == Finding::Stopped || tell.send((at, Box::new(played))).is_err() {
                return;
            }
        }
    };
    let mut told = 0;
    let result = thread::scope(|scope| {
        let ended = (|| {
            for _ in 0..seeds.count.min(jobs as u64) {
                let (tell, work) = (tell.clone(), &work);
                let thread = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || work(tell));
                thread.map_err(|error| Trouble(format!("can't start a thread: {error}")))?;
            }
            drop(tell);
            // Its end, however it comes, lets go threads that wait for room.
            let results = results;
            let mut early = BTreeMap::new();
            loop {
                match results.recv_timeout(TICK) {
                    Ok((at, played)) => {
                        early.insert(at, played);
                        while let Some(played) = early.remove(&told) {
                            each(Event::Played(played))?;
                            told += 1;
                        }
                        each(Event::Tick(told, &gauge))?;
                    }
                    Err(RecvTimeoutError::Timeout) => each(Event::Tick(told, &gauge))?,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
        })();
        if ended.is_err() {
            plan.stop.store(true, Relaxed);
        }
        ended
    });
    result.map(|()| told)
}
