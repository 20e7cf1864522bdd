//! Everything a decision depends on, as one value that can be written down and read again.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error, ser::SerializeMap};
use serde_json::Value;

use crate::{
    policy::{self, Policy},
    project,
    units::{Bytes, Span, Timestamp},
};

use super::history::History;

/// What a decision is made from. The JSON form is the one that `watch --record` writes and `explain`
/// reads; a field it does not know is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The service's name, where it is known; nothing depends on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The moment of the decision; everything else is seen from here.
    pub now: Timestamp,
    /// What the user wants.
    #[serde(deserialize_with = "valid_policy")]
    pub policy: Policy,
    /// The count to start from; `None` takes the replicas that count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<u32>,
    /// The service's containers, those too that do not count.
    #[serde(default)]
    pub replicas: Vec<Observed>,
    /// Values of the service as a whole, by metric name.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        serialize_with = "finite"
    )]
    pub service_metrics: BTreeMap<String, f64>,
    /// Why metrics have no value, by metric name; for messages and `fallback`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread: BTreeMap<String, Unread>,
    /// What was wanted and done before.
    #[serde(default)]
    pub history: History,
    /// What the machine has left; `None` puts no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostCapacity>,
    /// A count that was set by hand and is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<u32>,
    /// Directions in which autoscaling is suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Pause>,
}

impl Input {
    /// An input with nothing observed.
    pub fn new(now: Timestamp, policy: Policy) -> Self {
        Self {
            service: None,
            now,
            policy,
            current: None,
            replicas: Vec::new(),
            service_metrics: BTreeMap::new(),
            unread: BTreeMap::new(),
            history: History::default(),
            host: None,
            hold: None,
            paused: None,
        }
    }

    /// The count to start from: [`current`](Self::current), else the replicas that count.
    pub fn current_count(&self) -> u32 {
        self.current
            .unwrap_or_else(|| u32::try_from(self.counted().count()).unwrap_or(u32::MAX))
    }

    /// The replicas that count.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Observed> {
        self.replicas
            .iter()
            .filter(|replica| replica.state.counts())
    }
}

/// One container of the service, as it was seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Observed {
    /// The container's name.
    pub name: String,
    /// What it is doing.
    pub state: ObservedState,
    /// Whether it can take traffic.
    pub ready: bool,
    /// Time since its process started.
    pub age: Span,
    /// Its own values by metric name: `cpu` and `memory` in percent of the limit, others as they
    /// are. A name that is absent is a missing sample; so is a value that is negative or no number.
    #[serde(default, serialize_with = "finite")]
    pub metrics: BTreeMap<String, f64>,
    /// Share of the time in which its CPU quota had run out, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled: Option<f64>,
    /// Time since the kernel ended a process of it for lack of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out_of_memory: Option<Span>,
}

/// Why a metric has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unread {
    /// What the last attempt said.
    pub why: String,
    /// Attempts in a row that have failed.
    #[serde(default)]
    pub failures: u32,
}

/// What a container is doing, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObservedState {
    /// Made, never started.
    Created,
    /// Its process runs.
    Running,
    /// Frozen.
    Paused,
    /// Between two starts.
    Restarting,
    /// Its process has ended.
    Exited,
    /// On its way out: no new requests, soon to be stopped.
    Draining,
    /// Being removed, or the Engine could not remove it.
    Dead,
}

impl ObservedState {
    /// Whether it counts as a replica: created, running or restarting.
    pub fn counts(self) -> bool {
        matches!(self, Self::Created | Self::Running | Self::Restarting)
    }

    /// The word for it in texts.
    pub fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Exited => "exited",
            Self::Draining => "draining",
            Self::Dead => "dead",
        }
    }
}

impl From<project::ContainerState> for ObservedState {
    fn from(state: project::ContainerState) -> Self {
        match state {
            project::ContainerState::Created => Self::Created,
            project::ContainerState::Running => Self::Running,
            project::ContainerState::Paused => Self::Paused,
            project::ContainerState::Restarting => Self::Restarting,
            project::ContainerState::Exited => Self::Exited,
            project::ContainerState::Removing | project::ContainerState::Dead => Self::Dead,
        }
    }
}

/// Directions in which autoscaling is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// The count stays as it is.
    Both,
    /// No replica is added.
    Up,
    /// No replica is removed.
    Down,
}

/// What the machine has left for this service. What is not known puts no limit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HostCapacity {
    /// Memory that more replicas may take: what is available, less the reserve, and less what is
    /// kept for others.
    #[serde(
        serialize_with = "to_the_byte",
        skip_serializing_if = "Option::is_none"
    )]
    pub free_memory: Option<Bytes>,
    /// Memory that one more replica takes.
    #[serde(
        serialize_with = "to_the_byte",
        skip_serializing_if = "Option::is_none"
    )]
    pub replica_memory: Option<Bytes>,
    /// Memory that is kept for services that go first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptMemory>,
    /// How busy its cores are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<HostCpu>,
}

impl HostCpu {
    /// Waiting for a core for less than this share of the time is no sign of too few of them: where
    /// the kernel tells, busy cores alone do not make a machine full.
    const PRESSURE: f64 = 20.0;

