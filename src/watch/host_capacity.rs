//! The machine: whether it is the Engine's, and what it has left for replicas.

use std::time::Duration;

use super::{Message, engine_link::EngineLink, tasks::Tasks};
use crate::{
    control::HostView,
    decide::HostCpu,
    engine::{Engine, EngineInfo},
    host::{self, HostSample},
    policy,
    units::{Bytes, Percent, Timestamp},
};

/// The first decisions wait so long for the Engine to say which machine it is on.
const PATIENCE: Duration = Duration::from_secs(2);
/// A run that decides once waits so long for a second look at the cores.
const CORES: Duration = Duration::from_secs(1);

/// Whether the machine of the Engine is this one, whose figures can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Locality {
    /// It was not asked.
    Unknown,
    /// It was asked then.
    Asked(Timestamp),
    /// It has so much memory; zero if it does not say.
    Memory(u64),
}

/// The share of the machine that is left for replicas.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Left {
    pub(super) memory: Option<Bytes>,
    pub(super) cpu: Option<HostCpu>,
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

/// The machine and what was seen of it.
#[derive(Debug)]
pub(super) struct HostState {
    watcher: host::Watcher,
    /// The last look at the machine.
    looked: Option<HostSample>,
    locality: Locality,
    /// This machine's memory when it was last held against the Engine's.
    compared: Option<Bytes>,
    /// Since when a second look at the cores is waited for.
    cores_since: Option<Timestamp>,
}

impl HostState {
    pub(super) fn new(watcher: host::Watcher) -> Self {
        Self {
            watcher,
            looked: None,
            locality: Locality::Unknown,
            compared: None,
            cores_since: None,
        }
    }

    /// Whether the Engine has said which machine it is on, or has been asked in vain. Asks it.
    pub(super) fn is_known<E: Engine>(
        &mut self,
        now: Timestamp,
        engine: &EngineLink<E>,
        tasks: &mut Tasks,
    ) -> bool {
        match self.locality {
            Locality::Memory(_) => true,
            Locality::Asked(at) => now.since(at) >= PATIENCE,
            Locality::Unknown => {
                self.locality = Locality::Asked(now);
                let engine = engine.engine();
                tasks.report(async move { Message::Machine(engine.info().await.ok()) });
                false
            }
        }
    }

    /// The Engine has said which machine it is on; should it not have, it is asked again.
    pub(super) fn answered(&mut self, info: Option<&EngineInfo>) {
        self.locality = info.map_or(Locality::Unknown, |info| Locality::Memory(info.memory));
    }

    /// Whether a second look at the cores is to be waited for, to hold against the first.
    pub(super) fn lacks_cores(&mut self, now: Timestamp) -> bool {
        self.watcher
            .look(now)
            .is_some_and(|look| look.busy.is_none())
            && now.since(*self.cores_since.get_or_insert(now)) < CORES
    }

    /// What the machine has left beyond what is promised; `None` where its figures are not to be had, or
    /// not wanted.
    pub(super) fn left(
        &mut self,
        reserve: policy::HostReserve,
        promised: u64,
        now: Timestamp,
    ) -> Option<Left> {
        let look = self.watcher.look(now);
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
        Some(Left::of(&look, reserve, promised))
    }

    /// The machine as people see it, where it is the Engine's.
    pub(super) fn view(&self, reserve: policy::HostReserve) -> Option<HostView> {
        let look = self.looked?;
        if self.locality != Locality::Memory(look.memory.0) {
            return None;
        }
        Some(HostView {
            memory: look.memory,
            available: look.available,
            reserve_memory: reserve.reserve_memory.map(|part| part.of(look.memory)),
            busy: look.busy,
            reserve_cpu: reserve.reserve_cpu.map(Percent::get),
        })
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
