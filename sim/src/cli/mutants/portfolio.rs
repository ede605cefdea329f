//! What bugs are looked for with: small worlds, cheap ones first.

use ipcz::planted::Depth;

use super::hunt::Trial;
use crate::scenario::{Scenario, ScenarioError};

macro_rules! scenario {
    ($name:literal) => {
        (concat!("scenarios/", $name, ".toml"), include_str!(concat!("../../../../scenarios/", $name, ".toml")))
    };
}

/// File, text and settings of each.
const SCENARIOS: &[((&str, &str), &[(&str, &str)])] = &[
    (scenario!("abc"), &[]),
    (scenario!("both-ends-run"), &[("N", "8")]),
    (scenario!("relay-chain"), &[("N", "8")]),
    (scenario!("relay-chain"), &[("N", "8"), ("quiet", "true"), ("introduced", "false")]),
    (scenario!("crowd"), &[("N", "3"), ("random.pipes", "6"), ("random.duration", "100ms"), ("cuts.links", "0"), ("cuts.nodes", "0")]),
    (scenario!("crowd"), &[("N", "4"), ("random.pipes", "20"), ("random.duration", "100ms"), ("cuts.links", "3"), ("cuts.nodes", "1")]),
    (scenario!("crowd"), &[("N", "12"), ("random.pipes", "60"), ("cuts.links", "3")]),
];

/// Every trial there is.
///
/// # Errors
/// A scenario is wrong.
pub fn portfolio() -> Result<Vec<Trial>, ScenarioError> {
    SCENARIOS
        .iter()
        .map(|((file, text), sets)| {
            let sets: Vec<(String, String)> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            let scenario = Scenario::parse(file, text, &sets)?;
            let name = sets.iter().fold((*file).to_owned(), |name, (key, value)| format!("{name} --set {key}={value}"));
            Ok(Trial { name, scenario, policy: "timed", depth: Depth::Message })
        })
        .collect()
}
