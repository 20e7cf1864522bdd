//! What is said of decisions to do nothing: each reason once, when it becomes the reason.

use super::{Effect, EventKind, ServiceMachine};
use crate::{
    decide::{Decision, Reason},
    units::Timestamp,
};

impl ServiceMachine {
    /// Says why nothing is done, when that is news.
    pub(super) fn say_why_not(
        &mut self,
        decision: &Decision,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        // A run that has just begun has no two readings to compare, and says nothing of it.
        if self.decisions.count == 1 && decision.reason == Reason::MetricsUnavailable {
            return;
        }
        let reason = decision.reason;
        let before = self
            .decisions
            .skip_reason
            .replace(LastSkipReason { reason, now: true });
        let before = before.filter(|said| said.reason == reason);
        if before.is_some_and(|said| said.now) {
            return;
        }
        let what = EventKind::NotScaling {
            reason,
            message: decision.message.clone(),
            again: before.is_some(),
        };
        out.push(self.note(what, now));
    }
}

/// The reason for doing nothing that was said last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LastSkipReason {
    reason: Reason,
    /// In this run, whose log begins with it.
    now: bool,
}

impl LastSkipReason {
    /// What a former run has said, if its last decision was to do nothing.
    pub(super) fn before(last: Option<&(Timestamp, Decision)>) -> Option<Self> {
        let (_, decision) = last?;
        (decision.desired == decision.current).then_some(Self {
            reason: decision.reason,
            now: false,
        })
    }
}
