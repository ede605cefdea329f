//! Boxes (api.md 13): made and opened; and, in the hands of a drainer, sent: what is in them is asked of drivers and applications
//! without the lock, before the first message of their parcel goes out, so that a sequence never gets a hole.

use std::sync::Arc;

use super::carry::{drop_part, pack_objects, transmit_packed};
use super::process::Process;
use crate::application::{ApplicationObject, Serialized};
use crate::core::{BoxContents, RelayWay};
use crate::driver::{Driver, DriverError, Packed, Travel};
use crate::error::Error;
use crate::ids::{FragmentDescriptor, Handle, LinkKey, ObjectId, SublinkId};
use crate::node::{ParcelData, Part, Slot};
use crate::probe::Probe;
use crate::routing::{Origin, Payload};
use crate::wire::{AcceptParcel, AcceptParcelDriverObjects, HandleType, MAX_SUBPARCELS, Message, ObjectRange};

impl Process {
    /// Puts something into a box, which can be attached to parcels like a portal. `InvalidArgument`: not a node; `Unimplemented`: a
    /// subparcel, which boxes itself. A refusal has taken nothing. A driver object must be of the node's driver.
    pub fn box_object(self: &Arc<Self>, node: Handle, contents: BoxContents) -> Result<Handle, Error> {
        let endpoint = self.lock()?.endpoint(node)?;
        match contents {
            BoxContents::Driver(object) => {
                let sendable = self.driver(endpoint.driver).can_travel(object, None) == Travel::Yes;
                self.input(|core, _, _| core.box_driver_object(node, object, sendable))?
            }
            BoxContents::Application(object) => {
                let can = object.owner.can_serialize(object.object);
                let serializable = if can && object.owner.decides_late(object.object) { None } else { Some(can) };
                self.input(|core, _, _| core.box_application_object(node, object, serializable))?
            }
            BoxContents::Subparcel(_) => Err(Error::Unimplemented),
        }
    }

    /// Opens a box, which is gone then; what was in it is the caller's. `InvalidArgument`: not a box, which stays as it is.
    pub fn unbox(self: &Arc<Self>, handle: Handle) -> Result<BoxContents, Error> {
        self.input(|core, _, _| core.unbox(handle))?
    }

    /// What is in a box, which keeps it: the contents are borrowed. A subparcel can be got from, but not closed, until its box is opened,
    /// attached or closed; what is taken out of it is gone from the box, too. `InvalidArgument`: not a box.
    pub fn peek_box(&self, handle: Handle) -> Result<BoxContents, Error> {
        self.input(|core, _, _| core.peek_box(handle))?
    }

    /// Whether this is the handle of a box.
    pub(super) fn is_box(&self, handle: Handle) -> bool {
        self.lock().is_ok_and(|core| core.is_box(handle))
    }

    /// What an object of the application becomes on its way over `link`. It is destroyed in any case.
    fn serialize(&self, link: LinkKey, object: ApplicationObject, origin: Origin) -> Part {
        let made = object.owner.serialize(object.object);
        object.owner.destroy(object.object);
        let Some(Serialized { data, handles }) = made else { return Part::empty() };
        match self.input(|core, now, fx| core.take_serialized(link, data.len(), &handles, origin, now, fx)) {
            Ok(Some((routers, slots))) => Part::serialized(&data, routers, slots),
            Ok(None) | Err(_) => Part::empty(),
        }
    }
}

/// The sending of one parcel with boxes, by the drainer of its link.
pub(super) struct Sending<'a> {
    pub process: &'a Process,
    pub driver: &'a dyn Driver,
    /// Of the input that is carried out.
    pub origin: Origin,
    pub link: LinkKey,
    pub transport: ObjectId,
    pub sublink: SublinkId,
    pub number: u64,
    /// Of the first message.
    pub sequence: u64,
    pub buffer: &'a mut Vec<u8>,
}

/// How a part's driver objects go.
enum Objects {
    /// With it.
    Packed(Packed, Vec<(usize, usize)>),
    /// Through the broker.
    Relayed(Vec<ObjectId>),
}

/// A part whose boxes are settled.
struct Settled {
    data: ParcelData,
    types: Vec<u32>,
    routers: Vec<crate::wire::RouterDescriptor>,
    objects: Objects,
}

