//! What each metric asks for, and what they ask for together.
//!
//! The rules are those of the Kubernetes `HorizontalPodAutoscaler` v2 (`replica_calculator.go`:
//! `GetResourceReplicas`, `calcPlainMetricReplicas`, `getUsageRatioReplicaCount`; and
//! `computeReplicasForMetrics` in `horizontal.go`), plus plain thresholds, plus what a value alone does
//! not tell: a CPU quota that runs out, and the fallback of a metric that cannot be read.

use crate::policy::{Aim, CustomMetric, CustomTarget, Metric, Tolerance};

use super::{
    input::{Input, ObservedState},
    proposal::{Judged, MetricUnit, Proposal, ProposalVerdict},
    ratio::{Direction, replicas_for, within},
    samples::{self, Readiness, SHORT_OF_CPU, Samples, service_value},
    service_level,
};

/// What all metrics ask for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CombinedLoad {
    /// This many replicas, by the metric at this position.
    Wants { replicas: u32, by: usize },
    /// The metric at this position cannot be read, and the others do not ask for more.
    Unavailable { by: usize },
    /// The policy has no metric.
    Unmeasured,
}

/// What each metric of the policy asks for, in the policy's order.
pub(super) fn judge(input: &Input, current: u32) -> Vec<Judged> {
    let metrics = input.policy.metrics.iter();
    metrics
        .map(|metric| {
            let judged = with_the_reason(input, one(input, metric, current));
            match metric.custom() {
                Some(custom) => or_fallback(input, custom, judged, current),
                None if metric.is_cpu() => unless_throttled(input, judged, current),
                None => judged,
            }
        })
        .collect()
}

fn unless_throttled(input: &Input, mut judged: Judged, current: u32) -> Judged {
    let fewer = judged
        .proposal
        .desired
        .is_some_and(|desired| desired < current);
    if let Some(share) = samples::throttled(input).filter(|share| *share >= SHORT_OF_CPU)
        && fewer
    {
        judged.proposal.throttled = Some(share);
        return judged.proposal.judged(current, ProposalVerdict::Throttled);
    }
    judged
}

/// Says why it cannot be read.
fn with_the_reason(input: &Input, mut judged: Judged) -> Judged {
    if judged.verdict == ProposalVerdict::Unavailable {
        let unread = input.unread.get(&judged.proposal.metric);
        judged.proposal.error = unread.map(|unread| unread.why.clone());
    }
    judged
}

/// A metric that could not be read for a while may ask for more replicas, never for fewer.
fn or_fallback(input: &Input, custom: &CustomMetric, judged: Judged, current: u32) -> Judged {
    if judged.verdict != ProposalVerdict::Unavailable {
        return judged;
    }
    let Some(unread) = input.unread.get(&custom.name) else {
        return judged;
    };
    match custom.fallback {
        Some(fallback) if unread.failures >= custom.failures && fallback.replicas > current => {
            judged
                .proposal
                .judged(fallback.replicas, ProposalVerdict::Fallback)
        }
        _ => judged,
    }
}

/// The largest proposal wins, the first of equals. A metric that cannot be read could have asked
/// for more than the others: it forbids going below `current`, and nothing else.
pub(super) fn combine(judged: &[Judged], current: u32) -> CombinedLoad {
    let mut largest: Option<(u32, usize)> = None;
    let mut unread = None;
    let mut abstains = None;
    for (index, one) in judged.iter().enumerate() {
        match one.proposal.desired {
            None if one.proposal.abstains => abstains = abstains.or(Some(index)),
            Some(desired) if largest.is_none_or(|(so_far, _)| desired > so_far) => {
                largest = Some((desired, index));
            }
            Some(_) => {}
            None => unread = unread.or(Some(index)),
        }
    }
    match (largest, unread) {
        (None, None) => abstains.map_or(CombinedLoad::Unmeasured, |by| CombinedLoad::Wants {
            replicas: current,
            by,
        }),
        (None, Some(by)) => CombinedLoad::Unavailable { by },
        (Some((replicas, _)), Some(by)) if replicas < current => CombinedLoad::Unavailable { by },
        (Some((replicas, by)), _) => CombinedLoad::Wants { replicas, by },
    }
}

