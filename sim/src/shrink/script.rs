//! A workload without chance: what was done to which portal, in order. Where something happens follows from what was handed where
//! before, so that a script with something left out is a script again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::app::{Act, Deed};
use crate::fault::Strengths;
use crate::ghost::EndId;
use crate::scenario::{NodeId, Scenario};

/// A pipe of the set-up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Who holds its ends.
    pub nodes: [NodeId; 2],
}

/// Something that is done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Op {
    /// Not before this time after set-up.
    pub at_ns: u64,
    /// What.
    pub verb: Verb,
}

/// What is done. Ends are numbered as the ledger numbered them in the first run: connections, set-up pipes, then those that were opened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the fields are what their verbs need")]
pub enum Verb {
    Open {
        pipe: usize,
        node: NodeId,
    },
    Send {
        end: EndId,
        count: u64,
        bytes: u64,
        boxes: u64,
    },
    /// `to`: where it arrived, if it did.
    Hand {
        end: EndId,
        over: EndId,
        to: Option<NodeId>,
    },
    Close {
        end: EndId,
    },
    Merge {
        end: EndId,
        with: EndId,
    },
    CutLink {
        nodes: [NodeId; 2],
    },
    CutNode {
        node: NodeId,
    },
}

impl Verb {
    /// Whether it cuts a link or ends a node.
    pub fn is_cut(&self) -> bool {
        matches!(self, Verb::CutLink { .. } | Verb::CutNode { .. })
    }

    /// The opened pipe that it is about.
    pub fn pipe(&self) -> Option<usize> {
        match self {
            Verb::Open { pipe, .. } => Some(*pipe),
            Verb::Send { end, .. } | Verb::Hand { end, .. } | Verb::Close { end } | Verb::Merge { end, .. } => Some(end.pipe()),
            Verb::CutLink { .. } | Verb::CutNode { .. } => None,
        }
    }
}

/// Where an operation happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The node that does it; none does a cut.
    pub on: Option<NodeId>,
    /// Of a `hand`: the node where the portal arrives.
    pub to: Option<NodeId>,
}

/// A world and what is done in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// What it was at first; nodes and connections are called by their places in it.
    pub base: Arc<Scenario>,
    /// Nodes that are left.
    pub nodes: BTreeSet<NodeId>,
    /// Pipes of the set-up that are left, by the number of the pipe.
    pub known: BTreeMap<usize, Known>,
    /// What is done, in order.
    pub ops: Vec<Op>,
    /// Latency of each connection, and of every other link.
    pub latencies: Vec<u64>,
    /// Jitter likewise.
    pub jitters: Vec<u64>,
    /// As [`Scenario::memory`] and [`Scenario::run`].
    pub inline: Option<u64>,
    /// As [`Scenario::memory`].
    pub link_capacity: Option<u64>,
    /// As [`Scenario::run`].
    pub settle: Option<u64>,
    /// Whether what can't be done is left out.
    pub partial: bool,
    /// Whether a message is dropped as the scenario says.
    pub drop: bool,
    /// Kinds of faults that may strike.
    pub faults: Strengths,
}

impl Script {
    /// What was done in a run of a scenario.
    pub fn of(scenario: &Scenario, acts: &[Act]) -> Script {
        let base = Arc::new(Scenario { steps: Vec::new(), random: None, swarm: None, ..scenario.clone() });
        let first = base.connects.len();
        let known = base.pipes.iter().enumerate();
        let known = known.map(|(at, pipe)| (first + at, Known { name: pipe.name.clone(), nodes: [pipe.a, pipe.b] })).collect();
        let per_link = |own: &dyn Fn(usize) -> u64, common| (0..first).map(own).chain([common]).collect();
        Script {
            nodes: (0..base.nodes.len()).collect(),
            known,
            ops: ops(acts),
            latencies: per_link(&|at| base.connects[at].latency_ns, base.latency_ns),
            jitters: per_link(&|at| base.connects[at].jitter_ns, base.jitter_ns),
            inline: base.memory.inline,
            link_capacity: base.memory.link_capacity,
            settle: base.run.settle,
            partial: true,
            drop: base.loss.is_some(),
            faults: base.faults.clone(),
            base,
        }
        .valid()
    }

