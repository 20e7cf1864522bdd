use super::*;
use crate::{
    decide::{
        Reason, decide,
        tests::fixture::{cpu_target, percent, replica, web},
        tests::is,
    },
    policy::Percentile,
    units::Span,
};

fn p95(target: u64) -> Metric {
    Metric::Latency(LatencyTarget {
        percentile: Percentile::P95,
        target: Span(Duration::from_millis(target)),
        window: Span::seconds(30),
    })
}

fn at_most(share: f64) -> Metric {
    Metric::Errors(ErrorTarget {
        above: percent(share),
        window: Span::seconds(15),
        step: 1,
    })
}

/// A service of so many replicas at this share of their CPU, with this much going on in it.
fn service(count: usize, cpu: f64, metric: Metric, value: f64, in_flight: f64) -> Input {
    web(&vec![cpu; count]).with(|input| {
        input.policy.max = 20;
        let name = metric.name().to_owned();
        input.policy.metrics = vec![metric];
        for (name, value) in [
            (name.as_str(), value),
            ("in_flight", in_flight),
            ("requests", 50.0),
        ] {
            input.service_metrics.insert(name.to_owned(), value);
        }
    })
}

fn tried(ago: u64, value: f64, requests: f64, outcome: TrialOutcome) -> impl FnOnce(&mut Input) {
    move |input| {
        let at = input.now - Duration::from_secs(ago);
        let trial = ScaleUpTrial {
            at,
            value,
            requests,
            replicas: 2,
            settled: Some(at),
            falling: None,
            over: at,
            outcome,
        };
        for name in ["latency", "errors"] {
            input.history.trials.insert(name.to_owned(), trial);
        }
    }
}

#[test]
fn over_the_target_busy_replicas_get_help_and_idle_ones_do_not() {
    // By CPU: as many as the ratio asks for, twice as many at most.
    is(
        &service(3, 80.0, p95(300), 450.0, 2.0),
        5,
        "above_target",
        "latency p95 450ms of 300ms target: 3 → 5",
    );
    is(
        &service(3, 80.0, p95(300), 5000.0, 2.0),
        6,
        "above_target",
        "latency p95 5000ms of 300ms target: 3 → 6",
    );
    // They wait for something: one more, to see.
    is(
        &service(3, 4.0, p95(300), 5000.0, 30.0),
        4,
        "above_target",
        "latency p95 5000ms of 300ms target: 3 → 4",
    );
    is(
        &service(3, 4.0, p95(300), 5000.0, 0.9),
        3,
        "replicas_idle",
        "latency p95 5000ms of 300ms target, but the replicas are not busy (0.3 in flight each, \
         cpu 4%), so more of them would not help: staying at 3",
    );
    is(
        &service(3, 80.0, p95(300), 330.0, 30.0),
        3,
        "within_tolerance",
        "latency p95 330ms of 300ms target, within tolerance: staying at 3",
    );
}

#[test]
fn the_next_ones_wait_for_what_the_last_ones_bring() {
    let over = || service(4, 80.0, p95(300), 600.0, 40.0);
    is(
        &over().with(tried(38, 900.0, 50.0, TrialOutcome::Open)),
        4,
        "trying",
        "latency p95 600ms of 300ms target, but what the last replicas bring is not known yet: staying at 4",
    );
    // It has come down by more than a tenth: on.
    assert_eq!(
        decide(&over().with(tried(40, 900.0, 50.0, TrialOutcome::Open))).desired,
        8
    );
    // Twice as many replicas, and half as many more requests are answered: they were waiting.
    assert_eq!(
        decide(&over().with(tried(40, 500.0, 30.0, TrialOutcome::Open))).desired,
        8
    );
    is(
        &over().with(tried(40, 610.0, 50.0, TrialOutcome::Open)),
        4,
        "no_help",
        "latency p95 600ms of 300ms target, but more replicas did not help (610ms before): what \
         is slow or fails is not them: staying at 4",
    );
    // A replica that is not ready yet cannot have helped.
    let starting = over()
        .with(tried(40, 610.0, 50.0, TrialOutcome::Open))
        .with(|input| {
            input.replicas[3].ready = false;
            input.history.trials.get_mut("latency").unwrap().settled = None;
        });
    let decision = decide(&starting);
    assert_eq!(
        (decision.reason, decision.trials["latency"].settled),
        (Reason::Trying, None)
    );
    // With more load it is worth another try, with care.
    let more =
        |requests: f64| decide(&over().with(tried(90, 600.0, requests, TrialOutcome::NoHelp)));
    assert_eq!(more(42.0).desired, 4);
    assert_eq!(more(41.0).desired, 5);
}

