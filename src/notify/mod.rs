//! Telling others what happens: webhooks and commands that `x-autoscale.notify` names.
//!
//! [`Notifier::send`] never waits. Each target has a queue and a worker of its own, so that one that is
//! slow holds up neither the loop nor another target, and each hears of things in their order. What a
//! target does not take is tried again a few times, then lost; that is said once, and so is the end of it.
//!
//! A webhook's path, query and headers are as good as passwords and are shown nowhere.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use self::{
    payload::{Payload, PayloadSource},
    queue::NotificationQueue,
    retry::AttemptOutcome,
    worker::DeliveryWorker,
};
use crate::{
    policy::{Notify, notify::NotifyTarget},
    reconcile::ScalingEvent,
    units::Timestamp,
};

mod command;
mod connect;
mod filter;
mod payload;
mod queue;
mod redact;
mod retry;
mod webhook;
mod worker;

pub use connect::is_known;

/// What is queued when `watch` ends gets this long to go out.
pub const PARTING: Duration = Duration::from_secs(5);

/// The [`Counts::label`] of all targets of a kind that are no more.
pub const GONE: &str = "gone";

/// Tells targets of notes.
#[derive(Debug)]
pub struct Notifier {
    place: PayloadSource,
    directory: PathBuf,
    settings: watch::Receiver<Vec<Notify>>,
    lines: Vec<Subscription>,
    workers: JoinSet<()>,
    tally: DeliveryStats,
}

/// A target and what waits for it.
#[derive(Debug)]
struct Subscription {
    notify: Notify,
    queue: Arc<NotificationQueue<Payload>>,
    counters: Arc<Counters>,
}

/// What became of the notifications to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counts {
    /// `webhook` or `command`.
    pub kind: &'static str,
    /// Which one, without anything secret; two targets may be called the same.
    pub label: String,
    /// Those that arrived.
    pub sent: u64,
    /// Those that were refused, or given up after the last attempt.
    pub failed: u64,
    /// Those that newer ones pushed out of the queue.
    pub dropped: u64,
}

#[derive(Debug)]
struct Counters {
    kind: &'static str,
    label: String,
    sent: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

impl Counters {
    fn of(target: &NotifyTarget) -> Self {
        Self {
            kind: target.kind(),
            label: target.to_string(),
            sent: AtomicU64::default(),
            failed: AtomicU64::default(),
            dropped: AtomicU64::default(),
        }
    }

    fn counts(&self) -> Counts {
        Counts {
            kind: self.kind,
            label: self.label.clone(),
            sent: self.sent.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
        }
    }
}

/// Counts of all targets, also from elsewhere than where the [`Notifier`] is. Their sums never go down.
#[derive(Debug, Clone, Default)]
pub struct DeliveryStats(Arc<Mutex<DeliveryCounters>>);

#[derive(Debug, Default)]
struct DeliveryCounters {
    present: Vec<Arc<Counters>>,
    /// Of targets that are no more; what waits for them still goes out.
    leaving: Vec<Arc<Counters>>,
    /// Of targets whose worker has ended, by kind.
    gone: BTreeMap<&'static str, Counts>,
}

impl DeliveryStats {
    /// What became of the notifications to each target there is at present. Those to the targets that
    /// are no more follow, as one [`GONE`] of each kind.
    pub fn counts(&self) -> Vec<Counts> {
        let book = self.book();
        let mut gone = book.gone.clone();
        for one in &book.leaving {
            add(&mut gone, one);
        }
        let present = book.present.iter().map(|one| one.counts());
        present.chain(gone.into_values()).collect()
    }

    /// From now on there are these targets, and those no more.
    fn turn(&self, present: Vec<Arc<Counters>>, leaving: impl Iterator<Item = Arc<Counters>>) {
        let mut book = self.book();
        book.present = present;
        let before = std::mem::take(&mut book.leaving);
        for one in before.into_iter().chain(leaving) {
            // As long as its worker has it, it counts on.
            match Arc::try_unwrap(one) {
                Ok(one) => add(&mut book.gone, &one),
                Err(one) => book.leaving.push(one),
            }
        }
    }

