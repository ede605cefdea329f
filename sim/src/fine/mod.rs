//! Depth L1: the applications' threads, the dispatchers of transports and the timers are activities that take turns at each operation
//! on shared memory and at each lock. A policy says whose turn it is. Messages take no virtual time here; time goes on when nothing
//! but a deadline is left.

mod fetches;
mod tests;

use std::collections::VecDeque;
use std::panic::resume_unwind;

use ipcz::clock::Point;
use serde::{Deserialize, Serialize};

use crate::app::{Answer, Call, Stage, perform};
use crate::check::{Checked, Violation};
use crate::choice::{Choices, Site};
use crate::policy::{Policy, PolicySpec, Ready};
use crate::world::activity::{self, Access, Activity, Go, Kind, Resumed, Stop};
use crate::world::{Input, Next, Told, What, World};
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
}

impl Counts {
    /// Adds those of another run.
    pub fn add(&mut self, other: Counts) {
        self.accesses += other.accesses;
        self.turns += other.turns;
        self.inputs += other.inputs;
        self.switches += other.switches;
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
    /// When it became ready.
    born: u64,
    fetches: Fetches,
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
    ready: Vec<Ready>,
    arrived: Vec<Next>,
    /// Inputs whose process died in the middle of them.
    abandoned: Vec<Activity<Done>>,
    crashes: u32,
    pub counts: Counts,
}

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
            ready: Vec::with_capacity(16),
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
        let chain = Chain { who, queue: VecDeque::new(), running: None, next: None, errand: None, born: 0, fetches };
        self.chains.push(chain);
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

    /// Lets one activity go on to its next operation, or an input begin.
    pub fn turn(&mut self, stage: &mut Stage) -> Checked<Turned> {
        self.collect(stage);
        self.find_ready(stage);
        if self.ready.is_empty() {
            if self.chains.iter().any(|chain| chain.running.is_some()) {
                return Err(self.deadlock(stage));
            }
            if !self.wait(stage) {
                return Ok(Turned::Rest);
            }
        }
        let Engine { fine, ready, .. } = self;
        let options = ready.len() as u32;
        let chosen = if options == 1 {
            0
        } else {
            stage.world.choose(|source| {
                let proposal = fine.policy.pick(ready, source);
                source.settle(Site::Next, 0, options, proposal)
            })
        };
        let chain = self.ready[chosen as usize].chain;
        if self.current != Some(chain) {
            self.current = Some(chain);
            self.counts.switches += 1;
        }
        if self.counts.operations() > self.fine.limit {
            let text = format!("after {} operations there is still something to do:\n  {}", self.fine.limit, self.who_waits(&stage.world));
            return Err(Violation::new(LIVENESS, "once nothing new begins, everything comes to rest", text));
        }
        if self.chains[chain as usize].running.is_some() { self.go_on(stage, chain) } else { self.begin(stage, chain) }
    }

    /// Gives everything that has come to be to its chain.
    fn collect(&mut self, stage: &mut Stage) {
        let mut arrived = std::mem::take(&mut self.arrived);
        self.now = stage.world.take_events(&mut arrived);
        for entry in arrived.drain(..) {
            let who = match entry.what {
                What::App(_) | What::Resume(_) => Who::Workload,
                What::Timer(process) => Who::Timer(process),
                what => Who::Dispatcher(stage.world.end_of(what).unwrap_or(NONE)),
            };
            let chain = self.chain(who) as usize;
            let chain = &mut self.chains[chain];
            if chain.queue.is_empty() {
                self.births += 1;
                chain.born = self.births;
            }
            chain.queue.push_back(entry);
        }
        self.arrived = arrived;
        let Some(threads) = &mut stage.threads else { return };
        while let Some(process) = threads.woken() {
            let chain = self.chain(Who::Application(process)) as usize;
            self.births += 1;
            self.chains[chain].born = self.births;
        }
    }

    /// Lists who can go on: first the one that did last, then the others from the oldest on.
    fn find_ready(&mut self, stage: &Stage) {
        self.ready.clear();
        let now = self.now;
        for (number, chain) in self.chains.iter().enumerate() {
            let (touches, writes) = match (&chain.running, chain.who) {
                (Some(running), _) => match running.stop {
                    Stop::Turn(Point::LockBusy | Point::LockWanted) if stage.world.is_busy(running.process) => continue,
                    stop => touches(stop, running.process),
                },
                (None, Who::Application(process)) => {
                    if chain.next.is_none() && !stage.threads.as_ref().is_some_and(|threads| threads.has(process)) {
                        continue;
                    }
                    (lock_of(process), true)
                }
                (None, Who::Dispatcher(end)) if !chain.queue.is_empty() => (1 << 61 | u64::from(end), true),
                (None, Who::Timer(process)) if chain.queue.front().is_some_and(|entry| entry.time <= now) => (lock_of(process), true),
                // What the workload does beside calls looks into processes.
                (None, Who::Workload)
                    if chain.queue.front().is_some_and(|entry| entry.time <= now) && self.no_lock_is_held(&stage.world) =>
                {
                    (0, true)
                }
                (None, _) => continue,
            };
            self.ready.push(Ready { chain: number as u32, born: chain.born, touches, writes, ..Ready::default() });
        }
        if self.ready.len() > 1 {
            let current = self.current;
            self.ready.sort_unstable_by_key(|ready| (Some(ready.chain) != current, ready.born));
        }
    }

