//! The sequenced queue: parcels by number, with gaps and a final length (routing.md 4).

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use super::parcel::Parcel;

/// How far a number or a final length may lie beyond the contiguous run (routing.md 4).
pub const WINDOW: u64 = crate::wire::SEQUENCE_GAP_LIMIT;

/// Parcels of one direction of a route. Storage grows with the parcels held, not with the numbers named.
#[derive(Clone, Default, Debug)]
pub struct ParcelQueue {
    next: u64,
    run: VecDeque<Parcel>,
    bytes: usize,
    beyond: BTreeMap<u64, Parcel>,
    final_length: Option<u64>,
}

impl ParcelQueue {
    /// An empty queue whose first parcel will be `next`.
    pub fn starting_at(next: u64) -> ParcelQueue {
        ParcelQueue { next, ..ParcelQueue::default() }
    }

    /// An empty queue of a sequence that is known to end before parcel `last`, however many are still to come: a million may wait at the
    /// router it was moved from, and what somebody else said of the end is not its mover's to answer for.
    pub fn between(next: u64, last: u64) -> ParcelQueue {
        debug_assert!(next <= last, "checked by whoever took the numbers from a peer");
        ParcelQueue { final_length: Some(last), ..ParcelQueue::starting_at(next) }
    }

    /// Number of the next parcel to pop.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Number after the last parcel of the contiguous run.
    pub fn length(&self) -> u64 {
        self.next + self.run.len() as u64
    }

    /// Number after the highest parcel known, those behind a gap included.
    pub fn highest(&self) -> u64 {
        self.beyond.last_key_value().map_or(self.length(), |(n, _)| n + 1)
    }

    /// The length the sequence will have in the end, once known.
    pub fn final_length(&self) -> Option<u64> {
        self.final_length
    }

    /// Parcels that can be popped one after the other.
    pub fn available(&self) -> usize {
        self.run.len()
    }

    /// Data bytes of those.
    pub fn available_bytes(&self) -> usize {
        self.bytes
    }

    /// Parcels held behind a gap.
    pub fn beyond_gap(&self) -> usize {
        self.beyond.len()
    }

    /// Whether the next parcel is there.
    pub fn has_next(&self) -> bool {
        !self.run.is_empty()
    }

    /// The next parcel, if it is there.
    pub fn peek(&self) -> Option<&Parcel> {
        self.run.front()
    }

    /// The next parcel, if it is there. Its data keeps its length.
    pub fn peek_mut(&mut self) -> Option<&mut Parcel> {
        self.run.front_mut()
    }

    /// Whether parcels are still to arrive.
    pub fn expects_more(&self) -> bool {
        self.final_length.is_none_or(|last| self.length() < last)
    }

    /// Whether everything arrived and was popped.
    pub fn fully_consumed(&self) -> bool {
        self.run.is_empty() && !self.expects_more()
    }

    /// Stores a parcel under its number; gives it back if the number is known, past the end, or too far ahead.
    pub fn push(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        let (number, length) = (parcel.number, self.length());
        if number < length || self.final_length.is_some_and(|last| number >= last) || number - length > WINDOW {
            return Err(parcel);
        }
        if number > length {
            return match self.beyond.entry(number) {
                Entry::Occupied(_) => Err(parcel),
                Entry::Vacant(slot) => {
                    slot.insert(parcel);
                    Ok(())
                }
            };
        }
        self.bytes += parcel.payload.len();
        self.run.push_back(parcel);
        self.close_gap();
        Ok(())
    }

    /// Takes the next parcel.
    pub fn pop(&mut self) -> Option<Parcel> {
        let parcel = self.run.pop_front()?;
        self.next += 1;
        self.bytes -= parcel.payload.len();
        Some(parcel)
    }

    /// Counts parcel `number` as pushed and popped, if it is the next one and nothing is queued.
    pub fn skip(&mut self, number: u64) -> bool {
        let skips = number == self.next && self.run.is_empty() && self.final_length.is_none_or(|last| number < last);
        if skips {
            self.next += 1;
            self.close_gap();
        }
        skips
    }

    /// Fixes the final length; false if it is known already, below what was pushed, or too far ahead.
    pub fn set_final(&mut self, last: u64) -> bool {
        let fits = self.final_length.is_none() && last >= self.highest() && last - self.length() <= WINDOW;
        if fits {
            self.final_length = Some(last);
        }
        fits
    }

