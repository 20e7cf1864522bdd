//! A service that has no replica left: it is made as it was, by compose itself, or of its file.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

mod support;

use compose_scale::compose_cli::ComposeVersion;
use compose_scale::files;
use serde_json::Value;
use support::{
    ComposeProject, api, compose_from, describe, real,
    stack::{Stack, new_nginx},
    text,
};

const LONG: Duration = Duration::from_secs(60);

/// What no file of the state directory may contain.
const SECRET: &str = "n0-one-may-read-this";

const SERVICE: &str = r#"
services:
  web:
    image: BUSYBOX
    command: [sleep, "1000"]
    stop_signal: SIGKILL
    environment: {TOKEN: "n0-one-may-read-this", GREETING: hello}
    env_file: [web.env]
    volumes: ["data:/data", "/anonymous"]
    networks: {front: {aliases: [shop]}, back: {}}
    x-autoscale: {max: 4, metrics: [], ready: running}
networks: {front: {}, back: {}}
volumes: {data: {}}
"#;

fn service() -> Stack {
    let project = ComposeProject::new(SERVICE);
    project.write("web.env", "FROM_FILE=yes\n");
    Stack::of(project)
}

fn remove(container: &Value) {
    let id = text(&container["Id"]);
    let (status, answer) = api::request("DELETE", &format!("/containers/{id}?force=1&v=1"), "");
    assert_eq!(status, 204, "{answer}");
}

fn remembered(stack: &Stack) -> String {
    fs::read_to_string(stack.state().join("templates/web.json")).unwrap_or_default()
}

/// Every byte below a directory.
fn everything_in(directory: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            all.extend(everything_in(&path));
        } else {
            all.extend(fs::read(&path).unwrap_or_default());
        }
    }
    all
}

#[test]
fn a_service_without_a_container_gets_one_of_its_file_by_compose_as_remembered_and_by_compose_again()
 {
    if !real() {
        return;
    }
    let stack = service();
    let project = &stack.project;

    // Nothing is remembered, and there is no compose: of the file.
    let path = tempfile::TempDir::new().expect("an empty directory");
    let ran = stack
        .command(&["scale", "web=1"])
        .env("PATH", path.path())
        .output()
        .expect("the tool runs");
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(
        ran.status.success()
            && said.contains("neither `docker compose` nor `docker-compose` is installed here"),
        "{said}"
    );
    // That is remembered too, and not used where compose can be asked for its hash.
    assert!(!remembered(&stack).is_empty());
    remove(&project.inspect("web", 1));

    // By compose; the second one is a clone.
    let ran = stack.must(&["scale", "web=2"]);
    assert!(ran.stderr.contains("--no-recreate"), "{}", ran.stderr);
    let made = [project.inspect("web", 1), project.inspect("web", 2)];
    let [first, second] = made.each_ref().map(describe::normalised);
    let differences = describe::differences(&second, &first);
    assert_eq!(differences, Vec::<String>::new());
    let before = project.ids();
    project.up_scaled(&[], &["web"], 2);
    assert_eq!(project.ids(), before, "compose changed something");

    // As remembered: the same in everything that compose looks at, and in everything else.
    assert!(!remembered(&stack).is_empty());
    made.iter().for_each(remove);
    let ran = stack.must(&["scale", "web=2"]);
    assert!(ran.stderr.contains("remembered"), "{}", ran.stderr);
    let again = describe::normalised(&project.inspect("web", 1));
    assert_eq!(
        describe::differences(&again, &first),
        Vec::<String>::new(),
        "made as remembered"
    );
    let before = project.ids();
    project.up_scaled(&[], &["web"], 2);
    assert_eq!(project.ids(), before, "compose changed something");
    let files = everything_in(&stack.state());
    let found = files
        .windows(SECRET.len())
        .any(|window| window == SECRET.as_bytes());
    assert!(
        !found,
        "a value of the environment is in the state directory"
    );

    // The file has changed since: compose again, with the file's value.
    for number in 1..=2 {
        remove(&project.inspect("web", number));
    }
    project.write("web.env", "FROM_FILE=changed\n");
    let ran = stack.must(&["scale", "web=1"]);
    assert!(ran.stderr.contains("--no-recreate"), "{}", ran.stderr);
    let env = project.inspect("web", 1)["Config"]["Env"].to_string();
    assert!(env.contains("FROM_FILE=changed"), "{env}");

    // A volume that is gone would be made by the Engine without compose's labels: compose makes it.
    remove(&project.inspect("web", 1));
    let volume = format!("{}_data", project.name);
    assert_eq!(
        api::request("DELETE", &format!("/volumes/{volume}"), "").0,
        204
    );
    let ran = stack.must(&["scale", "web=1"]);
    assert!(ran.stderr.contains("--no-recreate"), "{}", ran.stderr);
    let labels = &api::get(&format!("/volumes/{volume}"))["Labels"];
    assert_eq!(labels["com.docker.compose.project"], project.name.as_str());

    project.compose(&["down", "-v"]);
    assert_eq!(project.leftovers(), Vec::<String>::new());
}

