//! A value together with its place, and the list of mistakes that all readers share.

use std::{cell::RefCell, fmt};

use serde_json::{Map, Value};

use super::Problem;

/// Reads `value` and returns either what the reader made of it or every mistake it noted.
pub(super) fn collect<T>(
    value: &Value,
    reader: impl FnOnce(&Cursor<'_>) -> T,
) -> Result<T, Vec<Problem>> {
    let problems = RefCell::default();
    let read = reader(&Cursor {
        value,
        path: Vec::new(),
        problems: &problems,
    });
    let problems = problems.into_inner();
    if problems.is_empty() {
        Ok(read)
    } else {
        Err(problems)
    }
}

/// A value, its place, and where its mistakes are noted.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    value: &'a Value,
    path: Vec<String>,
    problems: &'a RefCell<Vec<Problem>>,
}

/// Which keys a map may have.
#[derive(Debug)]
pub(super) struct AllowedKeys<'a> {
    /// Those that are read.
    pub(super) allowed: &'a [&'a str],
    /// Those that are known but cannot be used here, each with its message.
    pub(super) unavailable: &'a [(&'a str, &'a str)],
}

impl<'a> AllowedKeys<'a> {
    /// These and no others.
    pub(super) fn only(allowed: &'a [&'a str]) -> Self {
        Self {
            allowed,
            unavailable: &[],
        }
    }
}

impl<'a> Cursor<'a> {
    pub(super) fn value(&self) -> &'a Value {
        self.value
    }

    /// Notes a mistake here.
    pub(super) fn problem(&self, message: impl Into<String>) {
        self.problems.borrow_mut().push(Problem {
            path: self.path.clone(),
            message: message.into(),
        });
    }

    /// Notes that something of another kind was expected.
    pub(super) fn expected<T>(&self, what: impl fmt::Display) -> Option<T> {
        self.problem(format!("found {}, expected {what}", found(self.value)));
        None
    }

    /// Notes that another text was expected. The kind of what was found is left out when it is
    /// the right one.
    pub(super) fn expected_text<T>(&self, what: impl fmt::Display) -> Option<T> {
        let Some(text) = self.value.as_str() else {
            return self.expected(what);
        };
        self.problem(format!("found `{}`, expected {what}", shown(text)));
        None
    }

    /// The entries of a map. Nothing at all is an empty map: a key whose lines are all commented
    /// out is no mistake by itself.
    pub(super) fn map(&self, keys: &AllowedKeys<'_>, example: &str) -> Option<Entries<'_>> {
        let entries = match self.value {
            Value::Null => None,
            Value::Object(entries) => Some(entries),
            _ => return self.expected(format_args!("a map like {example}")),
        };
        let map = Entries { at: self, entries };
        map.refuse_others(keys);
        Some(map)
    }

    /// What the only entry of a map says. Should there be several, all of them are read, for
    /// their mistakes.
    pub(super) fn only_entry<T>(
        &self,
        keys: &AllowedKeys<'_>,
        expected: &str,
        mut reader: impl FnMut(&str, &Cursor<'_>) -> Option<T>,
    ) -> Option<T> {
        let Value::Object(entries) = self.value else {
            return self.expected(expected);
        };
        let map = Entries {
            at: self,
            entries: Some(entries),
        };
        map.refuse_others(keys);
        match entries.len() {
            1 => {}
            0 => self.problem(format!("found an empty map, expected {expected}")),
            count => self.problem(format!(
                "found a map with {count} keys, expected {expected}"
            )),
        }
        let mut last = None;
        for key in map.present(keys.allowed) {
            last = map.get(key).and_then(|at| reader(key, &at));
        }
        last
    }

    /// The items of a list.
    pub(super) fn list(&self, expected: &str) -> Option<Vec<Cursor<'a>>> {
        let Value::Array(items) = self.value else {
            return self.expected(expected);
        };
        let each = items.iter().enumerate();
        Some(
            each.map(|(position, item)| self.child(position.to_string(), item))
                .collect(),
        )
    }

    fn child(&self, step: String, value: &'a Value) -> Cursor<'a> {
        let mut path = self.path.clone();
        path.push(step);
        Cursor {
            value,
            path,
            problems: self.problems,
        }
    }
}

/// The entries of a map.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    at: &'a Cursor<'a>,
    entries: Option<&'a Map<String, Value>>,
}

