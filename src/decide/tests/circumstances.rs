//! What is around the load: the clock, bursts, memory and CPU that run out, metrics that cannot be
//! read, a machine that is full.

use super::{
    fixture::*,
    tests::{host, is},
    *,
};
use crate::{
    policy::{Burst, CustomTarget, Fallback, Metric, Schedule},
    units::{Bytes, Span, Timestamp},
};

/// Bounds at all hours of every day.
fn always(min: Option<u32>, max: Option<u32>) -> Schedule {
    Schedule {
        cron: "0 0 * * *".parse().unwrap(),
        lasts: Span::seconds(24 * 3600),
        min,
        max,
        timezone: "UTC".parse().unwrap(),
    }
}

fn scheduled(min: Option<u32>, max: Option<u32>) -> impl FnOnce(&mut Input) {
    move |input| input.policy.schedule = vec![always(min, max)]
}

#[test]
fn a_schedule_moves_the_bounds_and_is_the_reason() {
    is(
        &web(&[60.0; 2]).with(scheduled(Some(4), None)),
        4,
        "schedule",
        "2 is below the minimum of 4 by schedule: 2 → 4",
    );
    is(
        &web(&[10.0; 4]).with(scheduled(Some(4), None)),
        4,
        "schedule",
        "cpu 10% of 60% target asks for 1, but the minimum by schedule is 4: staying at 4",
    );
    is(
        &web(&[60.0; 6]).with(scheduled(None, Some(3))),
        3,
        "schedule",
        "6 is above the maximum of 3 by schedule: 6 → 3",
    );
    is(
        &web(&[95.0; 3]).with(scheduled(None, Some(3))),
        3,
        "schedule",
        "cpu 95% of 60% target asks for 5, but the maximum by schedule is 3: staying at 3",
    );
    // Load has its way between the bounds.
    is(
        &web(&[95.0; 3]).with(scheduled(Some(2), Some(7))),
        5,
        "above_target",
        "cpu 95% of 60% target: 3 → 5",
    );
    let over = web(&[95.0; 3]).with(|input| {
        input.policy.schedule = vec![always(Some(5), None)];
        input.policy.schedule[0].cron = "0 13 * * *".parse().unwrap();
        input.policy.schedule[0].lasts = Span::seconds(3600);
    });
    // It is 12:00.
    assert_eq!(decide(&over).reason, Reason::AboveTarget);
}

/// A policy with a burst from twice the replicas there are, a window of a minute up and one more
/// replica in a quarter of an hour.
fn slow_but_for_bursts(input: &mut Input) {
    let up = &mut input.policy.behavior.scale_up;
    up.stabilization_window = Span::seconds(60);
    up.policies = vec![Rate::Replicas {
        replicas: 1,
        per: Span::seconds(900),
    }];
    up.burst = Some(Burst {
        window: Span::seconds(6),
        threshold: percent(200.0),
    });
    input.policy.max = 20;
}

#[test]
fn a_burst_is_not_slowed_down() {
    // 190% of 60% with three replicas asks for ten, three times as many.
    let calm = web(&[190.0; 3]).recommended(30, 3);
    let slow = calm.clone().with(|input| {
        slow_but_for_bursts(input);
        input.policy.behavior.scale_up.burst = None;
    });
    assert_eq!(decide(&slow).reason, Reason::StabilizingUp);
    let burst = calm.with(slow_but_for_bursts);
    let decision = decide(&burst);
    assert_eq!((decision.desired, decision.burst), (10, true));
    assert!(decision.bursts);
    is(&burst, 10, "above_target", "cpu 190% of 60% target: 3 → 10");
    // Within the window it is the mean that counts: (3 + 3 + 8) / 3 is less than twice three.
    let brief = web(&[160.0; 3])
        .recommended(5, 3)
        .recommended(3, 3)
        .with(slow_but_for_bursts);
    assert!(!decide(&brief).burst);
    // Bounds and the machine hold all the same.
    let bounded = burst.clone().with(|input| input.policy.max = 7);
    assert_eq!(decide(&bounded).desired, 7);
    let full = burst.with(|input| input.host = Some(host(450, 200)));
    assert_eq!(decide(&full).desired, 5);
}

#[test]
fn nothing_is_removed_while_a_burst_lasts() {
    let after = |seconds: u64| {
        web(&[10.0; 4]).with(|input| {
            slow_but_for_bursts(input);
            input.policy.behavior.scale_down.stabilization_window = Span::seconds(0);
            input.history.burst = Some(input.now - std::time::Duration::from_secs(seconds));
        })
    };
    is(
        &after(59),
        4,
        "burst",
        "cpu 10% of 60% target asks for 1, but nothing is removed in a burst: staying at 4",
    );
    // Ten times the window of 6 s.
    assert_eq!(decide(&after(60)).desired, 1);
}

