//! The calls (api.md 7 to 12).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::process::Process;
use crate::core::PutPlan;
use crate::driver::Driver;
use crate::error::Error;
use crate::ids::{Features, Handle, MAX_INITIAL_PORTALS, NodeName, NodeType, ObjectId};
use crate::limits::Limits;
use crate::mapping::Mapping;
use crate::memory::{PRIMARY_BYTES, initialise_primary};
use crate::node::handshake::Offer;
use crate::planted::Bug;
use crate::routing::{Payload, Trap};
use crate::trap::{PortalStatus, TrapConditions, TrapFlags};

/// What a node is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NodeOptions {
    /// Its limits.
    pub limits: Limits,
    /// What it offers beyond the base protocol; used on a link if both ends do.
    pub features: Features,
}

/// What ConnectNode expects at the far end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectTo {
    /// A normal node; only a broker may.
    Normal,
    /// The broker; only a normal node may (broker to broker is not supported yet).
    Broker,
}

/// A parcel, received.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// Its data.
    pub data: Vec<u8>,
    /// Its attachments, now the caller's.
    pub handles: Vec<Handle>,
}

/// Why a trap was not installed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TrapRefused {
    /// A level condition holds already.
    Satisfied {
        /// Those of the requested ones that do.
        flags: TrapFlags,
        /// The portal's status.
        status: PortalStatus,
    },
    /// Not a portal, or worse.
    Error(Error),
}

impl Process {
    /// A node, whose parcels are limited to what a message of the driver can hold. A broker draws its name from the driver at once: [`Error::Unimplemented`] if there is no randomness.
    pub fn create_node(self: &Arc<Self>, kind: NodeType, driver: Arc<dyn Driver>, options: NodeOptions) -> Result<Handle, Error> {
        let name = match kind {
            NodeType::Broker => self.draw_name(&*driver).ok_or(Error::Unimplemented)?,
            NodeType::Normal => NodeName::INVALID,
        };
        let limits = options.limits.within(driver.limits());
        let driver = self.add_driver(driver);
        self.inline_bytes.fetch_min(limits.inline_bytes, Ordering::Relaxed);
        self.input(|core, _, _| core.create_node(kind, driver, name, options.features, limits))
    }

    /// Connects a node over an inactive transport; the portals exist at once and meet those of the other side by their
    /// index. On failure the transport stays the caller's. `InvalidArgument`: not a node, no portals, or not the
    /// partner for this kind of node; `OutOfRange`: more than 12 portals; `ResourceExhausted`: no memory for the link;
    /// `Unknown`: the transport could not be activated or written to, or is not this node's driver's; `Unimplemented`:
    /// broker to broker. What is put before the other side connects waits; if the other side opened fewer portals, the
    /// surplus see their peer closed.
    pub fn connect_node(self: &Arc<Self>, node: Handle, transport: ObjectId, portals: usize, to: ConnectTo) -> Result<Vec<Handle>, Error> {
        let endpoint = self.lock()?.endpoint(node)?;
        if portals == 0 {
            return Err(Error::InvalidArgument);
        }
        if portals > MAX_INITIAL_PORTALS as usize {
            return Err(Error::OutOfRange);
        }
        let driver = self.driver(endpoint.driver);
        let offer = match (endpoint.kind, to) {
            (NodeType::Broker, ConnectTo::Normal) => Some(self.make_offer(&*driver)?),
            (NodeType::Normal, ConnectTo::Broker) => None,
            (NodeType::Broker, ConnectTo::Broker) => return Err(Error::Unimplemented),
            (NodeType::Normal, ConnectTo::Normal) => return Err(Error::InvalidArgument),
        };
        let memory = offer.as_ref().map(|offer| offer.memory);
        let now = self.clock.now();
        let mut fx = Default::default();
        let made = self.lock()?.connect(node, transport, portals, offer, now, &mut fx);
        let (link, handles) = match made {
            Ok(made) => made,
            Err(error) => {
                memory.into_iter().for_each(|object| driver.close(object));
                return Err(error);
            }
        };
        // Here and now, however deep the stack: what fails must be known before this returns.
        if self.carry_out_here(fx).given_back.contains(&link) {
            for handle in handles {
                self.close(handle)?;
            }
            return Err(Error::Unknown);
        }
        Ok(handles)
    }

    /// A fresh node name.
    fn draw_name(&self, driver: &dyn Driver) -> Option<NodeName> {
        let mut bytes = [0; 16];
        let drawn = driver.random(&mut bytes);
        if self.planted.has(Bug::NameUndrawn) {
            return Some(NodeName::from_bytes(bytes));
        }
        drawn.ok()?;
        Some(NodeName::from_bytes(bytes)).filter(|name| name.is_valid())
    }

    fn make_offer(&self, driver: &dyn Driver) -> Result<Offer, Error> {
        let memory = driver.allocate(PRIMARY_BYTES).map_err(|_| Error::ResourceExhausted)?;
        let made = driver.map(memory).map_err(|_| Error::ResourceExhausted).and_then(|mapping: Mapping| {
            initialise_primary(&mapping);
            let client = self.draw_name(driver).ok_or(Error::Unknown)?;
            Ok(Offer { client, memory, mapping })
        });
        if made.is_err() {
            driver.close(memory);
        }
        made
    }

    /// Two entangled portals. `InvalidArgument`: not a node.
    pub fn open_portals(self: &Arc<Self>, node: Handle) -> Result<(Handle, Handle), Error> {
        self.lock()?.open_portals(node)
    }

