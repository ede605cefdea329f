//! Toy worlds: activities whose events are ready one after the other, and a bug that needs some of them in an order.

use super::*;

/// `lengths[i]` events of chain i; answers the order in which they were taken, as (chain, number).
fn play(policy: &mut Policy, lengths: &[u32], source: &mut Source) -> Vec<(u32, u32)> {
    let mut done = vec![0; lengths.len()];
    // As they became ready: all firsts at once, then each behind its predecessor.
    let mut born: Vec<u64> = (1..=lengths.len() as u64).collect();
    let mut order = Vec::new();
    let mut clock = lengths.len() as u64;
    loop {
        let mut ready: Vec<Ready> = (0..lengths.len())
            .filter(|chain| done[*chain] < lengths[*chain])
            .map(|chain| Ready { chain: chain as u32, born: born[chain], cause: 0, touches: 0, writes: true, event: EventId::default() })
            .collect();
        if ready.is_empty() {
            return order;
        }
        ready.sort_by_key(|one| one.born);
        let chain = ready[policy.pick(&ready, source) as usize].chain as usize;
        order.push((chain as u32, done[chain]));
        done[chain] += 1;
        clock += 1;
        born[chain] = clock;
    }
}

/// Runs until `shows`, at most `runs`; answers how many it took.
fn hunt(spec: &str, lengths: &[u32], runs: u64, shows: impl Fn(&[(u32, u32)]) -> bool) -> Option<u64> {
    let length = Length(lengths.iter().map(|length| u64::from(*length)).sum());
    let spec: PolicySpec = spec.parse().unwrap();
    (0..runs).find(|seed| {
        let mut policy = spec.build(&[], length).unwrap().unwrap();
        shows(&play(&mut policy, lengths, &mut Source::seeded(*seed, "toy")))
    })
}

fn at(order: &[(u32, u32)], event: (u32, u32)) -> usize {
    order.iter().position(|taken| *taken == event).unwrap()
}

/// Depth 2: the first of chain 0, then all of chain 1, then the second of chain 0.
fn torn(order: &[(u32, u32)]) -> bool {
    at(order, (0, 0)) < at(order, (1, 0)) && at(order, (1, 9)) < at(order, (0, 1))
}

/// Depth 3: chain 1 gets in between twice.
fn torn_twice(order: &[(u32, u32)]) -> bool {
    at(order, (0, 0)) < at(order, (1, 0)) && at(order, (1, 4)) < at(order, (0, 1)) && at(order, (0, 5)) < at(order, (1, 5))
}

#[test]
fn pct_finds_within_its_bound_what_the_default_never_shows() {
    let lengths = [10, 10, 10];
    let bound = |d| Bound { n: 3, k: 30, d, runs: 0 }.runs_for(0.001);
    for policy in ["pct:2", "pctcp:2"] {
        assert!(hunt(policy, &lengths, bound(2), torn).is_some(), "{policy}");
    }
    for policy in ["pct:3", "pctcp:3"] {
        assert!(hunt(policy, &lengths, bound(3), torn_twice).is_some(), "{policy}");
    }
    for policy in ["fifo", "swap"] {
        assert_eq!(hunt(policy, &lengths, 500, torn), None, "{policy}");
    }
    // Without a change point no chain is interrupted by another one that comes to its end.
    assert_eq!(hunt("pct:1", &lengths, 500, torn), None);
}

#[test]
fn pct_hits_as_often_as_it_promises() {
    let lengths = [10, 10, 10];
    let least = Bound { n: 3, k: 30, d: 2, runs: 0 }.hit();
    for spec in ["pct:2", "pctcp:2"] {
        let spec: PolicySpec = spec.parse().unwrap();
        let runs = 4_000;
        let hits = (0..runs).filter(|seed| {
            let mut policy = spec.build(&[], Length(30)).unwrap().unwrap();
            torn(&play(&mut policy, &lengths, &mut Source::seeded(*seed, "toy")))
        });
        let rate = hits.count() as f64 / f64::from(runs as u32);
        assert!(rate >= least, "{spec}: {rate} < {least}");
    }
}

#[test]
fn random_orders_are_uniform_choices_and_every_policy_takes_everything() {
    let all = ["fifo", "random", "pct:1", "pct:4", "pctcp:3", "pos", "delay:5", "swap", "hold:AcceptParcel"];
    for text in all {
        let spec: PolicySpec = text.parse().unwrap();
        assert_eq!(spec.to_string(), text);
        let mut policy = spec.build(&[], Length(20)).unwrap().unwrap();
        let mut order = play(&mut policy, &[5, 3, 9], &mut Source::seeded(3, "toy"));
        for chain in 0..3 {
            assert!(order.iter().filter(|taken| taken.0 == chain).is_sorted(), "{text}");
        }
        order.sort_unstable();
        order.dedup();
        assert_eq!(order.len(), 17, "{text}");
    }
    let firsts = (0..3_000).filter(|seed| play(&mut Policy::Random, &[1, 1, 1], &mut Source::seeded(*seed, "toy"))[0].0 == 2).count();
    assert!((900..1_100).contains(&firsts), "{firsts}");
}

