//! The discrete-event engine: virtual time, one queue of events, and the driver, clock and memory of every process
//! (design.md 3b, 5). Here lives what happens between processes; what a process does is the library's, what a workload
//! wants is the caller's, and nothing here knows a message's meaning beyond its id.
//!
//! A world belongs to one thread at a time. Every call that a process makes of its driver only changes the state or
//! schedules an event; processes are called by [`World::step`] alone, one event a step, with nothing locked.

pub(crate) mod activity;
mod config;
mod fault;
mod loose;
mod objects;
mod order;
mod pages;
mod ports;
mod state;
mod transports;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod tests;

use std::sync::{Arc, MutexGuard};

use ipcz::api::{NodeOptions, Process};
use ipcz::clock::Wake;
use ipcz::driver::{Activity, Verdict};
use ipcz::ids::{Handle, NodeType, ObjectId};
use ipcz::mapping::VirtualMemory;
use ipcz::trap::TrapEvent;
use ipcz::{Application, Error};

pub use config::{Config, DropRule, LinkProfile, Looseness, Wrap};
pub use fault::Strike;
pub use loose::PATIENCE;
pub use order::{Order, OrderReport, Schedule, bare_heap};
pub use pages::Template;
pub use ports::Ports;
pub use state::Population;

use crate::choice::Source;
use crate::events::EventId;
use crate::fault::{Fault, Hit, Struck};
use crate::hostile::Told as ToldLie;
use crate::policy::Policy;
use crate::trace::{Recent, Trace};
use objects::Holds;
use ports::{Shared, SimMemory};

pub(crate) use objects::{Carried, NOBODY};
pub(crate) use order::{Next, What};
pub(crate) use state::{Call, State};

/// Something other than a [`Process`] that lives in a world: a hostile peer, a test's fake.
pub trait Actor: Activity + Wake {
    /// A copy of it for a copy of the world.
    fn fork(&self, ports: Ports, remap: &mut Remap<'_>) -> Arc<dyn Actor>;
}

/// Finds a virtual memory's counterpart in a copy of its world.
pub type Remap<'a> = dyn FnMut(&Arc<dyn VirtualMemory>) -> Arc<dyn VirtualMemory> + 'a;

/// What one step did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    /// Virtual nanoseconds.
    pub time: u64,
    /// What happened.
    pub event: Event,
}

/// What can happen. Transports are numbered by pair, in order of creation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A message was handed to a process.
    Delivered {
        /// Who took it.
        process: u32,
        /// Over what.
        transport: u32,
    },
    /// A message arrived at an end that is not active yet, and waits there.
    Held {
        /// Where.
        transport: u32,
    },
    /// A message arrived at an end that takes none any more, or was cut off.
    Lost {
        /// Where.
        transport: u32,
    },
    /// A process learnt that a transport is broken.
    Error {
        /// Who learnt it.
        process: u32,
        /// Which one.
        transport: u32,
    },
    /// A process learnt that a transport is inactive.
    Deactivated {
        /// Who learnt it.
        process: u32,
        /// Which one.
        transport: u32,
    },
    /// A process's deadline passed.
    Timer {
        /// Whose.
        process: u32,
    },
    /// A token of [`World::schedule`] is due; nobody was called.
    App {
        /// The token.
        token: u64,
    },
    /// Nobody was left to tell.
    Nothing,
}

impl Event {
    /// The process that was called, if one was.
    pub fn process(self) -> Option<u32> {
        match self {
            Event::Delivered { process, .. }
            | Event::Error { process, .. }
            | Event::Deactivated { process, .. }
            | Event::Timer { process } => Some(process),
            Event::Held { .. } | Event::Lost { .. } | Event::App { .. } | Event::Nothing => None,
        }
    }
}

#[derive(Clone)]
enum Body {
    Process(Arc<Process>),
    Actor(Arc<dyn Actor>),
    Killed,
}

struct Tenant {
    body: Body,
    ports: Ports,
    /// Drivers given to `create_node`.
    nodes: usize,
}

/// Who is to be called, and about what.
pub(crate) struct Input {
    body: Body,
    call: Call,
}

/// What is to be noted after a call.
#[derive(Default)]
pub(crate) struct Told {
    message: Option<(u32, Vec<u8>)>,
    refused: bool,
}

