//! Reading a project's compose files: from files, flags and environment to the model in
//! [`project`](crate::project) and the policies in [`policy`](crate::policy).
//!
//! The way of a value: `discover` finds the files and the variables, `yaml` makes trees whose values
//! know their line, `files` interpolates them and lays them over each other (`merge`), `schema`
//! notes unknown keys, `service` and `attach` read what this tool needs, `consistency` checks what
//! refers to what, `create` tells how a container is made from nothing, `policies` reads `x-autoscale`.
//! All mistakes are reported at once.
//!
//! A valid compose file is never refused for a key that is not read here. Nothing is written, no
//! daemon is asked, and the process environment is not looked at: all that comes in is in [`LoadRequest`].

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use indexmap::IndexMap;

use self::{
    discover::Discovery,
    files::Files,
    reader::ServiceReader,
    tree::{KeyPath, Map, Node, SourceLocation},
};
use crate::{
    policy::{Policy, Settings},
    project::{Project, Service},
    units::shell_word,
};

mod config_secrets;
mod consistency;
mod container_options;
mod container_spec;
pub mod count_file;
mod discover;
mod dotenv;
pub mod edit_count;
mod environment;
mod error;
mod extra_validation;
mod files;
pub mod from_labels;
mod include;
mod interpolate;
mod long_forms;
mod merge;
mod policies;
mod ports;
mod ports_networks_volumes;
mod project_name;
mod reader;
pub mod render;
mod schema;
mod service;
mod text_parsers;
mod tree;
mod variable_usage;
mod yaml;

pub use discover::has_compose_file;
pub use error::{LoadError, Mistake};
pub use from_labels::RunningError;
pub use project_name::{likely_name, likely_name_without_files};

/// What to load: the flags and the environment of a command.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// `--file`, in order; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// `--project-name`.
    pub project_name: Option<String>,
    /// `--project-directory`.
    pub project_directory: Option<PathBuf>,
    /// `--env-file`, in order.
    pub env_files: Vec<PathBuf>,
    /// `--profile`; none leaves it to `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Services that the command line names: they are on whatever their profiles.
    pub named_services: Vec<String>,
    /// The text of standard input, for a file named `-`.
    pub stdin: Option<String>,
}

/// A project that was read without a mistake.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// The project's `x-autoscale`.
    pub settings: Settings,
    /// The policies of the enabled services that have one.
    pub policies: IndexMap<String, Policy>,
    /// What should be told and stops nothing.
    pub warnings: Vec<String>,
    /// Where each enabled service and each of its keys is written: file and line, by service and key;
    /// the key is empty for the service itself.
    pub places: BTreeMap<(String, String), (PathBuf, usize)>,
    /// Files whose change, appearance or end calls for loading again.
    pub watched: Vec<PathBuf>,
    /// What `docker compose` has to be given so that it finds this project, as it was given here; empty where
    /// it finds it by itself.
    pub flags: String,
}

impl Loaded {
    /// A command for this project, as it is to be typed: `docker compose …` finds another project, or none,
    /// without what this tool was given.
    pub fn typed(&self, text: &str) -> String {
        typed(&self.flags, text)
    }
}

/// Puts flags into every `docker compose` of a text.
pub fn typed(flags: &str, text: &str) -> String {
    let with = format!("docker compose {flags} ");
    if flags.is_empty() || text.contains(&with) {
        return text.to_owned();
    }
    text.replace("docker compose ", &with)
}

impl LoadRequest {
    /// The flags of `docker compose` that say the same as those that were given here.
    pub fn flags(&self) -> String {
        let mut words = Vec::new();
        let mut add = |flag: &str, value: &str| words.extend([flag.to_owned(), shell_word(value)]);
        for file in &self.files {
            add("-f", &file.to_string_lossy());
        }
        if let Some(directory) = &self.project_directory {
            add("--project-directory", &directory.to_string_lossy());
        }
        if let Some(name) = &self.project_name {
            add("-p", name);
        }
        for file in &self.env_files {
            add("--env-file", &file.to_string_lossy());
        }
        for profile in &self.profiles {
            add("--profile", profile);
        }
        words.join(" ")
    }
}

/// Where the files of a project are, before any of them is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Absolute, in the order they are merged; `-` is standard input.
    pub files: Vec<PathBuf>,
    /// The project's directory, absolute.
    pub directory: PathBuf,
    /// What stands between the files in `COMPOSE_FILE`.
    pub separator: String,
}

