//! Objects of the application in boxes: what an embedder does for them (api.md 13).

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::ids::Handle;

/// What an object of the application becomes when it leaves the process.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Serialized {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Portals, and boxes with driver objects, that go with it; they are taken over.
    pub handles: Vec<Handle>,
}

/// The embedder's side of its boxed objects. Called with no lock held, from any thread, and free to call the process.
///
/// Each object ends once: given back by [`Process::unbox`](crate::Process::unbox), or destroyed, also after it was serialized.
pub trait Application: Any + Send + Sync {
    /// Whether the object can become bytes. Asked once, when it is boxed.
    fn can_serialize(&self, object: u64) -> bool;
    /// Whether [`Application::agrees`] has the last word. Asked once, when an object is boxed that can become bytes.
    fn decides_late(&self, _object: u64) -> bool {
        false
    }
    /// Whether the object can become bytes after all. Asked once, of one that [decides late](Application::decides_late), when it is first
    /// put into a portal whose route leaves the node; a put of one that refuses is refused (api.md A3).
    fn agrees(&self, _object: u64) -> bool {
        true
    }
    /// What the object becomes. None: it cannot, and an empty parcel goes in its place (api.md A3).
    fn serialize(&self, object: u64) -> Option<Serialized>;
    /// Releases the object; called once, last.
    fn destroy(&self, object: u64);
}

/// An object of the application: any number that its owner knows it by.
#[derive(Clone)]
pub struct ApplicationObject {
    /// The number; two objects may have the same.
    pub object: u64,
    /// Who knows what it stands for.
    pub owner: Arc<dyn Application>,
}

impl fmt::Debug for ApplicationObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApplicationObject({})", self.object)
    }
}
