//! What would have to be different for another answer, found by asking [`decide`](super::decide)
//! itself about inputs that differ in one point. So it holds for every rule there is.

use crate::{
    policy::{Metric, MetricScope, Rate},
    units::{Short, Timestamp},
};

use super::{
    decide,
    figures::Figure,
    input::Input,
    proposal::{MetricUnit, Proposal},
};

/// Values are found to this share of themselves: a tenth of a percent is what is shown.
const PRECISION: f64 = 1e-5;
/// A load that is this many times its target is not looked beyond.
const FARTHEST: f64 = 1e4;

/// Sentences like `cpu above 66%: 4`, each an input that would have another answer. Empty when no
/// single difference changes it.
pub(super) fn otherwise(input: &Input) -> Vec<String> {
    let decision = decide(input);
    let answer = decision.desired;
    let mut found = Vec::new();
    for (what, other) in without(input) {
        let desired = decide(&other).desired;
        if desired != answer {
            found.push(format!("{what}: {desired}"));
        }
    }
    if let Some((at, desired)) = later(input, decision.recommendation, answer) {
        found.push(format!("at {}, all else equal: {desired}", at.clock()));
    }
    let mut asked: Vec<&str> = Vec::new();
    for proposal in &decision.proposals {
        if asked.contains(&proposal.metric.as_str()) {
            continue;
        }
        asked.push(&proposal.metric);
        found.extend(loads(input, proposal, answer));
    }
    found
}

/// The same without what somebody or something put in the way.
fn without(input: &Input) -> Vec<(String, Input)> {
    let with = |change: &dyn Fn(&mut Input)| {
        let mut other = input.clone();
        change(&mut other);
        other
    };
    let mut others = Vec::new();
    if input.hold.is_some() {
        let other = with(&|one| one.hold = None);
        others.push(("without the hold".to_owned(), other));
    }
    if input.paused.is_some() {
        let other = with(&|one| one.paused = None);
        others.push(("without the pause".to_owned(), other));
    }
    if let Some(host) = &input.host {
        let other = with(&|one| {
            if let Some(host) = &mut one.host {
                host.free_memory = None;
            }
        });
        others.push(("with more memory on the host".to_owned(), other));
        if let Some(cpu) = host.cpu {
            let other = with(&|one| {
                if let Some(host) = &mut one.host {
                    host.cpu = None;
                }
            });
            let share = Short(100.0 - cpu.reserve);
            others.push((
                format!("with the host's cores less than {share}% busy"),
                other,
            ));
        }
    }
    if !input.policy.schedule.is_empty() {
        let other = with(&|one| one.policy.schedule.clear());
        others.push(("without the schedule".to_owned(), other));
    }
    if input.history.burst.is_some() {
        let other = with(&|one| one.history.burst = None);
        others.push(("without the burst".to_owned(), other));
    }
    if input.replicas.iter().any(|one| one.out_of_memory.is_some()) {
        let other = with(&|one| {
            for replica in &mut one.replicas {
                replica.out_of_memory = None;
            }
        });
        others.push(("had no replica run out of memory".to_owned(), other));
    }
    if input.replicas.iter().any(|one| one.throttled.is_some()) {
        let other = with(&|one| {
            for replica in &mut one.replicas {
                replica.throttled = None;
            }
        });
        others.push(("with a CPU quota that does not run out".to_owned(), other));
    }
    let (min, max) = (input.policy.min, input.policy.max);
    let higher = with(&|one| one.policy.max = u32::MAX);
    others.push((format!("with a max above {max}"), higher));
    if min > 1 {
        let lower = with(&|one| one.policy.min = 1);
        others.push((format!("with a min below {min}"), lower));
    }
    others
}

/// The first moment at which the same load has another answer: a window has passed, or a replica
/// is old enough to count.
fn later(input: &Input, recommendation: Option<u32>, answer: u32) -> Option<(Timestamp, u32)> {
    let behavior = &input.policy.behavior;
    let (up, down) = (&behavior.scale_up, &behavior.scale_down);
    let windows = [up.stabilization_window.0, down.stabilization_window.0];
    let recommended = input.history.recommendations.iter();
    let mut moments: Vec<_> = recommended
        .flat_map(|one| windows.map(|window| one.at + window))
        .collect();
    let span = |rate: &Rate| match rate {
        Rate::Percent { per, .. } | Rate::Replicas { per, .. } => per.0,
    };
    for event in &input.history.scale_events {
        let rates = up.policies.iter().chain(&down.policies);
        moments.extend(rates.map(|rate| event.at + span(rate)));
    }
    moments.extend(
        up.burst
            .zip(input.history.burst)
            .map(|(rules, at)| at + rules.lasts()),
    );
    let schedules = input.policy.schedule.iter();
    moments.extend(schedules.filter_map(|schedule| schedule.turns(input.now)));
    let young = input.policy.initialization_period.0;
    let ages = input.replicas.iter().map(|one| one.age.0);
    moments.extend(ages.filter_map(|age| Some(input.now + young.checked_sub(age)?)));
    moments.sort_unstable();
    moments.dedup();
    let moments = moments.into_iter().filter(|at| *at >= input.now);
    moments
        // What lies at the very edge of a window is still inside.
        .map(|at| at + std::time::Duration::from_millis(1))
        .find_map(|at| {
            let mut other = input.clone();
            let passed = at.since(input.now);
            if let Some(replicas) = recommendation {
                other.history.record_recommendation(input.now, replicas);
            }
            other.now = at;
            for replica in &mut other.replicas {
                replica.age.0 += passed;
                if let Some(ago) = &mut replica.out_of_memory {
                    ago.0 += passed;
                }
            }
            let desired = decide(&other).desired;
            (desired != answer).then_some((at, desired))
        })
}

