//! Gets, and two-phase puts and gets: what of a portal an application has in its hands (routing.md 16, api.md 9 and 10).
//!
//! A portal's queue never knows: the parcel of an exclusive get stays at its head, that of an overlapped one has left it, and a put
//! gets its number when it ends.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use super::data::ParcelWriter;
use super::parcel::{Object, Parcel, Payload};
use super::router::Router;
use super::table::Routing;
use crate::error::Error;
use crate::ids::{RouterKey, Transaction};
use crate::mapping::Mapping;
use crate::probe::Probe;

/// What a get may take out of a parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GetRoom {
    /// Data bytes.
    pub bytes: usize,
    /// Attachments.
    pub handles: usize,
    /// Whether a part will do.
    pub partial: bool,
}

impl GetRoom {
    /// Room for any parcel.
    pub const ANY: GetRoom = GetRoom { bytes: usize::MAX, handles: usize::MAX, partial: false };
}

/// Why a get gave nothing; nothing was consumed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GetRefused {
    /// `ResourceExhausted`: the parcel does not fit.
    #[error("the parcel has {bytes} bytes and {handles} attachments, more than there is room for")]
    TooSmall {
        /// Its data, in bytes.
        bytes: usize,
        /// Its attachments.
        handles: usize,
    },
    /// Any other reason.
    #[error(transparent)]
    Error(#[from] Error),
}

impl From<GetRefused> for Error {
    fn from(refused: GetRefused) -> Error {
        match refused {
            GetRefused::TooSmall { .. } => Error::ResourceExhausted,
            GetRefused::Error(error) => error,
        }
    }
}

/// How BeginGet gets.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct BeginGetFlags {
    /// Attachments that do not fit stay in the parcel.
    pub partial: bool,
    /// The parcel leaves the queue at once, so that others can be got meanwhile.
    pub overlapped: bool,
}

/// How EndGet ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndGet {
    /// The parcel is consumed, with the attachments left in it.
    Commit,
    /// The parcel becomes an object.
    Keep,
    /// Exclusive: the parcel stays, without the attachments already given. Overlapped: it is thrown away.
    Abort,
}

/// What an application has begun at one portal and not ended. A router has this only while something is open.
#[derive(Clone, Default, Debug)]
pub struct Transactions {
    puts: BTreeMap<Transaction, ParcelWriter>,
    /// Gets that somebody asked to end while the portal was in a parcel: nobody reads their data any more.
    forsaken: Vec<Transaction>,
    /// Its parcel is the head of the queue.
    exclusive: Option<Transaction>,
    /// Their parcels have left the queue.
    overlapped: BTreeMap<Transaction, Parcel>,
}

impl Transactions {
    /// How many are open.
    pub fn len(&self) -> usize {
        self.puts.len() + self.overlapped.len() + usize::from(self.exclusive.is_some())
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What was attached to parcels that are out of the queue and was not given yet.
    pub fn objects(&self) -> impl Iterator<Item = &Object> {
        self.overlapped.values().flat_map(|parcel| &parcel.objects)
    }

    pub(super) fn remap(&mut self, f: &mut dyn FnMut(&mut Mapping)) {
        self.puts.values_mut().for_each(|writer| writer.remap(f));
        self.overlapped.values_mut().for_each(|parcel| parcel.payload.remap(f));
    }
}

impl Router {
    /// Whether the parcel at the head of the queue is being got.
    pub fn has_exclusive_get(&self) -> bool {
        self.transactions.as_ref().is_some_and(|open| open.exclusive.is_some())
    }
}

impl Parcel {
    /// Whether the parcel, or what of it will do, fits.
    pub fn fits(&self, room: GetRoom) -> Result<(), GetRefused> {
        let (bytes, handles) = (self.payload.len(), self.objects.len());
        let fits = room.partial || (bytes <= room.bytes && handles <= room.handles);
        if fits { Ok(()) } else { Err(GetRefused::TooSmall { bytes, handles }) }
    }