#[test]
fn what_compose_makes_with_another_hash_than_it_prints_is_told() {
    if !real() || !compose_from(ComposeVersion(2, 30, 2), "hash that can be computed") {
        return;
    }
    let stack = service();
    // A compose that prints another project than the one it makes.
    let programs = tempfile::tempdir().expect("a directory");
    let docker = programs.path().join("docker");
    let path = std::env::var("PATH").expect("a PATH");
    let program = format!(
        "#!/bin/sh\nPATH='{path}'\ncase \" $* \" in\n*' --format json '*) docker \"$@\" | sed 's/hello/bye/' ;;\n\
         *) exec docker \"$@\" ;;\nesac\n"
    );
    files::replace(&docker, program.as_bytes())
        .and_then(|_| fs::set_permissions(&docker, fs::Permissions::from_mode(0o755)))
        .expect("a program");
    let scale = |path: &str| {
        let output = stack
            .command(&["scale", "web=1"])
            .env("PATH", path)
            .output()
            .expect("the tool runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let container = stack.project.inspect("web", 1);
        // Not as remembered, the next time.
        remove(&container);
        fs::remove_dir_all(stack.state().join("templates")).expect("what is remembered");
        said
    };
    let name = stack.project.container("web", 1);
    let told = format!(
        "compose made {name} with another configuration hash than its own `config` gives; the next `docker compose up -d` may recreate it"
    );
    let said = scale(&format!("{}:{path}", programs.path().display()));
    assert_eq!(said.matches(&told).count(), 1, "{said}");
    let said = scale(&path);
    assert!(!said.contains("another configuration hash"), "{said}");
}

#[test]
fn under_watch_a_lost_last_replica_comes_back_and_one_that_was_taken_down_does_not() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        &new_nginx(),
        "    environment: {TOKEN: n0-one-may-read-this}
    x-autoscale: {min: 1, max: 4, metrics: []}",
    );
    let watch = stack.watch(&[]);
    stack.until("it serves", LONG, |s| {
        s.listed().len() == 1 && !remembered(s).is_empty()
    });
    let before = stack.project.inspect("web", 1);
    remove(&before);
    stack.until("another one serves", LONG, |s| {
        s.running().len() == 1 && s.listed().len() == 1 && s.get("/").is_some_and(|r| r.0 == 200)
    });
    let after = stack.project.inspect("web", 1);
    assert_ne!(before["Id"], after["Id"]);
    assert_eq!(
        describe::differences(
            &describe::normalised(&after),
            &describe::normalised(&before)
        ),
        Vec::<String>::new()
    );
    assert!(watch.log().contains("remembered"), "{}", watch.log());
    let ids = stack.project.ids();
    stack.project.up_scaled(&[], &["web"], 1);
    assert_eq!(stack.project.ids(), ids, "{}", watch.log());

    stack.project.compose(&["rm", "-sf", "web"]);
    stack.until("watch has noticed", LONG, |_| {
        ["web has no container; run", "no replica of web is running"]
            .iter()
            .any(|said| watch.log().contains(said))
    });
    // And nothing comes back: longer than the project must be quiet.
    let later = support::deadline(Duration::from_secs(5));
    stack.until("time has passed", LONG, |_| !later.elapsed().is_zero());
    assert_eq!(stack.running().len(), 0, "{}", watch.log());
}
