//! The real driver on a simulated host.

use std::{collections::BTreeMap, future::Future, path::PathBuf, sync::Arc, time::Duration};

use indexmap::IndexMap;
use jiff::Timestamp;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    clock,
    engine::{Pace, SimEngine, SimulatedHost},
    load_shape::LoadShape,
    profile::Profile,
    proxy::SimProxy,
    queue::BalanceMethod,
    simulated_host::{App, MachineSpec, RecordedReadings, World},
};
use crate::{
    compose::Loaded,
    control::{self, Call, ControlRequest, Reply, Snapshot},
    host,
    metrics::Meters,
    policy::{Balance, NginxPlacement, Policy, Ready, Settings},
    project::{Project, Service, ServiceNetwork},
    reconcile::{PersistedState, ScalingEvent},
    state::{Recording, StateDir},
    traffic::TrafficLoad,
    watch::{
        Claim, Driver, DriverDeps, RunClock, RunGoal, RunOutcome, STARTS_AT_ONCE,
        access_log_metrics::Loads, nginx_target::NginxLocation,
    },
};

/// The port that every simulated app listens on.
const PORT: u16 = 80;

/// What is simulated.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The project's name.
    pub project: String,
    /// The project's own settings.
    pub settings: Settings,
    /// The apps, with the policies of those that are scaled.
    pub apps: Vec<(App, Option<Policy>)>,
    /// The machine.
    pub machine: MachineSpec,
    /// How many replicas are started at once.
    pub starts_at_once: u32,
    /// How fast its Engine is.
    pub pace: Pace,
    /// The time of the wall clock at the beginning.
    pub begins: Timestamp,
    /// Load is played in steps of at most so long.
    pub grain: Duration,
    /// What all chance comes from.
    pub seed: u64,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            project: "shop".into(),
            settings: Settings::default(),
            apps: Vec::new(),
            machine: MachineSpec::default(),
            starts_at_once: STARTS_AT_ONCE,
            pace: Pace::default(),
            // A Thursday.
            begins: Timestamp::from_second(1_767_225_600).unwrap_or_default(),
            grain: Duration::from_secs(1),
            seed: 1,
        }
    }
}

impl App {
    /// One of which nothing is known but its name.
    pub fn named(service: &str) -> Self {
        Self {
            service: service.to_owned(),
            profile: Profile::default(),
            load: LoadShape::steady(0.0),
            pick: BalanceMethod::LeastConn,
            replicas: 1,
            heard: RecordedReadings::default(),
        }
    }
}

impl Setting {
    /// How nginx picks a replica by this policy.
    pub fn pick(policy: Option<&Policy>) -> BalanceMethod {
        match policy.map(|policy| &policy.balance) {
            None | Some(Balance::LeastConn) => BalanceMethod::LeastConn,
            Some(Balance::RoundRobin) => BalanceMethod::RoundRobin,
            Some(Balance::IpHash | Balance::Hash(_) | Balance::StickyCookie(_)) => {
                BalanceMethod::Hash
            }
        }
    }

    /// The project as the driver is told of it: a replica is ready when its healthcheck, which is
    /// simulated too, says so.
    fn loaded(&self) -> Loaded {
        let network = ServiceNetwork {
            name: format!("{}_{}", self.project, super::simulated_host::NETWORK),
            ..ServiceNetwork::default()
        };
        let service = |name: &str, image: &str, scale| Service {
            name: name.to_owned(),
            image: Some(image.to_owned()),
            scale,
            expose: vec![PORT.to_string()],
            networks: IndexMap::from([(
                super::simulated_host::NETWORK.to_owned(),
                network.clone(),
            )]),
            ..Service::default()
        };
        let apps = self.apps.iter().map(|(app, _)| {
            let service = service(&app.service, "app:1", Some(app.replicas));
            (app.service.clone(), service)
        });
        let nginx = ("nginx".to_owned(), service("nginx", "nginx:1.30", None));
        let policies = self.apps.iter().filter_map(|(app, policy)| {
            let mut policy = policy.clone()?;
            policy.ready = Ready::Healthcheck;
            policy.port = Some(PORT);
            Some((app.service.clone(), policy))
        });
        let mut settings = self.settings.clone();
        settings.nginx.place = Some(NginxPlacement::Service("nginx".into()));
        settings.nginx.upstreams = Some(PathBuf::from("/simulated/upstreams"));
        settings.nginx.logs = None;
        Loaded {
            project: Project {
                name: self.project.clone(),
                working_dir: PathBuf::from("/simulated"),
                config_files: vec![PathBuf::from("/simulated/compose.yaml")],
                services: apps.chain([nginx]).collect(),
                disabled_services: Vec::new(),
                volumes: BTreeMap::new(),
                networks: BTreeMap::new(),
            },
            settings,
            policies: policies.collect(),
            warnings: Vec::new(),
            places: BTreeMap::default(),
            watched: Vec::new(),
            flags: String::new(),
        }
    }
}

/// Runs on a clock of its own, which goes as fast as the work allows.
pub fn in_virtual_time<T>(work: impl Future<Output = T>) -> std::io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()?;
    Ok(runtime.block_on(work))
}

/// A simulated host with its project.
#[derive(Debug)]
pub struct Simulation {
    /// The host.
    pub host: SimulatedHost,
    loaded: Loaded,
    pace: Pace,
    starts_at_once: u32,
    memory: BTreeMap<String, PersistedState>,
    tasks: JoinSet<()>,
    recording: Option<Recording>,
    load: Arc<LoadFeed>,
}

/// What the driver is told of the load.
#[derive(Debug)]
struct LoadFeed(SimulatedHost);

