//! Traps.

use std::ptr::{null, null_mut};

use super::api::*;
use super::world::*;

const NEW: u32 = TRAP_NEW_LOCAL_PARCEL;
const PARCELS: u32 = TRAP_ABOVE_MIN_LOCAL_PARCELS;
const BYTES: u32 = TRAP_ABOVE_MIN_LOCAL_BYTES;

pub fn n136(w: &World) {
    w.each(|route| {
        let fine = conditions(NEW, 0);
        let said = |portal, conditions: *const IpczTrapConditions, handler, status: *mut IpczPortalStatus| unsafe {
            (api().trap)(portal, conditions, handler, 0, 0, null(), null_mut(), status)
        };
        let small = IpczTrapConditions { size: 31, ..fine };
        let mut status = IpczPortalStatus { size: 31, ..query(route.b).unwrap() };
        invalid(said(route.b, null(), Some(fired), null_mut()));
        invalid(said(route.b, &small, Some(fired), null_mut()));
        invalid(said(route.b, &fine, None, null_mut()));
        invalid(said(0, &fine, Some(fired), null_mut()));
        invalid(said(route.there.handle, &fine, Some(fired), null_mut()));
        invalid(said(route.b, &fine, Some(fired), &mut status));
        talk(route.a, route.b);
    });
}

pub fn n137(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, 0, 1));
        ok(put(route.a, b"x", &[]));
        assert_eq!(hear(route.b), b"x");
        ok(close(route.a));
        wait_dead(route.b);
        assert_eq!(events.told(), []);
        ok(close(route.b));
        assert_eq!(events.told(), [(1, TRAP_REMOVED | WITHIN)]);
    });
}

#[repr(C)]
struct Long {
    status: IpczPortalStatus,
    tail: [u64; 9],
}

pub fn n138(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"xyz", &[]));
        arrive(route.b, 1);
        let mut long = Long { status: IpczPortalStatus { size: 104, ..query(route.b).unwrap() }, tail: [3; 9] };
        let mut satisfied = 99;
        let wanted = conditions(NEW | PARCELS | BYTES | TRAP_DEAD | TRAP_PEER_CLOSED | TRAP_REMOVED | WITHIN, 0);
        let status = &raw mut long;
        let said = unsafe { (api().trap)(route.b, &wanted, Some(fired), 0, 0, null(), &mut satisfied, status.cast()) };
        assert_eq!((said, satisfied), (FAILED_PRECONDITION, PARCELS | BYTES));
        let IpczPortalStatus { size, flags, num_local_parcels, num_local_bytes } = long.status;
        assert_eq!((size, flags, num_local_parcels, num_local_bytes, long.tail), (32, 0, 1, 3, [3; 9]));
        ok(close(route.a));
        wait_closed(route.b);
        for (flag, expected) in [(TRAP_PEER_CLOSED, FAILED_PRECONDITION), (TRAP_DEAD, OK)] {
            assert_eq!(Events::default().trap(route.b, flag, 0), expected);
        }
    });
}

pub fn n139(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"queued", &[]));
        arrive(route.b, 1);
        let events = Events::default();
        ok(events.trap(route.b, NEW, 1));
        assert_eq!(events.told(), []);
        ok(put(route.a, b"new", &[]));
        assert_eq!(events.conditions(1), [(1, NEW)]);
    });
}

pub fn n140(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap_at(route.b, PARCELS, 2, 1));
        for count in 1..=2 {
            ok(put(route.a, b"x", &[]));
            arrive(route.b, count);
            assert_eq!(events.told(), []);
        }
        ok(put(route.a, b"x", &[]));
        let event = &events.wait(1)[0];
        assert_eq!((event.size, event.flags & !WITHIN, event.status.num_local_parcels, event.status.size), (32, PARCELS, 3, 32));
    });
}

pub fn n141(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap_at(route.b, BYTES, 3, 1));
        for (count, data) in [&b"123"[..], b"", b""].into_iter().enumerate() {
            ok(put(route.a, data, &[]));
            arrive(route.b, count + 1);
            assert_eq!(events.told(), []);
        }
        ok(put(route.a, b"4", &[]));
        let event = &events.wait(1)[0];
        assert_eq!((event.flags & !WITHIN, event.status.num_local_bytes), (BYTES, 4));
    });
}

