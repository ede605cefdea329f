//! What waits for what: follows every portal on its way from node to node, writes each implied wait out, and refuses circles.

use std::collections::{BTreeMap, VecDeque};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::EdgeRef;

use super::error::{Place, ScenarioError};
use super::names::{Nodes, Portals};
use super::read::suggest;
use super::steps::{Draft, DraftWait, Verb, Word};
use super::types::{Action, NodeId, PortalId, PortalSpec, Step, StepId, Wait};

/// Most steps of a circle that an error explains.
const MAX_EXPLAINED: usize = 8;

/// Looks up the drafts' portals and orders the steps.
pub(super) fn arrange(drafts: Vec<Draft>, nodes: &Nodes, portals: &Portals) -> Result<Vec<Step>, ScenarioError> {
    let mut plan = Plan::new(&drafts, nodes, portals)?;
    for portal in 0..portals.specs.len() {
        plan.follow(portal)?;
    }
    for (step, draft) in drafts.iter().enumerate() {
        plan.check_destination(step)?;
        for wait in &draft.after {
            plan.wait(step, wait)?;
        }
    }
    plan.refuse_circles()?;
    let Plan { actions, after, .. } = plan;
    let steps = drafts.into_iter().zip(actions).zip(after).map(|((draft, action), mut after)| {
        after.sort_unstable();
        after.dedup();
        Step { id: draft.id, on: draft.on, after, at_ns: draft.at_ns, think_ns: draft.think_ns, action, line: draft.line }
    });
    Ok(steps.collect())
}

/// Why a step can't act before another has.
#[derive(Clone, Copy)]
enum Why {
    /// They name the same portal on the same node.
    Order(PortalId),
    /// The other brings this portal to that node.
    Arrival(PortalId, NodeId),
    /// The other sends what this portal must receive.
    Parcels(PortalId),
    /// `after` says so.
    After,
}

struct Plan<'a> {
    drafts: &'a [Draft],
    nodes: &'a Nodes,
    portals: &'a Portals,
    ids: BTreeMap<&'a str, StepId>,
    actions: Vec<Action>,
    /// The steps that name each portal, in file order, and where they do.
    uses: Vec<Vec<(StepId, &'a Place)>>,
    merges: Vec<[PortalId; 2]>,
    after: Vec<Vec<Wait>>,
    /// The steps that hand a portal to a node, in the order of its way.
    arrivals: BTreeMap<(PortalId, NodeId), Vec<StepId>>,
    /// From the step that must be first to the step that waits.
    graph: DiGraph<(), Why>,
}

