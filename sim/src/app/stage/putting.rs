//! Parcels are put, portals and boxes in them.

use ipcz::Error;

use super::super::acts::Deed;
use super::super::call::{Answer, Call, Doing, Job, perform};
use super::{API, Attached, Stage, unexpected};
use crate::check::{Checked, Violation};
use crate::ghost::{EndId, TAG_BYTES, write_payload};

impl Stage {
    /// Puts a parcel of `length` bytes into an end, with another one attached if asked; false if the peer is closed. At depth L1 true:
    /// that shows later.
    pub fn put(&mut self, end: EndId, length: usize, attached: Option<EndId>) -> Checked<bool> {
        let boxes = self.some_boxes(end);
        self.put_all(end, length, attached, boxes)
    }

    /// Puts a parcel with so many boxes.
    pub fn put_boxes(&mut self, end: EndId, length: usize, boxes: u8) -> Checked<bool> {
        self.put_all(end, length, None, boxes)
    }

    pub(in crate::app) fn put_all(&mut self, end: EndId, length: usize, attached: Option<EndId>, boxes: u8) -> Checked<bool> {
        self.note(match attached {
            Some(attached) => Deed::Hand { end: attached, over: end },
            None => Deed::Send { end, bytes: length as u64, boxes: boxes.into() },
        });
        let job = Job::Put { end, length, attached, boxes };
        if self.threads.is_some() {
            return self.later(end, job).map(|()| true);
        }
        let Some(call) = self.begin(job)? else { return Ok(false) };
        let answer = perform(self.process(call.process)?, &call.doing);
        let taken = matches!(answer, Answer::Put(Ok(())));
        self.finish(call, answer)?;
        Ok(taken)
    }

    pub(in crate::app) fn begin_put(&mut self, end: EndId, length: usize, attached: Option<EndId>, boxes: u8) -> Option<Call> {
        let (process, portal) = self.holder(end)?;
        let length = if attached.is_some() { TAG_BYTES } else { length };
        let attached = match attached.map(|attached| (attached, self.ghost.holder(attached))) {
            None => None,
            Some((attached, Some((at, handle)))) if at == process => {
                Some(Attached { end: attached, handle, slot: self.ghost.end(attached).slot })
            }
            Some(_) => return None,
        };
        // Who queued it could not know where the portals would be by now.
        if self.threads.is_some() && attached.is_some_and(|it| self.ghost.are_related(it.end, end) || self.ghost.would_ring(it.end, end)) {
            return None;
        }
        self.calls.puts += 1;
        if let Some(Attached { end, .. }) = attached {
            self.guard(end);
        }
        let mut data = std::mem::take(&mut self.payload);
        write_payload(end, self.ghost.end(end).sent, length, &mut data);
        let boxes = self.make_boxes(end, process, boxes);
        self.ghost.begin_put(end, process, length as u32, attached.map(|it| it.end), attached.is_none());
        if let Some((_, boxes)) = &boxes {
            self.ghost.box_up(end, boxes.len() as u8);
        }
        Some(Call { process, end, doing: Doing::Put { portal, data, attached, boxes } })
    }

    pub(in crate::app) fn finish_put(
        &mut self,
        process: u32,
        end: EndId,
        attached: Option<Attached>,
        result: Result<(), Error>,
    ) -> Checked {
        self.traps.append(&mut self.unsettled);
        match result {
            Ok(()) => {
                if let Some(attached) = attached {
                    self.calls.hands += 1;
                    self.unhouse(attached.end, process, attached.slot);
                }
                self.ghost.finish_put(end, attached.map(|it| it.end));
                // What this has brought to a link may be lost with it before the process is looked at again.
                if self.threads.is_none() {
                    self.mark(Some(process));
                }
                Ok(())
            }
            Err(Error::NotFound) => {
                if !self.take_back(end, process, attached) {
                    let text = format!("Put refused a parcel into {end}, but its peer got it");
                    return Err(Violation::new(API, "a parcel that is refused does not arrive", text).in_process(process).at(end));
                }
                self.checks.closure.refused(&self.ghost, end)
            }
            // A lie may have made the two each other's peers.
            Err(Error::InvalidArgument) if attached.is_some_and(|it| [it.end, end].iter().any(|end| self.ghost.pipe(*end).tainted)) => {
                self.checks.delivery.tally.exempt("portals that a lie made peers");
                self.take_back(end, process, attached);
                Ok(())
            }
            // The peer has filled its link with portals of its own.
            Err(Error::ResourceExhausted) if attached.is_some() && self.ghost.pipe(end).tainted => {
                self.checks.delivery.tally.exempt("link that a hostile node has filled");
                self.take_back(end, process, attached);
                Ok(())
            }
            // Its owner has closed it inside this very call.
            Err(Error::InvalidArgument) if self.was_closed(end) => {
                self.take_back(end, process, attached);
                Ok(())
            }
            // A portal that is being got from does not leave the node (api.md A6).
            Err(Error::InvalidArgument) if attached.is_some_and(|it| self.may_stay(process, it.end)) => {
                self.take_back(end, process, attached);
                Ok(())
            }
            Err(error) => Err(unexpected("Put", error).in_process(process).at(end)),
        }
    }

    /// A refused put gives its portal back. At depth L1 it may have been time to read that one while the call was under way.
    pub(in crate::app) fn take_back(&mut self, end: EndId, process: u32, attached: Option<Attached>) -> bool {
        let slept = |end: EndId| !self.ghost.end(end).armed && !self.ghost.end(end).dead && !self.unread.contains(&end);
        let missed = attached.map(|it| it.end).filter(|end| self.threads.is_some() && slept(*end));
        self.to_read.extend(missed);
        self.ghost.take_back(end, attached.map(|it| (it.end, process, it.handle)))
    }
}
