//! What is the same for every call to one Engine: its API version, its architecture, where its
//! counters lie. Two questions: every call needs the answer to the first, and few that to the second,
//! for which older Engines start programs of their own and walk through all their containers.

use std::{fmt, path::PathBuf, str::FromStr};

use bollard::models::{SystemInfo, SystemVersion};

use crate::{
    engine::{EngineError, EngineInfo, docker::host::EngineAddress},
    units::Timestamp,
    usage::cgroup::Layout,
};

/// A version of the Engine API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Api {
    major: u32,
    minor: u32,
}

impl Api {
    /// The oldest that is spoken here: Engine 19.03, the first with everything compose v2 needs.
    pub(super) const OLDEST: Self = Self::new(1, 40);
    /// From here on `create` takes several networks at once.
    pub(super) const MULTIPLE_NETWORKS: Self = Self::new(1, 44);

    pub(super) const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }
}

impl FromStr for Api {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self::new(
            major.parse().map_err(drop)?,
            minor.parse().map_err(drop)?,
        ))
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// From `/version`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VersionResponse {
    /// What the Engine speaks when a request names no version, as ours do not.
    pub(super) api: Api,
    /// `amd64`, as in an image's `Architecture`.
    pub(super) architecture: String,
    /// `20.10.24`.
    version: String,
}

impl VersionResponse {
    pub(super) fn new(host: &EngineAddress, version: SystemVersion) -> Result<Self, EngineError> {
        let api: Api = version
            .api_version
            .unwrap_or_default()
            .parse()
            .map_err(|()| nonsense("it names no API version"))?;
        let name = version.version.unwrap_or_default();
        if api < Api::OLDEST {
            return Err(EngineError::Unreachable {
                address: host.to_string(),
                why: format!(
                    "Engine {name} speaks API {api}; {} (Engine 19.03) is the oldest supported",
                    Api::OLDEST
                ),
            });
        }
        Ok(Self {
            api,
            architecture: version.arch.unwrap_or_default(),
            version: name,
        })
    }
}

/// From `/info`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InfoResponse {
    /// Where the counters are, when they can be read as files.
    pub(super) cgroups: Option<Layout>,
    cpus: u32,
    memory: u64,
    cgroup_version: String,
    time: Option<Timestamp>,
    root: Option<PathBuf>,
    id: String,
    socket: Option<PathBuf>,
}

impl InfoResponse {
    /// `is_directory` looks at the file system.
    pub(super) fn new(
        host: &EngineAddress,
        info: &SystemInfo,
        is_directory: impl Fn(&std::path::Path) -> bool,
    ) -> Result<Self, EngineError> {
        let cgroups = layout(info)
            .filter(|_| host.is_local())
            // In a container without the host's tree, or with a hierarchy that is not mounted,
            // the directory that holds the containers' groups is not there.
            .filter(|layout| {
                let files = layout.paths("container", "");
                [files.cpu, files.memory]
                    .iter()
                    .all(|file| file.ancestors().nth(2).is_some_and(&is_directory))
            });
        let version = info.cgroup_version.map(|version| version.to_string());
        let time = info.system_time.as_ref();
        let root = info.docker_root_dir.as_ref().map(PathBuf::from);
        Ok(Self {
            cgroups,
            cgroup_version: version.unwrap_or_default(),
            time: time.and_then(|time| time.parse().ok()).map(Timestamp),
            root: root.filter(|_| host.is_local()),
            id: info
                .id
                .clone()
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| host.to_string()),
            socket: host.socket().map(ToOwned::to_owned),
            cpus: info
                .ncpu
                .and_then(|cpus| u32::try_from(cpus).ok())
                .ok_or_else(|| nonsense("it does not say how many CPUs it has"))?,
            memory: info
                .mem_total
                .and_then(|bytes| u64::try_from(bytes).ok())
                .ok_or_else(|| nonsense("it does not say how much memory it has"))?,
        })
    }

    /// What callers may know.
    pub(super) fn of(&self, engine: &VersionResponse) -> EngineInfo {
        EngineInfo {
            version: engine.version.clone(),
            api_version: engine.api.to_string(),
            cpus: self.cpus,
            memory: self.memory,
            cgroup_files: self.cgroups.is_some(),
            cgroup_version: self.cgroup_version.clone(),
            time: self.time,
            root: self.root.clone(),
            id: self.id.clone(),
            socket: self.socket.clone(),
        }
    }
}

