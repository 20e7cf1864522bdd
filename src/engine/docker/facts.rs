//! What is the same for every call to one Engine: its API version, its architecture, where its
//! counters lie.

use std::{fmt, str::FromStr};

use bollard::models::{SystemInfo, SystemVersion};

use crate::{
    engine::{EngineError, EngineInfo, docker::host::Host},
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

/// The facts themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// What the Engine speaks when a request names no version, as ours do not.
    pub(super) api: Api,
    /// `amd64`, as in an image's `Architecture`.
    pub(super) architecture: String,
    /// Where the counters are, when they can be read as files.
    pub(super) cgroups: Option<Layout>,
    /// What callers may know.
    pub(super) info: EngineInfo,
}

impl Facts {
    /// From `/version` and `/info`. `is_directory` looks at the file system.
    pub(super) fn new(
        host: &Host,
        version: SystemVersion,
        info: &SystemInfo,
        is_directory: impl Fn(&std::path::Path) -> bool,
    ) -> Result<Self, EngineError> {
        let nonsense = |why: &str| EngineError::Nonsense {
            doing: "asking for the Engine's version".into(),
            why: why.into(),
        };
        let api_version = version.api_version.unwrap_or_default();
        let api: Api = api_version
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
        Ok(Self {
            api,
            architecture: version.arch.unwrap_or_default(),
            cgroups,
            info: EngineInfo {
                version: name,
                api_version,
                cpus: info
                    .ncpu
                    .and_then(|cpus| u32::try_from(cpus).ok())
                    .ok_or_else(|| nonsense("it does not say how many CPUs it has"))?,
                memory: info
                    .mem_total
                    .and_then(|bytes| u64::try_from(bytes).ok())
                    .ok_or_else(|| nonsense("it does not say how much memory it has"))?,
                cgroup_files: cgroups.is_some(),
            },
        })
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

    fn facts(host: &Host, api: &str, groups: bool) -> Result<Facts, EngineError> {
        let version = serde_json::from_value(serde_json::json!({
            "Version": "20.10.24", "ApiVersion": api, "Arch": "amd64"
        }))
        .unwrap();
        let info = serde_json::from_value(serde_json::json!({
            "NCPU": 2, "MemTotal": 1_073_741_824, "CgroupDriver": "systemd", "CgroupVersion": "2"
        }))
        .unwrap();
        Facts::new(host, version, &info, |path| {
            assert_eq!(path.to_str(), Some("/sys/fs/cgroup/system.slice"));
            groups
        })
    }

    #[test]
    fn versions_compare_by_number_not_by_text() {
        assert!("1.9".parse::<Api>().unwrap() < Api::OLDEST);
        assert!("1.100".parse::<Api>().unwrap() > Api::MULTIPLE_NETWORKS);
        assert!("41".parse::<Api>().is_err());
    }

    #[test]
    fn an_old_engine_is_refused_with_both_versions() {
        let error = facts(&Host::parse(None).unwrap(), "1.39", true).unwrap_err();
        assert!(error.is_outage());
        let text = error.to_string();
        assert!(text.contains("1.39") && text.contains("1.40"), "{text}");
    }

    #[test]
    fn counters_come_from_files_only_where_these_can_be_seen() {
        let local = Host::parse(None).unwrap();
        assert!(facts(&local, "1.41", true).unwrap().info.cgroup_files);
        assert!(!facts(&local, "1.41", false).unwrap().info.cgroup_files);
        let remote = Host::Tcp("10.0.0.5:2375".into());
        assert!(!facts(&remote, "1.41", true).unwrap().info.cgroup_files);
    }
}
