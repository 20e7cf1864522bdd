//! The event loop.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{Stream, StreamExt};
use indexmap::IndexMap;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Message, RunClock,
    access_log_metrics::{Loads, Monitor, UnloggedByService},
    config_reload::FileStamps,
    custom_metrics::{MetricCache, SourceContext},
    dispatch::SYNC,
    drift,
    host_capacity::{Gathered, Locality},
    nginx_target::{CrashLoops, NginxLocation},
    pending_requests::PendingRequest,
    publish_scheduler::Router,
    replica_ops::Starts,
    scale_file::ScaleFileState,
    service_setup,
    systemd::SystemdNotifier,
    warn_once::{Topic, WarnOnce},
};
use crate::{
    compose::{self, Loaded},
    control::{Call, Snapshot},
    engine::{Engine, EngineError, EngineEvent},
    host,
    metrics::Meters,
    policy::{Notify, Policy},
    project::ContainerId,
    proxy::Proxy,
    reconcile::{Event, PersistedState, ScalingEvent, ServiceMachine, ServiceView},
    state::{Lock, ProjectLock, Recording, StateDir, StateError},
    units::{Bytes, Timestamp},
};

/// Messages that may wait for the loop.
const QUEUE: usize = 1024;
/// While the Engine tells of nothing and nothing is to be done, containers are listed this often: a
/// listing costs the Engine a look at each of them.
const RESYNC: Duration = Duration::from_secs(60);
/// After the first signal, steps in progress get this long.
const PARTING: Duration = Duration::from_secs(20);

/// What a run is for.
#[derive(Debug, Clone, PartialEq)]
pub enum RunGoal {
    /// Keep every service at its size, until told to stop.
    Watch,
    /// One decision and its action.
    Once,
    /// These counts, then stop.
    Scale {
        /// The counts.
        services: IndexMap<String, u32>,
        /// How long a later `watch` leaves them alone.
        hold: Duration,
        /// The longest wait.
        timeout: Duration,
    },
    /// nginx in step with what runs.
    Sync,
    /// Look, measure, report; touch nothing.
    Look,
}

/// How a run ended.
#[derive(Debug)]
pub enum RunOutcome {
    /// As it should.
    Done,
    /// The work failed; the sentences say why.
    Failed(Vec<String>),
    /// The engine does not answer (only where a run cannot wait for it).
    EngineAway(String),
    /// Another process has taken the project over.
    Ousted(StateError),
    /// Interrupted by a signal.
    Interrupted,
}

/// What a driver is made of.
pub struct DriverDeps<E, P> {
    /// What time it is.
    pub clock: RunClock,
    /// The engine.
    pub engine: Arc<E>,
    /// The proxy; `None` where the project has none.
    pub proxy: Option<P>,
    /// The project.
    pub loaded: Loaded,
    /// How it was loaded, to load it again when it changes.
    pub source: Option<compose::LoadRequest>,
    /// Services without a policy that are managed in this run all the same.
    pub extra: Vec<String>,
    /// Where memory and history are kept; `None` touches no file.
    pub state: Option<StateDir>,
    /// What the last run remembered.
    pub memory: BTreeMap<String, PersistedState>,
    /// The right to act, which is given up with the driver.
    pub locks: Vec<Lock>,
    /// The same by Engine and project.
    pub claim: Claim,
    /// Requests from the control socket.
    pub calls: Option<mpsc::Receiver<Call>>,
    /// Where notes go for people; never blocks.
    pub notes: mpsc::UnboundedSender<ScalingEvent>,
    /// Tells the proxy's remote control where nginx is.
    pub nginx: tokio::sync::watch::Sender<NginxLocation>,
    /// Decide and report, touch nothing.
    pub dry_run: bool,
    /// How many containers are started at once.
    pub starts_at_once: u32,
    /// Where the input of every decision is recorded.
    pub recording: Option<Recording>,
    /// Asks to read the compose file again (SIGHUP).
    pub reload: Option<mpsc::Receiver<()>>,
    /// What the machine has left.
    pub host: host::Watcher,
    /// Who tells the load of services; `None` reads nginx's log.
    pub loads: Option<Arc<dyn Loads>>,
    /// Whether compose's own program is asked what the file says now; it knows nothing of a simulation.
    pub asks_compose: bool,
    /// What is counted of the run.
    pub meters: Arc<Meters>,
}