    /// The first pipe that is neither a connection's nor of the set-up.
    pub fn first_opened(&self) -> usize {
        self.base.connects.len() + self.base.pipes.len()
    }

    /// Connections that are left.
    pub fn connects(&self) -> impl Iterator<Item = usize> + '_ {
        let both =
            |at: &usize| [self.base.connects[*at].client, self.base.connects[*at].broker].iter().all(|node| self.nodes.contains(node));
        (0..self.base.connects.len()).filter(both)
    }

    /// Where an end of the set-up is.
    fn home(&self, end: EndId) -> Option<NodeId> {
        let side = usize::from(!end.is_first());
        let home = match self.base.connects.get(end.pipe()) {
            Some(link) => {
                let nodes = [link.client, link.broker];
                nodes.iter().all(|node| self.nodes.contains(node)).then_some(nodes[side])?
            }
            None => self.known.get(&end.pipe())?.nodes[side],
        };
        Some(home)
    }

    /// Where each operation happens; none for one that is impossible by now: its pipe was never opened, or is elsewhere.
    pub fn places(&self) -> Vec<Option<Place>> {
        let mut homes = BTreeMap::new();
        let mut visited = BTreeSet::new();
        for op in &self.ops {
            match op.verb {
                Verb::Open { pipe, node } => drop(homes.insert(pipe, node)),
                Verb::Hand { end, to: Some(to), .. } => drop(visited.insert((end, to))),
                _ => (),
            }
        }
        // A portal that goes elsewhere now is no destination where it went in the first run.
        loop {
            let mut walk =
                Walk { script: self, at: BTreeMap::new(), last: BTreeMap::new(), homes: &homes, visited: &visited, peers: BTreeMap::new() };
            let places: Vec<_> = self.ops.iter().map(|op| walk.take(&op.verb)).collect();
            let went = |(op, place): (&Op, &Option<Place>)| match op.verb {
                Verb::Hand { end, .. } => Some((end, (*place)?.to?)),
                _ => None,
            };
            let real: BTreeSet<(EndId, NodeId)> = self.ops.iter().zip(&places).filter_map(went).collect();
            if visited.is_subset(&real) {
                return places;
            }
            visited.retain(|visit| real.contains(visit));
        }
    }

    /// Without what is impossible.
    pub fn valid(mut self) -> Script {
        loop {
            let places = self.places();
            if places.iter().all(Option::is_some) {
                return self;
            }
            self.ops =
                std::mem::take(&mut self.ops).into_iter().zip(places).filter(|(_, place)| place.is_some()).map(|(op, _)| op).collect();
        }
    }

    /// With these operations only.
    pub fn with_ops(&self, ops: &[Op]) -> Script {
        Script { ops: ops.to_vec(), ..self.clone() }.valid()
    }

    /// With what is sent into a portal one after the other sent at once.
    pub fn together(&self) -> Script {
        let mut ops: Vec<Op> = Vec::new();
        let mut latest: BTreeMap<EndId, usize> = BTreeMap::new();
        for op in &self.ops {
            let touched = match op.verb {
                Verb::Send { end, .. } | Verb::Close { end } => [Some(end), None],
                Verb::Hand { end, over: other, .. } | Verb::Merge { end, with: other } => [Some(end), Some(other)],
                _ => [None; 2],
            };
            if let Verb::Send { end, count: more, bytes: most, boxes: of } = op.verb
                && let Some(Op { verb: Verb::Send { count, bytes, boxes, .. }, .. }) = latest.get(&end).and_then(|at| ops.get_mut(*at))
            {
                *count += more;
                *bytes = most.max(*bytes);
                *boxes = of.max(*boxes);
                continue;
            }
            for end in touched.into_iter().flatten() {
                latest.insert(end, ops.len());
            }
            ops.push(op.clone());
        }
        self.with_ops(&ops)
    }

    /// Nodes that something happens on, or that somebody needs to be connected.
    pub fn used(&self) -> BTreeSet<NodeId> {
        let places = self.places();
        let mut used: BTreeSet<NodeId> = places.iter().flatten().flat_map(|place| [place.on, place.to]).flatten().collect();
        used.extend(self.known.values().flat_map(|known| known.nodes));
        used.extend(self.faults.values().filter_map(|how| how.nth).map(|(on, _)| on as NodeId));
        for op in &self.ops {
            match op.verb {
                Verb::CutLink { nodes } => used.extend(nodes),
                Verb::CutNode { node } => used.extend([node]),
                _ => (),
            }
        }
        loop {
            let brokers: Vec<NodeId> = self
                .connects()
                .map(|at| &self.base.connects[at])
                .filter(|link| used.contains(&link.client))
                .map(|link| link.broker)
                .collect();
            let before = used.len();
            used.extend(brokers);
            if used.len() == before {
                break;
            }
        }
        if !used.iter().any(|node| self.base.nodes[*node].broker) {
            used.extend(self.nodes.iter().copied().find(|node| self.base.nodes[*node].broker));
        }
        used
    }

    /// Pipes of the set-up that something is put into.
    pub fn used_pipes(&self) -> BTreeSet<usize> {
        let ends = self.ops.iter().flat_map(|op| match op.verb {
            Verb::Send { end, .. } | Verb::Close { end } => [Some(end), None],
            Verb::Hand { end, over: other, .. } | Verb::Merge { end, with: other } => [Some(end), Some(other)],
            _ => [None; 2],
        });
        ends.flatten().map(EndId::pipe).collect()
    }

    /// Node `gone` becomes `kept`: what was done on it is done there, over its connections.
    pub fn merge(&self, gone: NodeId, kept: NodeId) -> Script {
        let mut script = self.clone();
        script.nodes.remove(&gone);
        let node = |node: NodeId| if node == gone { kept } else { node };
        for known in script.known.values_mut() {
            known.nodes = known.nodes.map(node);
        }
        script.known.retain(|_, known| known.nodes[0] != known.nodes[1]);
        let connects = &self.base.connects;
        let twin = |link: usize| {
            let old = &connects[link];
            (old.client == gone).then(|| connects.iter().position(|new| new.client == kept && new.broker == old.broker)).flatten()
        };
        let end = |end: EndId| match connects.get(end.pipe()).and_then(|_| twin(end.pipe())) {
            Some(link) => EndId(2 * link as u32 + end.0 % 2),
            None => end,
        };
        for op in &mut script.ops {
            match &mut op.verb {
                Verb::Open { node: at, .. } | Verb::CutNode { node: at } => *at = node(*at),
                Verb::Hand { over, to, .. } => (*over, *to) = (end(*over), to.map(node)),
                Verb::Send { end: at, .. } | Verb::Close { end: at } => *at = end(*at),
                Verb::Merge { end: first, with } => (*first, *with) = (end(*first), end(*with)),
                Verb::CutLink { nodes } => *nodes = nodes.map(node),
            }
        }
        for (on, _) in script.faults.values_mut().filter_map(|how| how.nth.as_mut()) {
            *on = node(*on as NodeId) as u32;
        }
        script.ops.retain(|op| !matches!(op.verb, Verb::CutLink { nodes: [a, b] } if a == b));
        script.valid()
    }
}

