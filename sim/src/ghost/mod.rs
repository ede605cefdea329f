//! What must be true: of every pipe, what was sent and not yet taken, and where its two ends are. It knows neither the library's
//! routers nor the engine; whoever calls the library tells it what was done, and asks what may be seen.

mod parcel;
mod payload;

use std::collections::VecDeque;
use std::fmt;

use ipcz::ids::Handle;

pub use parcel::{Knowers, Parcel};
pub use payload::{TAG_BYTES, read_tag, write as write_payload};

/// An end of a pipe, numbered in order of opening. Who its peer is now, [`Ghost::peer`] knows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EndId(pub u32);

impl EndId {
    /// The end it was opened with.
    pub fn twin(self) -> EndId {
        EndId(self.0 ^ 1)
    }

    /// The pipe it was opened as an end of.
    pub fn pipe(self) -> usize {
        self.0 as usize / 2
    }

    /// Whether it is the first of the two it was opened with.
    pub fn is_first(self) -> bool {
        self.0.is_multiple_of(2)
    }

    fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for EndId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pipe {} end {}", self.pipe(), self.0 & 1)
    }
}

/// Where an end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// An application has it.
    Held {
        /// In this process.
        process: u32,
        /// By this handle.
        handle: Handle,
    },
    /// It travels in a parcel that was put into `from`, or waits in it.
    Carried {
        /// Where the parcel was put.
        from: EndId,
    },
    /// An application closed it, or the library did because nobody will ever read the parcel it was in.
    Closed,
    /// Its process died.
    Gone,
    /// An application merged it: its peer has another one now.
    Merged,
}

/// What a pipe was opened for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The pipe of a connection.
    Connection,
    /// Made during set-up.
    SetUp,
    /// Opened by a step.
    Step,
    /// Opened by the random workload.
    Random,
}

/// What is known of an end.
#[derive(Clone, Debug)]
pub struct End {
    /// Where it is.
    pub place: Place,
    /// The other end of its pipe.
    peer: EndId,
    /// Its pipe.
    pipe: u32,
    /// Parcels ever put into it.
    pub sent: u64,
    /// Parcels ever taken out of it.
    pub taken: u64,
    /// Those of them that the other end has not taken, oldest first.
    pub unread: VecDeque<Parcel>,
    /// Number of the first of `unread`.
    pub next: u64,
    /// Its owner has been told that the peer is closed.
    pub saw_closed: bool,
    /// Its owner has been told that nothing will ever come.
    pub dead: bool,
    /// How often it changed hands: tells the traps of one holder from those of another.
    pub holder: u32,
    /// Its present holder's trap is installed.
    pub armed: bool,
    /// Where it stands in its holder's list.
    pub slot: u32,
    /// A Put into it has not returned yet: the parcel sent last may still be refused.
    putting: bool,
    /// That parcel was put into `unread`, and is not known to be lost since.
    awaited: bool,
    /// It is over because a parcel that nobody will read carries it: the one put into this end.
    lost_in: Option<EndId>,
}

impl End {
    /// Whether nobody will ever have it again.
    fn is_over(&self) -> bool {
        matches!(self.place, Place::Closed | Place::Gone | Place::Merged)
    }

    /// Nobody will read what was put here: gives the ends that are attached to it, but for those of a Put that may still be refused.
    fn forget(&mut self) -> impl Iterator<Item = EndId> {
        self.next = self.sent;
        let mut unread = std::mem::take(&mut self.unread);
        if self.putting && std::mem::take(&mut self.awaited) {
            unread.pop_back();
        }
        unread.into_iter().filter_map(|parcel| parcel.attached)
    }
}

/// What is known of a pipe besides its ends.
#[derive(Clone, Copy, Debug)]
pub struct Pipe {
    /// What it is for.
    pub role: Role,
    /// One of its ends; none once it is part of another pipe.
    first: Option<EndId>,
    /// A link or node that was cut may have taken part of its route with it.
    pub touched: bool,
    /// Somebody lied where its route was: nothing is known of it any more.
    pub tainted: bool,
}

