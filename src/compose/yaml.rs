//! From the text of a file to trees with places.
//!
//! `serde_yaml` says what the text means; `saphyr-parser` says on which line each key and item
//! stands. Both are walked side by side, aliases included, so a value that came through an anchor
//! points to the line where it was written.

use std::{collections::BTreeMap, rc::Rc};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde::Deserialize;
use serde_yaml::Value as Yaml;

use super::tree::{Edit, KeyPath, Map, Node, Spot, Value};

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

/// Reads the documents of a file; empty ones are left out.
pub(crate) fn parse(text: &str, file: usize) -> Result<Vec<Node>, YamlError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let places = Scan::documents(text).ok();
    for place in places.iter().flatten() {
        no_duplicates(place, &KeyPath::default())?;
    }
    let mut nodes = Vec::new();
    for (at, document) in serde_yaml::Deserializer::from_str(text).enumerate() {
        let value = Yaml::deserialize(document).map_err(|error| syntax(&error))?;
        if value.is_null() {
            continue;
        }
        let place = places.as_ref().and_then(|places| places.get(at));
        let walk = Walk { file };
        let place = place.map(Rc::as_ref);
        let line = place.map_or(0, Place::line);
        nodes.push(walk.node(value, place, line, &KeyPath::default())?);
    }
    Ok(nodes)
}

fn syntax(error: &serde_yaml::Error) -> YamlError {
    let message = error.to_string();
    let message = message
        .split_once(" at line ")
        .map_or(message.as_str(), |(before, _)| before);
    YamlError {
        line: error.location().map_or(0, |location| location.line()),
        path: KeyPath::default(),
        message: format!("not valid YAML: {message}"),
    }
}

/// The lines of a document, in its shape.
#[derive(Debug)]
enum Place {
    Scalar {
        line: usize,
        /// The text of a scalar without quotes, before anything is made of it.
        plain: Option<String>,
    },
    List {
        line: usize,
        items: Vec<Rc<Place>>,
    },
    Map {
        line: usize,
        entries: Vec<Entry>,
    },
}

#[derive(Debug)]
struct Entry {
    key: String,
    line: usize,
    place: Rc<Place>,
}

impl Place {
    fn line(&self) -> usize {
        match self {
            Self::Scalar { line, .. } | Self::List { line, .. } | Self::Map { line, .. } => *line,
        }
    }
}

type Events<'t> = Parser<'t, saphyr_parser::StrInput<'t>>;

struct Scan<'t> {
    events: Events<'t>,
    anchors: BTreeMap<usize, Rc<Place>>,
}

/// The text is not understood. What is wrong with it is for the other parser to say.
struct Lost;

impl<'t> Scan<'t> {
    fn documents(text: &'t str) -> Result<Vec<Rc<Place>>, Lost> {
        let mut scan = Self {
            events: Parser::new_from_str(text),
            anchors: BTreeMap::new(),
        };
        let mut documents = Vec::new();
        loop {
            match scan.next()? {
                (Event::StreamEnd, _) => return Ok(documents),
                (Event::DocumentStart(_), _) => {
                    let event = scan.next()?;
                    documents.push(scan.place(event)?);
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Lost> {
        self.events.next_event().ok_or(Lost)?.map_err(|_| Lost)
    }

    fn place(&mut self, (event, span): (Event<'t>, Span)) -> Result<Rc<Place>, Lost> {
        let line = span.start.line();
        let (anchor, place) = match event {
            Event::Alias(anchor) => return self.anchors.get(&anchor).cloned().ok_or(Lost),
            Event::Scalar(text, style, anchor, tag) => {
                let plain =
                    (style == ScalarStyle::Plain && tag.is_none()).then(|| text.into_owned());
                (anchor, Place::Scalar { line, plain })
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (Event::SequenceEnd, _) => break,
                        item => items.push(self.place(item)?),
                    }
                }
                (anchor, Place::List { line, items })
            }
            Event::MappingStart(anchor, _) => {
                let mut entries = Vec::new();
                loop {
                    match self.next()? {
                        (Event::MappingEnd, _) => break,
                        (Event::Scalar(key, ..), span) => {
                            let value = self.next()?;
                            entries.push(Entry {
                                key: key.into_owned(),
                                line: span.start.line(),
                                place: self.place(value)?,
                            });
                        }
                        _ => return Err(Lost),
                    }
                }
                (anchor, Place::Map { line, entries })
            }
            _ => return Err(Lost),
        };
        let place = Rc::new(place);
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&place));
        }
        Ok(place)
    }
}

