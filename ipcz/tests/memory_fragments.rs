//! Parcel data in blocks, descriptors and what may be freed (memory.md 6.2, 7, 9; hazards SM-01, SM-05, SM-16, SM-18, SM-20).

use ipcz::ids::LinkSide::{A, B};
use ipcz::ids::{BufferId, FragmentDescriptor};
use ipcz::mapping::Mapping;
use ipcz::memory::{Block, BlockAllocator, Fragment, LinkMemory, MemoryFault, Opened, Origin, PRIMARY_BYTES, initialise_primary};
use proptest::prelude::*;
use std::sync::atomic::Ordering::Relaxed;

const GROWN: u64 = 5;

/// Both ends of a link that grew by seven blocks of 8192 bytes, and its two buffers.
fn link() -> (Mapping, Mapping, LinkMemory, LinkMemory) {
    let (m, grown) = (Mapping::zeroed(PRIMARY_BYTES), Mapping::zeroed(65_536));
    initialise_primary(&m);
    LinkMemory::initialise_region(&grown, 8192);
    let end = |side, origin| {
        let mut link = LinkMemory::new(m.clone(), side, false).unwrap();
        link.add_buffer(BufferId(GROWN), 8192, grown.clone(), origin).unwrap();
        link
    };
    let (a, b) = (end(A, Origin::Ours), end(B, Origin::Theirs));
    (m, grown, a, b)
}

fn at(buffer: u64, offset: u32, size: u32) -> FragmentDescriptor {
    FragmentDescriptor { buffer: BufferId(buffer), offset, size }
}

fn open(link: &LinkMemory, d: FragmentDescriptor) -> Result<Block, MemoryFault> {
    match link.open_parcel(d)? {
        Opened::Block(block) => Ok(block),
        Opened::Pending => panic!("{d:?} is pending"),
    }
}

#[test]
fn both_ends_free_what_the_other_allocated() {
    let (.., a, b) = link();
    for (from, to) in [(&a, &b), (&b, &a)] {
        for bytes in [0, 1, 7, 8, 56, 57, 248, 504, 1016, 2040, 4088, 4089, 8184] {
            let data: Vec<u8> = (0..bytes).map(|i| (i * 7 + bytes) as u8).collect();
            let mut sent = from.allocate(bytes + 8).unwrap();
            assert!(sent.capacity() >= bytes && sent.is_empty());
            sent.fill(&data);
            assert_eq!(sent.len(), bytes);
            let received = open(to, sent.descriptor()).unwrap();
            assert_eq!((received.len(), received.descriptor()), (bytes, sent.descriptor()));
            let mut copy = vec![9];
            received.append_to(&mut copy);
            assert_eq!((copy[0], &copy[1..]), (9, &data[..]));
            assert!(received.free());
        }
    }
    assert_eq!((a.blocks_taken(), b.blocks_taken()), (0, 0));
}

#[test]
fn parcel_data_has_upstreams_header() {
    let (m, _, a, _) = link();
    m.write(1088, &[0xee; 64]);
    m.store32(1088, 0, Relaxed);
    a.allocate(64).unwrap().fill(b"abc");
    let mut bytes = [0; 12];
    m.read(1088, &mut bytes);
    assert_eq!(&bytes, b"\x03\0\0\0\0\0\0\0abc\xee");
}

#[test]
fn data_can_be_written_and_read_in_parts() {
    let (.., a, b) = link();
    let mut block = a.allocate(64).unwrap();
    block.write_at(4, b"efgh");
    block.write_at(0, b"abcd");
    block.seal(6);
    let received = open(&b, block.descriptor()).unwrap();
    let mut out = [0; 4];
    assert_eq!((received.read(&mut out), &out), (4, b"abcd"));
    assert_eq!((received.read_at(3, &mut out), &out), (3, b"defd"));
    assert_eq!((received.read_at(6, &mut out), received.read_at(usize::MAX, &mut out)), (0, 0));
}

