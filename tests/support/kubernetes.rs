//! What an autoscaler of Kubernetes does, as a policy of ours: read from its object as the API's documentation has it,
//! knowing nothing of how it was written.
//!
//! `autoscaling/v2`: <https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/horizontal-pod-autoscaler-v2/>.
//! `ScaledObject`: <https://keda.sh/docs/latest/reference/scaledobject-spec/>.

use serde_json::{Map, Value, json};

use super::{monitoring::items, text};

/// The policy that an object stands for, in the form of `x-autoscale`.
pub(crate) fn policy_of(object: &Value) -> Value {
    let spec = &object["spec"];
    let (min, max, behavior, metrics) = match text(&object["kind"]) {
        "HorizontalPodAutoscaler" => (
            "minReplicas",
            "maxReplicas",
            &spec["behavior"],
            items(&spec["metrics"]).iter().map(metric).collect(),
        ),
        "ScaledObject" => (
            "minReplicaCount",
            "maxReplicaCount",
            &spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"],
            items(&spec["triggers"])
                .iter()
                .map(trigger)
                .collect::<Vec<_>>(),
        ),
        other => panic!("{other} scales nothing"),
    };
    let max = number(&spec[max]);
    let (up, down) = (&behavior["scaleUp"], &behavior["scaleDown"]);
    json!({
        "min": spec[min],
        "max": max,
        "metrics": metrics,
        "tolerance": {"up": tolerance(up), "down": tolerance(down)},
        // --horizontal-pod-autoscaler-cpu-initialization-period
        "initialization_period": "5m",
        "behavior": {"scale_up": rules(up, max), "scale_down": rules(down, max)},
    })
}

fn metric(metric: &Value) -> Value {
    assert_eq!(metric["type"], "Resource", "{metric}");
    let resource = &metric["resource"];
    assert_eq!(resource["target"]["type"], "Utilization", "{metric}");
    share(
        text(&resource["name"]),
        &resource["target"]["averageUtilization"].to_string(),
    )
}

fn share(resource: &str, percent: &str) -> Value {
    json!({resource: format!("{percent}%")})
}

fn trigger(trigger: &Value) -> Value {
    let metadata = &trigger["metadata"];
    let kind = text(&trigger["type"]);
    let of = text(&trigger["metricType"]);
    match kind {
        "cpu" | "memory" => {
            assert_eq!(of, "Utilization", "{trigger}");
            share(kind, text(&metadata["value"]))
        }
        "prometheus" => {
            // Without this no data is 0.
            assert_eq!(metadata["ignoreNullValues"], "false", "{trigger}");
            let query = text(&metadata["query"]);
            let target = match of {
                "AverageValue" => "average_target",
                "Value" if query.starts_with("avg(") => "per_replica_target",
                "Value" => "service_target",
                other => panic!("{other} is no type of a metric"),
            };
            let mut custom = Map::new();
            custom.insert("name".into(), trigger["name"].clone());
            let threshold: f64 = text(&metadata["threshold"]).parse().expect("a number");
            custom.insert(target.into(), json!(threshold));
            json!({"custom": custom})
        }
        other => panic!("{other} is not read here"),
    }
}

fn tolerance(rules: &Value) -> f64 {
    match rules.get("tolerance") {
        // --horizontal-pod-autoscaler-tolerance
        None => 0.1,
        Some(quantity) => {
            let quantity = text(quantity);
            match quantity.strip_suffix('m') {
                Some(thousandths) => thousandths.parse::<f64>().expect("a quantity") / 1000.0,
                None => quantity.parse().expect("a quantity"),
            }
        }
    }
}

fn rules(rules: &Value, max: i64) -> Value {
    let seconds = |value: &Value, allowed: std::ops::RangeInclusive<i64>| {
        let seconds = number(value);
        assert!(allowed.contains(&seconds), "{rules}");
        format!("{seconds}s")
    };
    let policies = items(&rules["policies"]);
    assert!(
        !policies.is_empty(),
        "a list that is not there stands for others: {rules}"
    );
    let rates = policies.iter().map(|policy| {
        let value = number(&policy["value"]);
        assert!(value > 0, "{rules}");
        let per = seconds(&policy["periodSeconds"], 1..=1800);
        match text(&policy["type"]) {
            "Pods" => json!({"replicas": value, "per": per}),
            "Percent" => json!({"percent": value, "per": per}),
            other => panic!("{other} is no type of a policy"),
        }
    });
    let mut rates: Vec<Value> = rates.collect();
    if let [one] = &rates[..]
        && one["replicas"].as_i64().is_some_and(|pods| pods >= max)
    {
        // As many as there can be at all.
        rates.clear();
    }
    json!({
        "stabilization_window": seconds(&rules["stabilizationWindowSeconds"], 0..=3600),
        "policies": rates,
        "select": text(&rules["selectPolicy"]).to_lowercase(),
    })
}

fn number(value: &Value) -> i64 {
    value
        .as_i64()
        .unwrap_or_else(|| panic!("{value} is no number"))
}
