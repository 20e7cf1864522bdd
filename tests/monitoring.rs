//! `compose/monitoring` and its page: what they name exists, and what they promise is there.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use compose_scale::compose::{self, LoadRequest};
use serde_json::Value;

mod support;

use support::{
    monitoring::{Query, Rule, dashboard, dashboard_queries, file, items, names, rules, yaml},
    text,
};

/// Texts in backticks.
fn code_in(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// A metric as `docs/monitoring.md` has it.
struct Documented {
    labels: BTreeSet<String>,
    meaning: String,
}

/// The table of metrics. Those of a histogram have the names that Prometheus gives them.
fn documented() -> BTreeMap<String, Documented> {
    let page = file("docs/monitoring.md");
    let table = page
        .split("\n\n")
        .find(|block| block.starts_with("| metric | labels | meaning |"))
        .unwrap();
    let mut all = BTreeMap::new();
    for row in table.lines().skip(2) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, labels, meaning] = cells[..] else {
            panic!("{row}");
        };
        let name = code_in(name)[0];
        let mut labels: BTreeSet<String> = code_in(labels).into_iter().map(str::to_owned).collect();
        labels.insert("project".into());
        let mut add = |name: String, labels: BTreeSet<String>| {
            let meaning = meaning.to_owned();
            all.insert(name, Documented { labels, meaning });
        };
        if meaning.starts_with("histogram: ") {
            for part in ["sum", "count"] {
                add(format!("{name}_{part}"), labels.clone());
            }
            labels.insert("le".into());
            add(format!("{name}_bucket"), labels);
        } else {
            add(name.to_owned(), labels);
        }
    }
    all
}

/// Every expression there is, and the texts beside it that name labels.
fn everything() -> Vec<(Query, String)> {
    let of_rule = |rule: Rule| {
        let query = Query {
            origin: rule.name.clone(),
            expr: rule.expr,
        };
        (query, rule.source["annotations"].to_string())
    };
    let legends: Vec<(Query, String)> = items(&dashboard()["panels"])
        .iter()
        .flat_map(|panel| items(&panel["targets"]).to_vec())
        .map(|target| {
            let query = Query {
                origin: text(&target["legendFormat"]).to_owned(),
                expr: text(&target["expr"]).to_owned(),
            };
            (query, text(&target["legendFormat"]).to_owned())
        })
        .collect();
    dashboard_queries()
        .into_iter()
        .map(|query| (query, String::new()))
        .chain(legends)
        .chain(rules().into_iter().map(of_rule))
        .collect()
}

