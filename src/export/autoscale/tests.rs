//! Of one policy as a whole, and of what each key of it becomes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    export::Remark,
    policy::{Schedule, Zone, for_compose},
    units::{Bytes, Timestamp},
};

fn policy(value: &Value) -> Policy {
    for_compose(value).unwrap_or_else(|problems| panic!("{value}: {problems:?}"))
}

fn labels() -> BTreeMap<String, String> {
    BTreeMap::from([("app.kubernetes.io/name".to_owned(), "web".to_owned())])
}

/// Of the service `web` of `shop`, behind Traefik, with all limits.
fn of(policy: &Policy) -> Autoscaler {
    behind(policy, Some(Controller::Traefik))
}

fn behind(policy: &Policy, ingress: Option<Controller>) -> Autoscaler {
    autoscaler(&AutoscaleSubject {
        service: "web",
        name: "web",
        namespace: "shop",
        port: Some(8080),
        policy,
        limits: Limits {
            cpus: Some(0.5),
            memory: Some(Bytes(256 << 20)),
        },
        ingress,
        prometheus: "http://prometheus.monitoring.svc:9090",
        names: &BTreeMap::new(),
        labels: &labels(),
    })
}

fn object(value: &Value) -> Object {
    of(&policy(value)).object.expect("an object")
}

fn spec(value: &Value) -> Value {
    object(value).value["spec"].clone()
}

/// The triggers of a policy with these metrics.
fn triggers(metrics: &Value) -> Value {
    spec(&json!({"max": 8, "metrics": metrics}))["triggers"].clone()
}

/// All that is said about a policy.
fn all(autoscaler: Autoscaler) -> Vec<Remark> {
    match autoscaler.object {
        Some(object) => [object.remarks, object.notes].concat(),
        None => autoscaler.remarks,
    }
}

/// The places of the remarks, in their order.
fn places(remarks: &[Remark]) -> Vec<&str> {
    remarks
        .iter()
        .map(|remark| {
            remark
                .place
                .strip_prefix("services.web.x-autoscale.")
                .unwrap()
        })
        .collect()
}

/// What is said about a key of a policy.
fn said(policy: &Value, key: &str) -> String {
    let remarks = all(of(&self::policy(policy)));
    let place = format!("services.web.x-autoscale.{key}");
    let found = remarks.iter().filter(|remark| remark.place == place);
    let texts: Vec<_> = found.map(|remark| remark.what.clone()).collect();
    assert!(!texts.is_empty(), "nothing about {key} in {remarks:#?}");
    texts.join("\n")
}

#[test]
fn a_policy_of_shares_is_an_autoscaler_of_kubernetes() {
    let object = object(&json!({
        "min": 2,
        "max": 8,
        "initialization_period": "5m",
        "metrics": [{"cpu": "60%"}, {"memory": "80%"}],
        "tolerance": {"up": 0.05, "down": 0.2},
        "behavior": {
            "scale_up": {"stabilization_window": "30s", "policies": [{"percent": 50, "per": "1m"}, {"replicas": 2, "per": "30s"}], "select": "min"},
            "scale_down": {"policies": [], "select": "max"},
        },
    }));
    insta::assert_snapshot!(format!("{:#}", object.value));
    assert_eq!(places(&object.remarks), [""; 0]);
    assert_eq!(places(&object.notes), ["tolerance"]);
}

#[test]
fn a_rich_policy_is_a_scaled_object() {
    let object = object(&json!({
        "min": 1,
        "max": 12,
        "priority": 5,
        "metrics": [
            {"cpu": "60%"},
            {"requests": 50},
            {"in_flight": {"target": 8, "window": "2m"}},
            {"latency": {"p95": "300ms"}},
            {"errors": {"above": "5%"}},
            {"custom": {"name": "jobs", "prometheus": {"url": "http://prometheus:9090", "query": "sum(jobs)"}, "average_target": 100, "fallback": {"replicas": 4}}},
            {"custom": {"name": "depth", "http": {"url": "http://api:8000/stats", "pointer": "/queue/depth"}, "service_target": 10}},
            {"custom": {"name": "waiting", "command": ["redis-cli", "llen", "waiting"], "average_target": 100}},
        ],
        "schedule": [{"cron": "0 8 * * 1-5", "for": "10h", "min": 3, "timezone": "Europe/London"}],
        "behavior": {"scale_up": {"burst": {"window": "6s", "threshold": "200%"}}},
    }));
    insta::assert_snapshot!(format!("{:#}", object.value));
    let written = |remarks: &[Remark]| {
        let lines = remarks.iter();
        let lines = lines.map(|one| format!("{}: {}\n    {}", one.place, one.what, one.fix));
        lines.collect::<Vec<_>>().join("\n")
    };
    let (lost, chosen) = (written(&object.remarks), written(&object.notes));
    insta::assert_snapshot!(format!("lost\n{lost}\n\nchosen\n{chosen}"));
}

