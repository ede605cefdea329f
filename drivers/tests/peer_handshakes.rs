//! How a broker and a normal node connect, and every way in which that can go wrong (nodes.md 5, 6, 15).

mod hand;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hand::*;
use ipcz::driver::Driver;
use ipcz::ids::{Features, Handle, LinkSide, NodeName, NodeType, ObjectId, SublinkId};
use ipcz::wire::*;
use ipcz::{ConnectTo, Error, NodeOptions};
use ipcz_drivers::InProcess;

/// Where the shared counter of sublinks stands in a primary buffer (memory.md 2).
const NEXT_SUBLINK: usize = 8;
const BIT_63: u64 = 1 << 63;

/// A connection attempt of either kind of node towards a hand-made end.
fn attempt(driver: &Arc<InProcess>, kind: NodeType, portals: usize) -> (Program, Wire, Vec<Handle>) {
    let (program, to) = match kind {
        NodeType::Broker => (Program::broker(driver), ConnectTo::Normal),
        NodeType::Normal => (Program::normal(driver), ConnectTo::Broker),
    };
    let (wire, portals) = Wire::to(driver, &program, portals, to);
    (program, wire, portals)
}

/// The greeting that such an attempt waits for.
fn greet(wire: &Wire, kind: NodeType, portals: u32) {
    match kind {
        NodeType::Broker => wire.say(to_broker(portals, 0)),
        NodeType::Normal => wire.say_with(to_client(BROKER, CLIENT, portals, 0), &[wire.new_primary()]),
    }
}

/// Closes what came with everything heard.
fn forget(wire: &Wire) {
    for heard in wire.hear() {
        heard.handles.iter().for_each(|handle| wire.driver.close(*handle));
    }
}

const KINDS: [NodeType; 2] = [NodeType::Broker, NodeType::Normal];

#[test]
fn a_peer_that_dies_before_its_greeting_closes_the_portals() {
    for kind in KINDS {
        let driver = InProcess::new();
        let (program, wire, portals) = attempt(&driver, kind, 2);
        program.put(portals[0], b"waiting");
        forget(&wire);
        wire.die();
        assert!(portals.iter().all(|portal| program.is_dead(*portal)));
        assert_eq!(program.process.put(portals[0], b"", &[]), Err(Error::NotFound));
        assert_eq!(driver.live_objects(), 0);
        assert_eq!(program.process.inspect(|view| (view.links().len(), view.objects_owned())), (0, 0));
    }
}

#[test]
fn a_peer_that_dies_after_its_greeting_closes_them_too() {
    for kind in KINDS {
        let driver = InProcess::new();
        let (program, wire, portals) = attempt(&driver, kind, 2);
        greet(&wire, kind, 1);
        program.put(portals[0], b"lost");
        forget(&wire);
        wire.die();
        assert!(portals.iter().all(|portal| program.is_dead(*portal)));
        assert_eq!(driver.live_objects(), 0);
        if kind == NodeType::Normal {
            assert_eq!(program.name(), NodeName::INVALID);
            assert_eq!(program.process.inspect(|view| view.nodes()[0].broker_link), None);
        }
    }
}

#[test]
fn garbage_is_no_greeting() {
    for kind in KINDS {
        let driver = InProcess::new();
        let (program, wire, portals) = attempt(&driver, kind, 1);
        wire.say_raw(b"GET / HTTP/1.1", &[]);
        assert!(wire.is_dropped() && program.is_dead(portals[0]));
        assert!(program.violation().contains("F1"));
        // The node can be connected all the same, later.
        let (wire, portals) = match kind {
            NodeType::Broker => Wire::to(&driver, &program, 1, ConnectTo::Normal),
            NodeType::Normal => Wire::to(&driver, &program, 1, ConnectTo::Broker),
        };
        greet(&wire, kind, 1);
        wire.say(AcceptParcel { parcel_data: b"hello", ..plain_parcel(0, 0) });
        assert_eq!(program.get(portals[0]).unwrap(), b"hello");
    }
}