pub fn n142(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap_at(route.b, NEW | PARCELS | BYTES, 1, 1));
        ok(put(route.a, b"12", &[]));
        assert_eq!(events.conditions(1), [(1, NEW | BYTES)]);
        ok(events.trap_at(route.b, NEW | PARCELS | BYTES, 2, 2));
        ok(put(route.a, b"", &[]));
        assert_eq!(events.conditions(1), [(2, NEW)]);
        ok(events.trap_at(route.b, NEW | PARCELS | BYTES, 2, 3));
        ok(put(route.a, b"3", &[]));
        assert_eq!(events.conditions(1), [(3, NEW | PARCELS | BYTES)]);
    });
}

pub fn n143(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, NEW, 1));
        ok(events.trap(route.b, TRAP_PEER_CLOSED, 2));
        ok(events.trap(route.b, TRAP_DEAD, 3));
        ok(put(route.a, b"x", &[]));
        assert_eq!(events.conditions(1), [(1, NEW)]);
        ok(close(route.a));
        assert_eq!(events.conditions(1), [(2, TRAP_PEER_CLOSED)]);
        assert_eq!(read(route.b), b"x");
        assert_eq!(events.conditions(1), [(3, TRAP_DEAD)]);
        ok(close(route.b));
        assert_eq!(events.told(), []);
    });
}

pub fn n144(w: &World) {
    w.each(|route| {
        let events = Events::default();
        for context in [5, 3, 9, 1] {
            ok(events.trap(route.b, NEW, context));
        }
        ok(put(route.a, b"x", &[]));
        let order: Vec<usize> = events.wait(4).iter().map(|event| event.context).collect();
        assert_eq!(order, [5, 3, 9, 1]);
    });
}

pub fn n145(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, NEW, 1));
        ok(put(route.a, b"1", &[]));
        assert_eq!(events.conditions(1), [(1, NEW)]);
        ok(put(route.a, b"2", &[]));
        arrive(route.b, 2);
        assert_eq!(events.told(), []);
        ok(events.trap(route.b, NEW, 2));
        ok(put(route.a, b"3", &[]));
        assert_eq!(events.conditions(1), [(2, NEW)]);
    });
}

pub fn n146(w: &World) {
    w.each(|route| {
        let events = Events::default();
        let (a, b, inner) = (route.a, route.b, events.clone());
        ok(trap(b, PARCELS, 0, 1, move |event| {
            inner.note(event);
            assert_eq!(inner.trap(b, PARCELS, 2), FAILED_PRECONDITION, "not before it is drained");
            assert_eq!(read(b), b"first");
            ok(inner.trap(b, PARCELS, 2));
            ok(put(a, b"second", &[]));
        }));
        ok(put(a, b"first", &[]));
        assert_eq!(events.conditions(2), [(1, PARCELS), (2, PARCELS)]);
        assert_eq!(read(b), b"second");
    });
}

pub fn n147(w: &World) {
    w.each(|route| {
        let events = Events::default();
        let (b, inner) = (route.b, events.clone());
        ok(trap(b, NEW, 0, 1, move |event| {
            ok(close(b));
            inner.note(event);
        }));
        ok(events.trap(b, NEW, 2));
        ok(events.trap(b, TRAP_DEAD, 3));
        ok(put(route.a, b"x", &[]));
        let mut told = events.conditions(3);
        told.sort_unstable();
        assert_eq!(told, [(1, NEW), (2, NEW), (3, TRAP_REMOVED)]);
    });
}

pub fn n148(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(put(route.a, b"x", &[]));
        arrive(route.b, 1);
        for (context, flags) in [(1, NEW), (2, TRAP_DEAD), (3, 0)] {
            ok(events.trap(route.b, flags, context));
        }
        ok(close(route.b));
        let told = events.wait(3);
        for (event, context) in told.iter().zip(1..) {
            let IpczPortalStatus { size, flags, num_local_parcels, num_local_bytes } = event.status;
            assert_eq!((event.context, event.flags), (context, TRAP_REMOVED | WITHIN));
            assert_eq!((size, flags, num_local_parcels, num_local_bytes), (32, 0, 0, 0));
        }
    });
}

pub fn n149(w: &World) {
    w.across(|route| {
        let (c, d) = route.here.pair();
        let events = Events::default();
        ok(events.trap(c, NEW, 1));
        until("known to leave", || is_direct(route.a));
        ok(put(route.a, b"", &[c]));
        assert_eq!(events.told(), [(1, TRAP_REMOVED | WITHIN)]);
        talk(d, receive_one(route.b));
    });
}

