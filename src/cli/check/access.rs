//! Who else can write to the directories that this program reads back.

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use rustix::process::geteuid;

use super::{CheckCode, CheckReport};
use crate::{compose::Loaded, state::StateDir, watch::service_setup};

/// Everyone, in the bits of a mode.
const OTHERS: u32 = 0o002;
/// Members of the directory's group.
const GROUP: u32 = 0o020;

/// A directory and what depends on it.
struct RequiredDirectory {
    path: PathBuf,
    subject: &'static str,
    /// What one who can write there can do.
    risk: &'static str,
    /// Whether another program may own it.
    has_any_owner: bool,
}

/// As the file system tells it.
#[derive(Debug, Clone, Copy)]
struct PathAccess {
    mode: u32,
    owner: u32,
    group: u32,
}

/// The users and groups of this machine, and who runs this.
struct Accounts {
    /// `/etc/passwd`.
    users: String,
    /// `/etc/group`.
    groups: String,
    /// Whose directories are trusted.
    trusted: BTreeSet<u32>,
}

/// Warns about directories that others can write to.
pub(super) fn check_directories(loaded: &Loaded, state: &StateDir, report: &mut CheckReport) {
    let sudo = std::env::var("SUDO_UID").ok();
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let accounts = Accounts {
        users: read("/etc/passwd"),
        groups: read("/etc/group"),
        trusted: [0, geteuid().as_raw()]
            .into_iter()
            .chain(sudo.and_then(|uid| uid.parse().ok()))
            .collect(),
    };
    for place in places(loaded, state) {
        let Ok(found) = fs::metadata(&place.path) else {
            continue;
        };
        let access = PathAccess {
            mode: found.mode(),
            owner: found.uid(),
            group: found.gid(),
        };
        tell(&place, access, &accounts, report);
    }
}

fn places(loaded: &Loaded, state: &StateDir) -> Vec<RequiredDirectory> {
    let mut all = vec![RequiredDirectory {
        path: state.path().to_owned(),
        subject: "project",
        risk: "forge holds, pauses and remembered replicas, of which containers are made",
        has_any_owner: false,
    }];
    if service_setup::nginx_place(loaded).is_some() {
        all.push(RequiredDirectory {
            path: service_setup::upstreams(loaded),
            subject: "nginx",
            risk: "decide what nginx reads, and keep it from being updated",
            has_any_owner: false,
        });
    }
    if let Some(logs) = &loaded.settings.nginx.logs {
        all.push(RequiredDirectory {
            path: loaded.project.resolve(&logs.dir),
            subject: "nginx",
            risk: "forge the load that replicas are added and removed for",
            has_any_owner: true,
        });
    }
    all
}

fn tell(
    place: &RequiredDirectory,
    access: PathAccess,
    accounts: &Accounts,
    report: &mut CheckReport,
) {
    let shown = place.path.display();
    let (who, fix) = if access.mode & OTHERS != 0 {
        ("everyone".to_owned(), format!("chmod o-w {shown}"))
    } else if !place.has_any_owner && !accounts.trusted.contains(&access.owner) {
        let who = match accounts.user(access.owner) {
            Some(name) => format!("its owner, {name} (uid {}),", access.owner),
            None => format!("its owner (uid {})", access.owner),
        };
        let fix = format!("run every command as that user, or `sudo chown $USER {shown}`");
        (who, fix)
    } else if access.mode & GROUP != 0
        && let Some(who) = accounts.others_of(access.group, access.owner)
    {
        (who, format!("chmod g-w {shown}"))
    } else {
        return;
    };
    report.warn(
        CheckCode::WritableByOthers,
        place.subject,
        format!(
            "{who} can write to {shown} (mode {:04o}), and so {}",
            access.mode & 0o7777,
            place.risk
        ),
        fix,
    );
}

