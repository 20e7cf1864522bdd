//! The wanted count: changes of it, counts set by hand, and another policy.

use std::{collections::BTreeMap, time::Duration};

use super::{
    CountMove, Effect, EventKind, Hold, Initiator, ServiceMachine, ServiceSetup,
    backoff::FailureBackoff, managed_replica::Phase,
};
use crate::units::Timestamp;

impl ServiceMachine {
    pub(super) fn want(&mut self, desired: u32, now: Timestamp) {
        let from = self.desired.unwrap_or(desired);
        self.decisions
            .history
            .record_change(now, i64::from(desired) as i32 - i64::from(from) as i32);
        self.desired = Some(desired);
        self.moving = Some(CountMove {
            from,
            to: desired,
            since: now,
        });
    }

    pub(super) fn on_scale(
        &mut self,
        replicas: u32,
        hold: Option<Duration>,
        by: Initiator,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.refused = None;
        self.preflight.tell_again();
        if let Some(why) = self.setup.unroutable.clone().filter(|_| self.setup.routed) {
            self.refuse(why, now, out);
            return;
        }
        // Somebody who asks again wants it tried now.
        self.backoff = FailureBackoff::default();
        // And wants what was stopped to run, and what is not there to be made.
        self.bootstrap.wanted |= self.members.is_empty();
        for member in self.members.values_mut() {
            if let Phase::Idle { on_purpose, .. } = &mut member.phase {
                *on_purpose = false;
            }
        }
        let from = self.desired.unwrap_or_else(|| self.live());
        if let Some(span) = hold {
            let until = Some(now + span);
            self.hold = Some(Hold { replicas, until });
            out.push(self.note(EventKind::Held { replicas, until }, now));
            out.push(Effect::WakeAt(now + span));
        }
        if replicas != from {
            out.push(self.note(
                EventKind::Scale {
                    from,
                    to: replicas,
                    reason: "held".into(),
                    message: format!("asked for by hand{}", self.setup.policy.beyond(replicas)),
                    metrics: BTreeMap::new(),
                    by,
                    input: None,
                },
                now,
            ));
        }
        self.want(replicas, now);
    }

    pub(super) fn expire_hold(&mut self, now: Timestamp) {
        self.hold = self
            .hold
            .filter(|hold| hold.until.is_none_or(|until| until > now));
    }

    /// Another policy. Where traffic would go to another port, or be let in by another gate, every
    /// replica is looked at again, and until one passes nginx stays as it is: the containers may be
    /// older than the file.
    pub(super) fn on_setup(&mut self, setup: ServiceSetup, now: Timestamp, out: &mut Vec<Effect>) {
        let other_gate =
            setup.port != self.setup.port || setup.policy.ready != self.setup.policy.ready;
        if setup.policy.metrics != self.setup.policy.metrics {
            // What was tried was tried for something else.
            self.decisions.history.trials.clear();
        }
        if setup.unroutable != self.setup.unroutable {
            self.expect_a_look();
        }
        self.setup = setup;
        self.refused = None;
        if !other_gate {
            self.routing.ask_again();
            return;
        }
        self.routing.keep_until_one_is_ready();
        let serving: Vec<_> = self
            .members
            .values()
            .filter(|m| m.serves())
            .map(|m| m.replica.id.clone())
            .collect();
        for id in serving {
            self.probe(&id, now, out);
        }
    }
}
