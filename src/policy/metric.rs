//! The metrics that a policy may name.

use serde::Serialize;

use super::{CustomMetric, CustomTarget, ErrorTarget, LatencyTarget, TrafficTarget, exact};
use crate::units::{Percent, Span};

/// One source of load and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of the replica's CPU limit, or of one core when it has none.
    Cpu(Aim),
    /// Working set over the memory limit.
    Memory(Aim),
    /// Requests per second, from nginx.
    Requests(TrafficTarget),
    /// Requests under way at once, from nginx.
    InFlight(TrafficTarget),
    /// How long requests take, from nginx.
    Latency(LatencyTarget),
    /// The share of requests that fail, from nginx.
    Errors(ErrorTarget),
    /// A number from outside.
    Custom(CustomMetric),
}

impl Metric {
    /// Its key in `x-autoscale.metrics`.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Cpu(_) => "cpu",
            Self::Memory(_) => "memory",
            Self::Requests(_) => "requests",
            Self::InFlight(_) => "in_flight",
            Self::Latency(_) => "latency",
            Self::Errors(_) => "errors",
            Self::Custom(_) => "custom",
        }
    }

    /// The name it has in decisions, logs and recordings.
    pub fn name(&self) -> &str {
        match self.custom() {
            Some(custom) => &custom.name,
            None => self.key(),
        }
    }

    /// What its values are values of.
    pub fn scope(&self) -> MetricScope {
        match self {
            Self::Cpu(_) | Self::Memory(_) => MetricScope::Counters,
            Self::Requests(_) | Self::InFlight(_) | Self::Latency(_) | Self::Errors(_) => {
                MetricScope::Service
            }
            Self::Custom(custom) => match custom.target {
                CustomTarget::PerReplica(_) => MetricScope::Replica,
                CustomTarget::Average(_) | CustomTarget::Service(_) => MetricScope::Service,
            },
        }
    }

    /// It, if it is a number from outside.
    pub fn custom(&self) -> Option<&CustomMetric> {
        let Self::Custom(custom) = self else {
            return None;
        };
        Some(custom)
    }

    /// The value above which it asks for more replicas, in its own unit: percent, requests per second or at once,
    /// milliseconds.
    pub fn ceiling(&self) -> Option<f64> {
        match self {
            Self::Cpu(aim) | Self::Memory(aim) => Some(aim.ceiling().get()),
            Self::Requests(traffic) | Self::InFlight(traffic) => Some(traffic.target),
            Self::Latency(latency) => Some(latency.target.0.as_secs_f64() * 1000.0),
            Self::Errors(errors) => Some(errors.above.get()),
            Self::Custom(_) => None,
        }
    }

    /// Whether a value above its ceiling is tolerated up to a share of it; thresholds are acted on at once.
    pub fn is_tolerant(&self) -> bool {
        !matches!(
            self,
            Self::Cpu(Aim::Thresholds { .. })
                | Self::Memory(Aim::Thresholds { .. })
                | Self::Errors(_)
        )
    }

    /// The same metric with another ceiling, for one that follows the load; the others stay as they are.
    pub fn set_ceiling(&mut self, ceiling: f64) {
        match self {
            Self::Cpu(aim) => aim.set_ceiling(ceiling),
            Self::Requests(traffic) | Self::InFlight(traffic) => traffic.target = ceiling,
            _ => {}
        }
    }

    /// Whether it is the replicas' CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Self::Cpu(_))
    }

    /// Whether it tells how much of the requests' load there is. Memory, or a queue, says nothing of
    /// requests.
    pub fn is_of_load(&self) -> bool {
        matches!(self, Self::Cpu(_) | Self::Requests(_) | Self::InFlight(_))
    }

    /// Over how long it is read from nginx's log; `None` for one that comes from elsewhere.
    pub fn traffic_window(&self) -> Option<Span> {
        match self {
            Self::Requests(traffic) | Self::InFlight(traffic) => Some(traffic.window),
            Self::Latency(latency) => Some(latency.window),
            Self::Errors(errors) => Some(errors.window),
            Self::Cpu(_) | Self::Memory(_) | Self::Custom(_) => None,
        }
    }

    /// Whether it says how well requests are served, not how much load there is: it need not follow the
    /// number of replicas.
    pub fn is_of_service_quality(&self) -> bool {
        matches!(self, Self::Latency(_) | Self::Errors(_))
    }

    /// Whether more replicas are of no use for it where all cores are busy.
    pub fn needs_cores(&self) -> bool {
        self.is_cpu() || self.is_of_service_quality()
    }
}

/// What values of a metric are values of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricScope {
    /// Each replica, from the counters that the Engine keeps.
    Counters,
    /// The service as a whole.
    Service,
    /// Each replica, from a source of its own.
    Replica,
}

/// What is wanted of a share: a target to hold, or two thresholds to act on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Aim {
    /// Keep the mean at this share.
    Target(#[serde(serialize_with = "exact")] Percent),
    /// Add `step` replicas above, remove `step` below.
    Thresholds {
        /// Act when the mean is greater.
        #[serde(serialize_with = "exact")]
        above: Percent,
        /// Act when the mean is smaller.
        #[serde(serialize_with = "exact")]
        below: Percent,
        /// Replicas added or removed at a time.
        step: u32,
    },
}

impl Aim {
    fn ceiling(&self) -> Percent {
        match self {
            Self::Target(target) => *target,
            Self::Thresholds { above, .. } => *above,
        }
    }

    /// Two thresholds keep their proportion.
    fn set_ceiling(&mut self, ceiling: f64) {
        let percent = |value: f64, now: Percent| Percent::new(value.round()).unwrap_or(now);
        match self {
            Self::Target(target) => *target = percent(ceiling, *target),
            Self::Thresholds { above, below, .. } => {
                let apart = below.get() / above.get().max(1.0);
                *above = percent(ceiling, *above);
                *below = percent(ceiling * apart, *below);
            }
        }
    }
}
