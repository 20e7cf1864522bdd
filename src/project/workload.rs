//! What the compose file says of a service's container beyond [`Service`](super::Service): what its
//! scaling does not need, and whoever runs it elsewhere than on this Engine does.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
};

use super::Limits;

/// A service's container as written: nothing of it is checked beyond its form.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Workload {
    /// Every key that is written, in order; those below `deploy` and `build` with the section before
    /// them, like `deploy.placement`.
    pub keys: Vec<String>,
    /// Replaces the image's command; empty takes it away.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entrypoint; empty takes it away.
    pub entrypoint: Option<Vec<String>>,
    /// Whom the process runs as: `USER[:GROUP]`, names or numbers.
    pub user: Option<String>,
    /// Where the process starts.
    pub working_dir: Option<String>,
    /// The host name inside.
    pub hostname: Option<String>,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// Whether it may do all that the host may.
    pub privileged: bool,
    /// Whether a small first process reaps others.
    pub init: bool,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its standard input stays open.
    pub stdin_open: bool,
    /// Capabilities that are added, without `CAP_`.
    pub cap_add: BTreeSet<String>,
    /// Capabilities that are dropped, without `CAP_`.
    pub cap_drop: BTreeSet<String>,
    /// `security_opt`, as written.
    pub security: Vec<String>,
    /// Further groups, names or numbers.
    pub group_add: Vec<String>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Names with an address of their own.
    pub extra_hosts: Vec<(String, String)>,
    /// Servers, search domains and options of name resolution.
    pub dns: [Vec<String>; 3],
    /// Directories in memory: path and size in bytes, 0 for no limit.
    pub memory_mounts: Vec<(String, u64)>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What is set aside for it.
    pub reserved: Limits,
    /// Configs and secrets, in order.
    pub files: Vec<MountedFile>,
    /// Variables whose value comes from an `env_file` and is not written in `environment`.
    pub from_env_file: BTreeSet<String>,
    /// What is written of its networks beyond names and addresses.
    pub attachments: BTreeSet<String>,
    /// A path inside of the volume that is mounted, by the path in the container.
    pub subpaths: BTreeMap<String, String>,
    /// `pull_policy`.
    pub pull_policy: Option<String>,
    /// `platform`.
    pub platform: Option<String>,
}

/// Which section a file comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// `configs`.
    Config,
    /// `secrets`.
    Secret,
}

impl FileKind {
    /// The section's name.
    pub fn section(self) -> &'static str {
        match self {
            Self::Config => "configs",
            Self::Secret => "secrets",
        }
    }
}

/// A config or a secret in a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountedFile {
    /// Which section.
    pub kind: FileKind,
    /// Its key there.
    pub name: String,
    /// Its path in the container.
    pub path: String,
    /// Permissions; `None` where none are written.
    pub mode: Option<u32>,
    /// Whether an owner is written.
    pub owned: bool,
    /// Where its content is.
    pub content: Content,
}

/// Where the content of a config or a secret is.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// In this file of this host.
    File(PathBuf),
    /// In the compose file or in a variable.
    Text(String),
    /// In a variable that is not set.
    Unset(String),
    /// Somewhere else, under this name.
    External(String),
}

/// The text may be a secret: it is not printed.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text(…)"),
            Self::Unset(name) => f.debug_tuple("Unset").field(name).finish(),
            Self::External(name) => f.debug_tuple("External").field(name).finish(),
        }
    }
}

/// A network of the project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NamedNetwork {
    /// Whether it leads nowhere else.
    pub internal: bool,
    /// Whether somebody else made it.
    pub external: bool,
}

/// A named volume of the project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedVolume {
    /// Whether somebody else made it.
    pub external: bool,
    /// Its driver, where one is written.
    pub driver: Option<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}
