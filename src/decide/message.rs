//! The sentence that goes with a decision.

use std::{cmp::Ordering, fmt};

use crate::units::Short;

use super::{
    Steps,
    input::Pause,
    proposal::{Judged, LeftOut, Proposal, Unit, Verdict},
    reason::{Limit, Reason},
};

/// A sentence that ends in what happens: `cpu 85% of 60% target: 3 → 5`.
pub(super) fn message(steps: &Steps<'_>, reason: Reason) -> String {
    let (current, desired) = (steps.current, steps.desired);
    let cause = cause(steps, reason);
    if desired == current {
        format!("{cause}: staying at {current}")
    } else {
        format!("{cause}: {current} → {desired}")
    }
}

fn cause(steps: &Steps<'_>, reason: Reason) -> String {
    if let Some(held) = steps.input.hold {
        return format!("held at {held} by hand");
    }
    if steps.input.paused == Some(Pause::Both) {
        return "scaling is paused".into();
    }
    if steps.stabilized.is_some() {
        return of_the_load(steps, reason);
    }
    let obstacles = host(steps)
        .into_iter()
        .chain(paused(steps).map(String::from));
    without_load(steps) + &but(&obstacles.collect::<Vec<_>>())
}

/// Whether a pause of one direction keeps the count.
fn paused(steps: &Steps<'_>) -> Option<&'static str> {
    match steps.limited.to.cmp(&steps.desired) {
        Ordering::Greater => Some("scaling up is paused"),
        Ordering::Less => Some("scaling down is paused"),
        Ordering::Equal => None,
    }
}

/// The load did not matter, or could not be read.
fn without_load(steps: &Steps<'_>) -> String {
    let (current, policy) = (steps.current, &steps.input.policy);
    if current < policy.min {
        return format!("{current} is below the minimum of {}", policy.min);
    }
    if current > policy.max {
        return format!("{current} is above the maximum of {}", policy.max);
    }
    let Some(judged) = steps.leading() else {
        return "the policy has no metric".into();
    };
    let Proposal {
        metric, left_out, ..
    } = &judged.proposal;
    let names = if left_out.is_empty() {
        String::new()
    } else {
        format!(" ({})", Names(left_out))
    };
    let read = |judged: &Judged| judged.proposal.desired.is_some();
    let effect = if steps.judged.iter().any(read) {
        ", and without it nothing is removed"
    } else {
        ""
    };
    format!("{metric} cannot be read{names}{effect}")
}

fn of_the_load(steps: &Steps<'_>, reason: Reason) -> String {
    let Some(judged) = steps.leading() else {
        return reason.to_string();
    };
    let (current, wanted) = (steps.current, steps.wanted().unwrap_or(steps.current));
    let load = Against(&judged.proposal);
    if wanted == current {
        let left_out = &judged.proposal.left_out;
        return match reason {
            Reason::MetricsIncomplete | Reason::ReplicasStarting if left_out.is_empty() => {
                format!("{load}, but no replica is ready")
            }
            Reason::MetricsIncomplete | Reason::ReplicasStarting => {
                format!("{load}, but {}", Names(left_out))
            }
            Reason::AtMin => format!("{load}, and {current} is the minimum"),
            _ if judged.verdict == Verdict::Tolerance && judged.proposal.target.is_some() => {
                format!("{load}, within tolerance")
            }
            _ if judged.proposal.target.is_some() => format!("{load} still needs {current}"),
            _ => load.to_string(),
        };
    }
    let limits = limits(steps, wanted);
    if limits.is_empty() && wanted == steps.limited.to {
        return load.to_string();
    }
    format!("{load} asks for {wanted}{limits}")
}

/// What came between the count that was wanted and the one that comes out.
fn limits(steps: &Steps<'_>, wanted: u32) -> String {
    let mut clauses = Vec::new();
    let behavior = &steps.input.policy.behavior;
    if let Some(stabilized) = steps.stabilized.filter(|one| one.to != wanted) {
        clauses.push(if wanted > steps.current {
            let (least, window) = (stabilized.lowest, behavior.scale_up.stabilization_window);
            format!("{least} was enough within the last {window}")
        } else {
            let (most, window) = (stabilized.highest, behavior.scale_down.stabilization_window);
            format!("{most} was needed within the last {window}")
        });
    }
    let to = steps.limited.to;
    match steps.limited.by {
        Some(Limit::Min) => clauses.push(format!("the minimum is {to}")),
        Some(Limit::Max) => clauses.push(format!("the maximum is {to}")),
        Some(Limit::ScaleUpPolicy) if steps.is_disabled() => {
            clauses.push("scaling up is disabled".into());
        }
        Some(Limit::ScaleDownPolicy) if steps.is_disabled() => {
            clauses.push("scaling down is disabled".into());
        }
        Some(Limit::ScaleUpPolicy) => clauses.push(format!("scale_up allows {to} for now")),
        Some(Limit::ScaleDownPolicy) => clauses.push(format!("scale_down allows {to} for now")),
        Some(Limit::Host) | None => {}
    }
    clauses.extend(host(steps));
    clauses.extend(paused(steps).map(String::from));
    but(&clauses)
}

fn but(obstacles: &[String]) -> String {
    if obstacles.is_empty() {
        return String::new();
    }
    format!(", but {}", obstacles.join(" and "))
}

fn host(steps: &Steps<'_>) -> Option<String> {
    (steps.limited.by == Some(Limit::Host)).then(|| match steps.limited.to - steps.current {
        0 => "the host has memory for no more".into(),
        more => format!("the host has memory for only {more} more"),
    })
}

/// A metric beside what it is held against: `cpu 85% of 60% target`.
pub(super) struct Against<'a>(pub(super) &'a Proposal);

impl fmt::Display for Against<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.metric, Value(self.0))
    }
}

/// The same without the metric's name.
pub(super) struct Value<'a>(pub(super) &'a Proposal);

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proposal = self.0;
        let figure = |value| Figure(value, proposal.unit);
        let Some(value) = proposal.value else {
            return f.write_str("cannot be read");
        };
        write!(f, "{}", figure(value))?;
        if proposal.unit == Unit::PerReplica {
            f.write_str(" per replica")?;
        }
        match (proposal.target, proposal.above, proposal.below) {
            (Some(target), _, _) => write!(f, " of {} target", figure(target)),
            (_, Some(above), _) if value > above => write!(f, " above {}", figure(above)),
            (_, _, Some(below)) if value < below => write!(f, " below {}", figure(below)),
            (_, Some(above), Some(below)) => {
                write!(f, " between {} and {}", figure(below), figure(above))
            }
            _ => Ok(()),
        }
    }
}

/// A number as people write it: one digit behind the point, or three below 1.
pub(super) struct Figure(pub(super) f64, pub(super) Unit);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Unit::Percent => write!(f, "{}%", Short(self.0)),
            Unit::Number | Unit::PerReplica if self.0 >= 1.0 => Short(self.0).fmt(f),
            Unit::Number | Unit::PerReplica => {
                write!(f, "{}", (self.0 * 1000.0).round() / 1000.0)
            }
        }
    }
}

/// Replicas left out and why, the first three of them.
pub(super) struct Names<'a>(pub(super) &'a [LeftOut]);

impl fmt::Display for Names<'_> {
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
