//! Get.

use std::ptr::null_mut;

use super::api::*;
use super::world::*;

pub fn n098(w: &World) {
    w.each(|route| {
        let (mut bytes, mut count) = (5, 5);
        assert_eq!(get(route.b).err(), Some(UNAVAILABLE));
        let said = get_raw(route.b, 0, null_mut(), &mut bytes, null_mut(), &mut count, null_mut());
        assert_eq!((said, bytes, count), (UNAVAILABLE, 5, 5));
    });
}

pub fn n099(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"last", &[]));
        ok(close(route.a));
        assert_eq!(hear(route.b), b"last");
        wait_dead(route.b);
        for _ in 0..3 {
            assert_eq!(get(route.b).err(), Some(NOT_FOUND));
        }
    });
}

pub fn n100(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"ab", &[]));
        arrive(route.b, 1);
        let mut bytes = 0;
        assert_eq!(get_raw(route.b, 0, null_mut(), &mut bytes, null_mut(), null_mut(), null_mut()), RESOURCE_EXHAUSTED);
        assert_eq!((bytes, counts(route.b)), (2, (1, 2)));
        assert_eq!(read(route.b), b"ab");
    });
}

pub fn n101(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        let (e, _f) = route.here.pair();
        ok(put(route.a, b"abc", &[c, e]));
        arrive(route.b, 1);
        let (mut data, mut handles) = ([0; 8], [0; 1]);
        let (mut bytes, mut count) = (8, 1);
        let said = get_raw(route.b, 0, data.as_mut_ptr(), &mut bytes, handles.as_mut_ptr(), &mut count, null_mut());
        assert_eq!((said, bytes, count, data, handles), (RESOURCE_EXHAUSTED, 3, 2, [0; 8], [0]));
        let (_, handles) = get(route.b).unwrap();
        talk(handles[0], d);
    });
}

pub fn n102(w: &World) {
    w.each(|route| {
        let (c, _d) = route.here.pair();
        ok(put(route.a, b"", &[c]));
        ok(put(route.a, b"x", &[]));
        arrive(route.b, 2);
        let nothing = || get_raw(route.b, 0, null_mut(), null_mut(), null_mut(), null_mut(), null_mut());
        assert_eq!(nothing(), RESOURCE_EXHAUSTED);
        get(route.b).unwrap();
        assert_eq!(nothing(), RESOURCE_EXHAUSTED);
        assert_eq!(read(route.b), b"x");
    });
}

pub fn n103(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"x", &[]));
        arrive(route.b, 1);
        let mut five = 5;
        invalid(get_raw(route.b, 0, null_mut(), &mut five, null_mut(), null_mut(), null_mut()));
        invalid(get_raw(route.b, 0, null_mut(), null_mut(), null_mut(), &mut five, null_mut()));
        assert_eq!((five, counts(route.b)), (5, (1, 1)));
        let parcel = keep(route.b);
        invalid(get_raw(parcel, 0, null_mut(), &mut five, null_mut(), null_mut(), null_mut()));
        assert_eq!(read(parcel), b"x");
    });
}

pub fn n104(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"abc", &[c]));
        arrive(route.b, 1);
        let (mut data, mut handles) = ([9; 8], [0; 4]);
        let (mut bytes, mut count) = (8, 4);
        ok(get_raw(route.b, 0, data.as_mut_ptr(), &mut bytes, handles.as_mut_ptr(), &mut count, null_mut()));
        assert_eq!((bytes, count, &data), (3, 1, b"abc\x09\x09\x09\x09\x09"));
        talk(given(handles[0]), d);
        assert_eq!(handles[1..], [0; 3]);
    });
}

pub fn n105(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"abcde", &[c]));
        arrive(route.b, 1);
        let (mut data, mut bytes, mut count, mut parcel) = ([0; 8], 2, 0, 0);
        ok(get_raw(route.b, GET_PARTIAL, data.as_mut_ptr(), &mut bytes, null_mut(), &mut count, &mut parcel));
        assert_eq!((bytes, count, &data[..3]), (2, 0, &b"ab\0"[..]));
        let (data, handles) = get(given(parcel)).unwrap();
        assert_eq!(data, b"abcde");
        talk(handles[0], d);
    });
}

