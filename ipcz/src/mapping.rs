//! A mapped memory object as accessors that name offset, width and ordering (design.md 3b). Used only by `memory/`.
//!
//! Every word may change at any time by a hostile peer's hand, so a value is loaded once into a local and then used,
//! and no reference into the memory ever exists. Offsets are ours and already validated: one out of bounds or
//! misaligned is a bug here and panics.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Width of an atomic access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    /// Four bytes.
    W32,
    /// Eight bytes.
    W64,
}

impl Width {
    /// Bytes.
    pub fn bytes(self) -> usize {
        match self {
            Width::W32 => 4,
            Width::W64 => 8,
        }
    }
}

/// An atomic read-modify-write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rmw {
    /// Adds, wrapping; answers the value before.
    Add(u64),
    /// Stores `new` over `expected`; weak, so it may fail with the expected value.
    CompareExchange {
        /// What must be there.
        expected: u64,
        /// What will be there.
        new: u64,
    },
}

/// Memory that is not plain memory: a simulator's, a model checker's, an adversary's. Offsets are in bounds and aligned.
pub trait VirtualMemory: Any + Send + Sync {
    /// Bytes.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Atomic load, little-endian.
    fn load(&self, at: usize, width: Width, order: Ordering) -> u64;
    /// A load of a word that is looked at again and again, each time deciding anew, so that what a peer does to it between two looks harms
    /// nobody: a counter, the status of a link state (memory.md 10.3), the front of a free list (memory.md 5.3). Every other word is
    /// loaded once and then believed; who watches for second loads excuses these.
    fn poll(&self, at: usize, width: Width, order: Ordering) -> u64 {
        self.load(at, width, order)
    }
    /// Atomic store, little-endian.
    fn store(&self, at: usize, width: Width, value: u64, order: Ordering);
    /// Atomic read-modify-write; `Ok` holds the value before, `Err` the one that a compare-exchange met instead.
    fn update(&self, at: usize, width: Width, op: Rmw, order: Ordering) -> Result<u64, u64>;
    /// Copies bytes out, in no particular order.
    fn read(&self, at: usize, out: &mut [u8]);
    /// Copies bytes in, in no particular order.
    fn write(&self, at: usize, data: &[u8]);
    /// A sequentially consistent fence.
    fn fence(&self);
}

/// Memory of this machine, shared with whoever else maps it. Unmapped when the last owner goes.
pub struct NativeMapping {
    start: *mut u8,
    len: usize,
    _owner: Box<dyn Any + Send + Sync>,
}

// SAFETY: the memory is only touched through atomics of this type's methods, and the owner is Send + Sync.
#[allow(unsafe_code)]
unsafe impl Send for NativeMapping {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for NativeMapping {}

#[allow(unsafe_code)]
impl NativeMapping {
    /// Memory that `owner` keeps mapped.
    ///
    /// # Safety
    /// `start` must be 8-aligned and valid for reads and writes of `len` bytes for as long as `owner` lives, and be
    /// accessed by this process through nothing but atomics.
    pub unsafe fn new(start: *mut u8, len: usize, owner: Box<dyn Any + Send + Sync>) -> NativeMapping {
        assert!(start.addr().is_multiple_of(8), "a mapping starts at a multiple of 8");
        NativeMapping { start, len, _owner: owner }
    }

    /// A second view of `words`, for drivers whose nodes share one address space.
    pub fn heap(words: Arc<[AtomicU64]>) -> NativeMapping {
        let (start, len) = (words.as_ptr().cast::<u8>().cast_mut(), words.len() * 8);
        // SAFETY: the words are atomics, aligned to 8, and live as long as the Arc that becomes the owner.
        unsafe { NativeMapping::new(start, len, Box::new(words)) }
    }

    fn check(&self, at: usize, bytes: usize, align: usize) -> *mut u8 {
        assert!(at.is_multiple_of(align), "offset {at} is not a multiple of {align}");
        assert!(at.checked_add(bytes).is_some_and(|end| end <= self.len), "offset {at} + {bytes} exceeds {}", self.len);
        // SAFETY: at + bytes <= len, so the result lies inside the mapping or at its end.
        unsafe { self.start.add(at) }
    }

    fn word32(&self, at: usize) -> &AtomicU32 {
        // SAFETY: in bounds and aligned by check(), start being 8-aligned; only atomics touch the memory.
        unsafe { AtomicU32::from_ptr(self.check(at, 4, 4).cast()) }
    }

