//! Scaling by load that is suspended, and what goes on all the same.

use super::*;

impl MachineBench {
    fn pause(&mut self, directions: Pause, seconds: Option<u64>) -> Vec<Effect> {
        self.hear(Event::Suspend {
            directions,
            span: seconds.map(Duration::from_secs),
            by: Initiator::Hand,
        })
    }

    fn resume(&mut self) -> Vec<Effect> {
        self.hear(Event::Resume {
            by: Initiator::Hand,
        })
    }

    /// The label of the last decision.
    fn reason(&self) -> String {
        self.machine.view(self.now).decision.unwrap().reason
    }
}

#[test]
fn load_changes_nothing_until_somebody_resumes_it() {
    let mut bench = MachineBench::serving(&[1, 2]);
    assert_eq!(told(&bench.pause(Pause::Both, None)), ["scaling is paused"]);
    assert_eq!(asked(&bench.load(180)), NOTHING);
    assert_eq!(bench.reason(), "paused");
    bench.after(3600);
    assert_eq!(asked(&bench.load(0)), NOTHING);
    assert_eq!(told(&bench.resume()), ["scaling is resumed"]);
    assert_eq!(told(&bench.resume()), NOTHING, "it was not paused");
    assert_eq!(
        asked(&bench.load(180)),
        ["create 3", "create 4", "create 5", "create 6"]
    );
}

#[test]
fn one_direction_is_paused_and_the_other_goes_on() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.pause(Pause::Up, None);
    assert_eq!(asked(&bench.load(180)), NOTHING);
    assert_eq!(bench.reason(), "paused");
    bench.after(600);
    assert_eq!(asked(&bench.load(1)), ["route! 1"]);

    let mut bench = MachineBench::serving(&[1, 2]);
    bench.after(600);
    bench.pause(Pause::Down, None);
    assert_eq!(asked(&bench.load(1)), NOTHING);
    assert_eq!(bench.reason(), "paused");
    assert_eq!(asked(&bench.load(90)), ["create 3"]);
}

#[test]
fn a_pause_that_has_run_out_is_said_once_and_over() {
    let mut bench = MachineBench::serving(&[1, 2]);
    let effects = bench.pause(Pause::Both, Some(60));
    assert_eq!(
        told(&effects),
        ["scaling is paused until 1970-01-01 02:47:40 UTC"]
    );
    let until = bench.now + Duration::from_secs(60);
    assert!(effects.contains(&Effect::WakeAt(until)));
    assert_eq!(told(&bench.after(59)), NOTHING);
    assert!(bench.machine.view(bench.now).paused.is_some());
    assert_eq!(
        told(&bench.after(1)),
        ["scaling is resumed: the pause is over"]
    );
    assert_eq!(told(&bench.after(1)), NOTHING);
    assert_eq!(bench.machine.view(bench.now).paused, None);
    assert_eq!(told(&bench.resume()), NOTHING);
}

#[test]
fn the_later_of_two_pauses_counts() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.pause(Pause::Both, Some(60));
    bench.pause(Pause::Down, None);
    bench.after(61);
    let paused = bench.machine.view(bench.now).paused.unwrap();
    assert_eq!((paused.directions, paused.until), (Pause::Down, None));
}

#[test]
fn a_pause_outlives_the_run_and_its_end_is_said_by_the_next_one() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.pause(Pause::Both, None);
    let mut next = bench.restarted(3600, &[1, 2]);
    assert_eq!(asked(&next.load(180)), NOTHING);
    assert_eq!(next.reason(), "paused");

    bench.pause(Pause::Both, Some(60));
    let written = bench.machine.memory();
    let mut next = MachineBench::blind(setup(), Some(written));
    next.now = bench.now + Duration::from_secs(61);
    assert_eq!(
        told(&next.after(0)),
        ["scaling is resumed: the pause is over"]
    );
    assert_eq!(told(&next.after(0)), NOTHING);
    assert_eq!(next.machine.memory().paused, None);
}

#[test]
fn what_a_former_program_remembered_of_a_service_is_read() {
    let memory: PersistedState = serde_json::from_str(r#"{"hold":null}"#).unwrap();
    assert_eq!(memory.paused, None);
    let mut view = serde_json::to_value(
        MachineBench::serving(&[1])
            .machine
            .view(Timestamp::from_unix(0)),
    )
    .unwrap();
    view.as_object_mut().unwrap().remove("paused");
    assert_eq!(
        serde_json::from_value::<ServiceView>(view).unwrap().paused,
        None
    );
}

#[test]
fn a_pause_lasts_as_long_as_it_did_when_the_clock_is_set() {
    for set_by in [3600, -3600] {
        let mut bench = MachineBench::serving(&[1, 2]);
        bench.pause(Pause::Both, Some(600));
        bench.after(60);
        let set_by = SignedDuration::from_secs(set_by);
        bench.now = bench.now.shifted(set_by);
        let effects = bench.hear(Event::ClockJumped { set_by });
        assert_eq!(told(&effects), NOTHING, "{set_by}");
        let until = bench.now + Duration::from_secs(540);
        assert!(effects.contains(&Effect::WakeAt(until)), "{set_by}");
        assert_eq!(told(&bench.after(539)), NOTHING);
        assert_eq!(
            told(&bench.after(1)),
            ["scaling is resumed: the pause is over"]
        );
    }
}

#[test]
fn a_dead_replica_is_replaced_while_scaling_is_paused() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.pause(Pause::Both, None);
    let died = Event::Died {
        id: id(2),
        exit_code: Some(1),
        asked: false,
    };
    assert_eq!(asked(&bench.hear(died)), ["route! 1"]);
    assert_eq!(asked(&bench.after(1)), ["start 2"]);
    assert_eq!(asked(&bench.hear(Event::Gone { id: id(2) })), ["create 2"]);
}

#[test]
fn by_hand_the_count_changes_all_the_same_and_the_pause_counts_after_the_hold() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.pause(Pause::Both, None);
    assert_eq!(asked(&bench.scale(3)), ["create 3"]);
    bench.made(3);
    bench.ready(3);
    bench.routed();
    bench.load(180);
    assert_eq!(bench.reason(), "held");
    bench.after(600);
    assert_eq!(asked(&bench.load(180)), NOTHING);
    assert_eq!(bench.reason(), "paused");
    assert!(bench.machine.is_at(3));
}

#[test]
fn what_load_had_asked_for_and_was_not_begun_is_called_off() {
    let mut bench = MachineBench::serving(&[1]);
    assert_eq!(asked(&bench.load(180)), ["create 2", "create 3"]);
    bench.made(2);
    bench.ready(2);
    bench.hear(Event::Made {
        number: 3,
        result: Err("no space left on device".into()),
    });
    bench.pause(Pause::Up, None);
    assert_eq!(bench.machine.desired(), Some(2));
    assert_eq!(asked(&bench.after(60)), NOTHING);
    // Not so what somebody has asked for by hand.
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    bench.hear(Event::Made {
        number: 2,
        result: Err("no space left on device".into()),
    });
    bench.pause(Pause::Both, None);
    assert_eq!(asked(&bench.after(60)), ["create 2"]);
}

#[test]
fn what_is_being_made_when_scaling_is_paused_is_finished() {
    let mut bench = MachineBench::serving(&[1]);
    assert_eq!(asked(&bench.load(90)), ["create 2"]);
    bench.pause(Pause::Both, None);
    bench.made(2);
    assert_eq!(asked(&bench.ready(2)), ["route! 1 2"]);
    bench.routed();
    assert!(bench.machine.is_at(2));
}
