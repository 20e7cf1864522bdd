//! Finding nginx among the containers.

use super::{
    super::service_setup::{self, ManagedNginx},
    Driver,
};
use crate::{
    engine::Engine,
    project::{ContainerId, Replica},
    proxy::Proxy,
};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Finds nginx among the project's containers and tells the remote control.
    pub(super) fn find_nginx(&mut self, containers: &[Replica]) {
        let Some(ManagedNginx::Service(service)) = service_setup::nginx_place(&self.loaded) else {
            return;
        };
        let found: Vec<_> = containers
            .iter()
            .filter(|c| c.service == service && c.is_replica() && !c.is_being_recreated())
            .collect();
        if self.nginx.found(&found, self.clock.now()) {
            self.nginx_changed();
        }
    }

    /// Hears of one container, which may be nginx. Returns whether it is.
    pub(super) fn look_at_nginx(&mut self, replica: &Replica) -> bool {
        let is_it = match service_setup::nginx_place(&self.loaded) {
            Some(ManagedNginx::Service(service)) => {
                replica.service == service && replica.is_replica() && !replica.is_being_recreated()
            }
            Some(ManagedNginx::Container(name)) => replica.name == name,
            Some(ManagedNginx::Host) | None => false,
        };
        if is_it && self.nginx.seen(replica, self.clock.now()) {
            self.nginx_changed();
        }
        is_it
    }

    /// A container is not there any more, by the id or the name it was asked for.
    pub(super) fn nginx_is_gone(&mut self, id: &str) {
        let is_it = matches!(service_setup::nginx_place(&self.loaded), Some(ManagedNginx::Container(name)) if name == id);
        if is_it && self.nginx.gone(self.clock.now()) {
            self.nginx_changed();
        }
    }

    fn nginx_changed(&mut self) {
        let runs = self.nginx.location().names().is_some();
        if runs && !self.passive() {
            self.router.again(self.clock.now());
        }
        self.preflight.request();
        self.preflight_if_due();
    }

    /// The Engine tells nothing of a container outside the project.
    pub(super) fn check_foreign_nginx(&mut self) {
        if let Some(id) = self.foreign_nginx() {
            self.inspect(id);
        }
    }

    /// The nginx that is a container outside of the project, by its name.
    pub(super) fn foreign_nginx(&self) -> Option<ContainerId> {
        match service_setup::nginx_place(&self.loaded)? {
            ManagedNginx::Container(name) => Some(ContainerId(name)),
            ManagedNginx::Service(_) | ManagedNginx::Host => None,
        }
    }
}
