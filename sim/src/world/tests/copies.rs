//! Fingerprints, copies of worlds, memory pages and observers.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use ipcz::mapping::{Mapping, VirtualMemory};

use super::super::{Config, Template};
use super::{Heard, Stage};
use crate::choice::Source;
use crate::trace::Observer;

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
fn a_run_is_the_same_on_every_machine_and_thread() {
    let last = || play(1, |_, _| ()).1.last().copied();
    let parallel = std::thread::scope(|scope| [(); 4].map(|()| scope.spawn(last)).map(|thread| thread.join().unwrap()));
    assert_eq!(
        parallel.map(|print| print.map(|p| format!("{p:032x}"))),
        [(); 4].map(|()| Some("450420815ed0d1c0057e51388c8b78d9".to_string()))
    );
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
    let driver = &stage.fakes[0].ports.driver;
    let memory = driver.allocate(64).unwrap();
    let held_outside = driver.map(memory).unwrap();
    driver.close(memory);
    assert_eq!((stage.world.population().memories, stage.world.fork().population().memories), (2, 1));
    drop(held_outside);
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
    let mut copy = stage.world.fork();
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
    drop(remapped);
    copy.kill(0);
    assert_eq!((copy.population().memories, stage.world.population().memories), (0, 1));
    assert_eq!(read(&mapping), (0x0101_0101, 5));
}

#[test]
fn initialised_link_memory_costs_no_page() {
    let mut template = vec![0; 131_072];
    (template[0], template[8], template[95_938]) = (1, 12, 0x34);
    let config = Config { template: Some(Template::new(&template)), ..Config::default() };
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

/// From, to, transport, bytes, whether delivered.
type Seen = (u32, u32, u32, usize, bool);

#[derive(Clone, Default)]
struct Counter(Arc<Mutex<Vec<Seen>>>);

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
    let before = stage.world.fingerprint();
    stage.run();
    assert_ne!(stage.world.fingerprint(), before);
    while copy.step().is_some() {}
    assert_eq!(*counter.0.lock().unwrap(), [(1, 0, 1, 5, false), (1, 0, 1, 5, true)]);
    let recent: Vec<_> = stage.world.trace(|t| t.recent().map(|m| (m.time, m.from, m.to, m.transport, m.bytes.clone())).collect());
    assert_eq!(recent, [(0, 1, 0, 1, b"hello".to_vec())]);
}
