//! Values, targets and replicas as they stand in a sentence.

use std::fmt;

use crate::units::Short;

use super::proposal::{LeftOut, MetricUnit, Proposal};

/// A metric beside what it is held against: `cpu 85% of 60% target`.
pub(super) struct AgainstTarget<'a>(pub(super) &'a Proposal);

impl fmt::Display for AgainstTarget<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let metric = &self.0.metric;
        match &self.0.percentile {
            Some(percentile) => write!(f, "{metric} {percentile} {}", BareValue(self.0)),
            None => write!(f, "{metric} {}", BareValue(self.0)),
        }
    }
}

/// The same without the metric's name.
pub(super) struct BareValue<'a>(pub(super) &'a Proposal);

impl fmt::Display for BareValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proposal = self.0;
        let figure = |value| Figure(value, proposal.unit);
        let Some(value) = proposal.value else {
            return match &proposal.error {
                Some(why) => write!(f, "cannot be read ({why})"),
                None => f.write_str("cannot be read"),
            };
        };
        write!(f, "{}", figure(value))?;
        if proposal.unit == MetricUnit::PerReplica {
            f.write_str(" per replica")?;
        }
        match (proposal.target, proposal.above, proposal.below) {
            (Some(target), _, _) => write!(f, " of {} target", figure(target)),
            (_, Some(above), _) if value > above => write!(f, " above {}", figure(above)),
            (_, Some(above), None) => write!(f, " of at most {}", figure(above)),
            (_, _, Some(below)) if value < below => write!(f, " below {}", figure(below)),
            (_, Some(above), Some(below)) => {
                write!(f, " between {} and {}", figure(below), figure(above))
            }
            _ => Ok(()),
        }
    }
}

/// A number as people write it: one digit behind the point, or three below 1.
pub(super) struct Figure(pub(super) f64, pub(super) MetricUnit);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            MetricUnit::Percent => write!(f, "{}%", Short(self.0)),
            MetricUnit::Millis => write!(f, "{}ms", self.0.round()),
            MetricUnit::Number | MetricUnit::PerReplica if self.0 >= 1.0 => Short(self.0).fmt(f),
            MetricUnit::Number | MetricUnit::PerReplica => {
                write!(f, "{}", (self.0 * 1000.0).round() / 1000.0)
            }
        }
    }
}

/// Replicas left out and why, the first three of them.
pub(super) struct ReplicaNames<'a>(pub(super) &'a [LeftOut]);

impl fmt::Display for ReplicaNames<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, one) in self.0.iter().take(3).enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{} {}", one.name, one.why.words())?;
        }
        match self.0.len().saturating_sub(3) {
            0 => Ok(()),
            more => write!(f, ", {more} more"),
        }
    }
}
