//! A trace that can be read: its records one by one, and where two of them part.

use std::fmt::Write;

use ipcz::wire::message_name;
use xxhash_rust::xxh3::xxh3_64;

use super::Kind;
use crate::fault;

/// Bytes of a record without its data.
const HEAD: usize = 24;

/// Records in order, by step of the run.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Transcript {
    bytes: Vec<u8>,
    /// Where each record begins.
    starts: Vec<usize>,
    steps: Vec<StepEnd>,
}

/// A step of the run that left records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct StepEnd {
    /// Events of the world until then.
    event: u64,
    /// Virtual ns since the world began.
    time: u64,
    /// Records until then.
    records: usize,
}

/// Who is who in a run, for people.
pub struct Names<'a> {
    /// Names of the processes.
    pub processes: &'a [String],
    /// Who holds or is to hold a transport end and its other end.
    pub holders: &'a dyn Fn(u32) -> Option<[u32; 2]>,
}

/// Where two transcripts part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parting {
    /// The event of the world, counted from 1; 0: before the first.
    pub event: u64,
    /// Virtual ns since the world began.
    pub time: u64,
    /// What the event began with, if the two parted later in it.
    pub cause: Option<String>,
    /// The first record that differs, in both; none where one has ended.
    pub records: [Option<String>; 2],
}

impl Transcript {
    /// A record begins.
    pub(super) fn begin(&mut self) {
        self.starts.push(self.bytes.len());
    }

    /// It goes on.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A step of the run is over, with the `event`th event at `time`.
    pub fn end_step(&mut self, event: u64, time: u64) {
        let records = self.starts.len();
        if self.steps.last().map_or(0, |step| step.records) < records {
            self.steps.push(StepEnd { event, time, records });
        }
    }

    /// Bytes that it holds.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn record(&self, at: usize) -> Option<&[u8]> {
        let start = *self.starts.get(at)?;
        self.bytes.get(start..self.starts.get(at + 1).copied().unwrap_or(self.bytes.len()))
    }

    /// The step that the record belongs to, and the step's first record.
    fn step_of(&self, at: usize) -> Option<(&StepEnd, usize)> {
        let index = self.steps.partition_point(|step| step.records <= at);
        let first = index.checked_sub(1).map_or(0, |before| self.steps[before].records);
        Some((self.steps.get(index)?, first))
    }

    /// A line for each record: event, time in ns, what.
    pub fn lines(&self, names: &Names<'_>) -> String {
        let mut out = String::new();
        for at in 0..self.starts.len() {
            let (Some(record), Some((step, _))) = (self.record(at), self.step_of(at)) else { break };
            let _ = writeln!(out, "#{} {} ns: {}", step.event, step.time, describe(record, names));
        }
        out
    }

    /// The first record in which `self` and `other` differ, or the step of it. Both begin at the same point of their runs.
    pub fn parting(&self, other: &Transcript, names: &Names<'_>) -> Option<Parting> {
        if self == other {
            return None;
        }
        let same = |at: usize| {
            let moment = |of: &Transcript| of.step_of(at).map(|(step, _)| (step.event, step.time));
            self.record(at) == other.record(at) && moment(self) == moment(other)
        };
        let at = (0..self.starts.len().max(other.starts.len())).find(|at| !same(*at))?;
        let (step, first) = self.step_of(at).or_else(|| other.step_of(at))?;
        let owner = if self.step_of(at).is_some() { self } else { other };
        let cause = (first < at).then(|| owner.record(first)).flatten().map(|record| describe(record, names));
        let [one, two] = [self.record(at), other.record(at)];
        let byte = one.zip(two).and_then(|(one, two)| one.iter().zip(two).skip(HEAD).position(|(a, b)| a != b));
        let told = |of: &Transcript| {
            let record = of.record(at)?;
            let mut text = describe(record, names);
            if let Some(byte) = byte {
                let _ = write!(text, ", whose byte {byte} is {:#04x}", record[HEAD + byte]);
            }
            Some(text)
        };
        let mut records = [told(self), told(other)];
        if records[0] == records[1] {
            // What they say is the same: they differ in when it was.
            for (text, of) in records.iter_mut().zip([self, other]) {
                if let (Some(text), Some((step, _))) = (text, of.step_of(at)) {
                    let _ = write!(text, ", with event #{} at {} ns", step.event, step.time);
                }
            }
        }
        Some(Parting { event: step.event, time: step.time, cause, records })
    }
}

