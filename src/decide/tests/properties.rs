//! What must hold for every input, checked on random ones.

use std::time::Duration;

use proptest::prelude::*;

use super::{
    fixture::{NOW, cpu_target, cpu_thresholds, custom, percent, web},
    *,
};
use crate::{
    policy::{
        Aim, Behavior, CustomTarget, ErrorTarget, Fallback, LatencyTarget, Metric, Percentile,
        Policy, Rate, Rules, Schedule, Tolerance,
    },
    units::{Bytes, Span, Timestamp},
};

fn metric() -> impl Strategy<Value = Metric> {
    prop_oneof![
        4 => (5.0..100.0).prop_map(cpu_target),
        2 => (50.0..100.0, 1.0..50.0, 1..4_u32)
            .prop_map(|(above, below, step)| cpu_thresholds(above, below, step)),
        1 => (5.0..100.0).prop_map(|target| Metric::Memory(Aim::Target(percent(target)))),
        1 => (0.1..50.0).prop_map(|target| custom("jobs", CustomTarget::Average(target))),
        1 => (0.1..50.0).prop_map(|target| custom("qps", CustomTarget::PerReplica(target))),
        1 => (1..2000_u64).prop_map(|target| Metric::Latency(LatencyTarget {
            percentile: Percentile::P95,
            target: Span(Duration::from_millis(target)),
            window: Span::seconds(30),
        })),
        1 => (1.0..99.0, 1..4_u32).prop_map(|(above, step)| Metric::Errors(ErrorTarget {
            above: percent(above),
            window: Span::seconds(15),
            step,
        })),
    ]
}

fn rate() -> impl Strategy<Value = Rate> {
    let per = (1..90_u64).prop_map(Span::seconds);
    prop_oneof![
        (1..6_u32, per.clone()).prop_map(|(replicas, per)| Rate::Replicas { replicas, per }),
        (1.0..200.0, per).prop_map(|(percent, per)| Rate::Percent { percent, per }),
    ]
}

fn rules() -> impl Strategy<Value = Rules> {
    let select = prop_oneof![
        3 => Just(Select::Max),
        1 => Just(Select::Min),
        1 => Just(Select::Disabled)
    ];
    let window = (0..120_u64).prop_map(Span::seconds);
    (window, prop::collection::vec(rate(), 0..3), select).prop_map(
        |(stabilization_window, policies, select)| Rules {
            stabilization_window,
            policies,
            select,
            burst: None,
        },
    )
}

fn policy(metrics: impl Strategy<Value = Vec<Metric>>) -> impl Strategy<Value = Policy> {
    let bounds = (1..6_u32, 0..15_u32);
    let tolerance = (0.0..0.3, 0.0..0.3).prop_map(|(up, down)| Tolerance { up, down });
    let behavior = (rules(), rules()).prop_map(|(scale_up, scale_down)| Behavior {
        scale_up,
        scale_down,
    });
    (bounds, tolerance, behavior, metrics).prop_map(
        |((min, more), tolerance, behavior, metrics)| Policy {
            min,
            max: min + more,
            tolerance,
            behavior,
            metrics,
            ..Policy::default()
        },
    )
}

fn replica() -> impl Strategy<Value = Observed> {
    let state = prop_oneof![
        8 => Just(ObservedState::Running),
        1 => Just(ObservedState::Created),
        1 => Just(ObservedState::Restarting),
        1 => Just(ObservedState::Draining),
    ];
    let sample = || prop::option::weighted(0.85, 0.0..100.0_f64);
    (
        state,
        prop::bool::weighted(0.85),
        0..120_u64,
        [sample(), sample(), sample()],
        prop::option::weighted(0.2, 0.0..60.0_f64),
        prop::option::weighted(0.05, 0..400_u64),
    )
        .prop_map(
            |(state, ready, age, values, throttled, out_of_memory)| Observed {
                name: "web".into(),
                state,
                ready,
                age: Span::seconds(age),
                metrics: ["cpu", "memory", "qps"]
                    .into_iter()
                    .zip(values)
                    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
                    .collect(),
                throttled,
                out_of_memory: out_of_memory.map(Span::seconds),
            },
        )
}

fn history() -> impl Strategy<Value = History> {
    let recommendations = prop::collection::vec((0..200_u64, 1..25_u32), 0..8);
    let events = prop::collection::vec((0..200_u64, -6..6_i32), 0..5);
    (recommendations, events).prop_map(|(recommendations, events)| {
        let ago = |seconds| Timestamp::from_unix(NOW) - Duration::from_secs(seconds);
        let mut history = History::default();
        for (seconds, replicas) in recommendations {
            history.record_recommendation(ago(seconds), replicas);
        }
        for (seconds, change) in events {
            history.record_change(ago(seconds), change);
        }
        history
    })
}

