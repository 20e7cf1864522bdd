//! The event loop. It owns the parts of a run, each of which knows nothing of the others, and hands
//! messages, events and requests on to them and to the machines of the services.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use indexmap::IndexMap;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, Interval, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    Message, RunClock,
    access_log_metrics::{LoadMetrics, Loads},
    compose_files::ComposeFiles,
    custom_metrics::CustomMetrics,
    drift::{Currents, DriftRecord},
    engine_link::EngineLink,
    goal::{RunGoal, RunOutcome},
    host_capacity::HostState,
    nginx_state::NginxState,
    nginx_target::NginxLocation,
    operations::Operations,
    pending_requests::{PendingRequest, PendingRequests},
    persistence::{Claim, Persistence},
    preflight::PreflightState,
    publish_scheduler::Router,
    sampling::Sampling,
    scale_file::ScaleFileState,
    service_setup,
    systemd::SystemdNotifier,
    tasks::Tasks,
    warn_once::{Topic, WarnOnce},
};
use crate::{
    compose::{self, Loaded},
    control::Call,
    engine::Engine,
    host,
    metrics::Meters,
    policy::{Notify, Policy},
    proxy::Proxy,
    reconcile::{Event, PersistedState, ScalingEvent, ServiceMachine},
    state::{Lock, Recording, StateDir},
    units::Timestamp,
};

mod config_reload;
mod dispatch;
mod effects;
mod engine_connection;
mod engine_events;
mod machines;
mod nginx_discovery;
mod nginx_preflight;
mod outcome;
mod pending;
mod publishing;
mod requests;
mod sampling;
mod saving;
#[cfg(test)]
mod tests;
mod upkeep;

use saving::Deferred;

/// The longest that a client of `sync` waits.
const SYNC: Duration = Duration::from_secs(60);
/// After the first signal, steps in progress get this long.
const PARTING: Duration = Duration::from_secs(20);

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
    pub nginx: watch::Sender<NginxLocation>,
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

/// The driver of one project.
pub struct Driver<E, P> {
    clock: RunClock,
    goal: RunGoal,
    dry_run: bool,
    /// A signal has come: steps in progress are finished, and none is begun.
    stopping: bool,
    /// When the loop came round last.
    ticked: Option<Timestamp>,
    /// When `sync` gives up.
    sync_by: Option<Timestamp>,
    loaded: Loaded,
    files: ComposeFiles,
    counts: ScaleFileState,
    drift: DriftRecord,
    machines: IndexMap<String, ServiceMachine>,
    /// Events that the machines are still to hear.
    queue: VecDeque<(String, Event)>,
    wakes: BTreeSet<Timestamp>,
    engine: EngineLink<E>,
    nginx: NginxState<P>,
    preflight: PreflightState,
    router: Router,
    operations: Operations,
    sampling: Sampling,
    load: LoadMetrics,
    custom: CustomMetrics,
    host: HostState,
    persistence: Persistence,
    /// Steps and answers that wait for the disk.
    deferred: Deferred,
    requests: PendingRequests,
    complaints: WarnOnce,
    meters: Arc<Meters>,
    notes: mpsc::UnboundedSender<ScalingEvent>,
    notify: watch::Sender<Vec<Notify>>,
    tasks: Tasks,
    inputs: Inputs,
}

/// Where the loop hears from others.
struct Inputs {
    messages: mpsc::Receiver<Message>,
    calls: Option<mpsc::Receiver<Call>>,
    reload: Option<mpsc::Receiver<()>>,
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Makes a driver; nothing happens before [`Driver::run`].
    pub fn new(deps: DriverDeps<E, P>, goal: RunGoal) -> Self {
        let loaded = deps.loaded;
        let (tasks, messages) = Tasks::new();
        let keeps = !(deps.dry_run || goal == RunGoal::Look);
        let mut driver = Self {
            clock: deps.clock,
            dry_run: deps.dry_run,
            stopping: false,
            ticked: None,
            sync_by: None,
            files: ComposeFiles::new(deps.source, deps.extra, &loaded.watched),
            counts: ScaleFileState::default(),
            drift: DriftRecord::new(deps.asks_compose && goal == RunGoal::Watch),
            machines: IndexMap::new(),
            queue: VecDeque::new(),
            wakes: BTreeSet::new(),
            engine: EngineLink::new(deps.engine),
            nginx: NginxState::new(deps.proxy, deps.nginx),
            preflight: PreflightState::new(),
            router: Router::default(),
            operations: Operations::new(deps.starts_at_once),
            sampling: Sampling::default(),
            load: LoadMetrics::new(deps.loads),
            custom: CustomMetrics::new(&loaded),
            host: HostState::new(deps.host),
            persistence: Persistence::new(
                (deps.state, keeps),
                deps.memory,
                (deps.locks, deps.claim),
                deps.recording,
            ),
            deferred: Deferred::default(),
            requests: PendingRequests::default(),
            complaints: WarnOnce::default(),
            meters: deps.meters,
            notes: deps.notes,
            notify: watch::Sender::new(loaded.settings.notify.clone()),
            tasks,
            inputs: Inputs {
                messages,
                calls: deps.calls,
                reload: deps.reload,
            },
            loaded,
            goal,
        };
        if service_setup::nginx_place(&driver.loaded) == Some(service_setup::ManagedNginx::Host) {
            driver.nginx.is_on_host();
        }
        driver.make_machines();
        driver
    }

