//! From the routes that the machines want to nginx, and back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::timeout;
use tracing::{debug, warn};

use super::{
    super::{
        Message,
        address::{self, Addresses},
        goal::RunGoal,
        nginx_target::NginxLocation,
        service_setup,
        warn_once::Topic,
    },
    Driver,
};
use crate::{
    engine::Engine,
    proxy::{
        Proxy, ProxyError, PublishResult, Upstream, UpstreamServer, nginx::NginxAccess, render,
    },
    reconcile::{Event, RouteServer, ServiceMachine},
};

/// Writing, testing, reloading and confirming may take this long.
const PUBLISH: Duration = Duration::from_secs(60);

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn route(&mut self, service: &str, seq: u64, servers: &[RouteServer], urgent: bool) {
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
        let nginx = self.nginx.location();
        let name = nginx
            .names()
            .ok_or_else(|| self.nginx.absence(service_setup::nginx_place(&self.loaded)))?;
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

    /// Whether nginx is being restarted, so that another try is worth while.
    fn nginx_may_be_back(&self) -> bool {
        self.goal == RunGoal::Watch && self.nginx.may_be_back(self.clock.now())
    }

    /// Tells the proxy what is due.
    pub(super) fn tell_proxy(&mut self) {
        let Some(proxy) = self.nginx.proxy() else {
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
        self.tasks.report(async move {
            let result = timeout(PUBLISH, proxy.publish(&upstreams))
                .await
                .unwrap_or_else(|_| {
                    Err(ProxyError::Unreachable {
                        why: format!("no answer within {PUBLISH:?}"),
                    })
                });
            Message::Published { seqs, result }
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
        self.nginx.answered(&result, self.clock.now());
        if matches!(result, Err(ProxyError::NotRunning { .. })) && self.nginx_may_be_back() {
            let later = |(service, _)| (service, Event::RouteLater);
            self.queue.extend(news.into_iter().map(later));
            return;
        }
        for (service, seq) in news {
            let refusal = result.as_ref().map(|published| published.refusal(&service));
            let unseen = match &refusal {
                Ok(refusal) => refusal.map(|refusal| &refusal.error),
                Err(error) => Some(*error),
            };
            if matches!(unseen, Some(ProxyError::Unseen { .. })) {
                self.preflight_is_outdated(&service);
            }
            let result = match refusal {
                Ok(None) => Ok(()),
                Ok(Some(refusal)) => {
                    if refusal.removed {
                        let event = Event::TakenOut { seq };
                        self.queue.push_back((service.clone(), event));
                    }
                    Err(self.preflight.in_words(&service, &refusal.error))
                }
                // Of our own making.
                Err(error @ (ProxyError::Unwritable { .. } | ProxyError::Unusable { .. })) => {
                    Err(error.to_string())
                }
                Err(error) => {
                    let crash = self.nginx.crash();
                    Err(crash.unwrap_or_else(|| self.preflight.in_words(&service, error)))
                }
            };
            self.queue
                .push_back((service, Event::Routed { seq, result }));
        }
        let (Ok(published), Some(proxy)) = (result, self.nginx.proxy()) else {
            return;
        };
        self.nginx.published(&published);
        debug!(changed = ?published.changed, reloaded = published.reloaded, "nginx is in step");
        self.check_http_level(&published);
        self.load
            .refused(proxy.nginx().and_then(NginxAccess::log_refused));
        let longest = self
            .machines
            .values()
            .map(|m| m.setup().policy.drain.timeout.0)
            .max()
            .unwrap_or_default();
        let report = self.tasks.reporter();
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
}
