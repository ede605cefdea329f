//! What bugs are looked for with: small worlds, cheap ones first.

use std::sync::OnceLock;

use ipcz::planted::Depth;

use super::hunt::Trial;
use crate::fine::Faults;
use crate::policy::PolicySpec;
use crate::scenario::{Scenario, ScenarioError};

macro_rules! scenario {
    ($name:literal) => {
        (concat!("scenarios/", $name, ".toml"), include_str!(concat!("../../../../scenarios/", $name, ".toml")))
    };
}

/// File, text and settings of each.
const SCENARIOS: &[((&str, &str), &[&str])] = &[
    (scenario!("abc"), &[]),
    (scenario!("both-ends-run"), &["N=8"]),
    (scenario!("first-contact"), &[]),
    (scenario!("first-contact"), &["lost=true"]),
    (scenario!("cut-contact"), &[]),
    (scenario!("last-words"), &[]),
    (scenario!("relay-chain"), &["N=8"]),
    (scenario!("relay-chain"), &["N=8", "quiet=true", "introduced=false"]),
    (scenario!("crowd"), &["N=3", "pipes=6", "duration=100ms", "cuts.links=0", "cuts.nodes=0"]),
    (scenario!("crowd"), &["N=4", "pipes=20", "duration=100ms", "cuts.links=3", "cuts.nodes=1"]),
    (scenario!("crowd"), &["N=12", "pipes=60", "cuts.links=3"]),
    (scenario!("starved-link"), &[]),
    (scenario!("starved-link"), &["tight=true"]),
    (scenario!("loose/b"), &["N=2", "parcels=40"]),
    (scenario!("boxes"), &["N=3"]),
    (scenario!("races/R39-relayed-driver-objects"), &[]),
    (scenario!("liars"), &[]),
    (scenario!("swarm"), &[]),
    (scenario!("hostile"), &[]),
    (scenario!("impostors"), &[]),
];

/// The same where only virtual time will do: what is introduced over a link that is cut is lost with it, and no checker knows of that.
const TIMED: &[((&str, &str), &[&str])] = &[
    (scenario!("races/strangers"), &[]),
    (scenario!("nodes/F02-broker-dies-before-its-greeting"), &[]),
    (scenario!("nodes/F11-brokers-meet"), &[]),
    (scenario!("nodes/F19-referred-node-dies-first"), &[]),
    (scenario!("nodes/F45-delegate-refuses"), &[]),
    (scenario!("liars"), &[]),
    (scenario!("swarm"), &[]),
    (scenario!("networks"), &[]),
];

/// The same at depth L1: small races.
const RACES: &[((&str, &str), &[&str])] = &[
    (scenario!("races/four-hands"), &[]),
    (scenario!("races/talk"), &[]),
    (scenario!("races/swap"), &[]),
    (scenario!("races/farewell"), &[]),
    (scenario!("races/farewell"), &["let.count=10"]),
    (scenario!("races/parting"), &[]),
    (scenario!("races/relay"), &[]),
    (scenario!("races/refused"), &[]),
    (scenario!("races/both-leave"), &[]),
    (scenario!("races/meeting"), &[]),
    (scenario!("races/introducing"), &[]),
    (scenario!("races/returning"), &[]),
    (scenario!("abc"), &["send.count=5"]),
    (scenario!("both-ends-run"), &["N=4", "burst=2", "bytes=400"]),
];

/// What goes wrong in them: nothing; or compare-exchanges fail for no reason, once in so many.
const SPURIOUS: [u32; 2] = [0, 4];

/// Policies at depth L1, by seed.
const POLICIES: [PolicySpec; 5] = [PolicySpec::Random, PolicySpec::Pos, PolicySpec::Pct(2), PolicySpec::Pct(3), PolicySpec::Delay(3)];

/// What orders a run at depth L1.
pub fn at_operations(seed: u64) -> PolicySpec {
    POLICIES[(seed % POLICIES.len() as u64) as usize].clone()
}

/// Every trial there is.
///
/// # Errors
/// A scenario is wrong.
pub fn portfolio() -> Result<Vec<Trial>, ScenarioError> {
    let coarse = |list: &'static [_], policy: PolicySpec| list.iter().map(move |given| (given, Depth::Message, policy.clone(), 0));
    let fine = RACES.iter().flat_map(|given| SPURIOUS.map(|spurious| (given, Depth::Operation, PolicySpec::Timed, spurious)));
    let all = coarse(SCENARIOS, PolicySpec::Portfolio).chain(coarse(TIMED, PolicySpec::Timed)).chain(fine);
    all.map(|((base, sets), depth, policy, spurious)| {
        let (file, text) = base;
        let pairs: Vec<(String, String)> =
            sets.iter().filter_map(|set| set.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let scenario = Scenario::parse(file, text, &pairs)?;
        let mut name = sets.iter().fold((*file).to_owned(), |name, set| format!("{name} --set {set}"));
        if spurious > 0 {
            name.push_str(", exchanges fail");
        }
        Ok(Trial { name, scenario, depth, policy, faults: Faults { spurious, ..Faults::default() }, length: OnceLock::new() })
    })
    .collect()
}
