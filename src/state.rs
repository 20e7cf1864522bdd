//! The state directory: what outlives a run, and who may act.
//!
//! It holds `lock`, `state.json` (versioned, replaced as a whole), `scaling.log` (JSON lines, rotated
//! by size) and `control.sock`. Losing it loses history, never replicas.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    files,
    reconcile::{Memory, Note},
};

/// The version of `state.json` that this program writes.
const VERSION: u32 = 1;
/// `scaling.log` is rotated at this size.
const LOG_LIMIT: u64 = 10 * 1024 * 1024;
/// Older logs that are kept: `scaling.log.1` is the youngest.
const LOGS_KEPT: u32 = 3;

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Another process acts for this project.
    #[error("another compose-scale ({holder}) is at work on this project")]
    Held {
        /// What the other one wrote into the lock: its process id and command.
        holder: String,
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
    /// `state.json` was written by a newer program.
    #[error("{} has version {found}, this program knows up to {VERSION}; use the newer program or move the file away", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// The state directory of one project.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// The right to act on the project, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    #[serde(default)]
    services: BTreeMap<String, Memory>,
}

impl StateDir {
    /// `COMPOSE_SCALE_STATE`, else `$XDG_STATE_HOME/compose-scale/PROJECT`, else
    /// `~/.local/state/compose-scale/PROJECT`.
    pub fn locate(env: &BTreeMap<String, String>, project: &str) -> Self {
        let set = |key: &str| env.get(key).filter(|value| !value.is_empty());
        let path = if let Some(path) = set("COMPOSE_SCALE_STATE") {
            PathBuf::from(path)
        } else {
            let base = set("XDG_STATE_HOME").map_or_else(
                || Path::new(set("HOME").map_or("/root", String::as_str)).join(".local/state"),
                PathBuf::from,
            );
            base.join("compose-scale").join(project)
        };
        Self { path }
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
        self.path.join("scaling.log")
    }

    /// Takes the right to act, or says who has it.
    pub fn lock(&self) -> Result<Lock, StateError> {
        fs::create_dir_all(&self.path).map_err(|source| io_error(&self.path, source))?;
        Lock::take(&self.path.join("lock"))
    }

    /// What the last run left; nothing when there was none. A file that cannot be understood is set
    /// aside, because only history is lost with it.
    pub fn load(&self) -> Result<(BTreeMap<String, Memory>, Option<String>), StateError> {
        let path = self.path.join("state.json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((BTreeMap::new(), None));
            }
            Err(source) => return Err(io_error(&path, source)),
        };
        let version = serde_json::from_str::<serde_json::Value>(&text)
            .ok()
            .and_then(|value| value.get("version")?.as_u64());
        if let Some(found) = version.filter(|version| *version > u64::from(VERSION)) {
            return Err(StateError::TooNew {
                path,
                found: found as u32,
            });
        }
        match serde_json::from_str::<Stored>(&text) {
            Ok(stored) => Ok((stored.services, None)),
            Err(error) => {
                let aside = self.path.join("state.json.damaged");
                let _ = fs::rename(&path, &aside);
                Ok((
                    BTreeMap::new(),
                    Some(format!(
                        "{} was damaged ({error}); history starts anew, the file is kept as {}",
                        path.display(),
                        aside.display()
                    )),
                ))
            }
        }
    }

    /// Replaces what is remembered; writes only when it changed.
    pub fn save(&self, services: BTreeMap<String, Memory>) -> Result<(), StateError> {
        let stored = Stored {
            version: VERSION,
            services,
        };
        let path = self.path.join("state.json");
        let text = serde_json::to_vec(&stored).unwrap_or_default();
        files::replace(&path, &text)
            .map(drop)
            .map_err(|source| io_error(&path, source))
    }

    /// Appends a line to `scaling.log`.
    pub fn record(&self, note: &Note) -> Result<(), StateError> {
        let path = self.log_path();
        let mut line = serde_json::to_vec(note).unwrap_or_default();
        line.push(b'\n');
        let attempt = || -> io::Result<()> {
            if fs::metadata(&path).is_ok_and(|meta| meta.len() >= LOG_LIMIT) {
                self.rotate()?;
            }
            // One write per line, so that a reader never sees two lines mixed.
            OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path)?
                .write_all(&line)
        };
        attempt().map_err(|source| io_error(&path, source))
    }

    fn rotate(&self) -> io::Result<()> {
        let numbered = |n: u32| self.path.join(format!("scaling.log.{n}"));
        for n in (1..LOGS_KEPT).rev() {
            match fs::rename(numbered(n), numbered(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(self.log_path(), numbered(1))
    }
}

impl Lock {
    /// Locks a file, which is made where it is missing, or says who has it.
    pub fn take(path: &Path) -> Result<Self, StateError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|source| io_error(path, source))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read_to_string(path).unwrap_or_default();
                let holder = match holder.trim() {
                    "" => "process unknown".to_owned(),
                    pid => format!("process {pid}"),
                };
                return Err(StateError::Held { holder });
            }
            Err(TryLockError::Error(source)) => return Err(io_error(path, source)),
        }
        // For people who look; the lock itself is the kernel's.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(Self { _file: file })
    }
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
        reconcile::{Hold, What},
        units::Moment,
    };

    fn dir() -> (tempfile::TempDir, StateDir) {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir {
            path: dir.path().join("shop"),
        };
        (dir, state)
    }

    fn note() -> Note {
        Note {
            at: Moment::from_unix(1000),
            service: "web".into(),
            what: What::NothingServes,
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
                vec![("XDG_STATE_HOME", "/s"), ("COMPOSE_SCALE_STATE", "/x")],
                "/x",
            ),
        ] {
            let found = StateDir::locate(&env(&pairs), "shop");
            assert_eq!(found.path(), Path::new(expected));
        }
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
        let (_dir, state) = dir();
        let _lock = state.lock().unwrap();
        let memory = Memory {
            hold: Some(Hold {
                replicas: 4,
                until: Some(Moment::from_unix(5000)),
            }),
            ..Memory::default()
        };
        let services = BTreeMap::from([("web".to_owned(), memory)]);
        state.save(services.clone()).unwrap();
        assert_eq!(state.load().unwrap(), (services, None));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "damages a file on purpose")]
    fn a_damaged_file_is_set_aside_and_a_newer_one_is_left_alone() {
        let (_dir, state) = dir();
        let _lock = state.lock().unwrap();
        let path = state.path().join("state.json");
        fs::write(&path, "{\"version\":1,\"serv").unwrap();
        let (services, warning) = state.load().unwrap();
        assert!(services.is_empty());
        assert!(warning.unwrap().contains("was damaged"));
        fs::write(&path, "{\"version\":2}").unwrap();
        assert!(matches!(
            state.load(),
            Err(StateError::TooNew { found: 2, .. })
        ));
        assert!(path.exists());
    }

    #[test]
    fn the_log_is_one_json_line_per_note_and_is_rotated_by_size() {
        let (_dir, state) = dir();
        let _lock = state.lock().unwrap();
        state.record(&note()).unwrap();
        state.record(&note()).unwrap();
        let text = fs::read_to_string(state.log_path()).unwrap();
        assert_eq!(text.lines().count(), 2);
        let read: Note = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(read, note());

        let file = OpenOptions::new()
            .write(true)
            .open(state.log_path())
            .unwrap();
        file.set_len(LOG_LIMIT).unwrap();
        state.record(&note()).unwrap();
        assert_eq!(
            fs::read_to_string(state.log_path())
                .unwrap()
                .lines()
                .count(),
            1
        );
        assert!(state.path().join("scaling.log.1").exists());
    }
}
