//! What must hold for everybody but the liar (hazards.md 0, I8; nodes.md 11.2): nobody sees what is not its own, and no honest node spends
//! more on a liar's link than its limits name. That routes between honest nodes are whole, direct and at rest is for the other checkers:
//! they let pass only what became of routes that were ever at a hostile node ([`crate::ghost::Ghost::taint`]).

use ipcz::api::Process;
use ipcz::inspect::Spending;
use ipcz::limits::Limits;

use crate::check::{Checked, Names, Seen, Tally, Violation};
use crate::ghost::Ghost;
use crate::world::World;

const NAME: &str = "hostility";

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Hostility {
    /// Its counts.
    pub tally: Tally,
    /// Hostile processes, ascending.
    hostile: Vec<u32>,
    limits: Limits,
    /// Most that was spent on a liar's link of each kind that is limited.
    pub most: Spent,
}

/// What was spent at most.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Spent {
    /// Parcels for sublinks that are not there.
    pub early: usize,
    /// Parcels and states that wait for buffers.
    pub waits: usize,
    /// Buffers of the peer's.
    pub buffers: usize,
    /// Bound sublinks.
    pub sublinks: usize,
}

impl Hostility {
    /// Its name.
    pub const NAME: &str = NAME;

    /// From now on these processes are hostile, and the others have these limits.
    pub fn begin(&mut self, hostile: Vec<u32>, limits: Limits) {
        (self.hostile, self.limits) = (hostile, limits);
    }

    /// Whether anybody is.
    pub fn any(&self) -> bool {
        !self.hostile.is_empty()
    }

    /// The hostile processes.
    pub fn liars(&self) -> &[u32] {
        &self.hostile
    }

    /// Whether a process is hostile.
    pub fn is(&self, process: u32) -> bool {
        self.hostile.binary_search(&process).is_ok()
    }

    /// A parcel was delivered to a process.
    pub fn delivered(&mut self, ghost: &mut Ghost, seen: Seen) -> Checked {
        let (true, Some((end, number))) = (self.is(seen.to), seen.tag) else { return Ok(()) };
        if !ghost.knows(end) || ghost.pipe(end).tainted || ghost.under_way(end, number).is_none() {
            return Ok(());
        }
        self.tally.count();
        let text = format!("process {} got parcel {number} of {end}, which was never at a hostile node", seen.to);
        Err(Violation::new(NAME, "I8: no hostile node observes a route between honest ones", text).at(end).in_process(seen.to))
    }

    /// An honest process was called: what it now spends on links to liars.
    pub fn spending(&mut self, process: u32, body: &Process, names: &Names) -> Checked {
        if self.is(process) {
            return Ok(());
        }
        // Whoever has no name of the set-up is a liar that came back.
        let liar = |name| names.process(name).is_none_or(|far| self.is(far));
        let spending: Vec<Spending> = body.inspect(|view| view.spending().filter(|spent| liar(spent.remote)).collect());
        for spent in spending {
            self.most.early = self.most.early.max(spent.early);
            self.most.waits = self.most.waits.max(spent.buffer_waits);
            self.most.buffers = self.most.buffers.max(spent.buffers);
            self.most.sublinks = self.most.sublinks.max(spent.sublinks);
            let limits = &self.limits;
            let rows = [
                ("early parcels", spent.early as u64, limits.link_early_parcels as u64),
                ("bytes of early parcels", spent.early_bytes as u64, limits.link_early_bytes as u64),
                ("waits for buffers", spent.buffer_waits as u64, limits.link_buffer_waits as u64),
                ("buffers of its peer", spent.buffers as u64, limits.link_buffers as u64),
                ("bytes of its peer's buffers", spent.buffer_bytes, limits.link_memory_bytes),
                ("bound sublinks", spent.sublinks as u64, limits.link_sublinks as u64),
                ("pieces of parcels", spent.pieces as u64, limits.link_pieces as u64),
                ("bytes of pieces of parcels", spent.piece_bytes as u64, limits.link_piece_bytes as u64),
                ("referrals under way", spent.referrals as u64, limits.pending_referrals as u64),
                ("introductions under way", spent.introductions as u64, limits.pending_introductions as u64),
            ];
            self.tally.add(rows.len() as u64);
            if let Some((what, has, most)) = rows.iter().find(|(_, has, most)| has > most) {
                let text = format!("process {process} has {has} {what} on {:?} to a hostile node, and its limit is {most}", spent.link);
                return Err(Violation::new(NAME, "RE: what a peer can make grow has a limit", text).in_process(process));
            }
        }
        Ok(())
    }

    /// At rest: no hostile process has mapped memory of a link that is not its own. Of the pipes it counts those that were never at one:
    /// they are what the other checkers have looked at.
    pub fn rest(&mut self, world: &World, ghost: &Ghost) -> Checked {
        let any = self.any();
        for (_, pipe) in ghost.pipes().filter(|_| any) {
            if pipe.tainted {
                self.tally.exempt("pipe that was at a hostile node");
            } else {
                self.tally.count();
            }
        }
        for liar in &self.hostile {
            for mappers in world.mapped_with(*liar) {
                self.tally.count();
                let others: Vec<u32> = mappers.into_iter().filter(|other| other != liar).collect();
                if let [a, b, ..] = others.as_slice() {
                    let text = format!("memory of process {a} and process {b} is mapped by hostile process {liar}");
                    return Err(Violation::new(NAME, "I8: no hostile node observes a route between honest ones", text).in_process(*liar));
                }
            }
        }
        Ok(())
    }
}
