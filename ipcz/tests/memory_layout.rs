//! Words of a fresh primary buffer, free lists word for word, size classes, growth and what buffers are accepted
//! (memory.md 2, 5, 6, 13).

use ipcz::ids::LinkSide::{A, B};
use ipcz::ids::{BufferId, FragmentDescriptor};
use ipcz::limits::Limits;
use ipcz::mapping::Mapping;
use ipcz::memory::{Block, BlockAllocator, LinkMemory, MemoryFault, NoBlock, Origin, PRIMARY_BYTES, initialise_primary};
use std::sync::atomic::Ordering::Relaxed;

fn fresh_primary() -> Mapping {
    let m = Mapping::zeroed(PRIMARY_BYTES);
    initialise_primary(&m);
    m
}

fn fresh_link() -> LinkMemory {
    LinkMemory::new(fresh_primary(), A, false).unwrap()
}

fn grown_buffer(class: u32) -> Mapping {
    let m = Mapping::zeroed(LinkMemory::region_bytes(class));
    LinkMemory::initialise_region(&m, class);
    m
}

fn primary(offset: u32, size: u32) -> FragmentDescriptor {
    FragmentDescriptor { buffer: BufferId::PRIMARY, offset, size }
}

#[test]
fn a_fresh_primary_buffer_has_eight_words() {
    let m = Mapping::zeroed(PRIMARY_BYTES + 64);
    m.write(0, &[0xaa; PRIMARY_BYTES + 64]);
    initialise_primary(&m);
    let words: Vec<(usize, u32)> =
        (0..PRIMARY_BYTES).step_by(4).map(|at| (at, m.load32(at, Relaxed))).filter(|&(_, word)| word != 0).collect();
    let expected = [
        (0, 0x0000_0001),
        (8, 0x0000_000c),
        (95_936, 0xfa34_0000),
        (98_048, 0xfff7_0000),
        (101_888, 0xfff8_0000),
        (105_472, 0xfffc_0000),
        (112_640, 0xfffc_0000),
        (126_976, 0xfffc_0000),
    ];
    assert_eq!(words, expected);
    assert_eq!(m.load32(PRIMARY_BYTES, Relaxed), 0xaaaa_aaaa, "what lies beyond the layout is left alone");
}

#[test]
fn a_short_primary_buffer_is_refused() {
    let short = Mapping::zeroed(PRIMARY_BYTES - 8);
    initialise_primary(&short);
    assert_eq!(LinkMemory::new(short, A, false).unwrap_err(), MemoryFault::PrimaryTooShort);
    let long = Mapping::zeroed(PRIMARY_BYTES + 8);
    initialise_primary(&long);
    assert!(LinkMemory::new(long, B, true).unwrap().allocate(64).is_ok());
}

#[test]
fn a_free_list_goes_through_the_measured_words() {
    let (m, blocks) = (Mapping::zeroed(320), BlockAllocator::new(0, 64, 5));
    let words = || [0, 64, 128, 192, 256].map(|at| m.load32(at, Relaxed));
    blocks.initialise(&m);
    assert_eq!(words(), [0, 0, 0, 0, 0xfffb_0000]);
    assert_eq!(blocks.allocate(&m), Some(64));
    assert_eq!(words(), [0x0001_0001, 0, 0, 0, 0xfffb_0000]);
    assert_eq!(blocks.allocate(&m), Some(128));
    assert_eq!(words(), [0x0002_0002, 0, 0, 0, 0xfffb_0000]);
    assert!(blocks.free(&m, 64, 64));
    assert_eq!(words(), [0x0000_0003, 0x0001_0000, 0, 0, 0xfffb_0000]);
    assert_eq!(blocks.allocate(&m), Some(64));
    assert_eq!(words(), [0x0002_0004, 0x0001_0000, 0, 0, 0xfffb_0000]);
    assert_eq!(blocks.taken(&m, &mut Vec::new()), 2);
    assert_eq!((blocks.allocate(&m), blocks.allocate(&m)), (Some(192), Some(256)));
    assert_eq!(words(), [0xffff_0006, 0x0001_0000, 0, 0, 0xfffb_0000]);
    assert_eq!(blocks.allocate(&m), None);
    assert_eq!(words(), [0xffff_0006, 0x0001_0000, 0, 0, 0xfffb_0000]);
    assert_eq!(blocks.taken(&m, &mut Vec::new()), 4);
    assert!(blocks.free(&m, 128, 64));
    assert_eq!(words(), [0x0001_0007, 0x0001_0000, 0xfffd_0000, 0, 0xfffb_0000]);
    assert!(blocks.free(&m, 256, 64));
    assert_eq!(words(), [0x0003_0008, 0x0001_0000, 0xfffd_0000, 0, 0xfffd_0000]);
    assert!(blocks.free(&m, 192, 64));
    assert_eq!(words(), [0x0002_0009, 0x0001_0000, 0xfffd_0000, 0, 0xfffd_0000]);
    assert!(blocks.free(&m, 64, 64));
    assert_eq!(words(), [0x0000_000a, 0x0001_0000, 0xfffd_0000, 0, 0xfffd_0000]);
    assert_eq!(blocks.taken(&m, &mut Vec::new()), 0);
}

