//! Where every decision of a run comes from (design.md 5): option 0 is always the plain one, so that a source that
//! only ever answers 0 gives first-in-first-out, no jitter and no fault.

mod keyed;
mod log;
mod odometer;
mod site;
mod tape;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use keyed::Keyed;
use log::{Recorder, Sparse};
use odometer::Path;
use tape::Tape;

use crate::leaks::{self, Leak};

pub use log::{Deviation, Log, Wrong};
pub use odometer::{Bounds, Odometer};
pub use site::Site;

/// Answers decisions. [`Source`] does; a trait so that whoever asks need not know which kind of source it is.
pub trait Choices {
    /// One of `options` (at least 1): uniform, or by weight. An option of weight 0 is never drawn by chance.
    fn choose(&mut self, site: Site, actor: u32, options: u32, weights: Option<&[u32]>) -> u32;

    /// A uniform number below `n`; 0 if `n` is 0.
    fn draw(&mut self, site: Site, actor: u32, n: u32) -> u32 {
        self.choose(site, actor, n, None)
    }
}

/// What a world is given to decide with; cloned with it. Whatever feeds it, it can keep a log.
#[derive(Clone, Debug)]
pub struct Source {
    feeder: Feeder,
    /// What names are made of, and what a seed answers.
    keyed: Keyed,
    recorder: Option<Box<Recorder>>,
}

#[derive(Clone, Debug)]
enum Feeder {
    /// The keyed streams: what one (site, actor) draws depends on nothing but the key and how often it drew before.
    Seeded,
    /// A fuzzer's bytes, then option 0 for ever.
    Bytes(Tape),
    /// Option 0 for ever.
    Default,
    /// A log: option 0 except where it says otherwise.
    Sparse(Sparse),
    /// One way of an enumeration.
    Path(Path),
}

impl Source {
    fn new(feeder: Feeder, keyed: Keyed) -> Source {
        Source { feeder, keyed, recorder: None }
    }

    /// The run number `seed` of the scenario `scenario`.
    pub fn seeded(seed: u64, scenario: &str) -> Source {
        Source::new(Feeder::Seeded, Keyed::new(seed ^ leaks::slip(Leak::Environment), scenario))
    }

    /// Decisions spelt by `bytes`, as few as each needs: one byte up to 256 options, two up to 65,536, else four.
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Source {
        Source::new(Feeder::Bytes(Tape::new(bytes.into())), Keyed::new(0, ""))
    }

    /// The decisions of a log, option 0 wherever it says nothing, and the names of the run that it was taken from.
    pub fn replay(log: &Log) -> Source {
        Source::new(Feeder::Sparse(Sparse::new(log)), Keyed::new(log.seed, &log.scenario))
    }

    /// The same, that keeps a log from here on.
    pub fn recording(mut self) -> Source {
        self.recorder = Some(Box::default());
        self
    }

    /// What was decided otherwise than by option 0, if this source keeps a log.
    pub fn log(&self) -> Option<Log> {
        let recorder = self.recorder.as_ref()?;
        Some(Log { seed: self.keyed.seed, scenario: self.keyed.scenario.to_string(), deviations: recorder.deviations.clone() })
    }

    /// A decision that somebody else proposes (a policy): a seeded source takes the proposal, a replay or a fuzzer says otherwise.
    pub fn settle(&mut self, site: Site, actor: u32, options: u32, proposal: u32) -> u32 {
        match self.feeder {
            Feeder::Seeded => self.note(site, actor, proposal),
            _ => self.choose(site, actor, options, None),
        }
    }

    /// Fills `out` with bytes that look random, different for each call and actor whatever the source: names must
    /// differ even where nothing is left to chance. A fuzzer still steers their order through the first byte: its log says how.
    pub fn fill(&mut self, site: Site, actor: u32, out: &mut [u8]) {
        let mask = match &mut self.feeder {
            Feeder::Bytes(tape) => tape.choose(256, None),
            Feeder::Sparse(sparse) => sparse.choose(site, actor, 256),
            Feeder::Seeded | Feeder::Default | Feeder::Path(_) => 0,
        };
        self.keyed.fill(site, actor, out);
        if let Some(first) = out.first_mut() {
            *first ^= mask as u8;
        }
        self.note(site, actor, mask);
    }

    /// What was decided goes into the log.
    #[inline]
    fn note(&mut self, site: Site, actor: u32, chosen: u32) -> u32 {
        if let Some(recorder) = &mut self.recorder {
            recorder.note(site, actor, chosen);
        }
        chosen
    }
}

impl Default for Source {
    fn default() -> Source {
        Source::new(Feeder::Default, Keyed::new(0, ""))
    }
}

impl Choices for Source {
    #[inline]
    fn draw(&mut self, site: Site, actor: u32, n: u32) -> u32 {
        match self.feeder {
            Feeder::Seeded => {
                let drawn = self.keyed.below(site, actor, n.into()) as u32;
                self.note(site, actor, drawn)
            }
            _ => self.choose(site, actor, n, None),
        }
    }

    fn choose(&mut self, site: Site, actor: u32, options: u32, weights: Option<&[u32]>) -> u32 {
        let chosen = match &mut self.feeder {
            Feeder::Seeded => self.keyed.choose(site, actor, options, weights),
            Feeder::Bytes(tape) => tape.choose(options, weights),
            Feeder::Default => 0,
            Feeder::Sparse(sparse) => sparse.choose(site, actor, options),
            Feeder::Path(path) => path.choose(site, options),
        };
        self.note(site, actor, chosen)
    }
}
