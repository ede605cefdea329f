//! Random priorities of chains, with change points: what PCT and PCTCP share.

use super::{Points, site};
use crate::choice::{Choices, Source};

/// Priorities: random for a chain that is new, lower than all those once a change point has hit it.
#[derive(Clone, Debug)]
pub(super) struct Priorities {
    depth: u32,
    points: Points,
    by_chain: Vec<Option<u64>>,
}

impl Priorities {
    /// For bugs of this depth, in runs of this length.
    pub fn new(depth: u32, length: u64) -> Priorities {
        let changes = depth.saturating_sub(1);
        Priorities { depth, points: Points::new(changes, length), by_chain: Vec::new() }
    }

    /// The position of the highest of these chains (at least one).
    pub fn pick(&mut self, chains: impl Iterator<Item = u32> + Clone, source: &mut Source) -> u32 {
        let (at, chain) = self.highest(chains.clone(), source);
        match self.points.step(source) {
            None => at,
            Some(change) => {
                // The first change point gives the highest of the low priorities, as in PCT: depth - 1 down to 1.
                self.by_chain[chain as usize] = Some(u64::from(self.depth - 1 - change));
                self.highest(chains, source).0
            }
        }
    }

    fn highest(&mut self, chains: impl Iterator<Item = u32>, source: &mut Source) -> (u32, u32) {
        let mut best = (0, 0, 0);
        for (at, chain) in (0..).zip(chains) {
            let priority = self.of(chain, source);
            if priority > best.0 {
                best = (priority, at, chain);
            }
        }
        (best.1, best.2)
    }

    fn of(&mut self, chain: u32, source: &mut Source) -> u64 {
        let at = chain as usize;
        if self.by_chain.len() <= at {
            self.by_chain.resize(at + 1, None);
        }
        // Above all low ones; equal draws are told apart by the chain.
        *self.by_chain[at]
            .get_or_insert_with(|| (1 << 63) | u64::from(source.draw(site::PRIORITY, chain, 1 << 31)) << 32 | u64::from(chain))
    }
}
