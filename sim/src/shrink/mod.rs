//! Makes a failing run small: its workload is written down without chance, moved to an order that is written down too, and then
//! everything is left out without which it still fails in the same way.

mod ddmin;
mod fewer;
mod reduce;
mod script;
#[cfg(test)]
mod tests;
mod text;

use crate::choice::Source;
use crate::events::Hold;
use crate::fault::Hit;
use crate::fine::Fine;
use crate::policy::{Length, Policy, PolicySpec};
use crate::run::{Failure, Outcome, RunOptions, Verdict, run};
use crate::scenario::Scenario;
use crate::swarm::expand;

pub use ddmin::ddmin;
pub use fewer::{Fewer, fewer};
use script::{Script, Verb};

/// What stays the same while a failure is made smaller.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// [`Failure::property`].
    pub property: String,
    /// [`Failure::checker`].
    pub checker: String,
    /// The kind of node that it is about, if it is about one.
    pub node: Option<&'static str>,
    /// The kind of portal likewise.
    pub portal: Option<&'static str>,
}

impl Signature {
    /// Of a failure of a run of this scenario.
    pub fn of(scenario: &Scenario, failure: &Failure) -> Signature {
        let node = failure.process.and_then(|at| scenario.nodes.get(at as usize)).map(|node| if node.broker { "broker" } else { "client" });
        let portal = failure.portal.as_deref().and_then(pipe_number).map(|pipe| match pipe {
            pipe if pipe < scenario.connects.len() => "connection",
            pipe if pipe < scenario.connects.len() + scenario.pipes.len() => "set-up",
            _ => "opened",
        });
        Signature { property: failure.property.to_owned(), checker: failure.checker.to_owned(), node, portal }
    }
}

/// The number in `q (pipe 7 end 1)`.
fn pipe_number(portal: &str) -> Option<usize> {
    portal.rsplit_once("pipe ")?.1.split(' ').next()?.parse().ok()
}

/// What decides how a script is run.
#[derive(Clone, Debug)]
pub struct Way {
    /// What orders events; together with `holds` only `fifo`.
    pub policy: PolicySpec,
    /// The seed.
    pub seed: u64,
    /// Order constraints; nodes are those of the first scenario.
    pub holds: Vec<Hold>,
    /// Depth L1.
    pub fine: Option<Fine>,
}

/// How big a failing run is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Sizes {
    /// Nodes.
    pub nodes: usize,
    /// Pipes: those of the set-up and those that are opened, connections not.
    pub pipes: usize,
    /// Operations after set-up, cuts not.
    pub operations: usize,
    /// Cuts, kinds of faults that may strike, and a message that is dropped.
    pub faults: usize,
    /// What is not in the default order: constraints, or decisions.
    pub deviations: usize,
    /// Events.
    pub events: u64,
}

/// What a run came to.
pub struct Ran {
    /// The property that did not hold; a panic is one.
    pub failure: Option<Failure>,
    /// The rest, unless it panicked.
    pub outcome: Option<Outcome>,
}

/// Runs a scenario. A panic goes through.
pub fn plainly(scenario: &Scenario, options: &RunOptions) -> Ran {
    let outcome = run(scenario, options);
    let failure = match &outcome.verdict {
        Verdict::Violated(failure) => Some((**failure).clone()),
        _ => None,
    };
    Ran { failure, outcome: Some(outcome) }
}

/// A small failing run.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What stayed the same.
    pub signature: Signature,
    /// What it came to in words.
    pub text: String,
    /// How big the first run was.
    pub before: Sizes,
    /// How big this one is.
    pub after: Sizes,
    /// How it is run.
    pub way: Way,
    /// The scenario file.
    pub toml: String,
    /// The same as a test.
    pub test: String,
    /// Runs that it took.
    pub runs: u64,
    /// Whether it stopped because nothing more could be left out, rather than because that was `enough`.
    pub complete: bool,
}

/// Why nothing came of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unshrunk {
    /// The run held.
    #[error("the run does not fail: there is nothing to shrink")]
    Holds,
    /// Without chance in its workload it does not fail, in any of the orders that were tried.
    #[error("with its workload written down it did not fail in the same way in {0} runs; a longer budget may help")]
    Lost(u64),
}

