//! Getting from what is there to what is wanted.

use super::{
    EXPLAINED, Effect, EventKind, Pending, RESTART_GRACE, ServiceMachine, SyncState,
    managed_replica::{ManagedReplica, Phase},
};
use crate::{
    plan::{self, Step},
    project::{ContainerId, ContainerState},
    units::Timestamp,
};

impl ServiceMachine {
    pub(super) fn converge(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.sync != SyncState::Acting || self.compose_work.is_going_on(now) {
            return;
        }
        self.compose_work.mark_quiet();
        self.leave_alone_what_was_stopped(now);
        if self.waits_for_a_recreate(now, out) {
            return;
        }
        if self.passive {
            self.notice_idle(now, out);
            return;
        }
        if self.compose_work.take_ended() {
            self.after_compose(now, out);
        }
        if self.notice_idle(now, out) {
            return;
        }
        let barred = self.is_barred_unrouted(now, out);
        let Some(desired) = self.desired else {
            return;
        };
        let live = self.live();
        if live < desired {
            self.grow(desired, now, out);
        } else if live > desired && self.pending.is_empty() && !barred {
            self.shrink(desired, now, out);
        } else {
            self.compose_work.forget_removals();
        }
        self.start_what_was_only_made(now, out);
    }

    /// Nothing runs and nothing crashed: somebody stopped the service, and starting it is theirs.
    pub(super) fn notice_idle(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> bool {
        let alive = !self.pending.is_empty()
            || self.bootstrap.is_under_way()
            || (self.bootstrap.wanted && self.members.is_empty())
            || self.members.values().any(|m| match m.phase {
                Phase::Idle { on_purpose, .. } => {
                    !on_purpose || m.replica.state == ContainerState::Restarting
                }
                _ => true,
            });
        if alive {
            // The count of before still stands: what starts may start one after the other.
            self.standstill = None;
            return false;
        }
        // Whether it was stopped or has crashed is known in a moment.
        let explained = |since: Timestamp| now.since(since) >= EXPLAINED;
        let ended = self.members.values().filter_map(|m| m.unexplained);
        if ended.into_iter().any(|since| !explained(since)) {
            return true;
        }
        if self.standstill.is_none() {
            // The service as a whole was stopped: what starts one of them starts the others too.
            for member in self.members.values_mut() {
                member.stopped = None;
                member.left_alone &= member.replica.state != ContainerState::Exited;
            }
            let (service, up) = (&self.setup.service, &self.setup.up);
            let why = if self.members.is_empty() {
                format!("{service} has no container; run `{up}`")
            } else {
                format!("no replica of {service} is running; run `{up}`")
            };
            out.push(self.note(EventKind::Standstill { why: why.clone() }, now));
            self.standstill = Some(why);
            self.moving = None;
        }
        true
    }

    pub(super) fn grow(&mut self, desired: u32, now: Timestamp, out: &mut Vec<Effect>) {
        if self.refused.is_some() || self.backoff.is_waiting(now) {
            return;
        }
        if desired > 1 {
            let refusals = self.refusals();
            if !refusals.is_empty() {
                self.refuse(refusals.join("\n"), now, out);
                return;
            }
        }
        let plan = match self.plan(desired) {
            Ok(plan) => plan,
            Err(plan::PlanError::NothingToClone { .. }) if !self.members.is_empty() => {
                return; // It is being removed; what is to be done is clear when it is gone.
            }
            Err(plan::PlanError::NothingToClone { .. }) if self.bootstrap.wanted => {
                self.found(now, out);
                return;
            }
            Err(error) => {
                self.refuse(error.to_string(), now, out);
                return;
            }
        };
        self.notice_cut_back(desired);
        let mut tries = self.may_try();
        let creates = |step: &Step| matches!(step, Step::Create { .. });
        let barred = plan.steps.iter().any(creates) && self.is_barred(now, out);
        for step in plan.steps {
            if barred && creates(&step) {
                continue;
            }
            if matches!(step, Step::Start { .. } | Step::Create { .. }) {
                if tries == 0 {
                    continue;
                }
                tries -= 1;
            }
            match step {
                Step::Keep { id, name } => {
                    if let Some(member) = self.members.get_mut(&id)
                        && member.is_draining()
                    {
                        member.phase = Phase::Serving;
                        out.push(self.note(EventKind::Kept { replica: name }, now));
                    }
                }
                Step::Start { id, name } => self.start(&id, name, now, out),
                Step::Create { name, number, like } => {
                    let alone = self
                        .members
                        .get(&like)
                        .is_some_and(|m| !m.replica.fixed.port_ranges.is_empty());
                    self.pending.insert(
                        number,
                        Pending {
                            name: name.clone(),
                            since: now,
                        },
                    );
                    out.push(self.note(
                        EventKind::Creating {
                            replica: name.clone(),
                        },
                        now,
                    ));
                    out.push(Effect::Create {
                        number,
                        name,
                        like,
                        alone,
                    });
                }
                Step::Remove { .. } => {}
            }
        }
    }

    pub(super) fn start(
        &mut self,
        id: &ContainerId,
        name: String,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let Phase::Idle { since, .. } = member.phase else {
            return;
        };
        if now < since + RESTART_GRACE && member.replica.state == ContainerState::Exited {
            out.push(Effect::WakeAt(since + RESTART_GRACE));
            return;
        }
        member.phase = Phase::Starting;
        member.fresh = Some(now);
        out.push(self.note(EventKind::Starting { replica: name }, now));
        out.push(Effect::Start { id: id.clone() });
    }

    /// A container that was made and never started is what an interrupted scale-up leaves behind.
    pub(super) fn start_what_was_only_made(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.backoff.is_waiting(now) {
            return;
        }
        let made: Vec<_> = self
            .members
            .values()
            .filter(|m| {
                m.replica.state == ContainerState::Created
                    && matches!(m.phase, Phase::Idle { .. })
                    && !m.replica.is_being_recreated()
            })
            .map(|m| (m.replica.id.clone(), m.replica.name.clone()))
            .collect();
        for (id, name) in made {
            self.start(&id, name, now, out);
        }
    }

    pub(super) fn refusals(&self) -> Vec<String> {
        let mut found: Vec<String> = self
            .setup
            .refusals
            .iter()
            .map(ToString::to_string)
            .collect();
        if found.is_empty() {
            let replicas: Vec<_> = self.members.values().map(|m| &m.replica).collect();
            let service = crate::project::Service {
                name: self.setup.service.clone(),
                image: Some(String::new()),
                ..crate::project::Service::default()
            };
            found.extend(
                plan::blockers::refusals(&service, &replicas)
                    .iter()
                    .map(ToString::to_string),
            );
        }
        found
    }

    pub(super) fn refuse(&mut self, why: String, now: Timestamp, out: &mut Vec<Effect>) {
        out.push(self.note(EventKind::Refused { why: why.clone() }, now));
        self.refused = Some(why);
        self.hold = None;
        self.desired = Some(self.live());
        self.moving = None;
    }

    pub(super) fn shrink(&mut self, desired: u32, now: Timestamp, out: &mut Vec<Effect>) {
        let Ok(plan) = self.plan(desired) else {
            return;
        };
        let mut serving = self.serving();
        for step in plan.steps {
            let Step::Remove { id, name, because } = step else {
                continue;
            };
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            if member.serves() {
                // The last one that serves stays until another one does.
                if serving <= 1 {
                    continue;
                }
                serving -= 1;
            }
            member.phase = Phase::Draining {
                since: now,
                because: because.to_string(),
                seq: None,
                out: None,
            };
            out.push(self.note(
                EventKind::Draining {
                    replica: name,
                    because: because.to_string(),
                },
                now,
            ));
        }
    }

    pub(super) fn notice_arrival(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(moving) = self.moving else {
            return;
        };
        let quiet = self.pending.is_empty()
            && (!self.setup.routed || self.routing.is_in_step())
            && !self.members.values().any(ManagedReplica::is_on_its_way_out);
        if quiet && self.serving() == moving.to && self.live() == moving.to {
            self.moving = None;
            if moving.from != moving.to {
                out.push(self.note(
                    EventKind::Scaled {
                        from: moving.from,
                        to: moving.to,
                        seconds: now.since(moving.since).as_secs_f64(),
                    },
                    now,
                ));
            }
        }
    }
}
