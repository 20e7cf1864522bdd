//! The section as a whole, its bounds and its metrics.

use serde_json::{Value, json};

use super::{each_is, for_compose, good, lines, policy, settings, wrong};
use crate::policy::{Aim, Metric, Policy, Settings};

#[test]
fn max_alone_is_a_policy_and_everything_else_has_a_default() {
    let expected = Policy {
        max: 8,
        metrics: vec![Metric::Cpu(Aim::Target("80%".parse().unwrap()))],
        ..Policy::default()
    };
    assert_eq!(good(json!({})), expected);
}

#[test]
fn a_policy_without_metrics_keeps_the_bounds_only() {
    assert_eq!(good(json!({"metrics": []})).metrics, []);
}

#[test]
fn every_mistake_is_named_at_once() {
    let policy = json!({
        "min": 0,
        "max": 5000,
        "metrcis": [],
        "metrics": [{"cpu": 60}, {"memory": "80%", "requests": 50}, {"cpu": {"above": "0%"}}],
        "behavior": {"scale_up": {"policies": [{"percent": 100, "per": "0s"}], "select": "most"}},
        "ready": {"tcp": 0},
        "drain": "30s",
    });
    assert_eq!(
        lines(for_compose(&policy).unwrap_err()),
        [
            "metrcis: unknown key; did you mean `metrics`? allowed are min, max, port, metrics, \
             priority, schedule, tolerance, initialization_period, behavior, ready, ready_timeout, \
             min_ready, slow_start, drain, balance",
            "min: found `0`; a service keeps at least one replica, because new ones are made like \
             it",
            "max: found `5000` (a number), expected a whole number from 1 to 1000",
            "metrics.0.cpu: found `60` (a number), expected a percentage like 60%",
            "metrics.1: found a map with 2 keys, expected one metric, like cpu: 60%",
            "metrics.2.cpu.above: found `0%`, expected a percentage above 0%",
            "metrics.2.cpu: `below` is missing, expected a percentage like 60%",
            "behavior.scale_up.policies.0.per: found `0s`, expected a duration above 0s",
            "behavior.scale_up.select: found `most`, expected max, min or disabled",
            "ready.tcp: found `0` (a number), expected a whole number from 1 to 65535",
            "drain: found `30s` (a text), expected a map like {timeout: 30s}",
        ]
    );
}

#[test]
fn max_must_be_there_in_a_section_with_nothing_in_it_too() {
    let missing = ": `max` is missing, expected a whole number from 1 to 1000";
    for empty in [json!(null), json!({})] {
        assert_eq!(lines(for_compose(&empty).unwrap_err()), [missing]);
    }
    let text = lines(for_compose(&json!("on")).unwrap_err());
    assert_eq!(
        text,
        [": found `on` (a text), expected a map like {max: 8}"]
    );
}

#[test]
fn a_section_with_nothing_in_it_keeps_its_defaults() {
    for keys in [
        json!({"behavior": null}),
        json!({"behavior": {"scale_up": null, "scale_down": null}}),
        json!({"drain": null}),
    ] {
        assert_eq!(good(keys), good(json!({})));
    }
    assert_eq!(settings(&json!({"nginx": null})), Ok(Settings::default()));
    assert_eq!(settings(&json!(null)), Ok(Settings::default()));
}

#[test]
fn counts_are_whole_numbers_within_their_bounds() {
    let most = "expected a whole number from 1 to 1000";
    for (number, found) in [
        (json!(0), "`0` (a number)"),
        (json!(-1), "`-1` (a number)"),
        (json!(1001), "`1001` (a number)"),
        (json!(2.5), "`2.5` (a number)"),
        (json!(4_294_967_297_u64), "`4294967297` (a number)"),
        (json!("8"), "`8` (a text)"),
        (json!(true), "`true` (a truth value)"),
        (json!([8]), "a list"),
        (json!({}), "a map"),
        (json!(null), "nothing"),
    ] {
        assert_eq!(
            wrong(json!({"max": number})),
            [format!("max: found {found}, {most}")]
        );
    }
    assert_eq!(good(json!({"max": 1000})).max, 1000);
}

#[test]
fn the_least_is_one_and_no_more_than_the_most() {
    assert_eq!(good(json!({"min": 8})).min, 8);
    each_is(&[
        (
            json!({"min": 9}),
            "min: found `9`, expected no more than `max`, which is 8",
        ),
        (
            json!({"min": 0}),
            "min: found `0`; a service keeps at least one replica, because new ones are made \
             like it",
        ),
        (
            json!({"min": -1}),
            "min: found `-1` (a number), expected a whole number from 1 to 1000",
        ),
    ]);
}

#[test]
fn what_was_probably_meant_is_offered() {
    for (key, meant) in [
        ("minReplicas", Some("min")),
        ("max-replicas", Some("max")),
        ("readyTimeout", Some("ready_timeout")),
        ("metric", Some("metrics")),
        ("behaviour", Some("behavior")),
        ("cooldown", None),
        ("", None),
    ] {
        let line = wrong(json!({key: 1})).remove(0);
        let hint = meant.map_or(String::new(), |meant| format!(" did you mean `{meant}`?"));
        let start = format!("{key}: unknown key;{hint} allowed are min, ");
        assert!(line.starts_with(&start), "{line}");
    }
}

