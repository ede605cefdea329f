//! Replay files: all that a failing run was made of, and what it came to.

use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::choice::{Log, Source};
use crate::code::Code;
use crate::run::{Failure, Outcome, RunOptions};
use crate::scenario::{Scenario, ScenarioError};

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
    /// How finely it was cut into steps.
    pub depth: String,
    /// What put the events into their order.
    pub policy: String,
    /// The planted bug.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<String>,
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
    pub fn of(scenario: &Scenario, outcome: &Outcome, failure: &Failure) -> Found {
        let node = failure.process.and_then(|at| scenario.nodes.get(at as usize)).map(|node| node.name.clone());
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
    pub fn new(text: &Text, scenario: &Scenario, options: &RunOptions, outcome: &Outcome, log: &Log, failure: &Failure) -> Replay {
        Replay {
            format: FORMAT,
            run: How {
                seed: options.seed.to_string(),
                depth: DEPTH.to_owned(),
                policy: POLICY.to_owned(),
                planted: options.planted.clone(),
            },
            code: Code::this().clone(),
            found: Found::of(scenario, outcome, failure),
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
        let replay: Replay = toml_edit::de::from_str(text).map_err(broken)?;
        replay.options()?;
        Ok(replay)
    }

    /// What it is run with: everything is decided by its log.
    ///
    /// # Errors
    /// A value that nothing can be run with.
    pub fn options(&self) -> Result<RunOptions, Broken> {
        let seed = |name: &str, text: &str| {
            text.parse::<u64>().map_err(|_| Broken(format!("{name} = \"{text}\": expected a whole number below 2^64")))
        };
        for (name, said, known) in [("depth", &self.run.depth, DEPTH), ("policy", &self.run.policy, POLICY)] {
            if said != known {
                return Err(Broken(format!("run.{name} = \"{said}\": expected \"{known}\"")));
            }
        }
        let Decisions { names, scenario, deviations } = &self.decisions;
        let log = Log::parse(seed("decisions.names", names)?, scenario, deviations);
        let log = log.map_err(|wrong| Broken(format!("line {} of decisions.deviations: {}", wrong.line, wrong.why)))?;
        Ok(RunOptions {
            seed: seed("run.seed", &self.run.seed)?,
            source: Some(Source::replay(&log)),
            planted: self.run.planted.clone(),
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

const DEPTH: &str = "L0";
const POLICY: &str = "timed";
