//! Nodes, the driver between them, and waiting for what must come.

use std::cell::{OnceCell, RefCell};
use std::ptr::null;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use ipcz::driver::{Activity, Driver, DriverError, Frame, Listener, Verdict};
use ipcz::ids::ObjectId;
use ipcz_drivers::c_table::{PackedSize, TABLES, Table};
use ipcz_drivers::middleware::{Call, Count, Entry, Faults, Notice, Watch, Watched};
use ipcz_drivers::{InProcess, InProcessOptions, UnixDriver};

use super::api::*;

/// What joins the nodes of a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Over {
    pub socket: bool,
    pub asynchronous: bool,
    /// Objects go only to or from a broker.
    pub brokering: bool,
    /// Nodes that are no brokers cannot allocate memory.
    pub delegated: bool,
}

const PLAIN: Over = Over { socket: false, asynchronous: false, brokering: false, delegated: false };
pub const SYNCHRONOUS: Over = PLAIN;
pub const ASYNCHRONOUS: Over = Over { asynchronous: true, ..PLAIN };
pub const SOCKET: Over = Over { socket: true, asynchronous: true, ..PLAIN };
pub const BROKERING: Over = Over { brokering: true, ..ASYNCHRONOUS };
pub const DELEGATED: Over = Over { delegated: true, ..ASYNCHRONOUS };
pub const BROKERING_DELEGATED: Over = Over { brokering: true, delegated: true, ..PLAIN };

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The end of a test that waits in vain.
#[track_caller]
fn in_vain(what: &str) -> ! {
    panic!("waited {PATIENCE:?} in vain for: {what}")
}

/// Waits for what nobody tells of.
#[track_caller]
pub fn until(what: &str, done: impl Fn() -> bool) {
    let by = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(10);
    while !done() {
        if Instant::now() > by {
            in_vain(what);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(5));
    }
}

/// Waits until a level condition holds.
#[track_caller]
fn holds(portal: H, condition: u32, level: usize, what: &str) {
    let events = Events::default();
    match events.trap_at(portal, condition, level, 0) {
        FAILED_PRECONDITION => {}
        OK => match events.wait(1)[0].flags {
            flags if flags & condition != 0 => {}
            flags => panic!("{what}: event {flags:#x} instead"),
        },
        error => panic!("{what}: {error}"),
    }
}

/// Waits until a portal has `count` parcels.
#[track_caller]
pub fn arrive(portal: H, count: usize) {
    if count > 0 {
        holds(portal, TRAP_ABOVE_MIN_LOCAL_PARCELS, count - 1, "parcels");
    }
}

#[track_caller]
pub fn wait_closed(portal: H) {
    holds(portal, TRAP_PEER_CLOSED, 0, "the peer closes");
}

#[track_caller]
pub fn wait_dead(portal: H) {
    holds(portal, TRAP_DEAD, 0, "the portal is dead");
}

/// Waits for the next parcel.
#[track_caller]
pub fn receive(portal: H) -> (Vec<u8>, Vec<H>) {
    arrive(portal, 1);
    get(portal).unwrap()
}

/// Waits for the next parcel, which has no attachments.
#[track_caller]
pub fn hear(portal: H) -> Vec<u8> {
    arrive(portal, 1);
    read(portal)
}

/// Waits for a parcel's one attachment.
#[track_caller]
pub fn receive_one(portal: H) -> H {
    let (_, handles) = receive(portal);
    assert_eq!(handles.len(), 1);
    handles[0]
}

/// Waits until Put says that the peer is closed.
#[track_caller]
pub fn wait_refused(portal: H) {
    wait_closed(portal);
    assert_eq!(put(portal, b"", &[]), NOT_FOUND);
}

/// Both ends work.
#[track_caller]
pub fn talk(a: H, b: H) {
    ok(put(a, b"there", &[]));
    assert_eq!(hear(b), b"there");
    ok(put(b, b"and back", &[]));
    assert_eq!(hear(a), b"and back");
}

