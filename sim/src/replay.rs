//! Replay files: all that a failing run was made of, and what it came to.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::choice::{Log, Source};
use crate::code::Code;
use crate::events::{EventId, Hold};
use crate::fine::{Faults, Fine};
use crate::policy::{Length, Policy, PolicySpec};
use crate::run::{Failure, Outcome, RunOptions};
use crate::scenario::{Scenario, ScenarioError};
use crate::swarm::expand;

/// The format that this code writes and reads.
const FORMAT: u32 = 1;

/// The text that a scenario was read from, and its `--set` values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Text {
    /// What the file was called; for errors only.
    pub file: String,
    /// `key=value`, in their order.
    pub set: Vec<String>,
    /// The file.
    pub text: String,
}

impl Text {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// As [`Scenario::load`].
    pub fn load(path: &Path, sets: &[(String, String)]) -> Result<(Text, Scenario), ScenarioError> {
        let file = path.display().to_string();
        let text = Scenario::read(path)?;
        let scenario = Scenario::parse(&file, &text, sets)?;
        Ok((Text { file, set: sets.iter().map(|(key, value)| format!("{key}={value}")).collect(), text }, scenario))
    }

    /// The scenario.
    ///
    /// # Errors
    /// As [`Scenario::parse`].
    pub fn scenario(&self) -> Result<Scenario, ScenarioError> {
        let sets = self.set.iter().map(|set| set.split_once('=').unwrap_or((set, "")));
        let sets: Vec<_> = sets.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        Scenario::parse(&self.file, &self.text, &sets)
    }
}

/// How the run was made.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct How {
    /// Its seed. A string: a TOML number has 63 bits.
    pub seed: String,
    /// What put the events into their order; of a portfolio, the policy that the seed had.
    pub policy: String,
    /// How many events the policy spread its changes over, if it had to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// Order constraints beside those of the scenario: `X before Y`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<String>,
    /// The planted bug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
    /// Depth L1, if it was that deep. Who went next there is in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine: Option<Deep>,
}

/// What a run at depth L1 was made with, beside decisions.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Deep {
    /// Who went next, if that has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// [`Fine::limit`].
    pub limit: u64,
    /// [`Fine::closing`].
    pub closing: bool,
    /// [`Fine::faults`].
    #[serde(default)]
    pub faults: Faults,
}

/// What the run came to.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// 32 hexadecimal digits.
    pub fingerprint: String,
    /// [`Failure::property`].
    pub property: String,
    /// [`Failure::checker`].
    pub checker: String,
    /// [`Failure::event`].
    pub event: u64,
    /// [`Failure::time`].
    pub virtual_ns: u64,
    /// [`Failure::phase`].
    pub phase: String,
    /// The node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// [`Failure::portal`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub portal: Option<String>,
    /// [`Failure::text`].
    pub text: String,
}

impl Found {
    /// What `outcome`, which ended with `failure`, came to.
    pub fn of(outcome: &Outcome, failure: &Failure) -> Found {
        let node = failure.process.and_then(|at| outcome.processes.get(at as usize)).cloned();
        Found {
            fingerprint: format!("{:032x}", outcome.fingerprint),
            property: failure.property.to_owned(),
            checker: failure.checker.to_owned(),
            event: failure.event,
            virtual_ns: failure.time,
            phase: failure.phase.name().to_owned(),
            node,
            portal: failure.portal.clone(),
            text: failure.text.clone(),
        }
    }
}

/// Where decisions came from.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Decisions {
    /// The seed that names come from, and the scenario's name, which is part of it.
    names: String,
    scenario: String,
    /// As [`Log::text`].
    deviations: String,
}

/// A replay file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    format: u32,
    /// How the run was made.
    pub run: How,
    /// The code that made it.
    pub code: Code,
    /// What it came to.
    pub found: Found,
    decisions: Decisions,
    /// What was run.
    pub scenario: Text,
}