fn one(input: &Input, metric: &Metric, current: u32) -> Judged {
    let tolerance = input.policy.tolerance;
    let shares = || Samples::gather(input, metric.name(), Readiness::Matters);
    match metric {
        Metric::Cpu(aim) | Metric::Memory(aim) => match aim {
            Aim::Target(target) => {
                let target = target.get();
                let rule = Ratio {
                    target,
                    full: full(target),
                    tolerance,
                };
                rule.judge(metric.name(), MetricUnit::Percent, shares(), current)
            }
            Aim::Thresholds { above, below, step } => {
                let rule = Thresholds {
                    above: above.get(),
                    below: below.get(),
                    step: *step,
                };
                rule.judge(metric.name(), shares(), current)
            }
        },
        Metric::Requests(traffic) | Metric::InFlight(traffic) => {
            average(input, metric.name(), traffic.target, current)
        }
        Metric::Latency(latency) => service_level::latency(input, latency, current),
        Metric::Errors(errors) => service_level::errors(input, errors, current),
        Metric::Custom(custom) => match custom.target {
            CustomTarget::PerReplica(target) => {
                let samples = Samples::gather(input, &custom.name, Readiness::Ignored);
                let rule = Ratio {
                    target,
                    full: target,
                    tolerance,
                };
                rule.judge(&custom.name, MetricUnit::PerReplica, samples, current)
            }
            CustomTarget::Average(target) => average(input, &custom.name, target, current),
            CustomTarget::Service(target) => service(input, &custom.name, target, current),
        },
    }
}

/// The service's value shared over its replicas.
fn average(input: &Input, name: &str, target: f64, current: u32) -> Judged {
    let proposal = Proposal::new(name, MetricUnit::PerReplica, Some(target));
    let Some(value) = service_value(input, name) else {
        return proposal.unavailable();
    };
    let ratio = value / (target * f64::from(current));
    let proposal = proposal.valued(value / f64::from(current.max(1)));
    // With none running there is nothing to be near to: any load asks for its share.
    if current > 0 && within(input.policy.tolerance, ratio) {
        return proposal.judged(current, ProposalVerdict::Tolerance);
    }
    proposal.judged(replicas_for(value / target), ProposalVerdict::Load)
}

/// The ratio of the service's value to its target, times the replicas that are ready.
fn service(input: &Input, name: &str, target: f64, current: u32) -> Judged {
    let proposal = Proposal::new(name, MetricUnit::Number, Some(target));
    let Some(value) = service_value(input, name) else {
        return proposal.unavailable();
    };
    let ratio = value / target;
    let proposal = proposal.valued(value);
    if current == 0 {
        return proposal.judged(replicas_for(ratio), ProposalVerdict::Load);
    }
    if within(input.policy.tolerance, ratio) {
        return proposal.judged(current, ProposalVerdict::Tolerance);
    }
    let ready = input
        .counted()
        .filter(|replica| replica.state == ObservedState::Running && replica.ready)
        .count();
    if ready == 0 {
        // Any ratio times none is none, which would answer an outage with fewer replicas.
        return proposal.judged(current, ProposalVerdict::LeftOut);
    }
    proposal.judged(replicas_for(ratio * ready as f64), ProposalVerdict::Load)
}

/// What a replica without a sample is taken for when the others ask for fewer: it may be at its
/// limit. Where load is wanted above the limit (of one core, by a replica without a limit), it is
/// taken to be there.
fn full(wanted: f64) -> f64 {
    wanted.max(100.0)
}

/// Keep the mean at a target.
struct Ratio {
    target: f64,
    /// What a replica without a sample is taken for when the others ask for fewer.
    full: f64,
    tolerance: Tolerance,
}

