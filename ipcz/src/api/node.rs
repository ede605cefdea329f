//! Nodes and portals as values that close themselves: the interface for Rust programs.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::calls::{Connect, TrapRefused};
use super::live::LiveObjects;
use super::object_box::ObjectBox;
use super::portal::Portal;
use super::process::Process;
use crate::clock::{Clock, MonotonicClock, Time};
use crate::core::BoxContents;
use crate::driver::Driver;
use crate::error::Error;
use crate::ids::{Handle, NodeType, ObjectId};
use crate::node::NodeOptions;
use crate::trap::{TrapConditions, TrapEvent, TrapTarget};

/// What a trap runs, once.
pub(super) type Handler = Box<dyn FnOnce(&TrapEvent) + Send>;

/// What nodes of one program share: a process, and the handlers of its traps.
pub(super) struct Host {
    pub(super) process: Arc<Process>,
    clock: Arc<dyn Clock>,
    handlers: Arc<Handlers>,
}

#[derive(Default)]
struct Handlers(Mutex<slab::Slab<Handler>>);

impl Handlers {
    fn lock(&self) -> MutexGuard<'_, slab::Slab<Handler>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrapTarget for Handlers {
    fn fired(&self, event: &TrapEvent) {
        // Each fires once, and runs without the lock.
        let handler = self.lock().try_remove(event.context as usize);
        if let Some(handler) = handler {
            handler(event);
        }
    }
}

impl Host {
    pub(super) fn now(&self) -> Time {
        self.clock.now()
    }

    pub(super) fn trap(&self, portal: Handle, conditions: TrapConditions, handler: Handler) -> Result<(), TrapRefused> {
        let place = self.handlers.lock().insert(handler);
        self.process.trap(portal, conditions, place as u64).inspect_err(|_| {
            self.handlers.lock().try_remove(place);
        })
    }
}

/// A node: one end of any number of links to other nodes. Closed when dropped; its links go with it.
///
/// ```
/// use ipcz::{ConnectTo, Node};
/// use ipcz_drivers::InProcess;
///
/// # fn main() -> Result<(), ipcz::Error> {
/// let driver = InProcess::new();
/// let broker = Node::broker(driver.clone())?;
/// let client = Node::normal(driver.clone())?;
/// let [a, b] = driver.transport_pair();
/// let near = broker.connect(a, 1, ConnectTo::Normal)?.remove(0);
/// let far = client.connect(b, 1, ConnectTo::Broker)?.remove(0);
///
/// near.put(b"hello")?;
/// assert_eq!(far.recv()?.data, b"hello");
/// # Ok(())
/// # }
/// ```
pub struct Node {
    host: Arc<Host>,
    handle: Handle,
}

impl Node {
    /// The node of a network that names the others and introduces them to each other. `Unimplemented`: the driver has no randomness.
    pub fn broker(driver: Arc<dyn Driver>) -> Result<Node, Error> {
        Node::with(NodeType::Broker, driver, NodeOptions::default())
    }

    /// Any other node.
    pub fn normal(driver: Arc<dyn Driver>) -> Result<Node, Error> {
        Node::with(NodeType::Normal, driver, NodeOptions::default())
    }

    /// A node with limits and features of one's choice.
    pub fn with(kind: NodeType, driver: Arc<dyn Driver>, options: NodeOptions) -> Result<Node, Error> {
        Node::on_clock(kind, driver, options, Arc::new(MonotonicClock::new()))
    }

    /// A node that is told the time by `clock`.
    pub fn on_clock(kind: NodeType, driver: Arc<dyn Driver>, options: NodeOptions, clock: Arc<dyn Clock>) -> Result<Node, Error> {
        let handlers = Arc::new(Handlers::default());
        let process = Process::new(Arc::clone(&clock), Arc::clone(&handlers) as Arc<dyn TrapTarget>);
        Node::made_by(Arc::new(Host { process, clock, handlers }), kind, driver, options)
    }

    /// Another node of the same program: portals of the two can be merged with and sent through each other without any link.
    ///
    /// ```
    /// use ipcz::ids::NodeType;
    /// use ipcz::{Node, NodeOptions};
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let one = Node::broker(InProcess::new())?;
    /// let other = one.beside(NodeType::Broker, InProcess::new(), NodeOptions::default())?;
    /// let ((a, b), (c, d)) = (one.open_portals()?, other.open_portals()?);
    /// b.merge(c).map_err(|(error, _, _)| error)?;
    /// a.put(b"from node to node")?;
    /// assert_eq!(d.recv()?.data, b"from node to node");
    /// # Ok(())
    /// # }
    /// ```
    pub fn beside(&self, kind: NodeType, driver: Arc<dyn Driver>, options: NodeOptions) -> Result<Node, Error> {
        Node::made_by(Arc::clone(&self.host), kind, driver, options)
    }

    fn made_by(host: Arc<Host>, kind: NodeType, driver: Arc<dyn Driver>, options: NodeOptions) -> Result<Node, Error> {
        let handle = host.process.create_node(kind, driver, options)?;
        Ok(Node { host, handle })
    }

    /// Connects the node over a transport of its driver. The portals, at most 12, exist at once and meet those of the other side by
    /// their index; what is put into them before the other side is there waits. On failure the transport stays the caller's: see
    /// [`Process::connect_node`].
    pub fn connect(&self, transport: ObjectId, portals: usize, how: impl Into<Connect>) -> Result<Vec<Portal>, Error> {
        let made = self.host.process.connect_node(self.handle, transport, portals, how)?;
        Ok(made.into_iter().map(|handle| Portal::new(Arc::clone(&self.host), handle)).collect())
    }

    /// Two entangled portals: what is put into one comes out of the other.
    pub fn open_portals(&self) -> Result<(Portal, Portal), Error> {
        let (a, b) = self.host.process.open_portals(self.handle)?;
        Ok((Portal::new(Arc::clone(&self.host), a), Portal::new(Arc::clone(&self.host), b)))
    }

    /// Puts a driver object of this node's driver, or an object of this program, into a box. A refusal has taken nothing: see
    /// [`Process::box_object`].
    pub fn box_object(&self, contents: BoxContents) -> Result<ObjectBox, Error> {
        let handle = self.host.process.box_object(self.handle, contents)?;
        Ok(ObjectBox::new(Arc::clone(&self.host), handle))
    }

    /// What the program of this node holds, all its nodes together: for leak hunting.
    ///
    /// ```
    /// use ipcz::Node;
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (a, b) = node.open_portals()?;
    /// assert_eq!((node.live_objects()?.handles, node.live_objects()?.routers), (3, 2));
    /// drop((a, b));
    /// assert_eq!((node.live_objects()?.handles, node.live_objects()?.routers), (1, 0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn live_objects(&self) -> Result<LiveObjects, Error> {
        self.host.process.live_objects()
    }

    /// The process beneath, which knows nodes and portals by handles, and this node's handle in it.
    pub fn process(&self) -> (&Arc<Process>, Handle) {
        (&self.host.process, self.handle)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A failed core has nothing left to close.
        let _ = self.host.process.close(self.handle);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Node({:?})", self.handle)
    }
}