/// Makes the failing run of `scenario` with `options` small. `runner` runs; `enough` is asked, with the number of runs so far, whether
/// to stop.
///
/// # Errors
/// It does not fail, or not without chance.
pub fn shrink(
    scenario: &Scenario,
    options: &RunOptions,
    runner: &mut dyn FnMut(&Scenario, &RunOptions) -> Ran,
    enough: &mut dyn FnMut(u64) -> bool,
) -> Result<Shrunk, Unshrunk> {
    let source = options.source.clone().unwrap_or_else(|| Source::seeded(options.seed, &scenario.name));
    let scenario = &*expand(scenario, &mut source.clone());
    let options = &RunOptions { source: Some(source), ..options.clone() };
    let first = runner(scenario, &RunOptions { acts: true, log: true, record_order: true, ..options.clone() });
    let Some(failure) = first.failure else { return Err(Unshrunk::Holds) };
    let outcome = first.outcome.ok_or(Unshrunk::Lost(1))?;
    let signature = Signature::of(scenario, &failure);
    let script = Script::of(scenario, &outcome.acts);
    let before = sizes(&script, deviations(&outcome), outcome.events);
    let length = Length(outcome.events.max(1));
    let holds: Vec<Hold> = scenario.holds.iter().chain(&options.holds).copied().collect();
    let policy = match options.policy.of_seed(options.seed) {
        PolicySpec::Timed if !holds.is_empty() => PolicySpec::Fifo,
        policy => policy,
    };
    // A log decides in a replay; without it somebody must.
    let fine = options.fine.clone().map(|fine| Fine { policy: Policy::Random, ..fine });
    let mut lab = Lab {
        runner,
        enough,
        runs: 1,
        signature,
        planted: options.planted.clone(),
        length,
        script,
        way: Way { policy, seed: options.seed, holds, fine },
        text: failure.text,
        sizes: before,
        hits: outcome.hits.clone(),
    };
    lab.begin(&outcome)?;
    let complete = lab.reduce();
    let purpose = format!("shrunk: {}", lab.signature.property).replace(['"', '\\', '{', '}'], "'");
    let toml = text::toml(&lab.script, &lab.way.holds, &purpose);
    let toml = format!("{}{toml}", lab.heading(&before));
    let name: String =
        lab.signature.property.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect();
    let test = text::test(&toml, &lab.signature, &lab.way, lab.planted.as_deref(), &format!("shrunk_{name}"));
    Ok(Shrunk { signature: lab.signature, text: lab.text, before, after: lab.sizes, way: lab.way, toml, test, runs: lab.runs, complete })
}

fn sizes(script: &Script, deviations: usize, events: u64) -> Sizes {
    let opened = script.ops.iter().filter(|op| matches!(op.verb, Verb::Open { .. })).count();
    let faults = script.ops.iter().filter(|op| op.verb.is_cut()).count();
    Sizes {
        nodes: script.nodes.len(),
        pipes: script.known.len() + opened,
        operations: script.ops.len() - faults,
        faults: faults + usize::from(script.drop) + script.faults.len(),
        deviations,
        events,
    }
}

/// What a run did out of its default order.
fn deviations(outcome: &Outcome) -> usize {
    match (&outcome.order, &outcome.log) {
        (Some(order), _) => order.recorded.len(),
        (None, log) => log.as_ref().map_or(0, |log| log.deviations.len()),
    }
}

/// Where scripts are tried.
struct Lab<'a> {
    runner: &'a mut dyn FnMut(&Scenario, &RunOptions) -> Ran,
    enough: &'a mut dyn FnMut(u64) -> bool,
    runs: u64,
    signature: Signature,
    planted: Option<String>,
    length: Length,
    /// The smallest so far that fails, how it is run, and what that came to.
    script: Script,
    way: Way,
    text: String,
    sizes: Sizes,
    /// The faults that struck in it; processes by their numbers in the first scenario.
    hits: Vec<Hit>,
}

/// A script that failed.
struct Found {
    script: Script,
    way: Way,
    text: String,
    sizes: Sizes,
    hits: Vec<Hit>,
    /// The constraints that lead to this order, unless it was timed.
    order: Vec<Hold>,
}

