//! The state that both ends of a central link between two nodes share (memory.md 8, 10; routing.md 2.4).

use super::block_allocator::MAX_TRIES;
use super::fragment::MappedFragment;
use super::layout::LINK_STATE_BYTES;
use super::status;
use crate::ids::{FragmentDescriptor, LinkSide, NodeName};
use crate::mapping::Mapping;
use crate::planted::Bug;
use std::cell::Cell;
use std::sync::atomic::Ordering;

const COUNT_AT: usize = 0;
const STATUS_AT: usize = 4;
const SOURCE_HIGH_AT: usize = 8;
const SOURCE_LOW_AT: usize = 16;

/// One reference to a RouterLinkState in link memory. Not given up by dropping but by [`LinkState::release`].
///
/// Where the peer makes every compare-exchange fail, an operation gives up after [`MAX_TRIES`]: it changes nothing and
/// answers false. Only the peer's own route suffers.
#[derive(Clone, Debug)]
pub struct LinkState {
    fragment: MappedFragment,
}

/// Outcome of adopting a link state that a message carried.
#[derive(Clone, Debug)]
pub enum Adopted {
    /// The buffer is not known yet: the router link works without a state until it is.
    Pending,
    /// The state, with the reference that came with the message.
    State(LinkState),
}

impl LinkState {
    /// Takes over one reference to the state there; at least 64 bytes, 8-aligned.
    pub(super) fn over(fragment: MappedFragment) -> LinkState {
        LinkState { fragment }
    }

    /// Makes a state of a block just allocated, with one reference (memory.md 10.2).
    pub(super) fn initialise(fragment: MappedFragment) -> LinkState {
        let (mapping, at) = (fragment.mapping(), fragment.offset());
        mapping.write(at, &[0; LINK_STATE_BYTES as usize]);
        mapping.store32(at + COUNT_AT, 1, Ordering::Release);
        mapping.fence();
        LinkState { fragment }
    }

    fn mapping(&self) -> &Mapping {
        self.fragment.mapping()
    }

    fn planted(&self, bug: Bug) -> bool {
        self.fragment.planted().has(bug)
    }

    fn at(&self, field: usize) -> usize {
        self.fragment.offset() + field
    }

    /// Its name on the link, without a reference to go with it.
    pub fn descriptor(&self) -> FragmentDescriptor {
        self.fragment.descriptor()
    }

    /// Adds a reference for a message to carry and answers the descriptor to put in it.
    pub fn share(&self) -> FragmentDescriptor {
        if !self.planted(Bug::ShareUncounted) {
            self.mapping().add32(self.at(COUNT_AT), 1, Ordering::Relaxed);
        }
        self.descriptor()
    }

    /// Gives this reference up; the last one frees the block, whichever end has it. True if that happened. States of
    /// initial portals are never freed.
    pub fn release(self) -> bool {
        let before = self.count_down();
        before <= 1 && self.fragment.free()
    }

    /// Counts a reference off; answers how many there were.
    fn count_down(&self) -> i32 {
        let (m, at) = (self.mapping(), self.at(COUNT_AT));
        if self.planted(Bug::CountLoadStore) {
            let before = m.poll32(at, Ordering::Acquire) as i32;
            m.store32(at, before.wrapping_sub(1) as u32, Ordering::Release);
            return before;
        }
        let before = m.add32(at, -1, Ordering::AcqRel);
        if self.planted(Bug::CountReadAgain) {
            return (m.poll32(at, Ordering::Acquire) as i32).wrapping_add(1);
        }
        before
    }

    /// References on it; none if it is never freed, and so not counted.
    #[cfg(feature = "inspect")]
    pub fn references(&self) -> Option<i32> {
        self.fragment.is_freed().then(|| self.mapping().poll32(self.at(COUNT_AT), Ordering::Acquire) as i32)
    }

    /// The status word now ([`status`]).
    pub fn status(&self) -> u32 {
        self.mapping().poll32(self.at(STATUS_AT), Ordering::Acquire)
    }

    /// Carries a transition of the status word out in one atomic step, unless `split` is planted.
    fn change(&self, split: Option<Bug>, step: impl Fn(u32) -> (u32, bool)) -> bool {
        let mut old = self.status();
        if split.is_some_and(|bug| self.planted(bug)) {
            let (new, answer) = step(old);
            if new != old {
                self.mapping().store32(self.at(STATUS_AT), new, Ordering::Release);
            }
            return answer;
        }
        for _ in 0..MAX_TRIES {
            let (new, answer) = step(old);
            if new == old {
                return answer;
            }
            match self.mapping().exchange32(self.at(STATUS_AT), old, new, Ordering::AcqRel) {
                Ok(_) => return answer,
                Err(now) => old = now,
            }
        }
        false
    }

    /// Marks `me` stable: no decaying links behind this link.
    pub fn set_stable(&self, me: LinkSide) {
        self.change(Some(Bug::StableLoadStore), |word| (status::set_stable(word, me), true));
    }

    /// Locks the link for `me`, or notes that `me` waits for the other side's stability; see [`status::try_lock`].
    pub fn try_lock(&self, me: LinkSide) -> Result<(), status::Refused> {
        let seen = Cell::new(0);
        let locked = self.change(Some(Bug::LockLoadStore), |word| {
            seen.set(word);
            status::try_lock(word, me)
        });
        if locked { Ok(()) } else { Err(status::refusal(seen.get(), me)) }
    }

    /// Gives up the lock of `me`.
    pub fn unlock(&self, me: LinkSide) {
        self.change(None, |word| (status::unlock(word, me), true));
    }

    /// Whether `who` waited and is now to be told; see [`status::take_waiting`].
    pub fn take_waiting(&self, who: LinkSide) -> bool {
        self.change(Some(Bug::WakeLoadStore), |word| status::take_waiting(word, who))
    }

    /// Whether `side` holds the lock.
    pub fn is_locked_by(&self, side: LinkSide) -> bool {
        status::is_locked_by(self.status(), side)
    }

    /// Names the node that may ask the other side for a bypass; only while locked. The invalid name for a local target.
    pub fn allow_source(&self, name: NodeName) {
        if self.planted(Bug::SourceUnnamed) {
            return;
        }
        self.mapping().store64(self.at(SOURCE_HIGH_AT), name.high, Ordering::Release);
        self.mapping().store64(self.at(SOURCE_LOW_AT), name.low, Ordering::Release);
    }

    /// The node that may ask for a bypass. May be torn, so only to be compared with an authenticated name.
    pub fn allowed_source(&self) -> NodeName {
        let high = self.mapping().load64(self.at(SOURCE_HIGH_AT), Ordering::Acquire);
        NodeName { high, low: self.mapping().load64(self.at(SOURCE_LOW_AT), Ordering::Acquire) }
    }

    /// Lets `f` swap the mapping, for a clone of a whole world.
    pub fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        self.fragment.remap(f);
    }
}
