//! The values of custom metrics: what was read last, and for how long it could not be.

use std::collections::BTreeMap;

use super::{EventKind, event::Values};
use crate::{
    decide::Unread,
    policy::{MetricScope, Policy},
    project::{ContainerId, Replica},
};

/// What is known of a service's custom metrics.
#[derive(Debug, Default)]
pub(super) struct CustomMetricValues {
    last: Values,
    unread: BTreeMap<String, Unread>,
}

impl CustomMetricValues {
    /// After a run that could not read these.
    pub(super) fn after(unread: BTreeMap<String, Unread>) -> Self {
        Self {
            unread,
            ..Self::default()
        }
    }

    /// Takes the values of an interval, and says what begins to fail or is over with it.
    pub(super) fn keep<'a>(
        &mut self,
        values: Values,
        policy: &Policy,
        name_of: impl Fn(&ContainerId) -> Option<&'a Replica>,
    ) -> Vec<EventKind> {
        let again = values.again;
        self.last = values;
        let mut news = Vec::new();
        let mut before = std::mem::take(&mut self.unread);
        for metric in &policy.metrics {
            let scope = metric.scope();
            if scope == MetricScope::Counters {
                continue;
            }
            let metric = metric.name();
            let read = if scope == MetricScope::Replica {
                let values = self.last.replicas.get(metric);
                of_replicas(values.into_iter().flatten(), &name_of)
            } else {
                let value = self.last.service.get(metric);
                value.map(|value| value.as_ref().map(|_| ()).map_err(Clone::clone))
            };
            let failed = before.remove(metric);
            match read {
                // Nobody was there to be asked.
                None => self
                    .unread
                    .extend(failed.map(|one| (metric.to_owned(), one))),
                Some(Ok(())) => {
                    if let Some(failed) = failed.filter(|one| one.failures > 0) {
                        news.push(EventKind::ReadAgain {
                            metric: metric.to_owned(),
                            failures: failed.failures,
                        });
                    }
                }
                Some(Err(why)) => {
                    let before = failed.map_or(0, |one| one.failures);
                    let failed = u32::from(!again && !why.ends_with(Values::NOT_YET));
                    if before == 0 && failed == 1 {
                        news.push(EventKind::Unread {
                            metric: metric.to_owned(),
                            why: why.clone(),
                        });
                    }
                    let failures = before.saturating_add(failed);
                    let unread = Unread { why, failures };
                    self.unread.insert(metric.to_owned(), unread);
                }
            }
        }
        news
    }

    /// Values of the service as a whole.
    pub(super) fn of_service(&self) -> BTreeMap<String, f64> {
        let read = self.last.service.iter();
        read.filter_map(|(name, value)| Some((name.clone(), *value.as_ref().ok()?)))
            .collect()
    }

    /// Values of one replica.
    pub(super) fn of(&self, id: &ContainerId) -> impl Iterator<Item = (String, f64)> {
        let read = self.last.replicas.iter();
        read.filter_map(move |(name, values)| Some((name.clone(), *values.get(id)?.as_ref().ok()?)))
    }

    /// One value of one replica.
    pub(super) fn one_of(&self, metric: &str, id: &ContainerId) -> Option<f64> {
        self.last
            .replicas
            .get(metric)?
            .get(id)?
            .as_ref()
            .ok()
            .copied()
    }

    /// Why metrics have no value.
    pub(super) fn unread(&self) -> &BTreeMap<String, Unread> {
        &self.unread
    }
}