#[test]
fn every_key_of_a_policy_is_written_said_or_not_for_an_autoscaler() {
    let written = ["min", "max", "metrics", "schedule", "tolerance", "behavior"];
    let said = ["priority", "initialization_period"];
    let others = [
        "port",
        "ready",
        "ready_timeout",
        "min_ready",
        "slow_start",
        "drain",
        "balance",
    ];
    let mut known = [&written[..], &said, &others].concat();
    let mut keys = crate::policy::SERVICE_KEYS.to_vec();
    known.sort_unstable();
    keys.sort_unstable();
    assert_eq!(known, keys);
}

#[test]
fn nothing_to_scale_by_is_no_object() {
    let fixed = of(&policy(&json!({"min": 3, "max": 3, "metrics": []})));
    assert_eq!((fixed.object, fixed.remarks), (None, Vec::new()));
    let free = of(&policy(&json!({"max": 3, "metrics": []})));
    assert_eq!(free.object, None);
    assert_eq!(places(&free.remarks), ["metrics"]);
    let command = json!({"max": 3, "metrics": [{"custom": {"name": "jobs", "command": ["true"], "average_target": 1}}]});
    let left = of(&policy(&command));
    assert_eq!(left.object, None);
    assert_eq!(places(&left.remarks), ["metrics.0.custom", "metrics"]);
}

#[test]
fn no_limit_is_as_many_as_there_may_be() {
    let spec = spec(
        &json!({"max": 8, "behavior": {"scale_up": {"policies": []}, "scale_down": {"policies": [], "select": "disabled"}}}),
    );
    let all = json!([{"type": "Pods", "value": 8, "periodSeconds": 15}]);
    assert_eq!(spec["behavior"]["scaleUp"]["policies"], all);
    assert_eq!(spec["behavior"]["scaleDown"]["policies"], all);
    assert_eq!(spec["behavior"]["scaleDown"]["selectPolicy"], "Disabled");
}

#[test]
fn what_the_api_does_not_take_is_brought_near_and_said() {
    let policy = json!({
        "max": 8,
        "metrics": [{"cpu": "62.5%"}],
        "behavior": {
            "scale_up": {"stabilization_window": "1500ms", "policies": [{"percent": 0.5, "per": "500ms"}]},
            "scale_down": {"stabilization_window": "2h", "policies": [{"replicas": 1, "per": "1h"}]},
        },
    });
    let object = object(&policy);
    let spec = &object.value["spec"];
    assert_eq!(
        spec["metrics"][0]["resource"]["target"]["averageUtilization"],
        63
    );
    let up = &spec["behavior"]["scaleUp"];
    assert_eq!(up["stabilizationWindowSeconds"], 2);
    assert_eq!(
        up["policies"],
        json!([{"type": "Percent", "value": 1, "periodSeconds": 1}])
    );
    let down = &spec["behavior"]["scaleDown"];
    assert_eq!(down["stabilizationWindowSeconds"], 3600);
    assert_eq!(
        down["policies"],
        json!([{"type": "Pods", "value": 1, "periodSeconds": 1800}])
    );
    let expected = [
        "metrics.0.cpu",
        "behavior.scale_up.policies.0",
        "behavior.scale_up.policies.0",
        "behavior.scale_up.stabilization_window",
        "behavior.scale_down.policies.0",
        "behavior.scale_down.stabilization_window",
    ];
    assert_eq!(places(&object.remarks), expected);
}

