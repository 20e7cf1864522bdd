//! What was recommended and done before, as far back as a decision looks.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    policy::{Behavior, Rate, Rules},
    units::{SignedDuration, Timestamp},
};

/// What was recommended and what was done, newest last.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// What the load asked for, before stabilization and limits.
    #[serde(default)]
    pub recommendations: Vec<Recommendation>,
    /// How the count was changed.
    #[serde(default)]
    pub scale_events: Vec<ScaleEvent>,
    /// When the load was last so high that it was a burst.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Timestamp>,
    /// What became of replicas that were added because requests were served badly, by metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trials: BTreeMap<String, ScaleUpTrial>,
}

/// Replicas that were added because requests took long or failed, and what they brought.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleUpTrial {
    /// When they were asked for.
    pub at: Timestamp,
    /// The metric's value then.
    pub value: f64,
    /// Requests per second then.
    pub requests: f64,
    /// How many replicas there were then.
    pub replicas: u32,
    /// Since when all replicas are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled: Option<Timestamp>,
    /// A moment at which the metric was found to have come down, and its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub falling: Option<(Timestamp, f64)>,
    /// When the metric was last over its target.
    pub over: Timestamp,
    /// What they brought.
    #[serde(default)]
    pub outcome: TrialOutcome,
}

/// What replicas have brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// That is not known yet.
    #[default]
    Open,
    /// Requests are served better.
    Helped,
    /// More of them are answered, so they were waiting; they still take as long.
    Answered,
    /// Nothing.
    NoHelp,
}

/// What the load asked for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recommendation {
    /// When.
    pub at: Timestamp,
    /// How many replicas.
    pub replicas: u32,
}

/// A change of the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaleEvent {
    /// When.
    pub at: Timestamp,
    /// Replicas added, or removed when negative.
    pub change: i32,
}

impl History {
    /// Writes down what the load asked for ([`Decision::recommendation`](super::Decision)), after
    /// the decision that it came from.
    pub fn record_recommendation(&mut self, at: Timestamp, replicas: u32) {
        self.recommendations.push(Recommendation { at, replicas });
    }

    /// Writes down that `change` replicas were added, or removed when negative.
    pub fn record_change(&mut self, at: Timestamp, change: i32) {
        if change != 0 {
            self.scale_events.push(ScaleEvent { at, change });
        }
    }

    /// Moves everything along with a clock that was set by so much.
    pub fn shift(&mut self, by: SignedDuration) {
        for one in &mut self.recommendations {
            one.at = one.at.shifted(by);
        }
        for one in &mut self.scale_events {
            one.at = one.at.shifted(by);
        }
        self.burst = self.burst.map(|at| at.shifted(by));
        for one in self.trials.values_mut() {
            one.at = one.at.shifted(by);
            one.over = one.over.shifted(by);
            one.settled = one.settled.map(|at| at.shifted(by));
            one.falling = one.falling.map(|(at, value)| (at.shifted(by), value));
        }
    }

    /// Takes the present count as a first recommendation when there is none, so that a tool that
    /// has just started does not scale down on its first sample.
    pub fn seed(&mut self, now: Timestamp, current: u32) {
        if self.recommendations.is_empty() {
            self.record_recommendation(now, current);
        }
    }

    /// Drops what no window of these rules can see any more, and what a clock that has since been
    /// set back wrote down for a time to come.
    pub fn prune(&mut self, now: Timestamp, behavior: &Behavior) {
        let Behavior {
            scale_up: up,
            scale_down: down,
        } = behavior;
        let burst = up.burst.map(|burst| burst.window).unwrap_or_default();
        let window = up
            .stabilization_window
            .max(down.stabilization_window)
            .max(burst)
            .0;
        self.recommendations
            .retain(|one| one.at <= now && now.since(one.at) < window);
        // Both windows end now, so one that a later one exceeds both ways is never looked at again.
        // In a burst's window each counts.
        let (mut highest, mut lowest) = (0, u32::MAX);
        let mut needed = |one: &Recommendation| {
            let counts =
                now.since(one.at) < burst.0 || one.replicas > highest || one.replicas < lowest;
            highest = highest.max(one.replicas);
            lowest = lowest.min(one.replicas);
            counts
        };
        let mut kept: Vec<_> = self.recommendations.drain(..).rev().collect();
        kept.retain(&mut needed);
        kept.reverse();
        self.recommendations = kept;
        let longest = |rules: &Rules| rules.policies.iter().map(Rate::per).max();
        let period = longest(up).max(longest(down)).unwrap_or_default().0;
        self.scale_events
            .retain(|one| one.at <= now && now.since(one.at) < period);
        let lasts = up.burst.map(|burst| burst.lasts()).unwrap_or_default();
        self.burst = self.burst.filter(|at| *at <= now && now.since(*at) < lasts);
        self.trials
            .retain(|_, one| one.at <= now && one.over <= now && now.since(one.over) < FORGOTTEN);
    }
}