fn input_with(metrics: impl Strategy<Value = Vec<Metric>>) -> impl Strategy<Value = Input> {
    let cpu =
        (50.0..100.0_f64, prop::option::of(0.0..50.0_f64)).prop_map(|(busy, pressure)| HostCpu {
            busy,
            reserve: 5.0,
            pressure,
        });
    let host = (0..2000_u64, 0..500_u64, prop::option::of(cpu)).prop_map(|(free, each, cpu)| {
        HostCapacity {
            free_memory: Some(Bytes(free)),
            replica_memory: Some(Bytes(each)),
            cpu,
            ..HostCapacity::default()
        }
    });
    (
        policy(metrics),
        prop::collection::vec(replica(), 0..20),
        prop::option::of(0.0..300.0_f64),
        history(),
        prop::option::weighted(0.3, host),
        circumstances(),
    )
        .prop_map(|(policy, replicas, jobs, history, host, around)| {
            let mut input = Input {
                replicas,
                history,
                host,
                service_metrics: jobs
                    .map(|jobs| ("jobs".to_owned(), jobs))
                    .into_iter()
                    .collect(),
                ..Input::new(Timestamp::from_unix(NOW), policy)
            };
            let policy = &mut input.policy;
            policy.behavior.scale_up.burst = around.burst;
            // Within the policy's bounds, as validation has it.
            policy.schedule = around.schedule;
            for schedule in &mut policy.schedule {
                schedule.min = schedule.min.map(|min| min.min(policy.max));
                schedule.max = schedule.max.map(|max| max.max(policy.min));
            }
            if let Some(ago) = around.burst_ago {
                input.history.burst = Some(input.now - Duration::from_secs(ago));
            }
            if let Some((served, trial)) = around.served {
                for (name, value) in ["latency", "errors", "in_flight", "requests"]
                    .into_iter()
                    .zip(served)
                {
                    input.service_metrics.insert(name.into(), value);
                }
                if let Some((ago, settled, outcome)) = trial {
                    let at = input.now - Duration::from_secs(ago);
                    let trial = ScaleUpTrial {
                        at,
                        value: served[3],
                        requests: served[2],
                        replicas: 2,
                        settled: settled.then_some(at),
                        falling: settled.then_some((at, served[1])),
                        over: at,
                        outcome,
                    };
                    for name in ["latency", "errors"] {
                        input.history.trials.insert(name.into(), trial);
                    }
                }
            }
            if let Some(failures) = around.failures {
                let why = "connection refused".to_owned();
                input.unread.insert("jobs".into(), Unread { why, failures });
                input.service_metrics.clear();
                for metric in &mut policy.metrics {
                    if let Metric::Custom(custom) = metric {
                        custom.fallback = around.fallback;
                    }
                }
            }
            input
        })
}

/// What else a decision may depend on.
#[derive(Debug, Clone)]
struct Circumstances {
    burst: Option<crate::policy::Burst>,
    burst_ago: Option<u64>,
    schedule: Vec<Schedule>,
    failures: Option<u32>,
    fallback: Option<Fallback>,
    /// Latency, errors, requests in flight and per second, and what became of the last replicas.
    served: Option<Served>,
}

type Served = ([f64; 4], Option<(u64, bool, TrialOutcome)>);

fn served() -> impl Strategy<Value = Option<Served>> {
    let outcome = prop::sample::select(vec![
        TrialOutcome::Open,
        TrialOutcome::Helped,
        TrialOutcome::Answered,
        TrialOutcome::NoHelp,
    ]);
    let trial = (0..400_u64, any::<bool>(), outcome);
    let numbers = (
        0.0..3000.0_f64,
        0.0..100.0_f64,
        0.0..60.0_f64,
        0.0..200.0_f64,
    );
    let numbers = numbers.prop_map(|(a, b, c, d)| [a, b, c, d]);
    prop::option::of((numbers, prop::option::of(trial)))
}

