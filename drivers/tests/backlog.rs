//! A driver that has much to write yet: Put says so and takes nothing, until it has less.

mod hand;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hand::*;
use ipcz::driver::{Driver, DriverError, Frame, Listener, Packed, Travel};
use ipcz::ids::{NodeType, ObjectId};
use ipcz::limits::Limits;
use ipcz::mapping::Mapping;
use ipcz::{ConnectTo, Error, NodeOptions};
use ipcz_drivers::InProcess;

/// The synchronous driver, which claims a backlog.
struct Slow {
    inner: Arc<InProcess>,
    backlog: AtomicUsize,
}

impl Driver for Slow {
    fn close(&self, object: ObjectId) {
        self.inner.close(object);
    }

    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel {
        self.inner.can_travel(object, via)
    }

    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        self.inner.serialize(object, via, out)
    }

    fn deserialize(&self, data: &[u8], handles: &[ObjectId], via: ObjectId) -> Result<ObjectId, DriverError> {
        self.inner.deserialize(data, handles, via)
    }

    fn create_transports(&self, toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        self.inner.create_transports(toward)
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        self.inner.activate(transport, listener)
    }

    fn deactivate(&self, transport: ObjectId) {
        self.inner.deactivate(transport);
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        self.inner.transmit(transport, frames)
    }

    fn report_bad(&self, transport: ObjectId, context: usize) {
        self.inner.report_bad(transport, context);
    }

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        self.inner.allocate(bytes)
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        self.inner.size(memory)
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        self.inner.duplicate(memory)
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        self.inner.map(memory)
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        self.inner.random(out)
    }

    fn backlog(&self, _: ObjectId) -> usize {
        self.backlog.load(Ordering::Relaxed)
    }
}

#[test]
fn put_takes_nothing_while_too_much_waits_to_be_written() {
    let inner = InProcess::new();
    let slow = Arc::new(Slow { inner: inner.clone(), backlog: AtomicUsize::new(0) });
    let limits = Limits { link_backlog_bytes: 1000, ..Limits::default() };
    let sender = Program::with(slow.clone(), NodeType::Broker, NodeOptions { limits, ..NodeOptions::default() });
    let receiver = Program::normal(&inner);
    let [a, b] = inner.transport_pair();
    let here = sender.process.connect_node(sender.node, a, 1, ConnectTo::Normal).unwrap()[0];
    let there = receiver.process.connect_node(receiver.node, b, 1, ConnectTo::Broker).unwrap()[0];
    let (_kept, attached) = sender.process.open_portals(sender.node).unwrap();

    slow.backlog.store(2000, Ordering::Relaxed);
    sender.put(here, b"first");
    assert_eq!(sender.process.put(here, b"refused", &[attached]), Err(Error::ResourceExhausted));
    assert!(sender.process.query(attached).is_ok(), "the attachment is still the caller's");
    slow.backlog.store(1500, Ordering::Relaxed);
    assert_eq!(sender.process.put(here, b"refused", &[attached]), Err(Error::ResourceExhausted));
    slow.backlog.store(10, Ordering::Relaxed);
    sender.process.put(here, b"second", &[attached]).unwrap();
    assert_eq!((receiver.get(there), receiver.get(there)), (Ok(b"first".to_vec()), Ok(b"second".to_vec())));
}
