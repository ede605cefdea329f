//! The built command: what it prints, what it ends with.

mod replay;
mod sweep;
#[cfg(target_os = "linux")]
mod unix;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Three nodes, a portal handed on, a few parcels; `{extra}` is put at the end.
const SMALL: &str = r#"
name = "small"
purpose = "a test"
[let]
parcels = 20
[nodes]
A = { broker = true }
B = {}
C = {}
[links]
connect = [["B", "A", "ab"], ["C", "A", "ac"]]
latency = "1ms"
jitter = "1ms"
[[step]]
on = "B"
open = ["p", "q"]
[[step]]
on = "B"
hand = "q"
over = "ab"
to = "A"
[[step]]
on = "A"
hand = "q"
over = "ac"
to = "C"
[[step]]
id = "talk"
on = "B"
send = { count = "{parcels}", bytes = 64, every = "100us" }
from = "p"
"#;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ipcz-sim"));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

fn ipcz_sim(args: &[&str]) -> Output {
    command(args).output().expect("the command starts")
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// Runs it, expects the exit code, and gives what it printed: standard output, standard error.
#[track_caller]
fn ends_with(code: i32, args: &[&str]) -> (String, String) {
    let output = ipcz_sim(args);
    let (out, err) = (out(&output), err(&output));
    assert_eq!(output.status.code(), Some(code), "{args:?}\n{out}\n{err}");
    assert!(!err.contains("panicked"), "{err}");
    (out, err)
}

/// A file of this test's own.
fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for tests");
    fs::write(&path, text).expect("a file for tests");
    path.display().to_string()
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Seeds and fingerprints of a sweep's table.
fn fingerprints(table: &str) -> Vec<(u64, String)> {
    let columns = |line: &str| {
        let mut words = line.split_whitespace();
        Some((words.next()?.parse().ok()?, words.next().filter(|word| word.len() == 32)?.to_owned()))
    };
    table.lines().filter_map(columns).collect()
}

#[test]
fn help_names_every_exit_code_and_gives_examples() {
    let (text, _) = ends_with(0, &["run", "--help"]);
    for code in ["  0 ", "  42 ", "  43 ", "  44 ", "  2 ", "  1 ", "  75 ", "--seeds 0..64 --jobs 2"] {
        assert!(text.contains(code), "{code}: {text}");
    }
    assert!(!text.contains("verify-with"), "{text}");
    ends_with(0, &["--version"]);
    ends_with(2, &[]);
    ends_with(2, &["replay"]);
}

#[test]
fn wrong_arguments() {
    let abc = "scenarios/abc.toml";
    for (args, expected) in [
        (&["run"][..], "SCENARIO"),
        (&["run", abc, "--seeds", "3..3"], "no seed is in 3..3"),
        (&["run", abc, "--seeds", "4..3"], "expected A < B"),
        (&["run", abc, "--seeds", "4"], "expected A..B"),
        (&["run", abc, "--seed", "18446744073709551616"], "--seed"),
        (&["run", abc, "--seed", "1", "--seeds", "1..2"], "--seeds"),
        (&["run", abc, "--jobs", "0"], "--jobs"),
        (&["run", abc, "--set", "latency"], "expected KEY=VALUE"),
        (&["run", abc, "--set", "links.latnecy=1ms"], "latnecy"),
        (&["run", abc, "--set", "links.latency=soon"], "soon"),
        (&["run", abc, "--plant", "nothing"], "stop-proxying-dropped"),
        (&["run", abc, abc, "--report", "x.html"], "expected one SCENARIO"),
        (&["run", abc, "--verify-with", "2"], "--verify"),
        (&["bench", "nothing"], "expected crowd"),
        (&["bench", "crowd", "--jobs", "2"], "one core"),
        (&["list", "no such folder"], "no such folder"),
        (&["list", "docs"], "no scenario in docs"),
    ] {
        let (out, err) = ends_with(2, args);
        assert!(err.contains(expected), "{args:?}: {err}");
        assert_eq!(out, "", "{args:?}");
    }
}

#[test]
fn wrong_scenarios() {
    let circle =
        "after = \"second\"\n[[step]]\nid = \"second\"\nafter = \"talk\"\non = \"B\"\nsend = { count = 1, bytes = 1 }\nfrom = \"p\"\n";
    for (name, text, line, expected) in [
        ("key.toml", SMALL.replace("latency =", "latnecy ="), 12, "latency"),
        ("node.toml", SMALL.replace("on = \"A\"", "on = \"D\""), 23, "a node of [nodes]"),
        ("negative.toml", SMALL.replace("\"1ms\"\njitter", "\"-1ms\"\njitter"), 12, "time"),
        ("circle.toml", format!("{SMALL}{circle}"), 0, "talk"),
    ] {
        let path = file(name, &text);
        let (out, err) = ends_with(2, &["run", &path]);
        let place = if line == 0 { format!("{path}:") } else { format!("{path}:{line}:") };
        assert!(err.contains(&place) && err.contains(expected), "{name}: {err}");
        assert_eq!(out, "", "nothing runs");
    }
    let (_, err) = ends_with(2, &["run", "scenarios/abc.toml", "no/such.toml"]);
    assert!(err.contains("no/such.toml:1: can't read the file") && err.contains("a scenario file"), "{err}");
}

#[test]
fn scenarios_are_listed_with_what_can_be_set() {
    let (text, _) = ends_with(0, &["list"]);
    assert!(text.contains("scenarios/relay-chain.toml\n  relay-chain: one end of a pipe hops"), "{text}");
    assert!(text.contains(" N=1000") && text.contains(" links.latency=1ms"), "{text}");
    assert!(text.find("scenarios/abc.toml") < text.find("scenarios/crowd.toml"), "{text}");

    let folder = Path::new(&file("broken/good.toml", SMALL)).parent().expect("a folder").display().to_string();
    file("broken/bad.toml", "name = \"bad\"\nzebra = 1\n");
    let (text, err) = ends_with(2, &["list", &folder]);
    assert!(text.contains("good.toml\n  small: a test\n  --set parcels=20"), "{text}");
    assert!(text.contains("bad.toml:2: unknown key \"zebra\""), "{text}");
    assert!(err.contains("zebra"), "{err}");
}

#[test]
fn what_can_not_be_written_is_named() {
    let small = file("unwritable.toml", SMALL);
    let (out, err) = ends_with(1, &["run", &small, "--report", "no/such/page.html"]);
    assert!(err.contains("no/such/page.html"), "{err}");
    assert_eq!(out, "", "nothing ran for nothing");
    if Path::new("/dev/full").exists() {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
        let output = command(&["list"]).stdout(full).output().expect("the command starts");
        assert_eq!((output.status.code(), err_line(&output)), (Some(1), true));
        let (_, err) = ends_with(1, &["run", &small, "--report", "/dev/full"]);
        assert!(err.contains("/dev/full"), "{err}");
    }
}

fn err_line(output: &Output) -> bool {
    err(output).lines().any(|line| line.starts_with("ipcz-sim: can't write to standard output: "))
}

#[test]
fn a_closed_pipe_ends_it() {
    let small = file("pipe.toml", SMALL);
    let mut child = command(&["run", &small, "--seeds", "0..1000000", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), err_line(&output)), (Some(1), true), "{}", err(&output));
}

