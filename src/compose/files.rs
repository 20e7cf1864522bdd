//! From files to one merged tree: reading, interpolating, `extends`, `include`, laying over.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    LoadRequest,
    discover::{self, clean},
    error::{LoadError, Mistakes, UnknownKey},
    interpolate::{self, VariableMap},
    merge, schema,
    tree::{KeyPath, Map, Node, NodeValue, SourceFile, SourceLocation, Sources},
    variable_usage::Uses,
    yaml,
};

/// Reads files, and remembers what was read and what was wrong with it.
#[derive(Debug)]
pub(crate) struct Files<'r> {
    pub(super) request: &'r LoadRequest,
    /// Every file read so far.
    pub(crate) sources: Sources,
    /// Mistakes found so far.
    pub(crate) mistakes: Mistakes,
    /// What the specification does not allow: what is written is understood, so reading goes on.
    pub(crate) shapes: Mistakes,
    /// Keys that the specification does not know.
    pub(crate) unknown: Vec<UnknownKey>,
    /// Which variables were used, and which of them have no value.
    pub(crate) uses: Uses,
    /// What should be told.
    pub(crate) warnings: Vec<String>,
    /// Env files of includes: they matter when they change.
    pub(crate) watched: Vec<PathBuf>,
    /// Files that services extend, as they are written: each is read once.
    extended: BTreeMap<PathBuf, Vec<Node>>,
}

/// Files of a project. Far from what anybody has.
const MOST_FILES: usize = 1000;

/// Services that extend each other in a row. Far from what anybody has.
const LONGEST_CHAIN: usize = 100;

/// One service and the file it is in, on the way along `extends`.
type Link = (PathBuf, String);

/// The services of one file.
#[derive(Debug)]
struct Services {
    /// Its documents laid over each other, without their tags.
    plain: Map,
    /// The same of its last document as it is written: its tags act on what a service extends.
    tagged: Option<Node>,
}

impl Services {
    fn of(plain: &Node, tagged: &Node) -> Self {
        let services = plain.get("services").and_then(Node::as_map);
        Self {
            plain: services.cloned().unwrap_or_default(),
            tagged: tagged.get("services").cloned(),
        }
    }
}

impl<'r> Files<'r> {
    /// Nothing read yet.
    pub(crate) fn new(request: &'r LoadRequest) -> Self {
        Self {
            request,
            sources: Sources::default(),
            mistakes: Mistakes::default(),
            shapes: Mistakes::default(),
            unknown: Vec::new(),
            uses: Uses::default(),
            warnings: Vec::new(),
            watched: Vec::new(),
            extended: BTreeMap::new(),
        }
    }

    /// The documents of a file as they are written. A file that is no YAML is a mistake.
    pub(crate) fn documents(&mut self, path: &Path, base: &Path) -> Result<Vec<Node>, LoadError> {
        if self.sources.0.len() >= MOST_FILES {
            return Err(LoadError::Setting(format!(
                "more than {MOST_FILES} files belong to this project; do they include each other over links?"
            )));
        }
        let stdin = path == Path::new("-");
        let text = if stdin {
            self.request.stdin.clone().ok_or_else(|| {
                LoadError::Setting("the compose file - is standard input, which is empty".into())
            })?
        } else {
            discover::read(path)?
        };
        let file = self.sources.add(SourceFile {
            path: path.to_owned(),
            shown: if stdin {
                "standard input".to_owned()
            } else {
                discover::shown(self.request, path)
            },
            base: base.to_owned(),
        });
        let mut documents = yaml::parse(&text, file).unwrap_or_else(|error| {
            let at = SourceLocation {
                file,
                line: error.line,
            };
            self.mistakes.add(at, &error.path, error.message);
            Vec::new()
        });
        documents.retain(|document| {
            let map = document.as_map().is_some();
            if !map {
                let hint = if document.is_null() && text.contains("---") {
                    "; take the `---` before it away"
                } else {
                    ""
                };
                let message = format!("found {document}, expected a map at the top{hint}");
                self.mistakes.add(document.at, &KeyPath::default(), message);
            }
            map
        });
        Ok(documents)
    }

    /// The documents of a file that another one names at `at`; a file that cannot be read is a
    /// mistake there.
    pub(super) fn named(
        &mut self,
        path: &Path,
        base: &Path,
        at: SourceLocation,
        key: &KeyPath,
    ) -> Option<Vec<Node>> {
        self.documents(path, base)
            .map_err(|error| self.mistakes.add(at, key, error.to_string()))
            .ok()
    }

    /// Whether a path leads to another machine; a mistake then.
    pub(super) fn is_remote(&mut self, path: &str, at: SourceLocation, key: &KeyPath) -> bool {
        let remote = discover::is_remote(path);
        if remote {
            self.mistakes.add(at, key, discover::remote(path));
        }
        remote
    }

