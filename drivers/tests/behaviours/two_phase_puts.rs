//! Two-phase put.

use std::ptr::{null, null_mut};

use super::api::*;
use super::world::*;

pub fn n081(w: &World) {
    w.each(|route| {
        let mut transaction = 0;
        let said = |portal, to: *mut usize| unsafe { (api().begin_put)(portal, 0, null(), null_mut(), null_mut(), to) };
        invalid(said(0, &mut transaction));
        invalid(said(route.here.handle, &mut transaction));
        invalid(said(route.a, null_mut()));
        assert_eq!(transaction, 0);
    });
}

pub fn n082(w: &World) {
    w.each(|route| {
        let mut data = std::ptr::dangling_mut();
        let (mut none, mut transaction) = (0, 0);
        for bytes in [&raw mut none, null_mut()] {
            ok(unsafe { (api().begin_put)(route.a, 0, null(), &mut data, bytes, &mut transaction) });
            assert!(data.is_null() && transaction != 0);
            ok(end_put(route.a, transaction, 0, &[], 0));
            assert_eq!(hear(route.b), b"");
        }
    });
}

pub fn n083(w: &World) {
    w.each(|route| {
        let mut transaction = 0;
        ok(unsafe { (api().begin_put)(route.a, 0, null(), null_mut(), null_mut(), &mut transaction) });
        ok(end_put(route.a, transaction, 0, &[], 0));
        assert_eq!(hear(route.b), b"");
    });
}

pub fn n084(w: &World) {
    w.each(|route| {
        for bytes in [1, 63, 4088, 4089, 65_528, 1_048_568, 1_048_569, 3_000_000] {
            let data: Vec<u8> = (0..bytes).map(|i| (i % 253) as u8).collect();
            // As many as were asked for.
            let transaction = fill(route.a, &data);
            ok(end_put(route.a, transaction, bytes, &[], 0));
            assert!(hear(route.b) == data, "{bytes} bytes");
        }
    });
}

pub fn n085(w: &World) {
    w.each(|route| {
        // The link is there, so that its memory counts.
        talk(route.a, route.b);
        until("the route is what it will be", || route.is_local() || is_direct(route.a));
        let begun = begin_put(route.a, 3_000_000, BEGIN_PUT_ALLOW_PARTIAL).unwrap();
        if route.is_local() {
            assert_eq!(begun.bytes, 3_000_000);
        } else {
            assert!((1..=1_048_568).contains(&begun.bytes), "{}", begun.bytes);
        }
        unsafe { begun.data.write_bytes(7, begun.bytes) };
        ok(end_put(route.a, begun.transaction, begun.bytes, &[], 0));
        assert!(hear(route.b) == vec![7; begun.bytes]);
    });
}

pub fn n086(w: &World) {
    w.each(|route| {
        ok(close(route.b));
        wait_closed(route.a);
        let (mut data, mut bytes, mut transaction) = (std::ptr::dangling_mut(), 9, 8);
        let before = (data, bytes, transaction);
        let said = unsafe { (api().begin_put)(route.a, 0, null(), &mut data, &mut bytes, &mut transaction) };
        assert_eq!((said, (data, bytes, transaction)), (NOT_FOUND, before));
    });
}

pub fn n087(w: &World) {
    w.each(|route| {
        let [one, two, three] = [b"1", b"2", b"3"].map(|data| fill(route.a, data));
        for transaction in [three, one, two] {
            ok(end_put(route.a, transaction, 1, &[], 0));
        }
        assert_eq!([hear(route.b), hear(route.b), hear(route.b)], [b"3", b"1", b"2"]);
    });
}

pub fn n088(w: &World) {
    w.each(|route| {
        let transaction = fill(route.a, b"1234");
        invalid(end_put(0, transaction, 1, &[], 0));
        invalid(end_put(route.a, 0, 1, &[], 0));
        invalid(unsafe { (api().end_put)(route.a, transaction, 1, null(), 1, 0, null()) });
        invalid(end_put(route.a, transaction, 5, &[], 0));
        invalid(end_put(route.a, transaction, 1, &[0], 0));
        ok(end_put(route.a, transaction, 4, &[], 0));
        assert_eq!(hear(route.b), b"1234");
    });
}

