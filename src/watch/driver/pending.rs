//! Serving those who wait: `scale` and `sync`, here or through the control socket.

use super::{
    super::{goal::RunGoal, pending_requests::PendingRequest},
    Driver,
    saving::Answer,
};
use crate::{
    engine::Engine,
    proxy::Proxy,
    reconcile::{Event, EventKind, Initiator, ScalingEvent, ServiceMachine},
    units::Span,
};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Starts waiting requests whose services are known, and answers those that are done.
    pub(super) fn serve_waiters(&mut self) {
        let now = self.clock.now();
        let mut begun = Vec::new();
        let mut served = Vec::new();
        for waiter in self.requests.iter_mut() {
            served.extend(waiter.acknowledge.take());
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
        for replies in served {
            self.answer_command(Answer {
                replies,
                ok: true,
                message: "the running `watch` is on it".into(),
                tells_loss: false,
            });
        }
        let mut open = Vec::new();
        for mut waiter in self.requests.take() {
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
            for (name, count) in &waiter.targets {
                let machine = self
                    .machines
                    .get(name)
                    .filter(|_| waiter.started && !reached);
                if let Some(machine) = machine.filter(|one| one.waits_for_nginx_in_vain(*count)) {
                    let why = format!("{name}: {}", machine.shortfall(*count));
                    if !waiter.failures.contains(&why) {
                        waiter.failures.push(why);
                    }
                }
            }
            let late = now >= waiter.deadline;
            if reached {
                self.answer(waiter, true);
            } else if !waiter.failures.is_empty() && self.has_settled(&waiter) {
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
        self.requests.put_back(open);
    }

    /// Whether all that is under way for it has ended, well or not: one replica that cannot be made is no
    /// reason to remove others that are about to serve.
    fn has_settled(&self, waiter: &PendingRequest) -> bool {
        let mut machines = waiter
            .targets
            .keys()
            .filter_map(|name| self.machines.get(name));
        self.is_idle() && !self.router.is_busy() && !machines.any(ServiceMachine::is_growing)
    }

    /// A count that somebody waits for and is told to have failed is not reached later all the same.
    fn withdraw(&mut self, waiter: &mut PendingRequest) {
        if waiter.replies.is_none() && self.goal == RunGoal::Watch {
            return;
        }
        let now = self.clock.now();
        for (name, count) in &waiter.targets {
            let Some(machine) = self.machines.get_mut(name) else {
                continue;
            };
            let is_over = machine.is_at(*count) || machine.desired() != Some(*count);
            if is_over || self.requests.want(name, *count) {
                continue;
            }
            let effects = machine.handle(Event::Withdraw { count: *count }, now);
            waiter.failures.push(format!(
                "{name}: scaling to {count} is given up; to try again: `compose-scale scale {name}={count}`"
            ));
            self.carry_out(name, effects);
        }
    }

    fn answer(&mut self, mut waiter: PendingRequest, ok: bool) {
        if !ok {
            self.withdraw(&mut waiter);
        }
        self.reply(waiter, ok);
    }

    pub(super) fn reply(&mut self, waiter: PendingRequest, ok: bool) {
        let message = waiter.failures.join("\n");
        match waiter.replies {
            Some(replies) => self.answer_command(Answer {
                replies,
                ok,
                message,
                tells_loss: false,
            }),
            None => self.requests.end((!ok).then_some(message)),
        }
    }

    /// Notes go to people, to `scaling.log`, and to whoever waits for that service.
    pub(super) fn tell(&mut self, note: &ScalingEvent) {
        let note = &match self.goal {
            RunGoal::Watch => note.clone(),
            _ => note.clone().without_another_attempt(),
        };
        self.meters.noted(note);
        if note.what.is_history() {
            self.persistence.touch();
            self.persistence.record_event(note, &mut self.complaints);
        }
        self.requests.hear(note);
        if matches!(note.what, EventKind::RouteFailed { .. }) && self.goal != RunGoal::Watch {
            self.nginx.refuses(note.what.to_string());
        }
        let _ = self.notes.send(note.clone());
    }
}
