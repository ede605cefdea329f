//! Carrying out effects, without the lock: outboxes first, then questions, then releases, then trap events (design.md 3).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::sync::Arc;

use super::boxes::Sending;
use super::process::Process;
use super::puts::free;
use crate::clock::{Point, Wake};
use crate::core::{Effects, LinkEvent};
use crate::driver::{Driver, DriverError, Frame, Listener, Packed};
use crate::ids::FragmentDescriptor;
use crate::ids::{LinkKey, ObjectId, RequestKey};
use crate::node::{Answer, Ask, Batch, Doomed, Envelope, LinkOp, Outgoing, ParcelData, Part, Slot};
use crate::planted::Bug;
use crate::routing::{Origin, Payload};
use crate::wire::encode_parcel_in_place;
use crate::wire::{AcceptParcel, AcceptRelayedMessage, HandleType, Message, ObjectBytes, ObjectRange, PARCEL_HEADROOM, RelayMessage};

/// How the carrying out went.
#[derive(Default)]
pub(super) struct Carried {
    /// Links that failed at once: their transports are their bringers' again.
    pub given_back: Vec<LinkKey>,
}

impl Process {
    /// Carries effects out. Deep in a stack of re-entrant drivers they are left to a frame underneath.
    pub(super) fn carry_out(&self, fx: Effects) -> Carried {
        if fx.is_empty() {
            return Carried::default();
        }
        // Coroutines share a thread but not a stack.
        if self.clock.cooperative() {
            return self.carry_out_here(fx);
        }
        let Some(_level) = Level::enter() else {
            LEFT.with_borrow_mut(|left| left.push_back((self.me(), fx)));
            return Carried::default();
        };
        let carried = self.carry_out_here(fx);
        while let Some((process, fx)) = LEFT.with_borrow_mut(VecDeque::pop_front) {
            process.carry_out_here(fx);
        }
        carried
    }

    /// Carries effects out on this very frame.
    pub(super) fn carry_out_here(&self, fx: Effects) -> Carried {
        let mut carried = Carried::default();
        let mut rest = Rest { process: self, batches: fx.batches.into(), asks: fx.asks.into(), origin: fx.origin };
        while let Some(batch) = rest.batches.pop_front() {
            self.drain(batch, fx.origin, &mut carried);
        }
        while let Some((key, ask)) = rest.asks.front().cloned() {
            self.clock.turn(Point::Effect);
            let answer = self.ask(ask);
            rest.asks.pop_front();
            self.answer(key, answer, fx.origin);
        }
        for doomed in fx.doomed {
            match doomed {
                Doomed::Object(driver, object) => self.driver(driver).close(object),
                Doomed::Mapping(mapping) => drop(mapping),
                Doomed::Memory(memory) => drop(memory),
                Doomed::Application(object) => object.owner.destroy(object.object),
            }
        }
        for parcel in fx.discarded.into_iter().filter(|_| !self.planted.has(Bug::DiscardedBlockKept)) {
            free(parcel.payload);
        }
        for event in &fx.traps {
            self.traps.fired(event);
        }
        if self.planted.has(Bug::TrapRemovedLate)
            && !fx.traps.is_empty()
            && let Ok(mut core) = self.lock()
        {
            core.routing.forget_fired_traps();
        }
        if let Some(at) = fx.wake {
            self.clock.wake_at(at, self.me() as Arc<dyn Wake>);
        }
        carried
    }

    fn answer(&self, key: RequestKey, answer: Answer, origin: Origin) {
        // A failed core waits for nothing.
        let _ = self.input(|core, now, fx| core.answer(key, answer, origin, now, fx));
    }

