//! Relayed messages that come before the link that they need: at the broker that is to pass them on, at the node that they are for
//! (nodes.md 8.4, D-5, D-6, D-15).

mod hand;

use std::sync::Arc;
use std::time::Duration;

use hand::*;
use ipcz::NodeOptions;
use ipcz::clock::Wake;
use ipcz::driver::Driver;
use ipcz::ids::{LinkSide, NodeName, NodeType, ObjectId, SublinkId};
use ipcz::limits::Limits;
use ipcz::probe::Probe;
use ipcz::wire::*;
use ipcz_drivers::InProcess;

/// The half of parcel `number` on some sublink that has driver objects.
fn half(number: u64) -> Vec<u8> {
    let objects = ObjectRange { first: 0, num: 1 };
    inner(AcceptParcelDriverObjects { sublink: SublinkId(77), sequence_number: number, driver_objects: objects }.into())
}

fn inner(message: Message<'_>) -> Vec<u8> {
    let mut data = Vec::new();
    message.encode(0, &[], &mut data).unwrap();
    data
}

fn say_borrowed(wire: &Wire, message: Message<'_>, objects: &[ObjectId]) {
    let bytes: Vec<_> = objects.iter().map(|_| ObjectBytes { data: &[], handles: 1 }).collect();
    let mut data = Vec::new();
    message.encode(0, &bytes, &mut data).unwrap();
    wire.say_raw(&data, objects);
}

fn relay(wire: &Wire, destination: NodeName, data: &[u8], object: ObjectId) {
    let message = RelayMessage { destination, data, driver_objects: ObjectRange { first: 0, num: 1 } };
    say_borrowed(wire, Message::RelayMessage(message), &[object]);
}

fn relayed(wire: &Wire, source: NodeName, data: &[u8], object: ObjectId) {
    let message = AcceptRelayedMessage { source, data, driver_objects: ObjectRange { first: 0, num: 1 } };
    say_borrowed(wire, Message::AcceptRelayedMessage(message), &[object]);
}

/// Parcels whose halves wait on the link to `name`.
fn pieces(program: &Program, name: NodeName) -> usize {
    program.link(name).unwrap().pieces
}

fn probed(program: &Program, probe: Probe) -> u64 {
    program.process.inspect(|view| view.totals().probes.of(probe))
}

/// A real node, its hand-made broker, and the node's time.
fn client(limits: Limits) -> (Arc<InProcess>, Program, Arc<ByHand>, Hand) {
    let driver = InProcess::new();
    let options = NodeOptions { limits, ..NodeOptions::default() };
    let (client, clock) = Program::timed(driver.clone(), NodeType::Normal, options);
    let (broker, _) = Hand::broker(&driver, &client, 1);
    (driver, client, clock, broker)
}

#[test]
fn what_comes_before_the_introduction_is_handled_with_it() {
    let (driver, client, _, broker) = client(Limits::default());
    for number in 0..3 {
        relayed(&broker, name(6), &half(number), driver.token(number));
    }
    relayed(&broker, name(7), &half(0), driver.token(9));
    assert_eq!(client.waits(), 4);
    let friend = broker.introduced(name(6), LinkSide::A);
    assert_eq!((client.waits(), pieces(&client, name(6)), client.violations()), (1, 3, vec![]));
    // From now on there is nothing to wait for.
    relayed(&broker, name(6), &half(3), driver.token(3));
    assert_eq!(pieces(&client, name(6)), 4);
    friend.die();
    assert_eq!((client.waits(), client.process.inspect(|view| view.boxes())), (1, 0));
}

#[test]
fn memory_that_is_announced_before_the_introduction_is_there_with_it() {
    let (driver, client, _, broker) = client(Limits::default());
    let region = 65_536;
    let memory = driver.allocate(region).unwrap();
    let announcement = AddBlockBuffer { id: ipcz::ids::BufferId(9), block_size: 64, buffer: Some(0) };
    relayed(&broker, name(6), &inner(announcement.into()), memory);
    let friend = broker.introduced(name(6), LinkSide::A);
    let buffers = |name| client.process.inspect(|view| view.spending().find(|spent| spent.remote == name).unwrap().buffers);
    assert_eq!((buffers(name(6)), client.waits()), (1, 0));
    friend.die();
    broker.die();
    assert_eq!(client.process.inspect(|view| view.objects_owned()), 0);
}

/// Buffers are numbered anew on each link: one that was announced for a lost link is another one on the next.
#[test]
fn what_was_relayed_over_a_lost_link_is_not_taken_for_the_next_ones() {
    let (driver, client, _, broker) = client(Limits::default());
    broker.introduced(name(6), LinkSide::A).die();
    let announcement = AddBlockBuffer { id: ipcz::ids::BufferId(9), block_size: 64, buffer: Some(0) };
    relayed(&broker, name(6), &inner(announcement.into()), driver.allocate(65_536).unwrap());
    relayed(&broker, name(6), &half(0), driver.token(0));
    assert_eq!((client.waits(), probed(&client, Probe::RelayIgnored)), (0, 2));
    let friend = broker.introduced(name(6), LinkSide::A);
    let buffers = |name| client.process.inspect(|view| view.spending().find(|spent| spent.remote == name).unwrap().buffers);
    assert_eq!((buffers(name(6)), pieces(&client, name(6)), client.violations()), (0, 0, vec![]));
    friend.die();
}

#[test]
fn what_has_no_source_in_time_is_thrown_away() {
    let (driver, client, clock, broker) = client(Limits::default());
    let live = driver.live_objects();
    relayed(&broker, name(6), &half(0), driver.token(1));
    let pass = |time| {
        clock.pass(time);
        Wake::timer(&*client.process);
    };
    pass(Limits::default().introduction_deadline - Duration::from_nanos(1));
    assert_eq!((client.waits(), driver.live_objects()), (1, live + 1));
    pass(Duration::from_nanos(1));
    assert_eq!((client.waits(), driver.live_objects(), probed(&client, Probe::RelayExpired)), (0, live, 1));
    broker.introduced(name(6), LinkSide::A);
    assert_eq!(pieces(&client, name(6)), 0);
}

