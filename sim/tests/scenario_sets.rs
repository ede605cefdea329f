//! `--set key=value` reaches every number, flag and string, and refuses what it does not understand.

use ipcz_sim::scenario::{Action, Scenario, ScenarioError};

const TEXT: &str = r#"
name = "t"
purpose = "a test"
[let]
N = 2
M = "{N * 2}"
quiet = false
[nodes]
A = { broker = true }
n = { count = "{N}" }
[links]
connect = [{ each = "i in 1..=N", link = ["n{i}", "A", "b{i}", { latency = "3ms" }] }]
latency = "1ms"
jitter = "20us"
[memory]
inline = 240
[[step]]
on = "n1"
open = ["p", "q"]
[[step]]
id = "stream"
on = "n1"
send = { count = 5, bytes = "64B" }
from = "p"
[[step]]
on = "n1"
send = { count = 6, bytes = "{M}" }
from = "q"
[require]
delivered = "{M}"
[when.quiet.links]
jitter = "0us"
[when.quiet.let]
N = 7
"#;

fn with(sets: &[(&str, &str)]) -> Result<Scenario, ScenarioError> {
    let sets: Vec<(String, String)> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Scenario::parse("test.toml", TEXT, &sets)
}

fn good(sets: &[(&str, &str)]) -> Scenario {
    with(sets).unwrap_or_else(|error| panic!("{error}"))
}

fn send(scenario: &Scenario, step: usize) -> (u64, u64) {
    match scenario.steps[step].action {
        Action::Send { count, bytes, .. } => (count, bytes),
        _ => panic!("step {step} sends nothing"),
    }
}

#[test]
fn whole_paths_and_unique_tails() {
    assert_eq!(good(&[("links.latency", "2ms")]).latency_ns, 2_000_000);
    assert_eq!(good(&[("jitter", "1us")]).jitter_ns, 1_000);
    assert_eq!(good(&[("N", "5")]).nodes.len(), 6);
    assert_eq!(good(&[("let.N", "5")]).require.delivered, Some(10));
    assert_eq!(good(&[("step.3.send.count", "9")]).steps.len(), 3);
    assert_eq!(send(&good(&[("step.3.send.count", "9")]), 2), (9, 4));
    assert_eq!(send(&good(&[("step.stream.send.count", "9")]), 1), (9, 64));
    assert_eq!(good(&[("inline", "64B")]).memory.inline, Some(64));
    assert_eq!(good(&[("inline", "{N}")]).memory.inline, Some(2));
    assert_eq!(good(&[("delivered", "3")]).require.delivered, Some(3));
}

#[test]
fn items_of_lists_have_numbers() {
    let scenario = good(&[("links.connect.1.link.4.latency", "9ms")]);
    assert_eq!(scenario.connects[1].latency_ns, 9_000_000);
}

#[test]
fn a_short_key_means_the_value_that_is_not_computed() {
    let scenario = good(&[("bytes", "100B")]);
    assert_eq!((send(&scenario, 1).1, send(&scenario, 2).1), (100, 4));
}

#[test]
fn overrides_choose_overlays_and_win_over_them() {
    let quiet = good(&[("quiet", "true")]);
    assert_eq!((quiet.jitter_ns, quiet.nodes.len()), (0, 8));
    let loud = good(&[("quiet", "true"), ("jitter", "5us"), ("N", "3")]);
    assert_eq!((loud.jitter_ns, loud.nodes.len()), (5_000, 4));
    let nested = good(&[("quiet", "true"), ("when.quiet.links.jitter", "6us")]);
    assert_eq!(nested.jitter_ns, 6_000);
    assert_eq!(good(&[]).jitter_ns, 20_000);
}

#[test]
fn the_last_of_two_wins() {
    assert_eq!(good(&[("N", "3"), ("N", "4")]).nodes.len(), 5);
}

#[test]
fn settings_are_resolved() {
    let settings = good(&[("latency", "2ms")]).settings;
    let listed: Vec<String> = settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        listed,
        [
            "let.M=4",
            "let.N=2",
            "let.quiet=false",
            "links.jitter=20us",
            "links.latency=2ms",
            "memory.inline=240",
            "nodes.A.broker=true",
            "nodes.n.count=2",
            "require.delivered=4",
        ]
    );
}

/// Refused with this message and advice, pointing into the override itself.
fn refused(key: &str, value: &str, message: &str, advice: &str) {
    let error = with(&[(key, value)]).expect_err("the override is wrong");
    assert!(error.message().contains(message), "{error}");
    assert_eq!(error.advice().unwrap_or_default(), advice, "{error}");
    assert_eq!((error.file(), error.line()), ("--set", 1));
}

#[test]
fn ambiguous_and_unknown_keys_list_candidates() {
    refused("count", "3", "\"count\" means 2 values", "candidates: step.2.send.count, step.3.send.count");
    refused("latncy", "3ms", "no value \"latncy\"", "candidates: links.latency");
    refused("link.latency", "3ms", "no value \"link.latency\"", "candidates: links.connect.1.link.4.latency, links.latency");
    refused("step.4.send.count", "3", "no value \"step.4.send.count\"", "candidates: nodes.n.count, step.2.send.count, step.3.send.count");
    let all = "candidates: name, purpose, let.N, let.M, let.quiet, nodes.A.broker, nodes.n.count, links.latency, links.jitter, \
               memory.inline, step.1.on, step.2.id and 9 more";
    refused("zebra", "3", "no value \"zebra\"", all);
    refused(
        "links",
        "3",
        "no value \"links\"",
        "candidates: links.connect.1.each, links.connect.1.link.1, links.connect.1.link.2, links.connect.1.link.3, \
             links.connect.1.link.4.latency, links.latency, links.jitter",
    );
    refused("links.N", "3", "no value \"links.N\"", "candidates: let.N");
}

#[test]
fn values_of_the_wrong_kind() {
    refused("quiet", "1", "\"let.quiet\" takes true or false, not \"1\"", "the file says false");
    refused("N", "many", "\"let.N\" takes a number, not \"many\"", "the file says 2");
    refused("N", "true", "\"let.N\" takes a number, not \"true\"", "the file says 2");
    refused("latency", "2", "2 has no unit", "write \"2ms\" (or ns, us, s)");
    refused("latency", "fast", "does not begin with a number", "");
    refused("inline", "64X", "the unknown unit \"X\"", "");
    refused("step.1.on", "n9", "unknown node \"n9\"", "did you mean \"n1\"?");
}
