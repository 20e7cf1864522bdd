//! The whole program on the simulated Engine: nothing but `DOCKER_HOST` tells it from a real one.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use compose_scale::sim::{
    App, Daemon, LoadShape, MachineSpec, ResponseFault, SimulatedHost, World,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use self::webhook::{FINE, Reply, Server};

#[path = "stand_in/trust.rs"]
mod trust;
#[path = "support/webhook.rs"]
#[expect(dead_code, reason = "nothing is encrypted here")]
mod webhook;

const YAML: &str = "\
name: shop
x-autoscale:
  interval: 1s
  nginx: {service: nginx, upstreams: ./upstreams}
  host: {reserve_memory: none, reserve_cpu: none}
services:
  web:
    image: app:1
    expose: [\"80\"]
    healthcheck: {test: [\"CMD\", \"true\"]}
    x-autoscale:
      min: 1
      max: 3
      metrics: [{cpu: 60%}]
      initialization_period: 0s
      behavior: {scale_up: {policies: []}}
  nginx:
    image: nginx:1.30
    volumes: [\"./upstreams:/etc/nginx/upstreams:ro\"]
";

/// A project on a simulated Engine that runs in a thread of its own, in real time.
struct Stand {
    directory: TempDir,
    daemon: Daemon,
    end: CancellationToken,
    thread: Option<thread::JoinHandle<()>>,
}

impl Stand {
    /// With so many requests per second on `web`.
    fn with(load: f64) -> Self {
        Self::with_file(load, YAML)
    }

    fn with_file(load: f64, yaml: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let upstreams = directory.path().join("upstreams");
        fs::create_dir(&upstreams).expect("a directory");
        write(&directory.path().join("compose.yaml"), yaml);
        let socket = directory.path().join("docker.sock");
        let (sender, daemon) = mpsc::channel();
        let end = CancellationToken::new();
        let until = end.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async move {
                let mut web = App::named("web");
                web.profile.start_time = Duration::from_millis(500);
                web.load = LoadShape::steady(load);
                let now = jiff::Timestamp::from_second(1_800_000_000).expect("a time");
                let world = World::begin("shop", MachineSpec::default(), vec![web], 1, now);
                let host = SimulatedHost::new(world.on_networks(&["default", "back"]));
                let daemon = Daemon::listen(host, &socket, &upstreams).expect("a socket");
                daemon.judge("web", 1, Duration::from_secs(30));
                sender.send(daemon).expect("somebody waits");
                until.cancelled().await;
            });
        });
        Self {
            daemon: daemon.recv().expect("a daemon"),
            directory,
            end,
            thread: Some(thread),
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }

    fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_compose-scale"));
        command
            .args(arguments)
            .current_dir(self.directory.path())
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("COMPOSE_SCALE_STATE", self.directory.path().join("state"))
            .env("NO_COLOR", "1")
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROJECT_NAME")
            .env_remove("COMPOSE_PROFILES");
        command
    }

    /// Runs it to its end; its output and its log.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output {
            status,
            stdout,
            stderr,
        } = self.tool(arguments).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
    }

    /// Runs it with its log as JSON; the lines.
    fn logged(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [&["--log-format", "json"], arguments].concat();
        let (code, stdout, stderr) = self.run(&arguments);
        assert_eq!(code, 0, "{arguments:?}\n{stdout}\n{stderr}");
        let lines = stderr.lines().map(|line| {
            let line: Value = serde_json::from_str(line).expect(line);
            for name in ["time", "level", "message"] {
                assert!(line[name].is_string(), "no {name}: {line}");
            }
            line
        });
        lines.collect()
    }

    fn must(&self, arguments: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}\n{stdout}\n{stderr}");
        stdout
    }

    fn watch(&self) -> Watch {
        self.watch_with(&[])
    }

    fn watch_with(&self, arguments: &[&str]) -> Watch {
        let log = self.directory.path().join("watch.log");
        let file = fs::File::create(&log).expect("a log");
        let mut command = self.tool(&["watch"]);
        command.args(arguments);
        command.stdout(Stdio::null()).stderr(file);
        let watch = Watch {
            child: command.spawn().expect("it starts"),
            log,
        };
        let control = self.directory.path().join("state/control.sock");
        self.until("it listens", &watch, |_| control.exists());
        watch
    }

    fn until(&self, what: &str, watch: &Watch, mut ask: impl FnMut(&Self) -> bool) {
        let begun = now();
        while !ask(self) {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "not within 30s: {what}; there are {:?}, served {:?}\n{}",
                self.daemon.replicas("web"),
                self.daemon.served("web"),
                watch.said()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Watch {
    child: Child,
    log: PathBuf,
}

impl Watch {
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Watch {
    /// Asks it to end, and waits until it has.
    fn end(mut self) -> String {
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(told.expect("kill").success());
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{}", self.said());
        self.said()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(path: &std::path::Path, text: &str) {
    fs::File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a file");
}

#[expect(clippy::disallowed_methods, reason = "these tests run in real time")]
fn now() -> Instant {
    Instant::now()
}

#[test]
fn every_command_works_and_load_is_scaled_for() {
    // More than two replicas do at their target.
    let stand = Stand::with(65.0);
    let checked = stand.must(&["check"]);
    assert!(checked.contains("web"), "{checked}");
    let watch = stand.watch();
    stand.until("three serve", &watch, |s| s.daemon.served("web").len() == 3);
    // Once those that had to wait are served.
    stand.until("it is calm", &watch, |stand| {
        let ps = stand.must(&["ps", "--format", "json"]);
        let ps: Value = serde_json::from_str(&ps).expect("JSON");
        let web = &ps["services"][0];
        let cpu = web["replicas"][0]["cpu"].as_f64();
        web["serving"] == 3 && cpu.is_some_and(|cpu| (30.0..90.0).contains(&cpu))
    });

    stand.daemon.crash("shop-web-2");
    stand.until("it is out", &watch, |s| s.daemon.served("web").len() == 2);
    stand.until("it is back", &watch, |s| s.daemon.served("web").len() == 3);
    stand.must(&["scale", "web=2", "--hold", "10m"]);
    assert_eq!(stand.daemon.served("web").len(), 2);
    stand.must(&["scale", "web=1", "--hold", "10m"]);
    assert_eq!(stand.daemon.replicas("web").len(), 1);
    stand.must(&["pause", "web"]);
    stand.must(&["resume", "web"]);
    drop(watch);

    stand.must(&["sync"]);
    let files = stand.must(&["config", "--nginx"]);
    assert!(
        files.contains("upstream web") && files.contains("# shop-web-1"),
        "{files}"
    );
    stand.must(&["watch", "--once"]);
    assert_eq!(stand.daemon.broken(), [""; 0]);
}

#[test]
fn a_service_that_nginx_can_never_send_to_is_refused_at_once_and_the_others_are_scaled() {
    let more = "    x-autoscale: {min: 1, max: 3}
    image: app:1
    expose: [\"80\"]\n";
    let yaml = format!(
        "{YAML}  Web:\n{more}  web.location:\n{more}  00-compose-scale:\n{more}  offline:\n{more}    network_mode: none\n"
    );
    let stand = Stand::with_file(0.0, &yaml);
    let (code, found, _) = stand.run(&["check"]);
    assert_eq!(code, 1);
    let odd = ["Web", "web.location", "00-compose-scale", "offline"];
    for name in odd {
        let code = if name == "offline" {
            "network-mode"
        } else {
            "nginx-name"
        };
        let is_it = |line: &str| line.contains(&format!(" {name}: ")) && line.contains(code);
        assert!(found.lines().any(is_it), "{name}: {found}");
        for count in ["1", "2"] {
            let begun = now();
            let (code, _, stderr) = stand.run(&["scale", &format!("{name}={count}")]);
            assert_eq!(code, 1, "{stderr}");
            assert!(stderr.contains(&format!("{name}: ")), "{stderr}");
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{:?}",
                begun.elapsed()
            );
        }
    }
    let watch = stand.watch();
    stand.must(&["scale", "web=2", "--hold", "10m"]);
    assert_eq!(stand.daemon.served("web"), ["shop-web-1", "shop-web-2"]);
    drop(watch);
    let (_, stdout, stderr) = stand.run(&["config", "--nginx"]);
    assert!(stdout.contains("upstream web {"), "{stdout}\n{stderr}");
}

#[test]
fn an_engine_of_another_age_is_spoken_to_in_its_own_way() {
    for (version, api) in [("20.10.24", "1.41"), ("28.5.2", "1.51")] {
        let stand = Stand::with(0.0);
        stand.daemon.pretend(version, api);
        let (seen, calls) = mpsc::channel();
        stand.daemon.decide(move |kind| {
            let _ = seen.send(kind.to_owned());
            ResponseFault::None
        });
        stand.must(&["scale", "web=2"]);
        let calls: Vec<_> = calls.try_iter().collect();
        assert!(calls.contains(&"POST /containers/create".to_owned()));
        // A second network is part of what is created since 1.44.
        let connects = calls.iter().any(|call| call.ends_with("/connect"));
        assert_eq!(connects, api == "1.41", "{calls:?}");
        assert_eq!(stand.daemon.served("web"), ["shop-web-1", "shop-web-2"]);
    }
    let stand = Stand::with(0.0);
    stand.daemon.pretend("1.13.1", "1.26");
    let (code, _, stderr) = stand.run(&["scale", "web=2"]);
    assert_ne!(code, 0);
    assert!(stderr.contains("1.26"), "{stderr}");
}

#[test]
fn events_out_of_order_and_lies_about_a_state_end_in_the_truth() {
    let stand = Stand::with(10.0);
    stand.daemon.disorder(true);
    let watch = stand.watch();
    stand.until("one serves", &watch, |s| s.daemon.served("web").len() == 1);
    stand.must(&["scale", "web=3", "--hold", "10m"]);
    stand.daemon.crash("shop-web-3");
    stand.daemon.crash("shop-web-2");
    stand.until("both are out", &watch, |s| {
        s.daemon.served("web").len() == 1
    });
    stand.until("both are back", &watch, |s| {
        s.daemon.served("web").len() == 3
    });
    stand.must(&["scale", "web=1", "--hold", "10m"]);
    stand.daemon.disorder(false);

    // While a new replica starts, it is said to have ended.
    stand.daemon.lie(|kind, body| {
        if kind == "GET /containers/*/json" && body["State"]["Health"]["Status"] == "starting" {
            body["State"]["Status"] = "exited".into();
            body["State"]["ExitCode"] = 3.into();
        }
    });
    stand.run(&["scale", "web=2", "--hold", "10m", "--timeout", "5s"]);
    stand.daemon.lie(|_, _| {});
    stand.must(&["scale", "web=2", "--hold", "10m"]);
    stand.until("the truth is seen", &watch, |s| {
        s.daemon.served("web").len() == 2 && s.daemon.replicas("web").len() == 2
    });
}

#[test]
fn a_scale_that_runs_out_of_time_says_what_it_waited_for_and_is_not_carried_out_later() {
    let said = "web: not done after 3s: 1 of 2 replicas are ready; shop-web-2: its healthcheck has not passed yet";
    let again = "web: scaling to 2 is given up; to try again: `compose-scale scale web=2`";
    for watched in [true, false] {
        let stand = Stand::with(0.0);
        let watch = watched.then(|| stand.watch());
        stand.daemon.lie(|kind, body| {
            if kind == "GET /containers/*/json" && body["Name"] == "/shop-web-2" {
                body["State"]["Health"]["Status"] = "starting".into();
            }
        });
        let (code, _, stderr) = stand.run(&["scale", "web=2", "--timeout", "3s"]);
        assert_eq!(code, 1, "{stderr}");
        for sentence in [said, again] {
            assert!(stderr.contains(sentence), "{stderr}");
        }
        stand.daemon.lie(|_, _| {});
        let watch = watch.unwrap_or_else(|| stand.watch());
        stand.until("what was made is gone", &watch, |stand| {
            stand.daemon.replicas("web").len() == 1
        });
        stand.until("load decides", &watch, |stand| {
            let ps = stand.must(&["ps", "--format", "json"]);
            let ps: Value = serde_json::from_str(&ps).expect("JSON");
            let web = &ps["services"][0];
            web["hold"].is_null() && web["desired"] == 1
        });
        assert!(!watch.said().contains("next attempt"), "{}", watch.said());
    }
}

#[test]
fn another_server_at_the_address_of_the_engine_is_told_as_that() {
    let stand = Stand::with(0.0);
    stand.daemon.decide(|kind| match kind {
        "GET /version" => ResponseFault::Answer(404),
        _ => ResponseFault::None,
    });
    let (code, _, stderr) = stand.run(&["scale", "web=2"]);
    assert_eq!(code, 69, "{stderr}");
    assert!(
        stderr.contains("docker.sock: what answers there is no Docker Engine"),
        "{stderr}"
    );
    let (code, stdout, _) = stand.run(&["check"]);
    assert_eq!(code, 1);
    assert!(stdout.contains("no Docker Engine"), "{stdout}");
}

#[test]
fn paths_have_a_version_or_none_and_what_is_not_there_says_so() {
    let stand = Stand::with(0.0);
    let ask = |request: &str| {
        let mut stream = UnixStream::connect(stand.socket()).expect("a socket");
        let text = format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(text.as_bytes()).expect("it is sent");
        stream
            .shutdown(std::net::Shutdown::Write)
            .expect("that was all");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    let plain = ask("GET /version");
    assert!(plain.contains("\"ApiVersion\":\"1.41\""), "{plain}");
    assert_eq!(plain, ask("GET /v1.41/version"));
    assert!(ask("GET /v1.24/containers/nobody/json").starts_with("HTTP/1.1 404"));
    assert!(ask("GET /vanished").starts_with("HTTP/1.1 404"));
    stand.daemon.decide(|_| ResponseFault::Answer(503));
    assert!(ask("GET /version").starts_with("HTTP/1.1 503"));
    stand.daemon.decide(|_| ResponseFault::Cut);
    assert!(ask("GET /version").len() < plain.len());
}

/// A port of this machine that nobody listens at.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// What is answered, from the status line on; `None` where nobody listens.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    let ask = format!("GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The value of a series; `None` where there is none.
fn series(page: &str, series: &str) -> Option<f64> {
    let line = page.lines().find_map(|line| line.strip_prefix(series))?;
    line.trim().parse().ok()
}

#[test]
fn prometheus_is_told_what_happens_and_whether_the_loop_goes_round() {
    let stand = Stand::with(65.0);
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let mut watch = stand.watch_with(&["--metrics", &address]);
    stand.until("three serve", &watch, |s| s.daemon.served("web").len() == 3);
    let page = || get(port, "/metrics").unwrap_or_default();
    let of_web = |more: &str| format!("{{project=\"shop\",service=\"web\"{more}}}");
    stand.until("it is told of", &watch, |_| {
        let serving = format!("compose_scale_replicas{}", of_web(",state=\"serving\""));
        series(&page(), &serving) == Some(3.0)
    });
    let text = page();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    assert!(text.contains("application/openmetrics-text; version=1.0.0"));
    assert!(text.trim_end().ends_with("# EOF"), "{text}");
    for (name, labels, at_least) in [
        ("desired_replicas", "", 3.0),
        ("max_replicas", "", 3.0),
        ("scale_events_total", ",direction=\"up\"", 1.0),
        ("decisions_total", ",reason=\"above_target\"", 1.0),
        ("scale_duration_seconds_count", ",stage=\"running\"", 2.0),
        ("scale_duration_seconds_count", ",stage=\"ready\"", 2.0),
        ("scale_duration_seconds_count", ",stage=\"served\"", 2.0),
    ] {
        let name = format!("compose_scale_{name}{}", of_web(labels));
        stand.until(&name, &watch, |_| {
            series(&page(), &name).is_some_and(|value| value >= at_least)
        });
    }
    let text = page();
    let calls = "compose_scale_engine_calls_total{project=\"shop\",call=\"create\",result=\"ok\"}";
    assert_eq!(series(&text, calls), Some(2.0), "{text}");
    let reloads = "compose_scale_reloads_total{project=\"shop\",result=\"done\"}";
    assert!(series(&text, reloads) >= Some(2.0), "{text}");
    for path in ["/healthz", "/readyz"] {
        stand.until(path, &watch, |_| {
            get(port, path).is_some_and(|answer| answer.starts_with("HTTP/1.1 200 OK"))
        });
    }
    let elsewhere = get(port, "/").unwrap_or_default();
    assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");

    // An Engine that is away is seen, and told of.
    stand.end.cancel();
    stand.until("it is not ready", &watch, |_| {
        get(port, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 503"))
    });
    assert_eq!(
        series(&page(), "compose_scale_engine_up{project=\"shop\"}"),
        Some(0.0)
    );
    assert!(get(port, "/healthz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    // That nothing is known of replicas does not mean that there are none.
    let text = page();
    for name in [
        "compose_scale_replicas{",
        "compose_scale_metric_value{",
        "compose_scale_nginx_in_step{",
    ] {
        assert!(!text.contains(name), "{text}");
    }
    watch.child.kill().expect("it is ended");
}

#[test]
fn an_address_that_everybody_reaches_is_refused_unless_it_is_wanted() {
    let stand = Stand::with(5.0);
    let (code, _, said) = stand.run(&["watch", "--metrics", "0.0.0.0:9917"]);
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--metrics-public"), "{said}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let (code, _, said) = stand.run(&["watch", "--metrics", &address]);
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains(&format!("cannot listen at {address} for --metrics")),
        "{said}"
    );
}

/// The project with this in its `notify`.
fn notifying(entries: &str) -> String {
    let notify = format!("  interval: 1s\n  notify: {entries}\n");
    YAML.replace("  interval: 1s\n", &notify)
}

#[test]
fn what_happens_arrives_at_a_webhook_also_when_the_file_names_another_one() {
    let first = Server::new(|nth| match nth {
        0 => Reply::Head("503 Service Unavailable\r\nRetry-After: 0"),
        _ => FINE,
    });
    let second = Server::new(|_| FINE);
    let path = "/T0/secret";
    let stand = Stand::with_file(65.0, &notifying(&format!("[\"{}\"]", first.url(path))));
    let watch = stand.watch();
    let request = first.next();
    assert_eq!(request.line(), "POST /T0/secret HTTP/1.1");
    let body = first.next().json();
    assert_eq!(body, request.json(), "again, because it was not taken");
    assert_eq!(
        (&body["project"], &body["service"]),
        (&"shop".into(), &"web".into())
    );
    assert_eq!(
        (&body["event"], &body["from"]),
        (&"scale".into(), &1.into())
    );
    assert!(
        body["metrics"]["cpu"]
            .as_f64()
            .is_some_and(|cpu| cpu > 60.0),
        "{body}"
    );
    stand.until("three serve", &watch, |s| s.daemon.served("web").len() == 3);

    // A replica that dies is trouble; of this one only the other webhook hears.
    let other = format!("[{{webhook: \"{}\", events: [died]}}]", second.url(path));
    write(
        &stand.directory.path().join("compose.yaml"),
        &notifying(&other),
    );
    stand.until("the file is read", &watch, |_| {
        watch.said().contains("its policies apply from now on")
    });
    let before = first.more();
    stand.daemon.crash("shop-web-2");
    let body = second.next().json();
    assert_eq!(
        (&body["event"], &body["replica"]),
        (&"died".into(), &"shop-web-2".into())
    );
    assert_eq!(body["level"], "warn");
    assert_eq!(first.more(), 0, "{before} before");
    let said = watch.end();
    assert!(!said.contains("secret"), "{said}");
    let label = first.url("/…");
    for line in [
        format!(
            "webhook {label} does not take notifications: HTTP 503 Service Unavailable: the words; trying again"
        ),
        format!("webhook {label} takes notifications again"),
    ] {
        assert_eq!(said.matches(&line).count(), 1, "{line}\n{said}");
    }
}

#[test]
fn a_single_evaluation_tells_too_and_a_dry_run_does_not() {
    let server = Server::new(|_| FINE);
    let yaml = notifying(&format!("[\"{}\"]", server.url("/")));
    let stand = Stand::with_file(0.0, &yaml.replace("min: 1", "min: 2"));
    let (_, _, said) = stand.run(&["watch", "--once", "--dry-run"]);
    assert!(said.contains("1 → 2"), "{said}");
    assert_eq!(server.more(), 0);
    stand.must(&["watch", "--once"]);
    let body = server.next().json();
    assert_eq!(
        (&body["to"], &body["reason"]),
        (&2.into(), &"at_min".into())
    );
}

#[test]
fn what_machines_are_told_is_what_history_has() {
    let stand = Stand::with(1.0);
    let said = stand.logged(&["scale", "web=2"]);
    let of = |event: &str| {
        let its = said.iter().filter(|line| line["event"] == event);
        let its: Vec<_> = its.collect();
        assert_eq!(its.len(), 1, "{event}: {said:?}");
        its[0].clone()
    };
    let (scale, scaled, ready) = (of("scale"), of("scaled"), of("ready"));
    assert_eq!(
        [
            &scale["service"],
            &scale["level"],
            &scale["by"],
            &scale["reason"]
        ],
        ["web", "info", "hand", "held"]
    );
    assert_eq!((&scale["from"], &scale["to"]), (&1.into(), &2.into()));
    assert!(ready["replica"].is_string(), "{ready}");

    let rows = stand.must(&["history", "--changes", "--format", "json"]);
    let rows: Vec<Value> = rows
        .lines()
        .map(|row| serde_json::from_str(row).expect(row))
        .collect();
    assert_eq!(rows.len(), 1, "{rows:?}");
    for name in ["service", "event", "from", "to", "reason", "by"] {
        assert_eq!(rows[0][name], scale[name], "{name}");
    }
    assert_eq!(rows[0]["seconds"], scaled["seconds"]);

    // A single evaluation is told in the same way.
    for line in stand.logged(&["watch", "--once"]) {
        assert_ne!(line["level"], "error", "{line}");
    }
}

#[test]
fn a_log_that_nobody_reads_stops_neither_the_loop_nor_its_end() {
    let stand = Stand::with(5.0);
    let mut command = stand.tool(&["watch", "--plain"]);
    command
        .env("COMPOSE_SCALE_LOG", "trace")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let unread = child.stderr.take().expect("its log");
    let size = rustix::pipe::fcntl_setpipe_size(&unread, 4096).expect("a small pipe");
    let watch = Watch {
        child,
        log: stand.directory.path().join("nothing"),
    };
    stand.until("the pipe is full", &watch, |_| {
        rustix::io::ioctl_fionread(&unread).is_ok_and(|bytes| bytes as usize + 300 >= size)
    });
    stand.daemon.crash("shop-web-1");
    stand.until("it is out", &watch, |s| s.daemon.served("web").is_empty());
    stand.until("it is mended", &watch, |s| {
        s.daemon.served("web").len() == 1
    });
    let mut watch = watch;
    let pid = watch.child.id().to_string();
    let kill = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(kill.expect("kill").success());
    let begun = now();
    while watch.child.try_wait().expect("it can be asked").is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not end");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Without nginx there is no file that both would lock.
const WITHOUT_NGINX: &str = "\
name: shop
x-autoscale:
  interval: 1s
  host: {reserve_memory: none, reserve_cpu: none}
services:
  web:
    image: app:1
    healthcheck: {test: [\"CMD\", \"true\"]}
    x-autoscale: {min: 1, max: 3, metrics: []}
";

#[test]
fn a_second_run_with_another_state_directory_is_told_who_acts_and_touches_nothing() {
    let stand = Stand::with_file(1.0, WITHOUT_NGINX);
    let mut watch = stand.watch();
    stand.must(&["scale", "web=2", "--hold", "10m"]);
    let pid = watch.child.id();
    // As another user where that can be tried: with another group, the socket's, and another home.
    let directory = stand.directory.path();
    let chmod = Command::new("chmod")
        .args(["-R", "a+rwX"])
        .arg(directory)
        .status();
    assert!(chmod.expect("chmod").success());
    let elsewhere = |arguments: &[&str], state: &str, user: bool| {
        let tool = stand.tool(arguments);
        let mut command = if user {
            let mut command = Command::new("setpriv");
            let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
            command
                .args(nobody)
                .arg(tool.get_program())
                .args(tool.get_args());
            command.current_dir(directory);
            for (key, value) in tool.get_envs() {
                match value {
                    Some(value) => command.env(key, value),
                    None => command.env_remove(key),
                };
            }
            command
        } else {
            tool
        };
        let ran = command
            .env("COMPOSE_SCALE_STATE", directory.join(state))
            .output()
            .expect("it runs");
        let said = format!(
            "{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
        (ran.status.code(), said)
    };
    let another_user = elsewhere(&["--version"], "theirs", true).0 == Some(0);
    for user in [false, true] {
        if user && !another_user {
            println!("another user cannot be tried here");
            continue;
        }
        let state = if user { "theirs" } else { "ours" };
        for command in [
            &["watch", "--once"][..],
            &["watch"],
            &["scale", "web=1"],
            &["pause", "web"],
        ] {
            let (code, said) = elsewhere(command, state, user);
            assert_eq!(code, Some(75), "{command:?}: {said}");
            assert!(said.contains(&format!("process {pid} of ")), "{said}");
            assert!(said.contains("`compose-scale watch`, since "), "{said}");
            assert!(said.contains("COMPOSE_SCALE_STATE"), "{said}");
        }
        let (code, said) = elsewhere(&["check"], state, user);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("watched-elsewhere"), "{said}");
        let (_, said) = elsewhere(&["ps"], state, user);
        assert!(said.contains(&format!("process {pid} of ")), "{said}");
    }
    assert_eq!(stand.daemon.replicas("web").len(), 2);
    // A holder that is killed holds nothing.
    watch.child.kill().expect("it is killed");
    watch.child.wait().expect("it ends");
    let (code, said) = elsewhere(&["scale", "web=3"], "ours", false);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(stand.daemon.replicas("web").len(), 3);
}

#[test]
fn a_command_in_the_moment_of_a_watchs_start_is_carried_out() {
    let stand = Stand::with_file(1.0, WITHOUT_NGINX);
    let lock = stand.directory.path().join("state/lock");
    let mut through = 0;
    for round in 0..40 {
        let mut child = stand
            .tool(&["watch"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        // At once, or in the very moment in which the lock was taken.
        let pid = child.id().to_string();
        let begun = now();
        while round % 2 == 1 && begun.elapsed() < Duration::from_secs(10) {
            if fs::read_to_string(&lock).is_ok_and(|holder| holder.trim() == pid) {
                break;
            }
        }
        let count = if round % 4 < 2 { "web=2" } else { "web=1" };
        let (code, stdout, stderr) = stand.run(&["scale", count]);
        assert_eq!(code, 0, "round {round}: {stdout}{stderr}");
        through += u32::from(child.try_wait().expect("a child").is_none());
        child.kill().expect("it is killed");
        child.wait().expect("it ends");
    }
    assert!(through > 0, "none of them asked a `watch`");
}
