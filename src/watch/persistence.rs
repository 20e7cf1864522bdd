//! Whatever outlives the run: the state directory, and the right to write there.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use tokio::task::{JoinSet, spawn_blocking};
use tracing::{info, warn};

use super::warn_once::{Topic, WarnOnce};
use crate::{
    decide::Input,
    project::{ContainerId, remembered_replica::Template},
    reconcile::{PersistedState, ScalingEvent, ServiceMachine},
    state::{Lock, ProjectLock, Recording, StateDir, StateError},
};

/// The right to act on a project of an Engine, whatever state directory others have.
#[derive(Debug)]
pub enum Claim {
    /// Nothing is done that needs it.
    NotNeeded,
    /// It is held; `None` where it could not be had for a reason that was said.
    Held(Option<ProjectLock>),
    /// The Engine could not be asked which one it is: as soon as it answers, and before anything is done.
    Due {
        /// The project.
        project: String,
        /// Why the Engine could not be asked.
        why: String,
    },
}

/// A change that must survive this run, counted from its start.
pub(super) type Change = u64;

/// The state directory and the locks of a run.
#[derive(Debug)]
pub(super) struct Persistence {
    /// `None` touches no file.
    state: Option<StateDir>,
    /// Whether this run keeps anything: one that only looks does not.
    keeps: bool,
    /// By service, as far as it is known: of the last run, then of this one.
    memory: BTreeMap<String, PersistedState>,
    /// Changes that must survive this run: the last one, that of the write under way, that on disk.
    changed: Change,
    writing: Change,
    saved: Change,
    /// The write under way.
    writer: JoinSet<Result<(), String>>,
    #[cfg(test)]
    gate: std::sync::Arc<tokio::sync::Semaphore>,
    locks: Vec<Lock>,
    claim: Claim,
    /// Why this run is over: somebody else holds the project now.
    ousted: Option<StateError>,
    /// Where the input of every decision is recorded.
    recording: Option<Recording>,
    /// Which replica of each service is remembered.
    remembered: BTreeMap<String, String>,
    /// Services of which one is being remembered: one after the other, as there is one file for each.
    remembering: BTreeSet<String>,
}

impl Persistence {
    /// `keeps` says whether this run keeps anything.
    pub(super) fn new(
        (state, keeps): (Option<StateDir>, bool),
        memory: BTreeMap<String, PersistedState>,
        (locks, claim): (Vec<Lock>, Claim),
        recording: Option<Recording>,
    ) -> Self {
        Self {
            state,
            keeps,
            memory,
            changed: 0,
            writing: 0,
            saved: 0,
            writer: JoinSet::new(),
            #[cfg(test)]
            gate: std::sync::Arc::new(tokio::sync::Semaphore::new(1)),
            locks,
            claim,
            ousted: None,
            recording,
            remembered: BTreeMap::new(),
            remembering: BTreeSet::new(),
        }
    }

    /// What is remembered of a service.
    pub(super) fn memory(&self, service: &str) -> Option<&PersistedState> {
        self.memory.get(service)
    }

    /// The project whose right to act is still to be taken, and why it could not be.
    pub(super) fn claim_due(&self) -> Option<(&str, &str)> {
        match &self.claim {
            Claim::Due { project, why } => Some((project, why)),
            Claim::NotNeeded | Claim::Held(_) => None,
        }
    }

    /// The right to act was taken, or is somebody else's.
    pub(super) fn claimed(&mut self, result: Result<Option<ProjectLock>, StateError>) {
        match result {
            Ok(lock) => self.claim = Claim::Held(lock),
            Err(error) => self.ousted = Some(error),
        }
    }

    /// Why somebody else holds the project now, where that is so.
    pub(super) fn take_ousted(&mut self) -> Option<StateError> {
        self.ousted.take()
    }

    /// Whoever removes the state directory, or its lock, lets another process in: the lock is taken
    /// again, and when somebody was faster this run is over.
    pub(super) fn check_locks(&mut self, complaints: &mut WarnOnce) {
        if let Claim::Held(Some(lock)) = &self.claim {
            lock.dismiss_callers();
        }
        for lock in &mut self.locks {
            match lock.renew() {
                Ok(false) => {}
                Ok(true) => {
                    complaints.settle(Topic::Lock);
                    warn!(
                        "{} was removed; it is restored, with the state of this run",
                        lock.path().display()
                    );
                }
                Err(error @ StateError::Held { .. }) => self.ousted = Some(error),
                Err(error) => {
                    let why = error.to_string();
                    if complaints.raise(Topic::Lock, &why) {
                        warn!(
                            error = why,
                            "the lock was removed and cannot be taken again; another `watch` could start beside this one"
                        );
                    }
                }
            }
        }
    }

    /// Something happened that must survive this run.
    pub(super) fn touch(&mut self) {
        if self.keeps && self.state.is_some() {
            self.changed += 1;
        }
    }

    /// The last change, while it is not on disk: whatever rests on it waits until it is.
    pub(super) fn unsaved(&self) -> Option<Change> {
        (self.changed > self.saved).then_some(self.changed)
    }

    /// Whether a write has to begin for it.
    pub(super) fn is_due(&self) -> bool {
        self.writer.is_empty() && self.unsaved().is_some()
    }

    /// Whether a write is under way.
    pub(super) fn is_writing(&self) -> bool {
        !self.writer.is_empty()
    }

    /// Takes from the machines what the next run should know.
    fn recollect(&mut self, machines: &IndexMap<String, ServiceMachine>) {
        for (name, machine) in machines {
            let memory = machine.memory();
            if machine.desired().is_some() {
                self.memory.insert(name.clone(), memory);
            } else if memory.paused != self.memory.get(name).and_then(|before| before.paused) {
                // Of the rest it knows less than what is remembered.
                self.memory.entry(name.clone()).or_default().paused = memory.paused;
            }
        }
    }

