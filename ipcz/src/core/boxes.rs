//! Boxes: made, opened, and packed for the way to another node (api.md 13).

use super::{Core, Effects, Entry};
use crate::application::ApplicationObject;
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{BoxKey, DriverKey, Handle, LinkKey, ObjectId, RouterKey};
use crate::limits::Limits;
use crate::node::{Doomed, Outgoing, Part, Slot};
use crate::planted::Bug;
use crate::probe::Probe;
use crate::routing::{Boxed, Broken, Object, Origin, Parcel, Payload, Routing, Sublink};
use crate::wire::{MAX_SUBPARCELS, RouterDescriptor};

/// What a box holds.
#[derive(Clone, Debug)]
pub enum BoxContents {
    /// An object of the driver of the node that the box was made or received with.
    Driver(ObjectId),
    /// An object of the application.
    Application(ApplicationObject),
    /// What an object of another process's application has become: a parcel, to be got from and closed as a kept one.
    Subparcel(Handle),
}

impl Core {
    /// Boxes a driver object of a node's driver. A refusal has not taken it.
    pub fn box_driver_object(&mut self, node: Handle, object: ObjectId, sendable: bool) -> Result<Handle, Error> {
        let driver = self.endpoint(node)?.driver;
        self.net.objects += 1;
        Ok(self.insert_box(Boxed::Driver { driver, object, sendable }))
    }

    /// Boxes an object of the application. A refusal has not taken it.
    pub fn box_application_object(&mut self, node: Handle, object: ApplicationObject, serializable: Option<bool>) -> Result<Handle, Error> {
        self.endpoint(node)?;
        Ok(self.insert_box(Boxed::Application { object, serializable }))
    }

    fn insert_box(&mut self, boxed: Boxed) -> Handle {
        self.routing.probes.hit(Probe::Boxed);
        let key = self.routing.boxes.insert(boxed);
        self.handles.insert(Entry::Box(key))
    }

    fn boxed(&self, handle: Handle) -> Result<(BoxKey, &Boxed), Error> {
        let Some(Entry::Box(key)) = self.handles.get(handle) else { return Err(Error::InvalidArgument) };
        Ok((*key, self.routing.boxes.get(*key).ok_or(Error::InvalidArgument)?))
    }

    /// Whether this is the handle of a box.
    pub fn is_box(&self, handle: Handle) -> bool {
        self.boxed(handle).is_ok()
    }

    /// Opens a box, which is gone then; what was in it is the caller's.
    pub fn unbox(&mut self, handle: Handle) -> Result<BoxContents, Error> {
        let (key, _) = self.boxed(handle)?;
        let lent = self.lent_parcel(key);
        self.lent.remove(&key);
        if let Some(parcel) = lent {
            self.routing.boxes.remove(key);
            self.handles.remove(handle);
            return Ok(BoxContents::Subparcel(parcel));
        }
        let boxed = self.routing.boxes.remove(key).ok_or(Error::InvalidArgument)?;
        self.handles.remove(handle);
        Ok(match boxed {
            Boxed::Driver { object, .. } => {
                self.net.objects -= 1;
                BoxContents::Driver(object)
            }
            Boxed::Application { object, .. } => BoxContents::Application(object),
            Boxed::Parcel(parcel) => BoxContents::Subparcel(self.keep(parcel)),
        })
    }

    /// What is in a box, which keeps it. A subparcel can be got from until something is done with its box: what is taken out of it is gone.
    pub fn peek_box(&mut self, handle: Handle) -> Result<BoxContents, Error> {
        let (key, boxed) = self.boxed(handle)?;
        match boxed {
            Boxed::Driver { object, .. } => return Ok(BoxContents::Driver(*object)),
            Boxed::Application { object, .. } => return Ok(BoxContents::Application(object.clone())),
            Boxed::Parcel(_) => {}
        }
        if let Some(lent) = self.lent_parcel(key) {
            return Ok(BoxContents::Subparcel(lent));
        }
        let Some(Boxed::Parcel(parcel)) = self.routing.boxes.get_mut(key) else { return Err(Error::InvalidArgument) };
        let parcel = std::mem::take(parcel);
        let lent = self.keep(parcel);
        self.lent.insert(key, lent);
        Ok(BoxContents::Subparcel(lent))
    }

