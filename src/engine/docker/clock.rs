//! The time of readings and events.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::units::Timestamp;

/// Moments that do not go backwards: one reading of the wall clock, then a monotonic one, until the two
/// come apart because the wall clock was set or the machine slept.
pub(super) struct EngineClock(pub(super) Mutex<(Timestamp, Instant)>);

/// As far as this they may come apart.
const TOLERATED: Duration = Duration::from_secs(3);

impl EngineClock {
    pub(super) fn start() -> Self {
        Self(Mutex::new((Timestamp(wall_clock()), Instant::now())))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.at(Timestamp(wall_clock()))
    }

    pub(super) fn at(&self, wall: Timestamp) -> Timestamp {
        let mut began = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = began.0 + began.1.elapsed();
        if now.since(wall).max(wall.since(now)) < TOLERATED {
            return now;
        }
        *began = (wall, Instant::now());
        wall
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "counters need the time at which they were read, and an event stream the time at which it was asked for"
)]
pub(super) fn wall_clock() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