#[test]
fn below_the_target_others_decide_and_where_there_are_none_one_leaves_at_a_time() {
    let both = |cpu: f64, value: f64| {
        service(4, cpu, p95(300), value, 40.0)
            .with(|input| input.policy.metrics.push(cpu_target(60.0)))
    };
    is(
        &both(20.0, 200.0),
        2,
        "below_target",
        "cpu 20% of 60% target: 4 → 2",
    );
    // Near the target it holds what there is, and over it too.
    assert_eq!(decide(&both(20.0, 290.0)).desired, 4);
    assert_eq!(
        decide(&both(20.0, 900.0).with(tried(90, 900.0, 50.0, TrialOutcome::NoHelp))).desired,
        4
    );
    let alone = |cpu: f64, value: f64, in_flight: f64| {
        decide(&service(4, cpu, p95(300), value, in_flight)).desired
    };
    assert_eq!(alone(20.0, 200.0, 40.0), 4, "busy by what is under way");
    assert_eq!(alone(20.0, 200.0, 2.9), 3, "three would be idle as well");
    assert_eq!(alone(20.0, 200.0, 3.1), 4);
    assert_eq!(alone(40.0, 200.0, 0.1), 4, "53% of three");
    assert_eq!(alone(59.0, 150.0, 40.0), 3, "half the target");
    assert_eq!(alone(80.0, 150.0, 40.0), 4, "three would be full");
    assert_eq!(decide(&service(1, 0.0, p95(300), 0.0, 0.0)).desired, 1);
}

#[test]
fn what_cannot_be_read_removes_nothing() {
    let mut input = service(3, 5.0, p95(300), 1.0, 1.0);
    input.policy.metrics.push(cpu_target(60.0));
    input.service_metrics.remove("latency");
    let decision = decide(&input.with(tried(40, 1.0, 1.0, TrialOutcome::NoHelp)));
    assert_eq!(
        (decision.desired, decision.reason),
        (3, Reason::MetricsUnavailable)
    );
    assert_eq!(
        decision.trials["latency"].outcome,
        TrialOutcome::NoHelp,
        "it is remembered"
    );
}

#[test]
fn errors_of_busy_replicas_add_some_and_others_none() {
    is(
        &service(2, 90.0, at_most(5.0), 12.0, 1.0),
        3,
        "above_target",
        "errors 12% above 5%: 2 → 3",
    );
    is(
        &service(2, 9.0, at_most(5.0), 12.0, 1.0),
        2,
        "replicas_idle",
        "errors 12% above 5%, but the replicas are not busy (0.5 in flight each, cpu 9%), so more \
         of them would not help: staying at 2",
    );
    is(
        &service(2, 9.0, at_most(5.0), 0.4, 1.0),
        2,
        "within_tolerance",
        "errors 0.4% of at most 5%: staying at 2",
    );
    let mistake = service(3, 90.0, at_most(5.0), 12.0, 1.0);
    let decision = decide(&mistake.with(tried(24, 12.0, 50.0, TrialOutcome::Open)));
    assert_eq!((decision.desired, decision.reason), (3, Reason::NoHelp));
}

/// What a service does under a load of so many requests per second.
struct ServedRequests {
    p95: f64,
    errors: f64,
    answered: f64,
    in_flight: f64,
    cpu: f64,
}

/// Decides every five seconds; replicas take 20 s to start. Gives the counts.
fn follow(
    policy: impl Fn(&mut Input),
    seconds: u64,
    serve: impl Fn(u64, f64) -> ServedRequests,
) -> Vec<u32> {
    const START: u64 = 20;
    let begin = web(&[]).now;
    let mut made: Vec<u64> = vec![0; 2];
    let mut history = crate::decide::History::default();
    let mut counts = Vec::new();
    for second in (0..seconds).step_by(5) {
        let age = |at: u64| if at == 0 { 600 } else { second - at };
        let serving = made.iter().filter(|at| age(**at) >= START).count();
        let served = serve(second, serving as f64);
        let mut input = web(&[]).with(&policy);
        input.policy.max = 50;
        input.now = begin + Duration::from_secs(second);
        input.history = history.clone();
        input.current = Some(made.len() as u32);
        for (index, at) in made.iter().enumerate() {
            let mut one = replica(index + 1);
            one.age = Span::seconds(age(*at));
            one.ready = age(*at) >= START;
            one.metrics.insert("cpu".into(), served.cpu);
            input.replicas.push(one);
        }
        for (name, value) in [
            ("latency", served.p95),
            ("errors", served.errors),
            ("requests", served.answered),
            ("in_flight", served.in_flight),
        ] {
            input.service_metrics.insert(name.into(), value);
        }
        let decision = decide(&input);
        if let Some(replicas) = decision.recommendation {
            history.record_recommendation(input.now, replicas);
        }
        history.trials.clone_from(&decision.trials);
        let change = i64::from(decision.desired) - i64::try_from(made.len()).unwrap();
        history.record_change(input.now, change as i32);
        history.prune(input.now, &input.policy.behavior);
        made.resize(decision.desired as usize, second.max(1));
        counts.push(decision.desired);
    }
    counts
}

