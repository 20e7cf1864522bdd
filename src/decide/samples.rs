//! Which replicas' samples of a metric can be used, and why the others cannot.

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

/// No load is negative, infinite or no number at all.
pub(super) fn plausible(value: f64) -> Option<f64> {
    (value.is_finite() && value >= 0.0).then_some(value)
}
