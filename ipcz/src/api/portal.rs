//! Portals and parcels as values that close themselves.

use std::fmt;
use std::sync::Arc;

use super::calls::TrapRefused;
use super::gets::Received;
use super::node::Host;
use super::object_box::ObjectBox;
use super::puts::Putting;
use super::wait::Waiting;
use crate::error::Error;
use crate::ids::{Handle, Transaction};
use crate::routing::{BeginGetFlags, EndGet, ParcelReader, ParcelWriter};
use crate::trap::{PortalStatus, TrapConditions, TrapEvent};

/// One end of a pipe. What is put into it comes out of the other end, in order and exactly once, wherever that is by then. Closed
/// when dropped: the other end still gets everything put before.
///
/// Any thread may use it; it can be sent through any other portal but its own peer.
///
/// ```
/// use ipcz::{Error, Node};
/// use ipcz_drivers::InProcess;
///
/// # fn main() -> Result<(), ipcz::Error> {
/// let node = Node::normal(InProcess::new())?;
/// let (a, b) = node.open_portals()?;
/// a.put(b"first")?;
/// a.put("second")?;
/// assert_eq!(b.get()?.data, b"first");
/// assert_eq!(b.recv()?.data, b"second");
/// // Nothing yet; and once the peer is closed, never again.
/// assert_eq!(b.get().unwrap_err(), Error::Unavailable);
/// drop(a);
/// assert_eq!(b.get().unwrap_err(), Error::NotFound);
/// # Ok(())
/// # }
/// ```
pub struct Portal {
    pub(super) host: Arc<Host>,
    pub(super) handle: Handle,
    pub(super) waiting: Arc<Waiting>,
    /// It was given away: nothing to close.
    gone: bool,
}

/// A parcel that was received: its data, and the portals and boxes that came with it.
///
/// ```
/// use ipcz::Node;
/// use ipcz_drivers::InProcess;
///
/// # fn main() -> Result<(), ipcz::Error> {
/// let node = Node::normal(InProcess::new())?;
/// let (a, b) = node.open_portals()?;
/// let (kept, given) = node.open_portals()?;
/// a.put_with(b"yours", vec![given.into()])?;
///
/// let parcel = b.recv()?;
/// assert_eq!((&parcel.data[..], parcel.attachments.len()), (&b"yours"[..], 1));
/// parcel.into_portal()?.put(b"thanks")?;
/// assert_eq!(kept.recv()?.data, b"thanks");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Parcel {
    /// Its data: a copy that nobody else can change.
    pub data: Vec<u8>,
    /// What came with it, in the order in which it was attached.
    pub attachments: Vec<Attachment>,
}

/// What travels in a parcel beside its data.
#[derive(Debug)]
#[non_exhaustive]
pub enum Attachment {
    /// A portal.
    Portal(Portal),
    /// A box.
    Box(ObjectBox),
}

impl From<Portal> for Attachment {
    fn from(portal: Portal) -> Attachment {
        Attachment::Portal(portal)
    }
}

impl Parcel {
    /// The first attachment, which must be a portal; `InvalidArgument` else.
    pub fn into_portal(self) -> Result<Portal, Error> {
        match self.attachments.into_iter().next() {
            Some(Attachment::Portal(portal)) => Ok(portal),
            _ => Err(Error::InvalidArgument),
        }
    }
}

/// A put that was refused; what was attached is given back.
///
/// ```
/// use ipcz::{Error, Node};
/// use ipcz_drivers::InProcess;
///
/// # fn main() -> Result<(), ipcz::Error> {
/// let node = Node::normal(InProcess::new())?;
/// let (a, b) = node.open_portals()?;
/// // A portal cannot go through its own peer.
/// let refused = a.put_with(b"", vec![b.into()]).unwrap_err();
/// assert_eq!((refused.error, refused.attachments.len()), (Error::InvalidArgument, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct PutRefused {
    /// Why.
    pub error: Error,
    /// What was attached.
    pub attachments: Vec<Attachment>,
}

impl From<PutRefused> for Error {
    fn from(refused: PutRefused) -> Error {
        refused.error
    }
}

impl Attachment {
    fn handle(&self) -> Handle {
        match self {
            Attachment::Portal(portal) => portal.handle,
            Attachment::Box(boxed) => boxed.handle(),
        }
    }

    /// It is in a parcel now: nothing to be closed.
    fn sent(self) {
        match self {
            Attachment::Portal(portal) => {
                portal.into_handle();
            }
            Attachment::Box(boxed) => {
                boxed.into_handle();
            }
        }
    }
}

