//! `watch` and `scale` while single requests to the Engine fail, and other bad days that take long:
//! the real driver and its real adapters before an Engine in memory, at a clock that is moved.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use compose_scale::watch::RunOutcome;
use tokio::time::sleep;

#[cfg(test)]
mod bench;
#[cfg(test)]
mod engine;

use bench::{Bench, complaints};
use engine::ResponseFault;

/// Longer than any deadline, any backoff and any answer that is late.
const LONG: Duration = Duration::from_secs(400);

/// Runs it at a clock of its own, which goes on by itself as soon as everybody waits.
fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

/// Whether a request changes something, or is a look that a change waits for.
fn is_step(kind: &str) -> bool {
    !kind.starts_with("GET") || kind.ends_with("/top")
}

/// The n-th request of a kind, counted from when the count is asked for.
type Point = (String, usize);

/// The steps of an undisturbed way from one count to another.
fn steps(from: usize, to: usize) -> Vec<Point> {
    run(async {
        let bench = Bench::new();
        let watch = bench.watch();
        bring(&bench, &watch, from).await;
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        bench.engine.decide(move |kind| {
            if is_step(kind) {
                let count = counts.entry(kind.to_owned()).or_default();
                *count += 1;
                // More looks than these are repetitions.
                if *count <= 2 || !kind.starts_with("GET") {
                    into.lock().unwrap().push((kind.to_owned(), *count));
                }
            }
            ResponseFault::None
        });
        bring(&bench, &watch, to).await;
        seen.lock().unwrap().clone()
    })
}

async fn bring(bench: &Bench, watch: &bench::Watch, count: usize) {
    bench
        .until("it has taken over", LONG, |b| !b.engine.served().is_empty())
        .await;
    if !bench.is_at(count) {
        watch.scale(count as u32).await;
    }
    let what = format!("at {count}");
    bench.until(&what, LONG, |b| b.is_at(count)).await;
    // So that nothing of this is taken for a step of what comes next.
    sleep(Duration::from_secs(5)).await;
}

/// Has the n-th request of this kind go wrong.
fn arm(bench: &Bench, point: &Point, fault: ResponseFault) -> Arc<Mutex<bool>> {
    let (kind, nth) = point.clone();
    let mut count = 0;
    let met = Arc::new(Mutex::new(false));
    let note = Arc::clone(&met);
    bench.engine.decide(move |asked| {
        count += usize::from(asked == kind);
        if asked == kind && count == nth {
            *note.lock().unwrap() = true;
            return fault;
        }
        ResponseFault::None
    });
    met
}

/// When everything has shown that comes of it.
fn afterwards(fault: ResponseFault) -> Duration {
    Duration::from_secs(match fault {
        ResponseFault::Late | ResponseFault::DoneLate => 120,
        _ => 30,
    })
}

/// Those that differ for this request: a look that is late has done nothing that could be late.
fn faults(point: &Point) -> &'static [ResponseFault] {
    if point.0.starts_with("GET") {
        &[
            ResponseFault::Answer(500),
            ResponseFault::Hang,
            ResponseFault::Cut,
        ]
    } else {
        &FAULTS
    }
}

const FAULTS: [ResponseFault; 7] = [
    ResponseFault::Answer(500),
    ResponseFault::Answer(404),
    ResponseFault::Answer(409),
    ResponseFault::Hang,
    ResponseFault::Late,
    ResponseFault::DoneLate,
    ResponseFault::Cut,
];

