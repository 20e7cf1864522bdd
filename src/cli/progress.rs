//! What people see while something is going on: on a terminal a line per replica that moves, else
//! plain lines.

use std::{collections::BTreeMap, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::{error, info, warn};

use crate::{
    reconcile::{Level, Note, What},
    telemetry::{log, plain},
};

/// Log lines of a failed replica that are shown; the rest is in `scaling.log`.
const SHOWN: usize = 10;

/// Writes a note to the log. Machines get its fields by their names in `scaling.log`; for people they
/// are in the sentence.
pub(super) fn log(note: &Note) {
    let service = &note.service;
    let text = shown(&note.what);
    let text = plain(&text);
    if log::is_json() {
        let fields = Fields::of(&note.what);
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
            Level::Debug => say!(debug),
            Level::Info => say!(info),
            Level::Warn => say!(warn),
            Level::Error => say!(error),
        }
        return;
    }
    if let What::NotScaling { reason, .. } = &note.what {
        let reason = reason.label();
        if note.what.level() == Level::Debug {
            tracing::debug!(service, reason, "{text}");
        } else {
            info!(service, reason, "{text}");
        }
        return;
    }
    match note.what.level() {
        Level::Debug => tracing::debug!(service, "{text}"),
        Level::Info => info!(service, "{text}"),
        Level::Warn => warn!(service, "{text}"),
        Level::Error => error!(service, "{text}"),
    }
}

/// What machines are told of a note, beside its sentence.
#[derive(Default)]
struct Fields<'a> {
    from: Option<u32>,
    to: Option<u32>,
    reason: Option<&'a str>,
    by: Option<&'static str>,
    seconds: Option<f64>,
    replica: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn of(what: &'a What) -> Self {
        let none = Self::default();
        match what {
            What::Scale {
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
            What::Scaled { from, to, seconds } => Self {
                from: Some(*from),
                to: Some(*to),
                seconds: Some(*seconds),
                ..none
            },
            What::NotScaling { reason, .. } => Self {
                reason: Some(reason.label()),
                ..none
            },
            What::Paused { by, .. } | What::Resumed { by } => Self {
                by: Some(by.label()),
                ..none
            },
            What::Ready { replica, seconds }
            | What::DrainTimedOut { replica, seconds }
            | What::Removed { replica, seconds } => Self {
                replica: Some(replica),
                seconds: Some(*seconds),
                ..none
            },
            What::Creating { replica }
            | What::Founded { replica, .. }
            | What::Starting { replica }
            | What::Draining { replica, .. }
            | What::Kept { replica }
            | What::Failed { replica, .. }
            | What::Died { replica, .. }
            | What::Lost { replica, .. } => Self {
                replica: Some(replica),
                ..none
            },
            What::Founding
            | What::Routed { .. }
            | What::Failing { .. }
            | What::Recovered { .. }
            | What::NothingServes
            | What::Unserved { .. }
            | What::ServedAgain { .. }
            | What::RouteFailed { .. }
            | What::Unread { .. }
            | What::ReadAgain { .. }
            | What::Held { .. }
            | What::Unfinished { .. }
            | What::Standstill { .. }
            | What::Refused { .. }
            | What::StepFailed { .. } => none,
        }
    }
}

/// The sentence, with the last words of a failed replica cut to a screen.
fn shown(what: &What) -> String {
    if let What::Failed {
        replica,
        why,
        log,
        retry_in,
        again,
    } = what
    {
        let what = What::Failed {
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
pub(super) struct Progress {
    lines: Option<MultiProgress>,
    bars: BTreeMap<String, ProgressBar>,
    style: ProgressStyle,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            lines: log::may_draw().then(MultiProgress::new),
            bars: BTreeMap::new(),
            style: ProgressStyle::with_template("{spinner} {prefix}  {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        }
    }

    /// Shows a note.
    pub(super) fn show(&mut self, note: &Note) {
        if log::is_json() {
            log(note);
            return;
        }
        let Some(lines) = &self.lines else {
            eprint_line(&format!("{}: {}", note.service, shown(&note.what)));
            return;
        };
        let (replica, word, over) = match &note.what {
            What::Creating { replica } => (replica, "creating", false),
            What::Starting { replica } => (replica, "starting", false),
            What::Ready { replica, .. } => (replica, "ready, joining nginx", false),
            What::Draining { replica, .. } => (replica, "draining", false),
            What::DrainTimedOut { replica, .. } => (replica, "stopping", false),
            What::Removed { replica, .. } => (replica, "removed", true),
            What::Kept { replica } => (replica, "kept", true),
            What::Routed { servers } => {
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
