use std::time::Duration;

use super::*;
use crate::{
    plan::tests::replica,
    policy::{Aim, Metric, Policy},
    units::{Bytes, Percent, SignedDuration, Span},
    usage::CounterReading,
};

/// A machine and a clock that only moves when told to.
struct MachineBench {
    machine: ServiceMachine,
    now: Timestamp,
    /// CPU that each replica has used, in nanoseconds, and until when that was counted.
    used: (u64, Timestamp),
}

fn policy() -> Policy {
    Policy {
        min: 1,
        max: 8,
        metrics: vec![Metric::Cpu(Aim::Target(Percent::new(60.0).unwrap()))],
        initialization_period: Span::seconds(0),
        ..Policy::default()
    }
}

fn setup() -> ServiceSetup {
    ServiceSetup {
        service: "web".into(),
        up: "docker compose up -d web".into(),
        policy: policy(),
        autoscaled: true,
        port: Some(80),
        routed: true,
        interval: Duration::from_secs(5),
        refusals: Vec::new(),
        unroutable: None,
    }
}

fn id(number: u32) -> ContainerId {
    replica(number).id
}

impl MachineBench {
    fn blind(setup: ServiceSetup, memory: Option<PersistedState>) -> Self {
        let now = Timestamp::from_unix(10_000);
        Self {
            machine: ServiceMachine::new(setup, memory, now),
            now,
            used: (0, now),
        }
    }

    /// A machine that serves these replicas and has nothing to do.
    fn serving(numbers: &[u32]) -> Self {
        let mut bench = Self::blind(setup(), None);
        bench.see(numbers);
        for number in numbers {
            bench.ready(*number);
        }
        bench.routed();
        assert!(bench.machine.is_settled());
        bench
    }

    /// The next run, which knows what this one has written down. It has seen its replicas, and they
    /// are ready.
    fn restarted(&self, seconds: u64, numbers: &[u32]) -> Self {
        let written = serde_json::to_string(&self.machine.memory()).unwrap();
        let now = self.now + Duration::from_secs(seconds);
        let memory = serde_json::from_str(&written).unwrap();
        let machine = ServiceMachine::new(self.machine.setup.clone(), Some(memory), now);
        let used = self.used;
        let mut next = Self { machine, now, used };
        next.see(numbers);
        for number in numbers {
            next.ready(*number);
        }
        next.routed();
        next
    }

    fn hear(&mut self, event: Event) -> Vec<Effect> {
        self.machine.handle(event, self.now)
    }

    fn after(&mut self, seconds: u64) -> Vec<Effect> {
        self.now = self.now + Duration::from_secs(seconds);
        self.hear(Event::Wake)
    }

    fn seen(&mut self, replicas: Vec<Replica>) -> Vec<Effect> {
        self.now = self.now + Duration::from_millis(1);
        let taken = self.now;
        self.hear(Event::Seen {
            replicas,
            needed: BTreeSet::new(),
            taken,
        })
    }

    fn see(&mut self, numbers: &[u32]) -> Vec<Effect> {
        self.seen(numbers.iter().map(|n| replica(*n)).collect())
    }

    fn ready(&mut self, number: u32) -> Vec<Effect> {
        self.hear(Event::Ready {
            id: id(number),
            started: replica(number).started,
        })
    }

    fn made(&mut self, number: u32) -> Vec<Effect> {
        self.hear(Event::Made {
            number,
            result: Ok(Box::new(replica(number))),
        })
    }

    fn routed(&mut self) -> Vec<Effect> {
        let seq = self.machine.routing.seq;
        self.hear(Event::Routed {
            seq,
            result: Ok(()),
        })
    }

    fn drained(&mut self) -> Vec<Effect> {
        let seq = self.machine.routing.seq;
        self.hear(Event::Drained { seq })
    }

    fn scale(&mut self, replicas: u32) -> Vec<Effect> {
        self.hear(Event::Scale {
            replicas,
            hold: Some(Duration::from_secs(600)),
            by: Initiator::Hand,
        })
    }

    /// Every replica has used this share of a core since the last reading, and then for five
    /// seconds more.
    fn load(&mut self, percent: u64) -> Vec<Effect> {
        let mut effects = self.sample(percent);
        effects.extend(self.sample(percent));
        effects
    }

    /// One reading, which alone shows no load.
    fn sample(&mut self, percent: u64) -> Vec<Effect> {
        self.now = self.now + Duration::from_secs(5);
        let (used, until) = self.used;
        let used = used + self.now.since(until).as_millis() as u64 * 10_000 * percent;
        self.used = (used, self.now);
        let readings = self
            .machine
            .running()
            .into_iter()
            .map(|r| {
                let reading = CounterReading {
                    at: self.now,
                    cpu_nanos: used,
                    periods: 0,
                    throttled: 0,
                    working_set: Bytes(1),
                };
                (r.id, reading)
            })
            .collect();
        self.hear(Event::sampled(readings))
    }
}

/// What was asked for, in short: `create 3`, `route 1 2`, `retire 3`, …
fn asked(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Create { number, .. } => Some(format!("create {number}")),
            Effect::Found { number } => Some(format!("found {number}")),
            Effect::Start { id } => Some(format!("start {}", number_of(id))),
            Effect::Probe { replica, .. } => Some(format!("probe {}", replica.number)),
            Effect::Route {
                servers, urgent, ..
            } => {
                let mut text = if *urgent {
                    "route!".to_owned()
                } else {
                    "route".to_owned()
                };
                for server in servers {
                    text.push(' ');
                    text.push_str(&server.number.to_string());
                }
                Some(text)
            }
            Effect::Retire { replica } => Some(format!("retire {}", replica.number)),
            Effect::CollectLogs { id, .. } => Some(format!("last words of {}", number_of(id))),
            Effect::WakeAt(_) | Effect::Note(_) | Effect::Decided { .. } => None,
        })
        .collect()
}

