//! From what is known to how many replicas there should be, and why.
//!
//! [`decide`] is a pure function of its [`Input`]: the same input gives the same [`Decision`], here
//! and in a replay. The rules and their order are those of the Kubernetes
//! `HorizontalPodAutoscaler` v2 (`replica_calculator.go`, `horizontal.go`), with plain thresholds
//! as a further kind of target and the machine as a further limit:
//!
//! 1. a count outside the bounds goes to the bound;
//! 2. each metric proposes a count ([`Proposal`]), the largest wins; a metric that cannot be read
//!    forbids scaling down; one of how well requests are served asks for more only where that helps;
//! 3. stabilization windows: up to the least, down to the most that was asked for in a while; nothing
//!    is removed during a burst, or shortly after a replica ran out of memory;
//! 4. rate policies (not in a burst), then the bounds, the schedule's among them, then what the
//!    machine can hold;
//! 5. a count held by hand, or a pause, overrules all of it.
//!
//! ```
//! use compose_scale::decide::{Input, Reason, decide};
//! use compose_scale::policy::Policy;
//! use compose_scale::units::Timestamp;
//!
//! let policy = Policy { min: 2, max: 8, ..Policy::default() };
//! let decision = decide(&Input { current: Some(1), ..Input::new(Timestamp::from_unix(0), policy) });
//! assert_eq!((decision.desired, decision.reason), (2, Reason::AtMin));
//! assert_eq!(decision.message, "1 is below the minimum of 2: 1 → 2");
//! ```

use serde::{Deserialize, Serialize};

use crate::policy::{CountBounds, Select};

use std::collections::BTreeMap;

mod burst;
mod counterfactual;
mod explain;
mod figures;
mod history;
mod input;
mod limits;
mod memory_priority;
mod message;
mod proposal;
mod ratio;
mod reason;
mod recommend;
mod samples;
mod service_level;
mod stabilize;
#[cfg(test)]
mod tests;

pub use explain::explain_text;
pub use history::{History, Recommendation, ScaleEvent, ScaleUpTrial, TrialOutcome};
pub use input::{HostCapacity, HostCpu, Input, KeptMemory, Observed, ObservedState, Pause, Unread};
pub use memory_priority::{MemoryRequest, kept_from, sum as kept_sum, wish};
pub use proposal::{Absence, LeftOut, MetricUnit, Proposal};
pub use reason::{Limit, Reason};

use burst::BurstState;
use limits::{CountRange, Limited};
use proposal::Judged;
use recommend::CombinedLoad;
use stabilize::Stabilized;

/// The version of [`Decision`]'s JSON form.
pub const VERSION: u32 = 1;

/// How many replicas there should be, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[must_use = "a decision does nothing by itself"]
pub struct Decision {
    /// [`VERSION`].
    pub version: u32,
    /// The count that was there.
    pub current: u32,
    /// The count that should be there.
    pub desired: u32,
    /// What each metric asks for, in the policy's order.
    pub proposals: Vec<Proposal>,
    /// The count that stabilization put in place of what the load asks for.
    pub stabilized: Option<u32>,
    /// What stopped the count short of that.
    pub limited_by: Option<Limit>,
    /// Whether a burst lasts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub burst: bool,
    /// Why, in a word.
    pub reason: Reason,
    /// Why, in a sentence.
    pub message: String,
    /// What the load asks for, for [`History::record_recommendation`]; `None` when there is nothing
    /// to remember, because it could not be read or the count was outside its bounds.
    #[serde(skip)]
    pub recommendation: Option<u32>,
    /// Whether the load is so high right now that it is a burst, for [`History::burst`].
    #[serde(skip)]
    pub bursts: bool,
    /// What is known of replicas that were added because requests were served badly, for
    /// [`History::trials`].
    #[serde(skip)]
    pub trials: BTreeMap<String, ScaleUpTrial>,
}

/// Decides how many replicas there should be.
pub fn decide(input: &Input) -> Decision {
    let steps = DecisionTrace::of(input);
    let reason = Reason::of(&steps);
    let message = message::message(&steps, reason);
    let recommendation = steps.stabilized.and_then(|_| steps.wanted());
    let changed = |stabilized: &u32| Some(*stabilized) != recommendation;
    Decision {
        version: VERSION,
        current: steps.current,
        desired: steps.desired,
        stabilized: steps.stabilized.map(|one| one.to).filter(changed),
        limited_by: steps.limited.by.filter(|_| !steps.is_overruled()),
        burst: steps.burst.is_some(),
        bursts: steps.burst == Some(BurstState::Begins),
        reason,
        message,
        recommendation,
        trials: service_level::trials(&steps),
        proposals: steps.judged.into_iter().map(|one| one.proposal).collect(),
    }
}

