//! Who is to be told is told: over real connections, and by real commands.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use compose_scale::{
    notify::{self, Counts, DeliveryStats, GONE, Notifier, PARTING},
    policy::{
        Notify,
        notify::{EventFilter, Headers, NotifyCommand, NotifyTarget, SecretUrl, Webhook},
    },
    reconcile::{EventKind, Initiator, ScalingEvent},
    units::{Span, Timestamp},
};
use tokio::sync::watch;

use self::webhook::{FINE, Reply, Server};

#[path = "support/webhook.rs"]
mod webhook;

/// A name that no server is asked for, because a part of it is too long.
fn nobody() -> String {
    format!("{}.example", "nobody".repeat(11))
}

const PATIENT: Duration = Duration::from_secs(30);

fn to(url: String) -> Notify {
    Notify {
        target: NotifyTarget::Webhook(Webhook {
            url: SecretUrl::new(url),
            headers: Headers::default(),
            timeout: Webhook::TIMEOUT,
            retry: 2,
        }),
        events: EventFilter::default(),
        services: Vec::new(),
    }
}

/// With these timeout and retries.
fn hasty(mut notify: Notify, milliseconds: u64, retries: u32) -> Notify {
    if let NotifyTarget::Webhook(webhook) = &mut notify.target {
        webhook.timeout = Span(Duration::from_millis(milliseconds));
        webhook.retry = retries;
    }
    notify
}

fn command(script: &str, timeout: Duration) -> Notify {
    Notify {
        target: NotifyTarget::Command(NotifyCommand {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: Span(timeout),
        }),
        events: EventFilter::default(),
        services: Vec::new(),
    }
}

fn notifier(targets: Vec<Notify>, directory: &Path) -> Notifier {
    let (_, settings) = watch::channel(targets);
    Notifier::new("shop", directory, settings)
}

/// The count goes to `to`.
fn scale(to: u32) -> ScalingEvent {
    ScalingEvent {
        at: Timestamp::from_unix(1_800_000_000),
        service: "web".into(),
        what: EventKind::Scale {
            from: 1,
            to,
            reason: "above_target".into(),
            message: "cpu 90% of 60% target".into(),
            metrics: BTreeMap::new(),
            by: Initiator::Policy,
            input: Some(Box::new("a large one".into())),
        },
    }
}

async fn test(notify: &Notify) -> Result<(), String> {
    let now = Timestamp::from_unix(1_800_000_000);
    notify::test(notify, "shop", Path::new("/"), "web", now).await
}

#[expect(clippy::disallowed_methods, reason = "these tests run in real time")]
fn now() -> Instant {
    Instant::now()
}

fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let begun = now();
    while !ask() {
        assert!(begun.elapsed() < PATIENT, "not within 30s: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until so many were sent, failed and dropped by the only target.
fn counted(tally: &DeliveryStats, wanted: (u64, u64, u64)) -> Counts {
    let numbers = |one: &Counts| (one.sent, one.failed, one.dropped);
    until(&format!("{wanted:?}"), || {
        numbers(&tally.counts()[0]) == wanted
    });
    tally.counts().remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happened_is_posted_as_json() {
    let server = Server::new(|_| FINE);
    let mut target = to(server.url("/T0/secret?tpl=1&m={{.text}}"));
    if let NotifyTarget::Webhook(webhook) = &mut target.target {
        let word = ("Authorization".to_owned(), "Bearer hush".to_owned());
        webhook.headers = Headers(BTreeMap::from([word]));
    }
    let mut notifier = notifier(vec![target], Path::new("/"));
    notifier.send(&scale(3));
    let request = server.next();
    assert_eq!(request.line(), "POST /T0/secret?tpl=1&m={{.text}} HTTP/1.1");
    let head = request.head.to_lowercase();
    for line in [
        "content-type: application/json",
        "authorization: bearer hush",
        &format!("host: {}", server.address),
    ] {
        assert!(head.contains(line), "{head}");
    }
    let body = request.json();
    assert_eq!(body["text"], "shop/web: scaling: cpu 90% of 60% target");
    assert_eq!((&body["from"], &body["to"]), (&1.into(), &3.into()));
    assert!(body.get("input").is_none() && body.get("dropped").is_none());
    let counts = counted(&notifier.tally(), (1, 0, 0));
    assert_eq!(counts.kind, "webhook");
    assert_eq!(counts.label, server.url("/…"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_busy_is_asked_again_when_it_says() {
    let server = Server::new(|nth| match nth {
        0 => Reply::Head("503 Service Unavailable\r\nRetry-After: 2"),
        _ => FINE,
    });
    let begun = now();
    let mut notifier = notifier(vec![to(server.url("/"))], Path::new("/"));
    notifier.send(&scale(3));
    notifier.send(&scale(4));
    let counts = [3, 3, 4].map(|_| server.next().json()["to"].clone());
    assert_eq!(counts, [3, 3, 4], "the second one waits for the first");
    counted(&notifier.tally(), (2, 0, 0));
    // Without the wish of the server it would have been one.
    assert!(begun.elapsed() >= Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_sent_elsewhere_is_not_tried_again() {
    let server = Server::new(|nth| match nth {
        0 => Reply::Head("400 Bad Request"),
        1 => Reply::Head("302 Found\r\nLocation: http://127.0.0.1:9/secret"),
        _ => FINE,
    });
    let mut notifier = notifier(vec![to(server.url("/"))], Path::new("/"));
    for to in [3, 4, 5] {
        notifier.send(&scale(to));
    }
    let counts = [3, 4, 5].map(|_| server.next().json()["to"].clone());
    assert_eq!(counts, [3, 4, 5]);
    counted(&notifier.tally(), (1, 2, 0));
    assert_eq!(server.more(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_one_is_not_told_is_said_without_anything_secret() {
    let refusing = Server::new(|_| Reply::Head("403 Forbidden"));
    let leading = Server::new(|_| {
        Reply::Head("307 Temporary Redirect\r\nLocation: https://b.example/secret")
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let silent = Server::new(|_| Reply::Hang);
    for (target, why) in [
        (to(refusing.url("/secret")), "HTTP 403 Forbidden: the words"),
        (
            to(leading.url("/secret")),
            "HTTP 307 Temporary Redirect: redirects are not followed (to https://b.example/…)",
        ),
        (
            to(format!("http://{address}/secret")),
            &format!("no connection to {address}: connection refused"),
        ),
        (
            hasty(to(silent.url("/secret")), 100, 0),
            "no answer within 100ms",
        ),
        (
            to(format!("http://{}/secret", nobody())),
            &format!("the host `{}` has no address", nobody()),
        ),
    ] {
        assert_eq!(test(&target).await.unwrap_err(), why);
    }
}

/// What answers with a page of these words.
fn page(status: &str, words: &str) -> Server {
    let head = format!("{status}\r\nContent-Length: {}\r\n\r\n{words}", words.len());
    let head: &str = Box::leak(head.into());
    Server::new(|_| Reply::Head(head))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_repeats_what_it_was_asked_gives_nothing_away() {
    let path = "/secret/T0/B1?token=hush-hush";
    let long = format!("{} {path}", "x".repeat(110));
    for (status, words, why) in [
        (
            "404 Not Found",
            format!("Cannot POST {path}"),
            "HTTP 404 Not Found: Cannot POST …".to_owned(),
        ),
        (
            "503 Service Unavailable",
            "no hush-hush for /secret/T0/B1".into(),
            "HTTP 503 Service Unavailable: no … for …".into(),
        ),
        (
            "401 Unauthorized",
            "the word for me is wrong".into(),
            "HTTP 401 Unauthorized: the … is wrong".into(),
        ),
        // Where it would be cut.
        (
            "404 Not Found",
            long,
            format!("HTTP 404 Not Found: {} …", "x".repeat(110)),
        ),
        (
            "302 Found\r\nLocation: hush-hush",
            String::new(),
            "HTTP 302 Found: redirects are not followed (to …)".into(),
        ),
    ] {
        let mut target = hasty(to(page(status, &words).url(path)), 10_000, 0);
        if let NotifyTarget::Webhook(webhook) = &mut target.target {
            let word = ("Authorization".to_owned(), "word for me".to_owned());
            webhook.headers = Headers(BTreeMap::from([word]));
        }
        assert_eq!(test(&target).await.unwrap_err(), why);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_page_that_is_too_long_the_beginning_is_shown() {
    let words = format!("out of order\n{}", "x".repeat(100_000));
    let server = page("500 Internal Server Error", &words);
    assert_eq!(
        test(&to(server.url("/"))).await.unwrap_err(),
        "HTTP 500 Internal Server Error: out of order"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_nobodys_is_not_accepted() {
    let server = Server::encrypted(|_| FINE);
    let target = to(format!(
        "https://localhost:{}/secret",
        server.address.port()
    ));
    assert_eq!(
        test(&target).await.unwrap_err(),
        "no encrypted connection to localhost: its certificate is from nobody whom this machine trusts"
    );
    assert_eq!(server.more(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_delays_neither_the_sender_nor_another_target() {
    let (release, released) = mpsc::channel();
    let stuck = Server::new(move |nth| {
        if nth == 0 {
            let _ = released.recv_timeout(PATIENT);
        }
        FINE
    });
    let other = Server::new(|_| FINE);
    let targets = vec![hasty(to(stuck.url("/")), 60_000, 0), to(other.url("/"))];
    let mut notifier = notifier(targets, Path::new("/"));
    notifier.send(&scale(0));
    stuck.next();
    let mut slowest = Duration::ZERO;
    for number in 1..=300 {
        let begun = now();
        notifier.send(&scale(number));
        slowest = slowest.max(begun.elapsed());
        // The other one hears of it while the first one hangs.
        if number <= 10 {
            assert_eq!(other.next().json()["to"], number - 1);
        }
    }
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    let counts = &notifier.counts()[0];
    assert_eq!((counts.sent, counts.dropped), (0, 44));
    release.send(()).unwrap();
    // Then it hears of the oldest that is left, and how many are missing.
    let next = stuck.next().json();
    assert_eq!((&next["to"], &next["dropped"]), (&45.into(), &44.into()));
    assert!(stuck.next().json().get("dropped").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_given_up_is_told_with_the_next_one_that_arrives() {
    let server = Server::new(|nth| match nth {
        0 | 1 => Reply::Hang,
        _ => FINE,
    });
    let target = hasty(to(server.url("/")), 100, 0);
    let mut notifier = notifier(vec![target], Path::new("/"));
    for to in [3, 4, 5, 6] {
        notifier.send(&scale(to));
    }
    let missing = [3, 4, 5, 6].map(|_| server.next().json()["dropped"].as_u64());
    assert_eq!(missing, [None, Some(1), Some(2), None]);
    counted(&notifier.tally(), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_settings_hold_from_the_next_note_on_and_what_waits_is_still_told() {
    let (first, second) = (Server::new(|_| FINE), Server::new(|_| FINE));
    let (change, settings) = watch::channel(vec![to(first.url("/"))]);
    let mut notifier = Notifier::new("shop", "/", settings);
    notifier.send(&scale(3));
    change.send_replace(vec![to(second.url("/"))]);
    notifier.send(&scale(4));
    assert_eq!(second.next().json()["to"], 4);
    assert_eq!(first.next().json()["to"], 3);
    assert_eq!(notifier.counts()[0].label, second.url("/…"));
    change.send_replace(Vec::new());
    notifier.send(&scale(5));
    assert!(notifier.counts().iter().all(|one| one.label == GONE));
    notifier.close(PARTING).await;
    assert_eq!((first.more(), second.more()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_target_was_sent_still_counts_when_it_is_no_more() {
    let (release, released) = mpsc::channel();
    let slow = Server::new(move |nth| {
        if nth == 1 {
            let _ = released.recv_timeout(PATIENT);
        }
        FINE
    });
    let other = Server::new(|_| FINE);
    let sent = |tally: &DeliveryStats, kind| -> u64 {
        let counts = tally.counts().into_iter();
        let of = counts.filter(|one| one.kind == kind);
        of.map(|one| one.sent).sum()
    };
    let settle = |tally: &DeliveryStats, kind, wanted| {
        until(&format!("{wanted} by {kind}"), || {
            sent(tally, kind) == wanted
        });
    };
    let all = vec![to(slow.url("/")), command("exit 0", PATIENT)];
    let (change, settings) = watch::channel(all);
    let mut notifier = Notifier::new("shop", "/", settings);
    let tally = notifier.tally();
    notifier.send(&scale(3));
    settle(&tally, "webhook", 1);
    settle(&tally, "command", 1);
    notifier.send(&scale(4));
    settle(&tally, "command", 2);
    // The slow one has not taken the second one yet.
    change.send_replace(vec![to(other.url("/"))]);
    notifier.send(&scale(5));
    settle(&tally, "webhook", 2);
    assert_eq!(sent(&tally, "command"), 2);
    release.send(()).unwrap();
    settle(&tally, "webhook", 3);
    // Of those that are long gone nothing but the sums is kept.
    for number in 0..3 {
        change.send_replace(vec![to(other.url(&format!("/{number}")))]);
        notifier.send(&scale(6));
        settle(&tally, "webhook", 4 + number);
    }
    let counts = tally.counts();
    let labels: Vec<_> = counts.iter().map(|one| one.label.as_str()).collect();
    assert_eq!(labels, [&other.url("/…"), GONE, GONE]);
    assert_eq!(sent(&tally, "command"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_what_waits_goes_out_but_nobody_is_waited_for_for_ever() {
    let server = Server::new(|_| FINE);
    let mut prompt = notifier(vec![to(server.url("/"))], Path::new("/"));
    for to in 0..20 {
        prompt.send(&scale(to));
    }
    prompt.close(PATIENT).await;
    assert_eq!(server.more(), 20);

    let stuck = Server::new(|_| Reply::Hang);
    let mut slow = notifier(vec![to(stuck.url("/"))], Path::new("/"));
    slow.send(&scale(3));
    let begun = now();
    slow.close(Duration::from_millis(100)).await;
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_has_it_on_its_standard_input_and_in_its_environment() {
    let dir = tempfile::tempdir().unwrap();
    let script = "cat > got.tmp; echo $COMPOSE_SCALE_PROJECT $COMPOSE_SCALE_SERVICE $COMPOSE_SCALE_EVENT >> got.tmp; mv got.tmp got";
    let mut notifier = notifier(vec![command(script, PATIENT)], dir.path());
    notifier.send(&scale(3));
    counted(&notifier.tally(), (1, 0, 0));
    let got = fs::read_to_string(dir.path().join("got")).unwrap();
    let (json, environment) = got.split_once('\n').unwrap();
    let body: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!((&body["event"], &body["to"]), (&"scale".into(), &3.into()));
    assert_eq!(environment.trim(), "shop web scale");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_is_not_run_again_and_its_last_words_are_shown() {
    let script = "echo once >> runs; for i in 1 2 3 4; do echo line $i >&2; done; exit 3";
    let dir = tempfile::tempdir().unwrap();
    let mut notifier = notifier(vec![command(script, PATIENT)], dir.path());
    notifier.send(&scale(3));
    counted(&notifier.tally(), (0, 1, 0));
    assert_eq!(
        fs::read_to_string(dir.path().join("runs")).unwrap(),
        "once\n"
    );
    for (target, why) in [
        (
            command(
                "for i in 1 2 3 4; do echo line $i >&2; done; exit 3",
                PATIENT,
            ),
            "exit code 3: line 2 / line 3 / line 4",
        ),
        (command("kill -9 $$", PATIENT), "ended by signal 9"),
    ] {
        assert_eq!(test(&target).await.unwrap_err(), why);
    }
    // It need not read what it is told.
    assert_eq!(test(&command("exit 0", PATIENT)).await, Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_takes_too_long_is_ended_with_all_that_it_has_started() {
    let dir = tempfile::tempdir().unwrap();
    let script = format!(
        "setsid sleep 600 & echo $! > {0}/pid.tmp; mv {0}/pid.tmp {0}/pid; wait",
        dir.path().display()
    );
    let begun = now();
    let why = test(&command(&script, Duration::from_secs(1)))
        .await
        .unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(
        why,
        "it was not done after 1s, and was ended with all that it had started"
    );
    gone(&dir.path().join("pid"));
}

/// Waits until the process whose number is in a file has ended.
fn gone(pid: &Path) {
    let pid = fs::read_to_string(pid).unwrap();
    let status = Path::new("/proc").join(pid.trim()).join("stat");
    // One that has ended and is not waited for yet is a Z.
    until("its child is gone", || {
        fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "))
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_done_when_it_ends_whatever_it_leaves_in_the_background() {
    for (code, done) in [
        (0, Ok(())),
        (3, Err("exit code 3: the last words".to_owned())),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "setsid sleep 600 & echo $! > {}/pid; echo the last words >&2; exit {code}",
            dir.path().display()
        );
        let begun = now();
        assert_eq!(test(&command(&script, PATIENT)).await, done);
        assert!(begun.elapsed() < PATIENT);
        gone(&dir.path().join("pid"));
    }
}

/// `check --send-test` on a project whose `notify` is this, with these variables; what it prints.
fn check(entries: &str, variables: &[(&str, String)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let yaml = format!(
        "name: shop\nx-autoscale: {{notify: {entries}}}\nservices: {{web: {{image: web, expose: ['80'], x-autoscale: {{max: 2}}}}}}\n"
    );
    let path = dir.path().join("compose.yaml");
    fs::File::create_new(path)
        .unwrap()
        .write_all(yaml.as_bytes())
        .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .args(["check", "--send-test"])
        .current_dir(dir.path())
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .env("COMPOSE_SCALE_STATE", dir.path().join("state"))
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(!text.contains("secret"), "{text}");
    text.into_owned()
}

#[test]
fn check_sends_a_test_to_everybody_and_says_what_came_of_it() {
    let server = Server::new(|_| FINE);
    let url = server.url("/secret");
    let said = check(
        &format!(
            "[\"{url}\", {{webhook: \"{url}\", events: all, services: [web]}}, {{command: [cat]}}, {{command: [sh, -c, \"exit 3 # secret\"]}}]"
        ),
        &[],
    );
    let shown = server.url("/…");
    for line in [
        format!("ok       notify: webhook {shown} gets scale, trouble\n"),
        format!("ok       notify: webhook {shown} gets all events of scaling.log (of web)\n"),
        format!("ok       notify: webhook {shown} accepted the test\n"),
        "ok       notify: command cat accepted the test\n".into(),
        "error    notify: command sh did not accept the test: exit code 3 [notify-test-failed]\n"
            .into(),
    ] {
        assert!(said.contains(&line), "{line}{said}");
    }
    let body = server.next().json();
    assert_eq!(
        (&body["event"], &body["service"]),
        (&"test".into(), &"web".into())
    );
    assert_eq!(server.more(), 1);
}

#[test]
fn check_knows_what_cannot_work() {
    let host = nobody();
    let said = check(
        &format!(
            "[\"http://{host}/secret\", {{command: [no-such-program]}}, {{command: [./compose.yaml]}}]"
        ),
        &[],
    );
    for line in [
        "warning  notify: webhook http://HOST/…: its path, its headers and all notifications are sent in clear text",
        "warning  notify: webhook http://HOST/…: its host has no address on this machine",
        "error    notify: command no-such-program: there is no such program",
        "error    notify: command ./compose.yaml: it cannot be run [notify-program]\n         → chmod +x ",
        "error    notify: webhook http://HOST/… did not accept the test: the host `HOST` has no address",
    ] {
        let line = line.replace("HOST", &host);
        assert!(said.contains(&line), "{line}\n{said}");
    }
}

fn authority() -> (&'static str, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/notify/authority.pem");
    ("SSL_CERT_FILE", path.display().to_string())
}

#[test]
fn https_is_spoken_with_whom_the_machine_trusts() {
    let server = Server::encrypted(|_| FINE);
    let url = format!("https://localhost:{}/secret", server.address.port());
    let said = check(&format!("[\"{url}\"]"), &[authority()]);
    assert!(said.contains("/… accepted the test"), "{said}");
    assert_eq!(server.next().json()["event"], "test");
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    let proxy = Server::new(|_| FINE);
    let variable = ("HTTP_PROXY", format!("http://{}", proxy.address));
    let said = check("[\"http://hooks.invalid/secret\"]", &[variable]);
    assert!(said.contains("accepted the test"), "{said}");
    assert!(!said.contains("no address"), "{said}");
    let request = proxy.next();
    assert_eq!(request.line(), "POST http://hooks.invalid/secret HTTP/1.1");

    let (proxy, asked) = Server::tunnel(|_| FINE);
    let variables = [
        ("HTTPS_PROXY", format!("http://{}", proxy.address)),
        authority(),
    ];
    let said = check("[\"https://hooks.invalid/secret\"]", &variables);
    assert_eq!(
        asked.recv_timeout(PATIENT).unwrap(),
        "CONNECT hooks.invalid:443 HTTP/1.1"
    );
    // It is the host's certificate that counts, not the proxy's word.
    assert!(
        said.contains(
            "no encrypted connection to hooks.invalid: its certificate is for another name"
        ),
        "{said}"
    );
    assert_eq!(proxy.more(), 0);
}