fn number_of(id: &ContainerId) -> u32 {
    id.0.parse().unwrap()
}

fn told(effects: &[Effect]) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Note(note) => Some(note.what.to_string()),
            _ => None,
        })
        .collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn what_is_found_is_looked_at_before_nginx_is_touched() {
    let mut bench = MachineBench::blind(setup(), None);
    assert_eq!(asked(&bench.see(&[1, 2])), ["probe 1", "probe 2"]);
    assert_eq!(asked(&bench.ready(1)), NOTHING);
    assert_eq!(
        asked(&bench.hear(Event::NotYet {
            id: id(2),
            why: "refused".into()
        })),
        ["route! 1"]
    );
    assert_eq!(asked(&bench.ready(2)), ["route! 1 2"]);
}

#[test]
fn a_replica_that_does_not_answer_holds_up_the_start_for_a_few_seconds_only() {
    let mut bench = MachineBench::blind(setup(), None);
    bench.see(&[1, 2]);
    bench.ready(1);
    assert_eq!(asked(&bench.after(3)), ["route! 1"]);
}

#[test]
fn load_above_target_makes_replicas_which_serve_once_they_are_ready() {
    let mut bench = MachineBench::serving(&[1]);
    let effects = bench.load(180);
    assert_eq!(asked(&effects), ["create 2", "create 3"]);
    assert!(
        told(&effects)[0].starts_with("scaling: cpu 180% of 60% target: 1 → 3"),
        "{effects:?}"
    );
    assert_eq!(asked(&bench.made(2)), ["probe 2"]);
    assert_eq!(asked(&bench.ready(2)), ["route 1 2"]);
    assert_eq!(asked(&bench.made(3)), ["probe 3"]);
    assert_eq!(asked(&bench.ready(3)), ["route! 1 2 3"]);
    let effects = bench.routed();
    assert!(
        told(&effects).iter().any(|t| t.starts_with("scaled 1 → 3")),
        "{effects:?}"
    );
    assert!(bench.machine.is_at(3));
}

#[test]
fn a_replica_leaves_nginx_is_drained_and_only_then_stopped() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    assert_eq!(asked(&bench.scale(1)), ["route! 1"]);
    assert_eq!(asked(&bench.after(1)), NOTHING);
    assert_eq!(asked(&bench.routed()), NOTHING);
    assert_eq!(asked(&bench.drained()), ["retire 2", "retire 3"]);
    assert!(!bench.machine.is_settled());
    for number in [2, 3] {
        bench.hear(Event::Retired {
            id: id(number),
            result: Ok(()),
        });
    }
    assert!(bench.machine.is_at(1));
}

#[test]
fn a_drain_ends_when_its_time_is_up_counted_from_the_reload() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.scale(1);
    assert_eq!(
        asked(&bench.after(100)),
        NOTHING,
        "nginx has not confirmed yet"
    );
    bench.routed();
    assert_eq!(asked(&bench.after(29)), NOTHING);
    let effects = bench.after(1);
    assert_eq!(asked(&effects), ["retire 2"]);
    assert!(told(&effects)[0].contains("still had requests in flight after 30s"));
}

#[test]
fn a_new_replica_gets_its_share_of_the_requests_in_steps_beside_those_that_are_there() {
    let mut setup = setup();
    setup.policy.slow_start = Span::seconds(9);
    let weights = |effects: &[Effect]| -> Option<Vec<u8>> {
        effects.iter().rev().find_map(|effect| match effect {
            Effect::Route { servers, .. } => Some(servers.iter().map(|one| one.weight).collect()),
            _ => None,
        })
    };
    let mut bench = MachineBench::blind(setup.clone(), None);
    bench.machine = bench.machine.ramping();
    bench.see(&[1]);
    assert_eq!(
        weights(&bench.ready(1)),
        Some(vec![10]),
        "nobody is beside it"
    );
    bench.routed();
    bench.scale(2);
    bench.made(2);
    assert_eq!(weights(&bench.ready(2)), Some(vec![10, 1]));
    assert_eq!(
        told(&bench.routed()),
        [
            "nginx sends requests to shop-web-1, shop-web-2",
            "scaled 1 → 2 in 0.0s"
        ]
    );
    for (after, expected) in [
        (2, None),
        (1, Some(4)),
        (3, Some(7)),
        (2, None),
        (1, Some(10)),
    ] {
        let effects = bench.after(after);
        assert_eq!(weights(&effects), expected.map(|weight| vec![10, weight]));
        if expected.is_some() {
            assert_eq!(told(&bench.routed()), NOTHING, "its weight is no news");
        }
    }
    // Who leaves while another one begins is still taken out at once.
    bench.scale(3);
    bench.made(3);
    bench.ready(3);
    bench.routed();
    assert_eq!(asked(&bench.scale(2)), ["route! 1 2"]);
    // A run that ends leaves nobody with less than the others.
    bench.scale(3);
    bench.made(4);
    bench.ready(4);
    bench.routed();
    assert_eq!(weights(&bench.hear(Event::Parting)), Some(vec![10, 10, 10]));

    // One that does not stay cannot give the rest later.
    let mut once = MachineBench::blind(setup, None);
    once.see(&[1]);
    once.ready(1);
    once.routed();
    once.scale(2);
    once.made(2);
    assert_eq!(weights(&once.ready(2)), Some(vec![10, 10]));
}

