//! Depth L1: the applications' threads, the dispatchers of transports and the timers are activities that take turns at each operation
//! on shared memory and at each lock. A policy says whose turn it is. Messages take no virtual time here; time goes on when nothing
//! but a deadline is left.

mod fetches;
mod tests;

use std::collections::VecDeque;
use std::panic::resume_unwind;

use ipcz::clock::Point;
use serde::{Deserialize, Serialize};

use crate::app::{Answer, Call, Stage, Threads, perform};
use crate::check::{Checked, Violation};
use crate::choice::{Choices, Site, Source};
use crate::fault::Fault;
use crate::policy::{Policy, PolicySpec, Ready};
use crate::world::activity::{self, Access, Activity, Go, Kind, Resumed, Stop};
use crate::world::{Input, Next, State, Told, What, World};
use fetches::Fetches;

/// How a run goes on at depth L1.
#[derive(Clone, Debug)]
pub struct Fine {
    /// Who goes next.
    pub policy: Policy,
    /// The same, by name; instead of `policy` if it is there.
    pub spec: Option<PolicySpec>,
    /// What goes wrong.
    pub faults: Faults,
    /// Whether everything is closed at the end, and leaks are looked for: that takes longer than a small race itself.
    pub closing: bool,
    /// Operations after which a run that is not at rest has failed.
    pub limit: u64,
}

impl Default for Fine {
    fn default() -> Fine {
        Fine { policy: Policy::Random, spec: None, faults: Faults::default(), closing: true, limit: 10_000_000 }
    }
}

/// Faults between two operations: each strikes once in so many times that it could, 0: never.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// A weak compare-exchange fails though it need not.
    pub spurious: u32,
    /// A process dies where it stands.
    pub crash: u32,
    /// How many processes may die.
    pub crashes: u32,
    /// A word that is loaded a second time by one activity has changed. A double fetch is then not an error by itself.
    pub flipped: u32,
}

/// Sites of these faults.
mod site {
    use crate::choice::Site;

    pub const SPURIOUS: Site = Site::Fault(200);
    pub const CRASH: Site = Site::Fault(201);
    pub const FLIPPED: Site = Site::Fault(202);
}

/// What was done.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Operations on shared memory.
    pub accesses: u64,
    /// Turns of locks and effects.
    pub turns: u64,
    /// Calls, messages and timers.
    pub inputs: u64,
    /// How often another activity went on than the one before.
    pub switches: u64,
    /// Turns at which more than one activity could go on: where a policy has a say.
    pub choices: u64,
    /// Activities that there were, at most.
    pub activities: u64,
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: Counts) {
        self.accesses += other.accesses;
        self.turns += other.turns;
        self.inputs += other.inputs;
        self.switches += other.switches;
        self.choices += other.choices;
        self.activities = self.activities.max(other.activities);
    }

    /// Points at which an activity was suspended.
    pub fn operations(&self) -> u64 {
        self.accesses + self.turns
    }
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turned {
    /// An input began.
    Began,
    /// An activity went on, and stands again.
    Stopped,
    /// An input of this process is over, or nobody had to be called.
    Over,
    /// A token of the workload is due.
    Token(u64),
    /// Everything is at rest.
    Rest,
}

/// Who an activity is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    /// The application of a process.
    Application(u32),
    /// The dispatcher of a transport end.
    Dispatcher(u32),
    /// The timer of a process.
    Timer(u32),
    /// Steps and turns of the workload.
    Workload,
}

/// What came of an input.
enum Done {
    Answered(Call, Answer),
    Told(Told),
}

/// An input under way.
struct Running {
    process: u32,
    activity: Activity<Done>,
    stop: Stop,
}

/// What follows each other: the inputs of one activity.
struct Chain {
    who: Who,
    /// What has happened and is not taken yet.
    queue: VecDeque<Next>,
    running: Option<Running>,
    /// The call that follows the one before.
    next: Option<Call>,
    /// What its application's present job belongs to.
    errand: Option<u32>,
    /// Whose it is, if that is known; and until how many operations were done nothing begins here.
    process: u32,
    held: u64,
    /// When it became ready.
    born: u64,
    /// What it does next, if it has anything to do: then it stands in the order.
    waiting: Option<Waiting>,
    fetches: Fetches,
}

/// What a chain does next, and what it waits for until then.
#[derive(Clone, Copy)]
struct Waiting {
    ready: Ready,
    gate: Gate,
}

