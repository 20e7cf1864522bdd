//! Autoscaling that somebody has suspended, in one direction or in both.
//!
//! A pause binds decisions and nothing else: dead replicas are replaced, nginx is kept right, drains
//! end, and a count that is asked for by hand is reached.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Effect, EventKind, Initiator, ServiceMachine};
use crate::{decide::Pause, units::Timestamp};

/// Autoscaling that is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// In which directions.
    pub directions: Pause,
    /// Until then; until somebody resumes it without.
    pub until: Option<Timestamp>,
}

impl Paused {
    /// Whether its time has run out.
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

impl fmt::Display for Paused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.directions {
            Pause::Both => "scaling is paused",
            Pause::Up => "scaling up is paused",
            Pause::Down => "scaling down is paused",
        })?;
        match self.until {
            Some(until) => write!(f, " until {}", until.date_and_clock()),
            None => Ok(()),
        }
    }
}

impl ServiceMachine {
    /// The pause that is in force.
    pub fn paused(&self, now: Timestamp) -> Option<Paused> {
        self.paused.filter(|paused| !paused.is_over(now))
    }

    pub(super) fn pause(
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
        self.history
            .record_change(now, i64::from(there) as i32 - i64::from(desired) as i32);
        self.desired = Some(there);
        self.moving = (there > moving.from).then_some(super::CountMove {
            to: there,
            ..moving
        });
    }

    pub(super) fn resume(&mut self, by: Initiator, now: Timestamp, out: &mut Vec<Effect>) {
        if self.paused.take().is_some() {
            out.push(self.note(EventKind::Resumed { by }, now));
        }
    }

    /// Ends a pause whose time has run out, also while nobody was there to see it.
    pub(super) fn end_pause(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.paused.is_some_and(|paused| paused.is_over(now)) {
            self.resume(Initiator::Clock, now, out);
        }
    }
}
