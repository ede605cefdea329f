//! One run of a scenario: its phases, its verdict. What must be true is known to `ghost/`, what is done to `app/`, what is compared to
//! `check/`.

mod config;
mod ending;
#[cfg(test)]
mod fault_tests;
mod fine;
mod looking;
mod outcome;
mod stall;
#[cfg(test)]
mod tests;
mod transcript;

use std::sync::Arc;

pub use outcome::{
    Calls, CheckCount, Failure, GraphData, LastProxy, LinkKind, Outcome, Peaks, Phase, Progress, Recorded, Requirement, RouterKind,
    RunOptions, Traffic, Verdict,
};

use ipcz::inspect::Totals;
use ipcz::limits::Limits;

use crate::app::{LATE, Plan, SetUp, Stage, Workload};
use crate::check::{
    Broken, Checked, Closure, Delivery, Honesty, Leaks, Names, Routes, Scope, Secrecy, Shape, Status, Steps, Tally, Violation, Watch,
};
use crate::choice::Source;
use crate::fine::{Engine, Fine};
use crate::ghost::EndId;
use crate::hostile::Hostility;
use crate::policy::{Length, PolicySpec};
use crate::scenario::Scenario;
use crate::swarm::expand;
use crate::world::{Event, World};
use fine::Descent;
pub use fine::measure_fine;

/// The constant of the liveness bound, in longest latencies.
const SETTLE: u64 = 200;
/// How long whoever found no link memory asks again, in ns (routing.md 18, D6).
const SCARCE: u64 = 700_000_000;
/// Events a scheduled world may take for each thing it has to finish, and for each longest latency of [`SETTLE`].
const EVENTS_EACH: u64 = 64;
const FEW: u64 = 10;
/// Progress is told, and slow counts are taken, once in so many events.
const SELDOM: u64 = 1 << 14;

/// A small world as a whole is looked at once in so many events.
const LOOK_AT_ALL_EVERY: u64 = 64;
/// The same at depth L1, where an event is a turn.
const LOOK_AT_ALL_TURNS: u64 = 512;

/// A run that can be taken step by step, and copied at any of them.
pub struct Run {
    scenario: Arc<Scenario>,
    options: RunOptions,
    stage: Stage,
    watch: Watch,
    set_up: SetUp,
    plan: Plan,
    workload: Workload,
    phase: Phase,
    events: u64,
    /// Of those, timers: the workload's and the library's.
    turns: u64,
    liveness: Tally,
    /// Proxies by process, as last seen, and their sum.
    proxies: Vec<usize>,
    proxies_now: usize,
    /// When set-up was over; when the workload was; the last time anything but a timer happened.
    start: u64,
    worked: u64,
    latest: u64,
    /// When everything must be at rest: a time, or (if nothing is timed) a number of events.
    deadline: u64,
    /// Calls made when somebody last looked, and the event by which there must be another, or rest.
    calm: (u64, u64),
    scheduled: bool,
    /// What there was before the run proper, and at its end.
    before: (Traffic, Totals),
    after: Option<Traffic>,
    closing: bool,
    /// One end of every pipe is closed, the other not yet.
    half_closed: bool,
    /// Nothing has happened since everything was counted.
    counted: bool,
    outcome: Outcome,
    /// Depth L1, once it has begun and until rest.
    engine: Option<Box<Engine>>,
    /// Where it stands before that.
    descent: Descent,
}

impl Run {
    /// Sets the world up; nothing has happened in it yet.
    pub fn new(scenario: &Scenario, options: &RunOptions) -> Run {
        let length = options.length.or_else(|| {
            let needs = |spec: &PolicySpec| spec.of_seed(options.seed).needs_length();
            measure_for(scenario, &options.policy, options.fine.as_ref(), needs)
        });
        let source = options.source.clone().unwrap_or_else(|| Source::seeded(options.seed, &scenario.name));
        let mut source = if options.log { source.recording() } else { source };
        let scenario = expand(scenario, &mut source);
        let mut stage = Stage::new(World::new(config::of(&scenario, options), source));
        stage.longest = config::longest(&scenario);
        stage.said = options.record.then(Vec::new);
        let watch = Watch::new(scenario.nodes.iter().map(|node| node.broker).collect(), config::hostile(&scenario), options.record);
        stage.world.trace(|trace| {
            trace.observe(Some(Box::new(watch.clone())));
            if options.transcript {
                trace.transcribe();
            }
        });
        let mut plan = Plan::new(Arc::clone(&scenario));
        let set_up = SetUp::begin(&mut stage, &scenario, options.planted.as_deref(), &mut plan.ends);
        let mut run = Run {
            stage,
            watch,
            set_up: SetUp::default(),
            plan,
            workload: Workload::new(Arc::clone(&scenario)),
            phase: Phase::SetUp,
            events: 0,
            turns: 0,
            liveness: Tally::default(),
            proxies: vec![0; scenario.nodes.len()],
            proxies_now: 0,
            start: 0,
            worked: 0,
            latest: 0,
            deadline: u64::MAX,
            calm: (0, u64::MAX),
            scheduled: false,
            before: (Traffic::default(), Totals::default()),
            after: None,
            closing: false,
            half_closed: false,
            counted: false,
            outcome: Outcome::begin(&scenario, options.seed),
            engine: None,
            descent: Descent::Never,
            options: RunOptions { length, ..options.clone() },
            scenario,
        };
        run.stage.checks.steps.thorough = run.small();
        run.descent = Descent::of(options, run.scenario.run.fine.as_deref(), &mut run.plan);
        match set_up {
            Ok(set_up) => {
                run.scheduled = run.stage.world.is_scheduled();
                run.set_up = set_up;
                run.allow();
            }
            Err(violation) => run.fail(*violation),
        }
        run
    }

