//! A container of the project, as the Engine describes it.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::labels;
use crate::units::{Bytes, Timestamp};

/// What a replica may use. `None` means unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// In cores.
    pub cpus: Option<f64>,
    /// In bytes.
    pub memory: Option<Bytes>,
}

/// The Engine's id of a container (64 hex digits).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// The twelve digits that docker shows.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

/// What the Engine says a container is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Frozen by `docker pause`.
    Paused,
    /// Between two starts of its restart policy.
    Restarting,
    /// Being removed.
    Removing,
    /// Its process has ended.
    Exited,
    /// The Engine could not remove it.
    Dead,
}

impl ContainerState {
    /// Whether it counts as a replica for deciding: created, running or restarting.
    pub fn counts(self) -> bool {
        matches!(self, Self::Created | Self::Running | Self::Restarting)
    }
}

impl fmt::Display for ContainerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        })
    }
}

/// The result of the container's healthcheck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It has no healthcheck.
    None,
    /// Not decided yet.
    Starting,
    /// The last check passed.
    Healthy,
    /// Too many checks failed in a row.
    Unhealthy,
}

/// One container of the project, as the Engine describes it: an observation, already old when read.
#[derive(Debug, Clone, PartialEq)]
pub struct Replica {
    /// The Engine's id.
    pub id: ContainerId,
    /// The name without a leading slash.
    pub name: String,
    /// Its service; from the label.
    pub service: String,
    /// Its number; from the label. 0 when the label is missing or wrong.
    pub number: u32,
    /// What it is doing.
    pub state: ContainerState,
    /// What its healthcheck says.
    pub health: Health,
    /// When it was made.
    pub created: Timestamp,
    /// When its process started last; `None` before the first start.
    pub started: Option<Timestamp>,
    /// Address on each network it has one on, by the network's name.
    pub addresses: BTreeMap<String, IpAddr>,
    /// Where its TCP ports are published on this host, by the port inside. The Engine chooses anew at
    /// every start where the file leaves the choice to it.
    pub published: BTreeMap<u16, SocketAddr>,
    /// The service's hash when it was made.
    pub config_hash: String,
    /// The image's name as in its configuration.
    pub image: String,
    /// What `IMAGE` says, else the Engine's image id.
    pub image_id: String,
    /// What it may use.
    pub limits: Limits,
    /// Process id on the host; 0 when not running.
    pub pid: u32,
    /// `HostConfig.CgroupParent`, empty by default.
    pub cgroup_parent: String,
    /// Containers that it lives inside of (`container:<id>` of network, ipc, pid; `volumes_from`).
    pub refers_to: Vec<String>,
    /// Ended by the kernel for lack of memory.
    pub oom_killed: bool,
    /// How often the restart policy restarted it.
    pub restart_count: u32,
    /// Exit code of its last end.
    pub exit_code: Option<i64>,
    /// Facts that forbid a second one, found on the container itself.
    pub fixed: Fixed,
    /// `Config.StopTimeout` in seconds, if it is set.
    pub stop_timeout: Option<u64>,
    /// Where it sees files of the host.
    pub mounts: Vec<MountPoint>,
    /// The labels, all of them.
    pub labels: BTreeMap<String, String>,
}

/// A part of the host's file system that a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountPoint {
    /// On the host.
    pub source: PathBuf,
    /// In the container.
    pub destination: PathBuf,
    /// Whether the container may write there.
    pub is_writable: bool,
}

/// What a container is bound to that a second one could not have as well.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fixed {
    /// Host ports that are not ranges, as `8080/tcp → 80`.
    pub host_ports: Vec<String>,
    /// Host port ranges: replicas start one at a time, because the Engine's allocation races.
    pub port_ranges: Vec<String>,
    /// Networks with a static address.
    pub static_addresses: Vec<String>,
    /// A MAC address that was configured.
    pub mac_address: bool,
    /// `host`, `container:…` or empty.
    pub network_mode: String,
}

impl Replica {
    /// Whether compose is replacing one container by another right now, and this is one of the two:
    /// twelve hex digits and an underscore in front of the name. One that runs under such a name is a
    /// replica like any other: compose adopts what an interrupted recreate has left.
    pub fn is_being_recreated(&self) -> bool {
        self.final_name() != self.name
            && matches!(
                self.state,
                ContainerState::Created
                    | ContainerState::Exited
                    | ContainerState::Dead
                    | ContainerState::Removing
            )
    }

    /// Its name without what compose puts in front while it replaces a container: v2 in front of the
    /// new one's, v1 of the old one's.
    pub fn final_name(&self) -> &str {
        final_name(&self.name)
    }

    /// The name of a replica of the same service with another number, or `None` when this one's
    /// name does not follow compose's pattern (`container_name`).
    pub fn sibling_name(&self, number: u32) -> Option<String> {
        sibling_name(&self.service, self.final_name(), self.number, number)
    }
}

/// A container's name without the mark of a recreate.
pub fn final_name(name: &str) -> &str {
    match name.split_once('_') {
        Some((id, rest))
            if id.len() == 12
                && id
                    .bytes()
                    .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) =>
        {
            rest
        }
        _ => name,
    }
}

pub(super) fn sibling_name(service: &str, name: &str, number: u32, other: u32) -> Option<String> {
    let stem = name.strip_suffix(&number.to_string())?;
    stem.strip_suffix(['-', '_'])?
        .ends_with(service)
        .then(|| format!("{stem}{other}"))
}

impl Replica {
    /// Whether compose itself would count it as a replica of its service: it has a service, a
    /// config hash, and is not a one-off of `compose run`.
    pub fn is_replica(&self) -> bool {
        !self.service.is_empty()
            && self.labels.contains_key(labels::CONFIG_HASH)
            && self
                .labels
                .get(labels::ONEOFF)
                .is_some_and(|v| v == "False")
    }
}
