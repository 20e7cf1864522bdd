//! Readings of real processes and of servers that behave badly.

use std::{collections::BTreeMap, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::policy::{CommandSource, HttpSource, PrometheusSource};

fn said(read: &Result<f64, SourceError>) -> String {
    match read {
        Ok(number) => number.to_string(),
        Err(error) => error.to_string(),
    }
}

// ---- commands ----------------------------------------------------------------------------------

fn command(argv: &[&str]) -> CommandSource {
    CommandSource {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        service: None,
        pointer: None,
        timeout: Span::seconds(10),
    }
}

async fn run(command: CommandSource) -> String {
    said(&read(&CustomSource::Command(command), Path::new("/"), None).await)
}

async fn shell(script: &str) -> String {
    run(command(&["sh", "-c", script])).await
}

#[tokio::test]
async fn a_command_prints_its_number_and_every_failure_says_why_in_a_line() {
    for (script, expected) in [
        ("echo 42", "42"),
        ("printf ' 1.5e2 '", "150"),
        // Its errors do not matter while it succeeds, however many they are.
        ("yes warning | head -c 300000 >&2; echo 7", "7"),
        ("echo 7; pwd >&2", "7"),
        (
            "echo; echo '  no queue\tthere' >&2; echo more >&2; exit 3",
            "exit code 3: no queue there",
        ),
        (
            "echo '(error) LOADING'; exit 1",
            "exit code 1: (error) LOADING",
        ),
        ("exit 4", "exit code 4"),
        ("printf '\\377'; exit 4", "exit code 4"),
        ("kill -9 $$", "ended by signal 9"),
        ("true", "no number in an empty text"),
        ("echo none", "no number in `none`"),
        ("echo -3", "is -3, expected a number of at least 0"),
        ("echo nan", "is NaN, expected a number of at least 0"),
        ("echo inf", "is inf, expected a number of at least 0"),
        ("printf '4\\3772'", "the output is no text (UTF-8)"),
        ("cat /dev/zero", "the output is longer than 64 KiB"),
        ("yes | head -c 65537", "the output is longer than 64 KiB"),
        ("cat", "no number in an empty text"),
    ] {
        assert_eq!(shell(script).await, expected, "{script}");
    }
    assert_eq!(
        run(command(&["no-such-program-here"])).await,
        "`no-such-program-here` was not found on this host"
    );
    assert_eq!(
        run(command(&["/etc"])).await,
        "`/etc` cannot be run: permission denied"
    );
    let json = CommandSource {
        pointer: Some("/jobs".into()),
        ..command(&["echo", r#"{"jobs": 12}"#])
    };
    assert_eq!(run(json).await, "12");
}

#[tokio::test]
async fn words_go_to_a_command_as_they_are_and_it_runs_in_the_directory_of_the_project() {
    let directory = tempfile::tempdir().unwrap();
    crate::files::replace(&directory.path().join("jobs"), b"a\nb\n").unwrap();
    std::os::unix::fs::symlink("/usr/bin/wc", directory.path().join("count")).unwrap();
    let source = CustomSource::Command(command(&["./count", "-l", "jobs"]));
    let answer = read(&source, directory.path(), None).await;
    assert_eq!(said(&answer), "no number in `2 jobs`");
    let script = r#"[ "$1" = '$(echo 1); *' ] && echo 3"#;
    let words = command(&["sh", "-c", script, "sh", "$(echo 1); *"]);
    assert_eq!(run(words).await, "3");
}

#[tokio::test]
async fn at_its_deadline_a_command_and_all_its_descendants_end() {
    // An argument that nobody else has.
    let mark = format!("31415.{}", std::process::id());
    let script = format!("sleep {mark} & (sleep {mark} & wait) & wait");
    let slow = CommandSource {
        timeout: Span(Duration::from_millis(300)),
        ..command(&["sh", "-c", &script])
    };
    assert_eq!(run(slow).await, "no answer within 300ms");
    let running = || {
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
            .filter(|line| {
                let line = String::from_utf8_lossy(line);
                line.starts_with("sleep") && line.contains(&mark)
            })
            .count()
    };
    for _ in 0..200 {
        if running() == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} are left", running());
}

#[test]
fn what_a_command_printed_elsewhere_is_judged_alike() {
    let redis = CommandSource {
        service: Some("redis".into()),
        ..command(&["redis-cli", "llen", "jobs"])
    };
    let judge = |code, stdout: &str, stderr: &str| {
        let printed = command::Printed {
            code,
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        said(&command::judge(&redis, &printed))
    };
    assert_eq!(judge(0, "42\n", ""), "42");
    assert_eq!(judge(0, "-1", ""), "is -1, expected a number of at least 0");
    assert_eq!(judge(1, "", "NOAUTH\n"), "exit code 1: NOAUTH");
    assert_eq!(
        judge(
            126,
            "OCI runtime exec failed: exec failed: unable to start container process: exec: \"redis-cli\": executable file not found in $PATH: unknown\r\n",
            ""
        ),
        "`redis-cli` was not found in redis"
    );
    let much = "1".repeat(command::OUTPUT + 1);
    assert_eq!(judge(0, &much, ""), "the output is longer than 64 KiB");
}

// ---- servers -----------------------------------------------------------------------------------

/// What a server does after it has read a request.
enum Does {
    Says(Vec<u8>),
    SaysAndHangs(Vec<u8>),
    /// Says it over and over.
    Streams(Vec<u8>),
}

fn answer(head: &str, body: &str) -> Does {
    let length = body.len();
    Does::Says(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n{body}").into())
}

/// One connection; the request that came through it.
async fn serve(listener: TcpListener, does: Does) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut request = vec![0; 4096];
    let read = stream.read(&mut request).await.unwrap();
    request.truncate(read);
    match does {
        Does::Says(text) => stream.write_all(&text).await.unwrap(),
        Does::SaysAndHangs(text) => {
            stream.write_all(&text).await.unwrap();
            let _ = stream.read(&mut [0]).await;
        }
        Does::Streams(text) => while stream.write_all(&text).await.is_ok() {},
    }
    String::from_utf8(request).unwrap()
}

async fn ask(does: Does, path: &str, pick: ValueSelector) -> (String, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let source = CustomSource::Http(HttpSource {
        url: format!("http://{address}{path}"),
        pick,
        timeout: Span(Duration::from_millis(500)),
    });
    let (answer, request) =
        tokio::join!(read(&source, Path::new("/"), None), serve(listener, does));
    let name = address.to_string();
    (said(&answer), request.replace(&name, "HERE"))
}

fn pointer(at: &str) -> ValueSelector {
    ValueSelector::Pointer {
        pointer: at.to_owned(),
    }
}

async fn value(does: Does) -> String {
    ask(does, "/", pointer("/a")).await.0
}

#[tokio::test]
async fn a_url_is_asked_once_and_plainly() {
    let does = answer("200 OK", r#"{"a": 5}"#);
    let (said, request) = ask(does, "/stats?queue=mail#top", pointer("/a")).await;
    assert_eq!(said, "5");
    insta::assert_snapshot!(request.replace("\r\n", "\n"), @r"
    GET /stats?queue=mail HTTP/1.1
    host: HERE
    user-agent: compose-scale
    accept: application/json, text/plain;version=0.0.4, */*;q=0.5
    connection: close
    ");
    let metrics = answer(
        "200 OK",
        "jobs{queue=\"mail\"} 3\njobs{queue=\"print\"} 4\n",
    );
    let pick = ValueSelector::Sample {
        metric: "jobs".into(),
        labels: [("queue".to_owned(), "print".to_owned())].into(),
    };
    assert_eq!(ask(metrics, "/metrics", pick).await.0, "4");
}

#[tokio::test]
async fn an_answer_in_chunks_or_without_a_length_is_read_to_its_end() {
    let chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{\"a\"\r\n4\r\n: 6}\r\n0\r\n\r\n";
    assert_eq!(value(Does::Says(chunks.into())).await, "6");
    let old = "HTTP/1.0 200 OK\r\n\r\n{\"a\": 7}";
    assert_eq!(value(Does::Says(old.into())).await, "7");
}

#[tokio::test]
async fn what_a_server_does_wrong_is_said_in_a_line() {
    let says = |text: &str| Does::Says(text.as_bytes().to_vec());
    let hangs = |text: &str| Does::SaysAndHangs(text.as_bytes().to_vec());
    let endless = "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n";
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (does, expected) in [
        (hangs(""), "no answer within 500ms"),
        (
            hangs("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
            "no answer within 500ms",
        ),
        (
            says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"),
            "the connection broke: end of file before message length reached",
        ),
        (
            says(""),
            "the connection was closed before the answer was complete",
        ),
        (says("-ERR unknown command\r\n"), "the answer is no HTTP"),
        (
            says(&format!("{endless}{}", "x".repeat(1_100_000))),
            "the answer is longer than 1 MiB",
        ),
        (
            says(&format!("{chunked}{}", chunk.repeat(1100))),
            "the answer is longer than 1 MiB",
        ),
        (
            answer("500 Oops", "{\"a\": 5}"),
            "the answer is 500 Internal Server Error",
        ),
        (
            answer("302 Found\r\nLocation: https://elsewhere/\u{1b}[2J", ""),
            "the answer is no HTTP",
        ),
        (
            answer("302 Found\r\nLocation: https://elsewhere/", ""),
            "the answer is 302, a redirect to https://elsewhere/, and none is followed",
        ),
        (answer("204 No Content", ""), "no JSON in an empty text"),
        (
            Does::Says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe".to_vec()),
            "the answer is no text (UTF-8)",
        ),
        (
            answer("200 OK", "{\"a\": -3}"),
            "is -3, expected a number of at least 0",
        ),
    ] {
        assert_eq!(value(does).await, expected);
    }
    let flood = Does::Streams(b"HTTP/1.1 200 OK\r\n".to_vec());
    let flood = value(flood).await;
    assert!(flood.starts_with("the answer is no HTTP"), "{flood}");
}

#[tokio::test]
async fn where_nothing_listens_or_no_name_leads_the_reason_names_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let source = |url: String| {
        CustomSource::Http(HttpSource {
            url,
            pick: pointer(""),
            timeout: Span::seconds(10),
        })
    };
    let there = read(&source(format!("http://{address}/")), Path::new("/"), None).await;
    assert_eq!(said(&there), format!("connection refused by {address}"));
    // An address that was found for the host counts instead of it.
    let queue = source("http://queue:8000/".into());
    let there = read(&queue, Path::new("/"), Some(address)).await;
    assert_eq!(said(&there), format!("connection refused by {address}"));
    let nowhere = source("http://nowhere.invalid/".into());
    let nowhere = read(&nowhere, Path::new("/"), None).await;
    assert_eq!(said(&nowhere), "the host `nowhere.invalid` has no address");
    let bad = source("http://a:b:c/".into());
    let bad = said(&read(&bad, Path::new("/"), None).await);
    assert!(bad.starts_with("`http://a:b:c/` is no URL: "), "{bad}");
}

#[tokio::test]
async fn a_prometheus_server_is_asked_for_the_query_as_it_is_written() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let source = CustomSource::Prometheus(PrometheusSource {
        url: format!("http://{}", listener.local_addr().unwrap()),
        query: r#"sum(jobs{q="a b"})"#.into(),
        labels: BTreeMap::new(),
        timeout: Span::seconds(10),
    });
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"8"]}]}}"#;
    let (answer, request) = tokio::join!(
        read(&source, Path::new("/"), None),
        serve(listener, answer("200 OK", body))
    );
    assert_eq!(said(&answer), "8");
    let line = request.lines().next().unwrap();
    assert_eq!(
        line,
        "GET /api/v1/query?query=sum%28jobs%7Bq%3D%22a%20b%22%7D%29 HTTP/1.1"
    );
}

#[test]
fn a_source_is_filled_in_for_a_replica_and_other_braces_stay() {
    let query = CustomSource::Prometheus(PrometheusSource {
        url: "http://{replica}:9090".into(),
        query: r#"busy{instance="{replica}:80",name="{name}"} unless x{a="{}"}"#.into(),
        labels: BTreeMap::new(),
        timeout: Span::seconds(5),
    });
    let CustomSource::Prometheus(filled) = for_replica(&query, "shop-web-2", "172.18.0.3") else {
        panic!("another kind");
    };
    assert_eq!(filled.url, "http://172.18.0.3:9090");
    assert_eq!(
        filled.query,
        r#"busy{instance="172.18.0.3:80",name="shop-web-2"} unless x{a="{}"}"#
    );
    let CustomSource::Prometheus(filled) = for_replica(&query, "shop-web-2", "fd00::3") else {
        panic!("another kind");
    };
    assert_eq!(filled.url, "http://[fd00::3]:9090");
    let words = CustomSource::Command(command(&["ask", "{replica}", "--name={name}"]));
    let expected = CustomSource::Command(command(&["ask", "172.18.0.3", "--name=shop-web-2"]));
    assert_eq!(for_replica(&words, "shop-web-2", "172.18.0.3"), expected);
}
