//! How fast the count may follow its recommendation.

use super::{
    cursor::{AllowedKeys, Cursor},
    value::{above_zero, count, share, span, span_above_zero, word},
};
use crate::{
    policy::{Behavior, Burst, Policy, Rate, Rules, Select, Tolerance},
    units::{Percent, Span},
};

pub(super) fn tolerance(at: &Cursor<'_>) -> Option<Tolerance> {
    let number = |at: &Cursor<'_>, expected: &str| {
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
    let map = at.map(&AllowedKeys::only(&["up", "down"]), "{up: 0.05, down: 0.2}")?;
    let mut tolerance = Policy::default().tolerance;
    let number = |at: &Cursor<'_>| number(at, "a number of at least 0, like 0.1");
    map.read("up", &mut tolerance.up, number);
    map.read("down", &mut tolerance.down, number);
    Some(tolerance)
}

pub(super) fn behavior(at: &Cursor<'_>) -> Option<Behavior> {
    let keys = AllowedKeys::only(&["scale_up", "scale_down"]);
    let map = at.map(&keys, "{scale_down: {stabilization_window: 5m}}")?;
    let Behavior {
        mut scale_up,
        mut scale_down,
    } = Behavior::default();
    let defaults = scale_up.clone();
    map.read("scale_up", &mut scale_up, |at| rules(at, defaults, true));
    let defaults = scale_down.clone();
    map.read("scale_down", &mut scale_down, |at| {
        rules(at, defaults, false)
    });
    Some(Behavior {
        scale_up,
        scale_down,
    })
}

fn rules(at: &Cursor<'_>, mut rules: Rules, up: bool) -> Option<Rules> {
    let keys = AllowedKeys {
        allowed: if up {
            &["stabilization_window", "policies", "select", "burst"]
        } else {
            &["stabilization_window", "policies", "select"]
        },
        unavailable: &[("burst", "belongs to scale_up")],
    };
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
    map.read("burst", &mut rules.burst, burst);
    Some(rules)
}

/// Knative's defaults (`panic-window-percentage` of its stable window of a minute,
/// `panic-threshold-percentage`).
#[expect(
    clippy::option_option,
    reason = "a reader gives nothing for a mistake, and `disabled` is none"
)]
fn burst(at: &Cursor<'_>) -> Option<Option<Burst>> {
    let example = "{window: 6s, threshold: 200%}";
    if at.value().as_str() == Some("disabled") {
        return Some(None);
    }
    if at.value().is_string() {
        return at.expected_text(format_args!("disabled or a map like {example}"));
    }
    let map = at.map(&AllowedKeys::only(&["window", "threshold"]), example)?;
    let window = map.or("window", Span::seconds(6), span_above_zero);
    let threshold = map.or("threshold", Percent::new(200.0)?, |at| {
        Some(share(at)?)
            .filter(|share| share.get() > 100.0)
            .or_else(|| at.expected_text("a percentage above 100%"))
    });
    Some(Some(Burst {
        window: window?,
        threshold: threshold?,
    }))
}

fn rate(at: &Cursor<'_>) -> Option<Rate> {
    let keys = AllowedKeys::only(&["percent", "replicas", "per"]);
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
