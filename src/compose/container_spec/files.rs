//! Configs and secrets: those with a file are mounted, those without are written into the container.

use serde_json::json;

use super::{SpecBuilder, read};
use crate::{
    compose::{
        config_secrets::{FileEntry, entries},
        tree::Node,
    },
    project::{
        container_spec::File,
        workload::{Content, FileKind},
    },
};

/// The mode of a file that says nothing of it.
const MODE: u32 = 0o444;

impl SpecBuilder<'_, '_> {
    pub(super) fn mounted_files(&mut self, kind: FileKind, node: &Node) {
        for entry in entries(kind, node.as_list().unwrap_or_default()) {
            self.mounted_file(kind, entry);
        }
    }

    fn mounted_file(&mut self, kind: FileKind, entry: FileEntry<'_>) {
        let section = kind.section();
        let FileEntry { name, path, item } = entry;
        let content = match self.reader.content(kind, name) {
            None => return self.unread(section),
            Some(Content::External(_)) => {
                let why = format!("{name} is kept outside of the project, which needs Swarm");
                return self.refuse(section, &why);
            }
            Some(Content::File(file)) => {
                let mut mount = json!({
                    "Type": "bind", "Source": file, "Target": path, "ReadOnly": true,
                });
                // Of the two, compose sends none for a config.
                if kind == FileKind::Secret {
                    mount["BindOptions"] = json!({});
                }
                return self.push_host("Mounts", mount);
            }
            Some(Content::Unset(variable)) => {
                let why = format!("{name} is the variable {variable}, which is not set here");
                return self.refuse(section, &why);
            }
            Some(Content::Text(content)) => content,
        };
        let read_only = self.node.get("read_only").and_then(read::flag);
        if read_only == Some(true) {
            let why = format!("{name} cannot be written into a container that is read-only");
            return self.refuse(section, &why);
        }
        let mode = item.get("mode").map_or(Some(MODE), read::mode);
        let owner = |key: &str| match item.get(key).and_then(Node::as_text) {
            None => Some(0),
            Some(id) => id.parse::<u32>().ok(),
        };
        match (mode, owner("uid"), owner("gid")) {
            (Some(mode), Some(uid), Some(gid)) => self.recipe.files.push(File {
                path,
                content,
                mode,
                uid,
                gid,
            }),
            _ => self.unread(section),
        }
    }
}
