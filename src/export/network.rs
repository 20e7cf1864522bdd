//! How a service is found: by its name, by its other names, and from outside.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Controller, Object, Remarks, ServiceSubject, names};
use crate::{
    policy::{Balance, Policy},
    project::Port,
};

/// The most ports that are written out.
const MOST: usize = 100;

/// The ports that are known of a service's containers, with their protocol; none where they are too many
/// to be written out.
pub(super) fn ports(subject: &ServiceSubject<'_>) -> BTreeSet<(u16, String)> {
    all_ports(subject).unwrap_or_default()
}

fn all_ports(subject: &ServiceSubject<'_>) -> Option<BTreeSet<(u16, String)>> {
    let service = subject.service;
    let mut all: BTreeSet<(u16, String)> = service
        .ports
        .iter()
        .map(|port| (port.target, port.protocol.to_ascii_lowercase()))
        .collect();
    for text in &service.expose {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else {
            continue;
        };
        let protocol = protocol.to_ascii_lowercase();
        all.extend((first..=last).map(|port| (port, protocol.clone())));
    }
    all.extend(subject.door.map(|port| (port, "tcp".to_owned())));
    (all.len() <= MOST).then_some(all)
}

/// `tcp-80`.
pub(super) fn port_name(port: u16, protocol: &str) -> String {
    format!("{protocol}-{port}")
}

/// The Services of a service, its own first.
pub(super) fn services(subject: &ServiceSubject<'_>) -> Vec<Object> {
    let mut told = Remarks::default();
    let annotations = sticky(subject, &mut told);
    let public = if all_ports(subject).is_some() {
        public(subject, &mut told)
    } else {
        told.lost(
            subject.place("ports"),
            "a Service names every port, and these are many: it has none, so that all of them answer inside of the cluster, and nothing is open to the outside",
            "`hostNetwork: true` for what needs whole ranges, as voice and video do",
        );
        None
    };
    let aliases = others(subject, &mut told);
    let mut own = inner(subject, subject.name);
    own.metadata.annotations = annotations;
    let mut objects = vec![told.object(&own)];
    objects.extend(aliases);
    objects.extend(public);
    objects
}

