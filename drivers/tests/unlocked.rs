//! What a driver is asked, it is asked by a thread that holds no lock of the process (nodes.md I16): a driver may wait there for whoever wants
//! one. So `deactivate` may wait until a handler on another thread is through (nodes.md F49).

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "threads and time are what it is about")]

use std::collections::BTreeSet;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use ipcz::driver::DriverError;
use ipcz::{BoxContents, ConnectTo, LiveObjects, Node, Process};
use ipcz_drivers::InProcess;
use ipcz_drivers::middleware::{Call, Entry, Watch, Watched};

/// In each call another thread asks the process something, and is waited for.
#[derive(Default)]
struct Curious {
    process: OnceLock<Arc<Process>>,
    asked: Mutex<BTreeSet<Entry>>,
    stuck: Mutex<BTreeSet<Entry>>,
}

impl Watch for Curious {
    fn before(&self, call: &Call<'_>) -> Result<(), DriverError> {
        let Some(process) = self.process.get() else { return Ok(()) };
        let process = Arc::clone(process);
        let (answered, answer) = channel();
        thread::spawn(move || answered.send(process.live_objects().is_ok()));
        match answer.recv_timeout(Duration::from_secs(10)) {
            Ok(_) => self.asked.lock().unwrap().insert(call.entry()),
            Err(_) => self.stuck.lock().unwrap().insert(call.entry()),
        };
        Ok(())
    }
}

#[test]
fn f49_whatever_a_driver_is_asked_others_may_ask_the_process_meanwhile() {
    let inner = InProcess::asynchronous();
    let [watch, other] = [(); 2].map(|()| Arc::new(Curious::default()));
    let driver = Watched::new(inner.clone(), Arc::clone(&watch));
    let broker = Node::broker(driver.clone()).unwrap();
    let client = Node::normal(Watched::new(inner.clone(), Arc::clone(&other))).unwrap();
    for (watch, node) in [(&watch, &broker), (&other, &client)] {
        assert!(watch.process.set(Arc::clone(node.process().0)).is_ok());
    }
    let [a, b] = inner.transport_pair();
    let near = broker.connect(a, 1, ConnectTo::Normal).unwrap().remove(0);
    let far = client.connect(b, 1, ConnectTo::Broker).unwrap().remove(0);
    let token = broker.box_object(BoxContents::Driver(inner.token(1))).unwrap();
    near.put_with(b"a box", vec![token.into()]).unwrap();
    // Beyond what the primary buffer has blocks for: memory grows.
    for _ in 0..40 {
        near.put([7; 16_000]).unwrap();
    }
    for _ in 0..41 {
        far.recv_timeout(Duration::from_secs(60)).unwrap();
    }
    drop((near, far, broker, client));
    // The I/O thread has told the last of it.
    for watch in [&watch, &other] {
        while watch.process.get().unwrap().live_objects() != Ok(LiveObjects::default()) {
            thread::yield_now();
        }
    }
    inner.join();
    for watch in [watch, other] {
        assert!(watch.stuck.lock().unwrap().is_empty(), "asked under a lock: {:?}", watch.stuck.lock().unwrap());
        let asked = watch.asked.lock().unwrap();
        for entry in [Entry::Activate, Entry::Transmit, Entry::Map, Entry::Deactivate] {
            assert!(asked.contains(&entry), "{entry:?} among {asked:?}");
        }
    }
}
