//! The long forms of the specification, through the structs of `docker-compose-types`.
//!
//! Those structs lack keys and refuse what they do not know, so each is given exactly the keys it
//! has, in the kind of value it wants; the rest of a map is set aside for our own readers.

use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value as Yaml};

use super::{
    error::Mistakes,
    tree::{KeyPath, Node, NodeValue},
};

/// The kind of value that a key takes. Where compose casts a text, so is it cast here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ValueKind {
    /// A text and nothing else.
    Text,
    /// A text, or a number that is taken as one.
    Word,
    /// A whole number, or a text of one.
    Whole,
    /// `true` or `false`, or a text that means one of them.
    Flag,
    /// A list of texts.
    Texts,
    /// A text or a list of texts.
    TextOrTexts,
}

/// Reads the keys of a map that a struct has; notes what is wrong with them.
pub(crate) fn read<T: DeserializeOwned>(
    node: &Node,
    path: &KeyPath,
    keys: &[(&str, ValueKind)],
    mistakes: &mut Mistakes,
    warnings: &mut Vec<String>,
) -> Option<T> {
    let Some(map) = node.as_map() else {
        mistakes.add(node.at, path, format!("found {node}, expected a map"));
        return None;
    };
    let mut known = Mapping::new();
    let mut wrong = false;
    for (key, kind) in keys {
        let Some(node) = map.get(*key) else {
            continue;
        };
        match cast(node, *kind, warnings) {
            Ok(value) => {
                known.insert((*key).into(), value);
            }
            Err(expected) => {
                wrong = true;
                let message = format!("found {node}, expected {expected}");
                mistakes.add(node.at, &path.key(key), message);
            }
        }
    }
    if wrong {
        return None;
    }
    match serde_path_to_error::deserialize(Yaml::Mapping(known)) {
        Ok(value) => Some(value),
        Err(error) => {
            let below: Vec<_> = error.path().iter().map(ToString::to_string).collect();
            let below: Vec<_> = below.into_iter().filter(|step| step != ".").collect();
            let mut full = path.clone();
            full.0.extend(below.iter().cloned());
            let message = error.into_inner().to_string();
            // Every value has its kind by now; only a number may be beyond what it can be.
            let message = match message.strip_suffix(", expected u16") {
                Some(found) => {
                    let number = found.split('`').nth(1).unwrap_or_default();
                    format!("found {number}, expected a number from 0 to 65535")
                }
                None => message,
            };
            mistakes.add(node.spot_of(&below), &full, message);
            None
        }
    }
}

/// Brings a value to its kind, or says what was expected.
pub(crate) fn cast(
    node: &Node,
    kind: ValueKind,
    warnings: &mut Vec<String>,
) -> Result<Yaml, &'static str> {
    match (kind, &node.value) {
        (ValueKind::Text | ValueKind::Word | ValueKind::TextOrTexts, NodeValue::Text(text)) => {
            Ok(text.clone().into())
        }
        (ValueKind::Word, NodeValue::Int(_) | NodeValue::Float(_)) => {
            Ok(node.scalar().unwrap_or_default().into())
        }
        (ValueKind::Text, _) => Err("a text (put it in quotes)"),
        (ValueKind::Word, _) => Err("a text or a number"),
        (ValueKind::Whole, NodeValue::Int(number)) => Ok((*number).into()),
        (ValueKind::Whole, NodeValue::Float(number))
            if number.fract() == 0.0 && number.abs() < 1e15 =>
        {
            Ok((*number as i64).into())
        }
        (ValueKind::Whole, NodeValue::Text(text)) => text
            .parse::<i64>()
            .map(Into::into)
            .map_err(|_| "a whole number"),
        (ValueKind::Whole, _) => Err("a whole number"),
        (ValueKind::Flag, NodeValue::Bool(yes)) => Ok((*yes).into()),
        (ValueKind::Flag, NodeValue::Text(text)) => {
            flag(text, warnings).map(Into::into).ok_or("true or false")
        }
        (ValueKind::Flag, _) => Err("true or false"),
        (ValueKind::Texts | ValueKind::TextOrTexts, NodeValue::List(items)) => items
            .iter()
            .map(|item| item.as_text().map(Yaml::from))
            .collect::<Option<Vec<_>>>()
            .map(Yaml::Sequence)
            .ok_or("a list of texts"),
        (ValueKind::Texts, _) => Err("a list of texts"),
        (ValueKind::TextOrTexts, _) => Err("a text or a list of texts"),
    }
}

/// The words that older YAML took as booleans, with a warning as compose gives it.
fn flag(text: &str, warnings: &mut Vec<String>) -> Option<bool> {
    let value = word_for_flag(text)?;
    if !["true", "false"].contains(&text.to_ascii_lowercase().as_str()) {
        let warning = format!("{text:?} for a boolean is not YAML 1.2: write {value}");
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Some(value)
}

/// What a text means as a boolean.
pub(crate) fn word_for_flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "y" | "yes" | "on" => Some(true),
        "false" | "n" | "no" | "off" => Some(false),
        _ => None,
    }
}
