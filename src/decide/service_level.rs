//! How well requests are served: how long they take and how many fail. Neither follows the number of
//! replicas as a load does. A database that is slow is as slow for ten replicas as for two, and an app
//! with a mistake in it fails in each of them. So replicas are added only where those there are busy, a
//! few at a time, and no more where the last ones did not help:
//!
//! 1. over the target, and the replicas are idle: nothing is added;
//! 2. else some are added, as many as the ratio asks for, but no more than a quarter while their CPU is
//!    idle, half while requests were seen to have waited, and no more than twice as many while their CPU is
//!    busy;
//! 3. then nothing, until they are ready and a whole window of requests has begun and ended after that;
//! 4. if the metric is still over its target then, but has come down by a fifth, that helped: on with 2,
//!    with an idle CPU only once it comes down no further, because what recovers by itself needs no help. If
//!    it has not, but so many more requests are answered as half of the new replicas should answer, they
//!    were waiting: on. Else nothing more is added until a fifth more requests come.
//!
//! Over the target nothing is removed. Below it the other metrics of the load decide; where there are none,
//! one replica at a time goes when the rest would be idle too, or when requests take half the target at most
//! and the CPU of the rest would not be full.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    policy::{ErrorTarget, LatencyTarget, Metric},
    units::Short,
};

use super::{
    DecisionTrace,
    figures::Figure,
    history::{ScaleUpTrial, TrialOutcome},
    input::{Input, ObservedState},
    proposal::{Judged, MetricUnit, Proposal, ProposalVerdict, ReplicaLoad, ServiceLevel},
    ratio::{replicas_for, within},
    samples::{self, Readiness, SHORT_OF_CPU, Samples, service_value},
};

/// A replica with fewer requests under way, on average, is idle by that measure.
const BUSY_REQUESTS: f64 = 1.0;
/// A replica that uses less CPU, in percent of its limit, is idle by that measure.
const BUSY_CPU: f64 = 50.0;
/// The most by which the count grows at once while its CPU is idle, …
const CAREFUL: f64 = 1.25;
/// … where requests were seen to wait for a replica, …
const WAITED: f64 = 1.5;
/// … and while its CPU is busy.
const PROVEN: f64 = 2.0;
/// More CPU than this, in percent, no replica that stays should come to because another one goes.
const FULL_CPU: f64 = 80.0;
/// A metric that has come down to this share of itself has got better, …
const BETTER: f64 = 0.8;
/// … one that has come down to this share of itself within a window is still coming down, …
const STEADY: f64 = 0.95;
/// … and when so much more is answered, as a part of what the new replicas add, requests had waited.
const ANSWERED: f64 = 0.5;
/// With so many times the requests it is worth another try.
const MORE_LOAD: f64 = 1.2;
/// More by so many times its usual variation is no chance.
const CHANCE: f64 = 3.0;
/// nginx's log is late by so much, and the begin of a window is not known better.
const LATE: Duration = Duration::from_secs(8);
/// So long nginx waits for an answer before it is a failure.
const GIVEN_UP: Duration = Duration::from_secs(60);

impl ReplicaLoad {
    fn of(input: &Input, current: u32) -> Self {
        let throttled = samples::throttled(input).is_some_and(|share| share >= SHORT_OF_CPU);
        Self {
            requests: service_value(input, "requests").unwrap_or(0.0),
            in_flight: service_value(input, "in_flight").map(|all| all / f64::from(current.max(1))),
            cpu: Samples::gather(input, "cpu", Readiness::Matters).mean(),
            throttled,
        }
    }

    fn by_cpu(&self) -> bool {
        self.throttled || self.cpu.is_some_and(|cpu| cpu >= BUSY_CPU)
    }

    fn is_busy(&self) -> bool {
        self.by_cpu() || self.in_flight.is_some_and(|each| each >= BUSY_REQUESTS)
    }

    /// With one replica fewer.
    fn with_one_fewer(self, current: u32) -> Self {
        let more = f64::from(current) / f64::from(current.saturating_sub(1).max(1));
        Self {
            in_flight: self.in_flight.map(|each| each * more),
            cpu: self.cpu.map(|cpu| cpu * more),
            ..self
        }
    }
}

/// What is known before anything is decided.
struct ServiceLevelInput<'a> {
    input: &'a Input,
    metric: &'a str,
    window: Duration,
    current: u32,
    value: f64,
    /// Whether that is how long requests take, in milliseconds.
    is_a_time: bool,
    busy: ReplicaLoad,
    is_over: bool,
}

