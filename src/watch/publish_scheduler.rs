//! Bringing the proxy in step: what takes a replica out acts at once, what adds one waits a moment
//! for others, and one reload runs at a time.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;

use crate::{proxy::Upstream, units::Timestamp};

/// While more are on their way, an added replica waits this long for the next one …
const CALM: Duration = Duration::from_millis(250);
/// … but no longer than this in all. Each test and reload takes CPU time from those that start, so
/// both times double with each of them, …
const LONGEST: Duration = Duration::from_secs(1);
/// … so many times at most.
const DOUBLINGS: u32 = 3;
/// So long a look at what is not to change may wait for a change.
const UNCHANGED: Duration = Duration::from_secs(5);

/// What the proxy should serve, and how far it is told.
#[derive(Debug, Default)]
pub(super) struct Router {
    wanted: IndexMap<String, (u64, Upstream)>,
    told: BTreeMap<String, u64>,
    first: Option<Timestamp>,
    due: Option<Timestamp>,
    in_flight: bool,
    /// Whether somebody waits for what is due.
    urgent: bool,
    /// Publishes in a row that nobody waited for.
    patience: u32,
    check: FirstPublish,
}

/// The first publish of a run, where it only makes sure of what is there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum FirstPublish {
    #[default]
    ToCome,
    PutOff,
    Done,
}

impl Router {
    /// Takes a service's new servers.
    pub(super) fn want(&mut self, seq: u64, upstream: Upstream, urgent: bool, now: Timestamp) {
        self.wanted
            .insert(upstream.service.clone(), (seq, upstream));
        let first = *self.first.get_or_insert(now);
        self.urgent |= urgent;
        let calm = if urgent {
            now
        } else {
            let times = 1 << self.patience;
            (now + CALM * times).min(first + LONGEST * times)
        };
        // An urgent change is not put off by one that can wait.
        self.due = Some(match self.due {
            Some(due) if urgent || due <= now => due.min(calm),
            _ => calm,
        });
    }

    /// Forgets a service; its file goes with the next change.
    pub(super) fn forget(&mut self, service: &str, now: Timestamp) {
        if self.wanted.shift_remove(service).is_some() {
            self.told.remove(service);
            self.again(now);
        }
    }

    /// Says everything once more: the proxy is another one now.
    pub(super) fn again(&mut self, now: Timestamp) {
        if !self.wanted.is_empty() {
            self.due = Some(now);
        }
    }

    /// Moments of before say nothing any more: what waits need not wait longer.
    pub(super) fn clock_jumped(&mut self, now: Timestamp) {
        self.due = self.due.map(|_| now);
        self.first = self.first.map(|_| now);
    }

