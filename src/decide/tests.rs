//! The pipeline as a whole. The cases of the Kubernetes test tables are in `tests/decisions.rs`.

use super::*;
use fixture::*;

mod circumstances;
pub(super) mod fixture;
mod properties;
mod replay;

use crate::{
    policy::{CustomTarget, Rate},
    units::{Bytes, Span},
};

/// Checks what a decision comes to: count, reason and sentence.
pub(super) fn is(input: &Input, desired: u32, reason: &str, message: &str) {
    let decision = decide(input);
    assert_eq!(
        (
            decision.desired,
            decision.reason.label(),
            decision.message.as_str()
        ),
        (desired, reason, message)
    );
}

/// A machine with so many MiB free, and replicas of so many.
pub(super) fn host(free: u64, each: u64) -> HostCapacity {
    HostCapacity {
        free_memory: Some(Bytes(free << 20)),
        replica_memory: Some(Bytes(each << 20)),
        ..HostCapacity::default()
    }
}

#[test]
fn load_moves_the_count_and_the_sentence_says_so() {
    is(
        &web(&[85.0, 85.0, 85.0]),
        5,
        "above_target",
        "cpu 85% of 60% target: 3 → 5",
    );
    is(
        &web(&[20.0, 20.0, 20.0]),
        1,
        "below_target",
        "cpu 20% of 60% target: 3 → 1",
    );
}

#[test]
fn load_near_its_target_changes_nothing_and_neither_does_rounding() {
    is(
        &web(&[66.0, 66.0, 66.0]),
        3,
        "within_tolerance",
        "cpu 66% of 60% target, within tolerance: staying at 3",
    );
    is(
        &web(&[45.0, 45.0, 45.0]),
        3,
        "within_tolerance",
        "cpu 45% of 60% target still needs 3: staying at 3",
    );
    is(
        &web(&[1.0]),
        1,
        "at_min",
        "cpu 1% of 60% target, and 1 is the minimum: staying at 1",
    );
}

#[test]
fn stabilization_waits_and_names_what_it_waits_for() {
    is(
        &web(&[20.0; 4]).recommended(120, 4),
        4,
        "stabilizing_down",
        "cpu 20% of 60% target asks for 2, but 4 was needed within the last 5m: staying at 4",
    );
    let steady = |input: &mut Input| {
        input.policy.behavior.scale_up.stabilization_window = Span::seconds(60);
    };
    is(
        &web(&[85.0; 3]).with(steady).recommended(30, 2),
        3,
        "stabilizing_up",
        "cpu 85% of 60% target asks for 5, but 2 was enough within the last 1m: staying at 3",
    );
    let decision = decide(&web(&[10.0; 6]).recommended(120, 4));
    assert_eq!((decision.desired, decision.stabilized), (4, Some(4)));
    assert_eq!(decision.reason, Reason::BelowTarget);
    assert_eq!(decision.recommendation, Some(1));
}

#[test]
fn bounds_are_kept_metrics_or_not() {
    let bounds = |min, max| {
        move |input: &mut Input| {
            input.policy.min = min;
            input.policy.max = max;
        }
    };
    is(
        &web(&[]).unseen(1).with(bounds(3, 8)),
        3,
        "at_min",
        "1 is below the minimum of 3: 1 → 3",
    );
    is(
        &web(&[90.0; 9]).with(bounds(1, 4)),
        4,
        "at_max",
        "9 is above the maximum of 4: 9 → 4",
    );
    is(
        &web(&[90.0; 8]),
        8,
        "at_max",
        "cpu 90% of 60% target asks for 12, but the maximum is 8: staying at 8",
    );
    is(
        &web(&[5.0; 2]).with(bounds(2, 8)),
        2,
        "at_min",
        "cpu 5% of 60% target asks for 1, but the minimum is 2: staying at 2",
    );
    assert_eq!(decide(&web(&[90.0; 9])).recommendation, None);
}

