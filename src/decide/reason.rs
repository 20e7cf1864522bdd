//! Why a decision came out as it did, as a word for machines and a sentence for people.

use std::{cmp::Ordering, fmt};

use serde::{Deserialize, Serialize};

use super::{
    DecisionTrace, ScaleDownBlock,
    input::Pause,
    proposal::{Absence, ProposalVerdict},
    recommend::CombinedLoad,
};

/// What stopped a count short of where it was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The policy's `min`.
    Min,
    /// The policy's `max`.
    Max,
    /// `behavior.scale_up`: its rate policies, or that it is disabled.
    ScaleUpPolicy,
    /// `behavior.scale_down`: its rate policies, or that it is disabled.
    ScaleDownPolicy,
    /// The machine has no room for more.
    Host,
}

impl Limit {
    /// The setting that is meant.
    pub(super) fn setting(self) -> &'static str {
        match self {
            Self::Min => "min",
            Self::Max => "max",
            Self::ScaleUpPolicy => "behavior.scale_up",
            Self::ScaleDownPolicy => "behavior.scale_down",
            Self::Host => "host",
        }
    }
}

/// Why the count changes, or why it does not. A change has the cause that asked for it, even if a
/// limit made it smaller; a count that stays has whatever keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Replicas are added: the load asks for more.
    AboveTarget,
    /// Replicas are removed: the load asks for fewer.
    BelowTarget,
    /// The load is near its target, or no smaller count would carry it.
    WithinTolerance,
    /// No metric can be read, or one cannot and the others ask for fewer.
    MetricsUnavailable,
    /// Replicas without a sample may make up for the difference.
    MetricsIncomplete,
    /// Replicas that are not ready yet may make up for the difference.
    ReplicasStarting,
    /// The load has not asked for more all through the stabilization window.
    StabilizingUp,
    /// The load has asked for more within the stabilization window.
    StabilizingDown,
    /// The count is, or has to be raised to, the minimum.
    AtMin,
    /// The count is, or has to be lowered to, the maximum.
    AtMax,
    /// As much was changed already as the rate policies allow.
    RateLimited,
    /// The policy forbids this direction.
    Disabled,
    /// The machine cannot hold another replica.
    HostFull,
    /// Autoscaling is suspended.
    Paused,
    /// The count was set by hand.
    Held,
    /// The policy has no metric.
    NoMetrics,
    /// A bound of the schedule.
    Schedule,
    /// A burst lasts, and while it does nothing is removed.
    Burst,
    /// A replica ran out of memory a short while ago: that is no time to remove one.
    OutOfMemory,
    /// The load asks for fewer, but the CPU quota of those there are runs out again and again.
    Throttled,
    /// A metric cannot be read for a while, and its fallback asks for more replicas.
    Fallback,
    /// Requests take long or fail, but the replicas are not busy: more of them would not help.
    ReplicasIdle,
    /// Requests take long or fail, and what the last replicas bring is not known yet.
    Trying,
    /// Requests take long or fail, and the last replicas did not help.
    NoHelp,
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 24] = [
        Self::AboveTarget,
        Self::BelowTarget,
        Self::WithinTolerance,
        Self::MetricsUnavailable,
        Self::MetricsIncomplete,
        Self::ReplicasStarting,
        Self::StabilizingUp,
        Self::StabilizingDown,
        Self::AtMin,
        Self::AtMax,
        Self::RateLimited,
        Self::Disabled,
        Self::HostFull,
        Self::Paused,
        Self::Held,
        Self::NoMetrics,
        Self::Schedule,
        Self::Burst,
        Self::OutOfMemory,
        Self::Throttled,
        Self::Fallback,
        Self::ReplicasIdle,
        Self::Trying,
        Self::NoHelp,
    ];

    /// The word for it in JSON, logs and metric labels.
    pub fn label(self) -> &'static str {
        match self {
            Self::AboveTarget => "above_target",
            Self::BelowTarget => "below_target",
            Self::WithinTolerance => "within_tolerance",
            Self::MetricsUnavailable => "metrics_unavailable",
            Self::MetricsIncomplete => "metrics_incomplete",
            Self::ReplicasStarting => "replicas_starting",
            Self::StabilizingUp => "stabilizing_up",
            Self::StabilizingDown => "stabilizing_down",
            Self::AtMin => "at_min",
            Self::AtMax => "at_max",
            Self::RateLimited => "rate_limited",
            Self::Disabled => "disabled",
            Self::HostFull => "host_full",
            Self::Paused => "paused",
            Self::Held => "held",
            Self::NoMetrics => "no_metrics",
            Self::Schedule => "schedule",
            Self::Burst => "burst",
            Self::OutOfMemory => "out_of_memory",
            Self::Throttled => "throttled",
            Self::Fallback => "fallback",
            Self::ReplicasIdle => "replicas_idle",
            Self::Trying => "trying",
            Self::NoHelp => "no_help",
        }
    }

    /// Whether a count that stays for this reason is as everybody wants it. Any other stands in
    /// somebody's way.
    pub fn is_calm(self) -> bool {
        matches!(
            self,
            Self::WithinTolerance | Self::AtMin | Self::StabilizingDown | Self::NoMetrics
        )
    }

    pub(super) fn of(steps: &DecisionTrace<'_>) -> Self {
        let (current, desired) = (steps.current, steps.desired);
        match (steps.input.hold, steps.input.paused) {
            (Some(_), _) => return Self::Held,
            (None, Some(Pause::Both)) => return Self::Paused,
            _ if desired != steps.limited.to => return Self::Paused,
            _ => {}
        }
        let limited = steps.limited.by;
        let Some(stabilized) = steps.stabilized else {
            return match (limited, steps.load) {
                (Some(Limit::Host), _) if desired == current => Self::HostFull,
                (Some(_), _) if current < steps.bounds.min => Self::at_min(steps),
                (Some(_), _) => Self::at_max(steps),
                (None, CombinedLoad::Unmeasured) => Self::NoMetrics,
                (None, CombinedLoad::Unavailable { .. } | CombinedLoad::Wants { .. }) => {
                    Self::MetricsUnavailable
                }
            };
        };
        let by = steps.leading().map(|judged| judged.verdict);
        match desired.cmp(&current) {
            Ordering::Greater if by == Some(ProposalVerdict::Fallback) => return Self::Fallback,
            Ordering::Greater => return Self::AboveTarget,
            Ordering::Less => return Self::BelowTarget,
            Ordering::Equal => {}
        }
        let wanted = steps.wanted().unwrap_or(current);
        if wanted == current {
            return Self::of_an_unchanged_load(steps);
        }
        match steps.kept {
            Some(ScaleDownBlock::Burst) => return Self::Burst,
            Some(ScaleDownBlock::OutOfMemory) => return Self::OutOfMemory,
            None => {}
        }
        if stabilized.to == current {
            return if wanted > current {
                Self::StabilizingUp
            } else {
                Self::StabilizingDown
            };
        }
        match limited {
            Some(Limit::Min) => Self::at_min(steps),
            Some(Limit::Max) | None => Self::at_max(steps),
            Some(Limit::Host) => Self::HostFull,
            Some(Limit::ScaleUpPolicy | Limit::ScaleDownPolicy) if steps.is_disabled() => {
                Self::Disabled
            }
            Some(Limit::ScaleUpPolicy | Limit::ScaleDownPolicy) => Self::RateLimited,
        }
    }

    fn of_an_unchanged_load(steps: &DecisionTrace<'_>) -> Self {
        let Some(judged) = steps.leading() else {
            return Self::NoMetrics;
        };
        match judged.verdict {
            ProposalVerdict::LeftOut => {
                let left_out = &judged.proposal.left_out;
                if left_out.iter().any(|one| one.why == Absence::NoSample) {
                    Self::MetricsIncomplete
                } else {
                    Self::ReplicasStarting
                }
            }
            // 1% of a 60% target with 1 replica asks for 1: what keeps it is the minimum.
            ProposalVerdict::Load if steps.current == steps.bounds.min => Self::at_min(steps),
            ProposalVerdict::Load | ProposalVerdict::Tolerance | ProposalVerdict::Abstains => {
                Self::WithinTolerance
            }
            ProposalVerdict::Idle => Self::ReplicasIdle,
            ProposalVerdict::Trying => Self::Trying,
            ProposalVerdict::NoHelp => Self::NoHelp,
            ProposalVerdict::Throttled => Self::Throttled,
            ProposalVerdict::Unavailable | ProposalVerdict::Fallback => Self::MetricsUnavailable,
        }
    }

    fn at_min(steps: &DecisionTrace<'_>) -> Self {
        if steps.bounds.min_by_schedule {
            Self::Schedule
        } else {
            Self::AtMin
        }
    }

    fn at_max(steps: &DecisionTrace<'_>) -> Self {
        if steps.bounds.max_by_schedule {
            Self::Schedule
        } else {
            Self::AtMax
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AboveTarget => "the load asks for more replicas",
            Self::BelowTarget => "the load asks for fewer replicas",
            Self::WithinTolerance => "the load needs as many replicas as there are",
            Self::MetricsUnavailable => "the load cannot be read",
            Self::MetricsIncomplete => "some replicas have no sample",
            Self::ReplicasStarting => "some replicas are not ready yet",
            Self::StabilizingUp => "waiting until the load stays high",
            Self::StabilizingDown => "waiting until the load stays low",
            Self::AtMin => "the minimum",
            Self::AtMax => "the maximum",
            Self::RateLimited => "no further change is allowed for now",
            Self::Disabled => "scaling in this direction is disabled",
            Self::HostFull => "the host has no room for another replica",
            Self::Paused => "scaling is paused",
            Self::Held => "the count is held by hand",
            Self::NoMetrics => "the policy has no metric",
            Self::Schedule => "a bound of the schedule",
            Self::Burst => "a burst lasts",
            Self::OutOfMemory => "a replica ran out of memory",
            Self::Throttled => "the CPU quota runs out again and again",
            Self::Fallback => "the fallback of a metric that cannot be read",
            Self::ReplicasIdle => "the replicas are not busy",
            Self::Trying => "waiting for what the last replicas bring",
            Self::NoHelp => "the last replicas did not help",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_what_json_says() {
        for reason in Reason::ALL {
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{}\"", reason.label()));
        }
    }
}
