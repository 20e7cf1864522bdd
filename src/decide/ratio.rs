//! The ratio of a load to its target.

use crate::policy::Tolerance;

/// What binary fractions may add to a number that is whole on paper: 0.07 × 100 is
/// 7.000000000000001, and that is 7 replicas, not 8.
const NOISE: f64 = 1e-9;

/// Whether a ratio is so close to 1 that nothing is done. The bounds belong to it: 66% of a 60%
/// target is 1.1, within a tolerance of 0.1.
pub(super) fn within(tolerance: Tolerance, ratio: f64) -> bool {
    ratio >= 1.0 - tolerance.down - NOISE && ratio <= 1.0 + tolerance.up + NOISE
}

/// The fewest replicas that so many times the load of one needs.
pub(super) fn replicas_for(load: f64) -> u32 {
    if load.is_infinite() {
        return u32::MAX;
    }
    (load - NOISE * load.max(1.0)).ceil() as u32
}

/// Which way a count is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}