/// Runs a service whose replicas take 30 s to start and saturate at 100% of a core each, under a load
/// of so many cores; gives the counts, and how often a burst began.
fn slow_starters(load: f64, seconds: u64, policy: impl Fn(&mut Input)) -> (Vec<u32>, u32) {
    const START: u64 = 30;
    let mut history = History::default();
    let mut made: Vec<u64> = vec![0; 2];
    let (mut counts, mut began) = (Vec::new(), 0);
    for second in (0..seconds).step_by(5) {
        let age = |at: &u64| if *at == 0 { 600 } else { second - at };
        let serving = made.iter().filter(|at| age(at) >= START).count();
        // Those that start burn all they can.
        let share = (load / serving as f64).min(1.0) * 100.0;
        let mut input = web(&[]).with(&policy);
        input.now = Timestamp::from_unix(NOW) + std::time::Duration::from_secs(second);
        input.history = history.clone();
        input.current = Some(made.len() as u32);
        for (index, at) in made.iter().enumerate() {
            let mut one = replica(index + 1);
            one.age = Span::seconds(age(at));
            one.ready = age(at) >= START;
            one.metrics
                .insert("cpu".into(), if one.ready { share } else { 100.0 });
            input.replicas.push(one);
        }
        let decision = decide(&input);
        if decision.bursts {
            history.burst = Some(input.now);
            began += 1;
        }
        if let Some(recommendation) = decision.recommendation {
            history.record_recommendation(input.now, recommendation);
        }
        let change = i64::from(decision.desired) - i64::try_from(made.len()).unwrap();
        history.record_change(input.now, change as i32);
        history.prune(input.now, &input.policy.behavior);
        made.resize(decision.desired as usize, second);
        counts.push(decision.desired);
    }
    (counts, began)
}

#[test]
fn replicas_that_start_slowly_do_not_make_a_burst_run_away() {
    // Four cores at 60% are 6.7 replicas: seven. The two that serve can only show 100% each, so the
    // way there has steps; none may go beyond.
    let (counts, began) = slow_starters(4.0, 600, slow_but_for_bursts);
    assert_eq!(counts.iter().max(), Some(&7), "{counts:?}");
    assert_eq!(counts.last(), Some(&7), "{counts:?}");
    // Had only ready ones counted as supply, every look of the first half minute would be a burst.
    assert!(began <= 2, "{began} bursts: {counts:?}");
}

#[test]
fn a_load_of_the_whole_service_is_answered_once_however_slow_the_start() {
    // Twelve requests in flight per replica are wanted, 120 are there: ten, from the first look on.
    let by_load = |input: &mut Input| {
        slow_but_for_bursts(input);
        input.policy.metrics = vec![custom("in_flight", CustomTarget::Average(12.0))];
        input.service_metrics.insert("in_flight".into(), 120.0);
    };
    let (counts, began) = slow_starters(4.0, 300, by_load);
    assert!(counts.iter().all(|count| *count == 10), "{counts:?}");
    assert_eq!(began, 1, "the first look, with two replicas there");
}

#[test]
fn full_cores_hold_what_cpu_asks_for_and_nothing_else() {
    let full = |jobs: f64| {
        move |input: &mut Input| {
            input.host = Some(HostCapacity {
                cpu: Some(HostCpu {
                    busy: 99.0,
                    reserve: 5.0,
                    pressure: None,
                }),
                ..HostCapacity::default()
            });
            let jobs_target = custom("jobs", CustomTarget::Average(10.0));
            input.policy.metrics.push(jobs_target);
            input.service_metrics.insert("jobs".into(), jobs);
        }
    };
    // CPU asks for five, jobs for four: four.
    let some = web(&[95.0; 3]).with(full(40.0));
    is(
        &some,
        4,
        "above_target",
        "cpu 95% of 60% target asks for 5, but the host's cores are 99% busy with 5% to be kept free, so more of it would only share them: 3 → 4",
    );
    for (jobs, desired) in [(50.0, 5), (60.0, 6), (30.0, 3), (10.0, 3)] {
        let either = web(&[95.0; 3]).with(full(jobs));
        let turned = either.clone().with(|input| input.policy.metrics.reverse());
        assert_eq!(decide(&either).desired, desired, "{jobs} jobs");
        assert_eq!(decide(&turned).desired, desired, "{jobs} jobs, first");
    }
}

#[test]
fn thresholds_do_not_climb_while_replicas_are_on_their_way() {
    let thresholds = |current: u32| {
        move |input: &mut Input| {
            input.policy.metrics = vec![cpu_thresholds(80.0, 20.0, 1)];
            input.current = Some(current);
        }
    };
    assert_eq!(decide(&web(&[95.0; 2]).with(thresholds(2))).desired, 3);
    // Two thirds of 95% is not above 80%: the third will take its share.
    assert_eq!(decide(&web(&[95.0; 2]).with(thresholds(3))).desired, 3);
}

