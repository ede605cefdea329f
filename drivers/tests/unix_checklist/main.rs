//! The checklist of driver.md 12, row by row, where `unix_transport` and the unit tests of the driver have no test: a test's name begins with
//! its row. docs/drivers.md says which test is for which row.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "threads and time are what it is about")]

#[path = "../ears/mod.rs"]
mod ears;

mod life;
mod objects;
mod scarcity;
mod stream;

use std::sync::{Arc, Mutex, MutexGuard};

use ears::{Ear, Hearing};
use ipcz::driver::{Driver, Listener};
use ipcz::ids::ObjectId;
use ipcz_drivers::{UnixDriver, UnixLimits};

/// Tests count descriptors, lower limits, and set signals: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A driver that does nothing unless polled.
fn unthreaded() -> Arc<UnixDriver> {
    UnixDriver::without_thread(UnixLimits::default()).unwrap()
}

/// Polls until nothing is left to do, within reason.
fn settle(driver: &UnixDriver) {
    let now = Some(std::time::Duration::ZERO);
    let turns = (0..10_000).find(|_| driver.poll(now) == Ok(0));
    assert!(turns.is_some(), "there is always something to do");
}

fn listen(driver: &Arc<UnixDriver>, transport: ObjectId) -> Hearing {
    let (heard, hearing) = std::sync::mpsc::channel();
    let ear = Ear { heard: Mutex::new(heard), driver: driver.clone(), transport };
    driver.activate(transport, Listener::new(Arc::new(ear), 0)).unwrap();
    Hearing(hearing)
}