/// A parcel as it was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub parcel: Parcel,
}

/// The ledger.
#[derive(Clone, Default, Debug)]
pub struct Ghost {
    ends: Vec<End>,
    pipes: Vec<Pipe>,
    open: u64,
    /// Work list of [`Ghost::abandon`].
    lost: Vec<EndId>,
}

impl Ghost {
    /// A new pipe whose ends are held; answers the first one.
    pub fn open(&mut self, role: Role, holders: [(u32, Handle); 2]) -> EndId {
        let first = EndId(self.ends.len() as u32);
        let peers = [first.twin(), first];
        self.ends.extend(holders.into_iter().zip(peers).map(|((process, handle), peer)| End {
            place: Place::Held { process, handle },
            peer,
            pipe: self.pipes.len() as u32,
            sent: 0,
            taken: 0,
            unread: VecDeque::new(),
            next: 0,
            saw_closed: false,
            dead: false,
            holder: 0,
            armed: false,
            slot: 0,
            putting: false,
            awaited: false,
            lost_in: None,
        }));
        self.pipes.push(Pipe { role, first: Some(first), touched: false, tainted: false });
        self.open += 1;
        first
    }

    /// An end.
    pub fn end(&self, end: EndId) -> &End {
        &self.ends[end.index()]
    }

    /// An end, to be changed by its holder.
    pub fn end_mut(&mut self, end: EndId) -> &mut End {
        &mut self.ends[end.index()]
    }

    /// The other end of its pipe.
    pub fn peer(&self, end: EndId) -> EndId {
        self.end(end).peer
    }

    /// The pipe of an end.
    pub fn pipe(&self, end: EndId) -> &Pipe {
        &self.pipes[self.end(end).pipe as usize]
    }

    fn pipe_mut(&mut self, end: EndId) -> &mut Pipe {
        &mut self.pipes[self.ends[end.index()].pipe as usize]
    }

    /// Whether something was put into an end or taken out of it: then it can't be merged.
    pub fn is_used(&self, end: EndId) -> bool {
        let end = self.end(end);
        end.sent > 0 || end.taken > 0
    }

    /// Whether two ends are of one pipe.
    pub fn are_related(&self, a: EndId, b: EndId) -> bool {
        self.end(a).pipe == self.end(b).pipe
    }

    /// Every end there ever was.
    pub fn ends(&self) -> impl Iterator<Item = (EndId, &End)> {
        self.ends.iter().enumerate().map(|(index, end)| (EndId(index as u32), end))
    }

    /// One end of each pipe that is not part of another one.
    pub fn pipes(&self) -> impl Iterator<Item = (EndId, &Pipe)> {
        self.pipes.iter().filter_map(|pipe| Some((pipe.first?, pipe)))
    }

    /// Whether there is such an end.
    pub fn knows(&self, end: EndId) -> bool {
        end.index() < self.ends.len()
    }

    /// Who holds an end, and by which handle.
    pub fn holder(&self, end: EndId) -> Option<(u32, Handle)> {
        match self.end(end).place {
            Place::Held { process, handle } => Some((process, handle)),
            _ => None,
        }
    }

    /// Pipes with an end that is neither closed nor gone.
    pub fn open_pipes(&self) -> u64 {
        self.open
    }

    /// Whether what is put into `end` will surely never be read.
    fn unread_for_ever(&self, end: EndId) -> bool {
        let reader = self.end(self.peer(end));
        reader.dead || reader.is_over()
    }

    /// A parcel was put into `end` by `process`; the end attached is no longer anyone's.
    pub fn put(&mut self, end: EndId, process: u32, length: u32, attached: Option<EndId>, counted: bool) -> u64 {
        let number = self.begin_put(end, process, length, attached, counted);
        self.finish_put(end, attached);
        number
    }