#[test]
fn a_rate_slows_a_change_down_or_stops_it() {
    let slow = |input: &mut Input| {
        input.policy.behavior.scale_up.policies = vec![Rate::Replicas {
            replicas: 1,
            per: Span::seconds(60),
        }];
    };
    let input = web(&[180.0; 2]).with(slow);
    is(
        &input,
        3,
        "above_target",
        "cpu 180% of 60% target asks for 6, but scale_up allows 3 for now: 2 → 3",
    );
    assert_eq!(decide(&input).limited_by, Some(Limit::ScaleUpPolicy));
    let after = input.with(|input| input.history.record_change(input.now, 1));
    is(
        &after,
        2,
        "rate_limited",
        "cpu 180% of 60% target asks for 6, but scale_up allows 2 for now: staying at 2",
    );
}

#[test]
fn a_disabled_direction_never_moves() {
    let never = |input: &mut Input| input.policy.behavior.scale_down.select = Select::Disabled;
    is(
        &web(&[10.0; 3]).with(never),
        3,
        "disabled",
        "cpu 10% of 60% target asks for 1, but scaling down is disabled: staying at 3",
    );
}

#[test]
fn thresholds_step_and_do_nothing_in_between() {
    let article = |input: &mut Input| input.policy.metrics = vec![cpu_thresholds(80.0, 20.0, 2)];
    is(
        &web(&[90.0; 2]).with(article),
        4,
        "above_target",
        "cpu 90% above 80%: 2 → 4",
    );
    is(
        &web(&[10.0; 6]).with(article),
        4,
        "below_target",
        "cpu 10% below 20%: 6 → 4",
    );
    is(
        &web(&[80.0; 2]).with(article),
        2,
        "within_tolerance",
        "cpu 80% between 20% and 80%: staying at 2",
    );
    is(
        &web(&[10.0; 1]).unseen(1).with(article),
        2,
        "metrics_incomplete",
        "cpu 10% below 20%, but web-2 has no sample: staying at 2",
    );
    is(
        &web(&[90.0, 99.0])
            .with(article)
            .with(|input| input.replicas[1].ready = false),
        2,
        "replicas_starting",
        "cpu 90% above 80%, but web-2 is not ready: staying at 2",
    );
}

#[test]
fn an_unseen_replica_may_be_at_its_limit() {
    // Known, the third made it (0 + 0 + 100) / 3 = 33%, above 30%; taken for 40% it would be 13%.
    let narrow = |input: &mut Input| input.policy.metrics = vec![cpu_thresholds(40.0, 30.0, 1)];
    assert_eq!(decide(&web(&[0.0, 0.0, 100.0]).with(narrow)).desired, 3);
    assert_eq!(decide(&web(&[0.0, 0.0]).unseen(1).with(narrow)).desired, 3);
}

#[test]
fn replicas_that_are_starting_hold_back_the_next_ones() {
    let young = |input: &mut Input| input.replicas[1].age = Span::seconds(29);
    is(
        &web(&[100.0, 100.0]).with(young),
        2,
        "replicas_starting",
        "cpu 100% of 60% target, but web-2 is still within its initialization period: staying at 2",
    );
    let created = |input: &mut Input| input.replicas[1].state = ObservedState::Created;
    assert_eq!(decide(&web(&[100.0, 0.0]).with(created)).desired, 2);
}

#[test]
fn what_cannot_be_read_scales_nothing_down() {
    is(
        &web(&[]).unseen(2),
        2,
        "metrics_unavailable",
        "cpu cannot be read (web-1 has no sample, web-2 has no sample): staying at 2",
    );
    // Just started: the readings are there, and say nothing yet.
    let young = |input: &mut Input| {
        for replica in &mut input.replicas {
            replica.age = Span::seconds(3);
        }
    };
    is(
        &web(&[90.0; 2]).with(young),
        2,
        "metrics_unavailable",
        "cpu says nothing yet: web-1 is still within its initialization period, web-2 is still within its initialization period: staying at 2",
    );
    let jobs = custom("jobs", CustomTarget::Average(100.0));
    let both = |input: &mut Input| input.policy.metrics.push(jobs);
    let input = web(&[10.0; 3]).with(both);
    is(
        &input,
        3,
        "metrics_unavailable",
        "jobs cannot be read, and without it nothing is removed: staying at 3",
    );
    assert_eq!(decide(&input).recommendation, None);
    let busy = input.with(|input| {
        for replica in &mut input.replicas {
            replica.metrics.insert("cpu".into(), 90.0);
        }
    });
    assert_eq!(decide(&busy).desired, 5);
}

