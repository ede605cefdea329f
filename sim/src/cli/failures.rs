//! Replay files of seeds that failed.

use std::fs;
use std::path::{Path, PathBuf};

use super::out::tell;
use super::play::{Finding, Gauge, Once, Plan, Played, once};
use crate::replay::{Replay, Text};
use crate::run::RunOptions;

/// Most files of one scenario, as a rule; the first failures say most.
pub const MOST: u64 = 10;

/// Writes replay files.
pub struct Failures<'a> {
    folder: &'a Path,
    most: u64,
    written: u64,
}

impl Failures<'_> {
    /// Into this folder, which is made when it is needed, and at most so many.
    pub fn new(folder: &Path, most: u64) -> Failures<'_> {
        Failures { folder, most, written: 0 }
    }

    /// If the seed violated a property, runs it again with a log and writes what `replay` can read; answers the file. What hinders
    /// that is told, and takes nothing away from the finding.
    pub fn keep(&mut self, plan: &Plan, text: &Text, played: &Played) -> Option<PathBuf> {
        let Finding::Violated(_) = &played.finding else { return None };
        if self.written >= self.most {
            return None;
        }
        self.written += 1;
        let written = write(self.folder, plan, text, played);
        written.map_err(|why| tell(&format!("ipcz-sim: no replay file of seed {}: {why}\n", played.seed))).ok()
    }
}

fn write(folder: &Path, plan: &Plan, text: &Text, played: &Played) -> Result<PathBuf, String> {
    // To its end, even if the sweep is told to stop meanwhile.
    let options = RunOptions { log: true, stop: None, ..plan.options(played.seed) };
    let Once { finding, outcome, .. } = once(&plan.scenario, &options, &Gauge::default());
    let (Finding::Violated(failure), Some(outcome)) = (&finding, outcome) else {
        return Err(format!("run again, it came to \"{}\"", finding.name()));
    };
    let print = played.outcome.as_ref().map(|outcome| outcome.fingerprint);
    if finding != played.finding || print.is_some_and(|print| print != outcome.fingerprint) {
        return Err("run again, it failed otherwise: it is not deterministic".to_owned());
    }
    let log = outcome.log.as_ref().ok_or("it kept no log")?;
    let replay = Replay::new(text, &options, &outcome, log, failure);
    let path = folder.join(replay.file_name());
    let text = replay.text()?;
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, text.as_bytes()));
    written.map_err(|error| format!("can't write {}: {error}", path.display()))?;
    Ok(path)
}
