//! What an app is like, as far as its load depends on it.

use std::time::Duration;

use rand::RngExt;
use rand_distr::{Distribution, Exp1, LogNormal};
use rand_pcg::Pcg64;

use crate::units::Bytes;

/// One service's app: what a request costs, and what a replica needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// How long a request takes that waits for nobody, on average.
    pub service_time: Duration,
    /// How these times vary.
    pub spread: Spread,
    /// How many requests a replica works on at once; the others wait in front of it.
    pub concurrency: u32,
    /// How many wait in front of a replica before it turns further ones away.
    pub backlog: u32,
    /// After so long nginx gives up waiting for an answer.
    pub timeout: Duration,
    /// Cores that a replica uses when it works on as many requests as it can: its limit.
    pub cores: f64,
    /// Cores that it uses while it starts.
    pub boot_cores: f64,
    /// Time from its start until it can serve.
    pub start_time: Duration,
    /// Memory of a replica.
    pub memory: Bytes,
    /// Its memory limit.
    pub memory_limit: Option<Bytes>,
    /// How often a replica ends by itself, in an hour.
    pub crashes: f64,
}

/// How the times of requests vary around their mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// Not at all.
    Fixed,
    /// As in the textbook: most are short, few are long.
    Exponential,
    /// With this ratio of the standard deviation to the mean.
    LogNormal(f64),
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            service_time: Duration::from_millis(100),
            spread: Spread::Exponential,
            concurrency: 4,
            backlog: 511,
            timeout: Duration::from_secs(60),
            cores: 1.0,
            boot_cores: 0.0,
            start_time: Duration::from_secs(3),
            memory: Bytes(128 << 20),
            memory_limit: None,
            crashes: 0.0,
        }
    }
}

impl Profile {
    /// The value of a metric of load, by its key, where a replica is busy all the time.
    pub fn full(&self, metric: &str) -> Option<f64> {
        match metric {
            "cpu" => Some(100.0),
            "requests" => Some(self.capacity()),
            "in_flight" => Some(f64::from(self.concurrency)),
            _ => None,
        }
    }

    /// Requests per second that one replica can do.
    pub fn capacity(&self) -> f64 {
        f64::from(self.concurrency) / self.service_time.as_secs_f64()
    }

    /// Requests per second that make up for so many cores in use.
    pub fn rate_of_cores(&self, cores: f64) -> f64 {
        cores / self.cores * self.capacity()
    }

    /// How long one request takes, in nanoseconds.
    pub(super) fn sample(&self, rng: &mut Pcg64) -> f64 {
        let mean = self.service_time.as_nanos() as f64;
        match self.spread {
            Spread::Fixed => mean,
            Spread::Exponential => mean * rng.sample::<f64, _>(Exp1),
            Spread::LogNormal(ratio) => {
                let variance = (1.0 + ratio * ratio).ln();
                LogNormal::new(-variance / 2.0, variance.sqrt())
                    .map_or(mean, |normal| mean * normal.sample(rng))
            }
        }
    }
}
