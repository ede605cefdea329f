//! Opening, merging, status.

use std::ptr::{null, null_mut};

use super::api::*;
use super::world::*;

pub fn n046(w: &World) {
    let node = w.client();
    let (mut a, mut b) = (7, 7);
    let (portal, _) = node.pair();
    let said = |node, a: *mut H, b: *mut H| unsafe { (api().open_portals)(node, 0, null(), a, b) };
    invalid(said(0, &mut a, &mut b));
    invalid(said(portal, &mut a, &mut b));
    invalid(said(node.handle, null_mut(), &mut b));
    invalid(said(node.handle, &mut a, null_mut()));
    assert_eq!((a, b), (7, 7));
}

pub fn n047(w: &World) {
    w.each(|route| {
        for portal in [route.a, route.b] {
            let status = query(portal).unwrap();
            assert_eq!((status.size, status.flags, status.num_local_parcels, status.num_local_bytes), (32, 0, 0, 0));
        }
    });
}

pub fn n048(w: &World) {
    w.each(|route| {
        ok(close(route.a));
        wait_closed(route.b);
        assert_eq!((flags(route.b), counts(route.b)), (DEAD, (0, 0)));
    });
}

pub fn n049(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"one", &[]));
        ok(put(route.a, b"two!", &[]));
        ok(close(route.a));
        wait_closed(route.b);
        assert_eq!((flags(route.b), counts(route.b)), (CLOSED, (2, 7)));
        assert_eq!((read(route.b), flags(route.b)), (b"one".to_vec(), CLOSED));
        assert_eq!((read(route.b), flags(route.b)), (b"two!".to_vec(), DEAD));
    });
}

#[repr(C)]
struct Long {
    status: IpczPortalStatus,
    tail: [u64; 9],
}

pub fn n050(w: &World) {
    let node = w.client();
    let (a, _) = node.pair();
    let mut long = Long { status: query(a).unwrap(), tail: [5; 9] };
    let said = |portal, status: *mut IpczPortalStatus| unsafe { (api().query_portal_status)(portal, 0, null(), status) };
    invalid(said(0, &mut long.status));
    invalid(said(node.handle, &mut long.status));
    invalid(said(a, null_mut()));
    for (size, expected) in [(0, INVALID_ARGUMENT), (31, INVALID_ARGUMENT), (100, OK)] {
        long.status.size = size;
        assert_eq!(said(a, (&raw mut long).cast()), expected, "size {size}");
    }
    assert_eq!((long.status.size, long.tail), (32, [5; 9]));
}

pub fn n051(w: &World) {
    w.each(|route| {
        let (c, _) = route.here.pair();
        for data in [&b"12"[..], b"345", b""] {
            ok(put(route.a, data, &[]));
        }
        ok(put(route.a, b"", &[c]));
        arrive(route.b, 4);
        assert_eq!(counts(route.b), (4, 5));
    });
}

pub fn n052(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"x", &[]));
        arrive(route.b, 1);
        assert_eq!(query(keep(route.b)).err(), Some(INVALID_ARGUMENT));
        let it = App::new(Manner::Says, b"", &[]).boxed(route.here.handle);
        assert_eq!(query(it).err(), Some(INVALID_ARGUMENT));
    });
}

pub fn n053(w: &World) {
    w.each(|route| {
        for (a, b) in [(route.a, 0), (0, route.a), (route.a, route.a)] {
            invalid(merge(a, b));
        }
        if route.is_local() {
            invalid(merge(route.a, route.b));
        }
        talk(route.a, route.b);
    });
}

pub fn n054(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"used", &[]));
        assert_eq!((merge(route.a, c), merge(c, route.a)), (FAILED_PRECONDITION, FAILED_PRECONDITION));
        assert_eq!(hear(route.b), b"used");
        let (e, _) = route.there.pair();
        assert_eq!((merge(route.b, e), merge(e, route.b)), (FAILED_PRECONDITION, FAILED_PRECONDITION));
        talk(route.a, route.b);
        talk(c, d);
    });
}

pub fn n055(w: &World) {
    w.each(|route| {
        let (c, d) = route.there.pair();
        ok(put(route.a, b"for b", &[]));
        arrive(route.b, 1);
        ok(merge(route.b, c));
        assert_eq!(hear(d), b"for b");
        invalid(close(route.b));
        invalid(close(c));
        talk(route.a, d);
    });
}

pub fn n056(w: &World) {
    w.each(|route| {
        let (c, d) = route.there.pair();
        ok(put(route.a, b"from a", &[]));
        ok(put(d, b"from d", &[]));
        arrive(route.b, 1);
        arrive(c, 1);
        ok(merge(c, route.b));
        assert_eq!((hear(d), hear(route.a)), (b"from a".to_vec(), b"from d".to_vec()));
        talk(route.a, d);
    });
}

