//! Many processes that hand the ends of many pipes to each other while some of them are killed: does every route converge with everything
//! delivered once and in order, or, if it had to do with a victim, do both its ends learn of its closure?
//!
//! The broker coordinates and is never killed; the others are *workers*, which it starts again as new ones. Work goes in rounds. In each
//! the workers put, get and hand over at random while the coordinator kills; then they stop, and each end says how much it sent and reads
//! until the other has said so, or until the route is closed. What the ends then report is held against what the coordinator knows:
//! through whom each route went since the last round, and who was killed.
//!
//! What workers report goes over a socket each, not through ipcz, and a hand-over is reported before it is made; so a victim's are known.
//!
//! | file | holds |
//! | --- | --- |
//! | `coordinator` | the broker's process: starts, kills, commands |
//! | `truth` | what is known of the routes, and what must hold |
//! | `worker` | a process that is killed or not |
//! | `said` | what they say to each other |
#![allow(dead_code, reason = "a test and an example each use a part")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "real processes in real time")]

pub mod coordinator;
pub mod said;
pub mod truth;
pub mod worker;

use std::fs::{read_dir, read_link, read_to_string};

/// What this process has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Holdings {
    /// Open descriptors.
    pub descriptors: usize,
    /// Sockets among them.
    pub sockets: usize,
    /// Mappings of shared memory.
    pub mappings: usize,
    pub threads: usize,
}

impl Holdings {
    pub fn now() -> Holdings {
        let open: Vec<_> = read_dir("/proc/self/fd").expect("/proc").flatten().collect();
        let is_socket = |path| read_link(path).is_ok_and(|target| target.to_string_lossy().starts_with("socket:"));
        Holdings {
            // One is the directory being read.
            descriptors: open.len() - 1,
            sockets: open.iter().filter(|entry| is_socket(entry.path())).count(),
            mappings: read_to_string("/proc/self/maps").expect("/proc").lines().filter(|line| line.contains("memfd:")).count(),
            threads: read_dir("/proc/self/task").expect("/proc").count(),
        }
    }
}

/// Numbers that depend on nothing but the seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One of so many (splitmix64).
    pub fn below(&mut self, many: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % many as u64) as usize
    }
}
