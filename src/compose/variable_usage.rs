//! Which variables a service is made of: what its configuration hash depends on beside the files.
//!
//! A use is known by the place of its value and the key of the service that it is in, so it stays with
//! the value through `extends`, `include` and later files.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    dotenv,
    interpolate::name_length,
    merge,
    service::ServiceReader,
    tree::{KeyPath, Node, NodeValue, SourceLocation},
};
use crate::project::NamedVariables;

/// Keys of a service that its containers do not depend on.
const LEFT_OUT: [&str; 5] = ["build", "pull_policy", "scale", "depends_on", "profiles"];
/// Set by whoever reads the files, to the name of the project.
const OWN: &str = "COMPOSE_PROJECT_NAME";

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
        text: &str,
        mut unset: BTreeSet<String>,
    ) {
        let here = self.by_value.entry((at, key(&path.0))).or_default();
        here.used.extend(named(text));
        here.unset.append(&mut unset);
    }

    /// Every variable that has no value.
    pub(super) fn unset(&self) -> BTreeSet<String> {
        let of_values = self.by_value.values().flat_map(|here| &here.unset);
        of_values.chain(&self.behind).cloned().collect()
    }

    fn add(&self, key: &str, node: &Node, into: &mut NamedVariables) {
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

/// The names behind each `$` of a text, those in defaults too.
fn named(text: &str) -> impl Iterator<Item = String> {
    let literal = text.replace("$$", "");
    let after: Vec<String> = literal.split('$').skip(1).map(ToOwned::to_owned).collect();
    after.into_iter().filter_map(|after| {
        let after = after.strip_prefix('{').unwrap_or(&after);
        let name = &after[..name_length(after)];
        (!name.is_empty() && name != OWN).then(|| name.to_owned())
    })
}

impl ServiceReader<'_> {
    /// The variables that the configuration hash of a service depends on.
    pub(super) fn made_of(&self, node: &Node) -> NamedVariables {
        let mut all = NamedVariables::default();
        for (key, value) in node.as_map().into_iter().flatten() {
            let is_count = |inner: &str| key == "deploy" && inner == "replicas";
            if LEFT_OUT.contains(&key.as_str()) || key.starts_with("x-") {
                continue;
            }
            match value.as_map() {
                Some(map) => map
                    .iter()
                    .filter(|(inner, _)| !is_count(inner))
                    .for_each(|(_, value)| self.uses.add(key, value, &mut all)),
                None => self.uses.add(key, value, &mut all),
            }
        }
        // A name without a value is handed on from the environment, where it has one.
        let environment = node.get("environment").cloned();
        for entry in environment.map(merge::into_entries).unwrap_or_default() {
            let name = entry.as_text().filter(|text| !text.contains('='));
            if let Some(name) = name {
                all.used.insert(name.to_owned());
                if !self.variables.contains_key(name) {
                    all.unset.insert(name.to_owned());
                }
            }
        }
        for file in self.env_files_of(node).unwrap_or_default() {
            if file.raw {
                continue;
            }
            let text = crate::files::read_content_text(&file.path).unwrap_or_default();
            let _ = dotenv::parse_for_service(&text, self.variables, &mut all.unset);
            all.used.extend(named(&text));
        }
        if !all.used.is_empty() {
            all.unset.extend(self.uses.behind.iter().cloned());
        }
        all.used.extend(all.unset.iter().cloned());
        all
    }
}
