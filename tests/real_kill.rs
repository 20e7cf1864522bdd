//! `watch` is killed at every step of a scale-up and of a scale-down, and started again.
//!
//! All it does to containers and to nginx goes through the Engine's socket, so the steps are
//! requests: an undisturbed run behind a proxy records them, and each is a point to kill at, before
//! it gets to the Engine and after. Files are written between them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

mod support;

use support::{
    ComposeProject,
    proxy::{EngineProxy, Verdict},
    real,
    stack::{Stack, Watch, new_nginx, now, signal},
};

const LONG: Duration = Duration::from_secs(30);
/// Set, every point is tried; otherwise each step on one of its two sides.
const ALL: &str = "COMPOSE_SCALE_TEST_ALL_KILLS";
/// More looks at nginx's workers than these are repetitions.
const LOOKS: usize = 2;

const BY_HAND: &str = "    stop_grace_period: 2s
    x-autoscale: {min: 1, max: 8, metrics: []}";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// The n-th request of a kind, counted from when the count was asked for.
#[derive(Debug, Clone)]
struct Point {
    kind: String,
    nth: usize,
    side: Side,
}

/// `POST /containers/*/start`; nothing for what changes nothing.
fn kind(request: &str) -> Option<String> {
    let (method, path) = request.split_once(' ')?;
    let path = path.split('?').next()?;
    let is_id = |part: &str| part.len() == 64 && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<_> = path
        .split('/')
        .map(|part| if is_id(part) { "*" } else { part })
        .collect();
    let path = parts.join("/");
    (method != "GET" || path.ends_with("/top")).then(|| format!("{method} {path}"))
}

/// Records kinds of requests while the count is brought to `to`.
fn record(stack: &Stack, proxy: &EngineProxy, to: usize) -> Vec<(String, usize)> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let into = Arc::clone(&seen);
    proxy.decide(move |request| {
        if let Some(kind) = kind(request) {
            let count = counts.entry(kind.clone()).or_default();
            *count += 1;
            if !kind.ends_with("/top") || *count <= LOOKS {
                into.lock().expect("a list").push((kind, *count));
            }
        }
        Verdict::Pass
    });
    stack.must(&["scale", &format!("web={to}")]);
    proxy.pass();
    let found = seen.lock().expect("a list").clone();
    println!("steps to {to}: {found:#?}");
    found
}

fn points(steps: &[(String, usize)]) -> Vec<Point> {
    let all = std::env::var(ALL).is_ok_and(|value| !value.is_empty());
    let sides = [Side::Before, Side::After];
    let mut points = Vec::new();
    for (index, (kind, nth)) in steps.iter().enumerate() {
        for (at, side) in sides.into_iter().enumerate() {
            if all || index % 2 == at {
                let (kind, nth) = (kind.clone(), *nth);
                points.push(Point { kind, nth, side });
            }
        }
    }
    points
}

/// Kills the process when the point is reached.
fn arm(proxy: &EngineProxy, point: &Point, pid: u32) {
    let point = point.clone();
    let mut count = 0;
    proxy.decide(move |request| {
        if kind(request).as_ref() != Some(&point.kind) {
            return Verdict::Pass;
        }
        count += 1;
        if count != point.nth {
            return Verdict::Pass;
        }
        match point.side {
            Side::Before => {
                signal(pid, "KILL");
                Verdict::Close
            }
            Side::After => Verdict::PassThen(Box::new(move || signal(pid, "KILL"))),
        }
    });
}

fn takes_over(stack: &Stack, watch: &Watch, count: usize) {
    let what = format!("watch has taken over {count}");
    stack.until(&what, LONG, |s| {
        begun(s, watch) && {
            let ps = s.ps();
            ps["watching"] == true && ps["services"][0]["serving"] == count
        }
    });
}

/// Whether it holds the project. The lock names its holder: a socket may be left over from the one before.
fn begun(stack: &Stack, watch: &Watch) -> bool {
    let process = format!("{}\n", watch.pid());
    std::fs::read_to_string(stack.state().join("lock")).is_ok_and(|text| text == process)
}

/// Waits until the look at nginx that `watch` begins with is over: a request of that is none of the
/// steps that the count takes.
fn quiet(stack: &Stack, proxy: &EngineProxy) {
    let last = Arc::new(Mutex::new(now()));
    let note = Arc::clone(&last);
    proxy.decide(move |request| {
        if kind(request).is_some() {
            *note.lock().expect("the time") = now();
        }
        Verdict::Pass
    });
    stack.until("its first look is over", LONG, |_| {
        last.lock().expect("the time").elapsed() > Duration::from_secs(1)
    });
}