#[test]
fn nothing_to_happen_shows_nothing() {
    let idle = file("idle.toml", "name = \"idle\"\npurpose = \"nothing\"\n[nodes]\nA = { broker = true }\n");
    let (out, _) = ends_with(44, &["run", &idle]);
    assert!(out.contains("NOTHING RAN"), "{out}");
}

#[test]
fn bench_lists_its_benches() {
    let (out, _) = ends_with(0, &["bench"]);
    assert!(out.starts_with("crowd"), "{out}");
}

#[test]
fn four_hands_are_measured_by_as_many_threads_as_asked() {
    let all = |jobs: &str| {
        let (out, _) = ends_with(0, &["bench", "four-hands", "--seconds", "1", "--jobs", jobs]);
        let line = out.lines().find(|line| line.contains("distinct")).unwrap_or_default().to_owned();
        // As many distinct schedules as there were: no two threads do the same ones.
        let of = |what| line.split(", ").find_map(|part| part.strip_suffix(what));
        assert!(of(" in all").is_some_and(|all| all != "0") && of(" in all") == of(" distinct"), "{out}");
        out
    };
    assert!(all("1").contains("one core"));
    assert!(all("2").contains("2 threads"));
}

#[test]
fn a_run_that_holds_tells_everything() {
    let (out, _) = ends_with(0, &["run", "scenarios/abc.toml", "--seed", "7"]);
    for word in [
        "held, ",
        "AcceptParcel",
        "bypasses ",
        "peak proxies",
        "last proxy",
        "virtual time",
        "wall time",
        "peak memory",
        "events a second",
        "fingerprint",
    ] {
        assert!(out.contains(word), "{word}: {out}");
    }
}

