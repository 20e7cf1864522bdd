//! Probes from the healthcheck and from what the policy calls ready, and what is done before a stop.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::{
        ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler, Probe, SleepAction, TCPSocketAction,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Remarks, ServiceSubject, config_secrets::literal};
use crate::{
    policy::Ready,
    project::{Healthcheck, LifecycleHook},
    units::Span,
};

/// Docker's own values for a healthcheck that does not say.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const RETRIES: u32 = 3;
/// Compose's value for a service that does not say.
const GRACE: Duration = Duration::from_secs(10);

/// Readiness and startup.
#[derive(Debug, Default)]
pub(super) struct Probes {
    pub(super) readiness: Option<Probe>,
    pub(super) startup: Option<Probe>,
}

/// Whole seconds, at least one: Kubernetes counts in them.
fn seconds(span: Duration) -> i32 {
    let whole = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    i32::try_from(whole.max(1)).unwrap_or(i32::MAX)
}

pub(super) fn probes(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Probes {
    if subject.once {
        return Probes::default();
    }
    let service = subject.service;
    let check = service.healthcheck.as_ref();
    let ready = subject.policy.map(|policy| &policy.ready);
    let readiness = match (ready, check) {
        (Some(Ready::Running), _) | (Some(Ready::Healthcheck) | None, None) => None,
        (Some(Ready::Http(path)), _) => subject.door.map(|port| Probe {
            http_get: Some(HTTPGetAction {
                path: Some(path.clone()),
                port: IntOrString::Int(port.into()),
                ..HTTPGetAction::default()
            }),
            ..often()
        }),
        (Some(Ready::Tcp(port)), _) => Some(connection(*port)),
        (_, Some(check)) => healthcheck(subject, check, told),
        (Some(Ready::Auto), None) => subject.door.map(connection),
    };
    if check.is_some_and(|check| !check.test.is_empty())
        && matches!(ready, Some(Ready::Http(_) | Ready::Tcp(_) | Ready::Running))
    {
        told.chosen(
            subject.place("healthcheck"),
            "`ready` of the policy is the readiness probe, so the healthcheck is none",
            "add it as livenessProbe if a pod that fails it shall be started again",
        );
    }
    if matches!(ready, Some(Ready::Http(_))) && subject.door.is_none() {
        told.lost(
            subject.place("x-autoscale.ready"),
            "it asks by HTTP, and no port is known",
            "write `port` or `expose` and export again",
        );
    }
    let startup = readiness.as_ref().map(|probe| startup(subject, probe));
    if readiness.is_none() && check.is_none() && ready.is_none_or(|ready| *ready == Ready::Auto) {
        told.chosen(
            subject.place("healthcheck"),
            "without a probe a pod counts as ready as soon as its process runs; Kubernetes does not look at a HEALTHCHECK of the image",
            "write a healthcheck and export again, or a readinessProbe",
        );
    }
    Probes { readiness, startup }
}

/// Asked every second, as `watch` does while a replica starts.
fn often() -> Probe {
    Probe {
        period_seconds: Some(1),
        timeout_seconds: Some(1),
        failure_threshold: Some(3),
        ..Probe::default()
    }
}

fn connection(port: u16) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction {
            host: None,
            port: IntOrString::Int(port.into()),
        }),
        ..often()
    }
}

fn healthcheck(
    subject: &ServiceSubject<'_>,
    check: &Healthcheck,
    told: &mut Remarks,
) -> Option<Probe> {
    let command = match check.test.split_first() {
        Some((kind, words)) if kind == "CMD" && !words.is_empty() => words.to_vec(),
        Some((kind, words)) if kind == "CMD-SHELL" => {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), words.join(" ")]
        }
        _ => {
            told.lost(
                subject.place("healthcheck"),
                "its test is the image's own, which Kubernetes does not look at",
                "write `test:` and export again",
            );
            return None;
        }
    };
    told.chosen(
        subject.place("healthcheck"),
        "it is the readiness probe: a pod that fails gets no requests, and is not started again (Docker does not do that either)",
        "the same as livenessProbe if it shall be",
    );
    Some(Probe {
        exec: Some(ExecAction {
            command: Some(command.iter().map(|word| literal(word)).collect()),
        }),
        period_seconds: Some(seconds(check.interval.map_or(INTERVAL, |span| span.0))),
        timeout_seconds: Some(seconds(check.timeout.map_or(TIMEOUT, |span| span.0))),
        failure_threshold: Some(retries(check)),
        ..Probe::default()
    })
}

