//! The part of a run at depth L1: from where it begins to rest.

use super::{LOOK_AT_ALL_TURNS, Phase, Run, RunOptions, run};
use crate::app::{Plan, Threads};
use crate::check::{Checked, Scope, Violation};
use crate::choice::Source;
use crate::fine::{Counts, Engine, Fine, Turned};
use crate::policy::{Length, Policy, PolicySpec};
use crate::scenario::Scenario;

/// When a run goes down to depth L1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Descent {
    /// Not any more, or not at all.
    Never,
    /// When set-up is over.
    AfterSetUp,
    /// When a step is due.
    AtStep,
    /// Now.
    Due,
    /// It is there.
    Down,
}

impl Descent {
    /// Of a run with these options; `from`: the step at which the scenario wants it.
    pub fn of(options: &RunOptions, from: Option<&str>, plan: &mut Plan) -> Descent {
        match (&options.fine, from) {
            (None, _) => Descent::Never,
            (Some(_), Some(step)) if plan.hold(step) => Descent::AtStep,
            (Some(_), _) => Descent::AfterSetUp,
        }
    }
}

impl Run {
    /// Goes to where depth L1 begins; false if the run is over before. There it can be copied ([`Run::fork`]).
    pub fn go_to_fine(&mut self) -> bool {
        while self.descent != Descent::Due && self.descent != Descent::Never {
            if self.descent == Descent::AtStep && self.plan.is_held() {
                self.descent = Descent::Due;
            } else if !self.step() {
                return false;
            }
        }
        self.descent == Descent::Due
    }

    /// Whether it is at depth L1.
    pub fn is_fine(&self) -> bool {
        self.engine.is_some() || self.descent == Descent::Due
    }

    /// Whether everything is closed at the end ([`Fine::closing`](crate::fine::Fine)).
    pub fn close_at_end(&mut self, closing: bool) {
        if let Some(fine) = &mut self.options.fine {
            fine.closing = closing;
        }
    }

    /// From here on other decisions are taken.
    pub fn decide_by(&mut self, seed: u64, source: Source) {
        self.options.seed = seed;
        self.outcome.seed = seed;
        self.stage.world.set_source(source);
    }

    /// From where depth L1 begins on this policy says who is next.
    pub fn rule_by(&mut self, policy: PolicySpec) {
        if let Some(fine) = &mut self.options.fine {
            fine.spec = Some(policy);
        }
    }

    /// What was done at depth L1 so far.
    pub fn fine(&self) -> Counts {
        self.engine.as_ref().map_or(self.outcome.fine, |engine| engine.counts)
    }

    /// One step at depth L1; false if the run is not that deep.
    pub(super) fn descend(&mut self) -> Checked<bool> {
        match self.descent {
            Descent::Never | Descent::AfterSetUp => return Ok(false),
            Descent::AtStep => {
                if !self.plan.is_held() {
                    return Ok(false);
                }
                self.descent = Descent::Due;
            }
            Descent::Due => {
                self.descent = Descent::Down;
                self.go_down()?;
            }
            Descent::Down => self.turn()?,
        }
        Ok(true)
    }

    fn go_down(&mut self) -> Checked {
        if let Some(node) = self.scenario.loose() {
            return Err(Violation::new("scenario", "loose nodes are played at depth L0 only", format!("{node} is loose")));
        }
        let mut fine = self.options.fine.clone().unwrap_or_default();
        if let Some(spec) = &fine.spec {
            let policy = spec.of_seed(self.options.seed);
            let names: Vec<String> = self.scenario.nodes.iter().map(|node| node.name.clone()).collect();
            let length = self.options.length.unwrap_or(Length(1));
            let built = policy.build(&names, length);
            let built = built.map_err(|bad| Violation::new("policy", "the policy is one for this scenario", bad.to_string()))?;
            fine.policy = built.unwrap_or_default();
            self.outcome.length = policy.needs_length().then_some(length);
            self.outcome.policy = if policy == PolicySpec::Timed { PolicySpec::Fifo } else { policy };
        } else {
            self.outcome.policy = if matches!(fine.policy, Policy::Fifo) { PolicySpec::Fifo } else { PolicySpec::Random };
        }
        self.engine = Some(Box::new(Engine::new(&fine)));
        self.stage.threads = Some(Threads::default());
        self.outcome.last_proxy = None;
        if self.phase == Phase::SetUp {
            self.work()?;
            self.stage.world.forget_time();
            return Ok(());
        }
        self.stage.world.forget_time();
        self.plan.release_held(&mut self.stage)?;
        self.react()
    }

    fn turn(&mut self) -> Checked {
        let Some(engine) = &mut self.engine else { return Ok(()) };
        // Nothing strikes where nothing may.
        let armed = self.stage.world.state().faults.armed();
        let turned = loop {
            let turned = engine.turn(&mut self.stage)?;
            if armed && self.stage.suffer() {
                engine.bury(&mut self.stage);
            }
            if turned != Turned::Stopped {
                break turned;
            }
        };
        match turned {
            Turned::Stopped => (),
            Turned::Began => return self.watched(),
            Turned::Over => (),
            Turned::Token(token) => {
                self.turns += 1;
                self.token(token)?;
                if let Some(engine) = &mut self.engine {
                    engine.bury(&mut self.stage);
                }
            }
            Turned::Rest => return self.come_up(),
        }
        self.events += 1;
        if self.events.is_multiple_of(LOOK_AT_ALL_TURNS) {
            self.look_at_all(Scope::Links)?;
        }
        if self.stage.cuts > 0 {
            self.stage.mark(None);
        }
        self.watched()?;
        self.react()
    }

    /// Everything is at rest: from here on it is L0 again, whose next step finds that out, and checks it.
    fn come_up(&mut self) -> Checked {
        self.outcome.fine = self.fine();
        self.engine = None;
        self.stage.threads = None;
        self.descent = Descent::Never;
        self.latest = self.stage.world.now();
        self.settle()
    }
}

/// About how many turns of a run at depth L1 a policy has a say in: a quarter more than seed 1 takes in random order.
pub fn measure_fine(scenario: &Scenario, fine: &Fine) -> Length {
    let fine = Fine { spec: Some(PolicySpec::Random), ..fine.clone() };
    let outcome = run(scenario, &RunOptions { recent: 0, fine: Some(fine), ..RunOptions::default() });
    Length((outcome.fine.choices + outcome.fine.choices / 4).max(1))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::run::Verdict;

    #[test]
    fn a_lock_that_is_never_given_back_is_told_with_who_waits_for_it() {
        let text = include_str!("../../../scenarios/races/four-hands.toml");
        let scenario = Scenario::parse("four-hands.toml", text, &[]).unwrap();
        let mut run = Run::new(&scenario, &RunOptions { fine: Some(Fine::default()), ..RunOptions::default() });
        assert!(run.go_to_fine());
        let middle = Arc::clone(run.stage.world.process(0).unwrap());
        middle.inspect(|_| while run.step() {});
        let Verdict::Violated(failure) = run.finish().verdict else { panic!("it came to rest") };
        assert!(failure.text.contains("the application of process 0 waits for the lock of process 0"), "{}", failure.text);
    }
}
