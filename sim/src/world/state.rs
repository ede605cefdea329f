//! All that changes in a world, and the rules of its transports (driver.md 3.5 to 3.7, 5).

use std::collections::VecDeque;
use std::sync::Arc;

use ipcz::driver::{DriverError, Frame};
use ipcz::ids::ObjectId;
use ipcz::mapping::{Rmw, Width};
use ipcz::trap::TrapEvent;
use slab::Slab;

use super::config::{Config, LinkProfile};
use super::objects::{Carried, Holds, NOBODY, Objects};
use super::pages::{Memory, Template};
use super::queue::{Queue, What};
use super::{Event, Step};
use crate::choice::{Choices, Site, Source};
use crate::trace::{Kind, Trace};

/// Life of a transport end (driver.md 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Idle,
    Active,
    Stopping,
    Inactive,
}

/// One end of a transport; the other is `index ^ 1`.
#[derive(Clone, Debug)]
struct End {
    holder: u32,
    profile: LinkProfile,
    phase: Phase,
    key: u64,
    /// Time and tie of the latest arrival scheduled here: later ones must not overtake it.
    last: (u64, u16),
    /// Messages that arrived before activation.
    waiting: VecDeque<u32>,
    /// What is transmitted here goes nowhere.
    mute: bool,
    /// An error is under way to this end or was delivered.
    told: bool,
    /// The error arrived before activation.
    error_waits: bool,
    /// No message is delivered any more: one was refused, or the error was delivered.
    deaf: bool,
    failed: bool,
    closed: bool,
}

#[derive(Clone, Debug)]
struct Message {
    to: u32,
    from: u32,
    number: u64,
    bytes: Vec<u8>,
    handles: Vec<Carried>,
    /// Waits at an end not yet activated.
    arrived: bool,
    lost: bool,
}

#[derive(Clone, Default, Debug)]
struct Seat {
    gone: bool,
    timer: Option<u64>,
}

/// What the world must call, with the state unlocked.
pub(crate) enum Call {
    Message { process: u32, end: u32, key: u64, bytes: Vec<u8>, handles: Vec<ObjectId> },
    Error { process: u32, key: u64 },
    Deactivated { process: u32, key: u64 },
    Timer { process: u32 },
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
    config: Arc<Config>,
    template: Option<Arc<Template>>,
    pub now: u64,
    pub queue: Queue,
    pub source: Source,
    pub trace: Trace,
    pub objects: Objects,
    pub traps: Vec<(u32, TrapEvent)>,
    ends: Vec<End>,
    messages: Slab<Message>,
    sent: u64,
    tokens: Slab<u64>,
    memories: Slab<Memory>,
    seats: Vec<Seat>,
    pool: Vec<Vec<u8>>,
    doomed: Vec<Carried>,
}

/// Buffers kept for later messages, and the largest kept.
const POOL: (usize, usize) = (64, 64 << 10);

