//! From the merged tree of a service to the [`Recipe`] of its container, as compose v2 would make it.
//!
//! Every key is translated, has no meaning for a container, or is refused by its name: nothing is left
//! out in silence. A service that cannot be translated is no mistake of its file; only a first replica
//! that nothing else can make needs it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value as Json, json};

use super::{
    extra_validation::is_external,
    merge::into_entries,
    reader::ServiceReader,
    tree::{KeyPath, Node},
};
use crate::project::{
    Service,
    container_spec::{ContainerSpec, Endpoint, EngineRequirement, NO_HASH, Resource},
    labels,
    workload::FileKind,
};

mod devices;
mod files;
mod mounts;
mod networks;
mod process;
pub(super) mod read;
mod security;
mod table;

/// Why a key that nobody knows is not translated.
const UNKNOWN: &str = "this program does not know what compose makes of it";

/// Sections of the project that containers are made with.
const CREATED: [&str; 4] = ["configs", "networks", "secrets", "volumes"];

/// What of the project goes into the labels of its containers.
#[derive(Debug)]
pub(super) struct Labelled<'a> {
    /// The project directory.
    pub(super) directory: &'a Path,
    /// Its files.
    pub(super) files: &'a [PathBuf],
    /// Env files that were asked for.
    pub(super) env_files: &'a [PathBuf],
}

/// A recipe in the making.
struct SpecBuilder<'r, 'a> {
    reader: &'r mut ServiceReader<'a>,
    service: &'r Service,
    node: &'r Node,
    recipe: ContainerSpec,
    refused: Vec<String>,
}

/// The recipe of a service, or everything that stands in its way.
pub(super) fn recipe(
    reader: &mut ServiceReader<'_>,
    service: &Service,
    node: &Node,
    labelled: &Labelled<'_>,
) -> Result<ContainerSpec, Vec<String>> {
    let recipe = ContainerSpec {
        project: reader.project.to_owned(),
        service: service.name.clone(),
        container_name: service.container_name.clone(),
        image: service.image.clone().unwrap_or_default(),
        built: service.build,
        platform: reader
            .variables
            .get("DOCKER_DEFAULT_PLATFORM")
            .filter(|platform| !platform.is_empty())
            .cloned(),
        labels: labels_of(reader.project, service, labelled),
        ..ContainerSpec::default()
    };
    let mut making = SpecBuilder {
        reader,
        service,
        node,
        recipe,
        refused: Vec::new(),
    };
    making.everything();
    if making.refused.is_empty() {
        Ok(making.recipe)
    } else {
        Err(making.refused)
    }
}

fn labels_of(
    project: &str,
    service: &Service,
    labelled: &Labelled<'_>,
) -> BTreeMap<String, String> {
    let joined = |paths: &[PathBuf]| {
        let paths: Vec<_> = paths.iter().map(|path| path.to_string_lossy()).collect();
        paths.join(",")
    };
    let needed: Vec<_> = service
        .depends_on
        .iter()
        .map(|(name, on)| format!("{name}:{}:{}", on.condition, on.restart))
        .collect();
    let mut all = service.labels.clone();
    let own = [
        (labels::PROJECT, project.to_owned()),
        (labels::SERVICE, service.name.clone()),
        (labels::ONEOFF, "False".to_owned()),
        (labels::CONFIG_HASH, NO_HASH.to_owned()),
        (labels::DEPENDS_ON, needed.join(",")),
        (
            labels::WORKING_DIR,
            labelled.directory.to_string_lossy().into_owned(),
        ),
        (labels::CONFIG_FILES, joined(labelled.files)),
    ];
    all.extend(own.map(|(key, value)| (key.to_owned(), value)));
    if !labelled.env_files.is_empty() {
        all.insert(
            labels::ENVIRONMENT_FILE.to_owned(),
            joined(labelled.env_files),
        );
    }
    all
}

impl SpecBuilder<'_, '_> {
    /// What the project's `networks` or `volumes` say of one; `None` where nothing is written.
    fn top(&self, section: &str, key: &str) -> Option<&Node> {
        self.reader.root.get(section)?.get(key)
    }

