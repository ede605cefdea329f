//! Parcels in any order, and parcels and link states in memory that is announced only later (routing.md 4, wire.md 11.4).

mod hand;

use hand::*;
use ipcz::driver::{Activity, Driver, Verdict};
use ipcz::ids::{FragmentDescriptor, Handle, NodeType, SublinkId};
use ipcz::inspect::LinkView;
use ipcz::limits::Limits;
use ipcz::memory::LinkState;
use ipcz::wire::*;
use ipcz::{Error, NodeOptions};
use ipcz_drivers::InProcess;

/// A real broker with a hand-made client and two portals.
fn pair(limits: Limits) -> (Program, Hand, Vec<Handle>) {
    let driver = InProcess::new();
    let broker = Program::with(driver.clone(), NodeType::Broker, NodeOptions { limits, ..NodeOptions::default() });
    let (client, portals) = Hand::client(&driver, &broker, 2);
    (broker, client, portals)
}

/// A fragment with data, in a buffer that only the client knows.
fn fragment(client: &Hand, data: &[u8]) -> FragmentDescriptor {
    let mut block = client.memory.allocate(8192).unwrap();
    block.fill(data);
    block.descriptor()
}

fn in_fragment(number: u64, parcel_fragment: FragmentDescriptor) -> AcceptParcel<'static> {
    AcceptParcel { parcel_fragment, ..plain_parcel(0, number) }
}

fn waits(program: &Program) -> usize {
    program.process.inspect(|view| view.links()).iter().map(|link| link.buffer_waits).sum()
}

/// What a driver sends along with a message (api.md 16) is closed once that is handled, whatever becomes of it.
#[test]
fn what_comes_along_with_a_message_is_closed() {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let (client, portals) = Hand::client(&driver, &broker, 1);
    let link = broker.link(client.name).unwrap().key.to_bits();
    let mut data = Vec::new();
    Message::AcceptParcel(AcceptParcel { parcel_data: b"x", ..plain_parcel(0, 0) }).encode(0, &[], &mut data).unwrap();
    let before = driver.live_objects();
    for (data, verdict) in [(&data[..], Verdict::Accepted), (b"garbage", Verdict::Refused)] {
        let companion = driver.token(7);
        assert_eq!(Activity::message(broker.process.clone(), link, data, &[], Some(companion)), verdict);
        assert_eq!((driver.value(companion), driver.live_objects()), (None, before));
    }
    assert_eq!(broker.get(portals[0]).unwrap(), b"x");
}

#[test]
fn parcels_come_out_in_the_order_of_their_numbers() {
    let (broker, client, portals) = pair(Limits::default());
    client.parcel(0, 2, b"two");
    client.parcel(0, 1, b"one");
    assert_eq!(broker.get(portals[0]), Err(Error::Unavailable));
    client.parcel(0, 0, b"zero");
    for data in [&b"zero"[..], b"one", b"two"] {
        assert_eq!(broker.get(portals[0]).unwrap(), data);
    }
    assert_eq!(broker.get(portals[0]), Err(Error::Unavailable));
}

#[test]
fn the_first_parcel_of_a_number_counts() {
    let (broker, client, portals) = pair(Limits::default());
    for (number, data) in [(1, &b"one"[..]), (1, b"again"), (0, b"zero"), (0, b"again"), (1, b"again")] {
        client.parcel(0, number, data);
    }
    assert_eq!((broker.get(portals[0]).unwrap(), broker.get(portals[0]).unwrap()), (b"zero".to_vec(), b"one".to_vec()));
    client.parcel(0, 0, b"late");
    assert_eq!(broker.get(portals[0]), Err(Error::Unavailable));
    assert!(!client.is_dropped());
}

#[test]
fn parcels_beyond_the_window_are_ignored() {
    let (broker, client, portals) = pair(Limits::default());
    let beyond = || broker.router(portals[0]).inbound.beyond_gap;
    client.parcel(0, 1_000_001, b"beyond");
    assert_eq!(beyond(), 0);
    client.parcel(0, 1_000_000, b"within");
    assert_eq!(beyond(), 1);
    client.parcel(0, 0, b"next");
    client.parcel(0, 1_000_001, b"within now");
    assert_eq!(beyond(), 2);
    assert!(!client.is_dropped() && broker.get(portals[0]).is_ok());
}

#[test]
fn parcels_beyond_the_end_are_ignored() {
    let (broker, client, portals) = pair(Limits::default());
    client.say(RouteClosed { sublink: SublinkId(0), sequence_length: 1 });
    client.parcel(0, 1, b"beyond");
    client.parcel(0, 0, b"last");
    assert_eq!(broker.get(portals[0]).unwrap(), b"last");
    assert!(broker.is_dead(portals[0]) && !client.is_dropped());
}

