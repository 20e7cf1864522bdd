//! What a metric of a policy is to an autoscaler: a share of a pod's resources, or a trigger of KEDA.

use crate::policy::{Aim, Metric, Policy};

use super::{AutoscaleSubject, custom, notes::Notes, request_metrics, trigger::Trigger};

/// What is scaled by.
#[derive(Debug)]
pub(super) enum ScalingTrigger {
    /// A share of what the pods request.
    Share {
        /// `cpu` or `memory`.
        resource: &'static str,
        /// In percent.
        percent: i32,
    },
    /// A number from elsewhere.
    Trigger(Trigger),
}

impl ScalingTrigger {
    /// Whether a `HorizontalPodAutoscaler` can read it without help.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Share { .. })
    }
}

/// What a metric becomes; `None` with a remark where it becomes nothing.
pub(super) fn load(
    subject: &AutoscaleSubject<'_>,
    policy: &Policy,
    index: usize,
    metric: &Metric,
    notes: &mut Notes,
) -> Option<ScalingTrigger> {
    let place = format!("metrics.{index}.{}", metric.key());
    match metric {
        Metric::Cpu(aim) => Some(share("cpu", *aim, &place, notes)),
        Metric::Memory(aim) => {
            if subject.limits.memory.is_none() {
                notes.lost(
                    place,
                    "without a limit of memory there is nothing to take a share of, so it is left out",
                    "set deploy.resources.limits.memory of the service",
                );
                return None;
            }
            Some(share("memory", *aim, &place, notes))
        }
        Metric::Requests(_) | Metric::InFlight(_) | Metric::Latency(_) | Metric::Errors(_) => {
            request_metrics::trigger(subject, policy, metric, &place, notes)
                .map(ScalingTrigger::Trigger)
        }
        Metric::Custom(custom) => {
            custom::trigger(subject, custom, &place, notes).map(ScalingTrigger::Trigger)
        }
    }
}

/// A share of the requests, which are equal to the limits. The API takes whole numbers of percent.
fn share(resource: &'static str, aim: Aim, place: &str, notes: &mut Notes) -> ScalingTrigger {
    // Thresholds have become a target before.
    let (Aim::Target(target) | Aim::Thresholds { above: target, .. }) = aim;
    let percent = target.get().round().clamp(1.0, f64::from(i32::MAX));
    if percent.to_bits() != target.get().to_bits() {
        notes.lost(
            place,
            format!(
                "{target} is written as {percent}%: the API takes whole numbers of percent, from 1"
            ),
            "use a whole number of percent",
        );
    }
    ScalingTrigger::Share {
        resource,
        percent: percent as i32,
    }
}
