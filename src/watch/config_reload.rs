//! Following what changes around the project: the Engine that goes away and comes back, another
//! nginx, another compose file.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tracing::{debug, info, warn};

use super::{
    Claim, Driver, Message, RunGoal,
    clock::Jump,
    dispatch::LATE,
    nginx_target::{NginxLocation, NginxTarget},
    project_id, scale_file,
    service_setup::{self, ManagedNginx},
    warn_once::Topic,
};
use crate::{
    compose::{self, LoadError, Loaded},
    engine::Engine,
    policy,
    project::Replica,
    proxy::Proxy,
    reconcile::Event,
    state::ProjectLock,
};

/// A lost engine is tried again this often; less often, up to [`LONGEST_RECONNECT`], when it comes
/// back again and again and never for as long as [`STEADY`].
const RECONNECT: Duration = Duration::from_millis(500);
const LONGEST_RECONNECT: Duration = Duration::from_secs(15);
const STEADY: Duration = Duration::from_secs(60);

/// A file that is being saved is not read before it has been the same for so long.
const SAVED: Duration = Duration::from_millis(250);
/// One that never is the same gets read after so many looks all the same.
const LOOKS: usize = 40;

/// What tells one version of a file from another: when it was changed, its length, its inode.
pub(super) type FileStamp = (SystemTime, u64, u64);
/// The stamps of the compose files; nothing for one that is not there.
pub(super) type FileStamps = BTreeMap<PathBuf, Option<FileStamp>>;

pub(super) fn stamp(path: &Path) -> Option<FileStamp> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len(), meta.ino()))
}

