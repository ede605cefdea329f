//! What time it is, and whose turn (design.md 3b).

mod monotonic;

use std::ops::Add;
use std::sync::Arc;
use std::time::Duration;

pub use monotonic::MonotonicClock;

/// Nanoseconds from an arbitrary start; never backwards within one clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Time(pub u64);

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, d: Duration) -> Time {
        Time(self.0.saturating_add(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A place where another activity may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Point {
    /// The process's lock is about to be taken.
    LockWanted,
    /// Somebody else holds it.
    LockBusy,
    /// It was given back.
    LockFreed,
    /// An effect is about to be carried out.
    Effect,
}

/// Who wants to be told that a deadline has passed; a process.
pub trait Wake: Send + Sync {
    /// Looks at the clock and does what is due.
    fn timer(&self);
}

/// Time and turns for a process. Only the shell reads it; the core is told `now` as an argument.
pub trait Clock: Send + Sync {
    /// The time.
    fn now(&self) -> Time;
    /// Asks that `who` be woken at or after `at`. Waking early or twice is harmless.
    fn wake_at(&self, at: Time, who: Arc<dyn Wake>);
    /// Offers a turn to other activities.
    fn turn(&self, _at: Point) {}
    /// Whether a busy lock is a [`Clock::turn`] instead of a wait in the kernel.
    fn cooperative(&self) -> bool {
        false
    }
}
