//! A driver that fails: whatever it refuses and whenever, everybody is answered, nothing leaks, nobody panics.

mod hand;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hand::*;
use ipcz::clock::Wake;
use ipcz::driver::{Driver, DriverError, Frame, Listener, Packed, Travel};
use ipcz::ids::{Handle, NodeType, ObjectId};
use ipcz::mapping::Mapping;
use ipcz::wire::*;
use ipcz::{Application, ApplicationObject, BoxContents, Connect, ConnectTo, NodeOptions, Serialized};
use ipcz_drivers::InProcess;

/// What can be made to fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Call {
    Allocate,
    Map,
    Duplicate,
    CreateTransports,
    Activate,
    Transmit,
    Serialize,
    Deserialize,
    Size,
    Random,
}

use Call::*;

const CALLS: [Call; 10] = [Allocate, Map, Duplicate, CreateTransports, Activate, Transmit, Serialize, Deserialize, Size, Random];

/// The in-process driver, but for one call.
struct Failing {
    inner: Arc<InProcess>,
    /// This call fails once so many of its kind have succeeded; for good, or just once.
    plan: Mutex<Option<(Call, usize, bool)>>,
    failed: Mutex<bool>,
    /// Run inside the next CreateTransports.
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
    /// Objects of the application that are boxed and not destroyed.
    boxed: Mutex<i64>,
}

impl Application for Failing {
    fn can_serialize(&self, _: u64) -> bool {
        *self.boxed.lock().unwrap() += 1;
        true
    }

    fn serialize(&self, _: u64) -> Option<Serialized> {
        Some(Serialized { data: vec![7; 1000], handles: Vec::new() })
    }

    fn destroy(&self, _: u64) {
        *self.boxed.lock().unwrap() -= 1;
    }
}

impl Failing {
    fn new(inner: &Arc<InProcess>) -> Arc<Failing> {
        Arc::new(Failing {
            inner: inner.clone(),
            plan: Mutex::new(None),
            failed: Mutex::new(false),
            meanwhile: Mutex::new(None),
            boxed: Mutex::new(0),
        })
    }

    fn arm(&self, call: Call, after: usize) {
        *self.plan.lock().unwrap() = Some((call, after, false));
    }

    fn break_for_good(&self, call: Call, after: usize) {
        *self.plan.lock().unwrap() = Some((call, after, true));
    }

    fn has_failed(&self) -> bool {
        *self.failed.lock().unwrap()
    }

