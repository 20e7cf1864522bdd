//! From files to one merged tree: reading, interpolating, `extends`, `include`, laying over.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    Request,
    discover::{self, clean},
    dotenv,
    error::{LoadError, Mistakes},
    interpolate::{self, Variables},
    merge,
    tree::{KeyPath, Map, Node, Source, Sources, Spot, Value},
    yaml,
};

/// Reads files, and remembers what was read and what was wrong with it.
#[derive(Debug)]
pub(crate) struct Files<'r> {
    request: &'r Request,
    /// Every file read so far.
    pub(crate) sources: Sources,
    /// Mistakes found so far.
    pub(crate) mistakes: Mistakes,
    /// Variables that were used and have no value.
    pub(crate) unset: BTreeSet<String>,
    /// What should be told.
    pub(crate) warnings: Vec<String>,
    /// Env files of includes: they matter when they change.
    pub(crate) watched: Vec<PathBuf>,
    /// Files that services extend, as they are written: each is read once.
    extended: BTreeMap<PathBuf, Vec<Node>>,
}

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
    pub(crate) fn new(request: &'r Request) -> Self {
        Self {
            request,
            sources: Sources::default(),
            mistakes: Mistakes::default(),
            unset: BTreeSet::new(),
            warnings: Vec::new(),
            watched: Vec::new(),
            extended: BTreeMap::new(),
        }
    }

    /// The documents of a file as they are written. A file that is no YAML is a mistake.
    pub(crate) fn documents(&mut self, path: &Path, base: &Path) -> Result<Vec<Node>, LoadError> {
        let stdin = path == Path::new("-");
        let text = if stdin {
            self.request.stdin.clone().ok_or_else(|| {
                LoadError::Setting("the compose file - is standard input, which is empty".into())
            })?
        } else {
            discover::read(path)?
        };
        let file = self.sources.add(Source {
            path: path.to_owned(),
            shown: if stdin {
                "standard input".to_owned()
            } else {
                discover::shown(self.request, path)
            },
            base: base.to_owned(),
        });
        let mut documents = yaml::parse(&text, file).unwrap_or_else(|error| {
            let at = Spot {
                file,
                line: error.line,
            };
            self.mistakes.add(at, &error.path, error.message);
            Vec::new()
        });
        documents.retain(|document| {
            let map = document.as_map().is_some();
            if !map {
                let message = format!("found {document}, expected a map at the top");
                self.mistakes.add(document.at, &KeyPath::default(), message);
            }
            map
        });
        Ok(documents)
    }

    /// Merges files into one tree. `chain` are the files that include each other on the way here.
    pub(crate) fn model(
        &mut self,
        files: Vec<(PathBuf, Vec<Node>)>,
        base: &Path,
        variables: &Variables,
        chain: &[PathBuf],
    ) -> Result<Node, LoadError> {
        let mut root = Node::new(Spot::default(), Value::Map(Map::new()));
        for (file, documents) in files {
            let mut chain = chain.to_vec();
            chain.push(file.clone());
            for mut document in documents {
                self.interpolate(&mut document, variables);
                let tagged = document.clone();
                document = merge::without_edits(document);
                self.extend_all(&mut document, &tagged, &file, variables)?;
                self.include_all(&mut document, base, variables, &chain)?;
                if root.as_map().is_some_and(Map::is_empty) {
                    root.at = document.at;
                }
                merge::take_back(&mut root, &tagged);
                merge::merge(&mut root, document, &KeyPath::default(), &mut self.mistakes);
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
        Ok(root)
    }

    fn interpolate(&mut self, document: &mut Node, variables: &Variables) {
        interpolate::tree(
            document,
            &KeyPath::default(),
            variables,
            &mut self.unset,
            &mut self.mistakes,
        );
    }

    /// Replaces every service that extends another by what comes out.
    fn extend_all(
        &mut self,
        document: &mut Node,
        tagged: &Node,
        file: &Path,
        variables: &Variables,
    ) -> Result<(), LoadError> {
        let services = Services::of(document, tagged);
        let mut extended = Map::with_capacity(services.plain.len());
        for name in services.plain.keys() {
            if let Some(service) = self.extended(name, &services, file, variables, &[])? {
                extended.insert(name.clone(), service);
            }
        }
        if let Some(services) = document
            .as_map_mut()
            .and_then(|map| map.get_mut("services"))
            .filter(|services| services.as_map().is_some())
        {
            services.value = Value::Map(extended);
        }
        Ok(())
    }

    fn extended(
        &mut self,
        name: &str,
        services: &Services,
        file: &Path,
        variables: &Variables,
        chain: &[Link],
    ) -> Result<Option<Node>, LoadError> {
        let Some(service) = services.plain.get(name) else {
            return Ok(None);
        };
        let Some(extends) = service.get("extends") else {
            return Ok(Some(service.clone()));
        };
        let path = KeyPath::of(["services", name, "extends"]);
        let mut own = service.clone();
        own.as_map_mut().map(|map| map.shift_remove("extends"));

        let text = |node: Option<&Node>| node.and_then(Node::as_text).map(ToOwned::to_owned);
        let target = text(Some(extends)).or_else(|| text(extends.get("service")));
        let Some(target) = target else {
            let message = "expected the name of a service, or {service, file}";
            self.mistakes.add(extends.at, &path, message);
            return Ok(Some(own));
        };
        let link = (file.to_owned(), name.to_owned());
        let mut chain = chain.to_vec();
        if chain.contains(&link) {
            let way: Vec<_> = chain.iter().map(|(_, name)| name.as_str()).collect();
            let message = format!("extends itself: {} -> {name}", way.join(" -> "));
            self.mistakes.add(extends.at, &path, message);
            return Ok(Some(own));
        }
        chain.push(link);

        let base = match text(extends.get("file")) {
            None => {
                if !services.plain.contains_key(&target) {
                    let message = format!("service {target:?} is not in this file");
                    self.mistakes.add(extends.at, &path, message);
                }
                self.extended(&target, services, file, variables, &chain)?
            }
            Some(other) => {
                let directory = self.sources.base(extends.at).cloned().unwrap_or_default();
                let other = clean(&directory.join(other));
                let others = self.services_of(&other, variables)?;
                if !others.plain.contains_key(&target) {
                    let message = format!("service {target:?} is not in {}", other.display());
                    self.mistakes.add(extends.at, &path, message);
                }
                self.extended(&target, &others, &other, variables, &chain)?
            }
        };
        let Some(mut merged) = base else {
            return Ok(Some(own));
        };
        let path = KeyPath::of(["services", name]);
        if let Some(tagged) = services.tagged.as_ref().and_then(|all| all.get(name)) {
            merge::take_back(&mut merged, tagged);
        }
        merge::merge(&mut merged, own, &path, &mut self.mistakes);
        merged.at = service.at;
        Ok(Some(merged))
    }

    /// The services of a file that another one extends.
    fn services_of(&mut self, path: &Path, variables: &Variables) -> Result<Services, LoadError> {
        if !self.extended.contains_key(path) {
            let base = path.parent().map_or_else(PathBuf::new, Path::to_owned);
            let documents = self.documents(path, &base)?;
            self.extended.insert(path.to_owned(), documents);
        }
        let documents = self.extended.get(path).cloned().unwrap_or_default();
        let mut root = Node::new(Spot::default(), Value::Map(Map::new()));
        let mut tagged = root.clone();
        for mut document in documents {
            self.interpolate(&mut document, variables);
            tagged = document.clone();
            merge::merge(&mut root, document, &KeyPath::default(), &mut self.mistakes);
        }
        Ok(Services::of(&root, &tagged))
    }

    fn include_all(
        &mut self,
        document: &mut Node,
        base: &Path,
        variables: &Variables,
        chain: &[PathBuf],
    ) -> Result<(), LoadError> {
        let includes = document
            .as_map_mut()
            .and_then(|map| map.shift_remove("include"));
        let Some(includes) = includes.filter(|includes| !includes.is_null()) else {
            return Ok(());
        };
        let path = KeyPath::of(["include"]);
        let Some(items) = includes.as_list() else {
            let message = format!("found {includes}, expected a list of files");
            self.mistakes.add(includes.at, &path, message);
            return Ok(());
        };
        for (position, item) in items.iter().enumerate() {
            let path = path.item(position);
            let files: Vec<PathBuf> = strings(item.get("path").unwrap_or(item))
                .into_iter()
                .map(|file| clean(&base.join(file)))
                .collect();
            let Some(first) = files.first() else {
                let message = format!("found {item}, expected a path or a map with a path");
                self.mistakes.add(item.at, &path, message);
                continue;
            };
            if let Some(file) = files.iter().find(|file| chain.contains(file)) {
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
            let variables = self.with_env_files(variables, env_files, &directory, item.at)?;
            let mut read = Vec::new();
            for file in files {
                let documents = self.documents(&file, &directory)?;
                read.push((file, documents));
            }
            let model = self.model(read, &directory, &variables, chain)?;
            self.import(document, model, item.at, &path);
        }
        Ok(())
    }

    /// The variables for an included file: those of the project, then those of its env files.
    fn with_env_files(
        &mut self,
        variables: &Variables,
        mut files: Vec<PathBuf>,
        directory: &Path,
        at: Spot,
    ) -> Result<Variables, LoadError> {
        if files.is_empty() {
            let default = directory.join(".env");
            self.watched.push(default.clone());
            files.extend(default.is_file().then_some(default));
        } else {
            self.watched.extend(files.iter().cloned());
        }
        let mut values = Variables::new();
        for file in files {
            let text = discover::read(&file)?;
            match dotenv::parse(&text, variables, &values, &mut self.unset) {
                Ok(more) => values.extend(more),
                Err(error) => {
                    let shown = discover::shown(self.request, &file);
                    let message = format!("{shown}:{}: {}", error.line, error.message);
                    self.mistakes.add(at, &KeyPath::of(["include"]), message);
                }
            }
        }
        values.extend(variables.clone());
        Ok(values)
    }

    /// Copies what an included file defines; its name and top-level `x-` keys stay behind.
    fn import(&mut self, document: &mut Node, included: Node, at: Spot, path: &KeyPath) {
        let sections = [
            "services", "volumes", "networks", "secrets", "configs", "models",
        ];
        let (Value::Map(included), Some(document)) = (included.value, document.as_map_mut()) else {
            return;
        };
        for (section, node) in included {
            if !sections.contains(&section.as_str()) {
                continue;
            }
            let empty = || Node::new(node.at, Value::Map(Map::new()));
            let own = document.entry(section.clone()).or_insert_with(empty);
            if own.is_null() {
                *own = Node::new(own.at, Value::Map(Map::new()));
            }
            let (Value::Map(new), Some(own)) = (node.value, own.as_map_mut()) else {
                continue;
            };
            for (key, node) in new {
                match own.get(&key) {
                    Some(known) if !known.same(&node) => {
                        let message = format!("{section}.{key} conflicts with the included one");
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

/// A text or a list of texts as a list.
fn strings(node: &Node) -> Vec<String> {
    match &node.value {
        Value::Text(text) => vec![text.clone()],
        Value::List(items) => items
            .iter()
            .filter_map(|item| item.as_text().map(ToOwned::to_owned))
            .collect(),
        _ => Vec::new(),
    }
}