    /// How a network or a volume of the project is made, as far as that is the same; `None` for one that
    /// is somebody else's. `label` has its key, `field` the options of its driver.
    fn made(
        &self,
        section: &str,
        key: &str,
        name: &str,
        label: &str,
        field: &str,
    ) -> Option<Map<String, Json>> {
        let written = |key_of_it: &str| self.top(section, key)?.get(key_of_it);
        if is_external(written("external")) {
            return None;
        }
        let mut labels = written("labels").map(read::pairs).unwrap_or_default();
        labels.insert(labels::PROJECT.to_owned(), self.recipe.project.clone());
        labels.insert(label.to_owned(), key.to_owned());
        let mut all = Map::from_iter([
            ("Name".to_owned(), json!(name)),
            ("Labels".to_owned(), json!(labels)),
        ]);
        if let Some(driver) = written("driver").and_then(Node::as_text) {
            all.insert("Driver".into(), json!(driver));
        }
        if let Some(options) = written("driver_opts") {
            all.insert(field.into(), json!(read::pairs(options)));
        }
        Some(all)
    }

    fn everything(&mut self) {
        if self.service.image.is_none() {
            self.refuse("provider", "something else than the Engine runs it");
        }
        self.set_config("AttachStdout", json!(true));
        self.set_config("AttachStderr", json!(true));
        self.set_host("OomKillDisable", json!(false));
        self.set_host("ExtraHosts", json!([]));
        self.environment();
        self.ports();
        self.networks();
        self.capabilities();
        let map = self.node.as_map().cloned().unwrap_or_default();
        for (key, node) in &map {
            self.key(key, node);
        }
        // Those of the service itself are among the keys above.
        let lost = |path: &KeyPath| match path.0.as_slice() {
            [section, service, below @ ..] if section == "services" => {
                let own = below.len() > 1 && *service == self.service.name;
                own.then(|| KeyPath(below.to_vec()).to_string())
            }
            [section, ..] if CREATED.contains(&section.as_str()) => Some(path.to_string()),
            _ => None,
        };
        let unknown = self.reader.unknown.iter();
        let unknown: Vec<_> = unknown.filter_map(|key| lost(&key.path)).collect();
        for key in unknown {
            self.refuse(&key, UNKNOWN);
        }
        // What `deploy` says wins over the older keys.
        if let Some(deploy) = map.get("deploy") {
            self.deploy(deploy);
        }
    }

    fn key(&mut self, key: &str, node: &Node) {
        if table::MEANINGLESS.contains(&key) || table::ELSEWHERE.contains(&key) {
            return;
        }
        if let Some((_, part, field, kind)) = table::PLAIN.iter().find(|row| row.0 == key) {
            return self.plain(key, *part, field, *kind, node);
        }
        match key {
            "command" => self.command(key, "Cmd", node),
            "entrypoint" => self.command(key, "Entrypoint", node),
            "healthcheck" => self.healthcheck(node),
            "stop_grace_period" => self.stop_timeout(),
            "restart" => self.restart(node),
            "logging" => self.logging(node),
            "security_opt" => self.security(node),
            "extra_hosts" => self.extra_hosts(node),
            "tmpfs" => self.tmpfs(node),
            "ulimits" => self.ulimits(node),
            "blkio_config" => self.blkio(node),
            "devices" => self.devices(node),
            "gpus" => self.gpus(node),
            "volumes" => self.volumes(node),
            "volumes_from" => self.volumes_from(node),
            "configs" => self.mounted_files(FileKind::Config, node),
            "secrets" => self.mounted_files(FileKind::Secret, node),
            "ipc" => self.shared_mode(key, "IpcMode", node),
            "pid" => self.shared_mode(key, "PidMode", node),
            "network_mode" => self.shared_mode(key, "NetworkMode", node),
            "platform" => {
                self.recipe.platform = node.as_text().map(ToOwned::to_owned);
            }
            "annotations" => {
                let pairs = json!(read::pairs(node));
                self.set_host("Annotations", pairs);
                self.need("annotations", (1, 43));
            }
            key if key.starts_with("x-") => {}
            "mac_address" if node.is_blank() => {}
            key => match table::REFUSED.iter().find(|(name, _)| *name == key) {
                Some((_, why)) => self.refuse(key, why),
                None => self.refuse(key, UNKNOWN),
            },
        }
    }