fn circumstances() -> impl Strategy<Value = Circumstances> {
    let burst =
        (1..20_u64, 110.0..300.0_f64).prop_map(|(window, threshold)| crate::policy::Burst {
            window: Span::seconds(window),
            threshold: percent(threshold),
        });
    let cron = proptest::sample::select(vec!["0 12 * * *", "*/7 * * * *", "0 8 * * 1-5"]);
    let bound = || prop::option::of(1..20_u32);
    let schedule =
        (cron, 1..30_000_u64, bound(), bound()).prop_map(|(cron, lasts, min, max)| Schedule {
            cron: cron.parse().unwrap(),
            lasts: Span::seconds(lasts),
            min,
            max,
            timezone: "Europe/London".parse().unwrap(),
        });
    (
        prop::option::weighted(0.3, burst),
        prop::option::weighted(0.3, 0..200_u64),
        prop::collection::vec(schedule, 0..3),
        prop::option::weighted(0.3, 0..6_u32),
        prop::option::of((1..20_u32).prop_map(|replicas| Fallback { replicas })),
        served(),
    )
        .prop_map(
            |(burst, burst_ago, schedule, failures, fallback, served)| Circumstances {
                burst,
                burst_ago,
                schedule,
                failures,
                fallback,
                served,
            },
        )
}

/// The bounds that hold.
fn bounds(input: &Input) -> (u32, u32) {
    let policy = &input.policy;
    let bounds = CountBounds::at(input.now, policy.min, policy.max, &policy.schedule);
    (bounds.min, bounds.max)
}

pub(super) fn input() -> impl Strategy<Value = Input> {
    input_with(prop::collection::vec(metric(), 0..4))
}

/// One metric that is a share, whose samples are missing in different ways.
fn input_by_cpu() -> impl Strategy<Value = Input> {
    let share = prop_oneof![
        2 => (5.0..100.0).prop_map(cpu_target),
        1 => (50.0..100.0, 1.0..50.0, 1..4_u32)
            .prop_map(|(above, below, step)| cpu_thresholds(above, below, step)),
    ];
    input_with(share.prop_map(|metric| vec![metric]))
}

proptest! {
    #[test]
    fn a_count_is_never_outside_its_bounds(input in input()) {
        let decision = decide(&input);
        let (min, max) = bounds(&input);
        prop_assert!(decision.desired <= max);
        // Only a machine without room may keep it below.
        let full = decision.limited_by == Some(Limit::Host);
        prop_assert!(decision.desired >= min || full);
    }

    #[test]
    fn a_count_never_moves_against_what_is_asked_for(input in input()) {
        let decision = decide(&input);
        let (min, max) = bounds(&input);
        let asked = decision.proposals.iter().filter_map(|one| one.desired).max();
        let bounded = asked.unwrap_or(decision.current).clamp(min, max);
        if (min..=max).contains(&decision.current) {
            let (low, high) = (decision.current.min(bounded), decision.current.max(bounded));
            prop_assert!((low..=high).contains(&decision.desired), "{decision:#?}");
        }
    }

    #[test]
    fn a_ratio_never_asks_for_a_move_against_itself(input in input_by_cpu()) {
        for proposal in decide(&input).proposals {
            if let (Some(value), Some(target), Some(desired)) =
                (proposal.value, proposal.target, proposal.desired)
            {
                let current = input.current_count();
                prop_assert!(value <= target || desired >= current);
                prop_assert!(value >= target || desired <= current);
            }
        }
    }

    #[test]
    fn more_load_never_means_fewer_replicas(
        input in input_by_cpu(),
        more in prop::collection::vec(0.0..200.0_f64, 20),
    ) {
        let mut busier = input.clone();
        for (replica, more) in busier.replicas.iter_mut().zip(more) {
            if let Some(cpu) = replica.metrics.get_mut("cpu") {
                *cpu += more;
            }
        }
        prop_assert!(decide(&busier).desired >= decide(&input).desired);
    }

    #[test]
    fn a_missing_sample_never_makes_a_move_larger(input in input_by_cpu(), which in 0..20_usize) {
        let known = decide(&input);
        let mut blind = input.clone();
        if let Some(replica) = blind.replicas.get_mut(which) {
            replica.metrics.remove("cpu");
        }
        let unknown = decide(&blind);
        prop_assert!(unknown.desired <= known.desired.max(known.current));
        prop_assert!(unknown.desired >= known.desired.min(known.current));
    }

    #[test]
    fn nothing_is_removed_in_a_burst_or_after_memory_ran_out(input in input()) {
        let decision = decide(&input);
        let (min, max) = bounds(&input);
        let inside = (min..=max).contains(&decision.current);
        let killed = samples::out_of_memory(&input).is_some();
        if inside && (decision.burst || killed) {
            prop_assert!(decision.desired >= decision.current);
        }
    }

    #[test]
    fn over_its_target_such_a_metric_adds_to_busy_replicas_only_and_removes_none(input in input()) {
        let decision = decide(&input);
        for (proposal, metric) in decision.proposals.iter().zip(&input.policy.metrics) {
            let (Some(value), true) = (proposal.value, metric.is_of_service_quality()) else {
                continue;
            };
            let over = proposal.target.or(proposal.above).is_some_and(|most| value > most);
            let current = decision.current;
            match proposal.desired {
                Some(desired) if over => prop_assert!(
                    desired >= current && desired <= (2 * current).max(current + 3)
                ),
                Some(desired) => prop_assert!(desired <= current && desired + 1 >= current),
                None => prop_assert!(!over && proposal.abstains),
            }
        }
    }

    #[test]
    fn a_fallback_never_lowers(input in input()) {
        let without = input.clone().with(|input| {
            for metric in &mut input.policy.metrics {
                if let Metric::Custom(custom) = metric {
                    custom.fallback = None;
                }
            }
        });
        prop_assert!(decide(&input).desired >= decide(&without).desired);
    }

    #[test]
    fn a_disabled_direction_never_moves_within_the_bounds(input in input()) {
        let decision = decide(&input);
        let (min, max) = bounds(&input);
        if (min..=max).contains(&decision.current) {
            let behavior = &input.policy.behavior;
            if behavior.scale_up.select == Select::Disabled {
                prop_assert!(decision.desired <= decision.current);
            }
            if behavior.scale_down.select == Select::Disabled {
                prop_assert!(decision.desired >= decision.current);
            }
        }
    }

    #[test]
    fn the_same_input_has_the_same_answer_and_every_answer_a_sentence(input in input()) {
        let decision = decide(&input);
        prop_assert_eq!(&decision, &decide(&input.clone()));
        prop_assert!(decision.message.contains(": "));
        prop_assert!(explain_text(&input, &decision).ends_with('\n'));
        let moved = decision.desired != decision.current;
        let by_load = matches!(
            decision.reason,
            Reason::AboveTarget | Reason::BelowTarget | Reason::Fallback
        );
        let to_bound =
            matches!(decision.reason, Reason::AtMin | Reason::AtMax | Reason::Schedule);
        prop_assert!(if moved { by_load || to_bound } else { !by_load }, "{:#?}", decision);
    }
}