#[test]
fn values_that_no_load_can_have_are_missing() {
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        assert_eq!(
            decide(&web(&[value, 10.0])).reason,
            Reason::MetricsIncomplete,
            "{value}"
        );
    }
}

#[test]
fn the_largest_proposal_wins() {
    let jobs = custom("jobs", CustomTarget::Average(100.0));
    let input = web(&[20.0; 2]).with(|input| {
        input.policy.metrics.push(jobs);
        input.service_metrics.insert("jobs".into(), 450.0);
    });
    is(
        &input,
        5,
        "above_target",
        "jobs 225 per replica of 100 target: 2 → 5",
    );
    let desired: Vec<_> = decide(&input)
        .proposals
        .iter()
        .map(|one| one.desired)
        .collect();
    assert_eq!(desired, [Some(1), Some(5)]);
}

#[test]
fn a_service_without_a_ready_replica_is_not_scaled_by_its_ratio() {
    let input = web(&[20.0; 2]).with(|input| {
        input.policy.metrics = vec![custom("queue", CustomTarget::Service(0.05))];
        input.service_metrics.insert("queue".into(), 2.0);
        for replica in &mut input.replicas {
            replica.ready = false;
        }
    });
    is(
        &input,
        2,
        "replicas_starting",
        "queue 2 of 0.05 target, but no replica is ready: staying at 2",
    );
}

#[test]
fn the_host_refuses_what_it_cannot_hold_and_never_takes_away() {
    is(
        &web(&[180.0; 3]).with(|input| input.host = Some(host(450, 200))),
        5,
        "above_target",
        "cpu 180% of 60% target asks for 9, but the host has memory for only 2 more (450MiB free, 200MiB each): 3 → 5",
    );
    is(
        &web(&[85.0; 3]).with(|input| input.host = Some(host(100, 200))),
        3,
        "host_full",
        "cpu 85% of 60% target asks for 5, but the host has memory for no more (100MiB free, 200MiB each): staying at 3",
    );
    let short = |input: &mut Input| {
        input.host = Some(host(100, 200));
        input.policy.min = 2;
    };
    is(
        &web(&[85.0]).with(short),
        1,
        "host_full",
        "1 is below the minimum of 2, but the host has memory for no more (100MiB free, 200MiB each): staying at 1",
    );
    let full = web(&[60.0; 3]).with(|input| input.host = Some(host(0, 200)));
    assert_eq!(decide(&full).limited_by, None);
}

#[test]
fn a_hand_overrules_the_load() {
    is(
        &web(&[85.0; 3]).with(|input| input.hold = Some(4)),
        4,
        "held",
        "held at 4 by hand: 3 → 4",
    );
    // The bounds are for load, and a person who goes past them is told so.
    let max = web(&[85.0; 3]).policy.max;
    is(
        &web(&[85.0; 3]).with(|input| input.hold = Some(max + 1)),
        max + 1,
        "held",
        &format!(
            "held at {0} by hand, above its maximum of {max}: 3 → {0}",
            max + 1
        ),
    );
    is(
        &web(&[85.0; 3]).with(|input| input.paused = Some(Pause::Both)),
        3,
        "paused",
        "scaling is paused: staying at 3",
    );
    is(
        &web(&[85.0; 3]).with(|input| input.paused = Some(Pause::Up)),
        3,
        "paused",
        "cpu 85% of 60% target asks for 5, but scaling up is paused: staying at 3",
    );
    assert_eq!(
        decide(&web(&[10.0; 3]).with(|input| input.paused = Some(Pause::Up))).desired,
        1
    );
}

#[test]
fn without_a_metric_only_the_bounds_are_kept() {
    is(
        &web(&[85.0; 3]).with(|input| input.policy.metrics.clear()),
        3,
        "no_metrics",
        "the policy has no metric: staying at 3",
    );
}
