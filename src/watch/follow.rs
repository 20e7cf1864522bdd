//! Following what changes around the project: the Engine that goes away and comes back, another
//! nginx, another compose file.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracing::{debug, info, warn};

use super::{
    Driver, Message,
    remote::Target,
    setup::{self, NginxPlace},
};
use crate::{
    compose::{self, Loaded},
    engine::Engine,
    project::{Replica, State},
    proxy::Proxy,
    reconcile::Event,
};

/// A lost engine is tried again this often.
const RECONNECT: Duration = Duration::from_millis(500);

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Finds nginx among the project's containers and tells the remote control.
    pub(super) fn find_nginx(&mut self, containers: &[Replica]) {
        let Some(NginxPlace::Service(service)) = setup::nginx_place(&self.loaded) else {
            return;
        };
        let running: Vec<_> = containers
            .iter()
            .filter(|c| c.service == service && c.is_replica() && !c.is_being_recreated())
            .filter(|c| c.state == State::Running)
            .collect();
        let several = running.len() > 1;
        if several && !self.several_nginx {
            warn!(
                "{} replicas of {service} run, and only {} is kept in step; run `docker compose up -d --scale {service}=1`",
                running.len(),
                running[0].name
            );
        }
        self.several_nginx = several;
        self.set_nginx(running.first().map(|c| Target::of(c)));
    }

    pub(super) fn set_nginx(&mut self, found: Option<Target>) {
        let before = self.nginx.borrow().clone();
        if before == found {
            return;
        }
        debug!(
            nginx = found.as_ref().map(|t| t.name.as_str()),
            "nginx is another one now"
        );
        let is_there = found.is_some();
        self.nginx.send_replace(found);
        if is_there && !self.passive() {
            self.router.again(self.clock.now());
        }
    }

    pub(super) fn read_stamps(&self) -> BTreeMap<PathBuf, Option<SystemTime>> {
        if self.source.is_none() {
            return BTreeMap::new();
        }
        self.loaded
            .watched
            .iter()
            .map(|path| {
                let stamp = std::fs::metadata(path).and_then(|meta| meta.modified());
                (path.clone(), stamp.ok())
            })
            .collect()
    }

    /// Reads the compose file again, beside the loop.
    pub(super) fn read_again(&mut self) {
        self.stamps = self.read_stamps();
        let Some(source) = self.source.clone() else {
            return;
        };
        let report = self.report.clone();
        self.tasks.spawn(async move {
            if let Ok(result) = tokio::task::spawn_blocking(move || compose::load(&source)).await {
                let _ = report.send(Message::Reloaded(Box::new(result))).await;
            }
        });
    }

    pub(super) fn reloaded(&mut self, loaded: Loaded) {
        info!("the compose file changed: its policies hold from now on");
        self.loaded = loaded;
        self.stamps = self.read_stamps();
        self.make_machines();
        self.list();
    }

    /// Opens the event stream, then lists: what happens in between arrives twice rather than never.
    pub(super) fn connect(&mut self) {
        self.events = Some(Box::pin(self.engine.events(&self.loaded.project.name)));
        self.list();
    }

    pub(super) fn engine_lost(&mut self, why: &str) {
        self.events = None;
        if self.engine_away.is_none() {
            warn!(
                error = why,
                "the Docker Engine is away; nothing is done until it is back"
            );
            self.engine_away = Some(why.to_owned());
            for handle in std::mem::take(&mut self.probes).into_values() {
                handle.abort();
            }
            let names: Vec<_> = self.machines.keys().cloned().collect();
            for name in names {
                self.queue.push_back((name, Event::EngineLost));
            }
            self.nginx.send_replace(None);
        }
        // Several calls fail when the engine goes; one attempt at a time is enough.
        if std::mem::replace(&mut self.reconnecting, true) {
            return;
        }
        let engine = Arc::clone(&self.engine);
        let report = self.report.clone();
        self.tasks.spawn(async move {
            tokio::time::sleep(RECONNECT).await;
            let _ = report.send(Message::Engine(engine.info().await)).await;
        });
    }

    pub(super) fn engine_back(&mut self) {
        if self.engine_away.take().is_some() {
            info!("the Docker Engine is back");
        }
        self.connect();
    }
}