    /// A parcel is about to be put into `end`: from now on it may arrive. [`Ghost::finish_put`] or [`Ghost::take_back`] must follow.
    /// Answers its number.
    pub fn begin_put(&mut self, end: EndId, process: u32, length: u32, attached: Option<EndId>, counted: bool) -> u64 {
        let lost = self.unread_for_ever(end);
        if let Some(attached) = attached {
            self.end_mut(attached).place = Place::Carried { from: end };
        }
        let from = &mut self.ends[end.index()];
        let number = from.sent;
        from.sent += 1;
        from.putting = true;
        if self.pipe(end).tainted
            && let Some(attached) = attached
        {
            self.taint(attached);
        }
        let from = &mut self.ends[end.index()];
        from.awaited = !lost;
        if lost {
            from.next = from.sent;
        } else {
            from.unread.push_back(Parcel { length, attached, boxes: 0, counted, knowers: Knowers::only(process) });
        }
        number
    }

    /// The parcel that is being put into `end` has boxes.
    pub fn box_up(&mut self, end: EndId, boxes: u8) {
        let from = self.end_mut(end);
        if let Some(parcel) = from.unread.back_mut().filter(|_| from.awaited) {
            parcel.boxes = boxes;
        }
    }

    /// The parcel was accepted.
    pub fn finish_put(&mut self, end: EndId, attached: Option<EndId>) {
        self.end_mut(end).putting = false;
        if let Some(attached) = attached
            && self.end(attached).place == (Place::Carried { from: end })
            && self.unread_for_ever(end)
        {
            self.lost.push(attached);
            self.abandon();
        }
    }

    /// The parcel was refused, and what was attached (end, process, handle) stays where it was. False if it has been taken; where
    /// somebody lied, another one may have been taken for it.
    pub fn take_back(&mut self, end: EndId, attached: Option<(EndId, u32, Handle)>) -> bool {
        let tainted = self.pipe(end).tainted;
        let from = self.end_mut(end);
        from.putting = false;
        from.sent -= 1;
        if !from.awaited {
            from.next = from.sent;
        } else if from.unread.pop_back().is_none() {
            if !tainted {
                return false;
            }
            from.next = from.sent;
        }
        if let Some((attached, process, handle)) = attached {
            self.end_mut(attached).place = Place::Held { process, handle };
        }
        true
    }

    /// Whether a Put into `end` has not returned yet.
    pub fn is_putting(&self, end: EndId) -> bool {
        self.end(end).putting
    }

    /// The oldest parcel that `reader` should get next.
    pub fn take(&mut self, reader: EndId) -> Option<Taken> {
        let from = self.peer(reader);
        let from = self.end_mut(from);
        let parcel = from.unread.pop_front()?;
        let number = from.next;
        from.next += 1;
        self.end_mut(reader).taken += 1;
        Some(Taken { number, parcel })
    }

    /// What `reader` should get next, if it was put.
    pub fn peek(&self, reader: EndId) -> Option<(u64, &Parcel)> {
        let from = self.end(self.peer(reader));
        Some((from.next, from.unread.front()?))
    }

    /// The attachments of the parcel that `reader` should get next were taken out; the parcel stays. Answers the portal, if it had one.
    pub fn strip(&mut self, reader: EndId) -> Option<EndId> {
        let parcel = self.end_mut(self.peer(reader)).unread.front_mut()?;
        parcel.boxes = 0;
        parcel.attached.take()
    }

    /// A parcel under way, by the end it was put into and (the low half of) its number.
    pub fn under_way(&mut self, from: EndId, number: u64) -> Option<&mut Parcel> {
        let end = self.ends.get_mut(from.index())?;
        let behind = (number as u32).wrapping_sub(end.next as u32);
        end.unread.get_mut(behind as usize)
    }

