//! One state machine per service: it hears events and asks for effects.
//!
//! [`ServiceMachine::handle`] is all there is: no clock, no I/O, no task. `now` is an argument, what should
//! be done comes back as [`Effect`]s, and whatever comes of them arrives as an [`Event`]. That makes
//! every interleaving of a slow start, a crash and a reload a plain test.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    plan::{self, Candidate, Plan},
    project::{ContainerId, ContainerState, Replica},
    units::{SignedDuration, Timestamp},
    usage::Window,
};

mod backoff;
mod bootstrap;
mod compose_work;
mod converge;
mod decision_input;
mod decisions;
mod desired;
mod drain;
mod drift;
pub mod event;
mod lifecycle;
mod managed_replica;
mod memory_demand;
mod metric_values;
mod observation;
mod outlier;
mod pause;
mod pause_control;
mod preflight;
mod progress;
mod replica_view;
mod resync;
mod routing;
pub mod scaling_event;
mod skip_reason;
mod slow_start;
pub mod status;
mod unserved;
mod withdraw;

#[cfg(test)]
mod tests;

pub use crate::decide::Pause;
pub use compose_work::QUIET;
pub use decisions::IdleDecision;
pub use drift::{Current, Drift};
pub use event::{
    BootstrapError, BootstrappedReplica, Effect, Event, ReadinessCheck, RouteServer, ServiceSetup,
    Values,
};
pub use memory_demand::Peak;
pub use pause::Paused;
pub use replica_view::ReplicaView;
pub use scaling_event::{EventKind, EventLevel, Initiator, ScalingEvent};
pub use status::{DecisionView, MetricView, PersistedState, ServiceView};

use managed_replica::ManagedReplica;

/// A dead process gets this long to be restarted by its own restart policy.
const RESTART_GRACE: Duration = Duration::from_secs(1);
/// Wait before a failed step (route, removal) is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// The event of an end that a listing has shown may take so long.
const EXPLAINED: Duration = Duration::from_secs(2);

/// A replica that is being made.
#[derive(Debug, Clone, PartialEq)]
struct Pending {
    name: String,
    since: Timestamp,
}

/// A change of the count that is on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct CountMove {
    from: u32,
    to: u32,
    since: Timestamp,
}

/// A count that load may not change.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hold {
    /// The count.
    pub replicas: u32,
    /// Until then; for ever without.
    pub until: Option<Timestamp>,
}

impl Hold {
    fn shift(&mut self, set_by: SignedDuration) {
        self.until = self.until.map(|until| until.shifted(set_by));
    }
}

/// Where the machine stands with the project as a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
enum SyncState {
    /// It has not seen its replicas yet, or not since the engine came back.
    Blind,
    /// It has seen them and waits for each to be looked at once, until then at the longest.
    Adopting { until: Timestamp },
    /// It acts.
    Acting,
}

/// The state machine of one service.
///
/// Each concern has a struct of its own, in the file that carries its name: state and rules are there,
/// and the methods of the machine beside them connect it with the replicas.
#[derive(Debug)]
pub struct ServiceMachine {
    setup: ServiceSetup,
    /// It only watches: nothing is ever asked for but looks.
    passive: bool,
    sync: SyncState,

    members: BTreeMap<ContainerId, ManagedReplica>,
    /// Removed members, and since when: an older listing would bring them back.
    gone: BTreeMap<ContainerId, Timestamp>,
    needed: BTreeSet<ContainerId>,
    /// Whether a replica was seen that requests can get to.
    has_network: bool,
    /// Containers that somebody had stopped under a former run.
    stopped: BTreeSet<ContainerId>,
    /// Containers that a former run was draining.
    leaving: BTreeSet<ContainerId>,
    pending: BTreeMap<u32, Pending>,
    /// Numbers whose names belong to containers that are none of ours.
    taken: BTreeSet<u32>,
    /// Why the last replica that was looked at was not ready.
    unready: Option<String>,

    desired: Option<u32>,
    hold: Option<Hold>,
    moving: Option<CountMove>,
    standstill: Option<String>,
    refused: Option<String>,

