//! `bench`: how fast the simulator is here. Wall time decides how many seeds run, nothing in them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::panic::resume_unwind;
use std::{io, thread};

use ipcz_reports::format::{bytes, measured, number, plural, rate};
use xxhash_rust::xxh3::Xxh3;

use super::again;
use super::args::{BenchArgs, Setting};
use super::exit::Exit;
use super::out::{Trouble, print, tell};
use super::pool::STACK;
use super::stopwatch::{Stopwatch, peak_memory, processor_ns};
use crate::choice::Source;
use crate::fine::{Counts, Fine};
use crate::run::{Failure, Outcome, Phase, Progress, Run, RunOptions, Verdict};
use crate::scenario::Scenario;
use crate::world::bare_heap;

const HANDS: &str = include_str!("../../../scenarios/races/four-hands.toml");
const CROWD: &str = include_str!("../../../scenarios/crowd.toml");
/// Events between two looks at the clock.
const STRIDE: u64 = 256;

/// Runs the bench that `args` name; without a name, lists them.
///
/// # Errors
/// Standard output can't be written.
pub fn bench(args: &BenchArgs) -> Result<Exit, Trouble> {
    match args.name.as_deref() {
        None => {
            print(
                "crowd       thousands of nodes at random work on one core: messages and calls a second\n\
                 four-hands  depth L1: schedules of a small race from one copied world: shared operations and schedules a second\n",
            )?;
            Ok(Exit::Held)
        }
        Some("crowd") if args.jobs.get() > 1 => {
            tell("ipcz-sim: crowd is one world, which one core runs: leave out --jobs\n");
            Ok(Exit::Usage)
        }
        Some("crowd") => crowd(args),
        Some("four-hands") => hands(args),
        Some(other) => {
            tell(&format!("ipcz-sim: no bench is called \"{other}\": expected crowd or four-hands\n"));
            Ok(Exit::Usage)
        }
    }
}

fn hands(args: &BenchArgs) -> Result<Exit, Trouble> {
    const FILE: &str = "scenarios/races/four-hands.toml";
    let scenario = match Scenario::parse(FILE, HANDS, &Setting::pairs(&args.sets)) {
        Ok(scenario) => scenario,
        Err(error) => {
            tell(&super::usage::explain(&error));
            return Ok(Exit::Usage);
        }
    };
    let jobs = args.jobs.get() as u64;
    let nodes = plural(scenario.nodes.len() as u64, "node");
    print(&format!(
        "four-hands: {}\n  {nodes}, {}\n",
        scenario.purpose,
        if jobs == 1 { "one core".into() } else { format!("{jobs} threads") }
    ))?;
    let of = |job: u64| schedules(&scenario, args.seconds.saturating_mul(1_000_000_000), job, jobs);
    let done: Vec<Hands> = thread::scope(|scope| {
        let start = |job| thread::Builder::new().stack_size(STACK).spawn_scoped(scope, move || of(job));
        let threads: Vec<_> = (0..jobs).map(start).collect::<Result<_, _>>()?;
        Ok(threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic))).collect())
    })
    .map_err(|error: io::Error| Trouble(format!("can't start a thread: {error}")))?;
    let mut all = Hands::default();
    for hands in done {
        if let Some((schedule, failure)) = hands.violated {
            let replay = again::bench(args, FILE, schedule);
            print(&format!("VIOLATED: {}: {}; schedule {schedule}; replay: {replay} --depth 1\n", failure.property, failure.text))?;
            return Ok(Exit::Violated);
        }
        all.schedules += hands.schedules;
        all.fine.add(hands.fine);
        all.fine_ns += hands.fine_ns;
        all.wall_ns += hands.wall_ns;
        all.core_ns += hands.core_ns;
        all.orders.extend(hands.orders);
    }
    if all.schedules == 0 {
        print("  the run was over before depth L1 began: nothing was measured\n")?;
        return Ok(Exit::Unmet);
    }
    print(&hands_text(&all, jobs))?;
    Ok(Exit::Held)
}

/// What one thread came to, or all together.
#[derive(Default)]
struct Hands {
    schedules: u64,
    fine: Counts,
    /// From the copied worlds to rest.
    fine_ns: u64,
    wall_ns: u64,
    /// Of that, for how long it had a processor.
    core_ns: u64,
    /// Their fingerprints.
    orders: BTreeSet<u128>,
    violated: Option<(u64, Box<Failure>)>,
}