/// A record in words. All that it holds shows in them but its time, which is that of its step.
fn describe(record: &[u8], names: &Names<'_>) -> String {
    let word = |at: usize| record.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    let kind = Kind::ALL.into_iter().find(|kind| record.first() == Some(&(*kind as u8)));
    let (a, b, c) = ((word(0) >> 32) as u32, word(8), word(16));
    let data = record.get(HEAD..).unwrap_or_default();
    let process = |at: u32| names.processes.get(at as usize).map_or("*", String::as_str);
    let holders = |end: u32| (names.holders)(end).unwrap_or([u32::MAX; 2]).map(process);
    // On its way to the far end of `end`, and to `end`.
    let out_of = |end: u32| {
        let [here, there] = holders(end);
        format!("{here}->{there}")
    };
    let into = |end: u32| {
        let [here, there] = holders(end);
        format!("{there}->{here}")
    };
    let message = |id: u8| message_name(id).map_or_else(|| format!("message-{id}"), str::to_owned);
    let hash = || format!("{} bytes (hash {:016x})", data.len(), xxh3_64(data));
    let Some(kind) = kind else { return format!("an unknown record {record:02x?}") };
    match kind {
        Kind::Transmit => {
            let id = data.get(2).copied().unwrap_or_default();
            format!("{} {} sent, {}, {} handles, transport {}", out_of(a), message(id), hash(), c & 0xffff, a / 2)
        }
        Kind::Deliver => {
            let id = data.first().copied().unwrap_or_default();
            format!("{} {} delivered, message {c} of all, transport {}", into(a), message(id), a / 2)
        }
        Kind::Hold => format!("{} message {c} waits for an activation of transport {}", into(a), a / 2),
        Kind::Held => format!("{} message held back by a loose node, transport {}, {c}", out_of(a), a / 2),
        Kind::Lose => format!("message lost at end {a} ({}), {c}", process(holders_of(names, a))),
        Kind::Refuse => format!("{} message refused, transport {}", into(a), a / 2),
        Kind::Error => format!("{} error of transport {}, key {c}", into(a), a / 2),
        Kind::Deactivated => format!("{} transport {} deactivated, key {c}", into(a), a / 2),
        Kind::Timer => format!("{} timer", process(a)),
        Kind::App => match c >> 56 {
            0 => format!("operation due: step {c}"),
            _ => format!("{} operation due", process(c as u32)),
        },
        Kind::Store => format!("store of {c:#x} into memory {a}, {} bytes at {:#x}", b >> 48, b & 0xffff_ffff_ffff),
        Kind::Write => format!("write into memory {a} at {b:#x}, {}", hash()),
        Kind::Trap => {
            let status: Vec<u64> = data.chunks_exact(8).filter_map(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes).collect();
            format!("{} trap of {b} fired, flags {c:#x}, parcels and bytes {status:?}", process(a))
        }
        Kind::Call => {
            let words = (b & 0xffff_ffff) as usize;
            let split = data.len().min(8 * words);
            let words: Vec<u64> = data[..split].chunks_exact(8).filter_map(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes).collect();
            let rest = &data[split..];
            let call = CALLS.get((b >> 32) as usize).copied().unwrap_or("call");
            format!("{} {call} {words:x?}, {} bytes (hash {:016x})", process(a), rest.len(), xxh3_64(rest))
        }
        Kind::Reject => format!("{} rejects a parcel of end {b}, context {c}", process(a)),
        Kind::Fault if c == u64::MAX => format!("{} killed", process(a)),
        Kind::Fault if c >> 32 == 1 => {
            let fault = fault::ALL.get(c as u32 as usize).map_or("unknown", |about| about.name);
            format!("fault {fault} strikes at {a}")
        }
        Kind::Fault => format!("link {}-{} cut", process(a), process(c as u32)),
        Kind::Operation if b >> 40 != 0 => format!("activity {a} at turn {}", b >> 32 & 0xff),
        Kind::Operation => {
            let what = OPERATIONS.get((b >> 32) as usize).copied().unwrap_or("touch");
            format!("activity {a}: {what} of memory {}, {} bytes at {:#x}", b as u32, c >> 32, c & 0xffff_ffff)
        }
    }
}

