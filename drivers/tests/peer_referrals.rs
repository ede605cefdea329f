//! How a node is referred to another one's broker, at each of the three, and every way in which that can go wrong (nodes.md 5.4, 15).

mod hand;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hand::*;
use ipcz::clock::Wake;
use ipcz::driver::{Driver, Travel};
use ipcz::ids::{Features, Handle, LinkSide, NodeName, NodeType, ObjectId, SublinkId};
use ipcz::limits::Limits;
use ipcz::wire::*;
use ipcz::{ConnectTo, Error, NodeOptions};
use ipcz_drivers::InProcess;

fn refer(referral_id: u64, num_initial_portals: u32) -> ReferNonBroker {
    ReferNonBroker { referral_id, num_initial_portals, transport: Some(0) }
}

/// A real node that shares its broker with whoever is at the far end of a new pair.
fn share(driver: &InProcess, program: &Program, portals: usize) -> (ObjectId, Vec<Handle>) {
    let [theirs, ours] = driver.transport_pair();
    (ours, program.process.connect_node(program.node, theirs, portals, ConnectTo::Referred).unwrap())
}

/// Three real nodes, of which one is referred; whether it connects first.
fn real(first: bool) -> ([Program; 3], [Vec<Handle>; 2]) {
    let driver = InProcess::new();
    let programs = [Program::broker(&driver), Program::normal(&driver), Program::normal(&driver)];
    let [b, x, z] = &programs;
    connect(&driver, x, b);
    let [near, far] = driver.transport_pair();
    let inherit = || z.process.connect_node(z.node, far, 2, ConnectTo::Inherited).unwrap();
    let early = first.then(inherit);
    let of_x = x.process.connect_node(x.node, near, 3, ConnectTo::Referred).unwrap();
    let of_z = early.unwrap_or_else(inherit);
    (programs, [of_x, of_z])
}

#[test]
fn a_referred_node_is_linked_to_its_referrer_and_to_the_broker() {
    for first in [true, false] {
        let ([b, x, z], [of_x, of_z]) = real(first);
        let (near, far) = (x.link(z.name()).unwrap(), z.link(x.name()).unwrap());
        assert_eq!((near.side, far.side), (LinkSide::A, LinkSide::B));
        assert_eq!([near.remote_type, far.remote_type], [Some(NodeType::Normal); 2]);
        assert_eq!(z.link(b.name()).unwrap().remote_type, Some(NodeType::Broker));
        assert_eq!(b.link(z.name()).unwrap().remote_type, Some(NodeType::Normal));
        x.put(of_x[0], b"to z");
        z.put(of_z[1], b"to x");
        assert_eq!((z.get(of_z[0]).unwrap(), x.get(of_x[1]).unwrap()), (b"to z".to_vec(), b"to x".to_vec()));
        assert!(x.is_dead(of_x[2]), "surplus");
        for program in [&b, &x, &z] {
            assert_eq!((program.waits(), program.violations()), (0, vec![]));
        }
    }
}

#[test]
fn what_was_put_before_comes_out_in_order() {
    let driver = InProcess::new();
    let (b, x, z) = (Program::broker(&driver), Program::normal(&driver), Program::normal(&driver));
    let (ours, of_x) = share(&driver, &x, 1);
    let of_z = z.process.connect_node(z.node, ours, 1, ConnectTo::Inherited).unwrap();
    for i in 0..3u8 {
        x.put(of_x[0], &[i]);
        z.put(of_z[0], &[10 + i]);
    }
    assert_eq!((x.waits(), x.process.inspect(|view| view.links().len())), (1, 0), "it waits for a broker");
    connect(&driver, &x, &b);
    for i in 0..3u8 {
        assert_eq!((z.get(of_z[0]).unwrap(), x.get(of_x[0]).unwrap()), (vec![i], vec![10 + i]));
    }
}