impl Ratio {
    fn judge(&self, name: &str, unit: MetricUnit, samples: Samples, current: u32) -> Judged {
        let proposal = Proposal::new(name, unit, Some(self.target));
        let Some(mean) = samples.mean() else {
            return proposal.without(samples.left_out).unavailable();
        };
        let (desired, verdict) = self.desired(&samples, mean / self.target, current);
        proposal
            .valued(mean)
            .without(samples.left_out)
            .judged(desired, verdict)
    }

    /// The count for the mean over those that have a sample, unless those left out could make it another
    /// one. In quotes: `calcPlainMetricReplicas` of the HPA.
    fn desired(&self, samples: &Samples, ratio: f64, current: u32) -> (u32, ProposalVerdict) {
        if within(self.tolerance, ratio) {
            return (current, ProposalVerdict::Tolerance);
        }
        let direction = if ratio > 1.0 {
            Direction::Up
        } else {
            Direction::Down
        };
        let (assumed, assumed_load) = match direction {
            // "on a scale-up, treat missing pods as using 0% of the resource request", and the same of
            // unready pods.
            Direction::Up => (samples.missing + samples.set_aside, 0.0),
            // "on a scale-down, treat missing pods as using 100% (all) of the resource request".
            // Unready pods are not counted.
            Direction::Down => (samples.missing, self.full * f64::from(samples.missing)),
        };
        let uncertain = assumed > 0;
        // "re-run the usage calculation with our new numbers".
        let replicas = samples.used + assumed;
        let load = (samples.sum + assumed_load) / self.target;
        let new_ratio = load / f64::from(replicas);
        let desired = replicas_for(load);
        let flipped = (ratio < 1.0) != (new_ratio < 1.0);
        let backwards = match direction {
            Direction::Up => desired < current,
            Direction::Down => desired > current,
        };
        // "return the current replicas if the change would be too small, or if the new usage ratio would
        // cause a change in scale direction".
        if uncertain && (flipped || backwards || within(self.tolerance, new_ratio)) {
            return (current, ProposalVerdict::LeftOut);
        }
        // "return the current replicas if the change of metrics length would cause a change in scale
        // direction": of 5 replicas 2 were looked at, both at 90% of 60%, and 3 would do for those two.
        if backwards {
            return (current, ProposalVerdict::Load);
        }
        // 2 replicas, one at 60% of a 100% target, the other unseen: 1 would do for two like the
        // one, but (60 + 100) / 100 makes 2.
        let all_alike = replicas_for(ratio * f64::from(replicas));
        if uncertain && desired == current && all_alike != current {
            return (current, ProposalVerdict::LeftOut);
        }
        (desired, ProposalVerdict::Load)
    }
}

/// Add above one share, remove below another, do nothing in between.
struct Thresholds {
    above: f64,
    below: f64,
    step: u32,
}

impl Thresholds {
    fn judge(&self, name: &str, samples: Samples, current: u32) -> Judged {
        let mut proposal = Proposal::new(name, MetricUnit::Percent, None);
        proposal.above = Some(self.above);
        proposal.below = Some(self.below);
        let Some(mean) = samples.mean() else {
            return proposal.without(samples.left_out).unavailable();
        };
        let (desired, verdict) = self.desired(&samples, mean, current);
        proposal
            .valued(mean)
            .without(samples.left_out)
            .judged(desired, verdict)
    }

    fn desired(&self, samples: &Samples, mean: f64, current: u32) -> (u32, ProposalVerdict) {
        if mean > self.above {
            // Those that are wanted and not there yet will take their share as well.
            let set = (samples.used + samples.missing + samples.set_aside).max(current);
            if samples.sum / f64::from(set) > self.above {
                return (current.saturating_add(self.step), ProposalVerdict::Load);
            }
        } else if mean < self.below {
            let set = samples.used + samples.missing;
            let filled = samples.sum + full(self.above) * f64::from(samples.missing);
            if filled / f64::from(set) < self.below {
                return (current.saturating_sub(self.step), ProposalVerdict::Load);
            }
        } else {
            return (current, ProposalVerdict::Tolerance);
        }
        (current, ProposalVerdict::LeftOut)
    }
}
