//! Other ways than put and get: what applications have begun and not ended (puts and gets in two phases, parcels kept as objects), and
//! what they ask portals. Each is chosen now and then, if the scenario says so, and ended a while later.

use ipcz::api::{Getting, Got, ParcelReader};
use ipcz::ids::{Handle, Transaction};
use ipcz::trap::PortalStatus;
use ipcz::{EndGet, Error, GetRefused};

use super::acts::Deed;
use super::call::{Call, Doing, FIRST, Found, Job, Received};
use super::stage::{API, Stage, unexpected};
use crate::check::{Checked, Violation};
use crate::choice::{Choices, Site};
use crate::ghost::{EndId, Place, Role, write_payload};
use crate::scenario::{Manner, Way};

/// Token of something begun that is ended at last; its number is in the low bits.
pub(crate) const END: u64 = 4 << 56;

/// For how many operations of a node things stay open.
const OPEN_FOR: u64 = 4;

/// What is drawn; the actor is the process.
mod site {
    use crate::choice::Site;

    pub const TWO_PHASE: Site = Site::Workload(11);
    pub const OBJECTS: Site = Site::Workload(12);
    pub const QUERY: Site = Site::Workload(13);
    pub const HOW: Site = Site::Workload(14);
    pub const ABORT: Site = Site::Workload(15);
    pub const ASKED: Site = Site::Workload(16);
}

/// How often applications use the other ways: so many of so many times.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Puts and gets in two phases.
    pub two_phase: [u32; 2],
    /// Gets that measure first, and gets that keep the parcel as an object.
    pub objects: [u32; 2],
    /// Questions about a portal's status, before an operation.
    pub query: [u32; 2],
    /// Parcels with boxes.
    pub boxes: [u32; 2],
}

impl Style {
    /// Puts and gets, and nothing else.
    pub const PLAIN: Style = Style { two_phase: [0, 1], objects: [0, 1], query: [0, 1], boxes: [0, 1] };
}

/// Something begun.
#[derive(Debug)]
pub struct Open {
    process: u32,
    end: EndId,
    /// By whom: an end that changed hands since may have left the node.
    holder: u32,
    /// Its handle then.
    portal: Handle,
    /// Its end was under way when this was to be ended.
    stray: bool,
    /// Whether it is aborted in the end; else that is drawn.
    abort: Option<bool>,
    what: What,
}

#[derive(Debug)]
enum What {
    Put {
        put: Transaction,
        length: usize,
    },
    Get {
        get: Transaction,
        exclusive: bool,
        /// The data, and what it was when the get began. A copy of a world has none.
        seen: Option<(ParcelReader, Vec<u8>)>,
    },
    Kept {
        parcel: Handle,
        number: u64,
        length: u32,
        attached: Option<EndId>,
        boxes: u8,
    },
}

impl Open {
    /// The same, in a copy of the world.
    pub fn fork(&self) -> Open {
        let what = match &self.what {
            What::Put { put, length } => What::Put { put: *put, length: *length },
            What::Get { get, exclusive, .. } => What::Get { get: *get, exclusive: *exclusive, seen: None },
            What::Kept { parcel, number, length, attached, boxes } => {
                What::Kept { parcel: *parcel, number: *number, length: *length, attached: *attached, boxes: *boxes }
            }
        };
        Open { what, ..*self }
    }

    fn is_get(&self) -> bool {
        matches!(self.what, What::Get { .. })
    }
}

impl Stage {
    pub(super) fn now_and_then(&mut self, site: Site, process: u32, [some, of]: [u32; 2]) -> bool {
        some > 0 && self.world.choose(|source| source.choose(site, process, 2, Some(&[of - some, some]))) == 1
    }

    /// Puts a parcel of `length` bytes into an end, in one phase or in two; false if its peer is known to be closed.
    pub fn send(&mut self, end: EndId, length: usize) -> Checked<bool> {
        let Some((process, _)) = self.holder(end) else { return Ok(false) };
        if !self.now_and_then(site::TWO_PHASE, process, self.style.two_phase) {
            return self.put(end, length, None);
        }
        self.later(end, Job::BeginPut { end, length, lasts: None }).map(|()| true)
    }

    /// Puts a parcel into an end by a put that stays open for `lasts` ns, and is then aborted or not.
    pub fn put_slowly(&mut self, end: EndId, length: usize, lasts: u64, abort: bool) -> Checked {
        self.later(end, Job::BeginPut { end, length, lasts: Some((lasts, abort)) })
    }

    /// From now on parcels are taken out of an end like this.
    pub fn get_like(&mut self, end: EndId, way: Way) {
        self.ways.insert(end, way);
    }

