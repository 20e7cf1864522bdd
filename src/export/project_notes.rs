//! What is said of the project as a whole.

use std::collections::BTreeSet;

use super::{ExportRequest, Remarks, ServiceSubject, ingress};
use crate::policy::{HostReserve, NginxPlacement, Settings};

pub(super) fn remarks(
    request: &ExportRequest<'_>,
    wanted: &[ServiceSubject<'_>],
    front: Option<&str>,
    told: &mut Remarks,
) {
    let project = request.project;
    for (name, service) in &project.services {
        if service.image.is_none() && request.services.is_empty() {
            told.lost(
                format!("services.{name}.provider"),
                "something else than the Engine runs it, so there is no container to export",
                "find what the provider offers for Kubernetes",
            );
        }
    }
    for name in &project.disabled_services {
        told.chosen(
            format!("services.{name}"),
            "a profile switches it off, so it is not here",
            "name the profile with --profile and export again",
        );
    }
    networks(request, wanted, told);
    way_in(request, front, told);
    ingress::elsewhere(request, wanted, told);
    let settings = request.settings;
    if wanted.iter().any(|subject| subject.policy.is_some()) {
        let what = "no replica is held back for what this machine has left: the scheduler puts pods where their requests fit, and leaves them pending where they do not";
        let fix =
            "requests of CPU and memory for every service, and room for them (`simulate --size`)";
        if settings.host == HostReserve::default() {
            told.chosen("x-autoscale.host", what, fix);
        } else {
            told.lost("x-autoscale.host", what, fix);
        }
    }
    if wanted.iter().any(|subject| subject.policy.is_some())
        && settings.interval != Settings::default().interval
    {
        told.lost(
            "x-autoscale.interval",
            format!("{}: the autoscaler decides every 15 s, on metrics of the last 15 to 60 s", settings.interval),
            "where you run the control plane: kube-controller-manager --horizontal-pod-autoscaler-sync-period",
        );
    }
    if !settings.notify.is_empty() {
        told.lost(
            "x-autoscale.notify",
            "nobody is told by the autoscaler itself",
            "kube-state-metrics and Alertmanager (docs: outgrow.md, Monitoring)",
        );
    }
}

/// Networks of compose keep services apart; the cluster's does not.
fn networks(request: &ExportRequest<'_>, wanted: &[ServiceSubject<'_>], told: &mut Remarks) {
    for subject in wanted {
        let mut all = subject.service.networks.values();
        if all.any(|network| network.static_address) {
            told.lost(
                subject.place("networks"),
                "a fixed address: those of pods change",
                "call it by its service's name",
            );
        }
        let mut all = subject.service.networks.values();
        if all.any(|network| network.priority != 0)
            || !subject.service.workload.attachments.is_empty()
        {
            let mut keys: Vec<&str> = subject
                .service
                .workload
                .attachments
                .iter()
                .map(String::as_str)
                .collect();
            if subject
                .service
                .networks
                .values()
                .any(|network| network.priority != 0)
            {
                keys.push("priority");
            }
            told.lost(
                subject.place("networks"),
                format!("{}: a pod has one network", keys.join(", ")),
                "leave it out, or a second network by Multus",
            );
        }
    }
    let sets: BTreeSet<BTreeSet<&String>> = wanted
        .iter()
        .filter(|subject| subject.service.network_mode.is_none())
        .map(|subject| subject.service.networks.keys().collect())
        .collect();
    if sets.len() > 1 {
        told.lost(
            "networks",
            "all pods of a cluster reach each other; here some services share no network",
            "a NetworkPolicy for each service that not everybody may reach",
        );
    }
    let used: BTreeSet<&String> = sets.into_iter().flatten().collect();
    for (key, kind) in &request.project.networks {
        if !used.contains(key) {
            continue;
        }
        if kind.internal {
            told.lost(
                format!("networks.{key}.internal"),
                "pods reach the outside",
                "a NetworkPolicy without egress",
            );
        }
        if kind.external {
            told.lost(
                format!("networks.{key}.external"),
                "whoever else is on that network is not in the cluster",
                "export those projects too, or a Service of type ExternalName for each",
            );
        }
    }
}

fn way_in(request: &ExportRequest<'_>, front: Option<&str>, told: &mut Remarks) {
    let settings = request.settings;
    if let Some(name) = front.filter(|name| request.project.services.contains_key(*name)) {
        if request.services.is_empty() {
            let what = format!(
                "the Ingress takes its place, so {name} is not here; what else its configuration does (files, redirects, other hosts, certificates) has to be said there"
            );
            let fix = format!(
                "rules and annotations of the Ingress; `export kubernetes {name}` makes a Deployment of it all the same"
            );
            told.chosen(format!("services.{name}"), what, fix);
        }
    } else if let Some(NginxPlacement::Host(_) | NginxPlacement::Container(_)) =
        settings.nginx.place
    {
        told.chosen(
            "x-autoscale.nginx",
            "nginx is outside of the project; what else its configuration does (files, redirects, other hosts, certificates) is not known here",
            "rules and annotations of the Ingress",
        );
    }
}
