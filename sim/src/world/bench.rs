//! What the engine itself costs; run with `cargo test --release -p ipcz-sim bench -- --ignored --nocapture`.
#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use ipcz::clock::Wake;
use ipcz::driver::{Activity, Frame, Listener, Verdict};
use ipcz::ids::ObjectId;

use super::{Actor, Config, LinkProfile, Ports, Remap, World, bare_heap};
use crate::choice::Source;

/// Sends back what it gets.
struct Echo(Ports);

impl Activity for Echo {
    fn message(self: Arc<Self>, key: u64, data: &[u8], _handles: &[ObjectId], _envelope: Option<ObjectId>) -> Verdict {
        let back = ObjectId::new(key).map(|on| self.0.driver.transmit(on, &[Frame { data, handles: &[] }]));
        if back == Some(Ok(())) { Verdict::Accepted } else { Verdict::Refused }
    }

    fn error(self: Arc<Self>, _key: u64) {}

    fn deactivated(self: Arc<Self>, _key: u64) {}
}

impl Wake for Echo {
    fn timer(&self) {}
}

impl Actor for Echo {
    fn fork(&self, ports: Ports, _remap: &mut Remap<'_>) -> Arc<dyn Actor> {
        Arc::new(Echo(ports))
    }
}

fn echoes(pairs: usize, jitter_ns: u32) -> World {
    let link = LinkProfile { jitter_ns, ..LinkProfile::default() };
    let mut world = World::new(Config { link, ..Config::default() }, Source::seeded(1, "bench"));
    for _ in 0..2 {
        world.add_actor(|ports| Arc::new(Echo(ports.clone())));
    }
    for _ in 0..pairs {
        let (a, b) = world.transport_pair(0, 1, None);
        for (process, end) in [(0, a), (1, b)] {
            let target = Arc::clone(world.actor(process).unwrap()) as Arc<dyn Activity>;
            world.ports(process).driver.activate(end, Listener::new(target, end.0.get())).unwrap();
        }
        world.ports(0).driver.transmit(a, &[Frame { data: &[7; 96], handles: &[] }]).unwrap();
    }
    world
}

fn per_event(events: u64, run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_nanos() as f64 / events as f64
}

#[test]
#[ignore = "a measurement"]
fn bench() {
    const EVENTS: u64 = 2_000_000;
    for (pairs, jitter) in [(1, 0), (100, 0), (100, 1_000), (10_000, 0), (10_000, 1_000)] {
        let mut world = echoes(pairs, jitter);
        let ns = per_event(EVENTS, || (0..EVENTS).for_each(|_| assert!(world.step().is_some())));
        println!("{pairs:6} messages under way, jitter {jitter:4}: {ns:.0} ns a message");
        let forks = 20;
        let ns = per_event(forks, || (0..forks).for_each(|_| drop(world.fork())));
        println!("       copy of that world: {:.0} us", ns / 1_000.0);
    }
    for size in [100, 10_000] {
        let ns = per_event(EVENTS, || assert_ne!(bare_heap(EVENTS, size), 0));
        println!("bare queue of {size}: {ns:.0} ns an event");
    }
    let world = echoes(1, 0);
    let driver = &world.ports(0).driver;
    let memory = driver.allocate(131_072).and_then(|m| driver.map(m)).unwrap();
    let ns = per_event(EVENTS, || (0..EVENTS).for_each(|i| memory.store64((i as usize * 8) & 0xfff8, i, Relaxed)));
    println!("store: {ns:.0} ns");
    let ns = per_event(EVENTS, || assert_ne!((0..EVENTS).map(|i| memory.load64((i as usize * 8) & 0xfff8, Relaxed)).sum::<u64>(), 0));
    println!("load: {ns:.0} ns");
}