/// Every `jobs`-th schedule for so long; none if the run is over before depth L1 begins.
fn schedules(scenario: &Scenario, budget_ns: u64, job: u64, jobs: u64) -> Hands {
    let mut done = Hands::default();
    let mut base = Run::new(scenario, &RunOptions { recent: 0, graph: false, fine: Some(Fine::default()), ..RunOptions::default() });
    if !base.go_to_fine() {
        return done;
    }
    let (processor, watch) = (processor_ns(), Stopwatch::start());
    while watch.ns() < budget_ns {
        for _ in 0..64 {
            let schedule = done.schedules * jobs + job + 1;
            done.schedules += 1;
            let mut run = base.fork();
            run.close_at_end(done.schedules.is_multiple_of(CLOSE_EVERY));
            run.decide_by(schedule, Source::seeded(schedule, &scenario.name));
            let outcome = play(run, &mut done.fine_ns);
            if let Verdict::Violated(failure) = outcome.verdict {
                done.violated = Some((schedule, failure));
                return done;
            }
            done.fine.add(outcome.fine);
            done.orders.insert(outcome.fingerprint);
        }
    }
    done.wall_ns = watch.ns();
    done.core_ns = processor_ns().zip(processor).map_or(done.wall_ns, |(now, then)| now.saturating_sub(then));
    done
}

/// One schedule in so many goes on to the closing of everything and the search for leaks, which takes longer than the schedule; the
/// others end with the checks at rest.
const CLOSE_EVERY: u64 = 64;

/// One schedule to its end; adds the time that it took up to rest.
fn play(mut run: Run, fine_ns: &mut u64) -> Outcome {
    let watch = Stopwatch::start();
    while run.step() && run.is_fine() {}
    *fine_ns += watch.ns();
    while run.step() {}
    run.finish()
}

fn hands_text(all: &Hands, jobs: u64) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:20} {value}");
    };
    let Hands { schedules, fine, wall_ns, core_ns, .. } = *all;
    // Of all threads together, each on a core of its own.
    let a_second = |count: u64, ns: u64| rate(count.saturating_mul(jobs), ns).map_or_else(|| "-".to_owned(), number);
    let each = |count: u64| number(count.checked_div(schedules).unwrap_or(0));
    // Who else runs here takes away the same share of both.
    let fine_ns = (u128::from(all.fine_ns) * u128::from(core_ns) / u128::from(wall_ns.max(1))) as u64;
    let (wall, core) = (measured(wall_ns / jobs), measured(core_ns / jobs));
    line("measured", format!("{wall}, of which {} had a processor for {core}", if jobs == 1 { "this thread" } else { "a thread" }));
    line(
        "schedules",
        format!("{} a second, {} in all, {} distinct", a_second(schedules, core_ns), number(schedules), number(all.orders.len() as u64)),
    );
    line("  each", format!("a copy of the world at L0, the race, the checks at rest; one in {CLOSE_EVERY} is closed down too"));
    line("shared operations", format!("{} a second, from the copied world to rest", a_second(fine.operations(), fine_ns)));
    line("  all included", format!("{} a second: copy, checks and closing count too", a_second(fine.operations(), core_ns)));
    line(
        "  of a schedule",
        format!("{}: {} on memory, {} of locks and effects", each(fine.operations()), each(fine.accesses), each(fine.turns)),
    );
    line("  inputs, switches", format!("{} and {} a schedule", each(fine.inputs), each(fine.switches)));
    out
}

/// Sums over the work phases that were measured.
#[derive(Default)]
struct Work {
    seeds: u64,
    wall_ns: u64,
    processor_ns: Option<u64>,
    events: u64,
    delivered: u64,
    calls: u64,
    moved: u64,
    bytes: u64,
    parcels: u64,
    bypasses: u64,
    timers: u64,
    answers: u64,
    checks: u64,
    checkers: Vec<&'static str>,
    peak_events: u64,
    last_fingerprint: u128,
}

fn crowd(args: &BenchArgs) -> Result<Exit, Trouble> {
    let scenario = match Scenario::parse("scenarios/crowd.toml", CROWD, &Setting::pairs(&args.sets)) {
        Ok(scenario) => scenario,
        Err(error) => {
            tell(&super::usage::explain(&error));
            return Ok(Exit::Usage);
        }
    };
    print(&format!("crowd: {}\n  {}, one core\n", scenario.purpose, plural(scenario.nodes.len() as u64, "node")))?;
    let budget_ns = args.seconds.saturating_mul(1_000_000_000);
    let mut work = Work::default();
    while work.wall_ns < budget_ns {
        let seed = work.seeds + 1;
        if let Some(failure) = measure(&scenario, seed, budget_ns, &mut work) {
            let replay = again::bench(args, "scenarios/crowd.toml", seed);
            print(&format!("{failure}; seed {seed}; replay: {replay}\n"))?;
            return Ok(Exit::Violated);
        }
        if work.events == 0 {
            print("  the work phase was never reached: nothing was measured\n")?;
            return Ok(Exit::Unmet);
        }
    }
    print(&text(&work))?;
    Ok(Exit::Held)
}

