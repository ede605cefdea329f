//! Nodes that have their broker allocate memory for them (nodes.md 9.3, 15).

mod hand;

use std::sync::Arc;
use std::time::Duration;

use hand::*;
use ipcz::clock::Wake;
use ipcz::driver::{Driver, Travel};
use ipcz::ids::{Handle, LinkSide, NodeType, ObjectId, SublinkId};
use ipcz::limits::Limits;
use ipcz::memory::LinkMemory;
use ipcz::probe::Probe;
use ipcz::wire::*;
use ipcz::{Connect, ConnectTo, NodeOptions};
use ipcz_drivers::InProcess;

const DELEGATE: Connect = Connect { to: ConnectTo::Broker, delegate: true };

/// A real client whose hand-made broker gives it memory.
fn client(driver: &Arc<InProcess>) -> (Program, Hand, Vec<Handle>) {
    let client = Program::normal(driver);
    let (broker, portals) = delegated(driver, &client);
    (client, broker, portals)
}

/// A hand-made broker that gives a real client memory.
fn delegated(driver: &Arc<InProcess>, client: &Program) -> (Hand, Vec<Handle>) {
    let (wire, portals) = Wire::to(driver, client, 1, DELEGATE);
    let memory = wire.new_primary();
    let primary = driver.map(memory).unwrap();
    wire.say_with(to_client(BROKER, CLIENT, 1, 0), &[memory]);
    wire.hear();
    let memory = LinkMemory::new(primary.clone(), LinkSide::A, false).unwrap();
    (Hand { wire, name: BROKER, peer: CLIENT, side: LinkSide::A, memory, primary }, portals)
}

/// The sizes of memory asked for since the last look.
fn asked(wire: &Wire) -> Vec<u32> {
    let size = |heard: &Heard| match heard.message() {
        Message::RequestMemory(m) => Some(m.size),
        _ => None,
    };
    wire.hear().iter().filter_map(size).collect()
}

fn provide(size: u32, buffer: Option<u32>) -> ProvideMemory {
    ProvideMemory { size, buffer }
}

/// What a client that allocates for itself would announce.
fn announced(wire: &Wire) -> Vec<(u32, ObjectId)> {
    let buffer = |heard: &Heard| match heard.message() {
        Message::AddBlockBuffer(m) => Some((m.block_size, heard.handles[0])),
        _ => None,
    };
    wire.hear().iter().filter_map(buffer).collect()
}

#[test]
fn a_client_with_a_delegate_asks_it_and_then_announces() {
    let driver = InProcess::new();
    let (client, broker, portals) = client(&driver);
    client.put(portals[0], &[1; 100_000]);
    client.put(portals[0], &[2; 20_000]);
    client.put(portals[0], &[3; 100_000]);
    assert_eq!(asked(&broker), [1 << 20, 1 << 18], "one request a size");
    assert_eq!(client.waits(), 2);
    // In any order, by size.
    let memory = [1 << 18, 1 << 20].map(|bytes| driver.allocate(bytes).unwrap());
    for (bytes, memory) in [1 << 18, 1 << 20].into_iter().zip(memory) {
        broker.say_with(provide(bytes, Some(0)), &[memory]);
    }
    let announced = announced(&broker);
    assert_eq!(announced.iter().map(|(size, _)| *size).collect::<Vec<_>>(), [1 << 15, 1 << 17]);
    assert_eq!((driver.size(announced[0].1).unwrap(), client.waits()), (1 << 18, 0));
    // The memory is initialised and used.
    client.put(portals[0], &[4; 100_000]);
    assert!(matches!(broker.hear_one().message(), Message::AcceptParcel(m) if !m.parcel_fragment.is_null()));
}

#[test]
fn what_a_delegate_refuses_is_done_without() {
    let driver = InProcess::new();
    for wrong in 0..4 {
        let (client, broker, portals) = client(&driver);
        client.put(portals[0], &[1; 100_000]);
        let size = asked(&broker)[0];
        let objects = match wrong {
            0 => vec![],
            1 => vec![driver.transport_pair()[0]],
            2 => vec![driver.allocate(64).unwrap()],
            _ => vec![driver.allocate(size as usize - 8).unwrap()],
        };
        broker.say_with(provide(size, (!objects.is_empty()).then_some(0)), &objects);
        assert!(!broker.is_dropped() && client.waits() == 0, "{:?}", client.violations());
        assert!(objects.iter().all(|object| driver.can_travel(*object, None) == Travel::Never), "closed");
        // Parcels go inline, and it asks again.
        client.put(portals[0], &[2; 100_000]);
        assert_eq!(asked(&broker), [size]);
    }
}

