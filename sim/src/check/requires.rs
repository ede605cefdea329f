//! What a scenario demands to have happened, beside what did (`[require]`).

use ipcz::probe::Counts;

use super::shape::direct;
use super::snapshot::Snapshot;
use crate::fault::Struck;
use crate::ghost::{EndId, Ghost};
use crate::hostile::Told;
use crate::run::Requirement;
use crate::scenario::{Require, Scenario};

/// What happened.
#[derive(Clone, Debug, Default)]
pub struct Reached {
    /// Faults that struck.
    pub struck: Vec<Struck>,
    /// Lies that were told.
    pub told: Vec<Told>,
    /// Parcels of `send` taken.
    pub delivered: u64,
    /// Bypasses completed.
    pub bypasses: u64,
    /// Most proxies at one time.
    pub proxies_peak: u64,
    /// Parcels passed on by proxies.
    pub forwarded: u64,
    /// Introductions completed.
    pub introductions: u64,
    /// Portals told that their peer is closed.
    pub closed: u64,
    /// Messages transmitted.
    pub messages: u64,
    /// Transitions of the protocol.
    pub probes: Counts,
}

/// Every demand of the scenario at rest. `ends`: of each of its portals, the end, if it was opened.
pub fn requirements(
    scenario: &Scenario,
    reached: &Reached,
    ends: &[Option<EndId>],
    ghost: &Ghost,
    snapshot: &Snapshot,
) -> Vec<Requirement> {
    let Require { probes, direct: pairs, faults, lies, delivered, bypasses, proxies_peak, forwarded, introductions, closed, messages_max } =
        &scenario.require;
    let least = [
        ("delivered", delivered, reached.delivered),
        ("bypasses", bypasses, reached.bypasses),
        ("proxies_peak", proxies_peak, reached.proxies_peak),
        ("forwarded", forwarded, reached.forwarded),
        ("introductions", introductions, reached.introductions),
        ("closed", closed, reached.closed),
    ];
    let mut all: Vec<Requirement> = least
        .into_iter()
        .filter_map(|(name, demanded, reached)| {
            let demanded = (*demanded)?;
            Some(Requirement { name, about: None, demanded, at_most: false, reached, met: reached >= demanded })
        })
        .collect();
    all.extend(messages_max.map(|demanded| {
        let reached = reached.messages;
        Requirement { name: "messages_max", about: None, demanded, at_most: true, reached, met: reached <= demanded }
    }));
    for (fault, demanded) in faults {
        let reached = reached.struck.iter().find(|struck| struck.fault == *fault).map_or(0, |struck| struck.did);
        let about = Some(fault.name().to_owned());
        all.push(Requirement { name: "faults", about, demanded: *demanded, at_most: false, reached, met: reached >= *demanded });
    }
    for (lie, demanded) in lies {
        let reached = reached.told.iter().find(|told| told.lie == *lie).map_or(0, |told| told.times);
        let about = Some(lie.name().to_owned());
        all.push(Requirement { name: "lies", about, demanded: *demanded, at_most: false, reached, met: reached >= *demanded });
    }
    all.extend(probes.iter().map(|&(probe, demanded)| {
        let (about, reached) = (Some(probe.name().to_owned()), reached.probes.of(probe));
        Requirement { name: "probe", about, demanded, at_most: false, reached, met: reached >= demanded }
    }));
    for pair in pairs {
        let holders = pair.map(|portal| ends[portal].and_then(|end| ghost.holder(end)));
        let met = match holders {
            [Some(here), Some(there)] => direct(snapshot, here, there).is_ok(),
            _ => false,
        };
        let about = Some(pair.map(|portal| scenario.portals[portal].name.as_str()).join(" "));
        all.push(Requirement { name: "direct", about, demanded: 1, at_most: false, reached: met.into(), met });
    }
    all
}