fn holders_of(names: &Names<'_>, end: u32) -> u32 {
    (names.holders)(end).map_or(u32::MAX, |[here, _]| here)
}

/// Calls of the workload by their number in the trace.
const CALLS: [&str; 15] = [
    "call",
    "open",
    "put",
    "get",
    "close",
    "trap",
    "merge",
    "begin put",
    "end put",
    "measure",
    "keep",
    "get from kept",
    "begin get",
    "end get",
    "query",
];
/// Operations on memory by their number.
const OPERATIONS: [&str; 8] = ["touch", "load", "store", "add", "exchange", "read", "write", "fence"];

#[cfg(test)]
mod tests {
    use super::super::Trace;
    use super::*;

    /// A transcript of steps, each a timer and a write of one byte.
    fn written(steps: &[(u64, u8)]) -> Transcript {
        let mut trace = Trace::new(0);
        trace.transcribe();
        for (event, (time, byte)) in (1..).zip(steps) {
            trace.record(Kind::Timer, 0, *time, 0);
            trace.record(Kind::Write, 3, 16, 4);
            trace.fold(&[7, 7, *byte, 7]);
            trace.transcript().unwrap().end_step(event, *time);
        }
        std::mem::take(trace.transcript().unwrap())
    }

    fn parting(one: &[(u64, u8)], two: &[(u64, u8)]) -> Option<Parting> {
        let (processes, holders) = (["a".to_owned()], |_| None);
        written(one).parting(&written(two), &Names { processes: &processes, holders: &holders })
    }

    #[test]
    fn the_first_record_that_differs_is_named() {
        assert_eq!(parting(&[(5, 1), (9, 2)], &[(5, 1), (9, 2)]), None);
        let found = parting(&[(5, 1), (9, 2), (11, 3)], &[(5, 1), (9, 0x42), (11, 4)]).unwrap();
        assert_eq!((found.event, found.time, found.cause.as_deref()), (2, 9, Some("a timer")));
        let [one, two] = found.records.map(Option::unwrap);
        assert!(one.contains("memory 3 at 0x10") && one.ends_with("byte 2 is 0x02") && two.ends_with("byte 2 is 0x42"), "{one}\n{two}");
    }

    #[test]
    fn another_time_is_a_difference() {
        let found = parting(&[(5, 1), (9, 2)], &[(5, 1), (8, 2)]).unwrap();
        assert_eq!((found.event, found.cause), (2, None));
        assert_eq!(found.records.map(Option::unwrap), ["a timer, with event #2 at 9 ns", "a timer, with event #2 at 8 ns"]);
    }

    #[test]
    fn a_run_that_ends_early_has_nothing_more() {
        for (one, two, early) in [(&[(5, 1)][..], &[(5, 1), (9, 2)][..], 0), (&[(5, 1), (9, 2)], &[(5, 1)], 1)] {
            let found = parting(one, two).unwrap();
            assert_eq!((found.event, &found.records[early]), (2, &None));
            assert_eq!(found.records[1 - early].as_deref(), Some("a timer"));
        }
    }

    #[test]
    fn lines_name_every_record() {
        let holders = |_| None;
        let lines = written(&[(5, 1), (9, 2)]).lines(&Names { processes: &["a".to_owned()], holders: &holders });
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 4);
        assert!(lines[0] == "#1 5 ns: a timer" && lines[3].starts_with("#2 9 ns: write into memory 3"), "{lines:?}");
    }
}
