//! What load is read from.

use super::{
    Form,
    at::{At, Keys},
    value::{above_zero, count, share, text},
};
use crate::policy::{Aim, Custom, CustomTarget, Metric};

const INSTEAD: &str = "is not available in this version; use cpu or memory";

/// `custom` is the first: decision inputs may have it.
const UNAVAILABLE: &[(&str, &str)] = &[
    (
        "custom",
        "custom metrics are not available in this version; use cpu or memory",
    ),
    ("requests", INSTEAD),
    ("in_flight", INSTEAD),
    ("latency", INSTEAD),
    ("errors", INSTEAD),
];

const TARGETS: [&str; 3] = ["average_target", "service_target", "per_replica_target"];

pub(super) fn metrics(at: &At<'_>, form: Form) -> Option<Vec<Metric>> {
    let keys = Keys {
        allowed: match form {
            Form::Compose => &["cpu", "memory"],
            Form::Decision => &["cpu", "memory", "custom"],
        },
        unavailable: match form {
            Form::Compose => UNAVAILABLE,
            Form::Decision => &UNAVAILABLE[1..],
        },
    };
    let mut metrics: Vec<Metric> = Vec::new();
    for item in at.list("a list like [cpu: 60%]")? {
        item.only_entry(&keys, "one metric, like cpu: 60%", |key, at| {
            let metric = match key {
                "cpu" => Metric::Cpu(aim(at)?),
                "memory" => Metric::Memory(aim(at)?),
                _ => Metric::Custom(custom(at)?),
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

fn custom(at: &At<'_>) -> Option<Custom> {
    let carried = "is not available in this version; a decision input carries the \
                   values in `service_metrics` or in each replica's `metrics`";
    let keys = Keys {
        allowed: &["name", TARGETS[0], TARGETS[1], TARGETS[2]],
        unavailable: &[
            ("command", carried),
            ("http", carried),
            ("prometheus", carried),
        ],
    };
    let map = at.map(&keys, "{name: jobs, average_target: 100}")?;
    let what = "the name of the metric";
    let name = map.require("name", what, |at| text(at, what));
    let mut target = None;
    for key in TARGETS {
        map.read(key, &mut target, |at| {
            let number = above_zero(at)?;
            Some(Some(match key {
                "average_target" => CustomTarget::Average(number),
                "service_target" => CustomTarget::Service(number),
                _ => CustomTarget::PerReplica(number),
            }))
        });
    }
    let one = "average_target, service_target or per_replica_target";
    match map.present(&TARGETS).as_slice() {
        [_] => {}
        [] => at.problem(format!("the target is missing, expected {one}")),
        several => at.problem(format!(
            "found {}, expected only one of {one}",
            several.join(" and ")
        )),
    }
    Some(Custom {
        name: name?,
        target: target?,
    })
}
