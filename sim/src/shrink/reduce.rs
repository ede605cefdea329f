//! The passes: each tries to leave something out, and keeps what still fails.

use super::ddmin::ddmin;
use super::script::{Op, Script, Verb};
use super::{Lab, Unshrunk, Way};
use crate::events::Hold;
use crate::fault::{Fault, Hit};
use crate::policy::PolicySpec;
use crate::run::Outcome;

/// Orders tried before a workload that is written down counts as one that does not fail.
const SEARCH: u64 = 400;
/// Orders tried for each candidate, round by round: when nothing goes any more, more are tried.
const ROUNDS: [u64; 5] = [1, 4, 16, 64, 256];
/// Orders tried to find one that takes fewer constraints, and how many of those that fail are reduced.
const ORDERS: u64 = 40;
const RESTARTS: u32 = 3;
/// Faults that cut links or end nodes.
const CUTTING: [Fault; 6] =
    [Fault::Cut, Fault::HalfOpen, Fault::RefuseSend, Fault::CrashBeforeSend, Fault::CrashAfterSend, Fault::LoseBroker];
/// Latency when it does not matter.
const PLAIN_LATENCY: u64 = 1_000_000;

impl Lab<'_> {
    /// The first workload without chance that fails.
    pub(super) fn begin(&mut self, outcome: &Outcome) -> Result<(), Unshrunk> {
        let whole = self.script.clone();
        let recorded = outcome.order.as_ref().map(|order| order.recorded.clone());
        let again = self.way.clone();
        let ordered = recorded.map(|holds| Way { policy: PolicySpec::Fifo, holds, ..again.clone() });
        // Links that a fault cut are cut by steps too, which may be too much.
        let by_fault = whole.with_ops(&whole.ops.iter().filter(|op| !op.verb.is_cut()).cloned().collect::<Vec<_>>());
        let by_step = Script {
            faults: whole.faults.iter().filter(|(fault, _)| !CUTTING.contains(fault)).map(|(fault, how)| (*fault, how.clone())).collect(),
            ..whole.clone()
        };
        for script in [&whole, &by_fault, &by_step] {
            for way in [&again].into_iter().chain(&ordered) {
                if let Some(found) = self.attempt(script, way) {
                    let found = self.pinned(found);
                    self.accept(found);
                    return Ok(());
                }
            }
        }
        if self.try_hard(&whole, SEARCH) { Ok(()) } else { Err(Unshrunk::Lost(self.runs)) }
    }

    /// Leaves out what can be left out. False if it was stopped before nothing more could.
    pub(super) fn reduce(&mut self) -> bool {
        let mut round = 0;
        while round < ROUNDS.len() {
            let before = self.measure();
            let others = ROUNDS[round];
            self.plain_way();
            let together = self.script.together();
            self.smaller(&together, others);
            self.pipes(others);
            self.operations(others);
            self.unused();
            self.merge(others);
            self.values(others);
            self.plain_way();
            self.holds();
            self.order(others);
            if self.tired() {
                return false;
            }
            if self.measure() >= before {
                round += 1;
            }
        }
        true
    }

    /// Less is better, the first number most.
    fn measure(&self) -> (usize, usize, usize, u64) {
        let rest: u64 = self
            .script
            .ops
            .iter()
            .map(|op| if let Verb::Send { count, bytes, boxes, .. } = op.verb { count + bytes + boxes } else { 0 } + op.at_ns.min(1))
            .sum();
        (self.script.nodes.len() + self.script.known.len() + self.script.ops.len(), self.sizes.deviations, self.script.ops.len(), rest)
    }

    /// First in, first out, if that fails too.
    fn plain_way(&mut self) {
        if self.way.fine.is_some() || (self.way.policy == PolicySpec::Fifo && self.way.holds.is_empty()) || self.tired() {
            return;
        }
        let script = self.script.clone();
        let way = Way { policy: PolicySpec::Fifo, holds: Vec::new(), ..self.way.clone() };
        if let Some(found) = self.attempt(&script, &way) {
            self.accept(found);
        }
    }

    /// Other orders of the same workload: one that takes fewer constraints than this one has deviations, or the same as constraints.
    fn order(&mut self, others: u64) {
        let mut tries = 0;
        for number in 1..=others.max(ORDERS) {
            if self.way.fine.is_some() || self.sizes.deviations == 0 || tries == RESTARTS || self.tired() {
                return;
            }
            let way = self.other(number);
            let script = self.script.clone();
            if way.policy == PolicySpec::Timed {
                continue;
            }
            let Some(found) = self.attempt(&script, &way) else { continue };
            tries += 1;
            let found = self.pinned(found);
            let before = (self.script.clone(), self.way.clone(), self.text.clone(), self.sizes, self.hits.clone());
            self.accept(found);
            self.holds();
            let better =
                self.way.policy == PolicySpec::Fifo && (before.1.policy != PolicySpec::Fifo || self.sizes.deviations < before.3.deviations);
            if !better {
                (self.script, self.way, self.text, self.sizes, self.hits) = before;
            }
        }
    }

    /// Whole pipes, with all that is done to them.
    fn pipes(&mut self, others: u64) {
        let base = self.script.clone();
        let mut pipes: Vec<Option<usize>> = base.ops.iter().map(|op| op.verb.pipe()).collect();
        pipes.sort_unstable();
        pipes.dedup();
        ddmin(pipes, &mut |left| {
            if self.tired() {
                return false;
            }
            let ops: Vec<Op> = base.ops.iter().filter(|op| left.contains(&op.verb.pipe())).cloned().collect();
            self.smaller(&base.with_ops(&ops), others)
        });
    }

    /// Single operations.
    fn operations(&mut self, others: u64) {
        let base = self.script.clone();
        ddmin(base.ops.clone(), &mut |left| !self.tired() && self.smaller(&base.with_ops(left), others));
    }

    /// Tries a candidate; what is dependent may be gone from it already.
    fn smaller(&mut self, script: &Script, others: u64) -> bool {
        *script == self.script || (!self.tired() && self.try_hard(script, others))
    }

    /// Pairs of nodes become one.
    fn merge(&mut self, others: u64) {
        let nodes: Vec<usize> = self.script.nodes.iter().copied().collect();
        for gone in nodes.iter().rev() {
            for kept in &nodes {
                if self.tired() {
                    return;
                }
                let spec = |node: usize| self.script.base.nodes[node].broker;
                let both = [gone, kept].iter().all(|node| self.script.nodes.contains(node));
                if gone != kept && both && !spec(*gone) && !spec(*kept) && self.smaller(&self.script.merge(*gone, *kept), others) {
                    break;
                }
            }
        }
    }

    /// Pipes of the set-up and nodes that nothing happens to.
    fn unused(&mut self) {
        let all = {
            let mut script = self.script.clone();
            let used = script.used_pipes();
            script.known.retain(|pipe, _| used.contains(pipe));
            script.nodes = script.used();
            script.valid()
        };
        if all != self.script && self.smaller(&all, 4) {
            return;
        }
        let used = self.script.used_pipes();
        let idle: Vec<usize> = self.script.known.keys().copied().filter(|pipe| !used.contains(pipe)).collect();
        let base = self.script.clone();
        ddmin(idle.clone(), &mut |left| {
            let mut script = base.clone();
            script.known.retain(|pipe, _| left.contains(pipe) || !idle.contains(pipe));
            self.smaller(&script, 4)
        });
        let used = self.script.used();
        let idle: Vec<usize> = self.script.nodes.iter().copied().filter(|node| !used.contains(node)).collect();
        let base = self.script.clone();
        ddmin(idle.clone(), &mut |left| {
            let mut script = base.clone();
            script.nodes.retain(|node| left.contains(node) || !idle.contains(node));
            self.smaller(&script, 4)
        });
    }

    /// Numbers become small and times nothing.
    fn values(&mut self, others: u64) {
        let plain: [fn(&mut Script); 10] = [
            |script| script.latencies.fill(PLAIN_LATENCY),
            |script| script.jitters.fill(0),
            |script| script.drop = false,
            |script| script.inline = None,
            |script| script.link_capacity = None,
            |script| script.settle = None,
            |script| script.partial = false,
            |script| script.ops.iter_mut().for_each(|op| op.at_ns = 0),
            |script| {
                let mut rank = 0;
                let mut last = 0;
                for op in &mut script.ops {
                    rank += u64::from(op.at_ns > last);
                    last = op.at_ns.max(last);
                    op.at_ns = rank * PLAIN_LATENCY;
                }
            },
            |script| {
                for op in &mut script.ops {
                    if let Verb::Send { count, bytes, .. } = &mut op.verb {
                        (*count, *bytes) = (1, 8.min(*bytes));
                    }
                }
            },
        ];
        for change in plain {
            let mut script = self.script.clone();
            change(&mut script);
            if script != self.script {
                self.smaller(&script, others.min(4));
            }
        }
        let kinds: Vec<Fault> = self.script.faults.keys().copied().collect();
        let base = self.script.clone();
        ddmin(kinds, &mut |left| {
            let mut script = base.clone();
            script.faults.retain(|kind, _| left.contains(kind));
            self.smaller(&script, others.min(4))
        });
        self.strikes(others);
        let single: [fn(&mut Op); 5] = [
            |op| op.at_ns = 0,
            |op| {
                if let Verb::Send { count, .. } = &mut op.verb {
                    *count = 1;
                }
            },
            |op| {
                if let Verb::Send { count, .. } = &mut op.verb {
                    *count = count.div_ceil(2);
                }
            },
            |op| {
                if let Verb::Send { bytes, .. } = &mut op.verb {
                    *bytes = 8.min(*bytes);
                }
            },
            |op| {
                if let Verb::Send { boxes, .. } = &mut op.verb {
                    *boxes = boxes.saturating_sub(1);
                }
            },
        ];
        for at in 0..self.script.ops.len() {
            if self.tired() {
                return;
            }
            for change in single {
                let mut script = self.script.clone();
                change(&mut script.ops[at]);
                if script != self.script {
                    self.smaller(&script, others.min(2));
                }
            }
        }
    }

    /// A fault that strikes by chance strikes once instead: at one of the moments when it did.
    fn strikes(&mut self, others: u64) {
        let by_chance: Vec<Fault> = self.script.faults.iter().filter(|(_, how)| how.nth.is_none()).map(|(fault, _)| *fault).collect();
        for fault in by_chance {
            let here = |hit: &Hit| hit.fault == fault && self.script.nodes.contains(&(hit.process as usize));
            let hits: Vec<Hit> = self.hits.iter().copied().filter(here).collect();
            for hit in hits {
                let mut script = self.script.clone();
                if let Some(how) = script.faults.get_mut(&fault) {
                    (how.nth, how.chance, how.most) = (Some((hit.process, hit.nth)), [0, 1], u64::MAX);
                }
                if self.tired() || self.smaller(&script, others.min(4)) {
                    break;
                }
            }
        }
    }

    /// Order constraints.
    fn holds(&mut self) {
        if self.way.policy != PolicySpec::Fifo || self.way.holds.is_empty() {
            return;
        }
        let (script, way) = (self.script.clone(), self.way.clone());
        ddmin(way.holds.clone(), &mut |left: &[Hold]| {
            if self.tired() {
                return false;
            }
            let way = Way { holds: left.to_vec(), ..way.clone() };
            let found = self.attempt(&script, &way);
            found.map(|found| self.accept(found)).is_some()
        });
    }
}
