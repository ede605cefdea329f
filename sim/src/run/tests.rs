//! Runs of real processes.

use super::*;

fn load(name: &str, sets: &[(&str, &str)]) -> Scenario {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    let sets: Vec<_> = sets.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    Scenario::load(&path, &sets).unwrap()
}

#[test]
fn abc_holds() {
    let outcome = run(&load("abc.toml", &[]), &RunOptions::default());
    assert_eq!(outcome.verdict, Verdict::Held, "{outcome:#?}");
}
