//! What one input has loaded from shared memory: a second load of the same bytes may meet others, and code that looks at the first and
//! uses the second is at the peer's mercy.

#[cfg(doc)]
use ipcz::mapping::VirtualMemory;

use crate::world::activity::{Access, Kind};

/// Bytes of a block before the data of a parcel.
const HEADER: usize = 8;

/// What was loaded.
#[derive(Default)]
pub(super) struct Fetches {
    loaded: Vec<(u32, usize, usize)>,
    /// The memory whose free list's front was the last thing touched.
    front: Option<u32>,
    /// The last word stored: the header of a block, if an exchange of the front follows that gives the block back.
    stored: Option<(u32, usize)>,
}

impl Fetches {
    /// A new input begins.
    pub fn clear(&mut self) {
        self.loaded.clear();
        self.front = None;
        self.stored = None;
    }

    /// Whether `access` loads what was loaded before, and nothing excuses it: words that the protocol polls ([`VirtualMemory::poll`]);
    /// the header of a free block right after the front that leads to it, since the exchange of the front that follows fails unless
    /// both were read of one state (memory.md 5.3); a block that was given back: it may hold another parcel by the time the input, which
    /// carries out what others have left to be sent, loads it again.
    pub fn again(&mut self, access: Access) -> bool {
        let Access { kind, memory, at, bytes } = access;
        let after_front = self.front.take() == Some(memory);
        match kind {
            Kind::Poll => self.front = Some(memory),
            Kind::Exchange { .. } => {
                self.front = Some(memory);
                if let Some((_, header)) = self.stored.filter(|(of, _)| *of == memory) {
                    self.loaded.retain(|(other, from, _)| *other != memory || !(header..=header + HEADER).contains(from));
                }
            }
            Kind::Store(_) => self.stored = Some((memory, at)),
            _ => (),
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

    fn poll(at: usize) -> Access {
        Access { kind: Kind::Poll, ..load(at) }
    }

    #[test]
    fn a_second_load_is_seen_whatever_its_width_and_only_within_one_input() {
        let mut fetches = Fetches::default();
        assert!(!fetches.again(load(DATA)) && !fetches.again(load(DATA + 4)));
        assert!(!fetches.again(Access { memory: 1, ..load(DATA) }));
        assert!(fetches.again(Access { kind: Kind::Read, bytes: 1, ..load(DATA + 3) }));
        assert!(!fetches.again(Access { kind: Kind::Store(0), ..load(DATA) }));
        fetches.clear();
        assert!(!fetches.again(load(DATA)));
    }

    #[test]
    fn a_block_that_was_given_back_may_be_another_when_it_is_loaded_again() {
        let read = Access { kind: Kind::Read, bytes: 300, ..load(DATA + HEADER) };
        let exchange = Access { kind: Kind::Exchange { expected: 0, new: 1 }, ..load(FRONT) };
        let mut fetches = Fetches::default();
        assert!(!fetches.again(read) && !fetches.again(load(DATA + 512)));
        assert!(!fetches.again(Access { kind: Kind::Store(0), ..load(DATA) }));
        assert!(fetches.again(read), "not given back yet");
        // What follows the exchange at once is excused as its header would be.
        assert!(!fetches.again(exchange) && !fetches.again(load(DATA + 1024)));
        assert!(!fetches.again(read));
        assert!(fetches.again(load(DATA + 512)), "another block");
    }

    #[test]
    fn what_the_protocol_polls_may_be_loaded_again() {
        let mut fetches = Fetches::default();
        for _ in 0..2 {
            assert!(!fetches.again(poll(256 + 4)), "the status of a link state");
            assert!(!fetches.again(poll(20)), "the status of one where a liar put it");
            assert!(!fetches.again(poll(FRONT)), "the front of a free list");
            assert!(!fetches.again(load(DATA)), "the block it leads to");
        }
        assert!(!fetches.again(load(DATA)) && fetches.again(load(DATA)));
    }
}