#[test]
fn every_metric_label_and_value_that_is_asked_for_exists() {
    let documented = documented();
    let recorded: BTreeSet<String> = rules().into_iter().map(|rule| rule.name).collect();
    let reasons = file("docs/reasons.md");
    // What Prometheus itself adds.
    let added = ["job", "instance"];
    let mut seen = BTreeSet::new();
    for (query, beside) in everything() {
        let origin = format!("{}: {}", query.origin, query.expr);
        let names = names(&query.expr);
        let mut labels: BTreeSet<String> = added.map(str::to_owned).into();
        for selector in &names.selectors {
            let (has, meaning) = match selector.name.as_str() {
                "up" => (BTreeSet::new(), ""),
                "ALERTS" => (
                    ["alertname", "alertstate", "severity", "project", "service"]
                        .map(str::to_owned)
                        .into(),
                    "firing pending",
                ),
                name if recorded.contains(name) => {
                    // Labels of what it is made of, looked at there.
                    let of = rules().into_iter().find(|rule| rule.name == name).unwrap();
                    let inner = support::monitoring::names(&of.expr).selectors;
                    let all = inner.iter().filter_map(|one| documented.get(&one.name));
                    let mut all: BTreeSet<String> =
                        all.flat_map(|one| one.labels.clone()).collect();
                    all.extend(["project", "service"].map(str::to_owned));
                    (all, "")
                }
                name => {
                    let Some(row) = documented.get(name) else {
                        panic!("{origin}: docs/monitoring.md has no {name}");
                    };
                    seen.insert(name.to_owned());
                    (row.labels.clone(), row.meaning.as_str())
                }
            };
            for (label, operator, value) in &selector.matchers {
                assert!(
                    has.contains(label) || added.contains(&label.as_str()),
                    "{origin}: {} has no label {label}",
                    selector.name
                );
                // Values that are written out in the table, or are reasons.
                let known = |value: &str| {
                    let words = |text: &str| -> Vec<String> {
                        text.split(|c: char| !c.is_alphanumeric() && c != '_')
                            .map(str::to_owned)
                            .collect()
                    };
                    match label.as_str() {
                        "project" | "service" | "job" | "alertname" => true,
                        "reason" => reasons.contains(&format!("| `{value}` |")),
                        _ => words(meaning).iter().any(|word| word == value),
                    }
                };
                let values: Vec<&str> = if operator.ends_with('~') {
                    value.split('|').collect()
                } else {
                    vec![value]
                };
                for value in values {
                    assert!(known(value), "{origin}: {label} is never {value}");
                }
            }
            labels.extend(has);
        }
        for label in &names.grouping {
            assert!(labels.contains(label), "{origin}: by {label}");
        }
        let used = beside.split("{{").skip(1).filter_map(|rest| {
            let inner = rest.split_once("}}").unwrap().0.trim();
            match inner.strip_prefix("$labels.") {
                Some(label) => Some(label.to_owned()),
                None => (!inner.starts_with('$')).then(|| inner.to_owned()),
            }
        });
        for label in used {
            assert!(labels.contains(&label), "{origin}: {{{{{label}}}}}");
        }
    }
    // Of a histogram the buckets are enough; bounds and totals are there to be asked for.
    let unused: Vec<&String> = documented
        .keys()
        .filter(|name| !seen.contains(*name))
        .filter(|name| !name.ends_with("_sum") && !name.ends_with("_count"))
        .collect();
    assert!(unused.is_empty(), "nothing shows {unused:?}");
}

#[test]
fn the_page_that_the_queries_are_tried_on_has_the_metrics_of_the_table() {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in file("tests/monitoring/watch.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        for selector in names(&line.replace("\",", "\", ")).selectors {
            let labels = selector.matchers.into_iter().map(|(label, ..)| label);
            found.entry(selector.name).or_default().extend(labels);
        }
    }
    let expected = documented()
        .into_iter()
        .map(|(name, row)| (name, row.labels))
        .collect();
    assert_eq!(found, expected);
}

#[test]
fn the_dashboard_is_whole() {
    let dashboard = dashboard();
    let sources = yaml("compose/monitoring/grafana/provisioning/datasources/prometheus.yml");
    let variables = items(&dashboard["templating"]["list"]);
    let source = variables
        .iter()
        .find(|v| v["name"] == "datasource")
        .unwrap();
    assert_eq!(source["current"]["value"], sources["datasources"][0]["uid"]);
    assert_eq!(source["current"]["text"], sources["datasources"][0]["name"]);

    let panels = items(&dashboard["panels"]);
    let mut ids = BTreeSet::new();
    let mut taken = BTreeMap::new();
    for panel in panels {
        let title = text(&panel["title"]);
        assert!(!title.is_empty(), "{panel}");
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id");
        let side = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(side("x") + side("w") <= 24, "{title}: wider than the page");
        for x in side("x")..side("x") + side("w") {
            for y in side("y")..side("y") + side("h") {
                let other = taken.insert((x, y), title);
                assert_eq!(other, None, "{title} lies on another");
            }
        }
        let kind = text(&panel["type"]);
        if kind == "row" {
            continue;
        }
        let current = ["bargauge", "state-timeline", "stat", "table", "timeseries"];
        assert!(current.contains(&kind), "{title}: a panel of type {kind}");
        assert!(
            text(&panel["description"]).len() > 20,
            "{title}: what it is"
        );
        let unit = text(&panel["fieldConfig"]["defaults"]["unit"]);
        assert!(!unit.is_empty() || kind == "table", "{title}: its unit");
        let mut letters = BTreeSet::new();
        for target in items(&panel["targets"]) {
            assert!(letters.insert(text(&target["refId"])), "{title}: a letter");
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
        }
        assert!(!letters.is_empty(), "{title}: no query");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
    }
    // No hole between one line of panels and the next.
    let lines: BTreeSet<u64> = taken.keys().map(|(_, y)| *y).collect();
    assert_eq!(lines.len() as u64, lines.last().unwrap() + 1);

    let known: BTreeSet<&str> = variables.iter().map(|v| text(&v["name"])).collect();
    for query in dashboard_queries() {
        for word in query.expr.split('$').skip(1) {
            let end = word.find(|c: char| !c.is_alphanumeric() && c != '_');
            let name = &word[..end.unwrap_or(word.len())];
            assert!(
                name.starts_with("__") || known.contains(name),
                "{}: ${name}",
                query.origin
            );
        }
    }
}