/// Trap events, as they come.
#[derive(Clone, Default)]
pub struct Events(Arc<(Mutex<Vec<Event>>, Condvar)>);

impl Events {
    fn lock(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.0.lock().unwrap()
    }

    pub fn note(&self, event: Event) {
        self.lock().push(event);
        self.0.1.notify_all();
    }

    /// Installs a trap that is noted here.
    pub fn trap(&self, portal: H, flags: u32, context: usize) -> R {
        self.trap_at(portal, flags, 0, context)
    }

    pub fn trap_at(&self, portal: H, flags: u32, level: usize, context: usize) -> R {
        let here = self.clone();
        trap(portal, flags, level, context, move |event| here.note(event))
    }

    /// Takes the events there are, once they are `count`.
    #[track_caller]
    pub fn wait(&self, count: usize) -> Vec<Event> {
        let (mut noted, late) = self.0.1.wait_timeout_while(self.lock(), PATIENCE, |noted| noted.len() < count).unwrap();
        if late.timed_out() {
            drop(noted);
            in_vain(&format!("{count} events"));
        }
        std::mem::take(&mut *noted)
    }

    /// Takes the events there are: context and flags.
    pub fn told(&self) -> Vec<(usize, u32)> {
        self.wait(0).iter().map(|event| (event.context, event.flags)).collect()
    }

    /// Waits for this many events, whatever the cause: context and flags without [`WITHIN`].
    #[track_caller]
    pub fn conditions(&self, count: usize) -> Vec<(usize, u32)> {
        self.wait(count).iter().map(|event| (event.context, event.flags & !WITHIN)).collect()
    }
}

/// What one node asks of its driver.
#[derive(Default)]
pub struct Record {
    pub count: Count,
    pub faults: Faults,
    /// Messages that it sent.
    sent: Mutex<Vec<Vec<u8>>>,
    pub listeners: Mutex<Vec<(ObjectId, H)>>,
    pub reports: Mutex<Vec<(ObjectId, usize)>>,
    pub randoms: Mutex<Vec<usize>>,
    keeps_messages: AtomicBool,
}

impl Record {
    pub fn keep_messages(&self) {
        self.keeps_messages.store(true, Ordering::Relaxed);
    }

    pub fn sent(&self) -> Vec<Vec<u8>> {
        self.sent.lock().unwrap().clone()
    }
}

impl Watch for Record {
    fn before(&self, call: &Call<'_>) -> Result<(), DriverError> {
        match call {
            Call::Activate { transport, listener } => self.listeners.lock().unwrap().push((*transport, *listener as H)),
            Call::ReportBad { transport, context } => self.reports.lock().unwrap().push((*transport, *context)),
            Call::Random { bytes } => self.randoms.lock().unwrap().push(*bytes),
            Call::Transmit { frames, .. } if self.keeps_messages.load(Ordering::Relaxed) => {
                self.sent.lock().unwrap().extend(frames.iter().map(|frame| frame.data.to_vec()));
            }
            _ => {}
        }
        self.faults.before(call)
    }

    fn after(&self, call: &Call<'_>, result: Result<(), DriverError>) {
        self.count.after(call, result);
    }

    fn heard(&self, transport: ObjectId, notice: &Notice<'_>) {
        self.count.heard(transport, notice);
    }
}

/// A driver without anything around it.
#[derive(Clone)]
pub enum Base {
    InProcess(Arc<InProcess>),
    Unix(Arc<UnixDriver>),
}

impl Base {
    pub fn get(&self) -> Arc<dyn Driver> {
        match self {
            Base::InProcess(driver) => driver.clone(),
            Base::Unix(driver) => driver.clone(),
        }
    }

    pub fn live_objects(&self) -> usize {
        match self {
            Base::InProcess(driver) => driver.live_objects(),
            Base::Unix(driver) => driver.live_objects(),
        }
    }
}

