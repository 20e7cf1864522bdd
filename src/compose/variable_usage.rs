//! Which variables a service is made of: what its configuration hash depends on beside the files.
//!
//! A use is known by the place of its value and the key of the service that it is in, so it stays with
//! the value through `extends`, `include` and later files.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::{KeyPath, Node, NodeValue, SourceLocation};
use crate::project::NamedVariables;

/// Which variables the values of the files name.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    by_value: BTreeMap<(SourceLocation, String), NamedVariables>,
    /// Without a value, and named by values of the variables themselves, in env files.
    pub(super) behind: BTreeSet<String>,
}

impl Uses {
    /// Notes what a value names, and which of that has no value.
    pub(super) fn note(
        &mut self,
        at: SourceLocation,
        path: &KeyPath,
        names: impl Iterator<Item = String>,
        mut unset: BTreeSet<String>,
    ) {
        let here = self.by_value.entry((at, key(&path.0))).or_default();
        here.used.extend(names);
        here.unset.append(&mut unset);
    }

    /// Every variable that has no value.
    pub(super) fn unset(&self) -> BTreeSet<String> {
        let of_values = self.by_value.values().flat_map(|here| &here.unset);
        of_values.chain(&self.behind).cloned().collect()
    }

    /// Adds what the values below a key of a service name.
    pub(super) fn add(&self, key: &str, node: &Node, into: &mut NamedVariables) {
        if let Some(here) = self.by_value.get(&(node.at, key.to_owned())) {
            into.used.extend(here.used.iter().cloned());
            into.unset.extend(here.unset.iter().cloned());
        }
        match &node.value {
            NodeValue::List(items) => items.iter().for_each(|item| self.add(key, item, into)),
            NodeValue::Map(map) => map.values().for_each(|item| self.add(key, item, into)),
            _ => {}
        }
    }
}

/// The key of a service below which a value is.
fn key(path: &[String]) -> String {
    path.get(2).cloned().unwrap_or_default()
}
