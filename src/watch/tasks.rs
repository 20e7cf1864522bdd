//! Work beside the loop: tasks that end with a message to it.

use tokio::{
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

use super::Message;
use crate::reconcile::Event;

/// Messages that may wait for the loop.
const QUEUE: usize = 1024;

/// The tasks of a run, and their way back to the loop.
#[derive(Debug)]
pub(super) struct Tasks {
    set: JoinSet<()>,
    report: mpsc::Sender<Message>,
}

impl Tasks {
    /// No task yet, and the other end of their way back.
    pub(super) fn new() -> (Self, mpsc::Receiver<Message>) {
        let (report, messages) = mpsc::channel(QUEUE);
        let set = JoinSet::new();
        (Self { set, report }, messages)
    }

    /// Begins one that reports by itself, or not at all.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.set.spawn(task)
    }

    /// Begins one that ends with a message.
    pub(super) fn report(&mut self, task: impl Future<Output = Message> + Send + 'static) {
        let report = self.report.clone();
        self.set.spawn(async move {
            let _ = report.send(task.await).await;
        });
    }

    /// Begins one that ends with an event for a service's machine.
    pub(super) fn report_to(
        &mut self,
        service: &str,
        task: impl Future<Output = Event> + Send + 'static,
    ) {
        let service = service.to_owned();
        self.report(async move { Message::To(service, Box::new(task.await)) });
    }

    /// For a task that reports more than once.
    pub(super) fn reporter(&self) -> mpsc::Sender<Message> {
        self.report.clone()
    }

    /// For those that report elsewhere.
    pub(super) fn set(&mut self) -> &mut JoinSet<()> {
        &mut self.set
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// Waits for the end of one.
    pub(super) async fn ended(&mut self) -> Option<()> {
        self.set.join_next().await.map(drop)
    }

    /// Ends them all.
    pub(super) fn abort_all(&mut self) {
        self.set.abort_all();
    }
}
