//! The reader of services: the project that they belong to, and the findings on the way.
//!
//! Each group of keys has its own methods, in a file of its own.

use std::path::PathBuf;

use super::{
    error::{Mistakes, UnknownKey},
    interpolate::VariableMap,
    tree::{KeyPath, Node, SourceLocation, Sources},
    variable_usage::Uses,
};

/// What reading a service needs to know of the project, and where it notes what it finds.
#[derive(Debug)]
pub(crate) struct ServiceReader<'a> {
    /// The whole merged tree.
    pub(crate) root: &'a Node,
    /// The project's name.
    pub(crate) project: &'a str,
    /// For paths relative to the file they are written in.
    pub(crate) sources: &'a Sources,
    /// What `~` stands for.
    pub(crate) home: Option<&'a str>,
    /// For env files.
    pub(crate) variables: &'a VariableMap,
    /// Which of them the files name.
    pub(crate) uses: &'a Uses,
    /// Keys that the specification does not know.
    pub(crate) unknown: &'a [UnknownKey],
    /// Env files and label files that were looked at.
    pub(crate) read: Vec<PathBuf>,
    /// What is wrong.
    pub(crate) mistakes: &'a mut Mistakes,
    /// What should be told.
    pub(crate) warnings: &'a mut Vec<String>,
    /// What is said twice and differently: wrong only in a service that is enabled.
    pub(crate) conflicts: Vec<(SourceLocation, KeyPath, String)>,
}

impl ServiceReader<'_> {
    /// Notes a value that is not what it should be.
    pub(crate) fn wrong(&mut self, node: &Node, path: &KeyPath, expected: &str) {
        let message = format!("found {node}, expected {expected}");
        self.mistakes.add(node.at, path, message);
    }

    /// The items of a list, or nothing when the key is missing; notes what is no list.
    pub(crate) fn items<'n>(&mut self, node: &'n Node, path: &KeyPath, key: &str) -> &'n [Node] {
        let Some(node) = node.get(key) else {
            return &[];
        };
        if node.as_list().is_none() {
            self.wrong(node, &path.key(key), "a list");
        }
        node.as_list().unwrap_or(&[])
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, node: &Node, path: &KeyPath, key: &str) -> Vec<String> {
        let items = self.items(node, path, key);
        let mut texts = Vec::new();
        for (at, item) in items.iter().enumerate() {
            match item.as_text() {
                Some(text) if texts.iter().any(|known| known == text) => {}
                Some(text) => texts.push(text.to_owned()),
                None => self.wrong(item, &path.key(key).item(at), "a text"),
            }
        }
        texts
    }
}