#[test]
fn a_parcel_must_lie_in_its_fragment() {
    let (m, _, link, _) = link();
    m.store32(1088, 56, Relaxed);
    m.store32(1096, 0, Relaxed);
    assert_eq!(open(&link, at(0, 1088, 64)).unwrap().len(), 56);
    assert_eq!(open(&link, at(0, 1088, 63)).unwrap_err(), MemoryFault::DataSize);
    m.store32(1088, 57, Relaxed);
    assert_eq!(open(&link, at(0, 1088, 64)).unwrap_err(), MemoryFault::DataSize);
    m.store32(1088, u32::MAX, Relaxed);
    assert_eq!(open(&link, at(0, 1088, 64)).unwrap_err(), MemoryFault::DataSize);
    m.store32(1088, 0, Relaxed);
    for size in 0..=8 {
        assert_eq!(open(&link, at(0, 1088, size)).unwrap_err(), MemoryFault::TooSmall);
    }
    assert_eq!(open(&link, at(0, 1088, 9)).unwrap().len(), 0);
    for offset in [1084, 1089, 1090, 1092] {
        assert_eq!(open(&link, at(0, offset, 64)).unwrap_err(), MemoryFault::Misaligned);
    }
    assert_eq!(link.open_parcel(FragmentDescriptor::NULL).unwrap_err(), MemoryFault::Null);
    assert_eq!(open(&link, at(0, 131_016, 64)).unwrap_err(), MemoryFault::Null);
    assert!(matches!(link.open_parcel(at(6, 0, 0)), Ok(Opened::Pending)));
}

#[test]
fn descriptors_end_where_their_buffer_ends() {
    let (.., mut link, _) = link();
    let kind = |link: &LinkMemory, d| match link.resolve(d) {
        Fragment::Null => "null",
        Fragment::Pending => "pending",
        Fragment::Mapped(fragment) => {
            assert_eq!(fragment.descriptor(), d);
            "mapped"
        }
    };
    for (buffer, len) in [(0, 131_072), (GROWN, 65_536)] {
        assert_eq!(kind(&link, at(buffer, 0, len)), "mapped");
        assert_eq!(kind(&link, at(buffer, 0, len + 1)), "null");
        assert_eq!(kind(&link, at(buffer, len - 1, 1)), "mapped");
        assert_eq!(kind(&link, at(buffer, len - 1, 2)), "null");
        assert_eq!(kind(&link, at(buffer, len, 0)), "mapped");
        assert_eq!(kind(&link, at(buffer, len + 1, 0)), "null");
        assert_eq!(kind(&link, at(buffer, 0xffff_fff8, 16)), "null");
        assert_eq!(kind(&link, at(buffer, u32::MAX, u32::MAX)), "null");
    }
    assert_eq!(kind(&link, at(u64::MAX, 0, 64)), "null");
    assert_eq!(kind(&link, at(77, u32::MAX, u32::MAX)), "pending");
    link.add_buffer(BufferId(77), 64, Mapping::zeroed(512), Origin::Theirs).unwrap();
    assert_eq!(kind(&link, at(77, u32::MAX, u32::MAX)), "null");
    assert_eq!(kind(&link, at(77, 448, 64)), "mapped");
}

#[test]
fn only_an_exact_block_is_freed() {
    let (m, grown, a, b) = link();
    let held: Vec<Block> = [64, 64, 256, 512, 8192, 8192].map(|bytes| a.allocate(bytes).unwrap()).into();
    let taken = a.blocks_taken();
    let fronts = || [1024, 96_000, 98_304].map(|at| m.load32(at, Relaxed));
    let (before, grown_before) = (fronts(), grown.load32(0, Relaxed));
    let refused = [
        at(0, 1024, 64),
        at(0, 256, 64),
        at(0, 0, 64),
        at(0, 96_256, 64),
        at(0, 1096, 64),
        at(0, 1112, 32),
        at(0, 1088, 128),
        at(0, 98_304, 512),
        at(0, 98_816, 256),
        at(0, 98_824, 512),
        at(0, 102_400, 512),
        at(0, 126_976, 64),
        at(GROWN, 0, 8192),
        at(GROWN, 8200, 8192),
        at(GROWN, 8192, 4096),
        at(GROWN, 8192, 16_384),
        at(GROWN, 1088, 64),
    ];
    for d in refused {
        let header = if d.buffer == BufferId::PRIMARY { &m } else { &grown };
        let word = header.load32(d.offset as usize, Relaxed);
        header.store32(d.offset as usize, 0, Relaxed);
        let block = open(&b, d).unwrap();
        header.store32(d.offset as usize, word, Relaxed);
        assert!(!block.free(), "{d:?}");
        assert_eq!((fronts(), grown.load32(0, Relaxed)), (before, grown_before), "{d:?}");
    }
    assert_eq!(b.blocks_taken(), taken);
    for block in held {
        assert!(block.free());
    }
    assert_eq!(b.blocks_taken(), 0);
}

