//! `history` on logs as runs, crashes and people leave them, and the log lines for machines; without an
//! Engine.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Child, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use assert_cmd::Command;
use predicates::{prelude::PredicateBooleanExt as _, str::contains};
use serde_json::Value;
use tempfile::TempDir;

const FILE: &str = "\
name: shop
services:
  web:
    image: web
    expose: [\"80\"]
    x-autoscale: {min: 1, max: 4}
  db:
    image: db
";

/// A change with its input, what became of it, and some trouble.
const LOG: &str = r#"{"time":"2026-01-01T12:00:00Z","service":"web","event":"scale","from":1,"to":2,"reason":"above_target","message":"cpu 99.9% of 60% target: 1 → 2","metrics":{"cpu":99.93},"by":"policy","input":{"now":"2026-01-01T12:00:00Z"}}
{"time":"2026-01-01T12:00:01.5Z","service":"web","event":"scaled","from":1,"to":2,"seconds":1.5}
{"time":"2026-01-01T12:10:00Z","service":"web","event":"died","replica":"shop-web-2","exit_code":137,"oom":true}
{"time":"2026-01-01T12:20:00Z","service":"jobs","event":"scale","from":3,"to":1,"reason":"held","message":"asked for by hand","by":"hand"}
{"time":"2026-01-01T12:20:01Z","service":"jobs","event":"draining","replica":"shop-jobs-3","because":"it is the youngest"}
"#;

struct Shop(TempDir);

impl Shop {
    /// With this in its log.
    fn with(log: &str) -> Self {
        let shop = Self::without_log();
        fs::create_dir(shop.0.path().join("state")).expect("a directory");
        shop.add("scaling.log", log);
        shop
    }

    fn without_log() -> Self {
        let shop = Self(tempfile::tempdir().expect("a directory"));
        shop.has_file(FILE);
        shop
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("compose.yaml")
    }

    fn has_file(&self, text: &str) {
        let file = File::create(self.file());
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("it is written");
    }

    fn log(&self, name: &str) -> PathBuf {
        self.0.path().join("state").join(name)
    }

    fn add(&self, name: &str, text: &str) {
        let file = File::options()
            .append(true)
            .create(true)
            .open(self.log(name));
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .expect("it is written");
    }

    fn plain_tool(&self) -> std::process::Command {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_compose-scale"));
        command
            .current_dir(self.0.path())
            .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
            .env("COMPOSE_SCALE_STATE", self.0.path().join("state"))
            .env("TZ", "UTC")
            .env_remove("COMPOSE_FILE")
            .env_remove("COMPOSE_PROJECT_NAME")
            .env_remove("COMPOSE_PROFILES");
        command
    }

    fn tool(&self, arguments: &[&str]) -> Command {
        let mut command = self.plain_tool();
        command.args(arguments);
        Command::from_std(command)
    }

    fn history(&self, arguments: &[&str]) -> Command {
        self.tool(&[&["history"], arguments].concat())
    }

    /// The rows as JSON, in short: `SERVICE EVENT`.
    fn rows(&self, arguments: &[&str]) -> Vec<String> {
        let arguments = [arguments, &["--format", "json"]].concat();
        let output = self.history(&arguments).assert().success();
        let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
        text.lines().map(short).collect()
    }
}

fn short(row: &str) -> String {
    let row: Value = serde_json::from_str(row).expect("JSON");
    let word = |name: &str| row[name].as_str().expect("a word").to_owned();
    format!("{} {}", word("service"), word("event"))
}

#[test]
fn a_change_is_a_row_with_its_end_and_trouble_is_one_too() {
    let shop = Shop::with(LOG);
    let expected = concat!(
        " TIME (UTC)           SERVICE  EVENT   REASON        BY      METRICS   TOOK  MESSAGE\n",
        " 2026-01-01 12:00:00  web      1 → 2   above_target  policy  cpu 99.9  1.5s  cpu 99.9% of 60% target: 1 → 2\n",
        " 2026-01-01 12:10:00  web      ! died  -             -       -         -     shop-web-2 died with exit code 137 (out of memory)\n",
        " 2026-01-01 12:20:00  jobs     3 → 1   held          hand    -         -     asked for by hand\n",
    );
    shop.history(&[])
        .assert()
        .success()
        .stdout(expected)
        .stderr("");
    let output = shop.history(&["--format", "json", "--last", "1"]).assert();
    let row: Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    let expected = serde_json::json!({
        "version": 1, "time": "2026-01-01T12:20:00Z", "service": "jobs", "event": "scale",
        "from": 3, "to": 1, "reason": "held", "by": "hand", "metrics": {}, "seconds": null,
        "message": "asked for by hand",
    });
    assert_eq!(row, expected);
}

#[test]
fn the_document_is_described_key_by_key() {
    let shop = Shop::with(LOG);
    let output = shop
        .history(&["--format", "json", "--last", "1"])
        .ok_and_stdout();
    let row: Value = serde_json::from_str(&output).expect("JSON");
    let keys: Vec<_> = row.as_object().expect("an object").keys().collect();
    let page = include_str!("../docs/history.md");
    let table = page.split("| key | value |").nth(1).expect("a table");
    let table = table.split("\n\n").next().expect("its end");
    let described: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(described, keys);
}

#[test]
fn rows_are_chosen_by_time_service_and_kind() {
    let shop = Shop::with(LOG);
    let all = ["web scale", "web died", "jobs scale"];
    assert_eq!(shop.rows(&[]), all);
    assert_eq!(shop.rows(&["--last", "2"]), all[1..]);
    assert_eq!(shop.rows(&["--changes"]), ["web scale", "jobs scale"]);
    assert_eq!(shop.rows(&["--service", "web"]), all[..2]);
    assert_eq!(
        shop.rows(&["--service", "web", "--service", "jobs"]),
        all,
        "jobs is in the log only"
    );
    assert_eq!(shop.rows(&["--since", "2026-01-01T12:05:00Z"]), all[1..]);
    assert_eq!(
        shop.rows(&["--since", "2026-01-01T14:05:00+02:00"]),
        all[1..]
    );
    assert!(shop.rows(&["--since", "1h"]).is_empty());
    shop.history(&["--since", "2026-06-01T00:00:00Z", "--service", "web"])
        .assert()
        .success()
        .stdout("nothing is recorded of web since 2026-06-01 00:00:00 UTC\n");
    shop.history(&["--service", "db", "--changes"])
        .assert()
        .success()
        .stdout("no change is recorded of db\n");
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let shop = Shop::with(LOG);
    for (arguments, said) in [
        (
            &["--service", "wbe", "--service", "web"][..],
            "no such service: wbe; this project and its history have db, jobs, web",
        ),
        (
            &["--since", "yesterday"],
            "expected a duration like 2h or 1h30m, or a time like 2026-01-01T12:00:00Z",
        ),
        (&["--last", "0"], "0 is not in 1.."),
        (&["--chart", "--follow"], "cannot be used with"),
        (&["--chart", "--format", "json"], "cannot be used with"),
    ] {
        shop.history(arguments)
            .assert()
            .code(2)
            .stdout("")
            .stderr(contains(said));
    }
    fs::remove_file(shop.file()).expect("it goes");
    shop.history(&["--service", "db"])
        .assert()
        .code(2)
        .stderr(contains(
            "no such service: db; the compose file cannot be used; the history has jobs, web",
        ));
}

#[test]
fn a_project_that_was_never_scaled_has_no_history_and_that_is_no_failure() {
    let shop = Shop::without_log();
    shop.history(&[])
        .assert()
        .success()
        .stdout(contains("nothing is recorded yet: ").and(contains("state/scaling.log")))
        .stderr("");
    shop.history(&["--format", "json", "--service", "web"])
        .assert()
        .success()
        .stdout("");
    shop.history(&["--chart"])
        .assert()
        .success()
        .stdout(contains("nothing is recorded yet"));
    // And nothing was made.
    assert!(!shop.log("").exists());
}

#[test]
fn a_compose_file_that_is_broken_or_gone_hides_nothing() {
    let shop = Shop::with(LOG);
    let all = ["web scale", "web died", "jobs scale"];
    shop.has_file("name: shop\nservices: [\n");
    assert_eq!(shop.rows(&[]), all);
    fs::remove_file(shop.file()).expect("it goes");
    assert_eq!(shop.rows(&[]), all);
    // Where the name says where the log is.
    let named = |arguments: &[&str]| {
        let mut command = shop.history(arguments);
        command
            .env_remove("COMPOSE_SCALE_STATE")
            .env("XDG_STATE_HOME", shop.0.path().join("home"));
        command
    };
    named(&[])
        .assert()
        .code(78)
        .stderr(contains("name its file with -f"));
    let home = shop.0.path().join("home/compose-scale");
    fs::create_dir_all(&home).expect("a directory");
    fs::rename(shop.log(""), home.join("blog")).expect("it is moved");
    for arguments in [
        &["-p", "blog"][..],
        &["-f", "blog/compose.yaml"],
        &["--project-directory", "blog"],
    ] {
        named(arguments)
            .assert()
            .success()
            .stdout(contains("shop-web-2 died"));
    }
}

#[test]
fn damaged_lines_are_named_once_and_hide_no_others() {
    let shop = Shop::with(LOG);
    fs::rename(shop.log("scaling.log"), shop.log("scaling.log.1")).expect("it is moved");
    shop.add("scaling.log.1", "\0\0\0\n{}\n");
    shop.add("scaling.log", LOG);
    shop.add("scaling.log", &LOG[..70]);
    let output = shop.history(&["--format", "json"]).assert().success();
    let output = output.get_output();
    let rows = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(rows.lines().count(), 6, "{rows}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let state = shop.log("").display().to_string();
    assert_eq!(said.lines().count(), 1, "{said}");
    let named =
        "damaged lines are skipped: STATE/scaling.log.1 lines 6, 7; STATE/scaling.log line 6\n";
    assert!(said.replace(&state, "STATE/").ends_with(named), "{said}");
}

#[test]
fn a_chart_fits_a_terminal_and_says_who_when_and_how_many() {
    let shop = Shop::with(LOG);
    let output = shop.history(&["--chart", "--since", "2026-01-01T11:00:00Z"]);
    let output = output.ok_and_stdout();
    for part in [
        "web: 1 to 2 replicas, 2 now",
        "jobs: 1 to 3 replicas, 1 now",
    ] {
        assert!(output.contains(part), "{output}");
    }
    assert!(
        output.contains(" UTC\n") && output.contains("2 ┤"),
        "{output}"
    );
    assert!(output.lines().all(|line| line.chars().count() <= 80));
    let one = shop
        .history(&["--chart", "--service", "jobs"])
        .ok_and_stdout();
    assert!(!one.contains("web"), "{one}");
}

trait Stdout {
    fn ok_and_stdout(self) -> String;
}

impl Stdout for Command {
    fn ok_and_stdout(mut self) -> String {
        let output = self.assert().success();
        String::from_utf8(output.get_output().stdout.clone()).expect("text")
    }
}

/// `history --follow`, ended with the value.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn of(shop: &Shop, arguments: &[&str]) -> Self {
        let mut child = shop
            .plain_tool()
            .args(["history", "--follow", "--format", "json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let stdout = child.stdout.take().expect("a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { child, lines }
    }

    fn next(&self) -> String {
        let line = self.lines.recv_timeout(Duration::from_secs(30));
        short(&line.expect("a line in time"))
    }

    /// Ctrl-C; whether that was taken for an end like any other, and what came that nobody asked for.
    fn interrupt(mut self) -> (Option<i32>, Vec<String>) {
        let sent = std::process::Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status();
        assert!(sent.expect("kill runs").success());
        let code = self.child.wait().expect("it ends").code();
        (code, self.lines.iter().map(|line| short(&line)).collect())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_follower_prints_what_comes_across_rotations_and_ends_well() {
    let shop = Shop::with(LOG);
    let follower = Follower::of(&shop, &["--last", "1"]);
    assert_eq!(follower.next(), "jobs scale");
    shop.tool(&["pause", "web"]).assert().success();
    assert_eq!(follower.next(), "web paused");
    for _ in 0..2 {
        // As much as it takes until the next line finds the log too long.
        let full = " ".repeat(10 << 20) + "\n";
        shop.add("scaling.log", &full);
        shop.tool(&["resume", "web"]).assert().success();
        shop.tool(&["pause", "web"]).assert().success();
        assert_eq!(follower.next(), "web resumed");
        assert_eq!(follower.next(), "web paused");
    }
    assert!(shop.log("scaling.log.2").exists());
    shop.add(
        "scaling.log",
        r#"{"time":"2026-01-01T13:00:00Z","service":"jobs","event":"scaled","from":3,"to":1,"sec"#,
    );
    shop.add("scaling.log", "onds\":1}\n");
    assert_eq!(follower.next(), "jobs scaled");
    assert_eq!(follower.interrupt(), (Some(0), Vec::new()));
}

#[test]
fn a_follower_waits_for_a_log_that_is_yet_to_come() {
    let shop = Shop::without_log();
    let follower = Follower::of(&shop, &[]);
    shop.tool(&["pause", "web"]).assert().success();
    assert_eq!(follower.next(), "web paused");
    assert_eq!(follower.interrupt(), (Some(0), Vec::new()));
}

#[test]
fn a_line_that_does_not_fit_leaves_nothing_behind() {
    // 1000 bytes where files may have 1024: the limit that root has too.
    let filler = LOG.lines().nth(1).expect("a line").to_owned() + "\n";
    let times = 900 / filler.len();
    let mut log = filler.repeat(times);
    log.push_str(&" ".repeat(999 - log.len()));
    log.push('\n');
    let shop = Shop::with(&log);
    let binary = env!("CARGO_BIN_EXE_compose-scale");
    let mut shell = std::process::Command::new("bash");
    shell
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 1; exec \"$0\" pause web",
            binary,
        ])
        .current_dir(shop.0.path())
        .env("COMPOSE_SCALE_STATE", shop.0.path().join("state"));
    let ran = shell.output().expect("bash runs");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    assert!(
        said.contains("events are not recorded") && said.contains("File too large"),
        "{said}"
    );
    let left = fs::read_to_string(shop.log("scaling.log")).expect("a log");
    assert_eq!(left, log, "half a line");
    shop.tool(&["resume", "web"]).assert().success();
    let rows = shop.rows(&[]);
    assert_eq!(rows.last().expect("a row"), "web resumed");
    assert_eq!(rows.len(), times + 1);
}

#[test]
fn a_log_that_cannot_be_rotated_grows_and_that_is_said() {
    let shop = Shop::with(&" ".repeat(10 << 20));
    for number in 1..=3 {
        fs::create_dir_all(shop.log(&format!("scaling.log.{number}/in the way")))
            .expect("it is made");
    }
    shop.tool(&["pause", "web"])
        .assert()
        .success()
        .stderr(contains("scaling.log is not rotated and grows").and(contains("cannot rotate")));
    let log = fs::read_to_string(shop.log("scaling.log")).expect("a log");
    let last = log.lines().last().expect("a line");
    assert_eq!(short(last), "web paused");
}

/// Each line of standard error, which is JSON.
fn said(command: &mut Command, code: i32) -> Vec<Value> {
    let output = command.assert().code(code);
    let text = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    text.lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{text}"));
            for name in ["time", "level", "message"] {
                assert!(line[name].is_string(), "no {name}: {line}");
            }
            line
        })
        .collect()
}

