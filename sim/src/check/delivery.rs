//! Every parcel is taken exactly once, in the order it was put, with its content and its attachments; at rest between healthy ends
//! nothing is missing (routing.md 19, Q1, Q2, E1).

use super::broken::LIE;
use super::{Checked, Tally, Violation};
use crate::boxes::{Seen, contents};
use crate::ghost::{EndId, Ghost, Place, Taken, read_tag, write_payload};

const NAME: &str = "delivery";
const PROPERTY: &str = "every parcel arrives exactly once, in order and intact";

/// The checker.
#[derive(Clone, Default, Debug)]
pub struct Delivery {
    /// Its counts.
    pub tally: Tally,
    expected: Vec<u8>,
}

impl Delivery {
    /// Its name.
    pub const NAME: &str = NAME;

    /// `reader` gave a parcel with this data and this many attachments: which one it must be.
    pub fn taken(&mut self, ghost: &mut Ghost, reader: EndId, data: &[u8], attached: usize) -> Checked<Taken> {
        self.tally.count();
        let no = |text: String| Violation::new(NAME, PROPERTY, text).at(reader);
        let from = ghost.peer(reader);
        let Some(taken) = ghost.take(reader) else {
            let text =
                format!("{reader} gave a parcel of {} bytes, but all that was put into {from} had been taken{}", data.len(), whose(data));
            return Err(no(text));
        };
        write_payload(from, taken.number, taken.parcel.length as usize, &mut self.expected);
        if self.expected != data {
            let text = format!(
                "{reader} gave {} bytes where parcel {} of {from}, {} bytes, was next{}",
                data.len(),
                taken.number,
                self.expected.len(),
                whose(data)
            );
            return Err(no(text));
        }
        let expected = usize::from(taken.parcel.attached.is_some());
        if attached != expected {
            return Err(no(format!("parcel {} of {from} was put with {expected} portals and taken with {attached}", taken.number)));
        }
        Ok(taken)
    }

    /// The parcel that `reader` will give next looks like this: it has so many bytes, which begin like this, and so many attachments
    /// (each of these only if it is known). Nothing was taken.
    pub fn looked(&mut self, ghost: &Ghost, reader: EndId, bytes: Option<usize>, first: &[u8], attached: Option<usize>) -> Checked {
        self.tally.count();
        let from = ghost.peer(reader);
        let no = |text: String| Err(Violation::new(NAME, PROPERTY, text).at(reader));
        let Some((number, parcel)) = ghost.peek(reader) else {
            return no(format!("{reader} shows a parcel, but all that was put into {from} had been taken{}", whose(first)));
        };
        let length = parcel.length as usize;
        if bytes.is_some_and(|bytes| bytes != length) {
            return no(format!("{reader} says {bytes:?} bytes of parcel {number} of {from}, which has {length}"));
        }
        write_payload(from, number, length, &mut self.expected);
        if !self.expected.starts_with(first) {
            return no(format!("{reader} shows other bytes than those of parcel {number} of {from}, {length} bytes{}", whose(first)));
        }
        let expected = usize::from(parcel.attached.is_some()) + usize::from(parcel.boxes);
        if attached.is_some_and(|attached| attached != expected) {
            return no(format!("{reader} says {attached:?} attachments of parcel {number} of {from}, which has {expected}"));
        }
        Ok(())
    }

    /// What was found in the boxes of parcel `number` of `from`: what was put there, in order. Where a cut may have taken the broker that
    /// was to relay objects, something empty may stand for one (api.md A15).
    pub fn opened(&mut self, (from, reader): (EndId, EndId), (number, boxes): (u64, u8), seen: &[Seen], touched: bool) -> Checked {
        self.tally.add(boxes.into());
        let no =
            |text: String| Err(Violation::new(NAME, "what is in a box arrives as what it was, or as what it becomes", text).at(reader));
        if seen.len() != usize::from(boxes) {
            return no(format!("parcel {number} of {from} was put with {boxes} boxes and taken with {}", seen.len()));
        }
        for (content, seen) in contents(from.0, number, boxes).zip(seen) {
            if content.is(seen) {
                continue;
            }
            if touched && matches!(seen, Seen::Subparcel(_, inside) if inside.is_empty()) {
                self.tally.exempt("box of a cut route");
                continue;
            }
            return no(format!("of parcel {number} of {from} a box with {content:?} gave {seen:?}"));
        }
        Ok(())
    }

    /// A parcel that was kept at `reader` gave this data: it must be parcel `number` of `from`, `length` bytes.
    pub fn kept(&mut self, from: EndId, reader: EndId, number: u64, length: u32, data: &[u8]) -> Checked {
        self.tally.count();
        write_payload(from, number, length as usize, &mut self.expected);
        if self.expected != data {
            let text = format!("parcel {number} of {from}, {length} bytes, was kept and gave {} bytes{}", data.len(), whose(data));
            return Err(Violation::new(NAME, "a kept parcel keeps its data", text).at(reader));
        }
        Ok(())
    }