    /// Puts a parcel into a portal; its attachments are no longer the caller's. A refusal has taken nothing.
    /// `InvalidArgument`: not a portal, or an attachment that cannot be sent (not a portal; this one or its direct local peer; the same twice); `NotFound`: the peer is closed;
    /// `ResourceExhausted`: a limit of [`Limits`] is reached.
    pub fn put(self: &Arc<Self>, portal: Handle, data: &[u8], objects: &[Handle]) -> Result<(), Error> {
        let payload = self.payload(portal, data)?;
        let mut refused = match self.input(|core, now, fx| core.put(portal, payload, objects, now, fx))? {
            Ok(()) => return Ok(()),
            Err(refused) => refused,
        };
        if refused.0 == Error::ResourceExhausted && self.has_drained(portal)? {
            let again = |payload| self.input(|core, now, fx| core.put(portal, payload, objects, now, fx));
            match again(refused.1)? {
                Ok(()) => return Ok(()),
                Err(still) => refused = still,
            }
        }
        if !self.planted.has(Bug::RefusedBlockKept) {
            free(refused.1);
        }
        Err(refused.0)
    }

    /// Asks the driver how much it has yet to write for a portal; whether that is less than when it was last asked.
    fn has_drained(&self, portal: Handle) -> Result<bool, Error> {
        let Some((link, driver, transport, before)) = self.lock()?.way_out(portal) else { return Ok(false) };
        let now = self.driver(driver).backlog(transport);
        self.lock()?.set_backlog(link, now);
        Ok(now < before)
    }

    /// Copies the data to where it will travel from: link memory if it is big and there is some, else private memory.
    fn payload(&self, portal: Handle, data: &[u8]) -> Result<Payload, Error> {
        if data.len() <= self.inline_bytes.load(Ordering::Relaxed) {
            return Ok(Payload::copy_of(data));
        }
        match self.input(|core, now, fx| core.plan_put(portal, data.len(), now, fx))?? {
            PutPlan::Heap => Ok(Payload::copy_of(data)),
            PutPlan::Block(link, mut block) => {
                block.fill(data);
                Ok(Payload::Block { link, block })
            }
        }
    }

    /// Gets the next parcel out of a portal. `Unavailable`: none is there yet; `NotFound`: none will ever be;
    /// `InvalidArgument`: not a portal.
    pub fn get(self: &Arc<Self>, portal: Handle) -> Result<Received, Error> {
        let (payload, handles) = self.input(|core, now, fx| core.get(portal, now, fx))??;
        let mut data = Vec::new();
        match payload {
            Payload::None => {}
            Payload::Heap(mut buf) => {
                buf.drain(..crate::wire::PARCEL_HEADROOM);
                data = buf;
            }
            Payload::Block { block, .. } if self.planted.has(Bug::FreedBeforeRead) => {
                block.clone().free();
                block.append_to(&mut data);
            }
            Payload::Block { block, .. } => {
                block.append_to(&mut data);
                block.free();
            }
        }
        Ok(Received { data, handles })
    }

    /// What can be said of a portal at once. `InvalidArgument`: not a portal.
    pub fn query(&self, portal: Handle) -> Result<PortalStatus, Error> {
        self.lock()?.query(portal)
    }

    /// Installs a trap that fires once, when one of its conditions comes true, or when the portal is closed or sent away.
    pub fn trap(self: &Arc<Self>, portal: Handle, conditions: TrapConditions, context: u64) -> Result<(), TrapRefused> {
        if self.planted.has(Bug::TrapArmedAfterCheck) {
            return self.trap_late(portal, Trap { conditions, context });
        }
        let installed = self.lock().and_then(|mut core| core.trap(portal, Trap { conditions, context }));
        match installed {
            Ok(Ok(())) => Ok(()),
            Ok(Err((flags, status))) => Err(TrapRefused::Satisfied { flags, status }),
            Err(error) => Err(TrapRefused::Error(error)),
        }
    }

    /// [`Process::trap`] with the planted bug of that name.
    fn trap_late(&self, portal: Handle, trap: Trap) -> Result<(), TrapRefused> {
        let looked = self.lock().and_then(|core| core.look_for_trap(portal, &trap.conditions)).map_err(TrapRefused::Error)?;
        looked.map_err(|(flags, status)| TrapRefused::Satisfied { flags, status })?;
        self.lock().and_then(|mut core| core.install_trap(portal, trap)).map_err(TrapRefused::Error)
    }

    /// Merges two portals, whose routes become one: what is put into the peer of `a` comes out at the peer of `b`, and the other way
    /// round, with what already waits in either. Both handles are consumed, without being closed; their traps fire "removed"
    /// (api.md 8, routing.md 13). A route merged with itself ends.
    ///
    /// `InvalidArgument`: not two portals, one portal twice, or each other's peer. `FailedPrecondition`: something was put into one of
    /// them or taken out of it. Both stay valid then.
    pub fn merge(self: &Arc<Self>, a: Handle, b: Handle) -> Result<(), Error> {
        self.input(|core, now, fx| core.merge(a, b, now, fx))?
    }

    /// Closes a portal or a node. `InvalidArgument`: neither, or closed already.
    pub fn close(self: &Arc<Self>, handle: Handle) -> Result<(), Error> {
        self.input(|core, now, fx| core.close(handle, now, fx))?
    }
}

/// Frees a parcel's data.
pub(super) fn free(payload: Payload) {
    if let Payload::Block { block, .. } = payload {
        block.free();
    }
}