#[test]
fn a_client_refuses_a_broker_without_usable_memory() {
    let memory: [fn(&Wire) -> Vec<ObjectId>; 4] = [
        |_| vec![],
        |wire| vec![wire.driver.transport_pair()[0]],
        |wire| vec![wire.driver.allocate(131_064).unwrap()],
        |wire| vec![wire.driver.allocate(8).unwrap()],
    ];
    for memory in memory {
        let driver = InProcess::new();
        let (client, wire, portals) = attempt(&driver, NodeType::Normal, 1);
        let objects = memory(&wire);
        let buffer = (!objects.is_empty()).then_some(0);
        wire.say_with(ConnectFromBrokerToNonBroker { buffer, ..to_client(BROKER, CLIENT, 1, 0) }, &objects);
        assert!(wire.is_dropped() && client.is_dead(portals[0]));
        assert!(client.violation().contains("buffer"), "{}", client.violation());
        assert!(objects.iter().all(|object| driver.can_travel(*object, None) == ipcz::driver::Travel::Never));
    }
}

#[test]
fn a_client_refuses_names_that_are_none() {
    for (broker, client) in [(NodeName::INVALID, CLIENT), (BROKER, NodeName::INVALID), (BROKER, BROKER)] {
        let driver = InProcess::new();
        let (program, wire, portals) = attempt(&driver, NodeType::Normal, 1);
        wire.say_with(to_client(broker, client, 1, 0), &[wire.new_primary()]);
        assert!(wire.is_dropped() && program.is_dead(portals[0]) && program.name() == NodeName::INVALID);
    }
}

#[test]
fn surplus_portals_see_closure_and_the_others_all_that_was_queued() {
    for kind in KINDS {
        let driver = InProcess::new();
        let (program, wire, portals) = attempt(&driver, kind, 3);
        for data in [b"1", b"2"] {
            portals.iter().for_each(|portal| program.put(*portal, data));
        }
        wire.hear();
        greet(&wire, kind, 2);
        assert_eq!(portals.iter().map(|portal| program.is_dead(*portal)).collect::<Vec<_>>(), [false, false, true]);
        let heard = wire.hear();
        let parcels: Vec<_> = heard
            .iter()
            .filter_map(|heard| match heard.message() {
                Message::AcceptParcel(m) => Some((m.sublink.0, m.sequence_number, m.parcel_data)),
                _ => None,
            })
            .collect();
        for sublink in [0, 1] {
            let of: Vec<_> = parcels.iter().filter(|parcel| parcel.0 == sublink).map(|parcel| (parcel.1, parcel.2)).collect();
            assert_eq!(of, [(0, &b"1"[..]), (1, &b"2"[..])]);
        }
        assert_eq!(parcels.len(), 4);
    }
}

#[test]
fn a_peer_with_more_portals_than_there_can_be_has_as_many_as_there_are() {
    for kind in KINDS {
        let driver = InProcess::new();
        let (program, wire, portals) = attempt(&driver, kind, 12);
        greet(&wire, kind, u32::MAX);
        assert!(portals.iter().all(|portal| !program.is_dead(*portal)));
        wire.say(AcceptParcel { parcel_data: b"last", ..plain_parcel(11, 0) });
        assert_eq!(program.get(portals[11]).unwrap(), b"last");
    }
}

#[test]
fn no_connection_comes_to_be_once_the_node_is_closed() {
    for kind in KINDS {
        let driver = InProcess::new();
        let (program, wire, portals) = attempt(&driver, kind, 1);
        forget(&wire);
        program.close(program.node);
        assert!(program.is_dead(portals[0]) && wire.is_dropped());
        greet(&wire, kind, 1);
        assert_eq!(wire.hear_ids(), [] as [u8; 0]);
        assert_eq!(program.process.inspect(|view| (view.links().len(), view.nodes().len())), (0, 0));
        wire.die();
        assert_eq!(driver.live_objects(), 0);
    }
}