#[test]
fn every_alert_says_what_to_do_and_is_tested_both_ways() {
    let page = file("docs/monitoring.md");
    let tests = yaml("compose/monitoring/prometheus/rules_test.yml");
    let tests: Vec<&Value> = items(&tests["tests"]).iter().collect();
    let mut described: BTreeSet<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### ComposeScale"))
        .collect();
    for rule in rules().into_iter().filter(|rule| rule.alert) {
        let name = &rule.name;
        let severity = text(&rule.source["labels"]["severity"]);
        let says = &rule.source["annotations"];
        assert!(!text(&says["summary"]).is_empty(), "{name}");
        assert!(text(&says["description"]).len() > 80, "{name}");
        let place = format!("docs/monitoring.md#{}", name.to_lowercase());
        assert_eq!(text(&says["runbook"]), place);
        let section = page.split(&format!("### {name}\n\n{severity}. ")).nth(1);
        assert!(
            section.is_some(),
            "{name}: no section, or no {severity} in it"
        );
        described.remove(name.strip_prefix("ComposeScale").unwrap());

        let cases: Vec<&Value> = tests
            .iter()
            .filter(|test| text(&test["name"]).split(',').next() == Some(name))
            .flat_map(|test| items(&test["promql_expr_test"]))
            .collect();
        let fires = cases.iter().any(|case| {
            let samples = items(&case["exp_samples"]);
            samples.iter().any(|sample| {
                text(&sample["labels"])
                    .contains(&format!("alertname=\"{name}\", alertstate=\"firing\""))
            })
        });
        assert!(fires, "{name}: no test where it fires");
        let quiet = cases
            .iter()
            .any(|case| items(&case["exp_samples"]).is_empty());
        assert!(quiet, "{name}: no test where it does not");
    }
    assert!(described.is_empty(), "no alerts: {described:?}");
}

#[test]
fn every_recorded_number_is_described() {
    let page = file("docs/monitoring.md");
    for rule in rules().into_iter().filter(|rule| !rule.alert) {
        assert!(page.contains(&format!("`{}`", rule.name)), "{}", rule.name);
    }
}

