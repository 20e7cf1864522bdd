//! Giving up a count that was asked for by hand, and saying how far it got.

use std::collections::BTreeMap;

use super::{
    Effect, EventKind, Initiator, RoutingPreflight, ServiceMachine, managed_replica::Phase,
};
use crate::units::Timestamp;

impl ServiceMachine {
    /// Gives up a count that was asked for by hand and not reached: whoever asked was told that it failed, so
    /// nothing more is done for it. What it has not brought up goes, what serves stays, and what was leaving
    /// stays too. From then on load decides again.
    pub(super) fn withdraw(&mut self, count: u32, now: Timestamp, out: &mut Vec<Effect>) {
        if self.desired != Some(count) {
            return;
        }
        self.hold = None;
        if !self.setup.autoscaled {
            self.may_found = false;
        }
        let there = |m: &&super::ManagedReplica| m.fresh.is_none() && m.counts() || m.is_draining();
        let kept = self.members.values().filter(there).count();
        if kept > 0 {
            let begun = self.members.values_mut();
            for member in begun.filter(|m| m.fresh.is_some() && !m.is_on_its_way_out()) {
                member.phase = Phase::Leaving {
                    since: now,
                    retry: Some(now),
                };
            }
        }
        let kept = u32::try_from(kept).unwrap_or(u32::MAX).max(1);
        if kept != count {
            out.push(self.note(
                EventKind::Scale {
                    from: count,
                    to: kept,
                    reason: "withdrawn".into(),
                    message: "because the count that was asked for was not reached".into(),
                    metrics: BTreeMap::new(),
                    by: Initiator::Hand,
                    input: None,
                },
                now,
            ));
            self.want(kept, now);
        }
        self.moving = None;
    }

    /// Whether replicas are on their way out, or being made.
    pub fn is_tidying_up(&self) -> bool {
        !self.pending.is_empty()
            || self
                .members
                .values()
                .any(super::ManagedReplica::is_on_its_way_out)
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
        if self.founding.is_some() {
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
        if let Some(failing) = &self.failing {
            parts.push(format!("the last attempt failed: {}", failing.why()));
        }
        match (&self.refused, &self.route_error, &self.way) {
            (Some(why), ..) | (_, Some(why), _) | (.., RoutingPreflight::Barred { why, .. }) => {
                parts.push(why.clone());
            }
            _ if self.setup.routed && self.routed != self.seq => {
                parts.push("nginx has not confirmed their addresses yet".into());
            }
            _ => {}
        }
        if self.busy_since.is_some() {
            parts.push("compose is at work on the project, which is waited for".into());
        }
        parts.join("; ")
    }
}
