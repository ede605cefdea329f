//! The random workload: each node opens, uses, hands on and closes pipes at random moments, and now and then something is cut.

use std::sync::Arc;

use super::open::Style;
use super::stage::{News, Stage};
use crate::check::Checked;
use crate::choice::{Choices, Site};
use crate::fault::Fault;
use crate::ghost::{EndId, Role};
use crate::leaks::{self, Leak};
use crate::scenario::{Random, Range, Scenario};

/// Token of a node whose moment has come; the node is in the low bits.
pub(crate) const NODE: u64 = 1 << 56;

/// Token of an end whose owner reads it at last.
pub(crate) const READ: u64 = 2 << 56;

/// Token of a node that gives back the blocks it took.
pub(crate) const RELEASE: u64 = 3 << 56;

/// What is drawn.
mod site {
    use crate::choice::Site;

    pub const HOME: Site = Site::Workload(0);
    pub const GAP: Site = Site::Workload(1);
    pub const VERB: Site = Site::Workload(2);
    pub const PORTAL: Site = Site::Workload(3);
    pub const OVER: Site = Site::Workload(4);
    pub const COUNT: Site = Site::Workload(5);
    pub const BYTES: Site = Site::Workload(6);
    pub const CUT: Site = Site::Workload(7);
    pub const RELAY: Site = Site::Workload(8);
    pub const AT_ONCE: Site = Site::Workload(10);
    pub const MERGE: Site = Site::Workload(11);
}

/// How far the workload is.
#[derive(Clone, Debug)]
pub struct Workload {
    scenario: Arc<Scenario>,
    end: u64,
    left: u64,
    links: u64,
    nodes: u64,
    /// Nodes whose next moment is scheduled.
    running: usize,
}

impl Workload {
    /// The workload of a scenario, if it has one.
    pub fn new(scenario: Arc<Scenario>) -> Workload {
        let (links, nodes) = scenario.random.as_ref().map_or((0, 0), |random| (random.cut_links, random.cut_nodes));
        Workload { scenario, end: 0, left: 0, links, nodes, running: 0 }
    }

    /// Set-up is over: opens the first pipes and lets each node begin.
    pub fn begin(&mut self, stage: &mut Stage) -> Checked {
        let scenario = Arc::clone(&self.scenario);
        let Some(random) = &scenario.random else { return Ok(()) };
        self.left = random.operations.unwrap_or(u64::MAX);
        self.end = random.duration_ns.map_or(u64::MAX, |duration| stage.world.now().saturating_add(duration));
        for _ in 0..random.pipes + leaks::slip(Leak::Processors) {
            let node = draw(stage, site::HOME, u32::MAX, random.on.len());
            stage.open(random.on[node] as u32, Role::Random)?;
        }
        stage.lazy = (random.lazy, random.gap_ns);
        stage.style = Style { two_phase: random.two_phase, objects: random.objects, query: random.query, boxes: random.boxes };
        self.running = random.on.len();
        for node in &random.on {
            self.next(stage, random, *node as u32);
        }
        Ok(())
    }

    /// Whether nothing more will be done.
    pub fn is_done(&self) -> bool {
        self.running == 0 || self.left == 0
    }

    fn next(&mut self, stage: &mut Stage, random: &Random, node: u32) {
        let number = stage.world.choose(|source| source.draw(site::GAP, node, u32::MAX));
        let at =
            stage.world.now().saturating_add(gap(number, random.gap_ns)) + leaks::slip(Leak::ThreadRace) + leaks::slip(Leak::ProcessId);
        if at < self.end && self.left > 0 {
            stage.world.schedule_for(node, at, NODE | u64::from(node));
        } else {
            self.running -= 1;
        }
    }

    /// The node takes all free blocks of its link memories for a while.
    fn exhaust(&mut self, stage: &mut Stage, node: u32) {
        if let Some(process) = stage.world.process(node) {
            process.hoard();
            stage.hoarding.push(node);
            let until = stage.world.now() + stage.world.lasts(Fault::ExhaustBlocks);
            stage.world.schedule_for(node, until, RELEASE | u64::from(node));
            stage.find_scarce();
        }
    }

    /// A node's moment has come.
    pub fn token(&mut self, stage: &mut Stage, node: u64) -> Checked {
        let node = node as u32;
        let scenario = Arc::clone(&self.scenario);
        let Some(random) = &scenario.random else { return Ok(()) };
        if self.left == 0 || stage.world.is_gone(node) {
            self.running -= 1;
            return Ok(());
        }
        self.left -= 1;
        self.operate(stage, random, node)?;
        self.next(stage, random, node);
        Ok(())
    }

