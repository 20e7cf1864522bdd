//! How long a day of the real driver takes on the simulated host, one decision every five seconds: a load that
//! rises and falls, with noise, on up to eight replicas.
//!
//! ```sh
//! cargo bench --bench simulate
//! ```

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use compose_scale::{
    policy,
    sim::{Experiment, LoadShape, MachineSpec, Profile, RecordedReadings},
};
use serde_json::json;

fn main() {
    divan::main();
}

#[expect(clippy::expect_used, reason = "a benchmark fails by panicking")]
fn day() -> Experiment {
    let value = json!({"min": 1, "max": 8, "metrics": [{"cpu": "60%"}]});
    Experiment {
        service: "web".into(),
        policy: policy::policy(&value).expect("a policy"),
        settings: policy::Settings::default(),
        load: LoadShape::daily(5.0, 120.0, Duration::ZERO).with_noise(0.15, 1),
        span: Duration::from_secs(86_400),
        profile: Profile::default(),
        replicas: 1,
        heard: RecordedReadings::default(),
        machine: MachineSpec::default(),
        starts_at_once: 4,
        begins: "2026-01-05T00:00:00Z".parse().expect("a time"),
        seed: 1,
    }
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn a_day_every_five_seconds() -> f64 {
    let outcome = day().play(&Arc::new(AtomicU64::new(0)));
    outcome.map_or(0.0, |outcome| outcome.measures.replica_hours)
}
