//! The environment of a service's containers, as compose puts it together.
//!
//! Nothing is refused here: what cannot be told is not needed for anything but making a replica from
//! what is remembered, and compose has its own words for its mistakes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    dotenv,
    interpolate::{VariableMap, named},
    long_forms::word_for_flag,
    merge,
    reader::ServiceReader,
    tree::{Node, NodeValue},
};
use crate::project::NamedVariables;

/// Keys of a service that its containers do not depend on.
const LEFT_OUT: [&str; 5] = ["build", "pull_policy", "scale", "depends_on", "profiles"];

/// Variables by name; `None` is one that is named and set nowhere.
pub(super) type Environment = BTreeMap<String, Option<String>>;

impl ServiceReader<'_> {
    /// `env_file`, each later file over the earlier ones, and `environment` over them; `None` where a
    /// file cannot be read as compose reads it. With it, the names whose value is a file's.
    pub(super) fn environment(&self, node: &Node) -> Option<(Environment, BTreeSet<String>)> {
        let mut all = BTreeMap::new();
        for file in self.env_files_of(node)? {
            let text = match crate::files::read_content_text(&file.path) {
                Ok(text) => text,
                Err(_) if !file.required => continue,
                Err(_) => return None,
            };
            let values = if file.raw {
                raw(&text, self.variables)
            } else {
                dotenv::parse_for_service(&text, self.variables, &mut BTreeSet::new()).ok()?
            };
            all.extend(values.into_iter().map(|(key, value)| (key, Some(value))));
        }
        let mut from_files: BTreeSet<_> = all.keys().cloned().collect();
        if let Some(written) = node.get("environment") {
            if !matches!(
                written.value,
                NodeValue::List(_) | NodeValue::Map(_) | NodeValue::Null
            ) {
                return None;
            }
            for entry in merge::into_entries(written.clone()) {
                let text = entry.scalar()?;
                let (key, value) = match text.split_once('=') {
                    Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                    None => (text.clone(), self.variables.get(&text).cloned()),
                };
                from_files.remove(&key);
                all.insert(key, value);
            }
        }
        Some((all, from_files))
    }

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

    fn env_files_of(&self, node: &Node) -> Option<Vec<EnvFile>> {
        let Some(written) = node.get("env_file").filter(|written| !written.is_null()) else {
            return Some(Vec::new());
        };
        let items = match &written.value {
            NodeValue::List(items) => items.clone(),
            _ => vec![written.clone()],
        };
        let mut files = Vec::new();
        for item in items {
            let path = item.as_text().or_else(|| item.get("path")?.as_text())?;
            let raw = match item.get("format").and_then(Node::as_text) {
                None | Some("") => false,
                Some("raw") => true,
                Some(_) => return None,
            };
            let optional = item
                .get("required")
                .and_then(Node::scalar)
                .as_deref()
                .and_then(word_for_flag)
                .is_some_and(|required| !required);
            let path = PathBuf::from(self.resolve(path, item.at));
            // Named twice it is read once, where it stands first.
            if files.iter().any(|known: &EnvFile| known.path == path) {
                continue;
            }
            files.push(EnvFile {
                path,
                required: !optional,
                raw,
            });
        }
        Some(files)
    }
}

/// A file of a service's environment.
struct EnvFile {
    path: PathBuf,
    required: bool,
    /// Nothing in it is replaced.
    raw: bool,
}

/// Everything behind the first `=` is the value.
fn raw(text: &str, variables: &VariableMap) -> VariableMap {
    let lines = text.lines().map(str::trim_start);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| match line.split_once('=') {
            Some((key, value)) => Some((key.to_owned(), value.to_owned())),
            None => Some((line.to_owned(), variables.get(line)?.clone())),
        })
        .collect()
}

/// Whether `docker compose config` shows all that goes into a service's hash: it keeps `label_file` to
/// itself, and the ids of other containers are filled in later.
pub(super) fn is_hashable(node: &Node) -> bool {
    let of_another = ["network_mode", "ipc", "pid"].iter().any(|key| {
        node.get(key)
            .and_then(Node::as_text)
            .is_some_and(|mode| mode.starts_with("service:"))
    });
    !of_another && node.get("label_file").is_none() && node.get("volumes_from").is_none()
}
