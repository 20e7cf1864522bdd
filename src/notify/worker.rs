//! One target: what waits for it goes out, one after the other, again where it must.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use serde_json::Value;
use tracing::{debug, info, warn};

use super::{
    Counters,
    payload::Payload,
    queue::NotificationQueue,
    retry::{self, AttemptOutcome},
    sleep, tell,
};
use crate::{policy::notify::NotifyTarget, telemetry::plain};

/// What a target is served by.
#[derive(Debug)]
pub(super) struct DeliveryWorker {
    pub(super) target: NotifyTarget,
    pub(super) directory: PathBuf,
    pub(super) counters: Arc<Counters>,
}

/// How it goes at present.
#[derive(Debug, Default)]
struct DeliveryState {
    trouble: Option<DeliveryProblem>,
    /// More came than it took, and some of that still waits.
    behind: bool,
    /// So many were lost since the trouble began.
    lost: u64,
    /// So many the target has not been told that they are missing.
    missing: u64,
}

/// What is wrong; another kind is said again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DeliveryProblem {
    Away,
    Refusing,
}

impl DeliveryWorker {
    /// Works until the queue is closed and empty.
    pub(super) async fn run(self, queue: Arc<NotificationQueue<Payload>>) {
        let mut mood = DeliveryState::default();
        while self.step(&queue, &mut mood).await {}
    }

    /// Waits for the next one and delivers it; `false` when none comes any more.
    async fn step(&self, queue: &NotificationQueue<Payload>, mood: &mut DeliveryState) -> bool {
        let Some((mut document, dropped)) = queue.next().await else {
            return false;
        };
        self.lose(mood, dropped);
        let told = mood.missing;
        if told > 0 {
            document.insert("dropped".into(), told.into());
        }
        if self.deliver(&document, queue, mood).await {
            mood.missing -= told;
        }
        true
    }

    /// Takes note of those that found no room, and says so once.
    fn lose(&self, mood: &mut DeliveryState, dropped: u64) {
        if dropped == 0 {
            return;
        }
        let name = self.name();
        let were = match dropped {
            1 => "a notification was".to_owned(),
            _ => format!("{dropped} notifications were"),
        };
        let text = format!("{name}: {were} dropped, because more came than it took");
        if mood.behind {
            debug!("{text}");
        } else {
            warn!("{text}");
        }
        mood.behind = true;
        mood.lost += dropped;
        mood.missing += dropped;
    }