    /// What the next run should know of this one.
    pub(super) fn into_memory(
        mut self,
        machines: &IndexMap<String, ServiceMachine>,
    ) -> BTreeMap<String, PersistedState> {
        self.recollect(machines);
        self.memory
    }

    /// Begins to save what the next run should know, beside the loop. One write is under way at a time:
    /// what changes meanwhile goes into the next one, which has the newest state of all.
    pub(super) fn begin_to_save(&mut self, machines: &IndexMap<String, ServiceMachine>) {
        if !self.keeps || self.state.is_none() || self.is_writing() {
            return;
        }
        self.recollect(machines);
        let Some(state) = self.state.clone() else {
            return;
        };
        let memory = self.memory.clone();
        self.writing = self.changed;
        #[cfg(test)]
        let gate = std::sync::Arc::clone(&self.gate);
        self.writer.spawn(async move {
            #[cfg(test)]
            let _permit = gate.acquire().await;
            match spawn_blocking(move || state.save(memory)).await {
                Ok(result) => result.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            }
        });
    }

    /// Waits for the end of the write that is under way; for ever where none is.
    pub(super) async fn written(&mut self) -> Result<(), String> {
        match self.writer.join_next().await {
            Some(Ok(result)) => result,
            Some(Err(error)) => Err(error.to_string()),
            None => std::future::pending().await,
        }
    }

    /// A write has ended. One that failed is tried again at the next tick, and nothing waits for that.
    pub(super) fn end_to_save(&mut self, result: Result<(), String>, complaints: &mut WarnOnce) {
        self.saved = self.writing;
        match result {
            Ok(()) => {
                if complaints.settle(Topic::Memory) {
                    info!("holds and history are saved again");
                }
            }
            Err(why) => {
                if complaints.raise(Topic::Memory, &why) {
                    warn!(
                        error = why,
                        "cannot save holds and history: a restart would lose them"
                    );
                }
            }
        }
    }

    /// Whether everything up to this change is on disk, or cannot be.
    pub(super) fn is_saved(&self, change: Change) -> bool {
        change <= self.saved
    }

    /// Holds writes up while it has no permits.
    #[cfg(test)]
    pub(super) fn gate(&self) -> std::sync::Arc<tokio::sync::Semaphore> {
        std::sync::Arc::clone(&self.gate)
    }

    /// Adds an event to `scaling.log`.
    pub(super) fn record_event(&self, note: &ScalingEvent, complaints: &mut WarnOnce) {
        let Some(state) = self.state.as_ref().filter(|_| self.keeps) else {
            return;
        };
        let result = state.record(note);
        if matches!(result, Ok(()) | Err(StateError::Unrotated { .. }))
            && complaints.settle(Topic::History)
        {
            info!("events are recorded again");
        }
        match result {
            Ok(()) => {
                if complaints.settle(Topic::Rotation) {
                    info!("scaling.log is rotated again");
                }
            }
            Err(error) => {
                let why = error.to_string();
                let (topic, said) = match error {
                    StateError::Unrotated { .. } => {
                        (Topic::Rotation, "scaling.log is not rotated and grows")
                    }
                    _ => (Topic::History, "events are not recorded"),
                };
                if complaints.raise(topic, &why) {
                    warn!(error = why, "{said}");
                }
            }
        }
    }

    /// Records the input of a decision, where that was asked for. Scaling goes on whether that works or
    /// not.
    pub(super) fn record_decision(&self, input: &Input, complaints: &mut WarnOnce) {
        let Some(recording) = &self.recording else {
            return;
        };
        let file = recording.path().display();
        match recording.append(input) {
            Ok(()) => {
                if complaints.settle(Topic::Recording) {
                    info!("decisions are recorded in {file} again");
                }
            }
            Err(error) => {
                let why = format!("{file}: {error}");
                if complaints.raise(Topic::Recording, &why) {
                    warn!(error = why, "decisions are not recorded");
                }
            }
        }
    }

    /// The remembered configuration of a service's replicas.
    pub(super) fn template(&self, service: &str) -> Option<Template> {
        let state = self.state.as_ref()?;
        state.template(service).unwrap_or_else(|error| {
            warn!(service, %error, "cannot read the remembered configuration");
            None
        })
    }

    /// The replicas to remember now, each as the one that stands for its service, and where: another one
    /// than before.
    pub(super) fn begin_to_remember(
        &mut self,
        machines: &IndexMap<String, ServiceMachine>,
    ) -> Vec<(String, ContainerId, StateDir)> {
        let Some(state) = self.state.as_ref().filter(|_| self.keeps) else {
            return Vec::new();
        };
        let mut new = Vec::new();
        for (service, machine) in machines {
            let Some(replica) = machine.exemplar() else {
                continue;
            };
            let key = format!(
                "{} {:?} {:?}",
                replica.id.0,
                replica.limits,
                replica.addresses.keys()
            );
            let other = self.remembered.get(service) != Some(&key);
            if other && !self.remembering.contains(service) {
                self.remembered.insert(service.clone(), key);
                self.remembering.insert(service.clone());
                new.push((service.clone(), replica.id.clone(), state.clone()));
            }
        }
        new
    }

    /// A replica of a service was remembered, or not.
    pub(super) fn end_to_remember(&mut self, service: &str) {
        self.remembering.remove(service);
    }

    /// All are to be remembered anew: they may have become others meanwhile.
    pub(super) fn forget_remembered(&mut self) {
        self.remembered.clear();
    }
}