#[test]
fn a_share_has_a_target_or_two_thresholds() {
    let share = |text: &str| text.parse().unwrap();
    let metrics = json!([
        {"cpu": {"above": "80%", "below": "20%"}},
        {"memory": {"above": "80.5%", "below": "80%", "step": 3}},
    ]);
    let expected = [
        Metric::Cpu(Aim::Thresholds {
            above: share("80%"),
            below: share("20%"),
            step: 1,
        }),
        Metric::Memory(Aim::Thresholds {
            above: share("80.5%"),
            below: share("80%"),
            step: 3,
        }),
    ];
    assert_eq!(good(json!({"metrics": metrics})).metrics, expected);
    let one = |metric: Value| json!({"metrics": [metric]});
    each_is(&[
        (
            one(json!({"cpu": "60"})),
            "metrics.0.cpu: found `60`, expected a percentage like 60%",
        ),
        (
            one(json!({"cpu": "0%"})),
            "metrics.0.cpu: found `0%`, expected a percentage above 0%",
        ),
        (
            one(json!({"cpu": {"above": "20%", "below": "20%"}})),
            "metrics.0.cpu.above: found `20%`, expected more than `below`, which is 20%",
        ),
        (
            one(json!({"cpu": {"above": "80%", "below": "20%", "step": 0}})),
            "metrics.0.cpu.step: found `0` (a number), expected a whole number from 1 to \
             4294967295",
        ),
        (
            one(json!({"cpu": {"above": "80%", "below": "20%", "stepp": 1}})),
            "metrics.0.cpu.stepp: unknown key; did you mean `step`? allowed are above, below, step",
        ),
    ]);
}

#[test]
fn metrics_is_a_list_of_single_metrics_each_once() {
    let metrics = |metrics: Value| json!({ "metrics": metrics });
    each_is(&[
        (
            metrics(json!({"cpu": "60%"})),
            "metrics: found a map, expected a list like [cpu: 60%]",
        ),
        (
            metrics(json!(["cpu"])),
            "metrics.0: found `cpu` (a text), expected one metric, like cpu: 60%",
        ),
        (
            metrics(json!([{}])),
            "metrics.0: found an empty map, expected one metric, like cpu: 60%",
        ),
        (
            metrics(json!([{"memroy": "60%"}])),
            "metrics.0.memroy: unknown key; did you mean `memory`? allowed are cpu, memory, requests, in_flight, latency, errors, custom",
        ),
        (
            metrics(json!([{"cpu": "60%"}, {"cpu": {"above": "80%", "below": "20%"}}])),
            "metrics.1.cpu: the metric `cpu` is already in the list, expected each at most once",
        ),
    ]);
}

#[test]
fn how_well_requests_are_served_has_a_percentile_or_a_share() {
    let metric = |metric: Value| json!({ "metrics": [metric] });
    let read = policy(&json!({"max": 3, "metrics": [
        {"latency": {"p99": "1.5s", "window": "1m"}},
        {"errors": {"above": "2.5%", "step": 2}},
    ]}));
    assert_eq!(
        serde_json::to_value(read.unwrap().metrics).unwrap(),
        json!([
            {"latency": {"p99": "1s500ms", "window": "1m"}},
            {"errors": {"above": "2.5%", "window": "15s", "step": 2}},
        ])
    );
    each_is(&[
        (
            metric(json!({"latency": "300ms"})),
            "metrics.0.latency: found `300ms` (a text), expected a map like {p95: 300ms}",
        ),
        (
            metric(json!({"latency": {"window": "30s"}})),
            "metrics.0.latency: found no percentile, expected one of p50, p90, p95 and p99, like {p95: 300ms}",
        ),
        (
            metric(json!({"latency": {"p95": "300ms", "p50": "50ms"}})),
            "metrics.0.latency.p95: found a second percentile, expected one, like {p95: 300ms}",
        ),
        (
            metric(json!({"latency": {"p95": 300}})),
            "metrics.0.latency.p95: found `300` (a number), expected a duration with its unit, like 30s, 5m or 1h30m",
        ),
        (
            metric(json!({"errors": {"above": "100%"}})),
            "metrics.0.errors.above: found `100%`, expected a percentage above 0% and below 100%",
        ),
        (
            metric(json!({"errors": {"above": "5%", "window": "10m"}})),
            "metrics.0.errors.window: found `10m`, expected a duration of whole seconds from 1s to 5m",
        ),
    ]);
}

#[test]
fn a_decision_input_may_be_of_a_cluster_and_carry_values_from_elsewhere() {
    let custom = |custom: Value| policy(&json!({"max": 2000, "metrics": [{"custom": custom}]}));
    for target in ["average_target", "service_target", "per_replica_target"] {
        let read = custom(json!({"name": "jobs", target: 0.1})).unwrap();
        assert_eq!(
            serde_json::to_value(&read.metrics).unwrap(),
            json!([{"custom": {"name": "jobs", target: 0.1}}])
        );
        assert_eq!(read.max, 2000);
    }
    let one_of = "average_target, service_target or per_replica_target";
    for (value, problem) in [
        (
            json!({"name": "jobs"}),
            format!(": the target is missing, expected {one_of}"),
        ),
        (
            json!({"name": "jobs", "average_target": 1, "service_target": 1}),
            format!(": found average_target and service_target, expected only one of {one_of}"),
        ),
        (
            json!({"name": "jobs", "average_target": 0}),
            ".average_target: found `0` (a number), expected a number above 0".into(),
        ),
        (
            json!({"name": "", "average_target": 1}),
            ".name: found ``, expected the name of the metric".into(),
        ),
        (
            json!({"average_target": 1}),
            ": `name` is missing, expected the name of the metric".into(),
        ),
        (
            json!({"name": "jobs", "average_target": 1, "command": []}),
            ".command: found an empty list, expected a list like [\"redis-cli\", \"llen\", \"jobs\"]; \
             it is run without a shell"
                .into(),
        ),
    ] {
        let found = lines(custom(value).unwrap_err());
        assert_eq!(found, [format!("metrics.0.custom{problem}")]);
    }
}
