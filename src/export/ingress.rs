//! The way in from outside, in place of our nginx.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{
    HTTPIngressPath, HTTPIngressRuleValue, Ingress, IngressBackend, IngressRule,
    IngressServiceBackend, IngressSpec, ServiceBackendPort,
};

use super::{Controller, Object, Request, Subject, Told};
use crate::{
    policy::{Balance, Place},
    project::image_word,
};

/// The service that an ingress takes the place of: the nginx of the settings, or the only one there is,
/// where a service has its requests from it.
pub(super) fn front(request: &Request<'_>) -> Option<String> {
    let routed = request.policies.iter().any(|(name, policy)| {
        let service = request.project.services.get(name);
        policy.port.is_some() || service.is_some_and(|service| service.only_port().is_ok())
    });
    if !routed {
        return None;
    }
    match &request.settings.nginx.place {
        Some(Place::Service(name)) => return Some(name.clone()),
        Some(Place::Host(_) | Place::Container(_)) => return None,
        None => {}
    }
    let all = request.project.services.values();
    let mut all = all.filter(|service| {
        let image = service.image.as_deref();
        image.is_some_and(|image| image_word(image) == "nginx")
    });
    match (all.next(), all.next()) {
        (Some(only), None) => Some(only.name.clone()),
        _ => None,
    }
}

/// The ingress of a service that has its requests from outside.
pub(super) fn ingress(subject: &Subject<'_>, wanted: &[Subject<'_>]) -> Option<Object> {
    let port = subject.door?;
    let request = subject.request;
    let mut told = Told::default();
    let host = request.hosts.get(&subject.service.name).cloned();
    let is_only = wanted.iter().filter(|other| other.door.is_some()).count() == 1;
    let host = host.or_else(|| {
        if is_only {
            return None;
        }
        let name = format!("{}.example.com", subject.name);
        told.lost(
            subject.place("x-autoscale.port"),
            format!("which requests are for it is written in nginx's configuration, so {name} stands for its host name"),
            format!("--host {}=NAME, or spec.rules here", subject.service.name),
        );
        Some(name)
    });
    let path = HTTPIngressPath {
        path: Some("/".to_owned()),
        path_type: "Prefix".to_owned(),
        backend: IngressBackend {
            service: Some(IngressServiceBackend {
                name: subject.name.to_owned(),
                port: Some(ServiceBackendPort {
                    number: Some(port.into()),
                    name: None,
                }),
            }),
            resource: None,
        },
    };
    told.chosen(
        subject.place("x-autoscale.port"),
        "certificates, redirects, timeouts, sizes and what else nginx's own configuration says are not here",
        "spec.tls with cert-manager, and the annotations or middlewares of the ingress controller",
    );
    let mut metadata = subject.metadata(subject.name);
    metadata.annotations = annotations(subject, &mut told);
    Some(told.object(&Ingress {
        metadata,
        spec: Some(IngressSpec {
            ingress_class_name: Some(class(request.ingress).to_owned()),
            rules: Some(vec![IngressRule {
                host,
                http: Some(HTTPIngressRuleValue { paths: vec![path] }),
            }]),
            ..IngressSpec::default()
        }),
        status: None,
    }))
}

/// The name that the controller's IngressClass has, unless somebody named it otherwise.
fn class(controller: Controller) -> &'static str {
    match controller {
        Controller::Traefik => "traefik",
        Controller::Nginx => "nginx",
    }
}

/// How ingress-nginx spreads requests; Traefik is told at the Service.
fn annotations(subject: &Subject<'_>, told: &mut Told) -> Option<BTreeMap<String, String>> {
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
