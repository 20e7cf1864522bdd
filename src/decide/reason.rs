//! Why a decision came out as it did, as a word for machines and a sentence for people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    Steps,
    input::Pause,
    proposal::{Absence, Verdict},
    recommend::Load,
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
}

impl Reason {
    /// Every reason there is.
    pub const ALL: [Self; 16] = [
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
        }
    }

    pub(super) fn of(steps: &Steps<'_>) -> Self {
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
                (Some(_), _) if current < steps.input.policy.min => Self::AtMin,
                (Some(_), _) => Self::AtMax,
                (None, Load::Unmeasured) => Self::NoMetrics,
                (None, Load::Unavailable { .. } | Load::Wants { .. }) => Self::MetricsUnavailable,
            };
        };
        if desired != current {
            return if desired > current {
                Self::AboveTarget
            } else {
                Self::BelowTarget
            };
        }
        let wanted = steps.wanted().unwrap_or(current);
        if wanted == current {
            return Self::of_an_unchanged_load(steps);
        }
        if stabilized.to == current {
            return if wanted > current {
                Self::StabilizingUp
            } else {
                Self::StabilizingDown
            };
        }
        match limited {
            Some(Limit::Min) => Self::AtMin,
            Some(Limit::Max) | None => Self::AtMax,
            Some(Limit::Host) => Self::HostFull,
            Some(Limit::ScaleUpPolicy | Limit::ScaleDownPolicy) if steps.is_disabled() => {
                Self::Disabled
            }
            Some(Limit::ScaleUpPolicy | Limit::ScaleDownPolicy) => Self::RateLimited,
        }
    }

    fn of_an_unchanged_load(steps: &Steps<'_>) -> Self {
        let Some(judged) = steps.leading() else {
            return Self::NoMetrics;
        };
        match judged.verdict {
            Verdict::LeftOut => {
                let left_out = &judged.proposal.left_out;
                if left_out.iter().any(|one| one.why == Absence::NoSample) {
                    Self::MetricsIncomplete
                } else {
                    Self::ReplicasStarting
                }
            }
            // 1% of a 60% target with 1 replica asks for 1: what keeps it is the minimum.
            Verdict::Load if steps.current == steps.input.policy.min => Self::AtMin,
            Verdict::Load | Verdict::Tolerance => Self::WithinTolerance,
            Verdict::Unavailable => Self::MetricsUnavailable,
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
