//! One run of a scenario: its phases, its verdict. What must be true is known to `ghost/`, what is done to `app/`, what is compared to
//! `check/`.

mod outcome;

pub use outcome::{
    Calls, CheckCount, Failure, GraphData, LinkKind, Outcome, Peaks, Phase, Progress, Recorded, Requirement, RouterKind, RunOptions,
    Traffic, Verdict,
};

use crate::scenario::Scenario;

/// A run that can be taken step by step, and copied at any of them.
pub struct Run {
    outcome: Outcome,
}

impl Run {
    /// Sets the world up; nothing has happened in it yet.
    pub fn new(scenario: &Scenario, options: &RunOptions) -> Run {
        let outcome = Outcome {
            verdict: Verdict::Held,
            seed: options.seed,
            processes: scenario.nodes.iter().map(|node| node.name.clone()).collect(),
            events: 0,
            set_up: Traffic::default(),
            run: Traffic::default(),
            closing: Traffic::default(),
            calls: Calls::default(),
            deliveries: 0,
            bypasses: 0,
            forwarded: 0,
            introductions: 0,
            peaks: Peaks::default(),
            work_ns: 0,
            rest_ns: 0,
            fingerprint: 0,
            delivery_order: 0,
            checks: Vec::new(),
            requirements: Vec::new(),
            graph: GraphData::default(),
            last_messages: Vec::new(),
            recording: Vec::new(),
        };
        Run { outcome }
    }

    /// Carries out one event and what the applications do about it. False once the run is over.
    pub fn step(&mut self) -> bool {
        false
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        Progress { phase: Phase::SetUp, time: 0, events: 0, delivered: 0, calls: 0 }
    }

    /// A copy that would go on exactly as this one.
    pub fn fork(&self) -> Run {
        Run { outcome: self.outcome.clone() }
    }

    /// What it came to, or has come to so far.
    pub fn finish(self) -> Outcome {
        self.outcome
    }
}

/// Runs a scenario to its end.
pub fn run(scenario: &Scenario, options: &RunOptions) -> Outcome {
    run_with(scenario, options, &mut |_| ())
}

/// Runs a scenario to its end and says every few thousand events how far it is.
pub fn run_with(scenario: &Scenario, options: &RunOptions, progress: &mut dyn FnMut(Progress)) -> Outcome {
    let mut run = Run::new(scenario, options);
    while run.step() {
        progress(run.progress());
    }
    run.finish()
}
