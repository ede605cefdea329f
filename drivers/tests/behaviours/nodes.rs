//! Nodes: what they are made with, and connecting them.

use std::ptr::{null, null_mut};

use ipcz::driver::DriverError;
use ipcz::wire::{Envelope, Message};
use ipcz_drivers::middleware::Entry;

use super::api::*;
use super::loading::create_with;
use super::world::*;

/// The features that a broker made with these options tells whom it greets.
fn features_told(w: &World, enabled: &[u32], disabled: &[u32]) -> bool {
    let (port, other) = (w.port(), w.port());
    let options = IpczCreateNodeOptions {
        enabled_features: enabled.as_ptr(),
        num_enabled_features: enabled.len(),
        disabled_features: disabled.as_ptr(),
        num_disabled_features: disabled.len(),
        ..zeroed_options()
    };
    let node = create_with(&**port.table, CREATE_NODE_AS_BROKER, &options).unwrap();
    let [near, far] = w.transports(&port, &other);
    port.record.keep_messages();
    connect(node, near, 1, 0).unwrap();
    let sent = port.record.sent();
    let Message::ConnectFromBrokerToNonBroker(greeting) = Envelope::parse(&sent[0], 1).unwrap().message().unwrap().unwrap() else {
        panic!("no greeting")
    };
    let told = greeting.features.iter().any(|word| *word != 0);
    other.close(far);
    ok(close(node));
    told
}

pub fn n018(w: &World) {
    assert!(!features_told(w, &[], &[]));
    assert!(features_told(w, &[FEATURE_MEM_V2], &[]));
    assert!(!features_told(w, &[FEATURE_MEM_V2], &[FEATURE_MEM_V2]), "disabled");
}

pub fn n019(w: &World) {
    let broker = w.broker();
    assert_eq!(*broker.port.record.randoms.lock().unwrap(), [16]);
    let client = w.client();
    let calls = |node: &Node| ALL.iter().map(|entry| node.port.record.count.calls(*entry)).sum::<u64>();
    assert_eq!((calls(&broker), calls(&client)), (1, 0));
}

/// Everything a driver can be asked for.
const ALL: [Entry; 14] = [
    Entry::Close,
    Entry::CanTravel,
    Entry::Serialize,
    Entry::Deserialize,
    Entry::CreateTransports,
    Entry::Activate,
    Entry::Deactivate,
    Entry::Transmit,
    Entry::ReportBad,
    Entry::Allocate,
    Entry::Size,
    Entry::Duplicate,
    Entry::Map,
    Entry::Random,
];

/// Connects a node over a transport, of which both ends are the caller's again if that fails.
fn try_connect(w: &World, node: &Node, count: usize, flags: u32) -> Result<Vec<H>, R> {
    let other = &w.three().broker.port;
    let [near, far] = w.transports(&node.port, other);
    let made = connect(node.handle, near, count, flags);
    if made.is_err() {
        // It is still there.
        assert!(still_open(node, near));
        node.port.close(near);
    }
    other.close(far);
    made
}

/// Whether a transport is known to its driver.
fn still_open(node: &Node, transport: IpczDriverHandle) -> bool {
    node.port.base.get().transmit(object(transport), &[]).is_ok()
}

pub fn n020(w: &World) {
    let broker = w.broker();
    let [near, far] = w.transports(&broker.port, &broker.port);
    let (a, _) = broker.pair();
    let said = |node, transport, count, to: *mut H| unsafe { (api().connect_node)(node, transport, count, 0, null(), to) };
    let mut portals = [0; 2];
    invalid(said(0, near, 1, portals.as_mut_ptr()));
    invalid(said(a, near, 1, portals.as_mut_ptr()));
    invalid(said(broker.handle, 0, 1, portals.as_mut_ptr()));
    invalid(said(broker.handle, near, 0, portals.as_mut_ptr()));
    invalid(said(broker.handle, near, 1, null_mut()));
    assert_eq!(portals, [0; 2]);
    assert_eq!(broker.port.record.count.calls(Entry::Activate), 0);
    assert!(still_open(&broker, near));
    broker.port.close(near);
    broker.port.close(far);
}

pub fn n021(w: &World) {
    let broker = w.broker();
    assert_eq!(try_connect(w, &broker, 13, 0).err(), Some(OUT_OF_RANGE));
    assert_eq!(try_connect(w, &broker, 12, 0).unwrap().len(), 12);
    let [near, far] = w.transports(&broker.port, &broker.port);
    assert_eq!(connect(0, near, 13, 0).err(), Some(INVALID_ARGUMENT));
    broker.port.close(near);
    broker.port.close(far);
}