#[test]
fn a_delay_puts_one_behind_all_others() {
    let orders = (0..200).map(|seed| play(&mut Policy::Delay(Delays::new(1, 4)), &[1, 1, 1, 1], &mut Source::seeded(seed, "toy")));
    let mut last: Vec<u32> = orders.map(|order| order[3].0).collect();
    last.sort_unstable();
    last.dedup();
    assert_eq!(last, [0, 1, 2, 3]);
    let swapped = (0..200).map(|seed| play(&mut Policy::Swap(Swap::new(4)), &[1, 1, 1, 1], &mut Source::seeded(seed, "toy")));
    assert!(swapped.into_iter().all(|order| order.iter().enumerate().all(|(at, taken)| at.abs_diff(taken.0 as usize) <= 1)));
}

fn event(from: u32, to: u32, kind: crate::events::EventKind) -> EventId {
    EventId { from, to, kind, nth: 1 }
}

#[test]
fn what_is_held_back_goes_last() {
    use crate::events::EventKind::{Message, Op};
    let nodes = ["a", "b", "c"].map(String::from);
    let events = [event(0, 1, Message(20)), event(2, 2, Op), event(1, 2, Message(31)), event(0, 2, Message(30))];
    for (text, held) in
        [("hold:AcceptBypassLink", vec![2]), ("hold:node=b", vec![0]), ("hold:link=c-a", vec![3]), ("hold:link=a-b", vec![0])]
    {
        let mut policy = text.parse::<PolicySpec>().unwrap().build(&nodes, Length(1)).unwrap().unwrap();
        for seed in 0..50 {
            let mut source = Source::seeded(seed, "toy");
            let mut left: Vec<usize> = (0..events.len()).collect();
            let mut order = Vec::new();
            while !left.is_empty() {
                let ready: Vec<_> = left.iter().map(|at| Ready { event: events[*at], ..Ready::default() }).collect();
                order.push(left.remove(policy.pick(&ready, &mut source) as usize));
            }
            assert_eq!(order[order.len() - held.len()..], held, "{text}");
        }
    }
    assert!("hold:node=d".parse::<PolicySpec>().unwrap().build(&nodes, Length(1)).is_err());
}

#[test]
fn pos_draws_again_for_what_conflicts_only() {
    let ready = |chain: u32, born, touches| Ready { chain, born, touches, writes: true, ..Ready::default() };
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let (mut pos, mut source) = (Pos::default(), Source::seeded(seed, "toy"));
        let all = [ready(0, 1, 7), ready(1, 2, 8), ready(2, 3, 7)];
        let first = pos.pick(&all, &mut source) as usize;
        let heads = pos.heads.clone();
        for (other, head) in all.iter().zip(&heads) {
            let conflicts = all[first].touches == other.touches;
            assert_eq!(head.0 == 0, conflicts, "{first} {other:?}");
        }
        orders.insert(first);
    }
    assert_eq!(orders.len(), 3);
}

#[test]
fn pctcp_follows_causes_through_channels() {
    let mut pctcp = Pctcp::new(1, 10);
    let mut source = Source::seeded(1, "toy");
    let ready = |chain: u32, born, cause| Ready { chain, born, cause, ..Ready::default() };
    // 1 causes 2 in another channel: one chain. 3 depends on nothing: a second one. 4 depends on 3.
    pctcp.pick(&[ready(0, 1, 0)], &mut source);
    pctcp.pick(&[ready(1, 2, 1)], &mut source);
    assert_eq!(pctcp.chains(), 1);
    pctcp.pick(&[ready(2, 3, 0)], &mut source);
    pctcp.pick(&[ready(0, 4, 3)], &mut source);
    assert_eq!(pctcp.chains(), 2);
    // 5 and 6 both follow 2, which ends the first chain: only one of them can extend it.
    pctcp.pick(&[ready(3, 5, 2), ready(4, 6, 2)], &mut source);
    assert_eq!(pctcp.chains(), 3);
}

#[test]
fn a_seed_of_the_portfolio_means_one_policy_for_ever() {
    let of = |seed| PolicySpec::Portfolio.of_seed(seed).to_string();
    let first: Vec<String> = (0..12).map(of).collect();
    assert_eq!(first, PORTFOLIO_GOLDEN);
    let mut all: Vec<String> = (0..2_000).map(|seed| of(seed).split(':').next().unwrap().to_owned()).collect();
    all.sort();
    all.dedup();
    assert_eq!(all, ["delay", "hold", "pct", "pctcp", "pos", "random", "swap", "timed"]);
    assert!((0..2_000).all(|seed| !of(seed).contains('?')));
}

const PORTFOLIO_GOLDEN: [&str; 12] =
    ["pct:3", "swap", "random", "delay:3", "pct:2", "pctcp:4", "pctcp:3", "hold:ProxyWillStop", "swap", "pos", "random", "pctcp:4"];

#[test]
fn wrong_policies_are_told_in_words() {
    for (text, word) in [
        ("pst", "unknown policy"),
        ("pct", "needs a number"),
        ("pct:0", "needs a number"),
        ("pct:99", "needs a number"),
        ("random:1", "unknown policy"),
        ("hold:Parcel", "nothing that can be held back"),
        ("hold:link=a", "no link"),
    ] {
        let error = text.parse::<PolicySpec>().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
