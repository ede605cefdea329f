//! `[random]`, `[swarm]` and `[[order]]`.

use super::error::{Place, ScenarioError};
use super::faults::chance;
use super::names::Nodes;
use super::read::{Scope, check_keys, need, suggest};
use super::tree::{Kind, Table, Value};
use super::types::{NodeId, Random, Range, Swarm, Verbs};
use crate::events::{EventId, Hold};
use crate::fault::{ALL, Fault};

/// Reads `[random]`.
pub(super) fn random(value: &Value, scope: &Scope, nodes: &Nodes) -> Result<Random, ScenarioError> {
    let table = value.table()?;
    check_keys(
        table,
        &[
            "pipes",
            "duration",
            "operations",
            "rate",
            "verbs",
            "send",
            "cuts",
            "on",
            "lazy",
            "keep",
            "two_phase",
            "objects",
            "query",
            "boxes",
        ],
    )?;
    let duration_ns = table.get("duration").map(|value| scope.time(value)).transpose()?;
    let operations = table.get("operations").map(|value| scope.number(value, 1)).transpose()?;
    if duration_ns.is_none() && operations.is_none() {
        return Err(value.place.error("[random] never ends", "\"duration\" or \"operations\" here"));
    }
    let verbs = verbs(need(table, "verbs", &value.place)?, scope)?;
    let often = |key| table.get(key).map_or(Ok([0, 1]), |value| chance(value, scope));
    let mut random = Random {
        pipes: table.get("pipes").map_or(Ok(0), |value| scope.number(value, 0))?,
        duration_ns,
        operations,
        gap_ns: scope.gap(need(table, "rate", &value.place)?)?,
        verbs,
        count: Range { min: 1, max: 1 },
        bytes: Range { min: 0, max: 0 },
        cut_links: 0,
        cut_nodes: 0,
        lazy: often("lazy")?,
        two_phase: often("two_phase")?,
        objects: often("objects")?,
        query: often("query")?,
        boxes: often("boxes")?,
        keep: table.get("keep").map_or(Ok(false), |value| scope.flag_of(value))?,
        on: on(table.get("on"), scope, nodes)?,
    };
    if verbs.send > 0 {
        let send = need(table, "send", &value.place)?;
        let inner = send.table()?;
        check_keys(inner, &["count", "bytes"])?;
        random.count = range(need(inner, "count", &send.place)?, 1, |value| scope.number(value, 1))?;
        random.bytes = range(need(inner, "bytes", &send.place)?, 0, |value| scope.size(value))?;
    }
    if let Some(cuts) = table.get("cuts") {
        let inner = cuts.table()?;
        check_keys(inner, &["links", "nodes"])?;
        random.cut_links = inner.get("links").map_or(Ok(0), |value| scope.number(value, 0))?;
        random.cut_nodes = inner.get("nodes").map_or(Ok(0), |value| scope.number(value, 0))?;
    }
    Ok(random)
}

/// Reads `[swarm]`.
pub(super) fn swarm(value: &Value, scope: &Scope) -> Result<Swarm, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &["nodes", "brokers", "operations", "faults", "hostile"])?;
    let counts = |key, least, most| -> Result<Range, ScenarioError> {
        let value = need(table, key, &value.place)?;
        let range = range(value, least, |value| scope.number(value, least))?;
        if range.max > most {
            return Err(value.place.error(format!("{} is too large", range.max), format!("a number up to {most}")));
        }
        Ok(range)
    };
    let faults = match table.get("faults") {
        None => ALL.iter().map(|about| about.fault).collect(),
        Some(list) => {
            list.list("a list of kinds of faults, like [\"delay\"]")?.iter().map(|item| kind(item, scope)).collect::<Result<_, _>>()?
        }
    };
    let brokers = if table.get("brokers").is_some() { counts("brokers", 1, 16)? } else { Range { min: 1, max: 1 } };
    let hostile = if table.get("hostile").is_some() { counts("hostile", 0, 8)? } else { Range { min: 0, max: 0 } };
    Ok(Swarm { nodes: counts("nodes", 2, 1000)?, brokers, operations: counts("operations", 1, 1_000_000)?, faults, hostile })
}

