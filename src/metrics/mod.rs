//! What Prometheus may know: counters that the driver keeps, and what a snapshot tells, as `OpenMetrics`.
//!
//! Every series has the label `project`. Labels have few values: names of services, of their metrics and
//! of kinds that this program knows, never of containers, errors or addresses.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use crate::{
    control::Snapshot,
    decide::Reason,
    reconcile::{EventKind, ScalingEvent},
    units::Timestamp,
};

mod engine;
mod server;
mod snapshot_source;

pub use engine::Metered;
pub use server::{HealthReport, Latest, bind, serve};

use snapshot_source::SnapshotSource;

/// Where the buckets of durations end, in seconds.
const BUCKETS: [f64; 12] = [
    0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0,
];
/// A replica that is neither served nor gone by then is not waited for any more.
const FORGOTTEN: Duration = Duration::from_secs(3600);

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ServiceLabels {
    service: String,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct MetricLabels {
    service: String,
    metric: String,
}

/// Declares labels of a service and one more.
macro_rules! with_service {
    ($($name:ident $label:ident),+) => {$(
        #[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
        struct $name {
            service: String,
            $label: &'static str,
        }
    )+};
}
with_service!(
    InState state,
    InDirection direction,
    WithReason reason,
    WithStage stage,
    WithResult result,
    WithKind kind
);

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabels {
    result: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct TargetLabels {
    target: &'static str,
    result: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
    result: &'static str,
}

type Value = Gauge<f64, std::sync::atomic::AtomicU64>;
type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

/// No label but the project's.
type ProjectLabels = Vec<(&'static str, &'static str)>;

/// How long a step took, from when it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimedStep {
    Running,
    Ready,
    Served,
}

impl TimedStep {
    const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ready => "ready",
            Self::Served => "served",
        }
    }
}

/// The meters of one run.
pub struct Meters {
    registry: Registry,
    decisions: Family<WithReason, Counter>,
    scale_events: Family<InDirection, Counter>,
    scale_duration: Durations<WithStage>,
    drain_duration: Durations<ServiceLabels>,
    drains: Family<WithResult, Counter>,
    replica_failures: Family<WithKind, Counter>,
    unserved: Family<ServiceLabels, Counter>,
    reloads: Family<ResultLabels, Counter>,
    engine_calls: Family<CallLabels, Counter>,
    notifications: Family<TargetLabels, Counter>,
    shown: SnapshotSource,
    /// When each replica on its way in was asked for, by name.
    asked: Mutex<BTreeMap<String, Timestamp>>,
    /// One reader at a time.
    reading: Mutex<()>,
}

impl fmt::Debug for Meters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

fn durations<L>() -> Durations<L>
where
    L: Clone + std::hash::Hash + Eq,
{
    Family::new_with_constructor(|| Histogram::new(BUCKETS))
}

impl Meters {
    /// Meters for a project; nothing has happened yet.
    pub fn new(project: &str) -> Self {
        let label = ("project".into(), project.to_owned().into());
        let mut registry =
            Registry::with_prefix_and_labels("compose_scale", std::iter::once(label));
        let all = &mut registry;
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The program that runs", version);
        let decisions = Family::default();
        all.register(
            "decisions",
            "Decisions, those to do nothing included, by their reason",
            decisions.clone(),
        );
        let scale_events = Family::default();
        all.register(
            "scale_events",
            "Changes of the wanted count",
            scale_events.clone(),
        );
        let scale_duration = durations();
        all.register(
            "scale_duration_seconds",
            "Time of a replica from being asked for until it runs, is ready, and gets requests",
            scale_duration.clone(),
        );
        let drain_duration = durations();
        all.register(
            "drain_duration_seconds",
            "Time from telling a replica to leave until it is gone",
            drain_duration.clone(),
        );
        let drains = Family::default();
        all.register(
            "drains",
            "Replicas that left, by whether their requests ended in time",
            drains.clone(),
        );
        let replica_failures = Family::default();
        all.register(
            "replica_failures",
            "Replicas that did not come up, or were lost",
            replica_failures.clone(),
        );
        let unserved = Family::default();
        all.register(
            "unserved_requests",
            "Requests for which nginx had no replica, by its log",
            unserved.clone(),
        );
        let reloads: Family<ResultLabels, Counter> = Family::default();
        all.register(
            "reloads",
            "Attempts to bring a new configuration of nginx into effect",
            reloads.clone(),
        );
        let engine_calls = Family::default();
        all.register(
            "engine_calls",
            "Calls of the Engine, by how they ended",
            engine_calls.clone(),
        );
        let notifications = Family::default();
        all.register(
            "notifications",
            "Notifications, by what became of them",
            notifications.clone(),
        );
        // A rate needs a beginning.
        for result in ["done", "failed"] {
            let _ = reloads.get_or_create(&ResultLabels { result });
        }
        let shown = SnapshotSource::register(all);
        Self {
            registry,
            decisions,
            scale_events,
            scale_duration,
            drain_duration,
            drains,
            replica_failures,
            unserved,
            reloads,
            engine_calls,
            notifications,
            shown,
            asked: Mutex::default(),
            reading: Mutex::default(),
        }
    }

