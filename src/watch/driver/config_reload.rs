//! Another compose file, or another time.

use tracing::{debug, info, warn};

use super::{
    super::{clock::Jump, file_stamps::FileStamps, scale_file, warn_once::Topic},
    Driver,
};
use crate::{
    compose::{LoadError, Loaded},
    engine::Engine,
    policy,
    proxy::Proxy,
    reconcile::Event,
};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Reads the compose file again, beside the loop.
    pub(super) fn read_again(&mut self) {
        self.files.read_again(&self.loaded.watched, &mut self.tasks);
    }

    pub(super) fn reloaded(&mut self, stamps: FileStamps, result: Result<Loaded, LoadError>) {
        self.files.were_read(stamps);
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
        self.counts.read_again();
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
        self.custom.reload(&self.loaded);
        self.files.follow(&self.loaded.watched);
        // A service may read the log now, or nginx be somewhere else.
        self.preflight.request();
        self.make_machines();
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
        self.load.forget_log();
        self.follow_log();
        self.router.clock_jumped(now);
        self.nginx.clock_jumped(set_by);
        self.requests.clock_jumped(set_by);
        self.operations.clock_jumped(now);
        self.sampling.clock_jumped();
        for name in self.machines.keys() {
            self.queue
                .push_back((name.clone(), Event::ClockJumped { set_by }));
        }
        self.engine.clock_jumped(now);
    }
}
