//! What one input has loaded from shared memory: a second load of the same bytes may meet others, and code that looks at the first and
//! uses the second is at the peer's mercy.

use ipcz::memory::is_polled;

use crate::world::activity::{Access, Kind};

/// What was loaded.
#[derive(Default)]
pub(super) struct Fetches {
    loaded: Vec<(u32, usize, usize)>,
    /// The memory whose free list's front was the last thing touched.
    front: Option<u32>,
}

impl Fetches {
    /// A new input begins.
    pub fn clear(&mut self) {
        self.loaded.clear();
        self.front = None;
    }

    /// Whether `access` loads what was loaded before, and nothing excuses it: words that the protocol polls, each time deciding anew;
    /// the header of a free block right after the front that leads to it, since the exchange of the front that follows fails unless
    /// both were read of one state (memory.md 5.3).
    pub fn again(&mut self, access: Access, len: usize) -> bool {
        let Access { kind, memory, at, bytes } = access;
        let after_front = self.front.take() == Some(memory);
        if bytes <= 8 && is_polled(len, at) {
            self.front = matches!(kind, Kind::Load | Kind::Exchange { .. }).then_some(memory);
            return false;
        }
        if !matches!(kind, Kind::Load | Kind::Read) || after_front || bytes == 0 {
            return false;
        }
        let overlaps = |(other, from, to): &(u32, usize, usize)| *other == memory && *from < at + bytes && at < *to;
        if self.loaded.iter().any(overlaps) {
            return true;
        }
        self.loaded.push((memory, at, at + bytes));
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: usize = 98_816;
    const FRONT: usize = 98_304;

    fn load(at: usize) -> Access {
        Access { kind: Kind::Load, memory: 0, at, bytes: 4 }
    }

    #[test]
    fn a_second_load_is_seen_whatever_its_width_and_only_within_one_input() {
        let mut fetches = Fetches::default();
        assert!(!fetches.again(load(DATA), 131_072) && !fetches.again(load(DATA + 4), 131_072));
        assert!(!fetches.again(Access { memory: 1, ..load(DATA) }, 131_072));
        assert!(fetches.again(Access { kind: Kind::Read, bytes: 1, ..load(DATA + 3) }, 131_072));
        assert!(!fetches.again(Access { kind: Kind::Store(0), ..load(DATA) }, 131_072));
        fetches.clear();
        assert!(!fetches.again(load(DATA), 131_072));
    }

    #[test]
    fn what_the_protocol_polls_may_be_loaded_again() {
        let mut fetches = Fetches::default();
        for _ in 0..2 {
            assert!(!fetches.again(load(256 + 4), 131_072), "the status of a link state");
            assert!(!fetches.again(load(FRONT), 131_072), "the front of a free list");
            assert!(!fetches.again(load(DATA), 131_072), "the block it leads to");
        }
        assert!(!fetches.again(load(DATA), 131_072) && fetches.again(load(DATA), 131_072));
    }
}