#[test]
fn failures_are_json_too_where_the_log_is() {
    let shop = Shop::with(&LOG[..70]);
    let lines = said(
        shop.history(&["--service", "wbe"])
            .env("COMPOSE_SCALE_LOG_FORMAT", "json"),
        2,
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(
        (&lines[0]["level"], &lines[1]["level"]),
        (&"warn".into(), &"error".into())
    );
    assert_eq!(lines[1]["exit_code"], 2);

    let lines = said(&mut shop.tool(&["ps", "--log-format", "json"]), 69);
    let last = lines.last().expect("a line");
    assert_eq!(last["exit_code"], 69);
    assert!(
        last["hint"]
            .as_str()
            .expect("a hint")
            .contains("is Docker running?")
    );

    // A command line that makes no sense, and one that asks for help.
    for arguments in [
        &["dance", "--log-format", "json"][..],
        &["--log-format=json", "scale"],
    ] {
        let lines = said(&mut shop.tool(arguments), 2);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["exit_code"], 2);
    }
    assert!(said(&mut shop.tool(&["--log-format", "json", "--help"]), 0).is_empty());

    // The flag is before the environment, and text is as it ever was.
    shop.tool(&["ps", "--log-format", "text"])
        .env("COMPOSE_SCALE_LOG_FORMAT", "json")
        .assert()
        .code(69)
        .stderr(contains("compose-scale: is Docker running?"));
    shop.tool(&["ps"])
        .env("COMPOSE_SCALE_LOG_FORMAT", "yaml")
        .assert()
        .code(2)
        .stderr("compose-scale: COMPOSE_SCALE_LOG_FORMAT is `yaml`, expected text or json\n");
}