#[test]
fn thresholds_are_a_target_with_a_tolerance_and_a_rate() {
    let thresholds = |step: u32| json!({"max": 8, "metrics": [{"cpu": {"above": "80%", "below": "20%", "step": step}}]});
    let one = spec(&thresholds(1));
    assert_eq!(
        one["metrics"][0]["resource"]["target"]["averageUtilization"],
        80
    );
    assert_eq!(one["behavior"]["scaleUp"]["tolerance"], "0");
    assert_eq!(one["behavior"]["scaleDown"]["tolerance"], "0.75");
    let step = json!([{"type": "Pods", "value": 1, "periodSeconds": 15}]);
    assert_eq!(one["behavior"]["scaleUp"]["policies"], step);
    assert_eq!(one["behavior"]["scaleDown"]["policies"], step);
    let three = spec(&thresholds(3));
    assert_eq!(
        three["metrics"][0]["resource"]["target"]["averageUtilization"],
        50
    );
    assert_eq!(three["behavior"]["scaleUp"]["tolerance"], "0.6");
    assert_eq!(three["behavior"]["scaleDown"]["tolerance"], "0.6");
    // 4 × 1.6 is 6.4, so 7; and 5 × 0.4 is 2.
    let said = said(&thresholds(3), "metrics.0.cpu");
    assert!(
        said.contains("added from 4 on and removed from 5 on"),
        "{said}"
    );
}

#[test]
fn thresholds_keep_within_rates_of_their_own() {
    let rates = |rules: Value| {
        let policy = json!({"max": 8, "metrics": [{"cpu": {"above": "80%", "below": "20%", "step": 2}}], "behavior": {"scale_up": rules}});
        let up = spec(&policy)["behavior"]["scaleUp"].clone();
        (up["selectPolicy"].clone(), up["policies"].clone())
    };
    let step = json!({"type": "Pods", "value": 2, "periodSeconds": 15});
    assert_eq!(
        rates(json!({"policies": []})),
        (json!("Max"), json!([step]))
    );
    let slow = json!({"policies": [{"replicas": 1, "per": "1m"}]});
    let one = json!({"type": "Pods", "value": 1, "periodSeconds": 60});
    assert_eq!(rates(slow), (json!("Min"), json!([one, step])));
    let none = json!({"policies": [], "select": "disabled"});
    assert_eq!(rates(none).0, "Disabled");
}

#[test]
fn thresholds_among_others_have_their_tolerance() {
    let policy = json!({"max": 8, "metrics": [{"memory": "80%"}, {"cpu": {"above": "80%", "below": "20%"}}]});
    let spec = spec(&policy);
    assert_eq!(
        spec["metrics"][1]["resource"]["target"]["averageUtilization"],
        73
    );
    assert_eq!(spec["behavior"]["scaleUp"].get("tolerance"), None);
    assert!(said(&policy, "metrics.1.cpu").contains("one tolerance for all"));
}

#[test]
fn memory_without_a_limit_is_left_out() {
    let policy = policy(&json!({"max": 8, "metrics": [{"memory": "80%"}, {"cpu": "60%"}]}));
    let autoscaler = autoscaler(&AutoscaleSubject {
        service: "web",
        name: "web",
        namespace: "shop",
        port: None,
        policy: &policy,
        limits: Limits::default(),
        ingress: None,
        prometheus: "http://prometheus:9090",
        names: &BTreeMap::new(),
        labels: &BTreeMap::new(),
    });
    let object = autoscaler.object.unwrap();
    let metrics = object.value["spec"]["metrics"].as_array().unwrap();
    assert_eq!(metrics.len(), 1);
    assert_eq!(places(&object.remarks), ["metrics.0.memory"]);
}

