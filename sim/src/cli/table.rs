//! Results for people. Everything but wall time, speed and memory is the same on every machine.

use std::collections::BTreeMap;
use std::fmt::Write;

use ipcz::probe::{Counts, Probe};
use ipcz::wire::Envelope;
use ipcz_reports::format::{bytes, clip, measured, number, plural, rate, time};

use super::json::{kind, kinds};
use super::play::{Finding, Played};
use super::totals::{Campaign, Totals};
use crate::fault::Struck;
use crate::hostile::Told;
use crate::policy::Bound;
use crate::run::{CheckCount, Outcome, Requirement, Traffic};
use crate::scenario::Scenario;
use crate::trace::Recent;

/// The property that `--verify` checks.
pub const DETERMINISM: &str = "the same seed gives the same run";

/// Width of the names of values.
const NAME: usize = 16;
/// Width of the names of messages.
const KIND: usize = 24;
/// Last messages printed with a failure, and the width of one.
const LAST: usize = 8;
const WIDTH: usize = 150;

/// What is about to run.
pub fn heading(scenario: &Scenario, seeds: &str) -> String {
    let settings: Vec<String> =
        scenario.settings.iter().filter_map(|(key, value)| key.strip_prefix("let.").map(|key| format!("{key}={value}"))).collect();
    let settings = if settings.is_empty() { String::new() } else { format!("  {}\n", settings.join(" ")) };
    format!("{}: {}\n  {}, {seeds}\n{settings}", scenario.name, scenario.purpose, plural(scenario.nodes.len() as u64, "node"))
}

/// The head of a list of seeds.
pub fn columns() -> String {
    format!(
        "{:>8} {:<32} {:<16} {:<8} {:>10} {:>10} {:>8} {:>7} {}\n",
        "seed", "fingerprint", "delivery order", "verdict", "events", "messages", "bypasses", "proxies", "virtual time"
    )
}

/// A seed's line. It has nothing that differs from one machine to another.
pub fn row(played: &Played) -> String {
    let Played { seed, finding, outcome, virtual_ns, .. } = played;
    let shown = |of: fn(&Outcome) -> String| outcome.as_ref().map_or_else(|| "-".to_owned(), of);
    format!(
        "{seed:>8} {:<32} {:<16} {:<8} {:>10} {:>10} {:>8} {:>7} {}\n",
        shown(|o| format!("{:032x}", o.fingerprint)),
        shown(|o| format!("{:016x}", o.delivery_order)),
        finding.name(),
        shown(|o| o.events.to_string()),
        shown(|o| o.run.messages.to_string()),
        shown(|o| o.bypasses.to_string()),
        shown(|o| o.peaks.proxies.to_string()),
        time(*virtual_ns)
    )
}

/// How many steps that were never done are named.
const UNDONE: usize = 10;

/// Everything about a single run.
pub fn single(played: &Played) -> String {
    let mut out = String::new();
    let Some(outcome) = &played.outcome else { return out };
    line(&mut out, "verdict", &verdict(&played.finding, &outcome.checks));
    traffic(&mut out, [&outcome.set_up, &outcome.run, &outcome.closing]);
    line(
        &mut out,
        "parcels",
        &format!("{} taken at their destination, {} passed on by proxies", number(outcome.deliveries), number(outcome.forwarded)),
    );
    line(&mut out, "calls", &format!("{}, {} of which moved something", number(outcome.calls.made), number(outcome.calls.moved())));
    line(&mut out, "introductions", &number(outcome.introductions));
    line(&mut out, "bypasses", &number(outcome.bypasses));
    line(&mut out, "peak proxies", &number(outcome.peaks.proxies));
    if let Some(last) = &outcome.last_proxy {
        line(&mut out, "last proxy", &format!("gone after {} and {} messages", time(last.at_ns), number(last.traffic.messages)));
    }
    faults(&mut out, &outcome.struck);
    lies(&mut out, &outcome.told);
    probes(&mut out, &outcome.probes);
    line(&mut out, "virtual time", &rest(outcome, played.virtual_ns));
    measurements(&mut out, outcome.events, played.wall_ns, played.memory, played.wall_ns);
    if let Some(order) = &outcome.order {
        let [events, channels, deviations] = [order.steps, order.channels, order.deviations].map(number);
        line(&mut out, "order", &format!("{}: {events} events of {channels} channels, {deviations} before their turn", outcome.policy));
        for (hold, fate) in &order.holds {
            let [before, after] = [hold.before, hold.after].map(|event| event.text(&outcome.processes).to_string());
            line(&mut out, "constraint", &format!("{before} before {after}: {}", fate.name()));
        }
    }
    line(&mut out, "delivery order", &format!("{:016x}", outcome.delivery_order));
    line(&mut out, "fingerprint", &format!("{:032x}", outcome.fingerprint));
    for step in outcome.undone.iter().take(UNDONE) {
        line(&mut out, "never done", step);
    }
    if outcome.undone.len() > UNDONE {
        line(&mut out, "never done", &format!("and {} more steps", number((outcome.undone.len() - UNDONE) as u64)));
    }
    requirements(&mut out, &outcome.requirements);
    out
}

