//! The pod of a service.

use std::{collections::BTreeMap, net::IpAddr};

use k8s_openapi::{
    api::core::v1::{
        HostAlias, PodDNSConfig, PodDNSConfigOption, PodSpec, PodTemplateSpec,
        TopologySpreadConstraint, Volume, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta},
};

use super::{Remarks, ServiceSubject, config_secrets, container, names, probes, security, storage};

/// Changes with what a pod only reads when it starts, so that new pods are made.
const DIGEST: &str = "compose-scale/files-and-secrets";

pub(super) fn template(subject: &ServiceSubject<'_>, told: &mut Remarks) -> PodTemplateSpec {
    let (mut volumes, mut mounts) = storage::mounts(subject, told);
    config_secrets::mounts(subject, &mut volumes, &mut mounts, told);
    once_each(subject, &mut volumes, &mut mounts, told);
    let probes = probes::probes(subject, told);
    let stop = probes::stop(subject, told);
    let grace = stop.grace;
    let container = container::container(subject, mounts, probes, stop, told);
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(subject.selector()),
            annotations: annotations(subject, told),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container],
            // Nobody in a compose project has a key to the engine that runs it.
            automount_service_account_token: Some(false),
            // Variables like REDIS_PORT, for every Service, are a surprise to many programs.
            enable_service_links: Some(false),
            dns_config: dns(subject, told),
            host_aliases: hosts(subject, told),
            hostname: hostname(subject, told),
            node_selector: platform(subject, told),
            restart_policy: subject.once.then(|| restart(subject)),
            security_context: security::of_pod(subject, told),
            share_process_namespace: init(subject, told),
            termination_grace_period_seconds: Some(grace),
            topology_spread_constraints: spread(subject),
            volumes: (!volumes.is_empty()).then_some(volumes),
            ..PodSpec::default()
        }),
    }
}

/// One path is mounted at once: of two the later one counts.
fn once_each(
    subject: &ServiceSubject<'_>,
    volumes: &mut Vec<Volume>,
    mounts: &mut Vec<VolumeMount>,
    told: &mut Remarks,
) {
    let path = |mount: &VolumeMount| mount.mount_path.trim_end_matches('/').to_owned();
    let all: Vec<String> = mounts.iter().map(path).collect();
    let mut at = 0;
    mounts.retain(|mount| {
        at += 1;
        let again = all[at..].contains(&path(mount));
        if again {
            told.lost(
                subject.place(&format!("volumes.{}", mount.mount_path)),
                "something else is mounted there, too; the later one counts",
                "one mount for each path",
            );
        }
        !again
    });
    volumes.retain(|volume| mounts.iter().any(|mount| mount.name == volume.name));
}

fn restart(subject: &ServiceSubject<'_>) -> String {
    let restart = subject.service.restart.as_deref().unwrap_or("no");
    let again = !matches!(restart, "no" | "");
    if again { "OnFailure" } else { "Never" }.to_owned()
}

/// Of all annotations of an object, in bytes.
const ANNOTATIONS: usize = 256 * 1024;

/// Annotations, and Docker's labels, which are annotations in all but name.
fn annotations(
    subject: &ServiceSubject<'_>,
    told: &mut Remarks,
) -> Option<BTreeMap<String, String>> {
    let service = subject.service;
    let mut all = BTreeMap::new();
    for (key, written) in [
        ("labels", &service.labels),
        ("annotations", &service.workload.annotations),
    ] {
        for (name, value) in written {
            if names::is_annotation(name) {
                all.insert(name.clone(), value.clone());
            } else {
                told.lost(
                    subject.place(key),
                    format!("{name} is no name that an annotation may have"),
                    "leave it out, or rename it",
                );
            }
        }
    }
    if !service.labels.is_empty() {
        told.chosen(
            subject.place("labels"),
            "labels become annotations of the pods; what read them from Docker (proxies, backups, updates) reads nothing there",
            "look up what each of those programs has for Kubernetes",
        );
    }
    let size: usize = all
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    if size > ANNOTATIONS {
        told.lost(
            subject.place("labels"),
            "they are more than the 256 KiB that an object's annotations may have, so none is here",
            "leave out what is not needed",
        );
        all.clear();
    }
    all.extend(config_secrets::digest(subject).map(|digest| (DIGEST.to_owned(), digest)));
    (!all.is_empty()).then_some(all)
}

