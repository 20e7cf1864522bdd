//! Replicas that do not come up: attempts back off, and once two have failed only one is made at a
//! time until it succeeds. What has been said is not said again.

use std::time::Duration;

use super::{Effect, EventKind, ServiceMachine, managed_replica::ManagedReplica};
use crate::units::Timestamp;

/// The first wait after a failed start; it doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);
/// A replica that has served for this long has come up.
pub(super) const LIVED: Duration = Duration::from_secs(30);

/// Failed attempts, and when the next one may be made.
#[derive(Debug, Default)]
pub(super) struct FailureBackoff {
    failures: u32,
    series: Option<FailureSeries>,
    pub(super) retry_at: Option<Timestamp>,
}

/// How attempts fail at present.
#[derive(Debug, Clone, PartialEq)]
struct FailureSeries {
    /// Why the last one did, without its name.
    why: String,
    /// When it did.
    at: Timestamp,
    /// Attempts that have failed.
    attempts: u32,
    /// It died after it was ready: being ready proves nothing then.
    after_ready: bool,
}

impl FailureBackoff {
    /// Why the last attempt failed, while attempts fail.
    pub(super) fn why(&self) -> Option<&str> {
        Some(&self.series.as_ref()?.why)
    }

    /// Until when no attempt is made.
    pub(super) fn waits_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.retry_at.filter(|at| *at > now)
    }

    pub(super) fn is_waiting(&self, now: Timestamp) -> bool {
        self.waits_until(now).is_some()
    }

    /// The next attempt need not wait.
    pub(super) fn try_now(&mut self) {
        self.retry_at = None;
    }

    /// Whether it failed as the one before.
    fn note_failure(
        &mut self,
        replica: &str,
        why: &str,
        after_ready: bool,
        first: bool,
        at: Timestamp,
    ) -> bool {
        let why = why.replace(replica, "it");
        let before = self.series.take();
        let again = before.as_ref().is_some_and(|before| before.why == why);
        let attempts = before.map_or(0, |before| before.attempts) + u32::from(first);
        self.series = Some(FailureSeries {
            why,
            at,
            attempts: attempts.max(1),
            after_ready,
        });
        again
    }

    /// Begins a wait, or goes on with one. Returns its seconds.
    fn back_off(&mut self, now: Timestamp, out: &mut Vec<Effect>) -> f64 {
        // Several replicas of one decision that fail together are one failure.
        if let Some(until) = self.waits_until(now) {
            return until.since(now).as_secs_f64();
        }
        let wait =
            (FIRST_BACKOFF * 2u32.saturating_pow(self.failures.min(10))).min(LONGEST_BACKOFF);
        self.failures += 1;
        self.retry_at = Some(now + wait);
        out.push(Effect::WakeAt(now + wait));
        wait.as_secs_f64()
    }

    /// Replicas come up again. Returns how many attempts had failed.
    fn recover(&mut self) -> Option<u32> {
        let series = self.series.take()?;
        self.retry_at = None;
        Some(series.attempts)
    }
}

impl ServiceMachine {
    /// Takes note of an attempt that failed. Several replicas of one attempt count once.
    pub(super) fn attempt_failed(
        &mut self,
        replica: String,
        why: String,
        mut log: Vec<String>,
        now: Timestamp,
        out: &mut Vec<Effect>,
    ) {
        let first = !self.backoff.is_waiting(now);
        let retry_in = self.backoff.back_off(now, out);
        let again = self.backoff.note_failure(&replica, &why, false, first, now);
        if again {
            log.clear();
        }
        out.push(self.note(
            EventKind::Failed {
                replica,
                why,
                log,
                retry_in,
                again,
            },
            now,
        ));
        self.notice_series(first, now, out);
    }

    /// Takes note of a replica that died right after it was ready; that it died has been said.
    pub(super) fn died_young(&mut self, replica: &str, now: Timestamp, out: &mut Vec<Effect>) {
        let first = !self.backoff.is_waiting(now);
        self.backoff.back_off(now, out);
        self.backoff.note_failure(
            replica,
            "it died right after it was ready",
            true,
            first,
            now,
        );
        self.notice_series(first, now, out);
    }

    fn notice_series(&mut self, first: bool, now: Timestamp, out: &mut Vec<Effect>) {
        if let Some(FailureSeries { attempts: 2, .. }) = self.backoff.series
            && first
        {
            let at_most = LONGEST_BACKOFF.as_secs_f64();
            out.push(self.note(
                EventKind::Failing {
                    attempts: 2,
                    at_most,
                },
                now,
            ));
        }
    }

    /// How many replicas may be started now.
    pub(super) fn may_try(&self) -> usize {
        if self.backoff.series.as_ref().is_none_or(|f| f.attempts < 2) {
            return usize::MAX;
        }
        let trying = |m: &&ManagedReplica| m.fresh.is_some() && !m.is_on_its_way_out();
        let under_way = self.pending.len() + self.members.values().filter(trying).count();
        1usize.saturating_sub(under_way)
    }

    /// A replica that was begun at `begun` is ready. One that nobody knows to die afterwards ends the series;
    /// not one of the attempt that failed, where the others had what this one lacked.
    pub(super) fn came_up(&mut self, begun: Timestamp, now: Timestamp, out: &mut Vec<Effect>) {
        let ends = |series: &FailureSeries| !series.after_ready && begun > series.at;
        if self.backoff.series.as_ref().is_some_and(ends) {
            self.recovered(now, out);
        }
    }

    /// All that were started serve, and have for a while: what failed is over.
    pub(super) fn notice_recovery(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        let lived = |m: &ManagedReplica| m.served.is_none_or(|since| now.since(since) >= LIVED);
        if self.backoff.failures > 0
            && self.pending.is_empty()
            && self.members.values().all(|m| m.serves() && lived(m))
            && !self.backoff.is_waiting(now)
        {
            self.backoff.failures = 0;
            self.recovered(now, out);
        }
    }

    fn recovered(&mut self, now: Timestamp, out: &mut Vec<Effect>) {
        if let Some(attempts) = self.backoff.recover() {
            out.push(self.note(EventKind::Recovered { attempts }, now));
        }
    }
}
