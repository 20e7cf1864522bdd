//! A YAML tree in which every value knows the file and line it was written in.
//!
//! Values keep their place through merging, `extends` and `include`, so a mistake that only shows in
//! the merged project is still reported where it was made.

use std::{fmt, path::PathBuf};

use indexmap::IndexMap;

/// Where a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct SourceLocation {
    /// Index into [`Sources`].
    pub(crate) file: usize,
    /// Counted from 1; 0 when it is not known.
    pub(crate) line: usize,
}

/// One file that was read.
#[derive(Debug, Clone)]
pub(crate) struct SourceFile {
    /// Its absolute path; `-` for standard input.
    pub(crate) path: PathBuf,
    /// As it is shown in messages.
    pub(crate) shown: String,
    /// What relative paths written in it are relative to.
    pub(crate) base: PathBuf,
}

/// Every file that was read, in the order of reading.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sources(pub(crate) Vec<SourceFile>);

impl Sources {
    /// Adds a file and returns its index.
    pub(crate) fn add(&mut self, source: SourceFile) -> usize {
        self.0.push(source);
        self.0.len() - 1
    }

    /// What relative paths written at a spot are relative to.
    pub(crate) fn base(&self, at: SourceLocation) -> Option<&PathBuf> {
        self.0.get(at.file).map(|source| &source.base)
    }

    /// The file's name for a message.
    pub(crate) fn shown(&self, at: SourceLocation) -> &str {
        self.0.get(at.file).map_or("", |source| &source.shown)
    }
}

/// The tags with which an override file takes back what an earlier file wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OverrideTag {
    /// `!reset`: the key goes, whatever its value here.
    Reset,
    /// `!override`: this value replaces the earlier one instead of merging with it.
    Override,
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// The line of its key, of its list item, or its own.
    pub(crate) at: SourceLocation,
    /// How it acts on an earlier file.
    pub(crate) edit: Option<OverrideTag>,
    /// Whether it is a text below a `|`: its lines are those of the file, from the next one on.
    pub(crate) literal: bool,
    /// What was written.
    pub(crate) value: NodeValue,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum NodeValue {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent, or one too large for [`Value::Int`].
    Float(f64),
    /// A text.
    Text(String),
    /// A date without quotes, which is none of the above to compose.
    Date(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Map),
}

/// The entries of a map, in the order of the file.
pub(crate) type Map = IndexMap<String, Node>;

impl Node {
    /// A value at a place.
    pub(crate) fn new(at: SourceLocation, value: NodeValue) -> Self {
        Self {
            at,
            edit: None,
            literal: false,
            value,
        }
    }

    /// A text at a place.
    pub(crate) fn text(at: SourceLocation, text: impl Into<String>) -> Self {
        Self::new(at, NodeValue::Text(text.into()))
    }

    /// The entries, when it is a map.
    pub(crate) fn as_map(&self) -> Option<&Map> {
        match &self.value {
            NodeValue::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The entries, when it is a map.
    pub(crate) fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            NodeValue::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The items, when it is a list.
    pub(crate) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            NodeValue::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, when it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key, when it is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.as_map()?.get(key)
    }

    /// Whether it is nothing or an empty text, as a variable without a value leaves it.
    pub(crate) fn is_blank(&self) -> bool {
        self.is_null() || self.as_text() == Some("")
    }

    /// Whether it is `null` or nothing.
    pub(crate) fn is_null(&self) -> bool {
        matches!(self.value, NodeValue::Null)
    }

    /// A scalar as the text that compose makes of it; `None` for lists and maps.
    pub(crate) fn scalar(&self) -> Option<String> {
        match &self.value {
            NodeValue::Null => Some(String::new()),
            NodeValue::Bool(yes) => Some(yes.to_string()),
            NodeValue::Int(number) => Some(number.to_string()),
            NodeValue::Float(number) => Some(go_float(*number)),
            NodeValue::Text(text) => Some(text.clone()),
            NodeValue::Date(_) | NodeValue::List(_) | NodeValue::Map(_) => None,
        }
    }

    /// Follows keys and list positions (`[0]`) as far as they lead, and returns the last place on
    /// the way: the value's own, or that of the nearest ancestor that was written. In a list of
    /// names a name leads to its item.
    pub(crate) fn spot_of<S: AsRef<str>>(&self, path: &[S]) -> SourceLocation {
        let mut node = self;
        for step in path {
            let step = step.as_ref();
            let next = match &node.value {
                NodeValue::Map(map) => map.get(step),
                NodeValue::List(items) => match position(step) {
                    Some(at) => items.get(at),
                    None => items.iter().find(|item| item.as_text() == Some(step)),
                },
                _ => None,
            };
            match next {
                Some(next) => node = next,
                None => break,
            }
        }
        node.at
    }

    /// Whether two values are the same, wherever they were written.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (NodeValue::List(one), NodeValue::List(two)) => {
                one.len() == two.len() && one.iter().zip(two).all(|(a, b)| a.same(b))
            }
            (NodeValue::Map(one), NodeValue::Map(two)) => {
                one.len() == two.len()
                    && one
                        .iter()
                        .all(|(key, a)| two.get(key).is_some_and(|b| a.same(b)))
            }
            (one, two) => one == two,
        }
    }

    /// The plain data, for what reads values without places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            NodeValue::Null => serde_json::Value::Null,
            NodeValue::Bool(yes) => (*yes).into(),
            NodeValue::Int(number) => (*number).into(),
            // JSON has no NaN: as a text it is refused by whatever wants a number.
            NodeValue::Float(number) => serde_json::Number::from_f64(*number)
                .map_or_else(|| number.to_string().into(), serde_json::Value::Number),
            NodeValue::Text(text) | NodeValue::Date(text) => text.clone().into(),
            NodeValue::List(items) => items.iter().map(Self::to_json).collect(),
            NodeValue::Map(map) => map
                .iter()
                .map(|(key, node)| (key.clone(), node.to_json()))
                .collect(),
        }
    }
}

