//! The steps of a scenario: what waits for what, what is due, what is done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::stage::{News, Stage};
use crate::check::Checked;
use crate::ghost::{EndId, Role};
use crate::scenario::{Action, NodeId, PortalId, Scenario, StepId, Wait};

/// How often something happened, and which steps wait for it to happen how often.
#[derive(Clone, Debug, Default)]
struct Awaited {
    happened: u64,
    waiting: Vec<(u64, StepId)>,
}

impl Awaited {
    /// It happened once more: the steps that waited for just that.
    fn happen(&mut self, out: &mut Vec<StepId>) {
        self.happened += 1;
        let now = self.happened;
        self.waiting.retain(|(times, step)| {
            if *times <= now {
                out.push(*step);
            }
            *times > now
        });
    }
}

/// The steps and how far each is.
#[derive(Clone, Debug)]
pub struct Plan {
    scenario: Arc<Scenario>,
    /// Of each portal of the scenario, its end, once it is open.
    pub ends: Vec<Option<EndId>>,
    /// By end: its portal of the scenario. As long as the last that has one: asked at every parcel, it costs those that have none nothing.
    portals: Vec<Option<PortalId>>,
    /// By step: conditions not yet met.
    missing: Vec<usize>,
    done: Vec<Awaited>,
    arrived: BTreeMap<(PortalId, NodeId), Awaited>,
    received: Vec<Awaited>,
    /// By step: parcels a `send` has yet to put.
    left: Vec<u64>,
    ready: VecDeque<StepId>,
    finished: usize,
    start: u64,
    free: Vec<StepId>,
    /// This step is held back when it is due.
    hold: Option<StepId>,
    held: bool,
}

/// Token of a step that is due.
pub(crate) const STEP: u64 = 0;

impl Plan {
    /// The steps of a scenario; none has begun.
    pub fn new(scenario: Arc<Scenario>) -> Plan {
        let mut plan = Plan {
            ends: vec![None; scenario.portals.len()],
            portals: Vec::new(),
            missing: scenario.steps.iter().map(|step| step.after.len()).collect(),
            done: vec![Awaited::default(); scenario.steps.len()],
            arrived: BTreeMap::new(),
            received: vec![Awaited::default(); scenario.portals.len()],
            left: vec![0; scenario.steps.len()],
            ready: VecDeque::new(),
            finished: 0,
            start: 0,
            free: Vec::new(),
            hold: None,
            held: false,
            scenario,
        };
        for (id, step) in plan.scenario.steps.iter().enumerate() {
            for wait in &step.after {
                match *wait {
                    Wait::Done(other) => plan.done[other].waiting.push((1, id)),
                    Wait::Arrived { portal, node, times } => {
                        plan.arrived.entry((portal, node)).or_default().waiting.push((times.into(), id));
                    }
                    Wait::Received { portal, count } => plan.received[portal].waiting.push((count, id)),
                }
            }
        }
        plan
    }

    /// Set-up is over: the first steps begin.
    pub fn begin(&mut self, stage: &mut Stage) -> Checked {
        self.start = stage.world.now();
        for portal in 0..self.ends.len() {
            if let Some(end) = self.ends[portal] {
                self.opened(end, portal);
            }
        }
        for step in 0..self.missing.len() {
            if self.missing[step] == 0 {
                self.due(stage, step);
            }
        }
        self.act(stage)
    }

    /// Holds a step back when it is due; false if no step has this id.
    pub fn hold(&mut self, id: &str) -> bool {
        self.hold = self.scenario.steps.iter().position(|step| step.id == id);
        self.hold.is_some()
    }

    /// Whether the step that is held back is due.
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Carries out the step that was held back.
    pub fn release_held(&mut self, stage: &mut Stage) -> Checked {
        self.ready.extend(self.hold.take().filter(|_| self.held));
        self.held = false;
        self.act(stage)
    }

