//! The Unix driver: stream sockets that carry descriptors, and memfds (driver.md 8.4 and 11.3). Linux only.
//!
//! One thread a driver reads for all its transports and calls their listeners; it runs while one is active. Or there is none, and
//! the application calls [`UnixDriver::poll`]. Writing happens on the caller's thread as long as the socket takes it. Framing and
//! objects are those of upstream's multiprocess driver.
//!
//! A process whose node is connected keeps itself alive: its driver's thread holds the listeners, they hold the process,
//! and that holds the driver. Closing the node ends it.
//!
//! | file | holds |
//! | --- | --- |
//! | `socket` | system calls on sockets |
//! | `frame` | messages in a byte stream |
//! | `transport` | one end: what waits to be written, how far its life has come |
//! | `io` | the thread, or the application's turns |
//! | `memory` | memfds |
//! | `child` | ends that go to a child process |

// What a peer says, and be it in an error, is printed nowhere (driver.md 12, row 32).
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::dbg_macro)]

mod child;
mod frame;
mod io;
mod launch;
mod memory;
mod socket;
mod transport;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ipcz::driver::{Driver, DriverError, DriverLimits, Frame, Listener, Packed, Travel};
use ipcz::ids::ObjectId;
use ipcz::mapping::Mapping;
use rustix::event::Timespec;
use rustix::process::{Resource, getrlimit};

pub use child::{inherited, spawn};
use frame::{HEADER, MAX_DESCRIPTORS};
use io::{Lease, Reactor};
pub use launch::{VARIABLE, from_parent, launch, socket_from_parent};
use memory::{Memory, exhausted};
use transport::Transport;

/// What a peer, or a peer that does not read, may make this process hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnixLimits {
    /// Bytes of one message with its header. Beyond: a received one breaks its transport, our own is refused.
    pub frame_bytes: usize,
    /// Bytes that wait to be written on one transport. Beyond: it breaks.
    pub queued_bytes: usize,
    /// Descriptors that wait there. Beyond: it breaks.
    pub queued_descriptors: usize,
    /// Descriptors received on one transport that are neither used nor closed: boxed ones that nobody took out. Beyond: it breaks.
    pub held_descriptors: usize,
}

impl Default for UnixLimits {
    /// One peer may have this process hold half of the descriptors that it may now have.
    fn default() -> Self {
        let may_have = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
        UnixLimits {
            frame_bytes: 256 << 20,
            queued_bytes: 2 << 30,
            queued_descriptors: 4 * MAX_DESCRIPTORS,
            held_descriptors: may_have / 2,
        }
    }
}

/// A driver whose transports are sockets. Each process has its own.
pub struct UnixDriver {
    objects: Arc<Objects>,
}

/// What the driver and its thread share.
struct Objects {
    table: Mutex<Table>,
    reactor: Reactor,
    limits: UnixLimits,
}

#[derive(Default)]
struct Table {
    objects: BTreeMap<ObjectId, Object>,
    /// Of objects that came from a peer and are not used yet.
    leases: BTreeMap<ObjectId, Lease>,
    last: u64,
}

enum Object {
    Transport(Arc<Transport>),
    Memory(Memory),
    /// A descriptor of the application, to be boxed.
    File(OwnedFd),
    /// A descriptor as it travels, not known yet, or no longer, to be anything.
    Descriptor(OwnedFd),
}

/// Kinds of objects on the wire.
const TRANSPORT: u32 = 0;
const MEMORY: u32 = 1;
/// Not one of upstream's, which refuses a message with it (spec/driver.md 11.3).
const FILE: u32 = 3;

impl Objects {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Received descriptors, counted in `held` as long as they are.
    fn add_descriptors(&self, descriptors: Vec<OwnedFd>, held: &Arc<AtomicUsize>) -> Vec<ObjectId> {
        if descriptors.is_empty() {
            return Vec::new();
        }
        let mut table = self.lock();
        let add = |fd| table.insert(Object::Descriptor(fd), Some(Lease::new(held)));
        descriptors.into_iter().map(add).collect()
    }

    /// The descriptors behind transmissible handles. All are taken, also if one is something else.
    fn take_descriptors(&self, handles: &[ObjectId]) -> Result<Vec<(OwnedFd, Option<Lease>)>, DriverError> {
        if handles.is_empty() {
            return Ok(Vec::new());
        }
        let mut table = self.lock();
        let taken: Vec<_> = handles.iter().map(|handle| table.take_descriptor(*handle)).collect();
        taken.into_iter().collect::<Option<_>>().ok_or(DriverError::InvalidArgument)
    }

    fn transport(&self, transport: ObjectId) -> Result<Arc<Transport>, DriverError> {
        match self.lock().objects.get(&transport) {
            Some(Object::Transport(end)) => Ok(Arc::clone(end)),
            _ => Err(DriverError::InvalidArgument),
        }
    }

