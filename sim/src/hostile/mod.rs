//! Hostile nodes: they speak the wire format and lie (spec/hazards.md; routing.md 20: R46, R47). Here stand the lies, who tells them, and
//! what must hold for everybody else. The engine only says when a hostile process says or hears something.

mod check;
mod damage;
mod dice;
mod forge;
mod known;
mod liar;
mod lies;
mod memory;
mod portals;
#[cfg(test)]
mod tests;

pub use check::{Hostility, Spent};
pub use liar::{Fate, Liars};
pub use lies::{ALL, About, Guard, Lie, Lies, Told};