#[test]
fn a_corrupt_free_list_gives_nothing_and_takes_nothing() {
    let (m, blocks) = (Mapping::zeroed(320), BlockAllocator::new(0, 64, 5));
    for next in [0x7fff, 0x8000, 4, 0xfffe_u32] {
        blocks.initialise(&m);
        assert_eq!(blocks.allocate(&m), Some(64));
        m.store32(0, next << 16 | 1, Relaxed);
        assert_eq!(blocks.allocate(&m), None, "front {next:#x}");
        assert!(!blocks.free(&m, 64, 64), "front {next:#x}");
        assert_eq!(m.load32(0, Relaxed), next << 16 | 1, "nothing is repaired");
    }
    for next in [0x7fff, 0x8000, 3, 0xfffd_u32] {
        blocks.initialise(&m);
        m.store32(64, next << 16, Relaxed);
        assert_eq!(blocks.allocate(&m), None, "block 1 {next:#x}");
        assert_eq!(m.load32(0, Relaxed), 0);
    }
}

#[test]
fn a_free_list_that_runs_in_a_circle_is_walked_once_and_has_nothing_free() {
    let (m, blocks) = (Mapping::zeroed(320), BlockAllocator::new(0, 64, 5));
    blocks.initialise(&m);
    m.store32(128, 0xfffe_0000, Relaxed);
    assert_eq!(blocks.taken(&m, &mut Vec::new()), 4);
    // What a block that is freed twice comes to.
    blocks.initialise(&m);
    assert_eq!(blocks.allocate(&m), Some(64));
    assert!(blocks.free(&m, 64, 64) && blocks.free(&m, 64, 64));
    assert_eq!(blocks.taken(&m, &mut Vec::new()), 4);
}

#[test]
fn first_blocks_of_a_fresh_link_are_the_measured_ones() {
    let link = fresh_link();
    let first = |bytes| link.allocate(bytes).map(|b| b.descriptor());
    assert_eq!([64, 1, 63].map(first), [1088, 1152, 1216].map(|at| Ok(primary(at, 64))));
    assert_eq!(first(65), Ok(primary(96_256, 256)));
    assert_eq!(first(257), Ok(primary(98_816, 512)));
    assert_eq!(first(513), Ok(primary(103_424, 1024)));
    assert_eq!(first(1025), Ok(primary(108_544, 2048)));
    assert_eq!(first(2049), Ok(primary(118_784, 4096)));
    assert_eq!(first(4097), Err(NoBlock::Grow { class: 8192 }));
    assert_eq!(first(1 << 20), Err(NoBlock::Grow { class: 1 << 20 }));
    assert_eq!([0, (1 << 20) + 1, usize::MAX].map(first), [Err(NoBlock::TooLarge); 3]);
    assert_eq!(link.blocks_taken(), 8);
}

