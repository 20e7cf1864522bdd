//! A decision step by step, for people.

use std::cmp::Ordering;

use crate::{
    policy::Schedule,
    units::{Short, Size, Span},
};

use super::{
    Decision, DecisionTrace,
    burst::BurstState,
    counterfactual::otherwise,
    figures::BareValue,
    input::{Input, Pause},
    limits,
    proposal::{Absence, LeftOut, Proposal},
    samples,
    stabilize::Stabilized,
};

/// The decision and how it came about, one step a line: the metrics with their values, targets and
/// proposals, the replicas left out and why, what stabilization, rates, bounds and the host made of
/// it, and what would have to be different for another answer. Ends in a newline.
pub fn explain_text(input: &Input, decision: &Decision) -> String {
    let steps = DecisionTrace::of(input);
    let mut lines = vec![
        format!("{} ({})", decision.message, decision.reason.label()),
        String::new(),
    ];
    let mut add = |label: &str, text: String| lines.push(format!("{label:<12}  {text}"));

    let policy = &input.policy;
    let (current, min, max) = (steps.current, steps.bounds.min, steps.bounds.max);
    add("replicas", format!("{current} now, {min} to {max} allowed"));
    let holding = policy.schedule.iter().filter(|one| one.holds(input.now));
    for (index, schedule) in holding.enumerate() {
        let label = if index == 0 { "schedule" } else { "" };
        add(label, bounds_of(schedule));
    }
    for replica in input.replicas.iter().filter(|one| !one.state.counts()) {
        let (name, state) = (&replica.name, replica.state.label());
        add("", format!("{name} is {state} and does not count"));
    }
    for proposal in &decision.proposals {
        add(&proposal.metric, asks(proposal));
        for left_out in &proposal.left_out {
            add("", taken_for(proposal, left_out));
        }
    }
    match steps.burst {
        Some(BurstState::Begins) => add("burst", "the load asks for so many that it is one".into()),
        Some(BurstState::Lasts) => {
            let rules = policy.behavior.scale_up.burst;
            let ends = rules
                .zip(input.history.burst)
                .map(|(rules, at)| at + rules.lasts());
            let until = ends.map_or(String::new(), |ends| format!(" until {}", ends.clock()));
            add("burst", format!("lasts{until}, and nothing is removed"));
        }
        None => {}
    }
    if let Some(replica) = samples::out_of_memory(input) {
        let ago = replica.out_of_memory.unwrap_or_default();
        let name = &replica.name;
        add(
            "memory",
            format!("{name} ran out of it {ago} ago, and nothing is removed"),
        );
    }
    if let (Some(wanted), Some(stabilized)) = (steps.wanted(), steps.stabilized) {
        if let Some(text) = waiting(&steps, wanted, stabilized) {
            add("stabilize", text);
        }
        if let Some(text) = bounded(&steps, stabilized.to) {
            add("limits", text);
        }
    }
    if let Some(host) = &input.host
        && let (Some(free), Some(each)) = (host.free_memory, host.replica_memory)
    {
        let fits = limits::host_ceiling(host, current).saturating_sub(current);
        let (free, each) = (Size(free), Size(each));
        add(
            "host",
            format!("{free} free, {each} each: room for {fits} more"),
        );
    }
    if let Some(host) = &input.host {
        for kept in &host.kept {
            let memory = Size(kept.memory);
            add("", format!("{memory} more are kept for {}", kept.service));
        }
        if let Some(cpu) = host.cpu {
            let (busy, reserve) = (Short(cpu.busy), Short(cpu.reserve));
            let waiting = cpu.pressure.map_or(String::new(), |share| {
                format!(", processes waited for one {}% of the time", Short(share))
            });
            let full = if cpu.is_full() { ": full" } else { "" };
            add(
                "host cpu",
                format!("cores {busy}% busy, {reserve}% to be kept free{waiting}{full}"),
            );
        }
    }
    match input.paused {
        Some(Pause::Both) => add("paused", "both ways".into()),
        Some(Pause::Up) => add("paused", "up".into()),
        Some(Pause::Down) => add("paused", "down".into()),
        None => {}
    }
    if let Some(held) = input.hold {
        add("held", format!("at {held} by hand"));
    }
    add("result", changed(current, decision.desired));
    for (index, sentence) in otherwise(input).into_iter().enumerate() {
        add(if index == 0 { "otherwise" } else { "" }, sentence);
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What the window of the direction that the load asks for makes of it.
fn waiting(steps: &DecisionTrace<'_>, wanted: u32, stabilized: Stabilized) -> Option<String> {
    let behavior = &steps.input.policy.behavior;
    let (extreme, window) = match wanted.cmp(&steps.current) {
        Ordering::Greater => (
            format!("the least that was asked for is {}", stabilized.lowest),
            behavior.scale_up.stabilization_window,
        ),
        Ordering::Less => (
            format!("the most that was asked for is {}", stabilized.highest),
            behavior.scale_down.stabilization_window,
        ),
        Ordering::Equal => return None,
    };
    if window == Span::default() || steps.burst.is_some() || steps.kept.is_some() {
        return None;
    }
    let effect = changed(wanted, stabilized.to);
    Some(format!("in the last {window} {extreme}: {effect}"))
}

/// What rates and bounds make of the stabilized count.
fn bounded(steps: &DecisionTrace<'_>, stabilized: u32) -> Option<String> {
    let (word, (bound, limit)) = match stabilized.cmp(&steps.current) {
        Ordering::Greater => ("more", steps.room().ceiling()),
        Ordering::Less => ("fewer", steps.room().floor()),
        Ordering::Equal => return None,
    };
    let bounded = match stabilized.cmp(&steps.current) {
        Ordering::Greater => stabilized.min(bound),
        Ordering::Less | Ordering::Equal => stabilized.max(bound),
    };
    let (setting, effect) = (limit.setting(), changed(stabilized, bounded));
    Some(format!("no {word} than {bound} by {setting}: {effect}"))
}

/// A schedule and what it allows: `0 8 * * 1-5 for 10h (Europe/London): at least 3`.
fn bounds_of(schedule: &Schedule) -> String {
    let least = schedule.min.map(|min| format!("at least {min}"));
    let most = schedule.max.map(|max| format!("at most {max}"));
    let bounds: Vec<_> = least.into_iter().chain(most).collect();
    let Schedule {
        cron,
        lasts,
        timezone,
        ..
    } = schedule;
    format!("{cron} for {lasts} ({timezone}): {}", bounds.join(", "))
}

fn asks(proposal: &Proposal) -> String {
    if let Some(share) = proposal.throttled {
        let (value, share) = (BareValue(proposal), Short(share));
        return format!(
            "{value}, but the quota ran out for {share}% of the time: nothing is removed"
        );
    }
    match proposal.desired {
        Some(desired) if proposal.value.is_none() => {
            format!("{}: falls back to {desired}", BareValue(proposal))
        }
        Some(desired) => format!("{}: asks for {desired}", BareValue(proposal)),
        None => format!("{}: nothing is removed", BareValue(proposal)),
    }
}

/// How a replica that was left out entered the mean, if it did.
fn taken_for(proposal: &Proposal, left_out: &LeftOut) -> String {
    let LeftOut { name, why } = left_out;
    let up = proposal.above.or(proposal.target);
    let down = proposal.below.or(proposal.target);
    let taken = match proposal.value {
        Some(value) if up.is_some_and(|up| value > up) => "taken for idle",
        Some(value) if *why == Absence::NoSample && down.is_some_and(|down| value < down) => {
            "taken for busy"
        }
        Some(_) | None => "left out",
    };
    format!("{name} {}: {taken}", why.words())
}

fn changed(from: u32, to: u32) -> String {
    if from == to {
        format!("stays {to}")
    } else {
        format!("{from} → {to}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decide::{
            HostCapacity, ObservedState, decide,
            tests::fixture::{cpu_thresholds, custom, web},
        },
        policy::{CustomTarget, Rate},
        units::Bytes,
    };

    fn explain(input: &Input) -> String {
        explain_text(input, &decide(input))
    }

    #[test]
    fn a_change_is_explained_step_by_step() {
        let input = web(&[95.0, 90.0, 10.0, 40.0, 0.0])
            .unseen(1)
            .recommended(45, 6)
            .with(|input| {
                input.replicas[2].age = Span::seconds(5);
                input.replicas[3].state = ObservedState::Draining;
                input.replicas[4].state = ObservedState::Created;
                input
                    .policy
                    .metrics
                    .push(custom("jobs", CustomTarget::Average(0.125)));
                input.service_metrics.insert("jobs".into(), 1.5);
                input.host = Some(HostCapacity {
                    free_memory: Some(Bytes(450 << 20)),
                    replica_memory: Some(Bytes(200 << 20)),
                    ..HostCapacity::default()
                });
            });
        insta::assert_snapshot!(explain(&input), @r"
        jobs 0.3 per replica of 0.125 target asks for 12, but the host has memory for only 2 more (450MiB free, 200MiB each): 5 → 7 (above_target)

        replicas      5 now, 1 to 8 allowed
                      web-4 is draining and does not count
        cpu           92.5% of 60% target: asks for 5
                      web-3 is still within its initialization period: taken for idle
                      web-5 has not been started: taken for idle
                      web-6 has no sample: taken for idle
        jobs          0.3 per replica of 0.125 target: asks for 12
        limits        no more than 8 by max: 12 → 8
        host          450MiB free, 200MiB each: room for 2 more
        result        5 → 7
        otherwise     with more memory on the host: 8
                      jobs below 0.15 per replica: 6
        ");
    }

    #[test]
    fn a_count_that_stays_is_explained_too() {
        let input = web(&[5.0, 10.0, 0.0]).recommended(45, 3).with(|input| {
            input.replicas[2].metrics.clear();
            input
                .policy
                .metrics
                .insert(0, cpu_thresholds(80.0, 30.0, 1));
            input
                .policy
                .metrics
                .push(custom("jobs", CustomTarget::Service(40.0)));
            input.paused = Some(Pause::Down);
            input.hold = Some(3);
        });
        insta::assert_snapshot!(explain(&input), @r"
        held at 3 by hand: staying at 3 (held)

        replicas      3 now, 1 to 8 allowed
        cpu           7.5% below 30%: asks for 3
                      web-3 has no sample: taken for busy
        cpu           7.5% of 60% target: asks for 2
                      web-3 has no sample: taken for busy
        jobs          cannot be read: nothing is removed
        paused        down
        held          at 3 by hand
        result        stays 3
        ");
    }

    #[test]
    fn waiting_and_rates_are_explained_where_they_matter() {
        let slow = Rate::Replicas {
            replicas: 1,
            per: Span::seconds(60),
        };
        let input = web(&[10.0; 6])
            .recommended(45, 4)
            .with(|input| input.policy.behavior.scale_down.policies = vec![slow]);
        insta::assert_snapshot!(explain(&input), @r"
        cpu 10% of 60% target asks for 1, but 4 was needed within the last 5m and scale_down allows 5 for now: 6 → 5 (below_target)

        replicas      6 now, 1 to 8 allowed
        cpu           10% of 60% target: asks for 1
        stabilize     in the last 5m the most that was asked for is 4: 1 → 4
        limits        no fewer than 5 by behavior.scale_down: 4 → 5
        result        6 → 5
        otherwise     cpu above 50%: 6
        ");
    }
}
