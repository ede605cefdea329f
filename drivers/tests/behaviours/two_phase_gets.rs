//! Two-phase get.

use std::ptr::{null, null_mut};

use super::api::*;
use super::world::*;

pub fn n114(w: &World) {
    w.each(|route| {
        let (mut count, mut transaction) = (1, 0);
        let said = |count: *mut usize, transaction: *mut usize| unsafe {
            (api().begin_get)(route.b, 0, null(), null_mut(), null_mut(), null_mut(), count, transaction)
        };
        invalid(said(null_mut(), null_mut()));
        invalid(said(&mut count, &mut transaction));
        assert_eq!((count, transaction), (1, 0));
    });
}

pub fn n115(w: &World) {
    w.each(|route| {
        assert_eq!(begin_get(route.b, 0, 0).err(), Some(UNAVAILABLE));
        // Ours; the original has "unavailable" for a dead portal, too.
        ok(close(route.a));
        wait_dead(route.b);
        assert_eq!(begin_get(route.b, 0, 0).err(), Some(NOT_FOUND));
    });
}

pub fn n116(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"", &[]));
        arrive(route.b, 1);
        let begun = begin_get(route.b, 0, 0).unwrap();
        assert_eq!((begun.data, begun.bytes), (null(), 0));
        ok(end_get(route.b, begun.transaction, 0));
    });
}

pub fn n117(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"abc", &[c]));
        arrive(route.b, 1);
        let said = |source| {
            let (mut data, mut bytes, mut count, mut transaction) = (null(), 77, 0, 66);
            let said = unsafe { (api().begin_get)(source, 0, null(), &mut data, &mut bytes, null_mut(), &mut count, &mut transaction) };
            assert_eq!((said, count, transaction), (RESOURCE_EXHAUSTED, 1, 66));
            (data.cast::<u8>(), bytes)
        };
        assert_eq!(said(route.b), (null(), 77), "untouched");
        let parcel = keep(route.b);
        let (data, bytes) = said(parcel);
        assert_eq!(unsafe { std::slice::from_raw_parts(data, bytes) }, b"abc");
        let (_, handles) = get(parcel).unwrap();
        talk(handles[0], d);
    });
}

pub fn n118(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"1", &[]));
        ok(put(route.a, b"2", &[]));
        arrive(route.b, 2);
        let begun = begin_get(route.b, 0, 0).unwrap();
        for flags in [0, BEGIN_GET_OVERLAPPED] {
            assert_eq!(begin_get(route.b, 0, flags).err(), Some(ALREADY_EXISTS));
        }
        ok(end_get(route.b, begun.transaction, 0));
        assert_eq!(read(route.b), b"2");
    });
}

pub fn n119(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"1", &[]));
        ok(put(route.a, b"2", &[]));
        arrive(route.b, 2);
        let one = begin_get(route.b, 0, BEGIN_GET_OVERLAPPED).unwrap();
        assert_eq!(begin_get(route.b, 0, 0).err(), Some(ALREADY_EXISTS));
        let two = begin_get(route.b, 0, BEGIN_GET_OVERLAPPED).unwrap();
        assert_eq!((one.read(), two.read()), (b"1".to_vec(), b"2".to_vec()));
        assert_eq!(begin_get(route.b, 0, BEGIN_GET_OVERLAPPED).err(), Some(UNAVAILABLE));
        ok(end_get(route.b, one.transaction, 0));
        ok(end_get(route.b, two.transaction, 0));
    });
}

pub fn n120(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"abc", &[c]));
        arrive(route.b, 1);
        let first = begin_get(route.b, 1, 0).unwrap();
        ok(end_get(route.b, first.transaction, END_GET_ABORT));
        let again = begin_get(route.b, 1, 0).unwrap();
        assert_eq!((again.read(), again.handles.len()), (b"abc".to_vec(), 0));
        ok(end_get(route.b, again.transaction, 0));
        talk(first.handles[0], d);
    });
}

pub fn n121(w: &World) {
    w.each(|route| {
        let ((c, d), (e, f)) = (route.here.pair(), route.here.pair());
        ok(put(route.a, b"abc", &[c, e]));
        arrive(route.b, 1);
        let none = begin_get(route.b, 0, BEGIN_GET_PARTIAL).unwrap();
        ok(end_get(route.b, none.transaction, END_GET_ABORT));
        let one = begin_get(route.b, 1, BEGIN_GET_PARTIAL).unwrap();
        ok(end_get(route.b, one.transaction, END_GET_ABORT));
        assert_eq!((none.handles.len(), one.handles.len()), (0, 1));
        let (data, rest) = get(route.b).unwrap();
        assert_eq!((&data[..], rest.len()), (&b"abc"[..], 1));
        talk(one.handles[0], d);
        talk(rest[0], f);
    });
}

