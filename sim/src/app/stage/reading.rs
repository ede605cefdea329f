//! What comes to an application: traps that fire, parcels, portals in them, closures.

use ipcz::Error;
use ipcz::api::TrapRefused;
use ipcz::ids::Handle;
use ipcz::trap::{TrapEvent, TrapFlags};

use super::super::acts::Deed;
use super::super::call::{Call, Doing, Job, Received};
use super::super::random::READ;
use super::{API, News, Stage, call, unexpected};
use crate::check::{Checked, Violation};
use crate::choice::{Choices, Site};
use crate::ghost::{EndId, Place, Role, Taken};

const WATCHED: TrapFlags = TrapFlags::NEW_PARCEL.or(TrapFlags::PEER_CLOSED).or(TrapFlags::DEAD);
const CLOSED: TrapFlags = TrapFlags::PEER_CLOSED.or(TrapFlags::DEAD);
/// Whether a portal is left unread for a while; the actor is its process.
const LAZY: Site = Site::Workload(9);
/// For how many operations of a node.
const LAZINESS: u64 = 8;

impl Stage {
    pub(in crate::app) fn begin_get(&mut self, end: EndId) -> Option<Call> {
        self.note_closed();
        let (process, portal) = self.holder(end)?;
        let doing = self.way_to_get(process, end, portal, self.ghost.end(end).saw_closed)?;
        Some(Call { process, end, doing })
    }

    /// Gets until nothing is left, then watches again, unless nothing will ever come. `told`: the peer was known to be closed before.
    pub(in crate::app) fn finish_get(
        &mut self,
        process: u32,
        end: EndId,
        told: bool,
        result: Result<Received, Error>,
    ) -> Checked<Option<Call>> {
        let dead = match result {
            Ok(received) => {
                self.taken(end, process, &received)?;
                return Ok(self.begin_get(end));
            }
            Err(Error::Unavailable) => false,
            Err(Error::NotFound) => true,
            Err(Error::AlreadyExists) => return self.barred(process, end),
            Err(error) => return Err(unexpected("Get", error).in_process(process).at(end)),
        };
        if dead && !self.ghost.end(end).saw_closed {
            self.closed(end)?;
        }
        if told || dead {
            return self.died(end, process, dead).map(|()| None);
        }
        // Watched already (depth L1), or told while the call was on its way: then it will be read again.
        let state = self.ghost.end(end);
        Ok(if state.armed || state.saw_closed { None } else { self.begin_trap(end) })
    }

    /// Watches an end. It counts as watched from before the call: the trap may fire before that returns.
    pub(super) fn begin_trap(&mut self, end: EndId) -> Option<Call> {
        self.note_closed();
        let (process, portal) = self.holder(end)?;
        if self.faulty && self.ghost.pipe(end).role == Role::Random {
            self.world.may_close(end.0, Some((process, portal)));
        }
        let state = self.ghost.end_mut(end);
        state.armed = true;
        let context = u64::from(state.holder) << 32 | u64::from(end.0);
        Some(Call { process, end, doing: Doing::Trap { portal, flags: WATCHED, context } })
    }

    /// If there is nothing to wait for any more, its death is noted instead.
    pub(super) fn finish_trap(&mut self, process: u32, end: EndId, result: Result<(), TrapRefused>) -> Checked<Option<Call>> {
        match result {
            // The trap tells of parcels that come after it: another one may have come between the last Get and it.
            Ok(()) if self.threads.is_some() => Ok(self.begin_get(end)),
            Ok(()) => Ok(None),
            Err(TrapRefused::Satisfied { .. }) => {
                self.ghost.end_mut(end).armed = false;
                self.closed(end)?;
                self.to_read.push(end);
                Ok(None)
            }
            Err(TrapRefused::Error(error)) => Err(unexpected("Trap", error).in_process(process).at(end)),
        }
    }

