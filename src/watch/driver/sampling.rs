//! Reading counters and metrics of all services, and letting them decide by those together.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    super::{
        access_log_metrics::{self, LoadQuery, QueryContext, RequestRoutes, SharedLogReader},
        address::{self, Addresses},
        custom_metrics::{Awaited, Patience},
        goal::RunGoal,
        host_capacity::Left,
        service_setup,
    },
    Driver,
};
use crate::{
    decide::{self, HostCapacity},
    engine::Engine,
    project::Replica,
    proxy::Proxy,
    reconcile::{Event, ServiceMachine},
    traffic::RoutedReplica,
    units::Bytes,
};

/// A look at all counters of a service may take this long.
const SAMPLE: Duration = Duration::from_secs(15);

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Follows the log that the settings name.
    pub(super) fn follow_log(&mut self) {
        let log = service_setup::log(&self.loaded).map(|(path, _)| path);
        // The machines hear of another policy later.
        self.load.follow(log, self.loaded.policies.values());
    }

    /// Begins to read a service's custom metrics.
    fn begin_readings(&mut self, of: &str, replicas: &[Replica]) -> Awaited {
        let patience = match self.goal {
            RunGoal::Look | RunGoal::Once => Patience::Once,
            _ => Patience::Interval(self.loaded.settings.interval.0),
        };
        // By hand, load decides nothing: nobody's commands are run for that.
        let by_load = !matches!(self.goal, RunGoal::Scale { .. } | RunGoal::Sync);
        let machine = self.machines.get(of).filter(|_| by_load);
        let policy = machine.map(|machine| &machine.setup().policy);
        let nginx = self.nginx.location();
        let to = (&self.engine.engine(), self.tasks.set());
        self.custom
            .begin(of, policy, replicas, &nginx, patience, to)
    }

    /// Reads the counters and custom metrics of every service whose last reading is done: a service that is slow to
    /// answer holds up no other.
    pub(super) fn sample(&mut self) {
        // Neither a count by hand nor what nginx lists depends on load.
        if matches!(self.goal, RunGoal::Scale { .. } | RunGoal::Sync) {
            return;
        }
        // A run that decides once waits for what nginx's configuration hides.
        if self.goal == RunGoal::Once && self.load.reads_a_log() && self.preflight.is_running() {
            return;
        }
        let idle: Vec<_> = self
            .machines
            .values()
            .filter(|m| m.setup().autoscaled || self.passive())
            .filter(|m| !self.sampling.is_under_way(m.service()))
            .filter(|m| self.goal != RunGoal::Once || !m.has_decided())
            .map(|m| (m.service().to_owned(), m.running()))
            .collect();
        let routes = self.routes();
        for (service, replicas) in idle {
            self.sampling.begin(&service);
            let custom = self.begin_readings(&service, &replicas);
            let log = routes.as_ref();
            let log = log.and_then(|routes| self.load_query(&service, &replicas, routes));
            let machine = self.machines.get(&service);
            let told = machine.map(|m| self.load.told(&service, &m.setup().policy));
            let told = told.unwrap_or_default();
            let proxy = self.nginx.proxy();
            let engine = self.engine.engine();
            self.tasks.report_to(&service, async move {
                let looks = replicas.iter().map(|replica| async {
                    let reading = timeout(SAMPLE, engine.usage(replica)).await;
                    Some((replica.id.clone(), reading.ok()?.ok()?))
                });
                let heard = async {
                    match log {
                        Some((reader, query)) => reader.values(query, proxy).await,
                        None => told,
                    }
                };
                let (readings, values, heard) =
                    tokio::join!(join_all(looks), custom.values(), heard);
                let values = access_log_metrics::both(values, heard);
                let readings = readings.into_iter().flatten().collect();
                Event::Sampled { readings, values }
            });
        }
    }

    /// Where requests go now; `None` where no log is read.
    fn routes(&self) -> Option<Arc<RequestRoutes>> {
        if !self.load.reads_a_log() {
            return None;
        }
        let nginx = self.nginx.location();
        let reach = self.loaded.settings.nginx.reach;
        let mut all = RequestRoutes::default();
        let routed = self.machines.values().filter(|m| m.setup().routed);
        for machine in routed {
            all.services.push(machine.service().to_owned());
            let Some(port) = machine.setup().port else {
                continue;
            };
            for replica in machine.running() {
                let of = Addresses {
                    own: &replica.addresses,
                    published: &replica.published,
                };
                if let Some(way) = address::for_nginx(&nginx, reach, of, port) {
                    all.servers.push(RoutedReplica {
                        address: way.address,
                        service: machine.service().to_owned(),
                        replica: replica.name.clone(),
                    });
                }
            }
        }
        Some(Arc::new(all))
    }

    /// The question to the log for a service; `None` where there is none.
    fn load_query(
        &self,
        service: &str,
        replicas: &[Replica],
        routes: &Arc<RequestRoutes>,
    ) -> Option<(SharedLogReader, LoadQuery)> {
        let machine = self.machines.get(service)?;
        if !machine.setup().routed {
            return None;
        }
        let nginx = self.nginx.location();
        let logs = self.loaded.settings.nginx.logs.as_ref();
        let context = QueryContext {
            runs: nginx.names().is_some(),
            unseen: !self.passive() && !self.preflight.is_known(),
            status: logs
                .and_then(|logs| logs.stub_status.clone())
                .filter(|_| nginx.is_one()),
            acts: !self.passive() && matches!(self.goal, RunGoal::Watch | RunGoal::Once),
            wall: self.clock.wall_millis(),
        };
        let of = (service, &machine.setup().policy);
        self.load.query(of, replicas, routes, context)
    }

    /// Lets the services decide whose readings are there, once it is time.
    pub(super) fn decide_together(&mut self) {
        let now = self.clock.now();
        if !self.sampling.is_complete(now) {
            return;
        }
        if !self.host.is_known(now, &self.engine, &mut self.tasks) {
            self.sampling.put_off(now);
            return;
        }
        // A run that decides once has no look of before to hold the cores against.
        if self.goal == RunGoal::Once
            && self.loaded.settings.host.reserve_cpu.is_some()
            && self.host.lacks_cores(now)
        {
            self.sampling.put_off(now);
            return;
        }
        let gathered = self.sampling.take();
        let promised = self.machines.values().map(ServiceMachine::promised);
        let promised = promised.map(|bytes| bytes.0).sum();
        let left = self.host.left(self.loaded.settings.host, promised, now);
        let wishes: Vec<_> = match left {
            Some(Left {
                memory: Some(_), ..
            }) => self
                .machines
                .values()
                .filter_map(|machine| {
                    let sample = gathered.get(machine.service());
                    let cpu = left.and_then(|left| left.cpu);
                    machine.wish(sample.map(|(readings, _)| readings), cpu, now)
                })
                .collect(),
            _ => Vec::new(),
        };
        for (service, (readings, values)) in gathered {
            let Some(machine) = self.machines.get_mut(&service) else {
                continue;
            };
            let free = left.and_then(|left| left.memory).unwrap_or(Bytes(0));
            let kept = decide::kept_from(&service, &wishes, free);
            machine.has_room(left.map(|left| {
                HostCapacity {
                    free_memory: left
                        .memory
                        .map(|free| Bytes(free.0.saturating_sub(decide::kept_sum(&kept).0))),
                    replica_memory: machine.replica_memory(),
                    kept,
                    cpu: left.cpu,
                }
            }));
            self.hand_over(service, Event::Sampled { readings, values });
        }
    }
}
