//! `probes`: which transitions of the protocol which scenarios reach, and which none does.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipcz::probe::{Counts, Probe};

use super::args::ProbesArgs;
use super::exit::Exit;
use super::out::{Trouble, print, tell};
use super::play::{Plan, listen_to_panics};
use super::pool::{Event, each_seed};
use super::totals::Totals;
use super::usage;
use crate::policy::PolicySpec;
use crate::scenario::{Scenario, files};

const FOREIGN: &str = "a peer that breaks a rule";
const ANNOUNCED: &str = "an announcement of a buffer that is relayed and late: races/R41 and R42, by some seeds";
const BRIDGED: &str =
    "parcels in a portal that is merged while a link of its new route is missing: races/R29-merge-with-parcels and R45, by some seeds";
const LATE_FAULT: &str = "a peer whose fault is found after a portal's move over its link was queued in the same input";
const SET_UP: &str = "set-up connects every pipe before anything is put, with as many portals at both ends";
const ONE_NODE: &str = "a simulated process has one node";
const ONE_ROUTE: &str = "the workloads merge no portals of one route, which would end it";
const RACE: &str = "only another process that takes a lock between two operations of ours: depth L1 (races/R28)";
const REFUSED: &str = "a driver that will not send in the end what it took: drivers/tests/calls/boxes.rs";
const SEVERAL: &str = "brokers whose names happen to be in the right order, or that cannot be reached: drivers/tests/peer_brokers.rs";
const ORPHANS: &str = "more nodes that never greet than any one client may refer: drivers/tests/peer_referrals.rs";
const ACROSS: &str = "a relay across networks that overtakes an introduction: relays-across, by some seeds";
const RARE: &str = "a cut, a refusal or a close at a rare moment: for sweeps, not for few seeds";

/// Probes that a few seeds of the scenarios do not reach, or not reliably, each with the reason.
pub const UNREACHED: &[(Probe, &str)] = &[
    (
        Probe::PortalsTooMany,
        "only a flood of a hostile node through another one: `sweep scenarios/hostile.toml`, once in hundreds of seeds",
    ),
    (Probe::ParcelRefused, FOREIGN),
    (Probe::ClosureImpossible, FOREIGN),
    (Probe::BypassUnauthorised, FOREIGN),
    (Probe::BypassTaken, FOREIGN),
    (Probe::BypassHearsay, FOREIGN),
    (Probe::LinkBlamed, FOREIGN),
    (Probe::ArrivedUnbound, FOREIGN),
    (Probe::MessageForUnbound, FOREIGN),
    (Probe::IntroductionOverLimit, FOREIGN),
    (Probe::LockRefusedPending, ANNOUNCED),
    (Probe::StatePending, ANNOUNCED),
    (Probe::StateArrived, ANNOUNCED),
    (Probe::StableRemembered, ANNOUNCED),
    (Probe::ParcelInUnknownBuffer, ANNOUNCED),
    (Probe::ParcelResumed, ANNOUNCED),
    (Probe::ParcelBlocked, BRIDGED),
    (Probe::ParcelQueuedAtPortal, SET_UP),
    (Probe::InitialSurplus, SET_UP),
    (Probe::InitialLost, SET_UP),
    (Probe::ProxyStays, ONE_NODE),
    (Probe::BridgeRing, ONE_ROUTE),
    (Probe::BridgeUnlocked, RACE),
    (Probe::EarlyParcelDropped, RARE),
    (Probe::BoxReplaced, REFUSED),
    (Probe::RelayRefused, RARE),
    (Probe::RelayParked, ACROSS),
    (Probe::RelayWaits, ACROSS),
    (Probe::RelayReleased, ACROSS),
    (Probe::RelayExpired, RARE),
    (Probe::RelayIgnored, FOREIGN),
    (Probe::PutAfterFinal, RARE),
    (Probe::MoveOverDead, LATE_FAULT),
    (Probe::ClosureBeyondCut, RARE),
    (Probe::DisconnectLocal, RARE),
    (Probe::DisconnectCut, RARE),
    (Probe::BypassFailed, RARE),
    (Probe::BypassIgnored, RARE),
    (Probe::ProxyWillStopLate, RARE),
    (Probe::IntroductionJoined, RARE),
    (Probe::IntroductionAskedAgain, RARE),
    (Probe::IntroductionEndLost, RARE),
    (Probe::IntroductionCircle, SEVERAL),
    (Probe::IntroductionExpired, SEVERAL),
    (Probe::BrokersIntroduced, SEVERAL),
    (Probe::IndirectAsked, SEVERAL),
    (Probe::IndirectRefused, SEVERAL),
    (Probe::IntroductionForRelays, SEVERAL),
    (Probe::ReferralForsaken, ORPHANS),
    (Probe::DelegateOverLimit, FOREIGN),
    (Probe::LinkReplaced, RARE),
    (Probe::MemoryRefused, RARE),
    (Probe::MemoryRetried, RARE),
];