    /// Acts upon every trap that has fired, until none is left; what was learnt goes to `news`.
    pub fn serve(&mut self) -> Checked {
        loop {
            self.note_closed();
            let mut traps = std::mem::take(&mut self.traps);
            self.world.take_traps(&mut traps);
            if traps.is_empty() {
                self.traps = traps;
                return Ok(());
            }
            for (process, event) in &traps {
                self.fired(*process, event)?;
            }
            traps.clear();
            self.traps = traps;
        }
    }

    fn fired(&mut self, process: u32, event: &TrapEvent) -> Checked {
        if self.world.is_gone(process) {
            return Ok(());
        }
        let (end, holder) = (EndId(event.context as u32), (event.context >> 32) as u32);
        if !self.ghost.knows(end) {
            return Err(Violation::new(API, "a trap gives the context it was given", format!("{:#x}", event.context)).in_process(process));
        }
        let state = self.ghost.end(end);
        if let Place::Carried { from } = state.place
            && self.ghost.is_putting(from)
            && state.holder == holder
        {
            self.unsettled.push((process, *event));
            return Ok(());
        }
        let here = matches!(state.place, Place::Held { process: at, .. } if at == process) && state.holder == holder;
        if !state.armed && state.holder == holder {
            let text = format!("the trap of {end} fired twice: {:?}", event.flags);
            return Err(Violation::new(API, "a trap fires once", text).at(end).in_process(process));
        }
        if !here {
            // Of a former holder: it fires when the portal leaves or, if it stays in the process, when something happens to it.
            if state.holder == holder {
                self.ghost.end_mut(end).armed = false;
            }
            return Ok(());
        }
        if !event.flags.and(TrapFlags::REMOVED).is_empty() {
            let text = format!("the trap of {end} says that the portal is gone, but process {process} has it");
            return Err(Violation::new(API, "REMOVED tells of what the application did", text).at(end).in_process(process));
        }
        let state = self.ghost.end_mut(end);
        state.armed = false;
        // At depth L1 a Get may have told it while the event was on its way.
        let known = self.threads.is_some() && state.saw_closed;
        if !event.flags.and(CLOSED).is_empty() && !known {
            self.closed(end)?;
        }
        if self.is_lazy(end, process) {
            self.unread.push(end);
            let later = self.world.now() + LAZINESS * self.lazy.1;
            self.world.schedule_for(process, later, READ | u64::from(end.0));
            return Ok(());
        }
        self.read(end)
    }

    /// Whether the owner of an end leaves what is there unread for now.
    fn is_lazy(&mut self, end: EndId, process: u32) -> bool {
        let [some, of] = self.lazy.0;
        some > 0
            && self.ghost.pipe(end).role == Role::Random
            && self.world.choose(|source| source.choose(LAZY, process, 2, Some(&[of - some, some]))) == 1
    }

    /// The owner of an end reads it at last, if it still has it.
    pub fn read_late(&mut self, end: EndId) -> Checked {
        self.unread.retain(|unread| *unread != end);
        if self.ghost.holder(end).is_some() && !self.ghost.end(end).armed && !self.ghost.end(end).dead {
            return self.read(end);
        }
        Ok(())
    }

    /// Everything begun is ended, everything left unread is read, everything taken in vain given back.
    pub fn catch_up(&mut self) -> Checked {
        self.end_all_open()?;
        for end in std::mem::take(&mut self.unread) {
            self.read_late(end)?;
        }
        for process in std::mem::take(&mut self.hoarding) {
            self.release(process);
        }
        Ok(())
    }

    /// A process gives back the blocks it took in vain.
    pub fn release(&mut self, process: u32) {
        self.hoarding.retain(|hoarding| *hoarding != process);
        if let Some(body) = self.world.process(process) {
            body.release_hoard();
        }
    }

    /// The holder of `end` is told that its peer is closed.
    fn closed(&mut self, end: EndId) -> Checked {
        self.checks.closure.seen(&self.ghost, end, self.ghost.end(end).saw_closed)?;
        self.ghost.end_mut(end).saw_closed = true;
        self.closures += 1;
        Ok(())
    }

