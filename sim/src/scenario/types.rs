//! What a scenario is once it is resolved: names are indexes, templates are filled in, every wait is explicit.

use std::collections::BTreeMap;

use ipcz::probe::Probe;

use crate::events::Hold;
use crate::fault::{Fault, Strengths};
use crate::hostile::{Lie, Lies};
use crate::world::Looseness;

/// Index of a node in [`Scenario::nodes`].
pub type NodeId = usize;
/// Index of a portal in [`Scenario::portals`].
pub type PortalId = usize;
/// Index of a step in [`Scenario::steps`].
pub type StepId = usize;

/// A whole scenario, valid by construction: every index is in range and no step waits for itself, however indirectly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// The file's `name`.
    pub name: String,
    /// One line that says what it is for.
    pub purpose: String,
    /// Every node, in file order; at least one is a broker.
    pub nodes: Vec<NodeSpec>,
    /// Links made during set-up, in file order.
    pub connects: Vec<LinkSpec>,
    /// Pipes between two clients of one broker, made during set-up after all links, in file order.
    pub pipes: Vec<PipeSpec>,
    /// Every portal that has a name: both ends of each link's pipe, of each set-up pipe and of each `open`.
    pub portals: Vec<PortalSpec>,
    /// One-way latency of a link that is not in `connects` (an introduced one), in ns.
    pub latency_ns: u64,
    /// Jitter of such a link: each message takes `latency_ns` plus 0 to `jitter_ns`.
    pub jitter_ns: u64,
    /// Objects cannot go over such a link: the broker relays them.
    pub brokered: bool,
    /// The steps, in file order.
    pub steps: Vec<Step>,
    /// The random workload that starts once set-up is done.
    pub random: Option<Random>,
    /// Order constraints between events.
    pub holds: Vec<Hold>,
    /// Draws a random world instead of the nodes, links and workload above.
    pub swarm: Option<Swarm>,
    /// The message that the virtual transport silently loses.
    pub loss: Option<Loss>,
    /// What goes wrong, and how often.
    pub faults: Strengths,
    /// What hostile nodes do.
    pub hostile: Lies,
    /// Limits of every node that are not the library's.
    pub limits: Caps,
    /// Sizes of link memory.
    pub memory: Memory,
    /// Constants of the run.
    pub run: Run,
    /// What must hold at the end.
    pub require: Require,
    /// Every setting (dotted path as `--set` takes it, resolved value), steps and lists left out: for printing.
    pub settings: BTreeMap<String, String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Its name: a group `n` of 3 gives `n1`, `n2`, `n3`.
    pub name: String,
    /// Whether it is a broker.
    pub broker: bool,
    /// What its threads do to the order of its messages, if it has any.
    pub loose: Option<Looseness>,
    /// Whether it cannot allocate memory: its broker does that for it.
    pub delegate: bool,
    /// Whether it offers the second memory format.
    pub mem_v2: bool,
    /// Whether it lies.
    pub hostile: bool,
}

/// A link made during set-up by ConnectNode at both ends, with one initial portal at each side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkSpec {
    /// The node that connects.
    pub client: NodeId,
    /// The broker it connects to, which may also be a broker's; or the node that refers it to its own broker.
    pub broker: NodeId,
    /// Name of the pipe between them.
    pub pipe: String,
    /// Its ends: the client's, the broker's.
    pub ends: [PortalId; 2],
    /// One-way latency in ns.
    pub latency_ns: u64,
    /// Jitter in ns: each message takes `latency_ns` plus 0 to `jitter_ns`.
    pub jitter_ns: u64,
}

/// A pipe between two non-brokers that their broker opens and hands to both during set-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipeSpec {
    /// Its name.
    pub name: String,
    /// One node.
    pub a: NodeId,
    /// The other node.
    pub b: NodeId,
    /// The broker that both are clients of.
    pub broker: NodeId,
    /// The link (index in [`Scenario::connects`]) by which the broker reaches `a`, then `b`.
    pub links: [usize; 2],
    /// Its ends: `a`'s, `b`'s.
    pub ends: [PortalId; 2],
}

/// A portal that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortalSpec {
    /// Its name; both ends of a set-up pipe have the pipe's name.
    pub name: String,
    /// The node it is on first. Ends of set-up pipes stay there.
    pub home: NodeId,
    /// The other end of its pipe.
    pub peer: PortalId,
    /// The step that opens it; `None` for ends of set-up pipes.
    pub opened_by: Option<StepId>,
}