#[test]
fn a_replica_that_nginx_still_lists_is_never_stopped() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.scale(1);
    let seq = bench.machine.routing.seq;
    let effects = bench.hear(Event::Routed {
        seq,
        result: Err("nginx refuses its configuration".into()),
    });
    assert_eq!(told(&effects), ["nginx refuses its configuration"]);
    assert_eq!(asked(&bench.after(2)), ["route! 1"]);
    assert_eq!(asked(&bench.after(1000)), NOTHING);
    bench.routed();
    assert_eq!(asked(&bench.drained()), ["retire 2"]);
}

#[test]
fn a_replica_that_was_taken_out_is_stopped_although_nginx_refused_the_rest_of_the_change() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.scale(1);
    let seq = bench.machine.routing.seq;
    bench.hear(Event::TakenOut { seq });
    let effects = bench.hear(Event::Routed {
        seq,
        result: Err("nginx refuses its configuration".into()),
    });
    assert_eq!(told(&effects), ["nginx refuses its configuration"]);
    let view = bench.machine.view(bench.now);
    let listed: Vec<_> = view.replicas.iter().map(|r| r.in_nginx).collect();
    assert_eq!(listed, [true, false]);
    assert_eq!(asked(&bench.drained()), ["retire 2"]);
}

#[test]
fn what_never_becomes_ready_gets_no_traffic_and_goes_and_the_next_attempt_waits() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    bench.made(2);
    let effects = bench.hear(Event::GateFailed {
        id: id(2),
        why: "connection refused".into(),
        log: vec!["cannot open database".into()],
    });
    assert_eq!(asked(&effects), ["retire 2"]);
    assert_eq!(
        told(&effects),
        [
            "shop-web-2 failed: connection refused; next attempt in 10s; its last log lines:\n    cannot open database"
        ]
    );
    bench.hear(Event::Retired {
        id: id(2),
        result: Ok(()),
    });
    assert_eq!(asked(&bench.after(9)), NOTHING);
    assert_eq!(asked(&bench.after(1)), ["create 2"]);
    let effects = bench.hear(Event::Made {
        number: 2,
        result: Err("port is already allocated".into()),
    });
    assert!(
        told(&effects)[0].contains("next attempt in 20s"),
        "{effects:?}"
    );
}

#[test]
fn the_only_replica_is_never_given_up() {
    let mut bench = MachineBench::serving(&[1]);
    let effects = bench.hear(Event::Died {
        id: id(1),
        exit_code: Some(137),
        asked: false,
    });
    assert_eq!(asked(&effects), ["route!"]);
    assert_eq!(
        told(&effects),
        [
            "shop-web-1 died with exit code 137",
            "no replica can serve: every request fails"
        ]
    );
    assert_eq!(asked(&bench.after(1)), ["start 1"]);
    let effects = bench.hear(Event::Restarted {
        id: id(1),
        result: Err("no space left on device".into()),
    });
    assert_eq!(asked(&effects), NOTHING);
    assert_eq!(asked(&bench.after(10)), ["start 1"]);
}

#[test]
fn a_replica_that_dies_is_out_at_once_and_started_again() {
    let mut bench = MachineBench::serving(&[1, 2]);
    let effects = bench.hear(Event::Died {
        id: id(2),
        exit_code: Some(1),
        asked: false,
    });
    assert_eq!(asked(&effects), ["route! 1"]);
    assert_eq!(asked(&bench.after(1)), ["start 2"]);
    let mut again = replica(2);
    again.started = Some(bench.now);
    let started = again.started;
    let effects = bench.hear(Event::Restarted {
        id: id(2),
        result: Ok(Box::new(again)),
    });
    assert_eq!(asked(&effects), ["probe 2"]);
    let effects = bench.hear(Event::Ready { id: id(2), started });
    assert_eq!(asked(&effects), ["route! 1 2"]);
}

#[test]
fn a_replica_that_its_restart_policy_brings_back_is_not_started_twice() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.hear(Event::Died {
        id: id(2),
        exit_code: Some(1),
        asked: false,
    });
    let mut again = replica(2);
    again.started = Some(bench.now);
    again.addresses = [("shop_default".into(), "172.18.0.77".parse().unwrap())].into();
    let taken = bench.now + Duration::from_millis(1);
    let effects = bench.hear(Event::Observed {
        replica: Box::new(again.clone()),
        taken,
    });
    assert_eq!(asked(&effects), ["probe 2"]);
    assert_eq!(asked(&bench.after(1)), NOTHING);
    let effects = bench.hear(Event::Ready {
        id: id(2),
        started: again.started,
    });
    let Some(Effect::Route { servers, .. }) =
        effects.iter().find(|e| matches!(e, Effect::Route { .. }))
    else {
        panic!("{effects:?}");
    };
    assert_eq!(servers[1].addresses, again.addresses);
}

#[test]
fn an_unhealthy_replica_gets_no_traffic_and_stays() {
    let mut bench = MachineBench::serving(&[1, 2]);
    let effects = bench.hear(Event::Unhealthy { id: id(2) });
    assert_eq!(asked(&effects), ["probe 2", "route! 1"]);
    assert_eq!(
        told(&effects),
        ["shop-web-2 became unhealthy; it gets no requests"]
    );
    assert_eq!(asked(&bench.after(600)), NOTHING);
    assert_eq!(asked(&bench.ready(2)), ["route! 1 2"]);
}

#[test]
fn while_compose_is_at_work_nothing_is_made_and_afterwards_the_count_is_restored() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    bench.hear(Event::Busy);
    bench.hear(Event::Gone { id: id(3) });
    let effects = bench.hear(Event::Gone { id: id(2) });
    assert_eq!(asked(&effects), ["route! 1"]);
    assert_eq!(asked(&bench.after(2)), NOTHING);
    assert_eq!(asked(&bench.after(1)), ["create 2", "create 3"]);
    assert_eq!(bench.machine.cut_back(), Some((1, 3)));
    assert_eq!(bench.machine.cut_back(), None, "it is said once");
}

