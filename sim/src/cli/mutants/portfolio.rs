//! What bugs are looked for with: small worlds, cheap ones first.

use ipcz::planted::Depth;

use super::hunt::Trial;
use crate::policy::PolicySpec;
use crate::run::measure;
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

/// Every trial there is.
///
/// # Errors
/// A scenario is wrong.
pub fn portfolio() -> Result<Vec<Trial>, ScenarioError> {
    SCENARIOS
        .iter()
        .map(|((file, text), sets)| {
            let pairs: Vec<(String, String)> =
                sets.iter().filter_map(|set| set.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            let scenario = Scenario::parse(file, text, &pairs)?;
            let name = sets.iter().fold((*file).to_owned(), |name, set| format!("{name} --set {set}"));
            let length = measure(&scenario);
            Ok(Trial { name, scenario, policy: PolicySpec::Portfolio, length, depth: Depth::Message })
        })
        .collect()
}
