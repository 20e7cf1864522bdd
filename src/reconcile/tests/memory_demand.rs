//! What a service needs of the machine.

use super::*;
use crate::decide::{HostCapacity, Reason};

/// Replicas 1 and 2 under load and with so many MiB used each.
fn used(bench: &mut MachineBench, mib: &[u64]) -> BTreeMap<ContainerId, CounterReading> {
    bench.now = bench.now + Duration::from_secs(5);
    let cpu = bench.now.since(Timestamp::from_unix(0)).as_nanos() as u64;
    let readings = mib.iter().zip(1..).map(|(mib, number)| {
        let reading = CounterReading {
            at: bench.now,
            cpu_nanos: cpu,
            periods: 0,
            throttled: 0,
            working_set: Bytes(mib << 20),
        };
        (id(number), reading)
    });
    readings.collect()
}

fn sampled(bench: &mut MachineBench, mib: &[u64]) -> Vec<Effect> {
    let readings = used(bench, mib);
    bench.hear(Event::sampled(readings))
}

#[test]
fn a_replica_takes_its_limit_or_the_most_that_one_was_seen_to_use() {
    let mut bench = MachineBench::serving(&[1, 2]);
    assert_eq!(bench.machine.replica_memory(), None);
    sampled(&mut bench, &[100, 30]);
    sampled(&mut bench, &[40, 30]);
    assert_eq!(bench.machine.replica_memory(), Some(Bytes(100 << 20)));
    // The next run remembers.
    let memory = bench.machine.memory();
    let mut next = MachineBench::blind(setup(), Some(memory));
    next.see(&[1, 2]);
    assert_eq!(next.machine.replica_memory(), Some(Bytes(100 << 20)));
    let mut limited = replica(1);
    limited.limits.memory = Some(Bytes(256 << 20));
    next.seen(vec![limited, replica(2)]);
    assert_eq!(next.machine.replica_memory(), Some(Bytes(256 << 20)));
    // Another image is another program.
    let mut newer = replica(1);
    newer.image_id = "sha256:newer".into();
    next.seen(vec![newer]);
    sampled(&mut next, &[20]);
    assert_eq!(next.machine.replica_memory(), Some(Bytes(20 << 20)));
}

#[test]
fn what_is_on_its_way_has_its_memory_promised() {
    let mut bench = MachineBench::serving(&[1, 2]);
    sampled(&mut bench, &[100, 100]);
    assert_eq!(bench.machine.promised(), Bytes(0));
    let effects = sampled(&mut bench, &[100, 100]);
    assert!(
        asked(&effects).iter().any(|one| one.contains("create")),
        "{effects:?}"
    );
    // 100% of 60% with two replicas: four, so two are being made.
    assert_eq!(bench.machine.promised(), Bytes(200 << 20));
    bench.made(3);
    bench.made(4);
    assert_eq!(bench.machine.promised(), Bytes(200 << 20));
    bench.now = bench.now + Duration::from_secs(1);
    sampled(&mut bench, &[100, 100, 30]);
    assert_eq!(bench.machine.promised(), Bytes(170 << 20));
    bench.ready(3);
    bench.ready(4);
    assert_eq!(bench.machine.promised(), Bytes(0));
}

#[test]
fn what_cannot_be_made_for_now_has_its_memory_promised_all_the_same() {
    let mut bench = MachineBench::serving(&[1, 2]);
    sampled(&mut bench, &[100, 100]);
    sampled(&mut bench, &[100, 100]);
    for number in [3, 4] {
        bench.hear(Event::Made {
            number,
            result: Err("no space left on device".into()),
        });
    }
    assert_eq!(bench.machine.desired(), Some(4));
    assert_eq!(bench.machine.promised(), Bytes(200 << 20));
}