/// From acts to operations.
fn ops(acts: &[Act]) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    let mut hands: BTreeMap<EndId, usize> = BTreeMap::new();
    for act in acts {
        let at_ns = act.at_ns;
        let verb = match act.deed {
            Deed::Open { process, end } => Verb::Open { pipe: end.pipe(), node: process as NodeId },
            Deed::Send { end, bytes, boxes } => {
                if let Some(Op { at_ns: at, verb: Verb::Send { end: same, count, bytes: of, boxes: with } }) = ops.last_mut()
                    && (*at, *same, *of, *with) == (at_ns, end, bytes, boxes)
                {
                    *count += 1;
                    continue;
                }
                Verb::Send { end, count: 1, bytes, boxes }
            }
            Deed::Hand { end, over } => {
                hands.insert(end, ops.len());
                Verb::Hand { end, over, to: None }
            }
            Deed::Close { end } => Verb::Close { end },
            Deed::Merge { end, with } => Verb::Merge { end, with },
            Deed::Arrived { end, process } => {
                if let Some(Op { verb: Verb::Hand { to, .. }, .. }) = hands.get(&end).and_then(|at| ops.get_mut(*at)) {
                    *to = Some(process as NodeId);
                }
                continue;
            }
            Deed::Took { .. } | Deed::Died { .. } => continue,
            Deed::CutLink { processes: [a, b] } => Verb::CutLink { nodes: [a as NodeId, b as NodeId] },
            Deed::CutNode { process } => Verb::CutNode { node: process as NodeId },
        };
        ops.push(Op { at_ns, verb });
    }
    ops
}