#[test]
fn a_block_outlives_its_link() {
    let (.., a, b) = link();
    let mut block = a.allocate(100).unwrap();
    block.fill(b"kept");
    drop((a, b));
    let mut out = [0; 4];
    assert_eq!((block.read(&mut out), &out), (4, b"kept"));
    assert!(block.free());
}

#[test]
fn remapping_moves_every_view_to_other_memory() {
    let (m, grown, mut a, _) = link();
    let mut block = a.allocate(5000).unwrap();
    block.fill(b"one");
    let mut state = a.new_link_state().unwrap();
    let copy = |from: &Mapping| {
        let mut bytes = vec![0; from.len()];
        from.read(0, &mut bytes);
        let to = Mapping::zeroed(bytes.len());
        to.write(0, &bytes);
        to
    };
    let (other_m, other_grown) = (copy(&m), copy(&grown));
    let mut swap = |mapping: &mut Mapping| *mapping = if mapping.len() == PRIMARY_BYTES { other_m.clone() } else { other_grown.clone() };
    a.remap(&mut swap);
    block.remap(&mut swap);
    state.remap(&mut swap);
    state.set_stable(A);
    assert!(block.free() && state.clone().release());
    assert_eq!(a.blocks_taken(), 0);
    assert_eq!((m.load32(1092, Relaxed), other_m.load32(1092, Relaxed)), (0, 1));
    assert_eq!(grown.load32(8192, Relaxed), 3, "the old memory is untouched");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// SM-16: every block of a region can be filled to its last byte without harm to neighbours, anchor or what follows.
    #[test]
    fn blocks_do_not_touch_each_other(shift in 6u32..12, count in 2i16..40, before in 0u32..9, after in 0usize..9) {
        let (start, size) = (before * 8, 1u32 << shift);
        let end = start as usize + count as usize * size as usize;
        let m = Mapping::zeroed(end + after * 8);
        m.write(0, &vec![0xa5; m.len()]);
        let blocks = BlockAllocator::new(start, size, count);
        blocks.initialise(&m);
        let mut owners = vec![0u8; m.len()];
        owners[..start as usize].fill(0xa5);
        owners[end..].fill(0xa5);
        for number in 1..count {
            let at = blocks.allocate(&m).unwrap() as usize;
            prop_assert!(at >= start as usize + size as usize && at + size as usize <= end);
            prop_assert!(owners[at..at + size as usize].iter().all(|&o| o == 0), "block at {} given out twice", at);
            owners[at..at + size as usize].fill(number as u8);
            m.write(at, &vec![number as u8; size as usize]);
        }
        prop_assert_eq!(blocks.allocate(&m), None);
        let mut bytes = vec![0; m.len()];
        m.read(0, &mut bytes);
        let anchor = start as usize..start as usize + 4;
        bytes[anchor].fill(0);
        prop_assert_eq!(bytes, owners);
    }

    /// Any order of taking and giving back leaves every block free, at either end.
    #[test]
    fn any_order_of_frees_returns_everything(steps in proptest::collection::vec((1usize..8192, any::<prop::sample::Index>(), any::<bool>()), 1..200)) {
        let (.., a, b) = link();
        let mut held: Vec<(Block, Vec<u8>)> = Vec::new();
        for (bytes, pick, give) in steps {
            if give && !held.is_empty() {
                let (block, data) = held.swap_remove(pick.index(held.len()));
                let received = open(&b, block.descriptor()).unwrap();
                let mut copy = Vec::new();
                received.append_to(&mut copy);
                prop_assert_eq!(copy, data);
                prop_assert!(received.free());
            } else if let Ok(mut block) = a.allocate(bytes.max(9)) {
                let data: Vec<u8> = (0..block.capacity()).map(|i| (i ^ bytes) as u8).collect();
                block.fill(&data);
                held.push((block, data));
            }
            prop_assert_eq!(a.blocks_taken(), held.len() as u64);
        }
        for (block, _) in held {
            prop_assert!(block.free());
        }
        prop_assert_eq!(a.blocks_taken(), 0);
    }
}