pub fn n122(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"12", &[]));
        arrive(route.b, 1);
        let begun = begin_get(route.b, 0, 0).unwrap();
        ok(put(route.a, b"345", &[]));
        ok(put(route.a, b"6789", &[]));
        arrive(route.b, 3);
        assert_eq!(counts(route.b), (3, 9));
        ok(end_get(route.b, begun.transaction, 0));
        assert_eq!(counts(route.b), (2, 7));
        assert_eq!((read(route.b), read(route.b)), (b"345".to_vec(), b"6789".to_vec()));
    });
}

pub fn n123(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"1", &[]));
        arrive(route.b, 1);
        let begun = begin_get(route.b, 0, 0).unwrap();
        ok(put(route.b, b"meanwhile", &[]));
        assert_eq!(hear(route.a), b"meanwhile");
        ok(end_get(route.b, begun.transaction, 0));
    });
}

pub fn n124(w: &World) {
    w.each(|route| {
        let (c, d) = route.there.pair();
        ok(put(route.a, b"1", &[]));
        ok(put(d, b"2", &[]));
        arrive(route.b, 1);
        arrive(c, 1);
        let (mine, other) = (begin_get(route.b, 0, 0).unwrap().transaction, begin_get(c, 0, 0).unwrap().transaction);
        for flags in [0, END_GET_ABORT] {
            for (portal, transaction) in [(0, mine), (route.b, 0), (route.b, 123_456_789), (route.b, other), (c, mine), (route.a, mine)] {
                invalid(end_get(portal, transaction, flags));
            }
        }
        ok(end_get(route.b, mine, 0));
        ok(end_get(c, other, END_GET_ABORT));
        invalid(end_get(route.b, mine, 0));
        invalid(end_get(c, other, 0));
        assert_eq!(read(c), b"2");
    });
}

pub fn n125(w: &World) {
    w.each(|route| {
        for (flags, left) in [(0, 1), (BEGIN_GET_OVERLAPPED, 0)] {
            ok(put(route.a, b"x", &[]));
            arrive(route.b, 1);
            let begun = begin_get(route.b, 0, flags).unwrap();
            let mut parcel = 77;
            ok(unsafe { (api().end_get)(route.b, begun.transaction, END_GET_ABORT, null(), &mut parcel) });
            assert_eq!((parcel, counts(route.b).0), (77, left));
            // Those left over.
            while get(route.b).is_ok() {}
        }
    });
}

pub fn n126(w: &World) {
    w.each(|route| {
        for flags in [BEGIN_GET_PARTIAL, BEGIN_GET_PARTIAL | BEGIN_GET_OVERLAPPED] {
            let ((c, d), (e, f)) = (route.here.pair(), route.here.pair());
            ok(put(route.a, b"abc", &[c, e]));
            arrive(route.b, 1);
            let begun = begin_get(route.b, 1, flags).unwrap();
            let parcel = end_get_keep(route.b, begun.transaction).unwrap();
            let (data, rest) = get(parcel).unwrap();
            assert_eq!((&data[..], rest.len()), (&b"abc"[..], 1));
            talk(begun.handles[0], d);
            talk(rest[0], f);
        }
    });
}

pub fn n127(w: &World) {
    w.each(|route| {
        let ((c, d), (e, f)) = (route.here.pair(), route.here.pair());
        ok(put(route.a, b"abc", &[c, e]));
        arrive(route.b, 1);
        let begun = begin_get(route.b, 1, BEGIN_GET_PARTIAL).unwrap();
        ok(end_get(route.b, begun.transaction, 0));
        wait_dead(f);
        talk(begun.handles[0], d);
    });
}

pub fn n128(w: &World) {
    w.each(|route| {
        let texts = [b"first".to_vec(), b"second".to_vec(), vec![7; 5000]];
        texts.iter().for_each(|data| ok(put(route.a, data, &[])));
        arrive(route.b, 3);
        let begun: Vec<Getting> = (0..3).map(|_| begin_get(route.b, 0, BEGIN_GET_OVERLAPPED).unwrap()).collect();
        ok(end_get(route.b, begun[1].transaction, 0));
        assert!(begun[0].read() == texts[0] && begun[2].read() == texts[2]);
        ok(end_get(route.b, begun[2].transaction, END_GET_ABORT));
        assert_eq!(begun[0].read(), texts[0]);
        ok(end_get(route.b, begun[0].transaction, 0));
    });
}

