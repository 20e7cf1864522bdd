//! The decision rules against cases from the test tables of the Kubernetes `HorizontalPodAutoscaler`
//! (`replica_calculator_test.go`, `horizontal_test.go`), in `vectors/decisions.json`.

use compose_scale::decide::{Input, decide};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// One case: where it comes from, what goes in, and fields of the answer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    source: String,
    input: Input,
    expect: Map<String, Value>,
}

fn cases() -> Vec<Case> {
    let text = include_str!("vectors/decisions.json");
    let cases: Vec<Case> = serde_json::from_str(text).expect("every case is a valid input");
    assert_eq!(cases.len(), 35);
    cases
}

fn answer(input: &Input) -> Value {
    serde_json::to_value(decide(input)).expect("a decision is JSON")
}

#[test]
fn every_case_of_the_autoscaler_that_the_rules_come_from_has_its_answer() {
    let mut wrong = Vec::new();
    for case in cases() {
        let answer = answer(&case.input);
        for (field, expected) in &case.expect {
            if answer.get(field) != Some(expected) {
                let Case { id, source, .. } = &case;
                wrong.push(format!(
                    "{id} ({source}): expected {field} {expected}, got {answer:#}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_case_written_down_and_read_again_has_the_same_answer() {
    for case in cases() {
        let text = serde_json::to_string(&case.input).unwrap();
        let again: Input = serde_json::from_str(&text).unwrap();
        assert_eq!(again, case.input, "{}", case.id);
        assert_eq!(answer(&again), answer(&case.input), "{}", case.id);
    }
}

#[test]
fn the_documented_form_has_the_documented_answer() {
    let replica = |number| {
        json!({"name": format!("web-{number}"), "state": "running", "ready": true, "age": "10m",
               "metrics": {"cpu": 85.0}})
    };
    let input = json!({
        "now": "2026-01-01T12:00:00Z",
        "policy": {"min": 1, "max": 8, "metrics": [{"cpu": "60%"}]},
        "current": 3,
        "replicas": [replica(1), replica(2), replica(3)],
        "service_metrics": {"jobs": 120},
        "history": {
            "recommendations": [{"at": "2026-01-01T11:59:00Z", "replicas": 4}],
            "scale_events": [{"at": "2026-01-01T11:58:00Z", "change": 2}],
        },
        "host": {"free_memory": "800MiB", "replica_memory": "200MiB"},
    });
    let expected = json!({
        "version": 1,
        "current": 3,
        "desired": 5,
        "proposals": [{"metric": "cpu", "value": 85.0, "target": 60.0, "desired": 5}],
        "stabilized": null,
        "limited_by": null,
        "reason": "above_target",
        "message": "cpu 85% of 60% target: 3 → 5",
    });
    assert_eq!(answer(&serde_json::from_value(input).unwrap()), expected);
}

#[test]
fn a_mistake_in_the_policy_is_an_error_with_its_path() {
    let input = json!({"now": "2026-01-01T12:00:00Z", "policy": {"max": "many"}});
    let error = serde_json::from_value::<Input>(input).unwrap_err();
    assert!(error.to_string().starts_with("policy.max"), "{error}");
}
