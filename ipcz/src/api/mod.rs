//! stub: signatures only
#![allow(missing_docs, unused_variables)]
use std::sync::Arc;

use crate::clock::{Clock, Wake};
use crate::driver::{Activity, Driver, Verdict};
use crate::ids::{Features, Handle, NodeType, ObjectId};
use crate::limits::Limits;
use crate::mapping::{VirtualMemory};
use crate::trap::{PortalStatus, TrapConditions, TrapFlags, TrapTarget};

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    #[error("unknown")] Unknown,
    #[error("invalid argument")] InvalidArgument,
    #[error("not found: the peer is closed or the portal dead")] NotFound,
    #[error("already exists")] AlreadyExists,
    #[error("resource exhausted")] ResourceExhausted,
    #[error("failed precondition")] FailedPrecondition,
    #[error("out of range")] OutOfRange,
    #[error("unimplemented")] Unimplemented,
    #[error("internal")] Internal,
    #[error("unavailable: nothing to read now")] Unavailable,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeOptions { pub limits: Limits, pub features: Features }

/// What ConnectNode expects at the far end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectTo { Normal, Broker }

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Received { pub data: Vec<u8>, pub handles: Vec<Handle> }

/// A trap that was not installed because a level condition holds already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrapRefused { Satisfied { flags: TrapFlags, status: PortalStatus }, Error(Error) }

pub struct Process;

impl Process {
    pub fn new(clock: Arc<dyn Clock>, traps: Arc<dyn TrapTarget>) -> Arc<Process> { todo!() }
    pub fn create_node(self: &Arc<Self>, kind: NodeType, driver: Arc<dyn Driver>, options: NodeOptions) -> Result<Handle, Error> { todo!() }
    /// On success the transport is the process's; portals exist at once.
    pub fn connect_node(self: &Arc<Self>, node: Handle, transport: ObjectId, portals: usize, to: ConnectTo) -> Result<Vec<Handle>, Error> { todo!() }
    pub fn open_portals(self: &Arc<Self>, node: Handle) -> Result<(Handle, Handle), Error> { todo!() }
    pub fn put(self: &Arc<Self>, portal: Handle, data: &[u8], objects: &[Handle]) -> Result<(), Error> { todo!() }
    pub fn get(self: &Arc<Self>, portal: Handle) -> Result<Received, Error> { todo!() }
    pub fn query(&self, portal: Handle) -> Result<PortalStatus, Error> { todo!() }
    pub fn trap(self: &Arc<Self>, portal: Handle, conditions: TrapConditions, context: u64) -> Result<(), TrapRefused> { todo!() }
    /// Closes a portal or a node.
    pub fn close(self: &Arc<Self>, handle: Handle) -> Result<(), Error> { todo!() }

    /// (feature inspect) Reads the core.
    #[cfg(feature = "inspect")]
    pub fn inspect<R>(&self, look: impl FnOnce(&crate::inspect::View<'_>) -> R) -> R { todo!() }
    /// (feature inspect) A copy of this process's core in a new shell: clone of a world. Drivers replace those given to
    /// `create_node`, in the same order; `remap` swaps each virtual memory for its counterpart.
    pub fn fork(&self, clock: Arc<dyn Clock>, traps: Arc<dyn TrapTarget>, drivers: Vec<Arc<dyn Driver>>,
        remap: &mut dyn FnMut(&Arc<dyn VirtualMemory>) -> Arc<dyn VirtualMemory>) -> Arc<Process> { todo!() }
    /// (feature inspect) Arms a planted bug by name.
    pub fn plant(&self, name: &str) -> Result<(), String> { todo!() }
}

impl Activity for Process {
    fn message(self: Arc<Self>, key: u64, data: &[u8], handles: &[ObjectId], envelope: Option<ObjectId>) -> Verdict { todo!() }
    fn error(self: Arc<Self>, key: u64) { todo!() }
    fn deactivated(self: Arc<Self>, key: u64) { todo!() }
}
impl Wake for Process { fn timer(&self) { todo!() } }