    /// Takes out the attachments there is room for, from the front.
    pub fn give(&mut self, room: GetRoom) -> Vec<Object> {
        if self.objects.len() <= room.handles {
            return std::mem::take(&mut self.objects);
        }
        self.objects.drain(..room.handles).collect()
    }
}

impl Routing {
    /// A fresh transaction.
    pub fn new_transaction(&mut self) -> Transaction {
        self.transactions_made += 1;
        Transaction(NonZeroU64::new(self.transactions_made).expect("counted up just now"))
    }

    /// Opens a put. `NotFound`: the peer is closed; `ResourceExhausted`: `limit` transactions are open. The room is given back.
    pub fn begin_put(&mut self, key: RouterKey, room: ParcelWriter, limit: usize) -> Result<Transaction, (Error, ParcelWriter)> {
        let transaction = self.new_transaction();
        let Some(router) = self.routers.get_mut(key) else { return Err((Error::InvalidArgument, room)) };
        assert!(router.is_terminal(), "only a portal's router is put into");
        if router.status_peer_closed {
            return Err((Error::NotFound, room));
        }
        if router.transactions.as_ref().is_some_and(|open| open.len() >= limit) {
            return Err((Error::ResourceExhausted, room));
        }
        router.transactions.get_or_insert_default().puts.insert(transaction, room);
        Ok(transaction)
    }

    /// Where an open put's data is.
    pub fn open_put(&self, key: RouterKey, transaction: Transaction) -> Option<&ParcelWriter> {
        self.routers.get(key)?.transactions.as_ref()?.puts.get(&transaction)
    }

    /// A put is over.
    pub fn close_put(&mut self, key: RouterKey, transaction: Transaction) -> Option<ParcelWriter> {
        self.end(key, |open| open.puts.remove(&transaction))
    }

    /// A put that could not be sent yet goes on.
    pub fn reopen_put(&mut self, key: RouterKey, transaction: Transaction, room: ParcelWriter) {
        if let Some(router) = self.routers.get_mut(key) {
            router.transactions.get_or_insert_default().puts.insert(transaction, room);
        }
    }

    /// Whether what is put into a portal is known to leave for another node: over its own link, or from its local peer on.
    pub fn leaves(&self, key: RouterKey) -> bool {
        let Some(link) = self.routers.get(key).and_then(|router| router.out.primary.as_ref()) else { return false };
        let peer = link.local_peer(&self.pairs).and_then(|peer| self.routers.get(peer));
        link.at().is_some() || peer.is_some_and(|peer| !peer.is_terminal())
    }

    /// Takes the next parcel out of a portal, whole, if there is room for it.
    pub fn get_parcel(&mut self, key: RouterKey, room: GetRoom) -> Result<Parcel, GetRefused> {
        let router = self.routers.get(key).ok_or(Error::InvalidArgument)?;
        if router.status_dead {
            return Err(Error::NotFound.into());
        }
        let parcel = router.inbound.peek().ok_or(Error::Unavailable)?;
        if router.has_exclusive_get() {
            return Err(Error::AlreadyExists.into());
        }
        parcel.fits(room)?;
        Ok(self.take(key).expect("looked at just now"))
    }

    /// Opens a get of a portal's next parcel: its data, and the attachments there is room for.
    pub fn begin_get(
        &mut self,
        key: RouterKey,
        room: GetRoom,
        overlapped: bool,
        limit: usize,
    ) -> Result<(Transaction, Payload, Vec<Object>), GetRefused> {
        let transaction = self.new_transaction();
        let router = self.routers.get_mut(key).ok_or(Error::InvalidArgument)?;
        assert!(router.is_terminal(), "only a portal's router is got from");
        let open = router.transactions.as_ref();
        if open.is_some_and(|open| open.exclusive.is_some() || (!overlapped && !open.overlapped.is_empty())) {
            return Err(Error::AlreadyExists.into());
        }
        if router.status_dead {
            return Err(Error::NotFound.into());
        }
        let full = open.is_some_and(|open| open.len() >= limit);
        let parcel = router.inbound.peek_mut().ok_or(Error::Unavailable)?;
        parcel.fits(room)?;
        if full {
            return Err(Error::ResourceExhausted.into());
        }
        let objects = parcel.give(room);
        let data = parcel.payload.share();
        if overlapped {
            let parcel = self.take(key).expect("looked at just now");
            if let Some(router) = self.routers.get_mut(key) {
                router.transactions.get_or_insert_default().overlapped.insert(transaction, parcel);
            }
        } else {
            router.transactions.get_or_insert_default().exclusive = Some(transaction);
        }
        Ok((transaction, data, objects))
    }

