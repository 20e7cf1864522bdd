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
    decide::{Decision, History, HostCapacity, Input},
    plan::{self, Candidate, Plan},
    project::{ContainerId, ContainerState, Health, Replica},
    units::Timestamp,
    usage::Window,
};

mod backoff;
mod bootstrap;
mod converge;
mod desired;
mod drift;
pub mod event;
mod managed_replica;
mod memory_demand;
mod metric_values;
mod observation;
mod outlier;
mod pause;
mod preflight;
mod recreate;
mod routing;
pub mod scaling_event;
mod skip_reason;
pub mod status;
mod unserved;
mod withdraw;

#[cfg(test)]
mod tests;

pub use crate::decide::Pause;
pub use drift::{Current, Drift};
pub use event::{
    BootstrapError, BootstrappedReplica, Effect, Event, ReadinessCheck, RouteServer, ServiceSetup,
    Values,
};
pub use memory_demand::Peak;
pub use pause::Paused;
pub use scaling_event::{EventKind, EventLevel, Initiator, ScalingEvent};
pub use status::{DecisionView, MetricView, PersistedState, ReplicaView, ServiceView};

use managed_replica::{ManagedReplica, Phase};

/// How long the project must be quiet after compose was at work on it.
pub const QUIET: Duration = Duration::from_secs(3);
/// Holding still ends after this long, whatever goes on.
const LONGEST_BUSY: Duration = Duration::from_secs(120);
/// A dead process gets this long to be restarted by its own restart policy.
const RESTART_GRACE: Duration = Duration::from_secs(1);
/// How long the replicas found at the start may take to answer before the rest is published.
const ADOPTION: Duration = Duration::from_secs(3);
/// The first wait after a failed start; it doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// A replica that has served for this long has come up.
const LIVED: Duration = Duration::from_secs(30);
/// Wait before a failed step (route, removal) is tried again.
const RETRY: Duration = Duration::from_secs(2);
/// So long the event of an end that a look has found may take.
const EXPLAINED: Duration = Duration::from_secs(2);
/// Until an nginx that has just stopped is asked again.
const SOON: Duration = Duration::from_secs(1);
const LONGEST_ROUTE_RETRY: Duration = Duration::from_secs(15);
/// How long a look at nginx is waited for before a replica is made.
const LOOK: Duration = Duration::from_secs(5);

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

/// Whether nginx can send requests to what is made.
#[derive(Debug, Clone, PartialEq)]
enum RoutingPreflight {
    /// Nothing speaks against it.
    Open,
    /// It is being looked at, which is waited for until then.
    Unknown { until: Option<Timestamp> },
    /// It cannot.
    Barred {
        why: String,
        /// Whether that has been said.
        told: bool,
    },
}