/// Something done once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its label: `id`, or `step 3` (the file's third `[[step]]`), or `step 3[7]` (the same, repeated, for 7).
    pub id: String,
    /// The node that does it; `None` for cuts.
    pub on: Option<NodeId>,
    /// Everything that must have happened before: what the file's `after` says and what the language implies (the step's portals are
    /// on its node, earlier steps of the node with the same portal are done).
    pub after: Vec<Wait>,
    /// Not before this time after set-up, in ns.
    pub at_ns: u64,
    /// Delay between being ready and acting, in ns. 0: it acts within the input that made it ready.
    pub think_ns: u64,
    /// What is done.
    pub action: Action,
    /// Line of the file it stands on, from 1.
    pub line: usize,
}

/// One condition of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// The step is done (a `send`: its last parcel is put; a `hand`: the parcel is put).
    Done(StepId),
    /// The portal has arrived on the node at least `times` times (`times` >= 1; opening is not an arrival).
    Arrived {
        /// Which portal.
        portal: PortalId,
        /// Where.
        node: NodeId,
        /// Its how manyth arrival there.
        times: u32,
    },
    /// At least `count` parcels of `send` steps have been taken from the portal, wherever it was then.
    Received {
        /// Which portal.
        portal: PortalId,
        /// How many.
        count: u64,
    },
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Opens a pipe whose two portals are both on the step's node.
    Open {
        /// The new portals; each is the other's peer.
        portals: [PortalId; 2],
    },
    /// Connects the step's node to another one, as a [`LinkSpec`] does.
    Connect {
        /// The broker, or the node that refers it.
        to: NodeId,
        /// The initial portals: the step's node's, the other's.
        portals: [PortalId; 2],
    },
    /// Puts parcels into a portal.
    Send {
        /// The portal.
        from: PortalId,
        /// How many, at least 1.
        count: u64,
        /// Bytes of each.
        bytes: u64,
        /// Time between two of them in ns; 0: all at once.
        every_ns: u64,
        /// How long each put stays open, in ns; 0: it is made in one phase.
        open_ns: u64,
        /// Each is aborted instead of sent; only with `open_ns`.
        abort: bool,
        /// Boxes of each; only of those made in one phase.
        boxes: u64,
    },
    /// From now on parcels are taken out of a portal like this, wherever it is.
    Get {
        /// The portal.
        from: PortalId,
        /// How.
        way: Way,
    },
    /// Asks how a portal is.
    Query {
        /// The portal.
        portal: PortalId,
    },
    /// Puts one parcel that carries `portal` into `over`; the portal arrives on `to`.
    Hand {
        /// The portal that travels.
        portal: PortalId,
        /// The portal it is put into.
        over: PortalId,
        /// The node where it is taken.
        to: NodeId,
    },
    /// Closes a portal.
    Close {
        /// The portal.
        portal: PortalId,
    },
    /// Merges two portals, of which none has been used.
    Merge {
        /// The portals.
        portals: [PortalId; 2],
    },
    /// The node dies.
    CutNode {
        /// The node.
        node: NodeId,
    },
    /// The link between two nodes is cut; nothing happens if they have none then.
    CutLink {
        /// The two nodes.
        nodes: [NodeId; 2],
    },
}

/// How parcels are taken out of a portal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Way {
    /// By which calls.
    pub manner: Manner,
    /// How long a get, or a parcel that is kept, stays open, in ns.
    pub open_ns: u64,
    /// So many of the next are aborted (two-phase), or closed without a look (kept).
    pub aborts: u32,
}

/// By which calls a parcel is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Manner {
    /// Get.
    #[default]
    Plain,
    /// Get without room, then Get.
    Measured,
    /// BeginGet and EndGet; the parcel stays where it is meanwhile.
    TwoPhase,
    /// The same; the parcel leaves the queue at once.
    Overlapped,
    /// Get that keeps it as an object, from which it is taken later.
    Kept,
}

impl Manner {
    /// Every one by its name in scenarios.
    pub const NAMES: [(&str, Manner); 5] = [
        ("plain", Manner::Plain),
        ("measured", Manner::Measured),
        ("two-phase", Manner::TwoPhase),
        ("overlapped", Manner::Overlapped),
        ("kept", Manner::Kept),
    ];

    /// Whether something stays open meanwhile.
    pub fn stays_open(self) -> bool {
        matches!(self, Manner::TwoPhase | Manner::Overlapped | Manner::Kept)
    }
}