    /// An end that travelled was taken out of its parcel.
    pub fn arrive(&mut self, end: EndId, process: u32, handle: Handle) {
        let end = self.end_mut(end);
        end.place = Place::Held { process, handle };
        // Who has it now is told anew what there is to be told.
        (end.saw_closed, end.dead) = (false, false);
        end.holder += 1;
        end.armed = false;
    }

    /// Its holder closed an end: what was sent to it and not taken never will be, and ends in there are closed too.
    pub fn close(&mut self, end: EndId) {
        self.leave(end, Place::Closed);
        self.abandon();
    }

    /// A process died: what it held is gone.
    pub fn kill(&mut self, process: u32) {
        for index in 0..self.ends.len() {
            if matches!(self.ends[index].place, Place::Held { process: at, .. } if at == process) {
                self.leave(EndId(index as u32), Place::Gone);
            }
        }
        self.abandon();
    }

    /// `reader` was told that nothing will ever come: what is left was lost with its route. Answers how much. If a cut did it, it cut
    /// the routes of the ends in there too: each leads over the link by which its parcel went.
    pub fn give_up(&mut self, reader: EndId) -> u64 {
        let touched = self.pipe(reader).touched;
        let from = self.peer(reader);
        let from = &mut self.ends[from.index()];
        let left = from.unread.len() as u64;
        self.lost.extend(from.forget());
        while let Some(end) = self.lost.pop() {
            self.pipes[end.pipe()].touched |= touched;
            self.leave(end, Place::Closed);
        }
        left
    }

    fn leave(&mut self, end: EndId, place: Place) {
        let state = &mut self.ends[end.index()];
        if state.is_over() {
            return;
        }
        state.place = place;
        let from = state.peer;
        let from = &mut self.ends[from.index()];
        if from.is_over() {
            self.open -= 1;
        }
        self.lost.extend(from.forget());
    }

    fn abandon(&mut self) {
        while let Some(end) = self.lost.pop() {
            let state = &mut self.ends[end.index()];
            if let Place::Carried { from } = state.place {
                state.lost_in = Some(from);
            }
            self.leave(end, Place::Closed);
        }
    }

    /// A cut may have touched the route of this pipe.
    pub fn touch(&mut self, end: EndId) {
        self.pipe_mut(end).touched = true;
    }

    /// As [`Ghost::touch`], for every pipe.
    pub fn touch_all(&mut self) {
        self.pipes.iter_mut().for_each(|pipe| pipe.touched = true);
    }

    /// As [`Ghost::taint`], for every pipe.
    pub fn taint_all(&mut self) {
        self.pipes.iter_mut().for_each(|pipe| (pipe.touched, pipe.tainted) = (true, true));
    }

    /// Somebody lied where the route of this pipe was, and so of every pipe with an end under way in it.
    pub fn taint(&mut self, end: EndId) {
        let mut tainted = vec![end];
        while let Some(end) = tainted.pop() {
            let pipe = self.pipe_mut(end);
            if !std::mem::replace(&mut pipe.tainted, true) {
                pipe.touched = true;
                let unread = [end, self.peer(end)].into_iter().flat_map(|end| &self.ends[end.index()].unread);
                tainted.extend(unread.filter_map(|parcel| parcel.attached));
            }
        }
    }

    /// A parcel with this tag came out of a tainted pipe: it and those before it are gone. Answers which it was.
    pub fn take_tainted(&mut self, reader: EndId, tag: Option<(EndId, u64)>) -> Option<Taken> {
        let sender = self.peer(reader);
        let from = &mut self.ends[sender.index()];
        let behind = match tag {
            Some((end, number)) if end == sender => (number as u32).wrapping_sub(from.next as u32) as usize,
            _ => 0,
        };
        if behind >= from.unread.len() {
            return None;
        }
        from.next += behind as u64 + 1;
        let number = from.next - 1;
        let mut gone: Vec<Parcel> = from.unread.drain(..=behind).collect();
        let parcel = gone.pop()?;
        self.lost.extend(gone.iter().filter_map(|parcel| parcel.attached));
        self.end_mut(reader).taken += 1;
        self.abandon();
        Some(Taken { number, parcel })
    }

