//! The fault plane: whether a fault strikes where it could, and what follows inside the engine. What only the run can carry out, or must
//! know in order to judge, it is told as a [`Strike`]. Nothing strikes unless armed; a kind that is off costs a branch.

use std::collections::{BTreeMap, VecDeque};

use ipcz::ids::Handle;
use ipcz::trap::{TrapEvent, TrapFlags};

use super::order::{Channel, Label, What};
use super::state::State;
use crate::choice::{Choices, Site};
use crate::events::EventKind;
use crate::fault::{ALL, COUNT, Fault, Hit, Strength, Strengths, Struck};
use crate::trace::Kind;

/// Something that struck and that concerns more than the engine. Processes by number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strike {
    /// The link between the two is to be cut.
    Cut(u32, u32),
    /// The link between the two is to be cut for the first one; the second learns it later.
    HalfOpen(u32, u32),
    /// The next message that the first sends the second will be refused by the transport.
    RefuseSend(u32, u32),
    /// The process is dying: nothing it does counts any more.
    Crash(u32),
    /// The broker is to die.
    LoseBroker(u32),
    /// The two were not introduced.
    NotIntroduced(u32, u32),
    /// The process got no memory.
    NoMemory(u32),
    /// From now on either may believe what the other did not say.
    Corrupt(u32, u32),
}

/// What may strike, and what has.
#[derive(Clone, Default, Debug)]
pub(crate) struct Faults {
    /// Bit by kind: may strike now.
    on: u64,
    /// By kind.
    plan: Vec<Option<Strength>>,
    /// By kind: not again before this time.
    calm: Vec<u64>,
    /// Virtual time says nothing about order, and stands still for long: what makes things late stays away for no time.
    pub timeless: bool,
    struck: Vec<Struck>,
    /// Opportunities so far, by kind and process; those too at which a kind stayed away because it had just struck.
    chances: BTreeMap<(Fault, u32), u64>,
    hits: Vec<Hit>,
    /// Whether a process is or was paused, dying or told lies by its clock: only then is it asked for.
    pub odd: bool,
    strikes: Vec<Strike>,
    /// Events of processes that were paused: they come before all others.
    pub resumed: VecDeque<What>,
    /// By end of a pipe: who holds it by what handle, if handlers of traps may close it.
    pub closable: BTreeMap<u32, (u32, Handle)>,
    /// Ends that handlers of traps have closed and that the run does not know of yet.
    pub closed: Vec<u32>,
}

/// Draws about what a strike does in particular.
const DETAIL: u8 = 0x80;

/// How many compare-exchanges in a row fail for nothing.
const SPURIOUS: u8 = 3;

/// What is odd about a process.
#[derive(Clone, Default, Debug)]
pub(crate) struct Oddity {
    /// It gets nothing now.
    pub paused: bool,
    deferred: VecDeque<What>,
    /// Until when it is slow, and by how much.
    slow: (u64, u64),
    /// How far its clock is ahead.
    pub skew: u64,
    /// It is dying: nothing it does counts.
    pub dying: bool,
    /// Compare-exchanges in a row that failed for nothing.
    spurious: u8,
    /// Depth L1: its application is in the middle of a call.
    pub calling: bool,
}

/// What is odd about one direction of a link: what arrives at its end.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Trouble {
    /// Everything arrives at this time, if it is sent before.
    burst: u64,
    /// What is sent within waits until the second.
    clog: (u64, u64),
    /// What is transmitted here is refused.
    pub refuse: bool,
    /// The error that its holder is told when it transmits.
    pub owed: bool,
}

impl Faults {
    pub fn new(plan: &Strengths) -> Faults {
        let struck = ALL.iter().map(|about| Struck { fault: about.fault, could: 0, did: 0 }).collect();
        let plan = ALL.iter().map(|about| plan.get(&about.fault).cloned()).collect();
        Faults { plan, calm: vec![0; COUNT], struck, ..Faults::default() }
    }

