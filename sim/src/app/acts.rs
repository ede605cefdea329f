//! What the applications did, in order: the workload of one run written down, so that it can be had again without chance.

use super::stage::Stage;
use crate::ghost::EndId;

/// Something that an application did, or a portal's arrival.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Act {
    /// Virtual time; in an [`Outcome`](crate::run::Outcome) since set-up, in ns.
    pub at_ns: u64,
    /// What.
    pub deed: Deed,
}

/// What an application did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// Opened a pipe.
    Open {
        /// Where.
        process: u32,
        /// The first of its ends.
        end: EndId,
    },
    /// Put a parcel.
    Send {
        /// Into this end.
        end: EndId,
        /// Bytes of data.
        bytes: u64,
        /// Boxes.
        boxes: u64,
    },
    /// Put a parcel with a portal.
    Hand {
        /// The portal.
        end: EndId,
        /// Into this end.
        over: EndId,
    },
    /// Closed an end.
    Close {
        /// Which.
        end: EndId,
    },
    /// Merged two ends.
    Merge {
        /// The first.
        end: EndId,
        /// The second.
        with: EndId,
    },
    /// An end came out of a parcel.
    Arrived {
        /// Which.
        end: EndId,
        /// Where.
        process: u32,
    },
    /// A parcel was taken.
    Took {
        /// Out of this end.
        end: EndId,
        /// Bytes of data.
        bytes: u64,
        /// The portal in it.
        carries: Option<EndId>,
    },
    /// An end's owner knows that nothing will come any more: the peer is closed and everything was read.
    Died {
        /// Which.
        end: EndId,
    },
    /// The link between two nodes was cut.
    CutLink {
        /// The two.
        processes: [u32; 2],
    },
    /// A node died.
    CutNode {
        /// Which.
        process: u32,
    },
}

impl Stage {
    /// Notes a deed, if deeds are noted.
    pub(super) fn note(&mut self, deed: Deed) {
        if let Some(acts) = &mut self.acts {
            acts.push(Act { at_ns: self.world.now(), deed });
        }
    }
}