impl Lab<'_> {
    fn tired(&mut self) -> bool {
        (self.enough)(self.runs)
    }

    /// Runs a script; none if it does not fail as the first run did.
    fn attempt(&mut self, script: &Script, way: &Way) -> Option<Found> {
        let toml = text::toml(script, &way.holds, "shrunk");
        let scenario = Scenario::parse("shrunk.toml", &toml, &[]).ok()?;
        let options = RunOptions {
            seed: way.seed,
            planted: self.planted.clone(),
            recent: 0,
            log: true,
            fine: way.fine.clone(),
            policy: way.policy.clone(),
            length: Some(self.length),
            record_order: true,
            ..RunOptions::default()
        };
        self.runs += 1;
        let ran = (self.runner)(&scenario, &options);
        let failure = ran.failure.filter(|failure| Signature::of(&scenario, failure) == self.signature)?;
        if self.planted.is_some() {
            // Only what the bug does is of interest.
            self.runs += 1;
            let innocent = (self.runner)(&scenario, &RunOptions { planted: None, ..options });
            if innocent.failure.is_some() {
                return None;
            }
        }
        let nodes: Vec<u32> = script.nodes.iter().map(|node| *node as u32).collect();
        let outcome = ran.outcome;
        let recorded = outcome.as_ref().and_then(|outcome| outcome.order.as_ref()).map(|order| order.recorded.clone()).unwrap_or_default();
        let order = recorded.into_iter().map(|hold| named(hold, &nodes)).collect();
        let deviations = match outcome.as_ref().and_then(|outcome| outcome.order.as_ref()) {
            Some(_) if way.policy == PolicySpec::Fifo => way.holds.len(),
            _ => outcome.as_ref().map_or(0, deviations),
        };
        let sizes = sizes(script, deviations, failure.event);
        let first = |process: u32| nodes.get(process as usize).copied().unwrap_or(process);
        let hits = outcome.iter().flat_map(|outcome| &outcome.hits).map(|hit| Hit { process: first(hit.process), ..*hit }).collect();
        Some(Found { script: script.clone(), way: way.clone(), text: failure.text, sizes, hits, order })
    }

    fn accept(&mut self, found: Found) {
        (self.script, self.way, self.text, self.sizes, self.hits) = (found.script, found.way, found.text, found.sizes, found.hits);
        self.length = Length(self.sizes.events.max(1));
    }

    /// Tries a script as the last one was run, without order constraints, and in so many other orders; keeps it if it fails.
    fn try_hard(&mut self, script: &Script, others: u64) -> bool {
        let way = self.way.clone();
        if let Some(found) = self.attempt(script, &way) {
            self.accept(found);
            return true;
        }
        // Number 0 is no other way if it is the way so far.
        let plain = way.fine.is_none() && way.policy == PolicySpec::Fifo && way.holds.is_empty();
        for number in u64::from(plain)..others {
            if self.tired() {
                return false;
            }
            let Some(found) = self.attempt(script, &self.other(number)) else { continue };
            let found = self.pinned(found);
            self.accept(found);
            return true;
        }
        false
    }

    /// One of the other ways to run something: plain ones first.
    fn other(&self, number: u64) -> Way {
        if self.way.fine.is_some() {
            return Way { seed: number + 1, ..self.way.clone() };
        }
        let policies = [
            PolicySpec::Fifo,
            PolicySpec::Random,
            PolicySpec::Timed,
            PolicySpec::Pctcp(3),
            PolicySpec::Random,
            PolicySpec::Pct(3),
            PolicySpec::Delay(2),
            PolicySpec::Swap,
            PolicySpec::Pos,
        ];
        let policy = match number {
            0 => PolicySpec::Fifo,
            // Each seed of these is another run.
            _ => policies[1 + (number - 1) as usize % (policies.len() - 1)].clone(),
        };
        Way { policy, seed: number + 1, holds: Vec::new(), fine: None }
    }

    /// The same under `fifo` with order constraints, if it was ordered by a policy.
    fn pinned(&mut self, found: Found) -> Found {
        if matches!(found.way.policy, PolicySpec::Timed | PolicySpec::Fifo) {
            return found;
        }
        let way = Way { policy: PolicySpec::Fifo, holds: found.order.clone(), ..found.way.clone() };
        self.attempt(&found.script, &way).unwrap_or(found)
    }

    /// What stands above the scenario.
    fn heading(&self, before: &Sizes) -> String {
        let Sizes { nodes, pipes, operations, faults, deviations, .. } = self.sizes;
        let place = [self.signature.node, self.signature.portal].into_iter().flatten().collect::<Vec<_>>().join(", ");
        let place = if place.is_empty() { String::new() } else { format!(", {place}") };
        let planted = self.planted.as_ref().map(|bug| format!("# Planted: {bug}\n")).unwrap_or_default();
        format!(
            "# {} ({}{place})\n{planted}# {nodes} of {} nodes, {pipes} of {} pipes, {operations} of {} operations, {faults} of {} faults, {deviations} of {} deviations\n",
            self.signature.property,
            self.signature.checker,
            before.nodes,
            before.pipes,
            before.operations,
            before.faults,
            before.deviations
        )
    }
}

/// An order constraint with processes by their numbers in the first scenario.
fn named(hold: Hold, nodes: &[u32]) -> Hold {
    let node = |at: u32| nodes.get(at as usize).copied().unwrap_or(at);
    let event = |mut event: crate::events::EventId| {
        (event.from, event.to) = (node(event.from), node(event.to));
        event
    };
    Hold { before: event(hold.before), after: event(hold.after) }
}
