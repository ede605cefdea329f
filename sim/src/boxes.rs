//! What is in the boxes of a parcel: a pure function of who sent which, as its data is.

/// What a box was made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// A driver object that stands for this number; no two of a run do for the same.
    Driver(u64),
    /// This object of the application.
    Application(u64),
}

/// What was found in a box.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A driver object that stands for this number; none if it is closed, or something else.
    Driver(Option<u64>),
    /// This object of the application.
    Application(u64),
    /// A subparcel with this data, and these boxes in it.
    Subparcel(Vec<u8>, Vec<Seen>),
}

/// The most boxes of a parcel.
pub const MOST: u8 = 8;

/// Distinguishes the object in a serialized object from that in a box.
const INSIDE: u64 = 1 << 63;

/// The boxes of the parcel `number` that was put into end `from`, if it has so many: driver objects, objects of the application, and such that
/// have a driver object in them.
pub fn contents(from: u32, number: u64, count: u8) -> impl Iterator<Item = Content> {
    let name = u64::from(from) << 32 | (number & 0x0fff_ffff) << 4;
    (0..u64::from(count)).map(move |box_| match (number + box_) % 3 {
        0 => Content::Driver(name | box_),
        kind => Content::Application(name | (kind - 1) << 3 | box_),
    })
}

/// What an object of the application becomes on its way to another node: its data, and the number of the driver object that it sends
/// along, if it does.
pub fn serialized(object: u64) -> (Vec<u8>, Option<u64>) {
    let length = 8 + object as usize % 5 * 100;
    let data = object.to_le_bytes().into_iter().cycle().take(length).collect();
    (data, (object & 8 != 0).then_some(object | INSIDE))
}

impl Content {
    /// Whether this is what a box was made with: as it was, or what it becomes on its way.
    pub fn is(self, seen: &Seen) -> bool {
        match (self, seen) {
            (Content::Driver(value), Seen::Driver(found)) => *found == Some(value),
            (Content::Application(object), Seen::Application(found)) => *found == object,
            (Content::Application(object), Seen::Subparcel(data, inside)) => {
                let (expected, value) = serialized(object);
                *data == expected && *inside == value.map(|value| Seen::Driver(Some(value))).into_iter().collect::<Vec<_>>()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_boxes_hold_the_same() {
        let all: Vec<Content> = (0..3).flat_map(|end| (0..20).flat_map(move |number| contents(end, number, MOST))).collect();
        for (i, content) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|other| other != content), "{content:?}");
        }
    }

    #[test]
    fn a_box_is_known_by_what_it_was_made_with() {
        let boxes: Vec<Content> = contents(3, 0, 3).collect();
        let seen = |content| match content {
            Content::Driver(value) => Seen::Driver(Some(value)),
            Content::Application(object) => {
                let (data, inside) = serialized(object);
                Seen::Subparcel(data, inside.map(|value| Seen::Driver(Some(value))).into_iter().collect())
            }
        };
        for (i, content) in boxes.iter().enumerate() {
            for (j, other) in boxes.iter().enumerate() {
                assert_eq!(content.is(&seen(*other)), i == j);
            }
            assert!(!content.is(&Seen::Driver(None)) && !content.is(&Seen::Subparcel(Vec::new(), Vec::new())));
        }
    }
}
