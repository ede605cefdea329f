//! Boxes: what can be attached to a parcel beside portals (api.md 13). A router knows them by their keys alone.

use super::parcel::{Object, Parcel};
use super::table::Routing;
use crate::application::ApplicationObject;
use crate::ids::{BoxKey, DriverKey, ObjectId, RouterKey};
use crate::planted::Bug;

/// What is in a box.
#[derive(Clone, Debug)]
pub enum Boxed {
    /// A driver object.
    Driver {
        /// Of this driver.
        driver: DriverKey,
        /// The object.
        object: ObjectId,
        /// Whether it can go over any transport, as the driver said when it was boxed.
        sendable: bool,
    },
    /// An object of the application.
    Application {
        /// The object.
        object: ApplicationObject,
        /// Whether it can become bytes, as its owner says; none if that is asked when it is first to leave.
        serializable: Option<bool>,
    },
    /// A subparcel: what an object of the application becomes on its way. It holds no boxes but of driver objects.
    Parcel(Parcel),
}

impl Routing {
    /// Gives up a box and what is in it.
    pub fn drop_box(&mut self, key: BoxKey) {
        match self.boxes.remove(key) {
            Some(Boxed::Parcel(parcel)) => self.discard(parcel),
            Some(_) if self.planted.has(Bug::DroppedBoxKept) => {}
            Some(boxed) => self.unboxed.push(boxed),
            None => {}
        }
    }

    /// The routers of portals attached to a parcel, those inside its boxes included, in order.
    pub fn portals_in(&self, objects: &[Object]) -> Vec<RouterKey> {
        let mut found = Vec::with_capacity(objects.len());
        for object in objects {
            match object {
                Object::Portal(portal) => found.push(*portal),
                Object::Box(key) => {
                    if let Some(Boxed::Parcel(inner)) = self.boxes.get(*key) {
                        found.extend(self.portals_in(&inner.objects));
                    }
                }
            }
        }
        found
    }
}