    /// Merges files into one tree. `chain` are the files that include each other on the way here.
    pub(crate) fn model(
        &mut self,
        files: Vec<(PathBuf, Vec<Node>)>,
        base: &Path,
        variables: &VariableMap,
        chain: &[PathBuf],
    ) -> Node {
        let mut root = Node::new(SourceLocation::default(), NodeValue::Map(Map::new()));
        for (file, documents) in files {
            let mut chain = chain.to_vec();
            // Links make ever new paths of one file.
            chain.push(fs::canonicalize(&file).unwrap_or_else(|_| file.clone()));
            for mut document in documents {
                self.interpolate(&mut document, variables);
                let tagged = document.clone();
                document = merge::without_edits(document);
                self.extend_all(&mut document, &tagged, &file, variables);
                self.include_all(&mut document, base, variables, &chain);
                if root.as_map().is_some_and(Map::is_empty) {
                    root.at = document.at;
                }
                merge::take_back(&mut root, &tagged);
                merge::merge(&mut root, document, &KeyPath::default(), &mut self.mistakes);
                // Each document has to be right by itself, also where a later one replaces it.
                schema::check(&root, &mut self.shapes, &mut self.unknown);
            }
            if let Some(version) = root
                .as_map_mut()
                .and_then(|map| map.shift_remove("version"))
            {
                self.warnings.push(format!(
                    "{}: `version` is obsolete and has no effect",
                    self.sources.shown(version.at)
                ));
            }
        }
        root
    }

    fn interpolate(&mut self, document: &mut Node, variables: &VariableMap) {
        interpolate::tree(
            document,
            &KeyPath::default(),
            variables,
            &mut self.uses,
            &mut self.mistakes,
        );
    }

    /// Replaces every service that extends another by what comes out.
    fn extend_all(
        &mut self,
        document: &mut Node,
        tagged: &Node,
        file: &Path,
        variables: &VariableMap,
    ) {
        let services = Services::of(document, tagged);
        let mut extended = Map::with_capacity(services.plain.len());
        for name in services.plain.keys() {
            if let Some(service) = self.extended(name, &services, file, variables, &[]) {
                extended.insert(name.clone(), service);
            }
        }
        if let Some(services) = document
            .as_map_mut()
            .and_then(|map| map.get_mut("services"))
            .filter(|services| services.as_map().is_some())
        {
            services.value = NodeValue::Map(extended);
        }
    }

    fn extended(
        &mut self,
        name: &str,
        services: &Services,
        file: &Path,
        variables: &VariableMap,
        chain: &[Link],
    ) -> Option<Node> {
        let service = services.plain.get(name)?;
        let Some(extends) = service.get("extends") else {
            return Some(service.clone());
        };
        let path = KeyPath::of(["services", name, "extends"]);
        let mut own = service.clone();
        own.as_map_mut().map(|map| map.shift_remove("extends"));

        let text = |node: Option<&Node>| node.and_then(Node::as_text).map(ToOwned::to_owned);
        let target = text(Some(extends)).or_else(|| text(extends.get("service")));
        let Some(target) = target else {
            let message = "expected the name of a service, or {service, file}";
            self.mistakes.add(extends.at, &path, message);
            return Some(own);
        };
        let link = (file.to_owned(), name.to_owned());
        let mut chain = chain.to_vec();
        if chain.contains(&link) {
            let way: Vec<_> = chain.iter().map(|(_, name)| name.as_str()).collect();
            let message = format!("extends itself: {} -> {name}", way.join(" -> "));
            self.mistakes.add(extends.at, &path, message);
            return Some(own);
        }
        chain.push(link);
        if chain.len() > LONGEST_CHAIN {
            let message = format!("more than {LONGEST_CHAIN} services extend each other in a row");
            self.mistakes.add(extends.at, &path, message);
            return Some(own);
        }

        let other = extends.get("file").filter(|file| !file.is_null());
        if let Some(file) = other.filter(|file| file.as_text().is_none()) {
            let message = format!("found {file}, expected the path of a compose file");
            self.mistakes.add(file.at, &path.key("file"), message);
            return Some(own);
        }
        let base = match text(other) {
            None => {
                if !services.plain.contains_key(&target) {
                    let message = format!("service {target:?} is not in this file");
                    self.mistakes.add(extends.at, &path, message);
                }
                self.extended(&target, services, file, variables, &chain)
            }
            Some(other) if self.is_remote(&other, extends.at, &path) => return Some(own),
            Some(other) => {
                let directory = self.sources.base(extends.at).cloned().unwrap_or_default();
                let other = clean(&directory.join(other));
                let Some(others) = self.services_of(&other, variables, extends.at, &path) else {
                    return Some(own);
                };
                if !others.plain.contains_key(&target) {
                    let message = format!("service {target:?} is not in {}", other.display());
                    self.mistakes.add(extends.at, &path, message);
                }
                self.extended(&target, &others, &other, variables, &chain)
            }
        };
        let Some(mut merged) = base else {
            return Some(own);
        };
        let path = KeyPath::of(["services", name]);
        if let Some(tagged) = services.tagged.as_ref().and_then(|all| all.get(name)) {
            merge::take_back(&mut merged, tagged);
        }
        merge::merge(&mut merged, own, &path, &mut self.mistakes);
        merged.at = service.at;
        Some(merged)
    }

    /// The services of a file that another one extends.
    fn services_of(
        &mut self,
        path: &Path,
        variables: &VariableMap,
        at: SourceLocation,
        key: &KeyPath,
    ) -> Option<Services> {
        if !self.extended.contains_key(path) {
            let base = path.parent().map_or_else(PathBuf::new, Path::to_owned);
            let documents = self.named(path, &base, at, key)?;
            self.extended.insert(path.to_owned(), documents);
        }
        let documents = self.extended.get(path).cloned().unwrap_or_default();
        let mut root = Node::new(SourceLocation::default(), NodeValue::Map(Map::new()));
        let mut tagged = root.clone();
        for mut document in documents {
            self.interpolate(&mut document, variables);
            tagged = document.clone();
            merge::merge(&mut root, document, &KeyPath::default(), &mut self.mistakes);
        }
        Some(Services::of(&root, &tagged))
    }
}
