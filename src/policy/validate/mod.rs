//! From what a user wrote to a [`Policy`] or [`Settings`], or to everything that is wrong with it.
//!
//! Every reader notes its mistakes in one list and goes on, so that one run shows them all. What a
//! reader returns after a mistake is never used.

use serde_json::Value;

pub use self::cursor::nearest;

use self::{
    cursor::{AllowedKeys, Cursor, collect},
    metrics::metrics,
    value::{count, port, span, span_above_zero},
};
use super::{Aim, Metric, Policy, Settings};
use crate::units::Percent;

mod cursor;

mod behavior;
mod custom;
mod metrics;
mod notify;
mod project;
mod readiness_routing;
mod schedule;
mod value;

#[cfg(test)]
mod tests;

/// The keys of a service's `x-autoscale`. All but `port` may also stand in the project's, where
/// they are defaults of its services.
pub const SERVICE_KEYS: &[&str] = &[
    "min",
    "max",
    "port",
    "metrics",
    "priority",
    "schedule",
    "tolerance",
    "initialization_period",
    "behavior",
    "ready",
    "ready_timeout",
    "min_ready",
    "slow_start",
    "drain",
    "balance",
];

/// Where a policy was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In a compose file, to be acted on.
    Compose,
    /// In a decision input, which may come from a cluster larger than one host.
    Decision,
}

impl Form {
    /// The most replicas that `max` may allow.
    fn most(self) -> u32 {
        match self {
            Self::Compose => 1000,
            Self::Decision => u32::MAX,
        }
    }
}

/// One mistake in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Keys (and list positions) from the root that was validated to the mistake.
    pub path: Vec<String>,
    /// What was found and what is allowed, as a fragment that reads after the path.
    pub message: String,
}

/// Reads the policy of a decision input. Its `custom` metrics may do without a source, because the
/// input carries their values, and it may have any number of replicas.
pub fn policy(value: &Value) -> Result<Policy, Vec<Problem>> {
    collect(value, |at| service(at, Form::Decision))
}

/// Reads a service's `x-autoscale`, with the project's defaults merged in.
pub fn for_compose(value: &Value) -> Result<Policy, Vec<Problem>> {
    collect(value, |at| service(at, Form::Compose))
}

/// Reads the project's `x-autoscale`. Keys of services in it are left to [`for_compose`], which
/// sees them merged.
pub fn settings(value: &Value) -> Result<Settings, Vec<Problem>> {
    collect(value, project::settings)
}

fn service(at: &Cursor<'_>, form: Form) -> Policy {
    let mut policy = Policy {
        // The default of the `HorizontalPodAutoscaler`.
        metrics: Percent::new(80.0)
            .map(|share| Metric::Cpu(Aim::Target(share)))
            .into_iter()
            .collect(),
        ..Policy::default()
    };
    let Some(map) = at.map(&AllowedKeys::only(SERVICE_KEYS), "{max: 8}") else {
        return policy;
    };
    let most = form.most();
    let minimum = map.or("min", policy.min, |at| minimum(at, most));
    let maximum = map.require(
        "max",
        format_args!("a whole number from 1 to {most}"),
        |at| count(at, 1, most),
    );
    if let (Some(minimum), Some(maximum)) = (minimum, maximum) {
        if minimum > maximum {
            map.problem(
                "min",
                format!("found `{minimum}`, expected no more than `max`, which is {maximum}"),
            );
        }
        (policy.min, policy.max) = (minimum, maximum);
    }
    map.read("port", &mut policy.port, |at| port(at).map(Some));
    map.read("metrics", &mut policy.metrics, |at| metrics(at, form));
    map.read("priority", &mut policy.priority, schedule::priority);
    let bounds = minimum.zip(maximum);
    map.read("schedule", &mut policy.schedule, |at| {
        schedule::schedule(at, bounds, most)
    });
    map.read("tolerance", &mut policy.tolerance, behavior::tolerance);
    map.read(
        "initialization_period",
        &mut policy.initialization_period,
        span,
    );
    map.read("behavior", &mut policy.behavior, behavior::behavior);
    map.read("ready", &mut policy.ready, readiness_routing::ready);
    map.read("ready_timeout", &mut policy.ready_timeout, span_above_zero);
    map.read("min_ready", &mut policy.min_ready, span);
    map.read("drain", &mut policy.drain, readiness_routing::drain);
    map.read("balance", &mut policy.balance, readiness_routing::balance);
    map.read("slow_start", &mut policy.slow_start, |at| {
        readiness_routing::slow_start(at, &policy.balance)
    });
    policy
}

fn minimum(at: &Cursor<'_>, most: u32) -> Option<u32> {
    if at.value().as_u64() == Some(0) {
        at.problem(
            "found `0`; a service keeps at least one replica, because new ones are made like it",
        );
        return None;
    }
    count(at, 1, most)
}
