//! Those who wait: `scale` and `sync`, here or through the control socket.

use std::time::Duration;

use indexmap::IndexMap;
use jiff::SignedDuration;
use tokio::sync::mpsc;

use crate::{
    control::Reply,
    reconcile::{EventKind, ScalingEvent},
    units::Timestamp,
};

/// Somebody who waits for counts to be reached.
pub(super) struct PendingRequest {
    pub(super) targets: IndexMap<String, u32>,
    pub(super) started: bool,
    pub(super) hold: Duration,
    /// The longest wait, and when it ends.
    pub(super) allowed: Duration,
    pub(super) deadline: Timestamp,
    /// Hears that the request is being served, and nothing else.
    pub(super) acknowledge: Option<mpsc::Sender<Reply>>,
    /// Hears of the progress, and how it ended.
    pub(super) replies: Option<mpsc::Sender<Reply>>,
    pub(super) failures: Vec<String>,
}

impl PendingRequest {
    /// Whether it waits for another count of one of these services; then the reason why it waits in vain.
    fn superseded(&self, later: &IndexMap<String, u32>) -> Option<String> {
        let mut targets = self.targets.iter();
        targets.find_map(|(name, count)| {
            let new = later.get(name).filter(|new| *new != count)?;
            Some(format!(
                "{name}={count} was superseded by a later `scale {name}={new}`"
            ))
        })
    }

    /// An event may be for those who wait, and the reason why they wait in vain.
    fn hear(&mut self, note: &ScalingEvent) {
        // Without targets it waits for nginx alone.
        if self.targets.is_empty() {
            if matches!(note.what, EventKind::RouteFailed { .. }) {
                self.failures
                    .push(format!("{}: {}", note.service, note.what));
            }
            return;
        }
        if !self.targets.contains_key(&note.service) {
            return;
        }
        // A count that fails is given up.
        let note = if self.replies.is_some() {
            note.clone().without_another_attempt()
        } else {
            note.clone()
        };
        if matches!(
            note.what,
            EventKind::Failed { .. } | EventKind::Refused { .. }
        ) {
            self.failures
                .push(format!("{}: {}", note.service, note.what));
        }
        // Skip `NotScaling` for waiting clients.
        if let Some(replies) = &self.replies
            && !matches!(note.what, EventKind::NotScaling { .. })
        {
            let _ = replies.try_send(Reply::Note(note));
        }
    }
}

/// All who wait.
#[derive(Default)]
pub(super) struct PendingRequests {
    open: Vec<PendingRequest>,
    /// Why the count that this run is for was not reached, whatever comes afterwards.
    failed: Option<String>,
}

impl PendingRequests {
    pub(super) fn push(&mut self, request: PendingRequest) {
        self.open.push(request);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut PendingRequest> {
        self.open.iter_mut()
    }

    /// When each of them gives up.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Timestamp> {
        self.open.iter().map(|request| request.deadline)
    }

    /// Takes them all, to put back those that wait on.
    pub(super) fn take(&mut self) -> Vec<PendingRequest> {
        std::mem::take(&mut self.open)
    }

    pub(super) fn put_back(&mut self, mut open: Vec<PendingRequest>) {
        self.open.append(&mut open);
    }

    /// Whether anybody waits for this count of a service.
    pub(super) fn want(&self, service: &str, count: u32) -> bool {
        let wants = |request: &PendingRequest| request.targets.get(service) == Some(&count);
        self.open.iter().any(wants)
    }

    /// Of two that ask for different counts of one service the later one counts; the earlier ones are
    /// taken out, each with its reason, to be told so at once.
    pub(super) fn supersede(&mut self, later: &IndexMap<String, u32>) -> Vec<PendingRequest> {
        let mut out = Vec::new();
        for mut request in self.take() {
            match request.superseded(later) {
                Some(why) => {
                    request.failures.push(why);
                    out.push(request);
                }
                None => self.open.push(request),
            }
        }
        out
    }

    /// Tells an event to those who wait for its service.
    pub(super) fn hear(&mut self, note: &ScalingEvent) {
        for request in &mut self.open {
            request.hear(note);
        }
    }

    /// How the request of this run itself has ended.
    pub(super) fn end(&mut self, failed: Option<String>) {
        self.failed = failed;
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    pub(super) fn take_failed(&mut self) -> Option<String> {
        self.failed.take()
    }

    /// The clock was set by so much.
    pub(super) fn clock_jumped(&mut self, set_by: SignedDuration) {
        for request in &mut self.open {
            request.deadline = request.deadline.shifted(set_by);
        }
    }
}