    /// An inactive transport over a connected Unix stream socket.
    fn adopt(&self, socket: OwnedFd, lease: Option<Lease>) -> Result<ObjectId, DriverError> {
        if !socket::is_stream(socket.as_fd()) {
            return Err(DriverError::InvalidArgument);
        }
        Ok(self.lock().insert(Object::Transport(Arc::new(Transport::new(socket))), lease))
    }

    /// Ends a transport's activity, if there is any.
    fn stop(&self, transport: &Transport) {
        if let Some(token) = transport.stop() {
            self.reactor.stop(token);
        }
    }
}

impl Table {
    fn insert(&mut self, object: Object, lease: Option<Lease>) -> ObjectId {
        self.last += 1;
        let id = ObjectId::new(self.last).expect("counted from one");
        self.objects.insert(id, object);
        if let Some(lease) = lease {
            self.leases.insert(id, lease);
        }
        id
    }

    fn remove(&mut self, object: ObjectId) -> Option<Object> {
        self.leases.remove(&object);
        self.objects.remove(&object)
    }

    fn take_descriptor(&mut self, handle: ObjectId) -> Option<(OwnedFd, Option<Lease>)> {
        match self.objects.remove(&handle)? {
            Object::Descriptor(fd) => Some((fd, self.leases.remove(&handle))),
            other => {
                self.objects.insert(handle, other);
                None
            }
        }
    }

    fn memory(&self, memory: ObjectId) -> Result<&Memory, DriverError> {
        match self.objects.get(&memory) {
            Some(Object::Memory(memory)) => Ok(memory),
            _ => Err(DriverError::InvalidArgument),
        }
    }
}

impl UnixDriver {
    /// A driver without objects. Fails if the process is out of descriptors.
    pub fn new() -> Result<Arc<UnixDriver>, DriverError> {
        UnixDriver::with_limits(UnixLimits::default())
    }

    /// The same with other limits.
    pub fn with_limits(limits: UnixLimits) -> Result<Arc<UnixDriver>, DriverError> {
        UnixDriver::make(limits, true)
    }

    /// A driver that never starts a thread: nothing is read, and no listener called, but by [`UnixDriver::poll`]. Its descriptor
    /// ([`AsFd`]), which may be watched but not changed, is readable when there is something to do.
    pub fn without_thread(limits: UnixLimits) -> Result<Arc<UnixDriver>, DriverError> {
        UnixDriver::make(limits, false)
    }

    fn make(limits: UnixLimits, threaded: bool) -> Result<Arc<UnixDriver>, DriverError> {
        let reactor = Reactor::new(threaded).map_err(exhausted)?;
        Ok(Arc::new(UnixDriver { objects: Arc::new(Objects { table: Mutex::default(), reactor, limits }) }))
    }

    /// Waits until there is something to do, at most as long as `timeout`, and does it on this thread: listeners are called, traps fire.
    /// Answers how many transports had something; 0 at once while another thread does it, and for a listener. Only for drivers
    /// [without a thread](UnixDriver::without_thread): `Unimplemented` for others.
    pub fn poll(&self, timeout: Option<Duration>) -> Result<usize, DriverError> {
        // What the kernel has no number for is as good as for ever.
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        io::poll(&self.objects, timeout.as_ref())
    }

    /// A connected pair of sockets, to be given to [`UnixDriver::adopt`] here or in other processes.
    pub fn socket_pair() -> Result<[OwnedFd; 2], DriverError> {
        socket::pair().map_err(exhausted)
    }

    /// An inactive transport over a connected Unix stream socket, for [`ipcz::Process::connect_node`].
    pub fn adopt(&self, socket: OwnedFd) -> Result<ObjectId, DriverError> {
        self.objects.adopt(socket, None)
    }

    /// An object that holds any descriptor, for [`ipcz::Process::box_object`].
    pub fn file(&self, descriptor: OwnedFd) -> ObjectId {
        self.objects.lock().insert(Object::File(descriptor), None)
    }

    /// The descriptor of an object made by [`UnixDriver::file`], here or by the process that sent it; the object is gone then. None, and
    /// nothing happens, for other objects.
    pub fn take_file(&self, object: ObjectId) -> Option<OwnedFd> {
        let mut table = self.objects.lock();
        match table.objects.remove(&object)? {
            Object::File(descriptor) => {
                table.leases.remove(&object);
                Some(descriptor)
            }
            other => {
                table.objects.insert(object, other);
                None
            }
        }
    }

    /// Waits until no transport is active any more and the thread has ended. Not to be called from a listener or trap.
    pub fn join(&self) {
        self.objects.reactor.join();
    }

    /// Objects that nobody has closed: for leak hunting.
    pub fn live_objects(&self) -> usize {
        self.objects.lock().objects.len()
    }
}

impl AsFd for UnixDriver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.objects.reactor.epoll()
    }
}

impl Drop for UnixDriver {
    fn drop(&mut self) {
        let table = std::mem::take(&mut *self.objects.lock());
        for object in table.objects.values() {
            if let Object::Transport(transport) = object {
                self.objects.stop(transport);
            }
        }
        io::finish(&self.objects);
    }
}

