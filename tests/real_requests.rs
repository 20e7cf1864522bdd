//! Scaling by what nginx logs: a real nginx, requests that wait and need no CPU.

use std::{fs, time::Duration};

mod support;

use support::{
    ComposeProject, real,
    stack::{Stack, new_nginx},
    text,
};

const LONG: Duration = Duration::from_secs(60);
const SITE: &str = "include /etc/nginx/upstreams/*.conf;
server {
    listen 80;
    LOG
    location / {
        proxy_pass http://web;
        include /etc/nginx/upstreams/web.location*;
    }
}
";

/// A project whose nginx has a directory for the log, with this policy's metrics, and this line in the
/// server block.
fn project(metrics: &str, volumes: &str, line: &str) -> Stack {
    project_of(&format!("metrics: {metrics}"), "0", volumes, line)
}

/// The same with more of a policy, and an app of so many workers.
fn project_of(policy: &str, workers: &str, volumes: &str, line: &str) -> Stack {
    let nginx = new_nginx();
    let project = ComposeProject::new(&format!(
        "\
x-autoscale:
  interval: 1s
  nginx:
    service: nginx
    upstreams: ./upstreams
    logs: {{dir: ./logs, inside: /var/log/compose-scale}}
  host: {{reserve_memory: none, reserve_cpu: none}}
services:
  web:
    image: WEB
    expose: [\"80\"]
    environment: {{WORKERS: \"{workers}\"}}
    x-autoscale:
      max: 10
      {policy}
      behavior: {{scale_up: {{policies: []}}, scale_down: {{stabilization_window: 10s, policies: []}}}}
  nginx:
    image: {nginx}
    ports: [\"127.0.0.1::80\"]
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
      - ./upstreams:/etc/nginx/upstreams:ro
{volumes}
    depends_on: [web]
"
    ));
    for directory in ["upstreams", "logs"] {
        fs::create_dir_all(project.directory().join(directory)).expect("a directory");
    }
    project.write("nginx.conf", &SITE.replace("LOG", line));
    Stack::started(project)
}

const MOUNTED: &str = "      - ./logs:/var/log/compose-scale";

/// The value of a metric of `web`, as `ps` shows it.
fn value(stack: &Stack, metric: &str) -> Option<f64> {
    let ps = stack.ps();
    let metrics = ps["services"][0]["metrics"].as_array()?.clone();
    let found = metrics.iter().find(|one| one["metric"] == metric)?;
    found["value"].as_f64()
}

fn decision(stack: &Stack) -> String {
    text(&stack.ps()["services"][0]["decision"]["message"]).to_owned()
}

fn near(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value / expected - 1.0).abs() < 0.2)
}

#[test]
fn requests_that_wait_and_need_no_cpu_are_scaled_for_and_silence_removes_nothing() {
    if !real() {
        return;
    }
    let mut stack = project(
        "[{in_flight: {target: 4.5, window: 5s}}, {requests: {target: 30, window: 5s}}, {cpu: 90%}]",
        MOUNTED,
        "",
    );
    let watch = stack.watch(&[]);
    // 60 a second, each of 200 ms: twelve are under way.
    let load = stack.load(&[
        "--duration",
        "120s",
        "--class",
        "slow:path=/slow?ms=200,connections=40,rps=60",
    ]);
    stack.until("three serve", LONG, |s| s.listed().len() == 3);
    stack.until("the target is held", LONG, |s| {
        near(value(s, "in_flight"), 4.5) && near(value(s, "requests"), 20.0)
    });
    // A replica is shown over the last 15 s.
    stack.until("each replica has its share", LONG, |s| {
        let ps = s.ps();
        let Some(replicas) = ps["services"][0]["replicas"].as_array() else {
            return false;
        };
        let number = |one: &serde_json::Value, key: &str| one[key].as_f64();
        let sum: f64 = replicas
            .iter()
            .filter_map(|one| number(one, "requests"))
            .sum();
        let within = |one, key, from, to| number(one, key).is_some_and(|v| v >= from && v < to);
        near(Some(sum), 60.0)
            && replicas.iter().all(|one| {
                within(one, "p95", 180.0, 400.0)
                    && within(one, "cpu", 0.0, 20.0)
                    && near(number(one, "requests"), 20.0)
            })
    });
    let checked = stack.run(&["check"]).stdout;
    let arrives = "ok       web: its last request in nginx's log ended ";
    assert!(checked.contains(arrives), "{checked}");
    let shown = stack.must(&["ps"]).stdout;
    assert!(
        shown.contains("REQ/S") && shown.contains("IN FLIGHT"),
        "{shown}"
    );

    // Somebody deletes the log, and then somebody cuts it: nginx is told, and it goes on.
    let name = fs::read_dir(stack.project.directory().join("logs"))
        .expect("the directory")
        .find_map(|entry| entry.ok().map(|entry| entry.path()))
        .expect("a log");
    fs::remove_file(&name).expect("it can be removed");
    stack.until("it is there again", LONG, |_| name.exists());
    stack.until("it is read again", LONG, |s| {
        near(value(s, "in_flight"), 4.0)
    });
    fs::File::options()
        .write(true)
        .open(&name)
        .and_then(|file| file.set_len(0))
        .expect("it can be cut");
    stack.until("it is still read", LONG, |s| {
        near(value(s, "in_flight"), 4.0)
    });
    assert_eq!(stack.listed().len(), 3);

    let report = load.end();
    assert_eq!(report.failed(), 0, "{report:#?}");
    // Silence may be a log that is not written.
    stack.until("nobody comes, for whatever reason", LONG, |s| {
        decision(s).contains("cannot be read (no request in its log for 5s")
    });
    assert_eq!(stack.listed().len(), 3);
    let _few = stack.load(&["--duration", "60s", "--class", "few:connections=1,rps=2"]);
    stack.until("few come: one is enough", LONG, |s| s.listed().len() == 1);
    // Another nginx, in the same log.
    let began = |s: &Stack| s.project.inspect("nginx", 1)["State"]["StartedAt"].clone();
    let before = began(&stack);
    stack.project.compose(&["restart", "-t", "1", "nginx"]);
    assert_ne!(began(&stack), before);
    stack.listen_again();
    let _few = stack.load(&["--duration", "60s", "--class", "few:connections=1,rps=2"]);
    let lines = || fs::read_to_string(&name).map_or(0, |log| log.lines().count());
    let before = lines();
    stack.until("its requests are read", LONG, |s| {
        lines() > before + 4 && value(s, "requests").is_some_and(|each| each > 1.0)
    });
    assert!(!watch.log().contains(" ERROR "), "{}", watch.log());
    assert!(watch.terminate().success());
}

#[test]
fn requests_that_do_not_end_are_counted_where_nginx_offers_its_status() {
    if !real() {
        return;
    }
    let status = "location = /nginx_status { stub_status; access_log off; }";
    let stack = project("[in_flight: {target: 2, window: 5s}]", MOUNTED, status);
    let file = stack.project.directory().join("compose.yaml");
    let offered = fs::read_to_string(&file).expect("the file").replace(
        "inside: /var/log/compose-scale}",
        &format!(
            "inside: /var/log/compose-scale, stub_status: \"{}\"}}",
            stack.url("/nginx_status")
        ),
    );
    stack.project.write("compose.yaml", &offered);
    let checked = stack.run(&["check"]);
    assert!(
        checked.stdout.contains("nginx: stub_status: 0 under way"),
        "{checked:?}"
    );
    let watch = stack.watch(&[]);
    let _endless = stack.load(&[
        "--duration",
        "60s",
        "--class",
        "endless:path=/slow?ms=300000,connections=8",
    ]);
    // Beside requests that end: nothing at all would be no reading.
    let _few = stack.load(&["--duration", "60s", "--class", "few:connections=1,rps=2"]);
    stack.until("eight under way need four", LONG, |s| {
        s.listed().len() == 4 && near(value(s, "in_flight"), 2.0)
    });
    drop(watch);
}

/// The policy's words for why the count is as it is.
fn reason(stack: &Stack) -> String {
    text(&stack.ps()["services"][0]["decision"]["reason"]).to_owned()
}

#[test]
fn requests_are_answered_in_time_again_after_five_times_the_load() {
    if !real() {
        return;
    }
    // A worker takes a tenth of a second for each, so that a replica can do ten in a second.
    let stack = project_of(
        "metrics: [latency: {p95: 400ms, window: 5s}]",
        "1",
        MOUNTED,
        "",
    );
    let watch = stack.watch(&[]);
    let class = |rate: u32| format!("all:path=/slow?ms=100,connections=40,rps={rate}");
    let calm = stack.load(&["--duration", "120s", "--class", &class(5)]);
    stack.until("five in a second are no trouble", LONG, |s| {
        value(s, "latency").is_some_and(|p95| (90.0..440.0).contains(&p95))
    });
    assert_eq!(stack.listed().len(), 1);
    let more = stack.load(&["--duration", "120s", "--class", &class(20)]);
    stack.until("p95 is over its target", LONG, |s| {
        value(s, "latency").is_some_and(|p95| p95 > 440.0)
    });
    stack.until("and within it again", LONG * 2, |s| {
        value(s, "latency").is_some_and(|p95| p95 <= 440.0) && s.listed().len() >= 3
    });
    assert!(stack.listed().len() <= 8, "{:?}", stack.listed());
    let said = watch.log();
    assert!(
        said.contains("latency p95 ") && said.contains("ms of 400ms target: 1 → 2"),
        "{said}"
    );
    for load in [calm, more] {
        let report = load.end();
        // A connection that was idle for long may be closed by a reload just then.
        assert_eq!(report.failed(), report.races(), "{report:#?}");
    }
    assert!(watch.terminate().success());
}

#[test]
fn what_more_replicas_do_not_help_is_left_alone() {
    if !real() {
        return;
    }
    // Each takes 800 ms, as with a database that is slow, however many replicas there are.
    let stack = project_of(
        "metrics: [latency: {p95: 300ms, window: 5s}]\n      slow_start: 6s",
        "0",
        MOUNTED,
        "",
    );
    let watch = stack.watch(&[]);
    let load = stack.load(&[
        "--duration",
        "120s",
        "--class",
        "all:path=/slow?ms=800,connections=20,rps=20",
    ]);
    let file = || {
        let path = stack.project.directory().join("upstreams/web.conf");
        fs::read_to_string(path).unwrap_or_default()
    };
    let mut weights = std::collections::BTreeSet::new();
    stack.until("one more was tried, and did not help", LONG, |s| {
        let file = file();
        let weight = file.lines().find_map(|line| {
            let (_, rest) = line.split_once("weight=")?;
            rest.split(' ').next().filter(|weight| *weight != "10")
        });
        weights.extend(weight.map(str::to_owned));
        reason(s) == "no_help" && !file.contains("weight=")
    });
    assert!(weights.iter().eq(["1", "4", "7"].iter()), "{weights:?}");
    // Two where the load was there from the first look on; while it begins, more are answered.
    assert!(stack.listed().len() <= 3, "{:?}", stack.listed());
    let said = watch.log();
    assert!(
        said.contains("more replicas did not help (8") && said.contains("ms before)"),
        "{said}"
    );
    let report = load.end();
    assert_eq!(report.failed(), report.races(), "{report:#?}");
    assert!(watch.terminate().success());
}

#[test]
fn where_the_log_is_hidden_nothing_is_removed_and_it_is_said_where() {
    if !real() {
        return;
    }
    let stack = project("[{requests: 50}]", MOUNTED, "access_log off;");
    stack.must(&["scale", "web=3", "--hold", "5s"]);
    let checked = stack.run(&["check"]);
    let hidden = "requests of /etc/nginx/conf.d/default.conf:6 are not logged: `access_log off` at /etc/nginx/conf.d/default.conf:4";
    assert!(checked.stdout.contains(hidden), "{checked:?}");
    let line = format!(
        "write `access_log /var/log/compose-scale/{0}.log compose_scale_{0} buffer=32k flush=1s if=$upstream_addr;` in its place",
        stack.project.name
    );
    assert!(checked.stdout.contains(&line), "{checked:?}");
    let watch = stack.watch(&[]);
    stack.until("it is said", LONG, |_| {
        watch
            .log()
            .contains(&format!("requests cannot be read: {hidden}; {line}"))
    });
    stack.until("it is decided", LONG, |s| {
        decision(s).contains("requests cannot be read")
    });
    assert_eq!(stack.listed().len(), 3);
    // As it was told.
    let ours = line.split('`').nth(1).expect("a line").to_owned();
    stack
        .project
        .write("nginx.conf", &SITE.replace("LOG", &ours));
    stack
        .project
        .compose(&["exec", "-T", "nginx", "nginx", "-s", "reload"]);
    let _few = stack.load(&["--duration", "60s", "--class", "few:connections=1,rps=2"]);
    stack.until("it is read, and few come", LONG, |s| s.listed().len() == 1);
    assert!(watch.terminate().success());
}

#[test]
fn without_a_place_for_the_log_traffic_goes_on_and_nothing_is_removed() {
    if !real() {
        return;
    }
    let stack = project("[{requests: 50}]", "", "");
    let checked = stack.run(&["check"]);
    assert!(
        checked.stdout.contains("logs is not mounted into"),
        "{checked:?}"
    );
    assert!(
        checked
            .stdout
            .contains("give nginx `volumes: [\"./logs:/var/log/compose-scale\"]`"),
        "{checked:?}"
    );
    stack.must(&["scale", "web=2", "--hold", "5s"]);
    assert_eq!(stack.listed().len(), 2, "nginx is in step all the same");
    let watch = stack.watch(&[]);
    stack.until("it is said", LONG, |_| {
        let log = watch.log();
        log.contains("requests cannot be read: nginx does not write its log: ")
            && log.contains("/var/log/compose-scale/")
    });
    assert_eq!(stack.listed().len(), 2);
    assert!(watch.terminate().success());
}

#[test]
fn requests_that_nginx_has_no_replica_for_are_an_event_and_so_is_their_end() {
    if !real() {
        return;
    }
    let stack = project("[{cpu: 90%}]", MOUNTED, "");
    let watch = stack.watch(&[]);
    stack.until("one is listed", LONG, |s| s.listed().len() == 1);
    stack.project.compose(&["stop", "web"]);
    stack.until("nginx has none", LONG, |s| s.listed().is_empty());
    // Its workers of before may still wait for the replica that is gone.
    stack.until("the new workers answer", LONG, |s| {
        s.get("/").is_some_and(|(status, _)| status == 502)
    });
    let events = |s: &Stack, name: &str| {
        let is_it = |line: &&serde_json::Value| line["event"] == name;
        s.history()
            .iter()
            .filter(is_it)
            .cloned()
            .collect::<Vec<_>>()
    };
    stack.until("it is told", LONG, |s| !events(s, "unserved").is_empty());
    let told = &events(&stack, "unserved")[0];
    assert_eq!(told["service"], "web", "{told}");
    assert!(
        told["requests"].as_u64().is_some_and(|count| count > 0),
        "{told}"
    );
    assert!(
        watch.log().contains("(\"no live upstreams\")"),
        "{}",
        watch.log()
    );
    stack.until("its end is told", LONG, |s| {
        !events(s, "served_again").is_empty()
    });
    let ended = &events(&stack, "served_again")[0];
    assert!(
        ended["requests"].as_u64() >= told["requests"].as_u64(),
        "{ended}"
    );
}
