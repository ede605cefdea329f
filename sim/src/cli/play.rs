//! One seed: its run, a second one to compare with if asked for, and whatever may go wrong in them, panics included.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use super::exit::Exit;
use super::pool::STACK;
use super::stopwatch::{Stopwatch, peak_memory};
use super::verify::Side;
use crate::fine::Fine;
use crate::policy::{Length, PolicySpec};
use crate::run::{Failure, Outcome, Phase, Progress, Run, RunOptions, Verdict};
use crate::scenario::Scenario;

/// Events between two looks at how far a run is.
const STRIDE: u64 = 4096;

/// How each seed is run.
pub struct Plan {
    /// What is run.
    pub scenario: Scenario,
    /// A bug to arm.
    pub plant: Option<String>,
    /// What decides the order of events, and how long a run is about, if it must know.
    pub policy: PolicySpec,
    pub length: Option<Length>,
    /// Depth L1, and how.
    pub fine: Option<Fine>,
    /// The second run to compare with, if there is to be one.
    pub verify: Option<Second>,
    /// Ends the run early.
    pub stop: Arc<AtomicBool>,
}

/// What the second run of a seed is run with.
#[derive(Clone, Copy, Debug)]
pub enum Second {
    /// The same seed.
    Same,
    /// Another one: then the two differ, if all is well with the comparison.
    Other(u64),
}

/// How far all runs together are.
#[derive(Default)]
pub struct Gauge {
    /// Events carried out.
    pub events: AtomicU64,
    /// Virtual time of the run that told last, in ns.
    pub time: AtomicU64,
    /// The phase it was in, as a number of [`Phase`].
    pub phase: AtomicU64,
}

/// What came of one run.
pub struct Once {
    /// The verdict.
    pub finding: Finding,
    /// The run; none if it panicked so badly that not even this could be had.
    pub outcome: Option<Outcome>,
    /// Virtual time at its end, in ns since set-up.
    pub virtual_ns: u64,
}

impl Once {
    /// Of a run that there was none of.
    fn nothing() -> Once {
        Once { finding: Finding::Nothing, outcome: None, virtual_ns: 0 }
    }
}

/// What came of a seed.
#[derive(Clone, Debug)]
pub struct Played {
    /// The seed.
    pub seed: u64,
    /// The verdict.
    pub finding: Finding,
    /// The run; none if it panicked so badly that not even this could be had.
    pub outcome: Option<Outcome>,
    /// Virtual time at its end, in ns since set-up.
    pub virtual_ns: u64,
    /// Wall time, in ns; of the first run, if there were two.
    pub wall_ns: u64,
    /// Most memory that the whole process had until then, in bytes.
    pub memory: Option<u64>,
    /// What can be given to `replay`.
    pub replay_file: Option<PathBuf>,
}

/// Whether a seed is as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// All properties and requirements.
    Held,
    /// A property did not hold.
    Violated(Box<Failure>),
    /// A second run of the seed differed: in what.
    Differs(String),
    /// Some requirement, see [`Outcome::requirements`].
    Unmet,
    /// Nothing happened, or nothing looked at it.
    Nothing,
    /// It was told to stop before it came to anything.
    Stopped,
}

impl Finding {
    /// Its word.
    pub fn name(&self) -> &'static str {
        match self {
            Finding::Held => "held",
            Finding::Violated(_) => "violated",
            Finding::Differs(_) => "differs",
            Finding::Unmet => "unmet",
            Finding::Nothing => "nothing",
            Finding::Stopped => "stopped",
        }
    }

    /// What a command ends with that saw it.
    pub fn exit(&self) -> Exit {
        match self {
            Finding::Held => Exit::Held,
            Finding::Violated(_) => Exit::Violated,
            Finding::Differs(_) => Exit::Nondeterministic,
            Finding::Unmet | Finding::Nothing => Exit::Unmet,
            Finding::Stopped => Exit::Interrupted,
        }
    }
}

impl Plan {
    /// Runs a seed.
    pub fn play(&self, seed: u64, gauge: &Gauge) -> Played {
        let watch = Stopwatch::start();
        let (once, wall_ns) = match self.verify {
            None => (once(&self.scenario, &self.options(seed), gauge), watch.ns()),
            Some(second) => self.twice(seed, second, gauge, &watch),
        };
        let Once { finding, outcome, virtual_ns } = once;
        Played { seed, finding, outcome, virtual_ns, wall_ns, memory: peak_memory(), replay_file: None }
    }

