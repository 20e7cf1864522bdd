//! Which replicas' samples of a metric can be used, and why the others cannot.

use std::time::Duration;

use crate::units::Span;

use super::{
    input::{Input, Observed, ObservedState},
    proposal::{Absence, LeftOut},
};

/// The samples of one metric, and who has none that can be used.
pub(super) struct Samples {
    pub(super) sum: f64,
    pub(super) used: u32,
    /// Replicas that should have a sample and have none.
    pub(super) missing: u32,
    /// Replicas whose sample says nothing yet.
    pub(super) set_aside: u32,
    pub(super) left_out: Vec<LeftOut>,
}

/// Whether a replica must be ready and old enough for its sample to be used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Readiness {
    Matters,
    Ignored,
}

impl Samples {
    pub(super) fn gather(input: &Input, name: &str, readiness: Readiness) -> Self {
        let mut samples = Self {
            sum: 0.0,
            used: 0,
            missing: 0,
            set_aside: 0,
            left_out: Vec::new(),
        };
        for replica in input.counted() {
            match usable(input, replica, name, readiness) {
                Ok(value) => {
                    samples.sum += value;
                    samples.used += 1;
                }
                Err(why) => {
                    match why {
                        Absence::NoSample => samples.missing += 1,
                        Absence::NotReady
                        | Absence::Initializing
                        | Absence::NotStarted
                        | Absence::Restarting => samples.set_aside += 1,
                    }
                    let name = replica.name.clone();
                    samples.left_out.push(LeftOut { name, why });
                }
            }
        }
        samples
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.used > 0).then(|| self.sum / f64::from(self.used))
    }
}

fn usable(
    input: &Input,
    replica: &Observed,
    name: &str,
    readiness: Readiness,
) -> Result<f64, Absence> {
    match replica.state {
        ObservedState::Created => return Err(Absence::NotStarted),
        ObservedState::Restarting => return Err(Absence::Restarting),
        _ => {}
    }
    let value = replica.metrics.get(name).copied().and_then(plausible);
    // What it has used since its restart says nothing: it ran against its limit.
    if name == "memory" && replica.out_of_memory.is_some_and(|ago| ago.0 < FULL_AFTER) {
        return Ok(value.unwrap_or_default().max(100.0));
    }
    let value = value.ok_or(Absence::NoSample)?;
    if readiness == Readiness::Matters {
        if !replica.ready {
            return Err(Absence::NotReady);
        }
        if replica.age < input.policy.initialization_period {
            return Err(Absence::Initializing);
        }
    }
    Ok(value)
}

/// For so long after it ran out of memory a replica counts as at its limit.
const FULL_AFTER: Duration = Duration::from_secs(60);

/// A replica that ran out of memory within the window of scaling down, or the last minute if that is
/// longer, whether it runs again or not.
pub(super) fn out_of_memory(input: &Input) -> Option<&Observed> {
    let window = input.policy.behavior.scale_down.stabilization_window.0;
    let recent = |ago: Span| ago.0 < window.max(FULL_AFTER);
    input
        .replicas
        .iter()
        .find(|replica| replica.out_of_memory.is_some_and(recent))
}

/// Replicas whose quota runs out for this share of the time are not too many, whatever their mean
/// says: they are busy in bursts.
pub(super) const SHORT_OF_CPU: f64 = 25.0;

/// The mean share of time in which the CPU quota of the replicas ran out, in percent.
pub(super) fn throttled(input: &Input) -> Option<f64> {
    let shares: Vec<f64> = input
        .counted()
        .filter_map(|replica| replica.throttled.and_then(plausible))
        .collect();
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / shares.len() as f64)
}

/// No load is negative, infinite or no number at all.
pub(super) fn plausible(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then_some(value)
}

/// The service's value of a metric.
pub(super) fn service_value(input: &Input, name: &str) -> Option<f64> {
    input.service_metrics.get(name).copied().and_then(plausible)
}
