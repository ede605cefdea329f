//! Every interleaving, and every older value the orderings allow, of a few threads on the words that two ends share: the
//! free list, the status of a link, the reference count. Preemptions are bounded; each test says how many executions it saw.

use ipcz::ids::LinkSide::{self, A, B};
use ipcz::mapping::{Mapping, Rmw, VirtualMemory, Width};
use ipcz::memory::{Adopted, BlockAllocator, LinkMemory, LinkState, PRIMARY_BYTES, initialise_primary, status};
use loom::sync::atomic::AtomicU32;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::{self, AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicUsize};

/// Memory of which some 32-bit words are explored and the rest is plain.
struct Explored {
    words: BTreeMap<usize, AtomicU32>,
    rest: Mapping,
}

impl Explored {
    fn over(rest: Mapping, words: &[usize]) -> Mapping {
        let words = words.iter().map(|&at| (at, AtomicU32::new(rest.load32(at, Relaxed)))).collect();
        Mapping::Virtual(Arc::new(Explored { words, rest }))
    }
}

impl VirtualMemory for Explored {
    fn len(&self) -> usize {
        self.rest.len()
    }

    fn load(&self, at: usize, width: Width, order: Ordering) -> u64 {
        match (self.words.get(&at), width) {
            (Some(word), Width::W32) => word.load(order).into(),
            (None, Width::W32) => self.rest.load32(at, order).into(),
            (_, Width::W64) => self.rest.load64(at, order),
        }
    }

    fn store(&self, at: usize, width: Width, value: u64, order: Ordering) {
        match (self.words.get(&at), width) {
            (Some(word), Width::W32) => word.store(value as u32, order),
            (None, Width::W32) => self.rest.store32(at, value as u32, order),
            (_, Width::W64) => self.rest.store64(at, value, order),
        }
    }

    fn update(&self, at: usize, width: Width, op: Rmw, order: Ordering) -> Result<u64, u64> {
        assert_eq!(width, Width::W32, "only 32-bit words are explored");
        let word = &self.words[&at];
        match op {
            Rmw::Add(by) => Ok(word.fetch_add(by as u32, order).into()),
            Rmw::CompareExchange { expected, new } => {
                let failure = if matches!(order, AcqRel | Acquire) { Acquire } else { Relaxed };
                word.compare_exchange_weak(expected as u32, new as u32, order, failure).map(u64::from).map_err(u64::from)
            }
        }
    }

    fn read(&self, at: usize, out: &mut [u8]) {
        self.rest.read(at, out);
        for (&word, value) in self.words.range(at..(at + out.len()).saturating_sub(3)) {
            out[word - at..word - at + 4].copy_from_slice(&value.load(Relaxed).to_le_bytes());
        }
    }

    fn write(&self, at: usize, data: &[u8]) {
        self.rest.write(at, data);
        for (&word, value) in self.words.range(at..at + data.len()) {
            value.store(self.rest.load32(word, Relaxed), Relaxed);
        }
    }

    fn fence(&self) {
        loom::sync::atomic::fence(SeqCst);
    }
}

fn explore(name: &str, preemptions: Option<usize>, run: impl Fn() + Send + Sync + 'static) {
    let seen = Arc::new(AtomicUsize::new(0));
    let mut model = loom::model::Builder::new();
    model.preemption_bound = preemptions;
    let count = seen.clone();
    model.check(move || {
        count.fetch_add(1, Relaxed);
        run();
    });
    println!("{name}: {} executions", seen.load(Relaxed));
    assert!(seen.load(Relaxed) > 10, "{name}: nothing was explored");
}

/// Five blocks of which four can be had; `version` is the free list's change counter at the start.
struct Blocks {
    m: Mapping,
    blocks: BlockAllocator,
    owned: [AtomicBool; 5],
}

impl Blocks {
    fn new(version: u16) -> Arc<Blocks> {
        let (plain, blocks) = (Mapping::zeroed(320), BlockAllocator::new(0, 64, 5));
        blocks.initialise(&plain);
        plain.store32(0, version.into(), Relaxed);
        Arc::new(Blocks { m: Explored::over(plain, &[0, 64, 128, 192, 256]), blocks, owned: Default::default() })
    }

    /// Takes a block, checks that it is nobody's, and writes into it as an owner does.
    fn take(&self) -> Option<u32> {
        let at = self.blocks.allocate(&self.m)?;
        assert!(!self.owned[at as usize / 64].swap(true, SeqCst), "block at {at} handed out twice");
        self.m.store32(at as usize, 0x0001_0000, Relaxed);
        Some(at)
    }

    fn give(&self, at: u32) {
        assert!(self.owned[at as usize / 64].swap(false, SeqCst));
        assert!(self.blocks.free(&self.m, at, 64), "an honest free was refused");
    }

    fn check_all_returned(&self) {
        assert_eq!(self.blocks.taken(&self.m, &mut Vec::new()), 0, "a block was lost");
    }
}

