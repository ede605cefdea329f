//! What the seeds of a sweep came to together. Seeds are added in their order, so it does not depend on who finished first.

use std::collections::{BTreeMap, BTreeSet};

use ipcz::probe::Counts;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use super::exit::Exit;
use super::play::{Finding, Played};
use crate::fault::Struck;
use crate::hostile::Told;
use crate::policy::Bound;
use crate::run::{CheckCount, Outcome, Traffic};

/// Most seeds whose results are kept one by one: those of a report's table.
const KEPT: usize = 200;
/// Most seeds not held whose numbers are kept.
const NAMED: usize = 10;

/// Runs of one policy, with the greatest numbers of any.
#[derive(Clone, Copy, PartialEq, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Campaign {
    /// Runs.
    pub runs: u64,
    depth: Option<u32>,
    /// Channels, or chains if the policy has them: what has priorities. At depth L1 activities.
    chains: u64,
    /// Events taken; at depth L1 turns that the policy had a say in.
    steps: u64,
    /// Events over which changes of priority were spread.
    length: u64,
}

impl Campaign {
    /// Adds a run.
    pub fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.depth = outcome.policy.depth();
        self.length = self.length.max(outcome.length.map_or(0, |length| length.0));
        if outcome.fine.activities > 0 {
            self.chains = self.chains.max(outcome.fine.activities);
            self.steps = self.steps.max(outcome.fine.choices);
        } else if let Some(order) = &outcome.order {
            self.chains = self.chains.max(if order.chains > 0 { order.chains } else { order.channels });
            self.steps = self.steps.max(order.steps);
        }
    }

    /// Adds runs of the same policy.
    pub fn append(&mut self, more: &Campaign) {
        self.runs += more.runs;
        self.depth = self.depth.or(more.depth);
        self.chains = self.chains.max(more.chains);
        self.steps = self.steps.max(more.steps);
        self.length = self.length.max(more.length);
    }

    /// The bound on having missed a bug, if the policy has one, and whether some run was longer than what it covers.
    pub fn bound(&self) -> Option<(Bound, bool)> {
        let d = self.depth?;
        // Of depth 1 there are no changes to be spread.
        let covered = if d > 1 { self.length } else { self.steps };
        Some((Bound { n: self.chains, k: covered, d, runs: self.runs }, self.steps > covered))
    }
}

/// Sums over seeds.
#[derive(Default)]
pub struct Totals {
    /// Seeds added.
    pub seeds: u64,
    /// Of them, all that did not hold.
    pub failed: u64,
    /// The first of those.
    pub failed_seeds: Vec<(u64, &'static str)>,
    /// Events.
    pub events: u64,
    /// Messages of set-ups.
    pub set_up: Traffic,
    /// Messages of the runs proper.
    pub run: Traffic,
    /// Messages of closings.
    pub closing: Traffic,
    /// Bypasses.
    pub bypasses: u64,
    /// Faults that could have struck and did.
    pub struck: Vec<Struck>,
    /// Lies that were told.
    pub told: Vec<Told>,
    /// Most proxies of any seed.
    pub peak_proxies: u64,
    /// Transitions of the protocol.
    pub probes: Counts,
    /// Virtual time, in ns.
    pub virtual_ns: u64,
    /// Wall time of all runs, one after the other, in ns.
    pub wall_ns: u64,
    /// Most memory of the process.
    pub memory: Option<u64>,
    /// Every checker, its counts added.
    pub checks: Vec<CheckCount>,
    /// The first seeds' results, without graph and messages; the first that did not hold is kept whole in `shown`.
    pub kept: Vec<Played>,
    /// The seed to show in full: the first whose finding is worst.
    pub shown: Option<Played>,
    /// What each policy was given, by its name.
    pub campaigns: BTreeMap<String, Campaign>,
    fingerprints: BTreeSet<u128>,
    orders: BTreeSet<u64>,
    combined: Xxh3,
}

impl Totals {
    /// Adds a seed.
    pub fn add(&mut self, mut played: Played) {
        self.seeds += 1;
        if played.finding != Finding::Held {
            self.failed += 1;
            if self.failed_seeds.len() < NAMED {
                self.failed_seeds.push((played.seed, played.finding.name()));
            }
        }
        self.virtual_ns = self.virtual_ns.saturating_add(played.virtual_ns);
        self.wall_ns = self.wall_ns.saturating_add(played.wall_ns);
        self.memory = self.memory.max(played.memory);
        if let Some(outcome) = &played.outcome {
            self.add_outcome(outcome);
        }
        if self.shown.as_ref().is_none_or(|shown| shown.finding.exit() < played.finding.exit()) {
            self.shown = Some(played.clone());
        }
        if self.kept.len() < KEPT {
            if let Some(outcome) = &mut played.outcome {
                outcome.graph = Default::default();
                outcome.last_messages = Vec::new();
            }
            self.kept.push(played);
        }
    }