    /// When the proxy must be told next.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.due.filter(|_| !self.in_flight)
    }

    /// Whether a reload runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight || self.due.is_some()
    }

    /// Puts off the first publish while replicas are on their way, as long as it asks for nothing
    /// that is not there: it takes the time of their start, and theirs comes soon. Returns whether it
    /// has been put off just now.
    pub(super) fn put_off_a_check(
        &mut self,
        growing: bool,
        now: Timestamp,
        is_there: impl FnOnce(&[Upstream]) -> bool,
    ) -> bool {
        match self.check {
            FirstPublish::ToCome if growing && self.due().is_some_and(|due| due <= now) => {
                let wanted: Vec<_> = self.wanted.values().map(|(_, u)| u.clone()).collect();
                if is_there(&wanted) {
                    self.check = FirstPublish::PutOff;
                    self.first = None;
                    self.due = Some(now + UNCHANGED);
                    return true;
                }
                self.check = FirstPublish::Done;
            }
            FirstPublish::PutOff if !growing => {
                self.check = FirstPublish::Done;
                self.due = Some(now);
            }
            FirstPublish::ToCome | FirstPublish::PutOff | FirstPublish::Done => {}
        }
        false
    }

    /// Takes what must be told now, with the number each service asked under.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
    ) -> Option<(BTreeMap<String, u64>, Vec<Upstream>)> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        self.first = None;
        self.in_flight = true;
        self.check = FirstPublish::Done;
        self.patience = if std::mem::take(&mut self.urgent) {
            0
        } else {
            (self.patience + 1).min(DOUBLINGS)
        };
        let seqs = self
            .wanted
            .iter()
            .map(|(service, (seq, _))| (service.clone(), *seq))
            .collect();
        let upstreams = self.wanted.values().map(|(_, u)| u.clone()).collect();
        Some((seqs, upstreams))
    }

    /// Hears how it went; gives the services whose request is answered by it.
    pub(super) fn answered(
        &mut self,
        seqs: &BTreeMap<String, u64>,
        ok: bool,
    ) -> Vec<(String, u64)> {
        self.in_flight = false;
        let news: Vec<_> = seqs
            .iter()
            .filter(|(service, seq)| self.told.get(*service).is_none_or(|told| told < *seq))
            .map(|(service, seq)| (service.clone(), *seq))
            .collect();
        if ok {
            self.told.extend(news.iter().cloned());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Balance;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix(1000) + Duration::from_millis(millis)
    }

    fn upstream(service: &str) -> Upstream {
        Upstream {
            service: service.into(),
            balance: Balance::RoundRobin,
            servers: Vec::new(),
        }
    }

    #[test]
    fn additions_wait_for_each_other_but_not_for_ever() {
        let mut router = Router::default();
        router.want(1, upstream("web"), false, at(0));
        assert_eq!(router.due(), Some(at(250)));
        for n in 1..8 {
            router.want(n, upstream("web"), false, at(n * 140));
        }
        assert_eq!(router.due(), Some(at(1000)));
        assert!(router.take(at(999)).is_none());
        let (seqs, upstreams) = router.take(at(1000)).unwrap();
        assert_eq!((seqs["web"], upstreams.len()), (7, 1));
    }

    #[test]
    fn additions_wait_twice_as_long_with_each_publish_until_something_is_urgent() {
        let mut router = Router::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for urgent in [false, false, false, false, false, true, false] {
            router.want(1, upstream("web"), urgent, at(now));
            let due = router.due().unwrap();
            waits.push(due.since(at(now)).as_millis());
            let (seqs, _) = router.take(due).unwrap();
            router.answered(&seqs, true);
            now += 10_000;
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 2000, 0, 250]);
    }

    #[test]
    fn a_look_at_what_is_there_waits_for_those_that_start() {
        let mut router = Router::default();
        router.want(1, upstream("web"), true, at(0));
        assert!(router.put_off_a_check(true, at(0), |wanted| wanted.len() == 1));
        assert_eq!(router.due(), Some(at(5000)));
        assert!(!router.put_off_a_check(true, at(10), |_| panic!("asked once")));
        // The replica that they waited for takes it along.
        router.want(2, upstream("web"), true, at(300));
        assert_eq!(router.due(), Some(at(300)));
        let (seqs, _) = router.take(at(300)).unwrap();
        assert_eq!(seqs["web"], 2);
    }

    #[test]
    fn a_look_is_not_put_off_where_there_is_something_to_do_or_nothing_to_wait_for() {
        let mut different = Router::default();
        different.want(1, upstream("web"), true, at(0));
        assert!(!different.put_off_a_check(true, at(0), |_| false));
        assert_eq!(different.due(), Some(at(0)));
        let mut quiet = Router::default();
        quiet.want(1, upstream("web"), true, at(0));
        assert!(!quiet.put_off_a_check(false, at(0), |_| panic!("nothing to wait for")));
        assert_eq!(quiet.due(), Some(at(0)));
        // None of those that were on their way has come.
        let mut failed = Router::default();
        failed.want(1, upstream("web"), true, at(0));
        assert!(failed.put_off_a_check(true, at(0), |_| true));
        assert!(!failed.put_off_a_check(false, at(700), |_| true));
        assert_eq!(failed.due(), Some(at(700)));
    }

    #[test]
    fn a_removal_acts_at_once_and_takes_the_additions_along() {
        let mut router = Router::default();
        router.want(1, upstream("web"), false, at(0));
        router.want(1, upstream("api"), true, at(10));
        assert_eq!(router.due(), Some(at(10)));
        router.want(2, upstream("web"), false, at(10));
        assert_eq!(router.due(), Some(at(10)));
    }

    #[test]
    fn one_reload_runs_at_a_time_and_what_comes_meanwhile_goes_into_the_next() {
        let mut router = Router::default();
        router.want(1, upstream("web"), true, at(0));
        let (seqs, _) = router.take(at(0)).unwrap();
        router.want(2, upstream("web"), true, at(5));
        assert_eq!(router.due(), None);
        assert_eq!(router.answered(&seqs, true), [("web".to_owned(), 1)]);
        assert_eq!(router.due(), Some(at(5)));
        let (seqs, _) = router.take(at(20)).unwrap();
        assert_eq!(router.answered(&seqs, true), [("web".to_owned(), 2)]);
    }

    #[test]
    fn what_failed_is_answered_again_by_the_next_success() {
        let mut router = Router::default();
        router.want(1, upstream("web"), true, at(0));
        let (seqs, _) = router.take(at(0)).unwrap();
        assert_eq!(router.answered(&seqs, false).len(), 1);
        router.again(at(10));
        let (seqs, _) = router.take(at(10)).unwrap();
        assert_eq!(router.answered(&seqs, true).len(), 1);
    }
}