#[test]
fn the_broker_answers_the_referred_node_before_its_referrer() {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let (x, _) = Hand::client_with(&driver, &broker, 1, 1);
    let [theirs, ours] = driver.transport_pair();
    let z = Wire::over(&driver, ours);
    z.say(ConnectToReferredBroker { protocol_version: 7, num_initial_portals: 2, features: vec![1, 9] });
    x.say_with(refer(40, 5), &[theirs]);
    let (heard, answer) = (z.hear_one(), x.hear_one());
    let Message::ConnectToReferredNonBroker(m) = heard.message() else { panic!("{}", heard.message()) };
    let Message::NonBrokerReferralAccepted(a) = answer.message() else { panic!("{}", answer.message()) };
    assert_eq!((m.broker_name, m.referrer_name, m.num_initial_portals, m.referrer_features), (broker.name(), x.name, 5, vec![1]));
    assert_eq!((a.referral_id, a.name, a.num_initial_portals, a.protocol_version, a.features), (40, m.name, 2, 7, vec![1]));
    assert!(m.name.is_valid() && m.name != x.name);
    // The ends of one pair, and one memory.
    let at = |heard: &Heard, index: Option<u32>| heard.handles[index.unwrap() as usize];
    let far = Wire::over(&driver, at(&heard, m.referrer_link_transport));
    Wire::over(&driver, at(&answer, a.transport)).say(FlushRouter { sublink: SublinkId(0) });
    assert_eq!(far.hear_ids(), [36]);
    let [near, far] = [at(&answer, a.buffer), at(&heard, m.referrer_link_buffer)].map(|memory| driver.map(memory).unwrap());
    near.store64(512, 7, Ordering::Relaxed);
    assert_eq!(far.load64(512, Ordering::Relaxed), 7);
    let own = driver.map(at(&heard, m.broker_link_buffer)).unwrap();
    assert_eq!(own.load64(512, Ordering::Relaxed), 0, "the link to the broker has its own");
    assert_eq!((broker.waits(), broker.violations()), (0, vec![]));
}

#[test]
fn whoever_is_no_referred_node_is_refused_and_the_referrer_told() {
    let wrong: [fn(&Wire); 5] = [
        |z| z.say(to_broker(1, 0)),
        |z| z.say_raw(b"garbage", &[]),
        |z| z.say(FlushRouter { sublink: SublinkId(0) }),
        |z| z.say_with(to_client(BROKER, CLIENT, 1, 0), &[z.new_primary()]),
        |z| z.die(),
    ];
    for say in wrong {
        let driver = InProcess::new();
        let broker = Program::broker(&driver);
        let (x, portals) = Hand::client(&driver, &broker, 1);
        let before = driver.live_objects();
        let [theirs, ours] = driver.transport_pair();
        x.say_with(refer(3, 1), &[theirs]);
        assert_eq!(broker.waits(), 1);
        let z = Wire::over(&driver, ours);
        say(&z);
        assert!(matches!(x.hear_one().message(), Message::NonBrokerReferralRejected(m) if m.referral_id == 3));
        assert!(!x.is_dropped() && !broker.is_dead(portals[0]) && broker.waits() == 0);
        if z.is_dropped() {
            z.die();
        }
        assert_eq!(driver.live_objects(), before, "its memory is free again");
    }
}

#[test]
fn only_clients_refer_and_only_transports() {
    // A broker does not refer.
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let (fellow, _) = Hand::fellow(&driver, &broker, name(1), 1);
    let (bystander, portals) = Hand::client(&driver, &broker, 1);
    fellow.say_with(refer(0, 1), &[driver.transport_pair()[0]]);
    assert!(fellow.is_dropped() && !bystander.is_dropped() && broker.violation().contains("ReferNonBroker"));
    // A client is no broker.
    let client = Program::normal(&driver);
    let (hand, _) = Hand::broker(&driver, &client, 1);
    let friend = hand.introduced(name(7), LinkSide::A);
    friend.say_with(refer(0, 1), &[driver.transport_pair()[0]]);
    assert!(friend.is_dropped() && !hand.is_dropped());
    // Something else than a transport, or nothing.
    for objects in [vec![driver.allocate(64).unwrap()], vec![]] {
        let (x, _) = Hand::client(&driver, &broker, 1);
        x.say_with(ReferNonBroker { transport: (!objects.is_empty()).then_some(0), ..refer(0, 1) }, &objects);
        assert!(x.is_dropped() && !bystander.is_dropped() && !broker.is_dead(portals[0]));
        assert!(objects.iter().all(|object| driver.can_travel(*object, None) == Travel::Never), "closed");
    }
    assert_eq!(broker.waits(), 0);
}

