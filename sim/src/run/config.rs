//! What the engine is told about a scenario, and what it tells about the messages.

use std::sync::OnceLock;

use ipcz::mapping::Mapping;
use ipcz::memory::{PRIMARY_BYTES, initialise_primary};

use super::outcome::{RunOptions, Traffic};
use crate::policy::PolicySpec;
use crate::scenario::Scenario;
use crate::world::{Config, DropRule, LinkProfile, Order, PATIENCE, Schedule, Template, World};

/// The engine's configuration.
pub(super) fn of(scenario: &Scenario, options: &RunOptions) -> Config {
    let timed = options.policy.of_seed(options.seed) == PolicySpec::Timed;
    let holds: Vec<_> = scenario.holds.iter().chain(&options.holds).copied().collect();
    let order = if timed && holds.is_empty() {
        Order::Timed
    } else {
        Order::Scheduled(Schedule { holds: holds.into(), record: options.record_order })
    };
    let profile = |latency_ns, jitter_ns| LinkProfile { latency_ns, jitter_ns: jitter(jitter_ns), ..LinkProfile::default() };
    let drops = scenario.loss.iter().filter_map(|loss| {
        let message = (0..=u8::MAX).find(|id| ipcz::wire::message_name(*id) == Some(loss.message.as_str()))?;
        Some(DropRule { message, nth: loss.nth.saturating_sub(1) })
    });
    Config {
        order,
        link: LinkProfile { carries_objects: !scenario.brokered, ..profile(scenario.latency_ns, scenario.jitter_ns) },
        links: scenario
            .connects
            .iter()
            .map(|link| {
                let (a, b) = (link.client as u32, link.broker as u32);
                ((a.min(b), a.max(b)), profile(link.latency_ns, link.jitter_ns))
            })
            .collect(),
        template: Some(primary_buffer()),
        recent: options.recent,
        drops: drops.collect(),
        faults: scenario.faults.clone(),
        brokers: scenario.nodes.iter().map(|node| node.broker).collect(),
        memoryless: scenario.nodes.iter().zip(0..).filter(|(node, _)| node.delegate).map(|(_, at)| at).collect(),
        loose: scenario.nodes.iter().zip(0..).filter_map(|(node, at)| Some((at, node.loose?))).collect(),
        hostile: hostile(scenario),
        lies: scenario.hostile.clone(),
        wrap: options.wrap.clone(),
        ..Config::default()
    }
}

/// The hostile nodes of a scenario, ascending.
pub(super) fn hostile(scenario: &Scenario) -> Vec<u32> {
    scenario.nodes.iter().zip(0..).filter_map(|(node, at)| node.hostile.then_some(at)).collect()
}

/// The broker that a node connects to, and how.
pub(super) fn broker_of(scenario: &Scenario, client: u32) -> Option<(u32, LinkProfile)> {
    let link = scenario.connects.iter().find(|link| link.client as u32 == client)?;
    let profile = LinkProfile { latency_ns: link.latency_ns, jitter_ns: jitter(link.jitter_ns), ..LinkProfile::default() };
    Some((link.broker as u32, profile))
}

fn jitter(ns: u64) -> u32 {
    u32::try_from(ns).unwrap_or(u32::MAX)
}

/// The content of a link's first buffer before anybody has used it.
fn primary_buffer() -> Template {
    static PRISTINE: OnceLock<Template> = OnceLock::new();
    PRISTINE.get_or_init(draw_up).clone()
}

fn draw_up() -> Template {
    let memory = Mapping::zeroed(PRIMARY_BYTES);
    initialise_primary(&memory);
    let mut bytes = vec![0; PRIMARY_BYTES];
    memory.read(0, &mut bytes);
    Template::new(&bytes)
}

/// The longest that a message of the scenario may be under way, in ns.
pub(super) fn longest(scenario: &Scenario) -> u64 {
    let links = scenario.connects.iter().map(|link| link.latency_ns + link.jitter_ns);
    let longest = links.chain([scenario.latency_ns + scenario.jitter_ns]).max().unwrap_or(0).max(1);
    // A loose node holds a message back so long at most.
    if scenario.nodes.iter().any(|node| node.loose.is_some()) { longest * (1 + PATIENCE) } else { longest }
}

/// All messages of a world so far.
pub(super) fn traffic(world: &World) -> Traffic {
    world.trace(|trace| {
        let totals = trace.totals();
        let mut traffic = Traffic {
            messages: totals.messages,
            bytes: totals.bytes,
            delivered: totals.delivered,
            lost: totals.lost,
            ..Traffic::default()
        };
        for id in 0..=u8::MAX {
            traffic.by_id[usize::from(id)] = trace.transmitted(id);
        }
        traffic
    })
}