    /// Ends the sequence after the contiguous run, whatever was agreed; gives back what lay beyond the gap.
    #[must_use = "the parcels must be discarded"]
    pub fn force_terminate(&mut self) -> Vec<Parcel> {
        self.final_length = Some(self.length());
        std::mem::take(&mut self.beyond).into_values().collect()
    }

    /// Every parcel held, next first.
    pub fn iter(&self) -> impl Iterator<Item = &Parcel> {
        self.run.iter().chain(self.beyond.values())
    }

    /// Every parcel held, next first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Parcel> {
        self.run.iter_mut().chain(self.beyond.values_mut())
    }

    /// Every parcel held, next first.
    pub fn into_parcels(self) -> impl Iterator<Item = Parcel> {
        self.run.into_iter().chain(self.beyond.into_values())
    }

    fn close_gap(&mut self) {
        while !self.beyond.is_empty()
            && let Some(parcel) = self.beyond.remove(&(self.next + self.run.len() as u64))
        {
            self.bytes += parcel.payload.len();
            self.run.push_back(parcel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Payload;
    use super::*;

    fn parcel(number: u64) -> Parcel {
        Parcel { number, payload: Payload::copy_of(&[7; 3]), ..Parcel::default() }
    }

    #[test]
    fn order_is_restored_and_duplicates_are_refused() {
        let mut q = ParcelQueue::default();
        for n in [2, 0, 3] {
            q.push(parcel(n)).unwrap();
        }
        assert_eq!((q.length(), q.available_bytes(), q.beyond_gap()), (1, 3, 2));
        for n in [0, 2] {
            assert!(q.push(parcel(n)).is_err());
        }
        q.push(parcel(1)).unwrap();
        assert_eq!((q.length(), q.available_bytes(), q.beyond_gap()), (4, 12, 0));
        let numbers: Vec<_> = std::iter::from_fn(|| q.pop().map(|p| p.number)).collect();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!((q.next(), q.available_bytes()), (4, 0));
        assert!(q.push(parcel(3)).is_err());
    }

    #[test]
    fn the_window_is_measured_from_the_end_of_the_run() {
        let mut q = ParcelQueue::default();
        assert!(q.push(parcel(WINDOW + 1)).is_err());
        q.push(parcel(WINDOW)).unwrap();
        q.push(parcel(0)).unwrap();
        q.push(parcel(WINDOW + 1)).unwrap();
        assert!(!q.clone().set_final(WINDOW + 1), "below what was pushed");
        assert!(q.clone().set_final(WINDOW + 2) || q.length() + WINDOW < WINDOW + 2);
    }

    #[test]
    fn the_final_length_is_set_once_and_bounds_pushes() {
        let mut q = ParcelQueue::default();
        q.push(parcel(1)).unwrap();
        assert!(!q.set_final(1));
        assert!(q.set_final(2));
        assert!(!q.set_final(2), "known already");
        assert!(q.push(parcel(2)).is_err());
        assert!(q.expects_more());
        q.push(parcel(0)).unwrap();
        assert!(!q.expects_more() && !q.fully_consumed());
        q.pop();
        q.pop();
        assert!(q.fully_consumed());
    }

    #[test]
    fn room_grows_with_what_waits_not_with_what_passes() {
        let mut q = ParcelQueue::default();
        for number in 0..if cfg!(miri) { 100 } else { 100_000 } {
            // Never empty.
            q.push(parcel(number)).unwrap();
            if number > 0 {
                q.pop().unwrap();
            }
        }
        assert!(q.available() == 1 && q.run.capacity() < 16, "{}", q.run.capacity());
    }

    #[test]
    fn skipping_needs_an_empty_queue() {
        let mut q = ParcelQueue::starting_at(5);
        assert!(!q.skip(4));
        assert!(q.skip(5));
        q.push(parcel(6)).unwrap();
        assert!(!q.skip(6) && !q.skip(7));
        assert_eq!((q.next(), q.length()), (6, 7));
    }

    #[test]
    fn forced_termination_keeps_the_prefix() {
        let mut q = ParcelQueue::default();
        for n in [0, 1, 3, 9] {
            q.push(parcel(n)).unwrap();
        }
        assert!(q.set_final(10));
        let cut: Vec<_> = q.force_terminate().iter().map(|p| p.number).collect();
        assert_eq!(cut, [3, 9]);
        assert_eq!((q.final_length(), q.expects_more()), (Some(2), false));
        assert!(q.push(parcel(2)).is_err());
    }
}
