//! Inputs for tests, with defaults that are overridden one by one.

use crate::{
    policy::{Aim, CustomMetric, CustomTarget, Metric, Policy},
    units::{Percent, Span, Timestamp},
};

use super::{Input, Observed, ObservedState};

pub(in crate::decide) const NOW: i64 = 1_767_268_800;

/// `web-1`: running, ready and old enough, without a sample.
pub(in crate::decide) fn replica(number: usize) -> Observed {
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
pub(in crate::decide) fn web(cpu: &[f64]) -> Input {
    let policy = Policy {
        min: 1,
        max: 8,
        metrics: vec![cpu_target(60.0)],
        ..Policy::default()
    };
    let mut input = Input::new(Timestamp::from_unix(NOW), policy);
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

pub(in crate::decide) fn percent(percent: f64) -> Percent {
    Percent::new(percent).unwrap()
}

pub(in crate::decide) fn cpu_target(target: f64) -> Metric {
    Metric::Cpu(Aim::Target(percent(target)))
}

pub(in crate::decide) fn cpu_thresholds(above: f64, below: f64, step: u32) -> Metric {
    Metric::Cpu(Aim::Thresholds {
        above: percent(above),
        below: percent(below),
        step,
    })
}

pub(in crate::decide) fn custom(name: &str, target: CustomTarget) -> Metric {
    Metric::Custom(CustomMetric {
        name: name.into(),
        source: None,
        target,
        fallback: None,
        failures: CustomMetric::FAILURES,
    })
}

impl Input {
    /// So many more replicas without a sample.
    pub(in crate::decide) fn unseen(mut self, more: usize) -> Self {
        for _ in 0..more {
            self.replicas.push(replica(self.replicas.len() + 1));
        }
        self
    }

    pub(in crate::decide) fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// A recommendation made so many seconds ago.
    pub(in crate::decide) fn recommended(mut self, ago: u64, replicas: u32) -> Self {
        let at = self.now - std::time::Duration::from_secs(ago);
        self.history.record_recommendation(at, replicas);
        self
    }
}
