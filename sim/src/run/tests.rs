//! Runs of real processes.

use super::*;
use crate::check::Status;
use crate::events::HoldFate;

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
    let work = outcome.set_up.delivered + outcome.run.delivered + outcome.closing.delivered + outcome.calls.made;
    println!(
        "{name} {sets:?} seed {seed}: {seconds:.2} s, {} events, {} delivered, {:?}, {:.0}/s; bypasses {}, peaks {:?}, work {} rest {}",
        outcome.events,
        work - outcome.calls.made,
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
    for (name, n) in [("relay-chain.toml", "1000"), ("both-ends-run.toml", "64")] {
        let outcome = measure(name, &[("N", n)], 1);
        println!("{:?}", outcome.verdict);
    }
}

fn scenario(text: &str) -> Scenario {
    let head = r#"
        name = "test"
        purpose = "test"
        [nodes]
        A = { broker = true }
        B = {}
        C = {}
        [links]
        connect = [["B", "A", "ab"], ["C", "A", "ac"]]
        latency = "1ms"
        jitter = "0us"
    "#;
    Scenario::parse("test", &format!("{head}\n{text}"), &[]).unwrap_or_else(|error| panic!("{error}"))
}

/// The messages of the run proper: `from>to Kind`, in the order they were sent.
fn messages(scenario: &Scenario) -> Vec<String> {
    let outcome = run(scenario, &RunOptions { record: true, ..RunOptions::default() });
    assert_eq!(outcome.verdict, Verdict::Held, "{:?}", outcome.verdict);
    let sent = outcome.recording.iter().filter_map(|recorded| match recorded {
        Recorded::Sent { from, to, id, .. } => Some(format!("{from}>{to} {}", ipcz::wire::message_name(*id).unwrap())),
        _ => None,
    });
    sent.skip(outcome.set_up.messages as usize).take(outcome.run.messages as usize).collect()
}

const MOVED_TO_B: &str = r#"
    [[step]]
    on = "A"
    open = ["p", "q"]
    [[step]]
    on = "A"
    hand = "p"
    over = "ab"
    to = "B"
"#;

#[test]
fn golden_a_local_pair_is_split() {
    assert_eq!(messages(&scenario(MOVED_TO_B)), ["0>1 AcceptParcel"]);
}

#[test]
fn golden_a_portal_comes_back() {
    let text = [MOVED_TO_B, "[[step]]\non = \"B\"\nhand = \"p\"\nover = \"ab\"\nto = \"A\""].concat();
    assert_eq!(messages(&scenario(&text)), ["0>1 AcceptParcel", "1>0 AcceptParcel", "0>1 StopProxying"]);
}

const THEN_TO_C: &str = "[[step]]\non = \"A\"\nat = \"100ms\"\nhand = \"q\"\nover = \"ac\"\nto = \"C\"";

#[test]
fn golden_a_bypass_between_strangers_needs_an_introduction() {
    let text = [MOVED_TO_B, THEN_TO_C].concat();
    let expected = [
        "0>1 AcceptParcel",
        "0>2 AcceptParcel",
        "2>0 RequestIntroduction",
        "0>2 AcceptIntroduction",
        "0>1 AcceptIntroduction",
        "2>1 AcceptBypassLink",
        "1>0 StopProxying",
        "1>2 ProxyWillStop",
    ];
    assert_eq!(messages(&scenario(&text)), expected);
}

const KNOWN: &str = "pipes = [[\"B\", \"C\", \"bc\"]]\n";

#[test]
fn golden_a_bypass_between_acquaintances() {
    let text = [KNOWN, MOVED_TO_B, THEN_TO_C].concat();
    let expected = ["0>1 AcceptParcel", "0>2 AcceptParcel", "2>1 AcceptBypassLink", "1>0 StopProxying", "1>2 ProxyWillStop"];
    assert_eq!(messages(&scenario(&text)), expected);
}

#[test]
fn golden_both_ends_move_at_once() {
    let text = [KNOWN, MOVED_TO_B, "[[step]]\non = \"A\"\nhand = \"q\"\nover = \"ac\"\nto = \"C\""].concat();
    let expected = [
        "0>1 AcceptParcel",
        "0>2 AcceptParcel",
        "1>0 FlushRouter",
        "0>2 BypassPeer",
        "2>1 AcceptBypassLink",
        "1>0 StopProxying",
        "1>2 ProxyWillStop",
    ];
    assert_eq!(messages(&scenario(&text)), expected);
}