#[test]
fn a_load_beyond_all_numbers_asks_for_all_there_can_be() {
    let endless = web(&[0.0; 2]).with(|input| {
        input.policy.metrics = vec![custom("jobs", CustomTarget::Average(0.5))];
        input.service_metrics.insert("jobs".into(), f64::MAX);
    });
    assert_eq!(decide(&endless).recommendation, Some(u32::MAX));
}

#[test]
fn a_replica_that_ran_out_of_memory_is_no_sign_of_idleness() {
    let killed = |seconds: u64| {
        move |input: &mut Input| {
            input.replicas[1].out_of_memory = Some(Span::seconds(seconds));
            input.policy.behavior.scale_down.stabilization_window = Span::seconds(120);
        }
    };
    is(
        &web(&[10.0; 3]).with(killed(119)),
        3,
        "out_of_memory",
        "cpu 10% of 60% target asks for 1, but web-2 ran out of memory a short while ago: staying at 3",
    );
    assert_eq!(decide(&web(&[10.0; 3]).with(killed(120))).desired, 1);
    // It need not run again for that.
    let dead = web(&[10.0; 3]).with(killed(5)).with(|input| {
        input.replicas[1].state = ObservedState::Exited;
    });
    assert_eq!(decide(&dead).reason, Reason::OutOfMemory);
}

#[test]
fn for_memory_it_counts_as_full() {
    let memory = |input: &mut Input| {
        input.policy.metrics = vec![Metric::Memory(crate::policy::Aim::Target(percent(80.0)))];
        for replica in &mut input.replicas {
            replica.metrics = [("memory".to_owned(), 75.0)].into();
        }
    };
    let calm = web(&[0.0; 2]).with(memory);
    assert_eq!(decide(&calm).desired, 2);
    // It runs again, is young and uses next to nothing: (75 + 100) / 80 is 2.2 replicas.
    let killed = calm.with(|input| {
        let replica = &mut input.replicas[1];
        replica.metrics.insert("memory".into(), 3.0);
        replica.age = Span::seconds(4);
        replica.ready = false;
        replica.out_of_memory = Some(Span::seconds(5));
    });
    is(
        &killed,
        2,
        "within_tolerance",
        "memory 87.5% of 80% target, within tolerance: staying at 2",
    );
    let both = killed.with(|input| input.replicas[0].out_of_memory = Some(Span::seconds(50)));
    is(&both, 3, "above_target", "memory 100% of 80% target: 2 → 3");
}

#[test]
fn a_quota_that_runs_out_keeps_replicas() {
    let throttled = |share: f64| {
        move |input: &mut Input| {
            for replica in &mut input.replicas {
                replica.throttled = Some(share);
            }
        }
    };
    is(
        &web(&[30.0; 4]).with(throttled(27.5)),
        4,
        "throttled",
        "cpu 30% of 60% target, but the CPU quota ran out for 27.5% of the time: staying at 4",
    );
    assert_eq!(decide(&web(&[30.0; 4]).with(throttled(24.0))).desired, 2);
    // It is no reason to add any.
    assert_eq!(decide(&web(&[60.0; 4]).with(throttled(50.0))).desired, 4);
}

fn jobs(failures: u32, fallback: Option<u32>) -> impl FnOnce(&mut Input) {
    move |input| {
        let Metric::Custom(mut jobs) = custom("jobs", CustomTarget::Average(10.0)) else {
            unreachable!()
        };
        jobs.fallback = fallback.map(|replicas| Fallback { replicas });
        input.policy.metrics.push(Metric::Custom(jobs));
        let unread = Unread {
            why: "connection refused".into(),
            failures,
        };
        input.unread.insert("jobs".into(), unread);
    }
}

#[test]
fn a_metric_that_cannot_be_read_says_why_and_keeps_what_is_there() {
    is(
        &web(&[10.0; 3]).with(jobs(9, None)),
        3,
        "metrics_unavailable",
        "jobs cannot be read (connection refused), and without it nothing is removed: staying at 3",
    );
    let up = web(&[95.0; 3]).with(jobs(9, None));
    assert_eq!(decide(&up).desired, 5);
}