/// Handles that came with a parcel, as what they are.
pub(super) fn attachments(host: &Arc<Host>, handles: Vec<Handle>) -> Vec<Attachment> {
    let own = |handle| match host.process.is_box(handle) {
        true => Attachment::Box(ObjectBox::new(Arc::clone(host), handle)),
        false => Attachment::Portal(Portal::new(Arc::clone(host), handle)),
    };
    handles.into_iter().map(own).collect()
}

/// Puts with attachments, which are gone then; a refusal gives them back.
fn attach(attachments: Vec<Attachment>, put: impl FnOnce(&[Handle]) -> Result<(), Error>) -> Result<(), PutRefused> {
    let handles: Vec<Handle> = attachments.iter().map(Attachment::handle).collect();
    match put(&handles) {
        Ok(()) => {
            attachments.into_iter().for_each(Attachment::sent);
            Ok(())
        }
        Err(error) => Err(PutRefused { error, attachments }),
    }
}

impl Portal {
    pub(super) fn new(host: Arc<Host>, handle: Handle) -> Portal {
        Portal { host, handle, waiting: Arc::default(), gone: false }
    }

    /// Gives the portal up to [`Process`](crate::Process), which knows it by this handle.
    pub fn into_handle(mut self) -> Handle {
        self.gone = true;
        self.handle
    }

    /// Puts data. Never waits. `NotFound`: the peer is closed; `ResourceExhausted`: a limit of [`Limits`](crate::limits::Limits) is reached.
    pub fn put(&self, data: impl AsRef<[u8]>) -> Result<(), Error> {
        self.host.process.put(self.handle, data.as_ref(), &[])
    }

    /// Puts data with attachments, which a refusal gives back. `InvalidArgument`: this portal or its peer is among them.
    pub fn put_with(&self, data: impl AsRef<[u8]>, attachments: Vec<Attachment>) -> Result<(), PutRefused> {
        attach(attachments, |handles| self.host.process.put(self.handle, data.as_ref(), handles))
    }

    /// Gets the next parcel, without waiting. `Unavailable`: none is there yet; `NotFound`: there will never be one.
    pub fn get(&self) -> Result<Parcel, Error> {
        let Received { data, handles } = self.host.process.get(self.handle)?;
        Ok(Parcel { data, attachments: self.own(handles) })
    }

    fn own(&self, handles: Vec<Handle>) -> Vec<Attachment> {
        attachments(&self.host, handles)
    }