    /// Carries out one transport's ops until none is left. Only one thread at a time does, the one with the batch.
    fn drain(&self, batch: Batch, origin: Origin, carried: &mut Carried) {
        let driver = self.driver(batch.driver);
        let token = Token { process: self, link: batch.link };
        let mut next = Some(batch);
        let mut message = Vec::new();
        let mut broken = false;
        while let Some(mut batch) = next {
            let mut bytes = 0;
            while let Some(op) = batch.ops.pop_front() {
                self.clock.turn(Point::Effect);
                let failed = match op {
                    LinkOp::Activate if driver.activate(batch.transport, self.listener(batch.link)).is_err() => {
                        Some(LinkEvent::ActivateFailed)
                    }
                    LinkOp::Activate => None,
                    // After a failure nothing may follow: the peer would see a stream with a hole.
                    LinkOp::Send(envelope) if broken => {
                        bytes += envelope.bytes;
                        drop_message(&*driver, envelope);
                        None
                    }
                    LinkOp::Send(envelope) => {
                        bytes += envelope.bytes;
                        let failed = self.transmit(&*driver, (batch.link, batch.transport), origin, envelope, &mut message).err();
                        failed.filter(|_| !self.planted.has(Bug::SendFailureIgnored)).map(|_| LinkEvent::SendFailed)
                    }
                    LinkOp::Deactivate => {
                        driver.deactivate(batch.transport);
                        None
                    }
                    LinkOp::Close => {
                        driver.close(batch.transport);
                        self.link_event(batch.link, LinkEvent::Closed);
                        None
                    }
                };
                if let Some(event) = failed {
                    broken = true;
                    if self.link_event(batch.link, event) {
                        carried.given_back.push(batch.link);
                    }
                }
            }
            // Asked after sending only: a closed transport has no backlog.
            let backlog = if bytes > 0 { driver.backlog(batch.transport) } else { 0 };
            let trust = self.planted.has(Bug::OutboxLookTrusted) && self.lock().is_ok_and(|core| core.is_drained(batch.link));
            next = self.lock().ok().and_then(|mut core| core.next_batch(batch, bytes, backlog, trust));
        }
        std::mem::forget(token);
    }

    fn listener(&self, link: LinkKey) -> Listener {
        Listener::new(self.me(), link.to_bits())
    }
}

/// How deep inputs nest on one stack before they leave their effects to a frame underneath (design.md 3).
const LEVELS: u32 = 32;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    static LEFT: RefCell<VecDeque<(Arc<Process>, Effects)>> = const { RefCell::new(VecDeque::new()) };
}

/// One level of a stack that carries effects out.
struct Level;

impl Level {
    fn enter() -> Option<Level> {
        let depth = DEPTH.get();
        DEPTH.set(depth + u32::from(depth < LEVELS));
        // Made only if counted: one that is made and dropped counts, too.
        (depth < LEVELS).then(|| Level)
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

/// What is still to be carried out. Dropped with something in it only when foreign code panics: then every link waiting
/// here is over and every question answered, so that nothing waits for ever.
struct Rest<'a> {
    process: &'a Process,
    batches: VecDeque<Batch>,
    asks: VecDeque<(RequestKey, Ask)>,
    origin: Origin,
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        for batch in self.batches.drain(..) {
            drop(Token { process: self.process, link: batch.link });
        }
        for (key, ask) in std::mem::take(&mut self.asks) {
            self.process.answer(key, ask.failed(), self.origin);
        }
    }
}

/// The right to drain an outbox. Dropped only when a driver panics: the link is over then, the process goes on.
struct Token<'a> {
    process: &'a Process,
    link: LinkKey,
}

impl Drop for Token<'_> {
    fn drop(&mut self) {
        if let Ok(mut core) = self.process.lock() {
            core.drainer_panicked(self.link);
        }
    }
}

/// Gives up a message that cannot be sent any more.
fn drop_message(driver: &dyn Driver, envelope: Envelope) {
    envelope.objects.into_iter().for_each(|object| driver.close(object));
    match envelope.message {
        Outgoing::Parcel { data: ParcelData::Inline(payload), .. } => free(payload),
        Outgoing::Boxes { main, .. } => drop_part(driver, main),
        _ => {}
    }
}

/// Gives up a parcel with boxes that cannot be sent any more.
pub(super) fn drop_part(driver: &dyn Driver, part: Part) {
    if let ParcelData::Inline(payload) = part.data {
        free(payload);
    }
    for slot in part.slots {
        match slot {
            Slot::Portal => {}
            Slot::Object(object) => driver.close(object),
            Slot::Application(object) => object.owner.destroy(object.object),
            Slot::Part(part) => drop_part(driver, part),
        }
    }
}