/// The driver of one node, and its table, which both last as long as the world.
#[derive(Clone)]
pub struct Port {
    pub base: Base,
    pub record: Arc<Record>,
    pub table: Arc<Table>,
}

impl Port {
    /// New memory, of the driver itself.
    pub fn memory(&self, bytes: usize, first: u64) -> IpczDriverHandle {
        let driver = self.base.get();
        let memory = driver.allocate(bytes).unwrap();
        driver.map(memory).unwrap().store64(0, first, Ordering::Relaxed);
        memory.0.get() as IpczDriverHandle
    }

    /// What is at its beginning, and how big it is. It is closed.
    pub fn read_memory(&self, memory: IpczDriverHandle) -> (u64, usize) {
        let (driver, memory) = (self.base.get(), object(memory));
        let read = (driver.map(memory).unwrap().load64(0, Ordering::Relaxed), driver.size(memory).unwrap());
        driver.close(memory);
        read
    }

    pub fn close(&self, object_handle: IpczDriverHandle) {
        self.base.get().close(object(object_handle));
    }
}

pub fn object(handle: IpczDriverHandle) -> ObjectId {
    ObjectId::new(handle as u64).unwrap()
}

pub struct Node {
    pub handle: H,
    pub port: Port,
    pub is_broker: bool,
}

impl Node {
    /// A box with new memory.
    pub fn memory_box(&self, bytes: usize, first: u64) -> H {
        boxed_raw(self.handle, &contents(BOX_TYPE_DRIVER_OBJECT, self.port.memory(bytes, first))).unwrap()
    }

    /// What is in the memory in a box, and how big it is.
    #[track_caller]
    pub fn unbox_memory(&self, it: H) -> (u64, usize) {
        let (kind, memory) = unbox(it);
        assert_eq!(kind, BOX_TYPE_DRIVER_OBJECT);
        self.port.read_memory(memory)
    }

    pub fn pair(&self) -> (H, H) {
        open(self.handle)
    }
}

/// A broker and two clients, and the pipes between them.
pub struct Three {
    pub broker: Node,
    pub x: Node,
    pub z: Node,
    /// The broker's ends.
    pub to_x: H,
    pub to_z: H,
    /// The clients' ends.
    pub x_to: H,
    pub z_to: H,
}

/// A pipe, and where its ends are.
pub struct Route<'a> {
    pub name: &'static str,
    pub here: &'a Node,
    pub there: &'a Node,
    pub a: H,
    pub b: H,
}

impl Route<'_> {
    pub fn is_local(&self) -> bool {
        self.here.handle == self.there.handle
    }
}

/// Tests take tables in turn: there are only so many.
static TURNS: (Mutex<usize>, Condvar) = (Mutex::new(WORLDS), Condvar::new());
const WORLDS: usize = 6;

pub struct World {
    pub over: Over,
    shared: Option<Arc<InProcess>>,
    three: OnceCell<Three>,
    ports: RefCell<Vec<Port>>,
}

impl World {
    pub fn new(over: Over) -> World {
        let mut turns = TURNS.1.wait_while(TURNS.0.lock().unwrap(), |turns| *turns == 0).unwrap();
        *turns -= 1;
        drop(turns);
        let options = InProcessOptions { asynchronous: over.asynchronous, brokering: over.brokering, ..InProcessOptions::default() };
        let shared = (!over.socket).then(|| InProcess::with(options));
        World { over, shared, three: OnceCell::new(), ports: RefCell::default() }
    }

    /// A driver for one node more.
    pub fn port(&self) -> Port {
        let mut ports = self.ports.borrow_mut();
        assert!((ports.len() + 1) * WORLDS <= TABLES, "more nodes than there are tables for");
        let (base, size) = match &self.shared {
            Some(driver) => (Base::InProcess(driver.clone()), PackedSize::IN_PROCESS),
            None => (Base::Unix(UnixDriver::new().unwrap()), PackedSize::UNIX),
        };
        let record = Arc::new(Record::default());
        let table = Table::of(Watched::new(base.get(), record.clone()), size).unwrap();
        ports.push(Port { base, record, table: Arc::new(table) });
        ports[ports.len() - 1].clone()
    }