impl State {
    pub fn new(config: Config, source: Source) -> State {
        State {
            template: config.template.as_deref().map(|bytes| Arc::new(Template::new(bytes))),
            now: 0,
            queue: Queue::default(),
            source,
            trace: Trace::new(config.recent),
            objects: Objects::default(),
            traps: Vec::new(),
            ends: Vec::new(),
            messages: Slab::new(),
            sent: 0,
            tokens: Slab::new(),
            memories: Slab::new(),
            seats: Vec::new(),
            pool: Vec::new(),
            doomed: Vec::new(),
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

    fn tie(&mut self, actor: u32) -> u16 {
        if self.config.chosen_ties { self.source.draw(Site::Tie, actor, LAST_TIE.into()) as u16 } else { 0 }
    }

    pub fn schedule(&mut self, at: u64, token: u64) {
        let slot = self.tokens.insert(token) as u32;
        self.queue.push(at.max(self.now), 0, What::App(slot));
    }

    pub fn wake_at(&mut self, process: u32, at: u64) {
        let at = at.max(self.now);
        let seat = &mut self.seats[process as usize];
        if seat.timer != Some(at) {
            seat.timer = Some(at);
            let tie = self.tie(process);
            self.queue.push(at, tie, What::Timer(process));
        }
    }

    // Transports.

    pub fn transport_pair(&mut self, holders: [u32; 2], profile: LinkProfile) -> [u32; 2] {
        let first = self.ends.len() as u32;
        self.ends.extend(holders.map(|holder| End {
            holder,
            profile,
            phase: Phase::Idle,
            key: 0,
            last: (0, 0),
            waiting: VecDeque::new(),
            mute: false,
            told: false,
            error_waits: false,
            deaf: false,
            failed: false,
            closed: false,
        }));
        [first, first + 1]
    }

    /// The process at the far end.
    pub fn far_holder(&self, end: u32) -> u32 {
        self.ends[end as usize ^ 1].holder
    }

    pub fn profile(&self, end: u32) -> LinkProfile {
        self.ends[end as usize].profile
    }

    pub fn is_idle(&self, end: u32) -> bool {
        self.ends[end as usize].phase == Phase::Idle
    }

    /// Schedules an arrival at `end` behind all earlier ones.
    fn arrive(&mut self, end: u32, what: What) {
        let (profile, holder) = (self.ends[end as usize].profile, self.ends[end as usize].holder);
        let mut time = self.now.saturating_add(profile.latency_ns);
        if profile.jitter_ns > 0 {
            time = time.saturating_add(self.source.draw(Site::Latency, end, profile.jitter_ns.saturating_add(1)).into());
        }
        let tie = self.tie(holder);
        let last = &mut self.ends[end as usize].last;
        *last = if time > last.0 { (time, tie) } else { (last.0, last.1.max(tie)) };
        let (time, tie) = *last;
        self.queue.push(time, tie, what);
    }

    pub fn transmit(&mut self, process: u32, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        let end = self.objects.transport(process, transport);
        let mut result = end.map(|_| ()).ok_or(DriverError::InvalidArgument);
        for frame in frames {
            let mut handles = Vec::new();
            for handle in frame.handles {
                match self.objects.take_handle(process, *handle) {
                    Some(carried) => handles.push(carried),
                    None => result = Err(DriverError::InvalidArgument),
                }
            }
            match (end, result) {
                (Some(end), Ok(())) => self.send(process, end, frame.data, handles),
                _ => self.discard(handles),
            }
        }
        result
    }

    fn send(&mut self, process: u32, end: u32, data: &[u8], handles: Vec<Carried>) {
        let peer = end ^ 1;
        let to = self.ends[peer as usize].holder;
        let nth = self.trace.transmit(self.now, process, to, end, data, handles.len());
        let dropped = self.config.drops.iter().any(|rule| rule.nth == nth && data.get(2) == Some(&rule.message));
        if dropped || self.ends[end as usize].mute {
            self.trace.record(Kind::Lose, end, self.now, dropped.into());
            self.trace.counters().lost += 1;
            return self.discard(handles);
        }
        let mut bytes = self.pool.pop().unwrap_or_default();
        bytes.extend_from_slice(data);
        let number = self.sent;
        self.sent += 1;
        let slot = self.messages.insert(Message { to: peer, from: process, number, bytes, handles, arrived: false, lost: false });
        self.arrive(peer, What::Deliver(slot as u32));
    }

    pub fn activate(&mut self, process: u32, transport: ObjectId, key: u64) -> Result<(), DriverError> {
        let index = self.objects.transport(process, transport).ok_or(DriverError::InvalidArgument)?;
        let end = &mut self.ends[index as usize];
        if end.phase != Phase::Idle {
            return Err(DriverError::InvalidArgument);
        }
        (end.phase, end.key) = (Phase::Active, key);
        let error_waits = std::mem::take(&mut end.error_waits);
        for _ in 0..end.waiting.len() {
            let tie = self.tie(process);
            self.queue.push(self.now, tie, What::Waiting(index));
        }
        if error_waits {
            self.push_last(What::Error(index));
        }
        Ok(())
    }

    /// An event now, behind those of this instant that are known.
    fn push_last(&mut self, what: What) {
        self.queue.push(self.now, if self.config.chosen_ties { LAST_TIE } else { 0 }, what);
    }

    pub fn deactivate(&mut self, process: u32, transport: ObjectId) {
        if let Some(end) = self.objects.transport(process, transport) {
            self.stop(end);
            self.drain_doomed();
        }
    }

    /// Ends delivery at an active end and tells both sides.
    fn stop(&mut self, index: u32) {
        let end = &mut self.ends[index as usize];
        if end.phase != Phase::Active {
            return;
        }
        end.phase = Phase::Stopping;
        let (holder, waiting) = (end.holder, std::mem::take(&mut end.waiting));
        for slot in waiting {
            self.lose(slot);
        }
        let tie = self.tie(holder);
        self.queue.push(self.now, tie, What::Deactivated(index));
        self.hang_up(index);
    }

    /// Nothing goes between the ends any more; the other one learns it.
    fn hang_up(&mut self, index: u32) {
        for end in [index, index ^ 1] {
            self.ends[end as usize].mute = true;
        }
        self.tell(index ^ 1);
    }

    fn tell(&mut self, index: u32) {
        let end = &mut self.ends[index as usize];
        if !end.told && !end.closed {
            end.told = true;
            self.arrive(index, What::Error(index));
        }
    }

    fn close_end(&mut self, index: u32) {
        self.stop(index);
        let end = &mut self.ends[index as usize];
        end.closed = true;
        for slot in std::mem::take(&mut end.waiting) {
            self.lose(slot);
        }
        self.hang_up(index);
    }

    /// The process refused a message.
    pub fn refused(&mut self, index: u32) {
        self.trace.counters().refused += 1;
        self.trace.record(Kind::Refuse, index, self.now, 0);
        let end = &mut self.ends[index as usize];
        if end.phase == Phase::Active && !end.deaf {
            (end.deaf, end.told) = (true, true);
            self.push_last(What::Error(index));
        }
    }

    /// A message that never arrives.
    fn lose(&mut self, slot: u32) {
        let message = self.messages.remove(slot as usize);
        self.trace.record(Kind::Lose, message.to, self.now, message.number);
        self.trace.counters().lost += 1;
        self.doomed.extend(message.handles);
        self.recycle(message.bytes);
    }

    pub fn recycle(&mut self, mut bytes: Vec<u8>) {
        if self.pool.len() < POOL.0 && bytes.capacity() <= POOL.1 {
            bytes.clear();
            self.pool.push(bytes);
        }
    }

    fn discard(&mut self, handles: Vec<Carried>) {
        self.doomed.extend(handles);
        self.drain_doomed();
    }

    /// Closes what nobody owns any more; transports inside messages inside transports included.
    fn drain_doomed(&mut self) {
        while let Some(carried) = self.doomed.pop() {
            match carried {
                Carried::Transport(end) => self.close_end(end),
                Carried::Memory(index) => self.release_memory(index),
            }
        }
    }

    // Objects.

    pub fn close(&mut self, process: u32, object: ObjectId) {
        let carried = match self.objects.take(process, object) {
            Some(Holds::Transport(end)) => Carried::Transport(end),
            Some(Holds::Memory(index)) => Carried::Memory(index),
            Some(Holds::Handle(carried)) => carried,
            None => return,
        };
        self.doomed.push(carried);
        self.drain_doomed();
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
                self.ends[*end as usize].holder = process;
                Holds::Transport(*end)
            }
            ([Carried::Memory(index)], 1, Some((KIND_MEMORY, size))) if self.memories[*index as usize].len() == size as usize => {
                Holds::Memory(*index)
            }
            _ => {
                self.discard(carried);
                return Err(DriverError::InvalidArgument);
            }
        };
        Ok(self.objects.open(process, holds))
    }

