//! What keeps a count from following its load: rate policies, the bounds, the machine.
//!
//! Rates are those of the Kubernetes `HorizontalPodAutoscaler` v2 (`horizontal.go`:
//! `convertDesiredReplicasWithBehaviorRate`, `calculateScaleUpLimitWithScalingRules`,
//! `calculateScaleDownLimitWithBehaviors`). The machine is ours.

use std::time::Duration;

use crate::policy::{CountBounds, Rate, Rules, Select};

use super::{
    input::{HostCapacity, Input},
    ratio::Direction,
    reason::Limit,
};

/// Where the limits let a count go, and the one that stopped it short of where it was wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limited {
    pub(super) to: u32,
    pub(super) by: Option<Limit>,
}

/// How far a count may go.
pub(super) struct CountRange<'a> {
    input: &'a Input,
    current: u32,
    bounds: CountBounds,
    /// Whether rates do not matter on the way up.
    bursting: bool,
}

impl<'a> CountRange<'a> {
    pub(super) fn new(input: &'a Input, current: u32, bounds: CountBounds, bursting: bool) -> Self {
        Self {
            input,
            current,
            bounds,
            bursting,
        }
    }

    /// Holds a wanted count against rates, bounds and the machine. A current count outside the bounds
    /// goes to the nearer bound at once, whatever is wanted. `without_cpu` is what is asked for by
    /// other metrics than CPU.
    pub(super) fn limit(&self, wanted: u32, without_cpu: u32) -> Limited {
        let (current, bounds) = (self.current, self.bounds);
        let inside = (bounds.min..=bounds.max).contains(&current);
        let (to, by) = if current < bounds.min {
            (bounds.min, Some(Limit::Min))
        } else if current > bounds.max {
            (bounds.max, Some(Limit::Max))
        } else {
            let (floor, lower) = self.floor();
            let (ceiling, upper) = self.ceiling();
            if wanted > current && wanted > ceiling {
                (ceiling, Some(upper))
            } else if wanted < current && wanted < floor {
                (floor, Some(lower))
            } else {
                (wanted, None)
            }
        };
        let Some(host) = &self.input.host else {
            return Limited { to, by };
        };
        let mut held = host_ceiling(host, current);
        // Where all cores are busy, one more replica only takes from those that are there.
        if inside && host.cpu.is_some_and(|cpu| cpu.is_full()) {
            held = held.min(without_cpu.max(current));
        }
        if to > held {
            return Limited {
                to: held,
                by: Some(Limit::Host),
            };
        }
        Limited { to, by }
    }

    /// The largest count that the policy lets the current one go to at once, and what says so.
    pub(super) fn ceiling(&self) -> (u32, Limit) {
        let max = (self.bounds.max, Limit::Max);
        if self.bursting && self.input.policy.behavior.scale_up.select != Select::Disabled {
            return max;
        }
        let rules = &self.input.policy.behavior.scale_up;
        match reachable(rules, Direction::Up, self.input, self.current) {
            Some(rate) if rate.max(self.current) < self.bounds.max => {
                (rate.max(self.current), Limit::ScaleUpPolicy)
            }
            _ => max,
        }
    }

    /// The smallest count that the policy lets the current one go to at once, and what says so.
    pub(super) fn floor(&self) -> (u32, Limit) {
        let rules = &self.input.policy.behavior.scale_down;
        match reachable(rules, Direction::Down, self.input, self.current) {
            Some(rate) if rate.min(self.current) > self.bounds.min => {
                (rate.min(self.current), Limit::ScaleDownPolicy)
            }
            _ => (self.bounds.min, Limit::Min),
        }
    }
}

/// The largest count that the machine holds, running ones included.
pub(super) fn host_ceiling(host: &HostCapacity, current: u32) -> u32 {
    // A replica that takes nothing always fits.
    let (Some(free), Some(each)) = (host.free_memory, host.replica_memory) else {
        return u32::MAX;
    };
    let more = free.0.checked_div(each.0);
    more.map_or(u32::MAX, |more| {
        current.saturating_add(u32::try_from(more).unwrap_or(u32::MAX))
    })
}

/// How far the rate policies of one direction let the count go; `None` without a limit. May lie on
/// the wrong side of `current` when more was done already than is allowed now.
fn reachable(rules: &Rules, way: Direction, input: &Input, current: u32) -> Option<u32> {
    if rules.select == Select::Disabled {
        return Some(current);
    }
    let each = rules.policies.iter().map(|rate| {
        let changed = changed_within(input, rate.per().0);
        let base = i64::from(current) - changed;
        allowed(rate, way, base)
    });
    // The larger change is the larger count on the way up, and the smaller one on the way down.
    if (way == Direction::Up) == (rules.select == Select::Max) {
        each.max()
    } else {
        each.min()
    }
}

/// What one policy makes of the count that its span began with.
fn allowed(rate: &Rate, way: Direction, base: i64) -> u32 {
    let reached = match (rate, way) {
        (Rate::Replicas { replicas, .. }, Direction::Up) => base + i64::from(*replicas),
        (Rate::Replicas { replicas, .. }, Direction::Down) => base - i64::from(*replicas),
        // Rounded up, or 1% of 3 replicas would never become a fourth. Multiplied before it is
        // divided: 110 × 1.1 is 121.00000000000001, and 110 × 110 / 100 is 121.
        (Rate::Percent { percent, .. }, Direction::Up) => {
            (base as f64 * (100.0 + percent) / 100.0).ceil() as i64
        }
        (Rate::Percent { percent, .. }, Direction::Down) => {
            (base as f64 * (100.0 - percent) / 100.0) as i64
        }
    };
    u32::try_from(reached.max(0)).unwrap_or(u32::MAX)
}

