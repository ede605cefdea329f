//! How long a chain of proxies takes to melt away, and how many messages: docs/convergence.md against routing.md 21.
use std::path::Path;

use ipcz_sim::run::{LastProxy, Outcome, RunOptions, Verdict, run};
use ipcz_sim::scenario::Scenario;

const PROXIES: [u64; 5] = [1, 2, 4, 8, 16];
const LATENCY_NS: u64 = 1_000_000;
/// Latencies until the first bypass is under way, where routing.md 21.3 begins to count rounds.
const BEFORE: u64 = 2;
const ACCEPT_PARCEL: usize = 20;

fn melt(proxies: u64, flags: [(&str, bool); 3]) -> (Outcome, LastProxy) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/chain.toml");
    let mut sets = vec![("P".to_owned(), proxies.to_string())];
    sets.extend(flags.map(|(flag, value)| (flag.to_owned(), value.to_string())));
    let scenario = Scenario::load(&file, &sets).expect("it resolves");
    let outcome = run(&scenario, &RunOptions::default());
    assert_eq!(outcome.verdict, Verdict::Held, "{proxies} proxies, {flags:?}");
    let last = outcome.last_proxy.clone().expect("the last proxy went");
    (outcome, last)
}

/// Messages of the collapse: neither moves nor parcels.
fn control(last: &LastProxy) -> u64 {
    last.traffic.messages - last.traffic.by_id[ACCEPT_PARCEL]
}

#[test]
fn a_quiet_chain_takes_the_messages_and_rounds_of_the_original() {
    for proxies in PROXIES {
        for (both, introduced) in [(false, true), (false, false), (true, true), (true, false)] {
            let at = format!("{proxies} proxies, both {both}, introduced {introduced}");
            let (outcome, last) = melt(proxies, [("both", both), ("flowing", false), ("introduced", introduced)]);
            let strangers = u64::from(!introduced) * proxies;
            assert_eq!(outcome.introductions, strangers, "{at}");
            assert_eq!(last.traffic.by_id[ACCEPT_PARCEL], proxies + 1, "moves: {at}");
            // 21.3 counts neither what is under way when it begins (AcceptBypassLink; FlushRouter and BypassPeer) nor introductions.
            let (messages, rounds, under_way) =
                if both { (4 * proxies - 1, 3 * proxies, 2) } else { (4 * proxies - 2, 3 * proxies - 1, 1) };
            assert_eq!(control(&last), messages + under_way + 3 * strangers, "{at}");
            assert_eq!(last.at_ns, (BEFORE + rounds + 2 * strangers) * LATENCY_NS, "{at}");
            // Nothing of the collapse is left to be sent.
            assert_eq!(last.traffic.messages, outcome.run.messages, "{at}");
            // Whole chains of the original, less the round trip, where they were counted.
            let nodes = proxies + 2;
            if !both && introduced {
                assert!(last.traffic.messages <= 5 * nodes - 6 - 2, "{at}");
            } else if !both && nodes >= 10 {
                assert!(last.traffic.messages <= 9 * nodes - 18 - 2, "{at}");
            }
        }
    }
}

#[test]
fn parcels_under_way_cost_no_message_of_the_collapse() {
    for proxies in PROXIES {
        for (both, introduced) in [(false, true), (false, false), (true, true), (true, false)] {
            let at = format!("{proxies} proxies, both {both}, introduced {introduced}");
            let [(_, quiet), (outcome, flowing)] =
                [false, true].map(|flowing| melt(proxies, [("both", both), ("flowing", flowing), ("introduced", introduced)]));
            assert_eq!(control(&flowing), control(&quiet), "{at}");
            assert!(outcome.forwarded > 0, "nothing flowed: {at}");
            assert!(outcome.work_ns > flowing.at_ns, "parcels flow to the end: {at}");
        }
    }
}
