//! `[hostile]` and `[limits]`.

use super::error::ScenarioError;
use super::faults::chance;
use super::read::{Scope, check_keys, suggest};
use super::tree::Value;
use super::types::Caps;
use crate::hostile::{ALL, Lie, Lies};

/// Reads `[hostile]`.
pub(super) fn hostile(value: &Value, scope: &Scope) -> Result<Lies, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &["chance", "most", "lies", "returns"])?;
    let usual = Lies::default();
    let lies = match table.get("lies") {
        None => usual.lies,
        Some(list) => {
            let mut lies = list
                .list("a list of lies, like [\"forged-closure\"]")?
                .iter()
                .map(|item| lie(item, scope))
                .collect::<Result<Vec<_>, _>>()?;
            lies.sort_unstable();
            lies.dedup();
            if lies.is_empty() {
                return Err(list.place.error("the list is empty", "at least one lie"));
            }
            lies
        }
    };
    Ok(Lies {
        chance: table.get("chance").map_or(Ok(usual.chance), |value| chance(value, scope))?,
        most: table.get("most").map_or(Ok(usual.most), |value| scope.number(value, 0))?,
        lies,
        returns: table.get("returns").map_or(Ok(usual.returns), |value| scope.number(value, 0))?,
    })
}

fn lie(value: &Value, scope: &Scope) -> Result<Lie, ScenarioError> {
    let name = scope.text(value, "the name of a lie")?;
    Lie::named(&name).ok_or_else(|| {
        let error = value.place.error(format!("unknown lie \"{name}\""), "one of those in docs/simulator.md, like \"forged-closure\"");
        suggest(error, &name, ALL.iter().map(|about| about.name))
    })
}

/// Reads `[limits]`.
pub(super) fn limits(value: &Value, scope: &Scope) -> Result<Caps, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &["early_parcels", "early_bytes", "buffer_waits", "buffers", "sublinks", "introductions"])?;
    let number = |key| table.get(key).map(|value| scope.number(value, 0)).transpose();
    Ok(Caps {
        early_parcels: number("early_parcels")?,
        early_bytes: table.get("early_bytes").map(|value| scope.size(value)).transpose()?,
        buffer_waits: number("buffer_waits")?,
        buffers: number("buffers")?,
        sublinks: number("sublinks")?,
        introductions: number("introductions")?,
    })
}

/// Reads `lies` of `[require]`.
pub(super) fn required(value: &Value, scope: &Scope) -> Result<Vec<(Lie, u64)>, ScenarioError> {
    let table = value.table()?;
    check_keys(table, &ALL.map(|about| about.name))?;
    let known = table.entries.iter().filter_map(|entry| Some((Lie::named(&entry.key)?, &entry.value)));
    known.map(|(lie, value)| Ok((lie, scope.number(value, 0)?))).collect()
}