/// Finds the files of a project.
pub fn places(request: &LoadRequest) -> Result<Places, LoadError> {
    let found = discover::discover(request)?;
    Ok(Places {
        separator: discover::separator(&found.variables).to_owned(),
        files: found.files,
        directory: found.directory,
    })
}

/// Loads a project.
pub fn load(request: &LoadRequest) -> Result<Loaded, LoadError> {
    let mut found = discover::discover(request)?;
    let mut files = Files::new(request);
    let mut documents = Vec::new();
    for path in &found.files {
        let base = found.directory.clone();
        documents.push((path.clone(), files.documents(path, &base)?));
    }
    let name = discover::project_name(request, &found, || written_name(&documents, &found))?;
    found
        .variables
        .insert("COMPOSE_PROJECT_NAME".to_owned(), name.clone());
    let root = files.model(documents, &found.directory, &found.variables, &[]);
    if files.mistakes.is_empty() && root.as_map().is_some_and(Map::is_empty) {
        let message = "the compose file is empty";
        let at = SourceLocation::default();
        files.mistakes.add(at, &KeyPath::default(), message);
    }
    if !files.mistakes.is_empty() {
        files.mistakes.append(files.shapes);
        files.mistakes.explain(files.unknown);
        return Err(files.mistakes.finish(&files.sources));
    }
    found.warn_unset(&files.uses.unset());
    assemble(request, found, files, &root, name)
}

/// Reads a policy from a file of its own: what a service has below `x-autoscale`.
pub fn policy(request: &LoadRequest, path: &Path) -> Result<Policy, LoadError> {
    let mut files = Files::new(request);
    let path = request.cwd.join(path);
    let documents = files.documents(&path, &request.cwd)?;
    let nothing = || Node::new(SourceLocation::default(), tree::NodeValue::Null);
    let root = documents.into_iter().next_back().unwrap_or_else(nothing);
    let mut policy = None;
    if files.mistakes.is_empty() {
        let mistakes = &mut files.mistakes;
        if root.get("services").is_some() {
            let what = "this is a compose file, which --file reads; expected a policy alone: min, max, metrics …";
            mistakes.add(root.at, &KeyPath::default(), what);
        } else {
            policy = policies::alone(&root, mistakes);
        }
    }
    policy.ok_or_else(|| files.mistakes.finish(&files.sources))
}

/// The last `name:` of the files, interpolated.
fn written_name(
    documents: &[(PathBuf, Vec<Node>)],
    found: &Discovery,
) -> Result<Option<String>, LoadError> {
    let written = documents
        .iter()
        .flat_map(|(_, documents)| documents)
        .filter_map(|document| document.get("name")?.as_text())
        .rfind(|name| !name.is_empty());
    // What is unset here is unset again when the whole file is interpolated.
    let mut unset = std::collections::BTreeSet::new();
    written
        .map(|text| interpolate::substitute(text, &found.variables, &mut unset))
        .transpose()
        .map_err(|error| LoadError::Setting(format!("name: {error}")))
}

