//! A policy as an object that Kubernetes scales by: an `autoscaling/v2` `HorizontalPodAutoscaler`, or,
//! where that has no word for it, a `ScaledObject` of KEDA, which makes such an autoscaler of its own.
//!
//! A policy is first said in the words that the autoscaler has (`aim`), then written down
//! (`behavior`, `load`, `schedule`). What is not said exactly becomes a remark.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::autoscaling::v2::CrossVersionObjectReference,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    policy::{Metric, Policy},
    project::Limits,
    units::Span,
};

use super::Object;
use notes::Notes;

mod address;
mod behavior;
mod custom;
mod gjson_path;
mod hpa;
mod keda;
mod notes;
mod promql;
mod replicas;
mod request_metrics;
mod schedule;
mod thresholds;
mod trigger;
mod triggers;

#[cfg(test)]
mod tests;

pub use promql::Controller;

/// A service with a policy, and what of its surroundings the autoscaler depends on.
#[derive(Debug, Clone, Copy)]
pub struct AutoscaleSubject<'a> {
    /// The key in the compose file.
    pub service: &'a str,
    /// The name of its Deployment, its Service and its autoscaler.
    pub name: &'a str,
    /// The namespace that all of it will be in.
    pub namespace: &'a str,
    /// The port of the Service, by its number, that the ingress sends requests to.
    pub port: Option<u16>,
    /// How it is scaled.
    pub policy: &'a Policy,
    /// Of its container. The requests of the Deployment are equal to them, and one core where there is no
    /// limit of CPU.
    pub limits: Limits,
    /// Whose metrics tell of its requests; `None` where no ingress sends any to it.
    pub ingress: Option<Controller>,
    /// The URL of the Prometheus in the cluster.
    pub prometheus: &'a str,
    /// The names of all services of the project, by their key.
    pub names: &'a BTreeMap<String, String>,
    /// Labels of the object.
    pub labels: &'a BTreeMap<String, String>,
}

/// What comes of a policy. Without an object the remarks say why nothing scales the service; there are none
/// where nothing needs to.
#[derive(Debug, Clone, PartialEq)]
pub struct Autoscaler {
    /// The object.
    pub object: Option<Object>,
    /// Remarks, where there is no object to put them above.
    pub remarks: Vec<super::Remark>,
}

/// The autoscaler of a service.
pub fn autoscaler(subject: &AutoscaleSubject<'_>) -> Autoscaler {
    let mut notes = Notes::new(subject.service);
    let policy = thresholds::in_its_words(subject.policy, &mut notes);
    let loads: Vec<_> = policy
        .metrics
        .iter()
        .enumerate()
        .filter_map(|(index, metric)| triggers::load(subject, &policy, index, metric, &mut notes))
        .collect();
    let floors = schedule::floors(&policy, &mut notes);
    unsaid(&policy, &mut notes);
    if loads.is_empty() && floors.is_empty() {
        if policy.min < policy.max {
            notes.lost(
                "metrics",
                "nothing is left to scale by, so there is no autoscaler: the count stays as the Deployment has it",
                "set `replicas` of the Deployment, or scale it by hand: kubectl scale",
            );
        }
        return Autoscaler {
            object: None,
            remarks: notes.into_remarks(),
        };
    }
    let behavior = behavior::behavior(&policy, &mut notes);
    let plain =
        policy.min > 0 && floors.is_empty() && loads.iter().all(triggers::ScalingTrigger::is_plain);
    let value = if plain {
        hpa::object(subject, &policy, &loads, behavior)
    } else {
        keda::object(subject, &policy, loads, floors, behavior, &mut notes)
    };
    Autoscaler {
        object: Some(notes.object(value)),
        remarks: Vec::new(),
    }
}

/// The autoscaler of Kubernetes counts CPU of a pod from this age on, as long as nobody says otherwise.
const CPU_INITIALIZATION: Span = Span::seconds(300);

/// What no object has a word for.
fn unsaid(policy: &Policy, notes: &mut Notes) {
    if policy.priority != 0 {
        notes.lost(
            "priority",
            format!(
                "{}: which service gets the last room is not an autoscaler's question there",
                policy.priority
            ),
            "make a PriorityClass and name it as priorityClassName in the Deployment's pods",
        );
    }
    let by_cpu = policy.metrics.iter().any(Metric::is_cpu);
    if by_cpu && policy.initialization_period != CPU_INITIALIZATION {
        let written = policy.initialization_period;
        let what = format!(
            "{written}: a young pod's CPU is left out for {CPU_INITIALIZATION} there, for all services alike"
        );
        let fix = format!(
            "where you run the control plane: kube-controller-manager \
             --horizontal-pod-autoscaler-cpu-initialization-period={written}"
        );
        // What nobody wrote is nobody's loss.
        if written == Policy::default().initialization_period {
            notes.chosen("initialization_period", what, fix);
        } else {
            notes.lost("initialization_period", what, fix);
        }
    }
}

fn metadata(subject: &AutoscaleSubject<'_>) -> ObjectMeta {
    ObjectMeta {
        name: Some(subject.name.to_owned()),
        namespace: Some(subject.namespace.to_owned()),
        labels: (!subject.labels.is_empty()).then(|| subject.labels.clone()),
        ..ObjectMeta::default()
    }
}

fn deployment(subject: &AutoscaleSubject<'_>) -> CrossVersionObjectReference {
    CrossVersionObjectReference {
        api_version: Some("apps/v1".into()),
        kind: "Deployment".into(),
        name: subject.name.to_owned(),
    }
}

/// A count as the API has it.
fn count(replicas: u32) -> i32 {
    i32::try_from(replicas).unwrap_or(i32::MAX)
}
