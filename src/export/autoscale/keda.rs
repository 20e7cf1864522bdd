//! The `ScaledObject` of KEDA, as of its version 2.17, with what we use of it.
//!
//! KEDA makes a `HorizontalPodAutoscaler` of it (`keda-hpa-NAME`), serves the numbers of its triggers to that, and
//! does itself what that cannot: the way between none and one. It hands numbers on in thousandths.

use k8s_openapi::{
    api::autoscaling::v2::{CrossVersionObjectReference, HorizontalPodAutoscalerBehavior},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    policy::{CustomMetric, Policy},
    units::Span,
};

use super::{
    AutoscaleSubject, count, deployment, metadata, notes::Notes, thresholds::SYNC,
    trigger::Trigger, triggers::ScalingTrigger,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScaledObject {
    api_version: &'static str,
    kind: &'static str,
    metadata: ObjectMeta,
    spec: Spec,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    scale_target_ref: CrossVersionObjectReference,
    polling_interval: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_period: Option<u64>,
    min_replica_count: i32,
    max_replica_count: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    fallback: Option<KedaFallback>,
    advanced: Advanced,
    triggers: Vec<Trigger>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KedaFallback {
    failure_threshold: i32,
    replicas: i32,
    behavior: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Advanced {
    horizontal_pod_autoscaler_config: Config,
}

#[derive(Serialize)]
struct Config {
    behavior: HorizontalPodAutoscalerBehavior,
}

pub(super) fn object(
    subject: &AutoscaleSubject<'_>,
    policy: &Policy,
    loads: Vec<ScalingTrigger>,
    floors: Vec<Trigger>,
    behavior: HorizontalPodAutoscalerBehavior,
    notes: &mut Notes,
) -> Value {
    let loads = loads.into_iter().map(|load| match load {
        ScalingTrigger::Share { resource, percent } => Trigger::share(resource, percent),
        ScalingTrigger::Trigger(trigger) => trigger,
    });
    let mut triggers: Vec<Trigger> = loads.collect();
    for mut floor in floors {
        // KEDA wants each name once, and a metric may have any.
        while triggers.iter().any(|one| one.name == floor.name) {
            floor.name += "-floor";
        }
        triggers.push(floor);
    }
    let cooldown = policy.behavior.scale_down.stabilization_window;
    if policy.min == 0 {
        to_none(&triggers, cooldown, notes);
    }
    json!(ScaledObject {
        api_version: "keda.sh/v1alpha1",
        kind: "ScaledObject",
        metadata: metadata(subject),
        spec: Spec {
            scale_target_ref: deployment(subject),
            polling_interval: SYNC.0.as_secs(),
            cooldown_period: (policy.min == 0).then_some(cooldown.0.as_secs()),
            min_replica_count: count(policy.min),
            max_replica_count: count(policy.max),
            fallback: fallback(policy, &triggers, notes),
            advanced: Advanced {
                horizontal_pod_autoscaler_config: Config { behavior },
            },
            triggers,
        },
    })
}

/// What differs on the way to no replica at all and back.
fn to_none(triggers: &[Trigger], cooldown: Span, notes: &mut Notes) {
    if !triggers.iter().any(Trigger::wakes) {
        notes.lost(
            "min",
            "0: nothing but pods that run have CPU and memory, so nothing would ever start the first one again",
            "set min to 1, or add a metric that comes from elsewhere (requests, custom)",
        );
    }
    notes.lost(
        "min",
        format!(
            "0: KEDA removes the last one {cooldown} after its triggers were last above 0, and nobody keeps a request \
             that comes while there is none"
        ),
        "set min to 1 for what answers requests, or use KEDA's HTTP add-on, which keeps them",
    );
}

/// The one fallback that an object has for all of its triggers.
fn fallback(policy: &Policy, triggers: &[Trigger], notes: &mut Notes) -> Option<KedaFallback> {
    let customs = || {
        policy
            .metrics
            .iter()
            .enumerate()
            .filter_map(|(index, metric)| Some((index, metric.custom()?)))
    };
    let with: Vec<(usize, &CustomMetric, u32)> = customs()
        .filter_map(|(index, custom)| Some((index, custom, custom.fallback?.replicas)))
        .filter(|(_, custom, _)| triggers.iter().any(|one| one.name == custom.name))
        .collect();
    let (_, _, replicas) = with.iter().max_by_key(|(_, _, replicas)| *replicas)?;
    let failures = with.iter().map(|(_, custom, _)| custom.failures).min()?;
    let (index, ..) = with.first()?;
    let place = format!("metrics.{index}.custom.fallback");
    let others = triggers
        .iter()
        .filter(|one| one.wakes() && one.kind != "cron")
        .count();
    let differs = with
        .iter()
        .any(|(_, custom, one)| one != replicas || custom.failures != failures);
    if others > with.len() || differs {
        notes.lost(
            place,
            format!(
                "an object has one fallback for all of its triggers: {replicas} replicas after {failures} failures of any of them"
            ),
            "give every metric the same fallback, or take it out",
        );
    } else {
        notes.chosen(
            place,
            format!(
                "failures are counted whenever KEDA or Kubernetes asks, every {SYNC} or more often, not every interval; \
                 `currentReplicasIfHigher` needs KEDA 2.17, and 2.18 with another target than average_target"
            ),
            "nothing to do with KEDA 2.18 or newer",
        );
    }
    Some(KedaFallback {
        // KEDA falls back after more failures than this.
        failure_threshold: count(failures.saturating_sub(1)),
        replicas: count(*replicas),
        behavior: "currentReplicasIfHigher",
    })
}
