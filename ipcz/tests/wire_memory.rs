//! How much memory reading and writing messages takes: none for plain parcels, and never more than the message's length warrants.
#![allow(unsafe_code, reason = "a global allocator that counts")]

mod wire_common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use ipcz::ids::{FragmentDescriptor, SublinkId};
use ipcz::wire::{AcceptParcel, Envelope, Message, PARCEL_HEADROOM, encode_parcel_in_place};
use wire_common::everything;

struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: hands every request to the system's allocator unchanged; the counter is a plain thread-local number without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above; `at` came from `System`.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATED.set(ALLOCATED.get() + size);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes that `work` allocates on this thread, freed or not.
fn allocated<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATED.get();
    let result = work();
    (ALLOCATED.get() - before, result)
}

fn read_all(bytes: &[u8], handles: usize) -> Option<Message<'_>> {
    let envelope = Envelope::parse(bytes, handles).ok()?;
    for object in envelope.objects() {
        std::hint::black_box(object);
    }
    envelope.message().ok()?
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocated(|| std::hint::black_box(vec![0u8; 1000])).0, 1000);
}

#[test]
fn reading_is_bounded_by_the_length() {
    for vector in everything() {
        let mut bytes = vector.bytes.clone();
        let check = |bytes: &[u8], handles| {
            let (used, _message) = allocated(|| read_all(bytes, handles));
            assert!(used <= 4 * bytes.len() + 4096, "{}: {used} bytes for {}", vector.name, bytes.len());
        };
        for handles in [0, 64, 1 << 20] {
            check(&bytes, handles);
        }
        for at in 0..bytes.len() {
            let old = bytes[at];
            for new in [0, 8, 0x18, 0x60, 0xff, old.wrapping_add(8)] {
                bytes[at] = new;
                check(&bytes, 1 << 20);
            }
            bytes[at] = old;
        }
    }
}

#[test]
fn arrays_that_share_their_bytes_stay_within_the_bound() {
    // All three arrays of a parcel, and the object table, are one and the same kilobyte of ones.
    let mut bytes = vec![1; 24 + 72 + 8 + 96 * 100];
    let room = (bytes.len() - 96) as u32;
    bytes[..96].fill(0);
    (bytes[0], bytes[2], bytes[24]) = (24, 20, 72);
    for field in [72, 76, 80] {
        bytes[field] = 96;
    }
    bytes[96..100].copy_from_slice(&room.to_le_bytes());
    bytes[100..104].copy_from_slice(&100u32.to_le_bytes());
    let (used, message) = allocated(|| read_all(&bytes, 0));
    let Some(Message::AcceptParcel(parcel)) = message else { panic!("rejected") };
    assert_eq!((parcel.parcel_data.len(), parcel.handle_types.len(), parcel.new_routers.len()), (100, 100, 100));
    assert!((1..=4 * bytes.len() + 4096).contains(&used), "{used}");
}

#[test]
fn plain_parcels_take_none() {
    let data = [7; 200];
    let parcel = Message::AcceptParcel(AcceptParcel {
        sublink: SublinkId(12),
        sequence_number: 3,
        subparcel_index: 0,
        num_subparcels: 1,
        parcel_fragment: FragmentDescriptor::NULL,
        parcel_data: &data,
        handle_types: Default::default(),
        new_routers: Default::default(),
        driver_objects: Default::default(),
    });
    let mut out = Vec::with_capacity(512);
    assert_eq!(allocated(|| parcel.encode(9, &[], &mut out).unwrap()).0, 0);
    let (used, got) = allocated(|| read_all(&out, 0));
    assert_eq!((used, got.as_ref()), (0, Some(&parcel)));

    let Message::AcceptParcel(parcel) = &parcel else { unreachable!() };
    let mut buf = Vec::with_capacity(512);
    buf.resize(PARCEL_HEADROOM, 0xee);
    buf.extend_from_slice(&data);
    assert_eq!(allocated(|| encode_parcel_in_place(&mut buf, parcel, 9).unwrap()).0, 0);
    assert_eq!(buf, out);
}