pub fn n089(w: &World) {
    w.each(|route| {
        let transaction = fill(route.a, b"x");
        invalid(end_put(route.a, transaction, 1, &[route.a], 0));
        if route.is_local() {
            invalid(end_put(route.a, transaction, 1, &[route.b], 0));
        }
        ok(end_put(route.a, transaction, 1, &[], 0));
        assert_eq!(hear(route.b), b"x");
    });
}

pub fn n090(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        let transaction = fill(route.a, b"a's");
        invalid(end_put(c, transaction, 3, &[], 0));
        let own = fill(c, b"c's");
        for flags in [0, END_PUT_ABORT] {
            invalid(end_put(c, transaction, 3, &[], flags));
            invalid(end_put(route.a, own, 3, &[], flags));
        }
        ok(end_put(route.a, transaction, 3, &[], 0));
        ok(end_put(c, own, 3, &[], 0));
        assert_eq!((hear(route.b), hear(d)), (b"a's".to_vec(), b"c's".to_vec()));
    });
}

pub fn n091(w: &World) {
    w.each(|route| {
        let transaction = fill(route.a, b"x");
        ok(end_put(route.a, transaction, 99, &[0, 12345], END_PUT_ABORT));
        ok(put(route.a, b"behind", &[]));
        assert_eq!(hear(route.b), b"behind", "and nothing before it");
    });
}

pub fn n092(w: &World) {
    w.each(|route| {
        let transaction = fill(route.a, b"x");
        invalid(unsafe { (api().end_put)(route.a, transaction, 1, null(), 1, END_PUT_ABORT, null()) });
        ok(end_put(route.a, transaction, 1, &[], 0));
        assert_eq!(hear(route.b), b"x");
    });
}

pub fn n093(w: &World) {
    w.each(|route| {
        for flags in [0, END_PUT_ABORT] {
            let transaction = fill(route.a, b"x");
            ok(end_put(route.a, transaction, 1, &[], flags));
            invalid(end_put(route.a, transaction, 1, &[], 0));
            invalid(end_put(route.a, transaction, 1, &[], END_PUT_ABORT));
        }
        assert_eq!(hear(route.b), b"x");
    });
}

pub fn n094(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        let transaction = fill(route.a, b"12345678");
        ok(end_put(route.a, transaction, 3, &[c], 0));
        let (data, handles) = receive(route.b);
        assert_eq!((&data[..], handles.len()), (&b"123"[..], 1));
        talk(handles[0], d);
    });
}

pub fn n095(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        let transaction = fill(route.a, b"x");
        ok(close(route.b));
        wait_closed(route.a);
        assert_eq!(end_put(route.a, transaction, 1, &[c], 0), NOT_FOUND);
        invalid(end_put(route.a, transaction, 1, &[c], 0));
        talk(c, d);
    });
}

pub fn n096(w: &World) {
    w.across(|route| {
        let (c, d) = route.here.pair();
        let transaction = fill(c, b"never sent");
        ok(put(route.a, b"", &[c]));
        invalid(end_put(c, transaction, 1, &[], 0));
        let c = receive_one(route.b);
        invalid(end_put(c, transaction, 1, &[], 0));
        talk(c, d);
    });
}

pub fn n097(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, TRAP_NEW_LOCAL_PARCEL, 1));
        let transaction = fill(route.a, b"x");
        assert_eq!(events.told(), []);
        ok(end_put(route.a, transaction, 1, &[], 0));
        if route.is_local() {
            assert_eq!(events.told(), [(1, TRAP_NEW_LOCAL_PARCEL | WITHIN)]);
        } else {
            assert_eq!(events.wait(1)[0].flags, TRAP_NEW_LOCAL_PARCEL);
        }
    });
}
