//! One state machine per service: it hears events and asks for effects.
//!
//! [`Machine::handle`] is all there is: no clock, no I/O, no task. `now` is an argument, what should
//! be done comes back as [`Effect`]s, and whatever comes of them arrives as an [`Event`]. That makes
//! every interleaving of a slow start, a crash and a reload a plain test.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    decide::{Decision, History},
    plan::{self, Plan, Standing},
    project::{ContainerId, Health, Replica, State},
    units::Moment,
    usage::Window,
};

mod converge;
pub mod event;
mod member;
pub mod note;
mod seen;
mod traffic;
pub mod view;
mod want;

#[cfg(test)]
mod tests;

pub use event::{Effect, Event, Gate, RouteServer, Setup};
pub use note::{By, Level, Note, What};
pub use view::{Memory, ReplicaView, ServiceView};

use member::{Member, Phase};

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
const LONGEST_ROUTE_RETRY: Duration = Duration::from_secs(15);

/// A replica that is being made.
#[derive(Debug, Clone, PartialEq)]
struct Pending {
    name: String,
    since: Moment,
}

/// A change of the count that is on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Move {
    from: u32,
    to: u32,
    since: Moment,
}

/// A count that load may not change.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Hold {
    /// The count.
    pub replicas: u32,
    /// Until then; for ever without.
    pub until: Option<Moment>,
}

/// Where the machine stands with the project as a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    /// It has not seen its replicas yet, or not since the engine came back.
    Blind,
    /// It has seen them and waits for each to be looked at once, until then at the longest.
    Adopting { until: Moment },
    /// It acts.
    Acting,
}

/// The state machine of one service.
#[derive(Debug)]
pub struct Machine {
    setup: Setup,
    members: BTreeMap<ContainerId, Member>,
    needed: BTreeSet<ContainerId>,
    pending: BTreeMap<u32, Pending>,
    /// Numbers whose names belong to containers that are none of ours.
    taken: BTreeSet<u32>,
    desired: Option<u32>,
    history: History,
    hold: Option<Hold>,
    windows: BTreeMap<ContainerId, Window>,
    last: Option<(Moment, Decision)>,
    mood: Mood,
    busy_until: Option<Moment>,
    standstill: Option<String>,
    refused: Option<String>,
    failures: u32,
    retry_at: Option<Moment>,
    moving: Option<Move>,
    seq: u64,
    routed: u64,
    drained: u64,
    wanted: Option<Vec<RouteServer>>,
    /// Those that nginx was last seen to send traffic to.
    listed: BTreeSet<ContainerId>,
    reroute_at: Option<Moment>,
    route_failures: u32,
    route_error: Option<String>,
    nothing_serves: bool,
    /// nginx serves something, as far as is known, that no look has confirmed yet: what was there
    /// when this run began, or what was right before the port changed.
    holdover: bool,
    /// Why the last replica that was looked at was not ready.
    unready: Option<String>,
    /// Containers that a former run was draining.
    leaving: BTreeSet<ContainerId>,
    /// It only watches: nothing is ever asked for but looks.
    passive: bool,
    /// Decisions of this run.
    decisions: u32,
    busy_since: Option<Moment>,
}

impl Machine {
    /// A machine that knows nothing yet but what a former run remembered.
    pub fn new(setup: Setup, memory: Option<Memory>, now: Moment) -> Self {
        let memory = memory.unwrap_or_default();
        let mut history = memory.history;
        history.prune(now, &setup.policy.behavior);
        let interval = setup.interval;
        Self {
            setup,
            members: BTreeMap::new(),
            needed: BTreeSet::new(),
            pending: BTreeMap::new(),
            taken: BTreeSet::new(),
            desired: None,
            history,
            hold: memory
                .hold
                .filter(|hold| hold.until.is_none_or(|until| until > now)),
            windows: memory
                .readings
                .into_iter()
                .map(|(id, reading)| {
                    let mut window = Window::new(interval);
                    window.feed(reading);
                    (id, window)
                })
                .collect(),
            last: memory.last,
            mood: Mood::Blind,
            busy_until: None,
            standstill: None,
            refused: None,
            failures: 0,
            retry_at: None,
            moving: None,
            seq: 0,
            routed: 0,
            drained: 0,
            wanted: None,
            listed: BTreeSet::new(),
            reroute_at: None,
            route_failures: 0,
            route_error: None,
            nothing_serves: false,
            holdover: true,
            unready: None,
            leaving: memory.draining,
            passive: false,
            decisions: 0,
            busy_since: None,
        }
    }