/// Replicas added less replicas removed.
fn changed_within(input: &Input, per: Duration) -> i64 {
    input
        .history
        .scale_events
        .iter()
        .filter(|event| input.now.since(event.at) < per)
        .map(|event| i64::from(event.change))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::history::History,
        policy::Policy,
        units::{Bytes, Span, Timestamp},
    };

    fn replicas(replicas: u32, per: u64) -> Rate {
        Rate::Replicas {
            replicas,
            per: Span::seconds(per),
        }
    }

    fn percent(percent: f64, per: u64) -> Rate {
        Rate::Percent {
            percent,
            per: Span::seconds(per),
        }
    }

    /// A policy for 1 to 100 replicas with these rates both ways.
    fn policy(select: Select, policies: &[Rate]) -> Policy {
        let mut policy = Policy {
            min: 1,
            max: 100,
            ..Policy::default()
        };
        for rules in [
            &mut policy.behavior.scale_up,
            &mut policy.behavior.scale_down,
        ] {
            rules.policies = policies.to_vec();
            rules.select = select;
        }
        policy
    }

    fn up(policy: &Policy, current: u32, events: &[(u64, i32)]) -> (u32, Limit) {
        room(&input(policy, events), current).ceiling()
    }

    fn down(policy: &Policy, current: u32, events: &[(u64, i32)]) -> (u32, Limit) {
        room(&input(policy, events), current).floor()
    }

    fn room(input: &Input, current: u32) -> CountRange<'_> {
        let policy = &input.policy;
        let bounds = CountBounds::at(input.now, policy.min, policy.max, &policy.schedule);
        CountRange::new(input, current, bounds, false)
    }

    /// An input after changes made so many seconds ago.
    fn input(policy: &Policy, events: &[(u64, i32)]) -> Input {
        let now = Timestamp::from_unix(100_000);
        let mut history = History::default();
        for (ago, change) in events {
            history.record_change(now - Duration::from_secs(*ago), *change);
        }
        Input {
            history,
            ..Input::new(now, policy.clone())
        }
    }

    #[test]
    fn max_takes_the_policy_with_the_larger_change_and_min_the_smaller() {
        let rates = [replicas(4, 15), percent(50.0, 15)];
        let (max, min) = (policy(Select::Max, &rates), policy(Select::Min, &rates));
        assert_eq!(up(&max, 20, &[]), (30, Limit::ScaleUpPolicy));
        assert_eq!(up(&min, 20, &[]), (24, Limit::ScaleUpPolicy));
        assert_eq!(down(&max, 20, &[]), (10, Limit::ScaleDownPolicy));
        assert_eq!(down(&min, 20, &[]), (16, Limit::ScaleDownPolicy));
    }

    #[test]
    fn no_policy_is_no_limit_and_disabled_is_no_change() {
        assert_eq!(up(&policy(Select::Max, &[]), 5, &[]), (100, Limit::Max));
        assert_eq!(down(&policy(Select::Min, &[]), 5, &[]), (1, Limit::Min));
        let disabled = policy(Select::Disabled, &[]);
        assert_eq!(up(&disabled, 5, &[]), (5, Limit::ScaleUpPolicy));
        assert_eq!(down(&disabled, 5, &[]), (5, Limit::ScaleDownPolicy));
    }

    #[test]
    fn changes_within_the_span_count_and_older_ones_do_not() {
        let policy = policy(Select::Max, &[replicas(4, 60)]);
        assert_eq!(up(&policy, 10, &[(60, 3)]), (14, Limit::ScaleUpPolicy));
        assert_eq!(up(&policy, 10, &[(59, 3)]), (11, Limit::ScaleUpPolicy));
        assert_eq!(up(&policy, 10, &[(9, 3), (5, -1)]).0, 12);
        assert_eq!(down(&policy, 10, &[(9, -3), (5, 1)]).0, 8);
    }

    #[test]
    fn a_limit_behind_the_count_stays_at_the_count() {
        let policy = policy(Select::Max, &[replicas(4, 60)]);
        assert_eq!(up(&policy, 20, &[(5, 9)]), (20, Limit::ScaleUpPolicy));
        assert_eq!(down(&policy, 20, &[(5, -9)]), (20, Limit::ScaleDownPolicy));
    }

    #[test]
    fn a_percentage_rounds_away_from_a_standstill_and_not_beyond() {
        let policy = policy(Select::Max, &[percent(10.0, 60)]);
        assert_eq!(up(&policy, 3, &[]).0, 4);
        assert_eq!(up(&policy, 70, &[]).0, 77);
        assert_eq!(down(&policy, 9, &[]).0, 8);
    }

    #[test]
    fn the_machine_holds_what_fits_into_its_free_memory() {
        let host = |free: u64, each: u64| HostCapacity {
            free_memory: Some(Bytes(free << 20)),
            replica_memory: Some(Bytes(each << 20)),
            ..HostCapacity::default()
        };
        assert_eq!(host_ceiling(&host(800, 200), 3), 7);
        assert_eq!(host_ceiling(&host(199, 200), 3), 3);
        assert_eq!(host_ceiling(&host(0, 0), 3), u32::MAX);
    }
}
