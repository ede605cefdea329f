//! Gets, in one step and in two, and parcels that are kept as objects (api.md 10, 11, 14).

use super::{Core, Effects, Entry};
use crate::clock::Time;
use crate::error::Error;
use crate::ids::{DriverKey, Handle, LinkKey, ObjectId, ParcelKey, Transaction};
use crate::routing::{BeginGetFlags, EndGet, GetRefused, GetRoom, Object, Origin, Parcel, ParcelReader, Payload};

/// A parcel that an application keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its data, which is never consumed, and the attachments not taken yet.
    pub parcel: Parcel,
    /// How often the application must close its handle.
    acquired: u32,
    /// A get from it is open.
    getting: Option<Transaction>,
    /// It pins the transport it came by, for Reject.
    pinned: bool,
}

/// What a get gave.
#[derive(Debug)]
pub struct Given {
    /// The whole of the data.
    pub data: Payload,
    /// Whether a kept parcel still has it; else it is the caller's to free.
    pub kept: bool,
    /// Attachments that there was room for.
    pub handles: Vec<Handle>,
    /// The parcel, if it is kept.
    pub parcel: Option<Handle>,
}

impl Core {
    /// Get, from a portal or a kept parcel. `keep`: what is not given becomes, or stays, an object; else attachments left are closed.
    pub fn get(&mut self, source: Handle, room: GetRoom, keep: bool, now: Time, fx: &mut Effects) -> Result<Given, GetRefused> {
        let router = match self.handles.get(source) {
            Some(Entry::Portal(router)) => *router,
            Some(Entry::Parcel(parcel)) => return self.get_again(source, *parcel, room, keep),
            Some(Entry::Node(_) | Entry::Box(_)) | None => return Err(Error::InvalidArgument.into()),
        };
        self.begin(Origin::ApiCall, now);
        let mut parcel = self.routing.get_parcel(router, room)?;
        let objects = parcel.give(room);
        let handles = self.make_handles(objects);
        let given = if keep {
            let data = parcel.payload.share();
            Given { data, kept: true, handles, parcel: Some(self.keep(parcel)) }
        } else {
            let data = std::mem::take(&mut parcel.payload);
            if !parcel.objects.is_empty() {
                self.routing.discard(parcel);
            }
            Given { data, kept: false, handles, parcel: None }
        };
        self.finish(fx);
        Ok(given)
    }

    /// Get from a kept parcel: its data again, its attachments once.
    fn get_again(&mut self, handle: Handle, key: ParcelKey, room: GetRoom, keep: bool) -> Result<Given, GetRefused> {
        let kept = self.parcels.get_mut(key).ok_or(Error::InvalidArgument)?;
        if kept.getting.is_some() {
            return Err(Error::AlreadyExists.into());
        }
        kept.parcel.fits(room)?;
        kept.acquired += u32::from(keep);
        let (objects, data) = (kept.parcel.give(room), kept.parcel.payload.share());
        let handles = self.make_handles(objects);
        Ok(Given { data, kept: true, handles, parcel: keep.then_some(handle) })
    }

    /// BeginGet, from a portal or a kept parcel.
    pub fn begin_get(
        &mut self,
        source: Handle,
        handles: usize,
        flags: BeginGetFlags,
        now: Time,
        fx: &mut Effects,
    ) -> Result<(Transaction, ParcelReader, Vec<Handle>), GetRefused> {
        let room = GetRoom { bytes: usize::MAX, handles, partial: flags.partial };
        let (transaction, data, objects) = match self.handles.get(source) {
            Some(Entry::Portal(router)) => {
                let router = *router;
                let limit = self.put_limits(source)?.portal_transactions;
                self.begin(Origin::ApiCall, now);
                self.routing.begin_get(router, room, flags.overlapped, limit)?
            }
            Some(Entry::Parcel(_)) if flags.overlapped => return Err(Error::InvalidArgument.into()),
            Some(Entry::Parcel(parcel)) => {
                let transaction = self.routing.new_transaction();
                let kept = self.parcels.get_mut(*parcel).ok_or(Error::InvalidArgument)?;
                if kept.getting.is_some() {
                    return Err(Error::AlreadyExists.into());
                }
                kept.parcel.fits(room)?;
                kept.getting = Some(transaction);
                (transaction, kept.parcel.payload.share(), kept.parcel.give(room))
            }
            Some(Entry::Node(_) | Entry::Box(_)) | None => return Err(Error::InvalidArgument.into()),
        };
        let handles = self.make_handles(objects);
        self.finish(fx);
        Ok((transaction, ParcelReader::new(data), handles))
    }

