//! From messages to events for the machines.

use std::collections::BTreeMap;

use tracing::{debug, info, warn};

use super::{
    super::{Message, container_refs, warn_once::Topic},
    Driver,
};
use crate::{
    engine::{Engine, EngineError},
    project::{ContainerId, ContainerState, Replica, labels},
    proxy::Proxy,
    reconcile::{Event, IdleDecision},
    units::Timestamp,
};

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn on_message(&mut self, message: Message) {
        match message {
            Message::To(service, event) => self.on_event(service, *event),
            Message::Machine(info) => self.host.answered(info.as_ref()),
            Message::Claimed(result) => self.persistence.claimed(result),
            Message::Engine(answer) => {
                self.engine.attempted();
                match answer {
                    // Somebody else acts on the project.
                    Ok(_) if self.persistence.claim_due().is_some() => {}
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
                if !self.engine.listing_came(connection) {
                    return;
                }
                match result {
                    Ok(containers) => {
                        self.listing_came(taken);
                        // First, because what it is to be told of comes of the others.
                        if let Some((id, seen)) = nginx {
                            self.inspected(taken, &id, seen);
                        }
                        if self.engine.is_connected() {
                            self.listed(taken, containers);
                        }
                    }
                    Err(error) if error.is_outage() => self.engine_lost(&error.to_string()),
                    Err(error) => self.listing_failed(&error.to_string()),
                }
            }
            Message::OursDone(name) => {
                self.operations.finish(name, self.clock.now());
            }
            Message::Inspected {
                taken,
                connection,
                id,
                result,
            } => {
                if self.engine.is_current(connection) {
                    self.inspected(taken, &id, result);
                }
            }
            Message::Published { seqs, result } => self.published(seqs, result),
            Message::Drained { seqs } => {
                for (service, seq) in seqs {
                    self.queue.push_back((service, Event::Drained { seq }));
                }
            }
            Message::Way(seen) => self.preflight_ended(&seen),
            Message::Troubles { service, troubles } => {
                for why in troubles {
                    warn!(service, error = why, "stopping anyway");
                }
            }
            Message::Remembered { service, result } => {
                self.operations.end_step();
                self.persistence.end_to_remember(&service);
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

    /// An event for one service's machine, from a task of this run.
    fn on_event(&mut self, service: String, event: Event) {
        if matches!(
            event,
            Event::Made { .. }
                | Event::Founded { .. }
                | Event::NameTaken { .. }
                | Event::Restarted { .. }
                | Event::Retired { .. }
        ) {
            self.operations.end_step();
        }
        let mut stale = false;
        match &event {
            Event::Founded {
                result: Ok(founded),
            } => {
                for why in &founded.troubles {
                    warn!(service, "{why}");
                }
            }
            Event::Made {
                result: Ok(made), ..
            } => {
                // It was stopped while it was being made, so it is not known yet.
                if made.state == ContainerState::Exited && self.operations.was_stopped(&made.id) {
                    let stopped = Event::Stopped {
                        id: made.id.clone(),
                    };
                    let message = Message::To(service.clone(), Box::new(stopped));
                    let _ = self.tasks.reporter().try_send(message);
                }
                self.meters.runs(&service, &made.name, self.clock.now());
            }
            Event::Sampled { values, .. } => {
                self.meters.unserved(&service, values.unserved);
                stale = self.sampling.end(&service);
            }
            _ => {}
        }
        if self.engine.is_away() || stale {
            return;
        }
        match event {
            Event::Sampled { readings, values } => {
                let now = self.clock.now();
                self.sampling.gather(service, (readings, values), now);
            }
            event => self.hand_over(service, event),
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
                self.persistence
                    .record_decision(&considered.input, &mut self.complaints);
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
        self.custom.see(&containers);
        self.preflight_if_due();
        let needed = container_refs::needed(&containers);
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
        self.sampling.request();
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

    pub(super) fn service_of(&self, id: &ContainerId) -> Option<String> {
        self.machines
            .iter()
            .find(|(_, machine)| machine.knows(id))
            .map(|(name, _)| name.clone())
    }
}
