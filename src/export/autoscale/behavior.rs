//! Windows, rates and tolerance of both directions, as the autoscaler has them.

use std::time::Duration;

use k8s_openapi::{
    api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::{
    policy::{Policy, Rate, Rules, Select},
    units::{Short, Span},
};

use super::{count, notes::Notes, thresholds::SYNC};

/// The longest stabilization window that the API takes.
const LONGEST_WINDOW: u64 = 3600;
/// The longest span of a rate that the API takes.
const LONGEST_PERIOD: u64 = 1800;
/// A larger change is none that anybody has pods for, and would overflow when it is added to a count.
const MOST: u32 = 1_000_000;
/// The tolerance of a cluster where nobody has set another one. Written nowhere, so that it is taken by every
/// version.
const USUAL_TOLERANCE: f64 = 0.1;

pub(super) fn behavior(policy: &Policy, notes: &mut Notes) -> HorizontalPodAutoscalerBehavior {
    let tolerance = policy.tolerance;
    let (up, down) = (quantity(tolerance.up), quantity(tolerance.down));
    if up.is_some() || down.is_some() {
        notes.chosen(
            "tolerance",
            format!(
                "{} up and {} down need Kubernetes 1.35, or 1.33 with the feature gate HPAConfigurableTolerance; \
                 without, the cluster's own {USUAL_TOLERANCE} counts",
                Short(tolerance.up),
                Short(tolerance.down)
            ),
            "take the `tolerance` lines out for an older cluster, which may refuse them",
        );
    }
    let mut rules = |rules: &Rules, tolerance, key: &str| {
        let place = format!("behavior.{key}");
        HPAScalingRules {
            policies: Some(rates(rules, policy.max, &place, notes)),
            select_policy: Some(
                match rules.select {
                    Select::Max => "Max",
                    Select::Min => "Min",
                    Select::Disabled => "Disabled",
                }
                .into(),
            ),
            stabilization_window_seconds: Some(window(rules, &place, notes)),
            tolerance,
        }
    };
    let scale_up = rules(&policy.behavior.scale_up, up, "scale_up");
    let scale_down = rules(&policy.behavior.scale_down, down, "scale_down");
    if let Some(burst) = policy.behavior.scale_up.burst {
        notes.lost(
            "behavior.scale_up.burst",
            format!(
                "{{window: {}, threshold: {}}}: no autoscaler of Kubernetes has such a mode",
                burst.window, burst.threshold
            ),
            "let scale_up be quick (stabilization_window: 0s), or serve it with Knative, whose panic mode it is",
        );
    }
    HorizontalPodAutoscalerBehavior {
        scale_down: Some(scale_down),
        scale_up: Some(scale_up),
    }
}

/// A tolerance that is not the usual one. A quantity has nine digits behind its point.
fn quantity(tolerance: f64) -> Option<Quantity> {
    let rounded = (tolerance * 1e9).round() / 1e9;
    (rounded.to_bits() != USUAL_TOLERANCE.to_bits()).then(|| Quantity(rounded.to_string()))
}

fn window(rules: &Rules, place: &str, notes: &mut Notes) -> i32 {
    let place = format!("{place}.stabilization_window");
    seconds(rules.stabilization_window, 0, LONGEST_WINDOW, &place, notes)
}

/// Whole seconds within what the API takes.
fn seconds(span: Span, least: u64, most: u64, place: &str, notes: &mut Notes) -> i32 {
    let rounded = span.0.as_secs() + u64::from(span.0.subsec_nanos() > 0);
    let seconds = rounded.clamp(least, most);
    if span.0 != Duration::from_secs(seconds) {
        notes.lost(
            place,
            format!(
                "{span} is written as {}: the API takes whole seconds from {least} to {most}",
                Span::seconds(seconds)
            ),
            format!("use a span up to {}", Span::seconds(most)),
        );
    }
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// The rates. None is no limit in ours, but the API's own two where the list is not written. Adding or removing
/// as many as there may be at all is no limit either.
fn rates(rules: &Rules, max: u32, place: &str, notes: &mut Notes) -> Vec<HPAScalingPolicy> {
    if rules.policies.is_empty() {
        return vec![HPAScalingPolicy {
            type_: "Pods".into(),
            value: count(max),
            period_seconds: i32::try_from(SYNC.0.as_secs()).unwrap_or(i32::MAX),
        }];
    }
    let rates = rules.policies.iter().enumerate();
    rates
        .map(|(index, rate)| {
            let place = format!("{place}.policies.{index}");
            let (type_, value, per) = match *rate {
                Rate::Replicas { replicas, per } => ("Pods", count(replicas.min(MOST)), per),
                Rate::Percent { percent, per } => ("Percent", whole(percent, &place, notes), per),
            };
            HPAScalingPolicy {
                type_: type_.into(),
                value,
                period_seconds: seconds(per, 1, LONGEST_PERIOD, &place, notes),
            }
        })
        .collect()
}

/// A percentage without a fraction, never none.
fn whole(percent: f64, place: &str, notes: &mut Notes) -> i32 {
    let written = percent.ceil().clamp(1.0, f64::from(MOST));
    if percent.to_bits() != written.to_bits() {
        notes.lost(
            place,
            format!("{percent} percent is written as {written}: the API takes whole numbers up to a million"),
            "use a whole number",
        );
    }
    written as i32
}
