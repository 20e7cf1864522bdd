//! One process acts on a project, whichever state directory it has: the right to act is a name in the
//! kernel, by Engine and project, that every user of this machine finds. It is free again when its
//! holder ends, however that ends, and nothing of it is on disk.
//!
//! The name is one of an abstract unix socket, so it is one per network namespace: a container with a
//! network of its own has names of its own.

use std::{
    fs, io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            fs::MetadataExt,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};
use tokio::{net::UnixStream, time::timeout};

use super::StateError;
use crate::units::hex;

/// The Engine's own socket, as it is named everywhere.
const ENGINE: &str = "/var/run/docker.sock";
/// A holder's socket answers at once, by the kernel.
const ANSWER: Duration = Duration::from_secs(2);
/// A longer project name does not fit into a socket's address beside the rest.
const LONGEST_PROJECT: usize = 60;

/// The right to act on a project of an Engine, until it is dropped.
#[derive(Debug)]
pub struct ProjectLock {
    listener: UnixListener,
}

/// Which project of which Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectId {
    /// The Engine's id.
    pub engine: String,
    /// The project's name.
    pub project: String,
    /// The socket that leads to the Engine, where it is one.
    pub socket: Option<PathBuf>,
}

impl ProjectLock {
    /// Takes it, or says who has it. A holder that could not act on the project anyway, because it may
    /// not use the Engine's socket, keeps nobody out: `None` then, with a warning.
    pub async fn take(id: &ProjectId) -> Result<Option<Self>, StateError> {
        let io_error = |source| super::io_error(Path::new(&id.shown()), source);
        let address = SocketAddr::from_abstract_name(id.name()).map_err(io_error)?;
        loop {
            match UnixListener::bind_addr(&address) {
                Ok(listener) => {
                    listener.set_nonblocking(true).map_err(io_error)?;
                    return Ok(Some(Self { listener }));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(io_error(error)),
            }
            // It may have ended meanwhile.
            let Some(holder) = holder(id).await else {
                continue;
            };
            if holder.may_use_engine(id) {
                return Err(StateError::Held {
                    holder: holder.to_string(),
                    elsewhere: true,
                });
            }
            tracing::warn!(
                "{holder} holds the lock {} and may not use the Engine; going on without this lock",
                id.shown()
            );
            return Ok(None);
        }
    }

    /// Lets go of those who have asked who holds it.
    pub fn dismiss_callers(&self) {
        while self.listener.accept().is_ok() {}
    }
}

impl ProjectId {
    fn name(&self) -> String {
        let Self {
            engine, project, ..
        } = self;
        let digest = Sha256::digest(format!("{engine}\n{project}"));
        let digest = hex(&digest[..8]);
        let mut end = project.len().min(LONGEST_PROJECT);
        while !project.is_char_boundary(end) {
            end -= 1;
        }
        format!("compose-scale/{}/{digest}", &project[..end])
    }

    /// As `ss -xl` shows it.
    fn shown(&self) -> String {
        format!("@{}", self.name())
    }
}

/// A process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its id; 0 in another namespace of processes.
    pub pid: u32,
    /// Its user.
    pub uid: Option<u32>,
}

/// Who holds the lock of a project; `None` where nobody does.
pub async fn holder(id: &ProjectId) -> Option<Holder> {
    let mut path = vec![0];
    path.extend(id.name().as_bytes());
    let path = Path::new(std::ffi::OsStr::from_bytes(&path));
    match timeout(ANSWER, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => {
            let peer = stream.peer_cred().ok();
            Some(Holder {
                pid: peer
                    .and_then(|peer| peer.pid())
                    .and_then(|pid| u32::try_from(pid).ok())
                    .unwrap_or_default(),
                uid: peer.map(|peer| peer.uid()),
            })
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => None,
        // It does not take calls.
        Ok(Err(_)) | Err(_) => Some(Holder { pid: 0, uid: None }),
    }
}

impl Holder {
    /// By its id alone.
    pub fn of_process(pid: u32) -> Self {
        let uid = fs::metadata(format!("/proc/{pid}")).ok();
        Self {
            pid,
            uid: uid.map(|process| process.uid()),
        }
    }

    /// Whether it may use the socket of the Engine, as far as can be told: in doubt it may.
    fn may_use_engine(&self, id: &ProjectId) -> bool {
        let Some(uid) = self.uid.filter(|uid| *uid != 0) else {
            return true;
        };
        if uid == rustix::process::geteuid().as_raw() {
            return true;
        }
        let Some(groups) = self.groups() else {
            return true;
        };
        // Over the network everybody may.
        let Some(socket) = &id.socket else {
            return true;
        };
        let sockets = [socket.as_path(), Path::new(ENGINE)];
        let mut known = sockets
            .iter()
            .filter_map(|path| fs::metadata(path).ok())
            .peekable();
        known.peek().is_none()
            || known.any(|socket| {
                let by_group = socket.mode() & 0o020 != 0 && groups.contains(&socket.gid());
                socket.uid() == uid || by_group || socket.mode() & 0o002 != 0
            })
    }

    /// `Groups:` and `Gid:` of `/proc/PID/status`.
    fn groups(&self) -> Option<Vec<u32>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let of = |key: &str| status.lines().find_map(|line| line.strip_prefix(key));
        let all = [of("Groups:")?, of("Gid:")?];
        let numbers = all.into_iter().flat_map(str::split_whitespace);
        Some(numbers.filter_map(|number| number.parse().ok()).collect())
    }

    /// Its command line, where it is one of this program: a process id may be another one's by now, or of
    /// another namespace.
    fn command(&self) -> Option<String> {
        let words = fs::read(format!("/proc/{}/cmdline", self.pid)).ok()?;
        let words = String::from_utf8_lossy(&words);
        let words: Vec<_> = words.split('\0').filter(|word| !word.is_empty()).collect();
        let (program, arguments) = words.split_first()?;
        let program = Path::new(program).file_name()?.to_str()?;
        let command = std::iter::once(program).chain(arguments.iter().copied());
        (program == env!("CARGO_PKG_NAME")).then(|| command.collect::<Vec<_>>().join(" "))
    }

    fn since(&self) -> Option<String> {
        let begun = fs::metadata(format!("/proc/{}", self.pid))
            .ok()?
            .modified()
            .ok()?;
        let begun = Timestamp::try_from(begun)
            .ok()?
            .to_zoned_datetime(TimeZone::system());
        Some(begun.strftime("%F %T").to_string())
    }

    fn user(&self) -> Option<String> {
        let uid = self.uid?.to_string();
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1) == Some(uid.as_str())).then(|| name.to_owned())
        });
        Some(name.unwrap_or_else(|| format!("uid {uid}")))
    }
}

