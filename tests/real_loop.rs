//! The main job: load comes and goes, and replicas with it.

use std::time::Duration;

mod support;

use support::{
    real,
    stack::{Stack, new_nginx},
};

const LONG: Duration = Duration::from_secs(60);

/// A tenth of a core each, and windows short enough to be waited for.
const POLICY: &str = "    deploy: {resources: {limits: {cpus: \"0.2\", memory: 64M}}}
    stop_grace_period: 2s
    x-autoscale:
      min: 1
      max: 4
      metrics: [{cpu: 50%}, {memory: 90%}]
      initialization_period: 1s
      behavior: {scale_down: {stabilization_window: 4s}}";

#[test]
fn load_brings_replicas_and_its_end_takes_them_away_and_the_log_tells_it() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), POLICY);
    let watch = stack.watch(&[]);
    // The workers of before its first reload do not know `keepalive_min_timeout` yet.
    stack.until("watch has taken over", LONG, |_| {
        watch.log().contains("nginx sends requests to")
    });
    let load = stack.load(&[
        "--duration",
        "120s",
        "--class",
        "work:path=/cpu?ms=10,connections=40,rps=60",
        "--class",
        "fast:connections=8,rps=200",
    ]);
    stack.until("four serve", LONG, |s| s.listed().len() == 4);
    let report = load.end();
    assert_eq!(report.failed(), 0, "{report:#?}");
    stack.until("one serves", LONG, |s| {
        s.listed().len() == 1 && s.running().len() == 1
    });

    let history = stack.history();
    let scales: Vec<_> = history.iter().filter(|l| l["event"] == "scale").collect();
    let first = scales.first().expect("a change");
    assert_eq!(
        (&first["from"], &first["by"]),
        (&1.into(), &"policy".into())
    );
    assert_eq!(first["reason"], "above_target");
    assert!(first["metrics"]["cpu"].as_f64().unwrap() > 50.0);
    assert!(first["input"]["policy"]["max"] == 4, "{first}");
    let last = scales.last().expect("a change");
    assert_eq!(
        (&last["to"], &last["reason"]),
        (&1.into(), &"below_target".into())
    );
    let served = history.iter().find(|l| l["event"] == "scaled").unwrap();
    assert!(served["seconds"].as_f64().unwrap() > 0.0);
}

#[test]
fn once_from_cron_keeps_its_history_and_measures_since_the_last_run() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), POLICY);
    let load = stack.load(&[
        "--duration",
        "120s",
        "--class",
        "work:path=/cpu?ms=10,connections=40,rps=60",
    ]);
    // The first run measures over a second, the second since the first.
    stack.must(&["watch", "--once"]);
    let after_one = stack.listed().len();
    assert!(after_one > 1, "{:?}", stack.history());
    std::thread::sleep(Duration::from_secs(2));
    let second = stack.must(&["watch", "--once"]);
    assert!(stack.listed().len() >= after_one, "{second:?}");
    drop(load);
    // The stabilization window outlives the run: no load does not mean fewer at once.
    let third = stack.must(&["watch", "--once"]);
    assert!(third.stderr.contains("reason="), "{third:?}");
    let state: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(stack.state().join("state.json")).unwrap())
            .unwrap();
    let kept = &state["services"]["web"]["history"];
    assert!(
        kept["recommendations"].as_array().unwrap().len() >= 2,
        "{kept}"
    );
    assert!(
        !kept["scale_events"].as_array().unwrap().is_empty(),
        "{kept}"
    );
}

#[test]
fn a_dry_run_says_what_it_would_do_and_touches_nothing() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), POLICY);
    let _load = stack.load(&[
        "--duration",
        "60s",
        "--class",
        "work:path=/cpu?ms=10,connections=40,rps=60",
    ]);
    let before = stack.running();
    let ran = stack.must(&["watch", "--once", "--dry-run"]);
    assert!(ran.stderr.contains("would scale"), "{ran:?}");
    assert!(ran.stderr.contains("would create"), "{ran:?}");
    assert_eq!(stack.running(), before);
    assert!(stack.listed().is_empty(), "{:?}", stack.listed());
    assert!(!stack.state().join("state.json").exists());
}

#[test]
fn a_policy_that_changes_holds_at_once_and_a_bad_one_changes_nothing() {
    if !real() {
        return;
    }
    let policy = |max: &str| format!("    x-autoscale: {{min: {max}, max: {max}, metrics: []}}");
    let stack = Stack::up(new_nginx().as_str(), &policy("1"));
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.listed().len() == 1);
    stack.rewrite(new_nginx().as_str(), &policy("2"));
    stack.until("the new minimum holds", LONG, |s| s.listed().len() == 2);
    stack.rewrite(new_nginx().as_str(), &policy("many"));
    stack.until("the mistake is told", LONG, |_| {
        watch.log().contains("keeping the previous policy")
    });
    assert_eq!(stack.listed().len(), 2);

    // The running watch answers all the same, and scales by the policy it has.
    let ps = stack.must(&["ps"]);
    assert!(ps.stdout.contains("web: 2 of 2 serving"), "{ps:?}");
    assert!(
        ps.stdout.contains("! the compose file cannot be used"),
        "{ps:?}"
    );
    let scaled = stack.must(&["scale", "web=3", "--hold", "1s"]);
    assert!(
        scaled.stderr.contains("keeps the previous one"),
        "{scaled:?}"
    );
    stack.until("the policy it has holds", LONG, |s| s.listed().len() == 2);

    stack.rewrite(new_nginx().as_str(), &policy("3"));
    stack.until("it goes on", LONG, |s| s.listed().len() == 3);
}

#[test]
fn of_two_counts_by_hand_the_later_counts_and_the_earlier_is_told_at_once() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        new_nginx().as_str(),
        "    x-autoscale: {max: 4, metrics: [], min_ready: 5s}",
    );
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.listed().len() == 1);
    let earlier = stack
        .command(&["scale", "web=4"])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the tool starts");
    stack.until("the first is at work", LONG, |s| s.running().len() == 4);
    stack.must(&["scale", "web=2"]);
    let earlier = earlier.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&earlier.stderr);
    assert_eq!(earlier.status.code(), Some(1), "{said}");
    assert!(
        said.contains("web=4 was superseded by a later `scale web=2`"),
        "{said}"
    );

    // What somebody stops has not crashed.
    let stopped = stack.running().pop().expect("a replica");
    stack.project.compose(&["stop", "web"]);
    stack.until("the stop is told", LONG, |_| {
        watch.log().contains("was stopped by someone else")
    });
    assert!(!watch.log().contains("died"), "{stopped:?}");
}