    /// Whoever holds an end asks how it is.
    pub fn query(&mut self, end: EndId) -> Checked {
        self.later(end, Job::Query { end })
    }

    pub(super) fn begin_query(&mut self, end: EndId) -> Option<Call> {
        let (process, portal) = self.holder(end)?;
        Some(Call { process, end, doing: Doing::Query { portal } })
    }

    pub(super) fn finish_query(&mut self, process: u32, end: EndId, result: Result<PortalStatus, Error>) -> Checked {
        match result {
            Ok(status) => self.checks.status.told(&self.ghost, end, status).map_err(|violation| violation.in_process(process)),
            // Its owner has closed it inside this very call.
            Err(Error::InvalidArgument) if self.was_closed(end) => Ok(()),
            Err(error) => Err(unexpected("QueryPortalStatus", error).in_process(process).at(end)),
        }
    }

    /// Asks one of a process's portals how it is, now and then.
    pub fn ask(&mut self, process: u32) -> Checked {
        let count = self.homes[process as usize].free.len();
        if self.threads.is_some() || count == 0 || !self.now_and_then(site::QUERY, process, self.style.query) {
            return Ok(());
        }
        let chosen = self.world.choose(|source| source.draw(site::ASKED, process, count as u32)) as usize;
        let end = self.homes[process as usize].free[chosen];
        let Some((_, portal)) = self.holder(end) else { return Ok(()) };
        let answer = self.process(process)?.query(portal);
        self.finish_query(process, end, answer)
    }

    /// The next get of an end: in which way?
    pub(super) fn way_to_get(&mut self, process: u32, end: EndId, portal: Handle, told: bool) -> Option<Doing> {
        if let Some(way) = self.ways.get(&end).filter(|_| !self.ghost.pipe(end).tainted) {
            let doing = match way.manner {
                Manner::Plain => Doing::Get { portal, told },
                Manner::Measured => Doing::Measure { portal, told },
                Manner::TwoPhase => Doing::BeginGet { portal, told, overlapped: false },
                Manner::Overlapped => Doing::BeginGet { portal, told, overlapped: true },
                Manner::Kept => Doing::Keep { portal, told },
            };
            return (!self.opened.values().any(|open| open.bars(self, process, end))).then_some(doing);
        }
        let free = self.threads.is_none() && self.ghost.pipe(end).role == Role::Random && !self.ghost.pipe(end).tainted;
        if free && self.opened.values().any(|open| open.bars(self, process, end)) {
            return None;
        }
        if free && self.now_and_then(site::TWO_PHASE, process, self.style.two_phase) {
            let overlapped = self.now_and_then(site::HOW, process, [1, 2]);
            return Some(Doing::BeginGet { portal, told, overlapped });
        }
        if free && self.now_and_then(site::OBJECTS, process, self.style.objects) {
            let measured = self.now_and_then(site::HOW, process, [1, 2]);
            return Some(if measured { Doing::Measure { portal, told } } else { Doing::Keep { portal, told } });
        }
        Some(Doing::Get { portal, told })
    }

    /// Notes something begun; it is ended a while later.
    fn begun(&mut self, process: u32, end: EndId, portal: Handle, (lasts, abort): (u64, Option<bool>), what: What) {
        let number = self.opened_ever;
        self.opened_ever += 1;
        let open = Open { process, end, holder: self.ghost.end(end).holder, portal, stray: false, abort, what };
        self.opened.insert(number, open);
        let at = self.world.now() + lasts;
        self.world.schedule_for(process, at, END | u64::from(number));
    }

    /// Ends what was begun under this number, if its process still can.
    pub fn end_open(&mut self, number: u32) -> Checked {
        if let Some(open) = self.opened.get(&number) {
            let (process, end) = (open.process, open.end);
            self.carry_out(process, Job::End { end, open: number })?;
        }
        self.read_all()
    }

    /// Ends everything that is open, and begins nothing more.
    pub(super) fn end_all_open(&mut self) -> Checked {
        self.style = Style::PLAIN;
        self.ways.clear();
        let numbers: Vec<u32> = self.opened.keys().copied().collect();
        numbers.into_iter().try_for_each(|number| self.end_open(number))
    }

    /// A process died: nobody ends what it began, and what it kept is lost.
    pub(super) fn forget_open(&mut self, process: u32) {
        let mut lost = Vec::new();
        self.opened.retain(|_, open| {
            if let What::Kept { attached, .. } = open.what
                && open.process == process
            {
                lost.extend(attached);
            }
            open.process != process
        });
        lost.into_iter().for_each(|end| self.ghost.lose(end));
    }