    /// The handle by which the subparcel of a box is looked at, unless that was closed, which it must not be.
    fn lent_parcel(&self, key: BoxKey) -> Option<Handle> {
        self.lent.get(&key).copied().filter(|handle| self.handles.contains(*handle))
    }

    /// Puts a subparcel that was looked at back into its box.
    pub(super) fn take_back(&mut self, key: BoxKey) {
        let Some(Entry::Parcel(kept)) = self.lent.remove(&key).and_then(|handle| self.handles.remove(handle)) else { return };
        if let (Some(parcel), Some(Boxed::Parcel(inside))) = (self.unkeep(kept), self.routing.boxes.get_mut(key)) {
            *inside = parcel;
        }
    }

    /// Releases what was in boxes that this input gave up, outside the lock.
    pub(super) fn release_boxes(&mut self) {
        for boxed in std::mem::take(&mut self.routing.unboxed) {
            match boxed {
                Boxed::Driver { driver, object, .. } => self.net.doom(driver, object),
                Boxed::Application { object, .. } => self.net.out.doomed.push(Doomed::Application(object)),
                Boxed::Parcel(_) => unreachable!("parcels in boxes are discarded"),
            }
        }
    }

    /// Objects among these attachments whose owners must be asked before they leave the node by this portal.
    pub fn undecided(&self, portal: Handle, objects: &[Handle]) -> Vec<(BoxKey, ApplicationObject)> {
        if !self.portal(portal).is_ok_and(|router| self.routing.leaves(router)) {
            return Vec::new();
        }
        let undecided = |handle: &Handle| match self.boxed(*handle) {
            Ok((key, Boxed::Application { object, serializable: None })) => Some((key, object.clone())),
            _ => None,
        };
        objects.iter().filter_map(undecided).collect()
    }

    /// What the owner of an object said, if that is still boxed.
    pub fn decide(&mut self, key: BoxKey, agrees: bool) {
        if let Some(Boxed::Application { serializable, .. }) = self.routing.boxes.get_mut(key) {
            *serializable = Some(agrees);
        }
    }

    /// Whether what is in a box may be attached to a parcel (api.md 9).
    pub(super) fn may_attach(&self, key: BoxKey, sender: RouterKey) -> bool {
        match self.routing.boxes.get(key) {
            Some(Boxed::Driver { sendable, .. }) => *sendable,
            Some(Boxed::Application { serializable, .. }) => *serializable == Some(true) || !self.routing.leaves(sender),
            Some(Boxed::Parcel(parcel)) => self.looked_at(key).unwrap_or(parcel).objects.iter().all(|object| match object {
                Object::Portal(router) => self.may_attach_portal(*router, sender),
                Object::Box(key) => self.may_attach(*key, sender),
            }),
            None => false,
        }
    }

    fn looked_at(&self, key: BoxKey) -> Option<&Parcel> {
        match self.handles.get(*self.lent.get(&key)?)? {
            Entry::Parcel(kept) => Some(&self.parcels.get(*kept)?.parcel),
            _ => None,
        }
    }

    /// Subparcels that a parcel with these attachments has on its way.
    pub(super) fn subparcels(&self, objects: &[Object]) -> usize {
        let boxed = |object: &Object| if let Object::Box(key) = object { self.routing.boxes.get(*key) } else { None };
        objects.iter().filter(|object| matches!(boxed(object), Some(Boxed::Application { .. } | Boxed::Parcel(_)))).count()
    }

