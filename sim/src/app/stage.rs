//! What an application can do, one call each: the library is called, the ledger and the checkers are told, the trace keeps it.
//! A call has three steps (`call.rs`), which at depth L0 follow each other at once.

mod boxing;
mod closing;
mod putting;
mod reading;
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use ipcz::Error;
use ipcz::api::{NodeOptions, Process};
use ipcz::ids::{Handle, NodeType};
use ipcz::inspect::Totals;
use ipcz::limits::Limits;
use ipcz::trap::TrapEvent;

use super::acts::{Act, Deed};
use super::call::{Answer, Call, Doing, Job, Threads, perform};
use super::connect::Attempt;
use super::open::{Open, Style};
use crate::check::{Checked, Checks, Names, Violation};
use crate::fault::Fault;
use crate::ghost::{EndId, Ghost, Role};
use crate::run::Calls;
use crate::scenario::{NodeSpec, Way};
use crate::world::{Strike, World};

/// Something an application learnt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// An end came out of a parcel.
    Arrived {
        /// Which.
        end: EndId,
        /// Where.
        process: u32,
        /// Over which end.
        over: EndId,
    },
    /// A parcel of a `send` was taken from an end.
    Received {
        /// Which end.
        end: EndId,
    },
    /// The peer of an end is closed and everything was read.
    Dead {
        /// Which end.
        end: EndId,
        /// Where it is held.
        process: u32,
    },
    /// The last of the calls that wait under this number has returned ([`Threads`]).
    Did {
        /// The number.
        errand: u32,
    },
}

/// What a process holds, by role.
#[derive(Clone, Default, Debug)]
pub struct Home {
    /// Its node.
    pub node: Option<Handle>,
    /// Whether that is a broker.
    pub broker: bool,
    /// Whether its broker gives it memory.
    pub delegate: bool,
    /// Ends of connections, in order of connection.
    pub connections: Vec<EndId>,
    /// Ends of set-up pipes and of pipes that steps opened.
    pub named: Vec<EndId>,
    /// Ends of pipes of the random workload.
    pub free: Vec<EndId>,
    /// By list and place in it: the handle. Whoever has but a handle looks here, and not at each end.
    pub(super) handles: [Vec<Handle>; 3],
}

impl Home {
    fn list(&mut self, role: Role) -> (&mut Vec<EndId>, &mut Vec<Handle>) {
        let [connections, named, free] = &mut self.handles;
        match role {
            Role::Connection => (&mut self.connections, connections),
            Role::SetUp | Role::Step => (&mut self.named, named),
            Role::Random => (&mut self.free, free),
        }
    }

    /// The end that it got by this handle.
    fn find(&self, handle: Handle) -> Option<EndId> {
        let lists = [&self.connections, &self.named, &self.free];
        lists.into_iter().zip(&self.handles).find_map(|(ends, handles)| Some(ends[handles.iter().position(|own| *own == handle)?]))
    }

    /// Everything it holds.
    pub fn all(&self) -> impl Iterator<Item = EndId> + '_ {
        self.connections.iter().chain(&self.named).chain(&self.free).copied()
    }
}

