//! What happened, as values: the same ones feed the log, the progress on a terminal, `scaling.log`
//! and the control socket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    decide::{Pause, Reason},
    units::Timestamp,
};

mod message;

/// Something people want to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScalingEvent {
    /// When it happened.
    #[serde(rename = "time")]
    pub at: Timestamp,
    /// The service it happened to.
    pub service: String,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

impl ScalingEvent {
    /// As a run tells it that ends before it could try again.
    #[must_use]
    pub fn without_another_attempt(mut self) -> Self {
        if let EventKind::Failed { retry_in, .. } = &mut self.what {
            *retry_in = 0.0;
        }
        self
    }
}

/// Who wanted a count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The policy.
    Policy,
    /// A person, through `scale`.
    Hand,
    /// compose, by changing the count behind our back.
    Compose,
    /// Nobody: the time that was set has run out.
    Clock,
}

impl Initiator {
    /// The word in `scaling.log`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Hand => "hand",
            Self::Compose => "compose",
            Self::Clock => "clock",
        }
    }
}

/// How much attention it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventLevel {
    /// A detail.
    Debug,
    /// Good to know.
    Info,
    /// Should be looked at.
    Warn,
    /// Needs somebody.
    Error,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// The wanted count changes.
    Scale {
        /// From this many.
        from: u32,
        /// To this many.
        to: u32,
        /// The reason's label.
        reason: String,
        /// The reason in words.
        message: String,
        /// Values of the metrics that were decided on.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        metrics: BTreeMap<String, f64>,
        /// Who wanted it.
        by: Initiator,
        /// The whole input of the decision, to look at it again later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Box<serde_json::Value>>,
    },
    /// Nothing is done, for another reason than before.
    NotScaling {
        /// The reason.
        reason: Reason,
        /// The reason in words.
        message: String,
        /// Whether it was the reason in the last run too, which is in `scaling.log` then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// The wanted count is reached and served.
    Scaled {
        /// From this many.
        from: u32,
        /// To this many.
        to: u32,
        /// Time since it was decided.
        seconds: f64,
    },
    /// A replica is being made.
    Creating {
        /// Its name.
        replica: String,
    },
    /// No replica is left to copy, and the first one is made anew.
    Founding,
    /// The first replica is made.
    Founded {
        /// Its name.
        replica: String,
        /// How it was made.
        how: String,
    },
    /// A stopped replica is being started.
    Starting {
        /// Its name.
        replica: String,
    },
    /// It passed its gate.
    Ready {
        /// Its name.
        replica: String,
        /// Time since it was asked for.
        seconds: f64,
    },
    /// nginx sends traffic to these.
    Routed {
        /// The replicas.
        servers: Vec<String>,
    },
    /// It is out of nginx's upstream and finishes its requests.
    Draining {
        /// Its name.
        replica: String,
        /// Why this one leaves.
        because: String,
    },
    /// A replica that was leaving stays.
    Kept {
        /// Its name.
        replica: String,
    },
    /// Its requests did not end in time; it is stopped all the same.
    DrainTimedOut {
        /// Its name.
        replica: String,
        /// How long was waited.
        seconds: f64,
    },
    /// It is stopped and gone.
    Removed {
        /// Its name.
        replica: String,
        /// Time since it was told to leave.
        seconds: f64,
    },
    /// It could not be made, or did not become ready.
    Failed {
        /// Its name.
        replica: String,
        /// What went wrong.
        why: String,
        /// Its last log lines.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        log: Vec<String>,
        /// Seconds until the next attempt; 0 where there is none.
        retry_in: f64,
        /// Whether the last attempt failed in the same way, which has been said then.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// Attempts fail one after the other: they are made one at a time and ever less often.
    Failing {
        /// How many have failed.
        attempts: u32,
        /// The longest wait between two, in seconds.
        at_most: f64,
    },
    /// Replicas come up again.
    Recovered {
        /// How many attempts had failed.
        attempts: u32,
    },
    /// A serving replica's process ended.
    Died {
        /// Its name.
        replica: String,
        /// Its exit code.
        exit_code: Option<i64>,
        /// Whether the kernel ended it for lack of memory.
        oom: bool,
    },
    /// A serving replica became unhealthy, was paused or stopped.
    Lost {
        /// Its name.
        replica: String,
        /// What happened to it.
        why: String,
    },
    /// No replica can serve.
    NothingServes,
    /// nginx had no server for some requests, and answered them with an error.
    Unserved {
        /// How many since this was said last.
        requests: u64,
        /// Whether it was said before, and has not ended since.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        again: bool,
    },
    /// It has one for each request again.
    ServedAgain {
        /// How many had failed in all.
        requests: u64,
        /// From the first one to the last one.
        seconds: f64,
    },
    /// nginx could not be brought in step.
    RouteFailed {
        /// What went wrong.
        why: String,
    },
    /// A custom metric cannot be read any more.
    Unread {
        /// Its name.
        metric: String,
        /// Why not.
        why: String,
    },
    /// It is read again.
    ReadAgain {
        /// Its name.
        metric: String,
        /// How many readings in a row had failed.
        failures: u32,
    },
    /// The count is held by hand.
    Held {
        /// At this many.
        replicas: u32,
        /// Until then; for ever without.
        until: Option<Timestamp>,
    },
    /// Load no longer changes the count, in these directions.
    Paused {
        /// The directions.
        directions: Pause,
        /// Until then; until somebody resumes it without.
        until: Option<Timestamp>,
        /// Who wanted it.
        by: Initiator,
    },
    /// Load decides again.
    Resumed {
        /// Who wanted it.
        by: Initiator,
    },
    /// Somebody's recreate of a replica was not finished.
    Unfinished {
        /// The container that is left over.
        container: String,
        /// What to do about it.
        fix: String,
    },
    /// Nothing runs, so nothing is done.
    Standstill {
        /// Why nothing is done.
        why: String,
    },
    /// The wanted count cannot be had.
    Refused {
        /// The reason and the fix.
        why: String,
    },
    /// A step failed and will be tried again.
    StepFailed {
        /// What was being done.
        step: String,
        /// What went wrong.
        why: String,
    },
}

impl From<super::Hold> for EventKind {
    fn from(hold: super::Hold) -> Self {
        Self::Held {
            replicas: hold.replicas,
            until: hold.until,
        }
    }
}

impl EventKind {
    /// The word for it in `scaling.log`.
    pub fn event(&self) -> &'static str {
        match self {
            Self::Scale { .. } => "scale",
            Self::NotScaling { .. } => "not_scaling",
            Self::Scaled { .. } => "scaled",
            Self::Creating { .. } => "creating",
            Self::Founding => "founding",
            Self::Founded { .. } => "founded",
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::Routed { .. } => "routed",
            Self::Draining { .. } => "draining",
            Self::Kept { .. } => "kept",
            Self::DrainTimedOut { .. } => "drain_timed_out",
            Self::Removed { .. } => "removed",
            Self::Failed { .. } => "failed",
            Self::Failing { .. } => "failing",
            Self::Recovered { .. } => "recovered",
            Self::Died { .. } => "died",
            Self::Lost { .. } => "lost",
            Self::NothingServes => "nothing_serves",
            Self::Unserved { .. } => "unserved",
            Self::ServedAgain { .. } => "served_again",
            Self::RouteFailed { .. } => "route_failed",
            Self::Unread { .. } => "unread",
            Self::ReadAgain { .. } => "read_again",
            Self::Held { .. } => "held",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::Unfinished { .. } => "unfinished",
            Self::Standstill { .. } => "standstill",
            Self::Refused { .. } => "refused",
            Self::StepFailed { .. } => "step_failed",
        }
    }

    /// How much attention it wants.
    pub fn level(&self) -> EventLevel {
        match self {
            Self::Ready { .. }
            | Self::Creating { .. }
            | Self::Starting { .. }
            | Self::Founding
            | Self::Founded { .. }
            | Self::Routed { .. }
            | Self::Kept { .. }
            | Self::Draining { .. }
            | Self::Removed { .. }
            | Self::Scale { .. }
            | Self::Held { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Recovered { .. }
            | Self::ReadAgain { .. }
            | Self::ServedAgain { .. }
            | Self::Scaled { .. } => EventLevel::Info,
            Self::NotScaling { reason, .. } if !reason.is_calm() => EventLevel::Info,
            Self::Failed { again: true, .. } | Self::NotScaling { .. } => EventLevel::Debug,
            Self::DrainTimedOut { .. }
            | Self::Died { .. }
            | Self::Lost { .. }
            | Self::Standstill { .. }
            | Self::Unfinished { .. }
            | Self::Failing { .. }
            | Self::Unserved { again: true, .. }
            | Self::Unread { .. }
            | Self::StepFailed { .. } => EventLevel::Warn,
            Self::Failed { .. }
            | Self::NothingServes
            | Self::Unserved { again: false, .. }
            | Self::RouteFailed { .. }
            | Self::Refused { .. } => EventLevel::Error,
        }
    }

    /// Whether it belongs in `scaling.log`.
    pub fn is_history(&self) -> bool {
        if let Self::NotScaling { reason, again, .. } = self {
            return !again
                && matches!(
                    reason,
                    Reason::AtMax | Reason::HostFull | Reason::MetricsUnavailable
                );
        }
        !matches!(
            self,
            Self::Creating { .. }
                | Self::Starting { .. }
                | Self::Ready { .. }
                | Self::Routed { .. }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_log() {
        let replica = || "web-1".to_owned();
        let why = || "so it is".to_owned();
        let all = [
            EventKind::Scale {
                from: 1,
                to: 2,
                reason: why(),
                message: why(),
                metrics: BTreeMap::new(),
                by: Initiator::Policy,
                input: None,
            },
            EventKind::NotScaling {
                reason: Reason::AtMax,
                message: why(),
                again: false,
            },
            EventKind::Scaled {
                from: 1,
                to: 2,
                seconds: 1.0,
            },
            EventKind::Creating { replica: replica() },
            EventKind::Founding,
            EventKind::Founded {
                replica: replica(),
                how: why(),
            },
            EventKind::Starting { replica: replica() },
            EventKind::Ready {
                replica: replica(),
                seconds: 1.0,
            },
            EventKind::Routed {
                servers: Vec::new(),
            },
            EventKind::Draining {
                replica: replica(),
                because: why(),
            },
            EventKind::Kept { replica: replica() },
            EventKind::DrainTimedOut {
                replica: replica(),
                seconds: 1.0,
            },
            EventKind::Removed {
                replica: replica(),
                seconds: 1.0,
            },
            EventKind::Failed {
                replica: replica(),
                why: why(),
                log: Vec::new(),
                retry_in: 1.0,
                again: false,
            },
            EventKind::Failing {
                attempts: 2,
                at_most: 1.0,
            },
            EventKind::Recovered { attempts: 2 },
            EventKind::Died {
                replica: replica(),
                exit_code: None,
                oom: false,
            },
            EventKind::Lost {
                replica: replica(),
                why: why(),
            },
            EventKind::NothingServes,
            EventKind::Unserved {
                requests: 1,
                again: false,
            },
            EventKind::ServedAgain {
                requests: 1,
                seconds: 1.0,
            },
            EventKind::RouteFailed { why: why() },
            EventKind::Unread {
                metric: why(),
                why: why(),
            },
            EventKind::ReadAgain {
                metric: why(),
                failures: 1,
            },
            EventKind::Held {
                replicas: 1,
                until: None,
            },
            EventKind::Paused {
                directions: Pause::Both,
                until: None,
                by: Initiator::Hand,
            },
            EventKind::Resumed {
                by: Initiator::Clock,
            },
            EventKind::Unfinished {
                container: why(),
                fix: why(),
            },
            EventKind::Standstill { why: why() },
            EventKind::Refused { why: why() },
            EventKind::StepFailed {
                step: why(),
                why: why(),
            },
        ];
        for what in all {
            let written = serde_json::to_value(&what).unwrap();
            assert_eq!(written["event"], what.event());
        }
        for by in [
            Initiator::Policy,
            Initiator::Hand,
            Initiator::Compose,
            Initiator::Clock,
        ] {
            assert_eq!(serde_json::to_value(by).unwrap(), by.label());
        }
    }
}
