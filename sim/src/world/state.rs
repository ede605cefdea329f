//! All that changes in a world: its tables, and what the next event is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipcz::driver::DriverError;
use ipcz::ids::ObjectId;
use ipcz::mapping::{Rmw, Width};
use ipcz::trap::TrapEvent;
use slab::Slab;

use super::activity::{Access, Kind as How, Stop};
use super::config::Config;
use super::fault::{Faults, Oddity};
use super::loose::Held;
use super::objects::{Carried, Holds, NOBODY, Objects};
use super::order::{Channel, Label, Next, Queue, What};
use super::pages::{Memory, Template};
use super::transports::{End, Message};
use super::{Event, Step};
use crate::choice::{Choices, Site, Source};
use crate::events::EventKind;
use crate::hostile::Liars;
use crate::trace::{Kind, Trace};

#[derive(Clone, Default, Debug)]
pub(crate) struct Seat {
    gone: bool,
    timer: Option<u64>,
    pub odd: Oddity,
}

/// What the world must call, with the state unlocked.
pub(crate) enum Call {
    Message { process: u32, end: u32, key: u64, bytes: Vec<u8>, handles: Vec<ObjectId> },
    Error { process: u32, key: u64 },
    Deactivated { process: u32, key: u64 },
    Timer { process: u32 },
}

impl Call {
    /// Whom.
    pub fn process(&self) -> u32 {
        match self {
            Call::Message { process, .. } | Call::Error { process, .. } | Call::Deactivated { process, .. } | Call::Timer { process } => {
                *process
            }
        }
    }
}

/// Counts of what is in a world now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Population {
    /// Events in the queue.
    pub events: usize,
    /// Messages under way or waiting for an activation.
    pub messages: usize,
    /// Transport pairs ever made.
    pub transports: usize,
    /// Memory objects.
    pub memories: usize,
    /// Memory pages that hold something of their own.
    pub resident_pages: usize,
}

#[derive(Clone)]
pub(crate) struct State {
    pub config: Arc<Config>,
    template: Option<Template>,
    pub now: u64,
    pub queue: Queue,
    pub source: Source,
    pub trace: Trace,
    /// What loose ends hold back, by end.
    pub held: BTreeMap<u32, Vec<Held>>,
    pub objects: Objects,
    pub traps: Vec<(u32, TrapEvent)>,
    pub ends: Vec<End>,
    pub messages: Slab<Message>,
    pub sent: u64,
    tokens: Slab<u64>,
    memories: Slab<Memory>,
    seats: Vec<Seat>,
    pub pool: Vec<Vec<u8>>,
    pub doomed: Vec<Carried>,
    pub faults: Faults,
    pub liars: Liars,
    /// Senders and receivers of refused messages.
    pub refusals: Vec<(u32, u32)>,
    /// By process: boxed objects of its application that it has not got back.
    pub applications: BTreeMap<u32, i64>,
}

