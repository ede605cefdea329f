//! The Unix driver: stream sockets that carry descriptors, and memfds (driver.md 8.4 and 11.3). Linux only.
//!
//! One thread a driver reads for all its transports and calls their listeners; it runs while one is active. Writing
//! happens on the caller's thread as long as the socket takes it. Framing and objects are those of upstream's
//! multiprocess driver.
//!
//! A process whose node is connected keeps itself alive: its driver's thread holds the listeners, they hold the process,
//! and that holds the driver. Closing the node ends it.
//!
//! | file | holds |
//! | --- | --- |
//! | `socket` | system calls on sockets |
//! | `frame` | messages in a byte stream |
//! | `transport` | one end: what waits to be written, how far its life has come |
//! | `io` | the thread |
//! | `memory` | memfds |
//! | `child` | ends that go to a child process |

mod child;
mod frame;
mod io;
mod launch;
mod memory;
mod socket;
mod transport;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use ipcz::driver::{Driver, DriverError, DriverLimits, Frame, Listener, Packed, Travel};
use ipcz::ids::ObjectId;
use ipcz::mapping::Mapping;

pub use child::{inherited, spawn};
use frame::{HEADER, MAX_DESCRIPTORS};
use io::Reactor;
pub use launch::{VARIABLE, from_parent, launch, socket_from_parent};
use memory::{Memory, exhausted};
use transport::{Stage, Transport};

/// What a peer, or a peer that does not read, may make this process hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnixLimits {
    /// Bytes of one message with its header. Beyond: a received one breaks its transport, our own is refused.
    pub frame_bytes: usize,
    /// Bytes that wait to be written on one transport. Beyond: it breaks.
    pub queued_bytes: usize,
}

impl Default for UnixLimits {
    fn default() -> Self {
        UnixLimits { frame_bytes: 256 << 20, queued_bytes: 2 << 30 }
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

    fn add_descriptors(&self, descriptors: Vec<OwnedFd>) -> Vec<ObjectId> {
        if descriptors.is_empty() {
            return Vec::new();
        }
        let mut table = self.lock();
        descriptors.into_iter().map(|fd| table.insert(Object::Descriptor(fd))).collect()
    }

    /// The descriptors behind transmissible handles. All are taken, also if one is something else.
    fn take_descriptors(&self, handles: &[ObjectId]) -> Result<Vec<OwnedFd>, DriverError> {
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

    /// Ends a transport's activity, if there is any.
    fn stop(&self, transport: &Transport) {
        if transport.advance(Stage::Active, Stage::Stopping) {
            self.reactor.wake();
        }
    }
}

impl Table {
    fn insert(&mut self, object: Object) -> ObjectId {
        self.last += 1;
        let id = ObjectId::new(self.last).expect("counted from one");
        self.objects.insert(id, object);
        id
    }

    fn take_descriptor(&mut self, handle: ObjectId) -> Option<OwnedFd> {
        match self.objects.remove(&handle)? {
            Object::Descriptor(fd) => Some(fd),
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
        let reactor = Reactor::new().map_err(exhausted)?;
        Ok(Arc::new(UnixDriver { objects: Arc::new(Objects { table: Mutex::default(), reactor, limits }) }))
    }

    /// A connected pair of sockets, to be given to [`UnixDriver::adopt`] here or in other processes.
    pub fn socket_pair() -> Result<[OwnedFd; 2], DriverError> {
        socket::pair().map_err(exhausted)
    }

    /// An inactive transport over a connected Unix stream socket, for [`ipcz::Process::connect_node`].
    pub fn adopt(&self, socket: OwnedFd) -> Result<ObjectId, DriverError> {
        if !socket::is_stream(socket.as_fd()) {
            return Err(DriverError::InvalidArgument);
        }
        Ok(self.objects.lock().insert(Object::Transport(Arc::new(Transport::new(socket)))))
    }

    /// An object that holds any descriptor, for [`ipcz::Process::box_object`].
    pub fn file(&self, descriptor: OwnedFd) -> ObjectId {
        self.objects.lock().insert(Object::File(descriptor))
    }

    /// The descriptor of an object made by [`UnixDriver::file`], here or by the process that sent it; the object is gone then. None, and
    /// nothing happens, for other objects.
    pub fn take_file(&self, object: ObjectId) -> Option<OwnedFd> {
        let mut table = self.objects.lock();
        match table.objects.remove(&object)? {
            Object::File(descriptor) => Some(descriptor),
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

impl Drop for UnixDriver {
    fn drop(&mut self) {
        let objects = std::mem::take(&mut *self.objects.lock());
        for object in objects.objects.values() {
            if let Object::Transport(transport) = object {
                self.objects.stop(transport);
            }
        }
    }
}

impl Driver for UnixDriver {
    fn close(&self, object: ObjectId) {
        let closed = self.objects.lock().objects.remove(&object);
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
        out.handles.push(table.insert(Object::Descriptor(fd)));
        Ok(())
    }

    fn deserialize(&self, data: &[u8], handles: &[ObjectId], _via: ObjectId) -> Result<ObjectId, DriverError> {
        let mut descriptors = self.objects.take_descriptors(handles)?;
        let (Some(fd), true) = (descriptors.pop(), descriptors.is_empty()) else { return Err(DriverError::InvalidArgument) };
        let word = |at: usize| data.get(at..at + 4).map(|word| u32::from_ne_bytes(std::array::from_fn(|i| word[i])));
        match (word(0), word(4)) {
            (Some(TRANSPORT), Some(_)) => self.adopt(fd),
            (Some(MEMORY), Some(bytes)) => {
                let memory = Memory::received(fd, bytes as usize)?;
                Ok(self.objects.lock().insert(Object::Memory(memory)))
            }
            (Some(FILE), Some(0)) => Ok(self.objects.lock().insert(Object::File(fd))),
            _ => Err(DriverError::InvalidArgument),
        }
    }

    fn create_transports(&self, _toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError> {
        let ends = UnixDriver::socket_pair()?;
        let mut table = self.objects.lock();
        Ok(ends.map(|end| table.insert(Object::Transport(Arc::new(Transport::new(end))))))
    }

    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError> {
        let end = self.objects.transport(transport)?;
        if !end.advance(Stage::Inactive, Stage::Active) {
            return Err(DriverError::InvalidArgument);
        }
        io::adopt(&self.objects, Arc::clone(&end), listener).map_err(|_| {
            end.advance(Stage::Active, Stage::Inactive);
            DriverError::ResourceExhausted
        })
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
            let descriptors = descriptors?;
            if frame.data.len() > limits.frame_bytes - HEADER || descriptors.len() > MAX_DESCRIPTORS {
                return Err(DriverError::InvalidArgument);
            }
            if end.transmit(frame.data, descriptors, limits.queued_bytes) {
                self.objects.reactor.wake();
            }
        }
        Ok(())
    }

    fn report_bad(&self, _transport: ObjectId, _context: usize) {}

    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError> {
        let memory = Memory::allocate(bytes)?;
        Ok(self.objects.lock().insert(Object::Memory(memory)))
    }

    fn size(&self, memory: ObjectId) -> Result<usize, DriverError> {
        Ok(self.objects.lock().memory(memory)?.bytes())
    }

    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError> {
        let mut table = self.objects.lock();
        let twin = table.memory(memory)?.duplicate()?;
        Ok(table.insert(Object::Memory(twin)))
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
        self.objects.transport(transport).map_or(0, |end| end.queued())
    }
}