    /// A seed and the run to compare it with: what came of the first, and its wall time.
    fn twice(&self, seed: u64, second: Second, gauge: &Gauge, watch: &Stopwatch) -> (Once, u64) {
        let other = if let Second::Other(other) = second { other } else { seed };
        let (first_side, mut second_side) = Side::pair();
        let transcribed = |seed| RunOptions { transcript: true, ..self.options(seed) };
        thread::scope(|scope| {
            let follow = move || {
                let once = compared(&self.scenario, &transcribed(other), gauge, Some(&mut second_side));
                (once, second_side.found())
            };
            let following = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, follow);
            let mut once = {
                let mut side = first_side;
                compared(&self.scenario, &transcribed(seed), gauge, Some(&mut side))
            };
            let wall_ns = watch.ns();
            let (again, parting) = match following.map(thread::ScopedJoinHandle::join) {
                Ok(Ok((again, parting))) => (again, parting),
                Ok(Err(_)) => (Once::nothing(), Some("the second run panicked".to_owned())),
                Err(error) => (Once::nothing(), Some(format!("there was no second run, for want of a thread: {error}"))),
            };
            if let Finding::Held | Finding::Unmet = once.finding {
                once.finding = match (again.finding, parting) {
                    (Finding::Stopped, _) => Finding::Stopped,
                    (Finding::Violated(failure), parting) => {
                        let text = format!("only the second run violated \"{}\": {}", failure.property, failure.text);
                        Finding::Differs(parting.map_or(text.clone(), |parting| format!("{parting}; {text}")))
                    }
                    (_, parting) => match (parting, difference(once.outcome.as_ref(), again.outcome.as_ref())) {
                        (None, None) => once.finding,
                        (parting, ends) => Finding::Differs(parting.into_iter().chain(ends).collect::<Vec<_>>().join("; ")),
                    },
                };
            }
            (once, wall_ns)
        })
    }

    /// What a seed is run with.
    pub fn options(&self, seed: u64) -> RunOptions {
        RunOptions {
            seed,
            planted: self.plant.clone(),
            policy: self.policy.clone(),
            length: self.length,
            fine: self.fine.clone(),
            stop: Some(Arc::clone(&self.stop)),
            ..RunOptions::default()
        }
    }
}

/// Whether a scenario can be ordered as the command line says.
///
/// # Errors
/// What cannot be, and what to do about it.
pub fn orderable(scenario: &Scenario, policy: &PolicySpec, depth: u8) -> Result<(), String> {
    let nodes: Vec<String> = scenario.nodes.iter().map(|node| node.name.clone()).collect();
    policy.check(&nodes).map_err(|bad| bad.to_string())?;
    match scenario.loose().filter(|_| depth > 0) {
        Some(node) => Err(format!(
            "[nodes]: {node} is loose, which only depth L0 can play: run it without --depth {depth}, or without `loose` (--set of its key in [nodes] to false)"
        )),
        None => Ok(()),
    }
}

/// The policy and depth of the command line as a [`Plan`] has them: at depth L1 the policy says who is next there, and down to where
/// that begins nothing is reordered.
pub fn order(policy: &PolicySpec, depth: u8) -> (PolicySpec, Option<Fine>) {
    if depth == 0 {
        return (policy.clone(), None);
    }
    let spec = (*policy != PolicySpec::Timed).then(|| policy.clone());
    (PolicySpec::Timed, Some(Fine { spec, ..Fine::default() }))
}

/// One run.
pub fn once(scenario: &Scenario, options: &RunOptions, gauge: &Gauge) -> Once {
    compared(scenario, options, gauge, None)
}

/// One run, compared with another one if there is a `side`.
fn compared(scenario: &Scenario, options: &RunOptions, gauge: &Gauge, side: Option<&mut Side>) -> Once {
    match caught(|| Run::new(scenario, options)) {
        Ok(run) => follow(run, gauge, side),
        Err(text) => Once { finding: find(None, Some(panicked(text, NOWHERE))), outcome: None, virtual_ns: 0 },
    }
}

const NOWHERE: Progress = Progress { phase: Phase::SetUp, time: 0, events: 0, timers: 0, delivered: 0, calls: 0, moved: 0 };

/// Takes a run to its end.
pub fn drive(run: Run, gauge: &Gauge) -> Once {
    follow(run, gauge, None)
}

