//! A driver's notifications: decoded, with objects and memory, before the lock is taken (design.md 3, "a message input is
//! complete").

use std::sync::Arc;

use super::process::Process;
use crate::core::{Incoming, LinkEvent, Offered};
use crate::driver::{Activity, Driver, Verdict};
use crate::ids::{LinkKey, NodeName, ObjectId};
use crate::mapping::Mapping;
use crate::planted::Bug;
use crate::routing::Payload;
use crate::wire::{AcceptRelayedMessage, Envelope, Message, WireError};

impl Activity for Process {
    fn message(self: Arc<Self>, key: u64, data: &[u8], handles: &[ObjectId], companion: Option<ObjectId>) -> Verdict {
        let on = LinkKey::from_bits(key);
        let envelope = Envelope::parse(data, handles.len());
        // Most messages have neither handles nor objects, and so no use for the driver.
        let objects = companion.is_some() || !handles.is_empty() || envelope.as_ref().is_ok_and(|envelope| envelope.object_count() > 0);
        let look = if objects { self.lock().ok().map(|core| (core.link_end(on), core.name_at(on))) } else { None };
        let (end, here) = look.unwrap_or_default();
        let driver = end.map(|(driver, transport)| (self.driver(driver), transport));
        if self.planted.has(Bug::DecodingTrusted) {
            envelope.as_ref().map(Envelope::message).expect("a message has a header").expect("a message has a known form");
        }
        let incoming = read(envelope, handles, driver.as_ref().map(|(driver, transport)| (&**driver, *transport)), here);
        let refused = Verdict::Refused;
        let verdict = self.input(|core, now, fx| core.message(on, end.map(|(driver, _)| driver), incoming, now, fx)).unwrap_or(refused);
        // What came along with the message lives until it is handled (api.md 16; design.md 7).
        if let (Some(companion), Some((driver, _))) = (companion, driver) {
            driver.close(companion);
        }
        verdict
    }

    fn error(self: Arc<Self>, key: u64) {
        self.link_event(LinkKey::from_bits(key), LinkEvent::Error);
    }

    fn deactivated(self: Arc<Self>, key: u64) {
        self.link_event(LinkKey::from_bits(key), LinkEvent::Deactivated);
    }
}

impl Process {
    /// True if the link's transport is its bringer's again.
    pub(super) fn link_event(&self, on: LinkKey, event: LinkEvent) -> bool {
        // A failed core has no links any more.
        self.input(|core, now, fx| core.link_event(on, event, now, fx)).unwrap_or(false)
    }
}

/// The ladder of wire.md 12, steps 2 to 4, with the driver's part in between. `here`: the name of the receiving node.
fn read<'a>(
    envelope: Result<Envelope<'a>, WireError>,
    handles: &[ObjectId],
    driver: Option<(&dyn Driver, ObjectId)>,
    here: NodeName,
) -> Result<Incoming<'a>, Offered> {
    let mut objects = Vec::new();
    let envelope = match envelope {
        Ok(envelope) => envelope,
        Err(error) => {
            close_unclaimed(handles, &[], driver);
            return Err(Offered { reason: error.to_string(), objects });
        }
    };
    let mut reason = None;
    let mut claimed = Vec::new();
    if envelope.object_count() > 0 || !handles.is_empty() {
        for entry in envelope.objects() {
            let object = match driver {
                Some((driver, via)) => driver.deserialize(entry.data, &handles[entry.handles.clone()], via).map_err(|e| e.to_string()),
                None => Err("the link is gone".into()),
            };
            claimed.push(entry.handles);
            match object {
                Ok(object) => objects.push(Some(object)),
                Err(error) => {
                    objects.push(None);
                    reason.get_or_insert_with(|| format!("driver object {} is unusable (F5): {error}", claimed.len() - 1));
                }
            }
        }
        close_unclaimed(handles, &claimed, driver);
    }
    if let Some(reason) = reason {
        return Err(Offered { reason, objects });
    }
    let message = match envelope.message() {
        Ok(message) => message,
        Err(error) => return Err(Offered { reason: error.to_string(), objects }),
    };
    let memory = match &message {
        Some(Message::ConnectFromBrokerToNonBroker(m)) => [m.buffer, None],
        // The greater name's memory counts: the other is not looked at.
        Some(Message::ConnectFromBrokerToBroker(m)) if m.name > here => [m.buffer, None],
        Some(Message::ConnectToReferredNonBroker(m)) => [m.broker_link_buffer, m.referrer_link_buffer],
        Some(Message::NonBrokerReferralAccepted(m)) => [m.buffer, None],
        Some(Message::AcceptIntroduction(m)) => [m.memory, None],
        Some(Message::AddBlockBuffer(m)) => [m.buffer, None],
        Some(Message::ProvideMemory(m)) => [m.buffer, None],
        Some(Message::AcceptRelayedMessage(m)) => [relayed_buffer(m, objects.len()), None],
        _ => [None, None],
    };
    let [mapping, second_mapping] = memory.map(|memory| {
        let object = memory.and_then(|index| objects.get(index as usize).copied().flatten());
        object.and_then(|object| map(object, driver))
    });
    let payload = match &message {
        Some(Message::AcceptParcel(m)) if m.parcel_fragment.is_null() => Payload::copy_of(m.parcel_data),
        _ => Payload::None,
    };
    Ok(Incoming { message, objects, mapping, second_mapping, payload })
}

/// The memory that a relayed message names.
fn relayed_buffer(m: &AcceptRelayedMessage<'_>, objects: usize) -> Option<u32> {
    match Envelope::parse_relayed(m.data, objects).and_then(|envelope| envelope.message()) {
        Ok(Some(Message::AddBlockBuffer(m))) => m.buffer,
        _ => None,
    }
}

/// Closes handles that no object of the message claimed (hazards.md MV-05).
fn close_unclaimed(handles: &[ObjectId], claimed: &[std::ops::Range<usize>], driver: Option<(&dyn Driver, ObjectId)>) {
    let Some((driver, _)) = driver else { return };
    for (i, handle) in handles.iter().enumerate() {
        if !claimed.iter().any(|range| range.contains(&i)) {
            driver.close(*handle);
        }
    }
}

/// Maps received memory, if that is what it is and it has the size it claims.
fn map(object: ObjectId, driver: Option<(&dyn Driver, ObjectId)>) -> Option<Mapping> {
    let (driver, _) = driver?;
    let size = driver.size(object).ok()?;
    driver.map(object).ok().filter(|mapping| mapping.len() == size)
}