    /// Whether the plan names any fault; without one nothing ever strikes.
    pub fn planned(&self) -> bool {
        self.plan.iter().any(Option::is_some)
    }

    /// Whether anything may strike.
    #[inline]
    pub fn armed(&self) -> bool {
        self.on != 0
    }

    fn has(&self, fault: Fault) -> bool {
        self.on & (1 << fault as u32) != 0
    }

    /// What could have struck and did, of the kinds that the plan names.
    pub fn struck(&self) -> Vec<Struck> {
        self.struck.iter().zip(&self.plan).filter_map(|(struck, strength)| strength.as_ref().map(|_| *struck)).collect()
    }

    /// What struck, in order.
    pub fn hits(&self) -> Vec<Hit> {
        self.hits.clone()
    }

    pub fn take_strikes(&mut self, out: &mut Vec<Strike>) {
        out.append(&mut self.strikes);
    }

    /// The longest that a fault of the plan lasts.
    pub fn longest(&self) -> u64 {
        self.plan.iter().flatten().map(|strength| strength.lasts_ns).max().unwrap_or(0)
    }

    /// How long strikes of a kind last.
    pub fn lasts(&self, fault: Fault) -> u64 {
        self.plan[fault as usize].as_ref().map_or(0, |strength| strength.lasts_ns)
    }
}

impl State {
    /// From now on faults of the plan may strike: all of them, or the one named.
    pub fn arm(&mut self, only: Option<Fault>) {
        let kinds =
            ALL.iter().zip(&self.faults.plan).filter(|(about, strength)| strength.is_some() && only.is_none_or(|only| only == about.fault));
        self.faults.on = kinds.fold(0, |on, (about, _)| on | 1 << about.fault as u32);
        self.faults.timeless = self.queue.is_scheduled();
    }

    /// Nothing strikes any more, and who was not told yet of a broken link is told now.
    pub fn disarm(&mut self) {
        self.faults.on = 0;
        for end in 0..self.ends.len() as u32 {
            self.ends[end as usize].trouble.refuse = false;
            self.pay(end);
        }
    }

    /// Whether a fault strikes now, of which this is an opportunity.
    #[inline]
    pub fn strikes(&mut self, fault: Fault, actor: u32) -> bool {
        self.faults.has(fault) && self.decide(fault, actor)
    }

    fn decide(&mut self, fault: Fault, actor: u32) -> bool {
        let kind = fault as usize;
        let faults = &mut self.faults;
        let Some(strength) = &mut faults.plan[kind] else { return false };
        let nth = faults.chances.entry((fault, actor)).or_default();
        *nth += 1;
        let hit = Hit { fault, process: actor, nth: *nth };
        if self.now < faults.calm[kind] || faults.struck[kind].did >= strength.most {
            return false;
        }
        faults.struck[kind].could += 1;
        let [yes, of] = match &mut strength.nth {
            None => strength.chance,
            Some((on, _)) if *on != actor => return false,
            Some((_, nth)) => {
                *nth = nth.wrapping_sub(1);
                [u32::from(*nth == 0), 1]
            }
        };
        // Asked in any case: a replay may want it to strike where chance does not.
        let weights = [of - yes.min(of), yes.min(of)];
        if self.source.choose(Site::Fault(fault as u8), actor, 2, Some(&weights)) == 0 {
            return false;
        }
        faults.struck[kind].did += 1;
        faults.hits.push(hit);
        if !(faults.timeless && LATE.contains(&fault)) {
            faults.calm[kind] = self.now.saturating_add(faults.lasts(fault));
        }
        self.trace.record(Kind::Fault, actor, self.now, 1 << 32 | fault as u64);
        true
    }

    /// A number below `n` about what a strike does.
    fn detail(&mut self, fault: Fault, actor: u32, n: usize) -> usize {
        self.source.draw(Site::Fault(DETAIL | fault as u8), actor, n as u32) as usize
    }