impl<'a> Plan<'a> {
    fn new(drafts: &'a [Draft], nodes: &'a Nodes, portals: &'a Portals) -> Result<Plan<'a>, ScenarioError> {
        let mut plan = Plan {
            drafts,
            nodes,
            portals,
            ids: BTreeMap::new(),
            actions: Vec::with_capacity(drafts.len()),
            uses: vec![Vec::new(); portals.specs.len()],
            merges: Vec::new(),
            after: vec![Vec::new(); drafts.len()],
            arrivals: BTreeMap::new(),
            graph: DiGraph::with_capacity(drafts.len(), 2 * drafts.len()),
        };
        for (step, draft) in drafts.iter().enumerate() {
            plan.graph.add_node(());
            if draft.named {
                if plan.ids.insert(&draft.id, step).is_some() {
                    return Err(draft.place.error(format!("there are two steps \"{}\"", draft.id), "an id that no other step has"));
                }
                if portals.knows(&draft.id) {
                    let message = format!("\"{}\" is the id of a step and the name of a portal or pipe", draft.id);
                    return Err(draft.place.error(message, "another id"));
                }
            }
            let action = plan.action(step)?;
            plan.actions.push(action);
        }
        Ok(plan)
    }

    fn action(&mut self, step: StepId) -> Result<Action, ScenarioError> {
        let draft = &self.drafts[step];
        Ok(match &draft.verb {
            Verb::Open(ends) => {
                for &end in ends {
                    self.uses[end].push((step, &draft.place));
                }
                Action::Open { portals: *ends }
            }
            Verb::Connect { to, portals } => {
                for &end in portals {
                    self.uses[end].push((step, &draft.place));
                }
                Action::Connect { to: *to, portals: *portals }
            }
            Verb::Send { from, count, bytes, every_ns, open_ns, abort, boxes } => {
                let from = self.use_portal(step, from)?;
                Action::Send { from, count: *count, bytes: *bytes, every_ns: *every_ns, open_ns: *open_ns, abort: *abort, boxes: *boxes }
            }
            Verb::Get { from, way } => Action::Get { from: self.use_portal(step, from)?, way: *way },
            Verb::Query(portal) => Action::Query { portal: self.use_portal(step, portal)? },
            Verb::Hand { portal, over, to, .. } => {
                let (moved, carrier) = (self.use_portal(step, portal)?, self.use_portal(step, over)?);
                if moved == carrier {
                    return Err(over.place.error(format!("\"{}\" can't travel through itself", over.text), "another portal"));
                }
                if self.portals.specs[moved].opened_by.is_none() {
                    let message = format!("\"{}\" is a pipe made in set-up; its ends stay where they are", portal.text);
                    return Err(portal.place.error(message, "a portal that a step opens"));
                }
                Action::Hand { portal: moved, over: carrier, to: *to }
            }
            Verb::Close(portal) => Action::Close { portal: self.use_portal(step, portal)? },
            Verb::Merge([first, second]) => {
                let portals = [self.use_portal(step, first)?, self.use_portal(step, second)?];
                if portals[0] == portals[1] || self.portals.specs[portals[0]].peer == portals[1] {
                    let message = format!("\"{}\" and \"{}\" are one portal, or the two ends of one pipe", first.text, second.text);
                    return Err(second.place.error(message, "a portal of another pipe"));
                }
                self.merges.push(portals);
                Action::Merge { portals }
            }
            Verb::CutNode(node) => Action::CutNode { node: *node },
            Verb::CutLink(pair) => Action::CutLink { nodes: *pair },
        })
    }

    fn use_portal(&mut self, step: StepId, word: &'a Word) -> Result<PortalId, ScenarioError> {
        let portal = self.portals.find(&word.text, self.drafts[step].on, &word.place, self.nodes)?;
        self.uses[portal].push((step, &word.place));
        Ok(portal)
    }

    /// Follows a portal: on each node the steps that name it run in file order until one hands it on; then it is elsewhere.
    fn follow(&mut self, portal: PortalId) -> Result<(), ScenarioError> {
        let spec = &self.portals.specs[portal];
        let mut waiting: BTreeMap<NodeId, VecDeque<(StepId, &Place)>> = BTreeMap::new();
        for &(step, place) in &self.uses[portal] {
            // A connection has a portal at either end.
            let there = match self.actions[step] {
                Action::Connect { to, portals } if portals[1] == portal => Some(to),
                _ => self.drafts[step].on,
            };
            if let Some(node) = there {
                waiting.entry(node).or_default().push_back((step, place));
            }
        }
        let mut at = spec.home;
        let mut before: Option<StepId> = None;
        let mut came_by_hand = false;
        while let Some((step, place)) = waiting.get_mut(&at).and_then(VecDeque::pop_front) {
            match before {
                None if spec.opened_by.is_some_and(|opener| opener != step) => {
                    let message = format!("{} names \"{}\" before it is opened", self.label(step), spec.name);
                    return Err(place
                        .error(message, "a portal that is open")
                        .help("steps of one node with the same portal run in file order"));
                }
                None => {}
                Some(before) if came_by_hand => {
                    let times = u32::try_from(self.arrivals[&(portal, at)].len()).unwrap_or(u32::MAX);
                    self.add(step, Wait::Arrived { portal, node: at, times }, before, Why::Arrival(portal, at));
                }
                Some(before) => self.add(step, Wait::Done(before), before, Why::Order(portal)),
            }
            came_by_hand = false;
            before = Some(step);
            match self.actions[step] {
                Action::Hand { portal: moved, to, .. } if moved == portal => {
                    at = to;
                    came_by_hand = true;
                    self.arrivals.entry((portal, at)).or_default().push(step);
                }
                Action::Close { .. } | Action::Merge { .. } => {
                    if let Some((late, place)) = waiting.values().flatten().min_by_key(|(step, _)| *step) {
                        let verb = if matches!(self.actions[step], Action::Merge { .. }) { "merges" } else { "closes" };
                        let message = format!("{} names \"{}\", which {} {verb} before", self.label(*late), spec.name, self.label(step));
                        return Err(place.error(message, "a portal that is open"));
                    }
                }
                _ => {}
            }
        }
        match waiting.values().flatten().min_by_key(|(step, _)| *step) {
            None => Ok(()),
            Some((step, place)) => Err(self.never_there(portal, self.drafts[*step].on.unwrap_or(at), place)),
        }
    }

    fn never_there(&self, portal: PortalId, node: NodeId, place: &Place) -> ScenarioError {
        let spec = &self.portals.specs[portal];
        let again = if spec.home == node || self.arrivals.contains_key(&(portal, node)) { " again" } else { "" };
        let message = format!("no step hands \"{}\" to \"{}\"{again}", spec.name, self.node(node));
        let error = place.error(message, format!("a portal that is on \"{}\" or is handed there", self.node(node)));
        error.help(format!("\"{}\" is opened on \"{}\"; a portal is where its last \"hand\" says", spec.name, self.node(spec.home)))
    }

    /// The other end of the portal that a `hand` goes over must be at its destination, or come there.
    fn check_destination(&mut self, step: StepId) -> Result<(), ScenarioError> {
        let (Verb::Hand { to_place, .. }, Action::Hand { over, to, .. }) = (&self.drafts[step].verb, &self.actions[step]) else {
            return Ok(());
        };
        let peers = peers(&self.portals.specs, &self.merges, *over);
        if peers.iter().any(|peer| self.portals.specs[*peer].home == *to) {
            return Ok(());
        }
        let comes = |peer: &PortalId| Some((*peer, self.arrivals.get(&(*peer, *to))?));
        let Some((peer, hands)) = peers.iter().find_map(comes) else {
            let spec = &self.portals.specs[self.portals.specs[*over].peer];
            let message = format!("the other end of \"{}\" is never on \"{}\"", self.portals.specs[*over].name, self.node(*to));
            let error = to_place.error(message, "the node where the other end is");
            return Err(error.help(format!("it is on \"{}\" at first", self.node(spec.home))));
        };
        self.graph.add_edge(NodeIndex::new(hands[0]), NodeIndex::new(step), Why::Arrival(peer, *to));
        Ok(())
    }

    /// Adds a wait that `after` names.
    fn wait(&mut self, step: StepId, wait: &'a DraftWait) -> Result<(), ScenarioError> {
        let on = self.drafts[step].on;
        match wait {
            DraftWait::Name(word) => {
                if let Some(&before) = self.ids.get(word.text.as_str()) {
                    self.add(step, Wait::Done(before), before, Why::After);
                    return Ok(());
                }
                if !self.portals.knows(&word.text) {
                    let error = word.place.error(format!("unknown portal or step \"{}\"", word.text), "a portal, or the id of a step");
                    return Err(suggest(error, &word.text, self.ids.keys().copied().chain(self.portals.names())));
                }
                match on {
                    Some(node) => self.wait_arrived(step, word, node),
                    None => {
                        let error = word.place.error("a cut has no node where a portal could arrive", "the id of a step");
                        Err(error.help(format!("write {{ arrived = \"{}\", on = \"...\" }}", word.text)))
                    }
                }
            }
            DraftWait::Arrived { portal, node } => self.wait_arrived(step, portal, *node),
            DraftWait::Received { portal: word, node, count } => {
                let portal = self.portals.find(&word.text, node.or(on), &word.place, self.nodes)?;
                self.wait_received(step, portal, *count, &word.place)
            }
        }
    }

    /// A portal that is handed to the node has arrived when it first is; one that never is has arrived when it is opened there.
    fn wait_arrived(&mut self, step: StepId, word: &Word, node: NodeId) -> Result<(), ScenarioError> {
        let portal = self.portals.find(&word.text, Some(node), &word.place, self.nodes)?;
        let spec = &self.portals.specs[portal];
        if let Some(hands) = self.arrivals.get(&(portal, node)) {
            let first = hands[0];
            self.add(step, Wait::Arrived { portal, node, times: 1 }, first, Why::Arrival(portal, node));
            return Ok(());
        }
        match spec.opened_by {
            Some(opener) if spec.home == node => self.add(step, Wait::Done(opener), opener, Why::After),
            Some(_) => return Err(self.never_there(portal, node, &word.place)),
            None => {}
        }
        Ok(())
    }

    fn wait_received(&mut self, step: StepId, portal: PortalId, count: u64, place: &Place) -> Result<(), ScenarioError> {
        let peers = peers(&self.portals.specs, &self.merges, portal);
        let sends: Vec<(StepId, u64)> = peers
            .iter()
            .flat_map(|peer| &self.uses[*peer])
            .filter_map(|&(step, _)| match self.actions[step] {
                Action::Send { from, count, abort: false, .. } if peers.contains(&from) => Some((step, count)),
                _ => None,
            })
            .collect();
        let total = sends.iter().fold(0u64, |total, (_, count)| total.saturating_add(*count));
        if total < count {
            let message = format!("\"{}\" never receives {count} parcels: its peer sends {total}", self.portals.specs[portal].name);
            return Err(place.error(message, format!("at most {total} parcels")));
        }
        self.after[step].push(Wait::Received { portal, count });
        for (send, own) in sends {
            if total - own < count {
                self.graph.add_edge(NodeIndex::new(send), NodeIndex::new(step), Why::Parcels(portal));
            }
        }
        Ok(())
    }

    fn add(&mut self, step: StepId, wait: Wait, before: StepId, why: Why) {
        self.after[step].push(wait);
        self.graph.add_edge(NodeIndex::new(before), NodeIndex::new(step), why);
    }

    fn refuse_circles(&self) -> Result<(), ScenarioError> {
        let Err(cycle) = petgraph::algo::toposort(&self.graph, None) else { return Ok(()) };
        let circle = self.circle(cycle.node_id());
        let first = circle.first().map_or(0, |(step, _)| *step);
        let names: Vec<String> = circle.iter().map(|(step, _)| self.located(*step)).collect();
        let message = format!("steps wait for each other in a circle: {} -> {}", names.join(" -> "), self.label(first));
        let mut reasons: Vec<String> = Vec::new();
        for (at, (step, why)) in circle.iter().take(MAX_EXPLAINED).enumerate() {
            let next = circle[(at + 1) % circle.len()].0;
            reasons.push(format!("{} waits for {}: {}", self.label(*step), self.label(next), self.reason(*why)));
        }
        Err(self.drafts[first].place.error(message, "a step that can begin").help(reasons.join("\n")))
    }

    /// The shortest circle through `start`, its earliest step first: each step waits for the next, for that reason.
    fn circle(&self, start: NodeIndex) -> Vec<(StepId, Why)> {
        let mut reached: BTreeMap<NodeIndex, (NodeIndex, Why)> = BTreeMap::new();
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for edge in self.graph.edges_directed(node, Direction::Incoming) {
                let before = edge.source();
                if let std::collections::btree_map::Entry::Vacant(free) = reached.entry(before) {
                    free.insert((node, *edge.weight()));
                    queue.push_back(before);
                }
            }
        }
        let mut circle = Vec::new();
        let mut at = start;
        while let Some(&(waiter, why)) = reached.get(&at) {
            circle.push((waiter.index(), why));
            at = waiter;
            if at == start {
                break;
            }
        }
        circle.reverse();
        let first = circle.iter().enumerate().min_by_key(|(_, (step, _))| *step).map_or(0, |(at, _)| at);
        circle.rotate_left(first);
        circle
    }

