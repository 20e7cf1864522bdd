//! What a project is (its model, from the compose file) and what is there (its replicas, from the
//! Engine). Plain data: no file is read and no daemon is asked here.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::{files::clean, units::Span};

pub mod container_spec;
pub mod images;
pub mod labels;
pub mod nginx;
pub mod remembered_replica;
mod replica;
pub mod stateful;
pub mod workload;

pub use replica::{
    ContainerId, ContainerState, Fixed, Health, Limits, MountPoint, Replica, final_name,
};

/// A compose project as its files describe it, resolved for the active profiles.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Project {
    /// The normalised name: lower case letters, digits, `-` and `_`.
    pub name: String,
    /// Absolute; relative paths of the files are relative to it.
    pub working_dir: PathBuf,
    /// Absolute, in the order they are merged.
    pub config_files: Vec<PathBuf>,
    /// The enabled services, in file order.
    pub services: IndexMap<String, Service>,
    /// Services that a profile switches off.
    pub disabled_services: Vec<String>,
    /// The named volumes that are written, by their key.
    #[serde(skip)]
    pub volumes: BTreeMap<String, workload::NamedVolume>,
    /// The networks that are written, by their key.
    #[serde(skip)]
    pub networks: BTreeMap<String, workload::NamedNetwork>,
}

/// One service of the compose file, as far as this tool needs it.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Service {
    /// The key in `services`.
    pub name: String,
    /// The image; `{project}-{service}` when the service is only built, as compose names it; `None`
    /// when it is run by a provider.
    pub image: Option<String>,
    /// Whether there is a `build` section.
    pub build: bool,
    /// What it is built from, where that is a folder or text of this machine.
    #[serde(skip)]
    pub build_source: Option<BuildSource>,
    /// The image that its Dockerfile ends on, where somebody has looked.
    #[serde(skip)]
    pub base_image: Option<String>,
    /// A fixed name forbids a second replica.
    pub container_name: Option<String>,
    /// `scale` or `deploy.replicas`; `None` when neither is written (compose then makes one).
    pub scale: Option<u32>,
    /// Which of the two are written.
    #[serde(skip)]
    pub count_keys: CountKeys,
    /// Published ports in long form.
    pub ports: Vec<Port>,
    /// Exposed container ports as written, without a protocol when it is tcp.
    pub expose: Vec<String>,
    /// The healthcheck, if there is one and it is not disabled.
    pub healthcheck: Option<Healthcheck>,
    /// `network_mode`, as written.
    pub network_mode: Option<String>,
    /// Networks by key of the compose file.
    pub networks: IndexMap<String, ServiceNetwork>,
    /// Volumes in long form.
    pub volumes: Vec<Volume>,
    /// What has to be there first, by service name.
    pub depends_on: IndexMap<String, Dependency>,
    /// Profiles of the service.
    pub profiles: Vec<String>,
    /// `stop_signal`.
    pub stop_signal: Option<String>,
    /// `stop_grace_period`.
    pub stop_grace_period: Option<Span>,
    /// Whether compose runs something before the start of a container. Nobody else does.
    #[serde(skip)]
    pub pre_start: bool,
    /// Commands run in the container after its start.
    pub post_start: Vec<LifecycleHook>,
    /// Commands run in the container before its stop.
    pub pre_stop: Vec<LifecycleHook>,
    /// Limits of CPU and memory.
    pub limits: Limits,
    /// Files that compose uploads between create and start (`content:` and `environment:`
    /// configs and secrets): absolute paths inside the container.
    pub uploads: Vec<String>,
    /// The environment, from `env_file` and `environment`: `None` as a value is a variable that is
    /// named and set nowhere. `None` as a whole where a file of it cannot be read.
    #[serde(skip)]
    pub environment: Option<BTreeMap<String, Option<String>>>,
    /// Which variables its values come from.
    #[serde(skip)]
    pub variables: NamedVariables,
    /// What is to happen when its process ends, as compose understands it (`no`, `always`, …); `None`
    /// when nothing is written.
    #[serde(skip)]
    pub restart: Option<String>,
    /// The services that `links` names.
    #[serde(skip)]
    pub links: Vec<String>,
    /// Whether compose shows everything that goes into the configuration hash.
    #[serde(skip)]
    pub hashable: bool,
    /// How its first container is made where there is nothing to make it like, or what of the service
    /// stands in the way; `None` where nobody has asked the compose file.
    #[serde(skip)]
    pub recipe: Option<Result<container_spec::ContainerSpec, Vec<String>>>,
    /// What else is written of its container.
    #[serde(skip)]
    pub workload: workload::Workload,
    /// Whether a `mac_address` is set.
    pub mac_address: bool,
    /// `x-*` keys and the like are not here; the raw labels are.
    pub labels: BTreeMap<String, String>,
}