    /// Carries out one event and what the applications do about it. False once the run is over.
    pub fn step(&mut self) -> bool {
        if self.phase == Phase::Done {
            return false;
        }
        if let Err(violation) = self.advance() {
            self.fail(*violation);
        }
        if self.options.record {
            self.record();
        }
        self.phase != Phase::Done
    }

    fn advance(&mut self) -> Checked {
        if self.descent != Descent::Never && self.descend()? {
            return Ok(());
        }
        let Some(step) = self.stage.world.step() else { return self.idle() };
        self.events += 1;
        match step.event {
            Event::App { token } => {
                self.turns += 1;
                self.token(token)?;
            }
            Event::Timer { .. } => self.turns += 1,
            Event::Nothing => (),
            _ => {
                self.latest = step.time;
                if step.time > self.deadline && !self.scheduled {
                    return Err(self.stalled("messages still arrive"));
                }
            }
        }
        if self.scheduled && self.events > self.deadline {
            return Err(self.stalled("events still happen"));
        }
        self.watched()?;
        let process = step.event.process();
        if process.is_some() {
            self.stage.mark(process);
        }
        self.stage.suffer();
        self.react()?;
        self.read_sent();
        if let Some(process) = process {
            self.look(process)?;
            self.beset(process)?;
        }
        if self.phase == Phase::Work && self.plan.is_done() && self.workload.is_done() {
            self.settle()?;
        }
        if self.small() && self.events.is_multiple_of(LOOK_AT_ALL_EVERY) {
            self.look_at_all(Scope::Routes)?;
        }
        if self.events.is_multiple_of(SELDOM) {
            self.seldom();
            self.storm()?;
        }
        Ok(())
    }

    fn token(&mut self, token: u64) -> Checked {
        let number = token & ((1 << 56) - 1);
        match token >> 56 {
            0 => self.plan.token(&mut self.stage, number),
            2 => self.stage.read_late(EndId(number as u32)),
            3 => {
                self.stage.release(number as u32);
                Ok(())
            }
            4 => self.stage.end_open(number as u32),
            _ => self.workload.token(&mut self.stage, number),
        }
    }

    /// The applications react to what they learn until there is nothing new.
    fn react(&mut self) -> Checked {
        loop {
            self.stage.serve()?;
            self.stage.suffer();
            if self.stage.news.is_empty() {
                return Ok(());
            }
            let mut news = std::mem::take(&mut self.stage.news);
            if matches!(self.phase, Phase::Work | Phase::Settle) {
                for news in &news {
                    self.plan.heard(&mut self.stage, *news)?;
                    self.workload.heard(&mut self.stage, *news)?;
                }
            }
            news.clear();
            if self.stage.news.is_empty() {
                self.stage.news = news;
            }
        }
    }

    /// A world that nobody calls must come to rest, also while steps wait for what never comes.
    fn storm(&mut self) -> Checked {
        let calls = self.stage.calls.moved();
        if calls != self.calm.0 || self.calm.1 == u64::MAX {
            self.calm = (calls, self.events + self.enough(self.scenario.run.settle.unwrap_or(SETTLE)));
        }
        if self.events > self.calm.1 { Err(self.stalled("events happen and happen while nobody calls")) } else { Ok(()) }
    }

    /// Nothing is left to happen: the next phase.
    fn idle(&mut self) -> Checked {
        self.seldom();
        match self.phase {
            Phase::SetUp => {
                let done = self.set_up.idle(&mut self.stage, &self.scenario, &mut self.plan.ends)?;
                // For what it has begun.
                self.allow();
                if done {
                    if self.descent == Descent::AfterSetUp {
                        self.descent = Descent::Due;
                        return Ok(());
                    }
                    self.work()?;
                }
                Ok(())
            }
            Phase::Work => self.settle(),
            Phase::Settle => self.rest(),
            Phase::Closing if self.half_closed => self.peers_told(),
            Phase::Closing => self.leaks(),
            Phase::Done => Ok(()),
        }
    }

