//! A box as a value that closes itself.

use std::fmt;
use std::sync::Arc;

use super::gets::Received;
use super::node::Host;
use super::portal::{Attachment, Parcel, attachments};
use crate::application::ApplicationObject;
use crate::core::BoxContents;
use crate::error::Error;
use crate::ids::{Handle, ObjectId};

/// A box: what is in it travels in parcels, like a portal. Closed when dropped, and what is in it with it.
///
/// ```
/// use ipcz::driver::Driver;
/// use ipcz::{Attachment, BoxContents, Node, Unboxed};
/// use ipcz_drivers::InProcess;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = InProcess::new();
/// let node = Node::normal(driver.clone())?;
/// let (a, b) = node.open_portals()?;
/// let boxed = node.box_object(BoxContents::Driver(driver.allocate(4096)?))?;
/// a.put_with(b"memory", vec![boxed.into()])?;
///
/// let Some(Attachment::Box(boxed)) = b.recv()?.attachments.pop() else { panic!("a box was sent") };
/// let Unboxed::Driver(memory) = boxed.unbox()? else { panic!("with an object of the driver") };
/// assert_eq!(driver.size(memory)?, 4096);
/// driver.close(memory);
/// # Ok(())
/// # }
/// ```
pub struct ObjectBox {
    host: Arc<Host>,
    handle: Handle,
    /// It was given away or opened: nothing to close.
    gone: bool,
}

/// What was in a box.
#[derive(Debug)]
pub enum Unboxed {
    /// A driver object, to be closed through the driver of the node that the box was made or received with.
    Driver(ObjectId),
    /// An object of this program.
    Application(ApplicationObject),
    /// What an object of another program has become on its way.
    Subparcel(Parcel),
}

impl ObjectBox {
    pub(super) fn new(host: Arc<Host>, handle: Handle) -> ObjectBox {
        ObjectBox { host, handle, gone: false }
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle
    }

    /// Gives the box up to [`Process`](crate::Process), which knows it by this handle.
    pub fn into_handle(mut self) -> Handle {
        self.gone = true;
        self.handle
    }

    /// Opens the box; what was in it is the caller's.
    pub fn unbox(mut self) -> Result<Unboxed, Error> {
        let process = &self.host.process;
        let contents = process.unbox(self.handle)?;
        self.gone = true;
        Ok(match contents {
            BoxContents::Driver(object) => Unboxed::Driver(object),
            BoxContents::Application(object) => Unboxed::Application(object),
            BoxContents::Subparcel(parcel) => {
                let Received { data, handles } = process.get(parcel)?;
                process.close(parcel)?;
                Unboxed::Subparcel(Parcel { data, attachments: attachments(&self.host, handles) })
            }
        })
    }
}

impl From<ObjectBox> for Attachment {
    fn from(boxed: ObjectBox) -> Attachment {
        Attachment::Box(boxed)
    }
}

impl Drop for ObjectBox {
    fn drop(&mut self) {
        if !self.gone {
            // A failed core has nothing left to close.
            let _ = self.host.process.close(self.handle);
        }
    }
}

impl fmt::Debug for ObjectBox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectBox({:?})", self.handle)
    }
}
