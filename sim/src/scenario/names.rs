//! Names of nodes and portals become indexes here.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use super::error::{Place, ScenarioError};
use super::expr::MAX_REPEAT;
use super::read::{Scope, check_keys, check_name, suggest};
use super::tree::{Kind, Value};
use super::types::{NodeId, NodeSpec, PortalId, PortalSpec, StepId};
use crate::world::Looseness;

/// `[nodes]`.
pub(super) struct Nodes {
    pub specs: Vec<NodeSpec>,
    ids: BTreeMap<String, NodeId>,
    groups: BTreeMap<String, std::ops::Range<NodeId>>,
}

impl Nodes {
    /// Reads `[nodes]`: `A = { broker = true }`, or `n = { count = "{N}" }` for n1 to nN.
    pub fn read(value: &Value, scope: &Scope) -> Result<Nodes, ScenarioError> {
        let mut nodes = Nodes { specs: Vec::new(), ids: BTreeMap::new(), groups: BTreeMap::new() };
        for entry in &value.table()?.entries {
            check_name(&entry.key, &entry.key_place)?;
            let table = entry.value.table()?;
            check_keys(table, &["broker", "count", "loose", "delegate", "mem_v2", "hostile"])?;
            let flag = |key| table.get(key).map_or(Ok(false), |value| scope.flag(value));
            let broker = flag("broker")?;
            let delegate = flag("delegate")?;
            if let Some(value) = table.get("delegate").filter(|_| broker && delegate) {
                return Err(value.place.error("a broker has no other to give it memory", "no \"delegate\" at a broker"));
            }
            let loose = table.get("loose").map_or(Ok(None), |value| looseness(value, scope))?;
            let spec = NodeSpec { name: entry.key.clone(), broker, loose, delegate, mem_v2: flag("mem_v2")?, hostile: flag("hostile")? };
            let first = nodes.specs.len();
            match table.get("count") {
                None => nodes.add(spec, &entry.key_place)?,
                Some(value) => {
                    let count = scope.number(value, 1)?;
                    if count > MAX_REPEAT as u64 {
                        return Err(value.place.error(format!("{count} nodes are too many"), format!("at most {MAX_REPEAT}")));
                    }
                    for index in 1..=count {
                        nodes.add(NodeSpec { name: format!("{}{index}", entry.key), ..spec.clone() }, &entry.key_place)?;
                    }
                }
            }
            nodes.groups.insert(entry.key.clone(), first..nodes.specs.len());
        }
        if !nodes.specs.iter().any(|node| node.broker) {
            let error = value.place.error("no node is a broker", "at least one broker");
            return Err(error.help("give one node { broker = true }"));
        }
        Ok(nodes)
    }

    fn add(&mut self, spec: NodeSpec, place: &Place) -> Result<(), ScenarioError> {
        if self.ids.insert(spec.name.clone(), self.specs.len()).is_some() {
            return Err(place.error(format!("there are two nodes \"{}\"", spec.name), "a name that no other node or group gives"));
        }
        self.specs.push(spec);
        Ok(())
    }

    /// The node that a value names.
    pub fn find(&self, value: &Value, scope: &Scope) -> Result<NodeId, ScenarioError> {
        let name = scope.text(value, "the name of a node")?;
        self.ids.get(&name).copied().ok_or_else(|| self.unknown(&name, &value.place))
    }

    /// The nodes that a value names: a node, or all of a group.
    pub fn find_all(&self, value: &Value, scope: &Scope) -> Result<std::ops::Range<NodeId>, ScenarioError> {
        let name = scope.text(value, "the name of a node or a group")?;
        self.groups
            .get(&name)
            .cloned()
            .or_else(|| self.ids.get(&name).map(|&node| node..node + 1))
            .ok_or_else(|| self.unknown(&name, &value.place))
    }

    fn unknown(&self, name: &str, place: &Place) -> ScenarioError {
        let error = place.error(format!("unknown node \"{name}\""), "a node of [nodes]");
        suggest(error, name, self.ids.keys().map(String::as_str))
    }
}

/// `true`, `false` or `"early"`.
fn looseness(value: &Value, scope: &Scope) -> Result<Option<Looseness>, ScenarioError> {
    const EXPECTED: &str = "true, false or \"early\"";
    match &value.kind {
        Kind::Flag(true) => Ok(Some(Looseness::Threads)),
        Kind::Flag(false) => Ok(None),
        _ if scope.text(value, EXPECTED)? == "early" => Ok(Some(Looseness::Early)),
        _ => Err(value.unexpected(EXPECTED)),
    }
}

