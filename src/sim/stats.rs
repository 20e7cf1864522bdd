//! What is counted of a simulation.

use std::time::Duration;

use super::queue::QueueStep;

/// Two values in one bucket differ by less than this.
const RATIO: f64 = 1.02;
/// The least that is told apart, in milliseconds.
const LEAST: f64 = 0.01;

/// How long requests took, each with a weight.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Histogram {
    buckets: Vec<f64>,
    all: f64,
    sum: f64,
    most: f64,
}

impl Histogram {
    fn add(&mut self, value: f64, weight: f64) {
        let bucket = ((value / LEAST).max(1.0).ln() / RATIO.ln()) as usize;
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0.0);
        }
        self.buckets[bucket] += weight;
        self.all += weight;
        self.sum += value * weight;
        self.most = self.most.max(value);
    }

    /// Their mean; `None` where there are none.
    pub fn mean(&self) -> Option<f64> {
        (self.all > 0.0).then(|| self.sum / self.all)
    }

    /// The value that a share of them does not exceed, within two percent; `None` where there are none.
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let mut left = self.all * share;
        let buckets = self.buckets.iter();
        let bucket = buckets.take_while(|weight| {
            left -= **weight;
            left > 0.0
        });
        let bucket = bucket.count().min(self.buckets.len().checked_sub(1)?);
        Some((LEAST * RATIO.powf(bucket as f64 + 0.5)).min(self.most))
    }

    /// The share of them that is above a value.
    pub fn above(&self, value: f64) -> f64 {
        let bucket = ((value / LEAST).max(1.0).ln() / RATIO.ln()) as usize;
        let above: f64 = self.buckets.iter().skip(bucket + 1).sum();
        if self.all > 0.0 {
            above / self.all
        } else {
            0.0
        }
    }
}

/// All of a service.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Requests that came.
    pub came: f64,
    /// Those that nginx gave up waiting for.
    pub timed_out: f64,
    /// Those that found no replica, or were turned away.
    pub refused: f64,
    /// Those whose replica ended under them.
    pub broken: f64,
    /// Replicas that ran, times seconds.
    pub replica_seconds: f64,
    /// Cores that were used, times seconds.
    pub core_seconds: f64,
    /// Seconds in which the host's cores were not enough.
    pub starved_seconds: f64,
    /// How long requests took, in milliseconds.
    pub took: Histogram,
}

impl Totals {
    pub(super) fn add(&mut self, step: &QueueStep, cores: f64, running: u32) {
        self.seconds += step.seconds;
        self.came += step.came;
        self.timed_out += step.timed_out;
        self.refused += step.refused;
        self.broken += step.broken;
        self.replica_seconds += f64::from(running) * step.seconds;
        self.core_seconds += cores * step.seconds;
        let weight = (step.ended / step.took.len().max(1) as f64).max(1.0);
        for took in &step.took {
            self.took.add(f64::from(*took), weight);
        }
    }

    /// Requests without an answer.
    pub fn failed(&self) -> f64 {
        self.timed_out + self.refused + self.broken
    }
}

/// One step of a service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepRecord {
    /// Its end, since the beginning.
    pub at: Duration,
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Requests per second that the load is made of.
    pub expected: f64,
    /// Requests that came, per second, by chance more or fewer.
    pub rate: f64,
    /// Requests under way at once, on average.
    pub in_flight: f64,
    /// The time within which 95% of the requests were answered, in milliseconds.
    pub p95: Option<f64>,
    /// Requests without an answer.
    pub failed: f64,
    /// Cores that its replicas used.
    pub cores: f64,
    /// Replicas that run.
    pub running: u32,
    /// Replicas that nginx sends to and that can serve.
    pub serving: u32,
}

impl StepRecord {
    /// Takes one together with the next: a step is cut short where something happens in it.
    pub(super) fn join(&mut self, next: &Self) {
        let seconds = self.seconds + next.seconds;
        let mean = |one: f64, other: f64| (one * self.seconds + other * next.seconds) / seconds;
        *self = Self {
            at: next.at,
            seconds,
            expected: mean(self.expected, next.expected),
            rate: mean(self.rate, next.rate),
            in_flight: mean(self.in_flight, next.in_flight),
            p95: self.p95.into_iter().chain(next.p95).reduce(f64::max),
            failed: self.failed + next.failed,
            cores: mean(self.cores, next.cores),
            running: next.running,
            serving: next.serving,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_within_two_percent_and_heed_weights() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(0.5), None);
        for value in 1..=1000 {
            histogram.add(f64::from(value), 1.0);
        }
        for (share, expected) in [(0.5, 500.0), (0.95, 950.0), (0.01, 10.0)] {
            let found = histogram.percentile(share).unwrap();
            assert!((found / expected - 1.0).abs() < 0.02, "{share}: {found}");
        }
        assert!((histogram.above(900.0) - 0.1).abs() < 0.02);
        histogram.add(5000.0, 1000.0);
        assert!((histogram.percentile(0.6).unwrap() / 5000.0 - 1.0).abs() < 0.02);
        histogram.add(0.0, 9000.0);
        assert!(histogram.percentile(0.5).unwrap() < 0.02);
    }
}
