//! Parcels in pieces and relayed messages from hand-made peers: in any order, contradictory, forged, too many (wire.md 9.5, 11; nodes.md 8).

mod hand;

use std::sync::Arc;

use hand::*;
use ipcz::driver::Driver;
use ipcz::ids::{Handle, LinkSide, NodeName, NodeType, ObjectId, SublinkId};
use ipcz::limits::Limits;
use ipcz::wire::*;
use ipcz::{BoxContents, Error, NodeOptions};
use ipcz_drivers::InProcess;

const PORTAL: u32 = HandleType::Portal as u32;
const BOX: u32 = HandleType::Box as u32;
const RELAYED: u32 = HandleType::RelayedBox as u32;
const PLACE: u32 = HandleType::Subparcel as u32;

/// A real broker with a hand-made client and two portals.
struct Pair {
    driver: Arc<InProcess>,
    broker: Program,
    client: Hand,
    portals: Vec<Handle>,
}

fn pair_with(limits: Limits) -> Pair {
    let driver = InProcess::new();
    let broker = Program::with(driver.clone(), NodeType::Broker, NodeOptions { limits, ..NodeOptions::default() });
    let (client, portals) = Hand::client(&driver, &broker, 2);
    Pair { driver, broker, client, portals }
}

fn pair() -> Pair {
    pair_with(Limits::default())
}

