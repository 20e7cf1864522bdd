//! One policy against one load: what it would have cost, and what it would have been like.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use serde::Serialize;
use tokio::time::sleep;

use super::{
    engine::Pace,
    load_shape::LoadShape,
    profile::Profile,
    run::{Setting, Simulation, in_virtual_time},
    simulated_host::{App, MachineSpec, RecordedReadings},
    stats::StepRecord,
};
use crate::{
    policy::{Metric, Policy, Settings},
    reconcile::{EventKind, Initiator, ScalingEvent},
};

/// A count that goes back within this time has flapped.
const FLAP: Duration = Duration::from_secs(600);
/// A policy that goes back more often than so many times a day is taken only where no other will do: each
/// time replicas are made that live for minutes.
const CALM: f64 = 6.0;
/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(600);

/// What is tried.
#[derive(Debug, Clone)]
pub struct Experiment {
    /// The service.
    pub service: String,
    /// Its policy.
    pub policy: Policy,
    /// The project's settings.
    pub settings: Settings,
    /// Requests per second over time.
    pub load: LoadShape,
    /// For how long.
    pub span: Duration,
    /// What the app is like.
    pub profile: Profile,
    /// How many replicas there are at the beginning.
    pub replicas: u32,
    /// What was read of it, where that is to be told again.
    pub heard: RecordedReadings,
    /// The machine.
    pub machine: MachineSpec,
    /// How many replicas are started at once.
    pub starts_at_once: u32,
    /// The time of the wall clock at the beginning.
    pub begins: Timestamp,
    /// What all chance comes from.
    pub seed: u64,
}

/// A change of the count, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CountChange {
    /// Seconds since the beginning.
    pub at: f64,
    /// From this many.
    pub from: u32,
    /// To this many.
    pub to: u32,
    /// The reason's label.
    pub reason: String,
    /// The reason in words.
    pub message: String,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct ExperimentOutcome {
    /// In numbers.
    pub measures: Measures,
    /// Every step.
    pub records: Vec<StepRecord>,
    /// Every change of the count.
    pub changes: Vec<CountChange>,
    /// What else people would have been told.
    pub told: Vec<(Duration, String)>,
}

/// A trial in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Measures {
    /// How long it was, in hours.
    pub hours: f64,
    /// Replicas that ran, times hours.
    pub replica_hours: f64,
    /// The share of the time in which a metric was above its target, its tolerance included.
    pub over_target: f64,
    /// How long a request took on average, in milliseconds.
    pub mean_ms: Option<f64>,
    /// The time within which half of the requests were answered, in milliseconds.
    pub p50_ms: Option<f64>,
    /// The time within which 95% of the requests were answered, in milliseconds.
    pub p95_ms: Option<f64>,
    /// The time within which 99% of the requests were answered, in milliseconds.
    pub p99_ms: Option<f64>,
    /// Requests that came.
    pub requests: f64,
    /// Those that nginx gave up waiting for.
    pub timed_out: f64,
    /// Those that were turned away, because all queues were full or no replica was there.
    pub refused: f64,
    /// Those whose replica ended under them.
    pub broken: f64,
    /// The share of the time in which the replicas that served were busy for more than so much of it, by
    /// percent from 1 to 100.
    #[serde(skip)]
    pub busier: Vec<f64>,
    /// How busy the replicas that served were, on average, in percent.
    pub utilisation: f64,
    /// How often the count changed.
    pub scale_events: u32,
    /// How often it went back within ten minutes.
    pub flaps: u32,
    /// By how many replicas there were too few to do all that came, at worst.
    pub largest_shortage: u32,
    /// The most requests per second that the load was made of.
    pub peak: f64,
    /// The share of the time in which the host's cores were not enough.
    pub starved: f64,
    /// The most replicas that served.
    pub most: u32,
    /// The fewest that did.
    pub fewest: u32,
}

impl Measures {
    /// Whether the count goes to and fro more often than anybody likes to see.
    pub fn is_restless(&self) -> bool {
        f64::from(self.flaps) > (CALM * self.hours / 24.0).max(1.0)
    }

    /// The share of the requests that got no answer.
    pub fn failed(&self) -> f64 {
        let failed = self.timed_out + self.refused + self.broken;
        failed / self.requests.max(1.0)
    }

    /// The share of the time in which replicas were busier than this, in percent.
    pub fn busier_than(&self, percent: f64) -> f64 {
        let index = (percent.round() as usize).clamp(1, 100) - 1;
        self.busier.get(index).copied().unwrap_or(0.0)
    }
}

impl Experiment {
    /// Plays it. `done` counts the seconds that are over.
    pub fn play(&self, done: &Arc<AtomicU64>) -> std::io::Result<ExperimentOutcome> {
        // What the driver logs is of no use to whoever looks at the end.
        let nobody = tracing::subscriber::NoSubscriber::default();
        tracing::subscriber::with_default(nobody, || in_virtual_time(self.perform(done)))
    }

    fn setting(&self) -> Setting {
        let app = App {
            service: self.service.clone(),
            profile: self.profile.clone(),
            load: self.load.clone(),
            pick: Setting::pick(Some(&self.policy)),
            replicas: self.replicas,
            heard: self.heard.clone(),
        };
        Setting {
            settings: self.settings.clone(),
            apps: vec![(app, Some(self.policy.clone()))],
            machine: self.machine,
            starts_at_once: self.starts_at_once,
            pace: Pace::default(),
            begins: self.begins,
            grain: self.settings.interval.0.min(Duration::from_secs(5)),
            seed: self.seed,
            ..Setting::default()
        }
    }