/// Every portal with a name.
#[derive(Default)]
pub(super) struct Portals {
    pub specs: Vec<PortalSpec>,
    named: BTreeMap<String, Named>,
}

/// What a name means.
#[derive(Clone, Copy)]
enum Named {
    /// The two ends of a pipe made in set-up; the node tells which.
    SetUp([PortalId; 2]),
    /// One portal, opened by a step.
    Opened(PortalId),
}

impl Portals {
    /// Adds the ends of a pipe made in set-up.
    pub fn pipe(&mut self, name: &str, homes: [NodeId; 2], place: &Place) -> Result<[PortalId; 2], ScenarioError> {
        let ends = [self.specs.len(), self.specs.len() + 1];
        self.name(name, Named::SetUp(ends), place)?;
        for (home, peer) in [(homes[0], ends[1]), (homes[1], ends[0])] {
            self.specs.push(PortalSpec { name: name.to_owned(), home, peer, opened_by: None });
        }
        Ok(ends)
    }

    /// Adds the two portals that a step opens, each at its node.
    pub fn open(&mut self, names: [(&str, &Place); 2], homes: [NodeId; 2], step: StepId) -> Result<[PortalId; 2], ScenarioError> {
        let ends = [self.specs.len(), self.specs.len() + 1];
        for (((name, place), home), (own, peer)) in names.into_iter().zip(homes).zip([(ends[0], ends[1]), (ends[1], ends[0])]) {
            self.name(name, Named::Opened(own), place)?;
            self.specs.push(PortalSpec { name: name.to_owned(), home, peer, opened_by: Some(step) });
        }
        Ok(ends)
    }

    fn name(&mut self, name: &str, meaning: Named, place: &Place) -> Result<(), ScenarioError> {
        check_name(name, place)?;
        match self.named.entry(name.to_owned()) {
            Entry::Vacant(free) => {
                free.insert(meaning);
                Ok(())
            }
            Entry::Occupied(_) => Err(place.error(format!("the name \"{name}\" is taken by another pipe or portal"), "a new name")),
        }
    }

    /// Whether a pipe or portal has this name.
    pub fn knows(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// Every name of a pipe or portal.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }

    /// The portal that `name` means on `node`; without a node only opened portals have one meaning.
    pub fn find(&self, name: &str, node: Option<NodeId>, place: &Place, nodes: &Nodes) -> Result<PortalId, ScenarioError> {
        match (self.named.get(name), node) {
            (Some(Named::Opened(portal)), _) => Ok(*portal),
            (Some(Named::SetUp(ends)), Some(node)) => ends.iter().copied().find(|&end| self.specs[end].home == node).ok_or_else(|| {
                let homes = ends.map(|end| nodes.specs[self.specs[end].home].name.as_str());
                let message = format!("pipe \"{name}\" has no end on \"{}\"", nodes.specs[node].name);
                place
                    .error(message, format!("a portal of \"{}\"", nodes.specs[node].name))
                    .help(format!("\"{name}\" is between \"{}\" and \"{}\"", homes[0], homes[1]))
            }),
            (Some(Named::SetUp(_)), None) => Err(place.error(format!("pipe \"{name}\" has an end on two nodes"), "which node is meant")),
            (None, _) => Err(self.unknown(name, place)),
        }
    }

    /// The portal, opened by a step, that a value names.
    pub fn opened(&self, value: &Value, scope: &Scope) -> Result<PortalId, ScenarioError> {
        let name = scope.text(value, "the name of a portal")?;
        match self.named.get(&name) {
            Some(Named::Opened(portal)) => Ok(*portal),
            Some(Named::SetUp(_)) => {
                let error = value.place.error(format!("\"{name}\" is a pipe made in set-up"), "a portal that a step opens");
                Err(error.help(format!("both its ends are called \"{name}\": write \"{name}\" alone instead of a pair")))
            }
            None => Err(self.unknown(&name, &value.place)),
        }
    }

    /// The ends of the pipe, made in set-up, that a value names.
    pub fn set_up(&self, value: &Value, scope: &Scope, expected: &str) -> Result<[PortalId; 2], ScenarioError> {
        let name = scope.text(value, expected)?;
        match self.named.get(&name) {
            Some(Named::SetUp(ends)) => Ok(*ends),
            Some(Named::Opened(_)) => Err(value.place.error(format!("\"{name}\" is one portal"), expected)),
            None => Err(self.unknown(&name, &value.place)),
        }
    }

    fn unknown(&self, name: &str, place: &Place) -> ScenarioError {
        let error = place.error(format!("unknown portal \"{name}\""), "a portal that a step opens, or a pipe of [links]");
        suggest(error, name, self.named.keys().map(String::as_str))
    }
}
