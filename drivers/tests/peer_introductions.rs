//! Introductions: a hand-made broker with real clients, and a real broker with hand-made ones (nodes.md 7).

mod hand;

use std::sync::atomic::Ordering;

use hand::*;
use ipcz::driver::Driver;
use ipcz::ids::{Handle, LinkSide, NodeName, NodeType, SublinkId};
use ipcz::wire::*;
use ipcz_drivers::InProcess;

/// A real client of a hand-made broker, with one portal.
fn client() -> (std::sync::Arc<InProcess>, Program, Hand, Handle) {
    let driver = InProcess::new();
    let client = Program::normal(&driver);
    let (broker, portals) = Hand::broker(&driver, &client, 1);
    (driver, client, broker, portals[0])
}

/// Sends the client a portal that is to bypass the broker toward `sublink` of the node called `to`; gives the portal.
fn send_bypassing(broker: &mut Hand, client: &Program, portal: Handle, number: u64, to: NodeName, sublink: u64) -> Handle {
    let via = broker.sublinks(1);
    let router = RouterDescriptor { proxy_peer_node_name: to, proxy_peer_sublink: SublinkId(sublink), ..proxied(via) };
    broker.portals(0, number, vec![router]);
    client.get_portal(portal)
}

fn waits(program: &Program) -> usize {
    program.process.inspect(|view| view.waits())
}

