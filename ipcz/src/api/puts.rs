//! Puts, in one step and in two (api.md 9).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::process::Process;
use crate::core::PutPlan;
use crate::error::Error;
use crate::ids::{Handle, Transaction};
use crate::planted::Bug;
use crate::routing::{ParcelWriter, Payload};

/// A put that has begun.
#[derive(Debug)]
pub struct Putting {
    /// What EndPut names it by.
    pub transaction: Transaction,
    /// Where its data goes; it begins undefined.
    pub data: ParcelWriter,
}

impl Process {
    /// Puts a parcel into a portal; its attachments are no longer the caller's. A refusal has taken nothing.
    /// `InvalidArgument`: not a portal, or an attachment that cannot be sent (not a portal; this one or its direct local peer; the same
    /// twice; one with an open exclusive get, if the route leaves the node); `NotFound`: the peer is closed;
    /// `ResourceExhausted`: a limit of [`Limits`](crate::limits::Limits) is reached.
    pub fn put(self: &Arc<Self>, portal: Handle, data: &[u8], objects: &[Handle]) -> Result<(), Error> {
        let payload = self.payload(portal, data)?;
        let act = |payload| self.input(|core, now, fx| core.put(portal, payload, objects, now, fx));
        let sent = self.send(portal, payload, objects, act)?;
        sent.map_err(|(error, payload)| {
            if !self.planted.has(Bug::RefusedBlockKept) {
                free(payload);
            }
            error
        })
    }

    /// Tries once more if the link that was too busy for a parcel has written something meanwhile, or if an attachment could not be sent
    /// before its owner was asked.
    fn send(
        &self,
        portal: Handle,
        payload: Payload,
        objects: &[Handle],
        act: impl Fn(Payload) -> Result<Sent, Error>,
    ) -> Result<Sent, Error> {
        match act(payload)? {
            Err((Error::ResourceExhausted, payload)) if self.has_drained(portal)? => act(payload),
            Err((Error::InvalidArgument, payload)) if self.ask_owners(portal, objects)? => act(payload),
            sent => Ok(sent),
        }
    }

    /// Asks the owners of attached objects whether these can leave the node, if they do and nobody has asked. True if somebody was asked.
    fn ask_owners(&self, portal: Handle, objects: &[Handle]) -> Result<bool, Error> {
        if objects.is_empty() {
            return Ok(false);
        }
        let undecided = self.lock()?.undecided(portal, objects);
        for (key, object) in &undecided {
            let agrees = object.owner.agrees(object.object);
            self.lock()?.decide(*key, agrees);
        }
        Ok(!undecided.is_empty())
    }

    /// Asks the driver how much it has yet to write for a portal; whether that is less than when it was last asked.
    fn has_drained(&self, portal: Handle) -> Result<bool, Error> {
        let Some((link, driver, transport, before)) = self.lock()?.way_out(portal) else { return Ok(false) };
        let now = self.driver(driver).backlog(transport);
        self.lock()?.set_backlog(link, now);
        Ok(now < before)
    }

    /// Copies the data to where it will travel from: link memory if it is big and there is some, else private memory.
    fn payload(&self, portal: Handle, data: &[u8]) -> Result<Payload, Error> {
        if data.len() <= self.inline_bytes.load(Ordering::Relaxed) {
            return Ok(Payload::copy_of(data));
        }
        match self.input(|core, now, fx| core.plan_put(portal, data.len(), false, now, fx))?? {
            PutPlan::Heap(_) => Ok(Payload::copy_of(data)),
            PutPlan::Block(link, mut block) => {
                block.fill(data);
                Ok(Payload::Block { link, block })
            }
        }
    }

    /// Begins a put of `bytes` bytes, or with `partial` of as many as can be had at once; any number may be open. The parcel gets its
    /// place in the order when the put ends. A put left open ends with its portal, or when that is sent to another node.
    /// `InvalidArgument`: not a portal; `NotFound`: the peer is closed; `ResourceExhausted`: a limit of [`Limits`](crate::limits::Limits) is reached.
    pub fn begin_put(self: &Arc<Self>, portal: Handle, bytes: usize, partial: bool) -> Result<Putting, Error> {
        let limits = self.lock()?.put_limits(portal)?;
        if bytes > limits.parcel_bytes && !partial {
            return Err(Error::ResourceExhausted);
        }
        let bytes = bytes.min(limits.parcel_bytes);
        let data = match self.input(|core, now, fx| core.plan_put(portal, bytes, partial, now, fx))?? {
            PutPlan::Heap(bytes) => ParcelWriter::private(bytes),
            PutPlan::Block(link, block) => ParcelWriter::block(link, block, bytes),
        };
        let begun = self.lock()?.begin_put(portal, data.clone());
        match begun {
            Ok(transaction) => Ok(Putting { transaction, data }),
            Err((error, room)) => {
                free(room.into_waste());
                Err(error)
            }
        }
    }

    /// Where an open put's data goes, for who has not kept what [`Process::begin_put`] gave. `InvalidArgument`: not this portal's open put.
    pub fn put_room(&self, portal: Handle, put: Transaction) -> Result<ParcelWriter, Error> {
        self.lock()?.open_put(portal, put, 0, &[])
    }

    /// Ends a put: sends the first `produced` bytes of what was written. What is in link memory is sent without another copy if the
    /// route still takes that link. `InvalidArgument`: not this portal's open put, more than there was room for, or an attachment
    /// that cannot be sent (the put stays open); `ResourceExhausted`: a limit is reached (it stays open); `NotFound`: the peer is
    /// closed (it is over). Attachments stay the caller's unless this succeeds.
    pub fn end_put(self: &Arc<Self>, portal: Handle, put: Transaction, produced: usize, objects: &[Handle]) -> Result<(), Error> {
        let look = || self.lock()?.open_put(portal, put, produced, objects);
        let room = match look() {
            Err(Error::InvalidArgument) if self.ask_owners(portal, objects)? => look()?,
            looked => looked?,
        };
        let end = |copy| self.input(|core, now, fx| core.end_put(portal, put, (produced, copy), objects, now, fx));
        self.send(portal, room.copied(produced), objects, end)?.map_err(|(error, _)| error)
    }

    /// Ends a put without sending anything. `InvalidArgument`: not this portal's open put.
    pub fn abort_put(self: &Arc<Self>, portal: Handle, put: Transaction) -> Result<(), Error> {
        self.input(|core, _, fx| core.abort_put(portal, put, fx))?
    }
}

/// What became of a put; the data comes back with a refusal.
type Sent = Result<(), (Error, Payload)>;

/// Frees a parcel's data.
pub(super) fn free(payload: Payload) {
    if let Payload::Block { block, .. } = payload {
        block.free();
    }
}
