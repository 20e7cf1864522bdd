//! What nginx counts by itself (`stub_status`): requests that have not ended are in no log.

use std::{collections::VecDeque, time::Duration};

/// So many answers are remembered.
const MOST: usize = 64;

/// One answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Requests since nginx began.
    pub requests: u64,
    /// Requests that are being answered, the one that asks among them.
    pub writing: u64,
}

impl Status {
    /// Reads an answer; `None` for one of something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| *line == "server accepts handled requests")?;
        let mut counts = lines.next()?.split_whitespace();
        let requests = counts.nth(2)?.parse().ok()?;
        let writing = lines.next()?.split_once("Writing:")?.1;
        let writing = writing.split_whitespace().next()?.parse().ok()?;
        Some(Self { requests, writing })
    }
}

/// The last answers, each with its moment in milliseconds since 1970.
#[derive(Debug, Default)]
pub struct Statuses(VecDeque<(u64, Status)>);

impl Statuses {
    /// Takes an answer.
    pub fn push(&mut self, at: u64, status: Status) {
        // nginx has been started anew, or the clock was set.
        if self
            .0
            .back()
            .is_some_and(|(before, last)| *before >= at || last.requests >= status.requests)
        {
            self.0.clear();
        }
        self.0.push_back((at, status));
        if self.0.len() > MOST {
            self.0.pop_front();
        }
    }

    /// Requests under way besides the one that asks, on average; `None` with fewer than two answers.
    pub fn in_flight(&self, now: u64, window: Duration) -> Option<f64> {
        let since = now.saturating_sub(window.as_millis() as u64);
        let (mut sum, mut count) = (0, 0);
        for (_, status) in self.0.iter().filter(|(at, _)| *at >= since) {
            sum += status.writing.saturating_sub(1);
            count += 1;
        }
        (count >= 2).then(|| sum as f64 / f64::from(count))
    }

    /// The mean of requests under way by the log, or by these answers where those are more than chance
    /// has it: the log has none that has not ended.
    pub fn corrected(&self, by_log: f64, now: u64, window: Duration) -> f64 {
        match self.in_flight(now, window) {
            // Those under way at a moment vary by the root of their mean.
            Some(counted) if counted > by_log + 1.0 + 2.0 * by_log.sqrt() => counted,
            _ => by_log,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_767_268_800_000;
    const WINDOW: Duration = Duration::from_secs(15);

    fn answers(each: &[(u64, u64, u64)]) -> Statuses {
        let mut statuses = Statuses::default();
        for (ago, requests, writing) in each {
            let status = Status {
                requests: *requests,
                writing: *writing,
            };
            statuses.push(NOW - ago * 1000, status);
        }
        statuses
    }

    #[test]
    fn an_answer_of_nginx_is_read_and_others_are_not() {
        let text = "Active connections: 29 \nserver accepts handled requests\n 253 253 359 \nReading: 1 Writing: 10 Waiting: 18 \n";
        let status = Status {
            requests: 359,
            writing: 10,
        };
        assert_eq!(Status::parse(text), Some(status));
        for other in [
            "",
            "<html>404</html>",
            "server accepts handled requests\n 1 2\nReading: 0 Writing: 1",
            "server accepts handled requests\n 1 2 3\nReading: 0",
            "server accepts handled requests\n 1 2 -3\nReading: 0 Writing: 1 Waiting: 0",
        ] {
            assert_eq!(Status::parse(other), None, "{other:?}");
        }
    }

    #[test]
    fn requests_that_do_not_end_are_counted_where_they_are_more_than_chance() {
        let long = answers(&[(10, 100, 21), (5, 200, 23), (0, 300, 22)]);
        assert_eq!(long.in_flight(NOW, WINDOW), Some(21.0));
        assert!((long.corrected(4.0, NOW, WINDOW) - 21.0).abs() < 1e-9);
        assert!((long.corrected(14.0, NOW, WINDOW) - 14.0).abs() < 1e-9);
        assert_eq!(answers(&[(0, 1, 9)]).in_flight(NOW, WINDOW), None);
        assert_eq!(
            answers(&[(20, 1, 9), (0, 2, 9)]).in_flight(NOW, WINDOW),
            None
        );
        // nginx was started anew.
        assert_eq!(
            answers(&[(9, 900, 9), (5, 1, 9)]).in_flight(NOW, WINDOW),
            None
        );
    }
}
