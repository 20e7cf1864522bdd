//! What a scenario shows: lines while it runs, and the report at its end.

use std::{
    collections::BTreeMap,
    fmt::{self, Write as _},
    time::Duration,
};

use super::{
    super::{engine::SimulatedHost, simulated_host::Violation, stats::Totals},
    ExpectationLog, lock,
};
use crate::{reconcile::ScalingEvent, units::Short};

/// Something that is to be seen in a scenario.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// What the scenario does.
    Deed(String),
    /// What the scenario says.
    Said(String),
    /// What the tool tells people.
    Note {
        /// The note.
        note: Box<ScalingEvent>,
        /// Whether there are several services.
        several: bool,
    },
    /// What the tool logs besides.
    Log(String),
    /// How a service is.
    State(ServiceCondition),
}

/// How a service is, and has been over the last while.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceCondition {
    /// Its name.
    pub service: String,
    /// The numbers of the replicas that nginx sends to and that can serve.
    pub serving: Vec<u32>,
    /// Containers that run.
    pub running: u32,
    /// Requests per second.
    pub rate: f64,
    /// Requests under way at once.
    pub in_flight: f64,
    /// How busy those that serve were, in percent.
    pub busy: f64,
    /// The time within which 95% of the requests were answered, in milliseconds.
    pub p95: Option<f64>,
    /// Requests without an answer.
    pub failed: f64,
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deed(text) => write!(f, "* {text}"),
            Self::Said(text) => write!(f, "> {text}"),
            Self::Note {
                note,
                several: true,
            } => write!(f, "{}: {}", note.service, note.what),
            Self::Note { note, .. } => note.what.fmt(f),
            Self::Log(text) => f.write_str(text),
            Self::State(state) => {
                let numbers: Vec<_> = state.serving.iter().map(u32::to_string).collect();
                write!(
                    f,
                    "= {}: {} run, nginx sends to [{}]; {}/s, {} in flight",
                    state.service,
                    state.running,
                    numbers.join(" "),
                    Short(state.rate),
                    Short(state.in_flight)
                )?;
                if let Some(p95) = state.p95 {
                    write!(f, ", p95 {p95:.0}ms")?;
                }
                if state.failed > 0.0 {
                    write!(f, ", {:.0} failed", state.failed)?;
                }
                Ok(())
            }
        }
    }
}

/// What came out of one.
#[derive(Debug, Clone, PartialEq)]
pub struct ScenarioReport {
    /// All of it, for people.
    pub text: String,
    /// The rules that were broken.
    pub broken: Vec<Violation>,
    /// How often a count went back within a short time.
    pub flaps: u32,
    /// All of each service.
    pub totals: BTreeMap<String, Totals>,
}

pub(super) fn report(host: &SimulatedHost, lines: &ExpectationLog) -> ScenarioReport {
    let mut world = host.world();
    world.catch_up();
    let mut text = String::new();
    for (at, line) in lock(&lines.all).iter() {
        if matches!(line, Expectation::Deed(text) if text.starts_with("say ")) {
            continue;
        }
        let seconds = at.as_secs();
        let tenths = at.subsec_millis() / 100;
        let _ = writeln!(
            text,
            "{:>4}:{:02}.{tenths}  {line}",
            seconds / 60,
            seconds % 60
        );
    }
    text.push('\n');
    for (name, service) in &world.services {
        let totals = &service.totals;
        let took = |share| totals.took.percentile(share).map_or(f64::NAN, |ms| ms);
        let _ = writeln!(
            text,
            "{name}: {:.0} requests, {:.0} failed ({:.0} timed out, {:.0} refused, {:.0} broken), p50 {:.0}ms, p95 {:.0}ms, {:.2} replica-hours",
            totals.came,
            totals.failed(),
            totals.timed_out,
            totals.refused,
            totals.broken,
            took(0.5),
            took(0.95),
            totals.replica_seconds / 3600.0
        );
    }
    let broken = world.broken().to_vec();
    let _ = writeln!(text, "flaps: {}", world.judge.flaps);
    if broken.is_empty() {
        text.push_str("rules: kept\n");
    }
    for one in &broken {
        let _ = writeln!(text, "rule broken: {one}");
    }
    ScenarioReport {
        text,
        broken,
        flaps: world.judge.flaps,
        totals: world
            .services
            .iter()
            .map(|(name, one)| (name.clone(), one.totals.clone()))
            .collect(),
    }
}

/// How a service is, over the last while.
pub(super) fn state(host: &SimulatedHost, service: &str, over: Duration) -> ServiceCondition {
    let mut world = host.world();
    let load = world.load(service, over).unwrap_or_default();
    let ready = world.ready_replicas(service);
    let of_it = &world.services[service];
    let routed = of_it.routed.keys().filter(|name| ready.contains(*name));
    let mut serving: Vec<u32> = routed
        .filter_map(|name| name.rsplit('-').next()?.parse().ok())
        .collect();
    serving.sort_unstable();
    let all = world.containers.values();
    let running = all.filter(|one| one.runs() && world.is_replica(one, service));
    let seconds = load.seconds.max(1e-9);
    // By Little's law, as far as they are not kept waiting.
    let works = f64::from(of_it.profile.concurrency) * serving.len() as f64;
    ServiceCondition {
        service: service.to_owned(),
        running: running.count() as u32,
        rate: load.came / seconds,
        in_flight: load.in_flight,
        busy: (load.in_flight / works.max(1.0) * 100.0).min(100.0),
        p95: load.percentile(0.95),
        failed: load.failed(),
        serving,
    }
}