/// The way from an input to a count, step by step.
struct DecisionTrace<'a> {
    input: &'a Input,
    current: u32,
    bounds: CountBounds,
    judged: Vec<Judged>,
    load: CombinedLoad,
    burst: Option<BurstState>,
    /// `None` when the load does not matter or cannot be read.
    stabilized: Option<Stabilized>,
    /// What keeps replicas that stabilization would let go.
    kept: Option<ScaleDownBlock>,
    limited: Limited,
    desired: u32,
}

impl<'a> DecisionTrace<'a> {
    fn of(input: &'a Input) -> Self {
        let policy = &input.policy;
        let current = input.current_count();
        let bounds = CountBounds::at(input.now, policy.min, policy.max, &policy.schedule);
        let judged = recommend::judge(input, current);
        let load = recommend::combine(&judged, current);
        let burst = match load {
            CombinedLoad::Wants { replicas, .. } => burst::of(input, current, replicas),
            CombinedLoad::Unavailable { .. } | CombinedLoad::Unmeasured => None,
        };
        let mut kept = None;
        let stabilized = match load {
            CombinedLoad::Wants { replicas, .. }
                if (bounds.min..=bounds.max).contains(&current) =>
            {
                let mut stabilized = if burst.is_some() {
                    Stabilized::at_once(replicas)
                } else {
                    let (history, behavior) = (&input.history, &policy.behavior);
                    stabilize::stabilize(history, behavior, input.now, current, replicas)
                };
                if stabilized.to < current {
                    kept = ScaleDownBlock::of(input, burst);
                }
                if kept.is_some() {
                    stabilized.to = current;
                }
                Some(stabilized)
            }
            _ => None,
        };
        let wanted = stabilized.map_or(current, |stabilized| stabilized.to);
        let others = policy.metrics.iter().zip(&judged);
        let without_cpu = others
            .filter(|(metric, _)| !metric.needs_cores())
            .filter_map(|(_, judged)| judged.proposal.desired)
            .max();
        let limited = CountRange::new(input, current, bounds, burst.is_some())
            .limit(wanted, without_cpu.unwrap_or(0));
        Self {
            input,
            current,
            bounds,
            judged,
            load,
            burst,
            stabilized,
            kept,
            limited,
            desired: overrule(input, current, limited.to),
        }
    }

    /// How far the count may go.
    fn room(&self) -> CountRange<'a> {
        CountRange::new(self.input, self.current, self.bounds, self.burst.is_some())
    }

    /// What the load asks for.
    fn wanted(&self) -> Option<u32> {
        match self.load {
            CombinedLoad::Wants { replicas, .. } => Some(replicas),
            CombinedLoad::Unavailable { .. } | CombinedLoad::Unmeasured => None,
        }
    }

    /// The metric that decides.
    fn leading(&self) -> Option<&Judged> {
        match self.load {
            CombinedLoad::Wants { by, .. } | CombinedLoad::Unavailable { by } => {
                self.judged.get(by)
            }
            CombinedLoad::Unmeasured => None,
        }
    }

    /// Whether somebody's hand overrules what the load asks for.
    fn is_overruled(&self) -> bool {
        self.input.hold.is_some() || self.desired != self.limited.to
    }

    /// Whether the policy forbids the direction that the load asks for.
    fn is_disabled(&self) -> bool {
        let behavior = &self.input.policy.behavior;
        let rules = match self.wanted() {
            Some(wanted) if wanted > self.current => &behavior.scale_up,
            _ => &behavior.scale_down,
        };
        rules.select == Select::Disabled
    }
}

/// What keeps replicas although the load has asked for fewer all through its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ScaleDownBlock {
    Burst,
    OutOfMemory,
}

impl ScaleDownBlock {
    fn of(input: &Input, burst: Option<BurstState>) -> Option<Self> {
        if burst.is_some() {
            return Some(Self::Burst);
        }
        samples::out_of_memory(input).map(|_| Self::OutOfMemory)
    }
}

fn overrule(input: &Input, current: u32, decided: u32) -> u32 {
    match (input.hold, input.paused) {
        (Some(held), _) => held,
        (None, Some(Pause::Both)) => current,
        (None, Some(Pause::Up)) => decided.min(current),
        (None, Some(Pause::Down)) => decided.max(current),
        (None, None) => decided,
    }
}
