//! What is there: listings, looks, deaths, and replicas that come up or do not.

use std::{collections::BTreeSet, time::Duration};

use super::{
    EXPLAINED, Effect, EventKind, RESTART_GRACE, ReadinessCheck, ServiceMachine, SyncState,
    managed_replica::{ManagedReplica, Phase},
};
use crate::{
    policy::Ready,
    project::{ContainerId, ContainerState, Health, Replica},
    units::Timestamp,
};

/// How long the replicas found at the start may take to answer before the rest is published.
const ADOPTION: Duration = Duration::from_secs(3);
/// A look that is answered later than this is not waited for by anybody.
const LATE: Duration = Duration::from_secs(300);

impl ServiceMachine {
    pub(super) fn on_seen(
        &mut self,
        replicas: Vec<Replica>,
        needed: BTreeSet<ContainerId>,
        taken: Timestamp,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.needed = needed;
        self.has_network |= replicas.iter().any(is_reached);
        let ids: BTreeSet<_> = replicas.iter().map(|r| r.id.clone()).collect();
        let vanished: Vec<_> = self
            .members
            .iter()
            .filter(|(id, member)| !ids.contains(*id) && member.taken < taken)
            .filter(|(id, _)| !self.is_leaving(id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in vanished {
            self.gone(&id, now);
        }
        for replica in replicas {
            self.on_observed(replica, taken, now, out);
        }
        if self.sync == SyncState::Blind {
            let until = now + ADOPTION;
            self.sync = SyncState::Adopting { until };
            out.push(Effect::WakeAt(until));
            out.extend(self.paused.and_then(|p| p.until).map(Effect::WakeAt));
            self.leaving.clear();
            self.stopped.clear();
        }
    }

    pub(super) fn on_observed(
        &mut self,
        replica: Replica,
        taken: Timestamp,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        if self
            .pending
            .get(&replica.number)
            .is_some_and(|p| p.name == replica.name)
        {
            return; // `Made` will bring it, started.
        }
        let id = replica.id.clone();
        if self.gone.get(&id).is_some_and(|since| taken <= *since) {
            return;
        }
        if self.bootstrap.is_under_way() && !self.members.contains_key(&id) {
            return; // So will `Founded`.
        }
        let cut_off = self.is_cut_off(&replica);
        let stopped = replica.state == ContainerState::Exited && self.stopped.contains(&id);
        let Some(member) = self.members.get_mut(&id) else {
            let phase = if self.leaving.contains(&id) {
                Phase::Draining {
                    since: now,
                    because: "left over from the last run".into(),
                    seq: None,
                    out: None,
                }
            } else {
                Phase::Idle {
                    since: now,
                    on_purpose: true,
                }
            };
            let running = replica.state == ContainerState::Running && !cut_off;
            let is_out = matches!(phase, Phase::Draining { .. });
            self.members.insert(
                id.clone(),
                ManagedReplica {
                    replica,
                    taken,
                    phase,
                    served: None,
                    fresh: None,
                    stopped: None,
                    left_alone: cut_off || stopped,
                    unexplained: None,
                },
            );
            if running && !is_out {
                self.probe(&id, now, out);
            }
            return;
        };
        if member.taken > taken {
            return;
        }
        let restarted = member.replica.started != replica.started;
        let unhealthy = replica.health == Health::Unhealthy;
        let state = replica.state;
        member.replica = replica;
        member.taken = taken;
        if state == ContainerState::Running {
            member.stopped = None;
            let is_new = cut_off && !member.left_alone;
            member.left_alone = cut_off;
            if cut_off {
                if is_new {
                    self.lose(&id, "was disconnected from its network", now, out);
                }
                return;
            }
        }
        match (&member.phase, state) {
            (Phase::Idle { .. }, ContainerState::Running) => self.probe(&id, now, out),
            (Phase::Serving | Phase::Probing { .. }, ContainerState::Running) if restarted => {
                self.probe(&id, now, out);
            }
            (Phase::Serving, ContainerState::Running) if unhealthy => {
                self.lose(&id, "became unhealthy", now, out);
            }
            (Phase::Serving, ContainerState::Paused) => self.lose(&id, "was paused", now, out),
            (Phase::Serving | Phase::Probing { .. }, ContainerState::Running)
            | (
                Phase::Idle { .. }
                | Phase::Starting
                | Phase::Draining { .. }
                | Phase::Leaving { .. },
                _,
            ) => {}
            (Phase::Serving, _) => {
                // Its event may be on its way.
                member.unexplained = Some(now);
                self.lose(&id, "stopped", now, out);
                out.push(Effect::WakeAt(now + EXPLAINED));
            }
            // Its end is told by its event, or by the look that it fails.
            (Phase::Probing { .. }, ContainerState::Exited) if member.fresh.is_some() => {}
            (Phase::Probing { .. }, _) => member.crashed(now),
        }
    }

    /// Whether it runs on no network, though replicas of the service have one.
    fn is_cut_off(&self, replica: &Replica) -> bool {
        let runs = replica.state == ContainerState::Running;
        self.setup.routed && self.has_network && runs && !is_reached(replica)
    }

    /// Takes note of those that somebody stopped and has not started again.
    pub(super) fn leave_alone_what_was_stopped(&mut self, now: Timestamp) {
        for member in self.members.values_mut() {
            let is_over = |since: Timestamp| now.since(since) >= RESTART_GRACE;
            if member.stopped.is_some_and(is_over) {
                member.left_alone = true;
            }
        }
    }

    /// Whether it is being stopped and removed right now.
    pub(super) fn is_leaving(&self, id: &ContainerId) -> bool {
        self.members
            .get(id)
            .is_some_and(|m| matches!(m.phase, Phase::Leaving { .. }))
    }

    pub(super) fn forget(&mut self, id: &ContainerId, now: Timestamp) {
        self.members.remove(id);
        self.gone.retain(|_, since| now.since(*since) < LATE);
        self.gone.insert(id.clone(), now);
        self.windows.remove(id);
        self.leaving.remove(id);
    }

    pub(super) fn probe(&mut self, id: &ContainerId, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        member.unexplained = None;
        member.phase = Phase::Probing {
            since: now,
            looked: false,
        };
        let policy = &self.setup.policy;
        let deadline = member
            .fresh
            .map(|asked| asked.max(now) + policy.ready_timeout.0);
        let gate = match (&policy.ready, member.replica.health, self.setup.port) {
            (Ready::Healthcheck, ..) => ReadinessCheck::Healthcheck,
            (Ready::Tcp(port), ..) => ReadinessCheck::Tcp(*port),
            (Ready::Http(path), _, Some(port)) => ReadinessCheck::Http(port, path.clone()),
            (Ready::Auto, Health::Starting | Health::Healthy | Health::Unhealthy, _) => {
                ReadinessCheck::Healthcheck
            }
            (Ready::Auto, Health::None, Some(port)) => ReadinessCheck::Tcp(port),
            (Ready::Running, ..) | (Ready::Auto | Ready::Http(_), _, None) => {
                ReadinessCheck::Running
            }
        };
        out.push(Effect::Probe {
            replica: Box::new(member.replica.clone()),
            gate,
            // A replica that served before this run, and serves now, need not wait again.
            min_ready: member.fresh.map_or(Duration::ZERO, |_| policy.min_ready.0),
            deadline,
        });
    }

    pub(super) fn on_ready(
        &mut self,
        id: &ContainerId,
        started: Option<Timestamp>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        if !matches!(member.phase, Phase::Probing { .. }) || member.replica.started != started {
            return;
        }
        member.phase = Phase::Serving;
        // What was there when the tool came has lived before.
        member.served = member.fresh.map(|_| now).or(member.served);
        if let Some(asked) = member.fresh.take() {
            let what = EventKind::Ready {
                replica: member.replica.name.clone(),
                seconds: now.since(asked).as_secs_f64(),
            };
            out.push(self.note(what, now));
            self.came_up(asked, now, out);
        }
    }

    pub(super) fn on_made(
        &mut self,
        number: u32,
        result: Result<Box<Replica>, String>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let Some(pending) = self.pending.remove(&number) else {
            return;
        };
        match result {
            Ok(replica) => self.arrived(*replica, pending.since, now, out),
            Err(why) => {
                self.attempt_failed(pending.name, why, Vec::new(), now, out);
            }
        }
    }

    pub(super) fn on_name_taken(&mut self, number: u32, now: Timestamp, out: &mut Vec<Effect>) {
        self.pending.remove(&number);
        self.taken.insert(number);
        self.wait_until_quiet(now, out);
    }

    pub(super) fn on_not_yet(&mut self, id: &ContainerId, why: &str) {
        if let Some(member) = self.members.get_mut(id)
            && let Phase::Probing { looked, .. } = &mut member.phase
        {
            *looked = true;
            self.unready = Some(format!("{}: {why}", member.replica.name));
        }
    }

    pub(super) fn on_gate_failed(
        &mut self,
        id: &ContainerId,
        why: String,
        log: Vec<String>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let awaited = |m: &ManagedReplica| {
            matches!(m.phase, Phase::Probing { .. }) || m.fresh.is_some() && !m.is_on_its_way_out()
        };
        if self.members.get(id).is_some_and(awaited) {
            self.failed(id, why, log, now, out);
        }
    }

    /// A replica that this tool has had made and started.
    pub(super) fn arrived(
        &mut self,
        replica: Replica,
        asked: Timestamp,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let id = replica.id.clone();
        self.members.insert(
            id.clone(),
            ManagedReplica {
                replica,
                taken: now,
                phase: Phase::Starting,
                served: None,
                fresh: Some(asked),
                stopped: None,
                left_alone: false,
                unexplained: None,
            },
        );
        self.probe(&id, now, out);
    }

    /// A replica that does not come up: it goes, unless it is the only one there is to copy.
    pub(super) fn failed(
        &mut self,
        id: &ContainerId,
        why: String,
        log: Vec<String>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let others = self
            .members
            .iter()
            .any(|(other, m)| other != id && !m.is_on_its_way_out() && m.fresh.is_none());
        let Some(member) = self.members.get_mut(id) else {
            return;
        };
        let replica = member.replica.name.clone();
        let runs = member.replica.state == ContainerState::Running;
        if others && member.fresh.is_some() {
            member.phase = Phase::Leaving {
                since: now,
                retry: Some(now),
            };
        } else {
            member.fresh = None;
            member.crashed(now);
            if runs {
                self.probe(id, now, out);
            }
        }
        self.attempt_failed(replica, why, log, now, out);
    }

    /// Ends the adoption of what was found once each replica was looked at, or when time is up.
    pub(super) fn adopt(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let SyncState::Adopting { until } = self.sync else {
            return;
        };
        let all_looked_at = self.members.values().all(|m| match m.phase {
            Phase::Probing { looked, .. } => looked,
            _ => true,
        });
        if !all_looked_at && now < until {
            return;
        }
        self.sync = SyncState::Acting;
        let live = self.live();
        // After an outage of the engine the count of before still stands, where something runs.
        self.desired = Some(match self.desired {
            Some(before) if live > 0 => before.max(live),
            _ => live,
        });
        if let Some(hold) = self.hold {
            self.desired = Some(hold.replicas);
        }
        // A tool that has just started knows of no load before: the count that is there counts as
        // recommended, so that the first look cannot take everything away.
        if live > 0 {
            self.decisions.history.seed(now, live);
        }
        out.push(Effect::WakeAt(now));
    }
}

/// Whether requests can get to it in any way.
fn is_reached(replica: &Replica) -> bool {
    !replica.addresses.is_empty() || !replica.published.is_empty()
}