#[test]
fn a_request_that_fails_under_watch_is_made_good() {
    let mut table = String::new();
    for (from, to) in [(1, 3), (3, 1)] {
        let steps = steps(from, to);
        assert!(steps.len() >= 6, "{steps:?}");
        for point in &steps {
            for &fault in faults(point) {
                let said = run(async {
                    let bench = Bench::new();
                    let mut watch = bench.watch();
                    bring(&bench, &watch, from).await;
                    let quiet = watch.notes().len();
                    let met = arm(&bench, point, fault);
                    watch.scale(to as u32).await;
                    let what = format!("{from} → {to} in spite of {fault:?} at {point:?}");
                    bench.until(&what, LONG, |b| b.is_at(to)).await;
                    // What comes late, and what was begun twice, shows by then.
                    sleep(afterwards(fault)).await;
                    bench.until(&what, LONG, |b| b.is_at(to)).await;
                    assert!(*met.lock().unwrap(), "{what}: it was never asked");
                    let said = complaints(&watch.notes()[quiet..]);
                    let said = said.iter().map(|line| bench.shown(line));
                    said.collect::<BTreeSet<_>>()
                });
                if point.1 == 1 {
                    writeln!(table, "{from} → {to}, {}, {fault:?}:", point.0).unwrap();
                    for line in said {
                        writeln!(table, "    {line}").unwrap();
                    }
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_request_that_fails_under_scale_is_said_and_the_next_scale_makes_it_good() {
    let mut table = String::new();
    // One at a time: where one fails and another one comes up, it is tried again at once.
    for (from, to) in [(1, 2), (2, 1)] {
        for point in steps(from, to).iter().filter(|(_, nth)| *nth == 1) {
            for &fault in faults(point) {
                let said = run(async {
                    let bench = Bench::new();
                    bench.scale(from as u32).await;
                    bench.until("it begins", LONG, |b| b.is_at(from)).await;
                    arm(&bench, point, fault);
                    let what = format!("{from} → {to} in spite of {fault:?} at {point:?}");
                    let (outcome, _) = bench.scale(to as u32).await;
                    let said = match outcome {
                        RunOutcome::Done => vec!["done".to_owned()],
                        RunOutcome::Failed(why) => why,
                        other => panic!("{what}: {other:?}"),
                    };
                    let orphans = |b: &Bench| {
                        let all = b.engine.replicas();
                        all.iter().filter(|(_, state)| *state != "running").count()
                    };
                    // Of what is done when this program has ended nobody is left to take care.
                    if fault != ResponseFault::DoneLate {
                        assert_eq!(orphans(&bench), 0, "{what}: {:?}", bench.engine.replicas());
                    }
                    sleep(afterwards(fault)).await;
                    let (outcome, _) = bench.scale(to as u32).await;
                    assert!(matches!(outcome, RunOutcome::Done), "{what}: {outcome:?}");
                    bench.until(&what, LONG, |b| b.is_at(to)).await;
                    said.iter()
                        .map(|line| bench.shown(line))
                        .collect::<Vec<_>>()
                });
                writeln!(table, "{from} → {to}, {}, {fault:?}:", point.0).unwrap();
                for line in said {
                    writeln!(table, "    {line}").unwrap();
                }
            }
        }
    }
    insta::assert_snapshot!(table);
}

/// Has each of these requests answered once as that what it is about is not there.
fn once_gone(bench: &Bench, kinds: &[(&'static str, u16)]) -> Arc<Mutex<Vec<(&'static str, u16)>>> {
    let left = Arc::new(Mutex::new(kinds.to_vec()));
    let of_it = Arc::clone(&left);
    bench.engine.decide(move |asked| {
        let mut left = of_it.lock().unwrap();
        match left.iter().position(|(kind, _)| *kind == asked) {
            Some(at) => ResponseFault::Answer(left.remove(at).1),
            None => ResponseFault::None,
        }
    });
    left
}

#[test]
fn what_is_said_once_to_be_gone_and_is_there_is_removed_all_the_same() {
    run(async {
        let bench = Bench::new();
        bench.scale(1).await;
        for look in [&[][..], &[("GET /containers/*/json", 404)]] {
            let faults = [
                ("POST /containers/*/start", 500),
                ("DELETE /containers/*", 404),
            ];
            let left = once_gone(&bench, &[&faults, look].concat());
            let (outcome, _) = bench.scale(2).await;
            let RunOutcome::Failed(why) = outcome else {
                panic!("{outcome:?}");
            };
            assert!(left.lock().unwrap().is_empty(), "{left:?}");
            let names: Vec<_> = bench.engine.replicas();
            assert_eq!(names, [("shop-web-1".to_owned(), "running")], "{why:?}");
            assert!(why[0].ends_with("input/output error (HTTP 500)"), "{why:?}");
            assert_eq!(
                why[1],
                "web: scaling to 2 is given up; to try again: `compose-scale scale web=2`"
            );
        }
    });
}

#[test]
fn the_only_replica_is_not_made_anew_for_one_answer_that_it_is_gone() {
    run(async {
        let bench = Bench::new();
        let (watch, quiet) = serving(&bench).await;
        let left = once_gone(&bench, &[("GET /containers/*/json", 404)]);
        list_again(&bench).await;
        sleep(Duration::from_secs(30)).await;
        assert!(left.lock().unwrap().is_empty());
        let said = &bench.said()[quiet..];
        assert!(
            !said
                .iter()
                .any(|line| line.contains("making the first one")),
            "{said:?}"
        );
        assert_eq!(bench.engine.replicas().len(), 1);
        assert_eq!(bench.engine.served(), ["shop-web-1"]);
        drop(watch);
    });
}

#[test]
fn a_scale_that_was_said_to_have_failed_is_not_carried_out_later() {
    run(async {
        let bench = Bench::new();
        let (watch, _) = serving(&bench).await;
        bench.engine.decide(|kind| match kind {
            "POST /containers/*/start" => ResponseFault::Answer(500),
            _ => ResponseFault::None,
        });
        let answer = watch.scale_and_wait(2, 600).await.unwrap();
        assert!(!answer.contains("next attempt"), "{answer}");
        assert!(
            answer.ends_with(
                "web: scaling to 2 is given up; to try again: `compose-scale scale web=2`"
            ),
            "{answer}"
        );
        bench.engine.decide(|_| ResponseFault::None);
        sleep(LONG).await;
        assert!(bench.is_at(1), "{:?}", bench.engine.replicas());
    });
}

/// A `watch` that serves, and the length of its log by then.
async fn serving(bench: &Bench) -> (bench::Watch, usize) {
    let watch = bench.watch();
    bring(bench, &watch, 1).await;
    (watch, bench.said().len())
}

/// Lists again: the stream of events ends.
async fn list_again(bench: &Bench) {
    bench.engine.drop_events();
    sleep(Duration::from_secs(2)).await;
}

#[test]
fn an_engine_that_hangs_or_talks_nonsense_is_said_once_and_so_is_its_end() {
    const AWAY: &str = "WARN the Docker Engine does not answer; nothing is done until it does error=\"cannot reach the Docker Engine at unix://SOCKET: the Engine closed its stream of events\"";
    const LISTING: &str = "WARN cannot list the project's containers; nothing is scaled by load until that works again error=\"listing the project's containers: ";
    for (fault, why) in [
        (
            ResponseFault::Hang,
            "no answer from the Docker Engine within 10s",
        ),
        (
            ResponseFault::Answer(200),
            "the answer is not understood: invalid type: map, expected a sequence at line 1 column 0",
        ),
    ] {
        run(async {
            let bench = Bench::new();
            let (_watch, from) = serving(&bench).await;
            let asked = Arc::new(Mutex::new(0));
            let count = Arc::clone(&asked);
            bench.engine.decide(move |kind| {
                if kind == "GET /containers/json" {
                    *count.lock().unwrap() += 1;
                    return fault;
                }
                ResponseFault::None
            });
            list_again(&bench).await;
            bench
                .until("it was tried again and again", LONG, |_| {
                    *asked.lock().unwrap() >= 4
                })
                .await;
            bench.engine.decide(|_| ResponseFault::None);
            bench
                .until("it is over", LONG, |b| {
                    b.said().iter().any(|line| line.contains("listed again"))
                })
                .await;
            assert_eq!(
                bench.said()[from..],
                [
                    AWAY,
                    &format!("{LISTING}{why}\""),
                    "INFO the Docker Engine answers again",
                    "INFO the project's containers can be listed again",
                ]
            );
            assert!(bench.is_at(1));
        });
    }
}

#[test]
fn a_file_that_is_being_saved_is_no_mistake_and_one_that_stays_broken_is_told_once() {
    run(async {
        let bench = Bench::new();
        let often = bench::YAML.replace("interval: 10s", "interval: 1s");
        bench.write(&often);
        let (_watch, from) = serving(&bench).await;
        let changed = often.replace("max: 8", "max: 9");
        // A third of the way it is no YAML, and later on it is a project without nginx.
        for length in (40..changed.len()).step_by(20) {
            bench.write(&changed[..length]);
            sleep(Duration::from_millis(200)).await;
        }
        bench.write(&changed);
        sleep(Duration::from_secs(60)).await;
        let taken_over = "INFO the compose file changed: its policies apply from now on";
        assert_eq!(bench.said()[from..], [taken_over]);

        let from = bench.said().len();
        bench.write(&changed.replace("max: 9", "max: many"));
        sleep(Duration::from_secs(60)).await;
        let told = bench.said()[from..].join("\n");
        insta::assert_snapshot!(told);
        let from = bench.said().len();
        bench.write(&changed);
        sleep(Duration::from_secs(60)).await;
        let mended = "INFO the compose file is in order again: its policies apply from now on";
        assert_eq!(bench.said()[from..], [mended]);
        assert!(bench.is_at(1));
    });
}

#[test]
fn a_clock_that_is_set_is_said_and_touches_nothing() {
    for (hours, said) in [
        (1, "the clock was set forward by 3600s"),
        (-1, "the clock was set back by 3600s"),
    ] {
        run(async {
            let bench = Bench::new();
            let (mut watch, from) = serving(&bench).await;
            let told = watch.notes().len();
            bench::set_clock_by(jiff::SignedDuration::from_hours(hours));
            sleep(Duration::from_secs(60)).await;
            assert_eq!(
                bench.said()[from..],
                [format!("WARN {said}; re-reading everything")]
            );
            assert_eq!(complaints(&watch.notes()[told..]), Vec::<String>::new());
            assert!(bench.is_at(1));
        });
    }
}

#[test]
fn who_waits_for_a_count_is_told_when_it_is_not_wanted_any_more() {
    run(async {
        let bench = Bench::new();
        let (watch, _) = serving(&bench).await;
        // Starts take long, the hold is over meanwhile, and 8 is the most.
        bench.engine.decide(|kind| {
            if kind.ends_with("/start") {
                ResponseFault::Late
            } else {
                ResponseFault::None
            }
        });
        let answer = watch.scale_and_wait(9, 1).await.unwrap();
        let sentence = "web: the desired count is 8 now, not 9: the hold has ended, or another command has changed it";
        assert!(answer.starts_with(sentence), "{answer}");
    });
}

const NOT_INCLUDED: &str = "server { location / { proxy_pass http://web; } }\n";
const SENTENCE: &str = "nginx does not include /etc/nginx/upstreams/web.conf; add `include /etc/nginx/upstreams/*.conf;` at http level (a file in conf.d is at http level), outside of any server";

#[test]
fn what_nginx_would_never_send_to_is_not_made() {
    run(async {
        let bench = Bench::new();
        bench.engine.configure(NOT_INCLUDED);
        let before = bench.engine.replicas();
        let made = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&made);
        bench.engine.decide(move |kind| {
            if !kind.starts_with("GET") && !kind.contains("exec") && !kind.ends_with("/kill") {
                note.lock().unwrap().push(kind.to_owned());
            }
            ResponseFault::None
        });
        let (outcome, notes) = bench.scale(3).await;
        let RunOutcome::Failed(why) = outcome else {
            panic!("{outcome:?}");
        };
        assert_eq!(why, [format!("web: {SENTENCE}")]);
        assert_eq!(complaints(&notes), [format!("web: {SENTENCE}")]);
        assert_eq!(*made.lock().unwrap(), Vec::<String>::new());
        assert_eq!(bench.engine.replicas(), before);
        // Fewer is never refused, and neither is what is there already.
        let (outcome, _) = bench.scale(1).await;
        assert!(!matches!(outcome, RunOutcome::Done), "nginx is not in step");
    });
}

#[test]
fn what_nginx_was_seen_to_read_and_does_not_any_more_is_found_out_once() {
    run(async {
        let bench = Bench::new();
        let (outcome, _) = bench.scale(2).await;
        assert!(matches!(outcome, RunOutcome::Done), "{outcome:?}");
        bench.engine.configure(NOT_INCLUDED);
        // Another run goes by what this one saw, until nginx does not show what is written.
        let (outcome, _) = bench.scale(3).await;
        let RunOutcome::Failed(why) = outcome else {
            panic!("{outcome:?}");
        };
        assert!(
            why.iter().any(|why| why.contains("does not include")),
            "{why:?}"
        );
        let there = bench.engine.replicas();
        let (outcome, notes) = bench.scale(4).await;
        assert!(matches!(outcome, RunOutcome::Failed(_)), "{outcome:?}");
        assert_eq!(complaints(&notes), [format!("web: {SENTENCE}")]);
        assert_eq!(bench.engine.replicas(), there, "none was made");
    });
}

#[test]
fn under_watch_it_is_said_once_and_what_is_wanted_comes_when_it_is_mended() {
    run(async {
        let bench = Bench::new();
        bench.engine.configure(NOT_INCLUDED);
        bench.write(&bench::YAML.replace("min: 1", "min: 3"));
        let before = bench.engine.replicas();
        let mut watch = bench.watch();
        sleep(Duration::from_secs(120)).await;
        assert_eq!(complaints(watch.notes()), [format!("web: {SENTENCE}")]);
        assert_eq!(bench.engine.replicas(), before);
        bench.engine.configure(
            "include /etc/nginx/upstreams/*.conf;\nserver { location / { proxy_pass http://web; } }\n",
        );
        bench.until("it is mended", LONG, |b| b.is_at(3)).await;
    });
}