#[test]
fn work_of_others_that_never_ends_holds_repair_up_for_two_minutes_only() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.hear(Event::Busy);
    bench.hear(Event::Gone { id: id(2) });
    let mut waited = 0;
    // A job comes and goes every two seconds, for ten minutes.
    for second in 1..600 {
        let mut effects = bench.after(1);
        if second % 2 == 0 {
            effects.extend(bench.hear(Event::Busy));
        }
        if asked(&effects).iter().any(|effect| effect == "create 2") {
            waited = second;
            break;
        }
    }
    assert!((120..=124).contains(&waited), "{waited}");
    bench.made(2);
    bench.ready(2);
    bench.routed();
    // Lost again in the same unquiet: nothing is waited for.
    bench.hear(Event::Busy);
    let mut effects = bench.hear(Event::Gone { id: id(2) });
    effects.extend(bench.after(1));
    assert!(
        asked(&effects)
            .iter()
            .any(|effect| effect.starts_with("create")),
        "{:?}",
        asked(&effects)
    );
    // After a quiet moment the work of others is waited for as ever.
    bench.after(4);
    bench.hear(Event::Busy);
    bench.hear(Event::Gone { id: id(1) });
    assert_eq!(asked(&bench.after(2)), NOTHING);
}

#[test]
fn a_count_that_is_raised_is_not_taken_for_one_that_was_cut_back() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(3);
    assert_eq!(bench.machine.cut_back(), None);
}

#[test]
fn more_replicas_by_compose_are_taken_over() {
    let mut bench = MachineBench::serving(&[1]);
    bench.hear(Event::Busy);
    bench.see(&[1, 2, 3]);
    for number in [2, 3] {
        bench.ready(number);
    }
    let effects = bench.after(3);
    assert_eq!(told(&effects), ["scaling 1 → 3, as compose left it"]);
    assert_eq!(asked(&effects), NOTHING);
    assert_eq!(bench.machine.desired(), Some(3));
}

#[test]
fn a_hold_that_has_ended_is_no_hold_when_compose_changes_the_count() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(1);
    bench.now = bench.now + Duration::from_secs(700);
    bench.hear(Event::Busy);
    bench.see(&[1, 2]);
    bench.ready(2);
    assert_eq!(told(&bench.after(3)), ["scaling 1 → 2, as compose left it"]);
}

#[test]
fn what_nginx_has_is_what_it_confirmed() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    bench.made(2);
    bench.ready(2);
    let seq = bench.machine.routing.seq;
    bench.hear(Event::Routed {
        seq,
        result: Err("nginx refuses its configuration".into()),
    });
    let view = bench.machine.view(bench.now);
    let listed: Vec<_> = view.replicas.iter().map(|r| r.in_nginx).collect();
    assert_eq!(listed, [true, false]);
    assert!(bench.machine.trouble(bench.now, true).is_some());
}

#[test]
fn a_service_that_was_stopped_on_purpose_stays_stopped() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.hear(Event::Busy);
    for number in [1, 2] {
        bench.hear(Event::Died {
            id: id(number),
            exit_code: Some(0),
            asked: false,
        });
        bench.hear(Event::Stopped { id: id(number) });
    }
    let effects = bench.after(60);
    assert_eq!(asked(&effects), NOTHING);
    assert_eq!(
        told(&effects),
        ["no replica of web is running; run `docker compose up -d web`"]
    );
    assert!(bench.load(100).is_empty());
    // … until somebody starts it.
    bench.hear(Event::Busy);
    let mut again = [replica(1), replica(2)];
    for replica in &mut again {
        replica.started = Some(bench.now);
    }
    let started = again[0].started;
    bench.seen(again.into());
    for number in [1, 2] {
        bench.hear(Event::Ready {
            id: id(number),
            started,
        });
    }
    bench.after(3);
    assert_eq!(bench.machine.desired(), Some(2));
    assert!(bench.machine.idle_reason().is_none());
}

#[test]
fn while_the_engine_is_away_nothing_is_done_and_the_count_stands_when_it_is_back() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    assert_eq!(asked(&bench.hear(Event::EngineLost)), NOTHING);
    assert_eq!(asked(&bench.after(600)), NOTHING);
    assert!(
        bench
            .load(300)
            .iter()
            .all(|e| matches!(e, Effect::WakeAt(_)))
    );
    // Two came back by their restart policy, the third is still down.
    let mut third = replica(3);
    third.state = ContainerState::Exited;
    let effects = bench.seen(vec![replica(1), replica(2), third]);
    assert_eq!(asked(&effects), ["probe 1", "probe 2"]);
    bench.ready(1);
    let effects = bench.ready(2);
    assert_eq!(asked(&effects), ["route! 1 2"]);
    assert_eq!(asked(&bench.after(1)), ["start 3"]);
}

#[test]
fn an_engine_that_comes_back_with_everything_stopped_is_left_alone() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.hear(Event::EngineLost);
    let stopped = [1, 2].map(|n| {
        let mut r = replica(n);
        r.state = ContainerState::Exited;
        r
    });
    bench.seen(stopped.into());
    assert_eq!(asked(&bench.after(600)), NOTHING);
}

#[test]
fn a_drain_goes_on_after_a_restart_of_the_tool() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.scale(1);
    let memory = bench.machine.memory();
    let mut next = MachineBench::blind(setup(), Some(memory));
    assert_eq!(asked(&next.see(&[1, 2])), ["probe 1"]);
    assert_eq!(asked(&next.ready(1)), ["route! 1"]);
    next.routed();
    assert_eq!(asked(&next.drained()), ["retire 2"]);
}

