//! Faults in real worlds.

use super::*;
use crate::fault::{ALL, Struck};

fn swarm() -> Scenario {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/swarm.toml");
    Scenario::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn random_worlds_hold_and_every_kind_of_fault_strikes_in_them() {
    let swarm = swarm();
    let mut struck: Vec<Struck> = Vec::new();
    for seed in 0..200 {
        let outcome = run(&swarm, &RunOptions { seed, ..RunOptions::default() });
        assert_eq!(outcome.verdict, Verdict::Held, "seed {seed}: {:?}", outcome.verdict);
        struck.extend(&outcome.struck);
    }
    for about in ALL {
        let times: u64 = struck.iter().filter(|struck| struck.fault == about.fault).map(|struck| struck.did).sum();
        assert!(times > 0, "{} never struck", about.name);
    }
}

/// B dies before or after its nth message, for every n there is.
#[test]
fn a_node_may_die_at_each_of_its_messages() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/abc.toml");
    let text = std::fs::read_to_string(path).unwrap();
    let (text, _) = text.split_once("[require]").unwrap();
    for kind in ["crash-before-send", "crash-after-send"] {
        let mut died = 0;
        for nth in 1..=110 {
            let text = format!("{text}\n[faults]\n{kind} = {{ nth = {nth}, on = \"B\" }}");
            let scenario = Scenario::parse("abc", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
            let outcome = run(&scenario, &RunOptions::default());
            assert_eq!(outcome.verdict, Verdict::Held, "{kind} {nth}: {:?}", outcome.verdict);
            died += outcome.struck.iter().map(|struck| struck.did).sum::<u64>();
        }
        assert!((100..110).contains(&died), "{kind}: {died}");
    }
}

#[test]
fn a_fault_can_be_demanded() {
    let text = r#"
        name = "test"
        purpose = "test"
        [nodes]
        A = { broker = true }
        B = {}
        [links]
        connect = [["B", "A", "ab"]]
        [[step]]
        on = "B"
        send = { count = 5, bytes = 64, every = "1ms" }
        from = "ab"
        [faults]
        delay = { chance = "1/1", lasts = "2ms", most = 2 }
        [require.faults]
        delay = 3
    "#;
    let scenario = Scenario::parse("test", text, &[]).unwrap_or_else(|error| panic!("{error}"));
    let Verdict::Unmet(unmet) = run(&scenario, &RunOptions::default()).verdict else { panic!("held") };
    assert_eq!((unmet[0].name, unmet[0].about.as_deref(), unmet[0].reached), ("faults", Some("delay"), 2));
}