#[test]
fn a_flood_of_referrals_is_refused_beyond_the_limit() {
    let driver = InProcess::new();
    let options = NodeOptions { limits: Limits { pending_referrals: 3, ..Limits::default() }, ..NodeOptions::default() };
    let broker = Program::with(driver.clone(), NodeType::Broker, options);
    let (x, _) = Hand::client(&driver, &broker, 1);
    let (other, _) = Hand::client(&driver, &broker, 1);
    let before = driver.live_objects();
    let ends: Vec<_> = (0..10u64)
        .map(|id| {
            let [theirs, ours] = driver.transport_pair();
            x.say_with(refer(id, 1), &[theirs]);
            ours
        })
        .collect();
    let rejected: Vec<_> = x
        .hear()
        .iter()
        .map(|heard| match heard.message() {
            Message::NonBrokerReferralRejected(m) => m.referral_id,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!((rejected, broker.waits()), ((3..10).collect(), 3));
    // Others have their own.
    let [theirs, ours] = driver.transport_pair();
    other.say_with(refer(0, 1), &[theirs]);
    let z = Wire::over(&driver, ours);
    z.say(to_referred_broker(1));
    assert_eq!((z.hear_ids(), other.hear_ids()), (vec![4], vec![5]));
    // One that is answered makes room.
    driver.close(ends[0]);
    assert_eq!(x.hear_ids(), [6]);
    let [theirs, _ours] = driver.transport_pair();
    x.say_with(refer(10, 1), &[theirs]);
    assert_eq!((x.hear_ids(), broker.waits()), (vec![], 3));
    // With the referrer nobody is left to answer; whoever it referred is still waited for.
    x.die();
    assert_eq!(broker.waits(), 3);
    ends[1..].iter().for_each(|end| driver.close(*end));
    assert!(broker.waits() == 1 && driver.live_objects() > before);
}

/// A broker whose time the test sets, a client of it, and a node that the client has referred and that has yet to greet.
fn silent(compat_strict: bool) -> (Program, Arc<ByHand>, Wire, Wire) {
    let driver = InProcess::new();
    let options = NodeOptions { compat_strict, ..NodeOptions::default() };
    let (broker, clock) = Program::timed(driver.clone(), NodeType::Broker, options);
    let (x, _) = Hand::client(&driver, &broker, 1);
    let [theirs, ours] = driver.transport_pair();
    x.say_with(refer(5, 1), &[theirs]);
    (broker, clock, x.wire, Wire::over(&driver, ours))
}

#[test]
fn a_referred_node_that_never_greets_is_given_up_after_a_while() {
    let wait = Limits::default().referral_deadline;
    let pass = |broker: &Program, clock: &ByHand, time: Duration| {
        clock.pass(time);
        Wake::timer(&*broker.process);
    };
    let (broker, clock, x, z) = silent(false);
    pass(&broker, &clock, wait - Duration::from_nanos(1));
    assert_eq!((broker.waits(), x.hear_ids()), (1, vec![]));
    pass(&broker, &clock, Duration::from_nanos(1));
    assert!(matches!(x.hear_one().message(), Message::NonBrokerReferralRejected(m) if m.referral_id == 5));
    assert!(z.is_dropped() && !x.is_dropped() && broker.waits() == 0);
    // One that has greeted stays.
    let (broker, clock, x, z) = silent(false);
    z.say(to_referred_broker(1));
    pass(&broker, &clock, 2 * wait);
    assert_eq!((x.hear_ids(), z.hear_ids(), z.is_dropped(), broker.waits()), (vec![5], vec![4], false, 0));
    // The original waits for ever.
    let (broker, clock, x, z) = silent(true);
    pass(&broker, &clock, 2 * wait);
    assert_eq!((broker.waits(), x.hear_ids(), z.is_dropped()), (1, vec![], false));
}

#[test]
fn of_referred_nodes_without_a_referrer_only_the_newest_are_waited_for() {
    let driver = InProcess::new();
    let options = NodeOptions { limits: Limits { orphaned_referrals: 2, ..Limits::default() }, ..NodeOptions::default() };
    let broker = Program::with(driver.clone(), NodeType::Broker, options);
    let refer_all = |x: &Hand, ids: std::ops::Range<u64>| -> Vec<Wire> {
        let one = |id| {
            let [theirs, ours] = driver.transport_pair();
            x.say_with(refer(id, 1), &[theirs]);
            Wire::over(&driver, ours)
        };
        ids.map(one).collect()
    };
    let (first, _) = Hand::client(&driver, &broker, 1);
    let (second, _) = Hand::client(&driver, &broker, 1);
    let of_first = refer_all(&first, 0..3);
    let of_second = refer_all(&second, 0..4);
    assert_eq!(broker.waits(), 7, "those that somebody answers for do not count");
    let dropped = |wires: &[Wire]| wires.iter().map(Wire::is_dropped).collect::<Vec<_>>();
    first.die();
    assert_eq!((dropped(&of_first), dropped(&of_second)), (vec![true, false, false], vec![false; 4]));
    second.die();
    assert_eq!((dropped(&of_first), dropped(&of_second)), (vec![true; 3], vec![true, true, false, false]));
    of_second[3].say(to_referred_broker(1));
    assert_eq!((of_second[3].hear_ids(), broker.waits()), (vec![4], 1), "it is taken up as ever");
}

#[test]
fn a_referrer_that_dies_leaves_a_client_behind() {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let (x, _) = Hand::client(&driver, &broker, 1);
    let [theirs, ours] = driver.transport_pair();
    x.say_with(refer(0, 1), &[theirs]);
    let z = Program::normal(&driver);
    x.die();
    let portals = z.process.connect_node(z.node, ours, 1, ConnectTo::Inherited).unwrap();
    assert!(z.is_dead(portals[0]), "its link to the referrer is broken");
    assert!(z.link(broker.name()).is_some() && broker.link(z.name()).is_some());
    assert_eq!((broker.waits(), z.waits(), broker.violations(), z.violations()), (0, 0, vec![], vec![]));
}

#[test]
fn a_broker_that_dies_ends_what_it_was_asked_for() {
    let driver = InProcess::new();
    let x = Program::normal(&driver);
    let (broker, _) = Hand::broker(&driver, &x, 1);
    let (_, portals) = share(&driver, &x, 2);
    let asked = broker.hear_one();
    assert!(matches!(asked.message(), Message::ReferNonBroker(m) if m.referral_id == 0 && m.num_initial_portals == 2));
    x.put(portals[0], b"lost");
    assert_eq!(x.waits(), 1);
    broker.die();
    assert!(portals.iter().all(|portal| x.is_dead(*portal)) && x.waits() == 0);
    asked.handles.iter().for_each(|handle| driver.close(*handle));
    assert_eq!(x.process.inspect(|view| view.objects_owned()), 0);
}

#[test]
fn referrals_are_answered_once_by_the_broker_with_all_that_is_needed() {
    // Rejected.
    let driver = InProcess::new();
    let x = Program::normal(&driver);
    let (broker, kept) = Hand::broker(&driver, &x, 1);
    let (_, first) = share(&driver, &x, 1);
    let (_, second) = share(&driver, &x, 1);
    broker.say(NonBrokerReferralRejected { referral_id: 1 });
    assert!(!x.is_dead(first[0]) && x.is_dead(second[0]) && !broker.is_dropped());
    // Accepted without what is needed, or under a name that cannot be: a failure.
    for (about, objects) in [
        (NonBrokerReferralAccepted { transport: None, buffer: None, ..referral_accepted(0, name(7), 1) }, vec![]),
        (NonBrokerReferralAccepted { buffer: None, ..referral_accepted(0, name(7), 1) }, vec![driver.transport_pair()[0]]),
        (referral_accepted(0, name(7), 1), vec![driver.transport_pair()[0], driver.allocate(64).unwrap()]),
        (referral_accepted(0, NodeName::INVALID, 1), vec![driver.transport_pair()[0], broker.new_primary()]),
        (referral_accepted(0, CLIENT, 1), vec![driver.transport_pair()[0], broker.new_primary()]),
        (referral_accepted(0, BROKER, 1), vec![driver.transport_pair()[0], broker.new_primary()]),
    ] {
        let id = x.process.inspect(|view| view.waits());
        assert_eq!(id, 1, "one is pending");
        let (_, portals) = share(&driver, &x, 1);
        let ids: Vec<u64> = broker
            .hear()
            .iter()
            .filter_map(|heard| match heard.message() {
                Message::ReferNonBroker(m) => Some(m.referral_id),
                _ => None,
            })
            .collect();
        broker.say_with(NonBrokerReferralAccepted { referral_id: *ids.last().unwrap(), ..about }, &objects);
        assert!(x.is_dead(portals[0]) && !broker.is_dropped(), "{:?}", x.violations());
        assert!(objects.iter().all(|object| driver.can_travel(*object, None) == Travel::Never), "closed");
    }
    // Answered again, or without having been asked: the broker's fault.
    broker.say(NonBrokerReferralRejected { referral_id: 1 });
    assert!(broker.is_dropped() && x.is_dead(first[0]) && x.is_dead(kept[0]) && x.violation().contains("NonBrokerReferralRejected"));
}

#[test]
fn nobody_but_a_broker_answers_referrals() {
    let driver = InProcess::new();
    let x = Program::normal(&driver);
    let (broker, kept) = Hand::broker(&driver, &x, 1);
    let (_, portals) = share(&driver, &x, 1);
    for id in [5, 6] {
        let friend = broker.introduced(name(id), LinkSide::A);
        match id {
            5 => friend.say_with(referral_accepted(0, name(9), 1), &[driver.transport_pair()[0], friend.new_primary()]),
            _ => friend.say(NonBrokerReferralRejected { referral_id: 0 }),
        }
        assert!(friend.is_dropped() && !broker.is_dropped());
    }
    assert!(!x.is_dead(portals[0]) && !x.is_dead(kept[0]) && x.link(name(9)).is_none());
}

#[test]
fn a_referrer_that_never_gets_a_broker_learns_it() {
    // Closed.
    let driver = InProcess::new();
    let x = Program::normal(&driver);
    let (ours, portals) = share(&driver, &x, 1);
    let z = Wire::over(&driver, ours);
    x.close(x.node);
    assert!(x.is_dead(portals[0]) && z.is_dropped() && x.waits() == 0);
    // The attempt to get one fails; but not while there is another.
    let x = Program::normal(&driver);
    let (ours, portals) = share(&driver, &x, 1);
    let z = Wire::over(&driver, ours);
    let (first, _) = Wire::to(&driver, &x, 1, ConnectTo::Broker);
    let (second, _) = Wire::to(&driver, &x, 1, ConnectTo::Broker);
    first.die();
    assert!(!x.is_dead(portals[0]) && !z.is_dropped());
    second.say_raw(b"no", &[]);
    assert!(x.is_dead(portals[0]) && z.is_dropped() && x.waits() == 0);
    assert_eq!(x.process.inspect(|view| (view.objects_owned(), view.links().len())), (0, 0));
}

#[test]
fn a_referred_node_refuses_answers_that_cannot_be() {
    type Objects = fn(&Wire) -> Vec<ObjectId>;
    let all: Objects = |w| vec![w.new_primary(), w.driver.transport_pair()[0], w.new_primary()];
    let small: Objects = |w| vec![w.new_primary(), w.driver.transport_pair()[0], w.driver.allocate(64).unwrap()];
    let swapped: Objects = |w| vec![w.driver.transport_pair()[0], w.new_primary(), w.new_primary()];
    let (invalid, m) = (NodeName::INVALID, to_referred(CLIENT, BROKER, name(7), 1));
    let wrong = [
        (to_referred(invalid, BROKER, name(7), 1), all),
        (to_referred(CLIENT, invalid, name(7), 1), all),
        (to_referred(CLIENT, BROKER, invalid, 1), all),
        (to_referred(CLIENT, CLIENT, name(7), 1), all),
        (to_referred(CLIENT, BROKER, CLIENT, 1), all),
        (to_referred(CLIENT, BROKER, BROKER, 1), all),
        (ConnectToReferredNonBroker { broker_link_buffer: None, ..m.clone() }, all),
        (ConnectToReferredNonBroker { referrer_link_transport: None, ..m.clone() }, all),
        (ConnectToReferredNonBroker { referrer_link_buffer: None, ..m.clone() }, all),
        (m.clone(), small),
        (m, swapped),
    ];
    for (message, objects) in wrong {
        let driver = InProcess::new();
        let z = Program::normal(&driver);
        let (wire, portals) = Wire::to(&driver, &z, 2, ConnectTo::Inherited);
        let greeting = wire.hear_one();
        assert!(matches!(greeting.message(), Message::ConnectToReferredBroker(m) if m.num_initial_portals == 2));
        let objects = objects(&wire);
        wire.say_with(message, &objects);
        assert!(wire.is_dropped() && portals.iter().all(|portal| z.is_dead(*portal)), "{:?}", z.violations());
        assert!(z.violation().contains("ConnectToReferredNonBroker") && z.name() == invalid);
        assert_eq!(z.process.inspect(|view| (view.links().len(), view.objects_owned())), (0, 0));
        assert!(objects.iter().all(|object| driver.can_travel(*object, None) == Travel::Never), "closed");
    }
}

#[test]
fn a_node_that_has_a_broker_inherits_no_other() {
    let driver = InProcess::new();
    let z = Program::normal(&driver);
    let (broker, kept) = Hand::broker(&driver, &z, 1);
    let (wire, portals) = Wire::to(&driver, &z, 1, ConnectTo::Inherited);
    let objects = [wire.new_primary(), driver.transport_pair()[0], wire.new_primary()];
    wire.say_with(to_referred(name(3), name(4), name(5), 1), &objects);
    assert!(wire.is_dropped() && z.is_dead(portals[0]) && !broker.is_dropped() && !z.is_dead(kept[0]) && z.name() == CLIENT);
}

#[test]
fn a_referrer_that_is_refused_at_once_keeps_its_transport() {
    let driver = InProcess::new();
    let x = Program::normal(&driver);
    let [t, _] = driver.transport_pair();
    assert_eq!(x.process.connect_node(x.node, ObjectId::new(u64::MAX).unwrap(), 1, ConnectTo::Referred), Err(Error::InvalidArgument));
    x.process.connect_node(x.node, t, 1, ConnectTo::Referred).unwrap();
    assert_eq!(x.process.connect_node(x.node, t, 1, ConnectTo::Referred), Err(Error::InvalidArgument), "it is being shared");
    assert_eq!(x.waits(), 1);
}

#[test]
fn features_are_those_of_each_link() {
    let driver = InProcess::new();
    let with = |kind, features| Program::with(driver.clone(), kind, NodeOptions { features, ..NodeOptions::default() });
    let b = with(NodeType::Broker, Features(0));
    let (x, z) = (with(NodeType::Normal, Features::MEM_V2), with(NodeType::Normal, Features::MEM_V2));
    connect(&driver, &x, &b);
    let (ours, of_x) = share(&driver, &x, 1);
    let of_z = z.process.connect_node(z.node, ours, 1, ConnectTo::Inherited).unwrap();
    let (_, sent) = z.process.open_portals(z.node).unwrap();
    z.process.put(of_z[0], b"", &[sent]).unwrap();
    x.get_portal(of_x[0]);
    let dynamic = |program: &Program, name| program.link(name).unwrap().sublinks.iter().map(|(id, _)| id.0).max().unwrap();
    assert!(dynamic(&z, x.name()) >> 63 == 1, "both have mem_v2, and z is side B");
    assert!(dynamic(&x, z.name()) == dynamic(&z, x.name()));
}
