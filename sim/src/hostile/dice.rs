//! What a lie draws about itself.

use crate::choice::{Choices, Site, Source};

/// Draws for one lie of one process.
pub struct Dice<'a> {
    source: &'a mut Source,
    site: Site,
    actor: u32,
}

impl<'a> Dice<'a> {
    /// Draws at a site.
    pub fn new(source: &'a mut Source, site: Site, actor: u32) -> Dice<'a> {
        Dice { source, site, actor }
    }

    /// A number below `n`; 0 if `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.source.draw(self.site, self.actor, n as u32) as usize
    }

    /// One of several; none of none.
    pub fn any<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { Some(of[self.below(of.len())]) }
    }

    /// One of these.
    pub fn pick<T: Copy, const N: usize>(&mut self, of: [T; N]) -> T {
        const { assert!(N > 0) };
        of[self.below(N)]
    }

    /// A length or number that is nearly `next`, or absurd.
    pub fn near(&mut self, next: u64) -> u64 {
        let next = |by: i64| next.wrapping_add_signed(by);
        self.pick([next(-1), next(0), next(1), next(3), 0, next(999_999), next(1_000_001), u64::MAX])
    }
}
