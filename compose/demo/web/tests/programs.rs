//! The two programs together, as demo and tests use them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running web app, killed at the end of the test.
struct Web {
    child: Child,
    port: u16,
}

impl Web {
    /// Starts one on a free port and waits until it says which.
    fn start(term_mode: &str) -> Self {
        Self::with(&[("TERM_MODE", term_mode)])
    }

    /// The same with this environment.
    fn with(environment: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_web"))
            .env("PORT", "0")
            .envs(environment.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let port = line
            .trim()
            .rsplit(' ')
            .next()
            .unwrap()
            .parse()
            .unwrap_or_else(|_| panic!("no port in {line:?}"));
        Self { child, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    /// One request on a connection of its own; the whole answer.
    fn get(&self, path: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn health(&self) -> bool {
        let mut command = Command::new(env!("CARGO_BIN_EXE_web"));
        command
            .arg("health")
            .env("PORT", self.port.to_string())
            .stdout(Stdio::null());
        command.status().unwrap().success()
    }

    fn terminate(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").arg(id).status().unwrap().success());
    }

    fn load(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_load"));
        command
            .arg("--url")
            .arg(format!("http://127.0.0.1:{}/", self.port));
        command
            .arg("--json")
            .args(arguments.split_whitespace())
            .stdout(Stdio::piped());
        command
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn report(mut command: Command) -> Value {
    serde_json::from_slice(&command.output().unwrap().stdout).unwrap()
}

#[test]
fn the_endpoints_answer() {
    let web = Web::start("drain");
    assert!(web.get("/").contains("hello from "));
    assert!(web.get("/nowhere").starts_with("HTTP/1.1 404"));
    let begin = Instant::now();
    assert!(web.get("/cpu?ms=30").starts_with("HTTP/1.1 200"));
    assert!(begin.elapsed() >= Duration::from_millis(30));
    let mut echo = web.connect();
    echo.write_all(
        b"POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    echo.write_all(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    echo.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\n11\n"), "{answer}");
}

#[test]
fn health_can_be_taken_away_and_given_back() {
    let web = Web::start("drain");
    assert!(web.health());
    web.get("/unhealthy");
    assert!(!web.health() && web.get("/healthz").starts_with("HTTP/1.1 503"));
    web.get("/healthy");
    assert!(web.health());
}

#[test]
fn a_panic_ends_its_connection_only() {
    let web = Web::start("drain");
    assert_eq!(web.get("/panic"), "");
    assert!(web.get("/host").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_drain_finishes_what_is_in_flight_and_exits_with_0() {
    let mut web = Web::start("drain");
    let mut idle = web.connect();
    idle.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).unwrap() > 0);
    let mut slow = web.connect();
    slow.write_all(b"POST /slow?ms=600 HTTP/1.1\r\nContent-Length: 3\r\n\r\nab")
        .unwrap();
    // Both are in the server by now, or on their way: it waits for either.
    web.get("/host");

    web.terminate();
    assert_eq!(
        idle.read(&mut buffer).unwrap(),
        0,
        "an idle connection is closed at once"
    );
    slow.write_all(b"c").unwrap(); // The body's end comes after the signal.
    slow.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("Connection: close"),
        "{answer}"
    );
    assert_eq!(web.child.wait().unwrap().code(), Some(0));
}

#[test]
fn load_counts_every_answer() {
    let web = Web::start("drain");
    let report = report(web.load(
        "--requests 200 --hosts --class good:path=/host,connections=4 \
         --class posted:path=/echo,method=POST,body-bytes=100000,requests=20,keepalive=false \
         --class bad:path=/nowhere,requests=5",
    ));
    assert_eq!(
        (&report["requests"], &report["failed"]),
        (&225.into(), &5.into())
    );
    let [good, posted, bad] = report["classes"].as_array().unwrap().as_slice() else {
        panic!()
    };
    assert_eq!((&good["failed"], &good["connects"]), (&0.into(), &4.into()));
    assert_eq!(
        good["hosts"]
            .as_object()
            .unwrap()
            .values()
            .collect::<Vec<_>>(),
        [&Value::from(200)]
    );
    assert_eq!(posted["connects"], 20);
    assert_eq!(bad["failures"]["404"], 5);
    assert_eq!(report["first_failures"].as_array().unwrap().len(), 5);
}

#[test]
fn requests_wait_for_a_worker() {
    let took = |workers: &str| {
        let web = Web::with(&[("WORKERS", workers)]);
        let report = report(web.load("--requests 4 --class all:path=/slow?ms=200,connections=4"));
        assert_eq!(report["failed"], 0);
        report["classes"][0]["latency_ms"]["max"].as_f64().unwrap()
    };
    assert!(took("1") > 700.0);
    assert!(took("0") < 600.0);
}

#[test]
fn load_keeps_to_its_rate_and_ends_at_a_signal() {
    let web = Web::start("drain");
    let load = web
        .load("--connections 4 --rps 100 --duration 60s")
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    assert!(
        Command::new("kill")
            .arg(load.id().to_string())
            .status()
            .unwrap()
            .success()
    );
    let output = load.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let requests = report["requests"].as_u64().unwrap();
    assert!((60..=101).contains(&requests), "{requests}");
    assert_eq!(report["failed"], 0);
}

#[test]
fn load_counts_the_requests_that_a_server_dropped() {
    let web = Web::start("exit");
    let load = web
        .load("--connections 3 --requests 3 --class slow:path=/slow?ms=5000")
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(500));
    web.terminate();
    let output = load.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let failures = &report["classes"][0]["failures"];
    let cut = |kind: &str| failures[kind].as_u64().unwrap_or(0);
    assert_eq!(cut("eof") + cut("reset"), 3, "{failures}");
    assert_eq!(report["classes"][0]["keepalive_race"], 0);
}
