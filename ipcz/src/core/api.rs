//! What an application asks (api.md 7 to 12).

use super::{Core, Effects, Entry};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{DriverKey, Features, Handle, LinkKey, NodeKey, NodeName, NodeType, ObjectId, RouterKey};
use crate::limits::Limits;
use crate::memory::{Block, NoBlock};
use crate::node::handshake::Offer;
use crate::node::{MemoryWait, Node};
use crate::planted::Bug;
use crate::routing::{MergeRefused, Object, Origin, Parcel, Payload, PutRefused, Trap};
use crate::trap::{PortalStatus, TrapConditions, TrapFlags};

/// What is needed to make a connection (look of ConnectNode).
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// What the node is.
    pub kind: NodeType,
    /// Its driver.
    pub driver: DriverKey,
}

/// Where the data of a parcel should be put (look of a big Put). Only a hint.
#[derive(Debug)]
pub enum PutPlan {
    /// Into private memory.
    Heap,
    /// Into this block of this link's memory, which is the caller's now.
    Block(LinkKey, Block),
}

impl Core {
    /// A node. `name` is a broker's own; a normal node gets one from its broker.
    pub fn create_node(&mut self, kind: NodeType, driver: DriverKey, name: NodeName, features: Features, limits: Limits) -> Handle {
        self.limits = if self.net.nodes.is_empty() { limits } else { self.limits.and(limits) };
        let node = Node {
            kind,
            driver,
            name,
            features,
            limits,
            connections: Default::default(),
            broker_link: None,
            pending: Default::default(),
            introducing: Default::default(),
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

    /// Commit of ConnectNode: the attempt, and its portals, which exist at once.
    pub fn connect(
        &mut self,
        node: Handle,
        transport: ObjectId,
        portals: usize,
        offer: Option<Offer>,
        now: Time,
        fx: &mut Effects,
    ) -> Result<(LinkKey, Vec<Handle>), Error> {
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
        let link = self.net.connect(key, transport, routers, offer);
        self.finish(fx);
        Ok((link, handles))
    }

    /// Two entangled portals.
    pub fn open_portals(&mut self, node: Handle) -> Result<(Handle, Handle), Error> {
        self.node(node)?;
        let [a, b] = self.routing.open_pair();
        Ok((self.make_portal(a), self.make_portal(b)))
    }

    /// Look of a big Put: a block of the memory of the link the parcel would take, if there is one free.
    pub fn plan_put(&mut self, portal: Handle, bytes: usize, now: Time, fx: &mut Effects) -> Result<PutPlan, Error> {
        let router = self.portal(portal)?;
        let Some(at) = self.routing.get(router).and_then(|r| r.out.primary.as_ref()?.at()) else { return Ok(PutPlan::Heap) };
        let limits = self.net.limits_of(at.link);
        let Some(peer) = self.net.peer(at.link).filter(|_| bytes > limits.inline_bytes) else { return Ok(PutPlan::Heap) };
        match peer.memory.allocate(bytes + crate::memory::DATA_HEADER_BYTES as usize) {
            Ok(block) => Ok(PutPlan::Block(at.link, block)),
            Err(NoBlock::Grow { class }) => {
                if peer.memory.may_grow(class, &limits) {
                    self.begin(Origin::ApiCall, now);
                    self.net.request_capacity(at.link, class, MemoryWait::Nobody);
                    self.finish(fx);
                }
                Ok(PutPlan::Heap)
            }
            Err(NoBlock::TooLarge) => Ok(PutPlan::Heap),
        }
    }

    /// Commit of Put. A refusal has taken nothing from the caller; the data comes back to be freed.
    pub fn put(
        &mut self,
        portal: Handle,
        payload: Payload,
        objects: &[Handle],
        now: Time,
        fx: &mut Effects,
    ) -> Result<(), (Error, Payload)> {
        let refuse = |error, payload| Err((error, payload));
        let router = match self.portal(portal) {
            Ok(router) => router,
            Err(error) => return refuse(error, payload),
        };
        let limits = match self.check_limits(router, payload.len(), objects.len()) {
            Ok(limits) => limits,
            Err(error) => return refuse(error, payload),
        };
        let mut attached = Vec::with_capacity(objects.len());
        for handle in objects {
            match self.attachment(router, *handle) {
                Some(object) => attached.push(object),
                None => return refuse(Error::InvalidArgument, payload),
            }
        }
        if has_twins(objects) {
            return refuse(Error::InvalidArgument, payload);
        }
        self.begin(Origin::ApiCall, now);
        let mut parcel = Parcel { number: 0, payload, objects: attached, via: None };
        if self.routing.planted.has(Bug::PutAfterLook)
            && let Payload::Block { link, .. } = &mut parcel.payload
        {
            *link = self.routing.get(router).and_then(|r| r.out.primary.as_ref()?.at()).map_or(*link, |at| at.link);
        }
        match self.routing.put(router, parcel, limits.portal_backlog_parcels) {
            Ok(()) => {
                for handle in objects {
                    if let Some(Entry::Portal(router)) = self.handles.remove(*handle) {
                        self.routing.set_portal(router, None);
                    }
                }
                self.finish(fx);
                Ok(())
            }
            Err((PutRefused::PeerClosed, parcel)) => {
                if self.routing.planted.has(Bug::RefusedPutTakes) {
                    for handle in objects {
                        self.handles.remove(*handle);
                    }
                }
                refuse(Error::NotFound, parcel.payload)
            }
            Err((PutRefused::Full, parcel)) => refuse(Error::ResourceExhausted, parcel.payload),
        }
    }

    /// What may be attached: a portal other than the sending one and its direct local peer (api.md 9).
    fn attachment(&self, sender: RouterKey, handle: Handle) -> Option<Object> {
        let Entry::Portal(router) = *self.handles.get(handle)? else { return None };
        let peer = self.routing.local_peer(sender);
        (router != sender && peer != Some(router)).then_some(Object::Portal(router))
    }

    /// Where a portal's parcels go now, if to another node, and what the driver had yet to write when it was last asked.
    pub fn way_out(&self, portal: Handle) -> Option<(LinkKey, DriverKey, ObjectId, usize)> {
        let router = self.portal(portal).ok()?;
        let link = self.routing.get(router)?.out.primary.as_ref()?.at()?.link;
        let (driver, transport) = self.link_end(link)?;
        Some((link, driver, transport, self.net.links.get(link)?.outbox.backlog))
    }

    /// What the driver has yet to write on a link.
    pub fn set_backlog(&mut self, link: LinkKey, bytes: usize) {
        self.net.set_backlog(link, bytes);
    }

    /// The named limits that Put answers for.
    fn check_limits(&self, router: RouterKey, bytes: usize, objects: usize) -> Result<Limits, Error> {
        let at = self.routing.get(router).and_then(|r| r.out.primary.as_ref()?.at());
        let limits = at.map_or(self.limits, |at| self.net.limits_of(at.link));
        let waiting = at.and_then(|at| self.net.links.get(at.link)).map_or(0, |link| link.outbox.bytes + link.outbox.backlog);
        // A portal takes two sublinks at most.
        let crowded = objects > 0 && at.is_some_and(|at| 2 * objects > self.net.sublinks_left(at.link));
        if bytes > limits.parcel_bytes || objects > limits.parcel_objects || waiting > limits.link_backlog_bytes || crowded {
            return Err(Error::ResourceExhausted);
        }
        Ok(limits)
    }

    /// The next parcel of a portal; its attachments become handles. The data is the caller's to copy and free.
    pub fn get(&mut self, portal: Handle, now: Time, fx: &mut Effects) -> Result<(Payload, Vec<Handle>), Error> {
        let router = self.portal(portal)?;
        let state = self.routing.get(router).ok_or(Error::InvalidArgument)?;
        if state.status_dead {
            return Err(Error::NotFound);
        }
        self.begin(Origin::ApiCall, now);
        let parcel = self.routing.take(router).ok_or(Error::Unavailable)?;
        let handles = parcel.objects.iter().map(|Object::Portal(router)| self.make_portal(*router)).collect();
        self.finish(fx);
        Ok((parcel.payload, handles))
    }

    /// Joins two routes in the middle; both portals are gone then (api.md 8).
    pub fn merge(&mut self, a: Handle, b: Handle, now: Time, fx: &mut Effects) -> Result<(), Error> {
        let (first, second) = (self.portal(a)?, self.portal(b)?);
        self.begin(Origin::ApiCall, now);
        let merged = self.routing.merge(first, second).map_err(|refused| match refused {
            MergeRefused::Related => Error::InvalidArgument,
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
        match self.handles.remove(handle).ok_or(Error::InvalidArgument)? {
            Entry::Node(node) => self.net.close_node(node),
            Entry::Portal(router) => self.routing.close(router),
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

    fn make_portal(&mut self, router: RouterKey) -> Handle {
        let handle = self.handles.insert(Entry::Portal(router));
        self.routing.set_portal(router, Some(handle));
        handle
    }
}

/// Whether a handle occurs twice.
fn has_twins(handles: &[Handle]) -> bool {
    let mut sorted = handles.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}
