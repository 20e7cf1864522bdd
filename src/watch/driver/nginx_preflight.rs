//! Looking at nginx before the first replica is made.

use super::{
    super::{
        Message,
        goal::RunGoal,
        nginx_target::NginxLocation,
        preflight::{PreflightCheck, PreflightResult},
        service_setup::{self, Unrouted},
    },
    Driver,
};
use crate::{engine::Engine, proxy::Proxy, reconcile::Event};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Looks at nginx when it is another one, when a service is new, and again and again while
    /// something bars the way.
    pub(super) fn preflight_if_due(&mut self) {
        if !self.preflight.is_due() || self.passive() {
            return;
        }
        let (Some(proxy), Some(place)) =
            (self.nginx.proxy(), service_setup::nginx_place(&self.loaded))
        else {
            return;
        };
        let whereabouts = self.nginx.location().clone();
        if whereabouts == NginxLocation::Unknown {
            return;
        }
        self.preflight.take_request();
        if whereabouts.names().is_none() {
            // It finds the files when it starts.
            self.preflight_ended(&PreflightResult::default());
            return;
        }
        let upstreams = service_setup::upstreams(&self.loaded);
        let nginx = whereabouts.identity();
        let nginx = nginx.map(|nginx| format!("{nginx} {}", upstreams.display()));
        let unrouted = self.unrouted();
        let routed = || self.machines.values().filter(|m| m.setup().routed);
        let (known, unknown): (Vec<_>, Vec<_>) =
            routed().partition(|m| nginx.is_some() && m.reader() == nginx.as_deref());
        for machine in known {
            let event = Event::Way {
                barred: None,
                nginx: nginx.clone(),
            };
            self.queue.push_back((machine.service().to_owned(), event));
        }
        // What is made is shown to nginx in any case, which finds out if it no longer holds.
        let is_new = !unknown.is_empty() && self.goal != RunGoal::Sync;
        if !is_new && unrouted.is_empty() && self.goal != RunGoal::Watch && !self.load.reads_a_log()
        {
            return;
        }
        self.preflight.begin();
        let begun = self.clock.wall_millis();
        self.load.look_begins(begun);
        let look = PreflightCheck {
            services: routed().map(|m| m.service().to_owned()).collect(),
            unrouted,
            directory: upstreams,
            working_dir: self.loaded.project.working_dir.clone(),
            place,
            whereabouts,
            readers: routed()
                .filter(|machine| machine.setup().policy.reads_the_log())
                .map(|machine| machine.service().to_owned())
                .collect(),
            log: service_setup::log(&self.loaded)
                .map(|(_, log)| (self.loaded.project.name.clone(), log)),
            nginx,
            begun,
        };
        self.tasks
            .report(async move { Message::Way(look.run(proxy).await) });
    }

    /// The managed services that have no upstream.
    fn unrouted(&self) -> Vec<Unrouted> {
        let services = self.machines.values().filter(|m| !m.setup().routed);
        services
            .filter_map(|m| service_setup::unrouted(&self.loaded, m.service()))
            .collect()
    }

    /// Services that nginx sends requests to and that have no upstream, each in a sentence.
    pub(super) fn without_upstream(&self, concerns: impl Fn(&str) -> bool) -> Vec<String> {
        let services = self.machines.values();
        services
            .filter(|m| !m.setup().routed && concerns(m.service()))
            .filter_map(|m| {
                let why = self.preflight.barred(m.service())?;
                Some(format!("{}: {why}", m.service()))
            })
            .collect()
    }

    pub(super) fn preflight_ended(&mut self, seen: &PreflightResult) {
        self.preflight.end(seen);
        for name in self.machines.keys() {
            let event = Event::Way {
                barred: seen.barred.get(name).cloned(),
                nginx: seen.nginx.clone().filter(|_| seen.services.contains(name)),
            };
            self.queue.push_back((name.clone(), event));
        }
        self.load.looked(seen.configured, &seen.unlogged);
        // nginx became another one meanwhile.
        self.preflight_if_due();
    }

    /// nginx does not read what it was seen to read once: that is looked into.
    pub(super) fn preflight_is_outdated(&mut self, service: &str) {
        if let Some(machine) = self.machines.get_mut(service)
            && machine.forget_reader()
        {
            self.persistence.touch();
            self.preflight.request();
            self.preflight_if_due();
        }
    }
}
