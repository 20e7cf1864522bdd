//! Which services are nginx, by what the compose file says of them.

use super::{
    Project, Service,
    images::{self, ImageKind},
};

/// Whether an image's name says that it is nginx.
pub fn is_nginx(image: &str) -> bool {
    images::known(image).is_some_and(|image| image.kind == ImageKind::Nginx)
}

/// The services whose image is nginx and that requests may come in by.
pub fn nginx_candidates(project: &Project) -> impl Iterator<Item = &Service> {
    let services = project.services.values();
    services
        .filter(|service| service.image.as_deref().is_some_and(is_nginx) && may_be_a_door(service))
}

/// Whether requests may come in there: not without a network, and not where it stands before the Engine.
pub fn may_be_a_door(service: &Service) -> bool {
    let mut volumes = service.volumes.iter();
    let is_before_the_engine = volumes.any(|volume| volume.target.ends_with("/docker.sock"));
    service.network_mode.as_deref() != Some("none") && !is_before_the_engine
}
