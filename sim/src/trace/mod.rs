//! What a run was: a fingerprint over everything that happened, counters, and the last messages.

mod transcript;

use std::collections::VecDeque;
use std::fmt;

use ipcz::trap::TrapEvent;
use xxhash_rust::xxh3::Xxh3;

pub use transcript::{Names, Parting, Transcript};

/// Bytes of a message that the list of recent messages keeps.
pub const RECENT_BYTES: usize = 1024;

/// Records are hashed in chunks of about this many bytes.
const CHUNK: usize = 4096;

/// Watches messages; part of the world, hence cloned with it. Called inside the engine: it must not call the world.
pub trait Observer: Send {
    /// Process `from` transmitted a message on a transport towards `to` (`u32::MAX` while nobody holds that end).
    fn transmitted(&mut self, from: u32, to: u32, transport: u32, bytes: &[u8]);
    /// The message is about to be handed to `to`.
    fn delivered(&mut self, from: u32, to: u32, transport: u32, bytes: &[u8]);
    /// A copy for a copy of the world.
    fn clone_box(&self) -> Box<dyn Observer>;
}

/// A message that was transmitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recent {
    /// Virtual nanoseconds.
    pub time: u64,
    /// The sending process.
    pub from: u32,
    /// The process at the far end, `u32::MAX` if nobody held it.
    pub to: u32,
    /// The transport pair.
    pub transport: u32,
    /// Bytes of the whole message.
    pub length: usize,
    /// Its first [`RECENT_BYTES`] bytes.
    pub bytes: Vec<u8>,
}

/// Running totals of a world.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Totals {
    /// Events carried out.
    pub events: u64,
    /// Messages transmitted.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages handed to a process.
    pub delivered: u64,
    /// Messages refused by a process.
    pub refused: u64,
    /// Questions to a driver about objects that are closed.
    pub stale: u64,
    /// Objects closed that were closed before.
    pub closed_twice: u64,
    /// Messages lost: to an end that was gone, to a cut, or to a drop rule.
    pub lost: u64,
    /// Parcels that an application rejected.
    pub rejected: u64,
}

/// Kinds of record. Part of what a fingerprint means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Kind {
    Transmit = 1,
    Deliver = 2,
    Hold = 3,
    Lose = 4,
    Refuse = 5,
    Error = 6,
    Deactivated = 7,
    Timer = 8,
    App = 9,
    Store = 10,
    Write = 11,
    Trap = 12,
    Call = 13,
    Reject = 14,
    Fault = 15,
    Operation = 16,
    Held = 17,
}

impl Kind {
    const ALL: [Kind; 17] = {
        use Kind::*;
        [Transmit, Deliver, Hold, Lose, Refuse, Error, Deactivated, Timer, App, Store, Write, Trap, Call, Reject, Fault, Operation, Held]
    };
}

/// The trace of one world.
pub struct Trace {
    hash: Xxh3,
    chunk: Vec<u8>,
    totals: Totals,
    by_id: [u64; 256],
    recent: VecDeque<Recent>,
    keep: usize,
    observer: Option<Box<dyn Observer>>,
    transcript: Option<Box<Transcript>>,
}

impl Clone for Trace {
    fn clone(&self) -> Trace {
        let mut chunk = Vec::with_capacity(CHUNK);
        chunk.extend_from_slice(&self.chunk);
        Trace {
            hash: self.hash.clone(),
            chunk,
            totals: self.totals,
            by_id: self.by_id,
            recent: self.recent.clone(),
            keep: self.keep,
            observer: self.observer.as_ref().map(|o| o.clone_box()),
            transcript: self.transcript.clone(),
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({:032x}, {:?})", self.fingerprint(), self.totals)
    }
}

impl Trace {
    /// An empty trace that keeps the last `keep` messages.
    pub fn new(keep: usize) -> Trace {
        Trace {
            hash: Xxh3::new(),
            chunk: Vec::with_capacity(CHUNK),
            totals: Totals::default(),
            by_id: [0; 256],
            recent: VecDeque::with_capacity(keep),
            keep,
            observer: None,
            transcript: None,
        }
    }

    /// From here on records are also kept, until they are taken.
    pub fn transcribe(&mut self) {
        self.transcript = Some(Box::default());
    }

    /// The records kept since they were last taken, if any are.
    pub fn transcript(&mut self) -> Option<&mut Transcript> {
        self.transcript.as_deref_mut()
    }

    /// Hash over everything recorded so far.
    pub fn fingerprint(&self) -> u128 {
        let mut hash = self.hash.clone();
        hash.update(&self.chunk);
        hash.digest128()
    }

    /// A call of the workload and what came of it: `what` names the call, `words` its arguments and results, `data` its bytes.
    pub fn call(&mut self, process: u32, what: u16, words: &[u64], data: &[u8]) {
        self.record(Kind::Call, process, u64::from(what) << 32 | words.len() as u64, data.len() as u64);
        for word in words {
            self.fold(&word.to_le_bytes());
        }
        self.fold(data);
    }

    /// Totals so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Messages transmitted with this message id (wire.md 2).
    pub fn transmitted(&self, id: u8) -> u64 {
        self.by_id[usize::from(id)]
    }