    fn work(&mut self) -> Checked {
        self.phase = Phase::Work;
        self.deadline = u64::MAX;
        self.govern()?;
        self.start = self.stage.world.now();
        (self.worked, self.latest) = (self.start, self.start);
        self.stage.names = Names::of(&self.stage.world);
        self.before = (config::traffic(&self.stage.world), self.totals());
        self.stage.world.arm_faults(None);
        self.stage.beware(config::hostile(&self.scenario), &self.scenario.hostile);
        let stage = &mut self.stage;
        stage.know_connections();
        (stage.calls, stage.deliveries, stage.closures, stage.order) = (Calls::default(), 0, 0, 0);
        self.stage.acts = self.options.acts.then(Vec::new);
        self.plan.begin(&mut self.stage)?;
        self.workload.begin(&mut self.stage)?;
        self.watched()?;
        self.react()
    }

    /// From now on the policy decides what is next.
    fn govern(&mut self) -> Checked {
        let policy = self.options.policy.of_seed(self.options.seed);
        let length = self.options.length.unwrap_or(Length(1));
        let names: Vec<String> = self.scenario.nodes.iter().map(|node| node.name.clone()).collect();
        let built = policy.build(&names, length);
        let built = built.map_err(|bad| Violation::new("policy", "the policy is one for this scenario", bad.to_string()))?;
        self.stage.world.govern(built.unwrap_or_default());
        // Whoever has gone down to single operations has said what orders those.
        if self.engine.is_none() {
            let policy = if self.scheduled && policy == PolicySpec::Timed { PolicySpec::Fifo } else { policy };
            self.outcome.length = policy.needs_length().then_some(length);
            self.outcome.policy = policy;
        }
        Ok(())
    }

    fn settle(&mut self) -> Checked {
        self.phase = Phase::Settle;
        self.worked = self.stage.world.now();
        self.stage.heal();
        self.stage.catch_up()?;
        self.allow();
        self.react()
    }

    /// From now on everything must come to rest within the liveness bound.
    fn allow(&mut self) {
        let settle = self.scenario.run.settle.unwrap_or(SETTLE);
        if self.scheduled {
            self.deadline = self.events + self.enough(settle);
            return;
        }
        // A bypass takes 3 latencies. What an introduction takes before it is the constant's.
        let latencies = 3 * self.proxies_now as u64 + settle;
        let faults = LATE * self.stage.world.longest_fault() + if self.stage.checks.shape.scarce { SCARCE } else { 0 };
        // What a broker asked another one to introduce is given up then, which nobody minds if it was done.
        let several = self.scenario.nodes.iter().filter(|node| node.broker).count() > 1;
        // One after the other: brokers are asked for the node, then one of them to introduce it.
        let given_up = if several { 2 * (Limits::default().introduction_deadline.as_nanos() as u64 + self.stage.longest) } else { 0 };
        let now = self.stage.world.now();
        self.deadline = now.saturating_add(latencies.saturating_mul(self.stage.longest)).saturating_add(faults + given_up);
    }

    /// Events within which a scheduled world, where time says nothing, must come to rest. A parcel that is under way may have to pass
    /// every proxy; beside that each proxy, each end and each parcel (which may carry a portal that thereby becomes a proxy) costs a
    /// bounded number of messages: the longest bypass takes 8, with an introduction and growing memory at both its links 24.
    fn enough(&self, settle: u64) -> u64 {
        let under_way = self.stage.world.population().events as u64 + self.stage.calls.puts.saturating_sub(self.stage.calls.gets);
        let ends: u64 = self.stage.homes.iter().map(|home| home.all().count() as u64).sum();
        let proxies = self.proxies_now as u64;
        settle.saturating_mul(FEW) + under_way * (proxies + 1) + EVENTS_EACH * (under_way + proxies + ends)
    }

