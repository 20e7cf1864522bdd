//! `--record`: whatever happens to a service, each decision is recorded, and `explain` takes the same
//! decisions again.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    time::Duration,
};

use assert_cmd::Command;
use compose_scale::{
    policy,
    project::{ContainerId, ContainerState, Fixed, Health, Limits, Replica},
    reconcile::{Effect, Event, Initiator, Pause, ServiceMachine, ServiceSetup, Values},
    state::Recording,
    units::{Bytes, SignedDuration, Timestamp},
    usage::CounterReading,
};
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};
use serde_json::json;

/// What happens to a service, one thing after the other.
#[derive(Debug, Clone)]
enum Happening {
    /// Readings after so many milliseconds: percent of a core and bytes, of those that answer.
    Load(u64, Vec<Option<(u32, u64)>>),
    /// Little load on all of them, several times.
    Quiet(u64, u32, usize),
    Scale(u32, u64),
    Pause(Pause, Option<u64>),
    Resume,
    Died(u32),
    ClockSet(i64),
    Restart(u64),
    /// Replicas fail to be made from here, or no longer.
    Broken(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let pause = prop::sample::select(vec![Pause::Both, Pause::Up, Pause::Down]);
    let reading = prop::option::weighted(0.9, (0..300_u32, 1..200_000_000_u64));
    let load = |load| (1..9000_u64, prop::collection::vec(load, 12));
    let even = (0..250_u32, 1..99_000_000_u64).prop_map(|one| vec![Some(one); 12]);
    let quiet = (4900..5100_u64, 0..30_u32, 4..12_usize);
    prop_oneof![
        20 => load(reading).prop_map(|(after, load)| Happening::Load(after, load)),
        20 => (4900..5100_u64, even).prop_map(|(after, load)| Happening::Load(after, load)),
        5 => quiet.prop_map(|(after, load, times)| Happening::Quiet(after, load, times)),
        1 => (1..9_u32, 1..60_u64).prop_map(|(count, hold)| Happening::Scale(count, hold)),
        1 => (pause, prop::option::of(1..60_u64)).prop_map(|(way, span)| Happening::Pause(way, span)),
        1 => Just(Happening::Resume),
        2 => (1..9_u32).prop_map(Happening::Died),
        1 => (-4000..4000_i64).prop_map(Happening::ClockSet),
        1 => (0..400_u64).prop_map(Happening::Restart),
        1 => prop::bool::weighted(0.3).prop_map(Happening::Broken),
    ]
}

fn policies() -> Vec<serde_json::Value> {
    vec![
        json!({"max": 8, "metrics": [{"cpu": "60%"}], "initialization_period": "7ms"}),
        json!({"min": 2, "max": 5, "metrics": [{"cpu": "33.333333333333336%"}, {"memory": "70.1%"}],
               "tolerance": {"up": 0.1, "down": 0.300_000_000_000_000_04},
               "behavior": {"scale_down": {"stabilization_window": "20s",
                                           "policies": [{"percent": 33.3, "per": "11s"}]},
                            "scale_up": {"stabilization_window": "3s250ms",
                                         "policies": [{"replicas": 1, "per": "6s"}]}}}),
        json!({"max": 6, "metrics": [{"cpu": {"above": "81.7%", "below": "20%", "step": 2}}],
               "behavior": {"scale_up": {"select": "disabled"}}}),
        json!({"max": 9, "metrics": [{"cpu": "50%"},
               {"custom": {"name": "jobs", "average_target": 123.4, "failures": 1,
                           "fallback": {"replicas": 7}}}],
               "behavior": {"scale_up": {"burst": {"window": "6s", "threshold": "150%"}}}}),
        json!({"max": 3, "metrics": []}),
    ]
}

fn replica(number: u32, started: Timestamp) -> Replica {
    Replica {
        id: ContainerId(format!("{number:064x}")),
        name: format!("shop-web-{number}"),
        service: "web".into(),
        number,
        state: ContainerState::Running,
        health: Health::None,
        created: started,
        started: Some(started),
        addresses: BTreeMap::new(),
        published: BTreeMap::new(),
        config_hash: "h".into(),
        image: "web".into(),
        image_id: "sha256:1".into(),
        limits: Limits {
            cpus: Some(0.7),
            memory: Some(Bytes(123_456_789)),
        },
        pid: 1,
        cgroup_parent: String::new(),
        refers_to: Vec::new(),
        oom_killed: false,
        restart_count: 0,
        exit_code: None,
        fixed: Fixed::default(),
        stop_timeout: None,
        mounts: Vec::new(),
        labels: BTreeMap::new(),
    }
}

/// A machine in a world that does what it asks for, and keeps what it decides.
struct World {
    machine: ServiceMachine,
    now: Timestamp,
    /// CPU time that each has used, in nanoseconds.
    used: BTreeMap<ContainerId, u64>,
    broken: bool,
    recording: Recording,
    taken: Vec<String>,
    reasons: BTreeSet<&'static str>,
}

impl World {
    fn hear(&mut self, event: Event) {
        let mut queue = VecDeque::from([event]);
        while let Some(event) = queue.pop_front() {
            self.now = self.now + Duration::from_nanos(1_234_567);
            for effect in self.machine.handle(event, self.now) {
                match effect {
                    Effect::Decided { input, decision } => {
                        self.recording.append(&input).unwrap();
                        self.taken.push(serde_json::to_string(&decision).unwrap());
                        self.reasons.insert(decision.reason.label());
                    }
                    Effect::Create { number, .. } => queue.push_back(Event::Made {
                        number,
                        result: if self.broken {
                            Err("no room".into())
                        } else {
                            Ok(Box::new(replica(number, self.now)))
                        },
                    }),
                    Effect::Start { id } => queue.push_back(Event::Restarted {
                        result: Ok(Box::new(replica(number_of(&id), self.now))),
                        id,
                    }),
                    Effect::Probe { replica, .. } => queue.push_back(Event::Ready {
                        id: replica.id.clone(),
                        started: replica.started,
                    }),
                    Effect::Route { seq, .. } => {
                        let result = Ok(());
                        queue.push_back(Event::Routed { seq, result });
                        queue.push_back(Event::Drained { seq });
                    }
                    Effect::Retire { replica } => queue.push_back(Event::Retired {
                        id: replica.id.clone(),
                        result: Ok(()),
                    }),
                    Effect::Found { .. }
                    | Effect::CollectLogs { .. }
                    | Effect::WakeAt(_)
                    | Effect::Note(_) => {}
                }
            }
        }
    }