pub fn n106(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"abcde", &[c]));
        arrive(route.b, 1);
        ok(get_raw(route.b, GET_PARTIAL, null_mut(), null_mut(), null_mut(), null_mut(), null_mut()));
        wait_dead(d);
        assert_eq!(get(route.b).err(), Some(UNAVAILABLE));
    });
}

pub fn n107(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"abcde", &[]));
        arrive(route.b, 1);
        let parcel = keep(route.b);
        assert_eq!(get(route.b).err(), Some(UNAVAILABLE));
        assert_eq!(read(parcel), b"abcde");
    });
}

pub fn n108(w: &World) {
    w.each(|route| {
        let (c, _d) = route.here.pair();
        ok(put(route.a, b"abc", &[c]));
        arrive(route.b, 1);
        let parcel = keep(route.b);
        let again = keep(parcel);
        assert_eq!(parcel, again, "the same value");
        ok(close(parcel));
        assert_eq!(get(again).unwrap().0, b"abc");
        ok(close(again));
        invalid(close(again));
    });
}

pub fn n109(w: &World) {
    w.each(|route| {
        let (c, d) = route.here.pair();
        ok(put(route.a, b"abc", &[c]));
        arrive(route.b, 1);
        let parcel = keep(route.b);
        let (data, handles) = get(parcel).unwrap();
        assert_eq!((&data[..], handles.len()), (&b"abc"[..], 1));
        talk(handles[0], d);
        assert_eq!(read(parcel), b"abc", "data again, and no handles");
    });
}

pub fn n110(w: &World) {
    w.each(|route| {
        let pairs = [route.here.pair(), route.here.pair(), route.here.pair()];
        ok(put(route.a, b"", &pairs.map(|(c, _)| c)));
        arrive(route.b, 1);
        let parcel = keep(route.b);
        for (_, d) in pairs {
            let (mut handle, mut count) = (0, 1);
            ok(get_raw(parcel, GET_PARTIAL, null_mut(), null_mut(), &mut handle, &mut count, null_mut()));
            assert_eq!(count, 1);
            talk(given(handle), d);
        }
        assert_eq!(get(parcel).unwrap().1, []);
    });
}

pub fn n111(w: &World) {
    w.each(|route| {
        for data in [b"1", b"2", b"3"] {
            ok(put(route.a, data, &[]));
        }
        arrive(route.b, 3);
        let exclusive = begin_get(route.b, 0, 0).unwrap();
        assert_eq!(get(route.b).err(), Some(ALREADY_EXISTS));
        ok(end_get(route.b, exclusive.transaction, 0));
        let overlapped = begin_get(route.b, 0, BEGIN_GET_OVERLAPPED).unwrap();
        assert_eq!((overlapped.read(), read(route.b)), (b"2".to_vec(), b"3".to_vec()));
        ok(end_get(route.b, overlapped.transaction, 0));
    });
}

pub fn n112(w: &World) {
    w.each(|route| {
        let it = App::new(Manner::Says, b"", &[]).boxed(route.here.handle);
        for bad in [0, route.here.handle, it] {
            assert_eq!(get(bad).err(), Some(INVALID_ARGUMENT));
        }
    });
}

pub fn n113(w: &World) {
    w.each(|route| {
        ok(put(route.a, b"last", &[]));
        ok(close(route.a));
        wait_closed(route.b);
        // Read by the handler while the call writes to them.
        let outs: &'static mut (usize, [u8; 4], H) = Box::leak(Box::new((4, [0; 4], 0)));
        let at = outs as *mut (usize, [u8; 4], H) as usize;
        let events = Events::default();
        let (here, portal) = (events.clone(), route.b);
        ok(trap(portal, TRAP_DEAD, 0, 1, move |event| {
            let outs = unsafe { (at as *const (usize, [u8; 4], H)).read() };
            assert_eq!((outs.0, &outs.1, outs.2 != 0), (4, b"last", true));
            assert_eq!(flags(portal), DEAD);
            here.note(event);
        }));
        ok(get_raw(portal, 0, outs.1.as_mut_ptr(), &mut outs.0, null_mut(), null_mut(), &mut outs.2));
        given(outs.2);
        assert_eq!(events.told(), [(1, TRAP_DEAD | WITHIN)]);
        drop(unsafe { Box::from_raw(at as *mut (usize, [u8; 4], H)) });
    });
}
