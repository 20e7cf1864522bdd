//! nginx as this run knows it: where it runs, whether it crashes, what it refuses.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use jiff::SignedDuration;
use tokio::sync::watch;
use tracing::debug;

use super::{
    nginx_target::{CrashLoops, NginxLocation, NginxTarget},
    service_setup::ManagedNginx,
};
use crate::{
    project::Replica,
    proxy::{ProxyError, PublishResult},
    units::Timestamp,
};

/// An nginx that runs again within this time is restarted, not down.
const RESTART: Duration = Duration::from_secs(3);

/// What is known of nginx.
#[derive(Debug)]
pub(super) struct NginxState<P> {
    /// `None` where the project has none.
    proxy: Option<Arc<P>>,
    /// Tells the proxy's remote control where nginx is.
    location: watch::Sender<NginxLocation>,
    crashes: CrashLoops,
    /// Since when it is certain that no nginx runs, where one did.
    missed: Option<Timestamp>,
    /// What nginx refuses at present.
    trouble: Option<String>,
    /// Files of the proxy that this run rewrote.
    changed: BTreeSet<String>,
}

impl<P> NginxState<P> {
    pub(super) fn new(proxy: Option<P>, location: watch::Sender<NginxLocation>) -> Self {
        Self {
            proxy: proxy.map(Arc::new),
            location,
            crashes: CrashLoops::default(),
            missed: None,
            trouble: None,
            changed: BTreeSet::new(),
        }
    }

    pub(super) fn proxy(&self) -> Option<Arc<P>> {
        self.proxy.clone()
    }

    /// Where nginx is at the moment.
    pub(super) fn location(&self) -> watch::Ref<'_, NginxLocation> {
        self.location.borrow()
    }

    /// It runs on this host, and nowhere else.
    pub(super) fn is_on_host(&self) {
        self.location.send_replace(NginxLocation::Host);
    }

    /// The Engine is away, and with it what it knows.
    pub(super) fn engine_lost(&self) {
        if *self.location() != NginxLocation::Host {
            self.location.send_replace(NginxLocation::Unknown);
        }
    }

    /// Its containers, of a listing. Says whether nginx is another one than before.
    pub(super) fn found(&mut self, containers: &[&Replica], now: Timestamp) -> bool {
        self.crashes
            .keep(|name| containers.iter().any(|c| c.name == name));
        for container in containers {
            self.crashes.see(container, now);
        }
        let targets = containers.iter().filter_map(|c| NginxTarget::of(c));
        self.set(NginxLocation::containers(targets), now)
    }

    /// One of its containers, of a look at it. Says whether nginx is another one than before.
    pub(super) fn seen(&mut self, container: &Replica, now: Timestamp) -> bool {
        self.crashes.see(container, now);
        let found = self.location().with(container);
        self.set(found, now)
    }

    /// There is no container of it. Says whether there was.
    pub(super) fn gone(&mut self, now: Timestamp) -> bool {
        self.crashes.keep(|_| false);
        self.set(NginxLocation::Containers(Vec::new()), now)
    }

    fn set(&mut self, found: NginxLocation, now: Timestamp) -> bool {
        if *self.location() == found {
            return false;
        }
        let names = found.names();
        debug!(nginx = names, "nginx is another one now");
        let ran = self.location().names().is_some();
        match names {
            None if ran => self.missed = Some(now),
            None => {}
            Some(_) => self.missed = None,
        }
        self.location.send_replace(found);
        true
    }

    /// Why it keeps crashing, where it does.
    pub(super) fn crash(&self) -> Option<String> {
        self.crashes.why(&self.location())
    }

    /// Whether nginx, of which it is certain that it does not run, did so a moment ago: it may be
    /// restarted just now, and what a look finds between two starts is chance.
    pub(super) fn may_be_back(&self, now: Timestamp) -> bool {
        let away = self.missed.map(|at| now.since(at));
        away.is_some_and(|away| away < RESTART) && self.crash().is_none()
    }

    /// Why nginx can be told nothing, and what to type.
    pub(super) fn absence(&self, place: Option<ManagedNginx>) -> String {
        if let Some(why) = self.crash() {
            return why;
        }
        match place {
            Some(place) if *self.location() != NginxLocation::Unknown => {
                format!("nginx is not running; start it with `{}`", place.start())
            }
            _ => "it is unknown whether nginx runs".to_owned(),
        }
    }

    /// How a publish went says whether nginx runs.
    pub(super) fn answered(&mut self, result: &Result<PublishResult, ProxyError>, now: Timestamp) {
        match result {
            Ok(_) => self.missed = None,
            Err(ProxyError::NotRunning { .. }) => {
                self.missed.get_or_insert(now);
            }
            Err(_) => {}
        }
    }

    /// It serves what it was told.
    pub(super) fn published(&mut self, published: &PublishResult) {
        self.changed.extend(published.changed.iter().cloned());
        self.trouble = None;
    }

    /// It refuses what it was told.
    pub(super) fn refuses(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// What it refuses at present.
    pub(super) fn trouble(&self) -> Option<&String> {
        self.trouble.as_ref()
    }

    /// Files that this run rewrote.
    pub(super) fn changed(&self) -> &BTreeSet<String> {
        &self.changed
    }

    /// The clock was set by so much.
    pub(super) fn clock_jumped(&mut self, set_by: SignedDuration) {
        self.missed = self.missed.map(|at| at.shifted(set_by));
    }
}