    /// Whether every step is done.
    pub fn is_done(&self) -> bool {
        self.finished == self.missing.len()
    }

    /// The steps that are not done, with what they wait for; for people.
    pub fn waiting(&self) -> Vec<String> {
        let scenario = &self.scenario;
        let open = (0..self.missing.len()).filter(|step| self.done[*step].happened == 0);
        open.map(|id| {
            let step = &scenario.steps[id];
            let unmet = step.after.iter().filter_map(|wait| match *wait {
                Wait::Done(other) if self.done[other].happened == 0 => Some(format!("\"{}\"", scenario.steps[other].id)),
                Wait::Arrived { portal, node, times } if self.arrived[&(portal, node)].happened < u64::from(times) => {
                    Some(format!("arrival {times} of {} on {}", scenario.portals[portal].name, scenario.nodes[node].name))
                }
                Wait::Received { portal, count } if self.received[portal].happened < count => {
                    let had = self.received[portal].happened;
                    Some(format!("{count} parcels at {} ({had} came)", scenario.portals[portal].name))
                }
                _ => None,
            });
            format!("\"{}\" waits for {}", step.id, unmet.collect::<Vec<_>>().join(" and "))
        })
        .collect()
    }

    /// The name of an end in the scenario.
    pub fn name(&self, end: EndId) -> Option<&str> {
        let portal = self.portal(end)?;
        Some(&self.scenario.portals[portal].name)
    }

    /// A step's conditions are met.
    fn due(&mut self, stage: &mut Stage, step: StepId) {
        let spec = &self.scenario.steps[step];
        let (now, at) = (stage.world.now(), self.start + spec.at_ns);
        let at = at.max(now).saturating_add(spec.think_ns);
        if at > now {
            stage.world.schedule_for(spec.on.map_or(u32::MAX, |node| node as u32), at, STEP | step as u64);
        } else {
            self.ready.push_back(step);
        }
    }

    /// A token of a step is due.
    pub fn token(&mut self, stage: &mut Stage, step: u64) -> Checked {
        self.carry_out(stage, step as StepId, true)?;
        self.act(stage)
    }

    fn opened(&mut self, end: EndId, portal: PortalId) {
        let place = end.0 as usize;
        self.portals.resize(self.portals.len().max(place + 1), None);
        self.portals[place] = Some(portal);
    }

    fn portal(&self, end: EndId) -> Option<PortalId> {
        self.portals.get(end.0 as usize).copied().flatten()
    }

    /// Something was learnt.
    pub fn heard(&mut self, stage: &mut Stage, news: News) -> Checked {
        let mut free = std::mem::take(&mut self.free);
        match news {
            News::Arrived { end, process, .. } => {
                if let Some(portal) = self.portal(end)
                    && let Some(awaited) = self.arrived.get_mut(&(portal, process as NodeId))
                {
                    awaited.happen(&mut free);
                }
            }
            News::Received { end } => {
                if let Some(portal) = self.portal(end) {
                    self.received[portal].happen(&mut free);
                }
            }
            News::Did { errand } if self.left[errand as usize] == 0 => self.finish(errand as StepId, &mut free),
            News::Did { .. } | News::Dead { .. } => (),
        }
        self.release(stage, &mut free);
        self.free = free;
        self.act(stage)
    }

    fn release(&mut self, stage: &mut Stage, free: &mut Vec<StepId>) {
        for step in free.drain(..) {
            self.missing[step] -= 1;
            if self.missing[step] == 0 {
                self.due(stage, step);
            }
        }
    }

    fn act(&mut self, stage: &mut Stage) -> Checked {
        while let Some(step) = self.ready.pop_front() {
            self.carry_out(stage, step, false)?;
        }
        Ok(())
    }

