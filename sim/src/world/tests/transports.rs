//! Messages, errors, objects, timers and faults.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use ipcz::clock::{Time, Wake};
use ipcz::driver::{Activity, DriverError, Frame, Listener, Packed, Travel};
use ipcz::trap::{PortalStatus, TrapEvent, TrapFlags};

use super::super::{Config, DropRule, Event, LinkProfile};
use super::{Heard, Stage, texts};
use crate::choice::Source;

#[test]
fn a_transport_keeps_its_order_under_jitter() {
    let mut stage = Stage::jittery(1);
    let (a1, b1) = stage.pair(0, 1);
    let (a2, b2) = stage.pair(0, 1);
    for i in 0..200_u8 {
        stage.send(0, a1, &[b'1', i]);
        stage.send(0, a2, &[b'2', i]);
        if i % 8 == 0 {
            stage.world.step();
        }
    }
    stage.run();
    let heard = stage.heard(1);
    let on = |t| heard.iter().filter(|h| matches!(h, Heard::Message(on, _) if *on == t)).cloned().collect::<Vec<_>>();
    let expected = |t, digit| (0..200).map(|i| Heard::Message(t, vec![digit, i])).collect::<Vec<_>>();
    assert_eq!((on(b1), on(b2)), (expected(b1, b'1'), expected(b2, b'2')));
    let (first, second): (Vec<_>, Vec<_>) = heard.chunks_exact(2).map(|c| (c[0].clone(), c[1].clone())).unzip();
    assert!(first != on(b1) || second != on(b2), "jitter must mix the two transports");
}

#[test]
fn messages_take_the_latency_of_their_link() {
    let slow = LinkProfile { latency_ns: 70_000, ..LinkProfile::default() };
    let config = Config { links: [((0, 2), slow)].into(), ..Config::default() };
    let mut stage = Stage::new(3, config, Source::default());
    let (near, _) = stage.pair(0, 1);
    let (far, _) = stage.pair(2, 0);
    stage.send(2, far, b"far");
    stage.send(0, near, b"near");
    stage.world.schedule(1_500, 42);
    let times: Vec<_> = std::iter::from_fn(|| stage.world.step()).map(|s| (s.time, s.event.process())).collect();
    assert_eq!(times, [(1_000, Some(1)), (1_500, None), (70_000, Some(0))]);
    assert!(stage.world.idle() && stage.world.now() == 70_000);
}