    fn node(&self, is_broker: bool) -> Node {
        let port = self.port();
        if self.over.delegated && !is_broker {
            port.record.faults.always(Entry::Allocate, DriverError::ResourceExhausted);
        }
        let flags = if is_broker { CREATE_NODE_AS_BROKER } else { 0 };
        let handle = create(&port.table, flags).unwrap();
        Node { handle, port, is_broker }
    }

    pub fn broker(&self) -> Node {
        self.node(true)
    }

    pub fn client(&self) -> Node {
        self.node(false)
    }

    /// The ends of a connection between two nodes, inactive.
    pub fn transports(&self, a: &Port, b: &Port) -> [IpczDriverHandle; 2] {
        let ends = match (&a.base, &b.base) {
            (Base::Unix(a), Base::Unix(b)) => {
                let [first, second] = UnixDriver::socket_pair().unwrap();
                [a.adopt(first).unwrap(), b.adopt(second).unwrap()]
            }
            (Base::InProcess(driver), _) => driver.transport_pair(),
            (Base::Unix(_), Base::InProcess(_)) => unreachable!("one world, one kind of driver"),
        };
        ends.map(|end| end.0.get() as IpczDriverHandle)
    }

    /// Flags with which a node connects to a broker, or inherits one.
    pub fn as_client(&self, flag: u32) -> u32 {
        flag | if self.over.delegated { CONNECT_NODE_TO_ALLOCATION_DELEGATE } else { 0 }
    }

    /// Connects two nodes.
    pub fn connect_as(&self, (a, a_flags, a_count): (&Node, u32, usize), (b, b_flags, b_count): (&Node, u32, usize)) -> (Vec<H>, Vec<H>) {
        let [near, far] = self.transports(&a.port, &b.port);
        let at_a = connect(a.handle, near, a_count, a_flags).unwrap();
        (at_a, connect(b.handle, far, b_count, b_flags).unwrap())
    }

    /// Connects a client to its broker by `count` portals.
    pub fn connect(&self, broker: &Node, client: &Node, count: usize) -> (Vec<H>, Vec<H>) {
        assert!(broker.is_broker && !client.is_broker);
        self.connect_as((broker, 0, count), (client, self.as_client(CONNECT_NODE_TO_BROKER), count))
    }

    /// A broker and two clients, the same at each call.
    pub fn three(&self) -> &Three {
        self.three.get_or_init(|| {
            let (broker, x, z) = (self.broker(), self.client(), self.client());
            let ((at_x, x_at), (at_z, z_at)) = (self.connect(&broker, &x, 1), self.connect(&broker, &z, 1));
            Three { to_x: at_x[0], x_to: x_at[0], to_z: at_z[0], z_to: z_at[0], broker, x, z }
        })
    }

