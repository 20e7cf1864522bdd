//! Requests for which nginx had no server: when that begins, goes on, and ends.

use std::time::Duration;

use super::EventKind;
use crate::units::Timestamp;

/// While it goes on it is told so often.
const AGAIN: Duration = Duration::from_secs(60);
/// It has ended when there was none for so long.
const QUIET: Duration = Duration::from_secs(15);

/// Whether nginx has a server for each request of a service.
#[derive(Debug, Default)]
pub(super) struct Unserved(Option<UnservedSpell>);

#[derive(Debug)]
struct UnservedSpell {
    since: Timestamp,
    /// When there was one last.
    last: Timestamp,
    told: Timestamp,
    untold: u64,
    total: u64,
}

impl Unserved {
    /// Takes the count of an interval, and says what is news.
    pub(super) fn keep(&mut self, requests: u64, now: Timestamp) -> Option<EventKind> {
        let Some(spell) = &mut self.0 else {
            self.0 = (requests > 0).then_some(UnservedSpell {
                since: now,
                last: now,
                told: now,
                untold: 0,
                total: requests,
            });
            let again = false;
            return (requests > 0).then_some(EventKind::Unserved { requests, again });
        };
        if requests > 0 {
            spell.last = now;
            spell.untold += requests;
            spell.total += requests;
        }
        if now.since(spell.last) >= QUIET {
            let what = EventKind::ServedAgain {
                requests: spell.total,
                seconds: spell.last.since(spell.since).as_secs_f64(),
            };
            self.0 = None;
            return Some(what);
        }
        if spell.untold == 0 || now.since(spell.told) < AGAIN {
            return None;
        }
        spell.told = now;
        let requests = std::mem::take(&mut spell.untold);
        let again = true;
        Some(EventKind::Unserved { requests, again })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_once_then_each_minute_and_when_it_has_ended() {
        let mut unserved = Unserved::default();
        let mut told = Vec::new();
        for second in (0..200).step_by(5) {
            let requests = match second {
                10 => 7,
                15..=100 => 2,
                // A single one long after that is another spell.
                180 => 1,
                _ => 0,
            };
            let now = Timestamp::from_unix(1000 + second);
            if let Some(what) = unserved.keep(requests, now) {
                told.push(format!("{second}: {what}"));
            }
        }
        let lost = |requests: &str| {
            format!(
                "nginx had no replica to send {requests} to and answered 502 (\"no live upstreams\")"
            )
        };
        assert_eq!(
            told,
            [
                format!("10: {}", lost("7 requests")),
                format!("70: {}", lost("24 requests")),
                "115: nginx has a replica for each request again, after 43 requests in 90s".into(),
                format!("180: {}", lost("1 request")),
                "195: nginx has a replica for each request again, after 1 request in 0s".into(),
            ]
        );
    }
}
