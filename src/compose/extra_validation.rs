//! What compose checks in parts of a service that this tool has no use for: a file that compose
//! refuses is refused here too, with its line.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;

use super::{
    discover, dotenv,
    interpolate::VariableMap,
    reader::ServiceReader,
    text_parsers,
    tree::{KeyPath, Node, NodeValue},
};

impl ServiceReader<'_> {
    /// Checks that every service has to pass, switched off or not.
    pub(super) fn details(&mut self, node: &Node, path: &KeyPath) {
        for key in ["command", "entrypoint"] {
            if let Some(node) = node.get(key)
                && let Some(Err(expected)) = node.as_text().map(text_parsers::split)
            {
                self.wrong(node, &path.key(key), expected);
            }
        }
        self.hosts(node, path);
        if let Some(build) = node.get("build") {
            let path = path.key("build");
            self.hosts(build, &path);
            let pair = |text: &str| text.contains('=');
            self.entries(build, &path, "additional_contexts", "NAME=CONTEXT", pair);
            let key = |text: &str| text == "default" || text.contains('=');
            self.entries(build, &path, "ssh", "default or NAME=KEY", key);
        }
        let watches = (node.get("develop"))
            .and_then(|develop| develop.get("watch"))
            .and_then(Node::as_list);
        for (at, watch) in watches.into_iter().flatten().enumerate() {
            let path = path.key("develop").key("watch").item(at);
            if let Some(node) = watch.get("path").filter(|path| path.as_text() == Some("")) {
                self.wrong(node, &path.key("path"), "a path");
            }
        }
        let below = ["deploy", "resources", "reservations", "devices"];
        let devices = below.iter().try_fold(node, |node, key| node.get(key));
        let mut devices_path = path.clone();
        devices_path.0.extend(below.map(ToOwned::to_owned));
        self.devices(devices, &devices_path);
        self.devices(node.get("gpus"), &path.key("gpus"));
    }

    fn hosts(&mut self, node: &Node, path: &KeyPath) {
        let host = |text: &str| text.find(['=', ':']).is_some_and(|at| at > 0);
        self.entries(node, path, "extra_hosts", "HOST=IP", host);
    }

    /// Checks the texts of a list.
    fn entries(
        &mut self,
        node: &Node,
        path: &KeyPath,
        key: &str,
        expected: &str,
        is_right: impl Fn(&str) -> bool,
    ) {
        let list = node.get(key).and_then(Node::as_list);
        for (at, item) in list.into_iter().flatten().enumerate() {
            if item.as_text().is_some_and(|text| !is_right(text)) {
                self.wrong(item, &path.key(key).item(at), expected);
            }
        }
    }

    fn devices(&mut self, devices: Option<&Node>, path: &KeyPath) {
        for (at, device) in devices
            .and_then(Node::as_list)
            .into_iter()
            .flatten()
            .enumerate()
        {
            if let (Some(node), Some(_)) = (device.get("count"), device.get("device_ids")) {
                let message = "`count` and `device_ids` exclude each other; write one of them";
                self.mistakes
                    .add(node.at, &path.item(at).key("count"), message);
            }
        }
    }

    /// Checks that only services have to pass that are switched on.
    pub(super) fn details_of_enabled(&mut self, name: &str, node: &Node) {
        let path = KeyPath::of(["services", name]);
        self.build(node, &path);
        let watches = (node.get("develop"))
            .and_then(|develop| develop.get("watch"))
            .and_then(Node::as_list);
        for (at, watch) in watches.into_iter().flatten().enumerate() {
            let action = watch.get("action").and_then(Node::as_text);
            let target = watch.get("target").and_then(Node::as_text);
            if matches!(action, Some("sync" | "sync+restart" | "sync+exec"))
                && target.is_none_or(str::is_empty)
            {
                let path = path.key("develop").key("watch").item(at).key("target");
                let message = "is missing: where files are synced to in the container";
                self.mistakes.add(watch.at, &path, message);
            }
        }
        for (at, entry) in files(node, &path, "env_file") {
            let required = entry.get("required").and_then(Node::scalar);
            let format = entry.get("format").and_then(Node::as_text);
            let optional = required
                .as_deref()
                .and_then(super::long_forms::word_for_flag)
                .is_some_and(|required| !required);
            if let Some(format) = format.filter(|format| !matches!(*format, "" | "raw")) {
                let message = format!("found the format {format:?}, expected raw or none at all");
                self.mistakes.add(entry.at, &at.key("format"), message);
            } else {
                let raw = format == Some("raw");
                self.variables_of(&entry, &at, self.variables, optional, raw);
            }
        }
    }

    /// The labels in the files that `label_file` names; a later file wins.
    pub(super) fn file_labels(&mut self, node: &Node, path: &KeyPath) -> IndexMap<String, String> {
        let mut labels = IndexMap::new();
        for (at, entry) in files(node, path, "label_file") {
            labels.extend(self.variables_of(&entry, &at, &VariableMap::new(), false, false));
        }
        labels
    }

    /// What a file of `NAME=value` lines says; notes what is wrong with it.
    fn variables_of(
        &mut self,
        entry: &Node,
        path: &KeyPath,
        known: &VariableMap,
        optional: bool,
        raw: bool,
    ) -> VariableMap {
        let name = entry.as_text().or_else(|| entry.get("path")?.as_text());
        let Some(name) = name else {
            return VariableMap::new();
        };
        let file = PathBuf::from(self.resolve(name, entry.at));
        self.read.push(file.clone());
        if optional && !file.exists() {
            return VariableMap::new();
        }
        let text = match discover::read(&file) {
            Ok(text) => text,
            Err(error) => {
                self.mistakes.add(entry.at, path, error.to_string());
                return VariableMap::new();
            }
        };
        if raw {
            self.raw_variables(&text, &file, entry, path);
            return VariableMap::new();
        }
        // What is unset is told by compose when it makes the container.
        let mut unset = BTreeSet::new();
        match dotenv::parse(&text, &VariableMap::new(), known, &mut unset) {
            Ok(variables) => variables,
            Err(error) => {
                let message = format!("{}:{}: {}", file.display(), error.line, error.message);
                self.mistakes.add(entry.at, path, message);
                VariableMap::new()
            }
        }
    }

    /// In a raw file everything behind the first `=` is the value; only the name can be wrong.
    fn raw_variables(&mut self, text: &str, file: &Path, entry: &Node, path: &KeyPath) {
        for (at, line) in text.lines().enumerate() {
            let name = line.split('=').next().unwrap_or_default();
            let line = line.trim_start();
            if !line.is_empty() && !line.starts_with('#') && name.contains(char::is_whitespace) {
                let message = format!(
                    "{}:{}: the name {name:?} contains a space",
                    file.display(),
                    at + 1
                );
                self.mistakes.add(entry.at, path, message);
                return;
            }
        }
    }

    fn build(&mut self, node: &Node, path: &KeyPath) {
        let Some(build) = node.get("build").filter(|build| build.as_map().is_some()) else {
            return;
        };
        let path = path.key("build");
        if let (Some(_), Some(inline)) = (build.get("dockerfile"), build.get("dockerfile_inline")) {
            let message =
                "`dockerfile` and `dockerfile_inline` exclude each other; write one of them";
            self.mistakes
                .add(inline.at, &path.key("dockerfile_inline"), message);
        }
        let secrets = build.get("secrets").and_then(Node::as_list);
        for (at, secret) in secrets.into_iter().flatten().enumerate() {
            let source = secret.as_text().or_else(|| secret.get("source")?.as_text());
            let source = source.unwrap_or_default();
            if !self.has("secrets", source) {
                let message = format!("refers to undefined secret {source}");
                self.mistakes
                    .add(secret.at, &path.key("secrets").item(at), message);
            }
        }
        let platforms = build.get("platforms").and_then(Node::as_list);
        if let Some(platform) = node.get("platform").and_then(Node::as_text)
            && platforms.is_some_and(|all| {
                !all.is_empty() && !all.iter().any(|item| item.as_text() == Some(platform))
            })
        {
            let message = format!("does not name {platform:?}, which is the service's `platform`");
            let at = build.spot_of(&["platforms"]);
            self.mistakes.add(at, &path.key("platforms"), message);
        }
        let contexts = build.get("additional_contexts").cloned();
        for entry in contexts.into_iter().flat_map(super::merge::into_entries) {
            let target = entry
                .as_text()
                .and_then(|text| text.split_once("=service:"));
            let Some((context, other)) = target else {
                continue;
            };
            let service = self.root.get("services").and_then(|all| all.get(other));
            let message = match service {
                None => format!("refers to undefined service {other}"),
                Some(service) if service.get("build").is_none() => {
                    format!("refers to service {other}, which is not built")
                }
                Some(_) => continue,
            };
            let path = path.key("additional_contexts").key(context);
            self.mistakes.add(entry.at, &path, message);
        }
    }

    fn has(&self, section: &str, key: &str) -> bool {
        (self.root.get(section)).is_some_and(|all| all.get(key).is_some())
    }
}

/// Whether a value says that something is kept outside of the project.
pub(super) fn is_external(node: Option<&Node>) -> bool {
    match node.map(|node| &node.value) {
        None | Some(NodeValue::Bool(false) | NodeValue::Null) => false,
        Some(NodeValue::Text(text)) => super::long_forms::word_for_flag(text) != Some(false),
        Some(_) => true,
    }
}

/// The entries of a key that names one file or several.
fn files(node: &Node, path: &KeyPath, key: &str) -> Vec<(KeyPath, Node)> {
    let path = path.key(key);
    match node.get(key) {
        Some(node) if node.as_text().is_some() => vec![(path, node.clone())],
        Some(node) => (node.as_list().into_iter().flatten().enumerate())
            .map(|(at, item)| (path.item(at), item.clone()))
            .collect(),
        None => Vec::new(),
    }
}
