//! Loading and closing.

use std::ptr::{null, null_mut};

use super::api::*;
use super::world::*;

/// Room for a table of `size` bytes, filled with a pattern behind its size.
fn table_of(size: usize) -> [usize; 25] {
    let mut room = [0xAAAA_AAAA_AAAA_AAAA; 25];
    room[0] = size;
    room
}

pub fn n001(_: &World) {
    invalid(unsafe { ipcz::ffi::IpczGetAPI(null_mut()) });
}

pub fn n002(_: &World) {
    for size in [0, 8, 128, 135] {
        let mut room = table_of(size);
        invalid(unsafe { ipcz::ffi::IpczGetAPI(room.as_mut_ptr().cast()) });
        assert_eq!(room, table_of(size));
    }
}

pub fn n003(_: &World) {
    let mut room = table_of(136);
    ok(unsafe { ipcz::ffi::IpczGetAPI(room.as_mut_ptr().cast()) });
    assert_eq!(room[0], 136);
    assert!(room[1..17].iter().all(|entry| *entry != 0 && *entry != 0xAAAA_AAAA_AAAA_AAAA));
}

pub fn n004(_: &World) {
    let mut room = table_of(200);
    ok(unsafe { ipcz::ffi::IpczGetAPI(room.as_mut_ptr().cast()) });
    assert_eq!((room[0], &room[17..]), (136, &table_of(200)[17..]));
}

pub fn n005(_: &World) {
    invalid(close(0));
}

pub fn n006(w: &World) {
    let node = w.client();
    let (a, b) = node.pair();
    ok(put(a, b"x", &[]));
    let options: u32 = 1;
    let boxed = App::new(Manner::Says, b"x", &[]).boxed(node.handle);
    for it in [keep(b), boxed, a, b, node.handle] {
        ok(unsafe { (api().close)(it, 0xffff, (&raw const options).cast()) });
        invalid(close(it));
    }
}

pub fn n007(w: &World) {
    let remote = w.remote();
    let listener = remote.there.port.record.listeners.lock().unwrap()[0].1;
    let node = remote.there.handle;
    for listener in [listener, listener + 1, listener.wrapping_neg()] {
        invalid(close(listener));
        invalid(put(remote.b, b"", &[listener]));
        assert_eq!(query(listener).unwrap_err(), INVALID_ARGUMENT);
        invalid(merge(listener, remote.b));
        assert!(connect(listener, 1, 1, CONNECT_NODE_TO_BROKER).is_err() && node != listener);
    }
    talk(remote.a, remote.b);
}

pub fn n008(w: &World) {
    w.each(|route| {
        let events = Events::default();
        ok(events.trap(route.b, TRAP_PEER_CLOSED, 1));
        ok(close(route.a));
        assert_eq!(events.conditions(1), [(1, TRAP_PEER_CLOSED)]);
        ok(close(route.b));
        assert_eq!(events.told(), []);
    });
}

pub fn n009(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"read me", &[]));
        arrive(route.b, 1);
        let putting = begin_put(route.b, 8, 0).unwrap();
        assert_eq!(begin_get(route.b, 0, 0).unwrap().read(), b"read me");
        ok(close(route.b));
        wait_dead(route.a);
        invalid(end_put(route.b, putting.transaction, 0, &[], 0));
    });
}

pub fn n010(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"", &[c]));
        arrive(route.b, 1);
        let events = Events::default();
        ok(events.trap(d, TRAP_DEAD, 3));
        ok(close(route.b));
        if route.is_local() {
            assert_eq!((events.told(), flags(d)), (vec![(3, TRAP_DEAD | WITHIN)], DEAD), "inside the call");
        }
        wait_dead(d);
    });
}

pub fn n011(w: &World) {
    let route = w.local();
    let app = App::new(Manner::Says, b"x", &[]);
    ok(put(route.a, b"", &[app.boxed(route.here.handle)]));
    ok(close(route.a));
    assert_eq!(app.calls(), Vec::<&str>::new());
    ok(close(route.b));
    assert_eq!(app.calls(), ["destroy"]);
}

pub fn n012(w: &World) {
    let node = w.client();
    let memory = node.port.memory(64, 1);
    let it = boxed_raw(node.handle, &contents(BOX_TYPE_DRIVER_OBJECT, memory)).unwrap();
    ok(close(node.handle));
    assert_eq!(node.port.base.get().size(object(memory)), Ok(64));
    ok(close(it));
    assert!(node.port.base.get().size(object(memory)).is_err(), "closed through the driver");
}

/// Creates a node with options.
pub fn create_with(table: *const IpczDriver, flags: u32, options: *const IpczCreateNodeOptions) -> Result<H, R> {
    let mut node = 0;
    match unsafe { (api().create_node)(table, flags, options, &mut node) } {
        OK => Ok(given(node)),
        error => Err(error),
    }
}

pub fn n013(w: &World) {
    let port = w.port();
    assert_eq!(create_with(null(), 0, null()), Err(INVALID_ARGUMENT));
    invalid(unsafe { (api().create_node)(&**port.table, 0, null(), null_mut()) });
}

#[repr(C)]
struct Bigger<T> {
    it: T,
    more: [u64; 16],
}

pub fn n014(w: &World) {
    let port = w.port();
    let mut bigger = Bigger { it: **port.table, more: [u64::MAX; 16] };
    bigger.it.size = 111;
    assert_eq!(create_with(&raw const bigger.it, 0, null()), Err(INVALID_ARGUMENT));
    bigger.it.size = 200;
    let node = create_with((&raw const bigger).cast(), 0, null()).unwrap();
    ok(close(node));
}

pub fn n015(w: &World) {
    let port = w.port();
    for entry in 1..14 {
        let mut words: [usize; 14] = unsafe { std::mem::transmute(**port.table) };
        words[entry] = 0;
        let said = create_with(words.as_ptr().cast(), 0, null());
        // The eighth is ReportBadTransportActivity.
        if entry == 8 {
            ok(close(said.unwrap()));
        } else {
            assert_eq!(said, Err(INVALID_ARGUMENT), "entry {entry}");
        }
    }
}

pub fn n016(w: &World) {
    let port = w.port();
    let mut bigger = Bigger { it: zeroed_options(), more: [u64::MAX; 16] };
    for (size, expected) in [(0, INVALID_ARGUMENT), (47, INVALID_ARGUMENT), (48, OK), (64, OK)] {
        bigger.it.size = size;
        let said = create_with(&**port.table, 0, (&raw const bigger).cast());
        assert_eq!(said.err().unwrap_or(OK), expected, "size {size}");
    }
}

pub fn n017(w: &World) {
    let port = w.port();
    let features = [77, FEATURE_MEM_V2, u32::MAX];
    let options = IpczCreateNodeOptions {
        memory_flags: !0,
        enabled_features: features.as_ptr(),
        num_enabled_features: 3,
        disabled_features: features.as_ptr(),
        num_disabled_features: 1,
        ..zeroed_options()
    };
    let node = create_with(&**port.table, !0, &options).unwrap();
    let (a, b) = open(node);
    talk(a, b);
}