    // Memory.

    pub fn add_memory(&mut self, len: usize) -> u32 {
        self.memories.insert(Memory::new(len)) as u32
    }

    pub fn memory(&mut self, index: u32) -> &mut Memory {
        &mut self.memories[index as usize]
    }

    fn release_memory(&mut self, index: u32) {
        self.memories[index as usize].owners -= 1;
        self.free_memory(index);
    }

    pub fn map(&mut self, index: u32) {
        self.memories[index as usize].mappings += 1;
    }

    pub fn unmap(&mut self, index: u32) {
        self.memories[index as usize].mappings -= 1;
        self.free_memory(index);
    }

    fn free_memory(&mut self, index: u32) {
        let memory = &self.memories[index as usize];
        if memory.owners == 0 && memory.mappings == 0 {
            self.memories.remove(index as usize);
        }
    }

    /// Forgets all mappings: those of a copied world are made anew.
    pub fn unmap_all(&mut self) {
        for (_, memory) in &mut self.memories {
            memory.mappings = 0;
        }
    }

    /// Frees memory that the copied world did not map again.
    pub fn free_unmapped(&mut self) {
        self.memories.retain(|_, memory| memory.owners > 0 || memory.mappings > 0);
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

    /// Severs every transport between two processes.
    pub fn cut_link(&mut self, a: u32, b: u32) {
        self.trace.record(Kind::Fault, a, self.now, b.into());
        for first in (0..self.ends.len() as u32).step_by(2) {
            let holders = (self.ends[first as usize].holder, self.ends[first as usize + 1].holder);
            if holders == (a, b) || holders == (b, a) {
                for end in [first, first + 1] {
                    self.lose_tail(end);
                    self.ends[end as usize].mute = true;
                }
                self.tell(first);
                self.tell(first + 1);
            }
        }
        self.drain_doomed();
    }

    /// Loses the last of the messages under way to `end`; how many is a choice.
    fn lose_tail(&mut self, end: u32) {
        let mut under_way: Vec<_> =
            self.messages.iter().filter(|(_, m)| m.to == end && !m.arrived && !m.lost).map(|(slot, m)| (m.number, slot)).collect();
        under_way.sort_unstable();
        let lost = self.source.choose(Site::Cut, end, under_way.len() as u32 + 1, None) as usize;
        for &(_, slot) in under_way.iter().rev().take(lost) {
            let message = &mut self.messages[slot];
            message.lost = true;
            self.doomed.append(&mut message.handles);
        }
    }

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
        let entry = self.queue.pop()?;
        self.now = entry.time;
        self.trace.counters().events += 1;
        let (event, call) = match entry.what {
            What::Deliver(slot) => self.pop_message(slot),
            What::Waiting(end) => match self.ends[end as usize].waiting.pop_front() {
                Some(slot) => self.hand_over(end, slot),
                None => (Event::Nothing, None),
            },
            What::Error(end) => self.pop_error(end),
            What::Deactivated(index) => {
                let end = &mut self.ends[index as usize];
                end.phase = Phase::Inactive;
                let (process, key) = (end.holder, end.key);
                self.trace.record(Kind::Deactivated, index, self.now, key);
                if self.gone(process) {
                    (Event::Nothing, None)
                } else {
                    (Event::Deactivated { process, transport: index / 2 }, Some(Call::Deactivated { process, key }))
                }
            }
            What::Timer(process) => {
                let seat = &mut self.seats[process as usize];
                seat.timer = seat.timer.filter(|at| *at != entry.time);
                if seat.gone {
                    (Event::Nothing, None)
                } else {
                    self.trace.record(Kind::Timer, process, entry.time, 0);
                    (Event::Timer { process }, Some(Call::Timer { process }))
                }
            }
            What::App(slot) => {
                let token = self.tokens.remove(slot as usize);
                self.trace.record(Kind::App, 0, entry.time, token);
                (Event::App { token }, None)
            }
        };
        Some((Step { time: entry.time, event }, call))
    }