    /// Reads all there is at an end, and at ends that come out of it, and watches them again.
    fn read(&mut self, end: EndId) -> Checked {
        self.to_read.push(end);
        self.read_all()
    }

    /// Reads all ends that wait to be read.
    pub fn read_all(&mut self) -> Checked {
        while let Some(end) = self.to_read.pop() {
            self.later(end, Job::Read { end })?;
        }
        Ok(())
    }

    fn died(&mut self, end: EndId, process: u32, dead: bool) -> Checked {
        if self.ghost.end(end).dead {
            return Ok(());
        }
        self.checks.closure.drained(&self.ghost, end, dead)?;
        self.ghost.end_mut(end).dead = true;
        self.ghost.give_up(end);
        self.news.push(News::Dead { end, process });
        self.note(Deed::Died { end });
        self.say(process, || format!("{end} is dead"));
        Ok(())
    }

    pub(in crate::app) fn taken(&mut self, end: EndId, process: u32, received: &Received) -> Checked {
        if self.ghost.pipe(end).tainted {
            return self.taken_tainted(end, process, received);
        }
        let taken = self.checks.delivery.taken(&mut self.ghost, end, &received.data, received.handles.len());
        let taken = taken.map_err(|violation| violation.in_process(process))?;
        self.checks.secrecy.taken(self.ghost.peer(end), &taken, process, self.world.processes())?;
        self.opened_boxes(end, process, (taken.number, taken.parcel.boxes), &received.boxes)?;
        self.took(end, process, received, &taken);
        Ok(())
    }

    /// As [`Stage::taken`], where somebody lied: portals that are not what they should be are closed.
    fn taken_tainted(&mut self, end: EndId, process: u32, received: &Received) -> Checked {
        let taken = self.checks.delivery.taken_tainted(&mut self.ghost, end, &received.data);
        self.look_into(process, &received.boxes);
        let expected = taken.as_ref().and_then(|taken| taken.parcel.attached);
        for handle in received.handles.iter().skip(usize::from(expected.is_some())) {
            self.strays.push((process, *handle));
        }
        // At depth L1 somebody may stand in the middle of that process.
        if self.threads.is_none() {
            self.close_strays()?;
        }
        let Some(taken) = taken else { return Ok(()) };
        if let (Some(lost), None) = (expected, received.handles.first()) {
            self.ghost.lose(lost);
        }
        self.took(end, process, received, &taken);
        Ok(())
    }

    /// Closes portals that nobody sent.
    pub fn close_strays(&mut self) -> Checked {
        for (process, handle) in std::mem::take(&mut self.strays) {
            if let Some(body) = self.alive(process) {
                body.close(handle).map_err(|error| unexpected("Close", error).in_process(process))?;
            }
        }
        Ok(())
    }

    pub(in crate::app) fn took(&mut self, end: EndId, process: u32, received: &Received, taken: &Taken) {
        self.calls.gets += 1;
        self.note(Deed::Took { end, bytes: received.data.len() as u64, carries: taken.parcel.attached });
        self.trace(process, call::GET, &[u64::from(end.0), taken.number, received.data.len() as u64]);
        self.order = (self.order ^ (u64::from(end.0) << 32 | taken.number)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
        if taken.parcel.counted {
            self.deliveries += 1;
            self.news.push(News::Received { end });
        }
        if let (Some(attached), Some(handle)) = (taken.parcel.attached, received.handles.first()) {
            self.arrived(attached, process, *handle, end);
        }
    }

    /// An end came out of a parcel.
    pub(in crate::app) fn arrived(&mut self, attached: EndId, process: u32, handle: Handle, over: EndId) {
        self.ghost.arrive(attached, process, handle);
        self.house(attached, process, handle);
        self.note(Deed::Arrived { end: attached, process });
        self.news.push(News::Arrived { end: attached, process, over });
        self.to_read.push(attached);
    }
}
