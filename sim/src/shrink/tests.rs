use super::*;
use crate::policy::PolicySpec;

const CROWD: &str = include_str!("../../../scenarios/crowd.toml");
const BOTH_ENDS: &str = include_str!("../../../scenarios/both-ends-run.toml");

fn scenario(text: &str, sets: &[(&str, &str)]) -> Scenario {
    let sets: Vec<_> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Scenario::parse("test.toml", text, &sets).unwrap()
}

/// The first run that the bug makes fail, shrunk in so many runs.
fn shrunk(scenario: &Scenario, bug: &str, policy: &PolicySpec, most: u64) -> Shrunk {
    let options = |seed| RunOptions { seed, planted: Some(bug.to_owned()), policy: policy.clone(), ..RunOptions::default() };
    let fails = |seed: &u64| plainly(scenario, &options(*seed)).failure.is_some();
    let seed = (1..60).find(fails).expect("the bug shows");
    let shrunk = shrink(scenario, &options(seed), &mut plainly, &mut |runs| runs >= most).unwrap();
    again(&shrunk, bug);
    shrunk
}

/// What was written fails in the same way, and holds without the bug.
fn again(shrunk: &Shrunk, bug: &str) {
    let scenario = Scenario::parse("shrunk.toml", &shrunk.toml, &[]).unwrap();
    let policy = if shrunk.way.holds.is_empty() { shrunk.way.policy.clone() } else { PolicySpec::Timed };
    let options = |planted| RunOptions { seed: shrunk.way.seed, policy: policy.clone(), planted, ..RunOptions::default() };
    let failure = plainly(&scenario, &options(Some(bug.to_owned()))).failure.unwrap_or_else(|| panic!("holds: {}", shrunk.toml));
    assert_eq!(Signature::of(&scenario, &failure), shrunk.signature);
    assert_eq!(plainly(&scenario, &options(None)).failure, None);
    assert_eq!((scenario.nodes.len(), scenario.holds.len()), (shrunk.after.nodes, shrunk.way.holds.len()));
}

#[test]
fn a_crowd_becomes_a_handful() {
    let crowd = scenario(CROWD, &[("N", "8"), ("random.pipes", "20"), ("duration", "100ms")]);
    for bug in ["length-off-by-one", "lengths-swapped"] {
        let shrunk = shrunk(&crowd, bug, &PolicySpec::Timed, 1500);
        let Sizes { nodes, operations, faults, deviations, .. } = shrunk.after;
        assert!(nodes <= 4 && operations + faults <= 12 && deviations <= 6, "{bug}: {:?}\n{}", shrunk.after, shrunk.toml);
        assert!(shrunk.before.operations > 40, "{:?}", shrunk.before);
        assert!(shrunk.toml.lines().count() <= 40, "{}", shrunk.toml);
    }
}

#[test]
fn steps_are_shrunk_too() {
    let both = scenario(BOTH_ENDS, &[("N", "8")]);
    let shrunk = shrunk(&both, "stop-proxying-dropped", &PolicySpec::Random, 1500);
    let Sizes { nodes, operations, deviations, .. } = shrunk.after;
    assert!(nodes <= 4 && operations <= 12 && deviations <= 3, "{:?}\n{}", shrunk.after, shrunk.toml);
}

#[test]
fn the_same_runs_give_the_same_result() {
    let crowd = scenario(CROWD, &[("N", "4"), ("random.pipes", "8"), ("duration", "50ms")]);
    let [one, two] = [(); 2].map(|()| shrunk(&crowd, "length-off-by-one", &PolicySpec::Portfolio, 300));
    assert_eq!((one.toml, one.test, one.runs), (two.toml, two.test, two.runs));
}

#[test]
fn what_holds_is_refused() {
    let both = scenario(BOTH_ENDS, &[("N", "4")]);
    let refused = shrink(&both, &RunOptions::default(), &mut plainly, &mut |_| false).unwrap_err();
    assert_eq!(refused, Unshrunk::Holds);
}