    fn add_outcome(&mut self, outcome: &Outcome) {
        self.events += outcome.events;
        self.bypasses += outcome.bypasses;
        for more in &outcome.struck {
            match self.struck.iter_mut().find(|own| own.fault == more.fault) {
                None => self.struck.push(*more),
                Some(own) => (own.could, own.did) = (own.could + more.could, own.did + more.did),
            }
        }
        self.struck.sort_by_key(|struck| struck.fault);
        for more in &outcome.told {
            match self.told.iter_mut().find(|own| own.lie == more.lie) {
                None => self.told.push(*more),
                Some(own) => own.times += more.times,
            }
        }
        self.told.sort_by_key(|told| told.lie);
        self.probes = self.probes.and(&outcome.probes);
        self.peak_proxies = self.peak_proxies.max(outcome.peaks.proxies);
        add_traffic(&mut self.set_up, &outcome.set_up);
        add_traffic(&mut self.run, &outcome.run);
        add_traffic(&mut self.closing, &outcome.closing);
        for check in &outcome.checks {
            match self.checks.iter_mut().find(|own| own.name == check.name) {
                None => self.checks.push(check.clone()),
                Some(own) => add_check(own, check),
            }
        }
        self.campaigns.entry(outcome.policy.to_string()).or_default().add(outcome);
        self.fingerprints.insert(outcome.fingerprint);
        self.orders.insert(outcome.delivery_order);
        self.combined.update(&outcome.seed.to_le_bytes());
        self.combined.update(&outcome.fingerprint.to_le_bytes());
    }

    /// Different fingerprints.
    pub fn distinct_fingerprints(&self) -> u64 {
        self.fingerprints.len() as u64
    }

    /// Different orders of delivery.
    pub fn distinct_orders(&self) -> u64 {
        self.orders.len() as u64
    }

    /// One hash over all seeds with their fingerprints, in order.
    pub fn combined(&self) -> u128 {
        self.combined.digest128()
    }

    /// What a command ends with that saw these seeds: 44 if there was none.
    pub fn exit(&self) -> Exit {
        self.shown.as_ref().map_or(Exit::Unmet, |shown| shown.finding.exit())
    }
}

fn add_traffic(sum: &mut Traffic, more: &Traffic) {
    sum.messages += more.messages;
    sum.bytes += more.bytes;
    sum.delivered += more.delivered;
    sum.lost += more.lost;
    for (own, count) in sum.by_id.iter_mut().zip(more.by_id) {
        *own += count;
    }
}

fn add_check(sum: &mut CheckCount, more: &CheckCount) {
    sum.checks += more.checks;
    for (name, count) in &more.exemptions {
        match sum.exemptions.iter_mut().find(|(own, _)| own == name) {
            None => sum.exemptions.push((name, *count)),
            Some((_, own)) => *own += count,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(seed: u64, finding: Finding) -> Played {
        Played { seed, finding, outcome: None, virtual_ns: 1, wall_ns: 2, memory: Some(seed), replay_file: None }
    }

    #[test]
    fn the_first_of_the_worst_is_shown() {
        let mut totals = Totals::default();
        assert_eq!(totals.exit(), Exit::Unmet);
        for (seed, finding) in [
            (1, Finding::Held),
            (2, Finding::Unmet),
            (3, Finding::Differs("a".into())),
            (4, Finding::Differs("b".into())),
            (5, Finding::Held),
        ] {
            totals.add(played(seed, finding));
        }
        assert_eq!(totals.shown.as_ref().map(|shown| shown.seed), Some(3));
        assert_eq!(totals.exit().code(), 43);
        assert_eq!((totals.seeds, totals.failed, totals.memory), (5, 3, Some(5)));
        assert_eq!(totals.failed_seeds, [(2, "unmet"), (3, "differs"), (4, "differs")]);
    }
}
