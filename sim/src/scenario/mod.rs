//! The scenario language: TOML text and `--set` overrides in, one resolved and validated [`Scenario`] out (docs/scenarios.md).
//! It knows nothing of the engine, of time or of chance.

mod error;
mod types;

pub use error::ScenarioError;
pub use types::{
    Action, Fault, LinkSpec, Memory, NodeId, NodeSpec, PipeSpec, PortalId, PortalSpec, Random, Range, Require, Run, Scenario, Step, StepId,
    Verbs, Wait,
};

impl Scenario {
    /// Reads a scenario file and resolves it. `sets` are `--set key=value` pairs, later ones win.
    pub fn load(path: &std::path::Path, sets: &[(String, String)]) -> Result<Scenario, ScenarioError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Scenario::parse(&name, &text, sets)
    }

    /// Resolves the text of a scenario; `name` is what errors call it.
    pub fn parse(name: &str, text: &str, _sets: &[(String, String)]) -> Result<Scenario, ScenarioError> {
        let source = std::sync::Arc::new(miette::NamedSource::new(name, text.to_owned()));
        Err(error::Place { source, range: 0..0 }.error("not resolved yet", "nothing").help("none"))
    }
}