    /// The run must know or do this.
    pub fn tell_run(&mut self, strike: Strike) {
        self.faults.strikes.push(strike);
    }

    /// Strikes at a message that is about to be sent from one process to another: what becomes of its bytes, and how much later than
    /// usual it arrives.
    pub fn trouble(&mut self, from: u32, to: u32, end: u32, bytes: &mut [u8], objects: usize) -> u64 {
        if to != u32::MAX && to != from {
            for (fault, strike) in [
                (Fault::Cut, Strike::Cut(from, to)),
                (Fault::HalfOpen, Strike::HalfOpen(from, to)),
                (Fault::RefuseSend, Strike::RefuseSend(from, to)),
            ] {
                if self.strikes(fault, from) {
                    self.tell_run(strike);
                }
            }
            if self.config.brokers.get(from as usize) == Some(&true) && self.strikes(Fault::LoseBroker, from) {
                self.tell_run(Strike::LoseBroker(from));
            }
            self.corrupt(from, to, end, bytes, objects);
        }
        self.lateness(from, to, end ^ 1, bytes)
    }

    fn lateness(&mut self, from: u32, to: u32, end: u32, bytes: &[u8]) -> u64 {
        let now = self.now;
        let mut late = 0;
        if self.strikes(Fault::Delay, from) {
            late += self.faults.lasts(Fault::Delay);
        }
        if bytes.get(2) == Some(&ACCEPT_INTRODUCTION) && self.strikes(Fault::LateIntroduction, from) {
            late += self.faults.lasts(Fault::LateIntroduction);
        }
        if self.strikes(Fault::Clog, from) {
            self.ends[end as usize].trouble.clog = (now, now + self.faults.lasts(Fault::Clog));
        }
        if self.strikes(Fault::Burst, from) {
            self.ends[end as usize].trouble.burst = now + self.faults.lasts(Fault::Burst);
        }
        if self.strikes(Fault::Swizzle, from) {
            self.swizzle(from);
        }
        if self.strikes(Fault::Slow, from) {
            let lasts = self.faults.lasts(Fault::Slow);
            self.seat(from).odd.slow = (now + lasts, lasts / 4);
        }
        for process in [from, to] {
            if process != u32::MAX {
                let (until, by) = self.seat(process).odd.slow;
                late += if now < until { by } else { 0 };
            }
        }
        let clog = self.ends[end as usize].trouble.clog;
        if (clog.0..clog.1).contains(&now) {
            late += clog.1 - now;
        }
        late
    }

    /// No earlier than a burst lets it.
    pub fn after_burst(&self, end: u32, time: u64) -> u64 {
        let burst = self.ends[end as usize].trouble.burst;
        if self.now < burst { time.max(burst) } else { time }
    }

    /// Whether a burst silences what arrives at an end.
    pub fn is_silent(&self, end: u32) -> bool {
        self.now < self.ends[end as usize].trouble.burst
    }

    /// Stops several links one after the other and lets them go in another order.
    fn swizzle(&mut self, actor: u32) {
        let lasts = self.faults.lasts(Fault::Swizzle);
        let live: Vec<u32> = (0..self.ends.len() as u32 / 2).filter(|pair| self.is_live(pair * 2)).collect();
        let count = live.len().min(SWIZZLED);
        let (first, turn) = (self.detail(Fault::Swizzle, actor, live.len()), self.detail(Fault::Swizzle, actor, count));
        for i in 0..count {
            let pair = live[(first + i) % live.len()];
            let (from, until) = (i as u64 * lasts / 8, lasts - ((i + turn) % count) as u64 * lasts / 8);
            for end in [pair * 2, pair * 2 + 1] {
                self.ends[end as usize].trouble.clog = (self.now + from, self.now + until);
            }
        }
    }

