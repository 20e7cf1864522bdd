//! nginx behind the trait: files are written, tested, put into effect, and seen to be in effect.
//!
//! The order of a publish is: note what was good, write what differs, `nginx -t`, on a refusal put
//! back what it is about, hang up the master, and watch its workers until a new one is there and no
//! old one takes requests. A hangup itself always succeeds, whatever nginx makes of it.

use std::{
    collections::{BTreeMap, BTreeSet},
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
mod upstream_dir;
mod workers;

pub use access::{NginxAccess, NginxAnswer};
pub use control::{CommandOutput, Control, ControlError, Fleet, NginxProcess, Only};
pub use host::HostNginx;

use super::{DrainToken, Features, Proxy, ProxyError, PublishResult, Upstream, read_back};
use change_set::ChangeSet;
use diagnostics::{first_error, last_line};
use instances::{Instance, Instances, bounded};
use loaded_config::Sight;
use upstream_dir::{Contents, Shelf};

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

/// What is known of one nginx, by its identity.
#[derive(Debug, Clone, Copy)]
struct InstanceRecord {
    /// Whether it runs what is in the files.
    current: bool,
    /// Whether it has shown that it reads the directory that is there now.
    sees: bool,
    /// Whether it ever has.
    saw: bool,
}

/// What is known from one publish to the next.
#[derive(Debug, Default)]
struct PublishMemory {
    /// Whether there was a publish: an nginx that is new after that may have read the files of
    /// before one.
    begun: bool,
    known: BTreeMap<String, InstanceRecord>,
    /// What each can do, by its identity.
    features: BTreeMap<String, Features>,
    /// Whether it is known of each, and not only of the files, if it runs them: a publish of this
    /// program left some behind.
    counted: bool,
    /// Why the nginx that runs does not write the log.
    log_refused: Option<String>,
    /// Device and inode of the directory.
    place: Option<(u64, u64)>,
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
            let refused = self.log_refused.lock();
            *refused.unwrap_or_else(PoisonError::into_inner) = memory.log_refused.clone();
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

    async fn bring_in_step(
        &self,
        memory: &mut PublishMemory,
        upstreams: &[Upstream],
    ) -> Result<PublishResult, ProxyError> {
        let mut crew = self.assemble(memory).await?;
        let there = self.on_shelf(Shelf::read).await?;
        if let Some(why) = &there.distrusted {
            tracing::warn!(
                "{} is ignored, because others can have written it: {why}; `compose-scale check` \
                 tells who can write to that directory",
                self.on_shelf(|shelf| Ok(shelf.path(&shelf.undo())))
                    .await?
                    .display()
            );
        }
        let place = self.stamp().map(|(device, inode, ..)| (device, inode));
        if std::mem::replace(&mut memory.place, place) != place {
            memory
                .known
                .values_mut()
                .for_each(|known| known.sees = false);
        }
        let setup = &self.setup;
        let is_new = |member: &Instance<F::One>| !memory.known.contains_key(&member.identity);
        if crew.members.iter().any(is_new) {
            memory.log_refused = None;
        }
        let log = setup
            .log
            .as_deref()
            .filter(|_| memory.log_refused.is_none());
        // Nothing that nginx has not tested may keep it from starting.
        let is_there = |log: &&str| {
            let http = there.good.get(crate::proxy::render::HTTP);
            http.is_some_and(|text| text.contains(&format!("access_log {log} ")))
        };
        let log = log.filter(|log| !crew.members.is_empty() || is_there(log));
        let features = crew.features();
        let mut draft = ChangeSet::new(
            &setup.project,
            upstreams,
            &features,
            &there,
            (&setup.directory, log),
        )?;
        if crew.members.is_empty() {
            memory.begun = true;
            return Err(self.leave_for_later(&draft, there).await);
        }
        for member in &crew.members {
            let first = !memory.begun && !there.unfinished;
            memory
                .known
                .entry(member.identity.clone())
                .or_insert(InstanceRecord {
                    current: first,
                    sees: false,
                    saw: false,
                });
        }
        memory.begun = true;
        let in_doubt = there.unfinished && (there.untested || !memory.counted);
        let due = in_doubt || memory.known.values().any(|known| !known.current);
        let mut reloaded = false;
        if !due && draft.changed_from(&there.ours).is_empty() {
            self.look(&mut crew, memory, &mut draft).await?;
        } else if self
            .accept(memory, &mut crew, &mut draft, &there, due)
            .await?
        {
            reloaded = true;
            if in_doubt || !draft.changed_from(&there.ours).is_empty() {
                let known = memory.known.values_mut();
                known.for_each(|known| known.current = false);
            }
            memory.counted = true;
            let behind = memory.known.iter().filter(|(_, known)| !known.current);
            let behind: BTreeSet<String> = behind.map(|(identity, _)| identity.clone()).collect();
            for identity in crew.reload(setup, &behind).await {
                if let Some(known) = memory.known.get_mut(&identity) {
                    known.current = true;
                }
            }
        }
        if let Some(why) = draft.log_refused() {
            memory.log_refused = Some(why.to_owned());
        }
        if let Some(error) = crew.lost.first() {
            return Err(error.clone());
        }
        let mut old_workers = BTreeSet::new();
        if reloaded || there.unfinished {
            self.on_shelf(Shelf::in_effect).await?;
        }
        if reloaded {
            for member in &crew.members {
                old_workers.extend(member.before.all());
            }
        } else {
            for member in &crew.members {
                let workers = instances::workers(&*member.control).await;
                let workers = workers.map_err(|e| crew.error_of(&member.control, &e))?;
                old_workers.extend(workers.leaving);
            }
        }
        let changed = draft.changed_from(&there.ours);
        Ok(PublishResult {
            refused: draft.refusals(&changed)?,
            changed,
            reloaded,
            draining: DrainToken(old_workers.into_iter().collect()),
        })
    }

    /// Every nginx that runs, with what it can do. Fails when none can be asked.
    async fn assemble(&self, memory: &mut PublishMemory) -> Result<Instances<F::One>, ProxyError> {
        let unknown = || ProxyError::Unreachable {
            why: "the Docker Engine does not answer".into(),
        };
        let all = self.fleet.all().ok_or_else(unknown)?;
        let mut crew = Instances {
            members: Vec::new(),
            lost: Vec::new(),
            several: all.len() > 1,
        };
        let asked = join_all(all.iter().map(|control| self.probe(control, memory))).await;
        for (control, asked) in all.iter().zip(asked) {
            match asked {
                Ok((identity, features)) => crew.members.push(Instance {
                    control: Arc::clone(control),
                    identity,
                    features,
                    view: None,
                    before: workers::Workers::default(),
                }),
                Err(ControlError::NotRunning) => {}
                Err(error) => crew.lost.push(crew.error_of(control, &error)),
            }
        }
        let is_there = |identity: &String| crew.members.iter().any(|m| m.identity == *identity);
        memory.known.retain(|identity, _| is_there(identity));
        memory.features = crew
            .members
            .iter()
            .map(|member| (member.identity.clone(), member.features))
            .collect();
        match crew.lost.first() {
            Some(error) if crew.members.is_empty() => Err(error.clone()),
            _ => Ok(crew),
        }
    }

    async fn probe(
        &self,
        control: &F::One,
        memory: &PublishMemory,
    ) -> Result<(String, Features), ControlError> {
        let identity = bounded(control.identity()).await?;
        let features = match memory.features.get(&identity) {
            Some(features) => *features,
            None => instances::features(control).await?,
        };
        Ok((identity, features))
    }

    /// Writes the files and gets them past the test of every nginx, without those that one refuses.
    /// Returns whether a reload is needed: always when one is `due` without a change.
    async fn accept(
        &self,
        memory: &mut PublishMemory,
        crew: &mut Instances<F::One>,
        draft: &mut ChangeSet,
        there: &Contents,
        due: bool,
    ) -> Result<bool, ProxyError> {
        loop {
            let (texts, good) = (draft.texts(), there.good.clone());
            self.on_shelf(move |shelf| shelf.write(&texts, &good))
                .await?;
            let verdict = crew.test(&self.setup).await;
            let needed = due || !draft.changed_from(&there.ours).is_empty();
            let result = match verdict {
                Ok(None) if needed => {
                    // What it does not read it has not tested either, so the last good texts are
                    // still remembered when it does.
                    self.hold_against(memory, crew, draft)?;
                    self.on_shelf(Shelf::accepted).await?;
                    return Ok(true);
                }
                Ok(Some(message)) if draft.hold_back(&message) => continue,
                Ok(Some(message)) => Err(ProxyError::Rejected {
                    message: format!("{message} (also without this change)"),
                }),
                Err(error) => Err(error),
                Ok(None) => Ok(false),
            };
            let (texts, good) = (draft.texts(), there.good.clone());
            self.on_shelf(move |shelf| shelf.roll_back(&texts, &good))
                .await?;
            return result;
        }
    }

    /// Asks those that have not shown yet that they read the directory, although there is nothing
    /// to reload.
    async fn look(
        &self,
        crew: &mut Instances<F::One>,
        memory: &mut PublishMemory,
        draft: &mut ChangeSet,
    ) -> Result<(), ProxyError> {
        let unsure = crew
            .members
            .iter_mut()
            .filter(|m| !memory.known[&m.identity].sees);
        join_all(unsure.map(async |member| {
            // A configuration that is broken by now is what it does not run: not our concern.
            if let Ok(output) = instances::dump(&*member.control).await
                && output.code == 0
            {
                member.view = Some(loaded_config::LoadedConfig::parse(&output.stdout));
            }
        }))
        .await;
        self.hold_against(memory, crew, draft)
    }

    /// Refuses every service whose file some nginx does not show as it is on this host.
    fn hold_against(
        &self,
        memory: &mut PublishMemory,
        crew: &Instances<F::One>,
        draft: &mut ChangeSet,
    ) -> Result<(), ProxyError> {
        for member in &crew.members {
            let (Some(view), Some(known)) = (&member.view, memory.known.get_mut(&member.identity))
            else {
                continue;
            };
            let seen = draft.compare(|name, text| view.of(name, text));
            for (service, name, sight) in &seen.amiss {
                let which = if crew.several {
                    format!("{}: ", member.control.name())
                } else {
                    String::new()
                };
                let why = if known.saw || *sight == Sight::Old || seen.any_old {
                    format!(
                        "{which}its directory was replaced after nginx started, and nginx goes on \
                         reading the one of before; run `{}`",
                        self.setup.refresh
                    )
                } else {
                    format!(
                        "{which}it is not included at http level, or its directory is not mounted or \
                         was replaced after nginx started; `compose-scale check` says which"
                    )
                };
                let path = self.setup.directory.join(name);
                draft.unseen(service, ProxyError::Unseen { path, why });
            }
            known.sees = seen.amiss.is_empty();
            known.saw |= known.sees;
        }
        draft.none_is_seen()
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

    /// nginx is not there: it shall find the right addresses when it starts, because those of
    /// before may belong to somebody else by then.
    async fn leave_for_later(&self, draft: &ChangeSet, there: Contents) -> ProxyError {
        if !draft.changed_from(&there.ours).is_empty() {
            let texts = draft.texts();
            let written = self
                .on_shelf(move |shelf| shelf.write(&texts, &there.good))
                .await;
            if let Err(error) = written {
                return error;
            }
        }
        unreachable(&ControlError::NotRunning)
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