#[test]
fn a_scale_up_that_was_interrupted_is_finished() {
    let mut bench = MachineBench::blind(setup(), None);
    let mut made = replica(2);
    made.state = ContainerState::Created;
    made.started = None;
    bench.seen(vec![replica(1), made]);
    let effects = bench.ready(1);
    assert_eq!(asked(&effects), ["start 2", "route! 1"]);
    assert_eq!(bench.machine.desired(), Some(2));
}

#[test]
fn a_leaving_replica_stays_when_it_is_wanted_again() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    bench.scale(1);
    bench.routed();
    let effects = bench.scale(3);
    assert_eq!(asked(&effects), ["route! 1 2 3"]);
    bench.routed();
    assert_eq!(asked(&bench.drained()), NOTHING);
    assert!(bench.machine.is_at(3));
}

#[test]
fn the_last_replica_that_serves_is_not_taken_away() {
    let mut bench = MachineBench::serving(&[1]);
    bench.hear(Event::Busy);
    // A newer configuration that is not ready yet makes the one that serves obsolete.
    let mut newer = replica(2);
    newer.config_hash = "h2".into();
    bench.seen(vec![replica(1), newer]);
    bench.after(3);
    assert_eq!(asked(&bench.scale(1)), NOTHING);
    let effects = bench.ready(2);
    assert_eq!(asked(&effects), ["route! 2"]);
}

#[test]
fn what_cannot_have_a_second_replica_is_refused_before_anything_is_touched() {
    let mut setup = setup();
    setup.refusals.push(plan::Blocker {
        kind: plan::blockers::BlockerKind::ContainerName,
        service: "web".into(),
        what: "host port 8080:80 can be bound by one replica only".into(),
        fix: "publish it on nginx".into(),
    });
    let mut bench = MachineBench::blind(setup, None);
    bench.see(&[1]);
    bench.ready(1);
    let effects = bench.scale(2);
    assert_eq!(asked(&effects), NOTHING);
    assert!(
        told(&effects)
            .iter()
            .any(|t| t.contains("host port 8080:80")),
        "{effects:?}"
    );
    assert_eq!(bench.machine.desired(), Some(1));
}

#[test]
fn a_count_held_by_hand_is_not_changed_by_load_until_the_hold_ends() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.scale(2);
    assert_eq!(asked(&bench.load(180)), NOTHING);
    assert_eq!(
        bench.machine.view(bench.now).hold.map(|h| h.replicas),
        Some(2)
    );
    bench.after(600);
    assert_eq!(
        asked(&bench.load(180)),
        ["create 3", "create 4", "create 5", "create 6"]
    );
}

#[test]
fn an_older_listing_does_not_undo_what_is_known_from_later() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    let taken = bench.now;
    bench.now = bench.now + Duration::from_secs(1);
    bench.made(2);
    bench.hear(Event::Seen {
        replicas: vec![replica(1)],
        needed: BTreeSet::new(),
        taken,
    });
    assert!(bench.machine.knows(&id(2)));
}

#[test]
fn a_service_without_nginx_is_stopped_without_a_drain() {
    let mut bench = MachineBench::blind(
        ServiceSetup {
            routed: false,
            ..setup()
        },
        None,
    );
    bench.see(&[1, 2]);
    bench.ready(1);
    bench.ready(2);
    assert_eq!(asked(&bench.scale(1)), ["retire 2"]);
}

#[test]
fn a_replica_that_somebody_else_ends_while_it_comes_up_is_no_failure() {
    let begun = || {
        let mut bench = MachineBench::serving(&[1]);
        bench.scale(2);
        bench.made(2);
        bench
    };
    let died = |asked: bool| Event::Died {
        id: id(2),
        exit_code: Some(143),
        asked,
    };
    let late = || Event::GateFailed {
        id: id(2),
        why: "it exited before it was ready".into(),
        log: vec![],
    };
    // In whatever order the Engine tells it, stopped or removed.
    let stopped = || Event::Stopped { id: id(2) };
    let gone = || Event::Gone { id: id(2) };
    for events in [
        vec![died(true), stopped()],
        vec![stopped(), died(true)],
        vec![died(true), stopped(), gone()],
        vec![died(true), gone()],
        vec![gone()],
    ] {
        let mut bench = begun();
        let mut effects = Vec::new();
        for event in events {
            effects.extend(bench.hear(event));
        }
        effects.extend(bench.hear(late()));
        let text = format!("{effects:?}");
        assert!(
            !text.contains("Failed") && !text.contains("LastWords"),
            "{text}"
        );
        assert_eq!(bench.machine.backoff.retry_at, None, "{text}");
    }
    let mut bench = begun();
    assert_eq!(asked(&bench.hear(died(false))), ["last words of 2"]);
    bench.hear(late());
    assert!(
        bench.machine.backoff.retry_at.is_some(),
        "of itself it is one"
    );
}

#[test]
fn a_failed_removal_is_tried_again() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.scale(1);
    bench.routed();
    bench.drained();
    bench.hear(Event::Retired {
        id: id(2),
        result: Err("device busy".into()),
    });
    assert_eq!(asked(&bench.after(1)), NOTHING);
    assert_eq!(asked(&bench.after(1)), ["retire 2"]);
}