fn no_duplicates(place: &Place, path: &KeyPath) -> Result<(), YamlError> {
    match place {
        Place::Scalar { .. } => {}
        Place::List { items, .. } => {
            for (at, item) in items.iter().enumerate() {
                no_duplicates(item, &path.item(at))?;
            }
        }
        Place::Map { entries, .. } => {
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
        place: Option<&Place>,
        line: usize,
        path: &KeyPath,
    ) -> Result<Node, YamlError> {
        let at = Spot {
            file: self.file,
            line,
        };
        let value = match value {
            Yaml::Null => Value::Null,
            Yaml::Bool(yes) => Value::Bool(yes),
            Yaml::Number(number) => number.as_i64().map_or_else(
                || Value::Float(number.as_f64().unwrap_or(f64::NAN)),
                Value::Int,
            ),
            Yaml::String(text) => match place {
                Some(Place::Scalar {
                    plain: Some(plain), ..
                }) => old_number(plain).unwrap_or(Value::Text(text)),
                _ => Value::Text(text),
            },
            Yaml::Sequence(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let below = match place {
                        Some(Place::List { items, .. }) => items.get(index).map(Rc::as_ref),
                        _ => None,
                    };
                    // An item that is an alias is named by the line it stands on here.
                    let own = below.map_or(line, Place::line);
                    list.push(self.node(item, below, own, &path.item(index))?);
                }
                Value::List(list)
            }
            Yaml::Mapping(entries) => Value::Map(self.map(entries, place, line, path)?),
            Yaml::Tagged(tagged) => {
                let mut node = self.node(tagged.value, place, line, path)?;
                // Compose takes no notice of other tags either.
                node.edit = match tagged.tag.to_string().as_str() {
                    "!reset" => Some(Edit::Reset),
                    "!override" => Some(Edit::Override),
                    _ => None,
                };
                return Ok(node);
            }
        };
        Ok(Node::new(at, value))
    }

    fn map(
        &self,
        entries: serde_yaml::Mapping,
        place: Option<&Place>,
        line: usize,
        path: &KeyPath,
    ) -> Result<Map, YamlError> {
        let known: &[Entry] = match place {
            Some(Place::Map { entries, .. }) => entries,
            _ => &[],
        };
        let mut map = Map::with_capacity(entries.len());
        let mut shared = Vec::new();
        for (key, value) in entries {
            let Yaml::String(key) = key else {
                let found = serde_yaml::to_string(&key).unwrap_or_default();
                let found = found.trim();
                return Err(YamlError {
                    line: known
                        .iter()
                        .find(|entry| entry.key == found)
                        .map_or(line, |entry| entry.line),
                    path: path.clone(),
                    message: format!("found the key {found}, expected a text (put it in quotes)"),
                });
            };
            let entry = known.iter().find(|entry| entry.key == key);
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
        Value::Map(shared) => {
            for (key, node) in shared {
                map.entry(key).or_insert(node);
            }
            Ok(())
        }
        Value::List(items) if items.iter().all(|item| item.as_map().is_some()) => {
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
fn old_number(plain: &str) -> Option<Value> {
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
        return Some(Value::Int(sign * number));
    }
    let float = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    if unsigned.chars().all(float) && unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
    {
        return digits.parse().ok().map(Value::Float);
    }
    None
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
        let text = "[0440, 1_000, 1.10, 089, 0x10, 0o17, .5, +1, yes, '0440', 2001-01-01, 1-2]";
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
                "2001-01-01",
                "1-2"
            ])
        );
    }

    #[test]
    fn documents_keep_their_order_and_lines_and_empty_ones_vanish() {
        let all = parse("a: 1\n---\n---\nb: 2\n", 0).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].spot_of(&["b"]).line, 4);
    }

    #[test]
    fn tags_of_compose_are_kept_and_others_ignored() {
        let root = root("a: !reset null\nb: !override [1]\nc: !reset\nd: !!str 12\ne: !other f\n");
        assert_eq!(root.get("a").unwrap().edit, Some(Edit::Reset));
        assert_eq!(root.get("b").unwrap().edit, Some(Edit::Override));
        assert_eq!(root.get("c").unwrap().edit, Some(Edit::Reset));
        assert_eq!(root.get("d").unwrap().as_text(), Some("12"));
        let other = root.get("e").unwrap();
        assert_eq!((other.edit, other.as_text()), (None, Some("f")));
    }

    #[test]
    fn mistakes_of_the_text_have_a_line() {
        insta::assert_snapshot!(error("a:\n  b: 1\n  b: 2\n"), @"3: a.b: key is already defined at line 2");
        insta::assert_snapshot!(error("a: b: c\n"), @"1: : not valid YAML: mapping values are not allowed in this context");
        insta::assert_snapshot!(error("a: [1,\nb: 2\n"), @"3: : not valid YAML: did not find expected ',' or ']'");
        insta::assert_snapshot!(error("a:\n  1: b\n"), @"2: a: found the key 1, expected a text (put it in quotes)");
        insta::assert_snapshot!(error("a: 1\n<<: 2\n"), @"2: <<: found 2, expected a map or a list of maps");
    }
}