impl<'a> Entries<'a> {
    pub(super) fn get(&self, key: &str) -> Option<Cursor<'a>> {
        let value = self.entries?.get(key)?;
        Some(self.at.child(key.to_owned(), value))
    }

    /// Those of `keys` that are there.
    pub(super) fn present<'k>(&self, keys: &[&'k str]) -> Vec<&'k str> {
        let there = |key: &&str| self.entries.is_some_and(|map| map.contains_key(*key));
        keys.iter().copied().filter(there).collect()
    }

    /// Puts what a key says into `into`; a key that is absent changes nothing.
    pub(super) fn read<T>(
        &self,
        key: &str,
        into: &mut T,
        reader: impl FnOnce(&Cursor<'_>) -> Option<T>,
    ) {
        if let Some(read) = self.get(key).and_then(|at| reader(&at)) {
            *into = read;
        }
    }

    /// What a key says, or `default` when it is absent.
    pub(super) fn or<T>(
        &self,
        key: &str,
        default: T,
        reader: impl FnOnce(&Cursor<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.get(key) {
            Some(at) => reader(&at),
            None => Some(default),
        }
    }

    /// What a key says; a key that is absent is a mistake of the map.
    pub(super) fn require<T>(
        &self,
        key: &str,
        what: impl fmt::Display,
        reader: impl FnOnce(&Cursor<'_>) -> Option<T>,
    ) -> Option<T> {
        let Some(at) = self.get(key) else {
            self.at
                .problem(format!("`{key}` is missing, expected {what}"));
            return None;
        };
        reader(&at)
    }

    /// Notes a mistake at a key.
    pub(super) fn problem(&self, key: &str, message: impl Into<String>) {
        self.at
            .child(key.to_owned(), self.at.value)
            .problem(message);
    }

    fn refuse_others(&self, keys: &AllowedKeys<'_>) {
        for (key, value) in self.entries.into_iter().flatten() {
            if keys.allowed.contains(&key.as_str()) {
                continue;
            }
            let message = match keys.unavailable.iter().find(|(name, _)| name == key) {
                Some((_, message)) => (*message).to_owned(),
                None => unknown(key, keys.allowed),
            };
            self.at.child(key.clone(), value).problem(message);
        }
    }
}

fn unknown(key: &str, allowed: &[&str]) -> String {
    let meant = nearest(key, allowed)
        .map(|near| format!(" did you mean `{near}`?"))
        .unwrap_or_default();
    format!("unknown key;{meant} allowed are {}", allowed.join(", "))
}

/// The key that was probably meant: two slips away at most, or the beginning of what was written
/// (`minReplicas`).
pub fn nearest<'k>(key: &str, allowed: &[&'k str]) -> Option<&'k str> {
    let plain = |text: &str| text.replace(['_', '-', ' '], "").to_ascii_lowercase();
    let key = plain(key);
    let slips = |near: &&str| distance(&key, &plain(near));
    allowed
        .iter()
        .copied()
        .filter(|near| slips(near) <= near.len() / 3)
        .min_by_key(slips)
        .or_else(|| {
            allowed
                .iter()
                .copied()
                .find(|near| key.starts_with(&plain(near)))
        })
}

/// How many letters must be added, dropped or replaced to get from one text to the other. A
/// stranger's key may be long; beyond the length of any key of ours it is not worth counting.
fn distance(from: &str, to: &str) -> usize {
    if from.len() > 40 {
        return from.len();
    }
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.chars().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.chars().count()]
}

/// What a value is, in the words of a message.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(truth) => format!("`{truth}` (a truth value)"),
        Value::Number(number) => format!("`{number}` (a number)"),
        Value::String(text) => format!("`{}` (a text)", shown(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "a map".into(),
    }
}

/// A text of the user's on one line, and not too much of it.
fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let more = if text.chars().nth(MOST).is_some() {
        "…"
    } else {
        ""
    };
    let printable = |c: char| -> String {
        if c.is_control() {
            c.escape_default().collect()
        } else {
            c.into()
        }
    };
    text.chars().take(MOST).map(printable).collect::<String>() + more
}