#[test]
fn golden_a_closure_is_one_message() {
    let text = [MOVED_TO_B, "[[step]]\non = \"B\"\nclose = \"p\""].concat();
    assert_eq!(messages(&scenario(&text)), ["0>1 AcceptParcel", "1>0 RouteClosed"]);
}

/// A second pipe, r and s, whose end s moves to `node` over `pipe`; and at last q and r are merged.
fn merged(moved: Option<(&str, &str)>) -> String {
    let hand =
        moved.map_or(String::new(), |(node, pipe)| format!("[[step]]\non = \"A\"\nhand = \"s\"\nover = \"{pipe}\"\nto = \"{node}\"\n"));
    ["[[step]]\non = \"A\"\nopen = [\"r\", \"s\"]\n", &hand, "[[step]]\non = \"A\"\nat = \"100ms\"\nmerge = [\"q\", \"r\"]\n"].concat()
}

#[test]
fn golden_a_merger_between_local_peers_is_silent() {
    let text = ["[[step]]\non = \"A\"\nopen = [\"p\", \"q\"]\n", &merged(None)].concat();
    assert_eq!(messages(&scenario(&text)), [] as [&str; 0]);
}

#[test]
fn golden_a_merger_with_one_remote_peer() {
    let text = [MOVED_TO_B, &merged(None)].concat();
    assert_eq!(messages(&scenario(&text)), ["0>1 AcceptParcel", "0>1 BypassPeerWithLink", "1>0 StopProxyingToLocalPeer"]);
}

#[test]
fn golden_a_merger_between_strangers_needs_an_introduction() {
    let text = [MOVED_TO_B, &merged(Some(("C", "ac")))].concat();
    let expected = [
        "0>1 AcceptParcel",
        "0>2 AcceptParcel",
        "0>2 BypassPeer",
        "2>0 RequestIntroduction",
        "0>2 AcceptIntroduction",
        "0>1 AcceptIntroduction",
        "2>1 AcceptBypassLink",
        "1>0 StopProxying",
        "1>2 ProxyWillStop",
    ];
    assert_eq!(messages(&scenario(&text)), expected);
}

#[test]
fn golden_a_merger_whose_peers_share_a_node() {
    let text = [MOVED_TO_B, &merged(Some(("B", "ab")))].concat();
    assert_eq!(messages(&scenario(&text)), ["0>1 AcceptParcel", "0>1 AcceptParcel", "0>1 BypassPeer", "1>0 StopProxying"]);
}

#[test]
fn the_transport_that_loses_a_message_is_caught() {
    let outcome = run(&load("canary.toml", &[]), &RunOptions::default());
    let Verdict::Violated(failure) = &outcome.verdict else { panic!("{:?}", outcome.verdict) };
    assert_eq!((failure.checker, failure.process, outcome.exit_code()), ("delivery", Some(2), 42));
    assert!(outcome.last_messages.len() > 50);
}

#[test]
fn what_did_not_happen_is_unmet() {
    let outcome = run(&load("abc.toml", &[("require.bypasses", "2")]), &RunOptions::default());
    let Verdict::Unmet(unmet) = &outcome.verdict else { panic!("{:?}", outcome.verdict) };
    assert_eq!((unmet.len(), unmet[0].name, unmet[0].demanded, unmet[0].reached, outcome.exit_code()), (1, "bypasses", 2, 1, 44));
}

fn crowd() -> Scenario {
    load("crowd.toml", &[("N", "12"), ("random.pipes", "60"), ("random.cuts.links", "3")])
}

/// A checker with nothing to do unless applications ask for the status of their portals.
const UNASKED: &str = Status::NAME;

#[test]
fn crowds_hold_whatever_is_cut() {
    for seed in 0..20 {
        let outcome = run(&crowd(), &RunOptions { seed, ..RunOptions::default() });
        assert_eq!(outcome.verdict, Verdict::Held, "seed {seed}: {:?}", outcome.verdict);
        assert!(
            outcome.deliveries > 100 && outcome.checks.iter().all(|check| check.checks > 0 || check.name == UNASKED),
            "{:?}",
            outcome.checks
        );
    }
}

#[test]
fn a_run_and_its_copy_go_the_same_way() {
    let options = RunOptions { seed: 7, ..RunOptions::default() };
    let whole = run(&crowd(), &options);
    for at in [0, 10, 100, 333, 1000] {
        let mut original = Run::new(&crowd(), &options);
        for _ in 0..at {
            original.step();
        }
        let mut copy = original.fork();
        while copy.step() {}
        let copy = copy.finish();
        assert_eq!(
            (copy.fingerprint, copy.delivery_order, copy.events),
            (whole.fingerprint, whole.delivery_order, whole.events),
            "at {at}"
        );
        while original.step() {}
        assert_eq!(original.finish().fingerprint, whole.fingerprint, "the original at {at}");
    }
    let other = run(&crowd(), &RunOptions { seed: 8, ..RunOptions::default() });
    assert_ne!(other.fingerprint, whole.fingerprint);
}

