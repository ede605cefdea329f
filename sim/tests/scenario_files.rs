//! Every file in scenarios/ resolves, at the sizes and variants it is meant for.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "one test measures how long resolving takes")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ipcz_sim::scenario::{Action, Scenario, Wait};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios")
}

fn load(name: &str, sets: &[(&str, &str)]) -> Scenario {
    let sets: Vec<(String, String)> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Scenario::load(&folder().join(format!("{name}.toml")), &sets).unwrap_or_else(|error| panic!("{error}\n{:?}", error.advice()))
}

/// How many steps hand, and how many parcels the others send.
fn hands_and_parcels(scenario: &Scenario) -> (usize, u64) {
    let hands = scenario.steps.iter().filter(|step| matches!(step.action, Action::Hand { .. })).count();
    let parcels = scenario.steps.iter().map(|step| if let Action::Send { count, .. } = step.action { count } else { 0 }).sum();
    (hands, parcels)
}

#[test]
fn every_file_is_valid_and_says_what_it_is_for() {
    let mut names = Vec::new();
    for path in ipcz_sim::scenario::files(&folder()).expect("the folder is there") {
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let scenario = Scenario::load(&path, &[]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(scenario.name, stem);
        assert!(scenario.purpose.len() > 20, "{stem} does not say what it is for");
        names.push(stem);
    }
    for name in ["abc", "both-ends-run", "canary", "crowd", "relay-chain"] {
        assert!(names.iter().any(|own| own == name), "{name} is missing");
    }
}

#[test]
fn abc() {
    let scenario = load("abc", &[]);
    assert_eq!((scenario.nodes.len(), scenario.connects.len(), scenario.latency_ns), (3, 2, 1_000_000));
    assert_eq!(hands_and_parcels(&scenario), (2, 100));
    let (p, q) = (scenario.require.direct[0][0], scenario.require.direct[0][1]);
    assert_eq!(scenario.portals[p].peer, q);
    assert_eq!(scenario.steps[2].after, [Wait::Arrived { portal: q, node: 0, times: 1 }]);
    assert_eq!((scenario.require.delivered, scenario.require.bypasses), (Some(100), Some(1)));
}

#[test]
fn canary_is_abc_with_a_fault() {
    let (abc, canary) = (load("abc", &[]), load("canary", &[]));
    let fault = canary.loss.clone().expect("a fault");
    assert_eq!((fault.message.as_str(), fault.nth), ("AcceptParcel", 3));
    let harmless = Scenario { loss: None, name: abc.name.clone(), purpose: abc.purpose.clone(), settings: abc.settings.clone(), ..canary };
    let lines_apart = Scenario { steps: abc.steps.clone(), ..harmless.clone() };
    assert_eq!(lines_apart, abc);
    assert!(harmless.steps.iter().zip(&abc.steps).all(|(one, other)| one.action == other.action && one.after == other.after));
}

fn hops(scenario: &Scenario) -> impl Iterator<Item = &ipcz_sim::scenario::Step> {
    scenario.steps.iter().filter(|step| matches!(step.action, Action::Hand { .. }))
}

#[test]
fn relay_chain_moves_one_end_through_every_node() {
    for nodes in [3, 64, 1000] {
        let scenario = load("relay-chain", &[("N", &nodes.to_string())]);
        assert_eq!(scenario.nodes.len(), nodes + 1);
        assert_eq!(hands_and_parcels(&scenario), (nodes - 1, 10 * (nodes as u64 - 1) + 2));
        assert_eq!(scenario.require.delivered, Some(10 * (nodes as u64 - 1) + 2));
        assert_eq!(scenario.require.bypasses, Some(nodes as u64 - 2));
        assert_eq!(scenario.pipes.len(), nodes - 1);
        assert!(hops(&scenario).all(|hop| hop.think_ns > 0));
    }
}

#[test]
fn quiet_relay_chain_sends_one_round_trip() {
    let scenario = load("relay-chain", &[("N", "100"), ("quiet", "true")]);
    assert_eq!(hands_and_parcels(&scenario), (99, 2));
    assert_eq!((scenario.jitter_ns, scenario.require.proxies_peak, scenario.require.delivered), (0, Some(50), Some(2)));
    assert!(hops(&scenario).all(|hop| hop.think_ns == 0), "each node forwards in the input that delivers");
    assert_eq!(scenario.pipes.len(), 99 + 98, "neighbours, and n1 with everyone else");
    let q = scenario.require.direct[0][1];
    let [.., ping, pong] = scenario.steps.as_slice() else { panic!("no round trip") };
    assert!(ping.after.contains(&Wait::Arrived { portal: q, node: 100, times: 1 }));
    assert!(pong.after.contains(&Wait::Received { portal: q, count: 1 }));
    let strangers = load("relay-chain", &[("N", "100"), ("quiet", "true"), ("introduced", "false")]);
    assert_eq!(strangers.pipes.len(), 99);
}

#[test]
fn both_ends_run_to_the_ends() {
    for nodes in [4, 5, 64] {
        let scenario = load("both-ends-run", &[("N", &nodes.to_string())]);
        assert_eq!(hands_and_parcels(&scenario).0, nodes - 1);
        assert_eq!(Some(hands_and_parcels(&scenario).1), scenario.require.delivered);
        let ends = ["p", "q"].map(|name| {
            let mut moves = scenario.steps.iter().filter_map(|step| match step.action {
                Action::Hand { portal, to, .. } if scenario.portals[portal].name == name => Some(to),
                _ => None,
            });
            moves.next_back().map(|node| scenario.nodes[node].name.clone())
        });
        assert_eq!(ends, [Some("n1".to_owned()), Some(format!("n{nodes}"))]);
    }
}

#[test]
fn crowds_of_every_size() {
    for (nodes, pipes) in [("2000", "20000"), ("64", "500"), ("2", "1")] {
        let scenario = load("crowd", &[("N", nodes), ("pipes", pipes)]);
        let random = scenario.random.expect("a random workload");
        assert_eq!((scenario.connects.len().to_string(), random.pipes.to_string()), (nodes.into(), pipes.into()));
        assert_eq!(random.on, (1..=scenario.connects.len()).collect::<Vec<_>>());
    }
}

#[test]
fn the_same_text_gives_the_same_scenario() {
    assert_eq!(load("relay-chain", &[("N", "200")]), load("relay-chain", &[("N", "200")]));
}

#[test]
fn a_thousand_nodes_and_steps_resolve_at_once() {
    let mut text = String::from("name = \"t\"\npurpose = \"a test\"\n[nodes]\nA = { broker = true }\nB = {}\n");
    text.push_str("[links]\nconnect = [[\"B\", \"A\", \"ab\"]]\n");
    for step in 0..1000 {
        text.push_str(&format!("[[step]]\nid = \"s{step}\"\non = \"B\"\nsend = {{ count = 1, bytes = 64 }}\nfrom = \"ab\"\n"));
    }
    let best = |run: &dyn Fn()| {
        let timed = (0..5).map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        });
        timed.min().unwrap_or_default()
    };
    let set = [("step.s500.send.count".to_owned(), "7".to_owned())];
    let literal = best(&|| assert_eq!(Scenario::parse("t", &text, &set).expect("valid").steps.len(), 1000));
    let repeated = best(&|| assert!(load("relay-chain", &[("N", "1000")]).steps.len() > 1000));
    for time in [literal, repeated] {
        assert!(time < Duration::from_millis(500), "took {time:?}");
    }
}