impl Driver for UnixDriver {
    fn close(&self, object: ObjectId) {
        let closed = self.objects.lock().remove(object);
        if let Some(Object::Transport(transport)) = closed {
            self.objects.stop(&transport);
        }
    }

    fn can_travel(&self, object: ObjectId, _via: Option<ObjectId>) -> Travel {
        match self.objects.lock().objects.get(&object) {
            Some(Object::Transport(transport)) if transport.can_travel() => Travel::Yes,
            Some(Object::Memory(_) | Object::File(_)) => Travel::Yes,
            _ => Travel::Never,
        }
    }

    fn serialize(&self, object: ObjectId, _via: ObjectId, out: &mut Packed) -> Result<(), DriverError> {
        let mut table = self.objects.lock();
        let (kind, bytes, fd) = match table.objects.remove(&object).ok_or(DriverError::InvalidArgument)? {
            Object::Memory(memory) => (MEMORY, memory.bytes() as u32, memory.into_file()),
            Object::File(descriptor) => (FILE, 0, descriptor),
            Object::Transport(transport) if transport.can_travel() => match Arc::try_unwrap(transport) {
                Ok(transport) => (TRANSPORT, 0, transport.into_socket()),
                Err(used) => {
                    table.objects.insert(object, Object::Transport(used));
                    return Err(DriverError::InvalidArgument);
                }
            },
            other => {
                table.objects.insert(object, other);
                return Err(DriverError::InvalidArgument);
            }
        };
        out.data.extend([kind.to_ne_bytes(), bytes.to_ne_bytes()].concat());
        let lease = table.leases.remove(&object);
        out.handles.push(table.insert(Object::Descriptor(fd), lease));
        Ok(())
    }

    fn deserialize(&self, data: &[u8], handles: &[ObjectId], _via: ObjectId) -> Result<ObjectId, DriverError> {
        let mut descriptors = self.objects.take_descriptors(handles)?;
        let (Some((fd, lease)), true) = (descriptors.pop(), descriptors.is_empty()) else { return Err(DriverError::InvalidArgument) };
        let word = |at: usize| data.get(at..at + 4).map(|word| u32::from_ne_bytes(std::array::from_fn(|i| word[i])));
        let object = match (word(0), word(4)) {
            (Some(TRANSPORT), Some(_)) => return self.objects.adopt(fd, lease),
            (Some(MEMORY), Some(bytes)) => Object::Memory(Memory::received(fd, bytes as usize)?),
            (Some(FILE), Some(0)) => Object::File(fd),
            _ => return Err(DriverError::InvalidArgument),
        };
        Ok(self.objects.lock().insert(object, lease))
    }

    fn create_transports(&self, _toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        let ends = UnixDriver::socket_pair()?;
        let mut table = self.objects.lock();
        Ok(ends.map(|end| table.insert(Object::Transport(Arc::new(Transport::new(end))), None)))
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        let end = self.objects.transport(transport)?;
        io::adopt(&self.objects, end, listener)?;
        self.objects.lock().leases.remove(&transport);
        Ok(())
    }

    fn deactivate(&self, transport: ObjectId) {
        if let Ok(end) = self.objects.transport(transport) {
            self.objects.stop(&end);
        }
    }

    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError> {
        let descriptors: Vec<_> = frames.iter().map(|frame| self.objects.take_descriptors(frame.handles)).collect();
        let end = self.objects.transport(transport)?;
        let limits = self.objects.limits;
        for (frame, descriptors) in frames.iter().zip(descriptors) {
            let descriptors: Vec<_> = descriptors?.into_iter().map(|(fd, _lease)| fd).collect();
            if frame.data.len() > limits.frame_bytes - HEADER || descriptors.len() > MAX_DESCRIPTORS {
                return Err(DriverError::InvalidArgument);
            }
            if end.transmit(frame.data, descriptors, &limits, self.objects.reactor.epoll()) {
                self.objects.reactor.retry(Arc::clone(&end));
            }
        }
        Ok(())
    }

    fn report_bad(&self, _transport: ObjectId, _context: usize) {}

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        let memory = Memory::allocate(bytes)?;
        Ok(self.objects.lock().insert(Object::Memory(memory), None))
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        Ok(self.objects.lock().memory(memory)?.bytes())
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        let mut table = self.objects.lock();
        let twin = table.memory(memory)?.duplicate()?;
        Ok(table.insert(Object::Memory(twin), None))
    }

    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError> {
        self.objects.lock().memory(memory)?.map()
    }

    fn random(&self, out: &mut [u8]) -> Result<(), DriverError> {
        getrandom::fill(out).map_err(|_| DriverError::Unknown)
    }

    fn limits(&self) -> DriverLimits {
        DriverLimits { message_bytes: self.objects.limits.frame_bytes - HEADER, message_handles: MAX_DESCRIPTORS }
    }

    fn backlog(&self, transport: ObjectId) -> usize {
        self.objects.transport(transport).map_or(0, |end| end.backlog(&self.objects.limits))
    }
}