#[derive(Clone, Copy)]
enum Gate {
    Open,
    /// The lock of this process must be free.
    Lock(u32),
    /// It must be so late.
    Time(u64),
    /// The same, and nobody holds a lock.
    Calm(u64),
}

/// The activities of one world.
pub(crate) struct Engine {
    fine: Fine,
    chains: Vec<Chain>,
    /// By process: its application and its timer; by transport end: its dispatcher.
    applications: Vec<u32>,
    timers: Vec<u32>,
    dispatchers: Vec<u32>,
    /// The one that went on last.
    current: Option<u32>,
    births: u64,
    now: u64,
    /// Chains with something to do, by age.
    order: Vec<u32>,
    /// By process: whether somebody holds its lock, if that is known since an activity of it ran.
    busy: Vec<Option<bool>>,
    /// By process: it stands still until so many operations were done.
    paused: Vec<u64>,
    /// Whether anything may be held back at all.
    holding: bool,
    /// Chains that can go on, the default first; and what a policy is shown of them, if it looks.
    ready: Vec<u32>,
    shown: Vec<Ready>,
    arrived: Vec<Next>,
    /// Inputs whose process died in the middle of them.
    abandoned: Vec<Activity<Done>>,
    crashes: u32,
    pub counts: Counts,
}

/// Where an input stands that has not begun.
const BEGINNING: Stop = Stop::Turn(Point::Effect);
/// No chain yet.
const NONE: u32 = u32::MAX;

impl Engine {
    /// Nothing has happened yet.
    pub fn new(fine: &Fine) -> Engine {
        let mut engine = Engine {
            fine: fine.clone(),
            chains: Vec::with_capacity(16),
            applications: Vec::new(),
            timers: Vec::new(),
            dispatchers: Vec::new(),
            current: None,
            births: 0,
            now: 0,
            order: Vec::with_capacity(16),
            busy: Vec::new(),
            paused: Vec::new(),
            holding: false,
            ready: Vec::with_capacity(16),
            shown: Vec::new(),
            arrived: Vec::new(),
            abandoned: Vec::new(),
            crashes: fine.faults.crashes,
            counts: Counts::default(),
        };
        engine.add(Who::Workload);
        engine
    }

    fn add(&mut self, who: Who) -> u32 {
        let fetches = Fetches::default();
        let process = if let Who::Application(process) | Who::Timer(process) = who { process } else { NONE };
        let chain = Chain {
            who,
            queue: VecDeque::new(),
            running: None,
            next: None,
            errand: None,
            process,
            held: 0,
            born: 0,
            waiting: None,
            fetches,
        };
        self.chains.push(chain);
        self.counts.activities = self.chains.len() as u64;
        self.chains.len() as u32 - 1
    }

    /// The chain of `who`, made if it is new.
    fn chain(&mut self, who: Who) -> u32 {
        let (table, index) = match who {
            Who::Workload => return 0,
            Who::Application(process) => (&mut self.applications, process),
            Who::Timer(process) => (&mut self.timers, process),
            Who::Dispatcher(end) => (&mut self.dispatchers, end),
        };
        let index = index as usize;
        if table.len() <= index {
            table.resize(index + 1, NONE);
        }
        if table[index] != NONE {
            return table[index];
        }
        let chain = self.chains.len() as u32;
        table[index] = chain;
        self.add(who)
    }

    /// A chain has become the youngest, and may have something else to do.
    fn age(&mut self, number: u32, threads: Option<&Threads>) {
        self.births += 1;
        self.chains[number as usize].born = self.births;
        let waiting = self.look(number, threads);
        let waits = waiting.is_some();
        let waited = std::mem::replace(&mut self.chains[number as usize].waiting, waiting).is_some();
        // Often it was the youngest before.
        if waited && waits && self.order.last() == Some(&number) {
            return;
        }
        if waited {
            self.leave_order(number);
        }
        if waits {
            self.order.push(number);
        }
    }

    /// A chain, as old as before, may have something else to do.
    fn refresh(&mut self, number: u32, threads: Option<&Threads>) {
        let waiting = self.look(number, threads);
        if std::mem::replace(&mut self.chains[number as usize].waiting, waiting).is_some() {
            self.leave_order(number);
        }
        let chain = &self.chains[number as usize];
        if chain.waiting.is_some() {
            let at = self.order.partition_point(|other| self.chains[*other as usize].born < chain.born);
            self.order.insert(at, number);
        }
    }

