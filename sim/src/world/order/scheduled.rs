//! A policy picks the next event among the heads of all channels. Messages take no time and are ready as soon as they are sent. Tokens of
//! the workload keep the order of their times, since that is the workload's and not the schedule's, and race with everything else; a
//! deadline may be late, and early only if nothing else is left. Time never goes back: it moves to that of a token or deadline taken.
//!
//! The default is the oldest message, and what is due next if there is none: a network without latency.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Channel, Label, Next, What};
use crate::choice::{Site, Source};
use crate::events::{EventId, EventKind, Hold, HoldFate};
use crate::policy::{Policy, Ready};

/// How a world's events are scheduled.
#[derive(Clone, Default, Debug)]
pub struct Schedule {
    /// Order constraints.
    pub holds: Arc<[Hold]>,
    /// Whether the constraints that lead to the same order again are kept ([`OrderReport::recorded`]).
    pub record: bool,
}

/// What an order was.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct OrderReport {
    /// Channels that had something to take.
    pub channels: u64,
    /// Events taken.
    pub steps: u64,
    /// Events taken before others that the default would have taken first.
    pub deviations: u64,
    /// Chains of causally ordered events, if the policy keeps any.
    pub chains: u64,
    /// What became of each constraint.
    pub holds: Vec<(Hold, HoldFate)>,
    /// For every event that was overtaken: its last overtaker before it.
    pub recorded: Vec<Hold>,
}

/// An event that waits.
#[derive(Clone, Copy, Debug)]
struct Pending {
    what: What,
    time: u64,
    born: u64,
    cause: u64,
    event: EventId,
    passed: Option<EventId>,
}

/// A constraint, and how far it is.
#[derive(Clone, Copy, Debug)]
struct Constraint {
    hold: Hold,
    held: bool,
    before: bool,
    after: bool,
    broken: bool,
}

impl Constraint {
    fn new(hold: &Hold) -> Constraint {
        Constraint { hold: *hold, held: false, before: false, after: false, broken: false }
    }

    fn fate(&self) -> HoldFate {
        match self {
            Constraint { broken: true, .. } => HoldFate::Broken,
            Constraint { before: false, .. } | Constraint { after: false, .. } => HoldFate::NeverCame,
            Constraint { held: true, .. } => HoldFate::Met,
            _ => HoldFate::Unneeded,
        }
    }
}

/// The events of a scheduled world.
#[derive(Clone, Debug)]
pub(crate) struct Scheduled {
    policy: Policy,
    holds: Arc<[Hold]>,
    record: bool,
    /// Numbers of channels, and how often each kind of event was caused; by first appearance.
    numbers: BTreeMap<Channel, u32>,
    counts: BTreeMap<(u32, u32, EventKind), u32>,
    born: u64,
    latest: Option<(u64, EventId)>,
    /// By number of channel: what waits there, the head first. Tokens and deadlines are in `clock` instead.
    channels: Vec<VecDeque<Pending>>,
    traffic: usize,
    /// Tokens and deadlines by time, then age, each with its channel; and how many are tokens.
    clock: BTreeMap<(u64, u64), (u32, Pending)>,
    tokens: usize,
    constraints: Vec<Constraint>,
    /// By number of channel: taken from again only when so many events were taken, unless nothing else is ready.
    late: BTreeMap<u32, u64>,
    /// By event: constraints that hold it back (those open), and that wait for it.
    held: BTreeMap<EventId, Vec<usize>>,
    frees: BTreeMap<EventId, Vec<usize>>,
    /// What could go now: the heads of all channels by age, so many; behind them the tokens and deadlines that were due when it was last
    /// asked, and the keys of these.
    ready: Vec<Ready>,
    heads: usize,
    due: Vec<(u64, u64)>,
    /// Those that no constraint holds back, and where they stand in `ready`.
    free: Vec<Ready>,
    free_at: Vec<usize>,
    recorded: Vec<Hold>,
    steps: u64,
    deviations: u64,
}

impl Scheduled {
    pub fn new(schedule: &Schedule) -> Scheduled {
        Scheduled {
            policy: Policy::Fifo,
            holds: Arc::clone(&schedule.holds),
            record: schedule.record,
            numbers: BTreeMap::new(),
            counts: BTreeMap::new(),
            born: 0,
            latest: None,
            channels: Vec::new(),
            traffic: 0,
            clock: BTreeMap::new(),
            tokens: 0,
            constraints: Vec::new(),
            late: BTreeMap::new(),
            held: BTreeMap::new(),
            frees: BTreeMap::new(),
            ready: Vec::new(),
            heads: 0,
            due: Vec::new(),
            free: Vec::new(),
            free_at: Vec::new(),
            recorded: Vec::new(),
            steps: 0,
            deviations: 0,
        }
    }

