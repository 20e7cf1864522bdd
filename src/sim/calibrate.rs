//! What a recording of `watch --record` tells of an app and its load.

use std::{collections::BTreeMap, time::Duration};

use super::{
    load_shape::LoadShape,
    profile::Profile,
    simulated_host::RecordedReadings,
    trace::{Trace, TraceUnit},
};
use crate::{
    decide::Input,
    policy::Policy,
    units::{Bytes, Span, Timestamp},
};

/// What was learnt.
#[derive(Debug, Clone, PartialEq)]
pub struct Calibration {
    /// The load of all replicas together.
    pub trace: Trace,
    /// What was read, to be told again.
    pub heard: RecordedReadings,
    /// The policy that was in force at the end.
    pub policy: Policy,
    /// How often was decided.
    pub interval: Duration,
    /// How many replicas there were at the beginning.
    pub replicas: u32,
    /// When it begins.
    pub begins: Timestamp,
    /// Time from a replica's start until it was ready; `None` where none has started.
    pub start_time: Option<Duration>,
    /// Memory of a replica, as it was counted for the machine: its limit, or the most that one has used.
    pub memory: Option<Bytes>,
    /// How long a request takes, where requests and those in flight were read.
    pub service_time: Option<Duration>,
    /// What of it is not certain, in sentences.
    pub doubts: Vec<String>,
}

/// Of less than this nothing can be learnt.
const LEAST: usize = 3;

impl Calibration {
    /// From the decisions of one service, in their order.
    pub fn from(inputs: &[Input]) -> Result<Self, String> {
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Err("there is no decision in it".into());
        };
        if inputs.len() < LEAST {
            return Err(format!(
                "there are only {} decisions in it; `watch --record` writes one at each interval",
                inputs.len()
            ));
        }
        let mut gaps: Vec<_> = inputs
            .windows(2)
            .map(|pair| pair[1].now.since(pair[0].now))
            .filter(|gap| !gap.is_zero())
            .collect();
        gaps.sort_unstable();
        let Some(usual) = gaps.get(gaps.len() / 2).copied() else {
            return Err("all of its decisions are of the same moment".into());
        };
        // `scaling.log` has only those that changed something.
        let seconds = (usual.as_secs_f64() + 0.5).floor().max(1.0);
        let interval = Duration::from_secs_f64(seconds);
        let begins = first.now - interval;
        let mut doubts = Vec::new();
        let by_requests = inputs
            .iter()
            .any(|one| one.service_metrics.contains_key("requests"));
        let (unit, load): (_, fn(&Input) -> Option<f64>) = if by_requests {
            (TraceUnit::Requests, |one| {
                one.service_metrics.get("requests").copied()
            })
        } else {
            (TraceUnit::Cores, cores)
        };
        let points = over_time(inputs, begins, load);
        let missing = inputs.iter().filter(|input| load(input).is_none()).count();
        let shape = |value: fn(&Input) -> Option<f64>| {
            let points = over_time(inputs, begins, value);
            let points = points.into_iter();
            let all: Vec<_> = points
                .map(|(at, value)| (Duration::from_secs_f64(at), value))
                .collect();
            (!all.is_empty()).then(|| LoadShape::trace(all))
        };
        if points.is_empty() {
            return Err(
                "no decision in it knows the load; it takes the metric cpu or requests".into(),
            );
        }
        if missing > 0 {
            doubts.push(format!(
                "{missing} of {} decisions do not know the load: the previous load is assumed to continue",
                inputs.len()
            ));
        }
        if let Some(share) = full(inputs).filter(|_| unit == TraceUnit::Cores) {
            doubts.push(format!(
                "in {share:.0}% of the time the replicas were as busy as they could be: how much more load there was is not known"
            ));
        }
        let start_time = start_time(inputs);
        if start_time.is_none() {
            doubts.push(
                "no replica has started in it: say how long that takes with --start-time".into(),
            );
        }
        Ok(Self {
            trace: Trace {
                unit,
                points,
                begins: Some(begins.0),
            },
            heard: RecordedReadings {
                interval,
                requests: shape(|one| one.service_metrics.get("requests").copied()),
                in_flight: shape(|one| one.service_metrics.get("in_flight").copied()),
                cores: shape(cores),
            },
            policy: last.policy.clone(),
            interval,
            replicas: first.current_count(),
            begins,
            start_time,
            memory: inputs
                .iter()
                .filter_map(|one| one.host.as_ref()?.replica_memory)
                .max(),
            service_time: service_time(inputs),
            doubts,
        })
    }

    /// What is known of the app, and what is usual for the rest.
    pub fn profile(&self, usual: &Profile) -> Profile {
        Profile {
            start_time: self.start_time.unwrap_or(usual.start_time),
            service_time: self.service_time.unwrap_or(usual.service_time),
            ..usual.clone()
        }
    }
}

/// A value of each decision that knows it, from the decision before on: that is what it has seen.
fn over_time(
    inputs: &[Input],
    begins: Timestamp,
    value: impl Fn(&Input) -> Option<f64>,
) -> Vec<(f64, f64)> {
    let mut since = begins;
    let mut points = Vec::new();
    for input in inputs {
        if let Some(value) = value(input) {
            points.push((since.since(begins).as_secs_f64(), value));
        }
        since = input.now;
    }
    points.dedup_by(|later, before| later.0 <= before.0);
    points
}

/// What the ready replicas used together, as multiples of what one may use.
fn cores(input: &Input) -> Option<f64> {
    let ready = input.replicas.iter().filter(|replica| replica.ready);
    let used: Vec<_> = ready
        .filter_map(|replica| replica.metrics.get("cpu"))
        .collect();
    (!used.is_empty()).then(|| used.into_iter().sum::<f64>() / 100.0)
}