    fn leave_order(&mut self, number: u32) {
        if let Some(at) = self.order.iter().rposition(|other| *other == number) {
            self.order.remove(at);
        }
    }

    /// Lets one activity go on to its next operation, or an input begin.
    pub fn turn(&mut self, stage: &mut Stage) -> Checked<Turned> {
        // One lock for all that is asked and noted before the operation itself.
        let mut state = stage.world.state();
        self.collect(&mut state, &mut stage.threads);
        self.find_ready(&stage.world);
        if self.ready.is_empty() && self.let_go() {
            self.find_ready(&stage.world);
        }
        if self.ready.is_empty() {
            drop(state);
            if self.chains.iter().any(|chain| chain.running.is_some()) {
                return Err(self.deadlock(stage));
            }
            if !self.wait(stage) {
                return Ok(Turned::Rest);
            }
            state = stage.world.state();
        }
        let options = self.ready.len() as u32;
        let chosen = if options == 1 { 0 } else { self.choose(&mut state.source, options) };
        let number = self.ready[chosen as usize];
        if self.current != Some(number) {
            self.current = Some(number);
            self.counts.switches += 1;
        }
        if self.counts.operations() > self.fine.limit {
            drop(state);
            let text = format!("after {} operations there is still something to do:\n  {}", self.fine.limit, self.who_waits(&stage.world));
            return Err(Violation::new(LIVENESS, "once nothing new begins, everything comes to rest", text));
        }
        let Some(running) = &self.chains[number as usize].running else {
            drop(state);
            return self.begin(stage, number);
        };
        let (process, stop) = (running.process, running.stop);
        let go = self.carry_out(&mut state, number, process, stop);
        drop(state);
        self.go_on(stage, number, stop, go)
    }

    /// The policy proposes one of those that are ready, the source has the last word.
    fn choose(&mut self, source: &mut Source, options: u32) -> u32 {
        let Engine { fine, ready, shown, chains, counts, .. } = self;
        counts.choices += 1;
        let proposal = fine.policy.pick_blindly(options, source).unwrap_or_else(|| {
            shown.clear();
            shown.extend(ready.iter().filter_map(|number| chains[*number as usize].waiting.map(|waiting| waiting.ready)));
            fine.policy.pick(shown, source)
        });
        source.settle(Site::Next, 0, options, proposal)
    }

    /// Gives everything that has come to be to its chain.
    fn collect(&mut self, state: &mut State, threads: &mut Option<Threads>) {
        self.now = state.now;
        if state.has_events() {
            self.collect_events(state, threads.as_ref());
        }
        while let Some(process) = threads.as_mut().and_then(Threads::woken) {
            let number = self.chain(Who::Application(process));
            self.age(number, threads.as_ref());
        }
    }

    fn collect_events(&mut self, state: &mut State, threads: Option<&Threads>) {
        let mut arrived = std::mem::take(&mut self.arrived);
        state.take_events(&mut arrived);
        for entry in arrived.drain(..) {
            let who = match entry.what {
                What::App(_) | What::Resume(_) => Who::Workload,
                What::Timer(process) => Who::Timer(process),
                what => Who::Dispatcher(state.end_of(what).unwrap_or(NONE)),
            };
            let number = self.chain(who);
            let chain = &mut self.chains[number as usize];
            if let Who::Dispatcher(_) = who {
                chain.process = state.notified(entry.what);
            }
            if state.faults.armed() && state.is_late(entry.what) {
                chain.held = chain.held.max(self.counts.operations() + state.hindrance(Fault::Delay, number));
                self.holding = true;
            }
            chain.queue.push_back(entry);
            if chain.queue.len() == 1 {
                self.age(number, threads);
            }
        }
        self.arrived = arrived;
    }

    /// Lists who can go on: first the one that did last, then the others from the oldest on.
    fn find_ready(&mut self, world: &World) {
        let Engine { order, ready, chains, busy, now, current, paused, holding, counts, .. } = self;
        let done = counts.operations();
        let is_held = |chain: &Chain| {
            let late = chain.running.is_none() && chain.held > done;
            late || paused.get(chain.process as usize).is_some_and(|until| *until > done)
        };
        let mut is_open = |number: u32| match chains[number as usize].waiting.as_ref().map(|waiting| waiting.gate) {
            None => false,
            _ if *holding && is_held(&chains[number as usize]) => false,
            Some(Gate::Open) => true,
            Some(Gate::Lock(process)) => !*busy[process as usize].get_or_insert_with(|| world.is_busy(process)),
            Some(Gate::Time(time)) => time <= *now,
            Some(Gate::Calm(time)) => time <= *now && no_lock_is_held(chains, world),
        };
        ready.clear();
        ready.extend(current.filter(|number| is_open(*number)));
        for number in order.iter().copied() {
            if Some(number) != *current && is_open(number) {
                ready.push(number);
            }
        }
    }

