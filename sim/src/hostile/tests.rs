//! Every lie is told, and meets what is to stop it.

use std::collections::{BTreeMap, BTreeSet};

use ipcz::probe::Probe;

use super::{ALL, About, Guard, Lie};
use crate::policy::PolicySpec;
use crate::run::{Outcome, RunOptions, Verdict, run};
use crate::scenario::Scenario;

/// Clients of one broker, of which the last one tells this lie alone, and often.
fn world(lie: Option<&About>) -> Scenario {
    let lies = lie.map_or(String::new(), |about| format!("\"{}\"", about.name));
    let (hostile, table) =
        if lie.is_some() { ("true", format!("[hostile]\nchance = \"1/6\"\nlies = [{lies}]\n")) } else { ("false", String::new()) };
    let text = format!(
        r#"
        name = "one-lie"
        purpose = "one lie at a time"
        [nodes]
        broker = {{ broker = true }}
        n = {{ count = 3 }}
        m = {{ hostile = {hostile} }}
        [links]
        connect = [{{ each = "i in 1..=3", link = ["n{{i}}", "broker", "b{{i}}"] }}, ["m", "broker", "bm"]]
        latency = "1ms"
        jitter = "500us"
        [random]
        pipes = 12
        operations = 160
        rate = "400/s"
        verbs = {{ open = 2, send = 20, hand = 20, close = 2 }}
        send = {{ count = [1, 3], bytes = [0, 900] }}
        [limits]
        early_parcels = 32
        early_bytes = "4KiB"
        buffer_waits = 32
        buffers = 40
        sublinks = 1000
        {table}"#
    );
    Scenario::parse("one-lie", &text, &[]).unwrap()
}

/// Runs of a world, all of which must hold.
fn outcomes(scenario: &Scenario, seeds: u64, fine: bool) -> Vec<Outcome> {
    let options = |seed| RunOptions { seed, fine: fine.then(crate::fine::Fine::default), ..RunOptions::default() };
    let outcomes: Vec<_> = (0..seeds).map(|seed| run(scenario, &options(seed))).collect();
    for outcome in &outcomes {
        assert_eq!(outcome.verdict, Verdict::Held, "{} seed {}", scenario.hostile.lies[0].name(), outcome.seed);
    }
    outcomes
}

/// What was met, of what the table promises.
fn met(about: &About, outcomes: &[Outcome], usual: &BTreeMap<Probe, u64>) -> BTreeSet<String> {
    let blamed = |words: &str| outcomes.iter().flat_map(|outcome| &outcome.blames).any(|reason| reason.contains(words));
    let probed = |probe: Probe| {
        let met: u64 = outcomes.iter().map(|outcome| outcome.probes.of(probe)).sum();
        met > usual.get(&probe).copied().unwrap_or(0)
    };
    let met = |guard: &Guard| match guard {
        Guard::Blame(words) => blamed(words).then(|| format!("dropped: {words}")),
        Guard::Probe(probe) => probed(*probe).then(|| probe.name().to_owned()),
        Guard::Bystanders => Some("bystanders".to_owned()),
    };
    about.guards.iter().filter_map(met).collect()
}

#[test]
fn the_tables_of_the_documents_name_every_hazard_and_every_lie() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs");
    let read = |name: &str| std::fs::read_to_string(format!("{root}/{name}")).unwrap();
    let (table, simulator) = (read("hazards.md"), read("simulator.md"));
    let groups = [("SM", 21), ("MV", 29), ("TR", 19), ("RC", 34), ("RE", 19), ("LK", 18)];
    for (group, most) in groups {
        for number in 1..=most {
            assert!(table.contains(&format!("| {group}-{number:02} |")), "{group}-{number:02} has no row");
        }
    }
    for about in &ALL {
        assert!(simulator.contains(&format!("| `{}` |", about.name)), "{} has no row", about.name);
        for hazard in about.hazards.split(' ').filter(|hazard| hazard.contains('-')) {
            let row = table.lines().find(|line| line.starts_with(&format!("| {hazard} |")));
            assert!(row.is_some_and(|row| row.contains(&format!("`{}`", about.name))), "{hazard} does not name {}", about.name);
        }
    }
}

#[test]
fn every_lie_is_told_and_meets_its_guard() {
    const SEEDS: u64 = 24;
    let mut usual = BTreeMap::new();
    for outcome in outcomes(&world(None), SEEDS, false) {
        for (probe, count) in outcome.probes.reached() {
            *usual.entry(probe).or_default() += count;
        }
    }
    let mut unmet = Vec::new();
    for about in ALL.iter().filter(|about| about.lie != Lie::BetweenLoads) {
        let outcomes = outcomes(&world(Some(about)), SEEDS, false);
        let told: u64 = outcomes.iter().flat_map(|outcome| &outcome.told).map(|told| told.times).sum();
        let met = met(about, &outcomes, &usual);
        let reasons: BTreeSet<&str> = outcomes.iter().flat_map(|outcome| &outcome.blames).map(String::as_str).collect();
        println!("{} told {told}: {met:?}; dropped for {reasons:?}", about.name);
        if told == 0 || met.is_empty() {
            unmet.push(about.name);
        }
    }
    assert_eq!(unmet, [""; 0]);
}

/// Its broker may not yet know that it is gone, and still passes its routes on to it.
#[test]
fn who_came_back_may_lose_links_to_its_former_self() {
    let scenario = Scenario::parse("former-selves", include_str!("../../../scenarios/former-selves.toml"), &[]).unwrap();
    for seed in 0..100 {
        let outcome = run(&scenario, &RunOptions { seed, policy: PolicySpec::Random, ..RunOptions::default() });
        assert_eq!(outcome.verdict, Verdict::Held, "seed {seed}");
    }
}
