//! Every message on the wire is one that we decode and would encode to the same bytes, and comes from a node that may send it
//! (wire.md 6, 9; nodes.md 14: I14). It sits in the engine, sees every message, and notes what other checkers want to know.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipcz::ids::{FragmentDescriptor, NodeName, SublinkId};
use ipcz::wire::{Envelope, Message, ObjectBytes};

use super::{Tally, Violation};
use crate::ghost::{EndId, read_tag};
use crate::trace::Observer;

const NAME: &str = "wire";

/// What was seen of a delivered parcel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// The process it came from.
    pub from: u32,
    /// The process that has it now.
    pub to: u32,
    /// The sublink it came over.
    pub sublink: SublinkId,
    /// Its number in its sequence.
    pub number: u64,
    /// What its data says it is, if that came in the message ([`Secrecy`](super::Secrecy) knows it of others).
    pub tag: Option<(EndId, u64)>,
    /// Its data lies in the link's memory.
    pub block: bool,
}

/// A parcel whose data lies in the memory of the link that it leaves over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sent {
    /// The process that sends it.
    pub from: u32,
    /// The process at the other end of the transport.
    pub to: u32,
    /// The sublink it goes over.
    pub sublink: SublinkId,
    /// Its number in its sequence.
    pub number: u64,
    /// Where the data lies.
    pub fragment: FragmentDescriptor,
}

/// A message for a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noted {
    /// Whether it was delivered; else it was transmitted.
    pub delivered: bool,
    /// The sending process.
    pub from: u32,
    /// The receiving process.
    pub to: u32,
    /// The transport pair.
    pub transport: u32,
    /// Its id.
    pub id: u8,
    /// Its bytes.
    pub length: usize,
    /// It in one line; empty when it is delivered.
    pub text: String,
}

/// What watches the wire.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its counts.
    pub tally: Tally,
    /// By process: whether its node is a broker.
    pub brokers: Vec<bool>,
    /// Processes that may send anything, ascending.
    pub hostile: Vec<u32>,
    /// The first violation.
    pub violation: Option<Box<Violation>>,
    /// The parcel of the last delivered message, if it was one.
    pub seen: Option<Seen>,
    /// Parcels in link memory that were sent since somebody last looked.
    pub sent: Vec<Sent>,
    /// Everything, if asked for.
    pub notes: Option<Vec<Noted>>,
    /// Names that brokers have given since somebody last looked, and to whom.
    pub named: Vec<(NodeName, u32)>,
    again: Vec<u8>,
}

/// A shared handle to what watches the wire: one is in the engine, one with the run.
#[derive(Clone, Debug, Default)]
pub struct Watch(Arc<Mutex<State>>);

impl Watch {
    /// Its name.
    pub const NAME: &str = NAME;

    /// Watches messages between these processes.
    pub fn new(brokers: Vec<bool>, hostile: Vec<u32>, record: bool) -> Watch {
        Watch(Arc::new(Mutex::new(State { brokers, hostile, notes: record.then(Vec::new), ..State::default() })))
    }

    /// Looks at what it has seen.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy that shares nothing with it.
    pub fn fork(&self) -> Watch {
        Watch(Arc::new(Mutex::new(self.lock().clone())))
    }
}

impl Observer for Watch {
    fn transmitted(&mut self, from: u32, to: u32, transport: u32, bytes: &[u8]) {
        self.lock().transmitted(from, to, transport, bytes);
    }

    fn delivered(&mut self, from: u32, to: u32, transport: u32, bytes: &[u8]) {
        self.lock().delivered(from, to, transport, bytes);
    }

    fn clone_box(&self) -> Box<dyn Observer> {
        Box::new(self.clone())
    }
}

impl State {
    fn transmitted(&mut self, from: u32, to: u32, transport: u32, bytes: &[u8]) {
        if let Some(notes) = &mut self.notes {
            let id = bytes.get(2).copied().unwrap_or(u8::MAX);
            notes.push(Noted { delivered: false, from, to, transport, id, length: bytes.len(), text: describe(bytes) });
        }
        if self.hostile.binary_search(&from).is_ok() {
            return self.tally.exempt("message of a hostile node");
        }
        self.tally.count();
        if let Err((property, text)) = self.check(from, to, bytes) {
            let text = format!("process {from} sent process {to} {} bytes, {}: {text}", bytes.len(), describe(bytes));
            self.violation.get_or_insert_with(|| Violation::new(NAME, property, text).in_process(from));
        }
    }

