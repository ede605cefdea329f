//! What bugs are looked for with: small worlds, cheap ones first.

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
];

/// The same at depth L1: small races.
const RACES: &[((&str, &str), &[&str])] = &[
    (scenario!("races/four-hands"), &[]),
    (scenario!("races/talk"), &[]),
    (scenario!("races/swap"), &[]),
    (scenario!("races/farewell"), &[]),
    (scenario!("races/both-leave"), &[]),
    (scenario!("races/meeting"), &[]),
    (scenario!("abc"), &["send.count=5"]),
    (scenario!("both-ends-run"), &["N=4", "burst=2", "bytes=400"]),
];

/// What goes wrong in them: nothing; a compare-exchange that fails for no reason; a process that dies between two operations.
const FAULTS: [Faults; 3] = [
    Faults { spurious: 0, crash: 0, crashes: 0, flipped: 0 },
    Faults { spurious: 4, crash: 0, crashes: 0, flipped: 0 },
    Faults { spurious: 0, crash: 200, crashes: 1, flipped: 0 },
];

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
    let coarse = SCENARIOS.iter().map(|given| (given, Depth::Message, FAULTS[0]));
    let fine = RACES.iter().flat_map(|given| FAULTS.map(|faults| (given, Depth::Operation, faults)));
    coarse.chain(fine).map(|(given, depth, faults)| trial(given, depth, faults)).collect()
}

fn trial(((file, text), sets): &((&str, &str), &[&str]), depth: Depth, faults: Faults) -> Result<Trial, ScenarioError> {
    let pairs: Vec<(String, String)> =
        sets.iter().filter_map(|set| set.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let scenario = Scenario::parse(file, text, &pairs)?;
    let mut name = sets.iter().fold((*file).to_owned(), |name, set| format!("{name} --set {set}"));
    if faults.spurious > 0 {
        name.push_str(" with exchanges that fail");
    }
    if faults.crash > 0 {
        name.push_str(" with a crash");
    }
    Ok(Trial::new(name, scenario, depth, faults))
}
