use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
};
use serde_json::json;

use super::*;
use crate::{
    control::{ControlRequest, Snapshot},
    decide::Pause,
    reconcile::{EventKind, EventLevel, ScalingEvent},
    units::Timestamp,
};

mod picture;

const NOW: i64 = 1_800_000_000;

fn replica(name: &str, phase: &str) -> serde_json::Value {
    json!({
        "name": name, "id": name, "number": 1, "state": "running", "health": "none", "phase": phase,
        "in_nginx": phase == "serving", "age": "90s", "address": "172.20.0.3",
        "cpu": 71.25, "memory": 40.0, "requests": 28.5, "p95": 41.0, "image": "app:1",
    })
}

/// Two services, one of which grows.
fn snapshot() -> Snapshot {
    let web: Vec<_> = [
        "serving", "serving", "serving", "starting", "draining", "down",
    ]
    .iter()
    .zip(1..)
    .map(|(phase, number)| replica(&format!("shop-web-{number}"), phase))
    .collect();
    let decision = json!({
        "at": Timestamp::from_unix(NOW - 3), "from": 3, "to": 5, "reason": "above_target",
        "message": "cpu 90% of 60% target: 3 → 5",
    });
    serde_json::from_value(json!({
        "version": 1, "project": "shop", "at": Timestamp::from_unix(NOW), "watching": true,
        "nginx": "shop-nginx-1", "in_step": true, "interval": "5s", "ticked": Timestamp::from_unix(NOW - 1),
        "host": {"memory": "8GiB", "available": "3GiB", "reserve_memory": "819MiB", "busy": 61.0, "reserve_cpu": 5.0},
        "troubles": ["api: shop-api-2 did not come up: exit code 1; next attempt in 8s"],
        "services": [
            {"service": "web", "autoscaled": true, "current": 5, "desired": 5, "serving": 3, "min": 1, "max": 8,
             "hold": null, "paused": null, "decision": decision, "standstill": null, "replicas": web,
             "metrics": [
                {"metric": "cpu", "value": 90.0, "target": 60.0, "unit": "percent"},
                {"metric": "latency", "value": 412.3, "target": 300.0, "unit": "millis", "percentile": "p95"},
             ]},
            {"service": "api", "autoscaled": true, "current": 2, "desired": 2, "serving": 2, "min": 2, "max": 4,
             "hold": {"replicas": 2, "until": null}, "paused": {"directions": "both", "until": null},
             "decision": null, "standstill": null, "metrics": [{"metric": "jobs", "value": null, "target": 20.0, "unit": "number"}],
             "replicas": [replica("shop-api-1", "serving"), replica("shop-api-2", "serving")]},
        ],
    }))
    .expect("a snapshot")
}

fn model() -> Model {
    let mut model = Model::new(jiff::tz::TimeZone::UTC, true);
    let mut past = snapshot();
    for (ago, cpu) in [(20, 35.0), (15, 48.0), (10, 62.0), (5, 88.0)] {
        let web = &mut past.services[0];
        web.metrics[0].value = Some(cpu);
        web.decision.as_mut().expect("one").at = Timestamp::from_unix(NOW - 3 - ago);
        model.show(past.clone(), Timestamp::from_unix(NOW));
    }
    model.show(snapshot(), Timestamp::from_unix(NOW));
    for (ago, service, what) in [
        (
            9,
            "web",
            EventKind::Died {
                replica: "shop-web-6".into(),
                exit_code: Some(137),
                oom: true,
            },
        ),
        (
            8,
            "api",
            EventKind::Failed {
                replica: "shop-api-2".into(),
                why: "it ended with exit code 1".into(),
                log: vec!["Traceback: no route to host db, which is a line that is longer than the screen is wide\u{1b}[2J".into()],
                retry_in: 8.0,
                again: false,
            },
        ),
        (
            3,
            "web",
            EventKind::Ready {
                replica: "shop-web-3".into(),
                seconds: 1.5,
            },
        ),
    ] {
        model.note(&ScalingEvent {
            at: Timestamp::from_unix(NOW - ago),
            service: service.into(),
            what,
        });
    }
    model.say(
        Timestamp::from_unix(NOW - 1),
        EventLevel::Warn,
        "the compose file was read again",
    );
    model
}

fn picture(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
    terminal
        .draw(|frame| draw(model, Timestamp::from_unix(NOW), frame))
        .expect("a picture");
    let buffer = terminal.backend().buffer();
    let line = |y| {
        let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
        line.trim_end().to_owned()
    };
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

fn press(model: &mut Model, code: KeyCode) -> Option<KeyAction> {
    model.press(
        KeyEvent::new(code, KeyModifiers::NONE),
        Timestamp::from_unix(NOW),
    )
}

#[test]
fn services_events_and_the_machine_fit_on_a_small_terminal() {
    insta::assert_snapshot!(picture(&model(), 80, 24));
}

#[test]
fn a_large_terminal_is_used() {
    insta::assert_snapshot!(picture(&model(), 130, 30));
}

#[test]
fn the_details_of_a_service_name_its_replicas_and_what_befell_it() {
    let mut model = model();
    press(&mut model, KeyCode::Enter);
    insta::assert_snapshot!("details", picture(&model, 80, 24));
    press(&mut model, KeyCode::Down);
    insta::assert_snapshot!("details_of_the_other", picture(&model, 80, 24));
}

#[test]
fn a_loop_that_says_nothing_is_seen_to_do_so() {
    let shown = |after: i64| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
        terminal
            .draw(|frame| draw(&model(), Timestamp::from_unix(NOW + after), frame))
            .expect("a picture");
        terminal.backend().to_string()
    };
    assert!(!shown(4).contains("silent"));
    assert!(shown(90).contains("silent for 1m30s"), "{}", shown(90));
}