impl ServiceLevelInput<'_> {
    /// What is known of the last replicas, as it is now.
    fn trial(&self) -> Option<ScaleUpTrial> {
        let now = self.input.now;
        let mut trial = *self.input.history.trials.get(self.metric)?;
        let policy = &self.input.policy;
        if !self.is_over && trial.is_over(now, &policy.behavior.scale_down) {
            return None;
        }
        if self.is_over {
            trial.over = now;
        }
        let (ready, a_new_one) = self.ready(&trial);
        let late = now >= trial.at + policy.ready_timeout.0;
        if trial.settled.is_none() && (ready >= self.current || a_new_one && late) {
            trial.settled = Some(now);
        }
        let needs = self.window + self.slowest(&trial) + policy.slow_start.0 + LATE;
        // What is at its target may be so for another reason: a database that recovers now and then.
        if self.is_over
            && trial.outcome == TrialOutcome::Open
            && trial.settled.is_some_and(|at| now >= at + needs)
        {
            let added = f64::from(ready) / f64::from(trial.replicas.max(1)) - 1.0;
            trial.outcome = if self.value <= trial.value * BETTER {
                trial.falling = Some((now, self.value));
                TrialOutcome::Helped
            } else if added > 0.0 && self.is_more(trial.requests, added * ANSWERED) {
                TrialOutcome::Answered
            } else {
                TrialOutcome::NoHelp
            };
        }
        if let Some((at, value)) = trial.falling
            && self.is_over
            && now >= at + self.window
            && self.value <= value * STEADY
        {
            trial.falling = Some((now, self.value));
        }
        Some(trial)
    }

    /// How many replicas are ready, and whether one is that was made for the trial.
    fn ready(&self, trial: &ScaleUpTrial) -> (u32, bool) {
        let since = self.input.now.since(trial.at);
        let ready = self
            .input
            .counted()
            .filter(|one| one.state == ObservedState::Running && one.ready);
        let mut count = 0;
        let mut a_new_one = false;
        for one in ready {
            count += 1;
            a_new_one |= one.age.0 <= since;
        }
        (count, a_new_one)
    }

    /// How long a request may take that began before the new replicas were there.
    fn slowest(&self, trial: &ScaleUpTrial) -> Duration {
        if self.is_a_time {
            let most = self.window * 4;
            return Duration::try_from_secs_f64(self.value.max(trial.value) / 1000.0)
                .map_or(most, |slowest| slowest.min(most));
        }
        let each = self.busy.in_flight.unwrap_or(0.0) * f64::from(self.current.max(1));
        let mean = each / self.busy.requests.max(f64::MIN_POSITIVE);
        // Where the mean is a second and more, some may be those that nobody answers.
        if mean >= 1.0 {
            GIVEN_UP
        } else {
            Duration::from_secs_f64(mean * 3.0)
        }
    }

    /// Whether there are more requests than there were, by this part at least, and not by chance.
    fn is_more(&self, then: f64, by: f64) -> bool {
        let seconds = self.window.as_secs_f64();
        let more = (self.busy.requests - then) * seconds;
        more >= then * seconds * by && more >= CHANCE * (then * seconds).sqrt()
    }

    /// Whether more replicas are to be added, and if not, why.
    fn verdict(&self, trial: Option<&ScaleUpTrial>) -> ProposalVerdict {
        if !self.busy.is_busy() {
            return ProposalVerdict::Idle;
        }
        let Some(trial) = trial else {
            return ProposalVerdict::Load;
        };
        match trial.outcome {
            TrialOutcome::Answered => ProposalVerdict::Load,
            TrialOutcome::Helped => {
                let seen = |(at, _)| self.input.now >= at + self.window;
                if self.busy.by_cpu() || trial.falling.is_none_or(seen) {
                    ProposalVerdict::Load
                } else {
                    ProposalVerdict::Trying
                }
            }
            TrialOutcome::Open => ProposalVerdict::Trying,
            TrialOutcome::NoHelp if self.is_more(trial.requests, MORE_LOAD - 1.0) => {
                ProposalVerdict::Load
            }
            TrialOutcome::NoHelp => ProposalVerdict::NoHelp,
        }
    }

    /// Over the target.
    fn over(&self, proposal: Proposal, more: impl FnOnce(f64) -> u32) -> Judged {
        let trial = self.trial();
        let verdict = self.verdict(trial.as_ref());
        let desired = match verdict {
            ProposalVerdict::Load => {
                let most = match trial.map(|trial| trial.outcome) {
                    Some(TrialOutcome::NoHelp) => CAREFUL,
                    _ if self.busy.by_cpu() => PROVEN,
                    Some(TrialOutcome::Answered) => WAITED,
                    _ => CAREFUL,
                };
                more(most).max(self.current.saturating_add(1))
            }
            _ => self.current,
        };
        self.with_what_it_was_judged_by(trial, proposal.judged(desired, verdict))
    }

    /// Where there is no metric of the load beside it.
    fn is_alone(&self) -> bool {
        let mut metrics = self.input.policy.metrics.iter();
        !metrics.any(Metric::is_of_load)
    }

    fn with_what_it_was_judged_by(
        &self,
        trial: Option<ScaleUpTrial>,
        mut judged: Judged,
    ) -> Judged {
        judged.quality = Some(ServiceLevel {
            verdict: judged.verdict,
            value: self.value,
            unit: judged.proposal.unit,
            busy: self.busy,
            trial,
        });
        judged
    }
}

