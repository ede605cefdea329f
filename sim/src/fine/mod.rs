//! Depth L1: the applications' threads, the dispatchers of transports and the timers are activities that take turns at each operation
//! on shared memory and at each lock. A policy says whose turn it is. Messages take no virtual time here; time goes on when nothing
//! but a deadline is left.

mod fetches;
mod going;
mod tests;

use std::collections::VecDeque;

use ipcz::clock::Point;
use serde::{Deserialize, Serialize};

use crate::app::{Answer, Call, Stage, Threads};
use crate::check::{Checked, Violation};
use crate::choice::{Choices, Site, Source};
use crate::fault::Fault;
use crate::policy::{Policy, PolicySpec, Ready};
use crate::world::activity::{Access, Activity, Kind, Stop};
use crate::world::{Next, State, Told, What, World};
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
        Stop::Access(Access { kind, memory, at, .. }) => {
            ((u64::from(memory + 1) << 32) | (at as u64 / 8), !matches!(kind, Kind::Load | Kind::Poll))
        }
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
