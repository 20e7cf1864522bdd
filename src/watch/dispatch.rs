//! From messages, engine events and requests to events for the machines.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use indexmap::IndexMap;
use tracing::{debug, info, warn};

use super::{
    Claim, Driver, Message,
    pending_requests::PendingRequest,
    service_setup::{self, ManagedNginx},
    warn_once::Topic,
};
use crate::{
    control::{Call, ControlRequest, Reply},
    engine::{ContainerAction, Engine, EngineError, EngineEvent},
    plan::MOST,
    project::{ContainerId, ContainerState, Health, Replica, labels},
    proxy::Proxy,
    reconcile::{Event, IdleDecision},
    units::Timestamp,
};

/// Events of what we did may come this late.
pub(super) const LATE: Duration = Duration::from_secs(5);
/// A container that takes longer than this to stop is no longer waited for.
const LONGEST_STOP: Duration = Duration::from_secs(300);
/// So long a count that nobody waits for is looked after.
const UNWATCHED: Duration = Duration::from_secs(600);
/// The longest that a client of `sync` waits.
pub(super) const SYNC: Duration = Duration::from_secs(60);

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn on_message(&mut self, message: Message) {
        match message {
            Message::To(service, event) => {
                if matches!(
                    *event,
                    Event::Made { .. }
                        | Event::Founded { .. }
                        | Event::NameTaken { .. }
                        | Event::Restarted { .. }
                        | Event::Retired { .. }
                ) {
                    self.steps = self.steps.saturating_sub(1);
                }
                if let Event::Founded {
                    result: Ok(founded),
                } = &*event
                {
                    for why in &founded.troubles {
                        warn!(service, "{why}");
                    }
                }
                // It was stopped while it was being made, so it is not known yet.
                if let Event::Made {
                    result: Ok(made), ..
                } = &*event
                    && made.state == ContainerState::Exited
                    && self.stopped_elsewhere.remove(&made.id).is_some()
                {
                    let stopped = Event::Stopped {
                        id: made.id.clone(),
                    };
                    let _ = self
                        .report
                        .try_send(Message::To(service.clone(), Box::new(stopped)));
                }
                if let Event::Made {
                    result: Ok(made), ..
                } = &*event
                {
                    self.meters.runs(&service, &made.name, self.clock.now());
                }
                if let Event::Sampled { values, .. } = &*event {
                    self.meters.unserved(&service, values.unserved);
                    self.sampling.remove(&service);
                    *self.sampled.entry(service.clone()).or_default() += 1;
                }
                let stale = matches!(*event, Event::Sampled { .. }) && self.stale.remove(&service);
                if self.engine_away.is_some() || stale {
                    return;
                }
                match *event {
                    Event::Sampled { readings, values } => self.gather(service, readings, values),
                    event => self.hand_over(service, event),
                }
            }
            Message::Machine(info) => self.on_machine(info.as_ref()),
            Message::Claimed(Ok(lock)) => self.claim = Claim::Held(lock),
            Message::Claimed(Err(error)) => self.ousted = Some(error),
            Message::Engine(answer) => {
                self.reconnecting = false;
                match answer {
                    // Somebody else acts on the project.
                    Ok(_) if matches!(self.claim, Claim::Due { .. }) => {}
                    Ok(info) => {
                        debug!(version = info.version, "the engine answers");
                        // It is back when the containers are known.
                        self.connect();
                    }
                    Err(error) => self.engine_lost(&error.to_string()),
                }
            }
            Message::Listed {
                taken,
                connection,
                result,
                nginx,
            } => {
                // What was asked for before the engine went says nothing about what is there now.
                if connection != self.connection || self.events.is_none() {
                    return;
                }
                self.listing = false;
                match result {
                    Ok(containers) => {
                        self.listing_came();
                        self.listed = Some(taken);
                        // First, because what it is to be told of comes of the others.
                        if let Some((id, seen)) = nginx {
                            self.inspected(taken, &id, seen);
                        }
                        if self.events.is_some() {
                            self.listed(taken, containers);
                        }
                    }
                    Err(error) if error.is_outage() => self.engine_lost(&error.to_string()),
                    Err(error) => self.listing_failed(&error.to_string()),
                }
            }
            Message::OursDone(name) => {
                let until = self.clock.now() + LATE;
                self.own_operations.insert(name, Some(until));
            }
            Message::Inspected {
                taken,
                connection,
                id,
                result,
            } => {
                if connection == self.connection {
                    self.inspected(taken, &id, result);
                }
            }
            Message::Published { seqs, result } => self.published(seqs, result),
            Message::Drained { seqs } => {
                for (service, seq) in seqs {
                    self.queue.push_back((service, Event::Drained { seq }));
                }
            }
            Message::Way(seen) => self.way_found(&seen),
            Message::Troubles { service, troubles } => {
                for why in troubles {
                    warn!(service, error = why, "stopping anyway");
                }
            }
            Message::Remembered { service, result } => {
                self.steps = self.steps.saturating_sub(1);
                self.remembering.remove(&service);
                if let Err(error) = result {
                    warn!(
                        service,
                        error,
                        "cannot save the configuration of a replica, which is needed when none is left"
                    );
                }
            }
            Message::Current(current) => self.drift.answered(current),
            Message::Reloaded { stamps, result } => self.reloaded(stamps, *result),
        }
    }

    /// A dry run looks at samples and acts on none.
    pub(super) fn hand_over(&mut self, service: String, event: Event) {
        match event {
            Event::Sampled { readings, values } if self.passive() => {
                let now = self.clock.now();
                let Some(machine) = self.machines.get_mut(&service) else {
                    return;
                };
                let Some(considered) = machine.consider(readings, values, now) else {
                    return;
                };
                let reason = considered.decision.reason.label();
                self.meters.decided(&service, reason);
                self.record(&considered.input);
                if self.dry_run && considered.news {
                    let IdleDecision { decision, plan, .. } = considered;
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

    fn listed(&mut self, taken: Timestamp, containers: Vec<Replica>) {
        self.find_nginx(&containers);
        self.around.see(&containers);
        self.check_nginx_routing();
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

    fn inspected(
        &mut self,
        taken: Timestamp,
        id: &ContainerId,
        result: Result<Box<Replica>, EngineError>,
    ) {
        if result.is_ok() {
            self.complaints.settle(Topic::Inspection);
        }
        match result {
            Ok(replica) => {
                if self.look_at_nginx(&replica) && !self.machines.contains_key(&replica.service) {
                    return;
                }
                // An nginx of another project may be of a service that has a name like one of ours.
                let project = replica.labels.get(labels::PROJECT);
                let ours = project == Some(&self.loaded.project.name);
                if ours && replica.is_replica() {
                    let service = replica.service.clone();
                    let event = Event::Observed { replica, taken };
                    self.queue.push_back((service, event));
                }
            }
            Err(EngineError::NotFound { .. }) => {
                self.nginx_is_gone(&id.0);
                // The event of its removal tells it, and so does a listing, by its label. One answer alone
                // must not have another one made in its place.
                if self.service_of(id).is_some() {
                    self.list();
                }
            }
            Err(error) if error.is_outage() => self.engine_lost(&error.to_string()),
            Err(error) => {
                // Several at a time fail alike; the listings make up for it.
                if self.complaints.about(Topic::Inspection).is_none() {
                    warn!(%error, "cannot look at a container");
                }
                self.complaints.raise(Topic::Inspection, &error.to_string());
            }
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
        self.own_operations
            .retain(|_, until| until.is_none_or(|until| until > now));
        // A name is that of one that is being made: whoever ends that is somebody else.
        let ends = matches!(
            event.action,
            ContainerAction::Kill(_) | ContainerAction::Die(_) | ContainerAction::Stop
        );
        let ours = self.own_operations.contains_key(&event.id.0)
            || !ends && self.own_operations.contains_key(&event.name);
        let asked = self.follow_foreign_stops(event, ours, now);
        let foreign_work = matches!(
            event.action,
            ContainerAction::Create | ContainerAction::Rename | ContainerAction::Stop
        );
        // The network's own events name containers of other projects too.
        let known = self.service_of(&event.id);
        if event.action == ContainerAction::Network && known.is_none() {
            return;
        }
        self.heard = Some(now);
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
                if self.is_in_the_making(event) =>
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
        // What is gone makes no further events; a new container of that name is another one.
        if event.action == ContainerAction::Destroy {
            self.own_operations.remove(&event.id.0);
            self.own_operations.remove(&event.name);
        }
    }

    /// Whether one of our own steps is at work on it.
    fn is_in_the_making(&self, event: &EngineEvent) -> bool {
        [&event.id.0, &event.name]
            .into_iter()
            .any(|key| self.own_operations.get(key) == Some(&None))
    }

    fn hold_still(&mut self) {
        let names: Vec<_> = self.machines.keys().cloned().collect();
        for name in names {
            self.queue.push_back((name, Event::Busy));
        }
    }

    /// Somebody who stops a container slowly is at work on the project until it has stopped. Says
    /// whether this event is the end of such a stop.
    fn follow_foreign_stops(&mut self, event: &EngineEvent, ours: bool, now: Timestamp) -> bool {
        match &event.action {
            ContainerAction::Kill(signal) if !ours && ends(signal) => {
                self.stopping_elsewhere.insert(event.id.clone(), now);
                self.hold_still();
                false
            }
            // One that serves has died then, whoever did it; one that comes up has not failed.
            ContainerAction::Kill(signal)
                if !ours
                    && kills(signal)
                    && self.machines.values().any(|m| m.is_coming_up(&event.id)) =>
            {
                self.stopping_elsewhere.insert(event.id.clone(), now);
                false
            }
            ContainerAction::Die(_) | ContainerAction::Stop | ContainerAction::Destroy
                if self.stopping_elsewhere.remove(&event.id).is_some() =>
            {
                self.stopped_elsewhere.insert(event.id.clone(), now);
                self.hold_still();
                true
            }
            _ => false,
        }
    }

    /// Called now and then: what is still being stopped elsewhere keeps us still.
    pub(super) fn check_foreign_stops(&mut self) {
        let now = self.clock.now();
        let lately = |_: &ContainerId, since: &mut Timestamp| now.since(*since) < LONGEST_STOP;
        self.stopping_elsewhere.retain(lately);
        self.stopped_elsewhere.retain(lately);
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
            ControlRequest::Status => {
                let _ = replies.try_send(Reply::Status(Box::new(self.snapshot())));
            }
            ControlRequest::Sync => {
                let now = self.clock.now();
                self.router.again(now);
                self.waiters.push(PendingRequest {
                    targets: IndexMap::new(),
                    started: false,
                    hold: Duration::ZERO,
                    allowed: SYNC,
                    deadline: now + SYNC,
                    replies: Some(replies),
                    failures: Vec::new(),
                });
            }
            ControlRequest::Pause {
                services,
                directions,
                span,
            } => {
                let answer = self.pause(&services, directions, span);
                let _ = replies.try_send(answer);
            }
            ControlRequest::Resume { services } => {
                let _ = replies.try_send(self.resume(&services));
            }
            ControlRequest::Scale {
                services,
                hold,
                wait,
            } => {
                if self.dry_run {
                    return refuse("the running `watch` is a dry run and changes nothing".into());
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
                self.supersede(&services);
                self.make_machines();
                self.list();
                let now = self.clock.now();
                if wait.is_none() {
                    let _ = replies.try_send(Reply::Done {
                        ok: true,
                        message: "the running `watch` is on it".into(),
                    });
                }
                let allowed = wait.map_or(UNWATCHED, |wait| wait.0);
                self.waiters.push(PendingRequest {
                    targets: services,
                    started: false,
                    hold: hold.0,
                    allowed,
                    deadline: now + allowed,
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

fn kills(signal: &str) -> bool {
    matches!(signal.trim_start_matches("SIG"), "9" | "KILL")
}

/// Containers that another one lives inside of.
pub(super) fn needed(containers: &[Replica]) -> BTreeSet<ContainerId> {
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
