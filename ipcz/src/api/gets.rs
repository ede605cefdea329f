//! Gets, in one step and in two, and parcels kept as objects (api.md 10, 11, 14).

use std::sync::Arc;

use super::process::Process;
use super::puts::free;
use crate::core::Given;
use crate::error::Error;
use crate::ids::{Handle, Transaction};
use crate::planted::Bug;
use crate::routing::{BeginGetFlags, EndGet, GetRefused, GetRoom, ParcelReader, Payload};

/// A parcel, received.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Received {
    /// Its data.
    pub data: Vec<u8>,
    /// Its attachments, now the caller's.
    pub handles: Vec<Handle>,
}

/// What came of a get into the caller's memory.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Got {
    /// Data bytes copied.
    pub bytes: usize,
    /// Attachments taken, now the caller's.
    pub handles: Vec<Handle>,
    /// The parcel, if it was to be kept: with all of its data, and the attachments not taken.
    pub parcel: Option<Handle>,
}

/// How Get gets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct GetFlags {
    /// As much as fits will do. What is left is lost, unless the parcel is kept.
    pub partial: bool,
    /// The parcel becomes an object, to be got from again, rejected, and closed.
    pub keep: bool,
}

/// A get that has begun.
#[derive(Debug)]
pub struct Getting {
    /// What EndGet names it by.
    pub transaction: Transaction,
    /// The parcel's data.
    pub data: ParcelReader,
    /// Attachments taken, now the caller's however the get ends.
    pub handles: Vec<Handle>,
}

impl Process {
    /// Gets the next parcel out of a portal, or what is in a kept parcel: data as often as one likes, attachments once.
    /// `Unavailable`: none is there yet; `NotFound`: none will ever be; `AlreadyExists`: a get is open that keeps others away;
    /// `InvalidArgument`: neither portal nor parcel.
    pub fn get(self: &Arc<Self>, source: Handle) -> Result<Received, Error> {
        let Given { data: payload, kept, handles, .. } = self.input(|core, now, fx| core.get(source, GetRoom::ANY, false, now, fx))??;
        let mut data = Vec::new();
        match payload {
            Payload::None => {}
            Payload::Heap(mut buf) => {
                buf.drain(..crate::wire::PARCEL_HEADROOM);
                data = buf;
            }
            Payload::Block { block, .. } if self.planted.has(Bug::FreedBeforeRead) => {
                block.clone().free();
                block.append_to(&mut data);
            }
            payload => {
                data.resize(payload.len(), 0);
                payload.read_at(0, &mut data);
                if !kept {
                    free(payload);
                }
            }
        }
        Ok(Received { data, handles })
    }

    /// Gets the next parcel out of a portal, or what is in a kept parcel, into `data` and at most `handles` attachments. If it does not
    /// fit nothing is consumed, and the refusal says how big it is. All is copied before any trap handler runs. Refusals as of
    /// [`Process::get`].
    pub fn get_into(self: &Arc<Self>, source: Handle, data: &mut [u8], handles: usize, flags: GetFlags) -> Result<Got, GetRefused> {
        self.get_into_then(source, data, handles, flags, |got| got)
    }

    /// [`Process::get_into`], whose answer `then` gets before any trap handler runs.
    pub fn get_into_then<T>(
        self: &Arc<Self>,
        source: Handle,
        data: &mut [u8],
        handles: usize,
        flags: GetFlags,
        then: impl FnOnce(Result<Got, GetRefused>) -> Result<T, GetRefused>,
    ) -> Result<T, GetRefused> {
        let room = GetRoom { bytes: data.len(), handles, partial: flags.partial };
        let get = |core: &mut crate::core::Core, now, fx: &mut _| core.get(source, room, flags.keep, now, fx);
        let got = self.input_then(get, |given| {
            then(given.map(|Given { data: payload, kept, handles, parcel }| {
                let bytes = payload.read_at(0, data);
                if !kept {
                    free(payload);
                }
                Got { bytes, handles, parcel }
            }))
        });
        got.unwrap_or_else(|error| Err(error.into()))
    }

    /// Begins to get the next parcel of a portal, or what is in a kept one, taking at most `handles` of its attachments. Until it ends,
    /// an exclusive get keeps all others away from the portal and its parcel stays queued; an overlapped one takes the parcel out at
    /// once. A get left open ends with its portal or parcel. `AlreadyExists`: another get is open; `InvalidArgument`: neither portal
    /// nor parcel, or overlapped from a parcel; else as [`Process::get_into`].
    pub fn begin_get(self: &Arc<Self>, source: Handle, handles: usize, flags: BeginGetFlags) -> Result<Getting, GetRefused> {
        self.begin_get_then(source, handles, flags, |begun| begun)
    }

    /// [`Process::begin_get`], whose answer `then` gets before any trap handler runs.
    pub fn begin_get_then<T>(
        self: &Arc<Self>,
        source: Handle,
        handles: usize,
        flags: BeginGetFlags,
        then: impl FnOnce(Result<Getting, GetRefused>) -> Result<T, GetRefused>,
    ) -> Result<T, GetRefused> {
        let begin = |core: &mut crate::core::Core, now, fx: &mut _| core.begin_get(source, handles, flags, now, fx);
        let begun = self.input_then(begin, |begun| then(begun.map(|(transaction, data, handles)| Getting { transaction, data, handles })));
        begun.unwrap_or_else(|error| Err(error.into()))
    }

    /// Ends a get; answers the parcel if it is kept, from then on or still. Always possible for an open get of this portal or parcel,
    /// else `InvalidArgument`: also if the portal has been forwarded to another node, which ended the get as if aborted.
    pub fn end_get(self: &Arc<Self>, source: Handle, get: Transaction, how: EndGet) -> Result<Option<Handle>, Error> {
        self.end_get_then(source, get, how, |ended| ended)
    }

    /// [`Process::end_get`], whose answer `then` gets before any trap handler runs.
    pub fn end_get_then<T>(
        self: &Arc<Self>,
        source: Handle,
        get: Transaction,
        how: EndGet,
        then: impl FnOnce(Result<Option<Handle>, Error>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.input_then(|core, now, fx| core.end_get(source, get, how, now, fx), then)?
    }

    /// Reports a kept parcel as bad, with a `context` of the caller's choice, to the transport that it came by. `InvalidArgument`: not a parcel;
    /// `FailedPrecondition`: it did not come over a link.
    pub fn reject(self: &Arc<Self>, parcel: Handle, context: usize) -> Result<(), Error> {
        let end = self.lock()?.reject(parcel)?;
        if let Some((link, driver, transport)) = end {
            self.driver(driver).report_bad(transport, context);
            self.input(|core, now, fx| core.rejected(link, now, fx))?;
        }
        Ok(())
    }
}
