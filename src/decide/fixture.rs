//! Inputs for tests, with defaults that are overridden one by one.

use crate::{
    policy::{Aim, Custom, CustomTarget, Metric, Policy},
    units::{Moment, Percent, Span},
};

use super::{Input, Observed, ObservedState};

pub(super) const NOW: i64 = 1_767_268_800;

/// `web-1`: running, ready and old enough, without a sample.
pub(super) fn replica(number: usize) -> Observed {
    Observed {
        name: format!("web-{number}"),
        state: ObservedState::Running,
        ready: true,
        age: Span::seconds(600),
        metrics: std::collections::BTreeMap::new(),
        throttled: None,
        out_of_memory: None,
    }
}

/// A service whose replicas use these percentages of their CPU, under a policy of 1 to 8 replicas
/// with a target of 60%.
pub(super) fn web(cpu: &[f64]) -> Input {
    let policy = Policy {
        min: 1,
        max: 8,
        metrics: vec![cpu_target(60.0)],
        ..Policy::default()
    };
    let mut input = Input::new(Moment::from_unix(NOW), policy);
    input.replicas = cpu
        .iter()
        .enumerate()
        .map(|(index, value)| {
            let mut replica = replica(index + 1);
            replica.metrics.insert("cpu".into(), *value);
            replica
        })
        .collect();
    input
}

pub(super) fn percent(percent: f64) -> Percent {
    Percent::new(percent).unwrap()
}

pub(super) fn cpu_target(target: f64) -> Metric {
    Metric::Cpu(Aim::Target(percent(target)))
}

pub(super) fn cpu_thresholds(above: f64, below: f64, step: u32) -> Metric {
    Metric::Cpu(Aim::Thresholds {
        above: percent(above),
        below: percent(below),
        step,
    })
}

pub(super) fn custom(name: &str, target: CustomTarget) -> Metric {
    Metric::Custom(Custom {
        name: name.into(),
        source: None,
        target,
        fallback: None,
        failures: Custom::FAILURES,
    })
}

impl Input {
    /// So many more replicas without a sample.
    pub(super) fn unseen(mut self, more: usize) -> Self {
        for _ in 0..more {
            self.replicas.push(replica(self.replicas.len() + 1));
        }
        self
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// A recommendation made so many seconds ago.
    pub(super) fn recommended(mut self, ago: u64, replicas: u32) -> Self {
        let at = self.now - std::time::Duration::from_secs(ago);
        self.history.record_recommendation(at, replicas);
        self
    }
}