/// The right to act on a project of an Engine, whatever state directory others have.
#[derive(Debug)]
pub enum Claim {
    /// Nothing is done that needs it.
    NotNeeded,
    /// It is held; `None` where it could not be had for a reason that was said.
    Held(Option<ProjectLock>),
    /// The Engine could not be asked which one it is: as soon as it answers, and before anything is done.
    Due {
        /// The project.
        project: String,
        /// Why the Engine could not be asked.
        why: String,
    },
}

type EventStream = Pin<Box<dyn Stream<Item = Result<EngineEvent, EngineError>> + Send>>;

/// The driver of one project.
pub struct Driver<E, P> {
    pub(super) engine: Arc<E>,
    pub(super) proxy: Option<Arc<P>>,
    pub(super) clock: RunClock,
    pub(super) loaded: Loaded,
    pub(super) source: Option<compose::LoadRequest>,
    pub(super) extra: Vec<String>,
    pub(super) state: Option<StateDir>,
    pub(super) memory: BTreeMap<String, PersistedState>,
    pub(super) locks: Vec<Lock>,
    pub(super) claim: Claim,
    pub(super) recording: Option<Recording>,
    /// Somebody else holds the project now.
    pub(super) ousted: Option<StateError>,
    pub(super) machines: IndexMap<String, ServiceMachine>,
    pub(super) router: Router,
    pub(super) wakes: BTreeSet<Timestamp>,
    pub(super) tasks: JoinSet<()>,
    pub(super) report: mpsc::Sender<Message>,
    messages: mpsc::Receiver<Message>,
    pub(super) queue: VecDeque<(String, Event)>,
    pub(super) probes: BTreeMap<ContainerId, AbortHandle>,
    pub(super) starts: Arc<Starts>,
    pub(super) steps: usize,
    /// Names and ids of containers whose events are of our own making; those that are done with a
    /// moment until which late events may come.
    pub(super) own_operations: BTreeMap<String, Option<Timestamp>>,
    /// Containers that somebody else has told to stop and that have not yet.
    pub(super) stopping_elsewhere: BTreeMap<ContainerId, Timestamp>,
    /// Those that have, and when.
    pub(super) stopped_elsewhere: BTreeMap<ContainerId, Timestamp>,
    pub(super) notes: mpsc::UnboundedSender<ScalingEvent>,
    pub(super) notify: tokio::sync::watch::Sender<Vec<Notify>>,
    pub(super) nginx: tokio::sync::watch::Sender<NginxLocation>,
    pub(super) crashes: CrashLoops,
    /// Since when it is certain that no nginx runs, where one did.
    pub(super) nginx_missed: Option<Timestamp>,
    pub(super) waiters: Vec<PendingRequest>,
    calls: Option<mpsc::Receiver<Call>>,
    reload: Option<mpsc::Receiver<()>>,
    pub(super) events: Option<EventStream>,
    pub(super) engine_away: Option<String>,
    pub(super) reconnecting: bool,
    /// Counts connections: an answer that was asked for through an earlier one is out of date.
    pub(super) connection: u32,
    pub(super) connected: Option<Timestamp>,
    /// Connections in a row that did not last.
    pub(super) flaps: u32,
    pub(super) complaints: WarnOnce,
    pub(super) listing: bool,
    /// When the last listing was asked for that has been answered.
    pub(super) listed: Option<Timestamp>,
    /// When the Engine told of something last.
    pub(super) heard: Option<Timestamp>,
    pub(super) sampling: BTreeSet<String>,
    /// Services whose readings are on their way and from before the clock jumped.
    pub(super) stale: BTreeSet<String>,
    pub(super) sampled: BTreeMap<String, u32>,
    /// Readings that wait until all decide together.
    pub(super) gathered: Gathered,
    pub(super) host: host::Watcher,
    /// The last look at the machine.
    pub(super) looked: Option<host::HostSample>,
    pub(super) meters: Arc<Meters>,
    /// When the loop came round last.
    ticked: Option<Timestamp>,
    pub(super) locality: Locality,
    /// This machine's memory when it was last held against the Engine's.
    pub(super) compared: Option<Bytes>,
    /// Since when a second look at the cores is waited for.
    pub(super) cores_since: Option<Timestamp>,
    /// What is known of custom metrics, by service.
    pub(super) shelves: BTreeMap<String, MetricCache>,
    /// What their sources may name.
    pub(super) around: SourceContext,
    /// nginx's log, where load is read from it.
    pub(super) monitor: Option<Monitor>,
    /// Who tells the load instead.
    pub(super) loads: Option<Arc<dyn Loads>>,
    /// What hides it from services.
    pub(super) unlogged: UnloggedByService,
    pub(super) dry_run: bool,
    pub(super) stopping: bool,
    pub(super) stamps: FileStamps,
    /// What `compose.scale.yaml` says.
    pub(super) kept: ScaleFileState,
    /// Who is behind the compose file.
    pub(super) drift: drift::DriftRecord,
    pub(super) asks_compose: bool,
    pub(super) reading: bool,
    /// What nginx refuses at present.
    pub(super) trouble: Option<String>,
    /// Why the count that this run is for was not reached, whatever comes afterwards.
    pub(super) failed: Option<String>,
    /// What keeps nginx from reading our files, by service, as the last look found it.
    pub(super) barred: BTreeMap<String, String>,
    /// Whether that is to be looked at, and whether a look is on its way.
    pub(super) way_is_due: bool,
    pub(super) way_is_looked_at: bool,
    /// Whether nginx, as it runs now, has been looked at.
    pub(super) way_is_known: bool,
    /// Files of the proxy that this run rewrote.
    pub(super) changed: BTreeSet<String>,
    pub(super) sample_next: bool,
    /// Which replica of each service is remembered.
    pub(super) remembered: BTreeMap<String, String>,
    /// Services of which one is being remembered: one after the other, as there is one file for each.
    pub(super) remembering: BTreeSet<String>,
    /// Something happened that the next run must know.
    pub(super) dirty: bool,
    /// When `sync` gives up.
    sync_by: Option<Timestamp>,
    pub(super) goal: RunGoal,
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Makes a driver; nothing happens before [`Driver::run`].
    pub fn new(parts: DriverDeps<E, P>, goal: RunGoal) -> Self {
        let (report, messages) = mpsc::channel(QUEUE);
        let mut driver = Self {
            engine: parts.engine,
            proxy: parts.proxy.map(Arc::new),
            clock: parts.clock,
            around: SourceContext::new(&parts.loaded, NginxLocation::Unknown, &[]),
            notify: tokio::sync::watch::Sender::new(parts.loaded.settings.notify.clone()),
            loaded: parts.loaded,
            source: parts.source,
            extra: parts.extra,
            state: parts.state,
            memory: parts.memory,
            locks: parts.locks,
            claim: parts.claim,
            recording: parts.recording,
            ousted: None,
            machines: IndexMap::new(),
            router: Router::default(),
            wakes: BTreeSet::new(),
            tasks: JoinSet::new(),
            report,
            messages,
            queue: VecDeque::new(),
            probes: BTreeMap::new(),
            starts: Arc::new(Starts::new(parts.starts_at_once.max(1))),
            steps: 0,
            own_operations: BTreeMap::new(),
            stopping_elsewhere: BTreeMap::new(),
            stopped_elsewhere: BTreeMap::new(),
            notes: parts.notes,
            nginx: parts.nginx,
            crashes: CrashLoops::default(),
            nginx_missed: None,
            waiters: Vec::new(),
            calls: parts.calls,
            reload: parts.reload,
            events: None,
            engine_away: None,
            reconnecting: false,
            connection: 0,
            connected: None,
            flaps: 0,
            complaints: WarnOnce::default(),
            listing: false,
            listed: None,
            heard: None,
            sampling: BTreeSet::new(),
            stale: BTreeSet::new(),
            sampled: BTreeMap::new(),
            gathered: Gathered::default(),
            host: parts.host,
            looked: None,
            meters: parts.meters,
            ticked: None,
            locality: Locality::Unknown,
            compared: None,
            cores_since: None,
            shelves: BTreeMap::new(),
            monitor: None,
            loads: parts.loads,
            unlogged: UnloggedByService::new(),
            dry_run: parts.dry_run,
            stopping: false,
            stamps: FileStamps::new(),
            kept: ScaleFileState::default(),
            drift: drift::DriftRecord::default(),
            asks_compose: parts.asks_compose,
            reading: false,
            trouble: None,
            failed: None,
            barred: BTreeMap::new(),
            way_is_due: true,
            way_is_looked_at: false,
            way_is_known: false,
            changed: BTreeSet::new(),
            sample_next: false,
            remembered: BTreeMap::new(),
            remembering: BTreeSet::new(),
            dirty: false,
            sync_by: None,
            goal,
        };
        if service_setup::nginx_place(&driver.loaded) == Some(service_setup::ManagedNginx::Host) {
            driver.nginx.send_replace(NginxLocation::Host);
        }
        driver.make_machines();
        driver.stamps = driver.read_stamps();
        driver
    }

