//! Binds what ran to the records of a report page.

use ipcz_reports as page;

use super::json::kinds;
use super::play::{Finding, Played};
use super::table::{DETERMINISM, message, process};
use super::totals::Totals;
use crate::run::{GraphData, LinkKind, Outcome, Requirement, RouterKind};
use crate::scenario::Scenario;

/// The records of a page about `seeds` of a scenario. `replay` runs the shown seed again.
pub fn report(scenario: &Scenario, seeds: &str, totals: &Totals, replay: &str) -> page::Report {
    let shown = totals.shown.as_ref();
    let outcome = shown.and_then(|shown| shown.outcome.as_ref());
    page::Report {
        run: page::Run {
            scenario: scenario.name.clone(),
            purpose: scenario.purpose.clone(),
            settings: scenario.settings.iter().map(|(name, value)| page::Setting { name: name.clone(), value: value.clone() }).collect(),
            seeds: seeds.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        failure: shown.and_then(|shown| failure(scenario, shown, replay)),
        checkers: totals.checks.iter().map(checker).collect(),
        results: totals.kept.iter().map(result).collect(),
        sweep: (totals.seeds > 1).then(|| page::Sweep {
            seeds: totals.seeds,
            failed: totals.failed,
            distinct_fingerprints: totals.distinct_fingerprints(),
            distinct_orders: totals.distinct_orders(),
        }),
        messages: kinds(&totals.run).map(|(name, count)| page::Count { name, count }).collect(),
        requirements: outcome.map(|outcome| outcome.requirements.iter().map(requirement).collect()).unwrap_or_default(),
        graph: outcome
            .map(|outcome| graph(outcome, &outcome.graph))
            .filter(|graph| graph.nodes.iter().any(|node| !node.routers.is_empty())),
    }
}

fn failure(scenario: &Scenario, played: &Played, replay: &str) -> Option<page::Failure> {
    let blank = page::Failure { seed: played.seed, replay: replay.to_owned(), ..page::Failure::default() };
    match &played.finding {
        Finding::Violated(failure) => {
            let node = failure.process.and_then(|at| scenario.nodes.get(at as usize)).map(|node| format!("node {}", node.name));
            let portal = failure.portal.as_ref().map(|portal| format!("portal {portal}"));
            let place: Vec<String> = node.into_iter().chain(portal).collect();
            Some(page::Failure {
                property: failure.property.to_owned(),
                place: if place.is_empty() { "the whole world".to_owned() } else { place.join(", ") },
                detail: failure.text.clone(),
                virtual_ns: failure.time,
                step: failure.event,
                messages: played.outcome.as_ref().map(messages).unwrap_or_default(),
                ..blank
            })
        }
        Finding::Differs(text) => {
            let place = "the second run of the seed".to_owned();
            Some(page::Failure { property: DETERMINISM.to_owned(), place, detail: text.clone(), ..blank })
        }
        Finding::Held | Finding::Unmet | Finding::Nothing | Finding::Stopped => None,
    }
}

fn messages(outcome: &Outcome) -> Vec<page::TraceLine> {
    let line = |recent: &crate::trace::Recent| page::TraceLine {
        virtual_ns: recent.time,
        from: process(outcome, recent.from).to_owned(),
        to: process(outcome, recent.to).to_owned(),
        text: message(recent),
    };
    outcome.last_messages.iter().map(line).collect()
}

fn checker(check: &crate::run::CheckCount) -> page::Checker {
    let exemption = |(name, count): &(&'static str, u64)| page::Count { name: (*name).to_owned(), count: *count };
    page::Checker { name: check.name.to_owned(), checks: check.checks, exemptions: check.exemptions.iter().map(exemption).collect() }
}

fn requirement(r: &Requirement) -> page::Requirement {
    let about = r.about.as_ref().map(|about| format!(" {about}")).unwrap_or_default();
    let demanded = if r.at_most { page::Demand::AtMost(r.demanded) } else { page::Demand::AtLeast(r.demanded) };
    page::Requirement { name: format!("{}{about}", r.name), demanded, reached: r.reached }
}

fn result(played: &Played) -> page::SeedResult {
    let result = page::SeedResult {
        seed: played.seed,
        held: !matches!(played.finding, Finding::Violated(_) | Finding::Differs(_)),
        virtual_ns: played.virtual_ns,
        wall_ns: played.wall_ns,
        memory_bytes: played.memory,
        ..page::SeedResult::default()
    };
    let Some(outcome) = &played.outcome else { return result };
    page::SeedResult {
        events: outcome.events,
        messages: outcome.run.messages,
        bypasses: outcome.bypasses,
        peak_proxies: outcome.peaks.proxies,
        rest_ns: (outcome.rest_ns > 0).then(|| outcome.rest_ns.saturating_sub(outcome.work_ns)),
        fingerprint: format!("{:032x}", outcome.fingerprint),
        ..result
    }
}

/// The route graph: routers under their nodes, links between them.
fn graph(outcome: &Outcome, data: &GraphData) -> page::RouteGraph {
    let named = |name: &String| page::GraphNode { name: name.clone(), routers: Vec::new() };
    let mut nodes: Vec<page::GraphNode> = outcome.processes.iter().map(named).collect();
    let mut places = Vec::with_capacity(data.routers.len());
    for (process, router, kind) in &data.routers {
        let node = *process as usize;
        if node >= nodes.len() {
            nodes.resize_with(node + 1, page::GraphNode::default);
        }
        let kind = match kind {
            RouterKind::Terminal => page::RouterKind::Terminal,
            RouterKind::Proxy => page::RouterKind::Proxy,
            RouterKind::Bridge => page::RouterKind::Bridge,
        };
        places.push(page::RouterRef { node, router: nodes[node].routers.len() });
        nodes[node].routers.push(page::GraphRouter { name: format!("{router:?}"), kind });
    }
    let link = |&(a, b, kind): &(usize, usize, LinkKind)| {
        let kind = match kind {
            LinkKind::Central => page::LinkKind::Central,
            LinkKind::Peripheral => page::LinkKind::Peripheral,
            LinkKind::Decaying => page::LinkKind::Decaying,
            LinkKind::Local => page::LinkKind::Local,
        };
        Some(page::GraphLink { a: *places.get(a)?, b: *places.get(b)?, kind })
    };
    page::RouteGraph { links: data.links.iter().filter_map(link).collect(), nodes }
}