    fn record(&mut self) {
        let time = self.stage.world.now();
        let said = self.stage.said.iter_mut().flat_map(|said| said.drain(..));
        self.outcome.recording.extend(said.map(|(process, text)| Recorded::App { time, process, text }));
        if let Some(notes) = &mut self.watch.lock().notes {
            self.outcome.recording.extend(notes.drain(..).map(|note| {
                if note.delivered {
                    Recorded::Delivered { time, from: note.from, to: note.to, transport: note.transport, id: note.id }
                } else {
                    let length = note.length as u32;
                    Recorded::Sent { time, from: note.from, to: note.to, transport: note.transport, id: note.id, length, text: note.text }
                }
            }));
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let time = if self.phase == Phase::SetUp { 0 } else { self.stage.world.now().saturating_sub(self.start) };
        let delivered = self.stage.world.trace(|trace| trace.totals().delivered);
        let Calls { made, .. } = self.stage.calls;
        let moved = self.stage.calls.moved();
        Progress { phase: self.phase, time, events: self.events, timers: self.turns, delivered, calls: made, moved }
    }

    /// What has decided it so far; for an [`Odometer`](crate::choice::Odometer).
    pub fn source(&self) -> Source {
        self.stage.world.choose(|source| source.clone())
    }

    /// A copy that would go on exactly as this one. In the middle of depth L1 there is none: activities can't be copied.
    pub fn fork(&self) -> Run {
        assert!(self.engine.is_none(), "a run is copied where depth L1 begins, not in the middle of it");
        let stage = self.stage.fork();
        let watch = self.watch.fork();
        stage.world.trace(|trace| trace.observe(Some(Box::new(watch.clone()))));
        Run {
            scenario: Arc::clone(&self.scenario),
            options: self.options.clone(),
            stage,
            watch,
            set_up: self.set_up.clone(),
            plan: self.plan.clone(),
            workload: self.workload.clone(),
            phase: self.phase,
            events: self.events,
            turns: self.turns,
            liveness: self.liveness.clone(),
            proxies: self.proxies.clone(),
            proxies_now: self.proxies_now,
            start: self.start,
            worked: self.worked,
            latest: self.latest,
            deadline: self.deadline,
            calm: self.calm,
            scheduled: self.scheduled,
            before: self.before,
            after: self.after,
            closing: self.closing,
            half_closed: self.half_closed,
            counted: self.counted,
            outcome: self.outcome.clone(),
            engine: None,
            descent: self.descent,
        }
    }

    /// What it came to, or has come to so far.
    pub fn finish(mut self) -> Outcome {
        if !self.counted {
            self.count_up();
        }
        self.keep_acts();
        self.outcome.fine = self.fine();
        let checks = &self.stage.checks;
        self.outcome.checks = vec![
            checks.delivery.tally.report(Delivery::NAME),
            checks.closure.tally.report(Closure::NAME),
            checks.status.tally.report(Status::NAME),
            checks.broken.tally.report(Broken::NAME),
            checks.shape.tally.report(Shape::NAME),
            checks.steps.tally.report(Steps::NAME),
            checks.routes.tally.report(Routes::NAME),
            self.watch.lock().tally.report(Watch::NAME),
            checks.secrecy.tally.report(Secrecy::NAME),
            checks.honesty.tally.report(Honesty::NAME),
            self.liveness.report(stall::NAME),
            checks.leaks.tally.report(Leaks::NAME),
        ];
        if checks.hostility.any() {
            self.outcome.checks.push(checks.hostility.tally.report(Hostility::NAME));
        }
        outcome::name_receivers(&mut self.outcome.recording);
        self.outcome.struck = self.stage.world.struck();
        self.outcome.told = self.stage.world.lies_told();
        self.outcome.hits = self.stage.world.hits();
        self.outcome.events = self.events;
        self.outcome.order = self.stage.world.order();
        self.outcome.log = self.stage.world.choose(|source| source.log());
        self.outcome.fingerprint = self.stage.world.fingerprint();
        self.outcome.last_messages = self.stage.world.recent();
        self.outcome
    }
}

/// How long runs are about, if what orders them `needs` to know. Of the scenario as it is written, not as a seed expands it: a run by itself
/// and one among many have the same order.
pub fn measure_for(scenario: &Scenario, policy: &PolicySpec, fine: Option<&Fine>, needs: impl Fn(&PolicySpec) -> bool) -> Option<Length> {
    match fine {
        Some(fine) => fine.spec.as_ref().is_some_and(needs).then(|| measure_fine(scenario, fine)),
        None => needs(policy).then(|| measure(scenario)),
    }
}

/// About how many events a run of the scenario takes from the end of set-up on: a quarter more than seed 1 in the default order.
pub fn measure(scenario: &Scenario) -> Length {
    let outcome = run(scenario, &RunOptions { policy: PolicySpec::Fifo, recent: 0, ..RunOptions::default() });
    Length(outcome.order.map_or(1, |order| order.steps + order.steps / 4).max(1))
}

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario, options: &RunOptions) -> Outcome {
    run_with(scenario, options, &mut |_| ())
}

/// Runs a scenario to its end and says every few thousand events how far it is.
pub fn run_with(scenario: &Scenario, options: &RunOptions, progress: &mut dyn FnMut(Progress)) -> Outcome {
    let mut run = Run::new(scenario, options);
    while run.step() {
        if run.events.is_multiple_of(SELDOM) {
            progress(run.progress());
        }
    }
    run.finish()
}
