//! The program without an Engine: arguments, messages, exit codes.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::unix::{
        fs::PermissionsExt as _,
        net::{UnixDatagram, UnixListener},
    },
    path::Path,
    process::Stdio,
    time::Duration,
};

use assert_cmd::Command;
use predicates::{prelude::PredicateBooleanExt as _, str::contains};
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

fn directory(yaml: &str) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    write(&directory.path().join("compose.yaml"), yaml);
    directory
}

fn write(path: &Path, text: &str) {
    File::create(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .expect("a file");
}

/// The program in a directory, with an Engine that is not there.
fn tool(directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compose-scale"));
    command
        .current_dir(directory.path())
        .env("DOCKER_HOST", "unix:///nowhere/docker.sock")
        .env("COMPOSE_SCALE_STATE", directory.path().join("state"))
        .env("NO_COLOR", "1")
        .env_remove("COMPOSE_FILE")
        .env_remove("COMPOSE_PROJECT_NAME")
        .env_remove("COMPOSE_PROFILES");
    command
}

#[test]
fn a_directory_that_was_entered_through_a_link_has_its_name_as_for_compose() {
    let root = tempfile::tempdir().expect("a directory");
    let release = root.path().join("20260101");
    let link = root.path().join("current");
    std::fs::create_dir(&release).expect("a directory");
    std::os::unix::fs::symlink(&release, &link).expect("a link");
    write(
        &release.join("compose.yaml"),
        "services: {web: {image: web}}\n",
    );
    let named = |pwd: &Path, name: &str| {
        tool(&root)
            .current_dir(&link)
            .env("PWD", pwd)
            .arg("config")
            .assert()
            .success()
            .stdout(contains(format!("\nname: {name}\n")));
    };
    named(&link, "current");
    // Where it is another directory's, or none, the directory itself counts.
    for other in [root.path(), Path::new("."), Path::new("")] {
        named(other, "'20260101'");
    }
}

#[test]
fn a_check_makes_the_state_directory_for_its_owner_alone_and_leaves_nothing_in_it() {
    let shop = directory(FILE);
    let state = shop.path().join("a/state");
    tool(&shop)
        .env("COMPOSE_SCALE_STATE", &state)
        .arg("check")
        .assert()
        .code(1)
        .stdout(contains("history and state are kept in"));
    let mode = std::fs::metadata(&state).unwrap().permissions().mode();
    assert_eq!(format!("{:o}", mode & 0o7777), "700");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn what_a_check_finds_is_one_document_with_codes_and_places() {
    let shop = directory(
        "services:
  web:
    image: web
    container_name: site
    x-autoscale: {max: 3, port: 80}
",
    );
    let output = tool(&shop)
        .args(["check", "--format", "json"])
        .env("COMPOSE_SCALE_STATE", shop.path().join("state"))
        .assert()
        .code(1);
    let json: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(json["version"], 1);
    let findings = json["findings"].as_array().unwrap();
    let one = |code: &str| {
        let found = findings.iter().find(|one| one["code"] == code);
        found.unwrap_or_else(|| panic!("{code} is not in {json:#}"))
    };
    let name = one("container-name");
    assert_eq!(name["severity"], "error");
    assert_eq!(name["service"], "web");
    assert!(
        name["fix"]
            .as_str()
            .unwrap()
            .contains("remove `container_name`")
    );
    assert!(name["file"].as_str().unwrap().ends_with("/compose.yaml"));
    assert_eq!(name["line"], 4);
    assert_eq!(one("no-restart")["line"], 2);
    assert_eq!(one("engine-away")["line"], serde_json::Value::Null);
    assert!(!json["passed"].as_array().unwrap().is_empty());
    let text = tool(&shop)
        .arg("check")
        .env("COMPOSE_SCALE_STATE", shop.path().join("state"))
        .assert()
        .code(1);
    text.stdout(contains(
        " can belong to one container only [container-name]\n",
    ));
}

#[test]
fn directories_that_cannot_be_written_to_are_told() {
    let shop = directory(
        "x-autoscale: {nginx: {service: nginx, upstreams: /sys}}
services:
  web: {image: web, expose: [\"80\"], x-autoscale: {max: 4}}
  nginx: {image: nginx}
",
    );
    let output = tool(&shop)
        .arg("check")
        .env("COMPOSE_SCALE_STATE", "/proc/state")
        .assert()
        .code(1);
    let said = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    for code in [
        "state-not-writable",
        "upstreams-not-writable",
        "not-looked-at",
    ] {
        assert!(said.contains(&format!("[{code}]")), "{code}: {said}");
    }
    let output = tool(&shop)
        .arg("check")
        .env("COMPOSE_SCALE_STATE", shop.path().join("state"))
        .assert();
    let said = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    assert!(!said.contains("state-not-writable"), "{said}");
}

#[test]
fn init_and_check_say_the_same_of_the_same_data() {
    for (image, mount, why) in [
        ("postgres:17", "", "its image is postgres"),
        ("bitnami/redis", "data:/bitnami/redis", "its image is redis"),
        ("eclipse-mosquitto", "", "its image is eclipse-mosquitto"),
        ("memcached:1", "", "its image is memcached"),
        (
            "registry.example.com/store",
            "data:/var/lib/postgresql/data",
            "/var/lib/postgresql/data is where PostgreSQL keeps its data",
        ),
    ] {
        let yaml = |policy: &str| {
            let mount = if mount.is_empty() {
                String::new()
            } else {
                format!("\n    volumes: [\"{mount}\"]")
            };
            format!(
                "services:\n  db:\n    image: {image}\n    ports: [\"8080:80\"]{mount}{policy}\nvolumes: {{data: }}\n"
            )
        };
        let output = tool(&directory(&yaml("")))
            .args(["init", "--yes", "--service", "db"])
            .assert()
            .code(1);
        let refused = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
        assert!(refused.contains(why), "{why}: {refused}");
        let output = tool(&directory(&yaml("\n    x-autoscale: {max: 3}")))
            .arg("check")
            .assert()
            .code(1);
        let said = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
        let code = if mount.is_empty() {
            "[database]"
        } else {
            "[single-writer]"
        };
        let line = said.lines().find(|line| line.contains(why));
        assert!(
            line.is_some_and(|line| line.contains(code)),
            "{why}: {said}"
        );
    }
}

#[test]
fn config_prints_the_project_with_its_policies_filled_in() {
    let shop = directory(FILE);
    let output = tool(&shop)
        .args(["config", "--format", "json"])
        .assert()
        .success();
    let json: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["name"], "shop");
    let policy = &json["services"]["web"]["policy"];
    assert_eq!(policy["max"], 4);
    assert_eq!(
        policy["behavior"]["scale_down"]["stabilization_window"],
        "5m"
    );
    assert!(
        json["services"]["db"]
            .get("policy")
            .is_none_or(serde_json::Value::is_null)
    );
    tool(&shop)
        .arg("config")
        .assert()
        .success()
        .stdout(contains("name: shop"));
}

#[test]
fn config_for_nginx_needs_an_engine_and_a_place_and_is_text() {
    let shop = directory(FILE);
    tool(&shop)
        .args(["config", "--nginx"])
        .assert()
        .code(78)
        .stderr(contains("nginx was not found"));
    let shop = directory(&format!("{FILE}  nginx: {{image: nginx}}\n"));
    tool(&shop)
        .args(["config", "--nginx"])
        .assert()
        .code(69)
        .stdout("")
        .stderr(contains("/nowhere/docker.sock"));
    tool(&shop)
        .args(["config", "--nginx", "--format", "json"])
        .assert()
        .code(2);
}

#[test]
fn every_mistake_is_named_at_once_with_file_and_line_and_the_exit_code_is_78() {
    let shop = directory(
        "services:\n  web:\n    image: web\n    x-autoscale:\n      max: none\n      metrics: [{cpu: 60}]\n      shedule: []\n",
    );
    for verb in ["config", "check", "ps", "sync"] {
        tool(&shop).arg(verb).assert().code(78).stdout("").stderr(
            contains("compose.yaml:5: services.web.x-autoscale.max: found `none`")
                .and(contains(
                    "compose.yaml:6: services.web.x-autoscale.metrics[0].cpu",
                ))
                .and(contains(
                    "compose.yaml:7: services.web.x-autoscale.shedule: unknown key",
                )),
        );
    }
}

#[test]
fn without_a_compose_file_the_names_that_were_looked_for_are_told() {
    let empty = tempfile::tempdir().unwrap();
    tool(&empty).arg("config").assert().code(78).stderr(
        contains("compose.yaml")
            .and(contains("docker-compose.yml"))
            .and(contains(
                "name its file with -f, or name a project that runs with -p",
            )),
    );
}

#[test]
fn a_project_that_is_only_named_is_asked_for_at_the_engine() {
    let empty = tempfile::tempdir().unwrap();
    for verb in ["config", "check", "ps", "sync", "watch"] {
        tool(&empty)
            .args(["-p", "shop", verb])
            .assert()
            .code(69)
            .stdout("")
            .stderr(contains("/nowhere/docker.sock"));
    }
    tool(&empty)
        .args(["config"])
        .env("COMPOSE_PROJECT_NAME", "shop")
        .assert()
        .code(69);
}

#[test]
fn a_project_without_a_policy_has_nothing_to_watch_and_is_shown_how_to_add_one() {
    let shop = directory("services: {web: {image: web}}\n");
    tool(&shop)
        .arg("watch")
        .assert()
        .code(78)
        .stderr(contains("x-autoscale: {min: 1, max: 4"));
    tool(&shop)
        .arg("check")
        .assert()
        .code(1)
        .stdout(contains("there is nothing to watch"));
}

#[test]
fn an_engine_that_is_away_has_its_own_exit_code_and_a_hint() {
    let shop = directory(FILE);
    for arguments in [vec!["ps"], vec!["scale", "web=2"], vec!["watch", "--once"]] {
        tool(&shop)
            .args(&arguments)
            .assert()
            .code(69)
            .stderr(contains("/nowhere/docker.sock").and(contains("is Docker running?")));
    }
    tool(&shop)
        .arg("check")
        .assert()
        .code(1)
        .stdout(contains("cannot reach the Docker Engine"));
}

#[test]
fn what_makes_no_sense_is_a_usage_error() {
    let shop = directory(FILE);
    for (arguments, said) in [
        (vec!["scale"], "SERVICE=N"),
        (vec!["scale", "web"], "expected SERVICE=N"),
        (vec!["scale", "web=0"], "docker compose stop web"),
        (vec!["scale", "web=4294967295"], "at most 1000 replicas"),
        (vec!["scale", "web=1", "web=2"], "named twice"),
        (
            vec!["scale", "wbe=2"],
            "no such service: wbe; this project has web, db",
        ),
        (
            vec!["scale", "web=2", "--hold", "10"],
            "a duration with its unit",
        ),
        (
            vec!["scale", "web=2", "--no-wait"],
            "needs a running `compose-scale watch`",
        ),
        (vec!["pause"], "SERVICE"),
        (vec!["resume"], "SERVICE"),
        (
            vec!["pause", "web", "wbe"],
            "no such service: wbe; this project has web, db",
        ),
        (vec!["pause", "db"], "db has no policy, so it is not scaled"),
        (
            vec!["resume", "db"],
            "db has no policy, so it is not scaled",
        ),
        (
            vec!["pause", "web", "--for", "2"],
            "a duration with its unit",
        ),
        (
            vec!["pause", "web", "--for", "0s"],
            "expected a duration greater than zero",
        ),
        (vec!["fly"], "unrecognized subcommand"),
    ] {
        tool(&shop)
            .args(&arguments)
            .assert()
            .code(2)
            .stderr(contains(said));
    }
}

#[test]
fn a_service_that_cannot_have_a_second_replica_is_refused_before_the_engine_is_asked() {
    let shop =
        directory("services:\n  web: {image: web, container_name: site, ports: [\"8080:80\"]}\n");
    tool(&shop)
        .args(["scale", "web=2"])
        .assert()
        .code(1)
        .stderr(
            contains("container_name `site`")
                .and(contains("remove `container_name`"))
                .and(contains("host port 8080:80"))
                .and(contains("publish that port on the nginx service")),
        );
}

#[test]
fn a_reader_who_goes_away_is_no_error() {
    let shop = directory(FILE);
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .args(["config"])
        .current_dir(shop.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    assert_eq!(said, "");
}

#[test]
fn help_version_completions_and_manual_are_there() {
    let empty = tempfile::tempdir().unwrap();
    tool(&empty)
        .arg("--version")
        .assert()
        .success()
        .stdout(contains("compose-scale "));
    for verb in [
        "watch", "scale", "ps", "history", "pause", "resume", "sync", "config", "check",
    ] {
        tool(&empty)
            .arg("--help")
            .assert()
            .success()
            .stdout(contains(verb));
        tool(&empty).args([verb, "--help"]).assert().success();
    }
    for shell in ["bash", "zsh", "fish"] {
        tool(&empty)
            .args(["completions", shell])
            .assert()
            .success()
            .stdout(contains("compose-scale"));
    }
    tool(&empty)
        .arg("man")
        .assert()
        .success()
        .stdout(contains(".TH compose-scale"));
}

#[test]
fn the_project_is_named_as_in_compose() {
    let shop = directory(FILE);
    tool(&shop)
        .args(["-p", "other", "config"])
        .assert()
        .success()
        .stdout(contains("name: other"));
    tool(&shop)
        .args(["-p", "Not Valid", "config"])
        .assert()
        .code(78);
    write(
        &shop.path().join("more.yaml"),
        "services: {web: {x-autoscale: {max: 9}}}\n",
    );
    tool(&shop)
        .args(["-f", "compose.yaml", "-f", "more.yaml", "config"])
        .assert()
        .success()
        .stdout(contains("max: 9"));
    tool(&shop)
        .args(["-f", "-", "config"])
        .write_stdin("name: piped\nservices: {a: {image: b}}\n")
        .assert()
        .success()
        .stdout(contains("name: piped"));
}

/// A socket that takes connections and never answers: an Engine that is away for now.
fn silent_engine(directory: &TempDir) -> (UnixListener, String) {
    let path = directory.path().join("engine.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    (listener, format!("unix://{}", path.display()))
}

#[test]
fn a_service_manager_hears_that_watch_begins_lives_and_ends() {
    let shop = directory(FILE);
    let (_engine, host) = silent_engine(&shop);
    let heard = UnixDatagram::bind(shop.path().join("notify.sock")).expect("a socket");
    heard
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let mut watch = std::process::Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .args(["watch", "--plain"])
        .current_dir(shop.path())
        .env("DOCKER_HOST", host)
        .env("COMPOSE_SCALE_STATE", shop.path().join("state"))
        .env("NOTIFY_SOCKET", shop.path().join("notify.sock"))
        .env("WATCHDOG_USEC", "200000")
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let next = || {
        let mut buffer = [0; 128];
        let length = heard.recv(&mut buffer).expect("a message in time");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(next(), "READY=1\n");
    // The interval is five seconds: it is not the ticks that are heard.
    for _ in 0..3 {
        assert_eq!(next(), "WATCHDOG=1\n");
    }
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &watch.id().to_string()])
        .status();
    assert!(sent.expect("kill runs").success());
    while next() != "STOPPING=1\n" {}
    assert!(watch.wait().expect("it ends").success());
}

/// What is remembered of `web`'s pause.
fn remembered(directory: &TempDir) -> serde_json::Value {
    let text = std::fs::read(directory.path().join("state/state.json")).expect("a state");
    let state: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    state["services"]["web"]["paused"].clone()
}

/// The events in `scaling.log`, with who was behind them.
fn history(directory: &TempDir) -> Vec<String> {
    let text = std::fs::read_to_string(directory.path().join("state/scaling.log"));
    let lines = text.unwrap_or_default();
    let lines = lines.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        format!("{} {}", line["event"], line["by"]).replace('"', "")
    });
    lines.collect()
}

#[test]
fn without_a_watch_a_pause_is_kept_for_the_next_one_and_needs_no_engine() {
    let shop = directory(FILE);
    tool(&shop)
        .args(["pause", "web"])
        .assert()
        .success()
        .stdout("web: scaling is paused\n")
        .stderr("");
    let both = serde_json::json!({"directions": "both", "until": null});
    assert_eq!(remembered(&shop), both);
    tool(&shop)
        .args(["pause", "web", "web", "--up", "--for", "2h"])
        .assert()
        .success()
        .stdout(
            contains("web: scaling up is paused until 20")
                .and(contains(" UTC\n"))
                .and(predicates::str::is_match("(?s)web.*web").unwrap().not()),
        );
    assert_eq!(remembered(&shop)["directions"], "up");
    tool(&shop)
        .args(["pause", "web", "--up", "--down"])
        .assert()
        .success();
    assert_eq!(remembered(&shop), both);
    for (said, times) in [
        ("web: scaling is resumed\n", 1),
        ("web: scaling was not paused\n", 2),
    ] {
        for _ in 0..times {
            tool(&shop)
                .args(["resume", "web"])
                .assert()
                .success()
                .stdout(said)
                .stderr("");
        }
    }
    assert_eq!(remembered(&shop), serde_json::Value::Null);
    assert_eq!(
        history(&shop),
        ["paused hand", "paused hand", "paused hand", "resumed hand"]
    );
}

#[test]
fn a_pause_that_cannot_be_kept_is_an_error() {
    let shop = directory(FILE);
    std::fs::create_dir(shop.path().join("state")).expect("a directory");
    let state = shop.path().join("state/state.json");
    write(&state, r#"{"version":2,"services":{}}"#);
    tool(&shop)
        .args(["pause", "web"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("use the newer compose-scale"));
    std::fs::remove_file(&state).expect("it goes");
    std::fs::create_dir(&state).expect("a directory");
    tool(&shop)
        .args(["pause", "web"])
        .assert()
        .code(1)
        .stdout("")
        .stderr(contains("state.json"));
}

/// A running `watch` that waits for an Engine; ended with the value.
struct Watch(std::process::Child);

impl Watch {
    fn of(shop: &TempDir, host: &str, arguments: &[&str]) -> Self {
        let child = std::process::Command::new(env!("CARGO_BIN_EXE_compose-scale"))
            .args(["watch", "--plain"])
            .args(arguments)
            .current_dir(shop.path())
            .env("DOCKER_HOST", host)
            .env("COMPOSE_SCALE_STATE", shop.path().join("state"))
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let socket = shop.path().join("state/control.sock");
        let watch = Self(child);
        for _ in 0..1500 {
            if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
                return watch;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("nobody listens at {}", socket.display());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_running_watch_keeps_a_pause_before_it_answers_also_while_the_engine_is_away() {
    let shop = directory(FILE);
    let (_engine, host) = silent_engine(&shop);
    let paused = |shop: &TempDir| {
        let output = tool(shop)
            .args(["ps", "--format", "json"])
            .assert()
            .success();
        let json: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
        assert_eq!(json["watching"], true);
        json["services"][0]["paused"].clone()
    };
    let watch = Watch::of(&shop, &host, &[]);
    tool(&shop)
        .args(["pause", "web", "--down"])
        .assert()
        .success()
        .stdout("web: scaling down is paused\n");
    assert_eq!(paused(&shop)["directions"], "down");
    tool(&shop)
        .arg("ps")
        .assert()
        .success()
        .stdout(contains("scaling down is paused"));
    // kill -9, and the next one knows.
    drop(watch);
    assert_eq!(remembered(&shop)["directions"], "down");
    let watch = Watch::of(&shop, &host, &[]);
    assert_eq!(paused(&shop)["directions"], "down");
    // Files that are wrong are no reason either.
    write(
        &shop.path().join("compose.yaml"),
        "name: shop\nservices: [\n",
    );
    tool(&shop)
        .args(["resume", "web"])
        .assert()
        .success()
        .stdout("web: scaling is resumed\n")
        .stderr(contains("the compose file cannot be used"));
    tool(&shop)
        .args(["pause", "db"])
        .assert()
        .code(1)
        .stderr(contains("db has no policy, so it is not scaled"));
    assert_eq!(paused(&shop), serde_json::Value::Null);
    drop(watch);
    assert_eq!(remembered(&shop), serde_json::Value::Null);
}

#[test]
fn a_recording_is_there_before_the_first_decision_or_the_run_does_not_begin() {
    let shop = directory(FILE);
    let (_engine, host) = silent_engine(&shop);
    let file = shop.path().join("run.jsonl");
    let _watch = Watch::of(&shop, &host, &["--record", "run.jsonl"]);
    let metadata = std::fs::metadata(&file).expect("the file is there");
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions());
    assert_eq!((metadata.len(), mode & 0o777), (0, 0o600));
    for (path, why) in [
        ("nowhere/run.jsonl", "No such file or directory"),
        (".", "it is a directory instead of a regular file"),
    ] {
        tool(&shop)
            .env("COMPOSE_SCALE_STATE", shop.path().join("another"))
            .args(["watch", "--once", "--record", path])
            .assert()
            .code(1)
            .stderr(contains(format!(
                "cannot record decisions in {path}: {why}"
            )));
    }
}

#[test]
fn what_a_file_says_cannot_command_the_terminal() {
    let shop = directory(
        "services:\n  web:\n    image: web\n    \"a\\e]0;title\\a\\e[2Jb\": 1\n    x-autoscale: {max: \"\\e[31m\"}\n",
    );
    for arguments in [&["config"][..], &["check"], &["ps"], &["watch", "--once"]] {
        let output = tool(&shop).args(arguments).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(!said.contains(&0x1b) && !said.contains(&0x07));
        assert!(String::from_utf8_lossy(&said).contains("\\u{1b}[2J"));
    }
}

#[test]
fn every_command_has_a_manual_page() {
    let shop = directory(FILE);
    let pages = shop.path().join("man1");
    tool(&shop)
        .args(["man", "--directory"])
        .arg(&pages)
        .assert()
        .success();
    let mut names: Vec<_> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|page| page.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert!(names.contains(&"compose-scale.1".into()), "{names:?}");
    let one = tool(&shop).args(["man", "scale"]).assert().success();
    let written = std::fs::read(pages.join("compose-scale-scale.1")).unwrap();
    assert_eq!(one.get_output().stdout, written);
    let text = String::from_utf8(written).unwrap();
    assert!(
        text.contains("\\-\\-hold") && text.contains("\\-\\-file"),
        "{text}"
    );
    let main = tool(&shop).arg("man").assert().success();
    let main = String::from_utf8_lossy(&main.get_output().stdout).into_owned();
    for part in ["EXIT STATUS", "75", "DOCKER_HOST", "scaling.log"] {
        assert!(main.contains(part), "{part}: {main}");
    }
    tool(&shop)
        .args(["man", "dance"])
        .assert()
        .code(2)
        .stderr(contains("no command `dance`"));
}

#[test]
fn the_document_of_config_is_documented_key_by_key() {
    let shop = directory(FILE);
    let output = tool(&shop)
        .args(["config", "--format", "json"])
        .assert()
        .success();
    let json: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    let printed = [keys(&json), keys(&json["services"]["web"])].concat();
    let page = include_str!("../docs/config.md");
    let documented: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert_eq!(documented, printed);
}

#[test]
fn config_prints_no_value_of_an_environment_variable() {
    let shop = directory(
        "services:\n  web:\n    image: web\n    environment: {A: canary}\n    build: {context: ., args: {B: canary}}\n    post_start: [{command: [x], environment: [\"C=canary\"]}]\n    pre_stop: [{command: [x], environment: {D: canary}}]\n",
    );
    for format in ["yaml", "json"] {
        tool(&shop)
            .args(["config", "--format", format])
            .assert()
            .success()
            .stdout(contains("canary").not());
    }
}

/// The only service with a policy, and what is simulated of it in a moment.
fn simulate(directory: &TempDir, arguments: &[&str]) -> Command {
    let mut command = tool(directory);
    command.arg("simulate").args(arguments);
    command
}

const POLICY: &str = "\
name: shop
services:
  web:
    image: web
    expose: [\"80\"]
    x-autoscale: {min: 1, max: 8, metrics: [{cpu: 60%}]}
";

#[test]
fn policies_are_compared_on_the_same_load_and_the_same_seed_gives_the_same_numbers() {
    let shop = directory(POLICY);
    write(
        &shop.path().join("calm.yaml"),
        "x-autoscale:\n  min: 3\n  max: 8\n  metrics: [{requests: 20}]\n",
    );
    let arguments = [
        "--load",
        "ramp:5..90",
        "--for",
        "30m",
        "--policy",
        "calm.yaml",
        "--goal",
        "p95=2s",
        "--html",
        "report.html",
        "--format",
        "json",
    ];
    let run = || {
        let output = simulate(&shop, &arguments).assert().success();
        String::from_utf8(output.get_output().stdout.clone()).expect("text")
    };
    let text = run();
    assert_eq!(text, run());
    let document: serde_json::Value = serde_json::from_str(&text).expect("a document");
    assert_eq!(document["version"], 1);
    assert_eq!(document["seconds"], 1800.0);
    let [own, calm] = document["policies"]
        .as_array()
        .expect("policies")
        .as_slice()
    else {
        panic!("{document}");
    };
    assert_eq!(
        (&own["name"], &calm["name"]),
        (&"compose file".into(), &"calm.yaml".into())
    );
    let number = |of: &serde_json::Value, key: &str| of[key].as_f64().expect("a number");
    let came = |of| number(of, "requests");
    assert!((came(own) / came(calm) - 1.0).abs() < 0.02, "{document}");
    assert!(number(calm, "replica_hours") > number(own, "replica_hours"));
    let busy = |of| number(of, "utilisation");
    assert!(busy(calm) < busy(own), "{document}");
    let changes = own["changes"].as_array().expect("changes");
    let first = &changes[0];
    assert_eq!(
        (&first["from"], &first["reason"]),
        (&1.into(), &"above_target".into())
    );
    assert!(
        first["message"]
            .as_str()
            .is_some_and(|m| m.contains("of 60% target"))
    );

    let page = std::fs::read_to_string(shop.path().join("report.html")).expect("the page");
    for part in ["<svg", "Replicas", "calm.yaml", "of 60% target", "</html>"] {
        assert!(page.contains(part), "{part}");
    }
    // It stands by itself.
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
    simulate(&shop, &["--load", "steady:50", "--for", "5m"])
        .assert()
        .success()
        .stdout(contains("load  steady:50 over 5m, 14,").and(contains("compose file")));
}

#[test]
fn the_cheapest_policy_that_keeps_to_a_goal_is_found_and_can_be_pasted() {
    let shop = directory(POLICY);
    let load = ["--load", "steady:60", "--for", "10m", "--suggest"];
    let output = simulate(&shop, &load)
        .args(["--goal", "utilisation=75%", "--format", "json"])
        .assert()
        .success();
    let document: serde_json::Value =
        serde_json::from_slice(&output.get_output().stdout).expect("a document");
    let best = &document["suggestion"]["best"];
    assert_eq!(best["keeps_to_goal"], true, "{best}");
    // 60 a second are one and a half replicas: at 75% that is two, with room for chance three.
    let most = best["most"].as_u64().expect("a count");
    assert!((2..=3).contains(&most), "{best}");

    let output = simulate(&shop, &load)
        .args(["--goal", "p95=1s"])
        .assert()
        .success();
    let text = String::from_utf8_lossy(&output.get_output().stdout).into_owned();
    let (_, pasted) = text.split_once("into the service:\n\n").expect(&text);
    write(&shop.path().join("found.yaml"), pasted);
    simulate(
        &shop,
        &["--load", "steady:60", "--for", "5m", "--goal", "p95=1s"],
    )
    .args(["--policy", "found.yaml"])
    .assert()
    .success()
    .stdout(contains("found.yaml: meets p95=1000ms"));

    // A request alone takes longer.
    simulate(&shop, &load)
        .args(["--goal", "p95=10ms"])
        .assert()
        .code(1)
        .stdout(contains(
            "policies meets p95=10ms. A request takes 100ms without waiting",
        ));
}

#[test]
fn what_cannot_be_simulated_is_told_with_its_place() {
    let shop = directory(POLICY);
    write(
        &shop.path().join("trace.csv"),
        "time,requests_per_second\n0,5\n60,many\n",
    );
    write(
        &shop.path().join("bad.yaml"),
        "min: 1\nmax: 4\ntolerence: 0.2\n",
    );
    write(&shop.path().join("whole.yaml"), POLICY);
    write(&shop.path().join("empty.jsonl"), "");
    let custom =
        "min: 1\nmax: 4\nmetrics: [{custom: {name: jobs, command: [jobs], average_target: 5}}]\n";
    write(&shop.path().join("custom.yaml"), custom);
    for (arguments, code, expected) in [
        (
            vec![],
            2,
            "no load: expected --load SHAPE (like daily:5..100)",
        ),
        (vec!["--load", "daily"], 2, "expected a shape and its rates"),
        (
            vec!["--load", "steady:5", "--trace", "trace.csv"],
            2,
            "cannot be used with",
        ),
        (
            vec!["--trace", "trace.csv"],
            78,
            "trace.csv:3: found requests_per_second `many`",
        ),
        (
            vec!["--trace", "gone.csv"],
            1,
            "cannot read gone.csv: No such file",
        ),
        (
            vec!["--recording", "empty.jsonl"],
            1,
            "empty.jsonl: there is no decision in it",
        ),
        (
            vec!["--load", "steady:5", "--policy", "bad.yaml"],
            78,
            "bad.yaml:3: tolerence: unknown key; did you mean `tolerance`?",
        ),
        (
            vec!["--load", "steady:5", "--policy", "whole.yaml"],
            78,
            "this is a compose file, which --file reads",
        ),
        (
            vec!["--load", "steady:5", "--policy", "custom.yaml"],
            78,
            "its only metrics are custom ones, which have no value in a simulation",
        ),
        (
            vec!["--load", "steady:5", "--service", "db"],
            2,
            "no such service: db",
        ),
        (
            vec!["--load", "steady:5", "--goal", "fast"],
            2,
            "expected a goal like p95=300ms",
        ),
        (vec!["--load", "steady:5", "--suggest"], 2, "--goal"),
        (
            vec!["--load", "steady:5", "--for", "0s"],
            2,
            "more than zero",
        ),
        (
            vec!["--load", "steady:5", "--service-time", "0s"],
            2,
            "--service-time is 0s",
        ),
    ] {
        simulate(&shop, &arguments)
            .assert()
            .code(code)
            .stderr(contains(expected));
    }
    let none = tempfile::tempdir().expect("a directory");
    simulate(&none, &["--load", "steady:5"])
        .assert()
        .code(2)
        .stderr(contains(
            "without a compose file, name a policy with --policy FILE",
        ));
}

#[test]
fn the_demo_needs_no_docker_and_no_file_and_tells_its_story() {
    let none = tempfile::tempdir().expect("a directory");
    tool(&none)
        .args(["demo", "--speed", "10000"])
        .assert()
        .success()
        .stdout(
            contains("A link is shared")
                .and(contains("web  scaling: requests"))
                .and(contains("shop-web-3 died with exit code 1"))
                .and(contains("nginx refuses its configuration"))
                .and(contains("●●"))
                .and(contains("was stopped by someone else"))
                .and(contains("compose-scale check")),
        );
    assert!(
        std::fs::read_dir(none.path())
            .expect("the directory")
            .next()
            .is_none()
    );
}