/// Runs scenarios and prints the table.
///
/// # Errors
/// Standard output can't be written.
pub fn probes(args: &ProbesArgs) -> Result<Exit, Trouble> {
    let files = if args.scenarios.is_empty() { files(Path::new("scenarios")) } else { Ok(args.scenarios.clone()) };
    let files = match files {
        Ok(files) if !files.is_empty() => files,
        Ok(_) => return Ok(usage_error("no scenario in scenarios/: expected files *.toml")),
        Err(error) => return Ok(usage_error(&format!("can't read the folder scenarios: {error}; name the SCENARIO files"))),
    };
    let sets: Vec<(String, String)> = args.sets.iter().map(|set| (set.key.clone(), set.value.clone())).collect();
    let mut scenarios = Vec::new();
    for file in &files {
        match Scenario::load(file, &sets) {
            Ok(scenario) => scenarios.push(scenario),
            Err(error) => {
                tell(&usage::explain(&error));
                return Ok(Exit::Usage);
            }
        }
    }
    listen_to_panics();
    let stop = Arc::new(AtomicBool::new(false));
    let mut exit = Exit::Held;
    let mut columns = Vec::new();
    for scenario in scenarios {
        let name = scenario.name.clone();
        let plan =
            Plan { scenario, plant: None, policy: PolicySpec::Timed, length: None, fine: None, verify: None, stop: Arc::clone(&stop) };
        let mut totals = Totals::default();
        each_seed(&plan, args.seeds, args.jobs.get(), &mut |event| {
            if let Event::Played(played) = event {
                totals.add(*played);
            }
            Ok(())
        })?;
        if totals.failed > 0 {
            let failed: Vec<String> = totals.failed_seeds.iter().map(|(seed, word)| format!("{seed} {word}")).collect();
            tell(&format!("ipcz-sim: {name}: not every seed held: {}\n", failed.join(", ")));
        }
        exit = exit.max(totals.exit());
        columns.push((name, totals.probes));
    }
    print(&table(&columns))?;
    Ok(exit)
}

fn usage_error(text: &str) -> Exit {
    tell(&format!("ipcz-sim: {text}\n"));
    Exit::Usage
}