/// The checker that notices a planted bug, with the first seed that shows it.
fn caught(scenario: &Scenario, bug: &str, seeds: std::ops::Range<u64>) -> Option<(&'static str, u64)> {
    seeds.into_iter().find_map(|seed| {
        let options = RunOptions { seed, planted: Some(bug.to_owned()), ..RunOptions::default() };
        match run(scenario, &options).verdict {
            Verdict::Violated(failure) => Some((failure.checker, seed)),
            _ => None,
        }
    })
}

#[test]
fn planted_bugs_are_caught() {
    let abc = load("abc.toml", &[]);
    let both = load("both-ends-run.toml", &[("N", "8")]);
    // More routes at once than the link has states for, until it has grown.
    let many = scenario(
        "[[step]]\neach = \"i in 1..=1600\"\non = \"A\"\nopen = [\"p{i}\", \"q{i}\"]\n\
         [[step]]\neach = \"i in 1..=1600\"\non = \"A\"\nhand = \"q{i}\"\nover = \"ab\"\nto = \"B\"",
    );
    assert_eq!(run(&many, &RunOptions::default()).verdict, Verdict::Held);
    for (bug, scenario) in [
        ("stop-proxying-dropped", &abc),
        ("length-off-by-one", &abc),
        ("waiting-forgotten", &both),
        ("unlock-forgotten", &many),
        ("block-freed-early", &crowd()),
    ] {
        let found = caught(scenario, bug, 0..20);
        println!("{bug}: {found:?}");
        assert!(found.is_some(), "{bug}");
    }
}

#[test]
#[ignore = "long"]
fn many_crowds_hold() {
    for (nodes, pipes, seeds) in [("4", "20", 600), ("12", "60", 600), ("40", "100", 100)] {
        let scenario = load("crowd.toml", &[("N", nodes), ("random.pipes", pipes)]);
        for seed in 0..seeds {
            let outcome = run(&scenario, &RunOptions { seed, ..RunOptions::default() });
            if outcome.verdict != Verdict::Held {
                println!("N {nodes} seed {seed}: {:?}", outcome.verdict);
            }
        }
    }
}

const POLICIES: [&str; 12] = [
    "fifo",
    "random",
    "pct:1",
    "pct:3",
    "pctcp:2",
    "pctcp:3",
    "pos",
    "delay:3",
    "swap",
    "hold:AcceptParcel",
    "hold:StopProxying",
    "portfolio",
];

fn ordered(policy: &str, seed: u64) -> RunOptions {
    RunOptions { seed, policy: policy.parse().unwrap(), record_order: true, ..RunOptions::default() }
}

fn worlds() -> [Scenario; 4] {
    let chain = load("relay-chain.toml", &[("N", "12")]);
    [load("abc.toml", &[]), load("both-ends-run.toml", &[("N", "8")]), chain, crowd()]
}

#[test]
fn a_swarm_s_run_by_itself_has_the_order_that_it_has_among_many() {
    let swarm = load("swarm.toml", &[]);
    let policy: PolicySpec = "pct:3".parse().unwrap();
    let fine = Fine { spec: Some(policy.clone()), ..Fine::default() };
    for seed in [2, 3] {
        let coarse = RunOptions { seed, policy: policy.clone(), ..RunOptions::default() };
        let fine = RunOptions { seed, fine: Some(fine.clone()), ..RunOptions::default() };
        for (alone, length) in [(coarse, super::measure(&swarm)), (fine.clone(), measure_fine(&swarm, fine.fine.as_ref().unwrap()))] {
            let among = run(&swarm, &RunOptions { length: Some(length), ..alone.clone() });
            let alone = run(&swarm, &alone);
            assert_eq!((alone.length, alone.fingerprint), (Some(length), among.fingerprint), "seed {seed}");
            assert_eq!(alone.policy, policy);
        }
    }
}

