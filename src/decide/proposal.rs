//! What a metric asks for, and how it came to that.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::history::ScaleUpTrial;

/// What one metric asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The metric's name.
    pub metric: String,
    /// Its value: the mean over the samples used, or the service's value. `None` when it cannot be
    /// read.
    pub value: Option<f64>,
    /// What it is held against; `None` with thresholds.
    pub target: Option<f64>,
    /// The count it asks for; `None` when it cannot be read.
    pub desired: Option<u32>,
    /// The mean above which replicas are added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// The mean below which replicas are removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// What value and target count.
    #[serde(default, skip_serializing_if = "MetricUnit::is_percent")]
    pub unit: MetricUnit,
    /// Why it cannot be read, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The share of time in which the CPU quota of the replicas ran out, in percent, where it keeps
    /// them from being removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<f64>,
    /// Which share of the requests its value is the latency of, like `p95`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<Cow<'static, str>>,
    /// Whether it leaves the count to the other metrics; [`desired`](Self::desired) is `None` then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub abstains: bool,
    /// Replicas that count, but whose sample was not used as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricUnit {
    /// Percent of the limit, or of one core.
    #[default]
    Percent,
    /// The service's own number.
    Number,
    /// A number for each replica.
    PerReplica,
    /// A time in milliseconds.
    Millis,
}

impl MetricUnit {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature that serde calls"
    )]
    fn is_percent(&self) -> bool {
        *self == Self::Percent
    }
}

/// A replica whose sample was not used as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// The container's name.
    pub name: String,
    /// Why.
    pub why: Absence,
}

/// Why a replica's sample was not used as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Absence {
    /// There is none.
    NoSample,
    /// It is not ready.
    NotReady,
    /// It is younger than the policy's `initialization_period`.
    Initializing,
    /// It has not been started yet.
    NotStarted,
    /// It is between two starts.
    Restarting,
}

impl Absence {
    /// The reason after the replica's name, as in "web-2 is not ready".
    pub fn words(self) -> &'static str {
        match self {
            Self::NoSample => "has no sample",
            Self::NotReady => "is not ready",
            Self::Initializing => "is still within its initialization period",
            Self::NotStarted => "has not been started",
            Self::Restarting => "is restarting",
        }
    }
}

/// How a metric came to its proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ProposalVerdict {
    /// Its value asks for exactly that many.
    Load,
    /// It is close enough to its target.
    Tolerance,
    /// It would ask for a change, were it not for the replicas left out.
    LeftOut,
    /// It would ask for fewer, but the CPU quota runs out too often.
    Throttled,
    /// It cannot be read.
    Unavailable,
    /// It cannot be read, and its fallback asks for that many.
    Fallback,
    /// It is over its target, but the replicas are not busy.
    Idle,
    /// It is over its target, and what the last replicas bring is not known yet.
    Trying,
    /// It is over its target, and the last replicas did not help.
    NoHelp,
    /// It leaves the count to the other metrics.
    Abstains,
}

/// A metric's proposal and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    pub(super) proposal: Proposal,
    pub(super) verdict: ProposalVerdict,
    /// What a metric of how well requests are served was judged by.
    pub(super) quality: Option<ServiceLevel>,
}

/// What a metric of how well requests are served was judged by.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ServiceLevel {
    pub(super) verdict: ProposalVerdict,
    pub(super) value: f64,
    pub(super) unit: MetricUnit,
    pub(super) busy: ReplicaLoad,
    /// As it is now.
    pub(super) trial: Option<ScaleUpTrial>,
}

/// How much the replicas have to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct ReplicaLoad {
    /// Requests per second, of the service.
    pub(super) requests: f64,
    /// Requests under way in each, on average.
    pub(super) in_flight: Option<f64>,
    /// Their CPU.
    pub(super) cpu: Option<f64>,
    pub(super) throttled: bool,
}

impl Proposal {
    pub(super) fn new(metric: &str, unit: MetricUnit, target: Option<f64>) -> Self {
        Self {
            metric: metric.to_owned(),
            value: None,
            target,
            desired: None,
            above: None,
            below: None,
            unit,
            error: None,
            throttled: None,
            percentile: None,
            abstains: false,
            left_out: Vec::new(),
        }
    }

    pub(super) fn valued(mut self, value: f64) -> Self {
        self.value = Some(value);
        self
    }

    pub(super) fn without(mut self, left_out: Vec<LeftOut>) -> Self {
        self.left_out = left_out;
        self
    }

    pub(super) fn judged(mut self, desired: u32, verdict: ProposalVerdict) -> Judged {
        self.desired = Some(desired);
        Judged {
            proposal: self,
            verdict,
            quality: None,
        }
    }

    pub(super) fn unavailable(self) -> Judged {
        Judged {
            proposal: self,
            verdict: ProposalVerdict::Unavailable,
            quality: None,
        }
    }

    pub(super) fn abstaining(mut self) -> Judged {
        self.abstains = true;
        Judged {
            proposal: self,
            verdict: ProposalVerdict::Abstains,
            quality: None,
        }
    }
}
