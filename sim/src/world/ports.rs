//! The world as one process sees it: the simulator's driver, clock, trap target and memory. Each call takes the world's
//! lock once, or not at all, and calls nobody.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use ipcz::api::{BoxContents, Process};
use ipcz::clock::{Clock, Point, Time, Wake};
use ipcz::driver::{Driver, DriverError, Frame, Listener, Packed, Travel};
use ipcz::ids::{Handle, ObjectId};
use ipcz::mapping::{Mapping, Rmw, VirtualMemory, Width};
use ipcz::trap::{TrapEvent, TrapTarget};
use ipcz::{Application, Serialized};

use super::activity::{self, Access, Go, Kind as How, Stop};
use super::config::Wrap;
use super::fault::Strike;
use super::objects::{Carried, Holds};
use super::state::{KIND_MEMORY, KIND_TOKEN, KIND_TRANSPORT, State};
use crate::boxes;
use crate::choice::Site;
use crate::fault::Fault;

use crate::leaks::{self, Leak};
use crate::trace::Kind;

/// A world's state behind its one lock, never held while a process is called. Beside it is what is asked at every call, and what a lock
/// would cost more than: a world belongs to one thread at a time.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Whether anything can ever strike.
    pub faulty: bool,
    /// The state's `now`.
    now: AtomicU64,
    /// Whether the state has trap events.
    traps: AtomicBool,
}

impl Shared {
    pub fn new(state: State) -> Arc<Shared> {
        let (faulty, now, traps) = (state.faults.planned(), state.now.into(), (!state.traps.is_empty()).into());
        Arc::new(Shared { state: Mutex::new(state), faulty, now, traps })
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Virtual nanoseconds since the world began.
    pub fn now(&self) -> u64 {
        self.now.load(Relaxed)
    }

    /// The state's time has gone on.
    pub fn tick(&self, now: u64) {
        self.now.store(now, Relaxed);
    }

    /// A trap has fired.
    fn fired(&self, process: u32, event: &TrapEvent) {
        let mut state = self.lock();
        state.trace.trap(process, event);
        state.traps.push((process, *event));
        self.traps.store(true, Relaxed);
    }

    /// Moves the trap events to `out`.
    pub fn take_traps(&self, out: &mut Vec<(u32, TrapEvent)>) {
        if self.traps.load(Relaxed) {
            self.traps.store(false, Relaxed);
            out.append(&mut self.lock().traps);
        }
    }
}

/// What a process of the world is made with.
#[derive(Clone)]
pub struct Ports {
    /// For `create_node`, and for objects of the workload.
    pub driver: Arc<dyn Driver>,
    /// Virtual time.
    pub clock: Arc<dyn Clock>,
    /// Collects trap events for [`World::take_traps`](super::World::take_traps).
    pub traps: Arc<dyn TrapTarget>,
    /// Owns the boxed objects of the workload.
    pub application: Arc<dyn Application>,
    owner: Owner,
    /// The process's node: what it boxes with.
    node: Arc<OnceLock<Handle>>,
}

/// The process whose ports these are, once it is made.
type Owner = Arc<OnceLock<Weak<Process>>>;

impl Ports {
    pub(crate) fn new(shared: &Arc<Shared>, process: u32) -> Ports {
        let port = || Port { shared: Arc::clone(shared), process };
        let owner = Owner::default();
        let traps = Arc::new(SimTraps { port: port(), owner: Arc::clone(&owner) });
        let node = Arc::default();
        let application = Arc::new(SimApplication { port: port(), owner: Arc::clone(&owner), node: Arc::clone(&node) });
        let driver: Arc<dyn Driver> = Arc::new(SimDriver(port()));
        let wrap = shared.lock().config.wrap.clone();
        let driver = match wrap {
            Some(Wrap(wrap)) => wrap(process, driver),
            None => driver,
        };
        Ports { driver, clock: Arc::new(SimClock(port())), traps, application, owner, node }
    }

    /// The process was made; a handler of its traps may call it.
    pub(crate) fn belong_to(&self, process: &Arc<Process>) {
        self.owner.get_or_init(|| Arc::downgrade(process));
    }