    fn pop_message(&mut self, slot: u32) -> (Event, Option<Call>) {
        let message = &mut self.messages[slot as usize];
        let index = message.to;
        let end = &mut self.ends[index as usize];
        if message.lost || end.closed || end.deaf || matches!(end.phase, Phase::Stopping | Phase::Inactive) {
            self.lose(slot);
            self.drain_doomed();
            return (Event::Lost { transport: index / 2 }, None);
        }
        if end.phase == Phase::Idle {
            message.arrived = true;
            self.trace.record(Kind::Hold, index, self.now, message.number);
            end.waiting.push_back(slot);
            return (Event::Held { transport: index / 2 }, None);
        }
        if end.waiting.is_empty() {
            return self.hand_over(index, slot);
        }
        end.waiting.push_back(slot);
        match end.waiting.pop_front() {
            Some(oldest) => self.hand_over(index, oldest),
            None => (Event::Nothing, None),
        }
    }

    fn hand_over(&mut self, index: u32, slot: u32) -> (Event, Option<Call>) {
        let end = &self.ends[index as usize];
        if end.deaf {
            self.lose(slot);
            self.drain_doomed();
            return (Event::Lost { transport: index / 2 }, None);
        }
        let (process, key) = (end.holder, end.key);
        let message = self.messages.remove(slot as usize);
        self.trace.deliver(self.now, message.from, process, index, message.number, &message.bytes);
        let handles = message.handles.iter().map(|c| self.objects.open(process, Holds::Handle(*c))).collect();
        let call = Call::Message { process, end: index, key, bytes: message.bytes, handles };
        (Event::Delivered { process, transport: index / 2 }, Some(call))
    }

    fn pop_error(&mut self, index: u32) -> (Event, Option<Call>) {
        let end = &mut self.ends[index as usize];
        if end.failed || end.closed {
            return (Event::Nothing, None);
        }
        match end.phase {
            Phase::Stopping | Phase::Inactive => return (Event::Nothing, None),
            Phase::Idle => {
                end.error_waits = true;
                return (Event::Nothing, None);
            }
            Phase::Active if !end.deaf && !end.waiting.is_empty() => {
                self.push_last(What::Error(index));
                return (Event::Nothing, None);
            }
            Phase::Active => (),
        }
        (end.failed, end.deaf, end.mute) = (true, true, true);
        let (process, key) = (end.holder, end.key);
        self.trace.record(Kind::Error, index, self.now, key);
        (Event::Error { process, transport: index / 2 }, Some(Call::Error { process, key }))
    }
}

/// Above every tie that is drawn.
const LAST_TIE: u16 = 256;

/// Kinds of object in messages (driver.md 8.4).
pub(crate) const KIND_TRANSPORT: u32 = 0;
pub(crate) const KIND_MEMORY: u32 = 1;
