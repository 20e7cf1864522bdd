//! Configs and secrets: those with a file are mounted, those without are written into the container.

use indexmap::IndexMap;
use serde_json::json;

use super::{SpecBuilder, read};
use crate::{
    compose::{extra_validation::is_external, tree::Node},
    project::container_spec::File,
};

/// The mode of a file that says nothing of it.
const MODE: u32 = 0o444;

impl SpecBuilder<'_, '_> {
    pub(super) fn mounted_files(&mut self, section: &str, directory: &str, node: &Node) {
        // Of two entries for one path the later counts.
        let mut all = IndexMap::new();
        for item in node.as_list().unwrap_or_default() {
            let source = item.as_text().or_else(|| item.get("source")?.as_text());
            let source = source.unwrap_or_default().to_owned();
            let target = item.get("target").and_then(Node::as_text);
            let target = target.map_or_else(|| format!("{directory}/{source}"), ToOwned::to_owned);
            all.insert(target, (source, item));
        }
        for (target, (source, item)) in all {
            let target = if target.starts_with('/') {
                target
            } else {
                format!("{directory}/{target}")
            };
            self.mounted_file(section, &source, target, item);
        }
    }

    fn mounted_file(&mut self, section: &str, source: &str, target: String, item: &Node) {
        let root = self.reader.root;
        let Some(entry) = root.get(section).and_then(|all| all.get(source)) else {
            return self.unread(section);
        };
        if is_external(entry.get("external")) || entry.get("driver").is_some() {
            let why = format!("{source} is kept outside of the project, which needs Swarm");
            return self.refuse(section, &why);
        }
        if let Some(file) = entry.get("file").and_then(Node::as_text) {
            let file = self.reader.resolve(file, entry.spot_of(&["file"]));
            let mut mount = json!({
                "Type": "bind", "Source": file, "Target": target, "ReadOnly": true,
            });
            // Of the two, compose sends none for a config.
            if section == "secrets" {
                mount["BindOptions"] = json!({});
            }
            return self.push_host("Mounts", mount);
        }
        let variable = entry.get("environment").and_then(Node::as_text);
        let written = entry.get("content").and_then(Node::scalar);
        let content = written.or_else(|| self.reader.variables.get(variable?).cloned());
        let Some(content) = content else {
            let name = variable.unwrap_or_default();
            let why = format!("{source} is the variable {name}, which is not set here");
            return self.refuse(section, &why);
        };
        let read_only = self.node.get("read_only").and_then(read::flag);
        if read_only == Some(true) {
            let why = format!("{source} cannot be written into a container that is read-only");
            return self.refuse(section, &why);
        }
        let mode = item.get("mode").map_or(Some(MODE), read::mode);
        let owner = |key: &str| match item.get(key).and_then(Node::as_text) {
            None => Some(0),
            Some(id) => id.parse::<u32>().ok(),
        };
        match (mode, owner("uid"), owner("gid")) {
            (Some(mode), Some(uid), Some(gid)) => self.recipe.files.push(File {
                path: target,
                content,
                mode,
                uid,
                gid,
            }),
            _ => self.unread(section),
        }
    }
}
