//! What `scripts/bench` measures with, on this machine alone.
//!
//! `bench seen PORT COUNT SECONDS` asks 127.0.0.1:PORT/host until COUNT different hosts have
//! answered, and prints when that was. `bench floor CONTAINER COUNT AT_ONCE` makes and starts
//! siblings of a container by bare calls to the Engine, as fast as that many connections can: no
//! tool that makes the same calls can be faster. Times are milliseconds since 1970.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use demo_web::http::Connection;
use serde_json::{Value, json};

/// Between two requests: often enough to see, rarely enough to leave the machine alone.
const PAUSE: Duration = Duration::from_millis(1);
const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER: usize = 1 << 20;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["seen", port, count, seconds] => {
            number(port).and_then(|port| seen(port as u16, number(count)?, number(seconds)?))
        }
        ["floor", container, count, at_once] => {
            number(count).and_then(|count| floor(container, count, number(at_once)?))
        }
        _ => {
            eprintln!("usage: bench seen PORT COUNT SECONDS | floor CONTAINER COUNT AT_ONCE");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench: {why}");
            ExitCode::FAILURE
        }
    }
}

fn number(text: &str) -> Result<u64, String> {
    text.parse()
        .map_err(|_| format!("{text:?} is not a number"))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that map_err calls"
)]
fn text(error: io::Error) -> String {
    error.to_string()
}

fn print_now() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    println!("{}", now.unwrap_or_default().as_millis());
}

fn seen(port: u16, count: u64, seconds: u64) -> Result<(), String> {
    let begin = Instant::now();
    let mut hosts = BTreeSet::new();
    loop {
        // One that is refused or cut is asked again: failures are counted elsewhere.
        if let Ok(host) = host(port) {
            hosts.insert(host);
        }
        if hosts.len() as u64 >= count {
            print_now();
            return Ok(());
        }
        if begin.elapsed() > Duration::from_secs(seconds) {
            let seen = hosts.len();
            return Err(format!("{seen} of {count} hosts answered in {seconds} s"));
        }
        thread::sleep(PAUSE);
    }
}

fn host(port: u16) -> io::Result<Vec<u8>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut connection = Connection::new(stream);
    connection.write_all(b"GET /host HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let response = connection.response()?;
    let mut body = Vec::new();
    connection.body(response.body, ANSWER, &mut body)?;
    if response.status == 200 {
        Ok(body)
    } else {
        Err(io::Error::other(format!("status {}", response.status)))
    }
}

/// A kept connection to the Engine.
struct Engine(Connection<UnixStream>);

impl Engine {
    fn connect() -> Result<Self, String> {
        let host = std::env::var("DOCKER_HOST").unwrap_or_default();
        let path = match host.strip_prefix("unix://") {
            Some(path) => path,
            None if host.is_empty() => "/var/run/docker.sock",
            None => {
                return Err(format!(
                    "DOCKER_HOST is {host:?}: only unix:// is known here"
                ));
            }
        };
        let stream = UnixStream::connect(path).map_err(|e| format!("{path}: {e}"))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(text)?;
        Ok(Self(Connection::new(stream)))
    }

    fn call(&mut self, method: &str, path: &str, body: &str) -> Result<Value, String> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all((head + body).as_bytes()).map_err(text)?;
        let response = self.0.response().map_err(text)?;
        let mut answer = Vec::new();
        self.0
            .body(response.body, ANSWER, &mut answer)
            .map_err(text)?;
        if response.status >= 300 {
            let said = String::from_utf8_lossy(&answer);
            return Err(format!("{method} {path}: {} {said}", response.status));
        }
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }
}

fn floor(container: &str, count: u64, at_once: u64) -> Result<(), String> {
    let source = Engine::connect()?.call("GET", &format!("/containers/{container}/json"), "")?;
    let name = source["Name"].as_str().unwrap_or_default();
    let stem = name
        .trim_start_matches('/')
        .trim_end_matches(|c: char| c.is_ascii_digit());
    let next = AtomicU64::new(0);
    let worker = || -> Result<(), String> {
        let mut engine = Engine::connect()?;
        loop {
            let number = next.fetch_add(1, SeqCst);
            if number >= count {
                return Ok(());
            }
            // Far from the numbers that others give.
            let number = 1001 + number;
            let body = sibling(&source, &format!("{stem}{number}"), number).to_string();
            let path = format!("/containers/create?name={stem}{number}");
            let made = engine.call("POST", &path, &body)?;
            let id = made["Id"].as_str().unwrap_or_default().to_owned();
            engine.call("POST", &format!("/containers/{id}/start"), "")?;
            engine.call("GET", &format!("/containers/{id}/json"), "")?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once.min(count))
            .map(|_| scope.spawn(worker))
            .collect();
        workers
            .into_iter()
            .try_for_each(|w| w.join().map_err(|_| "a thread failed".to_owned())?)
    })?;
    print_now();
    Ok(())
}

/// The request for a container like the source, for a service with one network.
fn sibling(source: &Value, name: &str, number: u64) -> Value {
    let mut body = source["Config"].clone();
    if let Some(body) = body.as_object_mut() {
        body.remove("Hostname");
    }
    body["Labels"]["com.docker.compose.container-number"] = json!(number.to_string());
    body["HostConfig"] = source["HostConfig"].clone();
    let service = &source["Config"]["Labels"]["com.docker.compose.service"];
    let endpoints: serde_json::Map<String, Value> = source["NetworkSettings"]["Networks"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(network, _)| (network.clone(), json!({"Aliases": [name, service]})))
        .collect();
    body["NetworkingConfig"] = json!({"EndpointsConfig": endpoints});
    body
}
