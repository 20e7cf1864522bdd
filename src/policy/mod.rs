//! How a service wants to be scaled. A [`Policy`] that exists is valid: [`validate`] is the only way
//! in from what a user wrote.

use std::{fmt, path::PathBuf};

use serde::{Serialize, Serializer};

use crate::units::{Bytes, Percent, Span};

mod behavior;
mod custom;
mod metric;
pub mod notify;
mod schedule;
mod traffic;
pub mod validate;

pub use behavior::{Behavior, Burst, Rate, Rules, Select};
pub use custom::{
    CommandSource, CustomMetric, CustomSource, CustomTarget, Fallback, HttpSource,
    PrometheusSource, ValueSelector,
};
pub use metric::{Aim, Metric, MetricScope};
pub use notify::Notify;
pub use schedule::{CountBounds, Cron, Schedule, Zone};
pub use traffic::{ErrorTarget, LatencyTarget, Logs, Percentile, TrafficTarget};
pub use validate::{Problem, SERVICE_KEYS, for_compose, policy, settings};

/// The policy of one service, with every default filled in. Serialises to the form of
/// `x-autoscale`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Policy {
    /// Never fewer replicas.
    pub min: u32,
    /// Never more replicas.
    pub max: u32,
    /// The container port that nginx sends traffic to; `None` takes the single exposed or
    /// published one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What load is read from. The largest proposal wins. Empty: only the bounds are kept.
    pub metrics: Vec<Metric>,
    /// Of two services that want the last room of the machine the one with the higher number gets it.
    pub priority: i32,
    /// Further bounds by the clock.
    pub schedule: Vec<Schedule>,
    /// How far from its target a metric may be without a change.
    pub tolerance: Tolerance,
    /// A replica younger than this does not push CPU up.
    pub initialization_period: Span,
    /// How fast the count may follow its recommendation.
    pub behavior: Behavior,
    /// What makes a replica fit for traffic.
    pub ready: Ready,
    /// How long a new replica may take to become ready before it is given up.
    pub ready_timeout: Span,
    /// How long it must stay ready before it gets traffic.
    pub min_ready: Span,
    /// Over how long a new replica gets its full share of the requests.
    #[serde(skip_serializing_if = "is_none")]
    pub slow_start: Span,
    /// How a replica is emptied before its stop.
    pub drain: Drain,
    /// How nginx spreads requests.
    pub balance: Balance,
}

impl Policy {
    /// Whether load is read from nginx's log.
    pub fn reads_the_log(&self) -> bool {
        let mut metrics = self.metrics.iter();
        metrics.any(|metric| metric.traffic_window().is_some())
    }

    /// What to add to a sentence about a count that somebody has asked for: whether load alone would
    /// never come to it.
    pub fn beyond(&self, count: u32) -> String {
        let Self { min, max, .. } = self;
        if count > *max {
            format!(", above its maximum of {max}")
        } else if count < *min {
            format!(", below its minimum of {min}")
        } else {
            String::new()
        }
    }
}

fn is_none(span: &Span) -> bool {
    span.0.is_zero()
}

/// Writes all digits of a percentage: messages round it, but a policy that is written down must be
/// the same when it is read again.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
pub(crate) fn exact<S: Serializer>(percent: &Percent, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}%", percent.get()))
}

/// Relative distance from the target that is left alone: 0.1 is ten percent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Tolerance {
    /// When load is above target.
    pub up: f64,
    /// When load is below target.
    pub down: f64,
}

/// What makes a replica ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ready {
    /// The healthcheck if there is one, else a TCP connection to its port, else that it runs.
    Auto,
    /// Its healthcheck says healthy.
    Healthcheck,
    /// It runs.
    Running,
    /// A TCP connection to this container port is accepted.
    Tcp(u16),
    /// A GET of this path answers with a status below 400.
    Http(String),
}

/// How a replica is emptied before its stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Drain {
    /// The longest wait for requests in flight before the stop signal.
    pub timeout: Span,
}

impl Balance {
    /// The weight of a server that gets as many requests as any other.
    pub const FULL: u8 = 10;

    /// Whether a replica's weight may change without sending clients to another one.
    pub fn bears_weights(&self) -> bool {
        match self {
            Self::RoundRobin | Self::LeastConn | Self::StickyCookie(_) => true,
            Self::IpHash | Self::Hash(_) => false,
        }
    }
}

