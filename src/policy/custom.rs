//! Metrics that are not read off the replicas by this tool itself, and where they come from.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::units::Span;

/// A metric that is not read off the replicas by this tool itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CustomMetric {
    /// The key of its value in `service_metrics` or in each replica's `metrics`.
    pub name: String,
    /// Where its value comes from; `None` only in a decision input, which carries it.
    #[serde(flatten)]
    pub source: Option<CustomSource>,
    /// What its value is held against.
    #[serde(flatten)]
    pub target: CustomTarget,
    /// What is wanted while it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
    /// So many readings in a row must have failed for that.
    #[serde(skip_serializing_if = "is_usual")]
    pub failures: u32,
}

impl CustomMetric {
    /// The `failures` of one that names none.
    pub const FAILURES: u32 = 3;
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature is serde's"
)]
fn is_usual(failures: &u32) -> bool {
    *failures == CustomMetric::FAILURES
}

/// How a custom value becomes a number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum CustomTarget {
    /// The service's value shared over its replicas.
    #[serde(rename = "average_target")]
    Average(f64),
    /// The ratio of the service's value to this, times the ready replicas.
    #[serde(rename = "service_target")]
    Service(f64),
    /// The mean of the values that the replicas report.
    #[serde(rename = "per_replica_target")]
    PerReplica(f64),
}

/// What is wanted while a metric cannot be read: at least so many replicas, never fewer than there
/// are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fallback {
    /// How many.
    pub replicas: u32,
}

/// Where a value comes from. With `per_replica_target` it is read for each replica, and in every
/// text `{replica}` is that replica's address and `{name}` its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomSource {
    /// What a command prints.
    Command(CommandSource),
    /// What a URL answers.
    Http(HttpSource),
    /// What a Prometheus server answers to a query.
    Prometheus(PrometheusSource),
}

impl CustomSource {
    /// The longest that one reading may take.
    pub const TIMEOUT: Span = Span::seconds(5);

    /// The longest that one reading may take.
    pub fn timeout(&self) -> Span {
        match self {
            Self::Command(command) => command.timeout,
            Self::Http(http) => http.timeout,
            Self::Prometheus(prometheus) => prometheus.timeout,
        }
    }
}

/// A command whose standard output is a number, or JSON with one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandSource {
    /// The program and its arguments; no shell.
    pub argv: Vec<String>,
    /// The service in whose first running replica it is run; on this host without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Where the number is in JSON (RFC 6901); without, the output is the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// The longest it may take.
    pub timeout: Span,
}

/// A URL whose answer has a number in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpSource {
    /// `http://…`; a host that is a service of the project is its first running replica.
    pub url: String,
    /// Where the number is in the answer.
    #[serde(flatten)]
    pub pick: ValueSelector,
    /// The longest it may take.
    pub timeout: Span,
}

/// Where a number is in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ValueSelector {
    /// In JSON, at this pointer (RFC 6901); the empty one is the whole answer.
    Pointer {
        /// The pointer.
        pointer: String,
    },
    /// In the text format of Prometheus, the sample of this name with at least these labels.
    Sample {
        /// The name.
        metric: String,
        /// The labels.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        labels: BTreeMap<String, String>,
    },
}

/// A query to a Prometheus server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PrometheusSource {
    /// The server, like `http://127.0.0.1:9090`.
    pub url: String,
    /// `PromQL` that gives a scalar or an instant vector.
    pub query: String,
    /// Which series of the vector; without, it must have one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The longest it may take.
    pub timeout: Span,
}
