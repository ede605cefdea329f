//! What sources promise.

use super::keyed::DENSE;
use super::*;

fn draws(source: &mut Source, site: Site, actor: u32, count: usize) -> Vec<u32> {
    (0..count).map(|_| source.draw(site, actor, 1000)).collect()
}

#[test]
fn a_stream_does_not_feel_what_others_draw() {
    let mut alone = Source::seeded(7, "keys");
    let expected = draws(&mut alone, Site::Latency, 3, 40);
    let mut busy = Source::seeded(7, "keys");
    let mut got = Vec::new();
    for i in 0..40 {
        got.push(busy.draw(Site::Latency, 3, 1000));
        draws(&mut busy, Site::Latency, 4, i % 3);
        draws(&mut busy, Site::Workload(0), 3, i % 5);
        draws(&mut busy, Site::Latency, DENSE + 3, 1);
    }
    assert_eq!(got, expected);
    assert_ne!(draws(&mut Source::seeded(7, "keys"), Site::Latency, 4, 40), expected);
    assert_ne!(draws(&mut Source::seeded(7, "keys"), Site::Tie, 3, 40), expected);
    assert_ne!(draws(&mut Source::seeded(8, "keys"), Site::Latency, 3, 40), expected);
    assert_ne!(draws(&mut Source::seeded(7, "other"), Site::Latency, 3, 40), expected);
}

#[test]
fn a_seed_means_the_same_for_ever() {
    let mut source = Source::seeded(1, "golden");
    let mut name = [0; 16];
    source.fill(Site::Name, 2, &mut name);
    let values = (
        draws(&mut source, Site::Tie, 0, 4),
        draws(&mut source, Site::Latency, 5, 10),
        draws(&mut source, Site::Workload(3), u32::MAX, 4),
        u128::from_le_bytes(name),
    );
    let expected = (
        vec![0xc7, 0xe9, 0x164, 0x9],
        vec![0x216, 0x260, 0x12b, 0x325, 0x21c, 0x9f, 0x388, 0x52, 0x9, 0x234],
        vec![0xf2, 0x349, 0x303, 0x141],
        0x5022_ca97_382f_91f2_6d4c_240b_c168_6627,
    );
    assert_eq!(values, expected);
}

#[test]
fn weights_are_respected() {
    let mut source = Source::seeded(3, "weights");
    let mut counts = [0; 4];
    for _ in 0..10_000 {
        counts[source.choose(Site::Workload(1), 0, 4, Some(&[1, 0, 2, 7])) as usize] += 1;
    }
    assert!((800..1200).contains(&counts[0]) && counts[1] == 0, "{counts:?}");
    assert!((1800..2200).contains(&counts[2]) && (6700..7300).contains(&counts[3]), "{counts:?}");
    let mut fuzzed = Source::bytes([0, 1, 2, 3]);
    let chosen = [(); 5].map(|_| fuzzed.choose(Site::Workload(1), 0, 4, Some(&[0, 5, 0, 1])));
    assert_eq!(chosen, [1, 3, 1, 3, 1]);
}

#[test]
fn uniform_draws_reach_every_option_equally() {
    let mut source = Source::seeded(9, "uniform");
    let mut counts = [0; 3];
    for _ in 0..30_000 {
        counts[source.draw(Site::Tie, 0, 3) as usize] += 1;
    }
    assert!(counts.iter().all(|c| (9_500..10_500).contains(c)), "{counts:?}");
}

/// Some decisions of every kind.
fn decide(source: &mut Source) -> Vec<u32> {
    let mut taken = Vec::new();
    for (i, actor) in [7, 8, 7, u32::MAX, 8, 7].into_iter().enumerate() {
        taken.push(source.draw(Site::Tie, actor, 3));
        taken.push(source.choose(Site::Workload(2), actor, 3, Some(&[5, 0, 1])));
        let proposal = source.draw(Site::Policy(0), 0, 4);
        taken.push(source.settle(Site::Next, 0, 4, proposal));
        let mut name = [0; 3];
        source.fill(Site::Name, i as u32 % 2, &mut name);
        taken.extend(name.map(u32::from));
    }
    taken
}

#[test]
fn a_log_decides_as_what_it_was_taken_from() {
    let bytes: Vec<u8> = (0..40).map(|i: u8| i.wrapping_mul(37) % 7).collect();
    for source in [Source::seeded(4, "log"), Source::bytes(bytes), Source::default(), Source::replay(&Log::default())] {
        let mut silent = source.clone();
        let expected = decide(&mut silent);
        assert_eq!(silent.log(), None);
        let mut recorder = source.recording();
        assert_eq!(decide(&mut recorder), expected, "recording changes nothing");
        let log = recorder.log().expect("a log");
        assert!(log.deviations.iter().all(|d| d.chosen != 0 && !matches!(d.site, Site::Policy(_))), "{log:?}");
        let again = Log::parse(log.seed, &log.scenario, &log.text()).expect("its own text");
        assert_eq!(again, log);
        let mut replay = Source::replay(&again).recording();
        assert_eq!(decide(&mut replay), expected);
        assert_eq!(replay.log(), Some(log));
    }
}

