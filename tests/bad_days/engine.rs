//! The simulated Engine, for a project of one replica of `web` and an nginx, on two networks.

use std::{path::Path, time::Duration};

pub(crate) use compose_scale::sim::ResponseFault;
use compose_scale::{
    project::ContainerState,
    sim::{App, Daemon, MachineSpec, SimulatedHost, World},
    units::Bytes,
};
use jiff::Timestamp;
use tempfile::TempDir;

/// The Engine; it is gone with the value.
pub(crate) struct FakeEngine {
    daemon: Daemon,
    directory: TempDir,
}

impl FakeEngine {
    /// One that runs `shop-web-1` and `shop-nginx-1`, which includes the files of this directory.
    pub(crate) fn start(upstreams: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut web = App::named("web");
        web.profile.start_time = Duration::ZERO;
        let machine = MachineSpec {
            cores: 2,
            memory: Bytes(1 << 30),
        };
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let world = World::begin("shop", machine, vec![web], 1, at);
        let host = SimulatedHost::new(world.on_networks(&["front", "back"]));
        let socket = directory.path().join("docker.sock");
        let daemon = Daemon::listen(host, &socket, upstreams).unwrap();
        Self { daemon, directory }
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}/docker.sock", self.directory.path().display())
    }

    /// From now on this decides; it is given `METHOD /path` with `*` for ids.
    pub(crate) fn decide(&self, decide: impl FnMut(&str) -> ResponseFault + Send + 'static) {
        self.daemon.decide(decide);
    }

    /// Name and state of the replicas of `web`.
    pub(crate) fn replicas(&self) -> Vec<(String, &'static str)> {
        let word = |state| match state {
            ContainerState::Created => "created",
            ContainerState::Running => "running",
            ContainerState::Exited => "exited",
            _ => "something else",
        };
        let all = self.daemon.replicas("web").into_iter();
        all.map(|(name, state)| (name, word(state))).collect()
    }

    /// Those that nginx sends requests to.
    pub(crate) fn served(&self) -> Vec<String> {
        self.daemon.served("web")
    }

    /// Ends the streams of events.
    pub(crate) fn drop_events(&self) {
        self.daemon.drop_events();
    }

    /// What nginx has at http level.
    pub(crate) fn configure(&self, text: &str) {
        self.daemon.configure(text);
    }
}
