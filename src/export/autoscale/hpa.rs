//! The `HorizontalPodAutoscaler`.

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
    MetricSpec, MetricTarget, ResourceMetricSource,
};
use serde_json::{Value, json};

use crate::policy::Policy;

use super::{AutoscaleSubject, count, deployment, metadata, triggers::ScalingTrigger};

pub(super) fn object(
    subject: &AutoscaleSubject<'_>,
    policy: &Policy,
    loads: &[ScalingTrigger],
    behavior: HorizontalPodAutoscalerBehavior,
) -> Value {
    json!(HorizontalPodAutoscaler {
        metadata: metadata(subject),
        spec: Some(HorizontalPodAutoscalerSpec {
            scale_target_ref: deployment(subject),
            min_replicas: Some(count(policy.min)),
            max_replicas: count(policy.max),
            metrics: Some(loads.iter().filter_map(metric).collect()),
            behavior: Some(behavior),
        }),
        status: None,
    })
}

fn metric(load: &ScalingTrigger) -> Option<MetricSpec> {
    let ScalingTrigger::Share { resource, percent } = load else {
        return None;
    };
    Some(MetricSpec {
        type_: "Resource".into(),
        resource: Some(ResourceMetricSource {
            name: (*resource).into(),
            target: MetricTarget {
                type_: "Utilization".into(),
                average_utilization: Some(*percent),
                ..MetricTarget::default()
            },
        }),
        ..MetricSpec::default()
    })
}