    /// What is held back is so no longer; false if there was nothing.
    fn let_go(&mut self) -> bool {
        let held = std::mem::take(&mut self.holding);
        self.paused.clear();
        self.chains.iter_mut().for_each(|chain| chain.held = 0);
        held
    }

    /// What a chain would do next, if it has anything to do.
    fn look(&self, number: u32, threads: Option<&Threads>) -> Option<Waiting> {
        let chain = &self.chains[number as usize];
        let due = chain.queue.front().map(|entry| entry.time);
        let (gate, (touches, writes)) = match (&chain.running, chain.who) {
            (Some(Running { process, stop, .. }), _) => {
                let gate = match stop {
                    Stop::Turn(Point::LockBusy | Point::LockWanted) => Gate::Lock(*process),
                    _ => Gate::Open,
                };
                (gate, touches(*stop, *process))
            }
            (None, Who::Application(process)) => {
                if chain.next.is_none() && !threads.is_some_and(|threads| threads.has(process)) {
                    return None;
                }
                (Gate::Open, (lock_of(process), true))
            }
            (None, Who::Dispatcher(end)) => due.map(|_| (Gate::Open, (1 << 61 | u64::from(end), true)))?,
            (None, Who::Timer(process)) => (Gate::Time(due?), (lock_of(process), true)),
            // What the workload does beside calls looks into processes.
            (None, Who::Workload) => (Gate::Calm(due?), (0, true)),
        };
        Some(Waiting { ready: Ready { chain: number, born: chain.born, touches, writes, ..Ready::default() }, gate })
    }

    /// Nobody is ready and nothing is under way: the next deadline is due. False if there is none.
    fn wait(&mut self, stage: &mut Stage) -> bool {
        let Some(time) = self.chains.iter().filter_map(|chain| Some(chain.queue.front()?.time)).min() else { return false };
        stage.world.advance(time);
        self.now = self.now.max(time);
        self.find_ready(&stage.world);
        true
    }

    /// The next input of a chain begins, and runs up to its first operation.
    fn begin(&mut self, stage: &mut Stage, number: u32) -> Checked<Turned> {
        self.counts.inputs += 1;
        let chain = &mut self.chains[number as usize];
        chain.fetches.clear();
        let began = match chain.who {
            Who::Application(process) => self.begin_call(stage, number, process)?,
            _ => self.begin_event(stage, number),
        };
        if began != Turned::Began {
            self.refresh(number, stage.threads.as_ref());
            return Ok(began);
        }
        let turned = self.go_on(stage, number, BEGINNING, Go::On)?;
        Ok(if turned == Turned::Stopped { Turned::Began } else { turned })
    }

    fn begin_event(&mut self, stage: &mut Stage, number: u32) -> Turned {
        let Some(entry) = self.chains[number as usize].queue.pop_front() else { return Turned::Over };
        let (event, call) = stage.world.happen(entry.what);
        if let crate::world::Event::App { token } = event {
            return Turned::Token(token);
        }
        let Some(call) = call else { return Turned::Over };
        let process = call.process();
        self.disturb(stage, process);
        let input: Input = stage.world.input(call);
        self.start(number, process, Activity::new(move || Done::Told(input.run())))
    }

    /// A process is being notified: it may be paused, or its clock may leap.
    fn disturb(&mut self, stage: &Stage, process: u32) {
        let mut state = stage.world.state();
        if !state.faults.armed() {
            return;
        }
        if state.pauses(process) {
            let until = self.counts.operations() + state.hindrance(Fault::Pause, process);
            if self.paused.len() <= process as usize {
                self.paused.resize(process as usize + 1, 0);
            }
            self.paused[process as usize] = until;
            self.holding = true;
        }
        state.leap(process);
    }

