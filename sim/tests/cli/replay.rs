//! Replay files on the command line.

use super::*;

/// A folder for the replay files of one test, empty.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

/// All files in it.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[test]
fn failing_runs_are_replayed_from_their_files() {
    let bug = ["--plant", "stop-proxying-dropped"];
    for (name, args) in [
        ("canary", &["scenarios/canary.toml"][..]),
        ("pctcp", &["scenarios/abc.toml", bug[0], bug[1], "--policy", "pctcp:3"]),
        ("portfolio", &["scenarios/abc.toml", bug[0], bug[1], "--policy", "portfolio", "--seeds", "0..6"]),
        ("fine", &["scenarios/abc.toml", bug[0], bug[1], "--depth", "1", "--set", "links.latency=2ms"]),
    ] {
        let folder = folder(&format!("replay {name}"));
        ends_with(42, &[&["run"], args, &["--failures", &folder.display().to_string()]].concat());
        let files = files(&folder);
        assert!(!files.is_empty(), "{name}");
        for file in files {
            let (out, _) = ends_with(42, &["replay", &file.display().to_string()]);
            assert!(out.contains("the same run, the same failure") && out.contains("VIOLATED"), "{name}: {out}");
        }
    }
}

#[test]
fn a_replay_that_is_another_run_says_so() {
    let folder = folder("replay other");
    ends_with(42, &["run", "scenarios/canary.toml", "--failures", &folder.display().to_string()]);
    let text = fs::read_to_string(&files(&folder)[0]).expect("a replay file");
    let other = file("other.toml", &text.replace("fingerprint = \"", "fingerprint = \"0"));
    let (out, _) = ends_with(43, &["replay", &other]);
    assert!(out.contains("NOT THE SAME RUN") && out.contains("fingerprint\n") && out.contains("is not deterministic"), "{out}");
    for (name, from, to, expected) in [
        ("format.toml", "format = 1", "format = 9", "format 9"),
        ("policy.toml", "policy = \"timed\"", "policy = \"late\"", "run.policy: unknown policy \"late\""),
        ("planted.toml", "policy = \"timed\"", "policy = \"timed\"\nplanted = \"nothing\"", "run.planted: no planted bug"),
        ("scenario.toml", "[nodes]", "[noodles]", "the scenario in it is wrong"),
        ("cut.toml", "[scenario]", "", "no replay file"),
    ] {
        assert!(text.contains(from), "{from}: {text}");
        let broken = file(name, &text.replacen(from, to, 1));
        let (out, err) = ends_with(2, &["replay", &broken]);
        assert!(err.contains(&broken) && err.contains(expected) && out.is_empty(), "{name}: {err}");
    }
    let (_, err) = ends_with(2, &["replay", "no/such.toml"]);
    assert!(err.contains("no/such.toml: can't read the file"), "{err}");
}