    /// The policy and the constraints decide from here on. What was before is no part of the schedule: names, channels and counts begin
    /// anew, unless something still waits that has them.
    pub fn govern(&mut self, policy: Policy) {
        self.policy = policy;
        self.constraints = self.holds.iter().map(Constraint::new).collect();
        self.held.clear();
        self.frees.clear();
        self.late.clear();
        for (index, hold) in self.holds.iter().enumerate() {
            self.held.entry(hold.after).or_default().push(index);
            self.frees.entry(hold.before).or_default().push(index);
        }
        if self.len() == 0 {
            self.counts.clear();
            self.numbers.clear();
            self.channels.clear();
            self.recorded.clear();
            (self.latest, self.steps, self.deviations) = (None, 0, 0);
        }
    }

    pub fn push(&mut self, time: u64, what: What, label: Label) {
        let Label { channel, from, to, kind } = label;
        let count = self.counts.entry((from, to, kind)).or_insert(0);
        *count += 1;
        let event = EventId { from, to, kind, nth: *count };
        let next = self.numbers.len() as u32;
        let number = *self.numbers.entry(channel).or_insert(next);
        if self.channels.len() <= number as usize {
            self.channels.push(VecDeque::new());
        }
        self.born += 1;
        let cause = self.latest.map_or(0, |(born, _)| born);
        let pending = Pending { what, time, born: self.born, cause, event, passed: None };
        match what {
            What::App(_) | What::Timer(_) => {
                self.clock.insert((time, self.born), (number, pending));
                self.tokens += usize::from(matches!(what, What::App(_)));
            }
            _ => {
                let queue = &mut self.channels[number as usize];
                if queue.is_empty() {
                    self.ready.truncate(self.heads);
                    self.ready.push(look(number, &pending));
                    self.heads += 1;
                }
                queue.push_back(pending);
                self.traffic += 1;
            }
        }
    }

    pub fn pop(&mut self, now: u64, source: &mut Source) -> Option<Next> {
        self.gather(now);
        if self.ready.is_empty() {
            return None;
        }
        let chosen = self.choose(source);
        let pending = self.take(chosen)?;
        if self.record {
            self.overtake(chosen, pending);
        }
        if chosen < self.heads {
            self.next_head(chosen);
        }
        self.settle(pending.event);
        self.latest = Some((pending.born, pending.event));
        self.steps += 1;
        self.deviations += u64::from(chosen > 0);
        Some(Next { time: pending.time, what: pending.what })
    }

    /// Collects everything that could be next, the default first: heads of channels by age, then tokens and deadlines by time.
    fn gather(&mut self, now: u64) {
        let Scheduled { ready, due, heads, clock, tokens, .. } = self;
        ready.truncate(*heads);
        due.clear();
        let mut first_token = None;
        for (key, (number, pending)) in clock.iter() {
            let (time, is_token) = (key.0, matches!(pending.what, What::App(_)));
            if is_token && first_token.is_none() {
                first_token = Some(time);
            }
            let turn = time <= now || if is_token { first_token == Some(time) } else { ready.is_empty() };
            if turn {
                due.push(*key);
                ready.push(look(*number, pending));
            } else if *tokens == 0 || first_token.is_some() {
                break;
            }
        }
    }

    /// The one to take, as an index of `ready`.
    fn choose(&mut self, source: &mut Source) -> usize {
        let Scheduled { ready, free, free_at, held, constraints, late, steps, .. } = self;
        late.retain(|_, until| *steps < *until);
        if constraints.is_empty() && late.is_empty() {
            return ask(&mut self.policy, ready, source);
        }
        free.clear();
        free_at.clear();
        for (at, one) in ready.iter().enumerate() {
            let mut waits = late.contains_key(&one.chain);
            for index in held.get(&one.event).into_iter().flatten() {
                let constraint = &mut constraints[*index];
                waits |= !constraint.before;
                constraint.held |= !constraint.before;
            }
            if !waits {
                free.push(*one);
                free_at.push(at);
            }
        }
        match free.is_empty() {
            true => ask(&mut self.policy, &self.ready, source),
            false => self.free_at[ask(&mut self.policy, &self.free, source)],
        }
    }