#[test]
fn a_parcel_waits_for_the_buffer_it_lies_in_and_nothing_else_does() {
    let (broker, mut client, portals) = pair(Limits::default());
    let taken = client.memory.blocks_taken();
    let grown = client.grow(8192);
    client.say(in_fragment(0, fragment(&client, &[7; 5000])));
    client.parcel(0, 1, b"behind it");
    client.parcel(1, 0, b"another route");
    assert_eq!(broker.get(portals[0]), Err(Error::Unavailable));
    assert_eq!(broker.get(portals[1]).unwrap(), b"another route");
    assert_eq!(waits(&broker), 1);
    client.announce(&grown);
    assert_eq!(broker.get(portals[0]).unwrap(), [7; 5000]);
    assert_eq!(broker.get(portals[0]).unwrap(), b"behind it");
    assert_eq!((waits(&broker), client.memory.blocks_taken()), (0, taken), "read and freed");
}

#[test]
fn portals_of_a_waiting_parcel_work_already() {
    let (broker, mut client, portals) = pair(Limits::default());
    let (grown, via) = (client.grow(8192), client.sublinks(1));
    client.say(AcceptParcel { parcel_fragment: fragment(&client, b"a portal"), ..with_portals(0, 0, vec![proxied(via)]) });
    client.parcel(via.0, 0, b"hello");
    client.announce(&grown);
    let portal = broker.get_portal(portals[0]);
    assert_eq!(broker.get(portal).unwrap(), b"hello");
}

#[test]
fn too_many_waits_end_the_link() {
    let (broker, mut client, portals) = pair(Limits { link_buffer_waits: 3, ..Limits::default() });
    client.grow(8192);
    for number in 0..3 {
        client.say(in_fragment(number, fragment(&client, b"?")));
    }
    assert!(!client.is_dropped());
    client.say(in_fragment(3, fragment(&client, b"?")));
    assert!(client.is_dropped() && broker.is_dead(portals[0]));
    assert!(broker.violation().contains("never announced"));
}

#[test]
fn a_waiting_parcel_that_does_not_lie_in_its_buffer_ends_the_link() {
    for (offset, size) in [(65_536, 64), (65_520, 16), (4, 64), (64, 8)] {
        let (broker, mut client, portals) = pair(Limits::default());
        let grown = client.grow(8192);
        client.say(in_fragment(0, FragmentDescriptor { buffer: grown.id, offset, size }));
        assert!(!client.is_dropped());
        client.announce(&grown);
        assert!(client.is_dropped() == (offset != 65_520), "offset {offset} size {size}");
        assert_eq!(broker.is_dead(portals[0]), client.is_dropped());
    }
}

#[test]
fn waiting_parcels_end_with_their_link() {
    let (broker, mut client, portals) = pair(Limits::default());
    let grown = client.grow(8192);
    let via = client.sublinks(1);
    client.say(AcceptParcel { parcel_fragment: fragment(&client, b"?"), ..with_portals(0, 0, vec![proxied(via)]) });
    client.driver.close(grown.memory);
    client.die();
    assert!(broker.is_dead(portals[0]));
    portals.iter().for_each(|portal| broker.close(*portal));
    broker.close(broker.node);
    assert_eq!((broker.routers(), client.driver.live_objects()), (0, 0));
}

/// A state in a buffer that only the client knows.
fn far_state(client: &Hand) -> LinkState {
    loop {
        let state = client.memory.new_link_state().unwrap();
        if state.descriptor().buffer.0 != 0 {
            return state;
        }
    }
}

/// Sends the broker a portal whose link has its state in a buffer not announced yet; gives the portal, its sublink, the
/// state and the buffer.
fn send_with_far_state(broker: &Program, client: &mut Hand, portal: Handle) -> (Handle, SublinkId, LinkState, Grown) {
    let (grown, first) = (client.grow(64), client.sublinks(2));
    let state = far_state(client);
    client.portals(0, 0, vec![split(first, state.share())]);
    (broker.get_portal(portal), first, state, grown)
}

#[test]
fn a_link_works_before_the_buffer_of_its_state_comes_and_is_settled_after() {
    let (broker, mut client, portals) = pair(Limits::default());
    let (portal, sublink, state, grown) = send_with_far_state(&broker, &mut client, portals[0]);
    client.parcel(sublink.0, 0, b"there");
    assert_eq!(broker.get(portal).unwrap(), b"there");
    client.hear();
    broker.put(portal, b"back");
    assert_eq!(parcels(&client.hear()), [(sublink.0, 0, b"back".to_vec())]);
    let known = |program: &Program| match program.router(portal).out.primary {
        Some(LinkView::Remote { status, .. }) => status,
        other => panic!("{other:?}"),
    };
    assert_eq!((known(&broker), state.status()), (None, 0));
    client.announce(&grown);
    assert_eq!((known(&broker), state.status()), (Some(0x02), 0x02), "its end is stable, as it was all along");
}