impl Loads for LoadFeed {
    fn of_service(&self, service: &str, window: Duration) -> Option<TrafficLoad> {
        let mut world = self.0.world();
        let step = world.load(service, window)?;
        let (requests, in_flight) = world.heard(service);
        if step.seconds <= 0.0 {
            return None;
        }
        let errors = step.failed() / step.ended.max(1.0);
        Some(TrafficLoad::counted(
            (
                requests.unwrap_or(step.ended / step.seconds),
                in_flight.unwrap_or(step.in_flight),
                errors.min(1.0),
            ),
            step.ended as u64,
            step.took.iter().map(|ms| f64::from(*ms)),
        ))
    }
}

impl Simulation {
    /// The host at its beginning. Only within [`in_virtual_time`], or where time is real.
    pub fn begin(setting: &Setting) -> Self {
        let apps = setting.apps.iter().map(|(app, _)| app.clone()).collect();
        let world = World::begin(
            &setting.project,
            setting.machine,
            apps,
            setting.seed,
            setting.begins,
        );
        let host = SimulatedHost::new(world.with_grain(setting.grain));
        let mut tasks = JoinSet::new();
        tasks.spawn(host.clone().live());
        Self {
            load: Arc::new(LoadFeed(host.clone())),
            host,
            loaded: setting.loaded(),
            pace: setting.pace,
            starts_at_once: setting.starts_at_once,
            memory: BTreeMap::new(),
            tasks,
            recording: None,
        }
    }

    /// Keeps the input of every decision in this file.
    pub fn record(&mut self, recording: Recording) {
        self.recording = Some(recording);
    }

    /// Does this beside all else, for as long as the simulation is there.
    pub(super) fn beside(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// The driver of `watch`, with the state directory that it has, if any; where to ask it, and what it
    /// tells people.
    pub(crate) fn driver(
        &mut self,
        state: Option<StateDir>,
    ) -> (
        Driver<SimEngine, SimProxy>,
        mpsc::Sender<Call>,
        mpsc::UnboundedReceiver<ScalingEvent>,
    ) {
        let (calls, receiver) = mpsc::channel(16);
        let (notes, told) = mpsc::unbounded_channel();
        let (nginx, _) = tokio::sync::watch::channel(NginxLocation::Unknown);
        let host = self.host.clone();
        let deps = DriverDeps {
            clock: RunClock::read_by(clock::read),
            engine: Arc::new(self.engine()),
            proxy: Some(SimProxy::new(self.host.clone())),
            loaded: self.loaded.clone(),
            source: None,
            extra: Vec::new(),
            state,
            memory: std::mem::take(&mut self.memory),
            locks: Vec::new(),
            claim: Claim::NotNeeded,
            calls: Some(receiver),
            notes,
            nginx,
            dry_run: false,
            starts_at_once: self.starts_at_once,
            recording: self.recording.clone(),
            reload: None,
            host: host::Watcher::told(Box::new(move |_| Some(host.world().look()))),
            loads: Some(Arc::clone(&self.load) as Arc<dyn Loads>),
            asks_compose: false,
            meters: Arc::new(Meters::new(&self.loaded.project.name)),
        };
        (Driver::new(deps, RunGoal::Watch), calls, told)
    }

    /// The Engine of the host.
    pub(crate) fn engine(&self) -> SimEngine {
        SimEngine::new(self.host.clone(), self.pace)
    }

    /// Starts `watch`.
    pub fn watch(&mut self) -> Watch {
        let (mut driver, calls, told) = self.driver(None);
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let tokens = (stop.clone(), abort.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let outcome = driver.run(tokens.0, tokens.1).await;
            (outcome, driver.into_memory())
        });
        Watch {
            calls,
            notes: told,
            stop,
            abort,
            task,
        }
    }

    /// What a `watch` that has ended remembers, for the next one.
    pub fn remember(&mut self, memory: BTreeMap<String, PersistedState>) {
        self.memory = memory;
    }
}

/// A `watch` that runs.
#[derive(Debug)]
pub struct Watch {
    calls: mpsc::Sender<Call>,
    notes: mpsc::UnboundedReceiver<ScalingEvent>,
    stop: CancellationToken,
    abort: CancellationToken,
    task: JoinSet<(RunOutcome, BTreeMap<String, PersistedState>)>,
}

impl Watch {
    /// Asks it something, without waiting for what takes long; the last answer.
    pub async fn ask(&self, request: ControlRequest) -> Option<Reply> {
        let (replies, mut answers) = mpsc::channel(64);
        self.calls.send(Call { request, replies }).await.ok()?;
        let mut last = None;
        while let Some(reply) = answers.recv().await {
            last = Some(reply);
        }
        last
    }

    /// Where to ask it.
    pub fn calls(&self) -> mpsc::Sender<Call> {
        self.calls.clone()
    }

    /// How things are.
    pub async fn status(&self) -> Option<Snapshot> {
        control::status(&self.calls).await
    }

    /// What it tells people from now on; to be called once.
    pub fn take_notes(&mut self) -> mpsc::UnboundedReceiver<ScalingEvent> {
        std::mem::replace(&mut self.notes, mpsc::unbounded_channel().1)
    }

    /// Tells it to stop and waits for its end: how it ended, and what it remembers.
    pub async fn stop(mut self) -> Option<(RunOutcome, BTreeMap<String, PersistedState>)> {
        self.stop.cancel();
        self.task.join_next().await?.ok()
    }

    /// Ends it at once, whatever it is at; what it had remembered by then.
    pub async fn kill(mut self) -> Option<(RunOutcome, BTreeMap<String, PersistedState>)> {
        self.abort.cancel();
        self.task.join_next().await?.ok()
    }
}