/// A count that load may not change.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hold {
    /// The count.
    pub replicas: u32,
    /// Until then; for ever without.
    pub until: Option<Timestamp>,
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
#[derive(Debug)]
pub struct ServiceMachine {
    setup: ServiceSetup,
    members: BTreeMap<ContainerId, ManagedReplica>,
    /// Members that are no more, and since when: a look from before that would bring them back.
    gone: BTreeMap<ContainerId, Timestamp>,
    needed: BTreeSet<ContainerId>,
    pending: BTreeMap<u32, Pending>,
    /// The first replica of all is being made since then.
    founding: Option<Timestamp>,
    /// Whether a first replica may be made: nobody has stopped the service, or somebody wants it.
    may_found: bool,
    /// Numbers whose names belong to containers that are none of ours.
    taken: BTreeSet<u32>,
    desired: Option<u32>,
    history: History,
    hold: Option<Hold>,
    paused: Option<Paused>,
    windows: BTreeMap<ContainerId, Window>,
    /// The most memory that a replica was seen to use.
    peak: Option<Peak>,
    /// When replicas ran out of memory, by name.
    ooms: BTreeMap<String, Timestamp>,
    /// What the machine has left.
    host: Option<HostCapacity>,
    custom: metric_values::CustomMetricValues,
    last: Option<(Timestamp, Decision)>,
    /// The reason for doing nothing that was said last; nothing when something was done since.
    said: Option<skip_reason::LastSkipReason>,
    mood: SyncState,
    busy_until: Option<Timestamp>,
    standstill: Option<String>,
    refused: Option<String>,
    failures: u32,
    failing: Option<backoff::FailureBackoff>,
    retry_at: Option<Timestamp>,
    moving: Option<CountMove>,
    seq: u64,
    routed: u64,
    drained: u64,
    wanted: Option<Vec<RouteServer>>,
    /// Those that nginx was last seen to send traffic to.
    listed: BTreeSet<ContainerId>,
    /// Servers that do not have their full weight yet, and since when they are listed.
    ramps: BTreeMap<ContainerId, Timestamp>,
    /// Whether there are such at all.
    ramping: bool,
    /// Whether what was asked for last differs in nothing but weights.
    only_weights: bool,
    reroute_at: Option<Timestamp>,
    route_failures: u32,
    route_error: Option<String>,
    nothing_serves: bool,
    unserved: unserved::Unserved,
    /// nginx serves something, as far as is known, that no look has confirmed yet: what was there
    /// when this run began, or what was right before the port changed.
    holdover: bool,
    way: RoutingPreflight,
    /// The nginx that was last seen to read its upstream.
    reader: Option<String>,
    /// Why the last replica that was looked at was not ready.
    unready: Option<String>,
    /// Containers that a former run was draining.
    leaving: BTreeSet<ContainerId>,
    /// It only watches: nothing is ever asked for but looks.
    passive: bool,
    /// Decisions of this run.
    decisions: u32,
    busy_since: Option<Timestamp>,
    /// Containers in the middle of a recreate: since when nobody was seen at work, and whether that
    /// was said.
    recreating: BTreeMap<ContainerId, Recreating>,
    /// Somebody else has removed a replica since it was quiet last.
    removed_elsewhere: bool,
    /// How many were left then, and how many there should be, until it is said.
    cut_back: Option<(u32, u32)>,
}

/// A decision that nothing follows from.
#[derive(Debug, Clone, PartialEq)]
pub struct IdleDecision {
    /// What it was made from.
    pub input: Input,
    /// The decision.
    pub decision: Decision,
    /// The steps it would take.
    pub plan: Result<Plan, plan::PlanError>,
    /// Whether the one before came out otherwise.
    pub news: bool,
}

