//! The state directory: what outlives a run, and who may act.
//!
//! It holds `lock`, `state.json` (versioned, replaced as a whole), `scaling.log` (JSON lines, rotated
//! by size), `control.sock`, and `templates`, what is remembered of replicas. Losing it loses history, never replicas.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    files::{self, Directory, OpenMode},
    reconcile::{PersistedState, ScalingEvent},
};

mod history;
mod project_lock;
mod recording;
mod scaling_log;
mod template;

use scaling_log::{LogProblem, ScalingLog};

pub use history::{HistoryEntry, HistoryKind, LogHistory, LogPiece};
pub use project_lock::{Holder, ProjectId, ProjectLock, holder};
pub use recording::Recording;

/// The version of `state.json` that this program writes.
const VERSION: u32 = 1;
/// The file of what is remembered.
const STATE: &str = "state.json";
/// Where one that is damaged is kept.
const DAMAGED: &str = "state.json.damaged";
/// It is never longer: a service takes a few hundred KiB at most.
const LARGEST: u64 = 64 << 20;
/// What a lock says is not longer.
const PROCESS_ID: u64 = 16;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process acts for this project.
    #[error("another compose-scale ({holder}) is at work on this project")]
    Held {
        /// What the other one wrote into the lock: its process id and command.
        holder: String,
        /// Whether it may have another state directory, so that commands do not find it.
        elsewhere: bool,
    },
    /// A file or directory cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// `scaling.log` is too long, and everything is in it all the same.
    #[error("cannot rotate {}: {source}", path.display())]
    Unrotated {
        /// Where it is.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What the last run left.
#[derive(Debug, Default, PartialEq)]
pub struct Remembered {
    /// By service.
    pub services: BTreeMap<String, PersistedState>,
    /// What could not be used, and what became of it.
    pub warnings: Vec<String>,
}

/// The state directory of one project.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
    /// `state.json` is a newer program's and stays as it is.
    newer: bool,
}

/// The right to act on the project, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
    /// Whether the directory around it is made where it is missing.
    makes_directory: bool,
}

#[derive(Debug, Serialize)]
struct StoredState {
    version: u32,
    services: BTreeMap<String, PersistedState>,
}

/// The same as it is read: what one service left does not depend on what another one did.
#[derive(Debug, Deserialize)]
#[serde(expecting = "the saved state of a project")]
struct LoadedState {
    #[serde(default)]
    version: u32,
    #[serde(default)]
    services: BTreeMap<String, serde_json::Value>,
}

impl StateDir {
    /// `COMPOSE_SCALE_STATE`, else `$XDG_STATE_HOME/compose-scale/PROJECT`, else
    /// `/var/lib/compose-scale/PROJECT` where this user sees one (the systemd unit keeps its state
    /// there), else `~/.local/state/compose-scale/PROJECT`. As the XDG specification wants it, a
    /// relative `XDG_STATE_HOME` counts as none.
    pub fn locate(env: &BTreeMap<String, String>, project: &str) -> Self {
        Self::locate_below(Path::new("/var/lib"), env, project)
    }

