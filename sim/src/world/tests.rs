//! The engine's rules, played with fakes instead of processes.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use ipcz::clock::{Time, Wake};
use ipcz::driver::{Activity, DriverError, Frame, Listener, Packed, Travel, Verdict};
use ipcz::ids::ObjectId;
use ipcz::mapping::{Mapping, VirtualMemory};
use ipcz::trap::{PortalStatus, TrapEvent, TrapFlags};

use super::{Actor, Config, DropRule, Event, LinkProfile, Ports, Remap, World};
use crate::choice::Source;
use crate::trace::Observer;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Heard {
    Message(ObjectId, Vec<u8>),
    Error(ObjectId),
    Deactivated(ObjectId),
    Timer(u64),
}

#[derive(Clone, Default)]
struct Memo {
    heard: Vec<Heard>,
    handles: Vec<ObjectId>,
    memory: Option<Mapping>,
}

/// Writes down what it hears, refuses messages that begin with `!`, answers those that begin with `?` and writes into
/// its memory then, and deactivates a transport that broke. Its keys are the transports themselves.
struct Fake {
    ports: Ports,
    memo: Mutex<Memo>,
}

impl Fake {
    fn memo(&self) -> std::sync::MutexGuard<'_, Memo> {
        self.memo.lock().unwrap()
    }
}

fn id(key: u64) -> ObjectId {
    ObjectId::new(key).unwrap()
}

impl Activity for Fake {
    fn message(self: Arc<Self>, key: u64, data: &[u8], handles: &[ObjectId], _envelope: Option<ObjectId>) -> Verdict {
        let mut memo = self.memo();
        memo.heard.push(Heard::Message(id(key), data.to_vec()));
        memo.handles.extend_from_slice(handles);
        if data.starts_with(b"?") {
            let answer = [b"=", &data[1..]].concat();
            self.ports.driver.transmit(id(key), &[Frame { data: &answer, handles: &[] }]).unwrap();
            if let Some(memory) = &memo.memory {
                memory.add64(0, 1, Relaxed);
            }
        }
        if data.starts_with(b"!") { Verdict::Refused } else { Verdict::Accepted }
    }

    fn error(self: Arc<Self>, key: u64) {
        self.memo().heard.push(Heard::Error(id(key)));
        self.ports.driver.deactivate(id(key));
    }

    fn deactivated(self: Arc<Self>, key: u64) {
        self.memo().heard.push(Heard::Deactivated(id(key)));
    }
}

impl Wake for Fake {
    fn timer(&self) {
        self.memo().heard.push(Heard::Timer(self.ports.clock.now().0));
    }
}

impl Actor for Fake {
    fn fork(&self, ports: Ports, remap: &mut Remap<'_>) -> Arc<dyn Actor> {
        let mut memo = self.memo().clone();
        if let Some(Mapping::Virtual(memory)) = &mut memo.memory {
            *memory = remap(memory);
        }
        Arc::new(Fake { ports, memo: Mutex::new(memo) })
    }
}

/// A world of fakes.
struct Stage {
    world: World,
    fakes: Vec<Arc<Fake>>,
}

impl Stage {
    fn new(fakes: usize, config: Config, source: Source) -> Stage {
        let mut stage = Stage { world: World::new(config, source), fakes: Vec::new() };
        for _ in 0..fakes {
            let made = &mut stage.fakes;
            stage.world.add_actor(|ports| {
                let fake = Arc::new(Fake { ports: ports.clone(), memo: Mutex::default() });
                made.push(Arc::clone(&fake));
                fake
            });
        }
        stage
    }

    fn plain(fakes: usize) -> Stage {
        Stage::new(fakes, Config::default(), Source::default())
    }

    fn jittery(seed: u64) -> Stage {
        let link = LinkProfile { jitter_ns: 5_000, ..LinkProfile::default() };
        Stage::new(2, Config { link, chosen_ties: true, ..Config::default() }, Source::seeded(seed, "jitter"))
    }

