//! A policy at so many times its load: how many replicas it comes to, with nothing to hold it back.
//!
//! Where there are more replicas than are played in a moment, one that is played stands for several: the load is
//! divided, as it is the same policy that has so many times fewer replicas to do with so many times less load. What
//! counts in replicas, the minimum and steps of so many, is divided with it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    experiment::{Experiment, ExperimentOutcome},
    simulated_host::MachineSpec,
    stats::StepRecord,
};
use crate::{
    policy::{Metric, Policy, Rate},
    units::Bytes,
};

/// So many replicas are played; one more or less of them is less than two percent.
const PLAYED: f64 = 64.0;
/// So busy replicas are at the beginning where no target tells.
const USUAL: f64 = 0.6;
/// Where it is asked up to which load a count suffices, so much before the peak is played, and so much after it.
const BEFORE: Duration = Duration::from_secs(3600);
const AFTER: Duration = Duration::from_secs(300);
/// The loads that are tried then are so far from each other, around the one that is to be expected.
const STEP: f64 = 1.02;
const TRIED: i32 = 64;
/// No bound.
const ANY: u32 = 1_000_000;

/// A policy that is to be tried at many times its load.
#[derive(Debug, Clone)]
pub struct Growth {
    trial: Experiment,
    peak: f64,
    peak_at: Duration,
}

/// What a multiple of the load comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grown {
    /// So many times the load.
    pub times: f64,
    /// The most requests per second.
    pub peak: f64,
    /// So many replicas stood behind one that was played.
    pub each: f64,
    /// The most replicas that ran at once.
    pub most: u32,
    /// In 95% of the time no more than so many ran.
    pub usual: u32,
    /// How many ran on average.
    pub mean: f64,
    /// By how many there were too few to do all that came, at worst.
    pub shortage: u32,
    /// So many served then.
    pub had: u32,
    /// So many serve the peak at the target.
    pub wanted: u32,
    /// When most of them ran.
    pub at: Duration,
}

impl Grown {
    /// Whether there were too few for a while, so that requests waited or failed.
    pub fn is_short(&self) -> bool {
        self.shortage > 0
    }

    /// So many there has to be room for: those that ran, and where they were too few, those that serve the peak at
    /// the target.
    pub fn needed(&self) -> u32 {
        if self.is_short() {
            self.most.max(self.wanted)
        } else {
            self.most
        }
    }
}

impl Growth {
    /// Without its maximum, and on a machine that has room for everything. `None` where its count does not follow the
    /// load here, or there is none.
    pub fn of(trial: &Experiment) -> Option<Self> {
        let follows = |metric: &Metric| metric.is_of_load() || metric.is_of_service_quality();
        let (peak_at, peak) = trial.load.peak(trial.span);
        if peak <= 0.0 || !trial.policy.metrics.iter().any(follows) {
            return None;
        }
        let mut trial = trial.clone();
        trial.policy.max = ANY;
        for schedule in &mut trial.policy.schedule {
            schedule.max = None;
        }
        // A schedule without a bound is none.
        trial.policy.schedule.retain(|one| one.min.is_some());
        trial.settings.host.reserve_cpu = None;
        trial.settings.host.reserve_memory = None;
        trial.machine = MachineSpec {
            cores: ANY,
            memory: Bytes(1 << 60),
        };
        trial.starts_at_once = ANY;
        Some(Self {
            trial,
            peak,
            peak_at,
        })
    }

    /// The highest load of today, in requests per second.
    pub fn peak(&self) -> f64 {
        self.peak
    }

    /// What these multiples come to, in their order. `done` counts the seconds that are over.
    pub fn play(&self, all: &[f64], done: &Arc<AtomicU64>) -> std::io::Result<Vec<Grown>> {
        self.play_with(PLAYED, all, done)
    }