#[test]
fn all_who_wait_for_a_node_share_one_request_and_are_served_in_order() {
    let (_, client, mut broker, portal) = client();
    let waiting: Vec<_> = (0..3).map(|i| send_bypassing(&mut broker, &client, portal, i, name(7), 50 + i)).collect();
    assert!(matches!(broker.hear_one().message(), Message::RequestIntroduction(m) if m.name == name(7)));
    let friend = broker.introduced(name(7), LinkSide::B);
    let asked: Vec<_> = friend
        .hear()
        .iter()
        .map(|heard| match heard.message() {
            Message::AcceptBypassLink(m) => (m.current_peer_node, m.current_peer_sublink.0),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(asked, [(BROKER, 50), (BROKER, 51), (BROKER, 52)]);
    assert_eq!(waits(&client), 0);
    assert!(waiting.iter().all(|portal| !client.is_dead(*portal)));
}

#[test]
fn a_rejected_introduction_ends_the_routes_that_waited_for_it() {
    let (_, client, mut broker, portal) = client();
    let seven = send_bypassing(&mut broker, &client, portal, 0, name(7), 50);
    let eight = send_bypassing(&mut broker, &client, portal, 1, name(8), 50);
    broker.say(RejectIntroduction { name: name(7) });
    assert!(client.is_dead(seven) && !client.is_dead(eight) && !broker.is_dropped());
    assert_eq!(waits(&client), 1);
    // It may be asked for again.
    broker.hear();
    let again = send_bypassing(&mut broker, &client, portal, 2, name(7), 51);
    assert_eq!(broker.hear_ids(), [10]);
    broker.introduced(name(7), LinkSide::A);
    assert!(!client.is_dead(again));
}

#[test]
fn routes_that_wait_end_with_the_broker() {
    let (driver, client, mut broker, portal) = client();
    let waiting = send_bypassing(&mut broker, &client, portal, 0, name(7), 50);
    broker.die();
    assert!(client.is_dead(waiting) && client.is_dead(portal));
    assert_eq!((waits(&client), driver.live_objects()), (0, 0));
}

#[test]
fn unasked_introductions_are_welcome_and_the_first_one_is_kept() {
    let (_, client, broker, _) = client();
    let first = broker.introduced(name(7), LinkSide::A);
    let key = client.link(name(7)).unwrap().key;
    let second = broker.introduced(name(7), LinkSide::A);
    assert_eq!(client.link(name(7)).unwrap().key, key);
    assert!(!first.is_dropped() && second.is_dropped() && !broker.is_dropped());
    // Lost, it can be replaced.
    first.die();
    assert!(client.link(name(7)).is_none());
    let third = broker.introduced(name(7), LinkSide::A);
    assert!(client.link(name(7)).is_some() && !third.is_dropped());
}

#[test]
fn nobody_is_introduced_to_itself_or_to_nobody() {
    for wrong in [NodeName::INVALID, CLIENT] {
        let (_, client, broker, portal) = client();
        let friend = broker.introduced(wrong, LinkSide::A);
        assert!(broker.is_dropped() && friend.is_dropped() && client.is_dead(portal));
        assert!(client.violation().contains("AcceptIntroduction"));
    }
}

#[test]
fn an_introduced_node_is_told_apart_from_a_broker() {
    let (_, client, broker, portal) = client();
    let friend = broker.introduced(name(7), LinkSide::A);
    friend.say(RejectIntroduction { name: name(8) });
    assert!(friend.is_dropped() && !broker.is_dropped() && client.link(name(7)).is_none());
    broker.parcel(0, 0, b"on");
    assert_eq!(client.get(portal).unwrap(), b"on");
}

#[test]
fn a_hand_made_broker_introduces_two_real_nodes() {
    let driver = InProcess::new();
    let clients = [Program::normal(&driver), Program::normal(&driver)];
    let [(first, p), (second, q)] = [0, 1].map(|i| {
        let (wire, portals) = Wire::to(&driver, &clients[i], 1, ipcz::ConnectTo::Broker);
        wire.say_with(to_client(BROKER, name(i as u64 + 1), 1, 0), &[wire.new_primary()]);
        (wire, portals[0])
    });
    // The first one's portal wants to be linked to the second one's.
    second.hear();
    let other = RouterDescriptor { proxy_peer_node_name: name(2), proxy_peer_sublink: SublinkId(0), ..proxied(SublinkId(100)) };
    first.say(with_portals(0, 0, vec![other]));
    let portal = clients[0].get_portal(p);
    let (transports, memory) = (driver.transport_pair(), first.new_primary());
    let twin = driver.duplicate(memory).unwrap();
    second.say_with(introduction(name(1), LinkSide::B), &[transports[1], twin]);
    first.say_with(introduction(name(2), LinkSide::A), &[transports[0], memory]);
    assert!(clients[0].link(name(2)).is_some() && clients[1].link(name(1)).is_some());
    // Nobody locked the link that it names: the second is not taken in (nodes.md D-14).
    assert!(clients[0].is_dead(portal) && !clients[1].is_dead(q));
    assert_eq!(clients[1].process.inspect(|view| view.totals().unauthorised), 1);
    assert!(clients.iter().all(|client| client.violations().is_empty()));
}

/// A real broker with two hand-made clients.
fn broker() -> (std::sync::Arc<InProcess>, Program, Hand, Hand) {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let (p, _) = Hand::client(&driver, &broker, 1);
    let (q, _) = Hand::client(&driver, &broker, 1);
    (driver, broker, p, q)
}

/// What a client hears when it is introduced: to whom, which side it has, and its means.
fn introduced(heard: &Heard) -> (NodeName, LinkSide, ipcz::ids::ObjectId, ipcz::ids::ObjectId) {
    let Message::AcceptIntroduction(m) = heard.message() else { panic!("{}", heard.message()) };
    assert_eq!(m.remote_node_type, NodeType::Normal);
    (m.name, m.link_side, heard.handles[m.transport.unwrap() as usize], heard.handles[m.memory.unwrap() as usize])
}

#[test]
fn a_broker_rejects_names_that_lead_nowhere() {
    let (_, broker, p, q) = broker();
    for wanted in [name(7), NodeName::INVALID, p.name, p.peer] {
        p.say(RequestIntroduction { name: wanted });
        assert!(matches!(p.hear_one().message(), Message::RejectIntroduction(m) if m.name == wanted));
    }
    assert!(!p.is_dropped() && q.hear().is_empty() && broker.violations().is_empty());
    assert_eq!(waits(&broker), 0);
}

#[test]
fn a_broker_gives_two_nodes_the_ends_of_one_link() {
    let (driver, broker, p, q) = broker();
    p.say(RequestIntroduction { name: q.name });
    let (heard_p, heard_q) = (p.hear_one(), q.hear_one());
    let (of_p, of_q) = (introduced(&heard_p), introduced(&heard_q));
    assert_eq!((of_p.0, of_p.1), (q.name, LinkSide::A), "who asked is side A");
    assert_eq!((of_q.0, of_q.1), (p.name, LinkSide::B));
    let (near, far) = (Wire::over(&driver, of_p.2), Wire::over(&driver, of_q.2));
    near.say(FlushRouter { sublink: SublinkId(3) });
    assert_eq!(far.hear_ids(), [36]);
    let (near, far) = (driver.map(of_p.3).unwrap(), driver.map(of_q.3).unwrap());
    assert_eq!((near.len(), near.load64(8, Ordering::Relaxed)), (131_072, 12), "initialised");
    near.store64(512, 7, Ordering::Relaxed);
    assert_eq!(far.load64(512, Ordering::Relaxed), 7, "the same memory");
    assert_eq!(waits(&broker), 0);
    // Asked again it makes another pair: who has a link already ignores it.
    q.say(RequestIntroduction { name: p.name });
    assert_eq!((p.hear_ids(), q.hear_ids()), (vec![11], vec![11]));
}

#[test]
fn features_of_the_other_node_are_passed_on() {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let (p, _) = Hand::client_with(&driver, &broker, 1, 0x4000_0000_0000_0001);
    let (q, _) = Hand::client(&driver, &broker, 1);
    p.say(RequestIntroduction { name: q.name });
    let features = |wire: &Wire| match wire.hear_one().message() {
        Message::AcceptIntroduction(m) => m.remote_features,
        other => panic!("{other}"),
    };
    assert_eq!((features(&p), features(&q)), (vec![0], vec![0x4000_0000_0000_0001]));
}

#[test]
fn a_node_that_is_gone_is_introduced_to_nobody() {
    let (_, broker, p, q) = broker();
    q.die();
    p.say(RequestIntroduction { name: q.name });
    assert_eq!(p.hear_ids(), [12]);
    assert_eq!(waits(&broker), 0);
}