impl Accounts {
    fn user(&self, id: u32) -> Option<&str> {
        let fields = |line| -> Vec<&str> { str::split(line, ':').collect() };
        let mut users = self.users.lines().map(fields);
        let of = |user: &Vec<&str>| user.get(2).and_then(|uid| uid.parse().ok()) == Some(id);
        users.find(of).map(|user| user[0])
    }

    /// Whom a group has beside this user and root; nobody where it is the user's own group, which
    /// many systems make for each.
    fn others_of(&self, group: u32, owner: u32) -> Option<String> {
        let is_group = |field: Option<&str>| field.and_then(|id| id.parse().ok()) == Some(group);
        let known = self.groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            is_group(fields.nth(1)).then(|| (name, fields.next().unwrap_or_default()))
        });
        let (name, listed) = known.unwrap_or_default();
        let listed = listed.split(',').filter(|member| !member.is_empty());
        let by_login = self.users.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let user = fields.next()?;
            is_group(fields.nth(2)).then_some(user)
        });
        let owner = self.user(owner).unwrap_or_default();
        let others: BTreeSet<_> = listed
            .chain(by_login)
            .filter(|user| *user != "root" && *user != owner)
            .collect();
        let few: Vec<_> = others.iter().copied().take(3).collect();
        let more = if others.len() > few.len() {
            ", …"
        } else {
            ""
        };
        (!others.is_empty()).then(|| format!("the group {name} ({}{more})", few.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANN: u32 = 1000;
    const BOB: u32 = 1001;

    fn told(has_any_owner: bool, mode: u32, owner: u32, group: u32) -> String {
        let place = RequiredDirectory {
            path: "/srv/up".into(),
            subject: "nginx",
            risk: "decide",
            has_any_owner,
        };
        let accounts = Accounts {
            users: "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n".into(),
            groups: "root:x:0:\nann:x:1000:\nbob:x:1001:\ndocker:x:998:ann,bob\nstaff:x:50:ann,root\n".into(),
            trusted: [0, ANN].into(),
        };
        let access = PathAccess { mode, owner, group };
        let mut report = CheckReport::new("shop");
        tell(&place, access, &accounts, &mut report);
        let said = report
            .findings
            .iter()
            .map(|one| format!("{} → {}", one.message, one.fix));
        said.collect()
    }

    #[test]
    fn who_can_write_is_named_with_the_command_that_ends_it() {
        assert_eq!(
            told(false, 0o40777, ANN, ANN),
            "everyone can write to /srv/up (mode 0777), and so decide → chmod o-w /srv/up"
        );
        assert_eq!(
            told(false, 0o41777, 0, 0),
            "everyone can write to /srv/up (mode 1777), and so decide → chmod o-w /srv/up"
        );
        assert_eq!(
            told(false, 0o40775, ANN, 998),
            "the group docker (bob) can write to /srv/up (mode 0775), and so decide → chmod g-w /srv/up"
        );
        assert_eq!(
            told(false, 0o40755, BOB, BOB),
            "its owner, bob (uid 1001), can write to /srv/up (mode 0755), and so decide → run every \
             command as that user, or `sudo chown $USER /srv/up`"
        );
        assert!(told(false, 0o40755, 4711, 0).starts_with("its owner (uid 4711) can write"));
        // nginx may own its logs, but nobody else may write there.
        assert_eq!(told(true, 0o40755, 101, 101), "");
        assert!(told(true, 0o40757, 101, 101).starts_with("everyone can write"));
    }

    #[test]
    fn directories_of_ours_are_fine() {
        for (mode, owner, group) in [
            (0o40700, ANN, ANN),
            (0o40755, ANN, ANN),
            (0o40755, 0, 998),
            // Debian and Fedora give each user a group, and let it write.
            (0o40775, ANN, ANN),
            (0o40775, ANN, 50),
            (0o40775, 0, 0),
            (0o40775, ANN, 4711),
        ] {
            assert_eq!(
                told(false, mode, owner, group),
                "",
                "{mode:o} {owner} {group}"
            );
        }
    }
}
