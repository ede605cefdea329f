//! Merging portals (api.md 8 and 17, numbers 28, 29, 53 to 62; routing.md 13 and 18): over the synchronous driver, no simulator.

use std::sync::{Arc, Mutex};

use ipcz::ids::{Handle, NodeType};
use ipcz::inspect::LinkView;
use ipcz::trap::{TrapConditions, TrapEvent, TrapFlags, TrapTarget};
use ipcz::{ConnectTo, Error, NodeOptions, Process};
use ipcz_drivers::{InProcess, MonotonicClock};

#[derive(Default)]
struct Events(Mutex<Vec<TrapEvent>>);

impl TrapTarget for Events {
    fn fired(&self, event: &TrapEvent) {
        self.0.lock().unwrap().push(*event);
    }
}

/// A process with one node.
struct Program {
    process: Arc<Process>,
    node: Handle,
    events: Arc<Events>,
}

impl Program {
    fn new(driver: &Arc<InProcess>, kind: NodeType) -> Program {
        let events = Arc::new(Events::default());
        let process = Process::new(Arc::new(MonotonicClock::new()), events.clone());
        let node = process.create_node(kind, driver.clone(), NodeOptions::default()).unwrap();
        Program { process, node, events }
    }

    fn open(&self) -> [Handle; 2] {
        let (a, b) = self.process.open_portals(self.node).unwrap();
        [a, b]
    }

    fn put(&self, portal: Handle, data: &[u8]) {
        self.process.put(portal, data, &[]).unwrap();
    }

    fn get(&self, portal: Handle) -> Vec<u8> {
        self.process.get(portal).unwrap().data
    }

    fn merge(&self, a: Handle, b: Handle) {
        assert_eq!(self.process.merge(a, b), Ok(()));
        for gone in [a, b] {
            assert_eq!(self.process.query(gone).map(drop), Err(Error::InvalidArgument), "a merged portal has no handle any more");
        }
    }

    fn proxies(&self) -> usize {
        self.process.inspect(|view| view.proxies())
    }

    /// Hands a portal to another program, over the pipe between the two.
    fn hand(&self, portal: Handle, over: Handle, to: &Program, at: Handle) -> Handle {
        self.process.put(over, b"", &[portal]).unwrap();
        to.process.get(at).unwrap().handles[0]
    }

    /// Whether the peer of a portal is a router of the same process, with nothing between.
    fn is_local(&self, portal: Handle) -> bool {
        let out = self.process.inspect(|view| view.router(view.router_of(portal).unwrap()).unwrap()).out;
        out.decaying.is_none() && matches!(out.primary, Some(LinkView::Local { status: 0x03, peer: Some(_), .. }))
    }
}

/// Transport ends, client's first, connected with one pipe.
fn connect(driver: &Arc<InProcess>, client: &Program, broker: &Program) -> [Handle; 2] {
    let [a, b] = driver.transport_pair();
    let here = client.process.connect_node(client.node, a, 1, ConnectTo::Broker).unwrap();
    let there = broker.process.connect_node(broker.node, b, 1, ConnectTo::Normal).unwrap();
    [here[0], there[0]]
}

fn broker() -> (Arc<InProcess>, Program) {
    let driver = InProcess::new();
    let program = Program::new(&driver, NodeType::Broker);
    (driver, program)
}

#[test]
fn no_53_what_cannot_be_merged_stays_as_it_was() {
    let (_driver, p) = broker();
    let [a, b] = p.open();
    let merge = |x, y| p.process.merge(x, y);
    for (x, y) in [(a, a), (a, b), (b, a), (a, p.node), (p.node, a)] {
        assert_eq!(merge(x, y), Err(Error::InvalidArgument));
    }
    let [c, d] = p.open();
    p.process.close(c).unwrap();
    assert_eq!(merge(a, c), Err(Error::InvalidArgument));
    p.put(a, b"still here");
    assert_eq!(p.get(b), b"still here");
    assert!(p.process.query(d).unwrap().peer_closed);
}

#[test]
fn no_54_and_no_59_a_portal_that_was_used_is_not_merged() {
    let (_driver, p) = broker();
    let [fresh, far] = p.open();
    let [c, d] = p.open();
    p.put(c, b"1");
    for (x, y) in [(c, fresh), (fresh, c)] {
        assert_eq!(p.process.merge(x, y), Err(Error::FailedPrecondition), "something was put into it");
    }
    assert_eq!(p.get(d), b"1");
    for (x, y) in [(d, fresh), (fresh, d)] {
        assert_eq!(p.process.merge(x, y), Err(Error::FailedPrecondition), "something was taken out of it");
    }
    p.put(fresh, b"2");
    assert_eq!(p.get(far), b"2");
}