/// How nginx spreads requests over the replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn.
    RoundRobin,
    /// To the one with the fewest connections.
    LeastConn,
    /// By client address.
    IpHash,
    /// By the value of a text with nginx variables.
    Hash(String),
    /// By a cookie of this name; needs nginx 1.29.6.
    StickyCookie(String),
}

/// The project's own settings: `x-autoscale` at the top level.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    /// How often load is read and decided on.
    pub interval: Span,
    /// Where nginx is and how it is told.
    pub nginx: NginxPolicy,
    /// What of the machine replicas may not take.
    pub host: HostReserve,
    /// Who is told of what happens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notify: Vec<Notify>,
}

/// What of the machine replicas may not take. `None` does not look.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct HostReserve {
    /// No replica is added that would eat into this.
    #[serde(serialize_with = "or_none")]
    pub reserve_memory: Option<Reserve>,
    /// With less than this share of the machine's CPU idle, no replica is added for its CPU load.
    #[serde(serialize_with = "or_none")]
    pub reserve_cpu: Option<Percent>,
}

/// A part of the machine's memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reserve {
    /// This share of it.
    Share(Percent),
    /// This much.
    Bytes(Bytes),
}

impl Reserve {
    /// The part of a machine with so much memory.
    pub fn of(self, total: Bytes) -> Bytes {
        match self {
            Self::Share(share) => Bytes((total.0 as f64 * share.ratio()) as u64),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Display for Reserve {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Share(share) => share.fmt(f),
            Self::Bytes(bytes) => bytes.fmt(f),
        }
    }
}

#[expect(clippy::ref_option, reason = "the signature is serde's")]
fn or_none<T: fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_str("none"),
    }
}

impl Default for HostReserve {
    fn default() -> Self {
        let percent = |number| Percent::new(number);
        Self {
            reserve_memory: percent(10.0).map(Reserve::Share),
            reserve_cpu: percent(5.0),
        }
    }
}

/// Where nginx is and how it is told.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct NginxPolicy {
    /// Where it runs; `None` looks for the one service whose image is nginx.
    #[serde(flatten)]
    pub place: Option<NginxPlacement>,
    /// The directory on this host that holds our files, as written in the compose file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstreams: Option<PathBuf>,
    /// Where it writes the log that load is read from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<Logs>,
    /// Replaces the reload: a command on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reload: Option<Vec<String>>,
    /// Replaces `nginx -t`: a command on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<Vec<String>>,
    /// The pid file of an nginx on this host, to tell it from others; `None` where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<PathBuf>,
    /// By which address an nginx on this host reaches replicas.
    #[serde(skip_serializing_if = "ReplicaReach::is_auto")]
    pub reach: ReplicaReach,
}

/// By which address an nginx on this host reaches replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaReach {
    /// By the container's address where this host has a bridge to it, else by the published port.
    #[default]
    Auto,
    /// By the container's address.
    Container,
    /// By the port that is published on this host.
    Published,
}

impl ReplicaReach {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is serde's"
    )]
    fn is_auto(&self) -> bool {
        *self == Self::Auto
    }
}

/// Where nginx runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NginxPlacement {
    /// This service of the project.
    Service(String),
    /// This container, of whatever project.
    Container(String),
    /// On this host; always true.
    Host(bool),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Span::seconds(5),
            nginx: NginxPolicy::default(),
            host: HostReserve::default(),
            notify: Vec::new(),
        }
    }
}

impl Default for Policy {
    /// The built-in defaults, with bounds of 1 and 1: right for a service that is scaled by hand.
    fn default() -> Self {
        Self {
            min: 1,
            max: 1,
            port: None,
            metrics: Vec::new(),
            priority: 0,
            schedule: Vec::new(),
            tolerance: Tolerance { up: 0.1, down: 0.1 },
            initialization_period: Span::seconds(30),
            behavior: Behavior::default(),
            ready: Ready::Auto,
            ready_timeout: Span::seconds(60),
            min_ready: Span::seconds(0),
            slow_start: Span::seconds(0),
            drain: Drain {
                timeout: Span::seconds(30),
            },
            balance: Balance::LeastConn,
        }
    }
}