    /// An end that nobody will ever have again.
    pub fn lose(&mut self, end: EndId) {
        self.leave(end, Place::Closed);
        self.abandon();
    }

    /// As [`Ghost::touch`] or [`Ghost::taint`], for every pipe with an end under way: what is left of such a route may have no end to be
    /// found by.
    pub fn touch_travelling(&mut self, tainted: bool) {
        for index in 0..self.ends.len() {
            if matches!(self.ends[index].place, Place::Carried { .. }) {
                let end = EndId(index as u32);
                self.touch(end);
                if tainted {
                    self.taint(end);
                }
            }
        }
    }

    /// Whether somebody lied about any pipe.
    pub fn any_tainted(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.tainted)
    }

    /// Whether a parcel put into `over` could never be read if it carried `end`: because its reader is, however deep, in a parcel that
    /// only who has `end` can read. Such a ring of portals chases itself from node to node for ever.
    pub fn would_ring(&self, end: EndId, over: EndId) -> bool {
        let mut reader = self.peer(over);
        for _ in 0..self.pipes.len().min(MAX_NESTING) {
            if reader == end {
                return true;
            }
            match self.end(reader).place {
                Place::Carried { from } => reader = self.peer(from),
                _ => return false,
            }
        }
        true
    }

    /// Whether merging two ends would make such a ring: what carries the peer of one could be read from nowhere but itself.
    pub fn merging_would_ring(&self, a: EndId, b: EndId) -> bool {
        let ends = [self.peer(a), self.peer(b)];
        let joined = |from| match ends.iter().position(|end| *end == from) {
            Some(side) => ends[1 - side],
            None => self.peer(from),
        };
        let reads_itself = |end: EndId| {
            let mut at = end;
            for _ in 0..self.pipes.len().min(MAX_NESTING) {
                match self.end(at).place {
                    Place::Carried { from } if joined(from) == end => return true,
                    Place::Carried { from } => at = joined(from),
                    _ => return false,
                }
            }
            true
        };
        ends.into_iter().any(reads_itself)
    }

    /// Two ends, of different pipes, into which nothing was put and out of which nothing was taken, were merged: their peers are each
    /// other's now.
    pub fn merge(&mut self, a: EndId, b: EndId) {
        let [p, q] = [self.peer(a), self.peer(b)];
        if self.pipe(p).tainted != self.pipe(q).tainted {
            [p, q].into_iter().for_each(|end| self.taint(end));
        }
        for end in [a, b] {
            self.end_mut(end).place = Place::Merged;
        }
        let touched = self.pipe(q).touched;
        let pipe = self.pipe_mut(p);
        (pipe.first, pipe.touched) = (Some(p), pipe.touched || touched);
        self.pipe_mut(q).first = None;
        let pipe = self.end(p).pipe;
        (self.end_mut(p).peer, self.end_mut(q).peer, self.end_mut(q).pipe) = (q, p, pipe);
        self.open -= 1;
        if self.end(p).is_over() && self.end(q).is_over() {
            self.open -= 1;
        }
        for end in [p, q] {
            if self.unread_for_ever(end) {
                let unread: Vec<EndId> = self.end_mut(end).forget().collect();
                self.lost.extend(unread);
            }
        }
        self.abandon();
    }

    /// Whether an end may have been closed already for all anybody knows: it was, or it is in a parcel that may have been lost.
    pub fn may_be_closed(&self, end: EndId) -> bool {
        matches!(self.end(end).place, Place::Closed | Place::Gone | Place::Merged) || self.may_be_lost(end)
    }

    /// Whether an end is in a parcel that may have been lost, or that is inside one, however deep, that may have been lost or closed. One
    /// that nobody would have read anyway may have been lost, too: then what was sent from the end goes with it.
    pub fn may_be_lost(&self, end: EndId) -> bool {
        if self.end(end).lost_in.is_some_and(|from| self.pipe(from).touched) {
            return true;
        }
        let mut end = end;
        for depth in 0..self.pipes.len().min(MAX_NESTING) {
            match self.end(end).place {
                Place::Held { .. } => return false,
                Place::Closed | Place::Gone | Place::Merged => return depth > 0,
                Place::Carried { from } if self.pipe(from).touched || self.end(self.peer(from)).dead => return true,
                Place::Carried { from } => end = self.peer(from),
            }
        }
        false
    }

    /// Whether whoever holds the other end may learn that `end` is closed.
    pub fn may_look_closed(&self, end: EndId) -> bool {
        self.pipe(end).touched || self.may_be_closed(end)
    }
}

