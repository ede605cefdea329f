//! What an application asks of nodes and portals (api.md 7, 8, 11, 12). Puts are in `puts.rs`, gets in `gets.rs`.

use super::{Core, Effects, Entry};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{DriverKey, Handle, LinkKey, NodeKey, NodeName, NodeType, ObjectId, RouterKey};
use crate::node::handshake::{Joining, Offer};
use crate::node::referral::Share;
use crate::node::{Node, NodeOptions};
use crate::routing::{MergeRefused, Origin, Trap};
use crate::trap::{PortalStatus, TrapConditions, TrapFlags};

/// What is needed to make a connection (look of ConnectNode).
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// What the node is.
    pub kind: NodeType,
    /// Its driver.
    pub driver: DriverKey,
}

/// How ConnectNode goes about it.
#[derive(Debug)]
pub enum Way {
    /// As a broker.
    Offer(Offer),
    /// As a node that gets a broker.
    Join(Joining),
    /// As a node that shares its broker.
    Share,
}

impl Core {
    /// A node. `name` is a broker's own; a normal node gets one from its broker.
    pub fn create_node(&mut self, kind: NodeType, driver: DriverKey, name: NodeName, options: NodeOptions) -> Handle {
        let NodeOptions { limits, features, compat_strict, separate } = options;
        self.limits = if self.net.nodes.is_empty() { limits } else { self.limits.and(limits) };
        let node = Node {
            kind,
            driver,
            name,
            features,
            limits,
            compat_strict,
            separate: separate && kind == NodeType::Broker,
            connections: Default::default(),
            broker_link: None,
            delegate: None,
            other_brokers: Default::default(),
            sharing: Default::default(),
            awaited: Default::default(),
            parking: Default::default(),
            pending: Default::default(),
            introducing: Default::default(),
            indirect: Default::default(),
            closed: false,
            links_made: 0,
            links_open: 0,
        };
        let key = self.net.nodes.insert(node);
        self.handles.insert(Entry::Node(key))
    }

    /// Look of ConnectNode: what the node is.
    pub fn endpoint(&self, node: Handle) -> Result<Endpoint, Error> {
        let node = self.net.nodes.get(self.node(node)?).ok_or(Error::InvalidArgument)?;
        Ok(Endpoint { kind: node.kind, driver: node.driver })
    }

    /// Commit of ConnectNode: the attempt, and its portals, which exist at once. No link: the transport is the broker's.
    pub fn connect(
        &mut self,
        node: Handle,
        transport: ObjectId,
        portals: usize,
        way: Way,
        now: Time,
        fx: &mut Effects,
    ) -> Result<(Option<LinkKey>, Vec<Handle>), Error> {
        let key = self.node(node)?;
        if self.net.nodes.get(key).is_none_or(|node| node.closed) {
            return Err(Error::InvalidArgument);
        }
        if self.net.has_transport(key, transport) {
            return Err(Error::InvalidArgument);
        }
        self.begin(Origin::ApiCall, now);
        let routers: Vec<RouterKey> = (0..portals).map(|_| self.routing.insert(Default::default())).collect();
        let handles = routers.iter().map(|router| self.make_portal(*router)).collect();
        for router in &routers {
            self.routing.hold(*router);
        }
        let link = match way {
            Way::Offer(offer) => Some(self.net.connect(key, transport, routers, Ok(offer))),
            Way::Join(joining) => Some(self.net.connect(key, transport, routers, Err(joining))),
            Way::Share => {
                self.net.share(key, Share { transport, portals: routers });
                None
            }
        };
        self.finish(fx);
        Ok((link, handles))
    }

    /// Two entangled portals.
    pub fn open_portals(&mut self, node: Handle) -> Result<(Handle, Handle), Error> {
        self.node(node)?;
        let [a, b] = self.routing.open_pair();
        Ok((self.make_portal(a), self.make_portal(b)))
    }

    /// Joins two routes in the middle; both portals are gone then (api.md 8).
    pub fn merge(&mut self, a: Handle, b: Handle, now: Time, fx: &mut Effects) -> Result<(), Error> {
        let (first, second) = (self.portal(a)?, self.portal(b)?);
        self.begin(Origin::ApiCall, now);
        let merged = self.routing.merge(first, second).map_err(|refused| match refused {
            MergeRefused::Related | MergeRefused::Held => Error::InvalidArgument,
            MergeRefused::Used => Error::FailedPrecondition,
        });
        if merged.is_ok() {
            self.handles.remove(a);
            self.handles.remove(b);
        }
        self.finish(fx);
        merged
    }

    /// What can be said of a portal.
    pub fn query(&self, portal: Handle) -> Result<PortalStatus, Error> {
        let router = self.portal(portal)?;
        self.routing.get(router).map(|r| r.status()).ok_or(Error::InvalidArgument)
    }

    /// Installs a trap; or says which level condition holds already.
    pub fn trap(&mut self, portal: Handle, trap: Trap) -> Result<Result<(), (TrapFlags, PortalStatus)>, Error> {
        let looked = self.look_for_trap(portal, &trap.conditions)?;
        if looked.is_ok() {
            self.install_trap(portal, trap)?;
        }
        Ok(looked)
    }

    /// The level conditions that hold already, if any does.
    pub fn look_for_trap(&self, portal: Handle, conditions: &TrapConditions) -> Result<Result<(), (TrapFlags, PortalStatus)>, Error> {
        Ok(self.routing.look_for_trap(self.portal(portal)?, conditions))
    }

    /// Installs a trap none of whose level conditions holds.
    pub fn install_trap(&mut self, portal: Handle, trap: Trap) -> Result<(), Error> {
        self.routing.install_trap(self.portal(portal)?, trap);
        Ok(())
    }

    /// Closes whatever the handle stands for.
    pub fn close(&mut self, handle: Handle, now: Time, fx: &mut Effects) -> Result<(), Error> {
        self.begin(Origin::ApiCall, now);
        let entry = *self.handles.get(handle).ok_or(Error::InvalidArgument)?;
        if !matches!(entry, Entry::Parcel(_)) {
            self.handles.remove(handle);
        }
        match entry {
            Entry::Node(node) => self.net.close_node(node),
            Entry::Portal(router) => self.routing.close(router),
            Entry::Parcel(parcel) => self.close_parcel(handle, parcel),
            Entry::Box(key) => {
                self.take_back(key);
                self.routing.drop_box(key);
            }
        }
        self.finish(fx);
        Ok(())
    }

    fn node(&self, handle: Handle) -> Result<NodeKey, Error> {
        match self.handles.get(handle) {
            Some(Entry::Node(node)) => Ok(*node),
            _ => Err(Error::InvalidArgument),
        }
    }

    pub(crate) fn portal(&self, handle: Handle) -> Result<RouterKey, Error> {
        match self.handles.get(handle) {
            Some(Entry::Portal(router)) => Ok(*router),
            _ => Err(Error::InvalidArgument),
        }
    }

    pub(super) fn make_portal(&mut self, router: RouterKey) -> Handle {
        let handle = self.handles.insert(Entry::Portal(router));
        self.routing.set_portal(router, Some(handle));
        handle
    }
}
