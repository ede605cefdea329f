//! One run of a scenario: its phases, its verdict. What must be true is known to `ghost/`, what is done to `app/`, what is compared to
//! `check/`.

mod config;
#[cfg(test)]
mod fault_tests;
mod fine;
mod outcome;
mod stall;
#[cfg(test)]
mod tests;
mod transcript;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use outcome::{
    Calls, CheckCount, Failure, GraphData, LastProxy, LinkKind, Outcome, Peaks, Phase, Progress, Recorded, Requirement, RouterKind,
    RunOptions, Traffic, Verdict,
};

use ipcz::inspect::{RouterView, Totals, View};
use ipcz::limits::Limits;

use crate::app::{Act, LATE, Plan, SetUp, Stage, Workload};
use crate::check::{
    Broken, Checked, Checks, Closure, Delivery, Honesty, Leaks, Names, Reached, Routes, Scope, Secrecy, Seen, Shape, Snapshot, Status,
    Steps, Tally, Violation, Watch, links, requirements,
};
use crate::choice::Source;
use crate::fine::Engine;
use crate::ghost::EndId;
use crate::hostile::Hostility;
use crate::leaks;
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
/// Requirements that hang on how long things take beside each other: without time nobody can demand them.
const MATTERS_OF_TIME: [&str; 3] = ["proxies_peak", "forwarded", "messages_max"];
/// Progress is told, and slow counts are taken, once in so many events.
const SELDOM: u64 = 1 << 14;
/// One router is looked at once in so many steps.
const LOOK_EVERY: u64 = 8;

/// In a world of so few processes what a step has flushed is always looked at, and where each parcel came from; else once in so many.
const FEW_PROCESSES: usize = 16;
/// A whole world of that size is looked at once in so many events.
const LOOK_AT_ALL_EVERY: u64 = 64;
/// The same at depth L1, where an event is a turn.
const LOOK_AT_ALL_TURNS: u64 = 512;

