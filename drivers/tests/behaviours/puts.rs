//! Put.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

use super::api::*;
use super::world::*;

pub fn n063(w: &World) {
    w.each(|route| {
        invalid(put(route.a, b"", &[route.a]));
        if route.is_local() {
            invalid(put(route.a, b"", &[route.b]));
        }
        talk(route.a, route.b);
    });
}

pub fn n064(w: &World) {
    w.each(|route| {
        ok(put(route.b, b"kept", &[]));
        arrive(route.a, 1);
        let parcel = keep(route.a);
        for bad in [0, route.here.handle, parcel] {
            invalid(put(route.a, b"", &[bad]));
        }
        assert_eq!(read(parcel), b"kept");
        talk(route.a, route.b);
    });
}

pub fn n065(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        for attached in [[c, 0], [0, c], [c, c]] {
            invalid(put(route.a, b"", &attached));
        }
        talk(c, d);
        assert_eq!(counts(route.b), (0, 0));
        ok(put(route.a, b"", &[c]));
        talk(receive_one(route.b), d);
    });
}

pub fn n066(w: &World) {
    w.each(|route| {
        let options = 1u32;
        ok(unsafe { (api().put)(route.a, b"x".as_ptr().cast(), 1, null(), 0, 0xffff, (&raw const options).cast()) });
        assert_eq!(hear(route.b), b"x");
    });
}

pub fn n067(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.b, b"unread", &[]));
        arrive(route.a, 1);
        ok(close(route.b));
        wait_closed(route.a);
        assert_eq!(put(route.a, b"", &[c]), NOT_FOUND);
        talk(c, d);
        assert_eq!(read(route.a), b"unread");
    });
}

pub fn n068(w: &World) {
    w.each(|route| {
        ok(close(route.b));
        wait_closed(route.a);
        assert_eq!((put(route.a, b"", &[0]), put(route.a, b"", &[])), (INVALID_ARGUMENT, NOT_FOUND));
    });
}

pub fn n069(w: &World) {
    w.each(|route| {
        ok(unsafe { (api().put)(route.a, null(), 0, null(), 0, 0, null()) });
        arrive(route.b, 1);
        ok(get_raw(route.b, 0, null_mut(), null_mut(), null_mut(), null_mut(), null_mut()));
        assert_eq!(get(route.b).err(), Some(UNAVAILABLE));
    });
}

pub fn n070(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"x", &[]));
        arrive(route.b, 1);
        for bad in [0, route.here.handle, keep(route.b)] {
            invalid(put(bad, b"x", &[]));
        }
        let said = |data: *const u8, bytes, count| unsafe { (api().put)(route.a, data.cast(), bytes, null(), count, 0, null()) };
        invalid(said(null(), 1, 0));
        invalid(said(null(), 0, 1));
    });
}

pub fn n071(w: &World) {
    let route = w.local();
    let app = App::new(Manner::Says, b"never", &[]);
    let bare = IpczBoxContents { serializer: None, ..app.contents() };
    ok(put(route.a, b"", &[boxed_raw(route.here.handle, &bare).unwrap()]));
    let mut inside = contents(99, 99);
    ok(unbox_raw(receive_one(route.b), 0, &mut inside));
    assert_eq!((inside.kind, inside.object), (BOX_TYPE_APPLICATION_OBJECT, app.number));
    assert!(inside.serializer.is_none() && inside.destructor.is_some());
    assert_eq!(app.calls(), Vec::<&str>::new());
    // It cannot leave the node.
    w.across(|route| {
        let it = boxed_raw(route.here.handle, &bare).unwrap();
        until("the route is known to be remote", || is_direct(route.a));
        invalid(put(route.a, b"", &[it]));
        ok(close(it));
    });
}

thread_local! {
    /// What the driver's Serialize answers to the question without a transport.
    static ANSWER: Cell<R> = const { Cell::new(OK) };
}

unsafe extern "C" fn answering(
    _: IpczDriverHandle,
    transport: IpczDriverHandle,
    _: u32,
    _: *const c_void,
    _: *mut c_void,
    _: *mut usize,
    _: *mut IpczDriverHandle,
    _: *mut usize,
) -> R {
    assert_eq!(transport, 0);
    ANSWER.get()
}