    fn word64(&self, at: usize) -> &AtomicU64 {
        // SAFETY: as in word32().
        unsafe { AtomicU64::from_ptr(self.check(at, 8, 8).cast()) }
    }

    /// `len` bytes from `at` as atomics of eight bytes where aligned, of one byte at the edges.
    fn each(&self, at: usize, len: usize, mut whole: impl FnMut(usize, &AtomicU64), mut edge: impl FnMut(usize, &AtomicU8)) {
        let start = self.check(at, len, 1);
        let mut i = 0;
        while i < len {
            // SAFETY: i < len, so the byte lies inside the range that check() approved.
            let here = unsafe { start.add(i) };
            if (at + i).is_multiple_of(8) && len - i >= 8 {
                // SAFETY: eight bytes of the approved range, aligned because start of the mapping is.
                whole(i, unsafe { AtomicU64::from_ptr(here.cast()) });
                i += 8;
            } else {
                // SAFETY: one byte of the approved range.
                edge(i, unsafe { AtomicU8::from_ptr(here) });
                i += 1;
            }
        }
    }
}

/// A mapped memory object: this machine's, or virtual. One predictable branch in production.
#[derive(Clone)]
pub enum Mapping {
    /// Plain memory.
    Native(Arc<NativeMapping>),
    /// Anything else.
    Virtual(Arc<dyn VirtualMemory>),
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.len())
    }
}

/// A failing compare-exchange may not publish anything.
fn failure(order: Ordering) -> Ordering {
    match order {
        Ordering::Acquire | Ordering::AcqRel => Ordering::Acquire,
        Ordering::SeqCst => Ordering::SeqCst,
        _ => Ordering::Relaxed,
    }
}