/// A piece of parcel `number` on the first initial sublink.
fn piece(number: u64, index: u32, total: u32, types: &[u32], data: &'static [u8]) -> AcceptParcel<'static> {
    let num = types.iter().filter(|kind| **kind == BOX).count() as u32;
    AcceptParcel {
        subparcel_index: index,
        num_subparcels: total,
        parcel_data: data,
        handle_types: types.to_vec().into(),
        driver_objects: ObjectRange { first: 0, num },
        ..plain_parcel(0, number)
    }
}

fn half(sublink: u64, number: u64, num: u32) -> AcceptParcelDriverObjects {
    AcceptParcelDriverObjects { sublink: SublinkId(sublink), sequence_number: number, driver_objects: ObjectRange { first: 0, num } }
}

impl Pair {
    fn tokens(&self, values: &[u64]) -> Vec<ObjectId> {
        values.iter().map(|value| self.driver.token(*value)).collect()
    }

    fn say(&self, message: AcceptParcel<'static>, values: &[u64]) {
        self.client.say_with(message, &self.tokens(values));
    }

    /// The object half of a parcel on the first initial sublink, directly.
    fn objects(&self, number: u64, values: &[u64]) {
        let message = Message::AcceptParcelDriverObjects(half(0, number, values.len() as u32));
        self.client.say_with(message, &self.tokens(values));
    }

    /// What comes next out of the first portal: its data, and the values of its objects in order; closes them.
    fn next(&self) -> Result<(Vec<u8>, Vec<u64>), Error> {
        let received = self.broker.process.get(self.portals[0])?;
        let values = received.handles.iter().map(|handle| self.value(*handle)).collect();
        Ok((received.data, values))
    }

    fn value(&self, handle: Handle) -> u64 {
        match self.broker.process.unbox(handle).unwrap() {
            BoxContents::Driver(object) => {
                let value = self.driver.value(object).unwrap();
                self.driver.close(object);
                value
            }
            BoxContents::Subparcel(parcel) => {
                let inside = self.broker.process.get(parcel).unwrap();
                self.broker.close(parcel);
                inside.handles.iter().fold(u64::from(inside.data[0]), |sum, handle| 100 * sum + self.value(*handle))
            }
            other => panic!("{other:?}"),
        }
    }

    fn waiting(&self) -> usize {
        self.broker.process.inspect(|view| view.links()).iter().map(|link| link.pieces).sum()
    }

    /// The link is dropped for `reason`, and nothing of what was sent is left.
    fn ends_refused(self, reason: &str) {
        assert!(self.broker.violation().contains(reason), "{}", self.broker.violation());
        assert!(self.client.is_dropped());
        self.end();
    }

    fn end(self) {
        for portal in &self.portals {
            self.broker.close(*portal);
        }
        self.client.die();
        assert_eq!(self.broker.process.inspect(|view| (view.boxes(), view.router_count())), (0, 0));
        self.broker.close(self.broker.node);
        assert_eq!(self.driver.live_objects(), 0);
    }
}

#[test]
fn boxes_of_a_parcel_take_its_objects_in_order() {
    let w = pair();
    w.say(piece(0, 0, 1, &[BOX, BOX], b"two"), &[1, 2]);
    assert_eq!(w.next(), Ok((b"two".to_vec(), vec![1, 2])));
    w.end();
}

#[test]
fn halves_meet_in_either_order_and_nothing_overtakes_them() {
    let w = pair();
    w.say(piece(0, 0, 1, &[RELAYED, RELAYED], b"first"), &[]);
    w.client.parcel(0, 1, b"second");
    assert_eq!((w.next(), w.waiting()), (Err(Error::Unavailable), 1));
    w.objects(0, &[1, 2]);
    assert_eq!((w.next(), w.next()), (Ok((b"first".to_vec(), vec![1, 2])), Ok((b"second".to_vec(), vec![]))));
    w.objects(2, &[3]);
    assert_eq!((w.next(), w.waiting()), (Err(Error::Unavailable), 1));
    w.say(piece(2, 0, 1, &[RELAYED], b"third"), &[]);
    assert_eq!((w.next(), w.waiting()), (Ok((b"third".to_vec(), vec![3])), 0));
    w.end();
}

#[test]
fn pieces_complete_a_parcel_in_any_order() {
    let w = pair();
    w.say(piece(0, 2, 3, &[BOX], b"\x02"), &[7]);
    w.say(piece(0, 0, 3, &[PLACE, BOX, PLACE], b"main"), &[5]);
    assert_eq!(w.next(), Err(Error::Unavailable));
    w.say(piece(0, 1, 3, &[], b"\x01"), &[]);
    assert_eq!((w.next(), w.waiting()), (Ok((b"main".to_vec(), vec![1, 5, 207])), 0));
    w.end();
}

#[test]
fn split_pieces_take_their_objects_in_the_order_of_both() {
    let w = pair();
    w.say(piece(0, 1, 3, &[RELAYED], b"\x01"), &[]);
    w.say(piece(0, 2, 3, &[RELAYED], b"\x02"), &[]);
    w.say(piece(0, 0, 3, &[PLACE, RELAYED, PLACE], b"main"), &[]);
    for value in [11, 12] {
        w.objects(0, &[value]);
        assert_eq!(w.next(), Err(Error::Unavailable));
    }
    w.objects(0, &[13]);
    assert_eq!((w.next(), w.waiting()), (Ok((b"main".to_vec(), vec![111, 13, 212])), 0));
    w.end();
}

#[test]
fn a_half_whose_data_lies_in_an_unknown_buffer_waits_for_both() {
    for objects_first in [true, false] {
        let mut w = pair();
        let grown = w.client.grow(8192);
        let mut block = w.client.memory.allocate(8192).unwrap();
        block.fill(&[9; 5000]);
        let fragment = block.descriptor();
        w.say(AcceptParcel { parcel_fragment: fragment, ..piece(0, 0, 1, &[RELAYED], b"") }, &[]);
        if objects_first {
            w.objects(0, &[1]);
            w.client.announce(&grown);
        } else {
            w.client.announce(&grown);
            w.objects(0, &[1]);
        }
        assert_eq!(w.next(), Ok((vec![9; 5000], vec![1])));
        w.end();
    }
}

#[test]
fn what_waits_goes_with_its_route() {
    let mut w = pair();
    let via = w.client.sublinks(1);
    w.client.portals(0, 0, vec![proxied(via)]);
    let portal = w.broker.get_portal(w.portals[0]);
    let on = |message: AcceptParcel<'static>| AcceptParcel { sublink: via, ..message };
    w.say(on(piece(0, 0, 1, &[RELAYED], b"")), &[]);
    w.say(on(piece(1, 1, 2, &[BOX], b"")), &[4]);
    w.client.say_with(Message::AcceptParcelDriverObjects(half(via.0, 2, 1)), &w.tokens(&[5]));
    assert_eq!(w.waiting(), 3);
    w.client.say(RouteDisconnected { sublink: via });
    assert_eq!(w.waiting(), 0, "the sublink is let go");
    w.client.say_with(Message::AcceptParcelDriverObjects(half(via.0, 0, 1)), &w.tokens(&[6]));
    w.say(on(piece(1, 0, 2, &[PLACE], b"")), &[]);
    assert_eq!(w.waiting(), 0, "what is for it is not kept either");
    assert!(!w.client.is_dropped());
    w.broker.close(portal);
    w.end();
}

#[test]
fn the_block_of_a_piece_whose_route_goes_is_freed_when_its_buffer_comes() {
    let mut w = pair();
    let (via, taken) = (w.client.sublinks(1), w.client.memory.blocks_taken());
    w.client.portals(0, 0, vec![proxied(via)]);
    let portal = w.broker.get_portal(w.portals[0]);
    let grown = w.client.grow(8192);
    let fragment = |client: &Hand| {
        let mut block = client.memory.allocate(8192).unwrap();
        block.fill(&[9; 5000]);
        block.descriptor()
    };
    let half = AcceptParcel { sublink: via, parcel_fragment: fragment(&w.client), ..piece(0, 0, 1, &[RELAYED], b"") };
    let part = AcceptParcel { sublink: via, parcel_fragment: fragment(&w.client), ..piece(1, 1, 2, &[BOX], b"") };
    w.say(half, &[]);
    w.say(part, &[1]);
    w.client.say(RouteDisconnected { sublink: via });
    w.client.announce(&grown);
    assert_eq!((w.client.memory.blocks_taken(), w.waiting()), (taken, 0));
    w.broker.close(portal);
    w.end();
}

#[test]
fn what_waits_goes_with_its_link_portals_inside_too() {
    let mut w = pair();
    let via = w.client.sublinks(1);
    let router = proxied(via);
    w.say(AcceptParcel { new_routers: vec![router].into(), ..piece(0, 1, 2, &[BOX, PORTAL], b"") }, &[4]);
    w.objects(1, &[5, 6]);
    w.say(piece(2, 0, 1, &[RELAYED], b""), &[]);
    assert_eq!((w.waiting(), w.broker.routers()), (3, 3));
    w.client.die();
    assert!(w.broker.is_dead(w.portals[0]));
    w.portals.iter().for_each(|portal| w.broker.close(*portal));
    assert_eq!(w.broker.process.inspect(|view| (view.boxes(), view.router_count())), (0, 0));
    w.broker.close(w.broker.node);
    assert_eq!(w.driver.live_objects(), 0);
}

#[test]
fn objects_that_no_box_claims_drop_the_link() {
    let w = pair();
    w.say(AcceptParcel { driver_objects: ObjectRange { first: 0, num: 2 }, ..piece(0, 0, 1, &[BOX], b"") }, &[1, 2]);
    w.ends_refused("boxes and driver objects do not pair up");
    let w = pair();
    w.say(piece(0, 0, 1, &[RELAYED], b""), &[1]);
    w.ends_refused("boxes and driver objects do not pair up");
}

#[test]
fn a_half_with_too_many_or_too_few_objects_drops_the_link() {
    for values in [&[][..], &[1], &[1, 2, 3]] {
        let w = pair();
        w.say(piece(0, 0, 1, &[RELAYED, RELAYED], b""), &[]);
        w.objects(0, values);
        w.ends_refused("not one object for each place");
    }
}

#[test]
fn contradictory_pieces_drop_the_link() {
    let w = pair();
    w.say(piece(0, 1, 3, &[], b""), &[]);
    w.say(piece(0, 2, 4, &[BOX], b""), &[1]);
    w.ends_refused("different totals");
    let w = pair();
    w.say(piece(0, 1, 3, &[BOX], b""), &[1]);
    w.say(piece(0, 1, 3, &[BOX], b""), &[2]);
    w.ends_refused("came twice");
    let w = pair();
    w.say(piece(0, 0, 1, &[RELAYED], b""), &[]);
    w.say(piece(0, 0, 1, &[RELAYED], b""), &[]);
    w.ends_refused("came twice");
    for (index, total) in [(0, 0), (1, 1), (3, 2), (0, 1025)] {
        let w = pair();
        w.say(piece(0, index, total, &[], b""), &[]);
        w.ends_refused("no such subparcel");
    }
    let w = pair();
    w.say(piece(0, 1, 2, &[PLACE], b""), &[]);
    w.ends_refused("not one place for each subparcel");
    let w = pair();
    w.say(piece(0, 0, 2, &[], b""), &[]);
    w.ends_refused("not one place for each subparcel");
}

#[test]
fn more_halves_than_pieces_drop_the_link() {
    let w = pair();
    w.say(piece(0, 1, 2, &[], b""), &[]);
    for value in [1, 2, 3] {
        w.objects(0, &[value]);
    }
    w.ends_refused("more halves than the parcel has pieces");
    let w = pair();
    for _ in 0..1025 {
        w.objects(0, &[1]);
    }
    w.ends_refused("more halves than the parcel has pieces");
}

#[test]
fn halves_that_would_be_left_over_drop_the_link_before_the_parcel_is_whole() {
    // Two for the one piece.
    let w = pair();
    w.objects(0, &[1]);
    w.objects(0, &[2]);
    w.say(piece(0, 0, 1, &[RELAYED], b""), &[]);
    w.ends_refused("more halves than the parcel has pieces");
    // One for a piece that lacks none: seen when the last one comes that might.
    let w = pair();
    w.objects(0, &[1]);
    w.objects(0, &[2]);
    w.say(piece(0, 0, 2, &[PLACE, RELAYED], b""), &[]);
    assert!(!w.client.is_dropped());
    w.say(piece(0, 1, 2, &[], b""), &[]);
    w.ends_refused("more halves than the parcel has pieces");
}

#[test]
fn pieces_beyond_the_limits_drop_the_link() {
    let w = pair_with(Limits { link_pieces: 10, ..Limits::default() });
    for number in 0..11 {
        w.objects(number, &[number]);
    }
    w.ends_refused("Limits::link_pieces");
    let w = pair_with(Limits { link_piece_bytes: 10, ..Limits::default() });
    w.say(piece(0, 1, 2, &[], b"ten bytes."), &[]);
    w.say(piece(1, 0, 1, &[], b"whole parcels do not count"), &[]);
    assert!(!w.client.is_dropped());
    w.say(piece(1, 1, 2, &[], b"."), &[]);
    w.ends_refused("Limits::link_piece_bytes");
}

/// The message as it goes into a relay.
fn inner(message: Message<'_>) -> Vec<u8> {
    let mut data = Vec::new();
    message.encode(0, &[], &mut data).unwrap();
    data
}

fn relay(wire: &Wire, destination: NodeName, data: &[u8], objects: &[ObjectId]) {
    let driver_objects = ObjectRange { first: 0, num: objects.len() as u32 };
    say_borrowed(wire, Message::RelayMessage(RelayMessage { destination, data, driver_objects }), objects);
}

fn relayed(wire: &Wire, source: NodeName, data: &[u8], objects: &[ObjectId]) {
    let driver_objects = ObjectRange { first: 0, num: objects.len() as u32 };
    say_borrowed(wire, Message::AcceptRelayedMessage(AcceptRelayedMessage { source, data, driver_objects }), objects);
}

fn say_borrowed(wire: &Wire, message: Message<'_>, objects: &[ObjectId]) {
    let bytes: Vec<_> = objects.iter().map(|_| ObjectBytes { data: &[], handles: 1 }).collect();
    let mut data = Vec::new();
    message.encode(0, &bytes, &mut data).unwrap();
    wire.say_raw(&data, objects);
}

fn object_half(sublink: u64, number: u64, num: u32) -> Vec<u8> {
    inner(Message::AcceptParcelDriverObjects(half(sublink, number, num)))
}

#[test]
fn a_broker_passes_on_in_order_and_says_itself_who_it_is_from() {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let ((a, _), (b, _)) = (Hand::client(&driver, &broker, 1), Hand::client(&driver, &broker, 1));
    b.hear();
    let tokens: Vec<_> = (0..5).map(|value| driver.token(value)).collect();
    for (number, token) in (0..).zip(&tokens) {
        relay(&a, b.name, &object_half(3, number, 1), &[*token]);
    }
    let heard = b.hear();
    assert_eq!(heard.len(), 5);
    for (number, heard) in (0..).zip(&heard) {
        let Message::AcceptRelayedMessage(m) = heard.message() else { panic!("{}", heard.message()) };
        assert_eq!((m.source, m.data), (a.name, &object_half(3, number, 1)[..]));
        assert_eq!(driver.value(heard.handles[0]), Some(number));
    }
    assert!(a.hear().is_empty());
}

#[test]
fn a_broker_drops_in_silence_what_it_cannot_or_may_not_pass_on() {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let ((a, _), (b, _)) = (Hand::client(&driver, &broker, 1), Hand::client(&driver, &broker, 1));
    b.hear();
    let token = || driver.token(1);
    let live = driver.live_objects();
    relay(&a, name(77), &object_half(0, 0, 1), &[token()]);
    relay(&a, a.name, &object_half(0, 0, 1), &[token()]);
    relay(&a, a.peer, &object_half(0, 0, 1), &[token()]);
    relay(&a, b.name, &inner(Message::RouteClosed(RouteClosed { sublink: SublinkId(0), sequence_length: 0 })), &[token()]);
    relay(&a, b.name, &[14], &[token()]);
    relay(&a, b.name, &[&object_half(0, 0, 1)[..], &[0; 5000]].concat(), &[token()]);
    assert_eq!((b.hear().len(), a.hear().len(), driver.live_objects()), (0, 0, live));
    assert!(!a.is_dropped() && !b.is_dropped());
}

#[test]
fn only_a_broker_relays_and_only_for_others() {
    let driver = InProcess::new();
    let client = Program::normal(&driver);
    let (broker, _) = Hand::broker(&driver, &client, 1);
    let stranger = broker.introduced(name(5), LinkSide::A);
    relay(&stranger, broker.name, &object_half(0, 0, 1), &[driver.token(1)]);
    assert!(client.violation().contains("this node is no broker"));
    let other = broker.introduced(name(6), LinkSide::A);
    relayed(&other, name(7), &object_half(0, 0, 1), &[driver.token(1)]);
    assert!(client.violations()[1].contains("its sender is no broker"));
    assert!(stranger.is_dropped() && other.is_dropped() && !broker.is_dropped());
    assert!((0..2).all(|_| client.process.inspect(|view| view.boxes()) == 0));
}

/// A real client, its hand-made broker, a hand-made node that it was introduced to, and a portal whose peer is there, with its sublink.
fn introduced() -> (Arc<InProcess>, Program, Hand, Hand, (Handle, u64)) {
    let driver = InProcess::new();
    let client = Program::normal(&driver);
    let (broker, portals) = Hand::broker(&driver, &client, 1);
    let friend = broker.introduced(name(5), LinkSide::A);
    // The broker brings a portal whose peer is the friend's, and which bypasses the broker at once.
    let mut broker = broker;
    let via = broker.sublinks(1);
    broker.portals(0, 0, vec![RouterDescriptor { proxy_peer_node_name: friend.name, proxy_peer_sublink: SublinkId(40), ..proxied(via) }]);
    let portal = client.get_portal(portals[0]);
    let heard = friend.hear_one();
    let Message::AcceptBypassLink(m) = heard.message() else { panic!("{}", heard.message()) };
    friend.say(ProxyWillStop { sublink: m.new_sublink, inbound_sequence_length: 0 });
    let on = m.new_sublink.0;
    (driver, client, broker, friend, (portal, on))
}

#[test]
fn a_relayed_half_joins_the_parcel_of_its_source() {
    let (driver, client, broker, friend, (portal, on)) = introduced();
    friend.say(AcceptParcel { sublink: SublinkId(on), ..piece(0, 0, 1, &[RELAYED], b"direct") });
    relayed(&broker, friend.name, &object_half(on, 0, 1), &[driver.token(8)]);
    let received = client.process.get(portal).unwrap();
    assert_eq!(received.data, b"direct");
    let Ok(BoxContents::Driver(object)) = client.process.unbox(received.handles[0]) else { panic!() };
    assert_eq!(driver.value(object), Some(8));
}

#[test]
fn bad_relayed_content_costs_its_source_the_link_and_not_the_broker() {
    type Bad = fn(u64) -> Vec<u8>;
    let truncated: Bad = |on| object_half(on, 0, 1)[..40].to_vec();
    let claims_two: Bad = |on| object_half(on, 0, 2);
    let no_memory: Bad = |_| inner(Message::AddBlockBuffer(AddBlockBuffer { id: ipcz::ids::BufferId(9), block_size: 64, buffer: Some(0) }));
    for (bad, reason) in [(truncated, "relayed: "), (claims_two, "relayed: "), (no_memory, "relayed: AddBlockBuffer: buffer is missing")] {
        let (driver, client, broker, friend, (portal, on)) = introduced();
        let live = driver.live_objects();
        relayed(&broker, friend.name, &bad(on), &[driver.token(8)]);
        assert!(client.violation().contains(reason), "{}", client.violation());
        assert!(friend.is_dropped() && !broker.is_dropped());
        assert!(client.is_dead(portal) && driver.live_objects() < live);
    }
}

#[test]
fn what_is_relayed_from_nobody_or_is_not_relayable_is_ignored() {
    let (driver, client, broker, friend, (portal, on)) = introduced();
    let live = driver.live_objects();
    relayed(&broker, NodeName::INVALID, &object_half(on, 0, 1), &[driver.token(8)]);
    relayed(&broker, CLIENT, &object_half(on, 0, 1), &[driver.token(8)]);
    let closed = inner(Message::RouteClosed(RouteClosed { sublink: SublinkId(on), sequence_length: 0 }));
    relayed(&broker, friend.name, &closed, &[driver.token(9)]);
    assert_eq!(driver.live_objects(), live);
    assert!(!client.is_dead(portal) && !broker.is_dropped() && !friend.is_dropped());
    relayed(&broker, friend.name, &[0; 23], &[]);
    assert!(broker.is_dropped(), "no message at all: the broker made that");
}

#[test]
fn what_came_for_a_sublink_that_is_refused_is_let_go() {
    let (driver, client, broker, friend, (portal, on)) = introduced();
    let live = driver.live_objects();
    relayed(&broker, friend.name, &object_half(on + 7, 0, 1), &[driver.token(8)]);
    let pieces = || client.process.inspect(|view| view.links()).iter().map(|link| link.pieces).sum::<usize>();
    assert_eq!((pieces(), driver.live_objects()), (1, live + 1), "its sublink may come yet");
    let mut block = friend.memory.allocate(64).unwrap();
    block.fill(b"");
    friend.say(AcceptBypassLink {
        current_peer_node: name(99),
        current_peer_sublink: SublinkId(3),
        inbound_sequence_length_from_bypassed_link: 0,
        new_sublink: SublinkId(on + 7),
        new_link_state_fragment: block.descriptor(),
    });
    assert_eq!((pieces(), driver.live_objects()), (0, live), "nobody has a use for that link");
    assert!(!client.is_dead(portal) && !friend.is_dropped());
}