/// A number as Go prints it: `0.5`, `1e+06`, `1e-05`, `+Inf`.
fn go_float(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..6).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => number.to_string(),
    }
}

/// Reads a list position written `[0]`.
fn position(step: &str) -> Option<usize> {
    step.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Describes a value the way a message names what it found.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            NodeValue::Null => f.write_str("nothing"),
            NodeValue::Bool(yes) => write!(f, "{yes}"),
            NodeValue::Int(number) => write!(f, "{number}"),
            NodeValue::Float(number) => write!(f, "{number}"),
            NodeValue::Text(text) => write!(f, "{text:?}"),
            NodeValue::Date(text) => write!(f, "the date {text}"),
            NodeValue::List(_) => f.write_str("a list"),
            NodeValue::Map(_) => f.write_str("a map"),
        }
    }
}

/// Keys and list positions from the root to a value; prints as `services.web.ports[0]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct KeyPath(pub(crate) Vec<String>);

impl KeyPath {
    /// A path of keys.
    pub(crate) fn of<S: Into<String>>(keys: impl IntoIterator<Item = S>) -> Self {
        Self(keys.into_iter().map(Into::into).collect())
    }

    /// The path to a key below.
    pub(crate) fn key(&self, key: &str) -> Self {
        let mut below = self.clone();
        below.0.push(key.to_owned());
        below
    }

    /// The path to a list item below.
    pub(crate) fn item(&self, position: usize) -> Self {
        self.key(&format!("[{position}]"))
    }

    /// Whether it has this shape, where `*` stands for any one key.
    pub(crate) fn matches(&self, pattern: &str) -> bool {
        let mut keys = self.0.iter();
        let mut parts = pattern.split('.');
        loop {
            match (keys.next(), parts.next()) {
                (None, None) => return true,
                (Some(key), Some(part)) if part == "*" || part == key => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            if at > 0 && position(step).is_none() {
                f.write_str(".")?;
            }
            f.write_str(step)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prints_positions_in_brackets() {
        let path = KeyPath::of(["services", "web", "ports"])
            .item(2)
            .key("target");
        assert_eq!(path.to_string(), "services.web.ports[2].target");
        assert!(path.matches("services.*.ports.*.target"));
        assert!(!path.matches("services.*.ports"));
    }

    #[test]
    fn numbers_are_printed_as_go_prints_them() {
        for (number, text) in [
            (0.5, "0.5"),
            (1.0, "1"),
            (123_456.5, "123456.5"),
            (1e6, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (-1e21, "-1e+21"),
            (0.0001, "0.0001"),
            (0.000_012, "1.2e-05"),
            (0.0, "0"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(go_float(number), text);
        }
    }

    #[test]
    fn the_spot_of_a_missing_key_is_its_nearest_ancestor() {
        let at = |line| SourceLocation { file: 0, line };
        let inner = Node::new(at(2), NodeValue::Map(Map::new()));
        let root = Node::new(
            at(1),
            NodeValue::Map(Map::from([("web".to_owned(), inner)])),
        );
        assert_eq!(root.spot_of(&["web", "image"]), at(2));
        assert_eq!(root.spot_of(&["db"]), at(1));
    }
}
