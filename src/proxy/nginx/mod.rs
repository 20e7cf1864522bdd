//! nginx behind the trait: files are written, tested, put into effect, and seen to be in effect.
//!
//! The order of a publish is: note what was good, write what differs, `nginx -t`, on a refusal put
//! back what it is about, hang up the master, and watch its workers until a new one is there and no
//! old one takes requests. A hangup itself always succeeds, whatever nginx makes of it.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{sync::Mutex, time::sleep};

mod access;
mod change_set;
mod command;
mod config_dump;
mod control;
mod diagnostics;
mod host;
mod instances;
mod loaded_config;
mod publish;
mod upstream_dir;
mod workers;

pub use access::{NginxAccess, NginxAnswer};
pub use control::{CommandOutput, Control, ControlError, Fleet, NginxProcess, Only};
pub use host::HostNginx;

use super::{DrainToken, Features, Proxy, ProxyError, PublishResult, Upstream, read_back};
use diagnostics::{first_error, last_line};
use instances::bounded;
use publish::PublishMemory;
use upstream_dir::Shelf;

/// Between two looks at workers that have requests in flight, at first and in the long run.
const DRAIN_LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_millis(250));
/// Looks in a row that may fail before a drain is given up.
const DRAIN_FAILURES: u32 = 5;

/// What it has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NginxSetup {
    /// The project, which the files name as their owner.
    pub project: String,
    /// The directory of the files on this host; absolute.
    pub directory: PathBuf,
    /// Where the two commands run; absolute.
    pub working_dir: PathBuf,
    /// A command on this host instead of `nginx -t` in the container.
    pub test: Option<Vec<String>>,
    /// A command on this host instead of the hangup.
    pub reload: Option<Vec<String>>,
    /// How long a reload may take to show.
    pub confirm_within: Duration,
    /// What to type so that nginx sees a directory that was made anew.
    pub refresh: String,
    /// The log that load is read from, as nginx sees it.
    pub log: Option<String>,
}

impl NginxSetup {
    /// With the built-in test and reload.
    pub fn new(project: impl Into<String>, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        Self {
            project: project.into(),
            working_dir: directory.clone(),
            directory,
            test: None,
            reload: None,
            confirm_within: Duration::from_secs(10),
            refresh: "docker compose up -d --no-deps --force-recreate nginx".into(),
            log: None,
        }
    }
}

/// When the directory was last another one, or had other entries.
type DirectoryStamp = Option<(u64, u64, i64, i64)>;

/// Every nginx whose upstreams are ours.
#[derive(Debug)]
pub struct NginxProxy<F> {
    fleet: F,
    setup: NginxSetup,
    /// One publish at a time.
    memory: Mutex<PublishMemory>,
    /// One look at the files at a time: the file work of a publish that was given up goes on for a
    /// moment, and the next one must see what it leaves.
    shelf: Arc<std::sync::Mutex<Shelf>>,
    /// As the last publish left the directory.
    left: std::sync::Mutex<DirectoryStamp>,
    /// Why the nginx that runs does not write the log, as of the last publish that succeeded.
    log_refused: std::sync::Mutex<Option<String>>,
}

impl<F: Fleet> Proxy for NginxProxy<F> {
    async fn publish(&self, upstreams: &[Upstream]) -> Result<PublishResult, ProxyError> {
        let mut memory = self.memory.lock().await;
        let result = self.bring_in_step(&mut memory, upstreams).await;
        if result.is_ok() {
            let mut refused = self
                .log_refused
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            refused.clone_from(&memory.log_refused);
        }
        let stamp = self.stamp();
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        result
    }

    async fn prepare(&self) {
        let mut memory = self.memory.lock().await;
        // Whoever publishes hears what is wrong.
        let _ = self.assemble(&mut memory).await;
    }

    async fn drained(&self, published: &PublishResult) -> Result<(), ProxyError> {
        let (mut pause, longest) = DRAIN_LOOK;
        let mut failures = 0;
        let DrainToken(old_workers) = &published.draining;
        while !old_workers.is_empty() {
            match self.left_of(old_workers).await {
                Ok(0) => break,
                Ok(_) => failures = 0,
                Err(error) => {
                    failures += 1;
                    if failures == DRAIN_FAILURES {
                        return Err(unreachable(&error));
                    }
                }
            }
            sleep(pause).await;
            pause = longest.min(pause * 5 / 4);
        }
        Ok(())
    }

    fn is_as_written(&self, upstreams: &[Upstream]) -> bool {
        // Somebody is at the files at this moment.
        let Ok(free) = self.shelf.try_lock() else {
            return false;
        };
        free.read()
            .is_ok_and(|there| !there.unfinished && read_back::asks_for(&there.ours, upstreams))
    }

    fn disturbed(&self) -> bool {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.is_some() && left != self.stamp()
    }

    fn nginx(&self) -> Option<&dyn NginxAccess> {
        Some(self)
    }
}

