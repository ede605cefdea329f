//! A portal handed on by A links B and C directly: three real processes over the synchronous driver, no simulator.

use std::sync::Arc;

use ipcz::ids::{Handle, NodeType};
use ipcz::inspect::{LinkKind, LinkView, RouterView};
use ipcz::trap::{TrapEvent, TrapTarget};
use ipcz::{ConnectTo, Error, NodeOptions, Process};
use ipcz_drivers::{InProcess, MonotonicClock};

struct Nobody;

impl TrapTarget for Nobody {
    fn fired(&self, _: &TrapEvent) {}
}

/// A process with one node.
struct Program {
    process: Arc<Process>,
    node: Handle,
}

fn program(driver: &Arc<InProcess>, kind: NodeType) -> Program {
    let process = Process::new(Arc::new(MonotonicClock::new()), Arc::new(Nobody));
    let node = process.create_node(kind, driver.clone(), NodeOptions::default()).unwrap();
    Program { process, node }
}

/// Connects a client to its broker and gives the two ends of one pipe, client's first.
fn connect(driver: &Arc<InProcess>, client: &Program, broker: &Program) -> (Handle, Handle) {
    let [a, b] = driver.transport_pair();
    let here = client.process.connect_node(client.node, a, 1, ConnectTo::Broker).unwrap();
    let there = broker.process.connect_node(broker.node, b, 1, ConnectTo::Normal).unwrap();
    (here[0], there[0])
}

/// Gets the one portal attached to the next parcel.
fn get_portal(program: &Program, from: Handle) -> Handle {
    let received = program.process.get(from).unwrap();
    assert_eq!(received.handles.len(), 1);
    received.handles[0]
}

fn router(program: &Program, portal: Handle) -> RouterView {
    program.process.inspect(|view| view.router(view.router_of(portal).unwrap()).unwrap())
}

fn is_direct(program: &Program, portal: Handle) -> bool {
    let out = router(program, portal).out;
    out.decaying.is_none() && matches!(out.primary, Some(LinkView::Remote { kind: LinkKind::Central, status: Some(0x03), .. }))
}

#[test]
fn a_portal_handed_on_links_its_ends_directly() {
    let driver = InProcess::new();
    let a = program(&driver, NodeType::Broker);
    let (b, c) = (program(&driver, NodeType::Normal), program(&driver, NodeType::Normal));
    let (b_a, a_b) = connect(&driver, &b, &a);
    let (c_a, a_c) = connect(&driver, &c, &a);

    let (p, q) = b.process.open_portals(b.node).unwrap();
    b.process.put(b_a, b"take q", &[q]).unwrap();
    let q = get_portal(&a, a_b);
    a.process.put(a_c, b"", &[q]).unwrap();
    let q = get_portal(&c, c_a);

    for size in [0, 1, 100, 1000, 5000, 100_000, 2_000_000] {
        let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
        for _ in 0..2 {
            b.process.put(p, &data, &[]).unwrap();
            c.process.put(q, &data, &[]).unwrap();
            assert_eq!(c.process.get(q).unwrap().data, data);
            assert_eq!(b.process.get(p).unwrap().data, data);
        }
    }
    assert!(is_direct(&b, p) && is_direct(&c, q), "{:?}\n{:?}", router(&b, p), router(&c, q));
    let proxies: usize = [&a, &b, &c].iter().map(|program| program.process.inspect(|view| view.proxies())).sum();
    assert_eq!(proxies, 0);
    assert_eq!(b.process.inspect(|view| view.totals().bypasses), 1);

    c.process.close(q).unwrap();
    assert_eq!(b.process.get(p), Err(Error::NotFound));
    assert_eq!(b.process.put(p, b"late", &[]), Err(Error::NotFound));
    for (program, portal) in [(&b, p), (&b, b_a), (&a, a_b), (&a, a_c), (&c, c_a)] {
        program.process.close(portal).unwrap();
    }
    for program in [&a, &b, &c] {
        assert_eq!(program.process.inspect(|view| (view.router_count(), view.waits())), (0, 0));
        for link in program.process.inspect(|view| view.links()) {
            assert_eq!((link.sublinks.len(), link.blocks_taken), (0, 0));
        }
        assert_eq!(program.process.inspect(|view| view.violations()), []);
        program.process.close(program.node).unwrap();
    }
    assert_eq!(driver.live_objects(), 0);
}

#[test]
fn a_lost_node_closes_the_portals_that_led_through_it() {
    let driver = InProcess::new();
    let a = program(&driver, NodeType::Broker);
    let (b, c) = (program(&driver, NodeType::Normal), program(&driver, NodeType::Normal));
    let (b_a, a_b) = connect(&driver, &b, &a);
    let (c_a, _a_c) = connect(&driver, &c, &a);
    a.process.put(a_b, b"before", &[]).unwrap();
    a.process.close(a.node).unwrap();
    assert_eq!(b.process.get(b_a).unwrap().data, b"before");
    assert_eq!(b.process.get(b_a), Err(Error::NotFound));
    assert!(c.process.query(c_a).unwrap().dead);
    assert_eq!(b.process.put(b_a, b"", &[]), Err(Error::NotFound));
}

#[test]
fn bad_arguments_change_nothing() {
    let driver = InProcess::new();
    let a = program(&driver, NodeType::Broker);
    let [t, _] = driver.transport_pair();
    let connect = |portals, to| a.process.connect_node(a.node, t, portals, to);
    assert_eq!(connect(0, ConnectTo::Normal), Err(Error::InvalidArgument));
    assert_eq!(connect(13, ConnectTo::Normal), Err(Error::OutOfRange));
    for to in [ConnectTo::Referred, ConnectTo::Inherited] {
        assert_eq!(connect(1, to), Err(Error::InvalidArgument), "a broker has no other");
    }
    let (p, q) = a.process.open_portals(a.node).unwrap();
    assert_eq!(a.process.put(p, b"", &[p]), Err(Error::InvalidArgument));
    assert_eq!(a.process.put(p, b"", &[q]), Err(Error::InvalidArgument));
    let (x, y) = a.process.open_portals(a.node).unwrap();
    assert_eq!(a.process.put(p, b"", &[x, x]), Err(Error::InvalidArgument));
    assert_eq!(a.process.put(a.node, b"", &[]), Err(Error::InvalidArgument));
    a.process.close(y).unwrap();
    assert_eq!(a.process.close(y), Err(Error::InvalidArgument));
    assert_eq!(a.process.get(p), Err(Error::Unavailable));
    a.process.put(p, b"still works", &[x]).unwrap();
    assert_eq!(a.process.get(q).unwrap().data, b"still works");
    assert_eq!(a.process.open_portals(p), Err(Error::InvalidArgument));
}