/// A random workload. It ends when the first of its limits is reached; at least one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Random {
    /// Pipes opened at random nodes at the start.
    pub pipes: u64,
    /// Virtual time it lasts, in ns.
    pub duration_ns: Option<u64>,
    /// Operations it does, over all nodes.
    pub operations: Option<u64>,
    /// Mean of the exponential gap between two operations of a node, in ns, at least 1.
    pub gap_ns: u64,
    /// How likely each verb is, relative to the others; not all 0.
    pub verbs: Verbs,
    /// Parcels of one `send`.
    pub count: Range,
    /// Bytes of one parcel.
    pub bytes: Range,
    /// How many links may be cut.
    pub cut_links: u64,
    /// How many nodes may die.
    pub cut_nodes: u64,
    /// How often an application leaves what has come to a portal unread for a while, of how many times.
    pub lazy: [u32; 2],
    /// How often a put or a get is made in two phases.
    pub two_phase: [u32; 2],
    /// How often a parcel is measured before it is taken, or kept as an object.
    pub objects: [u32; 2],
    /// How often a portal's status is asked before an operation.
    pub query: [u32; 2],
    /// How often a parcel has boxes.
    pub boxes: [u32; 2],
    /// Whether portals whose peer is closed are kept, to be used, handed on or closed like others.
    pub keep: bool,
    /// The nodes that take part, ascending, each once.
    pub on: Vec<NodeId>,
}

/// What random worlds are drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swarm {
    /// Nodes, the first broker among them; from 2.
    pub nodes: Range,
    /// Brokers, the first one among them; from 1. With more than one, clients may be referred or have no memory of their own.
    pub brokers: Range,
    /// Operations of the workload.
    pub operations: Range,
    /// Kinds of faults that may be drawn.
    pub faults: Vec<Fault>,
    /// How many of the nodes are hostile.
    pub hostile: Range,
}

/// Weights of the verbs of a random workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verbs {
    /// Open a pipe.
    pub open: u32,
    /// Send parcels.
    pub send: u32,
    /// Hand a portal on.
    pub hand: u32,
    /// Close a portal.
    pub close: u32,
    /// Merge two portals.
    pub merge: u32,
    /// Cut a link or a node.
    pub cut: u32,
}

/// A uniform choice of a whole number, both ends included; `min <= max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Least.
    pub min: u64,
    /// Greatest.
    pub max: u64,
}

/// The virtual transport silently drops one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Kind of message, as wire.md names it (`AcceptParcel`).
    pub message: String,
    /// Which one of that kind over the whole run, from 1.
    pub nth: u64,
}

/// Sizes of link memory; `None` leaves the library's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that a parcel may have to travel inside its message.
    pub inline: Option<u64>,
    /// Bytes of shared memory that a link may grow to.
    pub link_capacity: Option<u64>,
}

/// Limits of a node ([`ipcz::limits::Limits`]); `None` leaves the library's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// `link_early_parcels`.
    pub early_parcels: Option<u64>,
    /// `link_early_bytes`.
    pub early_bytes: Option<u64>,
    /// `link_buffer_waits`.
    pub buffer_waits: Option<u64>,
    /// `link_buffers`.
    pub buffers: Option<u64>,
    /// `link_sublinks`.
    pub sublinks: Option<u64>,
    /// `pending_introductions`.
    pub introductions: Option<u64>,
}

/// Constants of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// The constant c of the liveness bound; `None` leaves the engine's default.
    pub settle: Option<u64>,
    /// Steps that can't be done are left out without cuts too.
    pub partial: bool,
    /// The id of the step at which a run of depth L1 goes down to it; `None`: when set-up is over.
    pub fine: Option<String>,
}

/// What must hold at the end. Counts must be reached (at least), except `messages_max`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Require {
    /// Pairs of portals with exactly one link (or none, on one node) and no proxy between them.
    pub direct: Vec<[PortalId; 2]>,
    /// Parcels of `send` steps taken at their destination.
    pub delivered: Option<u64>,
    /// Bypasses completed.
    pub bypasses: Option<u64>,
    /// Greatest number of proxies alive at one time.
    pub proxies_peak: Option<u64>,
    /// Parcels that a proxy has passed on.
    pub forwarded: Option<u64>,
    /// Introductions completed.
    pub introductions: Option<u64>,
    /// Portals that saw their peer closed.
    pub closed: Option<u64>,
    /// Strikes of kinds of faults.
    pub faults: Vec<(Fault, u64)>,
    /// Lies told.
    pub lies: Vec<(Lie, u64)>,
    /// Messages transmitted: at most this many.
    pub messages_max: Option<u64>,
    /// Transitions of the protocol that must happen, each so often.
    pub probes: Vec<(Probe, u64)>,
}
