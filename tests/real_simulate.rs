//! The simulator and the product are one: what a real run has recorded leads, on the simulated host, to the
//! same decisions at the same times.

use std::{fs, time::Duration};

use compose_scale::decide::{self, Input};

mod support;

use support::{
    ComposeProject, real,
    stack::{Stack, new_nginx},
};

const LONG: Duration = Duration::from_secs(60);
const INTERVAL: f64 = 2.0;

/// No window is a multiple of the interval: what is just within it in one run is just outside in another.
fn project() -> Stack {
    let nginx = new_nginx();
    let project = ComposeProject::new(&format!(
        "\
x-autoscale:
  interval: 2s
  nginx:
    service: nginx
    upstreams: ./upstreams
    logs: {{dir: ./logs, inside: /var/log/compose-scale}}
  host: {{reserve_memory: none, reserve_cpu: none}}
services:
  web:
    image: WEB
    expose: [\"80\"]
    environment: {{WORKERS: \"0\"}}
    x-autoscale:
      max: 8
      metrics: [{{requests: {{target: 10, window: 5s}}}}]
      behavior:
        scale_up: {{policies: [{{replicas: 2, per: 7s}}]}}
        scale_down: {{stabilization_window: 9s, policies: [{{replicas: 2, per: 7s}}]}}
  nginx:
    image: {nginx}
    ports: [\"127.0.0.1::80\"]
    volumes:
      - ./nginx.conf:/etc/nginx/conf.d/default.conf:ro
      - ./upstreams:/etc/nginx/upstreams:ro
      - ./logs:/var/log/compose-scale
    depends_on: [web]
"
    ));
    for directory in ["upstreams", "logs"] {
        fs::create_dir_all(project.directory().join(directory)).expect("a directory");
    }
    project.write(
        "nginx.conf",
        "include /etc/nginx/upstreams/*.conf;
server {
    listen 80;
    location / {
        proxy_pass http://web;
        include /etc/nginx/upstreams/web.location*;
    }
}
",
    );
    Stack::started(project)
}

#[test]
fn a_real_run_that_is_simulated_takes_the_same_decisions_at_the_same_times() {
    if !real() {
        return;
    }
    let stack = project();
    let recording = stack.project.directory().join("decisions.jsonl");
    let watch = stack.watch(&["--record", &recording.to_string_lossy()]);
    let background = stack.load(&[
        "--duration",
        "100s",
        "--class",
        "some:path=/slow?ms=50,connections=10,rps=8",
    ]);
    stack.until("one serves", LONG, |s| s.listed().len() == 1);
    let peak = stack.load(&[
        "--duration",
        "30s",
        "--class",
        "many:path=/slow?ms=50,connections=20,rps=42",
    ]);
    stack.until("five serve", LONG, |s| s.listed().len() == 5);
    peak.wait();
    stack.until("one is left", LONG, |s| s.listed().len() == 1);
    watch.terminate();
    drop(background);

    let text = fs::read_to_string(&recording).expect("the recording");
    let inputs: Vec<Input> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("an input"))
        .collect();
    let begins = inputs[0].now - Duration::from_secs_f64(INTERVAL);
    let real: Vec<(f64, u32, u32)> = inputs
        .iter()
        .map(|input| (input, decide::decide(input)))
        .filter(|(_, decision)| decision.desired != decision.current)
        .map(|(input, decision)| {
            let at = input.now.since(begins).as_secs_f64();
            (at, decision.current, decision.desired)
        })
        .collect();
    assert!(real.len() >= 4, "{real:?}");

    let recorded = recording.to_string_lossy();
    let simulated = stack.must(&["simulate", "--recording", &recorded, "--format", "json"]);
    let simulated: serde_json::Value =
        serde_json::from_str(&simulated.stdout).expect("a document in JSON");
    let changes = simulated["policies"][0]["changes"].as_array();
    let simulated: Vec<(f64, u32, u32)> = changes
        .expect("the changes")
        .iter()
        .map(|change| {
            let number = |key: &str| change[key].as_u64().expect("a number") as u32;
            let at = change["at"].as_f64().expect("a time");
            (at, number("from"), number("to"))
        })
        .collect();
    let counts = |all: &[(f64, u32, u32)]| -> Vec<(u32, u32)> {
        all.iter().map(|(_, from, to)| (*from, *to)).collect()
    };
    assert_eq!(counts(&real), counts(&simulated), "{real:?}\n{simulated:?}");
    // A decision is made every two seconds: it is the same one.
    for ((one, ..), (other, ..)) in real.iter().zip(&simulated) {
        assert!((one - other).abs() < INTERVAL, "{real:?}\n{simulated:?}");
    }
}
