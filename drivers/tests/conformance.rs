//! What driver.md 13 asks of every driver: one body, over each of ours and over one that is asked through a C table. Numbers are those of the list
//! there; 13 takes the original, 14 is `unix_checklist` and the unit tests of the frame parser.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "threads and time are what it is about")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ipcz::driver::{Activity, Driver, DriverError, Frame, Listener, Packed, Travel, Verdict};
use ipcz::ffi::CDriver;
use ipcz::ids::ObjectId;
use ipcz_drivers::c_table::{PackedSize, Table};
use ipcz_drivers::{InProcess, UnixDriver, UnixLimits};

const PATIENCE: Duration = Duration::from_secs(60);

/// Two drivers that can reach each other, maybe the same twice.
struct World {
    drivers: [Arc<dyn Driver>; 2],
    pair: Box<dyn Fn() -> [ObjectId; 2]>,
    /// Objects of both that are not closed.
    live: Box<dyn Fn() -> usize>,
    /// Ends, when dropped, whoever polls, and the table.
    _keeps: Option<Box<dyn std::any::Any>>,
}

impl World {
    fn in_process(driver: Arc<InProcess>) -> World {
        let (pairs, counted) = (driver.clone(), driver.clone());
        let drivers = [driver.clone() as Arc<dyn Driver>, driver];
        World { drivers, pair: Box::new(move || pairs.transport_pair()), live: Box::new(move || counted.live_objects()), _keeps: None }
    }

    /// Like the asynchronous one, but every call goes through a table of C functions and back.
    fn table() -> World {
        let driver = InProcess::asynchronous();
        let table = Table::of(driver.clone(), PackedSize::IN_PROCESS).unwrap();
        let through = CDriver::of(*table).unwrap();
        World { drivers: [through.clone(), through], _keeps: Some(Box::new(table)), ..World::in_process(driver) }
    }

    fn unix(drivers: [Arc<UnixDriver>; 2]) -> World {
        let (ends, counted) = (drivers.clone(), drivers.clone());
        World {
            drivers: drivers.map(|driver| driver as Arc<dyn Driver>),
            pair: Box::new(move || {
                let [a, b] = UnixDriver::socket_pair().unwrap();
                [ends[0].adopt(a).unwrap(), ends[1].adopt(b).unwrap()]
            }),
            live: Box::new(move || counted.iter().map(|driver| driver.live_objects()).sum()),
            _keeps: None,
        }
    }

    /// Without threads of their own: one of the test's does it for both.
    fn polled() -> World {
        let drivers = [(); 2].map(|()| UnixDriver::without_thread(UnixLimits::default()).unwrap());
        World { _keeps: Some(Box::new(Poller::start(drivers.clone()))), ..World::unix(drivers) }
    }

    /// A connected pair, the first end the first driver's.
    fn pair(&self) -> [End; 2] {
        let [a, b] = (self.pair)();
        [End { driver: self.drivers[0].clone(), transport: a }, End { driver: self.drivers[1].clone(), transport: b }]
    }

    /// Nothing is left of what the test used.
    fn end(self) {
        let deadline = Instant::now() + PATIENCE;
        while (self.live)() > 0 {
            assert!(Instant::now() < deadline, "{} objects are left", (self.live)());
            thread::yield_now();
        }
    }
}

