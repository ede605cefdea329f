//! How far a command is, on standard error: a bar on a terminal, else a plain line now and then.

use std::sync::atomic::Ordering::Relaxed;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use ipcz_reports::format::{number, plural, rate, time};

use super::out::tell;
use super::play::Gauge;
use super::stopwatch::Stopwatch;
use crate::run::Phase;

/// Between two plain lines.
const EVERY_NS: u64 = 5_000_000_000;

/// Shows how far something is.
pub struct Meter {
    bar: ProgressBar,
    seeds: u64,
    what: String,
    last: Stopwatch,
    begun: Stopwatch,
    /// Seeds that were done before.
    before: u64,
}

impl Meter {
    /// For so many seeds of `what`.
    pub fn new(what: &str, seeds: u64) -> Meter {
        let bar = ProgressBar::with_draw_target(Some(seeds), ProgressDrawTarget::stderr_with_hz(10));
        let template = if seeds > 1 { "{prefix} {bar:40} {pos}/{len} seeds, {msg}, {eta} left" } else { "{prefix} {spinner} {msg}" };
        bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(what.to_owned());
        Meter { bar, seeds, what: what.to_owned(), last: Stopwatch::start(), begun: Stopwatch::start(), before: 0 }
    }

    /// Of them, so many were done before.
    pub fn after(mut self, before: u64) -> Meter {
        self.before = before;
        self
    }

    /// So many seeds are done; the others are as far as the gauge says.
    pub fn update(&mut self, done: u64, gauge: &Gauge) {
        let plain = self.bar.is_hidden();
        if plain && self.last.ns() < EVERY_NS {
            return;
        }
        let events = plural(gauge.events.load(Relaxed), "event");
        let text = match self.seeds {
            1 => {
                let phases = [Phase::SetUp, Phase::Work, Phase::Settle, Phase::Closing, Phase::Done];
                let phase = phases[(gauge.phase.load(Relaxed) as usize).min(phases.len() - 1)].name();
                format!("{phase}, {events}, virtual time {}", time(gauge.time.load(Relaxed)))
            }
            _ => format!("{events}, {} seeds a second", number(rate(done, self.begun.ns()).unwrap_or(0))),
        };
        if plain {
            self.last = Stopwatch::start();
            let seeds =
                if self.seeds > 1 { format!("{} of {} seeds, ", number(self.before + done), number(self.seeds)) } else { String::new() };
            tell(&format!("{}: {seeds}{text}\n", self.what));
        } else {
            self.bar.set_position(self.before + done);
            self.bar.set_message(text);
            self.bar.tick();
        }
    }

    /// Calls `body`, which writes to the terminal, with the bar out of its way.
    pub fn aside<R>(&self, body: impl FnOnce() -> R) -> R {
        self.bar.suspend(body)
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
