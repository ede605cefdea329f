//! What a run was told and what it came to: plain data for the command line and for reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ipcz::ids::RouterKey;
use ipcz::probe::Counts;

use crate::app::Act;
use crate::choice::{Log, Source};
use crate::events::Hold;
use crate::fault::{Hit, Struck};
use crate::fine::{self, Fine};
use crate::ghost::EndId;
use crate::hostile::Told;
use crate::policy::{Length, PolicySpec};
use crate::scenario::Scenario;
use crate::trace::Recent;
use crate::world::{OrderReport, Wrap};

/// How a scenario is run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Which run of the scenario this is.
    pub seed: u64,
    /// Decides instead of the seed: a log, a fuzzer's bytes, one way of an enumeration.
    pub source: Option<Source>,
    /// Name of a bug to arm in every process ([`ipcz::api::Process::plant`]).
    pub planted: Option<String>,
    /// How many of the last messages are kept for a failure's report.
    pub recent: usize,
    /// Whether everything that happens is recorded in [`Outcome::recording`].
    pub record: bool,
    /// Whether the trace can be read: [`Run::take_transcript`](super::Run::take_transcript).
    pub transcript: bool,
    /// Whether decisions other than option 0 are kept in [`Outcome::log`].
    pub log: bool,
    /// Whether what the applications did is kept in [`Outcome::acts`].
    pub acts: bool,
    /// Whether the route graph at rest is kept in [`Outcome::graph`]; that of a failure always is.
    pub graph: bool,
    /// Depth L1, from a point of the run on; without it L0 all the way.
    pub fine: Option<Fine>,
    /// Set from outside to end the run early, with [`Verdict::Stopped`].
    pub stop: Option<Arc<AtomicBool>>,
    /// Who decides what is next; from the end of set-up, which goes first in first out.
    pub policy: PolicySpec,
    /// About how many events a run in the default order takes, if that is known ([`measure`](super::measure)); else it is measured
    /// where the policy must know.
    pub length: Option<Length>,
    /// Order constraints beside those of the scenario; with any, nothing is timed.
    pub holds: Vec<Hold>,
    /// Whether the constraints that lead to the same order again are kept ([`OrderReport::recorded`]).
    pub record_order: bool,
    /// A driver around each process's virtual one.
    pub wrap: Option<Wrap>,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            seed: 1,
            source: None,
            planted: None,
            recent: 64,
            record: false,
            transcript: false,
            log: false,
            acts: false,
            graph: true,
            fine: None,
            stop: None,
            policy: PolicySpec::Timed,
            length: None,
            holds: Vec::new(),
            record_order: false,
            wrap: None,
        }
    }
}

/// What phase a run is in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Links and pipes of the set-up are made.
    SetUp,
    /// Steps, random workload and faults.
    Work,
    /// Nothing new begins; everything must come to rest.
    Settle,
    /// The applications have closed all they held.
    Closing,
    /// It is over.
    Done,
}

impl Phase {
    /// Its name, as printed.
    pub fn name(self) -> &'static str {
        match self {
            Phase::SetUp => "set-up",
            Phase::Work => "work",
            Phase::Settle => "settle",
            Phase::Closing => "closing",
            Phase::Done => "done",
        }
    }
}

/// How far a run is; given to the progress callback now and then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// What it does.
    pub phase: Phase,
    /// Virtual time since set-up ended, in ns.
    pub time: u64,
    /// Events carried out.
    pub events: u64,
    /// Of those, timers: the workload's and the library's.
    pub timers: u64,
    /// Messages delivered.
    pub delivered: u64,
    /// Calls of the library that returned.
    pub calls: u64,
    /// Of those, calls that moved something ([`Calls::moved`]).
    pub moved: u64,
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Every property held and every requirement was met.
    Held,
    /// A property did not hold.
    Violated(Box<Failure>),
    /// Every property held, but something the scenario demands did not happen.
    Unmet(Vec<Requirement>),
    /// It was told to stop.
    Stopped,
}

/// A property that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The property (`delivered exactly once, in order`).
    pub property: &'static str,
    /// The checker that saw it (`delivery`), as in [`Outcome::checks`].
    pub checker: &'static str,
    /// What was expected and what was found, for people.
    pub text: String,
    /// Virtual time since set-up ended, in ns; 0 during set-up.
    pub time: u64,
    /// The event after which it was seen, counted from the world's beginning.
    pub event: u64,
    /// When it was seen.
    pub phase: Phase,
    /// The process, hence node of the scenario, if it is about one.
    pub process: Option<u32>,
    /// The portal (`pipe 7 end 1`, or its name in the scenario), if it is about one.
    pub portal: Option<String>,
}

/// What a scenario demands, beside what happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Requirement {
    /// The key of `[require]`.
    pub name: &'static str,
    /// What it is about, if the key has several: `a1 b1` for `direct`.
    pub about: Option<String>,
    /// What was demanded.
    pub demanded: u64,
    /// Whether `demanded` is an upper limit.
    pub at_most: bool,
    /// What was reached.
    pub reached: u64,
    /// Whether that is enough.
    pub met: bool,
}