#[test]
fn requests_are_those_of_the_ingress_controller() {
    let policy = policy(&json!({"max": 8, "metrics": [{"requests": 50}, {"cpu": "60%"}]}));
    let query = |ingress| {
        let object = behind(&policy, Some(ingress)).object.unwrap();
        object.value["spec"]["triggers"][0]["metadata"]["query"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        query(Controller::Traefik),
        "sum(rate(traefik_service_requests_total{service=\"shop-web-8080@kubernetes\"}[1m]))"
    );
    assert_eq!(
        query(Controller::Nginx),
        "sum(rate(nginx_ingress_controller_requests{exported_namespace=\"shop\",exported_service=\"web\"}[1m]) or \
         rate(nginx_ingress_controller_requests{exported_namespace=\"shop\",service=\"web\"}[1m]) or \
         rate(nginx_ingress_controller_requests{namespace=\"shop\",service=\"web\"}[1m]))"
    );
    let without = behind(&policy, None).object.unwrap();
    assert_eq!(without.value["kind"], "HorizontalPodAutoscaler");
    assert_eq!(places(&without.remarks)[0], "metrics.0.requests");
}

#[test]
fn errors_alone_remove_nothing() {
    let spec = spec(&json!({"max": 8, "metrics": [{"errors": {"above": "5%"}}]}));
    let config = &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"];
    assert_eq!(config["scaleDown"]["selectPolicy"], "Disabled");
    // 5% is 1.1 times this, where the tolerance ends; and what is above is at most a little more.
    assert_eq!(spec["triggers"][0]["metadata"]["threshold"], "4.546");
    let query = spec["triggers"][0]["metadata"]["query"].as_str().unwrap();
    assert!(
        query.starts_with("clamp_max(") && query.ends_with(", 5.05)"),
        "{query}"
    );
}

#[test]
fn a_service_of_the_project_is_a_service_of_the_namespace() {
    let http = |url: &str| json!([{"custom": {"name": "depth", "http": {"url": url, "pointer": ""}, "service_target": 10}}]);
    let url = |url: &str| triggers(&http(url))[0]["metadata"]["url"].clone();
    assert_eq!(
        url("http://my_api:8000/stats"),
        "http://my-api.shop.svc:8000/stats"
    );
    assert_eq!(url("http://api"), "http://api.shop.svc");
    assert_eq!(
        url("http://queue.example/stats?a=b"),
        "http://queue.example/stats?a=b"
    );
    assert_eq!(url("http://127.0.0.1:8000"), "http://127.0.0.1:8000");
    let policy = json!({"max": 8, "metrics": http("http://127.0.0.1:8000")});
    assert!(said(&policy, "metrics.0.custom").contains("on this machine"));
}

#[test]
fn a_prometheus_of_this_machine_is_that_of_the_cluster() {
    let triggers = triggers(
        &json!([{"custom": {"name": "qps", "prometheus": {"url": "http://localhost:9090", "query": "a", "labels": {"queue": "ma\"il$"}}, "service_target": 0.00025}}]),
    );
    let metadata = &triggers[0]["metadata"];
    assert_eq!(
        metadata["serverAddress"],
        "http://prometheus.monitoring.svc:9090"
    );
    assert_eq!(triggers[0]["metricType"], "Value");
    // KEDA has three digits behind the point.
    assert_eq!(metadata["threshold"], "0.25");
    assert_eq!(
        metadata["query"],
        r#"1000 * ((a) and on (queue) label_replace(vector(1), "queue", "ma\"il$$", "", ""))"#
    );
    assert_eq!(metadata["timeout"], "5000");
}

#[test]
fn a_query_for_each_replica_is_one_for_all() {
    for (each, all) in [
        (
            r#"sessions{instance="{replica}:9100"}"#,
            Some(r#"avg(sessions{instance=~"[^:]+:9100"})"#),
        ),
        (
            r#"a{b="c", pod = '{name}.x'}"#,
            Some(r#"avg(a{b="c", pod =~'web-.+\\.x'})"#),
        ),
        (r#"a{pod=~"{name}.*"}"#, Some(r#"avg(a{pod=~"web-.+.*"})"#)),
        ("a{pod=`{name}.x`}", Some(r"avg(a{pod=~`web-.+\.x`})")),
        (r#"a{pod!="{name}"}"#, None),
        ("a_{name}", None),
        (r#"a{b="x\"{name}"}"#, Some(r#"avg(a{b=~"x\"web-.+"})"#)),
    ] {
        assert_eq!(replicas::mean(each, "web").as_deref(), all, "{each}");
    }
}

#[test]
fn a_page_of_each_replica_is_asked_of_every_pod() {
    let pod = |url: &str| json!([{"custom": {"name": "busy", "http": {"url": url, "metric": "busy", "labels": {"kind": "a"}}, "per_replica_target": 4}}]);
    for url in ["http://{replica}:9100/metrics", "http://web:9100/metrics"] {
        let triggers = triggers(&pod(url));
        let expected = json!([{
            "type": "metrics-api",
            "name": "busy",
            "metricType": "Value",
            "metadata": {
                "url": "http://web.shop.svc:9100/metrics",
                "format": "prometheus",
                "valueLocation": "busy{kind=\"a\"}",
                "targetValue": "4",
                "aggregateFromKubeServiceEndpoints": "true",
                "aggregationType": "average",
            },
        }]);
        assert_eq!(triggers, expected, "{url}");
    }
    for url in ["http://{replica}:9100/?a=b", "http://other/{replica}"] {
        let policy = json!({"max": 8, "metrics": pod(url)});
        assert!(
            said(&policy, "metrics.0.custom").contains("left out"),
            "{url}"
        );
    }
}

#[test]
fn a_pointer_is_a_path_of_gjson() {
    for (pointer, path) in [
        ("", Some("@this")),
        ("/queues/0/depth", Some("queues.0.depth")),
        ("/a.b/c~1d/~0e", Some(r"a\.b.c\/d.\~e")),
        ("/#/@x", Some(r"\#.\@x")),
        ("/a//b", None),
    ] {
        assert_eq!(gjson_path::gjson(pointer).as_deref(), path, "{pointer}");
    }
}

#[test]
fn fallbacks_become_the_one_that_an_object_has() {
    let custom = |name: &str, more: Value| {
        let mut custom = json!({"name": name, "prometheus": {"url": "http://p.example", "query": "a"}, "average_target": 1});
        custom
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({"custom": custom})
    };
    let both = json!({"max": 8, "metrics": [custom("a", json!({"fallback": {"replicas": 4}, "failures": 5})), custom("b", json!({"fallback": {"replicas": 6}}))]});
    let fallback =
        json!({"failureThreshold": 2, "replicas": 6, "behavior": "currentReplicasIfHigher"});
    assert_eq!(spec(&both)["fallback"], fallback);
    assert!(said(&both, "metrics.0.custom.fallback").contains("one fallback for all"));
    let none = json!({"max": 8, "metrics": [custom("a", json!({}))]});
    assert_eq!(spec(&none).get("fallback"), None);
}

#[test]
fn none_at_all_is_the_work_of_keda() {
    let mut policy =
        policy(&json!({"max": 8, "behavior": {"scale_down": {"stabilization_window": "2m"}}}));
    policy.min = 0;
    let object = of(&policy).object.unwrap();
    let spec = &object.value["spec"];
    assert_eq!(
        (&spec["minReplicaCount"], &spec["cooldownPeriod"]),
        (&json!(0), &json!(120))
    );
    let about_min = places(&object.remarks)
        .into_iter()
        .filter(|one| *one == "min");
    // Nothing wakes it up, and no request is kept.
    assert_eq!(about_min.count(), 2);
}

#[test]
fn failures_ask_for_one_more_however_many_they_are() {
    for above in [0.01, 0.3, 1.0, 5.0, 33.3, 99.0] {
        for up in [0.0, 0.05, 0.1, 0.3] {
            let policy = json!({"max": 8, "tolerance": {"up": up, "down": 0.1}, "metrics": [{"errors": {"above": format!("{above}%")}}]});
            let spec = spec(&policy);
            let metadata = &spec["triggers"][0]["metadata"];
            let target: f64 = metadata["threshold"].as_str().unwrap().parse().unwrap();
            // `factor * (clamp_max(…, most))`, where the target is finer than KEDA's numbers.
            let query = metadata["query"].as_str().unwrap();
            let factor = query
                .strip_suffix("))")
                .and_then(|_| query.split_once(" * (clamp_max"));
            let factor: f64 = factor.map_or(1.0, |(factor, _)| factor.parse().unwrap());
            let most = query.trim_end_matches(')').rsplit_once(", ").unwrap().1;
            let ratio = |share: f64| share * factor / target;
            // What is allowed is within the tolerance, to three digits; what is beyond is not.
            assert!(ratio(above) <= 1.0 + up + 1e-9, "{above} {up}: {metadata}");
            assert!(ratio(above * 1.002) > 1.0 + up, "{above} {up}: {metadata}");
            let replicas = (1.0 / (1.0 + up - 1.0 + 0.02)).floor();
            let asked = (replicas * ratio(most.parse().unwrap())).ceil();
            assert!(
                (asked - replicas - 1.0).abs() < 0.5,
                "{above} {up}: {metadata}"
            );
        }
    }
}

/// The start and the end of a floor; nothing where it is refused.
fn times(cron: &str, lasts: &str) -> Option<(String, String)> {
    let policy = json!({"max": 8, "schedule": [{"cron": cron, "for": lasts, "min": 3}]});
    let object = object(&policy);
    let triggers = object.value["spec"]["triggers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let metadata = triggers
        .iter()
        .find(|one| one["type"] == "cron")
        .map(|one| &one["metadata"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let found = metadata.map(|one| (text(&one["start"]), text(&one["end"])));
    if found.is_none() {
        assert!(said(&policy, "schedule.0").contains("left out"));
    }
    found
}

#[test]
fn a_floor_ends_by_a_pattern_of_its_own() {
    for (cron, lasts, start, end) in [
        ("0 8 * * 1-5", "10h", "0 8 * * 1-5", "0 18 * * 1-5"),
        ("30 22 * * 5,6", "4h45m", "30 22 * * 5,6", "15 3 * * 0,6"),
        ("0 22 * * *", "4h", "0 22 * * *", "0 2 * * *"),
        ("0 22 * * SUN-THU", "12h", "0 22 * * 0-4", "0 10 * * 1-5"),
        ("0 9 * * 7", "36h", "0 9 * * 0", "0 21 * * 1"),
        ("0 9 1,15 * *", "6h", "0 9 1,15 * *", "0 15 1,15 * *"),
        ("0 0 24 12 *", "23h", "0 0 24 12 *", "0 23 24 12 *"),
        ("0 9 * * 1-5/2", "1h", "0 9 * * 1,3,5", "0 10 * * 1,3,5"),
    ] {
        let expected = Some((start.to_owned(), end.to_owned()));
        assert_eq!(times(cron, lasts), expected, "{cron} for {lasts}");
    }
}

/// Whether KEDA takes a `cron` trigger for active (`cron_scaler.go`): it looks for the next start and the next end.
fn is_active(start: &str, end: &str, now: Timestamp) -> bool {
    let next = |cron: &str| {
        let schedule = Schedule {
            cron: cron.parse().unwrap(),
            lasts: Span::seconds(1),
            min: Some(1),
            max: None,
            timezone: Zone::UTC,
        };
        schedule.turns(now).unwrap()
    };
    let (start, end) = (next(start), next(end));
    !(start < end && now < start) && now <= end
}

proptest! {
    #[test]
    fn a_floor_holds_when_ours_does(
        (hour, minute) in (0..24_u32, 0..60_u32),
        weekdays in prop::option::of(prop::collection::btree_set(0..7_u32, 1..7)),
        lasts in 1..6000_u64,
        moments in prop::collection::vec(0..20_160_i64, 40),
    ) {
        let days = weekdays.map_or("*".to_owned(), |days| {
            days.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        });
        let cron = format!("{minute} {hour} * * {days}");
        if let Some((start, end)) = times(&cron, &format!("{lasts}m")) {
            let ours = Schedule {
                cron: cron.parse().unwrap(),
                lasts: Span::seconds(lasts * 60),
                min: Some(3),
                max: None,
                timezone: Zone::UTC,
            };
            for minutes in moments {
                // In between two minutes: at the very beginning KEDA looks for the next one already.
                let now = Timestamp::from_unix(1_767_225_600 + minutes * 60 + 30);
                prop_assert_eq!(is_active(&start, &end, now), ours.holds(now), "{} for {}m at {}", cron, lasts, now);
            }
        }
    }
}

#[test]
fn a_floor_whose_end_cannot_be_told_is_refused() {
    for (cron, lasts) in [
        ("0 8,20 * * *", "1h"),
        ("*/5 8 * * *", "1m"),
        ("0 8 * * *", "24h"),
        ("0 8 * * 1-5", "30h"),
        ("0 22 1 * *", "4h"),
        ("0 8 L * *", "1h"),
        ("0 8 * * 5#1", "1h"),
        ("0 8 * * *", "90s"),
    ] {
        assert_eq!(times(cron, lasts), None, "{cron} for {lasts}");
    }
}

#[test]
fn a_floor_differs_from_ours_and_says_how() {
    let floor = |min: u32| json!({"max": 40, "tolerance": {"up": 0.1}, "schedule": [{"cron": "0 8 * * *", "for": "1h", "min": min, "max": 40}]});
    assert!(!said(&floor(10), "schedule.0").contains("tolerance"));
    assert!(said(&floor(11), "schedule.0").contains("10 replicas are taken for 11"));
    assert!(said(&floor(11), "schedule.0.max").contains("no word"));
}