    pub(super) fn passive(&self) -> bool {
        self.dry_run || self.goal == RunGoal::Look
    }

    /// One machine per managed service; those that stay keep what they know.
    pub(super) fn make_machines(&mut self) {
        let now = self.clock.now();
        let has_nginx = self.proxy.is_some();
        let managed: Vec<_> = self
            .loaded
            .project
            .services
            .values()
            .filter(|s| self.loaded.policies.contains_key(&s.name) || self.extra.contains(&s.name))
            .map(|service| service_setup::setup_for(&self.loaded, service, has_nginx))
            .collect();
        let names: BTreeSet<_> = managed.iter().map(|s| s.service.clone()).collect();
        let gone: Vec<_> = self
            .machines
            .keys()
            .filter(|name| !names.contains(*name))
            .cloned()
            .collect();
        for name in gone {
            self.machines.shift_remove(&name);
            self.shelves.remove(&name);
            self.router.forget(&name, now);
        }
        for setup in managed {
            let name = setup.service.clone();
            match self.machines.get(&name) {
                Some(machine) if *machine.setup() == setup => {}
                Some(machine) => {
                    // Without an upstream it may be one that nginx sends requests to all the same.
                    self.way_is_due |= machine.setup().routed != setup.routed;
                    self.queue.push_back((name, Event::Setup(Box::new(setup))));
                }
                None => {
                    let mut memory = self.memory.get(&name).cloned();
                    if self.goal == RunGoal::Watch {
                        memory = memory.map(|m| m.without_old_readings(now, setup.interval));
                    }
                    let mut machine = ServiceMachine::new(setup, memory, now);
                    if self.goal == RunGoal::Watch {
                        machine = machine.ramping();
                    }
                    if self.passive() {
                        machine = machine.passive();
                    }
                    if matches!(&self.goal, RunGoal::Scale { services, .. } if services.contains_key(&name))
                    {
                        machine.expect_a_count();
                    }
                    if has_nginx {
                        machine.expect_a_look();
                        self.way_is_due = true;
                    }
                    self.machines.insert(name, machine);
                }
            }
        }
        self.check_log();
    }

