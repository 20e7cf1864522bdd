//! What has run out is said with the fix, and nothing is left of the attempt.

use std::net::TcpListener;

mod support;

use support::{ComposeProject, real, stack::Stack, text};

const RANGE: &str = r#"
services:
  web:
    image: BUSYBOX
    command: [sleep, "1000"]
    stop_signal: SIGKILL
    ports: ["PORT_0-PORT_2:80"]
    x-autoscale: {max: 6, metrics: [], ready: running}
  other: {image: BUSYBOX, command: [sleep, "1000"], stop_signal: SIGKILL, ports: ["PORT_0-PORT_2:81"]}
"#;

/// The containers in any state but running.
fn half_made(project: &ComposeProject) -> Vec<String> {
    let all = project.inspect_all();
    let stopped = all.iter().filter(|c| c["State"]["Running"] != true);
    stopped.map(|c| text(&c["Name"]).to_owned()).collect()
}

#[test]
fn a_range_of_ports_that_is_too_small_is_refused_beforehand_or_said_clearly() {
    if !real() {
        return;
    }
    let stack = Stack::of(ComposeProject::new(RANGE));
    stack.project.compose(&["up", "-d"]);
    let before = stack.project.untouched();

    let ran = stack.run(&["scale", "web=4"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(
        ran.stderr.contains("are enough for 3 replicas, not for 4"),
        "{}",
        ran.stderr
    );
    let ran = stack.run(&["check"]);
    let warning = "are enough for 3 replicas, not for 6";
    assert!(ran.stdout.contains(warning), "{}", ran.stdout);
    assert_eq!(stack.project.untouched(), before, "something was touched");

    // Another service has one of the three, so that there are two for this one.
    let ran = stack.run(&["scale", "web=3", "--hold", "1s"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(
        ran.stderr
            .contains("no host port of the published range is free; widen the range"),
        "{}",
        ran.stderr
    );
    assert_eq!(half_made(&stack.project), Vec::<String>::new());
    assert_eq!(stack.project.ids().len(), 3);
}

#[test]
fn a_host_port_that_another_process_has_is_named() {
    if !real() {
        return;
    }
    let yaml: Vec<_> = RANGE
        .lines()
        .filter(|line| !line.starts_with("  other"))
        .collect();
    let stack = Stack::of(ComposeProject::new(&yaml.join("\n")));
    let path = stack.project.directory().join("compose.yaml");
    let text = std::fs::read_to_string(path).expect("the file");
    let first: u16 = text
        .split_once("ports: [\"")
        .and_then(|(_, rest)| rest.split('-').next()?.parse().ok())
        .expect("the first port of the range");
    stack.project.compose(&["up", "-d"]);
    let taken: Vec<_> = (first..first + 3)
        .filter_map(|port| TcpListener::bind(("0.0.0.0", port)).ok())
        .collect();
    assert_eq!(taken.len(), 2);
    let ran = stack.run(&["scale", "web=2", "--hold", "1s"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    assert!(
        ran.stderr.contains(" is taken already; see whose it is"),
        "{}",
        ran.stderr
    );
    assert_eq!(half_made(&stack.project), Vec::<String>::new());
    assert_eq!(stack.project.ids().len(), 1);
}

#[test]
fn a_network_without_a_free_address_is_named_and_the_rest_serves_on() {
    if !real() {
        return;
    }
    let third = std::process::id() % 250;
    let project = ComposeProject::new(&format!(
        r#"
services:
  web:
    image: BUSYBOX
    command: [sleep, "1000"]
    stop_signal: SIGKILL
    networks: [small]
    x-autoscale: {{max: 9, metrics: [], ready: running}}
networks:
  small: {{ipam: {{config: [{{subnet: 10.213.{third}.0/29}}]}}}}
"#
    ));
    let stack = Stack::of(project);
    stack.project.compose(&["up", "-d"]);
    let network = format!("{}_small", stack.project.name);

    // Eight addresses: the network's own, the bridge's, the broadcast, five for containers.
    let ran = stack.run(&["scale", "web=6", "--hold", "5m"]);
    assert_eq!(ran.code(), 1, "{ran:?}");
    let said = format!("network {network} has no free address; give it a larger subnet");
    assert!(ran.stderr.contains(&said), "{}", ran.stderr);
    assert_eq!(half_made(&stack.project), Vec::<String>::new());
    assert_eq!(stack.project.ids().len(), 5);
}
