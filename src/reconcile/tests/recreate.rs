//! Compose makes a replica anew.

use super::*;

/// The container by which compose v2 replaces replica `number`; v1 renames the old one like that.
fn half(number: u32, state: ContainerState) -> Replica {
    let mut replica = replica(number);
    replica.id = ContainerId(format!("{:064x}", 100 + number));
    replica.name = format!("0123456789ab_{}", replica.name);
    replica.state = state;
    replica
}

#[test]
fn a_recreate_in_progress_is_waited_for_and_counts_as_one_replica() {
    let mut bench = MachineBench::serving(&[1, 2]);
    let with_half = || vec![replica(1), replica(2), half(2, ContainerState::Created)];
    assert_eq!(asked(&bench.seen(with_half())), NOTHING);
    assert_eq!(bench.machine.view(bench.now).current, 2);
    bench.scale(3);
    for _ in 0..5 {
        assert_eq!(asked(&bench.after(11)), NOTHING, "nothing is added");
        assert_eq!(asked(&bench.seen(with_half())), NOTHING);
    }

    // The old one goes, the new one has its name and runs: all goes on.
    let old = id(2);
    bench.hear(Event::Stopped { id: old.clone() });
    bench.hear(Event::Busy);
    assert_eq!(asked(&bench.hear(Event::Gone { id: old })), NOTHING);
    let mut new = half(2, ContainerState::Running);
    new.name = replica(2).name;
    let effects = bench.seen(vec![replica(1), new.clone()]);
    assert_eq!(asked(&effects), ["probe 2"]);
    bench.hear(Event::Ready {
        id: new.id,
        started: new.started,
    });
    assert_eq!(asked(&bench.after(3)), ["create 3"]);
}

#[test]
fn v1_renames_the_old_one_and_nothing_is_removed() {
    let mut bench = MachineBench::serving(&[1]);
    bench.hear(Event::Stopped { id: id(1) });
    let mut old = half(1, ContainerState::Exited);
    old.id = id(1);
    let mut new = half(1, ContainerState::Created);
    new.name = replica(1).name;
    bench.hear(Event::Busy);
    let effects = bench.seen(vec![old.clone(), new.clone()]);
    assert_eq!(asked(&effects), NOTHING);
    // Even when compose is silent for longer than the project must be quiet.
    assert_eq!(asked(&bench.after(10)), NOTHING);
    new.state = ContainerState::Running;
    assert_eq!(asked(&bench.seen(vec![old, new.clone()])), ["probe 1"]);
    assert_eq!(asked(&bench.seen(vec![new])), NOTHING);
    assert_eq!(bench.machine.view(bench.now).current, 1);
}

#[test]
fn a_recreate_that_nobody_finishes_is_said_and_does_not_block_for_ever() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.hear(Event::Busy);
    bench.hear(Event::Gone { id: id(2) });
    bench.seen(vec![replica(1), half(2, ContainerState::Created)]);
    assert_eq!(asked(&bench.after(3)), NOTHING);
    assert_eq!(told(&bench.after(59)), NOTHING);
    let effects = bench.after(1);
    assert_eq!(asked(&effects), ["create 3"]);
    assert_eq!(
        told(&effects)[0],
        "0123456789ab_shop-web-2 is left from a recreate that compose did not finish, and is ignored; run `docker rm -f 0123456789ab_shop-web-2`, then `docker compose up -d --no-deps --scale web=2 web`"
    );
    bench.made(3);
    bench.ready(3);
    bench.routed();
    assert!(bench.machine.is_at(2));
    assert_eq!(
        told(&bench.seen(vec![
            replica(1),
            replica(3),
            half(2, ContainerState::Created)
        ])),
        NOTHING
    );
}

#[test]
fn where_only_the_half_of_a_recreate_is_left_another_one_is_made_like_it() {
    let mut bench = MachineBench::serving(&[1]);
    bench.hear(Event::Stopped { id: id(1) });
    bench.hear(Event::Busy);
    bench.seen(vec![half(1, ContainerState::Created)]);
    bench.after(3);
    assert_eq!(asked(&bench.after(59)), NOTHING);
    let effects = bench.after(1);
    assert_eq!(asked(&effects), ["create 2"], "{:?}", told(&effects));
    let name = effects.iter().find_map(|effect| match effect {
        Effect::Create { name, .. } => Some(name.as_str()),
        _ => None,
    });
    assert_eq!(name, Some("shop-web-2"));
}

#[test]
fn compose_at_work_keeps_a_recreate_from_being_taken_for_abandoned() {
    let mut bench = MachineBench::serving(&[1]);
    bench.seen(vec![replica(1), half(1, ContainerState::Created)]);
    for _ in 0..4 {
        bench.hear(Event::Busy);
        assert_eq!(told(&bench.after(50)), NOTHING);
    }
}

#[test]
fn of_two_with_one_number_both_serve_and_the_later_one_leaves_first() {
    let mut bench = MachineBench::serving(&[1]);
    let mut twin = replica(1);
    twin.id = ContainerId(format!("{:064x}", 0));
    twin.name = "shop-web-01".into();
    twin.created = Timestamp::from_unix(5000);
    bench.hear(Event::Busy);
    bench.seen(vec![replica(1), twin.clone()]);
    bench.hear(Event::Ready {
        id: twin.id.clone(),
        started: twin.started,
    });
    bench.after(3);
    bench.routed();
    assert!(bench.machine.is_at(2));
    bench.scale(1);
    bench.routed();
    let effects = bench.drained();
    let retired = effects.iter().find_map(|effect| match effect {
        Effect::Retire { replica } => Some(replica.name.clone()),
        _ => None,
    });
    assert_eq!(retired, Some(twin.name));
}