    /// Whether another replica could only take from those that are there.
    pub fn is_full(&self) -> bool {
        self.busy >= 100.0 - self.reserve
            && self
                .pressure
                .is_none_or(|waiting| waiting >= Self::PRESSURE)
    }
}

/// Memory that is kept for a service that goes first: `free_memory` is without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeptMemory {
    /// The service.
    pub service: String,
    /// How much.
    #[serde(serialize_with = "bytes_to_the_byte")]
    pub memory: Bytes,
}

/// How busy the machine's cores are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostCpu {
    /// Share of the time of all cores that was not idle, in percent.
    pub busy: f64,
    /// Share of the time of all cores that has to stay idle, in percent.
    pub reserve: f64,
    /// Share of the last ten seconds in which some process waited for a core, in percent
    /// (`some avg10` of `/proc/pressure/cpu`); `None` where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pressure: Option<f64>,
}

fn valid_policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Policy, D::Error> {
    let value = Value::deserialize(deserializer)?;
    policy::policy(&value).map_err(|problems| {
        let all: Vec<String> = problems
            .iter()
            .map(|problem| {
                let path: Vec<&str> = std::iter::once("policy")
                    .chain(problem.path.iter().map(String::as_str))
                    .collect();
                format!("{}: {}", path.join("."), problem.message)
            })
            .collect();
        D::Error::custom(all.join("; "))
    })
}

/// JSON has no NaN. A value that is no number is a missing sample, and so is one that is absent.
fn finite<S: Serializer>(
    metrics: &BTreeMap<String, f64>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    for (name, value) in metrics.iter().filter(|(_, value)| value.is_finite()) {
        map.serialize_entry(name, value)?;
    }
    map.end()
}

/// A size in the largest unit that divides it: a recording must not round, or its replay could
/// count one replica more.
#[expect(clippy::ref_option, reason = "the signature that serde calls")]
fn to_the_byte<S: Serializer>(bytes: &Option<Bytes>, serializer: S) -> Result<S::Ok, S::Error> {
    match bytes {
        Some(bytes) => bytes_to_the_byte(bytes, serializer),
        None => serializer.serialize_none(),
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde calls"
)]
fn bytes_to_the_byte<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    let (unit, name) = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
        .into_iter()
        .find(|(unit, _): &(u64, _)| bytes.0 > 0 && bytes.0.is_multiple_of(*unit))
        .unwrap_or((1, "B"));
    serializer.collect_str(&format_args!("{}{name}", bytes.0 / unit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::tests::fixture::web;

    #[test]
    fn a_field_that_is_not_known_is_an_error_at_every_depth() {
        let good = serde_json::json!({
            "now": "2026-01-01T12:00:00Z",
            "policy": {"max": 8},
            "replicas": [{"name": "web-1", "state": "draining", "ready": false, "age": "10m"}],
            "history": {"recommendations": [{"at": "2026-01-01T11:59:00Z", "replicas": 4}]},
            "host": {"free_memory": "800MiB", "replica_memory": "200MiB"},
            "hold": 3,
            "paused": "up",
        });
        let read = |value: &Value| serde_json::from_value::<Input>(value.clone());
        read(&good).unwrap();
        for pointer in [
            "",
            "/replicas/0",
            "/history",
            "/history/recommendations/0",
            "/host",
        ] {
            let mut bad = good.clone();
            let place = bad.pointer_mut(pointer).unwrap();
            place["surprise"] = Value::from(1);
            let error = read(&bad).unwrap_err().to_string();
            assert!(error.contains("unknown field `surprise`"), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let input = web(&[85.0, 12.5]).recommended(60, 4).with(|input| {
            input.current = Some(3);
            input.service_metrics.insert("jobs".into(), 0.1);
            input.history.record_change(input.now, -2);
            input.host = Some(HostCapacity {
                free_memory: Some(Bytes(838_860_801)),
                replica_memory: Some(Bytes(200 << 20)),
                ..HostCapacity::default()
            });
            input.paused = Some(Pause::Down);
            // The policy has a reader of its own, and tests of its own.
            input.policy = Policy::default();
        });
        let text = serde_json::to_string(&input).unwrap();
        assert!(text.contains(r#""free_memory":"838860801B","replica_memory":"200MiB""#));
        assert!(text.contains(r#""age":"10m","metrics":{"cpu":12.5}"#));
        assert_eq!(serde_json::from_str::<Input>(&text).unwrap(), input);
    }

    #[test]
    fn a_value_that_is_no_number_is_written_as_missing() {
        let text = serde_json::to_string(&web(&[f64::NAN]).replicas).unwrap();
        assert!(text.contains(r#""metrics":{}"#), "{text}");
    }

    #[test]
    fn created_running_and_restarting_replicas_count() {
        let mut input = web(&[1.0; 7]);
        let states = [
            ObservedState::Created,
            ObservedState::Running,
            ObservedState::Restarting,
            ObservedState::Paused,
            ObservedState::Exited,
            ObservedState::Draining,
            ObservedState::Dead,
        ];
        for (replica, state) in input.replicas.iter_mut().zip(states) {
            replica.state = state;
        }
        assert_eq!(input.current_count(), 3);
        input.current = Some(5);
        assert_eq!(input.current_count(), 5);
    }
}
