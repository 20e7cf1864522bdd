//! The simulated host: its containers, what they are asked to do, and what happens to them by itself.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, SeedableRng};
use rand_distr::Exp1;
use rand_pcg::Pcg64;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};

use super::{
    clock,
    invariants::{InvariantChecker, ServiceBounds, Violation},
    load_shape::LoadShape,
    profile::Profile,
    queue::{BalanceMethod, QueueStep, RequestQueue},
    stats::{StepRecord, Totals},
};
use crate::{
    engine::{ContainerAction, EngineEvent},
    host::HostSample,
    project::{ContainerId, ContainerState, Fixed, Health, Limits, MountPoint, Replica, labels},
    units::{Bytes, Timestamp},
    usage::CounterReading,
};

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

    /// A container as compose makes it, which was not started yet.
    fn make(&mut self, service: &str, number: u32, image: &str) -> ContainerId {
        let labels = BTreeMap::from(
            [
                (labels::PROJECT, self.project.clone()),
                (labels::SERVICE, service.to_owned()),
                (labels::NUMBER, number.to_string()),
                (labels::CONFIG_HASH, format!("{:064x}", service.len())),
                (labels::ONEOFF, "False".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        let name = self.name_of(service, number);
        self.add(name, labels, image)
    }

    pub(super) fn add(
        &mut self,
        name: String,
        labels: BTreeMap<String, String>,
        image: &str,
    ) -> ContainerId {
        self.made += 1;
        let id = ContainerId(format!("{:08x}{:056x}", self.made, 0));
        let service = labels.get(labels::SERVICE);
        let profile = service.and_then(|name| Some(&self.services.get(name)?.profile));
        let limits = profile.map_or(Limits::default(), |profile| Limits {
            cpus: Some(profile.cores),
            memory: profile.memory_limit,
        });
        let container = Container {
            id: id.clone(),
            name,
            image: image.to_owned(),
            networks: self.networks.clone(),
            address: (10 << 24) + 1 + self.made,
            state: ContainerState::Created,
            health: if profile.is_some() {
                Health::Starting
            } else {
                Health::None
            },
            created: clock::now(),
            started: None,
            since: Duration::ZERO,
            exit_code: None,
            oom_killed: false,
            lives: 0,
            limits,
            making: false,
            labels,
        };
        self.containers.insert(id.clone(), container);
        self.tell(&id, ContainerAction::Create);
        id
    }

    fn run_since_before(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let began = clock::now() - BEFORE;
        container.created = began;
        container.started = Some(began);
        container.state = ContainerState::Running;
        container.lives = 1;
        if container.health == Health::Starting {
            container.health = Health::Healthy;
            let name = container.name.clone();
            if let Some(service) = self.services.get_mut(container.service()) {
                service.begin(&name);
            }
            self.may_crash(id);
        }
    }

    /// Another one like it.
    pub(super) fn copy(
        &mut self,
        like: &ContainerId,
        name: &str,
        number: u32,
    ) -> Option<ContainerId> {
        let like = self.containers.get(like)?;
        let mut labels = like.labels.clone();
        labels.insert(labels::NUMBER.into(), number.to_string());
        let image = like.image.clone();
        let id = self.add(name.to_owned(), labels, &image);
        self.is_made(&id);
        Some(id)
    }

    /// The tool has made it.
    pub(super) fn is_made(&mut self, id: &ContainerId) {
        let at = self.elapsed();
        if let Some(container) = self.containers.get_mut(id) {
            container.making = true;
            self.judge.makes(container.service(), at);
        }
    }

    /// It is ready, or given up.
    fn is_through(&mut self, id: &ContainerId) {
        let at = self.elapsed();
        if let Some(container) = self.containers.get_mut(id) {
            if std::mem::take(&mut container.making) {
                self.judge.made(container.service(), at);
            }
            self.judge.changes(at);
        }
    }

    /// A container that is nobody's replica.
    pub(super) fn add_foreign(&mut self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let id = self.add(name.to_owned(), labels.collect(), "app:1");
        if let Some(container) = self.containers.get_mut(&id) {
            container.state = ContainerState::Running;
            container.started = Some(clock::now());
            container.lives = 1;
        }
    }

    /// By id or by name.
    pub(super) fn find(&self, key: &str) -> Option<&Container> {
        let by_id = self.containers.get(&ContainerId(key.to_owned()));
        by_id.or_else(|| self.containers.values().find(|one| one.name == key))
    }

    /// Starts it, or says why not.
    pub(super) fn start(&mut self, id: &ContainerId) -> Result<(), String> {
        self.catch_up();
        let at = self.at;
        let Some(container) = self.containers.get_mut(id) else {
            return Ok(());
        };
        if container.runs() {
            return Ok(());
        }
        let service = self.services.get(container.service());
        let fate = service.map_or(ReplicaFault::Fine, |service| service.fate);
        if fate == ReplicaFault::CannotStart {
            return Err(
                "failed to create task for container: exec: \"serve\": executable file not found in $PATH"
                    .into(),
            );
        }
        container.state = ContainerState::Running;
        container.started = Some(clock::now());
        container.since = at;
        container.lives += 1;
        container.exit_code = None;
        container.oom_killed = false;
        let start_time = service.map(|service| service.profile.start_time);
        if start_time.is_some() {
            container.health = Health::Starting;
        }
        self.update_nginx();
        self.tell(id, ContainerAction::Start);
        match (fate, start_time) {
            (ReplicaFault::Fine, Some(span)) => self.note(at + span, id, ScheduledEvent::Ready),
            (ReplicaFault::DiesAtOnce, _) => {
                self.note(at + Duration::from_millis(300), id, ScheduledEvent::Ends(1));
            }
            _ => {}
        }
        Ok(())
    }

    /// Its process ends, for this reason.
    pub(super) fn end(&mut self, id: &ContainerId, code: i64, oom: bool) {
        self.catch_up();
        self.force(id);
        self.ended(id, code, oom);
    }

    /// The world does something to it.
    fn force(&mut self, id: &ContainerId) {
        let at = self.elapsed();
        if let Some(container) = self.containers.get(id) {
            self.judge.forces(Some(container.service()), at);
        }
    }

    fn ended(&mut self, id: &ContainerId, code: i64, oom: bool) {
        let Some(container) = self.containers.get_mut(id).filter(|one| one.runs()) else {
            return;
        };
        container.state = ContainerState::Exited;
        container.exit_code = Some(code);
        container.oom_killed = oom;
        let name = container.name.clone();
        if let Some(service) = self.services.get_mut(container.service()) {
            service.queue.remove(&name);
        }
        self.is_through(id);
        self.update_nginx();
        if oom {
            self.tell(id, ContainerAction::Oom);
        }
        self.tell(id, ContainerAction::Die(Some(code)));
    }

    /// Stops it by request.
    pub(super) fn stop(&mut self, id: &ContainerId) {
        self.catch_up();
        if self.containers.get(id).is_some_and(Container::runs) {
            self.tell(id, ContainerAction::Kill("15".into()));
            self.ended(id, 0, false);
            self.tell(id, ContainerAction::Stop);
        }
    }

    /// Removes it, running or not.
    pub(super) fn remove(&mut self, id: &ContainerId) {
        self.catch_up();
        if self.containers.get(id).is_some_and(Container::runs) {
            self.tell(id, ContainerAction::Kill("9".into()));
            self.ended(id, 137, false);
        }
        self.is_through(id);
        self.tell(id, ContainerAction::Destroy);
        self.containers.remove(id);
    }

    /// What nginx reads when it reloads or starts.
    pub(super) fn write(&mut self, service: &str, servers: BTreeMap<String, u32>) {
        if let Some(service) = self.services.get_mut(service) {
            service.written = servers;
        }
    }

    /// nginx sends to what is written from now on, and to nothing else.
    pub(super) fn reload(&mut self) {
        self.catch_up();
        let services: Vec<_> = self.services.keys().cloned().collect();
        for name in services {
            let written = self.services[&name].written.clone();
            self.judge_route(&name, &written);
            if let Some(service) = self.services.get_mut(&name) {
                service.routed = written;
            }
        }
        self.update_nginx();
    }

    /// Whether nginx runs.
    pub(super) fn nginx_runs(&self) -> bool {
        let mut all = self.containers.values();
        all.any(|one| one.service() == "nginx" && one.runs())
    }

    /// Without nginx nobody gets through; one that starts reads what is written.
    fn update_nginx(&mut self) {
        let runs = self.nginx_runs();
        if runs && !self.nginx_ran {
            for service in self.services.values_mut() {
                service.routed.clone_from(&service.written);
            }
        }
        self.nginx_ran = runs;
        for service in self.services.values_mut() {
            service.direct(runs);
        }
    }

    /// How long until nothing is under way of what is so now.
    pub(super) fn drained_in(&mut self) -> Duration {
        self.catch_up();
        let all = self.services.values().map(|one| one.queue.drained_in());
        all.max().unwrap_or_default()
    }

    /// What compose does for `up -d --scale SERVICE=COUNT`.
    pub(super) fn compose_up(&mut self, service: &str, count: u32) {
        self.catch_up();
        let at = self.elapsed();
        self.judge.forces(Some(service), at);
        let mut there: Vec<_> = self
            .containers
            .values()
            .filter(|one| self.is_replica(one, service))
            .map(|one| (one.number(), one.id.clone()))
            .collect();
        there.sort();
        for (_, id) in there.drain((count as usize).min(there.len())..) {
            self.stop(&id);
            self.remove(&id);
        }
        let taken: BTreeSet<_> = there.iter().map(|(number, _)| *number).collect();
        let free = (1..).filter(|number| !taken.contains(number));
        let missing = (count as usize).saturating_sub(there.len());
        for number in free.take(missing).collect::<Vec<_>>() {
            let id = self.make(service, number, "app:1");
            let _ = self.start(&id);
        }
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

    fn note(&mut self, at: Duration, id: &ContainerId, happening: ScheduledEvent) {
        let lives = self.containers.get(id).map_or(0, |one| one.lives);
        self.noted += 1;
        self.agenda
            .insert((at, self.noted), (id.clone(), lives, happening));
        self.news.notify_one();
    }

    fn may_crash(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get(id) else {
            return;
        };
        let service = self.services.get(container.service());
        let rate = service.map_or(0.0, |service| service.profile.crashes);
        if rate > 0.0 {
            let hours: f64 = self.rng.sample::<f64, _>(Exp1) / rate;
            let at = self.at + Duration::from_secs_f64((hours * 3600.0).min(1e9));
            self.note(at, id, ScheduledEvent::Ends(1));
        }
    }

    /// When something happens by itself, since the beginning.
    pub(super) fn next(&self) -> Option<Duration> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Plays what has happened by now.
    pub(super) fn catch_up(&mut self) {
        let now = self.elapsed();
        while let Some(entry) = self.agenda.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                break;
            }
            let (id, lives, happening) = entry.remove();
            self.play(at);
            let same = |one: &&mut Container| one.lives == lives && one.runs();
            let Some(container) = self.containers.get_mut(&id).filter(same) else {
                continue;
            };
            match happening {
                ScheduledEvent::Ready => {
                    container.health = Health::Healthy;
                    let name = container.name.clone();
                    if let Some(service) = self.services.get_mut(container.service()) {
                        service.begin(&name);
                    }
                    self.is_through(&id);
                    self.tell(&id, ContainerAction::Health(Health::Healthy));
                    self.may_crash(&id);
                }
                ScheduledEvent::Ends(code) => {
                    self.force(&id);
                    self.ended(&id, code, false);
                }
            }
        }
        self.play(now);
    }

    /// Plays the load up to this moment.
    fn play(&mut self, until: Duration) {
        while self.at < until {
            // In steps of a whole grain, so that how often somebody looks changes little.
            let grain = self.grain.as_nanos();
            let whole = (self.at.as_nanos() / grain + 1) * grain;
            let end = until.min(Duration::from_nanos(whole as u64));
            let span = end.saturating_sub(self.at);
            let middle = self.at + span / 2;
            let (mut used, mut wanted) = (0.0, 0.0);
            for (name, service) in &mut self.services {
                let before = service.cpu();
                let rate = service.load.rate(middle);
                let step = service
                    .queue
                    .pass(span, rate, self.slower, &service.profile);
                let cores = (service.cpu() - before) / span.as_secs_f64();
                let cores = service.hear_cores(middle, span).unwrap_or(cores);
                used += cores;
                wanted += cores * self.slower;
                let of_it = |one: &&Container| one.service() == name && one.runs();
                let running = self.containers.values().filter(of_it).count() as u32;
                service.totals.add(&step, cores, running);
                if self.slower > 1.0 {
                    service.totals.starved_seconds += step.seconds;
                }
                if self.keeps {
                    let record = StepRecord {
                        at: end,
                        seconds: step.seconds,
                        expected: rate,
                        rate: step.came / step.seconds,
                        in_flight: step.in_flight,
                        p95: step.percentile(0.95),
                        failed: step.failed(),
                        cores,
                        running,
                        serving: service.queue.serving() as u32,
                    };
                    let begun = !self.at.as_nanos().is_multiple_of(grain);
                    match service.records.last_mut().filter(|_| begun) {
                        Some(last) => last.join(&record),
                        None => service.records.push(record),
                    }
                }
                service.remember(end, step);
            }
            for container in self.containers.values() {
                if container.runs() && container.health == Health::Starting {
                    let service = self.services.get(container.service());
                    let boot = service.map_or(0.0, |service| service.profile.boot_cores);
                    used += boot / self.slower;
                    wanted += boot;
                }
            }
            self.used = used;
            self.slower = (wanted / f64::from(self.machine.cores)).max(1.0);
            self.at = end;
        }
    }

    /// A container's counters.
    pub(super) fn reading(&mut self, id: &ContainerId) -> Option<CounterReading> {
        self.catch_up();
        let container = self.containers.get(id).filter(|one| one.runs())?;
        let service = self.services.get(container.service())?;
        let alive = self.at.saturating_sub(container.since);
        let booted = alive.min(service.profile.start_time).as_secs_f64();
        let heard = service.heard.cores.as_ref();
        let heard = heard.and_then(|_| service.heard_cpu.get(&container.name));
        let seconds = heard
            .copied()
            .unwrap_or_else(|| service.queue.cpu(&container.name))
            + booted * service.profile.boot_cores
            + alive.as_secs_f64() * IDLE;
        Some(CounterReading {
            at: clock::now(),
            cpu_nanos: (seconds * 1e9) as u64,
            periods: 0,
            throttled: 0,
            working_set: service.profile.memory,
        })
    }

    /// What is seen of the machine.
    pub(super) fn look(&mut self) -> HostSample {
        self.catch_up();
        let memory = |one: &Container| {
            let service = self.services.get(one.service()).filter(|_| one.runs());
            service.map_or(0, |service| service.profile.memory.0)
        };
        let in_use: u64 = self.containers.values().map(memory).sum();
        let cores = f64::from(self.machine.cores);
        HostSample {
            memory: self.machine.memory,
            available: Bytes(
                (self.machine.memory.0)
                    .saturating_sub(SYSTEM.0)
                    .saturating_sub(in_use),
            ),
            busy: Some((self.used / cores * 100.0).min(100.0)),
            pressure: None,
        }
    }

    /// What happened to the requests of a service in the last so long.
    pub(super) fn load(&mut self, service: &str, window: Duration) -> Option<QueueStep> {
        self.catch_up();
        let service = self.services.get(service)?;
        let since = self.at.saturating_sub(window);
        let mut sum = QueueStep::default();
        let mut area = 0.0;
        let recent = service.steps.iter().rev();
        for (_, step) in recent.take_while(|(end, _)| *end > since) {
            sum.seconds += step.seconds;
            sum.came += step.came;
            sum.ended += step.ended;
            sum.timed_out += step.timed_out;
            sum.refused += step.refused;
            sum.broken += step.broken;
            area += step.in_flight * step.seconds;
            sum.took.extend_from_slice(&step.took);
        }
        sum.in_flight = area / sum.seconds.max(1e-9);
        Some(sum)
    }

    /// What was read at another time at this moment: requests per second, and those under way at once.
    pub(super) fn heard(&mut self, service: &str) -> (Option<f64>, Option<f64>) {
        self.catch_up();
        let heard = self.services.get(service).map(|one| &one.heard);
        // A decision sees what was so until then; nobody decides at quite the same moments as before.
        let half = heard.map_or(Duration::ZERO, |heard| heard.interval / 2);
        let at = self.at.saturating_sub(half);
        let value = |shape: Option<&LoadShape>| shape.map(|shape| shape.rate(at));
        (
            value(heard.and_then(|heard| heard.requests.as_ref())),
            value(heard.and_then(|heard| heard.in_flight.as_ref())),
        )
    }

    /// Whether compose counts it as a replica of this service.
    pub(super) fn is_replica(&self, one: &Container, service: &str) -> bool {
        one.service() == service
            && one.labels.get(labels::PROJECT) == Some(&self.project)
            && one.labels.get(labels::ONEOFF).is_some_and(|v| v == "False")
    }

    /// As the Engine describes it.
    pub(super) fn replica(container: &Container) -> Replica {
        let address = IpAddr::V4(container.ip());
        let networks = container.networks.iter().filter(|_| container.runs());
        let is_nginx = container.image.starts_with("nginx");
        Replica {
            id: container.id.clone(),
            name: container.name.clone(),
            service: container.service().to_owned(),
            number: container.number(),
            state: container.state,
            health: container.health,
            created: container.created,
            started: container.started,
            addresses: networks.map(|name| (name.clone(), address)).collect(),
            published: BTreeMap::new(),
            config_hash: container
                .labels
                .get(labels::CONFIG_HASH)
                .cloned()
                .unwrap_or_default(),
            image: container.image.clone(),
            image_id: "sha256:1".into(),
            limits: container.limits,
            pid: 0,
            cgroup_parent: String::new(),
            refers_to: Vec::new(),
            oom_killed: container.oom_killed,
            restart_count: 0,
            exit_code: container.exit_code,
            fixed: Fixed::default(),
            stop_timeout: None,
            // No path of the machine that the simulation runs on.
            mounts: is_nginx
                .then(|| MountPoint {
                    source: PathBuf::from("/simulated/upstreams"),
                    destination: PathBuf::from("/etc/nginx/upstreams"),
                    is_writable: false,
                })
                .into_iter()
                .collect(),
            labels: container.labels.clone(),
        }
    }
}

impl ServiceLoad {
    /// Requests in flight to a replica.
    pub(super) fn open(&self, name: &str) -> usize {
        self.queue.open(name)
    }

    /// A replica that can serve.
    fn begin(&mut self, name: &str) {
        self.queue.add(name, &self.profile);
        self.direct(self.reached);
    }

    /// nginx, where it runs, sends requests as it was told.
    fn direct(&mut self, reached: bool) {
        self.reached = reached;
        if reached {
            self.queue.route(&self.routed);
        } else {
            self.queue.route(&BTreeMap::new());
        }
    }

    fn cpu(&self) -> f64 {
        self.queue.cpu_of_all()
    }

    /// Spreads what was read of the cores over the replicas that serve now; how much it is.
    fn hear_cores(&mut self, at: Duration, span: Duration) -> Option<f64> {
        let all = self.heard.cores.as_ref()?.rate(at) * self.profile.cores;
        let names = self.queue.served();
        let each = (all / names.len().max(1) as f64).min(self.profile.cores);
        let used = each * names.len() as f64;
        for name in names {
            *self.heard_cpu.entry(name).or_default() += each * span.as_secs_f64();
        }
        Some(used)
    }

    /// Keeps what the longest window of a policy may ask for.
    fn remember(&mut self, end: Duration, step: QueueStep) {
        const REACH: Duration = Duration::from_secs(600);
        self.steps.push_back((end, step));
        while self.steps.front().is_some_and(|(at, _)| *at + REACH < end) {
            self.steps.pop_front();
        }
    }
}
