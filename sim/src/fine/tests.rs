#![cfg(test)]

use super::{Faults, Fine};
use crate::choice::Source;
use crate::policy::Policy;
use crate::run::{Outcome, Run, RunOptions, Verdict};
use crate::scenario::Scenario;

fn hands() -> Scenario {
    Scenario::parse("four-hands.toml", include_str!("../../../scenarios/races/four-hands.toml"), &[]).unwrap()
}

/// Both ends of a pipe hop away from each other.
fn hops() -> Scenario {
    let sets = ["N", "burst", "bytes"].map(str::to_owned).into_iter().zip(["4", "2", "400"].map(str::to_owned));
    Scenario::parse("both-ends-run.toml", include_str!("../../../scenarios/both-ends-run.toml"), &sets.collect::<Vec<_>>()).unwrap()
}

fn options(fine: Fine) -> RunOptions {
    RunOptions { recent: 0, log: true, fine: Some(fine), ..RunOptions::default() }
}

fn base(fine: Fine) -> Run {
    base_of(&hands(), fine)
}

fn base_of(scenario: &Scenario, fine: Fine) -> Run {
    let mut base = Run::new(scenario, &options(fine));
    assert!(base.go_to_fine());
    base
}

fn finish(mut run: Run) -> Outcome {
    while run.step() {}
    run.finish()
}

fn schedule(base: &Run, seed: u64) -> Outcome {
    let mut run = base.fork();
    run.decide_by(seed, Source::seeded(seed, "four-hands").recording());
    finish(run)
}

#[test]
fn schedules_of_one_copied_world_differ_hold_and_can_be_had_again() {
    let base = base(Fine::default());
    let outcomes: Vec<_> = (0..200).map(|seed| schedule(&base, seed)).collect();
    for (seed, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.verdict, Verdict::Held, "seed {seed}");
        assert!((100..400).contains(&outcome.fine.operations()), "{:?}", outcome.fine);
    }
    let mut prints: Vec<_> = outcomes.iter().map(|outcome| outcome.fingerprint).collect();
    assert_eq!(schedule(&base, 7).fingerprint, prints[7]);
    prints.sort_unstable();
    prints.dedup();
    assert!(prints.len() > 190, "{}", prints.len());
}

#[test]
fn the_log_of_a_schedule_gives_it_again() {
    let base = base(Fine::default());
    let first = schedule(&base, 3);
    let mut again = base.fork();
    again.decide_by(3, Source::replay(first.log.as_ref().unwrap()));
    let again = finish(again);
    assert_eq!((again.fingerprint, again.verdict), (first.fingerprint, first.verdict));
}

#[test]
fn without_a_policy_nobody_is_interrupted() {
    let outcome = schedule(&base(Fine { policy: Policy::Fifo, ..Fine::default() }), 1);
    assert_eq!(outcome.verdict, Verdict::Held);
    assert!(outcome.fine.switches <= outcome.fine.inputs, "{:?}", outcome.fine);
}

#[test]
fn a_process_that_dies_between_two_operations_harms_nobody_else() {
    let base = base(Fine { faults: Faults { crash: 60, crashes: 1, ..Faults::default() }, ..Fine::default() });
    let outcomes: Vec<_> = (0..200).map(|seed| schedule(&base, seed)).collect();
    for (seed, outcome) in outcomes.iter().enumerate() {
        assert!(!matches!(outcome.verdict, Verdict::Violated(_)), "seed {seed}: {:?}", outcome.verdict);
    }
    let died = outcomes.iter().filter(|outcome| outcome.calls.cuts > 0).count();
    assert!(died > 50, "{died}");
}

#[test]
fn a_process_that_dies_while_portals_hop_harms_nobody_else() {
    let base = base_of(&hops(), Fine { faults: Faults { crash: 400, crashes: 1, ..Faults::default() }, ..Fine::default() });
    let mut died = 0;
    for seed in 0..CRASHES {
        let outcome = schedule(&base, seed);
        assert!(!matches!(outcome.verdict, Verdict::Violated(_)), "seed {seed}: {:?}", outcome.verdict);
        died += u64::from(outcome.calls.cuts > 0);
    }
    assert!(died > CRASHES / 3, "{died}");
}

/// Enough to meet a Put that is refused while what its reader was told has gone on to the next node.
const CRASHES: u64 = 600;

#[test]
fn a_compare_exchange_may_fail_for_no_reason() {
    let base = base(Fine { faults: Faults { spurious: 3, ..Faults::default() }, ..Fine::default() });
    for seed in 0..100 {
        assert_eq!(schedule(&base, seed).verdict, Verdict::Held, "seed {seed}");
    }
}

