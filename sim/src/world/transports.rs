//! The rules of transports (driver.md 3.5 to 3.7, 5): messages of one transport keep their order, an error comes behind
//! them, deactivation last.

use std::collections::VecDeque;

use ipcz::driver::{DriverError, Frame};
use ipcz::ids::ObjectId;

use super::Event;
use super::config::LinkProfile;
use super::fault::Trouble;
use super::objects::{Carried, Holds};
use super::order::{Channel, Label, What};
use super::state::{Call, LAST_TIE, State};
use crate::choice::{Choices, Site};
use crate::events::EventKind;
use crate::fault::Fault;
use crate::hostile::Fate;
use crate::leaks::{self, Leak};
use crate::trace::Kind;

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
pub(crate) struct End {
    /// Who holds it; nobody while it is inside a message.
    pub holder: u32,
    /// Who holds it or is to hold it: events here are named after that process.
    pub meant: u32,
    profile: LinkProfile,
    phase: Phase,
    key: u64,
    /// Time and tie of the latest arrival scheduled here: later ones must not overtake it.
    last: (u64, u16),
    /// Messages that arrived before activation.
    waiting: VecDeque<u32>,
    /// What is transmitted here goes nowhere, and the peer has been told.
    mute: bool,
    /// The error arrived before activation.
    error_waits: bool,
    /// No message is delivered any more: one was refused, or the error was delivered.
    deaf: bool,
    failed: bool,
    closed: bool,
    pub trouble: Trouble,
}

/// A message between its transmission and its delivery.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    to: u32,
    from: u32,
    number: u64,
    bytes: Vec<u8>,
    handles: Vec<Carried>,
    /// How much later than usual it arrives.
    late: u64,
    /// Waits at an end not yet activated.
    arrived: bool,
    lost: bool,
}

impl Message {
    /// The end it goes to.
    pub fn to(&self) -> u32 {
        self.to
    }
}

const ACCEPT_BYPASS_LINK: u8 = 31;

/// Buffers kept for later messages, and the largest kept.
const POOL: (usize, usize) = (64, 64 << 10);

/// Names what happens at an end.
fn label(ends: &[End], end: u32, kind: EventKind) -> Label {
    let [from, to] = [end ^ 1, end].map(|end| ends[end as usize].meant);
    Label { channel: Channel::End(end), from, to, kind }
}

impl State {
    pub fn transport_pair(&mut self, holders: [u32; 2], mut profile: LinkProfile) -> [u32; 2] {
        profile.latency_ns += leaks::slip(Leak::CurrentDir);
        let first = self.ends.len() as u32;
        self.ends.extend(holders.map(|holder| End {
            holder,
            meant: holder,
            profile,
            phase: Phase::Idle,
            key: 0,
            last: (0, 0),
            waiting: VecDeque::new(),
            mute: false,
            error_waits: false,
            deaf: false,
            failed: false,
            closed: false,
            trouble: Trouble::default(),
        }));
        [first, first + 1]
    }

    /// The process at the far end.
    pub fn far_holder(&self, end: u32) -> u32 {
        self.ends[end as usize ^ 1].holder
    }

    /// The process that shares a transport pair with `process` now.
    pub fn partner(&self, pair: u32, process: u32) -> u32 {
        let [first, second] = [0, 1].map(|end| self.ends[pair as usize * 2 + end].holder);
        if first == process { second } else { first }
    }

    pub fn profile(&self, end: u32) -> LinkProfile {
        self.ends[end as usize].profile
    }

    pub fn is_idle(&self, end: u32) -> bool {
        self.ends[end as usize].phase == Phase::Idle
    }

    /// Schedules an arrival at `end` behind all earlier ones, `late` later than it would be.
    fn arrive(&mut self, end: u32, what: What, kind: EventKind, late: u64) {
        if self.queue.is_scheduled() {
            self.queue.push(self.now, 0, what, || label(&self.ends, end, kind));
            if late > 0 || self.is_silent(end) {
                let events = self.hindrance(Fault::Delay, self.ends[end as usize].meant);
                self.queue.hold_back(Channel::End(end), events);
            }
            return;
        }
        let (profile, holder) = (self.ends[end as usize].profile, self.ends[end as usize].holder);
        let mut time = self.now.saturating_add(profile.latency_ns).saturating_add(late).saturating_add(leaks::slip(Leak::WallClock));
        if profile.jitter_ns > 0 {
            time = time.saturating_add(self.source.draw(Site::Latency, end, profile.jitter_ns.saturating_add(1)).into());
        }
        let time = self.after_burst(end, time);
        let tie = self.tie(holder);
        let last = &mut self.ends[end as usize].last;
        *last = if time > last.0 { (time, tie) } else { (last.0, last.1.max(tie)) };
        let (time, tie) = *last;
        self.queue.push(time, tie, what, || label(&self.ends, end, kind));
    }