/// Follows every portal through a script.
struct Walk<'a> {
    script: &'a Script,
    /// Where opened portals are that are not closed.
    at: BTreeMap<EndId, NodeId>,
    /// Where they were last.
    last: BTreeMap<EndId, NodeId>,
    /// Where pipes are opened.
    homes: &'a BTreeMap<usize, NodeId>,
    /// Where portals are handed to, at any time.
    visited: &'a BTreeSet<(EndId, NodeId)>,
    /// Peers of ends that have another one than they were opened with.
    peers: BTreeMap<EndId, EndId>,
}

impl Walk<'_> {
    fn find(&self, end: EndId) -> Option<NodeId> {
        if end.pipe() < self.script.first_opened() { self.script.home(end) } else { self.at.get(&end).copied() }
    }

    /// Whether an end is, was or comes to be there.
    fn visits(&self, end: EndId, node: NodeId) -> bool {
        self.homes.get(&end.pipe()) == Some(&node) || self.visited.contains(&(end, node))
    }

    fn peer(&self, end: EndId) -> EndId {
        self.peers.get(&end).copied().unwrap_or(end.twin())
    }

    /// Where what is put into `over` comes out, if it came out at `to` in the first run.
    fn destination(&self, over: EndId, to: Option<NodeId>) -> Option<NodeId> {
        let peer = self.peer(over);
        if peer.pipe() < self.script.first_opened() {
            return self.script.home(peer);
        }
        to.filter(|to| self.visits(peer, *to)).or_else(|| self.last.get(&peer).copied())
    }

    fn take(&mut self, verb: &Verb) -> Option<Place> {
        let here = |node: &NodeId| self.script.nodes.contains(node);
        let place = match *verb {
            Verb::Open { pipe, node } => {
                let ends = [EndId(2 * pipe as u32), EndId(2 * pipe as u32 + 1)];
                if !here(&node) || self.last.contains_key(&ends[0]) {
                    return None;
                }
                self.at.extend(ends.map(|end| (end, node)));
                self.last.extend(ends.map(|end| (end, node)));
                Place { on: Some(node), to: None }
            }
            Verb::Send { end, .. } => Place { on: Some(self.find(end)?), to: None },
            Verb::Close { end } => {
                let on = self.find(end)?;
                if end.pipe() >= self.script.first_opened() {
                    self.at.remove(&end);
                }
                Place { on: Some(on), to: None }
            }
            Verb::Merge { end, with } => {
                let on = self.at.get(&end).copied()?;
                if end == with || self.peer(end) == with || self.at.get(&with) != Some(&on) {
                    return None;
                }
                for end in [end, with] {
                    self.at.remove(&end);
                }
                let [p, q] = [self.peer(end), self.peer(with)];
                self.peers.extend([(p, q), (q, p)]);
                Place { on: Some(on), to: None }
            }
            Verb::Hand { end, over, to } => {
                let on = self.at.get(&end).copied()?;
                if end == over || self.peer(end) == over || self.find(over)? != on {
                    return None;
                }
                let to = self.destination(over, to).filter(here)?;
                self.at.insert(end, to);
                self.last.insert(end, to);
                Place { on: Some(on), to: Some(to) }
            }
            Verb::CutLink { nodes } => {
                if !nodes.iter().all(here) {
                    return None;
                }
                Place { on: None, to: None }
            }
            Verb::CutNode { node } => {
                if !here(&node) {
                    return None;
                }
                Place { on: None, to: None }
            }
        };
        Some(place)
    }
}
