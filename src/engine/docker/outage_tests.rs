//! Engines that are away, hang, or break off.

use std::path::Path;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

use super::*;
use crate::engine::Action;

fn at(socket: &Path) -> Result<Docker, EngineError> {
    Docker::connect(Some(&format!("unix://{}", socket.display())))
}

/// Takes one request and reads its head.
async fn request(listener: &UnixListener) -> (UnixStream, String) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn a_missing_socket_is_an_outage_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    let error = at(&directory.path().join("docker.sock")).unwrap_err();
    assert!(error.is_outage());
    let text = error.to_string();
    assert!(
        text.contains("docker.sock: there is no such socket"),
        "{text}"
    );
}

#[tokio::test]
async fn an_engine_that_was_stopped_is_an_outage_at_the_next_call() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let docker = at(&socket).unwrap();
    drop(listener);
    let refused = docker.list("shop").await.unwrap_err();
    assert!(refused.is_outage());
    assert!(refused.to_string().contains("nothing listens"), "{refused}");
    std::fs::remove_file(&socket).unwrap();
    let missing = docker.list("shop").await.unwrap_err();
    assert!(missing.is_outage(), "{missing}");
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_costs_no_more_than_the_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let docker = at(&socket).unwrap();
    let id = ContainerId("abc".into());
    let took = Instant::now();
    let start = tokio::join!(docker.start(&id), request(&listener)).0;
    assert!(
        matches!(&start, Err(EngineError::TimedOut { doing, after }) if doing == "starting abc" && *after == START),
        "{start:?}"
    );
    assert_eq!(took.elapsed().as_secs(), START.as_secs());
}

#[tokio::test(start_paused = true)]
async fn a_stop_may_take_longer_than_any_other_call() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let docker = at(&socket).unwrap();
    let id = ContainerId("abc".into());
    let serve = async {
        let (mut stream, head) = request(&listener).await;
        // No `t`: the container's own grace period applies.
        assert!(head.starts_with("POST /containers/abc/stop HTTP"), "{head}");
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    };
    let (stopped, ()) = tokio::join!(docker.stop(&id, Duration::from_secs(4000)), serve);
    stopped.unwrap();
}

#[tokio::test]
async fn a_lost_stream_of_events_ends_with_one_error() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let docker = at(&socket).unwrap();
    let serve = async {
        let (mut stream, head) = request(&listener).await;
        assert!(head.contains("since="), "{head}");
        let message = json!({
            "Type": "container", "Action": "start", "timeNano": 1,
            "Actor": {"ID": "abc", "Attributes": {labels::PROJECT: "shop", "name": "shop-web-1"}}
        });
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{message}\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    };
    let events = docker.events("shop").collect::<Vec<_>>();
    let (events, ()) = tokio::join!(events, serve);
    let [Ok(event), Err(lost)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(
        (event.name.as_str(), &event.action),
        ("shop-web-1", &Action::Start)
    );
    assert!(lost.is_outage(), "{lost}");
}
