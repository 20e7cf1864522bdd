//! Where the kernel keeps a container's counters, and what the files say. The files are read
//! elsewhere: this module maps a container to paths and texts to a [`CounterReading`].
//!
//! Paths follow the Engine (`daemon/oci_linux.go`, "docker" as scope prefix) and runc's expansion
//! of systemd slices. The files are those of the kernel's `cgroup-v1` and `cgroup-v2` documents.

use std::path::{Path, PathBuf};

use crate::units::Timestamp;

use super::{CounterReading, memory};

/// Where the kernel shows control groups unless it is mounted elsewhere.
pub const ROOT: &str = "/sys/fs/cgroup";

/// Which hierarchy the host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One tree for each controller.
    V1,
    /// One tree for all.
    V2,
}

/// How the Engine arranges its containers' groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The hierarchy.
    pub version: CgroupVersion,
    /// Whether systemd makes the groups; else the Engine does itself.
    pub systemd: bool,
}

/// The files with a container's counters. On [`CgroupVersion::V2`] `cpu` and `cpu_stat` are one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// CPU time used.
    pub cpu: PathBuf,
    /// Periods and throttled periods.
    pub cpu_stat: PathBuf,
    /// Memory in use, page cache included.
    pub memory: PathBuf,
    /// What that memory consists of.
    pub memory_stat: PathBuf,
}

/// Why a file's text makes no reading.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// A line that must be there is not.
    #[error("{file} has no {key}")]
    Missing {
        /// The file's name.
        file: &'static str,
        /// The first word of the line.
        key: &'static str,
    },
    /// Something other than a whole number.
    #[error("{file} says `{found}`, expected a whole number")]
    NotANumber {
        /// The file's name.
        file: &'static str,
        /// What it says.
        found: String,
    },
}

impl Layout {
    /// From `CgroupVersion` and `CgroupDriver` of the Engine's `/info`. `None` for a driver that
    /// keeps no groups (`none`, a rootless Engine without delegation) and for unknown answers. An
    /// Engine before 20.10 does not name the version: then it is `1`.
    pub fn from_info(version: &str, driver: &str) -> Option<Self> {
        let version = match version {
            "" | "1" => CgroupVersion::V1,
            "2" => CgroupVersion::V2,
            _ => return None,
        };
        let systemd = match driver {
            "cgroupfs" => false,
            "systemd" => true,
            _ => return None,
        };
        Some(Self { version, systemd })
    }

    /// The files of the container `id` (64 hex digits) with this `CgroupParent` (empty by default)
    /// below [`ROOT`].
    pub fn paths(&self, id: &str, parent: &str) -> Paths {
        self.paths_under(Path::new(ROOT), id, parent)
    }

    /// The same below another mount of the hierarchy (`-v /sys/fs/cgroup:/hostcg:ro`).
    pub fn paths_under(&self, root: &Path, id: &str, parent: &str) -> Paths {
        let group = self.group(id, parent);
        match self.version {
            CgroupVersion::V1 => Paths {
                cpu: root.join("cpuacct").join(&group).join("cpuacct.usage"),
                cpu_stat: root.join("cpu").join(&group).join("cpu.stat"),
                memory: root
                    .join("memory")
                    .join(&group)
                    .join("memory.usage_in_bytes"),
                memory_stat: root.join("memory").join(&group).join("memory.stat"),
            },
            CgroupVersion::V2 => {
                let group = root.join(group);
                Paths {
                    cpu: group.join("cpu.stat"),
                    cpu_stat: group.join("cpu.stat"),
                    memory: group.join("memory.current"),
                    memory_stat: group.join("memory.stat"),
                }
            }
        }
    }

