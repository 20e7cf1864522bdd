//! Replicas on their way out: when one that gets no more requests may be stopped and removed.

use super::{Effect, EventKind, RETRY, ServiceMachine, managed_replica::Phase};
use crate::{
    project::{ContainerId, ContainerState},
    units::Timestamp,
};

impl ServiceMachine {
    /// Begins the drain of those that nginx sends nothing more to.
    pub(super) fn begin_drains(&mut self, seq: u64, now: Timestamp, out: &mut Vec<Effect>) {
        let timeout = self.setup.policy.drain.timeout.0;
        for member in self.members.values_mut() {
            if let Phase::Draining {
                seq: Some(taken_out),
                out: since @ None,
                ..
            } = &mut member.phase
                && *taken_out <= seq
            {
                *since = Some(now);
                out.push(Effect::WakeAt(now + timeout));
            }
        }
    }

    /// Stops what is drained, or has been draining for too long.
    pub(super) fn retire(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.passive {
            return;
        }
        let timeout = self.setup.policy.drain.timeout.0;
        let mut notes = Vec::new();
        for member in self.members.values_mut() {
            match &member.phase {
                Phase::Draining {
                    since,
                    seq: Some(seq),
                    out: taken_out,
                    ..
                } => {
                    let cut = taken_out.is_some_and(|at| now >= at + timeout);
                    let dead =
                        member.replica.state != ContainerState::Running && taken_out.is_some();
                    if !self.routing.is_drained(*seq) && !cut && !dead {
                        continue;
                    }
                    if cut && !self.routing.is_drained(*seq) {
                        notes.push(EventKind::DrainTimedOut {
                            replica: member.replica.name.clone(),
                            seconds: timeout.as_secs_f64(),
                        });
                    }
                    member.phase = Phase::Leaving {
                        since: *since,
                        retry: None,
                    };
                }
                Phase::Leaving {
                    since,
                    retry: Some(at),
                } if *at <= now => {
                    member.phase = Phase::Leaving {
                        since: *since,
                        retry: None,
                    };
                }
                _ => continue,
            }
            out.push(Effect::Retire {
                replica: Box::new(member.replica.clone()),
            });
        }
        for what in notes {
            out.push(self.note(what, now));
        }
    }

    pub(super) fn on_retired(
        &mut self,
        id: &ContainerId,
        result: Result<(), String>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let Phase::Leaving { since, retry } = &mut member.phase else {
            return;
        };
        let name = member.replica.name.clone();
        match result {
            Ok(()) => {
                let seconds = now.since(*since).as_secs_f64();
                self.forget(id, now);
                out.push(self.note(
                    EventKind::Removed {
                        replica: name,
                        seconds,
                    },
                    now,
                ));
            }
            Err(why) => {
                *retry = Some(now + RETRY);
                out.push(Effect::WakeAt(now + RETRY));
                out.push(self.note(
                    EventKind::StepFailed {
                        step: format!("removing {name}"),
                        why,
                    },
                    now,
                ));
            }
        }
    }
}