    /// Runs until the goal is reached, or until `stop` is cancelled; `abort` ends it at once.
    pub async fn run(&mut self, stop: CancellationToken, abort: CancellationToken) -> RunOutcome {
        let outcome = tokio::select! {
            outcome = self.drive(&stop) => outcome,
            () = abort.cancelled() => RunOutcome::Interrupted,
        };
        self.remember();
        self.tasks.abort_all();
        outcome
    }

    async fn drive(&mut self, stop: &CancellationToken) -> RunOutcome {
        match &self.claim {
            Claim::Due { why, .. } => {
                let why = why.clone();
                self.engine_lost(&why);
            }
            Claim::NotNeeded | Claim::Held(_) => self.connect(),
        }
        if let RunGoal::Scale {
            services,
            hold,
            timeout,
        } = self.goal.clone()
        {
            self.waiters.push(PendingRequest {
                targets: services,
                started: false,
                hold,
                allowed: timeout,
                deadline: self.clock.now() + timeout,
                replies: None,
                failures: Vec::new(),
            });
        }
        self.sync_by = (self.goal == RunGoal::Sync).then(|| self.clock.now() + SYNC);
        let mut period = self.period();
        let mut ticks = ticker(period);
        let mut parting: Option<Instant> = None;
        // A command that a person waits for has none.
        let mut supervisor =
            (self.goal == RunGoal::Watch).then(|| SystemdNotifier::begin(self.clock.now()));
        loop {
            if let Some(supervisor) = &mut supervisor {
                supervisor.turn(self.clock.now());
            }
            self.decide_together();
            self.settle_queue();
            // What was promised or begun is on disk before nginx or anybody hears of it.
            if std::mem::take(&mut self.dirty) {
                self.remember();
            }
            self.tell_proxy();
            if let Some(outcome) = self.arrived(parting) {
                return outcome;
            }
            if self.period() != period {
                period = self.period();
                ticks = ticker(period);
            }
            let due = self
                .wakes
                .first()
                .copied()
                .into_iter()
                .chain(self.router.due())
                .chain(self.gathered.due)
                .chain(self.waiters.iter().map(|w| w.deadline))
                .chain(self.sync_by.filter(|by| *by > self.clock.now()))
                .chain(supervisor.as_ref().and_then(SystemdNotifier::due))
                .min()
                .unwrap_or_else(|| self.clock.now() + Duration::from_secs(3600));
            let due = self.clock.instant(due);
            let due = parting.map_or(due, |parting| parting.min(due));
            tokio::select! {
                biased;
                () = stop.cancelled(), if parting.is_none() => {
                    info!("stopping: finishing the steps in progress; replicas keep running");
                    self.stopping = true;
                    for service in self.machines.keys() {
                        self.queue.push_back((service.clone(), Event::Parting));
                    }
                    if supervisor.is_some() {
                        SystemdNotifier::ending();
                    }
                    parting = Some(Instant::now() + PARTING);
                }
                event = next_event(&mut self.events), if self.events.is_some() => {
                    match event {
                        Some(Ok(event)) => self.on_engine_event(&event),
                        Some(Err(error)) => self.engine_lost(&error.to_string()),
                        None => self.engine_lost("the event stream ended"),
                    }
                }
                Some(message) = self.messages.recv() => self.on_message(message),
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                call = next_call(&mut self.calls), if self.calls.is_some() => {
                    match call {
                        Some(call) => self.on_call(call),
                        None => self.calls = None,
                    }
                }
                asked = next_call(&mut self.reload), if self.reload.is_some() => {
                    match asked {
                        Some(()) => {
                            // Whoever asks wants to hear about a mistake again.
                            self.complaints.settle(Topic::File);
                            self.read_again();
                        }
                        None => self.reload = None,
                    }
                }
                _ = ticks.tick() => self.on_tick(),
                () = sleep_until(due) => self.on_due(),
            }
        }
    }