    fn passive(&self) -> bool {
        self.dry_run || self.goal == RunGoal::Look
    }

    /// Runs until the goal is reached, or until `stop` is cancelled; `abort` ends it at once.
    pub async fn run(&mut self, stop: CancellationToken, abort: CancellationToken) -> RunOutcome {
        let outcome = tokio::select! {
            outcome = self.drive(&stop) => outcome,
            () = abort.cancelled() => RunOutcome::Interrupted,
        };
        self.tasks.abort_all();
        self.save_at_the_end().await;
        outcome
    }

    async fn drive(&mut self, stop: &CancellationToken) -> RunOutcome {
        let due = self.persistence.claim_due();
        match due.map(|(_, why)| why.to_owned()) {
            Some(why) => self.engine_lost(&why),
            None => self.connect(),
        }
        if let RunGoal::Scale {
            services,
            hold,
            timeout,
        } = self.goal.clone()
        {
            self.requests.push(PendingRequest {
                targets: services,
                started: false,
                hold,
                allowed: timeout,
                deadline: self.clock.now() + timeout,
                acknowledge: None,
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
            self.save_changes();
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
                .chain(self.sampling.due())
                .chain(self.requests.deadlines())
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
                result = self.persistence.written(), if self.persistence.is_writing() => {
                    self.saved(result);
                }
                event = self.engine.next_event(), if self.engine.is_connected() => {
                    match event {
                        Some(Ok(event)) => self.on_engine_event(&event),
                        Some(Err(error)) => self.engine_lost(&error.to_string()),
                        None => self.engine_lost("the event stream ended"),
                    }
                }
                Some(message) = self.inputs.messages.recv() => self.on_message(message),
                Some(()) = self.tasks.ended(), if !self.tasks.is_empty() => {}
                call = next_call(&mut self.inputs.calls), if self.inputs.calls.is_some() => {
                    match call {
                        Some(call) => self.on_call(call),
                        None => self.inputs.calls = None,
                    }
                }
                asked = next_call(&mut self.inputs.reload), if self.inputs.reload.is_some() => {
                    match asked {
                        Some(()) => {
                            // Whoever asks wants to hear about a mistake again.
                            self.complaints.settle(Topic::File);
                            self.read_again();
                        }
                        None => self.inputs.reload = None,
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
        if self.sampling.take_request() {
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
        if self.files.are_changed(&self.loaded.watched) {
            self.read_again();
        }
        self.check_foreign_stops();
        // Somebody made nginx's directory anew, or took a file away.
        if !self.passive() && self.nginx.proxy().is_some_and(|proxy| proxy.disturbed()) {
            self.router.again(self.clock.now());
        }
        let wall = self.clock.wall_millis();
        let asks = self.load.reads_a_log()
            && (self.load.asks_for_a_look(wall) || !self.preflight.is_known());
        let logged = self.loaded.policies.values().any(Policy::reads_the_log);
        if logged && asks || self.preflight.is_barred() || self.load.is_hidden() {
            self.preflight.request();
            self.preflight_if_due();
        }
        if self.engine.is_connected() {
            if self.is_up_to_date() {
                self.check_foreign_nginx();
                self.sample();
            } else {
                self.list();
            }
        }
        if self.complaints.about(Topic::Counts).is_some() {
            self.counts.read_again();
        }
        self.persistence.check_locks(&mut self.complaints);
        // Readings may wait for the next interval.
        self.persistence.begin_to_save(&self.machines);
    }

    /// What the next run should know of this one.
    pub fn into_memory(self) -> BTreeMap<String, PersistedState> {
        self.persistence.into_memory(&self.machines)
    }

    /// Compares replicas with what compose would make now, for a run that only looks.
    pub fn compare_with(&mut self, current: Currents) {
        self.drift.answered(current);
    }

    /// What is counted of the run.
    pub fn meters(&self) -> Arc<Meters> {
        Arc::clone(&self.meters)
    }

    /// Who is to be told of what happens, as the compose file has it at any time.
    pub fn notify(&self) -> watch::Receiver<Vec<Notify>> {
        self.notify.subscribe()
    }

    /// Files of the proxy that this run rewrote.
    pub fn changed(&self) -> &BTreeSet<String> {
        self.nginx.changed()
    }
}

fn ticker(period: Duration) -> Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}

async fn next_call<T>(calls: &mut Option<mpsc::Receiver<T>>) -> Option<T> {
    match calls {
        Some(calls) => calls.recv().await,
        None => std::future::pending().await,
    }
}
