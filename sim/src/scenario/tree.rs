//! The file as plain values that know where they stand; overlays and overrides edit this tree before anything is read from it.

use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;
use toml_edit::{Document, Item};

use super::error::{Place, ScenarioError, Source};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub kind: Kind,
    pub place: Place,
}

/// The kinds of value the language knows.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Flag(bool),
    Number(i64),
    Text(String),
    List(Vec<Value>),
    Table(Table),
    /// What TOML has and the language has not (decimal numbers, dates), by its name.
    Foreign(&'static str),
}

/// Entries in file order, each key once.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
}

/// `key = value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub key_place: Place,
    pub value: Value,
}

impl Value {
    /// What it is, for a sentence.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Flag(flag) => flag.to_string(),
            Kind::Number(number) => number.to_string(),
            Kind::Text(text) => format!("\"{text}\""),
            Kind::List(_) => "a list".into(),
            Kind::Table(_) => "a table".into(),
            Kind::Foreign(name) => (*name).into(),
        }
    }

    /// The error that it is not `expected`.
    pub fn unexpected(&self, expected: impl Into<String>) -> ScenarioError {
        let expected = expected.into();
        self.place.error(format!("found {}, expected {expected}", self.describe()), expected)
    }

    /// Its entries.
    pub fn table(&self) -> Result<&Table, ScenarioError> {
        match &self.kind {
            Kind::Table(table) => Ok(table),
            _ => Err(self.unexpected("a table")),
        }
    }

    /// Its items.
    pub fn list(&self, expected: &str) -> Result<&[Value], ScenarioError> {
        match &self.kind {
            Kind::List(items) => Ok(items),
            _ => Err(self.unexpected(expected)),
        }
    }
}

impl Table {
    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The value of `key`, to edit.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Value> {
        self.entries.iter_mut().find(|entry| entry.key == key).map(|entry| &mut entry.value)
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at).value)
    }

    /// Merges `over` into this table: tables merge, anything else replaces.
    pub fn merge(&mut self, over: &Table) {
        for entry in &over.entries {
            match self.entries.iter_mut().find(|own| own.key == entry.key) {
                None => self.entries.push(entry.clone()),
                Some(own) => match (&mut own.value.kind, &entry.value.kind) {
                    (Kind::Table(own), Kind::Table(over)) => own.merge(over),
                    _ => own.value = entry.value.clone(),
                },
            }
        }
    }
}

/// Names a text for places.
pub(super) fn source(name: &str, text: &str) -> Source {
    Arc::new(NamedSource::new(name, text.to_owned()))
}

/// Parses a TOML text.
pub(super) fn parse(source: &Source) -> Result<Table, ScenarioError> {
    let document = Document::parse(source.inner().as_str()).map_err(|error| {
        let place = place(source, error.span());
        place.error(format!("not TOML: {}", error.message().trim_end()), "TOML")
    })?;
    Ok(table(document.as_table(), source))
}

fn place(source: &Source, range: Option<Range<usize>>) -> Place {
    Place { source: source.clone(), range: range.unwrap_or(0..0) }
}

fn table(table: &dyn toml_edit::TableLike, source: &Source) -> Table {
    let entries = table.iter().map(|(name, item)| {
        let key_place = place(source, table.key(name).and_then(|key| key.span()));
        Entry { key: name.to_owned(), value: value(item, source, &key_place), key_place }
    });
    Table { entries: entries.collect() }
}

fn value(item: &Item, source: &Source, key_place: &Place) -> Value {
    let own = item.span().map_or_else(|| key_place.clone(), |range| place(source, Some(range)));
    let kind = match item {
        Item::None => Kind::Foreign("nothing"),
        Item::Table(inner) => Kind::Table(table(inner, source)),
        Item::ArrayOfTables(tables) => Kind::List(
            tables
                .iter()
                .map(|inner| Value {
                    place: inner.span().map_or_else(|| own.clone(), |range| place(source, Some(range))),
                    kind: Kind::Table(table(inner, source)),
                })
                .collect(),
        ),
        Item::Value(inner) => scalar(inner, source, &own),
    };
    Value { kind, place: own }
}

fn scalar(item: &toml_edit::Value, source: &Source, own: &Place) -> Kind {
    match item {
        toml_edit::Value::String(text) => Kind::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Kind::Number(*number.value()),
        toml_edit::Value::Boolean(flag) => Kind::Flag(*flag.value()),
        toml_edit::Value::Float(_) => Kind::Foreign("a decimal number"),
        toml_edit::Value::Datetime(_) => Kind::Foreign("a date"),
        toml_edit::Value::InlineTable(inner) => Kind::Table(table(inner, source)),
        toml_edit::Value::Array(items) => Kind::List(
            items
                .iter()
                .map(|item| {
                    let place = item.span().map_or_else(|| own.clone(), |range| place(source, Some(range)));
                    Value { kind: scalar(item, source, &place), place }
                })
                .collect(),
        ),
    }
}
