//! What must hold for every policy and for every text, checked on random ones.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};
use serde_json::Value;

use super::{for_compose, policy, settings};
use crate::{
    policy::{
        Aim, Balance, Behavior, Burst, CommandSource, CustomMetric, CustomSource, CustomTarget,
        Drain, ErrorTarget, Fallback, HttpSource, LatencyTarget, Metric, Percentile, Policy,
        PrometheusSource, Rate, Ready, Rules, Schedule, Select, Tolerance, ValueSelector,
    },
    units::{Percent, Span},
};

fn span() -> impl Strategy<Value = Span> {
    prop_oneof![0..5_000_u64, 0..1_000_000_000_u64].prop_map(|ms| Span(Duration::from_millis(ms)))
}

fn span_above_zero() -> impl Strategy<Value = Span> {
    span().prop_map(|span| Span(span.0 + Duration::from_millis(1)))
}

/// Any finite number above zero, not only the round ones.
fn above_zero() -> impl Strategy<Value = f64> {
    prop_oneof![
        (1..200_u32).prop_map(f64::from),
        0.001..1000.0,
        proptest::num::f64::POSITIVE.prop_filter("finite", |n| n.is_finite() && *n > 0.0),
    ]
}

fn aim() -> impl Strategy<Value = Aim> {
    let share = || above_zero().prop_map(|number| Percent::new(number).unwrap());
    let thresholds = (share(), share(), 1..=u32::MAX)
        .prop_filter("apart", |(one, other, _)| one != other)
        .prop_map(|(one, other, step)| Aim::Thresholds {
            above: if one > other { one } else { other },
            below: if one > other { other } else { one },
            step,
        });
    prop_oneof![share().prop_map(Aim::Target), thresholds]
}

fn custom() -> impl Strategy<Value = CustomMetric> {
    let target = (0..3, above_zero()).prop_map(|(kind, number)| match kind {
        0 => CustomTarget::Average(number),
        1 => CustomTarget::Service(number),
        _ => CustomTarget::PerReplica(number),
    });
    let fallback = option::of((1..=1000_u32).prop_map(|replicas| Fallback { replicas }));
    let parts = (
        "x[a-z:/$ ]{0,9}",
        option::of(source()),
        target,
        fallback,
        1..9_u32,
    );
    parts.prop_map(|(name, source, target, fallback, failures)| CustomMetric {
        name,
        source,
        target,
        fallback,
        failures,
    })
}

fn source() -> impl Strategy<Value = CustomSource> {
    let timeout = (1..=60_000_u64).prop_map(|ms| Span(Duration::from_millis(ms)));
    let labels = || proptest::collection::btree_map("[a-z_]{1,4}", "[^\\pC]{0,4}", 0..3);
    let pointer = "(/[a-z0-9~]{0,3}){0,3}";
    let command = (
        vec("[^\\pC]{1,6}", 1..4),
        option::of("[a-z]{1,6}"),
        option::of(pointer),
        timeout.clone(),
    )
        .prop_map(|(argv, service, pointer, timeout)| {
            CustomSource::Command(CommandSource {
                argv,
                service,
                pointer,
                timeout,
            })
        });
    let sample = ("[a-z_:]{1,9}", labels())
        .prop_map(|(metric, labels)| ValueSelector::Sample { metric, labels });
    let pick = prop_oneof![
        pointer.prop_map(|pointer| ValueSelector::Pointer { pointer }),
        sample
    ];
    let url = "http://[a-z0-9.]{1,9}(:80)?/[a-z?=&]{0,5}";
    let http = (url, pick, timeout.clone())
        .prop_map(|(url, pick, timeout)| CustomSource::Http(HttpSource { url, pick, timeout }));
    let prometheus = (url, "[a-z][a-z(){}=\"\n]{0,9}", labels(), timeout).prop_map(
        |(url, query, labels, timeout)| {
            CustomSource::Prometheus(PrometheusSource {
                url,
                query,
                labels,
                timeout,
            })
        },
    );
    prop_oneof![command, http, prometheus]
}

fn burst() -> impl Strategy<Value = Burst> {
    (span_above_zero(), 101..900_u32).prop_map(|(window, threshold)| Burst {
        window,
        threshold: Percent::new(threshold.into()).unwrap(),
    })
}

/// Schedules that fit into these bounds.
fn schedules(min: u32, max: u32) -> impl Strategy<Value = Vec<Schedule>> {
    let cron = proptest::sample::select(vec![
        "0 8 * * 1-5",
        "*/5 * * * *",
        "30 1 1 JAN *",
        "0 0 L * *",
    ]);
    let zone = proptest::sample::select(vec!["UTC", "Europe/London", "America/St_Johns"]);
    let floor = option::of(1..=max);
    let one = (cron, span_above_zero(), floor, min..=1000, zone).prop_map(
        |(cron, lasts, floor, ceiling, zone)| Schedule {
            cron: cron.parse().unwrap(),
            lasts,
            min: floor,
            max: floor
                .is_none_or(|floor| floor <= ceiling)
                .then_some(ceiling),
            timezone: zone.parse().unwrap(),
        },
    );
    vec(one, 0..3)
}

