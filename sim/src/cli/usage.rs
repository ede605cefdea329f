//! What is wrong with what was asked for, found before anything runs.

use std::fmt;

use ipcz::planted::{CATALOGUE, Planted};
use miette::{MietteHandler, MietteHandlerOpts, ReportHandler};

use crate::scenario::ScenarioError;

/// A scenario's error for people: the lines of the file, what was expected there, advice.
pub fn explain(error: &ScenarioError) -> String {
    struct Shown<'a>(MietteHandler, &'a ScenarioError);
    impl fmt::Display for Shown<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.debug(self.1, f)
        }
    }
    let handler = MietteHandlerOpts::new().terminal_links(false).wrap_lines(false).build();
    let shown = format!("{}\n", Shown(handler, error));
    // What can't be read has no line to point at.
    if shown.contains(error.expected()) { shown } else { format!("{shown}  expected: {}\n", error.expected()) }
}

/// Whether a bug of this name can be armed in this build.
///
/// # Errors
/// There is none of this name, or the build has none: what to do instead.
pub fn plantable(name: &str) -> Result<(), String> {
    Planted::default().arm(name).map_err(|why| {
        if CATALOGUE.iter().all(|fault| fault.name != name) {
            return why;
        }
        let command = format!("cargo run --release -p ipcz-sim --features planted -- run SCENARIO --plant {name}");
        format!("this build has no planted bugs; from a checkout:\n  {command}")
    })
}
