//! Memory whose other user is an enemy (memory.md 11; hazards SM-01, SM-05, SM-08 to SM-11, SM-20): no panic, no access out of
//! bounds, a bounded number of steps, nothing read twice that decides anything.

use ipcz::ids::LinkSide::{A, B};
use ipcz::ids::{BufferId, FragmentDescriptor, NodeName, SublinkId};
use ipcz::mapping::{Mapping, Rmw, VirtualMemory, Width};
use ipcz::memory::{
    Adopted, BlockAllocator, LinkMemory, LinkState, MAX_TRIES, MemoryFault, Opened, Origin, PRIMARY_BYTES, initialise_primary,
};
use std::sync::atomic::Ordering::{self, Relaxed};
use std::sync::{Arc, Mutex};

/// What an enemy answers to a load and to an update of the word that it is asked for.
type Answers = Box<dyn FnMut(Width) -> u64 + Send>;

/// Memory that counts and checks accesses, and answers what its enemy likes.
struct Hostile {
    bytes: usize,
    answers: Mutex<Answers>,
    /// Whether a compare-exchange may succeed now and then.
    yields: bool,
    steps: Mutex<u64>,
}

impl Hostile {
    fn new(bytes: usize, yields: bool, answers: Answers) -> Arc<Hostile> {
        Arc::new(Hostile { bytes, answers: Mutex::new(answers), yields, steps: Mutex::new(0) })
    }

    fn step(&self, at: usize, bytes: usize) {
        assert!(at.checked_add(bytes).is_some_and(|end| end <= self.bytes), "{bytes} bytes at {at} are out of bounds");
        *self.steps.lock().unwrap() += 1;
    }

    fn word(&self, at: usize, width: Width) -> u64 {
        assert!(at.is_multiple_of(width.bytes()), "{at} is misaligned");
        self.step(at, width.bytes());
        let answer = (self.answers.lock().unwrap())(width);
        if width == Width::W32 { answer & 0xffff_ffff } else { answer }
    }

    /// Steps taken since last asked.
    fn steps(&self) -> u64 {
        std::mem::take(&mut self.steps.lock().unwrap())
    }
}

impl VirtualMemory for Hostile {
    fn len(&self) -> usize {
        self.bytes
    }

    fn load(&self, at: usize, width: Width, _: Ordering) -> u64 {
        self.word(at, width)
    }

    fn store(&self, at: usize, width: Width, _: u64, _: Ordering) {
        self.word(at, width);
    }

    fn update(&self, at: usize, width: Width, op: Rmw, _: Ordering) -> Result<u64, u64> {
        let answer = self.word(at, width);
        match op {
            Rmw::Add(_) => Ok(answer),
            Rmw::CompareExchange { expected, .. } if self.yields && answer.is_multiple_of(3) => Ok(expected),
            Rmw::CompareExchange { .. } => Err(answer),
        }
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        self.step(at, out.len());
        out.fill((self.answers.lock().unwrap())(Width::W32) as u8);
    }

    fn write(&self, at: usize, data: &[u8]) {
        self.step(at, data.len());
    }

    fn fence(&self) {}
}

/// Any value, most often one that is at the edge of something.
fn edges(mut seed: u64) -> Answers {
    Box::new(move |_| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        let pick = (seed >> 20) as usize;
        let edges = [
            0,
            1,
            u64::MAX,
            u64::MAX - 1,
            0x7fff_0000,
            0x8000_0000,
            0xffff_0000,
            0xfffe_0000,
            0x8000_0000_8000_0000,
            11,
            12,
            3,
            0x37,
            64,
            56,
            57,
        ];
        match pick % 4 {
            0 => seed,
            1 => (pick as u64 / 4 % 1500) << 16,
            _ => edges[pick / 4 % edges.len()],
        }
    })
}

fn descriptors() -> impl Iterator<Item = FragmentDescriptor> {
    let offsets = [0, 4, 8, 256, 960, 1024, 1088, 1092, 8192, 57_344, 96_256, 131_008, 131_064, 131_072, 0xffff_fff8, u32::MAX];
    let sizes = [0, 1, 8, 9, 16, 63, 64, 256, 4096, 8192, u32::MAX];
    let of = move |buffer| offsets.into_iter().flat_map(move |offset| sizes.map(|size| FragmentDescriptor { buffer, offset, size }));
    [BufferId(0), BufferId(1), BufferId(2), BufferId::INVALID].into_iter().flat_map(of)
}

