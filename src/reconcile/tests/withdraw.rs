//! A count by hand that is not reached.

use super::*;

#[test]
fn what_was_not_brought_up_goes_and_what_serves_stays() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(3);
    bench.made(2);
    bench.made(3);
    bench.ready(2);
    bench.routed();
    assert_eq!(
        bench.machine.shortfall(3),
        "2 of 3 replicas are ready; shop-web-3 is not ready yet"
    );
    let effects = bench.hear(Event::Withdraw { count: 3 });
    assert_eq!(
        told(&effects),
        ["scaling 3 → 2, because the count that was asked for was not reached"]
    );
    let retired = effects.iter().filter_map(|effect| match effect {
        Effect::Retire { replica } => Some(replica.name.as_str()),
        _ => None,
    });
    assert_eq!(retired.collect::<Vec<_>>(), ["shop-web-3"]);
    assert!(bench.machine.is_tidying_up());
    bench.hear(Event::Retired {
        id: id(3),
        result: Ok(()),
    });
    assert!(!bench.machine.is_tidying_up() && bench.machine.is_at(2));
    // Nothing of it is done later, in this run or the next one.
    assert_eq!(bench.machine.hold, None);
    for _ in 0..20 {
        let effects = bench.after(30);
        assert!(!effects.iter().any(|e| matches!(e, Effect::Create { .. })));
    }
    assert_eq!(bench.restarted(1, &[1, 2]).machine.desired(), Some(2));
}

#[test]
fn what_was_leaving_stays_when_it_can() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    bench.scale(1);
    assert!(
        bench
            .machine
            .shortfall(1)
            .contains("shop-web-3 is leaving and still has requests in flight"),
        "{}",
        bench.machine.shortfall(1)
    );
    let effects = bench.hear(Event::Withdraw { count: 1 });
    let kept = told(&effects);
    assert!(
        kept.contains(&"keeping shop-web-3, which was being removed".to_owned()),
        "{kept:?}"
    );
    bench.routed();
    assert!(bench.machine.is_at(3));
}

#[test]
fn a_count_that_is_wanted_no_more_is_not_given_up_and_load_decides_again_after_one_that_is() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(3);
    bench.scale(2);
    assert!(told(&bench.hear(Event::Withdraw { count: 3 })).is_empty());
    assert_eq!(bench.machine.desired(), Some(2));
    bench.hear(Event::Withdraw { count: 2 });
    bench.made(2);
    bench.made(3);
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    bench.hear(Event::Made {
        number: 2,
        result: Err("no room".into()),
    });
    bench.hear(Event::Withdraw { count: 2 });
    assert_eq!(bench.machine.desired(), Some(1));
    bench.after(60);
    bench.load(100);
    assert_eq!(bench.machine.desired(), Some(2));
}

#[test]
fn ready_replicas_that_nginx_does_not_have_are_told_with_its_reason() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    bench.made(2);
    bench.ready(2);
    assert_eq!(
        bench.machine.shortfall(2),
        "all 2 replicas are ready; nginx has not confirmed their addresses yet"
    );
    let seq = bench.machine.routing.seq;
    let refused = || Err("nginx refuses its configuration: no".to_owned());
    let result = refused();
    bench.hear(Event::Routed { seq, result });
    assert_eq!(
        bench.machine.shortfall(2),
        "all 2 replicas are ready; nginx refuses its configuration: no"
    );
    // Neither counts as serving before nginx has it.
    let view = bench.machine.view(bench.now);
    let phases: Vec<_> = view.replicas.iter().map(|r| r.phase.as_str()).collect();
    assert_eq!((view.serving, phases), (1, vec!["serving", "ready"]));
    for _ in 0..3 {
        assert!(!bench.machine.waits_for_nginx_in_vain(2));
        bench.after(20);
        let seq = bench.machine.routing.seq;
        let result = refused();
        bench.hear(Event::Routed { seq, result });
    }
    assert!(bench.machine.waits_for_nginx_in_vain(2));
}

#[test]
fn what_is_about_to_serve_is_awaited_and_its_success_begins_no_second_attempt() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(4);
    bench.hear(Event::Made {
        number: 4,
        result: Err("no free address".into()),
    });
    assert!(bench.machine.is_growing());
    bench.made(2);
    bench.made(3);
    assert!(bench.machine.is_growing());
    for number in [2, 3] {
        let effects = bench.ready(number);
        assert!(!effects.iter().any(|e| matches!(e, Effect::Create { .. })));
        assert!(!told(&effects).iter().any(|one| one.contains("start again")));
    }
    assert!(!bench.machine.is_growing());
    bench.routed();
    let effects = bench.hear(Event::Withdraw { count: 4 });
    assert_eq!(
        told(&effects),
        ["scaling 4 → 3, because the count that was asked for was not reached"]
    );
}
