//! The pictures of the documentation, drawn from what they show. `scripts/pictures` draws them anew; the
//! live screen's is in `src/screen/tests/picture.rs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{env, fmt::Write as _, fs, path::Path, process::Command};

use compose_scale::files;
use serde_json::Value;

/// Colours that can be read on white and on black paper; the page behind is ours.
const STYLE: &str = "<style>\
    svg{background:#fff}\
    text{font:13px system-ui,sans-serif;fill:#1b1f24}\
    .dim{fill:#5b6570;font-size:11px}\
    .box{fill:#f5f7f9;stroke:#9aa5b1}\
    .ours{fill:#e3edfb;stroke:#1f6feb;stroke-width:2}\
    .arrow{stroke:#5b6570;fill:none;stroke-width:1.5;marker-end:url(#head)}\
    .grid{stroke:#e3e7eb;stroke-width:1}\
    .line{fill:none;stroke-width:1.8;stroke-linejoin:round}\
    .aim{stroke-width:1.2;stroke-dasharray:5 4;fill:none}\
    .area{fill:#9db4cc;opacity:.45}\
    .hover{fill:none}\
    .s0{stroke:#1f6feb}.f0{fill:#1f6feb}.s1{stroke:#d9730d}.f1{fill:#d9730d}\
    </style>";

fn svg(width: u32, height: u32, label: &str, content: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{label}\">{STYLE}\
         <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
         orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#5b6570\"/></marker></defs>\n{content}</svg>\n"
    )
}

/// Compares a picture with its file, or draws the file anew.
fn is_current(name: &str, drawn: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs/images")
        .join(name);
    if env::var_os("COMPOSE_SCALE_UPDATE_PICTURES").is_some() {
        files::replace(&path, drawn.as_bytes()).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == drawn,
        "docs/images/{name} is not what is drawn now: run scripts/pictures"
    );
}

#[test]
fn picture_of_the_architecture() {
    let mut content = String::new();
    let mut boxed = |class: &str,
                     (x, y): (u32, u32),
                     (w, h): (u32, u32),
                     title: &str,
                     about: &[&str]| {
        let _ = writeln!(
            content,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\" rx=\"6\"/>\
             <text x=\"{}\" y=\"{}\">{title}</text>",
            x + 12,
            y + 22
        );
        for (line, text) in (0..).zip(about) {
            let _ = writeln!(
                content,
                "<text class=\"dim\" x=\"{}\" y=\"{}\">{text}</text>",
                x + 12,
                y + 40 + 15 * line
            );
        }
    };
    boxed("box", (20, 40), (120, 60), "visitors", &["notice nothing"]);
    boxed(
        "box",
        (220, 40),
        (200, 60),
        "nginx",
        &["in the project, or on the host"],
    );
    for (replica, y) in [(1, 20), (2, 62), (3, 104)] {
        boxed("box", (520, y), (150, 34), &format!("web-{replica}"), &[]);
    }
    boxed(
        "ours",
        (220, 210),
        (200, 96),
        "compose-scale watch",
        &[
            "measures each replica",
            "decides how many are needed",
            "adds, drains, removes replicas",
        ],
    );
    boxed(
        "box",
        (20, 210),
        (140, 60),
        "compose.yaml",
        &["with x-autoscale"],
    );
    boxed(
        "box",
        (520, 210),
        (150, 60),
        "Docker Engine",
        &["containers, counters"],
    );
    for (path, text, x, y) in [
        ("M140 70H214", "", 0, 0),
        ("M420 60L514 37", "", 0, 0),
        ("M420 70L514 79", "", 0, 0),
        ("M420 80L514 121", "", 0, 0),
        ("M160 240H214", "", 0, 0),
        ("M270 210V106", "upstream file, reload", 142, 160),
        ("M350 106V204", "access log", 358, 160),
        ("M420 230H514", "", 0, 0),
        ("M520 254H426", "", 0, 0),
        ("M595 210V144", "create, start, stop", 603, 180),
    ] {
        let _ = writeln!(content, "<path class=\"arrow\" d=\"{path}\"/>");
        if !text.is_empty() {
            let _ = writeln!(
                content,
                "<text class=\"dim\" x=\"{x}\" y=\"{y}\">{text}</text>"
            );
        }
    }
    let label = "How compose-scale, the Docker Engine and nginx work together";
    is_current("architecture.svg", &svg(720, 326, label, &content));
}

/// Its panels where Grafana puts them, with their titles: no picture of Grafana itself.
#[test]
fn picture_of_the_dashboard() {
    const COLUMN: f64 = 40.0;
    const ROW: f64 = 14.0;
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("compose/monitoring/grafana/dashboards/compose-scale.json");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    let mut content = String::new();
    let mut bottom = 0.0_f64;
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = |key: &str| panel["gridPos"][key].as_f64().unwrap();
        let (x, y) = (place("x") * COLUMN, place("y") * ROW);
        let (w, h) = (place("w") * COLUMN, place("h") * ROW);
        bottom = bottom.max(y + h);
        let title = panel["title"].as_str().unwrap().replace('&', "&amp;");
        let kind = panel["type"].as_str().unwrap();
        if kind == "row" {
            let _ = writeln!(
                content,
                "<text x=\"{}\" y=\"{}\">{title}</text>",
                x + 4.0,
                y + 12.0
            );
            continue;
        }
        let _ = writeln!(
            content,
            "<rect class=\"box\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"4\"/>\
             <text x=\"{}\" y=\"{}\">{title}</text>\
             <text class=\"dim\" x=\"{}\" y=\"{}\">{}</text>",
            x + 2.0,
            y + 2.0,
            w - 4.0,
            h - 4.0,
            x + 10.0,
            y + 20.0,
            x + 10.0,
            y + 36.0,
            kind.replace("timeseries", "time series")
                .replace("bargauge", "bar gauge")
                .replace('-', " ")
        );
    }
    let (width, height) = ((24.0 * COLUMN) as u32, bottom as u32);
    let label = "The panels of the Grafana dashboard";
    is_current("dashboard.svg", &svg(width, height, label, &content));
}

/// The chart of replicas on the page that `simulate --html` writes.
#[test]
fn picture_of_a_simulation() {
    let dir = tempfile::tempdir().unwrap();
    files::replace(
        &dir.path().join("compose.yaml"),
        b"name: shop\nservices:\n  web:\n    image: web\n    expose: [\"80\"]\n    deploy: {resources: {limits: {cpus: \"1\"}}}\n    \
         x-autoscale: {min: 1, max: 8, metrics: [{cpu: 60%}]}\n",
    )
    .unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_compose-scale"))
        .args([
            "simulate",
            "--load",
            "spikes:10..60",
            "--for",
            "1h",
            "--html",
            "report.html",
        ])
        .current_dir(dir.path())
        .env_clear()
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    let page = fs::read_to_string(dir.path().join("report.html")).unwrap();
    let mut charts = page.split("<svg viewBox=\"0 0 ").skip(1);
    let chart = charts
        .find(|chart| chart.contains("aria-label=\"Replicas\""))
        .unwrap();
    let (size, chart) = chart.split_once('"').unwrap();
    let (width, height) = size.split_once(' ').unwrap();
    let (_, drawn) = chart.split_once('>').unwrap();
    let (content, _) = drawn.split_once("</svg>").unwrap();
    let whole = |text: &str| text.parse::<f64>().unwrap() as u32;
    let label = "Replicas in an hour of load with spikes, as compose-scale simulate draws them";
    is_current(
        "simulate.svg",
        &svg(whole(width), whole(height), label, content),
    );
}