/// So many servers and search domains are allowed.
const SERVERS: usize = 3;
const SEARCHES: usize = 32;

fn dns(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<PodDNSConfig> {
    let [mut servers, mut searches, options] = subject.service.workload.dns.clone();
    let written = (servers.len(), searches.len());
    servers.retain(|server| server.parse::<IpAddr>().is_ok());
    servers.truncate(SERVERS);
    searches.truncate(SEARCHES);
    if (servers.len(), searches.len()) != written {
        told.lost(
            subject.place("dns"),
            "a pod has three servers, by their addresses, and 32 search domains",
            "leave out the others",
        );
    }
    let filled = |list: Vec<String>| (!list.is_empty()).then_some(list);
    let options: Vec<_> = options
        .into_iter()
        .map(|option| match option.split_once(':') {
            Some((name, value)) => PodDNSConfigOption {
                name: Some(name.to_owned()),
                value: Some(value.to_owned()),
            },
            None => PodDNSConfigOption {
                name: Some(option),
                value: None,
            },
        })
        .collect();
    let config = PodDNSConfig {
        nameservers: filled(servers),
        searches: filled(searches),
        options: (!options.is_empty()).then_some(options),
    };
    (config != PodDNSConfig::default()).then_some(config)
}

fn hosts(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<Vec<HostAlias>> {
    let mut by_address: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (host, address) in &subject.service.workload.extra_hosts {
        let name = host.to_ascii_lowercase();
        let is_name = name
            .split('.')
            .all(|part| names::label(part, "x") == part || part.parse::<u32>().is_ok());
        if !is_name {
            told.lost(
                subject.place("extra_hosts"),
                format!("{host} may not be the name of a host in Kubernetes"),
                "call it by another name",
            );
        } else if address.parse::<IpAddr>().is_ok() {
            by_address.entry(address).or_default().push(name);
        } else {
            told.lost(
                subject.place("extra_hosts"),
                format!("{host}: {address} is no address, and a pod's host is another one"),
                "a Service of type ExternalName, or the address itself",
            );
        }
    }
    let aliases: Vec<_> = by_address
        .into_iter()
        .map(|(ip, hostnames)| HostAlias {
            ip: ip.to_owned(),
            hostnames: Some(hostnames),
        })
        .collect();
    (!aliases.is_empty()).then_some(aliases)
}

fn hostname(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<String> {
    let written = subject.service.workload.hostname.as_deref()?;
    let label = names::label(written, "host");
    if label == written {
        return Some(label);
    }
    told.lost(
        subject.place("hostname"),
        format!("{written} is no label of a domain name, which a pod's host name must be"),
        "letters, digits and `-`",
    );
    None
}

/// Several pods are better on several nodes, as long as there are any.
fn spread(subject: &ServiceSubject<'_>) -> Option<Vec<TopologySpreadConstraint>> {
    (subject.may_be_many() && !subject.once).then(|| {
        vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(subject.selector()),
                match_expressions: None,
            }),
            ..TopologySpreadConstraint::default()
        }]
    })
}

fn platform(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<BTreeMap<String, String>> {
    let written = subject.service.workload.platform.as_deref()?;
    let mut parts = written.split('/');
    let os = parts.next().unwrap_or_default();
    let architecture = parts.next().map(|text| match text {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    });
    if parts.next().is_some() {
        told.chosen(
            subject.place("platform"),
            format!("{written}: nodes are chosen by their architecture, not by its variant"),
            "a label of your own on the nodes, if it matters",
        );
    }
    let mut labels = BTreeMap::from([("kubernetes.io/os".to_owned(), os.to_owned())]);
    if let Some(architecture) = architecture {
        labels.insert("kubernetes.io/arch".to_owned(), architecture.to_owned());
    }
    Some(labels)
}

fn init(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<bool> {
    if !subject.service.workload.init {
        return None;
    }
    told.chosen(
        subject.place("init"),
        "the pod's own first process reaps what ends, because processes share one namespace; it does not pass on signals",
        "put tini or dumb-init into the image if the program starts others",
    );
    Some(true)
}