#[test]
fn the_greeting_is_said_before_anything_else() {
    // The peer's greeting, and what makes the node answer, are waiting when it starts to listen.
    for kind in KINDS {
        let driver = InProcess::new();
        let [theirs, ours] = driver.transport_pair();
        let wire = Wire::over(&driver, ours);
        greet(&wire, kind, 1);
        let (program, to, answer) = match kind {
            NodeType::Broker => {
                wire.say(RequestIntroduction { name: name(7) });
                (Program::broker(&driver), ConnectTo::Normal, [0, 12])
            }
            NodeType::Normal => {
                let router = RouterDescriptor { proxy_peer_node_name: name(7), ..proxied(SublinkId(100)) };
                wire.say(with_portals(0, 0, vec![router]));
                (Program::normal(&driver), ConnectTo::Broker, [1, 10])
            }
        };
        program.process.connect_node(program.node, theirs, 1, to).unwrap();
        let heard = wire.hear();
        assert_eq!(heard.iter().map(Heard::id).collect::<Vec<_>>(), answer);
        let numbers: Vec<_> = heard.iter().map(|h| Envelope::parse(&h.data, h.handles.len()).unwrap().sequence_number()).collect();
        assert_eq!(numbers, [0, 0], "a greeting does not count");
    }
}

#[test]
fn a_second_broker_is_refused_and_the_first_kept() {
    let driver = InProcess::new();
    let client = Program::normal(&driver);
    let (first, portals) = Hand::broker(&driver, &client, 1);
    let (other, theirs) = Wire::to(&driver, &client, 1, ConnectTo::Broker);
    other.say_with(to_client(name(0xB2), name(0xC2), 1, 0), &[other.new_primary()]);
    assert!(other.is_dropped() && client.is_dead(theirs[0]) && !first.is_dropped());
    assert!(client.violation().contains("another broker"));
    first.parcel(0, 0, b"mine");
    assert_eq!((client.name(), client.get(portals[0]).unwrap()), (CLIENT, b"mine".to_vec()));
}

#[test]
fn connecting_to_the_same_broker_again_starts_over() {
    let driver = InProcess::new();
    let client = Program::normal(&driver);
    let (first, old) = Hand::broker(&driver, &client, 1);
    let friend = first.introduced(name(7), LinkSide::A);
    let waiting = RouterDescriptor { proxy_peer_node_name: name(8), ..proxied(SublinkId(100)) };
    first.portals(0, 0, vec![waiting]);
    let portal = client.get_portal(old[0]);
    assert_eq!(client.process.inspect(|view| view.waits()), 1);

    let (wire, new) = Wire::to(&driver, &client, 1, ConnectTo::Broker);
    wire.say_with(to_client(BROKER, name(0xC2), 1, 0), &[wire.new_primary()]);
    assert!(first.is_dropped() && friend.is_dropped() && client.is_dead(old[0]) && client.is_dead(portal));
    assert_eq!(client.process.inspect(|view| view.waits()), 0);
    assert_eq!((client.name(), client.process.inspect(|view| view.links().len())), (name(0xC2), 1));
    // What is still on its way from before means nothing any more.
    first.say_with(introduction(name(9), LinkSide::A), &[driver.transport_pair()[0], wire.new_primary()]);
    assert!(client.link(name(9)).is_none());
    wire.say(AcceptParcel { parcel_data: b"anew", ..plain_parcel(0, 0) });
    assert_eq!(client.get(new[0]).unwrap(), b"anew");
    assert_eq!(client.violations(), [] as [String; 0]);
}

#[test]
fn initial_portals_lead_to_each_other_by_their_index() {
    let driver = InProcess::new();
    let broker = Program::broker(&driver);
    let (client, portals) = Hand::client(&driver, &broker, 12);
    for i in 0..12 {
        assert_eq!(client.state(i).status(), 0x01, "the broker's end is stable at once");
        client.settle(i);
        client.parcel(i.into(), 0, b"hello");
        assert_eq!(broker.get(portals[i as usize]).unwrap(), b"hello");
        broker.close(portals[i as usize]);
        let heard = client.hear_one();
        assert!(matches!(heard.message(), Message::RouteClosed(m) if m.sublink.0 == u64::from(i) && m.sequence_length == 0));
    }
    assert_eq!((broker.routers(), broker.link(client.name).unwrap().sublinks), (0, vec![]));
}

