//! From the text of a file to trees with places.
//!
//! `serde_yaml` says what the text means; `libyaml-safer` says on which line each key and item
//! stands. Both are libyaml in Rust, as compose's parser is libyaml in Go, so what one of them takes the
//! other takes too. Both are walked side by side, aliases included, so a value that came through an
//! anchor points to the line where it was written.

use std::{collections::BTreeMap, rc::Rc};

use serde::Deserialize;
use serde_yaml::Value as Yaml;

use self::lines::{LineTree, Lost, MapEntry};
use super::tree::{KeyPath, Map, Node, NodeValue, OverrideTag, SourceLocation};

mod lines;

/// A mistake of the text itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// Its line; 0 when it is not known.
    pub(crate) line: usize,
    /// The keys that lead to it, when it is about one.
    pub(crate) path: KeyPath,
    /// What is wrong.
    pub(crate) message: String,
}

impl YamlError {
    fn at(line: usize, message: String) -> Self {
        Self {
            line,
            path: KeyPath::default(),
            message,
        }
    }
}

/// Reads the documents of a file; empty ones are left out.
pub(crate) fn parse(text: &str, file: usize) -> Result<Vec<Node>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if let Some(line) = too_many_open(text) {
        let message = format!("more than {MOST_OPEN} brackets are open at once");
        return Err(YamlError::at(line, message));
    }
    let places = match lines::documents(text) {
        Ok(places) => Some(places),
        Err(Lost::Here) => None,
        Err(Lost::Refused { line, message }) => return Err(YamlError::at(line, message)),
    };
    for place in places.iter().flatten() {
        no_duplicates(place, &KeyPath::default())?;
    }
    let mut nodes = Vec::new();
    for (at, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = Yaml::deserialize(document).map_err(|error| syntax(&error))?;
        let place = places.as_ref().and_then(|places| places.get(at));
        // A file without anything is one document to the parser; a document that was begun is not.
        if value.is_null() && place.is_none() {
            continue;
        }
        let walk = Walk { file };
        let place = place.map(Rc::as_ref);
        let line = place.map_or(0, LineTree::line);
        nodes.push(walk.node(value, place, line, &KeyPath::default())?);
    }
    Ok(nodes)
}

/// Brackets that are open at once, in texts too: the parsers take the square of it in time.
const MOST_OPEN: usize = 1000;

/// The line with more open brackets than that.
fn too_many_open(text: &str) -> Option<usize> {
    let (mut open, mut line) = (0_usize, 1);
    for byte in text.bytes() {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            b'\n' => line += 1,
            _ => {}
        }
        if open > MOST_OPEN {
            return Some(line);
        }
    }
    None
}

fn syntax(error: &serde_yaml::Error) -> YamlError {
    let message = error.to_string();
    let message = message
        .split_once(" at line ")
        .map_or(message.as_str(), |(before, _)| before);
    let message = match message {
        long if long.contains("` as u128") || long.contains("` as i128") => {
            "a number has more digits than are read here; put it in quotes"
        }
        "recursion limit exceeded" => "an alias stands inside of its own anchor",
        message => message,
    };
    YamlError {
        line: error.location().map_or(0, |location| location.line()),
        path: KeyPath::default(),
        message: format!("not valid YAML: {message}"),
    }
}

fn no_duplicates(place: &LineTree, path: &KeyPath) -> Result<(), YamlError> {
    match place {
        LineTree::Scalar { .. } => {}
        LineTree::List { items, .. } => {
            for (at, item) in items.iter().enumerate() {
                no_duplicates(item, &path.item(at))?;
            }
        }
        LineTree::Map { entries, .. } => {
            let mut seen = BTreeMap::new();
            for entry in entries {
                let path = path.key(&entry.key);
                if let Some(first) = seen.insert(&entry.key, entry.line) {
                    return Err(YamlError {
                        line: entry.line,
                        path,
                        message: format!("key is already defined at line {first}"),
                    });
                }
                no_duplicates(&entry.place, &path)?;
            }
        }
    }
    Ok(())
}

struct Walk {
    file: usize,
}

