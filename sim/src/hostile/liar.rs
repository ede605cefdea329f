//! A hostile node at work. Beside it runs an honest core, so that it really has links, routes and portals that move; what that says and
//! hears is learnt from, and each time a lie may be told.

use std::collections::BTreeMap;

use super::damage::encode;
use super::dice::Dice;
use super::forge::{Said, Thing, Words, forge};
use super::known::Known;
use super::lies::{ALL, COUNT, Lie, Lies, Told};
use super::memory::{PRIMARY_BYTES, another, scribble};
use crate::choice::{Choices, Site};
use crate::trace::Kind;
use crate::world::activity::{Access, Kind as How};
use crate::world::{Carried, NOBODY, State};

/// Draws about whether a lie is told, and about which and over which link.
const WHETHER: Site = Site::Lie(254);
const WHICH: Site = Site::Lie(255);
/// Depth L1: words are changed at so many times fewer of the accesses than messages are lied about.
const SELDOM: u32 = 16;
/// And what the honest core says is changed or withheld so many times less often than something is said beside it.
const OWN: u32 = 8;
/// Where the fields of a message's parameters begin (wire.md 2, 3).
const FIELDS: usize = 32;

/// All hostile processes of a world.
#[derive(Clone, Default, Debug)]
pub struct Liars {
    plan: Lies,
    /// By process.
    known: BTreeMap<u32, Known>,
    /// How many lies each may still tell.
    left: BTreeMap<u32, u64>,
    /// Lies are told now.
    on: bool,
    /// By lie.
    told: Vec<u64>,
}

impl Liars {
    /// These processes will lie, once they are let.
    pub fn new(plan: &Lies, hostile: &[u32]) -> Liars {
        Liars {
            plan: plan.clone(),
            known: hostile.iter().map(|process| (*process, Known::default())).collect(),
            left: hostile.iter().map(|process| (*process, plan.most)).collect(),
            on: false,
            told: vec![0; COUNT],
        }
    }

    /// Whether a process is hostile.
    #[inline]
    pub fn has(&self, process: u32) -> bool {
        !self.known.is_empty() && self.known.contains_key(&process)
    }

    /// Whether lies may be told now.
    #[inline]
    pub fn at_work(&self) -> bool {
        self.on
    }

    /// From now on lies are told, or no longer.
    pub fn let_lie(&mut self, on: bool) {
        self.on = on && !self.known.is_empty();
    }

    /// How often each lie of the plan was told.
    pub fn told(&self) -> Vec<Told> {
        if self.known.is_empty() {
            return Vec::new();
        }
        let planned = ALL.iter().filter(|about| self.plan.lies.contains(&about.lie));
        planned.map(|about| Told { lie: about.lie, times: self.told[about.lie as usize] }).collect()
    }

    fn note(&mut self, process: u32, lie: Lie) {
        self.told[lie as usize] += 1;
        if let Some(left) = self.left.get_mut(&process) {
            *left -= 1;
        }
    }
}

/// What becomes of a message that an honest core wants to send.
#[derive(PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is sent, changed or not.
    Sent,
    /// It is not.
    Withheld,
}

impl State {
    /// Whether a lie is told at an opportunity that comes `seldom` times as often as a message.
    fn lies_now(&mut self, process: u32, seldom: u32) -> bool {
        if !self.liars.on || self.liars.left.get(&process).is_none_or(|left| *left == 0) || self.gone(process) {
            return false;
        }
        let [yes, of] = self.liars.plan.chance;
        let weights = [of.saturating_mul(seldom).saturating_sub(yes), yes];
        self.source.choose(WHETHER, process, 2, Some(&weights)) == 1
    }

    /// A hostile process's core sends a message: what becomes of it.
    pub fn says(&mut self, process: u32, end: u32, bytes: &mut [u8], carried: &[Carried]) -> Fate {
        self.learn(process, end, bytes, carried, true);
        let mine = [Lie::Withheld, Lie::ChangedField].map(|lie| self.liars.plan.lies.contains(&lie));
        if mine == [false, false] || !self.lies_now(process, OWN) {
            return Fate::Sent;
        }
        if mine[0] && (!mine[1] || self.source.draw(WHICH, process, 2) == 0) {
            self.liars.note(process, Lie::Withheld);
            self.note_lie(process, Lie::Withheld);
            return Fate::Withheld;
        }
        if bytes.len() >= FIELDS + 8 {
            let mut dice = Dice::new(&mut self.source, Site::Lie(Lie::ChangedField as u8), process);
            change_field(bytes, &mut dice);
            self.liars.note(process, Lie::ChangedField);
            self.note_lie(process, Lie::ChangedField);
            self.trace.fold(bytes);
        }
        Fate::Sent
    }

    /// A hostile process hears a message.
    pub fn hears(&mut self, process: u32, end: u32, bytes: &[u8], carried: &[Carried]) {
        self.learn(process, end, bytes, carried, false);
    }

    fn learn(&mut self, process: u32, end: u32, bytes: &[u8], carried: &[Carried], said: bool) {
        let transports: Vec<u32> =
            carried.iter().filter_map(|carried| if let Carried::Transport(end) = carried { Some(*end) } else { None }).collect();
        if let Some(known) = self.liars.known.get_mut(&process) {
            known.learn(end, bytes, &transports, carried.len(), said);
        }
    }