    /// Hands out queued events until there are none.
    fn settle_queue(&mut self) {
        while let Some((service, event)) = self.queue.pop_front() {
            let now = self.clock.now();
            let Some(machine) = self.machines.get_mut(&service) else {
                continue;
            };
            let effects = machine.handle(event, now);
            self.carry_out(&service, effects);
        }
        self.serve_waiters();
        // After the machines have heard of the listing, so that they know whom to sample.
        if std::mem::take(&mut self.sample_next) {
            self.sample();
        }
        self.remember_replicas();
        self.keep_counts();
        self.tell_how_to_keep_the_count();
        self.update_drift();
    }

    fn on_due(&mut self) {
        let now = self.clock.now();
        let later = self.wakes.split_off(&(now + Duration::from_nanos(1)));
        let due = std::mem::replace(&mut self.wakes, later);
        if !due.is_empty() {
            for name in self.machines.keys() {
                self.queue.push_back((name.clone(), Event::Wake));
            }
        }
    }

    /// Time between two ticks.
    fn period(&self) -> Duration {
        match self.goal {
            // Two looks, one second apart, make a rate.
            RunGoal::Look | RunGoal::Once => Duration::from_secs(1),
            _ => self.loaded.settings.interval.0,
        }
    }

    fn on_tick(&mut self) {
        self.ticked = Some(self.clock.now());
        if let Some(jump) = self.clock.mind() {
            self.clock_jumped(jump);
        }
        if self.read_stamps() != self.stamps {
            self.read_again();
        }
        self.check_foreign_stops();
        // Somebody made nginx's directory anew, or took a file away.
        if !self.passive() && self.proxy.as_ref().is_some_and(|proxy| proxy.disturbed()) {
            self.router.again(self.clock.now());
        }
        let wall = self.clock.wall_millis();
        let asks = |one: &Monitor| one.asks_for_a_look(wall) || !self.way_is_known;
        let logged = self.loaded.policies.values().any(Policy::reads_the_log);
        if logged && self.monitor.as_ref().is_some_and(asks)
            || !self.barred.is_empty()
            || !self.unlogged.is_empty()
        {
            self.way_is_due = true;
            self.check_nginx_routing();
        }
        if self.events.is_some() {
            if self.is_up_to_date() {
                self.check_foreign_nginx();
                self.sample();
            } else {
                self.list();
            }
        }
        if self.complaints.about(Topic::Counts).is_some() {
            self.kept.read_again();
        }
        self.check_locks();
        self.remember();
    }

