//! From effects to calls of the engine and the proxy.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::{
    Driver, Goal, Message,
    execute::{self, Making, NotMade},
    probe::Probe,
};
use crate::{
    engine::{Engine, NewReplica},
    project::{ContainerId, Hook, Replica},
    proxy::{Proxy, ProxyError, Published, Server, Upstream, inspect},
    reconcile::{Effect, Event, Gate, RouteServer},
};

/// Writing, testing, reloading and confirming may take this long.
const PUBLISH: Duration = Duration::from_secs(60);
/// A look at all counters of a service may take this long.
const SAMPLE: Duration = Duration::from_secs(15);

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn carry_out(&mut self, service: &str, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Note(note) => self.tell(&note),
                Effect::WakeAt(moment) => {
                    self.wakes.insert(moment);
                }
                Effect::Probe {
                    replica,
                    gate,
                    min_ready,
                    deadline,
                } => {
                    let address = self.reachable(&replica.addresses).map(|ip| {
                        let port = match &gate {
                            Gate::Tcp(port) | Gate::Http(port, _) => *port,
                            Gate::Healthcheck | Gate::Running => 0,
                        };
                        SocketAddr::new(ip, port)
                    });
                    let id = replica.id.clone();
                    let probe = Probe {
                        replica: *replica,
                        gate,
                        address,
                        min_ready,
                        deadline,
                    };
                    let run = probe.run(Arc::clone(&self.engine), self.clock, self.report.clone());
                    let handle = self.tasks.spawn(run);
                    if let Some(before) = self.probes.insert(id, handle) {
                        before.abort();
                    }
                }
                _ if self.stopping || self.passive() => {
                    debug!(service, ?effect, "left undone");
                }
                Effect::Create {
                    number,
                    name,
                    like,
                    alone,
                } => self.create(service, number, name, like, alone),
                Effect::Start { id } => self.start(service, id),
                Effect::Retire { replica } => self.retire(service, *replica),
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
        of: impl Fn(&crate::project::Service) -> &Vec<Hook>,
    ) -> Vec<Hook> {
        self.loaded
            .project
            .services
            .get(service)
            .map(of)
            .cloned()
            .unwrap_or_default()
    }

    fn create(&mut self, service: &str, number: u32, name: String, like: ContainerId, alone: bool) {
        self.ours.insert(name.clone(), None);
        let ours = name.clone();
        self.steps += 1;
        let uploads = self
            .loaded
            .project
            .services
            .get(service)
            .map(|s| s.uploads.clone())
            .unwrap_or_default();
        let making = Making {
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
            let event = match execute::create(&*engine, &starts, making).await {
                Ok(replica) => Event::Made {
                    number,
                    result: Ok(Box::new(replica)),
                },
                Err(NotMade::NameTaken) => Event::NameTaken { number },
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
            let result = execute::start(&*engine, &id, &hooks).await.map(Box::new);
            let event = Event::Restarted { id, result };
            let _ = report.send(Message::To(service, Box::new(event))).await;
        });
    }

    fn retire(&mut self, service: &str, replica: Replica) {
        self.ours.insert(replica.id.0.clone(), None);
        self.steps += 1;
        if let Some(probe) = self.probes.remove(&replica.id) {
            probe.abort();
        }
        let pre_stop = if replica.state == crate::project::State::Running {
            self.hooks(service, |s| &s.pre_stop)
        } else {
            Vec::new()
        };
        let engine = Arc::clone(&self.engine);
        let report = self.report.clone();
        let service = service.to_owned();
        let id = replica.id.clone();
        self.tasks.spawn(async move {
            let (result, troubles) = execute::retire(engine, replica, pre_stop).await;
            if !troubles.is_empty() {
                let service = service.clone();
                let _ = report.send(Message::Troubles { service, troubles }).await;
            }
            let event = Event::Retired { id, result };
            let _ = report.send(Message::To(service, Box::new(event))).await;
        });
    }

    /// An address on a network that nginx shares, else any: from the host all are reachable.
    fn reachable(&self, addresses: &BTreeMap<String, IpAddr>) -> Option<IpAddr> {
        let nginx = self.nginx.borrow();
        let shared = nginx
            .as_ref()
            .and_then(|target| inspect::address_for(addresses, &target.networks));
        shared.or_else(|| addresses.values().next().copied())
    }

    fn route(&mut self, service: &str, seq: u64, servers: &[RouteServer], urgent: bool) {
        let now = self.clock.now();
        match self.upstream(service, servers) {
            Ok(upstream) => self.router.want(seq, upstream, urgent, now),
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
        let nginx = self.nginx.borrow();
        let target = nginx
            .as_ref()
            .ok_or("nginx is not running; start it with `docker compose up -d`")?;
        let apart = |server: &RouteServer| {
            format!(
                "{} shares no network with {}; put both services on one network",
                server.name, target.name
            )
        };
        let mut listed = Vec::new();
        for server in servers {
            match inspect::address_for(&server.addresses, &target.networks) {
                Some(ip) => listed.push(Server {
                    number: server.number,
                    name: server.name.clone(),
                    address: SocketAddr::new(ip, port),
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

    /// Tells the proxy what is due.
    pub(super) fn tell_proxy(&mut self) {
        let Some(proxy) = self.proxy.clone() else {
            return;
        };
        let Some((seqs, upstreams)) = self.router.take(self.clock.now()) else {
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
        result: Result<Published, ProxyError>,
    ) {
        let news = self.router.answered(&seqs, result.is_ok());
        for (service, seq) in news {
            let result = match &result {
                Ok(published) => published
                    .refusal(&service)
                    .map_or(Ok(()), |error| Err(error.to_string())),
                Err(error) => Err(error.to_string()),
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
        let longest = self
            .machines
            .values()
            .map(|m| m.setup().policy.drain.timeout.0)
            .max()
            .unwrap_or_default();
        let report = self.report.clone();
        self.tasks.spawn(async move {
            // After that the machines no longer wait for it.
            let bound = longest + Duration::from_secs(5);
            if let Ok(Ok(())) = timeout(bound, proxy.drained(&published)).await {
                let _ = report.send(Message::Drained { seqs }).await;
            }
        });
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
        self.tasks.spawn(async move {
            let result = engine.list(&project).await;
            let _ = report.send(Message::Listed { taken, result }).await;
        });
    }

    pub(super) fn inspect(&mut self, id: ContainerId) {
        let engine = Arc::clone(&self.engine);
        let report = self.report.clone();
        let taken = self.clock.now();
        self.tasks.spawn(async move {
            let result = engine.inspect(&id.0).await.map(Box::new);
            let _ = report.send(Message::Inspected { taken, id, result }).await;
        });
    }

    pub(super) fn inspect_nginx(&mut self, name: String) {
        self.inspect(ContainerId(name));
    }

    /// Reads the counters of every service whose last reading is done: a service that is slow to
    /// answer holds up no other.
    pub(super) fn sample(&mut self) {
        let idle: Vec<_> = self
            .machines
            .values()
            .filter(|m| m.setup().autoscaled || self.passive())
            .filter(|m| !self.sampling.contains(m.service()))
            .filter(|m| self.goal != Goal::Once || !m.has_decided())
            .map(|m| (m.service().to_owned(), m.running()))
            .collect();
        for (service, replicas) in idle {
            self.sampling.insert(service.clone());
            let engine = Arc::clone(&self.engine);
            let report = self.report.clone();
            self.tasks.spawn(async move {
                let looks = replicas.iter().map(|replica| async {
                    let reading = timeout(SAMPLE, engine.usage(replica)).await;
                    Some((replica.id.clone(), reading.ok()?.ok()?))
                });
                let readings = join_all(looks).await.into_iter().flatten().collect();
                let event = Event::Sampled { readings };
                let _ = report.send(Message::To(service, Box::new(event))).await;
            });
        }
    }
}
