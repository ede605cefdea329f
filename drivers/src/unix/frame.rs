//! Messages in a byte stream (driver.md 8.4): `{u32 total bytes with this header; u32 descriptors}`, then the message.

use std::collections::VecDeque;
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::socket::CHUNK;

/// Bytes of the header.
pub(super) const HEADER: usize = 8;

/// Descriptors a message may have: each byte of the header can take as many as one system call carries.
pub(super) const MAX_DESCRIPTORS: usize = HEADER * CHUNK;

/// Bytes the buffer has at first, and again once a larger message is gone.
const BUFFER: usize = 64 << 10;

/// The header of a message.
pub(super) fn header(data: usize, descriptors: usize) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..4].copy_from_slice(&((data + HEADER) as u32).to_ne_bytes());
    out[4..].copy_from_slice(&(descriptors as u32).to_ne_bytes());
    out
}

/// What makes a stream unusable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Damage {
    /// A message shorter than its header, or beyond the limit.
    Length,
    /// More descriptors announced than a message may have.
    TooManyDescriptors,
    /// Descriptors that no message announced.
    StrayDescriptors,
    /// A message is whole, but for descriptors it announced.
    MissingDescriptors,
}

/// One whole message, still in the inbox.
#[derive(Debug)]
pub(super) struct Arrived {
    /// Where its bytes are: [`Inbox::bytes`].
    pub at: Range<usize>,
    /// Its descriptors.
    pub descriptors: Vec<OwnedFd>,
}

/// What was received and not yet delivered. Grows with the bytes that came, never with what a header announces.
pub(super) struct Inbox {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    descriptors: VecDeque<OwnedFd>,
    limit: usize,
}

impl Inbox {
    /// An empty one for messages of up to `limit` bytes.
    pub(super) fn new(limit: usize) -> Inbox {
        Inbox { buffer: vec![0; BUFFER], start: 0, end: 0, descriptors: VecDeque::new(), limit }
    }