pub fn n072(w: &World) {
    let port = w.port();
    let table = IpczDriver { serialize: Some(answering), ..**port.table };
    let node = create(&table, 0).unwrap();
    let (a, b) = open(node);
    for (answer, expected) in [
        (INVALID_ARGUMENT, INVALID_ARGUMENT),
        (OK, INVALID_ARGUMENT),
        (PERMISSION_DENIED, INVALID_ARGUMENT),
        (ABORTED, OK),
        (RESOURCE_EXHAUSTED, OK),
    ] {
        ANSWER.set(answer);
        let memory = port.memory(64, 1);
        let it = boxed_raw(node, &contents(BOX_TYPE_DRIVER_OBJECT, memory)).unwrap();
        assert_eq!(put(a, b"", &[it]), expected, "answer {answer}");
        let it = if expected == OK { receive_one(b) } else { it };
        assert_eq!(unbox(it), (BOX_TYPE_DRIVER_OBJECT, memory));
        port.close(memory);
    }
}

pub fn n073(w: &World) {
    w.across(|route| {
        let (c, d) = route.here.pair();
        ok(close(route.b));
        wait_closed(route.a);
        assert_eq!(put(route.a, b"", &[c]), NOT_FOUND);
        talk(c, d);
    });
}

pub fn n074(w: &World) {
    let (broker, client) = (w.broker(), w.client());
    let (near, far) = w.connect(&broker, &client, 2);
    ok(put(near[0], b"", &[near[1]]));
    let other = receive_one(far[0]);
    talk(other, far[1]);
    until("local peers", || are_local_peers(other, far[1]) && are_local_peers(far[1], other));
    invalid(put(other, b"", &[far[1]]));
    invalid(put(far[1], b"", &[other]));
    talk(far[1], other);
}

pub fn n075(w: &World) {
    w.across(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"", &[d]));
        let d = receive_one(route.b);
        invalid(put(c, b"", &[c]));
        let (e, f) = route.here.pair();
        ok(put(c, b"", &[e]));
        talk(receive_one(d), f);
    });
}

pub fn n076(w: &World) {
    w.across(|route| {
        let ((c, d), (e, f)) = (route.here.pair(), route.here.pair());
        let app = App::new(Manner::Says, b"an object", &[]);
        let attached = [c, route.here.memory_box(8192, 76), app.boxed(route.here.handle), e];
        ok(put(route.a, b"all kinds", &attached));
        let (data, got) = receive(route.b);
        assert_eq!((&data[..], got.len()), (&b"all kinds"[..], 4));
        talk(d, got[0]);
        assert_eq!(route.there.unbox_memory(got[1]), (76, 8192));
        assert_eq!(read(subparcel(got[2])), b"an object");
        talk(f, got[3]);
    });
}

pub fn n077(w: &World) {
    let data: Vec<u8> = (0..20_000_000u32).map(|i| (i % 251) as u8).collect();
    let route = w.remote();
    ok(put(route.a, &data, &[]));
    assert!(hear(route.b) == data, "whole");
}

pub fn n078(w: &World) {
    let node = w.client();
    let ((a, b), (c, d)) = (node.pair(), node.pair());
    ok(put(a, b"", &[c]));
    ok(put(d, b"", &[b]));
    assert_eq!((put(a, b"x", &[]), put(d, b"x", &[])), (OK, OK));
    ok(close(a));
    ok(close(d));
}

pub fn n079(w: &World) {
    let route = w.remote();
    for i in 0..25_000u32 {
        ok(put(route.a, &i.to_le_bytes(), &[]));
    }
    for i in 0..25_000u32 {
        assert_eq!(hear(route.b), i.to_le_bytes());
    }
}

pub fn n080(w: &World) {
    w.each(|route| {
        (0..50u8).for_each(|i| ok(put(route.a, &[i], &[])));
        ok(close(route.a));
        (0..50u8).for_each(|i| assert_eq!(hear(route.b), [i]));
        wait_dead(route.b);
    });
}
