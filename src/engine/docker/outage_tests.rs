//! Engines that are away, hang, or break off.

use std::path::Path;

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    time::{Instant, sleep},
};

use super::*;
use crate::{engine::ContainerAction, project::labels};

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
        matches!(&start, Err(EngineError::TimedOut { doing, after }) if doing == "starting it" && *after == START),
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
        sleep(Duration::from_secs(3600)).await;
        let answer = b"HTTP/1.1 204 No Content\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    };
    let (stopped, ()) = tokio::join!(docker.stop(&id, Duration::from_secs(4000)), serve);
    stopped.unwrap();
}

#[tokio::test]
async fn a_container_in_words_that_nobody_knows_does_not_hide_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let docker = at(&socket).unwrap();
    let inspect = |name: &str, status: &str| {
        json!({
            "Id": name, "Name": format!("/{name}"), "Created": "2026-01-01T00:00:00Z",
            "State": {"Status": status},
        })
    };
    let serve = async {
        loop {
            let (mut stream, head) = request(&listener).await;
            let path = head.split_whitespace().nth(1).unwrap();
            let body = match path.split('?').next().unwrap() {
                "/version" => json!({"Version": "99", "ApiVersion": "1.41", "Arch": "amd64"}),
                "/info" => json!({"NCPU": 1, "MemTotal": 1}),
                "/containers/json" => json!([{"Id": "strange"}, {"Id": "plain"}]),
                "/containers/plain/json" => inspect("plain", "running"),
                "/containers/strange/json" => inspect("strange", "dreaming"),
                other => panic!("{other}"),
            }
            .to_string();
            let length = body.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    };
    let listed = tokio::select! {
        listed = docker.list("shop") => listed.unwrap(),
        () = serve => unreachable!("it serves for ever"),
    };
    let names: Vec<_> = listed.iter().map(|replica| replica.name.as_str()).collect();
    assert_eq!(names, ["plain"]);
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
        ("shop-web-1", &ContainerAction::Start)
    );
    assert!(lost.is_outage(), "{lost}");
}

/// An Engine that takes every connection and answers none.
async fn silent(socket: &Path) {
    let listener = UnixListener::bind(socket).unwrap();
    let mut open = Vec::new();
    loop {
        open.push(listener.accept().await.unwrap().0);
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_to_an_engine_that_hangs_has_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let hung = tokio::task::JoinSet::from_iter([{
        let socket = socket.clone();
        async move { silent(&socket).await }
    }]);
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    let docker = at(&socket).unwrap();
    let id = ContainerId("abc".into());
    let new = NewReplica {
        name: "shop-web-2".into(),
        number: 2,
        uploads: Vec::new(),
    };
    let exec = Exec {
        argv: vec!["nginx".into(), "-t".into()],
        ..Exec::default()
    };
    let mut waits = Vec::new();
    macro_rules! wait {
        ($name:literal, $call:expr) => {
            let began = Instant::now();
            match $call.await {
                Err(EngineError::TimedOut { .. }) => {}
                other => panic!("{}: {other:?}", $name),
            }
            waits.push(format!("{} {}s", $name, began.elapsed().as_secs()));
        };
    }
    wait!("info", docker.info());
    wait!("list", docker.list("shop"));
    wait!("inspect", docker.inspect("abc"));
    wait!("clone", docker.clone_replica(&id, &new));
    wait!("start", docker.start(&id));
    wait!("stop", docker.stop(&id, Duration::from_secs(40)));
    wait!("remove", docker.remove(&id));
    wait!("logs", docker.logs(&id, 50));
    wait!("exec", docker.exec(&id, &exec));
    wait!("signal", docker.signal(&id, "HUP"));
    wait!("processes", docker.processes(&id));
    wait!(
        "copy",
        docker.copy_file(&id, &id, "shop-web-2", "/run/secrets/key")
    );
    assert_eq!(
        waits,
        [
            "info 10s",
            "list 10s",
            "inspect 10s",
            "clone 10s",
            "start 60s",
            "stop 40s",
            "remove 10s",
            "logs 10s",
            "exec 30s",
            "signal 10s",
            "processes 10s",
            "copy 10s",
        ]
    );
    drop(hung);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_in_the_middle_has_its_deadline_too() {
    for (head, call) in [
        ("GET /containers/abc/logs", "logs"),
        ("GET /containers/json", "list"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let docker = at(&socket).unwrap();
        let serve = async {
            let (mut stream, asked) = request(&listener).await;
            assert!(asked.starts_with(head), "{asked}");
            let half = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[{";
            stream.write_all(half).await.unwrap();
            stream
        };
        let id = ContainerId("abc".into());
        let ask = async {
            match call {
                "logs" => docker.logs(&id, 5).await.map(drop),
                _ => docker.list("shop").await.map(drop),
            }
        };
        let began = Instant::now();
        let (answer, _open) = tokio::join!(ask, serve);
        assert!(
            matches!(answer, Err(EngineError::TimedOut { .. })),
            "{answer:?}"
        );
        assert_eq!(began.elapsed(), READ, "{call}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_moments_of_counters_follow_a_clock_that_is_set() {
    let clock = EngineClock::start();
    let start = clock.0.lock().unwrap().0;
    tokio::time::advance(Duration::from_secs(10)).await;
    let slewed = start + Duration::from_secs(12);
    assert_eq!(clock.at(slewed), start + Duration::from_secs(10));
    let ahead = start + Duration::from_secs(3600);
    assert_eq!(clock.at(ahead), ahead);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(
        clock.at(ahead + Duration::from_secs(4)),
        ahead + Duration::from_secs(5)
    );
    assert_eq!(clock.at(start), start);
}
