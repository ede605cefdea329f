//! One line of JSON a seed. Keys are never renamed and never missing; what is not known is null.

use std::collections::BTreeMap;
use std::path::Path;

use ipcz::wire::message_name;
use serde::Serialize;

use super::play::{Finding, Played};
use crate::run::{self, Outcome, Traffic};
use crate::scenario::Scenario;

#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    file: String,
    seed: u64,
    verdict: &'static str,
    exit: u8,
    fingerprint: Option<String>,
    delivery_order: Option<String>,
    events: Option<u64>,
    messages: Option<Messages>,
    deliveries: Option<u64>,
    calls: Option<u64>,
    bypasses: Option<u64>,
    faults: BTreeMap<&'static str, [u64; 2]>,
    lies: BTreeMap<&'static str, u64>,
    forwarded: Option<u64>,
    introductions: Option<u64>,
    proxies_peak: Option<u64>,
    last_proxy: Option<LastProxy>,
    virtual_ns: u64,
    work_ns: Option<u64>,
    rest_ns: Option<u64>,
    wall_ns: u64,
    events_per_second: Option<u64>,
    memory_peak_bytes: Option<u64>,
    probes: BTreeMap<&'static str, u64>,
    checks: Vec<Check>,
    requirements: Vec<Requirement>,
    failure: Option<Failure<'a>>,
}

#[derive(Serialize)]
struct Messages {
    set_up: Part,
    run: Part,
    closing: Part,
}

#[derive(Serialize)]
struct Part {
    messages: u64,
    bytes: u64,
    delivered: u64,
    lost: u64,
    kinds: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct LastProxy {
    virtual_ns: u64,
    messages: u64,
    kinds: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Check {
    name: &'static str,
    checks: u64,
    exemptions: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct Requirement {
    name: &'static str,
    about: Option<String>,
    demanded: u64,
    at_most: bool,
    reached: u64,
    met: bool,
}

#[derive(Serialize)]
struct Failure<'a> {
    property: &'a str,
    checker: Option<&'a str>,
    text: &'a str,
    step: Option<u64>,
    virtual_ns: Option<u64>,
    phase: Option<&'a str>,
    node: Option<&'a str>,
    portal: Option<&'a str>,
    replay: &'a str,
    replay_file: Option<String>,
}

/// The line of a seed, with its line feed. `replay` runs it again.
///
/// # Errors
/// What serde says; it has no reason to.
pub fn line(scenario: &Scenario, file: &Path, played: &Played, replay: &str) -> Result<String, serde_json::Error> {
    let outcome = played.outcome.as_ref();
    let count = |of: fn(&Outcome) -> u64| outcome.map(of);
    let reached = |of: fn(&Outcome) -> u64| outcome.map(of).filter(|&ns| ns > 0);
    let line = Line {
        scenario: &scenario.name,
        file: file.display().to_string(),
        seed: played.seed,
        verdict: played.finding.name(),
        exit: played.finding.exit().code(),
        fingerprint: outcome.map(|o| format!("{:032x}", o.fingerprint)),
        delivery_order: outcome.map(|o| format!("{:016x}", o.delivery_order)),
        events: count(|o| o.events),
        messages: outcome.map(|o| Messages { set_up: part(&o.set_up), run: part(&o.run), closing: part(&o.closing) }),
        deliveries: count(|o| o.deliveries),
        calls: count(|o| o.calls.made),
        bypasses: count(|o| o.bypasses),
        faults: outcome
            .map(|outcome| outcome.struck.iter().map(|struck| (struck.fault.name(), [struck.could, struck.did])).collect())
            .unwrap_or_default(),
        lies: outcome.map(|outcome| outcome.told.iter().map(|told| (told.lie.name(), told.times)).collect()).unwrap_or_default(),
        forwarded: count(|o| o.forwarded),
        introductions: count(|o| o.introductions),
        proxies_peak: count(|o| o.peaks.proxies),
        last_proxy: outcome.and_then(|o| o.last_proxy.as_ref()).map(|last| LastProxy {
            virtual_ns: last.at_ns,
            messages: last.traffic.messages,
            kinds: kinds(&last.traffic).collect(),
        }),
        virtual_ns: played.virtual_ns,
        work_ns: reached(|o| o.work_ns),
        rest_ns: reached(|o| o.rest_ns),
        wall_ns: played.wall_ns,
        events_per_second: outcome.and_then(|o| ipcz_reports::format::rate(o.events, played.wall_ns)),
        memory_peak_bytes: played.memory,
        probes: outcome.map(|o| o.probes.reached().map(|(probe, count)| (probe.name(), count)).collect()).unwrap_or_default(),
        checks: outcome.map(checks).unwrap_or_default(),
        requirements: outcome.map(requirements).unwrap_or_default(),
        failure: failure(scenario, played, replay),
    };
    Ok(serde_json::to_string(&line)? + "\n")
}

fn part(traffic: &Traffic) -> Part {
    let kinds = kinds(traffic).collect();
    let Traffic { messages, bytes, delivered, lost, .. } = *traffic;
    Part { messages, bytes, delivered, lost, kinds }
}

/// Messages by kind, those that there are.
pub fn kinds(traffic: &Traffic) -> impl Iterator<Item = (String, u64)> {
    traffic.by_id.iter().zip(0..=u8::MAX).filter(|(count, _)| **count > 0).map(|(&count, id)| (kind(id), count))
}

/// The name of a kind of message.
pub fn kind(id: u8) -> String {
    message_name(id).map_or_else(|| format!("message {id}"), str::to_owned)
}

fn checks(outcome: &Outcome) -> Vec<Check> {
    let check =
        |check: &run::CheckCount| Check { name: check.name, checks: check.checks, exemptions: check.exemptions.iter().copied().collect() };
    outcome.checks.iter().map(check).collect()
}

fn requirements(outcome: &Outcome) -> Vec<Requirement> {
    let requirement = |r: &run::Requirement| Requirement {
        name: r.name,
        about: r.about.clone(),
        demanded: r.demanded,
        at_most: r.at_most,
        reached: r.reached,
        met: r.met,
    };
    outcome.requirements.iter().map(requirement).collect()
}

fn failure<'a>(scenario: &'a Scenario, played: &'a Played, replay: &'a str) -> Option<Failure<'a>> {
    let replay_file = played.replay_file.as_ref().map(|file| file.display().to_string());
    match &played.finding {
        Finding::Violated(f) => Some(Failure {
            property: f.property,
            checker: Some(f.checker),
            text: &f.text,
            step: Some(f.event),
            virtual_ns: Some(f.time),
            phase: Some(f.phase.name()),
            node: f.process.and_then(|at| scenario.nodes.get(at as usize)).map(|node| node.name.as_str()),
            portal: f.portal.as_deref(),
            replay,
            replay_file,
        }),
        Finding::Differs(text) => Some(Failure {
            property: super::table::DETERMINISM,
            checker: None,
            text,
            step: None,
            virtual_ns: None,
            phase: None,
            node: None,
            portal: None,
            replay,
            replay_file,
        }),
        Finding::Held | Finding::Unmet | Finding::Nothing | Finding::Stopped => None,
    }
}
