//! What a machine shows (`ps`, the control socket) and what it remembers between runs.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Drift, Hold, Paused, Peak, ReplicaView, ServiceMachine, managed_replica::ManagedReplica,
    outlier::outliers,
};
use crate::{
    decide::{Decision, History, MetricUnit, Unread},
    policy::CountBounds,
    project::{ContainerId, ContainerState},
    units::{Span, Timestamp},
    usage::CounterReading,
};

/// A reading that is older than so many intervals does not tell how the load is.
const RECENT_INTERVALS: u32 = 3;

/// A service as it is right now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name.
    pub service: String,
    /// Whether load decides on its count.
    pub autoscaled: bool,
    /// Replicas that count.
    pub current: u32,
    /// Replicas wanted.
    pub desired: Option<u32>,
    /// Replicas that get traffic (or could, where nginx sends none to the service).
    pub serving: u32,
    /// The lower bound of the moment, a schedule's included.
    pub min: Option<u32>,
    /// The upper bound of the moment.
    pub max: Option<u32>,
    /// A count held by hand.
    pub hold: Option<Hold>,
    /// Scaling by load that is suspended.
    #[serde(default)]
    pub paused: Option<Paused>,
    /// Each metric of the last decision.
    pub metrics: Vec<MetricView>,
    /// The last decision.
    pub decision: Option<DecisionView>,
    /// Why nothing is done, if nothing is done.
    pub standstill: Option<String>,
    /// Replicas that serve their requests far worse than the others, each in a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outliers: Vec<String>,
    /// Replicas that are not what compose would make now; nothing also where that cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Its replicas, by number.
    pub replicas: Vec<ReplicaView>,
}

/// A metric against its target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricView {
    /// Its name.
    pub metric: String,
    /// Its value; `None` when it could not be read.
    pub value: Option<f64>,
    /// Its target; `None` with thresholds.
    pub target: Option<f64>,
    /// What both count.
    #[serde(default)]
    pub unit: MetricUnit,
    /// Which share of the requests a latency is of, like `p95`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percentile: Option<Cow<'static, str>>,
}

/// A decision, for people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DecisionView {
    /// When it was made.
    pub at: Timestamp,
    /// The count before.
    pub from: u32,
    /// The count wanted.
    pub to: u32,
    /// Its reason's label.
    pub reason: String,
    /// Its reason in words.
    pub message: String,
}

/// What outlives a run. Losing it loses history, never replicas.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PersistedState {
    /// Recommendations and changes.
    pub history: History,
    /// A count held by hand.
    pub hold: Option<Hold>,
    /// Scaling by load that is suspended.
    pub paused: Option<Paused>,
    /// The last decision.
    pub last: Option<(Timestamp, Decision)>,
    /// The last reading of each replica: the next run measures from there.
    pub readings: BTreeMap<ContainerId, CounterReading>,
    /// Replicas on their way out.
    pub draining: BTreeSet<ContainerId>,
    /// Replicas that somebody has stopped.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub stopped: BTreeSet<ContainerId>,
    /// The most memory that a replica was seen to use.
    pub peak: Option<Peak>,
    /// When replicas ran out of memory, by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ooms: BTreeMap<String, Timestamp>,
    /// Metrics that cannot be read.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub unread: BTreeMap<String, Unread>,
    /// The nginx that was last seen to read its upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reader: Option<String>,
}

impl PersistedState {
    /// The same for a run that reads load all the time, which goes by how it is now. A mean since
    /// long ago says nothing of that; only runs from cron have nothing better.
    #[must_use]
    pub fn without_old_readings(mut self, now: Timestamp, interval: Duration) -> Self {
        let oldest = interval * RECENT_INTERVALS;
        self.readings
            .retain(|_, reading| now.since(reading.at) <= oldest);
        self
    }
}