/// What struck, of how many opportunities; nothing where no faults are.
fn faults(out: &mut String, struck: &[Struck]) {
    for struck in struck.iter().filter(|struck| struck.could > 0) {
        line(out, "fault", &format!("{} struck {} of {} times", struck.fault.name(), number(struck.did), number(struck.could)));
    }
}

/// What hostile nodes said; nothing where none is.
fn lies(out: &mut String, told: &[Told]) {
    for told in told.iter().filter(|told| told.times > 0) {
        line(out, "lie", &format!("{} told {} times", told.lie.name(), number(told.times)));
    }
}

/// What a sweep came to, which took `wall_ns`.
pub fn sweep(totals: &Totals, wall_ns: u64) -> String {
    let mut out = String::new();
    let held = totals.seeds - totals.failed;
    line(&mut out, "seeds", &format!("{} run, {} held, {} did not", number(totals.seeds), number(held), number(totals.failed)));
    if totals.failed > 0 {
        let named: Vec<String> = totals.failed_seeds.iter().map(|(seed, word)| format!("{seed} {word}")).collect();
        let more = totals.failed - named.len() as u64;
        let more = if more > 0 { format!(" and {} more", number(more)) } else { String::new() };
        line(&mut out, "not held", &(named.join(", ") + &more));
    }
    line(&mut out, "checks", &checked(&totals.checks));
    traffic(&mut out, [&totals.set_up, &totals.run, &totals.closing]);
    line(&mut out, "bypasses", &number(totals.bypasses));
    line(&mut out, "peak proxies", &number(totals.peak_proxies));
    faults(&mut out, &totals.struck);
    lies(&mut out, &totals.told);
    probes(&mut out, &totals.probes);
    line(&mut out, "virtual time", &format!("{} in all", time(totals.virtual_ns)));
    measurements(&mut out, totals.events, wall_ns, totals.memory, totals.wall_ns);
    out += &campaigns(&totals.campaigns);
    line(&mut out, "delivery orders", &format!("{} distinct", number(totals.distinct_orders())));
    line(&mut out, "fingerprints", &format!("{} distinct, {:032x} over all", number(totals.distinct_fingerprints()), totals.combined()));
    out
}

/// How many runs each policy had, and what a bug could have been missed with.
pub fn campaigns(campaigns: &BTreeMap<String, Campaign>) -> String {
    let mut out = String::new();
    let runs: Vec<String> = campaigns.iter().map(|(policy, campaign)| format!("{policy} {}", number(campaign.runs))).collect();
    line(&mut out, "policies", &runs.join(", "));
    let mut without = Vec::new();
    for (policy, campaign) in campaigns {
        let Some((bound, longer)) = campaign.bound() else {
            without.push(policy.as_str());
            continue;
        };
        let Bound { n, k, d, runs } = bound;
        let within = if longer { format!(" within the first {} events", number(k)) } else { String::new() };
        let text = format!(
            "{policy}: n {}, k {}, d {d}, {}: a bug of depth {d}{within} was missed with a probability of at most {:.6}; 95 % take {}",
            number(n),
            number(k),
            plural(runs, "run"),
            bound.miss(),
            plural(bound.runs_for(0.05), "run"),
        );
        line(&mut out, "miss bound", &text);
    }
    if !without.is_empty() {
        line(&mut out, "miss bound", &format!("none for {}: only pct and pctcp promise anything", without.join(", ")));
    }
    out
}

/// Why a seed did not hold; empty if it did. `replay` runs it again.
pub fn failure(scenario: &Scenario, played: &Played, replay: &str) -> String {
    let mut out = String::new();
    let title = |out: &mut String, word: &str, property: &str| {
        let _ = writeln!(out, "\n{word}: {property}");
    };
    match &played.finding {
        Finding::Held | Finding::Stopped => return out,
        Finding::Violated(failure) => {
            title(&mut out, "VIOLATED", failure.property);
            for text in failure.text.lines() {
                let _ = writeln!(out, "  {text}");
            }
            line(&mut out, "seed", &played.seed.to_string());
            line(&mut out, "step", &format!("{} ({}, virtual time {})", failure.event, failure.phase.name(), time(failure.time)));
            line(&mut out, "checker", failure.checker);
            if let Some(node) = failure.process.and_then(|at| scenario.nodes.get(at as usize)) {
                line(&mut out, "node", &node.name);
            }
            if let Some(portal) = &failure.portal {
                line(&mut out, "portal", portal);
            }
            if let Some(outcome) = &played.outcome {
                last_messages(&mut out, outcome);
            }
        }
        Finding::Differs(text) => {
            title(&mut out, "NOT DETERMINISTIC", DETERMINISM);
            line(&mut out, "seed", &played.seed.to_string());
            line(&mut out, "differs in", text);
        }
        Finding::Unmet => {
            title(&mut out, "UNMET", "no property was violated, but too little happened");
            line(&mut out, "seed", &played.seed.to_string());
            let unmet: Vec<Requirement> =
                played.outcome.iter().flat_map(|outcome| &outcome.requirements).filter(|r| !r.met).cloned().collect();
            requirements(&mut out, &unmet);
        }
        Finding::Nothing => {
            title(&mut out, "NOTHING RAN", "no event happened, or nothing looked at it: this shows nothing");
            line(&mut out, "seed", &played.seed.to_string());
        }
    }
    line(&mut out, "replay", replay);
    if let Some(file) = &played.replay_file {
        line(&mut out, "replay file", &file.display().to_string());
    }
    out
}