    fn play_with(
        &self,
        most: f64,
        all: &[f64],
        done: &Arc<AtomicU64>,
    ) -> std::io::Result<Vec<Grown>> {
        // Two that come to the same are played once.
        let mut different: Vec<(f64, Experiment)> = Vec::new();
        let mut which = Vec::new();
        for times in all {
            let part = self.part(*times, most);
            let trial = self.at(part, times / part);
            let same = |(other, there): &(f64, Experiment)| {
                other.to_bits() == part.to_bits() && there.policy == trial.policy
            };
            let place = different.iter().position(same);
            which.push(place.unwrap_or(different.len()));
            if place.is_none() {
                different.push((part, trial));
            }
        }
        let outcomes = at_once(&different, |(_, trial)| trial.play(done));
        let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
        let grown = all.iter().zip(which);
        Ok(grown
            .map(|(times, which)| self.grown(*times, times / different[which].0, &outcomes[which]))
            .collect())
    }

    /// How many plays that takes, of all of the time.
    pub fn plays(&self, all: &[f64]) -> usize {
        let mut parts: Vec<_> = all.iter().map(|times| self.part(*times, PLAYED)).collect();
        parts.dedup();
        parts.len()
    }

    /// Which load is played for so many times today's.
    fn part(&self, times: f64, most: f64) -> f64 {
        times.min(most * self.trial.profile.capacity() * self.busy() / self.peak)
    }

    /// The trial at so many times the load, where each replica stands for so many.
    fn at(&self, times: f64, each: f64) -> Experiment {
        let fewer = |count: u32| (f64::from(count) / each - 1e-9).ceil() as u32;
        let mut trial = self.trial.clone();
        trial.policy.min = fewer(trial.policy.min);
        for schedule in &mut trial.policy.schedule {
            schedule.min = schedule.min.map(fewer);
        }
        trial.load = trial.load.times(times);
        trial.heard = trial.heard.times(times);
        trial.replicas = self.at_first(&trial);
        trial
    }

    /// As many as the policy wants then: fewer would be a burst, more would be a peak that is none.
    fn at_first(&self, trial: &Experiment) -> u32 {
        let rate = trial.load.rate(Duration::ZERO);
        let count = (rate / trial.profile.capacity() / self.busy()).ceil() as u32;
        count.max(trial.policy.min).max(1)
    }

    /// So many serve the peak at the target, at so many times the load.
    fn wanted(&self, times: f64) -> u32 {
        let count = self.peak * times / self.trial.profile.capacity() / self.busy();
        ((count - 1e-9).ceil() as u32).max(self.trial.policy.min)
    }

    /// How busy replicas are by this policy, as a share of what they can do.
    fn busy(&self) -> f64 {
        let of_metric = |metric: &Metric| {
            let full = self.trial.profile.full(metric.key())?;
            Some(metric.ceiling()? / full)
        };
        let all = self.trial.policy.metrics.iter().filter_map(of_metric);
        all.reduce(f64::min).unwrap_or(USUAL).clamp(0.01, 1.0)
    }

    fn grown(&self, times: f64, each: f64, outcome: &ExperimentOutcome) -> Grown {
        let all = |count: f64| (count * each - 1e-9).ceil().max(0.0) as u32;
        let min = self.trial.policy.min;
        let records = &outcome.records;
        let most = records.iter().map(|record| record.running).max();
        let most = most.unwrap_or(0);
        let at = records.iter().find(|record| record.running == most);
        let measures = &outcome.measures;
        let missing = |one: &StepRecord| {
            one.expected / self.trial.profile.capacity() - f64::from(one.serving)
        };
        let worst = records
            .iter()
            .max_by(|a, b| missing(a).total_cmp(&missing(b)));
        let mean = measures.replica_hours / measures.hours.max(1e-9);
        Grown {
            times,
            peak: self.peak * times,
            each,
            most: all(f64::from(most)).max(min),
            usual: all(f64::from(usual(outcome))).max(min),
            // Digits beyond that are of the arithmetic.
            mean: ((mean * each).max(f64::from(min)) * 1000.0).round() / 1000.0,
            shortage: all(worst.map_or(0.0, missing)),
            had: all(worst.map_or(0.0, |one| f64::from(one.serving))),
            wanted: self.wanted(times),
            at: at.map_or(Duration::ZERO, |record| record.at),
        }
    }