pub fn n150(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, NEW, 1));
        ok(events.trap(route.b, TRAP_PEER_CLOSED, 2));
        let (c, d) = route.there.pair();
        ok(put(c, b"", &[route.b]));
        assert_eq!(events.told(), []);
        ok(put(route.a, b"while it is queued", &[]));
        assert_eq!(events.conditions(1), [(1, NEW)]);
        let moved = receive_one(d);
        assert_eq!(read(moved), b"while it is queued");
        ok(close(route.a));
        assert_eq!(events.conditions(1), [(2, TRAP_PEER_CLOSED)]);
    });
}

pub fn n151(w: &World) {
    let node = w.client();
    let ((a, b), (c, d)) = (node.pair(), node.pair());
    let events = Events::default();
    ok(events.trap(c, NEW, 1));
    ok(put(a, b"", &[c]));
    assert_eq!(events.told(), []);
    ok(close(b));
    assert_eq!(events.told(), [(1, TRAP_REMOVED | WITHIN)]);
    assert_eq!(flags(d), DEAD);
}

pub fn n152(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(put(route.a, b"one", &[]));
        ok(put(route.a, b"two", &[]));
        ok(events.trap(route.b, TRAP_PEER_CLOSED, 1));
        ok(events.trap(route.b, TRAP_DEAD, 2));
        ok(close(route.a));
        let event = &events.wait(1)[0];
        assert_eq!((event.context, event.flags & !WITHIN, event.status.flags), (1, TRAP_PEER_CLOSED, CLOSED));
        assert_eq!((event.status.num_local_parcels, event.status.num_local_bytes), (2, 6));
        assert_eq!((read(route.b), events.told()), (b"one".to_vec(), vec![]));
        assert_eq!((read(route.b), events.told()), (b"two".to_vec(), vec![(2, TRAP_DEAD | WITHIN)]));
    });
}

pub fn n153(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, TRAP_PEER_CLOSED | TRAP_DEAD, 1));
        ok(close(route.a));
        assert_eq!(events.conditions(1), [(1, TRAP_PEER_CLOSED | TRAP_DEAD)]);
        wait_dead(route.b);
        assert_eq!(events.told(), []);
    });
}

pub fn n154(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, TRAP_PEER_CLOSED, 1));
        (0..1000u16).for_each(|i| ok(put(route.a, &i.to_le_bytes(), &[])));
        ok(close(route.a));
        let event = &events.wait(1)[0];
        assert_eq!((event.status.num_local_parcels, event.status.num_local_bytes), (1000, 2000));
        (0..1000u16).for_each(|i| assert_eq!(read(route.b), i.to_le_bytes()));
    });
}

pub fn n155(w: &World) {
    w.across(|route| {
        let events = Events::default();
        ok(events.trap(route.b, NEW, 1));
        ok(put(route.a, b"x", &[]));
        let on_this_stack = !w.over.asynchronous && !w.over.socket;
        if on_this_stack {
            let told = events.wait(0);
            assert_eq!((told.len(), told[0].flags, told[0].thread), (1, NEW, std::thread::current().id()));
        } else {
            let event = &events.wait(1)[0];
            assert!(event.flags == NEW && event.thread != std::thread::current().id());
        }
    });
}

pub fn n156(w: &World) {
    w.each(|route| {
        let mut satisfied = 0x5555;
        let mut status = IpczPortalStatus { size: 32, flags: 5, num_local_parcels: 6, num_local_bytes: 7 };
        let before = status;
        ok(trap_with(route.b, &conditions(NEW | TRAP_DEAD, 0), 0, |_| {}, Some(&mut satisfied), Some(&mut status)));
        assert_eq!((satisfied, status), (0x5555, before));
    });
}

pub fn n157(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, NEW, 1));
        ok(events.trap(route.b, NEW, 1));
        ok(put(route.a, b"x", &[]));
        assert_eq!(events.conditions(2), [(1, NEW), (1, NEW)]);
    });
}

pub fn n158(w: &World) {
    let route = w.local();
    let events = Events::default();
    let (a, inner) = (route.a, events.clone());
    ok(trap(route.b, 0, 0, 1, move |event| {
        assert_eq!((flags(a), put(a, b"", &[])), (DEAD, NOT_FOUND));
        inner.note(event);
    }));
    ok(close(route.b));
    assert_eq!(events.told(), [(1, TRAP_REMOVED | WITHIN)]);
}