fn follow(mut run: Run, gauge: &Gauge, mut side: Option<&mut Side>) -> Once {
    let mut told = 0;
    let ended = caught(|| {
        let mut steps = 0_u64;
        if let Some(side) = &mut side {
            // What happened before the first event is no part of it.
            side.stepped(&run);
        }
        while run.step() {
            steps += 1;
            if let Some(side) = &mut side {
                side.stepped(&run);
            }
            if steps.is_multiple_of(STRIDE) {
                told = tell(gauge, told, run.progress());
            }
        }
    });
    if let Some(side) = side {
        side.ended(&run);
    }
    let progress = caught(|| run.progress()).unwrap_or(NOWHERE);
    tell(gauge, told, progress);
    let outcome = caught(|| run.finish()).ok();
    let failure = ended.err().map(|text| panicked(text, progress));
    Once { finding: find(outcome.as_ref(), failure), outcome, virtual_ns: progress.time }
}

/// Adds to the gauge what is new since `told` events; answers how many events it knows now.
fn tell(gauge: &Gauge, told: u64, progress: Progress) -> u64 {
    gauge.events.fetch_add(progress.events.saturating_sub(told), Relaxed);
    gauge.time.store(progress.time, Relaxed);
    gauge.phase.store(progress.phase as u64, Relaxed);
    progress.events
}

fn panicked(text: String, at: Progress) -> Failure {
    Failure { property: "no panic", checker: "panic", text, time: at.time, event: at.events, phase: at.phase, process: None, portal: None }
}

fn find(outcome: Option<&Outcome>, failure: Option<Failure>) -> Finding {
    if let Some(failure) = failure {
        return Finding::Violated(Box::new(failure));
    }
    let Some(outcome) = outcome else { return Finding::Nothing };
    match &outcome.verdict {
        Verdict::Violated(failure) => Finding::Violated(failure.clone()),
        Verdict::Stopped => Finding::Stopped,
        Verdict::Unmet(_) => Finding::Unmet,
        Verdict::Held if outcome.events == 0 || outcome.checks.iter().all(|check| check.checks == 0) => Finding::Nothing,
        Verdict::Held => Finding::Held,
    }
}

/// What two runs of one seed differ in, the most telling first.
fn difference(one: Option<&Outcome>, two: Option<&Outcome>) -> Option<String> {
    let (Some(one), Some(two)) = (one, two) else { return (one != two).then(|| "only one of two runs came to an end".to_owned()) };
    if one.fingerprint != two.fingerprint {
        let [a, b] = [one, two].map(|run| format!("{:032x} after {} events", run.fingerprint, run.events));
        return Some(format!("fingerprints: {a}, then {b}"));
    }
    let mut same_seed = two.clone();
    same_seed.seed = one.seed;
    (*one != same_seed).then(|| "the same fingerprint, but not the same outcome: something is not part of the trace".to_owned())
}

thread_local! {
    /// Where panics of this thread are told while it runs a seed.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics tell [`caught`] where they were. Without it they print as usual.
pub fn listen_to_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map(|at| format!(" ({}:{})", at.file(), at.line())).unwrap_or_default();
        let text = panic.payload_as_str().unwrap_or("a panic without words");
        let taken = PANIC.try_with(|slot| match &mut *slot.borrow_mut() {
            Some(told) if told.is_empty() => *told = format!("{text}{place}"),
            Some(_) => (),
            None => usual(panic),
        });
        if taken.is_err() {
            usual(panic);
        }
    }));
}

/// Calls `body`; a panic in it is an error with its words and place.
pub fn caught<R>(body: impl FnOnce() -> R) -> Result<R, String> {
    PANIC.with_borrow_mut(|slot| *slot = Some(String::new()));
    let result = catch_unwind(AssertUnwindSafe(body));
    let told = PANIC.with_borrow_mut(Option::take).filter(|text| !text.is_empty());
    result.map_err(|_| told.unwrap_or_else(|| "a panic".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_text_with_its_place() {
        listen_to_panics();
        let text = caught(|| -> u32 { panic!("router {} lost its edge", 7) }).unwrap_err();
        assert!(text.starts_with("router 7 lost its edge (") && text.contains("play.rs:"), "{text}");
        assert_eq!(caught(|| 3), Ok(3));
        let at = Progress { phase: Phase::Work, time: 5, events: 9, timers: 0, delivered: 0, calls: 0, moved: 0 };
        let found = find(None, Some(panicked(text, at)));
        assert_eq!(found.exit().code(), 42);
        let Finding::Violated(failure) = found else { panic!("not violated") };
        assert_eq!((failure.property, failure.event, failure.time), ("no panic", 9, 5));
    }
}