    fn see(&mut self, replicas: Vec<Replica>) {
        self.now = self.now + Duration::from_millis(1);
        self.hear(Event::Seen {
            replicas,
            needed: BTreeSet::new(),
            taken: self.now,
        });
        self.hear(Event::Wake);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Load(after, load) => {
                let span = Duration::from_micros(after * 1001);
                self.now = self.now + span;
                let mut readings = BTreeMap::new();
                for (replica, load) in self.machine.running().into_iter().zip(load) {
                    let Some((percent, memory)) = load else {
                        continue;
                    };
                    let used = self.used.entry(replica.id.clone()).or_default();
                    *used += span.as_nanos() as u64 / 100 * u64::from(percent);
                    let reading = CounterReading {
                        at: self.now,
                        cpu_nanos: *used,
                        periods: 0,
                        throttled: 0,
                        working_set: Bytes(memory),
                    };
                    readings.insert(replica.id, reading);
                }
                let jobs = if after % 5 == 0 {
                    Err("connection refused".to_owned())
                } else {
                    Ok(after as f64 / 7.0)
                };
                let values = Values {
                    service: BTreeMap::from([("jobs".to_owned(), jobs)]),
                    ..Values::default()
                };
                self.hear(Event::Sampled { readings, values });
            }
            Happening::Quiet(after, load, times) => {
                for _ in 0..times {
                    self.happen(Happening::Load(after, vec![Some((load, 1_000_000)); 12]));
                }
            }
            Happening::Scale(replicas, hold) => self.hear(Event::Scale {
                replicas,
                hold: Some(Duration::from_secs(hold)),
                by: Initiator::Hand,
            }),
            Happening::Pause(directions, seconds) => self.hear(Event::Suspend {
                directions,
                span: seconds.map(Duration::from_secs),
                by: Initiator::Hand,
            }),
            Happening::Resume => self.hear(Event::Resume {
                by: Initiator::Hand,
            }),
            Happening::Died(number) => {
                self.hear(Event::Died {
                    id: replica(number, self.now).id,
                    exit_code: Some(137),
                    asked: false,
                });
                self.now = self.now + Duration::from_secs(1);
                self.hear(Event::Wake);
            }
            Happening::ClockSet(seconds) => {
                let replicas = self.machine.running();
                let set_by = SignedDuration::from_secs(seconds);
                self.now = self.now.shifted(set_by);
                self.hear(Event::ClockJumped { set_by });
                self.see(replicas);
            }
            Happening::Restart(seconds) => {
                let replicas = self.machine.running();
                let memory = serde_json::to_string(&self.machine.memory()).unwrap();
                let memory = serde_json::from_str(&memory).unwrap();
                self.now = self.now + Duration::from_secs(seconds);
                let setup = self.machine.setup().clone();
                self.machine = ServiceMachine::new(setup, Some(memory), self.now);
                self.see(replicas);
            }
            Happening::Broken(broken) => self.broken = broken,
        }
    }
}

