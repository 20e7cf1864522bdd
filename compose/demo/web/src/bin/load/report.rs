//! What is printed at the end.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::Tally;
use crate::client::Trouble;
use crate::options::Options;

/// Latencies in buckets that grow with them: 64 per power of two, so that a
/// percentile is right to 1.6 % at any size, in bounded memory.
#[derive(Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    largest: Duration,
}

const STEP_BITS: u32 = 6;

impl Histogram {
    pub(crate) fn record(&mut self, time: Duration) {
        let bucket = bucket(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.largest = self.largest.max(time);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.largest = self.largest.max(other.largest);
    }

    /// The time that `share` of the requests stayed within, in ms.
    fn percentile(&self, share: f64) -> f64 {
        let rank = (share * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return (middle(bucket) as f64 / 1000.0).min(self.max());
            }
        }
        0.0
    }

    fn max(&self) -> f64 {
        ms(self.largest)
    }
}

fn bucket(micros: u64) -> usize {
    let shift = (64 - micros.leading_zeros()).saturating_sub(STEP_BITS + 1);
    ((u64::from(shift) << STEP_BITS) + (micros >> shift)) as usize
}

/// The middle of what falls into a bucket.
fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket >> STEP_BITS).saturating_sub(1);
    let low = (bucket - (shift << STEP_BITS)) << shift;
    low + (1 << shift) / 2
}

pub(crate) struct Failure {
    pub(crate) at: Duration,
    pub(crate) took: Duration,
    pub(crate) class: String,
    pub(crate) connection: usize,
    pub(crate) trouble: Trouble,
}

pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) elapsed: Duration,
    /// In the order of the classes.
    pub(crate) tallies: &'a [Tally],
    /// In the order of time.
    pub(crate) failures: &'a [Failure],
}

impl Report<'_> {
    pub(crate) fn json(&self) -> Value {
        let classes: Vec<Value> = self
            .options
            .classes
            .iter()
            .zip(self.tallies)
            .map(|(class, tally)| {
                let failed: u64 = tally.failures.values().sum();
                let mut entry = json!({
                    "name": class.name,
                    "method": class.method,
                    "path": class.path,
                    "connections": class.connections,
                    "keepalive": class.keepalive,
                    "peek": class.peek,
                    "requests": tally.requests,
                    "failed": failed,
                    "failures": counts(&tally.failures),
                    "keepalive_race": tally.keepalive_race,
                    "connects": tally.connects,
                    "body_bytes": tally.body_bytes,
                    "latency_ms": {
                        "p50": round(tally.latency.percentile(0.50)),
                        "p95": round(tally.latency.percentile(0.95)),
                        "p99": round(tally.latency.percentile(0.99)),
                        "max": round(tally.latency.max()),
                    },
                    "max_lag_ms": round(ms(tally.most_lag)),
                });
                if self.options.hosts {
                    entry["hosts"] = counts(&tally.hosts);
                }
                entry
            })
            .collect();
        let failures: Vec<Value> = self
            .failures
            .iter()
            .map(|failure| {
                json!({
                    "at_ms": round(ms(failure.at)),
                    "class": failure.class,
                    "connection": failure.connection,
                    "kind": failure.trouble.kind,
                    "keepalive_race": failure.trouble.keepalive_race,
                    "after_ms": round(ms(failure.took)),
                })
            })
            .collect();
        let (requests, failed) = self.totals();
        json!({
            "version": 1,
            "seconds": round(self.elapsed.as_secs_f64()),
            "requests": requests,
            "failed": failed,
            "rps": round(requests as f64 / self.elapsed.as_secs_f64()),
            "classes": classes,
            "first_failures": failures,
        })
    }

    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{:<12} {:>9} {:>7} {:>9} {:>9} {:>9} {:>9}\n",
            "class", "requests", "failed", "p50 ms", "p95 ms", "p99 ms", "max ms",
        );
        for (class, tally) in self.options.classes.iter().zip(self.tallies) {
            let latency = &tally.latency;
            let _ = writeln!(
                text,
                "{:<12} {:>9} {:>7} {:>9.2} {:>9.2} {:>9.2} {:>9.2}",
                class.name,
                tally.requests,
                tally.failures.values().sum::<u64>(),
                latency.percentile(0.50),
                latency.percentile(0.95),
                latency.percentile(0.99),
                latency.max(),
            );
            for (kind, count) in &tally.failures {
                let _ = writeln!(text, "  {count} failed: {kind}");
            }
            if tally.keepalive_race > 0 {
                let _ = writeln!(
                    text,
                    "  {} of them on an idle connection as it was closed",
                    tally.keepalive_race
                );
            }
            for (host, count) in &tally.hosts {
                let _ = writeln!(text, "  {count} answered by {host}");
            }
        }
        if !self.failures.is_empty() {
            text.push_str("first failures\n");
        }
        for failure in self.failures {
            let _ = writeln!(
                text,
                "  at {:.3} s: {} {} after {:.1} ms, connection {}",
                failure.at.as_secs_f64(),
                failure.class,
                failure.trouble.kind,
                ms(failure.took),
                failure.connection,
            );
        }
        let (requests, failed) = self.totals();
        let seconds = self.elapsed.as_secs_f64();
        let _ = writeln!(
            text,
            "{requests} requests in {seconds:.1} s ({:.0} a second), {failed} failed",
            requests as f64 / seconds,
        );
        text
    }

    fn totals(&self) -> (u64, u64) {
        self.tallies
            .iter()
            .fold((0, 0), |(requests, failed), tally| {
                (
                    requests + tally.requests,
                    failed + tally.failures.values().sum::<u64>(),
                )
            })
    }
}

fn counts(counts: &std::collections::BTreeMap<String, u64>) -> Value {
    Value::Object(
        counts
            .iter()
            .map(|(key, count)| (key.clone(), json!(count)))
            .collect::<Map<_, _>>(),
    )
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn round(number: f64) -> f64 {
    (number * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_holds_what_falls_into_it_to_two_percent() {
        for micros in (0..2000).chain([65_535, 1_000_000, 30_000_000, 86_400_000_000]) {
            let told = middle(bucket(micros));
            assert!(
                told.abs_diff(micros) * 50 <= micros.max(25),
                "{micros} is told as {told}"
            );
        }
    }

    #[test]
    fn percentiles_of_a_known_spread() {
        let mut half = Histogram::default();
        let mut other = Histogram::default();
        for ms in 1..=1000 {
            let histogram = if ms % 2 == 0 { &mut half } else { &mut other };
            histogram.record(Duration::from_millis(ms));
        }
        half.add(&other);
        assert!((half.percentile(0.5) - 500.0).abs() < 10.0);
        assert!((half.percentile(0.99) - 990.0).abs() < 20.0);
        assert!((half.percentile(1.0) - 1000.0).abs() < 20.0);
        assert!((half.max() - 1000.0).abs() < 0.001);
    }
}