    /// Does what a step says; what its node or portal can no longer do since something was cut is left out. `token`: its token was
    /// taken just now.
    fn carry_out(&mut self, stage: &mut Stage, id: StepId, token: bool) -> Checked {
        if self.hold == Some(id) {
            self.held = true;
            return Ok(());
        }
        let scenario = Arc::clone(&self.scenario);
        let step = &scenario.steps[id];
        // At depth L1 only a token finds every process's lock free.
        if stage.threads.is_some()
            && !token
            && matches!(step.action, Action::Open { .. } | Action::Connect { .. } | Action::CutNode { .. } | Action::CutLink { .. })
        {
            stage.world.schedule(stage.world.now(), STEP | id as u64);
            return Ok(());
        }
        stage.count_for(Some(id as u32));
        let process = step.on.map_or(u32::MAX, |node| node as u32);
        if step.on.is_none() || !stage.world.is_gone(process) {
            if self.left[id] == 0 {
                stage.say(process, || format!("{}: {:?}", step.id, step.action));
            }
            match step.action {
                Action::Open { portals } => {
                    let end = stage.open(process, Role::Step)?;
                    for (portal, end) in portals.into_iter().zip([end, end.twin()]) {
                        self.ends[portal] = Some(end);
                        self.opened(end, portal);
                    }
                }
                Action::Connect { to, portals } if !stage.world.is_gone(to as u32) => {
                    if let Some(end) = stage.connect(process, to as u32, None, Role::Step)? {
                        for (portal, end) in portals.into_iter().zip([end, end.twin()]) {
                            self.ends[portal] = Some(end);
                            self.opened(end, portal);
                        }
                    }
                }
                Action::Connect { .. } => {}
                Action::Send { from, count, bytes, every_ns, open_ns, abort, boxes } => {
                    let left = &mut self.left[id];
                    if *left == 0 {
                        *left = count;
                    }
                    let now = if every_ns == 0 { *left } else { 1 };
                    *left -= now;
                    let again = *left > 0;
                    for _ in 0..now {
                        match self.ends[from] {
                            Some(end) if open_ns > 0 => stage.put_slowly(end, bytes as usize, open_ns, abort)?,
                            Some(end) => drop(stage.put_boxes(end, bytes as usize, boxes as u8)?),
                            None => {}
                        }
                    }
                    if again {
                        stage.count_for(None);
                        stage.world.schedule_for(process, stage.world.now() + every_ns, STEP | id as u64);
                        return Ok(());
                    }
                }
                Action::Get { from, way } => {
                    if let Some(end) = self.ends[from] {
                        stage.get_like(end, way);
                    }
                }
                Action::Query { portal } => {
                    if let Some(end) = self.ends[portal] {
                        stage.query(end)?;
                    }
                }
                Action::Hand { portal, over, .. } => {
                    // A portal that would travel through itself stays.
                    if let (Some(end), Some(over)) = (self.ends[portal], self.ends[over])
                        && !stage.ghost.are_related(end, over)
                        && !stage.ghost.would_ring(end, over)
                    {
                        stage.put(over, 0, Some(end))?;
                    }
                }
                Action::Close { portal } => {
                    if let Some(end) = self.ends[portal] {
                        stage.close(end)?;
                    }
                }
                Action::Merge { portals: [a, b] } => {
                    if let (Some(end), Some(with)) = (self.ends[a], self.ends[b]) {
                        stage.merge(end, with)?;
                    }
                }
                Action::CutNode { node } => {
                    stage.kill(node as u32);
                }
                Action::CutLink { nodes: [a, b] } => {
                    stage.cut_link(a as u32, b as u32);
                }
            }
        }
        stage.count_for(None);
        if stage.threads.as_ref().is_some_and(|threads| threads.is_open(id as u32)) {
            return Ok(());
        }
        let mut free = std::mem::take(&mut self.free);
        self.finish(id, &mut free);
        self.release(stage, &mut free);
        self.free = free;
        Ok(())
    }

    /// A step is done.
    fn finish(&mut self, id: StepId, free: &mut Vec<StepId>) {
        self.finished += 1;
        self.done[id].happen(free);
    }
}
