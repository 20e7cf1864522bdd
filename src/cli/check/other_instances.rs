//! Who else looks after the project. Nothing is locked to find out: a `watch` that starts meanwhile
//! must not find its lock taken.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::{CheckCode, CheckReport};
use crate::{
    cli::driver_setup,
    compose::Loaded,
    engine::EngineInfo,
    state::{self, Holder, StateDir},
    watch::{project_id, service_setup},
};

/// What is there, as far as this user may see it.
#[derive(Debug, Default)]
struct VisibleWatchers {
    /// Who holds the state directory that this user's commands use.
    ours: Option<u32>,
    /// Who writes nginx's files.
    writer: Option<u32>,
    /// Who acts on the project of this Engine, with whatever state directory.
    actor: Option<Holder>,
    /// Other state directories of the project, and who holds them.
    others: Vec<(PathBuf, Option<u32>)>,
}

pub(super) async fn check_other_instances(
    loaded: &Loaded,
    state: &StateDir,
    info: Option<&EngineInfo>,
    report: &mut CheckReport,
) {
    let actor = match info {
        Some(info) => state::holder(&project_id(info, &loaded.project.name)).await,
        None => None,
    };
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let holder = |path: &Path| holder(&locks, path);
    let others = others(&users, &loaded.project.name, state.path()).into_iter();
    let seen = VisibleWatchers {
        actor,
        ours: holder(&state.path().join("lock")),
        writer: holder(&driver_setup::writers_lock(
            loaded,
            &service_setup::upstreams(loaded),
        )),
        others: others
            .map(|path| {
                let held = holder(&path.join("lock"));
                (path, held)
            })
            .collect(),
    };
    tell(&seen, state.path(), report);
}

fn tell(seen: &VisibleWatchers, state: &Path, report: &mut CheckReport) {
    let shown = state.display();
    if let Some(process) = seen.ours {
        report.ok("project", format!("process {process} manages it now"));
    }
    for (path, held) in &seen.others {
        let there = path.display();
        match held {
            Some(process) => report.error(
                CheckCode::WatchedElsewhere,
                "project",
                format!("process {process} manages it with another state directory, {there}: commands of this user do not find it, and a `watch` here would work against it"),
                format!("set COMPOSE_SCALE_STATE={there} for every command, or stop that process"),
            ),
            None => report.hint(
                CheckCode::StateElsewhere,
                "project",
                format!("it has another state directory, {there}: history, holds and pauses there do not count for {shown}"),
                format!("run every command as the same user, or set COMPOSE_SCALE_STATE; if nothing uses the other one: rm -r {there}"),
            ),
        }
    }
    let known = seen.others.iter().filter_map(|(_, held)| *held);
    let mut known: BTreeSet<_> = known.chain(seen.ours).collect();
    // In another namespace of processes it has no number, and may be the one that is known.
    let is_known =
        |actor: &Holder| known.contains(&actor.pid) || actor.pid == 0 && !known.is_empty();
    if let Some(actor) = seen.actor.as_ref().filter(|actor| !is_known(actor)) {
        report.error(
            CheckCode::WatchedElsewhere,
            "project",
            format!("{actor} acts on it, and has another state directory than {shown}"),
            format!("see it with `ps -o pid,user,args -p {}`; end one of the two, or set COMPOSE_SCALE_STATE to the same directory for both", actor.pid),
        );
        known.insert(actor.pid);
    }
    if let Some(process) = seen.writer.filter(|process| !known.contains(process)) {
        report.error(
            CheckCode::WatchedElsewhere,
            "project",
            format!("process {process} writes nginx's files for it, with another state directory than {shown}"),
            format!("look at it with `ps -o pid,user,args -p {process}`; stop one of the two, or set COMPOSE_SCALE_STATE to the same directory for both"),
        );
    }
}

/// The state directories that other users of this machine would have, where they are there.
fn others(users: &str, project: &str, own: &Path) -> BTreeSet<PathBuf> {
    let homes = users.lines().filter_map(|line| line.split(':').nth(5));
    let homes = homes.filter(|home| home.len() > 1 && home.starts_with('/'));
    let below = homes.map(|home| Path::new(home).join(".local/state"));
    let places = below.chain([PathBuf::from("/var/lib")]);
    let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
    places
        .filter_map(|place| {
            place
                .join("compose-scale")
                .join(project)
                .canonicalize()
                .ok()
        })
        .filter(|place| *place != own && place.join("lock").exists())
        .collect()
}

