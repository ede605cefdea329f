//! `--set key=value`: replaces one number, flag or string of the tree.

use super::error::{Place, ScenarioError, Source};
use super::read;
use super::tree::{self, Kind, Table, Value};

/// Most candidates that an error lists.
const MAX_LISTED: usize = 12;

/// One override.
pub(super) struct Override {
    key: String,
    value: String,
    source: Source,
}

impl Override {
    pub fn new(key: &str, value: &str) -> Override {
        let text = format!("{key}={value}");
        Override { key: key.trim().to_owned(), value: value.trim().to_owned(), source: tree::source("--set", &text) }
    }

    /// Whether the key means a value below the top-level table `top`.
    pub fn is_below(&self, root: &Table, top: &str) -> bool {
        self.find(root).is_ok_and(|path| path[0] == top)
    }

    /// Replaces the value that the key means.
    pub fn apply(&self, root: &mut Table) -> Result<(), ScenarioError> {
        let path = self.find(root)?;
        let Some(value) = walk(root, &path) else { return Err(self.unknown(&[])) };
        let range = self.key_length() + 1..self.source.inner().len();
        let place = Place { source: self.source.clone(), range };
        let wrong = |expected: &str| {
            let found = format!("\"{}\" takes {expected}, not \"{}\"", path.join("."), self.value);
            place.error(found, expected).help(format!("the file says {}", value.describe()))
        };
        let text = || Kind::Text(self.value.clone());
        let integer = self.value.replace('_', "").parse().ok().map(Kind::Number);
        let kind = match &value.kind {
            Kind::Flag(_) => Kind::Flag(self.value.parse().map_err(|_| wrong("true or false"))?),
            // A number may also be given with a unit or as an expression: whoever reads it decides.
            Kind::Number(_) => match integer {
                Some(number) => number,
                None if self.value.starts_with(|c: char| c.is_ascii_digit() || c == '{') => text(),
                None => return Err(wrong("a number")),
            },
            _ => integer.unwrap_or_else(text),
        };
        *value = Value { kind, place };
        Ok(())
    }

    fn key_length(&self) -> usize {
        self.source.inner().find('=').unwrap_or(0)
    }

    /// The path of the one value that the key means: a whole path, else the tail of exactly one.
    fn find(&self, root: &Table) -> Result<Vec<String>, ScenarioError> {
        let key: Vec<&str> = self.key.split('.').collect();
        let leaves = collect_leaves(root);
        if let Some(leaf) = leaves.iter().find(|leaf| leaf.matches(&key)) {
            return Ok(leaf.path.clone());
        }
        let mut tails: Vec<&Leaf> = leaves.iter().filter(|leaf| leaf.has_tail(&key)).collect();
        if tails.iter().any(|leaf| !leaf.computed) {
            tails.retain(|leaf| !leaf.computed);
        }
        match tails.as_slice() {
            [leaf] => Ok(leaf.path.clone()),
            [] => Err(self.unknown(&leaves)),
            many => {
                let all: Vec<String> = many.iter().map(|leaf| leaf.path.join(".")).collect();
                Err(self.key_error(format!("\"{}\" means {} values", self.key, all.len()), "the key of one value", &all))
            }
        }
    }

    fn unknown(&self, leaves: &[Leaf]) -> ScenarioError {
        let message = format!("the scenario has no value \"{}\"", self.key);
        let last = self.key.rsplit('.').next().unwrap_or(&self.key);
        let paths = |likely: &dyn Fn(&Leaf) -> bool| -> Vec<String> {
            leaves.iter().filter(|leaf| likely(leaf)).map(|leaf| leaf.path.join(".")).collect()
        };
        let mut candidates = paths(&|leaf| leaf.path.iter().any(|own| own == last));
        if candidates.is_empty() {
            let ends = leaves.iter().filter(|leaf| leaf.short).filter_map(|leaf| leaf.path.last());
            let near = read::nearest(last, ends.map(String::as_str));
            candidates = paths(&|leaf| leaf.short && near.is_none_or(|near| leaf.path.last().is_some_and(|own| own == near)));
        }
        self.key_error(message, "the key of a number, flag or string", &candidates)
    }

    fn key_error(&self, message: String, expected: &str, candidates: &[String]) -> ScenarioError {
        let place = Place { source: self.source.clone(), range: 0..self.key_length() };
        let mut listed = candidates[..candidates.len().min(MAX_LISTED)].join(", ");
        if candidates.len() > MAX_LISTED {
            listed.push_str(&format!(" and {} more", candidates.len() - MAX_LISTED));
        }
        place.error(message, expected).help(format!("candidates: {listed}"))
    }
}

/// A value that can be replaced.
#[derive(Clone)]
struct Leaf {
    path: Vec<String>,
    /// The same path with a step's `id` instead of its number.
    alias: Option<(usize, String)>,
    /// Whether the tail of its path may mean it: not below `when`, nor in a list, except steps.
    short: bool,
    /// Whether it is a string to be filled in, which a short key means only if nothing else ends like this.
    computed: bool,
}

impl Leaf {
    fn below(&self, key: &str) -> Leaf {
        let mut below = self.clone();
        below.path.push(key.to_owned());
        below
    }

    fn matches(&self, key: &[&str]) -> bool {
        self.path.len() == key.len()
            && self
                .path
                .iter()
                .zip(key)
                .enumerate()
                .all(|(at, (own, key))| own == key || self.alias.as_ref().is_some_and(|(place, name)| *place == at && name == key))
    }

    fn has_tail(&self, key: &[&str]) -> bool {
        self.short && self.path.len() >= key.len() && self.path[self.path.len() - key.len()..].iter().zip(key).all(|(own, key)| own == key)
    }
}

/// Every leaf below `table`, in file order.
fn collect_leaves(table: &Table) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    for entry in &table.entries {
        let at = Leaf { path: vec![entry.key.clone()], alias: None, short: entry.key != "when", computed: false };
        collect(&entry.value, at, &mut leaves);
    }
    leaves
}

fn collect(value: &Value, at: Leaf, leaves: &mut Vec<Leaf>) {
    match &value.kind {
        Kind::Table(table) => {
            for entry in &table.entries {
                collect(&entry.value, at.below(&entry.key), leaves);
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let mut below = at.below(&(index + 1).to_string());
                if let Kind::Table(table) = &item.kind
                    && let Some(Value { kind: Kind::Text(id), .. }) = table.get("id")
                {
                    below.alias = Some((below.path.len() - 1, id.clone()));
                }
                below.short &= at.path == ["step"];
                collect(item, below, leaves);
            }
        }
        Kind::Text(text) => leaves.push(Leaf { computed: text.contains('{'), ..at }),
        Kind::Flag(_) | Kind::Number(_) => leaves.push(at),
        Kind::Foreign(_) => {}
    }
}

/// The value at `path`.
fn walk<'a>(root: &'a mut Table, path: &[String]) -> Option<&'a mut Value> {
    let (first, rest) = path.split_first()?;
    let mut value = root.get_mut(first)?;
    for key in rest {
        value = match &mut value.kind {
            Kind::Table(table) => table.get_mut(key)?,
            Kind::List(items) => items.get_mut(key.parse::<usize>().ok()?.checked_sub(1)?)?,
            _ => return None,
        };
    }
    Some(value)
}
