//! What load is read from.

use super::{
    Form,
    cursor::{AllowedKeys, Cursor, Entries},
    custom::custom,
    value::{above_zero, count, share, span, span_above_zero},
};
use crate::{
    policy::{Aim, ErrorTarget, LatencyTarget, Metric, Percentile, TrafficTarget},
    units::Span,
};

pub(super) fn metrics(at: &Cursor<'_>, form: Form) -> Option<Vec<Metric>> {
    let keys = AllowedKeys::only(&[
        "cpu",
        "memory",
        "requests",
        "in_flight",
        "latency",
        "errors",
        "custom",
    ]);
    let mut metrics: Vec<Metric> = Vec::new();
    for item in at.list("a list like [cpu: 60%]")? {
        item.only_entry(&keys, "one metric, like cpu: 60%", |key, at| {
            let metric = match key {
                "cpu" => Metric::Cpu(aim(at)?),
                "memory" => Metric::Memory(aim(at)?),
                "requests" => Metric::Requests(traffic(at)?),
                "in_flight" => Metric::InFlight(traffic(at)?),
                "latency" => Metric::Latency(latency(at)?),
                "errors" => Metric::Errors(errors(at)?),
                _ => Metric::Custom(custom(at, form)?),
            };
            if metrics.iter().any(|other| other.name() == metric.name()) {
                at.problem(format!(
                    "the metric `{}` is already in the list, expected each at most once",
                    metric.name()
                ));
            }
            metrics.push(metric);
            Some(())
        });
    }
    Some(metrics)
}

fn traffic(at: &Cursor<'_>) -> Option<TrafficTarget> {
    let default = TrafficTarget::WINDOW;
    if !at.value().is_object() {
        return above_zero(at).map(|target| TrafficTarget {
            target,
            window: Span::seconds(default),
        });
    }
    let keys = AllowedKeys::only(&["target", "window"]);
    let map = at.map(&keys, "{target: 50, window: 15s}")?;
    let target = map.require("target", "a number above 0", above_zero);
    let window = window(&map, default);
    Some(TrafficTarget {
        target: target?,
        window: window?,
    })
}

fn latency(at: &Cursor<'_>) -> Option<LatencyTarget> {
    let form = "{p95: 300ms}";
    let keys = AllowedKeys::only(&["p50", "p90", "p95", "p99", "window"]);
    let map = at.map(&keys, form)?;
    let given = Percentile::ALL
        .into_iter()
        .filter_map(|one| Some((one, map.get(one.key())?)));
    let given: Vec<_> = given
        .map(|(percentile, at)| (percentile, span_above_zero(&at)))
        .collect();
    let window = window(&map, LatencyTarget::WINDOW);
    match given.as_slice() {
        [(percentile, target)] => Some(LatencyTarget {
            percentile: *percentile,
            target: (*target)?,
            window: window?,
        }),
        [] => {
            at.problem(format!(
                "found no percentile, expected one of p50, p90, p95 and p99, like {form}"
            ));
            None
        }
        [_, (second, _), ..] => {
            map.problem(
                second.key(),
                format!("found a second percentile, expected one, like {form}"),
            );
            None
        }
    }
}

fn errors(at: &Cursor<'_>) -> Option<ErrorTarget> {
    let keys = AllowedKeys::only(&["above", "window", "step"]);
    let map = at.map(&keys, "{above: 5%}")?;
    let above = map.require("above", "a percentage like 5%", |at| {
        Some(share(at)?)
            .filter(|share| share.get() < 100.0)
            .or_else(|| at.expected_text("a percentage above 0% and below 100%"))
    });
    let window = window(&map, TrafficTarget::WINDOW);
    let step = map.or("step", 1, |at| count(at, 1, u32::MAX));
    Some(ErrorTarget {
        above: above?,
        window: window?,
        step: step?,
    })
}

fn window(map: &Entries<'_>, default: u64) -> Option<Span> {
    map.or("window", Span::seconds(default), |at| {
        Some(span(at)?)
            .filter(|span| span.0.subsec_nanos() == 0)
            .filter(|span| (1..=TrafficTarget::LONGEST).contains(&span.0.as_secs()))
            .or_else(|| at.expected_text("a duration of whole seconds from 1s to 5m"))
    })
}

fn aim(at: &Cursor<'_>) -> Option<Aim> {
    if !at.value().is_object() {
        return share(at).map(Aim::Target);
    }
    let keys = AllowedKeys::only(&["above", "below", "step"]);
    let map = at.map(&keys, "{above: 80%, below: 20%, step: 1}")?;
    let percentage = "a percentage like 60%";
    let above = map.require("above", percentage, share);
    let below = map.require("below", percentage, share);
    let step = map.or("step", 1, |at| count(at, 1, u32::MAX));
    let (above, below) = (above?, below?);
    if above <= below {
        map.problem(
            "above",
            format!("found `{above}`, expected more than `below`, which is {below}"),
        );
        return None;
    }
    Some(Aim::Thresholds {
        above,
        below,
        step: step?,
    })
}
