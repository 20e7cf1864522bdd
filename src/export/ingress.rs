//! The way in from outside, in place of our nginx.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, ServiceBackendPort,
};

use super::{Controller, ExportRequest, Object, Remarks, ServiceSubject, workload};
use crate::{
    policy::{Balance, NginxPlacement, Policy, Settings},
    project::{Project, Service, image_word, nginx::nginx_candidates},
    proxy::inspect::{LocationMatch, Route},
};

/// The service that an ingress takes the place of: the nginx of the settings, or the only one there is,
/// where a service has its requests from it.
pub fn front(
    project: &Project,
    policies: &IndexMap<String, Policy>,
    settings: &Settings,
) -> Option<String> {
    let routed = policies.iter().any(|(name, policy)| {
        let service = project.services.get(name);
        policy.port.is_some() || service.is_some_and(|service| service.only_port().is_ok())
    });
    if !routed {
        return None;
    }
    match &settings.nginx.place {
        Some(NginxPlacement::Service(name)) => return Some(name.clone()),
        Some(NginxPlacement::Host(_) | NginxPlacement::Container(_)) => return None,
        None => {}
    }
    // A guess wants a sign: somebody reaches it from outside, and nobody scales it.
    // OpenResty and its like may have an app in them.
    let mut all = nginx_candidates(project).filter(|service| {
        let image = service.image.as_deref();
        image.is_some_and(|image| image_word(image) == "nginx")
            && !service.ports.is_empty()
            && !policies.contains_key(&service.name)
    });
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only.name.clone()),
        _ => None,
    }
}

/// The rules of nginx that lead to a service.
fn routes<'a>(
    request: &'a ExportRequest<'_>,
    service: &Service,
) -> impl Iterator<Item = &'a Route> {
    let name = service.name.to_ascii_lowercase();
    let own = service.container_name.clone();
    let aliases = service
        .networks
        .values()
        .flat_map(|network| &network.aliases);
    let names: Vec<_> = aliases.cloned().chain(own).chain([name]).collect();
    request.routes.iter().filter(move |route| {
        let mut to = route.to.iter();
        to.any(|to| names.iter().any(|name| name.eq_ignore_ascii_case(to)))
    })
}

/// The port that requests from outside go to: that of the policy, or the one that nginx sends them to.
pub(super) fn door(
    request: &ExportRequest<'_>,
    service: &Service,
    policy: Option<&Policy>,
) -> Option<u16> {
    if workload::is_once(request.project, &service.name) {
        return None;
    }
    let only = || service.only_port().ok();
    if let Some(policy) = policy {
        return policy.port.or_else(only);
    }
    let mut by_http = routes(request, service).filter(|route| route.by == "proxy_pass");
    // Without a port it is that of HTTP.
    by_http
        .next()
        .map(|route| route.port.or_else(only).unwrap_or(80))
}

/// `nginx at FILE:LINE`.
fn at(route: &Route) -> String {
    format!("nginx at {}", route.place)
}

/// Requests that nginx hands to somebody who gets none from an ingress.
pub(super) fn elsewhere(
    request: &ExportRequest<'_>,
    wanted: &[ServiceSubject<'_>],
    told: &mut Remarks,
) {
    for route in request.routes {
        let mut inside = wanted.iter().filter(|subject| subject.door.is_some());
        let is_led = inside.any(|subject| routes(request, subject.service).any(|one| one == route));
        if is_led {
            continue;
        }
        let to = route.to.join(", ");
        let services = request.project.services.values();
        let mut known = services.filter(|service| routes(request, service).any(|one| one == route));
        let (what, fix) = match known.next() {
            // Left out by whoever named services.
            Some(service)
                if !wanted
                    .iter()
                    .any(|subject| subject.service.name == service.name) =>
            {
                continue;
            }
            Some(_) => (
                format!("{} {to}: an Ingress speaks HTTP to its services", route.by),
                "a web server in the pod, beside the program",
            ),
            None => (
                format!("{} {to}: that is no service of the project", route.by),
                "a Service of type ExternalName for what is outside of the cluster, and a rule for it",
            ),
        };
        told.lost(at(route), what, fix);
    }
}

/// How many services of the project have their requests from outside.
pub(super) fn doors(request: &ExportRequest<'_>, front: Option<&str>) -> usize {
    let services = request.project.services.values();
    let others = services.filter(|service| Some(service.name.as_str()) != front);
    let with_door = others.filter(|service| {
        let policy = request.policies.get(&service.name);
        door(request, service, policy).is_some()
    });
    with_door.count()
}

/// A rule to be.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct DraftRule {
    host: Option<String>,
    exact: bool,
    path: String,
}