pub fn n057(w: &World) {
    w.each(|route| {
        let (c, d) = route.there.pair();
        ok(put(route.a, b"last", &[]));
        ok(close(route.a));
        wait_closed(route.b);
        ok(merge(route.b, c));
        wait_closed(d);
        assert_eq!((flags(d), counts(d)), (CLOSED, (1, 4)));
        assert_eq!((read(d), flags(d)), (b"last".to_vec(), DEAD));
    });
}

pub fn n058(w: &World) {
    w.each(|route| {
        let (c, d) = route.there.pair();
        ok(put(route.a, b"x", &[]));
        arrive(route.b, 1);
        let get = begin_get(route.b, 0, 0).unwrap();
        ok(end_get(route.b, get.transaction, END_GET_ABORT));
        let put_begun = fill(route.b, b"aborted");
        ok(end_put(route.b, put_begun, 0, &[], END_PUT_ABORT));
        invalid(put(route.b, b"", &[route.b]));
        ok(merge(route.b, c));
        assert_eq!(hear(d), b"x");
    });
    // A put that failed since the peer was closed.
    w.each(|route| {
        let (c, d) = route.there.pair();
        ok(close(route.a));
        wait_refused(route.b);
        ok(merge(route.b, c));
        wait_dead(d);
    });
}

pub fn n059(w: &World) {
    w.each(|route| {
        let (c, _) = route.there.pair();
        ok(put(route.a, b"12345", &[]));
        arrive(route.b, 1);
        let (mut byte, mut count) = (0, 1);
        ok(get_raw(route.b, GET_PARTIAL, &mut byte, &mut count, null_mut(), null_mut(), null_mut()));
        assert_eq!((byte, merge(route.b, c)), (b'1', FAILED_PRECONDITION));
    });
}

pub fn n060(w: &World) {
    w.each(|route| {
        let (c, d) = route.there.pair();
        let transaction = fill(route.b, b"never sent");
        ok(merge(route.b, c));
        invalid(end_put(route.b, transaction, 5, &[], 0));
        invalid(end_put(c, transaction, 5, &[], 0));
        talk(route.a, d);
    });
}

pub fn n061(w: &World) {
    let (broker_port, port) = (w.port(), w.port());
    for round in 0..12 {
        let (broker, client) = (create(&broker_port.table, CREATE_NODE_AS_BROKER).unwrap(), create(&port.table, 0).unwrap());
        let [near, far] = w.transports(&broker_port, &port);
        let a = connect(broker, near, 1, 0).unwrap()[0];
        let b = connect(client, far, 1, w.as_client(CONNECT_NODE_TO_BROKER)).unwrap()[0];
        let (c, d) = open(client);
        ok(put(a, b"before", &[]));
        arrive(b, 1);
        let losing = if round % 2 == 0 { client } else { broker };
        std::thread::scope(|scope| {
            scope.spawn(|| ok(close(losing)));
            scope.spawn(|| ok(merge(b, c)));
        });
        wait_closed(d);
        assert_eq!((hear(d), flags(d)), (b"before".to_vec(), DEAD));
        wait_dead(a);
        for it in [broker, client, a, d] {
            assert_eq!(close(it), if it == losing { INVALID_ARGUMENT } else { OK });
        }
    }
}

/// A pipe between the clients one end of which, at z, has been to and fro between nodes and left proxies behind.
fn winding(w: &World) -> Route<'_> {
    let three = w.three();
    let mut route = w.sideways();
    for _ in 0..4 {
        ok(put(three.z_to, b"", &[route.b]));
        ok(put(three.to_x, b"", &[receive_one(three.to_z)]));
        ok(put(three.x_to, b"", &[receive_one(three.x_to)]));
        ok(put(three.to_z, b"", &[receive_one(three.to_x)]));
        route.b = receive_one(three.z_to);
    }
    route
}

pub fn n062(w: &World) {
    let three = w.three();
    // Merged at z, the other ends both at x.
    let (left, right) = (winding(w), winding(w));
    ok(merge(left.b, right.b));
    (0..10).for_each(|_| talk(left.a, right.a));
    until("linked within x", || are_local_peers(left.a, right.a) && are_local_peers(right.a, left.a));
    talk(left.a, right.a);
    // The other ends at x and at the broker.
    let (left, mut right) = (winding(w), winding(w));
    ok(put(three.x_to, b"", &[right.a]));
    right.a = receive_one(three.to_x);
    ok(merge(left.b, right.b));
    (0..10).for_each(|_| talk(left.a, right.a));
    until("one link, that z hears nothing of", || {
        let heard = || three.z.port.record.count.received().0;
        let before = heard();
        talk(left.a, right.a);
        heard() == before && is_direct(left.a) && is_direct(right.a)
    });
}
