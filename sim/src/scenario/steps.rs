//! `[[step]]`: from tables to drafts, in which nodes are indexes and portals still names (a later step may open them).

use super::error::{Place, ScenarioError};
use super::names::{Nodes, Portals};
use super::read::{Scope, check_keys, check_name, need, suggest};
use super::tree::{Kind, Table, Value};
use super::types::{Manner, NodeId, PortalId, Way};

const COMMON: [&str; 7] = ["on", "id", "after", "at", "when", "each", "think"];
const VERBS: [&str; 9] = ["open", "connect", "send", "get", "query", "hand", "close", "merge", "cut"];
/// Keys that belong to certain verbs.
const COMPANIONS: [(&str, &[&str]); 4] = [("portals", &["connect"]), ("from", &["send", "get"]), ("over", &["hand"]), ("to", &["hand"])];

/// A name and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Word {
    pub text: String,
    pub place: Place,
}

/// A step whose portals are not looked up yet.
pub(super) struct Draft {
    pub id: String,
    /// Whether the file gave the id, so that others can wait for it.
    pub named: bool,
    pub on: Option<NodeId>,
    pub after: Vec<DraftWait>,
    pub at_ns: u64,
    pub think_ns: u64,
    pub verb: Verb,
    pub place: Place,
    pub line: usize,
}

/// One item of `after`.
pub(super) enum DraftWait {
    /// `"q"` or `"id"`.
    Name(Word),
    /// `{ arrived = "q", on = "C" }`.
    Arrived { portal: Word, node: NodeId },
    /// `{ received = 1, at = "q", on = "C" }`.
    Received { portal: Word, node: Option<NodeId>, count: u64 },
}

/// What a draft does.
pub(super) enum Verb {
    Open([PortalId; 2]),
    Connect { to: NodeId, portals: [PortalId; 2] },
    Send { from: Word, count: u64, bytes: u64, every_ns: u64, open_ns: u64, abort: bool, boxes: u64 },
    Get { from: Word, way: Way },
    Query(Word),
    Hand { portal: Word, over: Word, to: NodeId, to_place: Place },
    Close(Word),
    Merge([Word; 2]),
    CutNode(NodeId),
    CutLink([NodeId; 2]),
}

/// Reads every step, repetitions written out, and adds the portals they open.
pub(super) fn read(value: Option<&Value>, scope: &Scope, nodes: &Nodes, portals: &mut Portals) -> Result<Vec<Draft>, ScenarioError> {
    let mut drafts = Vec::new();
    let Some(value) = value else { return Ok(drafts) };
    let (mut offset, mut line) = (0, 1);
    for (index, item) in value.list("[[step]] tables")?.iter().enumerate() {
        let table = item.table()?;
        check_verbs(table, &item.place)?;
        // Counted on from the step before: lines of a long file must not be counted once a step.
        let start = item.place.range.start;
        line += item.place.source.inner().as_bytes().get(offset..start).unwrap_or_default().iter().filter(|&&byte| byte == b'\n').count();
        offset = start;
        if scope.stands(table.get("when"))? {
            scope.repeat(table.get("each"), |scope| {
                let reader = Reader { table, place: &item.place, scope, nodes };
                let number = match scope.variable() {
                    Some(at) => format!("step {}[{at}]", index + 1),
                    None => format!("step {}", index + 1),
                };
                let draft = reader.draft(number, line, drafts.len(), portals)?;
                drafts.push(draft);
                Ok(())
            })?;
        }
    }
    Ok(drafts)
}

/// Refuses unknown keys, two verbs, no verb, and companions of another verb.
fn check_verbs(table: &Table, place: &Place) -> Result<(), ScenarioError> {
    let mut known = VERBS.to_vec();
    known.extend(COMPANIONS.map(|(key, _)| key));
    known.extend(COMMON);
    check_keys(table, &known)?;
    let mut verbs = table.entries.iter().filter(|entry| VERBS.contains(&entry.key.as_str()));
    let expected = format!("exactly one of {}", VERBS.join(", "));
    let Some(verb) = verbs.next() else { return Err(place.error("the step has no verb", expected)) };
    if let Some(second) = verbs.next() {
        let error = second.key_place.error(format!("the step has two verbs, \"{}\" and \"{}\"", verb.key, second.key), expected);
        return Err(error.help("make two steps of it"));
    }
    for entry in &table.entries {
        if let Some((key, owners)) = COMPANIONS.iter().find(|(key, owners)| entry.key == *key && !owners.contains(&verb.key.as_str())) {
            let message = format!("\"{key}\" belongs to \"{}\", not to \"{}\"", owners.join("\" and \""), verb.key);
            return Err(entry.key_place.error(message, format!("no \"{key}\" in a step with \"{}\"", verb.key)));
        }
    }
    if verb.key == "cut"
        && let Some(on) = table.entries.iter().find(|entry| entry.key == "on")
    {
        return Err(on.key_place.error("a cut happens on no node", "no \"on\" in a step with \"cut\""));
    }
    Ok(())
}

