//! The machine's monotonic clock: the one file of the library that knows wall time and threads. No other file names it but the C ABI.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this is where wall time comes from")]

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{Clock, Time, Wake};

/// Monotonic time since the clock was made. Runs one thread while a deadline is pending, none otherwise.
pub struct MonotonicClock {
    start: Instant,
    alarms: Arc<Alarms>,
}

#[derive(Default)]
struct Alarms {
    pending: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Default)]
struct Pending {
    wakes: Vec<(Instant, Arc<dyn Wake>)>,
    running: bool,
}

impl MonotonicClock {
    /// A clock that starts now.
    pub fn new() -> MonotonicClock {
        MonotonicClock { start: Instant::now(), alarms: Arc::default() }
    }
}

impl Default for MonotonicClock {
    fn default() -> Self {
        MonotonicClock::new()
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> Time {
        Time(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn wake_at(&self, at: Time, who: Arc<dyn Wake>) {
        let Ok(mut pending) = self.alarms.pending.lock() else { return };
        pending.wakes.push((self.start + Duration::from_nanos(at.0), who));
        if pending.running {
            self.alarms.changed.notify_one();
            return;
        }
        pending.running = true;
        let alarms = Arc::clone(&self.alarms);
        std::thread::spawn(move || alarms.run());
    }
}

impl Alarms {
    /// Wakes whoever is due, until nobody waits.
    fn run(&self) {
        let Ok(mut pending) = self.pending.lock() else { return };
        while let Some(next) = pending.wakes.iter().map(|(at, _)| *at).min() {
            let now = Instant::now();
            if next > now {
                match self.changed.wait_timeout(pending, next - now) {
                    Ok((guard, _)) => pending = guard,
                    Err(_) => return,
                }
                continue;
            }
            let (due, later) = std::mem::take(&mut pending.wakes).into_iter().partition(|(at, _)| *at <= now);
            pending.wakes = later;
            drop(pending);
            let due: Vec<(Instant, Arc<dyn Wake>)> = due;
            for (_, who) in due {
                who.timer();
            }
            match self.pending.lock() {
                Ok(guard) => pending = guard,
                Err(_) => return,
            }
        }
        pending.running = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    struct Bell(Mutex<mpsc::Sender<()>>);

    impl Wake for Bell {
        fn timer(&self) {
            self.0.lock().unwrap().send(()).unwrap();
        }
    }

    #[test]
    fn wakes_after_the_time_and_again() {
        let clock = MonotonicClock::new();
        let (sender, receiver) = mpsc::channel();
        for _ in 0..2 {
            let at = clock.now() + Duration::from_millis(5);
            clock.wake_at(at, Arc::new(Bell(Mutex::new(sender.clone()))));
            receiver.recv_timeout(Duration::from_secs(10)).expect("woken");
            assert!(clock.now() >= at);
        }
    }
}
