//! Scaling by load that is suspended, and decisions that are recorded, on a real Engine.

use std::{fs, time::Duration};

mod support;

use serde_json::Value;
use support::{
    real,
    stack::{Stack, new_nginx},
};

const LONG: Duration = Duration::from_secs(60);

/// Whatever it does is too much: load asks for as many as there may be.
const BUSY: &str = "    x-autoscale:
      min: 1
      max: 2
      metrics: [cpu: {above: 0.001%, below: 0.0001%}]
      initialization_period: 0s";

fn service(stack: &Stack) -> Value {
    stack.ps()["services"][0].clone()
}

fn reason(stack: &Stack) -> String {
    support::text(&service(stack)["decision"]["reason"]).to_owned()
}

/// `event by` of each line in `scaling.log` about a pause.
fn pauses(stack: &Stack) -> Vec<String> {
    let lines = stack.history().into_iter();
    lines
        .filter(|line| ["paused", "resumed"].contains(&support::text(&line["event"])))
        .map(|line| {
            format!(
                "{} {}",
                support::text(&line["event"]),
                support::text(&line["by"])
            )
        })
        .collect()
}

#[test]
fn a_pause_binds_load_over_restarts_until_it_is_over_and_every_decision_is_recorded() {
    if !real() {
        return;
    }
    let stack = Stack::up(&new_nginx(), BUSY);
    // Without a watch: the next one honours it.
    stack.must(&["pause", "web"]);
    let once = stack.must(&["watch", "--once", "--plain"]);
    assert!(
        once.stderr.contains("scaling is paused: staying at 1"),
        "{once:?}"
    );
    assert_eq!(stack.running().len(), 1);

    let file = stack.project.directory().join("run.jsonl");
    let record = ["--record", file.to_str().unwrap()];
    let watch = stack.watch(&record);
    stack.until("load is known and changes nothing", LONG, |s| {
        stack.get("/");
        reason(s) == "paused" && !service(s)["metrics"][0]["value"].is_null()
    });
    stack.until("it is said", LONG, |_| {
        watch
            .log()
            .contains("not scaling: scaling is paused: staying at 1")
    });
    assert_eq!(service(&stack)["paused"]["directions"], "both");

    // By hand the count changes, and a dead replica comes back.
    stack.must(&["scale", "web=2", "--hold", "1s"]);
    stack.must(&["scale", "web=1", "--hold", "1s"]);
    let (name, id) = stack.running().swap_remove(0);
    support::stack::kill_container(&id);
    stack.until("it is back", LONG, |s| {
        s.listed() == [name.clone()] && service(s)["serving"] == 1
    });

    // Over a restart; then it runs out, is said once, and load counts.
    watch.kill();
    let watch = stack.watch(&record);
    stack.until("the next one knows", LONG, |s| {
        s.ps()["watching"] == true && reason(s) == "paused"
    });
    let said = stack.must(&["pause", "web", "--for", "2s"]);
    assert!(
        said.stdout.contains("web: scaling is paused until 20"),
        "{said:?}"
    );
    stack.until("load counts again", LONG, |s| {
        s.get("/");
        s.listed().len() == 2
    });
    assert_eq!(
        watch
            .log()
            .matches("scaling is resumed: the pause is over")
            .count(),
        1
    );
    let said = stack.must(&["resume", "web"]);
    assert_eq!(said.stdout, "web: scaling was not paused\n");
    assert_eq!(
        pauses(&stack),
        ["paused hand", "paused hand", "resumed clock"]
    );

    // One way only.
    stack.must(&["pause", "web", "--down"]);
    assert!(watch.terminate().success());
    stack.rewrite(
        &new_nginx(),
        "    x-autoscale: {min: 1, max: 2, metrics: [cpu: 95%], initialization_period: 0s,
                   behavior: {scale_down: {stabilization_window: 0s}}}",
    );
    let watch = stack.watch(&record);
    stack.until("nothing is removed", LONG, |s| reason(s) == "paused");
    assert_eq!(stack.running().len(), 2);
    let said = stack.must(&["resume", "web"]);
    assert_eq!(said.stdout, "web: scaling is resumed\n");
    stack.until("one is removed", LONG, |s| s.running().len() == 1);
    drop(watch);

    // What was recorded is what was decided, and explain takes it again.
    let lines = fs::read_to_string(&file).unwrap();
    let replayed = stack.must(&[
        "explain",
        "--input",
        file.to_str().unwrap(),
        "--format",
        "json",
    ]);
    assert_eq!(replayed.stdout.lines().count(), lines.lines().count());
    let reasons: Vec<String> = replayed
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["reason"].to_string())
        .collect();
    for reason in ["paused", "held", "above_target", "below_target"] {
        assert!(reasons.contains(&format!("{reason:?}")), "{reasons:?}");
    }
    let scaled: Vec<String> = stack
        .history()
        .iter()
        .filter(|line| line["event"] == "scale" && line["by"] == "policy")
        .map(|line| line["message"].to_string())
        .collect();
    assert_eq!(scaled.len(), 2, "{scaled:?}");
    for message in scaled {
        assert!(replayed.stdout.contains(&message), "{message}");
    }
}

#[test]
fn a_recording_that_cannot_be_written_is_said_once_and_goes_on_when_it_can() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        &new_nginx(),
        "    x-autoscale: {min: 1, max: 2, metrics: [cpu: 60%]}",
    );
    let directory = stack.project.directory().join("records");
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("run.jsonl");
    // A dry run, and one for cron, record what they decide too.
    let path = file.to_str().unwrap();
    for arguments in [&["--once", "--dry-run"][..], &["--once"]] {
        let before = fs::read_to_string(&file).map_or(0, |text| text.lines().count());
        stack.must(&[&["watch", "--plain", "--record", path], arguments].concat());
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() > before, "{arguments:?}");
        assert!(text.ends_with("}\n"), "{text}");
    }
    fs::remove_file(&file).unwrap();
    let watch = stack.watch(&["--record", path]);
    let lines = || fs::read_to_string(&file).map_or(0, |text| text.lines().count());
    stack.until("decisions are recorded", LONG, |_| lines() > 1);
    fs::remove_dir_all(&directory).unwrap();
    stack.until("it is said", LONG, |s| {
        s.ps()["troubles"]
            .to_string()
            .contains("decisions are not recorded")
    });
    stack.must(&["scale", "web=2"]);
    fs::create_dir_all(&directory).unwrap();
    stack.until("decisions are recorded again", LONG, |_| lines() > 1);
    let log = watch.log();
    assert_eq!(log.matches("decisions are not recorded").count(), 1);
    assert_eq!(log.matches("decisions are recorded in").count(), 1);
    assert_eq!(stack.ps()["troubles"], serde_json::json!([]));
}
