//! What the machine has left for each service, looked at when the services decide.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{Driver, Message, RunGoal};
use crate::{
    control::HostView,
    decide::{self, HostCapacity, HostCpu},
    engine::{Engine, EngineInfo},
    host::HostSample,
    policy,
    project::ContainerId,
    proxy::Proxy,
    reconcile::{Event, ServiceMachine, Values},
    units::{Bytes, Percent, Timestamp},
    usage::CounterReading,
};

/// Services whose counters come within so long of each other decide together: only then it is seen
/// that two want the same memory.
const TOGETHER: Duration = Duration::from_millis(50);
/// The first decisions wait so long for the Engine to say which machine it is on.
const PATIENCE: Duration = Duration::from_secs(2);

/// A run that decides once waits so long for a second look at the cores.
const CORES: Duration = Duration::from_secs(1);

/// Whether the machine of the Engine is this one, whose figures can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Locality {
    /// It was not asked.
    Unknown,
    /// It was asked then.
    Asked(Timestamp),
    /// It has so much memory; zero if it does not say.
    Memory(u64),
}

/// What was read of one service.
type ServiceSample = (BTreeMap<ContainerId, CounterReading>, Values);

/// What was read of some services and waits for the others.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    samples: BTreeMap<String, ServiceSample>,
    pub(super) due: Option<Timestamp>,
}

/// What of a look at the machine is left for replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Left {
    memory: Option<Bytes>,
    cpu: Option<HostCpu>,
}

impl Left {
    /// What is available beyond the reserve and what is promised already.
    fn of(look: &HostSample, reserve: policy::HostReserve, promised: u64) -> Self {
        Self {
            memory: reserve.reserve_memory.map(|reserve| {
                let free = look.available.0.saturating_sub(reserve.of(look.memory).0);
                Bytes(free.saturating_sub(promised))
            }),
            cpu: reserve.reserve_cpu.and_then(|reserve| {
                Some(HostCpu {
                    busy: look.busy?,
                    reserve: reserve.get(),
                    pressure: look.pressure,
                })
            }),
        }
    }
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Takes the readings of one service; it decides when those that were asked at the same time are
    /// there too, or have been waited for.
    pub(super) fn gather(
        &mut self,
        service: String,
        readings: BTreeMap<ContainerId, CounterReading>,
        values: Values,
    ) {
        let due = self.clock.now() + TOGETHER;
        self.gathered.samples.insert(service, (readings, values));
        self.gathered.due.get_or_insert(due);
    }

    /// Lets the services decide whose readings are there, once it is time.
    pub(super) fn decide_together(&mut self) {
        let now = self.clock.now();
        let Some(due) = self.gathered.due else {
            return;
        };
        if !self.sampling.is_empty() && now < due {
            return;
        }
        if !self.knows_the_machine(now) {
            self.gathered.due = Some(now + TOGETHER);
            return;
        }
        // A run that decides once has no look of before to hold the cores against.
        if self.goal == RunGoal::Once
            && self.loaded.settings.host.reserve_cpu.is_some()
            && self.host.look(now).is_some_and(|look| look.busy.is_none())
            && now.since(*self.cores_since.get_or_insert(now)) < CORES
        {
            self.gathered.due = Some(now + TOGETHER);
            return;
        }
        let gathered = std::mem::take(&mut self.gathered).samples;
        let left = self.left(now);
        let wishes: Vec<_> = match left {
            Some(Left {
                memory: Some(_), ..
            }) => self
                .machines
                .values()
                .filter_map(|machine| {
                    let sample = gathered.get(machine.service());
                    let cpu = left.and_then(|left| left.cpu);
                    machine.wish(sample.map(|(readings, _)| readings), cpu, now)
                })
                .collect(),
            _ => Vec::new(),
        };
        for (service, (readings, values)) in gathered {
            let Some(machine) = self.machines.get_mut(&service) else {
                continue;
            };
            let free = left.and_then(|left| left.memory).unwrap_or(Bytes(0));
            let kept = decide::kept_from(&service, &wishes, free);
            machine.has_room(left.map(|left| {
                HostCapacity {
                    free_memory: left
                        .memory
                        .map(|free| Bytes(free.0.saturating_sub(decide::kept_sum(&kept).0))),
                    replica_memory: machine.replica_memory(),
                    kept,
                    cpu: left.cpu,
                }
            }));
            self.hand_over(service, Event::Sampled { readings, values });
        }
    }

    /// What the machine has left; `None` where its figures are not to be had, or not wanted.
    fn left(&mut self, now: Timestamp) -> Option<Left> {
        let reserve = self.loaded.settings.host;
        let look = self.host.look(now);
        self.looked = look;
        if reserve.reserve_memory.is_none() && reserve.reserve_cpu.is_none() {
            return None;
        }
        let look = look?;
        // An Engine elsewhere, or in a virtual machine of its own, has another memory than this.
        if self.locality != Locality::Memory(look.memory.0) {
            // Memory may be given to a virtual machine while it runs.
            if self.compared.is_some_and(|before| before != look.memory) {
                self.locality = Locality::Unknown;
            }
            self.compared = Some(look.memory);
            return None;
        }
        self.compared = Some(look.memory);
        let promised = self.machines.values().map(ServiceMachine::promised);
        let promised = promised.map(|bytes| bytes.0).sum();
        Some(Left::of(&look, reserve, promised))
    }

    /// The machine as people see it, where it is the Engine's.
    pub(super) fn host_view(&self) -> Option<HostView> {
        let look = self.looked?;
        if self.locality != Locality::Memory(look.memory.0) {
            return None;
        }
        let reserve = self.loaded.settings.host;
        Some(HostView {
            memory: look.memory,
            available: look.available,
            reserve_memory: reserve.reserve_memory.map(|part| part.of(look.memory)),
            busy: look.busy,
            reserve_cpu: reserve.reserve_cpu.map(Percent::get),
        })
    }

    /// Whether the Engine has said which machine it is on, or has been asked in vain. Asks it.
    fn knows_the_machine(&mut self, now: Timestamp) -> bool {
        match self.locality {
            Locality::Memory(_) => true,
            Locality::Asked(at) => now.since(at) >= PATIENCE,
            Locality::Unknown => {
                self.locality = Locality::Asked(now);
                let engine = Arc::clone(&self.engine);
                let report = self.report.clone();
                self.tasks.spawn(async move {
                    let info = engine.info().await;
                    let _ = report.send(Message::Machine(info.ok())).await;
                });
                false
            }
        }
    }

    /// The Engine has said which machine it is on; should it not have, it is asked again.
    pub(super) fn on_machine(&mut self, info: Option<&EngineInfo>) {
        self.locality = info.map_or(Locality::Unknown, |info| Locality::Memory(info.memory));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_without_the_reserve_and_what_is_promised() {
        let look = HostSample {
            memory: Bytes(1000),
            available: Bytes(400),
            busy: Some(80.0),
            pressure: None,
        };
        let mut reserve = policy::HostReserve::default();
        let left = Left::of(&look, reserve, 50);
        assert_eq!(left.memory, Some(Bytes(250)));
        let cpu = left.cpu.unwrap();
        assert_eq!((cpu.busy, cpu.reserve, cpu.pressure), (80.0, 5.0, None));
        assert_eq!(Left::of(&look, reserve, 301).memory, Some(Bytes(0)));
        reserve.reserve_memory = None;
        reserve.reserve_cpu = Percent::new(0.0);
        let left = Left::of(&HostSample { busy: None, ..look }, reserve, 0);
        assert_eq!((left.memory, left.cpu), (None, None));
    }
}
