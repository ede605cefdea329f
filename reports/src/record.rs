//! What a report is made of: plain records, filled by whoever ran something. Times are nanoseconds, sizes bytes.

use serde::{Deserialize, Serialize};

/// Everything one page tells: one run, or one sweep over many seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// What ran.
    pub run: Run,
    /// The first violation, if a property did not hold.
    pub failure: Option<Failure>,
    /// Each checker that looked, in the order to show them.
    pub checkers: Vec<Checker>,
    /// One entry a seed. A sweep may hand in only some of its seeds; [`Sweep`] counts them all.
    pub results: Vec<SeedResult>,
    /// Totals of a sweep; `None` for a single run.
    pub sweep: Option<Sweep>,
    /// Messages sent, by kind.
    pub messages: Vec<Count>,
    /// What the scenario demanded to happen, beside what did.
    pub requirements: Vec<Requirement>,
    /// The route graph at the end of the run.
    pub graph: Option<RouteGraph>,
}

/// What ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The scenario's name.
    pub scenario: String,
    /// What the scenario is for, in a sentence.
    pub purpose: String,
    /// Settings after defaults, file and command line were resolved.
    pub settings: Vec<Setting>,
    /// The seeds, as a person would write them: `7`, or `1..=1000`.
    pub seeds: String,
    /// Version of the code that ran.
    pub version: String,
}

/// One resolved setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name, as in the scenario file.
    pub name: String,
    /// Its value, printed.
    pub value: String,
}

/// A property that did not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Name of the property, as its checker's.
    pub property: String,
    /// Where: the node, router, link or portal.
    pub place: String,
    /// What was expected and what was found; may be empty.
    pub detail: String,
    /// Virtual time of the violation.
    pub virtual_ns: u64,
    /// Seed of the run it happened in.
    pub seed: u64,
    /// Step (number of the event) it was seen after.
    pub step: u64,
    /// The command that shows it again.
    pub replay: String,
    /// Messages around the violation, oldest first.
    pub messages: Vec<TraceLine>,
    /// Index in `messages` of the one that violated the property, if one did.
    pub violation: Option<usize>,
}

/// One message of a trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceLine {
    /// Virtual time.
    pub virtual_ns: u64,
    /// The sending node.
    pub from: String,
    /// The receiving node.
    pub to: String,
    /// The message, in one line.
    pub text: String,
}

/// A checker and how often it looked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checker {
    /// Name of the property it checks.
    pub name: String,
    /// How often it was evaluated.
    pub checks: u64,
    /// Cases it let pass, counted by the reason's name.
    pub exemptions: Vec<Count>,
}

/// How often something named occurred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// What was counted.
    pub name: String,
    /// How often.
    pub count: u64,
}

/// What the run of one seed came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// Whether every property held.
    pub held: bool,
    /// Events carried out.
    pub events: u64,
    /// Messages sent.
    pub messages: u64,
    /// Bypasses completed.
    pub bypasses: u64,
    /// Most proxies at any one time.
    pub peak_proxies: u64,
    /// Virtual time at the end.
    pub virtual_ns: u64,
    /// Wall time the run took.
    pub wall_ns: u64,
    /// Most memory in use, if it was measured.
    pub memory_bytes: Option<u64>,
    /// Virtual time from the last API call to rest; `None` if the run did not come to rest.
    pub rest_ns: Option<u64>,
    /// Hash over the whole trace, printed.
    pub fingerprint: String,
}

/// Totals over all seeds of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds of which a property did not hold.
    pub failed: u64,
    /// Different fingerprints among them.
    pub distinct_fingerprints: u64,
    /// Different orders of events among them.
    pub distinct_orders: u64,
}

/// Something the scenario demanded to happen a number of times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requirement {
    /// What is counted.
    pub name: String,
    /// How often it had to happen.
    pub demanded: Demand,
    /// How often it did.
    pub reached: u64,
}

impl Requirement {
    /// Whether what was reached is what was demanded.
    pub fn met(&self) -> bool {
        match self.demanded {
            Demand::AtLeast(n) => self.reached >= n,
            Demand::AtMost(n) => self.reached <= n,
            Demand::Exactly(n) => self.reached == n,
        }
    }
}

/// A bound on a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Demand {
    /// This often or more.
    AtLeast(u64),
    /// This often or less.
    AtMost(u64),
    /// Just this often.
    Exactly(u64),
}

/// Nodes, the routers in them, and the links between routers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteGraph {
    /// The nodes, in the order to draw them.
    pub nodes: Vec<GraphNode>,
    /// The links between routers.
    pub links: Vec<GraphLink>,
}

/// A node and its routers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphNode {
    /// The node's name.
    pub name: String,
    /// Its routers.
    pub routers: Vec<GraphRouter>,
}

/// A router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphRouter {
    /// The router's name.
    pub name: String,
    /// What it does on its route.
    pub kind: RouterKind,
}

/// What a router does on its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RouterKind {
    /// An end of the route: a portal has it.
    Terminal,
    /// Passes parcels on.
    Proxy,
    /// One of a pair that joins two merged routes.
    Bridge,
}

/// A link between two routers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphLink {
    /// One end.
    pub a: RouterRef,
    /// The other end.
    pub b: RouterRef,
    /// What it is on its route.
    pub kind: LinkKind,
}

/// A router by its place in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RouterRef {
    /// Index in [`RouteGraph::nodes`].
    pub node: usize,
    /// Index in [`GraphNode::routers`].
    pub router: usize,
}

/// What a link is on its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkKind {
    /// The one link between the two sides of a route.
    Central,
    /// A link of one side.
    Peripheral,
    /// A link being bypassed, on its way out.
    Decaying,
    /// A link between two routers of one node.
    Local,
}

impl RouteGraph {
    /// Whether both ends of `link` are in this graph.
    pub(crate) fn has(&self, link: &GraphLink) -> bool {
        [link.a, link.b].iter().all(|end| self.nodes.get(end.node).is_some_and(|node| end.router < node.routers.len()))
    }
}