    /// As [`Delivery::taken`], where somebody lied: whichever parcel it is, if it is one.
    pub fn taken_tainted(&mut self, ghost: &mut Ghost, reader: EndId, data: &[u8]) -> Option<Taken> {
        self.tally.exempt(LIE);
        ghost.take_tainted(reader, read_tag(data))
    }

    /// At rest, everything readable having been read: nothing put into a healthy pipe is missing.
    pub fn rest(&mut self, ghost: &Ghost) -> Checked {
        for (end, state) in ghost.ends() {
            let reader = ghost.end(ghost.peer(end));
            match reader.place {
                Place::Held { process, .. } if !reader.saw_closed => {
                    self.tally.count();
                    if !state.unread.is_empty() && ghost.pipe(end).tainted {
                        self.tally.exempt(LIE);
                    } else if let Some(first) = state.unread.front() {
                        let missing = state.unread.len();
                        let what = if first.attached.is_some() { ", the first of them with a portal" } else { "" };
                        let text = format!(
                            "of {} parcels put into {end}, {missing} never arrived at its peer in process {process}, from number {} on{what}",
                            state.sent, state.next
                        );
                        return Err(Violation::new(NAME, "nothing sent between healthy ends is missing at rest", text)
                            .at(ghost.peer(end))
                            .in_process(process));
                    }
                }
                Place::Carried { .. } if !state.unread.is_empty() => self.tally.exempt("end in an unread parcel"),
                _ => (),
            }
        }
        Ok(())
    }
}

/// Says whose parcel this is, if it is one.
fn whose(data: &[u8]) -> String {
    match crate::ghost::read_tag(data) {
        Some((end, number)) => format!("; it is parcel {number} of {end}"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use ipcz::ids::Handle;

    use super::*;
    use crate::boxes::Content;
    use crate::ghost::Role;

    fn ghost() -> (Ghost, EndId) {
        let mut ghost = Ghost::default();
        let handles = [1, 2].map(|bits| Handle::from_bits(bits).unwrap());
        let end = ghost.open(Role::Random, [(0, handles[0]), (1, handles[1])]);
        for _ in 0..3 {
            ghost.put(end, 0, 40, None, true);
        }
        (ghost, end)
    }

    fn bytes(end: EndId, number: u64, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_payload(end, number, length, &mut bytes);
        bytes
    }

    #[test]
    fn what_was_put_may_be_taken_in_order() {
        let (mut ghost, end) = ghost();
        let mut checker = Delivery::default();
        for number in 0..3 {
            let taken = checker.taken(&mut ghost, end.twin(), &bytes(end, number, 40), 0).unwrap();
            assert_eq!(taken.number, number);
        }
        checker.rest(&ghost).unwrap();
        let twice = checker.taken(&mut ghost, end.twin(), &bytes(end, 2, 40), 0).unwrap_err();
        assert!(twice.text.contains("parcel 2 of pipe 0 end 0"), "{}", twice.text);
    }

    #[test]
    fn swapped_changed_and_robbed_parcels_are_seen() {
        let swapped = (bytes(EndId(0), 1, 40), 0);
        let short = (bytes(EndId(0), 0, 39), 0);
        let mut flipped = (bytes(EndId(0), 0, 40), 0);
        flipped.0[39] ^= 1;
        let gift = (bytes(EndId(0), 0, 40), 1);
        for (data, attached) in [swapped, short, flipped, gift] {
            let (mut ghost, end) = ghost();
            assert!(Delivery::default().taken(&mut ghost, end.twin(), &data, attached).is_err());
        }
    }

    #[test]
    fn a_parcel_missing_at_rest_is_seen_unless_the_route_was_lost() {
        let (mut ghost, end) = ghost();
        let mut checker = Delivery::default();
        checker.taken(&mut ghost, end.twin(), &bytes(end, 0, 40), 0).unwrap();
        let missing = checker.rest(&ghost).unwrap_err();
        assert!(missing.text.contains("2 never arrived") && missing.text.contains("from number 1"), "{}", missing.text);
        ghost.end_mut(end.twin()).saw_closed = true;
        checker.rest(&ghost).unwrap();
    }

    #[test]
    fn boxes_that_are_missing_swapped_or_empty_are_seen() {
        let (from, reader) = (EndId(0), EndId(1));
        let right: Vec<Seen> = contents(0, 0, 2)
            .map(|content| match content {
                Content::Driver(value) => Seen::Driver(Some(value)),
                Content::Application(object) => Seen::Application(object),
            })
            .collect();
        let opened = |seen: &[Seen], touched| Delivery::default().opened((from, reader), (0, 2), seen, touched);
        opened(&right, false).unwrap();
        let swapped: Vec<Seen> = right.iter().rev().cloned().collect();
        let empty = vec![Seen::Subparcel(Vec::new(), Vec::new()), right[1].clone()];
        for seen in [&right[..1], &swapped, &empty, &[]] {
            assert!(opened(seen, false).is_err());
        }
        opened(&empty, true).unwrap();
        assert!(opened(&swapped, true).is_err());
    }
}
