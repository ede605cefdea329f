//! Link states: transitions of the status word, references, bytes, adoption (memory.md 8, 10; hazards SM-02 to SM-04, SM-11).

use ipcz::ids::LinkSide::{self, A, B};
use ipcz::ids::{BufferId, FragmentDescriptor, NodeName};
use ipcz::mapping::Mapping;
use ipcz::memory::{Adopted, LinkMemory, LinkState, MemoryFault, Origin, PRIMARY_BYTES, initialise_primary, status};
use std::sync::atomic::Ordering::Relaxed;

fn ends() -> (Mapping, LinkMemory, LinkMemory) {
    let m = Mapping::zeroed(PRIMARY_BYTES);
    initialise_primary(&m);
    let end = |side| LinkMemory::new(m.clone(), side, false).unwrap();
    (m.clone(), end(A), end(B))
}

fn adopt(link: &LinkMemory, d: FragmentDescriptor) -> LinkState {
    match link.adopt_link_state(d) {
        Ok(Adopted::State(state)) => state,
        other => panic!("{other:?}"),
    }
}

fn bytes_of(m: &Mapping, state: &LinkState) -> [u8; 64] {
    let mut bytes = [0; 64];
    m.read(state.descriptor().offset as usize, &mut bytes);
    bytes
}

fn bits(side: LinkSide) -> (u32, u32, u32) {
    if side == A { (0x01, 0x04, 0x10) } else { (0x02, 0x08, 0x20) }
}

/// What memory.md 10.3 says each operation makes of `x`: word and answer.
fn expected(operation: usize, x: u32, me: LinkSide) -> (u32, bool) {
    let (stable, waiting, locked) = bits(me);
    let (other_stable, ..) = bits(me.opposite());
    let free = x & 0x30 == 0;
    match operation {
        0 => (x | stable, true),
        1 if free && x & stable != 0 && x & other_stable == 0 => (x | waiting, false),
        1 if free && x & 3 == 3 => (x | locked, true),
        2 => (x & !locked, true),
        3 if x & 3 == 3 && free && x & waiting != 0 => (x & !waiting, true),
        _ => (x, false),
    }
}

#[test]
fn every_operation_on_every_status_does_what_upstream_does() {
    let (m, link, _) = ends();
    let state = link.new_link_state().unwrap();
    let word = state.descriptor().offset as usize + 4;
    for x in (0..64).chain([0xffff_ffc3, 0x8000_0007]) {
        for me in [A, B] {
            let pure: [(u32, bool); 4] =
                [(status::set_stable(x, me), true), status::try_lock(x, me), (status::unlock(x, me), true), status::take_waiting(x, me)];
            for (operation, pure) in pure.into_iter().enumerate() {
                m.store32(word, x, Relaxed);
                let answer = match operation {
                    0 => {
                        state.set_stable(me);
                        true
                    }
                    1 => state.try_lock(me).is_ok(),
                    2 => {
                        state.unlock(me);
                        true
                    }
                    _ => state.take_waiting(me),
                };
                let shared = (m.load32(word, Relaxed), answer);
                assert_eq!(shared, expected(operation, x, me), "operation {operation} on {x:#x} by {me:?}, in memory");
                assert_eq!(pure, expected(operation, x, me), "operation {operation} on {x:#x} by {me:?}");
            }
            m.store32(word, x, Relaxed);
            assert_eq!(state.is_locked_by(me), x & bits(me).2 != 0);
            assert_eq!(state.status(), x);
        }
    }
}

#[test]
fn the_examples_hold() {
    assert_eq!(status::try_lock(0x03, A), (0x13, true));
    assert_eq!(status::try_lock(0x01, A), (0x05, false));
    assert_eq!(status::try_lock(0x07, B), (0x27, true));
    assert_eq!(status::take_waiting(0x07, A), (0x03, true));
    assert_eq!(status::take_waiting(0x17, A), (0x17, false));
    assert_eq!(status::unlock(0x23, B), 0x03);
    assert_eq!(status::take_waiting(0x0f, B), (0x07, true));
}

#[test]
fn a_state_has_upstreams_bytes() {
    let (m, link, _) = ends();
    m.write(1088 + 4, &[0xee; 60]);
    let state = link.new_link_state().unwrap();
    let mut fresh = [0; 64];
    fresh[0] = 1;
    assert_eq!(bytes_of(&m, &state), fresh);

    state.share();
    state.set_stable(A);
    state.set_stable(B);
    assert!(state.try_lock(B).is_ok());
    let source = NodeName { high: 0x1122_3344_5566_7788, low: 0x99aa_bbcc_ddee_ff00 };
    state.allow_source(source);
    let mut full = [0; 64];
    full[..8].copy_from_slice(&[2, 0, 0, 0, 0x23, 0, 0, 0]);
    full[8..24].copy_from_slice(&[0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0, 0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 0x99]);
    assert_eq!(bytes_of(&m, &state), full);
    assert_eq!(state.allowed_source(), source);
}