#[test]
fn scenarios_hold_in_any_order() {
    for scenario in worlds() {
        for policy in POLICIES {
            for seed in 0..6 {
                let outcome = run(&scenario, &ordered(policy, seed));
                assert_eq!(outcome.verdict, Verdict::Held, "{} {policy} seed {seed}", scenario.name);
                let idle = |name| name == UNASKED || scenario.random.is_none();
                assert!(outcome.checks.iter().all(|check| check.checks > 0 || idle(check.name)), "{:?}", outcome.checks);
            }
        }
    }
}

#[test]
fn constraints_of_a_scenario_decide_the_order() {
    let text = |before: &str, after: &str| {
        let order = format!("\n[[order]]\nbefore = \"{before}\"\nafter = \"{after}\"\n");
        scenario(&[KNOWN, MOVED_TO_B, THEN_TO_C, &order].concat())
    };
    let fates = |scenario: &Scenario| {
        let outcome = run(scenario, &RunOptions::default());
        assert_eq!(outcome.verdict, Verdict::Held);
        outcome.order.unwrap().holds.iter().map(|(_, fate)| *fate).collect::<Vec<_>>()
    };
    // B's portal arrives first of itself; C's arrives first only if it must; the bypass can't come before what causes it.
    assert_eq!(fates(&text("A->B AcceptParcel #1", "A->C AcceptParcel #1")), [HoldFate::Unneeded]);
    assert_eq!(fates(&text("A->C AcceptParcel #1", "A->B AcceptParcel #1")), [HoldFate::Met]);
    assert_eq!(fates(&text("C->B AcceptBypassLink #1", "A->C AcceptParcel #1")), [HoldFate::Broken]);
    assert_eq!(fates(&text("C->B AcceptBypassLink #7", "A->C RouteClosed #9")), [HoldFate::NeverCame]);
}

#[test]
fn a_livelock_is_found_without_time() {
    let mut run = Run::new(&load("abc.toml", &[]), &ordered("random", 1));
    while run.phase != Phase::Settle {
        assert!(run.step());
    }
    // A message that is sent again whenever it has come would look like this.
    run.deadline = run.events + 3;
    while run.step() {}
    let Verdict::Violated(failure) = run.finish().verdict else { panic!("not seen") };
    assert_eq!(failure.checker, "liveness");
}

#[test]
fn a_scheduled_run_and_its_copy_go_the_same_way() {
    for policy in ["random", "pctcp:3", "pos", "delay:3"] {
        let whole = run(&crowd(), &ordered(policy, 7));
        let mut original = Run::new(&crowd(), &ordered(policy, 7));
        for _ in 0..500 {
            original.step();
        }
        let mut copy = original.fork();
        while copy.step() {}
        let copy = copy.finish();
        assert_eq!((copy.fingerprint, copy.order), (whole.fingerprint, whole.order), "{policy}");
    }
}

#[test]
fn a_recorded_order_is_replayed_by_its_holds() {
    for scenario in worlds() {
        for policy in POLICIES {
            for seed in 0..4 {
                let recorded = run(&scenario, &ordered(policy, seed));
                let Some(order) = &recorded.order else { continue };
                let holds = order.recorded.clone();
                let replay = RunOptions { seed, policy: PolicySpec::Fifo, holds, ..RunOptions::default() };
                let replayed = run(&scenario, &replay);
                let told = format!("{} {policy} seed {seed}", scenario.name);
                assert_eq!(replayed.fingerprint, recorded.fingerprint, "{told}");
                let fates = replayed.order.unwrap().holds;
                assert_eq!(fates.len(), replay.holds.len(), "{told}: events have names of their own");
                assert!(fates.iter().all(|(_, fate)| *fate == HoldFate::Met), "{told}: {fates:?}");
            }
        }
    }
}

#[test]
fn a_log_replays_a_run() {
    for (file, sets, decides) in
        [("both-ends-run.toml", &[][..], true), ("relay-chain.toml", &[("N", "10")], true), ("abc.toml", &[], false)]
    {
        let scenario = load(file, sets);
        let plain = run(&scenario, &RunOptions { seed: 5, ..RunOptions::default() });
        let recorded = run(&scenario, &RunOptions { seed: 5, log: true, ..RunOptions::default() });
        let log = recorded.log.clone().expect("a log");
        assert_eq!(Outcome { log: None, ..recorded.clone() }, plain, "recording changes nothing");
        assert_eq!(log.deviations.is_empty(), !decides, "nothing is left to chance but names, if there is no jitter");
        // The seed of the options decides nothing here.
        let replayed = run(&scenario, &RunOptions { seed: 6, source: Some(Source::replay(&log)), log: true, ..RunOptions::default() });
        assert_eq!(Outcome { seed: 5, ..replayed }, recorded);
    }
}