/// A node connects to another one; a broker to a broker.
fn check_ends(nodes: &Nodes, on: NodeId, to: NodeId, place: &Place) -> Result<(), ScenarioError> {
    if on == to {
        return Err(place.error("a node does not connect to itself", "another node"));
    }
    if nodes.specs[on].broker && !nodes.specs[to].broker {
        let error = place.error(format!("\"{}\" is no broker, but \"{}\" is", nodes.specs[to].name, nodes.specs[on].name), "a broker");
        return Err(error.help("a client connects to its broker, not the other way round: swap them"));
    }
    Ok(())
}

struct Reader<'a> {
    table: &'a Table,
    place: &'a Place,
    scope: &'a Scope,
    nodes: &'a Nodes,
}

impl Reader<'_> {
    fn draft(&self, number: String, line: usize, index: usize, portals: &mut Portals) -> Result<Draft, ScenarioError> {
        let id = self.table.get("id").map(|value| self.word(value, "a name")).transpose()?;
        if let Some(id) = &id {
            check_name(&id.text, &id.place)?;
        }
        let on = match self.table.get("cut") {
            Some(_) => None,
            None => Some(self.nodes.find(need(self.table, "on", self.place)?, self.scope)?),
        };
        Ok(Draft {
            named: id.is_some(),
            id: id.map_or(number, |id| id.text),
            on,
            after: self.after()?,
            at_ns: self.table.get("at").map_or(Ok(0), |value| self.scope.time(value))?,
            think_ns: self.table.get("think").map_or(Ok(0), |value| self.scope.time(value))?,
            verb: self.verb(on, index, portals)?,
            place: self.place.clone(),
            line,
        })
    }

    fn verb(&self, on: Option<NodeId>, index: usize, portals: &mut Portals) -> Result<Verb, ScenarioError> {
        if let (Some(value), Some(on)) = (self.table.get("open"), on) {
            return self.opened(value, [on, on], index, portals).map(Verb::Open);
        }
        if let (Some(value), Some(on)) = (self.table.get("connect"), on) {
            let to = self.nodes.find(value, self.scope)?;
            check_ends(self.nodes, on, to, &value.place)?;
            let names = need(self.table, "portals", self.place)?;
            return Ok(Verb::Connect { to, portals: self.opened(names, [on, to], index, portals)? });
        }
        if let Some(value) = self.table.get("send") {
            let inner = value.table()?;
            check_keys(inner, &["count", "bytes", "every", "open", "abort", "boxes"])?;
            let abort = inner.get("abort").map_or(Ok(false), |value| self.scope.flag(value))?;
            if let (true, Some(value), None) = (abort, inner.get("abort"), inner.get("open")) {
                return Err(value
                    .place
                    .error("only a put in two phases can be aborted", "\"open\" beside it: for how long the put is open"));
            }
            return Ok(Verb::Send {
                abort,
                from: self.portal("from")?,
                count: self.scope.number(need(inner, "count", &value.place)?, 1)?,
                bytes: self.scope.size(need(inner, "bytes", &value.place)?)?,
                every_ns: inner.get("every").map_or(Ok(0), |value| self.scope.time(value))?,
                open_ns: inner.get("open").map_or(Ok(0), |value| self.scope.time(value))?,
                boxes: inner.get("boxes").map_or(Ok(0), |value| self.boxes(value))?,
            });
        }
        if let Some(value) = self.table.get("get") {
            return Ok(Verb::Get { from: self.portal("from")?, way: self.way(value)? });
        }
        if self.table.get("query").is_some() {
            return self.portal("query").map(Verb::Query);
        }
        if self.table.get("hand").is_some() {
            let to = need(self.table, "to", self.place)?;
            return Ok(Verb::Hand {
                portal: self.portal("hand")?,
                over: self.portal("over")?,
                to: self.nodes.find(to, self.scope)?,
                to_place: to.place.clone(),
            });
        }
        if self.table.get("close").is_some() {
            return self.portal("close").map(Verb::Close);
        }
        if let Some(value) = self.table.get("merge") {
            const EXPECTED: &str = "[\"p\", \"q\"], the names of two portals";
            let [first, second] = value.list(EXPECTED)? else { return Err(value.unexpected(EXPECTED)) };
            return Ok(Verb::Merge([self.word(first, EXPECTED)?, self.word(second, EXPECTED)?]));
        }
        self.cut(need(self.table, "cut", self.place)?)
    }

    fn opened(&self, value: &Value, homes: [NodeId; 2], index: usize, portals: &mut Portals) -> Result<[PortalId; 2], ScenarioError> {
        const EXPECTED: &str = "[\"p\", \"q\"], the names of the two portals";
        let [first, second] = value.list(EXPECTED)? else { return Err(value.unexpected(EXPECTED)) };
        let (first, second) = (self.word(first, EXPECTED)?, self.word(second, EXPECTED)?);
        let names = [(first.text.as_str(), &first.place), (second.text.as_str(), &second.place)];
        portals.open(names, homes, index)
    }

    fn boxes(&self, value: &Value) -> Result<u64, ScenarioError> {
        let boxes = self.scope.number(value, 0)?;
        let most = u64::from(crate::boxes::MOST);
        if boxes > most {
            return Err(value.place.error(format!("{boxes} boxes are too many"), format!("a number up to {most}")));
        }
        Ok(boxes)
    }

    /// `{ as = "two-phase", open = "2ms", abort = 1 }`.
    fn way(&self, value: &Value) -> Result<Way, ScenarioError> {
        let inner = value.table()?;
        check_keys(inner, &["as", "open", "abort"])?;
        let named = need(inner, "as", &value.place)?;
        let names = Manner::NAMES.map(|(name, _)| name);
        let expected = format!("one of {}", names.join(", "));
        let name = self.scope.text(named, &expected)?;
        let Some((_, manner)) = Manner::NAMES.into_iter().find(|(known, _)| *known == name) else {
            return Err(suggest(named.place.error(format!("nobody gets parcels \"{name}\""), expected), &name, names.into_iter()));
        };
        if let Some(entry) = inner.entries.iter().find(|entry| entry.key != "as" && !manner.stays_open()) {
            let message = format!("\"{}\": a {name} get is over at once", entry.key);
            return Err(entry.key_place.error(message, "two-phase, overlapped or kept, or no such key"));
        }
        let aborts = inner.get("abort").map_or(Ok(0), |value| self.scope.number(value, 0))?;
        Ok(Way {
            manner,
            open_ns: inner.get("open").map_or(Ok(0), |value| self.scope.time(value))?,
            aborts: u32::try_from(aborts).unwrap_or(u32::MAX),
        })
    }

    fn cut(&self, value: &Value) -> Result<Verb, ScenarioError> {
        const EXPECTED: &str = "the name of a node that dies, or [\"A\", \"B\"], whose link is cut";
        match &value.kind {
            Kind::Text(_) => self.nodes.find(value, self.scope).map(Verb::CutNode),
            Kind::List(ends) => {
                let [first, second] = ends.as_slice() else { return Err(value.unexpected(EXPECTED)) };
                let pair = [self.nodes.find(first, self.scope)?, self.nodes.find(second, self.scope)?];
                if pair[0] == pair[1] {
                    return Err(second.place.error("a node has no link to itself", "another node"));
                }
                Ok(Verb::CutLink(pair))
            }
            _ => Err(value.unexpected(EXPECTED)),
        }
    }

    fn after(&self) -> Result<Vec<DraftWait>, ScenarioError> {
        match self.table.get("after") {
            None => Ok(Vec::new()),
            Some(Value { kind: Kind::List(items), .. }) => items.iter().map(|item| self.wait(item)).collect(),
            Some(item) => Ok(vec![self.wait(item)?]),
        }
    }

    fn wait(&self, value: &Value) -> Result<DraftWait, ScenarioError> {
        const EXPECTED: &str = "a portal, a step's id, { arrived = \"q\", on = \"C\" }, { received = 1, at = \"q\" }, or a list of these";
        let Kind::Table(table) = &value.kind else { return self.word(value, EXPECTED).map(DraftWait::Name) };
        if let Some(portal) = table.get("arrived") {
            check_keys(table, &["arrived", "on"])?;
            let node = self.nodes.find(need(table, "on", &value.place)?, self.scope)?;
            return Ok(DraftWait::Arrived { portal: self.word(portal, EXPECTED)?, node });
        }
        check_keys(table, &["received", "at", "on"])?;
        Ok(DraftWait::Received {
            count: self.scope.number(need(table, "received", &value.place)?, 1)?,
            portal: self.word(need(table, "at", &value.place)?, "the name of a portal")?,
            node: table.get("on").map(|on| self.nodes.find(on, self.scope)).transpose()?,
        })
    }

    fn portal(&self, key: &str) -> Result<Word, ScenarioError> {
        self.word(need(self.table, key, self.place)?, "the name of a portal")
    }

    fn word(&self, value: &Value, expected: &str) -> Result<Word, ScenarioError> {
        Ok(Word { text: self.scope.text(value, expected)?, place: value.place.clone() })
    }
}