fn nonsense(why: &str) -> EngineError {
    EngineError::UnexpectedResponse {
        doing: "asking the Docker Engine about itself".into(),
        why: why.into(),
    }
}

fn layout(info: &SystemInfo) -> Option<Layout> {
    let text = |value: Option<String>| value.unwrap_or_default();
    Layout::from_info(
        &text(info.cgroup_version.map(|version| version.to_string())),
        &text(info.cgroup_driver.map(|driver| driver.to_string())),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(api: &str) -> Result<VersionResponse, EngineError> {
        let version = serde_json::from_value(serde_json::json!({
            "Version": "20.10.24", "ApiVersion": api, "Arch": "amd64"
        }))
        .unwrap();
        VersionResponse::new(&EngineAddress::parse(None).unwrap(), version)
    }

    fn has_files(host: &EngineAddress, groups: bool) -> bool {
        let info = serde_json::from_value(serde_json::json!({
            "NCPU": 2, "MemTotal": 1_073_741_824, "CgroupDriver": "systemd", "CgroupVersion": "2"
        }))
        .unwrap();
        let machine = InfoResponse::new(host, &info, |path| {
            assert_eq!(path.to_str(), Some("/sys/fs/cgroup/system.slice"));
            groups
        });
        machine.unwrap().of(&facts("1.41").unwrap()).cgroup_files
    }

    #[test]
    fn its_clock_and_its_directory_are_what_it_says_and_a_directory_elsewhere_is_none() {
        let info: SystemInfo = serde_json::from_value(serde_json::json!({
            "NCPU": 2, "MemTotal": 1, "SystemTime": "2026-01-01T12:00:00.123456789Z",
            "DockerRootDir": "/var/lib/docker", "CgroupVersion": "2"
        }))
        .unwrap();
        let of = |host: &EngineAddress| {
            let machine = InfoResponse::new(host, &info, |_| true).unwrap();
            machine.of(&facts("1.41").unwrap())
        };
        let here = of(&EngineAddress::parse(None).unwrap());
        assert_eq!(
            here.time.map(|time| time.0.as_second()),
            Some(1_767_268_800)
        );
        assert_eq!(here.root, Some(PathBuf::from("/var/lib/docker")));
        assert_eq!(here.cgroup_version, "2");
        assert_eq!(of(&EngineAddress::Tcp("10.0.0.5:2375".into())).root, None);
    }

    #[test]
    fn versions_compare_by_number_not_by_text() {
        assert!("1.9".parse::<Api>().unwrap() < Api::OLDEST);
        assert!("1.100".parse::<Api>().unwrap() > Api::MULTIPLE_NETWORKS);
        assert!("41".parse::<Api>().is_err());
    }

    #[test]
    fn an_old_engine_is_refused_with_both_versions() {
        let error = facts("1.39").unwrap_err();
        assert!(error.is_outage());
        let text = error.to_string();
        assert!(text.contains("1.39") && text.contains("1.40"), "{text}");
    }

    #[test]
    fn counters_come_from_files_only_where_these_can_be_seen() {
        let local = EngineAddress::parse(None).unwrap();
        assert!(has_files(&local, true));
        assert!(!has_files(&local, false));
        let remote = EngineAddress::Tcp("10.0.0.5:2375".into());
        assert!(!has_files(&remote, true));
    }
}
