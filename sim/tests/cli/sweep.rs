//! Sweeps that are killed, stopped, spoilt and gone on with.

use std::process::ExitStatus;
use std::thread::sleep;
use std::time::Duration;

use super::replay::{files, folder};
use super::*;

const SEEDS: &str = "0..3500";

/// A sweep of a scenario of this test's own, and its state.
struct Sweep {
    scenario: String,
    state: PathBuf,
}

impl Sweep {
    fn new(name: &str) -> Sweep {
        let scenario = file(&format!("sweep {name}.toml"), SMALL);
        let state = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("sweep {name}.jsonl"));
        let _ = fs::remove_file(&state);
        Sweep { scenario, state }
    }

    fn args<'a>(&'a self, seeds: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        let state = self.state.to_str().expect("a path of letters");
        [&["sweep", &self.scenario, "--seeds", seeds, "--state", state], more].concat()
    }

    #[track_caller]
    fn ends_with(&self, code: i32, more: &[&str]) -> (String, String) {
        ends_with(code, &self.args(SEEDS, more))
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.state).expect("a state")
    }

    fn blocks(&self) -> usize {
        fs::read(&self.state).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count().saturating_sub(1))
    }

    /// Starts it, sends it a signal once a block is done, and answers how it ended and what it printed.
    #[allow(clippy::disallowed_methods, reason = "waits for another process")]
    fn shot(&self, signal: &str, more: &[&str]) -> (ExitStatus, String) {
        let child = command(&self.args(SEEDS, more)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        while self.blocks() == 0 {
            sleep(Duration::from_millis(1));
        }
        Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        let output = child.wait_with_output().expect("it ends");
        (output.status, out(&output))
    }
}

#[test]
#[cfg(unix)]
fn a_killed_sweep_goes_on_and_comes_to_the_same() {
    let whole = Sweep::new("whole");
    let (expected, _) = whole.ends_with(0, &[]);
    assert!(expected.contains("3,500 run: 3,500 held") && expected.contains("never reached"), "{expected}");
    let blocks = whole.blocks();
    assert!(blocks >= 4);
    for jobs in ["1", "2"] {
        let killed = Sweep { scenario: whole.scenario.clone(), ..Sweep::new(&format!("killed {jobs}")) };
        let (status, _) = killed.shot("-KILL", &["--jobs", jobs]);
        assert_eq!(status.code(), None, "it was through before it could be killed");
        assert!(killed.blocks() < blocks);
        let (out, err) = killed.ends_with(0, &["--jobs", jobs]);
        assert_eq!(out, expected, "{jobs} jobs");
        assert!(err.contains("of 3,500 seeds are done"), "{err}");
        // Nothing is left to do.
        let state = killed.text();
        assert_eq!(killed.ends_with(0, &[]).0, expected);
        assert_eq!(killed.text(), state);
    }
}

#[test]
#[cfg(unix)]
fn an_interrupted_sweep_says_how_to_go_on() {
    let whole = Sweep::new("whole again");
    let (expected, _) = whole.ends_with(0, &["--json"]);
    for signal in ["-INT", "-TERM"] {
        let stopped = Sweep { scenario: whole.scenario.clone(), ..Sweep::new(&format!("stopped {signal}")) };
        let (status, out) = stopped.shot(signal, &["--policy", "portfolio", "--jobs", "2"]);
        assert_eq!(status.code(), Some(75), "{out}");
        let command = format!("'{}' --seeds {SEEDS} --jobs 2 --state '{}'", stopped.scenario, stopped.state.display());
        assert!(out.contains(&format!("cargo run --release -- sweep {command}")), "{command}: {out}");
        // Blocks may lie elsewhere now; what they come to does not.
        assert_eq!(stopped.ends_with(0, &["--jobs", "2", "--json"]).0, expected);
    }
}

#[test]
fn only_whole_lines_of_a_state_count() {
    let sweep = Sweep::new("torn");
    let (expected, _) = sweep.ends_with(0, &[]);
    let good = sweep.text();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let third = lines[..3].concat();
    for (name, text) in [
        ("torn in the last line", good[..good.len() - 9].to_owned()),
        ("no line feed", good.trim_end().to_owned()),
        ("torn in the first line", good[..20].to_owned()),
        ("nothing", String::new()),
        ("something behind it", format!("{good}{{\"first\":3500")),
        ("a line that is not its own", good.replacen("\"held\":", "\"held\":1", 1)),
        ("a line twice", format!("{third}{}", lines[2..].concat())),
        ("a line too few", format!("{}{}", lines[..2].concat(), lines[3..].concat())),
        ("no text", format!("{third}\u{fffd}\0\n")),
    ] {
        fs::write(&sweep.state, text).expect("a state");
        let (out, err) = sweep.ends_with(0, &[]);
        assert_eq!(out, expected, "{name}");
        assert!(err.contains("are cut off") || ["torn in the first line", "nothing"].contains(&name), "{name}: {err}");
    }
}

