//! The command line. Its help teaches by example.

use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand, ValueEnum};

use crate::policy::PolicySpec;

const EXAMPLES: &str = "\
Examples:
  ipcz-sim list                                        what there is to run
  ipcz-sim run scenarios/relay-chain.toml              one run, seed 1
  ipcz-sim run scenarios/relay-chain.toml --seed 7     another one
  ipcz-sim run scenarios/*.toml --seeds 0..64 --jobs 2 many
  ipcz-sim sweep scenarios/abc.toml --seeds 0..1000000 very many: it can be interrupted, and goes on
  ipcz-sim bench crowd                                 how fast it is here

From a checkout, `cargo run --release --` stands for `ipcz-sim`.";

const CODES: &str = "\
Exit codes:
  0   every property held and every requirement was met
  42  a property was violated: seed, step, property and replay command are printed
  43  two runs of one seed differ (--verify), or a replay is another run than it was
  44  a requirement of [require] was not met, or nothing ran
  2   the command line or a scenario is wrong: nothing ran
  1   anything else: a report or standard output could not be written
  75  interrupted by Ctrl-C or SIGTERM, or out of --budget: the command that does the rest is printed
Of several the first of this order counts: 42, 43, 44, 2, 1, 75, 0.";

const RUN_EXAMPLES: &str = "\
Examples:
  One run; the same seed gives the same run, to the last byte, on any machine:
    ipcz-sim run scenarios/relay-chain.toml --seed 7

  64 of them on two cores, lines in the order of their seeds whichever finishes first:
    ipcz-sim run scenarios/relay-chain.toml --seeds 0..64 --jobs 2

  A longer chain with slower links (`ipcz-sim list` names what can be set):
    ipcz-sim run scenarios/relay-chain.toml --set N=5000 --set links.latency=10ms

  Other orders than those of virtual time, with the bound on having missed a bug of depth 2:
    ipcz-sim run scenarios/abc.toml --seeds 0..1000 --policy pct:2

  A page to look at, offline:
    ipcz-sim run scenarios/abc.toml --report abc.html

  The same steps in real processes, one a node, compared with the simulated run:
    ipcz-sim run scenarios/abc.toml --driver unix

  Fingerprints for a script:
    ipcz-sim run scenarios/abc.toml --seeds 0..10 --json | jq -r .fingerprint

  Does the testbed notice a bug? Arm one (needs a build with it in):
    cargo run --release -p ipcz-sim --features planted -- run scenarios/abc.toml --plant stop-proxying-dropped";

const MUTANTS_EXAMPLES: &str = "\
Examples:
  All of them, two at a time:
    cargo run --release -p ipcz-sim --features planted -- mutants --jobs 2

  One, for at most ten minutes:
    cargo run --release -p ipcz-sim --features planted -- mutants version-kept --budget 10m

  What depth L1 finds that L0 does not:
    cargo run --release -p ipcz-sim --features planted -- mutants --compare-depths

Exit codes:
  0   every bug was found
  44  at least one was not
  42  a run failed with the bug and without it
  2   no such bug, or a build without them";

const SWEEP_EXAMPLES: &str = "\
Examples:
  A long campaign; killed at any time, the same command goes on where it was:
    ipcz-sim sweep scenarios/both-ends-run.toml --seeds 0..100000 --jobs 2

  Ten minutes of it now, the rest another time (ends with 75 until it is through):
    ipcz-sim sweep scenarios/both-ends-run.toml --seeds 0..100000 --budget 10m

  With a bound on having missed a bug of depth 2:
    ipcz-sim sweep scenarios/abc.toml --seeds 0..50000 --policy pctcp:2";

const REPLAY_EXAMPLES: &str = "\
Examples:
  A seed that fails leaves a file, which says all that it was made of:
    ipcz-sim run scenarios/canary.toml
    ipcz-sim replay target/failures/canary-*.toml

Ends as the run did (42) if it is the same run, with 43 if it is another one now: then both code versions are named.";

const SHRINK_EXAMPLES: &str = "\
Examples:
  A seed that fails leaves a file; what of it is needed to fail?
    ipcz-sim run scenarios/crowd.toml --set N=12
    ipcz-sim shrink target/failures/crowd-*.toml

  The same result each time, however fast the machine:
    ipcz-sim shrink target/failures/crowd-*.toml --runs 5000

Writes FILE.shrunk.toml, a scenario, and FILE.shrunk.rs, a test. Ends with 42 (the small run fails), or with 44 if the run does not
fail, or not with its workload written down.";

/// Where replay files go.
pub const FAILURES: &str = "target/failures";

/// Deterministic simulator for ipcz: runs scenarios of many nodes in virtual time and checks at each step that what must hold does.
#[derive(Debug, Parser)]
#[command(name = "ipcz-sim", version, after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{CODES}"))]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios, each with one seed or many, and say what held
    #[command(after_help = RUN_EXAMPLES, after_long_help = format!("{RUN_EXAMPLES}\n\n{CODES}"))]
    Run(RunArgs),
    /// Run very many seeds of one scenario, keeping a state that a killed sweep goes on from
    #[command(after_help = SWEEP_EXAMPLES, after_long_help = format!("{SWEEP_EXAMPLES}\n\n{CODES}"))]
    Sweep(SweepArgs),
    /// Run a failing run again from its replay file: to the same fingerprint and the same failure
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Make a failing run small: workload, nodes, faults and order, as long as it fails in the same way
    #[command(after_help = SHRINK_EXAMPLES)]
    Shrink(ShrinkArgs),
    /// Print everything that a run's fingerprint covers, a line each: for `diff`
    Transcript(TranscriptArgs),
    /// List scenarios: name, purpose and what --set can change
    List(ListArgs),
    /// Measure the simulator on this machine; without a name, list the benches
    Bench(BenchArgs),
    /// Which transitions of the protocol which scenarios reach, and which none does
    Probes(ProbesArgs),
    /// Test the testbed: hunt every planted bug and say who found it, where and after how long; needs a build with the feature `planted`
    #[command(after_help = MUTANTS_EXAMPLES)]
    Mutants(MutantsArgs),
    /// A process of `run --driver unix`
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    UnixNode,
}

/// What a scenario runs in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum World {
    /// The simulator
    Sim,
    /// A process for each node, over the Unix driver; what its ends saw is compared with the simulated run
    #[cfg(target_os = "linux")]
    Unix,
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Scenario files, run one after the other; all are read before the first runs
    #[arg(required = true, value_name = "SCENARIO")]
    pub scenarios: Vec<PathBuf>,
    /// Which run of the scenario: any u64
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "seeds")]
    pub seed: u64,
    /// Many runs: seeds from A up to, not including, B
    #[arg(long, value_name = "A..B")]
    pub seeds: Option<Seeds>,
    /// What carries the messages
    #[arg(long, value_name = "D", value_enum, default_value = "sim")]
    pub driver: World,
    /// How many seeds run at a time, each on a thread of its own; changes nothing in what they give
    #[arg(long, value_name = "J", default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Replace a number, flag or string of the scenario: a whole key (links.latency=2ms) or the tail of just one (N=100)
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<Setting>,
    /// What decides the order of events: timed, fifo, random, pct:D, pctcp:D, pos, delay:D, swap, hold:KIND, hold:node=A, hold:link=A-B,
    /// or portfolio (one of them by seed)
    #[arg(long, value_name = "P", default_value_t = PolicySpec::Timed)]
    pub policy: PolicySpec,
    /// How fine the run is: 0, one message at a time; 1, from the scenario's `fine` step on (else from set-up on) one operation on shared
    /// memory at a time, the seed deciding who is next
    #[arg(long, value_name = "D", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub depth: u8,
    /// Arm a planted bug in every process, to see that it is found; needs a build with the feature `planted`
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
    /// Arm a planted leak of nondeterminism, to see that it is found; needs a build with the feature `leaks`
    #[arg(long, value_name = "NAME", hide = true)]
    pub leak: Option<String>,
    /// One line of JSON a seed, and nothing else, on standard output (keys: docs/simulator.md)
    #[arg(long)]
    pub json: bool,
    /// Write one self-contained HTML page about it; for one scenario
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Folder for the replay files of the first failing seeds
    #[arg(long, value_name = "DIR", default_value = FAILURES)]
    pub failures: PathBuf,
    /// Run each seed twice and compare everything that came of it
    #[arg(long)]
    pub verify: bool,
    /// Give the second run of --verify another seed: shows that a difference is noticed
    #[arg(long, value_name = "N", requires = "verify", hide = true)]
    pub verify_with: Option<u64>,
}

impl RunArgs {
    /// The seeds to run.
    pub fn seeds(&self) -> Seeds {
        self.seeds.unwrap_or(Seeds { first: self.seed, count: 1 })
    }
}

/// Arguments of `sweep`.
#[derive(Debug, clap::Args)]
pub struct SweepArgs {
    /// A scenario file
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// Seeds from A up to, not including, B
    #[arg(long, value_name = "A..B")]
    pub seeds: Seeds,
    /// How many seeds run at a time; changes nothing in what they give
    #[arg(long, value_name = "J", default_value = "1")]
    pub jobs: NonZeroUsize,
    /// What decides the order of events, as in `run`
    #[arg(long, value_name = "P", default_value_t = PolicySpec::Portfolio)]
    pub policy: PolicySpec,
    /// How fine the runs are, as in `run`
    #[arg(long, value_name = "D", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub depth: u8,
    /// Replace a number, flag or string of the scenario, as in `run`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<Setting>,
    /// Arm a planted bug in every process, as in `run`
    #[arg(long, value_name = "NAME")]
    pub plant: Option<String>,
    /// File for what is done; without it one in target/sweeps, named after the scenario and all that makes the runs what they are
    #[arg(long, value_name = "FILE")]
    pub state: Option<PathBuf>,
    /// Begin anew, even if the state says that some seeds are done
    #[arg(long)]
    pub fresh: bool,
    /// Stop after this wall time: a whole number and s or m
    #[arg(long, value_name = "TIME")]
    pub budget: Option<Budget>,
    /// Stop when so many seeds have failed
    #[arg(long, value_name = "K", default_value = "10")]
    pub max_failures: NonZeroU64,
    /// Folder for the replay files of failing seeds
    #[arg(long, value_name = "DIR", default_value = FAILURES)]
    pub failures: PathBuf,
    /// What it came to as one line of JSON on standard output (keys: docs/simulator.md)
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `replay`.
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// A file that a failing `run` or `sweep` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Arguments of `shrink`.
#[derive(Debug, clap::Args)]
pub struct ShrinkArgs {
    /// A file that a failing `run` or `sweep` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Longest time to take: a whole number and s or m
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub budget: Budget,
    /// Most runs to take, instead of a time
    #[arg(long, value_name = "N", conflicts_with = "budget")]
    pub runs: Option<u64>,
}

/// Arguments of `transcript`.
#[derive(Debug, clap::Args)]
pub struct TranscriptArgs {
    /// Scenario file
    #[arg(value_name = "SCENARIO")]
    pub scenario: PathBuf,
    /// Which run of the scenario: any u64
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// As in `run`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<Setting>,
    /// As in `run`
    #[arg(long, value_name = "P", default_value_t = PolicySpec::Timed)]
    pub policy: PolicySpec,
    /// As in `run`
    #[arg(long, value_name = "D", default_value = "0", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub depth: u8,
    /// As in `run`
    #[arg(long, value_name = "NAME", hide = true)]
    pub leak: Option<String>,
}

/// Arguments of `list`.
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Folder with scenario files
    #[arg(default_value = "scenarios", value_name = "FOLDER")]
    pub folder: PathBuf,
}

/// Arguments of `probes`.
#[derive(Debug, clap::Args)]
pub struct ProbesArgs {
    /// Scenario files; without any, all in the folder `scenarios` and those below it
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<PathBuf>,
    /// Seeds of each, from A up to, not including, B
    #[arg(long, value_name = "A..B", default_value = "0..8")]
    pub seeds: Seeds,
    /// How many seeds run at a time
    #[arg(long, value_name = "J", default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Replace a number, flag or string in every scenario
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<Setting>,
}

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct BenchArgs {
    /// Which bench
    pub name: Option<String>,
    /// Wall time to measure for, set-up not counted
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub seconds: u64,
    /// Threads that measure, each on a core of its own: of `four-hands`, whose schedules have nothing to do with each other
    #[arg(long, value_name = "J", default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Replace a number, flag or string of the bench's scenario, as in `run`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<Setting>,
}

/// Arguments of `mutants`.
#[derive(Debug, clap::Args)]
pub struct MutantsArgs {
    /// Bugs to hunt; all if none is named
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Longest hunt for one bug: a whole number and s or m
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub budget: Budget,
    /// Most runs of one hunt; as many as there is time for if not given
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub runs: u64,
    /// Hunt at this depth only: 0, one message at a time; 1, one operation on shared memory at a time
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u8).range(0..=1))]
    pub depth: Option<u8>,
    /// Hunt bugs of depth L1 there only, and then at L0 in ten times the runs (at least 100)
    #[arg(long, conflicts_with = "depth")]
    pub compare_depths: bool,
    /// How many bugs are hunted at a time, each in a process of its own
    #[arg(long, value_name = "J", default_value = "1")]
    pub jobs: NonZeroUsize,
    /// Hunt in this process, and tell each run before it begins
    #[arg(long, hide = true)]
    pub apart: bool,
    /// One line of JSON a bug, and nothing else, on standard output (keys: docs/simulator.md)
    #[arg(long)]
    pub json: bool,
}

/// A wall time, in ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget(pub u64);

impl FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> Result<Budget, String> {
        let unit = text.strip_suffix('s').map(|n| (n, 1)).or_else(|| text.strip_suffix('m').map(|n| (n, 60)));
        let seconds = unit.and_then(|(n, unit)| n.parse::<u64>().ok()?.checked_mul(unit)).filter(|s| *s > 0);
        let ns = seconds.and_then(|seconds| seconds.checked_mul(1_000_000_000));
        ns.map(Budget).ok_or_else(|| "expected a whole number from 1 and s or m, as in 60s".to_owned())
    }
}

/// Seeds in a row, at least one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seeds {
    /// The first.
    pub first: u64,
    /// How many; `first + count` may be just past the last u64.
    pub count: u64,
}

impl Seeds {
    /// Just past the last.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let (a, b) = text.split_once("..").ok_or("expected A..B, as in 0..64")?;
        let number =
            |text: &str| text.parse::<u64>().map_err(|error| format!("\"{text}\" is no seed: {error}; expected A..B, as in 0..64"));
        let (first, end) = (number(a)?, number(b)?);
        match end.checked_sub(first) {
            None | Some(0) => Err(format!("no seed is in {first}..{end}: B itself is not included, expected A < B")),
            Some(count) => Ok(Seeds { first, count }),
        }
    }
}

impl std::fmt::Display for Seeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.count {
            1 => write!(f, "{}", self.first),
            _ => write!(f, "{}..{}", self.first, self.end()),
        }
    }
}

/// One `--set`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Setting {
    /// What is set.
    pub key: String,
    /// To what.
    pub value: String,
}

impl Setting {
    /// Settings as a scenario takes them.
    pub fn pairs(sets: &[Setting]) -> Vec<(String, String)> {
        sets.iter().map(|set| (set.key.clone(), set.value.clone())).collect()
    }
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => Ok(Setting { key: key.to_owned(), value: value.to_owned() }),
            _ => Err("expected KEY=VALUE, as in N=100".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_well_formed() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn seeds_are_half_open_and_never_empty() {
        assert_eq!("0..64".parse(), Ok(Seeds { first: 0, count: 64 }));
        assert_eq!(format!("0..{}", u64::MAX).parse(), Ok(Seeds { first: 0, count: u64::MAX }));
        for wrong in ["3..3", "4..3", "3", "..3", "0..=3", "-1..3", "a..b", "0..18446744073709551616"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn budgets_have_a_unit() {
        assert_eq!(("90s".parse(), "2m".parse()), (Ok(Budget(90_000_000_000)), Ok(Budget(120_000_000_000))));
        for wrong in ["", "s", "60", "0s", "1h", "-1s", "1.5s", "99999999999999999999s", "18446744073709551615m"] {
            assert!(wrong.parse::<Budget>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_are_split_at_the_first_equals_sign() {
        assert_eq!("a.b=c=d".parse(), Ok(Setting { key: "a.b".into(), value: "c=d".into() }));
        assert_eq!("a=".parse(), Ok(Setting { key: "a".into(), value: String::new() }));
        assert!("a".parse::<Setting>().is_err());
        assert!("=a".parse::<Setting>().is_err());
    }
}