/// What can be seen and done: a world, and what is known of it.
pub struct Stage {
    /// The world.
    pub world: World,
    /// What must be true of it.
    pub ghost: Ghost,
    /// Who looks whether it is.
    pub checks: Checks,
    /// Whose nodes have which names.
    pub names: Names,
    /// What each process holds.
    pub homes: Vec<Home>,
    /// Calls made so far.
    pub calls: Calls,
    /// Parcels of `send` taken so far.
    pub deliveries: u64,
    /// Ends whose holder was told of a closed peer.
    pub closures: u64,
    /// Hash over the order in which parcels were taken.
    pub order: u64,
    /// What was learnt and not yet acted upon, oldest first.
    pub news: Vec<News>,
    /// Connections that steps have made or tried to make.
    pub(super) attempts: Vec<Attempt>,
    /// Links and nodes cut so far.
    pub cuts: u64,
    /// The longest that a message may take, in ns.
    pub longest: u64,
    /// Totals of processes that died.
    pub lost_totals: Totals,
    /// Lines for a recording, if there is one.
    pub said: Option<Vec<(u32, String)>>,
    /// What was done, if that is noted.
    pub acts: Option<Vec<Act>>,
    /// Portals that came out of a liar's parcels and are nobody's, by process: to be closed.
    strays: Vec<(u32, Handle)>,
    /// Limits of every node.
    pub limits: Limits,
    /// How often hostile nodes may still come back.
    pub returns: u64,
    /// Pairs of processes over whose link somebody lied.
    pub lies: Vec<(u32, u32)>,
    /// Ends whose owner has yet to read what is there.
    pub unread: Vec<EndId>,
    /// How often that is so, of how many times, and for how many ns.
    pub lazy: ([u32; 2], u64),
    /// In which other ways calls are made.
    pub style: Style,
    /// How parcels are taken out of an end, where a step has said so.
    pub(super) ways: BTreeMap<EndId, Way>,
    /// What was begun and not ended, by number.
    pub(super) opened: BTreeMap<u32, Open>,
    pub(super) opened_ever: u32,
    /// Processes that have taken all free blocks of their link memories.
    pub hoarding: Vec<u32>,
    /// Whether faults are planned at all.
    pub(super) faulty: bool,
    pub(super) strikes: Vec<Strike>,
    /// Ends that handlers of traps closed, looked at and not noted yet.
    closed: Vec<u32>,
    /// Requests of random bytes refused so far.
    bad_luck: u64,
    /// Depth L1: what the applications' threads have yet to do. None: everything is done at once.
    pub threads: Option<Threads>,
    traps: Vec<(u32, TrapEvent)>,
    /// Events of portals that are being put into a parcel: whether they still have an owner here shows when the call returns.
    unsettled: Vec<(u32, TrapEvent)>,
    pub(super) to_read: Vec<EndId>,
    payload: Vec<u8>,
}

/// Numbers of calls in the trace.
mod call {
    pub const OPEN: u16 = 1;
    pub const PUT: u16 = 2;
    pub const GET: u16 = 3;
    pub const CLOSE: u16 = 4;
    pub const TRAP: u16 = 5;
    pub const MERGE: u16 = 6;
    pub const BEGIN_PUT: u16 = 7;
    pub const END_PUT: u16 = 8;
    pub const MEASURE: u16 = 9;
    pub const KEEP: u16 = 10;
    pub const TAKE_KEPT: u16 = 11;
    pub const BEGIN_GET: u16 = 12;
    pub const END_GET: u16 = 13;
    pub const QUERY: u16 = 14;
}

/// A portal that is put into a parcel.
#[derive(Clone, Copy, Debug)]
pub struct Attached {
    /// Which.
    pub end: EndId,
    /// Its handle until the call returns.
    pub handle: Handle,
    /// Where it stands in its holder's list.
    pub slot: u32,
}

