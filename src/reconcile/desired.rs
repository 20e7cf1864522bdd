//! What is wanted: load, decisions, and counts set by hand.

use std::{collections::BTreeMap, time::Duration};

use super::{
    CountMove, Effect, EventKind, Hold, Initiator, ServiceMachine, ServiceSetup, SyncState, Values,
    managed_replica::Phase,
};
use crate::{
    decide::{self, Decision, Input, Observed, ObservedState},
    project::ContainerId,
    units::{Span, Timestamp},
    usage::{CounterReading, Window},
};

/// The Engine's clock and this one may be apart by so much.
const AHEAD: Duration = Duration::from_secs(5);

/// Adds a reading of a replica that is read once per `interval`.
pub(super) fn feed(
    windows: &mut BTreeMap<ContainerId, Window>,
    interval: Duration,
    id: &ContainerId,
    reading: CounterReading,
) {
    let window = windows.entry(id.clone());
    window
        .or_insert_with(|| Window::new(interval))
        .feed(reading);
}

impl ServiceMachine {
    pub(super) fn keep_readings(&mut self, readings: BTreeMap<ContainerId, CounterReading>) {
        let interval = self.setup.interval;
        for (id, reading) in readings {
            self.update_peak(&id, &reading);
            if self.members.contains_key(&id) {
                feed(&mut self.windows, interval, &id, reading);
            }
        }
        let members = &self.members;
        self.windows.retain(|id, _| members.contains_key(id));
    }

    pub(super) fn keep_values(&mut self, values: Values) -> Vec<EventKind> {
        let members = &self.members;
        let name_of = |id: &ContainerId| members.get(id).map(|member| &member.replica);
        self.custom.keep(values, &self.setup.policy, name_of)
    }

    pub(super) fn input(&self, now: Timestamp) -> Input {
        Input {
            host: self.host.clone(),
            ..self.input_of(&self.windows, now)
        }
    }

    pub(super) fn input_of(
        &self,
        windows: &BTreeMap<ContainerId, Window>,
        now: Timestamp,
    ) -> Input {
        let replicas = self
            .members
            .values()
            .map(|member| {
                let id = &member.replica.id;
                let mut metrics = BTreeMap::new();
                let window = windows.get(id);
                if let Some(window) = window {
                    if let Some(cpu) = window.cpu(now, member.replica.limits.cpus) {
                        metrics.insert("cpu".to_owned(), cpu.get());
                    }
                    if let Some(memory) = window.memory(now, member.replica.limits.memory) {
                        metrics.insert("memory".to_owned(), memory.get());
                    }
                }
                metrics.extend(self.custom.of(id));
                Observed {
                    name: member.replica.name.clone(),
                    state: if member.is_on_its_way_out() {
                        ObservedState::Draining
                    } else {
                        member.replica.state.into()
                    },
                    ready: member.serves(),
                    age: Span::measured(member.replica.started.map_or(Duration::ZERO, |started| {
                        if started > now + AHEAD {
                            // Started by a clock that was set back since.
                            self.setup.policy.initialization_period.0
                        } else {
                            now.since(started)
                        }
                    })),
                    metrics,
                    throttled: window.and_then(|w| Some(w.throttled(now)?.get())),
                    out_of_memory: self
                        .ooms
                        .get(&member.replica.name)
                        .map(|at| Span(now.since(*at))),
                }
            })
            .chain(self.lost_to_memory(now))
            .collect();
        let mut input = Input::new(now, self.setup.policy.clone());
        input.service = Some(self.setup.service.clone());
        input.current = self.desired;
        input.replicas = replicas;
        input.service_metrics = self.custom.of_service();
        input.unread = self.custom.unread().clone();
        input.history = self.history.clone();
        input.hold = self.hold.map(|hold| hold.replicas);
        input.paused = self.paused(now).map(|paused| paused.directions);
        input
    }

    /// The decision and what it was made from.
    pub(super) fn decide(&mut self, now: Timestamp) -> Option<(Input, Decision)> {
        if !self.setup.autoscaled || self.mood != SyncState::Acting || self.standstill.is_some() {
            return None;
        }
        self.expire_hold(now);
        self.decisions += 1;
        let input = self.input(now);
        let decision = decide::decide(&input);
        Some((input, decision))
    }

