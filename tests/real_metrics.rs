//! Custom metrics from a real Redis, a real Prometheus and a small HTTP server.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

mod support;

use support::{
    ComposeProject, part, real,
    stack::{Stack, free_port},
};

const LONG: Duration = Duration::from_secs(60);

/// A project whose service `web` waits for work, with this metric.
fn workers(metric: &str, others: &str) -> Stack {
    let stack = Stack::of(ComposeProject::new(&format!(
        "\
x-autoscale: {{interval: 1s}}
services:
  web:
    image: BUSYBOX
    command: [sh, -c, \"echo 0 >/tmp/busy; exec sleep 100000\"]
    stop_signal: SIGKILL
    x-autoscale:
      max: 6
      ready: running
      metrics:
        - custom: {metric}
      behavior: {{scale_up: {{policies: []}}, scale_down: {{stabilization_window: 0s, policies: []}}}}
{others}"
    )));
    stack.project.compose(&["up", "-d"]);
    stack
}

/// The last decision of `web`: the sentence and the reason.
fn decision(stack: &Stack) -> (String, String) {
    let ps = stack.ps();
    let decision = &ps["services"][0]["decision"];
    let text = |key: &str| support::text(&decision[key]).to_owned();
    (text("message"), text("reason"))
}

fn until_decision(stack: &Stack, reason: &str, part: &str) {
    stack.until(&format!("{reason}: {part}"), LONG, |stack| {
        let (message, label) = decision(stack);
        label == reason && message.contains(part)
    });
}

fn until_running(stack: &Stack, count: usize) {
    stack.until(&format!("{count} run"), LONG, |s| {
        s.running().len() == count
    });
}

/// Answers every GET with the text of the moment, until it is dropped.
struct Server {
    port: u16,
    body: Arc<Mutex<String>>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(port: u16, body: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let body = Arc::new(Mutex::new(body.to_owned()));
        let ends = Arc::new(AtomicBool::new(false));
        let (says, over) = (Arc::clone(&body), Arc::clone(&ends));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                while lines
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                let body = says.lock().expect("the text").clone();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self {
            port,
            body,
            ends,
            thread: Some(thread),
        }
    }

    fn says(&self, body: &str) {
        body.clone_into(&mut self.body.lock().expect("the text"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A program that is ended with the value.
struct Running(Child);

impl Running {
    fn start(program: &str, arguments: &[String]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{program}: {error}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_queue_grows_and_its_server_dies_and_comes_back() {
    if !real() {
        return;
    }
    let server = Server::start(0, r#"{"queue": {"depth": 3}}"#);
    let port = server.port;
    let stack = workers(
        &format!(
            "{{name: jobs, http: {{url: 'http://127.0.0.1:{port}/stats', pointer: /queue/depth}}, average_target: 10}}"
        ),
        "",
    );
    let watch = stack.watch(&[]);
    until_decision(&stack, "at_min", "jobs 3 per replica of 10 target");
    server.says(r#"{"queue": {"depth": 38}}"#);
    until_running(&stack, 4);
    until_decision(
        &stack,
        "within_tolerance",
        "jobs 9.5 per replica of 10 target",
    );

    drop(server);
    let refused = format!("connection refused by 127.0.0.1:{port}");
    until_decision(
        &stack,
        "metrics_unavailable",
        &format!("jobs cannot be read ({refused}): staying at 4"),
    );
    let server = Server::start(port, r#"{"queue": {"depth": -3}}"#);
    let negative = "jobs cannot be read (is -3, expected a number of at least 0)";
    until_decision(&stack, "metrics_unavailable", negative);
    server.says(r#"{"queue": {"depth": NaN}}"#);
    let nan = r#"jobs cannot be read (no JSON in `{"queue": {"depth": NaN}}`)"#;
    until_decision(&stack, "metrics_unavailable", nan);
    let ps = stack.must(&["ps"]).stdout;
    assert!(ps.contains("jobs unknown (target 10)"), "{ps}");
    assert_eq!(stack.running().len(), 4);
    let check = stack.run(&["check"]);
    assert_eq!(check.code(), 1, "{check:?}");
    assert!(
        check.stdout.contains(&format!(
            "error    web: jobs cannot be read (http://127.0.0.1:{port}/stats): no JSON in `{{\"queue\": {{\"depth\": NaN}}}}`"
        )),
        "{check:?}"
    );

    server.says(r#"{"queue": {"depth": "12"}}"#);
    until_running(&stack, 2);
    // Said once, however often it failed and for however many reasons.
    let log = watch.log();
    let said = format!("jobs cannot be read: {refused}; no replica is removed until it can");
    assert_eq!(log.matches("jobs cannot be read: ").count(), 1, "{log}");
    assert!(log.contains(&said), "{log}");
    assert_eq!(log.matches("jobs can be read again").count(), 1, "{log}");
    let events: Vec<_> = stack.history();
    let of = |event: &str| events.iter().filter(|line| line["event"] == event).count();
    assert_eq!((of("unread"), of("read_again")), (1, 1));
    let check = stack.run(&["check"]).stdout;
    let fine = format!("ok       web: jobs is 12 (http://127.0.0.1:{port}/stats)");
    assert!(check.contains(&fine), "{check}");
}

#[test]
fn a_source_that_hangs_delays_no_other_service_and_leaves_nothing_behind() {
    if !real() {
        return;
    }
    let mark = format!("27182.{}", std::process::id());
    let stack = workers(
        &format!(
            "{{name: jobs, command: {{argv: [sh, -c, \"sleep {mark} & wait\"], timeout: 4s}}, average_target: 10}}"
        ),
        "  other:
    image: BUSYBOX
    command: [sleep, \"100000\"]
    stop_signal: SIGKILL
    x-autoscale:
      max: 2
      ready: running
      metrics: [{custom: {name: calls, command: [echo, \"20\"], average_target: 10}}]
",
    );
    let watch = stack.watch(&[]);
    stack.until("the other one is scaled", Duration::from_secs(10), |_| {
        watch.log().contains("scaled 1 → 2")
    });
    until_decision(&stack, "metrics_unavailable", "no answer within 4s");
    assert!(watch.terminate().success());
    let left = Command::new("pgrep").args(["-f", &mark]).output();
    let left = left.expect("pgrep runs").stdout;
    assert!(left.is_empty(), "{}", String::from_utf8_lossy(&left));
}

#[test]
fn a_command_inside_a_container_that_hangs_is_begun_once() {
    if !real() {
        return;
    }
    let mark = format!("16180.{}", std::process::id());
    let stack = workers(
        &format!(
            "{{name: jobs, command: {{argv: [sleep, \"{mark}\"], service: web, timeout: 1s}}, average_target: 10}}"
        ),
        "",
    );
    let watch = stack.watch(&[]);
    // Before that, `ps` would ask by itself.
    let log = "jobs cannot be read: no answer within 1s";
    stack.until("it is told", LONG, |_| watch.log().contains(log));
    until_decision(&stack, "metrics_unavailable", "no answer within 1s");
    let decided = |stack: &Stack| stack.ps()["services"][0]["decision"]["at"].clone();
    for _ in 0..3 {
        let before = decided(&stack);
        stack.until("the next decision", LONG, |s| decided(s) != before);
    }
    let hanging = Command::new("pgrep")
        .args(["-c", "-f", &format!("^sleep {mark}")])
        .output()
        .expect("pgrep runs");
    assert_eq!(
        String::from_utf8_lossy(&hanging.stdout).trim(),
        "1",
        "{hanging:?}"
    );
    assert!(watch.terminate().success());
}

#[test]
fn a_redis_of_the_project_is_asked_from_inside() {
    let Some(image) = real()
        .then(|| part("COMPOSE_SCALE_TEST_REDIS_IMAGE"))
        .flatten()
    else {
        return;
    };
    let stack = workers(
        "{name: jobs, command: {argv: [redis-cli, llen, jobs], service: redis}, average_target: 10}",
        &format!("  redis: {{image: \"{image}\", command: [redis-server, --save, \"\"]}}\n"),
    );
    let redis = |arguments: &[&str]| {
        let mut all = vec!["exec", "-T", "redis", "redis-cli"];
        all.extend(arguments);
        stack.project.compose(&all)
    };
    // Its container runs before it listens.
    stack.until("check reads the queue", LONG, |s| {
        let check = s.run(&["check"]).stdout;
        check.contains("ok       web: jobs is 0 (redis-cli in redis)")
    });
    let jobs: Vec<String> = (0..35).map(|job| job.to_string()).collect();
    let mut push = vec!["rpush", "jobs"];
    push.extend(jobs.iter().map(String::as_str));
    redis(&push);

    // Without a `watch`, `ps` asks for itself.
    assert_eq!(
        decision(&stack).0,
        "jobs 35 per replica of 10 target: 1 → 4"
    );
    let dry = stack.must(&["watch", "--once", "--dry-run"]).stderr;
    assert!(dry.contains("would scale: jobs 35 per replica"), "{dry}");
    stack.must(&["watch", "--once"]);
    assert_eq!(stack.running().len(), 4);

    let _watch = stack.watch(&[]);
    until_decision(&stack, "within_tolerance", "jobs 8.8 per replica");
    stack.project.compose(&["stop", "--timeout", "0", "redis"]);
    let why = "jobs cannot be read (no replica of redis is running): staying at 4";
    until_decision(&stack, "metrics_unavailable", why);
    // Nothing of the queue was kept.
    stack.project.compose(&["start", "redis"]);
    until_running(&stack, 1);

    // A list that is none.
    redis(&["set", "jobs", "many"]);
    until_decision(&stack, "metrics_unavailable", "WRONGTYPE");
}

#[test]
fn a_redis_on_this_host_is_asked_by_its_own_client() {
    let parts = [
        "COMPOSE_SCALE_TEST_REDIS_SERVER",
        "COMPOSE_SCALE_TEST_REDIS_CLI",
    ];
    let Some([server, client]) = real()
        .then(|| Some([part(parts[0])?, part(parts[1])?]))
        .flatten()
    else {
        return;
    };
    let port = free_port().to_string();
    let stack = workers(
        &format!(
            "{{name: jobs, command: [\"{client}\", -p, \"{port}\", llen, jobs], service_target: 5}}"
        ),
        "",
    );
    let check = stack.run(&["check"]);
    assert_eq!(check.code(), 1, "{check:?}");
    assert!(
        check
            .stdout
            .contains("exit code 1: Could not connect to Redis"),
        "{check:?}"
    );
    assert!(check.stdout.contains("service: SERVICE"), "{check:?}");

    let arguments = ["--port", &port, "--save", "", "--bind", "127.0.0.1"].map(str::to_owned);
    let _server = Running::start(&server, &arguments);
    let ask = |arguments: &[&str]| {
        let output = Command::new(&client)
            .args(["-p", &port])
            .args(arguments)
            .output();
        output.is_ok_and(|output| output.status.success())
    };
    stack.until("Redis answers", LONG, |_| ask(&["ping"]));
    assert!(ask(&[
        "rpush", "jobs", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"
    ]));
    stack.must(&["watch", "--once"]);
    assert_eq!(stack.running().len(), 2);
}

#[test]
fn a_prometheus_server_is_asked_for_a_query_and_each_mistake_is_told() {
    let Some(program) = real()
        .then(|| part("COMPOSE_SCALE_TEST_PROMETHEUS"))
        .flatten()
    else {
        return;
    };
    let metrics = "jobs{queue=\"mail\"} 30\njobs{queue=\"print\"} 5\nbroken NaN\n";
    let server = Server::start(0, metrics);
    let port = free_port();
    let directory = tempfile::tempdir().expect("a directory");
    let configuration = directory.path().join("prometheus.yml");
    let text = format!(
        "scrape_configs: [{{job_name: t, scrape_interval: 1s, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
        server.port
    );
    std::fs::File::create(&configuration)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a configuration");
    let _prometheus = Running::start(
        &program,
        &[
            format!("--config.file={}", configuration.display()),
            format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    );
    let metric = |query: &str| {
        format!(
            "{{name: jobs, prometheus: {{url: 'http://127.0.0.1:{port}', query: '{query}'}}, average_target: 10}}"
        )
    };
    let stack = workers(&metric("sum(jobs)"), "");
    stack.until("Prometheus has scraped", LONG, |stack| {
        decision(stack).0 == "jobs 35 per replica of 10 target: 1 → 4"
    });
    let yaml = std::fs::read_to_string(stack.project.directory().join("compose.yaml"));
    let yaml = yaml.expect("the compose file");
    for (query, expected) in [
        (
            "jobs",
            "2 series, expected one; pick one with `labels` (queue)",
        ),
        ("broken", "is NaN, expected a number of at least 0"),
        ("absent_metric", "no data"),
        ("jobs[1m]", "the query gives a matrix, expected one number"),
        ("sum(jobs", "Prometheus says: invalid parameter \"query\""),
        ("-sum(jobs)", "is -35, expected a number of at least 0"),
    ] {
        stack
            .project
            .write("compose.yaml", &yaml.replace("sum(jobs)", query));
        let (message, reason) = decision(&stack);
        assert_eq!(reason, "metrics_unavailable", "{query}: {message}");
        assert!(message.contains(expected), "{query}: {message}");
    }
    let labelled = yaml.replace("query: 'sum(jobs)'", "query: jobs, labels: {queue: mail}");
    stack.project.write("compose.yaml", &labelled);
    assert_eq!(
        decision(&stack).0,
        "jobs 30 per replica of 10 target: 1 → 3"
    );
    let scalar = yaml.replace("sum(jobs)", "scalar(sum(jobs))");
    stack.project.write("compose.yaml", &scalar);
    stack.must(&["watch", "--once"]);
    assert_eq!(stack.running().len(), 4);
}

#[test]
fn a_metric_of_each_replica_is_read_in_each_and_one_that_is_missing_is_left_out() {
    if !real() {
        return;
    }
    let stack = workers(
        "{name: busy, command: {argv: [cat, /tmp/busy], service: web}, per_replica_target: 4}",
        "  page:
    image: WEB
    x-autoscale:
      max: 2
      metrics: [{custom: {name: length, http: {url: 'http://{replica}:80/echo', pointer: ''}, per_replica_target: 4}}]
",
    );
    let write = |index: &str, text: &str| {
        let script = format!("echo {text} >/tmp/busy");
        let exec = ["exec", "-T", "--index", index, "web", "sh", "-c", &script];
        stack.project.compose(&exec);
    };
    write("1", "9");
    let check = stack.run(&["check"]).stdout;
    let name = stack.project.container("web", 1);
    let fine = format!("ok       web: busy of {name} is 9 (cat in web)");
    assert!(check.contains(&fine), "{check}");
    let page = stack.project.container("page", 1);
    let fine = format!("ok       page: length of {page} is 0 (http://{{replica}}:80/echo)");
    assert!(check.contains(&fine), "{check}");

    // 9 of 4: three replicas; the new ones say 0, so (9 + 0 + 0) / 4 still needs three.
    stack.must(&["watch", "--once"]);
    assert_eq!(stack.running().len(), 3);
    assert_eq!(
        decision(&stack).0,
        "busy 3 per replica of 4 target still needs 3: staying at 3"
    );
    // One that says nothing is taken to be at the target when the others ask for fewer.
    write("1", "1");
    write("2", "much");
    let (message, _) = decision(&stack);
    assert_eq!(message, "busy 0.5 per replica of 4 target: 3 → 2");
    for index in ["1", "2", "3"] {
        write(index, "much");
    }
    let (message, reason) = decision(&stack);
    assert_eq!(reason, "metrics_unavailable");
    assert_eq!(
        message,
        format!("busy cannot be read ({name}: no number in `much`): staying at 3")
    );
}

#[test]
fn a_program_that_is_not_there_is_told_with_what_to_do() {
    if !real() {
        return;
    }
    let stack = workers(
        "{name: jobs, command: {argv: [redis-cli, llen, jobs], service: web}, average_target: 10}",
        "  other:
    image: BUSYBOX
    command: [sleep, \"100000\"]
    stop_signal: SIGKILL
    x-autoscale:
      max: 2
      metrics: [{custom: {name: calls, command: [no-such-program-here], average_target: 10}}]
",
    );
    let check = stack.run(&["check"]).stdout;
    for line in [
        "error    web: jobs cannot be read (redis-cli in web): `redis-cli` was not found in web [metric-unreadable]\n         → the image of web has no redis-cli: ",
        "error    other: calls cannot be read (no-such-program-here): `no-such-program-here` was not found on this host [metric-unreadable]\n         → install no-such-program-here on this machine, or ",
    ] {
        assert!(check.contains(line), "{line} is not in\n{check}");
    }
}