impl Stage {
    /// An empty stage.
    pub fn new(world: World) -> Stage {
        Stage {
            faulty: world.is_faulty(),
            world,
            ghost: Ghost::default(),
            checks: Checks::default(),
            names: Names::default(),
            homes: Vec::new(),
            calls: Calls::default(),
            deliveries: 0,
            closures: 0,
            order: 0,
            news: Vec::new(),
            attempts: Vec::new(),
            cuts: 0,
            longest: 0,
            lost_totals: Totals::default(),
            said: None,
            acts: None,
            strays: Vec::new(),
            limits: Limits::default(),
            returns: 0,
            lies: Vec::new(),
            unread: Vec::new(),
            lazy: ([0, 1], 0),
            style: Style::PLAIN,
            ways: BTreeMap::new(),
            opened: BTreeMap::new(),
            opened_ever: 0,
            hoarding: Vec::new(),
            strikes: Vec::new(),
            closed: Vec::new(),
            bad_luck: 0,
            threads: None,
            traps: Vec::new(),
            unsettled: Vec::new(),
            to_read: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// A copy that would go on exactly as this one.
    pub fn fork(&self) -> Stage {
        Stage {
            world: self.world.fork(),
            ghost: self.ghost.clone(),
            checks: self.checks.clone(),
            names: self.names.clone(),
            homes: self.homes.clone(),
            calls: self.calls,
            deliveries: self.deliveries,
            closures: self.closures,
            order: self.order,
            news: self.news.clone(),
            attempts: self.attempts.clone(),
            cuts: self.cuts,
            longest: self.longest,
            lost_totals: self.lost_totals,
            said: self.said.clone(),
            acts: self.acts.clone(),
            strays: self.strays.clone(),
            limits: self.limits,
            returns: self.returns,
            lies: self.lies.clone(),
            unread: self.unread.clone(),
            lazy: self.lazy,
            style: self.style,
            ways: self.ways.clone(),
            opened: self.opened.iter().map(|(number, open)| (*number, open.fork())).collect(),
            opened_ever: self.opened_ever,
            hoarding: self.hoarding.clone(),
            faulty: self.faulty,
            strikes: Vec::new(),
            closed: self.closed.clone(),
            bad_luck: self.bad_luck,
            threads: self.threads.clone(),
            traps: self.traps.clone(),
            unsettled: self.unsettled.clone(),
            to_read: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// Writes a line into the recording.
    pub fn say(&mut self, process: u32, line: impl FnOnce() -> String) {
        if let Some(said) = &mut self.said {
            said.push((process, line()));
        }
    }

    /// A process, unless it died or is dying.
    fn alive(&self, process: u32) -> Option<&Arc<Process>> {
        self.world.process(process).filter(|_| !self.world.is_gone(process))
    }

    /// Who holds an end, and by what handle: nobody who is dead or dying.
    pub(super) fn holder(&self, end: EndId) -> Option<(u32, Handle)> {
        self.ghost.holder(end).filter(|(process, _)| self.alive(*process).is_some())
    }

    pub(super) fn process(&self, process: u32) -> Checked<&Arc<Process>> {
        self.world.process(process).ok_or_else(|| Violation::new(API, "the workload calls only living processes", "").in_process(process))
    }

    /// A process with one node.
    pub fn add_node(&mut self, spec: &NodeSpec, options: NodeOptions, planted: Option<&str>) -> Checked<u32> {
        let process = self.world.add_process();
        if let Some(bug) = planted {
            self.process(process)?.plant(bug).map_err(|text| Violation::new(API, "a planted bug has a known name", text))?;
        }
        let kind = if spec.broker { NodeType::Broker } else { NodeType::Normal };
        let mut made = self.world.create_node(process, kind, options);
        while made.is_err() && self.unlucky() {
            made = self.world.create_node(process, kind, options);
        }
        let node = made.map_err(|error| unexpected("CreateNode", error).in_process(process))?;
        self.homes.push(Home { node: Some(node), broker: spec.broker, delegate: spec.delegate, ..Home::default() });
        Ok(process)
    }

    /// Whether a call may have failed for want of random bytes and is to be made again.
    pub(super) fn unlucky(&mut self) -> bool {
        let struck = self.world.struck().into_iter().find(|struck| struck.fault == Fault::RefuseRandom).map_or(0, |struck| struck.did);
        std::mem::replace(&mut self.bad_luck, struck) < struck
    }

    /// Opens a pipe in a process; answers the first of its ends.
    pub fn open(&mut self, process: u32, role: Role) -> Checked<EndId> {
        self.calls.opens += 1;
        let node = self.homes[process as usize].node.ok_or_else(|| Violation::new(API, "a process has a node", "").in_process(process))?;
        let made = self.process(process)?.open_portals(node);
        let (a, b) = made.map_err(|error| unexpected("OpenPortals", error).in_process(process))?;
        self.calls.made += 1;
        self.trace(process, call::OPEN, &[a.to_bits(), b.to_bits()]);
        let end = self.adopt(role, [(process, a), (process, b)])?;
        self.note(Deed::Open { process, end });
        Ok(end)
    }

    pub(super) fn adopt(&mut self, role: Role, holders: [(u32, Handle); 2]) -> Checked<EndId> {
        let end = self.ghost.open(role, holders);
        for (end, (process, handle)) in [end, end.twin()].into_iter().zip(holders) {
            self.house(end, process, handle);
            self.carry_out(process, Job::Watch { end })?;
        }
        Ok(end)
    }

    fn trace(&self, process: u32, what: u16, words: &[u64]) {
        self.world.trace(|trace| trace.call(process, what, words, &[]));
    }

    fn house(&mut self, end: EndId, process: u32, handle: Handle) {
        let (list, handles) = self.homes[process as usize].list(self.ghost.pipe(end).role);
        self.ghost.end_mut(end).slot = list.len() as u32;
        list.push(end);
        handles.push(handle);
        if self.checks.hostility.is(process) {
            self.ghost.taint(end);
        }
    }

    fn unhouse(&mut self, end: EndId, process: u32, slot: u32) {
        let (list, handles) = self.homes[process as usize].list(self.ghost.pipe(end).role);
        list.swap_remove(slot as usize);
        handles.swap_remove(slot as usize);
        if let Some(moved) = list.get(slot as usize) {
            self.ghost.end_mut(*moved).slot = slot;
        }
    }

    /// Closes an end, if its holder still has it.
    pub fn close(&mut self, end: EndId) -> Checked {
        if self.ghost.holder(end).is_some() {
            self.note(Deed::Close { end });
        }
        self.later(end, Job::Close { end })
    }

    /// Merges two ends, if somebody has both.
    pub fn merge(&mut self, end: EndId, with: EndId) -> Checked {
        if self.ghost.holder(end).is_some() && self.ghost.holder(with).is_some() {
            self.note(Deed::Merge { end, with });
        }
        self.later(end, Job::Merge { end, with })
    }

    /// A job for whoever holds `end`; nothing if nobody does.
    pub(super) fn later(&mut self, end: EndId, job: Job) -> Checked {
        match self.ghost.holder(end) {
            Some((process, _)) => self.carry_out(process, job),
            None => Ok(()),
        }
    }

    /// Does a job: now, or when the process's thread comes to it.
    pub(super) fn carry_out(&mut self, process: u32, job: Job) -> Checked {
        if let Some(threads) = &mut self.threads {
            threads.add(process, job);
            return Ok(());
        }
        let mut next = self.begin(job)?;
        while let Some(call) = next {
            let answer = perform(self.process(call.process)?, &call.doing);
            next = self.finish(call, answer)?;
        }
        Ok(())
    }

    /// Jobs that are queued from now on belong to this errand.
    pub fn count_for(&mut self, errand: Option<u32>) {
        if let Some(threads) = &mut self.threads {
            threads.count_for(errand);
        }
    }

    /// A job of an errand is done.
    pub fn done(&mut self, errand: Option<u32>) {
        if let Some(errand) = errand
            && self.threads.as_mut().is_some_and(|threads| threads.done(errand))
        {
            self.news.push(News::Did { errand });
        }
    }

    /// The first call of a job, with all that must be known before it; none if there is nothing left to do.
    pub fn begin(&mut self, job: Job) -> Checked<Option<Call>> {
        self.note_closed();
        match job {
            Job::Put { end, length, attached, boxes } => Ok(self.begin_put(end, length, attached, boxes)),
            Job::BeginPut { end, length, lasts } => Ok(self.begin_begin_put(end, length, lasts)),
            Job::End { open, .. } => self.begin_end(open),
            Job::Query { end } => Ok(self.begin_query(end)),
            Job::Close { end } => Ok(self.begin_close(end)),
            Job::Merge { end, with } => Ok(self.begin_merge(end, with)),
            Job::Read { end } => Ok(self.begin_get(end)),
            Job::Watch { end } => Ok(self.begin_trap(end)),
        }
    }

    /// A call has returned; answers the next one of the same job.
    pub fn finish(&mut self, call: Call, answer: Answer) -> Checked<Option<Call>> {
        let Call { process, end, doing } = call;
        self.calls.made += 1;
        match (doing, answer) {
            (Doing::Put { portal, data, attached, .. }, Answer::Put(result)) => {
                let words = [portal.to_bits(), data.len() as u64, attached.map_or(0, |it| it.handle.to_bits()), result.is_ok().into()];
                self.payload = data;
                self.trace(process, call::PUT, &words);
                self.finish_put(process, end, attached, result).map(|()| None)
            }
            (Doing::BeginPut { portal, length, partial, lasts }, Answer::BeginPut(result)) => {
                self.trace(process, call::BEGIN_PUT, &[portal.to_bits(), length as u64, u64::from(result.is_ok())]);
                self.finish_begin_put((process, end, portal), (length, partial, lasts), result).map(|()| None)
            }
            (Doing::EndPut { portal, data, open, .. }, Answer::EndPut(result)) => {
                let bytes = data.as_ref().map_or(u64::MAX, |data| data.len() as u64);
                self.trace(process, call::END_PUT, &[portal.to_bits(), bytes, u64::from(result.is_ok())]);
                self.finish_end_put(process, end, open, data.is_some(), result).map(|()| None)
            }
            (Doing::Measure { portal, told }, Answer::Measure(result)) => {
                self.trace(process, call::MEASURE, &[portal.to_bits(), u64::from(result.is_ok())]);
                self.finish_measure((process, end, portal), told, result)
            }
            (Doing::Keep { portal, told }, Answer::Keep(result)) => {
                self.trace(process, call::KEEP, &[portal.to_bits(), u64::from(result.is_ok())]);
                self.finish_keep((process, end, portal), told, result)
            }
            (Doing::TakeKept { parcel, left, open }, Answer::TakeKept(result)) => {
                self.trace(process, call::TAKE_KEPT, &[parcel.to_bits(), u64::from(left), u64::from(result.is_ok())]);
                self.finish_take_kept(process, parcel, (left, open), result)
            }
            (Doing::BeginGet { portal, told, overlapped }, Answer::BeginGet(result)) => {
                self.trace(process, call::BEGIN_GET, &[portal.to_bits(), u64::from(overlapped), u64::from(result.is_ok())]);
                self.finish_begin_get((process, end, portal), (told, overlapped), result)
            }
            (Doing::EndGet { portal, how, open, .. }, Answer::EndGet(result)) => {
                self.trace(process, call::END_GET, &[portal.to_bits(), how as u64, u64::from(result.is_ok())]);
                self.finish_end_get((process, end), open, how, result).map(|()| None)
            }
            (Doing::Query { portal }, Answer::Query(result)) => {
                self.trace(process, call::QUERY, &[portal.to_bits(), u64::from(result.is_ok())]);
                self.finish_query(process, end, result).map(|()| None)
            }
            (Doing::Close { portal }, Answer::Close(result)) => {
                self.trace(process, call::CLOSE, &[portal.to_bits(), u64::from(result.is_ok())]);
                result.map(|()| None).map_err(|error| unexpected("Close", error).in_process(process).at(end))
            }
            (Doing::Merge { portal, with, used }, Answer::Merge(result)) => {
                self.trace(process, call::MERGE, &[portal.to_bits(), with.to_bits(), u64::from(result.is_ok())]);
                let expected = if used { Err(Error::FailedPrecondition) } else { Ok(()) };
                if result == expected {
                    return Ok(None);
                }
                let text = format!("MergePortals answered {result:?}, not {expected:?}");
                Err(Violation::new(API, "only portals that were never used are merged", text).in_process(process).at(end))
            }
            (Doing::Get { told, .. }, Answer::Get(result)) => self.finish_get(process, end, told, result),
            (Doing::Trap { context, .. }, Answer::Trap(result)) => {
                self.trace(process, call::TRAP, &[context, u64::from(result.is_ok())]);
                self.finish_trap(process, end, result)
            }
            (doing, answer) => unreachable!("{doing:?} does not answer {answer:?}"),
        }
    }

    /// The end that a process holds by this handle.
    pub fn find(homes: &[Home], ghost: &Ghost, process: u32, handle: Handle) -> Option<EndId> {
        homes.get(process as usize)?.find(handle).filter(|end| ghost.holder(*end) == Some((process, handle)))
    }
}

pub(super) const API: &str = "api";

pub(super) fn unexpected(call: &str, error: Error) -> Box<Violation> {
    Violation::new(API, "a call answers what api.md says", format!("{call} answered: {error}"))
}
