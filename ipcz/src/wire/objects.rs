//! Driver objects of a message: their table, and which field claims which (wire.md 5).

use std::ops::Range;

use super::array::{ARRAY_HEADER, append, array_at, bytes_at, put, u32_at};
use super::error::{Fault, TooLarge, Trouble};

/// Bytes of an entry of the object table.
pub(super) const ENTRY_SIZE: usize = 8;

/// An object to be sent, as the driver serialized it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ObjectBytes<'a> {
    /// The driver's bytes; may be empty.
    pub data: &'a [u8],
    /// How many handles it has; they follow those of the objects before it in the message's handle list.
    pub handles: u16,
}

/// A received object, ready for the driver's deserialization.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ObjectEntry<'a> {
    /// The driver's bytes; may be empty.
    pub data: &'a [u8],
    /// Its handles: indexes into the message's handle list, in bounds and shared with no other entry.
    pub handles: Range<usize>,
}

/// Consecutive objects of a message, by index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub struct ObjectRange {
    /// Index of the first.
    pub first: u32,
    /// How many.
    pub num: u32,
}

/// The object table of a message, checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ObjectTable<'a> {
    message: &'a [u8],
    /// Where the first entry stands in the message.
    start: usize,
    len: usize,
}

/// An entry as it stands in the table.
struct RawEntry {
    at: usize,
    first: u16,
    num: u16,
}

impl<'a> ObjectTable<'a> {
    /// The table of a message that has none.
    pub fn empty(message: &'a [u8]) -> Self {
        ObjectTable { message, start: 0, len: 0 }
    }

    /// Checks the table whose offset is written at `field` of a message that came with `handles` handles (ladder step 3). On failure says
    /// which field is at fault.
    pub fn parse(message: &'a [u8], field: usize, handles: usize) -> Result<Self, (&'static str, Trouble)> {
        let entries = array_at(message, field, ENTRY_SIZE, Fault::ObjectTable).map_err(|t| ("driver_object_data_array", t))?;
        let len = entries.len() / ENTRY_SIZE;
        let start = u32_at(message, field).map_or(0, |off| off as usize + ARRAY_HEADER);
        let table = ObjectTable { message, start, len };
        let mut ascending = true;
        let mut end = 0;
        for RawEntry { at, first, num } in (0..len).map(|i| table.raw(i)) {
            array_at(message, at, 1, Fault::ObjectBytes).map_err(|t| ("driver_data_array", t))?;
            if usize::from(num) > handles || usize::from(first) > handles - usize::from(num) {
                let fault = Fault::HandleRange { first, num, received: handles };
                return Err(("first_driver_handle", Trouble { offset: at + 4, fault }));
            }
            if num > 0 {
                ascending &= usize::from(first) >= end;
                end = usize::from(first) + usize::from(num);
            }
        }
        if !ascending {
            table.check_disjoint()?;
        }
        Ok(table)
    }

    /// That no handle belongs to two entries. Senders list handles in order; only a table that does not comes here.
    #[inline(never)]
    fn check_disjoint(&self) -> Result<(), (&'static str, Trouble)> {
        // Two u16 reach no further; on the stack, so that a small message cannot make us allocate.
        let mut taken = [0u64; (2 * (u16::MAX as usize + 1)) / 64];
        for RawEntry { at, first, num } in (0..self.len).map(|i| self.raw(i)) {
            for handle in usize::from(first)..usize::from(first) + usize::from(num) {
                let (word, bit) = (&mut taken[handle / 64], 1 << (handle % 64));
                if *word & bit != 0 {
                    return Err(("first_driver_handle", Trouble { offset: at + 4, fault: Fault::HandleClaimedTwice { handle } }));
                }
                *word |= bit;
            }
        }
        Ok(())
    }

    fn raw(&self, index: usize) -> RawEntry {
        let at = self.start + index * ENTRY_SIZE;
        let [.., f0, f1, n0, n1] = bytes_at::<ENTRY_SIZE>(self.message, at).unwrap_or_default();
        RawEntry { at, first: u16::from_le_bytes([f0, f1]), num: u16::from_le_bytes([n0, n1]) }
    }

    /// Number of objects.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The objects in order.
    pub fn entries(self) -> impl ExactSizeIterator<Item = ObjectEntry<'a>> {
        (0..self.len).map(move |index| {
            let RawEntry { at, first, num } = self.raw(index);
            let data = array_at(self.message, at, 1, Fault::ObjectBytes).unwrap_or_default();
            ObjectEntry { data, handles: usize::from(first)..usize::from(first) + usize::from(num) }
        })
    }
}

/// Appends the object table, then each object's bytes (wire.md 6 step 3), and notes the table's offset at `field`.
pub(super) fn append_objects(out: &mut Vec<u8>, field: usize, objects: &[ObjectBytes<'_>]) -> Result<(), TooLarge> {
    objects.iter().try_fold(0u16, |sum, object| sum.checked_add(object.handles)).ok_or(TooLarge)?;
    append(out, field, objects.len(), ENTRY_SIZE, |entries| {
        let mut first = 0;
        for (entry, object) in entries.chunks_exact_mut(ENTRY_SIZE).zip(objects) {
            put(entry, 4, &u16::to_le_bytes(first));
            put(entry, 6, &object.handles.to_le_bytes());
            first += object.handles;
        }
    })?;
    let table = out.len() - objects.len() * ENTRY_SIZE;
    for (index, object) in objects.iter().enumerate() {
        append(out, table + index * ENTRY_SIZE, object.data.len(), 1, |bytes| bytes.copy_from_slice(object.data))?;
    }
    Ok(())
}

/// The objects that a message's fields have claimed so far (hazards MV-01 to MV-03).
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Claims {
    taken: [ObjectRange; Claims::MOST],
    len: usize,
}

impl Claims {
    /// Object fields a message may have; `message.rs` is checked against it when compiled.
    pub const MOST: usize = 3;

    /// Claims `range`, which lies within the message's objects.
    pub fn take(&mut self, range: ObjectRange, offset: usize) -> Result<(), Trouble> {
        let end = |r: ObjectRange| u64::from(r.first) + u64::from(r.num);
        for earlier in &self.taken[..self.len] {
            let common = earlier.first.max(range.first);
            if u64::from(common) < end(*earlier).min(end(range)) {
                return Err(Trouble { offset, fault: Fault::ObjectClaimedTwice { index: common } });
            }
        }
        self.taken[self.len] = range;
        self.len += 1;
        Ok(())
    }
}
