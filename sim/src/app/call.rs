//! A call of the library in three steps: what must be known before it (`Stage::begin`), the call itself, which touches nothing else
//! and can therefore be suspended in the middle ([`perform`]), and what came of it (`Stage::finish`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ipcz::api::{BeginGetFlags, BoxContents, Getting, Got, Process, TrapRefused};
use ipcz::ids::{Handle, ObjectId, Transaction};
use ipcz::trap::{PortalStatus, TrapConditions, TrapFlags};
use ipcz::{EndGet, Error, GetFlags, GetRefused};

use super::stage::Attached;
use crate::ghost::EndId;

/// Something an application wants done; one call, or several.
#[derive(Clone, Copy, Debug)]
pub enum Job {
    /// Put a parcel.
    Put {
        /// Into this end.
        end: EndId,
        /// Bytes of data.
        length: usize,
        /// Another end to put into it.
        attached: Option<EndId>,
        /// How many boxes it has.
        boxes: u8,
    },
    /// Begin a put.
    BeginPut {
        /// Into this end.
        end: EndId,
        /// Bytes of data.
        length: usize,
        /// For how many ns, and whether it is aborted then; if it is not said that is drawn.
        lasts: Option<(u64, bool)>,
    },
    /// Ask how an end is.
    Query {
        /// Which.
        end: EndId,
    },
    /// End what was begun under this number.
    End {
        /// At this end.
        end: EndId,
        /// The number.
        open: u32,
    },
    /// Close an end.
    Close {
        /// Which.
        end: EndId,
    },
    /// Merge two ends.
    Merge {
        /// The first.
        end: EndId,
        /// The second.
        with: EndId,
    },
    /// Get all there is at an end, then watch it.
    Read {
        /// Which.
        end: EndId,
    },
    /// Set the trap of an end.
    Watch {
        /// Which.
        end: EndId,
    },
}

impl Job {
    /// The end that it is about.
    pub fn end(&self) -> EndId {
        match *self {
            Job::Put { end, .. }
            | Job::BeginPut { end, .. }
            | Job::End { end, .. }
            | Job::Query { end }
            | Job::Close { end }
            | Job::Merge { end, .. }
            | Job::Read { end }
            | Job::Watch { end } => end,
        }
    }
}

/// A call that has begun and not yet returned.
#[derive(Debug)]
pub struct Call {
    /// Who calls.
    pub process: u32,
    /// About which end.
    pub end: EndId,
    /// What is called.
    pub doing: Doing,
}

/// A call as the library sees it.
#[derive(Debug)]
pub enum Doing {
    /// Put.
    Put {
        /// Into this.
        portal: Handle,
        /// The parcel's data.
        data: Vec<u8>,
        /// The portal in it.
        attached: Option<Attached>,
        /// What is boxed for it, and by which node.
        boxes: Option<(Handle, Vec<BoxContents>)>,
    },
    /// BeginPut.
    BeginPut {
        /// Into this.
        portal: Handle,
        /// Bytes wanted.
        length: usize,
        /// Whether fewer will do.
        partial: bool,
        /// For how many ns, and whether it is aborted then, if that is said.
        lasts: Option<(u64, bool)>,
    },
    /// Write what is to be sent, then EndPut.
    EndPut {
        /// Into this.
        portal: Handle,
        /// Begun as this.
        put: Transaction,
        /// The parcel's data; nothing is sent without.
        data: Option<Vec<u8>>,
        /// Begun under this number.
        open: u32,
    },
    /// Get without room: it only says how much there is.
    Measure {
        /// From this.
        portal: Handle,
        /// Its holder knew that the peer is closed.
        told: bool,
    },
    /// Get that keeps the parcel, and copies its first bytes.
    Keep {
        /// From this.
        portal: Handle,
        /// Its holder knew that the peer is closed.
        told: bool,
    },
    /// Get from a kept parcel; when that was done often enough, Close it.
    TakeKept {
        /// The parcel.
        parcel: Handle,
        /// How often it is still to be got.
        left: u32,
        /// Begun under this number.
        open: u32,
    },
    /// BeginGet.
    BeginGet {
        /// From this.
        portal: Handle,
        /// Its holder knew that the peer is closed.
        told: bool,
        /// The parcel leaves the queue.
        overlapped: bool,
    },
    /// EndGet.
    EndGet {
        /// At this.
        portal: Handle,
        /// Begun as this.
        get: Transaction,
        /// How.
        how: EndGet,
        /// Begun under this number.
        open: u32,
    },
    /// QueryPortalStatus.
    Query {
        /// Of this.
        portal: Handle,
    },
    /// Close.
    Close {
        /// This.
        portal: Handle,
    },
    /// MergePortals.
    Merge {
        /// This.
        portal: Handle,
        /// With this.
        with: Handle,
        /// One of them has been used: it is to be refused.
        used: bool,
    },
    /// Get.
    Get {
        /// From this.
        portal: Handle,
        /// Its holder knew that the peer is closed.
        told: bool,
    },
    /// Trap.
    Trap {
        /// At this.
        portal: Handle,
        /// For these conditions.
        flags: TrapFlags,
        /// What its event will say.
        context: u64,
    },
}