fn assemble(
    request: &LoadRequest,
    mut found: Discovery,
    files: Files<'_>,
    root: &Node,
    name: String,
) -> Result<Loaded, LoadError> {
    let Files {
        sources,
        shapes: mut mistakes,
        unknown,
        warnings,
        watched,
        mut uses,
        ..
    } = files;
    uses.behind.append(&mut found.unset);
    for warning in warnings {
        found.warn(warning);
    }
    let profiles = profiles(request, &found);
    let env_files = discover::asked_env_files(request, &found.variables);
    let labelled = container_spec::Labelled {
        directory: &found.directory,
        files: &found.files,
        env_files: &env_files,
    };
    let mut services = IndexMap::new();
    let mut spots = Vec::new();
    let mut disabled = Vec::new();
    let mut reader = ServiceReader {
        root,
        project: &name,
        sources: &sources,
        home: request.env.get("HOME").map(String::as_str),
        variables: &found.variables,
        uses: &uses,
        unknown: &unknown,
        read: Vec::new(),
        mistakes: &mut mistakes,
        warnings: &mut found.warnings,
        conflicts: Vec::new(),
    };
    for (key, node) in root
        .get("services")
        .and_then(Node::as_map)
        .into_iter()
        .flatten()
    {
        if node.as_map().is_none() {
            continue;
        }
        let mut service = reader.service(key, node);
        let conflicts = std::mem::take(&mut reader.conflicts);
        if is_enabled(&service, &profiles, &request.named_services) {
            for (at, path, message) in conflicts {
                reader.mistakes.add(at, &path, message);
            }
            reader.details_of_enabled(key, node);
            let path = KeyPath::of(["services", key.as_str()]);
            for (label, value) in reader.file_labels(node, &path) {
                service.labels.entry(label).or_insert(value);
            }
            // What is wrong is told once, by the readers above.
            if reader.mistakes.is_empty() {
                let recipe = container_spec::recipe(&mut reader, &service, node, &labelled);
                service.recipe = Some(recipe);
            }
            spots.push((key.clone(), String::new(), node.at));
            for (inner, value) in node.as_map().into_iter().flatten() {
                spots.push((key.clone(), inner.clone(), value.at));
            }
            services.insert(key.clone(), service);
        } else {
            disabled.push(key.clone());
        }
    }
    let read = std::mem::take(&mut reader.read);
    consistency::check(root, &services, &mut mistakes);
    let (settings, mut policies) = policies::read(root, &mut mistakes);
    if !mistakes.is_empty() {
        mistakes.explain(unknown);
        return Err(mistakes.finish(&sources));
    }
    for key in unknown {
        let told = sources.mistake(key.at, key.path.to_string(), key.message);
        found.warn(told.to_string());
    }
    policies.retain(|name, _| services.contains_key(name));

    let path = |at: SourceLocation| Some((sources.0.get(at.file)?.path.clone(), at.line));
    let places = spots
        .into_iter()
        .filter_map(|(service, key, at)| Some(((service, key), path(at)?)))
        .collect();
    let mut all = Vec::new();
    let sources = sources.0.into_iter().map(|source| source.path);
    for path in sources.chain(found.watched).chain(watched).chain(read) {
        if path != Path::new("-") && !all.contains(&path) {
            all.push(path);
        }
    }
    Ok(Loaded {
        project: Project {
            name,
            working_dir: found.directory,
            config_files: found.files,
            services,
            disabled_services: disabled,
            volumes: container_options::volumes(root),
            networks: container_options::networks(root),
        },
        settings,
        policies,
        warnings: found.warnings,
        places,
        watched: all,
        flags: request.flags(),
    })
}

fn profiles(request: &LoadRequest, found: &Discovery) -> Vec<String> {
    if !request.profiles.is_empty() {
        return request.profiles.clone();
    }
    // Without any, the empty one is active: a profile from a variable that is not set is no profile.
    let listed = found.variables.get("COMPOSE_PROFILES");
    let listed = listed.map_or("", String::as_str).split(',');
    listed.map(|name| name.trim().to_owned()).collect()
}

fn is_enabled(service: &Service, active: &[String], named: &[String]) -> bool {
    service.profiles.is_empty()
        || named.contains(&service.name)
        || active
            .iter()
            .any(|profile| profile == "*" || service.profiles.contains(profile))
}

/// What `fuzz/` reaches besides [`load`].
/// What is fuzzed of this module beside [`load`].
#[doc(hidden)]
pub mod fuzzing {
    use super::{dotenv, interpolate};

    /// A text with the variables of a `.env` file.
    pub fn interpolate(text: &str, file: &str) -> Result<String, String> {
        let none = interpolate::VariableMap::new();
        let mut unset = std::collections::BTreeSet::new();
        let found = dotenv::parse(file, &none, &none, &mut unset).map_err(|e| format!("{e:?}"))?;
        interpolate::substitute(text, &found, &mut unset).map_err(|e| e.to_string())
    }
}

#[cfg(test)]
mod tests;

/// The keys that compose knows of a service; those of `deploy` one by one, as `deploy.mode`.
#[cfg(test)]
pub(crate) fn keys_of_services() -> Vec<String> {
    let own = schema::service_keys().filter(|key| *key != "deploy");
    let deploy = schema::deploy_keys().filter(|key| *key != "resources");
    let deploy = deploy.chain([
        "resources.limits.cpus",
        "resources.limits.memory",
        "resources.limits.pids",
        "resources.reservations.cpus",
        "resources.reservations.devices",
        "resources.reservations.generic_resources",
        "resources.reservations.memory",
    ]);
    let deploy = deploy.map(|key| format!("deploy.{key}"));
    own.map(ToOwned::to_owned).chain(deploy).collect()
}