    /// The last messages transmitted, oldest first.
    pub fn recent(&self) -> impl ExactSizeIterator<Item = &Recent> {
        self.recent.iter()
    }

    /// Sets or removes the observer and answers the one before.
    pub fn observe(&mut self, observer: Option<Box<dyn Observer>>) -> Option<Box<dyn Observer>> {
        std::mem::replace(&mut self.observer, observer)
    }

    pub(crate) fn counters(&mut self) -> &mut Totals {
        &mut self.totals
    }

    /// One record of 24 bytes, little-endian.
    pub(crate) fn record(&mut self, kind: Kind, a: u32, b: u64, c: u64) {
        let mut bytes = [0; 24];
        bytes[0] = kind as u8;
        bytes[4..8].copy_from_slice(&a.to_le_bytes());
        bytes[8..16].copy_from_slice(&b.to_le_bytes());
        bytes[16..].copy_from_slice(&c.to_le_bytes());
        if let Some(transcript) = &mut self.transcript {
            transcript.begin();
        } else if self.chunk.len() + bytes.len() <= CHUNK {
            // Most of all records: their length is known here, so that they need no call to be copied.
            return self.chunk.extend_from_slice(&bytes);
        }
        self.fold(&bytes);
    }

    /// Bytes that belong to the record before.
    pub(crate) fn fold(&mut self, bytes: &[u8]) {
        if let Some(transcript) = &mut self.transcript {
            transcript.extend(bytes);
        }
        if self.chunk.len() + bytes.len() > CHUNK {
            self.hash.update(&self.chunk);
            self.chunk.clear();
            if bytes.len() > CHUNK {
                self.hash.update(bytes);
                return;
            }
        }
        self.chunk.extend_from_slice(bytes);
    }

    /// A message leaves; answers how many of its kind did before.
    pub(crate) fn transmit(&mut self, time: u64, from: u32, to: u32, end: u32, bytes: &[u8], handles: usize) -> u64 {
        self.record(Kind::Transmit, end, time, (bytes.len() as u64) << 16 | handles as u64);
        self.fold(bytes);
        self.totals.messages += 1;
        self.totals.bytes += bytes.len() as u64;
        if self.keep > 0 {
            let mut kept =
                if self.recent.len() < self.keep { Vec::new() } else { self.recent.pop_front().map_or_else(Vec::new, |m| m.bytes) };
            kept.clear();
            kept.extend_from_slice(&bytes[..bytes.len().min(RECENT_BYTES)]);
            self.recent.push_back(Recent { time, from, to, transport: end / 2, length: bytes.len(), bytes: kept });
        }
        if let Some(observer) = &mut self.observer {
            observer.transmitted(from, to, end / 2, bytes);
        }
        let Some(&id) = bytes.get(2) else { return 0 };
        let count = &mut self.by_id[usize::from(id)];
        *count += 1;
        *count - 1
    }

    /// A message is handed over.
    pub(crate) fn deliver(&mut self, time: u64, from: u32, to: u32, end: u32, number: u64, bytes: &[u8]) {
        self.record(Kind::Deliver, end, time, number);
        if let (Some(transcript), Some(id)) = (&mut self.transcript, bytes.get(2)) {
            // The hash knows the message from its transmission; a reader does not.
            transcript.extend(&[*id]);
        }
        self.totals.delivered += 1;
        if let Some(observer) = &mut self.observer {
            observer.delivered(from, to, end / 2, bytes);
        }
    }

    /// A trap fired.
    pub(crate) fn trap(&mut self, process: u32, event: &TrapEvent) {
        let s = &event.status;
        let flags = u64::from(event.flags.0) | u64::from(s.peer_closed) << 32 | u64::from(s.dead) << 33;
        self.record(Kind::Trap, process, event.context, flags);
        self.fold(&(s.parcels as u64).to_le_bytes());
        self.fold(&(s.bytes as u64).to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_the_same_however_often_it_is_asked_for() {
        let (mut often, mut once) = (Trace::new(2), Trace::new(0));
        for i in 0..300 {
            let bytes = vec![i as u8; i * 40];
            often.transmit(i as u64, 0, 1, 0, &bytes, 0);
            once.transmit(i as u64, 0, 1, 0, &bytes, 0);
            let copy = often.clone();
            assert_eq!(copy.fingerprint(), often.fingerprint());
        }
        assert_eq!(often.fingerprint(), once.fingerprint());
        assert_eq!(often.recent().map(|m| m.length).collect::<Vec<_>>(), [298 * 40, 299 * 40]);
        assert_eq!((often.transmitted(17), often.transmitted(200)), (2, 1));
    }

    #[test]
    fn calls_count_with_their_words_and_data() {
        let print = |what, words: &[u64], data: &[u8]| {
            let mut trace = Trace::new(0);
            trace.call(1, what, words, data);
            trace.fingerprint()
        };
        let one = print(1, &[2, 3], b"data");
        assert_eq!(one, print(1, &[2, 3], b"data"));
        assert!([print(2, &[2, 3], b"data"), print(1, &[2, 4], b"data"), print(1, &[2, 3], b"date")].iter().all(|p| *p != one));
    }
}
