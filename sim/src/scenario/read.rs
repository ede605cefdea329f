//! Reads values with names in scope: templates filled in, units understood, unknown keys refused.

use std::collections::BTreeMap;

use super::error::{Place, ScenarioError};
use super::expr::{self, Names};
use super::tree::{Kind, Table, Value};
use super::units;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Let {
    Number(i64),
    Flag(bool),
}

/// The names that strings may use: `[let]` and, inside a repetition, its variable.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    lets: BTreeMap<String, Let>,
    variable: Option<(String, i64)>,
}

impl Names for Scope {
    fn number(&self, name: &str) -> Result<i64, String> {
        if let Some((variable, value)) = &self.variable
            && variable == name
        {
            return Ok(*value);
        }
        match self.lets.get(name) {
            Some(Let::Number(number)) => Ok(*number),
            Some(Let::Flag(_)) => Err(format!("\"{name}\" is true or false, not a number")),
            None => Err(self.unknown(name)),
        }
    }

    fn flag(&self, name: &str) -> Result<bool, String> {
        match self.lets.get(name) {
            Some(Let::Flag(flag)) => Ok(*flag),
            Some(Let::Number(_)) => Err(format!("\"{name}\" is a number, not true or false")),
            None => Err(self.unknown(name)),
        }
    }
}

impl Scope {
    /// Reads `[let]`; an entry may use the names above it.
    pub fn new(lets: Option<&Value>) -> Result<Scope, ScenarioError> {
        let mut scope = Scope::default();
        let Some(lets) = lets else { return Ok(scope) };
        for entry in &lets.table()?.entries {
            check_name(&entry.key, &entry.key_place)?;
            let value = match &entry.value.kind {
                Kind::Flag(flag) => Let::Flag(*flag),
                Kind::Number(_) | Kind::Text(_) => Let::Number(scope.integer(&entry.value)?),
                _ => return Err(entry.value.unexpected("a number, true or false")),
            };
            scope.lets.insert(entry.key.clone(), value);
        }
        Ok(scope)
    }

    /// What the names in `[let]` stand for.
    pub fn lets(&self) -> &BTreeMap<String, Let> {
        &self.lets
    }

    /// The value of the repetition's variable.
    pub fn variable(&self) -> Option<i64> {
        self.variable.as_ref().map(|(_, value)| *value)
    }

    fn unknown(&self, name: &str) -> String {
        let known = self.lets.keys().chain(self.variable.iter().map(|(name, _)| name));
        match nearest(name, known.map(String::as_str)) {
            Some(near) => format!("no name \"{name}\" in [let]; did you mean \"{near}\"?"),
            None => format!("no name \"{name}\" in [let]"),
        }
    }

    /// A flag, given as true or false.
    pub fn flag_of(&self, value: &Value) -> Result<bool, ScenarioError> {
        match &value.kind {
            Kind::Flag(flag) => Ok(*flag),
            _ => Err(value.unexpected("true or false")),
        }
    }

    /// Whether a `when` lets its entry stand; without one it does.
    pub fn stands(&self, when: Option<&Value>) -> Result<bool, ScenarioError> {
        const EXPECTED: &str = "a condition over the flags of [let], like \"quiet && !introduced\"";
        match when {
            None => Ok(true),
            Some(value) => match &value.kind {
                Kind::Text(text) => expr::condition(text, self).map_err(|message| value.place.error(message, EXPECTED)),
                _ => Err(value.unexpected(EXPECTED)),
            },
        }
    }

    /// Runs `body` for every value of an `each`, or once without one.
    pub fn repeat(&self, each: Option<&Value>, mut body: impl FnMut(&Scope) -> Result<(), ScenarioError>) -> Result<(), ScenarioError> {
        const EXPECTED: &str = "a range that goes up, like \"i in 1..N\" (without N) or \"i in 1..=N\" (with N)";
        let Some(value) = each else { return body(self) };
        let Kind::Text(text) = &value.kind else { return Err(value.unexpected(EXPECTED)) };
        let (variable, first, last) = expr::each(text, self).map_err(|message| value.place.error(message, EXPECTED))?;
        if self.lets.contains_key(&variable) {
            return Err(value.place.error(format!("\"{variable}\" is already a name in [let]"), "a variable of another name"));
        }
        let mut scope = Scope { lets: self.lets.clone(), variable: None };
        for at in first..=last {
            scope.variable = Some((variable.clone(), at));
            body(&scope)?;
        }
        Ok(())
    }