    /// Lies.
    fn corrupt(&mut self, from: u32, to: u32, end: u32, bytes: &mut [u8], objects: usize) {
        let mut lied = false;
        if !bytes.is_empty() && self.strikes(Fault::FlipByte, from) {
            let at = self.detail(Fault::FlipByte, from, bytes.len());
            bytes[at] ^= 1 << self.detail(Fault::FlipByte, from, 8);
            lied = true;
        }
        if bytes.len() >= FIELDS + 8 && self.strikes(Fault::ChangeField, from) {
            self.change_field(from, bytes);
            lied = true;
        }
        if objects == 0 && self.strikes(Fault::Replay, from) {
            let late = self.faults.lasts(Fault::Replay);
            self.repeat(from, end, bytes, late);
            lied = true;
        }
        if objects == 0 && self.strikes(Fault::Misdirect, from) {
            let others: Vec<u32> = (0..self.ends.len() as u32)
                .filter(|other| *other != end && self.ends[*other as usize].holder == from && self.is_live(*other))
                .collect();
            if !others.is_empty() {
                let other = others[self.detail(Fault::Misdirect, from, others.len())];
                let far = self.far_holder(other);
                self.repeat(from, other, bytes, 0);
                self.tell_run(Strike::Corrupt(from, far));
            }
        }
        if self.strikes(Fault::Scribble, from) {
            lied |= self.scribble(from, to);
        }
        if lied {
            self.tell_run(Strike::Corrupt(from, to));
        }
    }

    /// Changes a word of the parameters: to a value that is often special, or by a little.
    fn change_field(&mut self, actor: u32, bytes: &mut [u8]) {
        let size = u32::from_le_bytes(std::array::from_fn(|i| bytes[FIELDS - 8 + i])) as usize;
        let words = (size.saturating_sub(8).min(bytes.len() - FIELDS) / 4).max(1);
        let at = FIELDS + 4 * self.detail(Fault::ChangeField, actor, words);
        let old = u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
        let new = match self.detail(Fault::ChangeField, actor, 6) {
            0 => old.wrapping_add(1),
            1 => old.wrapping_sub(1),
            2 => 0,
            3 => u32::MAX,
            4 => old ^ 1 << self.detail(Fault::ChangeField, actor, 32),
            _ => self.detail(Fault::ChangeField, actor, 64) as u32,
        };
        bytes[at..at + 4].copy_from_slice(&new.to_le_bytes());
    }

    /// Changes a word of memory that two processes have mapped. False if they share none.
    fn scribble(&mut self, from: u32, to: u32) -> bool {
        let shared = self.shared_memories(from, to);
        if shared.is_empty() {
            return false;
        }
        let index = shared[self.detail(Fault::Scribble, from, shared.len())];
        let words = self.memory(index).len() / 4;
        // Most words are unused: the first that is not, of a few.
        let mut at = 0;
        for _ in 0..SCRIBBLE_TRIES {
            at = 4 * self.detail(Fault::Scribble, from, words);
            if self.memory(index).load(at, ipcz::mapping::Width::W32) != 0 {
                break;
            }
        }
        let old = self.memory(index).load(at, ipcz::mapping::Width::W32);
        let new = match self.detail(Fault::Scribble, from, 4) {
            0 => !old,
            1 => old.wrapping_add(1),
            2 => 0,
            _ => old ^ 1 << self.detail(Fault::Scribble, from, 32),
        };
        self.store(index, at, ipcz::mapping::Width::W32, new & u64::from(u32::MAX));
        true
    }

    /// Whether a compare-exchange of a process fails for nothing.
    pub fn fails_for_nothing(&mut self, process: u32) -> bool {
        let fails = self.seat(process).odd.spurious < SPURIOUS && self.strikes(Fault::SpuriousFailure, process);
        let spurious = &mut self.seat(process).odd.spurious;
        *spurious = if fails { *spurious + 1 } else { 0 };
        fails
    }