/// What is wrong with a replay file.
#[derive(Debug)]
pub struct Broken(String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const MARK: &str = "# A failing run. Again: cargo run --release -- replay THIS\n";

impl Replay {
    /// Of a run of `text` with `options` that kept a log and failed.
    pub fn new(text: &Text, options: &RunOptions, outcome: &Outcome, log: &Log, failure: &Failure) -> Replay {
        let name = |event: EventId| event.text(&outcome.processes).to_string();
        Replay {
            format: FORMAT,
            run: How {
                seed: options.seed.to_string(),
                policy: options.policy.of_seed(options.seed).to_string(),
                length: outcome.length.map(|length| length.0),
                holds: options.holds.iter().map(|hold| format!("{}{BEFORE}{}", name(hold.before), name(hold.after))).collect(),
                planted: options.planted.clone(),
                fine: options.fine.as_ref().map(|fine| Deep {
                    policy: fine.spec.as_ref().map(|spec| spec.of_seed(options.seed).to_string()),
                    limit: fine.limit,
                    closing: fine.closing,
                    faults: fine.faults,
                }),
            },
            code: Code::this().clone(),
            found: Found::of(outcome, failure),
            decisions: Decisions { names: log.seed.to_string(), scenario: log.scenario.clone(), deviations: log.text() },
            scenario: text.clone(),
        }
    }

    /// The file's text.
    ///
    /// # Errors
    /// What the writer says; it has no reason to.
    pub fn text(&self) -> Result<String, String> {
        let text = toml_edit::ser::to_string_pretty(self).map_err(|error| error.to_string())?;
        Ok(format!("{MARK}{text}"))
    }

    /// From a file's text.
    ///
    /// # Errors
    /// It is no replay file, or one of another format: what was expected where.
    pub fn parse(text: &str) -> Result<Replay, Broken> {
        #[derive(Deserialize)]
        struct Head {
            format: Option<u32>,
        }
        let broken = |error: toml_edit::de::Error| Broken(format!("no replay file: {}", error.to_string().trim_end()));
        let head: Head = toml_edit::de::from_str(text).map_err(broken)?;
        match head.format {
            Some(FORMAT) => (),
            None => return Err(Broken("no replay file: \"format\" is missing".to_owned())),
            Some(other) => return Err(Broken(format!("a replay file of format {other}; this ipcz-sim reads format {FORMAT}"))),
        }
        toml_edit::de::from_str(text).map_err(broken)
    }

    /// What its scenario is run with: everything is decided by its log. The policy proposes as ever, but has no say.
    ///
    /// # Errors
    /// A value that nothing can be run with.
    pub fn options(&self, scenario: &Scenario) -> Result<RunOptions, Broken> {
        let How { policy, length, holds, planted, fine, .. } = &self.run;
        let seed = |name: &str, text: &str| {
            text.parse::<u64>().map_err(|_| Broken(format!("{name} = \"{text}\": expected a whole number below 2^64")))
        };
        let Decisions { names, scenario: name, deviations } = &self.decisions;
        let log = Log::parse(seed("decisions.names", names)?, name, deviations);
        let log = log.map_err(|wrong| Broken(format!("line {} of decisions.deviations: {}", wrong.line, wrong.why)))?;
        let source = Source::replay(&log);
        // The nodes of a random world are in the log.
        let nodes: Vec<String> = expand(scenario, &mut source.clone()).nodes.iter().map(|node| node.name.clone()).collect();
        let policy: PolicySpec = policy.parse().map_err(|bad| Broken(format!("run.policy: {bad}")))?;
        policy.check(&nodes).map_err(|bad| Broken(format!("run.policy: {bad}")))?;
        let hold = |text: &String| -> Result<Hold, String> {
            let (before, after) = text.split_once(BEFORE).ok_or_else(|| format!("\"{text}\": expected \"X{BEFORE}Y\""))?;
            Ok(Hold { before: EventId::parse(before, &nodes)?, after: EventId::parse(after, &nodes)? })
        };
        let holds: Result<Vec<Hold>, String> = holds.iter().map(hold).collect();
        Ok(RunOptions {
            seed: seed("run.seed", &self.run.seed)?,
            source: Some(source),
            planted: planted.clone(),
            fine: fine.as_ref().map(|deep| Fine {
                policy: Policy::Fifo,
                spec: None,
                faults: deep.faults,
                closing: deep.closing,
                limit: deep.limit,
            }),
            // Nothing is spread any more; without a length one would be measured.
            length: Some(Length(length.unwrap_or(1))),
            policy,
            holds: holds.map_err(|wrong| Broken(format!("run.holds: {wrong}")))?,
            ..RunOptions::default()
        })
    }

    /// A name for its file: scenario, property, seed.
    pub fn file_name(&self) -> String {
        let word = |text: &str| -> String {
            let plain: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
            plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
        };
        format!("{}-{}-{}.toml", word(&self.decisions.scenario), word(&self.found.property), self.run.seed)
    }
}

/// Between the two events of a constraint.
const BEFORE: &str = " before ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Phase, Verdict, run};

    macro_rules! file {
        ($name:literal, $($set:literal),*) => {
            Text {
                file: $name.to_owned(),
                set: vec![$($set.to_owned()),*],
                text: include_str!(concat!("../../scenarios/", $name)).to_owned(),
            }
        };
    }

    fn abc() -> Text {
        file!("abc.toml",)
    }

    fn crowd() -> Text {
        file!("crowd.toml", "N=4", "pipes=20", "duration=100ms", "cuts.links=3", "cuts.nodes=1")
    }

    fn worlds() -> [Text; 6] {
        let hands = file!("races/four-hands.toml",);
        [abc(), file!("both-ends-run.toml", "N=8"), file!("loose/a.toml",), crowd(), hands, file!("swarm.toml",)]
    }

    const POLICIES: [&str; 12] =
        ["timed", "fifo", "random", "pct:1", "pct:3", "pctcp:1", "pctcp:3", "pos", "delay:3", "swap", "hold:AcceptParcel", "portfolio"];

    /// The file of a run, whatever it came to.
    fn write(text: &Text, options: &RunOptions, outcome: &Outcome) -> String {
        let made_up = || Failure {
            property: "none",
            checker: "none",
            text: String::new(),
            time: 0,
            event: 0,
            phase: Phase::Done,
            process: None,
            portal: None,
        };
        let failure = if let Verdict::Violated(failure) = &outcome.verdict { *failure.clone() } else { made_up() };
        Replay::new(text, options, outcome, outcome.log.as_ref().unwrap(), &failure).text().unwrap()
    }

    /// Runs, writes a file, reads it and runs it: the two must be one. Answers the verdict.
    #[track_caller]
    fn replayed(text: &Text, options: RunOptions) -> Verdict {
        let scenario = text.scenario().unwrap_or_else(|error| panic!("{error}"));
        let options = RunOptions { log: true, ..options };
        let outcome = run(&scenario, &options);
        let file = write(text, &options, &outcome);
        let replay = Replay::parse(&file).unwrap_or_else(|broken| panic!("{broken}\n{file}"));
        assert_eq!(replay.text().unwrap(), file);
        let scenario = replay.scenario.scenario().unwrap_or_else(|error| panic!("{error}"));
        let options = replay.options(&scenario).unwrap_or_else(|broken| panic!("{broken}\n{file}"));
        let mut again = run(&scenario, &RunOptions { log: true, ..options });
        if outcome.length.is_none() {
            again.length = None;
        }
        if again.fine.turns > 0 {
            // At L1 the log alone says who is next.
            (again.policy, again.length) = (outcome.policy.clone(), outcome.length);
        }
        assert_eq!(again.fingerprint, outcome.fingerprint, "{file}");
        assert_eq!(again, outcome, "{file}");
        outcome.verdict
    }

    fn options(seed: u64, policy: &str, depth: u8) -> RunOptions {
        let policy: PolicySpec = policy.parse().unwrap();
        let fine = (depth == 1).then(|| Fine { spec: Some(policy.clone()), closing: seed.is_multiple_of(2), ..Fine::default() });
        RunOptions { seed, policy, fine, ..RunOptions::default() }
    }

    #[test]
    fn runs_of_every_policy_and_depth_are_had_again() {
        for text in worlds() {
            for policy in POLICIES {
                for (seed, depth) in [(0, 0), (1, 0), (2, 1), (3, 1)] {
                    replayed(&text, options(seed, policy, depth));
                }
            }
        }
    }

    #[test]
    fn failures_of_planted_bugs_are_had_again() {
        for (bug, text) in [
            ("stop-proxying-dropped", abc()),
            ("length-off-by-one", abc()),
            ("disconnection-kept", crowd()),
            ("waiting-forgotten", file!("both-ends-run.toml", "N=8")),
        ] {
            let mut failed = 0;
            for (policy, depth) in [("timed", 0), ("random", 0), ("pctcp:3", 0), ("portfolio", 0), ("timed", 1), ("pctcp:3", 1)] {
                for seed in 0..6 {
                    let options = RunOptions { planted: Some(bug.to_owned()), ..options(seed, policy, depth) };
                    failed += usize::from(matches!(replayed(&text, options), Verdict::Violated(_)));
                }
            }
            assert!(failed > 0, "{bug}");
        }
    }

    #[test]
    fn constraints_and_faults_between_operations_are_had_again() {
        let nodes = ["A", "B", "C"].map(String::from);
        let event = |text| EventId::parse(text, &nodes).unwrap();
        let holds = vec![Hold { before: event("A->C AcceptParcel #1"), after: event("A->B AcceptParcel #1") }];
        for policy in ["timed", "random"] {
            replayed(&abc(), RunOptions { holds: holds.clone(), ..options(3, policy, 0) });
        }
        let faults = Faults { spurious: 3, crash: 60, crashes: 1, flipped: 0 };
        for seed in 0..10 {
            replayed(&worlds()[4], RunOptions { fine: Some(Fine { faults, ..Fine::default() }), ..options(seed, "timed", 1) });
        }
    }

    #[test]
    fn any_text_survives_its_file() {
        let scenario = abc().scenario().unwrap();
        let options = RunOptions { log: true, ..RunOptions::default() };
        let outcome = run(&scenario, &options);
        for text in ["a\r\nb\rc", "'''\"\"\"\\", "\u{7f}\u{1}é\u{2028}", "\n\n", " x = 1 # y "] {
            let odd = Text { file: text.to_owned(), set: vec![format!("x={text}")], text: text.to_owned() };
            let file = write(&odd, &options, &outcome);
            assert_eq!(Replay::parse(&file).unwrap_or_else(|broken| panic!("{broken}\n{file}")).scenario, odd);
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told() {
        let scenario = abc().scenario().unwrap();
        let options = RunOptions { log: true, ..options(7, "random", 1) };
        let good = write(&abc(), &options, &run(&scenario, &options));
        let told = |file: &str| {
            let read = Replay::parse(file).and_then(|replay| replay.options(&scenario));
            read.err().unwrap_or_else(|| panic!("nothing is wrong with\n{file}")).to_string()
        };
        for (from, to, expected) in [
            ("format = 1", "", "\"format\" is missing"),
            ("format = 1", "format = 2", "format 2; this ipcz-sim reads format 1"),
            ("format = 1", "format = 1\nzebra = 1", "zebra"),
            ("seed = \"7\"", "seed = \"-7\"", "run.seed = \"-7\": expected a whole number"),
            ("seed = \"7\"", "", "seed"),
            ("policy = \"random\"", "policy = \"rundom\"", "run.policy: unknown policy \"rundom\""),
            ("policy = \"random\"", "policy = \"hold:node=Z\"", "no node is called \"Z\""),
            ("policy = \"random\"", "policy = \"random\"\nholds = [\"A\"]", "run.holds: \"A\": expected \"X before Y\""),
            ("policy = \"random\"", "policy = \"random\"\nholds = [\"Z op #1 before A op #1\"]", "no node is called \"Z\""),
            ("next/0#", "next/0", "of decisions.deviations: expected SITE/ACTOR#NTH"),
        ] {
            assert!(good.contains(from), "{from}: {good}");
            let error = told(&good.replacen(from, to, 1));
            assert!(error.contains(expected), "{to}: {error}");
        }
        assert!(told("").contains("\"format\" is missing"));
        assert!(told("= 1").contains("no replay file"));
        for end in [0.3, 0.6, 0.9].map(|part| (good.len() as f64 * part) as usize) {
            told(&good[..end]);
        }
    }
}
