//! A whole configuration as `nginx -T` prints it: every file, read in the places that include it.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use super::{
    ConfigLocation, glob,
    syntax::{self, Directive},
};

/// What nginx reads, with includes resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Configuration {
    pub(super) statements: Vec<Statement>,
    /// The first is the top level.
    pub(super) blocks: Vec<DirectiveBlock>,
    /// The directory that relative includes start from.
    prefix: String,
}

/// A directive without a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub name: String,
    pub args: Vec<String>,
    pub place: ConfigLocation,
    /// The block it stands in, by index.
    pub block: usize,
}

/// A directive with a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DirectiveBlock {
    pub name: String,
    pub args: Vec<String>,
    pub place: ConfigLocation,
    pub parent: Option<usize>,
}

impl DirectiveBlock {
    /// `location / `, as a person would name it.
    pub(super) fn title(&self) -> String {
        let words = std::iter::once(&self.name).chain(&self.args);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// A number that is another one where the output of `nginx -T` is, but for the files in `directory`
/// whose names are not `kept`.
pub fn fingerprint(dump: &str, directory: &str, kept: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut counts = true;
    for line in dump.lines() {
        if let Some(name) = heading(line) {
            let ours = Path::new(name).parent() == Some(Path::new(directory));
            counts = !ours || name.ends_with(kept);
        }
        if counts {
            line.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The name of the file that begins with this line of the output.
pub(in crate::proxy) fn heading(line: &str) -> Option<&str> {
    line.strip_prefix("# configuration file ")?
        .strip_suffix(':')
}

impl Configuration {
    /// Reads the output of `nginx -T`; what nginx says besides is passed over.
    pub fn parse(dump: &str) -> Self {
        let mut main = None;
        let mut files: BTreeMap<&str, String> = BTreeMap::new();
        let mut current = None;
        for line in dump.lines() {
            if let Some(name) = heading(line) {
                main.get_or_insert(name);
                current = Some(files.entry(name).or_default());
            } else if let Some(text) = &mut current {
                text.push_str(line);
                text.push('\n');
            }
        }
        let main = main.unwrap_or_default();
        let prefix = main.rsplit_once('/').map_or("", |(directory, _)| directory);
        let mut configuration = Self {
            statements: Vec::new(),
            blocks: vec![DirectiveBlock {
                name: String::new(),
                args: Vec::new(),
                place: ConfigLocation {
                    file: main.to_owned(),
                    line: 1,
                },
                parent: None,
            }],
            prefix: prefix.to_owned(),
        };
        let files: BTreeMap<&str, Vec<Directive>> = files
            .iter()
            .map(|(name, text)| (*name, syntax::parse(text)))
            .collect();
        configuration.read(&files, main, 0, &mut Vec::new());
        configuration
    }

    /// Whether there was anything to read.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty() && self.blocks.len() < 2
    }

    /// Reads a file where it is included, unless that is inside itself.
    fn read<'a>(
        &mut self,
        files: &BTreeMap<&'a str, Vec<Directive>>,
        name: &'a str,
        block: usize,
        around: &mut Vec<&'a str>,
    ) {
        if let Some(directives) = files.get(name)
            && !around.contains(&name)
        {
            around.push(name);
            self.add(files, directives, block, around);
            around.pop();
        }
    }

    fn add<'a>(
        &mut self,
        files: &BTreeMap<&'a str, Vec<Directive>>,
        directives: &[Directive],
        block: usize,
        around: &mut Vec<&'a str>,
    ) {
        let file = around.last().copied().unwrap_or_default();
        for directive in directives {
            let place = ConfigLocation {
                file: file.to_owned(),
                line: directive.line,
            };
            let (name, args) = (directive.name.clone(), directive.args.clone());
            if let Some(inner) = &directive.block {
                self.blocks.push(DirectiveBlock {
                    name,
                    args,
                    place,
                    parent: Some(block),
                });
                let inside = self.blocks.len() - 1;
                self.add(files, inner, inside, around);
                continue;
            }
            let statement = Statement {
                name,
                args,
                place,
                block,
            };
            let included: Vec<&'a str> = files
                .keys()
                .copied()
                .filter(|file| self.includes(&statement, file))
                .collect();
            self.statements.push(statement);
            for file in included {
                self.read(files, file, block, around);
            }
        }
    }

    /// Whether a statement is an include that reads this file, should it exist.
    pub(super) fn includes(&self, statement: &Statement, file: &str) -> bool {
        let [pattern] = statement.args.as_slice() else {
            return false;
        };
        statement.name == "include"
            && if pattern.starts_with('/') {
                glob::finds(pattern, file)
            } else {
                glob::finds(&format!("{}/{pattern}", self.prefix), file)
            }
    }

    pub(super) fn block(&self, statement: &Statement) -> &DirectiveBlock {
        &self.blocks[statement.block]
    }

    /// The blocks around a statement, from the inside to the outside.
    pub(super) fn levels(&self, statement: &Statement) -> Vec<usize> {
        let parent = |&block: &usize| self.blocks[block].parent;
        std::iter::successors(Some(statement.block), parent).collect()
    }

    pub(super) fn is_within(&self, statement: &Statement, name: &str) -> bool {
        let mut levels = self.levels(statement).into_iter();
        levels.any(|block| self.blocks[block].name == name)
    }
}
