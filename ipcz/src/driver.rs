//! What a driver does for a process: moves bytes and objects, gives memory and randomness (driver.md 1 to 7).

use std::sync::Arc;

use crate::ids::ObjectId;
use crate::mapping::Mapping;

/// Why a driver could not do it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DriverError {
    /// Not an object of this driver, or of the wrong kind.
    #[error("the driver does not take this object or argument")]
    InvalidArgument,
    /// Out of memory, descriptors or mappings.
    #[error("the driver is out of a resource")]
    ResourceExhausted,
    /// The object cannot go over this transport.
    #[error("the object cannot go over this transport")]
    PermissionDenied,
    /// The driver does not know how.
    #[error("the driver does not implement this")]
    Unimplemented,
    /// The transport is broken for good.
    #[error("the transport is broken")]
    Disconnected,
    /// Anything else.
    #[error("the driver failed")]
    Unknown,
}

/// Whether a driver object can go to another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Travel {
    /// Over this transport; or, asked without one, over some transport.
    Yes,
    /// Not over this one: relay it through the broker.
    NotHere,
    /// Over none.
    Never,
}

/// What a driver object becomes inside a message. Several objects may be appended to one value.
#[derive(Clone, Default, Debug)]
pub struct Packed {
    /// The object's own bytes.
    pub data: Vec<u8>,
    /// Handles that travel beside the message.
    pub handles: Vec<ObjectId>,
}

/// One message as it is transmitted.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The bytes; only valid during the call.
    pub data: &'a [u8],
    /// Transmissible handles, consumed whatever the result.
    pub handles: &'a [ObjectId],
}

/// What a message of this driver may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DriverLimits {
    /// Bytes a message.
    pub message_bytes: usize,
    /// Handles a message.
    pub message_handles: usize,
}

impl DriverLimits {
    /// Nothing is known: only the format's own limits hold.
    pub const UNKNOWN: DriverLimits = DriverLimits { message_bytes: u32::MAX as usize, message_handles: u16::MAX as usize };
}

/// What became of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a driver must report an error for a transport whose message was refused"]
pub enum Verdict {
    /// Handled, or ignored as the protocol asks.
    Accepted,
    /// Invalid. The driver answers with [`Listener::error`]; the link takes nothing more until then.
    Refused,
}

/// Bytes, objects, memory and randomness for one node.
///
/// Called with no lock held that a notification might need: a driver may call any listener from inside any of these,
/// and may be re-entered from inside a listener. Ownership of objects is as in driver.md 2.
pub trait Driver: Send + Sync {
    /// Releases any object; called once, last.
    fn close(&self, object: ObjectId);
    /// Whether the object can travel over `via`, or over any transport. Touches nothing.
    fn can_travel(&self, object: ObjectId, via: Option<ObjectId>) -> Travel;
    /// Appends what becomes of the object on `via` to `out` and consumes the object; an error consumes nothing.
    fn serialize(&self, object: ObjectId, via: ObjectId, out: &mut Packed) -> Result<(), DriverError>;
    /// Rebuilds an object that came over `via`. Consumes `handles` on success and failure. The bytes are hostile.
    fn deserialize(&self, data: &[u8], handles: &[ObjectId], via: ObjectId) -> Result<ObjectId, DriverError>;
    /// A connected, inactive pair; the first will be sent over `toward[0]`, the second over `toward[1]`.
    fn create_transports(&self, toward: Option<[ObjectId; 2]>) -> Result<[ObjectId; 2], DriverError>;
    /// Starts delivery to `listener`: first, in order, what the peer sent before. May deliver before it returns.
    fn activate(&self, transport: ObjectId, listener: Listener) -> Result<(), DriverError>;
    /// Asks for an end of delivery; [`Listener::deactivated`] follows, now or later. Tolerates an inactive transport.
    fn deactivate(&self, transport: ObjectId);
    /// Sends whole messages in order. An error means that the transport is lost. Never blocks for the peer.
    fn transmit(&self, transport: ObjectId, frames: &[Frame<'_>]) -> Result<(), DriverError>;
    /// The application rejected a parcel that came over this transport.
    fn report_bad(&self, transport: ObjectId, context: usize);
    /// New zero-filled shared memory of `bytes` bytes.
    fn allocate(&self, bytes: usize) -> Result<ObjectId, DriverError>;
    /// Size in bytes of a memory object, verified against the object itself.
    fn size(&self, memory: ObjectId) -> Result<usize, DriverError>;
    /// Another handle to the same memory.
    fn duplicate(&self, memory: ObjectId) -> Result<ObjectId, DriverError>;
    /// The whole region; the memory object stays and may be closed at once.
    fn map(&self, memory: ObjectId) -> Result<Mapping, DriverError>;
    /// Fills `out` with bytes nobody can guess.
    fn random(&self, out: &mut [u8]) -> Result<(), DriverError>;
    /// What a message may hold.
    fn limits(&self) -> DriverLimits {
        DriverLimits::UNKNOWN
    }
    /// Bytes accepted on a transport and not yet written.
    fn backlog(&self, _transport: ObjectId) -> usize {
        0
    }
}

/// Who takes a transport's notifications: a process.
pub trait Activity: Send + Sync {
    /// One message with its handles, which the process now owns.
    fn message(self: Arc<Self>, key: u64, data: &[u8], handles: &[ObjectId], envelope: Option<ObjectId>) -> Verdict;
    /// The transport is broken for good.
    fn error(self: Arc<Self>, key: u64);
    /// Nothing more will come.
    fn deactivated(self: Arc<Self>, key: u64);
}

/// Where a transport's notifications go. Calls for one listener must not overlap; all may re-enter the driver.
#[derive(Clone)]
pub struct Listener {
    target: Arc<dyn Activity>,
    key: u64,
}

impl Listener {
    /// The listener `key` of `target`.
    pub fn new(target: Arc<dyn Activity>, key: u64) -> Listener {
        Listener { target, key }
    }

    /// Which of its process's listeners this is: all that a cloneable driver keeps of it.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Delivers one message. On [`Verdict::Refused`] the driver delivers nothing more and calls [`Listener::error`].
    pub fn message(&self, data: &[u8], handles: &[ObjectId], envelope: Option<ObjectId>) -> Verdict {
        Arc::clone(&self.target).message(self.key, data, handles, envelope)
    }

    /// Says, once, that the transport is broken for good; all that came before was delivered.
    pub fn error(&self) {
        Arc::clone(&self.target).error(self.key);
    }

    /// Says that the transport is inactive; the last call.
    pub fn deactivated(self) {
        self.target.deactivated(self.key);
    }
}