#[test]
fn requirements_not_met() {
    let small = file("unmet.toml", &format!("{SMALL}[require]\ndelivered = \"{{parcels + 1}}\"\n"));
    let (out, _) = ends_with(44, &["run", &small]);
    assert!(out.contains("delivered: at least 21, was 20: NOT MET"), "{out}");
}

#[test]
fn a_violated_property_is_told_with_all_it_takes_to_see_it_again() {
    let (out, _) = ends_with(42, &["run", "scenarios/canary.toml", "--seed", "3"]);
    for word in ["VIOLATED: ", "seed ", "step ", "cargo run --release -- run scenarios/canary.toml --seed 3"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    let page = file("canary.html", "");
    ends_with(42, &["run", "scenarios/canary.toml", "--report", &page]);
    let html = fs::read_to_string(&page).expect("a page");
    assert!(html.contains("Messages around the violation") && html.contains("AcceptParcel"), "no messages");
    // The worst of several counts, wherever it stands.
    ends_with(42, &["run", "scenarios/abc.toml", "scenarios/canary.toml", "scenarios/abc.toml"]);
    let (json, err) = ends_with(42, &["run", "scenarios/canary.toml", "--json"]);
    let failure = &lines(&json)[0]["failure"];
    assert!(failure["property"].is_string() && failure["step"].is_u64() && failure["replay"].is_string(), "{failure}");
    assert!(err.contains("VIOLATED"), "{err}");
}

#[test]
fn planted_bugs_are_found() {
    let (out, _) = ends_with(42, &["run", "scenarios/abc.toml", "--plant", "stop-proxying-dropped"]);
    let replay = "cargo run --release -p ipcz-sim --features planted -- run scenarios/abc.toml --plant stop-proxying-dropped --seed 1";
    assert!(out.contains(replay), "{out}");
}

#[test]
fn two_runs_of_a_seed_are_compared() {
    let small = file("verify.toml", SMALL);
    ends_with(0, &["run", &small, "--seeds", "0..3", "--verify"]);
    let (out, _) = ends_with(43, &["run", &small, "--verify", "--verify-with", "2"]);
    assert!(out.contains("NOT DETERMINISTIC") && out.contains("fingerprints: "), "{out}");
}

#[test]
fn jobs_change_nothing_in_what_is_printed() {
    let small = file("jobs.toml", SMALL);
    let table = |jobs| ends_with(0, &["run", &small, "--seeds", "0..32", "--jobs", jobs]).0;
    let rows = |table: &str| -> Vec<String> {
        table.lines().skip_while(|line| !line.contains("fingerprint")).take(33).map(str::to_owned).collect()
    };
    let (one, two) = (table("1"), table("2"));
    assert_eq!(rows(&one), rows(&two));
    let list = fingerprints(&one);
    assert_eq!(list.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(), (0..32).collect::<Vec<_>>());
    let last = |table: &str| table.lines().find(|line| line.contains("over all")).map(str::to_owned);
    assert!(last(&one).is_some_and(|line| line.contains("32 distinct")), "{one}");
    assert_eq!(last(&one), last(&two));
}

#[test]
fn json_is_a_line_a_seed_with_the_same_keys() {
    const KEYS: [&str; 28] = [
        "bypasses",
        "calls",
        "checks",
        "deliveries",
        "delivery_order",
        "events",
        "events_per_second",
        "exit",
        "failure",
        "faults",
        "file",
        "fingerprint",
        "forwarded",
        "introductions",
        "last_proxy",
        "lies",
        "memory_peak_bytes",
        "messages",
        "probes",
        "proxies_peak",
        "requirements",
        "rest_ns",
        "scenario",
        "seed",
        "verdict",
        "virtual_ns",
        "wall_ns",
        "work_ns",
    ];
    let small = file("json.toml", SMALL);
    let all = lines(&ends_with(0, &["run", &small, "--seeds", "5..9", "--jobs", "2", "--json"]).0);
    assert_eq!(all.iter().map(|line| line["seed"].as_u64()).collect::<Vec<_>>(), [5, 6, 7, 8].map(Some));
    for line in &all {
        let mut keys: Vec<&str> = line.as_object().expect("an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, KEYS);
        assert_eq!((line["verdict"].as_str(), line["exit"].as_u64()), (Some("held"), Some(0)));
        assert!(line["messages"]["run"]["kinds"]["AcceptParcel"].as_u64() > Some(0), "{line}");
    }
    let table = ends_with(0, &["run", &small, "--seeds", "5..9"]).0;
    let of_json: Vec<(u64, String)> =
        all.iter().map(|line| (line["seed"].as_u64().expect("a seed"), line["fingerprint"].as_str().expect("a hash").to_owned())).collect();
    assert_eq!(fingerprints(&table), of_json);
}

#[test]
fn a_report_is_one_page_without_a_script() {
    let (small, page) = (file("report.toml", SMALL), file("report.html", "old"));
    ends_with(0, &["run", &small, "--seeds", "0..4", "--report", &page]);
    let html = fs::read_to_string(&page).expect("a page");
    assert!(html.contains("Scenario small over 4 seeds held"), "{}", &html[..html.len().min(2000)]);
    assert!(html.contains("<svg") && !html.contains("<script") && !html.contains("src="), "not offline");
}

#[test]
#[cfg(unix)]
fn ctrl_c_prints_the_command_that_goes_on() {
    let small = file("interrupt.toml", SMALL);
    let mut command = command(&["run", &small, "--seeds", "7..1000000", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut printed = BufReader::new(child.stdout.take().expect("its output"));
    printed.read_line(&mut String::new()).expect("a line");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let done = 1 + printed.lines().count();
    let output = child.wait_with_output().expect("it ends");
    let told = err(&output);
    assert_eq!(output.status.code(), Some(75), "{told}");
    assert!(told.contains(&format!("interrupted: {done} of 999993 seeds done")), "{told}");
    assert!(told.contains(&format!("cargo run --release -- run {small} --seeds {}..1000000 --json", 7 + done)), "{told}");
}

#[test]
fn a_sweep_says_what_it_may_have_missed() {
    let small = file("policies.toml", SMALL);
    let (out, _) = ends_with(0, &["run", &small, "--seeds", "0..12", "--policy", "pct:2"]);
    assert!(out.contains("pct:2: n ") && out.contains("12 runs: a bug of depth 2"), "{out}");
    let (out, _) = ends_with(0, &["run", &small, "--seeds", "0..12", "--policy", "random"]);
    assert!(out.contains("none for random"), "{out}");
    let (_, err) = ends_with(2, &["run", &small, "--policy", "hold:node=nobody"]);
    assert!(err.contains("no node is called \"nobody\""), "{err}");
}

#[test]
fn a_scenario_with_loose_nodes_is_refused_at_depth_1() {
    let loose = file("loose.toml", &SMALL.replacen("broker = true", "broker = true, loose = true", 1));
    for command in ["run", "sweep", "transcript"] {
        let mut args = vec![command, &loose, "--depth", "1"];
        args.extend((command == "sweep").then_some(["--seeds", "0..2"]).into_iter().flatten());
        let (_, err) = ends_with(2, &args);
        assert!(
            err.contains("loose.toml: [nodes]: ") && err.contains(" is loose") && err.contains("without --depth 1"),
            "{command}: {err}"
        );
    }
    ends_with(0, &["run", &loose]);
}
