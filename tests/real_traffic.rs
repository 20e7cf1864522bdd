//! No request is lost: three times from one replica to six and back, under load of every kind, with
//! backends that exit at once on SIGTERM, that drain, and that ignore it.

use std::time::Duration;

mod support;

use support::{
    real,
    stack::{Report, Stack, kill_container, new_nginx, now, old_nginx},
};

const ENOUGH: u64 = 20_000;

fn up_and_down_three_times(nginx: &str, mode: &str) -> Report {
    let stack = Stack::up(
        nginx,
        &format!(
            "    environment: {{TERM_MODE: {mode}}}
    stop_grace_period: 2s
    x-autoscale: {{min: 1, max: 6, metrics: []}}"
        ),
    );
    stack.must(&["sync"]);
    let begun = now();
    let load = stack.load(&[
        "--duration",
        "120s",
        // Without a look before reuse: the hardest client there is.
        "--class",
        "keepalive:connections=16,rps=1200,peek=false",
        "--class",
        "oneshot:connections=16,rps=300,keepalive=false",
        "--class",
        "post:connections=8,rps=300,method=POST,body-bytes=2000,path=/echo",
        "--class",
        "slow:connections=8,path=/slow?ms=2000",
        "--class",
        "slowpost:connections=8,path=/slow?ms=2000,method=POST,body-bytes=100",
    ]);
    for _ in 0..3 {
        stack.must(&["scale", "web=6"]);
        stack.must(&["scale", "web=1"]);
    }
    // Until enough was sent: 1,800 a second.
    while begun.elapsed() < Duration::from_millis(ENOUGH * 1000 / 1750) {
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(stack.running().len(), 1);
    let report = load.end();
    println!(
        "nginx {nginx}, {mode}: {} requests, {} failed ({} of them idle keep-alive races)",
        report.requests(),
        report.failed(),
        report.races()
    );
    assert!(report.requests() >= ENOUGH, "{report:?}");
    report
}

/// 300 requests at once, each over a connection of its own, to an app that lets 64 wait for it.
#[test]
fn a_burst_that_fills_the_accept_queue_is_survived() {
    if !real() {
        return;
    }
    for nginx in [new_nginx(), old_nginx()] {
        let stack = Stack::up(
            &nginx,
            "    environment: {BACKLOG: 64, ACCEPT_MS: 2}
    x-autoscale: {max: 3, ready: running, metrics: []}",
        );
        stack.must(&["sync"]);
        let report = stack.load(&[
            "--class",
            "all:path=/slow?ms=300,connections=300,requests=300,keepalive=false",
        ]);
        let report = report.wait();
        assert_eq!(
            (report.requests(), report.failed()),
            (300, 0),
            "{report:#?}"
        );
    }
}

/// The app closes the connection on one URL, and a replica is killed.
#[test]
fn neither_a_bad_url_nor_a_killed_replica_costs_another_request() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        &new_nginx(),
        "    scale: 3\n    x-autoscale: {min: 3, max: 3, metrics: []}",
    );
    let watch = stack.watch(&[]);
    // Written is not yet in effect.
    stack.until(
        "nginx has taken three over",
        Duration::from_secs(60),
        |_| {
            let log = watch.log();
            log.lines()
                .any(|line| line.contains("nginx sends requests to") && line.contains("web-3"))
        },
    );
    let load = stack.load(&[
        "--duration",
        "12s",
        "--class",
        "fast:connections=64,rps=1000",
        "--class",
        "bad:path=/close,rps=1",
    ]);
    std::thread::sleep(Duration::from_secs(3));
    let (name, id) = stack.running().remove(1);
    kill_container(&id);
    let report = load.wait();
    let classes: Vec<_> = report.classes().collect();
    let of = |at: usize, key: &str| classes[at][key].as_u64();
    assert_eq!(of(0, "failed"), Some(0), "{report:#?}");
    assert_eq!(of(1, "failed"), of(1, "requests"), "{report:#?}");
    println!("{}: {}", name, classes[0]["latency_ms"]);
}

fn none_lost(mode: &str) {
    if !real() {
        return;
    }
    let report = up_and_down_three_times(&new_nginx(), mode);
    assert_eq!(report.failed(), 0, "{report:#?}");
}

fn none_lost_but_for_idle_connections(mode: &str) {
    if !real() {
        return;
    }
    let report = up_and_down_three_times(&old_nginx(), mode);
    assert_eq!(report.failed(), report.races(), "{report:#?}");
}

#[test]
fn nothing_is_lost_with_backends_that_exit_at_once() {
    none_lost("exit");
}

#[test]
fn nothing_is_lost_with_backends_that_drain() {
    none_lost("drain");
}

#[test]
fn nothing_is_lost_with_backends_that_ignore_the_signal() {
    none_lost("ignore");
}

#[test]
fn an_old_nginx_loses_only_the_idle_keepalive_race_with_backends_that_exit_at_once() {
    none_lost_but_for_idle_connections("exit");
}

#[test]
fn an_old_nginx_loses_only_the_idle_keepalive_race_with_backends_that_drain() {
    none_lost_but_for_idle_connections("drain");
}

#[test]
fn an_old_nginx_loses_only_the_idle_keepalive_race_with_backends_that_ignore_the_signal() {
    none_lost_but_for_idle_connections("ignore");
}