/// Whether any replica gave a value, else why the first of them did not. A replica that has none is
/// a missing sample; only when there is none at all has the metric no value.
fn of_replicas<'a, 'v>(
    values: impl Iterator<Item = (&'v ContainerId, &'v Result<f64, String>)>,
    name_of: &impl Fn(&ContainerId) -> Option<&'a Replica>,
) -> Option<Result<(), String>> {
    let mut first: Option<(&str, &str)> = None;
    for (id, value) in values {
        let Err(why) = value else {
            return Some(Ok(()));
        };
        let name = name_of(id).map_or(id.0.as_str(), |replica| replica.name.as_str());
        if first.is_none_or(|(other, _)| name < other) {
            first = Some((name, why));
        }
    }
    first.map(|(name, why)| Err(format!("{name}: {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::tests::replica,
        policy::{CustomTarget, Metric},
    };

    fn policy(target: CustomTarget) -> Policy {
        let custom = crate::policy::CustomMetric {
            name: "jobs".into(),
            source: None,
            target,
            fallback: None,
            failures: 3,
        };
        Policy {
            metrics: vec![Metric::Custom(custom)],
            ..Policy::default()
        }
    }

    fn service(value: Result<f64, &str>) -> Values {
        let value = value.map_err(str::to_owned);
        Values {
            service: [("jobs".to_owned(), value)].into(),
            ..Values::default()
        }
    }

    fn replicas(values: &[Result<f64, &str>]) -> Values {
        let values = values.iter().enumerate().map(|(at, value)| {
            let id = replica(at as u32 + 1).id;
            (id, value.map_err(str::to_owned))
        });
        Values {
            replicas: [("jobs".to_owned(), values.collect())].into(),
            ..Values::default()
        }
    }

    #[test]
    fn a_failure_is_news_once_counts_up_and_its_end_is_news_too() {
        let policy = policy(CustomTarget::Average(10.0));
        let mut custom = CustomMetricValues::default();
        let mut keep = |values| {
            let news = custom.keep(values, &policy, |_| None);
            let news: Vec<_> = news.iter().map(ToString::to_string).collect();
            let unread = custom.unread().get("jobs");
            let unread = unread.map(|one| (one.why.clone(), one.failures));
            (news, unread, custom.of_service().get("jobs").copied())
        };
        assert_eq!(keep(service(Ok(4.0))), (vec![], None, Some(4.0)));
        assert_eq!(
            keep(service(Err(Values::NOT_YET))),
            (vec![], Some(("no answer yet".into(), 0)), None)
        );
        let said = "jobs cannot be read: refused; no replica is removed until it can";
        assert_eq!(
            keep(service(Err("refused"))),
            (vec![said.to_owned()], Some(("refused".into(), 1)), None)
        );
        let (news, unread, _) = keep(service(Err("no data")));
        assert_eq!((news, unread), (vec![], Some(("no data".into(), 2))));
        let said = "jobs can be read again, after 2 failed readings";
        assert_eq!(
            keep(service(Ok(0.0))),
            (vec![said.to_owned()], None, Some(0.0))
        );
    }

    #[test]
    fn what_was_not_read_anew_is_no_further_failure_and_runs_add_up() {
        let policy = policy(CustomTarget::Average(10.0));
        let mut unread = BTreeMap::new();
        for failures in 1..=3 {
            let mut run = CustomMetricValues::after(unread);
            for again in [false, true] {
                let values = Values {
                    again,
                    ..service(Err("refused"))
                };
                run.keep(values, &policy, |_| None);
            }
            assert_eq!(run.unread()["jobs"].failures, failures);
            unread = run.unread().clone();
        }
    }

    #[test]
    fn a_metric_of_replicas_has_no_value_when_none_of_them_has_one() {
        let policy = policy(CustomTarget::PerReplica(10.0));
        let ids = [replica(1), replica(2)];
        let name_of = |id: &ContainerId| ids.iter().find(|one| one.id == *id);
        let mut custom = CustomMetricValues::default();
        let mut why = |values| {
            custom.keep(values, &policy, name_of);
            let unread = custom.unread().get("jobs");
            unread.map(|one| format!("{} {}", one.why, one.failures))
        };
        assert_eq!(why(replicas(&[Err("refused"), Ok(3.0)])), None);
        let (none, first) = (&[Err("refused"), Err("no data")], "refused");
        let expected = |failures| Some(format!("{}: {first} {failures}", ids[0].name));
        assert_eq!(why(replicas(none)), expected(1));
        assert_eq!(why(replicas(none)), expected(2));
        // Nobody there is no failure of the source.
        assert_eq!(why(Values::default()), expected(2));
        assert_eq!(why(replicas(&[Ok(1.0), Ok(3.0)])), None);
        let second: Vec<_> = custom.of(&ids[1].id).collect();
        assert_eq!(second, [("jobs".to_owned(), 3.0)]);
    }
}
