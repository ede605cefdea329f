//! Who goes next. A policy picks one of the things that are ready: at depth L0 channels with a message, at depth L1 activities.
//! It draws from [`Site::Policy`](crate::choice::Site::Policy) and proposes; [`Source::settle`](crate::choice::Source::settle) has the last word, so that what it
//! picked can be recorded, replayed and shrunk without it.

mod bound;
mod deviate;
mod pct;
mod pctcp;
mod pos;
mod priorities;
mod spec;
mod target;

pub use bound::Bound;
pub use spec::{BadPolicy, Length, PolicySpec};

use crate::choice::{Choices, Source};
use crate::events::EventId;
use deviate::{Delays, Swap};
use pct::Pct;
use pctcp::Pctcp;
use pos::Pos;
use target::{Matcher, hold_back};

/// Something that can go next.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ready {
    /// The channel or activity: what comes of one chain keeps its order. Numbered densely from 0 in the order of first appearance.
    pub chain: u32,
    /// When it became ready, in the order of all that ever did, from 1; the lowest is the oldest.
    pub born: u64,
    /// The `born` of what caused it; 0 if that is not known.
    pub cause: u64,
    /// What it would touch: two of different values never conflict. 0: unknown, conflicts with everything.
    pub touches: u64,
    /// Whether it may change what it touches.
    pub writes: bool,
    /// What it is.
    pub event: EventId,
}

/// What is drawn. The numbers are part of what a seed means.
mod site {
    use crate::choice::Site;

    pub const PICK: Site = Site::Policy(0);
    pub const PRIORITY: Site = Site::Policy(1);
    pub const POINT: Site = Site::Policy(2);
}

/// How the next one is picked.
#[derive(Clone, Default, Debug)]
pub enum Policy {
    /// The default one, always.
    #[default]
    Fifo,
    /// Each with the same probability.
    Random,
    /// Priorities of channels or activities.
    Pct(Pct),
    /// Priorities of chains of causally ordered events.
    Pctcp(Pctcp),
    /// A priority for each event.
    Pos(Pos),
    /// The default one, but for some delays.
    Delay(Delays),
    /// The default one, but for two that change places.
    Swap(Swap),
    /// Any but these, as long as there is another one.
    Hold(Matcher),
}

impl Policy {
    /// Proposes one of `count` (at least 1), if it makes no difference to this policy what they are.
    pub fn pick_blindly(&self, count: u32, source: &mut Source) -> Option<u32> {
        match self {
            Policy::Fifo => Some(0),
            Policy::Random => Some(source.draw(site::PICK, 0, count)),
            _ => None,
        }
    }

    /// Proposes one of `ready` (at least one; the first is the default).
    pub fn pick(&mut self, ready: &[Ready], source: &mut Source) -> u32 {
        if let Some(at) = self.pick_blindly(ready.len() as u32, source) {
            return at;
        }
        match self {
            Policy::Fifo | Policy::Random => 0,
            Policy::Pct(pct) => pct.pick(ready, source),
            Policy::Pctcp(pctcp) => pctcp.pick(ready, source),
            Policy::Pos(pos) => pos.pick(ready, source),
            Policy::Delay(delays) => delays.pick(ready, source),
            Policy::Swap(swap) => swap.pick(ready, source),
            Policy::Hold(matcher) => hold_back(matcher, ready, source),
        }
    }

    /// Chains of causally ordered events so far, if the policy keeps any.
    pub fn chains(&self) -> u64 {
        match self {
            Policy::Pctcp(pctcp) => pctcp.chains(),
            _ => 0,
        }
    }
}

/// Steps counted from 0 at which something is changed: drawn once, uniformly below `length`.
#[derive(Clone, Debug)]
struct Points {
    count: u32,
    length: u64,
    step: u64,
    /// Those to come, the next one last; each with its number.
    left: Option<Vec<(u64, u32)>>,
}

impl Points {
    fn new(count: u32, length: u64) -> Points {
        Points { count, length, step: 0, left: None }
    }

    /// Counts a step; answers the change that falls on it, if one does (several on one step come one step after the other).
    fn step(&mut self, source: &mut Source) -> Option<u32> {
        let (count, length) = (self.count, self.length.clamp(1, u32::MAX.into()) as u32);
        let left = self.left.get_or_insert_with(|| {
            let mut points: Vec<_> = (0..count).map(|number| (u64::from(source.draw(site::POINT, number, length)), number)).collect();
            points.sort_unstable_by(|a, b| b.cmp(a));
            points
        });
        let now = self.step;
        self.step += 1;
        left.pop_if(|(at, _)| *at <= now).map(|(_, number)| number)
    }
}

#[cfg(test)]
mod tests;
