//! What seeds came to together: sums that can be written, read and added, in the order of the seeds.

use std::collections::BTreeMap;

use ipcz::probe::Probe;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::super::exit::Exit;
use super::super::play::{Finding, Played};
use super::super::totals::Campaign;
use crate::run::Outcome;

/// A seed that did not hold.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Failed {
    pub seed: u64,
    /// [`Finding::name`].
    pub verdict: String,
    /// The property, or the requirements.
    pub property: String,
    /// Where in the run: checker, step, phase, node, portal.
    pub place: String,
    /// Its replay file, if it has one.
    pub replay: Option<String>,
}

impl Failed {
    /// Of a seed, unless it held.
    pub fn of(played: &Played) -> Option<Failed> {
        let (property, place) = match &played.finding {
            Finding::Held | Finding::Stopped => return None,
            Finding::Violated(failure) => {
                let node = failure.process.and_then(|at| played.outcome.as_ref()?.processes.get(at as usize));
                let about: String = [node, failure.portal.as_ref()].into_iter().flatten().map(|word| format!(", {word}")).collect();
                let place = format!("{}, step {}, {}{about}", failure.checker, failure.event, failure.phase.name());
                (failure.property.to_owned(), place)
            }
            Finding::Differs(text) => (super::super::table::DETERMINISM.to_owned(), text.clone()),
            Finding::Unmet => {
                let unmet = played.outcome.iter().flat_map(|outcome| &outcome.requirements).filter(|requirement| !requirement.met);
                let unmet: Vec<&str> = unmet.map(|requirement| requirement.name).collect();
                ("the requirements are met".to_owned(), unmet.join(", "))
            }
            Finding::Nothing => ("something happens, and is looked at".to_owned(), String::new()),
        };
        let replay = played.replay_file.as_ref().map(|file| file.display().to_string());
        Some(Failed { seed: played.seed, verdict: played.finding.name().to_owned(), property, place, replay })
    }
}

/// Sums over seeds in a row.
#[derive(Clone, PartialEq, Default, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Sums {
    pub runs: u64,
    pub events: u64,
    pub deliveries: u64,
    pub bypasses: u64,
    /// Seeds by [`Finding::name`].
    pub verdicts: BTreeMap<String, u64>,
    /// How often each probe was reached, by its name.
    pub probes: BTreeMap<String, u64>,
    /// What each policy was given.
    pub campaigns: BTreeMap<String, Campaign>,
    pub failures: Vec<Failed>,
}

impl Sums {
    /// Adds the next seed.
    pub fn add(&mut self, played: &Played) {
        self.runs += 1;
        *self.verdicts.entry(played.finding.name().to_owned()).or_default() += 1;
        if let Some(outcome) = &played.outcome {
            self.add_outcome(outcome);
        }
        self.failures.extend(Failed::of(played));
    }

    fn add_outcome(&mut self, outcome: &Outcome) {
        self.events += outcome.events;
        self.deliveries += outcome.deliveries;
        self.bypasses += outcome.bypasses;
        for (probe, count) in outcome.probes.reached() {
            *self.probes.entry(probe.name().to_owned()).or_default() += count;
        }
        self.campaigns.entry(outcome.policy.to_string()).or_default().add(outcome);
    }

    /// Adds those of the seeds that follow.
    pub fn append(&mut self, more: Sums) {
        let Sums { runs, events, deliveries, bypasses, verdicts, probes, campaigns, failures } = more;
        self.runs += runs;
        self.events += events;
        self.deliveries += deliveries;
        self.bypasses += bypasses;
        for (own, more) in [(&mut self.verdicts, verdicts), (&mut self.probes, probes)] {
            for (name, count) in more {
                *own.entry(name).or_default() += count;
            }
        }
        for (policy, more) in campaigns {
            self.campaigns.entry(policy).or_default().append(&more);
        }
        self.failures.extend(failures);
    }

    /// Probes that no seed reached.
    pub fn never(&self) -> Vec<&'static str> {
        Probe::ALL.iter().map(|probe| probe.name()).filter(|name| !self.probes.contains_key(*name)).collect()
    }

    /// What a command ends with that saw these seeds.
    pub fn exit(&self) -> Exit {
        let exit = |name: &String| match name.as_str() {
            "violated" => Exit::Violated,
            "differs" => Exit::Nondeterministic,
            "held" => Exit::Held,
            _ => Exit::Unmet,
        };
        self.verdicts.keys().map(exit).max().unwrap_or(Exit::Unmet)
    }
}

/// Hash over fingerprints in the order of their seeds: each is chained to all before it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Chain(pub u128);

impl Chain {
    /// With the next seed's run.
    pub fn and(self, played: &Played) -> Chain {
        let mut bytes = [0; 40];
        bytes[..16].copy_from_slice(&self.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&played.seed.to_le_bytes());
        let fingerprint = played.outcome.as_ref().map_or(0, |outcome| outcome.fingerprint);
        bytes[24..].copy_from_slice(&fingerprint.to_le_bytes());
        Chain(xxh3_128(&bytes))
    }
}