    fn activate(&self, fake: usize, transport: ObjectId) {
        let listener = Listener::new(Arc::clone(&self.fakes[fake]) as Arc<dyn Activity>, transport.0.get());
        self.fakes[fake].ports.driver.activate(transport, listener).unwrap();
    }

    fn pair(&mut self, a: usize, b: usize) -> (ObjectId, ObjectId) {
        let (first, second) = self.world.transport_pair(a as u32, b as u32, None);
        self.activate(a, first);
        self.activate(b, second);
        (first, second)
    }

    fn send(&self, fake: usize, transport: ObjectId, data: &[u8]) {
        self.fakes[fake].ports.driver.transmit(transport, &[Frame { data, handles: &[] }]).unwrap();
    }

    fn send_object(&self, fake: usize, transport: ObjectId, object: ObjectId) -> Vec<u8> {
        let mut packed = Packed::default();
        self.fakes[fake].ports.driver.serialize(object, transport, &mut packed).unwrap();
        let frame = Frame { data: b"object", handles: &packed.handles };
        self.fakes[fake].ports.driver.transmit(transport, &[frame]).unwrap();
        packed.data
    }

    fn run(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.world.step()).map(|step| step.event).collect()
    }

    fn heard(&self, fake: usize) -> Vec<Heard> {
        std::mem::take(&mut self.fakes[fake].memo().heard)
    }

    fn open(&self) -> Vec<usize> {
        (0..self.fakes.len()).map(|i| self.world.objects_open(i as u32)).collect()
    }
}

fn texts(on: ObjectId, texts: &[&str]) -> Vec<Heard> {
    texts.iter().map(|t| Heard::Message(on, t.as_bytes().to_vec())).collect()
}

#[test]
fn a_transport_keeps_its_order_under_jitter() {
    let mut stage = Stage::jittery(1);
    let (a1, b1) = stage.pair(0, 1);
    let (a2, b2) = stage.pair(0, 1);
    for i in 0..200_u8 {
        stage.send(0, a1, &[b'1', i]);
        stage.send(0, a2, &[b'2', i]);
        if i % 8 == 0 {
            stage.world.step();
        }
    }
    stage.run();
    let heard = stage.heard(1);
    let on = |t| heard.iter().filter_map(move |h| matches!(h, Heard::Message(on, _) if *on == t).then_some(h)).cloned().collect::<Vec<_>>();
    let expected = |t, digit| (0..200).map(|i| Heard::Message(t, vec![digit, i])).collect::<Vec<_>>();
    assert_eq!((on(b1), on(b2)), (expected(b1, b'1'), expected(b2, b'2')));
    let (first, second): (Vec<_>, Vec<_>) = heard.chunks_exact(2).map(|c| (c[0].clone(), c[1].clone())).unzip();
    assert!(first != on(b1) || second != on(b2), "jitter must mix the two transports");
}

#[test]
fn messages_take_the_latency_of_their_link() {
    let slow = LinkProfile { latency_ns: 70_000, ..LinkProfile::default() };
    let config = Config { links: [((0, 2), slow)].into(), ..Config::default() };
    let mut stage = Stage::new(3, config, Source::default());
    let (near, _) = stage.pair(0, 1);
    let (far, _) = stage.pair(2, 0);
    stage.send(2, far, b"far");
    stage.send(0, near, b"near");
    stage.world.schedule(1_500, 42);
    let times: Vec<_> = std::iter::from_fn(|| stage.world.step()).map(|s| (s.time, s.event.process())).collect();
    assert_eq!(times, [(1_000, Some(1)), (1_500, None), (70_000, Some(0))]);
    assert!(stage.world.idle() && stage.world.now() == 70_000);
}

