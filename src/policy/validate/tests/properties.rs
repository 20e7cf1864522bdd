//! What must hold for every policy and for every text, checked on random ones.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};
use serde_json::Value;

use super::{for_compose, policy, settings};
use crate::{
    policy::{
        Aim, Balance, Behavior, Custom, CustomTarget, Drain, Metric, Policy, Rate, Ready, Rules,
        Select, Tolerance,
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

fn custom() -> impl Strategy<Value = Custom> {
    let target = (0..3, above_zero()).prop_map(|(kind, number)| match kind {
        0 => CustomTarget::Average(number),
        1 => CustomTarget::Service(number),
        _ => CustomTarget::PerReplica(number),
    });
    ("x[a-z:/$ ]{0,9}", target).prop_map(|(name, target)| Custom { name, target })
}

fn metrics() -> impl Strategy<Value = Vec<Metric>> {
    let cpu = option::of(aim().prop_map(Metric::Cpu));
    let memory = option::of(aim().prop_map(Metric::Memory));
    let custom = option::of(custom().prop_map(Metric::Custom));
    (cpu, memory, custom).prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect())
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
        "[^\\pC]{1,12}".prop_map(Balance::Hash),
        "[a-zA-Z0-9_-]{1,12}".prop_map(Balance::StickyCookie),
    ]
}

prop_compose! {
    fn valid()(
        max in 1..=1000_u32,
    )(
        (min, max) in (1..=max, Just(max)),
        port in option::of(1..=u16::MAX),
        metrics in metrics(),
        tolerance in (0.0..2.0, 0.0..2.0),
        spans in (span(), span_above_zero(), span(), span()),
        (scale_up, scale_down) in (rules(), rules()),
        ready in ready(),
        balance in balance(),
    ) -> Policy {
        let (initialization_period, ready_timeout, min_ready, timeout) = spans;
        Policy {
            min,
            max,
            port,
            metrics,
            tolerance: Tolerance { up: tolerance.0, down: tolerance.1 },
            initialization_period,
            behavior: Behavior { scale_up, scale_down },
            ready,
            ready_timeout,
            min_ready,
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
        let custom = |metric: &Metric| matches!(metric, Metric::Custom(_));
        if !written.metrics.iter().any(custom) {
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
