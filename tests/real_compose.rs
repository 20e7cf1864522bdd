//! compose at work under a running `watch`.

use std::time::Duration;

mod support;

use support::{
    real,
    stack::{Stack, new_nginx},
};

const LONG: Duration = Duration::from_secs(60);
/// Slow to stop: longer than the project must be quiet.
const SLOW: &str = "    environment: {TERM_MODE: ignore}
    stop_grace_period: 5s
    x-autoscale: {min: 1, max: 8, metrics: []}";

#[test]
fn down_leaves_nothing_though_the_containers_are_slow_to_stop() {
    if !real() {
        return;
    }
    let stack = Stack::up(&new_nginx(), SLOW);
    stack.must(&["scale", "web=3", "--hold", "1s"]);
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.project.compose(&["down"]);
    assert_eq!(
        stack.project.leftovers(),
        Vec::<String>::new(),
        "{}",
        watch.log()
    );
    // And nothing comes back: the next listing, a second later, finds nothing either.
    stack.until("watch has noticed", LONG, |_| {
        watch.log().contains("web has no container")
    });
    assert_eq!(stack.project.ids().len(), 0, "{}", watch.log());
}

#[test]
fn a_service_that_is_stopped_stays_stopped_and_comes_back_whole() {
    if !real() {
        return;
    }
    let stack = Stack::up(&new_nginx(), SLOW);
    stack.must(&["scale", "web=3", "--hold", "1s"]);
    let before = stack.project.ids();
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.project.compose(&["stop", "web"]);
    stack.until("watch has noticed", LONG, |_| {
        watch.log().contains("no replica of web is running")
    });
    assert_eq!(stack.running().len(), 0, "{}", watch.log());
    stack.project.compose(&["start", "web"]);
    stack.until("all three serve", LONG, |s| {
        s.ps()["services"][0]["serving"] == 3 && s.listed().len() == 3
    });
    assert_eq!(stack.project.ids(), before, "{}", watch.log());
}

#[test]
fn replicas_that_compose_makes_anew_are_waited_for() {
    if !real() {
        return;
    }
    let stack = Stack::up(&new_nginx(), SLOW);
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.must(&["scale", "web=2"]);
    let before = stack.running();
    let said = watch.log().len();
    stack
        .project
        .up_scaled(&["--force-recreate", "--no-deps"], &["web"], 2);
    stack.until("both serve", LONG, |s| {
        s.ps()["services"][0]["serving"] == 2 && s.listed().len() == 2
    });
    let after = stack.running();
    let names = |all: &[(String, String)]| all.iter().map(|c| c.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&before), names(&after));
    assert!(before.iter().all(|old| !after.contains(old)), "{after:?}");
    let log = &watch.log()[said..];
    for ours in ["creating", "starting", "draining", "scaling"] {
        assert!(!log.contains(ours), "{ours}: {log}");
    }
}

#[test]
fn the_count_is_restored_after_a_plain_up_and_none_of_compose_is_made_anew() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        &new_nginx(),
        "    stop_grace_period: 2s
    x-autoscale: {min: 1, max: 8, metrics: []}",
    );
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.must(&["scale", "web=4"]);
    let first = stack.project.ids()[&format!("/{}", stack.project.container("web", 1))].clone();
    stack.project.compose(&["up", "-d"]);
    stack.until("four serve again", LONG, |s| {
        s.ps()["services"][0]["serving"] == 4 && s.listed().len() == 4
    });
    let ids = stack.project.ids();
    assert_eq!(ids.len(), 5, "{}", watch.log());
    assert_eq!(
        ids[&format!("/{}", stack.project.container("web", 1))],
        first
    );
}