impl Process {
    /// Encodes and transmits one message, or those of a parcel with boxes. Its objects are consumed in any case.
    fn transmit(
        &self,
        driver: &dyn Driver,
        (link, transport): (LinkKey, ObjectId),
        origin: Origin,
        envelope: Envelope,
        buffer: &mut Vec<u8>,
    ) -> Result<(), DriverError> {
        let Envelope { message, objects, sequence, .. } = envelope;
        match message {
            Outgoing::Parcel { sublink, number, data, routers } => {
                let types = vec![HandleType::Portal as u32; routers.len()];
                let (parcel_fragment, payload) = match data {
                    ParcelData::Fragment(fragment) => (fragment, Payload::None),
                    ParcelData::Inline(payload) => (FragmentDescriptor::NULL, payload),
                };
                let parcel = AcceptParcel {
                    sublink,
                    sequence_number: number,
                    subparcel_index: 0,
                    num_subparcels: 1,
                    parcel_fragment,
                    parcel_data: &[],
                    handle_types: types.into(),
                    new_routers: routers.into(),
                    driver_objects: ObjectRange { first: 0, num: 0 },
                };
                transmit_parcel(driver, transport, parcel, payload, sequence, buffer)
            }
            Outgoing::Boxes { sublink, number, main } => {
                Sending { process: self, driver, origin, link, transport, sublink, number, sequence, buffer }.send(main)
            }
            Outgoing::Message(message) => match transmit_message(driver, transport, &message, sequence, objects, buffer) {
                Err((DriverError::PermissionDenied, objects)) => self.relay_message(driver, (link, origin), &message, objects),
                result => result.map_err(|(error, objects)| {
                    objects.into_iter().for_each(|object| driver.close(object));
                    error
                }),
            },
            Outgoing::Relay { to, data } => {
                let driver_objects = ObjectRange { first: 0, num: objects.len() as u32 };
                let message = Message::RelayMessage(RelayMessage { destination: to, data: &data, driver_objects });
                transmit_relay(driver, transport, &message, sequence, objects, buffer)
            }
            Outgoing::Relayed { from, data } => {
                let driver_objects = ObjectRange { first: 0, num: objects.len() as u32 };
                let message = Message::AcceptRelayedMessage(AcceptRelayedMessage { source: from, data: &data, driver_objects });
                transmit_relay(driver, transport, &message, sequence, objects, buffer)
            }
        }
    }

    /// A message whose objects cannot go over its link goes through the broker, if it is of a kind that may.
    fn relay_message(
        &self,
        driver: &dyn Driver,
        (link, origin): (LinkKey, Origin),
        message: &Message<'_>,
        objects: Vec<ObjectId>,
    ) -> Result<(), DriverError> {
        let mut data = Vec::new();
        let relayable = matches!(message, Message::AddBlockBuffer(_)) && message.encode(0, &[], &mut data).is_ok();
        match self.lock().ok().filter(|_| relayable).and_then(|mut core| core.relay_way(link)) {
            Some(way) => {
                // A failed core has no links any more.
                let _ = self.input(|core, now, fx| {
                    core.relay(link, way, (data, objects), origin, now, fx);
                    core.relay_done(way, origin, now, fx);
                });
                Ok(())
            }
            None => {
                objects.into_iter().for_each(|object| driver.close(object));
                Err(DriverError::PermissionDenied)
            }
        }
    }
}

/// Serializes objects behind those packed already, noting how many bytes and handles each has. On failure what is packed is closed by
/// nobody; the object that failed and those after it are not consumed: answers how many were.
pub(super) fn pack_objects(
    driver: &dyn Driver,
    transport: ObjectId,
    objects: &[ObjectId],
    packed: &mut Packed,
    sizes: &mut Vec<(usize, usize)>,
) -> Result<(), (DriverError, usize)> {
    for (i, object) in objects.iter().enumerate() {
        let before = (packed.data.len(), packed.handles.len());
        driver.serialize(*object, transport, packed).map_err(|error| (error, i))?;
        sizes.push((packed.data.len() - before.0, packed.handles.len() - before.1));
    }
    Ok(())
}

/// Transmits a message with objects that are serialized.
pub(super) fn transmit_packed(
    driver: &dyn Driver,
    transport: ObjectId,
    message: &Message<'_>,
    sequence: u64,
    packed: Packed,
    sizes: &[(usize, usize)],
    buffer: &mut Vec<u8>,
) -> Result<(), DriverError> {
    let mut data = &packed.data[..];
    let mut bytes = Vec::with_capacity(sizes.len());
    for (len, handles) in sizes {
        let (mine, rest) = data.split_at(*len);
        bytes.push(ObjectBytes { data: mine, handles: *handles as u16 });
        data = rest;
    }
    if message.encode(sequence, &bytes, buffer).is_err() {
        packed.handles.iter().for_each(|handle| driver.close(*handle));
        return Err(DriverError::InvalidArgument);
    }
    driver.transmit(transport, &[Frame { data: buffer, handles: &packed.handles }])
}

