//! What the services of a project share: a name of its own for every object, and the content of its files.

use std::collections::{BTreeMap, BTreeSet};

use super::{ExportError, ExportRequest, names, workload};
use crate::project::{
    Project, Service,
    workload::{Content, FileKind, MountedFile},
};

/// Names are those of the whole project, whatever part of it is exported: the same part has the same names.
#[derive(Debug)]
pub(super) struct ObjectNames {
    /// Of a service's Deployment or Job, its Service and its autoscaler.
    pub(super) services: BTreeMap<String, String>,
    /// Of the Service for what a service publishes.
    pub(super) public: BTreeMap<String, String>,
    /// Of the Secret with a service's environment.
    pub(super) environment: BTreeMap<String, String>,
    /// Of a named volume's claim.
    pub(super) volumes: BTreeMap<String, String>,
    /// Of the object with a config or a secret.
    files: BTreeMap<(FileKind, String), String>,
    /// Their content.
    contents: BTreeMap<(FileKind, String), Vec<u8>>,
    /// Other names that a service is found by, and why one of them is none here.
    pub(super) aliases: BTreeMap<String, Vec<(String, Option<String>)>>,
    /// How many services have their requests from outside.
    pub(super) doors: usize,
}

impl ObjectNames {
    pub(super) fn of(
        request: &ExportRequest<'_>,
        wanted: &[&Service],
    ) -> Result<Self, ExportError> {
        let project = request.project;
        let services = names::unique(project.services.keys().map(String::as_str), "app");
        let mut found: BTreeSet<String> = services.values().cloned().collect();
        let mut public = BTreeMap::new();
        for (key, name) in &services {
            let name = names::free(&names::with(name, "public"), &found);
            found.insert(name.clone());
            public.insert(key.clone(), name);
        }
        let files = file_names(project);
        let secrets = files
            .iter()
            .filter(|((kind, _), _)| *kind == FileKind::Secret);
        let mut secrets: BTreeSet<String> = secrets.map(|(_, name)| name.clone()).collect();
        let mut environment = BTreeMap::new();
        for (key, name) in &services {
            let name = names::free(&names::with(name, "env"), &secrets);
            secrets.insert(name.clone());
            environment.insert(key.clone(), name);
        }
        Ok(Self {
            aliases: aliases(project, &mut found),
            contents: contents(request, wanted)?,
            doors: 0,
            environment,
            files,
            public,
            services,
            volumes: super::storage::names(project),
        })
    }

    /// The object that a file is in.
    pub(super) fn object_of(&self, file: &MountedFile) -> &str {
        let key = (file.kind, file.name.clone());
        self.files.get(&key).map_or("", String::as_str)
    }

    /// What is in a file; `None` where that is not known here.
    pub(super) fn content_of(&self, file: &MountedFile) -> Option<&[u8]> {
        let key = (file.kind, file.name.clone());
        self.contents.get(&key).map(Vec::as_slice)
    }
}

fn all_files(project: &Project) -> impl Iterator<Item = &MountedFile> {
    let services = project.services.values();
    services.flat_map(|service| &service.workload.files)
}

/// Those of others keep their name; a config and a secret may have one name in compose.
fn file_names(project: &Project) -> BTreeMap<(FileKind, String), String> {
    let mut all = BTreeMap::new();
    let mut taken: BTreeSet<(FileKind, String)> = BTreeSet::new();
    for file in all_files(project) {
        if let Content::External(name) = &file.content {
            let name = names::label(name, "file");
            taken.insert((file.kind, name.clone()));
            all.insert((file.kind, file.name.clone()), name);
        }
    }
    let ours: BTreeSet<(FileKind, &String)> = all_files(project)
        .filter(|file| !matches!(file.content, Content::External(_)))
        .map(|file| (file.kind, &file.name))
        .collect();
    for (kind, key) in ours {
        let word = match kind {
            FileKind::Config => "config",
            FileKind::Secret => "secret",
        };
        let of_kind = taken.iter().filter(|(other, _)| *other == kind);
        let of_kind = of_kind.map(|(_, name)| name.clone()).collect();
        let name = names::free(&names::with(&names::label(key, "file"), word), &of_kind);
        taken.insert((kind, name.clone()));
        all.insert((kind, key.clone()), name);
    }
    all
}

fn contents(
    request: &ExportRequest<'_>,
    wanted: &[&Service],
) -> Result<BTreeMap<(FileKind, String), Vec<u8>>, ExportError> {
    let mut all = BTreeMap::new();
    for file in wanted.iter().flat_map(|service| &service.workload.files) {
        let key = (file.kind, file.name.clone());
        if all.contains_key(&key) {
            continue;
        }
        let bytes = match &file.content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::File(path) => (request.read)(path).map_err(|error| {
                ExportError::File(format!(
                    "{}.{}.file: cannot read {}: {error}",
                    file.kind.section(),
                    file.name,
                    path.display()
                ))
            })?,
            Content::Unset(_) | Content::External(_) => continue,
        };
        all.insert(key, bytes);
    }
    Ok(all)
}

/// Aliases on networks, and names of containers: in compose all of them are found.
fn aliases(
    project: &Project,
    found: &mut BTreeSet<String>,
) -> BTreeMap<String, Vec<(String, Option<String>)>> {
    let mut all = BTreeMap::new();
    for (key, service) in &project.services {
        let networks = service.networks.values();
        let aliases = networks.flat_map(|network| &network.aliases);
        let names: BTreeSet<&String> = aliases.chain(&service.container_name).collect();
        let mut own = Vec::new();
        for alias in names.into_iter().filter(|alias| *alias != key) {
            let why = if workload::is_once(project, key) {
                Some("a Job has no Service".to_owned())
            } else if names::label(alias, "app") != *alias {
                Some("it may not be the name of a Service".to_owned())
            } else if !found.insert(alias.clone()) {
                Some("another Service has that name, and one leads to one".to_owned())
            } else {
                None
            };
            own.push((alias.clone(), why));
        }
        all.insert(key.clone(), own);
    }
    all
}