impl Walk {
    fn node(
        &self,
        value: Yaml,
        place: Option<&LineTree>,
        line: usize,
        path: &KeyPath,
    ) -> Result<Node, YamlError> {
        let at = SourceLocation {
            file: self.file,
            line,
        };
        let value = match value {
            Yaml::Null => NodeValue::Null,
            Yaml::Bool(yes) => NodeValue::Bool(yes),
            Yaml::Number(number) => number.as_i64().map_or_else(
                || NodeValue::Float(number.as_f64().unwrap_or(f64::NAN)),
                NodeValue::Int,
            ),
            Yaml::String(text) => match place {
                Some(LineTree::Scalar {
                    text: written,
                    plain: true,
                    ..
                }) => old_number(written).unwrap_or_else(|| {
                    if is_date(written) {
                        NodeValue::Date(text)
                    } else {
                        NodeValue::Text(text)
                    }
                }),
                _ => NodeValue::Text(text),
            },
            Yaml::Sequence(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let below = match place {
                        Some(LineTree::List { items, .. }) => items.get(index).map(Rc::as_ref),
                        _ => None,
                    };
                    // An item that is an alias is named by the line it stands on here.
                    let own = below.map_or(line, LineTree::line);
                    list.push(self.node(item, below, own, &path.item(index))?);
                }
                NodeValue::List(list)
            }
            Yaml::Mapping(entries) => NodeValue::Map(self.map(entries, place, line, path)?),
            Yaml::Tagged(tagged) => {
                let mut node = self.node(tagged.value, place, line, path)?;
                // What has a tag of its own is a text to compose, even `!override null`; a policy is
                // for us alone, and `max: !override 5` is a number.
                if let Some(LineTree::Scalar { text, .. }) = place
                    && !path.0.iter().any(|key| key == "x-autoscale")
                {
                    node.value = NodeValue::Text(text.clone());
                }
                // Compose takes no notice of other tags either.
                node.edit = match tagged.tag.to_string().as_str() {
                    "!reset" => Some(OverrideTag::Reset),
                    "!override" => Some(OverrideTag::Override),
                    _ => None,
                };
                return Ok(node);
            }
        };
        let mut node = Node::new(at, value);
        node.literal = matches!(place, Some(LineTree::Scalar { literal: true, .. }));
        Ok(node)
    }

    fn map(
        &self,
        entries: serde_yaml::Mapping,
        place: Option<&LineTree>,
        line: usize,
        path: &KeyPath,
    ) -> Result<Map, YamlError> {
        let known: &[MapEntry] = match place {
            Some(LineTree::Map { entries, .. }) => entries,
            _ => &[],
        };
        let mut map = Map::with_capacity(entries.len());
        let mut shared = Vec::new();
        // Both have the keys in the order of the file, each once.
        for (position, (key, value)) in entries.into_iter().enumerate() {
            let entry = known.get(position);
            let Yaml::String(key) = key else {
                let found = serde_yaml::to_string(&key).unwrap_or_default();
                let found = found.trim();
                let (shown, fix) = match &key {
                    Yaml::Sequence(_) | Yaml::Mapping(_) => ("[…] or {…}", ""),
                    _ => (found, " (put it in quotes)"),
                };
                return Err(YamlError {
                    line: entry.map_or(line, |entry| entry.line),
                    path: path.clone(),
                    message: format!("found the key {shown}, expected a text{fix}"),
                });
            };
            let line = entry.map_or(line, |entry| entry.line);
            let below = entry.map(|entry| entry.place.as_ref());
            let node = self.node(value, below, line, &path.key(&key))?;
            if key == "<<" {
                shared.push(node);
            } else {
                map.insert(key, node);
            }
        }
        for node in shared {
            merge_shared(&mut map, node, path)?;
        }
        Ok(map)
    }
}

/// Fills in the keys of a `<<` value: keys that are written out win, and so do earlier sources.
fn merge_shared(map: &mut Map, node: Node, path: &KeyPath) -> Result<(), YamlError> {
    let at = node.at;
    match node.value {
        NodeValue::Map(shared) => {
            for (key, mut node) in shared {
                match map.get_mut(&key) {
                    // Compose takes the key away before it looks at `<<`.
                    Some(own) if own.edit == Some(OverrideTag::Reset) => {
                        node.edit = Some(OverrideTag::Override);
                        *own = node;
                    }
                    Some(_) => {}
                    None => {
                        map.insert(key, node);
                    }
                }
            }
            Ok(())
        }
        NodeValue::List(items) if items.iter().all(|item| item.as_map().is_some()) => {
            for item in items {
                merge_shared(map, item, path)?;
            }
            Ok(())
        }
        value => Err(YamlError {
            line: at.line,
            path: path.key("<<"),
            message: format!(
                "found {}, expected a map or a list of maps",
                Node::new(at, value)
            ),
        }),
    }
}