fn use_state(state: &LinkState) {
    for side in [A, B] {
        state.set_stable(side);
        if state.try_lock(side).is_ok() {
            state.allow_source(NodeName { high: 1, low: 2 });
        }
        state.allowed_source();
        state.is_locked_by(side);
        state.take_waiting(side);
        state.unlock(side);
    }
}

/// Steps within which every operation on two buffers must end: all retries of the two allocators of one class, then some.
const STEP_LIMIT: u64 = 3 * 2 * MAX_TRIES as u64 + 16;

fn attack(yields: bool, answers: impl Fn(u64) -> Answers) {
    for seed in 1..40 {
        for mem_v2 in [false, true] {
            let memory = Hostile::new(PRIMARY_BYTES, yields, answers(seed));
            let grown = Hostile::new(65_536, yields, answers(seed + 1000));
            let mut link = LinkMemory::new(Mapping::Virtual(memory.clone()), A, mem_v2).unwrap();
            link.add_buffer(BufferId(1), 8192, Mapping::Virtual(grown.clone()), Origin::Theirs).unwrap();
            let bounded = |what: &str| {
                let steps = memory.steps() + grown.steps();
                assert!(steps <= STEP_LIMIT, "{what} took {steps} steps");
            };
            for bytes in [1, 65, 257, 513, 1025, 2049, 4097, 8193] {
                if let Ok(mut block) = link.allocate(bytes) {
                    bounded("allocate");
                    block.fill(&vec![1; block.capacity()]);
                    block.append_to(&mut Vec::new());
                    bounded("fill and read");
                    block.free();
                }
                bounded("allocate or free");
            }
            for d in descriptors() {
                if let Ok(Opened::Block(block)) = link.open_parcel(d) {
                    let mut data = Vec::new();
                    block.append_to(&mut data);
                    assert_eq!(data.len(), block.len());
                    block.free();
                }
                bounded("a parcel");
                if let Ok(Adopted::State(state)) = link.adopt_link_state(d) {
                    use_state(&state);
                    memory.steps();
                    grown.steps();
                    state.share();
                    state.release();
                }
                bounded("a link state");
            }
            if let Some(state) = link.new_link_state() {
                bounded("a new link state");
                state.set_stable(A);
                bounded("set_stable");
                let _ = state.try_lock(A);
                bounded("try_lock");
            }
            link.raise_sublink_base(1 << 32);
            bounded("raise");
            if let Some(first) = link.draw_sublinks(2, |id| id.0 == 64) {
                assert!(first.0 >= 12 && first.0 != 64 && first.0 != 63 && first.0 < u64::MAX - 1);
            }
            if let Some(id) = link.draw_buffer_id() {
                assert!(!link.has_buffer(id) && id != BufferId::INVALID);
            }
            bounded("ids");
            memory.steps();
            assert!(link.blocks_taken() <= 1483 + 8 + 7 + 3 * 3 + 7);
            // One more look for each of the seven lists: whether it ends.
            assert!(memory.steps() + grown.steps() <= 1483 + 8 + 7 + 3 * 3 + 7 + 7);
        }
    }
}

#[test]
fn an_enemy_that_answers_anything_gets_nowhere() {
    attack(true, edges);
}

#[test]
fn an_enemy_that_lets_no_exchange_succeed_gets_nowhere() {
    attack(false, edges);
}

#[test]
fn an_enemy_with_a_list_that_always_looks_sound_gets_nowhere() {
    // Every header says "the next block", every exchange fails with another version of that.
    attack(false, |_| {
        let mut version = 0;
        Box::new(move |_| {
            version = (version + 1) % 0xffff;
            version
        })
    });
}

