//! What was decided otherwise than by option 0, decision by decision, and the feeder that decides so again.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use super::Site;

/// A decision that was not option 0. Its name, (site, actor, n-th time there), does not depend on what others decide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Deviation {
    /// About what.
    pub site: Site,
    /// For whom.
    pub actor: u32,
    /// The how manyth decision there, from 0.
    pub nth: u64,
    /// Which option.
    pub chosen: u32,
}

/// The actor of decisions that are nobody's in particular.
const NOBODY: &str = "*";

/// As it stands in a replay file: `next/0#17 = 2`.
impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deviation { site, actor, nth, chosen } = self;
        match actor {
            &u32::MAX => write!(f, "{site}/{NOBODY}#{nth} = {chosen}"),
            actor => write!(f, "{site}/{actor}#{nth} = {chosen}"),
        }
    }
}

impl FromStr for Deviation {
    type Err = ();

    fn from_str(text: &str) -> Result<Deviation, ()> {
        let (name, chosen) = text.split_once('=').ok_or(())?;
        let (site, rest) = name.trim().split_once('/').ok_or(())?;
        let (actor, nth) = rest.split_once('#').ok_or(())?;
        let actor = if actor == NOBODY { u32::MAX } else { actor.parse().map_err(drop)? };
        Ok(Deviation { site: site.parse()?, actor, nth: nth.parse().map_err(drop)?, chosen: chosen.trim().parse().map_err(drop)? })
    }
}

/// All that makes a run what it was, beside scenario and code.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Log {
    /// The seed that names come from.
    pub seed: u64,
    /// The scenario's name, likewise.
    pub scenario: String,
    /// In the order in which they were taken. Decisions of [`Site::Policy`] are never among them.
    pub deviations: Vec<Deviation>,
}

/// A line of a log that is no deviation, or names a decision a second time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Log {
    /// The deviations, one a line.
    pub fn text(&self) -> String {
        self.deviations.iter().map(|deviation| format!("{deviation}\n")).collect()
    }

    /// A log from what [`Log::text`] gave; empty lines count for nothing.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(seed: u64, scenario: &str, text: &str) -> Result<Log, Wrong> {
        let mut deviations = Vec::new();
        let mut known = BTreeMap::new();
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let wrong = |why| Wrong { line: at + 1, why };
            let deviation: Deviation = line.parse().map_err(|()| wrong("expected SITE/ACTOR#NTH = OPTION, as in next/0#17 = 2"))?;
            if known.insert((deviation.site, deviation.actor, deviation.nth), ()).is_some() {
                return Err(wrong("this decision stands twice"));
            }
            deviations.push(deviation);
        }
        Ok(Log { seed, scenario: scenario.to_owned(), deviations })
    }
}

/// Keeps a log.
#[derive(Clone, Default, Debug)]
pub(super) struct Recorder {
    counts: BTreeMap<(Site, u32), u64>,
    pub deviations: Vec<Deviation>,
}

impl Recorder {
    pub fn note(&mut self, site: Site, actor: u32, chosen: u32) {
        if matches!(site, Site::Policy(_)) {
            return;
        }
        let count = self.counts.entry((site, actor)).or_default();
        if chosen != 0 {
            self.deviations.push(Deviation { site, actor, nth: *count, chosen });
        }
        *count += 1;
    }
}

/// Answers from a log, and option 0 where it says nothing.
#[derive(Clone, Debug)]
pub(super) struct Sparse(BTreeMap<(Site, u32), Stream>);

/// The decisions of one (site, actor).
#[derive(Clone, Default, Debug)]
struct Stream {
    count: u64,
    /// Which of `listed` is next.
    at: usize,
    /// By number.
    listed: Vec<(u64, u32)>,
}

impl Sparse {
    pub fn new(log: &Log) -> Sparse {
        let mut streams: BTreeMap<_, Stream> = BTreeMap::new();
        for deviation in &log.deviations {
            streams.entry((deviation.site, deviation.actor)).or_default().listed.push((deviation.nth, deviation.chosen));
        }
        for stream in streams.values_mut() {
            stream.listed.sort_unstable();
        }
        Sparse(streams)
    }

    /// The option that the log says; the last one if there are fewer now.
    pub fn choose(&mut self, site: Site, actor: u32, options: u32) -> u32 {
        let Some(stream) = self.0.get_mut(&(site, actor)) else { return 0 };
        let nth = stream.count;
        stream.count += 1;
        match stream.listed.get(stream.at) {
            Some(&(listed, chosen)) if listed == nth => {
                stream.at += 1;
                chosen.min(options.saturating_sub(1))
            }
            _ => 0,
        }
    }
}
