//! Steps and answers that wait until what they rest on is on disk.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::{
    super::{persistence::Change, warn_once::Topic},
    Driver,
};
use crate::{control::Reply, engine::Engine, proxy::Proxy, reconcile::Effect};

/// Whatever waits, each for the change that it rests on, in the order of those.
#[derive(Default)]
pub(super) struct Deferred {
    steps: VecDeque<(Change, String, Effect)>,
    answers: VecDeque<(Change, Answer)>,
}

/// The end of a command.
pub(super) struct Answer {
    pub(super) replies: mpsc::Sender<Reply>,
    pub(super) ok: bool,
    pub(super) message: String,
    /// Whether a change that could not be saved is told.
    pub(super) tells_loss: bool,
}

impl Deferred {
    /// Whether no step waits.
    pub(super) fn is_idle(&self) -> bool {
        self.steps.is_empty()
    }
}

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Takes a step, as soon as what was decided is on disk.
    pub(super) fn take_step(&mut self, service: &str, step: Effect) {
        match self.persistence.unsaved() {
            Some(change) => {
                let service = service.to_owned();
                self.deferred.steps.push_back((change, service, step));
            }
            None => self.act(service, step),
        }
    }

    /// Answers a command, as soon as what it was promised is on disk.
    pub(super) fn answer_command(&mut self, answer: Answer) {
        match self.persistence.unsaved() {
            Some(change) => self.deferred.answers.push_back((change, answer)),
            None => self.send_answer(answer),
        }
    }

    fn send_answer(&self, answer: Answer) {
        let Answer {
            replies,
            ok,
            mut message,
            tells_loss,
        } = answer;
        let loss = self.complaints.about(Topic::Memory);
        if let Some(why) = loss.filter(|_| tells_loss) {
            message = format!("{message}\na restart of the running `watch` would lose it: {why}");
        }
        let _ = replies.try_send(Reply::Done { ok, message });
    }

    /// Begins to save what must survive, unless a write is under way.
    pub(super) fn save_changes(&mut self) {
        if self.persistence.is_due() {
            self.persistence.begin_to_save(&self.machines);
        }
    }

    /// A write has ended: whatever has waited for it goes on.
    pub(super) fn saved(&mut self, result: Result<(), String>) {
        self.persistence.end_to_save(result, &mut self.complaints);
        self.send_answers();
        let mut steps = Vec::new();
        while let Some((change, ..)) = self.deferred.steps.front()
            && self.persistence.is_saved(*change)
        {
            steps.extend(self.deferred.steps.pop_front());
        }
        for (_, service, step) in steps {
            self.act(&service, step);
        }
    }

    fn send_answers(&mut self) {
        while let Some((change, _)) = self.deferred.answers.front()
            && self.persistence.is_saved(*change)
            && let Some((_, answer)) = self.deferred.answers.pop_front()
        {
            self.send_answer(answer);
        }
    }

    /// Saves the last state of the run.
    pub(super) async fn save_at_the_end(&mut self) {
        if self.persistence.is_writing() {
            let result = self.persistence.written().await;
            self.persistence.end_to_save(result, &mut self.complaints);
        }
        self.persistence.begin_to_save(&self.machines);
        if self.persistence.is_writing() {
            let result = self.persistence.written().await;
            self.persistence.end_to_save(result, &mut self.complaints);
        }
        self.send_answers();
    }
}
