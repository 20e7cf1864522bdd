//! The real driver on a simulated host: each text in `scenarios/` is played, what it says is compared with
//! what it said before, and a judge who knows nothing of the driver looks on.
//!
//! A change of behaviour is a change of these files: `INSTA_UPDATE=always cargo test --test scenarios`.

use std::{fs, path::Path};

use compose_scale::sim::Scenario;

#[test]
fn every_scenario_goes_as_it_is_written_down_and_breaks_no_rule() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    names.sort();
    assert!(names.len() >= 30, "{} scenarios", names.len());
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("scenarios");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let mut bad = Vec::new();
    for path in &names {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(path).unwrap();
        let scenario: Scenario = text
            .parse()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let report = scenario.play().unwrap();
        bad.extend(report.broken.iter().map(|one| format!("{name}: {one}")));
        if report.flaps > scenario.allowed_flaps() {
            bad.push(format!("{name}: {} flaps", report.flaps));
        }
        settings.bind(|| insta::assert_snapshot!(name.clone(), report.text));
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn a_scenario_goes_the_same_way_every_time() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let text = fs::read_to_string(folder.join("load-steps-up.txt")).unwrap();
    let play = |text: &str| text.parse::<Scenario>().unwrap().play().unwrap();
    assert_eq!(play(&text), play(&text));
    assert_ne!(play(&text), play(&format!("seed 2\n{text}")));
}

#[test]
fn a_line_that_cannot_be_used_is_named() {
    for (text, expected) in [
        ("hots cores=4", "line 1: found `hots`, expected host, seed,"),
        (
            "\nhost cores=x",
            "line 2: found `x`, expected a number of cores",
        ),
        ("at 1m load web 5", "line 1: no `service web` above"),
        (
            "service web tiem=5ms",
            "line 1: found `tiem`, expected time, spread,",
        ),
        (
            "service web\nat 5 crash web-1",
            "line 2: found `5`, expected a duration",
        ),
        (
            "service web\nat 5s crash web-1 now",
            "line 2: found `now`, expected nothing",
        ),
        ("service web", "line 1: expected `run` with a duration"),
        (
            "service web\npolicy web {mix: 3}\nrun 1m",
            "line 3: standard input:6: services.web.x-autoscale.mix: unknown key",
        ),
    ] {
        let error = text.parse::<Scenario>().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
