//! How many pods may be away while a node is emptied.

use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Object, Remarks, ServiceSubject};

/// One at a time, for a service that has several.
pub(super) fn budget(subject: &ServiceSubject<'_>) -> Option<Object> {
    subject.may_be_many().then(|| {
        Remarks::default().object(&PodDisruptionBudget {
            metadata: subject.metadata(subject.name),
            spec: Some(PodDisruptionBudgetSpec {
                // A floor (`minAvailable`) would forbid to empty a node while there is one pod.
                max_unavailable: Some(IntOrString::Int(1)),
                selector: Some(LabelSelector {
                    match_labels: Some(subject.selector()),
                    match_expressions: None,
                }),
                ..PodDisruptionBudgetSpec::default()
            }),
            status: None,
        })
    })
}
