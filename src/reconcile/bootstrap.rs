//! A service that has no replica left: when a first one is made anew, and when somebody wants it gone.

use std::time::Duration;

use super::{
    BootstrapError, BootstrappedReplica, Effect, EventKind, ServiceMachine, managed_replica::Phase,
};
use crate::{
    plan::selection,
    project::{ContainerId, ContainerState, Replica},
    units::Timestamp,
};

/// `docker rm -f` ends a process and removes its container in one go; what has lain there for longer
/// when it is removed was removed by somebody who saw it.
const IN_ONE_GO: Duration = Duration::from_secs(5);

/// The making of a first replica.
#[derive(Debug, Default)]
pub(super) struct Bootstrap {
    /// It is being made since then.
    since: Option<Timestamp>,
    /// Whether one may be made: nobody has stopped the service, or somebody wants it.
    pub(super) wanted: bool,
}

impl Bootstrap {
    pub(super) fn is_under_way(&self) -> bool {
        self.since.is_some()
    }

    /// Nothing is known any more.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
}

impl ServiceMachine {
    /// Says that somebody is about to ask for a count, so that a service without a container is not
    /// taken for one that was taken down, and the count that was held before is not gone back to.
    pub fn expect_a_count(&mut self) {
        self.bootstrap.wanted = true;
        self.hold = None;
    }

    /// The replica that is worth remembering: another one can be made like it.
    pub fn exemplar(&self) -> Option<&Replica> {
        let standings: Vec<_> = self
            .members
            .values()
            .filter(|m| m.fresh.is_none() && m.replica.state != ContainerState::Created)
            .map(|m| self.standing(m))
            .collect();
        selection::template(&standings)
    }

    pub(super) fn found(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.bootstrap.is_under_way() {
            return;
        }
        self.bootstrap.since = Some(now);
        out.push(self.note(EventKind::Founding, now));
        out.push(Effect::Found {
            number: self.taken.last().map_or(1, |highest| highest + 1),
        });
    }

    pub(super) fn on_founded(
        &mut self,
        result: Result<BootstrappedReplica, BootstrapError>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(since) = self.bootstrap.since.take() else {
            return;
        };
        match result {
            Ok(founded) => {
                self.bootstrap.wanted = false;
                let replica = founded.replica.name.clone();
                let how = founded.how;
                out.push(self.note(EventKind::Founded { replica, how }, now));
                self.arrived(*founded.replica, since, now, out);
            }
            Err(BootstrapError::NoWay(why)) => {
                self.bootstrap.wanted = false;
                let (service, up) = (&self.setup.service, &self.setup.up);
                let why = format!(
                    "{service} has no container and cannot get one here: {why}; run `{up}`"
                );
                out.push(self.note(EventKind::Standstill { why: why.clone() }, now));
                self.standstill = Some(why);
                self.moving = None;
            }
            Err(BootstrapError::Failed(why)) => {
                let replica = format!("the first replica of {}", self.setup.service);
                self.attempt_failed(replica, why, Vec::new(), now, out);
            }
        }
    }

    /// A container was removed. The last one that goes without having been stopped first was lost, and
    /// is made good; one that somebody stopped, or removed when it had been down for a while, is not
    /// wanted any more.
    pub(super) fn gone(&mut self, id: &ContainerId, now: Timestamp) {
        let lost = self
            .members
            .get(id)
            .is_some_and(|member| match member.phase {
                Phase::Idle { since, on_purpose } => !on_purpose && now.since(since) < IN_ONE_GO,
                Phase::Starting | Phase::Probing { .. } | Phase::Serving => true,
                Phase::Draining { .. } | Phase::Leaving { .. } => false,
            });
        let known = self.members.contains_key(id);
        if known {
            self.compose_work.mark_removed();
        }
        self.forget(id, now);
        if known && self.members.is_empty() {
            self.bootstrap.wanted = lost;
        }
    }

    /// Somebody asked the engine to stop a replica. Told late, it explains why the last one went.
    pub(super) fn stopped_by_somebody(&mut self, id: &ContainerId) {
        if self.members.is_empty()
            && !self.members.contains_key(id)
            && !self.bootstrap.is_under_way()
        {
            self.bootstrap.wanted = false;
        }
    }
}
