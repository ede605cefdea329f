//! Depth L1: an activity is a coroutine that is suspended before each access to shared memory and at each turn of its process's clock,
//! says what it is about to do, and does it when it is resumed.
//!
//! This is the one file of the simulator with `unsafe`: code of the library, deep in an activity's stack, must find the way out of it
//! without being handed it.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::thread;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use ipcz::clock::Point;
use ipcz::mapping::Width;

/// Bytes of a stack. Only what is touched costs memory.
const STACK: usize = 1 << 20;

/// How memory is accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An atomic load.
    Load,
    /// A load of a word that is polled ([`VirtualMemory::poll`](ipcz::mapping::VirtualMemory::poll)).
    Poll,
    /// An atomic store.
    Store(u64),
    /// An add.
    Add(u64),
    /// A compare-exchange.
    Exchange {
        /// What must be there.
        expected: u64,
        /// What will be there.
        new: u64,
    },
    /// A copy out.
    Read,
    /// A copy in.
    Write,
    /// A fence.
    Fence,
}

impl Kind {
    /// Its number in the trace.
    pub fn number(self) -> u8 {
        match self {
            Kind::Load | Kind::Poll => 1,
            Kind::Store(_) => 2,
            Kind::Add(_) => 3,
            Kind::Exchange { .. } => 4,
            Kind::Read => 5,
            Kind::Write => 6,
            Kind::Fence => 7,
        }
    }
}

/// An access to memory that is about to happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    /// How.
    pub kind: Kind,
    /// The world's number of the memory.
    pub memory: u32,
    /// The first byte.
    pub at: usize,
    /// How many.
    pub bytes: usize,
}

impl Access {
    /// The width of the word, if it is about one.
    pub fn width(self) -> Width {
        if self.bytes == Width::W32.bytes() { Width::W32 } else { Width::W64 }
    }
}

/// Why an activity is suspended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// It is about to touch shared memory.
    Access(Access),
    /// It is at a turn of its process's clock.
    Turn(Point),
}

/// How an activity goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Go {
    /// With what it was about to do.
    On,
    /// The same, and it is to say where in the code it is ([`place`]).
    Tell,
    /// The same, but what it copies out has these bits flipped.
    Flipped(u64),
    /// It was done: this is what a load or an update answers.
    Done(Result<u64, u64>),
}

/// The way out of a coroutine's stack.
type Exit = Yielder<Go, Stop>;

thread_local! {
    /// The way out of the activity that runs on this thread; null if none does.
    static CURRENT: Cell<*const Exit> = const { Cell::new(ptr::null()) };
    /// Activities are being brought to their end: they are suspended at busy locks only.
    static ENDING: Cell<bool> = const { Cell::new(false) };
    /// Stacks that nobody uses.
    static POOL: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
    /// Where the code was that was told to say it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Whether an activity runs on this thread.
pub(crate) fn is_running() -> bool {
    !CURRENT.get().is_null()
}

/// Suspends the activity that runs on this thread. Outside of one it goes on at once.
#[inline]
pub(crate) fn stop(at: impl FnOnce() -> Stop) -> Go {
    let exit = CURRENT.get();
    if exit.is_null() {
        return Go::On;
    }
    leave(exit, at())
}

#[allow(unsafe_code)]
fn leave(exit: *const Exit, stop: Stop) -> Go {
    if ENDING.get() && stop != Stop::Turn(Point::LockBusy) || thread::panicking() {
        return Go::On;
    }
    // SAFETY: CURRENT is not null only while `Activity::resume` runs that very coroutine on this thread: resume sets it just before and
    // clears it as soon as control is back, and the coroutine's own first step sets it to its yielder, which lives in the coroutine's
    // lowest frame until its body has returned. So we are on that coroutine's stack, and the yielder is alive.
    let go = unsafe { (*exit).suspend(stop) };
    if go == Go::Tell {
        PLACE.set(Some(where_am_i()));
    }
    go
}

/// The place in the code that the activity resumed last was told to tell.
pub(crate) fn place() -> Option<String> {
    PLACE.take()
}

/// The innermost places of the library outside its accessors of memory.
fn where_am_i() -> String {
    let trace = std::backtrace::Backtrace::force_capture().to_string();
    let lines = trace.lines().map(str::trim);
    let mut places = Vec::new();
    for line in lines {
        let Some((_, name)) = line.split_once(": ") else { continue };
        if name.starts_with("ipcz::") && !name.starts_with("ipcz::mapping") {
            places.push(name.rsplit_once("::h").map_or(name, |(name, _)| name).to_owned());
        }
        if places.len() == 3 {
            break;
        }
    }
    places.join(" < ")
}

/// What a panic said.
pub type Panic = Box<dyn std::any::Any + Send>;

/// What came of resuming an activity.
pub enum Resumed<R> {
    /// It is suspended again.
    Stopped(Stop),
    /// It is over.
    Done(R),
    /// It panicked.
    Panicked(Panic),
}

/// An activity. It must be brought to its end ([`Activity::end`]) or be given up ([`Activity::leak`]); dropped in the middle it is leaked.
pub struct Activity<R: 'static> {
    coroutine: Option<Coroutine<Go, Stop, Result<R, Panic>>>,
    /// Its way out, once it runs.
    exit: *const Exit,
    /// It must stay on its thread.
    _here: PhantomData<*const ()>,
}

