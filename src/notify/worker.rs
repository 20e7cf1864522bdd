//! One target: what waits for it goes out, one after the other, again where it must.

use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
};

use serde_json::Value;
use tracing::{debug, info, warn};

use super::{
    Counters,
    body::Document,
    queue::Queue,
    retry::{self, Answer},
    sleep, tell,
};
use crate::{policy::notify::Target, telemetry::plain};

/// What a target is served by.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) target: Target,
    pub(super) directory: PathBuf,
    pub(super) counters: Arc<Counters>,
}

/// How it goes at present.
#[derive(Debug, Default)]
struct Mood {
    trouble: Option<Trouble>,
    /// So many were lost since the trouble began.
    lost: u64,
    /// So many the target has not been told that they are missing.
    missing: u64,
}

/// What is wrong; another kind is said again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Away,
    Refusing,
}

impl Worker {
    /// Works until the queue is closed and empty.
    pub(super) async fn run(self, queue: Arc<Queue<Document>>) {
        let mut mood = Mood::default();
        while let Some((mut document, dropped)) = queue.next().await {
            if dropped > 0 {
                warn!(
                    "{}: {dropped} notifications were dropped, because more came than it took",
                    self.name()
                );
                mood.missing += dropped;
            }
            if mood.missing > 0 {
                document.insert("dropped".into(), mood.missing.into());
            }
            self.deliver(&document, &mut mood).await;
        }
    }

    async fn deliver(&self, document: &Document, mood: &mut Mood) {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match tell(&self.target, &self.directory, document).await {
                Answer::Taken => {
                    self.counters.sent.fetch_add(1, Ordering::Relaxed);
                    self.works(mood);
                    mood.missing = 0;
                    return;
                }
                Answer::Refused { why } => {
                    let what = match &self.target {
                        Target::Webhook(_) => "refuses a notification",
                        Target::Command(_) => "failed",
                    };
                    let event = document.get("event").and_then(Value::as_str);
                    let event = event.unwrap_or_default();
                    let text = format!("{what} ({event}): {why}; that one is not sent again");
                    self.complain(mood, Trouble::Refusing, &text);
                    self.counters.failed.fetch_add(1, Ordering::Relaxed);
                    mood.lost += 1;
                    return;
                }
                Answer::Later { why, after } => {
                    let wait = retry::wait(attempts, self.retry(), after);
                    let then = if wait.is_some() {
                        "trying again"
                    } else {
                        "given up"
                    };
                    let text = format!("does not take notifications: {why}; {then}");
                    self.complain(mood, Trouble::Away, &text);
                    let Some(wait) = wait else {
                        self.counters.failed.fetch_add(1, Ordering::Relaxed);
                        mood.lost += 1;
                        mood.missing += 1;
                        return;
                    };
                    sleep(wait).await;
                }
            }
        }
    }

    /// Says what is wrong, once.
    fn complain(&self, mood: &mut Mood, trouble: Trouble, text: &str) {
        let text = format!("{} {text}", self.name());
        let text = plain(&text);
        if mood.trouble == Some(trouble) {
            debug!("{text}");
        } else {
            warn!("{text}");
        }
        mood.trouble = Some(trouble);
    }

    fn works(&self, mood: &mut Mood) {
        let lost = std::mem::take(&mut mood.lost);
        if mood.trouble.take().is_some() {
            let name = self.name();
            match lost {
                0 => info!("{name} takes notifications again"),
                1 => info!("{name} takes notifications again, after one was lost"),
                _ => info!("{name} takes notifications again, after {lost} were lost"),
            }
        }
    }

    fn retry(&self) -> u32 {
        match &self.target {
            Target::Webhook(webhook) => webhook.retry,
            Target::Command(_) => 0,
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