fn retries(check: &Healthcheck) -> i32 {
    let retries = check.retries.filter(|retries| *retries > 0);
    i32::try_from(retries.unwrap_or(RETRIES)).unwrap_or(i32::MAX)
}

/// Without a policy a pod is given up when it has not passed for so long, in seconds.
const STARTS_WITHIN: i64 = 3600;

/// Until it has passed once: with a policy as long as `ready_timeout`, after which the pod is given up,
/// as `watch` does. Else it is asked every second, so that the pod is found as soon as it can be, as in compose,
/// and not an interval later.
fn startup(subject: &ServiceSubject<'_>, readiness: &Probe) -> Probe {
    let Some(policy) = subject.policy else {
        return Probe {
            period_seconds: Some(1),
            failure_threshold: i32::try_from(STARTS_WITHIN).ok(),
            ..readiness.clone()
        };
    };
    let check = subject.service.healthcheck.as_ref();
    let often = check
        .filter(|_| readiness.exec.is_some())
        .and_then(|check| check.start_interval);
    let period = often.map_or(readiness.period_seconds.unwrap_or(1), |span| {
        seconds(span.0)
    });
    let longest = i64::from(seconds(policy.ready_timeout.0));
    Probe {
        period_seconds: Some(period),
        failure_threshold: i32::try_from((longest + i64::from(period) - 1) / i64::from(period))
            .ok(),
        ..readiness.clone()
    }
}

/// What is done before the stop signal, and how long a stop may take in all.
pub(super) struct Stop {
    pub(super) lifecycle: Option<Lifecycle>,
    pub(super) grace: i64,
}

pub(super) fn stop(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Stop {
    let service = subject.service;
    let whole = |span: Duration| i64::from(seconds(span));
    let patience = service.stop_grace_period.map_or(GRACE, |span| span.0);
    // Requests that are under way go on while nobody sends new ones.
    let drain = subject.policy.filter(|_| subject.door.is_some());
    let drain = drain.map(|policy| policy.drain.timeout.0);
    let drain = drain.filter(|drain| !drain.is_zero());
    let hook = one(subject, "pre_stop", &service.pre_stop, told);
    let before = match (hook, drain) {
        (Some(hook), Some(drain)) => {
            told.lost(
                subject.place("x-autoscale.drain"),
                format!("one command before a stop is all there is, and pre_stop is it: it does not wait {} for requests", Span(drain)),
                format!("begin the command with `sleep {}`", whole(drain)),
            );
            Some(hook)
        }
        (Some(hook), None) => Some(hook),
        (None, Some(drain)) => Some(LifecycleHandler {
            sleep: Some(SleepAction {
                seconds: whole(drain),
            }),
            ..LifecycleHandler::default()
        }),
        (None, None) => None,
    };
    if let Some(signal) = &service.stop_signal
        && !matches!(signal.trim_start_matches("SIG"), "TERM" | "15")
    {
        told.lost(
            subject.place("stop_signal"),
            format!("{signal}: the signal is the image's own"),
            "`STOPSIGNAL` in the Dockerfile; `lifecycle.stopSignal` where the cluster has ContainerStopSignals",
        );
    }
    let after = one(subject, "post_start", &service.post_start, told);
    let lifecycle = (before.is_some() || after.is_some()).then(|| Lifecycle {
        pre_stop: before,
        post_start: after,
        ..Lifecycle::default()
    });
    Stop {
        lifecycle,
        grace: whole(patience) + drain.map_or(0, whole),
    }
}

/// The first hook of several: a container has one.
fn one(
    subject: &ServiceSubject<'_>,
    key: &str,
    hooks: &[LifecycleHook],
    told: &mut Remarks,
) -> Option<LifecycleHandler> {
    let (first, others) = hooks.split_first()?;
    let place = subject.place(key);
    if !others.is_empty() {
        told.lost(
            &place,
            format!(
                "{} of {} commands: a container has one",
                others.len(),
                hooks.len()
            ),
            "put them into one script in the image",
        );
    }
    let own = first.user.is_some()
        || first.privileged
        || first.working_dir.is_some()
        || !first.environment.is_empty();
    if own {
        told.lost(
            &place,
            "its user, privileges, directory or variables: it runs as the container does",
            "set them in the command: `sh -c 'cd …; VAR=… exec …'`",
        );
    }
    Some(LifecycleHandler {
        exec: Some(ExecAction {
            // Unlike a probe's, a hook's command is taken as it is written.
            command: Some(first.command.clone()),
        }),
        ..LifecycleHandler::default()
    })
}