#[test]
fn what_nginx_has_stays_while_nothing_that_was_found_passes_its_gate() {
    let mut bench = MachineBench::blind(setup(), None);
    bench.see(&[1, 2]);
    for number in [1, 2] {
        bench.hear(Event::NotYet {
            id: id(number),
            why: "GET /nothere answered 404".into(),
        });
    }
    assert_eq!(asked(&bench.after(60)), NOTHING);
    let trouble = bench.machine.trouble(bench.now, true).unwrap();
    assert!(trouble.contains("GET /nothere answered 404"), "{trouble}");
    assert_eq!(asked(&bench.ready(1)), ["route! 1"]);
    // From then on nginx follows what is seen.
    let effects = bench.hear(Event::Unhealthy { id: id(1) });
    assert_eq!(asked(&effects), ["probe 1", "route!"]);
}

#[test]
fn another_port_gets_traffic_once_a_replica_answers_there() {
    let mut bench = MachineBench::serving(&[1, 2]);
    let other = ServiceSetup {
        port: Some(8081),
        ..setup()
    };
    let effects = bench.hear(Event::Setup(Box::new(other)));
    assert_eq!(asked(&effects), ["probe 1", "probe 2"]);
    assert_eq!(asked(&bench.after(60)), NOTHING);
    assert_eq!(asked(&bench.ready(2)), ["route! 2"]);
}

#[test]
fn replicas_that_are_started_one_after_the_other_are_all_kept() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    for number in [1, 2, 3] {
        bench.hear(Event::Stopped { id: id(number) });
    }
    bench.after(60);
    assert!(bench.machine.idle_reason().is_some());
    let mut first = replica(1);
    first.started = Some(bench.now);
    let mut others = [replica(2), replica(3)];
    for other in &mut others {
        other.state = ContainerState::Exited;
    }
    let [second, third] = others;
    let effects = bench.seen(vec![first, second, third]);
    assert!(
        !asked(&effects).iter().any(|a| a.starts_with("retire")),
        "{effects:?}"
    );
    assert_eq!(bench.machine.desired(), Some(3));
}

/// The only replica, which a look finds to have ended before any event tells of it.
fn ended_unseen(bench: &mut MachineBench) -> Vec<Effect> {
    let mut ended = replica(1);
    ended.state = ContainerState::Exited;
    bench.now = bench.now + Duration::from_secs(1);
    bench.seen(vec![ended])
}

#[test]
fn a_last_replica_that_a_look_finds_ended_is_made_good_when_the_event_says_that_it_was_lost() {
    let mut bench = MachineBench::serving(&[1]);
    assert!(
        !told(&ended_unseen(&mut bench))
            .concat()
            .contains("is running")
    );
    let died = Event::Died {
        id: id(1),
        exit_code: Some(137),
        asked: false,
    };
    assert!(
        told(&bench.hear(died))
            .concat()
            .contains("died with exit code 137")
    );
    let effects = bench.hear(Event::Gone { id: id(1) });
    assert!(bench.machine.idle_reason().is_none());
    assert_eq!(asked(&effects), ["found 1"]);
}

#[test]
fn a_last_replica_that_a_look_finds_ended_is_left_alone_when_it_was_stopped_or_nobody_says() {
    let mut bench = MachineBench::serving(&[1]);
    ended_unseen(&mut bench);
    let died = Event::Died {
        id: id(1),
        exit_code: Some(0),
        asked: true,
    };
    assert_eq!(asked(&bench.hear(died)), NOTHING);
    let effects = bench.hear(Event::Stopped { id: id(1) });
    let said = told(&effects).concat();
    assert!(said.contains("no replica of web is running"), "{said}");
    assert_eq!(asked(&bench.after(60)), NOTHING);

    let mut bench = MachineBench::serving(&[1]);
    ended_unseen(&mut bench);
    assert_eq!(asked(&bench.after(1)), NOTHING);
    assert!(bench.machine.idle_reason().is_none());
    assert!(
        told(&bench.after(1))
            .concat()
            .contains("no replica of web is running")
    );
}

#[test]
fn a_replica_that_dies_right_after_it_was_ready_is_started_again_more_and_more_slowly() {
    let mut bench = MachineBench::serving(&[1]);
    bench.scale(2);
    bench.made(2);
    bench.ready(2);
    let died = Event::Died {
        id: id(2),
        exit_code: Some(1),
        asked: false,
    };
    bench.hear(died);
    assert_eq!(asked(&bench.after(9)), NOTHING);
    assert_eq!(asked(&bench.after(1)), ["start 2"]);
}

#[test]
fn asked_for_by_hand_stopped_replicas_are_started_and_the_rest_made_like_them() {
    let mut bench = MachineBench::blind(setup(), None);
    let mut stopped = replica(1);
    stopped.state = ContainerState::Exited;
    bench.seen(vec![stopped]);
    assert!(bench.machine.idle_reason().is_some());
    bench.now = bench.now + Duration::from_secs(1);
    assert_eq!(asked(&bench.scale(2)), ["start 1", "create 2"]);
}

#[test]
fn a_name_that_somebody_else_has_is_passed_over() {
    let mut bench = MachineBench::serving(&[1]);
    assert_eq!(asked(&bench.scale(2)), ["create 2"]);
    bench.hear(Event::NameTaken { number: 2 });
    assert_eq!(asked(&bench.after(3)), ["create 3"]);
}

#[test]
fn a_published_port_range_is_filled_one_at_a_time() {
    let mut bench = MachineBench::blind(setup(), None);
    let mut ranged = replica(1);
    ranged.fixed.port_ranges = vec!["8000-8010:80".into()];
    bench.seen(vec![ranged]);
    bench.ready(1);
    let effects = bench.scale(2);
    assert!(
        effects
            .iter()
            .any(|e| matches!(e, Effect::Create { alone: true, .. })),
        "{effects:?}"
    );
}

mod bootstrap;
mod left_alone;
mod memory_demand;
mod pause;
mod recreate;
mod restart;
mod skip_reason;
mod unroutable;
mod unrouted;
mod withdraw;

