//! Misuse by programs and their drivers (spec/hazards.md 7), where no number of api.md 17 has it.

use std::ffi::c_void;
use std::ptr::{dangling, null, null_mut};

use super::api::*;
use super::world::*;

/// Calls the library by the portal that is its object, and in the end claims to have stored more than it was asked for.
unsafe extern "C" fn boasting(
    portal: usize,
    _: u32,
    _: *const c_void,
    data: *mut c_void,
    bytes: *mut usize,
    _: *mut H,
    count: *mut usize,
) -> R {
    if put(portal, b"from a serializer", &[]) != OK {
        return FAILED_PRECONDITION;
    }
    if bytes.is_null() {
        return OK;
    }
    let room = unsafe { bytes.read() };
    if room == 0 {
        unsafe { bytes.write(4) };
        return RESOURCE_EXHAUSTED;
    }
    unsafe {
        data.cast::<u8>().copy_from_nonoverlapping(b"four".as_ptr(), 4);
        bytes.write(1 << 40);
        count.write(1 << 40);
    }
    OK
}

pub fn am09_a_serializer_that_calls_back_and_answers_otherwise_each_time(w: &World) {
    let route = w.remote();
    let (c, d) = route.here.pair();
    let inside = IpczBoxContents { serializer: Some(boasting), ..contents(BOX_TYPE_APPLICATION_OBJECT, c) };
    ok(put(route.a, b"", &[boxed_raw(route.here.handle, &inside).unwrap()]));
    assert_eq!(get(subparcel(receive_one(route.b))).unwrap(), (b"four".to_vec(), vec![]), "what was announced, and no more");
    assert_eq!(counts(d).0, 3, "asked three times");
}

unsafe extern "C" fn allocate_nothing(_: usize, _: u32, _: *const c_void, out: *mut IpczDriverHandle) -> R {
    unsafe { out.write(0) };
    OK
}

unsafe extern "C" fn map_nowhere(
    _: IpczDriverHandle,
    _: u32,
    _: *const c_void,
    address: *mut *mut c_void,
    out: *mut IpczDriverHandle,
) -> R {
    unsafe {
        address.write(null_mut());
        out.write(0);
    }
    OK
}

unsafe extern "C" fn no_size(_: IpczDriverHandle, _: u32, _: *const c_void, _: *mut IpczSharedMemoryInfo) -> R {
    OK
}

/// Wants one handle, then stores none that could be one.
unsafe extern "C" fn serialize_to_nothing(
    _: IpczDriverHandle,
    transport: IpczDriverHandle,
    _: u32,
    _: *const c_void,
    _: *mut c_void,
    _: *mut usize,
    handles: *mut IpczDriverHandle,
    count: *mut usize,
) -> R {
    if transport == 0 {
        return ABORTED;
    }
    let room = if count.is_null() { 0 } else { unsafe { count.read() } };
    if room == 0 {
        if !count.is_null() {
            unsafe { count.write(1) };
        }
        return RESOURCE_EXHAUSTED;
    }
    unsafe {
        handles.write(0);
        count.write(1 << 40);
    }
    OK
}

pub fn am15_a_driver_that_says_ok_and_gives_nothing(w: &World) {
    let (port, other) = (w.port(), w.port());
    let said = |table: IpczDriver| {
        let node = create(&table, CREATE_NODE_AS_BROKER).unwrap();
        let [near, far] = w.transports(&port, &other);
        let said = connect(node, near, 1, 0).err();
        port.close(near);
        other.close(far);
        said
    };
    assert_eq!(said(IpczDriver { allocate_shared_memory: Some(allocate_nothing), ..**port.table }), Some(RESOURCE_EXHAUSTED));
    assert_eq!(said(IpczDriver { map_shared_memory: Some(map_nowhere), ..**port.table }), Some(RESOURCE_EXHAUSTED));
    assert_eq!(said(IpczDriver { get_shared_memory_info: Some(no_size), ..**port.table }), Some(RESOURCE_EXHAUSTED));
    assert_eq!(said(IpczDriver { serialize: Some(serialize_to_nothing), ..**port.table }), Some(UNKNOWN));
}

/// The handler that a driver was given last.
static HANDLER: std::sync::Mutex<Vec<(IpczDriverHandle, H, IpczTransportActivityHandler)>> = std::sync::Mutex::new(Vec::new());

/// An activation that is noted, and does nothing else.
unsafe extern "C" fn note_activation(
    transport: IpczDriverHandle,
    listener: H,
    handler: IpczTransportActivityHandler,
    _: u32,
    _: *const c_void,
) -> R {
    HANDLER.lock().unwrap().push((transport, listener, handler));
    OK
}

unsafe extern "C" fn ignore_deactivation(_: IpczDriverHandle, _: u32, _: *const c_void) -> R {
    OK
}

pub fn am15_a_driver_that_notifies_when_it_must_not(w: &World) {
    let (port, other) = (w.port(), w.port());
    let table = IpczDriver { activate_transport: Some(note_activation), deactivate_transport: Some(ignore_deactivation), ..**port.table };
    let node = create(&table, 0).unwrap();
    let [near, far] = w.transports(&port, &other);
    let portal = connect(node, near, 1, CONNECT_NODE_TO_BROKER).unwrap()[0];
    let (listener, handler) = {
        let mut all = HANDLER.lock().unwrap();
        let mine = all.iter().position(|(transport, ..)| *transport == near).unwrap();
        let (_, listener, handler) = all.swap_remove(mine);
        (listener, handler)
    };
    let say = |flags: u32| unsafe { handler(listener, null(), 0, null(), 0, flags, null()) };
    // Null data with a count, a null handle.
    invalid(unsafe { handler(listener, null(), 8, null(), 0, 0, null()) });
    invalid(unsafe { handler(listener, null(), 0, &0, 1, 0, null()) });
    invalid(unsafe { handler(0, null(), 0, null(), 0, 0, null()) });
    invalid(unsafe { handler(portal, null(), 0, null(), 0, ACTIVITY_ERROR, null()) });
    assert_eq!(flags(portal), 0);
    // Without having been asked for it (A14), with both flags, and then again.
    ok(say(ACTIVITY_DEACTIVATED | ACTIVITY_ERROR));
    assert_eq!(flags(portal), DEAD);
    for flags in [ACTIVITY_DEACTIVATED, ACTIVITY_ERROR, 0] {
        invalid(say(flags));
    }
    other.close(far);
}

pub fn am17_sizes_that_overflow(w: &World) {
    w.each(|route| {
        let huge = usize::MAX;
        let sent = |bytes, count| unsafe { (api().put)(route.a, dangling(), bytes, dangling(), count, 0, null()) };
        assert_eq!((sent(huge, 0), sent(0, huge)), (RESOURCE_EXHAUSTED, RESOURCE_EXHAUSTED));
        assert_eq!(sent(isize::MAX as usize + 1, 0), RESOURCE_EXHAUSTED);
        assert_eq!(begin_put(route.a, huge, 0).err(), Some(RESOURCE_EXHAUSTED));
        let transaction = fill(route.a, b"1234");
        invalid(end_put(route.a, transaction, huge, &[], 0));
        ok(end_put(route.a, transaction, 4, &[], 0));
        arrive(route.b, 1);
        // More room than there can be.
        let (mut data, mut bytes) = ([0; 4], huge);
        ok(get_raw(route.b, 0, data.as_mut_ptr(), &mut bytes, null_mut(), null_mut(), null_mut()));
        assert_eq!((bytes, &data), (4, b"1234"));
    });
}
