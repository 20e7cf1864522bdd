//! From effects to calls of the Engine.

use tracing::debug;

use super::{
    super::{
        Message,
        address::{self, Addresses},
        bootstrap::{self, BootstrapContext},
        probe::{LAST_WORDS, Probe},
        replica_ops::{self, CreateContext, NotMade},
    },
    Driver,
};
use crate::{
    engine::{Engine, NewReplica},
    project::{ContainerId, ContainerState, LifecycleHook, Replica, Service},
    proxy::Proxy,
    reconcile::{Effect, Event, ReadinessCheck},
};

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn carry_out(&mut self, service: &str, effects: Vec<Effect>) {
        for effect in &effects {
            if let Effect::Note(note) = effect {
                self.tell(note);
            }
        }
        for effect in effects {
            match effect {
                Effect::Note(_) => {}
                Effect::Decided { input, decision } => {
                    self.meters.decided(service, decision.reason.label());
                    self.persistence
                        .record_decision(&input, &mut self.complaints);
                }
                Effect::WakeAt(moment) => {
                    self.wakes.insert(moment);
                }
                Effect::Probe {
                    replica,
                    gate,
                    min_ready,
                    deadline,
                } => {
                    let port = match &gate {
                        ReadinessCheck::Tcp(port) | ReadinessCheck::Http(port, _) => *port,
                        ReadinessCheck::Healthcheck | ReadinessCheck::Running => 0,
                    };
                    let of = Addresses {
                        own: &replica.addresses,
                        published: &replica.published,
                    };
                    let reach = self.loaded.settings.nginx.reach;
                    let way = address::for_a_look(&self.nginx.location(), reach, of, port);
                    let id = replica.id.clone();
                    let probe = Probe {
                        replica: *replica,
                        gate,
                        way,
                        min_ready,
                        deadline,
                    };
                    let run = probe.run(self.engine.engine(), self.clock, self.tasks.reporter());
                    let task = self.tasks.spawn(run);
                    self.operations.probe(id, task);
                }
                Effect::Route {
                    seq,
                    servers,
                    urgent,
                } => {
                    // At the end too: replicas with less than their share get all of it. It waits for no
                    // disk, because it may take a dead replica out of nginx.
                    if self.passive() {
                        debug!(service, effect = "route", "left undone");
                    } else {
                        self.route(service, seq, &servers, urgent);
                    }
                }
                Effect::CollectLogs { .. } => self.act(service, effect),
                step => self.take_step(service, step),
            }
        }
    }

    /// Takes a step on the Engine.
    pub(super) fn act(&mut self, service: &str, step: Effect) {
        if self.passive() || self.stopping {
            debug!(service, effect = step.word(), "left undone");
            return;
        }
        match step {
            Effect::Create {
                number,
                name,
                like,
                alone,
            } => self.create(service, number, name, like, alone),
            Effect::Found { number } => self.found(service, number),
            Effect::Start { id } => self.start(service, id),
            Effect::Retire { replica } => self.retire(service, *replica),
            Effect::CollectLogs { id, why } => self.collect_logs(service, id, why),
            Effect::Note(_)
            | Effect::Decided { .. }
            | Effect::WakeAt(_)
            | Effect::Probe { .. }
            | Effect::Route { .. } => {}
        }
    }

    fn hooks(
        &self,
        service: &str,
        of: impl Fn(&Service) -> &Vec<LifecycleHook>,
    ) -> Vec<LifecycleHook> {
        self.loaded
            .project
            .services
            .get(service)
            .map(of)
            .cloned()
            .unwrap_or_default()
    }

    fn create(&mut self, service: &str, number: u32, name: String, like: ContainerId, alone: bool) {
        self.operations.begin(name.clone());
        let ours = name.clone();
        self.operations.begin_step();
        let uploads = self
            .loaded
            .project
            .services
            .get(service)
            .map(|s| s.uploads.clone())
            .unwrap_or_default();
        let making = CreateContext {
            new: NewReplica {
                name,
                number,
                uploads,
            },
            like,
            alone,
            post_start: self.hooks(service, |s| &s.post_start),
        };
        let engine = self.engine.engine();
        let starts = self.operations.starts();
        let report = self.tasks.reporter();
        let service = service.to_owned();
        self.tasks.spawn(async move {
            let event = match replica_ops::create(&*engine, &starts, making).await {
                Ok(replica) => Event::Made {
                    number,
                    result: Ok(Box::new(replica)),
                },
                Err(NotMade::Taken) => Event::NameTaken { number },
                Err(NotMade::Failed(why)) => Event::Made {
                    number,
                    result: Err(why),
                },
            };
            let _ = report.send(Message::OursDone(ours)).await;
            let _ = report.send(Message::To(service, Box::new(event))).await;
        });
    }

    fn start(&mut self, service: &str, id: ContainerId) {
        self.operations.begin_step();
        let hooks = self.hooks(service, |s| &s.post_start);
        let engine = self.engine.engine();
        let starts = self.operations.starts();
        self.tasks.report_to(service, async move {
            let _permit = starts.permits.acquire().await;
            let result = replica_ops::start(&*engine, &id, &hooks)
                .await
                .map(Box::new);
            Event::Restarted { id, result }
        });
    }

    /// Makes the first replica of a service that has none.
    fn found(&mut self, service: &str, number: u32) {
        let context = BootstrapContext::new(
            &self.loaded,
            self.files.source(),
            service,
            number,
            self.persistence.template(service),
        );
        let own = context.names();
        for name in &own {
            self.operations.begin(name.clone());
        }
        self.operations.begin_step();
        let engine = self.engine.engine();
        let starts = self.operations.starts();
        let report = self.tasks.reporter();
        self.tasks.report_to(service, async move {
            let result = bootstrap::first(&*engine, &starts, &context).await;
            for name in own {
                let _ = report.send(Message::OursDone(name)).await;
            }
            Event::Founded { result }
        });
    }

    fn collect_logs(&mut self, service: &str, id: ContainerId, why: String) {
        self.operations.end_probe(&id);
        let engine = self.engine.engine();
        self.tasks.report_to(service, async move {
            let log = engine.logs(&id, LAST_WORDS).await.unwrap_or_default();
            Event::GateFailed { id, why, log }
        });
    }

    fn retire(&mut self, service: &str, replica: Replica) {
        self.operations.begin(replica.id.0.clone());
        self.operations.begin_step();
        self.operations.end_probe(&replica.id);
        let pre_stop = if replica.state == ContainerState::Running {
            self.hooks(service, |s| &s.pre_stop)
        } else {
            Vec::new()
        };
        let engine = self.engine.engine();
        let report = self.tasks.reporter();
        let service = service.to_owned();
        let id = replica.id.clone();
        self.tasks.spawn(async move {
            let (result, troubles) = replica_ops::retire(engine, replica, pre_stop).await;
            if !troubles.is_empty() {
                let service = service.clone();
                let _ = report.send(Message::Troubles { service, troubles }).await;
            }
            let event = Event::Retired { id, result };
            let _ = report.send(Message::To(service, Box::new(event))).await;
        });
    }
}