impl ServiceMachine {
    /// What it shows.
    pub fn view(&self, now: Timestamp) -> ServiceView {
        let in_nginx = |id: &ContainerId| self.setup.routed && self.routing.lists(id);
        let gets_requests =
            |member: &ManagedReplica| !self.setup.routed || in_nginx(&member.replica.id);
        let mut replicas: Vec<_> = self
            .members
            .values()
            .map(|member| {
                let replica = &member.replica;
                let window = self.windows.get(&replica.id);
                ReplicaView {
                    name: replica.name.clone(),
                    id: replica.id.clone(),
                    number: replica.number,
                    state: replica.state,
                    health: replica.health,
                    phase: match member.word() {
                        "serving" if !gets_requests(member) => "ready",
                        word => word,
                    }
                    .to_owned(),
                    in_nginx: in_nginx(&replica.id),
                    age: replica
                        .started
                        .filter(|_| replica.state == ContainerState::Running)
                        .map(|started| Span::measured(now.since(started))),
                    address: replica.addresses.values().next().map(ToString::to_string),
                    cpu: window.and_then(|w| Some(w.cpu(now, replica.limits.cpus)?.get())),
                    memory: window.and_then(|w| Some(w.memory(now, replica.limits.memory)?.get())),
                    requests: self.custom.one_of("requests", &replica.id),
                    in_flight: self.custom.one_of("in_flight", &replica.id),
                    p95: self.custom.one_of("p95", &replica.id),
                    errors: self.custom.one_of("errors", &replica.id),
                    image: replica.image.clone(),
                }
            })
            .collect();
        replicas.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        let policy = &self.setup.policy;
        let bounds = CountBounds::at(now, policy.min, policy.max, &policy.schedule);
        let bounds = self.setup.autoscaled.then_some(bounds);
        ServiceView {
            service: self.setup.service.clone(),
            autoscaled: self.setup.autoscaled,
            current: self.live(),
            desired: self.desired,
            serving: {
                let serve = |m: &&ManagedReplica| m.serves() && gets_requests(m);
                self.members.values().filter(serve).count() as u32
            },
            min: bounds.map(|bounds| bounds.min),
            max: bounds.map(|bounds| bounds.max),
            hold: self.hold,
            paused: self.paused(now),
            metrics: self
                .decisions
                .last
                .iter()
                .flat_map(|(_, decision)| &decision.proposals)
                .map(|proposal| MetricView {
                    metric: proposal.metric.clone(),
                    value: proposal.value,
                    target: proposal.target,
                    unit: proposal.unit,
                    percentile: proposal.percentile.clone(),
                })
                .collect(),
            decision: self
                .decisions
                .last
                .as_ref()
                .map(|(at, decision)| DecisionView {
                    at: *at,
                    from: decision.current,
                    to: decision.desired,
                    reason: decision.reason.label().to_owned(),
                    message: decision.message.clone(),
                }),
            standstill: self.idle_reason().map(ToOwned::to_owned),
            outliers: outliers(&replicas),
            drift: None,
            replicas,
        }
    }

    /// What it remembers.
    pub fn memory(&self) -> PersistedState {
        PersistedState {
            history: self.decisions.history.clone(),
            hold: self.hold,
            paused: self.paused,
            last: self.decisions.last.clone(),
            readings: self
                .windows
                .iter()
                .filter_map(|(id, window)| Some((id.clone(), *window.last()?)))
                .collect(),
            draining: self
                .members
                .values()
                .filter(|m| m.is_on_its_way_out())
                .map(|m| m.replica.id.clone())
                .collect(),
            stopped: self
                .members
                .values()
                .filter(|m| m.left_alone && m.replica.state == ContainerState::Exited)
                .map(|m| m.replica.id.clone())
                .collect(),
            peak: self.memory_demand.peak.clone(),
            ooms: self.memory_demand.ooms.clone(),
            unread: self.custom.unread().clone(),
            reader: self.preflight.reader.clone(),
        }
    }
}