impl<R: 'static> Activity<R> {
    /// An activity that has yet to begin.
    pub fn new(body: impl FnOnce() -> R + 'static) -> Activity<R> {
        let stack = POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| DefaultStack::new(STACK).expect("address space for a stack"));
        let coroutine = Coroutine::with_stack(stack, move |exit: &Exit, _: Go| {
            CURRENT.set(exit);
            catch_unwind(AssertUnwindSafe(body))
        });
        Activity { coroutine: Some(coroutine), exit: ptr::null(), _here: PhantomData }
    }

    /// Lets it go on until it is suspended again or over. Not to be called when it is over.
    pub fn resume(&mut self, go: Go) -> Resumed<R> {
        let coroutine = self.coroutine.as_mut().expect("an activity that is not over");
        assert!(!is_running(), "an activity does not resume another one");
        CURRENT.set(self.exit);
        let result = coroutine.resume(go);
        self.exit = CURRENT.replace(ptr::null());
        match result {
            CoroutineResult::Yield(stop) => Resumed::Stopped(stop),
            CoroutineResult::Return(result) => {
                if let Some(coroutine) = self.coroutine.take() {
                    POOL.with_borrow_mut(|pool| pool.push(coroutine.into_stack()));
                }
                match result {
                    Ok(result) => Resumed::Done(result),
                    Err(panic) => Resumed::Panicked(panic),
                }
            }
        }
    }

    /// Runs it on towards its end, suspended at busy locks only; false while one is in its way. What it answers or panics with is dropped.
    pub fn end(&mut self) -> bool {
        ENDING.set(true);
        let over = self.coroutine.is_none() || !matches!(self.resume(Go::On), Resumed::Stopped(_));
        ENDING.set(false);
        over
    }

    /// Gives it up in the middle. Its stack and what is on it stay for ever: unwinding it would run the library's destructors in a state
    /// that no run of it can be in.
    pub fn leak(mut self) {
        std::mem::forget(self.coroutine.take());
    }
}

impl<R: 'static> Drop for Activity<R> {
    fn drop(&mut self) {
        std::mem::forget(self.coroutine.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(at: usize) -> Go {
        stop(|| Stop::Access(Access { kind: Kind::Load, memory: 0, at, bytes: 4 }))
    }

    fn at(resumed: Resumed<u64>) -> usize {
        match resumed {
            Resumed::Stopped(Stop::Access(access)) => access.at,
            Resumed::Stopped(stop) => panic!("{stop:?}"),
            Resumed::Done(_) | Resumed::Panicked(_) => usize::MAX,
        }
    }

    #[test]
    fn activities_take_turns_wherever_they_stand() {
        let body =
            |base: usize| move || (0..3).map(|i| matches!(touch(base + i), Go::Flipped(_)).into()).fold(0, |sum, b: u64| sum * 2 + b);
        let (mut a, mut b) = (Activity::new(body(10)), Activity::new(body(20)));
        assert_eq!((at(a.resume(Go::On)), at(b.resume(Go::On)), at(b.resume(Go::Flipped(1)))), (10, 20, 21));
        assert_eq!((at(a.resume(Go::On)), at(a.resume(Go::Flipped(1))), at(b.resume(Go::On))), (11, 12, 22));
        assert!(!is_running() && touch(0) == Go::On);
        assert!(matches!(a.resume(Go::On), Resumed::Done(2)) && matches!(b.resume(Go::On), Resumed::Done(4)));
    }

    #[test]
    fn a_panic_is_handed_out_and_the_others_go_on() {
        let mut bad = Activity::new(|| -> u64 {
            touch(1);
            panic!("on purpose")
        });
        let mut good = Activity::new(|| {
            touch(2);
            7
        });
        assert_eq!((at(bad.resume(Go::On)), at(good.resume(Go::On))), (1, 2));
        assert!(matches!(bad.resume(Go::On), Resumed::Panicked(_)));
        assert!(matches!(good.resume(Go::On), Resumed::Done(7)));
    }

    #[test]
    fn an_ending_activity_stops_at_busy_locks_only() {
        let mut activity = Activity::new(|| {
            touch(1);
            touch(2);
            stop(|| Stop::Turn(Point::LockBusy));
            touch(3);
        });
        assert!(matches!(activity.resume(Go::On), Resumed::Stopped(_)));
        assert!(!activity.end() && activity.end() && activity.end());
    }
}
