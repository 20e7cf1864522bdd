//! How long the decisions of one tick take: 50 services of 20 replicas, each with the history of a busy
//! day behind it, on one core.
//!
//! ```sh
//! cargo bench --bench decide
//! ```

use std::time::Duration;

use compose_scale::{
    decide::{History, HostCapacity, Input, Observed, ObservedState, decide, explain_text, wish},
    policy,
    units::{Bytes, Span, Timestamp},
};
use serde_json::json;

const SERVICES: u32 = 50;
const REPLICAS: u32 = 20;

fn main() {
    divan::main();
}

/// What one service decides on: several metrics, rates both ways, a schedule and bursts, a stabilization
/// window of five minutes with a recommendation every five seconds in it.
#[expect(clippy::expect_used, reason = "a benchmark fails by panicking")]
fn input(number: u32) -> Input {
    let policy = json!({
        "min": 2, "max": 40,
        "metrics": [{"cpu": "60%"}, {"memory": "80%"}, {"custom": {"name": "jobs", "average_target": 10}}],
        "behavior": {
            "scale_up": {
                "policies": [{"percent": 100, "per": "15s"}, {"replicas": 4, "per": "15s"}],
                "burst": {"window": "6s", "threshold": "200%"},
            },
        },
        "schedule": [{"cron": "0 8 * * 1-5", "for": "10h", "min": 3, "timezone": "Europe/London"}],
    });
    let now = Timestamp::from_unix(1_767_268_800);
    let mut input = Input::new(now, policy::policy(&policy).expect("a policy"));
    input.service = Some(format!("service-{number}"));
    input.replicas = (1..=REPLICAS)
        .map(|replica| Observed {
            name: format!("shop-service-{number}-{replica}"),
            state: ObservedState::Running,
            ready: true,
            age: Span::seconds(600),
            metrics: [
                (
                    "cpu".to_owned(),
                    f64::from((replica * 7 + number * 3) % 100),
                ),
                ("memory".to_owned(), f64::from((replica * 5 + number) % 90)),
            ]
            .into(),
            throttled: Some(3.0),
            out_of_memory: None,
        })
        .collect();
    input
        .service_metrics
        .insert("jobs".into(), f64::from(number * 5));
    let mut history = History::default();
    for ago in (1..60).rev() {
        let at = now - Duration::from_secs(ago * 5);
        history.record_recommendation(at, REPLICAS);
        if ago < 4 {
            history.record_change(at, 1);
        }
    }
    input.history = history;
    input.host = Some(HostCapacity {
        free_memory: Some(Bytes(8 << 30)),
        replica_memory: Some(Bytes(256 << 20)),
        ..HostCapacity::default()
    });
    input
}

fn inputs() -> Vec<Input> {
    (0..SERVICES).map(input).collect()
}

/// All decisions of a tick.
#[divan::bench]
fn fifty_services(bencher: divan::Bencher<'_, '_>) {
    let inputs = inputs();
    bencher.bench_local(|| {
        for input in &inputs {
            let _ = divan::black_box(decide(divan::black_box(input)));
        }
    });
}

/// The same, and before it who would want how much of the machine.
#[divan::bench]
fn fifty_services_that_share_a_machine(bencher: divan::Bencher<'_, '_>) {
    let inputs = inputs();
    bencher.bench_local(|| {
        for input in &inputs {
            divan::black_box(wish(divan::black_box(input.clone())));
            let _ = divan::black_box(decide(divan::black_box(input)));
        }
    });
}

/// One decision, explained.
#[divan::bench]
fn one_explanation(bencher: divan::Bencher<'_, '_>) {
    let input = input(7);
    bencher.bench_local(|| explain_text(&input, &decide(&input)));
}