    fn no_lock_is_held(&self, world: &World) -> bool {
        self.chains.iter().filter_map(|chain| chain.running.as_ref()).all(|running| !world.is_busy(running.process))
    }

    /// Nobody is ready and nothing is under way: the next deadline is due. False if there is none.
    fn wait(&mut self, stage: &mut Stage) -> bool {
        let Some(time) = self.chains.iter().filter_map(|chain| Some(chain.queue.front()?.time)).min() else { return false };
        stage.world.advance(time);
        self.now = self.now.max(time);
        self.find_ready(stage);
        true
    }

    /// The next input of a chain begins, and runs up to its first operation.
    fn begin(&mut self, stage: &mut Stage, number: u32) -> Checked<Turned> {
        self.counts.inputs += 1;
        self.chains[number as usize].fetches.clear();
        if let Who::Application(process) = self.chains[number as usize].who {
            return self.begin_call(stage, number, process);
        }
        let Some(entry) = self.chains[number as usize].queue.pop_front() else { return Ok(Turned::Over) };
        let (event, call) = stage.world.happen(entry.what);
        if let crate::world::Event::App { token } = event {
            return Ok(Turned::Token(token));
        }
        let Some(call) = call else { return Ok(Turned::Over) };
        let process = call.process();
        let input: Input = stage.world.input(call);
        self.start(stage, number, process, Activity::new(move || Done::Told(input.run())))
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
        let activity = Activity::new(move || {
            let answer = perform(&body, &call.doing);
            Done::Answered(call, answer)
        });
        self.start(stage, number, process, activity)
    }

    fn start(&mut self, stage: &mut Stage, number: u32, process: u32, mut activity: Activity<Done>) -> Checked<Turned> {
        let resumed = activity.resume(Go::On);
        let turned = self.after(stage, number, process, activity, resumed)?;
        Ok(if turned == Turned::Stopped { Turned::Began } else { turned })
    }

    /// A chain does what it was about to do.
    fn go_on(&mut self, stage: &mut Stage, number: u32) -> Checked<Turned> {
        let chain = &mut self.chains[number as usize];
        let Some(Running { process, mut activity, stop }) = chain.running.take() else { return Ok(Turned::Over) };
        let len = stage.world.operation(number, stop);
        let mut go = Go::On;
        match stop {
            Stop::Turn(_) => self.counts.turns += 1,
            Stop::Access(access) => {
                self.counts.accesses += 1;
                let faults = self.fine.faults;
                if chain.fetches.again(access, len) {
                    go = Go::Tell;
                    if faults.flipped > 0 {
                        let struck = strikes(&stage.world, site::FLIPPED, number, faults.flipped);
                        go = if struck { Go::Flipped(1 << (access.at % 7)) } else { Go::On };
                    }
                } else if access.kind == Kind::Exchange && strikes(&stage.world, site::SPURIOUS, number, faults.spurious) {
                    go = Go::Spurious;
                }
            }
        }
        let resumed = activity.resume(go);
        if let (Go::Tell, Stop::Access(access)) = (go, stop) {
            let place = activity::place().unwrap_or_default();
            self.abandoned.push(activity);
            return Err(double_fetch(access, process, &place));
        }
        self.after(stage, number, process, activity, resumed)
    }

    /// An activity stands again or is over.
    fn after(&mut self, stage: &mut Stage, number: u32, process: u32, activity: Activity<Done>, resumed: Resumed<Done>) -> Checked<Turned> {
        self.births += 1;
        let chain = &mut self.chains[number as usize];
        chain.born = self.births;
        let done = match resumed {
            Resumed::Stopped(stop) => {
                chain.running = Some(Running { process, activity, stop });
                if self.crashes > 0 && strikes(&stage.world, site::CRASH, process, self.fine.faults.crash) {
                    self.crashes -= 1;
                    stage.kill(process);
                    self.bury(stage);
                }
                return Ok(Turned::Stopped);
            }
            Resumed::Done(done) => done,
            Resumed::Panicked(panic) => {
                self.end();
                resume_unwind(panic)
            }
        };
        match done {
            Done::Told(told) => stage.world.told(told),
            Done::Answered(call, answer) => {
                let next = stage.finish(call, answer)?;
                stage.read_all()?;
                let chain = &mut self.chains[number as usize];
                if next.is_none() {
                    let errand = chain.errand.take();
                    stage.done(errand);
                }
                chain.next = next;
            }
        }
        Ok(Turned::Over)
    }

    /// What dead processes were doing stands still for ever.
    pub fn bury(&mut self, stage: &mut Stage) {
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

const LIVENESS: &str = "liveness";

/// Whether a fault strikes that does so once in `odds` times.
fn strikes(world: &World, site: Site, actor: u32, odds: u32) -> bool {
    odds > 0 && world.choose(|source| source.choose(site, actor, 2, Some(&[odds - 1, 1]))) == 1
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