fn metrics() -> impl Strategy<Value = Vec<Metric>> {
    let cpu = option::of(aim().prop_map(Metric::Cpu));
    let memory = option::of(aim().prop_map(Metric::Memory));
    let custom = option::of(custom().prop_map(Metric::Custom));
    let window = || (1..=300_u64).prop_map(Span::seconds);
    let percentile = proptest::sample::select(Percentile::ALL.to_vec());
    let latency =
        (percentile, span_above_zero(), window()).prop_map(|(percentile, target, window)| {
            Metric::Latency(LatencyTarget {
                percentile,
                target,
                window,
            })
        });
    let errors = (0.01..99.0_f64, window(), 1..9_u32).prop_map(|(above, window, step)| {
        Metric::Errors(ErrorTarget {
            above: Percent::new(above).unwrap(),
            window,
            step,
        })
    });
    let (latency, errors) = (option::of(latency), option::of(errors));
    (cpu, memory, custom, latency, errors)
        .prop_map(|(a, b, c, d, e)| [a, b, c, d, e].into_iter().flatten().collect())
}

fn rules() -> impl Strategy<Value = Rules> {
    let rate = (above_zero(), option::of(1..=u32::MAX), span_above_zero()).prop_map(
        |(percent, replicas, per)| match replicas {
            Some(replicas) => Rate::Replicas { replicas, per },
            None => Rate::Percent { percent, per },
        },
    );
    let select = proptest::sample::select(vec![Select::Max, Select::Min, Select::Disabled]);
    (span(), vec(rate, 0..4), select).prop_map(|(stabilization_window, policies, select)| Rules {
        stabilization_window,
        policies,
        select,
        burst: None,
    })
}

fn ready() -> impl Strategy<Value = Ready> {
    prop_oneof![
        Just(Ready::Auto),
        Just(Ready::Healthcheck),
        Just(Ready::Running),
        (1..=u16::MAX).prop_map(Ready::Tcp),
        "/[!-~]{0,12}".prop_map(Ready::Http),
    ]
}

fn balance() -> impl Strategy<Value = Balance> {
    prop_oneof![
        Just(Balance::RoundRobin),
        Just(Balance::LeastConn),
        Just(Balance::IpHash),
        "[^\\pC]{0,12}".prop_map(|text| Balance::Hash(format!("{text}$uri"))),
        "[a-zA-Z0-9_-]{1,12}".prop_map(Balance::StickyCookie),
    ]
}

fn bounds() -> impl Strategy<Value = (u32, u32)> {
    (1..=1000_u32).prop_flat_map(|max| (1..=max, Just(max)))
}

prop_compose! {
    fn valid()(
        (min, max) in bounds(),
    )(
        (min, max) in Just((min, max)),
        port in option::of(1..=u16::MAX),
        metrics in metrics(),
        priority in -1000..=1000,
        schedule in schedules(min, max),
        burst in option::of(burst()),
        tolerance in (0.0..2.0, 0.0..2.0),
        spans in (span(), span_above_zero(), span(), span()),
        (mut scale_up, scale_down) in (rules(), rules()),
        ready in ready(),
        balance in balance(),
    ) -> Policy {
        let (initialization_period, ready_timeout, min_ready, timeout) = spans;
        let slow_start = if balance.bears_weights() {
            Span::seconds(initialization_period.0.as_secs() % 601)
        } else {
            Span::seconds(0)
        };
        scale_up.burst = burst;
        Policy {
            min,
            max,
            port,
            metrics,
            priority,
            schedule,
            tolerance: Tolerance { up: tolerance.0, down: tolerance.1 },
            initialization_period,
            behavior: Behavior { scale_up, scale_down },
            ready,
            ready_timeout,
            min_ready,
            slow_start,
            drain: Drain { timeout },
            balance,
        }
    }
}

/// Any JSON, with our keys in it often enough to get past the first one.
fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9a-z%]{0,6}|\\PC{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let key = prop_oneof![
            "min|max|port|metrics|cpu|memory|custom|name|above|below|step|tolerance|up|down",
            "behavior|scale_up|scale_down|policies|percent|replicas|per|select|ready|tcp|http",
            "schedule|cron|for|timezone|priority|burst|window|threshold|host|reserve_memory|reserve_cpu",
            "command|argv|pointer|url|query|labels|metric|prometheus|fallback|failures|http",
            "drain|timeout|balance|hash|nginx|service|container|reload|test|upstreams|interval",
            "\\PC{0,60}",
        ];
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key, inner), 0..4).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

proptest! {
    #[test]
    fn a_policy_written_down_is_read_back_as_it_was(written in valid()) {
        let value = serde_json::to_value(&written).unwrap();
        prop_assert_eq!(policy(&value), Ok(written.clone()));
        let carried = |metric: &Metric| matches!(metric, Metric::Custom(c) if c.source.is_none());
        if !written.metrics.iter().any(carried) {
            prop_assert_eq!(for_compose(&value), Ok(written));
        }
    }

    #[test]
    fn whatever_is_written_is_read_or_refused_on_lines_of_its_own(value in anything()) {
        let problems = [
            policy(&value).err(),
            for_compose(&value).err(),
            settings(&value).err(),
        ];
        for problem in problems.into_iter().flatten().flatten() {
            prop_assert!(!problem.message.contains(char::is_control), "{problem:?}");
        }
    }
}
