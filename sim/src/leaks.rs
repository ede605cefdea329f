//! Leaks of nondeterminism, planted: what a slip would let into a run, for seeing that `--verify` and `scripts/determinism` notice. They
//! exist with the feature `leaks` alone, and there only the one that is armed does anything. Without it the hooks are nothing.
//!
//! This is the one file of the simulator's deterministic part that may ask for what a run must not depend on.
#![cfg_attr(feature = "leaks", allow(clippy::disallowed_types, clippy::disallowed_methods))]

/// Who sees a leak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seen {
    /// Two runs in one process: `--verify`.
    Inside,
    /// Only two processes that differ in what it lets in: `scripts/determinism`.
    Between,
}

macro_rules! leaks {
    ($($variant:ident $name:literal $seen:ident $what:literal)*) => {
        /// A leak.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Leak {
            $(#[doc = $what] $variant,)*
        }

        impl Leak {
            /// All of them.
            pub const ALL: &[Leak] = &[$(Leak::$variant),*];

            /// Its name.
            pub fn name(self) -> &'static str {
                match self {
                    $(Leak::$variant => $name,)*
                }
            }

            /// Who sees it.
            pub fn seen(self) -> Seen {
                match self {
                    $(Leak::$variant => Seen::$seen,)*
                }
            }

            /// What it lets in, and where.
            pub fn what(self) -> &'static str {
                match self {
                    $(Leak::$variant => $what,)*
                }
            }
        }
    };
}

leaks! {
    HashOrder "hash-order" Inside "A node's portals are closed in the order of a hash map."
    WallClock "wall-clock" Inside "A link's latency has the wall clock in it."
    AllocationAddress "allocation-address" Inside "The address of an allocation takes part in the workload's pick of a portal."
    StackAddress "stack-address" Inside "The address of a local variable takes part in the choice of what a portal travels over."
    ThreadId "thread-id" Inside "The thread's id is in the names that nodes make."
    StaticCounter "static-counter" Inside "Messages are numbered over all runs of the process."
    OsEntropy "os-entropy" Inside "The length of a parcel is drawn from the operating system."
    ThreadRace "thread-race" Inside "Which of two threads is first moves a node's next operation."
    Leftovers "leftovers" Inside "A count is read from a buffer of the thread that the run before has used: a first run shows nothing."
    Environment "environment" Between "The size of the environment is mixed into the seed."
    ProcessId "process-id" Between "The process id delays an operation of the workload."
    CurrentDir "current-dir" Between "The length of the current folder's path is in a link's latency."
    CodeAddress "code-address" Between "The address of a function takes part in the choice of what a portal travels over."
    Processors "processors" Between "The number of processors is added to the pipes of the workload."
}

#[cfg(not(feature = "leaks"))]
mod hooks {
    use super::Leak;

    /// Nothing.
    #[inline(always)]
    pub fn slip(_: Leak) -> u64 {
        0
    }

    /// `values`.
    #[inline(always)]
    pub fn through_a_map<T>(values: Vec<T>) -> Vec<T> {
        values
    }

    /// # Errors
    /// There are none in this build.
    pub fn arm(name: &str) -> Result<(), String> {
        Err(format!(
            "this build has no leaks; from a checkout:\n  cargo run --release -p ipcz-sim --features leaks -- run SCENARIO --leak {name}"
        ))
    }
}

#[cfg(feature = "leaks")]
mod hooks {
    use std::cell::Cell;
    use std::collections::HashMap;
    use std::hash::{BuildHasher, RandomState};
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
    use std::sync::{Barrier, OnceLock};
    use std::time::SystemTime;
    use std::{env, process, thread};

    use super::Leak;

    /// The one that is armed in this process.
    static ARMED: OnceLock<Leak> = OnceLock::new();

    /// Arms a leak, once in a process.
    ///
    /// # Errors
    /// There is none of this name, or another one is armed.
    pub fn arm(name: &str) -> Result<(), String> {
        let leak = Leak::ALL.iter().find(|leak| leak.name() == name).ok_or_else(|| {
            let names: Vec<_> = Leak::ALL.iter().map(|leak| leak.name()).collect();
            format!("no leak is named \"{name}\"; expected one of {}", names.join(", "))
        })?;
        ARMED.set(*leak).map_err(|_| "a leak is armed already; a process can have one".to_owned())
    }

    /// 0, or what `leak` lets in if it is armed.
    pub fn slip(leak: Leak) -> u64 {
        if ARMED.get() == Some(&leak) { leaked(leak) } else { 0 }
    }

    /// `values`, in the order of a hash map if that is armed.
    pub fn through_a_map<T>(values: Vec<T>) -> Vec<T> {
        if ARMED.get() != Some(&Leak::HashOrder) {
            return values;
        }
        values.into_iter().enumerate().collect::<HashMap<_, _>>().into_values().collect()
    }

    fn leaked(leak: Leak) -> u64 {
        match leak {
            Leak::HashOrder => 0,
            Leak::WallClock => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos().into()) % 1000,
            Leak::AllocationAddress => (&raw const *Box::new([0_u8; 64])).addr() as u64 >> 4,
            Leak::StackAddress => {
                let local = 0_u8;
                Plain.hash_one((&raw const local).addr()) & 0xff
            }
            Leak::ThreadId => Plain.hash_one(thread::current().id()),
            Leak::StaticCounter => {
                static COUNT: AtomicU64 = AtomicU64::new(0);
                COUNT.fetch_add(1, Relaxed)
            }
            Leak::OsEntropy => RandomState::new().hash_one(0) % 8,
            Leak::ThreadRace => race(),
            Leak::Leftovers => {
                thread_local!(static BUFFER: Cell<u64> = const { Cell::new(0) });
                BUFFER.replace(BUFFER.get() + 1) >> 4 & 1
            }
            Leak::Environment => env::vars_os().map(|(key, value)| (key.len() + value.len()) as u64).sum(),
            Leak::ProcessId => u64::from(process::id()) % 1000,
            Leak::CurrentDir => env::current_dir().map_or(0, |folder| folder.as_os_str().len()) as u64,
            Leak::CodeAddress => (race as fn() -> u64 as usize as u64 >> 12) % 8191,
            Leak::Processors => thread::available_parallelism().map_or(0, |count| count.get()) as u64,
        }
    }

    /// Hashes without a key of its own.
    struct Plain;

    impl BuildHasher for Plain {
        type Hasher = xxhash_rust::xxh3::Xxh3;

        fn build_hasher(&self) -> Self::Hasher {
            xxhash_rust::xxh3::Xxh3::new()
        }
    }

    /// Which of two threads is first.
    fn race() -> u64 {
        let (first, start) = (AtomicUsize::new(0), Barrier::new(2));
        thread::scope(|scope| {
            for me in 1..=2 {
                let (first, start) = (&first, &start);
                scope.spawn(move || {
                    start.wait();
                    first.compare_exchange(0, me, Relaxed, Relaxed).is_ok()
                });
            }
        });
        first.into_inner() as u64
    }
}

pub use hooks::{arm, slip, through_a_map};