/// Messages of a part of a run, counted when they are transmitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// All messages.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages handed to a process.
    pub delivered: u64,
    /// Messages that a fault or a dead end swallowed.
    pub lost: u64,
    /// Messages by id (wire.md 9.1); [`ipcz::wire::message_name`] names them.
    pub by_id: [u64; 256],
}

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic { messages: 0, bytes: 0, delivered: 0, lost: 0, by_id: [0; 256] }
    }
}

impl Traffic {
    /// What was transmitted since `before`.
    pub(super) fn since(&self, before: &Traffic) -> Traffic {
        Traffic {
            messages: self.messages - before.messages,
            bytes: self.bytes - before.bytes,
            delivered: self.delivered - before.delivered,
            lost: self.lost - before.lost,
            by_id: std::array::from_fn(|id| self.by_id[id] - before.by_id[id]),
        }
    }
}

/// One checker and how often it looked.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct CheckCount {
    /// Its name.
    pub name: &'static str,
    /// How often something was compared.
    pub checks: u64,
    /// What it let pass, and how often.
    pub exemptions: Vec<(&'static str, u64)>,
}

/// Calls that the workload made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Calls {
    /// Calls of the library that returned, of every kind: also gets that found nothing, traps and queries.
    pub made: u64,
    /// Pipes opened.
    pub opens: u64,
    /// Parcels put, those that carry a portal included.
    pub puts: u64,
    /// Parcels taken.
    pub gets: u64,
    /// Portals closed.
    pub closes: u64,
    /// `MergePortals`.
    pub merges: u64,
    /// Portals put into parcels.
    pub hands: u64,
    /// Links and nodes cut.
    pub cuts: u64,
}

impl Calls {
    /// Those calls that put, took, opened, closed or merged something. A `hand` is a put, a cut is no call.
    pub fn moved(&self) -> u64 {
        self.opens + self.puts + self.gets + self.closes + self.merges
    }
}

/// Greatest numbers of things alive at one time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Peaks {
    /// Routers that only pass parcels on.
    pub proxies: u64,
    /// Pipes with an end not yet closed.
    pub pipes: u64,
    /// Messages under way.
    pub messages: u64,
    /// Events waiting.
    pub events: u64,
    /// Memory pages with content of their own.
    pub pages: u64,
}

/// When no proxy was left any more, for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LastProxy {
    /// Virtual time since set-up ended, in ns.
    pub at_ns: u64,
    /// What was transmitted from the end of set-up until then.
    pub traffic: Traffic,
}

/// Something that happened, for reports; only with [`RunOptions::record`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recorded {
    /// A message was transmitted. It is delivered at the [`Recorded::Delivered`] of the same `transport` and direction, in order.
    Sent {
        /// Virtual time since the world began, in ns.
        time: u64,
        /// The sending process.
        from: u32,
        /// The process that held the far end or got the message later, `u32::MAX` if nobody ever did.
        to: u32,
        /// The transport pair.
        transport: u32,
        /// Message id.
        id: u8,
        /// Bytes.
        length: u32,
        /// The message in one line.
        text: String,
    },
    /// A message was handed to a process.
    Delivered {
        /// Virtual time since the world began, in ns.
        time: u64,
        /// The sending process.
        from: u32,
        /// The receiving process.
        to: u32,
        /// The transport pair.
        transport: u32,
        /// Message id.
        id: u8,
    },
    /// The application did or saw something.
    App {
        /// Virtual time since the world began, in ns.
        time: u64,
        /// The process; `u32::MAX` for cuts.
        process: u32,
        /// What, in one line.
        text: String,
    },
}

/// Fills in who got messages that were sent while nobody held the far end of their transport.
pub(super) fn name_receivers(recording: &mut [Recorded]) {
    let delivered = recording.iter().filter_map(|recorded| match *recorded {
        Recorded::Delivered { from, to, transport, .. } => Some(((transport, from), to)),
        _ => None,
    });
    let receivers: BTreeMap<(u32, u32), u32> = delivered.collect();
    for recorded in recording {
        if let Recorded::Sent { from, to, transport, .. } = recorded
            && *to == u32::MAX
        {
            *to = receivers.get(&(*transport, *from)).copied().unwrap_or(u32::MAX);
        }
    }
}

/// What a router is on its route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouterKind {
    /// A portal has it.
    Terminal,
    /// It passes parcels on.
    Proxy,
    /// It is one of the two that merged portals became.
    Bridge,
}

/// What a link is on its route.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// Between the two sides of a route, over a node link.
    Central,
    /// Of one side.
    Peripheral,
    /// On its way out.
    Decaying,
    /// Between two routers of one process.
    Local,
}

/// The route graph of a whole world, for drawing.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct GraphData {
    /// Each router: its process, its key there and what it is.
    pub routers: Vec<(u32, RouterKey, RouterKind)>,
    /// Each link: the routers at its ends (indexes of `routers`) and what it is.
    pub links: Vec<(usize, usize, LinkKind)>,
}