    fn note_lie(&mut self, process: u32, lie: Lie) {
        self.trace.record(Kind::Fault, process, self.now, 1 << 34 | lie as u64);
    }

    /// A hostile process has said or heard something over one of its links: it may lie, there or elsewhere.
    pub fn lie(&mut self, process: u32, about: u32) {
        if !self.lies_now(process, 1) {
            return;
        }
        let Some(known) = self.liars.known.remove(&process) else { return };
        let mine = |end: &&u32| self.ends[**end as usize].holder == process && self.is_live(**end);
        let ends: Vec<u32> = known.ends.keys().filter(mine).copied().collect();
        if !ends.is_empty() {
            let here = ends.contains(&about) && self.source.draw(WHICH, process, 2) == 0;
            let end = if here { about } else { ends[self.source.draw(WHICH, process, ends.len() as u32) as usize] };
            let lies = self.liars.plan.lies.len();
            let first = self.source.draw(WHICH, process, lies as u32) as usize;
            for turn in 0..lies {
                let lie = self.liars.plan.lies[(first + turn) % lies];
                if self.tell_lie(&known, process, end, lie) {
                    self.liars.note(process, lie);
                    break;
                }
            }
        }
        self.liars.known.insert(process, known);
    }

    /// Tells a lie, if what the liar knows makes that possible.
    fn tell_lie(&mut self, known: &Known, process: u32, end: u32, lie: Lie) -> bool {
        let mut dice = Dice::new(&mut self.source, Site::Lie(lie as u8), process);
        if let Some(said) = forge(lie, known, end, &mut dice) {
            self.note_lie(process, lie);
            for said in said {
                self.utter(process, end, said);
            }
            return true;
        }
        let Some(words) = known.ends.get(&end).and_then(|far| scribble(lie, known, far, &mut dice)) else { return false };
        let Some(memory) = self.primary_of(process, end) else { return false };
        self.note_lie(process, lie);
        for word in words {
            self.store(memory, word.at, word.width, word.value);
        }
        true
    }

    /// The primary buffer of a link.
    fn primary_of(&mut self, process: u32, end: u32) -> Option<u32> {
        let far = self.far_holder(end);
        self.shared_memories(process, far).into_iter().rev().find(|index| self.memory(*index).len() == PRIMARY_BYTES)
    }

    /// Sends what a liar says, with what goes with it.
    fn utter(&mut self, process: u32, end: u32, said: Said) {
        let carried: Vec<Carried> = said.things.iter().map(|thing| self.make(process, end, *thing)).collect();
        let bytes = match said.words {
            Words::Message(message) => encode(&message, &said.things),
            Words::Bytes(bytes) => bytes,
        };
        let to = self.far_holder(end);
        self.trace.transmit(self.now, process, to, end, &bytes, carried.len());
        self.dispatch(process, end, bytes, carried, 0);
    }

    fn make(&mut self, process: u32, end: u32, thing: Thing) -> Carried {
        match thing {
            Thing::Memory(bytes) => Carried::Memory(self.add_memory(bytes, process)),
            Thing::Transport => {
                let [given, _] = self.transport_pair([self.far_holder(end), process], self.profile(end));
                self.ends[given as usize].holder = NOBODY;
                Carried::Transport(given)
            }
        }
    }

    /// Depth L1: a process is about to use a word of link memory, which a hostile one may change first.
    pub fn lie_between(&mut self, process: u32, access: Access) {
        let (How::Load | How::Poll | How::Exchange { .. } | How::Add(_)) = access.kind else { return };
        if !self.liars.plan.lies.contains(&Lie::BetweenLoads) || self.liars.has(process) {
            return;
        }
        let Some(liar) = self.liars.known.keys().copied().find(|liar| self.has_mapped(access.memory, *liar)) else { return };
        if !self.lies_now(liar, SELDOM) {
            return;
        }
        let old = self.load(access);
        let mut dice = Dice::new(&mut self.source, Site::Lie(Lie::BetweenLoads as u8), liar);
        let new = another(old, &mut dice);
        self.liars.note(liar, Lie::BetweenLoads);
        self.note_lie(liar, Lie::BetweenLoads);
        let width = access.width();
        let mask = if width.bytes() == 8 { u64::MAX } else { (1 << (8 * width.bytes())) - 1 };
        self.store(access.memory, access.at, width, new & mask);
    }
}

/// Changes a word of the parameters of a message.
fn change_field(bytes: &mut [u8], dice: &mut Dice<'_>) {
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let size = word(bytes, FIELDS - 8) as usize;
    let words = (size.saturating_sub(8).min(bytes.len() - FIELDS) / 4).max(1);
    let at = FIELDS + 4 * dice.below(words);
    let old = word(bytes, at);
    let new = match dice.below(5) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => dice.pick([0, u32::MAX, 1 << 31]),
        3 => old ^ 1 << dice.below(32),
        _ => dice.below(64) as u32,
    };
    bytes[at..at + 4].copy_from_slice(&new.to_le_bytes());
}
