use serde_json::{Value, json};

use super::{Problem, SERVICE_KEYS, for_compose, policy, settings};
use crate::policy::Policy;

mod bounds;
mod parts;
mod project;
mod properties;

fn lines(problems: Vec<Problem>) -> Vec<String> {
    let line = |problem: Problem| format!("{}: {}", problem.path.join("."), problem.message);
    problems.into_iter().map(line).collect()
}

/// What is wrong with a policy that has these keys beside a good `max`.
fn wrong(mut keys: Value) -> Vec<String> {
    if keys.get("max").is_none() {
        keys["max"] = json!(8);
    }
    lines(for_compose(&keys).unwrap_err())
}

/// The policy that has these keys beside a good `max`.
fn good(mut keys: Value) -> Policy {
    if keys.get("max").is_none() {
        keys["max"] = json!(8);
    }
    for_compose(&keys).unwrap()
}

/// Each case: keys, and the one problem that they are.
fn each_is(cases: &[(Value, &str)]) {
    for (keys, problem) in cases {
        assert_eq!(wrong(keys.clone()), [*problem], "{keys}");
    }
}
