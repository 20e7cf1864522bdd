//! What load is read from.

use super::{
    Form,
    at::{At, Keys},
    custom::custom,
    value::{above_zero, count, share, span},
};
use crate::{
    policy::{Aim, Metric, Traffic},
    units::Span,
};

const INSTEAD: &str =
    "is not available in this version; use requests, in_flight, cpu, memory or custom";

const UNAVAILABLE: &[(&str, &str)] = &[("latency", INSTEAD), ("errors", INSTEAD)];

pub(super) fn metrics(at: &At<'_>, form: Form) -> Option<Vec<Metric>> {
    let keys = Keys {
        allowed: &["cpu", "memory", "requests", "in_flight", "custom"],
        unavailable: UNAVAILABLE,
    };
    let mut metrics: Vec<Metric> = Vec::new();
    for item in at.list("a list like [cpu: 60%]")? {
        item.only_entry(&keys, "one metric, like cpu: 60%", |key, at| {
            let metric = match key {
                "cpu" => Metric::Cpu(aim(at)?),
                "memory" => Metric::Memory(aim(at)?),
                "requests" => Metric::Requests(traffic(at)?),
                "in_flight" => Metric::InFlight(traffic(at)?),
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

fn traffic(at: &At<'_>) -> Option<Traffic> {
    let default = Span::seconds(Traffic::WINDOW);
    if !at.value().is_object() {
        return above_zero(at).map(|target| Traffic {
            target,
            window: default,
        });
    }
    let keys = Keys::only(&["target", "window"]);
    let map = at.map(&keys, "{target: 50, window: 15s}")?;
    let target = map.require("target", "a number above 0", above_zero);
    let window = map.or("window", default, |at| {
        Some(span(at)?)
            .filter(|span| span.0.subsec_nanos() == 0)
            .filter(|span| (1..=Traffic::LONGEST).contains(&span.0.as_secs()))
            .or_else(|| at.expected_text("a duration of whole seconds from 1s to 5m"))
    });
    Some(Traffic {
        target: target?,
        window: window?,
    })
}

fn aim(at: &At<'_>) -> Option<Aim> {
    if !at.value().is_object() {
        return share(at).map(Aim::Target);
    }
    let keys = Keys::only(&["above", "below", "step"]);
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
