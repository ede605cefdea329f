//! Boxes, parcels, rejection.

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use ipcz_drivers::middleware::Entry;

use super::api::*;
use super::world::*;

pub fn n159(w: &World) {
    let node = w.client();
    let memory = node.port.memory(64, 159);
    let fine = contents(BOX_TYPE_DRIVER_OBJECT, memory);
    let said = |node, contents: *const IpczBoxContents, out: *mut H| unsafe { (api().r#box)(node, contents, 0, null(), out) };
    let mut made = 0;
    invalid(said(node.handle, null(), &mut made));
    for size in [0, 39] {
        invalid(said(node.handle, &IpczBoxContents { size, ..fine }, &mut made));
    }
    invalid(said(0, &fine, &mut made));
    invalid(said(node.handle, &IpczBoxContents { object: 0, ..fine }, &mut made));
    invalid(said(node.handle, &fine, null_mut()));
    assert_eq!((made, node.port.read_memory(memory)), (0, (159, 64)), "still the caller's");
}

pub fn n160(w: &World) {
    let node = w.client();
    for kind in [BOX_TYPE_SUBPARCEL, 99] {
        assert_eq!(boxed_raw(node.handle, &contents(kind, 1)), Err(UNIMPLEMENTED));
    }
}

pub fn n161(w: &World) {
    let node = w.client();
    let it = boxed_raw(node.handle, &contents(BOX_TYPE_APPLICATION_OBJECT, 0)).unwrap();
    assert_eq!(unbox(it), (BOX_TYPE_APPLICATION_OBJECT, 0));
    ok(close(boxed_raw(node.handle, &contents(BOX_TYPE_APPLICATION_OBJECT, 0)).unwrap()));
}

pub fn n162(w: &World) {
    let node = w.client();
    let (a, b) = node.pair();
    let it = boxed_raw(node.handle, &contents(BOX_TYPE_APPLICATION_OBJECT, 5)).unwrap();
    let mut inside = contents(9, 9);
    for bad in [0, node.handle, a] {
        invalid(unbox_raw(bad, 0, &mut inside));
    }
    talk(a, b);
    invalid(unsafe { (api().unbox)(it, 0, null(), null_mut()) });
    for size in [0, 39] {
        invalid(unbox_raw(it, 0, &mut IpczBoxContents { size, ..inside }));
    }
    assert_eq!((inside.kind, inside.object), (9, 9));
    assert_eq!(unbox(it), (BOX_TYPE_APPLICATION_OBJECT, 5));
    invalid(unbox_raw(it, 0, &mut inside));
}

pub fn n163(w: &World) {
    let node = w.client();
    let memory = node.port.memory(64, 163);
    let it = boxed_raw(node.handle, &contents(BOX_TYPE_DRIVER_OBJECT, memory)).unwrap();
    for _ in 0..3 {
        let mut inside = contents(9, 9);
        ok(unbox_raw(it, UNBOX_PEEK, &mut inside));
        assert_eq!((inside.kind, inside.object), (BOX_TYPE_DRIVER_OBJECT, memory));
    }
    assert_eq!(node.unbox_memory(it), (163, 64));
}

pub fn n164(w: &World) {
    let node = w.client();
    let it = node.memory_box(64, 164);
    let before = App::new(Manner::Says, b"", &[]).contents();
    let mut inside = IpczBoxContents { size: 64, ..before };
    ok(unbox_raw(it, 0, &mut inside));
    let functions = |it: &IpczBoxContents| (it.serializer.map(|it| it as usize), it.destructor.map(|it| it as usize));
    assert_eq!((inside.kind, functions(&inside), inside.size), (BOX_TYPE_DRIVER_OBJECT, functions(&before), 64));
    node.port.close(inside.object);
}

pub fn n165(w: &World) {
    w.each(|route| {
        for bytes in [1, 4096, 70_001] {
            ok(put(route.a, b"", &[route.here.memory_box(bytes.max(8), bytes as u64)]));
            assert_eq!(route.there.unbox_memory(receive_one(route.b)), (bytes as u64, bytes.max(8)));
        }
    });
}

pub fn n166(w: &World) {
    let route = w.sideways();
    talk(route.a, route.b);
    until("direct", || is_direct(route.a) && is_direct(route.b));
    let relayed = |node: &Node| node.port.record.count.received().0;
    let before = relayed(&w.three().broker);
    for round in 0..50u8 {
        let (from, at, to, there) = match round % 2 {
            0 => (route.here, route.a, route.there, route.b),
            _ => (route.there, route.b, route.here, route.a),
        };
        ok(put(at, &[round], &[from.memory_box(64, round.into())]));
        ok(put(at, b"behind it", &[]));
        let (data, handles) = receive(there);
        assert_eq!((data, to.unbox_memory(handles[0])), (vec![round], (round.into(), 64)));
        assert_eq!(hear(there), b"behind it");
    }
    let relays = relayed(&w.three().broker) - before;
    if w.over.brokering {
        assert!(relays >= 50, "{relays} went through the broker");
    } else {
        // What proxies that were still there had to say.
        assert!(relays < 10, "{relays} went through the broker");
    }
}

pub fn n167(w: &World) {
    w.across(|route| {
        let (c, d) = route.here.pair();
        let app = App::new(Manner::Says, b"with a portal", &[c]);
        ok(put(route.a, b"", &[app.boxed(route.here.handle)]));
        let (data, handles) = get(subparcel(receive_one(route.b))).unwrap();
        assert_eq!((&data[..], handles.len()), (&b"with a portal"[..], 1));
        talk(handles[0], d);
    });
}

pub fn n168(w: &World) {
    w.across(|route| {
        let app = App::new(Manner::Says, b"said", &[]);
        let it = app.boxed(route.here.handle);
        until("known to leave", || is_direct(route.a));
        assert_eq!(app.calls(), Vec::<&str>::new());
        ok(put(route.a, b"", &[it]));
        let asked = || app.calls() == ["can you?", "how much?", "do!", "destroy"];
        if w.over.asynchronous {
            // Another thread may be transmitting for this link already; then it does this, too.
            until("it is serialized and destroyed", asked);
        } else {
            assert!(asked(), "inside the call: {:?}", app.calls());
        }
        assert_eq!(read(subparcel(receive_one(route.b))), b"said");
    });
    // One that refuses does not leave (ours).
    w.across(|route| {
        let app = App::new(Manner::Refuses, b"never", &[]);
        let it = app.boxed(route.here.handle);
        until("known to leave", || is_direct(route.a));
        invalid(put(route.a, b"", &[it]));
        let transaction = fill(route.a, b"x");
        invalid(end_put(route.a, transaction, 1, &[it], 0));
        assert!(!app.calls().contains(&"destroy"));
        assert_eq!(unbox(it), (BOX_TYPE_APPLICATION_OBJECT, app.number));
    });
}

pub fn n169(w: &World) {
    w.across(|route| {
        let app = App::new(Manner::HasNothing, b"never asked for", &[]);
        ok(put(route.a, b"around it", &[app.boxed(route.here.handle)]));
        let (data, handles) = receive(route.b);
        assert_eq!((&data[..], get(subparcel(handles[0])).unwrap()), (&b"around it"[..], (vec![], vec![])));
        assert_eq!(app.calls().last(), Some(&"destroy"));
    });
}

/// A box with a subparcel: what became of an application object on its way over this route. Its data, and a portal in it whose peer
/// comes along.
fn sent_subparcel(route: &Route<'_>) -> (H, H) {
    let (c, d) = route.here.pair();
    let app = App::new(Manner::Says, b"was an object", &[c]);
    ok(put(route.a, b"", &[app.boxed(route.here.handle)]));
    (receive_one(route.b), d)
}

pub fn n170(w: &World) {
    w.across(|route| {
        let (it, d) = sent_subparcel(&route);
        ok(put(route.b, b"", &[it]));
        let (data, handles) = get(subparcel(receive_one(route.a))).unwrap();
        assert_eq!(data, b"was an object");
        talk(handles[0], d);
    });
}

pub fn n171(w: &World) {
    w.across(|route| {
        let (it, d) = sent_subparcel(&route);
        ok(close(it));
        wait_dead(d);
    });
}

pub fn n172(w: &World) {
    w.across(|route| {
        let (it, d) = sent_subparcel(&route);
        let mut inside = contents(9, 9);
        ok(unbox_raw(it, UNBOX_PEEK, &mut inside));
        assert_eq!(inside.kind, BOX_TYPE_SUBPARCEL);
        let (_, handles) = get(inside.object).unwrap();
        ok(put(route.b, b"", &[it]));
        let (data, rest) = get(subparcel(receive_one(route.a))).unwrap();
        assert_eq!((&data[..], rest.len()), (&b"was an object"[..], 0));
        talk(handles[0], d);
    });
}

pub fn n173(w: &World) {
    let route = w.remote();
    let boxes = |count: usize| -> Vec<H> {
        (0..count).map(|i| App::new(Manner::Says, &(i as u32).to_le_bytes(), &[]).boxed(route.here.handle)).collect()
    };
    let too_many = boxes(1024);
    assert_eq!(put(route.a, b"", &too_many), RESOURCE_EXHAUSTED);
    too_many.into_iter().for_each(|it| ok(close(it)));
    ok(put(route.a, b"full", &boxes(1023)));
    let (data, got) = receive(route.b);
    assert_eq!((&data[..], got.len()), (&b"full"[..], 1023));
    for (i, it) in got.into_iter().enumerate() {
        assert_eq!(read(subparcel(it)), (i as u32).to_le_bytes());
    }
}

pub fn n174(w: &World) {
    w.each(|route| {
        let pairs = [route.here.pair(), route.here.pair()];
        ok(put(route.a, b"", &pairs.map(|(c, _)| c)));
        arrive(route.b, 1);
        let parcel = keep(route.b);
        assert_eq!(pairs.map(|(_, d)| flags(d)), [0, 0]);
        ok(close(parcel));
        pairs.iter().for_each(|(_, d)| wait_dead(*d));
    });
}

pub fn n175(w: &World) {
    let route = w.local();
    ok(put(route.a, b"local", &[]));
    let parcel = keep(route.b);
    for bad in [0, route.a, route.here.handle] {
        invalid(reject(bad, 1));
    }
    assert_eq!(reject(parcel, 1), FAILED_PRECONDITION);
    assert_eq!(route.here.port.record.count.calls(Entry::ReportBad), 0);
}

/// A parcel that came over the route, as an object, and the transport it came by.
fn came(route: &Route<'_>) -> H {
    ok(put(route.a, b"bad", &[]));
    arrive(route.b, 1);
    keep(route.b)
}

pub fn n176(w: &World) {
    w.across(|route| {
        until("one link", || is_direct(route.a) && is_direct(route.b));
        let reports = &route.there.port.record.reports;
        let parcel = came(&route);
        ok(reject(parcel, 42));
        ok(reject(parcel, 43));
        let told = std::mem::take(&mut *reports.lock().unwrap());
        assert_eq!(told.iter().map(|(_, context)| *context).collect::<Vec<_>>(), [42, 43]);
        // A transport that this node activated, and the same both times.
        let listens = route.there.port.record.listeners.lock().unwrap();
        assert!(told[0].0 == told[1].0 && listens.iter().any(|(transport, _)| *transport == told[0].0));
        drop(listens);
        // One that was got in two steps.
        ok(put(route.a, b"bad", &[]));
        arrive(route.b, 1);
        let begun = begin_get(route.b, 0, 0).unwrap();
        ok(reject(end_get_keep(route.b, begun.transaction).unwrap(), 44));
        assert_eq!(reports.lock().unwrap().drain(..).map(|(_, context)| context).collect::<Vec<_>>(), [44]);
    });
}

pub fn n177(w: &World) {
    w.across(|route| {
        let (it, _d) = sent_subparcel(&route);
        assert_eq!(reject(subparcel(it), 1), FAILED_PRECONDITION);
        assert_eq!(route.there.port.record.count.calls(Entry::ReportBad), 0);
    });
}

unsafe extern "C" fn failing_report(_: IpczDriverHandle, _: usize, _: u32, _: *const c_void) -> R {
    UNKNOWN
}

pub fn n178(w: &World) {
    // One whose report fails, and one without any.
    for report in [Some(failing_report as unsafe extern "C" fn(_, _, _, _) -> R), None] {
        let (broker, port) = (w.broker(), w.port());
        let table = IpczDriver { report_bad_transport_activity: report, ..**port.table };
        let client = create(&table, 0).unwrap();
        let [near, far] = w.transports(&broker.port, &port);
        let a = connect(broker.handle, near, 1, 0).unwrap()[0];
        let b = connect(client, far, 1, w.as_client(CONNECT_NODE_TO_BROKER)).unwrap()[0];
        ok(put(a, b"bad", &[]));
        arrive(b, 1);
        let parcel = keep(b);
        ok(reject(parcel, 1));
        ok(close(client));
        ok(reject(parcel, 2));
    }
}
