//! Each kind of fault is able to break a planted bug: with the fault some run shows the bug, without it none does, and without the bug
//! all hold.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ipcz_sim::fault::{ALL, Fault};
use ipcz_sim::run::{RunOptions, Verdict, run};
use ipcz_sim::scenario::Scenario;

/// A world in which nothing goes wrong: its file, settings.
type World = (&'static str, &'static [(&'static str, &'static str)]);

/// A kind, how it strikes, where, what bug that shows, and within how many seeds.
type Row = (Fault, &'static str, World, &'static str, u64);

const ABC: World = ("abc", &[]);
/// Without jitter everything is late by the same time, so that little comes in another order.
const HOPS: World = ("both-ends-run", &[("N", "6"), ("links.jitter", "0us")]);
const CROWD: World = ("crowd", &[("N", "4"), ("pipes", "8"), ("duration", "60ms"), ("cuts.links", "0"), ("cuts.nodes", "0")]);
const STARVED: World = ("starved-link", &[]);
const TIGHT: World = ("starved-link", &[("tight", "true")]);

const OFTEN: &str = r#"chance = "1/10", lasts = "5ms""#;
const SELDOM: &str = r#"chance = "1/40", lasts = "5ms""#;
const ALWAYS: &str = r#"chance = "1/1", lasts = "1us""#;

const TABLE: &[Row] = &[
    (Fault::Delay, OFTEN, ABC, "decay-one-early", 8),
    (Fault::Burst, r#"chance = "1/3", lasts = "20ms""#, ABC, "decay-one-early", 12),
    (Fault::Clog, OFTEN, ABC, "decay-not-looked-at", 8),
    (Fault::Swizzle, OFTEN, HOPS, "gap-filled-silently", 12),
    (Fault::Cut, SELDOM, HOPS, "disconnection-kept", 8),
    (Fault::HalfOpen, SELDOM, HOPS, "decay-loss-ignored", 8),
    (Fault::RefuseSend, SELDOM, HOPS, "send-failure-ignored", 8),
    (Fault::CrashBeforeSend, SELDOM, HOPS, "disconnection-kept", 8),
    (Fault::CrashAfterSend, SELDOM, HOPS, "disconnection-kept", 8),
    (Fault::Pause, OFTEN, CROWD, "answer-misapplied", 16),
    (Fault::Slow, OFTEN, HOPS, "gap-filled-silently", 12),
    (Fault::LoseBroker, SELDOM, HOPS, "decay-loss-ignored", 12),
    (Fault::RefuseIntroduction, OFTEN, CROWD, "refusal-untold", 8),
    (Fault::LateIntroduction, r#"chance = "1/2", lasts = "20ms""#, CROWD, "answer-misapplied", 40),
    (Fault::RefuseMemory, OFTEN, CROWD, "refusal-untold", 8),
    (Fault::TinyCapacity, ALWAYS, STARVED, "memory-not-retried", 2),
    (Fault::ExhaustBlocks, OFTEN, CROWD, "memory-wait-forgotten", 8),
    (Fault::RefuseRandom, SELDOM, HOPS, "name-undrawn", 12),
    (Fault::CloseAtOnce, OFTEN, CROWD, "discarded-block-kept", 8),
    (Fault::ClockJump, r#"chance = "1/3", lasts = "5ms""#, TIGHT, "deadline-missed", 3),
    (Fault::FlipByte, SELDOM, HOPS, "decoding-trusted", 12),
    (Fault::ChangeField, SELDOM, HOPS, "decoding-trusted", 12),
    (Fault::Replay, OFTEN, CROWD, "sublink-reused", 20),
    (Fault::Misdirect, OFTEN, CROWD, "sublink-reused", 20),
    (Fault::Scribble, ALWAYS, CROWD, "length-believed", 40),
    (Fault::SpuriousFailure, OFTEN, CROWD, "exchange-tried-once", 8),
    (Fault::CloseInTrap, OFTEN, CROWD, "trap-removed-late", 8),
];

/// The world, with a fault if one is given. What it requires is that of a world without faults.
fn scenario((name, sets): World, fault: Option<(Fault, &str)>) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{name}.toml"));
    let mut text = std::fs::read_to_string(path).expect("the scenario is there");
    if let Some((fault, strength)) = fault {
        text = format!("{text}\n[faults]\n{} = {{ {strength} }}\n", fault.name());
    }
    let sets: Vec<(String, String)> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Scenario::parse(&format!("{name}.toml"), &text, &sets).unwrap_or_else(|error| panic!("{error}"))
}

/// The first seed that violates a property, and how.
fn violated(scenario: &Scenario, planted: Option<&str>, seeds: u64) -> Option<(u64, String)> {
    (1..=seeds).find_map(|seed| {
        let options = RunOptions { seed, planted: planted.map(str::to_owned), recent: 0, ..RunOptions::default() };
        match catch_unwind(AssertUnwindSafe(|| run(scenario, &options).verdict)) {
            Ok(Verdict::Violated(failure)) => Some((seed, failure.text)),
            Ok(_) => None,
            Err(_) => Some((seed, "a panic".to_owned())),
        }
    })
}

#[test]
fn each_kind_of_fault_shows_a_bug_that_nothing_shows_without_it() {
    for (fault, strength, world, bug, seeds) in TABLE.iter().copied() {
        let (calm, faulty) = (scenario(world, None), scenario(world, Some((fault, strength))));
        let name = fault.name();
        assert_eq!(violated(&faulty, None, seeds), None, "{name} without a bug");
        assert_eq!(violated(&calm, Some(bug), seeds), None, "{bug} without {name}");
        let shown = violated(&faulty, Some(bug), seeds);
        assert!(shown.is_some(), "{name} does not show {bug} in {seeds} seeds");
        println!("{name} shows {bug}: {shown:?}");
    }
}

#[test]
fn every_kind_has_its_row() {
    assert_eq!(TABLE.iter().map(|row| row.0).collect::<Vec<_>>(), ALL.map(|about| about.fault));
}