#[test]
fn no_55_and_no_56_what_waits_in_merged_portals_goes_on() {
    let (_driver, p) = broker();
    let ([a, b], [c, d]) = (p.open(), p.open());
    for n in 0..3 {
        p.put(a, &[n]);
        p.put(d, &[10 + n]);
    }
    p.merge(b, c);
    for n in 0..3 {
        assert_eq!((p.get(d), p.get(a)), (vec![n], vec![10 + n]));
    }
    assert!(p.is_local(a) && p.is_local(d) && p.proxies() == 0);
    p.put(a, b"direct");
    assert_eq!(p.get(d), b"direct");
    p.process.close(a).unwrap();
    p.process.close(d).unwrap();
    assert_eq!(p.process.inspect(|view| view.router_count()), 0);
}

#[test]
fn no_57_a_closed_peer_is_told_after_what_it_sent_whichever_comes_first() {
    for swapped in [false, true] {
        let (_driver, p) = broker();
        let ([a, b], [c, d]) = (p.open(), p.open());
        p.put(a, b"last words");
        p.process.close(a).unwrap();
        let (first, second) = if swapped { (c, b) } else { (b, c) };
        p.merge(first, second);
        let status = p.process.query(d).unwrap();
        assert_eq!((status.peer_closed, status.dead, status.parcels), (true, false, 1));
        assert_eq!(p.get(d), b"last words");
        assert_eq!(p.process.get(d), Err(Error::NotFound));
        assert_eq!(p.process.put(d, b"", &[]), Err(Error::NotFound));
        p.process.close(d).unwrap();
        assert_eq!(p.process.inspect(|view| view.router_count()), 0);
    }
}

/// routing.md 18, D1: a merger that looks at its first portal only leaves the peer of the second waiting.
#[test]
fn a_merger_reaches_both_ends_though_the_bridge_cannot_go() {
    for swapped in [false, true] {
        let (driver, p) = broker();
        // An initial portal whose connection does not come: the bridge stays.
        let [t, _kept] = driver.transport_pair();
        let idle = p.process.connect_node(p.node, t, 1, ConnectTo::Normal).unwrap()[0];
        let [a, b] = p.open();
        p.put(a, b"unread");
        let (first, second) = if swapped { (b, idle) } else { (idle, b) };
        p.merge(first, second);
        let waiting: usize =
            p.process.inspect(|view| view.routers().iter().filter(|router| router.inward.is_some()).map(|r| r.outbound.available).sum());
        assert_eq!(waiting, 1, "the parcel has crossed the bridge, swapped: {swapped}");
    }
}

#[test]
fn no_28_and_no_29_initial_portals_before_the_connection_is_up() {
    let driver = InProcess::new();
    let (a, b) = (Program::new(&driver, NodeType::Broker), Program::new(&driver, NodeType::Normal));
    let [t, u] = driver.transport_pair();
    let initial = a.process.connect_node(a.node, t, 2, ConnectTo::Normal).unwrap();
    let [c, d] = a.open();
    a.put(initial[1], b"used");
    assert_eq!(a.process.merge(initial[1], c), Err(Error::FailedPrecondition));
    a.merge(initial[0], c);
    a.put(d, b"early");
    let remote = b.process.connect_node(b.node, u, 2, ConnectTo::Broker).unwrap();
    assert_eq!((b.get(remote[0]), b.get(remote[1])), (b"early".to_vec(), b"used".to_vec()));
    b.put(remote[0], b"back");
    assert_eq!((a.get(d), a.proxies()), (b"back".to_vec(), 0));
}

#[test]
fn an_initial_portal_without_counterpart_closes_what_it_was_merged_with() {
    let driver = InProcess::new();
    let (a, b) = (Program::new(&driver, NodeType::Broker), Program::new(&driver, NodeType::Normal));
    let [t, u] = driver.transport_pair();
    let initial = a.process.connect_node(a.node, t, 2, ConnectTo::Normal).unwrap();
    let [c, d] = a.open();
    a.merge(initial[1], c);
    a.put(d, b"for nobody");
    b.process.connect_node(b.node, u, 1, ConnectTo::Broker).unwrap();
    assert!(a.process.query(d).unwrap().dead);
    a.process.close(d).unwrap();
    assert_eq!(a.proxies(), 0);
}

/// api.md 15, A5 (routing.md 18, D9).
#[test]
fn traps_of_a_merged_portal_fire_removed_within_the_call() {
    let (_driver, p) = broker();
    let ([_a, b], [c, _d]) = (p.open(), p.open());
    for (portal, context) in [(b, 7), (c, 8)] {
        p.process.trap(portal, TrapConditions { flags: TrapFlags::NEW_PARCEL, ..TrapConditions::default() }, context).unwrap();
    }
    p.merge(b, c);
    let events = p.events.0.lock().unwrap();
    let flags = TrapFlags::REMOVED.or(TrapFlags::WITHIN_API_CALL);
    assert_eq!(events.iter().map(|event| (event.context, event.flags)).collect::<Vec<_>>(), [(7, flags), (8, flags)]);
}

