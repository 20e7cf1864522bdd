//! From the loaded project to what each machine is told.

use crate::{
    compose::Loaded,
    plan,
    policy::{Place, Policy},
    project::Service,
    reconcile::Setup,
};

/// The nginx that is kept in step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NginxPlace {
    /// A service of the project.
    Service(String),
    /// A container by name.
    Container(String),
}

/// Where nginx runs: as the settings say, else the one service whose image is nginx.
pub fn nginx_place(loaded: &Loaded) -> Option<NginxPlace> {
    match &loaded.settings.nginx.place {
        Some(Place::Service(name)) => Some(NginxPlace::Service(name.clone())),
        Some(Place::Container(name)) => Some(NginxPlace::Container(name.clone())),
        None => {
            let mut found = loaded
                .project
                .services
                .values()
                .filter(|service| service.image.as_deref().is_some_and(is_nginx));
            let first = found.next()?;
            found
                .next()
                .is_none()
                .then(|| NginxPlace::Service(first.name.clone()))
        }
    }
}

/// Whether an image's name says that it is nginx.
pub fn is_nginx(image: &str) -> bool {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    let base = last.split(':').next().unwrap_or_default();
    matches!(
        base,
        "nginx" | "nginx-unprivileged" | "test-nginx" | "openresty"
    )
}

/// The port that traffic goes to: the policy's, else the single one that the service exposes or
/// publishes.
pub fn port_of(service: &Service, policy: &Policy) -> Option<u16> {
    policy.port.or_else(|| service.only_port().ok())
}

/// What the machine of a service is told.
pub fn setup_for(loaded: &Loaded, service: &Service, has_nginx: bool) -> Setup {
    let own = loaded.policies.get(&service.name);
    let policy = own.cloned().unwrap_or_default();
    let port = port_of(service, &policy);
    Setup {
        service: service.name.clone(),
        autoscaled: own.is_some(),
        routed: has_nginx && own.is_some() && port.is_some(),
        port,
        interval: loaded.settings.interval.0,
        refusals: plan::refuse::refusals(service, &[]),
        policy,
    }
}
