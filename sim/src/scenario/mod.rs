//! The scenario language: TOML text and `--set` overrides in, one resolved and validated [`Scenario`] out (docs/scenarios.md).
//! It knows nothing of the engine, of time or of chance.

mod error;
mod expr;
mod faults;
mod files;
mod hostile;
mod names;
mod order;
mod read;
mod resolve;
mod set;
mod steps;
mod tree;
mod types;
mod units;
mod workload;

pub use error::ScenarioError;
pub use files::files;
pub use types::{
    Action, Caps, LinkSpec, Loss, Manner, Memory, NodeId, NodeSpec, PipeSpec, PortalId, PortalSpec, Random, Range, Require, Run, Scenario,
    Step, StepId, Swarm, Verbs, Wait, Way,
};

use std::path::Path;

use error::Place;
use set::Override;

impl Scenario {
    /// Reads a scenario file and resolves it. `sets` are `--set key=value` pairs; of two for one value the later wins.
    ///
    /// # Errors
    /// The first thing that is wrong: the file can't be read or is not UTF-8, or whatever [`Scenario::parse`] finds.
    pub fn load(path: &Path, sets: &[(String, String)]) -> Result<Scenario, ScenarioError> {
        Scenario::parse(&path.display().to_string(), &Scenario::read(path)?, sets)
    }

    /// The text of a scenario file.
    ///
    /// # Errors
    /// The file can't be read or is not UTF-8.
    pub fn read(path: &Path) -> Result<String, ScenarioError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            let place = Place { source: tree::source(&name, ""), range: 0..0 };
            place.error(format!("can't read the file: {error}"), "a scenario file")
        })?;
        String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let source = tree::source(&name, &String::from_utf8_lossy(error.as_bytes()));
            Place { source, range: at..at }.error("the file is not UTF-8", "UTF-8 text")
        })
    }

    /// The name of the first node that is loose, if any is.
    pub fn loose(&self) -> Option<&str> {
        self.nodes.iter().find(|node| node.loose.is_some()).map(|node| node.name.as_str())
    }

    /// Resolves the text of a scenario; `name` is what errors call it.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line: no TOML, an unknown key or name, a value of the wrong kind, a portal that never
    /// gets where it is needed, steps that wait for each other, an override that means no value or several.
    pub fn parse(name: &str, text: &str, sets: &[(String, String)]) -> Result<Scenario, ScenarioError> {
        let sets: Vec<Override> = sets.iter().map(|(key, value)| Override::new(key, value)).collect();
        resolve::scenario(&tree::source(name, text), &sets)
    }
}
