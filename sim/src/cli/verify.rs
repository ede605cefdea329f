//! Two runs at once, compared record by record: the second one follows the first, on a thread of its own, so that threads, stacks,
//! allocations and moments differ between them as much as they can in one process.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use ipcz_reports::format::time;

use crate::run::Run;
use crate::trace::{Parting, Transcript};

/// Bytes of a piece of transcript, at least.
const PIECE: usize = 64 << 10;
/// Pieces that the first run may be ahead.
const AHEAD: usize = 64;

/// What a run that is compared with another one does after each step.
pub enum Side {
    /// Tells its transcript; nobody listens any more after a difference.
    First(Option<SyncSender<Transcript>>),
    /// Listens until a difference is found.
    Second(Option<Receiver<Transcript>>, Option<String>),
}

impl Side {
    /// The two sides of a comparison.
    pub fn pair() -> (Side, Side) {
        let (tell, hear) = sync_channel(AHEAD);
        (Side::First(Some(tell)), Side::Second(Some(hear), None))
    }

    /// A step is over.
    pub fn stepped(&mut self, run: &Run) {
        if run.transcribed() >= PIECE {
            self.compare(run);
        }
    }

    /// The run is over.
    pub fn ended(&mut self, run: &Run) {
        self.compare(run);
        if let Side::Second(Some(_), _) = self {
            // If the first one goes on, then there is another piece.
            self.compare(run);
        }
    }

    /// What the second side has found.
    pub fn found(self) -> Option<String> {
        match self {
            Side::First(_) => None,
            Side::Second(_, found) => found,
        }
    }

    fn compare(&mut self, run: &Run) {
        let mine = run.take_transcript();
        match self {
            Side::First(tell) => {
                if tell.as_ref().is_some_and(|to| to.send(mine).is_err()) {
                    *tell = None;
                }
            }
            Side::Second(hear, found) => {
                let Some(from) = hear else { return };
                let first = from.recv().unwrap_or_default();
                if let Some(parting) = run.named(|names| first.parting(&mine, names)) {
                    *found = Some(told(&parting));
                    *hear = None;
                }
            }
        }
    }
}

/// A parting in one line.
fn told(parting: &Parting) -> String {
    let Parting { event, time: at, cause, records } = parting;
    let cause = cause.as_ref().map(|cause| format!(", after {cause}")).unwrap_or_default();
    let [one, two] = records.each_ref().map(|record| record.as_deref().unwrap_or("nothing more"));
    format!("first differing event: #{event}, {} since the world began{cause}: run 1: {one}; run 2: {two}", time(*at))
}