/// Transitions by scenarios, then what none of them reached.
fn table(columns: &[(String, Counts)]) -> String {
    let width = |probe: Probe| probe.name().len();
    let name = Probe::ALL.iter().copied().map(width).max().unwrap_or(0);
    let widths: Vec<usize> = columns.iter().map(|(_, counts)| digits(counts.reached().map(|(_, n)| n).max().unwrap_or(0)).max(3)).collect();
    let mut out = String::new();
    for (at, (scenario, _)) in columns.iter().enumerate() {
        out += &format!("{:>4}  {scenario}\n", at + 1);
    }
    out += &format!("\n{:name$}", "probe");
    for (at, width) in widths.iter().enumerate() {
        out += &format!("  {:>width$}", at + 1);
    }
    out.push('\n');
    let total = |probe| columns.iter().map(|(_, counts)| counts.of(probe)).sum::<u64>();
    let (reached, missed): (Vec<Probe>, Vec<Probe>) = Probe::ALL.iter().copied().partition(|probe| total(*probe) > 0);
    for probe in &reached {
        out += &format!("{:name$}", probe.name());
        for ((_, counts), width) in columns.iter().zip(&widths) {
            let count = counts.of(*probe);
            let shown = if count == 0 { "-".to_owned() } else { count.to_string() };
            out += &format!("  {shown:>width$}");
        }
        out.push('\n');
    }
    out += &format!("\n{} of {} reached; never:\n", reached.len(), Probe::ALL.len());
    for probe in missed {
        out += &format!("  {:name$}  {} ({})\n", probe.name(), probe.what(), probe.place());
        if let Some((_, why)) = UNREACHED.iter().find(|(known, _)| *known == probe) {
            out += &format!("  {:name$}  as expected: {why}\n", "");
        }
    }
    out
}

fn digits(number: u64) -> usize {
    number.to_string().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{RunOptions, Verdict, run};

    /// Counts of a few seeds of a scenario, none of which is violated.
    fn counts(file: &Path, sets: &[(&str, &str)]) -> Counts {
        let sets: Vec<(String, String)> = sets.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let scenario = Scenario::load(file, &sets).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        (0..3).fold(Counts::default(), |sum, seed| {
            let outcome = run(&scenario, &RunOptions { seed, ..RunOptions::default() });
            let held = matches!(outcome.verdict, Verdict::Held | Verdict::Unmet(_));
            assert!(held, "{} seed {seed}: {:?}", scenario.name, outcome.verdict);
            sum.and(&outcome.probes)
        })
    }

    fn folder_of(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name)
    }

    #[test]
    fn every_probe_is_reached_or_it_is_said_why_not() {
        let folder = folder_of("");
        let crowd = [("N", "60"), ("random.pipes", "600"), ("random.rate", "2000/s"), ("duration", "100ms")];
        let small: [(&str, &[(&str, &str)]); 8] = [
            ("abc", &[]),
            ("networks", &[]),
            ("boxes", &[]),
            ("both-ends-run", &[("N", "16")]),
            ("growing-memory", &[]),
            ("crowd", &crowd),
            ("open-puts", &[]),
            ("slow-hands", &[]),
        ];
        let mut all = Counts::default();
        for (name, sets) in small {
            all = all.and(&counts(&folder.join(format!("{name}.toml")), sets));
        }
        for folder in ["loose", "nodes", "races"] {
            for file in files(&folder_of(folder)).expect("the folder is there") {
                all = all.and(&counts(&file, &[]));
            }
        }
        let unexplained = |probe: &&Probe| all.of(**probe) == 0 && UNREACHED.iter().all(|(known, _)| known != *probe);
        let missed: Vec<_> = Probe::ALL.iter().filter(unexplained).map(|probe| probe.name()).collect();
        assert_eq!(missed, [] as [&str; 0]);
    }

    #[test]
    fn only_loose_nodes_send_out_of_order() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let strict = [("broker.loose", "false"), ("n.loose", "false"), ("random.operations", "300"), ("require.delivered", "1")];
        let sets: Vec<(String, String)> = strict.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let scenario = Scenario::load(&folder.join("loose/mixed.toml"), &sets).unwrap();
        for seed in 0..3 {
            let outcome = run(&scenario, &RunOptions { seed, ..RunOptions::default() });
            for probe in [
                Probe::ParcelOvertaken,
                Probe::PortalsBehindParcel,
                Probe::ParcelLateOnDecayed,
                Probe::ParcelBehindClosure,
                Probe::ClosureWaits,
                Probe::ProxyWillStopBehind,
                Probe::ParcelBeforeRouter,
            ] {
                assert_eq!(outcome.probes.of(probe), 0, "{} at seed {seed}", probe.name());
            }
        }
    }
}
