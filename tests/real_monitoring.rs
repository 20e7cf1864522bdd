//! A real Prometheus, with the configuration and the rules of `compose/monitoring`, answers every query of the
//! dashboard and of the rules, from a page of metrics as `watch` writes it.
//!
//! `COMPOSE_SCALE_TEST_METRICS=127.0.0.1:9917 cargo test --test real_monitoring -- --nocapture` asks a `watch` that runs
//! instead, and says what finds nothing there: some of it only comes with an event, a drain for example.

mod support;

use std::time::Duration;

use support::{
    deadline,
    monitoring::{
        Exporter, Prometheus, Query, dashboard_queries, file, items, names, prometheus_program,
        rules,
    },
    real,
    stack::{Stack, free_port, new_nginx, remove_container},
    text,
};

const LONG: Duration = Duration::from_secs(60);

/// The page with its counters grown, so that rates are not zero.
fn grown(page: &str, times: u32) -> String {
    let mut counter = false;
    page.lines()
        .map(|line| {
            if let Some(family) = line.strip_prefix("# TYPE ") {
                counter = family.ends_with(" counter") || family.ends_with(" histogram");
            }
            let sample = line.rsplit_once(' ').filter(|_| !line.starts_with('#'));
            match sample.and_then(|(series, value)| Some((series, value.parse::<f64>().ok()?))) {
                Some((series, value)) if counter => {
                    format!("{series} {}\n", value * f64::from(times + 1))
                }
                _ => format!("{line}\n"),
            }
        })
        .collect()
}

/// Those of the dashboard, and what rules are made of.
fn all_queries() -> Vec<Query> {
    let mut queries = dashboard_queries();
    for rule in rules() {
        // Nothing is wrong there, so an alert finds nothing; its series are there all the same.
        let exprs = if rule.alert {
            let selectors = names(&rule.expr).selectors;
            selectors.iter().map(ToString::to_string).collect()
        } else {
            vec![rule.expr.clone(), rule.name.clone()]
        };
        queries.extend(exprs.into_iter().map(|expr| Query {
            origin: format!("rule {}", rule.name),
            expr,
        }));
    }
    queries
}

#[test]
fn every_query_finds_something() {
    let Some(program) = prometheus_program() else {
        return;
    };
    let given = std::env::var("COMPOSE_SCALE_TEST_METRICS").ok();
    let exporter = given.is_none().then(|| {
        let page = file("tests/monitoring/watch.txt");
        Exporter::start(move |times| grown(&page, times))
    });
    let target = exporter.as_ref().map(|exporter| exporter.address.clone());
    let target = target.or(given).expect("one of both");
    let prometheus = Prometheus::start(&program, &target);

    let queries = all_queries();
    let end = deadline(LONG);
    let mut left = vec!["nothing was asked".to_owned()];
    while !left.is_empty() {
        if !end.elapsed().is_zero() {
            let report = format!("unanswered by {target}:\n{}", left.join("\n"));
            let harmless = exporter.is_none() && left.iter().all(|one| one.contains(": no data: "));
            assert!(harmless, "{report}");
            eprintln!("{report}");
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        let project = prometheus
            .ask("compose_scale_build_info")
            .ok()
            .and_then(|found| Some(found.first()?["metric"]["project"].as_str()?.to_owned()));
        left = match project {
            Some(project) => prometheus.unanswered(&project, &queries),
            None => vec!["no compose_scale_build_info with a project".to_owned()],
        };
    }
    for rule in rules() {
        prometheus
            .ask(&rule.expr)
            .unwrap_or_else(|error| panic!("{}: {error}", rule.name));
    }
    let groups = prometheus.get("/api/v1/rules").expect("its rules");
    for rule in items(&groups["data"]["groups"])
        .iter()
        .flat_map(|g| items(&g["rules"]))
    {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

#[test]
fn a_watch_that_scaled_on_a_real_engine_answers_every_query() {
    let Some(program) = prometheus_program() else {
        return;
    };
    if !real() {
        return;
    }
    let stack = Stack::up(
        &new_nginx(),
        "    x-autoscale: {min: 1, max: 4, metrics: [{cpu: 60%}], ready: {http: /healthz}}\n    \
         deploy: {resources: {limits: {cpus: \"0.25\"}}}",
    );
    // A reserve, so that it is told of, and somebody who is notified.
    let file = stack.project.directory().join("compose.yaml");
    let yaml = std::fs::read_to_string(&file).expect("the compose file");
    let yaml = yaml
        .replace(
            "reserve_memory: none, reserve_cpu: none",
            "reserve_memory: 1%, reserve_cpu: 1%",
        )
        .replace(
            "  interval: 1s\n",
            "  interval: 1s\n  notify: [{command: [\"true\"]}]\n",
        );
    stack.project.write("compose.yaml", &yaml);
    let port = free_port();
    let target = format!("127.0.0.1:{port}");
    let watch = stack.watch(&["--metrics", &target]);
    let prometheus = Prometheus::start(&program, &target);
    let project = stack.project.name.clone();
    let asked = |expr: &str| {
        let expr = expr.replace("PROJECT", &format!("project=\"{project}\""));
        let found = prometheus.ask(&expr).ok()?;
        text(&found.first()?["value"][1]).parse::<f64>().ok()
    };
    // It is scraped before anything happens: an increase needs a beginning.
    stack.until("it is scraped", LONG, |_| {
        asked("compose_scale_replicas{PROJECT,state=\"serving\"}") == Some(1.0)
    });
    stack.must(&["scale", "web=3", "--hold", "1h"]);
    // Somebody takes one away by force, while it is looked at: a call fails.
    let (_, taken) = stack.running().pop().expect("a replica");
    remove_container(&taken);
    stack.until("three serve again", LONG, |s| s.listed().len() == 3);
    stack.must(&["scale", "web=2", "--hold", "1h"]);
    stack.until("it is told of", LONG, |_| {
        asked("compose_scale_drains_total{PROJECT,result=\"finished\"}") >= Some(1.0)
    });
    assert!(asked("compose_scale_scale_events_total{PROJECT,direction=\"up\"}") >= Some(1.0));
    assert!(asked("compose_scale_scale_events_total{PROJECT,direction=\"down\"}") >= Some(1.0));
    let served = "compose_scale_scale_duration_seconds_count{PROJECT,stage=\"served\"}";
    assert!(asked(served) >= Some(2.0), "{:?}", asked(served));
    assert_eq!(asked("compose_scale_engine_up{PROJECT}"), Some(1.0));

    let queries = all_queries();
    let mut left = Vec::new();
    let end = deadline(LONG);
    loop {
        left.clone_from(&prometheus.unanswered_over_time(&project, &queries));
        // No Engine call had to fail, and no alert to fire.
        left.retain(|one| !one.contains("result!=\"ok\"") && !one.contains("(ALERTS{"));
        if left.is_empty() {
            break;
        }
        let late = !end.elapsed().is_zero();
        assert!(!late, "unanswered:\n{}\n{}", left.join("\n"), watch.log());
        std::thread::sleep(Duration::from_millis(500));
    }
}