    /// Whether it arrived.
    async fn deliver(
        &self,
        document: &Payload,
        queue: &NotificationQueue<Payload>,
        mood: &mut DeliveryState,
    ) -> bool {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let answer = tell(&self.target, &self.directory, document).await;
            self.lose(mood, queue.take_dropped());
            match answer {
                AttemptOutcome::Taken => {
                    self.counters.sent.fetch_add(1, Ordering::Relaxed);
                    self.works(mood, queue.is_empty());
                    return true;
                }
                AttemptOutcome::Refused { why } => {
                    let what = match &self.target {
                        NotifyTarget::Webhook(_) => "refuses a notification",
                        NotifyTarget::Command(_) => "failed",
                    };
                    let event = document.get("event").and_then(Value::as_str);
                    let event = event.unwrap_or_default();
                    let text = format!("{what} ({event}): {why}; that one is not sent again");
                    self.complain(mood, DeliveryProblem::Refusing, &text);
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    mood.lost += 1;
                    return false;
                }
                AttemptOutcome::Later { why, after } => {
                    let wait = retry::wait(attempts, self.retry(), after);
                    let then = if wait.is_some() {
                        "trying again"
                    } else {
                        "given up"
                    };
                    let text = format!("does not take notifications: {why}; {then}");
                    self.complain(mood, DeliveryProblem::Away, &text);
                    let Some(wait) = wait else {
                        self.counters.failed.fetch_add(1, Ordering::Relaxed);
                        mood.lost += 1;
                        mood.missing += 1;
                        return false;
                    };
                    sleep(wait).await;
                }
            }
        }
    }

    /// Says what is wrong, once.
    fn complain(&self, mood: &mut DeliveryState, trouble: DeliveryProblem, text: &str) {
        let text = format!("{} {text}", self.name());
        let text = plain(&text);
        if mood.trouble == Some(trouble) {
            debug!("{text}");
        } else {
            warn!("{text}");
        }
        mood.trouble = Some(trouble);
    }

    /// One has arrived. Who was behind keeps up again when nothing waits.
    fn works(&self, mood: &mut DeliveryState, nothing_waits: bool) {
        let is_over = mood.trouble.take().is_some() || mood.behind && nothing_waits;
        if !is_over {
            return;
        }
        mood.behind = false;
        let name = self.name();
        match std::mem::take(&mut mood.lost) {
            0 => info!("{name} takes notifications again"),
            1 => info!("{name} takes notifications again, after one was lost"),
            lost => info!("{name} takes notifications again, after {lost} were lost"),
        }
    }

    fn retry(&self) -> u32 {
        match &self.target {
            NotifyTarget::Webhook(webhook) => webhook.retry,
            NotifyTarget::Command(_) => 0,
        }
    }

    fn name(&self) -> String {
        format!(
            "{} {}",
            self.counters.kind,
            plain(&self.counters.label).into_owned()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::Mutex, time::Duration};

    use super::{super::queue::MOST, *};
    use crate::{policy::notify::NotifyCommand, units::Span};

    fn worker(script: &str) -> DeliveryWorker {
        let target = NotifyTarget::Command(NotifyCommand {
            argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: Span(Duration::from_secs(30)),
        });
        DeliveryWorker {
            counters: Arc::new(Counters::of(&target)),
            target,
            directory: "/".into(),
        }
    }

    fn push(queue: &NotificationQueue<Payload>, count: usize) {
        for _ in 0..count {
            queue.push(Payload::new());
        }
    }

    #[tokio::test]
    async fn that_it_is_behind_is_said_once_and_what_was_lost_at_the_end() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(Mutex::new(log.reopen().unwrap()))
            .finish();
        let _log = tracing::subscriber::set_default(subscriber);
        let said = || fs::read_to_string(log.path()).unwrap();

        let (worker, queue, mut mood) = (
            worker("exit 0"),
            NotificationQueue::new(),
            DeliveryState::default(),
        );
        push(&queue, MOST + 2);
        for _ in 0..3 {
            assert!(worker.step(&queue, &mut mood).await);
            // One more than there is room for.
            push(&queue, 2);
        }
        assert_eq!(said().matches("dropped").count(), 1, "{}", said());
        assert!(
            said().contains("WARN") && !said().contains("again"),
            "{}",
            said()
        );
        // Nearly all that waits goes elsewhere.
        for _ in 1..MOST {
            let (_, dropped) = queue.next().await.unwrap();
            worker.lose(&mut mood, dropped);
        }
        assert!(worker.step(&queue, &mut mood).await);
        assert!(said().ends_with("takes notifications again, after 5 were lost\n"));
        assert_eq!(said().matches("dropped").count(), 1, "{}", said());
    }

    #[tokio::test]
    async fn what_found_no_room_during_other_trouble_is_among_what_was_lost() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(Mutex::new(log.reopen().unwrap()))
            .finish();
        let _log = tracing::subscriber::set_default(subscriber);

        let queue = NotificationQueue::new();
        let mut mood = DeliveryState::default();
        push(&queue, 1);
        assert!(worker("exit 1").step(&queue, &mut mood).await);
        // The next one is taken while it overflows.
        push(&queue, MOST + 3);
        let (worker, document) = (worker("exit 0"), Payload::new());
        assert!(worker.deliver(&document, &queue, &mut mood).await);
        let said = fs::read_to_string(log.path()).unwrap();
        assert!(
            said.ends_with("takes notifications again, after 4 were lost\n"),
            "{said}"
        );
        assert_eq!(mood.missing, 3, "it is yet to be told of these");
    }
}
