//! The latest readings of one replica, and the load they show.

use std::{collections::VecDeque, time::Duration};

use crate::units::{Bytes, Percent, Timestamp};

use super::{CounterReading, cpu, memory};

/// A shorter interval shows no load: with a quota the kernel hands out CPU in periods of 100 ms, and
/// within one a busy replica can look idle or full.
const SHORTEST: Duration = Duration::from_millis(100);

/// Intervals without a new reading until the last one counts as missing.
const FRESH_INTERVALS: u32 = 3;

/// The latest readings of one replica: as many as it takes to look back one interval.
///
/// The load is a mean over the last interval. With fewer readings, or with ones further apart (two
/// runs from cron), it is the mean between the last two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    interval: Duration,
    readings: VecDeque<CounterReading>,
}

impl Window {
    /// An empty window for a replica that is read once per `interval`.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(SHORTEST * 2),
            readings: VecDeque::new(),
        }
    }

    /// Adds a reading. One whose counters or clock went backwards begins anew: the container was
    /// restarted, or the clock was set.
    pub fn feed(&mut self, reading: CounterReading) {
        if let Some(last) = self.readings.back() {
            if reading == *last {
                return;
            }
            if reading.at <= last.at || reading.cpu_nanos < last.cpu_nanos {
                self.readings.clear();
            }
        }
        self.readings.push_back(reading);
        while self.readings.get(1).is_some_and(|second| {
            // Timers are late by some milliseconds and never early: 4.99 s is one interval of 5 s.
            reading.at.since(second.at) + SHORTEST >= self.interval
        }) {
            self.readings.pop_front();
        }
    }

    /// Forgets everything, as after a start of the container.
    pub fn clear(&mut self) {
        self.readings.clear();
    }

    /// The last reading, fresh or not: what a run from cron keeps for the next one.
    pub fn last(&self) -> Option<&CounterReading> {
        self.readings.back()
    }

    /// CPU over the last interval in percent of the limit, or of one core without one. `None` when
    /// there are not two readings yet, or the last is older than three intervals.
    pub fn cpu(&self, now: Timestamp, limit_cores: Option<f64>) -> Option<Percent> {
        let (first, last) = self.span(now)?;
        cpu::share(first, last, limit_cores)
    }

    /// The share of time in which the CPU quota had run out, in percent, over the last interval. `None` as in [`cpu`](Self::cpu), and without a quota.
    pub fn throttled(&self, now: Timestamp) -> Option<Percent> {
        let (first, last) = self.span(now)?;
        cpu::throttled(first, last)
    }

    /// The working set in percent of the limit. `None` without a limit or a fresh reading.
    pub fn memory(&self, now: Timestamp, limit: Option<Bytes>) -> Option<Percent> {
        memory::share(self.fresh(now)?, limit)
    }

    fn fresh(&self, now: Timestamp) -> Option<&CounterReading> {
        self.readings
            .back()
            .filter(|last| now.since(last.at) <= self.interval * FRESH_INTERVALS)
    }

    fn span(&self, now: Timestamp) -> Option<(&CounterReading, &CounterReading)> {
        let (first, last) = (self.readings.front()?, self.fresh(now)?);
        (last.at.since(first.at) >= SHORTEST).then_some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(5);

    /// A reading so many milliseconds after the epoch, with so many milliseconds of CPU used.
    fn reading(at_millis: u64, cpu_millis: u64) -> CounterReading {
        CounterReading {
            at: at(at_millis),
            cpu_nanos: cpu_millis * 1_000_000,
            periods: 0,
            throttled: 0,
            working_set: Bytes(64 << 20),
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix(0) + Duration::from_millis(millis)
    }

    fn window(readings: &[(u64, u64)]) -> Window {
        let mut window = Window::new(INTERVAL);
        for (at, cpu) in readings {
            window.feed(reading(*at, *cpu));
        }
        window
    }

    #[test]
    fn the_load_is_that_of_the_last_interval() {
        let window = window(&[(0, 0), (5000, 5000), (10_000, 6000)]);
        assert_eq!(window.cpu(at(10_000), None), Percent::new(20.0));
        assert_eq!(window.readings.len(), 2);
    }

    #[test]
    fn extra_readings_do_not_shorten_the_interval() {
        let window = window(&[(0, 0), (3000, 0), (5000, 0), (5200, 200)]);
        let share = window.cpu(at(5200), None).unwrap();
        assert!(share.get() < 10.0, "200 ms of CPU in 5.2 s, not in 0.2 s");
    }

    #[test]
    fn one_reading_shows_no_cpu_but_shows_memory() {
        let window = window(&[(0, 700)]);
        assert_eq!(window.cpu(at(0), None), None);
        assert_eq!(
            window.memory(at(0), Some(Bytes(128 << 20))),
            Percent::new(50.0)
        );
    }

    #[test]
    fn two_readings_far_apart_or_close_give_a_mean() {
        let cron = window(&[(0, 0), (300_000, 150_000)]);
        assert_eq!(cron.cpu(at(300_000), None), Percent::new(50.0));
        let first_run = window(&[(0, 0), (1000, 250)]);
        assert_eq!(first_run.cpu(at(1000), None), Percent::new(25.0));
        let too_close = window(&[(0, 0), (50, 50)]);
        assert_eq!(too_close.cpu(at(50), None), None);
    }

    #[test]
    fn a_reading_older_than_three_intervals_is_missing() {
        let window = window(&[(0, 0), (5000, 1000)]);
        assert!(window.cpu(at(20_000), None).is_some());
        assert_eq!(window.cpu(at(20_001), None), None);
        assert_eq!(window.memory(at(20_001), Some(Bytes(1))), None);
    }

    #[test]
    fn a_restart_begins_anew() {
        let mut window = window(&[(0, 9000), (5000, 9500), (10_000, 100)]);
        assert_eq!(window.cpu(at(10_000), None), None);
        window.feed(reading(15_000, 600));
        assert_eq!(window.cpu(at(15_000), None), Percent::new(10.0));
        window.clear();
        assert_eq!(window.last(), None);
    }

    #[test]
    fn a_clock_that_was_set_back_begins_anew() {
        let window = window(&[(60_000, 10), (5000, 20), (10_000, 520)]);
        assert_eq!(window.cpu(at(10_000), None), Percent::new(10.0));
    }
}
