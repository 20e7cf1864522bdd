//! Configs and secrets of a service: where each is in the container, and where its content is.

use std::path::PathBuf;

use indexmap::IndexMap;

use super::{
    container_spec::read,
    extra_validation::is_external,
    reader::ServiceReader,
    tree::{KeyPath, Node},
};
use crate::project::{
    Service,
    workload::{Content, FileKind, MountedFile},
};

/// An entry of a service's `configs` or `secrets`.
#[derive(Debug)]
pub(super) struct FileEntry<'n> {
    /// The key in the section of the project.
    pub(super) name: &'n str,
    /// The path in the container.
    pub(super) path: String,
    /// The whole entry.
    pub(super) item: &'n Node,
}

/// Both sections.
const KINDS: [FileKind; 2] = [FileKind::Config, FileKind::Secret];

fn source(item: &Node) -> Option<&str> {
    item.as_text().or_else(|| item.get("source")?.as_text())
}

/// The entries of a service. Of two with one target the later counts; compose compares the targets as they
/// are written.
pub(super) fn entries(kind: FileKind, items: &[Node]) -> Vec<FileEntry<'_>> {
    let directory = match kind {
        FileKind::Config => "",
        FileKind::Secret => "/run/secrets",
    };
    let mut all = IndexMap::new();
    for item in items {
        let name = source(item).unwrap_or_default();
        let target = item.get("target").and_then(Node::as_text);
        let target = target.map_or_else(|| format!("{directory}/{name}"), ToOwned::to_owned);
        all.insert(target, (name, item));
    }
    let all = all.into_iter().map(|(target, (name, item))| FileEntry {
        name,
        path: if target.starts_with('/') {
            target
        } else {
            format!("{directory}/{target}")
        },
        item,
    });
    all.collect()
}

impl ServiceReader<'_> {
    /// The files that compose copies into the container.
    pub(super) fn uploads(&mut self, service: &mut Service, node: &Node, path: &KeyPath) {
        for kind in KINDS {
            let section = kind.section();
            let items = self.items(node, path, section);
            for (at, item) in items.iter().enumerate() {
                if source(item).is_none() {
                    let path = path.key(section).item(at);
                    self.wrong(item, &path, "a name, or a map with a source");
                }
            }
            for entry in entries(kind, items) {
                let written = self.root.get(section).and_then(|all| all.get(entry.name));
                let is_copied = written.is_some_and(|written| {
                    written.get("content").is_some() || written.get("environment").is_some()
                });
                if is_copied && !service.uploads.contains(&entry.path) {
                    service.uploads.push(entry.path);
                }
            }
        }
    }

    /// All files, for a container that something else than this Engine runs. Of two for one path the later
    /// counts.
    pub(super) fn files(&self, node: &Node) -> Vec<MountedFile> {
        let mut all = IndexMap::new();
        for kind in KINDS {
            let items = node.get(kind.section()).and_then(Node::as_list);
            for FileEntry { name, path, item } in entries(kind, items.unwrap_or_default()) {
                let Some(content) = self.content(kind, name) else {
                    continue;
                };
                let file = MountedFile {
                    kind,
                    name: name.to_owned(),
                    path: path.clone(),
                    mode: item.get("mode").and_then(read::mode),
                    owned: item.get("uid").is_some() || item.get("gid").is_some(),
                    content,
                };
                all.insert(path, file);
            }
        }
        all.into_values().collect()
    }

    /// Where the content is; `None` where the project has no such entry.
    pub(super) fn content(&self, kind: FileKind, name: &str) -> Option<Content> {
        let entry = self.root.get(kind.section())?.get(name)?;
        if is_external(entry.get("external")) || entry.get("driver").is_some() {
            return Some(Content::External(self.real_name(kind.section(), name)));
        }
        if let Some(file) = entry.get("file").and_then(Node::as_text) {
            let path = self.resolve(file, entry.spot_of(&["file"]));
            return Some(Content::File(PathBuf::from(path)));
        }
        if let Some(written) = entry.get("content").and_then(Node::scalar) {
            return Some(Content::Text(written));
        }
        let variable = entry.get("environment").and_then(Node::as_text)?;
        let value = self.variables.get(variable).cloned();
        Some(value.map_or_else(|| Content::Unset(variable.to_owned()), Content::Text))
    }
}