    /// The container's group, relative to the root of the hierarchy or controller.
    fn group(self, id: &str, parent: &str) -> PathBuf {
        if self.systemd {
            let slice = if parent.is_empty() {
                "system.slice"
            } else {
                parent
            };
            slice_path(slice).join(format!("docker-{id}.scope"))
        } else {
            let parent = parent.trim_matches('/');
            let parent = if parent.is_empty() { "docker" } else { parent };
            Path::new(parent).join(id)
        }
    }
}

/// Where systemd puts a slice: a dash in its name is a level, so `web-blue.slice` lies at
/// `web.slice/web-blue.slice`, and `-.slice` is the root.
fn slice_path(slice: &str) -> PathBuf {
    let stem = slice
        .trim_matches('/')
        .strip_suffix(".slice")
        .unwrap_or(slice);
    let mut path = PathBuf::new();
    let mut prefix = String::new();
    for part in stem.split('-').filter(|part| !part.is_empty()) {
        if !prefix.is_empty() {
            prefix.push('-');
        }
        prefix.push_str(part);
        path.push(format!("{prefix}.slice"));
    }
    path
}

/// A reading from the texts of the four files of [`Paths`], taken at `at`.
///
/// A kernel without bandwidth control has no period counters; they are then 0, which means "never
/// throttled".
pub fn parse(
    layout: &Layout,
    at: Timestamp,
    cpu: &str,
    cpu_stat: &str,
    memory: &str,
    memory_stat: &str,
) -> Result<CounterReading, CgroupError> {
    let (cpu_nanos, memory_file, inactive_key) = match layout.version {
        CgroupVersion::V1 => (
            number("cpuacct.usage", cpu)?,
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
        CgroupVersion::V2 => {
            let micros = keyed("cpu.stat", cpu, "usage_usec")?.ok_or(CgroupError::Missing {
                file: "cpu.stat",
                key: "usage_usec",
            })?;
            (
                micros.saturating_mul(1000),
                "memory.current",
                "inactive_file",
            )
        }
    };
    let inactive = keyed("memory.stat", memory_stat, inactive_key)?.unwrap_or(0);
    Ok(CounterReading {
        at,
        cpu_nanos,
        periods: keyed("cpu.stat", cpu_stat, "nr_periods")?.unwrap_or(0),
        throttled: keyed("cpu.stat", cpu_stat, "nr_throttled")?.unwrap_or(0),
        working_set: memory::working_set(number(memory_file, memory)?, inactive),
    })
}

fn number(file: &'static str, text: &str) -> Result<u64, CgroupError> {
    let text = text.trim();
    text.parse().map_err(|_| CgroupError::NotANumber {
        file,
        found: text.chars().take(40).collect(),
    })
}

/// The number behind `key` in a file of `key number` lines.
fn keyed(file: &'static str, text: &str, key: &str) -> Result<Option<u64>, CgroupError> {
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .find(|(found, _)| *found == key)
        .map(|(_, value)| number(file, value))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Bytes;

    const ID: &str = "4f66ad9e0fd2ab5d9b3d9f2e0d6e2a37a9a0a1a7e1c9f0f5d2d4c8b1a0e9f8d7";

    fn layout(version: CgroupVersion, systemd: bool) -> Layout {
        Layout { version, systemd }
    }

    fn cpu(layout: Layout, parent: &str) -> String {
        let path = layout.paths("ID", parent).cpu;
        path.display().to_string()
    }

    #[test]
    fn each_layout_has_its_own_directory() {
        let v1 = layout(CgroupVersion::V1, false).paths(ID, "");
        assert_eq!(
            v1.memory_stat,
            PathBuf::from(format!("/sys/fs/cgroup/memory/docker/{ID}/memory.stat"))
        );
        assert_eq!(
            cpu(layout(CgroupVersion::V1, false), ""),
            "/sys/fs/cgroup/cpuacct/docker/ID/cpuacct.usage"
        );
        assert_eq!(
            cpu(layout(CgroupVersion::V1, true), ""),
            "/sys/fs/cgroup/cpuacct/system.slice/docker-ID.scope/cpuacct.usage"
        );
        assert_eq!(
            cpu(layout(CgroupVersion::V2, true), ""),
            "/sys/fs/cgroup/system.slice/docker-ID.scope/cpu.stat"
        );
        assert_eq!(
            cpu(layout(CgroupVersion::V2, false), ""),
            "/sys/fs/cgroup/docker/ID/cpu.stat"
        );
    }

    #[test]
    fn a_parent_moves_the_directory_and_a_slice_name_nests() {
        assert_eq!(
            cpu(layout(CgroupVersion::V1, false), "/apps/blue"),
            "/sys/fs/cgroup/cpuacct/apps/blue/ID/cpuacct.usage"
        );
        assert_eq!(
            cpu(layout(CgroupVersion::V2, true), "web-blue.slice"),
            "/sys/fs/cgroup/web.slice/web-blue.slice/docker-ID.scope/cpu.stat"
        );
        assert_eq!(
            cpu(layout(CgroupVersion::V2, true), "-.slice"),
            "/sys/fs/cgroup/docker-ID.scope/cpu.stat"
        );
    }

    #[test]
    fn another_mount_of_the_hierarchy_is_searched_the_same_way() {
        let paths = layout(CgroupVersion::V2, false).paths_under(Path::new("/hostcg"), "ID", "");
        assert_eq!(
            paths.memory,
            PathBuf::from("/hostcg/docker/ID/memory.current")
        );
    }

    #[test]
    fn only_what_the_engine_names_is_a_layout() {
        assert_eq!(
            Layout::from_info("2", "systemd"),
            Some(layout(CgroupVersion::V2, true))
        );
        assert_eq!(
            Layout::from_info("", "cgroupfs"),
            Some(layout(CgroupVersion::V1, false))
        );
        assert_eq!(Layout::from_info("2", "none"), None);
        assert_eq!(Layout::from_info("3", "systemd"), None);
    }

    #[test]
    fn version_1_counts_nanoseconds_and_leaves_inactive_files_out() {
        let reading = parse(
            &layout(CgroupVersion::V1, false),
            Timestamp::from_unix(60),
            "1234567890\n",
            "nr_periods 65\nnr_throttled 35\nthrottled_time 99\n",
            "41943040\n",
            "cache 1\ninactive_file 7\ntotal_cache 9\ntotal_inactive_file 10485760\n",
        );
        assert_eq!(
            reading,
            Ok(CounterReading {
                at: Timestamp::from_unix(60),
                cpu_nanos: 1_234_567_890,
                periods: 65,
                throttled: 35,
                working_set: Bytes(31_457_280),
            })
        );
    }

    #[test]
    fn version_2_counts_microseconds_and_may_have_no_periods() {
        let reading = parse(
            &layout(CgroupVersion::V2, true),
            Timestamp::from_unix(60),
            "usage_usec 2500\nuser_usec 2000\nsystem_usec 500\n",
            "usage_usec 2500\nuser_usec 2000\nsystem_usec 500\n",
            "1000\n",
            "anon 600\nfile 400\ninactive_file 300\n",
        );
        assert_eq!(
            reading,
            Ok(CounterReading {
                at: Timestamp::from_unix(60),
                cpu_nanos: 2_500_000,
                periods: 0,
                throttled: 0,
                working_set: Bytes(700),
            })
        );
    }

    #[test]
    fn a_file_that_makes_no_sense_is_named() {
        let v2 = layout(CgroupVersion::V2, true);
        let now = Timestamp::from_unix(60);
        let error = parse(&v2, now, "user_usec 1\n", "", "1", "").unwrap_err();
        assert_eq!(error.to_string(), "cpu.stat has no usage_usec");
        let error = parse(&v2, now, "usage_usec 1\n", "", "max\n", "").unwrap_err();
        assert_eq!(
            error.to_string(),
            "memory.current says `max`, expected a whole number"
        );
    }
}
