//! Set-up: nodes, their connections, and pipes between clients that their broker hands to both.

use ipcz::api::NodeOptions;
use ipcz::ids::{Features, NodeType};
use ipcz::inspect::NodeView;
use ipcz::limits::Limits;

use super::stage::Stage;
use crate::check::{Checked, Violation};
use crate::fault::Fault;
use crate::ghost::{EndId, Role};
use crate::scenario::{Caps, Scenario};
use crate::world::LinkProfile;

const SET_UP: &str = "set-up";
const PROPERTY: &str = "set-up is complete when the world is idle";

/// How far set-up is.
#[derive(Clone, Debug, Default)]
pub struct SetUp {
    /// The set-up pipes, once they are handed out: end and the node it goes to.
    handed: Option<Vec<(EndId, u32)>>,
}

impl SetUp {
    /// Makes the nodes and connects them. `ends`: of each portal of the scenario, its end.
    pub fn begin(stage: &mut Stage, scenario: &Scenario, planted: Option<&str>, ends: &mut [Option<EndId>]) -> Checked<SetUp> {
        let mut options = NodeOptions::default();
        if let Some(bytes) = scenario.memory.inline {
            options.limits.inline_bytes = bytes as usize;
        }
        if let Some(bytes) = scenario.memory.link_capacity {
            options.limits.link_memory_bytes = bytes;
        }
        cap(&mut options.limits, &scenario.limits);
        stage.limits = options.limits;
        stage.world.arm_faults(Some(Fault::TinyCapacity));
        let tiny = stage.world.strikes(Fault::TinyCapacity, 0);
        if tiny {
            options.limits.link_memory_bytes = 0;
        }
        if tiny || scenario.memory.link_capacity.is_some() {
            stage.find_scarce();
        }
        stage.world.arm_faults(Some(Fault::RefuseRandom));
        for node in &scenario.nodes {
            let features = if node.mem_v2 { Features::MEM_V2 } else { Features::default() };
            stage.add_node(node, NodeOptions { features, ..options }, planted)?;
        }
        for link in &scenario.connects {
            let profile = LinkProfile { latency_ns: link.latency_ns, jitter_ns: jitter(link.jitter_ns), ..LinkProfile::default() };
            let end = stage.connect(link.client as u32, link.broker as u32, Some(profile), Role::Connection)?;
            (ends[link.ends[0]], ends[link.ends[1]]) = (end, end.map(EndId::twin));
        }
        Ok(SetUp::default())
    }

    /// The world is idle: goes on with set-up, or says that it is complete.
    pub fn idle(&mut self, stage: &mut Stage, scenario: &Scenario, ends: &mut [Option<EndId>]) -> Checked<bool> {
        let Some(handed) = &self.handed else {
            connected(stage, scenario)?;
            self.handed = Some(hand_out(stage, scenario, ends)?);
            return Ok(scenario.pipes.is_empty());
        };
        for (end, node) in handed {
            if stage.ghost.holder(*end).map(|(process, _)| process) != Some(*node) {
                let text = format!("{end} never arrived at node {}", scenario.nodes[*node as usize].name);
                return Err(Violation::new(SET_UP, PROPERTY, text).in_process(*node).at(*end));
            }
        }
        Ok(true)
    }
}

/// Sets the limits that a scenario names.
fn cap(limits: &mut Limits, caps: &Caps) {
    let set = |limit: &mut usize, cap: Option<u64>| *limit = cap.map_or(*limit, |cap| cap as usize);
    set(&mut limits.link_early_parcels, caps.early_parcels);
    set(&mut limits.link_early_bytes, caps.early_bytes);
    set(&mut limits.link_buffer_waits, caps.buffer_waits);
    set(&mut limits.link_buffers, caps.buffers);
    set(&mut limits.link_sublinks, caps.sublinks);
    set(&mut limits.pending_introductions, caps.introductions);
}

/// Jitter as the engine takes it.
fn jitter(ns: u64) -> u32 {
    u32::try_from(ns).unwrap_or(u32::MAX)
}

fn connected(stage: &Stage, scenario: &Scenario) -> Checked {
    for link in &scenario.connects {
        let client = link.client as u32;
        let nodes = stage.world.process(client).map(|p| p.inspect(|view| view.nodes())).unwrap_or_default();
        let met = |node: &NodeView| match node.kind {
            NodeType::Normal => node.broker_link.is_some(),
            NodeType::Broker => !node.other_brokers.is_empty(),
        };
        if !nodes.iter().any(met) {
            let text =
                format!("node {} was never connected by way of {}", scenario.nodes[link.client].name, scenario.nodes[link.broker].name);
            return Err(Violation::new(SET_UP, PROPERTY, text).in_process(client));
        }
    }
    Ok(())
}

fn hand_out(stage: &mut Stage, scenario: &Scenario, ends: &mut [Option<EndId>]) -> Checked<Vec<(EndId, u32)>> {
    let mut handed = Vec::new();
    for pipe in &scenario.pipes {
        let first = stage.open(pipe.broker as u32, Role::SetUp)?;
        for (side, (end, node)) in [(first, pipe.a), (first.twin(), pipe.b)].into_iter().enumerate() {
            let over = ends[scenario.connects[pipe.links[side]].ends[1]];
            let put = match over {
                Some(over) => stage.put(over, 0, Some(end))?,
                None => false,
            };
            if !put {
                let text = format!("the broker could not hand pipe {} to node {}", pipe.name, scenario.nodes[node].name);
                return Err(Violation::new(SET_UP, PROPERTY, text).at(end));
            }
            ends[pipe.ends[side]] = Some(end);
            handed.push((end, node as u32));
        }
    }
    Ok(handed)
}
