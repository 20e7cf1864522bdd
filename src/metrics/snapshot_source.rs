//! Series that tell what a snapshot tells.

use std::time::Duration;

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{InDirection, InState, KindLabels, MetricLabels, ProjectLabels, ServiceLabels, Value};
use crate::{control::Snapshot, decide::Pause, reconcile::ServiceView};
/// What is taken from a snapshot.
pub(super) struct SnapshotSource {
    replicas: Family<InState, Gauge>,
    desired: Family<ServiceLabels, Gauge>,
    min: Family<ServiceLabels, Gauge>,
    max: Family<ServiceLabels, Gauge>,
    value: Family<MetricLabels, Value>,
    target: Family<MetricLabels, Value>,
    held: Family<ServiceLabels, Gauge>,
    paused: Family<InDirection, Gauge>,
    engine_up: Gauge,
    nginx_in_step: Family<ProjectLabels, Gauge>,
    troubles: Gauge,
    tick_age: Value,
    interval: Value,
    memory: Family<KindLabels, Value>,
    cpu: Family<KindLabels, Value>,
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl SnapshotSource {
    pub(super) fn register(all: &mut Registry) -> Self {
        /// Registers a metric and keeps it.
        fn keep<M: prometheus_client::registry::Metric + Clone + Default>(
            all: &mut Registry,
            name: &str,
            help: &str,
        ) -> M {
            let metric = M::default();
            all.register(name, help, metric.clone());
            metric
        }
        Self {
            replicas: keep(all, "replicas", "Replicas by what they are doing"),
            desired: keep(all, "desired_replicas", "Replicas wanted"),
            min: keep(all, "min_replicas", "The lower bound of the moment"),
            max: keep(all, "max_replicas", "The upper bound of the moment"),
            value: keep(
                all,
                "metric_value",
                "What load was decided on: percent, milliseconds, or the metric's own unit",
            ),
            target: keep(all, "metric_target", "What it is held against"),
            held: keep(all, "held", "Whether the count is held by hand"),
            paused: keep(
                all,
                "paused",
                "Whether load may not change the count this way",
            ),
            engine_up: keep(all, "engine_up", "Whether the Docker Engine answers"),
            nginx_in_step: keep(all, "nginx_in_step", "Whether nginx has what was decided"),
            troubles: keep(all, "troubles", "Things that stand in the way right now"),
            tick_age: keep(
                all,
                "last_tick_age_seconds",
                "Time since the loop came round last",
            ),
            interval: keep(all, "interval_seconds", "Time between two decisions"),
            memory: keep(
                all,
                "host_memory_bytes",
                "Memory of the machine, and the reserve",
            ),
            cpu: keep(
                all,
                "host_cpu_ratio",
                "Share of the machine's cores, from 0 to 1",
            ),
        }
    }

    pub(super) fn take(&self, snapshot: &Snapshot, age: Duration) {
        self.replicas.clear();
        self.desired.clear();
        self.min.clear();
        self.max.clear();
        self.value.clear();
        self.target.clear();
        self.held.clear();
        self.paused.clear();
        self.memory.clear();
        self.cpu.clear();
        self.nginx_in_step.clear();
        let known = snapshot.engine_away.is_none();
        for view in &snapshot.services {
            self.service(view, known);
        }
        if known {
            let in_step = i64::from(snapshot.in_step);
            self.nginx_in_step
                .get_or_create(&ProjectLabels::new())
                .set(in_step);
        }
        self.engine_up
            .set(i64::from(snapshot.engine_away.is_none()));
        self.troubles.set(number(snapshot.troubles.len()));
        self.interval.set(snapshot.interval.0.as_secs_f64());
        let ticked = snapshot.ticked.unwrap_or(snapshot.at);
        let since = snapshot.at.since(ticked) + age;
        self.tick_age.set(since.as_secs_f64());
        let Some(host) = &snapshot.host else {
            return;
        };
        let memory = |kind, bytes: u64| {
            self.memory
                .get_or_create(&KindLabels { kind })
                .set(bytes as f64);
        };
        memory("total", host.memory.0);
        memory("available", host.available.0);
        if let Some(reserve) = host.reserve_memory {
            memory("reserve", reserve.0);
        }
        let cpu = |kind, percent: f64| {
            self.cpu
                .get_or_create(&KindLabels { kind })
                .set(percent / 100.0);
        };
        if let Some(busy) = host.busy {
            cpu("idle", 100.0 - busy);
        }
        if let Some(reserve) = host.reserve_cpu {
            cpu("reserve", reserve);
        }
    }

    /// Of replicas and load nothing is told while the Engine is away: that nothing is known of them does
    /// not mean that there are none.
    fn service(&self, view: &ServiceView, known: bool) {
        let labels = ServiceLabels {
            service: view.service.clone(),
        };
        for state in ["serving", "starting", "draining", "failed"]
            .into_iter()
            .filter(|_| known)
        {
            let is_in = |word: &str| match word {
                "serving" | "starting" => word == state,
                "ready" => state == "starting",
                "draining" | "stopping" => state == "draining",
                _ => state == "failed",
            };
            let replicas = view.replicas.iter();
            let count = replicas.filter(|one| is_in(&one.phase)).count();
            let service = view.service.clone();
            self.replicas
                .get_or_create(&InState { service, state })
                .set(number(count));
        }
        let set = |of: &Family<ServiceLabels, Gauge>, value: Option<u32>| {
            if let Some(value) = value {
                of.get_or_create(&labels).set(i64::from(value));
            }
        };
        // Of a service that somebody stopped nothing is wanted.
        let desired = view.desired.filter(|_| view.standstill.is_none());
        set(&self.desired, desired);
        set(&self.min, view.min);
        set(&self.max, view.max);
        set(&self.held, Some(u32::from(view.hold.is_some())));
        for direction in ["up", "down"] {
            let paused = view.paused.is_some_and(|paused| match direction {
                "up" => paused.directions != Pause::Down,
                _ => paused.directions != Pause::Up,
            });
            let service = view.service.clone();
            self.paused
                .get_or_create(&InDirection { service, direction })
                .set(i64::from(paused));
        }
        for metric in &view.metrics {
            let labels = MetricLabels {
                service: view.service.clone(),
                metric: metric.metric.clone(),
            };
            if let Some(value) = metric.value.filter(|_| known) {
                self.value.get_or_create(&labels).set(value);
            }
            if let Some(target) = metric.target {
                self.target.get_or_create(&labels).set(target);
            }
        }
    }
}
