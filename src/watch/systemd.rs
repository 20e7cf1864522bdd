//! What a service manager hears of the loop (systemd's `Type=notify` and `WatchdogSec=`): that it
//! runs, that it still does, that it is ending. A loop that is stuck says nothing any more and is
//! started anew. Without a service manager nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

use crate::units::Timestamp;

/// The line to the service manager.
#[derive(Debug, Default)]
pub(super) struct SystemdNotifier {
    beat: Option<Beat>,
}

#[derive(Debug)]
struct Beat {
    every: Duration,
    next: Timestamp,
}

impl SystemdNotifier {
    /// Says that the loop has begun, and looks how often the service manager wants to hear from it.
    pub(super) fn begin(now: Timestamp) -> Self {
        tell(NotifyState::Ready);
        // Half of the time after which it acts, as sd_watchdog_enabled(3) advises.
        let every = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        Self {
            beat: every.map(|every| Beat { every, next: now }),
        }
    }

    /// When the loop has to turn at the latest.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.beat.as_ref().map(|beat| beat.next)
    }

    /// The loop has turned.
    pub(super) fn turn(&mut self, now: Timestamp) {
        // Further away than one beat it is when the clock was set back.
        let due = |beat: &&mut Beat| beat.next <= now || beat.next > now + beat.every;
        if let Some(beat) = self.beat.as_mut().filter(due) {
            beat.next = now + beat.every;
            tell(NotifyState::Watchdog);
        }
    }

    /// The loop is to end.
    pub(super) fn ending() {
        tell(NotifyState::Stopping);
    }
}

fn tell(state: NotifyState<'_>) {
    // Scaling does not depend on being heard.
    if let Err(error) = sd_notify::notify(&[state]) {
        debug!(%error, "cannot notify the service manager");
    }
}
