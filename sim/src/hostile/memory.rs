//! Lies in the memory of a link (memory.md 2, 5, 10): words that both ends believe.

use ipcz::ids::{BufferId, FragmentDescriptor, NodeName};
use ipcz::mapping::Width;

use super::dice::Dice;
use super::known::{Far, Known};
use super::lies::Lie;

/// Bytes of the buffer that every link has.
pub const PRIMARY_BYTES: usize = 131_072;
/// Its pools: where they start, bytes of a block, blocks.
const POOLS: [(usize, usize, usize); 6] =
    [(1024, 64, 1484), (96_000, 256, 9), (98_304, 512, 8), (102_400, 1024, 4), (106_496, 2048, 4), (114_688, 4096, 4)];
/// The link state of the first initial portal.
const FIRST_STATE: usize = 256;

/// A word to be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scribble {
    /// Bytes from the start of the primary buffer.
    pub at: usize,
    /// Its width.
    pub width: Width,
    /// What it becomes.
    pub value: u64,
}

/// Words to be written into the primary buffer of a link; none if nothing it knows makes that possible.
pub fn scribble(lie: Lie, known: &Known, far: &Far, dice: &mut Dice<'_>) -> Option<Vec<Scribble>> {
    let word = |at, value: u32| Scribble { at, width: Width::W32, value: value.into() };
    let long = |at, value| Scribble { at, width: Width::W64, value };
    Some(match lie {
        Lie::FreeList => {
            let (start, block, blocks) = dice.pick(POOLS);
            let at = if dice.below(2) == 0 { start } else { start + block * (1 + dice.below((blocks - 1).min(8))) };
            let next = dice.pick([0, 1, -1, -2, blocks as i16, i16::MAX, i16::MIN, (blocks / 2) as i16]);
            vec![word(at, u32::from(next as u16) << 16 | dice.pick([0, 1, 0xffff]))]
        }
        Lie::StatusWord => vec![word(state(far, dice) + 4, dice.pick([0, 0x3, 0x13, 0x23, 0x33, 0x3f, 0x0f, 0x30, u32::MAX, 0x43]))],
        Lie::ReferenceCount => vec![word(state(far, dice), dice.pick([0, 1, 2, u32::MAX, 1 << 31, 77]))],
        Lie::SourceName => {
            let at = state(far, dice);
            let name = match dice.below(3) {
                0 => known.own?,
                1 => NodeName::INVALID,
                _ => dice.any(&known.names)?,
            };
            // The lock as well: a name counts only with it.
            let lock = dice.pick([0x13, 0x23, 0x33]);
            vec![long(at + 8, name.high), long(at + 16, name.low), word(at + 4, lock)]
        }
        Lie::Counters => {
            let in_use = dice.any(&far.sublinks).map_or(0, |(id, _)| id.0);
            vec![long(dice.pick([0, 8]), dice.pick([0, 1, in_use, u64::MAX, u64::MAX - 1, 1 << 63]))]
        }
        Lie::ParcelHeader => {
            let FragmentDescriptor { offset, size, .. } = data(far, dice)?;
            vec![word(offset as usize, dice.pick([0, size - 8, size - 7, size, u32::MAX, 1 << 31]))]
        }
        Lie::ChangingData => {
            let FragmentDescriptor { offset, size, .. } = data(far, dice)?;
            let room = (size as usize - 8) / 4;
            vec![word(offset as usize + 8 + 4 * dice.below(room.clamp(1, 16)), 0x5ca1_ab1e)]
        }
        _ => return None,
    })
}

/// Where a link state lies: one in use if any is known.
fn state(far: &Far, dice: &mut Dice<'_>) -> usize {
    let fits =
        |d: &&FragmentDescriptor| d.buffer == BufferId::PRIMARY && d.offset.is_multiple_of(8) && d.offset as usize + 64 <= PRIMARY_BYTES;
    let known: Vec<usize> = far.states.iter().filter(fits).map(|d| d.offset as usize).chain([FIRST_STATE]).collect();
    dice.any(&known).unwrap_or(FIRST_STATE)
}

/// Where data lay.
fn data(far: &Far, dice: &mut Dice<'_>) -> Option<FragmentDescriptor> {
    let fits = |d: &&FragmentDescriptor| {
        d.buffer == BufferId::PRIMARY
            && d.offset.is_multiple_of(8)
            && d.size >= 16
            && u64::from(d.offset) + u64::from(d.size) <= PRIMARY_BYTES as u64
    };
    dice.any(&far.data.iter().filter(fits).copied().collect::<Vec<_>>())
}

/// What a word becomes just before it is used.
pub fn another(old: u64, dice: &mut Dice<'_>) -> u64 {
    match dice.below(6) {
        0 => 0,
        1 => u64::MAX,
        2 => !old,
        3 => old.wrapping_add(1),
        4 => old ^ 1 << dice.below(32),
        _ => 0x33,
    }
}
