//! A project that runs is found by its name from anywhere: its containers say where its files are.

use std::{fs, io::Write as _, process::Stdio};

mod support;

use support::{
    ComposeProject, real,
    stack::{Ran, Stack, new_nginx},
};
use tempfile::TempDir;

/// What `-p NAME` alone must bring back: two files, an env file, a directory that is neither's.
const COMPOSE: [&str; 6] = [
    "-f",
    "compose.yaml",
    "-f",
    "sub/more.yaml",
    "--env-file",
    "sub/up.env",
];

fn project() -> Stack {
    let yaml = format!(
        "\
services:
  web:
    image: ${{IMAGE}}
    expose: [\"80\"]
  nginx:
    image: {}
    volumes:
      - ./upstreams:/etc/nginx/upstreams:ro
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
    depends_on: [web]
  debug: {{image: BUSYBOX, profiles: [debug]}}
",
        new_nginx()
    );
    let project = ComposeProject::new(&yaml);
    project.write(
        "sub/more.yaml",
        "x-autoscale: {nginx: {upstreams: ./upstreams}}\nservices: {web: {x-autoscale: {min: 1, max: 3, metrics: []}}}\n",
    );
    project.write("sub/up.env", "IMAGE=WEB\n");
    project.write(
        "nginx.conf",
        "include /etc/nginx/upstreams/*.conf;\nserver { location / { proxy_pass http://web; include /etc/nginx/upstreams/web.location*; } }\n",
    );
    fs::create_dir_all(project.directory().join("upstreams")).expect("a directory");
    let stack = Stack::of(project);
    stack
        .project
        .compose(&[&COMPOSE[..], &["up", "-d"]].concat());
    stack
}

/// Runs the tool from a directory without a compose file.
fn elsewhere(stack: &Stack, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let empty = TempDir::new().expect("an empty directory");
    let output = stack
        .command(arguments)
        .current_dir(empty.path())
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the tool runs");
    Ran {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

fn must(stack: &Stack, arguments: &[&str], env: &[(&str, &str)]) -> Ran {
    let ran = elsewhere(stack, arguments, env);
    assert_eq!(ran.code(), 0, "{arguments:?}: {ran:?}");
    ran
}

#[test]
fn every_command_finds_a_running_project_by_its_name_alone() {
    if !real() {
        return;
    }
    let stack = project();
    let there = stack.project.directory().to_path_buf();
    let there = fs::canonicalize(&there).unwrap_or(there);

    let ran = must(&stack, &["config", "--format", "json"], &[]);
    let config: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(config["name"], stack.project.name.as_str());
    assert_eq!(config["working_dir"], there.to_str().expect("text"));
    assert_eq!(
        config["config_files"],
        serde_json::json!([there.join("compose.yaml"), there.join("sub/more.yaml")])
    );
    assert_eq!(config["services"]["web"]["image"], support::web_image());
    assert_eq!(config["services"]["web"]["policy"]["max"], 3);
    assert_eq!(config["disabled_services"], serde_json::json!(["debug"]));
    assert!(
        ran.stderr.contains("no compose file here; using "),
        "{}",
        ran.stderr
    );

    // The environment of this process still counts.
    let ran = must(
        &stack,
        &["config", "--format", "json"],
        &[("COMPOSE_PROFILES", "debug"), ("IMAGE", "mine")],
    );
    let config: serde_json::Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(config["services"]["debug"]["profiles"][0], "debug");
    assert_eq!(config["services"]["web"]["image"], "mine");

    must(&stack, &["scale", "web=2"], &[]);
    assert_eq!(stack.running().len(), 2);
    must(&stack, &["sync"], &[]);
    let ps = must(&stack, &["ps", "--format", "json"], &[]).stdout;
    let ps: serde_json::Value = serde_json::from_str(&ps).expect("JSON");
    assert_eq!(
        ps["services"].as_array().map(Vec::len),
        Some(2),
        "web and nginx: {ps}"
    );
    must(&stack, &["watch", "--once"], &[]);
    let check = must(&stack, &["check"], &[]).stdout;
    assert!(check.contains("0 errors"), "{check}");

    // Files that have moved are named, and nothing else is done.
    fs::rename(there.join("sub/more.yaml"), there.join("sub/moved.yaml")).expect("a rename");
    let ran = elsewhere(&stack, &["scale", "web=1"], &[]);
    assert_eq!(ran.code(), 78, "{ran:?}");
    let gone = there.join("sub/more.yaml");
    assert!(
        ran.stderr.contains(&format!("{} is gone", gone.display())),
        "{ran:?}"
    );
    assert_eq!(stack.running().len(), 2);
}

#[test]
fn a_project_whose_files_cannot_be_had_says_why() {
    if !real() {
        return;
    }
    let project = ComposeProject::new("services: {}\n");
    let stack = Stack::of(project);
    let ran = elsewhere(&stack, &["ps"], &[]);
    assert_eq!(ran.code(), 78, "{ran:?}");
    let none = format!("project {} has no container", stack.project.name);
    assert!(ran.stderr.contains(&none), "{ran:?}");

    // From standard input.
    let program = std::env::var("COMPOSE_SCALE_TEST_COMPOSE").expect("compose");
    let mut compose = std::process::Command::new(program)
        .args(["-p", &stack.project.name, "-f", "-", "up", "-d"])
        .current_dir(stack.project.directory())
        .env("COMPOSE_PROGRESS", "quiet")
        .stdin(Stdio::piped())
        .spawn()
        .expect("compose can be run");
    let yaml = format!(
        "services: {{web: {{image: {}, command: sleep 60, init: true}}}}\n",
        support::busybox()
    );
    let mut input = compose.stdin.take().expect("its input");
    input.write_all(yaml.as_bytes()).expect("its input");
    drop(input);
    assert!(compose.wait().expect("its end").success());
    let ran = elsewhere(&stack, &["ps"], &[]);
    assert_eq!(ran.code(), 78, "{ran:?}");
    assert!(
        ran.stderr.contains("was made from standard input"),
        "{ran:?}"
    );

    // No Engine, no answer.
    let ran = elsewhere(
        &stack,
        &["ps"],
        &[("DOCKER_HOST", "unix:///nowhere/docker.sock")],
    );
    assert_eq!(ran.code(), 69, "{ran:?}");
}