impl Input {
    /// Calls.
    pub fn run(self) -> Told {
        if let Call::Timer { .. } = self.call {
            match self.body {
                Body::Process(body) => body.timer(),
                Body::Actor(body) => body.timer(),
                Body::Killed => (),
            }
            return Told::default();
        }
        let activity: Arc<dyn Activity> = match self.body {
            Body::Process(body) => body,
            Body::Actor(body) => body,
            Body::Killed => return Told::default(),
        };
        match self.call {
            Call::Message { end, key, bytes, handles, .. } => {
                let refused = activity.message(key, &bytes, &handles, None) == Verdict::Refused;
                Told { message: Some((end, bytes)), refused }
            }
            Call::Error { key, .. } => {
                activity.error(key);
                Told::default()
            }
            Call::Deactivated { key, .. } => {
                activity.deactivated(key);
                Told::default()
            }
            Call::Timer { .. } => Told::default(),
        }
    }
}

/// A world of processes.
pub struct World {
    shared: Arc<Shared>,
    tenants: Vec<Tenant>,
    /// The last message's bytes, on their way back to the pool.
    spent: Option<Vec<u8>>,
}

impl World {
    /// An empty world at time 0 whose decisions come from `source`.
    pub fn new(config: Config, source: Source) -> World {
        World { shared: Shared::new(State::new(config, source)), tenants: Vec::new(), spent: None }
    }

    /// A new process; they are numbered from 0.
    pub fn add_process(&mut self) -> u32 {
        self.add(|ports| {
            let process = Process::new(Arc::clone(&ports.clock), Arc::clone(&ports.traps));
            ports.belong_to(&process);
            Body::Process(process)
        })
    }

    /// Something else in place of a process.
    pub fn add_actor(&mut self, make: impl FnOnce(&Ports) -> Arc<dyn Actor>) -> u32 {
        self.add(|ports| Body::Actor(make(ports)))
    }

    fn add(&mut self, make: impl FnOnce(&Ports) -> Body) -> u32 {
        let process = self.shared.lock().add_seat();
        let ports = Ports::new(&self.shared, process);
        self.tenants.push(Tenant { body: make(&ports), ports, nodes: 0 });
        process
    }

    /// The process of this number, unless it was killed or is an actor.
    pub fn process(&self, process: u32) -> Option<&Arc<Process>> {
        match &self.tenants.get(process as usize)?.body {
            Body::Process(body) => Some(body),
            _ => None,
        }
    }

    /// The actor of this number, unless it was killed or is a process.
    pub fn actor(&self, process: u32) -> Option<&Arc<dyn Actor>> {
        match &self.tenants.get(process as usize)?.body {
            Body::Actor(body) => Some(body),
            _ => None,
        }
    }

    /// Driver, clock and trap target of a process. Panics if there is no such process.
    pub fn ports(&self, process: u32) -> &Ports {
        &self.tenants[process as usize].ports
    }

    /// Processes ever added, killed ones included.
    pub fn processes(&self) -> u32 {
        self.tenants.len() as u32
    }

    /// A node in a process, on the world's driver: to be made here, so that a copy of the world can have it too.
    pub fn create_node(&mut self, process: u32, kind: NodeType, options: NodeOptions) -> Result<Handle, Error> {
        let Some(tenant) = self.tenants.get_mut(process as usize) else { return Err(Error::InvalidArgument) };
        let Body::Process(body) = &tenant.body else { return Err(Error::InvalidArgument) };
        let node = body.create_node(kind, Arc::clone(&tenant.ports.driver), options)?;
        tenant.nodes += 1;
        tenant.ports.set_node(Some(node));
        Ok(node)
    }

    /// A transport between two processes, one end each; without a profile the configured one.
    pub fn transport_pair(&mut self, a: u32, b: u32, profile: Option<LinkProfile>) -> (ObjectId, ObjectId) {
        let mut state = self.shared.lock();
        let profile = profile.unwrap_or_else(|| state.config().profile(a, b));
        let [first, second] = state.transport_pair([a, b], profile);
        (state.objects.open(a, Holds::Transport(first)), state.objects.open(b, Holds::Transport(second)))
    }