/// What an image is built from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BuildSource {
    /// The folder, as written.
    pub context: String,
    /// The Dockerfile, as written: below the folder, or absolute.
    pub dockerfile: Option<String>,
    /// The text of the Dockerfile, where it is in the compose file.
    pub inline: Option<String>,
    /// The stage that is built; the last one without it.
    pub target: Option<String>,
}

impl Service {
    /// What is known of its image, by name; of one that is built, by what it is built on.
    pub fn known_image(&self) -> Option<images::KnownImage<'_>> {
        let image = if self.build {
            self.base_image.as_deref()
        } else {
            self.image.as_deref()
        };
        images::known(image?)
    }
}

/// Variables that the values of a service name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedVariables {
    /// All of them.
    pub used: BTreeSet<String>,
    /// Those that have no value here.
    pub unset: BTreeSet<String>,
}

/// The keys of the compose file that tell a service's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CountKeys {
    /// `scale`.
    pub scale: bool,
    /// `deploy.replicas`.
    pub replicas: bool,
}

/// The last word of an image's name: `nginx` of `registry.example.com/edge/nginx:1.30@sha256:…`.
pub fn image_word(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split(':').next().unwrap_or_default()
}

/// A published port in compose's long form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// The port inside the container.
    pub target: u16,
    /// A single host port or a range (`8000-8010`); `None` lets the Engine choose.
    pub published: Option<String>,
    /// The host address, if one is given.
    pub host_ip: Option<String>,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// `ingress` or `host`, which are one without Swarm.
    pub mode: String,
    /// A name for people.
    pub name: Option<String>,
    /// What is spoken, for whoever reads it.
    pub app_protocol: Option<String>,
}

/// What a service needs of another one before it is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// `service_started`, `service_healthy` or `service_completed_successfully`.
    pub condition: String,
    /// Whether compose restarts it when it has restarted the other one.
    pub restart: bool,
    /// Whether it is an error that the other one is not there.
    pub required: bool,
}

impl Dependency {
    /// On nothing but its start.
    pub fn started(restart: bool) -> Self {
        Self {
            condition: "service_started".into(),
            restart,
            required: true,
        }
    }
}

impl Port {
    /// A port of the container that the Engine publishes somewhere, by TCP.
    pub fn tcp(target: u16) -> Self {
        Self {
            target,
            published: None,
            host_ip: None,
            protocol: "tcp".into(),
            mode: "ingress".into(),
            name: None,
            app_protocol: None,
        }
    }

    /// Whether only one container on the host can bind it.
    pub fn is_fixed(&self) -> bool {
        self.published
            .as_deref()
            .is_some_and(|p| !p.is_empty() && p != "0" && !p.contains('-'))
    }
}

/// Why a service has no one port of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortProblem {
    /// It neither exposes nor publishes a port.
    #[error("exposes no port and publishes none")]
    None,
    /// There are several to choose from.
    #[error("has several ports ({})", .0.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))]
    Several(Vec<u16>),
}

