//! What parcels contain: a pure function of who sent which, so that whoever takes one knows what it must be.

use super::EndId;

/// Bytes of the tag that begins every parcel long enough: no two parcels of a run have the same.
pub const TAG_BYTES: usize = 16;

const SECOND: u64 = 0xd1b5_4a32_d192_ed03;

/// Spreads a number over 64 bits; two numbers never become one.
fn scramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// What was scrambled.
fn unscramble(mut x: u64) -> u64 {
    x = (x ^ (x >> 31) ^ (x >> 62)).wrapping_mul(0x3196_42b2_d24d_8ec3);
    x = (x ^ (x >> 27) ^ (x >> 54)).wrapping_mul(0x96de_1b17_3f11_9089);
    x ^ (x >> 30) ^ (x >> 60)
}

fn name(from: EndId, number: u64) -> u64 {
    u64::from(from.0) << 32 | (number & 0xffff_ffff)
}

/// Fills `out` with the first `length` bytes of the parcel `number` that was put into `from`; the old content is discarded.
pub fn write(from: EndId, number: u64, length: usize, out: &mut Vec<u8>) {
    let name = name(from, number);
    let (first, second) = (scramble(name), scramble(name ^ SECOND));
    out.resize(length.next_multiple_of(8), 0);
    let (words, _) = out.as_chunks_mut();
    for (out, word) in words.iter_mut().zip([first, second]) {
        *out = word.to_le_bytes();
    }
    // Each word once in a parcel, and no two parcels alike; and added up only, which is done for several words at a time.
    let mut word = first ^ second;
    for out in words.iter_mut().skip(2) {
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        *out = word.to_le_bytes();
    }
    out.truncate(length);
}

/// Whose parcel begins with these bytes, if they are a tag: the end it was put into and its number (its low 32 bits).
pub fn read_tag(data: &[u8]) -> Option<(EndId, u64)> {
    let (first, second) = (data.first_chunk()?, data.get(8..)?.first_chunk()?);
    let name = unscramble(u64::from_le_bytes(*first));
    (scramble(name ^ SECOND) == u64::from_le_bytes(*second)).then_some((EndId((name >> 32) as u32), name & 0xffff_ffff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_its_parcel_and_nothing_else_does() {
        let mut bytes = Vec::new();
        for (end, number) in [(0, 0), (7, 3), (40_000, 1_000_000), (u32::MAX, u64::from(u32::MAX))] {
            write(EndId(end), number, 100, &mut bytes);
            assert_eq!((bytes.len(), read_tag(&bytes)), (100, Some((EndId(end), number))));
            bytes[9] ^= 1;
            assert_eq!(read_tag(&bytes), None);
        }
        assert_eq!(read_tag(&[0; 15]), None);
    }

    #[test]
    fn lengths_are_prefixes_of_one_content() {
        let (mut long, mut short) = (Vec::new(), Vec::new());
        write(EndId(5), 9, 2048, &mut long);
        for length in [0, 1, 7, 8, 15, 16, 17, 100, 2047] {
            write(EndId(5), 9, length, &mut short);
            assert_eq!(short, long[..length]);
        }
        write(EndId(4), 9, 8, &mut short);
        assert_ne!(short, long[..8]);
    }
}
