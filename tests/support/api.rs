//! Plain requests to the Engine, apart from the code under test.

use std::{
    env,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use serde_json::Value;

/// Reads; panics when there is no such thing.
pub(crate) fn get(path: &str) -> Value {
    let (status, body) = request("GET", path, "");
    assert_eq!(status, 200, "GET {path}: {body}");
    body
}

/// Sends a request with a JSON body, and returns the status and the answer (null when it is empty).
pub(crate) fn request(method: &str, path: &str, body: &str) -> (u16, Value) {
    let host = env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
    let socket = host
        .strip_prefix("unix://")
        .expect("the tests need an Engine on a unix socket");
    let mut stream = UnixStream::connect(socket).expect("the Engine's socket");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout");
    // HTTP/1.0: the answer comes in one piece and ends with the connection.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("the Engine takes the request");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the Engine answers");
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .expect("an HTTP status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}