    /// Where to receive into; say with [`Inbox::received`] how much came.
    pub(super) fn space(&mut self) -> (&mut [u8], &mut VecDeque<OwnedFd>) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.buffer.len() > BUFFER {
                self.buffer = vec![0; BUFFER];
            }
        }
        if self.end == self.buffer.len() {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            } else {
                self.buffer.resize(2 * self.end, 0);
            }
        }
        (&mut self.buffer[self.end..], &mut self.descriptors)
    }

    /// So many bytes were received.
    pub(super) fn received(&mut self, bytes: usize) {
        self.end += bytes;
    }

    /// Takes the next whole message out.
    pub(super) fn next(&mut self) -> Result<Option<Arrived>, Damage> {
        let here = &self.buffer[self.start..self.end];
        let waiting = self.descriptors.len();
        let Some((head, _)) = here.split_at_checked(HEADER) else {
            // Descriptors come with a byte of their message; how many belong to it, the header has yet to say.
            let allowed = if here.is_empty() { 0 } else { MAX_DESCRIPTORS };
            return if waiting > allowed { Err(Damage::StrayDescriptors) } else { Ok(None) };
        };
        let word = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| head[at + i])) as usize;
        let (total, announced) = (word(0), word(4));
        if total < HEADER || total > self.limit {
            return Err(Damage::Length);
        }
        if announced > MAX_DESCRIPTORS {
            return Err(Damage::TooManyDescriptors);
        }
        if here.len() < total {
            return if waiting > announced { Err(Damage::StrayDescriptors) } else { Ok(None) };
        }
        if waiting < announced {
            return Err(Damage::MissingDescriptors);
        }
        let at = self.start + HEADER..self.start + total;
        self.start += total;
        Ok(Some(Arrived { at, descriptors: self.descriptors.drain(..announced).collect() }))
    }

    /// A message's bytes.
    pub(super) fn bytes(&self, at: &Range<usize>) -> &[u8] {
        &self.buffer[at.clone()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(inbox: &mut Inbox, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (space, _) = inbox.space();
            let n = space.len().min(bytes.len());
            space[..n].copy_from_slice(&bytes[..n]);
            inbox.received(n);
            bytes = &bytes[n..];
        }
    }

    fn frame(data: &[u8]) -> Vec<u8> {
        [&header(data.len(), 0)[..], data].concat()
    }

    fn all(inbox: &mut Inbox) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| inbox.next().unwrap().map(|arrived| inbox.bytes(&arrived.at).to_vec())).collect()
    }

    #[test]
    fn messages_are_the_same_however_the_stream_is_cut() {
        let messages: Vec<Vec<u8>> = [0, 1, 7, 8, 9, 100, 3000].iter().map(|n| (0..*n).map(|i| i as u8).collect()).collect();
        let stream: Vec<u8> = messages.iter().flat_map(|m| frame(m)).collect();
        for step in [1, 2, 3, 7, 8, 9, 64, 1000, stream.len()] {
            let mut inbox = Inbox::new(1 << 20);
            let mut got = Vec::new();
            for piece in stream.chunks(step) {
                feed(&mut inbox, piece);
                got.extend(all(&mut inbox));
            }
            assert_eq!(got, messages, "in pieces of {step}");
        }
    }

    #[test]
    fn the_buffer_grows_with_what_came_and_shrinks_again() {
        let mut inbox = Inbox::new(100 << 20);
        feed(&mut inbox, &header(50 << 20, 0));
        feed(&mut inbox, &[0; 1000]);
        assert!(inbox.next().unwrap().is_none() && inbox.buffer.len() == BUFFER);
        let mut inbox = Inbox::new(100 << 20);
        let big = frame(&vec![7; 5 << 20]);
        feed(&mut inbox, &big);
        feed(&mut inbox, &frame(b"next"));
        assert_eq!(all(&mut inbox).iter().map(Vec::len).collect::<Vec<_>>(), [5 << 20, 4]);
        inbox.space();
        assert_eq!(inbox.buffer.len(), BUFFER);
    }

    #[test]
    fn impossible_headers_are_damage() {
        for (total, count, damage) in [
            (7, 0, Damage::Length),
            (0, 0, Damage::Length),
            (1001, 0, Damage::Length),
            (u32::MAX, 0, Damage::Length),
            (8, 513, Damage::TooManyDescriptors),
            (8, 1, Damage::MissingDescriptors),
        ] {
            let mut inbox = Inbox::new(1000);
            feed(&mut inbox, &total.to_ne_bytes());
            assert!(inbox.next().unwrap().is_none());
            feed(&mut inbox, &u32::to_ne_bytes(count));
            assert_eq!(inbox.next().unwrap_err(), damage, "{total} bytes, {count} descriptors");
        }
    }

    #[test]
    fn garbage_is_damage_or_waits_for_the_rest() {
        let mut seed = 7u64;
        let mut random = || {
            seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (seed >> 33) as usize
        };
        let (mut whole, mut damaged) = (0, 0);
        for _ in 0..2000 {
            let mut inbox = Inbox::new(1000);
            for _ in 0..20 {
                let noise: Vec<u8> = (0..random() % 200).map(|_| random() as u8).collect();
                let bytes = if random() % 8 > 0 { frame(&noise) } else { noise };
                feed(&mut inbox, &bytes);
                let more = std::iter::from_fn(|| inbox.next().transpose());
                match more.map(|arrived| arrived.map(|arrived| assert!(arrived.at.len() <= 992))).collect::<Result<Vec<()>, _>>() {
                    Ok(messages) => whole += messages.len(),
                    Err(_) => {
                        damaged += 1;
                        break;
                    }
                }
            }
            assert!(inbox.buffer.len() <= BUFFER);
        }
        assert!(whole > 1000 && damaged > 1000, "{whole} messages, {damaged} damaged streams");
    }
}
