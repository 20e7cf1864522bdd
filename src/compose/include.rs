//! `include`: other compose files with a directory and variables of their own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    discover::{self, clean},
    dotenv,
    files::Files,
    interpolate::VariableMap,
    schema,
    tree::{KeyPath, Map, Node, NodeValue, SourceLocation},
};

impl Files<'_> {
    /// Takes over what the files of an `include` section define.
    pub(super) fn include_all(
        &mut self,
        document: &mut Node,
        base: &Path,
        variables: &VariableMap,
        chain: &[PathBuf],
    ) {
        let includes = document
            .as_map_mut()
            .and_then(|map| map.shift_remove("include"));
        let Some(includes) = includes.filter(|includes| !includes.is_null()) else {
            return;
        };
        let path = KeyPath::of(["include"]);
        if !schema::check_include(&includes, &mut self.mistakes, &mut self.unknown) {
            return;
        }
        let items = includes.as_list().unwrap_or_default();
        for (position, item) in items.iter().enumerate() {
            let path = path.item(position);
            let named = strings(item.get("path").unwrap_or(item));
            if named
                .iter()
                .any(|file| self.is_remote(file, item.at, &path))
            {
                continue;
            }
            let files: Vec<PathBuf> = named
                .into_iter()
                .map(|file| clean(&base.join(file)))
                .collect();
            let Some(first) = files.first() else {
                let message = "names no file; write the path of one, or a list of paths";
                self.mistakes.add(item.at, &path, message);
                continue;
            };
            if let Some(file) = files
                .iter()
                .find(|file| chain.contains(&fs::canonicalize(file).unwrap_or_default()))
            {
                let message = format!("{} includes itself", file.display());
                self.mistakes.add(item.at, &path, message);
                continue;
            }
            let directory = item
                .get("project_directory")
                .and_then(Node::as_text)
                .map_or_else(
                    || first.parent().map_or_else(PathBuf::new, Path::to_owned),
                    |directory| clean(&base.join(directory)),
                );
            let env_files: Vec<_> = item
                .get("env_file")
                .map(strings)
                .unwrap_or_default()
                .into_iter()
                .map(|file| clean(&base.join(file)))
                .collect();
            let variables = self.with_env_files(variables, env_files, &directory, item.at);
            let mut read = Vec::new();
            for file in files {
                if let Some(documents) = self.named(&file, &directory, item.at, &path) {
                    read.push((file, documents));
                }
            }
            let model = self.model(read, &directory, &variables, chain);
            self.import(document, model, item.at, &path);
        }
    }

    /// The variables for an included file: those of the project, then those of its env files.
    fn with_env_files(
        &mut self,
        variables: &VariableMap,
        mut files: Vec<PathBuf>,
        directory: &Path,
        at: SourceLocation,
    ) -> VariableMap {
        if files.is_empty() {
            let default = directory.join(".env");
            self.watched.push(default.clone());
            files.extend(default.is_file().then_some(default));
        } else {
            self.watched.extend(files.iter().cloned());
        }
        let mut values = VariableMap::new();
        for file in files {
            let parsed = match discover::read(&file) {
                Ok(text) => dotenv::parse(&text, variables, &values, &mut self.uses.behind)
                    .map_err(|error| {
                        let shown = discover::shown(self.request, &file);
                        format!("{shown}:{}: {}", error.line, error.message)
                    }),
                Err(error) => Err(error.to_string()),
            };
            match parsed {
                Ok(more) => values.extend(more),
                Err(message) => self.mistakes.add(at, &KeyPath::of(["include"]), message),
            }
        }
        values.extend(variables.clone());
        values
    }

    /// Copies what an included file defines; its name and top-level `x-` keys stay behind.
    fn import(&mut self, document: &mut Node, included: Node, at: SourceLocation, path: &KeyPath) {
        let sections = [
            "services", "volumes", "networks", "secrets", "configs", "models",
        ];
        let (NodeValue::Map(included), Some(document)) = (included.value, document.as_map_mut())
        else {
            return;
        };
        for (section, node) in included {
            if !sections.contains(&section.as_str()) {
                continue;
            }
            let empty = || Node::new(node.at, NodeValue::Map(Map::new()));
            let own = document.entry(section.clone()).or_insert_with(empty);
            if own.is_null() {
                *own = Node::new(own.at, NodeValue::Map(Map::new()));
            }
            let (NodeValue::Map(new), Some(own)) = (node.value, own.as_map_mut()) else {
                continue;
            };
            for (key, node) in new {
                match own.get(&key) {
                    Some(known) if !self.is_one(&section, known, &node, at) => {
                        let message = format!(
                            "{section}.{key} is defined here and in the included file; take one away, \
                             or change the included one by a second path in its `path`"
                        );
                        self.mistakes.add(at, path, message);
                    }
                    Some(_) => {}
                    None => {
                        own.insert(key, node);
                    }
                }
            }
        }
    }
}

impl Files<'_> {
    /// Whether an included definition is one that is there already. `at` is in the including file.
    fn is_one(&self, section: &str, known: &Node, included: &Node, at: SourceLocation) -> bool {
        let here = known.at.file == at.file;
        let base = |node: &Node| self.sources.base(node.at);
        known.same(included) && (is_whole(section, known) || !here && base(known) == base(included))
    }
}

/// Whether compose would find a definition the same as itself when it is included: it compares what
/// is written here with the included one, whose forms are long and whose paths are absolute by then.
fn is_whole(section: &str, node: &Node) -> bool {
    let relative = |key: &str| {
        let path = node.get(key).and_then(Node::as_text);
        path.is_some_and(|path| !path.starts_with('/'))
    };
    let has = |key: &str| node.get(key).is_some();
    let items = |key: &str| {
        let list = node.get(key).and_then(Node::as_list);
        list.unwrap_or_default()
    };
    let is_list = |key: &str| node.get(key).is_some_and(|node| node.as_list().is_some());
    let is_text = |key: &str| node.get(key).is_some_and(|node| node.as_text().is_some());
    match section {
        "configs" | "secrets" => !relative("file"),
        "services" => {
            let short = ["volumes", "configs", "secrets", "devices"];
            let short = short
                .iter()
                .any(|key| items(key).iter().any(|item| item.as_text().is_some()));
            let bind = |item: &Node| item.get("type").and_then(Node::as_text) == Some("bind");
            let depends = node.get("depends_on").and_then(Node::as_map);
            let complete = |entry: &Node| entry.get("required").is_some();
            !(short
                || is_list("networks")
                || is_list("depends_on")
                || depends.is_some_and(|all| !all.values().all(complete))
                || is_text("dns")
                || is_text("dns_search")
                || has("build")
                || has("env_file")
                || has("label_file")
                || !items("ports").is_empty()
                || items("volumes").iter().any(bind))
        }
        _ => true,
    }
}

/// A text or a list of texts as a list.
fn strings(node: &Node) -> Vec<String> {
    match &node.value {
        NodeValue::Text(text) => vec![text.clone()],
        NodeValue::List(items) => items
            .iter()
            .filter_map(|item| item.as_text().map(ToOwned::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}
