//! From the Engine's events to events for the machines.

use tracing::debug;

use super::{
    super::{
        operations::ForeignStop,
        service_setup::{self, ManagedNginx},
    },
    Driver,
};
use crate::{
    engine::{ContainerAction, Engine, EngineEvent},
    project::{ContainerId, Health},
    proxy::Proxy,
    reconcile::Event,
};

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn on_engine_event(&mut self, event: &EngineEvent) {
        debug!(container = %event.id, name = event.name, action = %event.action, "engine event");
        let now = self.clock.now();
        self.operations.forget_finished(now);
        let ours = self.operations.is_own(event);
        let machines = &self.machines;
        let is_coming_up = |id: &ContainerId| machines.values().any(|m| m.is_coming_up(id));
        let stop = self.operations.follow_stop(event, ours, is_coming_up, now);
        if matches!(stop, ForeignStop::Begun | ForeignStop::Ended) {
            self.hold_still();
        }
        let asked = stop == ForeignStop::Ended;
        let foreign_work = matches!(
            event.action,
            ContainerAction::Create | ContainerAction::Rename | ContainerAction::Stop
        );
        // The network's own events name containers of other projects too.
        let known = self.service_of(&event.id);
        if event.action == ContainerAction::Network && known.is_none() {
            return;
        }
        self.engine.hear(now);
        let id = event.id.clone();
        // An nginx that is started again at once would be seen running each time.
        let is_nginx =
            |place| place == ManagedNginx::Service(event.service.clone().unwrap_or_default());
        if matches!(event.action, ContainerAction::Die(_))
            && known.is_none()
            && service_setup::nginx_place(&self.loaded).is_some_and(is_nginx)
        {
            self.inspect(id.clone());
        }
        let heard = match event.action {
            ContainerAction::Die(exit_code) => Some(Event::Died {
                id,
                exit_code,
                asked,
            }),
            ContainerAction::Oom => Some(Event::Oom { id }),
            ContainerAction::Stop => Some(Event::Stopped { id }),
            ContainerAction::Pause => Some(Event::Paused { id }),
            ContainerAction::Health(Health::Unhealthy) => Some(Event::Unhealthy { id }),
            ContainerAction::Destroy => Some(Event::Gone { id }),
            ContainerAction::Kill(_) => None,
            // The step that makes it ends with a look at it.
            ContainerAction::Create | ContainerAction::Start | ContainerAction::Network
                if self.operations.is_in_the_making(event) =>
            {
                None
            }
            ContainerAction::Create
            | ContainerAction::Start
            | ContainerAction::Rename
            | ContainerAction::Health(_)
            | ContainerAction::Unpause
            | ContainerAction::Update
            | ContainerAction::Network => {
                self.inspect(id);
                None
            }
        };
        // Before anything is made good: what explains a removal may be told after it.
        if event.action == ContainerAction::Destroy && !ours {
            self.hold_still();
        }
        // A stop that is told after the removal explains it.
        let told = event.service.clone().filter(|service| {
            event.action == ContainerAction::Stop && self.machines.contains_key(service)
        });
        if let (Some(service), Some(heard)) = (known.or(told), heard) {
            self.queue.push_back((service, heard));
        }
        if foreign_work && !ours {
            self.hold_still();
        }
        if event.action == ContainerAction::Destroy {
            self.operations.removed(event);
        }
    }

    /// Somebody else is at work on the project.
    fn hold_still(&mut self) {
        let names: Vec<_> = self.machines.keys().cloned().collect();
        for name in names {
            self.queue.push_back((name, Event::Busy));
        }
    }

    /// Called now and then: what is still being stopped elsewhere keeps us still.
    pub(super) fn check_foreign_stops(&mut self) {
        if self.operations.foreign_stop_lasts(self.clock.now()) {
            self.hold_still();
        }
    }
}