#[test]
fn what_waits_goes_with_the_broker() {
    let (driver, client, _, broker) = client(Limits::default());
    relayed(&broker, name(6), &half(0), driver.token(1));
    broker.die();
    assert_eq!((client.waits(), client.process.inspect(|view| view.objects_owned())), (0, 0));
}

#[test]
fn who_has_more_waiting_than_may_loses_its_link_as_soon_as_it_comes() {
    let over =
        [Limits { parked_relays: 2, ..Limits::default() }, Limits { parked_relay_bytes: 2 * half(0).len() + 300, ..Limits::default() }];
    for limits in over {
        let (driver, client, _, broker) = client(limits);
        let live = driver.live_objects();
        for number in 0..3 {
            relayed(&broker, name(6), &half(number), driver.token(number));
        }
        assert_eq!(driver.live_objects(), live, "not one is kept");
        relayed(&broker, name(7), &half(0), driver.token(9));
        let [lost, kept] = [6, 7].map(|id| broker.introduced(name(id), LinkSide::A));
        assert!(lost.is_dropped() && !kept.is_dropped() && !broker.is_dropped());
        assert_eq!((pieces(&client, name(7)), client.waits(), client.violations()), (1, 0, vec![]));
    }
    let (driver, client, _, broker) = client(Limits { parked_sources: 2, ..Limits::default() });
    (0..3).for_each(|id| relayed(&broker, name(20 + id), &half(0), driver.token(id)));
    assert_eq!(client.waits(), 2);
}

/// A real broker with a hand-made client and a hand-made broker beside it.
fn two_brokers(limits: Limits) -> (Arc<InProcess>, Program, Hand, Hand) {
    let driver = InProcess::new();
    let options = NodeOptions { limits, ..NodeOptions::default() };
    let broker = Program::with(driver.clone(), NodeType::Broker, options);
    let (client, _) = Hand::client(&driver, &broker, 1);
    let (fellow, _) = Hand::fellow(&driver, &broker, name(2), 1);
    fellow.hear();
    (driver, broker, client, fellow)
}

#[test]
fn a_broker_seeks_whom_it_is_to_relay_to() {
    let (driver, broker, client, fellow) = two_brokers(Limits::default());
    for number in 0..3 {
        relay(&client, name(6), &half(number), driver.token(number));
    }
    assert!(matches!(fellow.hear_one().message(), Message::RequestIntroduction(m) if m.name == name(6)), "once");
    let friend = fellow.introduced(name(6), LinkSide::A);
    let heard = friend.hear();
    assert_eq!(heard.len(), 3);
    for (number, heard) in (0..).zip(&heard) {
        let Message::AcceptRelayedMessage(m) = heard.message() else { panic!("{}", heard.message()) };
        assert_eq!((m.source, m.data), (client.name, &half(number)[..]));
        assert_eq!(driver.value(heard.handles[0]), Some(number));
    }
    assert_eq!((broker.waits(), client.hear_ids(), broker.violations()), (0, vec![], vec![]));
}

#[test]
fn what_nobody_can_be_found_for_is_dropped() {
    let (driver, broker, client, fellow) = two_brokers(Limits::default());
    let live = driver.live_objects();
    relay(&client, name(6), &half(0), driver.token(1));
    assert_eq!(driver.live_objects(), live + 1);
    // It is asked a second time, to ask others in turn.
    (0..2).for_each(|_| fellow.say(RejectIntroduction { name: name(6) }));
    assert_eq!((driver.live_objects(), broker.waits(), client.is_dropped()), (live, 0, false));
    // Of who is gone nothing is passed on.
    relay(&client, name(6), &half(0), driver.token(1));
    client.die();
    assert_eq!((broker.waits(), driver.live_objects() < live), (1, true), "only the search goes on");
    let friend = fellow.introduced(name(6), LinkSide::A);
    assert_eq!((friend.hear_ids(), broker.waits()), (vec![], 0));
}

#[test]
fn a_client_that_floods_a_broker_with_relays_for_nobody_loses_its_link() {
    let over =
        [Limits { parked_relays: 2, ..Limits::default() }, Limits { parked_relay_bytes: 2 * half(0).len() + 300, ..Limits::default() }];
    for limits in over {
        let (driver, broker, client, fellow) = two_brokers(limits);
        let (bystander, _) = Hand::client(&driver, &broker, 1);
        let live = driver.live_objects();
        (0..2).for_each(|number| relay(&client, name(6 + number), &half(number), driver.token(number)));
        assert_eq!((broker.waits(), client.is_dropped()), (4, false), "two messages, and two that are sought");
        relay(&client, name(8), &half(2), driver.token(2));
        assert!(client.is_dropped() && !bystander.is_dropped() && !fellow.is_dropped());
        assert!(broker.violation().contains("Limits::parked_relays"), "{}", broker.violation());
        client.die();
        assert!(driver.live_objects() < live && broker.waits() == 2);
    }
    // What was passed on counts no more.
    let (driver, broker, client, fellow) = two_brokers(Limits { parked_relays: 2, ..Limits::default() });
    for number in 0..5 {
        (0..2).for_each(|_| relay(&client, name(6 + number), &half(number), driver.token(number)));
        let friend = fellow.introduced(name(6 + number), LinkSide::A);
        assert_eq!(friend.hear_ids(), [67, 67]);
    }
    assert_eq!((broker.waits(), client.is_dropped()), (0, false));
}
