//! The event loop.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::{Stream, StreamExt};
use indexmap::IndexMap;
use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
    time::{MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Clock, Message, execute::Starts, remote::Target, route::Router, setup, wait::Waiter};
use crate::{
    compose::{self, Loaded},
    control::{Call, Snapshot},
    engine::{Engine, EngineError, EngineEvent},
    project::ContainerId,
    proxy::Proxy,
    reconcile::{Event, Machine, Memory, Note},
    state::StateDir,
    units::Moment,
};

/// Messages that may wait for the loop.
const QUEUE: usize = 1024;
/// After the first signal, steps in progress get this long.
const PARTING: Duration = Duration::from_secs(20);

/// What a run is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Goal {
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Done,
    /// The work failed; the sentences say why.
    Failed(Vec<String>),
    /// The engine does not answer (only where a run cannot wait for it).
    EngineAway(String),
    /// Interrupted by a signal.
    Interrupted,
}

/// What a driver is made of.
pub struct Parts<E, P> {
    /// The engine.
    pub engine: Arc<E>,
    /// The proxy; `None` where the project has none.
    pub proxy: Option<P>,
    /// The project.
    pub loaded: Loaded,
    /// How it was loaded, to load it again when it changes.
    pub source: Option<compose::Request>,
    /// Services without a policy that are managed in this run all the same.
    pub extra: Vec<String>,
    /// Where memory and history are kept; `None` touches no file.
    pub state: Option<StateDir>,
    /// What the last run remembered.
    pub memory: BTreeMap<String, Memory>,
    /// Requests from the control socket.
    pub calls: Option<mpsc::Receiver<Call>>,
    /// Where notes go for people; never blocks.
    pub notes: mpsc::UnboundedSender<Note>,
    /// Tells the proxy's remote control which container is nginx.
    pub nginx: tokio::sync::watch::Sender<Option<Target>>,
    /// Decide and report, touch nothing.
    pub dry_run: bool,
    /// How many containers are started at once.
    pub starts_at_once: u32,
    /// Asks to read the compose file again (SIGHUP).
    pub reload: Option<mpsc::Receiver<()>>,
}

type EventStream = Pin<Box<dyn Stream<Item = Result<EngineEvent, EngineError>> + Send>>;

