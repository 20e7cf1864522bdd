//! What decisions are made from: readings of counters, values of custom metrics, and the replicas.

use std::{collections::BTreeMap, time::Duration};

use super::{EventKind, ServiceMachine, Values};
use crate::{
    decide::{Input, Observed, ObservedState},
    project::ContainerId,
    units::{Span, Timestamp},
    usage::{CounterReading, Window},
};

/// The Engine's clock and this one may be apart by so much.
const AHEAD: Duration = Duration::from_secs(5);

/// Adds a reading of a replica that is read once per `interval`.
pub(super) fn feed(
    windows: &mut BTreeMap<ContainerId, Window>,
    interval: Duration,
    id: &ContainerId,
    reading: CounterReading,
) {
    let window = windows.entry(id.clone());
    window
        .or_insert_with(|| Window::new(interval))
        .feed(reading);
}

impl ServiceMachine {
    pub(super) fn keep_readings(&mut self, readings: BTreeMap<ContainerId, CounterReading>) {
        let interval = self.setup.interval;
        for (id, reading) in readings {
            self.update_peak(&id, &reading);
            if self.members.contains_key(&id) {
                feed(&mut self.windows, interval, &id, reading);
            }
        }
        let members = &self.members;
        self.windows.retain(|id, _| members.contains_key(id));
    }

    pub(super) fn keep_values(&mut self, values: Values) -> Vec<EventKind> {
        let members = &self.members;
        let name_of = |id: &ContainerId| members.get(id).map(|member| &member.replica);
        self.custom.keep(values, &self.setup.policy, name_of)
    }

    pub(super) fn input(&self, now: Timestamp) -> Input {
        Input {
            host: self.memory_demand.host.clone(),
            ..self.input_of(&self.windows, now)
        }
    }

    pub(super) fn input_of(
        &self,
        windows: &BTreeMap<ContainerId, Window>,
        now: Timestamp,
    ) -> Input {
        let replicas = self
            .members
            .values()
            .map(|member| {
                let id = &member.replica.id;
                let mut metrics = BTreeMap::new();
                let window = windows.get(id);
                if let Some(window) = window {
                    if let Some(cpu) = window.cpu(now, member.replica.limits.cpus) {
                        metrics.insert("cpu".to_owned(), cpu.get());
                    }
                    if let Some(memory) = window.memory(now, member.replica.limits.memory) {
                        metrics.insert("memory".to_owned(), memory.get());
                    }
                }
                metrics.extend(self.custom.of(id));
                Observed {
                    name: member.replica.name.clone(),
                    state: if member.is_on_its_way_out() {
                        ObservedState::Draining
                    } else {
                        member.replica.state.into()
                    },
                    ready: member.serves(),
                    age: Span::measured(member.replica.started.map_or(Duration::ZERO, |started| {
                        if started > now + AHEAD {
                            // Started by a clock that was set back since.
                            self.setup.policy.initialization_period.0
                        } else {
                            now.since(started)
                        }
                    })),
                    metrics,
                    throttled: window.and_then(|w| Some(w.throttled(now)?.get())),
                    out_of_memory: self
                        .memory_demand
                        .ooms
                        .get(&member.replica.name)
                        .map(|at| Span(now.since(*at))),
                }
            })
            .chain(self.lost_to_memory(now))
            .collect();
        let mut input = Input::new(now, self.setup.policy.clone());
        input.service = Some(self.setup.service.clone());
        input.current = self.desired;
        input.replicas = replicas;
        input.service_metrics = self.custom.of_service();
        input.unread = self.custom.unread().clone();
        input.history = self.decisions.history.clone();
        input.hold = self.hold.map(|hold| hold.replicas);
        input.paused = self.paused(now).map(|paused| paused.directions);
        input
    }
}