/// The process that holds a lock on a file, by the kernel's list of locks.
fn holder(locks: &str, path: &Path) -> Option<u32> {
    let file = fs::metadata(path).ok()?;
    let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
    in_list(locks, &format!("{major:02x}:{minor:02x}:{}", file.ino()))
}

/// `1: FLOCK  ADVISORY  WRITE 708 00:13:1031 0 EOF`.
fn in_list(locks: &str, file: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            [_, "FLOCK", _, _, process, place, ..] if *place == file => process.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCKS: &str = "1: POSIX  ADVISORY  WRITE 12 08:01:77 0 EOF
2: FLOCK  ADVISORY  WRITE 708 08:01:77 0 EOF
2: -> FLOCK  ADVISORY  WRITE 709 08:01:78 0 EOF
";

    fn codes(seen: &VisibleWatchers) -> Vec<String> {
        let mut report = CheckReport::new("shop");
        tell(seen, Path::new("/home/ann/state"), &mut report);
        report.codes()
    }

    #[test]
    fn who_holds_a_file_is_in_the_kernels_list() {
        assert_eq!(in_list(LOCKS, "08:01:77"), Some(708));
        // Waiting is not holding.
        assert_eq!(in_list(LOCKS, "08:01:78"), None);
    }

    #[test]
    fn a_lock_that_is_held_here_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = state::Lock::take(&path).unwrap();
        let locks = fs::read_to_string("/proc/locks").unwrap();
        // A container, or a file system with numbers of its own, may not show it.
        let own = std::process::id();
        assert!(holder(&locks, &path).is_none_or(|process| process == own));
        drop(held);
        let locks = fs::read_to_string("/proc/locks").unwrap();
        assert_eq!(holder(&locks, &path), None);
    }

    #[test]
    fn one_watcher_is_fine_and_a_second_is_an_error() {
        let one = VisibleWatchers {
            ours: Some(7),
            writer: Some(7),
            actor: Some(Holder::of_process(7)),
            others: Vec::new(),
        };
        assert_eq!(codes(&one), [""; 0]);
        let other_directory = VisibleWatchers {
            others: vec![("/root/state".into(), Some(8))],
            writer: Some(8),
            ..VisibleWatchers::default()
        };
        assert_eq!(codes(&other_directory), ["error watched-elsewhere"]);
        let unseen = VisibleWatchers {
            writer: Some(9),
            ..VisibleWatchers::default()
        };
        assert_eq!(codes(&unseen), ["error watched-elsewhere"]);
        // Without nginx there is no other trace of it.
        let without_nginx = VisibleWatchers {
            actor: Some(Holder::of_process(9)),
            ..VisibleWatchers::default()
        };
        assert_eq!(codes(&without_nginx), ["error watched-elsewhere"]);
        let both = VisibleWatchers {
            writer: Some(9),
            ..without_nginx
        };
        assert_eq!(codes(&both), ["error watched-elsewhere"]);
        let left = VisibleWatchers {
            others: vec![("/root/state".into(), None)],
            ..VisibleWatchers::default()
        };
        assert_eq!(codes(&left), ["hint state-elsewhere"]);
    }

    #[test]
    fn other_users_have_state_directories_of_their_own() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join(".local/state/compose-scale/shop");
        fs::create_dir_all(&place).unwrap();
        let users = format!(
            "ann:x:1:1::{}:/bin/sh\nnobody:x:2:2::/:/bin/false\n",
            home.path().display()
        );
        let found = |own: &Path| others(&users, "shop", own);
        // Nobody ever acted there.
        assert_eq!(found(Path::new("/elsewhere")), BTreeSet::new());
        crate::files::replace(&place.join("lock"), b"").unwrap();
        let place = place.canonicalize().unwrap();
        assert_eq!(
            found(Path::new("/elsewhere")),
            BTreeSet::from([place.clone()])
        );
        assert_eq!(found(&place), BTreeSet::new());
    }
}