    /// Whoever removes the state directory, or its lock, lets another process in: the lock is taken
    /// again, and when somebody was faster this run is over.
    fn check_locks(&mut self) {
        if let Claim::Held(Some(lock)) = &self.claim {
            lock.dismiss_callers();
        }
        for lock in &mut self.locks {
            match lock.renew() {
                Ok(false) => {}
                Ok(true) => {
                    self.complaints.settle(Topic::Lock);
                    warn!(
                        "{} was removed; it is restored, with the state of this run",
                        lock.path().display()
                    );
                }
                Err(error @ StateError::Held { .. }) => self.ousted = Some(error),
                Err(error) => {
                    let why = error.to_string();
                    if self.complaints.raise(Topic::Lock, &why) {
                        warn!(
                            error = why,
                            "the lock was removed and cannot be taken again; another `watch` could start beside this one"
                        );
                    }
                }
            }
        }
    }

    /// Whether a listing would show nothing new: the events told of nothing since the last one, and
    /// nothing is under way.
    fn is_up_to_date(&self) -> bool {
        let now = self.clock.now();
        self.goal == RunGoal::Watch
            && !self.listing
            && self.steps == 0
            && self.in_step()
            && self.machines.values().all(ServiceMachine::is_settled)
            && self.listed.is_some_and(|listed| {
                self.heard.is_none_or(|heard| heard < listed) && now.since(listed) < RESYNC
            })
    }

    /// Whether the run is over.
    fn arrived(&mut self, parting: Option<Instant>) -> Option<RunOutcome> {
        let now = self.clock.now();
        if let Some(error) = self.ousted.take() {
            return Some(RunOutcome::Ousted(error));
        }
        if let Some(until) = parting {
            let idle = self.steps == 0 && !self.router.is_busy();
            return (idle || Instant::now() >= until).then_some(match self.goal {
                RunGoal::Watch => RunOutcome::Done,
                _ => RunOutcome::Interrupted,
            });
        }
        let seen = self.machines.values().all(|m| m.desired().is_some());
        match &self.goal {
            RunGoal::Watch => None,
            // Who waits for an answer gets the one there is.
            _ if !seen && self.complaints.about(Topic::Listing).is_some() => {
                let why = self.complaints.about(Topic::Listing)?;
                Some(RunOutcome::Failed(vec![why.to_owned()]))
            }
            RunGoal::Scale { .. } => self.finished_scale(),
            _ if self.engine_away.is_some() => {
                Some(RunOutcome::EngineAway(self.engine_away.clone()?))
            }
            RunGoal::Sync => {
                if !seen || self.router.is_busy() || self.way_is_looked_at {
                    return None;
                }
                if let Some(why) = &self.trouble {
                    return Some(RunOutcome::Failed(vec![why.clone()]));
                }
                let without = self.without_upstream(|_| true);
                if !without.is_empty() {
                    return Some(RunOutcome::Failed(without));
                }
                if self.machines.values().all(ServiceMachine::is_routed) {
                    return Some(RunOutcome::Done);
                }
                // A replica may be a moment from ready, or never become so.
                (self.sync_by.is_some_and(|by| now >= by)).then(|| {
                    let why = self.machines.values().filter_map(|m| m.trouble(now, false));
                    let waited = format!("nginx is not in step after {}s", SYNC.as_secs());
                    RunOutcome::Failed(std::iter::once(waited).chain(why).collect())
                })
            }
            RunGoal::Look => {
                let looked = self.looked_twice() && self.gathered.due.is_none();
                (seen && looked).then_some(RunOutcome::Done)
            }
            RunGoal::Once => {
                let decided = self
                    .machines
                    .values()
                    .all(|m| !m.setup().autoscaled || m.idle_reason().is_some() || m.has_decided());
                (seen
                    && decided
                    && self.steps == 0
                    && !self.router.is_busy()
                    && (self.dry_run
                        || self
                            .machines
                            .values()
                            .all(|m| m.is_settled() || m.trouble(now, false).is_some())))
                .then(|| {
                    let failures: Vec<_> = self
                        .machines
                        .values()
                        .filter_map(|m| m.trouble(now, false))
                        .collect();
                    if failures.is_empty() {
                        RunOutcome::Done
                    } else {
                        RunOutcome::Failed(failures)
                    }
                })
            }
        }
    }