    fn locate_below(system: &Path, env: &BTreeMap<String, String>, project: &str) -> Self {
        let set = |key: &str| env.get(key).filter(|value| !value.is_empty());
        let path = if let Some(path) = set("COMPOSE_SCALE_STATE") {
            std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path))
        } else {
            let below = |base: &Path| base.join("compose-scale").join(project);
            // Services of the system have no HOME, and are root's.
            let home = set("HOME").map_or("/root", String::as_str);
            match set("XDG_STATE_HOME")
                .map(Path::new)
                .filter(|base| base.is_absolute())
            {
                Some(base) => below(base),
                None if below(system).is_dir() => below(system),
                None => below(&Path::new(home).join(".local/state")),
            }
        };
        Self::at(path)
    }

    fn at(path: PathBuf) -> Self {
        Self { path, newer: false }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a running `watch` listens.
    pub fn socket(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    /// Where scaling is recorded.
    pub fn log_path(&self) -> PathBuf {
        scaling_log::path(&self.path, 0)
    }

    /// Makes it where it is missing, for its owner alone.
    pub fn make(&self) -> Result<(), StateError> {
        make_directory(&self.path)
    }

    /// Takes the right to act, or says who has it.
    pub fn lock(&self) -> Result<Lock, StateError> {
        self.make()?;
        let lock = Lock::take(&self.path.join("lock"))?;
        Ok(Lock {
            makes_directory: true,
            ..lock
        })
    }

    /// What the last run left; nothing when there was none. Only history is lost with a file that
    /// cannot be used, so that is never a reason not to run: a damaged one is set aside where `acts`
    /// says that the caller holds the lock, a newer program's is left alone for as long as this
    /// value lives.
    pub fn load(&mut self, acts: bool) -> Remembered {
        let path = self.path.join(STATE);
        let mut left = Remembered::default();
        let read = Directory::at(&self.path).and_then(|directory| directory.read(STATE, LARGEST));
        let text = match read {
            Ok(text) => text,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    left.warnings.push(format!(
                        "{} cannot be read ({error}); history starts anew",
                        path.display()
                    ));
                }
                return left;
            }
        };
        let mut damages = Vec::new();
        match serde_json::from_slice::<LoadedState>(&text) {
            Ok(found) if found.version > VERSION => {
                self.newer = true;
                left.warnings.push(format!(
                    "{} is of a newer compose-scale (version {}, this one knows {VERSION}); it is left alone, and this run has no history and keeps none",
                    path.display(),
                    found.version
                ));
            }
            Ok(found) => {
                for (service, value) in found.services {
                    match serde_json::from_value(value) {
                        Ok(memory) => {
                            left.services.insert(service, memory);
                        }
                        Err(error) => damages.push(format!("{service}: {error}")),
                    }
                }
            }
            Err(_) if text.is_empty() => damages.push("it is empty".into()),
            Err(error) => damages.push(error.to_string()),
        }
        if !damages.is_empty() {
            let aside = || Directory::at(&self.path)?.rename(STATE, DAMAGED);
            let kept = if acts && aside().is_ok() {
                format!(
                    ", the file is kept as {}",
                    self.path.join(DAMAGED).display()
                )
            } else {
                String::new()
            };
            left.warnings.push(format!(
                "{} was damaged ({}); history starts anew{kept}",
                path.display(),
                damages.join("; ")
            ));
        }
        left
    }

    /// Whether what is saved is kept: a newer program's file, once [loaded](Self::load), is not
    /// replaced.
    pub fn keeps(&self) -> bool {
        !self.newer
    }

    /// Replaces what is remembered; writes only when it changed.
    pub fn save(&self, services: BTreeMap<String, PersistedState>) -> Result<(), StateError> {
        if self.newer {
            return Ok(());
        }
        let stored = StoredState {
            version: VERSION,
            services,
        };
        let path = self.path.join(STATE);
        serde_json::to_vec(&stored)
            .map_err(io::Error::from)
            .and_then(|text| files::replace_private(&path, &text))
            .map(drop)
            .map_err(|source| io_error(&path, source))
    }

    /// Appends a line to `scaling.log`. [`StateError::Unrotated`] is a line that was appended.
    pub fn record(&self, note: &ScalingEvent) -> Result<(), StateError> {
        let path = self.log_path();
        let line = serde_json::to_vec(note).map_err(|error| io_error(&path, error.into()))?;
        ScalingLog::of(&self.path)
            .append(line)
            .map_err(|trouble| match trouble {
                LogProblem::Lost(source) => io_error(&path, source),
                LogProblem::Unrotated(source) => StateError::Unrotated { path, source },
            })
    }
}

impl Lock {
    /// Locks a file, which is made where it is missing, or says who has it.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        let opened =
            Directory::of(path).and_then(|(directory, name)| directory.open(name, OpenMode::Lock));
        let mut file = opened.map_err(|source| io_error(path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(&file)),
            Err(TryLockError::Error(source)) => return Err(io_error(path, source)),
        }
        // For people who look; the lock itself is the kernel's.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self {
            file,
            path: path.to_owned(),
            makes_directory: false,
        })
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes the lock again when its file was removed, because whoever comes next makes a new one
    /// and holds that. Says whether that was so; [`StateError::Held`] is somebody who came first.
    pub fn renew(&mut self) -> Result<bool, StateError> {
        let held = self.file.metadata().ok();
        let there = Directory::of(&self.path)
            .and_then(|(directory, name)| directory.identity(name))
            .ok();
        if held.is_some_and(|held| Some((held.dev(), held.ino())) == there) {
            return Ok(false);
        }
        if self.makes_directory
            && let Some(directory) = self.path.parent()
        {
            make_directory(directory)?;
        }
        self.file = Self::take(&self.path)?.file;
        Ok(true)
    }
}

