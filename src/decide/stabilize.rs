//! Waiting until a recommendation lasts, so that a count does not follow every wave.
//!
//! The rule is that of the Kubernetes `HorizontalPodAutoscaler` v2 (`horizontal.go`:
//! `stabilizeRecommendationWithBehaviors`).

use std::time::Duration;

use crate::{policy::Behavior, units::Timestamp};

use super::history::History;

/// What stabilization made of a recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stabilized {
    /// The count it lets through.
    pub(super) to: u32,
    /// The lowest recommendation of the up window, this one included.
    pub(super) lowest: u32,
    /// The highest recommendation of the down window, this one included.
    pub(super) highest: u32,
}

impl Stabilized {
    /// Without a window.
    pub(super) fn at_once(recommended: u32) -> Self {
        Self {
            to: recommended,
            lowest: recommended,
            highest: recommended,
        }
    }
}

/// Raises `current` to what was asked for all through the up window, and lowers it to the most that
/// was asked for within the down window.
pub(super) fn stabilize(
    history: &History,
    behavior: &Behavior,
    now: Timestamp,
    current: u32,
    recommended: u32,
) -> Stabilized {
    let within = |window: Duration| {
        history
            .recommendations
            .iter()
            .filter(move |one| now.since(one.at) < window)
            .map(|one| one.replicas)
            .chain([recommended])
    };
    let lowest = within(behavior.scale_up.stabilization_window.0).fold(recommended, u32::min);
    let highest = within(behavior.scale_down.stabilization_window.0).fold(recommended, u32::max);
    Stabilized {
        to: current.max(lowest).min(highest),
        lowest,
        highest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Span;

    /// Windows of 1 min up and 5 min down over recommendations made so many seconds ago.
    fn stabilized(current: u32, recommended: u32, before: &[(u64, u32)]) -> u32 {
        let now = Timestamp::from_unix(100_000);
        let mut behavior = Behavior::default();
        behavior.scale_up.stabilization_window = Span::seconds(60);
        behavior.scale_down.stabilization_window = Span::seconds(300);
        let mut history = History::default();
        for (ago, replicas) in before {
            history.record_recommendation(now - Duration::from_secs(*ago), *replicas);
        }
        stabilize(&history, &behavior, now, current, recommended).to
    }

    #[test]
    fn down_goes_no_further_than_the_most_that_was_asked_for_in_its_window() {
        assert_eq!(stabilized(6, 1, &[(200, 4), (100, 2)]), 4);
        assert_eq!(stabilized(6, 1, &[(200, 9)]), 6);
        assert_eq!(stabilized(6, 1, &[]), 1);
    }

    #[test]
    fn up_goes_no_further_than_the_least_that_was_asked_for_in_its_window() {
        assert_eq!(stabilized(2, 9, &[(50, 5), (20, 7)]), 5);
        assert_eq!(stabilized(2, 9, &[(50, 1)]), 2);
        assert_eq!(stabilized(2, 9, &[(200, 1)]), 9);
    }

    #[test]
    fn a_recommendation_as_old_as_the_window_has_left_it() {
        assert_eq!(stabilized(6, 1, &[(300, 4)]), 1);
        assert_eq!(stabilized(6, 1, &[(299, 4)]), 4);
    }
}
