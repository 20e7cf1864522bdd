//! What the machine holds, on a real Engine: a replica that does not fit is not made, and of two
//! services the one that matters more goes first.

use std::{fs, time::Duration};

mod support;

use serde_json::Value;
use support::{
    ComposeProject, real,
    stack::{Stack, Watch},
    text,
};

const LONG: Duration = Duration::from_secs(60);

/// Memory in MiB that programs may have.
fn available() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").expect("/proc");
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .expect("MemAvailable");
    let kib: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("a number");
    kib / 1024
}

/// Two services that both want a second replica of 3 GiB each, and the last keeps the given memory free.
fn file(reserve_mib: u64) -> String {
    let service = |priority: u32| {
        format!(
            "    image: WEB
    deploy: {{resources: {{limits: {{memory: 3g}}}}}}
    x-autoscale: {{max: 2, priority: {priority}, metrics: [memory: {{above: 0.001%, below: 0.0001%}}], initialization_period: 0s, ready: running}}"
        )
    };
    format!(
        "x-autoscale: {{interval: 1s, host: {{reserve_memory: {reserve_mib}m, reserve_cpu: none}}}}
services:
  api:
{}
  web:
{}
",
        service(0),
        service(7)
    )
}

/// A project with room for so many MiB, under watch.
fn with_room(room: u64) -> (Stack, Watch) {
    let reserve = available().saturating_sub(room);
    let stack = Stack::of(ComposeProject::new(&file(reserve)));
    stack.project.compose(&["up", "-d"]);
    let watch = stack.watch(&[]);
    (stack, watch)
}

fn service(stack: &Stack, name: &str) -> Value {
    let services = stack.ps()["services"].clone();
    let found = services.as_array().into_iter().flatten();
    let mut found = found.filter(|one| one["service"] == name);
    found.next().expect("the service").clone()
}

fn containers(stack: &Stack) -> usize {
    stack.project.inspect_all().len()
}

#[test]
fn what_does_not_fit_is_not_made_and_ps_has_the_numbers() {
    if !real() {
        return;
    }
    let (stack, _watch) = with_room(1000);
    for name in ["api", "web"] {
        stack.until("it is full", LONG, |s| {
            service(s, name)["decision"]["reason"] == "host_full"
        });
    }
    let decision = service(&stack, "web")["decision"].clone();
    let message = text(&decision["message"]);
    assert!(
        message.contains("asks for 2, but the host has memory for no more (")
            && message.contains("3GiB each"),
        "{message}"
    );
    assert_eq!(containers(&stack), 2);
    let said = stack.must(&["check"]).stdout;
    assert!(
        said.contains("`max` allows 1 more, but the machine has memory for none"),
        "{said}"
    );

    // Less to be kept free, and there they are: the running watch reads its file again.
    stack.project.write(
        "compose.yaml",
        &file(100).replace("WEB", &support::web_image()),
    );
    stack.until("both have two", LONG, |s| containers(s) == 4);
}

#[test]
fn the_service_that_matters_more_goes_first() {
    if !real() {
        return;
    }
    let (stack, _watch) = with_room(4500);
    stack.until("one has two", LONG, |s| containers(s) >= 3);
    let history = stack.history();
    let scaled = history.iter().find(|line| line["event"] == "scale");
    assert_eq!(scaled.expect("a change")["service"], "web", "{history:#?}");
    let kept = history
        .iter()
        .filter(|line| line["service"] == "api" && line["reason"] == "host_full")
        .any(|line| text(&line["message"]).contains("3GiB kept for web"));
    assert!(kept, "{history:#?}");
}