    /// EndGet, of a portal or a kept parcel; answers a handle if the parcel is kept.
    pub fn end_get(&mut self, source: Handle, get: Transaction, how: EndGet, now: Time, fx: &mut Effects) -> Result<Option<Handle>, Error> {
        self.begin(Origin::ApiCall, now);
        let ended = match self.handles.get(source).copied() {
            Some(Entry::Portal(router)) => self.routing.end_get(router, get, how).map(|parcel| parcel.map(|parcel| self.keep(parcel))),
            Some(Entry::Parcel(parcel)) => self.end_get_again(source, parcel, get, how),
            Some(Entry::Node(_) | Entry::Box(_)) | None => Err(Error::InvalidArgument),
        };
        if ended.is_err() {
            self.routing.end_orphan(get);
        }
        self.finish(fx);
        ended
    }

    fn end_get_again(&mut self, handle: Handle, key: ParcelKey, get: Transaction, how: EndGet) -> Result<Option<Handle>, Error> {
        let kept = self.parcels.get_mut(key).ok_or(Error::InvalidArgument)?;
        kept.getting.take_if(|open| *open == get).ok_or(Error::InvalidArgument)?;
        let again = how == EndGet::Keep;
        kept.acquired += u32::from(again);
        Ok(again.then_some(handle))
    }

    fn make_handles(&mut self, objects: Vec<Object>) -> Vec<Handle> {
        let make = |object| match object {
            Object::Portal(router) => self.make_portal(router),
            Object::Box(key) => self.handles.insert(Entry::Box(key)),
        };
        objects.into_iter().map(make).collect()
    }

    /// Makes an object of a parcel. It keeps the transport it came by, as long as that is there (api.md 14).
    pub(super) fn keep(&mut self, parcel: Parcel) -> Handle {
        let pinned = parcel.via.is_some_and(|link| self.net.pin(link));
        let key = self.parcels.insert(Kept { parcel, acquired: 1, getting: None, pinned });
        self.handles.insert(Entry::Parcel(key))
    }

    /// The handle of a kept parcel is closed once more; with the last time its attachments are.
    pub(super) fn close_parcel(&mut self, handle: Handle, key: ParcelKey) {
        if let Some(kept) = self.parcels.get_mut(key).filter(|kept| kept.acquired > 1) {
            kept.acquired -= 1;
            return;
        }
        self.handles.remove(handle);
        if let Some(parcel) = self.unkeep(key) {
            self.routing.discard(parcel);
        }
    }

    /// A kept parcel is none any more.
    pub(super) fn unkeep(&mut self, key: ParcelKey) -> Option<Parcel> {
        let kept = self.parcels.remove(key)?;
        if let Some(link) = kept.parcel.via.filter(|_| kept.pinned) {
            self.net.unpin(link);
        }
        Some(kept.parcel)
    }

    /// Look of Reject: the transport that the parcel came by, pinned until [`Core::rejected`]; none if that is gone already. `InvalidArgument`: not a
    /// kept parcel; `FailedPrecondition`: it did not come over a link.
    pub fn reject(&mut self, parcel: Handle) -> Result<Option<(LinkKey, DriverKey, ObjectId)>, Error> {
        let Some(Entry::Parcel(key)) = self.handles.get(parcel) else { return Err(Error::InvalidArgument) };
        let kept = self.parcels.get(*key).ok_or(Error::InvalidArgument)?;
        let link = kept.parcel.via.ok_or(Error::FailedPrecondition)?;
        let end = self.link_end(link).filter(|_| kept.pinned && self.net.pin(link));
        Ok(end.map(|(driver, transport)| (link, driver, transport)))
    }

    /// The transport was told of the rejection.
    pub fn rejected(&mut self, link: LinkKey, now: Time, fx: &mut Effects) {
        self.begin(Origin::ApiCall, now);
        self.net.unpin(link);
        self.finish(fx);
    }
}
