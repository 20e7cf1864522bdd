//! What people see while something is going on: on a terminal a line per replica that moves, else
//! plain lines.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::{error, info, warn};

use crate::{
    reconcile::{EventKind, EventLevel, ScalingEvent},
    telemetry::{log, plain},
};

/// Log lines of a failed replica that are shown; the rest is in `scaling.log`.
const SHOWN: usize = 10;

/// Writes a note to the log. Machines get its fields by their names in `scaling.log`; for people they
/// are in the sentence.
pub(super) fn log(note: &ScalingEvent) {
    let service = &note.service;
    let text = shown(&note.what);
    let text = plain(&text);
    if log::is_json() {
        let fields = ProgressFields::of(&note.what);
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(
                    service,
                    event = note.what.event(),
                    from = fields.from,
                    to = fields.to,
                    reason = fields.reason,
                    by = fields.by,
                    seconds = fields.seconds,
                    replica = fields.replica,
                    "{text}"
                )
            };
        }
        match note.what.level() {
            EventLevel::Debug => say!(debug),
            EventLevel::Info => say!(info),
            EventLevel::Warn => say!(warn),
            EventLevel::Error => say!(error),
        }
        return;
    }
    if let EventKind::NotScaling { reason, .. } = &note.what {
        let reason = reason.label();
        if note.what.level() == EventLevel::Debug {
            tracing::debug!(service, reason, "{text}");
        } else {
            info!(service, reason, "{text}");
        }
        return;
    }
    match note.what.level() {
        EventLevel::Debug => tracing::debug!(service, "{text}"),
        EventLevel::Info => info!(service, "{text}"),
        EventLevel::Warn => warn!(service, "{text}"),
        EventLevel::Error => error!(service, "{text}"),
    }
}

/// What machines are told of a note, beside its sentence.
#[derive(Default)]
struct ProgressFields<'a> {
    from: Option<u32>,
    to: Option<u32>,
    reason: Option<&'a str>,
    by: Option<&'static str>,
    seconds: Option<f64>,
    replica: Option<&'a str>,
}

impl<'a> ProgressFields<'a> {
    fn of(what: &'a EventKind) -> Self {
        let none = Self::default();
        match what {
            EventKind::Scale {
                from,
                to,
                reason,
                by,
                ..
            } => Self {
                from: Some(*from),
                to: Some(*to),
                reason: Some(reason),
                by: Some(by.label()),
                ..none
            },
            EventKind::Scaled { from, to, seconds } => Self {
                from: Some(*from),
                to: Some(*to),
                seconds: Some(*seconds),
                ..none
            },
            EventKind::NotScaling { reason, .. } => Self {
                reason: Some(reason.label()),
                ..none
            },
            EventKind::Paused { by, .. } | EventKind::Resumed { by } => Self {
                by: Some(by.label()),
                ..none
            },
            EventKind::Ready { replica, seconds }
            | EventKind::DrainTimedOut { replica, seconds }
            | EventKind::Removed { replica, seconds } => Self {
                replica: Some(replica),
                seconds: Some(*seconds),
                ..none
            },
            EventKind::Creating { replica }
            | EventKind::Founded { replica, .. }
            | EventKind::Starting { replica }
            | EventKind::Draining { replica, .. }
            | EventKind::Kept { replica }
            | EventKind::Failed { replica, .. }
            | EventKind::Died { replica, .. }
            | EventKind::Lost { replica, .. } => Self {
                replica: Some(replica),
                ..none
            },
            EventKind::Founding
            | EventKind::Routed { .. }
            | EventKind::Failing { .. }
            | EventKind::Recovered { .. }
            | EventKind::NothingServes
            | EventKind::Unserved { .. }
            | EventKind::ServedAgain { .. }
            | EventKind::RouteFailed { .. }
            | EventKind::Unread { .. }
            | EventKind::ReadAgain { .. }
            | EventKind::Held { .. }
            | EventKind::Unfinished { .. }
            | EventKind::Standstill { .. }
            | EventKind::Refused { .. }
            | EventKind::StepFailed { .. } => none,
        }
    }
}

/// The sentence, with the last words of a failed replica cut to a screen.
fn shown(what: &EventKind) -> String {
    if let EventKind::Failed {
        replica,
        why,
        log,
        retry_in,
        again,
    } = what
    {
        let what = EventKind::Failed {
            replica: replica.clone(),
            why: why.clone(),
            log: log[log.len().saturating_sub(SHOWN)..].to_vec(),
            retry_in: *retry_in,
            again: *again,
        };
        return what.to_string();
    }
    what.to_string()
}

/// The progress of `scale`.
pub(super) struct ScaleProgress {
    lines: Option<MultiProgress>,
    bars: BTreeMap<String, ProgressBar>,
    style: ProgressStyle,
}

impl ScaleProgress {
    pub(super) fn new() -> Self {
        Self {
            lines: log::may_draw().then(MultiProgress::new),
            bars: BTreeMap::new(),
            style: ProgressStyle::with_template("{spinner} {prefix}  {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        }
    }

    /// Shows a note.
    pub(super) fn show(&mut self, note: &ScalingEvent) {
        if log::is_json() {
            log(note);
            return;
        }
        let Some(lines) = &self.lines else {
            eprint_line(&format!("{}: {}", note.service, shown(&note.what)));
            return;
        };
        let (replica, word, over) = match &note.what {
            EventKind::Creating { replica } => (replica, "creating", false),
            EventKind::Starting { replica } => (replica, "starting", false),
            EventKind::Ready { replica, .. } => (replica, "ready, joining nginx", false),
            EventKind::Draining { replica, .. } => (replica, "draining", false),
            EventKind::DrainTimedOut { replica, .. } => (replica, "stopping", false),
            EventKind::Removed { replica, .. } => (replica, "removed", true),
            EventKind::Kept { replica } => (replica, "kept", true),
            EventKind::Routed { servers } => {
                for server in servers {
                    if let Some(bar) = self.bars.remove(server) {
                        bar.finish_with_message("serving");
                    }
                }
                return;
            }
            what => {
                let _ = lines.println(plain(&format!("{}: {}", note.service, shown(what))));
                return;
            }
        };
        let bar = self.bars.entry(replica.clone()).or_insert_with(|| {
            let bar = lines.add(ProgressBar::new_spinner().with_style(self.style.clone()));
            bar.set_prefix(plain(replica).into_owned());
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if over {
            bar.finish_with_message(word.to_owned());
            self.bars.remove(replica);
        } else {
            bar.set_message(word.to_owned());
        }
    }

    /// Leaves the terminal clean.
    pub(super) fn close(&mut self) {
        for bar in std::mem::take(&mut self.bars).into_values() {
            bar.abandon();
        }
    }
}

fn eprint_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(anstream::stderr(), "{}", plain(text));
}
