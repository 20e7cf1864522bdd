//! The search for the cheapest policy that keeps to a goal.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::experiment::{Experiment, Measures};
use crate::{policy::Policy, units::Span};

/// What a policy has to keep to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PolicyGoal {
    /// A share of all requests is answered within so many milliseconds.
    Latency(f64, f64),
    /// Replicas are busier than so many percent for at most a hundredth of the time.
    Utilisation(f64),
}

impl PolicyGoal {
    /// The time that may be above the goal.
    pub const SPARE: f64 = 0.01;
    /// The requests that may fail.
    pub const FAILED: f64 = 0.001;

    /// Whether a trial has kept to it.
    pub fn is_kept(&self, measures: &Measures) -> bool {
        let kept = match self {
            Self::Latency(share, within) => {
                let found = match share {
                    share if *share < 0.9 => measures.p50_ms,
                    share if *share < 0.97 => measures.p95_ms,
                    _ => measures.p99_ms,
                };
                found.is_none_or(|found| found <= *within)
            }
            Self::Utilisation(percent) => measures.busier_than(*percent) <= Self::SPARE,
        };
        // With no request nothing is shown.
        kept && measures.requests > 0.0 && measures.failed() <= Self::FAILED
    }
}

impl std::str::FromStr for PolicyGoal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected a goal like p95=300ms or utilisation=80%".to_owned();
        let (what, value) = text.split_once('=').ok_or_else(wrong)?;
        let share = match what {
            "p50" => 0.5,
            "p95" => 0.95,
            "p99" => 0.99,
            "utilisation" | "utilization" => {
                let percent = value
                    .parse::<crate::units::Percent>()
                    .map_err(|_| wrong())?;
                if !(1.0..=100.0).contains(&percent.get()) {
                    return Err("expected a utilisation from 1% to 100%".into());
                }
                return Ok(Self::Utilisation(percent.get()));
            }
            _ => return Err(wrong()),
        };
        let span: Span = value.parse().map_err(|_| wrong())?;
        Ok(Self::Latency(share, span.0.as_secs_f64() * 1000.0))
    }
}

impl std::fmt::Display for PolicyGoal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Latency(share, within) => {
                write!(f, "p{:.0}={within}ms", share * 100.0)
            }
            Self::Utilisation(percent) => write!(f, "utilisation={percent}%"),
        }
    }
}

/// Policies like one, with other targets, windows and least counts.
#[derive(Debug, Clone)]
pub struct Search {
    /// What the others are like.
    pub like: Experiment,
    /// What they have to keep to.
    pub goal: PolicyGoal,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct SearchResult {
    /// The cheapest that keeps to the goal, of those that are calm if there is one; `None` where none does.
    pub best: Option<(Policy, Measures)>,
    /// How many were tried.
    pub tried: usize,
}

/// A target that is tried, as a share of what a replica can do.
const SHARES: [f64; 13] = [
    0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9,
];
/// Windows that are tried on the way down.
const WINDOWS: [u64; 4] = [60, 300, 600, 1200];

/// Calm before restless, then cheap before dear; of two that cost the same, the calmer one.
fn preference(a: &Measures, b: &Measures) -> std::cmp::Ordering {
    a.is_restless()
        .cmp(&b.is_restless())
        .then(a.replica_hours.total_cmp(&b.replica_hours))
        .then(a.scale_events.cmp(&b.scale_events))
}

impl Search {
    /// Which least counts are worth a trial: what the policy has, for there may be a reason for it, and more
    /// where the most allows it.
    fn least(&self) -> Vec<u32> {
        let policy = &self.like.policy;
        let more = policy.min..=policy.min.saturating_add(2);
        more.filter(|min| *min <= policy.max).collect()
    }

    /// Whether there is a target to be searched.
    fn has_targets(&self) -> bool {
        let policy = |share| self.policy(share, 1, 60);
        policy(SHARES[0]) != policy(SHARES[1])
    }

