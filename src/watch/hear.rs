//! From messages, engine events and requests to events for the machines.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use indexmap::IndexMap;
use tracing::{debug, info, warn};

use super::{
    Driver, Message,
    remote::Target,
    setup::{self, NginxPlace},
    wait::Waiter,
};
use crate::{
    control::{Call, Reply, Request},
    engine::{Action, Engine, EngineError, EngineEvent},
    plan::MOST,
    project::{ContainerId, Health, Replica},
    proxy::Proxy,
    reconcile::Event,
    units::Moment,
};

/// Events of what we did may come this late.
const LATE: Duration = Duration::from_secs(5);
/// A container that takes longer than this to stop is no longer waited for.
const LONGEST_STOP: Duration = Duration::from_secs(300);
/// The longest that a client of `sync` waits.
const SYNC: Duration = Duration::from_secs(60);

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn on_message(&mut self, message: Message) {
        match message {
            Message::To(service, event) => {
                if matches!(
                    *event,
                    Event::Made { .. }
                        | Event::NameTaken { .. }
                        | Event::Restarted { .. }
                        | Event::Retired { .. }
                ) {
                    self.steps = self.steps.saturating_sub(1);
                }
                if let Event::Sampled { .. } = *event {
                    self.sampling.remove(&service);
                    *self.sampled.entry(service.clone()).or_default() += 1;
                }
                if self.engine_away.is_none() {
                    self.hand_over(service, *event);
                }
            }
            Message::Engine(answer) => {
                self.reconnecting = false;
                match answer {
                    Ok(info) => {
                        debug!(version = info.version, "the engine answers");
                        self.engine_back();
                    }
                    Err(error) => self.engine_lost(&error.to_string()),
                }
            }
            Message::Listed { taken, result } => {
                self.listing = false;
                match result {
                    Ok(containers) => self.listed(taken, containers),
                    Err(error) if error.is_outage() => self.engine_lost(&error.to_string()),
                    Err(error) => warn!(%error, "cannot list the project's containers"),
                }
            }
            Message::OursDone(name) => {
                let until = self.clock.now() + LATE;
                self.ours.insert(name, Some(until));
            }
            Message::Inspected { taken, id, result } => self.inspected(taken, id, result),
            Message::Published { seqs, result } => self.published(seqs, result),
            Message::Drained { seqs } => {
                for (service, seq) in seqs {
                    self.queue.push_back((service, Event::Drained { seq }));
                }
            }
            Message::Troubles { service, troubles } => {
                for why in troubles {
                    warn!(service, error = why, "stopping all the same");
                }
            }
            Message::Reloaded(result) => match *result {
                Ok(loaded) => {
                    for warning in &loaded.warnings {
                        warn!("{warning}");
                    }
                    if loaded.project.name == self.loaded.project.name {
                        self.reloaded(loaded);
                    } else {
                        warn!(
                            from = self.loaded.project.name,
                            to = loaded.project.name,
                            "the project has another name now; start `compose-scale watch` anew to follow it"
                        );
                    }
                }
                Err(error) => {
                    warn!(
                        "the compose file has mistakes; going on with the policy of before:\n{error}"
                    );
                }
            },
        }
    }

    /// A dry run looks at samples and acts on none.
    fn hand_over(&mut self, service: String, event: Event) {
        match event {
            Event::Sampled { readings } if self.passive() => {
                let now = self.clock.now();
                let Some(machine) = self.machines.get_mut(&service) else {
                    return;
                };
                let considered = machine.consider(readings, now);
                if let (true, Some((decision, plan))) = (self.dry_run, considered) {
                    if decision.desired == decision.current {
                        info!(
                            service,
                            reason = decision.reason.label(),
                            "would do nothing: {}",
                            decision.message
                        );
                    } else {
                        info!(
                            service,
                            reason = decision.reason.label(),
                            "would scale: {}",
                            decision.message
                        );
                        match plan {
                            Ok(plan) => {
                                for step in plan.steps {
                                    info!(service, "  would {step}");
                                }
                            }
                            Err(error) => warn!(service, "  but {error}"),
                        }
                    }
                }
            }
            event => self.queue.push_back((service, event)),
        }
    }

    fn listed(&mut self, taken: Moment, containers: Vec<Replica>) {
        self.find_nginx(&containers);
        if let Some(NginxPlace::Container(name)) = setup::nginx_place(&self.loaded) {
            self.inspect_nginx(name);
        }
        let needed = needed(&containers);
        let mut by_service: BTreeMap<String, Vec<Replica>> = BTreeMap::new();
        for container in containers.into_iter().filter(Replica::is_replica) {
            by_service
                .entry(container.service.clone())
                .or_default()
                .push(container);
        }
        let names: Vec<_> = self.machines.keys().cloned().collect();
        for name in names {
            let replicas = by_service.remove(&name).unwrap_or_default();
            let event = Event::Seen {
                replicas,
                needed: needed.clone(),
                taken,
            };
            self.queue.push_back((name, event));
        }
        self.sample_next = true;
    }

    fn inspected(
        &mut self,
        taken: Moment,
        id: ContainerId,
        result: Result<Box<Replica>, EngineError>,
    ) {
        match result {
            Ok(replica) => {
                if setup::nginx_place(&self.loaded)
                    == Some(NginxPlace::Service(replica.service.clone()))
                    || matches!(setup::nginx_place(&self.loaded), Some(NginxPlace::Container(name)) if name == replica.name)
                {
                    if replica.state == crate::project::State::Running {
                        self.set_nginx(Some(Target::of(&replica)));
                    }
                    if !self.machines.contains_key(&replica.service) {
                        return;
                    }
                }
                if replica.is_replica() {
                    let service = replica.service.clone();
                    let event = Event::Observed { replica, taken };
                    self.queue.push_back((service, event));
                }
            }
            Err(EngineError::Gone { .. }) => {
                if let Some(service) = self.service_of(&id) {
                    self.queue.push_back((service, Event::Gone { id }));
                }
            }
            Err(error) if error.is_outage() => self.engine_lost(&error.to_string()),
            Err(error) => warn!(container = %id, %error, "cannot inspect"),
        }
    }

    fn service_of(&self, id: &ContainerId) -> Option<String> {
        self.machines
            .iter()
            .find(|(_, machine)| machine.knows(id))
            .map(|(name, _)| name.clone())
    }

    pub(super) fn on_engine_event(&mut self, event: &EngineEvent) {
        debug!(container = %event.id, name = event.name, action = %event.action, "engine event");
        let now = self.clock.now();
        self.ours
            .retain(|_, until| until.is_none_or(|until| until > now));
        let ours = self.ours.contains_key(&event.id.0) || self.ours.contains_key(&event.name);
        self.follow_foreign_stops(event, ours, now);
        let foreign_work = matches!(
            event.action,
            Action::Create | Action::Destroy | Action::Rename | Action::Stop
        );
        // The network's own events name containers of other projects too.
        let known = self.service_of(&event.id);
        if event.action == Action::Network && known.is_none() {
            return;
        }
        let id = event.id.clone();
        let heard = match event.action {
            Action::Die(exit_code) => Some(Event::Died { id, exit_code }),
            Action::Oom => Some(Event::Oom { id }),
            Action::Stop => Some(Event::Stopped { id }),
            Action::Pause => Some(Event::Paused { id }),
            Action::Health(Health::Unhealthy) => Some(Event::Unhealthy { id }),
            Action::Destroy => Some(Event::Gone { id }),
            Action::Kill(_) => None,
            Action::Create
            | Action::Start
            | Action::Rename
            | Action::Health(_)
            | Action::Unpause
            | Action::Update
            | Action::Network => {
                self.inspect(id);
                None
            }
        };
        if let (Some(service), Some(heard)) = (known, heard) {
            self.queue.push_back((service, heard));
        }
        if foreign_work && !ours {
            self.hold_still();
        }
        // What is gone makes no further events; a new container of that name is another one.
        if event.action == Action::Destroy {
            self.ours.remove(&event.id.0);
            self.ours.remove(&event.name);
        }
    }

    fn hold_still(&mut self) {
        let names: Vec<_> = self.machines.keys().cloned().collect();
        for name in names {
            self.queue.push_back((name, Event::Busy));
        }
    }

    /// Somebody who stops a container slowly is at work on the project until it has stopped.
    fn follow_foreign_stops(&mut self, event: &EngineEvent, ours: bool, now: Moment) {
        match &event.action {
            Action::Kill(signal) if !ours && ends(signal) => {
                self.stopping_elsewhere.insert(event.id.clone(), now);
                self.hold_still();
            }
            Action::Die(_) | Action::Stop | Action::Destroy
                if self.stopping_elsewhere.remove(&event.id).is_some() =>
            {
                self.hold_still();
            }
            _ => {}
        }
    }

    /// Called now and then: what is still being stopped elsewhere keeps us still.
    pub(super) fn mind_foreign_stops(&mut self) {
        let now = self.clock.now();
        self.stopping_elsewhere
            .retain(|_, since| now.since(*since) < LONGEST_STOP);
        if !self.stopping_elsewhere.is_empty() {
            self.hold_still();
        }
    }

    pub(super) fn on_call(&mut self, call: Call) {
        let Call { request, replies } = call;
        let refuse = |message: String| {
            let _ = replies.try_send(Reply::Done { ok: false, message });
        };
        match request {
            Request::Status => {
                let _ = replies.try_send(Reply::Status(Box::new(self.snapshot())));
            }
            Request::Sync => {
                let now = self.clock.now();
                self.router.again(now);
                self.waiters.push(Waiter {
                    targets: IndexMap::new(),
                    started: false,
                    hold: Duration::ZERO,
                    deadline: now + SYNC,
                    replies: Some(replies),
                    failures: Vec::new(),
                });
            }
            Request::Scale {
                services,
                hold,
                wait,
            } => {
                if self.dry_run {
                    return refuse("the running `watch` is a dry run and touches nothing".into());
                }
                // The client checks too; whoever else writes to the socket gets no further.
                if let Some((name, count)) = services.iter().find(|(_, n)| !(1..=MOST).contains(*n))
                {
                    return refuse(format!("{name}={count}: expected 1 to {MOST} replicas"));
                }
                for name in services.keys() {
                    if !self.loaded.project.services.contains_key(name) {
                        return refuse(format!("no such service: {name}"));
                    }
                    if !self.machines.contains_key(name) {
                        self.extra.push(name.clone());
                    }
                }
                self.make_machines();
                self.list();
                let now = self.clock.now();
                if wait.is_none() {
                    let _ = replies.try_send(Reply::Done {
                        ok: true,
                        message: "the running `watch` is on it".into(),
                    });
                }
                self.waiters.push(Waiter {
                    targets: services,
                    started: false,
                    hold: hold.0,
                    deadline: now + wait.map_or(Duration::from_secs(600), |w| w.0),
                    replies: wait.is_some().then(|| replies.clone()),
                    failures: Vec::new(),
                });
            }
        }
    }
}

/// Whether a signal asks a process to end. A `kill -9` is over at once and needs no waiting for.
fn ends(signal: &str) -> bool {
    matches!(
        signal.trim_start_matches("SIG"),
        "15" | "TERM" | "2" | "INT" | "3" | "QUIT"
    )
}

/// Containers that another one lives inside of.
fn needed(containers: &[Replica]) -> BTreeSet<ContainerId> {
    let references: Vec<_> = containers.iter().flat_map(|c| &c.refers_to).collect();
    containers
        .iter()
        .filter(|c| {
            references.iter().any(|reference| {
                reference.len() >= 12 && c.id.0.starts_with(reference.as_str())
                    || *reference == &c.name
            })
        })
        .map(|c| c.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::replica;

    #[test]
    fn a_container_that_others_live_in_is_needed_by_id_or_by_name() {
        let mut containers = vec![replica(1), replica(2), replica(3)];
        let first = containers[0].id.0.clone();
        containers[2].refers_to = vec![first, "shop-web-2".into(), "abc".into()];
        let ids: Vec<_> = containers[..2].iter().map(|c| c.id.clone()).collect();
        assert_eq!(needed(&containers).into_iter().collect::<Vec<_>>(), ids);
    }
}
