//! Puts, in one step and in two (api.md 9).

use super::boxes::{too_many_boxes, too_many_subparcels};
use super::{Core, Effects, Entry};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{DriverKey, Handle, LinkKey, ObjectId, RouterKey, Transaction};
use crate::limits::Limits;
use crate::memory::{Block, DATA_HEADER_BYTES, MAX_BLOCK_BYTES, NoBlock};
use crate::node::MemoryWait;
use crate::planted::Bug;
use crate::routing::{Object, Origin, Parcel, ParcelWriter, Payload, PutRefused};

/// Where the data of a parcel should be put (look of a big Put, and of BeginPut). Only a hint.
#[derive(Debug)]
pub enum PutPlan {
    /// Into this many bytes of private memory.
    Heap(usize),
    /// Into this block of this link's memory, which is the caller's now.
    Block(LinkKey, Block),
}

impl Core {
    /// Look of a big Put, and of BeginPut: a block of the memory of the link the parcel would take, if there is one free. `partial`:
    /// if there is none of that size, the biggest one that is free (api.md 9).
    pub fn plan_put(&mut self, portal: Handle, bytes: usize, partial: bool, now: Time, fx: &mut Effects) -> Result<PutPlan, Error> {
        let router = self.portal(portal)?;
        let heap = Ok(PutPlan::Heap(bytes));
        let Some(at) = self.routing.outward_link(router) else { return heap };
        let limits = self.net.limits_of(at.link);
        let Some(peer) = self.net.peer(at.link).filter(|_| bytes > limits.inline_bytes) else { return heap };
        let header = DATA_HEADER_BYTES as usize;
        let bytes = if partial { bytes.min(MAX_BLOCK_BYTES as usize - header) } else { bytes };
        let heap = PutPlan::Heap(bytes);
        match peer.memory.allocate(bytes + header) {
            Ok(block) => Ok(PutPlan::Block(at.link, block)),
            Err(NoBlock::Grow { class }) => {
                let smaller = if partial { peer.memory.allocate_best_effort(bytes + header) } else { None };
                if peer.memory.may_grow(class, &limits) {
                    self.begin(Origin::ApiCall, now);
                    self.net.request_capacity(at.link, class, MemoryWait::Nobody);
                    self.finish(fx);
                }
                Ok(smaller.map_or(heap, |block| PutPlan::Block(at.link, block)))
            }
            Err(NoBlock::TooLarge) => Ok(heap),
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
        let checked = self.portal(portal).and_then(|router| Ok((router, self.attachments(router, objects)?)));
        match checked {
            Ok((router, attached)) => self.send(router, payload, attached, objects, now, fx),
            Err(error) => Err((error, payload)),
        }
    }

    /// The limits that an open put begins under: how big its parcel may be, and how many may be open.
    pub fn put_limits(&self, portal: Handle) -> Result<Limits, Error> {
        let at = self.routing.outward_link(self.portal(portal)?);
        Ok(at.map_or(self.limits, |at| self.net.limits_of(at.link)))
    }

    /// Commit of BeginPut. A refusal gives the room back.
    pub fn begin_put(&mut self, portal: Handle, room: ParcelWriter) -> Result<Transaction, (Error, ParcelWriter)> {
        match self.portal(portal).and_then(|router| Ok((router, self.put_limits(portal)?))) {
            Ok((router, limits)) => self.routing.begin_put(router, room, limits.portal_transactions),
            Err(error) => Err((error, room)),
        }
    }

    /// Look of EndPut: what was written. `InvalidArgument` as EndPut answers it; the put stays open.
    pub fn open_put(&self, portal: Handle, put: Transaction, produced: usize, objects: &[Handle]) -> Result<ParcelWriter, Error> {
        self.check_end(portal, put, produced, objects).map(|(_, _, room)| room.clone())
    }

    /// What EndPut demands: an open put of this portal with room for what was produced, and attachments that may be sent.
    fn check_end(
        &self,
        portal: Handle,
        put: Transaction,
        produced: usize,
        objects: &[Handle],
    ) -> Result<(RouterKey, Vec<Object>, &ParcelWriter), Error> {
        let router = self.portal(portal)?;
        let attached = self.attachments(router, objects)?;
        let room = self.routing.open_put(router, put).filter(|room| produced <= room.capacity());
        Ok((router, attached, room.ok_or(Error::InvalidArgument)?))
    }

    /// Commit of EndPut: sends what was written, from its block or as the `copy` of its first `produced` bytes. After `NotFound` the
    /// put is over, after any other refusal still open; attachments stay the caller's, and the copy comes back.
    pub fn end_put(
        &mut self,
        portal: Handle,
        put: Transaction,
        (produced, copy): (usize, Payload),
        objects: &[Handle],
        now: Time,
        fx: &mut Effects,
    ) -> Result<(), (Error, Payload)> {
        let (router, attached) = match self.check_end(portal, put, produced, objects) {
            Ok((router, attached, _)) => (router, attached),
            Err(error) => return Err((error, copy)),
        };
        let room = self.routing.close_put(router, put).expect("looked at just now");
        let sealed = if produced == 0 { None } else { room.sealed(produced) };
        let used = sealed.is_some();
        match self.send(router, sealed.unwrap_or(copy), attached, objects, now, fx) {
            Ok(()) => {
                if !used {
                    self.waste(room, fx);
                }
                Ok(())
            }
            Err((Error::ResourceExhausted, payload)) => {
                self.routing.reopen_put(router, put, room);
                Err((Error::ResourceExhausted, if used { Payload::None } else { payload }))
            }
            Err((error, _)) => {
                self.waste(room, fx);
                Err((error, Payload::None))
            }
        }
    }

    /// EndPut that aborts. `InvalidArgument`: no open put of this portal.
    pub fn abort_put(&mut self, portal: Handle, put: Transaction, fx: &mut Effects) -> Result<(), Error> {
        let router = self.portal(portal)?;
        let room = self.routing.close_put(router, put).ok_or(Error::InvalidArgument)?;
        self.waste(room, fx);
        Ok(())
    }

    /// Room that nothing is sent from is freed, outside the lock.
    fn waste(&mut self, room: ParcelWriter, fx: &mut Effects) {
        fx.discarded.push(Parcel { payload: room.into_waste(), ..Parcel::default() });
    }

    /// Sends a checked parcel. A refusal gives the data back.
    fn send(
        &mut self,
        router: RouterKey,
        payload: Payload,
        attached: Vec<Object>,
        objects: &[Handle],
        now: Time,
        fx: &mut Effects,
    ) -> Result<(), (Error, Payload)> {
        for object in &attached {
            if let Object::Box(key) = object {
                self.take_back(*key);
            }
        }
        let limits = match self.check_limits(router, payload.len(), &attached) {
            Ok(limits) => limits,
            Err(error) => return Err((error, payload)),
        };
        self.begin(Origin::ApiCall, now);
        let mut parcel = Parcel { number: 0, payload, objects: attached, via: None };
        if self.routing.planted.has(Bug::PutAfterLook)
            && let Payload::Block { link, .. } = &mut parcel.payload
        {
            *link = self.routing.outward_link(router).map_or(*link, |at| at.link);
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
                Err((Error::NotFound, parcel.payload))
            }
            Err((PutRefused::Full, parcel)) => Err((Error::ResourceExhausted, parcel.payload)),
        }
    }

