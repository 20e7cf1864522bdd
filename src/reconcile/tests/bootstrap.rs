//! A service that has no replica left.

use super::*;

fn founded(number: u32) -> Event {
    Event::Founded {
        result: Ok(BootstrappedReplica {
            replica: Box::new(replica(number)),
            how: "from its remembered configuration".into(),
            troubles: Vec::new(),
        }),
    }
}

impl MachineBench {
    /// `docker rm -f`: its process ends and it is gone.
    fn lost(&mut self, number: u32) {
        self.hear(Event::Died {
            id: id(number),
            exit_code: Some(137),
            asked: false,
        });
        self.hear(Event::Busy);
        self.hear(Event::Gone { id: id(number) });
    }

    /// `docker compose down`: stopped, then removed.
    fn taken_down(&mut self, number: u32) {
        self.hear(Event::Busy);
        self.hear(Event::Died {
            id: id(number),
            exit_code: Some(0),
            asked: true,
        });
        self.hear(Event::Stopped { id: id(number) });
        self.hear(Event::Busy);
        self.hear(Event::Gone { id: id(number) });
    }
}

#[test]
fn the_last_replica_that_was_lost_is_made_anew_and_the_others_like_it() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.lost(1);
    bench.lost(2);
    assert_eq!(asked(&bench.after(1)), NOTHING, "it is not quiet yet");
    let effects = bench.after(2);
    assert_eq!(asked(&effects), ["found 1"]);
    assert_eq!(told(&effects), ["no replica is left: creating a first one"]);
    assert_eq!(asked(&bench.after(60)), NOTHING, "asked for once");
    assert_eq!(asked(&bench.hear(founded(3))), ["probe 3", "create 4"]);
    bench.made(4);
    bench.ready(3);
    bench.ready(4);
    bench.routed();
    assert!(bench.machine.is_at(2));
}

#[test]
fn while_the_last_one_is_being_removed_nothing_is_refused() {
    let mut bench = MachineBench::serving(&[1]);
    bench.hear(Event::Died {
        id: id(1),
        exit_code: Some(137),
        asked: false,
    });
    let mut going = replica(1);
    going.state = ContainerState::Removing;
    let taken = bench.now;
    let replica = Box::new(going);
    let seen = bench.hear(Event::Observed { replica, taken });
    assert_eq!(told(&seen), NOTHING);
    bench.hear(Event::Busy);
    bench.hear(Event::Gone { id: id(1) });
    assert_eq!(asked(&bench.after(3)), ["found 1"]);
}

#[test]
fn a_listing_of_before_does_not_bring_back_what_is_gone() {
    let mut bench = MachineBench::serving(&[1]);
    let taken = bench.now;
    bench.now = bench.now + Duration::from_millis(1);
    bench.lost(1);
    let late = |mut replica: Replica, state| {
        replica.state = state;
        Event::Seen {
            replicas: vec![replica],
            needed: BTreeSet::new(),
            taken,
        }
    };
    for state in [ContainerState::Running, ContainerState::Removing] {
        assert_eq!(asked(&bench.hear(late(replica(1), state))), NOTHING);
    }
    bench.see(&[]);
    assert_eq!(asked(&bench.after(3)), ["found 1"]);
}

#[test]
fn what_was_stopped_before_it_was_removed_stays_away() {
    let mut bench = MachineBench::serving(&[1]);
    bench.taken_down(1);
    assert_eq!(asked(&bench.after(60)), NOTHING);
    assert_eq!(
        bench.machine.idle_reason(),
        Some("web has no container; run `docker compose up -d web`")
    );
}

#[test]
fn a_stop_that_is_told_after_the_removal_explains_it() {
    let mut bench = MachineBench::serving(&[1]);
    bench.lost(1);
    bench.hear(Event::Stopped { id: id(1) });
    assert_eq!(asked(&bench.after(60)), NOTHING);
    assert!(bench.machine.idle_reason().is_some());
}

#[test]
fn one_that_had_been_down_for_a_while_was_removed_on_purpose() {
    let mut bench = MachineBench::serving(&[1]);
    bench.hear(Event::Stopped { id: id(1) });
    bench.after(60);
    bench.hear(Event::Gone { id: id(1) });
    assert_eq!(asked(&bench.after(60)), NOTHING);
    assert!(bench.machine.idle_reason().is_some());
}

#[test]
fn nothing_is_made_unasked_where_nothing_was_found_at_the_start() {
    let mut bench = MachineBench::blind(setup(), None);
    assert_eq!(
        told(&bench.see(&[])),
        ["web has no container; run `docker compose up -d web`"]
    );
    assert_eq!(asked(&bench.after(60)), NOTHING);
}

#[test]
fn asked_for_by_hand_a_first_replica_is_made_and_the_others_like_it() {
    let mut bench = MachineBench::blind(setup(), None);
    bench.see(&[]);
    assert_eq!(asked(&bench.scale(3)), ["found 1"]);
    assert!(bench.machine.idle_reason().is_none());
    // Compose makes it while we look: `Founded` brings it.
    assert_eq!(asked(&bench.see(&[1])), NOTHING);
    assert_eq!(
        asked(&bench.hear(founded(1))),
        ["probe 1", "create 2", "create 3"]
    );
}

#[test]
fn who_says_beforehand_that_a_count_is_to_come_is_not_told_of_a_standstill() {
    let mut bench = MachineBench::blind(setup(), None);
    bench.machine.expect_a_count();
    assert_eq!(told(&bench.see(&[])), NOTHING);
    assert_eq!(asked(&bench.scale(1)), ["found 1"]);
}

#[test]
fn a_count_that_was_held_before_is_not_gone_back_to_on_the_way_to_another() {
    let memory = PersistedState {
        hold: Some(Hold {
            replicas: 2,
            until: None,
        }),
        ..PersistedState::default()
    };
    let mut bench = MachineBench::blind(setup(), Some(memory));
    bench.machine.expect_a_count();
    bench.see(&[1, 2, 3]);
    for number in 1..=3 {
        bench.ready(number);
    }
    assert_eq!(bench.machine.serving(), 3);
    assert_eq!(asked(&bench.scale(4)), ["create 4"]);
}

#[test]
fn an_attempt_that_fails_is_repeated_and_one_without_a_way_is_not() {
    let mut bench = MachineBench::serving(&[1]);
    bench.lost(1);
    assert_eq!(asked(&bench.after(3)), ["found 1"]);
    let failed = Event::Founded {
        result: Err(BootstrapError::Failed("no room".into())),
    };
    let effects = bench.hear(failed);
    assert_eq!(
        told(&effects),
        ["the first replica of web failed: no room; next attempt in 10s"]
    );
    assert_eq!(asked(&bench.after(9)), NOTHING);
    assert_eq!(asked(&bench.after(1)), ["found 1"]);
    let no_way = Event::Founded {
        result: Err(BootstrapError::NoWay("compose is not installed".into())),
    };
    assert_eq!(
        told(&bench.hear(no_way)),
        [
            "web has no container and cannot get one here: compose is not installed; run `docker compose up -d web`"
        ]
    );
    assert_eq!(asked(&bench.after(600)), NOTHING);
    // Somebody who does so is heard.
    bench.see(&[1]);
    bench.ready(1);
    bench.routed();
    assert!(bench.machine.is_at(1));
}

#[test]
fn what_came_up_is_remembered_and_what_never_did_is_not() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    bench.made(2);
    bench.lost(1);
    assert_eq!(bench.machine.exemplar(), None);
    bench.ready(2);
    assert_eq!(bench.machine.exemplar().map(|r| r.number), Some(2));
}
