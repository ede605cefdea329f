//! Where a link's buffer and sublink ids come from (memory.md 4).

use super::block_allocator::MAX_TRIES;
use super::primary::{FIRST_BUFFER, FIRST_SUBLINK, NEXT_BUFFER, NEXT_SUBLINK};
use crate::ids::{BufferId, LinkSide, SublinkId};
use crate::mapping::Mapping;
use crate::planted::{Bug, Planted};
use std::sync::atomic::Ordering;

/// How many candidates are drawn before giving up: the shared words are the peer's to spoil.
const MAX_DRAWS: u32 = 16;
const SIDE_B: u64 = 1 << 63;

/// The source of ids.
#[derive(Clone, Debug)]
pub(super) enum Counters {
    /// Words of the primary buffer, common to both ends: candidates only.
    Shared,
    /// Each end counts for itself, side B with bit 63 set (mem_v2).
    Private { side_bit: u64, buffers: u64, sublinks: u64 },
}

impl Counters {
    pub(super) fn new(side: LinkSide, mem_v2: bool) -> Counters {
        if !mem_v2 {
            return Counters::Shared;
        }
        let side_bit = if side == LinkSide::B { SIDE_B } else { 0 };
        Counters::Private { side_bit, buffers: FIRST_BUFFER, sublinks: FIRST_SUBLINK }
    }

    /// Has no sublink below `base` drawn from now on, as far as the peer lets us.
    pub(super) fn raise_sublinks(&mut self, primary: &Mapping, base: u64) {
        match self {
            Counters::Private { sublinks, .. } => *sublinks = base.max(*sublinks),
            Counters::Shared => {
                let mut now = primary.poll64(NEXT_SUBLINK, Ordering::Relaxed);
                for _ in 0..MAX_TRIES {
                    if now >= base {
                        return;
                    }
                    match primary.exchange64(NEXT_SUBLINK, now, base, Ordering::Relaxed) {
                        Ok(_) => return,
                        Err(other) => now = other,
                    }
                }
            }
        }
    }

    /// The first of `count` consecutive sublinks, none of them reserved or in use.
    pub(super) fn draw_sublinks(
        &mut self,
        primary: &Mapping,
        count: u64,
        in_use: impl Fn(SublinkId) -> bool,
        planted: Planted,
    ) -> Option<SublinkId> {
        let counted = if planted.has(Bug::SecondSublinkUncounted) { 1 } else { count };
        (0..MAX_DRAWS).find_map(|_| {
            let first = match self {
                Counters::Shared if planted.has(Bug::SublinksLoadStore) => {
                    let first = primary.poll64(NEXT_SUBLINK, Ordering::Relaxed);
                    primary.store64(NEXT_SUBLINK, first.wrapping_add(counted), Ordering::Relaxed);
                    first
                }
                Counters::Shared => primary.add64(NEXT_SUBLINK, counted, Ordering::Relaxed),
                Counters::Private { side_bit, sublinks, .. } => draw(sublinks, counted)? | *side_bit,
            };
            let end = first.checked_add(count)?;
            (first >= FIRST_SUBLINK && !(first..end).any(|id| in_use(SublinkId(id)))).then_some(SublinkId(first))
        })
    }

    /// A buffer id that is valid and not known.
    pub(super) fn draw_buffer(&mut self, primary: &Mapping, known: impl Fn(BufferId) -> bool) -> Option<BufferId> {
        (0..MAX_DRAWS).find_map(|_| {
            let id = BufferId(match self {
                Counters::Shared => primary.add64(NEXT_BUFFER, 1, Ordering::Relaxed),
                Counters::Private { side_bit, buffers, .. } => draw(buffers, 1)? | *side_bit,
            });
            (id != BufferId::INVALID && !known(id)).then_some(id)
        })
    }
}

/// Takes `count` numbers below bit 63.
fn draw(counter: &mut u64, count: u64) -> Option<u64> {
    let (first, end) = (*counter, counter.checked_add(count)?);
    (end <= SIDE_B).then(|| {
        *counter = end;
        first
    })
}
