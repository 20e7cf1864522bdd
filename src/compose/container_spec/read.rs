//! Values of the tree as the Engine wants them. Their shapes have been checked; `None` is what is
//! left over.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::{
    super::{long_forms::word_for_flag, merge::into_entries, text_parsers},
    table::As,
};
use crate::compose::tree::{Node, NodeValue};

/// A value of a kind.
pub(super) fn value(kind: As, node: &Node) -> Option<Json> {
    Some(match kind {
        As::Text => json!(node.scalar()?),
        As::Texts => json!(texts_or_text(node)?),
        As::Pairs => json!(pairs(node)),
        As::Flag => json!(flag(node)?),
        As::Whole | As::Score => json!(whole(node)?),
        As::Size => json!(size(node)?),
        As::Cpus => json!(nano_cpus(node)?),
    })
}

/// `true` or `false`, or a word for it.
pub(in crate::compose) fn flag(node: &Node) -> Option<bool> {
    match &node.value {
        NodeValue::Bool(yes) => Some(*yes),
        NodeValue::Text(text) => word_for_flag(text),
        _ => None,
    }
}

/// A whole number.
pub(in crate::compose) fn whole(node: &Node) -> Option<i64> {
    match &node.value {
        NodeValue::Int(number) => Some(*number),
        NodeValue::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
            Some(*number as i64)
        }
        NodeValue::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// Bytes; -1 is the Engine's word for no limit.
pub(in crate::compose) fn size(node: &Node) -> Option<i64> {
    match &node.value {
        NodeValue::Int(number) => Some(*number),
        NodeValue::Text(text) => i64::try_from(text_parsers::size(text)?).ok(),
        _ => None,
    }
}

/// Compose multiplies in single precision.
fn nano_cpus(node: &Node) -> Option<i64> {
    let cpus: f32 = node.scalar()?.parse().ok()?;
    Some((cpus * 1e9) as i64)
}

/// The words of a command, of a line or a list.
pub(in crate::compose) fn command(node: &Node) -> Option<Vec<String>> {
    match node.as_text() {
        Some(line) => text_parsers::split(line).ok(),
        None => texts(node),
    }
}

/// The mode of a file: a number, or octal digits.
pub(in crate::compose) fn mode(node: &Node) -> Option<u32> {
    match &node.value {
        NodeValue::Int(mode) => u32::try_from(*mode).ok(),
        NodeValue::Text(octal) => u32::from_str_radix(octal.trim_start_matches("0o"), 8).ok(),
        _ => None,
    }
}

/// A list of texts, each once.
pub(in crate::compose) fn texts(node: &Node) -> Option<Vec<String>> {
    node.as_list()?.iter().map(Node::scalar).collect()
}

/// The same where one text may stand for a list.
pub(in crate::compose) fn texts_or_text(node: &Node) -> Option<Vec<String>> {
    let all = match node.as_list() {
        Some(_) => texts(node)?,
        None => vec![node.scalar()?],
    };
    let mut once: Vec<String> = Vec::new();
    for text in all {
        if !once.contains(&text) {
            once.push(text);
        }
    }
    Some(once)
}

/// `KEY=value` pairs of a list or a map; a key alone has an empty value.
pub(in crate::compose) fn pairs(node: &Node) -> BTreeMap<String, String> {
    into_entries(node.clone())
        .iter()
        .filter_map(Node::scalar)
        .map(|text| match text.split_once('=') {
            Some((key, value)) => (key.to_owned(), value.to_owned()),
            None => (text, String::new()),
        })
        .collect()
}
