//! What the next run knows of the one before.

use super::*;
use crate::policy::Rate;

#[test]
fn without_two_readings_the_count_stays_whatever_was_decided_before() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    bench.load(30);
    // Two hours later, with load as it was never seen before.
    let now = bench.now + Duration::from_secs(7200);
    let memory = bench
        .machine
        .memory()
        .without_old_readings(now, Duration::from_secs(5));
    assert_eq!(memory.readings.len(), 0);
    let mut next = MachineBench::blind(setup(), Some(memory));
    next.now = now;
    next.see(&[1, 2, 3]);
    for number in [1, 2, 3] {
        next.ready(number);
    }
    next.routed();
    assert_eq!(asked(&next.sample(190)), NOTHING);
    let decision = next.machine.view(next.now).decision.unwrap();
    assert_eq!(
        (decision.reason.as_str(), decision.to),
        ("metrics_unavailable", 3)
    );
    assert_eq!(asked(&next.sample(190)).len(), 4);
}

#[test]
fn a_reading_of_a_moment_ago_makes_the_first_look_of_the_next_run_a_fresh_one() {
    let mut bench = MachineBench::serving(&[1]);
    bench.sample(90);
    let soon = bench.now + Duration::from_secs(10);
    let memory = bench.machine.memory();
    let kept = memory
        .clone()
        .without_old_readings(soon, Duration::from_secs(5));
    assert_eq!(kept.readings, memory.readings);
    // From cron a reading may be as old as it is.
    let mut next = bench.restarted(300, &[1]);
    assert_eq!(asked(&next.sample(90)), ["create 2"]);
}

#[test]
fn a_stabilization_window_goes_on_where_it_was() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    // Three were needed; from here the window of five minutes counts.
    bench.load(60);
    let mut next = bench.restarted(100, &[1, 2, 3]);
    next.load(1);
    let decision = next.machine.view(next.now).decision.unwrap();
    assert_eq!(decision.reason, "stabilizing_down");
    next.after(170);
    assert_eq!(asked(&next.load(1)), NOTHING, "290 s of 300");
    next.after(10);
    assert_eq!(
        asked(&next.load(1)),
        ["route! 1"],
        "no window of its own has begun with the restart"
    );
}

#[test]
fn a_rate_policy_counts_what_the_former_run_added() {
    let mut setup = setup();
    setup.policy.behavior.scale_up.policies = vec![Rate::Replicas {
        replicas: 1,
        per: Span::seconds(60),
    }];
    let mut bench = MachineBench::blind(setup, None);
    bench.see(&[1]);
    bench.ready(1);
    bench.routed();
    assert_eq!(asked(&bench.load(180)), ["create 2"]);
    let mut next = bench.restarted(5, &[1, 2]);
    assert_eq!(asked(&next.load(180)), NOTHING);
    let decision = next.machine.view(next.now).decision.unwrap();
    assert_eq!(decision.reason, "rate_limited");
    next.after(50);
    assert_eq!(asked(&next.load(180)), ["create 3"]);
}

#[test]
fn a_count_held_by_hand_is_held_over_restarts_until_its_time() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    bench.made(2);
    bench.ready(2);
    bench.routed();
    // A run from cron in between, which has nothing to do.
    let mut once = bench.restarted(200, &[1, 2]);
    assert_eq!(asked(&once.load(180)), NOTHING);
    let decision = once.machine.view(once.now).decision.unwrap();
    assert_eq!(decision.reason, "held");
    let mut next = once.restarted(200, &[1, 2]);
    assert_eq!(asked(&next.load(180)), NOTHING);
    let hold = next.machine.view(next.now).hold.unwrap();
    assert_eq!(hold.until, Some(bench.now + Duration::from_secs(600)));
    next.after(200);
    assert!(asked(&next.load(180)).len() > 1);

    // Somebody removed one while nobody was there: it comes back.
    let mut next = once.restarted(200, &[1]);
    assert_eq!(asked(&next.after(1)), NOTHING);
    assert_eq!(next.machine.desired(), Some(2));
}