#[test]
fn a_fallback_raises_after_some_failures_and_never_lowers() {
    assert_eq!(decide(&web(&[60.0; 3]).with(jobs(2, Some(6)))).desired, 3);
    is(
        &web(&[60.0; 3]).with(jobs(3, Some(6))),
        6,
        "fallback",
        "jobs cannot be read (connection refused) and falls back to 6: 3 → 6",
    );
    is(
        &web(&[60.0; 3]).with(jobs(3, Some(12))),
        7,
        "fallback",
        "jobs cannot be read (connection refused) and falls back to 12, but scale_up allows 7 for now: 3 → 7",
    );
    // Six are there: that is what it wants, and no fewer.
    let there = web(&[10.0; 6]).with(jobs(3, Some(6)));
    assert_eq!(decide(&there).desired, 6);
    assert_eq!(decide(&there).reason, Reason::MetricsUnavailable);
    // The others may ask for more.
    assert_eq!(decide(&web(&[100.0; 4]).with(jobs(3, Some(5)))).desired, 7);
}

fn cores(busy: f64, pressure: Option<f64>) -> impl FnOnce(&mut Input) {
    move |input| {
        input.host = Some(HostCapacity {
            cpu: Some(HostCpu {
                busy,
                reserve: 5.0,
                pressure,
            }),
            ..host(8000, 200)
        });
    }
}

#[test]
fn where_all_cores_are_busy_more_replicas_of_a_cpu_bound_service_do_not_help() {
    is(
        &web(&[95.0; 3]).with(cores(97.2, None)),
        3,
        "host_full",
        "cpu 95% of 60% target asks for 5, but the host's cores are 97.2% busy with 5% to be kept \
         free, so more of it would only share them: staying at 3",
    );
    assert_eq!(decide(&web(&[95.0; 3]).with(cores(94.9, None))).desired, 5);
    // The kernel knows better whether somebody waits.
    assert_eq!(
        decide(&web(&[95.0; 3]).with(cores(99.0, Some(3.0)))).desired,
        5
    );
    assert_eq!(
        decide(&web(&[95.0; 3]).with(cores(99.0, Some(60.0)))).desired,
        3
    );
    // Another metric may be right all the same, and the bounds are the user's word.
    let queued = web(&[60.0; 3]).with(cores(99.0, None)).with(|input| {
        input
            .policy
            .metrics
            .push(custom("jobs", CustomTarget::Average(10.0)));
        input.service_metrics.insert("jobs".into(), 50.0);
    });
    assert_eq!(decide(&queued).desired, 5);
    let below = web(&[95.0])
        .with(cores(99.0, None))
        .with(|input| input.policy.min = 2);
    assert_eq!(decide(&below).desired, 2);
    // It takes nothing away.
    assert_eq!(decide(&web(&[60.0; 3]).with(cores(100.0, None))).desired, 3);
}

#[test]
fn memory_that_is_kept_for_another_service_is_named() {
    let kept = |input: &mut Input| {
        input.host = Some(HostCapacity {
            kept: vec![KeptMemory {
                service: "api".into(),
                memory: Bytes(600 << 20),
            }],
            ..host(150, 200)
        });
    };
    is(
        &web(&[95.0; 3]).with(kept),
        3,
        "host_full",
        "cpu 95% of 60% target asks for 5, but the host has memory for no more (150MiB free, 200MiB each, \
         600MiB kept for api): staying at 3",
    );
}

#[test]
fn all_of_it_is_explained() {
    let input = web(&[90.0; 3])
        .with(slow_but_for_bursts)
        .with(jobs(3, Some(4)))
        .with(|input| {
            input.policy.schedule = vec![always(Some(2), Some(9))];
            input.history.burst = Some(input.now - std::time::Duration::from_secs(10));
            input.replicas[0].out_of_memory = Some(Span::seconds(20));
            input.host = Some(HostCapacity {
                kept: vec![KeptMemory {
                    service: "api".into(),
                    memory: Bytes(2560 << 20),
                }],
                cpu: Some(HostCpu {
                    busy: 97.0,
                    reserve: 5.0,
                    pressure: Some(41.26),
                }),
                ..host(850, 200)
            });
        });
    insta::assert_snapshot!(explain_text(&input, &decide(&input)), @r"
    cpu 90% of 60% target asks for 5, but the host's cores are 97% busy with 5% to be kept free, so more of it would only share them: 3 → 4 (above_target)

    replicas      3 now, 2 to 9 allowed
    schedule      0 0 * * * for 24h (UTC): at least 2, at most 9
    cpu           90% of 60% target: asks for 5
    jobs          cannot be read (connection refused): falls back to 4
    burst         lasts until 12:00:50 UTC, and nothing is removed
    memory        web-1 ran out of it 20s ago, and nothing is removed
    limits        no more than 9 by max: stays 5
    host          850MiB free, 200MiB each: room for 4 more
                  2.5GiB more are kept for api
    host cpu      cores 97% busy, 5% to be kept free, processes waited for one 41.3% of the time: full
    result        3 → 4
    otherwise     with the host's cores less than 95% busy: 5
    ");
}
