//! How a run ends: the checks at rest, closing everything and looking for what is left, or a failure.

use ipcz::inspect::Totals;

use super::{Failure, Phase, Run, Verdict, config, stall};
use crate::app::Act;
use crate::check::{Checked, Reached, Scope, Snapshot, Violation, requirements};
use crate::ghost::EndId;
use crate::leaks;

/// Requirements that hang on how long things take beside each other: without time nobody can demand them.
const MATTERS_OF_TIME: [&str; 3] = ["proxies_peak", "forwarded", "messages_max"];
const ACCEPT_INTRODUCTION: u8 = 11;

impl Run {
    /// Everything is at rest: what must be true now?
    pub(super) fn rest(&mut self) -> Checked {
        self.liveness.count();
        self.outcome.rest_ns = self.latest.saturating_sub(self.start);
        self.outcome.undone = self.plan.waiting();
        self.after = Some(config::traffic(&self.stage.world));
        let snapshot = Snapshot::of(&self.stage.world, false);
        let stage = &mut self.stage;
        for process in 0..stage.world.processes() {
            if let Some(body) = stage.world.process(process) {
                let steps = &mut stage.checks.steps;
                body.inspect(|view| steps.nodes(process, view))?;
            }
        }
        let stale = stage.world.trace(|trace| trace.totals().stale);
        stage.checks.honesty.stale(stale)?;
        let closed_twice = stage.world.trace(|trace| trace.totals().closed_twice);
        stage.checks.honesty.closed_twice(closed_twice)?;
        stage.checks.honesty.rest(&snapshot, &stage.names)?;
        // After those who say why they refused.
        stage.checks.honesty.refused(&stage.world.refusals())?;
        stage.checks.hostility.rest(&stage.world, &stage.ghost)?;
        if stage.checks.hostility.any() {
            let honest = snapshot.alive().filter(|(process, _)| !stage.checks.hostility.is(*process));
            self.outcome.blames = honest.flat_map(|(_, sight)| sight.blames.iter().map(|(_, _, reason)| reason.clone())).collect();
        }
        stage.checks.broken.rest(&stage.ghost)?;
        stage.checks.closure.rest(&stage.ghost)?;
        stage.checks.delivery.rest(&stage.ghost)?;
        stage.checks.shape.rest(&stage.ghost, &snapshot)?;
        if !stage.checks.honesty.any_lie() {
            stage.checks.routes.look(&stage.ghost, &snapshot, Scope::Rest)?;
        }
        if stage.cuts == 0 && !stage.checks.hostility.any() && !self.plan.is_done() && !self.scenario.run.partial {
            return Err(self.stalled("steps wait for what will never happen"));
        }
        self.count_up();
        let reached = Reached {
            struck: self.stage.world.struck(),
            told: self.stage.world.lies_told(),
            delivered: self.stage.deliveries,
            bypasses: self.outcome.bypasses,
            proxies_peak: self.outcome.peaks.proxies,
            forwarded: self.outcome.forwarded,
            introductions: self.outcome.introductions,
            closed: self.stage.closures,
            messages: self.outcome.run.messages,
            probes: self.outcome.probes,
        };
        self.outcome.requirements = requirements(&self.scenario, &reached, &self.plan.ends, &self.stage.ghost, &snapshot);
        if self.scheduled {
            self.outcome.requirements.retain(|requirement| !MATTERS_OF_TIME.contains(&requirement.name));
        }
        if self.options.graph {
            self.outcome.graph = snapshot.graph().data(&snapshot);
        }
        if self.options.fine.as_ref().is_some_and(|fine| !fine.closing) {
            self.counted = true;
            return self.judge();
        }
        self.keep_acts();
        self.phase = Phase::Closing;
        self.closing = true;
        self.half_closed = true;
        self.close(EndId::is_first)
    }

    /// What was done until now is all that counts.
    pub(super) fn keep_acts(&mut self) {
        let start = self.start;
        let Some(acts) = self.stage.acts.take() else { return };
        self.outcome.ends = self.plan.ends.clone();
        self.outcome.acts.extend(acts.into_iter().map(|act| Act { at_ns: act.at_ns - start, ..act }));
    }

