//! Commands that run something again, as they work from a checkout.

use std::fmt::Write;
use std::path::Path;

use super::args::{BenchArgs, Budget, FAILURES, RunArgs, Seeds, Setting, SweepArgs};
use super::failures::MOST;
use crate::policy::PolicySpec;

/// The command that runs `file` with one seed as `args` say: what shows a failure again.
pub fn replay(args: &RunArgs, file: &Path, seed: u64) -> String {
    let verify = if args.verify { " --verify" } else { "" };
    format!("{} --seed {seed}{verify}", common(args, file))
}

/// The command that runs the seeds that are left of `file`, as `args` say.
pub fn resume(args: &RunArgs, file: &Path, left: Seeds) -> String {
    let mut command = common(args, file);
    let _ = match left.count {
        1 => write!(command, " --seed {}", left.first),
        _ => write!(command, " --seeds {left}"),
    };
    if args.jobs.get() > 1 {
        let _ = write!(command, " --jobs {}", args.jobs);
    }
    for (flag, on) in [(" --json", args.json), (" --verify", args.verify)] {
        if on {
            command.push_str(flag);
        }
    }
    if let Some(report) = &args.report {
        let _ = write!(command, " --report {}", path(report));
    }
    command
}

/// The command that runs one seed of a bench's scenario.
pub fn bench(args: &BenchArgs, file: &str, seed: u64) -> String {
    let mut command = format!("cargo run --release -- run {file}");
    add_sets(&mut command, &args.sets);
    let _ = write!(command, " --seed {seed}");
    command
}

fn add_sets(command: &mut String, sets: &[Setting]) {
    for set in sets {
        let _ = write!(command, " --set {}", quoted(&format!("{}={}", set.key, set.value)));
    }
}

/// The command that goes on with a sweep.
pub fn sweep(args: &SweepArgs) -> String {
    let (build, file) = (build(args.plant.as_ref()), path(&args.scenario));
    let mut command = format!("cargo run --release{build} -- sweep {file} --seeds {}..{}", args.seeds.first, args.seeds.end());
    add_sets(&mut command, &args.sets);
    if args.policy != PolicySpec::Portfolio {
        let _ = write!(command, " --policy {}", quoted(&args.policy.to_string()));
    }
    add_depth(&mut command, args.depth);
    add_plant(&mut command, args.plant.as_ref());
    if args.jobs.get() > 1 {
        let _ = write!(command, " --jobs {}", args.jobs);
    }
    if let Some(state) = &args.state {
        let _ = write!(command, " --state {}", path(state));
    }
    if args.max_failures.get() != MOST {
        let _ = write!(command, " --max-failures {}", args.max_failures);
    }
    if args.failures != Path::new(FAILURES) {
        let _ = write!(command, " --failures {}", path(&args.failures));
    }
    if let Some(Budget(ns)) = args.budget {
        let _ = write!(command, " --budget {}s", ns / 1_000_000_000);
    }
    if args.json {
        command.push_str(" --json");
    }
    command
}

/// The command that runs one seed of a sweep.
pub fn seed(args: &SweepArgs, seed: u64) -> String {
    let mut command = format!("cargo run --release{} -- run {}", build(args.plant.as_ref()), path(&args.scenario));
    add_sets(&mut command, &args.sets);
    add_policy(&mut command, &args.policy);
    add_depth(&mut command, args.depth);
    add_plant(&mut command, args.plant.as_ref());
    let _ = write!(command, " --seed {seed}");
    command
}

fn add_policy(command: &mut String, policy: &PolicySpec) {
    if *policy != PolicySpec::Timed {
        let _ = write!(command, " --policy {}", quoted(&policy.to_string()));
    }
}

fn add_depth(command: &mut String, depth: u8) {
    if depth > 0 {
        let _ = write!(command, " --depth {depth}");
    }
}

fn path(path: &Path) -> String {
    quoted(&path.display().to_string())
}

fn common(args: &RunArgs, file: &Path) -> String {
    let mut command = format!("cargo run --release{} -- run {}", build(args.plant.as_ref()), path(file));
    add_sets(&mut command, &args.sets);
    add_policy(&mut command, &args.policy);
    add_depth(&mut command, args.depth);
    add_plant(&mut command, args.plant.as_ref());
    command
}

/// What a build needs that knows planted bugs.
fn build(plant: Option<&String>) -> &'static str {
    if plant.is_some() { " -p ipcz-sim --features planted" } else { "" }
}

fn add_plant(command: &mut String, plant: Option<&String>) {
    if let Some(plant) = plant {
        let _ = write!(command, " --plant {}", quoted(plant));
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Args, Command};
    use super::*;

    #[test]
    fn commands_say_all_that_matters() {
        let line = "ipcz-sim run a.toml --seeds 0..9 --jobs 3 --set N=4 --set x={it's} --policy pct:3 --plant p --verify --report r.html";
        let Ok(Args { command: Command::Run(args) }) = Args::try_parse_from(line.split(' ')) else { panic!("not parsed") };
        let start =
            r"cargo run --release -p ipcz-sim --features planted -- run 'a b.toml' --set N=4 --set 'x={it'\''s}' --policy pct:3 --plant p";
        assert_eq!(replay(&args, Path::new("a b.toml"), 7), format!("{start} --seed 7 --verify"));
        let rest = Seeds { first: 5, count: 4 };
        assert_eq!(resume(&args, Path::new("a b.toml"), rest), format!("{start} --seeds 5..9 --jobs 3 --verify --report r.html"));
        assert!(resume(&args, Path::new("a"), Seeds { first: 8, count: 1 }).contains(" --seed 8 "));
    }
}