pub fn n129(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"last", &[]));
        ok(close(route.a));
        wait_closed(route.b);
        let events = Events::default();
        ok(events.trap(route.b, TRAP_DEAD, 1));
        let begun = begin_get(route.b, 0, BEGIN_GET_OVERLAPPED).unwrap();
        assert_eq!((events.told(), flags(route.b)), (vec![(1, TRAP_DEAD | WITHIN)], DEAD));
        assert_eq!(begun.read(), b"last");
        ok(end_get(route.b, begun.transaction, 0));
    });
}

pub fn n130(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"last", &[]));
        ok(close(route.a));
        wait_closed(route.b);
        let events = Events::default();
        ok(events.trap(route.b, TRAP_DEAD, 1));
        let begun = begin_get(route.b, 0, 0).unwrap();
        assert_eq!((events.told(), flags(route.b)), (vec![], CLOSED));
        ok(end_get(route.b, begun.transaction, 0));
        assert_eq!((events.told(), flags(route.b)), (vec![(1, TRAP_DEAD | WITHIN)], DEAD));
    });
}

pub fn n131(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"x", &[]));
        arrive(route.b, 1);
        let parcel = keep(route.b);
        assert_eq!(begin_get(parcel, 0, BEGIN_GET_OVERLAPPED).err(), Some(INVALID_ARGUMENT));
        assert_eq!(read(parcel), b"x");
    });
}

pub fn n132(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"x", &[]));
        arrive(route.b, 1);
        let parcel = keep(route.b);
        for flags in [END_GET_ABORT, 0] {
            let begun = begin_get(parcel, 0, 0).unwrap();
            assert_eq!(begun.read(), b"x");
            assert_eq!((get(parcel).err(), begin_get(parcel, 0, 0).err()), (Some(ALREADY_EXISTS), Some(ALREADY_EXISTS)));
            // Another reference to the same parcel, however it ends.
            let mut again = 0;
            ok(unsafe { (api().end_get)(parcel, begun.transaction, flags, null(), &mut again) });
            invalid(end_get(parcel, begun.transaction, 0));
            assert_eq!(read(given(again)), b"x");
            ok(close(again));
        }
        assert_eq!(read(parcel), b"x");
    });
}

pub fn n133(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"x", &[c]));
        arrive(route.b, 1);
        let parcel = keep(route.b);
        let begun = begin_get(parcel, 0, BEGIN_GET_PARTIAL).unwrap();
        ok(close(parcel));
        invalid(end_get(parcel, begun.transaction, 0));
        wait_dead(d);
    });
}

pub fn n134(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"held", &[]));
        arrive(route.b, 1);
        let begun = begin_get(route.b, 0, 0).unwrap();
        let (c, d) = route.there.pair();
        ok(put(c, b"", &[route.b]));
        let moved = receive_one(d);
        assert_eq!((begun.read(), get(moved).err()), (b"held".to_vec(), Some(ALREADY_EXISTS)));
        ok(end_get(moved, begun.transaction, 0));
        talk(route.a, moved);
        // Not to another node (ours).
        if !route.is_local() {
            ok(put(route.a, b"held", &[]));
            arrive(moved, 1);
            let begun = begin_get(moved, 0, 0).unwrap();
            let (e, sent) = route.there.pair();
            let (over, far) = control(w, route.there);
            ok(put(over, b"", &[sent]));
            receive_one(far);
            until("known to leave", || is_direct(e));
            invalid(put(e, b"", &[moved]));
            ok(end_get(moved, begun.transaction, 0));
        }
    });
}

/// The pipe from a node to another one, its own end first.
fn control(w: &World, node: &Node) -> (H, H) {
    let three = w.three();
    match node.handle {
        it if it == three.x.handle => (three.x_to, three.to_x),
        it if it == three.z.handle => (three.z_to, three.to_z),
        _ => (three.to_z, three.z_to),
    }
}

pub fn n135(w: &World) {
    w.each(|route| {
        let data: Vec<u8> = (0..9000).map(|i| i as u8).collect();
        ok(put(route.a, &data, &[]));
        ok(put(route.a, &data, &[]));
        arrive(route.b, 2);
        let begun = begin_get(route.b, 0, 0).unwrap();
        let parcel = end_get_keep(route.b, begun.transaction).unwrap();
        let again = begin_get(parcel, 0, 0).unwrap();
        ok(end_get(parcel, again.transaction, 0));
        let third = begin_get(parcel, 0, 0).unwrap();
        assert_eq!((again.data, again.bytes), (third.data, third.bytes), "stable for the parcel's life");
        assert!(third.read() == data);
        // That of an open get outlives node and peer.
        let open = begin_get(route.b, 0, 0).unwrap();
        ok(close(route.a));
        assert!(open.read() == data);
    });
}