/// Brings the count to `to`, with a kill on the way; returns whether the point was reached.
fn through(stack: &Stack, proxy: &EngineProxy, from: usize, to: usize, point: &Point) -> bool {
    let began = now();
    let before = stack.running();
    assert_eq!(before.len(), from);
    let staying: Vec<_> = before.iter().take(to.min(from)).cloned().collect();
    let mut watch = stack.watch_with(&[], &[("DOCKER_HOST", &proxy.host())]);
    takes_over(stack, &watch, from);
    quiet(stack, proxy);
    arm(proxy, point, watch.pid());
    let target = format!("web={to}");
    let command = ["scale", target.as_str(), "--no-wait"];
    // It is answered once the count is on disk. A kill before that is told, and the command is to be
    // given again.
    let asked = stack.run(&command);
    let accepted = asked.status.success();
    assert!(
        accepted || asked.stderr.contains("run the command again"),
        "{asked:?}"
    );
    let arrived = |s: &Stack| {
        let listed = s.listed();
        s.running().len() == to && listed.len() == to
    };
    // A reload more or less is a matter of timing: then the point is not there.
    let end = now() + LONG;
    let mut quiet = None;
    while watch.runs() {
        assert!(now() < end, "neither killed nor done: {point:?}");
        let since = arrived(stack).then(|| *quiet.get_or_insert_with(now));
        quiet = since;
        if since.is_some_and(|since| since.elapsed() > Duration::from_secs(2)) {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let killed = !watch.runs();
    drop(watch);
    proxy.pass();

    let watch = stack.watch(&[]);
    if !accepted {
        stack.until("watch has begun", LONG, |s| {
            begun(s, &watch) && s.ps()["watching"] == true
        });
        stack.must(&command);
    }
    takes_over(stack, &watch, to);
    stack.until(&format!("settled after {point:?}"), LONG, |s| {
        arrived(s) && s.project.inspect_all().len() == to + 1 && leftovers(&s.project).is_empty()
    });
    let running = stack.running();
    let names: Vec<_> = running.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(stack.listed(), names, "{point:?}");
    for replica in &staying {
        assert!(running.contains(replica), "{point:?}: {replica:?} is lost");
    }
    assert!(watch.terminate().success());
    println!(
        "{from} → {to} {point:?}: killed {killed}, {:?}",
        began.elapsed()
    );
    killed
}

/// Files beside nginx's that only an unfinished change has.
fn leftovers(project: &ComposeProject) -> Vec<String> {
    std::fs::read_dir(project.directory().join("upstreams"))
        .expect("the directory of upstreams")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with('.') && !name.contains(".lock"))
        .collect()
}

#[test]
fn a_kill_at_every_step_of_a_scale_up_and_a_scale_down_loses_nothing() {
    if !real() {
        return;
    }
    let stack = Stack::up(new_nginx().as_str(), BY_HAND);
    stack.must(&["sync"]);
    let proxy = EngineProxy::new();
    let watch = stack.watch_with(&[], &[("DOCKER_HOST", &proxy.host())]);
    takes_over(&stack, &watch, 1);
    let up = points(&record(&stack, &proxy, 3));
    let down = points(&record(&stack, &proxy, 1));
    assert!(watch.terminate().success());
    assert!(up.len() >= 6 && down.len() >= 6, "{up:?} {down:?}");

    let load = stack.load(&[
        "--duration",
        "900s",
        "--class",
        "fast:connections=4,rps=100",
    ]);
    let mut reached = 0;
    let rounds = up.len().max(down.len());
    for round in 0..rounds {
        // The shorter list begins again: each round goes up and down.
        let (up, down) = (&up[round % up.len()], &down[round % down.len()]);
        reached += usize::from(through(&stack, &proxy, 1, 3, up));
        reached += usize::from(through(&stack, &proxy, 3, 1, down));
    }
    let report = load.end();
    println!(
        "{reached} of {} points reached, {} requests",
        2 * rounds,
        report.requests()
    );
    assert_eq!(report.failed(), 0, "{report:#?}");
    assert!(
        reached * 10 >= 2 * rounds * 8,
        "{reached} of {}",
        2 * rounds
    );
}
