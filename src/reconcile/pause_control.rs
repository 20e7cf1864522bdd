//! Suspending autoscaling and resuming it.
//!
//! A pause binds decisions and nothing else: dead replicas are replaced, nginx is kept right, drains
//! end, and a count that is asked for by hand is reached.

use std::time::Duration;

use super::{Effect, EventKind, Initiator, Paused, ServiceMachine};
use crate::{decide::Pause, units::Timestamp};

impl ServiceMachine {
    /// The pause that is in force.
    pub fn paused(&self, now: Timestamp) -> Option<Paused> {
        self.paused.filter(|paused| !paused.is_over(now))
    }

    pub(super) fn on_suspend(
        &mut self,
        directions: Pause,
        span: Option<Duration>,
        by: Initiator,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let until = span.map(|span| now + span);
        self.paused = Some(Paused { directions, until });
        out.extend(until.map(Effect::WakeAt));
        out.push(self.note(
            EventKind::Paused {
                directions,
                until,
                by,
            },
            now,
        ));
        self.call_off(directions, now);
    }

    /// Of replicas that load had asked for, those whose making has not begun (because attempts fail,
    /// most likely) are not made any more.
    fn call_off(&mut self, directions: Pause, now: Timestamp) {
        self.expire_hold(now);
        let (Some(moving), Some(desired)) = (self.moving, self.desired) else {
            return;
        };
        let there = self.live().max(moving.from);
        if directions == Pause::Down || self.hold.is_some() || there >= desired {
            return;
        }
        self.decisions
            .history
            .record_change(now, i64::from(there) as i32 - i64::from(desired) as i32);
        self.desired = Some(there);
        self.moving = (there > moving.from).then_some(super::CountMove {
            to: there,
            ..moving
        });
    }

    pub(super) fn on_resume(&mut self, by: Initiator, now: Timestamp, out: &mut Vec<Effect>) {
        if self.paused.take().is_some() {
            out.push(self.note(EventKind::Resumed { by }, now));
        }
    }

    /// Ends a pause whose time has run out, also while nobody was there to see it.
    pub(super) fn end_pause(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.paused.is_some_and(|paused| paused.is_over(now)) {
            self.on_resume(Initiator::Clock, now, out);
        }
    }
}
