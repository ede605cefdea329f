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

#[test]
fn what_no_workload_shows_is_left_as_it_was_drawn_with_fewer_decisions() {
    let crowd = scenario(CROWD, &[("N", "4"), ("random.pipes", "8"), ("duration", "50ms")]);
    let options = |seed| RunOptions { seed, planted: Some("length-off-by-one".to_owned()), ..RunOptions::default() };
    let seed = (1..60).find(|seed| plainly(&crowd, &options(*seed)).failure.is_some()).expect("the bug shows");
    let small = fewer(&crowd, &options(seed), &mut plainly, &mut |runs| runs >= 300).unwrap();
    let left = small.outcome.log.as_ref().map_or(0, |log| log.deviations.len());
    assert!(left > 0 && left * 4 < small.before, "{left} of {}", small.before);
    let again = plainly(&crowd, &small.options).failure.expect("it still fails");
    assert_eq!((Signature::of(&crowd, &again), &again), (small.signature, &small.failure));
    let held = fewer(&crowd, &RunOptions::default(), &mut plainly, &mut |_| false);
    assert_eq!(held.unwrap_err(), Unshrunk::Holds);
}

#[test]
fn a_fault_that_strikes_by_chance_becomes_one_that_strikes_once() {
    let text = r#"
        name = "test"
        purpose = "test"
        step = [
          { on = "a", open = ["p", "q"] },
          { on = "a", hand = "q", over = "ab", to = "broker" },
          { on = "broker", hand = "q", over = "bb", to = "b" },
          { on = "a", send = { count = 1, bytes = 4 }, from = "p" },
          { on = "a", send = { count = 1, bytes = 4 }, from = "p", at = "50ms" },
        ]
        [nodes]
        broker = { broker = true }
        a = {}
        b = {}
        [links]
        connect = [["a", "broker", "ab"], ["b", "broker", "bb"]]
        [faults]
        refuse-introduction = { chance = "1/2", lasts = "0us" }
    "#;
    let world = scenario(text, &[]);
    // Whoever is told that there was no introduction fails, as if that were wrong.
    let mut runner = |world: &Scenario, options: &RunOptions| {
        let mut ran = plainly(world, options);
        let refused = ran.outcome.as_ref().is_some_and(|outcome| outcome.run.by_id[12] > 0);
        ran.failure = refused.then(|| Failure {
            property: "a refusal",
            checker: "test",
            text: String::new(),
            time: 0,
            event: 1,
            phase: crate::run::Phase::Work,
            process: None,
            portal: None,
        });
        ran
    };
    let options = |seed| RunOptions { seed, ..RunOptions::default() };
    let seed = (1..60).find(|seed| runner(&world, &options(*seed)).failure.is_some()).expect("it is refused");
    let shrunk = shrink(&world, &options(seed), &mut runner, &mut |runs| runs >= 400).unwrap();
    assert!(shrunk.toml.contains("refuse-introduction = { nth = 1, on = \"broker\""), "{}", shrunk.toml);
}
