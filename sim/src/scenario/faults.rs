//! `[faults]`.

use super::error::ScenarioError;
use super::names::Nodes;
use super::read::{Scope, check_keys, need, suggest};
use super::tree::{Table, Value};
use super::types::Loss;
use crate::fault::{ALL, Fault, Strength, Strengths};

/// Every kind of message of wire.md 9.1.
const MESSAGES: [&str; 28] = [
    "ConnectFromBrokerToNonBroker",
    "ConnectFromNonBrokerToBroker",
    "ReferNonBroker",
    "ConnectToReferredBroker",
    "ConnectToReferredNonBroker",
    "NonBrokerReferralAccepted",
    "NonBrokerReferralRejected",
    "ConnectFromBrokerToBroker",
    "RequestIntroduction",
    "AcceptIntroduction",
    "RejectIntroduction",
    "RequestIndirectIntroduction",
    "AddBlockBuffer",
    "AcceptParcel",
    "AcceptParcelDriverObjects",
    "RouteClosed",
    "RouteDisconnected",
    "BypassPeer",
    "AcceptBypassLink",
    "StopProxying",
    "ProxyWillStop",
    "BypassPeerWithLink",
    "StopProxyingToLocalPeer",
    "FlushRouter",
    "RequestMemory",
    "ProvideMemory",
    "RelayMessage",
    "AcceptRelayedMessage",
];

/// How long a fault lasts, and stays away, if nothing is said.
const LASTS_NS: u64 = 1_000_000;
const CHANCE: &str = "a chance: a string of two whole numbers, like \"1/100\"";

/// Reads `[faults]`: the message that is lost, and what strikes by chance.
pub(super) fn faults(value: &Value, scope: &Scope, nodes: &Nodes) -> Result<(Option<Loss>, Strengths), ScenarioError> {
    let table = value.table()?;
    let names: Vec<&str> = ["drop"].into_iter().chain(ALL.iter().map(|about| about.name)).collect();
    check_keys(table, &names)?;
    let loss = table.get("drop").map(|value| loss(value, scope)).transpose()?;
    let mut strengths = Strengths::new();
    for entry in &table.entries {
        if let Some(fault) = Fault::named(&entry.key) {
            strengths.insert(fault, strength(&entry.value, scope, nodes)?);
        }
    }
    Ok((loss, strengths))
}

/// Reads `faults` of `[require]`.
pub(super) fn required(value: &Value, scope: &Scope) -> Result<Vec<(Fault, u64)>, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &ALL.map(|about| about.name))?;
    let known = table.entries.iter().filter_map(|entry| Some((Fault::named(&entry.key)?, &entry.value)));
    known.map(|(fault, value)| Ok((fault, scope.number(value, 0)?))).collect()
}

fn strength(value: &Value, scope: &Scope, nodes: &Nodes) -> Result<Strength, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &["chance", "nth", "on", "lasts", "most"])?;
    let nth = nth(value, table, scope, nodes)?;
    let chance = match (table.get("chance"), nth) {
        (Some(value), None) => chance(value, scope)?,
        (None, Some(_)) => [0, 1],
        (Some(value), Some(_)) => return Err(value.place.error("a fault has a \"chance\" or an \"nth\", not both", "one of them")),
        (None, None) => return Err(value.place.error("nothing says when this fault strikes", "\"chance\", or \"nth\" and \"on\"")),
    };
    let lasts_ns = table.get("lasts").map_or(Ok(LASTS_NS), |value| scope.time(value))?;
    let most = table.get("most").map_or(Ok(u64::MAX), |value| scope.number(value, 1))?;
    Ok(Strength { chance, nth, lasts_ns, most })
}

/// The opportunity at which it surely strikes, and whose.
fn nth(value: &Value, table: &Table, scope: &Scope, nodes: &Nodes) -> Result<Option<(u32, u64)>, ScenarioError> {
    match (table.get("nth"), table.get("on")) {
        (None, None) => Ok(None),
        (Some(nth), Some(on)) => Ok(Some((nodes.find(on, scope)? as u32, scope.number(nth, 1)?))),
        _ => Err(value.place.error("\"nth\" and \"on\" belong together", "both, like { nth = 7, on = \"B\" }")),
    }
}

/// Reads `"1/100"`.
pub(super) fn chance(value: &Value, scope: &Scope) -> Result<[u32; 2], ScenarioError> {
    let text = scope.text(value, CHANCE)?;
    let parts = text.split_once('/').and_then(|(a, b)| Some([a.trim().parse().ok()?, b.trim().parse().ok()?]));
    match parts {
        Some([a, b]) if a <= b && b > 0 => Ok([a, b]),
        Some([a, b]) => Err(value.place.error(format!("{a}/{b} is no chance"), "a chance from \"0/1\" to \"1/1\"")),
        None => Err(value.unexpected(CHANCE)),
    }
}

fn loss(drop: &Value, scope: &Scope) -> Result<Loss, ScenarioError> {
    let inner = drop.table()?;
    check_keys(inner, &["message", "nth"])?;
    let kind = need(inner, "message", &drop.place)?;
    let message = scope.text(kind, "a kind of message")?;
    if !MESSAGES.contains(&message.as_str()) {
        let error = kind.place.error(format!("unknown kind of message \"{message}\""), "a kind of wire.md 9.1, like \"AcceptParcel\"");
        return Err(suggest(error, &message, MESSAGES.iter().copied()));
    }
    Ok(Loss { message, nth: scope.number(need(inner, "nth", &drop.place)?, 1)? })
}
