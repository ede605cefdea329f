//! Faults in real worlds.

use ipcz::probe::Probe;

use super::*;
use crate::fault::{ALL, Struck};
use crate::fine::Fine;

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

/// Worlds that once did not hold: in most the library or a checker took a liar's neighbour for the liar; in the last ones a handler
/// closed a portal within a put, a get was asked to end while its portal was in a parcel, a proxy believed a ProxyWillStop, and a cut took
/// what was on its way to a closed portal.
#[test]
fn worlds_that_once_did_not_hold_do() {
    let swarm = swarm();
    for seed in [6653, 38278, 43925, 75043, 93529, 97615, 115_224, 22465, 141_513, 164_822, 450_582, 621_884] {
        let outcome = run(&swarm, &RunOptions { seed, ..RunOptions::default() });
        assert_eq!(outcome.verdict, Verdict::Held, "seed {seed}: {:?}", outcome.verdict);
    }
}

/// A node that was cut off from its broker makes one more link before it knows, hands a portal over it, and then loses that too.
#[test]
fn links_made_after_the_cut_that_takes_them_are_lost_with_it() {
    for (cut, hand) in [(12, 20), (14, 20), (16, 20), (18, 20), (18, 26)] {
        let text = format!(
            r#"
            name = "late-link"
            purpose = "test"
            step = [
              {{ on = "a", open = ["p", "q"] }},
              {{ on = "a", open = ["x", "y"] }},
              {{ on = "a", hand = "q", over = "ab", to = "broker" }},
              {{ on = "broker", hand = "q", over = "bb", to = "b" }},
              {{ cut = ["a", "broker"], at = "{cut}ms" }},
              {{ on = "a", hand = "y", over = "p", to = "b", at = "{hand}ms" }},
            ]
            [nodes]
            broker = {{ broker = true }}
            a = {{}}
            b = {{}}
            [links]
            connect = [["a", "broker", "ab", {{ latency = "8ms", jitter = "0us" }}], ["b", "broker", "bb"]]
            [run]
            partial = true
            [require]
            probes = ["introduction.taken", "bypass.accepted", "link.broker-lost"]
            "#
        );
        let scenario = Scenario::parse("late-link", &text, &[]).unwrap_or_else(|error| panic!("{error}"));
        let outcome = run(&scenario, &RunOptions::default());
        assert_eq!(outcome.verdict, Verdict::Held, "{cut} {hand}: {:?}", outcome.verdict);
    }
}

/// n2 lies about a portal's numbers; the broker believes it and moves it on. n1 finds out, and neither loses their link.
#[test]
fn who_passes_a_lie_on_keeps_its_link() {
    let text = r#"
        name = "hearsay"
        purpose = "test"
        step = [
          { on = "n1", open = ["p", "q"] },
          { on = "n1", hand = "q", over = "b1", to = "broker" },
          { on = "broker", hand = "q", over = "b2", to = "n2" },
          { on = "n2", hand = "q", over = "b2", to = "broker" },
          { on = "broker", hand = "q", over = "b1", to = "n1" },
          { on = "n1", send = { count = 1, bytes = 8 }, from = "q", at = "1ms" },
        ]
        [nodes]
        broker = { broker = true }
        n1 = {}
        n2 = {}
        [links]
        connect = [["n1", "broker", "b1"], ["n2", "broker", "b2"]]
        [run]
        partial = true
        [faults]
        flip-byte = { nth = 2, on = "n2" }
    "#;
    let scenario = Scenario::parse("hearsay", text, &[]).unwrap_or_else(|error| panic!("{error}"));
    let mut found_out = 0;
    for seed in 0..400 {
        let options = RunOptions { seed, policy: PolicySpec::Fifo, ..RunOptions::default() };
        let outcome = run(&scenario, &options);
        assert_eq!(outcome.verdict, Verdict::Held, "seed {seed}: {:?}", outcome.verdict);
        found_out += outcome.probes.of(Probe::BypassHearsay);
    }
    assert!(found_out > 0, "no lie was of the kind that is meant");
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

/// Where virtual time says nothing about order, what makes messages late or a process pause has others go first.
#[test]
fn what_is_late_is_overtaken_without_time_too() {
    let kinds = ["delay", "burst", "clog", "swizzle", "pause", "slow", "late-introduction"];
    let deep = Some(Fine { policy: crate::policy::Policy::Fifo, ..Fine::default() });
    let (name, text) = ("first-contact", include_str!("../../../scenarios/first-contact.toml"));
    for (policy, fine) in [(PolicySpec::Fifo, None), (PolicySpec::Timed, deep)] {
        let options = RunOptions { policy, fine, ..RunOptions::default() };
        let calm = run(&Scenario::parse(name, text, &[]).unwrap(), &options);
        assert_eq!(calm.verdict, Verdict::Held);
        for kind in kinds {
            let text = format!("{text}\n[faults]\n{kind} = {{ chance = \"1/2\", lasts = \"1ms\" }}");
            let outcome = run(&Scenario::parse(name, &text, &[]).unwrap(), &options);
            assert_eq!(outcome.verdict, Verdict::Held, "{kind}");
            assert!(outcome.struck[0].did > 0, "{kind} never struck");
            match (&outcome.order, &calm.order) {
                (Some(order), Some(before)) => assert!(order.deviations > before.deviations, "{kind} holds nothing back"),
                // The one introduction that is late here is waited for in any case.
                _ if kind == "late-introduction" => (),
                _ => assert_ne!(outcome.delivery_order, calm.delivery_order, "{kind} holds nothing back at depth L1"),
            }
        }
    }
}

/// At L0 a handler may close the portal in the middle of the application's call, at L1 while it makes none.
#[test]
fn handlers_of_traps_close_portals_at_both_depths() {
    let text = r#"
        name = "handlers"
        purpose = "test"
        [nodes]
        broker = { broker = true }
        n = { count = 3 }
        [links]
        connect = [{ each = "i in 1..=3", link = ["n{i}", "broker", "b{i}"] }]
        [random]
        on = "n"
        pipes = 9
        duration = "40ms"
        rate = "200/s"
        verbs = { open = 1, send = 40, hand = 20, close = 1 }
        send = { count = [1, 3], bytes = [0, 400] }
        [faults]
        close-in-trap = { chance = "1/8", lasts = "1ns" }
    "#;
    let scenario = Scenario::parse("handlers", text, &[]).unwrap_or_else(|error| panic!("{error}"));
    for fine in [None, Some(Fine::default())] {
        let mut closed = 0;
        for seed in 0..40 {
            let outcome = run(&scenario, &RunOptions { seed, fine: fine.clone(), ..RunOptions::default() });
            assert_eq!(outcome.verdict, Verdict::Held, "seed {seed}, {}", fine.is_some());
            closed += outcome.struck[0].did;
        }
        assert!(closed > if fine.is_some() { 3 } else { 40 }, "{closed}");
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