#[test]
fn a_state_of_something_else_is_refused() {
    let sweep = Sweep::new("foreign");
    let args = |seeds, more: &[&'static str]| -> Vec<String> { sweep.args(seeds, more).into_iter().map(str::to_owned).collect() };
    let refused = |args: Vec<String>, expected: &[&str]| {
        let before = sweep.text();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (out, err) = ends_with(2, &args);
        assert!(expected.iter().all(|word| err.contains(word)) && out.is_empty(), "{args:?}: {err}");
        assert_eq!(sweep.text(), before);
    };
    ends_with(0, &sweep.args("0..5", &[]));
    refused(args("0..6", &[]), &["is the state of another sweep", "--seeds\n    there 0..5\n    here  0..6", "--fresh", "--state FILE"]);
    refused(args("0..5", &["--policy", "pos"]), &["--policy\n    there portfolio\n    here  pos"]);
    refused(args("0..5", &["--depth", "1"]), &["--depth\n    there 0\n    here  1"]);
    refused(args("0..5", &["--set", "parcels=21"]), &["--set\n    there \n    here  parcels=21"]);
    let text = sweep.text();
    fs::write(&sweep.state, text.replacen("\"program\":\"", "\"program\":\"0", 1)).expect("a state");
    refused(args("0..5", &[]), &["code\n    there "]);
    file("sweep foreign.toml", &SMALL.replace("bytes = 64", "bytes = 65"));
    refused(args("0..5", &[]), &["hash of its file"]);
    file("sweep foreign.toml", SMALL);
    ends_with(0, &sweep.args("0..5", &["--fresh"]));
    assert_eq!(sweep.text(), text);
    fs::write(&sweep.state, "my diary").expect("a file");
    refused(args("0..5", &["--fresh"]), &["is not the state of a sweep, and stays as it is"]);
}

#[test]
fn a_planted_bug_can_be_swept_for_and_a_miss_bound_is_told_at_depth_l1() {
    let (state, folder) = (file("sweep planted.jsonl", ""), folder("sweep planted").display().to_string());
    let race = ["sweep", "scenarios/races/both-leave.toml", "--depth", "1", "--policy", "pct:2", "--state", &state, "--failures", &folder];
    let (held, _) = ends_with(0, &[&race[..], &["--seeds", "0..50", "--fresh"]].concat());
    assert!(held.contains("miss bound       pct:2: n ") && held.contains(", d 2, 50 runs: "), "{held}");
    let planted = [&race[..], &["--seeds", "0..500", "--plant", "front-read-twice", "--max-failures", "1"]].concat();
    let (out, _) = ends_with(42, &[&planted[..], &["--fresh"]].concat());
    assert!(out.contains("-p ipcz-sim --features planted -- run ") && out.contains(" --plant front-read-twice --seed "), "{out}");
    let (_, err) = ends_with(2, &[&race[..], &["--seeds", "0..500", "--max-failures", "1"]].concat());
    assert!(err.contains("--plant") && err.contains("front-read-twice"), "{err}");
    assert!(ends_with(2, &[&race[..], &["--seeds", "0..9", "--plant", "no-such"]].concat()).1.contains("no planted bug is called"));
}

#[test]
fn failures_end_a_sweep_and_leave_replay_files() {
    let state = file("sweep canary.jsonl", "");
    let folder = folder("sweep canary");
    let failures = folder.display().to_string();
    let args = ["sweep", "scenarios/canary.toml", "--seeds", "0..3000", "--max-failures", "3", "--state", &state, "--failures", &failures];
    let (out, err) = ends_with(42, &args);
    assert!(out.contains("3 violated; ended early, with --max-failures 3") && out.contains("VIOLATED: "), "{out}");
    assert_eq!(err.matches(": violated: ").count(), 3, "{err}");
    assert_eq!(files(&folder).len(), 3);
    for file in files(&folder) {
        ends_with(42, &["replay", &file.display().to_string()]);
    }
    assert_eq!(ends_with(42, &args).0, out, "nothing is left to do");
    let more = [&args[..4], &["--state", &state, "--failures", &failures, "--max-failures", "4", "--jobs", "2", "--json"]].concat();
    let line = &lines(&ends_with(42, &more).0)[0];
    let failed = line["failures"].as_array().expect("a list");
    assert_eq!((failed.len(), line["exit"].as_u64(), line["next"].is_null()), (4, Some(42), true), "{line}");
    assert!(failed[0]["property"].is_string() && failed[3]["replay"].as_str().is_some_and(|file| Path::new(file).exists()), "{line}");
}

#[test]
fn a_budget_ends_a_sweep_in_between() {
    let sweep = Sweep::new("budget");
    let done = || {
        let args = sweep.args("5..90000000", &["--budget", "1s", "--policy", "pct:2", "--json"]);
        let (out, err) = ends_with(75, &args);
        assert!(err.contains("the rest:") && err.contains("--budget 1s"), "{err}");
        let line = lines(&out).remove(0);
        let bound = &line["bounds"][0];
        assert_eq!((bound["d"].as_u64(), bound["runs"].as_u64()), (Some(2), line["runs"].as_u64()), "{line}");
        assert!(bound["miss"].as_f64().is_some_and(|miss| miss > 0.0 && miss < 1.0), "{line}");
        line["runs"].as_u64().expect("a count")
    };
    let first = done();
    assert!(first > 0 && done() > first);
}

#[test]
fn a_state_that_can_not_be_kept_is_named() {
    let sweep = Sweep::new("unwritable");
    let with = |state| ["sweep", sweep.scenario.as_str(), "--seeds", "0..5", "--state", state];
    for state in ["/dev/null", "Cargo.toml/no.jsonl", "docs"] {
        let (out, err) = ends_with(1, &with(state));
        assert!(err.contains(&format!("can't keep the state in {state}")) && out.is_empty(), "{err}");
    }
    #[cfg(unix)]
    {
        // As a full disk: no file may grow.
        let args = ["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_ipcz-sim")];
        let output = Command::new("sh").args(args).args(sweep.args("0..5", &[])).output().expect("sh");
        assert_eq!(output.status.code(), Some(1), "{}", err(&output));
        assert!(err(&output).contains("can't write to the state"), "{}", err(&output));
    }
}