    windows: BTreeMap<ContainerId, Window>,
    custom: metric_values::CustomMetricValues,
    memory_demand: memory_demand::MemoryDemand,
    decisions: decisions::Decisions,
    paused: Option<Paused>,

    backoff: backoff::FailureBackoff,
    bootstrap: bootstrap::Bootstrap,
    compose_work: compose_work::ComposeWork,
    preflight: preflight::NginxPreflight,
    routing: routing::Routing,
    unserved: unserved::Unserved,
}

impl ServiceMachine {
    /// A machine that knows nothing yet but what a former run remembered.
    pub fn new(setup: ServiceSetup, memory: Option<PersistedState>, now: Timestamp) -> Self {
        let memory = memory.unwrap_or_default();
        let mut history = memory.history;
        history.prune(now, &setup.policy.behavior);
        let interval = setup.interval;
        Self {
            setup,
            passive: false,
            sync: SyncState::Blind,
            members: BTreeMap::new(),
            gone: BTreeMap::new(),
            needed: BTreeSet::new(),
            leaving: memory.draining,
            has_network: false,
            stopped: memory.stopped,
            pending: BTreeMap::new(),
            taken: BTreeSet::new(),
            unready: None,
            desired: None,
            hold: memory
                .hold
                .filter(|hold| hold.until.is_none_or(|until| until > now)),
            moving: None,
            standstill: None,
            refused: None,
            windows: memory
                .readings
                .into_iter()
                .map(|(id, reading)| {
                    let mut window = Window::new(interval);
                    window.feed(reading);
                    (id, window)
                })
                .collect(),
            custom: metric_values::CustomMetricValues::after(memory.unread),
            memory_demand: memory_demand::MemoryDemand::after(memory.peak, memory.ooms),
            decisions: decisions::Decisions::after(history, memory.last),
            // That it has run out is said once.
            paused: memory.paused,
            backoff: backoff::FailureBackoff::default(),
            bootstrap: bootstrap::Bootstrap::default(),
            compose_work: compose_work::ComposeWork::default(),
            preflight: preflight::NginxPreflight::after(memory.reader),
            routing: routing::Routing::default(),
            unserved: unserved::Unserved::default(),
        }
    }

    /// Makes it watch only, for `--dry-run` and `ps`: it asks for looks and for nothing else.
    #[must_use]
    pub fn passive(mut self) -> Self {
        self.passive = true;
        self
    }

    /// Lets new replicas get their share of the requests over time, for a run that stays.
    #[must_use]
    pub fn ramping(mut self) -> Self {
        self.routing.use_slow_start();
        self
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        &self.setup.service
    }

    /// What it was set up with.
    pub fn setup(&self) -> &ServiceSetup {
        &self.setup
    }

    /// The wanted count; `None` before anything was seen.
    pub fn desired(&self) -> Option<u32> {
        self.desired
    }

    /// Replicas whose counters should be read.
    pub fn running(&self) -> Vec<Replica> {
        self.members
            .values()
            .filter(|m| m.replica.state == ContainerState::Running && !m.is_on_its_way_out())
            .map(|m| m.replica.clone())
            .collect()
    }

    /// Whether a replica was started by this tool and has not been ready yet.
    pub fn is_coming_up(&self, id: &ContainerId) -> bool {
        self.members
            .get(id)
            .is_some_and(ManagedReplica::is_coming_up)
    }

    /// Whether a container is one of its replicas.
    pub fn knows(&self, id: &ContainerId) -> bool {
        self.members.contains_key(id)
    }

    fn serving(&self) -> u32 {
        self.members.values().filter(|m| m.serves()).count() as u32
    }

    fn live(&self) -> u32 {
        let being_made = self.pending.len() + usize::from(self.bootstrap.is_under_way());
        (self.members.values().filter(|m| m.counts()).count() + being_made) as u32
    }