/// What a run came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Whether it is as it should be.
    pub verdict: Verdict,
    /// The seed it ran with.
    pub seed: u64,
    /// Names of the processes: those of the scenario's nodes, in its order.
    pub processes: Vec<String>,
    /// Events carried out, set-up included.
    pub events: u64,
    /// Messages of the set-up.
    pub set_up: Traffic,
    /// Messages of the run proper: work and settling, closing excluded.
    pub run: Traffic,
    /// Messages of the closing of everything.
    pub closing: Traffic,
    /// Calls of the run proper.
    pub calls: Calls,
    /// Parcels of the run proper taken at their destination.
    pub deliveries: u64,
    /// Bypasses completed.
    pub bypasses: u64,
    /// Parcels passed on by proxies.
    pub forwarded: u64,
    /// Answers of drivers to questions of the library.
    pub answers: u64,
    /// Introductions completed: pairs of nodes.
    pub introductions: u64,
    /// How often each fault of the scenario could have struck and did.
    pub struck: Vec<Struck>,
    /// How often each lie of the scenario was told.
    pub told: Vec<Told>,
    /// Why honest nodes dropped links.
    pub blames: Vec<String>,
    /// The faults that struck, in order.
    pub hits: Vec<Hit>,
    /// Transitions of the protocol, set-up included, closing not.
    pub probes: Counts,
    /// Greatest numbers.
    pub peaks: Peaks,
    /// When the last proxy went. `None` if there was none, if one stayed or died with its node, and at depth L1, where nobody looks.
    pub last_proxy: Option<LastProxy>,
    /// Steps that were never done, with what they wait for; only cuts can leave any.
    pub undone: Vec<String>,
    /// Virtual time of set-up, in ns.
    pub set_up_ns: u64,
    /// Virtual time of the run proper, in ns: from the end of set-up to the end of the workload, then to rest. 0 if not reached.
    pub work_ns: u64,
    /// From the end of set-up to rest.
    pub rest_ns: u64,
    /// Hash over everything that happened.
    pub fingerprint: u128,
    /// Hash over the order in which parcels were taken.
    pub delivery_order: u64,
    /// Every checker, always in the same order.
    pub checks: Vec<CheckCount>,
    /// Every requirement of the scenario; empty unless the run came to rest.
    pub requirements: Vec<Requirement>,
    /// The route graph at rest, before everything is closed, or at the failure.
    pub graph: GraphData,
    /// The last messages before the end or the failure.
    pub last_messages: Vec<Recent>,
    /// What happened, with [`RunOptions::record`].
    pub recording: Vec<Recorded>,
    /// The policy that the run had: of a portfolio, that of the seed.
    pub policy: PolicySpec,
    /// How many events the policy was told that a run takes, if it had to know.
    pub length: Option<Length>,
    /// The order of the run, unless it was timed.
    pub order: Option<OrderReport>,
    /// What was decided otherwise than by option 0, with [`RunOptions::log`].
    pub log: Option<Log>,
    /// What the applications did until rest, with [`RunOptions::acts`].
    pub acts: Vec<Act>,
    /// Of each portal of the scenario, its end, once it was open; with [`RunOptions::acts`].
    pub ends: Vec<Option<EndId>>,
    /// What was done at depth L1.
    pub fine: fine::Counts,
}

impl Outcome {
    /// Of a run in which nothing has happened.
    pub(super) fn begin(scenario: &Scenario, seed: u64) -> Outcome {
        Outcome {
            verdict: Verdict::Stopped,
            seed,
            processes: scenario.nodes.iter().map(|node| node.name.clone()).collect(),
            events: 0,
            set_up: Traffic::default(),
            run: Traffic::default(),
            closing: Traffic::default(),
            calls: Calls::default(),
            deliveries: 0,
            bypasses: 0,
            forwarded: 0,
            answers: 0,
            introductions: 0,
            struck: Vec::new(),
            told: Vec::new(),
            blames: Vec::new(),
            hits: Vec::new(),
            probes: Counts::default(),
            peaks: Peaks::default(),
            last_proxy: None,
            work_ns: 0,
            rest_ns: 0,
            fingerprint: 0,
            delivery_order: 0,
            checks: Vec::new(),
            requirements: Vec::new(),
            graph: GraphData::default(),
            undone: Vec::new(),
            set_up_ns: 0,
            last_messages: Vec::new(),
            recording: Vec::new(),
            policy: PolicySpec::Timed,
            length: None,
            order: None,
            log: None,
            acts: Vec::new(),
            ends: Vec::new(),
            fine: fine::Counts::default(),
        }
    }

    /// The exit code of a command that ran it: 0 held, 42 violated, 44 unmet, 130 stopped.
    pub fn exit_code(&self) -> u8 {
        match self.verdict {
            Verdict::Held => 0,
            Verdict::Violated(_) => 42,
            Verdict::Unmet(_) => 44,
            Verdict::Stopped => 130,
        }
    }
}