    /// Makes it watch only, for `--dry-run` and `ps`: it asks for looks and for nothing else.
    #[must_use]
    pub fn passive(mut self) -> Self {
        self.passive = true;
        self
    }

    /// The service's name.
    pub fn service(&self) -> &str {
        &self.setup.service
    }

    /// What it was set up with.
    pub fn setup(&self) -> &Setup {
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
            .filter(|m| m.replica.state == State::Running && !m.is_on_its_way_out())
            .map(|m| m.replica.clone())
            .collect()
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
        self.mood == Mood::Acting
            && self.pending.is_empty()
            && self.moving.is_none()
            && self.reroute_at.is_none()
            && (!self.setup.routed || self.routed == self.seq)
            && self.members.values().all(|m| match m.phase {
                Phase::Serving | Phase::Idle { .. } => true,
                // A replica of somebody else's making may stay unready for ever.
                Phase::Probing { looked, .. } => looked && m.fresh.is_none(),
                Phase::Starting | Phase::Draining { .. } | Phase::Leaving { .. } => false,
            })
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

    /// What keeps it from the count it wants: a failure that is tried again, or a refusal.
    pub fn trouble(&self, now: Moment) -> Option<String> {
        let service = &self.setup.service;
        if let Some(why) = &self.refused {
            return Some(why.clone());
        }
        if let Some(why) = &self.route_error {
            return Some(format!("{service}: {why}"));
        }
        if self.holdover
            && let Some(why) = &self.unready
        {
            return Some(format!("{service}: no replica is ready ({why})"));
        }
        let wait = self.retry_at.filter(|at| *at > now)?;
        Some(format!(
            "{service}: {} of {} replicas serve; the next attempt is in {:.0}s",
            self.serving(),
            self.desired.unwrap_or_default(),
            wait.since(now).as_secs_f64()
        ))
    }

    /// Why nothing is done, if nothing is done.
    pub fn standstill(&self) -> Option<&str> {
        self.standstill.as_deref().or(self.refused.as_deref())
    }

    fn serving(&self) -> u32 {
        self.members.values().filter(|m| m.serves()).count() as u32
    }

    fn live(&self) -> u32 {
        self.members.values().filter(|m| m.counts()).count() as u32 + self.pending.len() as u32
    }

    /// The steps it would take to reach `desired`, for `--dry-run`.
    pub fn plan(&self, desired: u32) -> Result<Plan, plan::PlanError> {
        let standings: Vec<_> = self.members.values().map(|m| self.standing(m)).collect();
        let pending: Vec<_> = self.pending.keys().copied().collect();
        let above = self.taken.last().copied().unwrap_or(0);
        plan::plan(&self.setup.service, &standings, &pending, above, desired)
    }

    fn standing<'a>(&self, member: &'a Member) -> Standing<'a> {
        Standing {
            replica: &member.replica,
            draining: member.is_on_its_way_out(),
            ready: member.serves(),
            needed: self.needed.contains(&member.replica.id),
        }
    }

    /// Hears an event and says what is to be done.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        let mut out = Vec::new();
        self.hear(event, now, &mut out);
        self.adopt(now, &mut out);
        self.converge(now, &mut out);
        self.reroute(now, &mut out);
        self.retire(now, &mut out);
        self.notice_arrival(now, &mut out);
        out
    }

    /// Decides on load without acting on it, for `--dry-run`: the decision and its plan.
    pub fn consider(
        &mut self,
        readings: BTreeMap<ContainerId, crate::usage::Reading>,
        now: Moment,
    ) -> Option<(Decision, Result<Plan, plan::PlanError>)> {
        self.desired = Some(self.live());
        self.keep_readings(readings);
        let decision = self.decide(now)?;
        let plan = self.plan(decision.desired);
        self.last = Some((now, decision.clone()));
        Some((decision, plan))
    }

    fn hear(&mut self, event: Event, now: Moment, out: &mut Vec<Effect>) {
        match event {
            Event::Seen {
                replicas,
                needed,
                taken,
            } => self.seen(replicas, needed, taken, now, out),
            Event::Observed { replica, taken } => self.observed(*replica, taken, now, out),
            Event::Died { id, exit_code } => {
                self.ended(&id, State::Exited, now);
                let Some(member) = self.members.get_mut(&id) else {
                    return;
                };
                member.replica.exit_code = exit_code;
                match member.phase {
                    Phase::Serving => {
                        let what = What::Died {
                            replica: member.replica.name.clone(),
                            exit_code,
                            oom: member.replica.oom_killed,
                        };
                        member.phase = Phase::Idle {
                            since: now,
                            on_purpose: false,
                        };
                        // One that dies right after it became ready has not come up.
                        let lived = member.served.map_or(LIVED, |since| now.since(since));
                        out.push(self.note(what, now));
                        if lived < LIVED {
                            self.back_off(now, out);
                        }
                    }
                    Phase::Starting | Phase::Probing { .. } if member.fresh.is_some() => {
                        let code = exit_code.map_or(String::new(), |c| format!(" with code {c}"));
                        self.failed(
                            &id,
                            format!("it exited{code} before it was ready"),
                            vec![],
                            now,
                            out,
                        );
                    }
                    Phase::Starting | Phase::Probing { .. } => {
                        member.phase = Phase::Idle {
                            since: now,
                            on_purpose: false,
                        };
                    }
                    Phase::Idle { .. } | Phase::Draining { .. } | Phase::Leaving { .. } => {}
                }
                out.push(Effect::WakeAt(now + RESTART_GRACE));
            }
            Event::Oom { id } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.replica.oom_killed = true;
                }
            }
            Event::Stopped { id } => {
                // Newer Engines tell it before or after the death, as it happens.
                self.ended(&id, State::Exited, now);
                self.lose(&id, "was stopped", now, out);
            }
            Event::Paused { id } => {
                self.ended(&id, State::Paused, now);
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
                    self.forget(&id);
                }
            }
            Event::Busy => {
                // Something that comes and goes all the time (a job) must not stop us for ever.
                let since = *self.busy_since.get_or_insert(now);
                if now.since(since) < LONGEST_BUSY {
                    self.busy_until = Some(now + QUIET);
                    out.push(Effect::WakeAt(now + QUIET));
                }
            }
            Event::EngineLost => {
                self.leaving = self
                    .members
                    .values()
                    .filter(|m| m.is_on_its_way_out())
                    .map(|m| m.replica.id.clone())
                    .collect();
                self.mood = Mood::Blind;
                self.members.clear();
                self.windows.clear();
                self.pending.clear();
                self.moving = None;
                self.retry_at = None;
            }
            Event::Made { number, result } => self.made(number, result, now, out),
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
                if self
                    .members
                    .get(&id)
                    .is_some_and(|m| matches!(m.phase, Phase::Probing { .. }))
                {
                    self.failed(&id, why, log, now, out);
                }
            }
            Event::Routed { seq, result } => self.route_answered(seq, result, now, out),
            Event::Drained { seq } => self.drained = self.drained.max(seq),
            Event::Retired { id, result } => self.retired(&id, result, now, out),
            Event::Sampled { readings } => {
                self.keep_readings(readings);
                self.decide_and_follow(now, out);
            }
            Event::Scale { replicas, hold, by } => self.scale_by_hand(replicas, hold, by, now, out),
            Event::Setup(setup) => self.set_up(*setup, now, out),
            Event::Wake => {}
        }
    }

    fn note(&self, what: What, now: Moment) -> Effect {
        Effect::Note(Note {
            at: now,
            service: self.setup.service.clone(),
            what,
        })
    }
}