#[test]
fn what_ran_out_of_memory_and_what_could_not_be_read_is_known_after_a_restart() {
    let mut bench = MachineBench::serving(&[1, 2]);
    bench.hear(Event::Oom { id: id(2) });
    let mut memory = bench.machine.memory();
    let unread = crate::decide::Unread {
        why: "refused".into(),
        failures: 2,
    };
    memory.unread.insert("jobs".into(), unread);
    let text = serde_json::to_string(&memory).unwrap();
    let read: PersistedState = serde_json::from_str(&text).unwrap();
    let next = MachineBench::blind(setup(), Some(read)).machine.memory();
    assert_eq!((next.ooms, next.unread), (memory.ooms, memory.unread));
}

#[test]
fn a_wish_comes_from_the_readings_that_are_about_to_be_decided_on() {
    let mut bench = MachineBench::serving(&[1, 2]);
    sampled(&mut bench, &[100, 100]);
    let readings = used(&mut bench, &[100, 100]);
    assert_eq!(bench.machine.wish(None, None, bench.now), None);
    let wish = bench
        .machine
        .wish(Some(&readings), None, bench.now)
        .unwrap();
    assert_eq!(
        (wish.service.as_str(), wish.more, wish.each),
        ("web", 2, Bytes(100 << 20))
    );
    // One that cannot have its wish stands in nobody's way.
    bench.hear(Event::Busy);
    assert_eq!(bench.machine.wish(Some(&readings), None, bench.now), None);
}

#[test]
fn what_the_machine_cannot_hold_is_not_made() {
    let mut bench = MachineBench::serving(&[1, 2]);
    sampled(&mut bench, &[100, 100]);
    bench.machine.has_room(Some(HostCapacity {
        free_memory: Some(Bytes(99 << 20)),
        replica_memory: bench.machine.replica_memory(),
        ..HostCapacity::default()
    }));
    assert_eq!(asked(&sampled(&mut bench, &[100, 100])), [""; 0]);
    let (_, decision) = bench.machine.decisions.last.clone().unwrap();
    assert_eq!(decision.reason, Reason::HostFull);
    bench.machine.has_room(None);
    assert_eq!(asked(&sampled(&mut bench, &[100, 100])).len(), 2);
}

#[test]
fn a_kill_for_lack_of_memory_keeps_the_others_for_the_window() {
    let mut bench = MachineBench::serving(&[1, 2, 3]);
    bench
        .machine
        .setup
        .policy
        .behavior
        .scale_down
        .stabilization_window = Span::seconds(60);
    bench.after(30);
    bench.hear(Event::Oom { id: id(3) });
    // It is gone altogether; what happened is not.
    bench.hear(Event::Gone { id: id(3) });
    bench.machine.desired = Some(2);
    bench.after(35);
    bench.load(1);
    let reason = |bench: &MachineBench| bench.machine.decisions.last.clone().unwrap().1.reason;
    assert_eq!(reason(&bench), Reason::OutOfMemory);
    bench.after(60);
    bench.load(1);
    assert_eq!(bench.machine.desired(), Some(1));
    // It is in no input and no saved state any more.
    let (input, _) = bench.machine.decide(bench.now).unwrap();
    assert!(
        input
            .replicas
            .iter()
            .all(|seen| seen.out_of_memory.is_none()),
        "{:?}",
        input.replicas
    );
    assert!(bench.machine.memory().ooms.is_empty());
}

#[test]
fn a_burst_is_remembered_with_the_rest_of_the_history() {
    let mut with_bursts = setup();
    with_bursts.policy.behavior.scale_up.burst = Some(crate::policy::Burst {
        window: Span::seconds(6),
        threshold: Percent::new(150.0).unwrap(),
    });
    let mut bench = MachineBench::blind(with_bursts, None);
    bench.see(&[1, 2]);
    bench.ready(1);
    bench.ready(2);
    bench.routed();
    bench.load(100);
    let memory = bench.machine.memory();
    assert_eq!(memory.history.burst, Some(bench.now));
    let text = serde_json::to_string(&memory).unwrap();
    let read: PersistedState = serde_json::from_str(&text).unwrap();
    assert_eq!((read.history, read.peak), (memory.history, memory.peak));
}