    /// A pipe from the broker to a client.
    pub fn remote(&self) -> Route<'_> {
        let Three { broker, x, to_x, x_to, .. } = self.three();
        let (a, sent) = broker.pair();
        ok(put(*to_x, b"", &[sent]));
        Route { name: "broker to client", here: broker, there: x, a, b: receive_one(*x_to) }
    }

    /// A pipe from a client to the broker.
    fn upward(&self) -> Route<'_> {
        let Three { broker, x, to_x, x_to, .. } = self.three();
        let (a, sent) = x.pair();
        ok(put(*x_to, b"", &[sent]));
        Route { name: "client to broker", here: x, there: broker, a, b: receive_one(*to_x) }
    }

    /// A pipe between two clients.
    pub fn sideways(&self) -> Route<'_> {
        let Three { x, z, x_to, to_x, to_z, z_to, .. } = self.three();
        let (a, sent) = x.pair();
        ok(put(*x_to, b"", &[sent]));
        ok(put(*to_z, b"", &[receive_one(*to_x)]));
        Route { name: "client to client", here: x, there: z, a, b: receive_one(*z_to) }
    }

    pub fn local(&self) -> Route<'_> {
        let x = &self.three().x;
        let (a, b) = x.pair();
        Route { name: "local", here: x, there: x, a, b }
    }

    /// Runs this over every kind of pipe between nodes.
    pub fn across(&self, test: impl Fn(Route<'_>)) {
        for route in [World::remote, World::upward, World::sideways] {
            let route = route(self);
            eprintln!("{}", route.name);
            test(route);
        }
    }

    /// Runs this over a pipe within a node, and over every kind between nodes.
    pub fn each(&self, test: impl Fn(Route<'_>)) {
        eprintln!("local");
        test(self.local());
        self.across(test);
    }

    /// Closes whatever is left open; nothing of the drivers may remain then.
    pub fn end(self) {
        assert!(!PANICKED.load(Ordering::Relaxed), "a trap handler has panicked, of this test or another");
        let nodes: Vec<H> = self.three.get().iter().flat_map(|three| [&three.broker, &three.x, &three.z]).map(|node| node.handle).collect();
        for handle in take_given() {
            if !nodes.contains(&handle) {
                close(handle);
            }
        }
        for node in nodes {
            close(node);
        }
        for port in self.ports.borrow().iter() {
            until("all objects of the driver are closed", || port.base.live_objects() == 0);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for handle in take_given() {
            close(handle);
        }
        if let Ok(mut turns) = TURNS.0.lock() {
            *turns += 1;
        }
        TURNS.1.notify_all();
    }
}

pub fn create(table: &IpczDriver, flags: u32) -> Result<H, R> {
    let mut node = 0;
    match unsafe { (api().create_node)(table, flags, null(), &mut node) } {
        OK => Ok(given(node)),
        error => Err(error),
    }
}

pub fn connect(node: H, transport: IpczDriverHandle, count: usize, flags: u32) -> Result<Vec<H>, R> {
    let mut portals = vec![0; count];
    match unsafe { (api().connect_node)(node, transport, count, flags, null(), portals.as_mut_ptr()) } {
        OK => {
            given_all(&portals);
            Ok(portals)
        }
        error => Err(error),
    }
}

/// Somebody at the other end of a transport who is no node.
pub struct Stranger {
    pub driver: Arc<dyn Driver>,
    pub transport: ObjectId,
    heard: Arc<Heard>,
}

struct Heard {
    driver: Arc<dyn Driver>,
    broken: Mutex<bool>,
    changed: Condvar,
}

impl Activity for Heard {
    fn message(self: Arc<Self>, _: u64, _: &[u8], handles: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        handles.iter().for_each(|handle| self.driver.close(*handle));
        Verdict::Accepted
    }

    fn error(self: Arc<Self>, _: u64) {
        *self.broken.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn deactivated(self: Arc<Self>, _: u64) {}
}

impl Stranger {
    /// Listens at this end.
    pub fn at(port: &Port, transport: IpczDriverHandle) -> Stranger {
        let (driver, transport) = (port.base.get(), object(transport));
        let heard = Arc::new(Heard { driver: driver.clone(), broken: Mutex::default(), changed: Condvar::new() });
        driver.activate(transport, Listener::new(heard.clone(), 0)).unwrap();
        Stranger { driver, transport, heard }
    }

    pub fn send(&self, data: &[u8]) {
        self.driver.transmit(self.transport, &[Frame { data, handles: &[] }]).unwrap();
    }

    /// Waits until the transport is told to be broken.
    #[track_caller]
    pub fn wait_broken(&self) {
        let broken = self.heard.broken.lock().unwrap();
        let (_broken, late) = self.heard.changed.wait_timeout_while(broken, PATIENCE, |broken| !*broken).unwrap();
        assert!(!late.timed_out(), "the transport is broken");
    }

    pub fn leave(self) {
        self.driver.deactivate(self.transport);
        self.driver.close(self.transport);
    }
}