    /// Up to how many times the load so many replicas suffice, of what was played; `None` where they are fewer than
    /// its minimum.
    pub fn suffices(&self, replicas: u32, played: &[Grown]) -> std::io::Result<Option<f64>> {
        let Some(finest) = played.iter().max_by(|a, b| a.times.total_cmp(&b.times)) else {
            return Ok(None);
        };
        if replicas < self.trial.policy.min.max(1) {
            return Ok(None);
        }
        let expected = finest.times * f64::from(replicas) / f64::from(finest.needed().max(1));
        let mut found = expected;
        // Few go up by steps that can be seen, and are counted rather than reckoned.
        if f64::from(replicas) < PLAYED {
            let tried = |step: i32| expected * STEP.powi(step);
            // Where they came too late, most of them ran when the peak was over.
            let peak = if finest.is_short() {
                self.peak_at
            } else {
                finest.at
            };
            // Half of what is expected has room to spare.
            let (mut good, mut bad) = (-TRIED / 2, TRIED / 2);
            while bad - good > 1 {
                let middle = i32::midpoint(good, bad);
                if self.holds(tried(middle), replicas, peak)? {
                    good = middle;
                } else {
                    bad = middle;
                }
            }
            found = tried(good);
        }
        // All of the time was played for these, not only the peak.
        let fits = |one: &&Grown| one.needed() <= replicas;
        let least = played.iter().filter(fits).map(|one| one.times);
        let most = played.iter().filter(|one| !fits(one)).map(|one| one.times);
        let found = least.fold(found, f64::max);
        Ok(Some(most.fold(found, |found, most| found.min(most / STEP))))
    }

    /// Whether it comes to no more than so many replicas around the peak. That few ran because the others came too
    /// late does not count.
    fn holds(&self, times: f64, replicas: u32, peak: Duration) -> std::io::Result<bool> {
        let mut trial = self.at(times, 1.0);
        let begins = peak.saturating_sub(BEFORE);
        trial.span = (peak + AFTER).min(trial.span).saturating_sub(begins);
        trial.load = trial.load.after(begins);
        trial.heard = trial.heard.after(begins);
        trial.begins = trial.begins.checked_add(begins).unwrap_or(trial.begins);
        trial.replicas = self.at_first(&trial);
        let outcome = trial.play(&Arc::new(AtomicU64::new(0)))?;
        let is_short = outcome.measures.largest_shortage > 0;
        let ran = outcome.records.iter().all(|one| one.running <= replicas);
        Ok(ran && (!is_short || self.wanted(times) <= replicas))
    }
}

/// In 95% of the time no more than so many ran.
fn usual(outcome: &ExperimentOutcome) -> u32 {
    let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
    for record in &outcome.records {
        *counts.entry(record.running).or_default() += record.seconds;
    }
    let mut left = counts.values().sum::<f64>() * 0.95;
    for (count, seconds) in &counts {
        left -= seconds;
        if left <= 0.0 {
            return *count;
        }
    }
    counts.keys().last().copied().unwrap_or(0)
}

/// Whether a policy counts in replicas somewhere but in its bounds, so that it is another one at another size.
pub fn counts_in_replicas(policy: &Policy) -> bool {
    let rates = |rates: &[Rate]| {
        let by_count = |rate: &Rate| matches!(rate, Rate::Replicas { .. });
        !rates.is_empty() && rates.iter().all(by_count)
    };
    // Thresholds add and remove a number of replicas.
    let steps = |metric: &Metric| !metric.is_tolerant();
    rates(&policy.behavior.scale_up.policies) || policy.metrics.iter().any(steps)
}