/// Requests that take longer than they should.
pub(super) fn latency(input: &Input, latency: &LatencyTarget, current: u32) -> Judged {
    let target = latency.target.0.as_secs_f64() * 1000.0;
    let mut proposal = Proposal::new("latency", MetricUnit::Millis, Some(target));
    proposal.percentile = Some(latency.percentile.key().into());
    let Some(value) = service_value(input, "latency") else {
        return proposal.unavailable();
    };
    let ratio = value / target;
    let tolerance = input.policy.tolerance;
    let near = within(tolerance, ratio);
    let proposal = proposal.valued(value);
    let case = ServiceLevelInput {
        input,
        metric: "latency",
        window: latency.window.0,
        current,
        value,
        is_a_time: true,
        busy: ReplicaLoad::of(input, current),
        is_over: ratio > 1.0 && !near,
    };
    if case.is_over {
        return case.over(proposal, |most| {
            replicas_for(f64::from(current) * ratio.min(most))
        });
    }
    let judged = if near {
        proposal.judged(current, ProposalVerdict::Tolerance)
    } else if !case.is_alone() {
        proposal.abstaining()
    } else {
        let then = case.busy.with_one_fewer(current);
        let room = !then.throttled && then.cpu.is_none_or(|cpu| cpu < FULL_CPU);
        let fewer = current > 1 && (!then.is_busy() || ratio <= 0.5 && room);
        proposal.judged(current - u32::from(fewer), ProposalVerdict::Load)
    };
    case.with_what_it_was_judged_by(case.trial(), judged)
}

/// Requests that fail.
pub(super) fn errors(input: &Input, errors: &ErrorTarget, current: u32) -> Judged {
    let above = errors.above.get();
    let mut proposal = Proposal::new("errors", MetricUnit::Percent, None);
    proposal.above = Some(above);
    let Some(value) = service_value(input, "errors") else {
        return proposal.unavailable();
    };
    let proposal = proposal.valued(value);
    let case = ServiceLevelInput {
        input,
        metric: "errors",
        window: errors.window.0,
        current,
        value,
        is_a_time: false,
        busy: ReplicaLoad::of(input, current),
        is_over: value > above,
    };
    if case.is_over {
        return case.over(proposal, |_| current.saturating_add(errors.step));
    }
    case.with_what_it_was_judged_by(case.trial(), proposal.abstaining())
}

/// What is known of replicas that were added for such a metric, after this decision.
pub(super) fn trials(steps: &DecisionTrace<'_>) -> BTreeMap<String, ScaleUpTrial> {
    let now = steps.input.now;
    let raised = steps.desired > steps.current;
    let each = steps.judged.iter().filter_map(|judged| {
        let metric = &judged.proposal.metric;
        let Some(quality) = &judged.quality else {
            // What cannot be read now is read again.
            let before = *steps.input.history.trials.get(metric)?;
            return Some((metric.clone(), before));
        };
        let over = quality.verdict == ProposalVerdict::Load
            && judged
                .proposal
                .desired
                .is_some_and(|desired| desired > steps.current);
        if raised && over {
            let trial = ScaleUpTrial {
                at: now,
                value: quality.value,
                requests: quality.busy.requests,
                replicas: steps.current,
                settled: None,
                falling: None,
                over: now,
                outcome: TrialOutcome::Open,
            };
            return Some((metric.clone(), trial));
        }
        Some((metric.clone(), quality.trial?))
    });
    each.collect()
}

impl ServiceLevel {
    /// Why nothing is added, for a sentence.
    pub(super) fn words(&self) -> String {
        match (self.verdict, &self.trial) {
            (ProposalVerdict::Trying, _) => "what the last replicas bring is not known yet".into(),
            (ProposalVerdict::NoHelp, Some(trial)) => {
                let then = Figure(trial.value, self.unit);
                format!(
                    "more replicas did not help ({then} before): what is slow or fails is not them"
                )
            }
            _ => {
                let ReplicaLoad { in_flight, cpu, .. } = self.busy;
                let in_flight = in_flight.map(|each| format!("{} in flight each", Short(each)));
                let cpu = cpu.map(|cpu| format!("cpu {}%", Short(cpu)));
                let each: Vec<_> = in_flight.into_iter().chain(cpu).collect();
                let each = if each.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", each.join(", "))
                };
                format!("the replicas are not busy{each}, so more of them would not help")
            }
        }
    }
}

#[cfg(test)]
mod tests;