#[test]
fn a_state_that_nobody_wants_is_given_back_when_its_buffer_comes() {
    let (broker, mut client, portals) = pair(Limits::default());
    let grown = client.grow(64);
    let (ignored, adopted, late) = (far_state(&client), far_state(&client), far_state(&client));
    let offer = |sublink, new_sublink, state: &LinkState| BypassPeerWithLink {
        sublink: SublinkId(sublink),
        new_sublink: SublinkId(new_sublink),
        new_link_state_fragment: state.share(),
        inbound_sequence_length: 0,
    };
    client.say(offer(999, 100, &ignored));
    client.say(offer(0, 101, &adopted));
    client.say(offer(0, 102, &late));
    let states = [&ignored, &adopted, &late];
    assert_eq!((states.map(LinkState::references), waits(&broker)), ([Some(2); 3], 3));
    client.announce(&grown);
    assert_eq!((states.map(LinkState::references), waits(&broker)), ([Some(1), Some(2), Some(1)], 0));
    broker.close(portals[0]);
}

#[test]
fn a_closure_waits_for_the_state_that_it_must_lock() {
    let (broker, mut client, portals) = pair(Limits::default());
    let (portal, sublink, state, grown) = send_with_far_state(&broker, &mut client, portals[0]);
    broker.put(portal, b"last");
    broker.close(portal);
    state.set_stable(ipcz::ids::LinkSide::A);
    client.say(FlushRouter { sublink });
    let heard = client.hear();
    assert_eq!(parcels(&heard), [(sublink.0, 0, b"last".to_vec())]);
    assert!(heard.iter().all(|heard| heard.id() != 22));
    client.announce(&grown);
    assert!(matches!(client.hear_one().message(), Message::RouteClosed(m) if m.sublink == sublink && m.sequence_length == 1));
}

#[test]
fn a_waiting_state_that_does_not_lie_in_its_buffer_ends_the_link() {
    let (broker, mut client, portals) = pair(Limits::default());
    let (grown, first) = (client.grow(64), client.sublinks(2));
    let state = FragmentDescriptor { buffer: grown.id, offset: 65_536 - 32, size: 64 };
    client.portals(0, 0, vec![split(first, state)]);
    assert!(!client.is_dropped());
    client.announce(&grown);
    assert!(client.is_dropped() && broker.violation().contains("link state"));
    assert!(broker.is_dead(broker.get_portal(portals[0])));
}

/// A portal of a real broker's that stands for a route from one hand-made client to another: the sublinks at either of them.
fn proxy(limits: Limits) -> (Program, [Hand; 2], [Handle; 2], [SublinkId; 2]) {
    let driver = InProcess::new();
    let broker = Program::with(driver.clone(), NodeType::Broker, NodeOptions { limits, ..NodeOptions::default() });
    let ((a, of_a), (b, of_b)) = (Hand::client(&driver, &broker, 1), Hand::client(&driver, &broker, 1));
    let (p, q) = broker.process.open_portals(broker.node).unwrap();
    let sublinks = [(&b, of_b[0], q), (&a, of_a[0], p)].map(|(hand, over, portal)| {
        broker.process.put(over, b"", &[portal]).unwrap();
        let heard = hand.hear_one();
        let Message::AcceptParcel(m) = heard.message() else { panic!("{}", heard.message()) };
        m.new_routers[0].new_sublink
    });
    let [at_b, at_a] = sublinks;
    (broker, [a, b], [of_a[0], of_b[0]], [at_a, at_b])
}

#[test]
fn what_is_only_passed_on_may_fill_a_quarter_of_a_link() {
    let limits = Limits { link_sublinks: 32, ..Limits::default() };
    let portals = |hand: &mut Hand, count: usize| -> Vec<RouterDescriptor> { (0..count).map(|_| proxied(hand.sublinks(1))).collect() };
    let bound = |broker: &Program, hand: &Hand| broker.link(hand.name).unwrap().sublinks.len();
    // Two are bound: of eight, three portals may still be passed on, at two sublinks at most for each, and not four.
    for (count, fits) in [(3, true), (4, false)] {
        let (broker, [mut a, b], [of_a, of_b], [at_a, _]) = proxy(limits);
        assert_eq!(bound(&broker, &b), 2);
        let routers = portals(&mut a, count);
        a.portals(at_a.0, 0, routers);
        let passed = b.hear().iter().filter(|heard| heard.id() == 20).count();
        assert_eq!((passed == 1, broker.violations()), (fits, vec![]));
        assert!(!broker.is_dead(of_a) && !broker.is_dead(of_b), "the links and all else stay");
        // Its own may fill a half.
        let (_, own): (Vec<_>, Vec<_>) = (0..4).map(|_| broker.process.open_portals(broker.node).unwrap()).unzip();
        assert_eq!(broker.process.put(of_b, b"", &own), Ok(()));
    }
}
