//! No byte of a parcel is in a process that was not sent it: by a message from one that knew it, or through the memory of a link
//! between the two (design.md 5). What is seen on the wire names parcels by the tags they begin with; in link memory the tag is read when
//! the message about it leaves. Where it can't be, only the number is known: then it counts as told to whoever is told of a parcel with
//! this number.

use std::collections::BTreeMap;

use ipcz::ids::SublinkId;

use super::broken::{LIE, Names};
use super::wire::{Seen, Sent};
use super::{Checked, Tally, Violation};
use crate::ghost::{EndId, Ghost, Knowers, TAG_BYTES, Taken, read_tag};
use crate::world::World;

const NAME: &str = "secrecy";

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Secrecy {
    /// Its counts.
    pub tally: Tally,
    /// Parcels under way in link memory whose tags were read: from, to, sublink and number.
    tags: BTreeMap<(u32, u32, SublinkId, u64), (EndId, u64)>,
    blocks: Blocks,
}

/// Which process was told by which of parcels in link memory, by their numbers. It may take a few more to have been told, never fewer.
#[derive(Clone, Debug)]
pub enum Blocks {
    /// In a small world, exactly: (to, from, number). Copies of it are cheap.
    Few(Vec<(u32, u32, u64)>),
    /// Bits of a hash.
    Many(Vec<u64>),
}

impl Default for Blocks {
    fn default() -> Blocks {
        Blocks::Few(Vec::new())
    }
}

impl Blocks {
    const FEW: usize = 32;
    const WORDS: usize = 1 << 16;

    fn place(to: u32, from: u32, number: u64) -> (usize, u64) {
        let mixed =
            (u64::from(to) << 32 | u64::from(from)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_mul(0xd1b5_4a32_d192_ed03);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 40) as usize % Blocks::WORDS, 1 << (mixed >> 34 & 63))
    }

    /// `from` told `to` of such a parcel.
    pub fn told(&mut self, to: u32, from: u32, number: u64) {
        match self {
            Blocks::Few(few) if few.contains(&(to, from, number)) => (),
            Blocks::Few(few) if few.len() < Blocks::FEW => few.push((to, from, number)),
            Blocks::Few(few) => {
                let few = std::mem::take(few);
                *self = Blocks::Many(vec![0; Blocks::WORDS]);
                for (to, from, number) in few.into_iter().chain([(to, from, number)]) {
                    self.told(to, from, number);
                }
            }
            Blocks::Many(bits) => {
                let (word, bit) = Blocks::place(to, from, number);
                bits[word] |= bit;
            }
        }
    }

    /// Whether `from` may have told `to` of such a parcel.
    pub fn may(&self, to: u32, from: u32, number: u64) -> bool {
        match self {
            Blocks::Few(few) => few.contains(&(to, from, number)),
            Blocks::Many(bits) => {
                let (word, bit) = Blocks::place(to, from, number);
                bits[word] & bit != 0
            }
        }
    }

    /// Whether `process` may know a parcel that `knowers` know.
    fn reaches(&self, knowers: &Knowers, process: u32, number: u64, processes: u32) -> bool {
        if knowers.contains(process) || knowers.iter().any(|from| self.may(process, from, number)) {
            return true;
        }
        // Rare: it came through processes that nothing else is known of.
        let mut known: Vec<u32> = knowers.iter().collect();
        let mut next = 0;
        while let Some(&from) = known.get(next) {
            next += 1;
            for to in 0..processes {
                if self.may(to, from, number) && !known.contains(&to) {
                    if to == process {
                        return true;
                    }
                    known.push(to);
                }
            }
        }
        false
    }
}

impl Secrecy {
    /// Its name.
    pub const NAME: &str = NAME;

    /// A parcel in link memory was sent.
    pub fn sent(&mut self, world: &World, names: &Names, sent: Sent) {
        let Some(body) = world.process(sent.from).filter(|body| !body.is_busy()) else { return };
        let begins: Option<[u8; TAG_BYTES]> =
            body.inspect(|view| view.parcel_begins(sent.fragment, |name| names.process(name) == Some(sent.to)));
        if let Some(tag) = begins.and_then(|bytes| read_tag(&bytes)) {
            self.tags.insert((sent.from, sent.to, sent.sublink, sent.number), tag);
        }
    }

