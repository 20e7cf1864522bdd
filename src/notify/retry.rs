//! What an answer means, and when the next attempt is made.

use std::time::Duration;

/// The longest wait between two attempts, unless the server names one.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that a server may ask for.
const ASKED: Duration = Duration::from_secs(600);

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptOutcome {
    /// It arrived.
    Taken,
    /// It was not wanted, and another attempt would not change that.
    Refused {
        /// Why, as a part of a sentence.
        why: String,
    },
    /// It may be wanted later.
    Later {
        /// Why, as a part of a sentence.
        why: String,
        /// How long the server asks to wait.
        after: Option<Duration>,
    },
}

impl AttemptOutcome {
    pub(super) fn later(why: impl Into<String>) -> Self {
        Self::Later {
            why: why.into(),
            after: None,
        }
    }
}

/// Whether another attempt may have another result than one with this status.
pub(super) fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..)
}

/// How long to wait after so many attempts; nothing when there were enough.
pub(super) fn wait(attempts: u32, retry: u32, asked: Option<Duration>) -> Option<Duration> {
    if attempts > retry {
        return None;
    }
    let doubled = Duration::from_secs(1u64 << attempts.saturating_sub(1).min(10));
    Some(match asked {
        Some(asked) => asked.min(ASKED),
        None => doubled.min(LONGEST),
    })
}

/// What a `Retry-After` asks for: seconds, or a date, which is held against the server's own `Date`.
pub(super) fn asked(retry_after: &str, date: Option<&str>) -> Option<Duration> {
    let text = retry_after.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let read = |text: &str| jiff::fmt::rfc2822::parse(text.trim()).ok();
    let wait = read(text)?
        .timestamp()
        .duration_since(read(date?)?.timestamp());
    Some(Duration::try_from(wait).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_double_up_to_a_minute_and_end() {
        let waits = |retry| -> Vec<u64> {
            (1..)
                .map_while(|attempts| wait(attempts, retry, None))
                .map(|wait| wait.as_secs())
                .collect()
        };
        assert_eq!(waits(5), [1, 2, 4, 8, 16]);
        assert_eq!(waits(9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(waits(20).len(), 20);
        assert_eq!(waits(0), [0; 0]);
    }

    #[test]
    fn a_server_is_waited_for_as_long_as_it_asks_but_not_for_ever() {
        let five = Some(Duration::from_secs(5));
        assert_eq!(wait(1, 5, five), five);
        assert_eq!(wait(1, 5, Some(Duration::ZERO)), Some(Duration::ZERO));
        assert_eq!(wait(6, 5, five), None);
        assert_eq!(wait(1, 5, Some(Duration::MAX)), Some(ASKED));
    }

    #[test]
    fn what_is_asked_for_is_seconds_or_a_date() {
        let seconds = |text, date| asked(text, date).map(|wait| wait.as_secs());
        assert_eq!(seconds("120", None), Some(120));
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT", date), Some(30));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:40:00 GMT", date), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:50:07 GMT", None), None);
        assert_eq!(seconds("soon", date), None);
        assert_eq!(seconds("-1", date), None);
    }

    #[test]
    fn of_the_clients_mistakes_only_those_that_pass_are_tried_again() {
        for status in [408, 425, 429, 500, 502, 503, 599] {
            assert!(is_passing(status), "{status}");
        }
        for status in [301, 302, 400, 401, 403, 404, 410, 422] {
            assert!(!is_passing(status), "{status}");
        }
    }
}
