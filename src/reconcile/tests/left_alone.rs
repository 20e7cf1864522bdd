//! What a person stopped, paused or disconnected is theirs until they undo it.

use super::*;

fn stopped(number: u32) -> Replica {
    Replica {
        state: ContainerState::Exited,
        ..replica(number)
    }
}

fn planned(bench: &MachineBench, count: u32) -> String {
    let plan = bench.machine.plan(count).unwrap();
    let steps: Vec<_> = plan.steps.iter().map(ToString::to_string).collect();
    steps.join("; ")
}

#[test]
fn a_replica_that_somebody_stopped_is_replaced_once_it_is_no_restart_and_not_started() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    let effects = bench.hear(Event::Stopped { id: id(2) });
    assert_eq!(
        told(&effects),
        ["shop-web-2 was stopped by someone else; it gets no requests"]
    );
    assert_eq!(asked(&effects), ["route! 1 3"]);
    bench.routed();
    assert_eq!(asked(&bench.after(3)), ["create 4"]);
    bench.made(4);
    bench.ready(4);
    bench.routed();
    for _ in 0..5 {
        let effects = bench.after(30);
        assert_eq!((told(&effects), asked(&effects)), (vec![], vec![]));
    }
    // Neither by the next run, nor by load.
    let memory = bench.machine.memory();
    assert_eq!(memory.stopped.len(), 1);
    let mut next = MachineBench::blind(setup(), Some(memory));
    next.now = bench.now;
    let effects = next.seen(vec![replica(1), stopped(2), replica(3), replica(4)]);
    assert_eq!(asked(&effects), ["probe 1", "probe 3", "probe 4"]);
    for number in [1, 3, 4] {
        next.ready(number);
    }
    next.routed();
    assert!(asked(&next.scale(4)).contains(&"create 5".to_owned()));

    // Started again, it is one too many.
    let effects = next.seen(vec![replica(1), replica(2), replica(3), replica(4)]);
    assert!(
        !told(&effects).iter().any(|one| one.contains("unhealthy")),
        "{effects:?}"
    );
}

#[test]
fn a_restart_by_hand_makes_no_other_replica() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.hear(Event::Stopped { id: id(2) });
    assert_eq!(asked(&bench.after(0)), NOTHING);
    let again = Replica {
        started: Some(bench.now),
        ..replica(2)
    };
    bench.seen(vec![replica(1), again]);
    assert_eq!(asked(&bench.after(10)), NOTHING);
}

#[test]
fn a_service_that_stands_still_is_started_when_somebody_asks_for_it() {
    let mut bench = MachineBench::serving(&[1, 2]);
    for number in [1, 2] {
        bench.hear(Event::Stopped { id: id(number) });
    }
    assert_eq!(asked(&bench.after(10)), NOTHING);
    let plan = planned(&bench, 2);
    assert!(
        plan.contains("start shop-web-1") && plan.contains("start shop-web-2"),
        "{plan}"
    );
}

#[test]
fn a_service_that_is_stopped_as_a_whole_and_started_again_gets_no_other_replica() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    for number in [1, 2, 3] {
        bench.hear(Event::Stopped { id: id(number) });
    }
    bench.after(10);
    let first = Replica {
        started: Some(bench.now),
        ..replica(1)
    };
    let effects = bench.seen(vec![first.clone(), stopped(2), stopped(3)]);
    let creates = |effects: &[Effect]| effects.iter().any(|e| matches!(e, Effect::Create { .. }));
    assert!(!creates(&effects));
    assert!(!creates(&bench.after(10)));
}

#[test]
fn a_replica_without_a_network_serves_nobody_and_is_left_alone() {
    let mut bench = MachineBench::serving(&[1, 2]);
    let cut_off = || Replica {
        addresses: BTreeMap::new(),
        ..replica(2)
    };
    let effects = bench.seen(vec![replica(1), cut_off()]);
    assert_eq!(
        told(&effects)[0],
        "shop-web-2 was disconnected from its network; it gets no requests"
    );
    assert_eq!(asked(&effects), ["create 3", "route! 1"]);
    bench.routed();
    assert_eq!(bench.machine.serving(), 1);
    bench.made(3);
    bench.ready(3);
    bench.routed();
    let effects = bench.seen(vec![replica(1), cut_off(), replica(3)]);
    assert_eq!((told(&effects), asked(&effects)), (vec![], vec![]));
    // Connected again, it is looked at like a new one.
    let effects = bench.seen(vec![replica(1), replica(2), replica(3)]);
    assert!(
        asked(&effects).contains(&"probe 2".to_owned()),
        "{effects:?}"
    );
}
