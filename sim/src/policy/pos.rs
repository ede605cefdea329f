//! Partial order sampling (Yuan et al., CAV 2018): every event has a random priority of its own, and gets a new one when something that
//! conflicts with it goes first.

use super::{Ready, site};
use crate::choice::{Choices, Source};

/// The state of a POS run.
#[derive(Clone, Default, Debug)]
pub struct Pos {
    /// By chain: its head (`born`, 0 for none) and that one's priority.
    pub(super) heads: Vec<(u64, u32)>,
}

impl Pos {
    pub(super) fn pick(&mut self, ready: &[Ready], source: &mut Source) -> u32 {
        let mut best = (0, 0);
        for (at, one) in ready.iter().enumerate() {
            let chain = one.chain as usize;
            if self.heads.len() <= chain {
                self.heads.resize(chain + 1, (0, 0));
            }
            let head = &mut self.heads[chain];
            if head.0 != one.born {
                *head = (one.born, source.draw(site::PRIORITY, one.chain, u32::MAX));
            }
            if at == 0 || head.1 > best.1 {
                best = (at, head.1);
            }
        }
        let taken = &ready[best.0];
        for one in ready.iter().filter(|one| conflict(one, taken)) {
            self.heads[one.chain as usize].0 = 0;
        }
        best.0 as u32
    }
}

/// Whether the order of the two can matter.
fn conflict(a: &Ready, b: &Ready) -> bool {
    (a.touches == b.touches || a.touches == 0 || b.touches == 0) && (a.writes || b.writes)
}