    /// How many trials it takes at most.
    pub fn trials(&self) -> usize {
        // A bisection, and its first look.
        let steps = SHARES.len().ilog2() as usize + 2;
        self.least().len() * WINDOWS.len() * steps
    }

    /// Searches: for each least count and each window the highest target that keeps to the goal, and of
    /// those the cheapest calm one. A higher target never costs more.
    pub fn run(
        &self,
        done: &Arc<AtomicU64>,
        tried: &Arc<AtomicU64>,
    ) -> std::io::Result<SearchResult> {
        let mut jobs = Vec::new();
        for min in self.least() {
            for window in WINDOWS {
                jobs.push((min, window));
            }
        }
        let next = AtomicU64::new(0);
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let found = std::thread::scope(|scope| {
            let work = || -> std::io::Result<Vec<(Policy, Measures)>> {
                let mut found = Vec::new();
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed) as usize;
                    let Some((min, window)) = jobs.get(index) else {
                        return Ok(found);
                    };
                    found.extend(self.highest(*min, *window, done, tried)?);
                }
            };
            let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let mut all = Vec::new();
            for thread in threads {
                let of_it = thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
                all.extend(of_it);
            }
            std::io::Result::Ok(all)
        })?;
        let best = found
            .into_iter()
            .min_by(|(one, a), (other, b)| preference(a, b).then(one.min.cmp(&other.min)));
        Ok(SearchResult {
            best,
            tried: tried.load(Ordering::Relaxed) as usize,
        })
    }

    fn highest(
        &self,
        min: u32,
        window: u64,
        done: &Arc<AtomicU64>,
        tried: &Arc<AtomicU64>,
    ) -> std::io::Result<Option<(Policy, Measures)>> {
        let attempt = |index: usize| -> std::io::Result<(Policy, Measures)> {
            let mut trial = self.like.clone();
            trial.policy = self.policy(SHARES[index], min, window);
            trial.replicas = trial.replicas.max(min);
            let measures = trial.play(done)?.measures;
            tried.fetch_add(1, Ordering::Relaxed);
            Ok((trial.policy, measures))
        };
        let first = attempt(0)?;
        if !self.goal.is_kept(&first.1) {
            return Ok(None);
        }
        if !self.has_targets() {
            return Ok(Some(first));
        }
        let mut best = first;
        let (mut good, mut bad) = (0, SHARES.len());
        while bad - good > 1 {
            let middle = usize::midpoint(good, bad);
            let one = attempt(middle)?;
            if self.goal.is_kept(&one.1) {
                good = middle;
                best = one;
            } else {
                bad = middle;
            }
        }
        Ok(Some(best))
    }

    /// The policy with another target for each metric of load, another window and another least count.
    fn policy(&self, share: f64, min: u32, window: u64) -> Policy {
        let mut policy = self.like.policy.clone();
        let profile = &self.like.profile;
        policy.min = min;
        policy.behavior.scale_down.stabilization_window = Span::seconds(window);
        let nice = |value: f64| {
            // Two digits are enough for somebody who reads it.
            let scale = 10f64.powf(value.abs().max(1e-9).log10().floor() - 1.0);
            (value / scale).round() * scale
        };
        for metric in &mut policy.metrics {
            if let Some(full) = profile.full(metric.key()) {
                metric.set_ceiling(nice(share * full));
            }
        }
        policy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restless_policy_comes_last_however_cheap_it_is() {
        let measures = |replica_hours, flaps| Measures {
            hours: 24.0,
            replica_hours,
            flaps,
            scale_events: 2 * flaps,
            ..Measures::default()
        };
        let (cheap, calm, calmer) = (measures(50.0, 51), measures(60.0, 6), measures(60.0, 2));
        let mut all = [&cheap, &calm, &calmer];
        all.sort_by(|a, b| preference(a, b));
        assert_eq!(all, [&calmer, &calm, &cheap]);
        // A short trial has one for free.
        let short = Measures {
            hours: 0.5,
            ..measures(1.0, 1)
        };
        assert!(!short.is_restless());
    }
}