    fn check(&mut self, from: u32, to: u32, bytes: &[u8]) -> Result<(), (&'static str, String)> {
        const KNOWN: &str = "every message is one of wire.md 9";
        let envelope = Envelope::parse(bytes, usize::MAX).map_err(|error| (KNOWN, error.to_string()))?;
        let message = envelope.message().map_err(|error| (KNOWN, error.to_string()))?;
        let message = message.ok_or_else(|| (KNOWN, "its id is unknown".to_owned()))?;
        let sequence = envelope.sequence_number();
        let encoded = if envelope.object_count() == 0 {
            message.encode(sequence, &[], &mut self.again)
        } else {
            let objects: Vec<_> =
                envelope.objects().map(|entry| ObjectBytes { data: entry.data, handles: entry.handles.len() as u16 }).collect();
            message.encode(sequence, &objects, &mut self.again)
        };
        if encoded.is_err() || self.again != bytes {
            return Err(("every message has its canonical form", "encoding it again gives other bytes".to_owned()));
        }
        let named = match &message {
            Message::ConnectFromBrokerToNonBroker(m) => Some((m.receiver_name, to)),
            Message::ConnectToReferredNonBroker(m) => Some((m.name, to)),
            _ => None,
        };
        self.named.extend(named.filter(|(_, to)| *to != u32::MAX));
        if let Message::AcceptParcel(parcel) = &message
            && !parcel.parcel_fragment.is_null()
        {
            let (sublink, number, fragment) = (parcel.sublink, parcel.sequence_number, parcel.parcel_fragment);
            self.sent.push(Sent { from, to, sublink, number, fragment });
        }
        self.role(from, to, &message).map_err(|text| ("I14: only those send a message who may", text))
    }

    /// Whether a node of this kind may send this to that one.
    fn role(&self, from: u32, to: u32, message: &Message<'_>) -> Result<(), String> {
        let broker = |process: u32| self.brokers.get(process as usize).copied().unwrap_or(false);
        let by_broker = matches!(
            message,
            Message::ConnectFromBrokerToNonBroker(_)
                | Message::ConnectToReferredNonBroker(_)
                | Message::NonBrokerReferralAccepted(_)
                | Message::NonBrokerReferralRejected(_)
                | Message::ConnectFromBrokerToBroker(_)
                | Message::AcceptIntroduction(_)
                | Message::RejectIntroduction(_)
                | Message::RequestIndirectIntroduction(_)
                | Message::AcceptRelayedMessage(_)
        );
        let to_broker = matches!(
            message,
            Message::ConnectFromNonBrokerToBroker(_)
                | Message::ReferNonBroker(_)
                | Message::RequestIntroduction(_)
                | Message::RequestIndirectIntroduction(_)
                | Message::RelayMessage(_)
        );
        if by_broker && !broker(from) {
            return Err("only a broker may send it".to_owned());
        }
        if to_broker && to != u32::MAX && !broker(to) {
            return Err("only a broker takes it".to_owned());
        }
        Ok(())
    }

    fn delivered(&mut self, from: u32, to: u32, transport: u32, bytes: &[u8]) {
        let id = bytes.get(2).copied().unwrap_or(u8::MAX);
        if let Some(notes) = &mut self.notes {
            notes.push(Noted { delivered: true, from, to, transport, id, length: bytes.len(), text: String::new() });
        }
        self.seen = None;
        if id == ACCEPT_PARCEL
            && let Ok(envelope) = Envelope::parse(bytes, usize::MAX)
            && let Ok(Some(Message::AcceptParcel(parcel))) = envelope.message()
        {
            let block = !parcel.parcel_fragment.is_null();
            let tag = if block { None } else { read_tag(parcel.parcel_data) };
            self.seen = Some(Seen { from, to, sublink: parcel.sublink, number: parcel.sequence_number, tag, block });
        }
    }
}

const ACCEPT_PARCEL: u8 = 20;

/// A message in one line.
pub(crate) fn describe(bytes: &[u8]) -> String {
    match Envelope::parse(bytes, usize::MAX).and_then(|envelope| envelope.message()) {
        Ok(Some(message)) => message.to_string(),
        Ok(None) => "a message with an unknown id".to_owned(),
        Err(error) => format!("a broken message ({error})"),
    }
}

#[cfg(test)]
mod tests {
    use ipcz::ids::{NodeName, SublinkId};
    use ipcz::wire::{FlushRouter, RejectIntroduction};

    use super::*;

    fn bytes(message: Message<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        message.encode(7, &[], &mut bytes).unwrap();
        bytes
    }

    fn verdict(from: u32, bytes: &[u8]) -> Option<Box<Violation>> {
        let mut watch = Watch::new(vec![true, false], Vec::new(), false);
        watch.transmitted(from, 1 - from, 0, bytes);
        let state = watch.lock();
        assert_eq!(state.tally.report(NAME).checks, 1);
        state.violation.clone()
    }

    #[test]
    fn a_canonical_message_from_one_who_may_send_it_passes() {
        assert_eq!(verdict(1, &bytes(Message::FlushRouter(FlushRouter { sublink: SublinkId(12) }))), None);
        let reject = bytes(Message::RejectIntroduction(RejectIntroduction { name: NodeName { high: 1, low: 2 } }));
        assert_eq!(verdict(0, &reject), None);
        assert_eq!(verdict(1, &reject).unwrap().property, "I14: only those send a message who may");
    }

    #[test]
    fn broken_unknown_and_uncanonical_messages_are_seen() {
        let good = bytes(Message::FlushRouter(FlushRouter { sublink: SublinkId(12) }));
        let mut unknown = good.clone();
        unknown[2] = 99;
        let mut padded = good.clone();
        padded.extend_from_slice(&[0; 8]);
        let mut flags = good.clone();
        flags[3] = 1;
        for bad in [&good[..20], &unknown, &padded, &flags] {
            assert!(verdict(0, bad).is_some(), "{bad:?}");
        }
    }
}
