//! The machines of the managed services, and everything that is shown of them.

use std::collections::BTreeSet;

use super::{
    super::{goal::RunGoal, service_setup},
    Driver,
};
use crate::{
    control::Snapshot,
    engine::Engine,
    proxy::Proxy,
    reconcile::{Event, ServiceMachine, ServiceView},
};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// One machine per managed service; those that stay keep what they know.
    pub(super) fn make_machines(&mut self) {
        let now = self.clock.now();
        let has_nginx = self.nginx.proxy().is_some();
        let managed: Vec<_> = self
            .loaded
            .project
            .services
            .values()
            .filter(|s| self.loaded.policies.contains_key(&s.name) || self.files.manages(&s.name))
            .map(|service| service_setup::setup_for(&self.loaded, service, has_nginx))
            .collect();
        let names: BTreeSet<_> = managed.iter().map(|s| s.service.clone()).collect();
        let gone: Vec<_> = self
            .machines
            .keys()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.machines.shift_remove(&name);
            self.custom.forget(&name);
            self.router.forget(&name, now);
        }
        for setup in managed {
            let name = setup.service.clone();
            match self.machines.get(&name) {
                Some(machine) if *machine.setup() == setup => {}
                Some(machine) => {
                    // Without an upstream it may be one that nginx sends requests to all the same.
                    if machine.setup().routed != setup.routed {
                        self.preflight.request();
                    }
                    self.queue.push_back((name, Event::Setup(Box::new(setup))));
                }
                None => {
                    let mut memory = self.persistence.memory(&name).cloned();
                    if self.goal == RunGoal::Watch {
                        memory = memory.map(|m| m.without_old_readings(now, setup.interval));
                    }
                    let mut machine = ServiceMachine::new(setup, memory, now);
                    if self.goal == RunGoal::Watch {
                        machine = machine.ramping();
                    }
                    if self.passive() {
                        machine = machine.passive();
                    }
                    if matches!(&self.goal, RunGoal::Scale { services, .. } if services.contains_key(&name))
                    {
                        machine.expect_a_count();
                    }
                    if has_nginx {
                        machine.expect_a_look();
                        self.preflight.request();
                    }
                    self.machines.insert(name, machine);
                }
            }
        }
        self.follow_log();
    }

    /// Everything that `ps` shows.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        Snapshot {
            version: 1,
            project: self.loaded.project.name.clone(),
            at: now,
            watching: self.goal == RunGoal::Watch,
            nginx: self.nginx.location().names(),
            in_step: self.in_step(),
            engine_away: self.engine.away().map(str::to_owned),
            interval: self.loaded.settings.interval,
            ticked: self.ticked,
            host: self.host.view(self.loaded.settings.host),
            troubles: self
                .engine
                .away()
                .into_iter()
                .map(|why| format!("the Docker Engine does not answer: {why}"))
                .chain(self.nginx.trouble().cloned())
                .chain(self.complaints.all())
                .chain(self.machines.values().filter_map(|m| m.trouble(now, true)))
                .collect(),
            services: self
                .machines
                .values()
                .map(|machine| ServiceView {
                    drift: self.drift.drift(&self.loaded, machine),
                    ..machine.view(now)
                })
                .collect(),
        }
    }
}
