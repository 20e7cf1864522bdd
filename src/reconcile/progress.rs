//! How far a service is: whether it is settled, and what keeps it from the count it wants.

use super::{
    ServiceMachine, SyncState,
    managed_replica::{ManagedReplica, Phase},
    preflight::RoutingPreflight,
};
use crate::units::Timestamp;

impl ServiceMachine {
    /// Whether there is nothing left to do until something happens.
    pub fn is_settled(&self) -> bool {
        if self.standstill.is_some() {
            return true;
        }
        self.sync == SyncState::Acting
            && self.pending.is_empty()
            && !self.bootstrap.is_under_way()
            && self.moving.is_none()
            && !self.routing.is_waiting()
            && !self.awaits_a_look()
            && (!self.setup.routed || self.routing.is_confirmed())
            && self.members.values().all(|m| match m.phase {
                Phase::Serving | Phase::Idle { .. } => true,
                // A replica of somebody else's making may stay unready for ever.
                Phase::Probing { looked, .. } => looked && m.fresh.is_none(),
                Phase::Starting | Phase::Draining { .. } | Phase::Leaving { .. } => false,
            })
    }

    /// Whether replicas are being made or started, or have not been ready yet.
    pub fn is_growing(&self) -> bool {
        !self.pending.is_empty() || self.members.values().any(|m| m.fresh.is_some())
    }

    /// Whether the wanted count is there and served.
    pub fn is_at(&self, count: u32) -> bool {
        self.is_settled() && self.serving() == count && self.live() == count
    }

    /// Whether nginx serves what this machine wants, as far as nginx is concerned with it.
    pub fn is_routed(&self) -> bool {
        self.passive
            || !self.setup.routed
            || (self.routing.has_begun() && self.routing.is_in_step())
    }

    /// Whether this run has decided on load, with values or after two looks without.
    pub fn has_decided(&self) -> bool {
        self.decisions.count >= 2
            || (self.decisions.count == 1
                && self
                    .decisions
                    .last
                    .as_ref()
                    .is_some_and(|(_, d)| d.reason.label() != "metrics_unavailable"))
    }

    /// What keeps it from the count it wants: a failure, or a refusal. A run that `stays` tries again.
    pub fn trouble(&self, now: Timestamp, stays: bool) -> Option<String> {
        let service = &self.setup.service;
        if let Some(why) = &self.refused {
            return Some(why.clone());
        }
        if let Some(why) = self.routing.error() {
            return Some(format!("{service}: {why}"));
        }
        if let RoutingPreflight::Barred { why, told: true } = &self.preflight.result {
            return Some(format!("{service}: {why}"));
        }
        if self.routing.is_inherited()
            && let Some(why) = &self.unready
        {
            return Some(format!("{service}: no replica is ready ({why})"));
        }
        let wait = self.backoff.waits_until(now)?;
        if !stays {
            let wanted = self.desired.unwrap_or_default();
            return Some(format!("{service}: {}", self.shortfall(wanted)));
        }
        Some(format!(
            "{service}: {} of {} replicas serve; the next attempt is in {:.0}s",
            self.serving(),
            self.desired.unwrap_or_default(),
            wait.since(now).as_secs_f64()
        ))
    }

    /// Why nothing is done, if nothing is done.
    pub fn idle_reason(&self) -> Option<&str> {
        self.standstill.as_deref().or(self.refused.as_deref())
    }

    /// Whether replicas are on their way out, or being made.
    pub fn is_tidying_up(&self) -> bool {
        !self.pending.is_empty() || self.members.values().any(ManagedReplica::is_on_its_way_out)
    }

    /// Whether all that can be done for a count is done, and nginx does not take it.
    pub fn waits_for_nginx_in_vain(&self, count: u32) -> bool {
        self.serving() == count && !self.is_growing() && self.routing.is_hopeless()
    }

    /// What keeps it from having so many replicas that serve.
    pub fn shortfall(&self, count: u32) -> String {
        let mut parts = Vec::new();
        let serving = self.serving();
        if serving == count {
            parts.push(format!("all {count} replicas are ready"));
        } else {
            parts.push(format!("{serving} of {count} replicas are ready"));
        }
        if self.bootstrap.is_under_way() {
            parts.push("the first one is being made".into());
        }
        for pending in self.pending.values() {
            parts.push(format!("{} is being made", pending.name));
        }
        for member in self.members.values() {
            let name = &member.replica.name;
            let state = member.replica.state;
            let what = match &member.phase {
                Phase::Serving => continue,
                Phase::Idle { .. } => format!("{name} is {state}"),
                Phase::Starting => format!("{name} is being started"),
                Phase::Probing { .. } => match &self.unready {
                    Some(why) if why.starts_with(&format!("{name}: ")) => why.clone(),
                    _ => format!("{name} is not ready yet"),
                },
                Phase::Draining { .. } => {
                    format!("{name} is leaving and still has requests in flight")
                }
                Phase::Leaving { .. } => format!("{name} is being stopped"),
            };
            parts.push(what);
        }
        if let Some(why) = self.backoff.why() {
            parts.push(format!("the last attempt failed: {why}"));
        }
        let refused = self.refused.as_deref();
        let route_error = || self.routing.error();
        if let Some(why) = refused
            .or_else(route_error)
            .or_else(|| self.preflight.barred_by())
        {
            parts.push(why.to_owned());
        } else if self.setup.routed && !self.routing.is_confirmed() {
            parts.push("nginx has not confirmed their addresses yet".into());
        }
        if self.compose_work.is_awaited() {
            parts.push("compose is at work on the project, which is waited for".into());
        }
        parts.join("; ")
    }
}