pub fn n022(w: &World) {
    use ipcz::abi::{CONNECT_NODE_INHERIT_BROKER as INHERIT, CONNECT_NODE_SHARE_BROKER as SHARE, CONNECT_NODE_TO_BROKER as TO};
    let (broker, client) = (w.broker(), w.client());
    for flags in 0..16 {
        let how = flags & !CONNECT_NODE_TO_ALLOCATION_DELEGATE;
        for (node, fine) in [(&broker, how == 0 || how == TO), (&client, [TO, INHERIT, SHARE].contains(&how))] {
            let said = try_connect(w, node, 1, flags).err().unwrap_or(OK);
            assert_eq!(said, if fine { OK } else { INVALID_ARGUMENT }, "broker {}, flags {flags:#x}", node.is_broker);
        }
    }
}

pub fn n023(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    let (near, far) = w.connect_as((&broker, 0xffff_ff00, 1), (&client, w.as_client(0x100 | CONNECT_NODE_TO_BROKER), 1));
    talk(near[0], far[0]);
    assert_eq!(try_connect(w, &client, 1, 0x100).err(), Some(INVALID_ARGUMENT));
}

pub fn n024(w: &World) {
    let broker = w.broker();
    for entry in [Entry::Allocate, Entry::Map] {
        broker.port.record.faults.always(entry, DriverError::ResourceExhausted);
        assert_eq!(try_connect(w, &broker, 1, 0).err(), Some(RESOURCE_EXHAUSTED), "{entry:?}");
        broker.port.record.faults.none();
    }
    assert_eq!(broker.port.record.count.calls(Entry::Activate), 0);
}

pub fn n025(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    for (node, flags) in [(&broker, 0), (&client, CONNECT_NODE_TO_BROKER)] {
        node.port.record.faults.some(Entry::Activate, DriverError::Unknown, 0, 1);
        assert_eq!(try_connect(w, node, 1, flags).err(), Some(UNKNOWN));
        assert_eq!(node.port.record.count.calls(Entry::Deactivate), 1);
    }
}

pub fn n026(w: &World) {
    let broker = w.broker();
    broker.port.record.faults.some(Entry::Transmit, DriverError::Disconnected, 0, 1);
    assert_eq!(try_connect(w, &broker, 1, 0).err(), Some(UNKNOWN));
    assert_eq!(broker.port.record.count.calls(Entry::Activate), 1);
}

/// A broker that has connected, and what its client needs to.
fn half_connected(w: &World, count: usize) -> (Node, Node, Vec<H>, IpczDriverHandle) {
    let (broker, client) = (w.broker(), w.client());
    let [near, far] = w.transports(&broker.port, &client.port);
    let portals = connect(broker.handle, near, count, 0).unwrap();
    (broker, client, portals, far)
}

pub fn n027(w: &World) {
    let (broker, client, near, transport) = half_connected(w, 1);
    let (c, d) = broker.pair();
    ok(put(near[0], b"1", &[]));
    let transaction = fill(near[0], b"2");
    ok(end_put(near[0], transaction, 1, &[], 0));
    ok(put(near[0], b"3", &[c]));
    ok(put(d, b"through", &[]));
    let far = connect(client.handle, transport, 1, w.as_client(CONNECT_NODE_TO_BROKER)).unwrap();
    assert_eq!((hear(far[0]), hear(far[0])), (b"1".to_vec(), b"2".to_vec()));
    let (data, handles) = receive(far[0]);
    assert_eq!((data, handles.len()), (b"3".to_vec(), 1));
    assert_eq!(hear(handles[0]), b"through");
    talk(d, handles[0]);
}

pub fn n028(w: &World) {
    let (broker, client, near, transport) = half_connected(w, 1);
    let (c, d) = broker.pair();
    ok(merge(near[0], c));
    ok(put(d, b"early", &[]));
    let far = connect(client.handle, transport, 1, w.as_client(CONNECT_NODE_TO_BROKER)).unwrap();
    assert_eq!(hear(far[0]), b"early");
    talk(d, far[0]);
}

pub fn n029(w: &World) {
    let (broker, client, near, transport) = half_connected(w, 1);
    let (c, d) = broker.pair();
    ok(put(near[0], b"x", &[]));
    assert_eq!(merge(near[0], c), FAILED_PRECONDITION);
    assert_eq!(merge(c, near[0]), FAILED_PRECONDITION);
    talk(c, d);
    client.port.close(transport);
}

