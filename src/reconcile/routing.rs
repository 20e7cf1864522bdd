//! Who gets traffic, and when one who no longer does may be stopped.

use super::{
    Effect, EventKind, LONGEST_ROUTE_RETRY, RETRY, RouteServer, ServiceMachine, SyncState,
    managed_replica::{ManagedReplica, Phase},
};
use crate::{
    policy::Balance,
    project::{ContainerId, ContainerState, Health},
    units::Timestamp,
};

/// The weights of a new server, one after the other, each for the same part of `slow_start`; then it is
/// the full one. Measured beside two others of full weight: 1 gets 4.5% of the requests, 5 gets 19%.
const RAMP: [u8; 3] = [1, 4, 7];

/// Whether a server is there, with whatever weight.
fn is_among(one: &RouteServer, servers: &[RouteServer]) -> bool {
    servers.iter().any(|other| {
        let weight = one.weight;
        RouteServer {
            weight,
            ..other.clone()
        } == *one
    })
}

impl ServiceMachine {
    pub(super) fn reroute(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.mood != SyncState::Acting || self.passive {
            return;
        }
        if !self.setup.routed {
            self.assign_route(0);
            return;
        }
        let mut servers: Vec<_> = self
            .members
            .values()
            .filter(|m| m.serves())
            .map(|m| RouteServer {
                id: m.replica.id.clone(),
                number: m.replica.number,
                name: m.replica.name.clone(),
                addresses: m.replica.addresses.clone(),
                published: m.replica.published.clone(),
                weight: Balance::FULL,
            })
            .collect();
        servers.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        if self.holdover && servers.is_empty() && self.may_still_serve() {
            self.assign_route(self.seq);
            return;
        }
        self.holdover = false;
        self.ramp(&mut servers, now, out);
        let again = self.reroute_at.is_some_and(|at| at <= now);
        if self.wanted.as_ref() != Some(&servers) || again {
            self.reroute_at = None;
            self.seq += 1;
            // An addition waits for others only where there are others on their way.
            let urgent = again
                || !self.more_to_come()
                || self
                    .wanted
                    .as_ref()
                    .is_none_or(|before| before.iter().any(|one| !is_among(one, &servers)));
            // A service that is about to get its first replica has lost none.
            let begins = self.members.is_empty() && self.wanted.is_none();
            if servers.is_empty() && !self.nothing_serves && self.standstill.is_none() && !begins {
                out.push(self.note(EventKind::NothingServes, now));
            }
            self.nothing_serves = servers.is_empty();
            self.only_weights = !again
                && self.wanted.as_ref().is_some_and(|before| {
                    before.len() == servers.len()
                        && before.iter().all(|one| is_among(one, &servers))
                });
            self.wanted = Some(servers.clone());
            out.push(Effect::Route {
                seq: self.seq,
                servers,
                urgent,
            });
        }
        self.assign_route(self.seq);
    }

    /// Gives new servers a part of their weight at first: nginx's own `slow_start` is for those who buy
    /// it. Where all are new none is.
    fn ramp(&mut self, servers: &mut [RouteServer], now: Timestamp, out: &mut Vec<Effect>) {
        let over = self.setup.policy.slow_start.0;
        if over.is_zero() || !self.ramping {
            self.ramps.clear();
            return;
        }
        let there = |id: &ContainerId, all: &[RouteServer]| all.iter().any(|one| one.id == *id);
        self.ramps
            .retain(|id, since| now < *since + over && there(id, servers));
        if let Some(before) = self.wanted.as_ref().filter(|before| !before.is_empty()) {
            let new = servers.iter().filter(|one| !there(&one.id, before));
            let new = new.map(|one| (one.id.clone(), now));
            self.ramps.extend(new.collect::<Vec<_>>());
        }
        if servers.iter().all(|one| self.ramps.contains_key(&one.id)) {
            self.ramps.clear();
        }
        for server in servers {
            let Some(since) = self.ramps.get(&server.id) else {
                continue;
            };
            let gone = now.since(*since);
            let steps = RAMP.len() as u32;
            let step = (0..steps).rev().find(|step| gone >= over * *step / steps);
            let step = step.unwrap_or_default();
            server.weight = RAMP[step as usize];
            out.push(Effect::WakeAt(*since + over * (step + 1) / steps));
        }
    }

    /// Whether replicas are being made, started or looked at for the first time.
    fn more_to_come(&self) -> bool {
        !self.pending.is_empty()
            || self
                .members
                .values()
                .any(|m| matches!(m.phase, Phase::Starting | Phase::Probing { .. }))
    }

    /// Whether a replica runs that nothing but a look speaks against.
    fn may_still_serve(&self) -> bool {
        self.members.values().any(|m| {
            matches!(m.phase, Phase::Probing { .. })
                && m.replica.state == ContainerState::Running
                && m.replica.health != Health::Unhealthy
        })
    }

    pub(super) fn assign_route(&mut self, current: u64) {
        for member in self.members.values_mut() {
            if let Phase::Draining { seq, .. } = &mut member.phase {
                seq.get_or_insert(current);
            }
        }
    }

    pub(super) fn route_answered(
        &mut self,
        seq: u64,
        result: Result<(), String>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(()) => {
                self.routed = self.routed.max(seq);
                self.route_failures = 0;
                self.route_error = None;
                self.taken_out(seq, now, out);
                if seq == self.seq {
                    self.listed = self.wanted.iter().flatten().map(|s| s.id.clone()).collect();
                    let servers = self
                        .wanted
                        .iter()
                        .flatten()
                        .map(|server| server.name.clone())
                        .collect();
                    if !self.only_weights {
                        out.push(self.note(EventKind::Routed { servers }, now));
                    }
                }
            }
            Err(why) => {
                // Said once; tried again and again.
                if self.route_error.as_ref() != Some(&why) {
                    if !self.is_told(&why) {
                        out.push(self.note(EventKind::RouteFailed { why: why.clone() }, now));
                    }
                    self.route_error = Some(why);
                }
                let wait = (RETRY * 2u32.saturating_pow(self.route_failures.min(4)))
                    .min(LONGEST_ROUTE_RETRY);
                self.route_failures += 1;
                self.reroute_at = Some(now + wait);
                out.push(Effect::WakeAt(now + wait));
            }
        }
    }

    /// Begins the drain of those that nginx sends nothing more to.
    pub(super) fn taken_out(&mut self, seq: u64, now: Timestamp, out: &mut Vec<Effect>) {
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
                    if *seq > self.drained && !cut && !dead {
                        continue;
                    }
                    if cut && *seq > self.drained {
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

    pub(super) fn retired(
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

    pub(super) fn notice_arrival(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let Some(moving) = self.moving else {
            return;
        };
        let quiet = self.pending.is_empty()
            && (!self.setup.routed || (self.routed == self.seq && self.reroute_at.is_none()))
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