    /// Notes a key that is not translated, and why.
    fn refuse(&mut self, key: &str, why: &str) {
        let line = format!("`{key}`: {why}");
        if !self.refused.contains(&line) {
            self.refused.push(line);
        }
    }

    fn unread(&mut self, key: &str) {
        self.refuse(key, "its value is not understood here");
    }

    fn need(&mut self, key: &'static str, api: (u32, u32)) {
        self.recipe.needs.push(EngineRequirement { key, api });
    }

    fn set_config(&mut self, field: &str, value: Json) {
        self.recipe.config.insert(field.to_owned(), value);
    }

    fn set_host(&mut self, field: &str, value: Json) {
        self.recipe.host.insert(field.to_owned(), value);
    }

    fn push_host(&mut self, field: &str, value: Json) {
        let list = self.recipe.host.entry(field.to_owned());
        if let Json::Array(list) = list.or_insert_with(|| json!([])) {
            list.push(value);
        }
    }

    fn plain(&mut self, key: &str, part: table::Part, field: &str, kind: table::As, node: &Node) {
        let Some(value) = read::value(kind, node) else {
            return self.unread(key);
        };
        // Nothing, to the Engine and to compose.
        let unset = kind.zero_is_unset() && value == json!(0);
        if unset {
            return;
        }
        match part {
            table::Part::Config => self.set_config(field, value),
            table::Part::Host => self.set_host(field, value),
        }
    }

    fn environment(&mut self) {
        let Some(environment) = &self.service.environment else {
            return self.refuse("env_file", "a file of it cannot be read");
        };
        let entries: Vec<String> = environment
            .iter()
            .map(|(key, value)| match value {
                Some(value) => format!("{key}={value}"),
                None => key.clone(),
            })
            .collect();
        if !entries.is_empty() {
            self.set_config("Env", json!(entries));
        }
    }

    /// `host=address` becomes `host:address`.
    fn extra_hosts(&mut self, node: &Node) {
        let mut hosts = Vec::new();
        for entry in super::merge::into_hosts(node.clone()) {
            let text = entry.as_text().unwrap_or_default().to_owned();
            let Some((host, address)) = text.split_once('=').or_else(|| text.split_once(':'))
            else {
                return self.unread("extra_hosts");
            };
            let address = address
                .strip_prefix('[')
                .and_then(|inner| inner.strip_suffix(']'))
                .unwrap_or(address);
            hosts.push(format!("{host}:{address}"));
        }
        self.set_host("ExtraHosts", json!(hosts));
    }

    fn tmpfs(&mut self, node: &Node) {
        let mut all = Map::new();
        for entry in into_entries(node.clone()) {
            let text = entry.as_text().unwrap_or_default();
            let (path, options) = text.split_once(':').unwrap_or((text, ""));
            all.insert(path.to_owned(), json!(options));
        }
        self.set_host("Tmpfs", Json::Object(all));
    }

    fn deploy(&mut self, deploy: &Node) {
        let resources = deploy.get("resources");
        let limits = resources.and_then(|all| all.get("limits"));
        let reserved = resources.and_then(|all| all.get("reservations"));
        for (below, key, field, kind) in [
            (limits, "cpus", "NanoCpus", table::As::Cpus),
            (limits, "memory", "Memory", table::As::Size),
            (limits, "pids", "PidsLimit", table::As::Whole),
            (reserved, "memory", "MemoryReservation", table::As::Size),
        ] {
            if let Some(node) = below.and_then(|below| below.get(key)) {
                self.plain("deploy.resources", table::Part::Host, field, kind, node);
            }
        }
        if let Some(devices) = reserved.and_then(|all| all.get("devices")) {
            self.device_requests("deploy.resources.reservations.devices", devices, None);
        }
        if let Some(policy) = deploy.get("restart_policy").filter(|p| !p.is_null()) {
            let attempts = policy.get("max_attempts").and_then(read::whole);
            let condition = policy.get("condition").and_then(Node::as_text);
            self.restart_policy(condition.unwrap_or_default(), attempts.unwrap_or(0));
        }
    }

    fn path(&self) -> KeyPath {
        KeyPath::of(["services", self.service.name.as_str()])
    }
}

#[cfg(test)]
mod tests;
