//! How fast the count may follow its recommendation.

use super::{
    at::{At, Keys},
    value::{above_zero, count, span, span_above_zero, word},
};
use crate::policy::{Behavior, Policy, Rate, Rules, Select, Tolerance};

pub(super) fn tolerance(at: &At<'_>) -> Option<Tolerance> {
    let number = |at: &At<'_>, expected: &str| {
        at.value()
            .as_f64()
            .filter(|number| number.is_finite() && *number >= 0.0)
            .or_else(|| at.expected(expected))
    };
    if !at.value().is_object() {
        let both = number(
            at,
            "a number of at least 0, like 0.1, or {up: 0.05, down: 0.2}",
        )?;
        return Some(Tolerance {
            up: both,
            down: both,
        });
    }
    let map = at.map(&Keys::only(&["up", "down"]), "{up: 0.05, down: 0.2}")?;
    let mut tolerance = Policy::default().tolerance;
    let number = |at: &At<'_>| number(at, "a number of at least 0, like 0.1");
    map.read("up", &mut tolerance.up, number);
    map.read("down", &mut tolerance.down, number);
    Some(tolerance)
}

pub(super) fn behavior(at: &At<'_>) -> Option<Behavior> {
    let keys = Keys::only(&["scale_up", "scale_down"]);
    let map = at.map(&keys, "{scale_down: {stabilization_window: 5m}}")?;
    let Behavior {
        mut scale_up,
        mut scale_down,
    } = Behavior::default();
    let defaults = scale_up.clone();
    map.read("scale_up", &mut scale_up, |at| rules(at, defaults));
    let defaults = scale_down.clone();
    map.read("scale_down", &mut scale_down, |at| rules(at, defaults));
    Some(Behavior {
        scale_up,
        scale_down,
    })
}

fn rules(at: &At<'_>, mut rules: Rules) -> Option<Rules> {
    let keys = Keys::only(&["stabilization_window", "policies", "select"]);
    let map = at.map(&keys, "{stabilization_window: 5m}")?;
    map.read(
        "stabilization_window",
        &mut rules.stabilization_window,
        span,
    );
    map.read("policies", &mut rules.policies, |at| {
        let items = at.list("a list like [{percent: 100, per: 15s}], or [] for no limit")?;
        Some(items.iter().filter_map(rate).collect())
    });
    map.read("select", &mut rules.select, |at| {
        let words = [
            ("max", Select::Max),
            ("min", Select::Min),
            ("disabled", Select::Disabled),
        ];
        word(at, &words, "max, min or disabled")
    });
    Some(rules)
}

fn rate(at: &At<'_>) -> Option<Rate> {
    let keys = Keys::only(&["percent", "replicas", "per"]);
    let map = at.map(&keys, "{percent: 100, per: 15s} or {replicas: 4, per: 15s}")?;
    let percent = map.or("percent", None, |at| above_zero(at).map(Some));
    let replicas = map.or("replicas", None, |at| count(at, 1, u32::MAX).map(Some));
    let per = map.require("per", "a duration like 15s", span_above_zero);
    match map.present(&["percent", "replicas"]).len() {
        1 => {}
        0 => at.problem("the change is missing, expected percent or replicas"),
        _ => at.problem("found percent and replicas, expected only one of them"),
    }
    let (percent, replicas, per) = (percent?, replicas?, per?);
    match percent {
        Some(percent) => Some(Rate::Percent { percent, per }),
        None => replicas.map(|replicas| Rate::Replicas { replicas, per }),
    }
}