    /// Sends a parcel with boxes over a sublink of a working link. Its portals, those in its boxes too, become proxies at once; driver
    /// objects and those of the application are settled by the drainer.
    pub(super) fn send_boxes(&mut self, at: Sublink, parcel: Parcel) {
        let number = parcel.number;
        let portals = self.routing.portals_in(&parcel.objects);
        let Some(routers) = self.move_portals(at.link, &portals) else { return self.discard_unmoved(parcel) };
        let Some(driver) = self.net.node_of(at.link).map(|node| node.driver) else { return self.routing.discard(parcel) };
        self.routing.probes.hit(Probe::BoxSent);
        let main = self.pack(at.link, driver, parcel, &mut routers.into_iter());
        self.net.objects -= main.objects();
        let bytes = main.bytes();
        self.net.append(at.link, Outgoing::Boxes { sublink: at.id, number, main }, Vec::new(), bytes, false);
    }

    /// A spoilt link is dropped, and with it those that it was to take; portals that became proxies before go with it.
    pub(super) fn discard_unmoved(&mut self, mut parcel: Parcel) {
        let Routing { routers, boxes, .. } = &mut self.routing;
        let stays = |object: &Object| !matches!(object, Object::Portal(y) if routers.get(*y).is_some_and(|y| y.inward.is_some()));
        for object in &parcel.objects {
            if let Object::Box(key) = object
                && let Some(Boxed::Parcel(inner)) = boxes.get_mut(*key)
            {
                inner.objects.retain(stays);
            }
        }
        parcel.objects.retain(stays);
        self.routing.discard(parcel);
    }

    /// What goes out for a parcel. Portals have been moved: each takes the next descriptor.
    fn pack(&mut self, link: LinkKey, driver: DriverKey, parcel: Parcel, routers: &mut dyn Iterator<Item = RouterDescriptor>) -> Part {
        let mut part = Part { data: self.outgoing_data(link, parcel.payload), routers: Vec::new(), slots: Vec::new() };
        for object in parcel.objects {
            let key = match object {
                Object::Portal(_) => {
                    part.routers.extend(routers.next());
                    part.slots.push(Slot::Portal);
                    continue;
                }
                Object::Box(key) => key,
            };
            match self.routing.boxes.remove(key) {
                Some(Boxed::Driver { driver: of, object, .. }) if of == driver => part.slots.push(Slot::Object(object)),
                Some(Boxed::Application { object, .. }) => part.slots.push(Slot::Application(object)),
                Some(Boxed::Parcel(inner)) => part.slots.push(Slot::Part(self.pack(link, driver, inner, routers))),
                // Of another node's driver: it cannot go (api.md A15).
                Some(boxed @ Boxed::Driver { .. }) => {
                    self.routing.probes.hit(Probe::BoxReplaced);
                    self.routing.unboxed.push(boxed);
                    part.slots.push(Slot::Part(Part::empty()));
                }
                None => {}
            }
        }
        part
    }

    /// An object of the application was serialized while its parcel leaves: takes over what it wants to send along. None, and everything
    /// closed, if that may not go: more than a parcel may have, or anything but portals and boxes with driver objects (api.md A7).
    pub fn take_serialized(
        &mut self,
        link: LinkKey,
        bytes: usize,
        handles: &[Handle],
        origin: Origin,
        now: Time,
        fx: &mut Effects,
    ) -> Option<(Vec<RouterDescriptor>, Vec<Slot>)> {
        self.begin(origin, now);
        let limits = self.net.limits_of(link);
        let taken: Vec<Object> = handles.iter().filter_map(|handle| self.take_handle(*handle)).collect();
        let fits = taken.len() == handles.len() && bytes <= limits.parcel_bytes && taken.len() <= limits.parcel_objects;
        let plain = |object: &Object| match object {
            Object::Portal(_) => true,
            Object::Box(key) => matches!(self.routing.boxes.get(*key), Some(Boxed::Driver { sendable: true, .. })),
        };
        let fits = fits && taken.iter().all(plain) && !too_many_boxes(&taken, &limits) && self.net.peer(link).is_some();
        let parcel = Parcel { objects: taken, ..Parcel::default() };
        let portals = self.routing.portals_in(&parcel.objects);
        let routers = if fits { self.move_portals(link, &portals) } else { None };
        let packed = match (routers, self.net.node_of(link).map(|node| node.driver)) {
            (Some(routers), Some(driver)) => {
                let part = self.pack(link, driver, parcel, &mut routers.into_iter());
                self.net.objects -= part.objects();
                Some((part.routers, part.slots))
            }
            _ => {
                self.routing.probes.hit(Probe::BoxReplaced);
                self.discard_unmoved(parcel);
                None
            }
        };
        self.finish(fx);
        packed
    }