impl Sending<'_> {
    /// Settles what is in the boxes, then sends the subparcels and the main part (wire.md 11.2). All is consumed in any case.
    pub fn send(mut self, mut main: Part) -> Result<(), DriverError> {
        for slot in &mut main.slots {
            if let Slot::Application(_) = slot
                && let Slot::Application(object) = std::mem::replace(slot, Slot::Portal)
            {
                *slot = Slot::Part(self.process.serialize(self.link, object, self.origin));
            }
        }
        let mut way = None;
        let mut parts = Vec::new();
        let mut free = (MAX_SUBPARCELS as usize - 1).saturating_sub(main.subparcels());
        let settled = self.settle(main, &mut way, &mut parts, &mut free);
        let total = parts.len() as u32 + 1;
        let parts = parts.into_iter().zip(1..).chain([(settled, 0)]);
        let mut result = Ok(());
        for (nth, (part, index)) in parts.enumerate() {
            match result {
                Ok(()) => result = self.send_part(part, (index, total), nth as u64, way),
                Err(_) => self.drop_settled(part),
            }
        }
        if let Some(way) = way.flatten() {
            // A failed core has no links any more.
            let _ = self.process.input(|core, now, fx| core.relay_done(way, self.origin, now, fx));
        }
        result
    }

    /// Finds out how the objects of a part go. What cannot go is closed; in the main part an empty subparcel takes its place (api.md A15),
    /// in a subparcel, which can have none, it is left out. Subparcels are settled on the way, in order.
    fn settle(&mut self, part: Part, way: &mut Option<Option<RelayWay>>, parts: &mut Vec<Settled>, free: &mut usize) -> Settled {
        let travel = |object| self.driver.can_travel(object, Some(self.transport));
        let objects: Vec<Travel> =
            part.slots.iter().filter_map(|slot| if let Slot::Object(object) = slot { Some(travel(*object)) } else { None }).collect();
        let relayed = objects.contains(&Travel::NotHere);
        let round = if relayed { *way.get_or_insert_with(|| self.way()) } else { None };
        let mut travels = objects.into_iter();
        let mut settled = Settled {
            data: part.data,
            types: Vec::with_capacity(part.slots.len()),
            routers: part.routers,
            objects: if round.is_some() { Objects::Relayed(Vec::new()) } else { Objects::Packed(Packed::default(), Vec::new()) },
        };
        for slot in part.slots {
            match slot {
                Slot::Portal => settled.types.push(HandleType::Portal as u32),
                Slot::Part(inner) => {
                    let mut none = 0;
                    let inner = self.settle(inner, way, &mut Vec::new(), &mut none);
                    parts.push(inner);
                    settled.types.push(HandleType::Subparcel as u32);
                }
                Slot::Object(object) => {
                    let travel = travels.next().unwrap_or(Travel::Never);
                    let taken = match &mut settled.objects {
                        Objects::Relayed(objects) => {
                            let goes = round.is_some_and(|way| self.driver.can_travel(object, Some(way.transport)) == Travel::Yes);
                            if goes {
                                objects.push(object);
                                settled.types.push(HandleType::RelayedBox as u32);
                            }
                            goes
                        }
                        Objects::Packed(packed, sizes) => {
                            let goes = travel == Travel::Yes && pack_objects(self.driver, self.transport, &[object], packed, sizes).is_ok();
                            if goes {
                                settled.types.push(HandleType::Box as u32);
                            }
                            goes
                        }
                    };
                    if !taken {
                        self.process.probe(Probe::BoxReplaced);
                        self.driver.close(object);
                        if *free > 0 {
                            *free -= 1;
                            parts.push(self.nothing());
                            settled.types.push(HandleType::Subparcel as u32);
                        }
                    }
                }
                Slot::Application(_) => unreachable!("serialized before"),
            }
        }
        settled
    }

    fn nothing(&self) -> Settled {
        let objects = Objects::Packed(Packed::default(), Vec::new());
        Settled { data: ParcelData::Inline(Payload::None), types: Vec::new(), routers: Vec::new(), objects }
    }

    fn way(&self) -> Option<RelayWay> {
        self.process.lock().ok()?.relay_way(self.link)
    }

    fn send_part(&mut self, part: Settled, (index, total): (u32, u32), nth: u64, way: Option<Option<RelayWay>>) -> Result<(), DriverError> {
        let Settled { data, types, routers, objects } = part;
        let (parcel_fragment, payload) = match data {
            ParcelData::Fragment(fragment) => (fragment, Payload::None),
            ParcelData::Inline(payload) => (FragmentDescriptor::NULL, payload),
        };
        let (packed, sizes) = match objects {
            Objects::Packed(packed, sizes) => (packed, sizes),
            Objects::Relayed(objects) => {
                self.relay(objects, way.flatten());
                (Packed::default(), Vec::new())
            }
        };
        let driver_objects = ObjectRange { first: 0, num: sizes.len() as u32 };
        let parcel = AcceptParcel {
            sublink: self.sublink,
            sequence_number: self.number,
            subparcel_index: index,
            num_subparcels: total,
            parcel_fragment,
            parcel_data: &[],
            handle_types: types.into(),
            new_routers: routers.into(),
            driver_objects,
        };
        if sizes.is_empty() {
            return super::carry::transmit_parcel(self.driver, self.transport, parcel, payload, self.sequence + nth, self.buffer);
        }
        let mut data = vec![0; payload.len()];
        payload.read_at(0, &mut data);
        super::puts::free(payload);
        let message = Message::AcceptParcel(AcceptParcel { parcel_data: &data, ..parcel });
        transmit_packed(self.driver, self.transport, &message, self.sequence + nth, packed, &sizes, self.buffer)
    }

    /// Sends objects ahead, through the broker: what it hands on keeps its order, and so do the other halves.
    fn relay(&mut self, objects: Vec<ObjectId>, way: Option<RelayWay>) {
        let Some(way) = way.filter(|_| !objects.is_empty()) else {
            return objects.into_iter().for_each(|object| self.driver.close(object));
        };
        let driver_objects = ObjectRange { first: 0, num: objects.len() as u32 };
        let half = AcceptParcelDriverObjects { sublink: self.sublink, sequence_number: self.number, driver_objects };
        let mut data = Vec::new();
        if Message::AcceptParcelDriverObjects(half).encode(0, &[], &mut data).is_err() {
            return objects.into_iter().for_each(|object| self.driver.close(object));
        }
        // A failed core has no links any more.
        let _ = self.process.input(|core, now, fx| core.relay(self.link, way, (data, objects), self.origin, now, fx));
    }

    fn drop_settled(&self, part: Settled) {
        match part.objects {
            Objects::Packed(packed, _) => packed.handles.into_iter().for_each(|handle| self.driver.close(handle)),
            Objects::Relayed(objects) => objects.into_iter().for_each(|object| self.driver.close(object)),
        }
        drop_part(self.driver, Part { data: part.data, routers: part.routers, slots: Vec::new() });
    }
}

impl Process {
    /// Counts what is found out without the lock.
    fn probe(&self, probe: Probe) {
        if crate::probe::Probes::ON
            && let Ok(mut core) = self.lock()
        {
            core.routing.probes.hit(probe);
        }
    }
}
