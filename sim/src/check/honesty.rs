//! Honest nodes never blame each other, and no link is lost but those that were cut (routing.md 19: E8, E9; nodes.md 14: I21).

use std::collections::{BTreeMap, BTreeSet};

use ipcz::probe::Probe;

use super::snapshot::Snapshot;
use super::{Checked, Tally, Violation};

const NAME: &str = "honesty";

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Honesty {
    /// Its counts.
    pub tally: Tally,
    /// How often the links of two processes were cut, lower number first.
    cuts: BTreeMap<(u32, u32), u64>,
    /// Pairs of processes that lie to each other, lower number first.
    lies: BTreeSet<(u32, u32)>,
    /// Pairs that may make links and lose them while only one of them knows that the old one is gone: ends of half-open ones. An end that
    /// thinks it has a link turns down the introductions that the other asks for, one after the other.
    loose: BTreeSet<(u32, u32)>,
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
        *self.cuts.entry(pair(a, b)).or_default() += 1;
    }

    /// A process loses all its links.
    pub fn excuse_all(&mut self, process: u32) {
        self.alone.insert(process);
    }

    /// Either of the two may believe what the other did not say.
    pub fn lie(&mut self, a: u32, b: u32) {
        self.lies.insert(pair(a, b));
    }

    /// Links between the two may be made and lost again while only one of them knows that the old one is gone.
    pub fn loosen(&mut self, a: u32, b: u32) {
        self.loose.insert(pair(a, b));
    }

    /// Whether somebody lies to the process.
    pub fn lied_to(&self, process: u32) -> bool {
        self.lies.iter().any(|(a, b)| *a == process || *b == process)
    }

    /// Whether any link was cut or lied over, or may be lost for want of an answer.
    pub fn any_excuse(&self) -> bool {
        !(self.cuts.is_empty() && self.lies.is_empty() && self.loose.is_empty() && self.alone.is_empty())
    }

    /// Whether anybody lies.
    pub fn any_lie(&self) -> bool {
        !self.lies.is_empty()
    }

    fn lied(&self, a: u32, b: u32) -> bool {
        self.lies.contains(&pair(a, b))
    }

    /// Whether nothing was cut and nobody lied.
    fn undisturbed(&self) -> bool {
        self.cuts.is_empty() && self.lies.is_empty() && self.loose.is_empty() && self.alone.is_empty() && !self.late
    }

    /// How many links a process may have lost to another one.
    fn losses(&self, process: u32, to: u32) -> u64 {
        let alone = self.alone.contains(&process) || self.alone.contains(&to);
        let pair = pair(process, to);
        if self.lied(process, to) || (alone && self.late) || self.loose.contains(&pair) {
            return u64::MAX;
        }
        self.cuts.get(&pair).copied().unwrap_or(0) + u64::from(alone)
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

    /// Drivers were told to close so many objects that were closed before.
    pub fn closed_twice(&mut self, times: u64) -> Checked {
        self.tally.count();
        if times == 0 {
            return Ok(());
        }
        let text = format!("{times} objects were closed again");
        Err(Violation::new(NAME, "every driver object is closed once", text))
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
            // Brokers that are honest and can reach each other answer.
            if sight.totals.probes.of(Probe::IntroductionExpired) > 0 && self.undisturbed() {
                let text = format!("process {process} gave up an introduction that it had asked other brokers for");
                return Err(Violation::new(NAME, "nodes.md D-3: a broker answers before the deadline", text).in_process(process));
            }
            // Who passes a lie on in good faith is told that it has no right, and no more; so is who names a sublink of a link that was lost
            // and made anew meanwhile (routing.md 12.8).
            let again = |lost: &(ipcz::ids::NodeName, u64)| {
                lost.1 > 1 || sight.links.iter().any(|link| link.established && link.remote_name == lost.0)
            };
            let misled = !self.lies.is_empty() || sight.lost_to.iter().any(again);
            if (sight.totals.refused > sight.blames.len() as u64 && sight.totals.refused <= 16)
                || (sight.totals.unauthorised > 0 && !misled)
            {
                let text = format!("process {process} refused: {:?}", sight.totals);
                return Err(Violation::new(NAME, "E8: honest nodes are never blamed", text).in_process(process));
            }
            // An honest node says what cannot be only if somebody lied to it: then the route ends that it is about. With no liar in the
            // world it is the library's fault, though hardly anybody may notice.
            let heard: u64 = HEARSAY.iter().map(|probe| sight.totals.probes.of(*probe)).sum();
            if heard > 0 && self.lies.is_empty() {
                let text = format!("process {process} was told {heard} times what cannot be, and nobody lied");
                return Err(Violation::new(NAME, "E8: honest nodes are never blamed", text).in_process(process));
            }
            for (name, lost) in &sight.lost_to {
                self.tally.count();
                let far = names.process(*name);
                let cut = match far {
                    Some(far) => self.losses(process, far),
                    None if self.lied_to(process) => u64::MAX,
                    None => 0,
                };
                if *lost > cut {
                    let whom = far.map_or_else(|| format!("node {name}"), |far| format!("process {far}"));
                    let text = format!("process {process} lost {lost} links to {whom}, and {cut} of them at most were cut");
                    return Err(Violation::new(NAME, "E9: no link is lost but those that were cut", text).in_process(process));
                }
            }
        }
        Ok(())
    }
}

/// Told what cannot be.
const HEARSAY: [Probe; 2] = [Probe::BypassHearsay, Probe::ClosureImpossible];

/// Two processes, the lower number first.
fn pair(a: u32, b: u32) -> (u32, u32) {
    (a.min(b), a.max(b))
}
