//! The program without an Engine: arguments, messages, exit codes.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    path::Path,
    process::Stdio,
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
    tool(&empty)
        .arg("config")
        .assert()
        .code(78)
        .stderr(contains("compose.yaml").and(contains("docker-compose.yml")));
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
    for verb in ["watch", "scale", "ps", "sync", "config", "check"] {
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