#[test]
fn retries_end() {
    let mut version = 0;
    let memory = Hostile::new(
        320,
        false,
        Box::new(move |_| {
            version = (version + 1) % 0xffff;
            version
        }),
    );
    let (m, blocks) = (Mapping::Virtual(memory.clone()), BlockAllocator::new(0, 64, 5));
    assert_eq!(blocks.allocate(&m), None);
    assert_eq!(memory.steps(), 1 + 2 * u64::from(MAX_TRIES));
    assert!(!blocks.free(&m, 64, 64));
    assert_eq!(memory.steps(), 1 + 2 * u64::from(MAX_TRIES));
}

/// Memory that is honest but notes what is loaded.
struct Recorder {
    inner: Mapping,
    loads: Mutex<Vec<(usize, usize)>>,
    /// Bytes that change by themselves after every load.
    flips: usize,
}

impl VirtualMemory for Recorder {
    fn len(&self) -> usize {
        self.inner.len()
    }

    fn load(&self, at: usize, width: Width, order: Ordering) -> u64 {
        self.loads.lock().unwrap().push((at, width.bytes()));
        let value = match width {
            Width::W32 => self.inner.load32(at, order).into(),
            Width::W64 => self.inner.load64(at, order),
        };
        if at == self.flips {
            self.inner.store32(at, !value as u32, Relaxed);
        }
        value
    }

    fn store(&self, at: usize, _: Width, value: u64, order: Ordering) {
        self.inner.store32(at, value as u32, order);
    }

    fn update(&self, at: usize, _: Width, op: Rmw, order: Ordering) -> Result<u64, u64> {
        match op {
            Rmw::Add(by) => Ok(self.inner.add32(at, by as i32, order) as u32 as u64),
            Rmw::CompareExchange { expected, new } => {
                self.inner.exchange32(at, expected as u32, new as u32, order).map(u64::from).map_err(u64::from)
            }
        }
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        self.loads.lock().unwrap().push((at, out.len()));
        self.inner.read(at, out);
    }

    fn write(&self, at: usize, data: &[u8]) {
        self.inner.write(at, data);
    }

    fn fence(&self) {}
}

fn recorded(flips: usize) -> (Arc<Recorder>, LinkMemory) {
    let inner = Mapping::zeroed(PRIMARY_BYTES);
    initialise_primary(&inner);
    let recorder = Arc::new(Recorder { inner, loads: Mutex::default(), flips });
    let link = LinkMemory::new(Mapping::Virtual(recorder.clone()), B, false).unwrap();
    (recorder, link)
}

#[test]
fn the_size_of_a_parcel_is_read_once() {
    let (memory, link) = recorded(1088);
    memory.inner.store32(1088, 5, Relaxed);
    memory.inner.write(1096, b"hello");
    let d = FragmentDescriptor { buffer: BufferId::PRIMARY, offset: 1088, size: 64 };
    let Ok(Opened::Block(block)) = link.open_parcel(d) else { panic!("a sound parcel") };
    let mut data = Vec::new();
    block.append_to(&mut data);
    assert_eq!((block.len(), &data[..]), (5, &b"hello"[..]));
    assert_eq!(*memory.loads.lock().unwrap(), [(1088, 4), (1096, 5)], "the size once, then the data once");
    assert_eq!(link.open_parcel(d).unwrap_err(), MemoryFault::DataSize, "by now the size is another");
}

#[test]
fn taking_and_returning_a_block_reads_each_word_once() {
    let (memory, link) = recorded(usize::MAX);
    let block = link.allocate(64).unwrap();
    assert_eq!(std::mem::take(&mut *memory.loads.lock().unwrap()), [(1024, 4), (1088, 4)]);
    assert!(block.free());
    assert_eq!(std::mem::take(&mut *memory.loads.lock().unwrap()), [(1024, 4)]);
    let state = link.new_link_state().unwrap();
    memory.loads.lock().unwrap().clear();
    assert!(state.try_lock(A).is_err());
    assert_eq!(*memory.loads.lock().unwrap(), [(1092, 4)]);
}

fn honest(mem_v2: bool) -> (Mapping, LinkMemory, LinkMemory) {
    let m = Mapping::zeroed(PRIMARY_BYTES);
    initialise_primary(&m);
    let end = |side| LinkMemory::new(m.clone(), side, mem_v2).unwrap();
    (m.clone(), end(A), end(B))
}

const SIDE_B: u64 = 1 << 63;