/// The driver of one project.
pub struct Driver<E, P> {
    pub(super) engine: Arc<E>,
    pub(super) proxy: Option<Arc<P>>,
    pub(super) clock: Clock,
    pub(super) loaded: Loaded,
    pub(super) source: Option<compose::Request>,
    pub(super) extra: Vec<String>,
    pub(super) state: Option<StateDir>,
    pub(super) memory: BTreeMap<String, Memory>,
    pub(super) machines: IndexMap<String, Machine>,
    pub(super) router: Router,
    pub(super) wakes: BTreeSet<Moment>,
    pub(super) tasks: JoinSet<()>,
    pub(super) report: mpsc::Sender<Message>,
    messages: mpsc::Receiver<Message>,
    pub(super) queue: VecDeque<(String, Event)>,
    pub(super) probes: BTreeMap<ContainerId, AbortHandle>,
    pub(super) starts: Arc<Starts>,
    pub(super) steps: usize,
    /// Names and ids of containers whose events are of our own making; those that are done with a
    /// moment until which late events may come.
    pub(super) ours: BTreeMap<String, Option<Moment>>,
    /// Containers that somebody else has told to stop and that have not yet.
    pub(super) stopping_elsewhere: BTreeMap<ContainerId, Moment>,
    pub(super) notes: mpsc::UnboundedSender<Note>,
    pub(super) nginx: tokio::sync::watch::Sender<Option<Target>>,
    pub(super) waiters: Vec<Waiter>,
    calls: Option<mpsc::Receiver<Call>>,
    reload: Option<mpsc::Receiver<()>>,
    pub(super) events: Option<EventStream>,
    pub(super) engine_away: Option<String>,
    pub(super) reconnecting: bool,
    pub(super) several_nginx: bool,
    pub(super) listing: bool,
    pub(super) sampling: BTreeSet<String>,
    pub(super) sampled: BTreeMap<String, u32>,
    pub(super) dry_run: bool,
    pub(super) stopping: bool,
    pub(super) stamps: BTreeMap<PathBuf, Option<SystemTime>>,
    pub(super) trouble: Option<String>,
    /// Files of the proxy that this run rewrote.
    pub(super) changed: BTreeSet<String>,
    pub(super) sample_next: bool,
    /// Something happened that the next run must know.
    pub(super) dirty: bool,
    pub(super) goal: Goal,
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Makes a driver; nothing happens before [`Driver::run`].
    pub fn new(parts: Parts<E, P>, goal: Goal) -> Self {
        let (report, messages) = mpsc::channel(QUEUE);
        let mut driver = Self {
            engine: parts.engine,
            proxy: parts.proxy.map(Arc::new),
            clock: Clock::start(),
            loaded: parts.loaded,
            source: parts.source,
            extra: parts.extra,
            state: parts.state,
            memory: parts.memory,
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
            ours: BTreeMap::new(),
            stopping_elsewhere: BTreeMap::new(),
            notes: parts.notes,
            nginx: parts.nginx,
            waiters: Vec::new(),
            calls: parts.calls,
            reload: parts.reload,
            events: None,
            engine_away: None,
            reconnecting: false,
            several_nginx: false,
            listing: false,
            sampling: BTreeSet::new(),
            sampled: BTreeMap::new(),
            dry_run: parts.dry_run,
            stopping: false,
            stamps: BTreeMap::new(),
            trouble: None,
            changed: BTreeSet::new(),
            sample_next: false,
            dirty: false,
            goal,
        };
        driver.make_machines();
        driver.stamps = driver.read_stamps();
        driver
    }