/// The far ends of two pipes are where `places` says; the near ones are merged. Whatever the topology, the route ends up direct.
fn far_apart(remote: [bool; 2], same: bool) {
    let (driver, broker) = broker();
    let clients = [Program::new(&driver, NodeType::Normal), Program::new(&driver, NodeType::Normal)];
    let pipes: Vec<[Handle; 2]> = clients.iter().map(|client| connect(&driver, client, &broker)).collect();
    let near = [broker.open(), broker.open()];
    let ends: Vec<(&Program, Handle)> = (0..2)
        .map(|side| {
            let client = if same { 0 } else { side };
            let [here, there] = pipes[client];
            match remote[side] {
                true => (&clients[client], broker.hand(near[side][0], there, &clients[client], here)),
                false => (&broker, near[side][0]),
            }
        })
        .collect();
    let [(p, at), (q, over)] = [ends[0], ends[1]];
    for n in 0..3u8 {
        p.put(at, &[n; 700]);
        q.put(over, &[10 + n; 700]);
    }
    broker.merge(near[0][1], near[1][1]);
    p.put(at, &[3; 700]);
    for n in 0..4u8 {
        assert_eq!(q.get(over), [n; 700]);
    }
    for n in 0..3u8 {
        assert_eq!(p.get(at), [10 + n; 700]);
    }
    let proxies = broker.proxies() + clients.iter().map(Program::proxies).sum::<usize>();
    assert_eq!(proxies, 0, "{remote:?}, on one node: {same}");
    p.process.close(at).unwrap();
    assert!(q.process.query(over).unwrap().dead);
    q.process.close(over).unwrap();
    for program in clients.iter().chain([&broker]) {
        assert_eq!(program.process.inspect(|view| view.violations()), []);
    }
    for (client, [here, there]) in clients.iter().zip(&pipes) {
        client.process.close(*here).unwrap();
        broker.process.close(*there).unwrap();
    }
    for program in clients.iter().chain([&broker]) {
        assert_eq!(program.process.inspect(|view| view.router_count()), 0);
        for link in program.process.inspect(|view| view.links()) {
            assert_eq!((link.sublinks.len(), link.blocks_taken), (0, 0));
        }
    }
}

#[test]
fn a_merged_route_is_direct_wherever_its_ends_are() {
    for same in [false, true] {
        for remote in [[false, false], [true, false], [false, true], [true, true]] {
            far_apart(remote, same);
        }
    }
}

#[test]
fn no_62_long_proxied_routes_shrink() {
    let (driver, broker) = broker();
    let clients: Vec<Program> = (0..3).map(|_| Program::new(&driver, NodeType::Normal)).collect();
    let pipes: Vec<[Handle; 2]> = clients.iter().map(|client| connect(&driver, client, &broker)).collect();
    let mut ends = Vec::new();
    let mut near = Vec::new();
    for way in [[0, 1, 2], [2, 1, 0]] {
        let [mut far, kept] = broker.open();
        let mut last = 0;
        for (hop, client) in way.into_iter().enumerate() {
            let [here, there] = pipes[client];
            far = broker.hand(far, there, &clients[client], here);
            if hop < 2 {
                far = clients[client].hand(far, here, &broker, there);
            }
            last = client;
        }
        ends.push((last, far));
        near.push(kept);
    }
    broker.merge(near[0], near[1]);
    let [(p, at), (q, over)] = [ends[0], ends[1]];
    clients[p].put(at, b"there");
    clients[q].put(over, b"and back");
    assert_eq!((clients[q].get(over), clients[p].get(at)), (b"there".to_vec(), b"and back".to_vec()));
    assert_eq!(broker.proxies() + clients.iter().map(Program::proxies).sum::<usize>(), 0);
}

#[test]
fn many_mergers_in_a_row_leave_one_pipe() {
    let (_driver, p) = broker();
    let pipes: Vec<[Handle; 2]> = (0..40).map(|_| p.open()).collect();
    p.put(pipes[0][0], b"all the way");
    // From the middle outwards, so that bridges join bridges.
    for n in (0..39).step_by(2).chain((1..39).step_by(2)) {
        p.merge(pipes[n][1], pipes[n + 1][0]);
    }
    assert_eq!(p.get(pipes[39][1]), b"all the way");
    assert!(p.is_local(pipes[0][0]) && p.proxies() == 0);
}

#[test]
fn no_61_a_lost_link_reaches_the_other_side_of_a_bridge() {
    for before in [false, true] {
        let (driver, broker) = broker();
        let client = Program::new(&driver, NodeType::Normal);
        let [_here, there] = connect(&driver, &client, &broker);
        let [c, d] = broker.open();
        broker.put(d, b"for the client");
        let lose = || client.process.close(client.node).unwrap();
        if before {
            lose();
        }
        broker.merge(there, c);
        if !before {
            lose();
        }
        assert!(broker.process.query(d).unwrap().dead, "lost before the merger: {before}");
        broker.process.close(d).unwrap();
        assert_eq!(broker.process.inspect(|view| view.router_count()), 0);
    }
}