    fn book(&self) -> MutexGuard<'_, DeliveryCounters> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(gone: &mut BTreeMap<&'static str, Counts>, one: &Counters) {
    let more = one.counts();
    let sum = gone.entry(one.kind).or_insert(Counts {
        kind: one.kind,
        label: GONE.into(),
        sent: 0,
        failed: 0,
        dropped: 0,
    });
    sum.sent += more.sent;
    sum.failed += more.failed;
    sum.dropped += more.dropped;
}

impl Notifier {
    /// For a project in this directory, with the targets that `settings` has at any time.
    pub fn new(
        project: &str,
        directory: impl Into<PathBuf>,
        settings: watch::Receiver<Vec<Notify>>,
    ) -> Self {
        let mut notifier = Self {
            place: PayloadSource {
                project: project.to_owned(),
                host: host(),
            },
            directory: directory.into(),
            settings,
            lines: Vec::new(),
            workers: JoinSet::new(),
            tally: DeliveryStats::default(),
        };
        notifier.follow();
        notifier
    }

    /// Puts a note into the queue of everybody who wants to hear of it. Never waits.
    pub fn send(&mut self, note: &ScalingEvent) {
        if self.settings.has_changed().unwrap_or(false) {
            self.follow();
        }
        if self.lines.is_empty() {
            return;
        }
        let document = self.place.document(note);
        let event = document["event"].as_str().unwrap_or_default();
        for line in &self.lines {
            if filter::wants(&line.notify, note, event) && line.queue.push(document.clone()) {
                line.counters.dropped.fetch_add(1, Ordering::Relaxed);
            }
        }
        // Workers of targets that are no more.
        while self.workers.try_join_next().is_some() {}
    }

    /// What [`DeliveryStats::counts`] says.
    pub fn counts(&self) -> Vec<Counts> {
        self.tally.counts()
    }

    /// The same for somebody else to ask.
    pub fn tally(&self) -> DeliveryStats {
        self.tally.clone()
    }

    /// The longest that one attempt may take.
    pub fn longest(&self) -> Duration {
        let all = self.lines.iter().map(|line| line.notify.target.timeout().0);
        all.max().unwrap_or_default()
    }

    /// Gives what is queued this long to go out.
    pub async fn close(mut self, patience: Duration) {
        for line in &self.lines {
            line.queue.close();
        }
        let all = async { while self.workers.join_next().await.is_some() {} };
        if timeout(patience, all).await.is_err() {
            tracing::warn!("not every notification went out before the end");
        }
    }

    /// Takes the settings over. Targets that stay keep what waits for them; those that go are still
    /// told what waits.
    fn follow(&mut self) {
        let wanted = self.settings.borrow_and_update().clone();
        let mut before = std::mem::take(&mut self.lines);
        for notify in wanted {
            let same = before.iter().position(|line| line.notify == notify);
            let line = match same {
                Some(at) => before.swap_remove(at),
                None => self.begin(notify),
            };
            self.lines.push(line);
        }
        let leaving = before.into_iter().map(|line| {
            line.queue.close();
            line.counters
        });
        let present = self.lines.iter().map(|line| Arc::clone(&line.counters));
        self.tally.turn(present.collect(), leaving);
    }

    fn begin(&mut self, notify: Notify) -> Subscription {
        let line = Subscription {
            queue: Arc::new(NotificationQueue::new()),
            counters: Arc::new(Counters::of(&notify.target)),
            notify,
        };
        let worker = DeliveryWorker {
            target: line.notify.target.clone(),
            directory: self.directory.clone(),
            counters: Arc::clone(&line.counters),
        };
        self.workers.spawn(worker.run(Arc::clone(&line.queue)));
        line
    }
}

/// Tells a target that the way works, once. `Err` is why it does not.
pub async fn test(
    notify: &Notify,
    project: &str,
    directory: &std::path::Path,
    service: &str,
    now: Timestamp,
) -> Result<(), String> {
    let place = PayloadSource {
        project: project.to_owned(),
        host: host(),
    };
    let document = place.test(now, service);
    match tell(&notify.target, directory, &document).await {
        AttemptOutcome::Taken => Ok(()),
        AttemptOutcome::Refused { why } | AttemptOutcome::Later { why, .. } => Err(why),
    }
}

/// One attempt.
async fn tell(
    target: &NotifyTarget,
    directory: &std::path::Path,
    document: &Payload,
) -> AttemptOutcome {
    match target {
        NotifyTarget::Webhook(webhook) => webhook::post(webhook, document).await,
        NotifyTarget::Command(hook) => command::run(hook, directory, document).await,
    }
}

/// The name of this machine.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