    /// The process's node, once it has one.
    pub(crate) fn node(&self) -> Option<Handle> {
        self.node.get().copied()
    }

    pub(crate) fn set_node(&self, node: Option<Handle>) {
        if let Some(node) = node {
            self.node.get_or_init(|| node);
        }
    }
}

struct Port {
    shared: Arc<Shared>,
    process: u32,
}

/// The simulator's driver for one process: bytes and objects move through the world's event queue.
struct SimDriver(Port);

impl SimDriver {
    fn world(&self) -> (u32, MutexGuard<'_, State>) {
        (self.0.process, self.0.shared.lock())
    }
}

/// What would travel, if the object can at all.
fn travels(state: &State, process: u32, object: ObjectId) -> Option<Carried> {
    match state.objects.find(process, object)? {
        Holds::Memory(index) => Some(Carried::Memory(index)),
        Holds::Token(value) => Some(Carried::Token(value)),
        Holds::Transport(end) if state.is_idle(end) => Some(Carried::Transport(end)),
        _ => None,
    }
}

impl Driver for SimDriver {
    fn close(&self, object: ObjectId) {
        let (process, mut state) = self.world();
        state.close(process, object);
    }

    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel {
        let (process, state) = self.world();
        if travels(&state, process, object).is_none() {
            return Travel::Never;
        }
        match via.map(|via| state.objects.transport(process, via).map(|end| state.profile(end).carries_objects)) {
            None | Some(Some(true)) => Travel::Yes,
            Some(Some(false)) => Travel::NotHere,
            Some(None) => Travel::Never,
        }
    }

    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        let (process, mut state) = self.world();
        let carried = travels(&state, process, object).ok_or(DriverError::InvalidArgument)?;
        let via = state.objects.transport(process, via).ok_or(DriverError::InvalidArgument)?;
        if !state.profile(via).carries_objects {
            return Err(DriverError::PermissionDenied);
        }
        let (kind, size) = match carried {
            Carried::Transport(end) if end == via => return Err(DriverError::InvalidArgument),
            Carried::Transport(_) => (KIND_TRANSPORT, 0),
            Carried::Memory(index) => (KIND_MEMORY, state.memory(index).len() as u32),
            Carried::Token(value) => (KIND_TOKEN, value as u32),
        };
        out.data.extend_from_slice(&kind.to_le_bytes());
        out.data.extend_from_slice(&size.to_le_bytes());
        out.handles.push(state.pack(process, object, carried));
        Ok(())
    }

    fn deserialize(&self, data: &[u8], handles: &[ObjectId], _via: ObjectId) -> Result<ObjectId, DriverError> {
        let (process, mut state) = self.world();
        state.unpack(process, data, handles)
    }

    fn create_transports(&self, toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        let (process, mut state) = self.world();
        let (meant, profile) = match toward {
            None => ([process; 2], state.config().profile(process, process)),
            Some(toward) => {
                let far = toward.map(|id| state.objects.transport(process, id).map(|end| state.far_holder(end)));
                let [Some(a), Some(b)] = far else {
                    // Of who died in the middle of it everything is closed.
                    state.trace.counters().stale += u64::from(!state.gone(process));
                    return Err(DriverError::InvalidArgument);
                };
                if state.strikes(Fault::RefuseIntroduction, process) {
                    state.tell_run(Strike::NotIntroduced(a, b));
                    return Err(DriverError::ResourceExhausted);
                }
                ([a, b], state.config().profile(a, b))
            }
        };
        let ends = state.transport_pair([process; 2], profile);
        for (end, process) in ends.into_iter().zip(meant) {
            state.ends[end as usize].meant = process;
        }
        Ok(ends.map(|end| state.objects.open(process, Holds::Transport(end))))
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        let (process, mut state) = self.world();
        state.activate(process, transport, listener.key())
    }

    fn deactivate(&self, transport: ObjectId) {
        let (process, mut state) = self.world();
        state.deactivate(process, transport);
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        let (process, mut state) = self.world();
        state.transmit(process, transport, frames)
    }