/// Serializes the objects of a message and transmits it. Objects that are not consumed come back with the error.
fn transmit_message(
    driver: &dyn Driver,
    transport: ObjectId,
    message: &Message<'_>,
    sequence: u64,
    objects: Vec<ObjectId>,
    buffer: &mut Vec<u8>,
) -> Result<(), (DriverError, Vec<ObjectId>)> {
    let mut packed = Packed::default();
    let mut sizes = Vec::with_capacity(objects.len());
    if let Err((error, done)) = pack_objects(driver, transport, &objects, &mut packed, &mut sizes) {
        packed.handles.iter().for_each(|handle| driver.close(*handle));
        return Err((error, objects[done..].to_vec()));
    }
    transmit_packed(driver, transport, message, sequence, packed, &sizes, buffer).map_err(|error| (error, Vec::new()))
}

/// Transmits a relay. One whose objects cannot go is sent without them: whoever waits for them learns that they will not come, and no link
/// of a third is lost.
fn transmit_relay(
    driver: &dyn Driver,
    transport: ObjectId,
    message: &Message<'_>,
    sequence: u64,
    objects: Vec<ObjectId>,
    buffer: &mut Vec<u8>,
) -> Result<(), DriverError> {
    let mut packed = Packed::default();
    let mut sizes = Vec::with_capacity(objects.len());
    match pack_objects(driver, transport, &objects, &mut packed, &mut sizes) {
        Ok(()) => transmit_packed(driver, transport, message, sequence, packed, &sizes, buffer),
        Err((_, done)) => {
            objects[done..].iter().for_each(|object| driver.close(*object));
            packed.handles.iter().for_each(|handle| driver.close(*handle));
            let none = ObjectRange { first: 0, num: 0 };
            let message = match message {
                Message::RelayMessage(m) => Message::RelayMessage(RelayMessage { driver_objects: none, ..*m }),
                Message::AcceptRelayedMessage(m) => Message::AcceptRelayedMessage(AcceptRelayedMessage { driver_objects: none, ..*m }),
                other => other.clone(),
            };
            transmit_packed(driver, transport, &message, sequence, Packed::default(), &[], buffer)
        }
    }
}

/// A parcel whose data is in private memory becomes a message around it, without another copy.
pub(super) fn transmit_parcel(
    driver: &dyn Driver,
    transport: ObjectId,
    parcel: AcceptParcel<'_>,
    payload: Payload,
    sequence: u64,
    buffer: &mut Vec<u8>,
) -> Result<(), DriverError> {
    let too_large = |_| DriverError::InvalidArgument;
    let mut own;
    let buffer = match payload {
        Payload::None => {
            buffer.clear();
            Message::AcceptParcel(parcel).encode(sequence, &[], buffer).map_err(too_large)?;
            buffer
        }
        Payload::Heap(buf) => {
            own = buf;
            encode_parcel_in_place(&mut own, &parcel, sequence).map_err(too_large)?;
            &mut own
        }
        // An application has begun to read it, and may still.
        Payload::Shared(buf) => {
            own = Arc::unwrap_or_clone(buf);
            encode_parcel_in_place(&mut own, &parcel, sequence).map_err(too_large)?;
            &mut own
        }
        Payload::Block { block, .. } if block.is_empty() => {
            block.free();
            buffer.clear();
            Message::AcceptParcel(parcel).encode(sequence, &[], buffer).map_err(too_large)?;
            buffer
        }
        // A block of another link's memory.
        Payload::Block { block, .. } => {
            buffer.clear();
            buffer.resize(PARCEL_HEADROOM, 0);
            block.append_to(buffer);
            block.free();
            encode_parcel_in_place(buffer, &parcel, sequence).map_err(too_large)?;
            buffer
        }
    };
    driver.transmit(transport, &[Frame { data: buffer, handles: &[] }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_too_deep_is_not_counted_out_again() {
        let levels: Vec<_> = (0..LEVELS).map(|_| Level::enter()).collect();
        assert!(levels.iter().all(Option::is_some));
        for _ in 0..3 {
            assert!(Level::enter().is_none());
        }
        drop(levels);
        assert_eq!(DEPTH.get(), 0);
        assert!(Level::enter().is_some());
    }
}
