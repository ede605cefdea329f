//! Who goes next. A policy picks one of the things that are ready: at depth L0 channels with a message, at depth L1 activities.
//! It draws from [`Site::Policy`] and proposes; [`Source::settle`](crate::choice::Source::settle) has the last word, so that what it
//! picked can be recorded, replayed and shrunk without it.

use crate::choice::{Choices, Site, Source};

/// Something that can go next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// The channel or activity: what comes of one chain keeps its order. Numbered densely from 0 in the order of first appearance.
    pub chain: u32,
    /// When it became ready, in the order of all that ever did; the lowest is the oldest.
    pub born: u64,
    /// What it would touch: two of different values never conflict. 0: unknown, conflicts with everything.
    pub touches: u64,
    /// Whether it may change what it touches.
    pub writes: bool,
}

/// How the next one is picked.
#[derive(Clone, Debug)]
pub enum Policy {
    /// The default one, always.
    Fifo,
    /// Each with the same probability.
    Random,
}

impl Policy {
    /// Proposes one of `ready` (at least one; the first is the default).
    pub fn pick(&mut self, ready: &[Ready], source: &mut Source) -> u32 {
        match self {
            Policy::Fifo => 0,
            Policy::Random => source.draw(Site::Policy(0), 0, ready.len() as u32),
        }
    }
}