/// Does a work for each of them, as many at once as there are cores.
pub fn at_once<T: Sync, R: Send>(all: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers.min(all.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(index) else { return };
                    let result = work(one);
                    let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                    results.insert(index, result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{
            load_shape::{LoadShape, Named},
            profile::Profile,
            simulated_host::RecordedReadings,
        },
        *,
    };
    use crate::policy::{self, Settings};

    fn trial(load: &str, policy: &serde_json::Value) -> Experiment {
        let named: Named = load.parse().expect("a load");
        Experiment {
            service: "web".into(),
            policy: policy::policy(policy).expect("a policy"),
            settings: Settings::default(),
            load: named.shape(Duration::ZERO, 1),
            span: named.span(),
            profile: Profile::default(),
            replicas: 1,
            heard: RecordedReadings::default(),
            machine: MachineSpec::default(),
            starts_at_once: 4,
            begins: "2026-01-05T00:00:00Z".parse().expect("a time"),
            seed: 1,
        }
    }

    fn growth(load: &str, policy: &serde_json::Value) -> Growth {
        Growth::of(&trial(load, policy)).expect("a load that it follows")
    }

    fn done() -> Arc<AtomicU64> {
        Arc::default()
    }

    fn near(found: u32, expected: u32, share: f64, what: &str) {
        let ratio = f64::from(found) / f64::from(expected);
        assert!(
            (ratio - 1.0).abs() <= share,
            "{what}: {found}, where {expected} was expected"
        );
    }

    /// What docs/simulate.md promises: a figure from replicas that stand for others is within a tenth of the one that
    /// was played in full.
    #[test]
    fn what_stands_for_others_agrees_with_what_is_played_in_full() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        // A slow rise, and one within five seconds.
        for (over, metric) in [
            (minutes(5), json!({"cpu": "60%"})),
            (minutes(5), json!({"requests": 24})),
            (Duration::from_secs(5), json!({"cpu": "50%"})),
        ] {
            let what = format!("{metric} within {over:?}");
            let policy = json!({"min": 2, "max": 4, "metrics": [metric]});
            let mut trial = trial("steady:5", &policy);
            trial.load.go(minutes(2), 30.0, over);
            trial.span = minutes(10);
            let growth = Growth::of(&trial).expect("a load that it follows");
            let full = growth
                .play_with(f64::INFINITY, &[80.0], &done())
                .expect("played");
            let part = growth
                .play_with(PLAYED / 2.0, &[80.0], &done())
                .expect("played");
            let (full, part) = (full[0], part[0]);
            assert!(full.each <= 1.0 && part.each > 2.9, "{full:?} {part:?}");
            near(part.most, full.most, 0.1, &what);
            near(part.usual, full.usual, 0.1, &what);
            assert!(
                (part.mean / full.mean - 1.0).abs() < 0.1,
                "{what}: {full:?} {part:?}"
            );
        }
    }

    #[test]
    fn ten_times_the_load_is_ten_times_the_replicas_and_the_maximum_is_no_bound() {
        let growth = growth(
            "steps:4..40",
            &json!({"min": 1, "max": 2, "metrics": [{"cpu": "50%"}]}),
        );
        let all = growth
            .play(&[1.0, 10.0, 100.0, 1000.0], &done())
            .expect("played");
        // 40 a second are one replica's all, and two at half.
        near(all[0].most, 2, 0.5, "today");
        near(all[1].most, 20, 0.15, "×10");
        near(all[2].most, 200, 0.15, "×100");
        near(all[3].most, 2000, 0.15, "×1000");
        for pair in all.windows(2) {
            assert!(pair[0].most <= pair[1].most && pair[0].usual <= pair[1].usual);
            assert!(pair[0].mean < pair[1].mean && pair[1].usual <= pair[1].most);
        }
        assert!((all[3].peak - 40_000.0).abs() < 1.0);
        // The last two are one play.
        assert_eq!(growth.plays(&[1.0, 10.0, 100.0, 1000.0]), 3);
    }

    #[test]
    fn the_minimum_does_not_grow_and_counts_where_the_load_asks_for_less() {
        let policy = json!({"min": 12, "max": 20, "metrics": [{"cpu": "60%"}]});
        let growth = growth("steady:10", &policy);
        let all = growth.play(&[1.0, 10.0, 1000.0], &done()).expect("played");
        assert_eq!((all[0].most, all[1].most), (12, 12));
        near(all[2].most, 417, 0.1, "×1000");
        assert_eq!(growth.suffices(11, &all).expect("played"), None);
    }

    #[test]
    fn a_count_suffices_up_to_a_load_that_comes_to_it_and_not_far_beyond() {
        let policy = json!({"min": 1, "max": 4, "metrics": [{"cpu": "60%"}]});
        let growth = growth("ramp:4..40", &policy);
        let played = growth.play(&[1.0, 10.0, 100.0], &done()).expect("played");
        for replicas in [3, 20, 900] {
            let times = growth
                .suffices(replicas, &played)
                .expect("played")
                .expect("some");
            let all = growth
                .play(&[times, times * 1.25], &done())
                .expect("played");
            assert!(
                f64::from(all[0].most) <= f64::from(replicas) * 1.02,
                "{replicas}: {all:?}"
            );
            assert!(all[1].most > replicas, "{replicas}: {all:?}");
        }
    }

    /// Replicas that come too late, or never, are no machines that are not needed.
    #[test]
    fn where_the_policy_is_too_slow_what_serves_the_peak_is_needed() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let slowly = json!({"scale_up": {"policies": [{"replicas": 1, "per": "1m"}]}});
        for behavior in [json!({}), slowly] {
            let policy = json!({
                "min": 2, "max": 4, "metrics": [{"cpu": "60%"}], "behavior": behavior,
            });
            let mut trial = trial("spikes:1..100", &policy);
            trial.span = minutes(15);
            let growth = Growth::of(&trial).expect("a load that it follows");
            let all = growth.play(&[1.0, 10.0, 100.0], &done()).expect("played");
            // 1,000 a second are 25 replicas' all, and 42 at 60%.
            assert!(all[1].is_short() && all[1].most < 25, "{all:?}");
            assert_eq!((all[1].wanted, all[1].needed()), (42, 42));
            assert_eq!(all[1].had + all[1].shortage, 25, "{all:?}");
            // What is played in parts is not rounded before it is multiplied.
            assert!(all[2].each > 1.0, "{all:?}");
            assert!(
                (250..=251).contains(&(all[2].had + all[2].shortage)),
                "{all:?}"
            );
            // Seven at 60% serve 168 a second.
            let times = growth.suffices(7, &all).expect("played").expect("some");
            assert!((1.5..=1.7).contains(&times), "{times}");
        }
    }

    #[test]
    fn where_the_count_does_not_follow_the_load_nothing_is_told() {
        let with = |metrics: serde_json::Value| {
            let policy = json!({"min": 1, "max": 4, "metrics": metrics});
            Growth::of(&trial("steady:10", &policy))
        };
        assert!(with(json!([])).is_none());
        assert!(with(json!([{"memory": "80%"}])).is_none());
        assert!(with(json!([{"memory": "80%"}, {"cpu": "60%"}])).is_some());
        let mut none = trial("steady:10", &json!({"min": 1, "max": 4}));
        none.load = LoadShape::steady(0.0);
        assert!(Growth::of(&none).is_none());
    }

    #[test]
    fn work_that_is_done_at_once_comes_back_in_its_order() {
        let all: Vec<u64> = (0..100).collect();
        let squares: Vec<_> = all.iter().map(|one| one * one).collect();
        assert_eq!(at_once(&all, |one| one * one), squares);
    }
}