/// Each replica answers ten requests per second, in 100 ms when it has nothing else to do.
fn by_capacity(load: impl Fn(u64) -> f64) -> impl Fn(u64, f64) -> ServedRequests {
    move |second, serving| {
        let busy = load(second) / (serving * 10.0);
        let p95 = if busy < 0.98 {
            100.0 / (1.0 - busy)
        } else {
            10_000.0
        };
        let answered = load(second).min(serving * 10.0);
        ServedRequests {
            p95,
            errors: if busy > 1.0 {
                100.0 * (1.0 - 1.0 / busy)
            } else {
                0.0
            },
            answered,
            in_flight: answered * p95 / 1000.0,
            cpu: busy.min(1.0) * 100.0,
        }
    }
}

#[test]
fn a_load_five_times_as_high_is_answered_in_time_again() {
    let step = |second| if second < 60 { 12.0 } else { 60.0 };
    // At 300 ms each may be busy for two thirds of the time: nine.
    for metrics in [vec![p95(300)], vec![p95(300), cpu_target(60.0)]] {
        let alone = metrics.len() == 1;
        let policy = |input: &mut Input| input.policy.metrics.clone_from(&metrics);
        let counts = follow(policy, 600, by_capacity(step));
        let before = counts[11];
        assert!(before <= 2, "{counts:?}");
        let (last, most) = (counts[119], counts.iter().max().unwrap());
        assert!((9..=12).contains(&last), "{counts:?}");
        assert!(*most <= 16, "{counts:?}");
        // Within how long.
        let reached = counts.iter().position(|count| *count >= 9).unwrap() * 5 - 60;
        assert!(
            reached <= if alone { 180 } else { 60 },
            "{reached} s: {counts:?}"
        );
    }
}

#[test]
fn a_slow_database_does_not_make_replicas_run_away() {
    // Whatever replicas there are, requests take 800 ms, and as many as that are under way.
    let slow = |load: fn(u64) -> f64| {
        move |second: u64, serving: f64| ServedRequests {
            p95: 800.0 + (second % 7) as f64 * 10.0,
            errors: 20.0,
            answered: load(second),
            in_flight: load(second) * 0.8,
            cpu: load(second) / serving,
        }
    };
    let metrics: [fn() -> Vec<Metric>; 3] = [
        || vec![p95(300)],
        || vec![p95(300), cpu_target(60.0)],
        || vec![at_most(5.0)],
    ];
    for metrics in metrics {
        let policy = |input: &mut Input| input.policy.metrics = metrics();
        let steady = follow(policy, 3600, slow(|_| 40.0));
        assert!(steady.iter().all(|count| *count <= 3), "{steady:?}");
        // The load comes and goes by a fifth.
        let wave = follow(
            policy,
            3600,
            slow(|second| 40.0 + (second % 600) as f64 / 75.0),
        );
        assert!(wave.iter().all(|count| *count <= 5), "{wave:?}");
    }
    // It is slow now and then, and each time for a while only.
    let policy = |input: &mut Input| input.policy.metrics = vec![p95(300)];
    let now_and_then = follow(policy, 7200, |second, serving| {
        let slow = second % 120 < 60;
        ServedRequests {
            p95: if slow { 900.0 } else { 200.0 },
            ..slow_database(serving)
        }
    });
    assert!(
        now_and_then.iter().all(|count| *count <= 3),
        "{now_and_then:?}"
    );
}

#[test]
fn what_recovers_by_itself_and_what_varies_by_chance_is_no_help_of_replicas() {
    let policy = |input: &mut Input| input.policy.metrics = vec![p95(300)];
    // A cache that fills again, whatever replicas there are.
    for fills in [30.0, 60.0, 120.0, 300.0, 600.0] {
        let counts = follow(policy, 3600, |second, serving| {
            let p95 = 200.0 + 4800.0 * (-(second as f64) / fills).exp();
            ServedRequests {
                p95,
                in_flight: p95 / 1000.0 * 28.0,
                ..slow_database(serving)
            }
        });
        assert!(
            counts.iter().all(|count| *count <= 5),
            "{fills}: {counts:?}"
        );
    }
    // Few requests, whose percentile and number are as chance has it.
    let mut chance = 7_u64;
    let mut vary = |by: f64| {
        chance = chance
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        1.0 + by * ((chance >> 33) as f64 / f64::from(1_u32 << 31) * 2.0 - 1.0)
    };
    let noise: Vec<_> = (0..1440).map(|_| (vary(0.15), vary(0.4))).collect();
    let counts = follow(policy, 7200, |second, serving| {
        let (p95, answered) = noise[(second / 5) as usize];
        ServedRequests {
            p95: 900.0 * p95,
            answered: 1.5 * answered,
            in_flight: 1.5 * serving,
            ..slow_database(serving)
        }
    });
    assert!(counts.iter().all(|count| *count <= 8), "{counts:?}");
}

fn slow_database(serving: f64) -> ServedRequests {
    ServedRequests {
        p95: 900.0,
        errors: 0.0,
        answered: 40.0,
        in_flight: 32.0,
        cpu: 40.0 / serving,
    }
}

#[test]
fn errors_of_an_overload_end_with_enough_replicas() {
    let policy = |input: &mut Input| input.policy.metrics = vec![at_most(5.0)];
    let counts = follow(policy, 1200, by_capacity(|_| 60.0));
    assert_eq!(counts.last(), Some(&6), "{counts:?}");
}
