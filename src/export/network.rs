//! How a service is found: by its name, by its other names, and from outside.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Controller, Object, Subject, Told, names};
use crate::{
    policy::{Balance, Policy},
    project::Port,
};

/// The longest range of ports that is written out.
const RANGE: u16 = 100;

/// The ports that are known of a service's containers, with their protocol.
pub(super) fn ports(subject: &Subject<'_>) -> BTreeSet<(u16, String)> {
    let service = subject.service;
    let mut all: BTreeSet<(u16, String)> = service
        .ports
        .iter()
        .map(|port| (port.target, port.protocol.clone()))
        .collect();
    for text in &service.expose {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>())
            && last.saturating_sub(first) < RANGE
        {
            all.extend((first..=last).map(|port| (port, protocol.to_owned())));
        }
    }
    all.extend(subject.door.map(|port| (port, "tcp".to_owned())));
    all
}

/// `tcp-80`.
pub(super) fn port_name(port: u16, protocol: &str) -> String {
    format!("{protocol}-{port}")
}

/// The Services of a service, its own first.
pub(super) fn services(subject: &Subject<'_>, wanted: &[Subject<'_>]) -> Vec<Object> {
    let mut told = Told::default();
    long_ranges(subject, &mut told);
    let annotations = sticky(subject, &mut told);
    let public = public(subject, &mut told);
    let mut own = inner(subject, subject.name);
    own.metadata.annotations = annotations;
    let mut objects = vec![told.object(&own)];
    objects.extend(others(subject, wanted));
    objects.extend(public);
    objects
}

fn long_ranges(subject: &Subject<'_>, told: &mut Told) {
    for text in &subject.service.expose {
        let range = text.split('/').next().unwrap_or_default();
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u16>().unwrap_or_default();
        if number(last).saturating_sub(number(first)) >= RANGE {
            told.lost(
                subject.place("expose"),
                format!("{text}: a Service names every port, and these are many"),
                "make the Service headless (`clusterIP: None`, no ports)",
            );
        }
    }
}

/// Inside of the cluster. Where no port is known it leads to the pods themselves, so that every port
/// answers, as in compose.
fn inner(subject: &Subject<'_>, name: &str) -> Service {
    let ports: Vec<_> = ports(subject)
        .into_iter()
        .map(|(port, protocol)| service_port(port, port, &protocol))
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

fn service_port(port: u16, target: u16, protocol: &str) -> ServicePort {
    ServicePort {
        name: Some(port_name(port, protocol)),
        port: port.into(),
        protocol: Some(protocol.to_ascii_uppercase()),
        target_port: Some(IntOrString::Int(target.into())),
        ..ServicePort::default()
    }
}

/// Aliases on networks, and the container's name: in compose both are found.
fn others(subject: &Subject<'_>, wanted: &[Subject<'_>]) -> Vec<Object> {
    let service = subject.service;
    let aliases = service
        .networks
        .values()
        .flat_map(|network| &network.aliases);
    let all: BTreeSet<&String> = aliases.chain(&service.container_name).collect();
    let mut objects = Vec::new();
    for alias in all {
        let is_taken = wanted.iter().any(|other| other.name == alias)
            || wanted.iter().any(|other| {
                other.name < subject.name
                    && other
                        .service
                        .networks
                        .values()
                        .any(|n| n.aliases.contains(alias))
            });
        if alias == subject.name || is_taken || names::label(alias, "app") != *alias {
            continue;
        }
        objects.push(Told::default().object(&inner(subject, alias)));
    }
    objects
}

/// What is published on the host, but for what comes through the ingress.
fn public(subject: &Subject<'_>, told: &mut Told) -> Option<Object> {
    let mut open = Told::default();
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
        let local = port.host_ip.as_deref();
        if local.is_some_and(|ip| ip.starts_with("127.") || ip == "::1") {
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
            format!("port {number} is open to whoever reaches the load balancer"),
            "delete this Service if nobody outside needs it; `loadBalancerSourceRanges` limits who may",
        );
        ports.push(service_port(number, port.target, &port.protocol));
    }
    if ports.is_empty() {
        return None;
    }
    let name = names::with(subject.name, "public");
    Some(open.object(&Service {
        metadata: subject.metadata(&name),
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
fn sticky(subject: &Subject<'_>, told: &mut Told) -> Option<BTreeMap<String, String>> {
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