    pub(super) fn decide_and_follow(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if self.busy(now) {
            return;
        }
        let Some((input, decision)) = self.decide(now) else {
            return;
        };
        self.keep_in_mind(&decision, now);
        let from = self.desired.unwrap_or(decision.desired);
        if decision.desired == from {
            self.say_why_not(&decision, now, out);
        } else {
            let metrics = decision
                .proposals
                .iter()
                .filter_map(|p| Some((p.metric.clone(), p.value?)))
                .collect();
            out.push(self.note(
                EventKind::Scale {
                    from,
                    to: decision.desired,
                    reason: decision.reason.label().to_owned(),
                    message: decision.message.clone(),
                    metrics,
                    by: Initiator::Policy,
                    input: serde_json::to_value(&input).ok().map(Box::new),
                },
                now,
            ));
            self.want(decision.desired, now);
            self.said = None;
        }
        self.last = Some((now, decision.clone()));
        out.push(Effect::Decided {
            input: Box::new(input),
            decision: Box::new(decision),
        });
    }

    /// What later decisions look back on.
    pub(super) fn keep_in_mind(&mut self, decision: &Decision, now: Timestamp) {
        if let Some(recommendation) = decision.recommendation {
            self.history.record_recommendation(now, recommendation);
        }
        if decision.bursts {
            self.history.burst = Some(now);
        }
        self.history.trials.clone_from(&decision.trials);
        self.history.prune(now, &self.setup.policy.behavior);
    }

    pub(super) fn want(&mut self, desired: u32, now: Timestamp) {
        let from = self.desired.unwrap_or(desired);
        self.history
            .record_change(now, i64::from(desired) as i32 - i64::from(from) as i32);
        self.desired = Some(desired);
        self.moving = Some(CountMove {
            from,
            to: desired,
            since: now,
        });
    }

    pub(super) fn scale_by_hand(
        &mut self,
        replicas: u32,
        hold: Option<Duration>,
        by: Initiator,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        self.refused = None;
        self.tell_again();
        if let Some(why) = self.setup.unroutable.clone().filter(|_| self.setup.routed) {
            self.refuse(why, now, out);
            return;
        }
        // Somebody who asks again wants it tried now.
        self.retry_at = None;
        self.failures = 0;
        self.failing = None;
        // And wants what was stopped to run, and what is not there to be made.
        self.may_found |= self.members.is_empty();
        for member in self.members.values_mut() {
            if let Phase::Idle { on_purpose, .. } = &mut member.phase {
                *on_purpose = false;
            }
        }
        let from = self.desired.unwrap_or_else(|| self.live());
        if let Some(span) = hold {
            let until = Some(now + span);
            self.hold = Some(Hold { replicas, until });
            out.push(self.note(EventKind::Held { replicas, until }, now));
            out.push(Effect::WakeAt(now + span));
        }
        if replicas != from {
            out.push(self.note(
                EventKind::Scale {
                    from,
                    to: replicas,
                    reason: "held".into(),
                    message: format!("asked for by hand{}", self.setup.policy.beyond(replicas)),
                    metrics: BTreeMap::new(),
                    by,
                    input: None,
                },
                now,
            ));
        }
        self.want(replicas, now);
    }

    pub(super) fn expire_hold(&mut self, now: Timestamp) {
        self.hold = self
            .hold
            .filter(|hold| hold.until.is_none_or(|until| until > now));
    }

    /// Another policy. Where traffic would go to another port, or be let in by another gate, every
    /// replica is looked at again, and until one passes nginx stays as it is: the containers may be
    /// older than the file.
    pub(super) fn set_up(&mut self, setup: ServiceSetup, now: Timestamp, out: &mut Vec<Effect>) {
        let other_gate =
            setup.port != self.setup.port || setup.policy.ready != self.setup.policy.ready;
        if setup.policy.metrics != self.setup.policy.metrics {
            // What was tried was tried for something else.
            self.history.trials.clear();
        }
        if setup.unroutable != self.setup.unroutable {
            self.expect_a_look();
        }
        self.setup = setup;
        self.refused = None;
        if !other_gate {
            self.wanted = None;
            return;
        }
        self.holdover = true;
        let serving: Vec<_> = self
            .members
            .values()
            .filter(|m| m.serves())
            .map(|m| m.replica.id.clone())
            .collect();
        for id in serving {
            self.probe(&id, now, out);
        }
    }
}