/// Adds the work phase of one seed, or as much of it as is left of the time. Answers what was violated.
fn measure(scenario: &Scenario, seed: u64, budget_ns: u64, work: &mut Work) -> Option<String> {
    let mut run = Run::new(scenario, &RunOptions { seed, recent: 0, ..RunOptions::default() });
    let mut going = true;
    while going && run.progress().phase < Phase::Work {
        going = run.step();
    }
    let (before, processor, watch) = (run.progress(), processor_ns(), Stopwatch::start());
    while going && run.progress().phase == Phase::Work && work.wall_ns + watch.ns() < budget_ns {
        for _ in 0..STRIDE {
            going = going && run.step();
        }
    }
    let (after, wall_ns) = (run.progress(), watch.ns());
    add(work, before, after, wall_ns);
    let processor = processor_ns().zip(processor).map(|(now, then)| now.saturating_sub(then));
    work.processor_ns = processor.map(|ns| work.processor_ns.unwrap_or(0) + ns);
    let outcome = run.finish();
    work.bytes += outcome.run.bytes;
    work.parcels += outcome.deliveries;
    work.bypasses += outcome.bypasses;
    work.answers += outcome.answers;
    work.checks += outcome.checks.iter().map(|check| check.checks).sum::<u64>();
    work.checkers = outcome.checks.iter().filter(|check| check.checks > 0).map(|check| check.name).collect();
    work.peak_events = work.peak_events.max(outcome.peaks.events);
    work.last_fingerprint = outcome.fingerprint;
    match outcome.verdict {
        Verdict::Violated(failure) => Some(format!("VIOLATED: {}: {}", failure.property, failure.text)),
        Verdict::Held | Verdict::Unmet(_) | Verdict::Stopped => None,
    }
}

fn add(work: &mut Work, before: Progress, after: Progress, wall_ns: u64) {
    work.seeds += 1;
    work.wall_ns += wall_ns;
    work.events += after.events - before.events;
    work.delivered += after.delivered - before.delivered;
    work.calls += after.calls - before.calls;
    work.moved += after.moved - before.moved;
    work.timers += after.timers - before.timers;
}

fn text(work: &Work) -> String {
    let watch = Stopwatch::start();
    let checksum = bare_heap(work.events, usize::try_from(work.peak_events.max(1)).unwrap_or(usize::MAX));
    let heap_ns = watch.ns();
    let hash_ns = hashing(work.bytes);
    let a_second = |count: u64| rate(count, work.wall_ns).map_or_else(|| "-".to_owned(), number);
    let share = |ns: u64| ns.saturating_mul(100).checked_div(work.wall_ns).unwrap_or(0);
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "  {name:20} {value}");
    };
    let both = work.delivered + work.calls;
    line("measured", format!("{}, work phase of {}", measured(work.wall_ns), plural(work.seeds, "seed")));
    line("messages and calls", format!("{} a second", a_second(both)));
    if let Some(ns) = work.processor_ns {
        let rate = rate(both, ns).map_or_else(|| "-".to_owned(), number);
        line("  on a whole core", format!("{rate} a second: this thread had one for {}", measured(ns)));
    }
    line("messages delivered", format!("{} a second, {} in all", a_second(work.delivered), number(work.delivered)));
    line("calls", format!("{} a second, {} in all", a_second(work.calls), number(work.calls)));
    let moved = "put, took, opened, closed or merged something; the rest are traps and gets that found nothing";
    line("  of those", format!("{} {moved}", number(work.moved)));
    let others = work.events.saturating_sub(work.delivered + work.timers);
    line("events", format!("{} a second, {} in all", a_second(work.events), number(work.events)));
    line("  timers", format!("{}: the workload's turns and the library's deadlines", number(work.timers)));
    line("  the rest", format!("{}: broken and closed transports, lost messages", number(others)));
    line("answers of drivers", number(work.answers));
    line("parcels taken", number(work.parcels));
    line("bypasses", number(work.bypasses));
    line("checkers on", format!("{}: {}", plural(work.checks, "check"), work.checkers.join(", ")));
    line("fingerprint on", format!("{:032x} (last seed, as far as it ran)", work.last_fingerprint));
    let heap_rate = rate(work.events, heap_ns).map_or_else(|| "-".to_owned(), number);
    // The checksum is printed so that the heap's work is not optimised away.
    line("a bare heap", format!("{heap_rate} events a second with {} waiting (checksum {checksum:x})", number(work.peak_events)));
    let rest = 100_u64.saturating_sub(share(heap_ns) + share(hash_ns));
    let parts = format!("heap {} %, hashing the bytes of messages {} %", share(heap_ns), share(hash_ns));
    line("limited by", format!("what happens at an event, {rest} %: library, transports, workload, checkers ({parts})"));
    line("peak memory", peak_memory().map_or_else(|| "-".to_owned(), bytes));
    out
}

/// How long it takes to hash so many bytes as a fingerprint does, in ns.
fn hashing(bytes: u64) -> u64 {
    let (mut hash, chunk) = (Xxh3::new(), [7; 4096]);
    let watch = Stopwatch::start();
    for _ in 0..bytes / chunk.len() as u64 {
        hash.update(&chunk);
    }
    std::hint::black_box(hash.digest128());
    watch.ns()
}