    /// A parcel was delivered to a process.
    pub fn delivered(&mut self, ghost: &mut Ghost, seen: Seen, processes: u32) -> Checked {
        let tag = if seen.block { self.tags.remove(&(seen.from, seen.to, seen.sublink, seen.number)) } else { seen.tag };
        if seen.block && tag.is_none() {
            self.blocks.told(seen.to, seen.from, seen.number);
        }
        let Some((end, number)) = tag else { return Ok(()) };
        // Where its reader has closed or died, what is left of it interests nobody.
        if !ghost.knows(end) {
            return Ok(());
        }
        if ghost.pipe(end).tainted {
            self.tally.exempt(LIE);
            return Ok(());
        }
        let Some(parcel) = ghost.under_way(end, number) else { return Ok(()) };
        self.tally.count();
        if !self.blocks.reaches(&parcel.knowers, seen.from, seen.number, processes) {
            let text = format!("process {} sent on parcel {number} of {end}, which it was never sent", seen.from);
            return Err(Violation::new(NAME, "only who was sent a parcel knows it", text).at(end).in_process(seen.from));
        }
        parcel.knowers.add(seen.to);
        Ok(())
    }

    /// An application took a parcel in a process.
    pub fn taken(&mut self, from: EndId, taken: &Taken, process: u32, processes: u32) -> Checked {
        if (taken.parcel.length as usize) < TAG_BYTES && !taken.parcel.knowers.contains(process) {
            self.tally.exempt("parcel too short to be recognised");
            return Ok(());
        }
        self.tally.count();
        if self.blocks.reaches(&taken.parcel.knowers, process, taken.number, processes) {
            return Ok(());
        }
        let text = format!("process {process} took parcel {} of {from}, which no message brought there", taken.number);
        Err(Violation::new(NAME, "only who was sent a parcel knows it", text).at(from).in_process(process))
    }
}

#[cfg(test)]
mod tests {
    use ipcz::ids::{Handle, SublinkId};

    use super::*;
    use crate::ghost::Role;

    fn ghost() -> (Ghost, EndId) {
        let mut ghost = Ghost::default();
        let handles = [1, 2].map(|bits| Handle::from_bits(bits).unwrap());
        let end = ghost.open(Role::Random, [(0, handles[0]), (1, handles[1])]);
        ghost.put(end, 0, 100, None, true);
        (ghost, end)
    }

    fn inline(from: u32, to: u32) -> Seen {
        Seen { from, to, sublink: SublinkId(12), number: 0, tag: Some((EndId(0), 0)), block: false }
    }

    #[test]
    fn who_was_sent_a_parcel_may_send_it_on_and_take_it() {
        let (mut ghost, end) = ghost();
        let mut checker = Secrecy::default();
        checker.delivered(&mut ghost, inline(0, 2), 9).unwrap();
        checker.delivered(&mut ghost, Seen { block: true, tag: None, ..inline(2, 5) }, 9).unwrap();
        checker.delivered(&mut ghost, Seen { block: true, tag: None, ..inline(5, 6) }, 9).unwrap();
        checker.delivered(&mut ghost, inline(6, 1), 9).unwrap();
        let taken = ghost.take(end.twin()).unwrap();
        for process in [0, 1, 2, 5, 6] {
            checker.taken(end, &taken, process, 9).unwrap();
        }
        assert!(checker.taken(end, &taken, 3, 9).is_err());
    }

    #[test]
    fn what_was_told_stays_told_however_much_there_is() {
        let mut blocks = Blocks::default();
        for number in 0..200 {
            blocks.told(1, 0, number);
            assert!((0..=number).all(|number| blocks.may(1, 0, number)), "{number}");
        }
        assert!((0..200).filter(|number| blocks.may(2, 0, *number)).count() < 3);
    }

    #[test]
    fn who_was_not_sent_a_parcel_may_not_send_it_on_in_link_memory_either() {
        let (mut ghost, end) = ghost();
        let mut checker = Secrecy::default();
        let block = |from, to| Seen { block: true, tag: None, ..inline(from, to) };
        let mut read = |checker: &mut Secrecy, from, to| {
            checker.tags.insert((from, to, SublinkId(12), 0), (end, 0));
            checker.delivered(&mut ghost, block(from, to), 9)
        };
        read(&mut checker, 0, 2).unwrap();
        read(&mut checker, 2, 1).unwrap();
        assert!(read(&mut checker, 3, 1).is_err());
        assert!(checker.tags.is_empty(), "what has arrived is forgotten");
    }

    #[test]
    fn who_was_not_sent_a_parcel_may_not_send_it_on() {
        let (mut ghost, _) = ghost();
        let mut checker = Secrecy::default();
        checker.delivered(&mut ghost, inline(0, 2), 9).unwrap();
        assert!(checker.delivered(&mut ghost, inline(3, 1), 9).is_err());
    }
}
