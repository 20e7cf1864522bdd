//! What people see while something is going on: on a terminal a line per replica that moves, else
//! plain lines.

use std::{collections::BTreeMap, io::IsTerminal, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::{error, info, warn};

use crate::{
    reconcile::{Level, Note, What},
    telemetry::plain,
};

/// Log lines of a failed replica that are shown; the rest is in `scaling.log`.
const SHOWN: usize = 10;

/// Writes a note to the log.
pub(super) fn log(note: &Note) {
    let service = &note.service;
    let text = shown(&note.what);
    let text = plain(&text);
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
        let terminal = std::io::stderr().is_terminal();
        Self {
            lines: terminal.then(MultiProgress::new),
            bars: BTreeMap::new(),
            style: ProgressStyle::with_template("{spinner} {prefix}  {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        }
    }

    /// Shows a note.
    pub(super) fn show(&mut self, note: &Note) {
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