    /// The applications close what they hold of these ends.
    pub(super) fn close(&mut self, which: impl Fn(EndId) -> bool) -> Checked {
        self.allow();
        self.stage.close_strays()?;
        for process in 0..self.stage.homes.len() {
            let held: Vec<_> = self.stage.homes[process].all().filter(|end| which(*end)).collect();
            let held = leaks::through_a_map(held);
            for end in held {
                self.stage.close(end)?;
            }
        }
        self.watched()?;
        self.react()
    }

    /// One end of every pipe was closed, and everything is at rest again: the other ends know. Then they are closed too.
    pub(super) fn peers_told(&mut self) -> Checked {
        self.half_closed = false;
        self.stage.catch_up()?;
        self.stage.checks.closure.rest(&self.stage.ghost)?;
        self.close(|_| true)
    }

    pub(super) fn leaks(&mut self) -> Checked {
        let snapshot = Snapshot::of(&self.stage.world, true);
        let stage = &mut self.stage;
        stage.checks.honesty.rest(&snapshot, &stage.names)?;
        stage.checks.leaks.rest(&stage.ghost, &snapshot, &stage.checks.shape.suspects)?;
        self.judge()
    }

    /// Every property held; were the requirements met?
    pub(super) fn judge(&mut self) -> Checked {
        let unmet: Vec<_> = self.outcome.requirements.iter().filter(|requirement| !requirement.met).cloned().collect();
        self.outcome.verdict = if unmet.is_empty() { Verdict::Held } else { Verdict::Unmet(unmet) };
        self.phase = Phase::Done;
        Ok(())
    }

    pub(super) fn stalled(&self, what: &str) -> Box<Violation> {
        let due = if self.scheduled {
            format!("rest was due with event {}", self.deadline)
        } else {
            format!("rest was due {} ns after set-up", self.deadline.saturating_sub(self.start))
        };
        stall::describe(what, &self.stage, &self.plan, &due)
    }

    pub(super) fn fail(&mut self, violation: Violation) {
        let Violation { checker, property, text, process, end } = violation;
        let portal = end.map(|end| match self.plan.name(end) {
            Some(name) => format!("{name} ({end})"),
            None => end.to_string(),
        });
        let time = if self.phase == Phase::SetUp { 0 } else { self.stage.world.now().saturating_sub(self.start) };
        let failure = Failure { property, checker, text, time, event: self.events, phase: self.phase, process, portal };
        self.outcome.verdict = Verdict::Violated(Box::new(failure));
        let snapshot = Snapshot::of(&self.stage.world, false);
        self.outcome.graph = snapshot.graph().data(&snapshot);
        self.phase = Phase::Done;
    }

    /// Running totals of all processes, dead ones too.
    pub(super) fn totals(&self) -> Totals {
        let alive = (0..self.stage.world.processes()).filter_map(|process| self.stage.world.process(process));
        // Who stands in the middle of an input of depth L1 can't be asked.
        let alive = alive.filter(|body| !body.is_busy());
        let mut totals = self.stage.lost_totals;
        alive.for_each(|body| body.inspect(|view| view.add_totals(&mut totals)));
        totals
    }

    /// Fills in what is counted.
    pub(super) fn count_up(&mut self) {
        let now = config::traffic(&self.stage.world);
        let (before, totals_before) = &self.before;
        let totals = self.totals();
        let outcome = &mut self.outcome;
        if self.start == 0 && self.phase <= Phase::SetUp {
            outcome.set_up = now;
        } else {
            let after = self.after.as_ref().unwrap_or(&now);
            outcome.set_up = *before;
            outcome.run = after.since(before);
            outcome.closing = now.since(after);
            outcome.bypasses = totals.bypasses.saturating_sub(totals_before.bypasses);
            outcome.forwarded = totals.forwarded.saturating_sub(totals_before.forwarded);
            outcome.answers = totals.answers.saturating_sub(totals_before.answers);
            outcome.introductions = outcome.run.by_id[usize::from(ACCEPT_INTRODUCTION)] / 2;
            outcome.set_up_ns = self.start;
            outcome.work_ns = self.worked.saturating_sub(self.start);
        }
        if !self.closing {
            outcome.probes = totals.probes;
            outcome.calls = self.stage.calls;
            outcome.deliveries = self.stage.deliveries;
            outcome.delivery_order = self.stage.order;
        }
    }
}