    async fn perform(&self, done: &Arc<AtomicU64>) -> ExperimentOutcome {
        let mut simulation = Simulation::begin(&self.setting());
        let host = simulation.host.clone();
        host.world().keeps = true;
        let mut watch = simulation.watch();
        let mut notes = watch.take_notes();
        let (mut changes, mut told) = (Vec::new(), Vec::new());
        let mut at = Duration::ZERO;
        while at < self.span {
            let step = TELL.min(self.span.saturating_sub(at));
            sleep(step).await;
            at += step;
            done.fetch_add(step.as_secs(), Ordering::Relaxed);
            while let Ok(note) = notes.try_recv() {
                self.hear(note, &mut changes, &mut told);
            }
        }
        watch.stop().await;
        let mut world = host.world();
        world.catch_up();
        let (records, totals) = match world.services.get_mut(&self.service) {
            Some(service) => (
                std::mem::take(&mut service.records),
                std::mem::take(&mut service.totals),
            ),
            None => Default::default(),
        };
        let mut measures = self.measures(&records, &changes);
        measures.replica_hours = totals.replica_seconds / 3600.0;
        measures.mean_ms = totals.took.mean();
        measures.p50_ms = totals.took.percentile(0.5);
        measures.p95_ms = totals.took.percentile(0.95);
        measures.p99_ms = totals.took.percentile(0.99);
        measures.requests = totals.came.round();
        measures.starved = totals.starved_seconds / totals.seconds.max(1.0);
        measures.timed_out = totals.timed_out.round();
        measures.refused = totals.refused.round();
        measures.broken = totals.broken.round();
        ExperimentOutcome {
            measures,
            records,
            changes,
            told,
        }
    }

    fn hear(
        &self,
        note: ScalingEvent,
        changes: &mut Vec<CountChange>,
        told: &mut Vec<(Duration, String)>,
    ) {
        let at = note.at.0.duration_since(self.begins);
        let at = Duration::try_from(at).unwrap_or_default();
        match note.what {
            EventKind::Scale {
                from,
                to,
                reason,
                message,
                by: Initiator::Policy,
                ..
            } => changes.push(CountChange {
                at: at.as_secs_f64(),
                from,
                to,
                reason,
                message,
            }),
            what => {
                if matches!(
                    what.level(),
                    crate::reconcile::EventLevel::Warn | crate::reconcile::EventLevel::Error
                ) || matches!(what, EventKind::NotScaling { ref reason, .. } if !reason.is_calm())
                {
                    told.push((at, what.to_string()));
                }
            }
        }
    }

    fn measures(&self, records: &[StepRecord], changes: &[CountChange]) -> Measures {
        let (mut seconds, mut over, mut busy, mut served) = (0.0, 0.0, 0.0, 0.0);
        let mut busier = vec![0.0; 100];
        let (mut shortage, mut most, mut fewest) = (0, 0, u32::MAX);
        for record in records {
            seconds += record.seconds;
            let used = self.busy(record);
            busy += record.cores / self.profile.cores * record.seconds;
            served += f64::from(record.serving) * record.seconds;
            for (share, percent) in busier.iter_mut().zip(1..) {
                if used > f64::from(percent) {
                    *share += record.seconds;
                }
            }
            if self
                .policy
                .metrics
                .iter()
                .any(|one| self.is_over(one, record))
            {
                over += record.seconds;
            }
            let needed = (record.expected / self.profile.capacity()).ceil() as u32;
            shortage = shortage.max(needed.saturating_sub(record.serving));
            most = most.max(record.serving);
            fewest = fewest.min(record.serving);
        }
        let share = |part: f64| if seconds > 0.0 { part / seconds } else { 0.0 };
        let turns = changes.windows(2).filter(|pair| {
            let up = |one: &CountChange| one.to > one.from;
            up(&pair[0]) != up(&pair[1]) && pair[1].at - pair[0].at < FLAP.as_secs_f64()
        });
        Measures {
            hours: seconds / 3600.0,
            replica_hours: 0.0,
            over_target: share(over),
            mean_ms: None,
            p50_ms: None,
            p95_ms: None,
            p99_ms: None,
            requests: 0.0,
            timed_out: 0.0,
            refused: 0.0,
            broken: 0.0,
            busier: busier.into_iter().map(share).collect(),
            utilisation: if served > 0.0 {
                busy / served * 100.0
            } else {
                0.0
            },
            scale_events: changes.len() as u32,
            flaps: turns.count() as u32,
            largest_shortage: shortage,
            peak: records.iter().map(|one| one.expected).fold(0.0, f64::max),
            starved: 0.0,
            most,
            fewest: fewest.min(most),
        }
    }

    /// How busy those that served were, in percent; with nobody there for what came, a hundred.
    pub fn busy(&self, record: &StepRecord) -> f64 {
        let capacity = f64::from(record.serving) * self.profile.cores;
        if capacity > 0.0 {
            (record.cores / capacity * 100.0).min(100.0)
        } else if record.rate > 0.0 {
            100.0
        } else {
            0.0
        }
    }

    /// Whether a metric was above what the policy leaves alone.
    fn is_over(&self, metric: &Metric, record: &StepRecord) -> bool {
        let each = |all: f64| all / f64::from(record.serving.max(1));
        let value = match metric.key() {
            "cpu" => Some(self.busy(record)),
            "requests" => Some(each(record.rate)),
            "in_flight" => Some(each(record.in_flight)),
            "latency" => record.p95,
            "errors" => Some(record.failed / (record.rate * record.seconds).max(1.0) * 100.0),
            // It is not simulated.
            _ => None,
        };
        let leeway = if metric.is_tolerant() {
            self.policy.tolerance.up
        } else {
            0.0
        };
        let ceiling = metric.ceiling().map(|ceiling| ceiling * (1.0 + leeway));
        value
            .zip(ceiling)
            .is_some_and(|(value, ceiling)| value > ceiling)
    }
}