#[test]
fn shared_counters_serve_both_ends() {
    let (m, mut a, mut b) = honest(false);
    let free = |_| false;
    assert_eq!(
        (a.draw_sublinks(1, free), b.draw_sublinks(2, free), a.draw_sublinks(1, free)),
        (Some(SublinkId(12)), Some(SublinkId(13)), Some(SublinkId(15)))
    );
    assert_eq!((a.draw_buffer_id(), b.draw_buffer_id()), (Some(BufferId(1)), Some(BufferId(2))));
    assert_eq!((m.load64(0, Relaxed), m.load64(8, Relaxed)), (3, 16));
    a.raise_sublink_base(1 << 32);
    b.raise_sublink_base(100);
    assert_eq!(b.draw_sublinks(1, free), Some(SublinkId(1 << 32)));
}

#[test]
fn private_counters_leave_the_shared_words_alone() {
    let (m, mut a, mut b) = honest(true);
    let free = |_| false;
    assert_eq!((a.draw_sublinks(2, free), a.draw_sublinks(1, free)), (Some(SublinkId(12)), Some(SublinkId(14))));
    assert_eq!((b.draw_sublinks(1, free), b.draw_sublinks(1, free)), (Some(SublinkId(SIDE_B | 12)), Some(SublinkId(SIDE_B | 13))));
    assert_eq!(
        (a.draw_buffer_id(), b.draw_buffer_id(), b.draw_buffer_id()),
        (Some(BufferId(1)), Some(BufferId(SIDE_B | 1)), Some(BufferId(SIDE_B | 2)))
    );
    b.raise_sublink_base(1 << 32);
    b.raise_sublink_base(50);
    assert_eq!(b.draw_sublinks(1, free), Some(SublinkId(SIDE_B | 1 << 32)));
    assert_eq!((m.load64(0, Relaxed), m.load64(8, Relaxed)), (1, 12));
    a.raise_sublink_base(SIDE_B - 2);
    assert_eq!((a.draw_sublinks(2, free), a.draw_sublinks(1, free)), (Some(SublinkId(SIDE_B - 2)), None));
}

#[test]
fn a_spoilt_counter_gives_no_id_that_is_taken() {
    let (m, mut a, _) = honest(false);
    m.store64(8, 20, Relaxed);
    assert_eq!(a.draw_sublinks(1, |id| id.0 < 24), Some(SublinkId(24)), "drawn again");
    m.store64(8, 20, Relaxed);
    assert_eq!(a.draw_sublinks(2, |id| id.0 == 21), Some(SublinkId(22)), "the second of two counts too");
    m.store64(8, 20, Relaxed);
    assert_eq!(a.draw_sublinks(1, |_| true), None);
    m.store64(8, 0, Relaxed);
    assert_eq!(a.draw_sublinks(1, |_| false), Some(SublinkId(12)), "reserved ids are not drawn");
    m.store64(8, u64::MAX, Relaxed);
    assert_eq!(a.draw_sublinks(2, |_| false), Some(SublinkId(13)), "no pair runs over the end");

    for id in [40, 41] {
        a.add_buffer(BufferId(id), 64, Mapping::zeroed(512), Origin::Theirs).unwrap();
    }
    m.store64(0, 40, Relaxed);
    assert_eq!(a.draw_buffer_id(), Some(BufferId(42)));
    m.store64(0, u64::MAX, Relaxed);
    assert_eq!(a.draw_buffer_id(), Some(BufferId(1)), "neither the invalid id nor the primary buffer's");
}

#[test]
fn a_shared_counter_that_never_moves_is_given_up() {
    let memory = Hostile::new(PRIMARY_BYTES, false, Box::new(|_| 5));
    let mut link = LinkMemory::new(Mapping::Virtual(memory.clone()), A, false).unwrap();
    link.add_buffer(BufferId(5), 64, Mapping::zeroed(512), Origin::Theirs).unwrap();
    assert_eq!((link.draw_sublinks(1, |_| false), link.draw_buffer_id()), (None, None));
    assert!(memory.steps() <= 64);
    link.raise_sublink_base(1000);
    assert!(memory.steps() <= u64::from(MAX_TRIES) + 1);
}