#[test]
fn help_tells_every_key_and_every_sign() {
    let mut model = model();
    press(&mut model, KeyCode::Char('?'));
    insta::assert_snapshot!(picture(&model, 80, 24));
    press(&mut model, KeyCode::Esc);
    assert_eq!(model.view, ScreenView::Overview);
}

#[test]
fn nothing_is_known_at_first_and_little_room_is_no_reason_to_fall() {
    let empty = Model::new(jiff::tz::TimeZone::UTC, false);
    insta::assert_snapshot!("nothing_known", picture(&empty, 60, 8));
    let model = model();
    for (width, height) in [
        (1, 1),
        (10, 3),
        (39, 8),
        (40, 7),
        (40, 8),
        (41, 9),
        (80, 9),
        (200, 8),
        (300, 100),
    ] {
        for view in [ScreenView::Overview, ScreenView::Details, ScreenView::Help] {
            let mut model = Model::new(jiff::tz::TimeZone::UTC, true);
            model.view = view;
            model.scrolled.set(7);
            picture(&model, width, height);
            model.show(snapshot(), Timestamp::from_unix(NOW));
            picture(&model, width, height);
        }
        picture(&model, width, height);
    }
}

#[test]
fn the_chosen_service_stays_in_sight_among_many() {
    let mut model = model();
    let mut many = snapshot();
    for number in 0..30 {
        let mut one = many.services[0].clone();
        one.service = format!("worker{number}");
        many.services.push(one);
    }
    model.show(many, Timestamp::from_unix(NOW));
    for _ in 0..31 {
        press(&mut model, KeyCode::Down);
    }
    let shown = picture(&model, 80, 24);
    assert!(shown.contains("▸ worker29"), "{shown}");
    press(&mut model, KeyCode::Tab);
    let shown = picture(&model, 80, 24);
    assert!(shown.contains("▸ web"), "{shown}");
}

#[test]
fn keys_ask_for_what_they_say() {
    let mut model = model();
    let count = |action: Option<KeyAction>| match action {
        Some(KeyAction::Ask(ControlRequest::Scale { services, hold, .. })) => {
            assert_eq!(hold.0.as_secs(), 600);
            services.into_iter().next()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        count(press(&mut model, KeyCode::Char('+'))),
        Some(("web".into(), 6))
    );
    // Faster than a snapshot comes.
    assert_eq!(
        count(press(&mut model, KeyCode::Char('+'))),
        Some(("web".into(), 7))
    );
    // Past the policy's bounds is allowed, and said.
    for _ in 8..=9 {
        press(&mut model, KeyCode::Char('+'));
    }
    let drawn = picture(&model, 100, 30);
    assert!(
        drawn.contains("web: asking for 9, above its maximum of 8"),
        "{drawn}"
    );
    model.show(snapshot(), Timestamp::from_unix(NOW));
    assert_eq!(
        count(press(&mut model, KeyCode::Char('-'))),
        Some(("web".into(), 4))
    );
    let pause = press(&mut model, KeyCode::Char('p'));
    assert_eq!(
        pause,
        Some(KeyAction::Ask(ControlRequest::Pause {
            services: vec!["web".into()],
            directions: Pause::Both,
            span: None,
        }))
    );
    press(&mut model, KeyCode::Char('j'));
    let resume = press(&mut model, KeyCode::Char('p'));
    assert_eq!(
        resume,
        Some(KeyAction::Ask(ControlRequest::Resume {
            services: vec!["api".into()],
        }))
    );
    assert_eq!(
        count(press(&mut model, KeyCode::Char('-'))),
        Some(("api".into(), 1))
    );
    // The last one stays.
    assert_eq!(press(&mut model, KeyCode::Char('-')), None);
    let shown = picture(&model, 80, 24);
    assert!(
        shown.contains("not done: the last replica stays"),
        "{shown}"
    );
}

#[test]
fn it_is_asked_before_it_ends_but_for_ctrl_c() {
    let mut model = model();
    assert_eq!(press(&mut model, KeyCode::Char('q')), None);
    assert!(picture(&model, 80, 24).contains("stop watch?"));
    assert_eq!(press(&mut model, KeyCode::Char('n')), None);
    assert_eq!(press(&mut model, KeyCode::Char('y')), None);
    press(&mut model, KeyCode::Char('q'));
    assert_eq!(press(&mut model, KeyCode::Char('y')), Some(KeyAction::Quit));
    let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(
        model.press(ctrl_c, Timestamp::from_unix(NOW)),
        Some(KeyAction::Quit)
    );
    model.stops();
    assert!(picture(&model, 80, 24).contains("stopping: finishing"));
}

#[test]
fn a_replica_that_is_refused_is_said_below_and_goes_after_a_while() {
    let mut model = model();
    let at = Timestamp::from_unix(NOW);
    model.answered(at, false, "web: at most 8");
    assert!(picture(&model, 80, 24).contains("not done: web: at most 8"));
    assert_eq!(model.message(at + std::time::Duration::from_secs(7)), None);
}