fn kind(value: &Value, scope: &Scope) -> Result<Fault, ScenarioError> {
    let name = scope.text(value, "a kind of fault")?;
    Fault::named(&name).ok_or_else(|| {
        let error = value.place.error(format!("unknown kind of fault \"{name}\""), "a kind of [faults], like \"delay\"");
        suggest(error, &name, ALL.iter().map(|about| about.name))
    })
}

fn verbs(value: &Value, scope: &Scope) -> Result<Verbs, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &["open", "send", "hand", "close", "merge", "cut"])?;
    let weight = |key| -> Result<u32, ScenarioError> {
        let Some(value) = table.get(key) else { return Ok(0) };
        let weight = scope.number(value, 0)?;
        u32::try_from(weight).map_err(|_| value.place.error(format!("the weight {weight} is too large"), "a weight below 2^32"))
    };
    let verbs = Verbs {
        open: weight("open")?,
        send: weight("send")?,
        hand: weight("hand")?,
        close: weight("close")?,
        merge: weight("merge")?,
        cut: weight("cut")?,
    };
    if verbs == Verbs::default() {
        return Err(value.place.error("no verb has a weight", "a weight above 0, like { send = 1 }"));
    }
    Ok(verbs)
}

/// A constant, or `[min, max]`.
fn range(value: &Value, least: u64, read: impl Fn(&Value) -> Result<u64, ScenarioError>) -> Result<Range, ScenarioError> {
    let range = match &value.kind {
        Kind::List(ends) => {
            let [min, max] = ends.as_slice() else { return Err(value.unexpected("[min, max]")) };
            Range { min: read(min)?, max: read(max)? }
        }
        _ => read(value).map(|constant| Range { min: constant, max: constant })?,
    };
    if range.min > range.max {
        let message = format!("the range from {} to {} is reversed", range.min, range.max);
        return Err(value.place.error(message, format!("[min, max] with {least} <= min <= max")));
    }
    Ok(range)
}

/// A node, a group or a list of them; by default all that are no brokers, or all if there are only brokers.
fn on(value: Option<&Value>, scope: &Scope, nodes: &Nodes) -> Result<Vec<NodeId>, ScenarioError> {
    let mut on: Vec<NodeId> = match value {
        None => {
            let clients: Vec<NodeId> = (0..nodes.specs.len()).filter(|&node| !nodes.specs[node].broker).collect();
            if clients.is_empty() { (0..nodes.specs.len()).collect() } else { clients }
        }
        Some(Value { kind: Kind::List(items), place }) => {
            if items.is_empty() {
                return Err(place.error("the list is empty", "at least one node or group"));
            }
            let mut all = Vec::new();
            for item in items {
                all.extend(nodes.find_all(item, scope)?);
            }
            all
        }
        Some(value) => nodes.find_all(value, scope)?.collect(),
    };
    on.sort_unstable();
    on.dedup();
    Ok(on)
}

/// Reads `[[order]]`.
pub(super) fn order(value: &Value, scope: &Scope, nodes: &Nodes) -> Result<Vec<Hold>, ScenarioError> {
    let names: Vec<String> = nodes.specs.iter().map(|node| node.name.clone()).collect();
    let event = |table: &Table, key: &str, place: &Place| {
        let value = need(table, key, place)?;
        let text = scope.text(value, "the name of an event")?;
        EventId::parse(&text, &names).map_err(|why| value.place.error(why, "the name of an event, like \"A->B AcceptParcel #1\""))
    };
    let items = value.list("tables [[order]]")?;
    items
        .iter()
        .map(|item| {
            let table = item.table()?;
            check_keys(table, &["before", "after"])?;
            let hold = Hold { before: event(table, "before", &item.place)?, after: event(table, "after", &item.place)? };
            if hold.before == hold.after {
                return Err(item.place.error("an event can't come before itself", "two events"));
            }
            Ok(hold)
        })
        .collect()
}