    fn check(&self, call: Call) -> Result<(), DriverError> {
        let mut plan = self.plan.lock().unwrap();
        match &mut *plan {
            Some((planned, 0, for_good)) if *planned == call => {
                if !*for_good {
                    *plan = None;
                }
                *self.failed.lock().unwrap() = true;
                Err(DriverError::ResourceExhausted)
            }
            Some((planned, after, _)) if *planned == call => {
                *after -= 1;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn close_all(&self, objects: &[ObjectId]) {
        objects.iter().for_each(|object| self.inner.close(*object));
    }
}

impl Driver for Failing {
    fn close(&self, object: ObjectId) {
        self.inner.close(object);
    }

    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel {
        self.inner.can_travel(object, via)
    }

    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        self.check(Serialize)?;
        self.inner.serialize(object, via, out)
    }

    fn deserialize(&self, data: &[u8], handles: &[ObjectId], via: ObjectId) -> Result<ObjectId, DriverError> {
        self.check(Deserialize).inspect_err(|_| self.close_all(handles))?;
        self.inner.deserialize(data, handles, via)
    }

    fn create_transports(&self, toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        let meanwhile = self.meanwhile.lock().unwrap().take();
        if let Some(act) = meanwhile {
            act();
        }
        self.check(CreateTransports)?;
        self.inner.create_transports(toward)
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        self.check(Activate)?;
        self.inner.activate(transport, listener)
    }

    fn deactivate(&self, transport: ObjectId) {
        self.inner.deactivate(transport);
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        self.check(Transmit).inspect_err(|_| frames.iter().for_each(|frame| self.close_all(frame.handles)))?;
        self.inner.transmit(transport, frames)
    }

    fn report_bad(&self, transport: ObjectId, context: usize) {
        self.inner.report_bad(transport, context);
    }

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        self.check(Allocate)?;
        self.inner.allocate(bytes)
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        self.check(Size)?;
        self.inner.size(memory)
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        self.check(Duplicate)?;
        self.inner.duplicate(memory)
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        self.check(Map)?;
        self.inner.map(memory)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        self.check(Random)?;
        self.inner.random(out)
    }
}

/// Connects as an application would: a transport that was refused is closed.
fn try_connect(inner: &InProcess, client: &Program, broker: &Program) -> Option<(Handle, Handle)> {
    try_connect_as(inner, (client, ConnectTo::Broker.into()), (broker, ConnectTo::Normal.into()))
}

fn try_connect_as(inner: &InProcess, near: (&Program, Connect), far: (&Program, Connect)) -> Option<(Handle, Handle)> {
    let [a, b] = inner.transport_pair();
    let mut handles = Vec::new();
    for ((program, to), end) in [near, far].into_iter().zip([a, b]) {
        match program.process.connect_node(program.node, end, 1, to) {
            Ok(portals) => handles.extend(portals),
            Err(_) => inner.close(end),
        }
    }
    match handles[..] {
        [here, there] => Some((here, there)),
        _ => None,
    }
}

/// Three nodes, a portal handed on and bypassed, small and big parcels both ways. Whatever fails in between, it goes on.
fn live(driver: &Arc<Failing>) -> Vec<Program> {
    let program = |kind| Program::with(driver.clone(), kind, NodeOptions::default());
    let [a, b, c] = [NodeType::Broker, NodeType::Normal, NodeType::Normal].map(program);
    let (first, second) = (try_connect(&driver.inner, &b, &a), try_connect(&driver.inner, &c, &a));
    if let (Some((b_a, a_b)), Some((c_a, a_c))) = (first, second) {
        let (p, q) = b.process.open_portals(b.node).unwrap();
        if b.process.put(b_a, b"", &[q]).is_err() {
            b.close(q);
        }
        if let Ok(got) = a.process.get(a_b)
            && a.process.put(a_c, b"", &got.handles).is_err()
        {
            got.handles.iter().for_each(|handle| a.close(*handle));
        }
        let q = c.process.get(c_a).ok().map(|got| got.handles[0]);
        for size in [1, 1000, 100_000, 100_000] {
            let data = vec![7; size];
            let _ = b.process.put(p, &data, &[]);
            if let Some(q) = q {
                let _ = c.process.put(q, &data, &[]);
                // What does arrive is whole.
                for (program, portal) in [(&b, p), (&c, q)] {
                    if let Ok(got) = program.process.get(portal) {
                        assert!(got.data.iter().all(|byte| *byte == 7));
                        got.handles.iter().for_each(|handle| program.close(*handle));
                    }
                }
            }
            let object = ApplicationObject { object: 1, owner: driver.clone() };
            let contents =
                [BoxContents::Driver(driver.inner.token(1)), BoxContents::Application(object), BoxContents::Driver(driver.inner.token(2))];
            let boxes = contents.map(|contents| b.process.box_object(b.node, contents).unwrap());
            if b.process.put(p, &[7; 300], &boxes).is_err() {
                boxes.iter().for_each(|handle| b.close(*handle));
            }
        }
        // What was not read is closed with its portals.
        for (program, portal) in [(&b, p), (&b, b_a), (&a, a_b), (&c, c_a), (&a, a_c)] {
            program.close(portal);
        }
        q.into_iter().for_each(|q| c.close(q));
    }
    vec![a, b, c]
}

/// Two networks that are joined, a node that is referred and has no memory of its own, and a portal handed from it to the other network.
fn live_joined(driver: &Arc<Failing>) -> Vec<Program> {
    let mut clocks = Vec::new();
    let mut program = |kind| {
        let (program, clock) = Program::timed(driver.clone(), kind, NodeOptions::default());
        clocks.push(clock);
        program
    };
    let [a, b] = [NodeType::Broker; 2].map(&mut program);
    let [x, z, v] = [NodeType::Normal; 3].map(&mut program);
    let inner = &driver.inner;
    let brokers = try_connect_as(inner, (&a, ConnectTo::Broker.into()), (&b, ConnectTo::Broker.into()));
    let referred = try_connect_as(inner, (&z, Connect { to: ConnectTo::Inherited, delegate: true }), (&x, ConnectTo::Referred.into()));
    let (first, last) = (try_connect(inner, &x, &a), try_connect(inner, &v, &b));
    if let (Some((a_b, b_a)), Some((z_x, x_z)), Some((x_a, a_x)), Some((v_b, b_v))) = (brokers, referred, first, last) {
        let (p, q) = z.process.open_portals(z.node).unwrap();
        let mut moved = vec![q];
        for (from, over, to, at) in [(&z, z_x, &x, x_z), (&x, x_a, &a, a_x), (&a, a_b, &b, b_a), (&b, b_v, &v, v_b)] {
            let _ = from.process.put(over, b"", &moved);
            moved = to.process.get(at).map(|got| got.handles).unwrap_or_default();
        }
        for size in [1, 1000, 100_000, 100_000] {
            let data = vec![7; size];
            let _ = z.process.put(p, &data, &[]);
            if let Some(q) = moved.first() {
                let _ = v.process.put(*q, &data, &[]);
                for (program, portal) in [(&z, p), (&v, *q)] {
                    if let Ok(got) = program.process.get(portal) {
                        assert!(got.data.iter().all(|byte| *byte == 7));
                    }
                }
            }
        }
    }
    // Who could not take its introduction learns from its broker that there is none.
    let programs = vec![a, b, x, z, v];
    for _ in 0..2 {
        clocks.iter().for_each(|clock| clock.pass(Duration::from_secs(11)));
        programs.iter().for_each(|program| Wake::timer(&*program.process));
    }
    programs
}

/// What is lived, and how many brokers there are.
type Life = (Live, usize);
type Live = fn(&Arc<Failing>) -> Vec<Program>;

const LIVES: [Life; 2] = [(live, 1), (live_joined, 2)];

/// Lives with one kind of call failing, at the first chance, the second and so on, until there is none any more.
fn fail_everywhere(life: Life, call: Call, arm: impl Fn(&Failing, usize), look: impl Fn(&[Program], &str)) {
    let (live, brokers) = life;
    // A broker without a name is none: its own test.
    let first = if call == Random { brokers } else { 0 };
    for make in [InProcess::new, InProcess::brokering] {
        fail_each((live, call, first), make, &arm, &look);
    }
}

fn fail_each(
    (live, call, first): (Live, Call, usize),
    make: fn() -> Arc<InProcess>,
    arm: &impl Fn(&Failing, usize),
    look: &impl Fn(&[Program], &str),
) {
    for after in first.. {
        let inner = make();
        let driver = Failing::new(&inner);
        arm(&driver, after);
        let programs = live(&driver);
        let about = format!("{call:?} after {after}");
        look(&programs, &about);
        programs.iter().for_each(|program| program.close(program.node));
        for program in &programs {
            let left = program.process.inspect(|view| (view.objects_owned(), view.links().len(), view.nodes().len()));
            assert_eq!(left, (0, 0, 0), "{about}");
        }
        assert_eq!((inner.live_objects(), *driver.boxed.lock().unwrap()), (0, 0), "{about}");
        if !driver.has_failed() {
            assert!(after > first, "{call:?} is never asked for");
            return;
        }
    }
}

#[test]
fn whatever_fails_once_nothing_leaks_and_nobody_waits_for_ever() {
    for (life, call) in LIVES.into_iter().flat_map(|life| CALLS.map(|call| (life, call))) {
        let arm = |driver: &Failing, after| driver.arm(call, after);
        fail_everywhere(life, call, arm, |programs, about| {
            for program in programs {
                assert_eq!(program.process.inspect(|view| view.waits()), 0, "{about}");
            }
        });
    }
}

#[test]
fn whatever_fails_for_good_nothing_leaks() {
    for (life, call) in LIVES.into_iter().flat_map(|life| CALLS.map(|call| (life, call))) {
        fail_everywhere(life, call, |driver, after| driver.break_for_good(call, after), |_, _| {});
    }
}

/// A real broker over a failing driver, and two hand-made clients.
fn broker() -> (Arc<Failing>, Program, Hand, Hand) {
    let inner = InProcess::new();
    let driver = Failing::new(&inner);
    let broker = Program::with(driver.clone(), NodeType::Broker, NodeOptions::default());
    let (p, _) = Hand::client(&inner, &broker, 1);
    let (q, _) = Hand::client(&inner, &broker, 1);
    (driver, broker, p, q)
}

#[test]
fn an_introduction_that_cannot_be_made_is_rejected_to_both() {
    for call in [Allocate, Map, Duplicate, CreateTransports] {
        let (driver, broker, p, q) = broker();
        let before = driver.inner.live_objects();
        driver.arm(call, 0);
        p.say(RequestIntroduction { name: q.name });
        assert!(matches!(p.hear_one().message(), Message::RejectIntroduction(m) if m.name == q.name), "{call:?}");
        assert!(matches!(q.hear_one().message(), Message::RejectIntroduction(m) if m.name == p.name), "{call:?}");
        assert_eq!((driver.inner.live_objects(), broker.process.inspect(|view| view.waits())), (before, 0), "{call:?}");
        // The next one is made.
        p.say(RequestIntroduction { name: q.name });
        assert_eq!((p.hear_ids(), q.hear_ids()), (vec![11], vec![11]), "{call:?}");
    }
}

/// Has both clients ask for each other, the second while the first is being served.
fn ask_at_once(driver: &Failing, p: &Hand, q: Hand) -> Arc<Hand> {
    let q = Arc::new(q);
    let (other, wanted) = (q.clone(), p.name);
    *driver.meanwhile.lock().unwrap() = Some(Box::new(move || other.say(RequestIntroduction { name: wanted })));
    p.say(RequestIntroduction { name: q.name });
    q
}

#[test]
fn two_nodes_that_ask_for_each_other_at_once_get_one_pair() {
    let (driver, broker, p, q) = broker();
    let q = ask_at_once(&driver, &p, q);
    assert_eq!((p.hear_ids(), q.hear_ids()), (vec![11], vec![11]));
    assert_eq!(broker.process.inspect(|view| view.waits()), 0);
}

#[test]
fn both_are_told_if_their_one_pair_cannot_be_made() {
    let (driver, broker, p, q) = broker();
    driver.arm(CreateTransports, 0);
    let q = ask_at_once(&driver, &p, q);
    assert_eq!((p.hear_ids(), q.hear_ids()), (vec![12], vec![12]));
    assert_eq!(broker.process.inspect(|view| view.waits()), 0);
}

#[test]
fn who_dies_while_it_is_being_introduced_leaves_nothing_behind() {
    let (driver, broker, p, q) = broker();
    let q = Arc::new(q);
    let dying = q.clone();
    *driver.meanwhile.lock().unwrap() = Some(Box::new(move || dying.die()));
    let before = driver.inner.live_objects();
    p.say(RequestIntroduction { name: q.name });
    assert!(matches!(p.hear_one().message(), Message::RejectIntroduction(m) if m.name == q.name));
    // The two ends of the dead one's transport.
    assert_eq!((driver.inner.live_objects(), broker.process.inspect(|view| view.waits())), (before - 2, 0));
}

#[test]
fn a_broker_without_randomness_is_none() {
    let inner = InProcess::new();
    let driver = Failing::new(&inner);
    driver.arm(Random, 0);
    let process = ipcz::Process::new(Arc::new(ipcz_drivers::MonotonicClock::new()), Arc::new(Silent));
    assert_eq!(process.create_node(NodeType::Broker, driver, NodeOptions::default()), Err(ipcz::Error::Unimplemented));
}

struct Silent;

impl ipcz::trap::TrapTarget for Silent {
    fn fired(&self, _: &ipcz::trap::TrapEvent) {}
}