fn stamps(paths: &[PathBuf]) -> FileStamps {
    let stamps = paths.iter().map(|path| (path.clone(), stamp(path)));
    stamps.collect()
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Finds nginx among the project's containers and tells the remote control.
    pub(super) fn find_nginx(&mut self, containers: &[Replica]) {
        let Some(ManagedNginx::Service(service)) = service_setup::nginx_place(&self.loaded) else {
            return;
        };
        let found: Vec<_> = containers
            .iter()
            .filter(|c| c.service == service && c.is_replica() && !c.is_being_recreated())
            .collect();
        let now = self.clock.now();
        self.crashes
            .keep(|name| found.iter().any(|c| c.name == name));
        for container in &found {
            self.crashes.see(container, now);
        }
        let targets = found.into_iter().filter_map(NginxTarget::of);
        self.set_nginx(NginxLocation::containers(targets));
    }

    /// Hears of one container, which may be nginx. Returns whether it is.
    pub(super) fn look_at_nginx(&mut self, replica: &Replica) -> bool {
        let is_it = match service_setup::nginx_place(&self.loaded) {
            Some(ManagedNginx::Service(service)) => {
                replica.service == service && replica.is_replica() && !replica.is_being_recreated()
            }
            Some(ManagedNginx::Container(name)) => replica.name == name,
            Some(ManagedNginx::Host) | None => false,
        };
        if is_it {
            self.crashes.see(replica, self.clock.now());
            let found = self.nginx.borrow().with(replica);
            self.set_nginx(found);
        }
        is_it
    }

    /// A container is not there any more, by the id or the name it was asked for.
    pub(super) fn nginx_is_gone(&mut self, id: &str) {
        if matches!(service_setup::nginx_place(&self.loaded), Some(ManagedNginx::Container(name)) if name == id)
        {
            self.crashes.keep(|_| false);
            self.set_nginx(NginxLocation::Containers(Vec::new()));
        }
    }

    fn set_nginx(&mut self, found: NginxLocation) {
        if *self.nginx.borrow() == found {
            return;
        }
        let names = found.names();
        debug!(nginx = names, "nginx is another one now");
        let ran = self.nginx.borrow().names().is_some();
        match names {
            None if ran => self.nginx_missed = Some(self.clock.now()),
            None => {}
            Some(_) => self.nginx_missed = None,
        }
        self.nginx.send_replace(found);
        if names.is_some() && !self.passive() {
            self.router.again(self.clock.now());
        }
        self.way_is_due = true;
        self.check_nginx_routing();
    }

    pub(super) fn read_stamps(&self) -> FileStamps {
        if self.source.is_none() {
            return FileStamps::new();
        }
        stamps(&self.loaded.watched)
    }

    /// Reads the compose file again, beside the loop, once nobody is in the middle of saving it: half
    /// a file may well make sense, with half of the services.
    pub(super) fn read_again(&mut self) {
        let Some(source) = self.source.clone() else {
            return;
        };
        if std::mem::replace(&mut self.reading, true) {
            return;
        }
        let watched = self.loaded.watched.clone();
        let report = self.report.clone();
        self.tasks.spawn(async move {
            let mut seen = stamps(&watched);
            for _ in 0..LOOKS {
                tokio::time::sleep(SAVED).await;
                let before = std::mem::replace(&mut seen, stamps(&watched));
                if before == seen {
                    break;
                }
            }
            if let Ok(result) = tokio::task::spawn_blocking(move || compose::load(&source)).await {
                let result = Box::new(result);
                let stamps = seen;
                let _ = report.send(Message::Reloaded { stamps, result }).await;
            }
        });
    }

    pub(super) fn reloaded(&mut self, stamps: FileStamps, result: Result<Loaded, LoadError>) {
        self.reading = false;
        // Whatever was changed since then is read at the next tick.
        self.stamps.extend(stamps);
        let loaded = match result {
            Ok(loaded) => loaded,
            Err(error) => {
                let why = error.to_string();
                if self.complaints.raise(Topic::File, &why) {
                    warn!("the compose file has errors; keeping the previous policy:\n{why}");
                }
                return;
            }
        };
        self.kept.read_again();
        self.drift.file_changed();
        if self.complaints.about(Topic::File).is_none()
            && self.loaded != loaded
            && scale_file::differ_in_counts_only(&self.loaded, &loaded)
        {
            // Nothing but what compose would make: no policy is another one.
            debug!("the compose file has other counts");
            self.loaded = loaded;
            return;
        }
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        if loaded.project.name != self.loaded.project.name {
            warn!(
                from = self.loaded.project.name,
                to = loaded.project.name,
                "the project has a new name; restart `compose-scale watch` to follow it"
            );
            return;
        }
        let what = if self.complaints.settle(Topic::File) {
            "is in order again"
        } else {
            "changed"
        };
        info!("the compose file {what}: its policies apply from now on");
        let (old, new) = (&self.loaded.settings.nginx, &loaded.settings.nginx);
        let fixed = |nginx: &policy::NginxPolicy| {
            let nginx = nginx.clone();
            (nginx.upstreams, nginx.logs, nginx.reload, nginx.test)
        };
        if fixed(old) != fixed(new) {
            warn!(
                "changes of nginx.upstreams, nginx.logs, nginx.reload and nginx.test take effect when `watch` restarts"
            );
        }
        self.loaded = loaded;
        self.notify
            .send_replace(self.loaded.settings.notify.clone());
        self.around.reload(&self.loaded);
        let read = std::mem::take(&mut self.stamps);
        self.stamps = self
            .read_stamps()
            .into_iter()
            .map(|(path, now)| {
                let stamp = read.get(&path).copied().unwrap_or(now);
                (path, stamp)
            })
            .collect();
        // A service may read the log now, or nginx be somewhere else.
        self.way_is_due = true;
        self.make_machines();
        self.list();
    }

    /// Opens the event stream, then lists: what happens in between arrives twice rather than never.
    pub(super) fn connect(&mut self) {
        self.connection += 1;
        self.connected = Some(self.clock.now());
        self.listing = false;
        self.listed = None;
        self.events = Some(Box::pin(self.engine.events(&self.loaded.project.name)));
        self.list();
    }

    /// The clock was set, or the machine slept: what is on its way belongs to another time, and
    /// everything is looked at afresh.
    pub(super) fn clock_jumped(&mut self, jump: Jump) {
        let Jump { set_by, .. } = jump;
        warn!("{jump}; re-reading everything");
        let now = self.clock.now();
        self.wakes.clear();
        // What nginx has written is by the clock of before.
        self.monitor = None;
        self.check_log();
        self.router.clock_jumped(now);
        self.nginx_missed = self.nginx_missed.map(|at| at.shifted(set_by));
        for waiter in &mut self.waiters {
            waiter.deadline = waiter.deadline.shifted(set_by);
        }
        for until in self.own_operations.values_mut() {
            *until = until.map(|_| now + LATE);
        }
        let stops = self.stopping_elsewhere.values_mut();
        for since in stops.chain(self.stopped_elsewhere.values_mut()) {
            *since = now;
        }
        for probe in std::mem::take(&mut self.probes).into_values() {
            probe.abort();
        }
        self.stale = self.sampling.clone();
        for name in self.machines.keys() {
            self.queue
                .push_back((name.clone(), Event::ClockJumped { set_by }));
        }
        self.connection += 1;
        self.listing = false;
        self.connected = self.connected.map(|_| now);
    }

    pub(super) fn engine_lost(&mut self, why: &str) {
        self.events = None;
        if self.engine_away.is_none() {
            warn!(
                error = why,
                "the Docker Engine does not answer; nothing is done until it does"
            );
            self.engine_away = Some(why.to_owned());
            for handle in std::mem::take(&mut self.probes).into_values() {
                handle.abort();
            }
            let names: Vec<_> = self.machines.keys().cloned().collect();
            for name in names {
                self.queue.push_back((name, Event::EngineLost));
            }
            if *self.nginx.borrow() != NginxLocation::Host {
                self.nginx.send_replace(NginxLocation::Unknown);
            }
            self.remembered.clear();
        }
        // Several calls fail when the engine goes; one attempt at a time is enough.
        if std::mem::replace(&mut self.reconnecting, true) {
            return;
        }
        let now = self.clock.now();
        match self.connected.take().map(|since| now.since(since)) {
            Some(lasted) if lasted >= STEADY => self.flaps = 0,
            Some(_) => self.flaps += 1,
            None => {}
        }
        let flaps = self.flaps.saturating_sub(1).min(10);
        let wait = (RECONNECT * 2u32.pow(flaps)).min(LONGEST_RECONNECT);
        let engine = Arc::clone(&self.engine);
        let report = self.report.clone();
        let due = match &self.claim {
            Claim::Due { project, .. } => Some(project.clone()),
            Claim::NotNeeded | Claim::Held(_) => None,
        };
        self.tasks.spawn(async move {
            tokio::time::sleep(wait).await;
            let info = engine.info().await;
            if let (Some(project), Ok(info)) = (due, &info) {
                let claimed = ProjectLock::take(&project_id(info, &project)).await;
                let _ = report.send(Message::Claimed(claimed)).await;
            }
            let _ = report.send(Message::Engine(info)).await;
        });
    }

    /// The containers are known (again).
    pub(super) fn listing_came(&mut self) {
        if self.engine_away.take().is_some() {
            info!("the Docker Engine answers again");
        }
        if self.complaints.settle(Topic::Listing) {
            info!("the project's containers can be listed again");
        }
    }

    pub(super) fn listing_failed(&mut self, why: &str) {
        // Every other run ends with it.
        if self.complaints.raise(Topic::Listing, why) && self.goal == RunGoal::Watch {
            warn!(
                error = why,
                "cannot list the project's containers; nothing is scaled by load until that works again"
            );
        }
    }
}
