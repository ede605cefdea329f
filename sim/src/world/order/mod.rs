//! What happens next: events in virtual time ([`timed`]), or as a policy picks them ([`scheduled`]).

mod scheduled;
mod timed;

use crate::choice::Source;
use crate::events::{EventId, EventKind};
use crate::policy::Policy;

pub use scheduled::{OrderReport, Schedule};
pub use timed::bare_heap;

pub(crate) use scheduled::Scheduled;
pub(crate) use timed::Timed;

/// How the next event is found.
#[derive(Clone, Default, Debug)]
pub enum Order {
    /// By virtual time: messages take their link's latency.
    #[default]
    Timed,
    /// A policy picks among everything that could be next; messages take no time.
    Scheduled(Schedule),
}

/// What an event is about; the numbers index tables of the world's state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// A message arrives.
    Deliver(u32),
    /// The oldest message that waits at this end for its activation goes on.
    Waiting(u32),
    /// This end learns that its transport is broken.
    Error(u32),
    /// This end learns that it is inactive.
    Deactivated(u32),
    /// A process's deadline.
    Timer(u32),
    /// A token of the workload.
    App(u32),
    /// A loose end sends what it held back long enough.
    Release(u32),
    /// A process's pause is over.
    Resume(u32),
}

impl What {
    fn is_traffic(self) -> bool {
        !matches!(self, What::Timer(_) | What::App(_) | What::Resume(_))
    }
}

/// Where an event comes from: those of one channel never overtake each other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Channel {
    /// What arrives at an end of a transport.
    End(u32),
    /// What a loose end held back.
    Held(u32),
    /// Deadlines of a process.
    Timer(u32),
    /// The end of a process's pause.
    Paused(u32),
    /// What the workload does in a process, or (`u32::MAX`) from outside.
    Tokens(u32),
}

/// What an event is for those who name it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label {
    pub channel: Channel,
    pub from: u32,
    pub to: u32,
    pub kind: EventKind,
}

/// The next event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Next {
    /// When it was due.
    pub time: u64,
    pub what: What,
}

/// Events that are to happen.
#[derive(Clone, Debug)]
pub(crate) enum Queue {
    Timed(Timed),
    Scheduled(Box<Scheduled>),
}

impl Queue {
    pub fn new(order: &Order) -> Queue {
        match order {
            Order::Timed => Queue::Timed(Timed::default()),
            Order::Scheduled(schedule) => Queue::Scheduled(Box::new(Scheduled::new(schedule))),
        }
    }

    pub fn is_scheduled(&self) -> bool {
        matches!(self, Queue::Scheduled(_))
    }

    /// Adds an event. In virtual time those of one instant go by `tie`, then by age; a schedule asks for a label instead.
    #[inline]
    pub fn push(&mut self, time: u64, tie: u16, what: What, label: impl FnOnce() -> Label) {
        match self {
            Queue::Timed(queue) => queue.push(time, tie, what),
            Queue::Scheduled(queue) => queue.push(time, what, label()),
        }
    }

    /// Takes the next event.
    #[inline]
    pub fn pop(&mut self, now: u64, source: &mut Source) -> Option<Next> {
        match self {
            Queue::Timed(queue) => queue.pop(),
            Queue::Scheduled(queue) => queue.pop(now, source),
        }
    }

    /// Events waiting that are of a transport.
    pub fn traffic(&self) -> usize {
        match self {
            Queue::Timed(queue) => queue.traffic(),
            Queue::Scheduled(queue) => queue.traffic(),
        }
    }

    /// When the next event is due at the earliest.
    pub fn next_time(&self) -> Option<u64> {
        match self {
            Queue::Timed(queue) => queue.next_time(),
            Queue::Scheduled(queue) => queue.next_time(),
        }
    }

    /// Events waiting.
    pub fn len(&self) -> usize {
        match self {
            Queue::Timed(queue) => queue.len(),
            Queue::Scheduled(queue) => queue.len(),
        }
    }

    /// The policy decides from here on, and names of events count from here.
    pub fn govern(&mut self, policy: Policy) {
        if let Queue::Scheduled(queue) = self {
            queue.govern(policy);
        }
    }

    /// A channel of a schedule that has something waiting is not taken from for so many events, unless nothing else is ready.
    pub fn hold_back(&mut self, channel: Channel, events: u64) {
        if let Queue::Scheduled(queue) = self {
            queue.hold_back(channel, events);
        }
    }

    /// What a schedule was, if this is one.
    pub fn report(&self) -> Option<OrderReport> {
        match self {
            Queue::Timed(_) => None,
            Queue::Scheduled(queue) => Some(queue.report()),
        }
    }

    /// The event taken last, if a schedule took it.
    pub fn latest(&self) -> Option<EventId> {
        match self {
            Queue::Timed(_) => None,
            Queue::Scheduled(queue) => queue.latest(),
        }
    }
}