impl State {
    pub fn new(config: Config, source: Source) -> State {
        State {
            template: config.template.clone(),
            now: 0,
            queue: Queue::new(&config.order),
            source,
            trace: Trace::new(config.recent),
            held: BTreeMap::new(),
            objects: Objects::default(),
            traps: Vec::new(),
            ends: Vec::new(),
            messages: Slab::new(),
            sent: 0,
            tokens: Slab::new(),
            applications: BTreeMap::new(),
            memories: Slab::new(),
            seats: Vec::new(),
            pool: Vec::new(),
            doomed: Vec::new(),
            faults: Faults::new(&config.faults),
            liars: Liars::new(&config.lies, &config.hostile),
            refusals: Vec::new(),
            config: Arc::new(config),
        }
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    pub fn population(&self) -> Population {
        Population {
            events: self.queue.len(),
            messages: self.messages.len(),
            transports: self.ends.len() / 2,
            memories: self.memories.len(),
            resident_pages: self.memories.iter().map(|(_, m)| m.resident()).sum(),
        }
    }

    pub fn add_seat(&mut self) -> u32 {
        self.seats.push(Seat::default());
        self.seats.len() as u32 - 1
    }

    /// Whether the process was killed.
    pub fn gone(&self, process: u32) -> bool {
        self.seats.get(process as usize).is_none_or(|seat| seat.gone)
    }

    pub fn seat(&mut self, process: u32) -> &mut Seat {
        &mut self.seats[process as usize]
    }

    /// Whether a fault stopped the process in the middle of something.
    pub fn is_dying(&self, process: u32) -> bool {
        self.faults.odd && self.seats.get(process as usize).is_some_and(|seat| seat.odd.dying)
    }

    /// What time a process thinks it is.
    pub fn clock(&self, process: u32) -> u64 {
        if self.faults.odd { self.now + self.seats[process as usize].odd.skew } else { self.now }
    }

    /// Where among the events of one instant one of `actor` stands.
    pub fn tie(&mut self, actor: u32) -> u16 {
        if self.config.chosen_ties { self.source.draw(Site::Tie, actor, LAST_TIE.into()) as u16 } else { 0 }
    }

    pub fn schedule(&mut self, at: u64, actor: u32, token: u64) {
        let slot = self.tokens.insert(token) as u32;
        let label = || Label { channel: Channel::Tokens(actor), from: actor, to: actor, kind: EventKind::Op };
        self.queue.push(at.max(self.now), 0, What::App(slot), label);
    }

    pub fn wake_at(&mut self, process: u32, at: u64) {
        let skew = self.clock(process) - self.now;
        let at = at.saturating_sub(skew).max(self.now);
        let seat = &mut self.seats[process as usize];
        if seat.timer != Some(at) {
            seat.timer = Some(at);
            let tie = self.tie(process);
            let label = || Label { channel: Channel::Timer(process), from: process, to: process, kind: EventKind::Timer };
            self.queue.push(at, tie, What::Timer(process), label);
        }
    }

    // Objects.

    pub fn discard(&mut self, handles: Vec<Carried>) {
        self.doomed.extend(handles);
        self.drain_doomed();
    }

    /// Closes what nobody owns any more; transports inside messages inside transports included.
    pub fn drain_doomed(&mut self) {
        while let Some(carried) = self.doomed.pop() {
            match carried {
                Carried::Transport(end) => self.close_end(end),
                Carried::Memory(index) => self.release_memory(index),
                Carried::Token(_) => {}
            }
        }
    }

    pub fn close(&mut self, process: u32, object: ObjectId) {
        let carried = match self.objects.take(process, object) {
            Some(Holds::Transport(end)) => Carried::Transport(end),
            Some(Holds::Memory(index)) => Carried::Memory(index),
            Some(Holds::Token(value)) => Carried::Token(value),
            Some(Holds::Handle(carried)) => carried,
            None => {
                self.trace.counters().closed_twice += u64::from(!self.gone(process));
                return;
            }
        };
        self.doomed.push(carried);
        self.drain_doomed();
    }

    /// So many objects of a process's application were boxed, or are its own again.
    pub fn application_objects(&mut self, process: u32, more: i64) {
        *self.applications.entry(process).or_default() += more;
    }

    /// Turns an object into a transmissible handle.
    pub fn pack(&mut self, process: u32, object: ObjectId, carried: Carried) -> ObjectId {
        self.objects.take(process, object);
        if let Carried::Transport(end) = carried {
            self.ends[end as usize].holder = NOBODY;
        }
        self.objects.open(process, Holds::Handle(carried))
    }

    /// Rebuilds an object from 8 bytes {kind, size} and the handle that came with them; consumes the handles in any case.
    pub fn unpack(&mut self, process: u32, data: &[u8], handles: &[ObjectId]) -> Result<ObjectId, DriverError> {
        let carried: Vec<_> = handles.iter().filter_map(|h| self.objects.take_handle(process, *h)).collect();
        let word = |at: usize| Some(u32::from_le_bytes(data.get(at..at + 4)?.try_into().ok()?));
        let announced = word(0).zip(word(4));
        let holds = match (carried.as_slice(), handles.len(), announced) {
            ([Carried::Transport(end)], 1, Some((KIND_TRANSPORT, _))) => {
                let end_state = &mut self.ends[*end as usize];
                (end_state.holder, end_state.meant) = (process, process);
                Holds::Transport(*end)
            }
            ([Carried::Memory(index)], 1, Some((KIND_MEMORY, size))) if self.memories[*index as usize].len() == size as usize => {
                // Even if it comes back to its maker.
                self.memories[*index as usize].maker = NOBODY;
                Holds::Memory(*index)
            }
            ([Carried::Token(value)], 1, Some((KIND_TOKEN, size))) if *value as u32 == size => Holds::Token(*value),
            _ => {
                self.discard(carried);
                return Err(DriverError::InvalidArgument);
            }
        };
        Ok(self.objects.open(process, holds))
    }

    // Memory.

    pub fn add_memory(&mut self, len: usize, maker: u32) -> u32 {
        self.memories.insert(Memory::new(len, maker)) as u32
    }

    pub fn memory(&mut self, index: u32) -> &mut Memory {
        &mut self.memories[index as usize]
    }

    fn release_memory(&mut self, index: u32) {
        self.memories[index as usize].owners -= 1;
        self.free_memory(index);
    }

    pub fn map(&mut self, index: u32, process: u32) {
        self.memories[index as usize].mappings.push(process);
    }

    /// Memories that both processes have mapped.
    pub fn shared_memories(&self, a: u32, b: u32) -> Vec<u32> {
        let both = |memory: &Memory| memory.mappings.contains(&a) && memory.mappings.contains(&b);
        self.memories.iter().filter(|(_, memory)| both(memory)).map(|(index, _)| index as u32).collect()
    }

    /// Whether a process has mapped a memory.
    pub fn has_mapped(&self, index: u32, process: u32) -> bool {
        self.memories.get(index as usize).is_some_and(|memory| memory.mappings.contains(&process))
    }

    /// Of each memory that a process has mapped: who has, ascending.
    pub fn mapped_with(&self, process: u32) -> Vec<Vec<u32>> {
        let mapped = self.memories.iter().filter(|(_, memory)| memory.mappings.contains(&process));
        let each = |memory: &Memory| memory.mappings.iter().copied().collect::<BTreeSet<u32>>().into_iter().collect();
        mapped.map(|(_, memory)| each(memory)).collect()
    }

    pub fn unmap(&mut self, index: u32, process: u32) {
        let mappings = &mut self.memories[index as usize].mappings;
        if let Some(at) = mappings.iter().position(|mapper| *mapper == process) {
            mappings.swap_remove(at);
        }
        self.free_memory(index);
    }

    fn free_memory(&mut self, index: u32) {
        let memory = &self.memories[index as usize];
        if memory.owners == 0 && memory.mappings.is_empty() {
            self.memories.remove(index as usize);
        }
    }

    /// Forgets all mappings: those of a copied world are made anew.
    pub fn unmap_all(&mut self) {
        for (_, memory) in &mut self.memories {
            memory.mappings.clear();
        }
    }

    /// Frees memory that the copied world did not map again.
    pub fn free_unmapped(&mut self) {
        self.memories.retain(|_, memory| memory.owners > 0 || !memory.mappings.is_empty());
    }

    pub fn store(&mut self, index: u32, at: usize, width: Width, value: u64) {
        self.trace.record(Kind::Store, index, (width.bytes() as u64) << 48 | at as u64, value);
        self.memories[index as usize].store(at, width, value, self.template.as_ref());
    }

    pub fn update(&mut self, index: u32, at: usize, width: Width, op: Rmw) -> Result<u64, u64> {
        let (old, new) = self.memories[index as usize].update(at, width, op, self.template.as_ref())?;
        self.trace.record(Kind::Store, index, (width.bytes() as u64) << 48 | at as u64, new);
        Ok(old)
    }

    pub fn write(&mut self, index: u32, at: usize, data: &[u8]) {
        self.trace.record(Kind::Write, index, at as u64, data.len() as u64);
        self.trace.fold(data);
        self.memories[index as usize].write(at, data, self.template.as_ref());
    }

    // Faults.

    /// The process is gone, with everything it owned.
    pub fn kill(&mut self, process: u32) {
        self.trace.record(Kind::Fault, process, self.now, u64::MAX);
        self.seats[process as usize].gone = true;
        for object in self.objects.of(process) {
            self.close(process, object);
        }
    }

    // Events.

    /// Takes the next event: what happened, and what is to be called for it.
    pub fn next(&mut self) -> Option<(Step, Option<Call>)> {
        let what = match self.faults.resumed.pop_front() {
            Some(what) => what,
            None => {
                let entry = self.queue.pop(self.now, &mut self.source)?;
                self.now = self.now.max(entry.time);
                entry.what
            }
        };
        let (event, call) = if (self.faults.armed() || self.faults.odd) && self.defers(self.notified(what), what) {
            self.trace.counters().events += 1;
            (Event::Nothing, None)
        } else {
            self.happen(what)
        };
        Some((Step { time: self.now, event }, call))
    }

    /// Whether anything waits to happen.
    pub fn has_events(&self) -> bool {
        self.queue.len() > 0 || !self.faults.resumed.is_empty()
    }

    /// Takes everything that waits to happen, in order of its time.
    pub fn take_events(&mut self, out: &mut Vec<Next>) {
        let State { now, queue, source, faults, .. } = self;
        out.extend(faults.resumed.drain(..).map(|what| Next { time: *now, what }));
        while let Some(entry) = queue.pop(*now, source) {
            out.push(entry);
        }
    }

    /// Notes an operation of the activity `chain` that is about to be carried out.
    #[inline]
    pub fn operation(&mut self, chain: u32, stop: Stop) {
        match stop {
            Stop::Access(Access { kind, memory, at, bytes }) => {
                self.trace.record(
                    Kind::Operation,
                    chain,
                    u64::from(kind.number()) << 32 | u64::from(memory),
                    (bytes as u64) << 32 | at as u64,
                );
            }
            Stop::Turn(point) => self.trace.record(Kind::Operation, chain, (0x100 | point as u64) << 32, 0),
        }
    }

    /// Accesses a word for an activity of a process; none if it does that itself: if it is about more than a word, or faults have a say.
    #[inline]
    pub fn carry_out(&mut self, process: u32, access: Access) -> Option<Result<u64, u64>> {
        let Access { kind, memory, at, .. } = access;
        match kind {
            How::Load | How::Poll => Some(Ok(self.load(access))),
            _ if self.is_dying(process) => None,
            How::Store(value) => {
                self.store(memory, at, access.width(), value);
                Some(Ok(value))
            }
            How::Add(by) => Some(self.update(memory, at, access.width(), Rmw::Add(by))),
            How::Exchange { .. } if self.faults.armed() => None,
            How::Exchange { expected, new } => Some(self.update(memory, at, access.width(), Rmw::CompareExchange { expected, new })),
            How::Read | How::Write | How::Fence => None,
        }
    }

    /// The word that an access is about.
    pub fn load(&self, access: Access) -> u64 {
        self.memories[access.memory as usize].load(access.at, access.width())
    }

    /// Which transport end an event is about.
    pub fn end_of(&self, what: What) -> Option<u32> {
        match what {
            What::Deliver(slot) => Some(self.messages[slot as usize].to()),
            What::Waiting(end) | What::Error(end) | What::Deactivated(end) | What::Release(end) => Some(end),
            What::Timer(_) | What::App(_) | What::Resume(_) => None,
        }
    }

    /// Lets something happen now.
    pub fn happen(&mut self, what: What) -> (Event, Option<Call>) {
        self.trace.counters().events += 1;
        match what {
            What::Deliver(slot) => self.pop_message(slot),
            What::Waiting(end) => self.pop_waiting(end),
            What::Error(end) => self.pop_error(end),
            What::Deactivated(end) => self.pop_deactivated(end),
            What::Release(end) => {
                self.release_due(end);
                (Event::Nothing, None)
            }
            What::Timer(process) => {
                let seat = &mut self.seats[process as usize];
                seat.timer = seat.timer.filter(|at| *at > self.now);
                if seat.gone {
                    (Event::Nothing, None)
                } else {
                    self.trace.record(Kind::Timer, process, self.now, 0);
                    (Event::Timer { process }, Some(Call::Timer { process }))
                }
            }
            What::Resume(process) => {
                self.resume(process);
                (Event::Nothing, None)
            }
            What::App(slot) => {
                let token = self.tokens.remove(slot as usize);
                self.trace.record(Kind::App, 0, self.now, token);
                (Event::App { token }, None)
            }
        }
    }

    /// The process that an event would notify; nobody if none.
    pub fn notified(&self, what: What) -> u32 {
        match what {
            What::Deliver(slot) => self.ends[self.messages[slot as usize].to() as usize].holder,
            What::Waiting(end) | What::Error(end) | What::Deactivated(end) => self.ends[end as usize].holder,
            What::Timer(process) => process,
            What::App(_) | What::Release(_) | What::Resume(_) => NOBODY,
        }
    }
}

/// Above every tie that is drawn.
pub(crate) const LAST_TIE: u16 = 256;

/// Kinds of object in messages (driver.md 8.4).
pub(crate) const KIND_TRANSPORT: u32 = 0;
pub(crate) const KIND_MEMORY: u32 = 1;
pub(crate) const KIND_TOKEN: u32 = 3;
