//! `explain` on the command line: recordings, logs, mistakes.

use assert_cmd::Command;
use serde_json::{Value, json};

fn explain(arguments: &[&str], input: &str) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .arg("explain")
        .args(arguments)
        .env("NO_COLOR", "1")
        .write_stdin(input)
        .output()
        .expect("the program runs");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (
        output.status.code().expect("an exit code"),
        text(&output.stdout),
        text(&output.stderr),
    )
}

fn input() -> Value {
    let replica = |number| {
        json!({"name": format!("web-{number}"), "state": "running", "ready": true, "age": "10m",
               "metrics": {"cpu": 85.0}})
    };
    json!({
        "now": "2026-01-01T12:00:00Z",
        "policy": {"min": 1, "max": 8, "metrics": [{"cpu": "60%"}]},
        "replicas": [replica(1), replica(2), replica(3)],
    })
}

#[test]
fn every_case_of_the_autoscaler_has_its_answer_from_the_program_too() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("vectors/decisions.json")).expect("the cases");
    let lines: Vec<String> = cases.iter().map(|case| case["input"].to_string()).collect();
    let (code, answers, said) = explain(&["--format", "json"], &lines.join("\n"));
    assert_eq!((code, said.as_str()), (0, ""));
    assert_eq!(answers.lines().count(), cases.len());
    for (case, answer) in cases.iter().zip(answers.lines()) {
        let answer: Value = serde_json::from_str(answer).expect("an answer");
        for (field, expected) in case["expect"].as_object().expect("fields") {
            assert_eq!(&answer[field], expected, "{}: {field}", case["id"]);
        }
    }
    // The same again is the same, byte for byte.
    let again = explain(&["--format", "json"], &lines.join("\n")).1;
    assert_eq!(again, answers);
}

#[test]
fn one_decision_is_told_step_by_step() {
    let (code, text, said) = explain(&[], &format!("{:#}", input()));
    assert_eq!((code, said.as_str()), (0, ""));
    insta::assert_snapshot!(text, @r"
    cpu 85% of 60% target: 3 → 5 (above_target)

    replicas      3 now, 1 to 8 allowed
    cpu           85% of 60% target: asks for 5
    limits        no more than 7 by behavior.scale_up: stays 5
    result        3 → 5
    otherwise     cpu above 100%: 6
                  cpu below 80%: 4
    ");
}

#[test]
fn a_scaling_log_is_explained_line_by_line_and_service_by_service() {
    let directory = tempfile::tempdir().expect("a directory");
    let log = directory.path().join("scaling.log");
    let line = |service: &str| {
        json!({"time": "2026-01-01T12:00:01Z", "service": service, "event": "scale", "from": 3,
               "to": 5, "input": input()})
    };
    let other = json!({"time": "2026-01-01T12:00:02Z", "service": "web", "event": "scaled"});
    write(
        &log,
        &format!("{}\n{other}\n{}\n", line("web"), line("api")),
    );
    let log = log.to_str().expect("a path");
    let (code, text, _) = explain(&["--input", log], "");
    assert_eq!(code, 0);
    let headings: Vec<_> = text.lines().filter(|l| l.starts_with("2026-")).collect();
    assert_eq!(
        headings,
        ["2026-01-01T12:00:00Z web", "2026-01-01T12:00:00Z api"]
    );
    let (_, text, _) = explain(&["--input", log, "--service", "api"], "");
    assert!(
        text.contains("Z api\n") && !text.contains("Z web\n"),
        "{text}"
    );
    let (code, _, said) = explain(&["--input", log, "--service", "db"], "");
    assert_eq!(code, 1);
    assert!(said.contains("no decision of db in it"), "{said}");
}

#[test]
fn a_name_in_a_recording_cannot_command_the_terminal() {
    let mut hostile = input();
    hostile["service"] = json!("web\u{1b}[2J\u{9b}2J");
    hostile["replicas"][0]["state"] = json!("exited");
    hostile["replicas"][0]["name"] = json!("web-1\u{1b}]0;owned\u{7}");
    for format in ["text", "json"] {
        let (code, text, _) = explain(&["--format", format], &hostile.to_string());
        assert_eq!(code, 0);
        let controls = text.chars().filter(|c| c.is_control() && *c != '\n');
        assert_eq!(controls.count(), 0, "{text:?}");
    }
}

#[test]
fn a_mistake_is_named_with_its_line_and_path() {
    let good = input().to_string();
    let with = |pointer: &str, value: Value| {
        let mut bad = input();
        *bad.pointer_mut(pointer).expect("a place") = value;
        bad.to_string()
    };
    let mut timeless = input();
    timeless.as_object_mut().expect("an object").remove("now");
    for (bad, expected) in [
        (
            with("/policy", json!({"max": 8, "surprise": 1})),
            "standard input:2: policy.surprise: ",
        ),
        (
            with("/replicas/1/state", json!("asleep")),
            "standard input:2: replicas[1].state: unknown variant `asleep`",
        ),
        (
            with("/replicas/0/age", json!(90)),
            "standard input:2: replicas[0].age: ",
        ),
        (
            with("/replicas/0/metrics/cpu", json!("much")),
            "standard input:2: replicas[0].metrics",
        ),
        (
            timeless.to_string(),
            "standard input:2: missing field `now`",
        ),
        ("[1]".into(), "standard input:2: found a list, expected"),
        ("{\"now\": ".into(), "standard input: EOF while parsing"),
    ] {
        let (code, out, said) = explain(&[], &format!("{good}\n{bad}"));
        assert_eq!((code, out.as_str()), (78, ""), "{said}");
        assert!(said.contains(expected), "{expected}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let (code, _, said) = explain(&[], "");
    assert_eq!(code, 1);
    assert!(said.contains("no decision in it"), "{said}");
    let (code, _, said) = explain(&["--input", "/nowhere/x.json"], "");
    assert_eq!(code, 1);
    assert!(said.contains("cannot read /nowhere/x.json"), "{said}");
}

#[expect(clippy::disallowed_methods, reason = "a log to read")]
fn write(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).expect("a file");
}