#[test]
fn messages_wait_for_activation_and_stay_in_order() {
    for seed in 0..20 {
        let mut stage = Stage::jittery(seed);
        let (a, b) = stage.world.transport_pair(0, 1, None);
        stage.send(0, a, b"one");
        stage.send(0, a, b"two");
        assert!(stage.run().iter().all(|e| matches!(e, Event::Held { .. })));
        stage.send(0, a, b"three");
        stage.world.schedule(stage.world.now() + 1_000 + seed * 250, 1);
        while stage.world.step().is_some_and(|s| s.event != Event::App { token: 1 }) {}
        stage.send(0, a, b"four");
        stage.fakes[0].ports.driver.close(a);
        stage.activate(1, b);
        stage.run();
        let expected = [texts(b, &["one", "two", "three", "four"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat();
        assert_eq!(stage.heard(1), expected);
        assert_eq!(stage.world.population().messages, 0);
    }
}

#[test]
fn an_error_that_came_before_activation_is_told_after_the_messages() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.world.transport_pair(0, 1, None);
    stage.send(0, a, b"bye");
    stage.fakes[0].ports.driver.close(a);
    stage.run();
    stage.activate(1, b);
    stage.run();
    assert_eq!(stage.heard(1), [texts(b, &["bye"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
}

#[test]
fn a_closed_end_errors_at_its_peer_after_what_was_sent() {
    for seed in 0..20 {
        let mut stage = Stage::jittery(seed);
        let (a, b) = stage.pair(0, 1);
        stage.send(0, a, b"one");
        stage.send(0, a, b"two");
        stage.send(1, b, b"lost");
        stage.fakes[0].ports.driver.close(a);
        stage.send(1, b, b"nobody");
        stage.run();
        assert_eq!(stage.heard(1), [texts(b, &["one", "two"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
        assert_eq!(stage.heard(0), [Heard::Deactivated(a)]);
        assert_eq!(stage.world.trace(|t| t.totals().lost), 2);
        assert_eq!(stage.open(), [0, 1]);
    }
}

#[test]
fn deactivation_is_the_last_word_and_comes_later() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    let memory = stage.fakes[1].ports.driver.allocate(100).unwrap();
    stage.send_object(1, b, memory);
    stage.fakes[0].ports.driver.deactivate(a);
    stage.fakes[0].ports.driver.deactivate(a);
    assert_eq!(stage.heard(0), []);
    stage.run();
    assert_eq!(stage.heard(0), [Heard::Deactivated(a)]);
    assert_eq!(stage.heard(1), [Heard::Error(b), Heard::Deactivated(b)]);
    assert_eq!((stage.open(), stage.world.population().memories), (vec![1, 1], 0));
    let again = Listener::new(Arc::clone(&stage.fakes[0]) as Arc<dyn Activity>, 1);
    assert_eq!(stage.fakes[0].ports.driver.activate(a, again), Err(DriverError::InvalidArgument));
}

#[test]
fn after_a_refusal_comes_the_error_and_nothing_more() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    for text in ["fine", "!", "never", "never"] {
        stage.send(0, a, text.as_bytes());
    }
    stage.run();
    assert_eq!(stage.heard(1), [texts(b, &["fine", "!"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
    assert_eq!(stage.heard(0), [Heard::Error(a), Heard::Deactivated(a)]);
    assert_eq!(stage.world.trace(|t| (t.totals().refused, t.totals().lost)), (1, 2));
}

#[test]
fn a_cut_link_loses_only_a_tail() {
    let mut seen = Vec::new();
    for seed in 0..40 {
        let mut stage = Stage::new(3, Config::default(), Source::seeded(seed, "cut"));
        let (a, b) = stage.pair(0, 1);
        let (other, far) = stage.pair(0, 2);
        for i in 0..4_u8 {
            stage.send(0, a, &[i]);
        }
        stage.send(0, other, b"other");
        stage.world.cut_link(1, 0);
        stage.send(0, a, b"late");
        stage.run();
        let heard = stage.heard(1);
        let got = heard.len() - 2;
        let expected: Vec<_> = (0..got as u8).map(|i| Heard::Message(b, vec![i])).collect();
        assert_eq!(heard, [expected, vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
        assert_eq!(stage.heard(0), [Heard::Error(a), Heard::Deactivated(a)]);
        assert_eq!(stage.heard(2), texts(far, &["other"]));
        seen.push(got);
    }
    assert!((0..=4).all(|n| seen.contains(&n)), "{seen:?}");
}

#[test]
fn a_killed_process_is_silent_and_its_peers_learn_it() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    stage.fakes[0].ports.driver.allocate(4096).unwrap();
    stage.fakes[0].ports.clock.wake_at(Time(10), Arc::clone(&stage.fakes[0]) as Arc<dyn Wake>);
    stage.send(0, a, b"last words");
    stage.send(1, b, b"too late");
    stage.world.kill(0);
    stage.run();
    assert_eq!(stage.heard(0), []);
    assert_eq!(stage.heard(1), [texts(b, &["last words"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
    assert_eq!((stage.open(), stage.world.population().memories), (vec![0, 1], 0));
    assert!(stage.world.is_gone(0) && stage.world.actor(0).is_none() && !stage.world.is_gone(1));
}

#[test]
fn the_nth_message_of_a_kind_is_dropped() {
    let config = Config { drops: vec![DropRule { message: b'x', nth: 1 }], ..Config::default() };
    let mut stage = Stage::new(2, config, Source::default());
    let (a, b) = stage.pair(0, 1);
    for text in ["0 x", "0 y", "1 x", "2 x"] {
        stage.send(0, a, text.as_bytes());
    }
    stage.run();
    assert_eq!(stage.heard(1), texts(b, &["0 x", "0 y", "2 x"]));
    assert_eq!(stage.world.trace(|t| (t.transmitted(b'x'), t.transmitted(b'y'))), (3, 1));
}

#[test]
fn objects_move_with_messages() {
    let mut stage = Stage::plain(3);
    let (a, b) = stage.pair(0, 1);
    let driver = [0, 1, 2].map(|i| Arc::clone(&stage.fakes[i].ports.driver));
    let memory = driver[0].allocate(4096).unwrap();
    let mapping = driver[0].map(memory).unwrap();
    mapping.store32(8, 77, Relaxed);
    let packed = stage.send_object(0, a, memory);
    assert_eq!(packed, [1, 0, 0, 0, 0, 16, 0, 0]);
    assert_eq!(driver[0].size(memory), Err(DriverError::InvalidArgument));
    stage.run();
    let handle = stage.fakes[1].memo().handles.pop().unwrap();
    let wrong = driver[1].deserialize(&[1, 0, 0, 0, 0, 17, 0, 0], &[handle], b);
    assert_eq!(wrong, Err(DriverError::InvalidArgument));
    assert_eq!((stage.open(), stage.world.population().memories), (vec![1, 1, 0], 1));
    drop(mapping);
    assert_eq!(stage.world.population().memories, 0);

    let [keep, give] = driver[0].create_transports(Some([a, a])).unwrap();
    assert_eq!(stage.send_object(0, a, give), [0; 8]);
    stage.send(0, keep, b"on the way");
    stage.run();
    let handle = stage.fakes[1].memo().handles.pop().unwrap();
    let given = driver[1].deserialize(&[0; 8], &[handle], b).unwrap();
    stage.activate(1, given);
    stage.run();
    assert_eq!(stage.heard(1)[2..], texts(given, &["on the way"]));
    assert_eq!(stage.open(), [2, 2, 0]);
}

#[test]
fn a_transport_lost_inside_a_message_errors_at_its_peer() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    let [keep, give] = stage.fakes[0].ports.driver.create_transports(None).unwrap();
    let [inner, deep] = stage.fakes[0].ports.driver.create_transports(None).unwrap();
    stage.activate(0, keep);
    stage.activate(0, inner);
    stage.send_object(0, keep, deep);
    stage.send_object(0, a, give);
    stage.fakes[1].ports.driver.close(b);
    stage.run();
    let heard = stage.heard(0);
    assert!([a, keep, inner].iter().all(|t| heard.contains(&Heard::Error(*t))), "{heard:?}");
    assert_eq!((stage.open(), stage.world.population().messages), (vec![3, 0], 0));
}

#[test]
fn wrong_objects_are_refused() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    let driver = Arc::clone(&stage.fakes[0].ports.driver);
    let memory = driver.allocate(10).unwrap();
    let mut packed = Packed::default();
    let bad = Err(DriverError::InvalidArgument);
    assert_eq!(driver.size(a), Err(DriverError::InvalidArgument));
    assert_eq!(driver.transmit(memory, &[]), bad);
    assert_eq!(driver.transmit(b, &[]), bad);
    assert_eq!(driver.transmit(a, &[Frame { data: &[], handles: &[memory] }]), bad);
    assert_eq!(driver.serialize(a, a, &mut packed), bad);
    assert_eq!(driver.serialize(memory, memory, &mut packed), bad);
    assert_eq!((driver.can_travel(a, None), driver.can_travel(memory, Some(a)), driver.can_travel(memory, None)), {
        (Travel::Never, Travel::Yes, Travel::Yes)
    });
    assert_eq!(driver.allocate(0).unwrap_err(), DriverError::InvalidArgument);
    driver.close(memory);
    driver.close(memory);
    assert_eq!(stage.open(), [1, 1]);
}

#[test]
fn some_links_carry_no_objects() {
    let link = LinkProfile { carries_objects: false, ..LinkProfile::default() };
    let mut stage = Stage::new(2, Config { link, ..Config::default() }, Source::default());
    let (a, _) = stage.pair(0, 1);
    let driver = Arc::clone(&stage.fakes[0].ports.driver);
    let memory = driver.allocate(10).unwrap();
    assert_eq!((driver.can_travel(memory, Some(a)), driver.can_travel(memory, None)), (Travel::NotHere, Travel::Yes));
    assert_eq!(driver.serialize(memory, a, &mut Packed::default()), Err(DriverError::PermissionDenied));
    assert_eq!(driver.size(memory), Ok(10));
}

#[test]
fn timers_fire_in_virtual_time() {
    let mut stage = Stage::plain(1);
    let (clock, wake) = (Arc::clone(&stage.fakes[0].ports.clock), Arc::clone(&stage.fakes[0]) as Arc<dyn Wake>);
    for at in [500, 500, 200] {
        clock.wake_at(Time(at), Arc::clone(&wake));
    }
    stage.run();
    assert_eq!(stage.heard(0), [200, 500].map(Heard::Timer));
}

#[test]
fn traps_are_kept_for_the_workload() {
    let mut stage = Stage::plain(2);
    let event = TrapEvent { context: 9, flags: TrapFlags::DEAD, status: PortalStatus { bytes: 3, ..PortalStatus::default() } };
    let before = stage.world.fingerprint();
    stage.fakes[1].ports.traps.fired(&event);
    assert_ne!(stage.world.fingerprint(), before);
    let mut out = Vec::new();
    stage.world.take_traps(&mut out);
    stage.world.take_traps(&mut out);
    assert_eq!(out, [(1, event)]);
}

/// A run of some length: two fakes that answer each other over two transports and share a memory.
fn play(seed: u64, change: impl Fn(&mut Stage, usize)) -> (Stage, Vec<u128>) {
    let mut stage = Stage::jittery(seed);
    let (a, _) = stage.pair(0, 1);
    let (_, b) = stage.pair(0, 1);
    let memory = stage.fakes[1].ports.driver.allocate(131_072).unwrap();
    stage.fakes[1].memo().memory = Some(stage.fakes[1].ports.driver.map(memory).unwrap());
    let mut prints = Vec::new();
    for round in 0..30 {
        stage.send(0, a, format!("?{round}").as_bytes());
        stage.send(1, b, format!("?{}", round * 7).as_bytes());
        change(&mut stage, round);
        for _ in 0..3 {
            stage.world.step();
        }
        prints.push(stage.world.fingerprint());
    }
    stage.run();
    prints.push(stage.world.fingerprint());
    (stage, prints)
}

#[test]
fn equal_runs_have_equal_fingerprints() {
    assert_eq!(play(1, |_, _| ()).1, play(1, |_, _| ()).1);
    assert_ne!(play(1, |_, _| ()).1, play(2, |_, _| ()).1);
}

#[test]
fn a_fingerprint_feels_every_delivery_byte_and_store() {
    let plain = play(1, |_, _| ()).1;
    let changed = |change: fn(&mut Stage)| {
        play(1, move |stage, round| {
            if round == 20 {
                change(stage)
            }
        })
        .1
    };
    let store = changed(|stage| {
        if let Some(memory) = &stage.fakes[1].memo().memory {
            memory.store32(5_000, 0, Relaxed);
        }
    });
    let bytes = |last: u8| {
        play(1, move |stage, round| {
            if round == 20 {
                let on = stage.fakes[0].memo().heard.iter().find_map(|h| if let Heard::Message(on, _) = h { Some(*on) } else { None });
                stage.send(0, on.unwrap(), &[b'-', last]);
            }
        })
        .1
    };
    let delivery = changed(|stage| {
        stage.world.step();
    });
    let load = changed(|stage| {
        if let Some(memory) = &stage.fakes[1].memo().memory {
            memory.load32(5_000, Relaxed);
        }
    });
    assert_eq!(load, plain);
    for other in [&store, &delivery, &bytes(1)] {
        assert_eq!(other[..20], plain[..20]);
        assert_ne!(other[20], plain[20]);
        assert_ne!(other.last(), plain.last());
    }
    assert_ne!(bytes(1)[20], bytes(2)[20]);
}

#[test]
fn a_fork_goes_on_like_its_original() {
    for at in [0, 3, 17, 29] {
        let mut copies = Vec::new();
        let (original, _) = play(5, |stage, round| {
            if round == at {
                stage.world.step();
            }
        });
        let copies_ref = Mutex::new(&mut copies);
        let (same, _) = play(5, |stage, round| {
            if round == at {
                copies_ref.lock().unwrap().push(stage.world.fork());
                stage.world.step();
            }
        });
        assert_eq!(same.world.fingerprint(), original.world.fingerprint());
        let mut copy = copies.pop().unwrap();
        let mut again = copy.fork();
        let print = copy.fingerprint();
        while copy.step().is_some() {}
        assert_eq!(again.fingerprint(), print);
        while again.step().is_some() {}
        assert_eq!(copy.fingerprint(), again.fingerprint());
        assert_ne!(copy.fingerprint(), print);
        assert_eq!(copy.fingerprint() == original.world.fingerprint(), at == 29, "nothing was sent after round 29 only");
        assert_eq!((copy.population(), copy.now()), (again.population(), again.now()));
    }
}

#[test]
fn a_fork_at_rest_is_the_whole_world() {
    let (stage, prints) = play(6, |_, _| ());
    let copy = stage.world.fork();
    assert_eq!(Some(&copy.fingerprint()), prints.last());
    assert_eq!(copy.population(), stage.world.population());
}

#[test]
fn forks_do_not_share_memory() {
    let stage = Stage::plain(1);
    let memory = stage.fakes[0].ports.driver.allocate(131_072).unwrap();
    let mapping = stage.fakes[0].ports.driver.map(memory).unwrap();
    stage.fakes[0].ports.driver.close(memory);
    stage.fakes[0].memo().memory = Some(mapping.clone());
    assert_eq!(stage.world.population().resident_pages, 0);
    mapping.write(1_020, &[1; 8]);
    assert_eq!(stage.world.population().resident_pages, 2);
    let copy = stage.world.fork();
    let read = |m: &Mapping| (m.load32(1_020, Relaxed), m.load32(70_000, Relaxed));
    mapping.store32(70_000, 5, Relaxed);
    let population = copy.population();
    assert_eq!((population.resident_pages, population.memories, stage.world.population().resident_pages), (2, 1, 3));
    let theirs = copy.ports(0).clone();
    let mut remapped: Option<Mapping> = None;
    drop(copy.actor(0).unwrap().fork(theirs, &mut |m: &Arc<dyn VirtualMemory>| {
        remapped = Some(Mapping::Virtual(Arc::clone(m)));
        Arc::clone(m)
    }));
    let remapped = remapped.unwrap();
    assert_eq!((read(&mapping), read(&remapped)), ((0x0101_0101, 5), (0x0101_0101, 0)));
    remapped.store32(1_020, 2, Relaxed);
    assert_eq!(read(&mapping), (0x0101_0101, 5));
    drop((copy, remapped));
    assert_eq!(read(&mapping), (0x0101_0101, 5));
}

#[test]
fn initialised_link_memory_costs_no_page() {
    let mut template = vec![0; 131_072];
    (template[0], template[8], template[95_938]) = (1, 12, 0x34);
    let config = Config { template: Some(template.clone()), ..Config::default() };
    let stage = Stage::new(1, config, Source::default());
    let driver = &stage.fakes[0].ports.driver;
    let mappings: Vec<_> = (0..50).map(|_| driver.allocate(131_072).and_then(|m| driver.map(m)).unwrap()).collect();
    for (i, mapping) in mappings.iter().enumerate() {
        if i % 2 == 0 {
            mapping.write(0, &template);
        } else {
            mapping.write(1_024, &vec![0; 130_048]);
            mapping.store64(0, 1, Relaxed);
            mapping.store64(8, 12, Relaxed);
            mapping.store32(95_936, 0x34_0000, Relaxed);
        }
    }
    assert_eq!(stage.world.population().resident_pages, 0);
    assert_eq!(mappings[7].add64(8, 1, Relaxed), 12);
    assert_eq!((stage.world.population().resident_pages, mappings[8].load64(8, Relaxed), mappings[7].load64(8, Relaxed)), (1, 12, 13));
}

#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Vec<(u32, u32, u32, usize, bool)>>>);

impl Observer for Counter {
    fn transmitted(&mut self, from: u32, to: u32, transport: u32, bytes: &[u8]) {
        self.0.lock().unwrap().push((from, to, transport, bytes.len(), false));
    }

    fn delivered(&mut self, from: u32, to: u32, transport: u32, bytes: &[u8]) {
        self.0.lock().unwrap().push((from, to, transport, bytes.len(), true));
    }

    fn clone_box(&self) -> Box<dyn Observer> {
        Box::new(Counter(Arc::new(Mutex::new(self.0.lock().unwrap().clone()))))
    }
}

#[test]
fn an_observer_sees_messages_come_and_go() {
    let mut stage = Stage::plain(2);
    let counter = Counter::default();
    stage.world.trace(|t| t.observe(Some(Box::new(counter.clone()))));
    stage.pair(0, 1);
    let (_, b) = stage.pair(0, 1);
    stage.send(1, b, b"hello");
    let mut copy = stage.world.fork();
    stage.run();
    while copy.step().is_some() {}
    assert_eq!(*counter.0.lock().unwrap(), [(1, 0, 1, 5, false), (1, 0, 1, 5, true)]);
    let recent: Vec<_> = stage.world.trace(|t| t.recent().map(|m| (m.time, m.from, m.to, m.transport, m.bytes.clone())).collect());
    assert_eq!(recent, [(0, 1, 0, 1, b"hello".to_vec())]);
}
