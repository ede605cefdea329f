//! `--set key=value` reaches every number, flag and string, and refuses what it does not understand.

use ipcz_sim::scenario::{Action, Scenario, ScenarioError, Wait};

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
    assert_eq!(good(&[("delivered", "3")]).require.delivered, Some(4), "a computed value has no short name");
}

#[test]
fn items_of_lists_have_numbers() {
    let scenario = good(&[("links.connect.1.link.4.latency", "9ms")]);
    assert_eq!(scenario.connects[1].latency_ns, 9_000_000);
}
