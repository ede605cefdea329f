//! What is wrong with a scenario, and where.

use std::ops::Range;
use std::sync::Arc;

use miette::{Diagnostic, NamedSource, SourceSpan};

/// A text that values come from: the scenario file, or one `--set`.
pub(super) type Source = Arc<NamedSource<String>>;

/// Where a value stands: a byte range of a source.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub source: Source,
    pub range: Range<usize>,
}

impl Place {
    /// Line it begins on, from 1.
    pub fn line(&self) -> usize {
        let text = self.source.inner().as_bytes();
        1 + text[..self.range.start.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
    }

    /// The error `message` at this place, where `expected` should have stood.
    pub fn error(&self, message: impl Into<String>, expected: impl Into<String>) -> ScenarioError {
        ScenarioError {
            message: message.into(),
            expected: expected.into(),
            help: None,
            line: self.line(),
            span: (self.range.start, self.range.len()).into(),
            source_code: self.source.clone(),
        }
    }
}

/// Why a scenario can't be run: what is wrong, where, what was expected there and what may help.
#[derive(Clone, Debug, thiserror::Error, Diagnostic)]
#[error("{}:{line}: {message}", source_code.name())]
pub struct ScenarioError {
    message: String,
    expected: String,
    #[help]
    help: Option<String>,
    line: usize,
    #[label("{expected}")]
    span: SourceSpan,
    #[source_code]
    source_code: Source,
}

impl ScenarioError {
    /// Adds advice.
    pub(super) fn help(mut self, help: impl Into<String>) -> ScenarioError {
        self.help = Some(help.into());
        self
    }

    /// Name of the file, or the `--set` argument, that is wrong.
    pub fn file(&self) -> &str {
        self.source_code.name()
    }

    /// Line of it, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What was expected there.
    pub fn expected(&self) -> &str {
        &self.expected
    }

    /// Advice, if there is any.
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }
}
