//! Events in virtual time, first in first out among equals.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, VecDeque};

use super::{Next, What};

/// An event in the queue.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Nanoseconds of virtual time.
    time: u64,
    /// Tie (16 bits), then sequence number.
    order: u64,
    what: What,
}

impl Entry {
    fn key(&self) -> (u64, u64) {
        (self.time, self.order)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.key().cmp(&other.key())
    }
}

/// Events by time, tie and sequence. Those pushed in order, most of them where latencies are equal, never see the heap.
#[derive(Clone, Default, Debug)]
pub(crate) struct Timed {
    sequence: u64,
    /// Events that are of a transport.
    traffic: usize,
    sorted: VecDeque<Entry>,
    heap: BinaryHeap<Reverse<Entry>>,
}

impl Timed {
    /// Adds an event; among those of one time the lowest `tie` goes first, then the oldest.
    pub fn push(&mut self, time: u64, tie: u16, what: What) {
        let entry = Entry { time, order: u64::from(tie) << 48 | self.sequence, what };
        self.sequence += 1;
        self.traffic += usize::from(what.is_traffic());
        if self.sorted.back().is_none_or(|last| *last < entry) {
            self.sorted.push_back(entry);
        } else {
            self.heap.push(Reverse(entry));
        }
    }

    /// Takes the next event.
    pub fn pop(&mut self) -> Option<Next> {
        let entry = match (self.sorted.front(), self.heap.peek()) {
            (Some(first), Some(Reverse(other))) if other < first => self.heap.pop().map(|Reverse(e)| e),
            (None, _) => self.heap.pop().map(|Reverse(e)| e),
            _ => self.sorted.pop_front(),
        }?;
        self.traffic -= usize::from(entry.what.is_traffic());
        Some(Next { time: entry.time, what: entry.what })
    }

    /// Events waiting that are of a transport.
    pub fn traffic(&self) -> usize {
        self.traffic
    }

    /// When the next event is.
    pub fn next_time(&self) -> Option<u64> {
        let (sorted, heap) = (self.sorted.front().map(|e| e.time), self.heap.peek().map(|Reverse(e)| e.time));
        sorted.into_iter().chain(heap).min()
    }

    /// Events waiting.
    pub fn len(&self) -> usize {
        self.sorted.len() + self.heap.len()
    }
}

/// Pushes and pops `events` events with `size` always waiting, at pseudo-random times, and nothing else: what an engine
/// that did no work would cost. Answers a checksum so that nothing is optimised away.
pub fn bare_heap(events: u64, size: usize) -> u64 {
    let mut queue = Timed::default();
    let (mut random, mut sum) = (1_u64, 0_u64);
    let mut later = |now: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        now + 1 + (random >> 44)
    };
    for i in 0..size {
        queue.push(later(0), 0, What::App(i as u32));
    }
    for i in 0..events {
        let Some(entry) = queue.pop() else { break };
        sum = sum.wrapping_add(entry.time);
        queue.push(later(entry.time), 0, What::App(i as u32));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_then_tie_then_age() {
        let mut queue = Timed::default();
        for (i, (time, tie)) in [(5, 0), (3, 0), (5, 0), (9, 1), (9, 0), (3, 0), (5, 2), (5, 1), (1, 0)].into_iter().enumerate() {
            queue.push(time, tie, What::App(i as u32));
        }
        assert_eq!((queue.len(), queue.next_time()), (9, Some(1)));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).map(|e| e.what).collect();
        assert_eq!(order, [8, 1, 5, 0, 2, 7, 6, 4, 3].map(What::App));
        assert_eq!((queue.len(), queue.next_time()), (0, None));
    }
}
