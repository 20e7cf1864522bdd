//! The picture of the live screen in the README, drawn from the same buffer that the other tests read.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use ratatui::{
    Terminal,
    backend::TestBackend,
    buffer::{Buffer, Cell},
    style::{Color, Modifier},
};
use serde_json::json;

use super::{NOW, replica};
use crate::{
    control::Snapshot,
    reconcile::{EventKind, Initiator, ScalingEvent},
    screen::{Model, draw},
    units::Timestamp,
};

const WIDTH: u16 = 96;
const HEIGHT: u16 = 18;
/// Pixels of a cell, and around the screen.
const CELL: (f32, f32) = (8.0, 18.0);
const MARGIN: f32 = 14.0;

/// A shop whose load has just doubled.
fn shop() -> Model {
    let replicas = |service: &str, phases: &[&str]| -> Vec<_> {
        let names = (1..).map(|number| format!("shop-{service}-{number}"));
        let both = phases.iter().zip(names);
        both.map(|(phase, name)| replica(&name, phase)).collect()
    };
    let snapshot = |ago: i64, cpu: f64, in_flight: f64| -> Snapshot {
        let at = Timestamp::from_unix(NOW - ago);
        let web = if ago > 0 {
            replicas("web", &["serving"; 3])
        } else {
            replicas(
                "web",
                &["serving", "serving", "serving", "starting", "starting"],
            )
        };
        let from_to = if ago > 0 { (3, 3) } else { (3, 5) };
        serde_json::from_value(json!({
            "version": 1, "project": "shop", "at": at, "watching": true,
            "nginx": "shop-nginx-1", "in_step": true, "interval": "5s", "ticked": at,
            "host": {"memory": "8GiB", "available": "3.4GiB", "reserve_memory": "819MiB", "busy": 61.0, "reserve_cpu": 5.0},
            "troubles": [],
            "services": [
                {"service": "web", "autoscaled": true, "current": from_to.1, "desired": from_to.1, "serving": 3, "min": 2,
                 "max": 8, "hold": null, "paused": null, "standstill": null, "replicas": web,
                 "decision": {"at": at, "from": from_to.0, "to": from_to.1, "reason": "above_target",
                              "message": "cpu 93% of 60% target: 3 → 5"},
                 "metrics": [
                    {"metric": "cpu", "value": cpu, "target": 60.0, "unit": "percent"},
                    {"metric": "in_flight", "value": in_flight, "target": 8.0, "unit": "number"},
                 ]},
                {"service": "worker", "autoscaled": true, "current": 2, "desired": 2, "serving": 2, "min": 1, "max": 4,
                 "hold": null, "paused": null, "standstill": null, "replicas": replicas("worker", &["serving"; 2]),
                 "decision": {"at": at, "from": 2, "to": 2, "reason": "within_tolerance",
                              "message": "cpu 57% of 60% target: stays 2"},
                 "metrics": [{"metric": "cpu", "value": 57.0, "target": 60.0, "unit": "percent"}]},
            ],
        }))
        .expect("a snapshot")
    };
    let mut model = Model::new(jiff::tz::TimeZone::UTC, true);
    for (ago, cpu, in_flight) in [
        (35, 38.0, 3.0),
        (30, 41.0, 3.2),
        (25, 39.0, 3.1),
        (20, 55.0, 4.9),
        (15, 72.0, 6.4),
        (10, 85.0, 7.9),
        (5, 91.0, 8.6),
        (0, 93.0, 9.1),
    ] {
        model.show(
            snapshot(ago, cpu, in_flight),
            Timestamp::from_unix(NOW - ago),
        );
    }
    let ready = |replica: &str, seconds| EventKind::Ready {
        replica: replica.into(),
        seconds,
    };
    for (ago, service, what) in [
        (
            612,
            "worker",
            EventKind::Scaled {
                from: 1,
                to: 2,
                seconds: 1.4,
            },
        ),
        (
            95,
            "web",
            EventKind::Died {
                replica: "shop-web-2".into(),
                exit_code: Some(137),
                oom: true,
            },
        ),
        (93, "web", ready("shop-web-2", 1.2)),
        (
            0,
            "web",
            EventKind::Scale {
                from: 3,
                to: 5,
                reason: "above_target".into(),
                message: "cpu 93% of 60% target: 3 → 5".into(),
                metrics: BTreeMap::default(),
                by: Initiator::Policy,
                input: None,
            },
        ),
    ] {
        model.note(&ScalingEvent {
            at: Timestamp::from_unix(NOW - ago),
            service: service.into(),
            what,
        });
    }
    model
}

#[test]
fn the_picture_in_the_readme_is_current() {
    let mut terminal = Terminal::new(TestBackend::new(WIDTH, HEIGHT)).expect("a terminal");
    let model = shop();
    terminal
        .draw(|frame| draw(&model, Timestamp::from_unix(NOW), frame))
        .expect("a picture");
    let svg = svg(terminal.backend().buffer());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images/screen.svg");
    if std::env::var_os("COMPOSE_SCALE_UPDATE_PICTURES").is_some() {
        crate::files::replace(&path, svg.as_bytes()).expect("the picture");
    }
    let is_current = fs::read_to_string(&path).is_ok_and(|there| there == svg);
    assert!(
        is_current,
        "run scripts/pictures and look at docs/images/screen.svg"
    );
}

/// The screen as an image: one text element for each run of cells of one style.
fn svg(buffer: &Buffer) -> String {
    let (width, height) = (
        f32::from(WIDTH).mul_add(CELL.0, 2.0 * MARGIN),
        f32::from(HEIGHT).mul_add(CELL.1, 2.0 * MARGIN),
    );
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\" role=\"img\">\n\
         <title>The live screen of compose-scale watch</title>\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#11151c\"/>\n"
    );
    for y in 0..HEIGHT {
        let mut x = 0;
        while x < WIDTH {
            let begin = x;
            let style = look(&buffer[(x, y)]);
            let mut text = String::new();
            while x < WIDTH && look(&buffer[(x, y)]) == style {
                text += buffer[(x, y)].symbol();
                x += 1;
            }
            run(&mut out, (begin, y), &text, style);
        }
    }
    out + "</svg>\n"
}

fn run(out: &mut String, (x, y): (u16, u16), text: &str, (colour, bold): (&str, bool)) {
    let shown = text.trim_end();
    let skipped = shown.chars().take_while(|c| *c == ' ').count();
    let shown = shown.trim_start();
    if shown.is_empty() {
        return;
    }
    let left = (f32::from(x) + skipped as f32).mul_add(CELL.0, MARGIN);
    let base = f32::from(y).mul_add(CELL.1, MARGIN + 13.0);
    let length = shown.chars().count() as f32 * CELL.0;
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    let escaped = shown.replace('&', "&amp;").replace('<', "&lt;");
    // A length for each run keeps the columns, whatever the font.
    let _ = writeln!(
        out,
        "<text x=\"{left}\" y=\"{base}\" fill=\"{colour}\"{weight} textLength=\"{length}\" xml:space=\"preserve\">{escaped}</text>"
    );
}

/// Colour and weight of a cell.
fn look(cell: &Cell) -> (&'static str, bool) {
    let colour = match cell.fg {
        Color::Red => "#ff7b72",
        Color::Green => "#7ee787",
        Color::Yellow => "#e3b341",
        Color::Blue => "#79c0ff",
        Color::Cyan => "#76e3ea",
        _ if cell.modifier.contains(Modifier::DIM) => "#8b949e",
        _ => "#e6edf3",
    };
    (colour, cell.modifier.contains(Modifier::BOLD))
}
