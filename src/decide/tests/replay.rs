//! A decision that is taken again from what was written down is the same, to the byte.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::{properties, *};
use crate::units::Span;

/// Numbers as they come from outside: any, those that are no numbers too.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![4 => 0.0..500.0, 1 => any::<f64>()]
}

/// Any input, with everything in it that a recording may hold.
fn recorded() -> impl Strategy<Value = Input> {
    let pause = prop::sample::select(vec![Pause::Both, Pause::Up, Pause::Down]);
    let replica = (
        any::<u32>(),
        prop::option::of(number()),
        prop::option::of(number()),
        prop::option::of(any::<u32>()),
    );
    (
        properties::input(),
        prop::collection::vec(replica, 20),
        prop::option::of(1..30_u32),
        prop::option::weighted(0.1, 1..30_u32),
        prop::option::weighted(0.3, pause),
        (number(), any::<u32>()),
        prop::option::of("\\PC{0,12}|[\u{0}-\u{1f}\"\\\\]{0,4}"),
    )
        .prop_map(
            |(mut input, odds, current, hold, paused, (jobs, nanos), name)| {
                let mut names = BTreeSet::new();
                let metrics = &mut input.policy.metrics;
                metrics.retain(|metric| names.insert(metric.name().to_owned()));
                // As validation has it.
                input
                    .policy
                    .schedule
                    .retain(|one| match (one.min, one.max) {
                        (Some(min), Some(max)) => min <= max,
                        (min, max) => min.is_some() || max.is_some(),
                    });
                for (replica, (nanos, cpu, throttled, killed)) in
                    input.replicas.iter_mut().zip(odds)
                {
                    replica.age.0 += Duration::from_nanos(nanos.into());
                    replica
                        .metrics
                        .extend(cpu.map(|cpu| ("cpu".to_owned(), cpu)));
                    replica.throttled = throttled.filter(|share| share.is_finite());
                    replica.out_of_memory =
                        killed.map(|nanos| Span(Duration::from_nanos(u64::from(nanos) * 30)));
                    replica.name = name.clone().unwrap_or_default();
                }
                input.now = input.now + Duration::from_nanos(nanos.into());
                input.service_metrics.insert("jobs".into(), jobs);
                input.service = name;
                input.current = current;
                input.hold = hold;
                input.paused = paused;
                input
            },
        )
}

proptest! {
    #[test]
    fn what_is_decided_again_from_a_recording_is_the_same_to_the_byte(input in recorded()) {
        let taken = serde_json::to_string(&decide(&input)).unwrap();
        let line = serde_json::to_string(&input).unwrap();
        prop_assert!(!line.contains('\n'));
        let read: Input = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(serde_json::to_string(&decide(&read)).unwrap(), taken);
        // And a recording of a replay is the recording.
        prop_assert_eq!(serde_json::to_string(&read).unwrap(), line);
    }
}
