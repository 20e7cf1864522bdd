//! Every command against an Engine that is not well: a stand-in on a socket of the test's own. What a
//! user sees is compared whole.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use tempfile::TempDir;

mod support;

use support::proxy::{EngineProxy, Verdict};

const YAML: &str = "\
name: shop
services:
  web:
    image: web
    expose: [\"80\"]
    x-autoscale: {max: 4}
  nginx:
    image: nginx:1.30
";

const VERBS: [&[&str]; 5] = [
    &["ps"],
    &["scale", "web=2"],
    &["sync"],
    &["watch", "--once", "--plain"],
    &["check"],
];

/// The tool in this directory.
fn command(directory: &Path, host: &str, verb: &[&str]) -> Command {
    fs::File::create(directory.join("compose.yaml"))
        .and_then(|mut file| std::io::Write::write_all(&mut file, YAML.as_bytes()))
        .expect("a compose file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_compose-scale"));
    command
        .args(verb)
        .current_dir(directory)
        .env("DOCKER_HOST", host)
        .env("COMPOSE_SCALE_STATE", directory.join("state"))
        .env("NO_COLOR", "1")
        .env_remove("COMPOSE_FILE")
        .env_remove("COMPOSE_PROJECT_NAME")
        .env_remove("COMPOSE_PROFILES")
        .stdin(Stdio::null());
    command
}

/// Exit code and what was said, the place of the socket left out.
fn run(host: &str, verb: &[&str]) -> (i32, String) {
    let directory = TempDir::new().expect("a directory");
    let output = command(directory.path(), host, verb)
        .output()
        .expect("the tool runs");
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    if verb == ["check"] {
        let stdout = String::from_utf8_lossy(&output.stdout);
        let engine = stdout
            .lines()
            .skip_while(|line| !line.contains(" engine: "));
        for line in engine.take(3) {
            text.push_str(line);
            text.push('\n');
        }
    }
    let code = output.status.code().unwrap_or(-1);
    (code, shown(&text, host))
}

/// Without times, and without the place of the socket.
fn shown(text: &str, host: &str) -> String {
    let socket = Path::new(host.trim_start_matches("unix://"));
    let place = socket.parent().expect("a directory").display().to_string();
    // Log lines begin with the time: `2026-01-01 12:00:00  INFO …`.
    let lines = text.lines().map(|line| {
        let is_log = line.starts_with("20") && line.as_bytes().get(10) == Some(&b' ');
        if is_log {
            line[19..].trim_start()
        } else {
            line
        }
    });
    let text = lines.collect::<Vec<_>>().join("\n");
    text.replace(&place, "RUN")
}

/// A `watch` that is ended with the value.
struct Watch {
    child: Child,
    directory: TempDir,
    host: String,
}

impl Watch {
    fn start(host: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let log = fs::File::create(directory.path().join("log")).expect("a log file");
        let child = command(directory.path(), host, &["watch", "--plain"])
            .stderr(log)
            .spawn()
            .expect("the tool runs");
        Self {
            child,
            directory,
            host: host.to_owned(),
        }
    }