/// `process 4711 of root, "compose-scale watch", since 2026-11-30 12:04:05`.
impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.pid {
            0 => write!(f, "process unknown")?,
            pid => write!(f, "process {pid}")?,
        }
        let command = self.command();
        if self.pid == 0 || command.is_some() {
            self.user().map_or(Ok(()), |user| write!(f, " of {user}"))?;
        }
        let Some(command) = command else {
            return Ok(());
        };
        write!(f, ", `{command}`")?;
        self.since()
            .map_or(Ok(()), |since| write!(f, ", since {since}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(engine: &str, project: &str) -> ProjectId {
        ProjectId {
            engine: format!("{engine}-{}", std::process::id()),
            project: project.into(),
            socket: None,
        }
    }

    #[tokio::test]
    async fn one_holds_a_project_of_an_engine_and_the_other_learns_who() {
        let shop = id("one", "shop");
        let held = ProjectLock::take(&shop).await.unwrap();
        let who = holder(&shop).await.unwrap();
        assert_eq!(who.pid, std::process::id());
        let error = ProjectLock::take(&shop).await.unwrap_err();
        assert!(matches!(
            error,
            StateError::Held {
                elsewhere: true,
                ..
            }
        ));
        let error = error.to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        // Another project, and one of that name of another Engine, are free.
        let other = ProjectLock::take(&id("one", "blog")).await.unwrap();
        let elsewhere = ProjectLock::take(&id("two", "shop")).await.unwrap();
        assert!(other.is_some() && elsewhere.is_some());
        held.as_ref().unwrap().dismiss_callers();
        drop(held);
        assert_eq!(holder(&shop).await, None);
        assert!(ProjectLock::take(&shop).await.unwrap().is_some());
    }

    #[test]
    fn a_name_fits_whatever_the_project_is_called() {
        for project in ["", "shop", &"s".repeat(300), &"\u{fc}".repeat(90)] {
            let name = id("6ZKX:QZ5B", project).name();
            assert!(SocketAddr::from_abstract_name(&name).is_ok(), "{name}");
        }
    }

    #[test]
    fn who_may_not_use_the_engine_keeps_nobody_out() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let mut id = id("one", "shop");
        id.socket = Some(socket.clone());
        let own = Holder {
            pid: std::process::id(),
            uid: Some(4242),
        };
        let mode = |mode| {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            fs::set_permissions(&socket, mode).unwrap();
        };
        // The groups are those of this process, and the socket is of its group.
        mode(0o660);
        assert!(own.may_use_engine(&id), "by its group");
        mode(0o666);
        assert!(own.may_use_engine(&id), "everybody may");
        let root = Holder {
            uid: Some(0),
            ..own.clone()
        };
        let unknown = Holder {
            uid: None,
            ..own.clone()
        };
        mode(0o600);
        assert!(root.may_use_engine(&id) && unknown.may_use_engine(&id));
        // The machine's own Engine, where there is one, may be open to this process's groups.
        if fs::metadata(ENGINE).is_err() {
            assert!(!own.may_use_engine(&id));
        }
    }

    #[test]
    fn a_process_of_another_program_is_named_by_its_number_alone() {
        let first = Holder::of_process(1);
        assert_eq!(first.to_string(), "process 1");
        assert_eq!(Holder { pid: 0, uid: None }.to_string(), "process unknown");
    }
}