#[test]
fn a_fresh_link_has_the_measured_number_of_blocks() {
    let link = fresh_link();
    for (bytes, blocks, wanted) in [(9, 1483, 64), (100, 8, 128), (512, 7, 512), (1024, 3, 1024), (2048, 3, 2048), (4096, 3, 4096)] {
        for _ in 0..blocks {
            link.allocate(bytes).unwrap();
        }
        assert_eq!(link.allocate(bytes).unwrap_err(), NoBlock::Grow { class: wanted }, "no other class is searched");
    }
    assert_eq!(link.blocks_taken(), 1483 + 8 + 7 + 3 + 3 + 3);
}

#[test]
fn an_exact_class_is_preferred_once_it_exists() {
    let mut link = fresh_link();
    link.add_buffer(BufferId(1), 128, grown_buffer(128), Origin::Theirs).unwrap();
    let d = link.allocate(65).unwrap().descriptor();
    assert_eq!(d, FragmentDescriptor { buffer: BufferId(1), offset: 128, size: 128 });
}

#[test]
fn freed_blocks_of_every_buffer_are_found_again() {
    let mut link = fresh_link();
    for id in 1..=3 {
        link.add_buffer(BufferId(id), 8192, grown_buffer(8192), Origin::Ours).unwrap();
    }
    let mut blocks: Vec<Block> = (0..21).map(|_| link.allocate(8192).unwrap()).collect();
    assert_eq!(link.allocate(8192).unwrap_err(), NoBlock::Grow { class: 8192 });
    for i in 0..21 {
        let freed = blocks.remove(0);
        let at = freed.descriptor();
        assert!(freed.free());
        let again = link.allocate(8192).unwrap();
        assert_eq!(again.descriptor(), at, "block {i}");
        blocks.push(again);
    }
}

#[test]
fn best_effort_takes_the_biggest_block_down_to_4096() {
    let mut link = fresh_link();
    let size = |link: &LinkMemory, bytes| link.allocate_best_effort(bytes).map(|b| b.descriptor().size);
    assert_eq!(size(&link, 2048), None);
    assert_eq!(size(&link, 2049), Some(4096));
    link.add_buffer(BufferId(1), 8192, grown_buffer(8192), Origin::Ours).unwrap();
    assert_eq!(size(&link, 30_000), Some(8192));
    assert_eq!(size(&link, 100 << 20), Some(8192));
    (0..5).for_each(|_| assert_eq!(size(&link, 8192), Some(8192)));
    assert_eq!(size(&link, usize::MAX), Some(4096));
    assert_eq!((size(&link, 1 << 20), size(&link, 1 << 20), size(&link, 0)), (Some(4096), None, None));
}

#[test]
fn growth_ends_where_upstream_ends() {
    let rows: [(u32, usize, u64, usize, u64); 15] = [
        (64, 65_536, 1023, 31, 2_124_544),
        (128, 65_536, 511, 33, 2_158_464),
        (256, 65_536, 255, 33, 2_156_288),
        (512, 65_536, 127, 33, 2_149_376),
        (1024, 65_536, 63, 33, 2_131_968),
        (2048, 65_536, 31, 33, 2_101_248),
        (4096, 65_536, 15, 34, 2_101_248),
        (8192, 65_536, 7, 37, 2_121_728),
        (16_384, 131_072, 7, 19, 2_179_072),
        (32_768, 262_144, 7, 10, 2_293_760),
        (65_536, 524_288, 7, 5, 2_293_760),
        (131_072, 1_048_576, 7, 3, 2_752_512),
        (262_144, 2_097_152, 7, 2, 3_670_016),
        (524_288, 4_194_304, 7, 1, 3_670_016),
        (1_048_576, 8_388_608, 7, 1, 7_340_032),
    ];
    for (class, region, blocks, buffers, capacity) in rows {
        let mut link = fresh_link();
        let before = link.capacity(class);
        assert_eq!(LinkMemory::region_bytes(class), region, "class {class}");
        while link.may_grow(class, &Limits::default()) {
            let id = link.draw_buffer_id().unwrap();
            link.add_buffer(id, class, grown_buffer(class), Origin::Ours).unwrap();
            assert_eq!(link.capacity(class), before + link.buffers_from(Origin::Ours) as u64 * blocks * u64::from(class));
        }
        assert_eq!((link.buffers() - 1, link.capacity(class)), (buffers, capacity), "class {class}");
        assert_eq!(link.buffer_bytes(), (PRIMARY_BYTES + buffers * region) as u64);
        assert_eq!(link.buffers_from(Origin::Theirs), 0);
    }
}

