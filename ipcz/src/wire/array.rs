//! Arrays (wire.md 4): the one check of received ones, the one way to append ours, and plain numbers at a place.

use super::error::{ArrayFault, Fault, TooLarge, Trouble};

/// Bytes of an array header.
pub(super) const ARRAY_HEADER: usize = 8;

/// The `N` bytes at `at`, if they are there.
pub(super) fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The number at `at`, if it is there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

/// The elements, each of `size` bytes, of the array whose offset is written at `field`; empty for offset 0. `fault` says whose array it is.
pub(super) fn array_at(bytes: &[u8], field: usize, size: usize, fault: fn(ArrayFault) -> Fault) -> Result<&[u8], Trouble> {
    let bad = |offset, cause| Trouble { offset, fault: fault(cause) };
    let off = u32_at(bytes, field).ok_or(bad(field, ArrayFault::Offset))? as usize;
    if off == 0 {
        return Ok(&[]);
    }
    let (Some(num_bytes), Some(num_elements)) = (u32_at(bytes, off), u32_at(bytes, off.saturating_add(4))) else {
        return Err(bad(field, ArrayFault::Offset));
    };
    let (num_bytes, num_elements) = (num_bytes as usize, num_elements as usize);
    if num_bytes < ARRAY_HEADER || num_bytes > bytes.len() - off {
        return Err(bad(off, ArrayFault::NumBytes));
    }
    if num_elements > (num_bytes - ARRAY_HEADER) / size {
        return Err(bad(off + 4, ArrayFault::NumElements));
    }
    let elements = off + ARRAY_HEADER;
    Ok(&bytes[elements..elements + num_elements * size])
}

/// Offset and byte count of an array of `len` element bytes when `end` bytes are written, both multiples of 8.
fn place(end: usize, len: usize) -> Result<(u32, u32), TooLarge> {
    let up = |n: usize| n.checked_next_multiple_of(8).ok_or(TooLarge);
    let off = up(end)?;
    let num_bytes = up(len.checked_add(ARRAY_HEADER).ok_or(TooLarge)?)?;
    let whole = off.checked_add(num_bytes).ok_or(TooLarge)?;
    u32::try_from(whole).map_err(|_| TooLarge)?;
    Ok((off as u32, num_bytes as u32))
}

/// Appends an array of `count` elements of `size` bytes, written by `fill` into zeroed room, and notes its offset at `field`. None for no elements.
pub(super) fn append(out: &mut Vec<u8>, field: usize, count: usize, size: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), TooLarge> {
    if count == 0 {
        return Ok(());
    }
    let len = count.checked_mul(size).ok_or(TooLarge)?;
    let (off, num_bytes) = place(out.len(), len)?;
    let elements = off as usize + ARRAY_HEADER;
    out.resize(off as usize + num_bytes as usize, 0);
    put(out, field, &off.to_le_bytes());
    put_header(out, off as usize, num_bytes, count as u32);
    fill(&mut out[elements..elements + len]);
    Ok(())
}

/// Makes the bytes from `elements` to the end of `out` the elements of an array, noted at `field`, whose header goes right before them.
pub(super) fn adopt_bytes(out: &mut Vec<u8>, field: usize, elements: usize) -> Result<(), TooLarge> {
    let len = out.len() - elements;
    let (off, num_bytes) = place(elements - ARRAY_HEADER, len)?;
    out.resize(off as usize + num_bytes as usize, 0);
    put(out, field, &off.to_le_bytes());
    put_header(out, off as usize, num_bytes, len as u32);
    Ok(())
}

fn put_header(out: &mut [u8], at: usize, num_bytes: u32, num_elements: u32) {
    put(out, at, &num_bytes.to_le_bytes());
    put(out, at + 4, &num_elements.to_le_bytes());
}

/// Writes `bytes` over what is at `at`.
pub(super) fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], size: usize) -> Result<usize, (usize, ArrayFault)> {
        array_at(bytes, 0, size, Fault::Array).map(<[u8]>::len).map_err(|t| match t.fault {
            Fault::Array(cause) => (t.offset, cause),
            other => panic!("{other:?}"),
        })
    }

    /// A message of `len` bytes whose first word is an array offset and that has an array header at 8.
    fn message(off: u32, num_bytes: u32, num_elements: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; 32];
        put(&mut bytes, 0, &off.to_le_bytes());
        put_header(&mut bytes, 8, num_bytes, num_elements);
        bytes.truncate(len);
        bytes
    }

    #[test]
    fn the_check_follows_the_five_rules() {
        assert_eq!(check(&message(0, 0, 9, 32), 4), Ok(0), "offset 0 is empty");
        assert_eq!(check(&message(32, 24, 1, 32), 4), Err((0, ArrayFault::Offset)), "at the end");
        assert_eq!(check(&message(25, 24, 1, 32), 4), Err((0, ArrayFault::Offset)), "seven bytes left");
        assert_eq!(check(&message(u32::MAX, 24, 1, 32), 4), Err((0, ArrayFault::Offset)));
        assert_eq!(check(&message(8, 7, 0, 32), 4), Err((8, ArrayFault::NumBytes)));
        assert_eq!(check(&message(8, 25, 0, 32), 4), Err((8, ArrayFault::NumBytes)));
        assert_eq!(check(&message(8, 24, 0, 31), 4), Err((8, ArrayFault::NumBytes)));
        assert_eq!(check(&message(8, 24, 5, 32), 4), Err((12, ArrayFault::NumElements)));
        assert_eq!(check(&message(8, 23, 4, 32), 4), Err((12, ArrayFault::NumElements)), "integer division");
        assert_eq!(check(&message(8, u32::MAX, u32::MAX, 32), 1), Err((8, ArrayFault::NumBytes)));
        assert_eq!(check(&message(8, 24, u32::MAX, 32), 96), Err((12, ArrayFault::NumElements)));
        assert_eq!(check(&message(8, 8, 0, 32), 4), Ok(0), "a header and nothing else");
        assert_eq!(check(&message(8, 24, 4, 32), 4), Ok(16));
        assert_eq!(check(&message(8, 21, 13, 32), 1), Ok(13), "byte counts need no padding");
    }

    #[test]
    fn offsets_stay_below_four_gibibytes() {
        let limit = 1usize << 32;
        assert_eq!(place(97, 5), Ok((104, 16)));
        assert_eq!(place(limit - 24, 8), Ok((u32::MAX - 23, 16)));
        assert_eq!(place(limit - 16, 8), Err(TooLarge), "one past the last byte has no u32 offset");
        assert_eq!(place(96, limit), Err(TooLarge));
        assert_eq!(place(96, usize::MAX), Err(TooLarge));
        assert_eq!(place(usize::MAX, 1), Err(TooLarge));
    }
}
