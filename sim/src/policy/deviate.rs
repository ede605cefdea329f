//! Policies that stay near the default order: a few random delays (delay-bounded scheduling: Emmi et al., POPL 2011), or one swap.

use super::{Points, Ready};
use crate::choice::Source;

/// Now and then the one whose turn it is goes behind everything that is ready then.
#[derive(Clone, Debug)]
pub struct Delays {
    points: Points,
    /// Chains that were delayed: behind everything born until then.
    behind: Vec<(u32, u64)>,
}

impl Delays {
    /// So many delays in runs of this length.
    pub fn new(count: u32, length: u64) -> Delays {
        Delays { points: Points::new(count, length), behind: Vec::new() }
    }

    pub(super) fn pick(&mut self, ready: &[Ready], source: &mut Source) -> u32 {
        let mut at = self.first(ready);
        if self.points.step(source).is_some() {
            let chain = ready[at].chain;
            self.behind.retain(|(delayed, _)| *delayed != chain);
            self.behind.push((chain, ready.iter().map(|one| one.born).max().unwrap_or(0)));
            at = self.first(ready);
        }
        // What was delayed and goes now has had its delay.
        self.behind.retain(|(delayed, _)| *delayed != ready[at].chain);
        at as u32
    }

    /// The first in the default order that nothing older than its delay is ready beside.
    fn first(&self, ready: &[Ready]) -> usize {
        let delay = |one: &Ready| self.behind.iter().find(|(chain, _)| *chain == one.chain).map_or(0, |(_, until)| *until);
        let free = ready.iter().position(|one| {
            let until = delay(one);
            until == 0 || ready.iter().all(|other| other.chain == one.chain || other.born > until || delay(other) >= until)
        });
        free.unwrap_or(0)
    }
}

/// Once the one whose turn it is changes places with the one after it.
#[derive(Clone, Debug)]
pub struct Swap(Points);

impl Swap {
    /// In runs of this length.
    pub fn new(length: u64) -> Swap {
        Swap(Points::new(1, length))
    }

    pub(super) fn pick(&mut self, ready: &[Ready], source: &mut Source) -> u32 {
        u32::from(self.0.step(source).is_some() && ready.len() > 1)
    }
}