impl Service {
    /// The container port that requests go to, when there is only one to choose from: among what is
    /// exposed and what is published, over TCP.
    pub fn only_port(&self) -> Result<u16, PortProblem> {
        let published = self
            .ports
            .iter()
            .filter(|port| port.protocol == "tcp")
            .map(|port| port.target);
        let exposed = self.expose.iter().flat_map(|text| exposed_ports(text));
        let ports: BTreeSet<u16> = published.chain(exposed).collect();
        let ports: Vec<_> = ports.into_iter().collect();
        match ports.as_slice() {
            [] => Err(PortProblem::None),
            [port] => Ok(*port),
            _ => Err(PortProblem::Several(ports)),
        }
    }
}

/// The ports of an `expose` entry: one, or the first and last of a range, which is enough to see
/// that there are several.
fn exposed_ports(text: &str) -> Vec<u16> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    // A text with a protocol does not parse: without one it is TCP.
    [first, last].iter().flat_map(|port| port.parse()).collect()
}

/// A healthcheck, with the parts that matter for waiting on it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Healthcheck {
    /// The test in exec form (`["CMD", …]` or `["CMD-SHELL", …]`); empty inherits the image's.
    pub test: Vec<String>,
    /// Time between two checks.
    pub interval: Option<Span>,
    /// Longest run of one check.
    pub timeout: Option<Span>,
    /// Failures in a row until unhealthy.
    pub retries: Option<u32>,
    /// Failures that do not count in the beginning.
    pub start_period: Option<Span>,
    /// Time between two checks during the start period.
    pub start_interval: Option<Span>,
}

/// How a service is attached to one network.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct ServiceNetwork {
    /// The network's real name in the Engine.
    pub name: String,
    /// Extra aliases.
    pub aliases: Vec<String>,
    /// Whether a static address is set (then it cannot have two replicas).
    pub static_address: bool,
    /// The highest is the primary network.
    pub priority: i64,
}

/// A mount in compose's long form.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Volume {
    /// `bind`, `volume`, `tmpfs`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// Absolute path for a bind, key of the compose file for a named volume, `None` if anonymous.
    pub source: Option<String>,
    /// The path inside the container.
    pub target: String,
    /// Whether it is mounted read-only.
    pub read_only: bool,
}

/// A lifecycle hook.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LifecycleHook {
    /// The command, in exec form.
    pub command: Vec<String>,
    /// User it runs as; the container's own when empty.
    pub user: Option<String>,
    /// Whether it runs privileged.
    pub privileged: bool,
    /// Its working directory.
    pub working_dir: Option<String>,
    /// Extra environment, `KEY=value`.
    pub environment: Vec<String>,
}

impl Project {
    /// Resolves a path of the compose file against the project directory, to one without `.` and
    /// `..`: it is compared with those that others name.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        clean(&self.working_dir.join(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(expose: &[&str], ports: &[(u16, &str)]) -> Service {
        Service {
            expose: expose.iter().map(|&port| port.to_owned()).collect(),
            ports: ports
                .iter()
                .map(|(target, protocol)| Port {
                    protocol: (*protocol).to_owned(),
                    ..Port::tcp(*target)
                })
                .collect(),
            ..Service::default()
        }
    }

    #[test]
    fn the_only_tcp_port_is_found_however_often_it_is_named() {
        assert_eq!(
            service(&["80"], &[(80, "tcp"), (80, "tcp")]).only_port(),
            Ok(80)
        );
        assert_eq!(
            service(&["53/udp"], &[(53, "udp"), (80, "tcp")]).only_port(),
            Ok(80)
        );
        assert_eq!(
            service(&["53/udp"], &[]).only_port(),
            Err(PortProblem::None)
        );
    }

    #[test]
    fn several_ports_are_named() {
        let problem = service(&["9000"], &[(80, "tcp")]).only_port().unwrap_err();
        assert_eq!(problem.to_string(), "has several ports (80, 9000)");
        assert_eq!(
            service(&["80-82"], &[]).only_port(),
            Err(PortProblem::Several(vec![80, 82]))
        );
    }
}