    pub(super) fn passive(&self) -> bool {
        self.dry_run || self.goal == Goal::Look
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
            .map(|service| setup::setup_for(&self.loaded, service, has_nginx))
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
            self.router.forget(&name, now);
        }
        for setup in managed {
            let name = setup.service.clone();
            match self.machines.get(&name) {
                Some(machine) if *machine.setup() == setup => {}
                Some(_) => self.queue.push_back((name, Event::Setup(Box::new(setup)))),
                None => {
                    let mut machine = Machine::new(setup, self.memory.get(&name).cloned(), now);
                    if self.passive() {
                        machine = machine.passive();
                    }
                    self.machines.insert(name, machine);
                }
            }
        }
    }

    /// Runs until the goal is reached, or until `stop` is cancelled; `abort` ends it at once.
    pub async fn run(&mut self, stop: CancellationToken, abort: CancellationToken) -> Outcome {
        let outcome = tokio::select! {
            outcome = self.drive(&stop) => outcome,
            () = abort.cancelled() => Outcome::Interrupted,
        };
        self.remember();
        self.tasks.abort_all();
        outcome
    }

    async fn drive(&mut self, stop: &CancellationToken) -> Outcome {
        if self.goal == Goal::Watch {
            // A watch outlives an engine that is away; everything else needs it now.
            self.connect();
        } else if let Err(error) = self.engine.info().await {
            return Outcome::EngineAway(error.to_string());
        } else {
            self.connect();
        }
        if let Goal::Scale {
            services,
            hold,
            timeout,
        } = self.goal.clone()
        {
            self.waiters.push(Waiter {
                targets: services,
                started: false,
                hold,
                deadline: self.clock.now() + timeout,
                replies: None,
                failures: Vec::new(),
            });
        }
        let mut ticks = interval(match self.goal {
            // Two looks, one second apart, make a rate.
            Goal::Look | Goal::Once => Duration::from_secs(1),
            _ => self.loaded.settings.interval.0,
        });
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        let mut parting: Option<Moment> = None;
        loop {
            self.settle_queue();
            // What was promised or begun is on disk before nginx or anybody hears of it.
            if std::mem::take(&mut self.dirty) {
                self.remember();
            }
            self.tell_proxy();
            if let Some(outcome) = self.arrived(parting) {
                return outcome;
            }
            let due = self
                .wakes
                .first()
                .copied()
                .into_iter()
                .chain(self.router.due())
                .chain(self.waiters.iter().map(|w| w.deadline))
                .chain(parting)
                .min()
                .unwrap_or_else(|| self.clock.now() + Duration::from_secs(3600));
            let due = self.clock.instant(due);
            tokio::select! {
                biased;
                () = stop.cancelled(), if parting.is_none() => {
                    info!("stopping: finishing the steps in progress; replicas keep running");
                    self.stopping = true;
                    parting = Some(self.clock.now() + PARTING);
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
                        Some(()) => self.read_again(),
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

    fn on_tick(&mut self) {
        if self.read_stamps() != self.stamps {
            self.read_again();
        }
        self.mind_foreign_stops();
        if self.engine_away.is_none() && self.events.is_some() {
            self.list();
        }
        self.remember();
    }

    /// Whether the run is over.
    fn arrived(&mut self, parting: Option<Moment>) -> Option<Outcome> {
        let now = self.clock.now();
        if let Some(until) = parting {
            let idle = self.steps == 0 && !self.router.is_busy();
            return (idle || now >= until).then_some(match self.goal {
                Goal::Watch => Outcome::Done,
                _ => Outcome::Interrupted,
            });
        }
        let seen = self.machines.values().all(|m| m.desired().is_some());
        match &self.goal {
            Goal::Watch => None,
            Goal::Scale { .. } => self.finished_scale(),
            _ if self.engine_away.is_some() => Some(Outcome::EngineAway(self.engine_away.clone()?)),
            Goal::Sync => {
                if !seen || self.router.is_busy() {
                    return None;
                }
                match &self.trouble {
                    Some(why) => Some(Outcome::Failed(vec![why.clone()])),
                    None => self
                        .machines
                        .values()
                        .all(Machine::is_routed)
                        .then_some(Outcome::Done),
                }
            }
            Goal::Look => (seen && self.looked_twice()).then_some(Outcome::Done),
            Goal::Once => {
                let decided = self
                    .machines
                    .values()
                    .all(|m| !m.setup().autoscaled || m.standstill().is_some() || m.has_decided());
                (seen
                    && decided
                    && self.steps == 0
                    && !self.router.is_busy()
                    && (self.dry_run
                        || self
                            .machines
                            .values()
                            .all(|m| m.is_settled() || m.trouble(now).is_some())))
                .then(|| {
                    let failures: Vec<_> = self
                        .machines
                        .values()
                        .filter_map(|m| m.trouble(now))
                        .collect();
                    if failures.is_empty() {
                        Outcome::Done
                    } else {
                        Outcome::Failed(failures)
                    }
                })
            }
        }
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
        if self.passive() {
            return;
        }
        let Some(state) = &self.state else {
            return;
        };
        for (name, machine) in &self.machines {
            if machine.desired().is_some() {
                self.memory.insert(name.clone(), machine.memory());
            }
        }
        if let Err(error) = state.save(self.memory.clone()) {
            warn!(%error, "cannot remember");
        }
    }

    /// Everything that `ps` shows.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.clock.now();
        Snapshot {
            version: 1,
            project: self.loaded.project.name.clone(),
            at: now,
            watching: self.goal == Goal::Watch,
            nginx: self
                .nginx
                .borrow()
                .as_ref()
                .map(|target| target.name.clone()),
            troubles: self
                .engine_away
                .iter()
                .map(|why| format!("the Docker Engine is away: {why}"))
                .chain(self.trouble.clone())
                .chain(self.machines.values().filter_map(|m| m.trouble(now)))
                .collect(),
            services: self.machines.values().map(|m| m.view(now)).collect(),
        }
    }

    /// Files of the proxy that this run rewrote.
    pub fn changed(&self) -> &BTreeSet<String> {
        &self.changed
    }
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
