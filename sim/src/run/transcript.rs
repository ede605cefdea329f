//! The transcript of a run ([`RunOptions::transcript`](super::RunOptions)): handed out piece by piece.

use super::Run;
use crate::trace::{Names, Transcript};

impl Run {
    /// Ends the transcript's step; answers the bytes since the last piece.
    pub fn transcribed(&self) -> usize {
        let (event, time) = (self.events, self.stage.world.now());
        self.stage.world.trace(|trace| {
            trace.transcript().map_or(0, |transcript| {
                transcript.end_step(event, time);
                transcript.size()
            })
        })
    }

    /// The transcript since the last time, up to the end of a step.
    pub fn take_transcript(&self) -> Transcript {
        self.transcribed();
        self.stage.world.trace(|trace| trace.transcript().map(std::mem::take)).unwrap_or_default()
    }

    /// Calls `tell` with who is who.
    pub fn named<R>(&self, tell: impl FnOnce(&Names<'_>) -> R) -> R {
        let holders = |end| self.stage.world.meant(end);
        tell(&Names { processes: &self.outcome.processes, holders: &holders })
    }
}