/// Sends a portal and a big parcel over portal 0, and gives the sublink and the buffer id drawn for them.
fn drawn(program: &Program, portal: Handle, wire: &Wire) -> (u64, u64) {
    wire.hear();
    let (_, sent) = program.process.open_portals(program.node).unwrap();
    program.process.put(portal, b"", &[sent]).unwrap();
    program.put(portal, &[7; 100_000]);
    let (mut sublink, mut buffer) = (None, None);
    for heard in wire.hear() {
        match heard.message() {
            Message::AcceptParcel(m) if !m.new_routers.is_empty() => sublink = Some(m.new_routers[0].new_sublink.0),
            Message::AddBlockBuffer(m) => buffer = Some(m.id.0),
            _ => {}
        }
    }
    (sublink.unwrap(), buffer.unwrap())
}

fn v2(driver: &Arc<InProcess>, kind: NodeType) -> Program {
    Program::with(driver.clone(), kind, NodeOptions { features: Features::MEM_V2, ..NodeOptions::default() })
}

#[test]
fn with_mem_v2_ids_are_private_and_name_their_side() {
    let driver = InProcess::new();
    let client = v2(&driver, NodeType::Normal);
    let (broker, portals) = Hand::broker_with(&driver, &client, 1, 1);
    let (sublink, buffer) = drawn(&client, portals[0], &broker);
    assert!(sublink & BIT_63 != 0 && buffer & BIT_63 != 0, "side B: {sublink:x} {buffer:x}");

    let broker = v2(&driver, NodeType::Broker);
    let (client, portals) = Hand::client_with(&driver, &broker, 1, 1);
    let (sublink, buffer) = drawn(&broker, portals[0], &client);
    assert!(sublink & BIT_63 == 0 && buffer & BIT_63 == 0, "side A: {sublink:x} {buffer:x}");
    assert_eq!(client.primary.load64(NEXT_SUBLINK, Ordering::Relaxed), 12, "the shared counter is nobody's");
}

#[test]
fn without_mem_v2_at_both_ends_ids_come_from_the_shared_counters() {
    let driver = InProcess::new();
    for (own, theirs) in [(Features::MEM_V2, 0), (Features::MEM_V2, 2), (Features(0), 1)] {
        let client = Program::with(driver.clone(), NodeType::Normal, NodeOptions { features: own, ..NodeOptions::default() });
        let (mut broker, portals) = Hand::broker_with(&driver, &client, 1, theirs);
        let (sublink, buffer) = drawn(&client, portals[0], &broker);
        assert_eq!((sublink & BIT_63, buffer), (0, 1));
        assert_eq!(broker.sublinks(1).0, sublink + 2, "the next after both of the portal's");
    }
}

#[test]
fn two_nodes_with_mem_v2_move_portals_both_ways() {
    let driver = InProcess::new();
    let (client, broker) = (v2(&driver, NodeType::Normal), v2(&driver, NodeType::Broker));
    let (near, far) = connect(&driver, &client, &broker);
    for (from, to, here, there) in [(&client, &broker, near, far), (&broker, &client, far, near)] {
        let (kept, sent) = from.process.open_portals(from.node).unwrap();
        from.process.put(here, b"", &[sent]).unwrap();
        let got = to.get_portal(there);
        from.put(kept, &[7; 50_000]);
        to.put(got, &[8; 50_000]);
        assert_eq!((to.get(got).unwrap(), from.get(kept).unwrap()), (vec![7; 50_000], vec![8; 50_000]));
    }
    let ids = |program: &Program| {
        let link = program.process.inspect(|view| view.links()).remove(0);
        link.sublinks.into_iter().map(|(id, _)| id.0).collect::<Vec<_>>()
    };
    assert_eq!(ids(&client), ids(&broker));
    assert_eq!(ids(&client).iter().filter(|id| **id & BIT_63 != 0).count(), 1, "one of either side, and the first portal");
}
