//! The sentence that goes with a decision.

use std::cmp::Ordering;

use crate::units::{Short, Size};

use super::{
    DecisionTrace, ScaleDownBlock,
    figures::{AgainstTarget, ReplicaNames},
    input::Pause,
    limits, memory_priority,
    proposal::{Absence, Judged, LeftOut, Proposal, ProposalVerdict, ServiceLevel},
    reason::{Limit, Reason},
    samples,
};

/// A sentence that ends in what happens: `cpu 85% of 60% target: 3 → 5`.
pub(super) fn message(steps: &DecisionTrace<'_>, reason: Reason) -> String {
    let (current, desired) = (steps.current, steps.desired);
    let cause = cause(steps, reason);
    if desired == current {
        format!("{cause}: staying at {current}")
    } else {
        format!("{cause}: {current} → {desired}")
    }
}

fn cause(steps: &DecisionTrace<'_>, reason: Reason) -> String {
    if let Some(held) = steps.input.hold {
        let beyond = steps.input.policy.beyond(held);
        return format!("held at {held} by hand{beyond}");
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
fn paused(steps: &DecisionTrace<'_>) -> Option<&'static str> {
    match steps.limited.to.cmp(&steps.desired) {
        Ordering::Greater => Some("scaling up is paused"),
        Ordering::Less => Some("scaling down is paused"),
        Ordering::Equal => None,
    }
}

/// The load did not matter, or could not be read.
fn without_load(steps: &DecisionTrace<'_>) -> String {
    let (current, bounds) = (steps.current, steps.bounds);
    let of_schedule = |by_schedule| if by_schedule { " by schedule" } else { "" };
    if current < bounds.min {
        let by = of_schedule(bounds.min_by_schedule);
        return format!("{current} is below the minimum of {}{by}", bounds.min);
    }
    if current > bounds.max {
        let by = of_schedule(bounds.max_by_schedule);
        return format!("{current} is above the maximum of {}{by}", bounds.max);
    }
    let Some(judged) = steps.leading() else {
        return "the policy has no metric".into();
    };
    let Proposal {
        metric,
        left_out,
        error,
        ..
    } = &judged.proposal;
    let names = match error {
        Some(why) => format!(" ({why})"),
        None if left_out.is_empty() => String::new(),
        None => format!(" ({})", ReplicaNames(left_out)),
    };
    // Readings there are, but of replicas whose load says nothing yet.
    let too_early = |one: &LeftOut| matches!(one.why, Absence::NotReady | Absence::Initializing);
    if !left_out.is_empty() && left_out.iter().all(too_early) && steps.judged.len() == 1 {
        return format!("{metric} says nothing yet: {}", ReplicaNames(left_out));
    }
    let read = |judged: &Judged| judged.proposal.desired.is_some();
    let effect = if steps.judged.iter().any(read) {
        ", and without it nothing is removed"
    } else {
        ""
    };
    format!("{metric} cannot be read{names}{effect}")
}

fn of_the_load(steps: &DecisionTrace<'_>, reason: Reason) -> String {
    let Some(judged) = steps.leading() else {
        return reason.to_string();
    };
    let (current, wanted) = (steps.current, steps.wanted().unwrap_or(steps.current));
    let load = AgainstTarget(&judged.proposal);
    if wanted == current {
        let left_out = &judged.proposal.left_out;
        return match reason {
            Reason::MetricsIncomplete | Reason::ReplicasStarting if left_out.is_empty() => {
                format!("{load}, but no replica is ready")
            }
            Reason::MetricsIncomplete | Reason::ReplicasStarting => {
                format!("{load}, but {}", ReplicaNames(left_out))
            }
            Reason::AtMin => format!("{load}, and {current} is the minimum"),
            Reason::Schedule => format!("{load}, and {current} is the minimum by schedule"),
            Reason::Throttled => {
                let share = Short(judged.proposal.throttled.unwrap_or_default());
                format!("{load}, but the CPU quota ran out for {share}% of the time")
            }
            Reason::ReplicasIdle | Reason::Trying | Reason::NoHelp => {
                let why = judged.quality.as_ref().map(ServiceLevel::words);
                format!("{load}, but {}", why.unwrap_or_default())
            }
            _ if judged.verdict == ProposalVerdict::Abstains => load.to_string(),
            _ if judged.verdict == ProposalVerdict::Tolerance
                && judged.proposal.target.is_some() =>
            {
                format!("{load}, within tolerance")
            }
            _ if judged.proposal.target.is_some() => format!("{load} still needs {current}"),
            _ => load.to_string(),
        };
    }
    let limits = obstacles(steps, wanted);
    if judged.verdict == ProposalVerdict::Fallback {
        return format!("{load} and falls back to {wanted}{limits}");
    }
    if limits.is_empty() && wanted == steps.limited.to {
        return load.to_string();
    }
    format!("{load} asks for {wanted}{limits}")
}

/// What came between the count that was wanted and the one that comes out.
fn obstacles(steps: &DecisionTrace<'_>, wanted: u32) -> String {
    let mut clauses = Vec::new();
    let behavior = &steps.input.policy.behavior;
    match steps.kept {
        Some(ScaleDownBlock::Burst) => clauses.push("nothing is removed in a burst".into()),
        Some(ScaleDownBlock::OutOfMemory) => {
            let who = samples::out_of_memory(steps.input).map_or("a replica", |one| &one.name);
            clauses.push(format!("{who} ran out of memory a short while ago"));
        }
        None => {}
    }
    if let Some(stabilized) = steps
        .stabilized
        .filter(|one| steps.kept.is_none() && one.to != wanted)
    {
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
        Some(Limit::Min) if steps.bounds.min_by_schedule => {
            clauses.push(format!("the minimum by schedule is {to}"));
        }
        Some(Limit::Max) if steps.bounds.max_by_schedule => {
            clauses.push(format!("the maximum by schedule is {to}"));
        }
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

/// What of the machine is in the way, with the numbers that would have to be others.
fn host(steps: &DecisionTrace<'_>) -> Option<String> {
    let host = steps.input.host.as_ref()?;
    if steps.limited.by != Some(Limit::Host) {
        return None;
    }
    let (current, to) = (steps.current, steps.limited.to);
    if limits::host_ceiling(host, current) > to {
        let cpu = host.cpu?;
        let (busy, reserve) = (Short(cpu.busy), Short(cpu.reserve));
        return Some(format!(
            "the host's cores are {busy}% busy with {reserve}% to be kept free, so more of it would only share them"
        ));
    }
    let room = match to - current {
        0 => "no more".to_owned(),
        more => format!("only {more} more"),
    };
    let (free, each) = (host.free_memory?, host.replica_memory?);
    let kept = match host.kept.as_slice() {
        [] => String::new(),
        kept => {
            let names: Vec<_> = kept.iter().map(|one| one.service.as_str()).collect();
            format!(
                ", {} kept for {}",
                Size(memory_priority::sum(kept)),
                names.join(", ")
            )
        }
    };
    let (free, each) = (Size(free), Size(each));
    Some(format!(
        "the host has memory for {room} ({free} free, {each} each{kept})"
    ))
}