#[test]
fn a_log_is_zero_where_it_says_nothing_and_never_too_much() {
    let text = "tie/7#1 = 2\n\nnext/0#4 = 3\ntie/*#0 = 900\n";
    let log = Log::parse(1, "some", text).expect("a log");
    let mut source = Source::replay(&log);
    assert_eq!(draws(&mut source, Site::Tie, 7, 3), [0, 2, 0]);
    assert_eq!(draws(&mut source, Site::Tie, 6, 3), [0, 0, 0]);
    assert_eq!(source.draw(Site::Tie, u32::MAX, 10), 9);
    assert_eq!([(); 6].map(|()| source.settle(Site::Next, 0, 8, 5)), [0, 0, 0, 0, 3, 0]);
}

#[test]
fn every_site_has_a_name_of_its_own() {
    let sites = [Site::Tie, Site::Latency, Site::Cut, Site::Name, Site::Next, Site::Loose];
    let families = [Site::Fault, Site::Workload, Site::Policy, Site::Swarm];
    for site in sites.into_iter().chain(families.iter().flat_map(|family| [family(0), family(255)])) {
        assert_eq!(site.to_string().parse(), Ok(site));
    }
    for wrong in ["", "ties", "fault", "fault.256", "tie.1", "fault.-1", "fault."] {
        assert_eq!(wrong.parse::<Site>(), Err(()), "{wrong}");
    }
}

#[test]
fn a_wrong_line_of_a_log_is_named() {
    for wrong in ["next/0#17", "next/0 = 2", "next#17 = 2", "nxt/0#17 = 2", "next/-1#17 = 2", "next/0#x = 2", "next/0#17 = -2"] {
        let error = Log::parse(0, "", &format!("next/0#1 = 1\n{wrong}\n")).expect_err(wrong);
        assert!(error.line == 2 && error.why.contains("next/0#17 = 2"), "{error:?}");
    }
    let twice = Log::parse(0, "", "next/0#1 = 1\n\nnext/0#1 = 2").expect_err("twice");
    assert_eq!((twice.line, twice.why), (3, "this decision stands twice"));
}

/// Takes the heads of some queues of these lengths in the order that `source` says.
fn merge(mut queues: Vec<u32>, source: &mut Source) -> Vec<usize> {
    let mut order = Vec::new();
    loop {
        let ready: Vec<usize> = (0..queues.len()).filter(|at| queues[*at] > 0).collect();
        if ready.is_empty() {
            return order;
        }
        let next = ready[source.settle(Site::Next, 0, ready.len() as u32, 0) as usize];
        queues[next] -= 1;
        order.push(next);
    }
}

/// The orders that an odometer visits, and whether it says that they are all.
fn orders(queues: &[u32], bounds: Bounds) -> (Vec<Vec<usize>>, bool) {
    let mut odometer = Odometer::new(bounds);
    let mut orders = Vec::new();
    loop {
        let mut source = odometer.source();
        orders.push(merge(queues.to_vec(), &mut source));
        if !odometer.next(&source) {
            assert_eq!(odometer.runs(), orders.len() as u64);
            return (orders, odometer.complete());
        }
    }
}

#[test]
fn an_odometer_visits_every_way_once() {
    let (all, complete) = orders(&[2, 2, 2], Bounds::default());
    let distinct: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len(), complete), (90, 90, true));
    assert_eq!(all[0], [0, 0, 1, 1, 2, 2], "option 0 first");
    assert_eq!(orders(&[1], Bounds::default()).0.len(), 1);
}

#[test]
fn a_bounded_odometer_says_what_it_left_out() {
    let (few, complete) = orders(&[2, 2, 2], Bounds { deviations: 1, ..Bounds::default() });
    // One of the decisions 0 0 1 1 2 2 has 3, 3, 2, 2, 1, 1 options, one deviation lengthens the choice behind it.
    let distinct: std::collections::BTreeSet<_> = few.iter().collect();
    assert!(!complete && few.len() == distinct.len() && few.len() < 90, "{}", few.len());
    let (first, complete) = orders(&[2, 2, 2], Bounds { depth: 1, ..Bounds::default() });
    assert_eq!((first.len(), complete), (3, false));
    let (same, complete) = orders(&[2, 2, 2], Bounds { deviations: 4, depth: 5 });
    assert_eq!((same.len(), complete), (90, true));
}

#[test]
fn an_exhausted_tape_answers_zero() {
    let mut source = Source::bytes([5, 0x34, 0x12]);
    assert_eq!(source.draw(Site::Tie, 0, 4), 1);
    assert_eq!(source.draw(Site::Tie, 0, 1), 0);
    assert_eq!(source.draw(Site::Tie, 0, 60_000), 0x1234);
    assert_eq!(source.draw(Site::Tie, 0, 256), 0);
}

#[test]
fn names_differ_even_where_nothing_is_left_to_chance() {
    for mut source in [Source::default(), Source::bytes([]), Source::seeded(0, "")] {
        let mut names = [[0; 16]; 4];
        for (i, name) in names.iter_mut().enumerate() {
            source.fill(Site::Name, i as u32 / 2, name);
        }
        assert!((0..4).all(|i| names[i] != [0; 16] && names[..i].iter().all(|n| *n != names[i])));
    }
    assert_eq!(Source::default().draw(Site::Latency, 0, 1000), 0);
}
