//! What runs the pods of a service: a Deployment, or a Job for what is done once.

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment},
        batch::v1::{Job, JobSpec},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

use super::{Object, Remarks, ServiceSubject, key_support, network, pod, storage};
use crate::{project::Project, units::Span};

/// When Kubernetes gives up a rollout that nobody says more of.
const DEADLINE: i32 = 600;
/// How long a Job is kept after its end: an hour to read its log in.
const KEPT: i32 = 3600;
/// No span is longer than this: two of them fit into what the API counts with.
const LONGEST: i32 = 1_000_000_000;

/// Whether another service waits for its end, so that it has one.
pub(super) fn is_once(project: &Project, service: &str) -> bool {
    project.services.values().any(|other| {
        let needed = other.depends_on.get(service);
        needed.is_some_and(|on| on.condition == "service_completed_successfully")
    })
}

pub(super) fn object(subject: &ServiceSubject<'_>, is_scaled: bool) -> Object {
    let mut told = Remarks::default();
    name(subject, &mut told);
    depends_on(subject, &mut told);
    key_support::remarks(subject, &mut told);
    let template = pod::template(subject, &mut told);
    if subject.once {
        once(subject, &mut told);
        told.chosen(
            subject.place("depends_on"),
            "others wait for its end, so it is a Job: it is tried up to seven times and gone an hour after its end; until then a changed one is refused",
            "`kubectl delete job NAME` before it is applied again within the hour",
        );
        return told.object(&Job {
            metadata: subject.metadata(subject.name),
            spec: Some(JobSpec {
                template,
                ttl_seconds_after_finished: Some(KEPT),
                ..JobSpec::default()
            }),
            status: None,
        });
    }
    restart(subject, &mut told);
    let selector = LabelSelector {
        match_labels: Some(subject.selector()),
        match_expressions: None,
    };
    let strategy = if storage::writes_alone(subject) {
        // The next pod could not have the volume while the last one writes to it.
        DeploymentStrategy {
            type_: Some("Recreate".to_owned()),
            rolling_update: None,
        }
    } else {
        DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        }
    };
    let seconds = |span: Span| {
        i32::try_from(span.0.as_secs())
            .unwrap_or(LONGEST)
            .min(LONGEST)
    };
    let min_ready = subject.policy.map(|policy| seconds(policy.min_ready));
    let min_ready = min_ready.filter(|seconds| *seconds > 0);
    // A rollout counts as failed after ten minutes without a pod that is ready for long enough.
    let deadline = subject.policy.map(|policy| {
        let in_all = seconds(policy.ready_timeout) + seconds(policy.min_ready);
        in_all.saturating_add(60)
    });
    told.object(&Deployment {
        metadata: subject.metadata(subject.name),
        spec: Some(DeploymentSpec {
            replicas: replicas(subject, is_scaled),
            selector,
            strategy: Some(strategy),
            min_ready_seconds: min_ready,
            progress_deadline_seconds: deadline.filter(|deadline| *deadline > DEADLINE),
            template,
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

/// What a Job does not have.
fn once(subject: &ServiceSubject<'_>, told: &mut Remarks) {
    let service = subject.service;
    let many = service.scale.is_some_and(|scale| scale != 1);
    for (is_written, key, what) in [
        (
            subject.policy.is_some(),
            "x-autoscale",
            "nothing scales a Job",
        ),
        (many, "scale", "a Job runs once"),
        (
            service.healthcheck.is_some(),
            "healthcheck",
            "nothing waits until a Job is healthy",
        ),
        (
            !service.ports.is_empty() || !service.expose.is_empty(),
            "ports",
            "a Job has no Service, so others do not find it by its name",
        ),
    ] {
        if is_written {
            told.lost(
                subject.place(key),
                format!("{what}; it is a Job, because others wait for its end"),
                "a service of its own for what goes on",
            );
        }
    }
    network::no_names(subject, told);
}

/// Under an autoscaler the count is not written: whoever applies the file again would set it back.
fn replicas(subject: &ServiceSubject<'_>, is_scaled: bool) -> Option<i32> {
    if is_scaled {
        return None;
    }
    let by_hand = subject.service.scale.unwrap_or(1);
    let count = subject.policy.map_or(by_hand, |policy| {
        by_hand.clamp(policy.min.min(policy.max), policy.max)
    });
    i32::try_from(count).ok()
}

fn name(subject: &ServiceSubject<'_>, told: &mut Remarks) {
    let service = &subject.service.name;
    if service != subject.name {
        told.lost(
            format!("services.{service}"),
            format!(
                "its name may not be one in Kubernetes, so it is {}, and others find it by that",
                subject.name
            ),
            "change the name where others call it, or in the compose file",
        );
    }
}

fn depends_on(subject: &ServiceSubject<'_>, told: &mut Remarks) {
    for (other, on) in &subject.service.depends_on {
        let place = subject.place(&format!("depends_on.{other}"));
        let fix = "let the program try again until it answers, or an init container that waits";
        match on.condition.as_str() {
            "service_healthy" => told.lost(
                place,
                "pods start in any order, and none waits until another one is healthy",
                fix,
            ),
            "service_completed_successfully" => told.lost(
                place,
                "pods start in any order, and none waits for the end of a Job",
                "an init container that does the job, or waits: `kubectl wait --for=condition=complete job/NAME`",
            ),
            _ => told.chosen(place, "pods start in any order", fix),
        }
    }
}

fn restart(subject: &ServiceSubject<'_>, told: &mut Remarks) {
    let Some(restart) = subject.service.restart.as_deref() else {
        return;
    };
    if restart == "no" || restart.starts_with("on-failure") {
        told.chosen(
            subject.place("restart"),
            format!(
                "{restart}: pods of a Deployment are always started again, with a growing pause"
            ),
            "a Job for what ends, a CronJob for what ends and comes again",
        );
    }
}
