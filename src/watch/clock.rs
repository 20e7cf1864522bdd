//! The only place that reads a clock.

use std::{fmt, time::Duration};

use jiff::SignedDuration;
use tokio::time::Instant;

use crate::units::Timestamp;

/// As far as this the clocks may come apart before that counts as a jump.
const TOLERATED: Duration = Duration::from_secs(3);

/// Moments of one run: one wall-clock reading plus tokio's monotonic clock, so that they never go
/// backwards and tests can pause them. A wall clock that is set, or a machine that slept, makes the
/// two come apart; `Clock::mind` notices and begins anew from the wall clock, because containers
/// and people go by that.
#[derive(Debug, Clone, Copy)]
pub struct RunClock {
    wall: jiff::Timestamp,
    start: Instant,
    /// The kernel's clock that goes on while the machine sleeps.
    uptime: Option<Duration>,
    /// How the wall clock is read.
    read: fn() -> jiff::Timestamp,
    /// How the kernel's is.
    awake: fn() -> Option<Duration>,
}

/// How the clocks came apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Jump {
    /// The wall clock was set by this: what was noted before has to move along.
    pub(super) set_by: SignedDuration,
    /// The machine slept for so long: that time has passed for everybody.
    pub(super) slept: Duration,
}

impl fmt::Display for Jump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slept = (!self.slept.is_zero())
            .then(|| format!("the machine slept for {}s", self.slept.as_secs()));
        let set = (!self.set_by.is_zero()).then(|| {
            let way = if self.set_by.is_negative() {
                "back"
            } else {
                "forward"
            };
            let seconds = self.set_by.unsigned_abs().as_secs();
            format!("the clock was set {way} by {seconds}s")
        });
        let all: Vec<_> = slept.into_iter().chain(set).collect();
        f.write_str(&all.join(", and "))
    }
}

impl RunClock {
    /// Starts from the machine's clock.
    pub fn start() -> Self {
        Self::read_with(wall, uptime)
    }

    /// The same for a wall clock that is read in another way, on a machine that never sleeps.
    pub fn read_by(read: fn() -> jiff::Timestamp) -> Self {
        Self::read_with(read, || None)
    }

    fn read_with(read: fn() -> jiff::Timestamp, awake: fn() -> Option<Duration>) -> Self {
        Self {
            wall: read(),
            start: Instant::now(),
            uptime: awake(),
            read,
            awake,
        }
    }

    /// The present moment.
    pub fn now(self) -> Timestamp {
        Timestamp(self.wall) + self.start.elapsed()
    }

    /// What the machine's clock says, which others write their own records by, in milliseconds since
    /// 1970.
    pub fn wall_millis(self) -> u64 {
        u64::try_from((self.read)().as_millisecond()).unwrap_or(0)
    }

    /// When a moment will be, for a timer.
    pub fn instant(self, moment: Timestamp) -> Instant {
        self.start + moment.since(Timestamp(self.wall))
    }

    /// Whether the clocks have come apart; then this one begins anew.
    pub(super) fn mind(&mut self) -> Option<Jump> {
        self.compare(Self::read_with(self.read, self.awake))
    }

    fn compare(&mut self, now: Self) -> Option<Jump> {
        let ran = now.start.saturating_duration_since(self.start);
        let apart = signed(ran)
            .checked_neg()
            .and_then(|ran| now.wall.duration_since(self.wall).checked_add(ran))?;
        if apart.unsigned_abs() < TOLERATED {
            return None;
        }
        let slept = match (self.uptime, now.uptime) {
            (Some(before), Some(after)) => after.saturating_sub(before).saturating_sub(ran),
            _ => Duration::ZERO,
        };
        let slept = if slept < TOLERATED {
            Duration::ZERO
        } else {
            slept
        };
        let set_by = apart.checked_sub(signed(slept))?;
        let set_by = if set_by.unsigned_abs() < TOLERATED {
            SignedDuration::ZERO
        } else {
            set_by
        };
        *self = now;
        Some(Jump { set_by, slept })
    }
}

fn signed(span: Duration) -> SignedDuration {
    SignedDuration::try_from(span).unwrap_or(SignedDuration::MAX)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one reading of the wall clock that every moment of a run derives from"
)]
fn wall() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// Time since the start of the machine, asleep or awake.
fn uptime() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let seconds = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that began at noon, and a reading of the three clocks later on.
    fn after(wall: i64, ran: u64, uptime: Option<u64>) -> (Option<Jump>, RunClock, RunClock) {
        let noon = jiff::Timestamp::from_second(1_800_000_000).unwrap();
        let start = Instant::now();
        let mut clock = RunClock {
            wall: noon,
            start,
            uptime: Some(Duration::from_secs(1000)),
            read: super::wall,
            awake: super::uptime,
        };
        let now = RunClock {
            wall: noon + SignedDuration::from_secs(wall),
            start: start + Duration::from_secs(ran),
            uptime: uptime.map(|seconds| Duration::from_secs(1000 + seconds)),
            read: super::wall,
            awake: super::uptime,
        };
        (clock.compare(now), clock, now)
    }

    fn jump(set_by: i64, slept: u64) -> Jump {
        Jump {
            set_by: SignedDuration::from_secs(set_by),
            slept: Duration::from_secs(slept),
        }
    }

    #[test]
    fn clocks_that_go_together_are_left_alone() {
        assert_eq!(after(60, 60, Some(60)).0, None);
        assert_eq!(after(62, 60, Some(60)).0, None, "a slew or a slow reading");
    }

    #[test]
    fn a_clock_that_is_set_and_a_machine_that_slept_are_told_apart() {
        assert_eq!(
            after(3660, 60, Some(60)).0,
            Some(jump(3600, 0)),
            "set forward"
        );
        assert_eq!(
            after(-3540, 60, Some(60)).0,
            Some(jump(-3600, 0)),
            "set back"
        );
        assert_eq!(after(3660, 60, Some(3660)).0, Some(jump(0, 3600)), "slept");
        assert_eq!(
            after(7260, 60, Some(3660)).0,
            Some(jump(3600, 3600)),
            "both"
        );
        assert_eq!(after(3660, 60, None).0, Some(jump(3600, 0)), "nobody knows");
        let both = after(60, 60 + 7200, Some(60 + 7200 + 3600)).0.unwrap();
        assert_eq!(
            both.to_string(),
            "the machine slept for 3600s, and the clock was set back by 10800s"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_jump_moments_are_those_of_the_wall_clock() {
        let (jumped, clock, now) = after(3660, 60, Some(60));
        assert!(jumped.is_some());
        assert_eq!((clock.wall, clock.start), (now.wall, now.start));
        tokio::time::advance(Duration::from_secs(70)).await;
        assert_eq!(clock.now(), Timestamp(now.wall) + Duration::from_secs(10));
    }
}