struct Poller(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Poller {
    fn start(drivers: [Arc<UnixDriver>; 2]) -> Poller {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let polls = move || {
            while !told.load(SeqCst) {
                for driver in &drivers {
                    driver.poll(Some(Duration::from_millis(1))).unwrap();
                }
            }
        };
        Poller(over, Some(thread::spawn(polls)))
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
        self.1.take().unwrap().join().unwrap();
    }
}

/// One end of a connection.
#[derive(Clone)]
struct End {
    driver: Arc<dyn Driver>,
    transport: ObjectId,
}

#[derive(PartialEq, Eq, Debug)]
enum Heard {
    Message(Vec<u8>, Vec<ObjectId>),
    Error,
    Deactivated,
}

/// Passes on what it hears, one thing at a time; refuses "bad", deactivates its transport on "stop".
struct Ear {
    end: End,
    busy: AtomicBool,
    heard: Mutex<Sender<Heard>>,
}

impl Ear {
    fn hear(&self, what: Heard) {
        assert!(!self.busy.swap(true, SeqCst), "told {what:?} while it listens to something else");
        thread::yield_now();
        let _ = self.heard.lock().unwrap().send(what);
        self.busy.store(false, SeqCst);
    }
}

impl Activity for Ear {
    fn message(self: Arc<Self>, _: u64, data: &[u8], handles: &[ObjectId], _: Option<ObjectId>) -> Verdict {
        self.hear(Heard::Message(data.to_vec(), handles.to_vec()));
        if data == b"stop" {
            self.end.driver.deactivate(self.end.transport);
        }
        if data == b"bad" { Verdict::Refused } else { Verdict::Accepted }
    }

    fn error(self: Arc<Self>, _: u64) {
        self.hear(Heard::Error);
    }

    fn deactivated(self: Arc<Self>, _: u64) {
        self.hear(Heard::Deactivated);
    }
}

impl End {
    fn listen(&self) -> Receiver<Heard> {
        let (heard, hearing) = channel();
        let ear = Ear { end: self.clone(), busy: AtomicBool::new(false), heard: Mutex::new(heard) };
        // A C table knows listeners by their keys.
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let listener = Listener::new(Arc::new(ear), KEYS.fetch_add(1, SeqCst));
        self.driver.activate(self.transport, listener).unwrap();
        hearing
    }

    fn send(&self, data: &[u8]) {
        self.driver.transmit(self.transport, &[Frame { data, handles: &[] }]).unwrap();
    }

    /// Sends an object, which the message consumes.
    fn send_object(&self, object: ObjectId) {
        assert_eq!(self.driver.can_travel(object, Some(self.transport)), Travel::Yes);
        let mut packed = Packed::default();
        self.driver.serialize(object, self.transport, &mut packed).unwrap();
        assert!(!packed.data.is_empty() || !packed.handles.is_empty(), "an object takes something (driver.md 4)");
        self.driver.transmit(self.transport, &[Frame { data: &packed.data, handles: &packed.handles }]).unwrap();
    }

    /// The object that a message holds.
    fn object(&self, message: Heard) -> ObjectId {
        let Heard::Message(data, handles) = message else { panic!("{message:?} instead of an object") };
        self.driver.deserialize(&data, &handles, self.transport).unwrap()
    }

    /// Memory with a word in it.
    fn memory(&self, word: &[u8]) -> ObjectId {
        let memory = self.driver.allocate(4096).unwrap();
        self.driver.map(memory).unwrap().write(0, word);
        memory
    }

    fn word(&self, memory: ObjectId) -> Vec<u8> {
        let mut word = vec![0; 4];
        self.driver.map(memory).unwrap().read(0, &mut word);
        self.driver.close(memory);
        word
    }

    fn stop(&self, hearing: &Receiver<Heard>) {
        self.driver.deactivate(self.transport);
        while next(hearing) != Heard::Deactivated {}
        self.driver.close(self.transport);
    }
}

fn next(hearing: &Receiver<Heard>) -> Heard {
    hearing.recv_timeout(PATIENCE).expect("something is heard")
}

fn message(data: &[u8]) -> Heard {
    Heard::Message(data.to_vec(), Vec::new())
}

/// Nothing more is ever heard: the listener is gone.
fn is_over(hearing: &Receiver<Heard>) {
    assert_eq!(hearing.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
}

fn n01_who_is_left_alone_learns_it_once(world: &World) {
    let [a, b] = world.pair();
    let hearing = a.listen();
    b.driver.close(b.transport);
    assert_eq!(next(&hearing), Heard::Error);
    a.driver.deactivate(a.transport);
    assert_eq!(next(&hearing), Heard::Deactivated);
    a.driver.close(a.transport);
    is_over(&hearing);
    // Before it listens, too.
    let [a, b] = world.pair();
    b.send(b"last words");
    b.driver.close(b.transport);
    let hearing = a.listen();
    assert_eq!([next(&hearing), next(&hearing)], [message(b"last words"), Heard::Error]);
    a.stop(&hearing);
    // Nobody ever listens.
    let [a, b] = world.pair();
    [a, b].iter().for_each(|end| end.driver.close(end.transport));
}

fn n02_what_is_sent_before_anybody_listens_arrives_in_order(world: &World) {
    let [a, b] = world.pair();
    a.send(b"one");
    a.send_object(a.memory(b"with"));
    a.send(b"two");
    let listens = b.listen();
    assert_eq!(next(&listens), message(b"one"));
    let memory = b.object(next(&listens));
    assert_eq!(b.word(memory), b"with");
    assert_eq!(next(&listens), message(b"two"));
    b.send(b"an answer before its other end listens");
    let answers = a.listen();
    assert_eq!(next(&answers), message(b"an answer before its other end listens"));
    a.stop(&answers);
    b.stop(&listens);
}

fn n03_messages_of_any_size_are_whole(world: &World) {
    let [a, b] = world.pair();
    let hearing = b.listen();
    let own = a.listen();
    for size in [0, 1, 2, 7, 4095, 65_536, 65_537, 1 << 20, 64_000_000] {
        let data: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        a.send(&data);
        let Heard::Message(arrived, handles) = next(&hearing) else { panic!("{size} bytes do not arrive") };
        assert!(arrived == data && handles.is_empty(), "{size} bytes");
    }
    a.stop(&own);
    b.stop(&hearing);
}

fn n04_what_is_sent_too_late_is_swallowed_with_its_objects(world: &World) {
    let [a, b] = world.pair();
    let (own, hearing) = (a.listen(), b.listen());
    a.driver.deactivate(a.transport);
    assert_eq!(next(&own), Heard::Deactivated);
    let late = |end: &End| {
        let mut packed = Packed::default();
        end.driver.serialize(end.memory(b"lost"), end.transport, &mut packed).unwrap();
        let sent = end.driver.transmit(end.transport, &[Frame { data: &packed.data, handles: &packed.handles }]);
        assert!(matches!(sent, Ok(()) | Err(DriverError::Disconnected)), "{sent:?}");
    };
    late(&a);
    assert_eq!(next(&hearing), Heard::Error);
    late(&b);
    b.stop(&hearing);
    a.driver.close(a.transport);
    is_over(&own);
}

fn n05_deactivated_is_heard_once_and_last(world: &World) {
    // From another thread.
    let [a, b] = world.pair();
    let (own, hearing) = (a.listen(), b.listen());
    let end = a.clone();
    thread::spawn(move || (0..2).for_each(|_| end.driver.deactivate(end.transport))).join().unwrap();
    assert_eq!(next(&own), Heard::Deactivated);
    a.driver.close(a.transport);
    is_over(&own);
    b.stop(&hearing);
    // From its own handler; what came with it is not heard any more.
    let [a, b] = world.pair();
    let own = a.listen();
    for data in [b"stop".as_slice(), b"more"] {
        b.send(data);
    }
    let hearing = b.listen();
    assert_eq!([next(&own), next(&own)], [message(b"stop"), Heard::Deactivated]);
    a.driver.close(a.transport);
    is_over(&own);
    b.stop(&hearing);
}

fn n06_a_refused_message_is_the_last(world: &World) {
    let [a, b] = world.pair();
    for data in [b"good".as_slice(), b"bad", b"good"] {
        a.send(data);
    }
    let hearing = b.listen();
    assert_eq!([next(&hearing), next(&hearing), next(&hearing)], [message(b"good"), message(b"bad"), Heard::Error]);
    b.driver.deactivate(b.transport);
    assert_eq!(next(&hearing), Heard::Deactivated);
    b.driver.close(b.transport);
    a.driver.close(a.transport);
    is_over(&hearing);
}

fn n07_a_listener_is_told_one_thing_at_a_time_and_each_thread_s_in_order(world: &World) {
    const EACH: u32 = 500;
    let [a, b] = world.pair();
    let hearing = b.listen();
    let own = a.listen();
    thread::scope(|scope| {
        for thread in 0..8u32 {
            let a = &a;
            scope.spawn(move || {
                for number in 0..EACH {
                    a.send(&[thread.to_le_bytes(), number.to_le_bytes()].concat());
                }
            });
        }
    });
    let mut due = [0; 8];
    for _ in 0..8 * EACH {
        let Heard::Message(data, _) = next(&hearing) else { panic!("a message is missing") };
        let [thread, number] = [0, 4].map(|at| u32::from_le_bytes(data[at..at + 4].try_into().unwrap()));
        assert_eq!(number, due[thread as usize], "of thread {thread}");
        due[thread as usize] += 1;
    }
    a.stop(&own);
    b.stop(&hearing);
}

fn n08_memory_is_zeros_of_its_size_and_shared(world: &World) {
    let [a, b] = world.pair();
    let hearing = b.listen();
    let memory = a.driver.allocate(5000).unwrap();
    assert_eq!(a.driver.size(memory), Ok(5000));
    let mapped = a.driver.map(memory).unwrap();
    let mut bytes = vec![1; 5000];
    mapped.read(0, &mut bytes);
    assert!(mapped.len() == 5000 && bytes.iter().all(|byte| *byte == 0));
    let twin = a.driver.duplicate(memory).unwrap();
    a.driver.close(memory);
    mapped.write(4996, b"last");
    let again = a.driver.map(twin).unwrap();
    again.read(4996, &mut bytes[..4]);
    assert_eq!(&bytes[..4], b"last", "a duplicate is the same memory, which outlives what it was made of");
    a.send_object(twin);
    let arrived = b.object(next(&hearing));
    assert_eq!(b.driver.size(arrived), Ok(5000));
    let far = b.driver.map(arrived).unwrap();
    b.driver.close(arrived);
    far.write(0, b"back");
    mapped.read(0, &mut bytes[..4]);
    assert_eq!(&bytes[..4], b"back");
    a.driver.close(a.transport);
    b.stop(&hearing);
}

fn n09_whether_an_object_can_travel_is_answered_alike_each_time(world: &World) {
    let [a, b] = world.pair();
    let (own, hearing) = (a.listen(), b.listen());
    let memory = a.memory(b"here");
    for _ in 0..3 {
        assert_eq!(a.driver.can_travel(memory, None), Travel::Yes);
        assert_eq!(a.driver.can_travel(memory, Some(a.transport)), Travel::Yes);
    }
    // An active transport is somebody's.
    assert_ne!(a.driver.can_travel(a.transport, None), Travel::Yes);
    let mut packed = Packed::default();
    assert!(a.driver.serialize(a.transport, a.transport, &mut packed).is_err());
    assert!(packed.data.is_empty() && packed.handles.is_empty());
    assert_eq!(a.word(memory), b"here", "nothing was consumed");
    a.stop(&own);
    b.stop(&hearing);
}

fn n10_a_transport_goes_elsewhere_and_works_there(world: &World) {
    let [a, b] = world.pair();
    let hearing = b.listen();
    let [near, far] = a.driver.create_transports(None).unwrap();
    let near = End { transport: near, ..a.clone() };
    near.send(b"on the way");
    a.send_object(far);
    let far = End { transport: b.object(next(&hearing)), ..b.clone() };
    let heard = far.listen();
    near.send(b"arrived");
    assert_eq!([next(&heard), next(&heard)], [message(b"on the way"), message(b"arrived")]);
    let answers = near.listen();
    far.send(b"an answer");
    assert_eq!(next(&answers), message(b"an answer"));
    near.stop(&answers);
    far.stop(&heard);
    a.driver.close(a.transport);
    b.stop(&hearing);
}

fn n11_no_two_random_values_are_alike(world: &World) {
    let driver = &world.drivers[0];
    for length in [16, 17, 64, 1000] {
        let [mut one, mut other] = [vec![0; length], vec![0; length]];
        driver.random(&mut one).unwrap();
        driver.random(&mut other).unwrap();
        assert_ne!(one, other, "{length} bytes");
    }
    driver.random(&mut []).unwrap();
}

fn n12_much_waits_for_who_listens_late(world: &World) {
    for (count, bytes) in [(25_000u32, 1024), (20, 100_000), (4, 3_000_000)] {
        let [a, b] = world.pair();
        let own = a.listen();
        let content = |number: u32| -> Vec<u8> { number.to_le_bytes().iter().copied().cycle().take(bytes).collect() };
        (0..count).for_each(|number| a.send(&content(number)));
        let hearing = b.listen();
        for number in 0..count {
            let Heard::Message(data, _) = next(&hearing) else { panic!("message {number} of {count} is missing") };
            assert!(data == content(number), "message {number} of {bytes} bytes");
        }
        a.stop(&own);
        b.stop(&hearing);
    }
}

macro_rules! over {
    ($($name:ident: $world:expr),+ $(,)?) => { $(over!(@ $name, $world,
        n01_who_is_left_alone_learns_it_once,
        n02_what_is_sent_before_anybody_listens_arrives_in_order,
        n03_messages_of_any_size_are_whole,
        n04_what_is_sent_too_late_is_swallowed_with_its_objects,
        n05_deactivated_is_heard_once_and_last,
        n06_a_refused_message_is_the_last,
        n07_a_listener_is_told_one_thing_at_a_time_and_each_thread_s_in_order,
        n08_memory_is_zeros_of_its_size_and_shared,
        n09_whether_an_object_can_travel_is_answered_alike_each_time,
        n10_a_transport_goes_elsewhere_and_works_there,
        n11_no_two_random_values_are_alike,
        n12_much_waits_for_who_listens_late,
    );)+ };
    (@ $name:ident, $world:expr, $($test:ident,)+) => {
        mod $name {
            use super::*;
            $(#[test]
            fn $test() {
                let world = $world;
                super::$test(&world);
                world.end();
            })+
        }
    };
}

over! {
    synchronous: World::in_process(InProcess::new()),
    asynchronous: World::in_process(InProcess::asynchronous()),
    table: World::table(),
    socket: World::unix([(); 2].map(|()| UnixDriver::new().unwrap())),
    polled: World::polled(),
}
