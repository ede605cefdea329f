//! A driver may give the value of a handle to another object as soon as Close has returned, as those do whose handles are addresses.

use std::sync::{Arc, Mutex, OnceLock};

use ipcz::driver::DriverError;
use ipcz::ids::{Handle, NodeType, ObjectId};
use ipcz::trap::{TrapEvent, TrapTarget};
use ipcz::{ConnectTo, Error, NodeOptions, Process};
use ipcz_drivers::middleware::{Call, Watch, Watched};
use ipcz_drivers::{InProcess, MonotonicClock};

struct NoTraps;

impl TrapTarget for NoTraps {
    fn fired(&self, _: &TrapEvent) {}
}

/// Connects another node over a transport of that value while Close is about to return.
#[derive(Default)]
struct Again {
    node: OnceLock<(Arc<Process>, Handle)>,
    transport: OnceLock<ObjectId>,
    said: Mutex<Vec<Result<Vec<Handle>, Error>>>,
}

impl Watch for Again {
    fn after(&self, call: &Call<'_>, _: Result<(), DriverError>) {
        if let (Call::Close { object }, Some((process, node))) = (call, self.node.get())
            && Some(object) == self.transport.get()
        {
            self.said.lock().unwrap().push(process.connect_node(*node, *object, 1, ConnectTo::Normal));
        }
    }
}

#[test]
fn a_transport_that_was_just_closed_is_no_longer_in_use() {
    let (inner, again) = (InProcess::new(), Arc::new(Again::default()));
    let driver = Watched::new(inner.clone(), again.clone());
    let process = Process::new(Arc::new(MonotonicClock::new()), Arc::new(NoTraps));
    let make = || process.create_node(NodeType::Broker, driver.clone(), NodeOptions::default()).unwrap();
    let (first, second) = (make(), make());
    let [near, _far] = inner.transport_pair();
    process.connect_node(first, near, 1, ConnectTo::Normal).unwrap();
    assert_eq!(process.connect_node(second, near, 1, ConnectTo::Normal), Err(Error::InvalidArgument), "in use");
    again.transport.set(near).unwrap();
    assert!(again.node.set((process.clone(), second)).is_ok());
    process.close(first).unwrap();
    // The library tries; this driver knows no such transport any more.
    assert_eq!(*again.said.lock().unwrap(), [Err(Error::Unknown)]);
}
