//! Decisions on load: what they look back on, and what follows from them.

use std::collections::BTreeMap;

use super::{
    Effect, EventKind, Initiator, ServiceMachine, SyncState, Values, skip_reason::LastSkipReason,
};
use crate::{
    decide::{self, Decision, History, Input},
    plan::{Plan, PlanError},
    project::ContainerId,
    units::{SignedDuration, Timestamp},
    usage::CounterReading,
};

/// Decisions of this run and of the ones before.
#[derive(Debug)]
pub(super) struct Decisions {
    /// Recommendations and changes.
    pub(super) history: History,
    pub(super) last: Option<(Timestamp, Decision)>,
    /// The reason for doing nothing that was said last; `None` when something was done since.
    pub(super) skip_reason: Option<LastSkipReason>,
    /// Decisions of this run.
    pub(super) count: u32,
}

impl Decisions {
    /// After a run that has left these.
    pub(super) fn after(history: History, last: Option<(Timestamp, Decision)>) -> Self {
        Self {
            history,
            skip_reason: LastSkipReason::before(last.as_ref()),
            last,
            count: 0,
        }
    }

    pub(super) fn shift(&mut self, set_by: SignedDuration) {
        self.history.shift(set_by);
        if let Some((at, _)) = &mut self.last {
            *at = at.shifted(set_by);
        }
    }
}

/// A decision that nothing follows from.
#[derive(Debug, Clone, PartialEq)]
pub struct IdleDecision {
    /// What it was made from.
    pub input: Input,
    /// The decision.
    pub decision: Decision,
    /// The steps it would take.
    pub plan: Result<Plan, PlanError>,
    /// Whether the one before came out otherwise.
    pub news: bool,
}

impl ServiceMachine {
    pub(super) fn on_sampled(
        &mut self,
        readings: BTreeMap<ContainerId, CounterReading>,
        values: Values,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.keep_readings(readings);
        let unserved = self.unserved.keep(values.unserved, now);
        for news in self.keep_values(values).into_iter().chain(unserved) {
            out.push(self.note(news, now));
        }
        self.decide_and_follow(now, out);
    }

    /// Decides on load without acting on it, for `--dry-run`.
    pub fn consider(
        &mut self,
        readings: BTreeMap<ContainerId, CounterReading>,
        values: Values,
        now: Timestamp,
    ) -> Option<IdleDecision> {
        self.desired = Some(self.live());
        self.keep_readings(readings);
        self.keep_values(values);
        let (input, decision) = self.decide(now)?;
        self.keep_in_mind(&decision, now);
        let plan = self.plan(decision.desired);
        let is_like = |before: &Decision| {
            (before.reason, before.desired) == (decision.reason, decision.desired)
        };
        let before = self
            .decisions
            .last
            .as_ref()
            .filter(|_| self.decisions.count > 1);
        let news = before.is_none_or(|(_, before)| !is_like(before));
        self.decisions.last = Some((now, decision.clone()));
        Some(IdleDecision {
            input,
            decision,
            plan,
            news,
        })
    }

    /// The decision and what it was made from.
    pub(super) fn decide(&mut self, now: Timestamp) -> Option<(Input, Decision)> {
        if !self.setup.autoscaled || self.sync != SyncState::Acting || self.standstill.is_some() {
            return None;
        }
        self.expire_hold(now);
        self.forget_old_ooms(now);
        self.decisions.count += 1;
        let input = self.input(now);
        let decision = decide::decide(&input);
        Some((input, decision))
    }

    pub(super) fn decide_and_follow(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.compose_work.is_going_on(now) {
            return;
        }
        let Some((input, decision)) = self.decide(now) else {
            return;
        };
        self.keep_in_mind(&decision, now);
        let from = self.desired.unwrap_or(decision.desired);
        if decision.desired == from {
            self.say_why_not(&decision, now, out);
        } else {
            let metrics = decision
                .proposals
                .iter()
                .filter_map(|p| Some((p.metric.clone(), p.value?)))
                .collect();
            out.push(self.note(
                EventKind::Scale {
                    from,
                    to: decision.desired,
                    reason: decision.reason.label().to_owned(),
                    message: decision.message.clone(),
                    metrics,
                    by: Initiator::Policy,
                    input: serde_json::to_value(&input).ok().map(Box::new),
                },
                now,
            ));
            self.want(decision.desired, now);
            self.decisions.skip_reason = None;
        }
        self.decisions.last = Some((now, decision.clone()));
        out.push(Effect::Decided {
            input: Box::new(input),
            decision: Box::new(decision),
        });
    }

    /// What later decisions look back on.
    pub(super) fn keep_in_mind(&mut self, decision: &Decision, now: Timestamp) {
        if let Some(recommendation) = decision.recommendation {
            self.decisions
                .history
                .record_recommendation(now, recommendation);
        }
        if decision.bursts {
            self.decisions.history.burst = Some(now);
        }
        self.decisions.history.trials.clone_from(&decision.trials);
        self.decisions
            .history
            .prune(now, &self.setup.policy.behavior);
    }
}
