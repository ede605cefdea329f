//! Probabilistic concurrency testing (Burckhardt et al., ASPLOS 2010): the chain of the highest priority runs until it can't; d - 1 times
//! the one that would run next falls behind all others.

use super::Ready;
use super::priorities::Priorities;
use crate::choice::Source;

/// The state of a PCT run.
#[derive(Clone, Debug)]
pub struct Pct(Priorities);

impl Pct {
    /// For bugs of this depth (at least 1), in runs of this length.
    pub fn new(depth: u32, length: u64) -> Pct {
        Pct(Priorities::new(depth, length))
    }

    pub(super) fn pick(&mut self, ready: &[Ready], source: &mut Source) -> u32 {
        self.0.pick(ready.iter().map(|one| one.chain), source)
    }
}