/// Proxies are looked at once in so many steps, in processes that hold at most so many portals.
const LOOK_AT_PROXIES_EVERY: u64 = 8;
const FEW_HELD: u64 = 256;

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
            options: options.clone(),
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

    /// What the wire has shown.
    fn watched(&mut self) -> Checked {
        self.read_sent();
        let (violation, seen) = {
            let mut watch = self.watch.lock();
            for (name, process) in watch.named.drain(..) {
                self.stage.names.learn(name, process);
            }
            (watch.violation.take(), watch.seen.take())
        };
        if let Some(violation) = violation {
            return Err(violation);
        }
        match seen {
            Some(seen) => {
                self.stage.checks.hostility.delivered(&mut self.stage.ghost, seen)?;
                self.took(seen)?;
                let processes = self.stage.world.processes();
                self.stage.checks.secrecy.delivered(&mut self.stage.ghost, seen, processes)
            }
            None => Ok(()),
        }
    }

    /// Parcels in link memory that have just been sent are looked at before anybody can free their blocks: at depth L1 somebody can.
    fn read_sent(&mut self) {
        let mut watch = self.watch.lock();
        if self.engine.is_some() {
            return watch.sent.clear();
        }
        for sent in watch.sent.drain(..) {
            self.stage.checks.secrecy.sent(&self.stage.world, &self.stage.names, sent);
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

    /// A process was called: its proxies are counted, and now and then one of its routers is looked at.
    fn look(&mut self, process: u32) -> Checked {
        let home = &self.stage.homes[process as usize];
        let held = (home.free.len() + home.named.len() + home.connections.len()) as u64;
        let now_and_then = self.events.is_multiple_of(LOOK_EVERY);
        let chosen = (held > 0 && now_and_then).then(|| home.all().nth((self.events / LOOK_EVERY % held) as usize));
        let handle = chosen.flatten().and_then(|end| Some(self.stage.ghost.holder(end)?.1));
        let look_closely = self.small() || now_and_then;
        let Stage { world, names, checks: Checks { steps, hostility, honesty, broken, .. }, .. } = &mut self.stage;
        let Some(body) = world.process(process) else { return Ok(()) };
        // Where all liars are known, only what is linked with one is beyond belief.
        let (lied_to, precise) = (honesty.lied_to(process), hostility.any() && !broken.lied() && !hostility.is(process));
        let liar = |name| names.process(name).is_none_or(|far| hostility.is(far));
        let doubted = |view: &View<'_>, router: &RouterView| {
            let of_liar = |link| view.remote_name(link).is_none_or(liar);
            lied_to && (!precise || links(router).any(|(link, _)| link.node_link().is_some_and(of_liar)))
        };
        let proxies = body.inspect(|view| {
            let routers =
                [handle.and_then(|handle| view.router(view.router_of(handle)?)), if look_closely { view.last_flushed() } else { None }];
            let bound = |link, sublink| view.bound(link, sublink);
            routers.iter().flatten().try_for_each(|router| steps.router(process, router, bound, doubted(view, router)))?;
            if held <= FEW_HELD {
                steps.nodes(process, view)?;
            }
            Ok::<_, Box<Violation>>(view.proxies())
        })?;
        let known = &mut self.proxies[process as usize];
        let were = self.proxies_now;
        self.proxies_now = were + proxies - *known;
        *known = proxies;
        if matches!(self.phase, Phase::Work | Phase::Settle) && (were == 0) != (self.proxies_now == 0) {
            self.outcome.last_proxy = (self.proxies_now == 0).then(|| LastProxy {
                at_ns: world.now().saturating_sub(self.start),
                traffic: config::traffic(world).since(&self.before.0),
            });
        }
        if self.phase != Phase::SetUp {
            self.outcome.peaks.proxies = self.outcome.peaks.proxies.max(self.proxies_now as u64);
        }
        if proxies > 0 && held <= FEW_HELD && self.events.is_multiple_of(LOOK_AT_PROXIES_EVERY) {
            body.inspect(|view| {
                let bound = |link, sublink| view.bound(link, sublink);
                view.proxy_routers().try_for_each(|router| steps.router(process, &router, bound, doubted(view, &router)))
            })?;
        }
        Ok(())
    }

    /// What a process spends on liars; and a liar that was shut out comes back.
    fn beset(&mut self, process: u32) -> Checked {
        if !self.stage.checks.hostility.any() {
            return Ok(());
        }
        let Stage { world, names, checks, .. } = &mut self.stage;
        if let Some(body) = world.process(process) {
            checks.hostility.spending(process, body, names)?;
        }
        if self.phase == Phase::Work && checks.hostility.is(process) {
            let scenario = Arc::clone(&self.scenario);
            self.stage.come_back(|liar| config::broker_of(&scenario, liar))?;
        }
        Ok(())
    }

    /// Whether a world is small enough to be looked at closely.
    fn small(&self) -> bool {
        self.stage.homes.len() <= FEW_PROCESSES
    }

    /// A parcel has come: was it counted for the link that it took?
    fn took(&mut self, seen: Seen) -> Checked {
        if !self.small() && !self.events.is_multiple_of(LOOK_AT_ALL_EVERY) {
            return Ok(());
        }
        let Some((to, from)) = self.stage.world.process(seen.to).filter(|body| !body.is_busy()).zip(self.stage.names.name(seen.from))
        else {
            return Ok(());
        };
        let found = to.inspect(|view| {
            let (link, router) = view.bound_from(from, seen.sublink)?;
            Some((link, view.router(router)?))
        });
        let Some((link, router)) = found else { return Ok(()) };
        let lied_to = self.stage.checks.honesty.lied_to(seen.to);
        self.stage.checks.steps.parcel(seen.to, &router, (link, seen.sublink), seen.number, lied_to)
    }

    /// Links and whole routes of a world in which no link was cut and nobody lies: there is nothing to excuse.
    fn look_at_all(&mut self, scope: Scope) -> Checked {
        if self.stage.cuts > 0 || self.stage.checks.honesty.any_excuse() {
            return Ok(());
        }
        let snapshot = Snapshot::of(&self.stage.world, false);
        self.stage.checks.routes.look(&self.stage.ghost, &snapshot, scope)
    }

    /// Counts that cost more than an event.
    fn seldom(&mut self) {
        let population = self.stage.world.population();
        let peaks = &mut self.outcome.peaks;
        peaks.pipes = peaks.pipes.max(self.stage.ghost.open_pipes());
        peaks.messages = peaks.messages.max(population.messages as u64);
        peaks.events = peaks.events.max(population.events as u64);
        peaks.pages = peaks.pages.max(population.resident_pages as u64);
        if self.options.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed)) {
            self.outcome.verdict = Verdict::Stopped;
            self.phase = Phase::Done;
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
                self.allow();
                if self.set_up.idle(&mut self.stage, &self.scenario, &mut self.plan.ends)? {
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
        let length = match self.options.length {
            Some(length) => length,
            None if policy.needs_length() => measure(&self.scenario),
            None => Length(1),
        };
        let names: Vec<String> = self.scenario.nodes.iter().map(|node| node.name.clone()).collect();
        let built = policy.build(&names, length);
        let built = built.map_err(|bad| Violation::new("policy", "the policy is one for this scenario", bad.to_string()))?;
        self.stage.world.govern(built.unwrap_or_default());
        let policy = if self.scheduled && policy == PolicySpec::Timed { PolicySpec::Fifo } else { policy };
        self.outcome.length = policy.needs_length().then_some(length);
        self.outcome.policy = policy;
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

    /// Everything is at rest: what must be true now?
    fn rest(&mut self) -> Checked {
        self.liveness.count();
        self.outcome.rest_ns = self.latest.saturating_sub(self.start);
        self.outcome.undone = self.plan.waiting();
        self.after = Some(config::traffic(&self.stage.world));
        let snapshot = Snapshot::of(&self.stage.world, false);
        let stage = &mut self.stage;
        for process in 0..stage.world.processes() {
            if let Some(body) = stage.world.process(process) {
                let steps = &mut stage.checks.steps;
                body.inspect(|view| steps.nodes(process, view))?;
            }
        }
        let refused = stage.world.refusals();
        stage.checks.honesty.refused(&refused)?;
        let stale = stage.world.trace(|trace| trace.totals().stale);
        stage.checks.honesty.stale(stale)?;
        let closed_twice = stage.world.trace(|trace| trace.totals().closed_twice);
        stage.checks.honesty.closed_twice(closed_twice)?;
        stage.checks.honesty.rest(&snapshot, &stage.names)?;
        stage.checks.hostility.rest(&stage.world, &stage.ghost)?;
        if stage.checks.hostility.any() {
            let honest = snapshot.alive().filter(|(process, _)| !stage.checks.hostility.is(*process));
            self.outcome.blames = honest.flat_map(|(_, sight)| sight.blames.iter().map(|(_, _, reason)| reason.clone())).collect();
        }
        stage.checks.broken.rest(&stage.ghost)?;
        stage.checks.closure.rest(&stage.ghost)?;
        stage.checks.delivery.rest(&stage.ghost)?;
        stage.checks.shape.rest(&stage.ghost, &snapshot)?;
        if !stage.checks.honesty.any_lie() {
            stage.checks.routes.look(&stage.ghost, &snapshot, Scope::Rest)?;
        }
        if stage.cuts == 0 && !stage.checks.hostility.any() && !self.plan.is_done() && !self.scenario.run.partial {
            return Err(self.stalled("steps wait for what will never happen"));
        }
        self.count_up();
        let reached = Reached {
            struck: self.stage.world.struck(),
            told: self.stage.world.lies_told(),
            delivered: self.stage.deliveries,
            bypasses: self.outcome.bypasses,
            proxies_peak: self.outcome.peaks.proxies,
            forwarded: self.outcome.forwarded,
            introductions: self.outcome.introductions,
            closed: self.stage.closures,
            messages: self.outcome.run.messages,
            probes: self.outcome.probes,
        };
        self.outcome.requirements = requirements(&self.scenario, &reached, &self.plan.ends, &self.stage.ghost, &snapshot);
        if self.scheduled {
            self.outcome.requirements.retain(|requirement| !MATTERS_OF_TIME.contains(&requirement.name));
        }
        if self.options.graph {
            self.outcome.graph = snapshot.graph().data(&snapshot);
        }
        if self.options.fine.as_ref().is_some_and(|fine| !fine.closing) {
            self.counted = true;
            return self.judge();
        }
        self.keep_acts();
        self.phase = Phase::Closing;
        self.closing = true;
        self.half_closed = true;
        self.close(EndId::is_first)
    }

    /// What was done until now is all that counts.
    fn keep_acts(&mut self) {
        let start = self.start;
        let acts = self.stage.acts.take().into_iter().flatten();
        self.outcome.acts.extend(acts.map(|act| Act { at_ns: act.at_ns - start, ..act }));
    }

    /// The applications close what they hold of these ends.
    fn close(&mut self, which: impl Fn(EndId) -> bool) -> Checked {
        self.allow();
        self.stage.close_strays()?;
        for process in 0..self.stage.homes.len() {
            let held: Vec<_> = self.stage.homes[process].all().filter(|end| which(*end)).collect();
            let held = leaks::through_a_map(held);
            for end in held {
                self.stage.close(end)?;
            }
        }
        self.watched()?;
        self.react()
    }

    /// One end of every pipe was closed, and everything is at rest again: the other ends know. Then they are closed too.
    fn peers_told(&mut self) -> Checked {
        self.half_closed = false;
        self.stage.catch_up()?;
        self.stage.checks.closure.rest(&self.stage.ghost)?;
        self.close(|_| true)
    }

    fn leaks(&mut self) -> Checked {
        let snapshot = Snapshot::of(&self.stage.world, true);
        let stage = &mut self.stage;
        stage.checks.honesty.rest(&snapshot, &stage.names)?;
        stage.checks.leaks.rest(&stage.ghost, &snapshot, &stage.checks.shape.suspects)?;
        self.judge()
    }

    /// Every property held; were the requirements met?
    fn judge(&mut self) -> Checked {
        let unmet: Vec<_> = self.outcome.requirements.iter().filter(|requirement| !requirement.met).cloned().collect();
        self.outcome.verdict = if unmet.is_empty() { Verdict::Held } else { Verdict::Unmet(unmet) };
        self.phase = Phase::Done;
        Ok(())
    }

    fn stalled(&self, what: &str) -> Box<Violation> {
        let due = if self.scheduled {
            format!("rest was due with event {}", self.deadline)
        } else {
            format!("rest was due {} ns after set-up", self.deadline.saturating_sub(self.start))
        };
        stall::describe(what, &self.stage, &self.plan, &due)
    }

    fn fail(&mut self, violation: Violation) {
        let Violation { checker, property, text, process, end } = violation;
        let portal = end.map(|end| match self.plan.name(end) {
            Some(name) => format!("{name} ({end})"),
            None => end.to_string(),
        });
        let time = if self.phase == Phase::SetUp { 0 } else { self.stage.world.now().saturating_sub(self.start) };
        let failure = Failure { property, checker, text, time, event: self.events, phase: self.phase, process, portal };
        self.outcome.verdict = Verdict::Violated(Box::new(failure));
        let snapshot = Snapshot::of(&self.stage.world, false);
        self.outcome.graph = snapshot.graph().data(&snapshot);
        self.phase = Phase::Done;
    }

    /// Running totals of all processes, dead ones too.
    fn totals(&self) -> Totals {
        let alive = (0..self.stage.world.processes()).filter_map(|process| self.stage.world.process(process));
        // Who stands in the middle of an input of depth L1 can't be asked.
        let alive = alive.filter(|body| !body.is_busy());
        let mut totals = self.stage.lost_totals;
        alive.for_each(|body| body.inspect(|view| view.add_totals(&mut totals)));
        totals
    }

    /// Fills in what is counted.
    fn count_up(&mut self) {
        let now = config::traffic(&self.stage.world);
        let (before, totals_before) = &self.before;
        let totals = self.totals();
        let outcome = &mut self.outcome;
        if self.start == 0 && self.phase <= Phase::SetUp {
            outcome.set_up = now;
        } else {
            let after = self.after.as_ref().unwrap_or(&now);
            outcome.set_up = *before;
            outcome.run = after.since(before);
            outcome.closing = now.since(after);
            outcome.bypasses = totals.bypasses.saturating_sub(totals_before.bypasses);
            outcome.forwarded = totals.forwarded.saturating_sub(totals_before.forwarded);
            outcome.answers = totals.answers.saturating_sub(totals_before.answers);
            outcome.introductions = outcome.run.by_id[usize::from(ACCEPT_INTRODUCTION)] / 2;
            outcome.set_up_ns = self.start;
            outcome.work_ns = self.worked.saturating_sub(self.start);
        }
        if !self.closing {
            outcome.probes = totals.probes;
            outcome.calls = self.stage.calls;
            outcome.deliveries = self.stage.deliveries;
            outcome.delivery_order = self.stage.order;
        }
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

const ACCEPT_INTRODUCTION: u8 = 11;

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