/// A container that compose is replacing, or by which it is replacing another.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Recreating {
    since: Timestamp,
    said: bool,
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
            members: BTreeMap::new(),
            gone: BTreeMap::new(),
            needed: BTreeSet::new(),
            pending: BTreeMap::new(),
            founding: None,
            may_found: false,
            taken: BTreeSet::new(),
            desired: None,
            history,
            hold: memory
                .hold
                .filter(|hold| hold.until.is_none_or(|until| until > now)),
            // That it has run out is said once.
            paused: memory.paused,
            windows: memory
                .readings
                .into_iter()
                .map(|(id, reading)| {
                    let mut window = Window::new(interval);
                    window.feed(reading);
                    (id, window)
                })
                .collect(),
            peak: memory.peak,
            ooms: memory.ooms,
            host: None,
            custom: metric_values::CustomMetricValues::after(memory.unread),
            said: skip_reason::LastSkipReason::before(memory.last.as_ref()),
            last: memory.last,
            mood: SyncState::Blind,
            busy_until: None,
            standstill: None,
            refused: None,
            failures: 0,
            failing: None,
            retry_at: None,
            moving: None,
            seq: 0,
            routed: 0,
            drained: 0,
            wanted: None,
            listed: BTreeSet::new(),
            ramps: BTreeMap::new(),
            ramping: false,
            only_weights: false,
            reroute_at: None,
            route_failures: 0,
            route_error: None,
            nothing_serves: false,
            unserved: unserved::Unserved::default(),
            holdover: true,
            way: RoutingPreflight::Open,
            reader: memory.reader,
            unready: None,
            leaving: memory.draining,
            passive: false,
            decisions: 0,
            busy_since: None,
            recreating: BTreeMap::new(),
            removed_elsewhere: false,
            cut_back: None,
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
        self.ramping = true;
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

    /// Whether there is nothing left to do until something happens.
    pub fn is_settled(&self) -> bool {
        if self.standstill.is_some() {
            return true;
        }
        self.mood == SyncState::Acting
            && self.pending.is_empty()
            && self.founding.is_none()
            && self.moving.is_none()
            && self.reroute_at.is_none()
            && !self.awaits_a_look()
            && (!self.setup.routed || self.routed == self.seq)
            && self.members.values().all(|m| match m.phase {
                Phase::Serving | Phase::Idle { .. } => true,
                // A replica of somebody else's making may stay unready for ever.
                Phase::Probing { looked, .. } => looked && m.fresh.is_none(),
                Phase::Starting | Phase::Draining { .. } | Phase::Leaving { .. } => false,
            })
    }

    /// Whether replicas are being made or started, or have not been ready yet.
    pub fn is_growing(&self) -> bool {
        !self.pending.is_empty() || self.members.values().any(|m| m.fresh.is_some())
    }

    /// Whether the wanted count is there and served.
    pub fn is_at(&self, count: u32) -> bool {
        self.is_settled() && self.serving() == count && self.live() == count
    }

    /// Whether nginx serves what this machine wants, as far as nginx is concerned with it.
    pub fn is_routed(&self) -> bool {
        self.passive
            || !self.setup.routed
            || (self.wanted.is_some() && self.routed == self.seq && self.reroute_at.is_none())
    }

    /// Whether this run has decided on load, with values or after two looks without.
    pub fn has_decided(&self) -> bool {
        self.decisions >= 2
            || (self.decisions == 1
                && self
                    .last
                    .as_ref()
                    .is_some_and(|(_, d)| d.reason.label() != "metrics_unavailable"))
    }

    /// What keeps it from the count it wants: a failure, or a refusal. A run that `stays` tries again.
    pub fn trouble(&self, now: Timestamp, stays: bool) -> Option<String> {
        let service = &self.setup.service;
        if let Some(why) = &self.refused {
            return Some(why.clone());
        }
        if let Some(why) = &self.route_error {
            return Some(format!("{service}: {why}"));
        }
        if let RoutingPreflight::Barred { why, told: true } = &self.way {
            return Some(format!("{service}: {why}"));
        }
        if self.holdover
            && let Some(why) = &self.unready
        {
            return Some(format!("{service}: no replica is ready ({why})"));
        }
        let wait = self.retry_at.filter(|at| *at > now)?;
        if !stays {
            let wanted = self.desired.unwrap_or_default();
            return Some(format!("{service}: {}", self.shortfall(wanted)));
        }
        Some(format!(
            "{service}: {} of {} replicas serve; the next attempt is in {:.0}s",
            self.serving(),
            self.desired.unwrap_or_default(),
            wait.since(now).as_secs_f64()
        ))
    }

    /// Why nothing is done, if nothing is done.
    pub fn idle_reason(&self) -> Option<&str> {
        self.standstill.as_deref().or(self.refused.as_deref())
    }

    fn serving(&self) -> u32 {
        self.members.values().filter(|m| m.serves()).count() as u32
    }

    fn live(&self) -> u32 {
        let being_made = self.pending.len() + usize::from(self.founding.is_some());
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
        self.hear(event, now, &mut out);
        self.adopt(now, &mut out);
        self.converge(now, &mut out);
        self.reroute(now, &mut out);
        self.retire(now, &mut out);
        self.notice_arrival(now, &mut out);
        self.notice_recovery(now, &mut out);
        out
    }

    /// Decides on load without acting on it, for `--dry-run`.
    pub fn consider(
        &mut self,
        readings: BTreeMap<ContainerId, crate::usage::CounterReading>,
        values: Values,
        now: Timestamp,
    ) -> Option<IdleDecision> {
        self.desired = Some(self.live());
        self.keep_readings(readings);
        self.keep_values(values);
        let (input, decision) = self.decide(now)?;
        self.keep_in_mind(&decision, now);
        let plan = self.plan(decision.desired);
        let is_like = |before: &Decision| {
            (before.reason, before.desired) == (decision.reason, decision.desired)
        };
        let before = self.last.as_ref().filter(|_| self.decisions > 1);
        let news = before.is_none_or(|(_, before)| !is_like(before));
        self.last = Some((now, decision.clone()));
        Some(IdleDecision {
            input,
            decision,
            plan,
            news,
        })
    }

    fn hear(&mut self, event: Event, now: Timestamp, out: &mut Vec<Effect>) {
        match event {
            Event::Seen {
                replicas,
                needed,
                taken,
            } => self.seen(replicas, needed, taken, now, out),
            Event::Observed { replica, taken } => self.observed(*replica, taken, now, out),
            Event::Died {
                id,
                exit_code,
                asked,
            } => {
                self.ended(&id, ContainerState::Exited, now);
                let Some(member) = self.members.get_mut(&id) else {
                    return;
                };
                member.replica.exit_code = exit_code;
                let unexplained = member.unexplained.take().is_some();
                match member.phase {
                    Phase::Serving | Phase::Idle { .. } if member.serves() || unexplained => {
                        let replica = member.replica.name.clone();
                        let what = if asked {
                            EventKind::Lost {
                                replica,
                                why: "was stopped by someone else".into(),
                            }
                        } else {
                            EventKind::Died {
                                replica,
                                exit_code,
                                oom: member.replica.oom_killed,
                            }
                        };
                        member.phase = Phase::Idle {
                            since: now,
                            on_purpose: false,
                        };
                        // One that dies right after it became ready has not come up.
                        let lived = member.served.map_or(LIVED, |since| now.since(since));
                        let name = member.replica.name.clone();
                        // That it stopped has been said where a look was faster than the event.
                        if !(asked && unexplained) {
                            out.push(self.note(what, now));
                        }
                        if lived < LIVED && !asked {
                            self.died_young(&name, now, out);
                        }
                    }
                    Phase::Starting | Phase::Probing { .. } if asked && member.fresh.is_some() => {
                        let replica = member.stopped_while_it_came_up(now);
                        let why = "was stopped from outside before it was ready".into();
                        out.push(self.note(EventKind::Lost { replica, why }, now));
                    }
                    Phase::Starting | Phase::Probing { .. } if member.fresh.is_some() => {
                        let code = exit_code.map_or(String::new(), |c| format!(" with code {c}"));
                        let why = format!("it exited{code} before it was ready");
                        out.push(Effect::CollectLogs { id, why });
                    }
                    Phase::Starting | Phase::Probing { .. } => {
                        member.phase = Phase::Idle {
                            since: now,
                            on_purpose: false,
                        };
                    }
                    Phase::Serving
                    | Phase::Idle { .. }
                    | Phase::Draining { .. }
                    | Phase::Leaving { .. } => {}
                }
                out.push(Effect::WakeAt(now + RESTART_GRACE));
            }
            Event::Oom { id } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.replica.oom_killed = true;
                }
                self.ran_out_of_memory(&id, now);
            }
            Event::Stopped { id } => {
                // Newer Engines tell it before or after the death, as it happens.
                self.stopped_by_somebody(&id);
                if let Some(member) = self.members.get_mut(&id) {
                    member.unexplained = None;
                }
                self.ended(&id, ContainerState::Exited, now);
                // Where the death is told after this, it is no failure to come up either.
                if let Some(member) = self.members.get_mut(&id) {
                    member.fresh = None;
                }
                self.lose(&id, "was stopped by someone else", now, out);
            }
            Event::Paused { id } => {
                self.ended(&id, ContainerState::Paused, now);
                self.lose(&id, "was paused", now, out);
            }
            Event::Unhealthy { id } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.replica.health = Health::Unhealthy;
                    member.taken = now;
                    if member.serves() {
                        self.lose(&id, "became unhealthy", now, out);
                    }
                }
            }
            // What is being retired answers for itself.
            Event::Gone { id } => {
                if !self.is_leaving(&id) {
                    self.gone(&id, now);
                }
            }
            Event::Busy => {
                // Something that comes and goes all the time (a job) must not stop us for ever.
                self.work_goes_on(now);
                let since = *self.busy_since.get_or_insert(now);
                if now.since(since) < LONGEST_BUSY {
                    self.busy_until = Some(now + QUIET);
                    out.push(Effect::WakeAt(now + QUIET));
                }
            }
            Event::EngineLost => self.lose_sight(),
            Event::ClockJumped { set_by } => {
                self.lose_sight();
                self.history.shift(set_by);
                for at in self.ooms.values_mut() {
                    *at = at.shifted(set_by);
                }
                if let Some(hold) = &mut self.hold {
                    hold.until = hold.until.map(|until| until.shifted(set_by));
                    out.extend(hold.until.map(Effect::WakeAt));
                }
                if let Some(paused) = &mut self.paused {
                    paused.until = paused.until.map(|until| until.shifted(set_by));
                    out.extend(paused.until.map(Effect::WakeAt));
                }
                if let Some((at, _)) = &mut self.last {
                    *at = at.shifted(set_by);
                }
                self.reroute_at = self.reroute_at.map(|_| now);
                for since in self.ramps.values_mut() {
                    *since = since.shifted(set_by);
                }
                self.busy_until = None;
                self.busy_since = None;
            }
            Event::Made { number, result } => self.made(number, result, now, out),
            Event::Founded { result } => self.founded(result, now, out),
            Event::NameTaken { number } => {
                self.pending.remove(&number);
                self.taken.insert(number);
                self.busy_until = Some(now + QUIET);
                out.push(Effect::WakeAt(now + QUIET));
            }
            Event::Restarted { id, result } => match result {
                Ok(replica) => {
                    self.observed(*replica, now, now, out);
                    // Its hooks have run.
                    if self
                        .members
                        .get(&id)
                        .is_some_and(|m| m.phase == Phase::Starting)
                    {
                        self.probe(&id, now, out);
                    }
                }
                Err(why) => self.failed(
                    &id,
                    format!("it could not be started: {why}"),
                    vec![],
                    now,
                    out,
                ),
            },
            Event::Ready { id, started } => self.ready(&id, started, now, out),
            Event::NotYet { id, why } => {
                if let Some(member) = self.members.get_mut(&id)
                    && let Phase::Probing { looked, .. } = &mut member.phase
                {
                    *looked = true;
                    self.unready = Some(format!("{}: {why}", member.replica.name));
                }
            }
            Event::GateFailed { id, why, log } => {
                if self.members.get(&id).is_some_and(|m| {
                    matches!(m.phase, Phase::Probing { .. })
                        || m.fresh.is_some() && !m.is_on_its_way_out()
                }) {
                    self.failed(&id, why, log, now, out);
                }
            }
            Event::Routed { seq, result } => self.route_answered(seq, result, now, out),
            Event::Parting => self.ramps.clear(),
            Event::RouteLater => {
                self.reroute_at = Some(now + SOON);
                out.push(Effect::WakeAt(now + SOON));
            }
            Event::Way { barred, nginx } => self.way_found(barred, nginx),
            Event::TakenOut { seq } => {
                self.taken_out(seq, now, out);
                let wanted: BTreeSet<_> = self.wanted.iter().flatten().map(|s| &s.id).collect();
                self.listed.retain(|id| wanted.contains(id));
            }
            Event::Drained { seq } => self.drained = self.drained.max(seq),
            Event::Retired { id, result } => self.retired(&id, result, now, out),
            Event::Sampled { readings, values } => {
                self.keep_readings(readings);
                let unserved = self.unserved.keep(values.unserved, now);
                for news in self.keep_values(values).into_iter().chain(unserved) {
                    out.push(self.note(news, now));
                }
                self.decide_and_follow(now, out);
            }
            Event::Scale { replicas, hold, by } => self.scale_by_hand(replicas, hold, by, now, out),
            Event::Withdraw { count } => self.withdraw(count, now, out),
            Event::Suspend {
                directions,
                span,
                by,
            } => self.pause(directions, span, by, now, out),
            Event::Resume { by } => self.resume(by, now, out),
            Event::Setup(setup) => self.set_up(*setup, now, out),
            Event::Wake => {}
        }
    }

    /// Nothing that was known of the replicas holds any more.
    fn lose_sight(&mut self) {
        self.leaving = self
            .members
            .values()
            .filter(|m| m.is_on_its_way_out())
            .map(|m| m.replica.id.clone())
            .collect();
        self.mood = SyncState::Blind;
        self.members.clear();
        self.gone.clear();
        self.windows.clear();
        self.pending.clear();
        self.founding = None;
        self.may_found = false;
        self.moving = None;
        self.retry_at = None;
    }

    fn note(&self, what: EventKind, now: Timestamp) -> Effect {
        Effect::Note(ScalingEvent {
            at: now,
            service: self.setup.service.clone(),
            what,
        })
    }
}