    /// A channel with something waiting is not taken from for so many events.
    pub fn hold_back(&mut self, channel: Channel, events: u64) {
        if let Some(number) = self.numbers.get(&channel) {
            let until = self.late.entry(*number).or_default();
            *until = (*until).max(self.steps + events);
        }
    }

    /// Removes the event at `at` of `ready` from where it waits.
    fn take(&mut self, at: usize) -> Option<Pending> {
        match at.checked_sub(self.heads) {
            Some(at) => {
                let (_, pending) = self.clock.remove(self.due.get(at)?)?;
                self.tokens -= usize::from(matches!(pending.what, What::App(_)));
                Some(pending)
            }
            None => {
                self.traffic -= 1;
                self.channels[self.ready[at].chain as usize].pop_front()
            }
        }
    }

    /// The channel whose head, at `at` of `ready`, was taken has another one, or none.
    fn next_head(&mut self, at: usize) {
        self.ready.truncate(self.heads);
        let number = self.ready.remove(at).chain;
        match self.channels[number as usize].front() {
            None => self.heads -= 1,
            Some(next) => {
                let place = self.ready.partition_point(|other| other.born < next.born);
                self.ready.insert(place, look(number, next));
            }
        }
    }

    /// Notes that `taken`, which was at `at` of `ready`, went before those ahead of it.
    fn overtake(&mut self, at: usize, taken: Pending) {
        if let Some(before) = taken.passed {
            self.recorded.push(Hold { before, after: taken.event });
        }
        for (ahead, one) in self.ready[..at].iter().enumerate() {
            let pending = match ahead.checked_sub(self.heads) {
                Some(ahead) => self.clock.get_mut(&self.due[ahead]).map(|(_, pending)| pending),
                None => self.channels[one.chain as usize].front_mut(),
            };
            if let Some(pending) = pending {
                pending.passed = Some(taken.event);
            }
        }
    }

    /// The event has happened: constraints about it know.
    fn settle(&mut self, event: EventId) {
        if self.constraints.is_empty() {
            return;
        }
        for index in self.frees.get(&event).into_iter().flatten() {
            self.constraints[*index].before = true;
        }
        for index in self.held.get(&event).into_iter().flatten() {
            let constraint = &mut self.constraints[*index];
            constraint.after = true;
            constraint.broken |= !constraint.before;
        }
    }

    pub fn traffic(&self) -> usize {
        self.traffic
    }

    pub fn next_time(&self) -> Option<u64> {
        let heads = self.ready[..self.heads].iter().filter_map(|head| self.channels[head.chain as usize].front());
        let message = heads.map(|pending| pending.time).min();
        message.into_iter().chain(self.clock.first_key_value().map(|((time, _), _)| *time)).min()
    }

    pub fn len(&self) -> usize {
        self.traffic + self.clock.len()
    }

    pub fn latest(&self) -> Option<EventId> {
        self.latest.map(|(_, event)| event)
    }

    pub fn report(&self) -> OrderReport {
        let waiting = self.channels.iter().filter_map(VecDeque::front).chain(self.clock.values().map(|(_, pending)| pending));
        let never = waiting.filter_map(|pending| Some(Hold { before: pending.passed?, after: pending.event }));
        OrderReport {
            channels: self.numbers.len() as u64,
            steps: self.steps,
            deviations: self.deviations,
            chains: self.policy.chains(),
            holds: self.constraints.iter().map(|constraint| (constraint.hold, constraint.fate())).collect(),
            recorded: self.recorded.iter().copied().chain(never).collect(),
        }
    }
}

/// What a policy sees of an event.
fn look(chain: u32, pending: &Pending) -> Ready {
    // What happens in different processes never conflicts.
    let touches = u64::from(pending.event.to.wrapping_add(1));
    Ready { chain, born: pending.born, cause: pending.cause, touches, writes: true, event: pending.event }
}

/// The policy proposes, the source of choices has the last word.
fn ask(policy: &mut Policy, ready: &[Ready], source: &mut Source) -> usize {
    let proposal = policy.pick(ready, source);
    let options = ready.len() as u32;
    if options < 2 { 0 } else { source.settle(Site::Next, 0, options, proposal).min(options - 1) as usize }
}
