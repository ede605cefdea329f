//! The command `ipcz-sim`: what was asked for (`args`), running it (`play`, `pool`, `run`, `sweep`, `replay`, `shrink`, `bench`, `list`, `probes`), telling what came of it
//! (`table`, `json`, `report`, `progress`). Nothing here decides anything about a run: it only chooses scenario and seed and reads the
//! outcome. Wall time, threads and the terminal are known here and nowhere else in the crate. `unix/` takes a scenario to real processes.

mod again;
mod args;
mod bench;
mod exit;
mod failures;
mod json;
mod list;
mod mutants;
mod out;
mod play;
mod pool;
mod probes;
mod progress;
mod replay;
mod report;
mod run;
mod shrink;
mod stopwatch;
mod sweep;
mod table;
mod totals;
mod transcript;
#[cfg(target_os = "linux")]
mod unix;
mod usage;
mod verify;

use std::process::ExitCode;

use clap::Parser;

#[cfg(target_os = "linux")]
use args::World;
use args::{Args, Command};
use exit::Exit;

/// Carries out the command line; answers its exit code (docs/simulator.md).
pub fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Held };
            let printed = error.print().map_err(|error| out::Trouble(format!("can't print: {error}")));
            return done(printed.map(|()| code));
        }
    };
    done(match args.command {
        #[cfg(target_os = "linux")]
        Command::Run(args) if args.driver == World::Unix => unix::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Sweep(args) => sweep::sweep(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Shrink(args) => shrink::shrink(&args),
        Command::Transcript(args) => transcript::transcript(&args),
        Command::List(args) => list::list(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Probes(args) => probes::probes(&args),
        Command::Mutants(args) => mutants::mutants(&args),
        #[cfg(target_os = "linux")]
        Command::UnixNode => unix::node(),
    })
}

fn done(result: Result<Exit, out::Trouble>) -> ExitCode {
    let exit = result.unwrap_or_else(|trouble| {
        out::tell(&format!("ipcz-sim: {}\n", trouble.0));
        Exit::Trouble
    });
    ExitCode::from(exit.code())
}
