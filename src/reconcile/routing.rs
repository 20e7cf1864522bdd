//! Which replicas get traffic.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Effect, EventKind, RETRY, RouteServer, ServiceMachine, SyncState, managed_replica::Phase,
    slow_start::SlowStart,
};
use crate::{
    policy::Balance,
    project::{ContainerId, ContainerState, Health},
    units::{SignedDuration, Timestamp},
};

/// Until an nginx that has just stopped is asked again.
const SOON: Duration = Duration::from_secs(1);
const LONGEST_ROUTE_RETRY: Duration = Duration::from_secs(15);
/// After so many failed requests in a row, about 15 s, a client that waits for nginx waits no longer.
const HOPELESS: u32 = 4;

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

/// Requests to nginx for this service, and what it has confirmed.
#[derive(Debug)]
pub(super) struct Routing {
    /// The number of the last request.
    pub(super) seq: u64,
    /// The last request that nginx has confirmed.
    confirmed: u64,
    /// No request of a client is left from before this one.
    drained: u64,
    /// The servers that were asked for last.
    servers: Option<Vec<RouteServer>>,
    /// Those that nginx was last seen to send traffic to.
    listed: BTreeSet<ContainerId>,
    slow_start: SlowStart,
    /// Whether the last request differs from the one before in nothing but weights.
    only_weights: bool,
    retry_at: Option<Timestamp>,
    failures: u32,
    error: Option<String>,
    nothing_serves: bool,
    /// nginx serves something, as far as is known, that no look has confirmed yet: servers from before
    /// this run, or those that were right before the port changed.
    inherited: bool,
}

impl Default for Routing {
    fn default() -> Self {
        Self {
            seq: 0,
            confirmed: 0,
            drained: 0,
            servers: None,
            listed: BTreeSet::new(),
            slow_start: SlowStart::default(),
            only_weights: false,
            retry_at: None,
            failures: 0,
            error: None,
            nothing_serves: false,
            inherited: true,
        }
    }
}

impl Routing {
    pub(super) fn use_slow_start(&mut self) {
        self.slow_start.enabled = true;
    }

    /// Whether anything was asked for.
    pub(super) fn has_begun(&self) -> bool {
        self.servers.is_some()
    }

    /// Whether nginx has confirmed the last request.
    pub(super) fn is_confirmed(&self) -> bool {
        self.confirmed == self.seq
    }

    /// Whether another attempt is to come.
    pub(super) fn is_waiting(&self) -> bool {
        self.retry_at.is_some()
    }

    pub(super) fn is_in_step(&self) -> bool {
        self.is_confirmed() && !self.is_waiting()
    }

    /// Whether no request of a client is left from before this one to nginx.
    pub(super) fn is_drained(&self, seq: u64) -> bool {
        seq <= self.drained
    }

    /// Whether nginx was last seen to send traffic to it.
    pub(super) fn lists(&self, id: &ContainerId) -> bool {
        self.listed.contains(id)
    }

    /// Whether so many requests in a row have failed that the next one will not help.
    pub(super) fn is_hopeless(&self) -> bool {
        self.error.is_some() && self.failures >= HOPELESS
    }

    /// Why the last request failed.
    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Whether nginx still serves what no look has confirmed.
    pub(super) fn is_inherited(&self) -> bool {
        self.inherited
    }

    /// Leaves nginx as it is until a replica has passed its gate.
    pub(super) fn keep_until_one_is_ready(&mut self) {
        self.inherited = true;
    }

    /// Makes the next request even when its servers are the same.
    pub(super) fn ask_again(&mut self) {
        self.servers = None;
    }

    pub(super) fn shift(&mut self, set_by: SignedDuration, now: Timestamp) {
        self.retry_at = self.retry_at.map(|_| now);
        self.slow_start.shift(set_by);
    }

    fn retry_after(&mut self, wait: Duration, now: Timestamp) -> Effect {
        Effect::WakeAt(*self.retry_at.insert(now + wait))
    }