/// In which share of the decisions the replicas could not do more, in percent.
fn full(inputs: &[Input]) -> Option<f64> {
    let is_full = |input: &&Input| {
        let count = input
            .replicas
            .iter()
            .filter(|replica| replica.ready)
            .count();
        cores(input).is_some_and(|used| count > 0 && used / count as f64 > 0.95)
    };
    let full = inputs.iter().filter(is_full).count();
    (full > 0).then(|| full as f64 / inputs.len() as f64 * 100.0)
}

/// Between the last look that found a replica not ready and the first that found it ready: the middle.
fn start_time(inputs: &[Input]) -> Option<Duration> {
    let mut waiting: BTreeMap<&str, Span> = BTreeMap::new();
    let mut took = Vec::new();
    for input in inputs {
        for replica in &input.replicas {
            if !replica.ready {
                waiting.insert(&replica.name, replica.age);
            } else if let Some(before) = waiting.remove(replica.name.as_str())
                && before < replica.age
            {
                took.push((before.0 + replica.age.0) / 2);
            }
        }
        let there = |name: &str| input.replicas.iter().any(|replica| replica.name == name);
        waiting.retain(|name, _| there(name));
    }
    took.sort_unstable();
    took.get(took.len() / 2).copied()
}

/// By Little's law, where there is little load: the fastest tenth of what was seen.
fn service_time(inputs: &[Input]) -> Option<Duration> {
    let mut each: Vec<f64> = inputs
        .iter()
        .filter_map(|input| {
            let requests = input.service_metrics.get("requests")?;
            let in_flight = input.service_metrics.get("in_flight")?;
            (*requests > 0.0 && *in_flight > 0.0).then(|| in_flight / requests)
        })
        .collect();
    each.sort_by(f64::total_cmp);
    let seconds = each.get(each.len() / 10)?;
    Duration::try_from_secs_f64(*seconds).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Whether it is ready, its age and its CPU.
    type LearntSamples = (bool, u64, f64);

    /// Decisions five seconds apart; for each, the service's metrics and the replicas: ready or not, age
    /// and CPU.
    fn inputs(all: &[(serde_json::Value, &[LearntSamples])]) -> Vec<Input> {
        let policy = json!({"min": 1, "max": 4, "metrics": [{"cpu": "60%"}]});
        let policy = crate::policy::policy(&policy).unwrap();
        all.iter()
            .zip(1..)
            .map(|((metrics, replicas), tick)| {
                let mut input = Input::new(Timestamp::from_unix(1000 + tick * 5), policy.clone());
                input.service_metrics = serde_json::from_value(metrics.clone()).unwrap();
                input.replicas = replicas
                    .iter()
                    .zip(1..)
                    .map(|((ready, age, cpu), number)| {
                        let replica = json!({
                            "name": format!("web-{number}"), "state": "running", "ready": ready,
                            "age": format!("{age}s"), "metrics": {"cpu": cpu},
                        });
                        serde_json::from_value(replica).unwrap()
                    })
                    .collect();
                input
            })
            .collect()
    }

    #[test]
    fn load_is_what_all_ready_replicas_used_since_the_decision_before() {
        let none = json!({});
        let all = inputs(&[
            (none.clone(), &[(true, 100, 50.0)]),
            (none.clone(), &[(true, 105, 96.0)]),
            (none.clone(), &[(true, 110, 90.0), (false, 2, 99.0)]),
            (none, &[(true, 115, 60.0), (true, 7, 40.0)]),
        ]);
        let learnt = Calibration::from(&all).unwrap();
        assert_eq!(learnt.trace.unit, TraceUnit::Cores);
        assert_eq!(
            learnt.trace.points,
            [(0.0, 0.5), (5.0, 0.96), (10.0, 0.9), (15.0, 1.0)]
        );
        assert_eq!(learnt.begins, Timestamp::from_unix(1000));
        assert_eq!((learnt.interval.as_secs(), learnt.replicas), (5, 1));
        assert_eq!(learnt.start_time, Some(Duration::from_millis(4500)));
        assert_eq!(learnt.service_time, None);
        assert_eq!(
            learnt.doubts,
            [
                "in 25% of the time the replicas were as busy as they could be: how much more load there was is not known"
            ]
        );
    }

    #[test]
    fn requests_tell_more_than_cpu() {
        let metrics = |requests: f64| json!({"requests": requests, "in_flight": requests / 20.0});
        let all = inputs(&[
            (metrics(10.0), &[(true, 100, 50.0)]),
            (json!({}), &[(true, 105, 50.0)]),
            (metrics(40.0), &[(true, 110, 50.0)]),
        ]);
        let learnt = Calibration::from(&all).unwrap();
        assert_eq!(learnt.trace.unit, TraceUnit::Requests);
        assert_eq!(learnt.trace.points, [(0.0, 10.0), (10.0, 40.0)]);
        assert_eq!(learnt.service_time, Some(Duration::from_millis(50)));
        assert_eq!(learnt.doubts.len(), 2, "{:?}", learnt.doubts);
    }

    #[test]
    fn what_tells_nothing_is_refused() {
        let none = json!({});
        assert!(Calibration::from(&[]).unwrap_err().contains("no decision"));
        let two = inputs(&[(none.clone(), &[(true, 1, 5.0)]), (none.clone(), &[])]);
        assert!(
            Calibration::from(&two)
                .unwrap_err()
                .contains("only 2 decisions")
        );
        let idle = inputs(&[(none.clone(), &[]), (none.clone(), &[]), (none, &[])]);
        assert!(
            Calibration::from(&idle)
                .unwrap_err()
                .contains("knows the load")
        );
    }
}