/// A message in one line.
pub fn message(recent: &Recent) -> String {
    let whole =
        (0..=4).find_map(|handles| Envelope::parse(&recent.bytes, handles).ok()).and_then(|envelope| envelope.message().ok().flatten());
    match (whole, recent.bytes.get(2)) {
        (Some(message), _) => format!("{message}"),
        (None, Some(&id)) => format!("{} of {} bytes", kind(id), recent.length),
        (None, None) => format!("{} bytes", recent.length),
    }
}

/// Name of a process of a run.
pub fn process(outcome: &Outcome, process: u32) -> &str {
    outcome.processes.get(process as usize).map_or("nobody", String::as_str)
}

/// A value with its name.
pub fn line(out: &mut String, name: &str, value: &str) {
    let _ = writeln!(out, "  {name:NAME$} {value}");
}

fn verdict(finding: &Finding, checks: &[CheckCount]) -> String {
    format!("{}, {}", finding.name(), checked(checks))
}

/// How often every checker looked: one that never did has shown nothing.
fn checked(checks: &[CheckCount]) -> String {
    let count = checks.iter().map(|check| check.checks).sum();
    let each: Vec<String> = checks.iter().map(|check| format!("{} {}", check.name, number(check.checks))).collect();
    let each = if each.is_empty() { String::new() } else { format!(": {}", each.join(", ")) };
    format!("{}{each}", plural(count, "check"))
}

fn traffic(out: &mut String, parts: [&Traffic; 3]) {
    let [set_up, run, closing] = parts;
    let text =
        format!("{}, {}; set-up {}, closing {}", number(run.messages), bytes(run.bytes), number(set_up.messages), number(closing.messages));
    line(out, "messages", &text);
    for (name, count) in kinds(run) {
        let _ = writeln!(out, "    {name:KIND$} {:>13}", number(count));
    }
}

fn rest(outcome: &Outcome, virtual_ns: u64) -> String {
    match outcome.rest_ns {
        0 => time(virtual_ns),
        rest_ns => {
            let to_rest = rest_ns.saturating_sub(outcome.work_ns);
            let closing = virtual_ns.saturating_sub(rest_ns);
            let times = [outcome.work_ns, to_rest, closing, outcome.set_up_ns].map(time);
            format!("{}: work {}, {} to rest, closing {}; set-up before it {}", time(virtual_ns), times[0], times[1], times[2], times[3])
        }
    }
}

fn measurements(out: &mut String, events: u64, wall_ns: u64, memory: Option<u64>, running_ns: u64) {
    line(out, "events", &number(events));
    line(out, "wall time", &measured(wall_ns));
    line(out, "events a second", &rate(events, running_ns).map_or_else(|| "-".to_owned(), |rate| format!("{} on a core", number(rate))));
    line(out, "peak memory", &memory.map_or_else(|| "-".to_owned(), bytes));
}

fn probes(out: &mut String, counts: &Counts) {
    line(out, "probes", &format!("{} of {} reached", counts.reached().count(), Probe::ALL.len()));
}

fn requirements(out: &mut String, requirements: &[Requirement]) {
    for r in requirements {
        let about = r.about.as_ref().map(|about| format!(" {about}")).unwrap_or_default();
        let bound = if r.at_most { "at most" } else { "at least" };
        let met = if r.met { "" } else { ": NOT MET" };
        line(out, "required", &format!("{}{about}: {bound} {}, was {}{met}", r.name, number(r.demanded), number(r.reached)));
    }
}

fn last_messages(out: &mut String, outcome: &Outcome) {
    let skipped = outcome.last_messages.len().saturating_sub(LAST);
    if outcome.last_messages.is_empty() {
        return;
    }
    let _ = writeln!(out, "  last messages before it (times since the world began, set-up included):");
    for recent in &outcome.last_messages[skipped..] {
        let (from, to) = (process(outcome, recent.from), process(outcome, recent.to));
        let _ = writeln!(out, "    {} {from} -> {to} {}", time(recent.time), clip(&message(recent), WIDTH));
    }
}
