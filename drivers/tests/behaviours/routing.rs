//! Routing, as a program sees it.

use super::api::*;
use super::world::*;

pub fn n179(w: &World) {
    let three = w.three();
    let route = w.sideways();
    let mut moving = route.b;
    let mut at_z = true;
    for round in 0..100u8 {
        ok(put(route.a, &[round], &[]));
        // From z to the broker and back, and so on; the message may be read before or after.
        let (over, far) = if at_z { (three.z_to, three.to_z) } else { (three.to_z, three.z_to) };
        if round % 3 == 0 {
            assert_eq!(hear(moving), [round]);
        }
        ok(put(over, b"", &[moving]));
        moving = receive_one(far);
        if round % 3 != 0 {
            assert_eq!(hear(moving), [round]);
        }
        ok(put(moving, &[round], &[]));
        at_z = !at_z;
    }
    (0..100u8).for_each(|round| assert_eq!(hear(route.a), [round]));
    until("one direct link", || is_direct(route.a) && is_direct(moving));
    talk(route.a, moving);
}

pub fn n180(w: &World) {
    let Three { x, z, .. } = w.three();
    let control = w.sideways();
    for round in 0..1000u64 {
        let (from, at, to, there) = match round % 2 {
            0 => (x, control.a, z, control.b),
            _ => (z, control.b, x, control.a),
        };
        let (p, q) = from.pair();
        ok(put(at, b"", &[q]));
        let q = receive_one(there);
        ok(put(p, b"", &[from.memory_box(64, round)]));
        assert_eq!(to.unbox_memory(receive_one(q)), (round, 64));
        ok(put(q, b"", &[to.memory_box(64, round + 1)]));
        assert_eq!(from.unbox_memory(receive_one(p)), (round + 1, 64));
        ok(close(if round % 4 < 2 { p } else { q }));
        wait_dead(if round % 4 < 2 { q } else { p });
        ok(close(if round % 4 < 2 { q } else { p }));
    }
}

pub fn n181(w: &World) {
    // A route that runs through two more nodes when its far end is lost.
    for victim_is_far in [false, true] {
        let (broker, x, y, z) = (w.broker(), w.client(), w.client(), w.client());
        let ends = [&x, &y, &z].map(|node| {
            let (near, far) = w.connect(&broker, node, 1);
            (near[0], far[0])
        });
        let (a, mut b) = x.pair();
        ok(put(ends[0].1, b"", &[b]));
        b = receive_one(ends[0].0);
        ok(put(ends[1].0, b"", &[b]));
        b = receive_one(ends[1].1);
        ok(put(ends[1].1, b"", &[b]));
        b = receive_one(ends[1].0);
        ok(put(ends[2].0, b"", &[b]));
        b = receive_one(ends[2].1);
        if victim_is_far {
            ok(close(z.handle));
            wait_closed(a);
        } else {
            ok(close(x.handle));
            wait_closed(b);
        }
    }
}

pub fn n182(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    let (near, far) = w.connect(&broker, &client, 1);
    (0..20u8).for_each(|i| ok(put(near[0], &[i], &[])));
    arrive(far[0], 20);
    ok(close(broker.handle));
    wait_closed(far[0]);
    assert_eq!((flags(far[0]), counts(far[0])), (CLOSED, (20, 20)));
    (0..20u8).for_each(|i| assert_eq!(read(far[0]), [i]));
    assert_eq!(flags(far[0]), DEAD);
}

pub fn n183(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(c, b"one", &[]));
        ok(put(c, b"two", &[]));
        ok(close(c));
        assert_eq!(flags(d), CLOSED);
        ok(put(route.a, b"", &[d]));
        let d = receive_one(route.b);
        let events = Events::default();
        match events.trap(d, TRAP_PEER_CLOSED, 1) {
            OK => {
                let event = &events.wait(1)[0];
                assert_eq!((event.flags & !WITHIN, event.status.num_local_parcels), (TRAP_PEER_CLOSED, 2));
            }
            said => assert_eq!(said, FAILED_PRECONDITION, "closed already"),
        }
        assert_eq!(counts(d), (2, 6));
        assert_eq!((read(d), flags(d)), (b"one".to_vec(), CLOSED));
        assert_eq!((read(d), flags(d)), (b"two".to_vec(), DEAD));
    });
}

pub fn n184(w: &World) {
    let route = w.remote();
    let portals: Vec<(H, H)> = (0..3000)
        .map(|_| {
            let (p, q) = route.here.pair();
            ok(put(route.a, b"", &[q]));
            (p, receive_one(route.b))
        })
        .collect();
    portals.iter().for_each(|(p, _)| ok(close(*p)));
    portals.iter().for_each(|(_, q)| wait_dead(*q));
}

pub fn n185(w: &World) {
    w.each(|route| {
        let mut open: Vec<(u32, IpczTransaction)> = Vec::new();
        let mut order = Vec::new();
        for i in 0..300u32 {
            // Sizes on either side of what travels inside a message.
            let mut data = vec![0; 4 + [0, 40, 300, 5000][i as usize % 4]];
            data[..4].copy_from_slice(&i.to_le_bytes());
            match i % 5 {
                0 | 1 => open.push((i, fill(route.a, &data))),
                2 if !open.is_empty() => {
                    let (number, transaction) = open.remove(open.len() / 2);
                    ok(end_put(route.a, transaction, 4, &[], 0));
                    order.push(number);
                    ok(put(route.a, &data, &[]));
                    order.push(i);
                }
                _ => {
                    ok(put(route.a, &data, &[]));
                    order.push(i);
                }
            }
        }
        for (number, transaction) in open {
            ok(end_put(route.a, transaction, 4, &[], 0));
            order.push(number);
        }
        for number in order {
            assert_eq!(hear(route.b)[..4], number.to_le_bytes());
        }
    });
}
