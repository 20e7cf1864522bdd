//! Those who wait: `scale` and `sync`, here or through the control socket.

use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::mpsc;
use tracing::{info, warn};

use super::{Driver, RunGoal, RunOutcome, warn_once::Topic};
use crate::{
    control::Reply,
    engine::Engine,
    proxy::Proxy,
    reconcile::{Event, EventKind, Initiator, ScalingEvent, ServiceMachine},
    state::StateError,
    units::{Span, Timestamp},
};

/// Somebody who waits for counts to be reached.
pub(super) struct PendingRequest {
    pub(super) targets: IndexMap<String, u32>,
    pub(super) started: bool,
    pub(super) hold: Duration,
    /// The longest wait, and when it ends.
    pub(super) allowed: Duration,
    pub(super) deadline: Timestamp,
    pub(super) replies: Option<mpsc::Sender<Reply>>,
    pub(super) failures: Vec<String>,
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn finished_scale(&mut self) -> Option<RunOutcome> {
        // What was begun in vain is taken away before the end.
        let tidy =
            self.failed.is_none() || !self.machines.values().any(ServiceMachine::is_tidying_up);
        if self.waiters.is_empty() && self.steps == 0 && tidy {
            return Some(match self.failed.take() {
                None => RunOutcome::Done,
                Some(why) => RunOutcome::Failed(why.lines().map(ToOwned::to_owned).collect()),
            });
        }
        None
    }

    /// Starts waiting requests whose services are known, and answers those that are done.
    pub(super) fn serve_waiters(&mut self) {
        let now = self.clock.now();
        let mut begun = Vec::new();
        for waiter in &mut self.waiters {
            let known = waiter.targets.keys().all(|name| {
                self.machines
                    .get(name)
                    .is_some_and(|m| m.desired().is_some())
            });
            if !waiter.started && known {
                waiter.started = true;
                for (name, count) in &waiter.targets {
                    begun.push((name.clone(), *count, waiter.hold));
                }
            }
        }
        for (name, replicas, hold) in begun {
            let event = Event::Scale {
                replicas,
                hold: Some(hold),
                by: Initiator::Hand,
            };
            if let Some(machine) = self.machines.get_mut(&name) {
                let effects = machine.handle(event, now);
                self.carry_out(&name, effects);
            }
        }
        let mut open = Vec::new();
        for mut waiter in std::mem::take(&mut self.waiters) {
            let reached = waiter.started
                && (!waiter.targets.is_empty() || self.in_step())
                && waiter
                    .targets
                    .iter()
                    .all(|(name, count)| self.machines.get(name).is_some_and(|m| m.is_at(*count)));
            if waiter.started && !reached {
                for (name, count) in &waiter.targets {
                    let wanted = self.machines.get(name).and_then(ServiceMachine::desired);
                    if let Some(wanted) = wanted.filter(|wanted| wanted != count)
                        && waiter.failures.is_empty()
                    {
                        waiter.failures.push(format!(
                            "{name}: the desired count is {wanted} now, not {count}: the hold has ended, or another command has changed it"
                        ));
                    }
                    if let Some(why) = self
                        .machines
                        .get(name)
                        .and_then(ServiceMachine::idle_reason)
                        && !waiter.failures.iter().any(|f| f == why)
                    {
                        waiter.failures.push(why.to_owned());
                    }
                }
            }
            // A count that is there already is not served all the same.
            let concerns =
                |name: &str| waiter.targets.is_empty() || waiter.targets.contains_key(name);
            let without = if reached {
                self.without_upstream(concerns)
            } else {
                Vec::new()
            };
            let reached = reached && without.is_empty();
            for why in without {
                if !waiter.failures.contains(&why) {
                    waiter.failures.push(why);
                }
            }
            let late = now >= waiter.deadline;
            if reached {
                self.answer(waiter, true);
            } else if !waiter.failures.is_empty() && self.steps == 0 && !self.router.is_busy() {
                self.answer(waiter, false);
            } else if late {
                let after = Span(waiter.allowed);
                if waiter.targets.is_empty() {
                    let all = self.machines.values();
                    let troubles = all.filter_map(|m| m.trouble(now, true));
                    waiter
                        .failures
                        .push(format!("nginx is not in step after {after}"));
                    waiter.failures.extend(troubles);
                }
                for (name, count) in &waiter.targets {
                    let machine = self.machines.get(name);
                    if let Some(machine) = machine.filter(|machine| !machine.is_at(*count)) {
                        waiter.failures.push(format!(
                            "{name}: not done after {after}: {}",
                            machine.shortfall(*count)
                        ));
                    }
                }
                self.answer(waiter, false);
            } else {
                open.push(waiter);
            }
        }
        self.waiters.append(&mut open);
    }