    /// A string with its `{expr}` filled in.
    pub fn text(&self, value: &Value, expected: &str) -> Result<String, ScenarioError> {
        let Kind::Text(text) = &value.kind else { return Err(value.unexpected(expected)) };
        let mut out = String::with_capacity(text.len());
        let mut rest = text.as_str();
        while let Some((before, inner)) = rest.split_once('{') {
            let Some((inner, after)) = inner.split_once('}') else {
                return Err(value.place.error(format!("\"{text}\" has \"{{\" without \"}}\""), "{expression}"));
            };
            let number = expr::number(inner, self).map_err(|message| value.place.error(message, "an expression over numbers"))?;
            out.push_str(before);
            out.push_str(&number.to_string());
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    /// A whole number, or a string that is exactly `{expr}`.
    pub fn integer(&self, value: &Value) -> Result<i64, ScenarioError> {
        const EXPECTED: &str = "a whole number, or an expression like \"{N - 1}\"";
        match &value.kind {
            Kind::Number(number) => Ok(*number),
            Kind::Text(text) if text.starts_with('{') && text.find('}') == Some(text.len() - 1) => {
                let inner = &text[1..text.len() - 1];
                expr::number(inner, self).map_err(|message| value.place.error(message, EXPECTED))
            }
            _ => Err(value.unexpected(EXPECTED)),
        }
    }

    /// A whole number that is at least `min`.
    pub fn number(&self, value: &Value, min: u64) -> Result<u64, ScenarioError> {
        let number = self.integer(value)?;
        match u64::try_from(number) {
            Ok(number) if number >= min => Ok(number),
            _ => Err(value.place.error(format!("{number} is too small"), format!("a whole number from {min}"))),
        }
    }

    /// A time in ns.
    pub fn time(&self, value: &Value) -> Result<u64, ScenarioError> {
        match &value.kind {
            Kind::Number(number) if *number >= 0 => {
                let help = format!("write \"{number}ms\" (or ns, us, s)");
                Err(value.place.error(format!("{number} has no unit"), units::TIME).help(help))
            }
            _ => self.quantity(value, units::TIME, units::time),
        }
    }

    /// A size in bytes; a bare number counts bytes.
    pub fn size(&self, value: &Value) -> Result<u64, ScenarioError> {
        match &value.kind {
            Kind::Number(_) => self.number(value, 0),
            Kind::Text(text) if text.starts_with('{') && text.ends_with('}') => self.number(value, 0),
            _ => self.quantity(value, units::SIZE, units::size),
        }
    }

    /// The mean gap, in ns, of a rate.
    pub fn gap(&self, value: &Value) -> Result<u64, ScenarioError> {
        self.quantity(value, units::RATE, units::gap)
    }

    fn quantity(&self, value: &Value, expected: &str, read: fn(&str) -> Result<u64, String>) -> Result<u64, ScenarioError> {
        let text = self.text(value, expected)?;
        read(&text).map_err(|message| value.place.error(message, expected))
    }

    /// `true` or `false`.
    pub fn flag(&self, value: &Value) -> Result<bool, ScenarioError> {
        match value.kind {
            Kind::Flag(flag) => Ok(flag),
            _ => Err(value.unexpected("true or false")),
        }
    }
}

/// Refuses keys that are not in `known`.
pub(super) fn check_keys(table: &Table, known: &[&str]) -> Result<(), ScenarioError> {
    match table.entries.iter().find(|entry| !known.contains(&entry.key.as_str())) {
        None => Ok(()),
        Some(entry) => {
            let error = entry.key_place.error(format!("unknown key \"{}\"", entry.key), format!("one of {}", known.join(", ")));
            Err(suggest(error, &entry.key, known.iter().copied()))
        }
    }
}

/// The value of a key that must be there.
pub(super) fn need<'a>(table: &'a Table, key: &str, place: &Place) -> Result<&'a Value, ScenarioError> {
    table.get(key).ok_or_else(|| place.error(format!("\"{key}\" is missing"), format!("a \"{key}\" here")))
}

/// Refuses names that templates, `--set` and messages could not speak of.
pub(super) fn check_name(name: &str, place: &Place) -> Result<(), ScenarioError> {
    if expr::is_name(name) {
        return Ok(());
    }
    Err(place.error(format!("\"{name}\" is no name"), "a letter or _, then letters, digits and _"))
}

/// Adds "did you mean" when a known name is near.
pub(super) fn suggest<'a>(error: ScenarioError, name: &str, known: impl Iterator<Item = &'a str>) -> ScenarioError {
    match nearest(name, known) {
        Some(near) => error.help(format!("did you mean \"{near}\"?")),
        None => error,
    }
}

/// The known name that is fewest edits away, if it is near enough to be meant.
pub(super) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let near = known.map(|known| (distance(name, known), known)).min_by_key(|(edits, _)| *edits)?;
    (near.0 <= 1.max(name.len() / 3)).then_some(near.1)
}

/// Edits (insert, delete, replace, swap neighbours) that make `a` of `b`, case ignored.
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase().into_bytes(), b.to_ascii_lowercase().into_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
