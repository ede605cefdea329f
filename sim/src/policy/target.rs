//! Policies that hold something back for as long as anything else is ready.

use super::{Ready, site};
use crate::choice::{Choices, Source};
use crate::events::EventKind;

/// What is held back, by numbers of processes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matcher {
    /// Messages of a kind.
    Kind(u8),
    /// Whatever happens to a process.
    Node(u32),
    /// Whatever two processes tell each other.
    Link(u32, u32),
}

impl Matcher {
    fn matches(self, one: &Ready) -> bool {
        let event = &one.event;
        match self {
            Matcher::Kind(id) => event.kind == EventKind::Message(id),
            Matcher::Node(node) => event.to == node,
            Matcher::Link(a, b) => event.from != event.to && ((event.from, event.to) == (a, b) || (event.from, event.to) == (b, a)),
        }
    }
}

/// Any of the others, uniformly; if there is none, any.
pub(super) fn hold_back(matcher: &Matcher, ready: &[Ready], source: &mut Source) -> u32 {
    let others = ready.iter().filter(|one| !matcher.matches(one)).count() as u32;
    if others == 0 {
        return source.draw(site::PICK, 0, ready.len() as u32);
    }
    let chosen = source.draw(site::PICK, 0, others) as usize;
    ready.iter().enumerate().filter(|(_, one)| !matcher.matches(one)).nth(chosen).map_or(0, |(at, _)| at as u32)
}
