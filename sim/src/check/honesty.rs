//! Honest nodes never blame each other, and no link is lost but those that were cut (routing.md 19: E8, E9; nodes.md 14: I21).

use std::collections::{BTreeMap, BTreeSet};

use super::snapshot::Snapshot;
use super::{Checked, Tally, Violation};

const NAME: &str = "honesty";

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Honesty {
    /// Its counts.
    pub tally: Tally,
    /// Pairs of processes whose links a cut took, lower number first.
    excused: BTreeSet<(u32, u32)>,
    /// By process: cuts of its links.
    cuts: BTreeMap<u32, u64>,
    /// Pairs of processes that lie to each other, lower number first.
    lies: BTreeSet<(u32, u32)>,
    /// Processes that may lose links again and again: ends of half-open ones.
    loose: BTreeSet<u32>,
    /// Processes all of whose links are lost: they died, or a normal node lost its broker.
    alone: BTreeSet<u32>,
    /// Faults make messages late: a broker may introduce others to somebody who has lost all its links for as long as it was not told.
    pub late: bool,
}

impl Honesty {
    /// Its name.
    pub const NAME: &str = NAME;

    /// The links between two processes were cut.
    pub fn excuse(&mut self, a: u32, b: u32) {
        self.excused.insert((a.min(b), a.max(b)));
        for process in [a, b] {
            *self.cuts.entry(process).or_default() += 1;
        }
    }

    /// A process loses all its links.
    pub fn excuse_all(&mut self, process: u32) {
        self.alone.insert(process);
    }

    /// Either of the two may believe what the other did not say.
    pub fn lie(&mut self, a: u32, b: u32) {
        self.lies.insert((a.min(b), a.max(b)));
        self.excuse(a, b);
        self.loosen(a, b);
    }

    /// Links between the two may be made and lost again while only one of them knows that the old one is gone.
    pub fn loosen(&mut self, a: u32, b: u32) {
        self.loose.extend([a, b]);
    }

    /// Whether somebody lies to the process.
    pub fn lied_to(&self, process: u32) -> bool {
        self.lies.iter().any(|(a, b)| *a == process || *b == process)
    }

    fn lied(&self, a: u32, b: u32) -> bool {
        self.lies.contains(&(a.min(b), a.max(b)))
    }

    fn excuses(&self, a: u32, b: u32) -> bool {
        self.excused.contains(&(a.min(b), a.max(b))) || self.alone.contains(&a) || self.alone.contains(&b)
    }

    /// How many links a process may have lost: one for each cut of one of its own, and one for each process that lost all.
    fn losses(&self, process: u32) -> u64 {
        if self.alone.contains(&process) || self.loose.contains(&process) {
            return u64::MAX;
        }
        self.cuts.get(&process).copied().unwrap_or(0) + self.alone.len() as u64
    }

    /// A process's message was refused, says the engine.
    pub fn refused(&mut self, refusals: &[(u32, u32)]) -> Checked {
        self.tally.count();
        for (from, to) in refusals {
            if self.lied(*from, *to) {
                self.tally.exempt("message of a liar refused");
            } else {
                let text = format!("process {to} refused a message of process {from}");
                return Err(Violation::new(NAME, "E8: an honest node's messages are never refused", text).in_process(*to));
            }
        }
        Ok(())
    }

    /// Drivers were asked so often about what their process had closed.
    pub fn stale(&mut self, stale: u64) -> Checked {
        self.tally.count();
        if stale == 0 {
            return Ok(());
        }
        let text = format!("{stale} questions about a closed transport");
        Err(Violation::new(NAME, "no driver object is used after it is closed", text))
    }

    /// At rest: nobody was blamed, no link is missing.
    pub fn rest(&mut self, snapshot: &Snapshot, names: &super::Names) -> Checked {
        for (process, sight) in snapshot.alive() {
            self.tally.count();
            if let Some(router) = sight.routers.iter().find(|router| router.missed_traps > 0) {
                let text = format!("a trap of process {process} waits for what is so already: {router:?}");
                return Err(Violation::new(NAME, "a trap fires when its condition comes true", text).in_process(process));
            }
            // Whom somebody lied to may have been introduced under a name that is nobody's.
            let liar = |name| names.process(name).map_or_else(|| self.lied_to(process), |far| self.lied(process, far));
            let honest = |(name, _, _): &&(ipcz::ids::NodeName, _, _)| !liar(*name);
            if let Some((_, link, reason)) = sight.blames.iter().find(honest) {
                let text = format!("process {process} dropped {link:?} and blames its peer: {reason}");
                return Err(Violation::new(NAME, "E8: honest nodes are never blamed", text).in_process(process));
            }
            // Who passes a lie on in good faith is told that it has no right, and no more.
            let misled = !self.lies.is_empty();
            if (sight.totals.refused > sight.blames.len() as u64 && sight.totals.refused <= 16)
                || (sight.totals.unauthorised > 0 && !misled)
            {
                let text = format!("process {process} refused: {:?}", sight.totals);
                return Err(Violation::new(NAME, "E8: honest nodes are never blamed", text).in_process(process));
            }
            let (lost, cut) = (sight.totals.links_lost, self.losses(process));
            if lost > cut && self.late && !self.alone.is_empty() {
                self.tally.exempt("links lost to one that lost all, after late introductions");
            } else if lost > cut {
                let text = format!("process {process} lost {lost} links, and {cut} of them at most were cut");
                return Err(Violation::new(NAME, "E9: no link is lost but those that were cut", text).in_process(process));
            }
            for link in sight.links.iter().filter(|link| link.dead && link.established) {
                let Some(far) = names.process(link.remote_name) else { continue };
                self.tally.count();
                if !self.excuses(process, far) {
                    let text = format!("process {process} lost its link to process {far}, which nobody cut");
                    return Err(Violation::new(NAME, "E9: no link is lost but those that were cut", text).in_process(process));
                }
            }
        }
        Ok(())
    }
}