    /// Takes a portal or box out of an application's hands.
    fn take_handle(&mut self, handle: Handle) -> Option<Object> {
        let object = match self.handles.get(handle)? {
            Entry::Portal(router) => Object::Portal(*router),
            Entry::Box(key) => Object::Box(*key),
            Entry::Node(_) | Entry::Parcel(_) => return None,
        };
        self.handles.remove(handle);
        if let Object::Portal(router) = object {
            self.routing.set_portal(router, None);
        }
        Some(object)
    }

    /// Moves portals over a link, all of them, or drops the link.
    pub(super) fn move_portals(&mut self, link: LinkKey, portals: &[RouterKey]) -> Option<Vec<RouterDescriptor>> {
        let mut routers = Vec::with_capacity(portals.len());
        for portal in portals {
            match self.move_portal(*portal, link) {
                Some(descriptor) => routers.push(descriptor),
                None => {
                    // The portal may have been locked for the move: only its loss frees its peer.
                    self.routing.break_route(*portal, Broken::Outward);
                    self.drop_link(link, "the link's sublink counter is spoilt".into());
                    return None;
                }
            }
        }
        Some(routers)
    }

    /// Boxes driver objects that arrived over a link.
    pub(super) fn box_arrived(&mut self, on: LinkKey, objects: &mut Vec<Option<ObjectId>>) -> Vec<Object> {
        let Some(driver) = self.net.node_of(on).map(|node| node.driver) else { return Vec::new() };
        if self.routing.planted.has(Bug::ArrivedObjectLost) {
            objects.truncate(1);
        }
        let arrived = std::mem::take(objects).into_iter().flatten();
        arrived.map(|object| Object::Box(self.routing.boxes.insert(Boxed::Driver { driver, object, sendable: true }))).collect()
    }
}

#[cfg(feature = "inspect")]
impl Core {
    /// In a copy of a world all boxed objects have this owner. Between inputs none is on its way out.
    pub(crate) fn replace_application(&mut self, owner: &std::sync::Arc<dyn crate::application::Application>) {
        for (_, boxed) in self.routing.boxes.iter_mut() {
            if let Boxed::Application { object, .. } = boxed {
                object.owner = std::sync::Arc::clone(owner);
            }
        }
    }
}

/// Whether a parcel may have as many subparcels (api.md A7).
pub(super) fn too_many_subparcels(subparcels: usize) -> bool {
    subparcels >= MAX_SUBPARCELS as usize
}

/// Whether a parcel's boxes fit into messages of the driver.
pub(super) fn too_many_boxes(objects: &[Object], limits: &Limits) -> bool {
    objects.iter().filter(|object| matches!(object, Object::Box(_))).count() > limits.parcel_boxes
}

impl Part {
    /// A subparcel made of what an object of the application became.
    pub fn serialized(data: &[u8], routers: Vec<RouterDescriptor>, slots: Vec<Slot>) -> Part {
        Part { data: crate::node::ParcelData::Inline(Payload::copy_of(data)), routers, slots }
    }
}