    fn reason(&self, why: Why) -> String {
        let name = |portal: PortalId| &self.portals.specs[portal].name;
        match why {
            Why::Order(portal) => format!("both name \"{}\", so they run in file order", name(portal)),
            Why::Arrival(portal, node) => format!("it brings \"{}\" to \"{}\"", name(portal), self.node(node)),
            Why::Parcels(portal) => format!("it sends what \"{}\" must receive", name(portal)),
            Why::After => "\"after\" says so".into(),
        }
    }

    fn node(&self, node: NodeId) -> &str {
        &self.nodes.specs[node].name
    }

    fn label(&self, step: StepId) -> String {
        let draft = &self.drafts[step];
        if draft.named { format!("step \"{}\"", draft.id) } else { draft.id.clone() }
    }

    fn located(&self, step: StepId) -> String {
        format!("{} (line {})", self.label(step), self.drafts[step].line)
    }
}

/// The portals that may be the other end of `portal`: the one it was made with, and those that mergers may put in its place.
pub(super) fn peers(specs: &[PortalSpec], merges: &[[PortalId; 2]], portal: PortalId) -> Vec<PortalId> {
    let mut found = vec![specs[portal].peer];
    let mut at = 0;
    while let Some(&peer) = found.get(at) {
        at += 1;
        for &[a, b] in merges.iter().filter(|merged| merged.contains(&peer)) {
            let next = specs[if a == peer { b } else { a }].peer;
            if !found.contains(&next) {
                found.push(next);
            }
        }
    }
    found
}
