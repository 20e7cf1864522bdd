//! The simulated host: its containers, what they are asked to do, and what happens to them by itself.

mod containers;
mod invariants;
mod load_playback;
mod nginx;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};

use rand::SeedableRng;
use rand_pcg::Pcg64;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    clock,
    load_shape::LoadShape,
    profile::Profile,
    queue::{BalanceMethod, QueueStep, RequestQueue},
    stats::{StepRecord, Totals},
};
use crate::{
    engine::{ContainerAction, EngineEvent},
    project::{ContainerId, ContainerState, Health, Limits, labels},
    units::{Bytes, Timestamp},
};

pub use invariants::Violation;
pub(super) use invariants::{InvariantChecker, ServiceBounds};

/// Load is played through in steps of at most so long.
const GRAIN: Duration = Duration::from_secs(1);
/// What the system itself needs of the host's memory.
pub(super) const SYSTEM: Bytes = Bytes(256 << 20);
/// What an idle replica uses of a core.
const IDLE: f64 = 0.002;
/// How long before the simulation's beginning the first replicas were started.
const BEFORE: Duration = Duration::from_secs(3600);
/// The network that everything is on.
pub(super) const NETWORK: &str = "default";

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MachineSpec {
    /// Its cores.
    pub cores: u32,
    /// Its memory.
    pub memory: Bytes,
}

impl Default for MachineSpec {
    fn default() -> Self {
        Self {
            cores: 4,
            memory: Bytes(8 << 30),
        }
    }
}

/// One service of the project, its app and its load.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name.
    pub service: String,
    /// What it is like.
    pub profile: Profile,
    /// Requests per second over time.
    pub load: LoadShape,
    /// How nginx picks a replica.
    pub pick: BalanceMethod,
    /// How many replicas run at the beginning.
    pub replicas: u32,
    /// What was read of it, where that is to be told again.
    pub heard: RecordedReadings,
}

/// What was read of a service at another time: it is told again instead of what the requests of the
/// simulation come to. Each holds until the next decision of that time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RecordedReadings {
    /// How often was decided then.
    pub interval: Duration,
    /// Requests per second.
    pub requests: Option<LoadShape>,
    /// Requests under way at once.
    pub in_flight: Option<LoadShape>,
    /// What all replicas used together, as multiples of what one may use.
    pub cores: Option<LoadShape>,
}

impl RecordedReadings {
    /// The same of so many times the load.
    #[must_use]
    pub(super) fn times(self, times: f64) -> Self {
        self.each(|shape| shape.times(times))
    }

    /// What is left of it after so long.
    #[must_use]
    pub(super) fn after(self, gone: Duration) -> Self {
        self.each(|shape| shape.after(gone))
    }

    fn each(self, change: impl Fn(LoadShape) -> LoadShape) -> Self {
        Self {
            interval: self.interval,
            requests: self.requests.map(&change),
            in_flight: self.in_flight.map(&change),
            cores: self.cores.map(&change),
        }
    }
}

/// What goes wrong with replicas of a service from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReplicaFault {
    /// Nothing.
    #[default]
    Fine,
    /// They start, and never become ready.
    NeverReady,
    /// Their process ends at once.
    DiesAtOnce,
    /// They cannot be started.
    CannotStart,
}

/// A container.
#[derive(Debug, Clone)]
pub(super) struct Container {
    pub(super) id: ContainerId,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) image: String,
    pub(super) networks: BTreeSet<String>,
    pub(super) address: u32,
    pub(super) state: ContainerState,
    pub(super) health: Health,
    pub(super) created: Timestamp,
    pub(super) started: Option<Timestamp>,
    /// When it was started last, by the clock that is never set.
    pub(super) since: Duration,
    pub(super) exit_code: Option<i64>,
    pub(super) oom_killed: bool,
    /// How often it was started.
    pub(super) lives: u32,
    pub(super) limits: Limits,
    /// Whether the tool has made it and it was not ready yet.
    making: bool,
}

impl Container {
    pub(super) fn service(&self) -> &str {
        self.labels.get(labels::SERVICE).map_or("", String::as_str)
    }

    pub(super) fn number(&self) -> u32 {
        let number = self.labels.get(labels::NUMBER);
        number.and_then(|n| n.parse().ok()).unwrap_or(0)
    }

    pub(super) fn ip(&self) -> Ipv4Addr {
        let [_, b, c, d] = self.address.to_be_bytes();
        Ipv4Addr::new(10, b, c, d)
    }

    pub(super) fn runs(&self) -> bool {
        self.state == ContainerState::Running
    }
}

/// The load of one service, while it is played.
#[derive(Debug)]
pub(super) struct ServiceLoad {
    pub(super) profile: Profile,
    pub(super) load: LoadShape,
    pub(super) fate: ReplicaFault,
    queue: RequestQueue,
    /// What nginx sends to, with weights.
    pub(super) routed: BTreeMap<String, u32>,
    /// What is written in its files.
    written: BTreeMap<String, u32>,
    /// Whether nginx runs.
    reached: bool,
    /// The last steps, each with its end.
    steps: VecDeque<(Duration, QueueStep)>,
    heard: RecordedReadings,
    /// What each replica used by what was read, in core-seconds.
    heard_cpu: BTreeMap<String, f64>,
    /// All that has happened.
    pub(super) totals: Totals,
    /// Each step, where that is wanted.
    pub(super) records: Vec<StepRecord>,
}

