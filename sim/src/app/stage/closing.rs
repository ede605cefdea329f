//! Portals are closed, by their application or by the handler of a trap, and merged.

use super::super::acts::Deed;
use super::super::call::{Call, Doing};
use super::Stage;
use crate::ghost::EndId;

impl Stage {
    /// The closure is noted first: the peer may see it before the call returns.
    pub(in crate::app) fn begin_close(&mut self, end: EndId) -> Option<Call> {
        let (process, portal) = self.holder(end)?;
        self.guard(end);
        self.calls.closes += 1;
        self.unhouse(end, process, self.ghost.end(end).slot);
        self.ghost.close(end);
        Some(Call { process, end, doing: Doing::Close { portal } })
    }

    /// Handlers of traps leave this end alone: it is closed, merged, or put into a parcel.
    pub(in crate::app) fn guard(&mut self, end: EndId) {
        if self.faulty {
            self.world.may_close(end.0, None);
        }
    }

    /// Whether the handler of a trap has closed an end since that was last noted: within the call that has just returned.
    pub(in crate::app) fn was_closed(&mut self, end: EndId) -> bool {
        if self.faulty {
            self.world.take_closed(&mut self.closed);
        }
        self.closed.contains(&end.0)
    }

    /// Notes which ends handlers of traps have closed: before anybody can see it.
    pub(in crate::app) fn note_closed(&mut self) {
        if !self.faulty {
            return;
        }
        let mut closed = std::mem::take(&mut self.closed);
        self.world.take_closed(&mut closed);
        for end in closed.drain(..).map(EndId) {
            let Some((process, _)) = self.ghost.holder(end) else { continue };
            self.note(Deed::Close { end });
            self.calls.closes += 1;
            self.unhouse(end, process, self.ghost.end(end).slot);
            self.ghost.close(end);
        }
        self.closed = closed;
    }

    /// A merger is noted first, too: their peers may see it before the call returns. One that would leave a parcel readable from nowhere
    /// is not made.
    pub(in crate::app) fn begin_merge(&mut self, end: EndId, with: EndId) -> Option<Call> {
        let ((process, portal), (there, other)) = (self.holder(end)?, self.holder(with)?);
        if process != there || self.ghost.are_related(end, with) || self.ghost.merging_would_ring(end, with) {
            return None;
        }
        // Nobody merges a portal that is being got from (api.md A6).
        if self.may_stay(process, end) || self.may_stay(process, with) {
            return None;
        }
        // What a liar has said of a route may forbid it.
        if self.ghost.pipe(end).tainted || self.ghost.pipe(with).tainted {
            return None;
        }
        self.calls.merges += 1;
        let used = self.ghost.is_used(end) || self.ghost.is_used(with);
        if !used {
            for end in [end, with] {
                self.guard(end);
                self.unhouse(end, process, self.ghost.end(end).slot);
            }
            self.ghost.merge(end, with);
        }
        Some(Call { process, end, doing: Doing::Merge { portal, with: other, used } })
    }
}