    /// What the handler of a trap that fires closes, if this strikes: the portal that the event is about, or its twin if that is there
    /// too. It counts as closed from now on.
    pub fn close_in_trap(&mut self, process: u32, event: &TrapEvent) -> Option<Handle> {
        // Whoever is in the middle of a call may be using the very portal: closing it then would be the application's own mistake.
        let odd = &self.seat(process).odd;
        let busy = odd.calling || odd.dying;
        if busy || !self.faults.has(Fault::CloseInTrap) || !event.flags.and(TrapFlags::REMOVED).is_empty() {
            return None;
        }
        let end = event.context as u32;
        let here = |end: &u32| self.faults.closable.get(end).is_some_and(|(holder, _)| *holder == process);
        let ends: Vec<u32> = [end, end ^ 1].into_iter().filter(here).collect();
        if ends.is_empty() || !self.strikes(Fault::CloseInTrap, process) {
            return None;
        }
        let end = ends[self.detail(Fault::CloseInTrap, process, ends.len())];
        self.faults.closed.push(end);
        self.faults.closable.remove(&end).map(|(_, handle)| handle)
    }

    /// For how many events, or operations of depth L1, something is held back where virtual time says nothing about order.
    pub fn hindrance(&mut self, fault: Fault, actor: u32) -> u64 {
        1 + self.detail(fault, actor, HINDRANCE) as u64
    }

    /// The process dies in the middle of what it does.
    pub fn crash(&mut self, process: u32) {
        self.faults.odd = true;
        self.seat(process).odd.dying = true;
        self.tell_run(Strike::Crash(process));
    }

    /// An event for a process: whether it gets it later.
    pub fn defers(&mut self, process: u32, what: What) -> bool {
        if process == u32::MAX {
            return false;
        }
        if !self.seat(process).odd.paused && self.pauses(process) {
            self.faults.odd = true;
            self.seat(process).odd.paused = true;
            let until = self.now + self.faults.lasts(Fault::Pause);
            let label = || Label { channel: Channel::Paused(process), from: process, to: process, kind: EventKind::Timer };
            self.queue.push(until, 0, What::Resume(process), label);
            if self.queue.is_scheduled() {
                let events = self.hindrance(Fault::Pause, process);
                self.queue.hold_back(Channel::Paused(process), events);
            }
        }
        self.leap(process);
        let odd = &mut self.seat(process).odd;
        if odd.paused {
            odd.deferred.push_back(what);
        }
        odd.paused
    }

    /// Whether a process that is about to be notified is paused.
    pub fn pauses(&mut self, process: u32) -> bool {
        self.strikes(Fault::Pause, process)
    }

    /// A process's clock leaps ahead, if that strikes.
    pub fn leap(&mut self, process: u32) {
        if self.strikes(Fault::ClockJump, process) {
            self.faults.odd = true;
            let lasts = self.faults.lasts(Fault::ClockJump);
            self.seat(process).odd.skew += lasts;
        }
    }

    /// A pause is over.
    pub fn resume(&mut self, process: u32) {
        let odd = &mut self.seat(process).odd;
        odd.paused = false;
        let deferred = std::mem::take(&mut odd.deferred);
        self.faults.resumed.extend(deferred);
    }
}

/// Kinds that do nothing but make something late.
const LATE: [Fault; 7] = [Fault::Delay, Fault::Burst, Fault::Clog, Fault::Swizzle, Fault::Pause, Fault::Slow, Fault::LateIntroduction];
/// The most events that something is held back for in a scheduled order, and the most operations at depth L1.
const HINDRANCE: usize = 64;
/// Where the fields of a message's parameters begin (wire.md 2, 3).
const FIELDS: usize = 32;
/// Links that are stopped together.
const SWIZZLED: usize = 6;
/// Words looked at for one that is in use.
const SCRIBBLE_TRIES: usize = 16;
const ACCEPT_INTRODUCTION: u8 = 11;
