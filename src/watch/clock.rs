//! The only place that reads a clock.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::units::Moment;

/// Moments of one run: one wall-clock reading at the start plus tokio's monotonic clock, so that
/// they never go backwards and tests can pause them.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    wall: Timestamp,
    start: Instant,
}

impl Clock {
    /// Starts from the machine's clock.
    pub fn start() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one reading of the wall clock that every moment of a run derives from"
        )]
        let wall = Timestamp::now();
        Self {
            wall,
            start: Instant::now(),
        }
    }

    /// The present moment.
    pub fn now(self) -> Moment {
        Moment(self.wall) + self.start.elapsed()
    }

    /// When a moment will be, for a timer.
    pub fn instant(self, moment: Moment) -> Instant {
        self.start + moment.since(Moment(self.wall))
    }
}
