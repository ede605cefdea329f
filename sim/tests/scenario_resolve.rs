//! What the language means: templates, repetition, overlays, and the waits that it implies.

use ipcz_sim::scenario::{Action, Loss, Memory, Random, Range, Scenario, Verbs, Wait};

fn good(text: &str) -> Scenario {
    Scenario::parse("test.toml", text, &[]).unwrap_or_else(|error| panic!("{error}\n{:?}", error.advice()))
}

fn portal(scenario: &Scenario, name: &str) -> usize {
    scenario.portals.iter().position(|portal| portal.name == name).unwrap_or_else(|| panic!("no portal {name}"))
}

const NET: &str = r#"
name = "t"
purpose = "a test"
[let]
N = 3
big = "{(N + 1) * -2 + 7 % 4 * 100 / 3}"
on = true
off = false
[nodes]
A = { broker = true }
n = { count = "{N}" }
[links]
latency = "2ms"
jitter = "10us"
connect = [
    { each = "i in 1..=N", link = ["n{i}", "A", "b{i}", { latency = "{i}us" }] },
    ["n1", "A", "again"],
]
pipes = [
    { each = "i in 1..N", pipe = ["n{i}", "n{i + 1}", "hop{i}"] },
    { when = "off || (on && !on)", pipe = ["n1", "n3", "never"] },
    { when = "!off && on", pipe = ["n1", "n3", "shortcut"] },
]
"#;

#[test]
fn links_and_pipes() {
    let scenario = good(NET);
    let names: Vec<&str> = scenario.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["A", "n1", "n2", "n3"]);
    assert!(scenario.nodes[0].broker && !scenario.nodes[1].broker);
    assert_eq!((scenario.latency_ns, scenario.jitter_ns), (2_000_000, 10_000));
    let latencies: Vec<(usize, u64, u64)> = scenario.connects.iter().map(|link| (link.client, link.latency_ns, link.jitter_ns)).collect();
    assert_eq!(latencies, [(1, 1_000, 10_000), (2, 2_000, 10_000), (3, 3_000, 10_000), (1, 2_000_000, 10_000)]);
    let pipes: Vec<(&str, usize, usize, [usize; 2])> =
        scenario.pipes.iter().map(|pipe| (pipe.name.as_str(), pipe.a, pipe.b, pipe.links)).collect();
    assert_eq!(pipes, [("hop1", 1, 2, [0, 1]), ("hop2", 2, 3, [1, 2]), ("shortcut", 1, 3, [0, 2])]);
    assert!(scenario.pipes.iter().all(|pipe| pipe.broker == 0));
    assert_eq!(scenario.settings["let.big"], "92");
    for (id, portal) in scenario.portals.iter().enumerate() {
        assert_eq!(scenario.portals[portal.peer].peer, id);
        assert_eq!((scenario.portals[portal.peer].name.as_str(), portal.opened_by), (portal.name.as_str(), None));
    }
    let shortcut = scenario.pipes[2].ends.map(|end| scenario.portals[end].home);
    assert_eq!(shortcut, [1, 3]);
}

#[test]
fn defaults() {
    let scenario = good("name = \"t\"\npurpose = \"a test\"\n[nodes]\nA = { broker = true }\n");
    assert_eq!((scenario.latency_ns, scenario.jitter_ns), (1_000_000, 0));
    assert_eq!((scenario.steps.len(), scenario.memory, scenario.run.settle), (0, Memory::default(), None));
    assert!(scenario.random.is_none() && scenario.loss.is_none());
}

