//! What befalls a container: it dies, is stopped, paused, removed, restarted, or runs out of memory.

use super::{
    Effect, EventKind, RESTART_GRACE, ServiceMachine, backoff::LIVED, managed_replica::Phase,
};
use crate::{
    project::{ContainerId, ContainerState, Health, Replica},
    units::Timestamp,
};

impl ServiceMachine {
    pub(super) fn on_died(
        &mut self,
        id: &ContainerId,
        exit_code: Option<i64>,
        asked: bool,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.ended(id, ContainerState::Exited, now);
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.replica.exit_code = exit_code;
        let unexplained = member.unexplained.take().is_some();
        match member.phase {
            Phase::Serving | Phase::Idle { .. } if member.serves() || unexplained => {
                self.serving_ended(id, asked, unexplained, now, out);
            }
            Phase::Starting | Phase::Probing { .. } if asked && member.fresh.is_some() => {
                let replica = member.stopped_while_it_came_up(now);
                let why = "was stopped from outside before it was ready".into();
                out.push(self.note(EventKind::Lost { replica, why }, now));
            }
            Phase::Starting | Phase::Probing { .. } if member.fresh.is_some() => {
                let code = exit_code.map_or(String::new(), |c| format!(" with code {c}"));
                let why = format!("it exited{code} before it was ready");
                out.push(Effect::CollectLogs {
                    id: id.clone(),
                    why,
                });
            }
            Phase::Starting | Phase::Probing { .. } => member.crashed(now),
            Phase::Serving
            | Phase::Idle { .. }
            | Phase::Draining { .. }
            | Phase::Leaving { .. } => {}
        }
        out.push(Effect::WakeAt(now + RESTART_GRACE));
    }

    /// The process of a replica that served has ended.
    fn serving_ended(
        &mut self,
        id: &ContainerId,
        asked: bool,
        unexplained: bool,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let name = member.replica.name.clone();
        let what = if asked {
            EventKind::Lost {
                replica: name.clone(),
                why: "was stopped by someone else".into(),
            }
        } else {
            EventKind::Died {
                replica: name.clone(),
                exit_code: member.replica.exit_code,
                oom: member.replica.oom_killed,
            }
        };
        member.crashed(now);
        // One that dies right after it became ready has not come up.
        let lived = member.served.map_or(LIVED, |since| now.since(since));
        // Where a listing was faster than the event, the stop has been logged.
        if !(asked && unexplained) {
            out.push(self.note(what, now));
        }
        if lived < LIVED && !asked {
            self.died_young(&name, now, out);
        }
    }

    pub(super) fn on_oom(&mut self, id: &ContainerId, now: Timestamp) {
        if let Some(member) = self.members.get_mut(id) {
            member.replica.oom_killed = true;
        }
        self.ran_out_of_memory(id, now);
    }

    pub(super) fn on_stopped(&mut self, id: &ContainerId, now: Timestamp, out: &mut Vec<Effect>) {
        // Newer Engines tell it before or after the death, as it happens.
        self.stopped_by_somebody(id);
        self.ended(id, ContainerState::Exited, now);
        if let Some(member) = self.members.get_mut(id) {
            member.unexplained = None;
            // Where the death is told after this, it is no failure to come up either.
            member.fresh = None;
            if !member.is_on_its_way_out() {
                member.stopped = Some(now);
                out.push(Effect::WakeAt(now + RESTART_GRACE));
            }
        }
        self.lose(id, "was stopped by someone else", now, out);
    }

    pub(super) fn on_paused(&mut self, id: &ContainerId, now: Timestamp, out: &mut Vec<Effect>) {
        self.ended(id, ContainerState::Paused, now);
        self.lose(id, "was paused", now, out);
    }

    pub(super) fn on_unhealthy(&mut self, id: &ContainerId, now: Timestamp, out: &mut Vec<Effect>) {
        if let Some(member) = self.members.get_mut(id) {
            member.replica.health = Health::Unhealthy;
            member.taken = now;
            if member.serves() {
                self.lose(id, "became unhealthy", now, out);
            }
        }
    }

    pub(super) fn on_gone(&mut self, id: &ContainerId, now: Timestamp) {
        // A replica that is being retired answers for itself.
        if !self.is_leaving(id) {
            self.gone(id, now);
        }
    }

    pub(super) fn on_restarted(
        &mut self,
        id: &ContainerId,
        result: Result<Box<Replica>, String>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(replica) => {
                self.on_observed(*replica, now, now, out);
                // Its hooks have run.
                if self
                    .members
                    .get(id)
                    .is_some_and(|m| m.phase == Phase::Starting)
                {
                    self.probe(id, now, out);
                }
            }
            Err(why) => {
                let why = format!("it could not be started: {why}");
                self.failed(id, why, vec![], now, out);
            }
        }
    }

    pub(super) fn ended(&mut self, id: &ContainerId, state: ContainerState, now: Timestamp) {
        if let Some(member) = self.members.get_mut(id) {
            member.replica.state = state;
            member.replica.pid = 0;
            member.taken = now;
        }
        self.windows.remove(id);
    }

    /// Takes a serving replica out because it cannot serve.
    pub(super) fn lose(
        &mut self,
        id: &ContainerId,
        why: &str,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if member.is_on_its_way_out() {
            return;
        }
        let served = member.serves();
        let is_left_alone = member.left_alone;
        let runs = member.replica.state == ContainerState::Running;
        member.phase = Phase::Idle {
            since: now,
            on_purpose: true,
        };
        let what = EventKind::Lost {
            replica: member.replica.name.clone(),
            why: why.to_owned(),
        };
        if served {
            out.push(self.note(what, now));
        }
        if runs && !is_left_alone {
            self.probe(id, now, out);
        }
    }
}