    fn operate(&mut self, stage: &mut Stage, random: &Random, node: u32) -> Checked {
        let verbs = &random.verbs;
        let home = &stage.homes[node as usize];
        let possible = |yes: bool, weight: u32| if yes { weight } else { 0 };
        let held = !home.free.is_empty();
        let weights = [
            verbs.open,
            possible(held, verbs.send),
            possible(home.free.len() > 1 || (held && !home.connections.is_empty()), verbs.hand),
            possible(held, verbs.close),
            possible(self.links + self.nodes > 0, verbs.cut),
            verbs.merge,
        ];
        // A workload that merges nothing draws as it did before there was merging.
        let weights = &weights[..weights.len() - usize::from(verbs.merge == 0)];
        if weights.iter().all(|weight| *weight == 0) {
            return Ok(());
        }
        stage.ask(node)?;
        if stage.world.strikes(Fault::ExhaustBlocks, node) {
            self.exhaust(stage, node);
        }
        let verb = stage.world.choose(|source| source.choose(site::VERB, node, weights.len() as u32, Some(weights)));
        // A log that was cut short may say what can't be done by now.
        if weights[verb as usize] == 0 {
            return Ok(());
        }
        match verb {
            0 => stage.open(node, Role::Random).map(|_| ()),
            1 => {
                let end = pick(stage, node);
                for _ in 0..within(stage, site::COUNT, node, random.count) + leaks::slip(Leak::Leftovers) {
                    let bytes = within(stage, site::BYTES, node, random.bytes) + leaks::slip(Leak::OsEntropy);
                    if !stage.send(end, bytes as usize)? {
                        break;
                    }
                }
                Ok(())
            }
            2 => hand(stage, node),
            3 => {
                let end = pick(stage, node);
                stage.close(end)
            }
            5 => merge(stage, node),
            _ => {
                self.cut(stage, random, node);
                Ok(())
            }
        }
    }

    fn cut(&mut self, stage: &mut Stage, random: &Random, node: u32) {
        let weights = [self.links.min(u32::MAX.into()) as u32, self.nodes.min(u32::MAX.into()) as u32];
        if weights == [0, 0] {
            return;
        }
        if stage.world.choose(|source| source.choose(site::CUT, node, 2, Some(&weights))) == 0 {
            let neighbours = stage.neighbours(node);
            // A node that has but its broker's link is left alone: it would have nothing to lose but itself.
            if neighbours.len() > 1 {
                let other = neighbours[draw(stage, site::CUT, node, neighbours.len())];
                self.links -= u64::from(stage.cut_link(node, other));
            }
        } else {
            let other = random.on[draw(stage, site::CUT, node, random.on.len())] as u32;
            self.nodes -= u64::from(stage.kill(other));
        }
    }

    /// Something was learnt: dead ends are closed, and a broker that takes no part hands on what it was handed.
    pub fn heard(&mut self, stage: &mut Stage, news: News) -> Checked {
        let scenario = Arc::clone(&self.scenario);
        let Some(random) = &scenario.random else { return Ok(()) };
        match news {
            News::Dead { end, .. } if stage.ghost.pipe(end).role == Role::Random && !random.keep => stage.close(end),
            News::Received { end } if stage.ghost.pipe(end).role == Role::Random => at_once(stage, end),
            News::Arrived { end, process, over }
                if stage.ghost.pipe(end).role == Role::Random
                    && stage.homes[process as usize].broker
                    && random.on.binary_search(&(process as usize)).is_err() =>
            {
                relay(stage, process, end, over)
            }
            _ => Ok(()),
        }
    }
}

/// The portal that a parcel has just come out of is closed or handed on, inside the same event.
fn at_once(stage: &mut Stage, end: EndId) -> Checked {
    let Some((process, _)) = stage.ghost.holder(end) else { return Ok(()) };
    if !stage.world.strikes(Fault::CloseAtOnce, process) {
        return Ok(());
    }
    if draw(stage, site::AT_ONCE, process, 2) == 0 { stage.close(end) } else { hand_on(stage, process, end) }
}

/// One of `n` things.
fn draw(stage: &mut Stage, site: Site, actor: u32, n: usize) -> usize {
    stage.world.choose(|source| source.draw(site, actor, n as u32)) as usize
}

/// A number out of a range.
fn within(stage: &mut Stage, site: Site, actor: u32, range: Range) -> u64 {
    let options = (range.max - range.min).saturating_add(1).min(u64::from(u32::MAX)) as usize;
    if options == 1 { range.min } else { range.min + draw(stage, site, actor, options) as u64 }
}