    fn said(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("log")).expect("a log");
        let log = shown(&log, &self.host);
        log.lines().map(ToOwned::to_owned).collect()
    }

    /// Asks until it is true.
    fn until(&mut self, what: &str, mut ask: impl FnMut(&Self) -> bool) {
        let deadline = support::deadline(Duration::from_secs(60));
        while !ask(self) {
            let runs = matches!(self.child.try_wait(), Ok(None));
            let late = !deadline.elapsed().is_zero();
            assert!(runs && !late, "{what}: {:#?}", self.said());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every verb at once: some wait for a deadline.
fn run_all(host: &str) -> String {
    let runs = VERBS.map(|verb| {
        let host = host.to_owned();
        thread::spawn(move || run(&host, verb))
    });
    let told = VERBS.iter().zip(runs).map(|(verb, run)| {
        let (code, said) = run.join().expect("a run");
        format!("$ compose-scale {}\n{said}\n[{code}]\n", verb.join(" "))
    });
    told.collect::<Vec<_>>().concat()
}

#[test]
fn an_engine_that_is_not_there() {
    let directory = TempDir::new().expect("a directory");
    let host = format!("unix://{}/docker.sock", directory.path().display());
    insta::assert_snapshot!(run_all(&host));
}

#[test]
fn an_engine_that_was_stopped() {
    let engine = EngineProxy::alone();
    engine.away(true);
    insta::assert_snapshot!(run_all(&engine.host()));
}

#[test]
fn an_engine_that_takes_connections_and_never_answers() {
    let engine = EngineProxy::alone();
    engine.decide(|_| Verdict::Hang);
    insta::assert_snapshot!(run_all(&engine.host()));
}

#[test]
fn an_engine_that_answers_500() {
    let engine = EngineProxy::alone();
    engine.decide(|_| Verdict::Answer(500, r#"{"message":"input/output error"}"#));
    insta::assert_snapshot!(run_all(&engine.host()));
}

#[test]
fn something_that_is_no_engine() {
    let engine = EngineProxy::alone();
    engine.decide(|_| Verdict::Answer(200, "<html>It works!</html>"));
    insta::assert_snapshot!(run_all(&engine.host()));
}

#[test]
fn an_engine_that_breaks_off() {
    let engine = EngineProxy::alone();
    engine.decide(|_| Verdict::Close);
    insta::assert_snapshot!(run_all(&engine.host()));
}

#[test]
fn an_engine_that_says_who_it_is_and_then_cannot_list() {
    let engine = EngineProxy::alone();
    // Each command meets an Engine of its own: on one they would keep each other from acting.
    let engines = AtomicU32::new(0);
    engine.decide(move |request| {
        if request.starts_with("GET /info") {
            let id = engines.fetch_add(1, Ordering::Relaxed);
            let info = format!(r#"{{"ID":"engine-{id}","NCPU":2,"MemTotal":1}}"#);
            return Verdict::Answer(200, info.leak());
        }
        empty(request, Some(r#"{"message":"no space left on device"}"#))
    });
    insta::assert_snapshot!(run_all(&engine.host()));
}

/// An Engine that runs nothing, or cannot say what it runs.
fn empty(request: &str, listing: Option<&'static str>) -> Verdict {
    let body = if request.starts_with("GET /version") {
        r#"{"Version":"28.0.1","ApiVersion":"1.48","MinAPIVersion":"1.24","Os":"linux","Arch":"amd64"}"#
    } else if request.starts_with("GET /info") {
        r#"{"NCPU":2,"MemTotal":1,"CgroupDriver":"systemd","CgroupVersion":"2"}"#
    } else if request.starts_with("GET /events") {
        return Verdict::Hang;
    } else if let Some(error) = listing {
        return Verdict::Answer(500, error);
    } else {
        "[]"
    };
    Verdict::Answer(200, body)
}

const BEGINS: &str = "INFO watching every 5s project=\"shop\" services=\"web\"";
/// The last of what is said of a project that has no container.
const NOTHING_THERE: [&str; 2] = [
    "WARN web has no container; run `docker compose up -d --no-recreate web` service=\"web\"",
    "ERROR nginx is not running; start it with `docker compose up -d --no-deps nginx` service=\"web\"",
];

#[test]
fn a_watch_whose_engine_nobody_runs_says_so_once_and_waits() {
    let engine = EngineProxy::alone();
    engine.decide(|request| empty(request, None));
    engine.away(true);
    let mut watch = Watch::start(&engine.host());
    watch.until("it says so", |w| w.said().len() >= 2);
    // It is tried every half a second.
    thread::sleep(Duration::from_secs(2));
    let away = "WARN the Docker Engine does not answer; nothing is done until it does error=\"cannot reach the Docker Engine at unix://RUN/docker.sock: nothing listens on the socket\"";
    assert_eq!(watch.said(), [BEGINS, away]);
    engine.away(false);
    watch.until("it is back", |w| w.said().len() >= 5);
    let back = "INFO the Docker Engine answers again";
    let [none, nginx] = NOTHING_THERE;
    assert_eq!(watch.said(), [BEGINS, away, back, none, nginx]);
}

/// What it answers, and what is said of that.
type Case = (fn(&str) -> Verdict, &'static str);

#[test]
fn a_watch_whose_engine_hangs_or_talks_nonsense_from_the_start_says_so_once_and_waits() {
    let told: [Case; 2] = [
        (|_| Verdict::Hang, "it takes connections and says nothing"),
        (
            // Of two that make no sense it depends which is read first.
            |request| {
                if request.starts_with("GET /events") {
                    Verdict::Hang
                } else {
                    Verdict::Answer(200, "<html>It works!</html>")
                }
            },
            "asking the Docker Engine about itself: the answer is not understood: expected value at line 1 column 1",
        ),
    ];
    let runs = told.map(|(verdict, why)| {
        thread::spawn(move || {
            let engine = EngineProxy::alone();
            engine.decide(verdict);
            let mut watch = Watch::start(&engine.host());
            watch.until("it says so", |w| w.said().len() >= 2);
            let failed = format!(
                "WARN the Docker Engine does not answer; nothing is done until it does error=\"{why}\""
            );
            // It is asked again all the time.
            thread::sleep(Duration::from_secs(6));
            assert_eq!(watch.said(), [BEGINS, &failed]);
            engine.decide(|request| empty(request, None));
            watch.until("it is over", |w| w.said().len() >= 5);
            let [none, nginx] = NOTHING_THERE;
            let over = "INFO the Docker Engine answers again";
            assert_eq!(watch.said(), [BEGINS, &failed, over, none, nginx]);
        })
    });
    for run in runs {
        run.join().expect("a watch");
    }
}
