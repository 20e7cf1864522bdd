//! `pause` and `resume`, as a running `watch` hears them.

use super::{Driver, service_setup, warn_once::Topic};
use crate::{
    compose::Loaded,
    control::Reply,
    engine::Engine,
    proxy::Proxy,
    reconcile::{Event, Initiator, Pause, Paused},
    units::Span,
};

/// Why scaling of one of these services cannot be paused or resumed.
pub fn refusal(loaded: &Loaded, services: &[String]) -> Option<String> {
    services.iter().find_map(|name| {
        if !loaded.project.services.contains_key(name) {
            return Some(service_setup::no_such_service(loaded, name));
        }
        (!loaded.policies.contains_key(name))
            .then(|| format!("{name} has no policy, so it is not scaled"))
    })
}

/// What is said of a service that is paused.
pub fn paused(service: &str, paused: Paused) -> String {
    format!("{service}: {paused}")
}

/// What is said of a service that is resumed, or was not paused.
pub fn resumed(service: &str, before: Option<Paused>) -> String {
    match before {
        Some(_) => format!("{service}: scaling is resumed"),
        None => format!("{service}: scaling was not paused"),
    }
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn pause(
        &mut self,
        services: &[String],
        directions: Pause,
        span: Option<Span>,
    ) -> Reply {
        let event = Event::Suspend {
            directions,
            span: span.map(|span| span.0),
            by: Initiator::Hand,
        };
        self.pass_on(services, &event, |service, _, now| {
            now.map_or_else(String::new, |now| paused(service, now))
        })
    }

    pub(super) fn resume(&mut self, services: &[String]) -> Reply {
        let event = Event::Resume {
            by: Initiator::Hand,
        };
        self.pass_on(services, &event, |service, before, _| {
            resumed(service, before)
        })
    }

    /// Hands the event to each machine at once, before whatever else waits, and has it on disk before
    /// it is answered.
    fn pass_on(
        &mut self,
        services: &[String],
        event: &Event,
        say: impl Fn(&str, Option<Paused>, Option<Paused>) -> String,
    ) -> Reply {
        let refuse = |message| Reply::Done { ok: false, message };
        if self.dry_run {
            return refuse("the running `watch` is a dry run and changes nothing".into());
        }
        if let Some(why) = refusal(&self.loaded, services) {
            return refuse(why);
        }
        let mut lines = Vec::new();
        for service in services {
            let now = self.clock.now();
            let Some(machine) = self.machines.get_mut(service) else {
                continue;
            };
            let before = machine.paused(now);
            let effects = machine.handle(event.clone(), now);
            lines.push(say(service, before, machine.paused(now)));
            self.carry_out(service, effects);
        }
        self.dirty = false;
        self.remember();
        if let Some(why) = self.complaints.about(Topic::Memory) {
            lines.push(format!(
                "a restart of the running `watch` would lose it: {why}"
            ));
        }
        Reply::Done {
            ok: true,
            message: lines.join("\n"),
        }
    }
}