fn number_of(id: &ContainerId) -> u32 {
    u32::from_str_radix(&id.0, 16).unwrap()
}

#[test]
fn decisions_taken_again_from_their_recording_are_those_that_were_taken_to_the_byte() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("run.jsonl");
    let mut runner = TestRunner::deterministic();
    let (mut taken, mut reasons) = (Vec::new(), BTreeSet::new());
    for policy in policies() {
        for _ in 0..8 {
            let now = Timestamp::from_unix(1_800_000_000);
            let setup = ServiceSetup {
                service: "web".into(),
                policy: policy::policy(&policy).unwrap(),
                autoscaled: true,
                port: Some(80),
                routed: true,
                interval: Duration::from_secs(5),
                refusals: Vec::new(),
                unroutable: None,
                up: "docker compose up -d web".into(),
            };
            let mut world = World {
                machine: ServiceMachine::new(setup, None, now),
                now,
                used: BTreeMap::new(),
                broken: false,
                recording: Recording::start(&file).unwrap(),
                taken: Vec::new(),
                reasons: BTreeSet::new(),
            };
            world.see(vec![replica(1, now - Duration::from_secs(600))]);
            let story = prop::collection::vec(happening(), 60);
            for happening in story.new_tree(&mut runner).unwrap().current() {
                world.happen(happening);
            }
            taken.extend(world.taken);
            reasons.extend(world.reasons);
        }
    }
    // It was a life with something in it.
    assert!(taken.len() > 1000, "{}", taken.len());
    for reason in [
        "above_target",
        "below_target",
        "within_tolerance",
        "stabilizing_down",
        "metrics_unavailable",
        "metrics_incomplete",
        "at_max",
        "at_min",
        "rate_limited",
        "disabled",
        "held",
        "paused",
        "fallback",
        "no_metrics",
    ] {
        assert!(reasons.contains(reason), "{reason} is not in {reasons:?}");
    }
    assert_eq!(
        fs::read_to_string(&file).unwrap().lines().count(),
        taken.len()
    );
    let output = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .args(["explain", "--format", "json", "--input"])
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let replayed = String::from_utf8(output.stdout).unwrap();
    for (number, (replayed, taken)) in replayed.lines().zip(&taken).enumerate() {
        assert_eq!(replayed, taken, "line {}", number + 1);
    }
    assert_eq!(replayed.lines().count(), taken.len());
}