    fn begin_call(&mut self, stage: &mut Stage, number: u32, process: u32) -> Checked<Turned> {
        let chain = &mut self.chains[number as usize];
        let call = match chain.next.take() {
            Some(call) => call,
            None => {
                let Some((job, errand)) = stage.threads.as_mut().and_then(|threads| threads.take(process)) else { return Ok(Turned::Over) };
                chain.errand = errand;
                // The end may have moved on since: whoever has it now reads it.
                let here = stage.ghost.holder(job.end()).is_some_and(|(holder, _)| holder == process);
                match if here { stage.begin(job)? } else { None } {
                    Some(call) => call,
                    None => {
                        stage.done(errand);
                        return Ok(Turned::Over);
                    }
                }
            }
        };
        let Some(body) = stage.world.process(process).cloned() else { return Ok(Turned::Over) };
        stage.world.state().seat(process).odd.calling = true;
        let activity = Activity::new(move || {
            let answer = perform(&body, &call.doing);
            Done::Answered(call, answer)
        });
        Ok(self.start(number, process, activity))
    }

    fn start(&mut self, number: u32, process: u32, activity: Activity<Done>) -> Turned {
        if self.busy.len() <= process as usize {
            self.busy.resize(process as usize + 1, None);
        }
        self.chains[number as usize].running = Some(Running { process, activity, stop: BEGINNING });
        Turned::Began
    }

    /// Counts and notes what a chain is about to do; of a word in memory it is also done, so that the activity need not ask the world.
    fn carry_out(&mut self, state: &mut State, number: u32, process: u32, stop: Stop) -> Go {
        let len = state.operation(number, stop);
        let Stop::Access(access) = stop else {
            self.counts.turns += 1;
            return Go::On;
        };
        self.counts.accesses += 1;
        let faults = self.fine.faults;
        let mut flipped = 0;
        if self.chains[number as usize].fetches.again(access, len) {
            if faults.flipped == 0 {
                return Go::Tell;
            }
            flipped = u64::from(strikes(&mut state.source, site::FLIPPED, number, faults.flipped)) << (access.at % 7);
        }
        match access.kind {
            Kind::Read if flipped != 0 => Go::Flipped(flipped),
            Kind::Exchange { .. } if strikes(&mut state.source, site::SPURIOUS, number, faults.spurious) && !state.is_dying(process) => {
                Go::Done(Err(state.load(access)))
            }
            _ => state.carry_out(process, access).map_or(Go::On, |result| Go::Done(result.map(|value| value ^ flipped))),
        }
    }

    /// A chain goes on up to its next operation, or to its end.
    fn go_on(&mut self, stage: &mut Stage, number: u32, stop: Stop, go: Go) -> Checked<Turned> {
        let Some(running) = &mut self.chains[number as usize].running else { return Ok(Turned::Over) };
        let process = running.process;
        let resumed = running.activity.resume(go);
        if let (Go::Tell, Stop::Access(access)) = (go, stop) {
            let place = activity::place().unwrap_or_default();
            self.abandoned.extend(self.chains[number as usize].running.take().map(|running| running.activity));
            return Err(double_fetch(access, process, &place));
        }
        self.busy[process as usize] = None;
        match resumed {
            Resumed::Stopped(stop) => {
                running.stop = stop;
                self.age(number, stage.threads.as_ref());
                if self.crashes > 0 && strikes(&mut stage.world.state().source, site::CRASH, process, self.fine.faults.crash) {
                    self.crashes -= 1;
                    stage.kill(process);
                    self.bury(stage);
                }
                Ok(Turned::Stopped)
            }
            Resumed::Done(done) => {
                self.chains[number as usize].running = None;
                self.over(stage, number, done)?;
                self.age(number, stage.threads.as_ref());
                Ok(Turned::Over)
            }
            Resumed::Panicked(panic) => {
                self.chains[number as usize].running = None;
                self.end();
                resume_unwind(panic)
            }
        }
    }

    /// An input is over.
    fn over(&mut self, stage: &mut Stage, number: u32, done: Done) -> Checked {
        match done {
            Done::Told(told) => stage.world.told(told),
            Done::Answered(call, answer) => {
                let process = call.process;
                let next = stage.finish(call, answer)?;
                stage.world.state().seat(process).odd.calling = next.is_some();
                stage.read_all()?;
                let chain = &mut self.chains[number as usize];
                if next.is_none() {
                    let errand = chain.errand.take();
                    stage.done(errand);
                }
                chain.next = next;
            }
        }
        Ok(())
    }