    fn report_bad(&self, transport: ObjectId, context: usize) {
        let (process, mut state) = self.world();
        let end = state.objects.transport(process, transport).unwrap_or(u32::MAX);
        state.trace.record(Kind::Reject, process, end.into(), context as u64);
        state.trace.counters().rejected += 1;
    }

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        let (process, mut state) = self.world();
        match u32::try_from(bytes) {
            Ok(0) => Err(DriverError::InvalidArgument),
            Err(_) => Err(DriverError::ResourceExhausted),
            Ok(_) if state.config().memoryless.contains(&process) => Err(DriverError::ResourceExhausted),
            Ok(_) if state.strikes(Fault::RefuseMemory, process) => {
                state.tell_run(Strike::NoMemory(process));
                Err(DriverError::ResourceExhausted)
            }
            Ok(_) => {
                let index = state.add_memory(bytes, process);
                Ok(state.objects.open(process, Holds::Memory(index)))
            }
        }
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        let (process, mut state) = self.world();
        let index = state.objects.memory(process, memory).ok_or(DriverError::InvalidArgument)?;
        Ok(state.memory(index).len())
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        let (process, mut state) = self.world();
        let index = state.objects.memory(process, memory).ok_or(DriverError::InvalidArgument)?;
        if state.strikes(Fault::RefuseMemory, process) {
            state.tell_run(Strike::NoMemory(process));
            return Err(DriverError::ResourceExhausted);
        }
        state.memory(index).owners += 1;
        Ok(state.objects.open(process, Holds::Memory(index)))
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        let (process, mut state) = self.world();
        let index = state.objects.memory(process, memory).ok_or(DriverError::InvalidArgument)?;
        // Who cannot map what it is sent drops the link (driver.md): only a maker's mapping is refused here.
        if state.memory(index).maker == process && state.strikes(Fault::RefuseMemory, process) {
            state.tell_run(Strike::NoMemory(process));
            return Err(DriverError::ResourceExhausted);
        }
        let len = state.memory(index).len();
        state.map(index, process);
        Ok(Mapping::Virtual(Arc::new(SimMemory { shared: Arc::clone(&self.0.shared), process, index, len })))
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        let (process, mut state) = self.world();
        if state.strikes(Fault::RefuseRandom, process) {
            return Err(DriverError::Unknown);
        }
        state.source.fill(Site::Name, process, out);
        if let Some(last) = out.last_mut() {
            *last ^= leaks::slip(Leak::ThreadId) as u8;
        }
        Ok(())
    }
}

/// Virtual time; a deadline is an event.
struct SimClock(Port);

impl Clock for SimClock {
    fn now(&self) -> Time {
        let Port { shared, process } = &self.0;
        // A fault may let a process think that it is later.
        Time(if shared.faulty { shared.lock().clock(*process) } else { shared.now() })
    }

    fn wake_at(&self, at: Time, _who: Arc<dyn Wake>) {
        self.0.shared.lock().wake_at(self.0.process, at.0);
    }

    fn turn(&self, at: Point) {
        activity::stop(|| Stop::Turn(at));
    }

    fn cooperative(&self) -> bool {
        activity::is_running()
    }
}

/// The application that owns boxed objects: what each becomes is a function of its number. How many there are is counted.
struct SimApplication {
    port: Port,
    owner: Owner,
    node: Arc<OnceLock<Handle>>,
}

impl Application for SimApplication {
    fn can_serialize(&self, _object: u64) -> bool {
        self.port.shared.lock().application_objects(self.port.process, 1);
        true
    }

    fn serialize(&self, object: u64) -> Option<Serialized> {
        let (data, inside) = boxes::serialized(object);
        let Port { shared, process } = &self.port;
        let mut handles = Vec::new();
        if let (Some(value), Some(body), Some(node)) = (inside, self.owner.get().and_then(Weak::upgrade), self.node.get()) {
            let token = shared.lock().objects.open(*process, Holds::Token(value));
            match body.box_object(*node, BoxContents::Driver(token)) {
                Ok(handle) => handles.push(handle),
                // Its node is closed.
                Err(_) => shared.lock().close(*process, token),
            }
        }
        Some(Serialized { data, handles })
    }

    fn destroy(&self, _object: u64) {
        self.port.shared.lock().application_objects(self.port.process, -1);
    }
}

