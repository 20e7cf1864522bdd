//! The simulator and the product are one: what a real run has recorded leads, on the simulated host, to the
//! same decisions at the same times.

use std::{fs, thread, time::Duration};

use compose_scale::decide::{self, Input};
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::Exp1;
use rand_pcg::Pcg64;

mod support;

use support::{
    ComposeProject, real,
    stack::{Stack, new_nginx, now},
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

/// So long a request takes by itself, on average.
const SERVICE: f64 = 0.05;
/// Requests that a replica works on at once.
const WORKERS: u32 = 2;

/// The mean time of requests that come at random, each with a time of its own, in milliseconds.
fn measured(stack: &Stack, rate: f64, seconds: f64, seed: u64) -> f64 {
    let mut rng = Pcg64::seed_from_u64(seed);
    let begun = now();
    let took = thread::scope(|scope| {
        let mut requests = Vec::new();
        let mut at = 0.0;
        while at < seconds {
            at += rng.sample::<f64, _>(Exp1) / rate;
            let service = rng.sample::<f64, _>(Exp1) * SERVICE * 1000.0;
            let due = Duration::from_secs_f64(at);
            thread::sleep(due.saturating_sub(begun.elapsed()));
            requests.push(scope.spawn(move || {
                let sent = now();
                let answer = stack.get(&format!("/slow?ms={service:.0}"));
                assert_eq!(answer.map(|(status, _)| status), Some(200));
                sent.elapsed().as_secs_f64() * 1000.0
            }));
        }
        let took = requests
            .into_iter()
            .map(|one| one.join().expect("an answer"));
        took.collect::<Vec<_>>()
    });
    took.iter().sum::<f64>() / took.len() as f64
}

/// The same by the simulator, for long enough that chance does not count.
fn simulated(stack: &Stack, rate: f64) -> f64 {
    let service = format!("{}ms", SERVICE * 1000.0);
    let ran = stack.must(&[
        "simulate",
        "--load",
        &format!("steady:{rate}"),
        "--for",
        "1h",
        "--service-time",
        &service,
        "--concurrency",
        &WORKERS.to_string(),
        "--format",
        "json",
    ]);
    let document: serde_json::Value = serde_json::from_str(&ran.stdout).expect("a document");
    document["policies"][0]["mean_ms"].as_f64().expect("a mean")
}

#[test]
fn requests_take_as_long_as_the_simulator_says_at_three_levels_of_load() {
    if !real() {
        return;
    }
    let stack = Stack::up(
        &new_nginx(),
        &format!(
            "    environment: {{WORKERS: \"{WORKERS}\"}}\n    \
             x-autoscale: {{min: 2, max: 2, metrics: [], balance: least_conn}}"
        ),
    );
    let watch = stack.watch(&[]);
    stack.until("two serve", LONG, |s| s.listed().len() == 2);
    // 80 in a second are possible.
    for (rate, seconds) in [(24.0, 15.0), (44.0, 15.0), (60.0, 20.0)] {
        let (real, model) = (measured(&stack, rate, seconds, 7), simulated(&stack, rate));
        let error = (model / real - 1.0) * 100.0;
        println!("{rate}/s: measured {real:.1} ms, simulated {model:.1} ms ({error:+.1}%)");
        assert!(
            error.abs() < 25.0,
            "{rate}/s: {real:.1} ms, not {model:.1} ms"
        );
    }
    drop(watch);
}