    /// Closes an object that its owner still has.
    pub fn close_object(&mut self, process: u32, object: ObjectId) {
        self.shared.lock().close(process, object);
    }

    /// Virtual nanoseconds since the world began.
    pub fn now(&self) -> u64 {
        self.shared.now()
    }

    /// Lets [`Event::App`] happen at `at`, or now if that is past; tokens of one instant come in the order of these calls.
    pub fn schedule(&mut self, at: u64, token: u64) {
        self.schedule_for(u32::MAX, at, token);
    }

    /// The same for something that a process will do: a schedule names it so.
    pub fn schedule_for(&mut self, process: u32, at: u64, token: u64) {
        self.shared.lock().schedule(at, process, token);
    }

    /// In a scheduled world the policy decides from here on, and names of events count from here.
    pub fn govern(&mut self, policy: Policy) {
        self.shared.lock().queue.govern(policy);
    }

    /// Whether a policy decides what is next, and not virtual time.
    pub fn is_scheduled(&self) -> bool {
        self.shared.lock().queue.is_scheduled()
    }

    /// What the schedule was, if there is one.
    pub fn order(&self) -> Option<OrderReport> {
        self.shared.lock().queue.report()
    }

    /// The name of the event taken last, if a schedule took it.
    pub fn latest(&self) -> Option<EventId> {
        self.shared.lock().queue.latest()
    }

    /// Whether nothing is left to happen.
    pub fn idle(&self) -> bool {
        self.next_time().is_none()
    }

    /// Whether nothing is left to happen but deadlines and tokens: no message, error or deactivation is under way.
    pub fn quiet(&self) -> bool {
        let state = self.shared.lock();
        state.queue.traffic() == 0 && state.faults.resumed.is_empty()
    }

    /// When the next event is.
    pub fn next_time(&self) -> Option<u64> {
        let state = self.shared.lock();
        if state.faults.resumed.is_empty() { state.queue.next_time() } else { Some(state.now) }
    }

    /// Carries out the next event; none if the world is idle.
    pub fn step(&mut self) -> Option<Step> {
        let (step, call) = {
            let mut state = self.shared.lock();
            if let Some(bytes) = self.spent.take() {
                state.recycle(bytes);
            }
            let next = state.next()?;
            self.shared.tick(state.now);
            next
        };
        if let Some(call) = call {
            let input = self.input(call);
            let told = input.run();
            self.told(told);
        }
        Some(step)
    }

    /// What must be called, and who.
    pub(crate) fn input(&self, call: Call) -> Input {
        let process = call.process();
        Input { body: self.tenants[process as usize].body.clone(), call }
    }

    /// A call of a process is over.
    pub(crate) fn told(&mut self, told: Told) {
        if let Some((end, bytes)) = told.message {
            if told.refused {
                self.shared.lock().refused(end);
            }
            self.spent = Some(bytes);
        }
    }

    /// The state itself, for depth L1. Nobody may be called meanwhile.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// Whether somebody holds the lock of a process.
    pub(crate) fn is_busy(&self, process: u32) -> bool {
        self.process(process).is_some_and(|body| body.is_busy())
    }

    /// Lets time go on to `time`, if that is later.
    pub(crate) fn advance(&mut self, time: u64) {
        let mut state = self.shared.lock();
        state.now = state.now.max(time);
        self.shared.tick(state.now);
    }

    /// Who holds or is to hold a transport end, and its other end.
    pub(crate) fn meant(&self, end: u32) -> Option<[u32; 2]> {
        let state = self.shared.lock();
        Some([state.ends.get(end as usize)?.meant, state.ends.get(end as usize ^ 1)?.meant])
    }

    /// Lets something happen that [`State::take_events`] gave: what it is, and what is to be called for it.
    pub(crate) fn happen(&mut self, what: What) -> (Event, Option<Call>) {
        let mut state = self.shared.lock();
        if let Some(bytes) = self.spent.take() {
            state.recycle(bytes);
        }
        state.happen(what)
    }

    /// Moves the trap events that fired since the last time to `out`, with their processes, in order.
    pub fn take_traps(&mut self, out: &mut Vec<(u32, TrapEvent)>) {
        self.shared.take_traps(out);
    }