#[test]
fn memory_that_was_not_asked_for_ends_the_link_that_it_comes_by() {
    let driver = InProcess::new();
    for wrong in 0..4 {
        let (client, broker, portals) = client(&driver);
        let friend = broker.introduced(name(7), LinkSide::A);
        client.put(portals[0], &[1; 100_000]);
        let size = asked(&broker)[0];
        let memory = || driver.allocate(size as usize).unwrap();
        let from = match wrong {
            0 => {
                broker.say_with(provide(size / 2, Some(0)), &[memory()]);
                &broker.wire
            }
            1 => {
                broker.say_with(provide(size, Some(0)), &[memory()]);
                broker.say_with(provide(size, Some(0)), &[memory()]);
                &broker.wire
            }
            2 => {
                friend.say_with(provide(size, Some(0)), &[memory()]);
                &friend.wire
            }
            _ => {
                friend.say(provide(size, None));
                &friend.wire
            }
        };
        assert!(from.is_dropped() && client.violation().contains("ProvideMemory"));
        assert_eq!(broker.is_dropped(), wrong < 2);
        assert_eq!(client.waits(), usize::from(wrong >= 2));
    }
}

#[test]
fn memory_of_any_link_is_asked_of_the_delegate_and_lost_with_it() {
    for lost in [false, true] {
        let driver = InProcess::new();
        let (client, clock) = Program::timed(driver.clone(), NodeType::Normal, NodeOptions::default());
        let (broker, portals) = delegated(&driver, &client);
        let friend = broker.introduced(name(7), LinkSide::A);
        while friend.memory.new_link_state().is_some() {}
        let router = RouterDescriptor { proxy_peer_node_name: name(7), proxy_peer_sublink: SublinkId(50), ..proxied(SublinkId(100)) };
        broker.portals(0, 0, vec![router]);
        let portal = client.get_portal(portals[0]);
        assert_eq!((asked(&broker), client.waits()), (vec![65_536], 1), "a bypass waits for a link state on the other link");
        if lost {
            broker.die();
            assert!(client.is_dead(portal));
            // Whoever would have asked again finds its route gone.
            clock.pass(Duration::from_secs(1));
            client.process.timer();
        } else {
            broker.say_with(provide(65_536, Some(0)), &[driver.allocate(65_536).unwrap()]);
            assert_eq!(friend.hear_ids(), [14, 31]);
        }
        assert_eq!((client.waits(), client.violations()), (0, vec![]));
    }
}

#[test]
fn anybody_is_given_memory_within_the_limits() {
    let driver = InProcess::new();
    let limits = Limits { grant_bytes: 1 << 20, ..Limits::default() };
    let options = NodeOptions { limits, ..NodeOptions::default() };
    let broker = Program::with(driver.clone(), NodeType::Broker, options);
    let (p, _) = Hand::client(&driver, &broker, 1);
    let given = |wire: &Wire, size: u32| {
        wire.say(RequestMemory { size });
        let heard = wire.hear_one();
        let Message::ProvideMemory(m) = heard.message() else { panic!("{}", heard.message()) };
        assert_eq!(m.size, size);
        m.buffer.map(|index| driver.size(heard.handles[index as usize]).unwrap())
    };
    assert_eq!((given(&p, 65_536), given(&p, 1 << 20)), (Some(65_536), Some(1 << 20)));
    assert_eq!((given(&p, (1 << 20) + 1), given(&p, u32::MAX)), (None, None), "too much");
    assert!(!p.is_dropped());
    p.say(RequestMemory { size: 0 });
    assert!(p.is_dropped() && broker.violation().contains("RequestMemory"));
    // A client serves its broker, and whoever else is linked to it.
    let client = Program::normal(&driver);
    let (hand, _) = Hand::broker(&driver, &client, 1);
    let friend = hand.introduced(name(7), LinkSide::A);
    assert_eq!((given(&hand, 65_536), given(&friend, 65_536)), (Some(65_536), Some(65_536)));
    assert_eq!((broker.waits(), client.waits()), (0, 0));
}

#[test]
fn a_client_that_connects_again_keeps_its_delegate() {
    let driver = InProcess::new();
    let (client, first, _) = client(&driver);
    let (second, portals) = Wire::to(&driver, &client, 1, DELEGATE);
    second.say_with(to_client(BROKER, name(0xC2), 1, 0), &[second.new_primary()]);
    second.hear();
    assert!(first.is_dropped());
    client.put(portals[0], &[1; 100_000]);
    assert_eq!(asked(&second).len(), 1, "nodes.md D-8");
    // And one that connects without wanting one allocates for itself.
    let (third, portals) = Wire::to(&driver, &client, 1, ConnectTo::Broker);
    third.say_with(to_client(BROKER, name(0xC3), 1, 0), &[third.new_primary()]);
    third.hear();
    client.put(portals[0], &[1; 100_000]);
    assert_eq!(announced(&third).len(), 1);
}

#[test]
fn real_nodes_delegate() {
    let driver = InProcess::new();
    let (b, c) = (Program::broker(&driver), Program::normal(&driver));
    let [t, u] = driver.transport_pair();
    let here = c.process.connect_node(c.node, t, 1, DELEGATE).unwrap()[0];
    let there = b.process.connect_node(b.node, u, 1, ConnectTo::Normal).unwrap()[0];
    for i in 0..20 {
        c.put(here, &[i; 100_000]);
    }
    for i in 0..20 {
        assert_eq!(b.get(there).unwrap(), [i; 100_000]);
    }
    assert!(b.process.inspect(|view| view.links())[0].buffers > 1);
    assert_eq!((b.waits(), c.waits()), (0, 0));
    assert!(c.process.inspect(|view| view.totals().probes.of(Probe::DelegateGave)) > 0);
}
