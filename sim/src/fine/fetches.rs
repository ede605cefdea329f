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
            self.front = matches!(kind, Kind::Load | Kind::Exchange).then_some(memory);
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