    fn some_time(&self) -> u64 {
        OPEN_FOR * self.lazy.1
    }

    /// How long what is taken out of an end stays open, and whether it is aborted then.
    fn stays_open(&mut self, end: EndId) -> (u64, Option<bool>) {
        let Some(way) = self.ways.get_mut(&end) else { return (self.some_time(), None) };
        let abort = way.aborts > 0;
        way.aborts -= u32::from(abort);
        (way.open_ns, Some(abort))
    }

    pub(super) fn begin_begin_put(&mut self, end: EndId, length: usize, lasts: Option<(u64, bool)>) -> Option<Call> {
        let (process, portal) = self.holder(end)?;
        // Odd sizes will do with less.
        let partial = length % 2 == 1 && lasts.is_none();
        Some(Call { process, end, doing: Doing::BeginPut { portal, length, partial, lasts } })
    }

    pub(super) fn finish_begin_put(
        &mut self,
        (process, end, portal): (u32, EndId, Handle),
        (length, partial, lasts): (usize, bool, Option<(u64, bool)>),
        result: Result<(Transaction, usize), Error>,
    ) -> Checked {
        match result {
            Ok((put, room)) if room == length || (partial && room < length) => {
                let lasts = lasts.map_or((self.some_time(), None), |(lasts, abort)| (lasts, Some(abort)));
                self.begun(process, end, portal, lasts, What::Put { put, length: room });
                Ok(())
            }
            Ok((_, room)) => {
                let text = format!("BeginPut gave room for {room} bytes where {length} were asked for");
                Err(Violation::new(API, "a call answers what api.md says", text).in_process(process).at(end))
            }
            Err(Error::NotFound) => self.checks.closure.refused(&self.ghost, end),
            Err(Error::InvalidArgument) if self.was_closed(end) => Ok(()),
            Err(error) => Err(unexpected("BeginPut", error).in_process(process).at(end)),
        }
    }

    pub(super) fn begin_end(&mut self, number: u32) -> Checked<Option<Call>> {
        let Some(open) = self.opened.get(&number) else { return Ok(None) };
        let (process, end, then) = (open.process, open.end, open.portal);
        let here = self.holder(end).filter(|(at, _)| *at == process).map(|(_, portal)| portal);
        let said = open.abort;
        let abort = said.unwrap_or_else(|| self.now_and_then(site::ABORT, process, [1, 4]));
        let Some(open) = self.opened.get(&number) else { return Ok(None) };
        let doing = match &open.what {
            What::Put { put, length } => {
                let (put, length) = (*put, *length);
                let Some(portal) = here else {
                    self.opened.remove(&number);
                    return Ok(None);
                };
                let data = (!abort).then(|| {
                    self.calls.puts += 1;
                    self.note(Deed::Send { end, bytes: length as u64, boxes: 0 });
                    let mut data = Vec::new();
                    write_payload(end, self.ghost.end(end).sent, length, &mut data);
                    self.ghost.begin_put(end, process, length as u32, None, true);
                    data
                });
                Doing::EndPut { portal, put, data, open: number }
            }
            What::Get { get, seen, .. } => {
                if let Some((reader, data)) = seen
                    && !self.checks.broken.lied()
                    && !self.ghost.pipe(end).tainted
                    && !matches!(self.ghost.end(end).place, Place::Closed | Place::Gone | Place::Merged)
                    && reader.to_vec() != *data
                {
                    let text = format!("the data of a parcel of {end} changed while a get was open");
                    return Err(Violation::new(API, "data stays as it is while a get is open", text).in_process(process).at(end));
                }
                let how = if abort { EndGet::Abort } else { EndGet::Commit };
                Doing::EndGet { portal: here.unwrap_or(then), get: *get, how, open: number }
            }
            What::Kept { parcel, .. } => Doing::TakeKept { parcel: *parcel, left: if abort { 0 } else { 2 }, open: number },
        };
        Ok(Some(Call { process, end, doing }))
    }

    /// Whether the end is still with who began something there: then it must be possible to end it.
    fn is_here(&self, open: &Open) -> bool {
        self.ghost.holder(open.end).is_some_and(|(process, _)| process == open.process) && self.ghost.end(open.end).holder == open.holder
    }

