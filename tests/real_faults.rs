//! `watch` while the Engine behind it drops the stream of events, answers errors, goes and comes back,
//! and while its state directory is removed. What it says is compared line by line.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

mod support;

use support::{
    proxy::{EngineProxy, Verdict},
    real,
    stack::{Stack, Watch, new_nginx},
};

const LONG: Duration = Duration::from_secs(30);

/// What was said after so many bytes, without the times.
fn said(watch: &Watch, from: usize) -> Vec<String> {
    let log = watch.log();
    let lines = log.get(from..).unwrap_or_default().lines();
    let lines = lines.map(|line| line.get(19..).unwrap_or_default().trim_start().to_owned());
    lines
        .filter(|line| !line.contains("nginx sends requests"))
        .collect()
}

#[test]
fn an_engine_that_fails_under_watch_is_said_once_and_so_is_its_return() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        new_nginx().as_str(),
        "    x-autoscale: {min: 1, max: 8, metrics: []}",
    );
    stack.must(&["sync"]);
    let proxy = EngineProxy::new();
    let watch = stack.watch_with(&[], &[("DOCKER_HOST", &proxy.host())]);
    stack.until("watch has taken over", LONG, |s| s.ps()["watching"] == true);
    let before = stack.running();
    let hears = |from: usize, what: &str| {
        stack.until(what, LONG, |_| {
            said(&watch, from).iter().any(|line| line.contains(what))
        });
    };

    // Who has just begun, or come back, may not follow them yet.
    let drop_events = || {
        stack.until("events are followed", LONG, |_| {
            proxy.drop_connections("GET /events") > 0
        });
    };
    let from = watch.log().len();
    drop_events();
    hears(from, "the Docker Engine answers again");

    let from = watch.log().len();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    proxy.decide(move |request| {
        if request.starts_with("GET /containers/json") {
            count.fetch_add(1, Ordering::Relaxed);
            Verdict::Answer(500, r#"{"message":"input/output error"}"#)
        } else {
            Verdict::Pass
        }
    });
    drop_events();
    hears(from, "cannot list");
    // Asked again and again, that is still all there is.
    stack.until("it was tried three times more", LONG, |_| {
        asked.load(Ordering::Relaxed) >= 4
    });
    proxy.pass();
    hears(from, "can be listed again");
    let lines = said(&watch, from);
    assert_eq!(
        lines[1..],
        [
            "WARN cannot list the project's containers; nothing is scaled by load until that works again error=\"listing the project's containers: input/output error (HTTP 500)\"",
            "INFO the Docker Engine answers again",
            "INFO the project's containers can be listed again",
        ]
    );

    let from = watch.log().len();
    proxy.away(true);
    hears(
        from,
        "the Docker Engine does not answer; nothing is done until it does",
    );
    proxy.away(false);
    hears(from, "the Docker Engine answers again");

    let from = watch.log().len();
    std::fs::remove_dir_all(stack.state()).expect("the state directory goes");
    hears(from, "was removed; it is restored");
    stack.until("it can be asked again", LONG, |s| {
        s.ps()["watching"] == true
    });
    let second = stack.run(&["watch", "--once"]);
    assert_eq!(second.code(), 75, "{second:?}");
    assert_eq!(stack.running(), before, "the same containers all the while");
    assert!(watch.terminate().success());
}
