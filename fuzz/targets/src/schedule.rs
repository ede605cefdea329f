//! Small worlds, every choice of which is spelt by bytes.

use std::ops::RangeInclusive;

use arbitrary::Unstructured;
use ipcz_sim::choice::Source;
use ipcz_sim::run::{RunOptions, Verdict, run};
use ipcz_sim::scenario::Scenario;

/// Runs a world of two to four nodes: the first bytes say which world and workload, the rest decides everything in it.
///
/// Panics if ipcz does, or if a checker sees a property violated.
pub fn schedule(data: &[u8]) {
    let mut bytes = Unstructured::new(data);
    let text = world(&mut bytes);
    let scenario = Scenario::parse("schedule", &text, &[]).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let source = Source::bytes(bytes.take_rest());
    let outcome = run(&scenario, &RunOptions { source: Some(source), ..RunOptions::default() });
    if let Verdict::Violated(failure) = outcome.verdict {
        panic!("{}, seen by {} after event {}: {}\n{text}", failure.property, failure.checker, failure.event, failure.text);
    }
}

/// The text of a world: a broker and up to three clients, some of which know each other, and a random workload.
fn world(bytes: &mut Unstructured<'_>) -> String {
    let mut pick = |range: RangeInclusive<u32>| bytes.int_in_range(range.clone()).unwrap_or(*range.start());
    let clients = pick(1..=3);
    let known: String = (1..=pick(0..=clients - 1)).map(|i| format!("[\"n{i}\", \"n{}\", \"k{i}\"], ", i + 1)).collect();
    let jitter = [0, 100, 2000][pick(0..=2) as usize];
    let (inline, capacity) = ([0, 64, 240][pick(0..=2) as usize], [64 << 10, 2 << 20][pick(0..=1) as usize]);
    let (pipes, operations) = (pick(0..=6), pick(1..=64));
    let rate = [20, 500, 5000][pick(0..=2) as usize];
    let (open, send, hand, close, cut) = (pick(0..=7), pick(1..=15), pick(0..=15), pick(0..=7), pick(0..=3));
    let (parcels, size) = (pick(1..=4), [0, 64, 2048, 70_000][pick(0..=3) as usize]);
    let (links, nodes) = (pick(0..=2), pick(0..=1));
    format!(
        "name = \"schedule\"
purpose = \"a fuzzer's choices\"
[nodes]
broker = {{ broker = true }}
n = {{ count = {clients} }}
[links]
connect = [{{ each = \"i in 1..={clients}\", link = [\"n{{i}}\", \"broker\", \"b{{i}}\"] }}]
pipes = [{known}]
latency = \"1ms\"
jitter = \"{jitter}us\"
[memory]
inline = {inline}
link_capacity = {capacity}
[random]
on = [\"broker\", \"n\"]
pipes = {pipes}
operations = {operations}
rate = \"{rate}/s\"
verbs = {{ open = {open}, send = {send}, hand = {hand}, close = {close}, cut = {cut} }}
send = {{ count = [1, {parcels}], bytes = [0, {size}] }}
cuts = {{ links = {links}, nodes = {nodes} }}
"
    )
}
