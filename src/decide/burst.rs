//! A sudden load, to which the count goes at once.
//!
//! The rule is that of the panic mode of Knative's autoscaler (`pkg/autoscaler/scaling/autoscaler.go`):
//! it begins when the load over a short window asks for so many times the replicas there are, and ends
//! when it has not for a while. There, only ready replicas are supply, so that slow starters prolong a
//! panic and every look asks for more; here those that are starting are supply as well.

use super::input::Input;

/// Where a burst stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BurstState {
    /// The load is as high right now.
    Begins,
    /// It was within the time that a burst lasts.
    Lasts,
}

/// Whether a burst lasts, under a load that asks for `recommended` replicas.
pub(super) fn of(input: &Input, current: u32, recommended: u32) -> Option<BurstState> {
    let rules = input.policy.behavior.scale_up.burst?;
    let window = rules.window.0;
    let asked: Vec<f64> = input
        .history
        .recommendations
        .iter()
        .filter(|one| input.now.since(one.at) < window)
        .map(|one| one.replicas)
        .chain([recommended])
        .map(f64::from)
        .collect();
    let mean = asked.iter().sum::<f64>() / asked.len() as f64;
    // `current` is the count that is wanted: what is being made belongs to it.
    let supply = f64::from(current.max(1));
    if mean >= rules.threshold.ratio() * supply {
        return Some(BurstState::Begins);
    }
    let last = input.history.burst?;
    (last <= input.now && input.now.since(last) < rules.lasts()).then_some(BurstState::Lasts)
}