    /// What is to be attached, if all of it may be (api.md 9).
    fn attachments(&self, sender: RouterKey, objects: &[Handle]) -> Result<Vec<Object>, Error> {
        let attached: Option<Vec<Object>> = objects.iter().map(|handle| self.attachment(sender, *handle)).collect();
        attached.filter(|_| !has_twins(objects)).ok_or(Error::InvalidArgument)
    }

    /// What may be attached: a box whose contents may go, and a portal other than the sending one and its direct local peer; but none with
    /// an open exclusive get if it is known to leave for another node (api.md 9, A6).
    fn attachment(&self, sender: RouterKey, handle: Handle) -> Option<Object> {
        match *self.handles.get(handle)? {
            Entry::Portal(router) => self.may_attach_portal(router, sender).then_some(Object::Portal(router)),
            Entry::Box(key) => self.may_attach(key, sender).then_some(Object::Box(key)),
            Entry::Node(_) | Entry::Parcel(_) => None,
        }
    }

    pub(super) fn may_attach_portal(&self, router: RouterKey, sender: RouterKey) -> bool {
        let peer = self.routing.local_peer(sender);
        let held = self.routing.get(router).is_some_and(|router| router.has_exclusive_get());
        router != sender && peer != Some(router) && !(held && self.routing.leaves(sender))
    }

    /// Where a portal's parcels go now, if to another node, and what the driver had yet to write when it was last asked.
    pub fn way_out(&self, portal: Handle) -> Option<(LinkKey, DriverKey, ObjectId, usize)> {
        let router = self.portal(portal).ok()?;
        let link = self.routing.outward_link(router)?.link;
        let (driver, transport) = self.link_end(link)?;
        Some((link, driver, transport, self.net.links.get(link)?.outbox.backlog))
    }

    /// What the driver has yet to write on a link.
    pub fn set_backlog(&mut self, link: LinkKey, bytes: usize) {
        self.net.set_backlog(link, bytes);
    }

    /// The named limits that Put answers for.
    fn check_limits(&self, router: RouterKey, bytes: usize, attached: &[Object]) -> Result<Limits, Error> {
        let at = self.routing.outward_link(router);
        let limits = at.map_or(self.limits, |at| self.net.limits_of(at.link));
        let waiting = at.and_then(|at| self.net.links.get(at.link)).map_or(0, |link| link.outbox.bytes + link.outbox.backlog);
        // A portal takes two sublinks at most.
        let portals = if attached.is_empty() { 0 } else { self.routing.portals_in(attached).len() };
        let crowded = portals > 0 && at.is_some_and(|at| 2 * portals > self.net.sublinks_to_give(at.link, false));
        let boxes = attached.len() > portals && (too_many_boxes(attached, &limits) || too_many_subparcels(self.subparcels(attached)));
        let objects = attached.len();
        if bytes > limits.parcel_bytes || objects > limits.parcel_objects || waiting > limits.link_backlog_bytes || crowded || boxes {
            return Err(Error::ResourceExhausted);
        }
        Ok(limits)
    }
}

/// Whether a handle occurs twice.
fn has_twins(handles: &[Handle]) -> bool {
    let mut sorted = handles.to_vec();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}