pub fn n030(w: &World) {
    let (_broker, client, near, transport) = half_connected(w, 3);
    let events = Events::default();
    for (i, portal) in near.iter().enumerate().skip(1) {
        ok(put(*portal, b"lost", &[]));
        ok(events.trap(*portal, TRAP_PEER_CLOSED | TRAP_DEAD, i));
    }
    let far = connect(client.handle, transport, 1, w.as_client(CONNECT_NODE_TO_BROKER)).unwrap();
    let mut told: Vec<_> = events.wait(2).iter().map(|event| (event.context, event.flags)).collect();
    told.sort_unstable();
    let both = TRAP_PEER_CLOSED | TRAP_DEAD;
    assert_eq!(told, [(1, both), (2, both)], "and not within the call");
    for portal in &near[1..] {
        assert_eq!((flags(*portal), put(*portal, b"", &[])), (DEAD, NOT_FOUND));
    }
    talk(near[0], far[0]);
}

pub fn n031(w: &World) {
    let (_broker, client, near, transport) = half_connected(w, 2);
    client.port.close(transport);
    near.iter().for_each(|portal| wait_refused(*portal));
    near.iter().for_each(|portal| wait_dead(*portal));
}

pub fn n032(w: &World) {
    let (_broker, client, near, transport) = half_connected(w, 1);
    let stranger = Stranger::at(&client.port, transport);
    stranger.send(b"garbage, and no greeting at all");
    wait_dead(near[0]);
    stranger.wait_broken();
    stranger.leave();
}

pub fn n033(w: &World) {
    let (broker, other) = (w.broker(), w.broker());
    let (client, fellow) = (w.client(), w.client());
    let wrong = [
        ((&broker, 0), (&other, 0)),
        ((&client, CONNECT_NODE_TO_BROKER), (&fellow, CONNECT_NODE_TO_BROKER)),
        ((&broker, CONNECT_NODE_TO_BROKER), (&other, 0)),
        ((&broker, 0), (&client, CONNECT_NODE_INHERIT_BROKER)),
        ((&client, CONNECT_NODE_INHERIT_BROKER), (&fellow, CONNECT_NODE_INHERIT_BROKER)),
    ];
    for (i, ((a, a_flags), (b, b_flags))) in wrong.into_iter().enumerate() {
        eprintln!("pairing {i}");
        let (near, far) = w.connect_as((a, a_flags, 1), (b, b_flags, 1));
        wait_dead(near[0]);
        wait_dead(far[0]);
    }
}

pub fn n034(w: &World) {
    let (broker, other) = (w.broker(), w.broker());
    let (near, far) = w.connect_as((&broker, CONNECT_NODE_TO_BROKER, 2), (&other, CONNECT_NODE_TO_BROKER, 2));
    talk(near[0], far[0]);
    talk(far[1], near[1]);
}

pub fn n035(w: &World) {
    let (client, fellow) = (w.client(), w.client());
    let [near, far] = w.transports(&client.port, &fellow.port);
    let portals = connect(client.handle, near, 2, CONNECT_NODE_SHARE_BROKER).unwrap();
    ok(put(portals[0], b"waits", &[]));
    assert!(portals.iter().all(|portal| flags(*portal) == 0));
    assert_eq!(client.port.record.count.calls(Entry::Activate), 0);
    // It gets a broker now, and so does the other.
    let broker = w.broker();
    w.connect(&broker, &client, 1);
    let far = connect(fellow.handle, far, 2, w.as_client(CONNECT_NODE_INHERIT_BROKER)).unwrap();
    assert_eq!(hear(far[0]), b"waits");
    talk(far[1], portals[1]);
}

/// A broker, B that shares it, C that inherits it; and what they are linked by.
struct Referred {
    broker: Node,
    b: Node,
    c: Node,
    to_b: H,
    b_to: H,
    /// B's portals to C, and C's to B.
    near: Vec<H>,
    far: Vec<H>,
}

fn referred(w: &World, b_count: usize, c_count: usize) -> Referred {
    let (broker, b, c) = (w.broker(), w.client(), w.client());
    let (to_b, b_to) = w.connect(&broker, &b, 1);
    let sharing = (&b, CONNECT_NODE_SHARE_BROKER, b_count);
    let (near, far) = w.connect_as(sharing, (&c, w.as_client(CONNECT_NODE_INHERIT_BROKER), c_count));
    Referred { to_b: to_b[0], b_to: b_to[0], broker, b, c, near, far }
}

pub fn n036(w: &World) {
    let r = referred(w, 3, 1);
    talk(r.near[0], r.far[0]);
    wait_dead(r.near[1]);
    wait_dead(r.near[2]);
    until("direct", || is_direct(r.near[0]) && is_direct(r.far[0]));
    // A box goes as directly as the driver lets it.
    ok(put(r.near[0], b"", &[r.b.memory_box(4096, 36)]));
    assert_eq!(r.c.unbox_memory(receive_one(r.far[0])), (36, 4096));
    // C has a broker, too: somebody whom only that knows can be met.
    let z = w.client();
    let (to_z, z_to) = w.connect(&r.broker, &z, 1);
    let (p, q) = r.c.pair();
    ok(put(r.far[0], b"", &[p]));
    ok(put(r.b_to, b"", &[receive_one(r.near[0])]));
    ok(put(to_z[0], b"", &[receive_one(r.to_b)]));
    let at_z = receive_one(z_to[0]);
    talk(q, at_z);
    until("C and Z are linked directly", || is_direct(q) && is_direct(at_z));
}