    /// Begins a put of at most `bytes` bytes that are written where they will travel, in shared memory if there is some. Dropped
    /// before it is [committed](Put::commit), it sends nothing. Fails as [`Portal::put`].
    ///
    /// ```
    /// use ipcz::Node;
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (a, b) = node.open_portals()?;
    /// let put = a.begin_put(1000)?;
    /// put.data().write_at(0, b"in place");
    /// put.commit(8, vec![])?;
    /// assert_eq!(b.recv()?.data, b"in place");
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin_put(&self, bytes: usize) -> Result<Put<'_>, Error> {
        let Putting { transaction, data } = self.host.process.begin_put(self.handle, bytes, false)?;
        Ok(Put { portal: self, transaction, data, open: true })
    }

    /// Begins to get the next parcel where it lies. Nobody else gets from the portal meanwhile. Dropped before it is
    /// [committed](Get::commit), it leaves the parcel where it was, but for the attachments that were taken. Fails as [`Portal::get`];
    /// `AlreadyExists`: another get is open.
    ///
    /// ```
    /// use ipcz::{Error, Node};
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (a, b) = node.open_portals()?;
    /// a.put(b"in place")?;
    /// let get = b.begin_get()?;
    /// let mut copy = [0; 8];
    /// get.data().read_at(0, &mut copy);
    /// assert_eq!(&copy, b"in place");
    /// drop(get);
    /// // It was only looked at.
    /// b.begin_get()?.commit()?;
    /// assert_eq!(b.get().unwrap_err(), Error::Unavailable);
    /// # Ok(())
    /// # }
    /// ```
    pub fn begin_get(&self) -> Result<Get<'_>, Error> {
        let flags = BeginGetFlags { partial: true, overlapped: false };
        let begun = self.host.process.begin_get(self.handle, usize::MAX, flags).map_err(Error::from)?;
        Ok(Get { portal: self, transaction: begun.transaction, data: begun.data, attachments: self.own(begun.handles), open: true })
    }

    /// What can be said of the portal at once.
    ///
    /// ```
    /// use ipcz::Node;
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (a, b) = node.open_portals()?;
    /// a.put(b"1234")?;
    /// drop(a);
    /// let status = b.status()?;
    /// assert_eq!((status.parcels, status.bytes), (1, 4));
    /// assert!(status.peer_closed && !status.dead, "there is something left to read");
    /// # Ok(())
    /// # }
    /// ```
    pub fn status(&self) -> Result<PortalStatus, Error> {
        self.host.process.query(self.handle)
    }

    /// Runs `handler` once, when one of the conditions comes true, or when the portal is closed or leaves this process; on whatever
    /// thread makes it so, with no lock held. That thread may be the one that everything else comes by: a handler that waits for a
    /// notification may wait for ever. [`TrapRefused::Satisfied`]: one holds already, and nothing was installed.
    ///
    /// ```
    /// use std::sync::mpsc;
    ///
    /// use ipcz::trap::{TrapConditions, TrapFlags};
    /// use ipcz::{Node, TrapRefused};
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (a, b) = node.open_portals()?;
    /// let parcels = TrapConditions { flags: TrapFlags::ABOVE_MIN_PARCELS, min_parcels: 1, min_bytes: 0 };
    /// let (tell, told) = mpsc::channel();
    /// b.trap(parcels, move |event| tell.send(event.status.parcels).unwrap()).unwrap();
    /// a.put(b"one")?;
    /// assert!(told.try_recv().is_err(), "not above one yet");
    /// a.put(b"two")?;
    /// assert_eq!(told.recv(), Ok(2));
    /// assert!(matches!(b.trap(parcels, |_| {}), Err(TrapRefused::Satisfied { .. })));
    /// # Ok(())
    /// # }
    /// ```
    pub fn trap(&self, conditions: TrapConditions, handler: impl FnOnce(&TrapEvent) + Send + 'static) -> Result<(), TrapRefused> {
        self.host.trap(self.handle, conditions, Box::new(handler))
    }

    /// Joins two pipes: this portal's peer and the other's peer are each other's from now on. Neither may have been used; see
    /// [`Process::merge`](crate::Process::merge). A refusal gives both back.
    ///
    /// ```
    /// use ipcz::Node;
    /// use ipcz_drivers::InProcess;
    ///
    /// # fn main() -> Result<(), ipcz::Error> {
    /// let node = Node::normal(InProcess::new())?;
    /// let (a, b) = node.open_portals()?;
    /// let (c, d) = node.open_portals()?;
    /// a.put(b"on its way")?;
    /// b.merge(c).map_err(|(error, _, _)| error)?;
    /// assert_eq!(d.recv()?.data, b"on its way");
    /// # Ok(())
    /// # }
    /// ```
    pub fn merge(self, other: Portal) -> Result<(), (Error, Portal, Portal)> {
        match self.host.process.merge(self.handle, other.handle) {
            Ok(()) => {
                self.into_handle();
                other.into_handle();
                Ok(())
            }
            Err(error) => Err((error, self, other)),
        }
    }
}

impl Drop for Portal {
    fn drop(&mut self) {
        if !self.gone {
            // A failed core has nothing left to close.
            let _ = self.host.process.close(self.handle);
        }
    }
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Portal({:?})", self.handle)
    }
}

/// A put that has begun: room for its data. Two of them at one portal arrive in the order in which they are committed.
#[derive(Debug)]
pub struct Put<'a> {
    portal: &'a Portal,
    transaction: Transaction,
    data: ParcelWriter,
    open: bool,
}

impl Put<'_> {
    /// Where the data goes. The memory may be shared with the peer's process, so it is written by copying.
    pub fn data(&self) -> &ParcelWriter {
        &self.data
    }

    /// Sends the first `bytes` bytes with attachments. A refusal gives those back, and sends nothing.
    pub fn commit(mut self, bytes: usize, attachments: Vec<Attachment>) -> Result<(), PutRefused> {
        attach(attachments, |handles| self.portal.host.process.end_put(self.portal.handle, self.transaction, bytes, handles))?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        if self.open {
            // It may be over already: with its portal, or because the peer is closed.
            let _ = self.portal.host.process.abort_put(self.portal.handle, self.transaction);
        }
    }
}

/// A get that has begun: a parcel's data where it lies.
#[derive(Debug)]
pub struct Get<'a> {
    portal: &'a Portal,
    transaction: Transaction,
    data: ParcelReader,
    /// What came with the parcel.
    pub attachments: Vec<Attachment>,
    open: bool,
}

impl Get<'_> {
    /// The data. A peer may change it at any time: copy, then check the copy.
    pub fn data(&self) -> &ParcelReader {
        &self.data
    }

    /// Takes the parcel out of the portal.
    pub fn commit(mut self) -> Result<Vec<Attachment>, Error> {
        self.open = false;
        self.portal.host.process.end_get(self.portal.handle, self.transaction, EndGet::Commit)?;
        Ok(std::mem::take(&mut self.attachments))
    }
}

impl Drop for Get<'_> {
    fn drop(&mut self) {
        if self.open {
            // It may be over already, with its portal.
            let _ = self.portal.host.process.end_get(self.portal.handle, self.transaction, EndGet::Abort);
        }
    }
}
