//! The `HorizontalPodAutoscaler`.

use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior, HorizontalPodAutoscalerSpec,
    MetricSpec, MetricTarget, ResourceMetricSource,
};
use serde_json::{Value, json};

use crate::policy::Policy;

use super::{Subject, count, deployment, load::Load, metadata};

pub(super) fn object(
    subject: &Subject<'_>,
    policy: &Policy,
    loads: &[Load],
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

fn metric(load: &Load) -> Option<MetricSpec> {
    let Load::Share { resource, percent } = load else {
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