pub fn n037(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    let (to_client, client_to) = w.connect(&broker, &client, 1);
    let other = w.port();
    let [near, far] = w.transports(&client.port, &other);
    let portals = connect(client.handle, near, 1, CONNECT_NODE_SHARE_BROKER).unwrap();
    let stranger = Stranger::at(&other, far);
    stranger.send(b"garbage, and no greeting at all");
    wait_dead(portals[0]);
    talk(to_client[0], client_to[0]);
    stranger.leave();
}

pub fn n038(w: &World) {
    let r = referred(w, 1, 1);
    talk(r.near[0], r.far[0]);
    ok(close(r.broker.handle));
    for portal in [r.near[0], r.far[0], r.to_b, r.b_to] {
        wait_dead(portal);
    }
}

pub fn n039(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    let (near, far) = w.connect(&broker, &client, 1);
    talk(near[0], far[0]);
    let events = Events::default();
    ok(events.trap(near[0], TRAP_PEER_CLOSED | TRAP_DEAD, 1));
    ok(events.trap(far[0], TRAP_PEER_CLOSED | TRAP_DEAD, 2));
    let (again, there) = w.connect(&broker, &client, 1);
    let mut told = events.conditions(2);
    told.sort_unstable();
    let both = TRAP_PEER_CLOSED | TRAP_DEAD;
    assert_eq!(told, [(1, both), (2, both)]);
    assert_eq!((flags(near[0]), flags(far[0])), (DEAD, DEAD));
    talk(again[0], there[0]);
}

pub fn n040(w: &World) {
    let route = w.sideways();
    talk(route.a, route.b);
    let three = w.three();
    let (to_x, x_to) = w.connect(&three.broker, &three.x, 1);
    for portal in [three.x_to, three.to_x, route.a, route.b] {
        wait_dead(portal);
    }
    let (a, sent) = three.x.pair();
    ok(put(x_to[0], b"", &[sent]));
    ok(put(three.to_z, b"", &[receive_one(to_x[0])]));
    let b = receive_one(three.z_to);
    talk(a, b);
    until("introduced again", || is_direct(a) && is_direct(b));
}

pub fn n041(w: &World) {
    let (x, y) = (w.client(), w.broker());
    let ((a, b), (c, d)) = (x.pair(), y.pair());
    ok(put(a, b"", &[c]));
    let (_, handles) = get(b).unwrap();
    talk(handles[0], d);
    let ((e, f), (g, h)) = (x.pair(), y.pair());
    ok(merge(e, g));
    talk(f, h);
}

pub fn n042(w: &World) {
    let node = w.client();
    let (a, b) = node.pair();
    ok(close(node.handle));
    talk(a, b);
    ok(close(a));
    assert_eq!(flags(b), DEAD);
}

pub fn n043(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    let (near, far) = w.connect(&broker, &client, 1);
    ok(put(near[0], b"unread", &[]));
    arrive(far[0], 1);
    ok(close(client.handle));
    assert_eq!((flags(far[0]), counts(far[0])), (CLOSED, (1, 6)));
    assert_eq!(read(far[0]), b"unread");
    assert_eq!(flags(far[0]), DEAD);
}

pub fn n044(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    let (near, far) = w.connect(&broker, &client, 1);
    talk(near[0], far[0]);
    ok(close(client.handle));
    assert_eq!(put(far[0], b"", &[]), NOT_FOUND);
    wait_refused(near[0]);
}

pub fn n045(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    let (near, far) = w.connect(&broker, &client, 1);
    talk(near[0], far[0]);
    let events = Events::default();
    ok(events.trap(near[0], TRAP_PEER_CLOSED, 1));
    ok(events.trap(far[0], TRAP_PEER_CLOSED, 2));
    ok(close(client.handle));
    let told = events.wait(2);
    let here = told.iter().find(|event| event.context == 2).unwrap();
    assert_eq!(here.flags, TRAP_PEER_CLOSED | WITHIN, "inside the call");
    // Both are there until they are closed.
    assert_eq!((flags(far[0]), flags(near[0])), (DEAD, DEAD));
    ok(close(far[0]));
    invalid(close(far[0]));
    ok(close(near[0]));
}
