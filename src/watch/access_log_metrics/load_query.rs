//! A question to nginx's log: which numbers of a service, over which windows.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    policy::{Metric, Percentile, Policy},
    project::ContainerId,
    reconcile::Values,
    traffic::{RoutedReplica, TrafficLoad},
};

/// A configuration of nginx that was found more than once, from a look that began then to the last one,
/// in milliseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(in crate::watch) struct Configured {
    pub(super) configuration: u64,
    pub(super) since: u64,
    pub(super) until: u64,
    /// The longest that nginx waits for an answer by it.
    pub(super) patience: Duration,
}

/// A number of a load.
#[derive(Debug, Clone, Copy)]
pub(in crate::watch) enum LoadField {
    Requests,
    InFlight,
    Errors,
    Latency(Percentile),
}

/// The numbers that are shown of each replica.
pub(super) const OF_EACH: [(&str, LoadField); 4] = [
    ("requests", LoadField::Requests),
    ("in_flight", LoadField::InFlight),
    ("p95", LoadField::Latency(Percentile::P95)),
    ("errors", LoadField::Errors),
];

impl LoadField {
    /// What a policy asks for, in its own words and windows; a metric of how well requests are served
    /// is judged by how many there are.
    pub(in crate::watch) fn of(policy: &Policy) -> Vec<(String, Duration, Self)> {
        let mut all: Vec<(String, Duration, Self)> = Vec::new();
        let mut also = None;
        for metric in &policy.metrics {
            let (window, pick) = match metric {
                Metric::Requests(traffic) => (traffic.window, Self::Requests),
                Metric::InFlight(traffic) => (traffic.window, Self::InFlight),
                Metric::Latency(latency) => (latency.window, Self::Latency(latency.percentile)),
                Metric::Errors(errors) => (errors.window, Self::Errors),
                Metric::Cpu(_) | Metric::Memory(_) | Metric::Custom(_) => continue,
            };
            if metric.is_of_service_quality() {
                also = also.max(Some(window.0));
            }
            all.push((metric.name().to_owned(), window.0, pick));
        }
        for (name, pick) in [("requests", Self::Requests), ("in_flight", Self::InFlight)] {
            if let Some(window) = also
                && all.iter().all(|(there, ..)| there != name)
            {
                all.push((name.to_owned(), window, pick));
            }
        }
        all
    }

    pub(in crate::watch) fn value(self, load: &TrafficLoad) -> Option<f64> {
        match self {
            Self::Requests => Some(load.requests),
            Self::InFlight => Some(load.in_flight),
            Self::Errors => Some(load.errors * 100.0),
            Self::Latency(percentile) => load.latency(percentile.share()),
        }
    }
}

/// A question to the log for one service.
#[derive(Debug)]
pub(in crate::watch) struct LoadQuery {
    pub(in crate::watch) service: String,
    /// The metrics of its policy that are read from the log, with their windows.
    pub(in crate::watch) metrics: Vec<(String, Duration, LoadField)>,
    pub(in crate::watch) replicas: Vec<(ContainerId, String)>,
    pub(in crate::watch) routes: Arc<RequestRoutes>,
    /// What keeps lines of the service from the log, unless they come all the same.
    pub(in crate::watch) doubt: Option<String>,
    /// Whether nothing can be read at all.
    pub(in crate::watch) trouble: Option<String>,
    pub(in crate::watch) configured: Option<Configured>,
    /// The URL of nginx's `stub_status`, where all it counts is this service's.
    pub(in crate::watch) status: Option<String>,
    /// Whether nginx may be told to open its logs again.
    pub(in crate::watch) acts: bool,
    pub(in crate::watch) now: Instant,
    /// The clock that nginx goes by, in milliseconds since 1970.
    pub(in crate::watch) wall: u64,
}

/// Where requests go, for all services whose counters are read together.
#[derive(Debug, Default)]
pub(in crate::watch) struct RequestRoutes {
    pub(in crate::watch) services: Vec<String>,
    pub(in crate::watch) servers: Vec<RoutedReplica>,
}

impl LoadQuery {
    /// No number, and why.
    pub(super) fn unread(&self, why: &str) -> Values {
        let metrics = self.metrics.iter();
        Values {
            service: metrics
                .map(|(metric, ..)| (metric.clone(), Err(why.to_owned())))
                .collect(),
            ..Values::default()
        }
    }
}