/// Who holds a lock, by what is written into it. Others may have written that.
fn held(lock: &File) -> StateError {
    let mut text = String::new();
    let read = lock.take(PROCESS_ID).read_to_string(&mut text);
    let process = read.ok().and_then(|_| text.trim().parse::<u32>().ok());
    let unknown = "process unknown".to_owned();
    StateError::Held {
        holder: process.map_or(unknown, |id| Holder::of_process(id).to_string()),
        elsewhere: false,
    }
}

/// One that is there may be somebody's on purpose, and is left as it is; the files in it are closed to
/// others all the same.
fn make_directory(path: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        reconcile::{EventKind, Hold},
        units::Timestamp,
    };

    fn dir() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::at(dir.path().join("shop"));
        (dir, state)
    }

    fn note() -> ScalingEvent {
        ScalingEvent {
            at: Timestamp::from_unix(1000),
            service: "web".into(),
            what: EventKind::NothingServes,
        }
    }

    #[test]
    fn the_directory_follows_the_environment() {
        let env = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        for (pairs, expected) in [
            (
                vec![("HOME", "/home/a")],
                "/home/a/.local/state/compose-scale/shop",
            ),
            (
                vec![("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")],
                "/s/compose-scale/shop",
            ),
            (
                vec![("XDG_STATE_HOME", "/s"), ("COMPOSE_SCALE_STATE", "/x y/é")],
                "/x y/é",
            ),
            (
                vec![("HOME", "/home/a"), ("XDG_STATE_HOME", "relative")],
                "/home/a/.local/state/compose-scale/shop",
            ),
            (vec![], "/root/.local/state/compose-scale/shop"),
        ] {
            let system = Path::new("/nowhere");
            let found = StateDir::locate_below(system, &env(&pairs), "shop");
            assert_eq!(found.path(), Path::new(expected));
        }
        // What the systemd unit keeps is found without being told where.
        let system = tempfile::tempdir().unwrap();
        let kept = system.path().join("compose-scale/shop");
        fs::create_dir_all(&kept).unwrap();
        let home = env(&[("HOME", "/home/a")]);
        let locate = |project| StateDir::locate_below(system.path(), &home, project);
        assert_eq!(locate("shop").path(), kept);
        let other = Path::new("/home/a/.local/state/compose-scale/blog");
        assert_eq!(locate("blog").path(), other);
    }

    #[test]
    fn only_one_holds_the_lock_and_the_other_learns_who() {
        let (_dir, state) = dir();
        let lock = state.lock().unwrap();
        let error = state.lock().unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        state.lock().unwrap();
    }

    #[test]
    fn what_is_saved_comes_back() {
        let (_dir, mut state) = dir();
        let _lock = state.lock().unwrap();
        let memory = PersistedState {
            hold: Some(Hold {
                replicas: 4,
                until: Some(Timestamp::from_unix(5000)),
            }),
            ..PersistedState::default()
        };
        let services = BTreeMap::from([("web".to_owned(), memory)]);
        state.save(services.clone()).unwrap();
        let warnings = Vec::new();
        let left = Remembered { services, warnings };
        assert_eq!(state.load(true), left);
    }

    /// What is said of a `state.json` with this text, without the directory's name, and which
    /// services come back.
    #[expect(clippy::disallowed_methods, reason = "damages a file on purpose")]
    fn loaded(text: &[u8], acts: bool) -> (String, Vec<String>, Vec<String>) {
        let (_dir, mut state) = dir();
        let _lock = state.lock().unwrap();
        let path = state.path().join("state.json");
        fs::write(&path, text).unwrap();
        let left = state.load(acts);
        // Whatever was there, the run goes on and saves.
        state.save(left.services.clone()).unwrap();
        let directory = state.path().display().to_string();
        let mut files: Vec<_> = fs::read_dir(state.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("state.json"))
            .collect();
        files.sort();
        (
            left.warnings.join("\n").replace(&directory, "STATE"),
            left.services.into_keys().collect(),
            files,
        )
    }

    const MEMORY: &str = r#"{"history":{"recommendations":[],"scale_events":[]},"hold":null}"#;

    #[test]
    fn a_torn_empty_or_garbled_file_is_set_aside_and_said() {
        let aside = ["state.json", "state.json.damaged"];
        for (text, why) in [
            (&b""[..], "it is empty"),
            (
                b"{\"version\":1,\"serv",
                "EOF while parsing a string at line 1 column 18",
            ),
            (b"\xff\xfe", "expected value at line 1 column 1"),
            (
                b"7",
                "invalid type: integer `7`, expected the saved state of a project at line 1 column 1",
            ),
        ] {
            let (said, services, files) = loaded(text, true);
            assert_eq!(
                said,
                format!(
                    "STATE/state.json was damaged ({why}); history starts anew, the file is kept as STATE/state.json.damaged"
                )
            );
            assert!(services.is_empty());
            assert_eq!(files, aside);
        }
        // Who only looks moves nothing.
        let (said, _, files) = loaded(b"", false);
        assert!(said.ends_with("history starts anew"), "{said}");
        assert_eq!(files, ["state.json"]);
    }

    #[test]
    fn what_one_service_left_does_not_suffer_from_another() {
        let text = format!(r#"{{"version":1,"services":{{"web":{MEMORY},"api":{{"hold":7}}}}}}"#);
        let (said, services, files) = loaded(text.as_bytes(), true);
        assert_eq!(services, ["web"]);
        assert_eq!(files, ["state.json", "state.json.damaged"]);
        assert!(said.contains("was damaged (api: invalid type"), "{said}");
    }

    #[test]
    fn an_older_file_is_understood() {
        let text = format!(r#"{{"services":{{"web":{MEMORY}}}}}"#);
        let (said, services, files) = loaded(text.as_bytes(), true);
        assert_eq!((said.as_str(), services), ("", vec!["web".to_owned()]));
        assert_eq!(files, ["state.json"]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "plays a newer program")]
    fn a_newer_file_is_left_alone_and_nothing_is_remembered_beside_it() {
        let (_dir, mut state) = dir();
        let _lock = state.lock().unwrap();
        let path = state.path().join("state.json");
        let text = r#"{"version":2,"services":[]}"#;
        let text = &text.replace("[]", "{\"web\":{}}");
        fs::write(&path, text).unwrap();
        let left = state.load(true);
        assert!(left.services.is_empty());
        assert_eq!(
            left.warnings,
            [format!(
                "{} is of a newer compose-scale (version 2, this one knows 1); it is left alone, and this run has no history and keeps none",
                path.display()
            )]
        );
        let services = BTreeMap::from([("web".to_owned(), PersistedState::default())]);
        state.save(services).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), *text);
    }

    #[test]
    fn a_file_that_cannot_be_read_is_no_reason_not_to_run() {
        let (_dir, mut state) = dir();
        let _lock = state.lock().unwrap();
        fs::create_dir(state.path().join("state.json")).unwrap();
        let left = state.load(true);
        assert_eq!(
            left.warnings,
            [format!(
                "{} cannot be read (it is a directory instead of a regular file, and was left alone; move it away); history starts anew",
                state.path().join("state.json").display()
            )]
        );
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_again_unless_somebody_was_faster() {
        let (_dir, state) = dir();
        let mut lock = state.lock().unwrap();
        assert!(!lock.renew().unwrap());
        fs::remove_dir_all(state.path()).unwrap();
        assert!(lock.renew().unwrap());
        assert!(matches!(state.lock(), Err(StateError::Held { .. })));
        fs::remove_dir_all(state.path()).unwrap();
        let _faster = state.lock().unwrap();
        assert!(matches!(lock.renew(), Err(StateError::Held { .. })));
    }

    #[test]
    fn the_log_is_one_json_line_per_note_and_is_rotated_by_size() {
        let (_dir, state) = dir();
        let _lock = state.lock().unwrap();
        state.record(&note()).unwrap();
        state.record(&note()).unwrap();
        let text = fs::read_to_string(state.log_path()).unwrap();
        assert_eq!(text.lines().count(), 2);
        let read: ScalingEvent = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(read, note());

        let file = File::options().write(true).open(state.log_path()).unwrap();
        file.set_len(10 << 20).unwrap();
        state.record(&note()).unwrap();
        let text = fs::read_to_string(state.log_path()).unwrap();
        assert_eq!(text.lines().count(), 1);
        assert!(state.path().join("scaling.log.1").exists());
    }
}