    /// Cuts every transport between two processes: both ends get an error after the link's latency; of the messages
    /// under way the last few (a choice) are lost, the others arrive first.
    pub fn cut_link(&mut self, a: u32, b: u32) {
        self.shared.lock().cut_link(a, b);
    }

    /// Ends a process on the spot: what it sent still arrives, then its peers get errors; it is never called again.
    pub fn kill(&mut self, process: u32) {
        if let Some(tenant) = self.tenants.get_mut(process as usize) {
            self.shared.lock().kill(process);
            tenant.body = Body::Killed;
        }
    }

    /// As [`World::cut_link`], but only `a` learns it now; `b` does when it next transmits, or when faults are disarmed.
    pub fn half_open(&mut self, a: u32, b: u32) {
        self.shared.lock().half_open(a, b);
    }

    /// Lets the transports between two processes refuse the next message of `from`.
    pub fn refuse_next(&mut self, from: u32, to: u32) {
        self.shared.lock().refuse_next(from, to);
    }

    /// From now on the configured faults may strike: all of them, or the one named.
    pub fn arm_faults(&mut self, only: Option<Fault>) {
        self.shared.lock().arm(only);
    }

    /// Depth L1 begins: virtual time says nothing about order.
    pub fn forget_time(&mut self) {
        self.shared.lock().faults.timeless = true;
    }

    /// No fault strikes from now on, and every end of a broken link is told.
    pub fn disarm_faults(&mut self) {
        self.shared.lock().disarm();
    }

    /// From now on hostile processes lie, or no longer.
    pub fn let_lie(&mut self, on: bool) {
        self.shared.lock().liars.let_lie(on);
    }

    /// How often each lie was told, of those that may be.
    pub fn lies_told(&self) -> Vec<ToldLie> {
        self.shared.lock().liars.told()
    }

    /// Of each memory that a process has mapped: who has, ascending.
    pub fn mapped_with(&self, process: u32) -> Vec<Vec<u32>> {
        self.shared.lock().mapped_with(process)
    }

    /// Whether a fault strikes, of which the caller has an opportunity.
    pub fn strikes(&mut self, fault: Fault, actor: u32) -> bool {
        self.shared.faulty && self.shared.lock().strikes(fault, actor)
    }

    /// Whether anything can ever strike.
    pub fn is_faulty(&self) -> bool {
        self.shared.faulty
    }

    /// Moves what struck since the last time, and concerns more than the engine, to `out`.
    pub fn take_strikes(&mut self, out: &mut Vec<Strike>) {
        self.shared.lock().faults.take_strikes(out);
    }

    /// Whether a handler of traps may close this end of a pipe ([`Fault::CloseInTrap`]): where it is held and by what handle, or none.
    pub fn may_close(&mut self, end: u32, holder: Option<(u32, Handle)>) {
        let closable = &mut self.shared.lock().faults.closable;
        match holder {
            Some(holder) => closable.insert(end, holder),
            None => closable.remove(&end),
        };
    }

    /// Moves the ends that handlers of traps closed since the last time to `out`, in order.
    pub fn take_closed(&mut self, out: &mut Vec<u32>) {
        out.append(&mut self.shared.lock().faults.closed);
    }

    /// How often each configured fault could have struck and did.
    pub fn struck(&self) -> Vec<Struck> {
        self.shared.lock().faults.struck()
    }

    /// The faults that struck, in order.
    pub fn hits(&self) -> Vec<Hit> {
        self.shared.lock().faults.hits()
    }

    /// The longest that a configured fault lasts, in ns.
    pub fn longest_fault(&self) -> u64 {
        self.shared.lock().faults.longest()
    }

    /// Whether a fault stopped the process in the middle of something: nothing it does counts, and it is to be killed.
    pub fn is_dying(&self, process: u32) -> bool {
        self.shared.faulty && self.shared.lock().is_dying(process)
    }

    /// Who sent a message that was refused, and who refused it.
    pub fn refusals(&self) -> Vec<(u32, u32)> {
        self.shared.lock().refusals.clone()
    }

    /// How long strikes of a configured fault last, in ns.
    pub fn lasts(&self, fault: Fault) -> u64 {
        self.shared.lock().faults.lasts(fault)
    }