/// A parcel, received, its boxes opened.
#[derive(Clone, Default, Debug)]
pub struct Received {
    /// Its data.
    pub data: Vec<u8>,
    /// Its portals.
    pub handles: Vec<Handle>,
    /// What was in its boxes.
    pub boxes: Vec<Found>,
}

/// What was in a box.
#[derive(Clone, Debug)]
pub enum Found {
    /// A driver object.
    Driver(ObjectId),
    /// An object of the application.
    Application(u64),
    /// A subparcel: its data, and what was in its boxes.
    Subparcel(Vec<u8>, Vec<Found>),
}

/// What a call answered.
#[derive(Debug)]
pub enum Answer {
    /// Of Put.
    Put(Result<(), Error>),
    /// Of BeginPut: what it is known by, and the room.
    BeginPut(Result<(Transaction, usize), Error>),
    /// Of EndPut.
    EndPut(Result<(), Error>),
    /// Of a Get without room.
    Measure(Result<Got, GetRefused>),
    /// Of a Get that keeps: the first bytes, and the rest.
    Keep(Result<(Vec<u8>, Got), GetRefused>),
    /// Of Get from a kept parcel, or (nothing) of Close.
    TakeKept(Result<Option<Received>, Error>),
    /// Of BeginGet: what it gave, a copy of the data, and what was in boxes.
    BeginGet(Result<(Getting, Vec<u8>, Vec<Found>), GetRefused>),
    /// Of EndGet.
    EndGet(Result<(), Error>),
    /// Of QueryPortalStatus.
    Query(Result<PortalStatus, Error>),
    /// Of Close.
    Close(Result<(), Error>),
    /// Of MergePortals.
    Merge(Result<(), Error>),
    /// Of Get.
    Get(Result<Received, Error>),
    /// Of Trap.
    Trap(Result<(), TrapRefused>),
}

/// How many bytes of a parcel are copied when it is kept.
pub const FIRST: usize = 24;

/// Calls the library, and does nothing else.
pub fn perform(process: &Arc<Process>, doing: &Doing) -> Answer {
    match doing {
        Doing::Put { portal, data, attached, boxes } => {
            let mut handles = attached.map(|it| it.handle).into_iter().collect();
            let put = box_up(process, boxes, &mut handles).and_then(|()| process.put(*portal, data, &handles));
            if put.is_err() {
                for handle in handles.iter().filter(|handle| attached.is_none_or(|it| it.handle != **handle)) {
                    // Of who died meanwhile nothing is left.
                    let _ = process.close(*handle);
                }
            }
            Answer::Put(put)
        }
        Doing::BeginPut { portal, length, partial, .. } => {
            let begun = process.begin_put(*portal, *length, *partial);
            Answer::BeginPut(begun.map(|put| (put.transaction, put.data.capacity())))
        }
        Doing::EndPut { portal, put, data: Some(data), .. } => {
            let written = process.put_room(*portal, *put).map(|room| room.write_at(0, data));
            Answer::EndPut(written.and_then(|bytes| process.end_put(*portal, *put, bytes, &[])))
        }
        Doing::EndPut { portal, put, data: None, .. } => Answer::EndPut(process.abort_put(*portal, *put)),
        Doing::Measure { portal, .. } => Answer::Measure(process.get_into(*portal, &mut [], 0, GetFlags::default())),
        Doing::Keep { portal, .. } => {
            let mut first = vec![0; FIRST];
            let kept = process.get_into(*portal, &mut first, 0, GetFlags { partial: true, keep: true });
            Answer::Keep(kept.map(|got| {
                first.truncate(got.bytes);
                (first, got)
            }))
        }
        Doing::TakeKept { parcel, left: 0, .. } => Answer::TakeKept(process.close(*parcel).map(|()| None)),
        Doing::TakeKept { parcel, .. } => Answer::TakeKept(get(process, *parcel).map(Some)),
        Doing::BeginGet { portal, overlapped, .. } => {
            let begun = process.begin_get(*portal, usize::MAX, BeginGetFlags { partial: false, overlapped: *overlapped });
            Answer::BeginGet(begun.map(|getting| {
                let data = getting.data.to_vec();
                let (handles, boxes) = unpack(process, getting.handles);
                (Getting { handles, ..getting }, data, boxes)
            }))
        }
        Doing::EndGet { portal, get, how, .. } => Answer::EndGet(process.end_get(*portal, *get, *how).map(drop)),
        Doing::Query { portal } => Answer::Query(process.query(*portal)),
        Doing::Close { portal } => Answer::Close(process.close(*portal)),
        Doing::Merge { portal, with, .. } => Answer::Merge(process.merge(*portal, *with)),
        Doing::Get { portal, .. } => Answer::Get(get(process, *portal)),
        Doing::Trap { portal, flags, context } => {
            Answer::Trap(process.trap(*portal, TrapConditions { flags: *flags, ..TrapConditions::default() }, *context))
        }
    }
}