    fn recollect(&mut self) {
        for (name, machine) in &self.machines {
            let memory = machine.memory();
            if machine.desired().is_some() {
                self.memory.insert(name.clone(), memory);
            } else if memory.paused != self.memory.get(name).and_then(|before| before.paused) {
                // Of the rest it knows less than what is remembered.
                self.memory.entry(name.clone()).or_default().paused = memory.paused;
            }
        }
    }

    /// What the next run should know of this one.
    pub fn into_memory(mut self) -> BTreeMap<String, PersistedState> {
        self.recollect();
        std::mem::take(&mut self.memory)
    }

    fn looked_twice(&self) -> bool {
        self.machines.values().all(|machine| {
            machine.running().is_empty()
                || self
                    .sampled
                    .get(machine.service())
                    .is_some_and(|times| *times >= 2)
        })
    }

    pub(super) fn remember(&mut self) {
        if self.passive() || self.state.is_none() {
            return;
        }
        self.recollect();
        let Some(state) = &self.state else {
            return;
        };
        match state.save(self.memory.clone()) {
            Ok(()) => {
                if self.complaints.settle(Topic::Memory) {
                    info!("holds and history are saved again");
                }
            }
            Err(error) => {
                let why = error.to_string();
                if self.complaints.raise(Topic::Memory, &why) {
                    warn!(
                        error = why,
                        "cannot save holds and history: a restart would lose them"
                    );
                }
            }
        }
    }

    /// Everything that `ps` shows.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        Snapshot {
            version: 1,
            project: self.loaded.project.name.clone(),
            at: now,
            watching: self.goal == RunGoal::Watch,
            nginx: self.nginx.borrow().names(),
            in_step: self.in_step(),
            engine_away: self.engine_away.clone(),
            interval: self.loaded.settings.interval,
            ticked: self.ticked,
            host: self.host_view(),
            troubles: self
                .engine_away
                .iter()
                .map(|why| format!("the Docker Engine does not answer: {why}"))
                .chain(self.trouble.clone())
                .chain(self.complaints.all())
                .chain(self.machines.values().filter_map(|m| m.trouble(now, true)))
                .collect(),
            services: self
                .machines
                .values()
                .map(|machine| ServiceView {
                    drift: self.drift.drift(&self.loaded, machine),
                    ..machine.view(now)
                })
                .collect(),
        }
    }

    /// What is counted of the run.
    pub fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    /// Who is to be told of what happens, as the compose file has it at any time.
    pub fn notify(&self) -> tokio::sync::watch::Receiver<Vec<Notify>> {
        self.notify.subscribe()
    }

    /// Files of the proxy that this run rewrote.
    pub fn changed(&self) -> &BTreeSet<String> {
        &self.changed
    }
}

fn ticker(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}

async fn next_event(events: &mut Option<EventStream>) -> Option<Result<EngineEvent, EngineError>> {
    match events {
        Some(stream) => stream.next().await,
        None => std::future::pending().await,
    }
}

async fn next_call<T>(calls: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match calls {
        Some(calls) => calls.recv().await,
        None => std::future::pending().await,
    }
}
