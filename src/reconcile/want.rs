//! What is wanted: load, decisions, and counts set by hand.

use std::{collections::BTreeMap, time::Duration};

use super::{
    By, Effect, Hold, LIVED, Machine, Mood, Move, Setup, What,
    member::{Member, Phase},
};
use crate::{
    decide::{self, Decision, Input, Observed, ObservedState},
    project::ContainerId,
    units::{Moment, Span},
    usage::{Reading, Window},
};

impl Machine {
    pub(super) fn keep_readings(&mut self, readings: BTreeMap<ContainerId, Reading>) {
        let interval = self.setup.interval;
        for (id, reading) in readings {
            if self.members.contains_key(&id) {
                self.windows
                    .entry(id)
                    .or_insert_with(|| Window::new(interval))
                    .feed(reading);
            }
        }
        let members = &self.members;
        self.windows.retain(|id, _| members.contains_key(id));
    }

    pub(super) fn input(&self, now: Moment) -> Input {
        let replicas = self
            .members
            .values()
            .map(|member| {
                let id = &member.replica.id;
                let mut metrics = BTreeMap::new();
                if let Some(window) = self.windows.get(id) {
                    if let Some(cpu) = window.cpu(now, member.replica.limits.cpus) {
                        metrics.insert("cpu".to_owned(), cpu.get());
                    }
                    if let Some(memory) = window.memory(now, member.replica.limits.memory) {
                        metrics.insert("memory".to_owned(), memory.get());
                    }
                }
                Observed {
                    name: member.replica.name.clone(),
                    state: if member.is_on_its_way_out() {
                        ObservedState::Draining
                    } else {
                        member.replica.state.into()
                    },
                    ready: member.serves(),
                    age: Span(
                        member
                            .replica
                            .started
                            .map_or(Duration::ZERO, |started| now.since(started)),
                    ),
                    metrics,
                }
            })
            .collect();
        let mut input = Input::new(now, self.setup.policy.clone());
        input.current = self.desired;
        input.replicas = replicas;
        input.history = self.history.clone();
        input.hold = self.hold.map(|hold| hold.replicas);
        input
    }

    pub(super) fn decide(&mut self, now: Moment) -> Option<Decision> {
        if !self.setup.autoscaled || self.mood != Mood::Acting || self.standstill.is_some() {
            return None;
        }
        self.expire_hold(now);
        self.decisions += 1;
        Some(decide::decide(&self.input(now)))
    }

    pub(super) fn decide_and_follow(&mut self, now: Moment, out: &mut Vec<Effect>) {
        let lived = |m: &Member| m.served.is_none_or(|since| now.since(since) >= LIVED);
        if self.members.values().all(|m| m.serves() && lived(m)) {
            self.failures = 0;
        }
        if self.busy(now) {
            return;
        }
        let input = self.input(now);
        let Some(decision) = self.decide(now) else {
            return;
        };
        if let Some(recommendation) = decision.recommendation {
            self.history.record_recommendation(now, recommendation);
        }
        self.history.prune(now, &self.setup.policy.behavior);
        let from = self.desired.unwrap_or(decision.desired);
        if decision.desired != from {
            let metrics = decision
                .proposals
                .iter()
                .filter_map(|p| Some((p.metric.clone(), p.value?)))
                .collect();
            out.push(self.note(
                What::Scale {
                    from,
                    to: decision.desired,
                    reason: decision.reason.label().to_owned(),
                    message: decision.message.clone(),
                    metrics,
                    by: By::Policy,
                    input: serde_json::to_value(&input).ok().map(Box::new),
                },
                now,
            ));
            self.want(decision.desired, now);
        }
        self.last = Some((now, decision));
    }

    pub(super) fn want(&mut self, desired: u32, now: Moment) {
        let from = self.desired.unwrap_or(desired);
        self.history
            .record_change(now, i64::from(desired) as i32 - i64::from(from) as i32);
        self.desired = Some(desired);
        self.moving = Some(Move {
            from,
            to: desired,
            since: now,
        });
    }

    pub(super) fn scale_by_hand(
        &mut self,
        replicas: u32,
        hold: Option<Duration>,
        by: By,
        now: Moment,
        out: &mut Vec<Effect>,
    ) {
        self.refused = None;
        // Somebody who asks again wants it tried now.
        self.retry_at = None;
        self.failures = 0;
        // And wants what was stopped to run.
        for member in self.members.values_mut() {
            if let Phase::Idle { on_purpose, .. } = &mut member.phase {
                *on_purpose = false;
            }
        }
        let from = self.desired.unwrap_or_else(|| self.live());
        if let Some(span) = hold {
            let until = Some(now + span);
            self.hold = Some(Hold { replicas, until });
            out.push(self.note(What::Held { replicas, until }, now));
            out.push(Effect::WakeAt(now + span));
        }
        if replicas != from {
            out.push(self.note(
                What::Scale {
                    from,
                    to: replicas,
                    reason: "held".into(),
                    message: "asked for by hand".into(),
                    metrics: BTreeMap::new(),
                    by,
                    input: None,
                },
                now,
            ));
        }
        self.want(replicas, now);
    }

    pub(super) fn expire_hold(&mut self, now: Moment) {
        self.hold = self
            .hold
            .filter(|hold| hold.until.is_none_or(|until| until > now));
    }

    /// Another policy. Where traffic would go to another port, or be let in by another gate, every
    /// replica is looked at again, and until one passes nginx stays as it is: the containers may be
    /// older than the file.
    pub(super) fn set_up(&mut self, setup: Setup, now: Moment, out: &mut Vec<Effect>) {
        let other_gate =
            setup.port != self.setup.port || setup.policy.ready != self.setup.policy.ready;
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
