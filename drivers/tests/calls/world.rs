//! Programs, pairs of portals, and traps that are noted.

use std::sync::{Arc, Mutex};

use ipcz::api::{BeginGetFlags, Getting, Putting};
use ipcz::driver::{Driver, DriverError, Frame, Listener, Packed, Travel};
use ipcz::ids::{Handle, NodeType, ObjectId, Transaction};
use ipcz::mapping::Mapping;
use ipcz::trap::{PortalStatus, TrapConditions, TrapEvent, TrapFlags, TrapTarget};
use ipcz::{ConnectTo, EndGet, Error, GetRefused, NodeOptions, Process};
use ipcz_drivers::{InProcess, MonotonicClock};

pub const EXCLUSIVE: BeginGetFlags = BeginGetFlags { partial: false, overlapped: false };
pub const PARTIAL: BeginGetFlags = BeginGetFlags { partial: true, overlapped: false };
pub const OVERLAPPED: BeginGetFlags = BeginGetFlags { partial: false, overlapped: true };

type Reaction = Box<dyn FnMut(&TrapEvent) + Send>;

/// Notes events, and lets a test act upon them inside the handler.
#[derive(Default)]
pub struct Events {
    noted: Mutex<Vec<TrapEvent>>,
    reaction: Mutex<Option<Reaction>>,
}

impl TrapTarget for Events {
    fn fired(&self, event: &TrapEvent) {
        self.noted.lock().unwrap().push(*event);
        let reaction = self.reaction.lock().unwrap().take();
        if let Some(mut reaction) = reaction {
            reaction(event);
            self.reaction.lock().unwrap().get_or_insert(reaction);
        }
    }
}

/// The synchronous driver, which notes what it is told of bad transports.
pub struct Reports {
    inner: Arc<InProcess>,
    pub reported: Mutex<Vec<(ObjectId, usize)>>,
}

impl Reports {
    /// An object to be boxed.
    pub fn token(&self, value: u64) -> ObjectId {
        self.inner.token(value)
    }

    /// What it stands for.
    pub fn value(&self, token: ObjectId) -> Option<u64> {
        self.inner.value(token)
    }

    /// Driver objects that are open.
    pub fn objects(&self) -> usize {
        self.inner.live_objects()
    }
}

/// A process with one node.
pub struct Program {
    pub process: Arc<Process>,
    pub node: Handle,
    pub events: Arc<Events>,
}

impl Program {
    pub fn new(driver: Arc<dyn Driver>, kind: NodeType, options: NodeOptions) -> Program {
        let events = Arc::new(Events::default());
        let process = Process::new(Arc::new(MonotonicClock::new()), events.clone());
        let node = process.create_node(kind, driver, options).unwrap();
        Program { process, node, events }
    }

    /// A pair of portals here.
    pub fn pair(&self) -> (Handle, Handle) {
        self.process.open_portals(self.node).unwrap()
    }

    pub fn put(&self, portal: Handle, data: &[u8]) {
        self.process.put(portal, data, &[]).unwrap();
    }

    /// The peer is closed.
    pub fn put_refused(&self, portal: Handle) {
        assert_eq!(self.process.put(portal, b"", &[]), Err(Error::NotFound));
    }

    pub fn get(&self, portal: Handle) -> Vec<u8> {
        self.process.get(portal).unwrap().data
    }

    /// The one portal attached to the next parcel.
    pub fn get_portal(&self, from: Handle) -> Handle {
        let received = self.process.get(from).unwrap();
        assert_eq!(received.handles.len(), 1);
        received.handles[0]
    }

    /// The next parcel as an object.
    pub fn keep(&self, from: Handle) -> Handle {
        let flags = ipcz::GetFlags { partial: true, keep: true };
        self.process.get_into(from, &mut [], 0, flags).unwrap().parcel.unwrap()
    }

    pub fn close(&self, handle: Handle) {
        self.process.close(handle).unwrap();
    }

    pub fn begin_put(&self, portal: Handle, data: &[u8]) -> Transaction {
        let Putting { transaction, data: room } = self.process.begin_put(portal, data.len(), false).unwrap();
        assert_eq!((room.capacity(), room.write_at(0, data)), (data.len(), data.len()));
        transaction
    }

    pub fn begin_get(&self, source: Handle, flags: BeginGetFlags) -> Result<Getting, GetRefused> {
        self.process.begin_get(source, usize::MAX, flags)
    }

    pub fn end_get(&self, source: Handle, get: Transaction, how: EndGet) -> Option<Handle> {
        self.process.end_get(source, get, how).unwrap()
    }

    pub fn status(&self, portal: Handle) -> PortalStatus {
        self.process.query(portal).unwrap()
    }

    /// Parcels and bytes that can be read.
    pub fn counts(&self, portal: Handle) -> (usize, usize) {
        let status = self.status(portal);
        (status.parcels, status.bytes)
    }