impl Mapping {
    /// Zero-filled memory of this process, `bytes` rounded up to 8.
    pub fn zeroed(bytes: usize) -> Mapping {
        let words: Arc<[AtomicU64]> = (0..bytes.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
        Mapping::Native(Arc::new(NativeMapping::heap(words)))
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        match self {
            Mapping::Native(m) => m.len,
            Mapping::Virtual(m) => m.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The address of byte `at`, for who hands it to foreign code; null if the memory is not this machine's.
    pub fn as_mut_ptr(&self, at: usize) -> *mut u8 {
        match self {
            Mapping::Native(m) => m.check(at, 0, 1),
            Mapping::Virtual(_) => std::ptr::null_mut(),
        }
    }

    /// Atomic load of 32 bits at `at`, a multiple of 4.
    pub fn load32(&self, at: usize, order: Ordering) -> u32 {
        match self {
            Mapping::Native(m) => u32::from_le(m.word32(at).load(order)),
            Mapping::Virtual(m) => m.load(at, Width::W32, order) as u32,
        }
    }

    /// [`load32`](Self::load32) of a word that is polled ([`VirtualMemory::poll`]).
    pub fn poll32(&self, at: usize, order: Ordering) -> u32 {
        match self {
            Mapping::Native(_) => self.load32(at, order),
            Mapping::Virtual(m) => m.poll(at, Width::W32, order) as u32,
        }
    }

    /// Atomic store of 32 bits at `at`, a multiple of 4.
    pub fn store32(&self, at: usize, value: u32, order: Ordering) {
        match self {
            Mapping::Native(m) => m.word32(at).store(value.to_le(), order),
            Mapping::Virtual(m) => m.store(at, Width::W32, value.into(), order),
        }
    }

    /// Weak compare-exchange of 32 bits; a failure holds the value met.
    pub fn exchange32(&self, at: usize, expected: u32, new: u32, order: Ordering) -> Result<u32, u32> {
        match self {
            Mapping::Native(m) => m
                .word32(at)
                .compare_exchange_weak(expected.to_le(), new.to_le(), order, failure(order))
                .map(u32::from_le)
                .map_err(u32::from_le),
            Mapping::Virtual(m) => {
                let op = Rmw::CompareExchange { expected: expected.into(), new: new.into() };
                m.update(at, Width::W32, op, order).map(|v| v as u32).map_err(|v| v as u32)
            }
        }
    }

    /// Adds to 32 bits, wrapping, and answers the value before.
    pub fn add32(&self, at: usize, by: i32, order: Ordering) -> i32 {
        match self {
            #[cfg(target_endian = "little")]
            Mapping::Native(m) => m.word32(at).fetch_add(by as u32, order) as i32,
            Mapping::Virtual(m) => match m.update(at, Width::W32, Rmw::Add((by as u32).into()), order) {
                Ok(v) | Err(v) => v as u32 as i32,
            },
        }
    }

    /// Atomic load of 64 bits at `at`, a multiple of 8.
    pub fn load64(&self, at: usize, order: Ordering) -> u64 {
        match self {
            Mapping::Native(m) => u64::from_le(m.word64(at).load(order)),
            Mapping::Virtual(m) => m.load(at, Width::W64, order),
        }
    }

    /// [`load64`](Self::load64) of a word that is polled ([`VirtualMemory::poll`]).
    pub fn poll64(&self, at: usize, order: Ordering) -> u64 {
        match self {
            Mapping::Native(_) => self.load64(at, order),
            Mapping::Virtual(m) => m.poll(at, Width::W64, order),
        }
    }

    /// Atomic store of 64 bits at `at`, a multiple of 8.
    pub fn store64(&self, at: usize, value: u64, order: Ordering) {
        match self {
            Mapping::Native(m) => m.word64(at).store(value.to_le(), order),
            Mapping::Virtual(m) => m.store(at, Width::W64, value, order),
        }
    }

    /// Weak compare-exchange of 64 bits; a failure holds the value met.
    pub fn exchange64(&self, at: usize, expected: u64, new: u64, order: Ordering) -> Result<u64, u64> {
        match self {
            Mapping::Native(m) => m
                .word64(at)
                .compare_exchange_weak(expected.to_le(), new.to_le(), order, failure(order))
                .map(u64::from_le)
                .map_err(u64::from_le),
            Mapping::Virtual(m) => m.update(at, Width::W64, Rmw::CompareExchange { expected, new }, order),
        }
    }

    /// Adds to 64 bits, wrapping, and answers the value before.
    pub fn add64(&self, at: usize, by: u64, order: Ordering) -> u64 {
        match self {
            #[cfg(target_endian = "little")]
            Mapping::Native(m) => m.word64(at).fetch_add(by, order),
            Mapping::Virtual(m) => match m.update(at, Width::W64, Rmw::Add(by), order) {
                Ok(v) | Err(v) => v,
            },
        }
    }

    /// Copies bytes out; each may be old or new where somebody writes meanwhile.
    pub fn read(&self, at: usize, out: &mut [u8]) {
        match self {
            Mapping::Native(m) => {
                let len = out.len();
                let out = std::cell::RefCell::new(out);
                m.each(
                    at,
                    len,
                    |i, word| out.borrow_mut()[i..i + 8].copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes()),
                    |i, byte| out.borrow_mut()[i] = byte.load(Ordering::Relaxed),
                );
            }
            Mapping::Virtual(m) => m.read(at, out),
        }
    }

    /// Copies bytes in.
    pub fn write(&self, at: usize, data: &[u8]) {
        match self {
            Mapping::Native(m) => m.each(
                at,
                data.len(),
                |i, word| word.store(u64::from_ne_bytes(std::array::from_fn(|k| data[i + k])), Ordering::Relaxed),
                |i, byte| byte.store(data[i], Ordering::Relaxed),
            ),
            Mapping::Virtual(m) => m.write(at, data),
        }
    }

    /// A sequentially consistent fence.
    pub fn fence(&self) {
        match self {
            Mapping::Native(_) => std::sync::atomic::fence(Ordering::SeqCst),
            Mapping::Virtual(m) => m.fence(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_words_are_the_same_memory() {
        let m = Mapping::zeroed(64);
        m.write(3, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]);
        let mut out = [0; 15];
        m.read(2, &mut out);
        assert_eq!(out, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0]);
        assert_eq!(m.load32(4, Ordering::Relaxed), 0x05040302);
        assert_eq!(m.load64(8, Ordering::Relaxed), 0x0d0c0b0a09080706);
        assert_eq!(m.add32(60, -1, Ordering::AcqRel), 0);
        assert_eq!(m.load32(60, Ordering::Acquire), u32::MAX);
    }

    #[test]
    #[should_panic(expected = "exceeds")]
    fn a_word_beyond_the_end_is_our_bug() {
        Mapping::zeroed(64).load32(64, Ordering::Relaxed);
    }

    #[test]
    #[should_panic(expected = "multiple")]
    fn a_misaligned_word_is_our_bug() {
        Mapping::zeroed(64).load64(4, Ordering::Relaxed);
    }
}