#[test]
fn a_run_that_never_rests_is_a_failure() {
    let outcome = schedule(&base(Fine { limit: 50, ..Fine::default() }), 1);
    let Verdict::Violated(failure) = outcome.verdict else { panic!("{:?}", outcome.verdict) };
    assert_eq!(failure.checker, "liveness");
}

/// How many schedules it took to find a planted bug at depth L1, and by which checker.
fn found(bug: &str, schedules: u64) -> Option<(u64, &'static str)> {
    let options = RunOptions { planted: Some(bug.to_owned()), ..options(Fine::default()) };
    let mut base = Run::new(&hands(), &options);
    assert!(base.go_to_fine(), "{bug} shows before depth L1");
    (0..schedules).find_map(|seed| match schedule(&base, seed).verdict {
        Verdict::Violated(failure) => Some((seed, failure.checker)),
        _ => None,
    })
}

#[test]
fn what_happens_between_a_load_and_a_store_is_found_and_no_order_of_messages_shows_it() {
    const BUGS: [&str; 7] = [
        "pop-load-store",
        "push-load-store",
        "trap-armed-after-check",
        "two-drainers",
        "outbox-look-trusted",
        "sublinks-load-store",
        "freed-before-read",
    ];
    let found: Vec<_> = BUGS.iter().filter_map(|bug| Some((bug, found(bug, 1000)?))).collect();
    println!("{found:?}");
    assert!(found.len() >= 2, "{found:?}");
    for (bug, _) in found {
        for seed in 0..200 {
            let options = RunOptions { seed, planted: Some((*bug).to_owned()), recent: 0, ..RunOptions::default() };
            assert_eq!(finish(Run::new(&hands(), &options)).verdict, Verdict::Held, "{bug} at L0");
        }
    }
}

#[test]
fn a_length_that_is_read_twice_is_a_double_fetch_with_its_place() {
    let options = RunOptions { planted: Some("length-read-twice".to_owned()), ..options(Fine::default()) };
    let mut base = Run::new(&hands(), &options);
    assert!(base.go_to_fine());
    let Verdict::Violated(failure) = schedule(&base, 1).verdict else { panic!("not found") };
    assert_eq!(failure.checker, "double fetch");
    assert!(failure.text.contains("Block::open"), "{}", failure.text);
}

#[test]
fn a_length_that_is_another_one_the_second_time_is_seen_in_what_arrives() {
    let fine = Fine { faults: Faults { flipped: 1, ..Faults::default() }, ..Fine::default() };
    for seed in 0..20 {
        assert_eq!(schedule(&base(fine.clone()), seed).verdict, Verdict::Held, "nothing is loaded twice, seed {seed}");
    }
    let options = RunOptions { planted: Some("length-read-twice".to_owned()), ..options(fine) };
    let mut base = Run::new(&hands(), &options);
    assert!(base.go_to_fine());
    let Verdict::Violated(failure) = schedule(&base, 1).verdict else { panic!("not found") };
    assert_eq!(failure.checker, "delivery", "{}", failure.text);
}

/// What a run of `step-calls.toml` did: the lines of its transcript that tell of calls.
fn step_calls(fine: Option<Fine>, seed: u64) -> Vec<String> {
    let text = include_str!("../../../scenarios/step-calls.toml");
    let scenario = Scenario::parse("step-calls.toml", text, &[]).unwrap();
    let mut run = Run::new(&scenario, &RunOptions { seed, fine, transcript: true, ..RunOptions::default() });
    while run.step() {}
    let lines = run.named(|names| run.take_transcript().lines(names));
    let verdict = run.finish().verdict;
    assert_eq!(verdict, Verdict::Held, "seed {seed}");
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn steps_put_get_and_ask_in_every_way_at_both_depths() {
    for (depth, seed) in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)] {
        let lines = step_calls((depth == 1).then(Fine::default), seed);
        let count = |call: &str, words: &str| lines.iter().filter(|line| line.contains(call) && line.contains(words)).count();
        assert_eq!(count(" end put ", ", ffffffffffffffff, 1]"), 3, "puts aborted");
        assert_eq!(count(" end put ", ", 1388, 1]"), 12, "puts ended");
        assert_eq!(count(" end get ", ", 2, 1]"), 3, "two exclusive gets and an overlapped one aborted");
        assert!(count(" end get ", ", 0, 1]") >= 4 && count(" measure ", ", 0]") >= 1, "what is measured is too big for no room");
        assert!(count(" begin get ", ", 1, 1]") >= 3, "overlapped");
        let kept = count(" keep ", ", 1]");
        assert!(kept >= 2 && count(" get from kept ", ", 2, 1]") == kept && count(" get from kept ", ", 0, 1]") == kept, "{kept}");
        assert_eq!(count(" query ", ", 1]"), 2);
    }
}
