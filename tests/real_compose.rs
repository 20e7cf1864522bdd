//! compose at work under a running `watch`.

use std::{fs, path::PathBuf, time::Duration};

mod support;

use support::{
    real,
    stack::{Stack, Watch, new_nginx},
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
    let log = watch.log();
    let hint = log.matches("`compose-scale init`").count();
    assert_eq!(hint, 1, "said once: {log}");
    assert!(log.contains("1 of 4 replicas are left"), "{log}");
}

/// A project whose count is kept in a file of its own, and a `watch` on it, as a person would start
/// both: without naming any file.
fn kept(web: &str, scale: &str) -> (Stack, PathBuf) {
    let stack = Stack::up(&new_nginx(), web);
    let path = stack.project.write("compose.scale.yaml", scale);
    stack
        .project
        .write(".env", "COMPOSE_FILE=compose.yaml:compose.scale.yaml\n");
    (stack, path)
}

/// A plain `up -d`, of all and of what depends on the service, leaves five replicas as they are.
fn an_up_changes_nothing(stack: &Stack, watch: &Watch) {
    let before = stack.project.ids();
    assert_eq!(before.len(), 6, "{}", watch.log());
    let said = watch.log().len();
    for arguments in [&["up", "-d"][..], &["up", "-d", "nginx"]] {
        stack.project.compose(arguments);
        assert_eq!(stack.project.ids(), before, "{}", watch.log());
    }
    let log = &watch.log()[said..];
    for ours in [
        "creating",
        "replicas are left",
        "policies apply from now on",
    ] {
        assert!(!log.contains(ours), "{ours}: {log}");
    }
}

#[test]
fn the_count_survives_compose_where_it_is_kept_in_a_file() {
    if !real() {
        return;
    }
    let scale = "# Ours.\nservices:\n  web: # the shop\n    scale: 1   # kept\n";
    let (stack, path) = kept("    x-autoscale: {min: 1, max: 8, metrics: []}", scale);
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.must(&["scale", "web=5"]);
    let five = fs::read_to_string(&path).expect("the file");
    assert_eq!(
        five,
        scale.replace("scale: 1", "scale: 5"),
        "{}",
        watch.log()
    );
    an_up_changes_nothing(&stack, &watch);
    assert!(!watch.log().contains("policies apply"), "{}", watch.log());

    // A policy that is changed holds, and the file is still kept.
    stack.rewrite(
        &new_nginx(),
        "    x-autoscale: {min: 1, max: 7, metrics: []}",
    );
    stack.until("the new policy holds", LONG, |s| {
        s.ps()["services"][0]["max"] == 7
    });
    stack.must(&["scale", "web=2"]);
    let two = fs::read_to_string(&path).expect("the file");
    assert_eq!(
        two,
        scale.replace("scale: 1", "scale: 2"),
        "{}",
        watch.log()
    );
}

#[test]
fn the_count_survives_compose_where_the_file_has_deploy_replicas() {
    if !real() {
        return;
    }
    let (stack, path) = kept(
        "    deploy: {replicas: 2, resources: {limits: {memory: 64M}}}
    x-autoscale: {min: 1, max: 8, metrics: []}",
        "services:\n  web:\n    # kept\n",
    );
    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    stack.must(&["scale", "web=5"]);
    assert_eq!(
        fs::read_to_string(&path).expect("the file"),
        "services:\n  web:\n    deploy:\n      replicas: 5\n    # kept\n",
        "{}",
        watch.log()
    );
    an_up_changes_nothing(&stack, &watch);
}

#[test]
fn what_cannot_be_kept_is_said_once_and_scaling_goes_on() {
    if !real() {
        return;
    }
    let flow = "services:\n  web: {scale: 1}\n";
    let (stack, path) = kept("    x-autoscale: {min: 2, max: 8, metrics: []}", flow);
    let text = || fs::read_to_string(&path).expect("the file");
    stack.must(&["watch", "--once", "--dry-run"]);
    stack.must(&["ps"]);
    assert_eq!(text(), flow);

    let watch = stack.watch(&[]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    for count in ["web=3", "web=4"] {
        stack.must(&["scale", count]);
    }
    assert_eq!(text(), flow);
    let said = |what: &str| watch.log().matches(what).count();
    assert_eq!(said("it has no block `web:`"), 1, "{}", watch.log());

    // What is mended is kept at once, without another count.
    let block = "services:\n  web:\n    scale: 1\n";
    stack.project.write("compose.scale.yaml", block);
    stack.until("it is kept", LONG, |_| text() == block.replace('1', "4"));

    // What is in the way of a write, as a directory that is read-only is.
    let beside = stack.project.directory().join(".compose.scale.yaml.tmp");
    fs::create_dir(&beside).expect("a directory");
    for count in ["web=3", "web=2"] {
        stack.must(&["scale", count]);
    }
    assert_eq!(said("cannot write the count to"), 1, "{}", watch.log());
    assert_eq!(text(), block.replace('1', "4"));
    fs::remove_dir(&beside).expect("it is gone");
    stack.until("it is kept", LONG, |_| text() == block.replace('1', "2"));
    assert_eq!(said("is updated again"), 1, "{}", watch.log());

    // Somebody else's count is no other policy, and does not stay.
    let before = said("policies apply");
    stack
        .project
        .write("compose.scale.yaml", &block.replace('1', "7"));
    stack.until("it is ours again", LONG, |_| {
        text() == block.replace('1', "2")
    });
    assert_eq!(said("policies apply"), before, "{}", watch.log());
    assert_eq!(watch.terminate().code(), Some(0));
    stack.must(&["scale", "web=3"]);
    assert_eq!(text(), block.replace('1', "3"));
    stack.must(&["watch", "--once"]);
    assert_eq!(text(), block.replace('1', "3"));
}