    pub(super) fn finish_end_put(&mut self, process: u32, end: EndId, number: u32, sent: bool, result: Result<(), Error>) -> Checked {
        let here = self.opened.remove(&number).is_none_or(|open| self.is_here(&open));
        match result {
            Err(Error::InvalidArgument) if !here => {
                if sent && !self.ghost.take_back(end, None) {
                    let text = format!("EndPut refused a parcel into {end}, but its peer got it");
                    return Err(Violation::new(API, "a parcel that is refused does not arrive", text).in_process(process).at(end));
                }
                Ok(())
            }
            result if sent => self.finish_put(process, end, None, result),
            result => result.map_err(|error| unexpected("EndPut", error).in_process(process).at(end)),
        }
    }

    pub(super) fn finish_measure(
        &mut self,
        call: (u32, EndId, Handle),
        told: bool,
        result: Result<Got, GetRefused>,
    ) -> Checked<Option<Call>> {
        let (process, end, portal) = call;
        match result {
            Err(GetRefused::TooSmall { bytes, handles }) => {
                self.checks.delivery.looked(&self.ghost, end, Some(bytes), &[], Some(handles)).map_err(|v| v.in_process(process))?;
                Ok(Some(Call { process, end, doing: Doing::Get { portal, told } }))
            }
            Err(GetRefused::Error(error)) => self.finish_get(process, end, told, Err(error)),
            Ok(_) => self.finish_get(process, end, told, Ok(Received::default())),
        }
    }

    pub(super) fn finish_keep(
        &mut self,
        (process, end, portal): (u32, EndId, Handle),
        told: bool,
        result: Result<(Vec<u8>, Got), GetRefused>,
    ) -> Checked<Option<Call>> {
        let (first, got) = match result {
            Ok(kept) => kept,
            Err(refused) => return self.finish_get(process, end, told, Err(refused.into())),
        };
        let whole = (first.len() < FIRST).then_some(first.len());
        self.checks.delivery.looked(&self.ghost, end, whole, &first, None).map_err(|violation| violation.in_process(process))?;
        let (Some(parcel), Some(taken)) = (got.parcel, self.ghost.take(end)) else {
            return Err(Violation::new(API, "Get gives the parcel if it is to be kept", format!("{got:?}")).in_process(process).at(end));
        };
        self.checks.secrecy.taken(self.ghost.peer(end), &taken, process, self.world.processes())?;
        self.took(end, process, &Received { data: first, handles: got.handles, boxes: Vec::new() }, &taken);
        let (number, length, attached, boxes) = (taken.number, taken.parcel.length, taken.parcel.attached, taken.parcel.boxes);
        let lasts = self.stays_open(end);
        self.begun(process, end, portal, lasts, What::Kept { parcel, number, length, attached, boxes });
        Ok(self.begin_get(end))
    }

    /// Data is got from a kept parcel twice, the portal in it the first time.
    pub(super) fn finish_take_kept(
        &mut self,
        process: u32,
        parcel: Handle,
        (left, open): (u32, u32),
        result: Result<Option<Received>, Error>,
    ) -> Checked<Option<Call>> {
        let taken = result.map_err(|error| unexpected("Get from a kept parcel", error).in_process(process))?;
        let Some(received) = taken else {
            if let Some(Open { what: What::Kept { attached: Some(attached), .. }, .. }) = self.opened.remove(&open) {
                self.ghost.lose(attached);
            }
            return Ok(None);
        };
        let Some(Open { end, what, .. }) = self.opened.get_mut(&open) else { return Ok(None) };
        let What::Kept { number, length, attached, boxes, .. } = what else { return Ok(None) };
        let (end, number, length, attached, boxes) = (*end, *number, *length, attached.take(), std::mem::take(boxes));
        // The second time nothing is left.
        self.opened_boxes(end, process, (number, boxes), &received.boxes)?;
        if !self.checks.broken.lied() && !self.ghost.pipe(end).tainted {
            let from = self.ghost.peer(end);
            self.checks.delivery.kept(from, end, number, length, &received.data).map_err(|violation| violation.in_process(process))?;
            if received.handles.len() > usize::from(attached.is_some()) {
                let text = format!("a kept parcel of {end} gave {} portals", received.handles.len());
                return Err(Violation::new(API, "a kept parcel gives its portals once", text).in_process(process).at(end));
            }
        }
        match (attached, received.handles.first()) {
            (Some(attached), Some(handle)) => self.arrived(attached, process, *handle, end),
            (Some(attached), None) => self.ghost.lose(attached),
            (None, _) => {}
        }
        for handle in received.handles.iter().skip(usize::from(attached.is_some())) {
            self.process(process)?.close(*handle).map_err(|error| unexpected("Close", error).in_process(process))?;
        }
        Ok(Some(Call { process, end, doing: Doing::TakeKept { parcel, left: left - 1, open } }))
    }

