//! Requests from the control socket.

use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::mpsc;

use super::{
    super::{pause, pending_requests::PendingRequest},
    Driver, SYNC,
    saving::Answer,
};
use crate::{
    control::{Call, ControlRequest, Reply},
    engine::Engine,
    plan::MOST,
    proxy::Proxy,
    reconcile::{Event, Initiator, Paused},
};

/// So long a count that nobody waits for is looked after.
const UNWATCHED: Duration = Duration::from_secs(600);

impl<E: Engine, P: Proxy> Driver<E, P> {
    pub(super) fn on_call(&mut self, call: Call) {
        let Call { request, replies } = call;
        let refuse = |message: String| {
            let _ = replies.try_send(Reply::Done { ok: false, message });
        };
        match request {
            ControlRequest::Status => {
                let _ = replies.try_send(Reply::Status(Box::new(self.snapshot())));
            }
            ControlRequest::Sync => {
                let now = self.clock.now();
                self.router.again(now);
                self.requests.push(PendingRequest {
                    targets: IndexMap::new(),
                    started: false,
                    hold: Duration::ZERO,
                    allowed: SYNC,
                    deadline: now + SYNC,
                    acknowledge: None,
                    replies: Some(replies),
                    failures: Vec::new(),
                });
            }
            ControlRequest::Pause {
                services,
                directions,
                span,
            } => {
                let event = Event::Suspend {
                    directions,
                    span: span.map(|span| span.0),
                    by: Initiator::Hand,
                };
                self.pass_on(&services, &event, replies, |service, _, now| {
                    now.map_or_else(String::new, |now| pause::paused(service, now))
                });
            }
            ControlRequest::Resume { services } => {
                let event = Event::Resume {
                    by: Initiator::Hand,
                };
                self.pass_on(&services, &event, replies, |service, before, _| {
                    pause::resumed(service, before)
                });
            }
            ControlRequest::Scale {
                services,
                hold,
                wait,
            } => {
                if self.dry_run {
                    return refuse("the running `watch` is a dry run and changes nothing".into());
                }
                // The client checks too; whoever else writes to the socket gets no further.
                if let Some((name, count)) = services.iter().find(|(_, n)| !(1..=MOST).contains(*n))
                {
                    return refuse(format!("{name}={count}: expected 1 to {MOST} replicas"));
                }
                for name in services.keys() {
                    if !self.loaded.project.services.contains_key(name) {
                        return refuse(format!("no such service: {name}"));
                    }
                    if !self.machines.contains_key(name) {
                        self.files.manage(name);
                    }
                }
                self.supersede(&services);
                self.make_machines();
                self.list();
                let now = self.clock.now();
                let allowed = wait.map_or(UNWATCHED, |wait| wait.0);
                self.requests.push(PendingRequest {
                    targets: services,
                    started: false,
                    hold: hold.0,
                    allowed,
                    deadline: now + allowed,
                    acknowledge: wait.is_none().then(|| replies.clone()),
                    replies: wait.is_some().then_some(replies),
                    failures: Vec::new(),
                });
            }
        }
    }

    /// Of two that ask for different counts of one service the later one counts; the earlier is told
    /// so at once, instead of waiting for what will not come.
    fn supersede(&mut self, later: &IndexMap<String, u32>) {
        for earlier in self.requests.supersede(later) {
            self.reply(earlier, false);
        }
    }

    /// Hands the event to each machine at once, before whatever else waits, and has it on disk before
    /// it is answered.
    fn pass_on(
        &mut self,
        services: &[String],
        event: &Event,
        replies: mpsc::Sender<Reply>,
        say: impl Fn(&str, Option<Paused>, Option<Paused>) -> String,
    ) {
        let refuse = |message| {
            let _ = replies.try_send(Reply::Done { ok: false, message });
        };
        if self.dry_run {
            return refuse("the running `watch` is a dry run and changes nothing".into());
        }
        if let Some(why) = pause::refusal(&self.loaded, services) {
            return refuse(why);
        }
        let mut lines = Vec::new();
        for service in services {
            let now = self.clock.now();
            let Some(machine) = self.machines.get_mut(service) else {
                continue;
            };
            let before = machine.paused(now);
            let effects = machine.handle(event.clone(), now);
            lines.push(say(service, before, machine.paused(now)));
            self.carry_out(service, effects);
        }
        self.persistence.touch();
        self.answer_command(Answer {
            replies,
            ok: true,
            message: lines.join("\n"),
            tells_loss: true,
        });
    }
}