/// Numbers that compose's parser reads and `serde_yaml` leaves as text: `0440` is octal,
/// `1_000` has a separator, and `089` is no octal number but still a number.
fn old_number(plain: &str) -> Option<NodeValue> {
    let digits = plain.replace('_', "");
    let unsigned = digits.strip_prefix(['+', '-']).unwrap_or(&digits);
    let sign = if digits.starts_with('-') { -1 } else { 1 };
    if unsigned.is_empty() || !plain.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
    {
        return None;
    }
    let (radix, rest) = match unsigned.get(..2) {
        Some("0x" | "0X") => (16, &unsigned[2..]),
        Some("0b" | "0B") => (2, &unsigned[2..]),
        Some("0o" | "0O") => (8, &unsigned[2..]),
        _ if unsigned.len() > 1 && unsigned.starts_with('0') => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    if rest.bytes().all(|b| b.is_ascii_alphanumeric())
        && let Ok(number) = i64::from_str_radix(rest, radix)
    {
        return Some(NodeValue::Int(sign * number));
    }
    let float = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if unsigned.chars().all(float) && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return digits.parse().ok().map(NodeValue::Float);
    }
    None
}

/// Whether compose's parser takes a plain text for a date: `2001-1-31`, and with a time.
fn is_date(plain: &str) -> bool {
    let (date, time) = match plain.split_once(['T', 't', ' ']) {
        Some((date, time)) => (date, Some(time)),
        None => (plain, None),
    };
    let mut parts = date.splitn(3, '-');
    let mut part = |most: usize| {
        let text = parts.next().unwrap_or_default();
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        (digits && text.len() <= most).then(|| text.parse::<u32>().ok())?
    };
    let (year, month, day) = (part(4), part(2), part(2));
    let days = match month {
        Some(2) if year.is_some_and(|y| y % 4 == 0 && (y % 100 != 0 || y % 400 == 0)) => 29,
        Some(2) => 28,
        Some(4 | 6 | 9 | 11) => 30,
        Some(1..=12) => 31,
        _ => 0,
    };
    let clock = |c: char| c.is_ascii_digit() || ":.+-Z ".contains(c);
    date.find('-') == Some(4)
        && year.is_some()
        && day.is_some_and(|day| (1..=days).contains(&day))
        && time.is_none_or(|time| time.matches(':').count() >= 2 && time.chars().all(clock))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Node {
        parse(text, 0).unwrap().remove(0)
    }

    fn error(text: &str) -> String {
        let error = parse(text, 0).unwrap_err();
        format!("{}: {}: {}", error.line, error.path, error.message)
    }

    #[test]
    fn every_key_and_item_knows_its_line() {
        let root = root("a:\n  b: 1\n  c:\n    - x\n    - {d: 2,\n       e: 3}\n");
        let line = |path: &[&str]| root.spot_of(path).line;
        assert_eq!(line(&["a"]), 1);
        assert_eq!(line(&["a", "b"]), 2);
        assert_eq!(line(&["a", "c"]), 3);
        assert_eq!(line(&["a", "c", "[1]"]), 5);
        assert_eq!(line(&["a", "c", "[1]", "e"]), 6);
    }

    #[test]
    fn merged_keys_point_to_their_anchor_and_lose_to_written_ones() {
        let root = root("x: &x\n  a: 1\n  b: 2\ny:\n  <<: *x\n  b: 3\nz:\n  <<: [{a: 4}, *x]\n");
        assert_eq!(root.spot_of(&["y", "a"]).line, 2);
        assert_eq!(
            root.get("y").unwrap().to_json(),
            serde_json::json!({"b": 3, "a": 1})
        );
        assert_eq!(
            root.get("z").unwrap().to_json(),
            serde_json::json!({"a": 4, "b": 2})
        );
    }

    #[test]
    fn numbers_are_read_as_compose_reads_them() {
        let text = "[0440, 1_000, 1.10, 089, 0x10, 0o17, .5, +1, yes, '0440', 2001-13-01, 1-2]";
        assert_eq!(
            root(text).to_json(),
            serde_json::json!([
                288,
                1000,
                1.1,
                89.0,
                16,
                15,
                0.5,
                1,
                "yes",
                "0440",
                "2001-13-01",
                "1-2"
            ])
        );
    }

    #[test]
    fn dates_are_neither_texts_nor_numbers() {
        for date in [
            "2001-01-31",
            "2024-2-29",
            "2001-12-14t21:59:43.10-05:00",
            "2001-12-14 21:59:43",
        ] {
            assert_eq!(root(date).value, NodeValue::Date(date.into()), "{date}");
        }
        for text in [
            "2001-02-29",
            "2001-1-32",
            "01-01-2001",
            "2001-01",
            "2001-01-01 noon",
            "'2001-01-01'",
        ] {
            assert!(root(text).as_text().is_some(), "{text}");
        }
    }

    #[test]
    fn what_compose_takes_beyond_the_standard_keeps_its_lines_and_numbers() {
        for text in [
            "test: [\n  a\n]\nmode: 0755\n",
            "a: [-c, -]\n\n\nmode: 0755\n",
            "a:\tb\nb: {c: d}# e\n\nmode: 0755\n",
            "a: \"b\nc\"\n\nmode: 0755\n",
        ] {
            let root = root(text);
            assert_eq!(root.spot_of(&["mode"]).line, 4, "{text}");
            assert_eq!(root.get("mode").unwrap().to_json(), 0o755, "{text}");
        }
    }

    #[test]
    fn a_key_that_is_reset_beside_a_merged_one_is_replaced_by_it() {
        let root = root("x: &x {a: 1}\ny:\n  <<: *x\n  a: !reset 2\n");
        let own = root.get("y").unwrap().get("a").unwrap();
        assert_eq!(
            (own.to_json(), own.edit),
            (1.into(), Some(OverrideTag::Override))
        );
    }

    #[test]
    fn documents_keep_their_order_and_lines() {
        let all = parse("a: 1\n---\n---\nb: 2\n", 0).unwrap();
        assert_eq!(all.len(), 3);
        assert!(all[1].is_null());
        assert_eq!(all[2].spot_of(&["b"]).line, 4);
        for nothing in ["", "# only this\n", "\n\n"] {
            assert_eq!(parse(nothing, 0), Ok(Vec::new()), "{nothing:?}");
        }
    }

    #[test]
    fn tags_of_compose_are_kept_and_others_ignored() {
        let root = root("a: !reset null\nb: !override [1]\nc: !reset\nd: !!str 12\ne: !other f\n");
        assert_eq!(root.get("a").unwrap().edit, Some(OverrideTag::Reset));
        assert_eq!(root.get("b").unwrap().edit, Some(OverrideTag::Override));
        assert_eq!(root.get("c").unwrap().edit, Some(OverrideTag::Reset));
        assert_eq!(root.get("d").unwrap().as_text(), Some("12"));
        let other = root.get("e").unwrap();
        assert_eq!((other.edit, other.as_text()), (None, Some("f")));
        assert_eq!(root.get("b").unwrap().to_json(), serde_json::json!([1]));
        let texts = self::root("[!override null, !mine 5, !!int '5']");
        assert_eq!(texts.to_json(), serde_json::json!(["null", "5", 5]));
    }

    #[test]
    fn mistakes_of_the_text_have_a_line() {
        insta::assert_snapshot!(error("a:\n  b: 1\n  b: 2\n"), @"3: a.b: key is already defined at line 2");
        insta::assert_snapshot!(error("a: b: c\n"), @"1: : not valid YAML: mapping values are not allowed in this context");
        insta::assert_snapshot!(error("a: [1,\nb: 2\n"), @"3: : not valid YAML: did not find expected ',' or ']'");
        insta::assert_snapshot!(error("a:\n  1: b\n"), @"2: a: found the key 1, expected a text (put it in quotes)");
        insta::assert_snapshot!(error("? [a, b]\n: c\n"), @"1: : found the key […] or {…}, expected a text");
        insta::assert_snapshot!(error("a: 99999999999999999999\n"), @"1: : not valid YAML: a number has more digits than are read here; put it in quotes");
        insta::assert_snapshot!(error("%YAML 1.2\n---\na: 1\n"), @"1: : compose takes no other version than %YAML 1.1; take this line away");
        insta::assert_snapshot!(error("a: 1\n<<: 2\n"), @"2: <<: found 2, expected a map or a list of maps");
    }
}