    /// Of two that ask for different counts of one service the later one counts; the earlier is told
    /// so at once, instead of waiting for what will not come.
    pub(super) fn supersede(&mut self, later: &IndexMap<String, u32>) {
        let other = |waiter: &PendingRequest| {
            let mut targets = waiter.targets.iter();
            targets.find_map(|(name, count)| {
                let new = later.get(name).filter(|new| *new != count)?;
                Some(format!(
                    "{name}={count} was superseded by a later `scale {name}={new}`"
                ))
            })
        };
        for mut waiter in std::mem::take(&mut self.waiters) {
            match other(&waiter) {
                Some(why) => {
                    waiter.failures.push(why);
                    self.reply(waiter, false);
                }
                None => self.waiters.push(waiter),
            }
        }
    }

    /// Whether nginx serves what every machine wants.
    pub(super) fn in_step(&self) -> bool {
        !self.router.is_busy() && self.machines.values().all(ServiceMachine::is_routed)
    }

    /// A count that somebody waits for and is told to have failed is not reached later all the same.
    fn withdraw(&mut self, waiter: &mut PendingRequest) {
        if waiter.replies.is_none() && self.goal == RunGoal::Watch {
            return;
        }
        let now = self.clock.now();
        for (name, count) in &waiter.targets {
            let is_wanted = |other: &PendingRequest| other.targets.get(name) == Some(count);
            let Some(machine) = self.machines.get_mut(name) else {
                continue;
            };
            let is_over = machine.is_at(*count) || machine.desired() != Some(*count);
            if is_over || self.waiters.iter().any(is_wanted) {
                continue;
            }
            let effects = machine.handle(Event::Withdraw { count: *count }, now);
            waiter.failures.push(format!(
                "{name}: scaling to {count} is given up; to try again: `compose-scale scale {name}={count}`"
            ));
            self.carry_out(name, effects);
        }
    }

    pub(super) fn answer(&mut self, mut waiter: PendingRequest, ok: bool) {
        if !ok {
            self.withdraw(&mut waiter);
        }
        self.reply(waiter, ok);
    }

    fn reply(&mut self, waiter: PendingRequest, ok: bool) {
        let message = waiter.failures.join("\n");
        match waiter.replies {
            Some(replies) => {
                let _ = replies.try_send(Reply::Done { ok, message });
            }
            None => self.failed = (!ok).then_some(message),
        }
    }

    fn is_recorded(&mut self) {
        if self.complaints.settle(Topic::History) {
            info!("events are recorded again");
        }
    }

    /// Notes go to people, to `scaling.log`, and to whoever waits for that service.
    pub(super) fn tell(&mut self, note: &ScalingEvent) {
        let note = &match self.goal {
            RunGoal::Watch => note.clone(),
            _ => note.clone().without_another_attempt(),
        };
        self.dirty |= note.what.is_history();
        self.meters.noted(note);
        if !self.passive()
            && note.what.is_history()
            && let Some(state) = &self.state
        {
            match state.record(note) {
                Ok(()) => {
                    self.is_recorded();
                    if self.complaints.settle(Topic::Rotation) {
                        info!("scaling.log is rotated again");
                    }
                }
                Err(error @ StateError::Unrotated { .. }) => {
                    self.is_recorded();
                    let why = error.to_string();
                    if self.complaints.raise(Topic::Rotation, &why) {
                        warn!(error = why, "scaling.log is not rotated and grows");
                    }
                }
                Err(error) => {
                    let why = error.to_string();
                    if self.complaints.raise(Topic::History, &why) {
                        warn!(error = why, "events are not recorded");
                    }
                }
            }
        }
        for waiter in &mut self.waiters {
            // Without targets it waits for nginx alone.
            if waiter.targets.is_empty() {
                if matches!(note.what, EventKind::RouteFailed { .. }) {
                    waiter
                        .failures
                        .push(format!("{}: {}", note.service, note.what));
                }
                continue;
            }
            if !waiter.targets.contains_key(&note.service) {
                continue;
            }
            // A count that fails is given up.
            let note = if waiter.replies.is_some() {
                note.clone().without_another_attempt()
            } else {
                note.clone()
            };
            if matches!(
                note.what,
                EventKind::Failed { .. } | EventKind::Refused { .. }
            ) {
                waiter
                    .failures
                    .push(format!("{}: {}", note.service, note.what));
            }
            // What load does not do is nothing that somebody waits for.
            if let Some(replies) = &waiter.replies
                && !matches!(note.what, EventKind::NotScaling { .. })
            {
                let _ = replies.try_send(Reply::Note(note));
            }
        }
        if matches!(note.what, EventKind::RouteFailed { .. }) && self.goal != RunGoal::Watch {
            self.trouble = Some(note.what.to_string());
        }
        let _ = self.notes.send(note.clone());
    }
}