mod never {
    use proptest::prelude::*;

    use super::*;

    /// What may happen to a machine in any order.
    #[derive(Debug, Clone)]
    enum TestEvent {
        See(Vec<u32>),
        Ready(u32),
        Made(u32, bool),
        Died(u32),
        Unhealthy(u32),
        GateFailed(u32),
        Routed(bool),
        Drained,
        Retired(u32, bool),
        Scale(u32),
        Load(u64),
        Busy,
        EngineLost,
        Wait(u64),
    }

    fn happening() -> impl Strategy<Value = TestEvent> {
        let number = 1u32..6;
        prop_oneof![
            prop::collection::btree_set(1u32..6, 0..5)
                .prop_map(|set| TestEvent::See(set.into_iter().collect())),
            number.clone().prop_map(TestEvent::Ready),
            (number.clone(), any::<bool>()).prop_map(|(n, ok)| TestEvent::Made(n, ok)),
            number.clone().prop_map(TestEvent::Died),
            number.clone().prop_map(TestEvent::Unhealthy),
            number.clone().prop_map(TestEvent::GateFailed),
            any::<bool>().prop_map(TestEvent::Routed),
            Just(TestEvent::Drained),
            (number, any::<bool>()).prop_map(|(n, ok)| TestEvent::Retired(n, ok)),
            (1u32..7).prop_map(TestEvent::Scale),
            (0u64..300).prop_map(TestEvent::Load),
            Just(TestEvent::Busy),
            Just(TestEvent::EngineLost),
            (1u64..40).prop_map(TestEvent::Wait),
        ]
    }

    proptest! {
        /// The router is told of nobody who is not ready, nobody is stopped whom it still lists or
        /// may still send to, and no two replicas of one number are made.
        #[test]
        fn an_unready_replica_gets_traffic_and_a_listed_one_is_stopped(
            happenings in prop::collection::vec(happening(), 1..60)
        ) {
            let mut bench = MachineBench::blind(setup(), None);
            let mut listed: BTreeSet<ContainerId> = BTreeSet::new();
            for happening in happenings {
                let seq = bench.machine.routing.seq;
                let effects = match happening {
                    TestEvent::See(numbers) => bench.see(&numbers),
                    TestEvent::Ready(n) => bench.ready(n),
                    TestEvent::Made(n, true) => bench.made(n),
                    TestEvent::Made(number, false) => bench.hear(Event::Made {
                        number,
                        result: Err("no".into()),
                    }),
                    TestEvent::Died(n) => bench.hear(Event::Died { id: id(n), exit_code: None, asked: false }),
                    TestEvent::Unhealthy(n) => bench.hear(Event::Unhealthy { id: id(n) }),
                    TestEvent::GateFailed(n) => bench.hear(Event::GateFailed {
                        id: id(n),
                        why: "no".into(),
                        log: vec![],
                    }),
                    TestEvent::Routed(ok) => bench.hear(Event::Routed {
                        seq,
                        result: if ok { Ok(()) } else { Err("no".into()) },
                    }),
                    TestEvent::Drained => bench.hear(Event::Drained { seq }),
                    TestEvent::Retired(n, ok) => bench.hear(Event::Retired {
                        id: id(n),
                        result: if ok { Ok(()) } else { Err("no".into()) },
                    }),
                    TestEvent::Scale(n) if bench.machine.desired().is_some() => bench.scale(n),
                    TestEvent::Scale(_) => vec![],
                    TestEvent::Load(percent) => bench.load(percent),
                    TestEvent::Busy => bench.hear(Event::Busy),
                    TestEvent::EngineLost => {
                        listed.clear();
                        bench.hear(Event::EngineLost)
                    }
                    TestEvent::Wait(seconds) => bench.after(seconds),
                };
                let mut numbers = BTreeSet::new();
                for effect in &effects {
                    match effect {
                        Effect::Route { servers, .. } => {
                            for server in servers {
                                let member = &bench.machine.members[&server.id];
                                prop_assert!(member.serves(), "{} is listed", server.name);
                            }
                            listed = servers.iter().map(|s| s.id.clone()).collect();
                        }
                        Effect::Create { number, .. } => {
                            prop_assert!(numbers.insert(*number), "two of number {number}");
                        }
                        _ => {}
                    }
                }
                for effect in &effects {
                    if let Effect::Retire { replica } = effect {
                        prop_assert!(!listed.contains(&replica.id), "{} is stopped", replica.name);
                    }
                }
            }
        }
    }
}

/// A replica that dies before it is ready, and what is said of it.
fn attempt(bench: &mut MachineBench, number: u32, why: &str) -> Vec<ScalingEvent> {
    assert_eq!(asked(&bench.made(number)), [format!("probe {number}")]);
    let died = Event::Died {
        id: id(number),
        exit_code: Some(1),
        asked: false,
    };
    let effects = bench.hear(died);
    assert_eq!(asked(&effects), [format!("last words of {number}")]);
    let effects = bench.hear(Event::GateFailed {
        id: id(number),
        why: why.into(),
        log: vec!["no such table".into()],
    });
    bench.hear(Event::Retired {
        id: id(number),
        result: Ok(()),
    });
    let notes = effects.into_iter().filter_map(|effect| match effect {
        Effect::Note(note) => Some(note),
        _ => None,
    });
    notes.collect()
}

/// What a person sees of it.
fn said(notes: &[ScalingEvent]) -> Vec<String> {
    let loud = notes.iter().filter(|n| n.what.level() != EventLevel::Debug);
    loud.map(|note| note.what.to_string()).collect()
}