/// Keeps trap events for the workload. Where [`Fault::CloseInTrap`] strikes, it is a handler that closes a portal.
struct SimTraps {
    port: Port,
    owner: Owner,
}

impl TrapTarget for SimTraps {
    fn fired(&self, event: &TrapEvent) {
        let Port { shared, process } = &self.port;
        shared.fired(*process, event);
        let chosen = if shared.faulty { shared.lock().close_in_trap(*process, event) } else { None };
        if let (Some(handle), Some(owner)) = (chosen, self.owner.get().and_then(Weak::upgrade)) {
            owner.close(handle).expect("nobody else closes it, or puts it into a parcel");
        }
    }
}

/// One mapping of a memory object.
pub(crate) struct SimMemory {
    shared: Arc<Shared>,
    process: u32,
    index: u32,
    len: usize,
}

impl SimMemory {
    /// The same mapping in a copy of its world.
    pub fn fork(&self, shared: &Arc<Shared>) -> SimMemory {
        shared.lock().map(self.index, self.process);
        SimMemory { shared: Arc::clone(shared), process: self.process, index: self.index, len: self.len }
    }

    /// Lets other activities run first.
    fn before(&self, kind: How, at: usize, bytes: usize) -> Go {
        activity::stop(|| Stop::Access(Access { kind, memory: self.index, at, bytes }))
    }

    fn load_as(&self, kind: How, at: usize, width: Width) -> u64 {
        match self.before(kind, at, width.bytes()) {
            Go::Done(Ok(value)) => value,
            _ => self.shared.lock().memory(self.index).load(at, width),
        }
    }

    /// `memory` as what it must be in a world: one of ours.
    pub fn of(memory: &Arc<dyn VirtualMemory>) -> Option<&SimMemory> {
        let any: &dyn Any = memory.as_ref();
        any.downcast_ref()
    }
}

impl Drop for SimMemory {
    fn drop(&mut self) {
        self.shared.lock().unmap(self.index, self.process);
    }
}

impl VirtualMemory for SimMemory {
    fn len(&self) -> usize {
        self.len
    }

    fn load(&self, at: usize, width: Width, _order: Ordering) -> u64 {
        self.load_as(How::Load, at, width)
    }

    fn poll(&self, at: usize, width: Width, _order: Ordering) -> u64 {
        self.load_as(How::Poll, at, width)
    }

    fn store(&self, at: usize, width: Width, value: u64, _order: Ordering) {
        match self.before(How::Store(value), at, width.bytes()) {
            Go::Done(_) => (),
            _ => {
                let mut state = self.shared.lock();
                if !state.is_dying(self.process) {
                    state.store(self.index, at, width, value);
                }
            }
        }
    }

    fn update(&self, at: usize, width: Width, op: Rmw, _order: Ordering) -> Result<u64, u64> {
        let kind = match op {
            Rmw::Add(by) => How::Add(by),
            Rmw::CompareExchange { expected, new } => How::Exchange { expected, new },
        };
        if let Go::Done(result) = self.before(kind, at, width.bytes()) {
            return result;
        }
        let mut state = self.shared.lock();
        if state.is_dying(self.process) {
            return match op {
                Rmw::CompareExchange { expected, .. } => Ok(expected),
                Rmw::Add(_) => Ok(state.memory(self.index).load(at, width)),
            };
        }
        if let Rmw::CompareExchange { expected, .. } = op
            && state.faults.armed()
            && state.memory(self.index).load(at, width) == expected
            && state.fails_for_nothing(self.process)
        {
            return Err(expected);
        }
        state.update(self.index, at, width, op)
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        let go = self.before(How::Read, at, out.len());
        self.shared.lock().memory(self.index).read(at, out);
        if let (Go::Flipped(bits), Some(byte)) = (go, out.last_mut()) {
            *byte ^= bits as u8;
        }
    }

    fn write(&self, at: usize, data: &[u8]) {
        self.before(How::Write, at, data.len());
        let mut state = self.shared.lock();
        if !state.is_dying(self.process) {
            state.write(self.index, at, data);
        }
    }

    fn fence(&self) {
        self.before(How::Fence, 0, 0);
    }
}