/// How deep parcels in parcels are followed; beyond lies a ring of portals that carry each other.
const MAX_NESTING: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(n: u64) -> Handle {
        Handle::from_bits(n + 1).unwrap()
    }

    fn pipe(ghost: &mut Ghost, a: u32, b: u32) -> EndId {
        ghost.open(Role::Random, [(a, handle(0)), (b, handle(1))])
    }

    #[test]
    fn parcels_come_out_in_the_order_they_went_in() {
        let mut ghost = Ghost::default();
        let a = pipe(&mut ghost, 0, 1);
        for length in 0..5 {
            assert_eq!(ghost.put(a, 0, length, None, true), u64::from(length));
        }
        assert_eq!(ghost.under_way(a, 3).unwrap().length, 3);
        for length in 0..5 {
            let taken = ghost.take(a.twin()).unwrap();
            assert_eq!((taken.number, taken.parcel.length), (u64::from(length), length));
        }
        assert!(ghost.take(a.twin()).is_none() && ghost.take(a).is_none());
        assert!(ghost.under_way(a, 3).is_none());
    }

    #[test]
    fn what_nobody_will_read_is_closed_with_all_it_carries() {
        let mut ghost = Ghost::default();
        let (a, b, c) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 1));
        ghost.put(b, 0, 16, Some(c), false);
        ghost.put(a, 0, 16, Some(b.twin()), false);
        assert!(!ghost.may_be_closed(c) && ghost.open_pipes() == 3);
        ghost.close(a.twin());
        assert_eq!((ghost.end(b.twin()).place, ghost.end(c).place), (Place::Closed, Place::Closed));
        assert_eq!((ghost.holder(b).is_some(), ghost.may_look_closed(c)), (true, true));
        ghost.put(a, 0, 16, Some(c.twin()), false);
        assert_eq!((ghost.end(c.twin()).place, ghost.open_pipes()), (Place::Closed, 2));
    }

    #[test]
    fn an_end_in_a_parcel_that_may_be_lost_may_look_closed() {
        let mut ghost = Ghost::default();
        let (a, b, c) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 1));
        ghost.put(b, 0, 16, Some(c), false);
        ghost.put(a, 0, 16, Some(b.twin()), false);
        assert!(!ghost.may_be_lost(c) && !ghost.may_be_lost(b));
        ghost.touch(a);
        assert!(ghost.may_be_lost(c) && ghost.may_be_lost(b.twin()) && !ghost.may_be_lost(b));
        assert!(ghost.may_look_closed(c) && ghost.may_look_closed(b.twin()) && !ghost.may_look_closed(b));
        assert_eq!(ghost.give_up(a.twin()), 1);
        assert_eq!((ghost.end(b.twin()).place, ghost.end(c).place), (Place::Closed, Place::Closed));
        assert!(ghost.pipe(b).touched && ghost.pipe(c).touched, "their routes went with the parcels");
    }

    #[test]
    fn what_a_closed_portal_leaves_unread_is_closed_and_not_cut() {
        let mut ghost = Ghost::default();
        let (a, b) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 1));
        ghost.put(a, 0, 16, Some(b), false);
        ghost.give_up(a.twin());
        assert_eq!((ghost.end(b).place, ghost.pipe(b).touched), (Place::Closed, false));
        assert!(!ghost.may_be_lost(b));
    }

    #[test]
    fn what_goes_to_a_closed_portal_by_way_of_a_cut_may_be_lost_on_the_way() {
        let mut ghost = Ghost::default();
        let (a, b) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 1));
        ghost.close(a.twin());
        ghost.put(a, 0, 16, Some(b), false);
        assert_eq!((ghost.end(b).place, ghost.may_be_lost(b)), (Place::Closed, false));
        ghost.touch(a);
        assert!(ghost.may_be_lost(b));
    }

    #[test]
    fn a_ring_of_portals_that_carry_each_other_is_not_closed() {
        let mut ghost = Ghost::default();
        let (a, b) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 1));
        assert!(ghost.would_ring(a.twin(), a) && !ghost.would_ring(b.twin(), a));
        ghost.put(a, 0, 16, Some(b.twin()), false);
        assert!(ghost.would_ring(a.twin(), b) && !ghost.would_ring(a, b));
        ghost.put(b, 0, 16, Some(a.twin()), false);
        assert!(!ghost.may_be_closed(a.twin()));
        ghost.touch_travelling(false);
        assert!(ghost.pipe(a).touched && ghost.pipe(b).touched);
    }

    #[test]
    fn a_dead_process_takes_along_what_it_held_and_what_waited_for_it() {
        let mut ghost = Ghost::default();
        let (a, b) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 2));
        ghost.put(a, 0, 16, Some(b), false);
        ghost.kill(1);
        assert_eq!((ghost.end(a.twin()).place, ghost.end(b).place), (Place::Gone, Place::Closed));
        assert_eq!(ghost.open_pipes(), 2);
        ghost.close(a);
        assert_eq!(ghost.open_pipes(), 1);
    }

    #[test]
    fn ends_that_are_merged_leave_their_peers_to_each_other() {
        let mut ghost = Ghost::default();
        let (a, b, c) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 1, 2), pipe(&mut ghost, 0, 1));
        ghost.put(a, 0, 16, Some(c), false);
        ghost.touch(b);
        ghost.merge(a.twin(), b);
        let (p, q) = (a, b.twin());
        assert_eq!((ghost.peer(p), ghost.peer(q), ghost.open_pipes(), ghost.pipes().count()), (q, p, 2, 2));
        assert!(ghost.pipe(p).touched && ghost.pipe(q).touched && ghost.are_related(p, q));
        assert_eq!(ghost.take(q).unwrap().parcel.attached, Some(c));
        ghost.close(p);
        assert_eq!((ghost.put(q, 2, 16, None, false), ghost.end(q).unread.len()), (0, 0));
        ghost.close(q);
        assert_eq!(ghost.open_pipes(), 1);
    }

    #[test]
    fn a_merger_with_a_closed_pipe_closes_what_waits_for_it() {
        let mut ghost = Ghost::default();
        let (a, b, c) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 1, 2), pipe(&mut ghost, 0, 1));
        ghost.put(a, 0, 16, Some(c), false);
        ghost.close(b.twin());
        ghost.merge(a.twin(), b);
        assert_eq!((ghost.end(c).place, ghost.end(a).unread.len()), (Place::Closed, 0));
    }

    #[test]
    fn a_parcel_that_only_the_portal_in_it_could_read_is_foreseen() {
        let mut ghost = Ghost::default();
        let (a, b) = (pipe(&mut ghost, 0, 1), pipe(&mut ghost, 0, 1));
        assert!(!ghost.merging_would_ring(a.twin(), b.twin()));
        ghost.put(b, 0, 16, Some(a), false);
        assert!(ghost.merging_would_ring(a.twin(), b.twin()));
    }
}