/// A trial that nobody has asked about for so long is forgotten; a run from cron comes now and then.
const FORGOTTEN: Duration = Duration::from_secs(3600);

impl ScaleUpTrial {
    /// At least so long it is remembered after the metric was last over its target.
    const REMEMBERED: Duration = Duration::from_secs(60);

    /// Whether the metric has been at its target for as long as it takes to remove replicas.
    pub(super) fn is_over(&self, now: Timestamp, down: &Rules) -> bool {
        now.since(self.over) >= down.stabilization_window.0.max(Self::REMEMBERED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::{
        decide,
        tests::fixture::{NOW, web},
    };

    #[test]
    fn history_keeps_what_the_longest_window_may_need() {
        let now = Timestamp::from_unix(NOW);
        let mut history = History::default();
        for (ago, replicas) in [(400, 9), (300, 8), (299, 7), (10, 3)] {
            history.record_recommendation(now - Duration::from_secs(ago), replicas);
            history.record_change(now - Duration::from_secs(ago), 1);
        }
        history.record_recommendation(now + Duration::from_secs(86_400), 50);
        history.prune(now, &Behavior::default());
        let ages = |moments: Vec<Timestamp>| -> Vec<u64> {
            moments.iter().map(|at| now.since(*at).as_secs()).collect()
        };
        let recommended = history.recommendations.iter().map(|one| one.at);
        assert_eq!(ages(recommended.collect()), [299, 10], "5 min of 5 min");
        let changed = history.scale_events.iter().map(|one| one.at);
        assert_eq!(ages(changed.collect()), [10], "15 s of 15 s");
    }

    #[test]
    fn of_a_long_window_what_can_still_matter_is_kept() {
        let now = Timestamp::from_unix(NOW);
        let mut behavior = Behavior::default();
        behavior.scale_down.stabilization_window = crate::units::Span::seconds(86_400);
        let mut history = History::default();
        // A day of a load that goes up and down, with one peak and one low.
        for second in (0..86_000).rev().step_by(5) {
            let replicas = match second {
                50_000..50_005 => 9,
                30_000..30_005 => 1,
                _ => 3 + second / 5 % 3,
            };
            let at = now - Duration::from_secs(u64::from(second));
            history.record_recommendation(at, replicas);
        }
        let all = history.clone();
        history.prune(now, &behavior);
        assert!(history.recommendations.len() < 10, "{history:?}");
        for window in [5, 60, 3000, 40_000, 86_000] {
            let within = |history: &History| {
                let recent = |one: &&Recommendation| now.since(one.at).as_secs() < window;
                let recent = history.recommendations.iter().filter(recent);
                let counts: Vec<_> = recent.map(|one| one.replicas).collect();
                (counts.iter().min().copied(), counts.iter().max().copied())
            };
            assert_eq!(within(&history), within(&all), "{window} s");
        }
    }

    #[test]
    fn a_seed_is_sown_once_and_holds_the_count() {
        let mut input = web(&[5.0; 4]);
        input.history.seed(input.now, 4);
        input.history.seed(input.now, 9);
        assert_eq!(input.history.recommendations.len(), 1);
        input.now = input.now + Duration::from_secs(10);
        assert_eq!(decide(&input).desired, 4);
    }

    #[test]
    fn no_change_is_no_event() {
        let mut history = History::default();
        history.record_change(Timestamp::from_unix(0), 0);
        assert_eq!(history, History::default());
    }
}