/// A portal that the node holds; it must hold one.
fn pick(stage: &mut Stage, node: u32) -> EndId {
    let count = stage.homes[node as usize].free.len();
    let chosen = (draw(stage, site::PORTAL, node, count) + leaks::slip(Leak::AllocationAddress) as usize) % count;
    stage.homes[node as usize].free[chosen]
}

/// Merges a portal that was never used with another one, or with an end of a new pipe.
fn merge(stage: &mut Stage, node: u32) -> Checked {
    let unused: Vec<EndId> = stage.homes[node as usize].free.iter().copied().filter(|end| !stage.ghost.is_used(*end)).collect();
    if unused.is_empty() {
        return stage.open(node, Role::Random).map(|_| ());
    }
    let end = unused[draw(stage, site::MERGE, node, unused.len())];
    let others: Vec<EndId> =
        unused.into_iter().filter(|other| !stage.ghost.are_related(*other, end) && !stage.ghost.merging_would_ring(end, *other)).collect();
    let chosen = draw(stage, site::MERGE, node, others.len() + 1);
    let with = match others.get(chosen) {
        Some(other) => *other,
        None => stage.open(node, Role::Random)?,
    };
    stage.merge(end, with)
}

/// Hands a portal on over another one, or over a connection.
fn hand(stage: &mut Stage, node: u32) -> Checked {
    let end = pick(stage, node);
    hand_on(stage, node, end)
}

fn hand_on(stage: &mut Stage, node: u32, end: EndId) -> Checked {
    let home = &stage.homes[node as usize];
    let all = home.free.len() + home.connections.len();
    let chosen = draw(stage, site::OVER, node, all) + (leaks::slip(Leak::CodeAddress) + leaks::slip(Leak::StackAddress)) as usize;
    let home = &stage.homes[node as usize];
    // The next one takes the place of a portal that cannot carry it: itself, its peer, one that would close a ring.
    let carriers = home.free.iter().chain(&home.connections).cycle().skip(chosen).take(all);
    let over = carriers.copied().find(|over| !stage.ghost.are_related(*over, end) && !stage.ghost.would_ring(end, *over));
    if let Some(over) = over {
        stage.put(over, 0, Some(end))?;
    }
    Ok(())
}

/// Hands a portal on to another client; tries a few, some may be dead.
fn relay(stage: &mut Stage, broker: u32, end: EndId, over: EndId) -> Checked {
    for _ in 0..RELAY_TRIES {
        let clients = stage.homes[broker as usize].connections.len();
        let chosen = draw(stage, site::RELAY, broker, clients);
        let next = stage.homes[broker as usize].connections[chosen];
        if next != over && !stage.ghost.would_ring(end, next) && stage.put(next, 0, Some(end))? {
            break;
        }
    }
    Ok(())
}

const RELAY_TRIES: usize = 4;

/// A gap of an exponential distribution with this mean, from a uniform number: `-ln((number + 1) / 2^32) * mean`, in whole numbers.
fn gap(number: u32, mean: u64) -> u64 {
    let x = u64::from(number) + 1;
    let exponent = x.ilog2();
    // x as 1.31 fixed point in 1..2, then bit by bit its logarithm.
    let mut mantissa = if exponent >= 31 { x >> (exponent - 31) } else { x << (31 - exponent) };
    let mut log = u64::from(exponent) << 16;
    for bit in (0..16).rev() {
        mantissa = (mantissa * mantissa) >> 31;
        if mantissa >> 32 != 0 {
            mantissa >>= 1;
            log |= 1 << bit;
        }
    }
    const LN_2: u128 = 45_426;
    let nats = u128::from((32 << 16) - log) * LN_2;
    u64::try_from((nats * u128::from(mean)) >> 32).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_exponential() {
        let mean = 1_000_000;
        let count = 1 << 16;
        let gaps: Vec<u64> = (0..count).map(|i| gap((i as u32) << 16 | 0x8000, mean)).collect();
        let average = gaps.iter().sum::<u64>() / count;
        assert!(average.abs_diff(mean) < mean / 1000, "{average}");
        let longer = gaps.iter().filter(|gap| **gap > 2 * mean).count() as u64;
        let expected = count * 135_335 / 1_000_000;
        assert!(longer.abs_diff(expected) < 20, "{longer} {expected}");
        assert!(gap(u32::MAX - 1, mean) < 100 && gap(0, mean) == 22_180_664);
    }
}
