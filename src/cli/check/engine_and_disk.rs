//! The Engine's version, its clock, and the room on disks.

use std::path::{Path, PathBuf};

use super::{CheckCode, CheckReport};
use crate::{
    engine::EngineInfo,
    units::{Bytes, Size, Span, Timestamp},
};

/// As far as this the clocks may be apart: a question and its answer take a moment.
const APART: u64 = 2;
/// With less than this nothing can be written soon.
const FULL: u64 = 16 * MIB;
const MIB: u64 = 1024 * 1024;

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskSpace {
    /// For files.
    pub(super) free: u64,
    /// For further files; `None` where the file system does not count them.
    pub(super) files: Option<u64>,
}

/// The room where a directory is, or would be made.
pub(super) fn room(directory: &Path) -> Option<DiskSpace> {
    let there = directory.ancestors().find(|one| one.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(DiskSpace {
        free: found.f_bavail.saturating_mul(found.f_frsize),
        files: (found.f_files > 0).then_some(found.f_favail),
    })
}

/// A directory that needs room: what is in it, where it is, and how much is little.
pub(super) struct SpaceNeed {
    pub(super) what: &'static str,
    pub(super) path: PathBuf,
    pub(super) little: u64,
    pub(super) fix: &'static str,
}

/// The directories that this tool and the Engine write to.
pub(super) fn directories(
    state: &Path,
    upstreams: Option<PathBuf>,
    info: Option<&EngineInfo>,
) -> Vec<SpaceNeed> {
    let mut all = vec![SpaceNeed {
        what: "history and state are stored",
        path: state.to_owned(),
        little: 64 * MIB,
        fix: "free some space there, or set COMPOSE_SCALE_STATE to another directory",
    }];
    if let Some(path) = upstreams {
        all.push(SpaceNeed {
            what: "nginx's upstreams are written",
            path,
            little: 64 * MIB,
            fix: "free some space there: with a full disk nginx keeps the old replicas",
        });
    }
    // Whoever may not look there cannot tell.
    if let Some(path) = info
        .and_then(|info| info.root.clone())
        .filter(|path| path.is_dir())
    {
        all.push(SpaceNeed {
            what: "the Engine stores containers, images and their logs",
            path,
            little: 1024 * MIB,
            fix: "run `docker system df`, then `docker system prune`; limit the size of logs: `logging: {options: {max-size: 10m, max-file: \"3\"}}`",
        });
    }
    all
}

/// Tells which of them have little room.
pub(super) fn check_disk_space(
    needs: &[SpaceNeed],
    room: impl Fn(&Path) -> Option<DiskSpace>,
    report: &mut CheckReport,
) {
    for SpaceNeed {
        what,
        path,
        little,
        fix,
    } in needs
    {
        let Some(room) = room(path) else {
            continue;
        };
        let left = match room {
            DiskSpace {
                files: Some(files), ..
            } if files < 100 => format!("{files} inodes"),
            DiskSpace { free, .. } if free < *little => Size(Bytes(free)).to_string(),
            _ => continue,
        };
        let text = format!("only {left} left at {}, where {what}", path.display());
        if room.free < FULL || room.files.is_some_and(|files| files == 0) {
            report.error(CheckCode::DiskLow, "host", text, *fix);
        } else {
            report.warn(CheckCode::DiskLow, "host", text, *fix);
        }
    }
}

/// Compares the Engine's clock with this machine's, between question and answer.
pub(super) fn check_clock(
    info: &EngineInfo,
    asked: Timestamp,
    answered: Timestamp,
    report: &mut CheckReport,
) {
    let Some(time) = info.time else {
        return;
    };
    let (early, late) = (asked.since(time), time.since(answered));
    let apart = early.max(late).as_secs();
    if apart <= APART {
        return;
    }
    let which = if early > late { "behind" } else { "ahead of" };
    report.warn(
        CheckCode::ClockApart,
        "host",
        format!(
            "the Engine's clock is {} {which} this machine's: replica ages, initialization_period and drains are off by that much",
            Span::seconds(apart)
        ),
        "set both clocks by NTP (`timedatectl`); if the Engine runs in a virtual machine, restart it",
    );
}

/// What is known of this version, and where its counters come from.
pub(super) fn check_engine(info: &EngineInfo, report: &mut CheckReport) {
    let version: Vec<u32> = info
        .version
        .split(['.', '+', '-', '~'])
        .map_while(|part| part.parse().ok())
        .collect();
    if let [25, 0, 0..=2] = version[..] {
        report.warn(
            CheckCode::EngineIssue,
            "engine",
            format!("Engine {} reports generated MAC addresses as configured ones, so `mac-address` may be a false alarm", info.version),
            "update the Engine to 25.0.3 or newer",
        );
    }
    if info.cgroup_files {
        return;
    }
    let slow = if version.first().is_some_and(|major| *major < 25) {
        "about a second"
    } else {
        "longer than from the files"
    };
    let of = match info.cgroup_version.as_str() {
        "" => String::new(),
        version => format!(" (cgroup v{version})"),
    };
    report.hint(
        CheckCode::SlowCounters,
        "engine",
        format!("CPU and memory come from the Engine's statistics, because its cgroup files{of} are not visible here: a reading takes {slow}"),
        "run on the Engine's machine; in a container mount /sys/fs/cgroup:/sys/fs/cgroup:ro",
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str) -> EngineInfo {
        EngineInfo {
            version: version.into(),
            api_version: "1.44".into(),
            cpus: 2,
            memory: 1 << 30,
            cgroup_files: true,
            cgroup_version: "2".into(),
            time: None,
            root: None,
            id: "one".into(),
            socket: None,
        }
    }

    fn codes(look: impl FnOnce(&mut CheckReport)) -> Vec<String> {
        let mut report = CheckReport::new("shop");
        look(&mut report);
        report.codes()
    }

    #[test]
    fn a_clock_that_is_apart_is_told_whichever_way() {
        let at = Timestamp::from_unix;
        for (time, told) in [(1000, 0), (999, 0), (1003, 0), (1010, 1), (900, 1)] {
            let mut info = info("28.0.0");
            info.time = Some(at(time));
            let codes = codes(|report| check_clock(&info, at(1000), at(1001), report));
            assert_eq!(codes.len(), told, "{time}");
        }
        assert_eq!(
            codes(|report| check_clock(&info("28.0.0"), at(1), at(2), report)),
            [""; 0]
        );
    }

    #[test]
    fn a_disk_with_little_room_is_a_warning_and_a_full_one_an_error() {
        let needs = directories(Path::new("/state"), Some("/up".into()), None);
        for (free, files, told) in [
            (10 * 1024 * MIB, None, &[][..]),
            (32 * MIB, None, &["warning disk-low", "warning disk-low"]),
            (MIB, Some(5000), &["error disk-low", "error disk-low"]),
            (
                10 * 1024 * MIB,
                Some(9),
                &["warning disk-low", "warning disk-low"],
            ),
            (
                10 * 1024 * MIB,
                Some(0),
                &["error disk-low", "error disk-low"],
            ),
        ] {
            let room = DiskSpace { free, files };
            let found = codes(|report| check_disk_space(&needs, |_| Some(room), report));
            assert_eq!(found, told, "{room:?}");
        }
    }

    #[test]
    fn the_engines_own_directory_needs_a_gigabyte() {
        let mut info = info("28.0.0");
        info.root = Some("/".into());
        let needs = directories(Path::new("/state"), None, Some(&info));
        let room = |_: &Path| {
            Some(DiskSpace {
                free: 500 * MIB,
                files: None,
            })
        };
        let found = codes(|report| check_disk_space(&needs, room, report));
        assert_eq!(found, ["warning disk-low"]);
    }

    #[test]
    fn known_issues_go_by_the_version() {
        for (version, told) in [
            ("25.0.1", 1),
            ("25.0.3", 0),
            ("20.10.24+dfsg1", 0),
            ("28.5.2", 0),
        ] {
            let found = codes(|report| check_engine(&info(version), report));
            assert_eq!(found.len(), told, "{version}");
        }
    }

    #[test]
    fn counters_that_are_asked_for_are_a_hint() {
        let mut info = info("20.10.24+dfsg1");
        info.cgroup_files = false;
        let found = codes(|report| check_engine(&info, report));
        assert_eq!(found, ["hint slow-counters"]);
    }
}
