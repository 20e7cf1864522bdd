//! What a service needs of the machine, and what the machine has left for it.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ServiceMachine, SyncState, decision_input::feed, managed_replica::ManagedReplica};
use crate::{
    decide::{self, HostCapacity, HostCpu, MemoryRequest, Observed, ObservedState},
    project::ContainerId,
    units::{Bytes, SignedDuration, Span, Timestamp},
    usage::{CounterReading, Window},
};

/// The most memory that a replica of an image was seen to use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// The image.
    pub image: String,
    /// How much.
    pub bytes: u64,
}

/// Memory that ran out is told to the next decisions for at least so long.
const OUT_OF_MEMORY: Duration = Duration::from_secs(60);

/// What is known of a service's memory.
#[derive(Debug)]
pub(super) struct MemoryDemand {
    /// The most that a replica was seen to use.
    pub(super) peak: Option<Peak>,
    /// When replicas ran out of memory, by name.
    pub(super) ooms: BTreeMap<String, Timestamp>,
    /// What the machine has left.
    pub(super) host: Option<HostCapacity>,
}

impl MemoryDemand {
    /// After a run that has seen these.
    pub(super) fn after(peak: Option<Peak>, ooms: BTreeMap<String, Timestamp>) -> Self {
        Self {
            peak,
            ooms,
            host: None,
        }
    }

    pub(super) fn shift(&mut self, set_by: SignedDuration) {
        for at in self.ooms.values_mut() {
            *at = at.shifted(set_by);
        }
    }

    /// Keeps in mind the most that a replica uses. Another image is another program.
    fn raise_peak(&mut self, image: &str, bytes: u64) {
        match &mut self.peak {
            Some(peak) if peak.image == *image => peak.bytes = peak.bytes.max(bytes),
            peak => {
                *peak = Some(Peak {
                    image: image.to_owned(),
                    bytes,
                });
            }
        }
    }
}

impl ServiceMachine {
    /// Tells what the machine has left for this service, for the decisions to come.
    pub fn has_room(&mut self, host: Option<HostCapacity>) {
        self.memory_demand.host = host;
    }

    /// Memory that one more replica takes: its limit, or more than that if one was seen to use more.
    pub fn replica_memory(&self) -> Option<Bytes> {
        let limits = self.members.values();
        let limit = limits.filter_map(|m| m.replica.limits.memory).max();
        let peak = self
            .memory_demand
            .peak
            .as_ref()
            .map(|peak| Bytes(peak.bytes));
        limit.max(peak)
    }

    /// Memory that replicas on their way up will take and do not yet.
    pub fn promised(&self) -> Bytes {
        let Some(each) = self.replica_memory() else {
            return Bytes(0);
        };
        let on_its_way = |m: &&ManagedReplica| m.fresh.is_some() && !m.is_on_its_way_out();
        let young = self.members.values().filter(on_its_way).map(|member| {
            let window = self.windows.get(&member.replica.id);
            let used = window.and_then(Window::last).map_or(0, |r| r.working_set.0);
            each.0.saturating_sub(used)
        });
        let made = self.pending.len() as u64 + u64::from(self.bootstrap.is_under_way());
        // Those that cannot be made at the moment are wanted all the same.
        let acts = self.sync == SyncState::Acting && self.standstill.is_none();
        let desired = self.desired.filter(|_| acts).unwrap_or(0);
        let to_come = u64::from(desired.saturating_sub(self.live()));
        Bytes(young.sum::<u64>() + each.0.saturating_mul(made + to_come))
    }

    /// What it would want with these readings if the machine had memory for all of it.
    pub fn wish(
        &self,
        readings: Option<&BTreeMap<ContainerId, CounterReading>>,
        cpu: Option<HostCpu>,
        now: Timestamp,
    ) -> Option<MemoryRequest> {
        let acts =
            self.setup.autoscaled && self.sync == SyncState::Acting && self.standstill.is_none();
        let is_stuck = self.refused.is_some() || self.backoff.is_waiting(now);
        if !acts || is_stuck || self.compose_work.is_going_on(now) {
            return None;
        }
        let mut windows = self.windows.clone();
        for (id, reading) in readings.into_iter().flatten() {
            feed(&mut windows, self.setup.interval, id, *reading);
        }
        let mut input = self.input_of(&windows, now);
        input.host = Some(HostCapacity {
            replica_memory: self.replica_memory(),
            cpu,
            ..HostCapacity::default()
        });
        decide::wish(input)
    }

    pub(super) fn update_peak(&mut self, id: &ContainerId, reading: &CounterReading) {
        if let Some(member) = self.members.get(id) {
            self.memory_demand
                .raise_peak(&member.replica.image_id, reading.working_set.0);
        }
    }

    /// Keeps in mind that a replica ran out of memory, for longer than it may be there.
    pub(super) fn ran_out_of_memory(&mut self, id: &ContainerId, now: Timestamp) {
        if let Some(member) = self.members.get(id) {
            self.memory_demand
                .ooms
                .insert(member.replica.name.clone(), now);
        }
    }

    /// Drops kills for lack of memory that no decision needs any more: later than the stabilization
    /// window of scale-downs they explain nothing.
    pub(super) fn forget_old_ooms(&mut self, now: Timestamp) {
        let window = self.setup.policy.behavior.scale_down.stabilization_window.0;
        let kept = window.max(OUT_OF_MEMORY);
        self.memory_demand
            .ooms
            .retain(|_, at| now.since(*at) <= kept);
    }

    /// Those that ran out of memory and are gone.
    pub(super) fn lost_to_memory(&self, now: Timestamp) -> impl Iterator<Item = Observed> + '_ {
        let there = |name: &String| self.members.values().any(|m| m.replica.name == *name);
        self.memory_demand
            .ooms
            .iter()
            .filter(move |(name, _)| !there(name))
            .map(move |(name, at)| Observed {
                name: name.clone(),
                state: ObservedState::Dead,
                ready: false,
                age: Span::default(),
                metrics: BTreeMap::new(),
                throttled: None,
                out_of_memory: Some(Span(now.since(*at))),
            })
    }
}