/// The rules for a service as nginx has them.
fn as_nginx_has_them(
    subject: &ServiceSubject<'_>,
    host: Option<&String>,
    told: &mut Remarks,
) -> Vec<DraftRule> {
    let mut rules = Vec::new();
    for route in routes(subject.request, subject.service) {
        let place = at(route);
        let (exact, path) = match &route.at {
            LocationMatch::Prefix(path) => (false, path.clone()),
            LocationMatch::Exact(path) => (true, path.clone()),
            LocationMatch::Pattern(title) => {
                told.lost(
                    place,
                    format!(
                        "{title}: an Ingress knows paths and what begins with them, no patterns"
                    ),
                    "a rule for each path, or the controller's own kind of route",
                );
                continue;
            }
        };
        if !matches!(route.by.as_str(), "proxy_pass" | "grpc_pass") {
            told.lost(
                place,
                format!("{}: an Ingress speaks HTTP to its services", route.by),
                "a web server in the pod, beside the program",
            );
            continue;
        }
        if route.by == "grpc_pass" {
            told.lost(
                &place,
                "the service is spoken to by gRPC, which an Ingress does not say",
                "the annotation of the controller (Traefik: service.serversscheme h2c, at the Service)",
            );
        }
        if let Some(becomes) = &route.becomes {
            told.lost(
                &place,
                format!("{path} becomes {becomes} before the service sees it, which an Ingress does not do"),
                "a middleware of Traefik (StripPrefix, ReplacePath), the annotation rewrite-target of ingress-nginx, or let the service know its path",
            );
        }
        let hosts: Vec<Option<String>> = match host {
            Some(host) => vec![Some(host.clone())],
            None if route.hosts.is_empty() => vec![None],
            None => route.hosts.iter().cloned().map(Some).collect(),
        };
        for host in hosts {
            if host.as_deref().is_some_and(|host| !is_host(host)) {
                told.lost(
                    &place,
                    format!(
                        "server_name {}: an Ingress knows names and *.names",
                        host.unwrap_or_default()
                    ),
                    format!("--host {}=NAME, or spec.rules here", subject.service.name),
                );
                continue;
            }
            let rule = DraftRule {
                host,
                exact,
                path: path.clone(),
            };
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    rules
}

/// Whether an Ingress takes it for the name of a host: labels, and `*.` before them.
pub fn is_host(host: &str) -> bool {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let label = |part: &str| {
        !part.is_empty() && part.chars().all(fits) && !part.starts_with('-') && !part.ends_with('-')
    };
    name.split('.').all(label)
}

/// All requests for a host; a name stands in where several services have requests and nobody knows which.
fn all_of_a_host(
    subject: &ServiceSubject<'_>,
    host: Option<&String>,
    told: &mut Remarks,
) -> DraftRule {
    let host = host.cloned().or_else(|| {
        if subject.shared.doors == 1 {
            return None;
        }
        let name = format!("{}.example.com", subject.name);
        told.lost(
            subject.place("x-autoscale.port"),
            format!(
                "which requests are for it is not known here, so {name} stands for its host name"
            ),
            format!("--host {}=NAME, or spec.rules here", subject.service.name),
        );
        Some(name)
    });
    DraftRule {
        host,
        exact: false,
        path: "/".to_owned(),
    }
}

/// The ingress of a service that has its requests from outside.
pub(super) fn ingress(subject: &ServiceSubject<'_>) -> Option<Object> {
    let port = subject.door?;
    let request = subject.request;
    let mut told = Remarks::default();
    let host = request.hosts.get(&subject.service.name);
    let mut rules = as_nginx_has_them(subject, host, &mut told);
    if rules.is_empty() {
        rules.push(all_of_a_host(subject, host, &mut told));
    }
    told.chosen(
        "nginx",
        "certificates, redirects, timeouts, sizes and what else nginx's own configuration says are not here",
        "spec.tls with cert-manager, and the annotations or middlewares of the ingress controller",
    );
    let mut by_host: IndexMap<Option<String>, Vec<HTTPIngressPath>> = IndexMap::new();
    for rule in rules {
        let paths = by_host.entry(rule.host).or_default();
        paths.push(HTTPIngressPath {
            path: Some(rule.path),
            path_type: if rule.exact { "Exact" } else { "Prefix" }.to_owned(),
            backend: backend(subject.name, port),
        });
    }
    let rules = by_host.into_iter().map(|(host, paths)| IngressRule {
        host,
        http: Some(HTTPIngressRuleValue { paths }),
    });
    let mut metadata = subject.metadata(subject.name);
    metadata.annotations = annotations(subject, &mut told);
    Some(told.object(&Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: Some(class(request.ingress).to_owned()),
            rules: Some(rules.collect()),
            ..IngressSpec::default()
        }),
        status: None,
    }))
}

fn backend(name: &str, port: u16) -> IngressBackend {
    IngressBackend {
        service: Some(IngressServiceBackend {
            name: name.to_owned(),
            port: Some(ServiceBackendPort {
                number: Some(port.into()),
                name: None,
            }),
        }),
        resource: None,
    }
}

/// The name that the controller's `IngressClass` has, unless somebody named it otherwise.
fn class(controller: Controller) -> &'static str {
    match controller {
        Controller::Traefik => "traefik",
        Controller::Nginx => "nginx",
    }
}

/// How ingress-nginx spreads requests; Traefik is told at the Service.
fn annotations(
    subject: &ServiceSubject<'_>,
    told: &mut Remarks,
) -> Option<BTreeMap<String, String>> {
    let policy = subject.policy?;
    let slow = policy.slow_start.0;
    if !slow.is_zero() {
        told.lost(
            subject.place("x-autoscale.slow_start"),
            "a new pod gets its full share of requests as soon as it is ready",
            "warm the program up before its readiness probe passes",
        );
    }
    if subject.request.ingress != Controller::Nginx {
        return None;
    }
    let key = |name: &str| format!("nginx.ingress.kubernetes.io/{name}");
    Some(match &policy.balance {
        Balance::RoundRobin => return None,
        Balance::LeastConn => {
            told.chosen(
                subject.place("x-autoscale.balance"),
                "ingress-nginx knows no least_conn; ewma prefers the pods that answer fastest",
                "nothing",
            );
            BTreeMap::from([(key("load-balance"), "ewma".to_owned())])
        }
        Balance::IpHash => BTreeMap::from([(key("upstream-hash-by"), "$remote_addr".to_owned())]),
        Balance::Hash(text) => BTreeMap::from([(key("upstream-hash-by"), text.clone())]),
        Balance::StickyCookie(cookie) => BTreeMap::from([
            (key("affinity"), "cookie".to_owned()),
            (key("session-cookie-name"), cookie.clone()),
        ]),
    })
}
