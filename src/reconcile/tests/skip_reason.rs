//! What is said of decisions to do nothing.

use super::*;
use crate::decide::Reason;

/// What is said at which level, and whether it is kept in `scaling.log`.
fn heard(effects: &[Effect]) -> Vec<(String, EventLevel, bool)> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Note(note) => match &note.what {
                EventKind::NotScaling { reason, .. } => Some((
                    reason.label().to_owned(),
                    note.what.level(),
                    note.what.is_history(),
                )),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

fn one(label: &str, level: EventLevel, kept: bool) -> Vec<(String, EventLevel, bool)> {
    vec![(label.to_owned(), level, kept)]
}

#[test]
fn a_reason_is_said_when_it_becomes_the_reason_and_not_again() {
    let mut bench = MachineBench::serving(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(heard(&bench.sample(60)), [], "no two readings yet");
    assert_eq!(
        heard(&bench.sample(60)),
        one("within_tolerance", EventLevel::Debug, false)
    );
    let effects = bench.load(190);
    assert_eq!(heard(&effects), one("at_max", EventLevel::Info, true));
    assert_eq!(
        told(&effects),
        ["not scaling: cpu 190% of 60% target asks for 26, but the maximum is 8: staying at 8"]
    );
    for _ in 0..10 {
        assert_eq!(heard(&bench.load(190)), []);
    }
    // Other numbers are no other reason.
    assert_eq!(heard(&bench.load(150)), []);
    assert_eq!(
        heard(&bench.load(60)),
        one("within_tolerance", EventLevel::Debug, false)
    );
    assert_eq!(
        heard(&bench.load(190)),
        one("at_max", EventLevel::Info, true)
    );
}

#[test]
fn after_a_change_of_the_count_the_same_reason_is_news_again() {
    let mut bench = MachineBench::serving(&[1]);
    let effects = bench.hear(Event::Suspend {
        directions: Pause::Up,
        span: None,
        by: Initiator::Hand,
    });
    assert_eq!(heard(&effects), []);
    assert_eq!(
        heard(&bench.load(180)),
        one("paused", EventLevel::Info, false)
    );
    bench.hear(Event::Resume {
        by: Initiator::Hand,
    });
    assert_eq!(asked(&bench.load(90)), ["create 2"]);
    bench.made(2);
    bench.ready(2);
    bench.routed();
    bench.hear(Event::Suspend {
        directions: Pause::Up,
        span: None,
        by: Initiator::Hand,
    });
    assert_eq!(
        heard(&bench.load(180)),
        one("paused", EventLevel::Info, false)
    );
}

#[test]
fn load_that_cannot_be_read_is_said_and_the_beginning_of_it_kept() {
    let mut bench = MachineBench::serving(&[1]);
    bench.load(60);
    let mut silent = || {
        bench.now = bench.now + Duration::from_secs(20);
        let readings = BTreeMap::new();
        heard(&bench.hear(Event::sampled(readings)))
    };
    assert_eq!(silent(), one("metrics_unavailable", EventLevel::Info, true));
    assert_eq!(silent(), []);
}

#[test]
fn the_next_run_says_it_in_its_log_and_does_not_keep_it_again() {
    let mut bench = MachineBench::serving(&[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        heard(&bench.load(190)),
        one("at_max", EventLevel::Info, true)
    );
    let mut next = bench.restarted(5, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        heard(&next.load(190)),
        one("at_max", EventLevel::Info, false)
    );
    assert_eq!(heard(&next.load(190)), []);
    // Also when the first look of that run cannot tell.
    let mut next = next.restarted(500, &[1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        heard(&next.load(190)),
        one("at_max", EventLevel::Info, false)
    );
    assert_eq!(
        heard(&next.load(60)),
        one("within_tolerance", EventLevel::Debug, false)
    );
}

#[test]
fn only_what_stands_in_nobodys_way_is_a_detail() {
    let calm: Vec<_> = Reason::ALL.into_iter().filter(|r| r.is_calm()).collect();
    assert_eq!(
        calm,
        [
            Reason::WithinTolerance,
            Reason::StabilizingDown,
            Reason::AtMin,
            Reason::NoMetrics
        ]
    );
}

#[test]
fn every_decision_is_handed_out_with_what_it_was_made_from() {
    let mut bench = MachineBench::serving(&[1]);
    let mut decided = 0;
    for percent in [60, 180, 60, 1, 1, 190] {
        for effect in bench.load(percent) {
            if let Effect::Decided { input, decision } = effect {
                assert_eq!(*decision, crate::decide::decide(&input));
                assert_eq!(input.service.as_deref(), Some("web"));
                decided += 1;
            }
        }
    }
    assert_eq!(decided, 12);
}
