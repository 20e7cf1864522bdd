//! CPU time between two readings, as a share of what the replica may use.

use std::time::Duration;

use crate::units::Percent;

use super::CounterReading;

/// CPU used between two readings, in percent of the limit, or of one core when there is no limit:
/// 0.5 s of CPU in 1 s is 50% of one core and 100% of a limit of half a core.
///
/// `None` when the readings make no interval (the same moment, or in the wrong order), and when the
/// counter went backwards, because the container was restarted in between.
pub fn share(
    previous: &CounterReading,
    next: &CounterReading,
    limit_cores: Option<f64>,
) -> Option<Percent> {
    let elapsed = interval(previous, next)?;
    let used = next.cpu_nanos.checked_sub(previous.cpu_nanos)?;
    let cores = Duration::from_nanos(used).as_secs_f64() / elapsed.as_secs_f64();
    let limit = limit_cores.filter(|limit| *limit > 0.0).unwrap_or(1.0);
    Percent::new(cores / limit * 100.0)
}

/// How long the scheduler's period is unless somebody sets `cpu_period`: a quota is for that long.
const PERIOD: Duration = Duration::from_millis(100);

/// The share of time in which the quota had run out, in percent. Of time and not of the periods with a
/// quota, of which there are none while nothing runs: a healthcheck that needs a moment's burst every
/// ten seconds would be throttled in half of those.
///
/// `None` when there is no quota (no period passed) or the counters went backwards.
pub fn throttled(previous: &CounterReading, next: &CounterReading) -> Option<Percent> {
    let elapsed = interval(previous, next)?;
    let periods = next.periods.checked_sub(previous.periods)?;
    let throttled = next.throttled.checked_sub(previous.throttled)?;
    if periods == 0 {
        return None;
    }
    let share = throttled as f64 * PERIOD.as_secs_f64() / elapsed.as_secs_f64();
    Percent::new((share * 100.0).min(100.0))
}

fn interval(previous: &CounterReading, next: &CounterReading) -> Option<Duration> {
    let elapsed = next.at.since(previous.at);
    (!elapsed.is_zero()).then_some(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::{Bytes, Timestamp};

    fn reading(second: i64, cpu_millis: u64, periods: u64, throttled: u64) -> CounterReading {
        CounterReading {
            at: Timestamp::from_unix(second),
            cpu_nanos: cpu_millis * 1_000_000,
            periods,
            throttled,
            working_set: Bytes(0),
        }
    }

    #[test]
    fn the_share_is_of_the_limit_or_of_one_core() {
        let (before, after) = (reading(0, 1000, 0, 0), reading(5, 3500, 0, 0));
        assert_eq!(share(&before, &after, None), Percent::new(50.0));
        assert_eq!(share(&before, &after, Some(0.5)), Percent::new(100.0));
        assert_eq!(share(&before, &after, Some(2.0)), Percent::new(25.0));
        assert_eq!(share(&before, &after, Some(0.0)), Percent::new(50.0));
    }

    #[test]
    fn a_counter_that_goes_backwards_is_a_restart_and_no_load() {
        assert_eq!(
            share(&reading(0, 9000, 0, 0), &reading(5, 10, 0, 0), None),
            None
        );
        assert_eq!(
            throttled(&reading(0, 0, 50, 9), &reading(5, 0, 10, 2)),
            None
        );
    }

    #[test]
    fn no_time_between_two_readings_is_no_load() {
        let (one, two) = (reading(5, 10, 0, 0), reading(5, 20, 0, 0));
        assert_eq!(share(&one, &two, None), None);
        assert_eq!(
            share(&reading(6, 10, 0, 0), &reading(5, 20, 0, 0), None),
            None
        );
    }

    #[test]
    fn throttling_is_a_share_of_the_time() {
        let (before, after) = (reading(0, 0, 10, 5), reading(5, 0, 60, 40));
        assert_eq!(throttled(&before, &after), Percent::new(70.0));
        // Idle but for one period in ten seconds: half of those with a quota, and no sign of anything.
        let (before, after) = (reading(0, 0, 10, 5), reading(10, 0, 12, 6));
        assert_eq!(throttled(&before, &after), Percent::new(1.0));
        assert_eq!(
            throttled(&reading(0, 0, 0, 0), &reading(5, 0, 0, 0)),
            None,
            "without a quota there are no periods"
        );
    }
}
