//! The status word of a link between two routers and its transitions (memory.md 10.3), the same for links through
//! shared memory and for local ones, which keep the word privately. Unknown bits are preserved and mean nothing.

use crate::ids::LinkSide;

/// Both sides are stable: neither has decaying links behind this link.
pub const STABLE: u32 = 0x03;
/// Either side holds the lock.
pub const LOCKED: u32 = 0x30;

/// The bit of a stable side.
pub fn stable(side: LinkSide) -> u32 {
    match side {
        LinkSide::A => 0x01,
        LinkSide::B => 0x02,
    }
}

/// The bit of a side whose lock attempt failed because the other was not stable.
pub fn waiting(side: LinkSide) -> u32 {
    stable(side) << 2
}

/// The bit of a side that holds the lock.
pub fn locked(side: LinkSide) -> u32 {
    stable(side) << 4
}

/// Why a lock was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// An end has it, or every attempt to change the word was spoilt.
    Held,
    /// The asking end is not stable.
    Unstable,
    /// The other end is not stable: it will see that this one waits.
    Waits,
    /// The state's memory is not known yet.
    Pending,
    /// The link has no state: it is not central.
    Peripheral,
}

/// Why a lock for `me` is refused where the status is `word`.
pub fn refusal(word: u32, me: LinkSide) -> Refused {
    match word {
        _ if word & LOCKED != 0 => Refused::Held,
        _ if word & stable(me) == 0 => Refused::Unstable,
        _ if word & STABLE != STABLE => Refused::Waits,
        _ => Refused::Held,
    }
}

/// Marks `me` stable.
pub fn set_stable(word: u32, me: LinkSide) -> u32 {
    word | stable(me)
}

/// Locks for `me` if both sides are stable and nobody has the lock. A failure leaves a trace only if nothing but the other
/// side's stability was missing: then `me` waits.
pub fn try_lock(word: u32, me: LinkSide) -> (u32, bool) {
    if word & LOCKED != 0 || word & stable(me) == 0 {
        (word, false)
    } else if word & STABLE != STABLE {
        (word | waiting(me), false)
    } else {
        (word | locked(me), true)
    }
}

/// Gives the lock of `me` up.
pub fn unlock(word: u32, me: LinkSide) -> u32 {
    word & !locked(me)
}

/// Takes the waiting bit of `who`, if both sides are stable and nobody has the lock: then `who` is to be told.
pub fn take_waiting(word: u32, who: LinkSide) -> (u32, bool) {
    if word & (STABLE | LOCKED | waiting(who)) == STABLE | waiting(who) { (word & !waiting(who), true) } else { (word, false) }
}

/// Whether `side` holds the lock.
pub fn is_locked_by(word: u32, side: LinkSide) -> bool {
    word & locked(side) != 0
}