impl<F: Fleet> NginxAccess for NginxProxy<F> {
    fn configurations(&self) -> NginxAnswer<'_, Vec<(String, String)>> {
        Box::pin(self.dumps())
    }

    fn reopen_logs(&self) -> NginxAnswer<'_, Result<(), ProxyError>> {
        Box::pin(self.reopen())
    }

    fn log_refused(&self) -> Option<String> {
        let refused = self.log_refused.lock();
        refused.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<F: Fleet> NginxProxy<F> {
    /// Those that `fleet` names.
    pub fn new(fleet: F, setup: NginxSetup) -> Self {
        let shelf = Shelf::new(
            setup.directory.clone(),
            setup.project.clone(),
            setup.log.clone(),
        );
        Self {
            fleet,
            setup,
            memory: Mutex::default(),
            shelf: Arc::new(std::sync::Mutex::new(shelf)),
            left: std::sync::Mutex::default(),
            log_refused: std::sync::Mutex::default(),
        }
    }

    /// Which they are and how they are reached.
    pub fn fleet(&self) -> &F {
        &self.fleet
    }

    async fn dumps(&self) -> Vec<(String, String)> {
        let all = self.fleet.all().unwrap_or_default();
        let asked = join_all(all.iter().map(|control| dump(&**control))).await;
        let names = all.iter().map(|control| control.name());
        names
            .zip(asked)
            .filter_map(|(name, dump)| Some((name, dump.ok()?)))
            .collect()
    }

    async fn reopen(&self) -> Result<(), ProxyError> {
        let all = self.fleet.all().unwrap_or_default();
        let argv = ["nginx", "-s", "reopen"].map(str::to_owned);
        let asked = join_all(all.iter().map(|control| bounded(control.run(&argv)))).await;
        for answer in asked {
            match answer {
                Ok(output) if output.code != 0 => {
                    return Err(ProxyError::Unreachable {
                        why: format!("`{}` failed: {}", argv.join(" "), first_error(&output)),
                    });
                }
                Ok(_) | Err(ControlError::NotRunning) => {}
                Err(error) => return Err(unreachable(&error)),
            }
        }
        Ok(())
    }

    /// What all that run now can do.
    pub async fn features(&self) -> Result<Features, ProxyError> {
        let mut memory = self.memory.lock().await;
        let crew = self.assemble(&mut memory).await?;
        if crew.members.is_empty() {
            return Err(unreachable(&ControlError::NotRunning));
        }
        Ok(crew.features())
    }

    /// How many of these workers have not ended.
    async fn left_of(&self, old: &[u32]) -> Result<usize, ControlError> {
        let away = || ControlError::Failed {
            why: "the Docker Engine does not answer".into(),
        };
        let mut left = 0;
        for control in self.fleet.all().ok_or_else(away)? {
            match instances::workers(&*control).await {
                Ok(workers) => left += workers.left_of(old),
                // What has ended has nothing in flight.
                Err(ControlError::NotRunning) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(left)
    }

    fn stamp(&self) -> DirectoryStamp {
        let meta = fs::metadata(&self.setup.directory).ok()?;
        Some((meta.dev(), meta.ino(), meta.mtime(), meta.mtime_nsec()))
    }

    /// Does file work where waiting for a disk blocks nobody.
    async fn on_shelf<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shelf) -> Result<T, ProxyError> + Send + 'static,
    ) -> Result<T, ProxyError> {
        let shared = Arc::clone(&self.shelf);
        let work = move || work(&shared.lock().unwrap_or_else(PoisonError::into_inner));
        let done = tokio::task::spawn_blocking(work).await;
        done.unwrap_or_else(|error| {
            Err(ProxyError::Unwritable {
                path: self.setup.directory.clone(),
                why: error.to_string(),
            })
        })
    }
}

/// The whole configuration of one nginx, for
/// [`Configuration::parse`](super::inspect::Configuration::parse). One that it refuses is
/// [`ProxyError::Rejected`].
pub async fn dump<C: Control>(control: &C) -> Result<String, ProxyError> {
    let output = instances::dump(control)
        .await
        .map_err(|e| unreachable(&e))?;
    match output.code {
        0 => Ok(output.stdout),
        126 | 127 => Err(ProxyError::Unreachable {
            why: format!("`nginx -T` cannot be run there: {}", last_line(&output)),
        }),
        _ => Err(ProxyError::Rejected {
            message: first_error(&output),
        }),
    }
}

/// What one nginx can do.
pub async fn features<C: Control>(control: &C) -> Result<Features, ProxyError> {
    instances::features(control)
        .await
        .map_err(|e| unreachable(&e))
}

fn unreachable(error: &ControlError) -> ProxyError {
    unreachable_as(error, error.to_string())
}

fn unreachable_as(error: &ControlError, why: String) -> ProxyError {
    match error {
        ControlError::NotRunning | ControlError::NotRun { .. } => ProxyError::NotRunning { why },
        ControlError::NoProgram { .. } => ProxyError::NoProgram { why },
        _ => ProxyError::Unreachable { why },
    }
}

#[cfg(test)]
mod tests;
