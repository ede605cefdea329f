//! Drivers around the simulated ones: the run is the same, and what they see is what happened.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::sync::Arc;

use ipcz::driver::{Driver, DriverError};
use ipcz_drivers::middleware::{Count, Entry, Faults, Watched};
use ipcz_sim::run::{RunOptions, Verdict, run};
use ipcz_sim::scenario::Scenario;
use ipcz_sim::world::Wrap;

fn abc() -> Scenario {
    Scenario::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios/abc.toml"), &[]).unwrap()
}

fn wrapped(wrap: impl Fn(u32, Arc<dyn Driver>) -> Arc<dyn Driver> + Send + Sync + 'static) -> RunOptions {
    RunOptions { wrap: Some(Wrap(Arc::new(wrap))), ..RunOptions::default() }
}

#[test]
fn a_run_that_is_watched_is_the_same_and_every_message_is_counted() {
    let plain = run(&abc(), &RunOptions::default());
    let counts: Arc<[Arc<Count>; 3]> = Arc::default();
    let seen = Arc::clone(&counts);
    let watched = run(&abc(), &wrapped(move |process, driver| Watched::new(driver, Arc::clone(&seen[process as usize]))));
    assert_eq!((watched.verdict, watched.fingerprint), (Verdict::Held, plain.fingerprint));
    let sent: u64 = counts.iter().map(|count| count.sent().0).sum();
    assert_eq!(sent, plain.set_up.messages + plain.run.messages + plain.closing.messages);
}

#[test]
fn calls_can_be_made_to_fail_in_one_process() {
    let count = Arc::new(Count::default());
    let seen = Arc::clone(&count);
    let poor = run(
        &abc(),
        &wrapped(move |process, driver| {
            let faults = Arc::new(Faults::default());
            if process == 2 {
                faults.always(Entry::Map, DriverError::ResourceExhausted);
                return Watched::new(Watched::new(driver, faults), Arc::clone(&seen));
            }
            driver
        }),
    );
    assert!(matches!(poor.verdict, Verdict::Violated(_)), "nothing can be handed to whom nobody is connected with: {:?}", poor.verdict);
    assert_eq!((count.calls(Entry::Map), count.failures(Entry::Map)), (1, 1));
}
