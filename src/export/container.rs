//! The container of a service.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, ContainerPort, ResourceRequirements, VolumeMount},
    apimachinery::pkg::api::resource::Quantity,
};

use super::{
    Remarks, ServiceSubject,
    config_secrets::{self, literal},
    network,
    probes::{Probes, Stop},
    security,
};
use crate::{policy::Metric, project::Limits};

pub(super) fn container(
    subject: &ServiceSubject<'_>,
    mounts: Vec<VolumeMount>,
    probes: Probes,
    stop: Stop,
    told: &mut Remarks,
) -> Container {
    let service = subject.service;
    let workload = &service.workload;
    let (env, env_from) = config_secrets::variables(subject, told);
    let ports: Vec<ContainerPort> = network::ports(subject)
        .into_iter()
        .map(|(port, protocol)| ContainerPort {
            container_port: port.into(),
            protocol: Some(protocol.to_ascii_uppercase()),
            name: Some(network::port_name(port, &protocol)),
            ..ContainerPort::default()
        })
        .collect();
    let words = |words: &Option<Vec<String>>| {
        let words = words.as_ref().filter(|words| !words.is_empty())?;
        Some(words.iter().map(|word| literal(word)).collect())
    };
    for (key, written) in [
        ("entrypoint", &workload.entrypoint),
        ("command", &workload.command),
    ] {
        let takes_away = written.as_ref().is_some_and(Vec::is_empty);
        // An entrypoint that is written takes the image's command away by itself.
        let by_other = key == "command" && words(&workload.entrypoint).is_some();
        if takes_away && !by_other {
            told.lost(
                subject.place(key),
                format!("an empty {key} takes the image's away, which Kubernetes cannot do"),
                "write the whole command as `entrypoint` and export again",
            );
        }
    }
    Container {
        name: subject.name.to_owned(),
        image: Some(image(subject, told)),
        image_pull_policy: pull(subject, told),
        command: words(&workload.entrypoint),
        args: words(&workload.command),
        env,
        env_from,
        ports: (!ports.is_empty()).then_some(ports),
        resources: resources(subject, told),
        readiness_probe: probes.readiness,
        startup_probe: probes.startup,
        lifecycle: stop.lifecycle,
        security_context: security::of_container(subject, told),
        stdin: workload.stdin_open.then_some(true),
        tty: workload.tty.then_some(true),
        volume_mounts: (!mounts.is_empty()).then_some(mounts),
        working_dir: workload.working_dir.clone(),
        ..Container::default()
    }
}

fn image(subject: &ServiceSubject<'_>, told: &mut Remarks) -> String {
    let service = subject.service;
    let image = service.image.clone().unwrap_or_default();
    let is_named = service.workload.keys.iter().any(|key| key == "image");
    if service.build && !is_named {
        told.lost(
            subject.place("build"),
            format!("nodes pull images from a registry, and {image} is in none"),
            "write `image: REGISTRY/NAME:TAG` beside `build`, `docker compose build --push`, export again",
        );
    } else if service.build {
        told.chosen(
            subject.place("build"),
            format!("{image} has to be in a registry that the nodes reach"),
            "`docker compose build --push`",
        );
    }
    let name = image.rsplit('/').next().unwrap_or_default();
    let tag = name.split('@').next().and_then(|name| name.split_once(':'));
    if !name.contains('@') && tag.is_none_or(|(_, tag)| tag == "latest") {
        told.chosen(
            subject.place("image"),
            "no version is named, so it is pulled for each pod, and `kubectl rollout undo` has nothing to go back to",
            "a tag for each version",
        );
    }
    let registry = image.split_once('/').map(|(first, _)| first);
    let is_own = registry.is_some_and(|host| host.contains(['.', ':']) && !PUBLIC.contains(&host));
    if is_own {
        told.chosen(
            subject.place("image"),
            "if its registry wants a password, the nodes need it",
            "kubectl create secret docker-registry, named in imagePullSecrets of the namespace's default ServiceAccount; on k3s /etc/rancher/k3s/registries.yaml",
        );
    }
    image
}

/// Registries that most images are to be had from without a password.
const PUBLIC: &[&str] = &[
    "docker.io",
    "ghcr.io",
    "quay.io",
    "gcr.io",
    "registry.k8s.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
];