    /// The steps it would take to reach `desired`, for `--dry-run`.
    pub fn plan(&self, desired: u32) -> Result<Plan, plan::PlanError> {
        let standings: Vec<_> = self.members.values().map(|m| self.standing(m)).collect();
        let pending: Vec<_> = self.pending.keys().copied().collect();
        let above = self.taken.last().copied().unwrap_or(0);
        plan::plan(&self.setup.service, &standings, &pending, above, desired)
    }

    fn standing<'a>(&self, member: &'a ManagedReplica) -> Candidate<'a> {
        Candidate {
            replica: &member.replica,
            draining: member.is_on_its_way_out(),
            ready: member.serves(),
            needed: self.needed.contains(&member.replica.id),
            left_alone: member.left_alone,
            in_flight: self.custom.one_of("in_flight", &member.replica.id),
        }
    }

    /// Hears an event and says what is to be done.
    pub fn handle(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        let mut out = Vec::new();
        // By a clock that was set it may not be over.
        if !matches!(event, Event::ClockJumped { .. }) {
            self.end_pause(now, &mut out);
        }
        self.dispatch(event, now, &mut out);
        self.adopt(now, &mut out);
        self.converge(now, &mut out);
        self.reroute(now, &mut out);
        self.retire(now, &mut out);
        self.notice_arrival(now, &mut out);
        self.notice_recovery(now, &mut out);
        out
    }

    fn dispatch(&mut self, event: Event, now: Timestamp, out: &mut Vec<Effect>) {
        match event {
            Event::Seen {
                replicas,
                needed,
                taken,
            } => self.on_seen(replicas, needed, taken, now, out),
            Event::Observed { replica, taken } => self.on_observed(*replica, taken, now, out),
            Event::Died {
                id,
                exit_code,
                asked,
            } => self.on_died(&id, exit_code, asked, now, out),
            Event::Oom { id } => self.on_oom(&id, now),
            Event::Stopped { id } => self.on_stopped(&id, now, out),
            Event::Paused { id } => self.on_paused(&id, now, out),
            Event::Unhealthy { id } => self.on_unhealthy(&id, now, out),
            Event::Gone { id } => self.on_gone(&id, now),
            Event::Busy => self.on_busy(now, out),
            Event::EngineLost => self.on_engine_lost(),
            Event::ClockJumped { set_by } => self.on_clock_jumped(set_by, now, out),
            Event::Made { number, result } => self.on_made(number, result, now, out),
            Event::Founded { result } => self.on_founded(result, now, out),
            Event::NameTaken { number } => self.on_name_taken(number, now, out),
            Event::Restarted { id, result } => self.on_restarted(&id, result, now, out),
            Event::Ready { id, started } => self.on_ready(&id, started, now, out),
            Event::NotYet { id, why } => self.on_not_yet(&id, &why),
            Event::GateFailed { id, why, log } => self.on_gate_failed(&id, why, log, now, out),
            Event::Routed { seq, result } => self.on_routed(seq, result, now, out),
            Event::Parting => self.on_parting(),
            Event::RouteLater => self.on_route_later(now, out),
            Event::Way { barred, nginx } => self.on_way(barred, nginx),
            Event::TakenOut { seq } => self.on_taken_out(seq, now, out),
            Event::Drained { seq } => self.on_drained(seq),
            Event::Retired { id, result } => self.on_retired(&id, result, now, out),
            Event::Sampled { readings, values } => self.on_sampled(readings, values, now, out),
            Event::Scale { replicas, hold, by } => self.on_scale(replicas, hold, by, now, out),
            Event::Withdraw { count } => self.on_withdraw(count, now, out),
            Event::Suspend {
                directions,
                span,
                by,
            } => self.on_suspend(directions, span, by, now, out),
            Event::Resume { by } => self.on_resume(by, now, out),
            Event::Setup(setup) => self.on_setup(*setup, now, out),
            Event::Wake => {}
        }
    }

    fn note(&self, what: EventKind, now: Timestamp) -> Effect {
        Effect::Note(ScalingEvent {
            at: now,
            service: self.setup.service.clone(),
            what,
        })
    }
}