    pub fn transmit(&mut self, process: u32, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        let end = self.objects.transport(process, transport);
        let mut result = end.map(|_| ()).ok_or(DriverError::InvalidArgument);
        let odd = self.faults.armed() || self.faults.odd;
        for frame in frames {
            let mut handles = Vec::new();
            for handle in frame.handles {
                match self.objects.take_handle(process, *handle) {
                    Some(carried) => handles.push(carried),
                    None => result = Err(DriverError::InvalidArgument),
                }
            }
            match (end, result) {
                (Some(end), Ok(())) if odd => result = self.send_oddly(process, end, frame.data, handles),
                (Some(end), Ok(())) => self.send(process, end, frame.data, handles),
                _ => self.discard(handles),
            }
        }
        result
    }

    /// As [`State::send`], where faults may strike.
    fn send_oddly(&mut self, process: u32, end: u32, data: &[u8], handles: Vec<Carried>) -> Result<(), DriverError> {
        if !self.is_dying(process) && self.strikes(Fault::CrashBeforeSend, process) {
            self.crash(process);
        }
        if self.is_dying(process) {
            self.discard(handles);
            return Ok(());
        }
        // A route that this very message would bring here is not known to be at stake yet: it is not the one refused.
        if data.get(2) != Some(&ACCEPT_BYPASS_LINK) && std::mem::take(&mut self.ends[end as usize].trouble.refuse) {
            self.discard(handles);
            return Err(DriverError::Disconnected);
        }
        self.send(process, end, data, handles);
        self.pay(end);
        if self.strikes(Fault::CrashAfterSend, process) {
            self.crash(process);
        }
        Ok(())
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
        let hostile = self.liars.has(process);
        if hostile && self.says(process, end, &mut bytes, &handles) == Fate::Withheld {
            self.recycle(bytes);
            return self.discard(handles);
        }
        let late = if self.faults.armed() { self.trouble(process, to, end, &mut bytes, handles.len()) } else { 0 };
        self.dispatch(process, end, bytes, handles, late);
        if hostile {
            self.lie(process, end);
        }
    }

    /// A message of a process goes on its way to the other side of `end`.
    pub fn dispatch(&mut self, from: u32, end: u32, bytes: Vec<u8>, handles: Vec<Carried>, late: u64) {
        let number = self.sent + leaks::slip(Leak::StaticCounter);
        self.sent += 1;
        let slot = self.messages.insert(Message { to: end ^ 1, from, number, bytes, handles, late, arrived: false, lost: false });
        if let Some(looseness) = self.config.loose.get(&from).copied() {
            return self.send_loosely(end, slot as u32, looseness);
        }
        self.depart(slot as u32);
    }

    /// Sends bytes of a process over one of its ends that it did not transmit there, or not again.
    pub fn repeat(&mut self, process: u32, end: u32, bytes: &[u8], late: u64) {
        if !self.ends[end as usize].mute {
            self.dispatch(process, end, bytes.to_vec(), Vec::new(), late);
        }
    }

    /// Whether both ends of a transport are active and nothing has happened to it.
    pub fn is_live(&self, end: u32) -> bool {
        [end, end ^ 1].iter().all(|end| {
            let end = &self.ends[*end as usize];
            end.phase == Phase::Active && !end.mute && !end.deaf
        })
    }

    /// A message goes on its way.
    pub fn depart(&mut self, slot: u32) {
        let message = &self.messages[slot as usize];
        let (id, late) = (message.bytes.get(2).copied().unwrap_or_default(), message.late);
        self.arrive(message.to, What::Deliver(slot), EventKind::Message(id), late);
    }

    /// Whether faults make a message late; where virtual time says nothing about order it is then held back.
    pub fn is_late(&self, what: What) -> bool {
        match what {
            What::Deliver(slot) => {
                let message = &self.messages[slot as usize];
                message.late > 0 || self.is_silent(message.to)
            }
            _ => false,
        }
    }

    /// The bytes of a message under way.
    pub fn bytes_of(&self, slot: u32) -> &[u8] {
        &self.messages[slot as usize].bytes
    }

