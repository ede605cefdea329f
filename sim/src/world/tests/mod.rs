//! The engine's rules, played with fakes instead of processes. Here are the fakes; the rules are in the files below.

mod copies;
mod transports;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use ipcz::clock::Wake;
use ipcz::driver::{Activity, Frame, Listener, Packed, Verdict};
use ipcz::ids::ObjectId;
use ipcz::mapping::Mapping;

use super::{Actor, Config, Event, LinkProfile, Ports, Remap, World};
use crate::choice::Source;

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
    stubborn: bool,
}

/// Writes down what it hears, refuses messages that begin with `!`, answers those that begin with `?` and writes into
/// its memory then, and deactivates a transport
/// that broke, unless stubborn. Its keys are the transports themselves.
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
        if !self.memo().stubborn {
            self.ports.driver.deactivate(id(key));
        }
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