    pub fn is_dead(&self, portal: Handle) -> bool {
        self.status(portal).dead
    }

    pub fn trap(&self, portal: Handle, flags: TrapFlags, context: u64) -> Result<(), ipcz::TrapRefused> {
        self.process.trap(portal, TrapConditions { flags, ..TrapConditions::default() }, context)
    }

    /// The events since the last call: context and flags.
    pub fn fired(&self) -> Vec<(u64, TrapFlags)> {
        self.events.noted.lock().unwrap().drain(..).map(|event| (event.context, event.flags)).collect()
    }

    /// The events since the last call.
    pub fn events(&self) -> Vec<TrapEvent> {
        self.events.noted.lock().unwrap().drain(..).collect()
    }

    /// What handlers do from now on.
    pub fn react(&self, reaction: impl FnMut(&TrapEvent) + Send + 'static) {
        *self.events.reaction.lock().unwrap() = Some(Box::new(reaction));
    }

    /// Link memory in use, over all links.
    pub fn blocks(&self) -> u64 {
        self.process.inspect(|view| view.links().iter().map(|link| link.blocks_taken).sum())
    }
}

/// One program.
pub fn alone() -> Program {
    Program::new(InProcess::new(), NodeType::Broker, NodeOptions::default())
}

/// A broker and its client, and a pipe between them.
pub struct Both {
    pub driver: Arc<Reports>,
    pub a: Program,
    pub b: Program,
    pub at_a: Handle,
    pub at_b: Handle,
}

pub fn both() -> Both {
    both_with(NodeOptions::default())
}

/// As [`both`], with these options for the broker.
pub fn both_with(options: NodeOptions) -> Both {
    let inner = InProcess::new();
    let driver = Arc::new(Reports { inner: inner.clone(), reported: Mutex::default() });
    let a = Program::new(driver.clone(), NodeType::Broker, options);
    let b = Program::new(driver.clone(), NodeType::Normal, NodeOptions::default());
    let [near, far] = inner.transport_pair();
    let at_a = a.process.connect_node(a.node, near, 1, ConnectTo::Normal).unwrap()[0];
    let at_b = b.process.connect_node(b.node, far, 1, ConnectTo::Broker).unwrap()[0];
    Both { driver, a, b, at_a, at_b }
}

impl Both {
    /// A pair with one end in each program; a's first.
    pub fn pair(&self) -> (Handle, Handle) {
        let (here, there) = self.a.pair();
        self.a.process.put(self.at_a, b"", &[there]).unwrap();
        (here, self.b.get_portal(self.at_b))
    }

    /// Another client of a, and the pipe between them, a's end first.
    pub fn third(&self) -> (Program, Handle, Handle) {
        let c = Program::new(self.driver.clone(), NodeType::Normal, NodeOptions::default());
        let [near, far] = self.driver.inner.transport_pair();
        let to_c = self.a.process.connect_node(self.a.node, near, 1, ConnectTo::Normal).unwrap()[0];
        let at_c = c.process.connect_node(c.node, far, 1, ConnectTo::Broker).unwrap()[0];
        (c, to_c, at_c)
    }

    /// Closes these and the pipe; nothing may be left.
    pub fn end(self, of_a: &[Handle], of_b: &[Handle]) {
        of_a.iter().chain([&self.at_a]).for_each(|handle| self.a.close(*handle));
        of_b.iter().chain([&self.at_b]).for_each(|handle| self.b.close(*handle));
        for program in [&self.a, &self.b] {
            assert_eq!(program.process.inspect(|view| (view.router_count(), view.handle_count())), (0, 1));
            assert_eq!(program.blocks(), 0);
            program.close(program.node);
        }
        assert_eq!(self.driver.inner.live_objects(), 0);
    }
}

pub const INVALID: Result<(), Error> = Err(Error::InvalidArgument);

impl Driver for Reports {
    fn close(&self, object: ObjectId) {
        self.inner.close(object);
    }

    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel {
        self.inner.can_travel(object, via)
    }

    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        self.inner.serialize(object, via, out)
    }

    fn deserialize(&self, data: &[u8], handles: &[ObjectId], via: ObjectId) -> Result<ObjectId, DriverError> {
        self.inner.deserialize(data, handles, via)
    }

    fn create_transports(&self, toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        self.inner.create_transports(toward)
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        self.inner.activate(transport, listener)
    }

    fn deactivate(&self, transport: ObjectId) {
        self.inner.deactivate(transport);
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        self.inner.transmit(transport, frames)
    }

    fn report_bad(&self, transport: ObjectId, context: usize) {
        self.reported.lock().unwrap().push((transport, context));
    }

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        self.inner.allocate(bytes)
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        self.inner.size(memory)
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        self.inner.duplicate(memory)
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        self.inner.map(memory)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        self.inner.random(out)
    }
}