#[test]
fn the_last_reference_frees_whichever_end_has_it() {
    for creator_goes_first in [true, false] {
        let (_, mut a, mut b) = ends();
        let buffer = Mapping::zeroed(65_536);
        LinkMemory::initialise_region(&buffer, 64);
        a.add_buffer(BufferId(7), 64, buffer.clone(), Origin::Ours).unwrap();
        b.add_buffer(BufferId(7), 64, buffer, Origin::Theirs).unwrap();
        let states: Vec<LinkState> = (0..1483 + 1023).map(|_| a.new_link_state().unwrap()).collect();
        assert!(a.new_link_state().is_none());
        for mine in states {
            let theirs = adopt(&b, mine.share());
            assert_eq!(theirs.descriptor(), mine.descriptor());
            let (first, last) = if creator_goes_first { (mine, theirs) } else { (theirs, mine) };
            assert!(!first.release());
            assert!(last.release());
        }
        assert_eq!((a.blocks_taken(), b.blocks_taken()), (0, 0));
    }
}

#[test]
fn initial_states_are_counted_but_never_freed() {
    let (m, a, b) = ends();
    for portal in 0..12 {
        let state = a.initial_link_state(portal);
        let d = state.share();
        assert_eq!(d, FragmentDescriptor { buffer: BufferId::PRIMARY, offset: 256 + 64 * portal, size: 64 });
        assert!(!state.release());
        assert!(!a.initial_link_state(portal).release());
        assert!(!adopt(&b, d).release(), "even if a descriptor claims it");
        assert_eq!(m.load32(256 + 64 * portal as usize, Relaxed), -2_i32 as u32);
        assert_eq!(m.load32(1024, Relaxed), 0, "the free list is untouched");
    }
    a.initial_link_state(3).set_stable(A);
    assert_eq!(b.initial_link_state(3).status(), 0x01);
    assert_eq!(b.initial_link_state(4).status(), 0);
}

#[test]
fn any_count_is_survived() {
    let (m, link, _) = ends();
    for (count, freed) in [(i32::MIN, true), (-1, true), (0, true), (1, true), (2, false), (i32::MAX, false)] {
        let state = link.new_link_state().unwrap();
        let at = state.descriptor().offset as usize;
        m.store32(at, count as u32, Relaxed);
        assert_eq!(state.release(), freed, "count {count}");
    }
}

#[test]
fn only_a_sound_descriptor_is_adopted() {
    let (_, link, _) = ends();
    let adopt = |buffer, offset, size| link.adopt_link_state(FragmentDescriptor { buffer: BufferId(buffer), offset, size });
    let end = PRIMARY_BYTES as u32;
    assert_eq!(adopt(u64::MAX, 0, 0).unwrap_err(), MemoryFault::Null);
    assert_eq!(adopt(u64::MAX, 1088, 64).unwrap_err(), MemoryFault::Null);
    for size in [0, 1, 7, 63] {
        assert_eq!(adopt(0, 1088, size).unwrap_err(), MemoryFault::TooSmall, "{size}");
        assert_eq!(adopt(9, 1088, size).unwrap_err(), MemoryFault::TooSmall, "{size} in a buffer to come");
    }
    for offset in [1, 2, 4, 7, 1092] {
        assert_eq!(adopt(0, offset, 64).unwrap_err(), MemoryFault::Misaligned, "{offset}");
        assert_eq!(adopt(9, offset, 64).unwrap_err(), MemoryFault::Misaligned, "{offset} in a buffer to come");
    }
    assert_eq!(adopt(0, end - 56, 64).unwrap_err(), MemoryFault::Null);
    assert_eq!(adopt(0, 0xffff_fff8, 64).unwrap_err(), MemoryFault::Null);
    assert!(matches!(adopt(0, end - 64, 64), Ok(Adopted::State(_))));
    assert!(matches!(adopt(9, 0xffff_fff8, 64), Ok(Adopted::Pending)));
}

#[test]
fn a_reference_that_is_no_block_is_never_freed() {
    let (m, link, _) = ends();
    let forged = |offset, size| adopt(&link, FragmentDescriptor { buffer: BufferId::PRIMARY, offset, size }).release();
    let block = link.new_link_state().unwrap();
    // Counting down changes the words that the forged states would have: of blocks, of the head of another class's list.
    let words = [1024, 96_256].map(|at| (at, m.load32(at, Relaxed)));
    assert!(!forged(block.descriptor().offset + 8, 64), "middle of a block");
    assert!(!forged(96_256, 64), "another class's block");
    assert!(!forged(1088, 128), "no class at all");
    words.into_iter().for_each(|(at, word)| m.store32(at, word, Relaxed));
    assert_eq!(link.blocks_taken(), 1);
}