/// How much more and how much less of a metric would change the answer.
fn loads(input: &Input, proposal: &Proposal, answer: u32) -> Vec<String> {
    let Some(value) = proposal.value else {
        return Vec::new();
    };
    let named = |metric: &&Metric| metric.name() == proposal.metric;
    let of_service = input
        .policy
        .metrics
        .iter()
        .find(named)
        .is_some_and(is_of_service);
    // The value of a service is shown per replica.
    let shown = |raw: f64| match (of_service, input.service_metrics.get(&proposal.metric)) {
        (true, Some(total)) if *total != 0.0 => raw * value / total,
        _ => raw,
    };
    let now = match input.service_metrics.get(&proposal.metric) {
        Some(total) if of_service => *total,
        _ => value,
    };
    let asks = |load: f64| decide(&with_load(input, &proposal.metric, of_service, load)).desired;
    let per = if proposal.unit == MetricUnit::PerReplica {
        " per replica"
    } else {
        ""
    };
    let figure = |raw: f64| format!("{}{per}", Figure(shown(raw), proposal.unit));
    let name = &proposal.metric;
    let mut found = Vec::new();

    let mut high = now
        .max(proposal.target.or(proposal.above).unwrap_or(1.0))
        .max(1.0);
    let farthest = high * FARTHEST;
    while asks(high) <= answer && high < farthest {
        high *= 2.0;
    }
    if asks(high) > answer {
        let edge = edge(now, high, |load| asks(load) > answer);
        found.push(format!("{name} above {}: {}", figure(edge.0), asks(edge.1)));
    }
    if now > 0.0 && asks(0.0) < answer {
        let edge = edge(now, 0.0, |load| asks(load) < answer);
        found.push(format!("{name} below {}: {}", figure(edge.0), asks(edge.1)));
    }
    found
}

/// The last value on the way from `near` to `far` at which it is not yet so, and one at which it is.
fn edge(near: f64, far: f64, is_so: impl Fn(f64) -> bool) -> (f64, f64) {
    let (mut not_yet, mut so) = (near, far);
    while (so - not_yet).abs() > PRECISION * so.abs().max(not_yet.abs()) {
        let middle = f64::midpoint(not_yet, so);
        if is_so(middle) {
            so = middle;
        } else {
            not_yet = middle;
        }
    }
    (not_yet, so)
}

fn is_of_service(metric: &Metric) -> bool {
    metric.scope() == MetricScope::Service
}

/// The same with another load: every replica that has a sample has this one.
fn with_load(input: &Input, metric: &str, of_service: bool, load: f64) -> Input {
    let mut other = input.clone();
    if of_service {
        other.service_metrics.insert(metric.to_owned(), load);
        return other;
    }
    for replica in &mut other.replicas {
        if let Some(sample) = replica.metrics.get_mut(metric) {
            *sample = load;
        }
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::{
            Pause,
            tests::fixture::{custom, web},
        },
        policy::CustomTarget,
        units::Span,
    };

    #[test]
    fn the_loads_at_which_it_would_change_are_named() {
        // The tolerance is 0.1 of 60; two replicas carry 3 × 40% as 60% each.
        assert_eq!(
            otherwise(&web(&[62.0; 3])),
            ["cpu above 66%: 4", "cpu below 40%: 2"]
        );
        let jobs = |input: &mut Input| {
            input.policy.metrics = vec![custom("jobs", CustomTarget::Average(10.0))];
            input.service_metrics.insert("jobs".into(), 30.0);
        };
        assert_eq!(
            otherwise(&web(&[0.0; 3]).with(jobs)),
            [
                "jobs above 11 per replica: 4",
                "jobs below 6.7 per replica: 2"
            ]
        );
    }

    #[test]
    fn what_stands_in_the_way_is_named_with_what_comes_without_it() {
        let paused = |input: &mut Input| input.paused = Some(Pause::Both);
        assert_eq!(
            otherwise(&web(&[90.0; 2]).with(paused)),
            ["without the pause: 3"]
        );
        let bounded = |input: &mut Input| input.policy.max = 3;
        let found = otherwise(&web(&[95.0; 3]).with(bounded));
        assert_eq!(found[0], "with a max above 3: 5");
    }

    #[test]
    fn the_moment_at_which_a_window_has_passed_is_named() {
        // 3 was asked for 45 s ago, in a window of 5 minutes from 12:00:00 on.
        let found = otherwise(&web(&[10.0; 3]).recommended(45, 3));
        assert_eq!(found[0], "at 12:04:15 UTC, all else equal: 1");
        let young = |input: &mut Input| input.replicas[1].age = Span::seconds(29);
        let found = otherwise(&web(&[100.0; 2]).with(young));
        assert_eq!(found[0], "at 12:00:01 UTC, all else equal: 4");
    }
}