    /// Ends a get; answers the parcel if it is to be kept. `InvalidArgument`: none of this portal's.
    pub fn end_get(&mut self, key: RouterKey, transaction: Transaction, how: EndGet) -> Result<Option<Parcel>, Error> {
        let exclusive = self.end(key, |open| open.exclusive.take_if(|known| *known == transaction)).is_some();
        let parcel = match how {
            EndGet::Abort if exclusive => return Ok(None),
            _ if exclusive => self.take(key),
            _ => self.end(key, |open| open.overlapped.remove(&transaction)),
        };
        let parcel = parcel.ok_or(Error::InvalidArgument)?;
        if how == EndGet::Keep {
            return Ok(Some(parcel));
        }
        self.discard(parcel);
        Ok(None)
    }

    /// A get whose portal has moved on is ended: its data is needed no longer. If the portal is still in a parcel here, that is so once it
    /// leaves the node; whoever gets it here may go on with the get.
    pub fn end_orphan(&mut self, transaction: Transaction) {
        if let Some(payload) = self.orphans.remove(&transaction) {
            return self.discard(Parcel { payload, ..Parcel::default() });
        }
        let carried = self.routers.iter_mut().filter(|(_, router)| router.portal.is_none());
        let mut open = carried.filter_map(|(_, router)| router.transactions.as_mut());
        if let Some(open) = open.find(|open| open.exclusive == Some(transaction) || open.overlapped.contains_key(&transaction)) {
            open.forsaken.retain(|known| *known != transaction);
            open.forsaken.push(transaction);
        }
    }

    /// Takes something out of a portal's open transactions.
    fn end<T>(&mut self, key: RouterKey, take: impl FnOnce(&mut Transactions) -> Option<T>) -> Option<T> {
        let slot = &mut self.routers.get_mut(key)?.transactions;
        let taken = take(slot.as_mut()?);
        slot.take_if(|open| open.is_empty());
        taken
    }

    /// The portal is closed, and with it whatever is open.
    pub(super) fn drop_transactions(&mut self, key: RouterKey) {
        let Some(open) = self.routers.get_mut(key).and_then(|router| router.transactions.take()) else { return };
        self.probes.hit(Probe::TransactionsDropped);
        self.doomed.extend(open.overlapped.into_values());
        self.discard_rooms(open.puts);
    }

    /// The portal leaves for another node: puts are gone, gets end as if aborted (api.md A6). What they read stays where it is
    /// until they are ended.
    pub(super) fn abort_transactions(&mut self, key: RouterKey) {
        let Some(router) = self.routers.get_mut(key) else { return };
        let Some(open) = router.transactions.take() else { return };
        self.probes.hit_if(open.exclusive.is_some(), Probe::MoveExclusiveGet);
        self.probes.hit_if(open.exclusive.is_none(), Probe::MoveTransactions);
        let head = router.inbound.peek_mut().map(|parcel| &mut parcel.payload);
        let read = |transaction: &Transaction| !open.forsaken.contains(transaction);
        if let (Some(transaction), Some(data)) = (open.exclusive.filter(read), head.filter(|data| matches!(data, Payload::Block { .. }))) {
            let copy = data.to_private();
            self.orphans.insert(transaction, std::mem::replace(data, copy));
        }
        for (transaction, mut parcel) in open.overlapped {
            if let (true, Payload::Block { .. }) = (!open.forsaken.contains(&transaction), &parcel.payload) {
                self.orphans.insert(transaction, std::mem::take(&mut parcel.payload));
            }
            self.doomed.push(parcel);
        }
        self.discard_rooms(open.puts);
    }

    fn discard_rooms(&mut self, puts: BTreeMap<Transaction, ParcelWriter>) {
        self.doomed.extend(puts.into_values().map(|room| Parcel { payload: room.into_waste(), ..Parcel::default() }));
    }
}