/// Runs a policy against a load that is shared evenly, tick by tick, and gives the counts.
fn simulate(policy: &Policy, start: u32, tick: u64, load: &[f64]) -> Vec<(u64, u32)> {
    let mut history = History::default();
    let (mut count, mut counts) = (start, Vec::new());
    for (seconds, load) in (0..).step_by(tick as usize).zip(load) {
        let now = Timestamp::from_unix(NOW) + Duration::from_secs(seconds);
        let cpu = load / f64::from(count.max(1));
        let each = vec![cpu; count as usize];
        let input = Input {
            now,
            policy: policy.clone(),
            history: history.clone(),
            ..web(&each)
        };
        let decision = decide(&input);
        if let Some(recommendation) = decision.recommendation {
            history.record_recommendation(now, recommendation);
        }
        let change = i64::from(decision.desired) - i64::from(count);
        history.record_change(now, change as i32);
        history.prune(now, &policy.behavior);
        count = decision.desired;
        counts.push((seconds, count));
    }
    counts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_steady_load_never_moves_a_count_both_ways(
        policy in policy((5.0..100.0).prop_map(|target| vec![cpu_target(target)])),
        start in 1..20_u32,
        load in 0.0..1500.0_f64,
    ) {
        // The start may lie outside the bounds; what is done about that is no answer to the load.
        let start = start.clamp(policy.min, policy.max);
        let counts = simulate(&policy, start, 5, &[load; 80]);
        let ups = counts.windows(2).any(|two| two[1].1 > two[0].1);
        let downs = counts.windows(2).any(|two| two[1].1 < two[0].1);
        prop_assert!(!(ups && downs), "{counts:?}");
    }

    #[test]
    fn no_move_is_undone_within_the_other_ways_window(
        policy in policy(metric().prop_map(|metric| vec![metric])),
        start in 1..20_u32,
        load in prop::collection::vec(0.0..1500.0_f64, 80),
    ) {
        let start = start.clamp(policy.min, policy.max);
        let counts = simulate(&policy, start, 5, &load);
        let window = |rules: &Rules| rules.stabilization_window.0.as_secs();
        let (up, down) = (&policy.behavior.scale_up, &policy.behavior.scale_down);
        let moves: Vec<(u64, bool)> = counts
            .windows(2)
            .filter(|two| two[0].1 != two[1].1)
            .map(|two| (two[1].0, two[1].1 > two[0].1))
            .collect();
        for two in moves.windows(2) {
            let ((first, was_up), (second, is_up)) = (two[0], two[1]);
            if was_up != is_up {
                let window = window(if is_up { up } else { down });
                prop_assert!(second - first >= window, "{counts:?}");
            }
        }
    }
}
