//! Hostile nodes among the others: whom they taint, how they come back, and how they are shut out in the end.

use super::stage::Stage;
use crate::check::Checked;
use crate::ghost::{EndId, Role};
use crate::hostile::Lies;
use crate::world::{LinkProfile, NOBODY};

impl Stage {
    /// From now on these processes lie: nothing that was ever at one of them is known any more.
    pub fn beware(&mut self, hostile: Vec<u32>, lies: &Lies) {
        if hostile.is_empty() {
            return;
        }
        for liar in &hostile {
            let held: Vec<EndId> = self.homes[*liar as usize].all().collect();
            held.into_iter().for_each(|end| self.ghost.taint(end));
            // Come back under another name, it may be introduced to what its broker still takes for alive: itself.
            (0..self.homes.len() as u32).for_each(|other| self.checks.honesty.lie(*liar, other));
        }
        self.returns = lies.returns;
        self.checks.hostility.begin(hostile, self.limits);
        self.world.let_lie(true);
    }

    /// A hostile node whose broker has dropped it connects anew, under another name.
    pub fn come_back(&mut self, broker: impl Fn(u32) -> Option<(u32, LinkProfile)>) -> Checked {
        for at in 0..self.checks.hostility.liars().len() {
            let liar = self.checks.hostility.liars()[at];
            let Some(body) = self.world.process(liar) else { continue };
            let (alone, named) = body.inspect(|view| {
                let alone = view.links_uncounted().iter().all(|link| link.dead);
                (alone, view.nodes().iter().any(|node| self.names.process(node.name).is_none() && node.name.is_valid()))
            });
            if named {
                self.names.extend(&self.world);
            }
            if !alone || self.returns == 0 {
                continue;
            }
            let Some((broker, profile)) = broker(liar).filter(|(broker, _)| !self.world.is_gone(*broker)) else { continue };
            self.returns -= 1;
            self.connect(liar, broker, Some(profile), Role::Connection)?;
        }
        Ok(())
    }

    /// The work is over: nobody lies any more, and what hostile nodes have is cut off.
    pub(super) fn shut_out(&mut self) {
        self.world.let_lie(false);
        for liar in self.checks.hostility.liars().to_vec() {
            for other in (0..self.homes.len() as u32).filter(|other| *other != liar) {
                self.world.cut_link(liar, other);
            }
            // A transport under way would hold its taker to a handshake that never comes.
            self.world.cut_link(liar, NOBODY);
        }
    }
}