fn pull(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<String> {
    let policy = subject.service.workload.pull_policy.as_deref()?;
    let name = match policy {
        "always" => "Always",
        "missing" | "if_not_present" => "IfNotPresent",
        "never" => "Never",
        "build" => return None,
        other => {
            told.lost(
                subject.place("pull_policy"),
                format!("{other}: an image is pulled always, when it is missing, or never"),
                "a tag for each version, and `kubectl set image` for the next",
            );
            "Always"
        }
    };
    Some(name.to_owned())
}

/// Cores as Kubernetes writes them: `250m`, `2`.
pub(super) fn cores(cpus: f64) -> Quantity {
    let thousandths = (cpus * 1000.0).round().max(1.0) as u64;
    Quantity(if thousandths.is_multiple_of(1000) {
        (thousandths / 1000).to_string()
    } else {
        format!("{thousandths}m")
    })
}

/// Bytes as Kubernetes writes them: `128Mi` where that is exact.
fn bytes(size: u64) -> Quantity {
    for (unit, shift) in [("Gi", 30), ("Mi", 20), ("Ki", 10)] {
        if size > 0 && size.is_multiple_of(1 << shift) {
            return Quantity(format!("{}{unit}", size >> shift));
        }
    }
    Quantity(size.to_string())
}

/// Limits as limits. The autoscaler measures against requests, so under a policy these are the limits;
/// otherwise what is reserved.
fn resources(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<ResourceRequirements> {
    let limits = subject.service.limits;
    let reserved = subject.service.workload.reserved;
    let mut limit = BTreeMap::new();
    let mut request = BTreeMap::new();
    if let Some(cpus) = limits.cpus {
        limit.insert("cpu".to_owned(), cores(cpus));
    }
    if let Some(memory) = limits.memory {
        limit.insert("memory".to_owned(), bytes(memory.0));
    }
    let size = |limits: Limits| limits.memory.map(|bytes| bytes.0 as f64);
    if let Some(policy) = subject.policy {
        request.clone_from(&limit);
        let by_cpu = policy.metrics.iter().any(Metric::is_cpu);
        if limits.cpus.is_none() && by_cpu {
            request.insert("cpu".to_owned(), Quantity("1".to_owned()));
            told.chosen(
                subject.place("deploy.resources"),
                "without a CPU limit load is measured against one core, so each pod asks for one",
                "write a limit of CPU and export again",
            );
        }
        let less = |reserved: Option<f64>, limit: Option<f64>| {
            reserved.is_some_and(|reserved| limit.is_none_or(|limit| reserved < limit))
        };
        if less(reserved.cpus, limits.cpus) || less(size(reserved), size(limits)) {
            told.chosen(
                subject.place("deploy.resources.reservations"),
                "requests are the limits, because the autoscaler's percentages are of requests and the policy's are of limits",
                "lower the requests, and raise the targets by as much",
            );
        }
    } else {
        let above = |reserved: Option<f64>, limit: Option<f64>| matches!((reserved, limit), (Some(reserved), Some(limit)) if reserved > limit);
        if above(reserved.cpus, limits.cpus) || above(size(reserved), size(limits)) {
            told.chosen(
                subject.place("deploy.resources.reservations"),
                "more is reserved than the limit, which Kubernetes refuses: the limit is requested",
                "a reservation up to the limit",
            );
        }
        if let Some(cpus) = reserved.cpus {
            let most = limits.cpus.unwrap_or(f64::INFINITY);
            request.insert("cpu".to_owned(), cores(cpus.min(most)));
        }
        if let Some(memory) = reserved.memory {
            let most = limits.memory.map_or(u64::MAX, |limit| limit.0);
            request.insert("memory".to_owned(), bytes(memory.0.min(most)));
        }
    }
    if limit.is_empty() && request.is_empty() {
        told.chosen(
            subject.place("deploy.resources"),
            "without requests the scheduler takes the pod for one that needs nothing, and it is the first to go when memory is short",
            "write limits of CPU and memory and export again",
        );
        return None;
    }
    let filled = |map: BTreeMap<String, Quantity>| (!map.is_empty()).then_some(map);
    Some(ResourceRequirements {
        limits: filled(limit),
        requests: filled(request),
        claims: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (cpus, text) in [(0.25, "250m"), (2.0, "2"), (1.5, "1500m"), (0.0001, "1m")] {
            assert_eq!(cores(cpus).0, text);
        }
        for (size, text) in [
            (128 << 20, "128Mi"),
            (1 << 30, "1Gi"),
            (1536 << 20, "1536Mi"),
            (128_000_000, "125000Ki"),
            (1001, "1001"),
        ] {
            assert_eq!(bytes(size).0, text);
        }
    }
}