    pub(super) fn finish_begin_get(
        &mut self,
        (process, end, portal): (u32, EndId, Handle),
        (told, overlapped): (bool, bool),
        result: Result<(Getting, Vec<u8>, Vec<Found>), GetRefused>,
    ) -> Checked<Option<Call>> {
        let (getting, data, boxes) = match result {
            Ok(begun) => begun,
            // Overlapped gets keep exclusive ones away, and nothing else.
            Err(GetRefused::Error(Error::AlreadyExists)) if !overlapped && self.is_got_at(process, end) => {
                return Ok(Some(Call { process, end, doing: Doing::Get { portal, told } }));
            }
            Err(refused) => return self.finish_get(process, end, told, Err(refused.into())),
        };
        let Getting { transaction: get, data: reader, handles } = getting;
        let what = What::Get { get, exclusive: !overlapped, seen: Some((reader, data.clone())) };
        if overlapped {
            self.taken(end, process, &Received { data, handles, boxes })?;
            let lasts = self.stays_open(end);
            self.begun(process, end, portal, lasts, what);
            return Ok(self.begin_get(end));
        }
        let looked = self.checks.delivery.looked(&self.ghost, end, Some(data.len()), &data, Some(handles.len() + boxes.len()));
        looked.map_err(|violation| violation.in_process(process))?;
        if let Some((number, count)) = self.ghost.peek(end).map(|(number, parcel)| (number, parcel.boxes)) {
            self.opened_boxes(end, process, (number, count), &boxes)?;
        }
        if let (Some(attached), Some(handle)) = (self.ghost.strip(end), handles.first()) {
            self.arrived(attached, process, *handle, end);
        }
        let lasts = self.stays_open(end);
        self.begun(process, end, portal, lasts, what);
        Ok(None)
    }

    pub(super) fn finish_end_get(&mut self, (process, end): (u32, EndId), number: u32, how: EndGet, result: Result<(), Error>) -> Checked {
        let Some(open) = self.opened.remove(&number) else { return Ok(()) };
        let What::Get { get, exclusive, .. } = open.what else { return Ok(()) };
        match result {
            Ok(()) => {
                if exclusive
                    && how == EndGet::Commit
                    && let Some(taken) = self.ghost.take(end)
                {
                    self.checks.secrecy.taken(self.ghost.peer(end), &taken, process, self.world.processes())?;
                    self.took(end, process, &Received::default(), &taken);
                }
            }
            Err(Error::InvalidArgument) if !self.is_here(&open) => {
                // It may turn up here again, without ever having left.
                if matches!(self.ghost.end(end).place, Place::Carried { .. }) {
                    self.opened.insert(number, Open { stray: true, what: What::Get { get, exclusive, seen: None }, ..open });
                    return Ok(());
                }
            }
            Err(error) => return Err(unexpected("EndGet", error).in_process(process).at(end)),
        }
        if exclusive && self.holder(end).is_some_and(|(at, _)| at == process) && !self.ghost.end(end).dead {
            self.to_read.push(end);
        }
        Ok(())
    }

    /// Whether a get is open at an end, for all that its process knows.
    fn is_got_at(&self, process: u32, end: EndId) -> bool {
        self.opened.values().any(|open| open.is_get() && open.process == process && open.end == end)
    }

    /// A get was refused since another one is open: it goes on when that is ended. One whose end was under way is ended now.
    pub(super) fn barred(&mut self, process: u32, end: EndId) -> Checked<Option<Call>> {
        let mine = self.opened.iter().filter(|(_, open)| open.process == process && open.end == end);
        let mut gets = mine.filter(|(_, open)| matches!(open.what, What::Get { exclusive: true, .. }));
        let Some((number, open)) = gets.next() else {
            return Err(unexpected("Get", Error::AlreadyExists).in_process(process).at(end));
        };
        let number = *number;
        if open.stray { self.begin_end(number) } else { Ok(None) }
    }

    /// Whether a portal may be refused as an attachment, since it is being got from.
    pub(super) fn may_stay(&self, process: u32, end: EndId) -> bool {
        let open = self.opened.values().filter(|open| open.process == process && open.end == end);
        open.into_iter().any(|open| matches!(open.what, What::Get { exclusive: true, .. }))
    }
}

impl Open {
    /// Whether this keeps others from getting at `end`.
    fn bars(&self, stage: &Stage, process: u32, end: EndId) -> bool {
        let exclusive = matches!(self.what, What::Get { exclusive: true, .. });
        exclusive && self.process == process && self.end == end && stage.is_here(self)
    }
}
