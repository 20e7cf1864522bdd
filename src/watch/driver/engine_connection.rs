//! The Engine that goes away and comes back.

use tracing::{info, warn};

use super::{
    super::{goal::RunGoal, warn_once::Topic},
    Driver,
};
use crate::{
    engine::Engine, project::ContainerId, proxy::Proxy, reconcile::Event, units::Timestamp,
};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Opens the event stream, then lists: what happens in between arrives twice rather than never.
    pub(super) fn connect(&mut self) {
        self.engine
            .connect(&self.loaded.project.name, self.clock.now());
        self.list();
    }

    /// Lists the project's containers, one listing at a time.
    pub(super) fn list(&mut self) {
        let (foreign, now) = (self.foreign_nginx(), self.clock.now());
        self.engine
            .list(&self.loaded.project.name, foreign, now, &mut self.tasks);
    }

    pub(super) fn inspect(&mut self, id: ContainerId) {
        self.engine.inspect(id, self.clock.now(), &mut self.tasks);
    }

    pub(super) fn engine_lost(&mut self, why: &str) {
        if self.engine.lose(why) {
            warn!(
                error = why,
                "the Docker Engine does not answer; nothing is done until it does"
            );
            self.operations.end_probes();
            for name in self.machines.keys() {
                self.queue.push_back((name.clone(), Event::EngineLost));
            }
            self.nginx.engine_lost();
            self.persistence.forget_remembered();
        }
        let due = self.persistence.claim_due();
        let project = due.map(|(project, _)| project.to_owned());
        self.engine
            .reconnect(project, self.clock.now(), &mut self.tasks);
    }

    /// The containers are known (again).
    pub(super) fn listing_came(&mut self, taken: Timestamp) {
        if self.engine.listed(taken) {
            info!("the Docker Engine answers again");
        }
        if self.complaints.settle(Topic::Listing) {
            info!("the project's containers can be listed again");
        }
    }

    pub(super) fn listing_failed(&mut self, why: &str) {
        // Every other run ends with it.
        if self.complaints.raise(Topic::Listing, why) && self.goal == RunGoal::Watch {
            warn!(
                error = why,
                "cannot list the project's containers; nothing is scaled by load until that works again"
            );
        }
    }
}