    /// What dead processes were doing stands still for ever.
    pub fn bury(&mut self, stage: &mut Stage) {
        self.busy.fill(None);
        for chain in &mut self.chains {
            let process = match (&chain.running, chain.who) {
                (Some(running), _) => running.process,
                (None, Who::Application(process)) => process,
                (None, _) => continue,
            };
            if !stage.world.is_gone(process) {
                continue;
            }
            self.abandoned.extend(chain.running.take().map(|running| running.activity));
            chain.next = None;
            if let Who::Application(_) = chain.who {
                let errand = chain.errand.take();
                stage.done(errand);
                for errand in stage.threads.as_mut().map(|threads| threads.forget(process)).unwrap_or_default() {
                    stage.news.push(crate::app::News::Did { errand });
                }
            }
        }
        for number in 0..self.chains.len() as u32 {
            self.refresh(number, stage.threads.as_ref());
        }
    }

    /// Brings every input to its end, in whatever order the locks allow: for a world that nobody looks at any more. What can't be ended
    /// is given up.
    pub fn end(&mut self) {
        let running = self.chains.iter_mut().filter_map(|chain| Some(chain.running.take()?.activity));
        let mut left: Vec<_> = self.abandoned.drain(..).chain(running).collect();
        // While this thread unwinds nothing can be suspended.
        while !std::thread::panicking() {
            let before = left.len();
            left.retain_mut(|activity| !activity.end());
            if left.len() == before {
                break;
            }
        }
        left.into_iter().for_each(Activity::leak);
    }

    fn deadlock(&self, stage: &Stage) -> Box<Violation> {
        let text = format!("nobody can go on:\n  {}", self.who_waits(&stage.world));
        Violation::new(LIVENESS, "no activities wait for each other in a ring", text)
    }

    /// Where everybody stands; for people.
    fn who_waits(&self, world: &World) -> String {
        let mut lines = Vec::new();
        for chain in &self.chains {
            let name = match chain.who {
                Who::Application(process) => format!("the application of process {process}"),
                Who::Dispatcher(end) => format!("the dispatcher of transport {} end {}", end / 2, end % 2),
                Who::Timer(process) => format!("the timer of process {process}"),
                Who::Workload => "the workload".to_owned(),
            };
            match &chain.running {
                Some(Running { process, stop: Stop::Turn(Point::LockBusy | Point::LockWanted), .. }) if world.is_busy(*process) => {
                    lines.push(format!("{name} waits for the lock of process {process}, which somebody holds"));
                }
                Some(Running { process, stop, .. }) => lines.push(format!("{name} stands in process {process} before {stop:?}")),
                None if !chain.queue.is_empty() => lines.push(format!("{name} has {} inputs to come", chain.queue.len())),
                None => (),
            }
        }
        lines.join("\n  ")
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

fn no_lock_is_held(chains: &[Chain], world: &World) -> bool {
    chains.iter().filter_map(|chain| chain.running.as_ref()).all(|running| !world.is_busy(running.process))
}

const LIVENESS: &str = "liveness";

/// Whether a fault strikes that does so once in `odds` times.
fn strikes(source: &mut Source, site: Site, actor: u32, odds: u32) -> bool {
    odds > 0 && source.choose(site, actor, 2, Some(&[odds - 1, 1])) == 1
}

/// What an activity touches next, and whether it may change it ([`Ready`]).
fn touches(stop: Stop, process: u32) -> (u64, bool) {
    match stop {
        Stop::Access(Access { kind: Kind::Fence, .. }) => (0, true),
        // Of a range, the whole memory.
        Stop::Access(Access { kind: Kind::Read, .. }) => (0, false),
        Stop::Access(Access { kind: Kind::Write, .. }) => (0, true),
        Stop::Access(Access { kind, memory, at, .. }) => ((u64::from(memory + 1) << 32) | (at as u64 / 8), kind != Kind::Load),
        Stop::Turn(Point::Effect) => (0, true),
        Stop::Turn(_) => (lock_of(process), true),
    }
}

fn lock_of(process: u32) -> u64 {
    1 << 62 | u64::from(process)
}

fn double_fetch(access: Access, process: u32, place: &str) -> Box<Violation> {
    let Access { memory, at, bytes, .. } = access;
    let text = format!("one input of process {process} loads {bytes} bytes at {at} of memory {memory} a second time, in {place}");
    Violation::new("double fetch", "what a peer can change is loaded once and then believed", text).in_process(process)
}