#[test]
fn three_threads_share_a_free_list() {
    explore("allocate and free", Some(2), || {
        let blocks = Blocks::new(0);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let blocks = blocks.clone();
                loom::thread::spawn(move || {
                    if let Some(at) = blocks.take() {
                        blocks.give(at);
                    }
                })
            })
            .collect();
        let mine = blocks.take();
        let more = blocks.take();
        mine.into_iter().for_each(|at| blocks.give(at));
        more.into_iter().for_each(|at| blocks.give(at));
        threads.into_iter().for_each(|t| t.join().unwrap());
        blocks.check_all_returned();
    });
}

#[test]
fn a_free_list_survives_the_wrap_of_its_version() {
    explore("version wrap", None, || {
        let blocks = Blocks::new(u16::MAX - 1);
        let other = blocks.clone();
        let thread = loom::thread::spawn(move || {
            if let Some(at) = other.take() {
                other.give(at);
            }
        });
        let first = blocks.take();
        let second = blocks.take();
        first.into_iter().for_each(|at| blocks.give(at));
        second.into_iter().for_each(|at| blocks.give(at));
        thread.join().unwrap();
        blocks.check_all_returned();
        assert!(blocks.m.load32(0, SeqCst) as u16 <= 4, "the version wrapped");
    });
}

/// The free list of 64-byte blocks, and the first two of them.
const STATE_WORDS: [usize; 5] = [1024, 1088, 1092, 1152, 1156];

/// Both ends' views of one explored link memory.
fn ends() -> [LinkMemory; 2] {
    let plain = Mapping::zeroed(PRIMARY_BYTES);
    initialise_primary(&plain);
    let m = Explored::over(plain, &STATE_WORDS);
    [A, B].map(|side| LinkMemory::new(m.clone(), side, false).unwrap())
}

/// One state, as both sides have it.
fn state() -> [LinkState; 2] {
    let [a, b] = ends();
    let mine = a.new_link_state().unwrap();
    let Adopted::State(theirs) = b.adopt_link_state(mine.share()).unwrap() else { panic!("the buffer is known") };
    [mine, theirs]
}

#[test]
fn both_sides_want_the_lock_and_exactly_one_gets_it() {
    explore("lock and stable", None, || {
        let [a, b] = state();
        let side = |state: LinkState, me: LinkSide| {
            move || {
                state.set_stable(me);
                let locked = state.try_lock(me).is_ok();
                assert!(!locked || state.status() & status::STABLE == status::STABLE, "locked an unstable link");
                (locked, !locked && state.take_waiting(me.opposite()))
            }
        };
        let peer = loom::thread::spawn(side(b.clone(), B));
        let (a_locked, a_tells) = side(a.clone(), A)();
        let (b_locked, b_tells) = peer.join().unwrap();
        assert!(a_locked != b_locked, "A locked: {a_locked}, B locked: {b_locked}");
        assert!(!a_tells && !b_tells, "told a side to try again although the link is locked");
        assert_eq!((a.is_locked_by(A), a.is_locked_by(B)), (a_locked, b_locked));
    });
}

#[test]
fn who_waits_for_the_other_side_is_told() {
    explore("waiting", None, || {
        let [a, b] = state();
        let peer = loom::thread::spawn(move || {
            b.set_stable(B);
            b.take_waiting(A)
        });
        a.set_stable(A);
        let locked = a.try_lock(A).is_ok();
        let told = peer.join().unwrap();
        assert!(locked != told, "locked: {locked}, told: {told}");
    });
}

#[test]
fn a_lock_given_up_can_be_taken_by_a_closing_side() {
    explore("lock, unlock, closure", None, || {
        let [a, b] = state();
        let inside = Arc::new(AtomicBool::new(false));
        let bypass = |state: LinkState, me: LinkSide, inside: Arc<AtomicBool>| {
            move || {
                state.set_stable(me);
                let locked = state.try_lock(me).is_ok();
                if locked {
                    assert!(!inside.swap(true, SeqCst), "both sides hold the lock");
                    inside.store(false, SeqCst);
                    state.unlock(me);
                }
                locked
            }
        };
        let other = loom::thread::spawn(bypass(b.clone(), B, inside.clone()));
        bypass(a.clone(), A, inside)();
        other.join().unwrap();
        assert_eq!(a.status() & (status::LOCKED | status::STABLE), status::STABLE);
        assert!(b.try_lock(B).is_ok(), "nobody holds the lock, so closure can propagate");
        assert!(a.try_lock(A).is_err());
    });
}

#[test]
fn the_last_of_two_owners_frees_the_state_once() {
    explore("release", None, || {
        let [a, b] = ends();
        let mine = a.new_link_state().unwrap();
        let Adopted::State(theirs) = b.adopt_link_state(mine.share()).unwrap() else { panic!("the buffer is known") };
        let peer = loom::thread::spawn(move || theirs.release());
        let third = b.clone();
        let newcomer = loom::thread::spawn(move || third.new_link_state().expect("there are 1483 blocks"));
        let freed_here = mine.release();
        let freed_there = peer.join().unwrap();
        assert!(freed_here != freed_there, "here: {freed_here}, there: {freed_there}");
        let newcomer = newcomer.join().unwrap();
        assert_eq!(b.blocks_taken(), 1);
        assert!(newcomer.release(), "a fresh state has one reference");
        assert_eq!(a.blocks_taken(), 0);
    });
}
