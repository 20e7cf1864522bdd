//! A policy that went to Kubernetes and came back is the same one, and decides the same: its autoscaler is read by
//! what the API's documentation says of each field.

mod support;

use std::collections::BTreeMap;

use compose_scale::{
    decide::{Input, decide},
    export::autoscale::{AutoscaleSubject, Autoscaler, Controller, autoscaler},
    policy::{self, Policy},
    project::Limits,
    units::Bytes,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use support::kubernetes::policy_of;

fn parse(value: &Value) -> Policy {
    policy::policy(value).unwrap_or_else(|problems| panic!("{value}: {problems:?}"))
}

fn exported(policy: &Policy) -> Autoscaler {
    autoscaler(&AutoscaleSubject {
        service: "web",
        name: "web",
        namespace: "shop",
        port: Some(80),
        policy,
        limits: Limits {
            cpus: None,
            memory: Some(Bytes(256 << 20)),
        },
        ingress: Some(Controller::Traefik),
        prometheus: "http://prometheus:9090",
        names: &BTreeMap::new(),
        labels: &BTreeMap::new(),
    })
}

/// The policy that the object of a policy stands for, and the keys that something was said about.
fn there_and_back(policy: &Policy) -> (Value, Vec<String>) {
    let object = exported(policy).object.expect("an object");
    let remarks = object.remarks.iter().chain(&object.notes);
    let places = remarks.map(|remark| {
        let place = remark.place.strip_prefix("services.web.x-autoscale.");
        place.expect("a place in the policy").to_owned()
    });
    (policy_of(&object.value), places.collect())
}

/// Rates and windows as the API takes them.
fn rules() -> impl Strategy<Value = Value> {
    let rate = prop_oneof![
        (1..7_u32, 1..=1800_u32)
            .prop_map(|(n, per)| json!({"replicas": n, "per": format!("{per}s")})),
        (1..=300_u32, 1..=1800_u32)
            .prop_map(|(n, per)| json!({"percent": n, "per": format!("{per}s")})),
    ];
    let select = prop::sample::select(vec!["max", "min", "disabled"]);
    (0..=3600_u32, prop::collection::vec(rate, 0..4), select).prop_map(|(window, policies, select)| {
        json!({"stabilization_window": format!("{window}s"), "policies": policies, "select": select})
    })
}

/// Policies that a `HorizontalPodAutoscaler` has words for.
fn sayable() -> impl Strategy<Value = Value> {
    let share = || (1..=150_u32).prop_map(|percent| format!("{percent}%"));
    let metrics = prop_oneof![
        share().prop_map(|cpu| json!([{"cpu": cpu}])),
        share().prop_map(|memory| json!([{"memory": memory}])),
        (share(), share()).prop_map(|(cpu, memory)| json!([{"memory": memory}, {"cpu": cpu}])),
    ];
    let tolerance = || (0..=2000_u32).prop_map(|thousandths| f64::from(thousandths) / 1000.0);
    (
        1..9_u32,
        7..40_u32,
        metrics,
        (tolerance(), tolerance()),
        (rules(), rules()),
    )
        .prop_map(|(min, more, metrics, (up, down), (scale_up, scale_down))| {
            json!({
                "min": min,
                "max": min + more,
                "metrics": metrics,
                "tolerance": {"up": up, "down": down},
                "initialization_period": "5m",
                "behavior": {"scale_up": scale_up, "scale_down": scale_down},
            })
        })
}

proptest! {
    #[test]
    fn what_kubernetes_has_words_for_comes_back_as_it_was(policy in sayable()) {
        let policy = parse(&policy);
        let (back, places) = there_and_back(&policy);
        prop_assert_eq!(parse(&back), policy);
        // That it needs a version is all there is to say.
        prop_assert!(places.iter().all(|place| place == "tolerance"), "{:?}", places);
    }

    #[test]
    fn thresholds_decide_the_same_from_so_many_replicas_on(
        (above, below) in (40..=100_u32, 1..40_u32),
        step in 1..5_u32,
        more in 0..30_u32,
        load in 1.0..150.0_f64,
    ) {
        let policy = json!({
            "min": 1,
            "max": 1000,
            "metrics": [{"cpu": {"above": format!("{above}%"), "below": format!("{below}%"), "step": step}}],
        });
        let (back, _) = there_and_back(&parse(&policy));
        // A load just beyond a threshold asks for a whole step from here on.
        let least = |tolerance: f64, steps: u32| (f64::from(steps) / tolerance).ceil() as u32;
        let down = back["tolerance"]["down"].as_f64().expect("a number");
        let up = back["tolerance"]["up"].as_f64().expect("a number");
        // Neighbours, as 39% and 40%, leave no room between them: no number of replicas is enough then.
        prop_assume!(step == 1 || up > 0.0);
        let from = if step == 1 { 0 } else { least(up, step - 1) };
        let replicas = from.max(least(down, step)) + 1 + more;
        let input = |policy: &Value| -> Input {
            let replica = |number: u32| json!({
                "name": format!("web-{number}"), "state": "running", "ready": true, "age": "1h", "metrics": {"cpu": load},
            });
            let replicas: Vec<_> = (1..=replicas).map(replica).collect();
            let input = json!({"now": "2026-01-01T12:00:00Z", "policy": policy, "replicas": replicas});
            serde_json::from_value(input).expect("an input")
        };
        prop_assert_eq!(decide(&input(&back)).desired, decide(&input(&policy)).desired, "{}", back);
    }
}

/// Gives the metrics of a decision input, which has their values, a source.
fn with_sources(policy: &mut Value) {
    for metric in policy["metrics"].as_array_mut().expect("metrics") {
        if let Some(custom) = metric.get_mut("custom").and_then(Value::as_object_mut) {
            let name = custom["name"].as_str().expect("a name");
            let query = format!("{name}{{pod=\"{{name}}\"}}");
            let query = if custom.contains_key("per_replica_target") {
                query
            } else {
                name.to_owned()
            };
            let source = json!({"url": "http://prometheus.example:9090", "query": query});
            custom.insert("prometheus".into(), source);
        }
    }
}

#[test]
fn the_cases_of_the_controller_are_decided_the_same_after_a_journey() {
    let cases: Vec<Map<String, Value>> =
        serde_json::from_str(include_str!("vectors/decisions.json")).expect("cases");
    assert_eq!(cases.len(), 35);
    let mut kinds = BTreeMap::new();
    for case in cases {
        let id = case["id"].as_str().expect("an id");
        let mut input = case["input"].clone();
        let expected = decide(&serde_json::from_value(input.clone()).expect("an input"));
        with_sources(&mut input["policy"]);
        let policy = parse(&input["policy"]);
        let (mut back, places) = there_and_back(&policy);
        // A flag of the controller, so it stays behind; but not in silence.
        if let Some(period) = input["policy"].get("initialization_period") {
            let said = places.iter().any(|place| place == "initialization_period");
            let by_cpu = policy.metrics.iter().any(|one| one.name() == "cpu");
            assert_eq!(said, by_cpu, "{id}: {places:?}");
            back["initialization_period"] = period.clone();
        } else {
            back["initialization_period"] = json!("30s");
        }
        input["policy"] = back;
        let decision = decide(&serde_json::from_value(input.clone()).expect("an input"));
        assert_eq!(decision, expected, "{id}: {:#}", input["policy"]);
        for (field, value) in case["expect"].as_object().expect("an answer") {
            assert_eq!(&json!(decision)[field], value, "{id}");
        }
        let kind = exported(&policy).object.expect("an object").value["kind"].clone();
        *kinds.entry(kind.to_string()).or_insert(0) += 1;
    }
    // Kubernetes has no words of its own for a metric from elsewhere; KEDA has, so none is left behind.
    let expected = [
        ("\"HorizontalPodAutoscaler\"", 11),
        ("\"ScaledObject\"", 24),
    ];
    let expected = expected.map(|(kind, count)| (kind.to_owned(), count));
    assert_eq!(kinds, BTreeMap::from(expected));
}

#[test]
fn the_page_says_of_every_key_what_becomes_of_it() {
    let page = include_str!("../docs/export.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let keys: Vec<&str> = rows.filter_map(|row| row.split('|').nth(1)).collect();
    // Of a Deployment, a Service and an Ingress.
    let others = [
        "port",
        "ready",
        "ready_timeout",
        "min_ready",
        "slow_start",
        "drain",
        "balance",
    ];
    let of_metrics = [
        "cpu",
        "memory",
        "requests",
        "in_flight",
        "latency",
        "errors",
        "custom",
        "fallback",
        "failures",
    ];
    let of_rules = ["policies", "select", "burst"];
    let own = policy::SERVICE_KEYS
        .iter()
        .filter(|key| !others.contains(key) && **key != "metrics");
    for key in own.chain(&of_metrics).chain(&of_rules) {
        let named = keys.iter().any(|cell| {
            let mut words = cell.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            words.any(|word| word == *key)
        });
        assert!(named, "no row for {key}");
    }
}