#[test]
fn a_replica_that_dies_at_once_every_time_is_said_once_and_tried_one_at_a_time() {
    const WHY: &str = "it exited with code 1 before it was ready";
    let mut bench = MachineBench::serving(&[1]);
    assert_eq!(asked(&bench.scale(3)), ["create 2", "create 3"]);
    let notes = attempt(&mut bench, 2, WHY);
    assert_eq!(
        said(&notes),
        [
            "shop-web-2 failed: it exited with code 1 before it was ready; next attempt in 10s; its last log lines:\n    no such table"
        ]
    );
    // The second one of the same attempt is no news.
    assert_eq!(said(&attempt(&mut bench, 3, WHY)), NOTHING);
    assert_eq!(asked(&bench.after(9)), NOTHING);
    assert_eq!(asked(&bench.after(1)), ["create 2", "create 3"]);
    assert_eq!(
        said(&attempt(&mut bench, 2, WHY)),
        [
            "2 attempts in a row failed: further attempts follow one at a time, up to 300s apart, and are logged only when one succeeds or fails in another way"
        ]
    );
    assert_eq!(said(&attempt(&mut bench, 3, WHY)), NOTHING);
    for wait in [20, 40, 80, 160, 300, 300] {
        assert_eq!(asked(&bench.after(wait - 1)), NOTHING);
        assert_eq!(asked(&bench.after(1)), ["create 2"], "one, after {wait}s");
        assert_eq!(said(&attempt(&mut bench, 2, WHY)), NOTHING);
    }
    // Another reason is news again.
    bench.after(300);
    assert_eq!(
        said(&attempt(&mut bench, 2, "its healthcheck fails")),
        [
            "shop-web-2 failed: its healthcheck fails; next attempt in 300s; its last log lines:\n    no such table"
        ]
    );
    // One comes up, and the rest follows at once.
    assert_eq!(asked(&bench.after(300)), ["create 2"]);
    bench.made(2);
    let effects = bench.ready(2);
    assert_eq!(asked(&effects), ["create 3", "route 1 2"]);
    assert!(
        told(&effects).contains(&"replicas start again, after 9 failed attempts".to_owned()),
        "{effects:?}"
    );
}

#[test]
fn after_the_clock_was_set_windows_and_holds_last_as_long_as_they_did() {
    for set_by in [3600, -3600] {
        let mut bench = MachineBench::serving(&[1, 2]);
        bench.load(30);
        bench.scale(2);
        bench.after(60);
        bench.now = bench.now.shifted(SignedDuration::from_secs(set_by));
        let set_by = SignedDuration::from_secs(set_by);
        assert_eq!(asked(&bench.hear(Event::ClockJumped { set_by })), NOTHING);
        // As after an outage: looked at again, nothing made, nothing removed, no route without it.
        assert_eq!(asked(&bench.see(&[1, 2])), ["probe 1", "probe 2"]);
        assert_eq!(asked(&bench.ready(1)), NOTHING);
        bench.ready(2);
        bench.routed();
        assert!(bench.machine.is_at(2), "{set_by}");
        // Ten minutes of hold, one of which was over.
        let held = |bench: &MachineBench| bench.machine.view(bench.now).hold.is_some();
        bench.after(525);
        bench.load(30);
        assert_eq!(bench.machine.desired(), Some(2), "{set_by}");
        bench.after(5);
        bench.load(30);
        assert!(!held(&bench), "{set_by}");
    }
}

#[test]
fn a_replica_that_was_started_by_a_clock_that_was_ahead_is_not_young_for_ever() {
    let mut setup = setup();
    setup.policy.initialization_period = Span::seconds(30);
    let mut bench = MachineBench::blind(setup, None);
    let mut early = replica(1);
    early.started = Some(bench.now + Duration::from_secs(3600));
    let started = early.started;
    bench.seen(vec![early]);
    bench.hear(Event::Ready { id: id(1), started });
    bench.routed();
    assert_eq!(asked(&bench.load(180)), ["create 2", "create 3"]);
}

#[test]
fn values_of_sources_reach_the_decision_and_without_one_nothing_is_removed() {
    let custom = |name: &str, target| {
        Metric::Custom(crate::policy::CustomMetric {
            name: name.into(),
            source: None,
            target,
            fallback: None,
            failures: 3,
        })
    };
    let mut bench = MachineBench::serving(&[1, 2]);
    let mut setup = setup();
    setup.policy.metrics = vec![
        custom("jobs", crate::policy::CustomTarget::Average(10.0)),
        custom("busy", crate::policy::CustomTarget::PerReplica(5.0)),
    ];
    bench.hear(Event::Setup(Box::new(setup)));
    let busy = [(id(1), Ok(1.0)), (id(2), Err("refused".to_owned()))];
    let mut sample = |jobs: Result<f64, String>| {
        let values = Values {
            service: [("jobs".to_owned(), jobs)].into(),
            replicas: [("busy".to_owned(), busy.clone().into())].into(),
            ..Values::default()
        };
        let readings = BTreeMap::new();
        bench.hear(Event::Sampled { readings, values });
        let (_, decision) = bench.machine.decisions.last.clone().unwrap();
        (decision.message, bench.machine.input(bench.now))
    };
    let (message, input) = sample(Err("no data".into()));
    assert!(message.ends_with("staying at 2"), "{message}");
    assert_eq!(input.unread["jobs"].why, "no data");
    assert!(input.service_metrics.is_empty());
    let (message, input) = sample(Ok(35.0));
    assert_eq!(message, "jobs 17.5 per replica of 10 target: 2 → 4");
    assert_eq!(input.replicas[0].metrics, [("busy".to_owned(), 1.0)].into());
    assert!(input.replicas[1].metrics.is_empty());
    assert!(input.unread.is_empty());
}