#[test]
fn messages_wait_for_activation_and_stay_in_order() {
    for seed in 0..20 {
        let mut stage = Stage::jittery(seed);
        let (a, b) = stage.world.transport_pair(0, 1, None);
        stage.send(0, a, b"one");
        stage.send(0, a, b"two");
        assert!(stage.run().iter().all(|e| matches!(e, Event::Held { .. })));
        stage.send(0, a, b"three");
        stage.world.schedule(stage.world.now() + 1_000 + seed * 250, 1);
        while stage.world.step().is_some_and(|s| s.event != Event::App { token: 1 }) {}
        stage.send(0, a, b"four");
        stage.fakes[0].ports.driver.close(a);
        stage.activate(1, b);
        stage.run();
        let expected = [texts(b, &["one", "two", "three", "four"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat();
        assert_eq!(stage.heard(1), expected);
        assert_eq!(stage.world.population().messages, 0);
    }
}

#[test]
fn an_error_that_came_before_activation_is_told_after_the_messages() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.world.transport_pair(0, 1, None);
    stage.send(0, a, b"bye");
    stage.fakes[0].ports.driver.close(a);
    stage.run();
    stage.activate(1, b);
    stage.run();
    assert_eq!(stage.heard(1), [texts(b, &["bye"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
}

#[test]
fn nothing_overtakes_what_waited_for_activation() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.world.transport_pair(0, 1, None);
    stage.send(0, a, b"one");
    stage.world.schedule(5_000, 1);
    stage.world.schedule(6_000, 2);
    while let Some(step) = stage.world.step() {
        match step.event {
            Event::App { token: 1 } => {
                stage.send(0, a, b"two");
                stage.fakes[0].ports.driver.close(a);
            }
            Event::App { token: 2 } => stage.activate(1, b),
            _ => (),
        }
    }
    assert_eq!(stage.heard(1), [texts(b, &["one", "two"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
}

#[test]
fn nothing_is_sent_on_a_transport_that_ended() {
    let ends: [fn(&mut Stage, _); 2] = [|stage, a| stage.fakes[0].ports.driver.deactivate(a), |stage, _| stage.world.cut_link(0, 1)];
    for end in ends {
        let mut stage = Stage::plain(2);
        let (a, b) = stage.world.transport_pair(0, 1, None);
        stage.activate(0, a);
        end(&mut stage, a);
        stage.send(0, a, b"ghost");
        stage.run();
        stage.activate(1, b);
        stage.run();
        assert_eq!(stage.heard(1), [Heard::Error(b), Heard::Deactivated(b)]);
    }
}

#[test]
fn an_error_is_told_once() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    stage.fakes[1].memo().stubborn = true;
    stage.send(0, a, b"!");
    stage.world.cut_link(0, 1);
    stage.fakes[0].ports.driver.close(a);
    stage.run();
    stage.world.cut_link(0, 1);
    stage.run();
    assert_eq!(stage.heard(1), [texts(b, &["!"]), vec![Heard::Error(b)]].concat());
}

#[test]
fn a_closed_end_errors_at_its_peer_after_what_was_sent() {
    for seed in 0..20 {
        let mut stage = Stage::jittery(seed);
        let (a, b) = stage.pair(0, 1);
        stage.send(0, a, b"one");
        stage.send(0, a, b"two");
        stage.send(1, b, b"lost");
        stage.fakes[0].ports.driver.close(a);
        stage.send(1, b, b"nobody");
        stage.run();
        assert_eq!(stage.heard(1), [texts(b, &["one", "two"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
        assert_eq!(stage.heard(0), [Heard::Deactivated(a)]);
        assert_eq!(stage.world.trace(|t| t.totals().lost), 2);
        assert_eq!(stage.open(), [0, 1]);
    }
}

#[test]
fn deactivation_is_the_last_word_and_comes_later() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    let memory = stage.fakes[1].ports.driver.allocate(100).unwrap();
    stage.send_object(1, b, memory);
    stage.fakes[0].ports.driver.deactivate(a);
    stage.fakes[0].ports.driver.deactivate(a);
    assert_eq!(stage.heard(0), []);
    stage.run();
    assert_eq!(stage.heard(0), [Heard::Deactivated(a)]);
    assert_eq!(stage.heard(1), [Heard::Error(b), Heard::Deactivated(b)]);
    assert_eq!((stage.open(), stage.world.population().memories), (vec![1, 1], 0));
    let again = Listener::new(Arc::clone(&stage.fakes[0]) as Arc<dyn Activity>, 1);
    assert_eq!(stage.fakes[0].ports.driver.activate(a, again), Err(DriverError::InvalidArgument));
}

#[test]
fn after_a_refusal_comes_the_error_and_nothing_more() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    for text in ["fine", "!", "never", "never"] {
        stage.send(0, a, text.as_bytes());
    }
    stage.run();
    assert_eq!(stage.heard(1), [texts(b, &["fine", "!"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
    assert_eq!(stage.heard(0), [Heard::Error(a), Heard::Deactivated(a)]);
    assert_eq!(stage.world.trace(|t| (t.totals().refused, t.totals().lost)), (1, 2));
}

#[test]
fn a_cut_link_loses_only_a_tail() {
    let mut seen = Vec::new();
    for seed in 0..40 {
        let mut stage = Stage::new(3, Config::default(), Source::seeded(seed, "cut"));
        let (a, b) = stage.pair(0, 1);
        let (other, far) = stage.pair(0, 2);
        for i in 0..4_u8 {
            stage.send(0, a, &[i]);
        }
        stage.send(0, other, b"other");
        stage.world.cut_link(1, 0);
        stage.send(0, a, b"late");
        stage.run();
        let heard = stage.heard(1);
        let got = heard.len() - 2;
        let expected: Vec<_> = (0..got as u8).map(|i| Heard::Message(b, vec![i])).collect();
        assert_eq!(heard, [expected, vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
        assert_eq!(stage.heard(0), [Heard::Error(a), Heard::Deactivated(a)]);
        assert_eq!(stage.heard(2), texts(far, &["other"]));
        seen.push(got);
    }
    assert!((0..=4).all(|n| seen.contains(&n)), "{seen:?}");
}

#[test]
fn a_killed_process_is_silent_and_its_peers_learn_it() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    stage.fakes[0].ports.driver.allocate(4096).unwrap();
    stage.fakes[0].ports.clock.wake_at(Time(10), Arc::clone(&stage.fakes[0]) as Arc<dyn Wake>);
    stage.send(0, a, b"last words");
    stage.send(1, b, b"too late");
    stage.world.kill(0);
    assert!(stage.run().iter().all(|e| e.process() != Some(0)));
    assert_eq!(stage.heard(0), []);
    assert_eq!(stage.heard(1), [texts(b, &["last words"]), vec![Heard::Error(b), Heard::Deactivated(b)]].concat());
    assert_eq!((stage.open(), stage.world.population().memories), (vec![0, 1], 0));
    assert!(stage.world.is_gone(0) && stage.world.actor(0).is_none() && !stage.world.is_gone(1));
}

#[test]
fn the_nth_message_of_a_kind_is_dropped() {
    let config = Config { drops: vec![DropRule { message: b'x', nth: 1 }], ..Config::default() };
    let mut stage = Stage::new(2, config, Source::default());
    let (a, b) = stage.pair(0, 1);
    for text in ["0 x", "0 y", "1 x", "2 x"] {
        stage.send(0, a, text.as_bytes());
    }
    stage.run();
    assert_eq!(stage.heard(1), texts(b, &["0 x", "0 y", "2 x"]));
    assert_eq!(stage.world.trace(|t| (t.transmitted(b'x'), t.transmitted(b'y'))), (3, 1));
}

#[test]
fn objects_move_with_messages() {
    let mut stage = Stage::plain(3);
    let (a, b) = stage.pair(0, 1);
    let driver = [0, 1, 2].map(|i| Arc::clone(&stage.fakes[i].ports.driver));
    let memory = driver[0].allocate(4096).unwrap();
    let mapping = driver[0].map(memory).unwrap();
    mapping.store32(8, 77, Relaxed);
    let packed = stage.send_object(0, a, memory);
    assert_eq!(packed, [1, 0, 0, 0, 0, 16, 0, 0]);
    assert_eq!(driver[0].size(memory), Err(DriverError::InvalidArgument));
    stage.run();
    let handle = stage.fakes[1].memo().handles.pop().unwrap();
    let wrong = driver[1].deserialize(&[1, 0, 0, 0, 0, 17, 0, 0], &[handle], b);
    assert_eq!(wrong, Err(DriverError::InvalidArgument));
    assert_eq!((stage.open(), stage.world.population().memories), (vec![1, 1, 0], 1));
    drop(mapping);
    assert_eq!(stage.world.population().memories, 0);

    let [keep, give] = driver[0].create_transports(Some([a, a])).unwrap();
    assert_eq!(stage.send_object(0, a, give), [0; 8]);
    stage.send(0, keep, b"on the way");
    assert_eq!(stage.world.trace(|t| t.recent().last().map(|m| m.to)), Some(u32::MAX));
    stage.run();
    let handle = stage.fakes[1].memo().handles.pop().unwrap();
    let given = driver[1].deserialize(&[0; 8], &[handle], b).unwrap();
    stage.activate(1, given);
    stage.run();
    assert_eq!(stage.heard(1)[2..], texts(given, &["on the way"]));
    assert_eq!(stage.open(), [2, 2, 0]);
}

#[test]
fn a_transport_lost_inside_a_message_errors_at_its_peer() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    let [keep, give] = stage.fakes[0].ports.driver.create_transports(None).unwrap();
    let [inner, deep] = stage.fakes[0].ports.driver.create_transports(None).unwrap();
    stage.activate(0, keep);
    stage.activate(0, inner);
    stage.send_object(0, keep, deep);
    stage.send_object(0, a, give);
    stage.fakes[1].ports.driver.close(b);
    stage.run();
    let heard = stage.heard(0);
    assert!([a, keep, inner].iter().all(|t| heard.contains(&Heard::Error(*t))), "{heard:?}");
    assert_eq!((stage.open(), stage.world.population().messages), (vec![3, 0], 0));
}

#[test]
fn wrong_objects_are_refused() {
    let mut stage = Stage::plain(2);
    let (a, b) = stage.pair(0, 1);
    let driver = Arc::clone(&stage.fakes[0].ports.driver);
    let memory = driver.allocate(10).unwrap();
    let mut packed = Packed::default();
    let bad = Err(DriverError::InvalidArgument);
    assert_eq!(driver.size(a), Err(DriverError::InvalidArgument));
    assert_eq!(driver.transmit(memory, &[]), bad);
    assert_eq!(driver.transmit(b, &[]), bad);
    assert_eq!(driver.transmit(a, &[Frame { data: &[], handles: &[memory] }]), bad);
    assert_eq!(driver.serialize(a, a, &mut packed), bad);
    assert_eq!(driver.serialize(memory, memory, &mut packed), bad);
    assert_eq!((driver.can_travel(a, None), driver.can_travel(memory, Some(a)), driver.can_travel(memory, None)), {
        (Travel::Never, Travel::Yes, Travel::Yes)
    });
    assert_eq!(driver.allocate(0).unwrap_err(), DriverError::InvalidArgument);
    driver.close(memory);
    driver.close(memory);
    let other = driver.allocate(20).unwrap();
    assert_eq!((driver.size(memory), driver.size(other)), (Err(DriverError::InvalidArgument), Ok(20)));
    assert_eq!(stage.open(), [2, 1]);
}

#[test]
fn some_links_carry_no_objects() {
    let link = LinkProfile { carries_objects: false, ..LinkProfile::default() };
    let mut stage = Stage::new(2, Config { link, ..Config::default() }, Source::default());
    let (a, _) = stage.pair(0, 1);
    let driver = Arc::clone(&stage.fakes[0].ports.driver);
    let memory = driver.allocate(10).unwrap();
    assert_eq!((driver.can_travel(memory, Some(a)), driver.can_travel(memory, None)), (Travel::NotHere, Travel::Yes));
    assert_eq!(driver.serialize(memory, a, &mut Packed::default()), Err(DriverError::PermissionDenied));
    assert_eq!(driver.size(memory), Ok(10));
}

#[test]
fn timers_fire_in_virtual_time() {
    let mut stage = Stage::plain(1);
    let (clock, wake) = (Arc::clone(&stage.fakes[0].ports.clock), Arc::clone(&stage.fakes[0]) as Arc<dyn Wake>);
    for at in [500, 500, 200] {
        clock.wake_at(Time(at), Arc::clone(&wake));
    }
    let (first, second) = stage.pair(0, 0);
    stage.send(0, first, b"between");
    assert!(!stage.world.quiet());
    clock.wake_at(Time(2_000), wake);
    while !stage.world.quiet() {
        stage.world.step();
    }
    assert_eq!((stage.world.now(), stage.world.idle()), (1_000, false));
    stage.run();
    let heard = [Heard::Timer(200), Heard::Timer(500), texts(second, &["between"]).remove(0), Heard::Timer(2_000)];
    assert_eq!(stage.heard(0), heard);
}

#[test]
fn traps_are_kept_for_the_workload() {
    let mut stage = Stage::plain(2);
    let event = TrapEvent { context: 9, flags: TrapFlags::DEAD, status: PortalStatus { bytes: 3, ..PortalStatus::default() } };
    let before = stage.world.fingerprint();
    stage.fakes[1].ports.traps.fired(&event);
    assert_ne!(stage.world.fingerprint(), before);
    let mut out = Vec::new();
    stage.world.take_traps(&mut out);
    stage.world.take_traps(&mut out);
    assert_eq!(out, [(1, event)]);
}