/// Inside of the cluster. Where no port is known it leads to the pods themselves, so that every port
/// answers, as in compose.
fn inner(subject: &ServiceSubject<'_>, name: &str) -> Service {
    let ports: Vec<_> = ports(subject)
        .into_iter()
        .map(|(port, protocol)| ServicePort {
            app_protocol: app_protocol(subject, port),
            ..service_port(port, port, &protocol)
        })
        .collect();
    Service {
        metadata: subject.metadata(name),
        spec: Some(ServiceSpec {
            cluster_ip: ports.is_empty().then(|| "None".to_owned()),
            ports: (!ports.is_empty()).then_some(ports),
            selector: Some(subject.selector()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}

/// What is spoken, where the file says it.
fn app_protocol(subject: &ServiceSubject<'_>, target: u16) -> Option<String> {
    let mut ports = subject.service.ports.iter();
    let written = ports
        .find(|port| port.target == target)?
        .app_protocol
        .clone()?;
    names::is_annotation(&written).then_some(written)
}

fn service_port(port: u16, target: u16, protocol: &str) -> ServicePort {
    ServicePort {
        name: Some(port_name(port, protocol)),
        port: port.into(),
        protocol: Some(protocol.to_ascii_uppercase()),
        target_port: Some(IntOrString::Int(target.into())),
        ..ServicePort::default()
    }
}

/// Its other names.
fn others(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Vec<Object> {
    let aliases = subject.shared.aliases.get(&subject.service.name);
    let mut objects = Vec::new();
    for (alias, why) in aliases.into_iter().flatten() {
        match why {
            Some(why) => alias_lost(subject, alias, why, told),
            None => objects.push(Remarks::default().object(&inner(subject, alias))),
        }
    }
    objects
}

fn alias_lost(subject: &ServiceSubject<'_>, alias: &str, why: &str, told: &mut Remarks) {
    let is_name = subject.service.container_name.as_deref() == Some(alias);
    let key = if is_name {
        "container_name"
    } else {
        "networks"
    };
    told.lost(
        subject.place(key),
        format!("it is not found as {alias}: {why}"),
        format!("call it {} where it is called", subject.name),
    );
}

/// The names that a Job has in compose, and not here.
pub(super) fn no_names(subject: &ServiceSubject<'_>, told: &mut Remarks) {
    let aliases = subject.shared.aliases.get(&subject.service.name);
    for (alias, why) in aliases.into_iter().flatten() {
        alias_lost(subject, alias, why.as_deref().unwrap_or_default(), told);
    }
}

/// What is published on the host, but for what comes through the ingress.
fn public(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<Object> {
    let mut open = Remarks::default();
    let mut ports = Vec::new();
    for port in &subject.service.ports {
        let place = subject.place(&format!("ports.{}", port.target));
        if subject.door == Some(port.target) && port.protocol == "tcp" {
            told.chosen(
                place,
                "it is reached through the ingress, not by a port of a machine",
                "nothing, or a Service of type LoadBalancer",
            );
            continue;
        }
        let Some(number) = fixed(port) else {
            told.lost(
                place,
                "the Engine chooses the port of the host from a range, or freely",
                "other pods reach it by the Service; from outside, one port that is fixed",
            );
            continue;
        };
        let address = port.host_ip.as_deref().unwrap_or_default();
        let address = address.trim_matches(['[', ']']);
        if !matches!(address, "" | "0.0.0.0" | "::" | "::1") && !address.starts_with("127.") {
            told.lost(
                place,
                format!("it is published on {address} alone, and a load balancer is not told on which address"),
                format!("a Service of type LoadBalancer with loadBalancerSourceRanges, or kubectl port-forward service/{} {number}:{}", subject.name, port.target),
            );
            continue;
        }
        if address.starts_with("127.") || address == "::1" {
            told.chosen(
                place,
                "it is published for this host alone, which a cluster does not know",
                format!(
                    "kubectl port-forward service/{} {number}:{}",
                    subject.name, port.target
                ),
            );
            continue;
        }
        let name = port_name(number, &port.protocol);
        if ports
            .iter()
            .any(|known: &ServicePort| known.name.as_ref() == Some(&name))
        {
            told.lost(
                place,
                format!("port {number} leads to two ports, by the address that it is asked at"),
                "two Services with a load balancer address each",
            );
            continue;
        }
        open.chosen(
            place,
            "it is open to whoever reaches the load balancer",
            "delete this Service if nobody outside needs it; `loadBalancerSourceRanges` limits who may",
        );
        if matches!(number, 80 | 443) {
            open.chosen(
                subject.place(&format!("ports.{}", port.target)),
                format!("port {number} is the ingress controller's already, where there is one for all nodes (as in k3s), and then this Service stays pending"),
                "an Ingress instead of it, or no ingress controller",
            );
        }
        ports.push(service_port(
            number,
            port.target,
            &port.protocol.to_ascii_lowercase(),
        ));
    }
    if ports.is_empty() {
        return None;
    }
    let name = &subject.shared.public[&subject.service.name];
    Some(open.object(&Service {
        metadata: subject.metadata(name),
        spec: Some(ServiceSpec {
            type_: Some("LoadBalancer".to_owned()),
            ports: Some(ports),
            selector: Some(subject.selector()),
            ..ServiceSpec::default()
        }),
        status: None,
    }))
}

fn fixed(port: &Port) -> Option<u16> {
    let published = port.published.as_deref()?;
    published.parse().ok().filter(|number| *number > 0)
}

/// Which pod a client goes to, where that is the Service's matter.
fn sticky(subject: &ServiceSubject<'_>, told: &mut Remarks) -> Option<BTreeMap<String, String>> {
    let policy: &Policy = subject.policy?;
    subject.door?;
    let place = subject.place("x-autoscale.balance");
    let traefik = subject.request.ingress == Controller::Traefik;
    match &policy.balance {
        Balance::StickyCookie(cookie) if traefik => Some(BTreeMap::from([
            (
                "traefik.ingress.kubernetes.io/service.sticky.cookie".to_owned(),
                "true".to_owned(),
            ),
            (
                "traefik.ingress.kubernetes.io/service.sticky.cookie.name".to_owned(),
                cookie.clone(),
            ),
        ])),
        Balance::IpHash | Balance::Hash(_) if traefik => {
            told.lost(
                place,
                "Traefik's Ingress does not send a client to one pod by its address or by a text",
                "`balance: {sticky_cookie: NAME}`, or ingress-nginx (`--ingress nginx`)",
            );
            None
        }
        Balance::LeastConn if traefik => {
            told.chosen(
                place,
                "Traefik sends requests in turn, not to the pod with the fewest",
                "nothing for requests that cost about the same",
            );
            None
        }
        _ => None,
    }
}
