//! Bringing the proxy in step: what takes a replica out acts at once, what adds one waits a moment
//! for others, and one reload runs at a time.

use std::{collections::BTreeMap, time::Duration};

use indexmap::IndexMap;

use crate::{proxy::Upstream, units::Moment};

/// An added replica waits this long for the next one …
const CALM: Duration = Duration::from_millis(100);
/// … but no longer than this in all.
const LONGEST: Duration = Duration::from_millis(500);

/// What the proxy should serve, and how far it is told.
#[derive(Debug, Default)]
pub(super) struct Router {
    wanted: IndexMap<String, (u64, Upstream)>,
    told: BTreeMap<String, u64>,
    first: Option<Moment>,
    due: Option<Moment>,
    in_flight: bool,
}

impl Router {
    /// Takes a service's new servers.
    pub(super) fn want(&mut self, seq: u64, upstream: Upstream, urgent: bool, now: Moment) {
        self.wanted
            .insert(upstream.service.clone(), (seq, upstream));
        let first = *self.first.get_or_insert(now);
        let calm = if urgent {
            now
        } else {
            (now + CALM).min(first + LONGEST)
        };
        // An urgent change is not put off by one that can wait.
        self.due = Some(match self.due {
            Some(due) if urgent || due <= now => due.min(calm),
            _ => calm,
        });
    }

    /// Forgets a service; its file goes with the next change.
    pub(super) fn forget(&mut self, service: &str, now: Moment) {
        if self.wanted.shift_remove(service).is_some() {
            self.told.remove(service);
            self.again(now);
        }
    }

    /// Says everything once more: the proxy is another one now.
    pub(super) fn again(&mut self, now: Moment) {
        if !self.wanted.is_empty() {
            self.due = Some(now);
        }
    }

    /// When the proxy must be told next.
    pub(super) fn due(&self) -> Option<Moment> {
        self.due.filter(|_| !self.in_flight)
    }

    /// Whether a reload runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        self.in_flight || self.due.is_some()
    }

    /// Takes what must be told now, with the number each service asked under.
    pub(super) fn take(&mut self, now: Moment) -> Option<(BTreeMap<String, u64>, Vec<Upstream>)> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.due = None;
        self.first = None;
        self.in_flight = true;
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

    fn at(millis: u64) -> Moment {
        Moment::from_unix(1000) + Duration::from_millis(millis)
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
        assert_eq!(router.due(), Some(at(100)));
        for n in 1..8 {
            router.want(n, upstream("web"), false, at(n * 80));
        }
        assert_eq!(router.due(), Some(at(500)));
        assert!(router.take(at(499)).is_none());
        let (seqs, upstreams) = router.take(at(500)).unwrap();
        assert_eq!((seqs["web"], upstreams.len()), (7, 1));
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