    /// Whether the process was killed, or is about to be.
    pub fn is_gone(&self, process: u32) -> bool {
        let gone = self.tenants.get(process as usize).is_none_or(|tenant| matches!(tenant.body, Body::Killed));
        gone || self.is_dying(process)
    }

    /// A driver object of a process, to be boxed.
    pub fn make_object(&mut self, process: u32, value: u64) -> ObjectId {
        self.shared.lock().objects.open(process, Holds::Token(value))
    }

    /// What such an object stands for; nothing if it is something else, as a liar may send. It is closed.
    pub fn take_object(&mut self, process: u32, object: ObjectId) -> Option<u64> {
        let mut state = self.shared.lock();
        let held = state.objects.find(process, object)?;
        state.close(process, object);
        if let Holds::Token(value) = held { Some(value) } else { None }
    }

    /// Owns a process's boxed objects.
    pub fn application(&self, process: u32) -> Option<Arc<dyn Application>> {
        self.tenants.get(process as usize).map(|tenant| Arc::clone(&tenant.ports.application))
    }

    /// Objects of a process's application that it has not got back.
    pub fn applications_open(&self, process: u32) -> i64 {
        self.shared.lock().applications.get(&process).copied().unwrap_or(0)
    }

    /// An object of a process's application is its own again.
    pub fn take_application(&mut self, process: u32) {
        self.shared.lock().application_objects(process, -1);
    }

    /// Driver objects a process holds: transports, memory (not mappings), and handles of messages.
    pub fn objects_open(&self, process: u32) -> usize {
        self.shared.lock().objects.count(process)
    }

    /// The last messages transmitted, oldest first. Who was to get one that was sent while nobody held the far end is filled in.
    pub fn recent(&self) -> Vec<Recent> {
        let state = self.shared.lock();
        let mut recent: Vec<Recent> = state.trace.recent().cloned().collect();
        for message in recent.iter_mut().filter(|message| message.to == u32::MAX) {
            message.to = state.partner(message.transport, message.from);
        }
        recent
    }

    /// Reads or extends the trace.
    pub fn trace<R>(&self, look: impl FnOnce(&mut Trace) -> R) -> R {
        look(&mut self.shared.lock().trace)
    }

    /// Draws from the world's choice source.
    pub fn choose<R>(&self, ask: impl FnOnce(&mut Source) -> R) -> R {
        ask(&mut self.shared.lock().source)
    }

    /// Replaces the choice source from here on: a copied world then takes another way.
    pub fn set_source(&mut self, source: Source) {
        self.shared.lock().source = source;
    }

    /// Hash over everything that happened so far.
    pub fn fingerprint(&self) -> u128 {
        self.shared.lock().trace.fingerprint()
    }

    /// What is in the world now.
    pub fn population(&self) -> Population {
        self.shared.lock().population()
    }

    /// A copy that would go on exactly as this one; the two share nothing but memory pages neither has changed.
    pub fn fork(&self) -> World {
        let mut state = State::clone(&self.shared.lock());
        state.unmap_all();
        let shared = Shared::new(state);
        let mut remap = |memory: &Arc<dyn VirtualMemory>| -> Arc<dyn VirtualMemory> {
            match SimMemory::of(memory) {
                Some(memory) => Arc::new(memory.fork(&shared)),
                None => Arc::clone(memory),
            }
        };
        let mut copy = |(process, tenant): (usize, &Tenant)| {
            let ports = Ports::new(&shared, process as u32);
            ports.set_node(tenant.ports.node());
            let body = match &tenant.body {
                Body::Process(body) => {
                    let drivers = vec![Arc::clone(&ports.driver); tenant.nodes];
                    let application = Arc::clone(&ports.application);
                    let body = body.fork(Arc::clone(&ports.clock), Arc::clone(&ports.traps), application, drivers, &mut remap);
                    ports.belong_to(&body);
                    Body::Process(body)
                }
                Body::Actor(body) => Body::Actor(body.fork(ports.clone(), &mut remap)),
                Body::Killed => Body::Killed,
            };
            Tenant { body, ports, nodes: tenant.nodes }
        };
        let tenants = self.tenants.iter().enumerate().map(&mut copy).collect();
        shared.lock().free_unmapped();
        World { shared, tenants, spent: None }
    }
}
