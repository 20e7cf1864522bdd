//! Operations on containers that are in progress: our own, and those of somebody else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::task::AbortHandle;

use super::replica_ops::Starts;
use crate::{
    engine::{ContainerAction, EngineEvent},
    project::ContainerId,
    units::Timestamp,
};

/// Events of what we did may come this late.
const LATE: Duration = Duration::from_secs(5);
/// A container that takes longer than this to stop is no longer waited for.
const LONGEST_STOP: Duration = Duration::from_secs(300);

/// What an event shows of a stop by somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForeignStop {
    /// Nothing.
    No,
    /// Somebody has asked a container to stop, and waits for it.
    Begun,
    /// Somebody has killed a container that comes up.
    Killed,
    /// A container has stopped that somebody had asked to.
    Ended,
}

/// Steps, probes and stops that are not over.
#[derive(Debug)]
pub(super) struct Operations {
    /// Names and ids of containers whose events are of our own making; those that are done with a
    /// moment until which late events may come.
    own: BTreeMap<String, Option<Timestamp>>,
    /// Containers that somebody else has told to stop and that have not yet.
    stopping: BTreeMap<ContainerId, Timestamp>,
    /// Those that have, and when.
    stopped: BTreeMap<ContainerId, Timestamp>,
    probes: BTreeMap<ContainerId, AbortHandle>,
    starts: Arc<Starts>,
    steps: usize,
}

impl Operations {
    /// With so many starts at once.
    pub(super) fn new(starts_at_once: u32) -> Self {
        Self {
            own: BTreeMap::new(),
            stopping: BTreeMap::new(),
            stopped: BTreeMap::new(),
            probes: BTreeMap::new(),
            starts: Arc::new(Starts::new(starts_at_once.max(1))),
            steps: 0,
        }
    }

    pub(super) fn starts(&self) -> Arc<Starts> {
        Arc::clone(&self.starts)
    }

    /// A step begins that ends with a message.
    pub(super) fn begin_step(&mut self) {
        self.steps += 1;
    }

    pub(super) fn end_step(&mut self) {
        self.steps = self.steps.saturating_sub(1);
    }

    /// Whether no step is in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.steps == 0
    }

    /// From now on events of this container, by name or id, are of our own making.
    pub(super) fn begin(&mut self, container: String) {
        self.own.insert(container, None);
    }

    /// That is over, but for events that come late.
    pub(super) fn finish(&mut self, container: String, now: Timestamp) {
        self.own.insert(container, Some(now + LATE));
    }

    /// Forgets those of which no event comes any more.
    pub(super) fn forget_finished(&mut self, now: Timestamp) {
        self.own
            .retain(|_, until| until.is_none_or(|until| until > now));
    }

    /// Whether an event is of our own making.
    pub(super) fn is_own(&self, event: &EngineEvent) -> bool {
        // A name is that of one that is being made: whoever ends that is somebody else.
        let ends = matches!(
            event.action,
            ContainerAction::Kill(_) | ContainerAction::Die(_) | ContainerAction::Stop
        );
        self.own.contains_key(&event.id.0) || !ends && self.own.contains_key(&event.name)
    }

    /// Whether one of our own steps is at work on its container.
    pub(super) fn is_in_the_making(&self, event: &EngineEvent) -> bool {
        [&event.id.0, &event.name]
            .into_iter()
            .any(|key| self.own.get(key) == Some(&None))
    }

    /// What is gone makes no further events; a new container of that name is another one.
    pub(super) fn removed(&mut self, event: &EngineEvent) {
        self.own.remove(&event.id.0);
        self.own.remove(&event.name);
    }

    /// Follows the stops of somebody else.
    pub(super) fn follow_stop(
        &mut self,
        event: &EngineEvent,
        is_own: bool,
        is_coming_up: impl Fn(&ContainerId) -> bool,
        now: Timestamp,
    ) -> ForeignStop {
        match &event.action {
            ContainerAction::Kill(signal) if !is_own && ends(signal) => {
                self.stopping.insert(event.id.clone(), now);
                ForeignStop::Begun
            }
            // One that serves has died then, whoever did it; one that comes up has not failed.
            ContainerAction::Kill(signal)
                if !is_own && kills(signal) && is_coming_up(&event.id) =>
            {
                self.stopping.insert(event.id.clone(), now);
                ForeignStop::Killed
            }
            ContainerAction::Die(_) | ContainerAction::Stop | ContainerAction::Destroy
                if self.stopping.remove(&event.id).is_some() =>
            {
                self.stopped.insert(event.id.clone(), now);
                ForeignStop::Ended
            }
            _ => ForeignStop::No,
        }
    }

    /// Whether somebody else is still stopping a container; called now and then.
    pub(super) fn foreign_stop_lasts(&mut self, now: Timestamp) -> bool {
        let lately = |_: &ContainerId, since: &mut Timestamp| now.since(*since) < LONGEST_STOP;
        self.stopping.retain(lately);
        self.stopped.retain(lately);
        !self.stopping.is_empty()
    }

    /// Whether somebody else has stopped a container that was not known; asked once.
    pub(super) fn was_stopped(&mut self, id: &ContainerId) -> bool {
        self.stopped.remove(id).is_some()
    }

    /// A replica is looked at by this task, and by no earlier one.
    pub(super) fn probe(&mut self, id: ContainerId, task: AbortHandle) {
        if let Some(before) = self.probes.insert(id, task) {
            before.abort();
        }
    }

    pub(super) fn end_probe(&mut self, id: &ContainerId) {
        if let Some(probe) = self.probes.remove(id) {
            probe.abort();
        }
    }

    pub(super) fn end_probes(&mut self) {
        for probe in std::mem::take(&mut self.probes).into_values() {
            probe.abort();
        }
    }

    /// Moments of before say nothing any more.
    pub(super) fn clock_jumped(&mut self, now: Timestamp) {
        for until in self.own.values_mut() {
            *until = until.map(|_| now + LATE);
        }
        for since in self.stopping.values_mut().chain(self.stopped.values_mut()) {
            *since = now;
        }
        self.end_probes();
    }
}

/// Whether a signal asks a process to end. A `kill -9` is over at once and needs no waiting for.
fn ends(signal: &str) -> bool {
    matches!(
        signal.trim_start_matches("SIG"),
        "15" | "TERM" | "2" | "INT" | "3" | "QUIT"
    )
}

fn kills(signal: &str) -> bool {
    matches!(signal.trim_start_matches("SIG"), "9" | "KILL")
}