    fn names(&self) -> Vec<String> {
        let servers = self.servers.iter().flatten();
        servers.map(|server| server.name.clone()).collect()
    }
}

impl ServiceMachine {
    pub(super) fn reroute(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.sync != SyncState::Acting || self.passive {
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
        if self.routing.inherited && servers.is_empty() && self.may_still_serve() {
            self.assign_route(self.routing.seq);
            return;
        }
        self.routing.inherited = false;
        let over = self.setup.policy.slow_start.0;
        let before = self.routing.servers.as_deref();
        self.routing
            .slow_start
            .weigh(&mut servers, before, over, now, out);
        let again = self.routing.retry_at.is_some_and(|at| at <= now);
        if self.routing.servers.as_ref() != Some(&servers) || again {
            self.routing.retry_at = None;
            self.routing.seq += 1;
            // An addition waits for others only where there are others on their way.
            let urgent = again
                || !self.more_to_come()
                || self
                    .routing
                    .servers
                    .as_ref()
                    .is_none_or(|before| before.iter().any(|one| !is_among(one, &servers)));
            // A service that is about to get its first replica has lost none.
            let begins = self.members.is_empty() && self.routing.servers.is_none();
            if servers.is_empty()
                && !self.routing.nothing_serves
                && self.standstill.is_none()
                && !begins
            {
                out.push(self.note(EventKind::NothingServes, now));
            }
            self.routing.nothing_serves = servers.is_empty();
            self.routing.only_weights = !again
                && self.routing.servers.as_ref().is_some_and(|before| {
                    before.len() == servers.len()
                        && before.iter().all(|one| is_among(one, &servers))
                });
            self.routing.servers = Some(servers.clone());
            out.push(Effect::Route {
                seq: self.routing.seq,
                servers,
                urgent,
            });
        }
        self.assign_route(self.routing.seq);
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

    pub(super) fn on_routed(
        &mut self,
        seq: u64,
        result: Result<(), String>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        match result {
            Ok(()) => {
                self.routing.confirmed = self.routing.confirmed.max(seq);
                self.routing.failures = 0;
                self.routing.error = None;
                self.begin_drains(seq, now, out);
                if seq == self.routing.seq {
                    self.routing.listed = self
                        .routing
                        .servers
                        .iter()
                        .flatten()
                        .map(|s| s.id.clone())
                        .collect();
                    if !self.routing.only_weights {
                        out.push(self.note(
                            EventKind::Routed {
                                servers: self.routing.names(),
                            },
                            now,
                        ));
                    }
                }
            }
            Err(why) => {
                // Said once; tried again and again.
                if self.routing.error.as_ref() != Some(&why) {
                    if !self.preflight.is_told(&why) {
                        out.push(self.note(EventKind::RouteFailed { why: why.clone() }, now));
                    }
                    self.routing.error = Some(why);
                }
                let wait = (RETRY * 2u32.saturating_pow(self.routing.failures.min(4)))
                    .min(LONGEST_ROUTE_RETRY);
                self.routing.failures += 1;
                out.push(self.routing.retry_after(wait, now));
            }
        }
    }

    pub(super) fn on_parting(&mut self) {
        self.routing.slow_start.end();
    }

    pub(super) fn on_route_later(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        out.push(self.routing.retry_after(SOON, now));
    }

    pub(super) fn on_taken_out(&mut self, seq: u64, now: Timestamp, out: &mut Vec<Effect>) {
        self.begin_drains(seq, now, out);
        let Routing {
            servers, listed, ..
        } = &mut self.routing;
        let wanted: BTreeSet<_> = servers.iter().flatten().map(|s| &s.id).collect();
        listed.retain(|id| wanted.contains(id));
    }

    pub(super) fn on_drained(&mut self, seq: u64) {
        self.routing.drained = self.routing.drained.max(seq);
    }
}