#[test]
fn growth_obeys_the_limits_of_the_node() {
    let link = fresh_link();
    let with = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        (link.may_grow(64, &limits), link.has_room(65_536, &limits))
    };
    assert_eq!(with(|_| ()), (true, true));
    assert_eq!(with(|l| l.grow_parcel_capacity = false), (false, true));
    assert_eq!(with(|l| l.parcel_capacity_bytes = 94_912), (false, true));
    assert_eq!(with(|l| l.parcel_capacity_bytes = 94_913), (true, true));
    assert_eq!(with(|l| l.link_buffers = 1), (false, false));
    assert_eq!(with(|l| l.link_buffers = 2), (true, true));
    assert_eq!(with(|l| l.link_memory_bytes = 131_072 + 65_535), (false, false));
    assert_eq!(with(|l| l.link_memory_bytes = 131_072 + 65_536), (true, true));
}

#[test]
fn buffers_of_bad_geometry_are_refused() {
    let mut link = fresh_link();
    let mut add = |id, block_size, bytes| link.add_buffer(BufferId(id), block_size, Mapping::zeroed(bytes), Origin::Theirs);
    for block_size in [0, 1, 8, 32, 63, 65, 72, 96, u32::MAX] {
        assert_eq!(add(1, block_size, 65_536), Err(MemoryFault::BlockSize), "{block_size}");
    }
    assert_eq!(add(1, 64, 504), Err(MemoryFault::BlockCount));
    assert_eq!(add(1, 64, 0), Err(MemoryFault::BlockCount));
    assert_eq!(add(1, 64, (2 << 20) + 64), Err(MemoryFault::BlockCount));
    assert_eq!(add(1, 64, 2 << 20), Err(MemoryFault::BlockCount));
    assert_eq!(add(1, 8192, 65_535), Ok(()), "rounded up by the mapping itself");
    assert_eq!(add(1, 64, 65_536), Err(MemoryFault::DuplicateBuffer));
    assert_eq!(add(0, 64, 65_536), Err(MemoryFault::DuplicateBuffer));
    assert_eq!(add(u64::MAX, 64, 65_536), Err(MemoryFault::InvalidBuffer));
    assert_eq!(add(2, 64, 512), Ok(()));
    assert_eq!(add(3, 64, (2 << 20) - 64), Ok(()));
    assert_eq!(add(4, 1 << 31, 65_536), Err(MemoryFault::BlockCount));
    assert_eq!((0..5).map(|id| link.has_buffer(BufferId(id))).collect::<Vec<_>>(), [true, true, true, true, false]);
    assert!(!link.has_buffer(BufferId::INVALID));
}

#[test]
fn offsets_a_descriptor_cannot_say_are_refused() {
    const GIB: usize = 1 << 30;
    assert!(BlockAllocator::over(4 * GIB, 1 << 20).is_ok());
    assert_eq!(BlockAllocator::over(4 * GIB + (1 << 20), 1 << 20), Err(MemoryFault::BlockCount));
    assert_eq!(BlockAllocator::over(usize::MAX, 1 << 31), Err(MemoryFault::BlockCount));
}

#[test]
fn a_region_is_initialised_to_its_last_whole_block() {
    let m = Mapping::zeroed(8 * 64 + 40);
    m.write(0, &[0xff; 8 * 64 + 40]);
    LinkMemory::initialise_region(&m, 64);
    let mut bytes = [0; 8 * 64 + 40];
    m.read(0, &mut bytes);
    let mut expected = [0; 8 * 64 + 40];
    expected[7 * 64..7 * 64 + 4].copy_from_slice(&[0, 0, 0xf8, 0xff]);
    expected[8 * 64..].fill(0xff);
    assert_eq!(bytes, expected);
}

#[test]
fn a_link_without_traffic_is_small() {
    assert!(size_of::<LinkMemory>() <= 160, "{}", size_of::<LinkMemory>());
    assert!(size_of::<Block>() <= 64, "{}", size_of::<Block>());
}