    /// An event at a loose end, some time after now.
    pub fn push_release(&mut self, end: u32, latencies: u64) {
        let time = self.now.saturating_add(self.ends[end as usize].profile.latency_ns.saturating_mul(latencies).max(1));
        let name = || Label { channel: Channel::Held(end), ..label(&self.ends, end ^ 1, EventKind::Release) };
        self.queue.push(time, 0, What::Release(end), name);
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
            self.queue.push(self.now, tie, What::Waiting(index), || label(&self.ends, index, EventKind::Waiting));
        }
        if error_waits {
            self.push_error(index);
        }
        Ok(())
    }

    /// An error now, behind all of this instant that is known.
    fn push_error(&mut self, index: u32) {
        let tie = if self.config.chosen_ties { LAST_TIE } else { 0 };
        self.queue.push(self.now, tie, What::Error(index), || label(&self.ends, index, EventKind::Error));
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
        self.queue.push(self.now, tie, What::Deactivated(index), || label(&self.ends, index, EventKind::Deactivated));
        self.hang_up(index);
    }

    /// This end says nothing more; the other one learns it.
    fn hang_up(&mut self, index: u32) {
        if !self.ends[index as usize].mute {
            self.release_all(index);
            self.ends[index as usize].mute = true;
            self.tell(index ^ 1);
        }
    }

    fn tell(&mut self, index: u32) {
        let end = &self.ends[index as usize];
        if !end.closed && matches!(end.phase, Phase::Idle | Phase::Active) {
            self.arrive(index, What::Error(index), EventKind::Error, 0);
        }
    }

    pub fn close_end(&mut self, index: u32) {
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
        self.refusals.push((self.far_holder(index), self.ends[index as usize].holder));
        let end = &mut self.ends[index as usize];
        if end.phase == Phase::Active && !end.deaf {
            end.deaf = true;
            self.push_error(index);
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

    /// Severs every transport between two processes.
    pub fn cut_link(&mut self, a: u32, b: u32) {
        self.trace.record(Kind::Fault, a, self.now, b.into());
        for first in self.between(a, b) {
            self.silence(first);
            self.tell(first);
            self.tell(first + 1);
        }
    }

    /// The first ends of all transports between two processes.
    fn between(&self, a: u32, b: u32) -> Vec<u32> {
        let holders = |first: u32| [0, 1].map(|end| self.ends[(first + end) as usize].holder);
        (0..self.ends.len() as u32).step_by(2).filter(|first| holders(*first) == [a, b] || holders(*first) == [b, a]).collect()
    }

    /// Nothing more is said over a transport, and what was said last is lost.
    fn silence(&mut self, first: u32) {
        self.release_all(first);
        self.release_all(first + 1);
        for end in [first, first + 1] {
            self.lose_tail(end);
            self.ends[end as usize].mute = true;
        }
    }

    /// Severs every transport between two processes; only one of them is told now.
    pub fn half_open(&mut self, told: u32, other: u32) {
        self.trace.record(Kind::Fault, told, self.now, 1 << 33 | u64::from(other));
        for first in self.between(told, other) {
            self.silence(first);
            for end in [first, first + 1] {
                if self.ends[end as usize].holder == told {
                    self.tell(end);
                } else {
                    self.ends[end as usize].trouble.owed = true;
                }
            }
        }
    }

    /// Tells an end of its broken transport, if it was not told yet.
    pub fn pay(&mut self, end: u32) {
        if std::mem::take(&mut self.ends[end as usize].trouble.owed) {
            self.tell(end);
        }
    }

    /// Lets every transport between two processes refuse the next message of the first.
    pub fn refuse_next(&mut self, from: u32, to: u32) {
        for first in self.between(from, to) {
            for end in [first, first + 1] {
                let end = &mut self.ends[end as usize];
                end.trouble.refuse = end.holder == from;
            }
        }
    }

    /// Loses the last of the messages under way to `end`; how many is a choice.
    fn lose_tail(&mut self, end: u32) {
        let mut under_way: Vec<_> =
            self.messages.iter().filter(|(_, m)| m.to == end && !m.arrived && !m.lost).map(|(slot, m)| (m.number, slot)).collect();
        under_way.sort_unstable();
        let lost = self.source.choose(Site::Cut, end, under_way.len() as u32 + 1, None) as usize;
        for &(_, slot) in under_way.iter().rev().take(lost) {
            self.messages[slot].lost = true;
        }
    }

    pub fn pop_message(&mut self, slot: u32) -> (Event, Option<Call>) {
        let message = &mut self.messages[slot as usize];
        let index = message.to;
        let end = &mut self.ends[index as usize];
        if message.lost || end.closed || matches!(end.phase, Phase::Stopping | Phase::Inactive) {
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
        self.pop_waiting(index)
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
        if self.liars.has(process) {
            self.hears(process, index, &message.bytes, &message.handles);
            self.lie(process, index);
        }
        let handles = message.handles.iter().map(|c| self.objects.open(process, Holds::Handle(*c))).collect();
        let call = Call::Message { process, end: index, key, bytes: message.bytes, handles };
        (Event::Delivered { process, transport: index / 2 }, Some(call))
    }

    /// The oldest message that waited for an activation goes on.
    pub fn pop_waiting(&mut self, index: u32) -> (Event, Option<Call>) {
        match self.ends[index as usize].waiting.pop_front() {
            Some(slot) => self.hand_over(index, slot),
            None => (Event::Nothing, None),
        }
    }

    pub fn pop_deactivated(&mut self, index: u32) -> (Event, Option<Call>) {
        let end = &mut self.ends[index as usize];
        end.phase = Phase::Inactive;
        let (process, key) = (end.holder, end.key);
        self.trace.record(Kind::Deactivated, index, self.now, key);
        if self.gone(process) {
            return (Event::Nothing, None);
        }
        (Event::Deactivated { process, transport: index / 2 }, Some(Call::Deactivated { process, key }))
    }

    pub fn pop_error(&mut self, index: u32) -> (Event, Option<Call>) {
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
                self.push_error(index);
                return (Event::Nothing, None);
            }
            Phase::Active => (),
        }
        (end.failed, end.deaf) = (true, true);
        let (process, key) = (end.holder, end.key);
        self.trace.record(Kind::Error, index, self.now, key);
        (Event::Error { process, transport: index / 2 }, Some(Call::Error { process, key }))
    }
}