#[test]
fn nothing_is_open_to_the_outside_and_no_secret_is_written_down() {
    let path = "compose/monitoring/compose.yaml";
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/monitoring");
    let request = LoadRequest {
        files: vec![directory.join("compose.yaml")],
        cwd: directory.clone(),
        env: BTreeMap::new(),
        ..LoadRequest::default()
    };
    compose::load(&request).unwrap();

    let project = yaml(path);
    for (name, service) in project["services"].as_object().unwrap() {
        let (_, tag) = text(&service["image"]).split_once(':').unwrap();
        let parts = tag.trim_start_matches('v').split('.');
        assert_eq!(
            parts.filter(|part| part.parse::<u32>().is_ok()).count(),
            3,
            "{name}: {tag}"
        );
        assert_eq!(service["network_mode"], "host", "{name}");
        assert_eq!(service["ports"], Value::Null, "{name}");
        for volume in items(&service["volumes"]) {
            let volume = text(volume);
            let Some((from, to)) = volume.split_once(':') else {
                panic!("{volume}");
            };
            if from.starts_with('.') {
                assert!(to.ends_with(":ro"), "{name}: {volume}");
                assert!(directory.join(from).is_dir(), "{name}: {volume}");
            }
        }
    }
    let listen = "--web.listen-address=127.0.0.1:${PROMETHEUS_PORT:-9090}";
    let command = items(&project["services"]["prometheus"]["command"]);
    assert!(command.iter().any(|word| word == listen));
    let settings = file("compose/monitoring/grafana/grafana.ini");
    let has = |line: &str| settings.lines().any(|other| other == line);
    assert!(has("http_addr = 127.0.0.1"));
    assert!(has("disable_initial_admin_creation = true"));
    assert!(has("org_role = Viewer"));
    let environment = &project["services"]["grafana"]["environment"];
    assert_eq!(
        environment["GF_SECURITY_ADMIN_PASSWORD"],
        "${GRAFANA_ADMIN_PASSWORD:-}"
    );
}

/// A run in which everything happened that is told of.
fn everything_told() -> String {
    use compose_scale::{
        control::Snapshot,
        metrics::Meters,
        reconcile::{EventKind, Initiator, ScalingEvent},
        units::Timestamp,
    };
    let note = |at, what| ScalingEvent {
        at,
        service: "web".into(),
        what,
    };
    let meters = Meters::new("shop");
    let at = Timestamp::from_unix(1_800_000_000);
    let replica = || "shop-web-2".to_owned();
    let servers = vec![replica()];
    meters.noted(&note(at, EventKind::Creating { replica: replica() }));
    meters.runs("web", "shop-web-2", at);
    for what in [
        EventKind::Ready {
            replica: replica(),
            seconds: 1.0,
        },
        EventKind::Routed { servers },
        EventKind::Scale {
            from: 1,
            to: 2,
            reason: "above_target".into(),
            message: String::new(),
            metrics: BTreeMap::new(),
            by: Initiator::Policy,
            input: None,
        },
        EventKind::Removed {
            replica: replica(),
            seconds: 2.0,
        },
        EventKind::Died {
            replica: replica(),
            exit_code: Some(1),
            oom: false,
        },
    ] {
        meters.noted(&note(at, what));
    }
    meters.decided("web", "above_target");
    meters.reloaded(true);
    meters.called("list", "ok");
    meters.notified("webhook", "sent", 1);
    let snapshot: Snapshot = serde_json::from_value(serde_json::json!({
        "version": 1, "project": "shop", "at": at, "watching": true, "nginx": "nginx", "in_step": true,
        "interval": "5s", "ticked": at, "troubles": [],
        "host": {"memory": "8GiB", "available": "3GiB", "reserve_memory": "819MiB", "busy": 61.0, "reserve_cpu": 5.0},
        "services": [{
            "service": "web", "autoscaled": true, "current": 2, "desired": 2, "serving": 2, "min": 1, "max": 8,
            "hold": null, "paused": null, "decision": null, "standstill": null, "replicas": [],
            "metrics": [{"metric": "cpu", "value": 90.0, "target": 60.0, "unit": "percent"}],
        }],
    }))
    .unwrap();
    meters.page(Some((&snapshot, std::time::Duration::ZERO)))
}

#[test]
fn the_table_has_what_the_program_tells_and_nothing_else() {
    let page = everything_told();
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, _) = rest.split_once('}').unwrap();
        let keys = labels
            .split(',')
            .map(|one| one.split_once('=').unwrap().0.to_owned());
        told.entry(name.to_owned()).or_default().extend(keys);
    }
    let documented: BTreeMap<_, _> = documented()
        .into_iter()
        .map(|(name, row)| (name, row.labels))
        .collect();
    assert_eq!(told, documented);
}
