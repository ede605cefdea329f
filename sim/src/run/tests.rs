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

/// Runs a scenario and says what it cost.
fn measure(name: &str, sets: &[(&str, &str)], seed: u64) -> Outcome {
    #[allow(clippy::disallowed_types, clippy::disallowed_methods)]
    let start = std::time::Instant::now();
    let scenario = load(name, sets);
    let outcome = run(&scenario, &RunOptions { seed, ..RunOptions::default() });
    let seconds = start.elapsed().as_secs_f64();
    let work = outcome.set_up.delivered + outcome.run.delivered + outcome.closing.delivered + outcome.calls.total();
    println!(
        "{name} {sets:?} seed {seed}: {seconds:.2} s, {} events, {} delivered, {:?}, {:.0}/s; bypasses {}, peaks {:?}, work {} rest {}",
        outcome.events,
        work - outcome.calls.total(),
        outcome.calls,
        work as f64 / seconds,
        outcome.bypasses,
        outcome.peaks,
        outcome.work_ns,
        outcome.rest_ns
    );
    for check in &outcome.checks {
        println!("  {check:?}");
    }
    outcome
}

#[test]
#[ignore = "a measurement"]
fn measure_crowd() {
    for (nodes, pipes) in [("20", "200"), ("500", "5000"), ("2000", "20000")] {
        let outcome = measure("crowd.toml", &[("N", nodes), ("random.pipes", pipes)], 1);
        println!("{:?}", outcome.verdict);
    }
}

#[test]
#[ignore = "a measurement"]
fn measure_chains() {
    for name in ["relay-chain.toml", "both-ends-run.toml", "canary.toml"] {
        let outcome = measure(name, &[], 1);
        println!("{:?}", outcome.verdict);
    }
}