/// Boxes what is to go with a parcel; a portal stands in the middle.
fn box_up(process: &Arc<Process>, boxes: &Option<(Handle, Vec<BoxContents>)>, handles: &mut Vec<Handle>) -> Result<(), Error> {
    let Some((node, contents)) = boxes else { return Ok(()) };
    for content in contents {
        handles.push(process.box_object(*node, content.clone())?);
    }
    if handles.len() > contents.len() {
        handles[..=contents.len() / 2].rotate_left(1);
    }
    Ok(())
}

fn get(process: &Arc<Process>, source: Handle) -> Result<Received, Error> {
    let received = process.get(source)?;
    let (handles, boxes) = unpack(process, received.handles);
    Ok(Received { data: received.data, handles, boxes })
}

/// Opens all boxes, and those in subparcels. Answers what is none.
fn unpack(process: &Arc<Process>, handles: Vec<Handle>) -> (Vec<Handle>, Vec<Found>) {
    let (mut portals, mut boxes) = (Vec::new(), Vec::new());
    for handle in handles {
        match process.unbox(handle) {
            Ok(BoxContents::Driver(object)) => boxes.push(Found::Driver(object)),
            Ok(BoxContents::Application(object)) => boxes.push(Found::Application(object.object)),
            Ok(BoxContents::Subparcel(parcel)) => {
                let inside = get(process, parcel).unwrap_or_default();
                for portal in inside.handles.into_iter().chain([parcel]) {
                    // Of who died meanwhile nothing is left.
                    let _ = process.close(portal);
                }
                boxes.push(Found::Subparcel(inside.data, inside.boxes));
            }
            Err(_) => portals.push(handle),
        }
    }
    (portals, boxes)
}

/// Depth L1: each process's application has one thread, which does its jobs one after the other.
#[derive(Clone, Default, Debug)]
pub struct Threads {
    /// By process.
    waiting: Vec<VecDeque<(Job, Option<u32>)>>,
    /// Under which number new jobs are counted.
    errand: Option<u32>,
    /// Processes that were given something to do, in order.
    woken: VecDeque<u32>,
    /// Jobs of each number that are not done.
    open: BTreeMap<u32, u32>,
}

impl Threads {
    /// Queues a job.
    pub fn add(&mut self, process: u32, job: Job) {
        let process = process as usize;
        if self.waiting.len() <= process {
            self.waiting.resize_with(process + 1, VecDeque::new);
        }
        if self.waiting[process].is_empty() {
            self.woken.push_back(process as u32);
        }
        self.waiting[process].push_back((job, self.errand));
        if let Some(errand) = self.errand {
            *self.open.entry(errand).or_default() += 1;
        }
    }

    /// From now on jobs are counted under this number, until told otherwise.
    pub fn count_for(&mut self, errand: Option<u32>) {
        self.errand = errand;
    }

    /// Whether jobs of this number are not done.
    pub fn is_open(&self, errand: u32) -> bool {
        self.open.contains_key(&errand)
    }

    /// One job of this number is done; whether it was the last.
    pub fn done(&mut self, errand: u32) -> bool {
        let Some(left) = self.open.get_mut(&errand) else { return false };
        *left -= 1;
        let last = *left == 0;
        if last {
            self.open.remove(&errand);
        }
        last
    }

    /// Whether a process has something to do.
    pub fn has(&self, process: u32) -> bool {
        self.waiting.get(process as usize).is_some_and(|jobs| !jobs.is_empty())
    }

    /// A process that had nothing to do and now has.
    pub fn woken(&mut self) -> Option<u32> {
        self.woken.pop_front()
    }

    /// The next job of a process, and its number.
    pub fn take(&mut self, process: u32) -> Option<(Job, Option<u32>)> {
        self.waiting.get_mut(process as usize)?.pop_front()
    }

    /// A process died: nobody does its jobs. Answers the numbers that are done with that.
    pub fn forget(&mut self, process: u32) -> Vec<u32> {
        let jobs = self.waiting.get_mut(process as usize).map(std::mem::take).unwrap_or_default();
        jobs.into_iter().filter_map(|(_, errand)| errand.filter(|errand| self.done(*errand))).collect()
    }
}