/// Something that will happen by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ScheduledEvent {
    /// A replica becomes ready.
    Ready,
    /// Its process ends.
    Ends(i64),
}

/// The host.
#[derive(Debug)]
pub struct World {
    pub(super) project: String,
    pub(super) machine: MachineSpec,
    networks: BTreeSet<String>,
    begun: Instant,
    /// Up to here everything has been played.
    at: Duration,
    grain: Duration,
    rng: Pcg64,
    pub(super) containers: BTreeMap<ContainerId, Container>,
    pub(super) services: BTreeMap<String, ServiceLoad>,
    agenda: BTreeMap<(Duration, u64), (ContainerId, u32, ScheduledEvent)>,
    noted: u64,
    made: u32,
    listeners: Vec<mpsc::UnboundedSender<EngineEvent>>,
    /// How many times as long everything takes, because the cores are not enough.
    slower: f64,
    /// Cores in use.
    pub(super) used: f64,
    /// Why the Engine does not answer.
    pub(super) engine_down: Option<String>,
    /// What `nginx -t` says of the user's own files.
    pub(super) nginx_refuses: Option<String>,
    nginx_ran: bool,
    /// Who keeps an eye on what the tool does.
    pub(super) judge: InvariantChecker,
    /// Told when there is something new on the agenda.
    pub(super) news: Arc<Notify>,
    /// Whether each step is kept.
    pub(super) keeps: bool,
}

impl World {
    /// A host where the apps run, beside an nginx that sends to them. It is this time there, on this thread:
    /// there is one host to a thread.
    pub fn begin(
        project: &str,
        machine: MachineSpec,
        apps: Vec<App>,
        seed: u64,
        at: jiff::Timestamp,
    ) -> Self {
        clock::begin(at);
        let mut world = Self {
            project: project.to_owned(),
            machine,
            networks: BTreeSet::from([format!("{project}_{NETWORK}")]),
            begun: Instant::now(),
            at: Duration::ZERO,
            grain: GRAIN,
            rng: Pcg64::seed_from_u64(seed),
            containers: BTreeMap::new(),
            services: BTreeMap::new(),
            agenda: BTreeMap::new(),
            noted: 0,
            made: 0,
            listeners: Vec::new(),
            slower: 1.0,
            used: 0.0,
            engine_down: None,
            nginx_refuses: None,
            nginx_ran: true,
            judge: InvariantChecker::default(),
            news: Arc::new(Notify::new()),
            keeps: false,
        };
        let nginx = world.make("nginx", 1, "nginx:1.30");
        world.run_since_before(&nginx);
        for (app, stream) in apps.into_iter().zip(1..) {
            let App {
                service,
                profile,
                load,
                pick,
                replicas,
                heard,
            } = app;
            let names: BTreeMap<_, _> = (1..=replicas)
                .map(|number| (world.name_of(&service, number), 1))
                .collect();
            let of_it = ServiceLoad {
                // A stream of its own: one more service does not change the others.
                queue: RequestQueue::new(seed.wrapping_mul(1_000_003).wrapping_add(stream), pick),
                profile,
                load,
                fate: ReplicaFault::Fine,
                routed: names.clone(),
                written: names,
                reached: true,
                steps: VecDeque::new(),
                heard,
                heard_cpu: BTreeMap::new(),
                totals: Totals::default(),
                records: Vec::new(),
            };
            world.services.insert(service.clone(), of_it);
            for number in 1..=replicas {
                let id = world.make(&service, number, "app:1");
                world.run_since_before(&id);
            }
        }
        world
    }

    /// Everything is on these networks.
    #[must_use]
    pub fn on_networks(mut self, names: &[&str]) -> Self {
        let names = names.iter().map(|name| format!("{}_{name}", self.project));
        self.networks = names.collect();
        for container in self.containers.values_mut() {
            container.networks.clone_from(&self.networks);
        }
        self
    }

    /// Steps of this length, where nothing happens in between.
    #[must_use]
    pub fn with_grain(mut self, grain: Duration) -> Self {
        self.grain = grain;
        self
    }

    /// Keeps an eye on what is done to these services.
    pub(super) fn judge_by(&mut self, bounds: BTreeMap<String, ServiceBounds>) {
        self.judge = InvariantChecker::new(bounds);
    }

    /// The rules that were broken.
    pub fn broken(&self) -> &[Violation] {
        &self.judge.broken
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(super) fn name_of(&self, service: &str, number: u32) -> String {
        format!("{}-{service}-{number}", self.project)
    }

    /// Changes what an app or its load is like.
    pub(super) fn change(&mut self, service: &str, change: impl FnOnce(&mut ServiceLoad)) {
        self.catch_up();
        if let Some(service) = self.services.get_mut(service) {
            change(service);
        }
    }

    pub(super) fn listen(&mut self) -> mpsc::UnboundedReceiver<EngineEvent> {
        let (sender, events) = mpsc::unbounded_channel();
        self.listeners.push(sender);
        events
    }

    /// Ends the streams of events.
    pub(super) fn hang_up(&mut self) {
        self.listeners.clear();
    }

    fn tell(&mut self, id: &ContainerId, action: ContainerAction) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let event = EngineEvent {
            at: clock::now(),
            id: id.clone(),
            name: container.name.clone(),
            service: Some(container.service().to_owned()),
            action,
        };
        self.listeners
            .retain(|listener| listener.send(event.clone()).is_ok());
    }
}
