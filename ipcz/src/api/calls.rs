//! Calls about nodes and portals (api.md 7, 8, 12). Puts are in `puts.rs`, gets and kept parcels in `gets.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::ask::primary;
use super::process::Process;
use crate::core::Way;
use crate::driver::{Driver, Travel};
use crate::error::Error;
use crate::ids::{Handle, MAX_INITIAL_PORTALS, NodeName, NodeType, ObjectId};
use crate::node::NodeOptions;
use crate::node::handshake::{Joining, Offer};
use crate::planted::Bug;
use crate::routing::Trap;
use crate::trap::{PortalStatus, TrapConditions, TrapFlags};

/// What ConnectNode expects at the far end (api.md 7, nodes.md 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectTo {
    /// A normal node, which becomes this broker's client.
    Normal,
    /// The broker of this node; or, for a broker, another broker, whose network is joined to this one's.
    Broker,
    /// A normal node without a broker, which connects with [`ConnectTo::Inherited`]: this normal node's broker becomes its broker too, as
    /// soon as this node has one (SHARE_BROKER).
    Referred,
    /// A normal node that connects with [`ConnectTo::Referred`] and whose broker is to be this one's (INHERIT_BROKER).
    Inherited,
}

/// How ConnectNode connects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connect {
    /// What it expects at the far end.
    pub to: ConnectTo,
    /// Whether the broker gives this node all further memory, since it cannot allocate any (ALLOCATION_DELEGATE). Of use with
    /// [`ConnectTo::Broker`] at a normal node and with [`ConnectTo::Inherited`].
    pub delegate: bool,
}

impl From<ConnectTo> for Connect {
    fn from(to: ConnectTo) -> Connect {
        Connect { to, delegate: false }
    }
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
        self.input(|core, _, _| core.create_node(kind, driver, name, NodeOptions { limits, ..options }))
    }

    /// Connects a node over an inactive transport; the portals exist at once and meet those of the other side by their
    /// index. On failure the transport stays the caller's. `InvalidArgument`: not a node, no portals, not the
    /// partner for this kind of node, or a transport that cannot be sent to the broker that it is to be shared with; `OutOfRange`: more
    /// than 12 portals; `ResourceExhausted`: no memory for the link; `Unknown`: the transport could not be activated or written to, or
    /// is not this node's driver's. What is put before the other side connects waits; if the other side opened fewer portals, the
    /// surplus see their peer closed; if the connection fails, all do.
    pub fn connect_node(
        self: &Arc<Self>,
        node: Handle,
        transport: ObjectId,
        portals: usize,
        how: impl Into<Connect>,
    ) -> Result<Vec<Handle>, Error> {
        let Connect { to, delegate } = how.into();
        let endpoint = self.lock()?.endpoint(node)?;
        if portals == 0 {
            return Err(Error::InvalidArgument);
        }
        if portals > MAX_INITIAL_PORTALS as usize {
            return Err(Error::OutOfRange);
        }
        let driver = self.driver(endpoint.driver);
        let way = match (endpoint.kind, to) {
            (NodeType::Broker, ConnectTo::Normal | ConnectTo::Broker) => Way::Offer(self.make_offer(&*driver, to)?),
            (NodeType::Normal, ConnectTo::Broker) => Way::Join(Joining { referred: false, delegate }),
            (NodeType::Normal, ConnectTo::Inherited) => Way::Join(Joining { referred: true, delegate }),
            (NodeType::Normal, ConnectTo::Referred) if driver.can_travel(transport, None) != Travel::Never => Way::Share,
            _ => return Err(Error::InvalidArgument),
        };
        let memory = match &way {
            Way::Offer(offer) => Some(offer.memory),
            Way::Join(_) | Way::Share => None,
        };
        let now = self.clock.now();
        let mut fx = Default::default();
        let made = self.lock()?.connect(node, transport, portals, way, now, &mut fx);
        let (link, handles) = match made {
            Ok(made) => made,
            Err(error) => {
                memory.into_iter().for_each(|object| driver.close(object));
                return Err(error);
            }
        };
        // Here and now, however deep the stack: what fails must be known before this returns.
        let carried = self.carry_out_here(fx);
        if link.is_some_and(|link| carried.given_back.contains(&link)) {
            for handle in handles {
                self.close(handle)?;
            }
            return Err(Error::Unknown);
        }
        Ok(handles)
    }

    /// A fresh node name.
    pub(super) fn draw_name(&self, driver: &dyn Driver) -> Option<NodeName> {
        let mut bytes = [0; 16];
        let drawn = driver.random(&mut bytes);
        if self.planted.has(Bug::NameUndrawn) {
            return Some(NodeName::from_bytes(bytes));
        }
        drawn.ok()?;
        Some(NodeName::from_bytes(bytes)).filter(|name| name.is_valid())
    }

    fn make_offer(&self, driver: &dyn Driver, to: ConnectTo) -> Result<Offer, Error> {
        let (memory, mapping) = primary(driver).map_err(|_| Error::ResourceExhausted)?;
        if to == ConnectTo::Broker {
            return Ok(Offer { client: None, memory, mapping });
        }
        match self.draw_name(driver) {
            Some(client) => Ok(Offer { client: Some(client), memory, mapping }),
            None => {
                driver.close(memory);
                Err(Error::Unknown)
            }
        }
    }

    /// Two entangled portals. `InvalidArgument`: not a node.
    pub fn open_portals(self: &Arc<Self>, node: Handle) -> Result<(Handle, Handle), Error> {
        self.lock()?.open_portals(node)
    }

    /// What can be said of a portal at once. `InvalidArgument`: not a portal.
    pub fn query(&self, portal: Handle) -> Result<PortalStatus, Error> {
        self.lock()?.query(portal)
    }

    /// Installs a trap that fires once, when one of its conditions comes true, or when the portal is closed or sent to another node.
    /// Refused, and not installed, if a level condition holds already.
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
    /// `InvalidArgument`: not two portals, one portal twice, each other's peer, or one with an open exclusive get (open puts are
    /// dropped). `FailedPrecondition`: something was put into one of them or taken out of it. Both stay valid then.
    pub fn merge(self: &Arc<Self>, a: Handle, b: Handle) -> Result<(), Error> {
        self.input(|core, now, fx| core.merge(a, b, now, fx))?
    }

    /// Closes a portal, a node, or a kept parcel, once for each time it was given. `InvalidArgument`: none of these, or closed already.
    pub fn close(self: &Arc<Self>, handle: Handle) -> Result<(), Error> {
        self.input(|core, now, fx| core.close(handle, now, fx))?
    }
}