    /// A decision was made.
    pub fn decided(&self, service: &str, reason: &'static str) {
        let service = service.to_owned();
        self.decisions
            .get_or_create(&WithReason { service, reason })
            .inc();
    }

    /// A replica was started, and its process runs.
    pub fn runs(&self, service: &str, replica: &str, now: Timestamp) {
        let asked = self.asked();
        let Some(since) = asked.get(replica) else {
            return;
        };
        self.took(service, TimedStep::Running, now.since(*since).as_secs_f64());
    }

    /// nginx was told, or could not be.
    pub fn reloaded(&self, done: bool) {
        let result = if done { "done" } else { "failed" };
        self.reloads.get_or_create(&ResultLabels { result }).inc();
    }

    /// nginx had no server for so many requests more.
    pub fn unserved(&self, service: &str, requests: u64) {
        let service = service.to_owned();
        self.unserved
            .get_or_create(&ServiceLabels { service })
            .inc_by(requests);
    }

    /// A call of the Engine has ended.
    pub fn called(&self, call: &'static str, result: &'static str) {
        self.engine_calls
            .get_or_create(&CallLabels { call, result })
            .inc();
    }

    /// So many notifications in all have been sent to a kind of target, were given up, or found no room.
    pub fn notified(&self, target: &'static str, result: &'static str, total: u64) {
        let counter = self
            .notifications
            .get_or_create(&TargetLabels { target, result });
        counter.inner().store(total, Ordering::Relaxed);
    }

    /// Something happened.
    pub fn noted(&self, note: &ScalingEvent) {
        let service = &note.service;
        match &note.what {
            EventKind::Scale { from, to, .. } => {
                let direction = if to > from { "up" } else { "down" };
                let service = service.clone();
                self.scale_events
                    .get_or_create(&InDirection { service, direction })
                    .inc();
            }
            EventKind::Creating { replica } | EventKind::Starting { replica } => {
                let mut asked = self.asked();
                asked.retain(|_, since| note.at.since(*since) < FORGOTTEN);
                asked.insert(replica.clone(), note.at);
            }
            EventKind::Ready { seconds, .. } => self.took(service, TimedStep::Ready, *seconds),
            EventKind::Routed { servers } => {
                for server in servers {
                    let since = self.asked().remove(server);
                    if let Some(since) = since {
                        let seconds = note.at.since(since).as_secs_f64();
                        self.took(service, TimedStep::Served, seconds);
                    }
                }
            }
            EventKind::DrainTimedOut { .. } => self.drained(service, "timed_out"),
            EventKind::Removed { replica, seconds } => {
                self.asked().remove(replica);
                let labels = ServiceLabels {
                    service: service.clone(),
                };
                self.drain_duration.get_or_create(&labels).observe(*seconds);
                self.drained(service, "finished");
            }
            EventKind::Failed { replica, .. } => {
                self.asked().remove(replica);
                self.failed(service, "start");
            }
            EventKind::Died { oom: true, .. } => self.failed(service, "oom"),
            EventKind::Died { .. } => self.failed(service, "died"),
            EventKind::Lost { .. } => self.failed(service, "lost"),
            _ => {}
        }
    }

    fn asked(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Timestamp>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, service: &str, stage: TimedStep, seconds: f64) {
        let labels = WithStage {
            service: service.to_owned(),
            stage: stage.word(),
        };
        self.scale_duration.get_or_create(&labels).observe(seconds);
    }

    fn drained(&self, service: &str, result: &'static str) {
        let service = service.to_owned();
        self.drains
            .get_or_create(&WithResult { service, result })
            .inc();
    }

    fn failed(&self, service: &str, kind: &'static str) {
        let service = service.to_owned();
        self.replica_failures
            .get_or_create(&WithKind { service, kind })
            .inc();
    }

    /// All of it as `OpenMetrics` text. The snapshot is so old by now.
    pub fn page(&self, snapshot: Option<(&Snapshot, Duration)>) -> String {
        let _one = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((snapshot, age)) = snapshot {
            for service in &snapshot.services {
                self.begin(&service.service);
            }
            self.shown.take(snapshot, age);
        }
        let mut page = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut page, &self.registry);
        page
    }

    /// Counters of a service that is there begin at nothing: the first increase would be missed
    /// otherwise.
    fn begin(&self, service: &str) {
        self.unserved(service, 0);
        let service = || service.to_owned();
        for reason in Reason::ALL {
            let _ = self.decisions.get_or_create(&WithReason {
                service: service(),
                reason: reason.label(),
            });
        }
        for direction in ["up", "down"] {
            let _ = self.scale_events.get_or_create(&InDirection {
                service: service(),
                direction,
            });
        }
        for result in ["finished", "timed_out"] {
            let _ = self.drains.get_or_create(&WithResult {
                service: service(),
                result,
            });
        }
        for kind in ["start", "died", "oom", "lost"] {
            let _ = self.replica_failures.get_or_create(&WithKind {
                service: service(),
                kind,
            });
        }
    }
}
