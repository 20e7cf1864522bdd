//! From effects to calls of the engine and the proxy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{
    Driver, Message, RunGoal, access_log_metrics,
    address::{self, Addresses},
    custom_metrics::{Awaited, Patience},
    nginx_target::NginxLocation,
    probe::{LAST_WORDS, Probe},
    replica_ops::{self, CreateContext, NotMade},
    service_setup,
    warn_once::Topic,
};
use crate::{
    engine::{Engine, NewReplica},
    project::{ContainerId, LifecycleHook, Replica},
    proxy::{
        Proxy, ProxyError, PublishResult, Upstream, UpstreamServer, nginx::NginxAccess, render,
    },
    reconcile::{Effect, Event, ReadinessCheck, RouteServer, ServiceMachine},
};

/// An nginx that runs again within this time is restarted, not down.
const RESTART: Duration = Duration::from_secs(3);
/// Writing, testing, reloading and confirming may take this long.
const PUBLISH: Duration = Duration::from_secs(60);
/// A look at all counters of a service may take this long.
const SAMPLE: Duration = Duration::from_secs(15);

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn carry_out(&mut self, service: &str, effects: Vec<Effect>) {
        for effect in &effects {
            if let Effect::Note(note) = effect {
                self.tell(note);
            }
        }
        // What was decided is on disk before its first step.
        let acts = |effect: &Effect| {
            !matches!(
                effect,
                Effect::Note(_) | Effect::WakeAt(_) | Effect::Decided { .. }
            )
        };
        if effects.iter().any(acts) && std::mem::take(&mut self.dirty) {
            self.remember();
        }
        for effect in effects {
            // Replicas with less than their share get all of it before the end.
            let at_the_end = matches!(effect, Effect::Route { .. });
            match effect {
                Effect::Note(_) => {}
                Effect::Decided { input, decision } => {
                    self.meters.decided(service, decision.reason.label());
                    self.record(&input);
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
                    let way = address::for_a_look(&self.nginx.borrow(), reach, of, port);
                    let id = replica.id.clone();
                    let probe = Probe {
                        replica: *replica,
                        gate,
                        way,
                        min_ready,
                        deadline,
                    };
                    let run = probe.run(Arc::clone(&self.engine), self.clock, self.report.clone());
                    let handle = self.tasks.spawn(run);
                    if let Some(before) = self.probes.insert(id, handle) {
                        before.abort();
                    }
                }
                _ if self.passive() || self.stopping && !at_the_end => {
                    debug!(service, effect = effect.word(), "left undone");
                }
                Effect::Create {
                    number,
                    name,
                    like,
                    alone,
                } => self.create(service, number, name, like, alone),
                Effect::Found { number } => self.found(service, number),
                Effect::Start { id } => self.start(service, id),
                Effect::Retire { replica } => self.retire(service, *replica),
                Effect::CollectLogs { id, why } => self.hear_last_words(service, id, why),
                Effect::Route {
                    seq,
                    servers,
                    urgent,
                } => self.route(service, seq, &servers, urgent),
            }
        }
    }

    fn hooks(
        &self,
        service: &str,
        of: impl Fn(&crate::project::Service) -> &Vec<LifecycleHook>,
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
        self.own_operations.insert(name.clone(), None);
        let ours = name.clone();
        self.steps += 1;
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
        let engine = Arc::clone(&self.engine);
        let starts = Arc::clone(&self.starts);
        let report = self.report.clone();
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
        self.steps += 1;
        let hooks = self.hooks(service, |s| &s.post_start);
        let engine = Arc::clone(&self.engine);
        let starts = Arc::clone(&self.starts);
        let report = self.report.clone();
        let service = service.to_owned();
        self.tasks.spawn(async move {
            let _permit = starts.permits.acquire().await;
            let result = replica_ops::start(&*engine, &id, &hooks)
                .await
                .map(Box::new);
            let event = Event::Restarted { id, result };
            let _ = report.send(Message::To(service, Box::new(event))).await;
        });
    }

    fn hear_last_words(&mut self, service: &str, id: ContainerId, why: String) {
        if let Some(probe) = self.probes.remove(&id) {
            probe.abort();
        }
        let engine = Arc::clone(&self.engine);
        let report = self.report.clone();
        let service = service.to_owned();
        self.tasks.spawn(async move {
            let log = engine.logs(&id, LAST_WORDS).await.unwrap_or_default();
            let event = Event::GateFailed { id, why, log };
            let _ = report.send(Message::To(service, Box::new(event))).await;
        });
    }

    fn retire(&mut self, service: &str, replica: Replica) {
        self.own_operations.insert(replica.id.0.clone(), None);
        self.steps += 1;
        if let Some(probe) = self.probes.remove(&replica.id) {
            probe.abort();
        }
        let pre_stop = if replica.state == crate::project::ContainerState::Running {
            self.hooks(service, |s| &s.pre_stop)
        } else {
            Vec::new()
        };
        let engine = Arc::clone(&self.engine);
        let report = self.report.clone();
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

    fn route(&mut self, service: &str, seq: u64, servers: &[RouteServer], urgent: bool) {
        let now = self.clock.now();
        match self.upstream(service, servers) {
            Ok(upstream) => self.router.want(seq, upstream, urgent, now),
            Err(_) if self.nginx_may_be_back() => {
                self.queue
                    .push_back((service.to_owned(), Event::RouteLater));
            }
            Err(why) => {
                let event = Event::Routed {
                    seq,
                    result: Err(why),
                };
                self.queue.push_back((service.to_owned(), event));
            }
        }
    }

    fn upstream(&self, service: &str, servers: &[RouteServer]) -> Result<Upstream, String> {
        let machine = self
            .machines
            .get(service)
            .ok_or_else(|| format!("{service} is not managed"))?;
        let port = machine
            .setup()
            .port
            .ok_or_else(|| format!("{service} has no port"))?;
        if let Some(why) = &machine.setup().unroutable {
            return Err(why.clone());
        }
        let nginx = self.nginx.borrow();
        let name = nginx.names().ok_or_else(|| self.no_nginx(&nginx))?;
        let apart = |server: &RouteServer| {
            let server = &server.name;
            if *nginx == NginxLocation::Host {
                format!(
                    "nginx on this host cannot reach {server}: there is no bridge of this host to its \
                     network, and port {port} is not published; give {service} `ports: \
                     [\"127.0.0.1::{port}\"]`"
                )
            } else {
                format!("{server} shares no network with {name}; put both services on one network")
            }
        };
        let mut listed = Vec::new();
        for server in servers {
            let of = Addresses {
                own: &server.addresses,
                published: &server.published,
            };
            match address::for_nginx(&nginx, self.loaded.settings.nginx.reach, of, port) {
                Some(way) => listed.push(UpstreamServer {
                    number: server.number,
                    name: server.name.clone(),
                    address: way.address,
                    weight: server.weight,
                }),
                // One that nginx cannot reach must not keep the others from being right.
                None if servers.len() > 1 => warn!(service, "{}", apart(server)),
                None => return Err(apart(server)),
            }
        }
        Ok(Upstream {
            service: service.to_owned(),
            balance: machine.setup().policy.balance.clone(),
            servers: listed,
        })
    }

    /// Whether nginx, of which it is certain that it does not run, did so a moment ago: it may be
    /// restarted just now, and what a look finds between two starts is chance.
    fn nginx_may_be_back(&self) -> bool {
        let away = self.nginx_missed.map(|at| self.clock.now().since(at));
        matches!(self.goal, RunGoal::Watch)
            && away.is_some_and(|away| away < RESTART)
            && self.crashes.why(&self.nginx.borrow()).is_none()
    }

    /// Why nginx can be told nothing, and what to type.
    fn no_nginx(&self, whereabouts: &NginxLocation) -> String {
        if let Some(why) = self.crashes.why(whereabouts) {
            return why;
        }
        match service_setup::nginx_place(&self.loaded) {
            Some(place) if *whereabouts != NginxLocation::Unknown => {
                format!("nginx is not running; start it with `{}`", place.start())
            }
            _ => "it is unknown whether nginx runs".to_owned(),
        }
    }

    /// Tells the proxy what is due.
    pub(super) fn tell_proxy(&mut self) {
        let Some(proxy) = self.proxy.clone() else {
            return;
        };
        let now = self.clock.now();
        let growing = self.machines.values().any(ServiceMachine::is_growing);
        let is_there = |upstreams: &[Upstream]| proxy.is_as_written(upstreams);
        if self.router.put_off_a_check(growing, now, is_there) {
            let proxy = Arc::clone(&proxy);
            self.tasks
                .spawn(async move { timeout(PUBLISH, proxy.prepare()).await.unwrap_or_default() });
        }
        let Some((seqs, upstreams)) = self.router.take(now) else {
            return;
        };
        let report = self.report.clone();
        self.tasks.spawn(async move {
            let result = timeout(PUBLISH, proxy.publish(&upstreams))
                .await
                .unwrap_or_else(|_| {
                    Err(ProxyError::Unreachable {
                        why: format!("no answer within {PUBLISH:?}"),
                    })
                });
            let _ = report.send(Message::Published { seqs, result }).await;
        });
    }

    pub(super) fn published(
        &mut self,
        seqs: BTreeMap<String, u64>,
        result: Result<PublishResult, ProxyError>,
    ) {
        let news = self.router.answered(&seqs, result.is_ok());
        match &result {
            Ok(published) if !published.refused.is_empty() => self.meters.reloaded(false),
            Ok(published) if published.reloaded => self.meters.reloaded(true),
            // Nothing was to be done, or there is nobody to do it.
            Ok(_) | Err(ProxyError::NotRunning { .. }) => {}
            Err(_) => self.meters.reloaded(false),
        }
        match &result {
            Ok(_) => self.nginx_missed = None,
            Err(ProxyError::NotRunning { .. }) => {
                self.nginx_missed.get_or_insert(self.clock.now());
                if self.nginx_may_be_back() {
                    let later = |(service, _)| (service, Event::RouteLater);
                    self.queue.extend(news.into_iter().map(later));
                    return;
                }
            }
            Err(_) => {}
        }
        for (service, seq) in news {
            let refusal = result.as_ref().map(|published| published.refusal(&service));
            let unseen = match &refusal {
                Ok(refusal) => refusal.map(|refusal| &refusal.error),
                Err(error) => Some(*error),
            };
            if matches!(unseen, Some(ProxyError::Unseen { .. })) {
                self.way_is_lost(&service);
            }
            let result = match refusal {
                Ok(None) => Ok(()),
                Ok(Some(refusal)) => {
                    if refusal.removed {
                        let event = Event::TakenOut { seq };
                        self.queue.push_back((service.clone(), event));
                    }
                    Err(self.in_words_of_the_way(&service, &refusal.error))
                }
                // Of our own making.
                Err(error @ (ProxyError::Unwritable { .. } | ProxyError::Unusable { .. })) => {
                    Err(error.to_string())
                }
                Err(error) => {
                    let crash = self.crashes.why(&self.nginx.borrow());
                    Err(crash.unwrap_or_else(|| self.in_words_of_the_way(&service, error)))
                }
            };
            self.queue
                .push_back((service, Event::Routed { seq, result }));
        }
        let (Ok(published), Some(proxy)) = (result, self.proxy.clone()) else {
            return;
        };
        self.changed.extend(published.changed.iter().cloned());
        debug!(changed = ?published.changed, reloaded = published.reloaded, "nginx is in step");
        self.trouble = None;
        self.check_http_level(&published);
        if let Some(monitor) = &mut self.monitor {
            monitor.refused = proxy.nginx().and_then(NginxAccess::log_refused);
        }
        let longest = self
            .machines
            .values()
            .map(|m| m.setup().policy.drain.timeout.0)
            .max()
            .unwrap_or_default();
        let report = self.report.clone();
        // What nginx may still send to is not drained by the end of its old workers.
        let mut seqs = seqs;
        seqs.retain(|service, _| published.refusal(service).is_none_or(|r| r.removed));
        self.tasks.spawn(async move {
            // After that the machines no longer wait for it.
            let bound = longest + Duration::from_secs(5);
            if let Ok(Ok(())) = timeout(bound, proxy.drained(&published)).await {
                let _ = report.send(Message::Drained { seqs }).await;
            }
        });
    }

    /// Tells why nginx lacks what belongs to no service, which no service would tell.
    fn check_http_level(&mut self, published: &PublishResult) {
        match published.refusal(render::HTTP) {
            Some(refusal) => {
                let why = refusal.error.to_string();
                if self.complaints.raise(Topic::HttpLevel, &why) {
                    warn!(
                        "{why}; requests go where they should, but nginx lacks its settings at http level: a \
                         reload may lose a request on an idle connection, and load is not read from its log"
                    );
                }
            }
            None => {
                self.complaints.settle(Topic::HttpLevel);
            }
        }
    }

    /// Lists the project's containers, one listing at a time.
    pub(super) fn list(&mut self) {
        if std::mem::replace(&mut self.listing, true) {
            return;
        }
        let engine = Arc::clone(&self.engine);
        let report = self.report.clone();
        let project = self.loaded.project.name.clone();
        let taken = self.clock.now();
        let connection = self.connection;
        let foreign = self.foreign_nginx();
        self.tasks.spawn(async move {
            let look = async {
                let id = foreign?;
                let seen = engine.inspect(&id.0).await.map(Box::new);
                Some((id, seen))
            };
            let (result, nginx) = tokio::join!(engine.list(&project), look);
            let _ = report
                .send(Message::Listed {
                    taken,
                    connection,
                    result,
                    nginx,
                })
                .await;
        });
    }

    pub(super) fn inspect(&mut self, id: ContainerId) {
        let engine = Arc::clone(&self.engine);
        let report = self.report.clone();
        let taken = self.clock.now();
        let connection = self.connection;
        self.tasks.spawn(async move {
            let result = engine.inspect(&id.0).await.map(Box::new);
            let _ = report
                .send(Message::Inspected {
                    taken,
                    connection,
                    id,
                    result,
                })
                .await;
        });
    }

    /// Begins to read a service's custom metrics.
    fn begin_readings(&mut self, of: &str, replicas: &[Replica]) -> Awaited {
        let patience = match self.goal {
            RunGoal::Look | RunGoal::Once => Patience::Once,
            _ => Patience::Interval(self.loaded.settings.interval.0),
        };
        self.around.nginx = self.nginx.borrow().clone();
        // By hand, load decides nothing: nobody's commands are run for that.
        let by_load = !matches!(self.goal, RunGoal::Scale { .. } | RunGoal::Sync);
        let machine = self.machines.get(of).filter(|_| by_load);
        let policy = machine.map(|machine| &machine.setup().policy);
        let known = self.shelves.entry(of.to_owned()).or_default();
        let to = (&self.engine, &mut self.tasks);
        known.begin(policy, replicas, &self.around, patience, to)
    }

    /// Reads the counters and custom metrics of every service whose last reading is done: a service that is slow to
    /// answer holds up no other.
    pub(super) fn sample(&mut self) {
        // Neither a count by hand nor what nginx lists depends on load.
        if matches!(self.goal, RunGoal::Scale { .. } | RunGoal::Sync) {
            return;
        }
        // A run that decides once waits for what nginx's configuration hides.
        if self.goal == RunGoal::Once && self.monitor.is_some() && self.way_is_looked_at {
            return;
        }
        let idle: Vec<_> = self
            .machines
            .values()
            .filter(|m| m.setup().autoscaled || self.passive())
            .filter(|m| !self.sampling.contains(m.service()))
            .filter(|m| self.goal != RunGoal::Once || !m.has_decided())
            .map(|m| (m.service().to_owned(), m.running()))
            .collect();
        let routes = self.routes();
        for (service, replicas) in idle {
            self.sampling.insert(service.clone());
            let custom = self.begin_readings(&service, &replicas);
            let log = routes.as_ref();
            let log = log.and_then(|routes| self.ask_the_log(&service, &replicas, routes));
            let told = self.told_values(&service);
            let proxy = self.proxy.clone();
            let engine = Arc::clone(&self.engine);
            let report = self.report.clone();
            self.tasks.spawn(async move {
                let looks = replicas.iter().map(|replica| async {
                    let reading = timeout(SAMPLE, engine.usage(replica)).await;
                    Some((replica.id.clone(), reading.ok()?.ok()?))
                });
                let heard = async {
                    match log {
                        Some(question) => question.values(proxy).await,
                        None => told,
                    }
                };
                let (readings, values, heard) =
                    tokio::join!(join_all(looks), custom.values(), heard);
                let values = access_log_metrics::both(values, heard);
                let readings = readings.into_iter().flatten().collect();
                let event = Event::Sampled { readings, values };
                let _ = report.send(Message::To(service, Box::new(event))).await;
            });
        }
    }
}