#[test]
fn waits_of_one_portal_follow_its_way() {
    let scenario = good(&format!(
        "{NET}
[[step]]
on = \"n1\"
open = [\"p\", \"q\"]
[[step]]
id = \"there\"
on = \"n1\"
hand = \"q\"
over = \"hop1\"
to = \"n2\"
[[step]]
id = \"back\"
on = \"n2\"
hand = \"q\"
over = \"hop1\"
to = \"n1\"
[[step]]
id = \"third\"
on = \"n1\"
hand = \"q\"
over = \"shortcut\"
to = \"n3\"
at = \"5ms\"
think = \"7us\"
[[step]]
on = \"n3\"
send = {{ count = 2, bytes = \"2KiB\", every = \"1ms\" }}
from = \"q\"
[[step]]
on = \"n1\"
close = \"p\"
after = [\"q\", {{ received = 2, at = \"p\" }}]
[[step]]
cut = [\"n1\", \"n2\"]
after = {{ arrived = \"q\", on = \"n2\" }}
[[step]]
cut = \"n3\"
after = [\"third\", {{ arrived = \"q\", on = \"n1\" }}]
"
    ));
    let (p, q) = (portal(&scenario, "p"), portal(&scenario, "q"));
    let arrived = |node, times| Wait::Arrived { portal: q, node, times };
    let after: Vec<&[Wait]> = scenario.steps.iter().map(|step| step.after.as_slice()).collect();
    assert_eq!(after[0], []);
    assert_eq!(after[1], [Wait::Done(0)]);
    assert_eq!(after[2], [arrived(2, 1)]);
    assert_eq!(after[3], [arrived(1, 1)]);
    assert_eq!(after[4], [arrived(3, 1)]);
    assert_eq!(after[5], [Wait::Done(0), arrived(1, 1), Wait::Received { portal: p, count: 2 }]);
    assert_eq!(after[6], [arrived(2, 1)]);
    assert_eq!(after[7], [Wait::Done(3), arrived(1, 1)]);
    let ids: Vec<&str> = scenario.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["step 1", "there", "back", "third", "step 5", "step 6", "step 7", "step 8"]);
    assert_eq!((scenario.steps[3].at_ns, scenario.steps[3].think_ns), (5_000_000, 7_000));
    assert_eq!(
        scenario.steps[4].action,
        Action::Send { from: q, count: 2, bytes: 2048, every_ns: 1_000_000, open_ns: 0, abort: false, boxes: 0 }
    );
    assert_eq!(scenario.steps[6].action, Action::CutLink { nodes: [1, 2] });
    assert_eq!(scenario.steps[7].action, Action::CutNode { node: 3 });
    assert_eq!((scenario.steps[0].on, scenario.steps[7].on), (Some(1), None));
    assert_eq!((scenario.portals[q].home, scenario.portals[q].opened_by, scenario.portals[q].peer), (1, Some(0), p));
}

#[test]
fn a_second_visit_is_a_second_arrival() {
    let hand = |from: &str, to: &str| format!("[[step]]\non = \"{from}\"\nhand = \"q\"\nover = \"hop1\"\nto = \"{to}\"\n");
    let there = hand("n1", "n2");
    let back = hand("n2", "n1");
    let scenario = good(&format!(
        "{NET}[[step]]\non = \"n1\"\nopen = [\"p\", \"q\"]\n{there}{there}{back}{back}[[step]]\non = \"n1\"\nclose = \"q\"\n"
    ));
    let q = portal(&scenario, "q");
    let visit = |step: usize| {
        scenario.steps[step].after.iter().find_map(|wait| match wait {
            Wait::Arrived { portal, node, times } if *portal == q => Some((*node, *times)),
            _ => None,
        })
    };
    assert_eq!((visit(2), visit(3), visit(4), visit(5)), (Some((1, 1)), Some((2, 1)), Some((2, 2)), Some((1, 2))));
}

#[test]
fn steps_with_one_portal_run_in_file_order_and_others_do_not() {
    let send = |from: &str| format!("[[step]]\non = \"n1\"\nsend = {{ count = 1, bytes = 0 }}\nfrom = \"{from}\"\n");
    let scenario = good(&format!("{NET}{}{}{}{}", send("hop1"), send("b1"), send("hop1"), send("b1")));
    let after: Vec<&[Wait]> = scenario.steps.iter().map(|step| step.after.as_slice()).collect();
    assert_eq!(after, [&[] as &[Wait], &[], &[Wait::Done(0)], &[Wait::Done(1)]]);
}

#[test]
fn a_portal_handed_over_an_opened_pipe() {
    let scenario = good(&format!(
        "{NET}
[[step]]
on = \"n1\"
open = [\"p\", \"q\"]
[[step]]
on = \"n1\"
open = [\"r\", \"s\"]
[[step]]
on = \"n1\"
hand = \"q\"
over = \"hop1\"
to = \"n2\"
[[step]]
on = \"n1\"
hand = \"s\"
over = \"p\"
to = \"n2\"
[[step]]
on = \"n2\"
close = \"s\"
"
    ));
    let (p, s) = (portal(&scenario, "p"), portal(&scenario, "s"));
    assert_eq!(scenario.steps[3].action, Action::Hand { portal: s, over: p, to: 2 });
    assert_eq!(scenario.steps[3].after, [Wait::Done(0), Wait::Done(1)]);
    assert_eq!(scenario.steps[4].after, [Wait::Arrived { portal: s, node: 2, times: 1 }]);
}

#[test]
fn repeated_steps() {
    let scenario = good(&format!(
        "{NET}
[[step]]
when = \"off\"
on = \"n9\"
close = \"nothing\"
[[step]]
each = \"k in 2..=N\"
on = \"n{{k}}\"
open = [\"p{{k}}\", \"q{{k}}\"]
[[step]]
id = \"bye{{i}}\"
each = \"i in N - 1..N + 1\"
on = \"n{{i}}\"
close = \"p{{i}}\"
[require]
direct = [{{ each = \"i in 2..=N\", pair = [\"p{{i}}\", \"q{{i}}\"] }}, \"hop1\"]
"
    ));
    let ids: Vec<&str> = scenario.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["step 2[2]", "step 2[3]", "bye2", "bye3"]);
    assert_eq!(scenario.steps[3].on, Some(3));
    assert_eq!(scenario.steps[3].line, scenario.steps[2].line);
    let direct: Vec<[&str; 2]> = scenario.require.direct.iter().map(|pair| pair.map(|end| scenario.portals[end].name.as_str())).collect();
    assert_eq!(direct, [["p2", "q2"], ["p3", "q3"], ["hop1", "hop1"]]);
}

#[test]
fn overlays_merge_tables_and_replace_the_rest() {
    let scenario = good(&format!(
        "{NET}
[require]
delivered = 1
bypasses = 2
[when.on.require]
delivered = \"{{N * 10}}\"
[when.on.links]
pipes = [[\"n2\", \"n3\", \"only\"]]
[when.off]
name = \"not this\"
"
    ));
    assert_eq!((scenario.require.delivered, scenario.require.bypasses), (Some(30), Some(2)));
    assert_eq!(scenario.pipes.iter().map(|pipe| pipe.name.as_str()).collect::<Vec<_>>(), ["only"]);
    assert_eq!((scenario.connects.len(), scenario.name.as_str()), (4, "t"));
}

#[test]
fn everything_else() {
    let scenario = good(&format!(
        "{NET}
[memory]
inline = 240
link_capacity = \"2MiB\"
[run]
settle = 4
[faults]
drop = {{ message = \"RouteClosed\", nth = 2 }}
[random]
pipes = 7
duration = \"500ms\"
operations = 100
rate = \"200/s\"
verbs = {{ send = 60, cut = 1 }}
send = {{ count = [1, 4], bytes = \"1KiB\" }}
cuts = {{ links = 10, nodes = 2 }}
two_phase = \"1/3\"
objects = \"1/4\"
query = \"2/5\"
boxes = \"1/6\"
on = [\"n\", \"A\", \"n2\"]
[require]
direct = []
messages_max = 9
closed = 8
introductions = 7
forwarded = 6
proxies_peak = 5
"
    ));
    assert_eq!(scenario.memory, Memory { inline: Some(240), link_capacity: Some(2 << 20) });
    assert_eq!(scenario.run.settle, Some(4));
    assert_eq!(scenario.loss, Some(Loss { message: "RouteClosed".into(), nth: 2 }));
    let random = Random {
        pipes: 7,
        duration_ns: Some(500_000_000),
        operations: Some(100),
        gap_ns: 5_000_000,
        verbs: Verbs { send: 60, cut: 1, ..Verbs::default() },
        count: Range { min: 1, max: 4 },
        bytes: Range { min: 1024, max: 1024 },
        cut_links: 10,
        cut_nodes: 2,
        lazy: [0, 1],
        two_phase: [1, 3],
        objects: [1, 4],
        query: [2, 5],
        boxes: [1, 6],
        keep: false,
        on: vec![0, 1, 2, 3],
    };
    assert_eq!(scenario.random, Some(random));
    let require = &scenario.require;
    let counts = [require.messages_max, require.closed, require.introductions, require.forwarded, require.proxies_peak];
    assert_eq!(counts, [Some(9), Some(8), Some(7), Some(6), Some(5)]);
}

#[test]
fn lines_are_those_of_the_file() {
    let scenario =
        good(&format!("{NET}[[step]]\non = \"n1\"\nopen = [\"p\", \"q\"]\n\n# a comment\n[[step]]\non = \"n1\"\nclose = \"p\"\n"));
    let first = NET.lines().count() + 1;
    assert_eq!(scenario.steps.iter().map(|step| step.line).collect::<Vec<_>>(), [first, first + 5]);
}
