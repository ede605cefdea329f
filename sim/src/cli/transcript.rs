//! `transcript`: everything that a run's fingerprint covers, in words.

use super::args::{Setting, TranscriptArgs};
use super::exit::Exit;
use super::out::{Trouble, print, tell};
use super::play::{order, orderable};
use super::usage;
use crate::leaks;
use crate::replay::Text;
use crate::run::{Run, RunOptions};

/// Bytes of transcript that are put into words at once.
const PIECE: usize = 1 << 20;

/// Prints the transcript of the run that `args` name. What the run came to is for `run` to say.
///
/// # Errors
/// Standard output could not be written.
pub fn transcript(args: &TranscriptArgs) -> Result<Exit, Trouble> {
    if let Some(Err(why)) = args.leak.as_deref().map(leaks::arm) {
        tell(&format!("ipcz-sim: --leak: {why}\n"));
        return Ok(Exit::Usage);
    }
    let (_, scenario) = match Text::load(&args.scenario, &Setting::pairs(&args.sets)) {
        Ok(loaded) => loaded,
        Err(error) => {
            tell(&usage::explain(&error));
            return Ok(Exit::Usage);
        }
    };
    if let Err(bad) = orderable(&scenario, &args.policy, args.depth) {
        tell(&format!("ipcz-sim: {}: {bad}\n", args.scenario.display()));
        return Ok(Exit::Usage);
    }
    let (policy, fine) = order(&args.policy, args.depth);
    let options = RunOptions { seed: args.seed, policy, fine, transcript: true, ..RunOptions::default() };
    let mut run = Run::new(&scenario, &options);
    let say = |run: &Run| print(&run.named(|names| run.take_transcript().lines(names)));
    loop {
        // The first time nothing has happened yet but set-up's calls: event 0.
        if run.transcribed() >= PIECE {
            say(&run)?;
        }
        if !run.step() {
            break;
        }
    }
    say(&run)?;
    Ok(Exit::Held)
}
